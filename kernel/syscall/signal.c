// SPDX-License-Identifier: MIT
// Sending, handling, blocking and awaiting signals.
#include "kernel/arch/x86/arch.h"
#include "kernel/base/string.h"
#include "kernel/core/timespec.h"
#include "kernel/process/process.h"
#include "kernel/syscall/syscall.h"

// ---- sending -----------------------------------------------------------------------------------

static void info_of_user(siginfo_t *info, int signal, int code)
{
    memset(info, 0, SIGNAL_INFO_BYTES);
    info->si_signo = signal;
    info->si_code = code;
    info->si_pid = process_current()->pid;
    info->si_uid = credentials_current()->uid;
}

// Permission, and the signal unless it is 0 (a mere test). A dead process accepts all.
static int send_checked(struct process *process, int signal, const siginfo_t *info)
{
    int error = signal_may_send(process, signal);
    if (error != 0 || signal == 0)
        return error;
    error = signal_send_process(process, signal, info);
    return error == -ESRCH ? 0 : error;
}

static int kill_one(int32_t pid, int signal, const siginfo_t *info)
{
    struct task *task = task_find_get(pid);
    if (task == NULL)
        return -ESRCH;
    int error = send_checked(task->process, signal, info);
    task_put(task);
    return error;
}

// Everybody but init and ourselves. Under task_list_lock. Who may not be reached is no error once
// there is anybody.
static int kill_all(int signal, const siginfo_t *info)
{
    int result = -ESRCH;
    struct process *process;
    list_for_each_entry (process, &process_list, process_node) {
        if (process == process_init || process == process_current())
            continue;
        int error = send_checked(process, signal, info);
        if (error != -EPERM || result == -ESRCH)
            result = error == -EPERM ? 0 : error;
    }
    return result;
}

// A group. Under task_list_lock; 0 if any member could be sent to.
static int kill_group(int32_t group, int signal, const siginfo_t *info)
{
    int result = -ESRCH;
    bool sent = false;
    struct process_group *entry = process_group_find(group);
    if (entry == NULL)
        return -ESRCH;
    struct process *process;
    hlist_for_each_entry (process, &entry->members, group_node) {
        result = send_checked(process, signal, info);
        sent = sent || result == 0;
    }
    return sent ? 0 : result;
}

static int kill_many(int32_t group, int signal, const siginfo_t *info)
{
    uint64_t flags = spin_lock_irqsave(&task_list_lock);
    int result = group == -1 ? kill_all(signal, info) : kill_group(group, signal, info);
    spin_unlock_irqrestore(&task_list_lock, flags);
    return result;
}

SYSCALL2(kill, int32_t, pid, int, signal)
{
    __attribute__((uninitialized)) siginfo_t info;
    if (signal < 0 || signal > SIGNAL_COUNT)
        return -EINVAL;
    info_of_user(&info, signal, SI_USER);
    if (pid > 0)
        return kill_one(pid, signal, &info);
    if (pid == INT32_MIN)
        return -ESRCH;
    if (pid == 0)
        return kill_many(process_current()->group, signal, &info);
    return kill_many(pid == -1 ? -1 : -pid, signal, &info);
}

// To one task, which must belong to `process` unless that is 0.
static int send_checked_task(struct task *task, int32_t pid, int signal, const siginfo_t *info)
{
    if (pid > 0 && task->process->pid != pid)
        return -ESRCH;
    int error = signal_may_send(task->process, signal);
    if (error == 0 && signal != 0)
        error = signal_send_task(task, signal, info);
    return error;
}

static int send_task(int32_t pid, int32_t tid, int signal, const siginfo_t *info)
{
    struct task *task = task_current();
    if (tid == task->tid && (pid <= 0 || pid == task->process->pid) && signal != 0 &&
        signal_raise_handled(signal, info))
        return 0;
    task = task_find_get(tid);
    if (task == NULL)
        return -ESRCH;
    int error = send_checked_task(task, pid, signal, info);
    task_put(task);
    return error;
}

SYSCALL2(tkill, int32_t, tid, int, signal)
{
    __attribute__((uninitialized)) siginfo_t info;
    if (tid <= 0 || signal < 0 || signal > SIGNAL_COUNT)
        return -EINVAL;
    info_of_user(&info, signal, SI_TKILL);
    return send_task(0, tid, signal, &info);
}

