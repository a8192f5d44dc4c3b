// SPDX-License-Identifier: MIT
// Block special files: /dev/vda and the like.
//
// Reads and writes go through a page cache that all openers share, or with O_DIRECT around it, from
// the program's pages to the device (direct.c). The two are kept together as Linux keeps them: a
// direct read first writes what is dirty there, a direct write drops the pages it goes past.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/block/file/file.h"
#include "kernel/block/file/internal.h"
#include "kernel/block/file/page_io.h"
#include "kernel/core/errno.h"
#include "kernel/core/log.h"
#include "kernel/fs/cached_file.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/inode.h"
#include "kernel/fs/map.h"
#include "kernel/fs/register.h"
#include "kernel/fs/vfs.h"
#include "mm/slab.h"
#include <linux/fs.h>

#define SECTORS_PER_PAGE (PAGE_SIZE / BLOCK_SECTOR_BYTES)

// ---- pages ----

static void transfer_pages(
    struct page_cache *cache, enum block_operation operation, struct page **pages, size_t count)
{
    struct block_volume *volume = container_of(cache, struct block_file, cache)->volume;
    struct block_plug plug;
    block_plug_begin(&plug);
    block_pages_submit(&plug, volume, operation, pages[0]->index * SECTORS_PER_PAGE,
        block_volume_sectors(volume), cache, pages, count);
    block_plug_end(&plug);
}

static void read_pages(struct page_cache *cache, struct page **pages, size_t count)
{
    transfer_pages(cache, BLOCK_READ, pages, count);
}

static void write_pages(struct page_cache *cache, struct page **pages, size_t count)
{
    transfer_pages(cache, BLOCK_WRITE, pages, count);
}

static const struct page_cache_ops cache_ops = {
    .read_pages = read_pages, .write_pages = write_pages};

// ---- reading and writing ----

int block_file_check(const struct block_file *file)
{
    return -(int)__atomic_load_n(&file->volume->device->dead, __ATOMIC_RELAXED);
}

int block_file_sync(struct block_file *file)
{
    int error = page_cache_sync(&file->cache);
    int flush_error = block_transfer(file->volume, BLOCK_FLUSH, 0, NULL, 0, 0);
    return error != 0 ? error : flush_error;
}

static int special_sync(struct file *open_file, bool data_only)
{
    struct block_file *file = block_file_of(open_file);
    int error = block_file_check(file);
    return error != 0 ? error : block_file_sync(file);
}

static int64_t special_read(struct file *open_file, struct io_iter *to, uint64_t *offset)
{
    struct block_file *file = block_file_of(open_file);
    const uint64_t size = block_volume_bytes(file->volume);
    int error = block_file_check(file);
    if (error != 0)
        return error;
    if ((int64_t)*offset < 0)
        return -EINVAL;
    if (*offset >= size || to->count == 0)
        return 0;
    if ((open_file->flags & O_DIRECT) && (!to->kernel || to->pinned)) {
        to->count = MIN(to->count, size - *offset);
        const int64_t done = block_direct_transfer(file, to, *offset, false);
        if (done > 0)
            *offset += (uint64_t)done;
        return done;
    }
    return cached_file_read(open_file, &file->cache, to, offset, size, file->read_ahead_pages);
}

static int64_t write_cached(struct block_file *file, struct io_iter *from, uint64_t *offset)
{
    return cached_file_write(&file->cache, from, offset, UINT64_MAX);
}

