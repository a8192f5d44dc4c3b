// SPDX-License-Identifier: MIT
// Taking pages out of page tables.

#include "mm/area.h"

#include "kernel/base/assert.h"
#include "mm/fault.h"
#include "mm/huge.h"
#include "mm/page_table.h"
#include "mm/shared_table.h"

struct zap_count {
    int64_t anonymous, file;
};

// Removes one entry that is not 0. Under the table's lock; the gather has room.
static void zap_entry(
    struct tlb_gather *gather, uint64_t *entry, uintptr_t address, struct zap_count *count)
{
    uint64_t old = pte_exchange(entry, 0);
    // The processor caches only entries that it marks as accessed.
    if ((old & (PTE_PRESENT | PTE_ACCESSED)) == (PTE_PRESENT | PTE_ACCESSED))
        tlb_gather_address(gather, address);
    if (old & PTE_BORROWED)
        return;
    if (old & PTE_ANONYMOUS)
        count->anonymous++;
    else
        count->file++;
    tlb_gather_page(gather, pte_page(old));
}

// Up to `end`, all in one table. Returns where it stopped: before `end` if the gather is full.
static uintptr_t zap_table(struct tlb_gather *gather, uint64_t *entry, uintptr_t address,
    uintptr_t end, enum zap_kind kind, struct zap_count *count)
{
    struct page *table = virt_to_page(entry);
    int64_t anonymous_before = count->anonymous;
    spin_lock(&table->table_lock);
    // Entries that stay end the search early too: it is over when all entries were seen.
    uint32_t left = table->used_entries;
    for (; address < end && left != 0; address += PAGE_SIZE, entry++) {
        uint64_t value = *entry;
        if (value == 0)
            continue;
        if (tlb_gather_is_full(gather))
            break;
        left--;
        if (kind != ZAP_FILE_ONLY || !(value & PTE_ANONYMOUS))
            zap_entry(gather, entry, address, count);
    }
    table->anonymous_entries =
        (uint16_t)(table->anonymous_entries - (count->anonymous - anonymous_before));
    bool full = address < end && left != 0;
    gather->tables_emptied |= table->used_entries == 0;
    spin_unlock(&table->table_lock);
    return full ? address : end;
}

// A table that is shared with other spaces leaves this one whole. False: it is not shared any more.
static bool zap_shared(struct tlb_gather *gather, uintptr_t address,
    const struct page_table_place *place, struct zap_count *count)
{
    if (gather->shared_count == TLB_GATHER_SHARED)
        tlb_gather_flush(gather);
    int64_t anonymous = shared_table_drop(gather, address, place);
    if (anonymous < 0)
        return false;
    count->anonymous += anonymous;
    gather->tables_emptied = true; // perhaps: that of `upper`
    return true;
}

uintptr_t zap_range(struct tlb_gather *gather, uintptr_t start, uintptr_t end, enum zap_kind kind)
{
    struct address_space *space = gather->space;
    struct zap_count count = {0};
    struct page_table_place place = {0};
    uintptr_t stopped_at = end;
    for (uintptr_t address = start;
        (address = page_table_next(space, address, end, &place)) < end;) {
        uintptr_t table_end = MIN(place.next, end);
        if (unlikely(place.huge)) {
            if (!IS_ALIGNED(address, HUGE_BYTES) || table_end != place.next) {
                stopped_at = address;
                break;
            }
            if (gather->huge_count == TLB_GATHER_HUGE)
                tlb_gather_flush(gather);
            count.anonymous += huge_zap(gather, place.upper, address);
            gather->tables_emptied = true; // perhaps: that of `upper`
            address = table_end;
            continue;
        }
        if (unlikely(place.shared)) {
            if (kind != ZAP_UNMAP || zap_shared(gather, address, &place, &count))
                address = table_end;
            continue;
        }
        uintptr_t stopped = zap_table(gather, place.entry, address, table_end, kind, &count);
        if (stopped < table_end)
            tlb_gather_flush(gather);
        address = stopped;
    }
    if (count.anonymous != 0 || count.file != 0)
        __atomic_store_n(
            &space->resident_peak, address_space_resident_peak(space), __ATOMIC_RELAXED);
    if (count.anonymous != 0)
        fault_count_anonymous(space, -count.anonymous);
    if (count.file != 0)
        fault_count_file(space, -count.file);
    return stopped_at;
}
