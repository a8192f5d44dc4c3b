// SPDX-License-Identifier: MIT
// Page faults.
//
// Theory. Where others may want space->lock, a fault that adds to a page table which exists does
// without it (fault_view.h). Any other holds it for reading, so the area it finds stays as it is
// and no page table goes away (L2). What it needs (a page, its content) is made first, without a
// spin lock; then it takes the lock of the one page table, looks whether the entry is still what it
// was, and writes the new entry. Losing a race means giving the page back and letting the program
// try again.
//
// Functions with a parameter `view` serve both kinds: NULL, or what was seen without the lock; then
// they may also return FAULT_NEEDS_LOCK, having changed nothing. There are two copies of them, so
// that neither kind pays for the other.
//
// Private memory starts as the zero page for reads, a cleared page for writes. A write to a
// read-only entry of private memory copies the page, unless this space is its only owner. A page of
// a file is mapped with its neighbours that are in the cache already: a program that starts touches
// most of them.
//
// Entries only ever become more permissive here, so no TLB flush is needed but in one case: a copy
// replaces a page that other threads may still read.

#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/core/counter.h"
#include "kernel/core/rcu.h"
#include "kernel/core/thread.h"
#include "kernel/core/trace_points.h"
#include "kernel/core/upcall.h"
#include "kernel/core/user.h"
#include "mm/area.h"
#include "mm/fault.h"
#include "mm/fault_view.h"
#include "mm/huge.h"
#include "mm/page_internal.h"
#include "mm/page_table.h"
#include "mm/policy.h"
#include <linux/errno.h>

COUNTER(fault, anonymous);
COUNTER(fault, zero_page);
COUNTER(fault, copied);
COUNTER(fault, reused);
COUNTER(fault, spurious);
COUNTER(fault, stack_growths);
COUNTER(fault, with_lock);

struct page *fault_zero_page;

bool fault_init(void)
{
    fault_zero_page = page_alloc(0, PAGE_ALLOC_ZERO);
    return fault_zero_page != NULL;
}

void fault_count_anonymous(struct address_space *space, int64_t pages)
{
    __atomic_fetch_add(&space->resident_anonymous, pages, __ATOMIC_RELAXED);
    page_usage_add(anonymous, pages);
}

void fault_count_file(struct address_space *space, int64_t pages)
{
    __atomic_fetch_add(&space->resident_file, pages, __ATOMIC_RELAXED);
    page_usage_add(mapped, pages);
}

// ---- private memory ----

// A page of the program's own. NULL: there is none, or not as easily as without the lock.
static __always_inline struct page *page_for(const struct vm_area *area, uintptr_t address,
    uint32_t flags, const struct fault_view *view)
{
    struct page *page;
    if (view == NULL)
        page = policy_page_alloc(area, address, 0, PAGE_ALLOC_USER | flags);
    else if (static_branch(&page_nodes_key) && area->policy != NULL)
        page = NULL; // the policy may go away
    else
        page = policy_page_alloc(NULL, address, 0, PAGE_ALLOC_USER | PAGE_ALLOC_SPARE | flags);
    if (likely(page != NULL))
        page->cache = NULL;
    return page;
}

// V4. Only written to if it changes: faults share the line.
static void mark_anonymous(struct vm_area *area)
{
    if (!__atomic_load_n(&area->has_anonymous, __ATOMIC_RELAXED))
        __atomic_store_n(&area->has_anonymous, true, __ATOMIC_RELAXED);
}

static __always_inline int map_zero_page(
    struct vm_area *area, uint64_t *entry, const struct fault_view *view)
{
    if (!fault_table_lock(area, entry, view))
        return FAULT_NEEDS_LOCK;
    if (*entry == 0)
        pte_set(
            entry, page_to_phys(fault_zero_page) | PTE_BORROWED | pte_flags_of(area->flags, false));
    spin_unlock(page_table_lock_of(entry));
    counter_add(fault, zero_page, 1);
    return 0;
}

