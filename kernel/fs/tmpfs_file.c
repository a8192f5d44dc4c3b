// SPDX-License-Identifier: MIT
// Regular files of tmpfs.
//
// Content lies in a page cache; a page that is not there is a hole and reads as zeroes. Files of
// the initial archive have no pages at first: their bytes stay in the archive, and a page is made
// from it when it is first touched, so that unpacking costs nothing per byte. For such a file a
// missing page inside the archived part is not a hole: holes are punched there by writing zeroes.
//
// Locks: inode->lock is held for writing by write, truncate and fallocate; reads hold nothing and
// take pages by reference. No lock of the page cache is held while user memory is accessed, because
// that may fault on this very file. The size grows under inode->lock alone (a fault that sees the
// old size was earlier); it shrinks through page_cache_truncate().
#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/directory.h"
#include "kernel/fs/file.h"
#include "kernel/fs/file_private.h"
#include "kernel/fs/map.h"
#include "kernel/fs/mount.h"
#include "kernel/fs/tmpfs.h"
#include "mm/address_space.h"
#include "mm/slab.h"
#include <linux/falloc.h>
#include <linux/fs.h>

// ---- pages ----

static int tmpfs_charge(struct page_cache *cache, uint64_t pages)
{
    struct tmpfs *tmpfs = container_of(cache, struct tmpfs_file, cache)->tmpfs;
    int error = 0;
    if (tmpfs == NULL || tmpfs->page_limit == 0)
        return 0;
    spin_lock(&tmpfs->lock);
    if (tmpfs->page_count + pages > tmpfs->page_limit)
        error = -ENOSPC;
    else
        tmpfs->page_count += pages;
    spin_unlock(&tmpfs->lock);
    return error;
}

static void tmpfs_uncharge(struct page_cache *cache, uint64_t pages)
{
    struct tmpfs *tmpfs = container_of(cache, struct tmpfs_file, cache)->tmpfs;
    if (tmpfs == NULL || tmpfs->page_limit == 0)
        return;
    spin_lock(&tmpfs->lock);
    tmpfs->page_count -= MIN(tmpfs->page_count, pages);
    spin_unlock(&tmpfs->lock);
}

static int tmpfs_read_archive(struct page_cache *cache, uint64_t index, void *to)
{
    const struct tmpfs_file *file = container_of(cache, struct tmpfs_file, cache);
    uint64_t start = index * PAGE_SIZE;
    uint64_t archived = __atomic_load_n(&file->archive_len, __ATOMIC_ACQUIRE);
    size_t len = start < archived ? MIN(archived - start, PAGE_SIZE) : 0;
    memcpy(to, file->archive + start, len);
    memset((char *)to + len, 0, PAGE_SIZE - len);
    return 0;
}

static const struct page_cache_ops tmpfs_cache_ops = {
    .charge = tmpfs_charge,
    .uncharge = tmpfs_uncharge,
};
static const struct page_cache_ops tmpfs_archive_cache_ops = {
    .read_page = tmpfs_read_archive,
    .charge = tmpfs_charge,
    .uncharge = tmpfs_uncharge,
};

int tmpfs_file_init(struct inode *inode, struct tmpfs *tmpfs)
{
    struct tmpfs_file *file = kzalloc(sizeof(*file));
    if (file == NULL)
        return -ENOMEM;
    page_cache_init(&file->cache, &tmpfs_cache_ops, inode);
    file->tmpfs = tmpfs;
    file->seals = F_SEAL_SEAL;
    inode->private_data = file;
    inode->cache = &file->cache;
    return 0;
}

void tmpfs_file_set_archive(struct inode *inode, const void *data, uint64_t len_bytes)
{
    struct tmpfs_file *file = tmpfs_file_of(inode);
    file->archive = data;
    file->archive_len = len_bytes;
    file->cache.ops = &tmpfs_archive_cache_ops;
    file->cache.size_bytes = len_bytes;
}

void tmpfs_file_destroy(struct inode *inode)
{
    page_cache_destroy(inode->cache);
    inode->free_later = inode->private_data; // stat may still look at size and pages, under RCU
}

// The page at index with a reference, for reading: NULL is a hole.
static int tmpfs_page_read(struct tmpfs_file *file, uint64_t index, struct page **page)
{
    *page = page_cache_lookup(&file->cache, index);
    if (likely(*page != NULL))
        return 0;
    if (index * PAGE_SIZE >= __atomic_load_n(&file->archive_len, __ATOMIC_ACQUIRE))
        return 0;
    return page_cache_get(&file->cache, index, true, page);
}

// ---- read and write ----

