// SPDX-License-Identifier: MIT
// The end of the kernel, on one CPU.
//
// The first CPU that panics stops the others by NMI, so that what it prints is what was; a CPU that
// panics while another one does stops itself. Everything is printed straight to the consoles,
// without the ring and its order: nothing may wait here. A panic inside the panic prints its
// message only.
#include "kernel/core/panic.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/base/fmt.h"
#include "kernel/core/log.h"
#include "kernel/core/preempt.h"
#include "kernel/core/thread.h"
#include "pv/pv.h"

#define BACKTRACE_FRAMES 48
#define BACKTRACE_REACH                                                                            \
    UINT64_C(0x4000) // a frame pointer may lie this far above the one before: a kernel stack
#define PANIC_LOG_LINES     20
#define PANIC_MESSAGE_BYTES 200

extern char kernel_image_start[], kernel_text_end[]; // kernel.lds

static uint32_t panic_cpu; // number plus 1 of the CPU that panicked first; atomic
static uint32_t panic_depth;

static bool is_kernel_text(uintptr_t address)
{
    return address >= (uintptr_t)kernel_image_start && address < (uintptr_t)kernel_text_end;
}

// Visits return addresses, innermost first. Frame pointers that lead elsewhere than up the stack
// end it; nothing beyond the page where a frame pointer lies is touched without it.
static void backtrace_walk(
    uintptr_t rip, uintptr_t rbp, void (*print)(unsigned depth, uintptr_t address))
{
    unsigned depth = 0;
    if (rip != 0)
        print(depth++, rip);
    while (depth < BACKTRACE_FRAMES && (rbp & 7) == 0 && rbp >= UINT64_C(0xffff800000000000)) {
        const uintptr_t *frame = (const uintptr_t *)rbp;
        if (!is_kernel_text(frame[1]))
            break;
        print(depth++, frame[1]);
        if (frame[0] <= rbp || frame[0] - rbp > BACKTRACE_REACH)
            break;
        rbp = frame[0];
    }
}

static void print_to_log(unsigned depth, uintptr_t address)
{
    log_write(LOG_WARNING, "  #%u 0x%016lx", depth, address);
}

static void print_to_consoles(unsigned depth, uintptr_t address)
{
    log_emergency("  #%u 0x%016lx", depth, address);
}

static void print_line(const char *line)
{
    log_emergency("  %s", line);
}

void backtrace_log(uintptr_t rip, uintptr_t rbp)
{
    backtrace_walk(rip, rbp != 0 ? rbp : arch_frame_pointer(), print_to_log);
}

static void panic_enter(void)
{
    uint32_t nobody = 0;
    arch_irq_disable();
    uint32_t self = cpu_current() + 1;
    if (!atomic_cmpxchg(&panic_cpu, &nobody, self) && nobody != self)
        arch_stop_self(); // another CPU tells the story
    if (panic_depth++ == 0)
        arch_stop_others();
}

[[noreturn]] static void panic_end(void)
{
    log_emergency("panic: end");
    pv_shutdown(PV_CRASH, 0);
}

[[noreturn]] static void panic_report(
    const struct trap_frame *frame, uintptr_t rip, uintptr_t rbp, const char *message)
{
    const struct thread *thread = thread_current();
    log_emergency("panic: %s", message);
    if (panic_depth > 1)
        panic_end(); // the report itself failed
    log_emergency("  CPU %u, thread %s, preempt_count %#x", cpu_current(),
        thread != NULL ? thread->name : "none", this_cpu(preempt_count));
    if (frame != NULL)
        arch_frame_visit(frame, print_line);
    backtrace_walk(rip, rbp, print_to_consoles);
    log_emergency("panic: the last lines of the log:");
    log_flush_to_consoles(PANIC_LOG_LINES);
    panic_end();
}

void panic(const char *format, ...)
{
    char message[PANIC_MESSAGE_BYTES];
    va_list arguments;
    panic_enter();
    va_start(arguments, format);
    fmt_vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    panic_report(NULL, (uintptr_t)__builtin_return_address(0),
        *(const uintptr_t *)arch_frame_pointer(), message);
}

void panic_with_frame(const struct trap_frame *frame, const char *format, ...)
{
    char message[PANIC_MESSAGE_BYTES];
    va_list arguments;
    panic_enter();
    va_start(arguments, format);
    fmt_vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    panic_report(frame, frame->rip, frame->rbp, message);
}

void assert_failed(const char *expression, const char *file, int line)
{
    char message[PANIC_MESSAGE_BYTES];
    panic_enter();
    fmt_snprintf(message, sizeof(message), "%s:%d: assertion failed: %s", file, line, expression);
    panic_report(NULL, (uintptr_t)__builtin_return_address(0),
        *(const uintptr_t *)arch_frame_pointer(), message);
}
