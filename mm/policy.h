// SPDX-License-Identifier: MIT
// Memory policies: from which nodes a program's pages come (numa_memory_policy.rst in Linux's
// documentation). A thread has one for what it touches, an area may have one that goes before it.
#pragma once

#include "kernel/arch/x86/static_branch.h"
#include "kernel/base/bitmap.h"
#include "kernel/core/thread.h"
#include "mm/page.h"

struct address_space;
struct vm_area;

// Never changes once somebody else can see it.
struct memory_policy {
    uint32_t refcount; // atomic
    uint16_t mode;     // MPOL_* of linux/mempolicy.h, never MPOL_DEFAULT (which is no policy)
    uint16_t flags;    // MPOL_F_STATIC_NODES and the like
    uint64_t nodes;    // what it comes to; 0 with MPOL_LOCAL
    uint64_t asked;    // as the caller gave them: told with STATIC_NODES and RELATIVE_NODES
    // From which MPOL_BIND and MPOL_PREFERRED_MANY count distances; UINT32_MAX: the CPU's own.
    uint32_t home_node;
};

// Nodes as a program gives them.
struct node_request {
    uint64_t nodes;
    bool beyond; // it named some that no machine of ours has
};

// What set_mempolicy(2) and mbind(2) make: *result is a policy with a reference, or NULL for
// MPOL_DEFAULT. `flags`: MPOL_MODE_FLAGS. -EINVAL, -ENOMEM.
[[nodiscard]] int memory_policy_create(uint32_t mode, uint32_t flags,
    const struct node_request *request, struct memory_policy **result);
struct memory_policy *memory_policy_get(struct memory_policy *policy); // NULL: NULL
void memory_policy_put(struct memory_policy *policy);                  // NULL: nothing
bool memory_policy_equal(const struct memory_policy *a, const struct memory_policy *b);
// The nodes as get_mempolicy(2) tells them.
uint64_t memory_policy_nodes_told(const struct memory_policy *policy);
// "interleave:0-1" and the like, as in /proc/PID/numa_maps.
void memory_policy_text(const struct memory_policy *policy, char *text, size_t size);

// The running thread's policy becomes this one (with its reference); NULL: none.
void memory_policy_set_own(struct memory_policy *policy);
// The node that the running thread's interleaving comes to next.
uint32_t memory_policy_next_node(void);

// A block as the policies of `area` (NULL: of no area) and of the running thread have it; otherwise
// as page_alloc().
struct page *policy_page_alloc_slow(
    const struct vm_area *area, uintptr_t address, unsigned order, uint32_t flags);
struct memory_policy *policy_borrow_slow(const struct vm_area *area);
static inline struct page *policy_page_alloc(
    const struct vm_area *area, uintptr_t address, unsigned order, uint32_t flags)
{
    if (static_branch(&page_nodes_key))
        return policy_page_alloc_slow(area, address, order, flags);
    return page_alloc(order, flags);
}

// From here on the running thread allocates as the area has it: for code that knows no areas. The
// result is for policy_give_back(), which ends it.
static inline struct memory_policy *policy_borrow(const struct vm_area *area)
{
    if (static_branch(&page_nodes_key))
        return policy_borrow_slow(area);
    return NULL;
}
static inline void policy_give_back(struct memory_policy *own)
{
    if (static_branch(&page_nodes_key))
        thread_current()->memory_policy = own;
}

// ---- of areas; these take space->lock, and may sleep ----

#define VM_BIND_MOVE   BIT(0) // pages that lie elsewhere are moved
#define VM_BIND_STRICT BIT(1) // -EIO if some lie elsewhere (with MOVE: still)

// mbind(2): the areas of the range get the policy (NULL: none). 0, -EFAULT (a hole), -ENOMEM, -EIO.
[[nodiscard]] int vm_bind(struct address_space *space, uintptr_t start, uintptr_t end,
    struct memory_policy *policy, uint32_t flags);
// set_mempolicy_home_node(2): -ENOENT (no area with a policy), -EOPNOTSUPP (one of another kind),
// -ENOMEM.
[[nodiscard]] int vm_set_home_node(
    struct address_space *space, uintptr_t start, uintptr_t end, uint32_t node);
// The policy at `address` with a reference; NULL: the thread's counts. -EFAULT: no area.
[[nodiscard]] int vm_policy_at(
    struct address_space *space, uintptr_t address, struct memory_policy **policy);

// ---- pages that move (migrate.c); only private pages that nobody else has do ----

// migrate_pages(2): pages on nodes of `from` move to those of `to` (not empty). Returns how many
// did not.
uint64_t vm_migrate(struct address_space *space, uint64_t from, uint64_t to);
// The node of the page at `address`. -EFAULT: no area, private memory that was never written to;
// -ENOENT: a page of a file that is not mapped.
[[nodiscard]] int vm_page_node(struct address_space *space, uintptr_t address);
// The page, or the huge page around it, moves. Its node then, or as above, -EACCES (others have it
// too, and `shared_too` is false), -EBUSY, -ENOMEM.
[[nodiscard]] int vm_move_page(
    struct address_space *space, uintptr_t address, uint32_t node, bool shared_too);

// ---- sets of nodes ----

// Bit number `index` (from 0) of the set, which has that many.
static inline uint32_t node_set_at(uint64_t nodes, uint32_t index)
{
    while (index-- > 0)
        nodes &= nodes - 1;
    return bit_lowest(nodes);
}
