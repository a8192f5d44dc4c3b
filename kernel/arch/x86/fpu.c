// SPDX-License-Identifier: MIT
// Floating point and vector registers.
//
// They are switched eagerly with the thread. The area of a thread has the standard (not the
// compacted) format of XSAVE, because that is what a signal frame holds: delivery is one copy.
// XSAVES would save bytes only for supervisor state, of which there is none. Kernel threads have no
// area: the registers keep what the last program had in them, and when that same thread runs again
// on this CPU, nothing is loaded (fpu_owner, arch.fpu_cpu).
//   I1  this_cpu(fpu_owner) == t and t->arch.fpu_cpu == this CPU  =>  the registers equal t's area
//       or are newer.
// The kernel itself uses vector registers only in user_copy.S, which puts them back, with
// preemption off.

#include "kernel/arch/x86/fpu.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/cpu.h"
#include "kernel/arch/x86/user_access.h"
#include "kernel/base/string.h"
#include "kernel/core/log.h"
#include "kernel/core/percpu.h"
#include "kernel/core/preempt.h"
#include "kernel/core/thread.h"
#include "kernel/core/upcall.h"
#include "kernel/core/user.h"

#include <asm/sigcontext.h>
#include <linux/errno.h>

// Components that programs may use: x87, SSE, AVX, AVX-512 (three).
#define XFEATURES_WANTED UINT64_C(0xe7)
#define XFEATURES_FXSAVE UINT64_C(0x3)
#define XFEATURES_AVX512 UINT64_C(0xe0)

#define FXSAVE_BYTES       512
#define FCW_INITIAL        0x37f
#define MXCSR_INITIAL      0x1f80
#define MXCSR_MASK_DEFAULT 0xffbf
#define FPU_BYTES_MAX      4096
#define RESTORE_TRIES      8

struct fxsave {
    uint16_t fcw, fsw;
    uint8_t ftw, reserved;
    uint16_t fop;
    uint64_t rip, rdp;
    uint32_t mxcsr, mxcsr_mask;
    uint8_t registers[416 + 16];
    struct _fpx_sw_bytes software;
};
static_assert(offsetof(struct fxsave, software) == 464);
static_assert(sizeof(struct fxsave) == FXSAVE_BYTES);

struct fpu_area {
    struct fxsave fx;
    // XSAVE header, Intel SDM 1, 13.4.2
    uint64_t xstate_bv;
    uint64_t xcomp_bv;
    uint64_t reserved[6];
    // AVX and so on
} __aligned(64);

// What marks an area in a signal frame as ours; the software bytes lie in the FXSAVE part, magic2
// behind the area. user_copy.S knows the offsets.
struct fpu_signal_marks {
    struct _fpx_sw_bytes software;
    uint32_t magic2;
    uint32_t area_bytes;
};
static_assert(offsetof(struct fpu_signal_marks, software.xfeatures) == 8);
static_assert(offsetof(struct fpu_signal_marks, software.xstate_size) == 16);
static_assert(offsetof(struct fpu_signal_marks, magic2) == 48);
static_assert(offsetof(struct fpu_signal_marks, area_bytes) == 52);
static_assert(offsetof(struct fpu_area, xstate_bv) == 512);

static uint64_t xfeatures; // XCR0; 0: FXSAVE only
static size_t area_bytes = FXSAVE_BYTES;
static uint32_t mxcsr_mask = MXCSR_MASK_DEFAULT;
// Set once by fpu_init():
static size_t signal_bytes = FXSAVE_BYTES; // what a signal frame needs
static struct fpu_signal_marks signal_marks;

static PERCPU(struct thread *, fpu_owner);

static void area_reset(struct fpu_area *area)
{
    memset(area, 0, area_bytes);
    area->fx.fcw = FCW_INITIAL;
    area->fx.mxcsr = MXCSR_INITIAL;
}

// The components that are offered and wanted; 0: XSAVE is of no use.
static uint64_t xfeatures_choose(void)
{
    struct cpuid leaf = cpuid_read(0xd, 0);
    uint64_t chosen = (leaf.eax | (uint64_t)leaf.edx << 32) & XFEATURES_WANTED;
    if ((chosen & XFEATURES_AVX512) != XFEATURES_AVX512)
        chosen &= ~XFEATURES_AVX512;
    return (chosen & XFEATURES_FXSAVE) == XFEATURES_FXSAVE ? chosen : 0;
}

// XCR0 does not keep what it is given: a hypervisor inside an emulator that does not tell it of
// XSETBV (QEMU's SVM) puts its own value back at the next exit. FXSAVE has all that works then.
static void xsave_give_up(void)
{
    log_info("fpu: XSAVE does not work here");
    xfeatures = 0;
    cpu_features.xsave = false;
    cpu_features.xsaveopt = false;
    cpu_features.avx = false;
    cr4_write(cr4_read() & ~(uint64_t)CR4_OSXSAVE);
}

