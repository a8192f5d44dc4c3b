// SPDX-License-Identifier: MIT
// Sockets as files.
#include "kernel/net/socket/socket.h"

#include "kernel/base/assert.h"
#include "kernel/core/errno.h"
#include "kernel/core/panic.h"
#include "kernel/core/time.h"
#include "kernel/fs/file.h"
#include "kernel/fs/poll.h"
#include "mm/slab.h"

#define BUFFER_BYTES 212992 // as Linux's net.core.wmem_default

#define FAMILIES_MAX 8

static const struct socket_family *families[FAMILIES_MAX]; // written at start-up by one thread
static uint32_t family_count;

void socket_family_register(const struct socket_family *family)
{
    assert(family_count < FAMILIES_MAX);
    families[family_count++] = family;
}

const struct socket_family *socket_family_find(int family)
{
    for (uint32_t i = 0; i < family_count; i++) {
        if (families[i]->family == family)
            return families[i];
    }
    return NULL;
}

void socket_init(
    struct socket *socket, const struct socket_ops *ops, uint16_t family, uint16_t type)
{
    *socket = (struct socket){
        .ops = ops,
        .family = family,
        .type = type,
        .send_buffer_bytes = BUFFER_BYTES,
        .receive_buffer_bytes = BUFFER_BYTES,
    };
}

void socket_control_release(struct socket_control *control)
{
    for (uint32_t i = 0; i < control->file_count; i++)
        file_put(control->files[i]);
    kfree(control->files);
    control->files = NULL;
    control->file_count = 0;
}

uint64_t socket_deadline(uint64_t timeout_ns)
{
    return timeout_ns == 0 ? UINT64_MAX : time_monotonic_ns() + timeout_ns;
}

int socket_wait_error(int error, uint64_t timeout_ns)
{
    if (error == -ETIMEDOUT)
        return -EAGAIN;
    // With a time limit a call is not begun again: it would wait anew.
    return error == -EINTR && timeout_ns == 0 ? -ERESTARTSYS : error;
}

static bool is_nonblocking(const struct file *file)
{
    return (file->flags & O_NONBLOCK) != 0;
}

static int64_t socket_read(struct file *file, struct io_iter *to, uint64_t *offset)
{
    (void)offset;
    struct socket *socket = file->private_data;
    struct socket_message message = {.iter = *to};
    int64_t got = socket->ops->receive(socket, &message, is_nonblocking(file));
    *to = message.iter;
    socket_control_release(&message.control); // what read(2) can't hand on
    return got;
}

static int64_t socket_write(struct file *file, struct io_iter *from, uint64_t *offset)
{
    (void)offset;
    struct socket *socket = file->private_data;
    struct socket_message message = {.iter = *from};
    int64_t sent = socket->ops->send(socket, &message, is_nonblocking(file));
    *from = message.iter;
    return sent;
}

static uint32_t socket_poll(struct file *file, struct poll_table *table)
{
    struct socket *socket = file->private_data;
    return socket->ops->poll(socket, file, table);
}

static int64_t socket_ioctl(struct file *file, uint32_t command, uintptr_t argument)
{
    struct socket *socket = file->private_data;
    int64_t result = net_ioctl(command, argument);
    if (result != -ENOTTY || socket->ops->ioctl == NULL)
        return result;
    return socket->ops->ioctl(socket, command, argument);
}

static void socket_release(struct file *file)
{
    struct socket *socket = file->private_data;
    socket->ops->release(socket);
}

static const struct file_ops socket_file_ops = {
    .read = socket_read,
    .write = socket_write,
    .poll = socket_poll,
    .ioctl = socket_ioctl,
    .release = socket_release,
};

struct file *socket_file(struct socket *socket, uint32_t open_flags)
{
    struct file *file = file_create_anonymous(
        "socket", &socket_file_ops, socket, O_RDWR | (open_flags & O_NONBLOCK));
    if (file == NULL)
        socket->ops->release(socket);
    else
        file->mode |= FILE_STREAM;
    return file;
}

struct socket *socket_of_file(const struct file *file)
{
    return file->ops == &socket_file_ops ? file->private_data : NULL;
}

void socket_start(void)
{
    packet_socket_register();
    if (net_proc_register() != 0)
        panic("no memory for /proc/net/dev");
}
