// SPDX-License-Identifier: MIT
// build_id.h: files with the note in several places, without it, cut anywhere, and with any byte
// changed.
#include "perf/build_id.h"

#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"

#include <elf.h>
#include <string.h>

struct image {
    uint8_t bytes[1024];
    size_t len;
};

static int64_t read_image(void *file, void *to, size_t len, uint64_t offset)
{
    const struct image *image = file;
    if (offset >= image->len)
        return 0;
    len = MIN(len, image->len - (size_t)offset);
    memcpy(to, image->bytes + offset, len);
    return (int64_t)len;
}

static size_t put_note(uint8_t *at, const char *name, uint32_t type, uint32_t len, uint8_t value)
{
    Elf64_Nhdr note = {.n_namesz = (uint32_t)strlen(name) + 1, .n_descsz = len, .n_type = type};
    size_t name_len = ALIGN_UP(note.n_namesz, 4u);
    memcpy(at, &note, sizeof(note));
    memset(at + sizeof(note), 0, name_len);
    memcpy(at + sizeof(note), name, strlen(name));
    memset(at + sizeof(note) + name_len, value, ALIGN_UP(len, 4u));
    return sizeof(note) + name_len + ALIGN_UP(len, 4u);
}

// Two segments of notes; the build-id is the second note of the second.
static void make_image(struct image *image)
{
    memset(image, 0, sizeof(*image));
    Elf64_Ehdr header = {.e_phoff = 64, .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 3};
    memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    memcpy(image->bytes, &header, sizeof(header));
    size_t first = put_note(image->bytes + 300, "Xen", 3, 20, 7);
    size_t second = put_note(image->bytes + 500, "GNU", 1, 16, 8);
    second += put_note(image->bytes + 500 + second, "GNU", 3, 20, 0xab);
    Elf64_Phdr segments[3] = {{.p_type = PT_LOAD, .p_filesz = 900},
        {.p_type = PT_NOTE, .p_offset = 300, .p_filesz = first},
        {.p_type = PT_NOTE, .p_offset = 500, .p_filesz = second}};
    memcpy(image->bytes + 64, segments, sizeof(segments));
    image->len = 500 + second;
}

static void build_id_is_found(void **state)
{
    struct image image;
    uint8_t build_id[PERF_BUILD_ID_MAX] = {0};
    make_image(&image);
    assert_int_equal(perf_build_id_read(read_image, &image, build_id), 20);
    for (int i = 0; i < 20; i++)
        assert_int_equal(build_id[i], 0xab);
    for (size_t len = 0; len < image.len; len++) {
        struct image cut = image;
        cut.len = len;
        assert_int_equal(perf_build_id_read(read_image, &cut, build_id), 0);
    }
}

static void any_bytes_are_survived(void **state)
{
    struct prng prng = host_seed("any_bytes_are_survived");
    for (int round = 0; round < 50000; round++) {
        struct image image;
        uint8_t build_id[PERF_BUILD_ID_MAX];
        make_image(&image);
        for (int i = 0; i < 4; i++)
            image.bytes[prng_below(&prng, 600)] = (uint8_t)prng_u64(&prng);
        assert_true(perf_build_id_read(read_image, &image, build_id) <= PERF_BUILD_ID_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(build_id_is_found),
        cmocka_unit_test(any_bytes_are_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
