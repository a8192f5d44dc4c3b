// SPDX-License-Identifier: MIT
// The end of tasks and processes.
//
// A task gives back what it holds, tells its parent, and never runs again. A thread that is not the
// leader vanishes at once; the leader stays as a zombie until the process is waited for, and it
// reports the process's death only when it is the last of its threads (whoever dies last reports).
// A process whose parent does not care (SIGCHLD ignored, SA_NOCLDWAIT) is released by the last
// thread itself.
#include "kernel/arch/x86/arch.h"
#include "kernel/core/shutdown.h"
#include "kernel/core/log.h"
#include "kernel/core/time.h"
#include "kernel/core/trace_points.h"
#include "kernel/fs/vfs.h"
#include "kernel/ipc/futex.h"
#include "kernel/process/process.h"
#include "mm/address_space.h"
#include "mm/policy.h"
#include "perf/perf.h"
#include "pv/pv.h"
#include "sched/sched.h"
#include <linux/wait.h>

void (*process_tty_hangup)(struct tty *tty);

// ---- memory ------------------------------------------------------------------------------------

void task_release_space(struct task *task)
{
    futex_robust_exit(task);
    futex_pi_exit(task);
    if (task->clear_child_tid != 0) {
        // Only others who share the memory can look at the word.
        if (atomic_load_relaxed(&task->thread.space->users) > 1 &&
            user_put_u32(task->clear_child_tid, 0) == 0)
            (void)futex_wake_user(task->clear_child_tid, 1);
        task->clear_child_tid = 0;
    }
}

// To be called when the task no longer uses the memory that it shares with a vfork parent.
static void vfork_complete(struct task *task)
{
    if (task->vfork_done == NULL)
        return;
    spin_lock(&task->alloc_lock);
    if (task->vfork_done != NULL) {
        completion_complete(task->vfork_done);
        task->vfork_done = NULL;
    }
    spin_unlock(&task->alloc_lock);
}

static void release_tables(struct task *task)
{
    struct address_space *space = task->thread.space;
    address_space_activate(NULL);
    struct fd_table *files = task->files;
    struct fs_context *fs = task->fs;
    // Whoever looks from /proc holds the lock while it takes a reference.
    spin_lock(&task->alloc_lock);
    task->files = NULL;
    task->fs = NULL;
    spin_unlock(&task->alloc_lock);
    vfork_complete(task);
    uint64_t peak = address_space_resident_peak(space);
    address_space_put(space);
    fd_table_put(files);
    fs_context_put(fs);
    struct process *process = task->process;
    uint64_t flags = spin_lock_irqsave(&task->handlers->lock);
    process->dead_threads.resident_peak_pages =
        MAX(process->dead_threads.resident_peak_pages, peak);
    spin_unlock_irqrestore(&task->handlers->lock, flags);
}

// ---- relatives ---------------------------------------------------------------------------------

// Who takes over the children of `process`: the nearest ancestor that asked for it, or init.
static struct process *find_reaper(struct process *process)
{
    for (struct process *ancestor = process->parent; ancestor != NULL;
        ancestor = ancestor->parent) {
        if (ancestor->child_subreaper && ancestor->state == PROCESS_ALIVE &&
            ancestor->thread_count != 0)
            return ancestor;
    }
    return process_init;
}

static void send_parent_death(struct process *child)
{
    struct task *task;
    list_for_each_entry (task, &child->threads, thread_node) {
        if (task->pdeath_signal != 0)
            (void)signal_send_task(task, task->pdeath_signal, NULL);
    }
}

// A group that loses its last tie to the session and has stopped members gets SIGHUP and SIGCONT.
static void check_orphaned(int32_t group, const struct process *leaving)
{
    if (process_group_is_orphaned_without(group, leaving) && process_group_has_stopped(group)) {
        struct process_group *entry = process_group_find(group);
        struct process *member;
        hlist_for_each_entry (member, &entry->members, group_node) {
            (void)signal_send_process(member, SIGHUP, NULL);
            (void)signal_send_process(member, SIGCONT, NULL);
        }
    }
}

// A zombie that nobody waits for: its parent's waits must not find it before it is released. Under
// task_list_lock.
static void put_aside(struct process *process, struct list_node *reaped)
{
    process->unwaited = true;
    list_move_tail(reaped, &process->sibling);
}

