// SPDX-License-Identifier: MIT
// The start of Xen's front ends, in order.
#include "pv/pv.h"
#include "pv/xen/events.h"
#include "pv/xen/front/grant.h"
#include "pv/xen/front/internal.h"
#include "pv/xen/front/store.h"

#include "kernel/core/hotplug.h"
#include "kernel/core/log.h"

static void start(void)
{
    static struct cpu_hook hook = {
        .leaves = xen_events_leave_cpu, .is_back = xen_events_return_to_cpu};
    if (!xen_events_up()) {
        log_warning("xen: without events there are no devices");
        return;
    }
    cpu_hook_add(&hook);
    xen_console_start();
    int error = xen_store_start();
    if (error != 0) {
        log_warning("xen: no xenstore (error %d): without it there are no devices", -error);
        return;
    }
    xen_balloon_start();
    error = xen_grants_start();
    if (error != 0) {
        log_warning("xen: no grant tables (error %d): without them there are no devices", -error);
        return;
    }
    xen_disks_start();
    xen_nets_start();
}

PV_FRONT_END(xen) = {.backend = "xen", .start = start};
