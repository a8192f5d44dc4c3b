// SPDX-License-Identifier: MIT
// Changes of attributes: chmod, chown, utimensat and truncate, checked first, then applied.
#include "kernel/base/assert.h"
#include "kernel/core/errno.h"
#include "kernel/core/time.h"
#include "kernel/fs/inode.h"
#include "kernel/process/credentials.h"
#include "mm/page_cache.h"
#include <linux/capability.h>

// The rules of chown(2): the owner may give the group to one it is in; all else needs CAP_CHOWN.
static int inode_change_check_owner(const struct inode *inode, const struct inode_change *change)
{
    const struct credentials *cred = credentials_current();
    if (change->valid & INODE_CHANGE_UID &&
        (cred->fsuid != inode->uid || change->uid != inode->uid) && !capable(CAP_CHOWN))
        return -EPERM;
    if (change->valid & INODE_CHANGE_GID &&
        (cred->fsuid != inode->uid ||
            (change->gid != inode->gid && !credentials_in_group(cred, change->gid))) &&
        !capable(CAP_CHOWN))
        return -EPERM;
    return 0;
}

static int inode_change_check(const struct inode *inode, struct inode_change *change)
{
    if (inode->superblock != NULL && inode->superblock->flags & SUPERBLOCK_READ_ONLY)
        return -EROFS;
    int error = inode_change_check_owner(inode, change);
    if (error != 0)
        return error;
    if (change->valid & INODE_CHANGE_MODE) {
        if (!inode_owner_or_capable(inode))
            return -EPERM;
        uint32_t gid = change->valid & INODE_CHANGE_GID ? change->gid : inode->gid;
        if (change->mode & S_ISGID && !credentials_in_group(credentials_current(), gid) &&
            !capable(CAP_FSETID))
            change->mode &= ~(uint32_t)S_ISGID;
    }
    return 0;
}

// A change of owner takes the set-id bits of programs away, whoever makes it.
static void inode_change_drop_set_id(const struct inode *inode, struct inode_change *change)
{
    if (!(change->valid & (INODE_CHANGE_UID | INODE_CHANGE_GID)) || S_ISDIR(inode->mode))
        return;
    uint32_t mode = change->valid & INODE_CHANGE_MODE ? change->mode : inode->mode & 07777;
    uint32_t reduced = mode & ~(uint32_t)S_ISUID;
    if ((mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
        reduced &= ~(uint32_t)S_ISGID;
    if (reduced != mode) {
        change->valid |= INODE_CHANGE_MODE;
        change->mode = reduced;
    }
}

static void inode_change_apply(struct inode *inode, const struct inode_change *change)
{
    int64_t now = time_realtime_ns();
    spin_lock(&inode->attribute_lock);
    if (change->valid & INODE_CHANGE_MODE)
        inode->mode = (inode->mode & S_IFMT) | (change->mode & 07777);
    if (change->valid & INODE_CHANGE_UID)
        inode->uid = change->uid;
    if (change->valid & INODE_CHANGE_GID)
        inode->gid = change->gid;
    if (change->valid & INODE_CHANGE_ATIME)
        inode->atime_ns = change->atime_ns;
    if (change->valid & INODE_CHANGE_MTIME)
        inode->mtime_ns = change->mtime_ns;
    else if (change->valid & INODE_CHANGE_SIZE)
        inode->mtime_ns = now;
    inode->ctime_ns = now;
    spin_unlock(&inode->attribute_lock);
    if (inode->flags & INODE_NOTES_CHANGES)
        inode->ops->changed(inode);
}

int inode_change(struct inode *inode, struct inode_change *change)
{
    if (inode->ops != NULL && inode->ops->refresh != NULL)
        inode->ops->refresh(inode);
    rwlock_write_lock(&inode->lock);
    int error = inode_change_check(inode, change);
    if (error == 0) {
        inode_change_drop_set_id(inode, change);
        if (inode->ops != NULL && inode->ops->change != NULL)
            error = inode->ops->change(inode, change);
        else if (change->valid & INODE_CHANGE_SIZE)
            error = -EINVAL;
    }
    if (error == 0)
        inode_change_apply(inode, change);
    rwlock_write_unlock(&inode->lock);
    return error;
}
