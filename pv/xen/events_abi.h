// SPDX-License-Identifier: MIT
// The two ways in which Xen tells what is pending, behind events.c. General preconditions: a port
// is below port_count and reserve(port) was successful; any context.
#pragma once

#include "kernel/base/types.h"
#include "kernel/core/counter.h"

#include <xen/event_channel.h>

COUNTER_DECLARE(xen, bad_ports);

struct trap_frame;

struct xen_event_abi {
    const char *name;
    uint32_t port_count; // it can have ports below this
    // On the CPU itself, interrupts off, before it receives events. `vcpu` is Xen's number. 0 or
    // a negative errno.
    int (*start_cpu)(uint32_t cpu, uint32_t vcpu);
    // Makes what is needed for this port. 0, -ENOMEM, or what Xen says. Under the lock of events.c.
    int (*reserve)(evtchn_port_t port);
    // Bound to a CPU, or moved. Under the lock of events.c.
    void (*set_cpu)(evtchn_port_t port, uint32_t cpu);
    void (*mask)(evtchn_port_t port);
    // True: nothing was done, Xen has to do it (EVTCHNOP_unmask), as it is raised or may be.
    bool (*unmask)(evtchn_port_t port);
    bool (*is_pending)(evtchn_port_t port);
    void (*clear)(evtchn_port_t port);
    void (*set)(evtchn_port_t port);
    // Calls xen_event_deliver() for what is pending, not masked, and for this CPU. Interrupts off.
    void (*scan)(struct trap_frame *frame);
};

extern const struct xen_event_abi xen_event_fifo, xen_event_2level;

// events.c: an event of `port`, any number below port_count.
void xen_event_deliver(evtchn_port_t port, struct trap_frame *frame);
