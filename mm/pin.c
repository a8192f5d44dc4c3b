// SPDX-License-Identifier: MIT
// Pages of programs for others: pinned I/O, reads and writes from outside, identities for shared
// futexes.

#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/thread.h"
#include "kernel/core/upcall.h"
#include "kernel/core/user.h"
#include "mm/area.h"
#include "mm/fault.h"
#include "mm/huge.h"
#include "mm/page_cache.h"
#include "mm/page_internal.h"
#include "mm/page_table.h"
#include <linux/errno.h>

// The page at `address` with a reference, if it is mapped as needed; NULL: it has to be brought in
// (or, *borrowed, it is one that is not counted).
static struct page *get_mapped(
    struct address_space *space, uintptr_t address, bool write, uint64_t *borrowed_entry)
{
    // Under space->lock for reading alone only an own table may be looked into (H5 of
    // shared_table.c).
    *borrowed_entry = 0;
    uint64_t *entry = page_table_find_own(space, address);
    struct page *page = entry == NULL ? huge_pin(space, address, write) : NULL;
    if (page != NULL || (entry == NULL && huge_is_mapped(space, address)))
        return page;
    if (entry == NULL && (entry = page_table_make(space, address)) == NULL)
        return NULL;
    struct spinlock *lock = page_table_lock_of(entry);
    spin_lock(lock);
    uint64_t value = *entry;
    if (pte_is_page(value) && (!write || (value & PTE_WRITE))) {
        if (value & PTE_BORROWED) {
            *borrowed_entry = value;
        } else {
            page = pte_page(value);
            page_get(page);
        }
    }
    spin_unlock(lock);
    return page;
}

// One page under space->lock for reading. 0 and *page (NULL for a borrowed page, with *frame its
// address), -EFAULT, -ENOMEM...
static int pin_one(struct address_space *space, uintptr_t address, bool write, bool force,
    struct page **page, uint64_t *frame)
{
    struct vm_area *area = vm_area_find(space, address);
    if (area == NULL || area->start > address)
        return -EFAULT;
    uint32_t needed = write ? VM_WRITE : VM_ACCESS;
    if (!(area->flags & needed) && !(force && !write))
        return -EFAULT;
    for (unsigned tries = 0; tries < 16; tries++) {
        *page = get_mapped(space, address, write, frame);
        if (*page != NULL || *frame != 0)
            return 0;
        int error = fault_in_page(space, area, ALIGN_DOWN(address, PAGE_SIZE), write);
        if (error < 0)
            return error == -ENXIO || error == -EIO ? -EFAULT : error;
    }
    return -EFAULT;
}

// Pins those of the `most` pages from `address` on that lie in the same table as the first one and
// are mapped as needed, up to one that is not. Under space->lock for reading; the area allows it.
// Returns how many, 0 for a huge page.
static size_t pin_mapped(struct address_space *space, uintptr_t address, size_t most, bool write,
    struct page **result)
{
    uint64_t *entry = page_table_find_own(space, address);
    if (entry == NULL)
        return 0;
    const uint64_t looked_at = PTE_BORROWED | (write ? PTE_WRITE : 0);
    const uint64_t needed = write ? PTE_WRITE : 0;
    most = MIN(most, (PAGE_TABLE_BYTES - address % PAGE_TABLE_BYTES) >> PAGE_SHIFT);
    size_t got = 0;
    struct spinlock *lock = page_table_lock_of(entry);
    spin_lock(lock);
    for (; got < most; got++) {
        uint64_t value = entry[got];
        if (!pte_is_page(value) || (value & looked_at) != needed)
            break;
        result[got] = pte_page(value);
        page_get(result[got]);
    }
    spin_unlock(lock);
    return got;
}

// The same for the part of the pages that lies in one area which allows the access.
static size_t pin_in_area(struct address_space *space, uintptr_t address, size_t most, bool write,
    struct page **result)
{
    struct vm_area *area = vm_area_find(space, address);
    if (area == NULL || area->start > address || !(area->flags & (write ? VM_WRITE : VM_ACCESS)))
        return 0;
    return pin_mapped(
        space, address, MIN(most, (area->end - address) >> PAGE_SHIFT), write, result);
}