static int64_t special_write(struct file *open_file, struct io_iter *from, uint64_t *offset)
{
    struct block_file *file = block_file_of(open_file);
    const uint64_t size = block_volume_bytes(file->volume);
    const bool append = open_file->flags & O_APPEND || from->append;
    uint64_t at = append ? size : *offset;
    int64_t done = block_file_check(file);
    if (done != 0)
        return done;
    if ((int64_t)at < 0)
        return -EINVAL;
    if (block_volume_is_read_only(file->volume))
        return -EPERM;
    if (from->count == 0)
        return 0;
    if (at >= size)
        return -ENOSPC;
    from->count = MIN(from->count, size - at);
    if ((open_file->flags & O_DIRECT) && (!from->kernel || from->pinned)) {
        done = block_direct_transfer(file, from, at, true);
        at += done > 0 ? (uint64_t)done : 0;
    } else {
        done = write_cached(file, from, &at);
    }
    const bool durable =
        open_file->flags & (O_DSYNC | O_SYNC) || from->flags & (RWF_DSYNC | RWF_SYNC);
    if (done > 0 && durable) {
        int error = block_file_sync(file);
        if (error != 0)
            done = error;
    }
    if (done > 0)
        *offset = at;
    return done;
}

static int64_t special_seek(struct file *open_file, int64_t offset, int whence)
{
    const uint64_t size = block_volume_bytes(block_file_of(open_file)->volume);
    int64_t result = file_seek_sized(open_file, offset, whence, size);
    if (result >= 0 && (uint64_t)result > size) {
        open_file->offset = 0;
        return -EINVAL;
    }
    return result;
}

static int special_map(struct file *open_file, struct vm_map_request *request)
{
    return file_map_cache(open_file, &block_file_of(open_file)->cache, request);
}

// ---- opening and closing ----

static void block_file_free(struct block_file *file)
{
    page_cache_destroy(&file->cache);
    block_volume_put(file->volume);
    kfree(file);
}

// 0, -EBUSY, -EROFS, -ENODEV, or what the driver says. `holder` NULL: shared.
static int block_file_get(struct block_file *file, bool write, const void *holder)
{
    struct block_device *device = file->volume->device;
    int error = block_file_check(file);
    if (error == 0 && write && block_volume_is_read_only(file->volume))
        error = -EROFS;
    if (error == 0 && device->ops->open != NULL)
        error = device->ops->open(device, write);
    if (error != 0)
        return error;
    mutex_lock(&file->lock);
    if (file->gone)
        error = -ENODEV;
    else if (holder != NULL && file->holder != NULL && file->holder != holder)
        error = -EBUSY;
    if (error == 0) {
        file->opens++;
        file->writers += write;
        if (holder != NULL) {
            file->holder = holder;
            file->holds++;
        }
        if (file->opens == 1)
            block_volume_get(file->volume); // as a sign that it is in use
    }
    mutex_unlock(&file->lock);
    if (error != 0 && device->ops->close != NULL)
        device->ops->close(device, write);
    return error;
}

static void block_file_put(struct block_file *file, bool write, const void *holder)
{
    struct block_device *device = file->volume->device;
    block_device_get(device);
    mutex_lock(&file->lock);
    assert(file->opens != 0);
    if (file->opens == 1 && file->cache.count != 0) {
        // The last one writes everything; whoever opens next reads from the device.
        if (page_cache_sync(&file->cache) != 0)
            log_error("block: %s: data could not be written", file->volume->name);
        (void)page_cache_invalidate(&file->cache, 0, UINT64_MAX);
    }
    file->opens--;
    file->writers -= write;
    if (holder != NULL && --file->holds == 0)
        file->holder = NULL;
    const bool last = file->opens == 0;
    const bool free = last && file->gone;
    mutex_unlock(&file->lock);
    if (last)
        block_volume_put(file->volume);
    if (free)
        block_file_free(file);
    if (device->ops->close != NULL)
        device->ops->close(device, write);
    block_device_put(device);
}

static void special_release(struct file *open_file)
{
    const void *holder = open_file->mode & FILE_EXCLUSIVE ? open_file : NULL;
    block_file_put(block_file_of(open_file), open_file->mode & FILE_WRITE, holder);
}

static void special_harvest(struct file *open_file)
{
    (void)block_volume_poll(block_file_of(open_file)->volume);
}

