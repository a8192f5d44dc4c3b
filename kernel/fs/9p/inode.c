// SPDX-License-Identifier: MIT
// Inodes of a folder that a 9P server shows.
//
// Theory. The server's files change without our being told. With cache=none, the default, nothing
// of the server's is believed longer than one call: a name is walked again each time that it is
// used (revalidate), attributes are asked for when somebody looks (refresh), reads and writes go to
// the server, from and to the program's own pages. Only mapped files have pages here; they are
// compared with the server's size and time of change at each open and each look at the attributes,
// and dropped if those differ: close-to-open consistency, as NFS. With cache=loose names and pages
// stay until memory is short; it is for folders that nobody changes meanwhile.
//
// Nothing is written late: a write has reached the server when write(2) returns, so that there are
// no dirty pages. For the same reason files can't be mapped shared and writable.
//
// Fids. An inode has one that is never opened; an open file has its own. Pages are read through
// `reader`, made at the first mapping. A file that was just created is open on the server, perhaps
// with rights that its mode denies to everybody else (O_CREAT with mode 0444): `created` keeps that
// fid for the open(2) that made it.
//
// An inode stands for one name that was looked up: hard links to one file are several inodes here.
//
// Locks: inode->lock → p9_inode.lock → cache.truncate; requests are sent with either held.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/9p/internal.h"
#include "kernel/fs/dentry.h"
#include "mm/slab.h"

#include <linux/fcntl.h>

#define BLOCK_BYTES 512

// ---- attributes ----

static struct device_number device_decode(uint64_t device)
{
    return (struct device_number){
        .major = (uint32_t)(device >> 8 & 0xfff),
        .minor = (uint32_t)((device & 0xff) | (device >> 12 & 0xfff00)),
    };
}

static void apply(struct inode *inode, const struct p9_attributes *attributes)
{
    spin_lock(&inode->attribute_lock);
    inode->mode = attributes->mode;
    inode->uid = attributes->uid;
    inode->gid = attributes->gid;
    inode->nlink = (uint32_t)MIN(attributes->nlink, (uint64_t)UINT32_MAX);
    inode->atime_ns = attributes->atime_ns;
    inode->mtime_ns = attributes->mtime_ns;
    inode->ctime_ns = attributes->ctime_ns;
    inode->size_bytes = attributes->size_bytes;
    spin_unlock(&inode->attribute_lock);
    __atomic_store_n(&p9_inode_of(inode)->blocks, attributes->blocks, __ATOMIC_RELAXED);
}

// The size of a regular file as far as this side knows it; p9->lock is held.
static void set_size(struct inode *inode, uint64_t size_bytes)
{
    struct page_cache *cache = inode->cache;
    if (size_bytes < inode_size(inode))
        page_cache_truncate(cache, size_bytes);
    else
        __atomic_store_n(&cache->size_bytes, size_bytes, __ATOMIC_RELEASE);
}

int p9_inode_update(struct inode *inode)
{
    struct p9_inode *p9 = p9_inode_of(inode);
    struct p9_attributes attributes;
    mutex_lock(&p9->lock);
    int error = p9_get_attributes_of(p9_client_of(inode), p9->fid, &attributes);
    if (error == 0 && (attributes.mode & S_IFMT) != inode_type(inode))
        error = -ESTALE; // it is something else by now
    if (error == 0) {
        apply(inode, &attributes);
        if (inode->cache != NULL) {
            if (attributes.size_bytes != p9->seen_size_bytes ||
                attributes.mtime_ns != p9->seen_mtime_ns)
                (void)page_cache_invalidate(inode->cache, 0, UINT64_MAX / PAGE_SIZE);
            set_size(inode, attributes.size_bytes);
        }
        p9->seen_size_bytes = attributes.size_bytes;
        p9->seen_mtime_ns = attributes.mtime_ns;
    }
    mutex_unlock(&p9->lock);
    return error;
}

void p9_inode_refresh(struct inode *inode)
{
    if (!p9_superblock_of(inode)->is_cached)
        (void)p9_inode_update(inode); // else: what was known before
}

int p9_inode_change(struct inode *inode, const struct inode_change *change)
{
    struct p9_inode *p9 = p9_inode_of(inode);
    int error = p9_set_attributes(p9_client_of(inode), p9->fid, change);
    if (error == 0 && change->valid & INODE_CHANGE_SIZE && inode->cache != NULL) {
        mutex_lock(&p9->lock);
        set_size(inode, change->size_bytes);
        mutex_unlock(&p9->lock);
    }
    return error;
}

uint64_t p9_inode_pages(const struct inode *inode)
{
    const uint64_t blocks = __atomic_load_n(&p9_inode_of(inode)->blocks, __ATOMIC_RELAXED);
    return DIV_ROUND_UP(blocks, PAGE_SIZE / BLOCK_BYTES);
}