// Gives the children of a dead process away. Zombies that the new parent does not wait for go to
// `reaped`.
static void reparent_children(struct process *process, struct list_node *reaped)
{
    if (list_is_empty(&process->children) && list_is_empty(&process->zombies))
        return;
    struct process *reaper = find_reaper(process);
    struct process *child, *next;
    list_for_each_entry_safe (child, next, &process->children, sibling) {
        send_parent_death(child);
        list_remove(&child->sibling);
        child->parent = reaper;
        child->parent_tid = reaper->pid;
        child->leader->exit_signal = SIGCHLD;
        list_add_tail(&reaper->children, &child->sibling);
        if (child->group != process->group && child->session == process->session)
            check_orphaned(child->group, NULL);
    }
    list_for_each_entry_safe (child, next, &process->zombies, sibling) {
        list_remove(&child->sibling);
        child->parent = reaper;
        child->parent_tid = reaper->pid;
        child->leader->exit_signal = SIGCHLD;
        list_add_tail(&reaper->zombies, &child->sibling);
        bool autoreap;
        exit_notify_parent(child, &autoreap);
        if (autoreap)
            put_aside(child, reaped);
    }
}

// A thread dies, its process lives: its children have it no longer as a parent thread.
static void leave_children(struct task *task)
{
    struct process *child;
    list_for_each_entry (child, &task->process->children, sibling) {
        if (child->parent_tid == task->tid) {
            send_parent_death(child);
            child->parent_tid = task->process->pid;
        }
    }
}

void signal_fill_child_info(struct process *child, int code, uint32_t status, siginfo_t *info)
{
    *info = (siginfo_t){.si_signo = SIGCHLD, .si_code = code};
    info->si_pid = child->pid;
    rcu_read_lock();
    info->si_uid = rcu_load(child->leader->cred)->uid;
    rcu_read_unlock();
    info->si_status = (int)status;
    uint64_t user_ns, system_ns;
    process_cpu_times(child, &user_ns, &system_ns);
    info->si_utime = (long)(user_ns / (NS_PER_SECOND / 100));
    info->si_stime = (long)(system_ns / (NS_PER_SECOND / 100));
}

// CLD_* and si_status of a wait status.
static int child_code(uint32_t status, uint32_t *info_status)
{
    if ((status & 0x7f) == 0) {
        *info_status = status >> 8 & 0xff;
        return CLD_EXITED;
    }
    *info_status = status & 0x7f;
    return (status & 0x80) != 0 ? CLD_DUMPED : CLD_KILLED;
}

void exit_notify_parent(struct process *process, bool *autoreap)
{
    struct process *parent = process->parent;
    int signal = process->leader->exit_signal;
    *autoreap = false;
    siginfo_t info;
    uint32_t info_status;
    int code = child_code(process->group_exit_code, &info_status);
    if (signal != 0)
        signal_fill_child_info(process, code, info_status, &info);
    uint64_t flags;
    struct signal_handlers *handlers = process_signals_lock(parent, &flags);
    const struct signal_action *action = &handlers->actions[SIGCHLD - 1];
    bool ignored = action->handler == (uintptr_t)SIG_IGN;
    if (signal == SIGCHLD && (ignored || (action->flags & SA_NOCLDWAIT) != 0))
        *autoreap = true;
    if (signal >= 1 && signal <= SIGNAL_COUNT && !(signal == SIGCHLD && ignored)) {
        info.si_signo = signal;
        (void)signal_send_locked(parent, NULL, signal, &info);
    }
    spin_unlock_irqrestore(&handlers->lock, flags);
    wait_wake_all(&parent->child_wait);
}

// ---- the tables --------------------------------------------------------------------------------

// Takes a dead task off the thread list and the pid table. task_list_lock is held.
static void unlink_task(struct task *task)
{
    spin_lock(&task->handlers->lock);
    list_remove(&task->thread_node);
    signal_queue_flush(&task->pending, UINT64_MAX);
    spin_unlock(&task->handlers->lock);
    pid_table_remove(task);
    atomic_fetch_sub_relaxed(&task->cred->user->process_count, 1u);
}

void task_unlink_dead_thread(struct task *task)
{
    unlink_task(task);
    pid_number_release(task->tid);
}

struct task *process_release_locked(struct process *process)
{
    assert_lock_held(&task_list_lock);
    assert(process->state == PROCESS_ZOMBIE);
    struct task *leader = process->leader;
    process->state = PROCESS_REAPED;
    list_remove(&process->sibling);
    process_list_remove(process);
    spin_lock(&process->handlers->lock);
    signal_queue_flush(&process->pending, UINT64_MAX);
    spin_unlock(&process->handlers->lock);
    unlink_task(leader);
    process_group_leave(process);
    pid_number_release(leader->tid);
    return leader;
}

void process_release_finish(struct task *leader)
{
    task_put(leader);
}

// ---- exit --------------------------------------------------------------------------------------

// Marks the task as dying: from here on it takes no signals.
static void begin_exit(struct task *task, uint32_t status)
{
    struct process *process = task->process;
    uint64_t flags = spin_lock_irqsave(&task->handlers->lock);
    task->exiting = true;
    task->exit_code = process->group_exit ? process->group_exit_code : status;
    bool stop_complete = process_stop_thread_left(task) && process->thread_count > 1;
    // Signals that only this task could take go to the others.
    if (process->pending.pending != 0) {
        struct task *other;
        list_for_each_entry (other, &process->threads, thread_node) {
            if (!other->exiting && (process->pending.pending & ~other->signal_mask) != 0)
                signal_wake(other, false);
        }
    }
    spin_unlock_irqrestore(&task->handlers->lock, flags);
    if (stop_complete)
        process_notify_stop(process, CLD_STOPPED);
}