SYSCALL3(tgkill, int32_t, pid, int32_t, tid, int, signal)
{
    __attribute__((uninitialized)) siginfo_t info;
    if (pid <= 0 || tid <= 0 || signal < 0 || signal > SIGNAL_COUNT)
        return -EINVAL;
    info_of_user(&info, signal, SI_TKILL);
    return send_task(pid, tid, signal, &info);
}

// What a program says about a signal it sends; it can't pretend to be the kernel or kill(2), but to
// itself.
static int info_from_user(siginfo_t *info, uintptr_t user, int signal, int32_t pid)
{
    if (copy_from_user(info, user, sizeof(*info)) != 0)
        return -EFAULT;
    info->si_signo = signal;
    if ((info->si_code >= 0 || info->si_code == SI_TKILL) && process_current()->pid != pid)
        return -EPERM;
    return 0;
}

SYSCALL3(rt_sigqueueinfo, int32_t, pid, int, signal, uintptr_t, user)
{
    siginfo_t info;
    int error = info_from_user(&info, user, signal, pid);
    if (error != 0)
        return error;
    if (signal < 0 || signal > SIGNAL_COUNT)
        return -EINVAL;
    return kill_one(pid, signal, &info);
}

SYSCALL4(rt_tgsigqueueinfo, int32_t, pid, int32_t, tid, int, signal, uintptr_t, user)
{
    siginfo_t info;
    int error = info_from_user(&info, user, signal, pid);
    if (error != 0)
        return error;
    if (pid <= 0 || tid <= 0 || signal < 0 || signal > SIGNAL_COUNT)
        return -EINVAL;
    return send_task(pid, tid, signal, &info);
}

// ---- handling ----------------------------------------------------------------------------------

struct user_action { // struct sigaction of the kernel's interface
    uintptr_t handler;
    uint64_t flags;
    uintptr_t restorer;
    uint64_t mask;
};
static_assert(sizeof(struct user_action) == sizeof(struct signal_action));

#define SA_KNOWN                                                                                   \
    (SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER |             \
        SA_RESETHAND | SA_EXPOSE_TAGBITS | SA_RESTORER)

// Pending signals that a new action ignores are dropped everywhere in the process.
static void drop_ignored(struct process *process, int signal)
{
    uint64_t bit = SIGNAL_BIT(signal);
    signal_queue_flush(&process->pending, bit);
    struct task *task;
    list_for_each_entry (task, &process->threads, thread_node) {
        signal_queue_flush(&task->pending, bit);
    }
}

SYSCALL4(rt_sigaction, int, signal, uintptr_t, new_user, uintptr_t, old_user, size_t, size)
{
    struct task *task = task_current();
    struct signal_action fresh, old;
    if (size != sizeof(uint64_t))
        return -EINVAL;
    if (new_user != 0 && copy_from_user(&fresh, new_user, sizeof(fresh)) != 0)
        return -EFAULT;
    if (signal < 1 || signal > SIGNAL_COUNT ||
        (new_user != 0 && (SIGNAL_BIT(signal) & SIGNAL_SET_UNBLOCKABLE) != 0))
        return -EINVAL;
    uint64_t flags = spin_lock_irqsave(&task->handlers->lock);
    struct signal_action *action = &task->handlers->actions[signal - 1];
    old = *action;
    if (new_user != 0) {
        fresh.flags &=
            (uint32_t)SA_KNOWN; // unknown bits read back as zero: programs probe for support
        fresh.mask &= ~SIGNAL_SET_UNBLOCKABLE;
        *action = fresh;
        if (signal_action_ignores(&fresh, signal))
            drop_ignored(task->process, signal);
    }
    spin_unlock_irqrestore(&task->handlers->lock, flags);
    return old_user != 0 ? copy_to_user(old_user, &old, sizeof(old)) : 0;
}

SYSCALL0(rt_sigreturn)
{
    return signal_frame_return(arch_thread_user_frame(thread_current()));
}

