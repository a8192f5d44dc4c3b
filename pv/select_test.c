// SPDX-License-Identifier: MIT
// Claim: identity and features are separate: whatever CPUID says, the operations are complete, and
// come from native, the backend and its features that are on, in this order; each feature that is
// off says why. Method: tables and CPUID leaves made up here, one with what QEMU 7.2 and Linux 6.1
// gave.
#include "pv/select.h"

#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"
#include "kernel/base/string.h"

#include <linux/kvm_para.h>

#define HYPERVISOR_BIT BIT(31)

struct leaf {
    uint32_t number;
    struct pv_cpuid value;
};

static struct leaf leaves[16];
static size_t leaf_count;
static uint32_t leaves_read;

static struct pv_cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
    leaves_read++;
    for (size_t i = 0; i < leaf_count; i++) {
        if (leaves[i].number == leaf)
            return leaves[i].value;
    }
    return (struct pv_cpuid){0};
}

static void leaf_add(uint32_t number, uint32_t eax, const char *text)
{
    struct pv_cpuid value = {.eax = eax};
    char signature[12] = {0};
    memcpy(signature, text, strnlen(text, sizeof(signature)));
    memcpy(&value.ebx, signature, 4);
    memcpy(&value.ecx, signature + 4, 4);
    memcpy(&value.edx, signature + 8, 4);
    leaves[leaf_count++] = (struct leaf){number, value};
}

static int setup(void **state)
{
    leaf_count = 0;
    leaves_read = 0;
    leaves[leaf_count++] = (struct leaf){1, {.ecx = HYPERVISOR_BIT}};
    return 0;
}

// ---- identity -----------------------------------------------------------------------------------

static void test_recorded(void **state)
{
    leaf_add(0x40000000, 0x40000001, KVM_SIGNATURE);
    leaf_add(0x40000100, 0, "");
    struct pv_identity identity;
    pv_identity_read(&identity, cpuid);
    assert_true(identity.is_guest);
    assert_int_equal(identity.count, 1);
    const struct pv_identity_block *block = pv_identity_find(&identity, KVM_SIGNATURE);
    assert_non_null(block);
    assert_int_equal(block->base, 0x40000000);
    assert_int_equal(block->last, 0x40000001);
    assert_string_equal(block->signature, "KVMKVMKVM");
    assert_null(pv_identity_find(&identity, "XenVMMXenVMM"));
    assert_null(pv_identity_find(&identity, "KVMKVMKV"));
}

static void test_two_interfaces(void **state)
{
    leaf_add(0x40000000, 0x4000000a, "Microsoft Hv");
    leaf_add(0x40000100, 0x40000101, KVM_SIGNATURE);
    struct pv_identity identity;
    pv_identity_read(&identity, cpuid);
    assert_int_equal(identity.count, 2);
    assert_int_equal(pv_identity_find(&identity, KVM_SIGNATURE)->base, 0x40000100);
}

static void test_old_kvm(void **state)
{
    leaf_add(0x40000000, 0, KVM_SIGNATURE); // before Linux 3.9 or so
    struct pv_identity identity;
    pv_identity_read(&identity, cpuid);
    assert_int_equal(pv_identity_find(&identity, KVM_SIGNATURE)->last, 0x40000001);
}

// Without the bit no hypervisor's leaf is read: processors answer with something else.
static void test_no_hypervisor(void **state)
{
    leaves[0].value.ecx = 0;
    leaf_add(0x40000000, 0x40000001, KVM_SIGNATURE);
    struct pv_identity identity;
    pv_identity_read(&identity, cpuid);
    assert_false(identity.is_guest);
    assert_int_equal(identity.count, 0);
    assert_int_equal(leaves_read, 1);
}

static struct prng prng;

static struct pv_cpuid random_cpuid(uint32_t leaf, uint32_t subleaf)
{
    leaves_read++;
    return (struct pv_cpuid){(uint32_t)prng_u64(&prng) >> prng_below(&prng, 32) | leaf,
        (uint32_t)prng_u64(&prng), (uint32_t)prng_u64(&prng), (uint32_t)prng_u64(&prng)};
}

static void test_nonsense(void **state)
{
    leaf_add(0x40000000, 0x3fffffff, KVM_SIGNATURE); // ends before it begins
    struct pv_identity identity;
    pv_identity_read(&identity, cpuid);
    assert_int_equal(identity.count, 0);
    leaves[1].value.eax = 0xffffffff;
    pv_identity_read(&identity, cpuid);
    assert_int_equal(identity.count, 0);
    // The same block everywhere, as some answer leaves that they do not have: one.
    setup(state);
    for (uint32_t base = 0x40000000; base < 0x40000400; base += PV_IDENTITY_STEP)
        leaf_add(base, base + 1, KVM_SIGNATURE);
    pv_identity_read(&identity, cpuid);
    assert_int_equal(identity.count, 1);
    for (int round = 0; round < 20000; round++) {
        leaves_read = 0;
        pv_identity_read(&identity, random_cpuid);
        assert_true(identity.count <= PV_IDENTITY_MAX);
        assert_true(leaves_read <= 2 + PV_IDENTITY_MAX);
        for (uint32_t i = 0; i < identity.count; i++)
            assert_true(identity.blocks[i].last - identity.blocks[i].base < PV_IDENTITY_STEP);
    }
}

