// SPDX-License-Identifier: MIT
//
// cpio.h: archives built here, read back; then cut off at every byte and damaged at random.
#include "kernel/base/cpio.h"

#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct archive {
    uint8_t bytes[8192];
    size_t size;
    size_t start; // of the current archive, for its padding
};

static void pad(struct archive *archive)
{
    while ((archive->size - archive->start) % 4 != 0) {
        archive->bytes[archive->size++] = 0;
    }
}

static void append(struct archive *archive, const void *bytes, size_t len)
{
    assert_true(archive->size + len + 4 <= sizeof(archive->bytes));
    memcpy(archive->bytes + archive->size, bytes, len);
    archive->size += len;
}

static void append_entry(struct archive *archive, const char *magic, const char *name,
    uint32_t mode, const char *data, uint32_t check)
{
    char header[120];
    int len = snprintf(header, sizeof(header),
        "%s%08x%08X%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", magic, 7, mode, 1000, 1001, 2,
        1234567, (unsigned int)strlen(data), 3, 4, 5, 6, (unsigned int)strlen(name) + 1, check);
    assert_int_equal(len, 110);
    append(archive, header, (size_t)len);
    append(archive, name, strlen(name) + 1);
    pad(archive);
    append(archive, data, strlen(data));
    pad(archive);
}

static void append_trailer(struct archive *archive)
{
    append_entry(archive, "070701", "TRAILER!!!", 0, "", 0);
}

static void append_zeros(struct archive *archive, size_t count)
{
    memset(archive->bytes + archive->size, 0, count);
    archive->size += count;
    archive->start = archive->size;
}

// Two archives with padding between and behind.
static void make_archives(struct archive *archive)
{
    *archive = (struct archive){};
    append_entry(archive, "070701", ".", 0040755, "", 0);
    append_entry(archive, "070701", "bin/sh", 0100755, "hello", 0);
    append_entry(archive, "070701", "a", 0120777, "bin/sh", 0);
    append_trailer(archive);
    append_zeros(archive, 301);
    append_entry(archive, "070702", "etc/x", 0100644, "AB", 'A' + 'B');
    append_trailer(archive);
    append_zeros(archive, 512);
}

// Reads to the end; the bytes are a copy of exactly this size, so that ASan sees whatever is read
// outside.
static int read_all(const uint8_t *bytes, size_t size, size_t *count, size_t *error_offset)
{
    struct cpio_reader reader;
    struct cpio_entry entry;
    uint8_t *copy = malloc(MAX(size, 1ul));
    int error;

    assert_non_null(copy);
    memcpy(copy, bytes, size);
    cpio_reader_init(&reader, copy, size);
    *count = 0;
    while ((error = cpio_next(&reader, &entry)) == 0) {
        assert_true(entry.name_len > 0);
        assert_int_equal(strlen(entry.name), entry.name_len);
        assert_true(entry.size <= size);
        (*count)++;
        assert_true(*count <= size);
    }
    assert_int_equal(cpio_next(&reader, &entry), error); // stays where it is
    assert_true(error == -ENOENT || reader.reason != nullptr);
    assert_true(reader.offset <= size);
    *error_offset = reader.offset;
    free(copy);
    return error;
}

static void entries_are_read_back(void **state)
{
    static struct archive archive;
    struct cpio_reader reader;
    struct cpio_entry entry;

    make_archives(&archive);
    cpio_reader_init(&reader, archive.bytes, archive.size);
    assert_int_equal(cpio_next(&reader, &entry), 0);
    assert_string_equal(entry.name, ".");
    assert_int_equal(entry.mode, 0040755);
    assert_int_equal(entry.size, 0);
    assert_int_equal(cpio_next(&reader, &entry), 0);
    assert_string_equal(entry.name, "bin/sh");
    assert_int_equal(entry.name_len, 6);
    assert_int_equal(entry.ino, 7);
    assert_int_equal(entry.uid, 1000);
    assert_int_equal(entry.gid, 1001);
    assert_int_equal(entry.nlink, 2);
    assert_int_equal(entry.mtime, 1234567);
    assert_int_equal(entry.dev_major, 3);
    assert_int_equal(entry.dev_minor, 4);
    assert_int_equal(entry.rdev_major, 5);
    assert_int_equal(entry.rdev_minor, 6);
    assert_int_equal(entry.size, 5);
    assert_memory_equal(entry.data, "hello", 5);
    assert_int_equal(entry.archive, 0);
    assert_int_equal(cpio_next(&reader, &entry), 0);
    assert_memory_equal(entry.data, "bin/sh", 6);
    assert_int_equal(cpio_next(&reader, &entry), 0);
    assert_string_equal(entry.name, "etc/x");
    assert_int_equal(entry.archive, 1);
    assert_int_equal(cpio_next(&reader, &entry), -ENOENT);
    assert_int_equal(cpio_next(&reader, &entry), -ENOENT);
}

