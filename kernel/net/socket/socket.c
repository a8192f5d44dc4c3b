// SPDX-License-Identifier: MIT
// Sockets as files.

#include "kernel/net/socket/socket.h"

#include "kernel/base/assert.h"
#include "kernel/core/errno.h"
#include "kernel/core/panic.h"
#include "kernel/fs/poll.h"

#define FAMILIES_MAX 8

static const struct socket_family *families[FAMILIES_MAX]; // written at start-up by one thread
static uint32_t family_count;

void socket_family_register(const struct socket_family *family)
{
    assert(family_count < FAMILIES_MAX);
    families[family_count++] = family;
}

static int64_t socket_read(struct file *file, struct io_iter *to, uint64_t *offset)
{
    struct socket *socket = file->private_data;
    struct socket_address address;
    uint32_t flags;
    if (socket->ops->receive == NULL)
        return -EOPNOTSUPP;
    return socket->ops->receive(socket, to, 0, &address, &flags);
}

static int64_t socket_write(struct file *file, struct io_iter *from, uint64_t *offset)
{
    struct socket *socket = file->private_data;
    if (socket->ops->send == NULL)
        return -EOPNOTSUPP;
    return socket->ops->send(socket, from, 0, NULL);
}

static uint32_t socket_poll(struct file *file, struct poll_table *table)
{
    struct socket *socket = file->private_data;
    return socket->ops->poll != NULL ? socket->ops->poll(socket, file, table) : 0;
}

static int64_t socket_ioctl(struct file *file, uint32_t command, uintptr_t argument)
{
    return net_ioctl(command, argument);
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

struct socket *socket_of(const struct file *file)
{
    return file->ops == &socket_file_ops ? file->private_data : NULL;
}

int socket_file_create(struct socket *socket, uint32_t flags, struct file **file)
{
    *file = file_create_anonymous("socket", &socket_file_ops, socket, O_RDWR | flags);
    if (*file == NULL) {
        socket->ops->release(socket);
        return -ENOMEM;
    }
    socket->file = *file;
    return 0;
}

int socket_create(
    uint16_t family, uint16_t type, uint32_t protocol, uint32_t flags, struct file **file)
{
    for (uint32_t i = 0; i < family_count; i++) {
        if (families[i]->family != family)
            continue;
        struct socket *socket;
        int error = families[i]->create(type, protocol, &socket);
        if (error != 0)
            return error;
        socket->family = family;
        socket->type = type;
        return socket_file_create(socket, flags, file);
    }
    return -EAFNOSUPPORT;
}

void socket_init(void)
{
    packet_socket_register();
    if (net_proc_register() != 0)
        panic("no memory for /proc/net/dev");
}
