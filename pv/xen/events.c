// SPDX-License-Identifier: MIT
// Event channels: who gets which event.
//
// Xen raises an event by setting a bit for its port and interrupting the CPU that the port is bound
// to: by one vector, whatever the ports are (upcall). That CPU then looks, in the way of the
// interface in use (events_fifo.c, events_2level.c), which ports are pending, and calls their
// functions. A port's bit is cleared before its function is called, so an event that comes
// meanwhile is not lost: it is pending again.
//
// Ports are small numbers that Xen gives out, lowest first. What we know of each lies in chunks
// that are made when the first port of theirs is bound; the first one is static, so that timers and
// interrupts between CPUs work before there is an allocator.
//   E1  event->function changes under events_lock and is read without. It is set before the port is
//       unmasked for the first time, and cleared after it was masked and closed.
//   E2  A port is masked whenever it has no function.
// A number that Xen tells and that is not bound is counted, masked and otherwise ignored.

#include "pv/xen/events.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/core/cpumask.h"
#include "kernel/core/errno.h"
#include "kernel/core/irq.h"
#include "kernel/core/log.h"
#include "kernel/core/preempt.h"
#include "kernel/core/spinlock.h"
#include "mm/page.h"
#include "pv/pv.h"
#include "pv/xen/events_abi.h"
#include "pv/xen/events_core.h"
#include "pv/xen/hypercall.h"
#include "pv/xen/xen.h"

struct event {
    xen_event_function *function; // E1
    void *context;
    const char *name;
    uint32_t cpu;  // under events_lock
    uint32_t home; // where it goes while that CPU is on; likewise
};

#define CHUNK_EVENTS (PAGE_SIZE / sizeof(struct event))
#define CHUNKS       (EVTCHN_FIFO_NR_CHANNELS / CHUNK_EVENTS)

static struct event first_chunk[CHUNK_EVENTS];
static struct event *chunks[CHUNKS] = {first_chunk}; // slots are set once, with release
static struct spinlock events_lock = SPINLOCK_INIT("xen events");
static struct cpumask cpus_off; // under events_lock
PV_READ_ONLY_AFTER_INIT static const struct xen_event_abi *abi = NULL;

COUNTER(xen, upcalls);
COUNTER(xen, events);
COUNTER(xen, stray_events); // pending, but nobody has bound the port
COUNTER(xen, bad_ports);    // numbers that can't be ports, queues that make no sense

bool xen_events_up(void)
{
    return abi != NULL;
}

const char *xen_events_abi(void)
{
    return abi != NULL ? abi->name : "none";
}

int xen_events_start(const struct xen_event_abi *with)
{
    assert(abi == NULL);
    int error = with->start_cpu(cpu_current(), xen_vcpu_of(cpu_current()));
    if (error == 0)
        abi = with;
    return error;
}

int xen_events_start_cpu(uint32_t cpu)
{
    assert(abi != NULL);
    return abi->start_cpu(cpu, xen_vcpu_of(cpu));
}

// ---- receiving ----------------------------------------------------------------------------------

// What is known of a port; NULL: nothing.
static struct event *event_of(evtchn_port_t port)
{
    if (port / CHUNK_EVENTS >= CHUNKS)
        return NULL;
    struct event *chunk = atomic_load_acquire(&chunks[port / CHUNK_EVENTS]);
    return chunk != NULL ? &chunk[port % CHUNK_EVENTS] : NULL;
}

void xen_event_deliver(evtchn_port_t port, struct trap_frame *frame)
{
    const struct event *event = event_of(port);
    xen_event_function *function = event != NULL ? atomic_load_acquire(&event->function) : NULL;
    if (unlikely(function == NULL)) {
        counter_add(xen, stray_events, 1);
        abi->mask(port); // E2
        abi->clear(port);
        return;
    }
    abi->clear(port);
    counter_add(xen, events, 1);
    function(event->context, frame);
}

void xen_events_upcall(struct trap_frame *frame)
{
    struct vcpu_info *info = this_cpu(xen_vcpu_info);
    counter_add(xen, upcalls, 1);
    // Cleared before the search: what Xen raises from here on sets it again, and interrupts again.
    atomic_store_relaxed(&info->evtchn_upcall_pending, 0);
    atomic_fence();
    if (likely(abi != NULL)) // the vector works before the interface is chosen
        abi->scan(frame);
}

