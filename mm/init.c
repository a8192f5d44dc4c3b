// SPDX-License-Identifier: MIT
// Start-up of memory management, in order.

#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/core/panic.h"
#include "mm/address_space.h"
#include "mm/area.h"
#include "mm/fault.h"
#include "mm/kasan.h"
#include "mm/memory.h"
#include "mm/page_internal.h"
#include "mm/page_table.h"
#include "mm/slab.h"
#include "mm/vmap.h"

void mm_init_early(void)
{
    memory_init_early();
    page_init();
    slab_init();
}

void mm_init(void)
{
    kasan_self_test();
    page_init(); // the number of CPUs is known now
    vmap_init();
    area_init();
    if (!space_init() || !fault_init())
        panic("mm: no memory to start with");
}

void mm_start(void)
{
    page_start();
}

void mm_cpu_leave(void)
{
    debug_assert(arch_irqs_enabled());
    vmap_cpu_leave();
    page_table_cpu_leave();
}

void mm_cpu_leave_last(void)
{
    assert_irqs_off();
    slab_cpu_leave();
    page_cpu_leave();
}
