// SPDX-License-Identifier: MIT
// Sockets (socket(2) and its relatives). What a family does is behind kernel/net/socket.
#include "kernel/net/socket/socket.h"
#include "kernel/syscall/syscall.h"

#include <linux/net.h>
#include <linux/uio.h>

#define SOCK_TYPE_MASK 0xf
#define SOCK_NONBLOCK  O_NONBLOCK
#define SOCK_CLOEXEC   O_CLOEXEC

// struct msghdr as programs have it.
struct user_message {
    uint64_t name;
    uint32_t name_len, padding;
    uint64_t vector, vector_len;
    uint64_t control, control_len;
    uint32_t flags, padding2;
};
static_assert(sizeof(struct user_message) == 56);

// The socket of a descriptor; given back with file_fd_put(*file, *borrowed). -EBADF, -ENOTSOCK.
static int socket_get(int fd, struct file **file, bool *borrowed, struct socket **socket)
{
    *file = file_fd_get(fd, borrowed);
    if (*file == NULL)
        return -EBADF;
    *socket = socket_of(*file);
    if (*socket != NULL)
        return 0;
    file_fd_put(*file, *borrowed);
    return -ENOTSOCK;
}

static int address_from_user(struct socket_address *address, uintptr_t user, uint32_t len)
{
    if (len > SOCKET_ADDRESS_MAX || len < sizeof(uint16_t))
        return -EINVAL;
    address->len = len;
    return copy_from_user(address->bytes, user, len);
}

// As far as there is room, and how long it really is.
static int address_to_user(const struct socket_address *address, uintptr_t user, uintptr_t len_user)
{
    uint32_t room;
    int error = user_get_u32(&room, len_user);
    if (error == 0 && (int32_t)room < 0)
        error = -EINVAL;
    if (error == 0)
        error = copy_to_user(user, address->bytes, MIN(room, address->len));
    return error == 0 ? user_put_u32(len_user, address->len) : error;
}

SYSCALL3(socket, int, family, int, type, int, protocol)
{
    struct file *file;
    if ((type & ~(SOCK_TYPE_MASK | SOCK_NONBLOCK | SOCK_CLOEXEC)) != 0 || family < 0 ||
        family > UINT16_MAX)
        return family < 0 || family > UINT16_MAX ? -EAFNOSUPPORT : -EINVAL;
    int error = socket_create((uint16_t)family, (uint16_t)(type & SOCK_TYPE_MASK),
        (uint32_t)protocol, (uint32_t)type & SOCK_NONBLOCK, &file);
    return error != 0 ? error : file_fd_add(file, (type & SOCK_CLOEXEC) != 0);
}

SYSCALL3(bind, int, fd, uintptr_t, user, uint32_t, len)
{
    struct file *file;
    struct socket *socket;
    struct socket_address address;
    bool borrowed;
    int error = socket_get(fd, &file, &borrowed, &socket);
    if (error != 0)
        return error;
    error = address_from_user(&address, user, len);
    if (error == 0)
        error = socket->ops->bind != NULL ? socket->ops->bind(socket, &address) : -EOPNOTSUPP;
    file_fd_put(file, borrowed);
    return error;
}

SYSCALL3(connect, int, fd, uintptr_t, user, uint32_t, len)
{
    struct file *file;
    struct socket *socket;
    struct socket_address address;
    bool borrowed;
    int error = socket_get(fd, &file, &borrowed, &socket);
    if (error != 0)
        return error;
    error = address_from_user(&address, user, len);
    if (error == 0)
        error = socket->ops->connect != NULL ? socket->ops->connect(socket, &address) : -EOPNOTSUPP;
    file_fd_put(file, borrowed);
    return error;
}

SYSCALL2(listen, int, fd, int, backlog)
{
    struct file *file;
    struct socket *socket;
    bool borrowed;
    int error = socket_get(fd, &file, &borrowed, &socket);
    if (error != 0)
        return error;
    error = socket->ops->listen != NULL ? socket->ops->listen(socket, backlog) : -EOPNOTSUPP;
    file_fd_put(file, borrowed);
    return error;
}

