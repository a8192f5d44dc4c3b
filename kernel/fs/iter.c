// SPDX-License-Identifier: MIT
// The memory side of a read or write.
//
// An iterator is consumed from the front: segments[0] is the current buffer, `offset` bytes of it
// are used up. `count` is the sum of what is left and decides when it ends, so that limiting a
// transfer (RLIMIT_FSIZE, size of a device) is nothing but a smaller count.
#include "kernel/fs/iter.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/user.h"
#include "mm/slab.h"
#include <linux/errno.h>

#define MAX_RW_COUNT ((size_t)0x7ffff000) // as Linux: INT_MAX cut to a page

int iter_init_user(struct io_iter *iter, uintptr_t buffer, size_t len_bytes)
{
    if (unlikely(!user_range_ok(buffer, len_bytes)))
        return -EFAULT;
    if (len_bytes > MAX_RW_COUNT)
        len_bytes = MAX_RW_COUNT;
    iter->single.iov_base = (void *)buffer;
    iter->single.iov_len = len_bytes;
    iter->segments = &iter->single;
    iter->segment_count = 1;
    iter->offset = 0;
    iter->count = len_bytes;
    iter->kernel = false;
    iter->pinned = false;
    iter->append = false;
    iter->flags = 0;
    return 0;
}

void iter_init_kernel(struct io_iter *iter, void *buffer, size_t len_bytes)
{
    iter->single.iov_base = buffer;
    iter->single.iov_len = len_bytes;
    iter->segments = &iter->single;
    iter->segment_count = 1;
    iter->offset = 0;
    iter->count = len_bytes;
    iter->kernel = true;
    iter->pinned = false;
    iter->append = false;
    iter->flags = 0;
}

int iter_init_user_vector(
    struct io_iter *iter, uintptr_t vector, size_t vector_count, struct iovec *inline_segments)
{
    struct iovec *segments = inline_segments;
    if (vector_count > UIO_MAXIOV)
        return -EINVAL;
    if (vector_count > ITER_INLINE_SEGMENTS) {
        segments = kmalloc(vector_count * sizeof(*segments), 0);
        if (segments == NULL)
            return -ENOMEM;
    }
    int error = copy_from_user(segments, vector, vector_count * sizeof(*segments));
    size_t total = 0;
    for (size_t i = 0; i < vector_count && error == 0; i++) {
        size_t len = segments[i].iov_len;
        if ((int64_t)len < 0)
            error = -EINVAL;
        else if (!user_range_ok((uintptr_t)segments[i].iov_base, len))
            error = -EFAULT;
        if (len > MAX_RW_COUNT - total)
            len = segments[i].iov_len = MAX_RW_COUNT - total;
        total += len;
    }
    if (error != 0) {
        if (segments != inline_segments)
            kfree(segments);
        return error;
    }
    iter->segments = segments;
    iter->single.iov_base = segments; // for iter_release()
    iter->segment_count = vector_count;
    iter->offset = 0;
    iter->count = total;
    iter->kernel = false;
    iter->pinned = false;
    iter->append = false;
    iter->flags = 0;
    return 0;
}

void iter_release(struct io_iter *iter, struct iovec *inline_segments)
{
    if (iter->single.iov_base != inline_segments)
        kfree(iter->single.iov_base);
}

void iter_advance(struct io_iter *iter, size_t len_bytes)
{
    assert(len_bytes <= iter->count);
    iter->count -= len_bytes;
    iter->offset += len_bytes;
    while (iter->segment_count > 1 && iter->offset >= iter->segments->iov_len) {
        iter->offset -= iter->segments->iov_len;
        iter->segments++;
        iter->segment_count--;
    }
}

enum iter_direction { ITER_TO, ITER_FROM, ITER_CLEAR };

// Bytes that could not be moved of one piece within a segment.
static inline size_t iter_piece(const struct io_iter *iter, uintptr_t at, void *memory, size_t len,
    enum iter_direction direction)
{
    if (unlikely(iter->kernel)) {
        if (direction == ITER_TO)
            memcpy((void *)at, memory, len);
        else if (direction == ITER_FROM)
            memcpy(memory, (const void *)at, len);
        else
            memset((void *)at, 0, len);
        return 0;
    }
    if (direction == ITER_TO)
        return user_copy_out(at, memory, len);
    if (direction == ITER_FROM)
        return user_copy_in(memory, at, len);
    return user_clear(at, len);
}

static __noinline size_t iter_move(
    struct io_iter *iter, char *memory, size_t len_bytes, enum iter_direction direction)
{
    size_t done = 0;
    size_t wanted = MIN(len_bytes, iter->count);
    while (done < wanted) {
        size_t piece = MIN(iter->segments->iov_len - iter->offset, wanted - done);
        if (piece != 0) {
            uintptr_t at = (uintptr_t)iter->segments->iov_base + iter->offset;
            size_t left = iter_piece(iter, at, memory + done, piece, direction);
            debug_assert(left <= piece);
            done += piece - left;
            iter_advance(iter, piece - left);
            if (unlikely(left != 0))
                break;
        } else {
            iter_advance(iter, 0); // an empty segment
            if (iter->segment_count == 1 && iter->offset >= iter->segments->iov_len)
                break;
        }
    }
    return done;
}

// The usual case: it all lies in the one buffer of a program.
static inline bool iter_is_simple(const struct io_iter *iter, size_t len_bytes)
{
    return iter->segment_count == 1 && !iter->kernel && len_bytes <= iter->count &&
           len_bytes <= iter->segments->iov_len - iter->offset;
}

static inline uintptr_t iter_place(const struct io_iter *iter)
{
    return (uintptr_t)iter->segments->iov_base + iter->offset;
}

static inline size_t iter_simple_done(struct io_iter *iter, size_t copied)
{
    iter->count -= copied;
    iter->offset += copied;
    return copied;
}

size_t iter_copy_to(struct io_iter *iter, const void *from, size_t len_bytes)
{
    if (likely(iter_is_simple(iter, len_bytes)))
        return iter_simple_done(iter, len_bytes - user_copy_out(iter_place(iter), from, len_bytes));
    return iter_move(iter, (char *)(uintptr_t)from, len_bytes, ITER_TO);
}

size_t iter_copy_from(struct io_iter *iter, void *to, size_t len_bytes)
{
    if (likely(iter_is_simple(iter, len_bytes)))
        return iter_simple_done(iter, len_bytes - user_copy_in(to, iter_place(iter), len_bytes));
    return iter_move(iter, to, len_bytes, ITER_FROM);
}

size_t iter_clear(struct io_iter *iter, size_t len_bytes)
{
    return iter_move(iter, NULL, len_bytes, ITER_CLEAR);
}
