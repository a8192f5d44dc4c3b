// SPDX-License-Identifier: MIT
// The socket calls: socket(7), socket(2), send(2), recv(2), cmsg(3).
#include "kernel/base/string.h"
#include "kernel/core/timespec.h"
#include "kernel/fs/file.h"
#include "kernel/net/socket/socket.h"
#include "kernel/process/credentials.h"
#include "kernel/process/task.h"
#include "kernel/syscall/syscall.h"
#include "mm/slab.h"
#include <asm/socket.h>
#include <linux/capability.h>
#include <linux/errno.h>
#include <linux/time_types.h>

#define CONTROL_BYTES_MAX 20480 // as Linux's net.core.optmem_max
#define CMSG_ALIGN(bytes) ALIGN_UP(bytes, sizeof(uint64_t))
#define VECTOR_COUNT_MAX  1024 // most messages of one call
#define BUFFER_BYTES_MIN  4608
#define BUFFER_BYTES_MAX  (UINT32_C(425984))

// The socket of a descriptor while a call uses it.
struct socket_use {
    struct socket *socket;
    struct file *file;
    bool borrowed; // how the file is given back: socket_put()
};

static int socket_get(int fd, struct socket_use *use)
{
    use->file = file_fd_get(fd, &use->borrowed);
    if (use->file == NULL)
        return -EBADF;
    use->socket = socket_of_file(use->file);
    if (use->socket != NULL)
        return 0;
    file_fd_put(use->file, use->borrowed);
    return -ENOTSOCK;
}

static void socket_put(const struct socket_use *use)
{
    file_fd_put(use->file, use->borrowed);
}

static bool is_nonblocking(const struct file *file)
{
    return (file->flags & O_NONBLOCK) != 0;
}

static int address_from_user(uint8_t address[SOCKET_ADDRESS_MAX], uintptr_t user, uint32_t len)
{
    if (len > SOCKET_ADDRESS_MAX)
        return -EINVAL;
    return len == 0 || copy_from_user(address, user, len) == 0 ? 0 : -EFAULT;
}

// Cut to the *user_len bytes that there is room for; the whole length goes there.
static int address_to_user(uintptr_t user, uintptr_t user_len, const uint8_t *address, uint32_t len)
{
    uint32_t room;
    if (user_get_u32(&room, user_len) != 0)
        return -EFAULT;
    if ((int32_t)room < 0)
        return -EINVAL;
    if (copy_to_user(user, address, MIN(room, len)) != 0 || user_put_u32(user_len, len) != 0)
        return -EFAULT;
    return 0;
}

// ---- making ------------------------------------------------------------------------------------

static int create(int family, int type, int protocol, struct socket **socket)
{
    if ((type & ~(ABI_SOCK_TYPE_MASK | ABI_SOCK_NONBLOCK | ABI_SOCK_CLOEXEC)) != 0)
        return -EINVAL;
    const struct socket_family *known = socket_family_find(family);
    if (known == NULL)
        return -EAFNOSUPPORT;
    return known->create(type & ABI_SOCK_TYPE_MASK, protocol, socket);
}

static int64_t add_file(struct socket *socket, int flags)
{
    struct file *file = socket_file(socket, (uint32_t)flags & ABI_SOCK_NONBLOCK);
    return file == NULL ? -ENFILE : file_fd_add(file, (flags & ABI_SOCK_CLOEXEC) != 0);
}

SYSCALL3(socket, int, family, int, type, int, protocol)
{
    struct socket *socket;
    int error = create(family, type, protocol, &socket);
    return error != 0 ? error : add_file(socket, type);
}

