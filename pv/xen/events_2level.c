// SPDX-License-Identifier: MIT
// The 2-level interface of event channels (every Xen; <xen/event_channel.h>, <xen/xen.h>).
//
// The shared page has a bit "pending" and a bit "masked" for each of 4096 ports; each CPU has a
// word in its vcpu_info that says which words of the pending bits to look at. The bits of ports of
// different CPUs lie in the same words, so each CPU has a map of its own ports.

#include "pv/xen/events_abi.h"

#include "kernel/base/atomic.h"
#include "kernel/base/bitmap.h"
#include "kernel/core/errno.h"
#include "kernel/core/percpu.h"
#include "pv/xen/xen.h"

#define WORDS (EVTCHN_2L_NR_CHANNELS / 64)

// Ports that are bound to the CPU; bits change atomically.
struct port_map {
    uint64_t words[WORDS];
};
static PERCPU(struct port_map, own_ports);
static uint16_t port_cpu[EVTCHN_2L_NR_CHANNELS]; // whose map has the bit, plus 1; events_lock

static int level2_start_cpu(uint32_t cpu, uint32_t vcpu)
{
    if (xen_shared_info == NULL)
        return -ENXIO;
    for (uint32_t word = 0; cpu == 0 && word < WORDS; word++)
        atomic_store_relaxed(&xen_shared_info->evtchn_mask[word], UINT64_MAX);
    return 0;
}

static int level2_reserve(evtchn_port_t port)
{
    return 0;
}

static void level2_set_cpu(evtchn_port_t port, uint32_t cpu)
{
    if (port_cpu[port] != 0)
        bitmap_clear_atomic(percpu_of(own_ports, port_cpu[port] - 1u)->words, port);
    port_cpu[port] = (uint16_t)(cpu + 1);
    bitmap_set_atomic(percpu_of(own_ports, cpu)->words, port);
}

static void level2_mask(evtchn_port_t port)
{
    bitmap_set_atomic(xen_shared_info->evtchn_mask, port);
}

static bool level2_is_pending(evtchn_port_t port)
{
    return (atomic_load(&xen_shared_info->evtchn_pending[port / 64]) >> (port % 64) & 1) != 0;
}

static bool level2_unmask(evtchn_port_t port)
{
    if (!bitmap_test(xen_shared_info->evtchn_mask, port))
        return false;
    // First unmasked, then looked at, or an event between the two would be lost. Xen sends what is
    // pending only when it finds the mask set.
    bitmap_clear_atomic(xen_shared_info->evtchn_mask, port);
    if (!level2_is_pending(port))
        return false;
    level2_mask(port);
    return true;
}

static void level2_clear(evtchn_port_t port)
{
    bitmap_clear_atomic(xen_shared_info->evtchn_pending, port);
}

static void level2_set(evtchn_port_t port)
{
    bitmap_set_atomic(xen_shared_info->evtchn_pending, port);
}

static uint64_t deliverable(const uint64_t *own, uint32_t word)
{
    return atomic_load_relaxed(&xen_shared_info->evtchn_pending[word]) &
           ~atomic_load_relaxed(&xen_shared_info->evtchn_mask[word]) &
           atomic_load_relaxed(&own[word]);
}

static void level2_scan(struct trap_frame *frame)
{
    const uint64_t *own = this_cpu_ptr(own_ports)->words;
    uint64_t words = atomic_exchange(&this_cpu(xen_vcpu_info)->evtchn_pending_sel, 0);
    while (words != 0) {
        uint32_t word = bit_lowest(words);
        words &= words - 1;
        // Once over what is there: what comes meanwhile sets its bits, and interrupts, again.
        uint64_t ports = deliverable(own, word);
        while (ports != 0) {
            xen_event_deliver(word * 64 + bit_lowest(ports), frame);
            ports &= ports - 1;
        }
    }
}

const struct xen_event_abi xen_event_2level = {
    .name = "2-level",
    .port_count = EVTCHN_2L_NR_CHANNELS,
    .start_cpu = level2_start_cpu,
    .reserve = level2_reserve,
    .set_cpu = level2_set_cpu,
    .mask = level2_mask,
    .unmask = level2_unmask,
    .is_pending = level2_is_pending,
    .clear = level2_clear,
    .set = level2_set,
    .scan = level2_scan,
};
