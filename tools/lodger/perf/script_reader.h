// SPDX-License-Identifier: MIT
//
// Reads a recording through `perf script`: samples with their symbols, of guests and of the host,
// as perf itself resolves them.
#pragma once

#include "tools/lodger/util.h"

#define SCRIPT_FRAMES_MAX 512u

struct script_frame {
    const char *symbol; // "[unknown]" if it has none
    const char *dso;    // last part of the file's path
};

struct script_sample {
    const char *comm;
    uint32_t pid, tid, cpu;
    uint64_t time_ns;
    uint64_t period;
    const char *event;
    bool is_guest;
    uint32_t machine_pid, vcpu;                    // of a guest
    const char *text;                              // of a tracepoint; else ""
    struct script_frame frames[SCRIPT_FRAMES_MAX]; // innermost first
    unsigned frame_count;
};

// Calls `sink` for each sample of the recording; strings live as long as the call. Returns the
// number of samples; dies if perf cannot read the file. With `chains` false samples have at most
// one frame.
uint64_t script_read(const char *path, bool chains,
    void (*sink)(void *context, const struct script_sample *sample), void *context);
