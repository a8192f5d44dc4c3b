// SPDX-License-Identifier: MIT
//
// Checks the headers of an ELF64 program for x86-64 (System V ABI, chapters 4 and 5) and says what
// to map where. Works on a buffer with the beginning of the file, which may be hostile; nothing is
// mapped or read here.
#pragma once

#include "kernel/base/types.h"

// Limits beyond which a file is refused: bytes of program headers (as Linux), PT_LOAD segments,
// length of the interpreter's path.
#define ELF_IMAGE_HEADERS_MAX  65536
#define ELF_IMAGE_SEGMENTS_MAX 32
#define ELF_IMAGE_INTERP_MAX   4096

// First address that no program may use: the canonical lower half without its last page.
#define ELF_IMAGE_ADDRESS_LIMIT 0x7ffffffff000ul

// A PT_LOAD segment that is not empty; file_size <= mem_size. vaddr and file_offset agree modulo
// PAGE_SIZE, unless file_size is 0: then file_offset is 0 and means nothing.
struct elf_segment {
    uint64_t vaddr;
    uint64_t mem_size;
    uint64_t file_offset;
    uint64_t file_size;
    uint32_t flags; // PF_R | PF_W | PF_X
};

struct elf_image {
    bool is_position_independent; // ET_DYN: all addresses are relative to a base the loader chooses
    uint64_t entry;               // inside an executable segment
    // Ascending by address; they do not overlap, but may share a page, where the later one wins.
    struct elf_segment segments[ELF_IMAGE_SEGMENTS_MAX];
    uint32_t segment_count; // >= 1
    uint64_t span_start;    // first address, rounded down to a page
    uint64_t span_end;      // behind the last address, rounded up to a page
    uint64_t alignment;     // greatest of the segments', a power of two >= PAGE_SIZE
    uint64_t headers_vaddr; // where the program headers are in memory (AT_PHDR); 0 if they are not
                            // loaded
    uint32_t header_count;
    bool has_interp;
    uint64_t interp_offset; // of the path in the file; interp_size counts its terminating 0
    uint64_t interp_size;   // 2 .. ELF_IMAGE_INTERP_MAX
    bool has_stack_flags;   // there is a PT_GNU_STACK
    uint32_t stack_flags;   // PF_* of it
};

// How many bytes from the beginning of the file elf_image_parse needs. `bytes` holds at least the
// ELF header (64 bytes), else -ENOEXEC, as for whatever is no ELF64 program for x86-64. *reason (if
// not NULL) receives a constant string.
[[nodiscard]] int elf_image_headers_size(
    const void *bytes, size_t len, size_t *headers_size, const char **reason);

// Checks everything and fills *image. `bytes` holds the first `len` bytes of a file of file_size
// bytes. 0 or -ENOEXEC with *reason; the contents of *image are meaningless then.
[[nodiscard]] int elf_image_parse(const void *bytes, size_t len, uint64_t file_size,
    struct elf_image *image, const char **reason);
