// SPDX-License-Identifier: MIT
// TLB consistency.
//
// Theory. Each address space has a generation, incremented whenever entries that a TLB may hold are
// removed or restricted. Each CPU remembers, for the spaces it has seen last (a slot each, which is
// also their PCID), up to which generation its TLB is clean. A CPU that runs a space and has not
// caught up is told through pv_flush_tlb_others(); every other CPU finds out by comparing numbers
// when it loads the space again. A CPU that runs a kernel thread keeps the tables of the last
// program loaded ("lazy"): it uses no user address, so it is not told either, and compares when a
// program's thread runs again. The exception is that page-table pages are freed: the processor may
// walk them speculatively, so lazy CPUs are told then.
//
// Invariants:
//   T1  A CPU that has `space` loaded has its bit in space->cpus, set (with a full fence) before it
//   reads the generation. T2  Who removes entries increments the generation (full fence) before it
//   reads space->cpus and the lazy flags.
//       So either it sees the CPU, or the CPU sees the new generation.
//   T3  slot.generation is never newer than the state of the TLB for that PCID. A flush of a range
//   by the target CPU leaves it
//       (another flush may be under way whose range it does not know), a full flush moves it to
//       what was read before.
//   T4  A CPU that uses a space lazily holds a reference to the struct, and with it to the
//   top-level table, which has no user
//       entries any more once the last user has gone.
//
// mm/model/tlb.pml checks T1 to T3 as a Spin model.

#include "mm/tlb.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/paging.h"
#include "kernel/base/assert.h"
#include "kernel/core/counter.h"
#include "kernel/core/thread.h"
#include "kernel/core/trace_points.h"
#include "mm/address_space.h"
#include "mm/huge.h"
#include "mm/page_internal.h"
#include "mm/page_table.h"
#include "mm/shared_table.h"
#include "pv/pv.h"

#define TLB_SLOTS           6
#define FLUSH_PAGES_AT_MOST 33 // more single flushes cost more than refilling the TLB
#define KERNEL_HALF         UINT64_C(0xffff800000000000)

struct tlb_slot {
    uint64_t space_id; // 0: empty
    uint64_t generation;
};

struct tlb_state {
    struct address_space *loaded; // NULL: the kernel's own table
    uint32_t slot;                // of `loaded`
    uint32_t next_victim;
    bool lazy; // read by other CPUs
    struct tlb_slot slots[TLB_SLOTS];
};
static PERCPU(struct tlb_state, tlb_state); // own CPU only, interrupts off; but for `lazy`

COUNTER(tlb, shootdowns);
COUNTER(tlb, lazy_skipped);
COUNTER(tlb, switches);
COUNTER(tlb, full_flushes);

// ---- loading ----

// Slot for the space on this CPU; *found says whether the TLB may hold entries that are its own.
static uint32_t slot_for(struct tlb_state *state, uint64_t space_id, bool *found)
{
    *found = false;
    if (!arch_cpu_has(ARCH_PCID))
        return 0;
    for (uint32_t i = 0; i < TLB_SLOTS; i++) {
        if (state->slots[i].space_id == space_id) {
            *found = true;
            return i;
        }
    }
    uint32_t slot = state->next_victim;
    state->next_victim = slot + 1 == TLB_SLOTS ? 0 : slot + 1;
    return slot;
}

// Leaves what is loaded. Interrupts off; another table has been loaded.
static void unload(struct address_space *old, bool was_lazy)
{
    cpumask_clear_atomic(&old->cpus, cpu_current());
    if (was_lazy)
        address_space_release(old);
}

static void load(struct tlb_state *state, struct address_space *space)
{
    struct address_space *old = state->loaded;
    bool was_lazy = state->lazy;
    // Before the bit: who flushes `space` and sees it must not take this CPU for a lazy one.
    __atomic_store_n(&state->lazy, false, __ATOMIC_RELAXED);
    cpumask_set_atomic(&space->cpus, cpu_current()); // T1
    uint64_t generation = __atomic_load_n(&space->tlb_generation, __ATOMIC_ACQUIRE);
    bool found;
    uint32_t slot = slot_for(state, space->id, &found);
    uint64_t cr3 = virt_to_phys(space->page_table);
    if (arch_cpu_has(ARCH_PCID)) {
        cr3 |= slot + 1;
        if (found && state->slots[slot].generation == generation)
            cr3 |= CR3_NO_FLUSH;
    }
    arch_cr3_write(cr3);
    state->slots[slot] = (struct tlb_slot){space->id, generation};
    state->slot = slot;
    state->loaded = space;
    counter_add(tlb, switches, 1);
    if (old != NULL)
        unload(old, was_lazy);
}

