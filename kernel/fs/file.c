// SPDX-License-Identifier: MIT
// Open files: their life, and reading and writing as the system calls share it.
#include "kernel/fs/file.h"
#include "kernel/base/assert.h"
#include "kernel/base/hash.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/async.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/file_private.h"
#include "kernel/fs/map.h"
#include "kernel/fs/inode.h"
#include "kernel/fs/map.h"
#include "kernel/fs/lock.h"
#include "kernel/fs/mount.h"
#include "kernel/fs/poll.h"
#include "kernel/fs/vfs.h"
#include "kernel/process/credentials.h"
#include "kernel/process/task.h"
#include "mm/slab.h"

int (*vfs_fifo_open)(struct pipe **slot, struct file *file);
void (*vfs_fifo_destroy)(struct pipe *pipe);
void (*vfs_watches_destroy)(struct inode *inode);
void (*vfs_notify)(struct inode *inode, uint32_t mask, uint32_t cookie, const char *name);
void (*file_poll_links_release)(struct file *file);

static struct slab_cache *file_cache;
static uint64_t open_count;       // files in use, for /proc/sys/fs/file-nr; atomic
static uint64_t anonymous_number; // atomic

void file_init(void)
{
    file_cache = slab_cache_create("file", sizeof(struct file), 0);
    assert(file_cache != NULL); // at boot
}

uint64_t file_open_count(void)
{
    return __atomic_load_n(&open_count, __ATOMIC_RELAXED);
}

struct file *file_alloc(uint32_t open_flags)
{
    struct file *file = slab_alloc(file_cache, PAGE_ALLOC_ZERO);
    if (file == NULL)
        return NULL;
    __atomic_fetch_add(&open_count, 1, __ATOMIC_RELAXED);
    file->refcount = 1;
    // O_NOCTTY stays until the device has been opened, see namei_open_path().
    file->flags = open_flags & ~(uint32_t)(O_CREAT | O_EXCL | O_TRUNC | O_CLOEXEC);
    static const uint32_t modes[] = {
        FILE_READ, FILE_WRITE, FILE_READ | FILE_WRITE, 0}; // 3: for ioctl only
    file->mode = modes[open_flags & O_ACCMODE];
    if (unlikely((open_flags & (O_EXCL | O_CREAT)) == O_EXCL))
        file->mode |= FILE_EXCLUSIVE;
    mutex_init(&file->offset_lock);
    spin_lock_init(&file->lock);
    list_init(&file->poll_links);
    if (thread_current()->flags & (THREAD_FLAG_KERNEL | THREAD_FLAG_IDLE))
        file->cred = credentials_get(&credentials_root);
    else
        file->cred = credentials_get(credentials_current());
    return file;
}

struct file *file_create_anonymous(
    const char *name, const struct file_ops *ops, void *private_data, uint32_t open_flags)
{
    struct file *file = file_alloc(open_flags);
    if (file == NULL)
        return NULL;
    file->ops = ops;
    file->private_data = private_data;
    file->anonymous_name = name;
    // Both ends of a pipe are one inode to programs: the number comes from what they share.
    if (strcmp(name, "pipe") == 0)
        file->anonymous_number = hash_u64((uintptr_t)private_data ^ dentry_hash_seed) >> 36;
    else
        file->anonymous_number = __atomic_add_fetch(&anonymous_number, 1, __ATOMIC_RELAXED);
    return file;
}

void file_discard(struct file *file)
{
    file->ops = NULL;
    file_put(file);
}

static void file_free(struct rcu_head *head)
{
    slab_free(file_cache, container_of(head, struct file, rcu));
}

// The last reference is gone.
static void file_destroy(struct file *file)
{
    struct inode *inode = file->inode;
    if (!list_is_empty(&file->poll_links) && file_poll_links_release != NULL)
        file_poll_links_release(file);
    if (unlikely(file->async != NULL || file->owner_process != NULL))
        file_async_release(file);
    if (inode != NULL && unlikely(inode->locks != NULL))
        file_locks_release(file);
    if (unlikely(vfs_notify != NULL) && inode != NULL && !(file->mode & FILE_PATH))
        file_notify_close(file);
    if (file->ops != NULL && file->ops->release != NULL)
        file->ops->release(file);
    if (file->mode & FILE_MOUNT_WRITER) {
        inode_write_access_put(inode);
        mount_write_put(file->path.mount);
    }
    if (file->mode & FILE_EXEC)
        inode_write_allow(inode);
    if (file->path.dentry != NULL)
        path_put(&file->path);
    else if (inode != NULL)
        inode_put(inode);
    credentials_put(file->cred);
    __atomic_fetch_sub(&open_count, 1, __ATOMIC_RELAXED);
    rcu_call(&file->rcu, file_free);
}

