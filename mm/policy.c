// SPDX-License-Identifier: MIT
// Memory policies.
//
// A policy is an object that does not change; threads and areas refer to it. What it comes to on
// this machine is worked out when it is made: nodes that have no memory are left out, because nodes
// neither come nor go.
//
// On a machine with one node policies can be set and read, but nobody asks them:
// policy_page_alloc() is page_alloc() then.

#include "mm/policy.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/base/fmt.h"
#include "kernel/base/string.h"
#include "kernel/core/thread.h"
#include "mm/area.h"
#include "mm/migrate.h"
#include "mm/slab.h"
#include <linux/errno.h>
#include <linux/mempolicy.h>

#define NO_NODE UINT32_MAX

// ---- sets of nodes ----

// MPOL_F_RELATIVE_NODES: bit n asks for node number n, modulo their number, of `present`.
static uint64_t nodes_relative(uint64_t asked, uint64_t present)
{
    const uint32_t count = (uint32_t)__builtin_popcountll(present);
    uint64_t nodes = 0;
    for (; count != 0 && asked != 0; asked &= asked - 1)
        nodes |= UINT64_C(1) << node_set_at(present, bit_lowest(asked) % count);
    return nodes;
}

// ---- policies ----

// May the mode have these flags and nodes? Replaces MPOL_PREFERRED without nodes by MPOL_LOCAL.
static int check(uint32_t *mode, uint32_t flags, bool empty)
{
    const bool shaped = (flags & (MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES)) != 0;
    switch (*mode) {
    case MPOL_DEFAULT:
        return empty ? 0 : -EINVAL;
    case MPOL_LOCAL:
        return empty && !shaped ? 0 : -EINVAL;
    case MPOL_PREFERRED:
        if (empty)
            *mode = MPOL_LOCAL;
        return empty && shaped ? -EINVAL : 0;
    default:
        return empty || *mode >= MPOL_MAX ? -EINVAL : 0;
    }
}

int memory_policy_create(uint32_t mode, uint32_t flags, const struct node_request *request,
    struct memory_policy **result)
{
    *result = NULL;
    int error = check(&mode, flags, request->nodes == 0 && !request->beyond);
    if (error != 0 || mode == MPOL_DEFAULT)
        return error;
    const uint64_t present = page_nodes_with_memory();
    uint64_t nodes = flags & MPOL_F_RELATIVE_NODES ? nodes_relative(request->nodes, present)
                                                   : request->nodes & present;
    if (mode == MPOL_PREFERRED)
        nodes &= -nodes; // one
    if (mode != MPOL_LOCAL && nodes == 0)
        return -EINVAL;
    struct memory_policy *policy = kmalloc(sizeof(*policy), 0);
    if (policy == NULL)
        return -ENOMEM;
    *policy = (struct memory_policy){
        .refcount = 1,
        .mode = (uint16_t)mode,
        .flags = (uint16_t)flags,
        .nodes = nodes,
        .asked = request->nodes,
        .home_node = NO_NODE,
    };
    *result = policy;
    return 0;
}

struct memory_policy *memory_policy_get(struct memory_policy *policy)
{
    if (policy != NULL)
        __atomic_fetch_add(&policy->refcount, 1, __ATOMIC_RELAXED);
    return policy;
}

void memory_policy_put(struct memory_policy *policy)
{
    if (policy != NULL && __atomic_sub_fetch(&policy->refcount, 1, __ATOMIC_ACQ_REL) == 0)
        kfree(policy);
}

bool memory_policy_equal(const struct memory_policy *a, const struct memory_policy *b)
{
    if (a == b)
        return true;
    return a != NULL && b != NULL && a->mode == b->mode && a->flags == b->flags &&
           a->nodes == b->nodes && a->asked == b->asked && a->home_node == b->home_node;
}

uint64_t memory_policy_nodes_told(const struct memory_policy *policy)
{
    const bool shaped = (policy->flags & (MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES)) != 0;
    return shaped ? policy->asked : policy->nodes;
}

static size_t nodes_text(uint64_t nodes, char *text, size_t size)
{
    size_t len = 0;
    const char *separator = "";
    for (uint32_t node = 0; node < NUMA_NODES_MAX && len < size; node++) {
        if (!(nodes >> node & 1))
            continue;
        uint32_t last = node;
        while (last + 1 < NUMA_NODES_MAX && (nodes >> (last + 1) & 1))
            last++;
        len += (size_t)fmt_snprintf(
            text + len, size - len, last > node ? "%s%u-%u" : "%s%u", separator, node, last);
        separator = ",";
        node = last;
    }
    return len;
}

