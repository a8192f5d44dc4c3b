// SPDX-License-Identifier: MIT
// The ring that a program maps to read records of perf_event_open(2): struct perf_event_mmap_page,
// then data; linux/perf_event.h has the layout and the order of accesses.
#pragma once

#include "kernel/core/spinlock.h"
#include "mm/address_space.h"

struct perf_event_mmap_page;

struct perf_buffer {
    uint32_t refcount; // events that write to it, areas; atomic
    struct spinlock lock;
    struct perf_event_mmap_page *page; // shared with the program, which may write anything
    uint8_t *data;
    uint64_t bytes;           // of data: a power of two; 0: the page alone
    bool overwrite;           // the program can't write data_tail: old records go
    bool paused;              // nothing is written; lock
    uint64_t head;            // lock
    uint64_t woken;           // head when it was last woken; lock
    uint64_t watermark;       // bytes after which to wake
    uint64_t lost, lost_told; // records that did not fit; lock
    uint64_t frames[];        // physical addresses of page and data
};

// A page and `data_pages` (0 or a power of two). NULL: no memory. Task context.
struct perf_buffer *perf_buffer_create(uint64_t data_pages, bool overwrite);
void perf_buffer_get(struct perf_buffer *buffer);
void perf_buffer_put(struct perf_buffer *buffer);
[[nodiscard]] int perf_buffer_map(struct perf_buffer *buffer, struct vm_map_request *request);
// Writes a record whole or counts it as lost. *wake: enough has come together to wake the reader.
// Interrupts off; not under a buffer's lock.
bool perf_buffer_write(struct perf_buffer *buffer, const void *record, uint32_t len, bool *wake);
// Records lost that no LOST record spoke of yet; taken.
uint64_t perf_buffer_take_lost(struct perf_buffer *buffer);
