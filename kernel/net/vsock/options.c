// SPDX-License-Identifier: MIT
// AF_VSOCK: socket options, and /dev/vsock, which knows the machine's address.
#include "kernel/net/vsock/internal.h"

#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/core/errno.h"
#include "kernel/core/time.h"
#include "kernel/core/timespec.h"
#include "kernel/core/user.h"
#include "kernel/fs/file.h"
#include "kernel/fs/register.h"

#include <asm/ioctl.h>
#include <linux/major.h>

#define DEVICE_MINOR 121 // Linux takes any that is free

union option_value {
    uint64_t number;
    struct __kernel_old_timeval time;
};

static bool is_timeout(int option)
{
    return option == SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD ||
           option == SO_VM_SOCKETS_CONNECT_TIMEOUT_NEW;
}

// The option's value; its length or -ENOPROTOOPT. Lock held.
static int option_read(const struct vsock_socket *socket, int option, union option_value *value)
{
    if (is_timeout(option)) {
        value->time.tv_sec = (int64_t)(socket->connect_timeout_ns / NS_PER_SECOND);
        value->time.tv_usec = (int64_t)(socket->connect_timeout_ns % NS_PER_SECOND / NS_PER_US);
        return sizeof(value->time);
    }
    if (option == SO_VM_SOCKETS_BUFFER_SIZE)
        value->number = socket->flow.buffer_bytes;
    else if (option == SO_VM_SOCKETS_BUFFER_MIN_SIZE)
        value->number = socket->buffer_min_bytes;
    else if (option == SO_VM_SOCKETS_BUFFER_MAX_SIZE)
        value->number = socket->buffer_max_bytes;
    else
        return -ENOPROTOOPT;
    return sizeof(value->number);
}

int vsock_option_get(struct socket *base, int level, int option, uintptr_t user, uintptr_t len_user)
{
    struct vsock_socket *socket = vsock_of(base);
    union option_value value = {};
    uint32_t room;
    if (level != ABI_AF_VSOCK)
        return -ENOPROTOOPT;
    if (user_get_u32(&room, len_user) != 0)
        return -EFAULT;
    uint64_t flags = spin_lock_irqsave(&socket->lock);
    int len = option_read(socket, option, &value);
    spin_unlock_irqrestore(&socket->lock, flags);
    if (len < 0)
        return len;
    if ((int32_t)room < len)
        return -EINVAL;
    return copy_to_user(user, &value, (size_t)len) != 0 || user_put_u32(len_user, (uint32_t)len)
               ? -EFAULT
               : 0;
}

// Lock held.
static int set_number(struct vsock_socket *socket, int option, uint64_t number)
{
    uint64_t wanted = socket->flow.buffer_bytes;
    if (option == SO_VM_SOCKETS_BUFFER_SIZE)
        wanted = number;
    else if (option == SO_VM_SOCKETS_BUFFER_MIN_SIZE)
        socket->buffer_min_bytes = MIN(number, (uint64_t)VSOCK_BUFFER_BYTES_MAX);
    else if (option == SO_VM_SOCKETS_BUFFER_MAX_SIZE)
        socket->buffer_max_bytes = MIN(number, (uint64_t)VSOCK_BUFFER_BYTES_MAX);
    else
        return -ENOPROTOOPT;
    // The least wins, as on Linux.
    wanted = MAX(MIN(wanted, socket->buffer_max_bytes), socket->buffer_min_bytes);
    if (vsock_flow_resize(&socket->flow, (uint32_t)wanted))
        vsock_tell(socket, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
    return 0;
}

static int set_timeout(struct vsock_socket *socket, uintptr_t user, uint32_t len)
{
    struct __kernel_old_timeval time;
    if (len < sizeof(time))
        return -EINVAL;
    if (copy_from_user(&time, user, sizeof(time)) != 0)
        return -EFAULT;
    if (time.tv_sec < 0 || time.tv_usec < 0 || time.tv_usec >= 1000000 ||
        time.tv_sec >= (int64_t)(INT64_MAX / NS_PER_SECOND) / 2)
        return -ERANGE;
    uint64_t timeout_ns =
        (uint64_t)time.tv_sec * NS_PER_SECOND + (uint64_t)time.tv_usec * NS_PER_US;
    atomic_store_relaxed(
        &socket->connect_timeout_ns, timeout_ns != 0 ? timeout_ns : 2 * NS_PER_SECOND);
    return 0;
}

int vsock_option_set(struct socket *base, int level, int option, uintptr_t user, uint32_t len)
{
    struct vsock_socket *socket = vsock_of(base);
    uint64_t number;
    if (level != ABI_AF_VSOCK)
        return -ENOPROTOOPT;
    if (is_timeout(option))
        return set_timeout(socket, user, len);
    if (option > SO_VM_SOCKETS_BUFFER_MAX_SIZE || option < 0)
        return -ENOPROTOOPT;
    if (len < sizeof(number))
        return -EINVAL;
    if (user_get_u64(&number, user) != 0)
        return -EFAULT;
    uint64_t flags = spin_lock_irqsave(&socket->lock);
    int error = set_number(socket, option, number);
    spin_unlock_irqrestore(&socket->lock, flags);
    return error;
}

static int64_t device_ioctl(struct file *file, uint32_t command, uintptr_t argument)
{
    (void)file;
    if (command != IOCTL_VM_SOCKETS_GET_LOCAL_CID)
        return -ENOTTY;
    struct vsock_transport *host = atomic_load_acquire(&vsock_host);
    return user_put_u32(argument, host != NULL ? atomic_load_relaxed(&host->cid) : VMADDR_CID_ANY);
}

void vsock_device_register(void)
{
    static const struct file_ops ops = {.ioctl = device_ioctl};
    static const struct character_device device = {
        .name = "vsock", .major = MISC_MAJOR, .minor = DEVICE_MINOR, .mode = 0666, .ops = &ops};
    int error = device_register(&device);
    assert(error == 0); // at boot
}
