// SPDX-License-Identifier: MIT
// The way back to user mode: signals are taken off the queues and acted upon, stopped processes
// stop, dying ones die, interrupted system calls are restarted or end with EINTR.
#include "kernel/arch/x86/arch.h"
#include "kernel/core/upcall.h"
#include "kernel/process/process.h"
#include "sched/sched.h"
#include <asm/unistd_64.h>

#define SYSCALL_INSTRUCTION_BYTES 2

// ---- restarting --------------------------------------------------------------------------------

static bool in_system_call(const struct trap_frame *frame)
{
    return frame->syscall_number != UINT64_MAX;
}

static void restart_as(struct trap_frame *frame, uint64_t number)
{
    frame->rax = number;
    frame->rip -= SYSCALL_INSTRUCTION_BYTES;
    frame->syscall_number = UINT64_MAX;
}

// A handler will run: the call either starts again when it returns, or has ended with EINTR.
static void restart_before_handler(struct trap_frame *frame, const struct signal_action *action)
{
    if (!in_system_call(frame))
        return;
    switch ((int64_t)frame->rax) {
    case -ERESTART_RESTARTBLOCK:
    case -ERESTARTNOHAND:
        frame->rax = (uint64_t)-EINTR;
        break;
    case -ERESTARTSYS:
        if ((action->flags & SA_RESTART) == 0) {
            frame->rax = (uint64_t)-EINTR;
            break;
        }
        [[fallthrough]];
    case -ERESTARTNOINTR:
        restart_as(frame, frame->syscall_number);
        break;
    default:
        break;
    }
    frame->syscall_number = UINT64_MAX;
}

static void restart_without_handler(struct trap_frame *frame)
{
    if (!in_system_call(frame))
        return;
    switch ((int64_t)frame->rax) {
    case -ERESTARTNOHAND:
    case -ERESTARTSYS:
    case -ERESTARTNOINTR:
        restart_as(frame, frame->syscall_number);
        break;
    case -ERESTART_RESTARTBLOCK:
        restart_as(frame, __NR_restart_syscall);
        break;
    default:
        break;
    }
}

// ---- stopping ----------------------------------------------------------------------------------

bool process_stop_thread_left(struct task *task)
{
    struct process *process = task->process;
    if (!task->stop_counted)
        return false;
    task->stop_counted = false;
    return --process->stop_pending == 0 && process->stopped;
}

void process_notify_stop(struct process *process, int code)
{
    siginfo_t info;
    uint64_t flags = spin_lock_irqsave(&task_list_lock);
    struct process *parent = process->parent;
    if (parent == NULL)
        goto out;
    signal_fill_child_info(
        process, code, code == CLD_CONTINUED ? SIGCONT : process->stop_signal, &info);
    uint64_t inner;
    struct signal_handlers *handlers = process_signals_lock(parent, &inner);
    const struct signal_action *action = &handlers->actions[SIGCHLD - 1];
    if (action->handler != (uintptr_t)SIG_IGN && (action->flags & SA_NOCLDSTOP) == 0)
        (void)signal_send_locked(parent, NULL, SIGCHLD, &info);
    spin_unlock_irqrestore(&handlers->lock, inner);
    wait_wake_all(&parent->child_wait);
out:
    spin_unlock_irqrestore(&task_list_lock, flags);
}

// Every task of the process is to stop; the lock is held.
static void stop_begin(struct process *process, int signal)
{
    process->stopped = true;
    process->stop_reported = false;
    process->continued = false;
    process->stop_signal = (uint32_t)signal;
    process->stop_pending = 0;
    struct task *task;
    list_for_each_entry (task, &process->threads, thread_node) {
        if (task->exiting)
            continue;
        task->stop_counted = true;
        process->stop_pending++;
        if (task != task_current())
            signal_wake(task, false);
    }
}

// The running task stops until SIGCONT or death. Called and returns with the lock held.
static void stop_sleep(struct task *task, uint64_t *flags)
{
    struct process *process = task->process;
    struct spinlock *lock = &task->handlers->lock;
    if (process_stop_thread_left(task)) {
        spin_unlock_irqrestore(lock, *flags);
        process_notify_stop(process, CLD_STOPPED);
        *flags = spin_lock_irqsave(lock);
    }
    while (process->stopped && !thread_kill_pending(&task->thread)) {
        thread_prepare_sleep(
            THREAD_STOPPED); // under the lock: whoever ends the stop wakes afterwards
        spin_unlock_irqrestore(lock, *flags);
        (void)sched_block(UINT64_MAX);
        *flags = spin_lock_irqsave(lock);
    }
}

// ---- acting upon one signal --------------------------------------------------------------------

// The default action of a stop signal. The lock is held; it is given up in between.
static void act_stop(struct task *task, int signal, uint64_t *flags)
{
    struct process *process = task->process;
    struct spinlock *lock = &task->handlers->lock;
    if (signal != SIGSTOP) {
        // Who belongs to an orphaned group is not stopped from the terminal: nobody could continue
        // it.
        spin_unlock_irqrestore(lock, *flags);
        bool orphaned = process_group_is_orphaned(process->group);
        *flags = spin_lock_irqsave(lock);
        bool continued =
            ((task->pending.pending | process->pending.pending) & SIGNAL_BIT(SIGCONT)) != 0;
        if (orphaned || continued)
            return;
    }
    if (!process->stopped && !process->group_exit)
        stop_begin(process, signal);
}

