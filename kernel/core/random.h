// SPDX-License-Identifier: MIT
// Random numbers of the kernel and for getrandom(2), /dev/random and /dev/urandom (one quality).
//
// Each CPU has a ChaCha20 generator of its own (kernel/base/random.h), seeded from a common pool,
// to which the processor's random source, time stamps and devices contribute.
#pragma once

#include "kernel/base/types.h"

// Fills `to`; never fails nor waits. Any context but NMI.
void random_fill(void *to, size_t len_bytes);
uint64_t random_word(void);
// Uniform in [0, limit); limit >= 1.
uint64_t random_below(uint64_t limit);
// Brings bytes of any quality into the pool (interrupt times, virtio entropy, writes to
// /dev/random). Every CPU takes them up with its next request. Any context but NMI.
void random_contribute(const void *bytes, size_t len_bytes);
