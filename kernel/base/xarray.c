// SPDX-License-Identifier: MIT
//
// A radix tree with 64 slots a node. A node's shift says which six bits of the index select its
// slot; a node with shift 0 holds entries, the others hold nodes. Node pointers carry the tag 2 in
// their low bits, which no entry has.
//
// Bitmaps: every node has one word for each mark and one for "present". A bit of a mark says that
// the entry in this slot has it, or that something below does; a bit of "present" that the slot is
// not NULL. Searching is thus the same for marks and for entries.
//
// Invariants:
//   1. present bit s is set exactly if slot s is not NULL.
//   2. A mark bit implies the present bit; above the lowest level it is set exactly if the child
//      has that mark anywhere.
//   3. No node is empty, and the root has something besides slot 0: otherwise the array is lower
//      or has no node.
//
// Readers without the lock walk from the head downwards and read every word at most once,
// atomically. A node is filled before it is published (release), and freed a grace period after it
// was taken out. A root that is taken out because only slot 0 is left keeps that slot, so readers
// inside still find what is below. For a reader the bitmaps are hints: the slot decides, and a NULL
// in it means "go on".
#include "kernel/base/xarray.h"

#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/base/bitmap.h"

#include <linux/errno.h>

#define XARRAY_SLOT_BITS 6
#define XARRAY_SLOTS     64
#define XARRAY_LEVELS    11 // 64 bits in steps of 6
#define XARRAY_NODE_TAG  2ul
#define XARRAY_TAG_MASK  3ul

// Index of the bitmap "present" behind those of the marks.
#define XARRAY_PRESENT XARRAY_MARK_COUNT

struct xarray_node {
    struct rcu_head rcu;
    uint32_t shift; // constant
    uint64_t marks[XARRAY_MARK_COUNT + 1];
    void *slots[XARRAY_SLOTS];
};

// Is this slot content a node (of any level), not an entry or NULL?
static bool is_node(const void *entry)
{
    return ((uintptr_t)entry & XARRAY_TAG_MASK) == XARRAY_NODE_TAG;
}

static struct xarray_node *to_node(const void *entry)
{
    return (struct xarray_node *)((uintptr_t)entry - XARRAY_NODE_TAG);
}

static void *from_node(const struct xarray_node *node)
{
    return (void *)((uintptr_t)node + XARRAY_NODE_TAG);
}

// Last index relative to its first that a node with this shift covers.
static uint64_t node_span(unsigned int shift)
{
    return shift + XARRAY_SLOT_BITS >= 64 ? UINT64_MAX : (1ul << (shift + XARRAY_SLOT_BITS)) - 1;
}

// The slot that is responsible for the index in a node with this shift.
static unsigned int slot_of(uint64_t index, unsigned int shift)
{
    return (unsigned int)(index >> shift) % XARRAY_SLOTS;
}

// Acquire: what is behind a pointer that was just published is complete.
static void *load_slot(const struct xarray_node *node, unsigned int slot)
{
    return atomic_load_acquire(&node->slots[slot]);
}

static uint64_t load_marks(const struct xarray_node *node, unsigned int mark)
{
    return atomic_load_relaxed(&node->marks[mark]);
}

// Changes are serialised by the owner's lock; the stores are atomic for the readers only.
static void set_bit(struct xarray_node *node, unsigned int mark, unsigned int slot)
{
    atomic_store_relaxed(&node->marks[mark], node->marks[mark] | BIT(slot));
}

static void clear_bit(struct xarray_node *node, unsigned int mark, unsigned int slot)
{
    atomic_store_relaxed(&node->marks[mark], node->marks[mark] & ~BIT(slot));
}

// As all reading of bitmaps without the lock, a hint.
static bool has_bit(const struct xarray_node *node, unsigned int mark, unsigned int slot)
{
    return (load_marks(node, mark) & BIT(slot)) != 0;
}

// Slot before bit: whoever sees the bit finds something, unless it is on its way out.
static void fill_slot(struct xarray_node *node, unsigned int slot, void *content)
{
    atomic_store_release(&node->slots[slot], content);
    set_bit(node, XARRAY_PRESENT, slot);
}

