// SPDX-License-Identifier: MIT
// Claim: an indirect call becomes a direct one to what its slot holds, in the same six bytes;
// anything else is left as it is. Method: code made here, in memory that may be executed.
#include "kernel/arch/x86/call_site.h"

#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"
#include "kernel/base/string.h"

#include <sys/mman.h>

static uint8_t *code;

static int setup(void **state)
{
    code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return code == MAP_FAILED;
}

// At 0: push %rbp; call *slot(%rip); pop %rbp; ret. At 64 and 128: mov $n, %eax; ret.
static struct arch_call_site site_make(void **slot)
{
    static const uint8_t caller[] = {0x55, 0xff, 0x15, 0, 0, 0, 0, 0x5d, 0xc3};
    memcpy(code, caller, sizeof(caller));
    *slot = code + 64;
    for (int i = 1; i <= 2; i++) {
        uint8_t function[] = {0xb8, (uint8_t)i, 0, 0, 0, 0xc3};
        memcpy(code + 64 * i, function, sizeof(function));
    }
    return (struct arch_call_site){code + 1, slot};
}

static void test_rewrite(void **state)
{
    void *slot;
    struct arch_call_site site = site_make(&slot);
    slot = code + 128;
    assert_true(arch_call_site_rewrite(&site));
    assert_int_equal(code[1], 0xe8);
    assert_int_equal(code[6], 0x90);
    assert_int_equal(((int (*)(void))code)(), 2);
    // A second time it is no indirect call any more.
    assert_false(arch_call_site_rewrite(&site));
}

static void test_out_of_reach(void **state)
{
    void *slot;
    struct arch_call_site site = site_make(&slot);
    uint8_t before[16];
    memcpy(before, code, sizeof(before));
    slot = code + (INT64_C(1) << 31) + 64;
    assert_false(arch_call_site_rewrite(&site));
    slot = NULL;
    if ((uintptr_t)code > (UINT64_C(1) << 31) + 64)
        assert_false(arch_call_site_rewrite(&site));
    assert_memory_equal(before, code, sizeof(before));
    slot = code + (INT64_C(1) << 31) - 1;
    assert_true(arch_call_site_rewrite(&site));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_rewrite, setup),
        cmocka_unit_test_setup(test_out_of_reach, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
