// SPDX-License-Identifier: MIT
// O_DIRECT: from the program's pages to the device and back, without a copy.
//
// The pages of the program's buffers are pinned and become the segments of requests, as many as the
// device takes in one; one plug hands all of them over. A transfer has one struct io_progress that
// counts its requests. Who waits polls the device as long as that is likely to be shorter than a
// sleep.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/block/file/internal.h"
#include "kernel/core/counter.h"
#include "kernel/core/errno.h"
#include "kernel/core/thread.h"
#include "kernel/core/time.h"
#include "kernel/process/task.h"
#include "mm/address_space.h"
#include "mm/slab.h"
#include <linux/fs.h>

#define PIN_BATCH        16  // pages that are pinned at a time
#define REQUEST_SEGMENTS 256 // most that a request has room for

COUNTER(block, direct_requests);
COUNTER(block, direct_bytes);
COUNTER(block, polled_waits); // waits that ended by polling
COUNTER(block, slept_waits);

// Gives the pages back: each page that a segment touches was pinned once.
static void release_pages(const struct block_request *request)
{
    for (uint32_t i = 0; i < request->segment_count; i++) {
        const struct block_segment *segment = &request->segments[i];
        const uint64_t last = (segment->phys + segment->len_bytes - 1) >> PAGE_SHIFT;
        for (uint64_t frame = segment->phys >> PAGE_SHIFT; frame <= last; frame++)
            page_put(pfn_to_page(frame));
    }
}

