// SPDX-License-Identifier: MIT
// What the files of the 9p file system share. The theory is in inode.c.
#pragma once

#include "kernel/fs/9p/client.h"
#include "kernel/fs/file.h"
#include "kernel/fs/inode.h"
#include "mm/page_cache.h"

struct p9_superblock {
    struct p9_client client;
    bool is_cached; // cache=loose: what has been read is believed
};

struct p9_inode {
    struct page_cache cache; // of regular files
    uint32_t fid;            // not opened: for names and attributes; fixed
    struct mutex lock;       // what follows
    uint32_t reader;         // opened for reading, for the cache, or P9_NO_FID; never goes back
    uint64_t seen_size_bytes;
    int64_t seen_mtime_ns;
    uint64_t blocks;  // of 512 bytes; atomic
    uint32_t created; // opened by create(), for the first open(), or P9_NO_FID; atomic
};

static inline struct p9_superblock *p9_superblock_of(const struct inode *inode)
{
    return inode->superblock->private_data;
}

static inline struct p9_client *p9_client_of(const struct inode *inode)
{
    return &p9_superblock_of(inode)->client;
}

static inline struct p9_inode *p9_inode_of(const struct inode *inode)
{
    return inode->private_data;
}

// An open file's fid.
static inline uint32_t p9_file_fid(const struct file *file)
{
    return (uint32_t)(uintptr_t)file->private_data;
}

// An inode for the fid, which becomes its own, or is clunked if there is an error.
[[nodiscard]] int p9_inode_create(
    struct superblock *superblock, uint32_t fid, struct inode **result);
// What the server says now; drops cached pages of a file that has changed there. 0 or the server's
// error.
[[nodiscard]] int p9_inode_update(struct inode *inode);
void p9_inode_refresh(struct inode *inode); // the same as inode_ops has it
int p9_inode_open(struct inode *inode, struct file *file);
// Makes sure that pages of a file can be read into its cache. May sleep. 0 or -errno.
int p9_file_make_reader(struct inode *inode);

extern const struct inode_ops p9_directory_inode_ops; // directory.c
extern const struct file_ops p9_directory_ops;
extern const struct inode_ops p9_inode_ops; // inode.c: everything else
extern const struct inode_ops p9_link_inode_ops;
extern const struct file_ops p9_file_ops; // file.c
extern const struct page_cache_ops p9_cache_ops;

int p9_inode_change(struct inode *inode, const struct inode_change *change);
uint64_t p9_inode_pages(const struct inode *inode);
void p9_inode_evict(struct inode *inode);
