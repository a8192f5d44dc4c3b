// SPDX-License-Identifier: MIT
// Ports as files: /dev/vport0p1, for one opener at a time, and their names in
// /sys/class/virtio-ports. Reading waits for bytes and ends where nobody is at the other end;
// writing waits for room, and for somebody to be there.

#include "kernel/base/atomic.h"
#include "kernel/base/fmt.h"
#include "kernel/core/errno.h"
#include "kernel/core/log.h"
#include "kernel/fs/file.h"
#include "kernel/fs/iter.h"
#include "kernel/fs/poll.h"
#include "virtio/console/internal.h"

#include <linux/fcntl.h>
#include <linux/virtio_console.h>

#define PORT_MAJOR   250 // Linux takes a free one
#define PIECE_BYTES  256
#define PATH_BYTES   64
#define DEVICE_PORTS 32 // numbers of a device

static bool is_gone(const struct console_port *port)
{
    return atomic_load_relaxed(&port->removed) || virtio_device_is_broken(port->console->device);
}

static bool is_connected(const struct console_port *port)
{
    return atomic_load_relaxed(&port->host_connected);
}

static int port_open(struct file *file)
{
    struct console_port *port = file->private_data;
    if (atomic_load_acquire(&port->is_console) || is_gone(port))
        return -ENXIO; // consoles are opened as terminals
    if (atomic_exchange(&port->is_open, 1) != 0)
        return -EBUSY;
    console_control_send(port->console, port->id, VIRTIO_CONSOLE_PORT_OPEN, 1);
    return 0;
}

static void port_release(struct file *file)
{
    struct console_port *port = file->private_data;
    if (!is_gone(port)) {
        console_control_send(port->console, port->id, VIRTIO_CONSOLE_PORT_OPEN, 0);
        console_port_discard(port);
    }
    atomic_store_release(&port->is_open, 0u);
}

static int64_t port_read(struct file *file, struct io_iter *to, uint64_t *offset)
{
    struct console_port *port = file->private_data;
    uint8_t piece[PIECE_BYTES];
    size_t done = 0;
    if (to->count == 0)
        return 0;
    while (done == 0) {
        if (is_gone(port))
            return -ENODEV;
        size_t count;
        while (to->count != 0 &&
               (count = console_port_receive(port, piece, MIN(to->count, sizeof(piece)))) != 0) {
            size_t copied = iter_copy_to(to, piece, count);
            done += copied;
            if (copied != count)
                return done != 0 ? (int64_t)done : -EFAULT;
        }
        if (done != 0 || !is_connected(port))
            break;
        if (file->flags & O_NONBLOCK)
            return -EAGAIN;
        if (wait_event_interruptible(&port->changed,
                console_port_has_input(port) || !is_connected(port) || is_gone(port)) != 0)
            return -ERESTARTSYS;
    }
    return (int64_t)done;
}

static bool can_write(struct console_port *port)
{
    return is_gone(port) || (is_connected(port) && console_port_room(port) != 0);
}

static int64_t port_write(struct file *file, struct io_iter *from, uint64_t *offset)
{
    struct console_port *port = file->private_data;
    uint8_t piece[PIECE_BYTES];
    size_t done = 0;
    while (from->count != 0) {
        if (!can_write(port)) {
            if (file->flags & O_NONBLOCK)
                return done != 0 ? (int64_t)done : -EAGAIN;
            if (wait_event_interruptible(&port->changed, can_write(port)) != 0)
                return done != 0 ? (int64_t)done : -ERESTARTSYS;
        }
        if (is_gone(port))
            return -ENODEV;
        size_t count = MIN(MIN(from->count, sizeof(piece)), console_port_room(port));
        size_t copied = iter_copy_from(from, piece, count);
        // There is room for it: only an opener that has forked could have taken it meanwhile.
        done += console_port_send(port, piece, copied);
        if (copied != count)
            return done != 0 ? (int64_t)done : -EFAULT;
    }
    return (int64_t)done;
}

static uint32_t port_poll(struct file *file, struct poll_table *table)
{
    struct console_port *port = file->private_data;
    uint32_t events = 0;
    poll_wait(table, file, &port->changed);
    if (is_gone(port))
        return EPOLLHUP;
    if (console_port_has_input(port))
        events |= EPOLLIN | EPOLLRDNORM;
    if (is_connected(port) && console_port_room(port) != 0)
        events |= EPOLLOUT;
    if (!is_connected(port))
        events |= EPOLLHUP;
    return events;
}

static const struct file_ops port_file_ops = {
    .read = port_read,
    .write = port_write,
    .poll = port_poll,
    .release = port_release,
};

static int show_name(struct proc_buffer *buffer, void *context)
{
    struct console_port *port = context;
    proc_printf(buffer, "%s\n", port->name);
    return 0;
}

static void sysfs_path(const struct console_port *port, char *path, const char *file)
{
    fmt_snprintf(path, PATH_BYTES, "class/virtio-ports/%s%s", port->node_name, file);
}

void console_file_named(struct console_port *port)
{
    char path[PATH_BYTES];
    sysfs_path(port, path, "/name");
    struct proc_file file = {.path = path, .mode = 0444, .show = show_name, .context = port};
    int error = sysfs_register(&file);
    if (error != 0)
        log_warning("virtio: %s has no name in /sys (error %d)", port->node_name, -error);
}

int console_file_create(struct console_port *port)
{
    fmt_snprintf(
        port->node_name, sizeof(port->node_name), "vport%up%u", port->console->number, port->id);
    port->node = (struct character_device){.name = port->node_name,
        .major = PORT_MAJOR,
        .minor = port->console->number * DEVICE_PORTS + port->id,
        .mode = 0600,
        .ops = &port_file_ops,
        .open = port_open,
        .context = port};
    return device_register(&port->node);
}

void console_file_remove(struct console_port *port)
{
    char path[PATH_BYTES];
    device_unregister(&port->node);
    sysfs_path(port, path, "");
    sysfs_remove(path);
    wait_wake_all(&port->changed);
}
