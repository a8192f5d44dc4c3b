// SPDX-License-Identifier: MIT
// Page migration.
//
// Theory. The content of a page moves to another frame while programs run. As for promotion
// (collapse.c), space->lock is held for writing and the area is being changed, so there are no
// faults and no pins meanwhile: the entry is made not present, the TLBs are flushed, the content is
// copied, and the entry gets the new frame. A thread that touches the page in between faults, waits
// for space->lock, and finds the entry present again. Entries are taken a few at a time, so that
// one flush serves them all.
//
// What moves is private memory that belongs to this space alone. There is no way from a frame to
// the entries that map it, so a page that fork shares, a page of a file or of shared memory, and
// one that is pinned, are left where they are, and counted.
//
// Invariant G1: whoever has a reference to a private page got it through an entry of a space, under
// that space's lock. So a page with one reference, found through an entry under space->lock for
// writing, stays exclusive until the lock is given up.

#include "mm/migrate.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/core/counter.h"
#include "kernel/core/user.h"
#include "mm/huge.h"
#include "mm/page_table.h"
#include "mm/policy.h"
#include <linux/errno.h>

COUNTER(migrate, moved);
COUNTER(migrate, left);

#define BATCH 16

// Entries of one table that move together.
struct batch {
    unsigned count;
    uint64_t *entries[BATCH];
    struct page *targets[BATCH];
};

// The entries of the batch get their targets.
static void batch_move(
    struct address_space *space, const struct batch *batch, uintptr_t start, uintptr_t end)
{
    uint64_t old[BATCH];
    struct spinlock *lock = page_table_lock_of(batch->entries[0]);
    spin_lock(lock);
    for (unsigned i = 0; i < batch->count; i++)
        old[i] = __atomic_fetch_and(batch->entries[i], ~PTE_PRESENT, __ATOMIC_SEQ_CST);
    tlb_flush_space(space, start, end, false);
    for (unsigned i = 0; i < batch->count; i++) {
        debug_assert(anonymous_is_exclusive(old[i])); // G1
        arch_copy_page(page_to_virt(batch->targets[i]), page_to_virt(pte_page(old[i])));
        const uint64_t value = (old[i] & ~PTE_ADDRESS) | page_to_phys(batch->targets[i]);
        __atomic_store_n(batch->entries[i], value, __ATOMIC_RELEASE);
    }
    spin_unlock(lock);
    for (unsigned i = 0; i < batch->count; i++)
        page_put(pte_page(old[i]));
}

// Puts the entry into the batch if it is to move and can.
static void consider(struct migration *migration, const struct vm_area *area, uintptr_t address,
    uint64_t *entry, struct batch *batch)
{
    const uint64_t value = __atomic_load_n(entry, __ATOMIC_RELAXED);
    if (!pte_is_page(value) || (value & PTE_BORROWED))
        return;
    const struct page *page = pte_page(value);
    if (migration->stays(migration, page))
        return;
    struct page *target = NULL;
    if (migration->target != NULL && anonymous_is_exclusive(value))
        target = migration->target(migration, area, address, page, 0);
    if (target == NULL) {
        migration->left++;
        return;
    }
    target->cache = NULL;
    batch->entries[batch->count] = entry;
    batch->targets[batch->count++] = target;
}

// The entries from `entry` on, which lies in an own table.
static void migrate_table(const struct vm_area *area, uint64_t *entry, uintptr_t address,
    uintptr_t end, struct migration *migration)
{
    while (address < end) {
        struct batch batch = {0};
        uintptr_t start = address;
        for (; address < end && batch.count < BATCH; address += PAGE_SIZE)
            consider(migration, area, address, entry++, &batch);
        if (batch.count != 0)
            batch_move(area->space, &batch, start, address);
        migration->moved += batch.count;
    }
}

// A table that other spaces share: nothing in it moves.
static void count_shared_table(struct address_space *space, const uint64_t *entry,
    uintptr_t address, uintptr_t end, struct migration *migration)
{
    (void)space;
    debug_assert(rwlock_is_write_held(&space->lock)); // H5 of shared_table.c
    for (; address < end; address += PAGE_SIZE) {
        const uint64_t value = __atomic_load_n(entry++, __ATOMIC_RELAXED);
        if (pte_is_page(value) && !(value & PTE_BORROWED) &&
            !migration->stays(migration, pte_page(value)))
            migration->left++;
    }
}

