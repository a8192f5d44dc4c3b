// SPDX-License-Identifier: MIT
// Making tasks, ending them, waiting for them, and what they are called.
#include "kernel/arch/x86/arch.h"
#include "kernel/core/time.h"
#include "kernel/core/timespec.h"
#include "kernel/fs/file.h"
#include "kernel/process/process.h"
#include "kernel/syscall/rusage.h"
#include "kernel/syscall/syscall.h"
#include <linux/futex.h>
#include <linux/sched.h>
#include <linux/wait.h>

// ---- fork and its kin --------------------------------------------------------------------------

SYSCALL0(fork)
{
    return process_clone(&(struct clone_request){.exit_signal = SIGCHLD});
}

SYSCALL0(vfork)
{
    return process_clone(
        &(struct clone_request){.flags = CLONE_VFORK | CLONE_VM, .exit_signal = SIGCHLD});
}

SYSCALL5(clone, uint64_t, flags, uintptr_t, stack, uintptr_t, parent_tid, uintptr_t, child_tid,
    uintptr_t, tls)
{
    struct clone_request request = {
        .flags = (uint32_t)flags & ~(uint64_t)CSIGNAL,
        .exit_signal = (int32_t)(flags & CSIGNAL),
        .stack = stack,
        .tls = tls,
        .parent_tid = parent_tid,
        .child_tid = child_tid,
        .pidfd = parent_tid, // both share the argument
    };
    if ((flags & CLONE_PIDFD) != 0 && (flags & CLONE_PARENT_SETTID) != 0)
        return -EINVAL;
    return process_clone(&request);
}

// Reads a structure that may be shorter or longer than ours: what we don't know must be zero.
static int clone_args_from_user(struct clone_args *args, uintptr_t user, size_t size)
{
    if (size > PAGE_SIZE)
        return -E2BIG;
    if (size < CLONE_ARGS_SIZE_VER0)
        return -EINVAL;
    *args = (struct clone_args){};
    if (copy_from_user(args, user, MIN(size, sizeof(*args))) != 0)
        return -EFAULT;
    for (size_t offset = sizeof(*args); offset < size; offset++) {
        uint8_t byte;
        if (copy_from_user(&byte, user + offset, 1) != 0)
            return -EFAULT;
        if (byte != 0)
            return -E2BIG;
    }
    return 0;
}

SYSCALL2(clone3, uintptr_t, user, size_t, size)
{
    struct clone_args args;
    int error = clone_args_from_user(&args, user, size);
    if (error != 0)
        return error;
    if (args.set_tid_size != 0 || args.set_tid != 0)
        return args.set_tid_size > 32 || args.set_tid == 0 || args.set_tid_size == 0 ? -EINVAL
                                                                                     : -EPERM;
    if ((args.exit_signal & ~(uint64_t)CSIGNAL) != 0 || args.exit_signal > SIGNAL_COUNT)
        return -EINVAL;
    if ((args.flags & CLONE_INTO_CGROUP) != 0)
        return -EBADF; // there is no file system of control groups to take a descriptor from
    if ((args.flags & (CLONE_DETACHED | (CSIGNAL & ~(uint64_t)CLONE_NEWTIME))) != 0 ||
        (args.flags & ~(uint64_t)0xffffffff & ~CLONE_CLEAR_SIGHAND) != 0)
        return -EINVAL;
    if ((args.flags & CLONE_NEWTIME) != 0)
        return -EINVAL;
    if ((args.flags & (CLONE_THREAD | CLONE_PARENT)) != 0 && args.exit_signal != 0)
        return -EINVAL;
    if ((args.stack == 0) != (args.stack_size == 0))
        return -EINVAL;
    if (args.stack != 0 && !user_range_ok(args.stack, args.stack_size))
        return -EINVAL;
    struct clone_request request = {
        .flags = args.flags,
        .exit_signal = (int32_t)args.exit_signal,
        .stack = args.stack + args.stack_size,
        .tls = args.tls,
        .parent_tid = args.parent_tid,
        .child_tid = args.child_tid,
        .pidfd = args.pidfd,
    };
    return process_clone(&request);
}

SYSCALL1(unshare, uint64_t, flags)
{
    // Tables that only this task uses need nothing; namespaces don't exist.
    const uint64_t known =
        CLONE_FS | CLONE_FILES | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM | CLONE_SYSVSEM;
    if ((flags & ~known) != 0)
        return -EINVAL;
    if ((flags & (CLONE_THREAD | CLONE_SIGHAND | CLONE_VM)) != 0 &&
        process_current()->thread_count > 1)
        return -EINVAL;
    return process_unshare((flags & CLONE_FILES) != 0, (flags & CLONE_FS) != 0);
}

// ---- the end -----------------------------------------------------------------------------------

SYSCALL1(exit, int, code)
{
    task_exit(((uint32_t)code & 0xff) << 8);
}

SYSCALL1(exit_group, int, code)
{
    process_exit_group(((uint32_t)code & 0xff) << 8);
}

// ---- waiting -----------------------------------------------------------------------------------

