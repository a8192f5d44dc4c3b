// SPDX-License-Identifier: MIT
// Sockets as files: what all families have in common. A family has a struct with struct socket at
// its start and fills in struct socket_ops; the system calls are in kernel/syscall/socket.c.
#pragma once

#include "kernel/base/types.h"
#include "kernel/fs/iter.h"
#include "kernel/net/socket/abi.h"

struct file;
struct poll_table;
struct socket;

// Which files and credentials go with a message.
#define SOCKET_FILES_MAX 253 // as Linux's SCM_MAX_FD
struct socket_control {
    struct file **files; // with references; kmalloc'ed, NULL: none
    uint32_t file_count;
    bool has_credentials;
    struct socket_credentials credentials;
};
// Gives files and memory back.
void socket_control_release(struct socket_control *control);

struct socket_message {
    struct io_iter iter;
    uint32_t flags;                      // MSG_*; receive adds what it answers to `result_flags`
    uint32_t result_flags;               // MSG_TRUNC, ...
    uint8_t address[SOCKET_ADDRESS_MAX]; // destination, or filled in with the sender's
    uint32_t address_len;                // 0: none
    struct socket_control control;       // send: taken over; receive: filled in
};

// Operations may sleep, in task context. `nonblocking` and deadlines come from the file, the call's
// flags and the options. NULL: the error behind it.
struct socket_ops {
    int (*bind)(struct socket *socket, const void *address, uint32_t len); // [-EOPNOTSUPP]
    // [-EOPNOTSUPP]
    int (*connect)(struct socket *socket, const void *address, uint32_t len, bool nonblocking);
    int (*listen)(struct socket *socket, uint32_t backlog); // [-EOPNOTSUPP]
    // The next connection, as a socket without a file. [-EOPNOTSUPP]
    int (*accept)(struct socket *socket, bool nonblocking, struct socket **accepted);
    // Options of levels other than SOL_SOCKET; `value` and `len` are user addresses. [-ENOPROTOOPT]
    int (*option_get)(struct socket *socket, int level, int option, uintptr_t value, uintptr_t len);
    // [-EOPNOTSUPP]
    int (*option_set)(struct socket *socket, int level, int option, uintptr_t value, uint32_t len);
    // Takes the error that SO_ERROR tells: a positive errno; 0: none. [0: each call tells its own]
    int (*error_take)(struct socket *socket);
    // Own address or the peer's into `address`; its length or -errno.
    int (*name)(struct socket *socket, bool peer, uint8_t address[SOCKET_ADDRESS_MAX]);
    int64_t (*send)(struct socket *socket, struct socket_message *message, bool nonblocking);
    int64_t (*receive)(struct socket *socket, struct socket_message *message, bool nonblocking);
    int (*shutdown)(struct socket *socket, bool receive, bool send); // [-EOPNOTSUPP]
    uint32_t (*poll)(struct socket *socket, struct file *file, struct poll_table *table);
    // What net_ioctl() does not know. [-ENOTTY]
    int64_t (*ioctl)(struct socket *socket, uint32_t command, uintptr_t argument);
    // Credentials of the peer for SO_PEERCRED. [-ENOPROTOOPT]
    int (*peer_credentials)(struct socket *socket, struct socket_credentials *credentials);
    bool (*is_listening)(struct socket *socket); // [false]
    void (*release)(struct socket *socket);      // the file is gone
};

struct socket {
    const struct socket_ops *ops;
    uint16_t family, type; // AF_*, SOCK_*: fixed
    int32_t protocol;
    uint64_t send_timeout_ns, receive_timeout_ns; // 0: none; racy reads are fine
    uint32_t send_buffer_bytes, receive_buffer_bytes;
    bool pass_credentials; // SO_PASSCRED
    uint64_t flag_options; // options that are only remembered, a bit each by their number
};

void socket_init(
    struct socket *socket, const struct socket_ops *ops, uint16_t family, uint16_t type);
// An open file for the socket, which it takes over (also on failure). NULL: no memory.
struct file *socket_file(struct socket *socket, uint32_t open_flags);
// The socket behind a file, or NULL.
struct socket *socket_of_file(const struct file *file);

// Absolute deadline of a call that waits.
uint64_t socket_deadline(uint64_t timeout_ns);
// Waiting ended with `error`: what the call answers.
int socket_wait_error(int error, uint64_t timeout_ns);

// ---- families ----

struct socket_family {
    uint16_t family; // AF_*
    // A new socket; the family's own checks of type and protocol. 0, -ESOCKTNOSUPPORT,
    // -EPROTONOSUPPORT, -EPERM, -ENOMEM...
    int (*create)(int type, int protocol, struct socket **result);
    // Connects two new ones with each other, for socketpair(2). NULL: there is no such thing.
    void (*pair)(struct socket *a, struct socket *b);
};
// At start-up, by one thread.
void socket_family_register(const struct socket_family *family);
// NULL: none is registered.
const struct socket_family *socket_family_find(int family);

// What start-up calls: the families that are part of this folder, /proc/net/dev.
void socket_start(void);
void packet_socket_register(void);
[[nodiscard]] int net_proc_register(void);               // 0 or -ENOMEM
int64_t net_ioctl(uint32_t command, uintptr_t argument); // SIOCG*, SIOCS*; [-ENOTTY]
