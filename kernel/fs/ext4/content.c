// SPDX-License-Identifier: MIT
// What happens to the map of a file when it is written to.
//
// write(2) reserves: the blocks are allocated at once, so that a full disk is noticed there, but
// as unwritten ones, which read as zeroes. When the data goes out they become written, and the
// size on the disk grows, in a transaction that waits for exactly these writes (journal.c). So a
// crash at any moment shows a file either with the data or without; never with what was in the
// blocks before.
//
// Maps of pointers (ext2, ext3) know no unwritten blocks: there the blocks are allocated when the
// data goes out.
#include "kernel/base/assert.h"
#include "kernel/core/errno.h"
#include "kernel/fs/ext4/core.h"

// After -ENOSPC: are there blocks that only wait for a commit? Then commits.
static bool room_after_commit(struct ext4_fs *fs)
{
    mutex_lock(&fs->alloc_lock);
    const bool pending = fs->pending_blocks != 0;
    mutex_unlock(&fs->alloc_lock);
    return pending && ext4_commit(fs, ext4_running_id(fs)) == 0;
}

// One run of a hole. *count: blocks that have a place now.
static int reserve_some(
    struct ext4_node *node, uint32_t first, uint32_t most, uint32_t flags, uint32_t *count)
{
    struct ext4_handle handle;
    struct ext4_run run;
    int error = ext4_begin(node->fs, EXT4_CREDITS, &handle);
    if (error != 0)
        return error;
    rwlock_write_lock(&node->map_lock);
    error = ext4_map_find(node, first, most, &run);
    if (error == 0 && run.physical == 0)
        error = ext4_map_allocate(&handle, node, first, run.count, true, flags, &run);
    rwlock_write_unlock(&node->map_lock);
    if (error == 0)
        error = ext4_node_write(&handle, node);
    ext4_end(&handle);
    *count = run.count;
    return error;
}

int ext4_content_reserve(struct ext4_node *node, uint32_t first, uint32_t count, uint32_t flags)
{
    bool retried = false;
    if (!ext4_node_has_extents(node))
        return 0;
    while (count != 0) {
        struct ext4_run run;
        uint32_t done;
        rwlock_read_lock(&node->map_lock);
        int error = ext4_map_find(node, first, count, &run);
        rwlock_read_unlock(&node->map_lock);
        done = run.count;
        if (error == 0 && run.physical == 0)
            error = reserve_some(node, first, count, flags, &done);
        if (error == -ENOSPC && !retried && room_after_commit(node->fs)) {
            retried = true;
            continue;
        }
        if (error != 0)
            return error;
        first += done;
        count -= done;
    }
    return 0;
}

// Within a handle: the run becomes, or is made, written.
static int make_written(struct ext4_handle *handle, struct ext4_node *node, uint32_t first,
    uint32_t count, struct ext4_run *run)
{
    int error = ext4_map_find(node, first, count, run);
    if (error == 0 && run->physical == 0)
        error = ext4_map_allocate(handle, node, first, run->count, false, EXT4_ALLOC_ROOT, run);
    else if (error == 0 && run->unwritten)
        error = ext4_map_convert(handle, node, first, run->count);
    return error;
}

static void in_flight(struct ext4_node *node)
{
    __atomic_fetch_add(&node->in_flight, 1, __ATOMIC_RELAXED);
}

static int write_begin_changing(
    struct ext4_node *node, uint32_t first, uint32_t count, uint64_t size, struct ext4_run *run)
{
    struct ext4_handle handle;
    int error = ext4_begin(node->fs, EXT4_CREDITS, &handle);
    if (error != 0)
        return error;
    rwlock_write_lock(&node->map_lock);
    error = make_written(&handle, node, first, count, run);
    if (error == 0) {
        const uint64_t end = ((uint64_t)first + run->count) << node->fs->block_bits;
        node->size = MAX(node->size, MIN(size, end));
        in_flight(node);
        ext4_data_begin(node->fs, 1);
    }
    rwlock_write_unlock(&node->map_lock);
    const int written = ext4_node_write(&handle, node);
    ext4_end(&handle);
    if (error == 0 && written != 0) {
        ext4_content_write_end(node, true);
        error = written;
    }
    return error;
}

int ext4_content_write_begin(struct ext4_node *node, uint32_t first, uint32_t count, uint64_t size,
    struct ext4_run *run, bool *ordered)
{
    assert(count != 0);
    rwlock_read_lock(&node->map_lock);
    int error = ext4_map_find(node, first, count, run);
    const uint64_t end = ((uint64_t)first + run->count) << node->fs->block_bits;
    *ordered = run->physical == 0 || run->unwritten || MIN(size, end) > node->size;
    if (error == 0 && !*ordered)
        in_flight(node);
    rwlock_read_unlock(&node->map_lock);
    if (error != 0 || !*ordered)
        return error;
    error = write_begin_changing(node, first, count, size, run);
    if (error == -ENOSPC && room_after_commit(node->fs))
        error = write_begin_changing(node, first, count, size, run);
    return error;
}

void ext4_content_write_end(struct ext4_node *node, bool ordered)
{
    struct ext4_fs *fs = node->fs;
    // The node may be gone as soon as the count is zero; the file system waits for what is ordered,
    // and its queue stays.
    const bool last = __atomic_sub_fetch(&node->in_flight, 1, __ATOMIC_SEQ_CST) == 0;
    if (last)
        wait_wake_all(&fs->data_queue);
    if (ordered)
        ext4_data_end(fs, 1);
}

int ext4_content_resize(struct ext4_node *node, uint64_t size)
{
    struct ext4_fs *fs = node->fs;
    struct ext4_handle handle;
    int error = ext4_begin(fs, EXT4_CREDITS, &handle);
    if (error != 0)
        return error;
    rwlock_write_lock(&node->map_lock);
    node->size = size;
    rwlock_write_unlock(&node->map_lock);
    // Until all is freed a crash finds it on the list of orphans.
    error = node->links != 0 ? ext4_orphan_add(&handle, node) : 0;
    if (error == 0)
        error = ext4_node_write(&handle, node);
    ext4_end(&handle);
    const uint64_t first = DIV_ROUND_UP(size, fs->block_bytes);
    if (error == 0 && first < EXT4_BLOCKS_MAX)
        error = ext4_map_remove_all(node, (uint32_t)first, EXT4_BLOCKS_MAX - 1);
    if (node->links == 0 || error != 0)
        return error;
    error = ext4_begin(fs, EXT4_CREDITS, &handle);
    if (error == 0) {
        error = ext4_orphan_remove(&handle, node);
        if (error == 0)
            error = ext4_node_write(&handle, node);
        ext4_end(&handle);
    }
    return error;
}

int ext4_content_grow(struct ext4_node *node, uint64_t size)
{
    struct ext4_handle handle;
    int error = ext4_begin(node->fs, EXT4_CREDITS, &handle);
    if (error != 0)
        return error;
    rwlock_write_lock(&node->map_lock);
    node->size = MAX(node->size, size);
    rwlock_write_unlock(&node->map_lock);
    error = ext4_node_write(&handle, node);
    ext4_end(&handle);
    return error;
}
