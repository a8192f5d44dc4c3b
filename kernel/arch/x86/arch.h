// SPDX-License-Identifier: MIT
// What the rest of the kernel may ask of the processor. No other folder contains inline assembly or
// knows a register.
#pragma once

#include "kernel/arch/x86/thread.h"
#include "kernel/arch/x86/trap_frame.h"
#include "kernel/base/numa.h"
#include "kernel/base/types.h"

struct thread;
struct cpumask;

enum arch_feature {
    ARCH_X2APIC,
    ARCH_TSC_DEADLINE,
    ARCH_PCID,
    ARCH_INVPCID,
    ARCH_ERMS,
    ARCH_FSRM,
    ARCH_AVX,
    ARCH_SMAP,
    ARCH_1G_PAGES,
    ARCH_TSC_INVARIANT,
    ARCH_HYPERVISOR
};

// ---- interrupts and waiting (arch/x86/cpu_inline.h) ----
// Inline: arch_irq_save() (switches off, returns the state) arch_irq_restore(flags)
// arch_irq_disable() arch_irq_enable() arch_irqs_enabled() arch_pause() arch_halt() (sti; hlt:
// enables and waits atomically) arch_tsc() arch_tsc_ordered() (LFENCE; RDTSC)
#include "kernel/arch/x86/cpu_inline.h"
#define assert_irqs_off() debug_assert(!arch_irqs_enabled())

// ---- threads (arch/x86/switch.c) ----
// Prepares thread->arch so that the first switch to it runs function(argument) on its kernel stack
// (after sched_switch_finish()).
void arch_thread_init_kernel(struct thread *thread, void (*function)(void *), void *argument);
// User thread: the first switch runs process_thread_start(frame) and then returns to user mode with
// `frame`, which lies at the top of its kernel stack and is returned for the caller to fill (fork:
// a copy of the parent's with rax = 0).
struct trap_frame *arch_thread_init_user(struct thread *thread);
// The running user thread's register frame.
struct trap_frame *arch_thread_user_frame(struct thread *thread);
// Saves `from`'s registers (also FPU, FS/GS bases), loads `to`'s; returns in `to` the thread that
// ran before it. Interrupts off. The address space is switched by mm (mm_switch) before.
struct thread *arch_switch(struct thread *from, struct thread *to);
// Fork: FPU registers, FS/GS bases
void arch_thread_copy_user_state(struct thread *to, struct thread *from_current);
// Exec: FPU to its initial state, FS/GS bases 0; running thread
void arch_thread_reset_user_state(void);
// Allocates thread->arch.fpu in the initial state; -ENOMEM
[[nodiscard]] int arch_thread_fpu_alloc(struct thread *thread);
void arch_thread_fpu_free(struct thread *thread);
// Of the running thread, already checked to be canonical user addresses
void arch_set_fs_base(uint64_t base);
void arch_set_gs_base(uint64_t base);
uint64_t arch_get_fs_base(void);
uint64_t arch_get_gs_base(void);
// FPU state in signal frames (Linux layout: XSAVE area with _fpx_sw_bytes magic). size: bytes
// needed on the user stack (64-aligned).
size_t arch_fpu_signal_bytes(void);
// Running thread's state to user memory; -EFAULT
[[nodiscard]] int arch_fpu_signal_save(uintptr_t user_buffer);
// Checks everything; -EFAULT, -EINVAL; 0 pointer: initial state
[[nodiscard]] int arch_fpu_signal_restore(uintptr_t user_buffer);
// Enters user mode for the first time after exec: frame cleared, rip/rsp set, flags IF.
void arch_frame_start(struct trap_frame *frame, uintptr_t rip, uintptr_t rsp);
// Whoever changes the register frame of the running system call otherwise than from
// process_user_return() says so: the quick way out does not load it. (arch_frame_start() and
// arch_fpu_signal_restore() say it themselves.)
void arch_frame_rewritten(void);

// ---- bulk memory (by CPU feature; arch/x86/copy.S) ----
void arch_clear_page(void *page); // 4096 bytes, page-aligned
void arch_copy_page(void *dst, const void *src);
void arch_clear_pages(void *first, size_t count);

// ---- page tables: format and TLB of this CPU: kernel/arch/x86/paging.h, used by mm only ----
// ---- device registers: kernel/arch/x86/io.h ----

// ---- clocks, for kernel/core/time.c ----
int64_t arch_rtc_read(void); // the machine's real-time clock: seconds since 1970, -1: there is none

// ---- memory nodes: what the firmware's tables say; read-only after arch_early_init() ----
extern struct numa numa;
extern uint8_t cpu_nodes[]; // of each CPU, by number

// ---- CPUs ----
// Boot CPU: traps, feature bits, per-CPU, early console
void arch_early_init(void);
// After memory management: ACPI, APIC, time source, system calls
void arch_init(void);
// Starts all other CPUs; returns when they idle (or gave up, logged)
void arch_smp_start(void);
// Starts one CPU that has never run or is off; returns when it idles. -ENOMEM; -EIO: it does not
// start. One caller at a time, task context.
[[nodiscard]] int arch_cpu_start(uint32_t cpu);
// The running CPU stops until it is started again; the last thing that it does is to store `value`.
// Interrupts off, nothing expects anything of it any more.
[[noreturn]] void arch_cpu_off(uint32_t *state, uint32_t value);
// For panic: the other CPUs are stopped for ever by NMI; this one stops; a frame's registers as
// lines of text.
void arch_stop_others(void);
[[noreturn]] void arch_stop_self(void);
void arch_frame_visit(const struct trap_frame *frame, void (*line)(const char *text));
[[noreturn]] void arch_reboot(void);
[[noreturn]] void arch_power_off(void);
// Debug-exit device if there is one, then power-off, then halt
[[noreturn]] void arch_exit_machine(uint32_t code);
bool arch_cpu_has(enum arch_feature feature);
uint32_t arch_hwcap(void);  // AT_HWCAP: CPUID 1 EDX
uint32_t arch_hwcap2(void); // AT_HWCAP2: bit 1 when programs may use FSGSBASE
// A word from the processor's random source (RDSEED, else RDRAND). False: there is none, or it
// fails. Any context.
bool arch_random_word(uint64_t *word);
// /proc/cpuinfo
void arch_cpuinfo_visit(
    uint32_t cpu, void (*line)(const char *key, const char *value, void *context), void *context);
