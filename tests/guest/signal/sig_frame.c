// SPDX-License-Identifier: MIT
//
// Claim: a handler preserves every register of what it interrupted: general, flags, x87, SSE and
// AVX (if there is AVX), and the red zone; what it changes in its context takes effect; it starts
// with a clean direction flag, an aligned stack and standard FPU control words; contexts nest.
// Method: assembly that loads all registers with known values around a signal to itself.
#include "tests/guest/check.h"
#include <cpuid.h>
#include <ucontext.h>

static volatile int calls;
static int stack_misalignment;
static unsigned long flags_inside;
static unsigned mxcsr_inside;
static unsigned short x87_inside;

// Spoils everything that a handler may spoil.
__attribute__((noinline)) static void spoil_registers(void)
{
    static const double values[2] = {7.5, -3.25};
    __asm__ volatile("movupd %0, %%xmm0; movaps %%xmm0, %%xmm1; movaps %%xmm0, %%xmm7;"
                     "movaps %%xmm0, %%xmm8; movaps %%xmm0, %%xmm15;"
                     "fldpi; fldl2e; fldz; fstp %%st; fstp %%st; fstp %%st"
        :
        : "m"(values)
        : "xmm0", "xmm1", "xmm7", "xmm8", "xmm15", "memory");
    unsigned eax, ebx, ecx, edx;
    __cpuid(1, eax, ebx, ecx, edx);
    if ((ecx & bit_AVX) != 0 && (ecx & bit_OSXSAVE) != 0) {
        __asm__ volatile("vxorps %%ymm0, %%ymm0, %%ymm0; vxorps %%ymm5, %%ymm5, %%ymm5;"
                         "vxorps %%ymm15, %%ymm15, %%ymm15; vzeroupper"
            :
            :
            : "xmm0", "xmm5", "xmm15");
    }
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    uintptr_t frame;

    __asm__ volatile("mov %%rbp, %0" : "=r"(frame));
    stack_misalignment = (int)(frame % 16); // rbp was pushed below the return address
    __asm__ volatile("pushfq; pop %0; stmxcsr %1; fnstcw %2"
        : "=r"(flags_inside), "=m"(mxcsr_inside), "=m"(x87_inside));
    (void)number;
    (void)info;
    (void)context;
    spoil_registers();
    calls++;
}

static uint64_t registers_in[16], registers_out[16];
static long self;

// Loads registers, raises SIGUSR1 by the kill system call, and compares. Returns a mask of what
// changed. The call itself clobbers rax, rcx and r11.
static uint64_t around_signal(void)
{
    for (int i = 0; i < 16; i++) {
        registers_in[i] = 0x1111111111111111u * (unsigned)i + 0x0123456789abcdefu;
    }
    self = getpid();
    __asm__ volatile("push %%rbp\n"
                     "sub $128, %%rsp\n"
                     "movq $0x5a5a5a, -128(%%rsp)\n" // in the red zone
                     "mov %[pid], %%rdi\n"
                     "lea %[in], %%rax\n"
                     "mov 8(%%rax), %%rbx\n"
                     "mov 16(%%rax), %%rdx\n"
                     "mov 24(%%rax), %%rbp\n"
                     "mov 32(%%rax), %%r8\n"
                     "mov 40(%%rax), %%r9\n"
                     "mov 48(%%rax), %%r10\n"
                     "mov 56(%%rax), %%r12\n"
                     "mov 64(%%rax), %%r13\n"
                     "mov 72(%%rax), %%r14\n"
                     "mov 80(%%rax), %%r15\n"
                     "movq 88(%%rax), %%xmm3\n"
                     "movq 96(%%rax), %%xmm12\n"
                     "mov $10, %%esi\n" // SIGUSR1
                     "mov $62, %%eax\n" // kill
                     "std\n"
                     "syscall\n"
                     "mov -128(%%rsp), %%r11\n"
                     "pushfq\n"
                     "pop %%rcx\n"
                     "cld\n"
                     "lea %[out], %%rax\n"
                     "mov %%rbx, 8(%%rax)\n"
                     "mov %%rdx, 16(%%rax)\n"
                     "mov %%rbp, 24(%%rax)\n"
                     "mov %%r8, 32(%%rax)\n"
                     "mov %%r9, 40(%%rax)\n"
                     "mov %%r10, 48(%%rax)\n"
                     "mov %%r12, 56(%%rax)\n"
                     "mov %%r13, 64(%%rax)\n"
                     "mov %%r14, 72(%%rax)\n"
                     "mov %%r15, 80(%%rax)\n"
                     "movq %%xmm3, 88(%%rax)\n"
                     "movq %%xmm12, 96(%%rax)\n"
                     "mov %%rcx, 104(%%rax)\n"
                     "mov %%rsi, 112(%%rax)\n"
                     "mov %%r11, 120(%%rax)\n"
                     "add $128, %%rsp\n"
                     "pop %%rbp\n"
        : [out] "=m"(registers_out)
        : [in] "m"(registers_in), [pid] "m"(self)
        : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
        "r15", "xmm3", "xmm12", "memory", "cc");
    uint64_t changed = 0;
    for (int i = 1; i <= 12; i++) {
        changed |= (uint64_t)(registers_in[i] != registers_out[i]) << i;
    }
    changed |= (uint64_t)((registers_out[13] & 0x400) == 0) << 13; // the direction flag was set
    changed |= (uint64_t)(registers_out[14] != SIGUSR1) << 14;
    changed |= (uint64_t)(registers_out[15] != 0x5a5a5a) << 15;
    return changed;
}

