// SPDX-License-Identifier: MIT
// Inodes: life, owners, times, and the permission check of every path component.
#include "kernel/fs/inode.h"
#include "kernel/base/assert.h"
#include "kernel/core/counter.h"
#include "kernel/core/errno.h"
#include "kernel/core/time.h"
#include "kernel/fs/lock.h"
#include "kernel/fs/mount.h"
#include "kernel/fs/vfs.h"
#include "kernel/fs/xattr.h"
#include "kernel/process/credentials.h"
#include "kernel/process/task.h"
#include "mm/page_cache.h"
#include "mm/slab.h"
#include <linux/capability.h>

static struct slab_cache *inode_cache;
static uint64_t anonymous_number; // atomic

COUNTER(inode, created);

void inode_init(void)
{
    inode_cache = slab_cache_create("inode", sizeof(struct inode), 0);
    assert(inode_cache != NULL); // at boot
}

static const struct credentials *inode_credentials(void)
{
    return thread_current()->flags & (THREAD_FLAG_KERNEL | THREAD_FLAG_IDLE)
               ? &credentials_root
               : credentials_current();
}

static struct inode *inode_alloc(uint32_t mode)
{
    struct inode *inode = slab_alloc(inode_cache, PAGE_ALLOC_ZERO);
    if (inode == NULL)
        return NULL;
    const struct credentials *cred = inode_credentials();
    int64_t now = time_realtime_ns();
    inode->mode = mode;
    inode->uid = cred->fsuid;
    inode->gid = cred->fsgid;
    inode->nlink = 1;
    inode->refcount = 1;
    inode->atime_ns = inode->mtime_ns = inode->ctime_ns = inode->birth_ns = now;
    spin_lock_init(&inode->attribute_lock);
    if (S_ISDIR(mode))
        rwlock_init(&inode->lock);
    else
        rwlock_init(&inode->lock); // a class of its own: files are locked below directories
    counter_add(inode, created, 1);
    return inode;
}

struct inode *inode_create(struct superblock *superblock, uint32_t mode)
{
    struct inode *inode = inode_alloc(mode);
    if (inode == NULL)
        return NULL;
    inode->superblock = superblock;
    inode->number = __atomic_add_fetch(&superblock->next_inode, 1, __ATOMIC_RELAXED);
    return inode;
}

struct inode *inode_create_anonymous(uint32_t mode)
{
    struct inode *inode = inode_alloc(mode);
    if (inode == NULL)
        return NULL;
    inode->flags = INODE_PSEUDO;
    inode->number = __atomic_add_fetch(&anonymous_number, 1, __ATOMIC_RELAXED);
    return inode;
}

static void inode_free(struct rcu_head *head)
{
    struct inode *inode = container_of(head, struct inode, rcu);
    if (inode->link_target != NULL)
        kfree(inode->link_target);
    kfree(inode->free_later);
    slab_free(inode_cache, inode);
}

void inode_put(struct inode *inode)
{
    uint32_t left = __atomic_sub_fetch(&inode->refcount, 1, __ATOMIC_ACQ_REL);
    assert(left != UINT32_MAX);
    if (left != 0)
        return;
    if (inode->pipe != NULL && vfs_fifo_destroy != NULL)
        vfs_fifo_destroy(inode->pipe);
    if (inode->watches != NULL && vfs_watches_destroy != NULL)
        vfs_watches_destroy(inode);
    if (inode->ops != NULL && inode->ops->evict != NULL)
        inode->ops->evict(inode);
    if (inode->locks != NULL)
        file_locks_destroy(inode->locks);
    if (inode->xattrs != NULL)
        xattrs_destroy(inode->xattrs);
    rcu_call(&inode->rcu, inode_free);
}

void inode_init_owner(struct inode *inode, const struct inode *directory)
{
    if (!(directory->mode & S_ISGID))
        return;
    inode->gid = directory->gid;
    if (S_ISDIR(inode->mode))
        inode->mode |= S_ISGID;
    else if ((inode->mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) &&
             !credentials_in_group(inode_credentials(), inode->gid) && !capable(CAP_FSETID))
        inode->mode &= ~(uint32_t)S_ISGID;
}

uint64_t inode_size(const struct inode *inode)
{
    if (inode->cache != NULL)
        return __atomic_load_n(&inode->cache->size_bytes, __ATOMIC_RELAXED);
    return inode->size_bytes;
}

// ---- permissions ----

static bool inode_capable(const struct credentials *cred, int capability)
{
    return cred->cap_effective >> capability & 1;
}

static inline bool mode_allows(uint32_t bits, uint32_t mask)
{
    return (mask & ~bits) == 0;
}

