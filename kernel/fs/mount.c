// SPDX-License-Identifier: MIT
// Mounts: the tree, its hash table, and mounting of file systems. Theory in mount.h; binding,
// moving and unmounting are in mount_change.c.
#include "kernel/fs/mount.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/inode.h"
#include "kernel/fs/mount_private.h"
#include "kernel/fs/vfs.h"
#include "mm/slab.h"

#define MOUNT_HASH_BITS 6

struct mutex mount_lock = MUTEX_INIT(mount_lock, "mount: lock");
struct seqcount mount_sequence; // written under mount_lock, preemption off
struct mount *mount_root;
struct list_node mount_list = LIST_INIT(mount_list);

static struct hlist_head mount_hash[1u << MOUNT_HASH_BITS]; // under mount_lock; readers RCU
static uint32_t next_id = 20;                               // under mount_lock

static struct hlist_head *mount_bucket(const struct mount *parent, const struct dentry *mountpoint)
{
    uint64_t hash = hash_combine((uintptr_t)parent, (uintptr_t)mountpoint);
    return &mount_hash[hash_to_index(hash, MOUNT_HASH_BITS)];
}

struct mount *mount_lookup(const struct mount *parent, const struct dentry *mountpoint)
{
    struct mount *mount;
    hlist_for_each_entry_rcu(mount, mount_bucket(parent, mountpoint), hash_node)
    {
        if (mount->parent == parent && mount->mountpoint == mountpoint)
            return mount;
    }
    return NULL;
}

static void mount_free(struct rcu_head *head)
{
    struct mount *mount = container_of(head, struct mount, rcu);
    kfree(mount->source);
    kfree(mount);
}

void mount_put(struct mount *mount)
{
    uint32_t left = __atomic_sub_fetch(&mount->refcount, 1, __ATOMIC_ACQ_REL);
    assert(left != UINT32_MAX);
    if (left != 0)
        return;
    assert(!mount_is_attached(mount));
    struct superblock *superblock = mount->superblock;
    dentry_put(mount->root);
    rcu_call(&mount->rcu, mount_free);
    superblock_put(superblock);
}

