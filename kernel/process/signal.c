// SPDX-License-Identifier: MIT
// Signals: sending and queueing. What happens to them on the way to user mode is in
// signal_deliver.c.
//
// A signal is pending for one task or for a process; two bit sets and two queues under
// handlers->lock, which all tasks of a process share. Sending decides at once what can be decided:
// ignored signals vanish, a signal that ends the process marks all its tasks (process->group_exit),
// a SIGCONT ends a stop. Then it picks a task that does not block the signal, sets
// THREAD_WORK_SIGNAL there and ends its sleep.
//
// THREAD_WORK_SIGNAL says "look": it is set under the lock by anybody and cleared under the lock by
// the task itself alone, when nothing is pending that it does not block. So an interruptible sleep
// never misses a signal, and a call that was interrupted always passes through
// process_user_return().
#include "kernel/process/signal.h"
#include "kernel/base/string.h"
#include "kernel/process/process.h"
#include "mm/slab.h"
#include <linux/capability.h>

#define SIGNAL_SET_SYNCHRONOUS                                                                     \
    (SIGNAL_BIT(SIGSEGV) | SIGNAL_BIT(SIGBUS) | SIGNAL_BIT(SIGILL) | SIGNAL_BIT(SIGTRAP) |         \
        SIGNAL_BIT(SIGFPE) | SIGNAL_BIT(SIGSYS))

static struct slab_cache *queued_cache;
static bool init_may_die; // a fault of pid 1's own was turned into a signal

void signal_queue_init(struct signal_queue *queue)
{
    queue->pending = 0;
    list_init(&queue->queue);
}

static void queued_free(struct queued_signal *queued)
{
    if (queued->owned)
        return;
    if (queued->user != NULL) {
        atomic_fetch_sub_relaxed(&queued->user->signal_count, 1u);
        user_account_put(queued->user);
    }
    slab_free(queued_cache, queued);
}

void signal_queue_flush(struct signal_queue *queue, uint64_t set)
{
    if ((queue->pending & set) == 0)
        return;
    queue->pending &= ~set;
    struct signal_info *info, *next;
    list_for_each_entry_safe (info, next, &queue->queue, node) {
        if ((SIGNAL_BIT(info->info.si_signo) & set) == 0)
            continue;
        list_remove(&info->node);
        queued_free(container_of(info, struct queued_signal, base));
    }
}

struct signal_handlers *process_signals_lock(struct process *process, uint64_t *flags)
{
    struct signal_handlers *handlers;
    rcu_read_lock();
    for (;;) {
        handlers = rcu_load(process->handlers);
        *flags = spin_lock_irqsave(&handlers->lock);
        if (likely(handlers == atomic_load_relaxed(&process->handlers)))
            break;
        spin_unlock_irqrestore(&handlers->lock, *flags);
    }
    rcu_read_unlock();
    return handlers;
}

bool process_is_protected(const struct process *process)
{
    return process == process_init && !init_may_die;
}

bool signal_action_ignores(const struct signal_action *action, int signal)
{
    return action->handler == (uintptr_t)SIG_IGN ||
           (action->handler == (uintptr_t)SIG_DFL &&
               (SIGNAL_BIT(signal) & SIGNAL_SET_IGNORED) != 0);
}

void signal_wake(struct task *task, bool fatal)
{
    thread_work_set(&task->thread, fatal ? SIGNAL_WORK_BITS : THREAD_WORK_SIGNAL);
    if (&task->thread == thread_current() && !in_interrupt())
        return; // it looks on its way out of the kernel
    uint32_t states =
        fatal ? THREAD_INTERRUPTIBLE | THREAD_KILLABLE | THREAD_STOPPED : THREAD_INTERRUPTIBLE;
    if (!sched_wake(&task->thread, states))
        sched_kick(&task->thread);
}

void task_kill_locked(struct task *task)
{
    signal_wake(task, true);
}

void process_kill_locked(struct process *process, uint32_t status)
{
    if (process->group_exit)
        return;
    process->group_exit = true;
    process->group_exit_code = status;
    process->stopped = false;
    process->stop_pending = 0;
    struct task *task;
    list_for_each_entry (task, &process->threads, thread_node) {
        task->stop_counted = false;
        if (!task->exiting)
            signal_wake(task, true);
    }
}

