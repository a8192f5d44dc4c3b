// SPDX-License-Identifier: MIT
// What <linux/if.h> and <linux/if_packet.h> expect of a C library.
#pragma once

#include <linux/socket.h>

struct sockaddr {
    unsigned short sa_family;
    char sa_data[14];
};
