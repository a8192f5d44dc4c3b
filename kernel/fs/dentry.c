// SPDX-License-Identifier: MIT
// The dentry cache; its theory is in dentry.h.
//
// The table has a fixed number of buckets, chosen at boot from the size of memory, each a pointer;
// a few bucket locks are shared by all of them. Lookups take no lock.
//
// Dying: the last reference to an unhashed dentry, or the shrinker, marks it DENTRY_REF_DEAD.
// Nobody can get a reference from then on, so the rest (table, LRU, parent) can be done at leisure.
#include "kernel/fs/dentry.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/counter.h"
#include "kernel/core/random.h"
#include "kernel/fs/inode.h"
#include "mm/page.h"
#include "mm/slab.h"
#include <linux/errno.h>

#define BUCKET_LOCKS 64

struct seqcount dentry_rename_sequence; // written under rename_sequence_lock
uint64_t dentry_hash_seed;

static struct spinlock rename_sequence_lock = SPINLOCK_INIT("dentry: rename sequence");
struct hlist_head *dentry_buckets;
uint32_t dentry_bucket_shift;
static struct spinlock bucket_locks[BUCKET_LOCKS];
static struct slab_cache *dentry_cache;

COUNTER(dentry, shrunk);

static inline struct spinlock *dentry_bucket_lock(uint32_t hash)
{
    return &bucket_locks[(hash >> dentry_bucket_shift) % BUCKET_LOCKS];
}

// A name in memory of its own: too long for the dentry, or exchanged. Readers may look at it until
// a grace period after it was replaced.
struct long_name {
    struct rcu_head rcu;
    char text[];
};

static char *long_name_create(size_t len)
{
    struct long_name *name =
        kzalloc(sizeof(*name) + MAX(len + 1, sizeof(uint64_t))); // short ones are read as a word
    return name ? name->text : NULL;
}

static void long_name_free(const char *text)
{
    struct long_name *name =
        (struct long_name *)(uintptr_t)(text - offsetof(struct long_name, text));
    kfree_rcu(name, &name->rcu);
}

struct dentry *dentry_create(
    struct superblock *superblock, struct dentry *parent, const char *name, size_t len)
{
    assert(len <= 255);
    struct dentry *dentry = slab_alloc(dentry_cache, PAGE_ALLOC_ZERO);
    if (dentry == NULL)
        return NULL;
    char *text = dentry->inline_name;
    if (len >= DENTRY_INLINE_NAME) {
        text = long_name_create(len);
        if (text == NULL) {
            slab_free(dentry_cache, dentry);
            return NULL;
        }
    }
    memcpy(text, name, len);
    text[len] = 0;
    dentry->name = text;
    dentry->name_len = (uint32_t)len;
    dentry->refcount = 1;
    dentry->superblock = superblock;
    dentry->next_cookie = DENTRY_COOKIE_LAST;
    spin_lock_init(&dentry->lock);
    list_init(&dentry->lru_node);
    dentry->parent = dentry;
    if (parent != NULL) {
        dentry_get(parent);
        dentry->parent = parent;
        dentry->hash = dentry_name_hash(parent, name, len);
    }
    return dentry;
}

struct dentry *dentry_create_root(struct superblock *superblock, struct inode *inode)
{
    struct dentry *root = dentry_create(superblock, NULL, "/", 1);
    if (root == NULL) {
        inode_put(inode);
        return NULL;
    }
    root->inode = inode;
    root->flags = DENTRY_PERSISTENT;
    return root;
}

void dentry_attach(struct dentry *dentry, struct inode *inode)
{
    spin_lock(&dentry->lock);
    assert(dentry->inode == NULL);
    seqcount_write_begin(&dentry->sequence);
    __atomic_store_n(&dentry->inode, inode, __ATOMIC_RELEASE);
    if (S_ISLNK(inode->mode))
        dentry->flags |= DENTRY_LINK;
    seqcount_write_end(&dentry->sequence);
    spin_unlock(&dentry->lock);
}

static void dentry_hash_add(struct dentry *dentry)
{
    struct spinlock *lock = dentry_bucket_lock(dentry->hash);
    spin_lock(lock);
    hlist_add_head(dentry_bucket(dentry->hash), &dentry->hash_node);
    spin_unlock(lock);
    dentry->flags |= DENTRY_HASHED;
}