static void huge_replace(
    struct address_space *space, uint64_t *upper, uintptr_t address, struct page *target)
{
    const uintptr_t start = ALIGN_DOWN(address, HUGE_BYTES);
    spin_lock(&space->table_lock);
    const uint64_t old = __atomic_fetch_and(upper, ~PTE_PRESENT, __ATOMIC_SEQ_CST);
    spin_unlock(&space->table_lock);
    debug_assert(pte_is_huge(old));
    tlb_flush_space(space, start, start + HUGE_BYTES, false);
    for (uint64_t i = 0; i < HUGE_PAGES; i++)
        arch_copy_page(page_to_virt(target + i), page_to_virt(pte_page(old) + i));
    spin_lock(&space->table_lock);
    __atomic_store_n(upper, (old & ~PTE_ADDRESS) | page_to_phys(target), __ATOMIC_RELEASE);
    spin_unlock(&space->table_lock);
    huge_page_unmap(pte_page(old));
}

// False: it has been split, and its pages are to be looked at one by one.
static bool migrate_huge(
    const struct vm_area *area, uint64_t *upper, uintptr_t address, struct migration *migration)
{
    const uint64_t value = __atomic_load_n(upper, __ATOMIC_RELAXED);
    struct page *head = pte_page(value);
    if (migration->stays(migration, head))
        return true;
    if (migration->target == NULL || !anonymous_is_exclusive(value)) {
        migration->left += HUGE_PAGES;
        return true;
    }
    struct page *target =
        migration->target(migration, area, ALIGN_DOWN(address, HUGE_BYTES), head, HUGE_ORDER);
    if (target == NULL) {
        if (huge_split(area->space, upper, address))
            return false;
        migration->left += HUGE_PAGES;
        return true;
    }
    huge_replace(area->space, upper, address, huge_page_adopt(target));
    migration->moved += HUGE_PAGES;
    return true;
}

static void migrate_area(
    const struct vm_area *area, uintptr_t start, uintptr_t end, struct migration *migration)
{
    struct page_table_place place = {0};
    for (uintptr_t address = start;
        (address = page_table_next(area->space, address, end, &place)) < end;) {
        const uintptr_t stop = MIN(place.next, end);
        if (place.huge) {
            if (!migrate_huge(area, place.upper, address, migration)) {
                place = (struct page_table_place){0}; // it is a table now
                continue;
            }
        } else if (place.shared) {
            count_shared_table(area->space, place.entry, address, stop, migration);
        } else {
            page_table_settle(place.entry);
            migrate_table(area, place.entry, address, stop, migration);
        }
        address = stop;
    }
}

void migrate_range(
    struct address_space *space, uintptr_t start, uintptr_t end, struct migration *migration)
{
    debug_assert(rwlock_is_write_held(&space->lock));
    migration->moved = migration->left = 0;
    for (struct vm_area *area = vm_area_find(space, start); area != NULL && area->start < end;
        area = vm_area_next(area)) {
        if (area->flags & (VM_FIXED_PAGES | VM_POOL))
            continue;
        area_change(area); // no faults, G1
        migrate_area(area, MAX(start, area->start), MIN(end, area->end), migration);
    }
    if (migration->target == NULL)
        return;
    counter_add(migrate, moved, migration->moved);
    counter_add(migrate, left, migration->left);
}

// ---- to where a policy has it ----

struct policy_migration {
    struct migration migration;
    uint64_t nodes; // where pages may stay; 0: where the running CPU is
};

static bool policy_stays(const struct migration *migration, const struct page *page)
{
    const struct policy_migration *own =
        container_of(migration, struct policy_migration, migration);
    const uint64_t nodes = own->nodes != 0 ? own->nodes : UINT64_C(1) << cpu_nodes[cpu_current()];
    return (nodes >> page->node & 1) != 0;
}

static struct page *policy_target(const struct migration *migration, const struct vm_area *area,
    uintptr_t address, const struct page *page, unsigned order)
{
    const uint32_t flags = order == 0 ? PAGE_ALLOC_USER : PAGE_ALLOC_USER | PAGE_ALLOC_SPARE;
    struct page *target = policy_page_alloc_slow(area, address, order, flags);
    // A policy that only prefers may have come back to where the page is.
    if (target != NULL && !migration->stays(migration, target) && target->node == page->node) {
        page_free(target, order);
        return NULL;
    }
    return target;
}

uint64_t migrate_to_policy(
    struct address_space *space, uintptr_t start, uintptr_t end, uint64_t nodes)
{
    struct policy_migration own = {{.stays = policy_stays, .target = policy_target}, nodes};
    migrate_range(space, start, end, &own.migration);
    return own.migration.left;
}

