// SPDX-License-Identifier: MIT
// Address spaces: made, copied for fork, and given up.
//
// Fork copies areas and, of the pages, only what cannot be had again: private anonymous pages. They
// become read-only in both spaces; where they fill most of a page table, the table itself is shared
// (shared_table.c), so that fork does not grow with what is resident. Pages of files and the zero
// page come back by faults, sixteen at a time; most children that exec or exit never need them, so
// page tables of files are not copied at all.

#include "mm/area.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/log.h"
#include "kernel/core/user.h"
#include "mm/collapse.h"
#include "mm/fault.h"
#include "mm/huge.h"
#include "mm/memory.h"
#include "mm/page_cache.h"
#include "mm/page_internal.h"
#include "mm/page_table.h"
#include "mm/policy.h"
#include "mm/shared_table.h"
#include "mm/slab.h"
#include <linux/errno.h>

static struct slab_cache *space_cache;
static uint64_t next_id = 1; // atomic

bool space_init(void)
{
    space_cache = slab_cache_create("address_space", sizeof(struct address_space), 0);
    return space_cache != NULL;
}

struct address_space *address_space_create(void)
{
    struct address_space *space = slab_alloc(space_cache, PAGE_ALLOC_ZERO);
    if (space == NULL)
        return NULL;
    struct page *top = page_table_alloc();
    if (top == NULL) {
        slab_free(space_cache, space);
        return NULL;
    }
    space->page_table = page_to_virt(top);
    for (unsigned i = 0; i < kernel_slot_count; i++)
        space->page_table[kernel_slots[i]] = kernel_page_table[kernel_slots[i]];
    rwlock_init(&space->lock);
    spin_lock_init(&space->table_lock);
    list_init(&space->unmappings);
    space->write_hold = 1;
    space->users = 1;
    space->refcount = 1;
    space->id = __atomic_fetch_add(&next_id, 1, __ATOMIC_RELAXED);
    space->mmap_base = USER_END;
    list_init(&space->collapse_node);
    space->limit_as_bytes = UINT64_MAX;
    space->limit_data_bytes = UINT64_MAX;
    space->limit_stack_bytes = UINT64_MAX;
    space->limit_memlock_bytes = UINT64_MAX;
    return space;
}

void address_space_get(struct address_space *space)
{
    __atomic_fetch_add(&space->users, 1, __ATOMIC_RELAXED);
}

