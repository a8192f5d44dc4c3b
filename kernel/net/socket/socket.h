// SPDX-License-Identifier: MIT
// Sockets: what system calls and address families have in common. A family registers itself; what
// it does not fill in answers the error behind it.
#pragma once

#include "kernel/base/types.h"
#include "kernel/fs/file.h"

#include <linux/socket.h>

#define SOCKET_ADDRESS_MAX sizeof(struct __kernel_sockaddr_storage)

struct poll_table;
struct socket;

// An address on its way; bytes beyond len are undefined.
struct socket_address {
    _Alignas(8) uint8_t bytes[SOCKET_ADDRESS_MAX];
    uint32_t len;
};

// Flags of calls (MSG_*), which the kernel's headers of user space don't have.
#define SOCKET_MSG_PEEK     0x2
#define SOCKET_MSG_TRUNC    0x20
#define SOCKET_MSG_DONTWAIT 0x40

// All in task context; may sleep.
struct socket_ops {
    int (*bind)(struct socket *socket, const struct socket_address *address);    // [-EOPNOTSUPP]
    int (*connect)(struct socket *socket, const struct socket_address *address); // [-EOPNOTSUPP]
    int (*listen)(struct socket *socket, int backlog);                           // [-EOPNOTSUPP]
    // The next connection, as a new socket. [-EOPNOTSUPP]
    int (*accept)(struct socket *socket, bool may_wait, struct socket **connection);
    int (*shutdown)(struct socket *socket, int how); // [-EOPNOTSUPP]
    // The own address, or with `peer` the other end's. [-EOPNOTSUPP]
    int (*name)(struct socket *socket, struct socket_address *address, bool peer);
    // address NULL: none was given. Bytes or -errno.
    int64_t (*send)(struct socket *socket, struct io_iter *from, uint32_t flags,
        const struct socket_address *address); // [-EOPNOTSUPP]
    // Bytes or -errno; fills in address and the flags of the answer (MSG_TRUNC). [-EOPNOTSUPP]
    int64_t (*receive)(struct socket *socket, struct io_iter *to, uint32_t flags,
        struct socket_address *address, uint32_t *answer_flags);
    int (*option_set)(struct socket *socket, int level, int option, uintptr_t value,
        uint32_t len); // [-ENOPROTOOPT]
    // `value` and `len` are user addresses. [-ENOPROTOOPT]
    int (*option_get)(struct socket *socket, int level, int option, uintptr_t value, uintptr_t len);
    uint32_t (*poll)(struct socket *socket, struct file *file, struct poll_table *table);
    void (*release)(struct socket *socket); // the last reference is gone
};

struct socket {
    const struct socket_ops *ops;
    uint16_t family, type, protocol; // AF_*, SOCK_*
    struct file *file;               // while it is open; for O_NONBLOCK
};

struct socket_family {
    uint16_t family;
    // A new socket; the family's own checks. 0, -ESOCKTNOSUPPORT, -EPROTONOSUPPORT, -EPERM...
    int (*create)(uint16_t type, uint32_t protocol, struct socket **socket);
};

// At start-up, by one thread.
void socket_family_register(const struct socket_family *family);

// A socket behind a new file, which is not yet a descriptor. flags: O_NONBLOCK. 0 or -errno.
[[nodiscard]] int socket_create(
    uint16_t family, uint16_t type, uint32_t protocol, uint32_t flags, struct file **file);
// The same for one that a family made (accept); on failure the socket is released.
[[nodiscard]] int socket_file_create(struct socket *socket, uint32_t flags, struct file **file);
// The socket of a file, NULL: it is none.
struct socket *socket_of(const struct file *file);

// The families that are part of this folder; also what ioctl(2) says about network devices.
void socket_init(void);
void packet_socket_register(void);
[[nodiscard]] int net_proc_register(void);               // /proc/net/dev: 0 or -ENOMEM
int64_t net_ioctl(uint32_t command, uintptr_t argument); // SIOCG*, SIOCS*; [-ENOTTY]