// As for a fault: the page below a stack extends it.
static void grow_stack_for(struct address_space *space, uintptr_t address)
{
    rwlock_read_lock(&space->lock);
    struct vm_area *area = vm_area_find(space, address);
    bool below_stack = area != NULL && area->start > address && (area->flags & VM_GROWSDOWN);
    rwlock_read_unlock(&space->lock);
    if (below_stack && thread_current()->space == space)
        (void)mm_page_fault(address, FAULT_USER, NULL);
}

int64_t vm_pin(
    struct address_space *space, uintptr_t address, size_t pages, bool write, struct page **result)
{
    size_t got = 0;
    int error = 0;
    if (!user_range_ok(address, pages * PAGE_SIZE))
        return -EFAULT;
    address = ALIGN_DOWN(address, PAGE_SIZE);
    grow_stack_for(space, address);
    rwlock_read_lock(&space->lock);
    while (got < pages && error == 0) {
        uint64_t frame;
        // Whatever is there already, and then one page with all that it may need.
        got += pin_in_area(space, address + got * PAGE_SIZE, pages - got, write, result + got);
        if (got == pages)
            break;
        error = pin_one(space, address + got * PAGE_SIZE, write, false, &result[got], &frame);
        if (error == 0 && result[got] == NULL) {
            // The zero page may be pinned for reading; the kernel's own pages may not.
            if (pte_page(frame) != fault_zero_page) {
                error = -EFAULT;
                break;
            }
            result[got] = fault_zero_page;
            page_get(fault_zero_page);
        }
        if (error == 0)
            got++;
    }
    rwlock_read_unlock(&space->lock);
    return got != 0 ? (int64_t)got : (pages == 0 ? 0 : -EFAULT);
}

static size_t copy_remote(
    struct address_space *space, uintptr_t address, void *buffer, size_t len_bytes, bool write)
{
    size_t done = 0;
    if (!user_range_ok(address, len_bytes))
        return 0;
    while (done < len_bytes) {
        size_t offset = (address + done) % PAGE_SIZE;
        size_t chunk = MIN(len_bytes - done, PAGE_SIZE - offset);
        struct page *page = NULL;
        uint64_t frame = 0;
        rwlock_read_lock(&space->lock);
        int error = pin_one(space, address + done, write, true, &page, &frame);
        rwlock_read_unlock(&space->lock);
        if (error != 0)
            break;
        char *memory = page != NULL ? page_to_virt(page) : phys_to_virt(frame & PTE_ADDRESS);
        if (write)
            memcpy(memory + offset, (const char *)buffer + done, chunk);
        else
            memcpy((char *)buffer + done, memory + offset, chunk);
        if (page != NULL)
            page_put(page);
        done += chunk;
    }
    return done;
}

size_t vm_read_remote(struct address_space *space, uintptr_t address, void *to, size_t len_bytes)
{
    return copy_remote(space, address, to, len_bytes, false);
}

size_t vm_write_remote(
    struct address_space *space, uintptr_t address, const void *from, size_t len_bytes)
{
    return copy_remote(space, address, (void *)from, len_bytes, true);
}

int vm_word_key_shared(struct address_space *space, uintptr_t address, struct vm_word_key *key)
{
    int result = 0;
    rwlock_read_lock(&space->lock);
    struct vm_area *area = vm_area_find(space, address);
    if (area == NULL || area->start > address || !(area->flags & VM_ACCESS)) {
        result = -EFAULT;
    } else if (area->cache != NULL && (area->flags & VM_SHARED)) {
        key->object = (uint64_t)(uintptr_t)area->cache;
        key->index = area->cache_index + ((address - area->start) >> PAGE_SHIFT);
    }
    rwlock_read_unlock(&space->lock);
    return result;
}
