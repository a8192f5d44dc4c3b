// SPDX-License-Identifier: MIT
//
// Taking a page away that one other CPU has in its TLB.
#include "guests/bench/bench.h"
#include "guests/bench/shootdown.h"

static void run(unsigned count)
{
    shootdown_run(count, 2);
}

BENCHMARK = {
    .name = "tlb-2",
    .group = "memory",
    .what = "madvise(MADV_DONTNEED) of a page that another CPU, which runs a thread of this "
            "process, has in its TLB.",
    .omits = "Idle CPUs and preempted ones.",
    .count = 100,
    .cpus = 2,
    .no_counts = true,
    .run = run,
};
