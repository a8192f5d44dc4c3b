// SPDX-License-Identifier: MIT
// Memory nodes; numa.h has the invariants.

#include "kernel/base/numa.h"

#include "kernel/base/acpi_tables.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include <linux/errno.h>

void numa_init(struct numa *numa)
{
    *numa = (struct numa){};
}

int numa_node_of_domain(struct numa *numa, uint32_t domain, uint32_t *node)
{
    for (uint32_t i = 0; i < numa->node_count; i++) {
        if (numa->domains[i] == domain) {
            *node = i;
            return 0;
        }
    }
    if (numa->node_count == NUMA_NODES_MAX) {
        numa->incomplete = true;
        return -ENOSPC;
    }
    *node = numa->node_count;
    numa->domains[numa->node_count++] = domain;
    return 0;
}

int numa_add_memory(struct numa *numa, uint32_t domain, uint64_t start, uint64_t len)
{
    uint32_t node;
    debug_assert(!range_overflows(start, len));
    int error = numa_node_of_domain(numa, domain, &node);
    if (error != 0 || len == 0)
        return error;
    if (numa->span_count == NUMA_SPANS_MAX) {
        numa->incomplete = true;
        return -ENOSPC;
    }
    // Sorted by insertion: there are few.
    uint32_t at = numa->span_count++;
    for (; at > 0 && numa->spans[at - 1].start > start; at--)
        numa->spans[at] = numa->spans[at - 1];
    numa->spans[at] = (struct numa_span){.start = start, .end = start + len, .node = node};
    return 0;
}

// Do two nodes claim the same address? The spans are sorted by start.
static bool spans_contradict(const struct numa *numa)
{
    for (uint32_t i = 0; i < numa->span_count; i++) {
        // Spans of one node may overlap, so a later one need not be the direct neighbour.
        for (uint32_t j = i + 1; j < numa->span_count; j++) {
            if (numa->spans[j].start >= numa->spans[i].end)
                break;
            if (numa->spans[j].node != numa->spans[i].node)
                return true;
        }
    }
    return false;
}

// Makes N2 and N3 true: a span begins where its node's memory does, and ends where another node's
// begins.
static void spans_close(struct numa *numa)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < numa->span_count; i++) {
        const uint32_t node = numa->spans[i].node;
        const uint64_t start = count == 0 ? 0 : ALIGN_DOWN(numa->spans[i].start, NUMA_SPAN_ALIGN);
        // The piece that they share is all that the one below had.
        if (count > 0 && numa->spans[count - 1].start == start)
            count--;
        if (count > 0 && numa->spans[count - 1].node == node)
            continue;
        numa->spans[count++] = (struct numa_span){.start = start, .end = UINT64_MAX, .node = node};
    }
    if (count == 0)
        numa->spans[count++] = (struct numa_span){.end = UINT64_MAX};
    for (uint32_t i = 0; i + 1 < count; i++)
        numa->spans[i].end = numa->spans[i + 1].start;
    numa->span_count = count;
}

static void distances_fill(struct numa *numa, const struct acpi_slit *slit)
{
    for (uint32_t from = 0; from < numa->node_count; from++) {
        for (uint32_t to = 0; to < numa->node_count; to++) {
            const uint64_t row = numa->domains[from], column = numa->domains[to];
            uint8_t distance = from == to ? NUMA_DISTANCE_LOCAL : NUMA_DISTANCE_REMOTE;
            if (from != to && slit != nullptr && row < slit->count && column < slit->count) {
                uint8_t told = slit->distances[row * slit->count + column];
                // 10 between different nodes is allowed by the table, but says nothing.
                distance = told > NUMA_DISTANCE_LOCAL ? told : distance;
            }
            numa->distance[from][to] = distance;
        }
    }
}

int numa_settle(struct numa *numa, const struct acpi_slit *slit)
{
    int error = 0;
    if (numa->incomplete)
        error = -ENOSPC;
    else if (spans_contradict(numa))
        error = -EINVAL;
    if (error != 0)
        numa_init(numa);
    numa->node_count = MAX(numa->node_count, UINT32_C(1));
    spans_close(numa);
    distances_fill(numa, slit);
    debug_assert(numa_is_valid(numa));
    return error;
}

uint32_t numa_node_of(const struct numa *numa, uint64_t address)
{
    uint32_t low = 0, high = numa->span_count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (numa->spans[middle].start <= address)
            low = middle;
        else
            high = middle;
    }
    return numa->spans[low].node;
}

void numa_order(const struct numa *numa, uint32_t node, uint8_t order[NUMA_NODES_MAX])
{
    const uint32_t count = numa->node_count;
    assert(node < count);
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t next = (uint8_t)((node + i) % count);
        uint32_t at = i;
        for (; at > 0 && numa->distance[node][order[at - 1]] > numa->distance[node][next]; at--)
            order[at] = order[at - 1];
        order[at] = next;
    }
}

bool numa_is_valid(const struct numa *numa)
{
    if (numa->node_count < 1 || numa->node_count > NUMA_NODES_MAX)
        return false;
    if (numa->span_count < 1 || numa->spans[0].start != 0)
        return false;
    for (uint32_t i = 0; i < numa->span_count; i++) {
        const struct numa_span *span = &numa->spans[i];
        const bool is_last = i + 1 == numa->span_count;
        if (span->node >= numa->node_count || span->start >= span->end)
            return false;
        if (!IS_ALIGNED(span->start, NUMA_SPAN_ALIGN))
            return false;
        if (span->end != (is_last ? UINT64_MAX : numa->spans[i + 1].start))
            return false;
        if (!is_last && span[0].node == span[1].node)
            return false;
    }
    for (uint32_t from = 0; from < numa->node_count; from++) {
        for (uint32_t to = 0; to < numa->node_count; to++) {
            if ((numa->distance[from][to] == NUMA_DISTANCE_LOCAL) != (from == to) ||
                numa->distance[from][to] < NUMA_DISTANCE_LOCAL)
                return false;
        }
    }
    return true;
}
