// SPDX-License-Identifier: MIT
// pidfd_open, pidfd_send_signal, pidfd_getfd.
#include "kernel/base/string.h"
#include "kernel/fs/file.h"
#include "kernel/process/process.h"
#include "kernel/syscall/syscall.h"
#include <linux/pidfd.h>

SYSCALL2(pidfd_open, int32_t, pid, uint32_t, flags)
{
    if ((flags & ~(uint32_t)PIDFD_NONBLOCK) != 0 || pid <= 0)
        return -EINVAL;
    struct task *task = task_find_get(pid);
    if (task == NULL)
        return -ESRCH;
    int64_t result = -EINVAL; // a thread that is not the leader
    if (task->process->leader == task) {
        struct file *file = pidfd_create(task->process, flags);
        result = file != NULL ? file_fd_add(file, true) : -ENOMEM;
    }
    task_put(task);
    return result;
}

// What a program says about a signal that it sends, or what kill(2) says.
static int signal_information(
    siginfo_t *info, int signal, uintptr_t user, const struct process *target)
{
    if (user == 0) {
        *info = (siginfo_t){.si_signo = signal, .si_code = SI_USER};
        info->si_pid = process_current()->pid;
        info->si_uid = credentials_current()->uid;
        return 0;
    }
    if (copy_from_user(info, user, sizeof(*info)) != 0)
        return -EFAULT;
    if (info->si_signo != signal)
        return -EINVAL;
    if (target != process_current() && (info->si_code >= 0 || info->si_code == SI_TKILL))
        return -EPERM;
    return 0;
}

SYSCALL4(pidfd_send_signal, int, fd, int, signal, uintptr_t, info_user, uint32_t, flags)
{
    siginfo_t info;
    bool borrowed;
    if (flags != 0)
        return -EINVAL;
    struct file *file = file_fd_get(fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    struct process *process = pidfd_process(file);
    int error = -EBADF;
    if (process != NULL)
        error = signal < 0 || signal > SIGNAL_COUNT
                    ? -EINVAL
                    : signal_information(&info, signal, info_user, process);
    if (error == 0 && process->state == PROCESS_REAPED)
        error = -ESRCH;
    if (error == 0)
        error = signal_may_send(process, signal);
    if (error == 0 && signal != 0) {
        error = signal_send_process(process, signal, &info);
        if (error == -ESRCH)
            error = 0; // a zombie accepts all
    }
    file_fd_put(file, borrowed);
    return error;
}

// The file behind a descriptor of another process.
static int64_t take_descriptor(struct process *process, int target_fd)
{
    if (process == NULL)
        return -EBADF;
    if (process != process_current() && !process_may_inspect(process))
        return -EPERM;
    struct fd_table *table = task_files_get(process->leader);
    if (table == NULL)
        return -ESRCH;
    struct file *file = fd_table_file_get(table, target_fd);
    fd_table_put(table);
    return file != NULL ? file_fd_add(file, true) : -EBADF;
}

SYSCALL3(pidfd_getfd, int, fd, int, target_fd, uint32_t, flags)
{
    bool borrowed;
    if (flags != 0)
        return -EINVAL;
    struct file *file = file_fd_get(fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    int64_t result = take_descriptor(pidfd_process(file), target_fd);
    file_fd_put(file, borrowed);
    return result;
}
