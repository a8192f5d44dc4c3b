// SPDX-License-Identifier: MIT
// ELF programs: reading headers, placing segments, and the interpreter (the dynamic linker) of
// those that have one. The headers are judged by kernel/base/elf_image.c; here is what it means for
// an address space.
//
// Places, from low to high, as on Linux: the program (at its own address, or at two thirds of the
// address space for position-independent ones), the break behind it, ..., mappings from mmap_base
// downwards, a gap of the stack limit, the stack. All but fixed programs are shifted by random
// amounts.
#include "kernel/arch/x86/arch.h"
#include "kernel/base/string.h"
#include "kernel/core/option.h"
#include "kernel/core/random.h"
#include "kernel/fs/vfs.h"
#include "kernel/process/exec.h"
#include "mm/address_space.h"
#include "mm/slab.h"
#include <linux/elf.h>
#include <linux/personality.h>

#define PIE_BASE           (USER_END / 3 * 2 & PAGE_MASK)
#define PIE_RANDOM_PAGES   (UINT64_C(1) << 28)
#define MMAP_RANDOM_PAGES  (UINT64_C(1) << 28)
#define STACK_RANDOM_PAGES (UINT64_C(1) << 22)
#define BRK_RANDOM_PAGES   (UINT64_C(1) << 13)
#define STACK_GAP_MIN      (UINT64_C(128) << 20)
#define STACK_GAP_MAX      (USER_END / 6 * 5)
#define STACK_GUARD_GAP    (UINT64_C(256) << PAGE_SHIFT)
#define STACK_FIRST_BYTES  (UINT64_C(128) << 10) // mapped beyond what is needed at once

static bool norandmaps;
BOOT_OPTION_BOOL(norandmaps, "norandmaps",
    "Place programs, stacks and mappings at the same addresses each time.");

static uint64_t random_pages(uint64_t limit)
{
    if (norandmaps || (task_current()->personality & ADDR_NO_RANDOMIZE) != 0)
        return 0;
    return random_below(limit) << PAGE_SHIFT;
}

// ---- headers -----------------------------------------------------------------------------------

// Parses the headers of a file of which `head` holds the beginning.
static int parse(struct file *file, const char *head, size_t head_len, struct elf_image **result)
{
    size_t needed;
    int error = elf_image_headers_size(head, head_len, &needed, NULL);
    if (error != 0)
        return error;
    struct elf_image *image = kmalloc(sizeof(*image), 0);
    if (image == NULL)
        return -ENOMEM;
    char *headers = NULL;
    if (needed > head_len) {
        // Rare: the program headers are long or lie far behind.
        headers = kmalloc(needed, 0);
        int64_t got = headers != NULL ? file_read_kernel(file, headers, needed, 0) : -ENOMEM;
        if (got < 0) {
            kfree(headers);
            kfree(image);
            return (int)got;
        }
        head = headers;
        head_len = (size_t)got;
    }
    error = elf_image_parse(head, head_len, vfs_file_size(file), image, NULL);
    kfree(headers);
    if (error == 0)
        *result = image;
    else
        kfree(image);
    return error;
}

static int prepare_interpreter(struct exec_program *program)
{
    const struct elf_image *image = program->image;
    int error = -ENOMEM;
    char *buffer = kmalloc(EXEC_HEAD_BYTES, 0);
    if (buffer == NULL)
        return -ENOMEM;
    int64_t got = file_read_kernel(program->file, buffer, image->interp_size, image->interp_offset);
    if (got != (int64_t)image->interp_size || buffer[image->interp_size - 1] != '\0') {
        error = got < 0 ? (int)got : -ENOEXEC;
        goto out;
    }
    error = vfs_open_exec(AT_FDCWD, buffer, 0, &program->interpreter);
    if (error != 0)
        goto out;
    got = file_read_kernel(program->interpreter, buffer, EXEC_HEAD_BYTES, 0);
    error = got < 0 ? (int)got
                    : parse(program->interpreter, buffer, (size_t)got, &program->interpreter_image);
    if (error == -ENOEXEC)
        error = -ELIBBAD;
out:
    kfree(buffer);
    return error;
}

