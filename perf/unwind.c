// SPDX-License-Identifier: MIT
// Call chains by frame pointers; unwind.h has the rules.
#include "perf/unwind.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/boot/protocol.h"
#include "kernel/arch/x86/paging.h"
#include "kernel/base/atomic.h"
#include "kernel/core/thread.h"
#include "kernel/core/user.h"
#include "mm/address_space.h"

// Other functions' stack frames and programs' pages: not what the sanitizer knows.
#define PERF_NO_SANITIZE __attribute__((no_sanitize("kernel-address")))

#define USER_RETURN_MIN 4096 // no code lies in the first page

// ---- kernel -------------------------------------------------------------------------------------

// End of the stack that `rsp` lies on, 0: not known (U1).
static uintptr_t stack_end(uintptr_t rsp)
{
    uintptr_t base = thread_current()->stack_base;
    if (rsp >= base && rsp - base < KERNEL_STACK_BYTES)
        return base + KERNEL_STACK_BYTES;
    if (rsp >= (uintptr_t)boot_stack && rsp < (uintptr_t)boot_stack_top)
        return (uintptr_t)boot_stack_top;
    return 0;
}

PERF_NO_SANITIZE uint32_t perf_unwind_kernel(
    uint32_t *frames, uint32_t max, uintptr_t rbp, uintptr_t rsp)
{
    uintptr_t end = stack_end(rsp);
    uintptr_t low = rsp;
    uint32_t count = 0;
    if (end == 0)
        return 0;
    while (count < max && (rbp & 7) == 0 && rbp >= low && rbp <= end - 16) {
        const uintptr_t *frame = (const uintptr_t *)rbp;
        if (frame[1] < (uintptr_t)kernel_image_start || frame[1] >= (uintptr_t)kernel_text_end)
            break;
        frames[count++] = (uint32_t)frame[1];
        low = rbp + 16; // U3
        rbp = frame[0];
    }
    return count;
}

PERF_NO_SANITIZE bool perf_kernel_words(uintptr_t rsp, uint64_t words[2])
{
    uintptr_t end = stack_end(rsp);
    if (end == 0 || (rsp & 7) != 0 || rsp > end - 16)
        return false;
    words[0] = ((const uint64_t *)rsp)[0];
    words[1] = ((const uint64_t *)rsp)[1];
    return true;
}

// ---- program ------------------------------------------------------------------------------------

void perf_user_window_init(struct perf_user_window *window)
{
    const struct address_space *space = thread_current()->space;
    uint64_t loaded = arch_cr3_read() & PTE_ADDRESS;
    window->page = 1;
    window->page_table = 0;
    // In the middle of a context switch the thread and the tables may be two programs'.
    if (space != NULL && virt_to_phys(space->page_table) == loaded)
        window->page_table = loaded;
}

// The page of the program at `address` in the direct map, or NULL (U2).
PERF_NO_SANITIZE static const uint8_t *user_page(uint64_t table, uintptr_t address)
{
    for (int level = PAGE_TABLE_LEVELS;; level--) {
        if (!pfn_is_ram(table >> PAGE_SHIFT))
            return NULL;
        const uint64_t *entries = phys_to_virt(table);
        uint64_t entry = atomic_load_relaxed(&entries[PAGE_LEVEL_INDEX(address, level)]);
        if ((entry & (PTE_PRESENT | PTE_USER)) != (PTE_PRESENT | PTE_USER))
            return NULL;
        table = entry & PTE_ADDRESS;
        if (level == 1)
            break;
        if (entry & PTE_LARGE) {
            uint64_t inside = (UINT64_C(1) << PAGE_LEVEL_SHIFT(level)) - 1;
            table = ((table & ~inside) | (address & inside)) & PTE_ADDRESS;
            break;
        }
    }
    return pfn_is_ram(table >> PAGE_SHIFT) ? phys_to_virt(table) : NULL;
}

PERF_NO_SANITIZE bool perf_user_word(
    struct perf_user_window *window, uintptr_t address, uint64_t *value)
{
    uintptr_t page = address & PAGE_MASK;
    if ((address & 7) != 0 || address >= USER_END || window->page_table == 0)
        return false;
    if (page != window->page) {
        window->page = page;
        window->bytes = user_page(window->page_table, page);
    }
    if (window->bytes == NULL)
        return false;
    *value = atomic_load_relaxed((const uint64_t *)(window->bytes + (address & ~PAGE_MASK)));
    return true;
}

uint32_t perf_unwind_user(struct perf_user_window *window, uint64_t *frames, uint32_t max,
    uintptr_t rbp, uintptr_t rsp, bool *complete)
{
    uintptr_t low = rsp;
    uint32_t count = 0;
    *complete = true;
    while (count < max && rbp >= low && (rbp & 7) == 0) {
        uint64_t caller, next;
        if (!perf_user_word(window, rbp + 8, &caller) || !perf_user_word(window, rbp, &next)) {
            *complete = false;
            break;
        }
        if (caller < USER_RETURN_MIN || caller >= USER_END)
            break;
        frames[count++] = caller;
        low = rbp + 16; // U3
        rbp = next;
    }
    return count;
}
