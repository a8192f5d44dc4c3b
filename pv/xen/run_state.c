// SPDX-License-Identifier: MIT
// What each vCPU did with its time: Xen writes it into the vCPU's own struct vcpu_runstate_info
// whenever the vCPU gets or loses a processor, so another vCPU can see whether it runs.
//
// With VMASST_TYPE_runstate_update_flag the field state_entry_time has its top bit set while Xen
// writes; without it only the own vCPU's record can be read safely, which is all that is done with
// the times. The state alone is one word.

#include "kernel/arch/x86/arch.h"
#include "kernel/base/atomic.h"
#include "kernel/core/log.h"
#include "pv/xen/hypercall.h"
#include "pv/xen/xen.h"
#include "pv/xen/xen_internal.h"

#include <xen/vcpu.h>

#define TRIES_MAX 1000

static PERCPU(struct vcpu_runstate_info, run_state) __aligned(64);
static PERCPU(uint64_t, steal_latest);

static int run_state_register(uint32_t cpu, struct vcpu_runstate_info *record)
{
    struct vcpu_register_runstate_memory_area area = {.addr.v = record};
    return xen_error(xen_vcpu_op(VCPUOP_register_runstate_memory_area, xen_vcpu_of(cpu), &area));
}

const char *xen_run_state_start(void)
{
    (void)!xen_vm_assist(VMASST_CMD_enable, VMASST_TYPE_runstate_update_flag);
    if (run_state_register(0, percpu_of(run_state, 0)) != 0)
        return "Xen refused it";
    pv_has_steal = true;
    return NULL;
}

void xen_run_state_cpu(uint32_t cpu)
{
    if (run_state_register(cpu, percpu_of(run_state, cpu)) != 0)
        log_warning("xen: CPU %u: Xen does not say when it runs", cpu);
}

void xen_run_state_cpu_end(uint32_t cpu)
{
    (void)!run_state_register(cpu, NULL);
    percpu_of(run_state, cpu)->state = RUNSTATE_running;
}

uint64_t xen_steal_ns(void)
{
    const struct vcpu_runstate_info *record = this_cpu_ptr(run_state);
    for (uint32_t tries = 0; tries < TRIES_MAX; tries++) {
        uint64_t entry = atomic_load_acquire(&record->state_entry_time);
        uint64_t steal = atomic_load_relaxed(&record->time[RUNSTATE_runnable]) +
                         atomic_load_relaxed(&record->time[RUNSTATE_offline]);
        atomic_fence_acquire();
        if (!(entry & XEN_RUNSTATE_UPDATE) &&
            atomic_load_relaxed(&record->state_entry_time) == entry) {
            if (likely(steal >= this_cpu(steal_latest))) // it only grows, whatever Xen says
                this_cpu(steal_latest) = steal;
            break;
        }
    }
    return this_cpu(steal_latest);
}

bool xen_vcpu_is_preempted(uint32_t cpu)
{
    int state = atomic_load_relaxed(&percpu_of(run_state, cpu)->state);
    return state == RUNSTATE_runnable || state == RUNSTATE_offline; // the latter: paused
}
