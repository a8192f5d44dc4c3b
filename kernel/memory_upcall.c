// SPDX-License-Identifier: MIT
// What the processor code needs of memory management and the scheduler, which stand above it
// (kernel/core/upcall.h).

#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/core/upcall.h"
#include "mm/slab.h"
#include "sched/sched.h"

#define ARCH_MEMORY_ALIGNMENT 64

void *arch_memory_alloc(size_t len_bytes)
{
    // Blocks of kmalloc() from 64 bytes on are aligned to their cache line.
    void *memory = kzalloc(MAX(len_bytes, (size_t)ARCH_MEMORY_ALIGNMENT));
    assert(IS_ALIGNED((uintptr_t)memory, ARCH_MEMORY_ALIGNMENT));
    return memory;
}

void arch_memory_free(void *memory)
{
    kfree(memory);
}

struct thread *boot_idle_thread(uint32_t cpu)
{
    struct thread *thread = kzalloc(sizeof(*thread));
    void *stack = vmap_stack_alloc();
    if (thread == NULL || stack == NULL) {
        kfree(thread);
        if (stack != NULL)
            vmap_stack_free(stack);
        return NULL;
    }
    sched_cpu_init(cpu, thread);
    thread->stack_base = (uintptr_t)stack;
    return thread;
}
