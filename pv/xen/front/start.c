// SPDX-License-Identifier: MIT
// The start of Xen's front ends, in order.
#include "pv/pv.h"
#include "pv/xen/events.h"
#include "pv/xen/front/internal.h"

#include "kernel/core/log.h"

static void start(void)
{
    if (!xen_events_up()) {
        log_warning("xen: without events there are no devices");
        return;
    }
    xen_console_start();
}

PV_FRONT_END(xen) = {.backend = "xen", .start = start};
