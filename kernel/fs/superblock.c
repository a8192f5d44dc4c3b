// SPDX-License-Identifier: MIT
// File-system types and superblocks.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/inode.h"
#include "mm/slab.h"

// A superblock with what only this file needs.
struct superblock_entry {
    struct superblock superblock;
    struct list_node node;
};

static struct list_node types = LIST_INIT(types); // grows only, under list_lock
static struct list_node superblocks = LIST_INIT(superblocks);
static uint32_t next_device = 1;
static struct spinlock list_lock = SPINLOCK_INIT("superblock: lists"); // the above

void filesystem_register(struct filesystem_type *type)
{
    assert(filesystem_find(type->name) == NULL);
    spin_lock(&list_lock);
    list_add_tail(&types, &type->node);
    spin_unlock(&list_lock);
}

const struct filesystem_type *filesystem_find(const char *name)
{
    for (struct filesystem_type *type = filesystem_next(NULL); type; type = filesystem_next(type))
        if (strcmp(type->name, name) == 0)
            return type;
    return NULL;
}

struct filesystem_type *filesystem_next(const struct filesystem_type *type)
{
    spin_lock(&list_lock);
    struct list_node *next = type ? type->node.next : types.next;
    spin_unlock(&list_lock);
    return next == &types ? NULL : list_entry(next, struct filesystem_type, node);
}

struct superblock *superblock_create(
    const struct filesystem_type *type, const struct superblock_ops *ops, uint64_t magic)
{
    struct superblock_entry *entry = kzalloc(sizeof(*entry));
    if (entry == NULL)
        return NULL;
    struct superblock *superblock = &entry->superblock;
    superblock->type = type;
    superblock->ops = ops;
    superblock->magic = magic;
    superblock->refcount = 1;
    superblock->max_file_bytes = INT64_MAX & PAGE_MASK;
    mutex_init(&superblock->rename_lock);
    spin_lock_init(&superblock->lru_lock);
    list_init(&superblock->lru);
    superblock->lru_limit = SIZE_MAX; // until memory is short
    spin_lock(&list_lock);
    superblock->device.minor = next_device++;
    list_add_tail(&superblocks, &entry->node);
    spin_unlock(&list_lock);
    return superblock;
}

void superblock_put(struct superblock *superblock)
{
    struct superblock_entry *entry = container_of(superblock, struct superblock_entry, superblock);
    spin_lock(&list_lock);
    assert(superblock->refcount != 0);
    bool last = --superblock->refcount == 0;
    if (last)
        list_remove(&entry->node);
    spin_unlock(&list_lock);
    if (!last)
        return;
    if (superblock->root != NULL)
        dentry_destroy_tree(superblock->root);
    rcu_synchronize(); // freed dentries and inodes point here until their grace period is over
    rcu_barrier();
    if (superblock->ops != NULL && superblock->ops->destroy != NULL)
        superblock->ops->destroy(superblock);
    kfree(entry);
}

struct superblock *superblock_next_get(struct superblock *superblock)
{
    struct superblock_entry *entry = NULL;
    spin_lock(&list_lock);
    struct list_node *next = superblocks.next;
    if (superblock != NULL)
        next = container_of(superblock, struct superblock_entry, superblock)->node.next;
    if (next != &superblocks) {
        entry = list_entry(next, struct superblock_entry, node);
        entry->superblock.refcount++;
    }
    spin_unlock(&list_lock);
    if (superblock != NULL)
        superblock_put(superblock);
    return entry ? &entry->superblock : NULL;
}

bool superblock_get_unless_dead(struct superblock *superblock)
{
    spin_lock(&list_lock);
    const bool alive = superblock->refcount != 0;
    superblock->refcount += alive;
    spin_unlock(&list_lock);
    return alive;
}

void superblock_get(struct superblock *superblock)
{
    spin_lock(&list_lock);
    superblock->refcount++;
    spin_unlock(&list_lock);
}
