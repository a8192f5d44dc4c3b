// SPDX-License-Identifier: MIT
// The page that the vDSO reads, mapped read-only into every program behind the page of the vDSO
// (kernel/vdso): shared by the kernel and kernel/vdso, which both are built from this tree.
//
// ns = offset_ns + (TSC * mult >> 32), modulo 2^64, is CLOCK_MONOTONIC; with realtime_offset_ns
// added, CLOCK_REALTIME. (The kernel multiplies the distance from a base; rounding makes this at
// most 1 ns more. A TSC slightly behind the kernel's base does no harm here.) Where the hypervisor
// has a clock page, mapped behind this one, it is offset_ns + what pv/pvclock.h reads there, as
// long as that page says that it is the same on all CPUs; then has_pvclock is 1 for ever and mult
// means nothing.
//
// Whoever writes makes writes_begun one more, then changes the fields, then makes writes_done
// equal to it. A reader looks at writes_done, then at the fields, then at writes_begun: if the two
// are equal, what it saw belongs together. They stay different while the clock can't be read
// without the kernel.
#pragma once

#include <stdint.h>

struct vdso_data {
    uint32_t writes_done;
    uint32_t writes_begun;
    uint32_t is_valid; // 0: use the system call; else a reader that failed tries again
    uint32_t has_pvclock;
    uint64_t mult;
    uint64_t offset_ns;
    uint64_t realtime_offset_ns;
};