static void dentry_hash_remove(struct dentry *dentry)
{
    struct spinlock *lock = dentry_bucket_lock(dentry->hash);
    spin_lock(lock);
    hlist_remove_rcu(&dentry->hash_node);
    spin_unlock(lock);
    dentry->flags &= ~DENTRY_HASHED;
}

// Cookies only shrink, so a new child always becomes the first one of the tree: listings show the
// newest entry first, as those of Linux do. The directory is locked.
static void dentry_children_insert(struct dentry *parent, struct dentry *child)
{
    child->cookie = parent->next_cookie--;
    assert(child->cookie > 1); // those are "." and ".."
    struct rbtree_node **link = &parent->children.root;
    struct rbtree_node *above = NULL;
    while (*link != NULL) {
        above = *link;
        link = &above->left;
    }
    rbtree_insert_at(&parent->children, &child->sibling, above, link, NULL);
}

void dentry_add(struct dentry *dentry, bool persistent)
{
    assert(!(dentry->flags & DENTRY_HASHED));
    spin_lock(&dentry->lock);
    if (persistent) {
        assert(dentry->inode != NULL);
        dentry->flags |= DENTRY_PERSISTENT;
        dentry_get(dentry);
        dentry_children_insert(dentry->parent, dentry);
    }
    dentry_hash_add(dentry);
    spin_unlock(&dentry->lock);
}

// True: the caller has to drop the reference that a persistent dentry held to itself. dentry->lock
// is held.
static bool dentry_remove_locked(struct dentry *dentry)
{
    bool persistent = dentry->flags & DENTRY_PERSISTENT;
    if (!(dentry->flags & DENTRY_HASHED))
        return false;
    seqcount_write_begin(&dentry->sequence);
    dentry_hash_remove(dentry);
    if (persistent) {
        rbtree_remove(&dentry->parent->children, &dentry->sibling, NULL);
        dentry->flags &= ~DENTRY_PERSISTENT;
    }
    seqcount_write_end(&dentry->sequence);
    return persistent;
}

void dentry_remove(struct dentry *dentry)
{
    spin_lock(&dentry->lock);
    bool drop = dentry_remove_locked(dentry);
    spin_unlock(&dentry->lock);
    if (drop)
        dentry_put(dentry);
}

static void dentry_free(struct rcu_head *head)
{
    struct dentry *dentry = container_of(head, struct dentry, rcu);
    if (dentry->name != dentry->inline_name)
        kfree(dentry->name - offsetof(struct long_name, text));
    slab_free(dentry_cache, dentry);
}

static void dentry_lru_remove(struct dentry *dentry)
{
    struct superblock *superblock = dentry->superblock;
    spin_lock(&superblock->lru_lock);
    if (dentry->flags & DENTRY_ON_LRU) {
        list_remove(&dentry->lru_node);
        dentry->flags &= ~DENTRY_ON_LRU;
        superblock->lru_count--;
    }
    spin_unlock(&superblock->lru_lock);
}

// Takes a dead dentry apart; returns its parent, whose reference the caller has to put, or NULL.
static struct dentry *dentry_kill(struct dentry *dentry)
{
    assert(dentry->refcount == DENTRY_REF_DEAD);
    assert(!(dentry->flags & DENTRY_PERSISTENT) || dentry_is_root(dentry));
    spin_lock(&dentry->lock);
    if (dentry->flags & DENTRY_HASHED) {
        seqcount_write_begin(&dentry->sequence);
        dentry_hash_remove(dentry);
        seqcount_write_end(&dentry->sequence);
    }
    spin_unlock(&dentry->lock);
    if (dentry->flags & DENTRY_ON_LRU)
        dentry_lru_remove(dentry);
    struct dentry *parent = dentry_is_root(dentry) ? NULL : dentry->parent;
    struct inode *inode = dentry->inode;
    rcu_call(&dentry->rcu, dentry_free);
    if (inode != NULL)
        inode_put(
            inode); // its memory outlives the grace period of readers that came through the dentry
    return parent;
}

