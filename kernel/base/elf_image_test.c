// SPDX-License-Identifier: MIT
//
// elf_image.h: headers built here, broken one field at a time; the test's own program, and random
// damage to both.
#include "kernel/base/elf_image.h"

#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"

#include <errno.h>
#include <linux/elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADERS_MAX 40
#define FILE_SIZE   0x10000ul

struct program {
    Elf64_Ehdr file;
    Elf64_Phdr headers[HEADERS_MAX];
};

static void add(struct program *program, Elf64_Phdr header)
{
    program->headers[program->file.e_phnum++] = header;
}

// Text, data with bss, interpreter, stack, headers.
static struct program make_program(void)
{
    struct program program = {
        .file =
            {
                .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                .e_type = ET_EXEC,
                .e_machine = EM_X86_64,
                .e_entry = 0x401000,
                .e_phoff = sizeof(Elf64_Ehdr),
                .e_phentsize = sizeof(Elf64_Phdr),
            },
    };
    add(&program, (Elf64_Phdr){.p_type = PT_LOAD,
                      .p_flags = PF_R | PF_X,
                      .p_offset = 0,
                      .p_vaddr = 0x400000,
                      .p_filesz = 0x2000,
                      .p_memsz = 0x2000,
                      .p_align = 0x1000});
    add(&program, (Elf64_Phdr){.p_type = PT_LOAD,
                      .p_flags = PF_R | PF_W,
                      .p_offset = 0x2100,
                      .p_vaddr = 0x403100,
                      .p_filesz = 0x100,
                      .p_memsz = 0x5000,
                      .p_align = 0x200000});
    add(&program, (Elf64_Phdr){.p_type = PT_INTERP, .p_offset = 0x1000, .p_filesz = 28});
    add(&program, (Elf64_Phdr){.p_type = PT_GNU_STACK, .p_flags = PF_R | PF_W});
    return program;
}

static int parse(const struct program *program, struct elf_image *image)
{
    const char *reason = nullptr;
    // Of exactly the size that is asked for, so that ASan sees what is read outside.
    size_t headers_size;
    int error = elf_image_headers_size(program, sizeof(*program), &headers_size, &reason);
    if (error == 0) {
        assert_true(headers_size >= sizeof(Elf64_Ehdr));
        uint8_t *bytes = calloc(1, headers_size);
        assert_non_null(bytes);
        memcpy(bytes, program, MIN(headers_size, sizeof(*program)));
        error = elf_image_parse(bytes, headers_size, FILE_SIZE, image, &reason);
        free(bytes);
    }
    assert_int_equal(error == 0, reason == nullptr);
    return error;
}

static void program_is_described(void **state)
{
    struct program program = make_program();
    struct elf_image image;

    assert_int_equal(parse(&program, &image), 0);
    assert_false(image.is_position_independent);
    assert_int_equal(image.entry, 0x401000);
    assert_int_equal(image.segment_count, 2);
    assert_int_equal(image.segments[1].vaddr, 0x403100);
    assert_int_equal(image.segments[1].mem_size, 0x5000);
    assert_int_equal(image.segments[1].file_offset, 0x2100);
    assert_int_equal(image.segments[1].file_size, 0x100);
    assert_int_equal(image.segments[1].flags, PF_R | PF_W);
    assert_int_equal(image.span_start, 0x400000);
    assert_int_equal(image.span_end, 0x409000);
    assert_int_equal(image.alignment, 0x200000);
    assert_int_equal(image.headers_vaddr, 0x400040);
    assert_int_equal(image.header_count, 4);
    assert_true(image.has_interp);
    assert_int_equal(image.interp_offset, 0x1000);
    assert_int_equal(image.interp_size, 28);
    assert_true(image.has_stack_flags);
    assert_int_equal(image.stack_flags, PF_R | PF_W);
}

#define refuse(change)                                                                             \
    do {                                                                                           \
        struct program program = make_program();                                                   \
        struct elf_image image;                                                                    \
        change;                                                                                    \
        assert_int_equal(parse(&program, &image), -ENOEXEC);                                       \
    } while (0)

#define accept(change)                                                                             \
    do {                                                                                           \
        struct program program = make_program();                                                   \
        struct elf_image image;                                                                    \
        change;                                                                                    \
        assert_int_equal(parse(&program, &image), 0);                                              \
    } while (0)

