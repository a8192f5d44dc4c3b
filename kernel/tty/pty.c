// SPDX-License-Identifier: MIT
// Pseudo-terminals (pty(7)): /dev/ptmx makes a pair; the slave is an ordinary terminal at
// /dev/pts/N, whose driver is a ring that the master reads.
//
// The pair is one object. The master's file holds a reference, and so does every file of the slave.
// Closing the master hangs the slave up for good and removes its node; closing the last slave file
// makes the master read EIO until somebody opens the slave again.
#include "kernel/tty/internal.h"

#include "kernel/base/fmt.h"
#include "kernel/base/ida.h"
#include "kernel/core/errno.h"
#include "kernel/core/user.h"
#include "kernel/fs/poll.h"
#include "kernel/fs/register.h"
#include "kernel/process/credentials.h"
#include "kernel/tty/tty.h"
#include "mm/slab.h"
#include <asm/ioctls.h>
#include <linux/major.h>

#define PTY_MAX          4096
#define PTY_OUTPUT_BYTES 8192 // power of two
#define PTY_CHUNK_BYTES  256
#define PTY_GROUP_TTY    5 // Debian's group "tty"

struct pty {
    struct tty slave; // first; its lock protects all below
    uint32_t index;
    bool locked; // the slave can't be opened yet (TIOCSPTLCK)
    bool master_closed;
    bool slave_was_opened;
    uint32_t output_head, output_tail;
    struct wait_queue master_wait; // for output, and for room in the slave's input
    struct character_device device;
    uint8_t output[PTY_OUTPUT_BYTES];
};

static struct ida pty_indices;
static struct mutex pty_indices_lock = MUTEX_INIT(pty_indices_lock, "pty: indices");

static struct pty *pty_of_slave(struct tty *tty)
{
    return container_of(tty, struct pty, slave);
}

static uint32_t output_used(const struct pty *pty)
{
    return pty->output_head - pty->output_tail;
}

// ---- the slave's driver ----

static size_t pty_write_room(struct tty *tty)
{
    struct pty *pty = pty_of_slave(tty);
    return PTY_OUTPUT_BYTES - output_used(pty);
}

static size_t pty_slave_write(struct tty *tty, const uint8_t *bytes, size_t len_bytes)
{
    struct pty *pty = pty_of_slave(tty);
    size_t count = MIN(len_bytes, pty_write_room(tty));
    if (pty->master_closed)
        return len_bytes; // nobody will read it
    for (size_t i = 0; i < count; i++)
        pty->output[(pty->output_head + i) % PTY_OUTPUT_BYTES] = bytes[i];
    pty->output_head += (uint32_t)count;
    return count;
}

static size_t pty_output_pending(struct tty *tty)
{
    return output_used(pty_of_slave(tty));
}

static void pty_discard_output(struct tty *tty)
{
    struct pty *pty = pty_of_slave(tty);
    pty->output_tail = pty->output_head;
    if (tty->packet)
        tty->packet_status |= TIOCPKT_FLUSHWRITE;
}

static void pty_input_resume(struct tty *tty)
{
    (void)tty; // wake_peer follows
}

static void pty_wake_master(struct tty *tty)
{
    wait_wake_all(&pty_of_slave(tty)->master_wait);
}

static void pty_free(struct tty *tty)
{
    struct pty *pty = pty_of_slave(tty);
    mutex_lock(&pty_indices_lock);
    ida_free(&pty_indices, pty->index);
    mutex_unlock(&pty_indices_lock);
    kfree(pty);
}

static const struct tty_driver pty_driver = {
    .write = pty_slave_write,
    .write_room = pty_write_room,
    .output_pending = pty_output_pending,
    .discard_output = pty_discard_output,
    .input_resume = pty_input_resume,
    .wake_peer = pty_wake_master,
    .release = pty_free,
};

static int pty_slave_open(struct pty *pty, struct file *file)
{
    uint64_t flags = spin_lock_irqsave(&pty->slave.lock);
    bool refused = pty->locked || pty->master_closed;
    if (!refused)
        pty->slave_was_opened = true;
    spin_unlock_irqrestore(&pty->slave.lock, flags);
    return refused ? -EIO : tty_open(&pty->slave, file);
}

static int pty_node_open(struct file *file)
{
    return pty_slave_open(file->private_data, file);
}

// ---- the master ----

// All slave files are closed, after there was one. Racy; wake_peer follows each change.
static bool pty_slave_gone(const struct pty *pty)
{
    return pty->slave_was_opened && atomic_load_relaxed(&pty->slave.open_count) == 0;
}

static bool pty_may_read(const struct pty *pty)
{
    return atomic_load_relaxed(&pty->output_head) != atomic_load_relaxed(&pty->output_tail) ||
           atomic_load_relaxed(&pty->slave.packet_status) != 0 || pty_slave_gone(pty);
}

