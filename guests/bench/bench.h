// SPDX-License-Identifier: MIT
//
// What a micro benchmark is made of. README.md says how one is described and what it prints.
//
// A file in micro/ has one function that does the operation `count` times, and one BENCHMARK. The
// function prepares, calls bench_start(), does the work, calls bench_stop(), and then checks that
// the work was done: bench_require(). Whatever goes wrong ends the process.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct benchmark {
    const char *name;  // of the file
    const char *group; // heading in lists
    const char *what;  // one operation
    const char *omits; // what the figure leaves out; NULL: nothing to speak of
    const char *unit;  // NULL: time per operation; else the unit of bench_value()
    bool more_is_better;
    unsigned count;     // operations a round
    unsigned cpus;      // vCPUs needed; 0: one
    const char *memory; // such as "1G"; NULL: the default
    const char *disk;   // size of an empty disk that it needs; NULL: none
    bool no_counts;     // says nothing under -icount
    bool latency;       // calls bench_latency()
    bool scales;        // works on bench_workers() threads
    unsigned timeout_s; // a round; 0: the default
    void (*run)(unsigned count);
};

// Declares the file's benchmark; main.c finds it.
#define BENCHMARK                                                                                  \
    static const struct benchmark the_benchmark;                                                   \
    __attribute__((section("benchmarks"), used,                                                    \
        retain)) static const struct benchmark *const the_benchmark_entry = &the_benchmark;        \
    static const struct benchmark the_benchmark

// CLOCK_MONOTONIC.
uint64_t bench_now_ns(void);

// The measured part lies between the two. It may consist of several pieces.
void bench_start(void);
void bench_stop(void);
// For those who took the time themselves: adds to what is measured.
void bench_add(uint64_t duration_ns);

// Records how long one operation took, for the histogram. Costs a few instructions, no memory.
void bench_latency(uint64_t duration_ns);

// The round's figure where `unit` is set.
void bench_value(double value);

// Threads to work with: BENCH_WORKERS, or one a vCPU that this process may run on.
unsigned bench_workers(void);

// The device of the disk, for benchmarks with `disk`; ends the round as unsupported if there is
// none.
const char *bench_disk(void);

// The process that started the round's.
pid_t bench_parent(void);

// The operation did not do what it should: ends the round. errno is shown with `what`.
[[noreturn]] void bench_fail(const char *what);
// bench_fail() unless `holds`.
void bench_require(bool holds, const char *what);
// The kernel cannot do `what`, and errno says why: ends the round.
[[noreturn]] void bench_unsupported(const char *what);
