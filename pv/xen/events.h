// SPDX-License-Identifier: MIT
// Event channels: Xen's interrupts. An event is one bit, raised by Xen, by another domain or by
// ourselves; its number is called a port. Theory in events.c.
//
// General preconditions: events are up (xen_events_up()). Unless said otherwise: any context but
// NMI. A port that a function takes is one that a bind function gave and that is not closed yet.
// Functions return 0 or a negative errno.
#pragma once

#include "kernel/base/types.h"

#include <xen/event_channel.h>

struct trap_frame;

// An event was raised since the function was called last; several may have become one. Called with
// interrupts off, on the CPU that the port is bound to (once perhaps still on the one before, after
// xen_event_set_cpu()); the same port's function never runs twice at a time on one CPU. Must not
// sleep. What was written before the event was raised is visible.
typedef void xen_event_function(void *context, struct trap_frame *frame);

// Can events be received? Fixed when the backend has started; false: device front ends can't work.
bool xen_events_up(void);
// Name of the interface in use: "fifo" or "2-level".
const char *xen_events_abi(void);

// A virtual interrupt (VIRQ_*) of that CPU; global ones are bound to CPU 0 first.
[[nodiscard]] int xen_event_bind_virq(uint32_t virq, uint32_t cpu, xen_event_function *function,
    void *context, const char *name, evtchn_port_t *port);
// An event that xen_event_notify() of any CPU raises on that CPU.
[[nodiscard]] int xen_event_bind_ipi(uint32_t cpu, xen_event_function *function, void *context,
    const char *name, evtchn_port_t *port);
// A new port that the other domain may bind to; it is told the number through xenstore. On CPU 0.
[[nodiscard]] int xen_event_bind_unbound(domid_t domain, xen_event_function *function,
    void *context, const char *name, evtchn_port_t *port);
// A port that another domain has allocated for us. On CPU 0.
[[nodiscard]] int xen_event_bind_interdomain(domid_t domain, evtchn_port_t remote,
    xen_event_function *function, void *context, const char *name, evtchn_port_t *port);
// A port that is connected already: the toolstack's for console and xenstore. -EINVAL when there
// can't be such a port, -EBUSY when somebody has it, -ENXIO when Xen says that it is not connected.
// On CPU 0. If something was raised before, the function is called.
[[nodiscard]] int xen_event_bind_connected(
    evtchn_port_t port, xen_event_function *function, void *context, const char *name);

// From now on events of the port come to that CPU, or, while it is off, to CPU 0. Not for IPIs and
// for VIRQs of a CPU.
[[nodiscard]] int xen_event_set_cpu(evtchn_port_t port, uint32_t cpu);
// A CPU is about to go off: what comes to it by xen_event_set_cpu() comes to CPU 0 from now on. And
// it is back. As in struct cpu_hook.
void xen_events_leave_cpu(uint32_t cpu);
void xen_events_return_to_cpu(uint32_t cpu);
// Raises the event at the other end. One hypercall.
void xen_event_notify(evtchn_port_t port);
// While it is masked, the function is not called; what was raised meanwhile comes when it is
// unmasked. Without hypercall, but for unmasking one that was raised.
void xen_event_mask(evtchn_port_t port);
void xen_event_unmask(evtchn_port_t port);
// The raised bit itself, for ports that stay masked and are polled for (SCHEDOP_poll).
bool xen_event_is_pending(evtchn_port_t port);
void xen_event_clear(evtchn_port_t port);
void xen_event_set(evtchn_port_t port); // locally: nobody is interrupted
// Closes the port. When it returns, the function is not running any more and is not called again.
// Task context, interrupts on.
void xen_event_close(evtchn_port_t port);
