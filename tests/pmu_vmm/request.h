// SPDX-License-Identifier: MIT
// What a program of the guest asks the model VMM for: shared by vmm.c and counters.c.
//
// The program writes the address of a struct pmu_request, eight bytes, to its standard error, which
// is a port of the machine (kernel/core/host_stream.h). The VMM finds the structure in the memory
// of the process that runs, and has answered when write(2) returns.
#pragma once

#include "perf/pmu/model.h"

enum pmu_request_kind {
    // Nothing but an answer.
    PMU_REQUEST_STATE,
    // `codes` are the events that can happen, and accesses that were wrong until now are forgotten.
    PMU_REQUEST_CODES,
    // `count` events of `index` happen, in the kernel (where the write is), until an NMI is due:
    // `left` have not happened then.
    PMU_REQUEST_EVENTS,
    // From now on events happen with each access to a register too, at most `count` of each.
    PMU_REQUEST_IN_DRIVER,
    // From now on up to `count` events of each code happen at moments that the guest does not know,
    // wherever its CPU is then, in a program or in the kernel. 0: no more.
    PMU_REQUEST_ANYWHERE,
    // An NMI comes that no counter has raised, right behind the next one that a counter raises.
    PMU_REQUEST_SPURIOUS,
    // The VMM is a collector of samples (perf/export.h) of `index`, one each `count` events; 0: no
    // more. The kernel does it a little later: then `collects` is 1 in an answer, 0 for no more,
    // else negative.
    PMU_REQUEST_COLLECT,
};

struct pmu_request {
    uint32_t kind, index;
    uint64_t count, left;
    uint64_t codes[PMU_MODEL_CODES];
    // The answer: the model's, as in perf/pmu/model.h.
    char name[32];
    uint64_t counted[PMU_MODEL_CODES];
    uint64_t overflows, dropped, wrong;
    uint64_t nmis;      // were given to the guest
    uint64_t user_nmis; // of these while a program ran
    uint32_t general;   // counters that any event can have
    int32_t collects;
    // What the collector got: samples, those in programs, and the sum of what they stand for.
    uint64_t samples, user_samples, periods;
    uint64_t collector_wrong; // what was lost, or not well-formed
};

#define PMU_REQUEST_ALIGNMENT 512 // in one page
static_assert(sizeof(struct pmu_request) <= PMU_REQUEST_ALIGNMENT, "it lies in one page");
