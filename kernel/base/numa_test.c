// SPDX-License-Identifier: MIT
//
// numa.h: what QEMU's tables say; random spans against an array with the node of every piece;
// contradictions and too much of everything; distances; the order of falling back.
#include "kernel/base/numa.h"

#include "kernel/base/acpi_tables.h"
#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"

#include <errno.h>

#define MIB UINT64_C(0x100000)
#define GIB UINT64_C(0x40000000)

static struct numa numa;

static void add(uint32_t domain, uint64_t start, uint64_t len)
{
    assert_int_equal(numa_add_memory(&numa, domain, start, len), 0);
}

static void nothing_is_one_node(void **state)
{
    numa_init(&numa);
    assert_int_equal(numa_settle(&numa, nullptr), 0);
    assert_true(numa_is_valid(&numa));
    assert_int_equal(numa.node_count, 1);
    assert_int_equal(numa_node_of(&numa, 0), 0);
    assert_int_equal(numa_node_of(&numa, UINT64_MAX), 0);
}

// The hole below 640 KiB, the hole for devices, memory of node 1 on both sides of it.
static void qemu_machine(void **state)
{
    const uint8_t distances[] = {10, 17, 31, 10};
    const struct acpi_slit slit = {.distances = distances, .count = 2};
    uint32_t node;
    numa_init(&numa);
    assert_int_equal(numa_node_of_domain(&numa, 0, &node), 0);
    assert_int_equal(node, 0);
    add(1, 4 * GIB, GIB);
    add(0, 0, 640 * 1024);
    add(0, MIB, 2 * GIB - MIB);
    add(1, 2 * GIB, GIB);
    assert_int_equal(numa_settle(&numa, &slit), 0);
    assert_true(numa_is_valid(&numa));
    assert_int_equal(numa.node_count, 2);
    assert_int_equal(numa.span_count, 2);
    assert_int_equal(numa_node_of(&numa, 2 * GIB - 1), 0);
    assert_int_equal(numa_node_of(&numa, 2 * GIB), 1);
    assert_int_equal(numa_node_of(&numa, 5 * GIB), 1);
    assert_int_equal(numa.distance[0][1], 17);
    assert_int_equal(numa.distance[1][0], 31);
}

static void domains_are_numbered_as_heard_of(void **state)
{
    // A table of 4 domains, of which 3 and 1 exist.
    uint8_t distances[16] = {10, 20, 20, 20, 20, 10, 20, 25, 20, 20, 10, 20, 20, 15, 20, 10};
    const struct acpi_slit slit = {.distances = distances, .count = 4};
    uint32_t node;
    numa_init(&numa);
    add(3, 0, GIB);
    add(1, GIB, GIB);
    assert_int_equal(numa_node_of_domain(&numa, 1, &node), 0);
    assert_int_equal(node, 1);
    assert_int_equal(numa_settle(&numa, &slit), 0);
    assert_int_equal(numa.domains[0], 3);
    assert_int_equal(numa.distance[0][1], 15); // from 3 to 1
    assert_int_equal(numa.distance[1][0], 25);
}

static void a_useless_distance_is_not_taken(void **state)
{
    const uint8_t distances[] = {10, 10, 20, 10};
    const struct acpi_slit slit = {.distances = distances, .count = 2};
    numa_init(&numa);
    add(0, 0, GIB);
    add(1, GIB, GIB);
    add(UINT32_MAX, 2 * GIB, GIB); // the table says nothing of it
    assert_int_equal(numa_settle(&numa, &slit), 0);
    assert_true(numa_is_valid(&numa));
    assert_int_equal(numa.distance[0][1], NUMA_DISTANCE_REMOTE);
    assert_int_equal(numa.distance[0][2], NUMA_DISTANCE_REMOTE);
}

static void expect_one_node(int error)
{
    assert_int_equal(numa_settle(&numa, nullptr), error);
    assert_true(numa_is_valid(&numa));
    assert_int_equal(numa.node_count, 1);
    assert_int_equal(numa.span_count, 1);
}

static void contradictions_leave_one_node(void **state)
{
    numa_init(&numa);
    add(0, 0, GIB);
    add(1, GIB - 1, GIB);
    expect_one_node(-EINVAL);
    // Not with its direct neighbour.
    numa_init(&numa);
    add(0, 0, 4 * GIB);
    add(0, GIB, MIB);
    add(1, 3 * GIB, MIB);
    expect_one_node(-EINVAL);
    // One node may say the same twice.
    numa_init(&numa);
    add(0, 0, 2 * GIB);
    add(0, GIB, GIB);
    add(1, 2 * GIB, GIB);
    assert_int_equal(numa_settle(&numa, nullptr), 0);
    assert_int_equal(numa.node_count, 2);
}

