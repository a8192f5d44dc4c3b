// SPDX-License-Identifier: MIT
// Grant tables.
//
// The table is memory of Xen that takes the place of pages of ours; it grows by some frames when
// references run out, up to what Xen allows. Unused references are chained through `next`.
// Version 1 keeps everything about a grant in one entry of 8 bytes (frame numbers of 32 bits);
// version 2 has entries of 16 bytes, and where the other end maps a page is said in a table of its
// own, the status frames. Version 1 is used unless frame numbers don't fit, as its entries are
// smaller and closing one needs no fence.
//
// An entry is written by who has its reference; Xen changes its flags meanwhile. `next` and the
// head of the chain are under grants.lock; growth under grants.grow_lock.
#include "pv/xen/front/grant.h"

#include "kernel/base/assert.h"
#include "kernel/core/counter.h"
#include "kernel/core/errno.h"
#include "kernel/core/init.h"
#include "kernel/core/log.h"
#include "kernel/core/mutex.h"
#include "kernel/core/option.h"
#include "kernel/core/spinlock.h"
#include "mm/page.h"
#include "mm/slab.h"
#include "pv/xen/hypercall.h"
#include "pv/xen/xen.h"

#include <xen/memory.h>

COUNTER(xen, grants_opened);
COUNTER(xen, grants_refused); // the table was full
COUNTER(xen, grants_leaked);  // the other end never let go

// Frames at a time: 4, from one block, so that few large pages of Xen break up.
#define GROW_ORDER  2
#define GROW_FRAMES (1u << GROW_ORDER)
#define FRAMES_MAX  1024u // more than any Xen allows by default (64)
#define NO_GRANT    UINT32_MAX

static bool want_version_2;
BOOT_OPTION_BOOL(want_version_2, "xen_grant_v2",
    "Xen: use version 2 of grant tables also where version 1 would do.");

static struct {
    uint32_t version; // 1 or 2; fixed at start
    uint32_t entries_per_frame;
    uint32_t frame_limit;

    struct mutex grow_lock;
    uint32_t frame_count; // in use; grows under grow_lock
    uint32_t status_count;
    void *frames[FRAMES_MAX];       // entry table; fixed once below frame_count
    uint16_t *statuses[FRAMES_MAX]; // version 2

    struct spinlock lock;
    uint32_t free_head, free_count;
    uint32_t *next; // of unused references; [frame_limit * entries_per_frame]
} grants = {.grow_lock = MUTEX_INIT(grants.grow_lock, "grant table"),
    .lock = SPINLOCK_INIT("grants"),
    .free_head = NO_GRANT};

// ---- entries ------------------------------------------------------------------------------------

static void *entry_of(grant_ref_t reference, size_t entry_bytes)
{
    debug_assert(reference < grants.frame_count * grants.entries_per_frame);
    return (char *)grants.frames[reference / grants.entries_per_frame] +
           reference % grants.entries_per_frame * entry_bytes;
}

static uint16_t *status_of(grant_ref_t reference)
{
    const uint32_t per_frame = PAGE_SIZE / sizeof(grant_status_t);
    return &grants.statuses[reference / per_frame][reference % per_frame];
}

// Where Xen says how the grant is used, in either version.
static const uint16_t *use_of(grant_ref_t reference)
{
    if (grants.version != 1)
        return status_of(reference);
    return &((struct grant_entry_v1 *)entry_of(reference, sizeof(struct grant_entry_v1)))->flags;
}

void xen_grant_open(grant_ref_t reference, domid_t domain, uint64_t frame, bool read_only)
{
    uint16_t flags = GTF_permit_access | (read_only ? GTF_readonly : 0);
    counter_add(xen, grants_opened, 1);
    if (grants.version == 1) {
        struct grant_entry_v1 *entry = entry_of(reference, sizeof(*entry));
        entry->domid = domain;
        entry->frame = (uint32_t)frame;
        __atomic_store_n(&entry->flags, flags, __ATOMIC_RELEASE);
    } else {
        union grant_entry_v2 *entry = entry_of(reference, sizeof(*entry));
        entry->hdr.domid = domain;
        entry->full_page.frame = frame;
        __atomic_store_n(&entry->hdr.flags, flags, __ATOMIC_RELEASE);
    }
}

bool xen_grant_is_held(grant_ref_t reference)
{
    const uint16_t use = __atomic_load_n(use_of(reference), __ATOMIC_ACQUIRE);
    return (use & (GTF_reading | GTF_writing)) != 0;
}

