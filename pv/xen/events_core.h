// SPDX-License-Identifier: MIT
// Event channels, for xen.c and cpus.c only: start, and the interrupt that says that events are
// pending.
#pragma once

#include "pv/xen/events_abi.h"

struct trap_frame;

// Starts events with that interface on the boot CPU, whose xen_vcpu and xen_vcpu_info are set. 0 or
// a negative errno: then nothing has changed and another interface can be tried.
[[nodiscard]] int xen_events_start(const struct xen_event_abi *with);
// The same interface on another CPU, by itself, interrupts off.
[[nodiscard]] int xen_events_start_cpu(uint32_t cpu);
// xen_event_close() for a port that was never bound to another CPU than the running one. Interrupts
// off.
void xen_event_close_own(evtchn_port_t port);
// Calls the functions of what is pending on this CPU. Interrupts off.
void xen_events_upcall(struct trap_frame *frame);
