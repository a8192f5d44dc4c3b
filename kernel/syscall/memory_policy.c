// SPDX-License-Identifier: MIT
// Memory policies and pages that move between nodes: set_mempolicy, get_mempolicy, mbind,
// set_mempolicy_home_node, migrate_pages, move_pages. Arguments are checked here, in the order in
// which Linux does it; the work is done in mm/policy.c and mm/migrate.c.
//
// Masks of nodes are as long as the caller says, up to what Debian's kernel takes; nodes that no
// machine of ours can have are remembered as "beyond" only, since no policy can use them.
#include "kernel/syscall/syscall.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/process/credentials.h"
#include "kernel/process/task.h"
#include "kernel/syscall/process_vm.h"
#include "mm/address_space.h"
#include "mm/policy.h"
#include <linux/capability.h>
#include <linux/mempolicy.h>

#define MASK_BITS_MAX  1024u // Debian's MAX_NUMNODES
#define MASK_BITS_READ (PAGE_SIZE * 8)

// ---- masks ----

// A mask of `bits` - 1 bits, as the calls count. -EINVAL, -EFAULT.
static int nodes_from_user(uintptr_t mask, uint64_t bits, struct node_request *request)
{
    *request = (struct node_request){0};
    bits--;
    if (bits == 0 || mask == 0)
        return 0;
    if (bits > MASK_BITS_READ)
        return -EINVAL;
    for (uint64_t at = 0; at < bits; at += 64) {
        uint64_t word;
        if (user_get_u64(&word, mask + at / 8) != 0)
            return -EFAULT;
        if (bits - at < 64)
            word &= (UINT64_C(1) << (bits - at)) - 1;
        if (word != 0 && at >= MASK_BITS_MAX)
            return -EINVAL;
        if (at == 0)
            request->nodes = word;
        else
            request->beyond |= word != 0;
    }
    return 0;
}

// Writes a mask of `bits` - 1 bits, zeroes behind our nodes. -EINVAL, -EFAULT.
static int nodes_to_user(uintptr_t mask, uint64_t bits, uint64_t nodes)
{
    const uint64_t bytes = ALIGN_UP(bits - 1, 64) / 8;
    if (bytes > PAGE_SIZE)
        return -EINVAL;
    for (uint64_t at = 0; at < bytes; at += 8) {
        if (user_put_u64(mask + at, at == 0 ? nodes : 0) != 0)
            return -EFAULT;
    }
    return 0;
}

// ---- policies ----

static int policy_from_user(
    uint64_t mode, uintptr_t mask, uint64_t bits, struct memory_policy **policy)
{
    const uint32_t flags = (uint32_t)mode & MPOL_MODE_FLAGS;
    struct node_request request;
    mode = (uint32_t)mode & ~(uint32_t)MPOL_MODE_FLAGS;
    if (mode >= MPOL_MAX)
        return -EINVAL;
    if ((flags & MPOL_F_STATIC_NODES) && (flags & MPOL_F_RELATIVE_NODES))
        return -EINVAL;
    // Pages do not follow threads here: the wish for it is noted, as Linux does where it is off.
    if ((flags & MPOL_F_NUMA_BALANCING) && mode != MPOL_BIND)
        return -EINVAL;
    int error = nodes_from_user(mask, bits, &request);
    return error != 0 ? error : memory_policy_create((uint32_t)mode, flags, &request, policy);
}

SYSCALL3(set_mempolicy, int32_t, mode, uintptr_t, mask, uint64_t, bits)
{
    struct memory_policy *policy;
    int error = policy_from_user((uint32_t)mode, mask, bits, &policy);
    if (error == 0)
        memory_policy_set_own(policy);
    return error;
}

// The end of a range that begins at `start`. -EINVAL.
static int range_end(uintptr_t start, uint64_t len_bytes, uintptr_t *end)
{
    if (!IS_ALIGNED(start, PAGE_SIZE))
        return -EINVAL;
    *end = start + ALIGN_UP(len_bytes, PAGE_SIZE);
    return *end < start ? -EINVAL : 0;
}

