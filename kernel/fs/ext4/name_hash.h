// SPDX-License-Identifier: MIT
// Hashes of names in indexed directories.
#pragma once

#include "kernel/base/types.h"

// version: EXT2_HASH_*; seed: of the superblock, all zero: the fixed one. Two names with the same
// *hash are told apart by *minor, which only the order of a listing may depend on. 0, or -EINVAL:
// unknown version.
[[nodiscard]] int ext4_name_hash(const char *name, size_t len, uint32_t version,
    const uint32_t seed[4], uint32_t *hash, uint32_t *minor);
