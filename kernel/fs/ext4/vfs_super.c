// SPDX-License-Identifier: MIT
// Mounting: ext2, ext3 and ext4 are one file system with different features.
//
// A thread of each mount that can be written to commits every COMMIT_NS, so that what nobody asks
// to be durable becomes so soon.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/block/file/file.h"
#include "kernel/core/errno.h"
#include "kernel/core/log.h"
#include "kernel/core/time.h"
#include "kernel/core/work.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/ext4/ext4.h"
#include "kernel/fs/ext4/vfs.h"
#include "kernel/fs/mount_options.h"
#include "mm/page.h"
#include "mm/slab.h"

#define COMMIT_NS (5 * NS_PER_SECOND)

static const char holder; // of devices: any mount of ours
static struct list_node mounts = LIST_INIT(mounts);
static struct mutex mounts_lock = MUTEX_INIT(mounts_lock, "ext4: mounts"); // and mounting itself

// ---- committing now and then ----

static bool has_changes(struct ext4_fs *fs)
{
    return __atomic_load_n(&fs->running_count, __ATOMIC_RELAXED) != 0 || fs->counts_changed;
}

static void commit_thread(void *argument)
{
    struct ext4_mount *mount = argument;
    while (!__atomic_load_n(&mount->stop, __ATOMIC_ACQUIRE)) {
        (void)wait_event_state(&mount->thread_queue,
            __atomic_load_n(&mount->stop, __ATOMIC_ACQUIRE), THREAD_UNINTERRUPTIBLE, false,
            time_monotonic_ns() + COMMIT_NS);
        if (mount->fs->error != 0)
            continue;
        (void)ext4_inodes_write(mount);
        if (has_changes(mount->fs))
            (void)ext4_commit(mount->fs, ext4_running_id(mount->fs));
    }
    completion_complete(&mount->stopped);
}

static int start_thread(struct ext4_mount *mount)
{
    completion_init(&mount->stopped);
    mount->stop = false;
    int error = kthread_create(NULL, "ext4-commit", commit_thread, mount);
    mount->thread_runs = error == 0;
    return error;
}

static void stop_thread(struct ext4_mount *mount)
{
    if (!mount->thread_runs)
        return;
    __atomic_store_n(&mount->stop, true, __ATOMIC_RELEASE);
    wait_wake_all(&mount->thread_queue);
    completion_wait(&mount->stopped);
    mount->thread_runs = false;
}

// ---- options ----

// Options that change nothing here, or ask for what is done anyway.
static int parse_options(const char *options)
{
    static const char *const known[] = {"rw", "ro", "defaults", "acl", "noacl", "user_xattr",
        "nouser_xattr", "barrier", "delalloc", "nodelalloc", "relatime", "noatime", "errors",
        "data", "commit", "discard", "nodiscard", "block_validity", "init_itable", "noinit_itable",
        "auto_da_alloc", "dioread_nolock", "dioread_lock"};
    struct mount_option option;
    while (mount_option_next(&options, &option)) {
        bool found = false;
        for (size_t i = 0; i < ARRAY_SIZE(known) && !found; i++)
            found = mount_option_is(&option, known[i]);
        if (!found)
            return -EINVAL;
        if (mount_option_is(&option, "data") &&
            !string_equals_bytes("ordered", option.value, option.value_len))
            return -EINVAL;
    }
    return 0;
}

// ---- superblock operations ----

static void statfs(struct superblock *superblock, struct statfs_info *info)
{
    struct ext4_mount *mount = ext4_mount_of(superblock);
    struct ext4_fs *fs = mount->fs;
    mutex_lock(&fs->alloc_lock);
    info->block_size = fs->block_bytes;
    info->blocks = fs->block_count - mount->overhead;
    info->blocks_free = fs->free_blocks;
    info->blocks_reserved = fs->reserved_blocks + fs->internal_blocks;
    info->files = fs->inode_count;
    info->files_free = fs->free_inodes;
    mutex_unlock(&fs->alloc_lock);
}

static int sync(struct superblock *superblock)
{
    struct ext4_mount *mount = ext4_mount_of(superblock);
    if (mount->fs->read_only)
        return 0;
    int error = ext4_inodes_write(mount);
    return error == 0 ? ext4_commit(mount->fs, ext4_running_id(mount->fs)) : error;
}

static int become_read_only(struct ext4_mount *mount)
{
    page_cache_write_all();
    int error = ext4_inodes_write(mount);
    stop_thread(mount);
    if (error == 0)
        error = ext4_fs_stop(mount->fs);
    return error;
}

// The rest of remounting is the VFS's.
static int remount(struct superblock *superblock, const struct mount_request *request)
{
    struct ext4_mount *mount = ext4_mount_of(superblock);
    int error = parse_options(request->options);
    if (error != 0)
        return error;
    if (request->read_only)
        return mount->fs->read_only ? 0 : become_read_only(mount);
    if (!mount->fs->read_only)
        return 0;
    error = ext4_fs_start(mount->fs, true);
    return error == 0 ? start_thread(mount) : error;
}

static void mount_free(struct ext4_mount *mount, bool write)
{
    if (mount->fs != NULL)
        ext4_fs_destroy(mount->fs);
    if (mount->file != NULL)
        block_file_close_exclusive(mount->file, write, &holder);
    xarray_destroy(&mount->inodes);
    kfree(mount);
}

static void destroy(struct superblock *superblock)
{
    struct ext4_mount *mount = ext4_mount_of(superblock);
    mutex_lock(&mounts_lock);
    list_remove(&mount->node);
    stop_thread(mount);
    int error = ext4_fs_stop(mount->fs);
    if (error != 0)
        log_error("ext4: %s: not unmounted cleanly (error %d)", mount->device.name, -error);
    mount_free(mount, !mount->device.read_only);
    mutex_unlock(&mounts_lock);
}

