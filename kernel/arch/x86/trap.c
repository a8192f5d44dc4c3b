// SPDX-License-Identifier: MIT
// Exceptions: page faults go to mm, faults of programs become signals, faults of the kernel are
// either expected at that instruction (exception table) or the end.

#include "kernel/arch/x86/trap.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/asm.h"
#include "kernel/arch/x86/cpu.h"
#include "kernel/arch/x86/nmi.h"
#include "kernel/arch/x86/paging.h"
#include "kernel/arch/x86/segments.h"
#include "kernel/arch/x86/static_branch.h"
#include "kernel/arch/x86/user_access.h"
#include "kernel/base/string.h"
#include "kernel/core/counter.h"
#include "kernel/core/panic.h"
#include "kernel/core/preempt.h"
#include "kernel/core/thread.h"
#include "kernel/core/upcall.h"
#include "kernel/core/user.h"
#include "pv/pv.h"

#include <asm/siginfo.h>
#include <asm/signal.h>
#include <linux/errno.h>

static_assert(offsetof(struct trap_frame, rax) == FRAME_RAX);
static_assert(offsetof(struct trap_frame, rdi) == FRAME_RDI);
static_assert(offsetof(struct trap_frame, syscall_number) == FRAME_SYSCALL);
static_assert(offsetof(struct trap_frame, error_code) == FRAME_ERROR);
static_assert(offsetof(struct trap_frame, rip) == FRAME_RIP);
static_assert(offsetof(struct trap_frame, cs) == FRAME_CS);
static_assert(offsetof(struct trap_frame, rflags) == FRAME_RFLAGS);
static_assert(offsetof(struct trap_frame, rsp) == FRAME_RSP);
static_assert(sizeof(struct trap_frame) == FRAME_BYTES);
static_assert(offsetof(struct thread, arch.kernel_stack_top) == THREAD_KERNEL_STACK_TOP);
static_assert(offsetof(struct thread, work) == THREAD_WORK);

COUNTER(trap, page_faults);
COUNTER(trap, user_exceptions);
COUNTER(trap, fixups);

static const char *const trap_names[32] = {"division error", "debug exception", "NMI", "breakpoint",
    "overflow", "bound range exceeded", "invalid opcode", "no FPU", "double fault",
    "coprocessor overrun", "invalid TSS", "segment not present", "stack segment fault",
    "general protection fault", "page fault", "reserved", "x87 error", "alignment check",
    "machine check", "SIMD error", "virtualization exception", "control protection"};

// ---- exception table ----------------------------------------------------------------------------

struct exception_entry {
    uintptr_t fault;
    uintptr_t fixup;
};
extern const struct exception_entry exception_table_start[], exception_table_end[];

// Where to continue after a fault at `rip`, or 0. The table is short (some dozens): entry order is
// that of the link.
static uintptr_t exception_fixup(uintptr_t rip)
{
    for (const struct exception_entry *entry = exception_table_start; entry < exception_table_end;
        entry++) {
        if (entry->fault == rip)
            return entry->fixup;
    }
    return 0;
}

// Is `rip` in the code that may touch user memory (user_copy.S)?
static bool is_user_access(uintptr_t rip)
{
    extern const char user_access_start[], user_access_end[];
    return rip >= (uintptr_t)user_access_start && rip < (uintptr_t)user_access_end;
}

// Continues a faulting kernel instruction at its fixup, if it has one.
static bool exception_recover(struct trap_frame *frame)
{
    uintptr_t fixup = exception_fixup(frame->rip);
    if (fixup == 0)
        return false;
    counter_add(trap, fixups, 1);
    frame->rip = fixup;
    return true;
}

// ---- return to user mode ------------------------------------------------------------------------

// Takes out of a frame that somebody rewrote what a program may not have. After it IRET can't
// fault. False: there is a signal to deliver.
static bool frame_sanitize(struct trap_frame *frame)
{
    frame->cs = USER_CS;
    frame->ss = USER_DS;
    frame->rflags = (frame->rflags & RFLAGS_USER) | RFLAGS_FIXED | RFLAGS_IF;
    if (unlikely(frame->rip >= UINT64_C(1) << 47)) {
        // Not canonical (or the kernel's): the fault that IRET would raise in the program's name.
        frame->rip &= (UINT64_C(1) << 47) - 1;
        arch_irq_enable();
        process_user_trap(frame, SIGSEGV, SI_KERNEL, 0);
        return false;
    }
    return true;
}