// The kernel's own pages (vDSO), which nobody counts.
static int map_fixed_page(struct vm_area *area, uintptr_t address, uint64_t *entry)
{
    const uint64_t *frames = area->backing;
    uint64_t phys = frames[area->cache_index + ((address - area->start) >> PAGE_SHIFT)];
    struct spinlock *lock = page_table_lock_of(entry);
    spin_lock(lock);
    if (*entry == 0)
        pte_set(
            entry, phys | PTE_BORROWED | pte_flags_of(area->flags, (area->flags & VM_SHARED) != 0));
    spin_unlock(lock);
    return 0;
}

static __always_inline int map_new_anonymous(struct address_space *space, struct vm_area *area,
    uintptr_t address, uint64_t *entry, const struct fault_view *view)
{
    struct page *page = page_for(area, address, PAGE_ALLOC_ZERO, view);
    if (unlikely(page == NULL))
        return view != NULL ? FAULT_NEEDS_LOCK : -ENOMEM;
    mark_anonymous(area);
    if (unlikely(!fault_table_lock(area, entry, view))) {
        page_free(page, 0);
        return FAULT_NEEDS_LOCK;
    }
    bool mapped = *entry == 0;
    if (likely(mapped)) {
        pte_set(entry, page_to_phys(page) | PTE_ANONYMOUS | pte_flags_of(area->flags, true));
        page_table_count_anonymous(entry, 1);
    }
    spin_unlock(page_table_lock_of(entry));
    if (unlikely(!mapped)) {
        page_free(page, 0);
        return 0;
    }
    fault_count_anonymous(space, 1);
    counter_add(fault, anonymous, 1);
    return 0;
}

static void page_fill_from(struct page *page, uint64_t value)
{
    if ((value & PTE_BORROWED) && pte_page(value) == fault_zero_page)
        arch_clear_page(page_to_virt(page));
    else
        arch_copy_page(page_to_virt(page), phys_to_virt(value & PTE_ADDRESS));
}

// A write to a present, read-only entry of private memory.
static __always_inline int copy_on_write(struct address_space *space, struct vm_area *area,
    uintptr_t address, uint64_t *entry, const struct fault_view *view)
{
    struct page *page = NULL;
    uint64_t value = __atomic_load_n(entry, __ATOMIC_RELAXED);
    // Without the lock the page that `value` names may be somebody else's by now: a guess.
    if (!anonymous_is_exclusive(value)) {
        page = page_for(area, address, 0, view);
        if (page == NULL)
            return view != NULL ? FAULT_NEEDS_LOCK : -ENOMEM;
    }
    mark_anonymous(area);
    if (!fault_table_lock(area, entry, view)) {
        if (page != NULL)
            page_free(page, 0);
        return FAULT_NEEDS_LOCK;
    }
    value = *entry;
    bool still = (value & (PTE_PRESENT | PTE_WRITE)) == PTE_PRESENT;
    bool copied = false;
    if (still && anonymous_is_exclusive(value)) {
        __atomic_fetch_or(entry, PTE_WRITE | PTE_DIRTY | PTE_ACCESSED, __ATOMIC_RELAXED);
        counter_add(fault, reused, 1);
    } else if (still && page != NULL) {
        page_fill_from(page, value);
        pte_set(entry, page_to_phys(page) | PTE_ANONYMOUS | pte_flags_of(area->flags, true));
        page_table_count_anonymous(entry, (value & PTE_ANONYMOUS) == 0);
        copied = true;
    }
    spin_unlock(page_table_lock_of(entry));
    if (!copied) {
        if (page != NULL)
            page_free(page, 0);
        return 0; // if nothing was done the program faults again
    }
    tlb_flush_space(space, address, address + PAGE_SIZE, false);
    if (!(value & PTE_ANONYMOUS))
        fault_count_anonymous(space, 1);
    if (!(value & (PTE_ANONYMOUS | PTE_BORROWED)))
        fault_count_file(space, -1);
    if (!(value & PTE_BORROWED))
        page_put(pte_page(value));
    counter_add(fault, copied, 1);
    return 0;
}

