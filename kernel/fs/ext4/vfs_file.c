// SPDX-License-Identifier: MIT
// Regular files: reading, writing, size, holes, fsync, O_DIRECT.
//
// Locks: inode->lock is held for writing by write, truncate and fallocate, and nothing of the core
// while user memory is touched: the fault may need it.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/block/file/direct_io.h"
#include "kernel/core/errno.h"
#include "kernel/fs/cached_file.h"
#include "kernel/fs/ext4/vfs.h"
#include "kernel/fs/file.h"
#include "kernel/fs/map.h"
#include "kernel/fs/mount.h"
#include "mm/address_space.h"
#include <linux/falloc.h>
#include <linux/fs.h>

#define CHUNK_BYTES (UINT64_C(1) << 20) // of a write, between two looks at the map

static struct page_cache *cache_of(const struct inode *inode)
{
    return &ext4_inode_of(inode)->cache;
}

static void set_size(struct inode *inode, uint64_t size)
{
    if (size > cache_of(inode)->size_bytes)
        __atomic_store_n(&cache_of(inode)->size_bytes, size, __ATOMIC_RELEASE);
}

static uint64_t size_max(const struct ext4_node *node)
{
    return ext4_node_has_extents(node) ? node->fs->size_max_extents : node->fs->size_max_pointers;
}

// Blocks [start, end) in bytes get a place.
static int reserve(struct inode *inode, uint64_t start, uint64_t end)
{
    struct ext4_node *node = ext4_node_of(inode);
    const uint32_t bits = node->fs->block_bits;
    const uint64_t first = start >> bits;
    return ext4_content_reserve(node, (uint32_t)first,
        (uint32_t)(DIV_ROUND_UP(end, node->fs->block_bytes) - first), ext4_alloc_flags());
}

// ---- fsync ----

static int sync_inode(struct inode *inode, bool data_only)
{
    struct ext4_node *node = ext4_node_of(inode);
    int error = page_cache_sync(cache_of(inode));
    if (node->fs->read_only)
        return error;
    if (error == 0)
        error = __atomic_exchange_n(&ext4_inode_of(inode)->write_error, 0, __ATOMIC_RELAXED);
    if (error == 0 && !data_only)
        error = ext4_inode_write(inode);
    if (error != 0)
        return error;
    return ext4_commit(node->fs, __atomic_load_n(&node->change_id, __ATOMIC_ACQUIRE));
}

static int file_sync(struct file *file, bool data_only)
{
    return sync_inode(file->inode, data_only);
}

// ---- O_DIRECT ----

// One run of the file, straight from or to the disk. Bytes, or -errno; 0: not in this way.
static int64_t direct_run(struct inode *inode, struct io_iter *iter, uint64_t at, bool write)
{
    struct ext4_mount *mount = ext4_mount_of(inode->superblock);
    struct ext4_node *node = ext4_node_of(inode);
    struct ext4_fs *fs = mount->fs;
    const uint64_t within = at & (fs->block_bytes - 1);
    const uint64_t blocks = DIV_ROUND_UP(within + iter->count, fs->block_bytes);
    struct ext4_run run;
    rwlock_read_lock(&node->map_lock);
    int error = ext4_map_find(
        node, (uint32_t)(at >> fs->block_bits), (uint32_t)MIN(blocks, CHUNK_BYTES), &run);
    const bool mapped = error == 0 && run.physical != 0 && !run.unwritten;
    if (mapped) // it is not freed while the transfer is under way
        __atomic_fetch_add(&node->in_flight, 1, __ATOMIC_RELAXED);
    rwlock_read_unlock(&node->map_lock);
    if (error != 0)
        return error;
    const uint64_t bytes = MIN(iter->count, ((uint64_t)run.count << fs->block_bits) - within);
    if (!mapped)
        return write ? 0 : (int64_t)iter_clear(iter, bytes);
    const size_t rest = iter->count - bytes;
    iter->count = bytes;
    const int64_t done =
        block_direct_transfer(mount->file, iter, (run.physical << fs->block_bits) + within, write);
    iter->count += rest;
    ext4_content_write_end(node, false);
    return done;
}

static bool is_direct(const struct file *file, const struct io_iter *iter)
{
    return file->flags & O_DIRECT && (!iter->kernel || iter->pinned);
}

static bool is_aligned(const struct inode *inode, const struct io_iter *iter, uint64_t at)
{
    const struct ext4_mount *mount = ext4_mount_of(inode->superblock);
    return ((at | iter->count) & (block_volume_limits(mount->volume)->logical_block_bytes - 1)) ==
           0;
}

