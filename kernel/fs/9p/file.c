// SPDX-License-Identifier: MIT
// Regular files of a folder that a 9P server shows (see inode.c).
//
// Reads and writes go between the server and the program's own pages, which are pinned for the
// length of a request. A buffer of the kernel itself may lie on a stack, which is not in the direct
// map: it is copied through a page (io.copied_bytes).
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/block/block.h"
#include "kernel/core/errno.h"
#include "kernel/fs/9p/internal.h"
#include "kernel/fs/cached_file.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/map.h"
#include "mm/address_space.h"
#include "mm/slab.h"

#include <linux/fcntl.h>
#include <linux/fs.h>

// ---- data ----

struct direction {
    uint32_t fid;
    uint64_t offset;
    bool is_write;
};

static int64_t transfer(struct p9_client *client, const struct direction *direction,
    const struct p9_piece *pieces, uint32_t count, uint32_t len_bytes)
{
    return direction->is_write
               ? p9_write(client, direction->fid, direction->offset, pieces, count, len_bytes)
               : p9_read(client, direction->fid, direction->offset, pieces, count, len_bytes);
}

// One request's worth of the program's current buffer. Bytes or -errno; does not advance.
static int64_t transfer_pinned(
    struct p9_client *client, const struct direction *direction, struct io_iter *iter, size_t len)
{
    struct page *pages[P9_PIECES_MAX];
    struct p9_piece pieces[P9_PIECES_MAX];
    const uintptr_t at = (uintptr_t)iter->segments->iov_base + iter->offset;
    const size_t in_page = at % PAGE_SIZE;
    const size_t wanted = DIV_ROUND_UP(in_page + len, PAGE_SIZE);
    assert(wanted <= P9_PIECES_MAX);
    const int64_t got =
        vm_pin(thread_current()->space, at - in_page, wanted, !direction->is_write, pages);
    if (got <= 0)
        return got < 0 ? got : -EFAULT;
    len = MIN(len, (size_t)got * PAGE_SIZE - in_page);
    size_t done = 0;
    for (int64_t i = 0; i < got; i++) {
        const size_t offset = i == 0 ? in_page : 0;
        const size_t piece = MIN(PAGE_SIZE - offset, len - done);
        pieces[i] = (struct p9_piece){page_to_phys(pages[i]) + offset, (uint32_t)piece};
        done += piece;
    }
    const int64_t result = transfer(client, direction, pieces, (uint32_t)got, (uint32_t)len);
    for (int64_t i = 0; i < got; i++)
        page_put(pages[i]);
    if (result > 0)
        iter_advance(iter, (size_t)result);
    return result;
}

static int64_t transfer_copied(
    struct p9_client *client, const struct direction *direction, struct io_iter *iter, size_t len)
{
    len = MIN(len, (size_t)PAGE_SIZE);
    uint8_t *buffer = kmalloc(PAGE_SIZE, 0);
    if (buffer == NULL)
        return -ENOMEM;
    const struct io_iter before = *iter;
    if (direction->is_write)
        (void)iter_copy_from(iter, buffer, len);
    const struct p9_piece piece = {virt_to_phys(buffer), (uint32_t)len};
    const int64_t result = transfer(client, direction, &piece, 1, (uint32_t)len);
    if (direction->is_write) { // take back what the server did not take
        *iter = before;
        if (result > 0)
            iter_advance(iter, (size_t)result);
    } else if (result > 0) {
        (void)iter_copy_to(iter, buffer, (size_t)result);
    }
    if (result > 0)
        counter_add(io, copied_bytes, (uint64_t)result);
    kfree(buffer);
    return result;
}

// All of the iterator, from direction->offset on, which advances. Bytes, or -errno if there are
// none.
static int64_t transfer_all(
    struct p9_client *client, struct direction *direction, struct io_iter *iter)
{
    uint64_t done = 0;
    int64_t result = 0;
    while (iter->count != 0) {
        const size_t in_segment = iter->segments->iov_len - iter->offset;
        const size_t len = MIN(MIN(in_segment, iter->count), (size_t)p9_client_data_max(client));
        if (len == 0) {
            iter_advance(iter, 0);
            continue;
        }
        result = iter->kernel ? transfer_copied(client, direction, iter, len)
                              : transfer_pinned(client, direction, iter, len);
        if (result <= 0)
            break;
        done += (uint64_t)result;
        direction->offset += (uint64_t)result;
        if ((size_t)result < len || thread_kill_pending(thread_current()))
            break; // the end of the file, or of memory, or of the program
    }
    return done != 0 ? (int64_t)done : result;
}

static int64_t read(struct file *file, struct io_iter *to, uint64_t *offset)
{
    struct inode *inode = file->inode;
    if ((int64_t)(*offset + to->count) < 0)
        return -EINVAL;
    if (p9_superblock_of(inode)->is_cached && p9_inode_of(inode)->reader != P9_NO_FID)
        return cached_file_read(
            file, inode->cache, to, offset, inode_size(inode), READ_AHEAD_DEFAULT_PAGES);
    struct direction direction = {p9_file_fid(file), *offset, false};
    const int64_t done = transfer_all(p9_client_of(inode), &direction, to);
    *offset = direction.offset;
    return done;
}

