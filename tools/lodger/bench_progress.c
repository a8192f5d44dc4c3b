// SPDX-License-Identifier: MIT
//
// Progress with an estimate of the rest, on standard error.
#include "tools/lodger/bench_progress.h"
#include "tools/lodger/util.h"

#include <stdio.h>
#include <unistd.h>

// Without a terminal, a line in this interval.
#define INTERVAL_NS 10000000000u
// The estimate is worth showing when so much of the whole is done.
#define SHARE_TO_ESTIMATE 0.02

void bench_progress_begin(struct bench_progress *progress, double total)
{
    *progress = (struct bench_progress){.total = total,
        .start_ns = time_now_ns(),
        .shown_ns = time_now_ns(),
        .terminal = isatty(STDERR_FILENO)};
}

void bench_progress_show(struct bench_progress *progress, const char *what)
{
    uint64_t now_ns = time_now_ns();
    if (!progress->terminal && now_ns - progress->shown_ns < INTERVAL_NS) {
        return;
    }
    progress->shown_ns = now_ns;
    double share = progress->total > 0 ? progress->done / progress->total : 0;
    share = share > 1 ? 1 : share;
    fputs(progress->terminal ? "\r\033[K" : "", stderr);
    fprintf(stderr, "%3.0f %%  %s", 100 * share, what);
    if (share > SHARE_TO_ESTIMATE) {
        double passed_s = (double)(now_ns - progress->start_ns) / 1e9;
        double left_s = passed_s * (1 - share) / share;
        fprintf(stderr, left_s >= 100 ? "; about %.0f min left" : "; about %.0f s left",
            left_s >= 100 ? left_s / 60 : left_s);
    }
    fputs(progress->terminal ? "" : "\n", stderr);
    progress->visible = true;
}

void bench_progress_add(struct bench_progress *progress, double effort)
{
    progress->done += effort;
}

void bench_progress_end(struct bench_progress *progress)
{
    if (progress->terminal && progress->visible) {
        fputs("\r\033[K", stderr);
    }
}