static int64_t tmpfs_read(struct file *open_file, struct io_iter *to, uint64_t *offset)
{
    struct inode *inode = open_file->inode;
    struct tmpfs_file *file = tmpfs_file_of(inode);
    size_t done = 0;
    int error = 0;
    if (unlikely((int64_t)(*offset + to->count) < 0))
        return -EINVAL;
    while (to->count != 0) {
        uint64_t at = *offset + done;
        uint64_t size = inode_size(inode);
        if (at >= size)
            break;
        size_t in_page = at % PAGE_SIZE;
        size_t piece = MIN(MIN(PAGE_SIZE - in_page, size - at), to->count);
        struct page *page;
        error = tmpfs_page_read(file, at / PAGE_SIZE, &page);
        if (error != 0)
            break;
        size_t copied = page != NULL ? iter_copy_to(to, (char *)page_to_virt(page) + in_page, piece)
                                     : iter_clear(to, piece);
        if (page != NULL)
            page_put(page);
        done += copied;
        if (copied != piece) {
            error = -EFAULT;
            break;
        }
        if (thread_kill_pending(thread_current())) {
            error = -EINTR;
            break;
        }
    }
    if (!(open_file->flags & O_NOATIME))
        inode_touch_accessed(inode, open_file->path.mount);
    *offset += done;
    return done != 0 ? (int64_t)done : error;
}

static void tmpfs_grow(struct inode *inode, uint64_t size)
{
    if (size > inode->cache->size_bytes)
        __atomic_store_n(&inode->cache->size_bytes, size, __ATOMIC_RELEASE);
}

// Copies into the pages from `at` on; inode->lock is held.
static int64_t tmpfs_write_pages(struct inode *inode, struct io_iter *from, uint64_t at)
{
    struct tmpfs_file *file = tmpfs_file_of(inode);
    size_t done = 0;
    while (from->count != 0) {
        size_t in_page = at % PAGE_SIZE;
        size_t piece = MIN(PAGE_SIZE - in_page, from->count);
        struct page *page;
        int error = page_cache_get(&file->cache, at / PAGE_SIZE, true, &page);
        if (error != 0)
            return done != 0 ? (int64_t)done : error;
        size_t copied = iter_copy_from(from, (char *)page_to_virt(page) + in_page, piece);
        if (copied != 0)
            page_cache_mark_dirty(&file->cache, page);
        page_put(page);
        done += copied;
        at += copied;
        tmpfs_grow(inode, copied != 0 ? at : 0);
        if (copied != piece)
            return done != 0 ? (int64_t)done : -EFAULT;
        if (thread_kill_pending(thread_current()))
            return (int64_t)done;
    }
    return (int64_t)done;
}

static int64_t tmpfs_write(struct file *open_file, struct io_iter *from, uint64_t *offset)
{
    struct inode *inode = open_file->inode;
    struct tmpfs_file *file = tmpfs_file_of(inode);
    if (from->count == 0)
        return 0;
    if (unlikely((int64_t)(*offset + from->count) < 0))
        return -EINVAL;
    rwlock_write_lock(&inode->lock);
    uint64_t at = open_file->flags & O_APPEND || from->append ? inode->cache->size_bytes : *offset;
    int64_t done = file_write_limit(open_file, from, at);
    if (done == 0 && unlikely(file->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)))
        done = -EPERM;
    if (done == 0 && unlikely(file->seals & F_SEAL_GROW) &&
        at + from->count > inode->cache->size_bytes) {
        if (at >= inode->cache->size_bytes)
            done = -EPERM;
        else
            from->count = inode->cache->size_bytes - at;
    }
    if (done == 0) {
        inode_remove_privileges(inode);
        done = tmpfs_write_pages(inode, from, at);
    }
    if (done > 0) {
        inode_touch_modified(inode);
        *offset = at + (uint64_t)done;
    }
    rwlock_write_unlock(&inode->lock);
    return done;
}

// ---- size and holes ----

static int tmpfs_resize(struct inode *inode, uint64_t size)
{
    struct tmpfs_file *file = tmpfs_file_of(inode);
    uint64_t old = inode->cache->size_bytes;
    if (size > inode->superblock->max_file_bytes)
        return -EFBIG;
    if ((size < old && file->seals & F_SEAL_SHRINK) || (size > old && file->seals & F_SEAL_GROW))
        return -EPERM;
    if (size < file->archive_len)
        __atomic_store_n(&file->archive_len, size, __ATOMIC_RELEASE);
    if (size >= old)
        tmpfs_grow(inode, size);
    else
        page_cache_truncate(inode->cache, size);
    return 0;
}

static int tmpfs_file_change(struct inode *inode, const struct inode_change *change)
{
    return change->valid & INODE_CHANGE_SIZE ? tmpfs_resize(inode, change->size_bytes) : 0;
}

// Zeroes of the archived part are written; the rest of the range becomes a hole.
static int tmpfs_punch(struct inode *inode, uint64_t start, uint64_t end)
{
    struct tmpfs_file *file = tmpfs_file_of(inode);
    end = MIN(end, ALIGN_UP(inode->cache->size_bytes, PAGE_SIZE));
    while (start < end && start < file->archive_len) {
        size_t piece = MIN(PAGE_SIZE - start % PAGE_SIZE, end - start);
        struct page *page;
        int error = page_cache_get(&file->cache, start / PAGE_SIZE, true, &page);
        if (error != 0)
            return error;
        memset((char *)page_to_virt(page) + start % PAGE_SIZE, 0, piece);
        page_put(page);
        start += piece;
    }
    if (start < end)
        page_cache_punch(&file->cache, start, end);
    return 0;
}

