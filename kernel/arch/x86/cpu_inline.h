// SPDX-License-Identifier: MIT
// The processor's small operations, inline: interrupt flag, waiting, time stamp. Everybody may use
// them through arch.h. Registers that only arch/x86 touches are in cpu.h.
#pragma once

#include "kernel/base/assert.h"
#include "kernel/base/types.h"

#define ARCH_RFLAGS_IF (UINT64_C(1) << 9)

// Does `flags` (of arch_irq_save) say that interrupts were on?
static inline bool arch_irq_flags_on(uint64_t flags)
{
    return (flags & ARCH_RFLAGS_IF) != 0;
}

#ifdef LODGER_HOST
// Host tests have no interrupts: the flag is a plain variable of the test's thread.
extern _Thread_local uint64_t arch_host_flags;
static inline uint64_t arch_flags(void)
{
    return arch_host_flags;
}
static inline void arch_irq_disable(void)
{
    arch_host_flags &= ~ARCH_RFLAGS_IF;
}
static inline void arch_irq_enable(void)
{
    arch_host_flags |= ARCH_RFLAGS_IF;
}
static inline void arch_halt(void)
{
    arch_irq_enable();
}
void arch_halt_plain(void); // tests that need it say what happens meanwhile
#else
static inline uint64_t arch_flags(void)
{
    uint64_t flags;
    // A register, not "rm": clang would choose a stack slot, and with it comes a stack guard in
    // every caller.
    asm volatile("pushfq; popq %0" : "=r"(flags) : : "memory");
    return flags;
}

static inline void arch_irq_disable(void)
{
    asm volatile("cli" : : : "memory");
}

static inline void arch_irq_enable(void)
{
    asm volatile("sti" : : : "memory");
}

// Switches interrupts on and waits for one, atomically.
static inline void arch_halt(void)
{
    asm volatile("sti; hlt" : : : "memory");
}

// Waits with interrupts as they are. When they are off only an NMI ends it, or a hypervisor.
static inline void arch_halt_plain(void)
{
    asm volatile("hlt" : : : "memory");
}
#endif

// Clears the bit of a word of the running CPU's data, given as a per-CPU variable and its member;
// true if it was set. One instruction without a lock: nothing can come in between on this CPU,
// and no other CPU may write the word. (The compiler drops the segment of a memory operand.)
#ifndef LODGER_HOST
#define arch_percpu_bit_take(variable, member, bit)                                                \
    ({                                                                                             \
        bool bit_was_set;                                                                          \
        asm volatile("btrl %[number], %%gs:%c[place](%%rip)"                                       \
            : "=@ccc"(bit_was_set)                                                                 \
            : [number] "i"(bit), [place] "i"(&(variable).member)                                   \
            : "memory");                                                                           \
        bit_was_set;                                                                               \
    })
#else
#define arch_percpu_bit_take(variable, member, bit)                                                \
    arch_host_bit_take(&this_cpu(variable).member, (bit))
static inline bool arch_host_bit_take(uint32_t *word, unsigned bit)
{
    return __atomic_fetch_and(word, ~(UINT32_C(1) << bit), __ATOMIC_SEQ_CST) >> bit & 1;
}
#endif

static inline bool arch_irqs_enabled(void)
{
    return arch_irq_flags_on(arch_flags());
}

// Switches interrupts off; the result says how they were and goes to arch_irq_restore().
[[nodiscard]] static inline uint64_t arch_irq_save(void)
{
    uint64_t flags = arch_flags();
    arch_irq_disable();
    return flags;
}

static inline void arch_irq_restore(uint64_t flags)
{
    if (arch_irq_flags_on(flags))
        arch_irq_enable();
}

// In a spinning loop.
static inline void arch_pause(void)
{
    __builtin_ia32_pause();
}

// Time stamp counter; may be read earlier than what stands before it in the program.
static inline uint64_t arch_tsc(void)
{
    return __builtin_ia32_rdtsc();
}

// Time stamp counter, not before all earlier loads are done.
static inline uint64_t arch_tsc_ordered(void)
{
    asm volatile("lfence" : : : "memory");
    return __builtin_ia32_rdtsc();
}

// The caller's frame pointer: where backtrace_log() starts.
static inline uintptr_t arch_frame_pointer(void)
{
    return (uintptr_t)__builtin_frame_address(0);
}
