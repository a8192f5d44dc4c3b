// SPDX-License-Identifier: MIT
// Context switch and the first steps of threads.

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/cpu.h"
#include "kernel/arch/x86/fpu.h"
#include "kernel/arch/x86/segments.h"
#include "kernel/arch/x86/trap.h"
#include "kernel/base/string.h"
#include "kernel/core/thread.h"
#include "kernel/core/user.h"

// trap_entry.S
struct thread *switch_stacks(uintptr_t *save_sp, uintptr_t load_sp, struct thread *from);
void thread_start_kernel(void);
void thread_start_user(void);

// What switch_stacks() pops.
struct switch_frame {
    uint64_t r15, r14, r13, r12, rbx, rbp;
    uint64_t rip;
};

static void thread_prepare(
    struct thread *thread, uintptr_t sp, void (*entry)(void), uint64_t r12, uint64_t r13)
{
    struct switch_frame *frame = (struct switch_frame *)sp - 1;
    *frame = (struct switch_frame){.r12 = r12, .r13 = r13, .rip = (uintptr_t)entry};
    thread->arch.kernel_sp = (uintptr_t)frame;
    thread->arch.fpu_cpu = UINT64_MAX;
}

void arch_thread_init_kernel(struct thread *thread, void (*function)(void *), void *argument)
{
    assert(thread->stack_base != 0 && IS_ALIGNED(thread->stack_base, 16));
    thread->arch.kernel_stack_top = thread->stack_base + KERNEL_STACK_BYTES;
    thread_prepare(thread, thread->arch.kernel_stack_top, thread_start_kernel, (uintptr_t)function,
        (uintptr_t)argument);
}

struct trap_frame *arch_thread_init_user(struct thread *thread)
{
    assert(thread->stack_base != 0 && IS_ALIGNED(thread->stack_base, 16));
    thread->arch.kernel_stack_top = thread->stack_base + KERNEL_STACK_BYTES;
    struct trap_frame *frame = arch_thread_user_frame(thread);
    memset(frame, 0, sizeof(*frame));
    thread_prepare(thread, (uintptr_t)frame, thread_start_user, 0, 0);
    return frame;
}

struct trap_frame *arch_thread_user_frame(struct thread *thread)
{
    return (struct trap_frame *)thread->arch.kernel_stack_top - 1;
}

void arch_frame_start(struct trap_frame *frame, uintptr_t rip, uintptr_t rsp)
{
    memset(frame, 0, sizeof(*frame));
    frame->syscall_number = UINT64_MAX;
    frame->rip = rip;
    frame->rsp = rsp;
    frame->cs = USER_CS;
    frame->ss = USER_DS;
    frame->rflags = RFLAGS_IF | RFLAGS_FIXED;
    arch_frame_rewritten();
}

void arch_frame_rewritten(void)
{
    thread_work_set(thread_current(), THREAD_WORK_FRAME);
}

// ---- FS and GS bases of programs ----
// While the kernel runs, the program's FS base is in FS itself and its GS base in
// MSR_KERNEL_GS_BASE. Without FSGSBASE a program can't change them behind our back, so arch_thread
// has them at all times.

static inline uint64_t fs_base_read(void)
{
    uint64_t base;
    asm volatile("rdfsbase %0" : "=r"(base));
    return base;
}

static inline uint64_t user_gs_base_read(void)
{
    uint64_t base;
    asm volatile("swapgs; rdgsbase %0; swapgs" : "=r"(base));
    return base;
}

static inline void fs_base_write(uint64_t base)
{
    if (cpu_features.fsgsbase)
        asm volatile("wrfsbase %0" : : "r"(base));
    else
        msr_write(MSR_FS_BASE, base);
}

static inline void user_gs_base_write(uint64_t base)
{
    if (cpu_features.fsgsbase)
        asm volatile("swapgs; wrgsbase %0; swapgs" : : "r"(base));
    else
        msr_write(MSR_KERNEL_GS_BASE, base);
}

static inline void bases_save(struct thread *thread)
{
    if (cpu_features.fsgsbase) {
        thread->arch.fs_base = fs_base_read();
        thread->arch.gs_base = user_gs_base_read();
    }
}

static inline void bases_load(const struct thread *thread)
{
    if (likely(cpu_features.fsgsbase)) {
        asm volatile("wrfsbase %0" : : "r"(thread->arch.fs_base));
        asm volatile("swapgs; wrgsbase %0; swapgs" : : "r"(thread->arch.gs_base));
    } else {
        msr_write(MSR_FS_BASE, thread->arch.fs_base);
        msr_write(MSR_KERNEL_GS_BASE, thread->arch.gs_base);
    }
}

uint64_t arch_get_fs_base(void)
{
    return cpu_features.fsgsbase ? fs_base_read() : thread_current()->arch.fs_base;
}

uint64_t arch_get_gs_base(void)
{
    uint64_t flags = arch_irq_save();
    uint64_t base = cpu_features.fsgsbase ? user_gs_base_read() : thread_current()->arch.gs_base;
    arch_irq_restore(flags);
    return base;
}

void arch_set_fs_base(uint64_t base)
{
    assert(base < UINT64_C(1) << 47);
    uint64_t flags = arch_irq_save();
    thread_current()->arch.fs_base = base;
    fs_base_write(base);
    arch_irq_restore(flags);
}

void arch_set_gs_base(uint64_t base)
{
    assert(base < UINT64_C(1) << 47);
    uint64_t flags = arch_irq_save();
    thread_current()->arch.gs_base = base;
    user_gs_base_write(base);
    arch_irq_restore(flags);
}

struct thread *arch_switch(struct thread *from, struct thread *to)
{
    assert_irqs_off();
    if (from->arch.fpu != NULL) {
        fpu_save(from);
        bases_save(from);
    }
    this_cpu(current_thread) = to;
    segments_set_stack(to->arch.kernel_stack_top);
    if (to->arch.fpu != NULL) {
        fpu_load(to);
        bases_load(to);
    }
    return switch_stacks(&from->arch.kernel_sp, to->arch.kernel_sp, from);
}