// Makes sure of pages for [start, end); takes those it made back if it fails half way.
static int tmpfs_allocate(struct inode *inode, uint64_t start, uint64_t end)
{
    struct tmpfs_file *file = tmpfs_file_of(inode);
    for (uint64_t index = start / PAGE_SIZE; index < DIV_ROUND_UP(end, PAGE_SIZE); index++) {
        struct page *page;
        int error = page_cache_get(&file->cache, index, true, &page);
        if (error == 0 && thread_kill_pending(thread_current())) {
            page_put(page);
            error = -EINTR;
        }
        if (error != 0)
            return error;
        page_put(page);
    }
    return 0;
}

static int64_t tmpfs_fallocate(struct file *open_file, int mode, uint64_t offset, uint64_t len)
{
    struct inode *inode = open_file->inode;
    struct tmpfs_file *file = tmpfs_file_of(inode);
    uint64_t end = offset + len;
    bool keep = mode & FALLOC_FL_KEEP_SIZE;
    if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
        return -EOPNOTSUPP;
    rwlock_write_lock(&inode->lock);
    int error = 0;
    if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) {
        if (file->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
            error = -EPERM;
        else
            error = tmpfs_punch(inode, offset, end);
    }
    if (error == 0 && !(mode & FALLOC_FL_PUNCH_HOLE)) {
        if (!keep && end > inode->cache->size_bytes && file->seals & F_SEAL_GROW)
            error = -EPERM;
        else if (!keep && end > process_limit_file_bytes())
            error = -EFBIG;
        else
            error = tmpfs_allocate(inode, offset, end);
        if (error == 0 && !keep)
            tmpfs_grow(inode, end);
    }
    if (error == 0)
        inode_touch_modified(inode);
    rwlock_write_unlock(&inode->lock);
    return error;
}

// SEEK_DATA and SEEK_HOLE; the archived part counts as data.
static int64_t tmpfs_seek_content(struct inode *inode, uint64_t offset, bool data)
{
    struct tmpfs_file *file = tmpfs_file_of(inode);
    uint64_t size = inode->cache->size_bytes;
    if (offset >= size)
        return -ENXIO;
    if (offset < file->archive_len) {
        if (data)
            return (int64_t)offset;
        offset = ALIGN_UP(file->archive_len, PAGE_SIZE);
        if (offset >= size)
            return (int64_t)size;
    }
    uint64_t index = page_cache_seek(&file->cache, offset / PAGE_SIZE, data);
    uint64_t found = index > UINT64_MAX / PAGE_SIZE ? UINT64_MAX : index * PAGE_SIZE;
    found = MAX(found, offset);
    if (found >= size)
        return data ? -ENXIO : (int64_t)size;
    return (int64_t)found;
}

static int64_t tmpfs_seek(struct file *file, int64_t offset, int whence)
{
    if (whence == SEEK_DATA || whence == SEEK_HOLE) {
        if (offset < 0)
            return -ENXIO;
        rwlock_read_lock(&file->inode->lock);
        int64_t found = tmpfs_seek_content(file->inode, (uint64_t)offset, whence == SEEK_DATA);
        rwlock_read_unlock(&file->inode->lock);
        if (found >= 0)
            file->offset = (uint64_t)found;
        return found;
    }
    return file_seek_sized(file, offset, whence, inode_size(file->inode));
}

// ---- mapping ----

static int tmpfs_map(struct file *open_file, struct vm_map_request *request)
{
    struct tmpfs_file *file = tmpfs_file_of(open_file->inode);
    bool shared = request->flags & VM_SHARED;
    if (shared && file->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) {
        if (request->flags & VM_WRITE)
            return -EPERM;
        request->flags &= ~(uint32_t)VM_MAYWRITE;
    }
    return file_map_cache(open_file, &file->cache, request);
}

static int tmpfs_sync(struct file *file, bool data_only)
{
    return 0; // memory is all there is
}

// The archived part counts as if it were there already.
static uint64_t tmpfs_pages(const struct inode *inode)
{
    const struct tmpfs_file *file = tmpfs_file_of(inode);
    return MAX(file->cache.count, DIV_ROUND_UP(file->archive_len, PAGE_SIZE));
}

const struct inode_ops tmpfs_file_inode_ops = {
    .change = tmpfs_file_change, .evict = tmpfs_evict, .pages = tmpfs_pages};

const struct file_ops tmpfs_file_ops = {
    .read = tmpfs_read,
    .write = tmpfs_write,
    .seek = tmpfs_seek,
    .map = tmpfs_map,
    .sync = tmpfs_sync,
    .fallocate = tmpfs_fallocate,
};
