// SPDX-License-Identifier: MIT
//
// ChaCha20 and a generator on top of it. The generator makes four blocks at a time; the first 32
// bytes become the next key at once ("fast key erasure"), the rest is output. Mixing xors 32 bytes
// of input into the key and replaces it by output of the cipher under that key: who does not know
// the key cannot choose input that brings it into a known state.
#include "kernel/base/random.h"

#include "kernel/base/assert.h"
#include "kernel/base/string.h"

// count is 1 to 31: with 0 the second shift would be undefined.
static uint32_t rotate_left(uint32_t value, unsigned int count)
{
    return value << count | value >> (32 - count);
}

// RFC 8439, 2.1.
static void quarter_round(uint32_t *state, int a, int b, int c, int d)
{
    state[a] += state[b];
    state[d] = rotate_left(state[d] ^ state[a], 16);
    state[c] += state[d];
    state[b] = rotate_left(state[b] ^ state[c], 12);
    state[a] += state[b];
    state[d] = rotate_left(state[d] ^ state[a], 8);
    state[c] += state[d];
    state[b] = rotate_left(state[b] ^ state[c], 7);
}

// Ten double rounds: columns, then diagonals (2.3.1).
void chacha20_block(const uint32_t key[8], uint32_t counter, const uint32_t nonce[3],
    uint8_t block[CHACHA20_BLOCK_BYTES])
{
    // "expand 32-byte k", key, counter, nonce; all little-endian, like the processor.
    const uint32_t start[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, key[0], key[1],
        key[2], key[3], key[4], key[5], key[6], key[7], counter, nonce[0], nonce[1], nonce[2]};
    uint32_t state[16];

    memcpy(state, start, sizeof(state));
    for (int round = 0; round < 20; round += 2) {
        quarter_round(state, 0, 4, 8, 12);
        quarter_round(state, 1, 5, 9, 13);
        quarter_round(state, 2, 6, 10, 14);
        quarter_round(state, 3, 7, 11, 15);
        quarter_round(state, 0, 5, 10, 15);
        quarter_round(state, 1, 6, 11, 12);
        quarter_round(state, 2, 7, 8, 13);
        quarter_round(state, 3, 4, 9, 14);
    }
    for (int word = 0; word < 16; word++) {
        state[word] += start[word];
    }
    memcpy(block, state, CHACHA20_BLOCK_BYTES);
}

// Fills the buffer and moves its beginning into the key.
static void refill(struct random_generator *generator)
{
    const uint32_t nonce[3] = {0, 0, 0};
    for (uint32_t block = 0; block < sizeof(generator->buffer) / CHACHA20_BLOCK_BYTES; block++) {
        chacha20_block(
            generator->key, block, nonce, generator->buffer + block * CHACHA20_BLOCK_BYTES);
    }
    memcpy(generator->key, generator->buffer, CHACHA20_KEY_BYTES);
    memset(generator->buffer, 0, CHACHA20_KEY_BYTES);
    generator->available = sizeof(generator->buffer) - CHACHA20_KEY_BYTES;
}

// A fixed key: without random_mix two generators give the same numbers.
void random_init(struct random_generator *generator)
{
    *generator = (struct random_generator){};
}

// A part shorter than the key leaves the rest of it as it is. The buffer is thrown away: what is
// given out next depends on the new bytes already.
void random_mix(struct random_generator *generator, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    uint8_t *key = (uint8_t *)generator->key;
    while (len > 0) {
        size_t part = MIN(len, (size_t)CHACHA20_KEY_BYTES);
        for (size_t i = 0; i < part; i++) {
            key[i] ^= at[i];
        }
        refill(generator);
        at += part;
        len -= part;
    }
}

// What is handed out is erased from the buffer at once.
void random_bytes(struct random_generator *generator, void *to, size_t len)
{
    uint8_t *at = to;
    while (len > 0) {
        if (generator->available == 0) {
            refill(generator);
        }
        debug_assert(generator->available <= sizeof(generator->buffer));
        size_t part = MIN(len, (size_t)generator->available);
        uint8_t *unused = generator->buffer + sizeof(generator->buffer) - generator->available;
        memcpy(at, unused, part);
        memset(unused, 0, part);
        generator->available -= (uint32_t)part;
        at += part;
        len -= part;
    }
}

uint64_t random_u64(struct random_generator *generator)
{
    uint64_t value;
    random_bytes(generator, &value, sizeof(value));
    return value;
}
