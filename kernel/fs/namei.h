// SPDX-License-Identifier: MIT
// Changes of the tree by name, as the system calls make them: the path is relative to dirfd, of
// `len` bytes and NUL-terminated. All check permissions and answer Linux's errors. Task context,
// may sleep.
#pragma once

#include "kernel/fs/inode.h"
#include "kernel/fs/name_walk.h"

struct name {
    int dirfd;
    const char *text;
    size_t len;
};

struct open_how_checked {
    uint32_t flags;      // O_*
    uint32_t mode;       // permission bits for a new file, not yet masked
    uint32_t walk_flags; // WALK_* of openat2's RESOLVE_*
};

[[nodiscard]] int namei_open(
    const struct name *name, const struct open_how_checked *how, struct file **result);
// Opens a place that has been found; what=O_* flags. Used by open and for files that are made
// without a name.
[[nodiscard]] int namei_open_path(
    const struct path *path, uint32_t flags, bool created, struct file **result);
[[nodiscard]] int namei_mknod(const struct name *name, uint32_t mode,
    struct device_number device); // mode with type; directories too
[[nodiscard]] int namei_symlink(const struct name *name, const char *target, size_t target_len);
[[nodiscard]] int namei_link(const struct path *old, const struct name *new_name);
[[nodiscard]] int namei_unlink(const struct name *name);
[[nodiscard]] int namei_rmdir(const struct name *name);
[[nodiscard]] int namei_rename(
    const struct name *old_name, const struct name *new_name, uint32_t flags); // RENAME_*

// Steps that kernel code uses directly. The directory is locked for writing.
int namei_may_create(struct inode *directory);
int namei_create_locked(
    struct dentry *directory, struct dentry *dentry, uint32_t mode, struct device_number device);
void namei_enter(struct dentry *dentry); // a dentry that got its inode appears in its directory
uint32_t namei_apply_umask(uint32_t mode);

// Text of a path as seen from `root` (NULL: the task's root), written at the end of buffer: pointer
// to it or NULL (too long).
// *reachable (may be NULL) is false when the path does not lead to the root. " (deleted)" is
// appended for unlinked ones.
struct path_text {
    bool reachable;
    bool deleted;
};
char *path_to_text(const struct path *path, const struct path *root, char *buffer, size_t size,
    struct path_text *info);
