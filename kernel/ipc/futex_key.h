// SPDX-License-Identifier: MIT
// What a futex word is, for the files that implement futexes.
#pragma once

#include "mm/address_space.h"

// The identity of a word of the running program. 0, -EINVAL (not aligned), -EFAULT. May sleep.
[[nodiscard]] int futex_key_get(uintptr_t address, bool shared, struct vm_word_key *key);

static inline bool futex_key_equals(const struct vm_word_key *a, const struct vm_word_key *b)
{
    return a->object == b->object && a->index == b->index && a->offset == b->offset;
}

// Brings the page of a word in for writing without changing it. 0 or -EFAULT. May sleep.
[[nodiscard]] int futex_word_fault_in(uintptr_t address);
