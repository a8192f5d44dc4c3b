// SPDX-License-Identifier: MIT
// Names: the dentry cache.
//
// A dentry is one name in one directory, with the inode behind it or none (negative). Dentries are
// found through one hash table, under RCU.
//
// In file systems that live in memory (tmpfs, devtmpfs, the fixed part of /proc) the dentries ARE
// the directories: such a dentry is persistent, holds a reference to itself, and is in its parent's
// tree of children, ordered by a cookie that readdir positions refer to. A miss in the table is
// then the final answer, and no negative dentries exist. Elsewhere (/proc/PID) dentries are a
// cache: unused ones wait on the superblock's LRU list for reuse or for memory pressure.
//
// Consistency for readers without locks
//   1. dentry->sequence changes whenever name, parent, inode or being hashed changes.
//   2. dentry_rename_sequence changes whenever any dentry moves to another hash chain: a reader
//      that found nothing must look whether it has changed, because it may have been led astray.
//   3. A dentry's memory, name and inode stay until a grace period after the last reference.
// References: DENTRY_REF_DEAD marks a dying dentry, which no reader revives.
//
// Lock order: inode->lock (parent before child) → rename sequence → dentry->lock → hash bucket or
// LRU. A directory's children tree is protected by its inode's lock.
#pragma once

#include "kernel/base/hash.h"
#include "kernel/base/hlist.h"
#include "kernel/base/list.h"
#include "kernel/base/rbtree.h"
#include "kernel/base/seqcount.h"
#include "kernel/core/rcu.h"
#include "kernel/core/spinlock.h"

struct inode;
struct superblock;

#define DENTRY_INLINE_NAME 40

#define DENTRY_MOUNTED    BIT(0) // something is mounted on it; under mount_lock
#define DENTRY_PERSISTENT BIT(1) // see above
#define DENTRY_HASHED     BIT(2) // in the table; under lock
#define DENTRY_ON_LRU     BIT(3) // under lru_lock
#define DENTRY_REVALIDATE BIT(4) // ask inode_ops.revalidate of the parent at each use; fixed
#define DENTRY_LINK       BIT(5) // inode is a symbolic link; under lock

#define DENTRY_COOKIE_LAST                                                                         \
    ((UINT64_C(1) << 62) - 1) // position of a directory's first entry; 0 and 1 are "." and ".."

#define DENTRY_REF_DEAD UINT32_C(0x80000000)

struct dentry {
    struct hlist_node hash_node; // under the bucket's lock
    struct dentry *parent;       // itself for a root; under lock
    uint32_t hash;
    uint32_t name_len;
    const char *name;         // inline_name or its own memory; NUL-terminated
    struct inode *inode;      // NULL: negative; with a reference
    struct seqcount sequence; // written under lock
    uint32_t flags;           // DENTRY_*
    uint32_t refcount;        // atomic
    struct spinlock lock;
    struct superblock *superblock;
    struct rbtree_node sibling; // in parent->children, by cookie
    struct rbtree children;     // persistent ones; under inode->lock
    uint64_t cookie;            // position in the parent's listing
    uint64_t next_cookie;       // for new children; under inode->lock
    struct list_node lru_node;
    void *private_data; // the file system's
    struct rcu_head rcu;
    char inline_name[DENTRY_INLINE_NAME]; // filled up with zeroes
};

extern struct seqcount dentry_rename_sequence;
extern uint64_t dentry_hash_seed;

// The hash of a name in a directory: over its 8-byte words, the last one filled up with zeroes. In
// parts, for who reads the name word by word anyway.
static inline uint64_t dentry_hash_start(const struct dentry *parent)
{
    return dentry_hash_seed ^ (uintptr_t)parent;
}
static inline uint64_t dentry_hash_word(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * 0x9e3779b97f4a7c15ul;
    return hash ^ hash >> 29;
}
static inline uint32_t dentry_hash_finish(uint64_t hash, size_t len)
{
    return (uint32_t)((hash ^ len) * 0xd1b54a32d192ed03ul >> 32);
}
static inline uint32_t dentry_name_hash(const struct dentry *parent, const char *name, size_t len)
{
    uint64_t hash = dentry_hash_start(parent);
    size_t left = len;
    for (; left >= 8; left -= 8, name += 8)
        hash = dentry_hash_word(hash, hash_load_(name, 8));
    if (left != 0)
        hash = dentry_hash_word(hash, hash_load_(name, left));
    return dentry_hash_finish(hash, len);
}