SYSCALL4(socketpair, int, family, int, type, int, protocol, uintptr_t, user)
{
    struct socket *sockets[2];
    int error = create(family, type, protocol, &sockets[0]);
    if (error != 0)
        return error;
    error = create(family, type, protocol, &sockets[1]);
    if (error != 0) {
        sockets[0]->ops->release(sockets[0]);
        return error;
    }
    if (socket_family_find(family)->pair == NULL) {
        for (int i = 0; i < 2; i++)
            sockets[i]->ops->release(sockets[i]);
        return -EOPNOTSUPP;
    }
    socket_family_find(family)->pair(sockets[0], sockets[1]);
    int64_t first = add_file(sockets[0], type);
    if (first < 0) {
        sockets[1]->ops->release(sockets[1]);
        return first;
    }
    int64_t second = add_file(sockets[1], type);
    int fds[2] = {(int)first, (int)second};
    if (second >= 0 && copy_to_user(user, fds, sizeof(fds)) == 0)
        return 0;
    (void)file_fd_close((int)first);
    if (second >= 0)
        (void)file_fd_close((int)second);
    return second < 0 ? second : -EFAULT;
}

// ---- connections -------------------------------------------------------------------------------

SYSCALL3(bind, int, fd, uintptr_t, user, uint32_t, len)
{
    struct socket_use use;
    uint8_t address[SOCKET_ADDRESS_MAX];
    int error = socket_get(fd, &use);
    if (error != 0)
        return error;
    struct socket *socket = use.socket;
    error = address_from_user(address, user, len);
    if (error == 0)
        error = socket->ops->bind != NULL ? socket->ops->bind(socket, address, len) : -EOPNOTSUPP;
    socket_put(&use);
    return error;
}

SYSCALL3(connect, int, fd, uintptr_t, user, uint32_t, len)
{
    struct socket_use use;
    uint8_t address[SOCKET_ADDRESS_MAX];
    int error = socket_get(fd, &use);
    if (error != 0)
        return error;
    struct socket *socket = use.socket;
    error = address_from_user(address, user, len);
    if (error == 0)
        error = socket->ops->connect != NULL
                    ? socket->ops->connect(socket, address, len, is_nonblocking(use.file))
                    : -EOPNOTSUPP;
    socket_put(&use);
    return error;
}

SYSCALL2(listen, int, fd, int, backlog)
{
    struct socket_use use;
    int error = socket_get(fd, &use);
    if (error != 0)
        return error;
    struct socket *socket = use.socket;
    // As on Linux a negative number means as many as there may be.
    error =
        socket->ops->listen != NULL ? socket->ops->listen(socket, (uint32_t)backlog) : -EOPNOTSUPP;
    socket_put(&use);
    return error;
}

static int64_t do_accept(int fd, uintptr_t user, uintptr_t user_len, int flags)
{
    struct socket_use use;
    struct socket *accepted;
    if ((flags & ~(ABI_SOCK_NONBLOCK | ABI_SOCK_CLOEXEC)) != 0)
        return -EINVAL;
    int error = socket_get(fd, &use);
    if (error != 0)
        return error;
    struct socket *socket = use.socket;
    error = socket->ops->accept != NULL
                ? socket->ops->accept(socket, is_nonblocking(use.file), &accepted)
                : -EOPNOTSUPP;
    socket_put(&use);
    if (error != 0)
        return error;
    uint8_t address[SOCKET_ADDRESS_MAX];
    int len = accepted->ops->name(accepted, true, address);
    if (user != 0) {
        error = len < 0 ? -ECONNABORTED : address_to_user(user, user_len, address, (uint32_t)len);
        if (error != 0) {
            accepted->ops->release(accepted);
            return error;
        }
    }
    return add_file(accepted, flags);
}

SYSCALL3(accept, int, fd, uintptr_t, address, uintptr_t, len)
{
    return do_accept(fd, address, len, 0);
}

SYSCALL4(accept4, int, fd, uintptr_t, address, uintptr_t, len, int, flags)
{
    return do_accept(fd, address, len, flags);
}

static int64_t do_name(int fd, bool peer, uintptr_t user, uintptr_t user_len)
{
    struct socket_use use;
    uint8_t address[SOCKET_ADDRESS_MAX];
    int error = socket_get(fd, &use);
    if (error != 0)
        return error;
    struct socket *socket = use.socket;
    int len = socket->ops->name(socket, peer, address);
    socket_put(&use);
    return len < 0 ? len : address_to_user(user, user_len, address, (uint32_t)len);
}

