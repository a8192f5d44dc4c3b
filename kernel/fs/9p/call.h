// SPDX-License-Identifier: MIT
// One request and its answer, for operations.c.
#pragma once

#include "kernel/fs/9p/client.h"

struct p9_call {
    struct p9_request request;
    struct p9_client *client;
    struct p9_writer writer; // the request, as it is being made
    enum p9_type type;
    uint16_t tag;
    bool is_done;          // the answer is there, or never will be; atomic
    struct thread *waiter; // who sleeps for it; NULL: finished() is called
    void (*finished)(struct p9_call *call);
    void (*done)(void *context, int64_t result); // of p9_read_begin()
    void *context;
    uint8_t *reply;
    uint32_t data_bytes;     // room of the pieces
    struct p9_piece *pieces; // a copy, behind the reply; NULL: the request has the caller's
    uint8_t memory[] __attribute__((aligned(16))); // request, reply, pieces
};

// A call with room for a message and an answer of so many bytes, and a copy of so many pieces;
// waits for a free tag. NULL: no memory.
struct p9_call *p9_call_create(struct p9_client *client, enum p9_type type, size_t message_size,
    size_t reply_size, uint32_t piece_count);
void p9_call_free(struct p9_call *call);
// Sends, sleeps for the answer, and begins to read it. -errno: no answer, or an error.
[[nodiscard]] int p9_call_run(struct p9_call *call, struct p9_reader *reader);
// Sends; call->finished() will be called. -errno: it will not.
[[nodiscard]] int p9_call_begin(struct p9_call *call);
// The answer of a call that is over.
[[nodiscard]] int p9_call_answer(struct p9_call *call, struct p9_reader *reader);