SYSCALL6(mbind, uintptr_t, start, uint64_t, len_bytes, uint64_t, mode, uintptr_t, mask, uint64_t,
    bits, uint32_t, flags)
{
    struct memory_policy *policy;
    uintptr_t end;
    if (flags & ~(uint32_t)MPOL_MF_VALID)
        return -EINVAL;
    if ((flags & MPOL_MF_MOVE_ALL) && !capable(CAP_SYS_NICE))
        return -EPERM;
    int error = range_end(start, len_bytes, &end);
    if (error != 0)
        return error;
    error = policy_from_user(mode, mask, bits, &policy);
    if (error != 0 || end == start) {
        if (error == 0)
            memory_policy_put(policy);
        return error;
    }
    uint32_t wanted = flags & (MPOL_MF_MOVE | MPOL_MF_MOVE_ALL) ? VM_BIND_MOVE : 0;
    if ((flags & MPOL_MF_STRICT) && policy != NULL)
        wanted |= VM_BIND_STRICT;
    error = vm_bind(thread_current()->space, start, end, policy, wanted);
    memory_policy_put(policy);
    return error;
}

SYSCALL4(
    set_mempolicy_home_node, uintptr_t, start, uint64_t, len_bytes, uint64_t, node, uint64_t, flags)
{
    uintptr_t end;
    if (flags != 0 || node >= numa.node_count)
        return -EINVAL;
    int error = range_end(start, len_bytes, &end);
    if (error != 0 || end == start)
        return error;
    return vm_set_home_node(thread_current()->space, start, end, (uint32_t)node);
}

// The node of the page at `address`, brought in if it is not there. -EFAULT...
static int node_of_address(uintptr_t address)
{
    struct address_space *space = thread_current()->space;
    struct page *page;
    int node = vm_page_node(space, address);
    if (node != -ENOENT && node != -EFAULT)
        return node;
    int64_t pinned = vm_pin(space, address, 1, false, &page);
    if (pinned != 1)
        return pinned < 0 ? (int)pinned : -EFAULT;
    node = page->node;
    page_put(page);
    return node;
}

// What MPOL_F_NODE asks for: a node instead of a mode.
static int node_told(const struct memory_policy *policy, uintptr_t address, uint64_t flags)
{
    if (flags & MPOL_F_ADDR)
        return node_of_address(address);
    if (policy == NULL || policy->mode != MPOL_INTERLEAVE)
        return -EINVAL;
    return (int)memory_policy_next_node();
}

// The policy that the flags ask for, with a reference. Of an area it is its own, if it has one; the
// thread's is not told for it, as on Linux.
static int policy_asked(uintptr_t address, uint64_t flags, struct memory_policy **policy)
{
    if (flags & MPOL_F_ADDR)
        return vm_policy_at(thread_current()->space, address, policy);
    if (address != 0)
        return -EINVAL;
    *policy = memory_policy_get(thread_current()->memory_policy);
    return 0;
}

static int64_t get_policy(
    uintptr_t mode_user, uintptr_t mask, uint64_t bits, uintptr_t address, uint64_t flags)
{
    struct memory_policy *policy;
    int error = policy_asked(address, flags, &policy);
    if (error != 0)
        return error;
    int told = policy != NULL ? policy->mode | policy->flags : MPOL_DEFAULT;
    if (flags & MPOL_F_NODE)
        told = node_told(policy, address, flags);
    const uint64_t nodes = policy != NULL ? memory_policy_nodes_told(policy) : 0;
    memory_policy_put(policy);
    if (told < 0)
        return told;
    if (mode_user != 0 && user_put_u32(mode_user, (uint32_t)told) != 0)
        return -EFAULT;
    return mask != 0 ? nodes_to_user(mask, bits, nodes) : 0;
}

