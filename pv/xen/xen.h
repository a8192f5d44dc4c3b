// SPDX-License-Identifier: MIT
// What the files of the Xen backend share, and what the front ends above it ask. Who includes this
// knows that it runs under Xen: nothing outside pv/ does.
#pragma once

#include "kernel/base/types.h"
#include "kernel/core/percpu.h"

#include <xen/xen.h>

// Does Xen drive the machine, and are hypercalls possible? Read-only after pv_init().
extern bool xen_is_running;
// The domain's page of shared information; NULL: Xen refused it. Read-only after pv_init().
extern struct shared_info *xen_shared_info;

// Xen's number of the CPU; valid once that CPU has been on-line.
PERCPU_DECLARE(uint32_t, xen_vcpu);
static inline uint32_t xen_vcpu_of(uint32_t cpu)
{
    return *percpu_of(xen_vcpu, cpu);
}

// Where Xen keeps the CPU's struct vcpu_info; &xen_no_vcpu_info (all zero): nowhere yet. Set before
// the CPU takes events.
PERCPU_DECLARE(struct vcpu_info *, xen_vcpu_info);
extern struct vcpu_info xen_no_vcpu_info;

// Physical address of kernel memory: of the image (and so the boot CPU's per-CPU data), or of the
// direct map.
uint64_t xen_phys_of(const void *address);

// What Xen returned, as a negative errno of Linux: Xen's numbers beyond those are -EIO.
[[nodiscard]] int xen_error(long result);

// No more kernel log on Xen's own console: the domain's console has taken over.
void xen_early_console_stop(void);
