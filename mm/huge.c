// SPDX-License-Identifier: MIT
// Huge pages of private anonymous memory.
//
// Theory. An entry of level 2 with PTE_LARGE maps a block of 512 pages. It comes into being at a
// fault (the area covers the whole 2 MiB, and nothing is mapped there yet), by promotion
// (collapse.c), by fork and by mremap; and it ends when it is unmapped or split. It is split when a
// part of it is to differ from the rest: a border of an area runs through it, a part is discarded,
// or one page of it has to be copied. Nobody needs to split for the sake of others: each space has
// its own entry.
//
// A block has one struct page that counts, its head. It counts every entry of level 2 that maps the
// block and every part (page) that has references of its own. References to parts are taken by
// split entries and by pins. So while a block is only mapped as a whole its 511 other struct pages
// are not touched: a fault or a fork costs the same as that of one small page. When the only user
// of a block splits it, the block dissolves into 512 ordinary pages.
//
// Invariants:
//   U1  head->order is HUGE_ORDER, head->huge_mappings the number of entries of level 2 that map
//       the block (and have not been flushed from TLBs yet), head->refcount that plus the number of
//       parts with references plus references to the head itself.
//   U2  A part with references has order PAGE_ORDER_PART. Its count rises from 0 only while the
//       block is mapped under the table_lock of a space, so the head's count can't reach 0
//       meanwhile. page_put() on its last reference gives up the head's (page_put_last()).
//   U3  A huge page lies in one area. area_split() splits it where it cuts.
//   U4  An entry of level 2 becomes huge, stops being huge or changes its rights under
//       space->table_lock. It goes from 0 to huge and from huge to a table with space->lock held in
//       any way, from huge to 0 too, and from a table to huge only with it held for writing.
//   U5  PTE_WRITE in a huge entry means that no other entry of level 2 maps the block.
//   U6  TLBs never hold a huge and a small translation of an address: the entry is not present,
//       and flushed, between the two.
//
// Rejected: counting references in all 512 struct pages (fork and fault would touch 32 KiB of them
// for each huge page); a table kept beside each huge entry so that splitting cannot fail for lack
// of memory (0.2 % of memory, and what it saves us is one -ENOMEM).

#include "mm/huge.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/core/counter.h"
#include "mm/area.h"
#include "mm/collapse.h"
#include "mm/fault.h"
#include "mm/huge_pool.h"
#include "mm/page_internal.h"
#include "mm/policy.h"
#include "mm/tlb.h"
#include <linux/errno.h>

COUNTER(huge, faults);
COUNTER(huge, fallbacks);
COUNTER(huge, splits);
COUNTER(huge, dissolved);
COUNTER(huge, reused);

#define HUGE_MEMORY_MIN (UINT64_C(512) << 20)

static uint32_t policy_now = UINT32_MAX; // enum huge_policy; UINT32_MAX: nobody has said

// ---- policy ----

enum huge_policy huge_policy_get(void)
{
    uint32_t policy = __atomic_load_n(&policy_now, __ATOMIC_RELAXED);
    if (likely(policy != UINT32_MAX))
        return (enum huge_policy)policy;
    return page_total() << PAGE_SHIFT >= HUGE_MEMORY_MIN ? HUGE_ALWAYS : HUGE_NEVER;
}

void huge_policy_set(enum huge_policy policy)
{
    __atomic_store_n(&policy_now, policy, __ATOMIC_RELAXED);
}

bool huge_is_eligible(const struct vm_area *area, uintptr_t address)
{
    uintptr_t start = ALIGN_DOWN(address, HUGE_BYTES);
    if (area->cache != NULL || start < area->start || area->end - start < HUGE_BYTES)
        return false;
    if (area->flags & (VM_SHARED | VM_FIXED_PAGES | VM_NOHUGE | VM_GROWSDOWN | VM_POOL))
        return false;
    if (__atomic_load_n(&area->space->huge_disabled, __ATOMIC_RELAXED))
        return false;
    enum huge_policy policy = huge_policy_get();
    return policy == HUGE_ALWAYS || (policy == HUGE_ADVISED && (area->flags & VM_HUGE));
}

// ---- pages ----

