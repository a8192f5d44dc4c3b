// SPDX-License-Identifier: MIT
// The virtual file system: inodes, dentries, mounts, path walking. Part seen by process/ and ipc/;
// the rest is for file systems.
#pragma once

#include "kernel/base/seqcount.h"
#include "kernel/fs/file.h"

// A task's root, working directory and umask (clone CLONE_FS shares it).
struct fs_context {
    uint32_t refcount;    // atomic
    struct spinlock lock; // root, cwd, umask; walkers in RCU mode use `sequence`
    struct seqcount sequence;
    struct path root, cwd;
    uint32_t umask;
};
extern struct fs_context *fs_context_initial; // what kernel threads use
struct fs_context *fs_context_create(void);   // at the initial root; NULL: no memory
struct fs_context *fs_context_clone(struct fs_context *from);
void fs_context_get(struct fs_context *context);
void fs_context_put(struct fs_context *context);
// The root (else the working directory), with references.
void fs_context_path_get(struct fs_context *context, bool root, struct path *result);
void fs_context_path_set(struct fs_context *context, bool root, const struct path *path);

// Opens by path relative to `dirfd` (AT_FDCWD) for the running task, kernel string. File with a
// reference through *result, or -errno.
[[nodiscard]] int vfs_open(
    int dirfd, const char *path, uint32_t open_flags, uint32_t mode, struct file **result);
// For exec: a regular file with execute permission; denies writers until file_put. -EACCES,
// -ETXTBSY, ... flags: AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW.
[[nodiscard]] int vfs_open_exec(int dirfd, const char *path, int flags, struct file **result);
// Set-id bits and owner as exec needs them.
void vfs_exec_attributes(struct file *file, uint32_t *mode, uint32_t *uid, uint32_t *gid);
// Identity for /proc/PID/maps and core attributes.
void vfs_identity(struct file *file, uint32_t *dev_major, uint32_t *dev_minor, uint64_t *inode);

void vfs_init(void); // caches, root tmpfs, /dev, /proc mounts
// Unpacks the initial cpio archive into the root. Truncated or broken: -EINVAL and a message that
// says where.
[[nodiscard]] int vfs_unpack_initial(const void *archive, size_t len_bytes);

// What ipc/ adds, set once at start-up: FIFOs (kernel/ipc/pipe.h) and inotify. NULL until then.
struct pipe;
extern int (*vfs_fifo_open)(struct pipe **slot, struct file *file); // [-ENXIO]
extern void (*vfs_fifo_destroy)(struct pipe *pipe);
extern void (*vfs_watches_destroy)(struct inode *inode); // inode->watches, when the inode goes away
// Something happened to an inode (IN_* of linux/inotify.h): called only where inode or its
// directory has watches. `name` NULL: to itself.
extern void (*vfs_notify)(struct inode *inode, uint32_t mask, uint32_t cookie, const char *name);
struct dentry;
void vfs_notify_attributes(
    struct dentry *dentry, uint32_t change); // after chmod and the like (INODE_CHANGE_*)
// Size of the file; exec and the like.
uint64_t vfs_file_size(const struct file *file);