// Bits before slot, for the same reason. The marks are gone already above this node
// (path_clear_mark).
static void empty_slot(struct xarray_node *node, unsigned int slot)
{
    for (unsigned int mark = 0; mark <= XARRAY_PRESENT; mark++) {
        clear_bit(node, mark, slot);
    }
    atomic_store_release(&node->slots[slot], nullptr);
}

// Zeroed memory is an empty node.
static struct xarray_node *node_create(unsigned int shift)
{
    struct xarray_node *node = base_alloc(sizeof(*node));
    if (node != nullptr) {
        node->shift = shift;
    }
    return node;
}

// Runs after the grace period.
static void node_free_callback(struct rcu_head *head)
{
    base_free(container_of(head, struct xarray_node, rcu));
}

// Takes a node that readers may still be in out of use.
static void node_retire(struct xarray_node *node)
{
    base_call_rcu(&node->rcu, node_free_callback);
}

void xarray_init(struct xarray *array)
{
    *array = (struct xarray){};
}

// ---- Reading

// The node with shift 0 that covers the index, or NULL.
static const struct xarray_node *find_leaf(const void *head, uint64_t index)
{
    if (!is_node(head) || index > node_span(to_node(head)->shift)) {
        return nullptr;
    }
    const struct xarray_node *node = to_node(head);
    while (node->shift > 0) {
        const void *child = load_slot(node, slot_of(index, node->shift));
        if (child == nullptr) {
            return nullptr;
        }
        node = to_node(child);
    }
    return node;
}

// The head is read once; whatever it was, the walk below it is consistent.
void *xarray_load(const struct xarray *array, uint64_t index)
{
    void *head = atomic_load_acquire(&array->head);
    if (!is_node(head)) {
        return index == 0 ? head : nullptr;
    }
    const struct xarray_node *leaf = find_leaf(head, index);
    return leaf == nullptr ? nullptr : load_slot(leaf, slot_of(index, 0));
}

// One walk down for up to 64 entries: the rest of the lowest node is copied at once.
size_t xarray_load_run(const struct xarray *array, uint64_t index, void **entries, size_t count)
{
    size_t loaded = 0;
    if (count > 0 && index == 0 && !is_node(atomic_load_acquire(&array->head))) {
        entries[0] = xarray_load(array, 0);
        return entries[0] != nullptr ? 1 : 0;
    }
    while (loaded < count) {
        const struct xarray_node *leaf = find_leaf(atomic_load_acquire(&array->head), index);
        if (leaf == nullptr) {
            break;
        }
        unsigned int slot = slot_of(index, 0);
        for (; slot < XARRAY_SLOTS && loaded < count; slot++) {
            entries[loaded] = load_slot(leaf, slot);
            if (entries[loaded] == nullptr) {
                return loaded;
            }
            loaded++;
            index++;
        }
        if (index == 0) {
            break; // past the last index
        }
    }
    return loaded;
}

// First entry in [*index, last] with a bit in this bitmap.
static void *find(const struct xarray *array, uint64_t *index, uint64_t last, unsigned int mark)
{
    void *head = atomic_load_acquire(&array->head);
    if (!is_node(head)) {
        bool matches =
            mark == XARRAY_PRESENT || (atomic_load_relaxed(&array->head_mark) & BIT(mark)) != 0;
        return *index == 0 && matches ? head : nullptr;
    }

    const struct xarray_node *root = to_node(head);
    const struct xarray_node *node = root;
    uint64_t at = *index;
    while (at <= last && at <= node_span(root->shift)) {
        unsigned int slot = slot_of(at, node->shift);
        uint64_t candidates = load_marks(node, mark) & (~0ul << slot);
        uint64_t skipped = node_span(node->shift); // low bits of what is known to hold nothing
        if (candidates != 0) {
            unsigned int found = bit_lowest(candidates);
            if (found != slot) {
                at = (at & ~skipped) | (uint64_t)found << node->shift;
                if (at > last) {
                    return nullptr;
                }
            }
            void *content = load_slot(node, found);
            if (content != nullptr && node->shift == 0) {
                *index = at;
                return content;
            }
            if (content != nullptr) {
                node = to_node(content);
                continue;
            }
            skipped = (1ul << node->shift) - 1;
        }
        // On to the first index behind, from the root: the next subtree may hang anywhere.
        if ((at | skipped) == UINT64_MAX) {
            return nullptr;
        }
        at = (at | skipped) + 1;
        node = root;
    }
    return nullptr;
}