static int64_t direct_read(struct inode *inode, struct io_iter *to, uint64_t *offset)
{
    const uint64_t size = inode_size(inode);
    int64_t total = 0, done = 1;
    if (!is_aligned(inode, to, *offset))
        return -EINVAL;
    if (*offset >= size)
        return 0;
    page_cache_write_wait(cache_of(inode), *offset / PAGE_SIZE, (*offset + to->count) / PAGE_SIZE);
    // Whole blocks are read; what lies behind the end is not told.
    while (to->count != 0 && *offset < size) {
        done = direct_run(inode, to, *offset, false);
        if (done <= 0)
            break;
        *offset += (uint64_t)done;
        total += done;
    }
    if (*offset > size) {
        total -= (int64_t)(*offset - size);
        *offset = size;
    }
    return total != 0 ? total : done;
}

// Overwrites what is there already; stops at what is not. inode->lock is held.
static int64_t direct_write(struct inode *inode, struct io_iter *from, uint64_t *offset)
{
    struct page_cache *cache = cache_of(inode);
    int64_t total = 0, done = 0;
    if (!is_aligned(inode, from, *offset))
        return -EINVAL;
    const uint64_t first = *offset / PAGE_SIZE, last = (*offset + from->count - 1) / PAGE_SIZE;
    if (*offset + from->count > cache->size_bytes)
        return 0;
    page_cache_write_wait(cache, first, last);
    (void)page_cache_invalidate(cache, first, last);
    while (from->count != 0) {
        done = direct_run(inode, from, *offset, true);
        if (done <= 0)
            break;
        *offset += (uint64_t)done;
        total += done;
    }
    (void)page_cache_invalidate(cache, first, last); // somebody may have read meanwhile
    return total != 0 ? total : done;
}

// ---- reading and writing ----

static int64_t file_read_pages(struct file *file, struct io_iter *to, uint64_t *offset)
{
    struct inode *inode = file->inode;
    if ((int64_t)*offset < 0)
        return -EINVAL;
    if (to->count == 0)
        return 0;
    const int64_t done = is_direct(file, to) ? direct_read(inode, to, offset)
                                             : cached_file_read(file, cache_of(inode), to, offset,
                                                   inode_size(inode), READ_AHEAD_DEFAULT_PAGES);
    if (!(file->flags & O_NOATIME))
        inode_touch_accessed(inode, file->path.mount);
    return done;
}

// Maps of pointers get their blocks when data goes out: it goes at once, so that a full disk is
// noticed here.
static int place_at_once(struct inode *inode, uint64_t start, uint64_t end)
{
    struct ext4_inode *ext4 = ext4_inode_of(inode);
    struct ext4_node *node = &ext4->node;
    struct ext4_run run;
    if (ext4_node_has_extents(node))
        return 0;
    const uint32_t first = (uint32_t)(start >> node->fs->block_bits);
    const uint32_t count = (uint32_t)(DIV_ROUND_UP(end, node->fs->block_bytes) - first);
    bool missing = false;
    for (uint32_t at = 0; at < count && !missing; at += run.count) {
        rwlock_read_lock(&node->map_lock);
        int error = ext4_map_find(node, first + at, count - at, &run);
        rwlock_read_unlock(&node->map_lock);
        if (error != 0)
            return error;
        missing = run.physical == 0;
    }
    if (!missing)
        return 0;
    page_cache_write_wait(&ext4->cache, start / PAGE_SIZE, (end - 1) / PAGE_SIZE);
    return __atomic_exchange_n(&ext4->write_error, 0, __ATOMIC_RELAXED);
}

// One chunk through the cache. Bytes, or -errno.
static int64_t write_chunk(struct inode *inode, struct io_iter *from, uint64_t at)
{
    const uint64_t bytes = MIN((uint64_t)from->count, CHUNK_BYTES - at % CHUNK_BYTES);
    const size_t rest = from->count - bytes;
    const uint64_t start = at;
    int error = reserve(inode, at, at + bytes);
    if (error == -ENOSPC && bytes > PAGE_SIZE) { // a part may still fit
        from->count = PAGE_SIZE - at % PAGE_SIZE;
        const size_t left = bytes + rest - from->count;
        const int64_t done = write_chunk(inode, from, at);
        from->count += left;
        return done;
    }
    if (error != 0)
        return error;
    from->count = bytes;
    int64_t done = cached_file_write(cache_of(inode), from, &at, cache_of(inode)->size_bytes);
    from->count += rest;
    if (done > 0) {
        set_size(inode, at);
        error = place_at_once(inode, start, at);
        done = error != 0 ? error : done;
    }
    return done;
}