void process_continue_locked(struct process *process)
{
    if (!process->stopped)
        return;
    bool complete = process->stop_pending == 0;
    process->stopped = false;
    process->stop_pending = 0;
    process->continued = complete;
    process->continue_notify = complete;
    struct task *task;
    list_for_each_entry (task, &process->threads, thread_node) {
        task->stop_counted = false;
        thread_work_set(&task->thread, THREAD_WORK_SIGNAL);
        sched_wake(&task->thread, THREAD_STOPPED);
    }
}

static void flush_everywhere(struct process *process, uint64_t set)
{
    signal_queue_flush(&process->pending, set);
    struct task *task;
    list_for_each_entry (task, &process->threads, thread_node) {
        signal_queue_flush(&task->pending, set);
    }
}

// What a signal does by being sent, and whether it is to be queued at all.
static bool send_prepare(struct process *process, struct task *task, int signal)
{
    uint64_t bit = SIGNAL_BIT(signal);
    if (process->group_exit)
        return false;
    if ((bit & SIGNAL_SET_STOP) != 0) {
        flush_everywhere(process, SIGNAL_BIT(SIGCONT));
    } else if (signal == SIGCONT) {
        flush_everywhere(process, SIGNAL_SET_STOP);
        process_continue_locked(process);
    }
    const struct signal_action *action = &process->handlers->actions[signal - 1];
    const struct task *seen_by = task != NULL ? task : process->leader;
    if (((seen_by->signal_mask | seen_by->sigwait_mask) & bit) != 0)
        return true; // the handler may be set before it is unblocked; sigwait sees ignored ones
    if (process_is_protected(process) && action->handler == (uintptr_t)SIG_DFL)
        return false;
    return !signal_action_ignores(action, signal);
}

static int send_enqueue(
    struct process *process, struct signal_queue *queue, int signal, const siginfo_t *info)
{
    if (signal == SIGKILL)
        goto pending; // there is never anything to be said about it
    struct user_account *user = rcu_load(process->leader->cred)->user;
    bool counted = signal >= SIGRTMIN && info != NULL && info->si_code < 0;
    uint64_t limit = atomic_load_relaxed(&process->limits[RLIMIT_SIGPENDING].rlim_cur);
    struct queued_signal *queued = NULL;
    if (!counted || atomic_load_relaxed(&user->signal_count) < limit)
        queued = slab_alloc(queued_cache, PAGE_ALLOC_ATOMIC);
    if (queued == NULL) {
        if (signal >= SIGRTMIN && info != NULL && info->si_code != SI_USER)
            return -EAGAIN;
        goto pending; // the information is lost, not the signal
    }
    queued->timer = NULL;
    queued->owned = false;
    queued->user = user_account_reference(user);
    atomic_fetch_add_relaxed(&user->signal_count, 1u);
    if (info != NULL) {
        memcpy(&queued->base.info, info, SIGNAL_INFO_BYTES);
    } else {
        memset(&queued->base.info, 0, SIGNAL_INFO_BYTES);
        queued->base.info.si_code = SI_KERNEL;
    }
    queued->base.info.si_signo = signal;
    list_add_tail(&queue->queue, &queued->base.node);
pending:
    queue->pending |= SIGNAL_BIT(signal);
    return 0;
}

// A stopped process takes nothing but SIGKILL; the rest waits until it is continued.
static bool wants(const struct task *task, int signal)
{
    if (task->exiting || (task->process->stopped && signal != SIGKILL))
        return false;
    return (task->signal_mask & ~task->sigwait_mask & SIGNAL_BIT(signal)) == 0;
}

// The task that is to take a signal which was queued: the given or the first one, else any.
static struct task *choose_target(struct process *process, struct task *task, int signal)
{
    struct task *first = task != NULL ? task : process->leader;
    if (wants(first, signal))
        return first;
    if (task != NULL)
        return NULL;
    struct task *other;
    list_for_each_entry (other, &process->threads, thread_node) {
        if (wants(other, signal))
            return other;
    }
    return NULL;
}

static void send_complete(struct process *process, struct task *task, int signal)
{
    uint64_t bit = SIGNAL_BIT(signal);
    struct task *target = choose_target(process, task, signal);
    if (target == NULL)
        return; // blocked by all: whoever unblocks it finds it
    bool by_default = process->handlers->actions[signal - 1].handler == (uintptr_t)SIG_DFL;
    if (by_default && !process_is_protected(process) &&
        (bit & (SIGNAL_SET_STOP | SIGNAL_SET_IGNORED)) == 0 && (target->sigwait_mask & bit) == 0)
        process_kill_locked(process, (uint32_t)signal);
    else
        signal_wake(target, false);
}