static int64_t accept_user(int fd, uintptr_t user, uintptr_t len_user, int flags)
{
    struct file *file, *made;
    struct socket *socket, *connection;
    struct socket_address address;
    bool borrowed;
    if ((flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) != 0)
        return -EINVAL;
    int error = socket_get(fd, &file, &borrowed, &socket);
    if (error != 0)
        return error;
    error = socket->ops->accept != NULL
                ? socket->ops->accept(socket, (file->flags & O_NONBLOCK) == 0, &connection)
                : -EOPNOTSUPP;
    if (error == 0)
        error = socket_file_create(connection, (uint32_t)flags & SOCK_NONBLOCK, &made);
    file_fd_put(file, borrowed);
    if (error != 0)
        return error;
    if (user != 0) {
        error = connection->ops->name(connection, &address, true);
        if (error == 0)
            error = address_to_user(&address, user, len_user);
        if (error != 0) {
            file_put(made);
            return error;
        }
    }
    return file_fd_add(made, (flags & SOCK_CLOEXEC) != 0);
}

SYSCALL3(accept, int, fd, uintptr_t, user, uintptr_t, len)
{
    return accept_user(fd, user, len, 0);
}

SYSCALL4(accept4, int, fd, uintptr_t, user, uintptr_t, len, int, flags)
{
    return accept_user(fd, user, len, flags);
}

static int64_t name_user(int fd, uintptr_t user, uintptr_t len_user, bool peer)
{
    struct file *file;
    struct socket *socket;
    struct socket_address address;
    bool borrowed;
    int error = socket_get(fd, &file, &borrowed, &socket);
    if (error != 0)
        return error;
    error = socket->ops->name != NULL ? socket->ops->name(socket, &address, peer) : -EOPNOTSUPP;
    if (error == 0)
        error = address_to_user(&address, user, len_user);
    file_fd_put(file, borrowed);
    return error;
}

SYSCALL3(getsockname, int, fd, uintptr_t, user, uintptr_t, len)
{
    return name_user(fd, user, len, false);
}

SYSCALL3(getpeername, int, fd, uintptr_t, user, uintptr_t, len)
{
    return name_user(fd, user, len, true);
}

SYSCALL2(shutdown, int, fd, int, how)
{
    struct file *file;
    struct socket *socket;
    bool borrowed;
    int error = socket_get(fd, &file, &borrowed, &socket);
    if (error != 0)
        return error;
    if (how < 0 || how > 2)
        error = -EINVAL;
    else
        error = socket->ops->shutdown != NULL ? socket->ops->shutdown(socket, how) : -EOPNOTSUPP;
    file_fd_put(file, borrowed);
    return error;
}

// ---- data ----

static int64_t send_iter(
    struct socket *socket, struct io_iter *iter, uint32_t flags, uintptr_t user, uint32_t len)
{
    struct socket_address address;
    if (socket->ops->send == NULL)
        return -EOPNOTSUPP;
    if (user != 0) {
        int error = address_from_user(&address, user, len);
        if (error != 0)
            return error;
    }
    return socket->ops->send(socket, iter, flags, user != 0 ? &address : NULL);
}

SYSCALL6(sendto, int, fd, uintptr_t, buffer, size_t, len, uint32_t, flags, uintptr_t, user,
    uint32_t, user_len)
{
    struct file *file;
    struct socket *socket;
    struct io_iter iter;
    bool borrowed;
    int error = socket_get(fd, &file, &borrowed, &socket);
    if (error != 0)
        return error;
    int64_t result = iter_init_user(&iter, buffer, len);
    if (result == 0)
        result = send_iter(socket, &iter, flags, user, user_len);
    file_fd_put(file, borrowed);
    return result;
}

SYSCALL6(recvfrom, int, fd, uintptr_t, buffer, size_t, len, uint32_t, flags, uintptr_t, user,
    uintptr_t, user_len)
{
    struct file *file;
    struct socket *socket;
    struct io_iter iter;
    struct socket_address address = {};
    uint32_t answer_flags;
    bool borrowed;
    int error = socket_get(fd, &file, &borrowed, &socket);
    if (error != 0)
        return error;
    int64_t result = iter_init_user(&iter, buffer, len);
    if (result == 0)
        result = socket->ops->receive != NULL
                     ? socket->ops->receive(socket, &iter, flags, &address, &answer_flags)
                     : -EOPNOTSUPP;
    file_fd_put(file, borrowed);
    if (result >= 0 && user != 0) {
        error = address_to_user(&address, user, user_len);
        return error != 0 ? error : result;
    }
    return result;
}