// ---- selection ----------------------------------------------------------------------------------

static uint64_t one(void)
{
    return 1;
}

static uint64_t two(void)
{
    return 2;
}

static uint64_t three(void)
{
    return 3;
}

static bool wanted = true, unwanted = false;
static uint32_t starts;
static const char *start_reason; // of the backend

static const char *feature_on(void)
{
    starts++;
    return NULL;
}

static const char *feature_absent(void)
{
    starts++;
    return "not offered";
}

static const char *backend_start(const struct pv_identity *identity)
{
    return start_reason;
}

static bool kvm_detect(const struct pv_identity *identity)
{
    return pv_identity_find(identity, KVM_SIGNATURE) != NULL;
}

static bool always(const struct pv_identity *identity)
{
    return true;
}

static const struct pv_feature native_features[] = {
    {.name = "n", .wanted = &wanted, .start = feature_absent, .ops = {.steal_ns = three}},
};
static const struct pv_feature kvm_features[] = {
    {.name = "a", .wanted = &wanted, .start = feature_on, .ops = {.steal_ns = two}},
    {.name = "b", .wanted = &unwanted, .start = feature_on, .ops = {.steal_ns = three}},
    {.name = "c", .wanted = &wanted, .start = feature_absent, .ops = {.steal_ns = three}},
};
static const struct pv_backend native = {.name = "native",
    .ops = {.clock_ns = one, .steal_ns = one},
    .features = native_features,
    .feature_count = 1};
static const struct pv_backend kvm = {.name = "kvm",
    .detect = kvm_detect,
    .rank = 1,
    .start = backend_start,
    .features = kvm_features,
    .feature_count = 3};
static const struct pv_backend other = {
    .name = "other", .detect = always, .ops = {.clock_ns = two}};
static const struct pv_backend *const backends[] = {&other, &kvm, &native};

static void test_operations(void **state)
{
    struct pv_selection selection;
    struct pv_ops ops = {0};
    leaf_add(0x40000000, 0x40000001, KVM_SIGNATURE);
    pv_select(&selection, &ops, backends, 3, "", cpuid);
    assert_ptr_equal(selection.backend, &kvm); // the higher rank
    assert_int_equal(ops.clock_ns(), 1);
    assert_int_equal(ops.steal_ns(), 2);
    assert_string_equal(selection.why[0][0], "not offered");
    assert_null(selection.why[1][0]);
    assert_non_null(selection.why[1][1]); // its start() was not called
    assert_string_equal(selection.why[1][2], "not offered");
    assert_int_equal(starts, 3);
    assert_ptr_equal(pv_selection_why(&selection, &kvm_features[2]), &selection.why[1][2]);
    assert_null(pv_selection_why(&selection, &(struct pv_feature){0}));
}

static void test_only(void **state)
{
    struct pv_selection selection;
    struct pv_ops ops = {0};
    leaf_add(0x40000000, 0x40000001, KVM_SIGNATURE);
    pv_select(&selection, &ops, backends, 3, "other", cpuid);
    assert_ptr_equal(selection.backend, &other);
    assert_int_equal(ops.clock_ns(), 2);
    ops = (struct pv_ops){0};
    pv_select(&selection, &ops, backends, 3, "native", cpuid);
    assert_ptr_equal(selection.backend, &native);
    assert_int_equal(ops.steal_ns(), 1);
}

static void test_refused(void **state)
{
    struct pv_selection selection;
    struct pv_ops ops = {0};
    leaf_add(0x40000000, 0x40000001, KVM_SIGNATURE);
    start_reason = "broken";
    pv_select(&selection, &ops, backends, 3, "kvm", cpuid);
    start_reason = NULL;
    assert_ptr_equal(selection.backend, &native);
    assert_string_equal(selection.refused, "broken");
    assert_string_equal(selection.refused_name, "kvm");
    assert_int_equal(ops.steal_ns(), 1);
}

int main(void)
{
    prng = host_seed("select_test");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_recorded, setup),
        cmocka_unit_test_setup(test_two_interfaces, setup),
        cmocka_unit_test_setup(test_old_kvm, setup),
        cmocka_unit_test_setup(test_no_hypervisor, setup),
        cmocka_unit_test_setup(test_nonsense, setup),
        cmocka_unit_test_setup(test_operations, setup),
        cmocka_unit_test_setup(test_only, setup),
        cmocka_unit_test_setup(test_refused, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