SYSCALL3(getsockname, int, fd, uintptr_t, address, uintptr_t, len)
{
    return do_name(fd, false, address, len);
}

SYSCALL3(getpeername, int, fd, uintptr_t, address, uintptr_t, len)
{
    return do_name(fd, true, address, len);
}

SYSCALL2(shutdown, int, fd, int, how)
{
    struct socket_use use;
    int error = socket_get(fd, &use);
    if (error != 0)
        return error;
    struct socket *socket = use.socket;
    if (how < ABI_SHUT_RD || how > ABI_SHUT_RDWR)
        error = -EINVAL;
    else
        error = socket->ops->shutdown != NULL
                    ? socket->ops->shutdown(socket, how != ABI_SHUT_WR, how != ABI_SHUT_RD)
                    : -EOPNOTSUPP;
    socket_put(&use);
    return error;
}

// ---- control messages --------------------------------------------------------------------------

static int take_rights(struct socket_control *control, const uint8_t *data, size_t bytes)
{
    size_t count = bytes / sizeof(int);
    if (count == 0)
        return 0;
    if (count + control->file_count > SOCKET_FILES_MAX)
        return -EINVAL;
    struct file **files = kmalloc((count + control->file_count) * sizeof(struct file *), 0);
    if (files == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < control->file_count; i++)
        files[i] = control->files[i];
    kfree(control->files);
    control->files = files;
    for (size_t i = 0; i < count; i++) {
        int fd;
        memcpy(&fd, data + i * sizeof(fd), sizeof(fd));
        bool borrowed;
        struct file *file = file_fd_get_any(fd, &borrowed);
        if (file == NULL)
            return -EBADF;
        if (borrowed)
            file_get(file);
        // Two sockets in flight through each other would never be closed.
        if (socket_of_file(file) != NULL) {
            file_put(file);
            return -ETOOMANYREFS;
        }
        files[control->file_count++] = file;
    }
    return 0;
}

static int take_credentials(struct socket_control *control, const uint8_t *data, size_t bytes)
{
    const struct credentials *own = credentials_current();
    struct socket_credentials *said = &control->credentials;
    if (bytes != sizeof(*said))
        return -EINVAL;
    memcpy(said, data, sizeof(*said));
    bool pid_right = said->pid == process_current()->pid || capable(CAP_SYS_ADMIN);
    bool uid_right = said->uid == own->uid || said->uid == own->euid || said->uid == own->suid ||
                     capable(CAP_SETUID);
    bool gid_right = said->gid == own->gid || said->gid == own->egid || said->gid == own->sgid ||
                     capable(CAP_SETGID);
    if (!pid_right || !uid_right || !gid_right)
        return -EPERM;
    control->has_credentials = true;
    return 0;
}

// The control messages in the buffer. What was taken by then stays in `control` on failure.
static int control_parse(struct socket_control *control, const uint8_t *bytes, size_t len)
{
    size_t at = 0;
    while (len - at >= sizeof(struct socket_cmsghdr)) {
        struct socket_cmsghdr header;
        memcpy(&header, bytes + at, sizeof(header));
        if (header.len < sizeof(header) || header.len > len - at)
            return -EINVAL;
        const uint8_t *data = bytes + at + sizeof(header);
        size_t data_len = header.len - sizeof(header);
        int error = 0;
        if (header.level == SOL_SOCKET && header.type == ABI_SCM_RIGHTS)
            error = take_rights(control, data, data_len);
        else if (header.level == SOL_SOCKET && header.type == ABI_SCM_CREDENTIALS)
            error = take_credentials(control, data, data_len);
        else if (header.level == SOL_SOCKET)
            error = -EINVAL;
        if (error != 0)
            return error;
        at += MIN(CMSG_ALIGN(header.len), len - at);
    }
    return 0;
}