SYSCALL3(sendmsg, int, fd, uintptr_t, user, uint32_t, flags)
{
    struct file *file;
    struct socket *socket;
    struct user_message message;
    struct iovec segments[ITER_INLINE_SEGMENTS];
    struct io_iter iter;
    bool borrowed;
    int error = socket_get(fd, &file, &borrowed, &socket);
    if (error != 0)
        return error;
    int64_t result = copy_from_user(&message, user, sizeof(message));
    if (result == 0 && message.control_len != 0)
        result = -EOPNOTSUPP; // no family here has control data
    if (result == 0)
        result = iter_init_user_vector(&iter, message.vector, message.vector_len, segments);
    if (result == 0) {
        result = send_iter(socket, &iter, flags, message.name, message.name_len);
        iter_release(&iter, segments);
    }
    file_fd_put(file, borrowed);
    return result;
}

static int64_t receive_message(struct socket *socket, uintptr_t user, uint32_t flags)
{
    struct user_message message;
    struct iovec segments[ITER_INLINE_SEGMENTS];
    struct io_iter iter;
    struct socket_address address = {};
    uint32_t answer_flags = 0;
    int64_t result = copy_from_user(&message, user, sizeof(message));
    if (result == 0)
        result = iter_init_user_vector(&iter, message.vector, message.vector_len, segments);
    if (result != 0)
        return result;
    result = socket->ops->receive != NULL
                 ? socket->ops->receive(socket, &iter, flags, &address, &answer_flags)
                 : -EOPNOTSUPP;
    iter_release(&iter, segments);
    if (result < 0)
        return result;
    int error = 0;
    if (message.name != 0)
        error =
            address_to_user(&address, message.name, user + offsetof(struct user_message, name_len));
    if (error == 0)
        error = user_put_u32(user + offsetof(struct user_message, flags), answer_flags);
    if (error == 0)
        error = user_put_u64(user + offsetof(struct user_message, control_len), 0);
    return error != 0 ? error : result;
}

SYSCALL3(recvmsg, int, fd, uintptr_t, user, uint32_t, flags)
{
    struct file *file;
    struct socket *socket;
    bool borrowed;
    int error = socket_get(fd, &file, &borrowed, &socket);
    if (error != 0)
        return error;
    int64_t result = receive_message(socket, user, flags);
    file_fd_put(file, borrowed);
    return result;
}

// ---- options ----

SYSCALL5(setsockopt, int, fd, int, level, int, option, uintptr_t, value, uint32_t, len)
{
    struct file *file;
    struct socket *socket;
    bool borrowed;
    int error = socket_get(fd, &file, &borrowed, &socket);
    if (error != 0)
        return error;
    error = socket->ops->option_set != NULL
                ? socket->ops->option_set(socket, level, option, value, len)
                : -ENOPROTOOPT;
    file_fd_put(file, borrowed);
    return error;
}

// Options that every socket has (socket(7)). 0, -ENOPROTOOPT.
static int common_option(const struct socket *socket, int option, uint32_t *value)
{
    static const int so_type = 3, so_error = 4, so_protocol = 38, so_domain = 39;
    if (option == so_type)
        *value = socket->type;
    else if (option == so_domain)
        *value = socket->family;
    else if (option == so_protocol)
        *value = socket->protocol;
    else if (option == so_error)
        *value = 0;
    else
        return -ENOPROTOOPT;
    return 0;
}

SYSCALL5(getsockopt, int, fd, int, level, int, option, uintptr_t, value, uintptr_t, len)
{
    static const int sol_socket = 1;
    struct file *file;
    struct socket *socket;
    bool borrowed;
    uint32_t number, room;
    int error = socket_get(fd, &file, &borrowed, &socket);
    if (error != 0)
        return error;
    if (level == sol_socket && common_option(socket, option, &number) == 0) {
        error = user_get_u32(&room, len);
        if (error == 0 && (int32_t)room < 0)
            error = -EINVAL;
        if (error == 0)
            error = copy_to_user(value, &number, MIN(room, (uint32_t)sizeof(number)));
        if (error == 0)
            error = user_put_u32(len, MIN(room, (uint32_t)sizeof(number)));
    } else {
        error = socket->ops->option_get != NULL
                    ? socket->ops->option_get(socket, level, option, value, len)
                    : -ENOPROTOOPT;
    }
    file_fd_put(file, borrowed);
    return error;
}