static void too_much_leaves_one_node(void **state)
{
    uint32_t node;
    numa_init(&numa);
    for (uint32_t domain = 0; domain < NUMA_NODES_MAX; domain++)
        assert_int_equal(numa_node_of_domain(&numa, domain, &node), 0);
    assert_int_equal(numa_node_of_domain(&numa, NUMA_NODES_MAX, &node), -ENOSPC);
    expect_one_node(-ENOSPC);
    numa_init(&numa);
    for (uint64_t i = 0; i < NUMA_SPANS_MAX; i++)
        add((uint32_t)i & 1, i * GIB, GIB);
    assert_int_equal(numa_add_memory(&numa, 0, 1000 * GIB, GIB), -ENOSPC);
    expect_one_node(-ENOSPC);
}

#define PIECES 64
#define PIECE  (NUMA_SPAN_ALIGN / 4) // spans begin and end inside what one node must have whole

// Disjoint random spans; each aligned piece must belong to the last node that begins in it, and a
// piece in which none begins to the one before.
static void spans_match_an_array(void **state)
{
    struct prng random = host_seed(__func__);
    for (unsigned round = 0; round < 2000; round++) {
        int begins[PIECES]; // the node whose span begins here, or -1
        numa_init(&numa);
        for (uint64_t at = 0; at < PIECES;) {
            const uint64_t len = MIN(1 + prng_below(&random, 9), PIECES - at);
            const uint32_t node = (uint32_t)prng_below(&random, 4);
            const bool is_hole = prng_below(&random, 5) == 0;
            for (uint64_t i = 0; i < len; i++)
                begins[at + i] = -1;
            if (!is_hole) {
                add(node, at * PIECE, len * PIECE);
                begins[at] = (int)node;
            }
            at += len;
        }
        assert_int_equal(numa_settle(&numa, nullptr), 0);
        assert_true(numa_is_valid(&numa));
        int now = -1;
        for (uint64_t at = 0; at < PIECES; at += 4) {
            for (uint64_t i = at; i < at + 4; i++)
                now = begins[i] >= 0 ? begins[i] : now;
            if (now >= 0)
                assert_int_equal(numa.domains[numa_node_of(&numa, at * PIECE)], now);
        }
    }
}

static void order_is_by_distance(void **state)
{
    const uint8_t distances[] = {10, 20, 30, 20, 20, 10, 20, 30, 30, 20, 10, 20, 20, 30, 20, 10};
    const struct acpi_slit slit = {.distances = distances, .count = 4};
    uint8_t order[NUMA_NODES_MAX];
    numa_init(&numa);
    for (uint32_t node = 0; node < 4; node++)
        add(node, node * GIB, GIB);
    assert_int_equal(numa_settle(&numa, &slit), 0);
    const uint8_t expected[4][4] = {{0, 1, 3, 2}, {1, 2, 0, 3}, {2, 3, 1, 0}, {3, 0, 2, 1}};
    for (uint32_t node = 0; node < 4; node++) {
        numa_order(&numa, node, order);
        assert_memory_equal(order, expected[node], 4);
    }
}

static void validation_sees_damage(void **state)
{
    qemu_machine(state);
    const struct numa good = numa;
    numa.spans[1].start += 4096;
    numa.spans[0].end = numa.spans[1].start;
    assert_false(numa_is_valid(&numa));
    numa = good;
    numa.spans[1].node = 2;
    assert_false(numa_is_valid(&numa));
    numa = good;
    numa.spans[1].node = 0;
    assert_false(numa_is_valid(&numa));
    numa = good;
    numa.distance[1][0] = 10;
    assert_false(numa_is_valid(&numa));
    numa = good;
    numa.spans[1].end = 6 * GIB;
    assert_false(numa_is_valid(&numa));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_one_node),
        cmocka_unit_test(qemu_machine),
        cmocka_unit_test(domains_are_numbered_as_heard_of),
        cmocka_unit_test(a_useless_distance_is_not_taken),
        cmocka_unit_test(contradictions_leave_one_node),
        cmocka_unit_test(too_much_leaves_one_node),
        cmocka_unit_test(spans_match_an_array),
        cmocka_unit_test(order_is_by_distance),
        cmocka_unit_test(validation_sees_damage),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