// A handler is about to run: blocks what it wants blocked. The mask to restore behind it; the lock
// is held.
static uint64_t block_for_handler(struct task *task, int signal, const struct signal_action *action)
{
    uint64_t mask = task->restore_saved_mask ? task->saved_mask : task->signal_mask;
    task->restore_saved_mask = false;
    uint64_t blocked = action->mask;
    if ((action->flags & SA_NODEFER) == 0)
        blocked |= SIGNAL_BIT(signal);
    task->signal_mask |= blocked & ~SIGNAL_SET_UNBLOCKABLE;
    // The rest of what signal_recalculate_locked() asks was found false since the lock was taken.
    uint64_t pending = task->pending.pending | task->process->pending.pending;
    if ((pending & ~task->signal_mask) == 0)
        thread_work_clear(&task->thread, THREAD_WORK_SIGNAL);
    return mask;
}

// Takes signals until one has a handler, whose action is copied to *action and for which the mask
// is set (*mask: the one to restore). 0: there is none. A fatal one does not return.
static int take_signal(
    struct task *task, siginfo_t *info, struct signal_action *action, uint64_t *mask)
{
    struct process *process = task->process;
    struct signal_handlers *handlers = task->handlers;
    int signal;
    uint64_t flags = spin_lock_irqsave(&handlers->lock);
    for (;;) {
        if (process->group_exit || thread_kill_pending(&task->thread)) {
            uint32_t status = process->group_exit ? process->group_exit_code : 0;
            spin_unlock_irqrestore(&handlers->lock, flags);
            task_exit(status);
        }
        if (unlikely(process->continue_notify)) {
            process->continue_notify = false;
            spin_unlock_irqrestore(&handlers->lock, flags);
            process_notify_stop(process, CLD_CONTINUED);
            flags = spin_lock_irqsave(&handlers->lock);
            continue;
        }
        if (unlikely(process->stopped)) {
            stop_sleep(task, &flags);
            continue;
        }
        signal = signal_dequeue_locked(task, ~task->signal_mask, info);
        if (signal == 0)
            break;
        struct signal_action *current = &handlers->actions[signal - 1];
        if (current->handler == (uintptr_t)SIG_IGN)
            continue;
        if (current->handler != (uintptr_t)SIG_DFL) {
            *action = *current;
            if ((current->flags & SA_RESETHAND) != 0)
                current->handler = (uintptr_t)SIG_DFL;
            *mask = block_for_handler(task, signal, action);
            break;
        }
        uint64_t bit = SIGNAL_BIT(signal);
        if ((bit & SIGNAL_SET_IGNORED) != 0 || process_is_protected(process))
            continue;
        if ((bit & SIGNAL_SET_STOP) != 0)
            act_stop(task, signal, &flags);
        else
            process_kill_locked(process, (uint32_t)signal);
    }
    if (signal == 0)
        signal_recalculate_locked(task);
    spin_unlock_irqrestore(&handlers->lock, flags);
    return signal;
}

static void run_handler(struct trap_frame *frame, int signal, const siginfo_t *info,
    const struct signal_action *action, uint64_t mask)
{
    struct task *task = task_current();
    restart_before_handler(frame, action);
    if (likely(signal_frame_build(frame, signal, info, action, mask) == 0))
        return;
    signal_set_mask(mask);
    if (signal == SIGSEGV) {
        uint64_t flags = spin_lock_irqsave(&task->handlers->lock);
        task->handlers->actions[SIGSEGV - 1].handler = (uintptr_t)SIG_DFL;
        spin_unlock_irqrestore(&task->handlers->lock, flags);
    }
    signal_force(SIGSEGV, SI_KERNEL, 0);
}

// ---- entries from the processor code -----------------------------------------------------------

void process_user_return(struct trap_frame *frame)
{
    struct task *task = task_current();
    if (unlikely(atomic_load_relaxed(&task->thread.work) & THREAD_WORK_RESUME)) {
        thread_work_clear(&task->thread, THREAD_WORK_RESUME);
        if (sched_take_overrun())
            (void)signal_send_process(task->process, SIGXCPU, NULL);
    }
    if ((atomic_load_relaxed(&task->thread.work) & SIGNAL_WORK_BITS) == 0)
        return;
    __attribute__((uninitialized)) siginfo_t info; // its first SIGNAL_INFO_BYTES are used
    __attribute__((uninitialized)) struct signal_action action;
    uint64_t mask;
    int signal = take_signal(task, &info, &action, &mask);
    if (signal != 0) {
        run_handler(frame, signal, &info, &action, mask);
        return; // further signals are seen by the next look at thread->work
    }
    restart_without_handler(frame);
    if (task->restore_saved_mask) {
        task->restore_saved_mask = false;
        signal_set_mask(task->saved_mask);
    }
}

void process_user_trap(struct trap_frame *frame, int signal, int code, uintptr_t address)
{
    (void)frame;
    signal_force(signal, code, address);
}