int inode_permission_for(const struct inode *inode, uint32_t mask, const struct credentials *cred)
{
    uint32_t mode = inode->mode;
    uint32_t bits;
    if (cred->fsuid == inode->uid)
        bits = mode >> 6;
    else if ((mode >> 3 & 7) != (mode & 7) && credentials_in_group(cred, inode->gid))
        bits = mode >> 3;
    else
        bits = mode;
    if (mode_allows(bits & 7, mask))
        return 0;
    if (S_ISDIR(mode)) {
        if (!(mask & MAY_WRITE) && inode_capable(cred, CAP_DAC_READ_SEARCH))
            return 0;
        return inode_capable(cred, CAP_DAC_OVERRIDE) ? 0 : -EACCES;
    }
    if (mask == MAY_READ && inode_capable(cred, CAP_DAC_READ_SEARCH))
        return 0;
    // Nobody executes a file without any x bit.
    if ((!(mask & MAY_EXEC) || mode & 0111) && inode_capable(cred, CAP_DAC_OVERRIDE))
        return 0;
    return -EACCES;
}

int inode_permission(struct inode *inode, uint32_t mask)
{
    if (mask & MAY_WRITE) {
        uint32_t type = inode->mode & S_IFMT;
        if (inode->superblock != NULL && inode->superblock->flags & SUPERBLOCK_READ_ONLY &&
            (type == S_IFREG || type == S_IFDIR || type == S_IFLNK))
            return -EROFS;
    }
    if (inode->ops != NULL && inode->ops->permission != NULL)
        return inode->ops->permission(inode, mask);
    if (mask == MAY_EXEC && (inode->mode & 0111) == 0111)
        return 0;
    return inode_permission_for(inode, mask, inode_credentials());
}

bool inode_owner_or_capable(const struct inode *inode)
{
    return inode_credentials()->fsuid == inode->uid || capable(CAP_FOWNER);
}

// ---- times and links ----

static inline void inode_note_change(struct inode *inode)
{
    if (unlikely(inode->flags & INODE_NOTES_CHANGES))
        inode->ops->changed(inode);
}

void inode_touch_modified(struct inode *inode)
{
    int64_t now = time_realtime_ns();
    spin_lock(&inode->attribute_lock);
    inode->mtime_ns = inode->ctime_ns = now;
    spin_unlock(&inode->attribute_lock);
    inode_note_change(inode);
}

void inode_touch_changed(struct inode *inode)
{
    int64_t now = time_realtime_ns();
    spin_lock(&inode->attribute_lock);
    inode->ctime_ns = now;
    spin_unlock(&inode->attribute_lock);
    inode_note_change(inode);
}

void inode_touch_accessed(struct inode *inode, const struct mount *mount)
{
    if (mount != NULL && mount->flags & MOUNT_NOATIME)
        return;
    if (inode->flags & INODE_NO_ATIME ||
        (inode->superblock != NULL && inode->superblock->flags & SUPERBLOCK_READ_ONLY))
        return;
    if (S_ISDIR(inode->mode) && mount != NULL && mount->flags & MOUNT_NODIRATIME)
        return;
    // relatime: only if the time would otherwise look older than the last change, or is a day old.
    bool always = mount != NULL && mount->flags & MOUNT_STRICTATIME;
    int64_t now = time_realtime_ns();
    if (!always && inode->atime_ns > inode->mtime_ns && inode->atime_ns > inode->ctime_ns &&
        now - inode->atime_ns < (int64_t)(86400 * NS_PER_SECOND))
        return;
    __atomic_store_n(&inode->atime_ns, now, __ATOMIC_RELAXED);
    inode_note_change(inode);
}

void inode_nlink_add(struct inode *inode, int32_t delta)
{
    int64_t now = time_realtime_ns();
    spin_lock(&inode->attribute_lock);
    assert(delta > 0 || inode->nlink >= (uint32_t)-delta);
    inode->nlink += (uint32_t)delta;
    inode->ctime_ns = now;
    spin_unlock(&inode->attribute_lock);
}

void inode_remove_privileges(struct inode *inode)
{
    uint32_t mode = inode->mode;
    if (likely(!(mode & (S_ISUID | S_ISGID))) || !S_ISREG(mode) || capable(CAP_FSETID))
        return;
    uint32_t remove = S_ISUID;
    if ((mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
        remove |= S_ISGID;
    spin_lock(&inode->attribute_lock);
    inode->mode &= ~remove;
    spin_unlock(&inode->attribute_lock);
    inode_note_change(inode);
}

// ---- writers against execution ----

// Moves write_count one step in `direction` unless it stands on the other side of zero.
static int inode_write_count_step(struct inode *inode, int32_t direction)
{
    int32_t count = __atomic_load_n(&inode->write_count, __ATOMIC_RELAXED);
    do {
        if ((direction > 0 && count < 0) || (direction < 0 && count > 0))
            return -ETXTBSY;
    } while (!__atomic_compare_exchange_n(
        &inode->write_count, &count, count + direction, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
    return 0;
}

int inode_write_access_get(struct inode *inode)
{
    return inode_write_count_step(inode, 1);
}

void inode_write_access_put(struct inode *inode)
{
    int32_t count = __atomic_sub_fetch(&inode->write_count, 1, __ATOMIC_RELEASE);
    assert(count >= 0);
}

int inode_write_deny(struct inode *inode)
{
    return inode_write_count_step(inode, -1);
}

void inode_write_allow(struct inode *inode)
{
    int32_t count = __atomic_add_fetch(&inode->write_count, 1, __ATOMIC_RELEASE);
    assert(count <= 0);
}