static void vector_state(void)
{
    unsigned eax, ebx, ecx, edx;
    __cpuid(1, eax, ebx, ecx, edx);
    if ((ecx & bit_AVX) == 0 || (ecx & bit_OSXSAVE) == 0) {
        note("ok vector registers"); // nothing to keep
        return;
    }
    static uint64_t in[8] __attribute__((aligned(32))), after[8] __attribute__((aligned(32)));
    for (int i = 0; i < 8; i++) {
        in[i] = 0xabcdef0123456789u * (unsigned)(i + 3);
    }
    long result = 62, pid = getpid();
    __asm__ volatile("vmovaps %[in0], %%ymm5; vmovaps %[in1], %%ymm15;"
                     "mov $10, %%esi; syscall;"
                     "vmovaps %%ymm5, %[out0]; vmovaps %%ymm15, %[out1]; vzeroupper"
        : "+a"(result), [out0] "=m"(*(uint64_t(*)[4])after),
        [out1] "=m"(*(uint64_t(*)[4])(after + 4))
        : "D"(pid), [in0] "m"(*(uint64_t(*)[4])in), [in1] "m"(*(uint64_t(*)[4])(in + 4))
        : "rcx", "r11", "rsi", "xmm5", "xmm15", "memory");
    note(memcmp(in, after, sizeof(in)) == 0 ? "ok vector registers" : "FAIL vector registers");
    check_failures += memcmp(in, after, sizeof(in)) != 0;
}

static void x87_state(void)
{
    unsigned short control = 0x27f, after_control = 0; // double precision
    unsigned mxcsr = 0x1f80 | 0x6000, after_mxcsr = 0, standard = 0x1f80;
    long double value = 0;
    long result = 62, pid = getpid();

    __asm__ volatile("fldcw %[control]; ldmxcsr %[mxcsr]; fldpi; fld1;"
                     "mov $10, %%esi; syscall;"
                     "faddp; fstpt %[value]; fnstcw %[after_control]; stmxcsr %[after_mxcsr];"
                     "fninit; ldmxcsr %[standard]"
        : "+a"(result), [value] "=m"(value), [after_control] "=m"(after_control),
        [after_mxcsr] "=m"(after_mxcsr)
        : "D"(pid), [control] "m"(control), [mxcsr] "m"(mxcsr), [standard] "m"(standard)
        : "rcx", "r11", "rsi", "memory");
    CHECK_EQ((long long)(value * 1000), 4141);
    CHECK_EQ(after_control, control);
    CHECK_EQ(after_mxcsr & 0xffc0, mxcsr);
    CHECK_EQ(mxcsr_inside & 0xffc0, 0x1f80);
    CHECK_EQ(x87_inside, 0x37f);
}

