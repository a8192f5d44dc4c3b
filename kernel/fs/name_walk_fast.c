// SPDX-License-Identifier: MIT
// The inner loop of a path walk in RCU mode: from directory to directory, everything in registers.
//
// One pass over a component's bytes finds its end and computes its hash, eight bytes at a time,
// reading nothing outside the path. The loop stops, without having moved, before whatever the
// general code has to judge: "." and "..", links, names that are not cached, permissions that are
// not everybody's, directories with rules of their own, a concurrent change.
#include "kernel/fs/name_walk_private.h"
#include "kernel/fs/file.h"

#define EVERY_BYTE(byte) (UINT64_C(0x0101010101010101) * (byte))

// Up to 7 bytes as the low end of a word.
static inline uint64_t load_tail(const char *at, size_t count)
{
    uint64_t word = 0;
    uint32_t shift = 0;
    if (count & 4) {
        uint32_t part;
        __builtin_memcpy(&part, at, 4);
        word = part;
        at += 4;
        shift = 32;
    }
    if (count & 2) {
        uint16_t part;
        __builtin_memcpy(&part, at, 2);
        word |= (uint64_t)part << shift;
        at += 2;
        shift += 16;
    }
    if (count & 1)
        word |= (uint64_t)(uint8_t)*at << shift;
    return word;
}

// End of the name that starts at `at`; *hash goes on from its present value. *tail: what lies
// behind its last whole word, filled up with zeroes.
static inline const char *name_scan(const char *at, const char *end, uint64_t *hash, uint64_t *tail)
{
    uint64_t value = *hash;
    for (;;) {
        size_t left = (size_t)(end - at);
        uint64_t word;
        if (likely(left >= 8))
            __builtin_memcpy(&word, at, 8);
        else
            word = load_tail(at, left);
        uint64_t slashes = word ^ EVERY_BYTE('/');
        slashes = (slashes - EVERY_BYTE(1)) & ~slashes & EVERY_BYTE(0x80);
        size_t count = slashes != 0 ? bit_lowest(slashes) / 8 : MIN(left, (size_t)8);
        if (count == 8) {
            value = dentry_hash_word(value, word);
            at += 8;
            continue;
        }
        word &= (UINT64_C(1) << count * 8) - 1;
        if (count != 0)
            value = dentry_hash_word(value, word);
        *tail = word;
        *hash = value;
        return at + count;
    }
}

// Short names lie in the dentry, filled up with zeroes: one word.
static inline bool fast_name_equal(
    const struct dentry *dentry, const char *name, size_t len, uint64_t tail)
{
    const char *own = __atomic_load_n(&dentry->name, __ATOMIC_ACQUIRE);
    return likely(len < 8) ? hash_load_(own, 8) == tail : dentry_name_equal(own, name, len);
}

// The entry in the cache, or NULL for anything that needs a closer look.
static inline struct dentry *fast_lookup(const struct dentry *parent, const char *name, size_t len,
    uint64_t tail, uint32_t hash, uint32_t *sequence)
{
    struct dentry *dentry;
    hlist_for_each_entry_rcu(dentry, dentry_bucket(hash), hash_node)
    {
        if (dentry->hash != hash || dentry->parent != parent)
            continue;
        if (!seqcount_try_read_begin(&dentry->sequence, sequence) || dentry->name_len != len ||
            !fast_name_equal(dentry, name, len, tail))
            return NULL;
        uint32_t flags = dentry->flags;
        if ((flags & (DENTRY_HASHED | DENTRY_REVALIDATE | DENTRY_LINK)) != DENTRY_HASHED)
            return NULL;
        return dentry;
    }
    return NULL;
}

void walk_fast(struct walk *walk, struct path_walk *rest)
{
    struct dentry *dentry = walk->path.dentry;
    struct inode *inode = walk->inode;
    uint32_t sequence = walk->sequence;
    const char *at = rest->at;
    const char *end = rest->end;
    // The last component of all may have to be kept for the caller.
    bool keep_last = walk->flags & WALK_PARENT && walk->pending == 0;
    while (at != end && (inode->mode & (S_IFMT | 0111)) == (S_IFDIR | 0111) &&
           inode->ops->permission == NULL) {
        uint64_t hash = dentry_hash_start(dentry);
        uint64_t tail;
        const char *name_end = name_scan(at, end, &hash, &tail);
        size_t len = (size_t)(name_end - at);
        const char *next = name_end;
        while (next != end && *next == '/')
            next++;
        if (*at == '.' || len > PATH_WALK_NAME_MAX ||
            (next == end && (keep_last || next != name_end)))
            break;
        uint32_t child_sequence;
        struct dentry *child =
            fast_lookup(dentry, at, len, tail, dentry_hash_finish(hash, len), &child_sequence);
        if (child == NULL)
            break;
        struct inode *child_inode = __atomic_load_n(&child->inode, __ATOMIC_ACQUIRE);
        if (child_inode == NULL || seqcount_read_retry(&child->sequence, child_sequence) ||
            seqcount_read_retry(&dentry->sequence, sequence))
            break;
        dentry = child;
        inode = child_inode;
        sequence = child_sequence;
        if (unlikely(child->flags & DENTRY_MOUNTED)) {
            // If the mounts have just changed, the general code finds out at its next step.
            struct mount *mount = mount_lookup(walk->path.mount, child);
            if (mount != NULL) {
                if (walk->flags & WALK_NO_XDEV || mount->root->flags & DENTRY_MOUNTED ||
                    seqcount_read_retry(&mount_sequence, walk->mount_sequence))
                    break;
                walk->path.mount = mount;
                dentry = mount->root;
                inode = dentry->inode;
                sequence = seqcount_read_begin(&dentry->sequence);
            }
        }
        at = next;
        walk->path.dentry = dentry;
        walk->inode = inode;
        walk->sequence = sequence;
    }
    rest->at = at;
}