void address_space_release(struct address_space *space)
{
    if (__atomic_sub_fetch(&space->refcount, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    for (unsigned i = 0; i < kernel_slot_count; i++)
        space->page_table[kernel_slots[i]] = 0;
    page_table_free(virt_to_page(space->page_table)); // checks that nothing is left in it
    slab_free(space_cache, space);
}

void (*address_space_exe_put)(void *exe);

void address_space_put(struct address_space *space)
{
    if (__atomic_sub_fetch(&space->users, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    collapse_forget(space);
    debug_assert(list_is_empty(&space->unmappings)); // their threads are users
    rwlock_write_lock(&space->lock);
    int error = area_unmap_range(space, 0, USER_END);
    assert(error == 0); // nothing has to be split
    space_write_unlock(space);
    assert(space->area_count == 0);
    debug_assert(space->mapped_pages == 0);
    debug_assert(space->resident_anonymous == 0);
    debug_assert(space->resident_file == 0);
    debug_assert(space->table_pages == 0);
    if (space->exe != NULL && address_space_exe_put != NULL)
        address_space_exe_put(space->exe);
    space->exe = NULL;
    address_space_release(space);
}

// ---- fork ----

// Shares the private pages of one parent table with the child. Both tables locked by the caller.
// Returns how many; *restricted becomes true if an entry of the parent lost its right to write.
static int64_t share_entries(uint64_t *from, uint64_t *to, size_t count, bool *restricted)
{
    int64_t shared = 0;
    uint32_t left = virt_to_page(from)->used_entries;
    for (size_t i = 0; i < count && left != 0; i++) {
        uint64_t value = from[i];
        if (value == 0)
            continue;
        left--;
        if (!(value & PTE_ANONYMOUS))
            continue;
        if (value & PTE_WRITE) {
            // Atomically: another thread of the parent may be writing, and the processor sets bits.
            value = __atomic_fetch_and(&from[i], ~PTE_WRITE, __ATOMIC_RELAXED) & ~PTE_WRITE;
            *restricted = true;
        }
        page_get(pte_page(value));
        pte_set(&to[i], value);
        shared++;
    }
    page_table_count_anonymous(to, shared);
    return shared;
}

static int share_private_pages(struct address_space *parent, struct address_space *child,
    struct vm_area *area, bool *restricted)
{
    int64_t shared = 0;
    struct page_table_place place = {0};
    for (uintptr_t address = area->start;
        (address = page_table_next(parent, address, area->end, &place)) < area->end;) {
        uintptr_t end = MIN(ALIGN_DOWN(address, PAGE_TABLE_BYTES) + PAGE_TABLE_BYTES, area->end);
        uint64_t *from = place.entry;
        if (!place.huge && !place.shared)
            page_table_settle(from);
        if (place.huge) {
            int error = huge_share(parent, child, place.upper, address, restricted);
            if (error != 0)
                return error;
        } else if (shared_table_is_worth(area, address, &place)) {
            int error = shared_table_join(parent, child, address, &place, restricted);
            if (error != 0)
                return error;
        } else if (place.shared) {
            // Of an earlier fork, and since then the area was split: now it is copied.
            if (!shared_table_own(parent, place.upper, address))
                return -ENOMEM;
            continue;
        } else if (virt_to_page(from)->used_entries != 0) {
            uint64_t *to = page_table_make(child, address);
            if (to == NULL)
                return -ENOMEM;
            spin_lock(page_table_lock_of(from));
            spin_lock_nested(page_table_lock_of(to), 1);
            shared += share_entries(from, to, (end - address) >> PAGE_SHIFT, restricted);
            spin_unlock(page_table_lock_of(to));
            spin_unlock(page_table_lock_of(from));
        }
        address = end;
    }
    if (shared != 0)
        fault_count_anonymous(child, shared);
    return 0;
}

static int copy_area(struct address_space *parent, struct address_space *child,
    struct vm_area *area, bool *restricted)
{
    struct vm_area *copy = area_alloc();
    if (copy == NULL)
        return -ENOMEM;
    // Until fork is over no page of it is copied for the parent: what the child gets is what was
    // there at one moment.
    area_change(area);
    *copy = (struct vm_area){
        .start = area->start,
        .end = area->end,
        .flags = area->flags & ~VM_LOCKED,
        .cache = area->cache,
        .cache_index = area->cache_index,
        .backing = area->backing,
        .ops = area->ops,
        .label = area->label,
        .policy = memory_policy_get(area->policy),
    };
    area_insert(child, copy);
    if (copy->ops != NULL && copy->ops->open != NULL)
        copy->ops->open(copy);
    if (!area->has_anonymous || (area->flags & VM_WIPEFORK))
        return 0;
    copy->has_anonymous = true;
    return share_private_pages(parent, child, area, restricted);
}

static void copy_marks(struct address_space *to, const struct address_space *from)
{
    to->brk_start = from->brk_start;
    to->brk_end = from->brk_end;
    to->mmap_base = from->mmap_base;
    to->stack_top = from->stack_top;
    to->arg_start = from->arg_start;
    to->arg_end = from->arg_end;
    to->env_start = from->env_start;
    to->env_end = from->env_end;
    to->code_start = from->code_start;
    to->code_end = from->code_end;
    to->data_start = from->data_start;
    to->data_end = from->data_end;
    to->vdso_base = from->vdso_base;
    memcpy(to->auxv, from->auxv, sizeof(to->auxv));
    to->limit_as_bytes = from->limit_as_bytes;
    to->limit_data_bytes = from->limit_data_bytes;
    to->limit_stack_bytes = from->limit_stack_bytes;
    to->limit_memlock_bytes = from->limit_memlock_bytes;
    to->huge_disabled = from->huge_disabled;
}

struct address_space *address_space_fork(struct address_space *parent)
{
    struct address_space *child = address_space_create();
    if (child == NULL)
        return NULL;
    int error = 0;
    bool restricted = false;
    rwlock_write_lock(&parent->lock);
    copy_marks(child, parent);
    for (struct vm_area *area = vm_area_first(parent); area != NULL && error == 0;
        area = vm_area_next(area)) {
        if (!(area->flags & VM_DONTFORK))
            error = copy_area(parent, child, area, &restricted);
    }
    // Other threads of the parent must not write to shared pages through old entries.
    if (restricted)
        tlb_flush_space(parent, 0, UINT64_MAX, false);
    space_changes_end(child);
    expensive_assert(error != 0 || address_space_is_valid(child));
    space_write_unlock(parent);
    if (error != 0) {
        address_space_put(child);
        return NULL;
    }
    return child;
}
