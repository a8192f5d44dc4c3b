// SPDX-License-Identifier: MIT
//
// What vsock_host.c, in the guest, and vsock_peer.c, in the host, agree on.
#pragma once

#include "tests/guest/virtio/vsock.h"

#define GUEST_CID 42

enum {
    PORT_ECHO = 7000, // sends back what it gets
    PORT_SOURCE,      // sends SOURCE_BYTES of the pattern and closes
    PORT_SLOW,        // takes SLOW_BYTES through a small buffer, then says "+" if they were right
    PORT_LEAVES,      // reads one byte and closes
    PORT_CALL_BACK,   // connects to PORT_GUEST and echoes there
    PORT_NOBODY,
    PORT_GUEST = 8000,
};

#define SOURCE_BYTES      400000
#define SLOW_BYTES        60000
#define SLOW_BUFFER_BYTES 4096