// ---- binding ------------------------------------------------------------------------------------

static int event_channel_op(unsigned command, void *argument)
{
    return xen_error(xen_event_channel_op(command, argument));
}

static void port_close(evtchn_port_t port)
{
    struct evtchn_close close = {.port = port};
    if (event_channel_op(EVTCHNOP_close, &close) != 0)
        log_warning("xen: event channel %u can't be closed", port);
}

// Makes the chunk for the port. Under events_lock.
static int chunk_make(evtchn_port_t port)
{
    struct event **slot = &chunks[port / CHUNK_EVENTS];
    if (*slot != NULL)
        return 0;
    struct event *chunk = page_alloc_kernel(0, PAGE_ALLOC_ZERO | PAGE_ALLOC_ATOMIC);
    if (chunk == NULL)
        return -ENOMEM;
    atomic_store_release(slot, chunk);
    return 0;
}

// Gives a port that Xen has just made (or the toolstack before) its function.
static int port_register_locked(
    evtchn_port_t port, const struct event *description, struct event **registered)
{
    if (port == 0 || port >= abi->port_count || port / CHUNK_EVENTS >= CHUNKS) {
        counter_add(xen, bad_ports, 1);
        return -EINVAL;
    }
    int error = chunk_make(port);
    if (error == 0)
        error = abi->reserve(port);
    if (error != 0)
        return error;
    struct event *event = event_of(port);
    if (event->function != NULL)
        return -EBUSY;
    event->context = description->context;
    event->name = description->name;
    event->cpu = description->cpu;
    event->home = description->home;
    abi->set_cpu(port, description->cpu);
    atomic_store_release(&event->function, description->function);
    *registered = event;
    return 0;
}

static int port_register(evtchn_port_t port, const struct event *description)
{
    assert(description->function != NULL);
    struct event *event = NULL;
    uint64_t flags = spin_lock_irqsave(&events_lock);
    int error = port_register_locked(port, description, &event);
    spin_unlock_irqrestore(&events_lock, flags);
    if (error != 0)
        return error;
    xen_event_unmask(port);
    return 0;
}

// The same for a port that is of no use, and has to be closed, if that fails.
static int port_adopt(evtchn_port_t port, const struct event *description, evtchn_port_t *result)
{
    int error = port_register(port, description);
    if (error == 0)
        *result = port;
    else if (error != -EBUSY) // else Xen gave out one that we have: not ours to close
        port_close(port);
    return error;
}

int xen_event_bind_virq(uint32_t virq, uint32_t cpu, xen_event_function *function, void *context,
    const char *name, evtchn_port_t *port)
{
    struct evtchn_bind_virq bind = {.virq = virq, .vcpu = xen_vcpu_of(cpu)};
    int error = event_channel_op(EVTCHNOP_bind_virq, &bind);
    if (error != 0)
        return error;
    return port_adopt(bind.port, &(struct event){function, context, name, cpu, cpu}, port);
}

int xen_event_bind_ipi(uint32_t cpu, xen_event_function *function, void *context, const char *name,
    evtchn_port_t *port)
{
    struct evtchn_bind_ipi bind = {.vcpu = xen_vcpu_of(cpu)};
    int error = event_channel_op(EVTCHNOP_bind_ipi, &bind);
    if (error != 0)
        return error;
    return port_adopt(bind.port, &(struct event){function, context, name, cpu, cpu}, port);
}

int xen_event_bind_unbound(domid_t domain, xen_event_function *function, void *context,
    const char *name, evtchn_port_t *port)
{
    struct evtchn_alloc_unbound bind = {.dom = DOMID_SELF, .remote_dom = domain};
    int error = event_channel_op(EVTCHNOP_alloc_unbound, &bind);
    if (error != 0)
        return error;
    return port_adopt(bind.port, &(struct event){function, context, name, 0, 0}, port);
}

int xen_event_bind_interdomain(domid_t domain, evtchn_port_t remote, xen_event_function *function,
    void *context, const char *name, evtchn_port_t *port)
{
    struct evtchn_bind_interdomain bind = {.remote_dom = domain, .remote_port = remote};
    int error = event_channel_op(EVTCHNOP_bind_interdomain, &bind);
    if (error != 0)
        return error;
    return port_adopt(bind.local_port, &(struct event){function, context, name, 0, 0}, port);
}

