// SPDX-License-Identifier: MIT
// Resource limits and usage.
#include "kernel/core/timespec.h"
#include "kernel/process/process.h"
#include "kernel/syscall/rusage.h"
#include "kernel/syscall/syscall.h"
#include "mm/address_space.h"
#include <linux/capability.h>
#include <linux/resource.h>

// ---- usage -------------------------------------------------------------------------------------

int rusage_to_user(uintptr_t user, const struct task_usage *usage)
{
    struct rusage result = {
        .ru_utime = {.tv_sec = (long)(usage->user_ns / NS_PER_SECOND),
            .tv_usec = (long)(usage->user_ns % NS_PER_SECOND / NS_PER_US)},
        .ru_stime = {.tv_sec = (long)(usage->system_ns / NS_PER_SECOND),
            .tv_usec = (long)(usage->system_ns % NS_PER_SECOND / NS_PER_US)},
        .ru_maxrss = (long)(usage->resident_peak_pages * (PAGE_SIZE / 1024)),
        .ru_minflt = (long)usage->minor_faults,
        .ru_majflt = (long)usage->major_faults,
        .ru_nvcsw = (long)usage->switches_voluntary,
        .ru_nivcsw = (long)usage->switches_involuntary,
    };
    return copy_to_user(user, &result, sizeof(result));
}

SYSCALL2(getrusage, int, who, uintptr_t, user)
{
    struct task *task = task_current();
    struct task_usage usage = {};
    switch (who) {
    case RUSAGE_SELF:
        process_usage_sum(task->process, &usage);
        break;
    case RUSAGE_CHILDREN:
        usage = task->process->children_usage;
        break;
    case RUSAGE_THREAD:
        task_usage_add_task(&usage, task);
        break;
    default:
        return -EINVAL;
    }
    if (who != RUSAGE_CHILDREN)
        usage.resident_peak_pages =
            MAX(usage.resident_peak_pages, address_space_resident_peak(task->thread.space));
    return rusage_to_user(user, &usage);
}

// ---- limits ------------------------------------------------------------------------------------

#define FILES_MAX (UINT64_C(1) << 20) // highest RLIMIT_NOFILE (fs.nr_open)

static int limit_check(struct process *process, unsigned resource, const struct rlimit *fresh)
{
    if (fresh->rlim_cur > fresh->rlim_max)
        return -EINVAL;
    if (resource == RLIMIT_NOFILE && fresh->rlim_max > FILES_MAX)
        return -EPERM;
    if (fresh->rlim_max > process->limits[resource].rlim_max && !capable(CAP_SYS_RESOURCE))
        return -EPERM;
    return 0;
}

// The address space keeps copies of the limits that it checks.
static void limits_to_space(struct task *task)
{
    struct address_space *space = task_space_get(task);
    if (space == NULL)
        return;
    const struct rlimit *limits = task->process->limits;
    atomic_store_relaxed(&space->limit_as_bytes, limits[RLIMIT_AS].rlim_cur);
    atomic_store_relaxed(&space->limit_data_bytes, limits[RLIMIT_DATA].rlim_cur);
    atomic_store_relaxed(&space->limit_stack_bytes, limits[RLIMIT_STACK].rlim_cur);
    atomic_store_relaxed(&space->limit_memlock_bytes, limits[RLIMIT_MEMLOCK].rlim_cur);
    address_space_put(space);
}

static int limit_exchange(
    struct task *task, unsigned resource, const struct rlimit *fresh, struct rlimit *old)
{
    struct process *process = task->process;
    if (resource >= RLIM_NLIMITS)
        return -EINVAL;
    uint64_t flags;
    struct signal_handlers *handlers = process_signals_lock(process, &flags);
    *old = process->limits[resource];
    int error = fresh != NULL ? limit_check(process, resource, fresh) : 0;
    if (error == 0 && fresh != NULL) {
        process->limits[resource] = *fresh;
        if (resource == RLIMIT_CPU)
            cpu_timer_start(process);
    }
    spin_unlock_irqrestore(&handlers->lock, flags);
    if (error == 0 && fresh != NULL &&
        (resource == RLIMIT_AS || resource == RLIMIT_DATA || resource == RLIMIT_STACK ||
            resource == RLIMIT_MEMLOCK))
        limits_to_space(task);
    return error;
}

SYSCALL2(getrlimit, unsigned, resource, uintptr_t, user)
{
    struct rlimit old;
    int error = limit_exchange(task_current(), resource, NULL, &old);
    return error != 0 ? error : copy_to_user(user, &old, sizeof(old));
}

SYSCALL2(setrlimit, unsigned, resource, uintptr_t, user)
{
    struct rlimit fresh, old;
    if (copy_from_user(&fresh, user, sizeof(fresh)) != 0)
        return -EFAULT;
    return limit_exchange(task_current(), resource, &fresh, &old);
}

// Limits of another process: the same ids as ours in all places, or CAP_SYS_RESOURCE.
static bool may_limit(struct task *task)
{
    const struct credentials *own = credentials_current();
    if (task->process == process_current() || capable(CAP_SYS_RESOURCE))
        return true;
    rcu_read_lock();
    const struct credentials *other = rcu_load(task->cred);
    bool same = own->uid == other->euid && own->uid == other->suid && own->uid == other->uid &&
                own->gid == other->egid && own->gid == other->sgid && own->gid == other->gid;
    rcu_read_unlock();
    return same;
}

SYSCALL4(prlimit64, int32_t, pid, unsigned, resource, uintptr_t, fresh_user, uintptr_t, old_user)
{
    struct rlimit fresh, old;
    if (fresh_user != 0 && copy_from_user(&fresh, fresh_user, sizeof(fresh)) != 0)
        return -EFAULT;
    struct task *task = task_current();
    if (pid == 0)
        task_get(task);
    else
        task = task_find_get(pid);
    if (task == NULL)
        return -ESRCH;
    int error = may_limit(task) ? 0 : -EPERM;
    if (error == 0)
        error = limit_exchange(task, resource, fresh_user != 0 ? &fresh : NULL, &old);
    task_put(task);
    if (error != 0 || old_user == 0)
        return error;
    return copy_to_user(old_user, &old, sizeof(old));
}
