// SPDX-License-Identifier: MIT
//
// The benchmarks: what each does and what it leaves out.
#include "tools/lodger/bench.h"

#include <string.h>

#define INSTRUCTIONS "instructions"

const struct bench_entry bench_entries[] = {
    {"boot", INSTRUCTIONS, 3000000,
        "Reset to the first instruction of the first program, microvm with PVH, 128 MiB.",
        "The firmware (PVH needs hardly any). If a kernel halts while it boots, the time it waits "
        "counts as instructions."},
    {"boot-accesses", "accesses", 400,
        "Trapped device accesses (ports and registers) in the same boot, to its end.",
        "Accesses that QEMU's accelerator handles itself, such as the local APIC's in KVM."},
    {"image", "bytes", 1500000, "Size of the kernel file that is booted.", ""},
    {"null", INSTRUCTIONS, 100, "One getppid by the SYSCALL instruction itself.",
        "The C library's wrapper."},
    {"clock", INSTRUCTIONS, 45,
        "One clock_gettime(CLOCK_MONOTONIC) through the C library and the vDSO.", ""},
    {"pipe", INSTRUCTIONS, 4000,
        "One byte to another process through a pipe and one back: four calls, two switches.",
        "Wake-ups across CPUs: there is one CPU."},
    {"futex", INSTRUCTIONS, 3000,
        "Two threads hand a turn to each other and back with FUTEX_WAIT and FUTEX_WAKE.",
        "Wake-ups across CPUs."},
    {"fork", INSTRUCTIONS, 40000, "fork, exit of the child at once, wait.", ""},
    {"exec", INSTRUCTIONS, 90000, "fork, execve of a static program that ends at once, wait.",
        "The dynamic linker."},
    {"fault", INSTRUCTIONS, 1500, "First write to an anonymous page: fault, zeroed page, mapping.",
        "QEMU counts each repetition of a REP string instruction; the CPU model has no ERMS, so "
        "that kernels copy and "
        "clear by wider steps."},
    {"open", INSTRUCTIONS, 2000, "open and close of a file on tmpfs.", ""},
    {"stat", INSTRUCTIONS, 1400, "stat of a path of four components on tmpfs.",
        "A cold dentry cache."},
    {"epoll", INSTRUCTIONS, 350, "epoll_wait with 1 of 100 descriptors ready.", "Waiting."},
    {"create", INSTRUCTIONS, 6000, "Create and unlink a file in a directory of 1000.", ""},
    {"signal", INSTRUCTIONS, 1300, "A thread's signal to itself: tgkill, handler, sigreturn.", ""},
};
const size_t bench_entry_count = sizeof(bench_entries) / sizeof(bench_entries[0]);

static_assert(sizeof(bench_entries) / sizeof(bench_entries[0]) <= BENCH_MAX);

const struct bench_entry *bench_find(const char *name)
{
    for (size_t i = 0; i < bench_entry_count; i++) {
        if (strcmp(bench_entries[i].name, name) == 0) {
            return &bench_entries[i];
        }
    }
    return NULL;
}