static int64_t write_cached(struct inode *inode, struct io_iter *from, uint64_t *at)
{
    int64_t total = 0, done = 0;
    while (from->count != 0) {
        const uint64_t wanted = MIN((uint64_t)from->count, CHUNK_BYTES - *at % CHUNK_BYTES);
        done = write_chunk(inode, from, *at);
        if (done <= 0)
            break;
        *at += (uint64_t)done;
        total += done;
        if ((uint64_t)done < wanted && thread_kill_pending(thread_current()))
            break;
    }
    return total != 0 ? total : done;
}

static int64_t write_locked(struct file *file, struct io_iter *from, uint64_t *at)
{
    struct inode *inode = file->inode;
    int64_t total = 0, done = 0;
    if (is_direct(file, from)) {
        total = direct_write(inode, from, at);
        if (total < 0 || from->count == 0)
            return total;
    }
    const uint64_t start = *at;
    done = write_cached(inode, from, at);
    if (done > 0 && is_direct(file, from)) {
        // What had no place yet went through the cache: it leaves it again.
        page_cache_write_wait(cache_of(inode), start / PAGE_SIZE, (*at - 1) / PAGE_SIZE);
        (void)page_cache_invalidate(cache_of(inode), start / PAGE_SIZE, (*at - 1) / PAGE_SIZE);
    }
    if (total != 0)
        return total + MAX(done, INT64_C(0));
    return done;
}

static int64_t file_write_pages(struct file *file, struct io_iter *from, uint64_t *offset)
{
    struct inode *inode = file->inode;
    if (from->count == 0)
        return 0;
    if ((int64_t)(*offset + from->count) < 0)
        return -EINVAL;
    rwlock_write_lock(&inode->lock);
    uint64_t at = file->flags & O_APPEND || from->append ? inode_size(inode) : *offset;
    int64_t done = file_write_limit(file, from, at);
    const uint64_t most = size_max(ext4_node_of(inode));
    if (done == 0 && at >= most)
        done = -EFBIG;
    if (done == 0) {
        from->count = MIN((uint64_t)from->count, most - at);
        inode_remove_privileges(inode);
        done = write_locked(file, from, &at);
    }
    if (done > 0) {
        inode_touch_modified(inode);
        *offset = at;
    }
    rwlock_write_unlock(&inode->lock);
    const bool durable = file->flags & (O_DSYNC | O_SYNC) || from->flags & (RWF_DSYNC | RWF_SYNC);
    if (done > 0 && durable) {
        const bool data_only = !((file->flags & O_SYNC) == O_SYNC || from->flags & RWF_SYNC);
        int error = sync_inode(inode, data_only);
        if (error != 0)
            return error;
    }
    return done;
}

// ---- size and holes ----

// A page of which only a part is to be cleared has to be there for that.
static int bring_in(struct inode *inode, uint64_t offset)
{
    struct page *page;
    if (offset % PAGE_SIZE == 0 || offset >= inode_size(inode))
        return 0;
    int error = page_cache_get(cache_of(inode), offset / PAGE_SIZE, true, &page);
    if (error == 0)
        page_put(page);
    return error;
}

static int resize(struct inode *inode, uint64_t size)
{
    struct ext4_node *node = ext4_node_of(inode);
    int error;
    if (size > size_max(node))
        return -EFBIG;
    if (size >= inode_size(inode)) {
        error = ext4_content_grow(node, size);
        if (error == 0)
            set_size(inode, size);
        return error;
    }
    error = bring_in(inode, size);
    if (error != 0)
        return error;
    page_cache_truncate(cache_of(inode), size);
    return ext4_content_resize(node, size);
}

static int file_change(struct inode *inode, const struct inode_change *change)
{
    if (!(change->valid & INODE_CHANGE_SIZE))
        return 0;
    ext4_inode_to_node(inode);
    return resize(inode, change->size_bytes);
}

// Zeroes [start, end); whole pages lose their blocks.
static int punch(struct inode *inode, uint64_t start, uint64_t end)
{
    struct ext4_node *node = ext4_node_of(inode);
    const uint64_t size = inode_size(inode);
    end = MIN(end, ALIGN_UP(size, PAGE_SIZE));
    if (start >= end)
        return 0;
    int error = bring_in(inode, start);
    if (error == 0)
        error = bring_in(inode, end);
    if (error != 0)
        return error;
    page_cache_punch(cache_of(inode), start, end);
    const uint64_t first = ALIGN_UP(start, PAGE_SIZE) >> node->fs->block_bits;
    const uint64_t last = ALIGN_DOWN(end, PAGE_SIZE) >> node->fs->block_bits;
    if (first >= last)
        return 0;
    return ext4_map_remove_all(node, (uint32_t)first, (uint32_t)last - 1);
}

