// SPDX-License-Identifier: MIT
// System calls of scheduling: policies and parameters, affinity, nice values, getcpu.
//
// A call first finds out what it would set and whether the caller may (sched(7), "Privileges and
// resource limits"), then sets it. SCHED_FLAG_RECLAIM (bandwidth that others leave) does not exist
// here: it is refused like any unknown flag.
#include "kernel/syscall/syscall.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/base/string.h"
#include "kernel/core/cpumask.h"
#include "kernel/core/timespec.h"
#include "kernel/process/credentials.h"
#include "kernel/ipc/futex.h"
#include "kernel/process/task.h"
#include "sched/sched.h"
#include <linux/capability.h>
#include <linux/resource.h>
#include <linux/sched.h>
#include <linux/sched/types.h>

#define RT_PRIORITY_MAX 99
#define KEEP_POLICY     UINT32_MAX // policy of struct sched_request: leave it

static_assert(sizeof(struct sched_attr) == SCHED_ATTR_SIZE_VER1);

// A task by number, 0 for the running one, with a reference.
static struct task *sched_task_get(int32_t tid)
{
    if (tid != 0)
        return task_find_get(tid);
    task_get(task_current());
    return task_current();
}

// May the running task change this one's scheduling, as far as identities go?
static bool sched_identity_fits(struct task *task)
{
    const struct credentials *own = credentials_current();
    rcu_read_lock();
    const struct credentials *other = rcu_load(task->cred);
    bool fits = own->euid == other->euid || own->euid == other->uid;
    rcu_read_unlock();
    return fits || capable(CAP_SYS_NICE);
}

static uint64_t task_limit(const struct task *task, unsigned resource)
{
    return __atomic_load_n(&task->process->limits[resource].rlim_cur, __ATOMIC_RELAXED);
}

// May the task get this nice value, without regard to identities?
static bool sched_may_be_nice(const struct task *task, int nice)
{
    return (uint64_t)(20 - nice) <= task_limit(task, RLIMIT_NICE) || capable(CAP_SYS_NICE);
}

// ---- policies ----------------------------------------------------------------------------------

struct sched_request {
    uint32_t policy; // or KEEP_POLICY
    uint32_t rt_priority;
    int nice;
    bool set_nice;
    bool reset_on_fork;
    bool keep_parameters;
    bool overrun_signal;
    uint64_t runtime_ns, deadline_ns, period_ns;
};

static bool policy_is_rt(uint32_t policy)
{
    return policy == SCHED_FIFO || policy == SCHED_RR;
}

static bool policy_is_fair(uint32_t policy)
{
    return policy == SCHED_NORMAL || policy == SCHED_BATCH || policy == SCHED_IDLE;
}

// Fills in what the request leaves as it is; -EINVAL for what no task can have.
static int sched_request_complete(struct sched_request *request, const struct sched_parameters *old)
{
    if (request->policy == KEEP_POLICY) {
        request->policy = old->policy;
        request->reset_on_fork = old->reset_on_fork;
    }
    if (request->keep_parameters) {
        request->rt_priority = old->rt_priority;
        request->set_nice = false;
        request->overrun_signal = old->overrun_signal;
        request->runtime_ns = old->runtime_ns;
        request->deadline_ns = old->deadline_ns;
        request->period_ns = old->period_ns;
    }
    if (!policy_is_rt(request->policy) && !policy_is_fair(request->policy) &&
        request->policy != SCHED_DEADLINE)
        return -EINVAL;
    if (request->rt_priority > RT_PRIORITY_MAX ||
        policy_is_rt(request->policy) != (request->rt_priority != 0))
        return -EINVAL;
    return 0;
}

static int sched_request_permitted(
    const struct sched_request *request, const struct sched_parameters *old, struct task *task)
{
    if (capable(CAP_SYS_NICE))
        return 0;
    if (policy_is_fair(request->policy) && request->set_nice && request->nice < old->nice &&
        !sched_may_be_nice(task, request->nice))
        return -EPERM;
    if (request->policy == SCHED_DEADLINE)
        return -EPERM;
    if (policy_is_rt(request->policy)) {
        uint64_t limit = task_limit(task, RLIMIT_RTPRIO);
        if (request->policy != old->policy && limit == 0)
            return -EPERM;
        if (request->rt_priority > old->rt_priority && request->rt_priority > limit)
            return -EPERM;
    }
    if (old->policy == SCHED_IDLE && request->policy != SCHED_IDLE &&
        !sched_may_be_nice(task, old->nice))
        return -EPERM;
    if (!sched_identity_fits(task) || (old->reset_on_fork && !request->reset_on_fork))
        return -EPERM;
    return 0;
}

