// SPDX-License-Identifier: MIT
// eventfd(2): a 64-bit counter that can be waited for.
#include "kernel/ipc/eventfd.h"

#include "kernel/core/errno.h"
#include "kernel/fs/file.h"
#include "kernel/fs/poll.h"
#include "mm/slab.h"

#define EVENTFD_MAX (UINT64_MAX - 1)

struct eventfd {
    uint64_t count; // under lock; racy reads for polling
    bool semaphore; // reads take one at a time
    struct wait_queue read_wait;
    struct wait_queue write_wait;
    struct spinlock lock; // count
};

// Takes from the counter; 0 when there was nothing.
static uint64_t eventfd_take(struct eventfd *event)
{
    uint64_t taken = 0;
    uint64_t flags = spin_lock_irqsave(&event->lock);
    if (event->count != 0) {
        taken = event->semaphore ? 1 : event->count;
        event->count -= taken;
    }
    spin_unlock_irqrestore(&event->lock, flags);
    return taken;
}

static bool eventfd_add(struct eventfd *event, uint64_t value)
{
    uint64_t flags = spin_lock_irqsave(&event->lock);
    bool fits = EVENTFD_MAX - event->count >= value;
    if (fits)
        event->count += value;
    spin_unlock_irqrestore(&event->lock, flags);
    return fits;
}

static int64_t eventfd_read(struct file *file, struct io_iter *to, uint64_t *offset)
{
    struct eventfd *event = file->private_data;
    uint64_t value = 0;
    (void)offset;
    if (to->count < sizeof(value))
        return -EINVAL;
    value = eventfd_take(event);
    if (value == 0) {
        if ((file->flags & O_NONBLOCK) != 0)
            return -EAGAIN;
        if (wait_event_interruptible_exclusive(
                &event->read_wait, (value = eventfd_take(event)) != 0) != 0)
            return -ERESTARTSYS;
    }
    wait_wake_sync(&event->write_wait, 1, EPOLLOUT | EPOLLWRNORM);
    if (atomic_load_relaxed(&event->count) != 0) // a semaphore has more for the next reader
        wait_wake(&event->read_wait, 1, EPOLLIN | EPOLLRDNORM);
    return iter_copy_to(to, &value, sizeof(value)) == sizeof(value) ? (int64_t)sizeof(value)
                                                                    : -EFAULT;
}

static int64_t eventfd_write(struct file *file, struct io_iter *from, uint64_t *offset)
{
    struct eventfd *event = file->private_data;
    uint64_t value;
    (void)offset;
    if (from->count < sizeof(value))
        return -EINVAL;
    if (iter_copy_from(from, &value, sizeof(value)) != sizeof(value))
        return -EFAULT;
    if (value == UINT64_MAX)
        return -EINVAL;
    if (!eventfd_add(event, value)) {
        if ((file->flags & O_NONBLOCK) != 0)
            return -EAGAIN;
        if (wait_event_interruptible_exclusive(&event->write_wait, eventfd_add(event, value)) != 0)
            return -ERESTARTSYS;
    }
    wait_wake_sync(&event->read_wait, 1, EPOLLIN | EPOLLRDNORM);
    if (atomic_load_relaxed(&event->count) < EVENTFD_MAX)
        wait_wake(&event->write_wait, 1, EPOLLOUT | EPOLLWRNORM);
    return sizeof(value);
}

static uint32_t eventfd_poll(struct file *file, struct poll_table *table)
{
    struct eventfd *event = file->private_data;
    poll_wait(table, file, &event->read_wait);
    poll_wait(table, file, &event->write_wait);
    uint64_t count = atomic_load_relaxed(&event->count);
    uint32_t events = 0;
    if (count > 0)
        events |= EPOLLIN | EPOLLRDNORM;
    if (count < EVENTFD_MAX)
        events |= EPOLLOUT | EPOLLWRNORM;
    return events;
}

static void eventfd_show(
    struct file *file, void (*print)(void *context, const char *format, ...), void *context)
{
    struct eventfd *event = file->private_data;
    print(
        context, "eventfd-count: %16llx\n", (unsigned long long)atomic_load_relaxed(&event->count));
}

static void eventfd_release(struct file *file)
{
    kfree(file->private_data);
}

static const struct file_ops eventfd_ops = {
    .read = eventfd_read,
    .write = eventfd_write,
    .poll = eventfd_poll,
    .release = eventfd_release,
    .show_fdinfo = eventfd_show,
};

struct file *eventfd_create(uint32_t count, bool semaphore, uint32_t open_flags)
{
    struct eventfd *event = kzalloc(sizeof(*event));
    if (event == NULL)
        return NULL;
    event->count = count;
    event->semaphore = semaphore;
    spin_lock_init(&event->lock);
    wait_queue_init(&event->read_wait);
    wait_queue_init(&event->write_wait);
    struct file *file = file_create_anonymous("eventfd", &eventfd_ops, event, O_RDWR | open_flags);
    if (file == NULL)
        kfree(event);
    return file;
}

int eventfd_check(const struct file *file)
{
    return file->ops == &eventfd_ops ? 0 : -EINVAL;
}

void eventfd_signal(struct file *file, uint64_t value)
{
    struct eventfd *event = file->private_data;
    uint64_t flags = spin_lock_irqsave(&event->lock);
    event->count += MIN(value, EVENTFD_MAX - event->count);
    spin_unlock_irqrestore(&event->lock, flags);
    wait_wake(&event->read_wait, 1, EPOLLIN | EPOLLRDNORM);
}