static int control_from_user(struct socket_control *control, uintptr_t user, size_t len)
{
    if (len == 0)
        return 0;
    if (len > CONTROL_BYTES_MAX)
        return -ENOBUFS;
    uint8_t *bytes = kmalloc(len, 0);
    if (bytes == NULL)
        return -ENOBUFS;
    int error =
        copy_from_user(bytes, user, len) != 0 ? -EFAULT : control_parse(control, bytes, len);
    kfree(bytes);
    return error;
}

struct control_writer {
    uintptr_t user;
    size_t room, used;
    uint32_t flags; // MSG_CTRUNC
};

// 0, or -EFAULT. What does not fit is cut, and MSG_CTRUNC says so.
static int control_put(struct control_writer *writer, int type, const void *data, size_t bytes)
{
    struct socket_cmsghdr header = {
        .len = sizeof(header) + bytes, .level = SOL_SOCKET, .type = type};
    size_t left = writer->room - writer->used;
    if (left < sizeof(header)) {
        writer->flags |= ABI_MSG_CTRUNC;
        return 0;
    }
    if (left < header.len) {
        header.len = left;
        writer->flags |= ABI_MSG_CTRUNC;
    }
    uintptr_t at = writer->user + writer->used;
    if (copy_to_user(at, &header, sizeof(header)) != 0 ||
        copy_to_user(at + sizeof(header), data, header.len - sizeof(header)) != 0)
        return -EFAULT;
    writer->used += MIN(CMSG_ALIGN(header.len), left);
    return 0;
}

// The files become descriptors, as many as there is room for.
static int control_put_files(
    struct control_writer *writer, struct socket_control *control, bool close_on_exec)
{
    int fds[SOCKET_FILES_MAX];
    uint32_t count = 0;
    size_t left = writer->room - writer->used;
    size_t fits = left > sizeof(struct socket_cmsghdr)
                      ? (left - sizeof(struct socket_cmsghdr)) / sizeof(int)
                      : 0;
    while (count < control->file_count && count < fits) {
        int fd = file_fd_reserve(0, close_on_exec);
        if (fd < 0)
            break;
        file_get(control->files[count]);
        file_fd_install(fd, control->files[count]);
        fds[count++] = fd;
    }
    if (count < control->file_count)
        writer->flags |= ABI_MSG_CTRUNC;
    return count != 0 ? control_put(writer, ABI_SCM_RIGHTS, fds, count * sizeof(int)) : 0;
}

// ---- messages ----------------------------------------------------------------------------------

static int64_t send_message(struct socket *socket, const struct file *file,
    const struct socket_msghdr *header, uint32_t flags)
{
    struct iovec inline_segments[ITER_INLINE_SEGMENTS];
    struct socket_message message = {.flags = flags};
    message.address_len = header->name != 0 ? header->name_len : 0;
    int64_t result = address_from_user(message.address, header->name, message.address_len);
    if (result == 0)
        result = control_from_user(
            &message.control, header->control, header->control != 0 ? header->control_len : 0);
    if (result == 0)
        result = iter_init_user_vector(
            &message.iter, header->vector, header->vector_count, inline_segments);
    if (result != 0) {
        socket_control_release(&message.control);
        return result;
    }
    struct io_iter whole = message.iter; // for iter_release(): the other one moves
    result = socket->ops->send(socket, &message, is_nonblocking(file));
    iter_release(&whole, inline_segments);
    return result;
}

