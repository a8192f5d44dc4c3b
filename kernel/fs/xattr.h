// SPDX-License-Identifier: MIT
// Extended attributes (xattr(7)), kept in memory with the inode. File systems say with
// SUPERBLOCK_XATTR that they have them: the classes trusted and security, as Linux' tmpfs.
#pragma once

#include "kernel/fs/inode.h"

// All take inode->lock. Permissions are those of xattr(7) for the running task.
// Length of the value, copied into `buffer` if size is not 0: -ENODATA, -ERANGE (too small),
// -EOPNOTSUPP (class).
int64_t xattr_get(struct inode *inode, const char *name, void *buffer, size_t size);
// flags: XATTR_CREATE, XATTR_REPLACE. -EEXIST, -ENODATA, -EPERM, -EOPNOTSUPP, -ENOMEM.
[[nodiscard]] int xattr_set(
    struct inode *inode, const char *name, const void *value, size_t size, int flags);
[[nodiscard]] int xattr_remove(struct inode *inode, const char *name);
// All names that the task may see, each NUL-terminated. Length; size 0: only that. -ERANGE.
int64_t xattr_list(struct inode *inode, char *buffer, size_t size);
void xattrs_destroy(struct list_node *xattrs); // with the inode