// Are the first len bytes the same? Without a call, and without reading outside.
static inline bool dentry_name_equal(const char *a, const char *b, size_t len)
{
    if (len >= 8) {
        for (size_t i = 0; i + 8 < len; i += 8)
            if (hash_load_(a + i, 8) != hash_load_(b + i, 8))
                return false;
        return hash_load_(a + len - 8, 8) == hash_load_(b + len - 8, 8);
    }
    if (len >= 4)
        return hash_load_(a, 4) == hash_load_(b, 4) &&
               hash_load_(a + len - 4, 4) == hash_load_(b + len - 4, 4);
    for (size_t i = 0; i < len; i++)
        if (a[i] != b[i])
            return false;
    return true;
}

// The table; read under RCU.
extern struct hlist_head *dentry_buckets;
extern uint32_t dentry_bucket_shift; // 32 minus the binary logarithm of its size
static inline struct hlist_head *dentry_bucket(uint32_t hash)
{
    return &dentry_buckets[hash >> dentry_bucket_shift];
}

// A new, unhashed, negative dentry with one reference and a reference to its parent (parent NULL: a
// root). NULL: no memory.
struct dentry *dentry_create(
    struct superblock *superblock, struct dentry *parent, const char *name, size_t len);
// A root for `inode`, whose reference it takes over. NULL: no memory (the inode is put).
struct dentry *dentry_create_root(struct superblock *superblock, struct inode *inode);
static inline void dentry_get(struct dentry *dentry)
{
    __atomic_fetch_add(&dentry->refcount, 1, __ATOMIC_RELAXED);
}
void dentry_put_slow(struct dentry *dentry);
static inline void dentry_put(struct dentry *dentry) // may sleep
{
    uint32_t count = __atomic_load_n(&dentry->refcount, __ATOMIC_RELAXED);
    while (count > 1)
        if (__atomic_compare_exchange_n(
                &dentry->refcount, &count, count - 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            return;
    dentry_put_slow(dentry);
}
// Under RCU: takes a reference unless the dentry is dying.
bool dentry_get_unless_dead(struct dentry *dentry);

// Gives a negative, unhashed dentry its inode (takes over the reference).
void dentry_attach(struct dentry *dentry, struct inode *inode);
// Enters it into the table; persistent: also into the parent's children with a reference of its
// own. The directory's lock is held.
void dentry_add(struct dentry *dentry, bool persistent);
// Takes it out of table and children (unlink); drops the reference of a persistent one. The caller
// holds a reference.
void dentry_remove(struct dentry *dentry);
// Gives `dentry` the name and parent of `target` (rename); target, if positive, is removed. Both
// directories' locks are held. -ENOMEM.
[[nodiscard]] int dentry_move(struct dentry *dentry, struct dentry *target);
[[nodiscard]] int dentry_exchange(struct dentry *a, struct dentry *b);

// The cached entry with a reference, or NULL.
struct dentry *dentry_lookup(struct dentry *parent, const char *name, size_t len);
// Inside an RCU read section: the entry without a reference and the sequence it was seen under.
// *stable false: a concurrent change may have hidden it.
struct dentry *dentry_lookup_rcu(
    struct dentry *parent, const char *name, size_t len, uint32_t *sequence);
struct dentry *dentry_parent_get(struct dentry *dentry); // with a reference
bool dentry_is_removed(const struct dentry *dentry);     // unlinked: not in the table and no root
static inline bool dentry_is_root(const struct dentry *dentry)
{
    return dentry->parent == dentry;
}
// Is `ancestor` on the way from `dentry` to its root (or itself)? Stable only while the
// superblock's rename_lock is held.
bool dentry_is_below(const struct dentry *dentry, const struct dentry *ancestor);
static inline bool dentry_is_empty_directory(const struct dentry *dentry)
{
    return dentry->children.root == nullptr;
}
// First persistent child with cookie >= from, or NULL. The directory's lock is held.
struct dentry *dentry_child_at(const struct dentry *dentry, uint64_t from);

// Memory pressure: gives back up to `count` unused dentries of all superblocks; returns how many.
size_t dentry_shrink(size_t count);
void dentry_shrink_superblock(struct superblock *superblock); // all unused ones
// Removes the whole persistent tree below (and with) a root that nobody uses any more.
void dentry_destroy_tree(struct dentry *root);
void dentry_init(void);