// One reference to the transfer less. With the last an asynchronous one is over.
static void direct_put(struct io_progress *progress)
{
    struct thread *waiter = progress->waiter;
    if (__atomic_sub_fetch(&progress->pending, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    // A waiter may return as soon as it sees 0: `progress`, on its stack, is not touched any more.
    // The thread itself stays, under RCU: interrupts or preemption are off.
    if (waiter != NULL) {
        (void)sched_wake(waiter, THREAD_ANY_SLEEP);
        return;
    }
    struct file_io *io = container_of(progress, struct file_io, progress);
    const int64_t result = progress->error != 0 ? progress->error : (int64_t)progress->bytes;
    io->done(io, result);
}

static void direct_end(struct block_request *request)
{
    struct io_progress *progress = request->context;
    if (unlikely(request->error != 0))
        __atomic_store_n(&progress->error, request->error, __ATOMIC_RELAXED);
    release_pages(request);
    block_request_free(request);
    preempt_disable();
    direct_put(progress);
    preempt_enable();
}

static uint16_t request_flags(const struct io_iter *iter)
{
    return BLOCK_SYNC | (iter->flags & RWF_HIPRI ? BLOCK_POLLED : 0);
}

static struct block_request *new_request(struct block_file *file, struct io_progress *progress,
    const struct io_iter *iter, uint64_t offset, bool write)
{
    const size_t pages = (iter->count + PAGE_SIZE - 1) / PAGE_SIZE + iter->segment_count;
    struct block_request *request = block_request_create(file->volume,
        write ? BLOCK_WRITE : BLOCK_READ, offset >> BLOCK_SECTOR_SHIFT,
        (uint32_t)MIN(pages, (size_t)REQUEST_SEGMENTS), request_flags(iter), 0);
    if (request == NULL)
        return NULL;
    if (!(thread_current()->flags & THREAD_FLAG_KERNEL)) {
        request->priority = task_current()->io_priority;
        request->owner = (uint32_t)task_current()->tid;
    }
    request->end = direct_end;
    request->context = progress;
    return request;
}

// Adds pinned pages, which show `len` bytes from `offset` in the first of them, as far as they fit.
// Bytes added; pages that were not needed are given back.
static size_t add_pages(
    struct block_request *request, struct page **pages, size_t count, size_t offset, size_t len)
{
    size_t done = 0;
    for (size_t i = 0; i < count; i++) {
        const size_t piece = MIN(PAGE_SIZE - offset, len - done);
        const uint64_t phys = page_to_phys(pages[i]) + offset;
        const uint32_t before = request->segment_count;
        if (piece == 0 || !block_request_add(request, phys, (uint32_t)piece)) {
            for (; i < count; i++)
                page_put(pages[i]);
            break;
        }
        // Joined to a segment that ended in this page: that has pinned it already.
        if (request->segment_count == before && offset != 0)
            page_put(pages[i]);
        done += piece;
        offset = 0;
    }
    return done;
}

// Pages that are pinned already (registered buffers): one more reference each. A piece never goes
// beyond its page, as only pages are contiguous.
static int64_t pages_of(uintptr_t address, size_t count, struct page **pages)
{
    struct page *first = virt_to_page((void *)address);
    for (size_t i = 0; i < count; i++) {
        pages[i] = first + i;
        page_get(pages[i]);
    }
    return (int64_t)count;
}

// Fills one request from the iterator. Bytes, or -errno (-EFAULT).
static int64_t fill_request(struct block_request *request, struct io_iter *iter, bool write)
{
    struct address_space *space = thread_current()->space;
    size_t total = 0;
    while (iter->count != 0) {
        const uintptr_t at = (uintptr_t)iter->segments->iov_base + iter->offset;
        const size_t len = MIN(iter->segments->iov_len - iter->offset, iter->count);
        if (len == 0) {
            iter_advance(iter, 0);
            continue;
        }
        struct page *pages[PIN_BATCH];
        const size_t in_page = at % PAGE_SIZE;
        const size_t wanted = MIN(DIV_ROUND_UP(in_page + len, PAGE_SIZE), (size_t)PIN_BATCH);
        const int64_t got = iter->pinned ? pages_of(at, wanted, pages)
                                         : vm_pin(space, at - in_page, wanted, !write, pages);
        if (got <= 0)
            return total != 0 ? (int64_t)total : -EFAULT;
        const size_t most = MIN(len, (size_t)got * PAGE_SIZE - in_page);
        const size_t added = add_pages(request, pages, (size_t)got, in_page, most);
        total += added;
        iter_advance(iter, added);
        if (added != most)
            break;
    }
    return (int64_t)total;
}

// Addresses and lengths as the device needs them.
static int check_alignment(
    const struct block_file *file, const struct io_iter *iter, uint64_t offset)
{
    const struct block_limits *limits = &file->volume->device->limits;
    if ((offset | iter->count) & (limits->logical_block_bytes - 1))
        return -EINVAL;
    size_t left = iter->count, start = iter->offset;
    for (size_t i = 0; i < iter->segment_count && left != 0; i++, start = 0) {
        const size_t len = MIN(iter->segments[i].iov_len - start, left);
        const uintptr_t at = (uintptr_t)iter->segments[i].iov_base + start;
        if ((at | len) & (limits->dma_alignment - 1))
            return -EINVAL;
        left -= len;
    }
    return 0;
}

// Makes and submits all requests. Bytes that were submitted, or -errno.
static int64_t submit_all(struct block_file *file, struct io_progress *progress,
    struct io_iter *iter, uint64_t offset, bool write, struct block_plug *shared)
{
    struct block_plug own;
    struct block_plug *plug = shared != NULL ? shared : &own;
    int64_t result = 0;
    if (shared == NULL)
        block_plug_begin(&own);
    while (iter->count != 0 && result >= 0) {
        struct block_request *request = new_request(file, progress, iter, offset, write);
        result = request != NULL ? fill_request(request, iter, write) : -ENOMEM;
        // A page can be left over that ends within a block: a fault in the middle of one.
        if (result > 0 && (uint64_t)result % file->volume->device->limits.logical_block_bytes != 0)
            result = -EFAULT;
        if (result <= 0) {
            if (request != NULL) {
                release_pages(request);
                block_request_free(request);
            }
            break;
        }
        progress->bytes += (uint64_t)result;
        offset += (uint64_t)result;
        __atomic_fetch_add(&progress->pending, 1, __ATOMIC_RELAXED);
        counter_add(block, direct_requests, 1);
        block_plug_add(plug, request);
    }
    if (shared == NULL)
        block_plug_end(&own);
    counter_add(block, direct_bytes, progress->bytes);
    return progress->bytes != 0 ? (int64_t)progress->bytes : result;
}

static int before(struct block_file *file, uint64_t offset, size_t len, bool write)
{
    struct page_cache *cache = &file->cache;
    if (likely(__atomic_load_n(&cache->count, __ATOMIC_RELAXED) == 0))
        return 0;
    const uint64_t first = offset / PAGE_SIZE, last = (offset + len - 1) / PAGE_SIZE;
    page_cache_write_wait(cache, first, last);
    if (write)
        (void)page_cache_invalidate(cache, first, last);
    return 0;
}

static void wait_for(struct block_file *file, struct io_progress *progress, bool polled)
{
    while (__atomic_load_n(&progress->pending, __ATOMIC_ACQUIRE) != 0) {
        if (block_volume_wait_poll(file->volume, &progress->pending, polled)) {
            counter_add(block, polled_waits, 1);
            return;
        }
        counter_add(block, slept_waits, 1);
        thread_prepare_sleep(THREAD_UNINTERRUPTIBLE);
        if (__atomic_load_n(&progress->pending, __ATOMIC_ACQUIRE) == 0) {
            thread_cancel_sleep();
            return;
        }
        (void)sched_block(UINT64_MAX);
    }
}

int64_t block_direct_transfer(
    struct block_file *file, struct io_iter *iter, uint64_t offset, bool write)
{
    int error = check_alignment(file, iter, offset);
    if (error == 0)
        error = before(file, offset, iter->count, write);
    if (error != 0)
        return error;
    struct io_progress progress = {.pending = 1, .waiter = thread_current()};
    const size_t len = iter->count;
    int64_t result = submit_all(file, &progress, iter, offset, write, NULL);
    preempt_disable();
    direct_put(&progress);
    preempt_enable();
    wait_for(file, &progress, iter->flags & RWF_HIPRI);
    thread_cancel_sleep(); // direct_put() may have found it awake
    if (progress.error != 0)
        result = progress.error;
    if (write && unlikely(__atomic_load_n(&file->cache.count, __ATOMIC_RELAXED) != 0))
        (void)before(file, offset, len, true); // somebody has read meanwhile
    return result;
}

int64_t block_direct_submit(struct file *open_file, struct file_io *io)
{
    struct block_file *file = block_file_of(open_file);
    const uint64_t size = block_volume_bytes(file->volume);
    if (!(open_file->flags & O_DIRECT) || (io->iter.kernel && !io->iter.pinned))
        return -EOPNOTSUPP;
    int error = block_file_check(file);
    if (error != 0)
        return error;
    if (io->write && block_volume_is_read_only(file->volume))
        return -EPERM;
    if (io->write && (open_file->flags & (O_DSYNC | O_SYNC) || io->iter.flags & RWF_DSYNC))
        return -EOPNOTSUPP; // a flush follows: not without waiting
    if ((int64_t)io->offset < 0)
        return -EINVAL;
    if (io->iter.count == 0)
        return 0;
    if (io->offset >= size)
        return io->write ? -ENOSPC : 0;
    io->iter.count = MIN(io->iter.count, size - io->offset);
    error = check_alignment(file, &io->iter, io->offset);
    if (error == 0)
        error = before(file, io->offset, io->iter.count, io->write);
    if (error != 0)
        return error;
    io->progress = (struct io_progress){.pending = 1};
    const int64_t result =
        submit_all(file, &io->progress, &io->iter, io->offset, io->write, io->plug);
    if (result <= 0)
        return result; // nothing is under way
    preempt_disable();
    direct_put(&io->progress);
    preempt_enable();
    return FILE_IO_QUEUED;
}
