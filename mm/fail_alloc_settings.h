// SPDX-License-Identifier: MIT
// What allocations fail on purpose (mm/fail_alloc.c); debug and kasan builds only.
#pragma once

#include "kernel/base/types.h"

#define FAIL_ALLOC_TASK_BYTES 16

struct fail_alloc_settings {
    uint32_t one_in;                  // on average one of so many fails; 0: none does
    uint32_t times;                   // and so many at most
    char task[FAIL_ALLOC_TASK_BYTES]; // of threads of this name; "": of all programs
};

// 0; -EOPNOTSUPP: not in this build. Task context, interrupts on.
[[nodiscard]] int fail_alloc_set(const struct fail_alloc_settings *settings);
// What is left of `times`, and how many failed since they were set.
[[nodiscard]] int fail_alloc_get(struct fail_alloc_settings *settings, uint64_t *failed);
