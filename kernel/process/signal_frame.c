// SPDX-License-Identifier: MIT
// What a signal handler finds on its stack, and the way back (rt_sigreturn). The layout is that of
// Linux on x86-64, known to C libraries, debuggers and unwinders:
//
//   higher addresses   128 bytes that leaf functions may use without moving the stack pointer (red
//   zone)
//                      FPU state, aligned to 64, with the magic words of asm/sigcontext.h
//   rsp at entry + 8   ucontext: registers, alternate stack, blocked signals to restore
//                      siginfo
//   rsp at entry       address of the restorer, which calls rt_sigreturn
//
// The frame comes back from user memory with any content: only registers a program may set itself
// are taken from it, the FPU state is checked by arch_fpu_signal_restore().
#include "kernel/arch/x86/arch.h"
#include "kernel/base/string.h"
#include "kernel/process/process.h"
#include <asm/sigcontext.h>
#include <asm/ucontext.h>

struct signal_frame {
    uintptr_t restorer;
    struct ucontext context;
    siginfo_t info;
};
static_assert(sizeof(struct ucontext) == 304);
static_assert(offsetof(struct signal_frame, info) == 312);
static_assert(offsetof(struct ucontext, uc_sigmask) == 296);

#define RED_ZONE_BYTES 128
#define FPU_ALIGN      64

#define FLAGS_CF (UINT64_C(1) << 0)
#define FLAGS_TF (UINT64_C(1) << 8)
#define FLAGS_DF (UINT64_C(1) << 10)
#define FLAGS_RF (UINT64_C(1) << 16)
// What a program may change: AC OF DF TF SF ZF AF PF CF RF.
#define FLAGS_USER UINT64_C(0x50dd5)

#define CONTEXT_FLAGS (UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS)

size_t signal_frame_bytes_max(void)
{
    return ALIGN_UP(sizeof(struct signal_frame) + 16 + arch_fpu_signal_bytes() + FPU_ALIGN, 16);
}

static bool on_altstack(const struct task *task, uintptr_t rsp)
{
    if ((task->altstack_flags & SS_AUTODISARM) != 0)
        return false; // it is never the alternate stack "again"
    return rsp > task->altstack_base && rsp - task->altstack_base <= task->altstack_size;
}

int signal_altstack_flags(const struct task *task, uintptr_t rsp)
{
    if (task->altstack_size == 0)
        return SS_DISABLE;
    return on_altstack(task, rsp) ? SS_ONSTACK : 0;
}

int signal_altstack_set(uintptr_t base, int flags, size_t size, uintptr_t rsp)
{
    struct task *task = task_current();
    uint32_t mode = (uint32_t)flags & ~SS_AUTODISARM;
    if (on_altstack(task, rsp))
        return -EPERM;
    if (mode != SS_DISABLE && mode != SS_ONSTACK && mode != 0)
        return -EINVAL;
    if (mode == SS_DISABLE) {
        base = 0;
        size = 0;
    } else if (size < MINSIGSTKSZ) {
        return -ENOMEM;
    }
    task->altstack_base = base;
    task->altstack_size = size;
    task->altstack_flags = (uint32_t)flags;
    return 0;
}

static void context_from_frame(
    struct sigcontext *context, const struct trap_frame *frame, uint64_t mask)
{
    context->r8 = frame->r8;
    context->r9 = frame->r9;
    context->r10 = frame->r10;
    context->r11 = frame->r11;
    context->r12 = frame->r12;
    context->r13 = frame->r13;
    context->r14 = frame->r14;
    context->r15 = frame->r15;
    context->rdi = frame->rdi;
    context->rsi = frame->rsi;
    context->rbp = frame->rbp;
    context->rbx = frame->rbx;
    context->rdx = frame->rdx;
    context->rax = frame->rax;
    context->rcx = frame->rcx;
    context->rsp = frame->rsp;
    context->rip = frame->rip;
    context->eflags = frame->rflags;
    context->cs = (uint16_t)frame->cs;
    context->gs = 0;
    context->fs = 0;
    context->ss = (uint16_t)frame->ss;
    const struct thread *thread = thread_current();
    context->trapno = thread->trap_vector;
    context->err = thread->trap_error_code;
    context->cr2 = thread->trap_address;
    context->oldmask = mask;
}

// Where the frame goes: *fpu is the place of the FPU state. -EFAULT: the alternate stack overflows.
static int frame_place(const struct trap_frame *frame, const struct signal_action *action,
    uintptr_t *fpu, uintptr_t *place)
{
    const struct task *task = task_current();
    uintptr_t rsp = frame->rsp - RED_ZONE_BYTES;
    bool already_there = on_altstack(task, frame->rsp);
    if ((action->flags & SA_ONSTACK) != 0 && signal_altstack_flags(task, frame->rsp) == 0)
        rsp = task->altstack_base + task->altstack_size;
    *fpu = ALIGN_DOWN(rsp - arch_fpu_signal_bytes(), FPU_ALIGN);
    *place = ALIGN_DOWN(*fpu - sizeof(struct signal_frame), 16) - 8;
    bool wraps = *place > rsp;
    return wraps || (already_there && !on_altstack(task, *place)) ? -EFAULT : 0;
}

