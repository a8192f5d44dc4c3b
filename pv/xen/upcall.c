// SPDX-License-Identifier: MIT
// The interrupt by which Xen says that events are pending, and the interface of event channels.
//
// Xen can deliver it in two ways:
//   domain's vector    HVM_PARAM_CALLBACK_IRQ: one vector for all vCPUs, injected without the local
//                      APIC. No end of interrupt is needed; it comes again until the vCPU clears
//                      evtchn_upcall_pending.
//   vCPU's vector      HVMOP_set_evtchn_upcall_vector: through the vCPU's local APIC. It needs an
//                      end of interrupt, which is an exit unless the processor virtualises the
//                      APIC; then it also reaches a running vCPU without an exit.
// So the second is used where Xen says that APIC accesses do not exit, else the first.

#include "kernel/arch/x86/arch.h"
#include "kernel/core/irq.h"
#include "kernel/core/panic.h"
#include "pv/xen/events.h"
#include "pv/xen/events_core.h"
#include "pv/xen/hypercall.h"
#include "pv/xen/xen.h"
#include "pv/xen/xen_internal.h"

#include <xen/arch-x86/cpuid.h>
#include <xen/features.h>
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/params.h>
#include <xen/vcpu.h>
#include <xen/version.h>

#define LEAF_HVM 4 // offset of the leaf with HVM features

struct vcpu_info xen_no_vcpu_info;
PERCPU(struct vcpu_info *, xen_vcpu_info) PERCPU_INITIAL(&xen_no_vcpu_info);
// Must not cross a page: its size is a power of two, and so its alignment.
static PERCPU(struct vcpu_info, placed_info) __aligned(64);
static_assert(sizeof(struct vcpu_info) == 64);
static PERCPU(bool, info_is_placed);

PV_READ_ONLY_AFTER_INIT static bool placement_is_on = false;
PV_READ_ONLY_AFTER_INIT static bool domain_vector_is_on = false;
PV_READ_ONLY_AFTER_INIT static bool vcpu_vector_is_on = false;
PV_READ_ONLY_AFTER_INIT static int upcall_vector = 0; // 0: none yet

// ---- vcpu_info ----------------------------------------------------------------------------------

static int vcpu_info_place(uint32_t cpu)
{
    struct vcpu_info *info = percpu_of(placed_info, cpu);
    uint64_t phys = xen_phys_of(info);
    struct vcpu_register_vcpu_info place = {.mfn = phys >> PAGE_SHIFT, .offset = phys % PAGE_SIZE};
    int error = 0;
    if (!*percpu_of(info_is_placed, cpu)) // once in a domain's life; a CPU may come back
        error = xen_error(xen_vcpu_op(VCPUOP_register_vcpu_info, xen_vcpu_of(cpu), &place));
    if (error != 0)
        return error;
    *percpu_of(info_is_placed, cpu) = true;
    *percpu_of(xen_vcpu_info, cpu) = info;
    return 0;
}

const char *xen_vcpu_info_start(void)
{
    if (vcpu_info_place(0) != 0)
        return "Xen refused it";
    placement_is_on = true;
    return NULL;
}

void xen_vcpu_info_cpu(uint32_t cpu)
{
    uint32_t vcpu = xen_vcpu_of(cpu);
    if (placement_is_on) {
        if (vcpu_info_place(cpu) != 0)
            panic("xen: CPU %u: no place for its vcpu_info", cpu);
    } else if (xen_shared_info != NULL && vcpu < XEN_LEGACY_MAX_VCPUS) {
        *percpu_of(xen_vcpu_info, cpu) = &xen_shared_info->vcpu_info[vcpu];
    } else if (xen_events_up()) {
        panic("xen: CPU %u: the shared page has room for %u vCPUs only (maxcpus)", cpu,
            XEN_LEGACY_MAX_VCPUS);
    }
}

// ---- vector -------------------------------------------------------------------------------------

static void upcall(void *context, struct trap_frame *frame)
{
    if (likely(domain_vector_is_on))
        counter_add(pv, eois_without_exit, 1);
    xen_events_upcall(frame);
}

static const char *vector_alloc(void)
{
    if (this_cpu(xen_vcpu_info) == &xen_no_vcpu_info)
        return "there is no vcpu_info";
    if (upcall_vector == 0) {
        int vector = irq_vector_alloc(upcall, NULL, "Xen events");
        if (vector < 0)
            return "no vector is free";
        upcall_vector = vector;
    }
    return NULL;
}

const char *xen_domain_vector_start(void)
{
    struct xen_feature_info features = {.submap_idx = XENFEAT_hvm_callback_vector / 32};
    if (xen_cpuid(LEAF_HVM, 0).eax & XEN_HVM_CPUID_X2APIC_VIRT)
        return "APIC accesses do not exit here: each vCPU has its own";
    if (xen_version(XENVER_get_features, &features) != 0 ||
        !(features.submap & BIT(XENFEAT_hvm_callback_vector % 32)))
        return "Xen does not offer it";
    const char *why = vector_alloc();
    if (why != NULL)
        return why;
    uint64_t value = (uint64_t)HVM_PARAM_CALLBACK_TYPE_VECTOR << 56 | (uint64_t)upcall_vector;
    if (xen_hvm_param_write(HVM_PARAM_CALLBACK_IRQ, value) != 0)
        return "Xen refused it";
    irq_vector_set_without_end((uint32_t)upcall_vector);
    domain_vector_is_on = true;
    return NULL;
}

static int vcpu_vector_set(uint32_t cpu)
{
    struct xen_hvm_evtchn_upcall_vector set = {
        .vcpu = xen_vcpu_of(cpu), .vector = (uint8_t)upcall_vector};
    return xen_error(xen_hvm_op(HVMOP_set_evtchn_upcall_vector, &set));
}

const char *xen_vcpu_vector_start(void)
{
    if (domain_vector_is_on)
        return "the domain's vector needs no end of interrupt";
    const char *why = vector_alloc();
    if (why != NULL)
        return why;
    if (vcpu_vector_set(0) != 0)
        return "Xen refused it";
    vcpu_vector_is_on = true;
    return NULL;
}

// ---- interface ----------------------------------------------------------------------------------

static const char *events_start(const struct xen_event_abi *abi)
{
    if (!domain_vector_is_on && !vcpu_vector_is_on)
        return "there is no vector for events";
    if (xen_events_up())
        return "the other interface is in use";
    return xen_events_start(abi) == 0 ? NULL : "Xen refused it";
}

const char *xen_fifo_start(void)
{
    return events_start(&xen_event_fifo);
}

const char *xen_2level_start(void)
{
    return events_start(&xen_event_2level);
}

void xen_upcall_cpu(uint32_t cpu)
{
    if (!xen_events_up())
        return;
    if (xen_events_start_cpu(cpu) != 0)
        panic("xen: CPU %u can't receive events", cpu);
    if (vcpu_vector_is_on && vcpu_vector_set(cpu) != 0)
        panic("xen: CPU %u: Xen refused its vector for events", cpu);
    // A CPU that was off may have left events of closed ports in its queues, and the interrupt for
    // them went with its APIC: Xen would wait for both before it raises anything.
    xen_events_upcall(NULL);
}
