// SPDX-License-Identifier: MIT
// Names that the kernel itself makes in file systems in memory, without a running task: device
// nodes, /proc and /sys.
#pragma once

#include "kernel/fs/inode.h"

struct dentry;

// Makes `path` (relative, with its missing directories) below `root`: a node or file of `mode`,
// made by the file system's create operation; a directory; a link. 0, -EEXIST (directories: fine,
// 0), -ENOMEM. May sleep.
[[nodiscard]] int kernel_tree_node(
    struct dentry *root, const char *path, uint32_t mode, struct device_number device);
[[nodiscard]] int kernel_tree_directory(struct dentry *root, const char *path, uint32_t mode);
[[nodiscard]] int kernel_tree_link(struct dentry *root, const char *path, const char *target);
[[nodiscard]] int kernel_tree_remove(
    struct dentry *root, const char *path); // a node or link; -ENOENT
[[nodiscard]] int kernel_tree_chown(
    struct dentry *root, const char *path, uint32_t uid, uint32_t gid); // -ENOENT
// The directory that holds the last component of path (made where missing, mode 0755), with a
// reference; *last points into path.
struct dentry *kernel_tree_parent(
    struct dentry *root, const char *path, const char **last, int *error);
// A new negative dentry for `name` in a locked directory; NULL with *error: -EEXIST (then
// *existing, if not NULL, has it with a reference), -ENOMEM.
struct dentry *kernel_tree_new(
    struct dentry *directory, const char *name, size_t len, struct dentry **existing, int *error);
