// SPDX-License-Identifier: MIT
//
// ELF headers are copied out of the buffer before they are looked at: it has no particular
// alignment, and nobody can change a value between its check and its use.
//
// What the loader may rely on after elf_image_parse, and why each matters:
//   1. Segments ascend and do not overlap: mapping them in order cannot destroy one with another
//      (except inside a page that two of them share, where the later one wins, as in Linux).
//   2. Every address is below ELF_IMAGE_ADDRESS_LIMIT, and start + size does not overflow: a base
//      added by the loader is all that is left to be checked.
//   3. What comes from the file lies inside the file: a program cut off by a full disk or a broken
//      download is refused here, with a reason, not killed by SIGBUS in the middle of its work.
//   4. Address and offset agree within a page: the page cache's pages can be mapped as they are.
//   5. The entry point lies in an executable segment.
#include "kernel/base/elf_image.h"

#include "kernel/base/assert.h"
#include "kernel/base/string.h"

#include <linux/elf.h>
#include <linux/errno.h>

static_assert(sizeof(Elf64_Ehdr) == 64);
static_assert(sizeof(Elf64_Phdr) == 56);

// All refusals have the same error, the one that exec returns; the reason is for people.
static int fail(const char **reason, const char *text)
{
    if (reason != nullptr) {
        *reason = text;
    }
    return -ENOEXEC;
}

// The file header: identity and the place of the program headers.
static int check_file_header(const void *bytes, size_t len, Elf64_Ehdr *header, const char **reason)
{
    if (len < sizeof(*header)) {
        return fail(reason, "shorter than an ELF header");
    }
    memcpy(header, bytes, sizeof(*header));
    if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) {
        return fail(reason, "no ELF file");
    }
    if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB) {
        return fail(reason, "not a 64-bit little-endian ELF file");
    }
    if (header->e_machine != EM_X86_64) {
        return fail(reason, "not for x86-64");
    }
    if (header->e_type != ET_EXEC && header->e_type != ET_DYN) {
        return fail(reason, "not a program (neither ET_EXEC nor ET_DYN)");
    }
    if (header->e_phentsize != sizeof(Elf64_Phdr)) {
        return fail(reason, "program headers have a wrong size");
    }
    if (header->e_phnum == 0 || header->e_phnum * sizeof(Elf64_Phdr) > ELF_IMAGE_HEADERS_MAX) {
        return fail(reason, "no program headers, or too many");
    }
    if (header->e_phoff > ELF_IMAGE_HEADERS_MAX - header->e_phnum * sizeof(Elf64_Phdr)) {
        return fail(reason, "program headers are too far from the beginning");
    }
    return 0;
}

// The caller has read some first piece of the file and wants to know whether that is enough. The
// answer is limited by ELF_IMAGE_HEADERS_MAX, whatever the file says.
int elf_image_headers_size(const void *bytes, size_t len, size_t *headers_size, const char **reason)
{
    Elf64_Ehdr header;
    int error = check_file_header(bytes, len, &header, reason);
    if (error == 0) {
        *headers_size = MAX(sizeof(header), header.e_phoff + header.e_phnum * sizeof(Elf64_Phdr));
    }
    return error;
}

// Appends a PT_LOAD. The order of checks matters: sizes and ends are proved not to overflow
// before they are used in sums.
static int add_segment(
    struct elf_image *image, const Elf64_Phdr *program, uint64_t file_size, const char **reason)
{
    uint64_t alignment = MAX(program->p_align, PAGE_SIZE);

    if (program->p_memsz == 0) {
        return program->p_filesz == 0 ? 0 : fail(reason, "a segment has data but no memory");
    }
    if (program->p_filesz > program->p_memsz) {
        return fail(reason, "a segment has more data than memory");
    }
    if (range_exceeds(program->p_vaddr, program->p_memsz, ELF_IMAGE_ADDRESS_LIMIT)) {
        return fail(reason, "a segment lies outside the address space");
    }
    // Where nothing comes from the file, linkers may give an offset behind its end.
    bool has_data = program->p_filesz > 0;
    if (has_data && range_exceeds(program->p_offset, program->p_filesz, file_size)) {
        return fail(reason, "the file is cut off: a segment lies behind its end");
    }
    if (!IS_POWER_OF_TWO(alignment) || alignment >= ELF_IMAGE_ADDRESS_LIMIT) {
        return fail(reason, "a segment's alignment is no power of two");
    }
    // Otherwise no page of the file could be mapped at that address.
    if (has_data && !IS_ALIGNED(program->p_vaddr - program->p_offset, PAGE_SIZE)) {
        return fail(reason, "a segment's address and offset disagree within a page");
    }
    if (image->segment_count == ELF_IMAGE_SEGMENTS_MAX) {
        return fail(reason, "too many segments");
    }
    if (image->segment_count > 0) {
        const struct elf_segment *last = &image->segments[image->segment_count - 1];
        if (program->p_vaddr < last->vaddr + last->mem_size) {
            return fail(reason, "segments overlap or are not in order");
        }
    }
    image->segments[image->segment_count++] = (struct elf_segment){
        .vaddr = program->p_vaddr,
        .mem_size = program->p_memsz,
        .file_offset = has_data ? program->p_offset : 0,
        .file_size = program->p_filesz,
        .flags = program->p_flags & (PF_R | PF_W | PF_X),
    };
    image->alignment = MAX(image->alignment, alignment);
    return 0;
}