static void change_context(int number, siginfo_t *info, void *context)
{
    ucontext_t *user = context;
    (void)number;
    (void)info;
    user->uc_mcontext.gregs[REG_RIP] += 2; // over the ud2
    user->uc_mcontext.gregs[REG_RBX] = 1234;
    sigaddset(&user->uc_sigmask, SIGWINCH); // the mask to return to
    if (user->uc_mcontext.fpregs != NULL) {
        user->uc_mcontext.fpregs->_xmm[6].element[0] = 4321;
    }
}

static void changed_context(void)
{
    struct sigaction action = {.sa_sigaction = change_context, .sa_flags = SA_SIGINFO};
    uint64_t rbx = 0, xmm = 0;
    sigset_t set;

    sigaction(SIGILL, &action, NULL);
    __asm__ volatile("xor %%ebx, %%ebx; pxor %%xmm6, %%xmm6; ud2; mov %%rbx, %0; movq %%xmm6, %1"
        : "=r"(rbx), "=r"(xmm)
        :
        : "rbx", "xmm6");
    CHECK_EQ(rbx, 1234);
    CHECK_EQ(xmm, 4321);
    sigprocmask(SIG_SETMASK, NULL, &set);
    CHECK(sigismember(&set, SIGWINCH) == 1);
}

static volatile int nested;

static void nest(int number, siginfo_t *info, void *context)
{
    (void)info;
    (void)context;
    volatile double local = nested * 1.5;
    if (++nested < 20) {
        raise(number == SIGUSR1 ? SIGUSR2 : SIGUSR1);
    }
    spoil_registers();
    calls += local >= 0;
}

// A frame that the program has spoiled kills it.
static void bad_frame(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)info;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] = (long long)0xffff800000000000;
}

static void return_to_nowhere(void)
{
    struct sigaction action = {.sa_sigaction = bad_frame, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    note("not reached");
}

// Privileged flag bits and segments cannot be had through a frame.
static void raise_privilege(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)info;
    ucontext_t *user = context;
    user->uc_mcontext.gregs[REG_EFL] |= 0x3000; // I/O privilege level 3
}

static void privileged_flags(void)
{
    struct sigaction action = {.sa_sigaction = raise_privilege, .sa_flags = SA_SIGINFO};
    unsigned long flags;
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    __asm__ volatile("pushfq; pop %0" : "=r"(flags));
    CHECK_EQ(flags & 0x3000, 0);
}

static void return_without_frame(void)
{
    __asm__ volatile("mov %0, %%rsp; mov $15, %%eax; syscall" : : "r"(0x1000l) : "rax");
}

static void stack_is_gone(void)
{
    signal(SIGUSR1, (void (*)(int))(uintptr_t)on_signal);
    long pid = getpid();
    __asm__ volatile("mov $0x1000, %%esp; mov $62, %%eax; mov $10, %%esi; syscall; mov $60, %%eax; "
                     "xor %%edi, %%edi; syscall"
        :
        : "D"(pid)
        : "memory");
}

int main(void)
{
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};

    scratch();
    sigaction(SIGUSR1, &action, NULL);
    uint64_t changed = 0;
    for (int i = 0; i < 100; i++) {
        changed |= around_signal();
    }
    CHECK_EQ(changed, 0);
    CHECK_EQ(calls, 100);
    CHECK_EQ(stack_misalignment, 0);
    CHECK_EQ(flags_inside & 0x400, 0);
    vector_state();
    x87_state();
    changed_context();
    action.sa_sigaction = nest;
    action.sa_flags |= SA_NODEFER;
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    calls = 0;
    raise(SIGUSR1);
    CHECK_EQ(calls, 20);
    CHILD(return_to_nowhere, "killed by SIGSEGV");
    CHILD(privileged_flags, "exit 0");
    CHILD(return_without_frame, "killed by SIGSEGV");
    CHILD(stack_is_gone, "killed by SIGSEGV");
    return check_done();
}