static void bad_file_headers_are_refused(void **state)
{
    refuse(program.file.e_ident[0] = 0x7e);
    refuse(program.file.e_ident[EI_CLASS] = ELFCLASS32);
    refuse(program.file.e_ident[EI_DATA] = ELFDATA2MSB);
    refuse(program.file.e_machine = EM_386);
    refuse(program.file.e_type = ET_REL);
    refuse(program.file.e_type = ET_CORE);
    refuse(program.file.e_phentsize = 32);
    refuse(program.file.e_phnum = 0);
    refuse(program.file.e_phnum = 0xffff);
    refuse(program.file.e_phoff = 0xffffffff);
    refuse(program.file.e_phoff = UINT64_MAX - 100);
    refuse(program.file.e_entry = 0);
    refuse(program.file.e_entry = 0x403100); // in the data
    refuse(program.file.e_entry = 0x402000); // just behind the text
    accept(program.file.e_entry = 0x401fff);
    accept(program.file.e_type = ET_DYN);
}

static void bad_segments_are_refused(void **state)
{
    refuse(program.headers[1].p_vaddr = 0x401100);           // overlaps
    refuse(program.headers[1].p_vaddr = 0x3f0100);           // out of order
    refuse(program.headers[1].p_vaddr = 0x403101);           // not where the offset is in a page
    refuse(program.headers[1].p_vaddr = 0x7fffffffa100);     // ends behind the limit
    refuse(program.headers[1].p_vaddr = 0xffffffff80000100); // kernel
    refuse(program.headers[1].p_vaddr = 0x0000900000000100); // not canonical
    refuse(program.headers[1].p_vaddr = UINT64_MAX - 0xeff); // wraps
    refuse(program.headers[1].p_memsz = UINT64_MAX);
    refuse(program.headers[1].p_memsz = 0xff); // less than the file's part
    refuse(program.headers[1].p_filesz = UINT64_MAX);
    refuse(program.headers[1].p_memsz = 0);
    refuse(program.headers[1].p_offset = FILE_SIZE + 0x100);
    refuse(program.headers[1].p_offset = UINT64_MAX - 0xeff);
    refuse(program.headers[1].p_align = 0x3000);
    refuse(program.headers[1].p_align = BIT(63));
    accept(program.headers[1].p_align = 0);
    accept(program.headers[1].p_align = 1);
    // The next page's beginning and the last one's end may meet in a page.
    accept((program.headers[0].p_memsz = 0x3100, program.headers[1].p_offset = 0x2100));
    // Nothing but bss: whatever the offset is.
    accept((program.headers[1].p_filesz = 0, program.headers[1].p_offset = FILE_SIZE + 7));
    refuse(program.headers[0].p_type = PT_NULL); // entry lies nowhere
    refuse((program.headers[0].p_type = PT_NULL, program.headers[1].p_type = PT_NULL));
    accept((program.headers[1].p_memsz = 0, program.headers[1].p_filesz = 0));
}

static void bad_interpreters_are_refused(void **state)
{
    refuse(program.headers[2].p_filesz = 0);
    refuse(program.headers[2].p_filesz = 1);
    refuse(program.headers[2].p_filesz = ELF_IMAGE_INTERP_MAX + 1);
    refuse(program.headers[2].p_offset = FILE_SIZE - 27);
    refuse(program.headers[2].p_offset = UINT64_MAX);
    refuse(program.headers[3] = program.headers[2]); // two of them
    accept(program.headers[2].p_offset = FILE_SIZE - 28);
    accept(program.headers[2].p_filesz = 2);
    accept(program.headers[2].p_filesz = ELF_IMAGE_INTERP_MAX);
}

static void segments_are_limited(void **state)
{
    struct program program = make_program();
    struct elf_image image;
    for (uint64_t i = 0; i < HEADERS_MAX - 4; i++) {
        bool fits = i + 2 < ELF_IMAGE_SEGMENTS_MAX;
        add(&program, (Elf64_Phdr){.p_type = PT_LOAD,
                          .p_flags = PF_R,
                          .p_vaddr = 0x10000000 + i * 0x1000,
                          .p_memsz = 0x1000,
                          .p_align = 0x1000});
        assert_int_equal(parse(&program, &image), fits ? 0 : -ENOEXEC);
    }
}

static void headers_outside_segments_have_no_address(void **state)
{
    struct program program = make_program();
    struct elf_image image;
    program.headers[0].p_offset = 0x3000;
    assert_int_equal(parse(&program, &image), 0);
    assert_int_equal(image.headers_vaddr, 0);
}