void *xarray_find(const struct xarray *array, uint64_t *index, uint64_t last)
{
    return find(array, index, last, XARRAY_PRESENT);
}

void *xarray_find_marked(
    const struct xarray *array, uint64_t *index, uint64_t last, enum xarray_mark mark)
{
    debug_assert(mark < XARRAY_MARK_COUNT);
    return find(array, index, last, mark);
}

// Marks of a single entry without a node lie beside the head.
bool xarray_get_mark(const struct xarray *array, uint64_t index, enum xarray_mark mark)
{
    debug_assert(mark < XARRAY_MARK_COUNT);
    void *head = atomic_load_acquire(&array->head);
    if (!is_node(head)) {
        return index == 0 && (atomic_load_relaxed(&array->head_mark) & BIT(mark)) != 0;
    }
    const struct xarray_node *leaf = find_leaf(head, index);
    return leaf != nullptr && has_bit(leaf, mark, slot_of(index, 0));
}

bool xarray_has_mark(const struct xarray *array, enum xarray_mark mark)
{
    debug_assert(mark < XARRAY_MARK_COUNT);
    void *head = atomic_load_acquire(&array->head);
    if (!is_node(head)) {
        return (atomic_load_relaxed(&array->head_mark) & BIT(mark)) != 0;
    }
    return load_marks(to_node(head), mark) != 0;
}

// ---- Changing

// The nodes from the root down to the one that covers an index: node[0] is the root.
struct path {
    struct xarray_node *node[XARRAY_LEVELS];
    unsigned int depth; // number of nodes
};

// Walks towards the index as far as there are nodes. The head is a node that covers it.
static void path_find(const struct xarray *array, uint64_t index, struct path *path)
{
    struct xarray_node *node = to_node(array->head);
    path->depth = 0;
    for (;;) {
        debug_assert(path->depth < XARRAY_LEVELS);
        path->node[path->depth++] = node;
        void *content = node->slots[slot_of(index, node->shift)];
        if (node->shift == 0 || content == nullptr) {
            return;
        }
        node = to_node(content);
    }
}

// The lowest node that was reached.
static struct xarray_node *path_end(const struct path *path)
{
    return path->node[path->depth - 1];
}

// Is the index inside what the head covers, i.e. is there a path for it?
static bool head_covers(const struct xarray *array, uint64_t index)
{
    return is_node(array->head) && index <= node_span(to_node(array->head)->shift);
}

// Clears one mark of the index and, where nothing else has it, above.
static void path_clear_mark(const struct path *path, uint64_t index, unsigned int mark)
{
    for (unsigned int level = path->depth; level-- > 0;) {
        struct xarray_node *node = path->node[level];
        clear_bit(node, mark, slot_of(index, node->shift));
        if (node->marks[mark] != 0) {
            return;
        }
    }
}

// Lowers the array while the root has nothing but slot 0.
static void shrink(struct xarray *array)
{
    while (is_node(array->head)) {
        struct xarray_node *root = to_node(array->head);
        if (root->marks[XARRAY_PRESENT] != 1) {
            return;
        }
        if (root->shift == 0) {
            uint32_t head_mark = 0;
            for (unsigned int mark = 0; mark < XARRAY_MARK_COUNT; mark++) {
                head_mark |= has_bit(root, mark, 0) ? (uint32_t)BIT(mark) : 0;
            }
            atomic_store_relaxed(&array->head_mark, head_mark);
        }
        atomic_store_release(&array->head, root->slots[0]);
        node_retire(root);
    }
}