static void every_truncation_is_noticed(void **state)
{
    static struct archive archive;
    size_t count;
    size_t offset;

    archive = (struct archive){};
    append_entry(&archive, "070701", "bin/sh", 0100755, "hello", 0);
    size_t second = archive.size;
    append_entry(&archive, "070701", "x", 0100755, "data", 0);
    append_trailer(&archive);
    // The last padding byte behind the trailer's name does not matter.
    for (size_t size = 1; size < archive.size - 3; size++) {
        assert_int_equal(read_all(archive.bytes, size, &count, &offset), -ENODATA);
        assert_true(offset <= size);
        assert_true(size < second || count >= 1);
    }
    assert_int_equal(read_all(archive.bytes, archive.size, &count, &offset), -ENOENT);
    assert_int_equal(count, 2);
    assert_int_equal(read_all(archive.bytes, 0, &count, &offset), -ENOENT);
}

static void check_bad(struct archive *archive, int expected)
{
    size_t count;
    size_t offset;
    append_trailer(archive);
    assert_int_equal(read_all(archive->bytes, archive->size, &count, &offset), expected);
    assert_int_equal(offset, 0); // says which entry it was
}

static void bad_fields_are_refused(void **state)
{
    static struct archive archive;

    archive = (struct archive){};
    append_entry(&archive, "070707", "x", 0, "", 0);
    check_bad(&archive, -EINVAL);

    archive = (struct archive){};
    append_entry(&archive, "070701", "x", 0, "", 0);
    archive.bytes[20] = 'g';
    check_bad(&archive, -EINVAL);

    archive = (struct archive){};
    append_entry(&archive, "070701", "x", 0, "", 0);
    memcpy(archive.bytes + 6, "0x000007", 8);
    check_bad(&archive, -EINVAL);

    archive = (struct archive){};
    append_entry(&archive, "070701", "", 0, "", 0); // name size 1
    check_bad(&archive, -EINVAL);

    archive = (struct archive){};
    append_entry(&archive, "070701", "name", 0, "", 0);
    archive.bytes[111] = '\0'; // a 0 inside the name
    check_bad(&archive, -EINVAL);

    archive = (struct archive){};
    append_entry(&archive, "070701", "name", 0, "data", 0);
    memcpy(archive.bytes + 54, "ffffffff", 8); // file size
    check_bad(&archive, -ENODATA);

    archive = (struct archive){};
    append_entry(&archive, "070701", "name", 0, "data", 0);
    memcpy(archive.bytes + 94, "ffffffff", 8); // name size
    check_bad(&archive, -EINVAL);

    archive = (struct archive){};
    append_entry(&archive, "070702", "name", 0, "data", 1); // checksum
    check_bad(&archive, -EINVAL);
}

static void garbage_does_no_harm(void **state)
{
    struct prng prng = host_seed(__func__);
    static struct archive archive;
    for (int round = 0; round < 20000; round++) {
        size_t count;
        size_t offset;
        make_archives(&archive);
        for (uint64_t flips = prng_below(&prng, 4) + 1; flips > 0; flips--) {
            archive.bytes[prng_below(&prng, archive.size)] = (uint8_t)prng_u64(&prng);
        }
        int error = read_all(archive.bytes, prng_below(&prng, archive.size), &count, &offset);
        assert_true(error == -ENOENT || error == -EINVAL || error == -ENODATA);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_are_read_back),
        cmocka_unit_test(every_truncation_is_noticed),
        cmocka_unit_test(bad_fields_are_refused),
        cmocka_unit_test(garbage_does_no_harm),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
