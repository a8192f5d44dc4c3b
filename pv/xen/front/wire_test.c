// SPDX-License-Identifier: MIT
// Unit tests: what comes from xenstore, taken apart; hostile bytes in every place.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "pv/xen/front/wire.h"

static void ring_positions(void **state)
{
    assert_int_equal(store_ring_used(0, 0), 0);
    assert_int_equal(store_ring_used(5, 1), 4);
    assert_int_equal(store_ring_used(3, UINT32_MAX - 1), 5); // wrapped
    assert_int_equal(store_ring_used(1024, 0), 1024);
    assert_int_equal(store_ring_used(1025, 0), -EPROTO);
    assert_int_equal(store_ring_used(0, 1), -EPROTO); // produced less than was consumed
}

// A message arrives whole, byte by byte, and two in one piece.
static void messages_in_pieces(void **state)
{
    char bytes[2 * (sizeof(struct xsd_sockmsg) + 5)];
    const struct xsd_sockmsg header = {.type = XS_READ, .req_id = 7, .len = 5};
    for (size_t i = 0; i < 2; i++) {
        memcpy(bytes + i * (sizeof(header) + 5), &header, sizeof(header));
        memcpy(bytes + i * (sizeof(header) + 5) + sizeof(header), "hello", 5);
    }
    for (size_t step = 1; step <= sizeof(bytes); step++) {
        struct store_receiver receiver = {};
        size_t at = 0, complete = 0;
        while (at < sizeof(bytes)) {
            size_t count = sizeof(bytes) - at < step ? sizeof(bytes) - at : step;
            size_t taken;
            int result = store_receiver_feed(&receiver, bytes + at, count, &taken);
            assert_true(result >= 0 && taken > 0 && taken <= count);
            at += taken;
            if (result == 1) {
                assert_int_equal(receiver.header.req_id, 7);
                assert_string_equal(receiver.payload, "hello");
                complete++;
                store_receiver_reset(&receiver);
            }
        }
        assert_int_equal(complete, 2);
    }
}

static void message_too_long(void **state)
{
    struct store_receiver receiver = {};
    struct xsd_sockmsg header = {.type = XS_READ, .len = STORE_PAYLOAD_MAX + 1};
    size_t taken;
    assert_int_equal(
        store_receiver_feed(&receiver, (char *)&header, sizeof(header), &taken), -EPROTO);
    store_receiver_reset(&receiver);
    header.len = UINT32_MAX;
    assert_int_equal(
        store_receiver_feed(&receiver, (char *)&header, sizeof(header), &taken), -EPROTO);
    // Empty ones and the longest are fine.
    store_receiver_reset(&receiver);
    header.len = 0;
    assert_int_equal(store_receiver_feed(&receiver, (char *)&header, sizeof(header), &taken), 1);
}

static void events(void **state)
{
    const char *path, *token;
    assert_int_equal(store_event_parse("a/b\0007\0", 6, &path, &token), 0);
    assert_string_equal(path, "a/b");
    assert_string_equal(token, "7");
    assert_int_equal(store_event_parse("a/b\0007", 5, &path, &token), -EPROTO); // no end
    assert_int_equal(store_event_parse("a/b", 3, &path, &token), -EPROTO);
    assert_int_equal(store_event_parse("a/b\0", 4, &path, &token), -EPROTO); // no token
    assert_int_equal(store_event_parse("", 0, &path, &token), -EPROTO);
    assert_int_equal(store_event_parse("\0\0", 2, &path, &token), 0);
}

static void errors(void **state)
{
    assert_int_equal(store_error_parse("ENOENT", 7), -ENOENT);
    assert_int_equal(store_error_parse("EAGAIN", 6), -EAGAIN); // without NUL
    assert_int_equal(store_error_parse("ENOENTX", 8), -EIO);
    assert_int_equal(store_error_parse("ENO", 3), -EIO);
    assert_int_equal(store_error_parse("", 0), -EIO);
    assert_int_equal(store_error_parse("0", 2), -EIO);
}

static void strings(void **state)
{
    char text[8];
    assert_int_equal(store_string_parse("abc", 3, text, sizeof(text)), 0);
    assert_string_equal(text, "abc");
    assert_int_equal(store_string_parse("1234567", 7, text, sizeof(text)), 0);
    assert_int_equal(store_string_parse("12345678", 8, text, sizeof(text)), -E2BIG);
    assert_int_equal(store_string_parse("a\0b", 3, text, sizeof(text)), -EPROTO);
    assert_int_equal(store_string_parse("a\nb", 3, text, sizeof(text)), -EPROTO);
    assert_int_equal(store_string_parse("\x80", 1, text, sizeof(text)), -EPROTO);
    assert_int_equal(store_string_parse("\x1b[2J", 4, text, sizeof(text)), -EPROTO);
    assert_int_equal(store_string_parse("", 0, text, sizeof(text)), 0);
}

static int number_of(const char *text, uint64_t max, uint64_t *number)
{
    return store_number_parse(text, strlen(text), max, number);
}

static void numbers(void **state)
{
    uint64_t number = 99;
    assert_int_equal(number_of("0", 0, &number), 0);
    assert_int_equal(number, 0);
    assert_int_equal(number_of("18446744073709551615", UINT64_MAX, &number), 0);
    assert_true(number == UINT64_MAX);
    number = 99;
    static const char *const nonsense[] = {"", "-1", "+1", " 1", "1 ", "0x10", "1e3",
        "18446744073709551615\n", "one", "000000000000000000001"};
    for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
        assert_int_equal(number_of(nonsense[i], UINT64_MAX, &number), -EPROTO);
    }
    assert_int_equal(number_of("18446744073709551616", UINT64_MAX, &number), -ERANGE);
    assert_int_equal(number_of("256", 255, &number), -ERANGE);
    assert_int_equal(number, 99);
}

static void backend_paths(void **state)
{
    assert_int_equal(store_backend_path_check("/local/domain/0/backend/vbd/1/51712", 0), 0);
    assert_int_equal(store_backend_path_check("/local/domain/12/backend/qdisk/1/51712", 12), 0);
    static const char *const wrong[] = {"", "/", "/local/domain/0/backend/",
        "/local/domain/1/backend/vbd/1/2", "/local/domain/00/backend/vbd/1/2",
        "/local/domain/0/backend/vbd//2", "/local/domain/0/backend/vbd/1/",
        "/local/domain/0/backend/../../1/device", "/local/domain/0/backend/v d",
        "/local/domain/0/backend/v%s", "local/domain/0/backend/vbd"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(store_backend_path_check(wrong[i], 0), -EPROTO);
    }
}

static void lists(void **state)
{
    size_t at = 0;
    static const char names[] = "one\0two\0";
    assert_string_equal(store_list_next(names, 8, &at), "one");
    assert_string_equal(store_list_next(names, 8, &at), "two");
    assert_null(store_list_next(names, 8, &at));
    at = 0;
    assert_null(store_list_next("one", 3, &at)); // no end
    at = 0;
    assert_null(store_list_next("\0one\0", 5, &at)); // an empty name
    at = 0;
    assert_null(store_list_next("a/b\0", 4, &at));
    at = 5;
    assert_null(store_list_next("one\0", 4, &at));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ring_positions),
        cmocka_unit_test(messages_in_pieces),
        cmocka_unit_test(message_too_long),
        cmocka_unit_test(events),
        cmocka_unit_test(errors),
        cmocka_unit_test(strings),
        cmocka_unit_test(numbers),
        cmocka_unit_test(backend_paths),
        cmocka_unit_test(lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
