// SPDX-License-Identifier: MIT
// The mask of blocked signals of the running task.
#include "kernel/process/process.h"

void signal_recalculate_locked(struct task *task)
{
    struct process *process = task->process;
    assert_lock_held(&task->handlers->lock);
    uint64_t pending = task->pending.pending | process->pending.pending;
    if ((pending & ~task->signal_mask) != 0 || process->stopped || process->continue_notify ||
        task->restore_saved_mask || thread_kill_pending(&task->thread))
        thread_work_set(&task->thread, THREAD_WORK_SIGNAL);
    else if (thread_signal_pending(&task->thread))
        thread_work_clear(&task->thread, THREAD_WORK_SIGNAL);
}

void signal_recalculate(void)
{
    signal_recalculate_locked(task_current());
}

// Process-wide signals which this task was to take and now blocks are handed to another task.
static void hand_over(struct task *task, uint64_t newly_blocked)
{
    struct process *process = task->process;
    uint64_t left = newly_blocked & process->pending.pending;
    if (left == 0 || process->thread_count <= 1)
        return;
    struct task *other;
    list_for_each_entry (other, &process->threads, thread_node) {
        if (other != task && !other->exiting && (left & ~other->signal_mask) != 0)
            signal_wake(other, false);
    }
}

void signal_set_mask(uint64_t mask)
{
    struct task *task = task_current();
    mask &= ~SIGNAL_SET_UNBLOCKABLE;
    uint64_t flags = spin_lock_irqsave(&task->handlers->lock);
    uint64_t newly_blocked = mask & ~task->signal_mask;
    task->signal_mask = mask;
    if (unlikely(newly_blocked != 0))
        hand_over(task, newly_blocked);
    signal_recalculate_locked(task);
    spin_unlock_irqrestore(&task->handlers->lock, flags);
}

void signal_mask_push(uint64_t mask)
{
    struct task *task = task_current();
    task->saved_mask = task->signal_mask;
    signal_set_mask(mask);
}

void signal_mask_pop(bool interrupted)
{
    struct task *task = task_current();
    if (interrupted) {
        task->restore_saved_mask = true;
        thread_work_set(&task->thread, THREAD_WORK_SIGNAL);
    } else {
        signal_set_mask(task->saved_mask);
    }
}

int signal_mask_from_user(uint64_t *mask, uintptr_t user, size_t size)
{
    if (size != sizeof(*mask))
        return -EINVAL;
    return user_get_u64(mask, user);
}

bool signal_is_ignored_or_blocked(int signal)
{
    struct task *task = task_current();
    uint64_t flags = spin_lock_irqsave(&task->handlers->lock);
    bool result = (task->signal_mask & SIGNAL_BIT(signal)) != 0 ||
                  task->handlers->actions[signal - 1].handler == (uintptr_t)SIG_IGN;
    spin_unlock_irqrestore(&task->handlers->lock, flags);
    return result;
}
