// SPDX-License-Identifier: MIT
// Mounts: which superblock's tree appears where. There is one mount namespace.
//
// All changes are made under mount_lock (a mutex). Path walks find what is mounted on (mount,
// dentry) in a hash table under RCU and compare mount_sequence before and after; a mount's memory
// is freed after a grace period.
#pragma once

#include "kernel/base/hlist.h"
#include "kernel/base/list.h"
#include "kernel/base/seqcount.h"
#include "kernel/core/mutex.h"
#include "kernel/core/rcu.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/file.h"

struct superblock;

#define MOUNT_READ_ONLY   BIT(0)
#define MOUNT_NOSUID      BIT(1)
#define MOUNT_NODEV       BIT(2)
#define MOUNT_NOEXEC      BIT(3)
#define MOUNT_NOATIME     BIT(4)
#define MOUNT_NODIRATIME  BIT(5)
#define MOUNT_STRICTATIME BIT(6)
#define MOUNT_RELATIME    BIT(7)
#define MOUNT_INITIAL                                                                              \
    BIT(8) // made by the kernel at boot: a program's mount of the same thing there takes it over

struct mount {
    struct dentry *root; // fixed; with a reference
    struct superblock *superblock;
    struct mount
        *parent; // itself: not attached, or the root; under mount_lock, readers use mount_sequence
    struct dentry *mountpoint; // in parent; with a reference
    struct hlist_node hash_node;
    struct list_node children; // their sibling; under mount_lock
    struct list_node sibling;
    struct list_node list_node; // all mounts in order, for /proc/mounts; under mount_lock
    uint32_t flags;             // MOUNT_*; under mount_lock, read anywhere
    uint32_t id;
    uint32_t refcount; // atomic: being attached counts one; 0: dead
    uint32_t writers;  // files open for writing; atomic
    char *source;      // what mount(2) called the device
    struct rcu_head rcu;
};

extern struct mutex mount_lock;
extern struct seqcount mount_sequence;
extern struct mount *mount_root;
extern struct list_node mount_list;

static inline void mount_get(struct mount *mount)
{
    __atomic_fetch_add(&mount->refcount, 1, __ATOMIC_RELAXED);
}
void mount_put(struct mount *mount);
bool mount_get_unless_dead(struct mount *mount); // under RCU

static inline void path_get(const struct path *path)
{
    mount_get(path->mount);
    dentry_get(path->dentry);
}
void path_put(const struct path *path);
static inline bool path_equal(const struct path *a, const struct path *b)
{
    return a->mount == b->mount && a->dentry == b->dentry;
}

// What is mounted on the dentry (topmost is found by repeating), without a reference; RCU or
// mount_lock.
struct mount *mount_lookup(const struct mount *parent, const struct dentry *mountpoint);
// Replaces a place that is mounted upon by the root on top of it, all references counted.
void mount_follow(struct path *path);
// The other way: from a mount's root to the place it is mounted on. False at the top.
bool mount_follow_up(struct path *path);

// For the kernel and mount(2). Paths with references stay the caller's. 0 or -errno.
struct mount *mount_create(struct superblock *superblock, struct dentry *root, uint32_t flags,
    const char *source); // takes no references over
[[nodiscard]] int mount_attach(struct mount *mount, const struct path *at);
// A new superblock of a type, mounted. `source` and `options` may be "".
[[nodiscard]] int mount_filesystem(const char *type, const char *source, const struct path *at,
    uint32_t flags, bool read_only_superblock, const char *options);
[[nodiscard]] int mount_bind(const struct path *from, const struct path *at, bool recursive);
[[nodiscard]] int mount_remount(
    const struct path *at, uint32_t flags, bool bind, bool read_only, const char *options);
[[nodiscard]] int mount_move(const struct path *from, const struct path *to);
// Takes a mount off; the caller holds one reference to it. -EBUSY if others do, unless lazy;
// -EINVAL: not attached.
[[nodiscard]] int mount_unmount(struct mount *mount, bool lazy);
[[nodiscard]] int mount_pivot(const struct path *new_root, const struct path *put_old);

// Write access to a mount: 0 or -EROFS. Taken for the length of a change, or while a file is open
// for writing.
[[nodiscard]] int mount_write_get(struct mount *mount);
void mount_write_put(struct mount *mount);
void mount_init(void);
