// SPDX-License-Identifier: MIT
// Tracepoints by their numbers, and the collector as their listener. Private to this folder.
#pragma once

#include "kernel/base/types.h"

struct trace_entry;

// NULL: there is none of that number. Any context.
const struct trace_entry *trace_entry_find(uint64_t id);
uint32_t trace_entry_id(const struct trace_entry *entry);
// Records of the tracepoint go to the collector as those of its event table's entry `event`. 0,
// -ENOENT, -EBUSY. Worker thread, sources stopped.
[[nodiscard]] int trace_collector_add(uint64_t id, uint16_t event, uint32_t flags);
void trace_collector_remove_all(void);