static int64_t file_fallocate(struct file *file, int mode, uint64_t offset, uint64_t len)
{
    struct inode *inode = file->inode;
    const uint64_t end = offset + len;
    if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) ||
        (!ext4_node_has_extents(ext4_node_of(inode)) && !(mode & FALLOC_FL_PUNCH_HOLE)))
        return -EOPNOTSUPP;
    if (end > size_max(ext4_node_of(inode)))
        return -EFBIG;
    rwlock_write_lock(&inode->lock);
    ext4_inode_to_node(inode);
    int error = 0;
    const bool grows =
        !(mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)) && end > inode_size(inode);
    if (grows && end > process_limit_file_bytes())
        error = -EFBIG;
    if (error == 0 && mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
        error = punch(inode, offset, end);
    if (error == 0 && !(mode & FALLOC_FL_PUNCH_HOLE))
        error = reserve(inode, offset, end);
    if (error == 0 && grows) {
        error = ext4_content_grow(ext4_node_of(inode), end);
        if (error == 0)
            set_size(inode, end);
    }
    if (error == 0)
        inode_touch_modified(inode);
    rwlock_write_unlock(&inode->lock);
    return error;
}

// The next byte at or after `offset` that is data (or a hole): written blocks, and what is in the
// cache. inode->lock is held.
static int64_t seek_content(struct inode *inode, uint64_t offset, bool data)
{
    struct ext4_node *node = ext4_node_of(inode);
    const uint64_t size = inode_size(inode);
    const uint32_t bits = node->fs->block_bits;
    if (offset >= size)
        return -ENXIO;
    while (offset < size) {
        struct ext4_run run;
        const uint64_t first = offset >> bits, end = DIV_ROUND_UP(size, node->fs->block_bytes);
        rwlock_read_lock(&node->map_lock);
        int error = ext4_map_find(node, (uint32_t)first, (uint32_t)(end - first), &run);
        rwlock_read_unlock(&node->map_lock);
        if (error != 0)
            return error;
        uint64_t next = (first + run.count) << bits;
        bool is_data = run.physical != 0 && !run.unwritten;
        if (!is_data) {
            const uint64_t cached =
                page_cache_seek(cache_of(inode), offset / PAGE_SIZE, true) * PAGE_SIZE;
            is_data = cached <= offset;
            next = is_data ? MIN(next, ALIGN_DOWN(offset, PAGE_SIZE) + PAGE_SIZE)
                           : MIN(next, MAX(cached, offset + 1));
        }
        if (is_data == data)
            return (int64_t)offset;
        offset = next;
    }
    return data ? -ENXIO : (int64_t)size;
}

static int64_t file_seek(struct file *file, int64_t offset, int whence)
{
    struct inode *inode = file->inode;
    if (whence != SEEK_DATA && whence != SEEK_HOLE)
        return file_seek_sized(file, offset, whence, inode_size(inode));
    if (offset < 0)
        return -ENXIO;
    rwlock_read_lock(&inode->lock);
    int64_t found = seek_content(inode, (uint64_t)offset, whence == SEEK_DATA);
    rwlock_read_unlock(&inode->lock);
    if (found >= 0)
        file->offset = (uint64_t)found;
    return found;
}

// ---- mapping ----

static int file_map(struct file *file, struct vm_map_request *request)
{
    return file_map_cache(file, cache_of(file->inode), request);
}

static int page_write(struct inode *inode, uint64_t index)
{
    const uint64_t size = inode_size(inode), start = index * PAGE_SIZE;
    if (start >= size)
        return -EIO;
    return reserve(inode, start, MIN(start + PAGE_SIZE, size));
}

static uint64_t pages(const struct inode *inode)
{
    return DIV_ROUND_UP(ext4_node_of(inode)->blocks, PAGE_SIZE / BLOCK_SECTOR_BYTES);
}

const struct inode_ops ext4_file_inode_ops = {
    .change = file_change,
    .pages = pages,
    .changed = ext4_inode_changed,
    .page_write = page_write,
    .evict = ext4_inode_evict,
};

const struct file_ops ext4_file_ops = {
    .read = file_read_pages,
    .write = file_write_pages,
    .seek = file_seek,
    .map = file_map,
    .sync = file_sync,
    .fallocate = file_fallocate,
};