// Does all work that waits for the running thread before it returns to user mode. Interrupts are
// off on return.
static void return_to_user(struct trap_frame *frame)
{
    struct thread *thread = thread_current();
    bool rewritten = false;
    for (;;) {
        arch_irq_disable();
        uint32_t work = __atomic_load_n(&thread->work, __ATOMIC_RELAXED);
        if (work & THREAD_WORK_RESCHEDULE) {
            sched_preempt(); // clears the bit
        } else if (work & ~THREAD_WORK_FRAME) {
            arch_irq_enable();
            process_user_return(frame);
            rewritten = true;
        } else if (work != 0 || rewritten) {
            // frame_sanitize() may raise a signal: then once more.
            if (work != 0)
                thread_work_clear(thread, THREAD_WORK_FRAME);
            rewritten = false;
            if (frame_sanitize(frame))
                break;
        } else {
            break;
        }
    }
    debug_assert(trap_frame_is_user(frame));
    debug_assert(this_cpu(preempt_count) == 0);
}

void trap_syscall_work(struct trap_frame *frame)
{
    return_to_user(frame);
}

void trap_start_user(struct trap_frame *frame)
{
    arch_irq_enable();
    process_thread_start(frame);
    arch_frame_rewritten();
    return_to_user(frame);
}

// ---- page faults --------------------------------------------------------------------------------

static void page_fault_signal(struct trap_frame *frame, int error, uintptr_t address, uint64_t code)
{
    struct thread *thread = thread_current();
    thread->trap_vector = TRAP_PAGE_FAULT;
    // Says nothing of the kernel's mappings
    thread->trap_error_code = address < USER_END ? code : code | FAULT_PRESENT;
    thread->trap_address = address;
    switch (error) {
    case -EFAULT:
        process_user_trap(frame, SIGSEGV, SEGV_MAPERR, address);
        break;
    case -EACCES:
        process_user_trap(frame, SIGSEGV, SEGV_ACCERR, address);
        break;
    case -EIO:
    case -ENXIO:
        process_user_trap(frame, SIGBUS, BUS_ADRERR, address);
        break;
    case -ENOMEM: // the program has been chosen to be killed, or will try again
    case -EINTR:  // a fatal signal is pending
        break;
    default:
        panic("page fault at %#lx: unexpected result %d", address, error);
    }
}

static void page_fault_user(struct trap_frame *frame, uintptr_t address)
{
    uint64_t code = frame->error_code;
    arch_irq_enable();
    int error = address < USER_END ? mm_page_fault(address, code, frame) : -EFAULT;
    if (unlikely(error != 0))
        page_fault_signal(frame, error, address, code);
}

static void page_fault_kernel(struct trap_frame *frame, uintptr_t address)
{
    uint64_t code = frame->error_code;
    if (address < USER_END && is_user_access(frame->rip)) {
        if (!user_fault_disabled() && (frame->rflags & RFLAGS_IF)) {
            arch_irq_enable();
            int error = mm_page_fault(address, code, frame);
            arch_irq_disable();
            if (error == 0)
                return;
        }
    }
    if (exception_recover(frame))
        return;
    panic_with_frame(frame, "page fault: %s %#lx (%s%s)",
        code & FAULT_INSTRUCTION ? "execution of"
        : code & FAULT_WRITE     ? "write to"
                                 : "read of",
        address, address < USER_END ? "user memory, " : "",
        code & FAULT_PRESENT ? "not allowed" : "not mapped");
}

// ---- other exceptions ---------------------------------------------------------------------------

// si_code of an x87 or SIMD error from its status and mask bits (both have the same order).
static int fpu_error_code(uint32_t raised)
{
    if (raised & BIT(0))
        return FPE_FLTINV;
    if (raised & BIT(2))
        return FPE_FLTDIV;
    if (raised & BIT(3))
        return FPE_FLTOVF;
    if (raised & (BIT(1) | BIT(4)))
        return FPE_FLTUND;
    if (raised & BIT(5))
        return FPE_FLTRES;
    return FPE_FLTUNK;
}

static uint32_t fpu_errors_x87(void)
{
    uint16_t status;
    uint16_t control;
    asm volatile("fnstsw %0; fnstcw %1" : "=m"(status), "=m"(control));
    return status & ~control & 0x3f;
}

static uint32_t fpu_errors_simd(void)
{
    uint32_t control;
    asm volatile("stmxcsr %0" : "=m"(control));
    return control & ~(control >> 7) & 0x3f;
}

static void exception_user(struct trap_frame *frame, uint64_t vector)
{
    counter_add(trap, user_exceptions, 1);
    int signal = SIGSEGV;
    int code = SI_KERNEL;
    uintptr_t address = 0;
    thread_current()->trap_vector = vector;
    thread_current()->trap_error_code = frame->error_code;
    switch (vector) {
    case TRAP_DIVIDE:
        signal = SIGFPE;
        code = FPE_INTDIV;
        address = frame->rip;
        break;
    case TRAP_DEBUG:
        signal = SIGTRAP;
        code = TRAP_TRACE;
        address = frame->rip;
        break;
    case TRAP_BREAKPOINT:
        signal = SIGTRAP;
        break;
    case TRAP_INVALID_OPCODE:
        signal = SIGILL;
        code = ILL_ILLOPN;
        address = frame->rip;
        break;
    case TRAP_NO_SEGMENT:
    case TRAP_STACK_SEGMENT:
        signal = SIGBUS;
        break;
    case TRAP_FPU:
        signal = SIGFPE;
        code = fpu_error_code(fpu_errors_x87());
        address = frame->rip;
        break;
    case TRAP_SIMD:
        signal = SIGFPE;
        code = fpu_error_code(fpu_errors_simd());
        address = frame->rip;
        break;
    case TRAP_ALIGNMENT:
        signal = SIGBUS;
        code = BUS_ADRALN;
        break;
    default:
        break;
    }
    arch_irq_enable();
    process_user_trap(frame, signal, code, address);
}

