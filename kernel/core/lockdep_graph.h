// SPDX-License-Identifier: MIT
// The graph of the lock-order checker: pure data structure, also compiled for the host.
//
// Nodes are lock classes with a nesting level, numbered from 1; an edge A -> B says that B was
// taken while A was held. Edges are only added. Calls that add are serialised by the caller;
// lock_graph_has_edge() may run beside them.
#pragma once

#include "kernel/base/types.h"

#define LOCK_NODES_MAX 1024

struct lock_graph {
    uint64_t edges[LOCK_NODES_MAX][LOCK_NODES_MAX / 64]; // edges[a] bit b: a -> b; atomic
    uint32_t count;                                      // nodes used
};

// Nodes along a path, first and last included.
struct lock_path {
    uint16_t nodes[32];
    uint32_t length; // 0: there is none
};

uint16_t lock_graph_add_node(struct lock_graph *graph); // 0: full
bool lock_graph_has_edge(const struct lock_graph *graph, uint16_t from, uint16_t to);
// Adds the edge; false, with the path to -> ... -> from in *cycle, if it would close a cycle (it is
// not added then).
bool lock_graph_add_edge(
    struct lock_graph *graph, uint16_t from, uint16_t to, struct lock_path *cycle);
// Shortest path from `from` to a node for which wanted() holds, which may be `from` itself.
void lock_graph_find(const struct lock_graph *graph, uint16_t from,
    bool (*wanted)(uint16_t node, const void *context), const void *context,
    struct lock_path *path);