int elf_prepare(struct exec_program *program)
{
    static_assert(ELF_IMAGE_INTERP_MAX <= EXEC_HEAD_BYTES);
    int error = parse(program->file, program->head, program->head_len_bytes, &program->image);
    if (error == 0 && program->image->has_interp)
        error = prepare_interpreter(program);
    program->executable_stack =
        error == 0 && program->image->has_stack_flags && (program->image->stack_flags & PF_X) != 0;
    return error;
}

void exec_program_release(struct exec_program *program)
{
    if (program->interpreter != NULL)
        file_put(program->interpreter);
    if (program->file != NULL)
        file_put(program->file);
    kfree(program->image);
    kfree(program->interpreter_image);
    kfree(program->head);
}

// ---- mapping -----------------------------------------------------------------------------------

static uint32_t vm_flags(uint32_t elf_flags)
{
    uint32_t flags = VM_MAYWRITE;
    if ((elf_flags & PF_R) != 0)
        flags |= VM_READ;
    if ((elf_flags & PF_W) != 0)
        flags |= VM_WRITE;
    if ((elf_flags & PF_X) != 0)
        flags |= VM_EXEC;
    return flags;
}

static int map_fixed(
    struct address_space *space, struct vm_map_request *request, uintptr_t start, uintptr_t end)
{
    request->address = start;
    request->len_bytes = end - start;
    request->fixed = true;
    int64_t mapped = vm_map(space, request);
    return mapped < 0 ? (int)mapped : 0;
}

static int map_segment(struct address_space *space, struct file *file,
    const struct elf_segment *segment, uintptr_t bias)
{
    uintptr_t start = ALIGN_DOWN(bias + segment->vaddr, PAGE_SIZE);
    uintptr_t file_end = ALIGN_UP(bias + segment->vaddr + segment->file_size, PAGE_SIZE);
    uintptr_t end = ALIGN_UP(bias + segment->vaddr + segment->mem_size, PAGE_SIZE);
    if (segment->file_size == 0) {
        file_end = start;
    } else {
        struct vm_map_request request = {.flags = vm_flags(segment->flags),
            .cache_index = ALIGN_DOWN(segment->file_offset, PAGE_SIZE) >> PAGE_SHIFT};
        if (file->ops->map == NULL)
            return -ENODEV;
        int error = file->ops->map(file, &request);
        if (error == 0)
            error = map_fixed(space, &request, start, file_end);
        if (error != 0)
            return error;
    }
    if (end <= file_end)
        return 0;
    struct vm_map_request zeroes = {.flags = vm_flags(segment->flags)};
    return map_fixed(space, &zeroes, file_end, end);
}

static int map_image(
    struct address_space *space, struct file *file, const struct elf_image *image, uintptr_t bias)
{
    if (image->span_end + bias > USER_END || image->span_end + bias < image->span_end)
        return -ENOMEM;
    for (uint32_t i = 0; i < image->segment_count; i++) {
        int error = map_segment(space, file, &image->segments[i], bias);
        if (error != 0)
            return error;
    }
    return 0;
}

static int map_interpreter(struct exec_program *program)
{
    const struct elf_image *image = program->interpreter_image;
    if (!image->is_position_independent)
        return map_image(program->space, program->interpreter, image, 0);
    // A place for the whole, into which the segments are then mapped.
    struct vm_map_request reserve = {.len_bytes = image->span_end - image->span_start};
    int64_t place = vm_map(program->space, &reserve);
    if (place < 0)
        return (int)place;
    program->interpreter_bias = (uintptr_t)place - image->span_start;
    return map_image(program->space, program->interpreter, image, program->interpreter_bias);
}

