// SPDX-License-Identifier: MIT
// Boot protocols, as start.S and efi_stub.c tell them to boot_main().
#pragma once

#define BOOT_PROTOCOL_PVH 1 // information: struct hvm_start_info
// Struct boot_params; with an EFI memory map in it when our own UEFI stub built it
#define BOOT_PROTOCOL_LINUX 2

#define BOOT_STACK_BYTES 16384
#ifndef __ASSEMBLER__
#include "kernel/base/types.h"
// First C code of the kernel, on the boot stack, called once by start.S. `info_phys` is what the
// loader passed.
[[noreturn]] void boot_main(uint32_t protocol, uint64_t info_phys);
extern char boot_stack[], boot_stack_top[];
#endif