void memory_policy_text(const struct memory_policy *policy, char *text, size_t size)
{
    static const char *const names[] = {
        [MPOL_DEFAULT] = "default",
        [MPOL_PREFERRED] = "prefer",
        [MPOL_BIND] = "bind",
        [MPOL_INTERLEAVE] = "interleave",
        [MPOL_LOCAL] = "local",
        [MPOL_PREFERRED_MANY] = "prefer (many)",
    };
    const uint32_t mode = policy != NULL ? policy->mode : MPOL_DEFAULT;
    size_t len = (size_t)fmt_snprintf(text, size, "%s", names[mode]);
    if (policy == NULL || policy->nodes == 0 || len >= size)
        return;
    const char *flag = policy->flags & MPOL_F_STATIC_NODES     ? "=static"
                       : policy->flags & MPOL_F_RELATIVE_NODES ? "=relative"
                                                               : "";
    len += (size_t)fmt_snprintf(text + len, size - len, "%s:", flag);
    if (len < size)
        (void)nodes_text(policy->nodes, text + len, size - len);
}

// ---- the running thread's ----

void memory_policy_set_own(struct memory_policy *policy)
{
    struct thread *thread = thread_current();
    struct memory_policy *old = thread->memory_policy;
    thread->memory_policy = policy;
    if (policy != NULL && policy->mode == MPOL_INTERLEAVE)
        thread->interleaved_node = NUMA_NODES_MAX - 1; // the first comes next
    memory_policy_put(old);
}

uint32_t memory_policy_next_node(void)
{
    const struct thread *thread = thread_current();
    const uint64_t nodes = thread->memory_policy->nodes;
    const uint32_t last = thread->interleaved_node;
    const uint64_t behind = last + 1 < NUMA_NODES_MAX ? nodes >> (last + 1) << (last + 1) : 0;
    return bit_lowest(behind != 0 ? behind : nodes);
}

// ---- allocation ----

// The node whose turn it is. In an area that is a matter of the address, so that its pages lie
// evenly whoever touches them; for a thread it goes round.
static uint32_t interleave_node(const struct memory_policy *policy, const struct vm_area *area,
    uintptr_t address, unsigned order)
{
    if (area == NULL || area->policy != policy) {
        uint32_t node = memory_policy_next_node();
        thread_current()->interleaved_node = node;
        return node;
    }
    uint64_t index = area->cache == NULL
                         ? address >> PAGE_SHIFT
                         : area->cache_index + ((address - area->start) >> PAGE_SHIFT);
    const uint32_t count = (uint32_t)__builtin_popcountll(policy->nodes);
    return node_set_at(policy->nodes, (uint32_t)((index >> order) % count));
}

static uint32_t node_nearest_of(const struct memory_policy *policy)
{
    return policy->home_node != NO_NODE ? policy->home_node : cpu_nodes[cpu_current()];
}

struct page *policy_page_alloc_slow(
    const struct vm_area *area, uintptr_t address, unsigned order, uint32_t flags)
{
    const struct memory_policy *policy = area != NULL ? area->policy : NULL;
    if (policy == NULL)
        policy = thread_current()->memory_policy;
    if (policy == NULL)
        return page_alloc(order, flags);
    switch (policy->mode) {
    case MPOL_PREFERRED:
        return page_alloc_from(order, flags, bit_lowest(policy->nodes), UINT64_MAX, false);
    case MPOL_BIND:
        return page_alloc_from(order, flags, node_nearest_of(policy), policy->nodes, false);
    case MPOL_PREFERRED_MANY: {
        // Nothing is reclaimed while other nodes have plenty.
        const uint32_t near = node_nearest_of(policy);
        struct page *page =
            page_alloc_from(order, flags | PAGE_ALLOC_SPARE, near, policy->nodes, false);
        return page != NULL ? page : page_alloc_from(order, flags, near, UINT64_MAX, false);
    }
    case MPOL_INTERLEAVE:
        return page_alloc_from(
            order, flags, interleave_node(policy, area, address, order), UINT64_MAX, true);
    default:
        return page_alloc(order, flags);
    }
}

