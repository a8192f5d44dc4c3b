// SPDX-License-Identifier: MIT
// The graph of the lock-order checker: breadth-first search over the bit matrix.
#include "kernel/core/lockdep_graph.h"

#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/base/string.h"

#define WORDS (LOCK_NODES_MAX / 64)

// State of one search. Static: searches are serialised, and it is too large for a stack.
static struct {
    uint64_t seen[WORDS];
    uint16_t queue[LOCK_NODES_MAX];
    uint16_t parent[LOCK_NODES_MAX];
} search;

uint16_t lock_graph_add_node(struct lock_graph *graph)
{
    if (graph->count + 1 >= LOCK_NODES_MAX)
        return 0;
    return (uint16_t)++graph->count;
}

bool lock_graph_has_edge(const struct lock_graph *graph, uint16_t from, uint16_t to)
{
    return (atomic_load_relaxed(&graph->edges[from][to / 64]) >> (to % 64)) & 1;
}

static void path_build(struct lock_path *path, uint16_t from, uint16_t last)
{
    uint32_t length = 1;
    for (uint16_t node = last; node != from; node = search.parent[node])
        length++;
    path->length = MIN(length, (uint32_t)ARRAY_SIZE(path->nodes));
    uint32_t at = length;
    for (uint16_t node = last;; node = search.parent[node]) {
        if (--at < ARRAY_SIZE(path->nodes))
            path->nodes[at] = node;
        if (node == from)
            break;
    }
}

void lock_graph_find(const struct lock_graph *graph, uint16_t from,
    bool (*wanted)(uint16_t node, const void *context), const void *context, struct lock_path *path)
{
    uint32_t head = 0, tail = 0;
    memset(search.seen, 0, sizeof(search.seen));
    path->length = 0;
    search.queue[tail++] = from;
    search.seen[from / 64] |= UINT64_C(1) << (from % 64);
    while (head < tail) {
        uint16_t node = search.queue[head++];
        if (wanted(node, context)) {
            path_build(path, from, node);
            return;
        }
        for (uint32_t word = 0; word < WORDS; word++) {
            uint64_t fresh = atomic_load_relaxed(&graph->edges[node][word]) & ~search.seen[word];
            search.seen[word] |= fresh;
            for (; fresh != 0; fresh &= fresh - 1) {
                uint16_t next = (uint16_t)(word * 64 + bit_lowest(fresh));
                search.parent[next] = node;
                search.queue[tail++] = next;
            }
        }
    }
}

static bool is_node(uint16_t node, const void *context)
{
    return node == *(const uint16_t *)context;
}

bool lock_graph_add_edge(
    struct lock_graph *graph, uint16_t from, uint16_t to, struct lock_path *cycle)
{
    assert(from != 0 && from <= graph->count);
    assert(to != 0 && to <= graph->count);
    cycle->length = 0;
    if (lock_graph_has_edge(graph, from, to))
        return true;
    lock_graph_find(graph, to, is_node, &from, cycle);
    if (cycle->length != 0)
        return false;
    atomic_fetch_or_relaxed(&graph->edges[from][to / 64], UINT64_C(1) << (to % 64));
    return true;
}
