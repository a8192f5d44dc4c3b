// SPDX-License-Identifier: MIT
//
// Claim: each processor exception becomes the right signal with the right si_code, si_addr and trap
// number in the frame; handlers can repair and go on; blocked or ignored faults kill.
// Method: provoke each fault under a handler which records and jumps out.
#include "tests/guest/check.h"
#include <setjmp.h>
#include <ucontext.h>

static sigjmp_buf out;
static siginfo_t seen;
static int seen_signal;
static long seen_trap, seen_error;
static uintptr_t seen_address_register;
static uintptr_t seen_instruction;

static void on_fault(int number, siginfo_t *info, void *context)
{
    const ucontext_t *user = context;

    seen_signal = number;
    seen = *info;
    seen_trap = user->uc_mcontext.gregs[REG_TRAPNO];
    seen_error = user->uc_mcontext.gregs[REG_ERR];
    seen_address_register = (uintptr_t)user->uc_mcontext.gregs[REG_CR2];
    seen_instruction = (uintptr_t)user->uc_mcontext.gregs[REG_RIP];
    siglongjmp(out, 1);
}

static const char *code_name(void)
{
    static char other[24];

    if (seen_signal == SIGSEGV && seen.si_code == SEGV_MAPERR) {
        return "SEGV_MAPERR";
    }
    if (seen_signal == SIGSEGV && seen.si_code == SEGV_ACCERR) {
        return "SEGV_ACCERR";
    }
    if (seen_signal == SIGBUS && seen.si_code == BUS_ADRERR) {
        return "BUS_ADRERR";
    }
    if (seen_signal == SIGBUS && seen.si_code == BUS_ADRALN) {
        return "BUS_ADRALN";
    }
    snprintf(
        other, sizeof(other), seen.si_code == SI_KERNEL ? "SI_KERNEL" : "code %d", seen.si_code);
    return other;
}

// Runs the statement and says which fault it gave; `address` is what si_addr must be.
#define FAULT(what, address, ...)                                                                  \
    do {                                                                                           \
        seen_signal = 0;                                                                           \
        if (sigsetjmp(out, 1) == 0) {                                                              \
            __VA_ARGS__;                                                                           \
        }                                                                                          \
        report(what, (uintptr_t)(address));                                                        \
    } while (0)

static void report(const char *what, uintptr_t address)
{
    if (seen_signal == 0) {
        note("%s: no fault", what);
        return;
    }
    note("%s: %s %s, trap %ld, error %ld, address %s", what, signal_name(seen_signal), code_name(),
        seen_trap, seen_error, (uintptr_t)seen.si_addr == address ? "right" : "wrong");
    CHECK_QUIET((uintptr_t)seen.si_addr == address);
}