static void load_kernel(struct tlb_state *state)
{
    struct address_space *old = state->loaded;
    if (old == NULL)
        return;
    bool was_lazy = state->lazy;
    arch_cr3_write(
        kernel_image_to_phys(kernel_page_table) | (arch_cpu_has(ARCH_PCID) ? CR3_NO_FLUSH : 0));
    __atomic_store_n(&state->lazy, false, __ATOMIC_RELAXED);
    state->loaded = NULL;
    unload(old, was_lazy);
}

static void flush_current(struct tlb_state *state, uint64_t generation)
{
    arch_tlb_flush_current();
    state->slots[state->slot].generation = generation;
    counter_add(tlb, full_flushes, 1);
}

// Back from a kernel thread to a thread of the space that stayed loaded.
static void leave_lazy(struct tlb_state *state, struct address_space *space)
{
    __atomic_store_n(&state->lazy, false, __ATOMIC_SEQ_CST); // T2's other side
    uint64_t generation = __atomic_load_n(&space->tlb_generation, __ATOMIC_ACQUIRE);
    if (state->slots[state->slot].generation != generation)
        flush_current(state, generation);
    address_space_release(space);
}

void mm_switch(struct thread *previous, struct thread *next)
{
    (void)previous;
    assert_irqs_off();
    struct tlb_state *state = this_cpu_ptr(tlb_state);
    struct address_space *space = next->space;
    if (space == NULL) {
        if (state->loaded != NULL && !state->lazy) {
            __atomic_fetch_add(&state->loaded->refcount, 1, __ATOMIC_RELAXED); // T4
            __atomic_store_n(&state->lazy, true, __ATOMIC_RELEASE);
        }
    } else if (space != state->loaded) {
        load(state, space);
    } else if (state->lazy) {
        leave_lazy(state, space);
    }
    next->active_space = state->loaded;
}

void address_space_activate(struct address_space *space)
{
    uint64_t flags = arch_irq_save();
    struct thread *thread = thread_current();
    struct tlb_state *state = this_cpu_ptr(tlb_state);
    thread->space = space;
    thread->active_space = space;
    if (space == NULL)
        load_kernel(state);
    else if (state->loaded != space)
        load(state, space);
    else if (state->lazy)
        leave_lazy(state, space);
    arch_irq_restore(flags);
}

// ---- flushing ----

void mm_flush_local(uintptr_t start, uintptr_t end)
{
    assert_irqs_off();
    if (start >= KERNEL_HALF) {
        if ((end - start) >> PAGE_SHIFT > FLUSH_PAGES_AT_MOST) {
            arch_tlb_flush_all();
            return;
        }
        for (uintptr_t address = start; address < end; address += PAGE_SIZE)
            arch_tlb_flush_page(address);
        return;
    }
    struct tlb_state *state = this_cpu_ptr(tlb_state);
    if (state->loaded == NULL)
        return; // nothing is loaded that could be stale; the slots show it later
    uint64_t generation = __atomic_load_n(&state->loaded->tlb_generation, __ATOMIC_ACQUIRE);
    if (state->slots[state->slot].generation == generation)
        return;
    if (end == UINT64_MAX || (end - start) >> PAGE_SHIFT > FLUSH_PAGES_AT_MOST) {
        flush_current(state, generation);
        return;
    }
    for (uintptr_t address = start; address < end; address += PAGE_SIZE) // T3: the slot stays
        arch_tlb_flush_page(address);
}

// The running CPU's own part of a flush to `generation`. Preemption off.
static void flush_own(
    struct address_space *space, uintptr_t start, uintptr_t end, uint64_t generation)
{
    uint64_t flags = arch_irq_save();
    struct tlb_state *state = this_cpu_ptr(tlb_state);
    if (state->loaded == space) {
        struct tlb_slot *slot = &state->slots[state->slot];
        if (slot->generation + 1 == generation &&
            (end - start) >> PAGE_SHIFT <= FLUSH_PAGES_AT_MOST) {
            for (uintptr_t address = start; address < end; address += PAGE_SIZE)
                arch_tlb_flush_page(address);
            slot->generation = generation;
        } else if (slot->generation < generation) {
            flush_current(state, __atomic_load_n(&space->tlb_generation, __ATOMIC_ACQUIRE));
        }
    }
    arch_irq_restore(flags);
}

