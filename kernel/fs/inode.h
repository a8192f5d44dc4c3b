// SPDX-License-Identifier: MIT
// Inodes (what a file is), superblocks (a file system that is in use) and file-system types.
//
// An inode is referenced by its dentries and by open files; the last reference evicts it, and its
// memory is freed after a grace period because path walks read it under RCU without a reference.
#pragma once

#include "kernel/base/list.h"
#include "kernel/base/types.h"
#include "kernel/core/mutex.h"
#include "kernel/core/rcu.h"
#include "kernel/core/spinlock.h"
#include <linux/stat.h>

struct dentry;
struct file;
struct file_lock_set;
struct file_ops;
struct inode;
struct mount;
struct page_cache;
struct path;
struct pipe;
struct superblock;

// Device numbers as user space has them: 12 bits of major, 20 of minor.
struct device_number {
    uint32_t major, minor;
};

// Which members of struct inode_change are meant.
#define INODE_CHANGE_MODE  BIT(0)
#define INODE_CHANGE_UID   BIT(1)
#define INODE_CHANGE_GID   BIT(2)
#define INODE_CHANGE_SIZE  BIT(3)
#define INODE_CHANGE_ATIME BIT(4)
#define INODE_CHANGE_MTIME BIT(5)

struct inode_change {
    uint32_t valid; // INODE_CHANGE_*
    uint32_t mode;  // permission bits
    uint32_t uid, gid;
    uint64_t size_bytes;
    int64_t atime_ns, mtime_ns;
};

// What a file system does for an inode. Task context, may sleep. NULL answers the error in
// brackets. For the operations that take `directory`, directory->lock is held: for writing, except
// lookup (reading suffices).
struct inode_ops {
    // Finds the entry that `dentry` (not hashed, negative, name set) stands for and attaches its
    // inode with dentry_attach(), or leaves it negative. NULL: the cached dentries are the
    // directory's whole content.
    int (*lookup)(struct inode *directory, struct dentry *dentry);
    // Is the cached dentry still right? NULL: yes. Called without locks; may sleep.
    bool (*revalidate)(struct dentry *dentry);
    // Makes a file of the type in `mode` and attaches it. [-EPERM]
    int (*create)(
        struct inode *directory, struct dentry *dentry, uint32_t mode, struct device_number device);
    int (*symlink)(
        struct inode *directory, struct dentry *dentry, const char *target, size_t len_bytes);
    int (*link)(struct inode *inode, struct inode *directory, struct dentry *dentry);
    int (*unlink)(
        struct inode *directory, struct dentry *dentry); // and rmdir: emptiness has been checked
    // new_dentry is negative or the entry to be replaced (exchange: to be swapped). The dentries
    // are moved by the caller.
    int (*rename)(struct inode *old_directory, struct dentry *old_dentry,
        struct inode *new_directory, struct dentry *new_dentry, bool exchange);
    int (*tmpfile)(struct inode *directory, uint32_t mode, struct inode **result); // [-EOPNOTSUPP]
    // Applies a change that has been checked. inode->lock is held for writing. NULL: attributes
    // only.
    int (*change)(struct inode *inode, const struct inode_change *change);
    // Brings mode, owner, size, ... up to date before they are read (generated files). NULL: they
    // are.
    void (*refresh)(struct inode *inode);
    // Pages that the content takes up (st_blocks). NULL: 0.
    uint64_t (*pages)(const struct inode *inode);
    // Instead of the mode bits: may the running task do `mask` (MAY_*)? NULL: mode bits.
    int (*permission)(struct inode *inode, uint32_t mask);
    // Target of a symbolic link that is not in inode->link_target: text into buffer, length or
    // -errno.
    int64_t (*read_link)(struct inode *inode, char *buffer, size_t size);
    // A link that leads to an object rather than to a name (/proc/PID/exe): the place, with
    // references.
    int (*follow_link)(struct inode *inode, struct path *result);
    // Another file instead of the one that is being opened (/proc/self/fd/N of an anonymous file).
    int (*open)(
        struct inode *inode, struct file *file); // after file->ops was set from inode->file_ops
    void (*evict)(struct inode *inode);          // last reference: frees what the file system has
    // Attributes have changed (times, mode, owner) by what the VFS does by itself. Must not sleep.
    // Called for inodes with INODE_NOTES_CHANGES only.
    void (*changed)(struct inode *inode);
    // A program is going to write to page `index` through a mapping: gives it a place. 0, -ENOSPC,
    // -EIO: SIGBUS. NULL: it has one.
    int (*page_write)(struct inode *inode, uint64_t index);
};