static const struct superblock_ops superblock_ops = {
    .statfs = statfs,
    .sync = sync,
    .remount = remount,
    .destroy = destroy,
};

// ---- mounting ----

static uint64_t overhead_of(const struct ext4_fs *fs)
{
    const uint64_t tables = fs->inodes_per_group / (fs->block_bytes / fs->inode_bytes);
    uint64_t blocks = fs->first_data_block;
    for (uint32_t i = 0; i < fs->group_count; i++)
        blocks += ext4_group_base_blocks(fs, i) + 2 + tables;
    return MIN(blocks, fs->block_count);
}

static int open_fs(struct ext4_mount *mount, bool read_only)
{
    struct page_statistics statistics;
    if (block_volume_limits(mount->volume)->logical_block_bytes > EXT4_SUPER_OFFSET)
        return -EINVAL;
    int error = ext4_fs_open(&mount->device, &mount->fs);
    if (error != 0)
        return error;
    page_statistics_read(&statistics);
    const uint64_t memory = statistics.total_pages * PAGE_SIZE / 32;
    mount->fs->buffer_limit = MAX(memory / mount->fs->block_bytes, UINT64_C(64));
    error = ext4_fs_start(mount->fs, !read_only);
    if (error == 0 && !read_only)
        error = ext4_orphans_clean(mount->fs);
    mount->overhead = overhead_of(mount->fs);
    return error;
}

static int make_root(struct superblock *superblock, struct ext4_mount *mount)
{
    struct inode *root;
    int error = ext4_inode_get(mount, EXT4_ROOT_INODE, &root);
    if (error != 0)
        return error;
    if (!S_ISDIR(root->mode)) {
        inode_put(root);
        return ext4_corrupted(mount->fs, "the root is no directory");
    }
    superblock->root = dentry_create_root(superblock, root);
    return superblock->root != NULL ? 0 : -ENOMEM;
}

// The superblock of a volume that is mounted already; NULL.
static struct superblock *find_mounted(const struct block_volume *volume)
{
    struct ext4_mount *mount;
    list_for_each_entry (mount, &mounts, node)
        if (mount->volume == volume)
            return mount->superblock;
    return NULL;
}

static struct ext4_mount *mount_alloc(void)
{
    struct ext4_mount *mount = kzalloc(sizeof(*mount));
    if (mount == NULL)
        return NULL;
    spin_lock_init(&mount->lock);
    xarray_init(&mount->inodes);
    list_init(&mount->dirty);
    wait_queue_init(&mount->inode_queue);
    wait_queue_init(&mount->thread_queue);
    return mount;
}

static int mount_new(const struct filesystem_type *type, struct ext4_mount *mount,
    const struct mount_request *request, struct superblock **result)
{
    ext4_device_init(mount);
    int error = open_fs(mount, request->read_only);
    struct superblock *superblock =
        error == 0 ? superblock_create(type, &superblock_ops, EXT4_SUPER_MAGIC) : NULL;
    if (superblock == NULL) {
        if (error == 0 && ext4_fs_stop(mount->fs) != 0)
            log_error("ext4: %s: not unmounted cleanly", mount->device.name);
        return error != 0 ? error : -ENOMEM;
    }
    superblock->private_data = mount;
    superblock->max_file_bytes = mount->fs->size_max_extents;
    if (request->read_only)
        superblock->flags |= SUPERBLOCK_READ_ONLY;
    mount->superblock = superblock;
    list_add_tail(&mounts, &mount->node);
    *result = superblock;
    error = make_root(superblock, mount);
    if (error == 0 && !request->read_only)
        error = start_thread(mount);
    return error;
}

static int mount_locked(const struct filesystem_type *type, const struct mount_request *request,
    struct superblock **result)
{
    struct ext4_mount *mount = mount_alloc();
    *result = NULL;
    if (mount == NULL)
        return -ENOMEM;
    bool write = true;
    int error = block_file_open_exclusive(request->source, write, &holder, &mount->file);
    if (error == -EROFS && request->read_only) {
        write = false;
        error = block_file_open_exclusive(request->source, write, &holder, &mount->file);
    }
    if (error == 0) {
        mount->volume = block_file_volume(mount->file);
        struct superblock *mounted = find_mounted(mount->volume);
        if (mounted != NULL) {
            error = superblock_get_unless_dead(mounted) ? 0 : -EBUSY;
            *result = error == 0 ? mounted : NULL;
            mount_free(mount, write);
            return error;
        }
        error = mount_new(type, mount, request, result);
    }
    if (error != 0 && *result == NULL)
        mount_free(mount, write);
    return error;
}

static int ext4_mount(const struct filesystem_type *type, const struct mount_request *request,
    struct superblock **result)
{
    int error = parse_options(request->options);
    if (error != 0)
        return error;
    mutex_lock(&mounts_lock);
    error = mount_locked(type, request, result);
    mutex_unlock(&mounts_lock);
    if (error != 0 && *result != NULL) { // without the lock, which its end takes
        superblock_put(*result);
        *result = NULL;
    }
    return error;
}

void ext4_init(void)
{
    static struct filesystem_type types[] = {
        {.name = "ext4", .needs_device = true, .user_mountable = true, .mount = ext4_mount},
        {.name = "ext3", .needs_device = true, .user_mountable = true, .mount = ext4_mount},
        {.name = "ext2", .needs_device = true, .user_mountable = true, .mount = ext4_mount},
    };
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        filesystem_register(&types[i]);
}