// ---- one page ----

static __always_inline int serve(struct address_space *space, struct vm_area *area,
    uintptr_t address, bool write, const struct fault_view *view)
{
    uint64_t *entry = page_table_find_own(space, address);
    if (unlikely(entry == NULL)) {
        if (view != NULL)
            return FAULT_NEEDS_LOCK;
        int result = huge_fault(space, area, address, write, &entry);
        if (entry == NULL)
            return result;
    }
    uint64_t value = __atomic_load_n(entry, __ATOMIC_RELAXED);
    if (value == 0) {
        if (area->cache != NULL)
            return view != NULL ? fault_file_cached(space, area, address, entry, write, view)
                                : fault_file(space, area, address, entry, write);
        if (area->flags & VM_FIXED_PAGES)
            return view != NULL ? FAULT_NEEDS_LOCK : map_fixed_page(area, address, entry);
        return write ? map_new_anonymous(space, area, address, entry, view)
                     : map_zero_page(area, entry, view);
    }
    if (!(value & PTE_PRESENT) && view != NULL)
        return FAULT_NEEDS_LOCK; // it is being moved: that is over when the lock is to be had
    if (!write || (value & PTE_WRITE) || !(value & PTE_PRESENT)) {
        counter_add(fault, spurious, 1);
        return 0;
    }
    if (area->flags & VM_SHARED)
        return view != NULL ? FAULT_NEEDS_LOCK : fault_shared_write(area, address, entry);
    return copy_on_write(space, area, address, entry, view);
}

int fault_in_page(struct address_space *space, struct vm_area *area, uintptr_t address, bool write)
{
    return serve(space, area, address, write, NULL);
}

// ---- finding the area ----

// Does an area with these flags allow the access?
static bool access_is_allowed(uint32_t vm_flags, uint64_t error_code)
{
    if (error_code & FAULT_WRITE)
        return (vm_flags & VM_WRITE) != 0;
    // A forbidden execution of a page that is not there brings it in first, as on Linux: then it is
    // the processor that objects, and the error code in the signal frame says so.
    if ((error_code & FAULT_INSTRUCTION) && (error_code & FAULT_PRESENT))
        return (vm_flags & VM_EXEC) != 0;
    return (vm_flags & VM_ACCESS) != 0;
}

// Extends the stack `area` down to `address`. space->lock held for writing. 0, -EFAULT or -ENOMEM.
static int stack_grow(struct address_space *space, struct vm_area *area, uintptr_t address)
{
    uintptr_t start = ALIGN_DOWN(address, PAGE_SIZE);
    if (start >= area->start)
        return 0;
    if (start < VM_MIN || area->end - start > space->limit_stack_bytes)
        return -EFAULT;
    // The gap before the area has to stay at least as large as the guard, unless what is there is a
    // stack too.
    if (area->gap < area->start - start)
        return -EFAULT;
    if (area->gap != area->start) { // something lies before it
        struct vm_area *previous =
            rbtree_entry_or_null(rbtree_prev(&area->node), struct vm_area, node);
        if (previous != NULL && !(previous->flags & VM_GROWSDOWN) &&
            (previous->flags & VM_ACCESS) && start - previous->end < VM_STACK_GUARD)
            return -EFAULT;
    }
    if (!space_may_grow(space, area->start - start, area->flags))
        return -ENOMEM;
    area_resize(area, start, area->end);
    counter_add(fault, stack_growths, 1);
    return 0;
}

// The address lies below a stack: extends it. Returns with the lock held for reading whatever
// happens.
static int fault_below_stack(struct address_space *space, uintptr_t address)
{
    rwlock_read_unlock(&space->lock);
    rwlock_write_lock(&space->lock);
    struct vm_area *area = vm_area_find(space, address);
    int error = -EFAULT;
    if (area != NULL && area->start <= address)
        error = 0;
    else if (area != NULL && (area->flags & VM_GROWSDOWN))
        error = stack_grow(space, area, address);
    space_write_downgrade(space);
    return error;
}

