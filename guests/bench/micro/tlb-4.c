// SPDX-License-Identifier: MIT
//
// Taking a page away that three other CPUs have in their TLBs.
#include "guests/bench/bench.h"
#include "guests/bench/shootdown.h"

static void run(unsigned count)
{
    shootdown_run(count, 4);
}

BENCHMARK = {
    .name = "tlb-4",
    .group = "memory",
    .what = "madvise(MADV_DONTNEED) of a page that three other CPUs, which run threads of this "
            "process, have in their TLBs.",
    .omits = "Idle CPUs and preempted ones.",
    .count = 50,
    .cpus = 4,
    .no_counts = true,
    .run = run,
};