SYSCALL2(sigaltstack, uintptr_t, new_user, uintptr_t, old_user)
{
    struct task *task = task_current();
    uintptr_t rsp = arch_thread_user_frame(thread_current())->rsp;
    stack_t fresh;
    stack_t old = {
        .ss_sp = (void *)task->altstack_base,
        .ss_flags = signal_altstack_flags(task, rsp) | (int)(task->altstack_flags & SS_AUTODISARM),
        .ss_size = task->altstack_size,
    };
    if (new_user != 0) {
        if (copy_from_user(&fresh, new_user, sizeof(fresh)) != 0)
            return -EFAULT;
        int error = signal_altstack_set((uintptr_t)fresh.ss_sp, fresh.ss_flags, fresh.ss_size, rsp);
        if (error != 0)
            return error;
    }
    return old_user != 0 ? copy_to_user(old_user, &old, sizeof(old)) : 0;
}

// ---- masks -------------------------------------------------------------------------------------

SYSCALL4(rt_sigprocmask, int, how, uintptr_t, new_user, uintptr_t, old_user, size_t, size)
{
    uint64_t old = task_current()->signal_mask;
    if (size != sizeof(uint64_t))
        return -EINVAL;
    if (new_user != 0) {
        uint64_t set;
        if (user_get_u64(&set, new_user) != 0)
            return -EFAULT;
        switch (how) {
        case SIG_BLOCK:
            signal_set_mask(old | set);
            break;
        case SIG_UNBLOCK:
            signal_set_mask(old & ~set);
            break;
        case SIG_SETMASK:
            signal_set_mask(set);
            break;
        default:
            return -EINVAL;
        }
    }
    return old_user != 0 ? user_put_u64(old_user, old) : 0;
}

SYSCALL2(rt_sigpending, uintptr_t, user, size_t, size)
{
    uint64_t pending = signal_pending_set() & task_current()->signal_mask;
    if (size > sizeof(pending))
        return -EINVAL;
    return copy_to_user(user, &pending, size);
}

static int64_t wait_for_handler(void)
{
    for (;;) {
        thread_prepare_sleep(THREAD_INTERRUPTIBLE);
        if (sched_block(UINT64_MAX) != 0)
            return -ERESTARTNOHAND;
    }
}

SYSCALL2(rt_sigsuspend, uintptr_t, user, size_t, size)
{
    uint64_t mask;
    int error = signal_mask_from_user(&mask, user, size);
    if (error != 0)
        return error;
    signal_mask_push(mask);
    int64_t result = wait_for_handler();
    signal_mask_pop(true);
    return result;
}

SYSCALL0(pause)
{
    return wait_for_handler();
}

// ---- waiting -----------------------------------------------------------------------------------

// Sleeps until a signal of `set` can be taken. Its number, -EAGAIN at the deadline, or -EINTR.
static int wait_for_signal(uint64_t set, uint64_t deadline_ns, siginfo_t *info)
{
    struct task *task = task_current();
    struct spinlock *lock = &task->handlers->lock;
    int error = deadline_ns == 0 ? -EAGAIN : 0;
    uint64_t flags = spin_lock_irqsave(lock);
    int signal = signal_dequeue_locked(task, set, info);
    while (signal == 0 && error == 0) {
        task->sigwait_mask = set;
        thread_prepare_sleep(THREAD_INTERRUPTIBLE);
        spin_unlock_irqrestore(lock, flags);
        error = sched_block(deadline_ns);
        flags = spin_lock_irqsave(lock);
        signal = signal_dequeue_locked(task, set, info);
    }
    task->sigwait_mask = 0;
    signal_recalculate_locked(task);
    spin_unlock_irqrestore(lock, flags);
    if (signal != 0)
        return signal;
    return error == -EINTR ? -EINTR : -EAGAIN;
}

SYSCALL4(
    rt_sigtimedwait, uintptr_t, set_user, uintptr_t, info_user, uintptr_t, timeout, size_t, size)
{
    uint64_t set;
    uint64_t deadline_ns = UINT64_MAX;
    siginfo_t info = {}; // all of it is shown, only the beginning is filled
    int result = signal_mask_from_user(&set, set_user, size);
    if (result == 0 && timeout != 0) {
        uint64_t wait_ns;
        result = timespec_from_user(&wait_ns, timeout);
        if (result == 0)
            deadline_ns = wait_ns == 0 ? 0 : deadline_after(wait_ns);
    }
    if (result != 0)
        return result;
    result = wait_for_signal(set & ~SIGNAL_SET_UNBLOCKABLE, deadline_ns, &info);
    if (result > 0 && info_user != 0 && copy_to_user(info_user, &info, sizeof(info)) != 0)
        return -EFAULT;
    return result;
}