// Keeps an unused dentry that is still in the table for later. True if it was kept.
static bool dentry_keep(struct dentry *dentry)
{
    struct superblock *superblock = dentry->superblock;
    if (!(dentry->flags & DENTRY_HASHED))
        return false;
    spin_lock(&superblock->lru_lock);
    if (!(dentry->flags & DENTRY_ON_LRU)) {
        dentry->flags |= DENTRY_ON_LRU;
        list_add_tail(&superblock->lru, &dentry->lru_node);
        superblock->lru_count++;
    }
    spin_unlock(&superblock->lru_lock);
    return true;
}

// Takes the longest unused dentry off the list. True if there was one; *dead is it, if nobody has
// come to use it again: dentry_kill() is to follow.
static bool dentry_take_oldest(struct superblock *superblock, size_t limit, struct dentry **dead)
{
    *dead = NULL;
    if (__atomic_load_n(&superblock->lru_count, __ATOMIC_RELAXED) <= limit)
        return false; // as nearly always: without the lock
    spin_lock(&superblock->lru_lock);
    struct dentry *dentry = superblock->lru_count > limit
                                ? list_first_entry(&superblock->lru, struct dentry, lru_node)
                                : NULL;
    if (dentry != NULL) {
        list_remove(&dentry->lru_node);
        dentry->flags &= ~DENTRY_ON_LRU;
        superblock->lru_count--;
        uint32_t expected = 0; // others may use it again: then it comes back to the list by itself
        if (__atomic_compare_exchange_n(&dentry->refcount, &expected, DENTRY_REF_DEAD, false,
                __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            *dead = dentry;
    }
    spin_unlock(&superblock->lru_lock);
    return dentry != NULL;
}

void dentry_put_slow(struct dentry *dentry)
{
    while (dentry != NULL) {
        struct superblock *superblock = dentry->superblock;
        spin_lock(&dentry->lock);
        uint32_t left = __atomic_sub_fetch(&dentry->refcount, 1, __ATOMIC_ACQ_REL);
        assert(left < DENTRY_REF_DEAD - 1);
        if (left != 0) {
            spin_unlock(&dentry->lock);
            return;
        }
        if (dentry_keep(dentry)) {
            spin_unlock(&dentry->lock);
            (void)dentry_take_oldest(superblock, superblock->lru_limit, &dentry);
            if (dentry != NULL)
                dentry = dentry_kill(dentry);
            continue;
        }
        uint32_t expected = 0;
        bool last = __atomic_compare_exchange_n(&dentry->refcount, &expected, DENTRY_REF_DEAD,
            false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
        spin_unlock(&dentry->lock);
        if (!last)
            return;
        dentry = dentry_kill(dentry);
    }
}

// Frees the longest unused dentry; true if there was one on the list.
static bool dentry_shrink_one(struct superblock *superblock)
{
    struct dentry *dead;
    const bool any = dentry_take_oldest(superblock, 0, &dead);
    if (dead != NULL) {
        counter_add(dentry, shrunk, 1);
        struct dentry *parent = dentry_kill(dead);
        if (parent != NULL)
            dentry_put(parent);
    }
    return any;
}

bool dentry_get_unless_dead(struct dentry *dentry)
{
    uint32_t count = __atomic_load_n(&dentry->refcount, __ATOMIC_RELAXED);
    while (!(count & DENTRY_REF_DEAD))
        if (__atomic_compare_exchange_n(
                &dentry->refcount, &count, count + 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            return true;
    return false;
}

struct dentry *dentry_lookup_rcu(
    struct dentry *parent, const char *name, size_t len, uint32_t *sequence)
{
    uint32_t hash = dentry_name_hash(parent, name, len);
    struct dentry *dentry;
    hlist_for_each_entry_rcu(dentry, dentry_bucket(hash), hash_node)
    {
        if (dentry->hash != hash || dentry->parent != parent)
            continue;
        uint32_t seen = seqcount_read_begin(&dentry->sequence);
        if (dentry->parent != parent || dentry->name_len != len ||
            !dentry_name_equal(__atomic_load_n(&dentry->name, __ATOMIC_ACQUIRE), name, len))
            continue;
        if (unlikely(!(dentry->flags & DENTRY_HASHED) || dentry->refcount & DENTRY_REF_DEAD))
            continue;
        *sequence = seen;
        return dentry;
    }
    return NULL;
}

struct dentry *dentry_lookup(struct dentry *parent, const char *name, size_t len)
{
    struct dentry *found;
    uint32_t sequence = 0;
    uint32_t renames;
    do {
        rcu_read_lock();
        renames = seqcount_read_begin(&dentry_rename_sequence);
        found = dentry_lookup_rcu(parent, name, len, &sequence);
        if (found != NULL && !dentry_get_unless_dead(found))
            found = NULL;
        rcu_read_unlock();
        if (found != NULL) {
            if (!seqcount_read_retry(&found->sequence, sequence))
                return found;
            dentry_put(found); // renamed or removed meanwhile
            continue;
        }
        if (!seqcount_read_retry(&dentry_rename_sequence, renames))
            return NULL;
    } while (true);
}

struct dentry *dentry_parent_get(struct dentry *dentry)
{
    spin_lock(&dentry->lock);
    struct dentry *parent = dentry->parent;
    dentry_get(parent);
    spin_unlock(&dentry->lock);
    return parent;
}

bool dentry_is_removed(const struct dentry *dentry)
{
    return !(dentry->flags & DENTRY_HASHED) && !dentry_is_root(dentry);
}

bool dentry_is_below(const struct dentry *dentry, const struct dentry *ancestor)
{
    for (;;) {
        if (dentry == ancestor)
            return true;
        if (dentry_is_root(dentry))
            return false;
        dentry = dentry->parent;
    }
}

struct dentry *dentry_child_at(const struct dentry *dentry, uint64_t from)
{
    struct rbtree_node *node = dentry->children.root;
    struct dentry *best = NULL;
    while (node != NULL) {
        struct dentry *child = rbtree_entry(node, struct dentry, sibling);
        if (child->cookie >= from) {
            best = child;
            node = node->left;
        } else {
            node = node->right;
        }
    }
    return best;
}

// Name and parent of `dentry` become `parent` and `name`; the dentry is unhashed and locked. Takes
// the text over.
static void dentry_rename_locked(
    struct dentry *dentry, struct dentry *parent, const char *name, size_t len, char *long_text)
{
    const char *old = dentry->name != dentry->inline_name ? dentry->name : NULL;
    char *text = long_text ? long_text : dentry->inline_name;
    if (long_text == NULL)
        memset(text, 0, DENTRY_INLINE_NAME); // names of less than 8 bytes are compared as words
    memcpy(text, name, len);
    text[len] = 0;
    __atomic_store_n(&dentry->name, text, __ATOMIC_RELEASE);
    dentry->name_len = (uint32_t)len;
    dentry->parent = parent;
    dentry->hash = dentry_name_hash(parent, text, len);
    if (old != NULL)
        long_name_free(old);
}

int dentry_move(struct dentry *dentry, struct dentry *target)
{
    char *long_text = NULL;
    if (target->name_len >= DENTRY_INLINE_NAME &&
        (long_text = long_name_create(target->name_len)) == NULL)
        return -ENOMEM;
    struct dentry *old_parent = dentry->parent;
    struct dentry *new_parent = target->parent;
    dentry_get(new_parent);
    spin_lock(&rename_sequence_lock);
    seqcount_write_begin(&dentry_rename_sequence);
    // The name that is replaced goes within the same section: no lookup finds neither of the two.
    spin_lock(&target->lock);
    bool drop_target = dentry_remove_locked(target);
    spin_unlock(&target->lock);
    spin_lock(&dentry->lock);
    seqcount_write_begin(&dentry->sequence);
    bool persistent = dentry->flags & DENTRY_PERSISTENT;
    if (persistent)
        rbtree_remove(&old_parent->children, &dentry->sibling, NULL);
    dentry_hash_remove(dentry);
    dentry_rename_locked(dentry, new_parent, target->name, target->name_len, long_text);
    dentry_hash_add(dentry);
    if (persistent)
        dentry_children_insert(new_parent, dentry);
    seqcount_write_end(&dentry->sequence);
    spin_unlock(&dentry->lock);
    seqcount_write_end(&dentry_rename_sequence);
    spin_unlock(&rename_sequence_lock);
    if (drop_target)
        dentry_put(target);
    dentry_put(old_parent);
    return 0;
}

// One half of an exchange: takes the dentry off where it is.
static void dentry_exchange_begin(struct dentry *dentry, uint32_t subclass)
{
    spin_lock_nested(&dentry->lock, subclass);
    seqcount_write_begin(&dentry->sequence);
    if (dentry->flags & DENTRY_PERSISTENT)
        rbtree_remove(&dentry->parent->children, &dentry->sibling, NULL);
    dentry_hash_remove(dentry);
}

static void dentry_exchange_end(struct dentry *dentry)
{
    dentry_hash_add(dentry);
    if (dentry->flags & DENTRY_PERSISTENT)
        dentry_children_insert(dentry->parent, dentry);
    seqcount_write_end(&dentry->sequence);
    spin_unlock(&dentry->lock);
}

int dentry_exchange(struct dentry *a, struct dentry *b)
{
    assert(a->flags & DENTRY_HASHED);
    assert(b->flags & DENTRY_HASHED);
    // Copies of both names: either may lie inside its dentry.
    char *a_long = long_name_create(b->name_len);
    char *b_long = long_name_create(a->name_len);
    if (a_long == NULL || b_long == NULL) {
        if (a_long != NULL)
            long_name_free(a_long);
        if (b_long != NULL)
            long_name_free(b_long);
        return -ENOMEM;
    }
    spin_lock(&rename_sequence_lock);
    seqcount_write_begin(&dentry_rename_sequence);
    dentry_exchange_begin(a, 0);
    dentry_exchange_begin(b, 1);
    struct dentry *a_parent = a->parent;
    const char *a_name = a->name;
    uint32_t a_len = a->name_len;
    memcpy(b_long, a_name, a_len); // before the old text of `a` goes
    dentry_rename_locked(a, b->parent, b->name, b->name_len, a_long);
    dentry_rename_locked(b, a_parent, b_long, a_len, b_long);
    dentry_exchange_end(b);
    dentry_exchange_end(a);
    seqcount_write_end(&dentry_rename_sequence);
    spin_unlock(&rename_sequence_lock);
    return 0;
}

void dentry_shrink_superblock(struct superblock *superblock)
{
    while (dentry_shrink_one(superblock))
        ;
}

size_t dentry_shrink(size_t count)
{
    size_t done = 0;
    for (struct superblock *superblock = superblock_next_get(NULL); superblock != NULL;
        superblock = superblock_next_get(superblock)) {
        while (done < count && dentry_shrink_one(superblock))
            done++;
    }
    return done;
}

void dentry_destroy_tree(struct dentry *root)
{
    // Depth first without recursion: the first child, else up.
    struct dentry *at = root;
    for (;;) {
        struct dentry *child = dentry_child_at(at, 0);
        if (child != NULL) {
            at = child;
            continue;
        }
        if (at == root)
            break;
        struct dentry *parent = at->parent;
        dentry_get(at);
        dentry_remove(at);
        dentry_put(at);
        at = parent;
    }
    dentry_shrink_superblock(root->superblock);
    dentry_put(root);
}

void dentry_init(void)
{
    struct page_statistics statistics;
    page_statistics_read(&statistics);
    // One bucket for 8 pages: 12 MiB give 512 of them, 8 GiB 2^18; the cap is 8 MiB of table.
    uint64_t wanted = CLAMP(statistics.total_pages / 8, UINT64_C(512), UINT64_C(1) << 20);
    uint32_t bits = bit_highest(round_up_power_of_two(wanted));
    dentry_bucket_shift = 32 - bits;
    dentry_buckets = kzalloc(sizeof(*dentry_buckets) << bits);
    dentry_cache = slab_cache_create("dentry", sizeof(struct dentry), 0);
    assert(dentry_buckets != NULL); // at boot, from an empty heap
    assert(dentry_cache != NULL);
    for (size_t i = 0; i < BUCKET_LOCKS; i++)
        spin_lock_init(&bucket_locks[i]);
    random_fill(&dentry_hash_seed, sizeof(dentry_hash_seed));
    mm_shrink_caches = dentry_shrink;
}
