// SPDX-License-Identifier: MIT
// Linux AIO (io_setup(2) and its relatives).
//
// A context is its ring, which is mapped in the program: unmapping it (also by exec and exit) ends
// the context. O_DIRECT requests of block devices end when the device is done; other files do the
// whole operation when it is submitted, as they do on Linux.
#pragma once

#include "kernel/base/types.h"

struct aio_context;
struct iocb;
struct io_event;

// A context for `events` requests at a time; *address: where its ring is mapped. -EINVAL, -EAGAIN,
// -ENOMEM.
[[nodiscard]] int aio_create(uint32_t events, uintptr_t *address);
// By the ring's address, with a reference; NULL: there is none.
struct aio_context *aio_find(uintptr_t address);
void aio_put(struct aio_context *context);
// Ends the context: waits for its requests, unmaps the ring. Takes no reference over.
[[nodiscard]] int aio_destroy(struct aio_context *context, uintptr_t address);
// Requests at `count` pointers in user memory. How many were begun, or the error of the first.
int64_t aio_submit(struct aio_context *context, uintptr_t user_pointers, int64_t count);
// Up to `count` events to user memory; waits for at least `minimum`, until deadline_ns (absolute).
// How many, or -EINTR, -EFAULT.
int64_t aio_events(struct aio_context *context, uint32_t minimum, uint32_t count, uintptr_t user,
    uint64_t deadline_ns);