static int64_t write(struct file *file, struct io_iter *from, uint64_t *offset)
{
    struct inode *inode = file->inode;
    struct p9_inode *p9 = p9_inode_of(inode);
    const bool append = file->flags & O_APPEND || from->append;
    if (from->count == 0)
        return 0;
    if ((int64_t)(*offset + from->count) < 0)
        return -EINVAL;
    rwlock_write_lock(&inode->lock);
    int64_t done = append ? p9_inode_update(inode) : 0; // the host may have appended, too
    struct direction direction = {p9_file_fid(file), append ? inode_size(inode) : *offset, true};
    if (done == 0)
        done = file_write_limit(file, from, direction.offset);
    if (done == 0) {
        const uint64_t first = direction.offset / PAGE_SIZE;
        done = transfer_all(p9_client_of(inode), &direction, from);
        if (done > 0) {
            mutex_lock(&p9->lock);
            (void)page_cache_invalidate(inode->cache, first, (direction.offset - 1) / PAGE_SIZE);
            if (direction.offset > inode_size(inode))
                __atomic_store_n(&inode->cache->size_bytes, direction.offset, __ATOMIC_RELEASE);
            mutex_unlock(&p9->lock);
            inode_touch_modified(inode);
            *offset = direction.offset;
        }
    }
    rwlock_write_unlock(&inode->lock);
    return done;
}

static int64_t seek(struct file *file, int64_t offset, int whence)
{
    if (whence == SEEK_END)
        p9_inode_refresh(file->inode);
    return file_seek_sized(file, offset, whence, inode_size(file->inode));
}

static int sync(struct file *file, bool data_only)
{
    return p9_sync(p9_client_of(file->inode), p9_file_fid(file), data_only);
}

static void release(struct file *file)
{
    p9_clunk(p9_client_of(file->inode), p9_file_fid(file));
}

// ---- pages ----

// Pages of one request; they belong to the request until it is over.
struct page_read {
    uint32_t count;
    struct page *pages[];
};

static void pages_read(void *context, int64_t result)
{
    struct page_read *read = context;
    uint64_t left = result > 0 ? (uint64_t)result : 0;
    for (uint32_t i = 0; i < read->count; i++) {
        const size_t valid = MIN(left, (uint64_t)PAGE_SIZE);
        if (result >= 0 && valid < PAGE_SIZE) // the file ends here, or is shorter than it was
            memset((char *)page_to_virt(read->pages[i]) + valid, 0, PAGE_SIZE - valid);
        page_cache_read_done(read->pages[i], result < 0 ? (int)result : 0);
        left -= valid;
    }
    kfree(read);
}

static void read_run(struct inode *inode, struct page **pages, uint32_t count)
{
    struct p9_piece pieces[P9_PIECES_MAX];
    const uint32_t fid = __atomic_load_n(&p9_inode_of(inode)->reader, __ATOMIC_ACQUIRE);
    struct page_read *read = kmalloc(sizeof(*read) + count * sizeof(read->pages[0]), 0);
    int error = fid != P9_NO_FID ? 0 : -EIO;
    if (read == NULL)
        error = -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        pieces[i] = (struct p9_piece){page_to_phys(pages[i]), PAGE_SIZE};
    if (error == 0) {
        read->count = count;
        memcpy(read->pages, pages, count * sizeof(pages[0]));
        error = p9_read_begin(p9_client_of(inode), fid, pages[0]->index * PAGE_SIZE, pieces, count,
            count * PAGE_SIZE, pages_read, read);
    }
    if (error == 0)
        return;
    kfree(read);
    for (uint32_t i = 0; i < count; i++)
        page_cache_read_done(pages[i], error);
}

static void read_pages(struct page_cache *cache, struct page **pages, size_t count)
{
    struct inode *inode = cache->owner;
    const size_t most = p9_client_data_max(p9_client_of(inode)) / PAGE_SIZE;
    for (size_t at = 0; at < count; at += most)
        read_run(inode, pages + at, (uint32_t)MIN(count - at, most));
}

const struct page_cache_ops p9_cache_ops = {.read_pages = read_pages};

int p9_file_make_reader(struct inode *inode)
{
    struct p9_inode *p9 = p9_inode_of(inode);
    struct p9_client *client = p9_client_of(inode);
    int error = 0;
    mutex_lock(&p9->lock);
    if (p9->reader == P9_NO_FID) {
        uint32_t fid;
        error = p9_walk(client, p9->fid, NULL, 0, &fid, NULL);
        if (error == 0) {
            error = p9_open(client, fid, O_RDONLY);
            if (error == 0)
                __atomic_store_n(&p9->reader, fid, __ATOMIC_RELEASE);
            else
                p9_clunk(client, fid);
        }
    }
    mutex_unlock(&p9->lock);
    return error;
}

static int map(struct file *file, struct vm_map_request *request)
{
    if (request->flags & VM_SHARED) {
        if (request->flags & VM_WRITE)
            return -EINVAL; // as Linux with cache=none: nothing is written late
        request->flags &= ~(uint32_t)VM_MAYWRITE;
    }
    const int error = p9_file_make_reader(file->inode);
    return error != 0 ? error : file_map_cache(file, file->inode->cache, request);
}

const struct file_ops p9_file_ops = {
    .read = read,
    .write = write,
    .seek = seek,
    .map = map,
    .sync = sync,
    .release = release,
};