static int map_stack(struct exec_program *program, size_t stack_bytes)
{
    struct vm_map_request request = {
        .len_bytes = ALIGN_UP(stack_bytes + STACK_FIRST_BYTES, PAGE_SIZE),
        .flags = VM_READ | VM_WRITE | VM_MAYWRITE | VM_GROWSDOWN,
        .fixed_noreplace = true,
        .label = "[stack]"};
    if (program->executable_stack)
        request.flags |= VM_EXEC;
    request.address = program->stack_top - request.len_bytes;
    program->stack_start = request.address;
    int64_t mapped = vm_map(program->space, &request);
    return mapped < 0 ? (int)mapped : 0;
}

// Where things will be, for the address space's own bookkeeping.
static void place_marks(struct exec_program *program)
{
    struct address_space *space = program->space;
    const struct elf_image *image = program->image;
    space->code_start = UINT64_MAX;
    for (uint32_t i = 0; i < image->segment_count; i++) {
        const struct elf_segment *segment = &image->segments[i];
        uintptr_t start = program->bias + segment->vaddr;
        uintptr_t end = start + segment->file_size;
        if ((segment->flags & PF_X) != 0) {
            space->code_start = MIN(space->code_start, start);
            space->code_end = MAX(space->code_end, end);
        }
        space->data_start = MAX(space->data_start, start);
        space->data_end = MAX(space->data_end, end);
    }
    uintptr_t brk = ALIGN_UP(program->bias + image->span_end, PAGE_SIZE);
    brk += random_pages(BRK_RANDOM_PAGES);
    space->brk_start = brk;
    space->brk_end = brk;
}

int elf_map(struct exec_program *program, uint64_t stack_limit_bytes, size_t stack_bytes)
{
    struct address_space *space = program->space;
    const struct elf_image *image = program->image;
    uint64_t gap = MIN(MAX(stack_limit_bytes, STACK_GAP_MIN), STACK_GAP_MAX);
    gap = ALIGN_UP(gap + STACK_GUARD_GAP, PAGE_SIZE);
    if (!norandmaps && (task_current()->personality & ADDR_NO_RANDOMIZE) == 0)
        gap += STACK_RANDOM_PAGES << PAGE_SHIFT;
    program->stack_top = USER_END - random_pages(STACK_RANDOM_PAGES);
    space->stack_top = program->stack_top;
    space->mmap_base = USER_END - gap - random_pages(MMAP_RANDOM_PAGES);
    space->limit_stack_bytes = stack_limit_bytes;

    if (image->is_position_independent)
        program->bias = ALIGN_DOWN(PIE_BASE + random_pages(PIE_RANDOM_PAGES), image->alignment) -
                        image->span_start;
    int error = map_image(space, program->file, image, program->bias);
    if (error == 0)
        error = map_stack(program, stack_bytes);
    if (error == 0 && program->interpreter != NULL)
        error = map_interpreter(program);
    place_marks(program);
    return error == -EEXIST ? -ENOMEM : error;
}

// The last page of a segment's file content is zero behind it to its end: the dynamic linker's
// first allocations come from there and count on it.
static int clear_tails_of(const struct elf_image *image, uintptr_t bias)
{
    for (uint32_t i = 0; i < image->segment_count; i++) {
        const struct elf_segment *segment = &image->segments[i];
        uintptr_t start = bias + segment->vaddr + segment->file_size;
        uintptr_t end = ALIGN_UP(start, PAGE_SIZE);
        if (segment->file_size == 0 || segment->mem_size == segment->file_size || start == end)
            continue;
        // A segment that can't be written keeps what the file has there: nothing can depend on it
        // (as Linux).
        if (user_clear(start, end - start) != 0 && (segment->flags & PF_W) != 0)
            return -EFAULT;
    }
    return 0;
}

int elf_clear_tails(const struct exec_program *program)
{
    int error = clear_tails_of(program->image, program->bias);
    if (error == 0 && program->interpreter_image != NULL)
        error = clear_tails_of(program->interpreter_image, program->interpreter_bias);
    return error;
}

uintptr_t elf_entry(const struct exec_program *program)
{
    if (program->interpreter_image != NULL)
        return program->interpreter_bias + program->interpreter_image->entry;
    return program->bias + program->image->entry;
}