// Takes empty nodes out, from the end of the path upwards, and restores invariant 3.
static void prune(struct xarray *array, const struct path *path, uint64_t index)
{
    unsigned int level = path->depth;
    while (level-- > 0 && path->node[level]->marks[XARRAY_PRESENT] == 0) {
        if (level == 0) {
            atomic_store_relaxed(&array->head_mark, 0u);
            atomic_store_release(&array->head, nullptr);
        } else {
            struct xarray_node *parent = path->node[level - 1];
            empty_slot(parent, slot_of(index, parent->shift));
        }
        node_retire(path->node[level]);
    }
    shrink(array);
}

// Makes the head a node that covers the index (> 0, or a node exists).
static int grow(struct xarray *array, uint64_t index)
{
    while (!head_covers(array, index)) {
        struct xarray_node *old = is_node(array->head) ? to_node(array->head) : nullptr;
        unsigned int shift = old != nullptr ? old->shift + XARRAY_SLOT_BITS : 0;
        if (array->head == nullptr) {
            // Nothing has to move: the right height at once.
            while (index > node_span(shift)) {
                shift += XARRAY_SLOT_BITS;
            }
        }
        struct xarray_node *root = node_create(shift);
        if (root == nullptr) {
            shrink(array);
            return -ENOMEM;
        }
        if (array->head != nullptr) {
            for (unsigned int mark = 0; mark < XARRAY_MARK_COUNT; mark++) {
                bool marked =
                    old != nullptr ? old->marks[mark] != 0 : (array->head_mark & BIT(mark)) != 0;
                if (marked) {
                    set_bit(root, mark, 0);
                }
            }
            fill_slot(root, 0, array->head);
        }
        atomic_store_release(&array->head, from_node(root));
    }
    return 0;
}

// Extends the path down to the lowest level.
static int path_extend(struct path *path, uint64_t index)
{
    while (path_end(path)->shift > 0) {
        struct xarray_node *parent = path_end(path);
        struct xarray_node *node = node_create(parent->shift - XARRAY_SLOT_BITS);
        if (node == nullptr) {
            return -ENOMEM;
        }
        fill_slot(parent, slot_of(index, parent->shift), from_node(node));
        path->node[path->depth++] = node;
    }
    return 0;
}

// Store and insert: an existing entry is replaced only if `replace`.
static int put(struct xarray *array, uint64_t index, void *entry, bool replace, void **old)
{
    struct path path;

    assert(entry != nullptr);
    assert(!is_node(entry));
    if (index == 0 && !is_node(array->head)) {
        *old = array->head;
        if (*old != nullptr && !replace) {
            return -EEXIST;
        }
        if (*old == nullptr) {
            atomic_store_relaxed(&array->head_mark, 0u);
        }
        atomic_store_release(&array->head, entry);
        return 0;
    }
    int error = grow(array, index);
    if (error != 0) {
        return error;
    }
    path_find(array, index, &path);
    error = path_extend(&path, index);
    if (error != 0) {
        prune(array, &path, index);
        return error;
    }
    struct xarray_node *leaf = path_end(&path);
    *old = leaf->slots[slot_of(index, 0)];
    if (*old != nullptr && !replace) {
        return -EEXIST;
    }
    fill_slot(leaf, slot_of(index, 0), entry);
    return 0;
}

// `old` is optional.
int xarray_store(struct xarray *array, uint64_t index, void *entry, void **old)
{
    void *ignored;
    return put(array, index, entry, true, old != nullptr ? old : &ignored);
}

int xarray_insert(struct xarray *array, uint64_t index, void *entry)
{
    void *ignored;
    return put(array, index, entry, false, &ignored);
}

// Marks first, upwards from the leaf; then the slot; then whatever has become empty or
// superfluous.
void *xarray_erase(struct xarray *array, uint64_t index)
{
    struct path path;

    if (!is_node(array->head)) {
        void *old = index == 0 ? array->head : nullptr;
        if (old != nullptr) {
            atomic_store_relaxed(&array->head_mark, 0u);
            atomic_store_release(&array->head, nullptr);
        }
        return old;
    }
    if (!head_covers(array, index)) {
        return nullptr;
    }
    path_find(array, index, &path);
    struct xarray_node *leaf = path_end(&path);
    unsigned int slot = slot_of(index, leaf->shift);
    void *old = leaf->slots[slot];
    if (leaf->shift > 0 || old == nullptr) {
        return nullptr;
    }
    for (unsigned int mark = 0; mark < XARRAY_MARK_COUNT; mark++) {
        if (has_bit(leaf, mark, slot)) {
            path_clear_mark(&path, index, mark);
        }
    }
    empty_slot(leaf, slot);
    prune(array, &path, index);
    return old;
}