bool mount_get_unless_dead(struct mount *mount)
{
    uint32_t count = __atomic_load_n(&mount->refcount, __ATOMIC_RELAXED);
    while (count != 0)
        if (__atomic_compare_exchange_n(
                &mount->refcount, &count, count + 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            return true;
    return false;
}

void path_put(const struct path *path)
{
    // The dentry first: its superblock lives as long as the mount does.
    dentry_put(path->dentry);
    mount_put(path->mount);
}

// What is mounted on a place, with a reference, or NULL.
static struct mount *mount_lookup_get(const struct path *path)
{
    struct mount *mount;
    uint32_t sequence;
    do {
        sequence = seqcount_read_begin(&mount_sequence);
        rcu_read_lock();
        mount = mount_lookup(path->mount, path->dentry);
        if (mount != NULL && !mount_get_unless_dead(mount))
            mount = NULL;
        rcu_read_unlock();
        if (!seqcount_read_retry(&mount_sequence, sequence))
            return mount;
        if (mount != NULL)
            mount_put(mount);
    } while (true);
}

void mount_follow(struct path *path)
{
    while (unlikely(path->dentry->flags & DENTRY_MOUNTED)) {
        struct mount *mount = mount_lookup_get(path);
        if (mount == NULL)
            return;
        dentry_get(mount->root);
        path_put(path);
        path->mount = mount;
        path->dentry = mount->root;
    }
}

bool mount_follow_up(struct path *path)
{
    struct path up;
    rcu_read_lock();
    uint32_t sequence;
    do {
        sequence = seqcount_read_begin(&mount_sequence);
        up.mount = __atomic_load_n(&path->mount->parent, __ATOMIC_ACQUIRE);
        up.dentry = path->mount->mountpoint;
        // A mount holds its parent and mountpoint, so neither dies before the sequence changes.
        if (up.mount == path->mount || up.dentry == NULL) {
            rcu_read_unlock();
            return false;
        }
        if (!mount_get_unless_dead(up.mount))
            continue;
        if (dentry_get_unless_dead(up.dentry)) {
            if (!seqcount_read_retry(&mount_sequence, sequence))
                break;
            rcu_read_unlock();
            path_put(&up);
            rcu_read_lock();
            continue;
        }
        rcu_read_unlock();
        mount_put(up.mount);
        rcu_read_lock();
    } while (true);
    rcu_read_unlock();
    path_put(path);
    *path = up;
    return true;
}

struct mount *mount_create(
    struct superblock *superblock, struct dentry *root, uint32_t flags, const char *source)
{
    struct mount *mount = kzalloc(sizeof(*mount));
    if (mount == NULL)
        return NULL;
    mount->source = kstrdup(source[0] ? source : "none");
    if (mount->source == NULL) {
        kfree(mount);
        return NULL;
    }
    superblock_get(superblock);
    dentry_get(root);
    mount->superblock = superblock;
    mount->root = root;
    mount->parent = mount;
    mount->flags = flags;
    mount->refcount = 1;
    list_init(&mount->children);
    return mount;
}

void mount_attach_locked(struct mount *mount, const struct path *at)
{
    assert(mutex_is_held(&mount_lock));
    assert(!mount_is_attached(mount));
    mount_get(mount);
    path_get(at);
    preempt_disable();
    seqcount_write_begin(&mount_sequence);
    mount->mountpoint = at->dentry;
    mount->parent = at->mount;
    hlist_add_head(mount_bucket(at->mount, at->dentry), &mount->hash_node);
    seqcount_write_end(&mount_sequence);
    preempt_enable();
    spin_lock(&at->dentry->lock);
    at->dentry->flags |= DENTRY_MOUNTED;
    spin_unlock(&at->dentry->lock);
    list_add_tail(&at->mount->children, &mount->sibling);
    list_add_tail(&mount_list, &mount->list_node);
    mount->id = next_id++;
}

void mount_detach_locked(struct mount *mount, struct path *was_at)
{
    assert(mutex_is_held(&mount_lock));
    assert(mount_is_attached(mount));
    was_at->mount = mount->parent;
    was_at->dentry = mount->mountpoint;
    preempt_disable();
    seqcount_write_begin(&mount_sequence);
    hlist_remove_rcu(&mount->hash_node);
    mount->parent = mount;
    mount->mountpoint = NULL;
    seqcount_write_end(&mount_sequence);
    preempt_enable();
    list_remove(&mount->sibling);
    list_remove(&mount->list_node);
    // The flag stays if the same dentry is a mountpoint elsewhere too; a stale flag only costs a
    // look.
    if (mount_lookup(was_at->mount, was_at->dentry) == NULL &&
        !mount_is_mountpoint(was_at->dentry)) {
        spin_lock(&was_at->dentry->lock);
        was_at->dentry->flags &= ~DENTRY_MOUNTED;
        spin_unlock(&was_at->dentry->lock);
    }
}

bool mount_is_mountpoint(const struct dentry *dentry)
{
    struct mount *mount;
    list_for_each_entry (mount, &mount_list, list_node) {
        if (mount->mountpoint == dentry)
            return true;
    }
    return false;
}

// Neither directory on file nor file on directory, and not on what was removed.
static int mount_check_place(const struct dentry *root, const struct path *at)
{
    if (inode_is_directory(root->inode) != inode_is_directory(at->dentry->inode))
        return -ENOTDIR;
    if (dentry_is_removed(at->dentry))
        return -ENOENT;
    if (at->mount != mount_root && !mount_is_attached(at->mount))
        return -EINVAL;
    return 0;
}

int mount_attach(struct mount *mount, const struct path *at)
{
    struct path top = *at;
    path_get(&top);
    mutex_lock(&mount_lock);
    mount_follow(&top); // a second mount on a place goes on top of the first
    int error = mount_check_place(mount->root, &top);
    if (error == 0)
        mount_attach_locked(mount, &top);
    mutex_unlock(&mount_lock);
    path_put(&top);
    return error;
}

// The same file system on top of itself: -EBUSY; or 1 when it is there because the kernel put it
// there, which programs that mount /proc for themselves need not know.
static int mount_check_same(const struct mount *mount, const struct path *at)
{
    struct path top = *at;
    path_get(&top);
    mount_follow(&top);
    int result = 0;
    mutex_lock(&mount_lock);
    if (top.mount->superblock == mount->superblock && top.dentry == mount->root) {
        result = top.mount->flags & MOUNT_INITIAL ? 1 : -EBUSY;
        if (result == 1)
            top.mount->flags = mount->flags;
    }
    mutex_unlock(&mount_lock);
    path_put(&top);
    return result;
}

int mount_filesystem(const char *type_name, const char *source, const struct path *at,
    uint32_t flags, bool read_only_superblock, const char *options)
{
    const struct filesystem_type *type = filesystem_find(type_name);
    if (type == NULL)
        return -ENODEV;
    struct superblock *superblock;
    const struct mount_request request = {source, options, read_only_superblock};
    int error = type->mount(type, &request, &superblock);
    if (error != 0)
        return error;
    if (read_only_superblock)
        superblock->flags |= SUPERBLOCK_READ_ONLY;
    struct mount *mount = mount_create(superblock, superblock->root, flags, source);
    superblock_put(superblock);
    if (mount == NULL)
        return -ENOMEM;
    error = mount_check_same(mount, at);
    if (error == 0)
        error = mount_attach(mount, at);
    mount_put(mount);
    return error == 1 ? 0 : error;
}

int mount_write_get(struct mount *mount)
{
    if (unlikely(mount->flags & MOUNT_READ_ONLY || mount->superblock->flags & SUPERBLOCK_READ_ONLY))
        return -EROFS;
    __atomic_fetch_add(&mount->writers, 1, __ATOMIC_SEQ_CST);
    if (unlikely(__atomic_load_n(&mount->flags, __ATOMIC_SEQ_CST) & MOUNT_READ_ONLY)) {
        mount_write_put(mount);
        return -EROFS;
    }
    return 0;
}

void mount_write_put(struct mount *mount)
{
    uint32_t left = __atomic_sub_fetch(&mount->writers, 1, __ATOMIC_RELEASE);
    assert(left != UINT32_MAX);
}

void mount_init(void)
{
    struct superblock *superblock;
    const struct filesystem_type *type = filesystem_find("rootfs");
    assert(type != NULL);
    int error = type->mount(type, &(struct mount_request){"rootfs", "", false}, &superblock);
    assert(error == 0); // at boot, from an empty heap
    mount_root = mount_create(superblock, superblock->root, 0, "rootfs");
    assert(mount_root != NULL);
    superblock_put(superblock);
    mount_root->id = next_id++;
    list_add_tail(&mount_list, &mount_root->list_node);
}
