// SPDX-License-Identifier: MIT
//
// Circular doubly linked list. A list is a struct list_node that is no element; elements embed a
// struct list_node.
//
// A node is "linked" if it is on a list. Zeroed memory, a node after list_init() and a node after
// list_remove() are all not linked. Nothing here locks: the owner of the list says what protects
// it.
//
// Readers under RCU: writers use the _rcu forms (serialised among themselves by their lock),
// readers use only list_for_each_entry_rcu. A removed element may be reused or freed after a grace
// period only; its `next` stays valid for readers until then, so it does not count as unlinked.
#pragma once

#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/base/types.h"

struct list_node {
    struct list_node *next;
    struct list_node *prev;
};

// Static initialiser: struct list_node queue = LIST_INIT(queue);
#define LIST_INIT(name) {.next = &(name), .prev = &(name)}

static inline void list_init(struct list_node *list)
{
    list->next = list;
    list->prev = list;
}

static inline bool list_is_empty(const struct list_node *list)
{
    return list->next == list;
}

// Is this element on a list?
static inline bool list_is_linked(const struct list_node *node)
{
    return node->next != nullptr && node->next != node;
}

// True if the two neighbours of every node agree; at most `limit` nodes are walked. For assertions
// and tests.
static inline bool list_is_valid(const struct list_node *list, size_t limit)
{
    const struct list_node *node = list;
    do {
        if (node->next == nullptr || node->next->prev != node) {
            return false;
        }
        node = node->next;
    } while (node != list && limit-- > 0);
    return node == list;
}

// Adds `node` (not linked) between two neighbours.
static inline void list_insert_between_(
    struct list_node *node, struct list_node *prev, struct list_node *next)
{
    debug_assert(prev->next == next);
    debug_assert(next->prev == prev);
    debug_assert(node != prev);
    node->next = next;
    node->prev = prev;
    next->prev = node;
    // Release, so that the plain and the _rcu forms are the same code.
    atomic_store_release(&prev->next, node);
}

static inline void list_add_head(struct list_node *list, struct list_node *node)
{
    list_insert_between_(node, list, list->next);
}

static inline void list_add_tail(struct list_node *list, struct list_node *node)
{
    list_insert_between_(node, list->prev, list);
}

static inline void list_add_after(struct list_node *position, struct list_node *node)
{
    list_insert_between_(node, position, position->next);
}

static inline void list_add_before(struct list_node *position, struct list_node *node)
{
    list_insert_between_(node, position->prev, position);
}

static inline void list_unlink_(struct list_node *node)
{
    debug_assert(list_is_linked(node));
    debug_assert(node->prev->next == node);
    debug_assert(node->next->prev == node);
    node->next->prev = node->prev;
    atomic_store_release(&node->prev->next, node->next);
}

// Takes a linked node off its list; it is not linked afterwards.
static inline void list_remove(struct list_node *node)
{
    list_unlink_(node);
    node->next = nullptr;
    node->prev = nullptr;
}

static inline void list_add_head_rcu(struct list_node *list, struct list_node *node)
{
    list_insert_between_(node, list, list->next);
}

static inline void list_add_tail_rcu(struct list_node *list, struct list_node *node)
{
    list_insert_between_(node, list->prev, list);
}

static inline void list_remove_rcu(struct list_node *node)
{
    list_unlink_(node);
    node->prev = nullptr;
}

static inline void list_move_head(struct list_node *list, struct list_node *node)
{
    list_remove(node);
    list_add_head(list, node);
}

static inline void list_move_tail(struct list_node *list, struct list_node *node)
{
    list_remove(node);
    list_add_tail(list, node);
}

// Moves all elements of `from` to the end of `to`, in order; `from` is empty afterwards.
static inline void list_splice_tail(struct list_node *to, struct list_node *from)
{
    if (list_is_empty(from)) {
        return;
    }
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

// Moves all elements of `from` to the beginning of `to`, in order; `from` is empty afterwards.
static inline void list_splice_head(struct list_node *to, struct list_node *from)
{
    if (list_is_empty(from)) {
        return;
    }
    from->prev->next = to->next;
    to->next->prev = from->prev;
    from->next->prev = to;
    to->next = from->next;
    list_init(from);
}

// First node of a list or NULL.
static inline struct list_node *list_first(const struct list_node *list)
{
    return list_is_empty(list) ? nullptr : list->next;
}

static inline struct list_node *list_last(const struct list_node *list)
{
    return list_is_empty(list) ? nullptr : list->prev;
}

// Takes the first node off, or NULL.
static inline struct list_node *list_pop_head(struct list_node *list)
{
    struct list_node *node = list_first(list);
    if (node != nullptr) {
        list_remove(node);
    }
    return node;
}

static inline size_t list_length(const struct list_node *list)
{
    size_t length = 0;
    for (const struct list_node *node = list->next; node != list; node = node->next) {
        length++;
    }
    return length;
}

#define list_entry(node, type, member) container_of(node, type, member)

// The list must not be empty; see the _or_null forms.
#define list_first_entry(list, type, member) list_entry((list)->next, type, member)
#define list_last_entry(list, type, member)  list_entry((list)->prev, type, member)

#define list_first_entry_or_null(list, type, member)                                               \
    ({                                                                                             \
        struct list_node *first_ = list_first(list);                                               \
        first_ != nullptr ? list_entry(first_, type, member) : (type *)nullptr;                    \
    })
#define list_last_entry_or_null(list, type, member)                                                \
    ({                                                                                             \
        struct list_node *last_ = list_last(list);                                                 \
        last_ != nullptr ? list_entry(last_, type, member) : (type *)nullptr;                      \
    })
#define list_pop_head_entry_or_null(list, type, member)                                            \
    ({                                                                                             \
        struct list_node *popped_ = list_pop_head(list);                                           \
        popped_ != nullptr ? list_entry(popped_, type, member) : (type *)nullptr;                  \
    })

#define list_next_entry(entry, member) list_entry((entry)->member.next, typeof(*(entry)), member)
#define list_prev_entry(entry, member) list_entry((entry)->member.prev, typeof(*(entry)), member)

// Is `entry`, reached by list_next_entry or list_prev_entry, the list itself, i.e. past the end?
#define list_entry_is_end(entry, list, member) (&(entry)->member == (list))

// `entry` is a pointer to the element's type. The body must not remove the current element; _safe
// allows that.
#define list_for_each_entry(entry, list, member)                                                   \
    for (entry = list_entry((list)->next, typeof(*entry), member);                                 \
        !list_entry_is_end(entry, list, member); entry = list_next_entry(entry, member))

#define list_for_each_entry_reverse(entry, list, member)                                           \
    for (entry = list_entry((list)->prev, typeof(*entry), member);                                 \
        !list_entry_is_end(entry, list, member); entry = list_prev_entry(entry, member))

// `following` is a second pointer of the same type, for the loop's own use.
#define list_for_each_entry_safe(entry, following, list, member)                                   \
    for (entry = list_entry((list)->next, typeof(*entry), member),                                 \
        following = list_next_entry(entry, member);                                                \
        !list_entry_is_end(entry, list, member);                                                   \
        entry = following, following = list_next_entry(entry, member))

// Inside an RCU read-side section.
#define list_for_each_entry_rcu(entry, list, member)                                               \
    for (entry = list_entry(atomic_load_acquire(&(list)->next), typeof(*entry), member);           \
        !list_entry_is_end(entry, list, member);                                                   \
        entry = list_entry(atomic_load_acquire(&entry->member.next), typeof(*entry), member))
