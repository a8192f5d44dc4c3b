// SPDX-License-Identifier: MIT
// AF_VSOCK sockets: making, names, and the family's place among the others.
#include "kernel/net/vsock/internal.h"

#include "kernel/base/assert.h"
#include "kernel/core/errno.h"
#include "kernel/core/time.h"
#include "mm/slab.h"

#define CONNECT_TIMEOUT_NS (2 * NS_PER_SECOND) // as on Linux, until a program says otherwise
#define BUFFER_MIN_BYTES   128                 // the same
#define PACKET_MIN_BYTES   512 // so that small payloads find room behind each other (receive.c)

static const struct socket_ops ops;

struct vsock_packet *vsock_packet_create(uint32_t capacity, uint32_t flags)
{
    uint32_t len_bytes = (uint32_t)sizeof(struct vsock_packet) + capacity;
    if (capacity != 0)
        len_bytes = MAX(len_bytes, (uint32_t)PACKET_MIN_BYTES);
    struct vsock_packet *packet = kmalloc(len_bytes, flags);
    if (packet != NULL)
        *packet =
            (struct vsock_packet){.capacity = len_bytes - (uint32_t)sizeof(struct vsock_packet)};
    return packet;
}

struct vsock_socket *vsock_socket_create(uint32_t flags)
{
    struct vsock_socket *socket = kmalloc(sizeof(*socket), flags | PAGE_ALLOC_ZERO);
    if (socket == NULL)
        return NULL;
    socket_init(&socket->socket, &ops, ABI_AF_VSOCK, ABI_SOCK_STREAM);
    refcount_init(&socket->references, 1);
    wait_queue_init(&socket->wait);
    mutex_init(&socket->receive_lock);
    spin_lock_init(&socket->lock);
    vsock_flow_init(&socket->flow, VSOCK_BUFFER_BYTES);
    socket->local = socket->remote = (struct vsock_address){VMADDR_CID_ANY, VMADDR_PORT_ANY};
    list_init(&socket->packets);
    list_init(&socket->pending);
    socket->buffer_min_bytes = BUFFER_MIN_BYTES;
    socket->buffer_max_bytes = VSOCK_BUFFER_BYTES;
    socket->connect_timeout_ns = CONNECT_TIMEOUT_NS;
    timer_init(&socket->timer, vsock_timer_function);
    return socket;
}

void vsock_socket_put(struct vsock_socket *socket)
{
    if (!refcount_put(&socket->references))
        return;
    debug_assert(list_is_empty(&socket->packets));
    debug_assert(list_is_empty(&socket->pending));
    kfree(socket);
}

static int vsock_bind(struct socket *base, const void *address, uint32_t len)
{
    struct vsock_socket *socket = vsock_of(base);
    struct vsock_address local;
    int error = vsock_address_parse(address, len, &local);
    if (error != 0)
        return error;
    uint64_t flags = spin_lock_irqsave(&socket->lock);
    if (socket->local.port != VMADDR_PORT_ANY)
        error = -EINVAL;
    else if (local.cid != VMADDR_CID_ANY && !vsock_cid_is_own(local.cid))
        error = -EADDRNOTAVAIL;
    else
        error = vsock_table_bind(socket, local);
    spin_unlock_irqrestore(&socket->lock, flags);
    return error;
}

static int vsock_name(struct socket *base, bool peer, uint8_t address[SOCKET_ADDRESS_MAX])
{
    struct vsock_socket *socket = vsock_of(base);
    struct sockaddr_vm *name = (struct sockaddr_vm *)address;
    uint64_t flags = spin_lock_irqsave(&socket->lock);
    bool is_there = !peer || socket->phase == VSOCK_CONNECTED;
    struct vsock_address which = peer ? socket->remote : socket->local;
    spin_unlock_irqrestore(&socket->lock, flags);
    if (!is_there)
        return -ENOTCONN;
    *name = (struct sockaddr_vm){
        .svm_family = ABI_AF_VSOCK, .svm_cid = which.cid, .svm_port = which.port};
    return sizeof(*name);
}

static int vsock_error_take(struct socket *base)
{
    struct vsock_socket *socket = vsock_of(base);
    uint64_t flags = spin_lock_irqsave(&socket->lock);
    int error = socket->flow.error;
    socket->flow.error = 0;
    spin_unlock_irqrestore(&socket->lock, flags);
    return error;
}

static bool vsock_is_listening(struct socket *base)
{
    return __atomic_load_n(&vsock_of(base)->flow.state, __ATOMIC_RELAXED) == VSOCK_LISTENING;
}

static void vsock_release(struct socket *base)
{
    vsock_close(vsock_of(base));
}

static const struct socket_ops ops = {
    .bind = vsock_bind,
    .connect = vsock_connect,
    .listen = vsock_listen,
    .accept = vsock_accept,
    .option_get = vsock_option_get,
    .option_set = vsock_option_set,
    .error_take = vsock_error_take,
    .name = vsock_name,
    .send = vsock_send,
    .receive = vsock_receive_message,
    .shutdown = vsock_shutdown,
    .poll = vsock_poll,
    .is_listening = vsock_is_listening,
    .release = vsock_release,
};

static int vsock_create(int type, int protocol, struct socket **result)
{
    if (protocol != 0 && protocol != ABI_AF_VSOCK)
        return -EPROTONOSUPPORT;
    if (type == ABI_SOCK_DGRAM)
        return -ENODEV; // as on Linux: virtio carries none
    if (type != ABI_SOCK_STREAM)
        return -ESOCKTNOSUPPORT;
    struct vsock_socket *socket = vsock_socket_create(0);
    if (socket == NULL)
        return -ENOMEM;
    *result = &socket->socket;
    return 0;
}

void vsock_start(void)
{
    static const struct socket_family family = {.family = ABI_AF_VSOCK, .create = vsock_create};
    vsock_table_init();
    vsock_loopback_init();
    socket_family_register(&family);
    vsock_device_register();
}