int signal_send_locked(
    struct process *process, struct task *task, int signal, const siginfo_t *info)
{
    assert_lock_held(&process->handlers->lock);
    debug_assert(signal >= 1 && signal <= SIGNAL_COUNT);
    if (process->thread_count == 0)
        return -ESRCH;
    if (!send_prepare(process, task, signal))
        return 0;
    struct signal_queue *queue = task != NULL ? &task->pending : &process->pending;
    if (signal < SIGRTMIN && (queue->pending & SIGNAL_BIT(signal)) != 0)
        return 0;
    int error = send_enqueue(process, queue, signal, info);
    if (error != 0)
        return error;
    wait_wake_all(&process->handlers->signalfd_wait);
    send_complete(process, task, signal);
    return 0;
}

bool signal_queue_timer(struct process *process, struct task *task, struct queued_signal *queued)
{
    int signal = queued->base.info.si_signo;
    if (process->thread_count == 0)
        return false;
    if (signal_timer_is_queued(queued))
        return true;
    if (!send_prepare(process, task, signal))
        return false;
    struct signal_queue *queue = task != NULL ? &task->pending : &process->pending;
    list_add_tail(&queue->queue, &queued->base.node);
    queue->pending |= SIGNAL_BIT(signal);
    wait_wake_all(&process->handlers->signalfd_wait);
    send_complete(process, task, signal);
    return true;
}

void signal_unqueue_timer(struct signal_queue *queue, struct queued_signal *queued)
{
    if (!signal_timer_is_queued(queued))
        return;
    int signal = queued->base.info.si_signo;
    list_remove(&queued->base.node);
    struct signal_info *entry;
    list_for_each_entry (entry, &queue->queue, node) {
        if (entry->info.si_signo == signal)
            return;
    }
    queue->pending &= ~SIGNAL_BIT(signal);
}

int signal_send_process(struct process *process, int signal, const siginfo_t *info)
{
    uint64_t flags;
    struct signal_handlers *handlers = process_signals_lock(process, &flags);
    int error = signal_send_locked(process, NULL, signal, info);
    spin_unlock_irqrestore(&handlers->lock, flags);
    return error;
}

int signal_send_task(struct task *task, int signal, const siginfo_t *info)
{
    uint64_t flags;
    struct signal_handlers *handlers = process_signals_lock(task->process, &flags);
    int error = -ESRCH;
    if (!task->exiting || task == task->process->leader)
        error = signal_send_locked(task->process, task, signal, info);
    spin_unlock_irqrestore(&handlers->lock, flags);
    return error;
}

bool signal_raise_handled(int signal, const siginfo_t *info)
{
    struct task *task = task_current();
    struct signal_handlers *handlers = task->handlers;
    uint64_t bit = SIGNAL_BIT(signal);
    uint64_t flags = spin_lock_irqsave(&handlers->lock);
    bool handled = handlers->actions[signal - 1].handler > (uintptr_t)SIG_IGN &&
                   !task->process->group_exit && !task->process->stopped && signal != SIGCONT &&
                   (bit & SIGNAL_SET_STOP) == 0 && (task->pending.pending & bit) == 0 &&
                   !list_is_linked(&task->own_signal.base.node);
    if (handled) {
        memcpy(&task->own_signal.base.info, info, SIGNAL_INFO_BYTES);
        list_add_tail(&task->pending.queue, &task->own_signal.base.node);
        task->pending.pending |= bit;
        wait_wake_all(&handlers->signalfd_wait);
        if ((task->signal_mask & bit) == 0)
            thread_work_set(&task->thread, THREAD_WORK_SIGNAL);
    }
    spin_unlock_irqrestore(&handlers->lock, flags);
    return handled;
}

int signal_send_group(int32_t id, int signal, const siginfo_t *info)
{
    int result = -ESRCH;
    uint64_t flags = spin_lock_irqsave(&task_list_lock);
    struct process_group *group = process_group_find(id);
    if (group != NULL) {
        struct process *member;
        hlist_for_each_entry (member, &group->members, group_node) {
            if (signal_send_process(member, signal, info) == 0)
                result = 0;
        }
    }
    spin_unlock_irqrestore(&task_list_lock, flags);
    return result;
}