void fpu_init(void)
{
    if (!cpu_features.xsave)
        return;
    xfeatures = xfeatures_choose();
    if (xfeatures != 0)
        xcr0_write(xfeatures);
    size_t bytes = cpuid_read(0xd, 0).ebx; // an exit under every hypervisor
    if (xcr0_read() != xfeatures) {
        xsave_give_up();
        return;
    }
    if (bytes < sizeof(struct fpu_area) || bytes > FPU_BYTES_MAX) {
        xfeatures = XFEATURES_FXSAVE;
        xcr0_write(xfeatures);
        bytes = sizeof(struct fpu_area);
    }
    area_bytes = bytes;
    signal_bytes = ALIGN_UP(area_bytes + FP_XSTATE_MAGIC2_SIZE, 64ul);
    signal_marks = (struct fpu_signal_marks){
        .software = {.magic1 = FP_XSTATE_MAGIC1,
            .extended_size = (uint32_t)area_bytes + FP_XSTATE_MAGIC2_SIZE,
            .xfeatures = xfeatures,
            .xstate_size = (uint32_t)area_bytes},
        .magic2 = FP_XSTATE_MAGIC2,
        .area_bytes = (uint32_t)area_bytes,
    };
}

static void registers_reset(void)
{
    uint32_t mxcsr = MXCSR_INITIAL;
    asm volatile("fninit; ldmxcsr %0" : : "m"(mxcsr));
}

void fpu_init_cpu(void)
{
    if (xfeatures != 0)
        xcr0_write(xfeatures);
    registers_reset();
    this_cpu(fpu_owner) = NULL; // also on a CPU that was off
    if (cpu_current() == 0) {
        // Which bits of MXCSR exist: a program that sets another in its signal frame would make the
        // restore fault.
        static struct fxsave probe __aligned(64);
        asm volatile("fxsaveq %0" : "=m"(probe));
        if (probe.mxcsr_mask != 0)
            mxcsr_mask = probe.mxcsr_mask;
    }
}

static inline void registers_save(struct fpu_area *area)
{
    if (cpu_features.xsaveopt)
        asm volatile("xsaveopt64 (%0)" : : "r"(area), "a"(-1), "d"(-1) : "memory");
    else if (xfeatures != 0)
        asm volatile("xsave64 (%0)" : : "r"(area), "a"(-1), "d"(-1) : "memory");
    else
        asm volatile("fxsaveq (%0)" : : "r"(area) : "memory");
}

static inline void registers_load(const struct fpu_area *area)
{
    if (xfeatures != 0)
        asm volatile("xrstor64 (%0)" : : "r"(area), "a"(-1), "d"(-1) : "memory");
    else
        asm volatile("fxrstorq (%0)" : : "r"(area) : "memory");
}

int fpu_registers_load_safe(const void *area, uint32_t use_xrstor); // user_copy.S: 0 or -EINVAL

void fpu_save(struct thread *from)
{
    if (from->arch.fpu != NULL)
        registers_save(from->arch.fpu);
}

void fpu_load(struct thread *to)
{
    if (to->arch.fpu == NULL)
        return;
    uint32_t cpu = cpu_current();
    if (this_cpu(fpu_owner) == to && to->arch.fpu_cpu == cpu)
        return; // I1
    registers_load(to->arch.fpu);
    this_cpu(fpu_owner) = to;
    to->arch.fpu_cpu = cpu;
}

int arch_thread_fpu_alloc(struct thread *thread)
{
    struct fpu_area *area = arch_memory_alloc(area_bytes);
    if (area == NULL)
        return -ENOMEM;
    assert(IS_ALIGNED((uintptr_t)area, 64));
    area_reset(area);
    thread->arch.fpu_cpu = UINT64_MAX;
    thread->arch.fpu = area;
    return 0;
}

void arch_thread_fpu_free(struct thread *thread)
{
    void *area = thread->arch.fpu;
    thread->arch.fpu = NULL;
    arch_memory_free(area);
}

// Makes the area of the running thread what its registers hold and keeps the thread on this CPU.
static struct fpu_area *area_current_begin(struct thread *thread)
{
    preempt_disable();
    assert(thread->arch.fpu != NULL);
    return thread->arch.fpu;
}

void arch_thread_copy_user_state(struct thread *to, struct thread *from_current)
{
    assert(from_current == thread_current() && to->arch.fpu != NULL);
    struct fpu_area *area = area_current_begin(from_current);
    registers_save(area);
    memcpy(to->arch.fpu, area, area_bytes);
    preempt_enable();
    to->arch.fpu_cpu = UINT64_MAX;
    to->arch.fs_base = arch_get_fs_base();
    to->arch.gs_base = arch_get_gs_base();
}

