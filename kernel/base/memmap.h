// SPDX-License-Identifier: MIT
//
// Map of physical memory, put together from the ranges that PVH, UEFI or the Linux boot protocol
// hand over, of whatever quality: unsorted, overlapping, empty, wrapping. Where ranges overlap, the
// most restrictive type wins, in whatever order they are added. What no range covers is no memory.
//
// Invariant: ranges are sorted, not empty, disjoint, inside [0, MEMMAP_ADDRESS_LIMIT), and
// neighbours of the same type that touch are one range. Not locked: used during start-up.
#pragma once

#include "kernel/base/types.h"

// Physical addresses have at most 52 bits (Intel SDM 3A, 4.1.4); what lies beyond is cut off.
#define MEMMAP_ADDRESS_LIMIT (1ul << 52)

// Least restrictive first: the greater value wins.
enum memmap_type {
    MEMMAP_USABLE = 1,
    MEMMAP_RECLAIMABLE, // usable once the loader's information has been read: firmware's boot data
    MEMMAP_IN_USE,      // holds the kernel, the initial file system or other data that we use
    MEMMAP_PERSISTENT,  // persistent memory
    MEMMAP_ACPI_TABLES, // ACPI tables, which are read again later
    MEMMAP_ACPI_NVS,    // firmware's own, must be left alone
    MEMMAP_RESERVED,    // devices, firmware at run time
    MEMMAP_UNUSABLE,    // defective
};

struct memmap_range {
    uint64_t start;
    uint64_t end; // first address behind the range
    enum memmap_type type;
};

struct memmap {
    struct memmap_range *ranges;
    size_t count;
    size_t capacity;
};

// `ranges` is the caller's array of at least one element.
void memmap_init(struct memmap *map, struct memmap_range *ranges, size_t capacity);

// Adds a range. Empty ones are ignored, what exceeds the limit is cut off. 0, or -ENOSPC: the array
// is full. The map is still valid then and errs on the safe side: some usable memory may be missing
// or count as restricted, but nothing restricted ever looks usable.
[[nodiscard]] int memmap_add(
    struct memmap *map, uint64_t start, uint64_t len, enum memmap_type type);

// Next run of whole usable pages (ranges of MEMMAP_USABLE shrunk to page boundaries) at or above
// *cursor, which starts at 0 and is advanced. False: no more.
bool memmap_next_usable(const struct memmap *map, uint64_t *cursor, uint64_t *start, uint64_t *end);

// Takes `len` bytes (> 0) of usable memory at a multiple of `alignment` (a power of two), inside
// [min, max), the highest there is, and gives them the type MEMMAP_IN_USE. 0 and *start, -ENOMEM,
// or -ENOSPC.
[[nodiscard]] int memmap_allocate(struct memmap *map, uint64_t len, uint64_t alignment,
    uint64_t min, uint64_t max, uint64_t *start);

// The range that holds `address`, or NULL.
const struct memmap_range *memmap_find(const struct memmap *map, uint64_t address);

// Bytes of one type.
uint64_t memmap_total(const struct memmap *map, enum memmap_type type);

// Address behind the last range of one type, 0 if there is none.
uint64_t memmap_highest(const struct memmap *map, enum memmap_type type);

// Turns every MEMMAP_RECLAIMABLE range into a usable one.
void memmap_reclaim(struct memmap *map);

// Types of an E820 or PVH entry (ACPI 6.5, table 15.8) and of an EFI memory descriptor
// (UEFI 2.10, 7.2.3). Unknown types are reserved.
enum memmap_type memmap_type_of_e820(uint32_t type);
enum memmap_type memmap_type_of_efi(uint32_t type, uint64_t attributes);

const char *memmap_type_name(enum memmap_type type);

bool memmap_is_valid(const struct memmap *map);
