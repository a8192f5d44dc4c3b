// SPDX-License-Identifier: MIT
// A model of Xen for tests on the host: answers hypercalls, keeps event channels in both of its
// interfaces, and can be told to refuse, to lie, or to be an older version.
//
// Addresses: physical ones are pointers of the test (xen_phys_of() is the identity), but for the
// shared page. A test sets host_cpu to the CPU that it plays.
#pragma once

#include "pv/pv.h"

#include <xen/event_channel.h>
#include <xen/vcpu.h>
#include <xen/xen.h>

#define FAKE_PORTS 3000

struct fake_port {
    enum { FAKE_FREE, FAKE_VIRQ, FAKE_IPI, FAKE_UNBOUND, FAKE_INTERDOMAIN } kind;
    uint32_t vcpu;
    uint32_t sent; // by us
};

struct fake_xen {
    struct fake_port ports[FAKE_PORTS];
    struct shared_info shared;
    struct vcpu_info *info[HOST_CPUS]; // NULL: in the shared page
    bool is_up[HOST_CPUS];
    bool fifo;
    struct evtchn_fifo_control_block *control[HOST_CPUS];
    uint32_t tail[HOST_CPUS][EVTCHN_FIFO_MAX_QUEUES];
    uint32_t last_vcpu[FAKE_PORTS]; // in whose queue the port was last
    event_word_t *pages[FAKE_PORTS / 1024 + 1];
    uint32_t page_count;
    uint64_t timer_ns[HOST_CPUS]; // 0: not armed
    struct vcpu_runstate_info *run_state[HOST_CPUS];
    uint32_t callback_vector, vcpu_vector[HOST_CPUS];
    uint32_t flushes, polls, multicalls, hypercalls;
    uint32_t shutdown_reason;

    // What the test wants:
    uint32_t first_free;       // ports below are taken by others
    uint64_t refused_calls;    // bit for each hypercall number that is not there
    uint32_t fail_at;          // the hypercall of this number (1: the first) fails; 0: none
    long fail_with;            //   with this
    uint32_t refused_vcpu_op;  // bits of VCPUOP_*
    uint32_t refused_event_op; // bits of EVTCHNOP_*
    uint32_t features;         // XENFEAT_* of submap 0
    struct pv_cpuid leaves[6]; // at 0x40000000
};
extern struct fake_xen fake_xen;

// A fresh Xen of our days.
void fake_xen_create(void);
// Somebody else raises the event.
void fake_xen_raise(evtchn_port_t port);
// The word of a port in the FIFO interface.
event_word_t *fake_xen_word(evtchn_port_t port);
struct vcpu_info *fake_xen_info(uint32_t vcpu);

// Defined by PV_BACKEND in xen.c.
extern const struct pv_backend pv_backend_xen;