SYSCALL5(get_mempolicy, uintptr_t, mode, uintptr_t, mask, uint64_t, bits, uintptr_t, address,
    uint64_t, flags)
{
    if (mask != 0 && bits < numa.node_count)
        return -EINVAL;
    if (flags & ~(uint64_t)(MPOL_F_NODE | MPOL_F_ADDR | MPOL_F_MEMS_ALLOWED))
        return -EINVAL;
    if (!(flags & MPOL_F_MEMS_ALLOWED))
        return get_policy(mode, mask, bits, address, flags);
    if (flags & (MPOL_F_NODE | MPOL_F_ADDR))
        return -EINVAL;
    if (mode != 0 && user_put_u32(mode, 0) != 0)
        return -EFAULT;
    return mask != 0 ? nodes_to_user(mask, bits, page_nodes_with_memory()) : 0;
}

// ---- pages that move ----

// The memory of a process by its number, 0: the caller's, with a reference. NULL with *error.
static struct address_space *space_of(int32_t pid, int *error)
{
    struct address_space *space = NULL;
    struct task *task = pid != 0 ? task_find_get(pid) : task_current();
    *error = -ESRCH;
    if (task == NULL)
        return NULL;
    *error = process_vm_allowed(task) ? -EINVAL : -EPERM;
    if (*error == -EINVAL)
        space = task_space_get(task);
    if (pid != 0)
        task_put(task);
    return space;
}

SYSCALL4(migrate_pages, int32_t, pid, uint64_t, bits, uintptr_t, old_nodes, uintptr_t, new_nodes)
{
    struct node_request from, to;
    int error = nodes_from_user(old_nodes, bits, &from);
    if (error == 0)
        error = nodes_from_user(new_nodes, bits, &to);
    if (error != 0)
        return error;
    struct address_space *space = space_of(pid, &error);
    if (space == NULL)
        return error;
    const uint64_t present = page_nodes_with_memory();
    if ((to.beyond || (to.nodes & ~present) != 0) && !capable(CAP_SYS_NICE))
        error = -EPERM;
    else if ((to.nodes & present) == 0)
        error = -EINVAL;
    else
        error = 0;
    int64_t left = error == 0 ? (int64_t)vm_migrate(space, from.nodes, to.nodes & present) : error;
    address_space_put(space);
    return left;
}

// One page of move_pages(2). Returns what its status is, or with *fatal what the call's result is.
static int move_one(
    struct address_space *space, uint64_t address, uintptr_t node_user, uint32_t flags, bool *fatal)
{
    uint32_t node = 0;
    *fatal = false;
    if (node_user == 0)
        return vm_page_node(space, address);
    *fatal = true;
    if (user_get_u32(&node, node_user) != 0)
        return -EFAULT;
    if (node >= NUMA_NODES_MAX || !(page_nodes_with_memory() >> node & 1))
        return -ENODEV;
    *fatal = false;
    return vm_move_page(space, address, node, (flags & MPOL_MF_MOVE_ALL) != 0);
}

static int64_t move_all(struct address_space *space, uint64_t count, uintptr_t addresses,
    uintptr_t nodes, uintptr_t status, uint32_t flags)
{
    int64_t left = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t address;
        bool fatal;
        if (user_get_u64(&address, addresses + i * sizeof(address)) != 0)
            return -EFAULT;
        int result =
            move_one(space, address, nodes != 0 ? nodes + i * sizeof(uint32_t) : 0, flags, &fatal);
        if (fatal)
            return result;
        // As on Linux, what could not even be tried does not count.
        left += nodes != 0 && (result == -EBUSY || result == -ENOMEM);
        if (user_put_u32(status + i * sizeof(uint32_t), (uint32_t)result) != 0)
            return -EFAULT;
        if (thread_kill_pending(thread_current()))
            return -EINTR;
    }
    return left;
}

SYSCALL6(move_pages, int32_t, pid, uint64_t, count, uintptr_t, addresses, uintptr_t, nodes,
    uintptr_t, status, int32_t, flags)
{
    int error;
    if ((uint32_t)flags & ~(uint32_t)(MPOL_MF_MOVE | MPOL_MF_MOVE_ALL))
        return -EINVAL;
    if ((flags & MPOL_MF_MOVE_ALL) && !capable(CAP_SYS_NICE))
        return -EPERM;
    struct address_space *space = space_of(pid, &error);
    if (space == NULL)
        return error;
    int64_t left = move_all(space, count, addresses, nodes, status, (uint32_t)flags);
    address_space_put(space);
    return left;
}