struct page *huge_page_alloc(const struct vm_area *area, uintptr_t address)
{
    struct page *head =
        policy_page_alloc(area, address, HUGE_ORDER, PAGE_ALLOC_USER | PAGE_ALLOC_SPARE);
    return head != NULL ? huge_page_adopt(head) : NULL;
}

struct page *huge_page_adopt(struct page *head)
{
    debug_assert(head->order == HUGE_ORDER);
    head->cache = NULL;
    head->huge_mappings = 1;
    return head;
}

void huge_page_map(struct page *head)
{
    debug_assert(head->order == HUGE_ORDER);
    __atomic_fetch_add(&head->huge_mappings, 1, __ATOMIC_RELAXED);
    page_get(head);
}

void huge_page_unmap(struct page *head)
{
    debug_assert(head->order == HUGE_ORDER);
    __atomic_fetch_sub(&head->huge_mappings, 1, __ATOMIC_RELEASE);
    page_put(head);
}

void huge_part_get(struct page *part)
{
    struct page *head = huge_head(part);
    debug_assert(head->order == HUGE_ORDER);
    if (part != head) {
        part->cache = NULL;
        part->order = PAGE_ORDER_PART; // U2; the same value always, so races do not matter
        if (__atomic_fetch_add(&part->refcount, 1, __ATOMIC_ACQ_REL) != 0)
            return;
    }
    page_get(head);
}

bool anonymous_is_exclusive(uint64_t value)
{
    if (!(value & PTE_ANONYMOUS))
        return false;
    struct page *page = pte_page(value);
    if (__atomic_load_n(&page->refcount, __ATOMIC_ACQUIRE) != 1)
        return false;
    // A part may be mapped with its whole block elsewhere.
    return page->order != PAGE_ORDER_PART ||
           __atomic_load_n(&huge_head(page)->huge_mappings, __ATOMIC_ACQUIRE) == 0;
}

// The only user's block becomes 512 pages with a reference each.
static void dissolve(struct page *head)
{
    debug_assert(head->refcount == 1 && head->huge_mappings == 1);
    for (uint64_t i = 0; i < HUGE_PAGES; i++) {
        struct page *page = head + i;
        page->order = 0;
        page->flags = 0;
        page->refcount = 1;
        page->cache = NULL;
    }
    counter_add(huge, dissolved, 1);
}

void huge_count(struct address_space *space, int64_t huge_pages)
{
    fault_count_anonymous(space, huge_pages * (int64_t)HUGE_PAGES);
    page_usage_add(huge, huge_pages * (int64_t)HUGE_PAGES);
}

// ---- faults ----

bool huge_fault_present(struct address_space *space, uint64_t *upper, bool write)
{
    uint64_t value = __atomic_load_n(upper, __ATOMIC_RELAXED);
    if (!write || (value & PTE_WRITE) || !(value & PTE_PRESENT))
        return true; // whatever it was has passed; if it has not, the program faults again
    bool served = true;
    spin_lock(&space->table_lock);
    value = *upper;
    if (pte_is_huge(value) && (value & (PTE_PRESENT | PTE_WRITE)) == PTE_PRESENT) {
        served = anonymous_is_exclusive(value);
        if (served) {
            __atomic_fetch_or(upper, PTE_WRITE | PTE_DIRTY | PTE_ACCESSED, __ATOMIC_RELAXED);
            counter_add(huge, reused, 1);
        }
    }
    spin_unlock(&space->table_lock);
    return served;
}

// Nothing is mapped in the whole 2 MiB: a huge page, if there is one. False: a table instead.
static bool fault_new(
    struct address_space *space, struct vm_area *area, uintptr_t address, uint64_t *upper)
{
    struct page *head = huge_page_alloc(area, ALIGN_DOWN(address, HUGE_BYTES));
    if (head == NULL) {
        counter_add(huge, fallbacks, 1);
        return false;
    }
    arch_clear_pages(page_to_virt(head), HUGE_PAGES);
    area->has_anonymous = true;
    uint64_t value =
        page_to_phys(head) | PTE_LARGE | PTE_ANONYMOUS | pte_flags_of(area->flags, true);
    spin_lock(&space->table_lock);
    bool added = *upper == 0;
    if (added) {
        __atomic_store_n(upper, value, __ATOMIC_RELEASE);
        virt_to_page(upper)->used_entries++;
    }
    spin_unlock(&space->table_lock);
    if (!added) {
        huge_page_unmap(head);
        return __atomic_load_n(upper, __ATOMIC_RELAXED) & PTE_LARGE;
    }
    huge_count(space, 1);
    counter_add(huge, faults, 1);
    return true;
}

