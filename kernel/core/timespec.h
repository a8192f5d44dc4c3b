// SPDX-License-Identifier: MIT
// Times as programs pass them, to and from nanoseconds.
#pragma once

#include "kernel/base/types.h"
#include "kernel/core/errno.h"
#include "kernel/core/time.h"
#include "kernel/core/user.h"
#include <linux/time_types.h>

// Nanoseconds of a struct timespec; -EINVAL for negative or unnormalised ones. Too large for 63
// bits: INT64_MAX, "for ever".
[[nodiscard]] static inline int timespec_to_ns(const struct __kernel_timespec *time, uint64_t *ns)
{
    if (time->tv_sec < 0 || time->tv_nsec < 0 || time->tv_nsec >= (long long)NS_PER_SECOND)
        return -EINVAL;
    if ((uint64_t)time->tv_sec >= INT64_MAX / NS_PER_SECOND)
        *ns = INT64_MAX;
    else
        *ns = (uint64_t)time->tv_sec * NS_PER_SECOND + (uint64_t)time->tv_nsec;
    return 0;
}

[[nodiscard]] static inline int timespec_from_user(uint64_t *ns, uintptr_t user)
{
    struct __kernel_timespec time;
    if (copy_from_user(&time, user, sizeof(time)) != 0)
        return -EFAULT;
    return timespec_to_ns(&time, ns);
}

[[nodiscard]] static inline int timespec_to_user(uintptr_t user, uint64_t ns)
{
    struct __kernel_timespec time = {
        .tv_sec = (int64_t)(ns / NS_PER_SECOND), .tv_nsec = (int64_t)(ns % NS_PER_SECOND)};
    return copy_to_user(user, &time, sizeof(time));
}

// struct timeval (microseconds), the same rules.
[[nodiscard]] static inline int timeval_from_user(uint64_t *ns, uintptr_t user)
{
    struct __kernel_old_timeval time;
    if (copy_from_user(&time, user, sizeof(time)) != 0)
        return -EFAULT;
    if (time.tv_sec < 0 || time.tv_usec < 0 || time.tv_usec >= 1000000)
        return -EINVAL;
    if ((uint64_t)time.tv_sec >= INT64_MAX / NS_PER_SECOND)
        *ns = INT64_MAX;
    else
        *ns = (uint64_t)time.tv_sec * NS_PER_SECOND + (uint64_t)time.tv_usec * NS_PER_US;
    return 0;
}

[[nodiscard]] static inline int timeval_to_user(uintptr_t user, uint64_t ns)
{
    struct __kernel_old_timeval time = {
        .tv_sec = (long)(ns / NS_PER_SECOND), .tv_usec = (long)(ns % NS_PER_SECOND / NS_PER_US)};
    return copy_to_user(user, &time, sizeof(time));
}

// `duration_ns` from now as an absolute monotonic deadline, not beyond INT64_MAX.
static inline uint64_t deadline_after(uint64_t duration_ns)
{
    uint64_t now = time_monotonic_ns();
    return duration_ns > INT64_MAX - now ? INT64_MAX : now + duration_ns;
}