static int fault_locked(struct address_space *space, uintptr_t address, uint64_t error_code)
{
    struct vm_area *area = vm_area_find(space, address);
    if (unlikely(area == NULL || address < area->start)) {
        if (area == NULL || !(area->flags & VM_GROWSDOWN))
            return -EFAULT;
        int error = fault_below_stack(space, address);
        if (error != 0)
            return error;
        area = vm_area_find(space, address);
        if (area == NULL || address < area->start)
            return FAULT_AGAIN;
    }
    if (unlikely(!access_is_allowed(area->flags, error_code)))
        return -EACCES;
    return fault_in_page(
        space, area, ALIGN_DOWN(address, PAGE_SIZE), (error_code & FAULT_WRITE) != 0);
}

static int fault_without_lock(
    struct address_space *space, uintptr_t address, uint64_t error_code)
{
    struct fault_view view __attribute__((uninitialized));
    int result = FAULT_NEEDS_LOCK;
    rcu_read_lock();
    struct vm_area *area = area_view(space, address, &view);
    if (likely(area != NULL && access_is_allowed(view.flags, error_code)))
        result = serve(space, area, ALIGN_DOWN(address, PAGE_SIZE),
            (error_code & FAULT_WRITE) != 0, &view);
    rcu_read_unlock();
    return result;
}

int mm_page_fault(uintptr_t address, uint64_t error_code, struct trap_frame *frame)
{
    struct thread *thread = thread_current();
    struct address_space *space = thread->space;
    if (error_code & FAULT_USER)
        trace(page_fault_user, .address = address, .ip = frame->rip, .error_code = error_code);
    else
        trace(page_fault_kernel, .address = address, .ip = frame->rip, .error_code = error_code);
    if (unlikely(address >= USER_END || space == NULL || (error_code & FAULT_RESERVED)))
        return -EFAULT;
    if (unlikely(user_fault_disabled() || in_interrupt() || this_cpu(preempt_count) != 0))
        return -EFAULT;
    // Who is alone finds the lock free, and knows with it what a view would have to be taken for.
    int result = FAULT_NEEDS_LOCK;
    if (!space_is_alone(space))
        result = fault_without_lock(space, address, error_code);
    while (result > 0) {
        counter_add(fault, with_lock, 1);
        rwlock_read_lock(&space->lock);
        result = fault_locked(space, address, error_code);
        rwlock_read_unlock(&space->lock);
        if (result != 0 && thread_kill_pending(thread))
            return -EINTR;
    }
    if (likely(result == 0))
        thread->minor_faults++;
    return result;
}

// ---- many pages ----

int fault_in_range(
    struct address_space *space, uintptr_t start, uintptr_t end, bool write, bool need_access)
{
    for (uintptr_t address = start; address < end;) {
        rwlock_read_lock(&space->lock);
        struct vm_area *area = vm_area_find(space, address);
        int result = 0;
        if (area == NULL || address < area->start)
            result = -ENOMEM;
        // A few pages under one hold of the lock.
        for (unsigned i = 0; i < 64 && result == 0 && address < end && address < area->end; i++) {
            // Private writable memory is brought in as the program's own.
            bool own = (area->flags & (VM_WRITE | VM_SHARED)) == VM_WRITE;
            uint32_t needed = write ? VM_WRITE : VM_ACCESS;
            if (!(area->flags & needed)) {
                result = need_access ? -EFAULT : 0;
                address = need_access ? address : area->end;
                break;
            }
            result = fault_in_page(space, area, address, write || own);
            if (result == 0)
                address += PAGE_SIZE;
        }
        rwlock_read_unlock(&space->lock);
        if (result < 0)
            return result;
        if (thread_kill_pending(thread_current()))
            return -EINTR;
    }
    return 0;
}