static const struct file_ops special_ops = {
    .read = special_read,
    .write = special_write,
    .submit = block_direct_submit,
    .harvest = special_harvest,
    .seek = special_seek,
    .ioctl = block_file_ioctl,
    .map = special_map,
    .sync = special_sync,
    .fallocate = block_file_fallocate,
    .release = special_release,
};

static int special_open(struct file *open_file)
{
    struct block_file *file = block_file_of(open_file);
    const void *holder = open_file->mode & FILE_EXCLUSIVE ? open_file : NULL;
    int error = block_file_get(file, open_file->mode & FILE_WRITE, holder);
    if (error != 0)
        open_file->ops = NULL; // there is nothing to release
    __atomic_store_n(&file->cache.size_bytes, block_volume_bytes(file->volume), __ATOMIC_RELAXED);
    return error;
}

// ---- volumes come and go ----

static struct character_device node_of(struct block_file *file)
{
    const struct block_volume *volume = file->volume;
    return (struct character_device){
        .block = true,
        .name = volume->name,
        .major = volume->major,
        .minor = volume->minor,
        .mode = 0660,
        .ops = &special_ops,
        .open = special_open,
        .context = file,
    };
}

static int volume_added(struct block_volume *volume)
{
    struct block_file *file = kzalloc(sizeof(*file));
    if (file == NULL)
        return -ENOMEM;
    file->volume = volume;
    file->read_ahead_pages = READ_AHEAD_DEFAULT_PAGES;
    file->block_bytes = PAGE_SIZE;
    mutex_init(&file->lock);
    page_cache_init(&file->cache, &cache_ops, file);
    file->cache.size_bytes = block_volume_bytes(volume);
    volume->file_data = file;
    const struct character_device node = node_of(file);
    int error = device_register(&node);
    if (error == 0) {
        error = block_sysfs_add(file);
        if (error != 0)
            device_unregister(&node);
    }
    if (error != 0) {
        volume->file_data = NULL;
        kfree(file);
    }
    return error;
}

static void volume_removed(struct block_volume *volume)
{
    struct block_file *file = volume->file_data;
    if (file == NULL)
        return;
    const struct character_device node = node_of(file);
    device_unregister(&node);
    block_sysfs_remove(file);
    volume->file_data = NULL;
    block_volume_get(volume); // block_file_free() gives it back
    mutex_lock(&file->lock);
    file->gone = true;
    const bool unused = file->opens == 0;
    mutex_unlock(&file->lock);
    if (unused)
        block_file_free(file);
}

static void volume_resized(struct block_volume *volume)
{
    struct block_file *file = volume->file_data;
    const uint64_t size = block_volume_bytes(volume);
    if (file == NULL)
        return;
    if (size < file->cache.size_bytes)
        page_cache_truncate(&file->cache, size);
    else
        __atomic_store_n(&file->cache.size_bytes, size, __ATOMIC_RELEASE);
}

void block_file_init(void)
{
    block_volume_added = volume_added;
    block_volume_removed = volume_removed;
    block_volume_resized = volume_resized;
    block_proc_register();
    block_loop_register();
}

// ---- mounts ----

int block_file_open_exclusive(
    const char *path, bool write, const void *holder, struct block_file **result)
{
    struct file *open_file;
    int error = vfs_open(AT_FDCWD, path, write ? O_RDWR : O_RDONLY, 0, &open_file);
    if (error != 0)
        return error;
    struct block_file *file = block_file_of(open_file);
    error = open_file->ops == &special_ops ? 0 : -ENOTBLK;
    if (error == 0)
        error = block_file_get(file, write, holder);
    if (error == 0)
        *result = file;
    file_put(open_file);
    return error;
}

void block_file_close_exclusive(struct block_file *file, bool write, const void *holder)
{
    block_file_put(file, write, holder);
}

struct block_volume *block_file_volume(struct block_file *file)
{
    return file->volume;
}

struct page_cache *block_file_cache(struct block_file *file)
{
    return &file->cache;
}
