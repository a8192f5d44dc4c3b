// SPDX-License-Identifier: MIT
//
// The kernel's ELF file: what the collector has to know of it.
#pragma once

#include "tools/lodger/util.h"

struct kernel_elf {
    char *path; // absolute
    uint8_t build_id[20];
    unsigned build_id_bytes; // 0: none
    // Where `.text` lies, and the address of perf_export_descriptor; 0: there is none.
    uint64_t text_start, text_end;
    uint64_t descriptor;
};

// Reads the file. Returns 0 or a negative errno (-ENOEXEC: no ELF file, -ENOENT: none, or one
// without what is needed).
[[nodiscard]] int kernel_elf_read(const char *path, struct kernel_elf *elf);
void kernel_elf_free(struct kernel_elf *elf);

// Build-id of any ELF file in memory. Returns its length, 0: it has none.
unsigned elf_build_id(const void *image, size_t len_bytes, uint8_t build_id[static 20]);

// Looks for the kernel with this build-id: `hint` (may be NULL), this tree's builds, perf's cache
// of build-ids. Returns 0 or -ENOENT.
[[nodiscard]] int kernel_elf_find(
    const char *hint, const uint8_t *build_id, unsigned build_id_bytes, struct kernel_elf *elf);

// The 40 hexadecimal digits of a build-id; a static buffer.
const char *build_id_text(const uint8_t *build_id, unsigned build_id_bytes);
