// SPDX-License-Identifier: MIT
// CPUs that go off and come back while the kernel runs (sched/hotplug.c has the theory).
#pragma once

#include "kernel/base/list.h"
#include "kernel/base/types.h"

// Takes a CPU off, or brings one back. Task context, may sleep; one at a time. 0 also if it is so
// already.
//   cpu_take_off:   -EPERM: the boot CPU; -EINVAL: there is none
//   cpu_bring_back: -ENOMEM; -EIO: it does not start; -EINVAL: there is none
[[nodiscard]] int cpu_take_off(uint32_t cpu);
[[nodiscard]] int cpu_bring_back(uint32_t cpu);

// Who keeps something for each CPU that must go elsewhere (a device's interrupt, a counter) is
// asked. Both in task context, under the lock of hot-plug, and may sleep.
struct cpu_hook {
    struct list_node node;
    // The CPU is about to leave; what reaches it before this returns is still dealt with there.
    void (*leaves)(uint32_t cpu);
    // It takes threads again.
    void (*is_back)(uint32_t cpu);
};
void cpu_hook_add(struct cpu_hook *hook); // for good; task context
