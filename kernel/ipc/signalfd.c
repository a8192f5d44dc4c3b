// SPDX-License-Identifier: MIT
// signalfd(2): pending signals as records that can be read.
//
// Which signals a reader or poller sees depends on who it is (its own and its process's), so they
// wait on the queue of the running task's signal handlers. A wait entry may stay there longer than
// the task lives (an epoll that was inherited), so the file keeps a reference to each handlers
// object that somebody polled it from.
#include "kernel/ipc/signalfd.h"

#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/file.h"
#include "kernel/fs/poll.h"
#include "kernel/process/signal.h"
#include "kernel/process/task.h"
#include "mm/slab.h"
#include <linux/signalfd.h>

struct polled_handlers {
    struct signal_handlers *handlers;
    struct polled_handlers *next;
};

struct signalfd {
    uint64_t mask;                  // signals of interest; atomic
    struct polled_handlers *polled; // under the file's lock
};

static const struct file_ops signalfd_ops;

bool file_is_signalfd(const struct file *file)
{
    return file->ops == &signalfd_ops;
}

// The record for one signal: which members are meant depends on si_code (signalfd(2),
// sigaction(2)).
static void signalfd_fill(struct signalfd_siginfo *record, const siginfo_t *info)
{
    memset(record, 0, sizeof(*record));
    record->ssi_signo = (uint32_t)info->si_signo;
    record->ssi_errno = info->si_errno;
    record->ssi_code = info->si_code;
    if (info->si_code == SI_TIMER) {
        record->ssi_tid = (uint32_t)info->si_tid;
        record->ssi_overrun = (uint32_t)info->si_overrun;
        record->ssi_ptr = (uint64_t)(uintptr_t)info->si_ptr;
        record->ssi_int = info->si_int;
        return;
    }
    if (info->si_code > 0 &&
        (info->si_signo == SIGSEGV || info->si_signo == SIGBUS || info->si_signo == SIGILL ||
            info->si_signo == SIGFPE || info->si_signo == SIGTRAP)) {
        record->ssi_addr = (uint64_t)(uintptr_t)info->si_addr;
        return;
    }
    record->ssi_pid = (uint32_t)info->si_pid;
    record->ssi_uid = info->si_uid;
    if (info->si_signo == SIGCHLD && info->si_code > 0) {
        record->ssi_status = info->si_status;
        record->ssi_utime = (uint64_t)info->si_utime;
        record->ssi_stime = (uint64_t)info->si_stime;
    } else if (info->si_code < 0) {
        record->ssi_ptr = (uint64_t)(uintptr_t)info->si_ptr;
        record->ssi_int = info->si_int;
    }
}

static int64_t signalfd_read(struct file *file, struct io_iter *to, uint64_t *offset)
{
    struct signalfd *signalfd = file->private_data;
    struct signal_handlers *handlers = task_current()->handlers;
    bool nonblocking = (file->flags & O_NONBLOCK) != 0;
    int64_t done = 0;
    (void)offset;
    if (to->count < sizeof(struct signalfd_siginfo))
        return -EINVAL;
    while (to->count >= sizeof(struct signalfd_siginfo)) {
        siginfo_t info;
        uint64_t mask = atomic_load_relaxed(&signalfd->mask);
        int signal = signal_dequeue(mask, &info);
        if (signal == 0) {
            if (done != 0)
                break;
            if (nonblocking)
                return -EAGAIN;
            if (wait_event_interruptible(
                    &handlers->signalfd_wait, (signal = signal_dequeue(mask, &info)) != 0) != 0)
                return -ERESTARTSYS;
        }
        struct signalfd_siginfo record;
        signalfd_fill(&record, &info);
        if (iter_copy_to(to, &record, sizeof(record)) != sizeof(record))
            return done != 0 ? done : -EFAULT;
        done += (int64_t)sizeof(record);
    }
    return done;
}

// Makes sure that the running task's handlers, and so their wait queue, live as long as the file.
static bool signalfd_keep_handlers(
    struct file *file, struct signalfd *signalfd, struct signal_handlers *handlers)
{
    struct polled_handlers *new = kmalloc(sizeof(*new), 0);
    bool kept = false;
    spin_lock(&file->lock);
    for (struct polled_handlers *polled = signalfd->polled; polled != NULL && !kept;
        polled = polled->next)
        kept = polled->handlers == handlers;
    if (!kept && new != NULL) {
        signal_handlers_get(handlers);
        *new = (struct polled_handlers){.handlers = handlers, .next = signalfd->polled};
        signalfd->polled = new;
        new = NULL;
        kept = true;
    }
    spin_unlock(&file->lock);
    kfree(new);
    return kept;
}

static uint32_t signalfd_poll(struct file *file, struct poll_table *table)
{
    struct signalfd *signalfd = file->private_data;
    struct signal_handlers *handlers = task_current()->handlers;
    if (table != NULL) {
        if (!signalfd_keep_handlers(file, signalfd, handlers))
            return EPOLLERR; // no memory: the caller must not sleep on a queue that may go away
        poll_wait(table, file, &handlers->signalfd_wait);
    }
    return (signal_pending_set() & atomic_load_relaxed(&signalfd->mask)) != 0
               ? EPOLLIN | EPOLLRDNORM
               : 0;
}

static void signalfd_show(
    struct file *file, void (*print)(void *context, const char *format, ...), void *context)
{
    struct signalfd *signalfd = file->private_data;
    print(context, "sigmask:\t%016llx\n", (unsigned long long)atomic_load_relaxed(&signalfd->mask));
}

static void signalfd_release(struct file *file)
{
    struct signalfd *signalfd = file->private_data;
    while (signalfd->polled != NULL) {
        struct polled_handlers *polled = signalfd->polled;
        signalfd->polled = polled->next;
        signal_handlers_put(polled->handlers);
        kfree(polled);
    }
    kfree(signalfd);
}

static const struct file_ops signalfd_ops = {
    .read = signalfd_read,
    .poll = signalfd_poll,
    .release = signalfd_release,
    .show_fdinfo = signalfd_show,
};

void signalfd_set_mask(struct file *file, uint64_t mask)
{
    struct signalfd *signalfd = file->private_data;
    atomic_store_relaxed(&signalfd->mask, mask & ~(SIGNAL_BIT(SIGKILL) | SIGNAL_BIT(SIGSTOP)));
    wait_wake_all(&task_current()->handlers->signalfd_wait);
}

struct file *signalfd_create(uint64_t mask, uint32_t open_flags)
{
    struct signalfd *signalfd = kzalloc(sizeof(*signalfd));
    if (signalfd == NULL)
        return NULL;
    signalfd->mask = mask & ~(SIGNAL_BIT(SIGKILL) | SIGNAL_BIT(SIGSTOP));
    struct file *file =
        file_create_anonymous("signalfd", &signalfd_ops, signalfd, O_RDWR | open_flags);
    if (file == NULL)
        kfree(signalfd);
    return file;
}