static int64_t sched_request_apply(int32_t tid, struct sched_request request)
{
    struct sched_parameters old;
    struct task *task = sched_task_get(tid);
    if (task == NULL)
        return -ESRCH;
    sched_parameters_read(&task->thread, &old);
    int error = sched_request_complete(&request, &old);
    const struct sched_parameters wanted = {.policy = request.policy,
        .rt_priority = request.rt_priority,
        .overrun_signal = request.overrun_signal,
        .runtime_ns = request.runtime_ns,
        .deadline_ns = request.deadline_ns,
        .period_ns = request.period_ns};
    if (error == 0 && !sched_parameters_valid(&wanted))
        error = -EINVAL;
    if (error == 0)
        error = sched_request_permitted(&request, &old, task);
    if (error == 0)
        error = sched_set_policy(&task->thread, &wanted);
    if (error == 0 && request.set_nice && policy_is_fair(request.policy))
        error = sched_set_nice(&task->thread, request.nice);
    if (error == 0)
        sched_set_reset_on_fork(&task->thread, request.reset_on_fork);
    if (error == 0)
        futex_pi_priority_changed(task);
    task_put(task);
    return error;
}

static int sched_param_from_user(uintptr_t user, uint32_t *priority)
{
    int32_t value;
    if (copy_from_user(&value, user, sizeof(value)) != 0)
        return -EFAULT;
    if (value < 0 || value > RT_PRIORITY_MAX)
        return -EINVAL;
    *priority = (uint32_t)value;
    return 0;
}

static int64_t sched_set_from_param(int32_t tid, struct sched_request request, uintptr_t param)
{
    if (param == 0 || tid < 0)
        return -EINVAL;
    int error = sched_param_from_user(param, &request.rt_priority);
    return error != 0 ? error : sched_request_apply(tid, request);
}

SYSCALL3(sched_setscheduler, int32_t, tid, int32_t, policy, uintptr_t, param)
{
    if (policy < 0)
        return -EINVAL;
    return sched_set_from_param(tid,
        (struct sched_request){.policy = (uint32_t)policy & ~(uint32_t)SCHED_RESET_ON_FORK,
            .reset_on_fork = (policy & SCHED_RESET_ON_FORK) != 0},
        param);
}

SYSCALL2(sched_setparam, int32_t, tid, uintptr_t, param)
{
    return sched_set_from_param(tid, (struct sched_request){.policy = KEEP_POLICY}, param);
}

static int64_t sched_read(int32_t tid, struct sched_parameters *parameters)
{
    if (tid < 0)
        return -EINVAL;
    struct task *task = sched_task_get(tid);
    if (task == NULL)
        return -ESRCH;
    sched_parameters_read(&task->thread, parameters);
    task_put(task);
    return 0;
}

SYSCALL1(sched_getscheduler, int32_t, tid)
{
    struct sched_parameters parameters;
    int64_t error = sched_read(tid, &parameters);
    if (error != 0)
        return error;
    return (int64_t)(parameters.policy | (parameters.reset_on_fork ? SCHED_RESET_ON_FORK : 0));
}

SYSCALL2(sched_getparam, int32_t, tid, uintptr_t, param)
{
    struct sched_parameters parameters;
    if (param == 0)
        return -EINVAL;
    int64_t error = sched_read(tid, &parameters);
    if (error != 0)
        return error;
    int32_t priority = (int32_t)parameters.rt_priority;
    return copy_to_user(param, &priority, sizeof(priority));
}

SYSCALL1(sched_get_priority_max, int32_t, policy)
{
    if (policy >= 0 && policy_is_rt((uint32_t)policy))
        return RT_PRIORITY_MAX;
    return policy == SCHED_DEADLINE || (policy >= 0 && policy_is_fair((uint32_t)policy)) ? 0
                                                                                         : -EINVAL;
}

SYSCALL1(sched_get_priority_min, int32_t, policy)
{
    if (policy >= 0 && policy_is_rt((uint32_t)policy))
        return 1;
    return policy == SCHED_DEADLINE || (policy >= 0 && policy_is_fair((uint32_t)policy)) ? 0
                                                                                         : -EINVAL;
}

