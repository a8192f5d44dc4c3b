// SPDX-License-Identifier: MIT
//
// The first program of a guest, for measuring the boot: its very first instruction reads the time
// stamp counter. Under `-icount shift=0,sleep=off` that counts the instructions since reset, as
// long as nothing waited on the way.
//
//   first          prints `boot TSC`, then ends; as process 1 on a kernel that goes on without it,
//   powers the machine off
#include <stdint.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <unistd.h>

uint64_t first_tsc;

void first_start(void);

// The entry point of the program (BUILD.gn passes it to the linker): the C library's own comes
// after it. EDX holds a function pointer for the C library, so it is kept.
__asm__(".globl first_start\n"
        "first_start:\n"
        "    movq %rdx, %r9\n"
        "    rdtsc\n"
        "    shlq $32, %rdx\n"
        "    orq %rdx, %rax\n"
        "    movq %rax, first_tsc(%rip)\n"
        "    movq %r9, %rdx\n"
        "    jmp _start\n");

int main(void)
{
    printf("boot %llu\n", (unsigned long long)first_tsc);
    fflush(stdout);
    if (getpid() == 1) {
        reboot(RB_POWER_OFF);
    }
    return 0;
}
