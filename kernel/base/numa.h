// SPDX-License-Identifier: MIT
// Memory nodes: which addresses belong to which node, and how far nodes are from each other. Pure:
// the firmware's tables go in one by one, numa_settle() makes of them something that can be relied
// on, or says that they are contradictory.
//
// Firmware names nodes by proximity domains, any 32-bit numbers; nodes are numbered from 0 in the
// order in which their domains are first heard of (as in Linux, so that both agree on QEMU).
//
// Invariants after numa_settle(), whatever it returned:
//   N1  node_count >= 1; every node number that is given out is below it.
//   N2  The spans are sorted and without gaps: span i reaches to the start of span i + 1, the last
//       to the end of the address space, and the first begins at 0. Neighbours are of different
//       nodes. So every address has exactly one node.
//   N3  Starts of spans are multiples of NUMA_SPAN_ALIGN. Where two nodes meet inside such a piece,
//       it belongs to the upper one.
//   N4  distance[i][i] is NUMA_DISTANCE_LOCAL, all others between existing nodes are greater.
#pragma once

#include "kernel/base/types.h"

struct acpi_slit;

#define NUMA_NODES_MAX       64
#define NUMA_SPANS_MAX       128
#define NUMA_SPAN_ALIGN      (UINT64_C(4) << 20)
#define NUMA_DISTANCE_LOCAL  10 // ACPI 6.5, 5.2.17
#define NUMA_DISTANCE_REMOTE 20 // where no table says anything

struct numa_span {
    uint64_t start;
    uint64_t end; // until numa_settle(); UINT64_MAX then
    uint32_t node;
};

struct numa {
    uint32_t node_count;
    uint32_t span_count;
    bool incomplete; // something did not fit: more nodes or ranges than there is room for
    uint32_t domains[NUMA_NODES_MAX]; // the proximity domain of each node
    struct numa_span spans[NUMA_SPANS_MAX];
    uint8_t distance[NUMA_NODES_MAX][NUMA_NODES_MAX]; // [from][to]
};

// Nothing known.
void numa_init(struct numa *numa);
// The node of a proximity domain, a new one if it was not heard of. -ENOSPC: no room for more.
[[nodiscard]] int numa_node_of_domain(struct numa *numa, uint32_t domain, uint32_t *node);
// The domain has the memory [start, start + len), which does not overflow. -ENOSPC.
[[nodiscard]] int numa_add_memory(struct numa *numa, uint32_t domain, uint64_t start, uint64_t len);
// Everything has been told; `slit` (or NULL) has the distances. 0, or -EINVAL: two nodes claim the
// same memory, -ENOSPC: not all of it fitted. After an error there is one node with everything, and
// node numbers that were given out before are void.
[[nodiscard]] int numa_settle(struct numa *numa, const struct acpi_slit *slit);
// After numa_settle(): the node of an address.
uint32_t numa_node_of(const struct numa *numa, uint64_t address);
// The nodes in the order in which one takes memory: `node` itself, then by distance; among equals
// the next higher number, so that not everybody falls back on node 0. Writes node_count numbers.
void numa_order(const struct numa *numa, uint32_t node, uint8_t order[NUMA_NODES_MAX]);
// N1 to N4.
bool numa_is_valid(const struct numa *numa);
