// SPDX-License-Identifier: MIT
// The memory side of a read or write: a list of buffers in user or kernel memory, consumed from the
// front.
#pragma once

#include "kernel/base/types.h"
#include <linux/uio.h>

struct io_iter {
    const struct iovec *segments; // current one first; addresses are user or kernel
    size_t segment_count;
    size_t offset;       // bytes of segments[0] that are used up
    size_t count;        // bytes left in total
    bool kernel;         // buffers are kernel memory
    bool pinned;         // and lie in the direct map, in pages that stay: I/O may use them
    bool append;         // RWF_APPEND: this write goes to the end of the file
    uint32_t flags;      // RWF_* of linux/fs.h
    struct iovec single; // storage for the one-buffer case
};

// One user buffer. The range is checked: -EFAULT beyond user space. Lengths are cut to
// MAX_RW_COUNT.
[[nodiscard]] int iter_init_user(struct io_iter *iter, uintptr_t buffer, size_t len_bytes);
void iter_init_kernel(struct io_iter *iter, void *buffer, size_t len_bytes);
// A user iovec array, copied in: `inline_segments` (8 elements) or allocated memory, which
// iter_release() frees. -EINVAL, -EFAULT, -ENOMEM.
#define ITER_INLINE_SEGMENTS 8
[[nodiscard]] int iter_init_user_vector(
    struct io_iter *iter, uintptr_t vector, size_t vector_count, struct iovec *inline_segments);
void iter_release(struct io_iter *iter, struct iovec *inline_segments);
// Copy and advance; result: bytes copied, less than asked only at the end of the iterator or at a
// fault (iter->count tells which).
size_t iter_copy_to(struct io_iter *iter, const void *from, size_t len_bytes);
size_t iter_copy_from(struct io_iter *iter, void *to, size_t len_bytes);
size_t iter_clear(struct io_iter *iter, size_t len_bytes); // writes zeroes
void iter_advance(struct io_iter *iter, size_t len_bytes);
