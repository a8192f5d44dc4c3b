// SPDX-License-Identifier: MIT
// From path names to places.
//
//   error = walk_path(dirfd, "a/b/c", len, WALK_FOLLOW, &path);         the place itself, or
//   -ENOENT ... error = walk_parent(dirfd, "a/b/c", len, &parent, &last);           the directory
//   and the last component
//
// Kernel strings of `len` bytes, NUL-terminated; relative to dirfd (AT_FDCWD or a descriptor of the
// running task). Task context, may sleep.
#pragma once

#include "kernel/base/path_walk.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/inode.h"
#include "kernel/fs/mount.h"
#include "kernel/fs/vfs.h"

#define WALK_FOLLOW    BIT(0) // a link in the last place is followed
#define WALK_EMPTY     BIT(1) // AT_EMPTY_PATH: "" means dirfd itself
#define WALK_DIRECTORY BIT(2) // the result must be a directory
// openat2
#define WALK_NO_XDEV     BIT(4)
#define WALK_NO_MAGIC    BIT(5)
#define WALK_NO_SYMLINKS BIT(6)
#define WALK_BENEATH     BIT(7)
#define WALK_IN_ROOT     BIT(8)
// Private to the walk:
#define WALK_PARENT BIT(16)
#define WALK_CREATE BIT(17) // a missing last component is no error: see walk_create()

#define WALK_LINKS_MAX 40

// The last component of a path whose directory was looked for. `name` points into the caller's
// string, or to `copied`.
struct walk_last {
    const char *name;
    char *copied; // memory that the caller frees (kfree), or NULL
    size_t len;
    enum path_component_kind kind;
    bool must_be_directory; // a slash follows
    bool is_root;           // the path has no components ("/"): path is the root itself
};

[[nodiscard]] int walk_path(
    int dirfd, const char *name, size_t len, uint32_t flags, struct path *result);
[[nodiscard]] int walk_parent(
    int dirfd, const char *name, size_t len, struct path *parent, struct walk_last *last);
// Like walk_path, but when only the last component is missing, 1 is returned with the directory in
// *result and the component in *last.
[[nodiscard]] int walk_create(int dirfd, const char *name, size_t len, uint32_t flags,
    struct path *result, struct walk_last *last);
// Like walk_path for callers that only want to look: calls visit, which must not sleep, with the
// place found. It may be called more than once, when what it looked at was changing; the last call
// counts.
typedef void walk_visitor(const struct path *path, struct inode *inode, void *context);
[[nodiscard]] int walk_visit(
    int dirfd, const char *name, size_t len, uint32_t flags, walk_visitor *visit, void *context);
// One name in a directory that the caller has locked (inode->lock): the cached or newly looked up
// dentry with a reference, negative if there is nothing; NULL only with -errno in *error.
struct dentry *walk_lookup_locked(
    struct dentry *directory, const char *name, size_t len, int *error);
// Text of a symbolic link, to be freed by kfree if *allocated; or -errno.
int64_t walk_link_text(struct inode *inode, const char **text, bool *allocated);