#define INODE_DEAD          BIT(0) // a removed directory: nothing may be created in it; under lock
#define INODE_NO_ATIME      BIT(1)
#define INODE_APPEND        BIT(2)
#define INODE_LINKABLE      BIT(4) // O_TMPFILE: may get a name although it has none
#define INODE_NOTES_CHANGES BIT(5) // ops->changed wants to know; fixed
#define INODE_PSEUDO        BIT(3) // not on a superblock's tree: anonymous

struct inode {
    // What path walks and stat read comes first. Written under attribute_lock; single words read
    // without it.
    uint32_t mode;
    uint32_t uid, gid;
    uint32_t flags; // INODE_*
    const struct inode_ops *ops;
    struct superblock *superblock;
    const char
        *link_target; // symbolic links with a fixed text: NUL-terminated, freed with the inode
    uint32_t link_target_len;
    uint32_t nlink;
    uint64_t number;
    uint64_t size_bytes;         // without page cache; with one it is cache->size_bytes
    struct device_number device; // of device nodes
    int64_t atime_ns, mtime_ns, ctime_ns, birth_ns; // realtime
    struct page_cache *cache;                       // NULL: none
    const struct file_ops *file_ops;
    void *private_data; // the file system's
    void *free_later; // memory that is freed (kfree) together with the inode, after a grace period

    uint32_t refcount;   // atomic
    int32_t write_count; // files open for writing; negative: executed, writers refused; atomic
    struct spinlock attribute_lock;
    struct rwlock lock;          // directories: entries; files: writes and truncation
    struct file_lock_set *locks; // record locks and leases; set once, under attribute_lock
    struct pipe *pipe;           // FIFOs: the pipe while it is open; under lock
    struct list_node *xattrs;    // extended attributes (xattr.c); NULL: none yet; under lock
    void *watches;               // inotify's; under attribute_lock
    struct rcu_head rcu;
};

// The right to do something with an inode, as in access(2).
#define MAY_EXEC  1u
#define MAY_WRITE 2u
#define MAY_READ  4u

struct statfs_info {
    uint64_t type, block_size, blocks, blocks_free, files, files_free;
    uint64_t blocks_reserved; // of the free ones: for root
};

// What mount(2) asks of a file system. The texts are the caller's, for the length of the call.
struct mount_request {
    const char *source;  // a device's path, a tag; only a name to file systems in memory
    const char *options; // may be ""
    bool read_only;      // nothing may be written, not even by the mounting itself
};

struct filesystem_type {
    const char *name;
    bool needs_device;   // not "nodev" in /proc/filesystems
    bool user_mountable; // mount(2) may make one
    // A new superblock (or an existing one with another reference). 0 or -errno.
    int (*mount)(const struct filesystem_type *type, const struct mount_request *request,
        struct superblock **result);
    struct list_node node; // list of types
};

struct superblock_ops {
    void (*statfs)(struct superblock *superblock, struct statfs_info *info);
    int (*remount)(struct superblock *superblock, const struct mount_request *request);
    // Everything that was changed before is durable when it returns; content of files has been
    // written. 0 or -errno. NULL: nothing to do.
    int (*sync)(struct superblock *superblock);
    // Options for /proc/mounts, each with a leading comma.
    void (*show_options)(struct superblock *superblock, char *buffer, size_t size);
    // Makes a node for the kernel itself where programs may not (/proc). NULL: inode_ops.create
    // does.
    int (*create)(
        struct inode *directory, struct dentry *dentry, uint32_t mode, struct device_number device);
    void (*destroy)(struct superblock *superblock); // frees private_data; all inodes are gone
};

