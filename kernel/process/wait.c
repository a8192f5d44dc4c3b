// SPDX-License-Identifier: MIT
// Waiting for children: wait4(2) and waitid(2).
//
// Dead children stand on a list of their own in the order of their deaths, so that waiting for any
// child does not look at the living ones, unless stops and continuations are asked for too.
#include "kernel/process/process.h"
#include "sched/sched.h"
#include <linux/wait.h>

// Is `child` one that the call is about?
static bool eligible(const struct process *child, const struct wait_request *request)
{
    switch (request->which) {
    case WAIT_PID:
        if (child->pid != request->id)
            return false;
        break;
    case WAIT_GROUP:
        if (child->group != request->id)
            return false;
        break;
    case WAIT_ANY:
        break;
    }
    if ((request->options & __WNOTHREAD) != 0 && child->parent_tid != task_current()->tid)
        return false;
    if ((request->options & __WALL) != 0)
        return true;
    bool clone_child = child->leader->exit_signal != SIGCHLD;
    return clone_child == ((request->options & __WCLONE) != 0);
}

static void fill_identity(struct process *child, struct wait_result *result)
{
    result->pid = child->pid;
    rcu_read_lock();
    result->uid = rcu_load(child->leader->cred)->uid;
    rcu_read_unlock();
}

static void usage_add(struct task_usage *sum, const struct task_usage *part)
{
    sum->user_ns += part->user_ns;
    sum->system_ns += part->system_ns;
    sum->minor_faults += part->minor_faults;
    sum->major_faults += part->major_faults;
    sum->switches_voluntary += part->switches_voluntary;
    sum->switches_involuntary += part->switches_involuntary;
    sum->resident_peak_pages = MAX(sum->resident_peak_pages, part->resident_peak_pages);
}

// The times of a child and of those that it waited for count as the parent's children's.
static void account_child(struct process *parent, struct process *child)
{
    struct task_usage usage = child->dead_threads;
    usage_add(&usage, &child->children_usage);
    spin_lock(&parent->handlers->lock);
    usage_add(&parent->children_usage, &usage);
    spin_unlock(&parent->handlers->lock);
}

static void report_zombie(struct process *child, struct wait_result *result)
{
    uint32_t status = child->group_exit_code;
    fill_identity(child, result);
    result->status = status;
    if ((status & 0x7f) == 0) {
        result->code = CLD_EXITED;
        result->info_status = (int32_t)(status >> 8 & 0xff);
    } else {
        result->code = (status & 0x80) != 0 ? CLD_DUMPED : CLD_KILLED;
        result->info_status = (int32_t)(status & 0x7f);
    }
    result->usage = child->dead_threads;
    usage_add(&result->usage, &child->children_usage);
}

static bool report_stop(struct process *child, int options, struct wait_result *result)
{
    uint64_t flags;
    bool found = false;
    struct signal_handlers *handlers = process_signals_lock(child, &flags);
    if ((options & WSTOPPED) != 0 && child->stopped && child->stop_pending == 0 &&
        !child->stop_reported) {
        result->status = child->stop_signal << 8 | 0x7f;
        result->code = CLD_STOPPED;
        result->info_status = (int32_t)child->stop_signal;
        if ((options & WNOWAIT) == 0)
            child->stop_reported = true;
        found = true;
    } else if ((options & WCONTINUED) != 0 && child->continued) {
        result->status = 0xffff;
        result->code = CLD_CONTINUED;
        result->info_status = SIGCONT;
        if ((options & WNOWAIT) == 0)
            child->continued = false;
        found = true;
    }
    spin_unlock_irqrestore(&handlers->lock, flags);
    if (found) {
        fill_identity(child, result);
        process_usage_sum(child, &result->usage);
    }
    return found;
}

// A dead child that is waited for. It is released unless it is only looked at.
static void take_zombie(struct process *child, const struct wait_request *request,
    struct wait_result *result, struct task **released)
{
    report_zombie(child, result);
    if ((request->options & WNOWAIT) == 0) {
        account_child(process_current(), child);
        *released = process_release_locked(child);
    }
}

// The child with the pid that is asked for: no list is walked. Results as look().
static int look_at_pid(
    const struct wait_request *request, struct wait_result *result, struct task **released)
{
    struct process *child = process_lookup(request->id);
    if (child == NULL || child->parent != process_current() || child->unwaited ||
        !eligible(child, request))
        return -ECHILD;
    if (child->state != PROCESS_ZOMBIE)
        return report_stop(child, request->options, result) ? 1 : 0;
    if ((request->options & WEXITED) == 0)
        return 0;
    take_zombie(child, request, result, released);
    return 1;
}

// One look at all children, under task_list_lock. 1: result is filled (*released: a leader to be
// let go); 0: nothing yet; -ECHILD: there is no such child.
static int look(
    const struct wait_request *request, struct wait_result *result, struct task **released)
{
    struct process *parent = process_current();
    struct process *child;
    bool any = false;
    if (request->which == WAIT_PID)
        return look_at_pid(request, result, released);
    list_for_each_entry (child, &parent->zombies, sibling) {
        if (!eligible(child, request))
            continue;
        any = true;
        if ((request->options & WEXITED) == 0)
            continue;
        take_zombie(child, request, result, released);
        return 1;
    }
    // Without these options one living child is as good as all.
    bool look_at_all = (request->options & (WSTOPPED | WCONTINUED)) != 0;
    list_for_each_entry (child, &parent->children, sibling) {
        if (!eligible(child, request))
            continue;
        any = true;
        if (!look_at_all)
            break;
        if (report_stop(child, request->options, result))
            return 1;
    }
    return any ? 0 : -ECHILD;
}

static int look_locked(const struct wait_request *request, struct wait_result *result)
{
    struct task *released = NULL;
    uint64_t flags = spin_lock_irqsave(&task_list_lock);
    int found = look(request, result, &released);
    spin_unlock_irqrestore(&task_list_lock, flags);
    if (released != NULL)
        process_release_finish(released);
    return found;
}

int process_wait(const struct wait_request *request, struct wait_result *result)
{
    struct wait_queue *queue = &process_current()->child_wait;
    *result = (struct wait_result){};
    int found = look_locked(request, result);
    if (found != 0)
        return found < 0 ? found : 0;
    if ((request->options & WNOHANG) != 0)
        return 0;
    struct wait_entry entry;
    wait_entry_init(&entry, false);
    for (;;) {
        wait_prepare(queue, &entry, THREAD_INTERRUPTIBLE);
        found = look_locked(request, result);
        if (found != 0)
            break;
        if (sched_block(UINT64_MAX) != 0) {
            found = -ERESTARTSYS;
            break;
        }
    }
    wait_finish(queue, &entry);
    return found < 0 ? found : 0;
}
