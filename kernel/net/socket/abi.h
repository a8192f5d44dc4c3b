// SPDX-License-Identifier: MIT
// Numbers of the socket calls that the UAPI headers leave to the C library (<linux/socket.h> and
// <asm/socket.h> have the rest). kernel/net/socket/abi_test.c compares them with its
// <sys/socket.h>.
#pragma once

#include "kernel/base/types.h"

#define SOCKET_ADDRESS_MAX 128 // struct sockaddr_storage

enum { ABI_AF_UNSPEC = 0, ABI_AF_UNIX = 1, ABI_AF_PACKET = 17, ABI_AF_VSOCK = 40 };
#define ABI_SOL_PACKET 263

enum { ABI_SOCK_STREAM = 1, ABI_SOCK_DGRAM = 2, ABI_SOCK_RAW = 3, ABI_SOCK_SEQPACKET = 5 };
#define ABI_SOCK_TYPE_MASK 0xf
#define ABI_SOCK_NONBLOCK  O_NONBLOCK
#define ABI_SOCK_CLOEXEC   O_CLOEXEC

enum { ABI_SHUT_RD = 0, ABI_SHUT_WR = 1, ABI_SHUT_RDWR = 2 };

#define ABI_MSG_OOB          UINT32_C(0x1)
#define ABI_MSG_PEEK         UINT32_C(0x2)
#define ABI_MSG_CTRUNC       UINT32_C(0x8)
#define ABI_MSG_TRUNC        UINT32_C(0x20)
#define ABI_MSG_DONTWAIT     UINT32_C(0x40)
#define ABI_MSG_EOR          UINT32_C(0x80)
#define ABI_MSG_WAITALL      UINT32_C(0x100)
#define ABI_MSG_NOSIGNAL     UINT32_C(0x4000)
#define ABI_MSG_WAITFORONE   UINT32_C(0x10000)
#define ABI_MSG_CMSG_CLOEXEC UINT32_C(0x40000000)

enum { ABI_SCM_RIGHTS = 1, ABI_SCM_CREDENTIALS = 2 };

struct socket_credentials { // struct ucred
    int32_t pid;
    uint32_t uid, gid;
};

struct socket_msghdr { // struct msghdr
    uint64_t name;
    uint32_t name_len;
    uint32_t padding;
    uint64_t vector;
    uint64_t vector_count;
    uint64_t control;
    uint64_t control_len;
    uint32_t flags;
    uint32_t padding2;
};

struct socket_cmsghdr { // struct cmsghdr
    uint64_t len;
    int32_t level;
    int32_t type;
};
