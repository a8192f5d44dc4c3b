// SPDX-License-Identifier: MIT
//
// Singly headed list for hash tables: the head is one pointer, removal needs no head. Zeroed memory
// is an empty head and an unlinked node. Nothing here locks.
//
// Readers under RCU use hlist_for_each_entry_rcu; writers (serialised by their lock) need no other
// add, and hlist_remove_rcu to remove, which leaves `next` alone until a grace period has passed.
#pragma once

#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/base/types.h"

struct hlist_node {
    struct hlist_node *next;
    struct hlist_node **pprev; // what points to this node; NULL if it is not linked
};

struct hlist_head {
    struct hlist_node *first;
};

static inline void hlist_init(struct hlist_head *head)
{
    head->first = nullptr;
}

static inline bool hlist_is_empty(const struct hlist_head *head)
{
    return atomic_load_relaxed(&head->first) == nullptr;
}

static inline bool hlist_is_linked(const struct hlist_node *node)
{
    return node->pprev != nullptr;
}

// True if every node's pprev points to what points to it; at most `limit` nodes are walked.
static inline bool hlist_is_valid(const struct hlist_head *head, size_t limit)
{
    struct hlist_node *const *link = &head->first;
    while (*link != nullptr && limit-- > 0) {
        if ((*link)->pprev != link) {
            return false;
        }
        link = &(*link)->next;
    }
    return *link == nullptr;
}

// Adds an unlinked node at the front. Safe against concurrent RCU readers.
static inline void hlist_add_head(struct hlist_head *head, struct hlist_node *node)
{
    struct hlist_node *first = head->first;
    debug_assert(first != node);
    node->next = first;
    node->pprev = &head->first;
    if (first != nullptr) {
        first->pprev = &node->next;
    }
    atomic_store_release(&head->first, node);
}

// Adds an unlinked node behind a linked one. Safe against concurrent RCU readers.
static inline void hlist_add_after(struct hlist_node *position, struct hlist_node *node)
{
    struct hlist_node *next = position->next;
    debug_assert(hlist_is_linked(position));
    node->next = next;
    node->pprev = &position->next;
    if (next != nullptr) {
        next->pprev = &node->next;
    }
    atomic_store_release(&position->next, node);
}

// Takes a linked node off; concurrent readers still get past it. It does not count as linked
// afterwards, but must not be added again or freed before a grace period has passed.
static inline void hlist_remove_rcu(struct hlist_node *node)
{
    struct hlist_node *next = node->next;
    debug_assert(hlist_is_linked(node));
    debug_assert(*node->pprev == node);
    if (next != nullptr) {
        next->pprev = node->pprev;
    }
    atomic_store_release(node->pprev, next);
    node->pprev = nullptr;
}

static inline void hlist_remove(struct hlist_node *node)
{
    hlist_remove_rcu(node);
    node->next = nullptr;
}

#define hlist_entry(node, type, member) container_of(node, type, member)

#define hlist_entry_or_null_(node, type, member)                                                   \
    ({                                                                                             \
        struct hlist_node *hnode_ = (node);                                                        \
        hnode_ != nullptr ? hlist_entry(hnode_, type, member) : (type *)nullptr;                   \
    })

#define hlist_first_entry_or_null(head, type, member)                                              \
    hlist_entry_or_null_((head)->first, type, member)

// The body must not remove the current element; _safe allows that (`following`: a second pointer of
// the type).
#define hlist_for_each_entry(entry, head, member)                                                  \
    for (entry = hlist_entry_or_null_((head)->first, typeof(*entry), member); entry != nullptr;    \
        entry = hlist_entry_or_null_(entry->member.next, typeof(*entry), member))

#define hlist_for_each_entry_safe(entry, following, head, member)                                  \
    for (entry = hlist_entry_or_null_((head)->first, typeof(*entry), member);                      \
        entry != nullptr &&                                                                        \
        (following = hlist_entry_or_null_(entry->member.next, typeof(*entry), member), true);      \
        entry = following)

// Inside an RCU read-side section.
#define hlist_for_each_entry_rcu(entry, head, member)                                              \
    for (entry =                                                                                   \
             hlist_entry_or_null_(atomic_load_acquire(&(head)->first), typeof(*entry), member);    \
        entry != nullptr; entry = hlist_entry_or_null_(                                            \
                              atomic_load_acquire(&entry->member.next), typeof(*entry), member))