int huge_fault(struct address_space *space, struct vm_area *area, uintptr_t address, bool write,
    uint64_t **entry)
{
    *entry = NULL;
    if (area->flags & VM_POOL)
        return huge_pool_fault(space, area, address, write);
    uint64_t *upper = page_table_make_upper(space, address);
    if (upper == NULL)
        return -ENOMEM;
    uint64_t value = __atomic_load_n(upper, __ATOMIC_ACQUIRE);
    if (pte_is_huge(value)) {
        if (huge_fault_present(space, upper, write))
            return 0;
    } else if (huge_is_eligible(area, address)) {
        if (value == 0 && write && fault_new(space, area, address, upper))
            return 0;
        collapse_register(space); // later, perhaps
    }
    *entry = page_table_make(space, address);
    return *entry != NULL ? 0 : -ENOMEM;
}

// ---- splitting ----

// The entries of a table that maps what the huge entry did.
static void fill_table(struct page *table, uint64_t value)
{
    uint64_t *entries = page_to_virt(table), small = value & ~PTE_LARGE;
    for (uint64_t i = 0; i < HUGE_PAGES; i++)
        entries[i] = small + i * PAGE_SIZE;
    table->used_entries = HUGE_PAGES;
    table->anonymous_entries = HUGE_PAGES;
}

// The table's entries get references of their own; the one of the huge entry goes, or becomes that
// of the first page. Under table_lock. Returns the block if a mapping has to be given up.
static struct page *split_references(struct page *head)
{
    if (__atomic_load_n(&head->refcount, __ATOMIC_ACQUIRE) == 1) {
        dissolve(head);
        return NULL;
    }
    for (uint64_t i = 0; i < HUGE_PAGES; i++)
        huge_part_get(head + i);
    return head;
}

bool huge_split(struct address_space *space, uint64_t *upper, uintptr_t address)
{
    if (!pte_is_huge(__atomic_load_n(upper, __ATOMIC_RELAXED)))
        return true;
    struct page *table = page_table_alloc(), *left = NULL;
    if (table == NULL)
        return false;
    uintptr_t start = ALIGN_DOWN(address, HUGE_BYTES);
    spin_lock(&space->table_lock);
    uint64_t value = *upper;
    bool huge = pte_is_huge(value);
    if (huge) {
        // U6. Who faults meanwhile sees a huge page that is not present, and tries again.
        if (value & PTE_PRESENT) {
            value = __atomic_fetch_and(upper, ~PTE_PRESENT, __ATOMIC_SEQ_CST);
            tlb_flush_space(space, start, start + PAGE_SIZE, false);
        }
        left = split_references(pte_page(value));
        fill_table(table, value);
        space->table_pages++;
        __atomic_store_n(upper, page_table_upper_entry(table), __ATOMIC_RELEASE);
    }
    spin_unlock(&space->table_lock);
    if (left != NULL)
        huge_page_unmap(left);
    if (!huge) {
        page_table_free(table);
        return true;
    }
    page_usage_add(huge, -(int64_t)HUGE_PAGES);
    counter_add(huge, splits, 1);
    return true;
}

// The level 2 entry for the address if there is a huge page; L2 of page_table.h.
static uint64_t *find_huge(struct address_space *space, uintptr_t address)
{
    uint64_t *upper = page_table_find_upper(space, address);
    return upper != NULL && pte_is_huge(__atomic_load_n(upper, __ATOMIC_RELAXED)) ? upper : NULL;
}

int huge_split_at(struct address_space *space, uintptr_t address)
{
    if (IS_ALIGNED(address, HUGE_BYTES))
        return 0;
    uint64_t *upper = find_huge(space, address);
    return upper == NULL || huge_split(space, upper, address) ? 0 : -ENOMEM;
}

