// SPDX-License-Identifier: MIT
// Steps before the machine ends.

#include "kernel/core/shutdown.h"

#include "kernel/base/atomic.h"
#include "kernel/base/types.h"

static struct shutdown_step *steps;
static bool running;

void shutdown_register(struct shutdown_step *step)
{
    step->next = steps;
    steps = step;
}

void shutdown_run(void)
{
    if (atomic_exchange(&running, true))
        return;
    for (struct shutdown_step *step = steps; step != NULL; step = step->next)
        step->function();
}
