// SPDX-License-Identifier: MIT
// Memory that the kernel and a program share as rings: contiguous for the kernel, mapped for the
// program; kept as long as either uses it.
#pragma once

#include "kernel/base/types.h"
#include "mm/address_space.h"

struct ring_memory {
    uint32_t refcount; // the kernel's owner and areas; atomic
    unsigned order;
    void *base;
    void (*unmapped)(struct ring_memory *memory); // an area of it has gone; may be NULL
    void *owner;                                  // for `unmapped`; cleared by the owner
    uint64_t frames[];                            // physical addresses of its pages
};

extern const struct vm_area_ops ring_memory_area_ops;

// Zeroed memory with one reference. NULL: no memory, or more than the largest block. May sleep.
struct ring_memory *ring_memory_create(size_t len_bytes);
void ring_memory_put(struct ring_memory *memory);
static inline size_t ring_memory_bytes(const struct ring_memory *memory)
{
    return PAGE_SIZE << memory->order;
}
// Completes a request to map it from its beginning. -EINVAL: longer than it is, or private.
[[nodiscard]] int ring_memory_map(struct ring_memory *memory, struct vm_map_request *request);
// The ring memory that is mapped at exactly this address of the running program, with a reference;
// NULL: none.
struct ring_memory *ring_memory_find(uintptr_t address);