// A segment may begin with the program headers instead of the file's.
// Headers may end exactly where the limit is, and not a byte further.
static void headers_are_limited(void **state)
{
    static uint8_t bytes[ELF_IMAGE_HEADERS_MAX + 1];
    struct program program = make_program();
    struct elf_image image;
    size_t headers_size;
    size_t len = program.file.e_phnum * sizeof(Elf64_Phdr);

    program.file.e_phoff = ELF_IMAGE_HEADERS_MAX - len;
    memcpy(bytes, &program.file, sizeof(program.file));
    memcpy(bytes + program.file.e_phoff, program.headers, len);
    assert_int_equal(elf_image_headers_size(bytes, sizeof(bytes), &headers_size, nullptr), 0);
    assert_int_equal(headers_size, ELF_IMAGE_HEADERS_MAX);
    assert_int_equal(
        elf_image_parse(bytes, ELF_IMAGE_HEADERS_MAX, sizeof(bytes), &image, nullptr), 0);
    program.file.e_phoff++;
    memcpy(bytes, &program.file, sizeof(program.file));
    assert_int_equal(
        elf_image_headers_size(bytes, sizeof(bytes), &headers_size, nullptr), -ENOEXEC);
}

static void headers_at_the_beginning_of_a_segment_are_found(void **state)
{
    struct program program = make_program();
    struct elf_image image;
    program.headers[0].p_offset = sizeof(Elf64_Ehdr);
    program.headers[0].p_vaddr = 0x400000 + sizeof(Elf64_Ehdr);
    assert_int_equal(parse(&program, &image), 0);
    assert_int_equal(image.headers_vaddr, 0x400040);
}

static void short_buffers_are_refused(void **state)
{
    struct program program = make_program();
    struct elf_image image;
    size_t size = sizeof(Elf64_Ehdr) + 4 * sizeof(Elf64_Phdr);
    size_t headers_size;
    for (size_t len = 0; len < size; len++) {
        uint8_t *bytes = malloc(MAX(len, 1ul));
        assert_non_null(bytes);
        memcpy(bytes, &program, len);
        assert_int_equal(elf_image_parse(bytes, len, FILE_SIZE, &image, nullptr), -ENOEXEC);
        int error = elf_image_headers_size(bytes, len, &headers_size, nullptr);
        assert_int_equal(error, len < sizeof(Elf64_Ehdr) ? -ENOEXEC : 0);
        free(bytes);
    }
    assert_int_equal(headers_size, size);
    assert_int_equal(elf_image_parse(&program, size, FILE_SIZE, &image, nullptr), 0);
}

static void real_program_is_accepted(void **state)
{
    static uint8_t bytes[65536];
    struct elf_image image;
    const char *reason = "";
    FILE *file = fopen("/proc/self/exe", "rb");
    assert_non_null(file);
    size_t len = fread(bytes, 1, sizeof(bytes), file);
    fseek(file, 0, SEEK_END);
    uint64_t size = (uint64_t)ftell(file);
    fclose(file);
    assert_int_equal(elf_image_parse(bytes, len, size, &image, &reason), 0);
    assert_true(image.is_position_independent);
    assert_true(image.has_interp);
    assert_true(image.headers_vaddr != 0);
}

static void damage_does_no_harm(void **state)
{
    struct prng prng = host_seed(__func__);
    for (int round = 0; round < 100000; round++) {
        struct program program = make_program();
        struct elf_image image;
        size_t size = sizeof(Elf64_Ehdr) + 4 * sizeof(Elf64_Phdr);
        for (uint64_t flips = prng_below(&prng, 4) + 1; flips > 0; flips--) {
            ((uint8_t *)&program)[prng_below(&prng, size)] = (uint8_t)prng_u64(&prng);
        }
        if (parse(&program, &image) == 0) {
            assert_true(image.segment_count > 0);
            assert_true(image.span_start < image.span_end);
            assert_true(image.span_end <= ELF_IMAGE_ADDRESS_LIMIT);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(program_is_described),
        cmocka_unit_test(bad_file_headers_are_refused),
        cmocka_unit_test(bad_segments_are_refused),
        cmocka_unit_test(bad_interpreters_are_refused),
        cmocka_unit_test(segments_are_limited),
        cmocka_unit_test(headers_outside_segments_have_no_address),
        cmocka_unit_test(headers_are_limited),
        cmocka_unit_test(headers_at_the_beginning_of_a_segment_are_found),
        cmocka_unit_test(short_buffers_are_refused),
        cmocka_unit_test(real_program_is_accepted),
        cmocka_unit_test(damage_does_no_harm),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
