// SPDX-License-Identifier: MIT
// Which way of copying and clearing the processor is best at (user_copy.S).

#include "kernel/arch/x86/bulk.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/cpu.h"
#include "kernel/core/preempt.h"

#define ERMS_BYTES_MIN 256 // REP MOVSB needs some 30 cycles to get going
#define FSRM_BYTES_MIN 65

extern uint64_t copy_rep_bytes_min;
void clear_page_rep(void *page);
void clear_page_avx(void *page);
void copy_page_rep(void *dst, const void *src);
void copy_page_avx(void *dst, const void *src);

static bool use_avx;

void bulk_init(void)
{
    if (cpu_features.fsrm)
        copy_rep_bytes_min = FSRM_BYTES_MIN;
    else if (cpu_features.erms)
        copy_rep_bytes_min = ERMS_BYTES_MIN;
    use_avx = cpu_features.avx && !cpu_features.erms && !cpu_features.fsrm;
}

void arch_clear_page(void *page)
{
    debug_assert(IS_ALIGNED((uintptr_t)page, PAGE_SIZE));
    if (!use_avx) {
        clear_page_rep(page);
        return;
    }
    preempt_disable();
    clear_page_avx(page);
    preempt_enable();
}

void arch_copy_page(void *dst, const void *src)
{
    debug_assert(IS_ALIGNED((uintptr_t)dst, PAGE_SIZE) && IS_ALIGNED((uintptr_t)src, PAGE_SIZE));
    if (!use_avx) {
        copy_page_rep(dst, src);
        return;
    }
    preempt_disable();
    copy_page_avx(dst, src);
    preempt_enable();
}

void arch_clear_pages(void *first, size_t count)
{
    for (size_t i = 0; i < count; i++)
        arch_clear_page((char *)first + i * PAGE_SIZE);
}
