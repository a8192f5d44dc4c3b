// SPDX-License-Identifier: MIT
// Interval timers and POSIX timers.
#include "kernel/core/timespec.h"
#include "kernel/process/process.h"
#include "kernel/syscall/syscall.h"
#include <linux/time.h>

// ---- setitimer, getitimer, alarm ---------------------------------------------------------------

static int itimer_to_user(uintptr_t user, const struct itimer_value *value)
{
    if (timeval_to_user(user, value->interval_ns) != 0)
        return -EFAULT;
    // Less than a microsecond is still not over.
    uint64_t left = value->value_ns != 0 ? MAX(value->value_ns, (uint64_t)NS_PER_US) : 0;
    return timeval_to_user(user + sizeof(struct __kernel_old_timeval), left);
}

SYSCALL2(getitimer, int, which, uintptr_t, user)
{
    struct itimer_value value;
    int error = itimer_exchange(which, NULL, &value);
    return error != 0 ? error : itimer_to_user(user, &value);
}

SYSCALL3(setitimer, int, which, uintptr_t, fresh_user, uintptr_t, old_user)
{
    struct itimer_value fresh = {};
    struct itimer_value old;
    int error = 0;
    if (fresh_user != 0) { // Linux takes NULL for "off"
        error = timeval_from_user(&fresh.interval_ns, fresh_user);
        if (error == 0)
            error = timeval_from_user(
                &fresh.value_ns, fresh_user + sizeof(struct __kernel_old_timeval));
    }
    if (error == 0)
        error = itimer_exchange(which, &fresh, &old);
    if (error != 0 || old_user == 0)
        return error;
    return itimer_to_user(old_user, &old);
}

SYSCALL1(alarm, uint32_t, seconds)
{
    struct itimer_value fresh = {.value_ns = (uint64_t)seconds * NS_PER_SECOND};
    struct itimer_value old;
    int error = itimer_exchange(ITIMER_REAL, &fresh, &old);
    assert(error == 0);
    if (old.value_ns == 0)
        return 0;
    // Rounded, but never to 0 for an alarm that was set.
    return (int64_t)MAX((old.value_ns + NS_PER_SECOND / 2) / NS_PER_SECOND, UINT64_C(1));
}

// ---- POSIX timers ------------------------------------------------------------------------------

SYSCALL3(timer_create, int32_t, clock, uintptr_t, event_user, uintptr_t, id_user)
{
    struct posix_timer_request request = {
        .clock = clock, .notify = SIGEV_SIGNAL, .signal = SIGALRM, .value_is_id = true};
    if (event_user != 0) {
        sigevent_t event;
        if (copy_from_user(&event, event_user, sizeof(event)) != 0)
            return -EFAULT;
        request.notify = event.sigev_notify;
        request.signal = event.sigev_signo;
        request.tid = event.sigev_notify_thread_id;
        request.value = (uint64_t)(uintptr_t)event.sigev_value.sival_ptr;
        request.value_is_id = false;
    }
    int id = posix_timer_create(&request);
    if (id < 0)
        return id;
    if (user_put_u32(id_user, (uint32_t)id) != 0) {
        (void)!posix_timer_delete(id);
        return -EFAULT;
    }
    return 0;
}

static int itimerspec_to_user(uintptr_t user, const struct itimer_value *value)
{
    if (timespec_to_user(user, value->interval_ns) != 0)
        return -EFAULT;
    return timespec_to_user(user + sizeof(struct __kernel_timespec), value->value_ns);
}

SYSCALL4(timer_settime, int32_t, id, int, flags, uintptr_t, fresh_user, uintptr_t, old_user)
{
    struct itimer_value fresh, old;
    if (fresh_user == 0)
        return -EINVAL;
    int error = timespec_from_user(&fresh.interval_ns, fresh_user);
    if (error == 0)
        error = timespec_from_user(&fresh.value_ns, fresh_user + sizeof(struct __kernel_timespec));
    if (error == 0)
        error = posix_timer_set(id, (flags & TIMER_ABSTIME) != 0, &fresh, &old);
    if (error != 0 || old_user == 0)
        return error;
    return itimerspec_to_user(old_user, &old);
}

SYSCALL2(timer_gettime, int32_t, id, uintptr_t, user)
{
    struct itimer_value value;
    int error = posix_timer_get(id, &value);
    return error != 0 ? error : itimerspec_to_user(user, &value);
}

SYSCALL1(timer_getoverrun, int32_t, id)
{
    return posix_timer_overrun(id);
}

SYSCALL1(timer_delete, int32_t, id)
{
    return posix_timer_delete(id);
}
