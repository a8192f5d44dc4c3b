// SPDX-License-Identifier: MIT
// static_branch.h: the bytes of a place, on and off, with targets before and behind it.
#include "kernel/arch/x86/static_branch.h"

#include "kernel/base/host/host_cmocka.h"

#include <string.h>

static void code_is_a_no_op_or_a_jump(void **state)
{
    static uint8_t memory[1000];
    uint8_t code[STATIC_BRANCH_BYTES];
    struct static_key key = {0};
    for (int at = 0; at < 990; at += 89) {
        struct static_branch_site site = {.code = memory + 500, .target = memory + at, .key = &key};
        arch_static_branch_code(&site, false, code);
        assert_memory_equal(code, ((uint8_t[]){0x0f, 0x1f, 0x44, 0, 0}), sizeof(code));
        arch_static_branch_code(&site, true, code);
        assert_int_equal(code[0], 0xe9);
        int32_t distance;
        memcpy(&distance, code + 1, sizeof(distance));
        assert_int_equal(500 + 5 + distance, at);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(code_is_a_no_op_or_a_jump)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