SYSCALL2(sched_rr_get_interval, int32_t, tid, uintptr_t, interval)
{
    if (tid < 0)
        return -EINVAL;
    struct task *task = sched_task_get(tid);
    if (task == NULL)
        return -ESRCH;
    uint64_t interval_ns = sched_rr_interval_ns(&task->thread);
    task_put(task);
    return timespec_to_user(interval, interval_ns);
}

// The attributes in the program's version of the structure (sched_setattr(2)): shorter ones are
// filled with zeros, longer ones must be zero where this kernel knows nothing.
static int sched_attr_from_user(struct sched_attr *attr, uintptr_t user)
{
    uint32_t size;
    if (user_get_u32(&size, user) != 0)
        return -EFAULT;
    if (size == 0)
        size = SCHED_ATTR_SIZE_VER0;
    if (size < SCHED_ATTR_SIZE_VER0 || size > PAGE_SIZE)
        goto too_big;
    memset(attr, 0, sizeof(*attr));
    if (copy_from_user(attr, user, MIN((size_t)size, sizeof(*attr))) != 0)
        return -EFAULT;
    for (size_t at = sizeof(*attr); at < size; at += sizeof(uint64_t)) {
        uint64_t rest = 0;
        if (copy_from_user(&rest, user + at, MIN(size - at, sizeof(rest))) != 0)
            return -EFAULT;
        if (rest != 0)
            goto too_big;
    }
    return 0;

too_big:
    return user_put_u32(user, (uint32_t)sizeof(*attr)) != 0 ? -EFAULT : -E2BIG;
}

SYSCALL3(sched_setattr, int32_t, tid, uintptr_t, user, uint32_t, flags)
{
    const uint64_t known_flags =
        SCHED_FLAG_RESET_ON_FORK | SCHED_FLAG_DL_OVERRUN | SCHED_FLAG_KEEP_ALL;
    struct sched_attr attr;
    if (user == 0 || tid < 0 || flags != 0)
        return -EINVAL;
    int error = sched_attr_from_user(&attr, user);
    if (error != 0)
        return error;
    if ((int32_t)attr.sched_policy < 0 || (attr.sched_flags & ~known_flags) != 0)
        return -EINVAL;
    struct sched_request request = {
        .policy = (attr.sched_flags & SCHED_FLAG_KEEP_POLICY) ? KEEP_POLICY : attr.sched_policy,
        .rt_priority = attr.sched_priority,
        .nice = CLAMP((int)attr.sched_nice, -20, 19),
        .set_nice = true,
        .reset_on_fork = (attr.sched_flags & SCHED_FLAG_RESET_ON_FORK) != 0,
        .keep_parameters = (attr.sched_flags & SCHED_FLAG_KEEP_PARAMS) != 0,
        .overrun_signal = (attr.sched_flags & SCHED_FLAG_DL_OVERRUN) != 0,
        .runtime_ns = attr.sched_runtime,
        .deadline_ns = attr.sched_deadline,
        .period_ns = attr.sched_period,
    };
    return sched_request_apply(tid, request);
}

SYSCALL4(sched_getattr, int32_t, tid, uintptr_t, user, uint32_t, size, uint32_t, flags)
{
    struct sched_parameters parameters;
    if (user == 0 || size > PAGE_SIZE || size < SCHED_ATTR_SIZE_VER0 || flags != 0)
        return -EINVAL;
    int64_t error = sched_read(tid, &parameters);
    if (error != 0)
        return error;
    struct sched_attr attr = {
        .size = MIN(size, (uint32_t)sizeof(attr)),
        .sched_policy = parameters.policy,
        .sched_flags = (parameters.reset_on_fork ? SCHED_FLAG_RESET_ON_FORK : 0) |
                       (parameters.overrun_signal ? SCHED_FLAG_DL_OVERRUN : 0),
        .sched_priority = parameters.rt_priority,
        .sched_nice = policy_is_fair(parameters.policy) ? parameters.nice : 0,
        .sched_runtime = parameters.runtime_ns,
        .sched_deadline = parameters.deadline_ns,
        .sched_period = parameters.period_ns,
    };
    return copy_to_user(user, &attr, attr.size);
}

SYSCALL0(sched_yield)
{
    sched_yield();
    return 0;
}

// ---- where -------------------------------------------------------------------------------------

SYSCALL3(sched_setaffinity, int32_t, tid, uint32_t, size, uintptr_t, user)
{
    struct cpumask mask = {0};
    if (copy_from_user(&mask, user, MIN((size_t)size, sizeof(mask))) != 0)
        return -EFAULT;
    struct task *task = sched_task_get(tid);
    if (task == NULL)
        return -ESRCH;
    int error = sched_identity_fits(task) ? sched_set_affinity(&task->thread, &mask) : -EPERM;
    task_put(task);
    return error;
}