// The path itself is read and checked by the loader; here only its place.
static int set_interp(
    struct elf_image *image, const Elf64_Phdr *program, uint64_t file_size, const char **reason)
{
    if (image->has_interp) {
        return fail(reason, "more than one interpreter");
    }
    if (program->p_filesz < 2 || program->p_filesz > ELF_IMAGE_INTERP_MAX) {
        return fail(reason, "the interpreter's path is empty or too long");
    }
    if (range_exceeds(program->p_offset, program->p_filesz, file_size)) {
        return fail(reason, "the interpreter's path lies behind the end of the file");
    }
    image->has_interp = true;
    image->interp_offset = program->p_offset;
    image->interp_size = program->p_filesz;
    return 0;
}

// Unknown types are no error: PT_NOTE, PT_TLS, PT_GNU_RELRO and the like are for user space.
static int add_program_header(
    struct elf_image *image, const Elf64_Phdr *program, uint64_t file_size, const char **reason)
{
    switch (program->p_type) {
    case PT_LOAD:
        return add_segment(image, program, file_size, reason);
    case PT_INTERP:
        return set_interp(image, program, file_size, reason);
    case PT_GNU_STACK:
        image->has_stack_flags = true;
        image->stack_flags = program->p_flags & (PF_R | PF_W | PF_X);
        return 0;
    default:
        return 0;
    }
}

// Address at which the bytes [offset, offset + size) of the file are in memory, or 0.
static uint64_t address_of_offset(const struct elf_image *image, uint64_t offset, uint64_t size)
{
    for (uint32_t i = 0; i < image->segment_count; i++) {
        const struct elf_segment *segment = &image->segments[i];
        if (offset >= segment->file_offset &&
            !range_exceeds(offset - segment->file_offset, size, segment->file_size)) {
            return segment->vaddr + (offset - segment->file_offset);
        }
    }
    return 0;
}

// Used for the entry point, which would otherwise fault at the first instruction with nothing to
// tell why.
static bool is_executable(const struct elf_image *image, uint64_t address)
{
    for (uint32_t i = 0; i < image->segment_count; i++) {
        const struct elf_segment *segment = &image->segments[i];
        if ((segment->flags & PF_X) != 0 && address >= segment->vaddr &&
            address - segment->vaddr < segment->mem_size) {
            return true;
        }
    }
    return false;
}

// PT_PHDR is not asked where the program headers are in memory: what is loaded there is what
// counts, and address_of_offset finds it whether there is a PT_PHDR or not.
int elf_image_parse(
    const void *bytes, size_t len, uint64_t file_size, struct elf_image *image, const char **reason)
{
    Elf64_Ehdr header;
    int error = check_file_header(bytes, len, &header, reason);
    if (error != 0) {
        return error;
    }
    uint64_t headers_bytes = header.e_phnum * sizeof(Elf64_Phdr);
    if (range_exceeds(header.e_phoff, headers_bytes, len) || len > file_size) {
        return fail(reason, "the file is cut off: program headers are missing");
    }

    *image = (struct elf_image){
        .is_position_independent = header.e_type == ET_DYN,
        .entry = header.e_entry,
        .alignment = PAGE_SIZE,
        .header_count = header.e_phnum,
    };
    for (uint32_t i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr program;
        memcpy(&program, (const uint8_t *)bytes + header.e_phoff + i * sizeof(program),
            sizeof(program));
        error = add_program_header(image, &program, file_size, reason);
        if (error != 0) {
            return error;
        }
    }
    if (image->segment_count == 0) {
        return fail(reason, "nothing to load");
    }
    if (!is_executable(image, image->entry)) {
        return fail(reason, "the entry point is not executable");
    }
    const struct elf_segment *last = &image->segments[image->segment_count - 1];
    image->span_start = ALIGN_DOWN(image->segments[0].vaddr, PAGE_SIZE);
    image->span_end = ALIGN_UP(last->vaddr + last->mem_size, PAGE_SIZE);
    image->headers_vaddr = address_of_offset(image, header.e_phoff, headers_bytes);
    debug_assert(image->span_end > image->span_start);
    debug_assert(image->span_end <= ELF_IMAGE_ADDRESS_LIMIT);
    return 0;
}