#define SUPERBLOCK_READ_ONLY  BIT(0)
#define SUPERBLOCK_XATTR      BIT(2) // extended attributes are kept (xattr.h)
#define SUPERBLOCK_PERSISTENT BIT(1) // names that are made are persistent dentries

struct superblock {
    const struct filesystem_type *type;
    const struct superblock_ops *ops;
    struct dentry *root;
    uint32_t flags;    // SUPERBLOCK_*
    uint32_t refcount; // mounts and the kernel's own users; atomic
    uint64_t magic;
    struct device_number device; // anonymous: major 0
    uint64_t next_inode;         // atomic
    uint64_t max_file_bytes;
    struct mutex rename_lock; // renames between directories, one at a time
    struct spinlock lru_lock;
    struct list_node lru; // unused dentries, oldest first; under lru_lock
    size_t lru_count;
    size_t lru_limit; // the longest unused one goes when there are more; set before it is mounted
    void *private_data;
};

// A superblock without root, one reference, with a new anonymous device number. NULL: no memory.
struct superblock *superblock_create(
    const struct filesystem_type *type, const struct superblock_ops *ops, uint64_t magic);
void superblock_get(struct superblock *superblock);
// False: the last reference is gone already.
bool superblock_get_unless_dead(struct superblock *superblock);
void superblock_put(struct superblock *superblock);
// The next superblock with a reference, whose predecessor's is dropped; NULL: the first, and at the
// end.
struct superblock *superblock_next_get(struct superblock *superblock);
void filesystem_register(struct filesystem_type *type);
const struct filesystem_type *filesystem_find(const char *name);
// In order of registration; NULL ends. Types are never removed.
struct filesystem_type *filesystem_next(const struct filesystem_type *type);

// New inode, one reference, owner from the running task's fsuid/fsgid (root for kernel threads),
// times now, nlink 1. NULL: no memory.
struct inode *inode_create(struct superblock *superblock, uint32_t mode);
// One without superblock tree for pipes, sockets, memfd: number unique among them.
struct inode *inode_create_anonymous(uint32_t mode);
static inline void inode_get(struct inode *inode)
{
    __atomic_fetch_add(&inode->refcount, 1, __ATOMIC_RELAXED);
}
void inode_put(struct inode *inode); // may sleep
// Owner and group as a new file in `directory` gets them (setgid directories); clears S_ISGID of
// *mode where needed.
void inode_init_owner(struct inode *inode, const struct inode *directory);

static inline uint32_t inode_type(const struct inode *inode)
{
    return inode->mode & S_IFMT;
}
static inline bool inode_is_directory(const struct inode *inode)
{
    return S_ISDIR(inode->mode);
}
uint64_t inode_size(const struct inode *inode);

// May the running task do `mask` (MAY_*)? 0 or -EACCES. Fast for the usual modes; does not sleep
// unless ops->permission does.
[[nodiscard]] int inode_permission(struct inode *inode, uint32_t mask);
// The same under other credentials (access(2): real ids); no ops->permission.
struct credentials;
[[nodiscard]] int inode_permission_for(
    const struct inode *inode, uint32_t mask, const struct credentials *cred);
bool inode_owner_or_capable(const struct inode *inode);
// Checks a change as chmod, chown, utimensat and truncate do and applies it. Takes inode->lock.
[[nodiscard]] int inode_change(struct inode *inode, struct inode_change *change);
// Times: now, under attribute_lock.
void inode_touch_modified(struct inode *inode); // mtime and ctime
void inode_touch_changed(struct inode *inode);  // ctime
void inode_touch_accessed(
    struct inode *inode, const struct mount *mount);      // atime by the relatime rule
void inode_nlink_add(struct inode *inode, int32_t delta); // also ctime
// A writer takes the set-id bits away.
void inode_remove_privileges(struct inode *inode);

// Writers against execution: 0 or -ETXTBSY.
[[nodiscard]] int inode_write_access_get(struct inode *inode);
void inode_write_access_put(struct inode *inode);
[[nodiscard]] int inode_write_deny(struct inode *inode);
void inode_write_allow(struct inode *inode);

void inode_init(void);
