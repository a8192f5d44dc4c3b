// SPDX-License-Identifier: MIT
// Page tables of programs: making, finding and freeing tables; theory in page_table.h.

#include "mm/page_table.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/core/rcu.h"
#include "mm/area.h"
#include "mm/huge.h"
#include "mm/page_internal.h"
#include "mm/shared_table.h"
#include "mm/tlb.h"

#define USER_TABLE (PTE_PRESENT | PTE_WRITE | PTE_USER | PTE_ACCESSED)

// Free tables are all zero (L3); each CPU keeps a few, so that a process that comes and goes clears
// none.
#define TABLES_CACHED 12
struct table_cache {
    uint32_t count;
    struct page *pages[TABLES_CACHED];
};
static PERCPU(struct table_cache, table_cache);

struct page *page_table_alloc(void)
{
    struct page *page = NULL;
    uint64_t flags = arch_irq_save();
    struct table_cache *cache = this_cpu_ptr(table_cache);
    if (likely(cache->count != 0))
        page = cache->pages[--cache->count];
    arch_irq_restore(flags);
    if (page == NULL) {
        page = page_alloc(0, PAGE_ALLOC_ZERO | PAGE_ALLOC_USER);
        if (page == NULL)
            return NULL;
        page->flags = PAGE_TABLE;
    }
    page->used_entries = 0;
    page->anonymous_entries = 0;
    spin_lock_init(&page->table_lock);
    page_usage_add(table, 1);
    return page;
}

void page_table_free(struct page *table)
{
    debug_assert(table->flags == PAGE_TABLE);
    debug_assert(table->used_entries == 0 && table->anonymous_entries == 0);
    debug_assert(table->refcount == 1);
#ifdef LODGER_DEBUG
    const uint64_t *entries = page_to_virt(table);
    for (unsigned i = 0; i < PAGE_TABLE_ENTRIES; i++)
        assert(entries[i] == 0);
#endif
    page_usage_add(table, -1);
    uint64_t flags = arch_irq_save();
    struct table_cache *cache = this_cpu_ptr(table_cache);
    bool cached = cache->count < TABLES_CACHED;
    if (cached)
        cache->pages[cache->count++] = table;
    arch_irq_restore(flags);
    if (!cached) {
        table->flags = 0;
        page_free(table, 0);
    }
}

static void free_after_grace_period(struct rcu_head *head)
{
    struct page *table = container_of((struct list_node *)head, struct page, list);
    table->refcount = 1; // as the allocator gave it out
    page_table_free(table);
}

void page_table_free_later(struct address_space *space, struct page *table)
{
    struct rcu_head *head = (struct rcu_head *)&table->list;
    if (space != NULL && space_is_alone(space))
        free_after_grace_period(head); // nobody is there who would have to be waited for
    else
        rcu_call(head, free_after_grace_period);
}

void page_table_cpu_leave(void)
{
    struct page *table;
    do {
        uint64_t flags = arch_irq_save();
        struct table_cache *cache = this_cpu_ptr(table_cache);
        table = cache->count != 0 ? cache->pages[--cache->count] : NULL;
        arch_irq_restore(flags);
        if (table != NULL) {
            table->flags = 0;
            page_free(table, 0);
        }
    } while (table != NULL);
}

static uint64_t *next_table(uint64_t entry)
{
    return phys_to_virt(entry & PTE_ADDRESS);
}

uint64_t *page_table_find(struct address_space *space, uintptr_t address)
{
    uint64_t *table = space->page_table;
    for (unsigned level = 4; level > 1; level--) {
        uint64_t entry =
            __atomic_load_n(&table[PAGE_LEVEL_INDEX(address, level)], __ATOMIC_ACQUIRE);
        if ((entry & (PTE_PRESENT | PTE_LARGE)) != PTE_PRESENT)
            return NULL;
        table = next_table(entry);
    }
    return &table[PAGE_LEVEL_INDEX(address, 1)];
}

uint64_t *page_table_find_upper(struct address_space *space, uintptr_t address)
{
    uint64_t *table = space->page_table;
    for (unsigned level = 4; level > 2; level--) {
        uint64_t entry =
            __atomic_load_n(&table[PAGE_LEVEL_INDEX(address, level)], __ATOMIC_ACQUIRE);
        if (!(entry & PTE_PRESENT))
            return NULL;
        table = next_table(entry);
    }
    return &table[PAGE_LEVEL_INDEX(address, 2)];
}