bool xen_grant_close(grant_ref_t reference)
{
    if (grants.version == 1) {
        struct grant_entry_v1 *entry = entry_of(reference, sizeof(*entry));
        uint16_t flags = __atomic_load_n(&entry->flags, __ATOMIC_RELAXED);
        do {
            if ((flags & (GTF_reading | GTF_writing)) != 0)
                return false;
        } while (!__atomic_compare_exchange_n(
            &entry->flags, &flags, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
        return true;
    }
    union grant_entry_v2 *entry = entry_of(reference, sizeof(*entry));
    uint16_t flags = __atomic_exchange_n(&entry->hdr.flags, 0, __ATOMIC_SEQ_CST);
    if ((__atomic_load_n(status_of(reference), __ATOMIC_SEQ_CST) & (GTF_reading | GTF_writing)) ==
        0)
        return true;
    __atomic_store_n(&entry->hdr.flags, flags, __ATOMIC_RELEASE);
    return false;
}

// ---- references ---------------------------------------------------------------------------------

// Has 2^order frames of the table, or of the statuses, take the place of memory. They never go
// back. 0 or -errno.
static int frames_map(uint32_t first, unsigned order, uint64_t index_flag, void **table)
{
    struct page *pages = page_alloc(order, PAGE_ALLOC_ZERO);
    if (pages == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < 1u << order; i++) {
        struct xen_add_to_physmap add = {.domid = DOMID_SELF,
            .space = XENMAPSPACE_grant_table,
            .idx = (first + i) | index_flag,
            .gpfn = page_to_pfn(pages) + i};
        int error = xen_error(xen_memory_op(XENMEM_add_to_physmap, &add));
        if (error != 0) {
            // Pages that were replaced are the table's already; the rest is lost with them.
            if (i == 0)
                page_free(pages, order);
            return error;
        }
        table[first + i] = (char *)page_to_virt(pages) + i * PAGE_SIZE;
    }
    return 0;
}

// A larger table. Under grow_lock.
static int table_grow(void)
{
    uint32_t first = grants.frame_count;
    if (first + GROW_FRAMES > grants.frame_limit)
        return -ENOSPC;
    int error = frames_map(first, GROW_ORDER, 0, grants.frames);
    if (error != 0)
        return error;
    // A status is 2 bytes, an entry 16: one frame for eight.
    uint32_t statuses = DIV_ROUND_UP(
        (first + GROW_FRAMES) * grants.entries_per_frame, PAGE_SIZE / sizeof(grant_status_t));
    while (grants.version == 2 && statuses > grants.status_count) {
        error = frames_map(
            grants.status_count, 0, XENMAPIDX_grant_table_status, (void **)grants.statuses);
        if (error != 0)
            return error;
        grants.status_count++;
    }
    uint32_t reference = first * grants.entries_per_frame;
    uint32_t end = (first + GROW_FRAMES) * grants.entries_per_frame;
    uint64_t flags = spin_lock_irqsave(&grants.lock);
    grants.frame_count = first + GROW_FRAMES;
    for (reference = MAX(reference, (uint32_t)GNTTAB_NR_RESERVED_ENTRIES); reference < end;
         reference++) {
        grants.next[reference] = grants.free_head;
        grants.free_head = reference;
        grants.free_count++;
    }
    spin_unlock_irqrestore(&grants.lock, flags);
    return 0;
}

static bool references_take(uint32_t count, grant_ref_t *references)
{
    uint64_t flags = spin_lock_irqsave(&grants.lock);
    bool enough = grants.free_count >= count;
    for (uint32_t i = 0; enough && i < count; i++) {
        references[i] = grants.free_head;
        grants.free_head = grants.next[grants.free_head];
    }
    grants.free_count -= enough ? count : 0;
    spin_unlock_irqrestore(&grants.lock, flags);
    return enough;
}

int xen_grants_take(uint32_t count, grant_ref_t *references)
{
    while (!references_take(count, references)) {
        mutex_lock(&grants.grow_lock);
        int error = table_grow();
        mutex_unlock(&grants.grow_lock);
        if (error != 0) {
            counter_add(xen, grants_refused, 1);
            return error;
        }
    }
    return 0;
}

void xen_grants_give(uint32_t count, const grant_ref_t *references)
{
    uint64_t flags = spin_lock_irqsave(&grants.lock);
    for (uint32_t i = 0; i < count; i++) {
        grants.next[references[i]] = grants.free_head;
        grants.free_head = references[i];
    }
    grants.free_count += count;
    spin_unlock_irqrestore(&grants.lock, flags);
}

void xen_grant_end(grant_ref_t reference, struct page *page)
{
    if (!xen_grant_close(reference)) {
        counter_add(xen, grants_leaked, 1);
        return;
    }
    xen_grants_give(1, &reference);
    if (page != NULL)
        page_put(page);
}

// ---- start --------------------------------------------------------------------------------------

int xen_grants_start(void)
{
    struct gnttab_query_size size = {.dom = DOMID_SELF};
    if (xen_grant_table_op(GNTTABOP_query_size, &size, 1) != 0 || size.status != GNTST_okay)
        return -ENODEV;
    // Of ours, not of the machine: Xen translates.
    bool small = memmap_highest(&boot_info.memory, MEMMAP_USABLE) >> PAGE_SHIFT <= UINT32_MAX;
    struct gnttab_set_version version = {.version = want_version_2 || !small ? 2 : 1};
    int error = xen_error(xen_grant_table_op(GNTTABOP_set_version, &version, 1));
    if (error != 0 && (version.version == 1 || !small))
        return error;
    grants.version = error == 0 ? version.version : 1;
    grants.entries_per_frame = grants.version == 1 ? PAGE_SIZE / sizeof(struct grant_entry_v1)
                                                   : PAGE_SIZE / sizeof(union grant_entry_v2);
    grants.frame_limit = MIN(size.max_nr_frames, FRAMES_MAX);
    grants.next =
        kmalloc((size_t)grants.frame_limit * grants.entries_per_frame * sizeof(uint32_t), 0);
    if (grants.next == NULL)
        return -ENOMEM;
    mutex_lock(&grants.grow_lock);
    error = table_grow();
    mutex_unlock(&grants.grow_lock);
    log_info("xen: grant tables version %u, %u frames at most", grants.version, grants.frame_limit);
    return error;
}