static int64_t receive_message(
    struct socket *socket, const struct file *file, struct socket_msghdr *header, uint32_t flags)
{
    struct iovec inline_segments[ITER_INLINE_SEGMENTS];
    struct socket_message message = {.flags = flags};
    int64_t result =
        iter_init_user_vector(&message.iter, header->vector, header->vector_count, inline_segments);
    if (result != 0)
        return result;
    struct io_iter whole = message.iter; // for iter_release(): the other one moves
    result = socket->ops->receive(socket, &message, is_nonblocking(file));
    iter_release(&whole, inline_segments);
    if (result < 0)
        return result;
    struct control_writer writer = {.user = header->control,
        .room = header->control != 0 ? MIN(header->control_len, (uint64_t)CONTROL_BYTES_MAX) : 0};
    int error = 0;
    if (header->name != 0 && copy_to_user(header->name, message.address,
                                 MIN(header->name_len, message.address_len)) != 0)
        error = -EFAULT;
    if (error == 0 && message.control.has_credentials)
        error = control_put(&writer, ABI_SCM_CREDENTIALS, &message.control.credentials,
            sizeof(message.control.credentials));
    if (error == 0 && message.control.file_count != 0)
        error = control_put_files(&writer, &message.control, (flags & ABI_MSG_CMSG_CLOEXEC) != 0);
    socket_control_release(&message.control);
    header->name_len = message.address_len;
    header->control_len = writer.used;
    header->flags = message.result_flags | writer.flags | (flags & ABI_MSG_CMSG_CLOEXEC);
    return error != 0 ? error : result;
}

static int64_t transfer_message(int fd, uintptr_t user, uint32_t flags, bool send)
{
    struct socket_use use;
    struct socket_msghdr header;
    int error = socket_get(fd, &use);
    if (error != 0)
        return error;
    struct socket *socket = use.socket;
    int64_t result = copy_from_user(&header, user, sizeof(header)) != 0 ? -EFAULT : 0;
    if (result == 0 && (int32_t)header.name_len < 0)
        result = -EINVAL;
    if (result == 0 && !send && header.name_len > SOCKET_ADDRESS_MAX)
        header.name_len = SOCKET_ADDRESS_MAX;
    if (result == 0)
        result = send ? send_message(socket, use.file, &header, flags)
                      : receive_message(socket, use.file, &header, flags);
    socket_put(&use);
    if (result >= 0 && !send) {
        if (header.name == 0)
            header.name_len = 0;
        if (copy_to_user(user, &header, sizeof(header)) != 0)
            return -EFAULT;
    }
    return result;
}

SYSCALL3(sendmsg, int, fd, uintptr_t, message, uint32_t, flags)
{
    return transfer_message(fd, message, flags, true);
}

SYSCALL3(recvmsg, int, fd, uintptr_t, message, uint32_t, flags)
{
    return transfer_message(fd, message, flags, false);
}

// struct mmsghdr: a msghdr, and the bytes that were transferred.
#define MMSGHDR_BYTES (sizeof(struct socket_msghdr) + 8)

SYSCALL4(sendmmsg, int, fd, uintptr_t, messages, uint32_t, count, uint32_t, flags)
{
    int64_t done = 0, result = 0;
    count = MIN(count, (uint32_t)VECTOR_COUNT_MAX);
    for (; done < count; done++) {
        uintptr_t at = messages + (uintptr_t)done * MMSGHDR_BYTES;
        result = transfer_message(fd, at, flags, true);
        if (result < 0)
            break;
        if (user_put_u32(at + sizeof(struct socket_msghdr), (uint32_t)result) != 0) {
            result = -EFAULT;
            break;
        }
    }
    return done != 0 ? done : result;
}

SYSCALL5(
    recvmmsg, int, fd, uintptr_t, messages, uint32_t, count, uint32_t, flags, uintptr_t, timeout)
{
    int64_t done = 0, result = 0;
    uint64_t deadline_ns = UINT64_MAX, ns;
    count = MIN(count, (uint32_t)VECTOR_COUNT_MAX);
    if (timeout != 0) {
        result = timespec_from_user(&ns, timeout);
        if (result != 0)
            return result;
        deadline_ns = deadline_after(ns); // looked at after each message, as on Linux
    }
    for (; done < count; done++) {
        uintptr_t at = messages + (uintptr_t)done * MMSGHDR_BYTES;
        result = transfer_message(fd, at, flags & ~ABI_MSG_WAITFORONE, false);
        if (result < 0)
            break;
        if (user_put_u32(at + sizeof(struct socket_msghdr), (uint32_t)result) != 0) {
            result = -EFAULT;
            break;
        }
        if ((flags & ABI_MSG_WAITFORONE) != 0)
            flags |= ABI_MSG_DONTWAIT;
        if (time_monotonic_ns() >= deadline_ns) {
            done++;
            break;
        }
    }
    return done != 0 ? done : result;
}