int signal_send_session_leader(int32_t session, int signal)
{
    struct process *process = process_find_get(session);
    if (process == NULL)
        return -ESRCH;
    int error = process->session_leader ? signal_send_process(process, signal, NULL) : -ESRCH;
    process_put(process);
    return error;
}

void signal_force(int signal, int code, uintptr_t address)
{
    struct task *task = task_current();
    struct process *process = task->process;
    siginfo_t info = {.si_signo = signal, .si_code = code};
    info.si_addr = (void *)address;
    uint64_t flags = spin_lock_irqsave(&task->handlers->lock);
    struct signal_action *action = &task->handlers->actions[signal - 1];
    uint64_t bit = SIGNAL_BIT(signal);
    if ((task->signal_mask & bit) != 0 || action->handler == (uintptr_t)SIG_IGN) {
        action->handler = (uintptr_t)SIG_DFL;
        task->signal_mask &= ~bit;
    }
    if (action->handler == (uintptr_t)SIG_DFL && process == process_init)
        init_may_die = true;
    (void)signal_send_locked(process, task, signal, &info);
    signal_recalculate_locked(task);
    spin_unlock_irqrestore(&task->handlers->lock, flags);
}

int signal_may_send(struct process *process, int signal)
{
    const struct credentials *own = credentials_current();
    struct process *self = process_current();
    if (process == self)
        return 0;
    rcu_read_lock();
    const struct credentials *other = rcu_load(process->leader->cred);
    bool allowed = own->euid == other->suid || own->euid == other->uid || own->uid == other->suid ||
                   own->uid == other->uid ||
                   (signal == SIGCONT && process->session == self->session);
    rcu_read_unlock();
    return allowed || capable(CAP_KILL) ? 0 : -EPERM;
}

// The signal of `set` that is to be taken first: faults before everything else, then by number.
static int first_signal(uint64_t set)
{
    uint64_t faults = set & SIGNAL_SET_SYNCHRONOUS;
    return set == 0 ? 0 : (int)bit_lowest(faults != 0 ? faults : set) + 1;
}

static void queue_take(struct signal_queue *queue, int signal, siginfo_t *info)
{
    struct signal_info *entry, *found = NULL;
    bool more = false;
    list_for_each_entry (entry, &queue->queue, node) {
        if (entry->info.si_signo != signal)
            continue;
        if (found != NULL) {
            more = true;
            break;
        }
        found = entry;
    }
    if (!more)
        queue->pending &= ~SIGNAL_BIT(signal);
    if (found == NULL) {
        memset(info, 0, SIGNAL_INFO_BYTES);
        info->si_signo = signal;
        return;
    }
    list_remove(&found->node);
    memcpy(info, &found->info, SIGNAL_INFO_BYTES);
    struct queued_signal *queued = container_of(found, struct queued_signal, base);
    if (queued->timer != NULL)
        posix_timer_dequeued(queued->timer, info);
    queued_free(queued);
}

int signal_dequeue_locked(struct task *task, uint64_t set, siginfo_t *info)
{
    assert_lock_held(&task->handlers->lock);
    int signal = first_signal(task->pending.pending & set);
    if (signal != 0) {
        queue_take(&task->pending, signal, info);
        return signal;
    }
    signal = first_signal(task->process->pending.pending & set);
    if (signal != 0)
        queue_take(&task->process->pending, signal, info);
    return signal;
}

int signal_dequeue(uint64_t set, siginfo_t *info)
{
    struct task *task = task_current();
    uint64_t flags = spin_lock_irqsave(&task->handlers->lock);
    int signal = signal_dequeue_locked(task, set, info);
    signal_recalculate_locked(task);
    spin_unlock_irqrestore(&task->handlers->lock, flags);
    return signal;
}

uint64_t signal_pending_set(void)
{
    struct task *task = task_current();
    return atomic_load_relaxed(&task->pending.pending) |
           atomic_load_relaxed(&task->process->pending.pending);
}

void signal_caches_init(void)
{
    queued_cache = slab_cache_create("queued_signal", sizeof(struct queued_signal), 0);
    assert(queued_cache != NULL);
}