// Names of the checks of the undefined-behaviour sanitizer (SanitizerHandler of clang 19): the byte
// in the UD1 instruction that stands for a failed one in the kasan variant.
static const char *const sanitizer_checks[] = {"addition overflow", "unreachable code",
    "control flow", "division overflow", "dynamic type", "float conversion overflow",
    "function type", "implicit conversion", "builtin", "cast", "invalid value", "missing return",
    "multiplication overflow", "negation overflow", "null argument", "null return", "null argument",
    "null return", "index out of bounds", "pointer overflow", "shift out of bounds",
    "subtraction overflow", "misaligned or null pointer, or wrong type", "alignment assumption",
    "array bound"};

// What failed if `rip` is at a sanitizer's trap (ud1l CHECK(%eax), %eax), else NULL.
static const char *sanitizer_check(uintptr_t rip)
{
    static const uint8_t pattern[4] = {0x67, 0x0f, 0xb9, 0x40};
    const uint8_t *code = (const uint8_t *)rip;
    if (rip < (uintptr_t)kernel_image_start || rip >= (uintptr_t)kernel_text_end - 8 ||
        memcmp(code, pattern, sizeof(pattern)) != 0)
        return NULL;
    return code[4] < ARRAY_SIZE(sanitizer_checks) ? sanitizer_checks[code[4]] : "unknown check";
}

static void exception_kernel(struct trap_frame *frame, uint64_t vector)
{
    if ((vector == TRAP_PROTECTION || vector == TRAP_FPU || vector == TRAP_SIMD) &&
        exception_recover(frame))
        return;
    uintptr_t next = vector == TRAP_BREAKPOINT ? arch_static_branch_trap(frame->rip) : 0;
    if (next != 0) {
        frame->rip = next;
        return;
    }
    if (vector == TRAP_INVALID_OPCODE && sanitizer_check(frame->rip) != NULL)
        panic_with_frame(frame, "undefined behaviour: %s", sanitizer_check(frame->rip));
    const char *name = trap_names[vector] != NULL ? trap_names[vector] : "exception";
    panic_with_frame(frame, "%s (exception %lu, error code %#lx)", name, vector, frame->error_code);
}

void trap_dispatch(struct trap_frame *frame, uint64_t vector)
{
    bool user = trap_frame_is_user(frame);
    if (vector == TRAP_PAGE_FAULT) {
        uintptr_t address = cr2_read();
        counter_add(trap, page_faults, 1);
        if (unlikely(pv_faults_asked) && pv_page_fault(frame, address))
            ;
        else if (user)
            page_fault_user(frame, address);
        else
            page_fault_kernel(frame, address);
    } else if (vector >= TRAP_FIRST_EXTERNAL) {
        irq_dispatch(frame, (uint32_t)vector);
        sched_interrupt_exit(user, (frame->rflags & RFLAGS_IF) != 0);
    } else if (user) {
        exception_user(frame, vector);
    } else {
        exception_kernel(frame, vector);
    }
    if (user)
        return_to_user(frame);
    else
        arch_irq_disable();
}

static nmi_handler *nmi_handlers[NMI_HANDLERS_MAX];

int nmi_handler_add(nmi_handler *handler)
{
    for (int i = 0; i < NMI_HANDLERS_MAX; i++) {
        nmi_handler *none = NULL;
        if (__atomic_compare_exchange_n(
                &nmi_handlers[i], &none, handler, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
            return 0;
    }
    return -ENOSPC;
}

static void nmi(struct trap_frame *frame)
{
    bool known = false;
    for (int i = 0; i < NMI_HANDLERS_MAX; i++) {
        nmi_handler *handler = __atomic_load_n(&nmi_handlers[i], __ATOMIC_ACQUIRE);
        if (handler != NULL)
            known |= handler(frame);
    }
    // Somebody outside pressed the button (QEMU: inject-nmi): he wants to see where we are.
    if (!known)
        panic_with_frame(frame, "NMI from outside");
}

void trap_paranoid(struct trap_frame *frame, uint64_t vector)
{
    this_cpu(preempt_count) += PREEMPT_NMI;
    if (vector == TRAP_NMI)
        nmi(frame);
    else
        panic_with_frame(
            frame, "%s (exception %lu), CR2 %#lx", trap_names[vector], vector, cr2_read());
    this_cpu(preempt_count) -= PREEMPT_NMI;
}