// The task holds nothing any more: who waits for the process finds its files closed and its memory
// free. True when it is the last of its process.
static bool leave_process(struct task *task)
{
    struct process *process = task->process;
    uint64_t flags = spin_lock_irqsave(&task->handlers->lock);
    bool last = --process->thread_count == 0;
    if (last && !process->group_exit) {
        process->group_exit = true;
        process->group_exit_code = process->leader->exit_code;
    }
    task->accounted = true;
    task_usage_add_task(&process->dead_threads, task);
    struct task *exec_task = process->exec_task;
    if (exec_task != NULL && exec_task != task)
        sched_wake(&exec_task->thread, THREAD_ANY_SLEEP);
    spin_unlock_irqrestore(&task->handlers->lock, flags);
    return last;
}

// A thread vanishes, the leader stays. Which of both the task is may change until the lock is held:
// exec.c.
static void leave_threads(struct task *task, bool last)
{
    struct process *process = task->process;
    uint64_t flags = spin_lock_irqsave(&task_list_lock);
    bool leader = task == process->leader;
    if (!last)
        leave_children(task);
    if (leader)
        task->parked = true;
    else
        task_unlink_dead_thread(task);
    spin_unlock_irqrestore(&task_list_lock, flags);
    if (!leader)
        task_put(task); // the reference of the running task is left
}

// The last thread is gone: timers, terminal, children, parent. True: nobody waits, the process is
// to be released.
static void process_ends(struct process *process, struct list_node *reaped)
{
    uint64_t flags = spin_lock_irqsave(&task_list_lock);
    reparent_children(process, reaped);
    struct process *parent = process->parent;
    if (parent != NULL && parent->group != process->group && parent->session == process->session)
        check_orphaned(process->group, process);
    process->tty = NULL;
    process->state = PROCESS_ZOMBIE;
    wait_wake_all(&process->exit_wait);
    bool autoreap = false;
    if (process->parent != NULL) {
        list_remove(&process->sibling);
        list_add_tail(&process->parent->zombies, &process->sibling);
        exit_notify_parent(process, &autoreap);
        if (autoreap)
            put_aside(process, reaped);
    }
    spin_unlock_irqrestore(&task_list_lock, flags);
}

static void release_reaped(struct list_node *reaped)
{
    for (;;) {
        uint64_t flags = spin_lock_irqsave(&task_list_lock);
        struct process *process = list_first_entry_or_null(reaped, struct process, sibling);
        struct task *leader = process != NULL ? process_release_locked(process) : NULL;
        spin_unlock_irqrestore(&task_list_lock, flags);
        if (leader == NULL)
            return;
        process_release_finish(leader);
    }
}

// Pid 1 is the reason why the machine runs: its end is the machine's, with its exit code.
[[noreturn]] static void init_ends(uint32_t status)
{
    uint32_t code = (status & 0x7f) == 0 ? status >> 8 & 0xff : 128 + (status & 0x7f);
    log_info("process: init ended with status %u", code);
    shutdown_run();
    pv_shutdown(PV_EXIT_CODE, code);
}

void task_exit(uint32_t status)
{
    struct task *task = task_current();
    struct process *process = task->process;
    assert(!task->exiting);
    trace(sched_process_exit, .comm = trace_comm(&task->thread), .pid = task->tid,
        .prio = 120 + task->thread.sched.nice);
    if (unlikely(perf_side_wanted))
        perf_note_exit(&task->thread);
    task_release_space(task);
    memory_policy_set_own(NULL);
    begin_exit(task, status);
    perf_event_exit(&task->thread);
    release_tables(task);
    bool last = leave_process(task);
    if (last && process == process_init)
        init_ends(process->group_exit_code);

    struct list_node reaped = LIST_INIT(reaped);
    if (last) {
        timer_cancel_sync(&process->real_timer);
        timer_cancel_sync(&process->cpu_timer);
        posix_timers_release(process);
        if (process->session_leader && process->tty != NULL && process_tty_hangup != NULL)
            process_tty_hangup(process->tty);
    }
    leave_threads(task, last);
    if (last)
        process_ends(process, &reaped);
    release_reaped(&reaped);
    sched_exit();
}

void process_exit_group(uint32_t status)
{
    struct task *task = task_current();
    struct process *process = task->process;
    uint64_t flags = spin_lock_irqsave(&task->handlers->lock);
    if (process->group_exit)
        status = process->group_exit_code;
    else
        process_kill_locked(process, status);
    spin_unlock_irqrestore(&task->handlers->lock, flags);
    task_exit(status);
}