// Bytes of a mask as programs see it: as many words as there are CPUs for.
static size_t affinity_bytes(void)
{
    return DIV_ROUND_UP(cpu_count_possible, 64) * sizeof(uint64_t);
}

SYSCALL3(sched_getaffinity, int32_t, tid, uint32_t, size, uintptr_t, user)
{
    struct cpumask mask;
    if ((uint64_t)size * 8 < cpu_count_possible || size % sizeof(uint64_t) != 0)
        return -EINVAL;
    struct task *task = sched_task_get(tid);
    if (task == NULL)
        return -ESRCH;
    sched_get_affinity(&task->thread, &mask);
    task_put(task);
    for (int word = 0; word < CPUMASK_WORDS; word++)
        mask.words[word] &= __atomic_load_n(&cpu_active.words[word], __ATOMIC_RELAXED);
    size_t bytes = MIN((size_t)size, affinity_bytes());
    return copy_to_user(user, &mask, bytes) != 0 ? -EFAULT : (int64_t)bytes;
}

SYSCALL3(getcpu, uintptr_t, cpu, uintptr_t, node, uintptr_t, unused)
{
    (void)unused;
    const uint32_t here = cpu_current();
    if (cpu != 0 && user_put_u32(cpu, here) != 0)
        return -EFAULT;
    if (node != 0 && user_put_u32(node, cpu_nodes[here]) != 0)
        return -EFAULT;
    return 0;
}

// ---- nice values -------------------------------------------------------------------------------

// Visits the tasks that (which, who) of getpriority(2) names; 0 or -EINVAL.
static int priority_for_each(
    int which, int32_t who, void (*visit)(struct task *task, void *context), void *context)
{
    if (which == PRIO_PROCESS) {
        struct task *task = sched_task_get(who);
        if (task != NULL) {
            visit(task, context);
            task_put(task);
        }
        return 0;
    }
    if (which != PRIO_PGRP && which != PRIO_USER)
        return -EINVAL;
    int32_t group = who != 0 ? who : __atomic_load_n(&process_current()->group, __ATOMIC_RELAXED);
    uint32_t uid = who != 0 ? (uint32_t)who : credentials_current()->uid;
    struct process *process = process_next_get(0);
    while (process != NULL) {
        struct task *task = process_thread_next_get(process, 0);
        while (task != NULL) {
            rcu_read_lock();
            bool is_users = rcu_load(task->cred)->uid == uid;
            rcu_read_unlock();
            if (which == PRIO_USER ? is_users
                                   : __atomic_load_n(&process->group, __ATOMIC_RELAXED) == group)
                visit(task, context);
            int32_t tid = task->tid;
            task_put(task);
            task = process_thread_next_get(process, tid);
        }
        int32_t pid = process->pid;
        process_put(process);
        process = process_next_get(pid);
    }
    return 0;
}

static void priority_note(struct task *task, void *context)
{
    // As getpriority(2) returns it at the system call: 1..40, more is better; 0: nobody yet.
    int *best = context;
    struct sched_parameters parameters;
    sched_parameters_read(&task->thread, &parameters);
    *best = MAX(*best, 20 - parameters.nice);
}

SYSCALL2(getpriority, int, which, int32_t, who)
{
    int best = 0;
    int error = priority_for_each(which, who, priority_note, &best);
    if (error != 0)
        return error;
    return best != 0 ? best : -ESRCH;
}

struct priority_change {
    int nice;
    int result;
};

static void priority_change(struct task *task, void *context)
{
    struct priority_change *change = context;
    struct sched_parameters old;
    sched_parameters_read(&task->thread, &old);
    if (!sched_identity_fits(task)) {
        change->result = -EPERM;
    } else if (change->nice < old.nice && !sched_may_be_nice(task, change->nice)) {
        change->result = -EACCES;
    } else {
        int error = sched_set_nice(&task->thread, change->nice);
        if (change->result == -ESRCH)
            change->result = error;
    }
}

SYSCALL3(setpriority, int, which, int32_t, who, int, nice)
{
    struct priority_change change = {.nice = CLAMP(nice, -20, 19), .result = -ESRCH};
    int error = priority_for_each(which, who, priority_change, &change);
    return error != 0 ? error : change.result;
}
