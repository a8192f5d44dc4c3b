// SPDX-License-Identifier: MIT
//
// Hash functions for tables in memory. They are fast and mix well, but they are not cryptographic;
// tables whose keys a program chooses pass a secret seed (drawn once at boot) so that collisions
// cannot be prepared.
#pragma once

#include "kernel/base/types.h"

// 64 x 64 -> 128 bit product, halves xored: the mixing step of all hashes here.
static inline uint64_t hash_mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

// A bijection: different numbers have different hashes. Every input bit changes every output bit
// with probability 1/2.
static inline uint64_t hash_u64(uint64_t value)
{
    value ^= value >> 32;
    value *= 0xe9846af9b1a615d5ul;
    value ^= value >> 32;
    value *= 0xe9846af9b1a615d5ul;
    value ^= value >> 28;
    return value;
}

static inline uint64_t hash_pointer(const void *pointer)
{
    return hash_u64((uintptr_t)pointer);
}

// Index into a table of 2^bits buckets; 0 <= bits <= 64.
static inline size_t hash_to_index(uint64_t hash, unsigned int bits)
{
    return bits == 0 ? 0 : (size_t)(hash >> (64 - bits));
}

// Two values into one hash, not symmetric.
static inline uint64_t hash_combine(uint64_t a, uint64_t b)
{
    return hash_mix(a ^ 0x9e3779b97f4a7c15ul, b ^ 0xd1b54a32d192ed03ul);
}

static inline uint64_t hash_load_(const char *bytes, size_t len)
{
    uint64_t value = 0;
    __builtin_memcpy(&value, bytes, len);
    return value;
}

// Bytes (a path component, a name). Eight at a time, at most one multiplication for each 16 bytes
// and two more; reads nothing outside.
static inline uint64_t hash_bytes(const char *bytes, size_t len, uint64_t seed)
{
    uint64_t a = 0;
    uint64_t b = 0;
    uint64_t hash = seed ^ 0xa0761d6478bd642ful;
    size_t left = len;
    while (unlikely(left > 16)) {
        hash =
            hash_mix(hash_load_(bytes, 8) ^ 0xe7037ed1a0b428dbul, hash_load_(bytes + 8, 8) ^ hash);
        bytes += 16;
        left -= 16;
    }
    if (left >= 8) {
        a = hash_load_(bytes, 8);
        b = hash_load_(bytes + left - 8, 8);
    } else if (left >= 4) {
        a = hash_load_(bytes, 4);
        b = hash_load_(bytes + left - 4, 4);
    } else if (left > 0) {
        a = (uint64_t)(unsigned char)bytes[0] << 16 |
            (uint64_t)(unsigned char)bytes[left / 2] << 8 | (unsigned char)bytes[left - 1];
    }
    hash = hash_mix(a ^ 0xe7037ed1a0b428dbul, b ^ hash);
    return hash_mix(hash ^ len, 0x8ebc6af09c88c6e3ul);
}
