// SPDX-License-Identifier: MIT
//
// What several micro benchmarks have in common: CPUs, threads that start together, memory that
// processes share.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// The calling thread runs on one CPU from here on: the `index`-th of those that the process may run
// on. Ends the round if there are not so many.
void workers_pin(unsigned index);
// CPUs that the process may run on.
unsigned workers_cpus(void);

// Runs `work` on bench_workers() threads, the i-th on the i-th CPU (round and round if there are
// fewer CPUs), which begin together. `prepare` (may be NULL) runs in each thread before that. The
// time from the first one's beginning to the last one's end is measured. Each thread's `state` is
// `state_bytes` of `states`, zeroed.
struct workers_job {
    void (*prepare)(unsigned worker, unsigned count, void *state);
    void (*work)(unsigned worker, unsigned count, void *state);
    void *states;
    size_t state_bytes;
};
// `count` is the number of operations of all threads together. It is given to each in equal parts;
// the return value is what each one did.
unsigned workers_run(const struct workers_job *job, unsigned count);

// sched_setscheduler, which musl has not. Ends the round as unsupported if the kernel has not
// either.
void workers_set_policy(int policy, int priority);

// fork, or the end of the round. The child dies with this process at the latest, so that it may
// loop.
pid_t workers_fork(void);

// Zeroed memory that processes forked later share.
void *workers_shared(size_t size_bytes);
// Zeroed private memory in 4 KiB pages, page-aligned.
void *workers_small_pages(size_t size_bytes);

// The number in kB of a line such as "AnonHugePages:" that /proc/self/smaps has for the area that
// holds `address`; -1 if there is none.
long workers_smaps_kb(const void *address, const char *key);
