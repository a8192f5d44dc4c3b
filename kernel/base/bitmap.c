// SPDX-License-Identifier: MIT
//
// Bitmap operations that are too long to be inline. All of them work on whole words. The bits of
// the last word behind the end (bitmap_last_mask) are masked out where a question is asked, and
// become 0 where a map is written, so that garbage in them never matters and never spreads.
#include "kernel/base/bitmap.h"

// From the last word down; the loop variable is decremented in the condition, so that an empty
// bitmap is no special case.
size_t bitmap_find_last_set(const uint64_t *map, size_t bits)
{
    for (size_t word = BITMAP_WORDS(bits); word-- > 0;) {
        uint64_t value = map[word];
        if (word == BITMAP_WORDS(bits) - 1) {
            value &= bitmap_last_mask(bits);
        }
        if (value != 0) {
            return word * 64 + bit_highest(value);
        }
    }
    return bits;
}

// Candidate by candidate: the next zero bit, rounded up to the alignment; if something is set
// inside the run, the search goes on behind that obstacle. Each step moves forwards by at least
// one bit.
size_t bitmap_find_zero_range(
    const uint64_t *map, size_t bits, size_t from, size_t count, size_t alignment)
{
    assert(count >= 1);
    assert(IS_POWER_OF_TWO(alignment));
    for (;;) {
        size_t start = bitmap_find_next_zero(map, bits, from);
        size_t aligned = ALIGN_UP(start, alignment);
        if (aligned < start || range_exceeds(aligned, count, bits)) {
            return bits;
        }
        size_t obstacle = bitmap_find_next_set(map, aligned + count, aligned);
        if (obstacle == aligned + count) {
            return aligned;
        }
        from = obstacle + 1;
    }
}

void bitmap_zero(uint64_t *map, size_t bits)
{
    for (size_t word = 0; word < BITMAP_WORDS(bits); word++) {
        map[word] = 0;
    }
}

// Bits behind the end become 0: two filled bitmaps are equal word by word.
void bitmap_fill(uint64_t *map, size_t bits)
{
    for (size_t word = 0; word < BITMAP_WORDS(bits); word++) {
        map[word] = ~0ul;
    }
    if (bits > 0) {
        map[BITMAP_WORDS(bits) - 1] = bitmap_last_mask(bits);
    }
}

void bitmap_copy(uint64_t *to, const uint64_t *from, size_t bits)
{
    for (size_t word = 0; word < BITMAP_WORDS(bits); word++) {
        to[word] = from[word];
    }
    if (bits > 0) {
        to[BITMAP_WORDS(bits) - 1] &= bitmap_last_mask(bits);
    }
}

// Mask of the bits of word number `word` that lie in [start, end).
static uint64_t word_mask(size_t word, size_t start, size_t end)
{
    uint64_t mask = ~0ul;
    if (word == start / 64) {
        mask &= ~0ul << (start % 64);
    }
    if (word == (end - 1) / 64) {
        mask &= bitmap_last_mask(end);
    }
    return mask;
}

// `count` may be 0; nothing is written then, not even with an unchanged value.
void bitmap_set_range(uint64_t *map, size_t start, size_t count)
{
    if (count == 0) {
        return;
    }
    for (size_t word = start / 64; word <= (start + count - 1) / 64; word++) {
        map[word] |= word_mask(word, start, start + count);
    }
}

void bitmap_clear_range(uint64_t *map, size_t start, size_t count)
{
    if (count == 0) {
        return;
    }
    for (size_t word = start / 64; word <= (start + count - 1) / 64; word++) {
        map[word] &= ~word_mask(word, start, start + count);
    }
}

// The operations write whole words and clear what lies behind the end, as the header promises.
// They read each word before they write it, so the result may be one of the operands.
void bitmap_and(uint64_t *to, const uint64_t *a, const uint64_t *b, size_t bits)
{
    for (size_t word = 0; word < BITMAP_WORDS(bits); word++) {
        to[word] = a[word] & b[word];
    }
    if (bits > 0) {
        to[BITMAP_WORDS(bits) - 1] &= bitmap_last_mask(bits);
    }
}

void bitmap_or(uint64_t *to, const uint64_t *a, const uint64_t *b, size_t bits)
{
    for (size_t word = 0; word < BITMAP_WORDS(bits); word++) {
        to[word] = a[word] | b[word];
    }
    if (bits > 0) {
        to[BITMAP_WORDS(bits) - 1] &= bitmap_last_mask(bits);
    }
}

void bitmap_and_not(uint64_t *to, const uint64_t *a, const uint64_t *b, size_t bits)
{
    for (size_t word = 0; word < BITMAP_WORDS(bits); word++) {
        to[word] = a[word] & ~b[word];
    }
    if (bits > 0) {
        to[BITMAP_WORDS(bits) - 1] &= bitmap_last_mask(bits);
    }
}

// The searches know already how to stop at the end.
bool bitmap_is_empty(const uint64_t *map, size_t bits)
{
    return bitmap_find_next_set(map, bits, 0) == bits;
}

bool bitmap_is_full(const uint64_t *map, size_t bits)
{
    return bitmap_find_next_zero(map, bits, 0) == bits;
}

// Valid bits of a word.
static uint64_t valid_bits(size_t word, size_t bits)
{
    return word == BITMAP_WORDS(bits) - 1 ? bitmap_last_mask(bits) : ~0ul;
}

// The questions about two bitmaps look at valid bits only: the rest may differ.
bool bitmap_is_equal(const uint64_t *a, const uint64_t *b, size_t bits)
{
    for (size_t word = 0; word < BITMAP_WORDS(bits); word++) {
        if (((a[word] ^ b[word]) & valid_bits(word, bits)) != 0) {
            return false;
        }
    }
    return true;
}

bool bitmap_intersects(const uint64_t *a, const uint64_t *b, size_t bits)
{
    for (size_t word = 0; word < BITMAP_WORDS(bits); word++) {
        if ((a[word] & b[word] & valid_bits(word, bits)) != 0) {
            return true;
        }
    }
    return false;
}

bool bitmap_is_subset(const uint64_t *a, const uint64_t *b, size_t bits)
{
    for (size_t word = 0; word < BITMAP_WORDS(bits); word++) {
        if ((a[word] & ~b[word] & valid_bits(word, bits)) != 0) {
            return false;
        }
    }
    return true;
}

size_t bitmap_weight(const uint64_t *map, size_t bits)
{
    size_t weight = 0;
    for (size_t word = 0; word < BITMAP_WORDS(bits); word++) {
        weight += bit_count(map[word] & valid_bits(word, bits));
    }
    return weight;
}
