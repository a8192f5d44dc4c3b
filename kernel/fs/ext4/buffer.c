// SPDX-License-Identifier: MIT
// Buffers: the metadata blocks that are in memory.
//
// A buffer is in the table from its first use until it is dropped for lack of room or its block is
// freed. Each list it is on (running, committed) counts as a user, so what may be dropped is
// exactly what is on `lru`. The content of a block that a node or a directory owns is changed only
// by who holds that one's lock for writing, within a handle; a commit waits for all handles, so
// nothing changes under it.
//
// The page cache of the block special file would not do: it writes a dirty page whenever it likes,
// and a journal lives from deciding that.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/ext4/core.h"

static void buffer_free(struct ext4_fs *fs, struct ext4_buffer *buffer)
{
    struct ext4_device *device = fs->device;
    assert(buffer->refcount == 0);
    device->ops->memory_free(device->context, buffer->data, fs->block_bytes);
    base_free(buffer);
}

static struct ext4_buffer *buffer_create(struct ext4_fs *fs, uint64_t block)
{
    struct ext4_device *device = fs->device;
    struct ext4_buffer *buffer = base_alloc(sizeof(*buffer));
    if (buffer == NULL)
        return NULL;
    buffer->data = device->ops->memory_alloc(device->context, fs->block_bytes);
    if (buffer->data == NULL) {
        base_free(buffer);
        return NULL;
    }
    buffer->block = block;
    buffer->refcount = 1;
    mutex_init(&buffer->lock);
    return buffer;
}

// Drops what has been unused longest while there are too many. Under buffer_lock.
static void shrink(struct ext4_fs *fs)
{
    while (fs->buffer_count > fs->buffer_limit && !list_is_empty(&fs->lru)) {
        struct ext4_buffer *oldest = list_first_entry(&fs->lru, struct ext4_buffer, lru);
        list_remove(&oldest->lru);
        (void)xarray_erase(&fs->buffers, oldest->block);
        fs->buffer_count--;
        buffer_free(fs, oldest);
    }
}

static struct ext4_buffer *buffer_find(struct ext4_fs *fs, uint64_t block)
{
    spin_lock(&fs->buffer_lock);
    struct ext4_buffer *buffer = xarray_load(&fs->buffers, block);
    if (buffer != NULL && buffer->refcount++ == 0)
        list_remove(&buffer->lru);
    spin_unlock(&fs->buffer_lock);
    return buffer;
}

static int buffer_get(struct ext4_fs *fs, uint64_t block, struct ext4_buffer **result)
{
    for (;;) {
        *result = buffer_find(fs, block);
        if (*result != NULL)
            return 0;
        struct ext4_buffer *buffer = buffer_create(fs, block);
        if (buffer == NULL)
            return -ENOMEM;
        spin_lock(&fs->buffer_lock);
        const int error = xarray_insert(&fs->buffers, block, buffer);
        if (error == 0) {
            fs->buffer_count++;
            shrink(fs);
        }
        spin_unlock(&fs->buffer_lock);
        if (error == 0) {
            *result = buffer;
            return 0;
        }
        buffer->refcount = 0;
        buffer_free(fs, buffer);
        if (error != -EEXIST)
            return error;
    }
}

void ext4_buffer_put(struct ext4_fs *fs, struct ext4_buffer *buffer)
{
    spin_lock(&fs->buffer_lock);
    assert(buffer->refcount != 0);
    const bool last = --buffer->refcount == 0;
    const bool gone = last && buffer->stale;
    if (last && !gone) {
        list_add_tail(&fs->lru, &buffer->lru);
        shrink(fs);
    }
    spin_unlock(&fs->buffer_lock);
    if (gone)
        buffer_free(fs, buffer);
}

// Reads and checks it. Under buffer->lock.
static int buffer_fill(struct ext4_fs *fs, struct ext4_buffer *buffer, enum ext4_kind kind,
    const struct ext4_node *owner)
{
    struct ext4_device *device = fs->device;
    int error = device->ops->read(device->context, buffer->block, fs->block_bytes, buffer->data);
    if (error != 0)
        return error;
    buffer->kind = kind;
    buffer->owner = owner != NULL ? owner->seed : 0;
    error = ext4_block_check(fs, buffer);
    if (error == 0)
        buffer->uptodate = true;
    return error;
}

int ext4_buffer_read(struct ext4_fs *fs, uint64_t block, enum ext4_kind kind,
    const struct ext4_node *owner, struct ext4_buffer **result)
{
    struct ext4_buffer *buffer;
    if (block >= fs->block_count)
        return ext4_corrupted(fs, "block %lu is beyond the end", (unsigned long)block);
    int error = buffer_get(fs, block, &buffer);
    if (error != 0)
        return error;
    mutex_lock(&buffer->lock);
    if (!buffer->uptodate)
        error = buffer_fill(fs, buffer, kind, owner);
    else if (buffer->kind != kind || buffer->owner != (owner != NULL ? owner->seed : 0))
        error = ext4_corrupted(fs, "block %lu has two uses", (unsigned long)block);
    mutex_unlock(&buffer->lock);
    if (error != 0) {
        ext4_buffer_put(fs, buffer);
        return error;
    }
    *result = buffer;
    return 0;
}

int ext4_buffer_new(struct ext4_fs *fs, uint64_t block, enum ext4_kind kind,
    const struct ext4_node *owner, struct ext4_buffer **result)
{
    struct ext4_buffer *buffer;
    assert(block < fs->block_count);
    int error = buffer_get(fs, block, &buffer);
    if (error != 0)
        return error;
    mutex_lock(&buffer->lock);
    memset(buffer->data, 0, fs->block_bytes);
    buffer->kind = kind;
    buffer->owner = owner != NULL ? owner->seed : 0;
    buffer->uptodate = true;
    mutex_unlock(&buffer->lock);
    *result = buffer;
    return 0;
}

bool ext4_buffer_forget(struct ext4_fs *fs, uint64_t block)
{
    spin_lock(&fs->buffer_lock);
    struct ext4_buffer *buffer = xarray_load(&fs->buffers, block);
    bool committed = false;
    bool unused = false;
    if (buffer != NULL) {
        if (buffer->refcount == 0)
            list_remove(&buffer->lru);
        if (list_is_linked(&buffer->running)) {
            list_remove(&buffer->running);
            fs->running_count--;
            buffer->refcount--;
        }
        if (list_is_linked(&buffer->committed)) {
            list_remove(&buffer->committed);
            fs->committed_count--;
            buffer->refcount--;
            committed = true;
        }
        (void)xarray_erase(&fs->buffers, block);
        fs->buffer_count--;
        buffer->stale = true;
        unused = buffer->refcount == 0;
    }
    spin_unlock(&fs->buffer_lock);
    if (unused)
        buffer_free(fs, buffer);
    return committed;
}

void ext4_buffers_destroy(struct ext4_fs *fs)
{
    uint64_t block;
    struct ext4_buffer *buffer;
    xarray_for_each(&fs->buffers, block, buffer)
    {
        // After an error there are blocks that will not be written any more.
        if (list_is_linked(&buffer->running))
            buffer->refcount--;
        if (list_is_linked(&buffer->committed))
            buffer->refcount--;
        (void)xarray_erase(&fs->buffers, block);
        buffer_free(fs, buffer);
    }
    xarray_destroy(&fs->buffers);
}