static size_t pty_take_output(struct pty *pty, uint8_t *buffer, size_t size)
{
    uint64_t flags = spin_lock_irqsave(&pty->slave.lock);
    size_t count = MIN(size, (size_t)output_used(pty));
    for (size_t i = 0; i < count; i++)
        buffer[i] = pty->output[(pty->output_tail + i) % PTY_OUTPUT_BYTES];
    pty->output_tail += (uint32_t)count;
    spin_unlock_irqrestore(&pty->slave.lock, flags);
    return count;
}

// In packet mode each read begins with a byte: news of the slave's flow control and queues, which
// comes alone, or TIOCPKT_DATA before what the slave wrote. Puts it there. Returns whether the read
// ends with it.
static bool pty_read_packet_byte(struct pty *pty, struct io_iter *to, int64_t *done)
{
    uint64_t flags = spin_lock_irqsave(&pty->slave.lock);
    uint8_t status = pty->slave.packet_status;
    bool data = output_used(pty) != 0;
    pty->slave.packet_status = 0;
    spin_unlock_irqrestore(&pty->slave.lock, flags);
    if (status == 0 && !data)
        return false;
    *done = iter_copy_to(to, &status, 1) == 1 ? 1 : -EFAULT;
    return status != 0 || *done < 0;
}

static int64_t pty_master_read(struct file *file, struct io_iter *to, uint64_t *offset)
{
    struct pty *pty = file->private_data;
    uint8_t chunk[PTY_CHUNK_BYTES];
    int64_t done = 0;
    (void)offset;
    while (to->count != 0) {
        if (done == 0 && pty->slave.packet && pty_read_packet_byte(pty, to, &done))
            return done;
        size_t count = pty_take_output(pty, chunk, MIN(to->count, sizeof(chunk)));
        if (count != 0) {
            size_t copied = iter_copy_to(to, chunk, count);
            done += (int64_t)copied;
            if (copied < count)
                return done != 0 ? done : -EFAULT;
            continue;
        }
        if (done != 0)
            break;
        if (pty_slave_gone(pty))
            return -EIO;
        if ((file->flags & O_NONBLOCK) != 0)
            return -EAGAIN;
        if (wait_event_interruptible(&pty->master_wait, pty_may_read(pty)) != 0)
            return -ERESTARTSYS;
    }
    if (done > 0)
        tty_wake_writers(&pty->slave);
    return done;
}

static bool pty_may_write(struct pty *pty)
{
    uint64_t flags = spin_lock_irqsave(&pty->slave.lock);
    bool room = line_input_has_room(&pty->slave);
    spin_unlock_irqrestore(&pty->slave.lock, flags);
    return room;
}

static int64_t pty_master_write(struct file *file, struct io_iter *from, uint64_t *offset)
{
    struct pty *pty = file->private_data;
    uint8_t chunk[PTY_CHUNK_BYTES];
    int64_t done = 0;
    (void)offset;
    while (from->count != 0) {
        size_t count = iter_copy_from(from, chunk, MIN(from->count, sizeof(chunk)));
        size_t taken = 0;
        if (count == 0)
            return done != 0 ? done : -EFAULT;
        for (;;) {
            taken += tty_receive(&pty->slave, chunk + taken, count - taken);
            if (taken == count)
                break;
            int error = (file->flags & O_NONBLOCK) != 0 ? -EAGAIN : 0;
            if (error == 0 && wait_event_interruptible(&pty->master_wait, pty_may_write(pty)) != 0)
                error = -ERESTARTSYS;
            if (error != 0)
                return done + (int64_t)taken != 0 ? done + (int64_t)taken : error;
        }
        done += (int64_t)taken;
    }
    return done;
}

static uint32_t pty_master_poll(struct file *file, struct poll_table *table)
{
    struct pty *pty = file->private_data;
    uint32_t events = 0;
    poll_wait(table, file, &pty->master_wait);
    if (atomic_load_relaxed(&pty->output_head) != atomic_load_relaxed(&pty->output_tail))
        events |= EPOLLIN | EPOLLRDNORM;
    if (atomic_load_relaxed(&pty->slave.packet_status) != 0)
        events |= EPOLLPRI | EPOLLIN | EPOLLRDNORM;
    if (pty_slave_gone(pty))
        events |= EPOLLHUP;
    if (pty_may_write(pty))
        events |= EPOLLOUT | EPOLLWRNORM;
    return events;
}