SYSCALL4(wait4, int32_t, pid, uintptr_t, status, int, options, uintptr_t, usage)
{
    if ((options & ~(WNOHANG | WUNTRACED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL)) != 0)
        return -EINVAL;
    if (pid == INT32_MIN)
        return -ESRCH;
    struct wait_request request = {.options = options | WEXITED};
    if (pid == -1) {
        request.which = WAIT_ANY;
    } else if (pid <= 0) {
        request.which = WAIT_GROUP;
        request.id = pid == 0 ? process_current()->group : -pid;
    } else {
        request.which = WAIT_PID;
        request.id = pid;
    }
    struct wait_result result;
    int error = process_wait(&request, &result);
    if (error != 0 || result.pid == 0)
        return error;
    if (status != 0 && user_put_u32(status, result.status) != 0)
        return -EFAULT;
    if (usage != 0 && rusage_to_user(usage, &result.usage) != 0)
        return -EFAULT;
    return result.pid;
}

// Waiting for the process behind a pidfd.
static int pid_of_descriptor(int fd, struct wait_request *request)
{
    bool borrowed;
    struct file *file = fd < 0 ? NULL : file_fd_get(fd, &borrowed);
    if (file == NULL)
        return fd < 0 ? -EINVAL : -EBADF;
    const struct process *process = pidfd_process(file);
    if (process != NULL) {
        request->which = WAIT_PID;
        request->id = process->pid;
        if ((file->flags & O_NONBLOCK) != 0)
            request->options |= WNOHANG;
    }
    int error = process == NULL ? -EBADF : process->state == PROCESS_REAPED ? -ECHILD : 0;
    file_fd_put(file, borrowed);
    return error;
}

SYSCALL5(waitid, int, which, int32_t, id, uintptr_t, info_user, int, options, uintptr_t, usage)
{
    if ((options & ~(WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | __WNOTHREAD | __WCLONE |
                       __WALL)) != 0 ||
        (options & (WEXITED | WSTOPPED | WCONTINUED)) == 0)
        return -EINVAL;
    struct wait_request request = {.options = options, .id = id};
    switch (which) {
    case P_ALL:
        request.which = WAIT_ANY;
        break;
    case P_PID:
        if (id <= 0)
            return -EINVAL;
        request.which = WAIT_PID;
        break;
    case P_PGID:
        if (id < 0)
            return -EINVAL;
        request.which = WAIT_GROUP;
        if (id == 0)
            request.id = process_current()->group;
        break;
    case P_PIDFD: {
        int error = pid_of_descriptor(id, &request);
        if (error != 0)
            return error;
        break;
    }
    default:
        return -EINVAL;
    }
    struct wait_result result;
    int error = process_wait(&request, &result);
    if (error == 0 && result.pid == 0 && (request.options & WNOHANG) != 0 &&
        (options & WNOHANG) == 0)
        error = -EAGAIN; // a descriptor that does not block
    if (error != 0)
        return error;
    if (result.pid != 0 && usage != 0 && rusage_to_user(usage, &result.usage) != 0)
        return -EFAULT;
    if (info_user == 0)
        return 0;
    // Only the members that mean something are written; without a child they are zero.
    siginfo_t info = {.si_signo = result.pid != 0 ? SIGCHLD : 0, .si_code = result.code};
    info.si_pid = result.pid;
    info.si_uid = result.uid;
    info.si_status = result.info_status;
    return copy_to_user(info_user, &info, offsetof(siginfo_t, si_status) + sizeof(int));
}

// ---- names -------------------------------------------------------------------------------------

SYSCALL0(getpid)
{
    return process_current()->pid;
}

SYSCALL0(gettid)
{
    return task_current()->tid;
}

SYSCALL0(getppid)
{
    rcu_read_lock();
    const struct process *parent = rcu_load(process_current()->parent);
    int32_t pid = parent != NULL ? parent->pid : 0;
    rcu_read_unlock();
    return pid;
}

SYSCALL1(set_tid_address, uintptr_t, address)
{
    task_current()->clear_child_tid = address;
    return task_current()->tid;
}

SYSCALL2(setpgid, int32_t, pid, int32_t, group)
{
    return pid < 0 ? -ESRCH : process_set_group(pid, group);
}

// A member of the process with this pid (0: the own), -ESRCH.
static int64_t process_id(int32_t pid, int32_t (*member)(const struct process *process))
{
    if (pid == 0)
        return member(process_current());
    rcu_read_lock();
    struct task *task = task_lookup(pid);
    int64_t id = task != NULL ? member(task->process) : -ESRCH;
    rcu_read_unlock();
    return id;
}

static int32_t member_group(const struct process *process)
{
    return process->group;
}

static int32_t member_session(const struct process *process)
{
    return process->session;
}

SYSCALL1(getpgid, int32_t, pid)
{
    return process_id(pid, member_group);
}

SYSCALL0(getpgrp)
{
    return process_current()->group;
}

SYSCALL1(getsid, int32_t, pid)
{
    return process_id(pid, member_session);
}

SYSCALL0(setsid)
{
    return process_set_session();
}

// ---- robust futexes ----------------------------------------------------------------------------

SYSCALL2(set_robust_list, uintptr_t, head, size_t, size)
{
    if (size != sizeof(struct robust_list_head))
        return -EINVAL;
    task_current()->robust_list = head;
    return 0;
}

SYSCALL3(get_robust_list, int32_t, tid, uintptr_t, head, uintptr_t, size)
{
    struct task *task = tid == 0 ? task_current() : task_find_get(tid);
    if (task == NULL)
        return -ESRCH;
    uint64_t list = task->robust_list;
    bool allowed = task->process == process_current() || process_may_inspect(task->process);
    if (tid != 0)
        task_put(task);
    if (!allowed)
        return -EPERM;
    if (user_put_u64(size, sizeof(struct robust_list_head)) != 0 || user_put_u64(head, list) != 0)
        return -EFAULT;
    return 0;
}
