// SPDX-License-Identifier: MIT
// Descriptors that stand for processes (pidfd_open(2)). They become readable when the process is
// dead and are never mistaken for a later process with the same number.
#include "kernel/fs/file.h"
#include "kernel/fs/poll.h"
#include "kernel/process/process.h"

static uint32_t pidfd_poll(struct file *file, struct poll_table *table)
{
    struct process *process = file->private_data;
    poll_wait(table, file, &process->exit_wait);
    return atomic_load_acquire(&process->state) != PROCESS_ALIVE ? EPOLLIN | EPOLLRDNORM : 0;
}

static void pidfd_release(struct file *file)
{
    process_put(file->private_data);
}

static void pidfd_show_fdinfo(
    struct file *file, void (*print)(void *context, const char *format, ...), void *context)
{
    const struct process *process = file->private_data;
    int32_t pid = process->state == PROCESS_REAPED ? -1 : process->pid;
    print(context, "Pid:\t%d\nNSpid:\t%d\n", pid, pid);
}

static const struct file_ops pidfd_ops = {
    .poll = pidfd_poll,
    .release = pidfd_release,
    .show_fdinfo = pidfd_show_fdinfo,
};

struct file *pidfd_create(struct process *process, uint32_t open_flags)
{
    process_get(process);
    struct file *file = file_create_anonymous("pidfd", &pidfd_ops, process, O_RDWR | open_flags);
    if (file == NULL)
        process_put(process);
    return file;
}

struct process *pidfd_process(struct file *file)
{
    return file->ops == &pidfd_ops ? file->private_data : NULL;
}