SYSCALL6(sendto, int, fd, uintptr_t, buffer, size_t, len_bytes, uint32_t, flags, uintptr_t, address,
    uint32_t, address_len)
{
    struct socket_use use;
    int error = socket_get(fd, &use);
    if (error != 0)
        return error;
    struct socket *socket = use.socket;
    struct socket_message message = {.flags = flags, .address_len = address != 0 ? address_len : 0};
    int64_t result = address_from_user(message.address, address, message.address_len);
    if (result == 0)
        result = iter_init_user(&message.iter, buffer, len_bytes);
    if (result == 0)
        result = socket->ops->send(socket, &message, is_nonblocking(use.file));
    socket_put(&use);
    return result;
}

SYSCALL6(recvfrom, int, fd, uintptr_t, buffer, size_t, len_bytes, uint32_t, flags, uintptr_t,
    address, uintptr_t, address_len)
{
    struct socket_use use;
    int error = socket_get(fd, &use);
    if (error != 0)
        return error;
    struct socket *socket = use.socket;
    struct socket_message message = {.flags = flags};
    int64_t result = iter_init_user(&message.iter, buffer, len_bytes);
    if (result == 0)
        result = socket->ops->receive(socket, &message, is_nonblocking(use.file));
    socket_put(&use);
    if (result < 0)
        return result;
    socket_control_release(&message.control);
    if (address != 0)
        error = address_to_user(address, address_len, message.address, message.address_len);
    else
        error = 0;
    return error != 0 ? error : result;
}

// ---- options -----------------------------------------------------------------------------------

static int timeout_from_user(uint64_t *timeout_ns, uintptr_t user, uint32_t len)
{
    struct __kernel_old_timeval time;
    if (len < sizeof(time))
        return -EINVAL;
    if (copy_from_user(&time, user, sizeof(time)) != 0)
        return -EFAULT;
    if (time.tv_usec < 0 || time.tv_usec >= 1000000)
        return -EDOM;
    *timeout_ns = 0; // for ever; a negative time does not wait at all, which 1 ns is close to
    if (time.tv_sec < 0)
        *timeout_ns = 1;
    else if ((uint64_t)time.tv_sec < UINT64_MAX / UINT64_C(1000000000) - 1)
        *timeout_ns = (uint64_t)time.tv_sec * UINT64_C(1000000000) + (uint64_t)time.tv_usec * 1000;
    return 0;
}

// Options that are a number and are only remembered: they mean something to networks alone.
static bool is_remembered(int option)
{
    return option == SO_REUSEADDR || option == SO_KEEPALIVE || option == SO_BROADCAST ||
           option == SO_DONTROUTE || option == SO_OOBINLINE || option == SO_REUSEPORT;
}

static int option_set(struct socket *socket, int option, uint32_t value)
{
    uint32_t bytes =
        CLAMP(MIN(value, BUFFER_BYTES_MAX / 2) * 2, (uint32_t)BUFFER_BYTES_MIN, BUFFER_BYTES_MAX);
    if (option == SO_PASSCRED)
        socket->pass_credentials = value != 0;
    else if (option == SO_SNDBUF || option == SO_SNDBUFFORCE)
        socket->send_buffer_bytes = bytes;
    else if (option == SO_RCVBUF || option == SO_RCVBUFFORCE)
        socket->receive_buffer_bytes = bytes;
    else if (is_remembered(option))
        socket->flag_options =
            (socket->flag_options & ~BIT(option)) | (value != 0 ? BIT(option) : UINT64_C(0));
    else
        return -ENOPROTOOPT;
    return 0;
}