// ---- coming and going ----

static void set_operations(struct inode *inode, struct p9_inode *p9)
{
    switch (inode->mode & S_IFMT) {
    case S_IFDIR:
        inode->ops = &p9_directory_inode_ops;
        inode->file_ops = &p9_directory_ops;
        break;
    case S_IFREG:
        page_cache_init(&p9->cache, &p9_cache_ops, inode);
        inode->cache = &p9->cache;
        inode->ops = &p9_inode_ops;
        inode->file_ops = &p9_file_ops;
        break;
    case S_IFLNK:
        inode->ops = &p9_link_inode_ops;
        break;
    default:
        inode->ops = &p9_inode_ops;
    }
}

int p9_inode_create(struct superblock *superblock, uint32_t fid, struct inode **result)
{
    struct p9_superblock *p9_superblock = superblock->private_data;
    struct p9_attributes attributes;
    struct p9_inode *p9 = NULL;
    struct inode *inode = NULL;
    int error = p9_get_attributes_of(&p9_superblock->client, fid, &attributes);
    if (error == 0) {
        p9 = kzalloc(sizeof(*p9));
        inode = p9 != NULL ? inode_create(superblock, attributes.mode) : NULL;
        error = inode != NULL ? 0 : -ENOMEM;
    }
    if (error != 0) {
        kfree(p9);
        p9_clunk(&p9_superblock->client, fid);
        return error;
    }
    mutex_init(&p9->lock);
    p9->fid = fid;
    p9->reader = p9->created = P9_NO_FID;
    p9->seen_size_bytes = attributes.size_bytes;
    p9->seen_mtime_ns = attributes.mtime_ns;
    inode->private_data = p9;
    inode->number = attributes.qid.path;
    inode->device = device_decode(attributes.device);
    set_operations(inode, p9);
    apply(inode, &attributes);
    if (inode->cache != NULL)
        inode->cache->size_bytes = attributes.size_bytes;
    *result = inode;
    return 0;
}

void p9_inode_evict(struct inode *inode)
{
    struct p9_inode *p9 = p9_inode_of(inode);
    struct p9_client *client = p9_client_of(inode);
    if (inode->cache != NULL)
        page_cache_destroy(inode->cache); // waits for reads under way
    if (p9->reader != P9_NO_FID)
        p9_clunk(client, p9->reader);
    if (p9->created != P9_NO_FID)
        p9_clunk(client, p9->created);
    p9_clunk(client, p9->fid);
    inode->free_later = p9; // stat may still look at size and blocks, under RCU
}

int p9_inode_open(struct inode *inode, struct file *file)
{
    struct p9_inode *p9 = p9_inode_of(inode);
    struct p9_client *client = p9_client_of(inode);
    const uint32_t flags = file->flags & (O_ACCMODE | O_APPEND | O_DSYNC | O_SYNC | O_DIRECTORY);
    uint32_t fid = __atomic_exchange_n(&p9->created, P9_NO_FID, __ATOMIC_ACQ_REL);
    if (fid != P9_NO_FID && flags & (O_DSYNC | O_APPEND)) { // it was not opened like that
        p9_clunk(client, fid);
        fid = P9_NO_FID;
    }
    int error = 0;
    if (fid == P9_NO_FID) {
        error = p9_walk(client, p9->fid, NULL, 0, &fid, NULL);
        if (error == 0) {
            error = p9_open(client, fid, flags);
            if (error != 0)
                p9_clunk(client, fid);
        }
        if (error == 0 && !p9_superblock_of(inode)->is_cached)
            error = p9_inode_update(inode);
    }
    if (error != 0)
        return error;
    file->private_data = (void *)(uintptr_t)fid;
    // From now on it is read through the cache. If that cannot be, without it.
    if (p9_superblock_of(inode)->is_cached && S_ISREG(inode->mode) &&
        (file->flags & O_ACCMODE) != O_WRONLY)
        (void)p9_file_make_reader(inode);
    return 0;
}

static int64_t read_link(struct inode *inode, char *buffer, size_t size)
{
    return p9_read_link(p9_client_of(inode), p9_inode_of(inode)->fid, buffer, size);
}

const struct inode_ops p9_inode_ops = {
    .change = p9_inode_change,
    .refresh = p9_inode_refresh,
    .pages = p9_inode_pages,
    .open = p9_inode_open,
    .evict = p9_inode_evict,
};
const struct inode_ops p9_link_inode_ops = {
    .change = p9_inode_change,
    .refresh = p9_inode_refresh,
    .read_link = read_link,
    .evict = p9_inode_evict,
};
