// SPDX-License-Identifier: MIT
// Sets of CPUs: fixed bitmaps of CPU_MAX bits.
#pragma once

#include "kernel/base/atomic.h"
#include "kernel/base/types.h"
#include "kernel/core/percpu.h"

#define CPUMASK_WORDS (CPU_MAX / 64)

struct cpumask {
    uint64_t words[CPUMASK_WORDS];
};

// CPUs that answer: cross-CPU calls and flushes of the kernel's mappings go to them. Atomic, read
// anywhere. One that leaves (sched/hotplug.c) stays in it for whoever has read it until preemption
// is on again.
extern struct cpumask cpu_online;
// Those of them that take threads. A CPU's bit changes under the lock of its run queue; a hint
// without.
extern struct cpumask cpu_active;

static inline bool cpumask_test(const struct cpumask *mask, uint32_t cpu)
{
    return __atomic_load_n(&mask->words[cpu / 64], __ATOMIC_RELAXED) >> (cpu % 64) & 1;
}

// Atomic: other CPUs may change other bits of the mask at the same time. Full fence.
static inline void cpumask_set_atomic(struct cpumask *mask, uint32_t cpu)
{
    __atomic_fetch_or(&mask->words[cpu / 64], UINT64_C(1) << (cpu % 64), __ATOMIC_SEQ_CST);
}

static inline void cpumask_clear_atomic(struct cpumask *mask, uint32_t cpu)
{
    __atomic_fetch_and(&mask->words[cpu / 64], ~(UINT64_C(1) << (cpu % 64)), __ATOMIC_SEQ_CST);
}

// Plain: for masks that only the caller can see.
static inline void cpumask_set(struct cpumask *mask, uint32_t cpu)
{
    mask->words[cpu / 64] |= UINT64_C(1) << (cpu % 64);
}

static inline void cpumask_clear(struct cpumask *mask, uint32_t cpu)
{
    mask->words[cpu / 64] &= ~(UINT64_C(1) << (cpu % 64));
}

static inline bool cpumask_is_empty(const struct cpumask *mask)
{
    uint64_t any = 0;
    for (int i = 0; i < CPUMASK_WORDS; i++)
        any |= __atomic_load_n(&mask->words[i], __ATOMIC_RELAXED);
    return any == 0;
}

// First CPU in the mask that is not below `from`; CPU_MAX if there is none.
static inline uint32_t cpumask_next(const struct cpumask *mask, uint32_t from)
{
    for (uint32_t word = from / 64; word < CPUMASK_WORDS; word++) {
        uint64_t bits = __atomic_load_n(&mask->words[word], __ATOMIC_RELAXED);
        if (word == from / 64)
            bits &= ~UINT64_C(0) << (from % 64);
        if (bits != 0)
            return word * 64 + (uint32_t)__builtin_ctzll(bits);
    }
    return CPU_MAX;
}

// Is each CPU of `part` in `whole`?
static inline bool cpumask_covers(const struct cpumask *whole, const struct cpumask *part)
{
    uint64_t missing = 0;
    for (int i = 0; i < CPUMASK_WORDS; i++)
        missing |= __atomic_load_n(&part->words[i], __ATOMIC_RELAXED) &
                   ~__atomic_load_n(&whole->words[i], __ATOMIC_RELAXED);
    return missing == 0;
}

static inline uint32_t cpumask_count(const struct cpumask *mask)
{
    uint32_t count = 0;
    for (int i = 0; i < CPUMASK_WORDS; i++)
        count += (uint32_t)__builtin_popcountll(__atomic_load_n(&mask->words[i], __ATOMIC_RELAXED));
    return count;
}

#define cpumask_for_each(cpu, mask)                                                                \
    for (uint32_t cpu = cpumask_next((mask), 0); cpu < CPU_MAX; cpu = cpumask_next((mask), cpu + 1))