// TIOCGPTPEER: a new file of the slave, whatever the node's path is by now.
static int64_t pty_open_peer(struct pty *pty, uint32_t open_flags)
{
    struct file *file = file_create_anonymous(
        pty->slave.name, &tty_file_ops, NULL, open_flags & ~(uint32_t)O_CLOEXEC);
    if (file == NULL)
        return -ENOMEM;
    int error = pty_slave_open(pty, file);
    if (error != 0) {
        file_discard(file);
        return error;
    }
    return file_fd_add(file, (open_flags & O_CLOEXEC) != 0);
}

static void pty_set_packet_mode(struct pty *pty, bool on)
{
    uint64_t flags = spin_lock_irqsave(&pty->slave.lock);
    if (pty->slave.packet != on)
        pty->slave.packet_status = 0;
    pty->slave.packet = on;
    spin_unlock_irqrestore(&pty->slave.lock, flags);
}

static int64_t pty_master_ioctl(struct file *file, uint32_t command, uintptr_t argument)
{
    struct pty *pty = file->private_data;
    uint32_t value;
    switch (command) {
    case TIOCGPTN:
        return user_put_u32(argument, pty->index);
    case TIOCSPTLCK:
        if (user_get_u32(&value, argument) != 0)
            return -EFAULT;
        pty->locked = value != 0;
        return 0;
    case TIOCGPTLCK:
        return user_put_u32(argument, pty->locked);
    case TIOCPKT:
        if (user_get_u32(&value, argument) != 0)
            return -EFAULT;
        pty_set_packet_mode(pty, value != 0);
        return 0;
    case TIOCGPKT:
        return user_put_u32(argument, pty->slave.packet);
    case TIOCGPTPEER:
        return pty_open_peer(pty, (uint32_t)argument);
    case FIONREAD:
        return user_put_u32(argument, output_used(pty));
    case TIOCGPGRP:
    case TIOCGSID:
        return user_put_u32(
            argument, (uint32_t)(command == TIOCGPGRP ? pty->slave.group : pty->slave.session));
    case TIOCSIG:
        if (argument < 1 || argument > 64)
            return -EINVAL;
        job_signal_foreground(&pty->slave, (int)argument);
        return 0;
    default: {
        int64_t result = tty_ioctl_settings(&pty->slave, command, argument);
        return result == -ENOIOCTLCMD ? -ENOTTY : result;
    }
    }
}

static void pty_master_release(struct file *file)
{
    struct pty *pty = file->private_data;
    uint64_t flags = spin_lock_irqsave(&pty->slave.lock);
    pty->master_closed = true;
    spin_unlock_irqrestore(&pty->slave.lock, flags);
    device_unregister(&pty->device);
    tty_hangup(&pty->slave);
    tty_put(&pty->slave);
}

static const struct file_ops pty_master_ops = {
    .read = pty_master_read,
    .write = pty_master_write,
    .poll = pty_master_poll,
    .ioctl = pty_master_ioctl,
    .release = pty_master_release,
};

// Allocates the index; -ENOSPC, -ENOMEM.
static int64_t pty_index_take(void)
{
    uint32_t index;
    mutex_lock(&pty_indices_lock);
    int error = ida_alloc(&pty_indices, 0, PTY_MAX - 1, &index);
    mutex_unlock(&pty_indices_lock);
    return error != 0 ? error : (int64_t)index;
}

static int pty_master_open(struct file *file)
{
    char name[16];
    struct pty *pty = kmalloc(sizeof(*pty), 0);
    if (pty == NULL)
        return -ENOMEM;
    int64_t index = pty_index_take();
    if (index < 0) {
        kfree(pty);
        return (int)index;
    }
    fmt_snprintf(name, sizeof(name), "pts/%d", (int)index);
    tty_setup(&pty->slave, name, UNIX98_PTY_SLAVE_MAJOR, (uint32_t)index, &pty_driver);
    pty->slave.is_pty_slave = true;
    pty->index = (uint32_t)index;
    pty->locked = true;
    pty->master_closed = false;
    pty->slave_was_opened = false;
    pty->output_head = pty->output_tail = 0;
    wait_queue_init(&pty->master_wait);
    const struct credentials *cred = credentials_current();
    pty->device = (struct character_device){.name = pty->slave.name,
        .major = UNIX98_PTY_SLAVE_MAJOR,
        .minor = pty->index,
        .mode = 0620,
        .uid = cred->fsuid,
        .gid = PTY_GROUP_TTY,
        .ops = &tty_file_ops,
        .open = pty_node_open,
        .context = pty};
    int error = device_register(&pty->device);
    if (error != 0) {
        pty_free(&pty->slave);
        return error;
    }
    file->private_data = pty;
    file->ops = &pty_master_ops;
    return 0;
}

int pty_init(void)
{
    static const struct character_device ptmx = {.name = "ptmx",
        .major = 5,
        .minor = 2,
        .mode = 0666,
        .ops = &pty_master_ops,
        .open = pty_master_open};
    return device_register(&ptmx);
}
