// SPDX-License-Identifier: MIT
//
// Random numbers as pure code: a cryptographic generator (ChaCha20, RFC 8439, with fast key
// erasure) and a tiny fast one for decisions that nobody may profit from guessing. Where the
// entropy comes from, per-CPU instances and locking are the caller's.
#pragma once

#include "kernel/base/types.h"

#define CHACHA20_KEY_BYTES   32
#define CHACHA20_BLOCK_BYTES 64

// One ChaCha20 block (RFC 8439, 2.3): key of 8 words, counter, nonce of 3 words.
void chacha20_block(const uint32_t key[8], uint32_t counter, const uint32_t nonce[3],
    uint8_t block[CHACHA20_BLOCK_BYTES]);

// Every request ends with the key replaced by output that nobody has seen: who reads the state
// later learns nothing about numbers given out before. Used bytes of the buffer are erased.
struct random_generator {
    uint32_t key[8];
    uint8_t buffer[CHACHA20_BLOCK_BYTES * 4]; // unused output lies at the end
    uint32_t available;                       // unused bytes of it
};

// Starts from nothing: the numbers are predictable until random_mix brought secret bytes in.
void random_init(struct random_generator *generator);

// Mixes bytes of any quality and length into the key; bad bytes do not take entropy away.
void random_mix(struct random_generator *generator, const void *bytes, size_t len);

void random_bytes(struct random_generator *generator, void *to, size_t len);
uint64_t random_u64(struct random_generator *generator);

// Fast generator (splitmix64): one multiplication chain, 8 bytes of state, not secret. Any seed
// will do.
struct prng {
    uint64_t state;
};

static inline uint64_t prng_u64(struct prng *prng)
{
    uint64_t value = prng->state += 0x9e3779b97f4a7c15ul;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ul;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebul;
    return value ^ (value >> 31);
}

// Uniform enough in [0, limit); limit >= 1.
static inline uint64_t prng_below(struct prng *prng, uint64_t limit)
{
    return (uint64_t)(((unsigned __int128)prng_u64(prng) * limit) >> 64);
}
