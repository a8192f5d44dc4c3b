// SPDX-License-Identifier: MIT
// Per-CPU areas, and what every CPU has in its own: number, stack guard.
// Compiled without stack protector: the guard is set here.

#include "kernel/arch/x86/percpu_setup.h"

#include "kernel/arch/x86/cpu.h"
#include "kernel/arch/x86/paging.h"
#include "kernel/arch/x86/phys.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/panic.h"
#include "kernel/core/percpu.h"

extern char percpu_start[], percpu_end[], percpu_pristine[];

uintptr_t percpu_offset[CPU_MAX];
PERCPU(uint32_t, cpu_index);
// The compiler's stack protector compares with it; it makes the references after link-time
// optimisation has looked for users.
[[gnu::used]] PERCPU(uintptr_t, percpu_stack_guard);

size_t percpu_area_bytes(void)
{
    return (size_t)(percpu_end - percpu_start);
}

// A function found its guard changed. Called by the compiler's code.
[[noreturn]] void __stack_chk_fail(void);
void __stack_chk_fail(void)
{
    panic("a kernel stack was overwritten");
}

// A value that a program can't guess: RDRAND where there is one, else the time stamp counter,
// stirred. Bits 0 to 7 are zero, so that a string that runs over ends before the guard.
static uintptr_t stack_guard_new(void)
{
    uint64_t value = __builtin_ia32_rdtsc();
    uint64_t random = 0;
    if (cpu_random(&random))
        value ^= random;
    value *= UINT64_C(0x9e3779b97f4a7c15);
    value ^= value >> 29;
    return value & ~UINT64_C(0xff);
}

void percpu_init_boot(void)
{
    memcpy(percpu_pristine, percpu_start, percpu_area_bytes());
    percpu_offset[0] = 0;
    cpu_index = 0;
    percpu_stack_guard = stack_guard_new();
}

void percpu_init_area(uint32_t cpu, void *area)
{
    assert(cpu > 0 && cpu < CPU_MAX);
    assert(IS_ALIGNED((uintptr_t)area, 64));
    memcpy(area, percpu_pristine, percpu_area_bytes());
    percpu_offset[cpu] = (uintptr_t)area - (uintptr_t)percpu_start;
    *percpu_of(cpu_index, cpu) = cpu;
    // The same on all CPUs: a function may begin on one and end on another.
    *percpu_of(percpu_stack_guard, cpu) = *percpu_of(percpu_stack_guard, 0);
}

uint64_t kernel_image_to_phys(const void *address)
{
    uintptr_t value = (uintptr_t)address;
    debug_assert(value >= KERNEL_IMAGE_BASE);
    return value - KERNEL_IMAGE_BASE + kernel_phys_base;
}