uint64_t *page_table_find_own(struct address_space *space, uintptr_t address)
{
    uint64_t *table = space->page_table;
    for (unsigned level = 4; level > 1; level--) {
        uint64_t entry =
            __atomic_load_n(&table[PAGE_LEVEL_INDEX(address, level)], __ATOMIC_ACQUIRE);
        if (unlikely((entry & (PTE_PRESENT | PTE_LARGE | PTE_TABLE_SHARED)) != PTE_PRESENT))
            return NULL;
        table = next_table(entry);
    }
    return &table[PAGE_LEVEL_INDEX(address, 1)];
}

uint64_t page_table_upper_entry(const struct page *table)
{
    return page_to_phys(table) | USER_TABLE;
}

// Puts a new table into *entry of `parent`, unless somebody else was faster. False: no memory.
static bool table_add(struct address_space *space, uint64_t *entry)
{
    struct page *table = page_table_alloc();
    if (table == NULL)
        return false;
    spin_lock(&space->table_lock);
    bool added = *entry == 0;
    if (added) {
        __atomic_store_n(entry, page_table_upper_entry(table), __ATOMIC_RELEASE);
        virt_to_page(entry)->used_entries++;
        space->table_pages++;
    }
    spin_unlock(&space->table_lock);
    if (!added)
        page_table_free(table);
    return true;
}

// Makes the entry, which held `value`, lead to a table that is the space's own. False: no memory.
static bool make_way(
    struct address_space *space, uint64_t *entry, uint64_t value, uintptr_t address)
{
    if (pte_is_huge(value))
        return huge_split(space, entry, address);
    return value & PTE_PRESENT ? shared_table_own(space, entry, address) : table_add(space, entry);
}

// Entry of `last_level`, with the tables above it made and owned.
static inline uint64_t *make_level(
    struct address_space *space, uintptr_t address, unsigned last_level)
{
    uint64_t *table = space->page_table;
    for (unsigned level = 4; level > last_level; level--) {
        uint64_t *entry = &table[PAGE_LEVEL_INDEX(address, level)];
        uint64_t value = __atomic_load_n(entry, __ATOMIC_ACQUIRE);
        if (unlikely((value & (PTE_PRESENT | PTE_TABLE_SHARED | PTE_LARGE)) != PTE_PRESENT)) {
            if (!make_way(space, entry, value, address))
                return NULL;
            level++; // look again: it can be gone, or shared, no more
            continue;
        }
        table = next_table(value);
    }
    return &table[PAGE_LEVEL_INDEX(address, last_level)];
}

uint64_t *page_table_make(struct address_space *space, uintptr_t address)
{
    return make_level(space, address, 1);
}

uint64_t *page_table_make_upper(struct address_space *space, uintptr_t address)
{
    return make_level(space, address, 2);
}

// First entry of table[index, end_index) that is in use; end_index if there is none.
static unsigned next_used(const uint64_t *table, unsigned index, unsigned end_index)
{
    while (index < end_index && __atomic_load_n(&table[index], __ATOMIC_RELAXED) == 0)
        index++;
    return index;
}

static void place_set(
    struct page_table_place *place, uint64_t *upper, uint64_t value, uintptr_t address)
{
    bool huge = pte_is_huge(value);
    *place = (struct page_table_place){
        .entry = huge ? NULL : next_table(value) + PAGE_LEVEL_INDEX(address, 1),
        .upper = upper,
        .shared = !huge && (value & PTE_TABLE_SHARED) != 0,
        .huge = huge,
        .next = ALIGN_DOWN(address, PAGE_TABLE_BYTES) + PAGE_TABLE_BYTES,
    };
}

