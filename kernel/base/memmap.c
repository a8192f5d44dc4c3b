// SPDX-License-Identifier: MIT
//
// Memory map. A new range is walked from left to right: over a gap it becomes a range of its own,
// over a less restrictive range it carves its part out, over a more restrictive one it does
// nothing. Then neighbours are merged where it went.
#include "kernel/base/memmap.h"

#include "kernel/base/assert.h"

#include <linux/errno.h>

void memmap_init(struct memmap *map, struct memmap_range *ranges, size_t capacity)
{
    assert(capacity > 0);
    *map = (struct memmap){.ranges = ranges, .capacity = capacity};
}

// Index of the first range that ends behind `address`, or count. Binary search.
static size_t first_ending_behind(const struct memmap *map, uint64_t address)
{
    size_t low = 0;
    size_t high = map->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (map->ranges[middle].end > address) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

// Makes room by moving what is behind. Maps have some ten, rarely a hundred ranges, and are
// built once.
static bool insert(struct memmap *map, size_t index, struct memmap_range range)
{
    debug_assert(index <= map->count);
    if (map->count == map->capacity) {
        return false;
    }
    for (size_t i = map->count; i > index; i--) {
        map->ranges[i] = map->ranges[i - 1];
    }
    map->ranges[index] = range;
    map->count++;
    return true;
}

// Cuts the range in two at `address`, which lies inside it: the second part gets the next index.
static bool split(struct memmap *map, size_t index, uint64_t address)
{
    struct memmap_range second = map->ranges[index];
    debug_assert(second.start < address);
    debug_assert(address < second.end);
    second.start = address;
    if (!insert(map, index + 1, second)) {
        return false;
    }
    map->ranges[index].end = address;
    return true;
}

// Merges ranges [first, last] with their neighbours and each other where they touch and have the
// same type.
static void merge(struct memmap *map, size_t first, size_t last)
{
    size_t kept = first > 0 ? first - 1 : 0;
    size_t i = kept + 1;
    for (; i < map->count && i <= last + 1; i++) {
        struct memmap_range *previous = &map->ranges[kept];
        if (previous->end == map->ranges[i].start && previous->type == map->ranges[i].type) {
            previous->end = map->ranges[i].end;
        } else {
            map->ranges[++kept] = map->ranges[i];
        }
    }
    for (; i < map->count; i++) {
        map->ranges[++kept] = map->ranges[i];
    }
    map->count = map->count > 0 ? kept + 1 : 0;
}

// Gives [start, end) of the range at *index, which it lies inside, the type. *index becomes that of
// the last part that was made.
static int carve(
    struct memmap *map, size_t *index, uint64_t start, uint64_t end, enum memmap_type type)
{
    int error = 0;
    if (map->ranges[*index].start < start) {
        if (split(map, *index, start)) {
            (*index)++;
        } else {
            error = -ENOSPC;
        }
    }
    if (map->ranges[*index].end > end && !split(map, *index, end)) {
        error = -ENOSPC;
    }
    // Where there was no room to split, more than asked for becomes restricted.
    map->ranges[*index].type = type;
    return error;
}

// Puts [start, end), which no range covers, in at `index`, which moves behind it. If there is no
// room, a usable range is dropped, and a restricted one becomes part of its neighbour, whatever
// that loses: a later range must not make it look usable.
static int fill_gap(
    struct memmap *map, size_t *index, uint64_t start, uint64_t end, enum memmap_type type)
{
    struct memmap_range part = {.start = start, .end = end, .type = type};
    if (insert(map, *index, part)) {
        (*index)++;
        return 0;
    }
    if (type != MEMMAP_USABLE) {
        struct memmap_range *neighbour = &map->ranges[*index > 0 ? *index - 1 : 0];
        neighbour->start = MIN(neighbour->start, start);
        neighbour->end = MAX(neighbour->end, end);
        neighbour->type = MAX(neighbour->type, type);
    }
    return -ENOSPC;
}

// Each round deals with one part: up to the next range if the start lies in a gap, else up to
// the end of the range that it lies in.
int memmap_add(struct memmap *map, uint64_t start, uint64_t len, enum memmap_type type)
{
    int error = 0;

    assert(type >= MEMMAP_USABLE);
    assert(type <= MEMMAP_UNUSABLE);
    if (len == 0 || start >= MEMMAP_ADDRESS_LIMIT) {
        return 0;
    }
    uint64_t end = start + MIN(len, MEMMAP_ADDRESS_LIMIT - start);
    size_t first = first_ending_behind(map, start);
    size_t index = first;
    while (start < end) {
        uint64_t part_end = end;
        int part_error = 0;
        if (index == map->count || map->ranges[index].start > start) {
            if (index < map->count) {
                part_end = MIN(end, map->ranges[index].start);
            }
            part_error = fill_gap(map, &index, start, part_end, type);
        } else {
            part_end = MIN(end, map->ranges[index].end);
            if (map->ranges[index].type < type) {
                part_error = carve(map, &index, start, part_end, type);
            }
            index++;
        }
        error = part_error != 0 ? part_error : error;
        start = part_end;
    }
    // A neighbour before `first` may have got another type.
    merge(map, first > 0 ? first - 1 : 0, index);
    expensive_assert(memmap_is_valid(map));
    return error;
}

// Usable ranges do not touch each other (they would be one), so rounding each of them inwards
// loses no page that is usable as a whole.
bool memmap_next_usable(const struct memmap *map, uint64_t *cursor, uint64_t *start, uint64_t *end)
{
    for (size_t i = first_ending_behind(map, *cursor); i < map->count; i++) {
        const struct memmap_range *range = &map->ranges[i];
        uint64_t first = ALIGN_UP(MAX(range->start, *cursor), PAGE_SIZE);
        uint64_t last = ALIGN_DOWN(range->end, PAGE_SIZE);
        if (range->type == MEMMAP_USABLE && first < last) {
            *start = first;
            *end = last;
            *cursor = range->end;
            return true;
        }
    }
    return false;
}

// From the top: low memory is scarce and some devices and the start of other CPUs need it.
int memmap_allocate(struct memmap *map, uint64_t len, uint64_t alignment, uint64_t min,
    uint64_t max, uint64_t *start)
{
    assert(len > 0);
    assert(IS_POWER_OF_TWO(alignment));
    for (size_t i = map->count; i-- > 0;) {
        const struct memmap_range *range = &map->ranges[i];
        uint64_t low = MAX(range->start, min);
        uint64_t high = MIN(range->end, max);
        if (range->type != MEMMAP_USABLE || low >= high || high - low < len) {
            continue;
        }
        uint64_t found = ALIGN_DOWN(high - len, alignment);
        if (found < low) {
            continue;
        }
        // Two more ranges at most: check first, so that a failure takes nothing.
        if (map->capacity - map->count < 2) {
            return -ENOSPC;
        }
        *start = found;
        return memmap_add(map, found, len, MEMMAP_IN_USE);
    }
    return -ENOMEM;
}

const struct memmap_range *memmap_find(const struct memmap *map, uint64_t address)
{
    size_t index = first_ending_behind(map, address);
    if (index == map->count || map->ranges[index].start > address) {
        return nullptr;
    }
    return &map->ranges[index];
}

uint64_t memmap_total(const struct memmap *map, enum memmap_type type)
{
    uint64_t total = 0;
    for (size_t i = 0; i < map->count; i++) {
        if (map->ranges[i].type == type) {
            total += map->ranges[i].end - map->ranges[i].start;
        }
    }
    return total;
}

// Ranges are sorted: the last one of the type is the highest.
uint64_t memmap_highest(const struct memmap *map, enum memmap_type type)
{
    for (size_t i = map->count; i-- > 0;) {
        if (map->ranges[i].type == type) {
            return map->ranges[i].end;
        }
    }
    return 0;
}

// Usable and reclaimed ranges may touch now: one merge over the whole map.
void memmap_reclaim(struct memmap *map)
{
    for (size_t i = 0; i < map->count; i++) {
        if (map->ranges[i].type == MEMMAP_RECLAIMABLE) {
            map->ranges[i].type = MEMMAP_USABLE;
        }
    }
    merge(map, 0, map->count);
    expensive_assert(memmap_is_valid(map));
}

// PVH uses the same numbers as E820.
enum memmap_type memmap_type_of_e820(uint32_t type)
{
    switch (type) {
    case 1: // AddressRangeMemory
        return MEMMAP_USABLE;
    case 3: // AddressRangeACPI
        return MEMMAP_ACPI_TABLES;
    case 4: // AddressRangeNVS
        return MEMMAP_ACPI_NVS;
    case 5: // AddressRangeUnusable
        return MEMMAP_UNUSABLE;
    case 7: // AddressRangePersistentMemory
        return MEMMAP_PERSISTENT;
    default:
        return MEMMAP_RESERVED;
    }
}

// Memory that cannot be cached write-back, that is set aside for a special purpose or that
// firmware keeps using at run time is none of ours, whatever its type says.
enum memmap_type memmap_type_of_efi(uint32_t type, uint64_t attributes)
{
    const uint64_t write_back = BIT(3);        // EFI_MEMORY_WB
    const uint64_t specific_purpose = BIT(18); // EFI_MEMORY_SP
    const uint64_t runtime = BIT(63);          // EFI_MEMORY_RUNTIME

    switch (type) {
    case 1: // EfiLoaderCode
    case 2: // EfiLoaderData
    case 3: // EfiBootServicesCode
    case 4: // EfiBootServicesData
    case 7: // EfiConventionalMemory
    case 9: // EfiACPIReclaimMemory
        if ((attributes & write_back) == 0 || (attributes & (specific_purpose | runtime)) != 0) {
            return MEMMAP_RESERVED;
        }
        if (type == 9)
            return MEMMAP_ACPI_TABLES;
        return type == 7 ? MEMMAP_USABLE : MEMMAP_RECLAIMABLE;
    case 8: // EfiUnusableMemory
        return MEMMAP_UNUSABLE;
    case 10: // EfiACPIMemoryNVS
        return MEMMAP_ACPI_NVS;
    case 14: // EfiPersistentMemory
        return MEMMAP_PERSISTENT;
    default:
        return MEMMAP_RESERVED;
    }
}

const char *memmap_type_name(enum memmap_type type)
{
    static const char *const names[] = {
        [MEMMAP_USABLE] = "usable",
        [MEMMAP_RECLAIMABLE] = "reclaimable",
        [MEMMAP_ACPI_TABLES] = "ACPI tables",
        [MEMMAP_IN_USE] = "in use",
        [MEMMAP_PERSISTENT] = "persistent",
        [MEMMAP_ACPI_NVS] = "ACPI NVS",
        [MEMMAP_RESERVED] = "reserved",
        [MEMMAP_UNUSABLE] = "unusable",
    };
    return type >= MEMMAP_USABLE && type <= MEMMAP_UNUSABLE ? names[type] : "unknown";
}

bool memmap_is_valid(const struct memmap *map)
{
    if (map->count > map->capacity) {
        return false;
    }
    for (size_t i = 0; i < map->count; i++) {
        const struct memmap_range *range = &map->ranges[i];
        if (range->start >= range->end || range->end > MEMMAP_ADDRESS_LIMIT) {
            return false;
        }
        if (i > 0) {
            const struct memmap_range *previous = range - 1;
            if (previous->end > range->start ||
                (previous->end == range->start && previous->type == range->type)) {
                return false;
            }
        }
    }
    return true;
}