SYSCALL5(setsockopt, int, fd, int, level, int, option, uintptr_t, user, int, len)
{
    struct socket_use use;
    uint32_t value;
    int error = socket_get(fd, &use);
    if (error != 0)
        return error;
    struct socket *socket = use.socket;
    if (len < 0)
        error = -EINVAL;
    else if (level != SOL_SOCKET)
        error = socket->ops->option_set != NULL
                    ? socket->ops->option_set(socket, level, option, user, (uint32_t)len)
                    : -EOPNOTSUPP;
    else if (option == SO_RCVTIMEO)
        error = timeout_from_user(&socket->receive_timeout_ns, user, (uint32_t)len);
    else if (option == SO_SNDTIMEO)
        error = timeout_from_user(&socket->send_timeout_ns, user, (uint32_t)len);
    else if (len < (int)sizeof(value))
        error = -EINVAL;
    else
        error = user_get_u32(&value, user) != 0 ? -EFAULT : option_set(socket, option, value);
    socket_put(&use);
    return error;
}

static int option_get(struct socket *socket, int option, uint32_t *value)
{
    switch (option) {
    case SO_TYPE:
        *value = socket->type;
        return 0;
    case SO_DOMAIN:
        *value = socket->family;
        return 0;
    case SO_PROTOCOL:
        *value = (uint32_t)socket->protocol;
        return 0;
    case SO_ERROR:
        *value = socket->ops->error_take != NULL ? (uint32_t)socket->ops->error_take(socket) : 0;
        return 0;
    case SO_ACCEPTCONN:
        *value = socket->ops->is_listening != NULL && socket->ops->is_listening(socket);
        return 0;
    case SO_PASSCRED:
        *value = socket->pass_credentials;
        return 0;
    case SO_SNDBUF:
        *value = socket->send_buffer_bytes;
        return 0;
    case SO_RCVBUF:
        *value = socket->receive_buffer_bytes;
        return 0;
    default:
        if (!is_remembered(option))
            return -ENOPROTOOPT;
        *value = (socket->flag_options & BIT(option)) != 0;
        return 0;
    }
}

union option_value {
    uint32_t number;
    struct __kernel_old_timeval time;
    struct socket_credentials credentials;
};

// The option's value; its length or -errno.
static int option_read(struct socket *socket, int option, union option_value *value)
{
    int error;
    if (option == SO_RCVTIMEO || option == SO_SNDTIMEO) {
        uint64_t ns = option == SO_RCVTIMEO ? socket->receive_timeout_ns : socket->send_timeout_ns;
        value->time.tv_sec = (int64_t)(ns / UINT64_C(1000000000));
        value->time.tv_usec = (int64_t)(ns % UINT64_C(1000000000) / 1000);
        return sizeof(value->time);
    }
    if (option == SO_PEERCRED) {
        error = socket->ops->peer_credentials != NULL
                    ? socket->ops->peer_credentials(socket, &value->credentials)
                    : -ENOPROTOOPT;
        return error != 0 ? error : (int)sizeof(value->credentials);
    }
    error = option_get(socket, option, &value->number);
    return error != 0 ? error : (int)sizeof(value->number);
}

SYSCALL5(getsockopt, int, fd, int, level, int, option, uintptr_t, user, uintptr_t, user_len)
{
    struct socket_use use;
    uint32_t room;
    union option_value value;
    int error = socket_get(fd, &use);
    if (error != 0)
        return error;
    struct socket *socket = use.socket;
    if (level != SOL_SOCKET) {
        error = socket->ops->option_get != NULL
                    ? socket->ops->option_get(socket, level, option, user, user_len)
                    : -EOPNOTSUPP;
        socket_put(&use);
        return error;
    }
    int len = option_read(socket, option, &value);
    socket_put(&use);
    if (len < 0)
        return len;
    if (user_get_u32(&room, user_len) != 0)
        return -EFAULT;
    if ((int32_t)room < 0)
        return -EINVAL;
    room = MIN(room, (uint32_t)len);
    if (copy_to_user(user, &value, room) != 0 || user_put_u32(user_len, room) != 0)
        return -EFAULT;
    return 0;
}
