// SPDX-License-Identifier: MIT
// What the boot loader handed over, in one form for all boot protocols. Filled by
// kernel/arch/x86/boot/ before kernel_main(); all ranges checked there. Read-only afterwards.
#pragma once

#include "kernel/base/memmap.h"
#include "kernel/base/types.h"

struct boot_info {
    const char *protocol;    // "pvh", "linux", "uefi"
    char command_line[4096]; // NUL-terminated
    struct memmap memory;    // normalised
    uint64_t initrd_phys;    // 0 len: none
    uint64_t initrd_len_bytes;
    uint64_t rsdp_phys;         // 0: search not successful or not given
    uint64_t kernel_phys_start; // of the image incl. bss
    uint64_t kernel_phys_end;
};
extern struct boot_info boot_info;

[[noreturn]] void kernel_main(void); // kernel/main.c: start-up in order