static int info_to_user(uintptr_t place, const siginfo_t *info)
{
    if (copy_to_user(place, info, SIGNAL_INFO_BYTES) != 0)
        return -EFAULT;
    return user_clear(place + SIGNAL_INFO_BYTES, sizeof(*info) - SIGNAL_INFO_BYTES) == 0 ? 0
                                                                                         : -EFAULT;
}

int signal_frame_build(struct trap_frame *frame, int signal, const siginfo_t *info,
    const struct signal_action *action, uint64_t mask)
{
    struct task *task = task_current();
    uintptr_t fpu, place;
    if ((action->flags & SA_RESTORER) == 0 || frame_place(frame, action, &fpu, &place) != 0)
        return -EFAULT;
    if (arch_fpu_signal_save(fpu) != 0)
        return -EFAULT;

    __attribute__((uninitialized)) struct signal_frame built;
    struct ucontext *context = &built.context;
    context->uc_link = NULL;
    built.restorer = action->restorer;
    context->uc_flags = CONTEXT_FLAGS;
    context->uc_stack.ss_sp = (void *)task->altstack_base;
    context->uc_stack.ss_flags =
        (int)(task->altstack_size == 0 ? SS_DISABLE : task->altstack_flags);
    context->uc_stack.ss_size = task->altstack_size;
    context_from_frame(&context->uc_mcontext, frame, mask);
    context->uc_mcontext.fpstate = (struct _fpstate *)fpu;
    // What lies between stays as it is: nobody reads it.
    if (copy_to_user(place, &built, offsetof(struct signal_frame, context.uc_mcontext.reserved1)) !=
            0 ||
        user_put_u64(place + offsetof(struct signal_frame, context.uc_sigmask), mask) != 0)
        return -EFAULT;
    if ((action->flags & SA_SIGINFO) != 0 &&
        info_to_user(place + offsetof(struct signal_frame, info), info) != 0)
        return -EFAULT;

    if ((task->altstack_flags & SS_AUTODISARM) != 0) {
        task->altstack_base = 0;
        task->altstack_size = 0;
        task->altstack_flags = SS_DISABLE;
    }
    frame->rdi = (uint64_t)signal;
    frame->rsi = place + offsetof(struct signal_frame, info);
    frame->rdx = place + offsetof(struct signal_frame, context);
    frame->rax = 0;
    frame->rip = action->handler;
    frame->rsp = place;
    frame->rflags &= ~(FLAGS_DF | FLAGS_RF | FLAGS_TF);
    // Handlers start with the FPU as a new program has it.
    return arch_fpu_signal_restore(0);
}

static void frame_from_context(struct trap_frame *frame, const struct sigcontext *context)
{
    frame->r8 = context->r8;
    frame->r9 = context->r9;
    frame->r10 = context->r10;
    frame->r11 = context->r11;
    frame->r12 = context->r12;
    frame->r13 = context->r13;
    frame->r14 = context->r14;
    frame->r15 = context->r15;
    frame->rdi = context->rdi;
    frame->rsi = context->rsi;
    frame->rbp = context->rbp;
    frame->rbx = context->rbx;
    frame->rdx = context->rdx;
    frame->rax = context->rax;
    frame->rcx = context->rcx;
    frame->rsp = context->rsp;
    frame->rip = context->rip;
    frame->rflags = (frame->rflags & ~FLAGS_USER) | (context->eflags & FLAGS_USER);
}

int64_t signal_frame_return(struct trap_frame *frame)
{
    __attribute__((uninitialized)) struct ucontext context;
    uintptr_t place = frame->rsp - sizeof(uintptr_t); // the restorer's address was popped
    frame->syscall_number = UINT64_MAX;               // what rax holds is not a result: no restart
    if (copy_from_user(&context, place + offsetof(struct signal_frame, context), sizeof(context)) !=
        0)
        goto bad;
    // Beyond user space the return to user mode would fault in the kernel's name.
    if (context.uc_mcontext.rip >= USER_END)
        goto bad;
    signal_set_mask(context.uc_sigmask);
    uintptr_t old_rsp = frame->rsp;
    if (arch_fpu_signal_restore((uintptr_t)context.uc_mcontext.fpstate) != 0)
        goto bad;
    frame_from_context(frame, &context.uc_mcontext);
    // As Linux: a stack that is not acceptable leaves things as they are.
    struct task *task = task_current();
    if (task->altstack_base != (uintptr_t)context.uc_stack.ss_sp ||
        task->altstack_size != context.uc_stack.ss_size ||
        task->altstack_flags != (uint32_t)context.uc_stack.ss_flags)
        (void)signal_altstack_set((uintptr_t)context.uc_stack.ss_sp, context.uc_stack.ss_flags,
            context.uc_stack.ss_size, old_rsp);
    return (int64_t)frame->rax;
bad:
    signal_force(SIGSEGV, SI_KERNEL, 0);
    return 0;
}
