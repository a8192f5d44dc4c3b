// SPDX-License-Identifier: MIT
// ioprio_set, ioprio_get: kept with each task and inherited, for whoever orders I/O.
#include "kernel/core/errno.h"
#include "kernel/process/credentials.h"
#include "kernel/process/task.h"
#include "kernel/syscall/syscall.h"
#include <linux/capability.h>
#include <linux/ioprio.h>

// 0, -EINVAL, -EPERM (real time needs the capability).
static int ioprio_check(uint32_t priority)
{
    uint32_t class = IOPRIO_PRIO_CLASS(priority);
    uint32_t data = IOPRIO_PRIO_DATA(priority);
    switch (class) {
    case IOPRIO_CLASS_RT:
        if (!capable(CAP_SYS_ADMIN) && !capable(CAP_SYS_NICE))
            return -EPERM;
        [[fallthrough]];
    case IOPRIO_CLASS_BE:
        return data >= IOPRIO_NR_LEVELS ? -EINVAL : 0;
    case IOPRIO_CLASS_IDLE:
        return 0;
    case IOPRIO_CLASS_NONE:
        return data != 0 ? -EINVAL : 0;
    default:
        return -EINVAL;
    }
}

static bool ioprio_may_change(const struct task *task)
{
    const struct credentials *self = credentials_current();
    rcu_read_lock();
    const struct credentials *cred = rcu_load(task->cred);
    bool may = cred->uid == self->euid || cred->uid == self->uid;
    rcu_read_unlock();
    return may || capable(CAP_SYS_NICE);
}

struct ioprio_call {
    bool set;
    uint32_t priority; // to set, or the best one found
    bool found;
    int error;
};

static void ioprio_visit(struct ioprio_call *call, struct task *task)
{
    call->found = true;
    if (call->set) {
        if (ioprio_may_change(task))
            task->io_priority = (uint16_t)call->priority;
        else
            call->error = -EPERM;
    } else if (call->priority == 0 ||
               (task->io_priority != 0 && task->io_priority < call->priority)) {
        call->priority = task->io_priority; // a smaller number is a higher priority
    }
}

static bool ioprio_is_meant(struct process *process, int which, int32_t who)
{
    if (which == IOPRIO_WHO_PGRP)
        return process->group == who;
    rcu_read_lock();
    bool same = rcu_load(process->leader->cred)->uid == (uint32_t)who;
    rcu_read_unlock();
    return same;
}

static int64_t ioprio_for_each(struct ioprio_call *call, int which, int32_t who)
{
    if (which == IOPRIO_WHO_PROCESS) {
        struct task *task = who == 0 ? task_current() : task_find_get(who);
        if (task == NULL)
            return -ESRCH;
        ioprio_visit(call, task);
        if (who != 0)
            task_put(task);
        return call->error;
    }
    if (which != IOPRIO_WHO_PGRP && which != IOPRIO_WHO_USER)
        return -EINVAL;
    if (who == 0)
        who = which == IOPRIO_WHO_PGRP ? process_current()->group
                                       : (int32_t)credentials_current()->uid;
    struct process *process;
    for (int32_t pid = 0; (process = process_next_get(pid)) != NULL; process_put(process)) {
        pid = process->pid;
        if (ioprio_is_meant(process, which, who))
            ioprio_visit(call, process->leader);
    }
    return call->found ? call->error : -ESRCH;
}

SYSCALL3(ioprio_set, int, which, int32_t, who, uint32_t, priority)
{
    struct ioprio_call call = {.set = true, .priority = priority};
    int error = ioprio_check(priority);
    return error != 0 ? error : ioprio_for_each(&call, which, who);
}

SYSCALL2(ioprio_get, int, which, int32_t, who)
{
    struct ioprio_call call = {};
    int64_t error = ioprio_for_each(&call, which, who);
    return error != 0 ? error : call.priority;
}
