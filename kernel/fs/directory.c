// SPDX-License-Identifier: MIT
// Directories whose content is their persistent dentries.
#include "kernel/fs/directory.h"
#include "kernel/core/errno.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/file.h"
#include "kernel/fs/inode.h"
#include "kernel/fs/map.h"
#include "kernel/fs/tmpfs.h"
#include <linux/fs.h>

#define DT_DIR 4u

bool directory_emit_dots(struct file *file, struct directory_emitter *emitter)
{
    if (emitter->position == 0 && !directory_emit(emitter, ".", 1, 0, file->inode->number, DT_DIR))
        return false;
    if (emitter->position == 1) {
        struct dentry *parent = dentry_parent_get(file->path.dentry);
        uint64_t number = parent->inode->number;
        dentry_put(parent);
        return directory_emit(emitter, "..", 2, 1, number, DT_DIR);
    }
    return true;
}

int directory_iterate_children(struct file *file, struct directory_emitter *emitter)
{
    if (!directory_emit_dots(file, emitter))
        return 0;
    struct dentry *child = dentry_child_at(file->path.dentry, emitter->position);
    while (child != NULL) {
        const struct inode *inode = child->inode;
        if (!directory_emit(emitter, child->name, child->name_len, child->cookie, inode->number,
                (inode->mode & S_IFMT) >> 12))
            break;
        struct rbtree_node *next = rbtree_next(&child->sibling);
        child = next != NULL ? rbtree_entry(next, struct dentry, sibling) : NULL;
    }
    return 0;
}

int64_t directory_seek(struct file *file, int64_t offset, int whence)
{
    if (whence == SEEK_CUR)
        offset += (int64_t)file->offset;
    else if (whence != SEEK_SET)
        return -EINVAL;
    if (offset < 0)
        return -EINVAL;
    file->offset = (uint64_t)offset;
    return offset;
}

static int directory_sync(struct file *file, bool data_only)
{
    return 0;
}

const struct file_ops tmpfs_directory_ops = {
    .seek = directory_seek,
    .iterate = directory_iterate_children,
    .sync = directory_sync,
};
