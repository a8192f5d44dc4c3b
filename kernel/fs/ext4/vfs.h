// SPDX-License-Identifier: MIT
// ext4 as a file system of the VFS: what its files share.
//
// Below the VFS's inode->lock come, in order: page cache locks (truncate), the locks of core.h, and
// last mount->lock, a spin lock.
#pragma once

#include "kernel/block/block.h"
#include "kernel/core/wait.h"
#include "kernel/fs/ext4/core.h"
#include "kernel/fs/inode.h"
#include "mm/page_cache.h"

struct block_file;
struct dentry;
struct file;

struct ext4_mount { // superblock->private_data
    struct ext4_device device;
    struct block_file *file;
    struct block_volume *volume;
    struct ext4_fs *fs;
    struct superblock *superblock;
    struct spinlock lock;          // the next two
    struct xarray inodes;          // number → struct ext4_inode that is in memory
    struct list_node dirty;        // inodes whose attributes are newer than on the disk
    struct wait_queue inode_queue; // an inode has been read, or is gone
    struct wait_queue thread_queue;
    bool stop; // the committing thread is to end; atomic
    struct completion stopped;
    bool thread_runs;
    uint32_t refusals;     // options
    uint64_t overhead;     // blocks of metadata, for statfs
    struct list_node node; // of all mounts
};

struct ext4_inode { // inode->private_data
    struct ext4_node node;
    struct page_cache cache; // regular files
    struct inode *vfs;
    struct list_node dirty; // under mount->lock
    bool ready;             // has been read; under mount->lock
    bool counted;           // in mount->inodes; under mount->lock
    int32_t write_error;    // why a block got no place when its data went out; atomic
};

static inline struct ext4_inode *ext4_inode_of(const struct inode *inode)
{
    return inode->private_data;
}
static inline struct ext4_node *ext4_node_of(const struct inode *inode)
{
    return &ext4_inode_of(inode)->node;
}
static inline struct ext4_mount *ext4_mount_of(const struct superblock *superblock)
{
    return superblock->private_data;
}
// What new blocks may be taken from.
uint32_t ext4_alloc_flags(void);

// vfs_device.c
void ext4_device_init(struct ext4_mount *mount);

// vfs_inode.c
[[nodiscard]] int ext4_inode_get(struct ext4_mount *mount, uint32_t number, struct inode **result);
// A new one, whose inode on the disk is about to be made from its attributes.
[[nodiscard]] int ext4_inode_new(struct inode *directory, uint32_t mode, struct inode **result);
[[nodiscard]] int ext4_inode_enter(struct inode *inode); // its node has been made
// The VFS's attributes into the node; links and times of the node into the inode.
void ext4_inode_to_node(struct inode *inode);
void ext4_node_to_inode(struct inode *inode);
void ext4_inode_changed(struct inode *inode);
// Writes what is newer than on the disk. 0 or -errno.
[[nodiscard]] int ext4_inode_write(struct inode *inode);
[[nodiscard]] int ext4_inodes_write(struct ext4_mount *mount);
void ext4_inode_evict(struct inode *inode);

// vfs_name.c, vfs_file.c, vfs_page.c
extern const struct inode_ops ext4_directory_inode_ops, ext4_file_inode_ops, ext4_link_inode_ops,
    ext4_special_inode_ops;
extern const struct file_ops ext4_file_ops, ext4_directory_ops;
extern const struct page_cache_ops ext4_cache_ops;
