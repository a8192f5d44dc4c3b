// SPDX-License-Identifier: MIT
//
// Unmapping a page that other CPUs have in their TLBs: what the benchmarks tlb-2 and tlb-4 do.
#pragma once

// `cpus` - 1 threads, each on a CPU of its own, read a page; then it is taken away `count` times.
void shootdown_run(unsigned count, unsigned cpus);
