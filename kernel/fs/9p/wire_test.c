// SPDX-License-Identifier: MIT
// Unit tests of 9P messages: bytes as the protocol lays them out, and answers that cannot be.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "kernel/fs/9p/wire.h"

#include <linux/errno.h>
#include <string.h>
#include <sys/stat.h>

static void a_request_has_the_protocols_layout(void **state)
{
    uint8_t buffer[64];
    struct p9_writer writer;
    p9_message_begin(&writer, buffer, sizeof(buffer), P9_TWALK, 0x0102);
    p9_put_u32(&writer, 0x11223344);
    p9_put_u16(&writer, 1);
    p9_put_text(&writer, "name", 4);
    assert_int_equal(p9_message_end(&writer, 0), 0);
    static const uint8_t expected[] = {
        19, 0, 0, 0, P9_TWALK, 2, 1, 0x44, 0x33, 0x22, 0x11, 1, 0, 4, 0, 'n', 'a', 'm', 'e'};
    assert_int_equal(writer.len, sizeof(expected));
    assert_memory_equal(buffer, expected, sizeof(expected));
    assert_int_equal(p9_message_end(&writer, 4096), 0); // data that follows elsewhere counts
    assert_int_equal(buffer[0] | buffer[1] << 8, 19 + 4096);
}

static void a_request_that_does_not_fit_is_refused(void **state)
{
    uint8_t buffer[16];
    struct p9_writer writer;
    p9_message_begin(&writer, buffer, sizeof(buffer), P9_TWALK, 0);
    p9_put_text(&writer, "12345678", 8);
    p9_put_u8(&writer, 0);
    assert_int_equal(p9_message_end(&writer, 0), -ENAMETOOLONG);
    p9_message_begin(&writer, buffer, sizeof(buffer), P9_TWALK, 0);
    p9_put_text(&writer, "", 65536);
    assert_int_equal(p9_message_end(&writer, 0), -ENAMETOOLONG);
}

// An answer in `buffer`: its length.
static uint32_t answer(uint8_t *buffer, uint32_t size, unsigned type, uint16_t tag,
    const void *body, uint32_t body_bytes)
{
    struct p9_writer writer;
    p9_message_begin(&writer, buffer, size, (enum p9_type)type, tag);
    for (uint32_t i = 0; i < body_bytes; i++)
        p9_put_u8(&writer, ((const uint8_t *)body)[i]);
    assert_int_equal(p9_message_end(&writer, 0), 0);
    return writer.len;
}

static void answers_are_matched(void **state)
{
    uint8_t buffer[64];
    struct p9_reader reader;
    const uint32_t len = answer(buffer, sizeof(buffer), P9_TCLUNK + 1, 5, "", 0);
    assert_int_equal(p9_reply_begin(&reader, buffer, 64, len, P9_TCLUNK, 5), 0);
    assert_int_equal(reader.left, 0);
    assert_int_equal(p9_reply_begin(&reader, buffer, 64, len, P9_TCLUNK, 6), -EIO);     // tag
    assert_int_equal(p9_reply_begin(&reader, buffer, 64, len, P9_TWALK, 5), -EIO);      // type
    assert_int_equal(p9_reply_begin(&reader, buffer, 64, len + 1, P9_TCLUNK, 5), -EIO); // length
    for (uint32_t short_len = 0; short_len < len; short_len++)
        assert_int_equal(p9_reply_begin(&reader, buffer, 64, short_len, P9_TCLUNK, 5), -EIO);
}

static void errors_of_the_server_are_errnos(void **state)
{
    static const struct {
        uint32_t number;
        int expected;
    } table[] = {{ENOENT, -ENOENT}, {4095, -4095}, {0, -EIO}, {4096, -EIO}, {UINT32_MAX, -EIO}};
    uint8_t buffer[32];
    struct p9_reader reader;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const uint32_t len = answer(buffer, sizeof(buffer), P9_RLERROR, 1, &table[i].number, 4);
        assert_int_equal(p9_reply_begin(&reader, buffer, 32, len, P9_TREAD, 1), table[i].expected);
    }
    const uint32_t len = answer(buffer, sizeof(buffer), P9_RLERROR, 1, "ab", 2);
    assert_int_equal(p9_reply_begin(&reader, buffer, 32, len, P9_TREAD, 1), -EIO);
}

static void a_reader_turns_bad_and_stays_so(void **state)
{
    static const uint8_t data[] = {3, 0, 'a', 'b'};
    struct p9_reader reader = {.data = data, .left = sizeof(data)};
    const char *text;
    assert_int_equal(p9_get_text(&reader, &text), 0); // three bytes promised, two there
    assert_null(text);
    assert_int_equal(p9_get_u8(&reader), 0);
    assert_int_equal(p9_reader_end(&reader), -EIO);
}

