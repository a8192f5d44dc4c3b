// SPDX-License-Identifier: MIT
// What carries 9P messages to a server and answers back: the interface of drivers (virtio/9p).
//
// A transport is found by its tag and serves one session at a time. It is registered once and stays
// for ever; when its device breaks, every request answers -EIO.
#pragma once

#include "kernel/base/list.h"
#include "kernel/base/types.h"

#define P9_PIECES_MAX   64 // of one request
#define P9_TAG_NAME_MAX 63

// A piece of memory in the direct map, or of a program's pinned pages.
struct p9_piece {
    uint64_t phys;
    uint32_t len_bytes;
};

// One message and its answer. The memory is the transport's from submit() until done().
struct p9_request {
    const void *message; // direct map
    uint32_t message_bytes;
    void *reply; // direct map
    uint32_t reply_size;
    const struct p9_piece *pieces; // data that follows the message, or the reply; NULL: none
    uint32_t piece_count;          // at most P9_PIECES_MAX
    bool pieces_are_reply;
    // Filled in before done(): bytes that came, over reply and pieces, or why none did.
    uint32_t reply_bytes;
    int error;
    // Any context but NMI; must not sleep.
    void (*done)(struct p9_request *request);
    void *transport_data;  // the transport's
    struct list_node node; // the transport's
};

struct p9_transport {
    const char *tag; // NUL-terminated, at most P9_TAG_NAME_MAX bytes
    // Sends. 0: done() will be called, or has been; -EIO: the device is broken. Task context.
    int (*submit)(struct p9_transport *transport, struct p9_request *request);
    bool is_used; // has a session; under the list's lock
    struct list_node node;
};

// Makes it known. Task context.
void p9_transport_register(struct p9_transport *transport);
// The transport with this tag, for one session: -ENOENT, -EBUSY. Task context.
[[nodiscard]] int p9_transport_take(const char *tag, struct p9_transport **result);
void p9_transport_give_back(struct p9_transport *transport);
