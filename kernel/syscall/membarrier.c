// SPDX-License-Identifier: MIT
// membarrier: a memory barrier on all CPUs that run threads of a process, paid for by the rare
// side.
#include "kernel/core/rcu.h"
#include "kernel/core/thread.h"
#include "kernel/syscall/syscall.h"
#include "mm/address_space.h"
#include "mm/tlb.h"
#include <linux/membarrier.h>

#define COMMANDS                                                                                   \
    (MEMBARRIER_CMD_GLOBAL | MEMBARRIER_CMD_GLOBAL_EXPEDITED |                                     \
        MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED | MEMBARRIER_CMD_PRIVATE_EXPEDITED |              \
        MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)

// Interrupts every CPU that runs the space; an interrupt is a full barrier there, and so is a
// context switch.
static void barrier_on_all_cpus(struct address_space *space)
{
    atomic_fence();
    tlb_flush_space(space, 0, PAGE_SIZE, false);
    atomic_fence();
}

SYSCALL3(membarrier, int, command, uint32_t, flags, int, cpu)
{
    (void)cpu; // only for commands that are not offered
    if (flags != 0)
        return -EINVAL;
    struct address_space *space = thread_current()->space;
    switch (command) {
    case MEMBARRIER_CMD_QUERY:
        return COMMANDS;
    case MEMBARRIER_CMD_GLOBAL:
    case MEMBARRIER_CMD_GLOBAL_EXPEDITED:
        // A grace period includes a context switch or an interrupt on every CPU.
        rcu_synchronize();
        return 0;
    case MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED:
        return 0; // global barriers reach everybody
    case MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED:
        __atomic_fetch_or(
            &space->membarrier_commands, MEMBARRIER_CMD_PRIVATE_EXPEDITED, __ATOMIC_RELAXED);
        return 0;
    case MEMBARRIER_CMD_PRIVATE_EXPEDITED:
        if (!(__atomic_load_n(&space->membarrier_commands, __ATOMIC_RELAXED) & (uint32_t)command))
            return -EPERM;
        barrier_on_all_cpus(space);
        return 0;
    default:
        return -EINVAL;
    }
}
