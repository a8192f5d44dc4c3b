// SPDX-License-Identifier: MIT
// The page that the vDSO reads, mapped read-only into every program behind the page of the vDSO
// (kernel/vdso): shared by the kernel and kernel/vdso, which both are built from this tree.
//
// ns = base_ns + ((TSC - base_tsc) * mult >> 32) is CLOCK_MONOTONIC; with realtime_offset_ns added,
// CLOCK_REALTIME.
#pragma once

#include <stdint.h>

struct vdso_data {
    uint32_t sequence; // odd while the kernel writes; readers try again
    uint32_t is_valid; // 0: the clock can't be read without the kernel, use the system call
    uint64_t base_tsc;
    uint64_t mult;
    uint64_t base_ns;
    uint64_t realtime_offset_ns;
};
