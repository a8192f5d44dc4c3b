// SPDX-License-Identifier: MIT
// Reading and setting clocks, sleeping.
#include "kernel/core/time.h"
#include "kernel/core/timespec.h"
#include "kernel/process/process.h"
#include "kernel/syscall/syscall.h"
#include "sched/sched.h"
#include <linux/capability.h>
#include <linux/time.h>
#include <linux/times.h>
#include <linux/timex.h>

#define TICK_NS              (NS_PER_SECOND / 100) // of times(2) and of coarse clocks' resolution
#define COARSE_RESOLUTION_NS (4 * NS_PER_MS)

SYSCALL2(clock_gettime, int32_t, clock, uintptr_t, user)
{
    uint64_t ns;
    int error = clock_read(clock, &ns);
    return error != 0 ? error : timespec_to_user(user, ns);
}

SYSCALL2(clock_getres, int32_t, clock, uintptr_t, user)
{
    uint64_t ns;
    int error = clock_read(clock, &ns);
    if (error != 0 || user == 0)
        return error;
    bool coarse = clock == CLOCK_REALTIME_COARSE || clock == CLOCK_MONOTONIC_COARSE;
    return timespec_to_user(user, coarse ? COARSE_RESOLUTION_NS : 1);
}

static int set_realtime(uint64_t ns)
{
    if (!capable(CAP_SYS_TIME))
        return -EPERM;
    return time_realtime_set((int64_t)ns);
}

SYSCALL2(clock_settime, int32_t, clock, uintptr_t, user)
{
    uint64_t ns;
    if (clock != CLOCK_REALTIME) {
        // Known clocks that nobody may set are told from unknown ones only by CPU-time clocks, as
        // in Linux.
        return clock_is_cpu_time(clock) && clock_read(clock, &ns) == 0 ? -EPERM : -EINVAL;
    }
    int error = timespec_from_user(&ns, user);
    return error != 0 ? error : set_realtime(ns);
}

SYSCALL4(clock_nanosleep, int32_t, clock, int, flags, uintptr_t, request, uintptr_t, remaining)
{
    uint64_t ns, now;
    if (clock_read(clock, &now) != 0)
        return -EINVAL;
    int error = timespec_from_user(&ns, request);
    if (error != 0)
        return error;
    return clock_sleep(
        clock, (flags & TIMER_ABSTIME) != 0, ns, (flags & TIMER_ABSTIME) != 0 ? 0 : remaining);
}

SYSCALL2(nanosleep, uintptr_t, request, uintptr_t, remaining)
{
    uint64_t ns;
    int error = timespec_from_user(&ns, request);
    return error != 0 ? error : clock_sleep(CLOCK_MONOTONIC, false, ns, remaining);
}

SYSCALL0(restart_syscall)
{
    struct task_restart *restart = &task_current()->restart;
    int64_t (*function)(struct task_restart *) = restart->function;
    restart->function = NULL;
    return function != NULL ? function(restart) : -EINTR;
}

struct timezone_words { // struct timezone
    int32_t minutes_west, dst_time;
};
static struct timezone_words timezone; // racy: two words that programs of the last century set

SYSCALL2(gettimeofday, uintptr_t, time_user, uintptr_t, zone_user)
{
    if (time_user != 0 && timeval_to_user(time_user, (uint64_t)time_realtime_ns()) != 0)
        return -EFAULT;
    return zone_user != 0 ? copy_to_user(zone_user, &timezone, sizeof(timezone)) : 0;
}

SYSCALL2(settimeofday, uintptr_t, time_user, uintptr_t, zone_user)
{
    struct timezone_words zone;
    uint64_t ns = 0;
    int error = time_user != 0 ? timeval_from_user(&ns, time_user) : 0;
    if (error == 0 && zone_user != 0)
        error = copy_from_user(&zone, zone_user, sizeof(zone));
    if (error != 0)
        return error;
    if (!capable(CAP_SYS_TIME))
        return -EPERM;
    if (zone_user != 0) {
        if (zone.minutes_west > 15 * 60 || zone.minutes_west < -15 * 60)
            return -EINVAL;
        timezone = zone;
    }
    return time_user != 0 ? set_realtime(ns) : 0;
}

SYSCALL1(time, uintptr_t, user)
{
    int64_t seconds = time_realtime_ns() / (int64_t)NS_PER_SECOND;
    if (user != 0 && user_put_u64(user, (uint64_t)seconds) != 0)
        return -EFAULT;
    return seconds;
}

SYSCALL1(times, uintptr_t, user)
{
    if (user != 0) {
        struct process *process = process_current();
        uint64_t user_ns, system_ns;
        process_cpu_times(process, &user_ns, &system_ns);
        struct tms tms = {
            .tms_utime = (long)(user_ns / TICK_NS),
            .tms_stime = (long)(system_ns / TICK_NS),
            .tms_cutime = (long)(process->children_usage.user_ns / TICK_NS),
            .tms_cstime = (long)(process->children_usage.system_ns / TICK_NS),
        };
        if (copy_to_user(user, &tms, sizeof(tms)) != 0)
            return -EFAULT;
    }
    return (int64_t)(time_monotonic_ns() / TICK_NS);
}

// Reading alone: the hypervisor's clock is not steered from here.
static int64_t adjust(uintptr_t user)
{
    struct __kernel_timex timex;
    if (copy_from_user(&timex, user, sizeof(timex)) != 0)
        return -EFAULT;
    if (timex.modes != 0)
        return capable(CAP_SYS_TIME) ? -EOPNOTSUPP : -EPERM;
    uint64_t now = (uint64_t)time_realtime_ns();
    timex = (struct __kernel_timex){
        .status = STA_UNSYNC,
        .maxerror = 16000000,
        .esterror = 16000000,
        .constant = 2,
        .precision = 1,
        .tolerance = 500 << 16,
        .tick = 10000,
    };
    timex.time.tv_sec = (long long)(now / NS_PER_SECOND);
    timex.time.tv_usec = (long long)(now % NS_PER_SECOND / NS_PER_US);
    return copy_to_user(user, &timex, sizeof(timex)) != 0 ? -EFAULT : TIME_ERROR;
}

SYSCALL1(adjtimex, uintptr_t, user)
{
    return adjust(user);
}

SYSCALL2(clock_adjtime, int32_t, clock, uintptr_t, user)
{
    if (clock != CLOCK_REALTIME) {
        uint64_t ns;
        return clock_read(clock, &ns) == 0 ? -EOPNOTSUPP : -EINVAL;
    }
    return adjust(user);
}