static void memory_faults(void)
{
    volatile char *none = mmap(NULL, 3 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    volatile char *read_only = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    volatile char *data =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    volatile char *gone = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap((void *)gone, 4096);

    FAULT("read of address 16", 16, (void)*(volatile char *)16);
    FAULT("write to address 16", 16, *(volatile char *)16 = 1);
    FAULT("read of PROT_NONE", none, (void)none[0]);
    FAULT("write to PROT_NONE", none + 4097, none[4097] = 1);
    FAULT("read of read-only, untouched", 0, (void)read_only[0]);
    FAULT("write to read-only", read_only + 5, read_only[5] = 1);
    FAULT("write to unmapped", gone + 7, gone[7] = 1);
    FAULT("execution of data", data, ((void (*)(void))(uintptr_t)data)());
    void (*volatile nowhere)(void) = NULL;
    FAULT("execution of address 0", 0, nowhere());
    FAULT(
        "read of a kernel address", 0xffffffff81000000, (void)*(volatile char *)0xffffffff81000000);
    FAULT("read of a non-canonical address", 0, (void)*(volatile char *)0x4000000000000000);
    FAULT("write to the vDSO's neighbour at the top", 0xffffffffffffff00,
        *(volatile char *)0xffffffffffffff00 = 1);
    FAULT(
        "write to code", (uintptr_t)memory_faults, *(volatile char *)(uintptr_t)memory_faults = 1);

    int file = (int)MUST(open("file", O_RDWR | O_CREAT, 0600));
    MUST(ftruncate(file, 100));
    volatile char *map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    FAULT("read within the last page", 0, (void)map[4095]);
    FAULT("read beyond the end of a file", map + 4096, (void)map[4096]);
    FAULT("write beyond the end of a file", map + 4100, map[4100] = 1);
}

static void other_faults(void)
{
    volatile int zero = 0, minimum = INT_MIN, minus_one = -1;
    uintptr_t here;

    FAULT("division by zero", seen_instruction, minimum = minimum / zero);
    FAULT("division overflow", seen_instruction, zero = minimum / minus_one);
    FAULT("undefined instruction", seen_instruction, __asm__ volatile("ud2"));
    FAULT("breakpoint", 0, __asm__ volatile("int3"));
    FAULT("int 3 as two bytes", 0, __asm__ volatile(".byte 0xcd, 3"));
    FAULT("int 4", 0, __asm__ volatile("int $4"));
    FAULT("int 0x81", 0, __asm__ volatile("int $0x81"));
    FAULT("privileged instruction", 0, __asm__ volatile("hlt"));
    FAULT("cli", 0, __asm__ volatile("cli"));
    FAULT("port access", 0, __asm__ volatile("outb %al, $0x80"));
    FAULT("reading cr0", 0, __asm__ volatile("mov %%cr0, %0" : "=r"(here)));
    FAULT("wrmsr", 0, __asm__ volatile("wrmsr" : : "a"(0), "d"(0), "c"(0)));
    FAULT("misaligned SSE access", 0,
        __asm__ volatile("movaps %%xmm0, (%0)" : : "r"((uintptr_t)out | 8) : "memory"));
    FAULT("loading a bad segment", 0, __asm__ volatile("mov %0, %%ds" : : "r"(0x1234)));
    FAULT("single step", seen_instruction,
        __asm__ volatile("pushfq; orl $0x100, (%rsp); popfq; nop; nop"));

    // Exceptions of SSE instructions and alignment checks are left out: QEMU does not raise them.
    // An x87 exception comes with the next instruction.
    unsigned short x87 = 0x37f & ~4;
    FAULT("x87 division by zero", seen_instruction,
        __asm__ volatile("fldcw %0; fld1; fldz; fdivrp; fwait" : : "m"(x87)));
    __asm__ volatile("fninit");
}

// A handler may repair the cause and return: the instruction runs again.
static volatile char *repaired;

static void repair(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    mprotect((void *)((uintptr_t)info->si_addr & ~4095ul), 4096, PROT_READ | PROT_WRITE);
}

static void repair_and_go_on(void)
{
    struct sigaction action = {.sa_sigaction = repair, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    repaired = mmap(NULL, 64 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int sum = 0;
    for (int i = 0; i < 64; i++) {
        repaired[i * 4096 + i] = (char)i;
    }
    for (int i = 0; i < 64; i++) {
        sum += repaired[i * 4096 + i];
    }
    CHECK_EQ(sum, 63 * 32);
}

static void crash(void)
{
    *(volatile char *)16 = 1;
}

static void crash_blocked(void)
{
    sigset_t set;
    sigfillset(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGSEGV, (void (*)(int))(uintptr_t)on_fault);
    crash();
}

static void crash_ignored(void)
{
    signal(SIGSEGV, SIG_IGN);
    crash();
}

static void crash_in_handler(int number)
{
    (void)number;
    crash(); // SIGSEGV is blocked here: that is the end
}

static void crash_twice(void)
{
    signal(SIGSEGV, crash_in_handler);
    crash();
}

static void divide(void)
{
    __asm__ volatile("xor %%ecx, %%ecx; mov $1, %%eax; cltd; idiv %%ecx" : : : "rax", "rcx", "rdx");
}

static void trap(void)
{
    __asm__ volatile("int3");
}

static void undefined(void)
{
    __asm__ volatile("ud2");
}

int main(void)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};

    scratch();
    CHILD(crash, "killed by SIGSEGV");
    CHILD(crash_blocked, "killed by SIGSEGV");
    CHILD(crash_ignored, "killed by SIGSEGV");
    CHILD(crash_twice, "killed by SIGSEGV");
    CHILD(divide, "killed by SIGFPE");
    CHILD(trap, "killed by SIGTRAP");
    CHILD(undefined, "killed by SIGILL");
    for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
        sigaction(faults[i], &action, NULL);
    }
    memory_faults();
    other_faults();
    CHILD(repair_and_go_on, "exit 0");
    return check_done();
}
