// SPDX-License-Identifier: MIT
//
// Any bytes as a list of ranges (start, length, type: 17 bytes each) added to a map with room for
// few: it stays valid, and no byte that was ever given a restricted type looks usable.
#include "kernel/base/assert.h"
#include "kernel/base/memmap.h"
#include "kernel/base/string.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

#define CAPACITY 12

struct raw_range {
    uint64_t start;
    uint64_t len;
    uint8_t type;
} __packed;

static struct raw_range range_at(const uint8_t *bytes, size_t index)
{
    struct raw_range raw;
    memcpy(&raw, bytes + index * sizeof(raw), sizeof(raw));
    raw.type = raw.type % MEMMAP_UNUSABLE + 1;
    return raw;
}

static void check_not_usable(const struct memmap *map, uint64_t address)
{
    const struct memmap_range *range = memmap_find(map, address);
    assert(range == nullptr || range->type != MEMMAP_USABLE);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct memmap_range ranges[CAPACITY];
    struct memmap map;
    size_t count = MIN(size / sizeof(struct raw_range), 200ul);

    memmap_init(&map, ranges, CAPACITY);
    for (size_t i = 0; i < count; i++) {
        struct raw_range raw = range_at(bytes, i);
        (void)!memmap_add(&map, raw.start, raw.len, (enum memmap_type)raw.type);
        assert(memmap_is_valid(&map));
    }
    for (size_t i = 0; i < count; i++) {
        struct raw_range raw = range_at(bytes, i);
        if (raw.type == MEMMAP_USABLE || raw.len == 0 || raw.start >= MEMMAP_ADDRESS_LIMIT) {
            continue;
        }
        uint64_t last = raw.start + MIN(raw.len, MEMMAP_ADDRESS_LIMIT - raw.start) - 1;
        check_not_usable(&map, raw.start);
        check_not_usable(&map, last);
        check_not_usable(&map, raw.start + (last - raw.start) / 2);
    }
    uint64_t cursor = 0;
    uint64_t start;
    uint64_t end;
    uint64_t previous = 0;
    while (memmap_next_usable(&map, &cursor, &start, &end)) {
        assert(start >= previous);
        assert(start < end);
        previous = end;
    }
    uint64_t allocated;
    if (memmap_allocate(&map, 0x3000, 0x1000, 0, UINT64_MAX, &allocated) == 0) {
        check_not_usable(&map, allocated);
    }
    return 0;
}