// The initial state; XSTATE_BV 0 says so for everything but x87's control word (by FNINIT's rules)
// and MXCSR, so no more of an area is read.
static const struct fpu_area initial_area = {.fx = {.fcw = FCW_INITIAL, .mxcsr = MXCSR_INITIAL}};

// The running thread's registers; its area is written when it is switched away from.
static void registers_current_reset(void)
{
    preempt_disable();
    registers_load(&initial_area);
    preempt_enable();
}

void arch_thread_reset_user_state(void)
{
    registers_current_reset();
    arch_set_fs_base(0);
    arch_set_gs_base(0);
}

// ---- signal frames ------------------------------------------------------------------------------

size_t arch_fpu_signal_bytes(void)
{
    return signal_bytes;
}

int arch_fpu_signal_save(uintptr_t user_buffer)
{
    if (xfeatures == 0) {
        struct fpu_area *area = area_current_begin(thread_current());
        registers_save(area);
        preempt_enable();
        // Being preempted meanwhile writes the same values again.
        return copy_to_user(user_buffer, area, area_bytes);
    }
    // XSAVE straight to the user's memory. (Not XSAVEOPT: also what is in its initial state gets
    // written.)
    assert(IS_ALIGNED(user_buffer, 64));
    if (!user_range_ok(user_buffer, area_bytes + FP_XSTATE_MAGIC2_SIZE))
        return -EFAULT;
    return user_fpu_signal_save(user_buffer, &signal_marks);
}

// How much of the user's buffer is an extended area of our size: all of it or only the FXSAVE part.
static int signal_area_bytes(uintptr_t user_buffer, size_t *len_bytes)
{
    __attribute__((uninitialized)) struct _fpx_sw_bytes software;
    uint32_t magic2 = 0;
    *len_bytes = FXSAVE_BYTES;
    if (xfeatures == 0)
        return 0;
    if (copy_from_user(
            &software, user_buffer + offsetof(struct fxsave, software), sizeof(software)) != 0)
        return -EFAULT;
    if (software.magic1 != FP_XSTATE_MAGIC1 || software.xstate_size != area_bytes ||
        software.extended_size < software.xstate_size + FP_XSTATE_MAGIC2_SIZE)
        return 0;
    if (user_get_u32(&magic2, user_buffer + area_bytes) != 0)
        return -EFAULT;
    if (magic2 == FP_XSTATE_MAGIC2)
        *len_bytes = area_bytes;
    return 0;
}

// Reads the buffer into the area, in one go without preemption (a switch would overwrite the area
// with the registers). Pages that are missing are touched in between.
__noinline static int signal_area_read(
    struct thread *thread, uintptr_t user_buffer, size_t len_bytes)
{
    for (int tries = 0; tries < RESTORE_TRIES; tries++) {
        struct fpu_area *area = area_current_begin(thread);
        user_fault_disable();
        size_t missing = user_copy_in(area, user_buffer, len_bytes);
        user_fault_enable();
        if (missing == 0) {
            if (xfeatures != 0) {
                area->xstate_bv =
                    len_bytes == area_bytes ? area->xstate_bv & xfeatures : XFEATURES_FXSAVE;
                area->xcomp_bv = 0;
                memset(area->reserved, 0, sizeof(area->reserved));
            }
            area->fx.mxcsr &= mxcsr_mask;
            int error = fpu_registers_load_safe(area, xfeatures != 0);
            if (error != 0) {
                area_reset(area);
                registers_load(area);
            }
            preempt_enable();
            return error;
        }
        preempt_enable();
        for (size_t offset = 0; offset < len_bytes + PAGE_SIZE; offset += PAGE_SIZE) {
            uint8_t byte;
            if (copy_from_user(&byte, user_buffer + MIN(offset, len_bytes - 1), 1) != 0)
                return -EFAULT;
        }
    }
    return -EFAULT;
}

// Any area, by way of the thread's own.
__noinline static int signal_restore_checked(uintptr_t user_buffer)
{
    size_t len_bytes;
    int error = signal_area_bytes(user_buffer, &len_bytes);
    return error != 0 ? error : signal_area_read(thread_current(), user_buffer, len_bytes);
}

int arch_fpu_signal_restore(uintptr_t user_buffer)
{
    if (user_buffer == 0) {
        registers_current_reset();
        return 0;
    }
    arch_frame_rewritten();
    // A frame such as we made ourselves is loaded as it lies there. What is different or what the
    // processor does not take is looked at more closely.
    if (likely(xfeatures != 0 && IS_ALIGNED(user_buffer, 64) &&
               user_range_ok(user_buffer, area_bytes + FP_XSTATE_MAGIC2_SIZE) &&
               user_fpu_signal_load(user_buffer, &signal_marks) == 0))
        return 0;
    return signal_restore_checked(user_buffer);
}
