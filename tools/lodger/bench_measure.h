// SPDX-License-Identifier: MIT
//
// Measuring: which benchmarks, on which kernels, how often, in which order.
#pragma once

#include "tools/lodger/bench_report.h"

#define BENCH_SCALING_MAX 16

struct bench_plan {
    struct bench_kernel kernels[BENCH_SIDES];
    int kernel_count; // 1: nothing to compare with
    const struct bench **benches;
    size_t bench_count;
    bool measures[MEASURE_COUNT];
    enum bench_lab lab;                  // where exits are measured: not BENCH_LAB_NONE
    unsigned scaling[BENCH_SCALING_MAX]; // numbers of vCPUs for curves
    size_t scaling_count;                // 0: no curves
    unsigned cpus;                       // of the machines, unless a benchmark needs more
    unsigned pairs;                      // of micro benchmarks
    unsigned macro_pairs;
    bool quick;
};

// Measures and adds what it finds to the report. Never dies because of a guest: what went wrong is
// in the report's outcomes, or, where a kernel does not boot at all, in `failures` (by side). After
// bench_interrupt() the report holds what there was.
void bench_measure(
    const struct bench_plan *plan, struct bench_report *report, char *failures[BENCH_SIDES]);

// Adds to the report what it was measured on and how: date, machine, QEMU, kernels, commands.
// `command` is the command line of the user.
void bench_add_facts(
    const struct bench_plan *plan, const char *command, struct bench_report *report);