int xen_event_bind_connected(
    evtchn_port_t port, xen_event_function *function, void *context, const char *name)
{
    if (port == 0 || port >= abi->port_count)
        return -EINVAL;
    struct evtchn_status status = {.dom = DOMID_SELF, .port = port};
    int error = event_channel_op(EVTCHNOP_status, &status);
    if (error != 0)
        return error;
    if (status.status != EVTCHNSTAT_interdomain)
        return -ENXIO;
    return port_register(port, &(struct event){function, context, name, 0, 0});
}

// Under events_lock.
static int event_move(evtchn_port_t port, struct event *event, uint32_t cpu)
{
    struct evtchn_bind_vcpu bind = {.port = port, .vcpu = xen_vcpu_of(cpu)};
    int error = event_channel_op(EVTCHNOP_bind_vcpu, &bind);
    if (error == 0) {
        event->cpu = cpu;
        abi->set_cpu(port, cpu);
    }
    return error;
}

int xen_event_set_cpu(evtchn_port_t port, uint32_t cpu)
{
    uint64_t flags = spin_lock_irqsave(&events_lock);
    struct event *event = event_of(port);
    assert(event != NULL);
    assert(event->function != NULL);
    int error = event_move(port, event, cpumask_test(&cpus_off, cpu) ? 0 : cpu);
    if (error == 0)
        event->home = cpu;
    spin_unlock_irqrestore(&events_lock, flags);
    return error;
}

// Moves all events whose home the CPU is. Xen refuses that for IPIs and for a CPU's own VIRQs,
// which are closed and bound again when the CPU goes and comes.
static void events_move(uint32_t home, bool is_off)
{
    uint64_t flags = spin_lock_irqsave(&events_lock);
    if (is_off)
        cpumask_set(&cpus_off, home);
    else
        cpumask_clear(&cpus_off, home);
    for (uint32_t chunk = 0; chunk < CHUNKS; chunk++) {
        for (uint32_t i = 0; chunks[chunk] != NULL && i < CHUNK_EVENTS; i++) {
            struct event *event = &chunks[chunk][i];
            if (event->function != NULL && event->home == home)
                (void)event_move((uint32_t)(chunk * CHUNK_EVENTS + i), event, is_off ? 0 : home);
        }
    }
    spin_unlock_irqrestore(&events_lock, flags);
}

void xen_events_leave_cpu(uint32_t cpu)
{
    events_move(cpu, true);
}

void xen_events_return_to_cpu(uint32_t cpu)
{
    events_move(cpu, false);
}

void xen_event_notify(evtchn_port_t port)
{
    struct evtchn_send send = {.port = port};
    long result = xen_event_channel_op(EVTCHNOP_send, &send);
    debug_assert(result == 0);
    (void)result;
}

void xen_event_mask(evtchn_port_t port)
{
    abi->mask(port);
}

void xen_event_unmask(evtchn_port_t port)
{
    if (!abi->unmask(port))
        return;
    struct evtchn_unmask unmask = {.port = port};
    if (event_channel_op(EVTCHNOP_unmask, &unmask) != 0)
        counter_add(xen, bad_ports, 1);
}

bool xen_event_is_pending(evtchn_port_t port)
{
    return abi->is_pending(port);
}

void xen_event_clear(evtchn_port_t port)
{
    abi->clear(port);
}

void xen_event_set(evtchn_port_t port)
{
    abi->set(port);
}

static void nothing(void *argument)
{
}

static void event_remove(evtchn_port_t port)
{
    uint64_t flags = spin_lock_irqsave(&events_lock);
    struct event *event = event_of(port);
    assert(event != NULL);
    assert(event->function != NULL);
    atomic_store_release(&event->function, NULL);
    abi->clear(port);
    port_close(port); // under the lock: the number may be given out again at once
    spin_unlock_irqrestore(&events_lock, flags);
}

void xen_event_close(evtchn_port_t port)
{
    assert(arch_irqs_enabled());
    abi->mask(port);
    // Functions run with interrupts off: when every CPU has taken an interrupt, none is in this
    // one.
    preempt_disable();
    smp_call_mask(&cpu_online, nothing, NULL, true);
    preempt_enable();
    event_remove(port);
}

void xen_event_close_own(evtchn_port_t port)
{
    assert_irqs_off();
    abi->mask(port);
    event_remove(port);
}