static uint32_t put_attributes(
    uint8_t *buffer, uint32_t size, uint32_t mode, uint64_t file_bytes, uint64_t nanoseconds)
{
    struct p9_writer writer;
    p9_message_begin(&writer, buffer, size, P9_TGETATTR, 0);
    writer.len = 0; // the body alone
    p9_put_u64(&writer, P9_GETATTR_BASIC);
    p9_put_u8(&writer, 0);
    p9_put_u32(&writer, 9);
    p9_put_u64(&writer, 77);
    p9_put_u32(&writer, mode);
    p9_put_u32(&writer, 1000);
    p9_put_u32(&writer, 100);
    p9_put_u64(&writer, 2);
    p9_put_u64(&writer, 0);
    p9_put_u64(&writer, file_bytes);
    p9_put_u64(&writer, 4096);
    p9_put_u64(&writer, 8);
    for (int i = 0; i < 3; i++) {
        p9_put_u64(&writer, (uint64_t)(i - 1)); // one second before 1970 and after
        p9_put_u64(&writer, nanoseconds);
    }
    return writer.len;
}

static int read_attributes(uint8_t *buffer, uint32_t len, struct p9_attributes *attributes)
{
    struct p9_reader reader = {.data = buffer, .left = len};
    p9_get_attributes(&reader, attributes);
    return p9_reader_end(&reader);
}

static void attributes_are_checked(void **state)
{
    uint8_t buffer[256];
    struct p9_attributes attributes;
    uint32_t len = put_attributes(buffer, sizeof(buffer), S_IFREG | 0644, 12345, 5);
    assert_int_equal(read_attributes(buffer, len, &attributes), 0);
    assert_int_equal(attributes.size_bytes, 12345);
    assert_int_equal(attributes.qid.path, 77);
    assert_int_equal(attributes.nlink, 2);
    assert_int_equal(attributes.atime_ns, -999999995);
    assert_int_equal(attributes.ctime_ns, 1000000005);
    for (uint32_t short_len = 0; short_len < len; short_len++)
        assert_int_equal(read_attributes(buffer, short_len, &attributes), -EIO);
    len = put_attributes(buffer, sizeof(buffer), 0644, 0, 0); // no type
    assert_int_equal(read_attributes(buffer, len, &attributes), -EIO);
    len = put_attributes(buffer, sizeof(buffer), S_IFREG, UINT64_MAX, 0);
    assert_int_equal(read_attributes(buffer, len, &attributes), -EIO);
    len = put_attributes(buffer, sizeof(buffer), S_IFREG, 0, 1000000000);
    assert_int_equal(read_attributes(buffer, len, &attributes), -EIO);
}

static uint32_t put_entry(uint8_t *buffer, const char *name, uint16_t name_len)
{
    struct p9_writer writer;
    p9_message_begin(&writer, buffer, 512, P9_TREADDIR, 0);
    writer.len = 0;
    p9_put_u8(&writer, P9_QID_DIRECTORY);
    p9_put_u32(&writer, 0);
    p9_put_u64(&writer, 42);
    p9_put_u64(&writer, 3);
    p9_put_u8(&writer, 4);
    p9_put_text(&writer, name, name_len);
    return writer.len;
}

static void entries_have_names(void **state)
{
    uint8_t buffer[512];
    char long_name[300];
    struct p9_entry entry;
    memset(long_name, 'x', sizeof(long_name));
    uint32_t len = put_entry(buffer, "usr", 3);
    assert_int_equal(p9_entry_read(buffer, len, &entry), len);
    assert_int_equal(entry.next, 3);
    assert_memory_equal(entry.name, "usr", 3);
    assert_int_equal(p9_entry_read(buffer, 0, &entry), 0);
    for (uint32_t short_len = 1; short_len < len; short_len++)
        assert_int_equal(p9_entry_read(buffer, short_len, &entry), -EIO);
    len = put_entry(buffer, long_name, 255);
    assert_int_equal(p9_entry_read(buffer, len, &entry), len);
    len = put_entry(buffer, long_name, 256);
    assert_int_equal(p9_entry_read(buffer, len, &entry), -EIO);
    len = put_entry(buffer, "", 0);
    assert_int_equal(p9_entry_read(buffer, len, &entry), -EIO);
    len = put_entry(buffer, "a/b", 3);
    assert_int_equal(p9_entry_read(buffer, len, &entry), -EIO);
    len = put_entry(buffer, "a\0b", 3);
    assert_int_equal(p9_entry_read(buffer, len, &entry), -EIO);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_has_the_protocols_layout),
        cmocka_unit_test(a_request_that_does_not_fit_is_refused),
        cmocka_unit_test(answers_are_matched),
        cmocka_unit_test(errors_of_the_server_are_errnos),
        cmocka_unit_test(a_reader_turns_bad_and_stays_so),
        cmocka_unit_test(attributes_are_checked),
        cmocka_unit_test(entries_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
