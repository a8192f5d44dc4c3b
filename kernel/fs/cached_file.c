// SPDX-License-Identifier: MIT
// Reading and writing through a page cache.
//
// The copies here are the ones that read(2) and write(2) of cached content cannot do without: the
// page belongs to the cache, the buffer to the program. They are counted (io.copied_bytes).
//
// A page that is overwritten as a whole is not read before. It has PAGE_LOCKED while it is filled,
// so the program's buffer is touched with page faults off: the buffer may be a mapping of this very
// page. Where that fails, the page is read, and filled the ordinary way.
#include "kernel/fs/cached_file.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/block/block.h"
#include "kernel/core/errno.h"
#include "kernel/core/user.h"
#include "kernel/fs/read_ahead.h"
#include "mm/page_cache.h"
#include <linux/fadvise.h>
#include <linux/fs.h>

static size_t window_max(const struct file *file, size_t read_ahead_pages)
{
    if (file->advice == POSIX_FADV_RANDOM)
        return 0;
    return file->advice == POSIX_FADV_SEQUENTIAL ? 2 * read_ahead_pages : read_ahead_pages;
}

// The page at index, up to date, with a reference; begins to read what comes next.
static int page_for_read(struct file *file, struct page_cache *cache, uint64_t index, size_t wanted,
    uint64_t end_index, size_t max, bool wait, struct page **page)
{
    uint64_t start;
    *page = page_cache_lookup(cache, index);
    size_t count = read_ahead_plan(&file->read_ahead, index, wanted, *page == NULL, max, &start);
    if (count != 0 && start < end_index && (wait || *page != NULL))
        page_cache_read_ahead(cache, start, MIN(count, end_index - start));
    if (*page != NULL)
        return 0;
    return wait ? page_cache_get(cache, index, true, page) : -EAGAIN;
}

int64_t cached_file_read(struct file *file, struct page_cache *cache, struct io_iter *to,
    uint64_t *offset, uint64_t size, size_t read_ahead_pages)
{
    const uint64_t end_index = DIV_ROUND_UP(size, PAGE_SIZE);
    const size_t max = window_max(file, read_ahead_pages);
    const bool wait = !(to->flags & RWF_NOWAIT);
    size_t done = 0;
    int error = 0;
    while (to->count != 0 && *offset < size && error == 0) {
        const uint64_t index = *offset / PAGE_SIZE;
        const size_t in_page = *offset % PAGE_SIZE;
        const size_t left = MIN(to->count, size - *offset);
        const size_t piece = MIN(PAGE_SIZE - in_page, left);
        struct page *page;
        error = page_for_read(file, cache, index, DIV_ROUND_UP(in_page + left, PAGE_SIZE),
            end_index, max, wait, &page);
        if (error != 0)
            break;
        const size_t copied = iter_copy_to(to, (char *)page_to_virt(page) + in_page, piece);
        page_put(page);
        counter_add(io, copied_bytes, copied);
        *offset += copied;
        done += copied;
        if (copied != piece)
            error = -EFAULT;
        else if (thread_kill_pending(thread_current()))
            error = -EINTR;
    }
    return done != 0 ? (int64_t)done : error;
}

// Fills a page that is not read. True: it is done; *copied all of it.
static bool overwrite(
    struct page_cache *cache, uint64_t index, struct io_iter *from, int *error, struct page **page)
{
    *error = page_cache_get_overwrite(cache, index, page);
    if (*error != 0 || *page == NULL)
        return false;
    struct io_iter before = *from;
    if (from->segments == &from->single)
        before.segments = &before.single;
    user_fault_disable();
    const size_t copied = iter_copy_from(from, page_to_virt(*page), PAGE_SIZE);
    user_fault_enable();
    if (copied == PAGE_SIZE) {
        page_cache_overwritten(*page);
        return true;
    }
    *from = before;
    if (before.segments == &before.single)
        from->segments = &from->single;
    *error = page_cache_read_instead(cache, *page);
    if (*error != 0)
        page_put(*page);
    return false;
}

// One page's part. Bytes or -errno.
static int64_t write_piece(struct page_cache *cache, struct io_iter *from, uint64_t offset,
    size_t piece, uint64_t valid_end)
{
    const uint64_t index = offset / PAGE_SIZE;
    const size_t in_page = offset % PAGE_SIZE;
    struct page *page = NULL;
    size_t copied = 0;
    int error = 0;
    if (piece == PAGE_SIZE && overwrite(cache, index, from, &error, &page)) {
        copied = piece;
    } else if (error == 0 && page == NULL && index * PAGE_SIZE >= valid_end) {
        error = page_cache_get_overwrite(cache, index, &page); // all zero before
        if (error == 0 && page != NULL) {
            memset(page_to_virt(page), 0, PAGE_SIZE);
            page_cache_overwritten(page);
        }
    }
    if (error == 0 && page == NULL)
        error = page_cache_get(cache, index, true, &page);
    if (error != 0)
        return error;
    if (copied == 0)
        copied = iter_copy_from(from, (char *)page_to_virt(page) + in_page, piece);
    if (copied != 0)
        page_cache_mark_dirty(cache, page);
    page_put(page);
    counter_add(io, copied_bytes, copied);
    return copied != 0 ? (int64_t)copied : -EFAULT;
}

int64_t cached_file_write(
    struct page_cache *cache, struct io_iter *from, uint64_t *offset, uint64_t valid_end)
{
    size_t done = 0;
    int64_t result = 0;
    while (from->count != 0) {
        const size_t piece = MIN(PAGE_SIZE - *offset % PAGE_SIZE, from->count);
        result = write_piece(cache, from, *offset, piece, valid_end);
        if (result < 0)
            break;
        *offset += (uint64_t)result;
        done += (size_t)result;
        page_cache_balance(cache);
        if ((size_t)result != piece || thread_kill_pending(thread_current()))
            break;
    }
    return done != 0 ? (int64_t)done : result;
}