struct memory_policy *policy_borrow_slow(const struct vm_area *area)
{
    struct thread *thread = thread_current();
    struct memory_policy *own = thread->memory_policy;
    if (area->policy != NULL)
        thread->memory_policy = area->policy; // stays: space->lock is held
    return own;
}

// ---- areas ----

// Is every address of the range in an area? With `holes_allowed`, is any? 0 or -EFAULT.
static int check_mapped(
    struct address_space *space, uintptr_t start, uintptr_t end, bool holes_allowed)
{
    const struct vm_area *area = vm_area_find(space, start);
    if (area == NULL || area->start >= end)
        return -EFAULT;
    for (uintptr_t at = start; !holes_allowed && at < end; at = area->end) {
        area = vm_area_find(space, at);
        if (area == NULL || area->start > at)
            return -EFAULT;
    }
    return 0;
}

// Gives the areas of the range the policy. Splits have been made.
static void policy_apply(
    struct address_space *space, uintptr_t start, uintptr_t end, struct memory_policy *policy)
{
    struct vm_area *area = vm_area_find(space, start);
    for (; area != NULL && area->start < end; area = vm_area_next(area)) {
        if (!(area->flags & VM_FIXED_PAGES)) {
            area_change(area);
            struct memory_policy *old = area->policy;
            area->policy = memory_policy_get(policy);
            memory_policy_put(old);
        }
        area = area_merge(space, area);
    }
}

int vm_bind(struct address_space *space, uintptr_t start, uintptr_t end,
    struct memory_policy *policy, uint32_t flags)
{
    const uint64_t nodes = policy != NULL ? policy->nodes : 0;
    rwlock_write_lock(&space->lock);
    int error = check_mapped(space, start, end, policy == NULL);
    if (error == 0 && flags == VM_BIND_STRICT &&
        migrate_count_outside(space, start, end, nodes) != 0)
        error = -EIO;
    if (error == 0)
        error = area_split_range(space, start, end);
    if (error == 0) {
        policy_apply(space, start, end, policy);
        if (flags & VM_BIND_MOVE) {
            uint64_t left = migrate_to_policy(space, start, end, nodes);
            error = left != 0 && (flags & VM_BIND_STRICT) ? -EIO : 0;
        }
    }
    expensive_assert(address_space_is_valid_sampled(space));
    space_write_unlock(space);
    return error;
}

// A copy with another home. -EOPNOTSUPP: the policy has no use for one.
static int with_home(
    const struct memory_policy *policy, uint32_t node, struct memory_policy **result)
{
    if (policy->mode != MPOL_BIND && policy->mode != MPOL_PREFERRED_MANY)
        return -EOPNOTSUPP;
    struct memory_policy *copy = kmalloc(sizeof(*copy), 0);
    if (copy == NULL)
        return -ENOMEM;
    *copy = *policy;
    copy->refcount = 1;
    copy->home_node = node;
    *result = copy;
    return 0;
}

// The part of the range in an area that has a policy.
static int set_home_node(struct address_space *space, struct vm_area *area, uintptr_t start,
    uintptr_t end, uint32_t node)
{
    struct memory_policy *policy;
    int error = with_home(area->policy, node, &policy);
    if (error != 0)
        return error;
    start = MAX(start, area->start);
    end = MIN(end, area->end);
    error = area_split_range(space, start, end);
    if (error == 0)
        policy_apply(space, start, end, policy);
    memory_policy_put(policy);
    return error;
}

int vm_set_home_node(struct address_space *space, uintptr_t start, uintptr_t end, uint32_t node)
{
    rwlock_write_lock(&space->lock);
    int error = -ENOENT;
    for (uintptr_t at = start; at < end;) {
        struct vm_area *area = vm_area_find(space, at);
        if (area == NULL || area->start >= end)
            break;
        at = area->end;
        if (area->policy == NULL)
            continue;
        error = set_home_node(space, area, start, end, node);
        if (error != 0)
            break;
    }
    space_write_unlock(space);
    return error;
}

int vm_policy_at(struct address_space *space, uintptr_t address, struct memory_policy **policy)
{
    *policy = NULL;
    rwlock_read_lock(&space->lock);
    struct vm_area *area = vm_area_find(space, address);
    const bool found = area != NULL && area->start <= address;
    if (found)
        *policy = memory_policy_get(area->policy);
    rwlock_read_unlock(&space->lock);
    return found ? 0 : -EFAULT;
}