// The bits are set from the root down, so that a reader that searches for the mark may come too
// early to a node without it and goes on.
bool xarray_set_mark(struct xarray *array, uint64_t index, enum xarray_mark mark)
{
    struct path path;

    debug_assert(mark < XARRAY_MARK_COUNT);
    bool was_set = xarray_get_mark(array, index, mark);
    if (was_set || xarray_load(array, index) == nullptr) {
        return was_set;
    }
    if (!is_node(array->head)) {
        atomic_store_relaxed(&array->head_mark, array->head_mark | (uint32_t)BIT(mark));
        return false;
    }
    path_find(array, index, &path);
    for (unsigned int level = 0; level < path.depth; level++) {
        set_bit(path.node[level], mark, slot_of(index, path.node[level]->shift));
    }
    return false;
}

// Upwards, as far as nothing else below has the mark.
bool xarray_clear_mark(struct xarray *array, uint64_t index, enum xarray_mark mark)
{
    struct path path;

    debug_assert(mark < XARRAY_MARK_COUNT);
    if (!xarray_get_mark(array, index, mark)) {
        return false;
    }
    if (!is_node(array->head)) {
        atomic_store_relaxed(&array->head_mark, array->head_mark & ~(uint32_t)BIT(mark));
        return true;
    }
    path_find(array, index, &path);
    path_clear_mark(&path, index, mark);
    return true;
}

// Recursion: one call a level.
static void destroy_node(struct xarray_node *node)
{
    size_t slot;
    if (node->shift > 0) {
        bitmap_for_each_set (slot, &node->marks[XARRAY_PRESENT], XARRAY_SLOTS) {
            destroy_node(to_node(node->slots[slot]));
        }
    }
    node_retire(node);
}

// Readers find an empty array from now on; those inside still walk on nodes that live for a
// grace period.
void xarray_destroy(struct xarray *array)
{
    void *head = array->head;
    atomic_store_relaxed(&array->head_mark, 0u);
    atomic_store_release(&array->head, nullptr);
    if (is_node(head)) {
        destroy_node(to_node(head));
    }
}

// Invariants 1 and 2 for a node and everything below.
static bool node_is_valid(const struct xarray_node *node)
{
    if (node->marks[XARRAY_PRESENT] == 0) {
        return false;
    }
    for (unsigned int slot = 0; slot < XARRAY_SLOTS; slot++) {
        const void *content = node->slots[slot];
        bool is_present = content != nullptr;
        if (has_bit(node, XARRAY_PRESENT, slot) != is_present) {
            return false;
        }
        const struct xarray_node *child =
            is_present && node->shift > 0 ? to_node(content) : nullptr;
        if (is_present && is_node(content) != (child != nullptr)) {
            return false;
        }
        if (child != nullptr &&
            (child->shift + XARRAY_SLOT_BITS != node->shift || !node_is_valid(child))) {
            return false;
        }
        for (unsigned int mark = 0; mark < XARRAY_MARK_COUNT; mark++) {
            bool is_marked = has_bit(node, mark, slot);
            if ((is_marked && !is_present) ||
                (child != nullptr && is_marked != (child->marks[mark] != 0))) {
                return false;
            }
        }
    }
    return true;
}

bool xarray_is_valid(const struct xarray *array)
{
    if (array->head == nullptr) {
        return array->head_mark == 0;
    }
    if (!is_node(array->head)) {
        return true;
    }
    const struct xarray_node *root = to_node(array->head);
    return root->shift <= (XARRAY_LEVELS - 1) * XARRAY_SLOT_BITS &&
           root->marks[XARRAY_PRESENT] != 1 && node_is_valid(root);
}
