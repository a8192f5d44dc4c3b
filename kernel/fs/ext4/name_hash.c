// SPDX-License-Identifier: MIT
// Hashes of names in indexed directories: half of MD4 (RFC 1320 with 8 words a step), TEA, and the
// old one that came first.
#include "kernel/fs/ext4/name_hash.h"
#include "kernel/core/errno.h"
#include "kernel/fs/ext4/format.h"

#define HASH_END ((uint32_t)0x7fffffff) // half of the hash that means "the end of the directory"

static uint32_t rotate(uint32_t value, unsigned bits)
{
    return value << bits | value >> (32 - bits);
}

// One round: eight steps with function `f`, words in[order[i]], an additive constant and four
// shifts.
static void md4_round(uint32_t v[4], const uint32_t in[8], int f, uint32_t constant,
    const uint8_t order[8], const uint8_t shift[4])
{
    for (unsigned i = 0; i < 8; i++) {
        uint32_t *a = &v[(4 - i % 4) % 4];
        const uint32_t b = v[(5 - i % 4) % 4], c = v[(6 - i % 4) % 4], d = v[(7 - i % 4) % 4];
        uint32_t mixed = b ^ c ^ d;
        if (f == 0)
            mixed = d ^ (b & (c ^ d));
        else if (f == 1)
            mixed = (b & c) + ((b ^ c) & d);
        *a = rotate(*a + mixed + in[order[i]] + constant, shift[i % 4]);
    }
}

static void half_md4(uint32_t state[4], const uint32_t in[8])
{
    static const uint8_t order[3][8] = {
        {0, 1, 2, 3, 4, 5, 6, 7}, {1, 3, 5, 7, 0, 2, 4, 6}, {3, 7, 2, 6, 1, 5, 0, 4}};
    static const uint8_t shift[3][4] = {{3, 7, 11, 19}, {3, 5, 9, 13}, {3, 9, 11, 15}};
    static const uint32_t constant[3] = {0, 0x5a827999, 0x6ed9eba1};
    uint32_t v[4] = {state[0], state[1], state[2], state[3]};
    for (int f = 0; f < 3; f++)
        md4_round(v, in, f, constant[f], order[f], shift[f]);
    for (int i = 0; i < 4; i++)
        state[i] += v[i];
}

static void tea(uint32_t state[4], const uint32_t in[4])
{
    uint32_t sum = 0, a = state[0], b = state[1];
    for (int round = 0; round < 16; round++) {
        sum += 0x9e3779b9;
        a += ((b << 4) + in[0]) ^ (b + sum) ^ ((b >> 5) + in[1]);
        b += ((a << 4) + in[2]) ^ (a + sum) ^ ((a >> 5) + in[3]);
    }
    state[0] += a;
    state[1] += b;
}

static uint32_t character(const char *name, size_t i, bool is_unsigned)
{
    return is_unsigned ? (uint32_t)(uint8_t)name[i] : (uint32_t)(int32_t)(int8_t)name[i];
}

static uint32_t legacy(const char *name, size_t len, bool is_unsigned)
{
    uint32_t last = 0x12a3fe2d, before = 0x37abe8f9;
    for (size_t i = 0; i < len; i++) {
        uint32_t hash = before + (last ^ character(name, i, is_unsigned) * 7152373u);
        if (hash & 0x80000000)
            hash -= 0x7fffffff;
        before = last;
        last = hash;
    }
    return last << 1;
}

// Up to `words` words of the name, big-endian, filled up with its length.
static void name_words(const char *name, size_t len, uint32_t *out, size_t words, bool is_unsigned)
{
    uint32_t padding = (uint32_t)len | (uint32_t)len << 8;
    padding |= padding << 16;
    len = MIN(len, words * 4);
    uint32_t value = padding;
    size_t done = 0;
    for (size_t i = 0; i < len; i++) {
        value = character(name, i, is_unsigned) + (value << 8);
        if (i % 4 == 3) {
            out[done++] = value;
            value = padding;
        }
    }
    if (done < words)
        out[done++] = value;
    while (done < words)
        out[done++] = padding;
}

int ext4_name_hash(const char *name, size_t len, uint32_t version, const uint32_t seed[4],
    uint32_t *hash, uint32_t *minor)
{
    uint32_t state[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    uint32_t in[8];
    if (version > EXT2_HASH_TEA_UNSIGNED)
        return -EINVAL;
    const bool is_unsigned = version >= EXT2_HASH_LEGACY_UNSIGNED;
    const uint32_t base = is_unsigned ? version - EXT2_HASH_LEGACY_UNSIGNED : version;
    if ((seed[0] | seed[1] | seed[2] | seed[3]) != 0)
        for (int i = 0; i < 4; i++)
            state[i] = seed[i];
    if (base == EXT2_HASH_LEGACY) {
        *hash = legacy(name, len, is_unsigned);
        *minor = 0;
    } else {
        const size_t words = base == EXT2_HASH_TEA ? 4 : 8;
        for (size_t at = 0; at < len; at += words * 4) {
            name_words(name + at, len - at, in, words, is_unsigned);
            if (words == 4)
                tea(state, in);
            else
                half_md4(state, in);
        }
        *hash = words == 4 ? state[0] : state[1];
        *minor = words == 4 ? state[1] : state[2];
    }
    *hash &= ~1u;
    if (*hash == HASH_END << 1)
        *hash = (HASH_END - 1) << 1;
    return 0;
}
