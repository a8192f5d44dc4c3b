// SPDX-License-Identifier: MIT
// What <linux/if.h>, <linux/if_packet.h> and <linux/vm_sockets.h> expect of a C library.
#pragma once

#include <linux/socket.h>

typedef __kernel_sa_family_t sa_family_t;

struct sockaddr {
    unsigned short sa_family;
    char sa_data[14];
};