void tlb_flush_space(struct address_space *space, uintptr_t start, uintptr_t end, bool tables_freed)
{
    debug_assert(arch_irqs_enabled());
    uint64_t generation = __atomic_add_fetch(&space->tlb_generation, 1, __ATOMIC_SEQ_CST); // T2
    trace(tlb_flush, .reason = 1, .pages = (end - start) >> PAGE_SHIFT);
    preempt_disable();
    uint32_t self = cpu_current();
    struct cpumask targets;
    uint64_t any = 0;
    for (unsigned i = 0; i < CPUMASK_WORDS; i++) {
        uint64_t word = __atomic_load_n(&space->cpus.words[i], __ATOMIC_RELAXED);
        if (i == self / 64)
            word &= ~(UINT64_C(1) << (self % 64));
        targets.words[i] = word;
        any |= word;
    }
    if (any != 0 && !tables_freed) {
        any = 0;
        cpumask_for_each(cpu, &targets)
        {
            if (!__atomic_load_n(&percpu_of(tlb_state, cpu)->lazy, __ATOMIC_RELAXED)) {
                any = 1;
                continue;
            }
            cpumask_clear(&targets, cpu);
            counter_add(tlb, lazy_skipped, 1);
        }
    }
    flush_own(space, start, end, generation);
    if (any != 0) {
        counter_add(tlb, shootdowns, 1);
        // A freed table may have cached middle entries beyond the range.
        pv_flush_tlb_others(&targets, tables_freed ? 0 : start, tables_freed ? UINT64_MAX : end);
    }
    preempt_enable();
}

void tlb_flush_kernel(uintptr_t start, uintptr_t end)
{
    preempt_disable();
    uint64_t flags = arch_irq_save();
    mm_flush_local(start, end);
    arch_irq_restore(flags);
    struct cpumask others = cpu_online;
    cpumask_clear(&others, cpu_current());
    if (!cpumask_is_empty(&others)) {
        assert(arch_irqs_enabled()); // during start-up, with interrupts off, there are no others
        pv_flush_tlb_others(&others, start, end);
    }
    preempt_enable();
}

// ---- gathering ----

void tlb_gather_begin(struct tlb_gather *gather, struct address_space *space)
{
    gather->space = space;
    gather->start = UINTPTR_MAX;
    gather->end = 0;
    gather->tables_freed = false;
    gather->tables_emptied = false;
    gather->count = 0;
    gather->capacity = TLB_GATHER_INLINE;
    gather->pages = gather->inline_pages;
    gather->batch = NULL;
    gather->shared_count = 0;
    gather->huge_count = 0;
    list_init(&gather->tables);
}

void tlb_gather_flush(struct tlb_gather *gather)
{
    bool filled = tlb_gather_is_full(gather);
    if (gather->start < gather->end || gather->tables_freed) {
        // Tables alone: invalidating any one page drops what the processor has cached of the upper
        // levels (SDM 3A, 4.10.4.1).
        if (gather->start > gather->end) {
            gather->start = 0;
            gather->end = PAGE_SIZE;
        }
        tlb_flush_space(gather->space, gather->start, gather->end, gather->tables_freed);
    }
    page_put_many(gather->pages, gather->count);
    struct page *table;
    while ((table = list_pop_head_entry_or_null(&gather->tables, struct page, list)) != NULL)
        page_table_free_later(gather->space, table);
    while (gather->shared_count != 0)
        shared_table_put(gather->shared_tables[--gather->shared_count]);
    while (gather->huge_count != 0)
        huge_page_unmap(gather->huge[--gather->huge_count]);
    gather->start = UINTPTR_MAX;
    gather->end = 0;
    gather->tables_freed = false;
    gather->count = 0;
    // A long unmapping: a whole page of pointers makes the batches larger, if there is one to be
    // had.
    if (filled && gather->batch == NULL) {
        gather->batch = page_alloc(0, PAGE_ALLOC_ATOMIC);
        if (gather->batch != NULL) {
            gather->pages = page_to_virt(gather->batch);
            gather->capacity = PAGE_SIZE / sizeof(struct page *);
        }
    }
}

void tlb_gather_finish(struct tlb_gather *gather)
{
    tlb_gather_flush(gather);
    if (gather->batch != NULL)
        page_free(gather->batch, 0);
    gather->batch = NULL;
}
