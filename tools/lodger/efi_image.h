// SPDX-License-Identifier: MIT
//
// EFI images: the kernel's PE file with an initial file system and boot options inside, and a disk
// that firmware boots it from.
#pragma once

#include "tools/lodger/machine.h"

// Writes `output`: the PE file `kernel` (out/VARIANT/lodger.img) with two more sections, .initrd
// and .cmdline, which the kernel's EFI stub looks for. Dies when `kernel` is no PE file with room
// for them.
void efi_image_write(const char *kernel, const uint8_t *initrd, size_t initrd_len_bytes,
    const char *kernel_line, const char *output);

// Writes `output`: a raw disk with a GPT and one EFI system partition (FAT16) whose only file is
// \EFI\BOOT\BOOTX64.EFI, a copy of `image`.
void efi_disk_write(const char *image, const char *output);

// Makes a machine with FIRMWARE_UEFI ready to boot `kernel` (a PE file: out/VARIANT/lodger.img)
// with machine->initrd and machine->append inside the image, from a disk if
// machine->boot_from_disk. The files, and OVMF's variables, are written into `folder` with names
// that begin with `name`.
void efi_prepare_machine(
    struct machine *machine, const char *kernel, const char *folder, const char *name);
// The same for a kernel that is not ours: only OVMF's variables.
void efi_prepare_vars(struct machine *machine, const char *folder, const char *name);