// ---- others that look at mappings ----

struct page *huge_pin(struct address_space *space, uintptr_t address, bool write)
{
    uint64_t *upper = find_huge(space, address);
    if (upper == NULL)
        return NULL;
    struct page *part = NULL;
    spin_lock(&space->table_lock);
    uint64_t value = *upper;
    if (pte_is_huge(value) && pte_is_page(value) && (!write || (value & PTE_WRITE))) {
        part = pte_page(value) + PAGE_LEVEL_INDEX(address, 1);
        huge_part_get(part);
    }
    spin_unlock(&space->table_lock);
    return part;
}

bool huge_is_mapped(struct address_space *space, uintptr_t address)
{
    return find_huge(space, address) != NULL;
}

int64_t huge_zap(struct tlb_gather *gather, uint64_t *upper, uintptr_t address)
{
    struct address_space *space = gather->space;
    debug_assert(gather->huge_count < TLB_GATHER_HUGE);
    spin_lock(&space->table_lock);
    uint64_t value = *upper;
    bool huge = pte_is_huge(value);
    if (huge) {
        value = __atomic_exchange_n(upper, 0, __ATOMIC_SEQ_CST);
        virt_to_page(upper)->used_entries--;
    }
    spin_unlock(&space->table_lock);
    if (!huge)
        return 0;
    if (value & PTE_PRESENT)
        tlb_gather_address(gather, ALIGN_DOWN(address, HUGE_BYTES));
    gather->huge[gather->huge_count++] = pte_page(value);
    if (pte_page(value)->flags & PAGE_POOL)
        return 0; // was not counted
    page_usage_add(huge, -(int64_t)HUGE_PAGES);
    return (int64_t)HUGE_PAGES;
}

void huge_protect(struct address_space *space, struct tlb_range *stale, uint64_t *upper,
    uintptr_t address, uint32_t vm_flags)
{
    spin_lock(&space->table_lock);
    uint64_t value = *upper;
    uint64_t changed = pte_protected(value, vm_flags);
    if (pte_is_huge(value) && changed != value) {
        uint64_t old = __atomic_exchange_n(upper, changed, __ATOMIC_SEQ_CST);
        if ((old & PTE_PRESENT) && pte_is_restricted(old, changed))
            tlb_range_add(stale, ALIGN_DOWN(address, HUGE_BYTES));
    }
    spin_unlock(&space->table_lock);
}

int huge_share(struct address_space *parent, struct address_space *child, uint64_t *upper,
    uintptr_t address, bool *restricted)
{
    debug_assert(rwlock_is_write_held(&parent->lock));
    uint64_t *to = page_table_make_upper(child, address);
    if (to == NULL)
        return -ENOMEM;
    debug_assert(*to == 0);
    uint64_t value = *upper;
    if (value & PTE_WRITE) {
        value = __atomic_fetch_and(upper, ~PTE_WRITE, __ATOMIC_RELAXED) & ~PTE_WRITE; // U5
        *restricted = true;
    }
    huge_page_map(pte_page(value));
    __atomic_store_n(to, value, __ATOMIC_RELEASE);
    virt_to_page(to)->used_entries++;
    if (!(pte_page(value)->flags & PAGE_POOL))
        huge_count(child, 1);
    return 0;
}

int huge_move(struct tlb_gather *gather, uint64_t *upper, uintptr_t from, uintptr_t to)
{
    struct address_space *space = gather->space;
    debug_assert(rwlock_is_write_held(&space->lock));
    debug_assert(IS_ALIGNED(to, HUGE_BYTES));
    uint64_t *target = page_table_make_upper(space, to);
    if (target == NULL)
        return -ENOMEM;
    int error = -EEXIST;
    spin_lock(&space->table_lock);
    if (*target == 0) {
        uint64_t value = __atomic_exchange_n(upper, 0, __ATOMIC_SEQ_CST);
        virt_to_page(upper)->used_entries--;
        __atomic_store_n(target, value, __ATOMIC_RELEASE);
        virt_to_page(target)->used_entries++;
        if (value & PTE_PRESENT)
            tlb_gather_address(gather, from);
        error = 0;
    }
    spin_unlock(&space->table_lock);
    return error;
}