uint64_t migrate_count_outside(
    struct address_space *space, uintptr_t start, uintptr_t end, uint64_t nodes)
{
    struct policy_migration own = {{.stays = policy_stays}, nodes};
    migrate_range(space, start, end, &own.migration);
    return own.migration.left;
}

// ---- from nodes to nodes ----

struct node_migration {
    struct migration migration;
    uint64_t from, to;
};

// The node that stands in for `node`: to the first of `from` belongs the first of `to`, and so on.
static uint32_t node_for(const struct node_migration *own, uint32_t node)
{
    if (!(own->from >> node & 1))
        return node;
    // Sets of different sizes would otherwise send pages of a node that may keep them away.
    if (__builtin_popcountll(own->from) != __builtin_popcountll(own->to) && (own->to >> node & 1))
        return node;
    uint32_t index = (uint32_t)__builtin_popcountll(own->from & ((UINT64_C(1) << node) - 1));
    return node_set_at(own->to, index % (uint32_t)__builtin_popcountll(own->to));
}

static bool node_stays(const struct migration *migration, const struct page *page)
{
    const struct node_migration *own = container_of(migration, struct node_migration, migration);
    return node_for(own, page->node) == page->node;
}

static struct page *node_target(const struct migration *migration, const struct vm_area *area,
    uintptr_t address, const struct page *page, unsigned order)
{
    const struct node_migration *own = container_of(migration, struct node_migration, migration);
    const uint32_t node = node_for(own, page->node);
    // Programs that move memory do not have others killed for it.
    return page_alloc_from(
        order, PAGE_ALLOC_USER | PAGE_ALLOC_SPARE, node, UINT64_C(1) << node, false);
}

uint64_t vm_migrate(struct address_space *space, uint64_t from, uint64_t to)
{
    struct node_migration own = {{.stays = node_stays, .target = node_target}, from, to};
    assert(to != 0);
    rwlock_write_lock(&space->lock);
    migrate_range(space, 0, USER_END, &own.migration);
    space_write_unlock(space);
    return own.migration.left;
}

// ---- one page ----

// The entry (of level 1, or 2 for a huge page) that maps the address, 0: nothing does. space->lock
// held.
static uint64_t entry_at(struct address_space *space, uintptr_t address)
{
    spin_lock(&space->table_lock); // H5 of shared_table.c
    const uint64_t *upper = page_table_find_upper(space, address);
    uint64_t value = upper != NULL ? __atomic_load_n(upper, __ATOMIC_RELAXED) : 0;
    if (value != 0 && !pte_is_huge(value)) {
        const uint64_t *entry = page_table_find(space, address);
        value = entry != NULL ? __atomic_load_n(entry, __ATOMIC_RELAXED) : 0;
    }
    spin_unlock(&space->table_lock);
    return value;
}

// The node of the page at `address`; space->lock held. -EFAULT (no area, nobody's page, or private
// memory that was never touched), -ENOENT (a page of a file that is not there).
static int node_at(struct address_space *space, uintptr_t address, uint64_t *value)
{
    const struct vm_area *area = vm_area_find(space, address);
    if (area == NULL || area->start > address)
        return -EFAULT;
    *value = entry_at(space, address);
    if (!pte_is_page(*value))
        return area->cache == NULL ? -EFAULT : -ENOENT; // as Linux 6.1
    return *value & PTE_BORROWED ? -EFAULT : pte_page(*value)->node;
}

int vm_page_node(struct address_space *space, uintptr_t address)
{
    uint64_t value;
    rwlock_read_lock(&space->lock);
    int node = node_at(space, address, &value);
    rwlock_read_unlock(&space->lock);
    return node;
}

static int move_page_locked(
    struct address_space *space, uintptr_t address, uint32_t node, bool shared_too)
{
    uint64_t value;
    int now = node_at(space, address, &value);
    if (now < 0 || (uint32_t)now == node)
        return now;
    struct node_migration own = {
        {.stays = node_stays, .target = node_target}, UINT64_C(1) << now, UINT64_C(1) << node};
    const bool exclusive = anonymous_is_exclusive(value);
    migrate_range(space, address, address + PAGE_SIZE, &own.migration);
    if (own.migration.moved != 0)
        return (int)node;
    if (exclusive)
        return -ENOMEM;
    return (value & PTE_ANONYMOUS) && !shared_too ? -EACCES : -EBUSY;
}

int vm_move_page(struct address_space *space, uintptr_t address, uint32_t node, bool shared_too)
{
    rwlock_write_lock(&space->lock);
    int result = move_page_locked(space, ALIGN_DOWN(address, PAGE_SIZE), node, shared_too);
    space_write_unlock(space);
    return result;
}
