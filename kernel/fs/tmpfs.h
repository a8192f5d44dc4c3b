// SPDX-License-Identifier: MIT
// tmpfs: files in memory. Also rootfs, memfd and shared memory.
#pragma once

#include "kernel/fs/inode.h"
#include "mm/page_cache.h"

struct path;

// The limits of one tmpfs; superblock->private_data.
struct tmpfs {
    struct spinlock lock;
    uint64_t page_limit, page_count;   // 0: no limit; under lock
    uint64_t inode_limit, inode_count; // likewise
    uint32_t root_mode, root_uid, root_gid;
    bool page_limit_given, inode_limit_given; // by an option: shown in /proc/mounts
};

// A regular file's pages and what else it has; inode->private_data.
struct tmpfs_file {
    struct page_cache cache;
    struct tmpfs *tmpfs; // whose limits count; NULL: none (memfd)
    // Content that comes from the initial archive until a page is first touched: bytes [0,
    // archive_len) of the file.
    const uint8_t *archive;
    uint64_t archive_len; // shrinks with truncation; under inode->lock
    uint32_t seals;       // F_SEAL_*; under inode->lock
};

extern const struct file_ops tmpfs_file_ops;
extern const struct file_ops tmpfs_directory_ops;
extern const struct inode_ops tmpfs_directory_inode_ops, tmpfs_file_inode_ops, tmpfs_link_inode_ops,
    tmpfs_special_inode_ops;

void tmpfs_init(void); // registers tmpfs and rootfs
// New inode of any type within a tmpfs superblock; NULL: no memory or over the limit (*error says).
struct inode *tmpfs_inode_create(
    struct superblock *superblock, uint32_t mode, struct device_number device, int *error);
[[nodiscard]] int tmpfs_file_init(struct inode *inode, struct tmpfs *tmpfs);
// Seals of a memfd: 0 or the seals; -EINVAL: no such file, -EPERM, -EBUSY.
[[nodiscard]] int tmpfs_seals_add(struct file *file, uint32_t seals);
[[nodiscard]] int tmpfs_seals_get(struct file *file);
void tmpfs_file_destroy(struct inode *inode);
void tmpfs_evict(struct inode *inode);
// The content is [data, data + len_bytes) until it is written; that memory stays. For a file that
// nobody uses yet.
void tmpfs_file_set_archive(struct inode *inode, const void *data, uint64_t len_bytes);
static inline struct tmpfs_file *tmpfs_file_of(const struct inode *inode)
{
    return inode->private_data;
}
// A link text, copied. 0 or -ENOMEM.
[[nodiscard]] int tmpfs_link_set(struct inode *inode, const char *target, size_t len);
void memfd_init(void);
// An unnamed file for memfd_create(2) and System V shared memory. NULL: no memory.
// A place for any inode (whose reference it takes over) that is in no directory: path with
// references. -ENOMEM.
[[nodiscard]] int tmpfs_unnamed_place(const char *name, struct inode *inode, struct path *result);
struct file *tmpfs_unnamed_create(const char *name, uint64_t size_bytes, uint32_t seals);
