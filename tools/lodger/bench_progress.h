// SPDX-License-Identifier: MIT
//
// Telling the user what is being measured and how long the rest will take.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct bench_progress {
    double total; // expected effort of everything, in seconds of a quiet machine
    double done;
    uint64_t start_ns;
    uint64_t shown_ns;
    bool terminal;
    bool visible;
};

void bench_progress_begin(struct bench_progress *progress, double total);
// Shows what is being done. The rest is estimated from the speed so far.
void bench_progress_show(struct bench_progress *progress, const char *what);
// So much effort of the total is behind us.
void bench_progress_add(struct bench_progress *progress, double effort);
void bench_progress_end(struct bench_progress *progress);