// Address of the first table of level 1 at or after `address`, looked for in `table` of `level`; at
// least `end`: none there.
static uintptr_t next_in_table(uint64_t *table, unsigned level, uintptr_t address, uintptr_t end,
    struct page_table_place *place)
{
    const uintptr_t covers = 1ul << PAGE_LEVEL_SHIFT(level);
    unsigned index = PAGE_LEVEL_INDEX(address, level);
    uintptr_t base = address - (address & (covers * PAGE_TABLE_ENTRIES - 1));
    uintptr_t last = (end - 1 - base) >> PAGE_LEVEL_SHIFT(level);
    unsigned end_index = (unsigned)MIN(last, (uintptr_t)PAGE_TABLE_ENTRIES - 1) + 1;
    while (index < end_index) {
        unsigned found = next_used(table, index, end_index);
        if (found == end_index)
            break;
        if (found != index)
            address = base + covers * found;
        uint64_t value = __atomic_load_n(&table[found], __ATOMIC_ACQUIRE);
        uint64_t *lower = next_table(value);
        if (level == 2) {
            // A shared table or a huge page can be taken out of this space meanwhile.
            if (unlikely(value == 0)) {
                index = found + 1;
                address = base + covers * index;
                continue;
            }
            place_set(place, &table[found], value, address);
            return address;
        }
        address = next_in_table(lower, level - 1, address, end, place);
        if (place->upper != NULL)
            return address;
        index = found + 1;
        address = base + covers * index;
    }
    return end;
}

uintptr_t page_table_next(
    struct address_space *space, uintptr_t address, uintptr_t end, struct page_table_place *place)
{
    uint64_t *neighbour = place->upper + 1;
    if (place->upper != NULL && address == place->next && address < end &&
        !IS_ALIGNED((uintptr_t)neighbour, PAGE_SIZE)) {
        uint64_t value = __atomic_load_n(neighbour, __ATOMIC_ACQUIRE);
        if (value != 0) {
            place_set(place, neighbour, value, address);
            return address;
        }
    }
    place->upper = NULL;
    if (address >= end)
        return end;
    // Mostly something is there at once.
    uint64_t *upper = page_table_find_upper(space, address);
    uint64_t found = upper != NULL ? __atomic_load_n(upper, __ATOMIC_ACQUIRE) : 0;
    if (likely(found != 0)) {
        place_set(place, upper, found, address);
        return address;
    }
    address = next_in_table(space->page_table, PAGE_TABLE_LEVELS, address, end, place);
    return place->upper != NULL ? address : end;
}

// A table of level 1 is not used any more, unless a fault has just added an entry.
static bool table_retire(struct page *table)
{
    spin_lock(&table->table_lock);
    bool empty = table->used_entries == 0;
    if (empty)
        table->refcount = 0; // V2
    spin_unlock(&table->table_lock);
    return empty;
}

// Takes the tables below `table` (of `level`) out that are empty and cover a part of [start, end).
// Under table_lock.
static void trim_table(struct address_space *space, struct tlb_gather *gather, uint64_t *table,
    unsigned level, uintptr_t start, uintptr_t end)
{
    const uintptr_t covers = 1ul << PAGE_LEVEL_SHIFT(level);
    uintptr_t base = start - (start & (covers * PAGE_TABLE_ENTRIES - 1));
    unsigned index = PAGE_LEVEL_INDEX(start, level), last = PAGE_LEVEL_INDEX(end - 1, level);
    struct page *own = virt_to_page(table);
    while ((index = next_used(table, index, last + 1)) <= last && own->used_entries != 0) {
        if (level == 2 && pte_is_huge(table[index])) {
            index++; // not ours: it lies beyond the range
            continue;
        }
        struct page *lower = virt_to_page(next_table(table[index]));
        uintptr_t entry_start = base + covers * index;
        if (level > 2)
            trim_table(space, gather, page_to_virt(lower), level - 1, MAX(start, entry_start),
                MIN(end, entry_start + covers));
        // L2: who unmaps without the lock may be in it.
        if (lower->used_entries == 0 &&
            !unmap_keeps_tables(space, entry_start, entry_start + covers) &&
            (level > 2 || space_is_alone(space) || table_retire(lower))) {
            table[index] = 0;
            own->used_entries--;
            space->table_pages--;
            list_add_tail(&gather->tables, &lower->list);
            gather->tables_freed = true;
        }
        index++;
    }
}

void page_table_trim(
    struct address_space *space, struct tlb_gather *gather, uintptr_t start, uintptr_t end)
{
    assert(start < end);
    spin_lock(&space->table_lock);
    trim_table(space, gather, space->page_table, PAGE_TABLE_LEVELS, start, end);
    spin_unlock(&space->table_lock);
}
