// SPDX-License-Identifier: MIT
//
// Claim: every thread keeps its own registers, SSE and AVX state, x87 and MXCSR settings over
// preemption, sleep, system calls and migration between processors.
// Method: threads, more than there are processors, load registers with their own patterns, compute
// or sleep, and compare.
#include "tests/guest/check.h"
#include <cpuid.h>
#include <pthread.h>
#include <sched.h>

enum { THREADS = 6 };

static uint64_t until_ns;
static _Atomic long rounds;
static bool has_avx;

// Keeps a pattern in all sixteen vector registers over a loop or a system call; returns how many
// came out different.
static int keep_vectors(uint64_t seed, bool by_call)
{
    static _Thread_local uint64_t in[16][4] __attribute__((aligned(32)));
    static _Thread_local uint64_t out[16][4] __attribute__((aligned(32)));
    uint64_t(*from)[4] = in, (*to)[4] = out;

    for (int i = 0; i < 16; i++) {
        for (int k = 0; k < 4; k++) {
            in[i][k] = seed * 0x9e3779b97f4a7c15u + (uint64_t)(i * 4 + k) * 0x0101010101010101u;
        }
    }
    long call = by_call ? SYS_sched_yield : -1;
    if (has_avx) {
#define EACH(op)                                                                                   \
    op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11) op(12) op(13) op(14) \
        op(15)
#define LOAD(n)  "vmovaps 32*" #n "(%[from]), %%ymm" #n "\n"
#define STORE(n) "vmovaps %%ymm" #n ", 32*" #n "(%[to])\n"
        __asm__ volatile(EACH(LOAD) "cmp $0, %[call]\n"
                                    "jl 1f\n"
                                    "mov %[call], %%rax\n"
                                    "syscall\n"
                                    "jmp 2f\n"
                                    "1: mov $3000, %%ecx\n"
                                    "3: dec %%ecx\n"
                                    "jnz 3b\n"
                                    "2:\n" EACH(STORE) "vzeroupper\n"
            :
            : [from] "r"(from), [to] "r"(to), [call] "r"(call)
            : "rax", "rcx", "r11", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
            "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
        return memcmp(in, out, sizeof(in)) != 0;
#undef LOAD
#undef STORE
    }
#define LOAD(n)  "movaps 32*" #n "(%[from]), %%xmm" #n "\n"
#define STORE(n) "movaps %%xmm" #n ", 32*" #n "(%[to])\n"
    __asm__ volatile(EACH(LOAD) "cmp $0, %[call]\n"
                                "jl 1f\n"
                                "mov %[call], %%rax\n"
                                "syscall\n"
                                "jmp 2f\n"
                                "1: mov $3000, %%ecx\n"
                                "3: dec %%ecx\n"
                                "jnz 3b\n"
                                "2:\n" EACH(STORE)
        :
        : [from] "r"(from), [to] "r"(to), [call] "r"(call)
        : "rax", "rcx", "r11", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
        "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    int wrong = 0;
    for (int i = 0; i < 16; i++) {
        wrong += memcmp(in[i], out[i], 16) != 0;
    }
    return wrong;
#undef EACH
#undef LOAD
#undef STORE
}

static void *body(void *argument)
{
    uint64_t seed = (uint64_t)(uintptr_t)argument;
    // Each thread has its own rounding mode.
    unsigned mxcsr = 0x1f80 | (unsigned)(seed % 4) << 13, mxcsr_now;
    unsigned short control = (unsigned short)(0x37f & ~0xc00) | (unsigned short)((seed % 4) << 10);
    unsigned short control_now;
    long wrong = 0;

    __asm__ volatile("ldmxcsr %0; fldcw %1" : : "m"(mxcsr), "m"(control));
    for (uint64_t i = 0; now_ns() < until_ns; i++) {
        wrong += keep_vectors(seed * 1000 + i, i % 3 == 0);
        if (i % 50 == 0) {
            sleep_ms(1);
        }
        __asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(mxcsr_now), "=m"(control_now));
        wrong += (mxcsr_now & 0xffc0) != mxcsr;
        wrong += control_now != control;
        rounds++;
    }
    return (void *)wrong;
}

int main(void)
{
    pthread_t threads[THREADS];
    unsigned eax, ebx, ecx, edx;
    long wrong = 0;

    scratch();
    __cpuid(1, eax, ebx, ecx, edx);
    has_avx = (ecx & bit_AVX) != 0 && (ecx & bit_OSXSAVE) != 0;
    until_ns = now_ns() + 1500000000;
    for (long i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, body, (void *)(i + 1));
    }
    // And processes, so that address spaces change as well.
    int children = 0;
    for (long i = 0; i < 2; i++) {
        if (fork() == 0) {
            _exit(body((void *)(i + 20)) != NULL);
        }
        children++;
    }
    for (int i = 0; i < THREADS; i++) {
        void *result;
        pthread_join(threads[i], &result);
        wrong += (long)result;
    }
    for (int i = 0; i < children; i++) {
        int status = -1;
        wait(&status);
        wrong += status != 0;
    }
    CHECK_EQ(wrong, 0);
    CHECK(rounds > 100);
    return check_done();
}