void file_put(struct file *file)
{
    uint32_t left = __atomic_sub_fetch(&file->refcount, 1, __ATOMIC_ACQ_REL);
    assert(left != UINT32_MAX);
    if (left == 0)
        file_destroy(file);
}

uint64_t file_number(const struct file *file)
{
    return file->inode != NULL ? file->inode->number : file->anonymous_number;
}

uint64_t vfs_file_size(const struct file *file)
{
    return file->inode != NULL ? inode_size(file->inode) : 0;
}

uint32_t file_poll(struct file *file, struct poll_table *table)
{
    if (file->ops->poll != NULL)
        return file->ops->poll(file, table);
    return EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM;
}

bool file_position_lock(struct file *file)
{
    // One reference is the caller's descriptor; only with others can somebody else use the position
    // now.
    if (likely(!(file->mode & FILE_SEEKABLE) ||
               __atomic_load_n(&file->refcount, __ATOMIC_ACQUIRE) == 1))
        return false;
    mutex_lock(&file->offset_lock);
    return true;
}

int64_t file_read(struct file *file, struct io_iter *to, uint64_t *offset)
{
    if (unlikely(!(file->mode & FILE_READ)))
        return -EBADF;
    if (unlikely(file->ops->read == NULL))
        return file->inode != NULL && inode_is_directory(file->inode) ? -EISDIR : -EINVAL;
    int64_t done = file->ops->read(file, to, offset);
    if (unlikely(done > 0 && file->inode != NULL && file->path.dentry != NULL))
        file_notify(file, IN_ACCESS);
    return done;
}

int64_t file_write(struct file *file, struct io_iter *from, uint64_t *offset)
{
    if (unlikely(!(file->mode & FILE_WRITE)))
        return -EBADF;
    if (unlikely(file->ops->write == NULL))
        return -EINVAL;
    int64_t done = file->ops->write(file, from, offset);
    if (unlikely(done > 0 && file->inode != NULL && file->path.dentry != NULL))
        file_notify(file, IN_MODIFY);
    return done;
}

int64_t file_read_kernel(struct file *file, void *buffer, size_t len_bytes, uint64_t offset)
{
    struct io_iter iter;
    iter_init_kernel(&iter, buffer, len_bytes);
    size_t done = 0;
    while (done < len_bytes) {
        int64_t count = file_read(file, &iter, &offset);
        if (count < 0)
            return done != 0 ? (int64_t)done : count;
        if (count == 0)
            break;
        done += (size_t)count;
    }
    return (int64_t)done;
}

int64_t file_write_kernel(struct file *file, const void *buffer, size_t len_bytes, uint64_t offset)
{
    struct io_iter iter;
    iter_init_kernel(&iter, (void *)(uintptr_t)buffer, len_bytes);
    return file_write(file, &iter, &offset);
}

// How many bytes a regular file may be written at *offset: cuts iter->count. 0, -EFBIG (with
// SIGXFSZ).
int file_write_limit(struct file *file, struct io_iter *from, uint64_t offset)
{
    uint64_t limit = file->inode->superblock ? file->inode->superblock->max_file_bytes : INT64_MAX;
    uint64_t process =
        thread_current()->flags & THREAD_FLAG_KERNEL ? UINT64_MAX : process_limit(RLIMIT_FSIZE);
    if (unlikely(offset >= process && from->count != 0)) {
        (void)signal_send_task(task_current(), SIGXFSZ, NULL);
        return -EFBIG;
    }
    limit = MIN(limit, process);
    if (offset >= limit && from->count != 0)
        return -EFBIG;
    if (from->count > limit - offset)
        from->count = limit - offset;
    return 0;
}
