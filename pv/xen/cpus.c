// SPDX-License-Identifier: MIT
// Between vCPUs: interrupts, TLB flushes, waiting for locks, start.
//
// An interrupt between CPUs is an event: one hypercall for one target, and for several targets one
// multicall with a send for each, which is one exit as well.
//
// TLB flushes: HVMOP_flush_tlbs makes Xen give every vCPU of the domain a new address space tag
// (ASID, VPID). One exit for any number of targets; vCPUs that run are interrupted for a moment
// without running anything, the others are not touched: their next entry begins with an empty TLB.
// But it drops all entries, of all vCPUs, the own among them, and a TLB is expensive to fill under
// nested paging. So a single running target is interrupted instead and flushes what was asked for.
//
// Locks: each CPU has an event that stays masked; who waits polls for it (SCHEDOP_poll), the kick
// raises it.
//   L1  lock_wait() clears the event, looks at the word, polls. A kick after the clearing leaves
//       the event pending, and the poll returns at once.
//   L2  An interrupt between the two may wait for a lock itself, and its clearing would take away
//       our kick. So who ends a wait inside another one raises the event again, locally.
//   L3  A CPU that is being started has no event yet. It spins, and needs no kick.

#include "kernel/arch/x86/apic.h"
#include "kernel/arch/x86/arch.h"
#include "kernel/base/atomic.h"
#include "kernel/core/errno.h"
#include "kernel/core/irq.h"
#include "kernel/core/log.h"
#include "kernel/core/panic.h"
#include "mm/tlb.h"
#include "pv/xen/events.h"
#include "pv/xen/events_core.h"
#include "pv/xen/hypercall.h"
#include "pv/xen/xen.h"
#include "pv/xen/xen_internal.h"

#include <xen/hvm/hvm_op.h>
#include <xen/hvm/hvm_vcpu.h>
#include <xen/sched.h>
#include <xen/vcpu.h>

#define BATCH        16 // sends in one multicall: what lies on the stack
#define RFLAGS_START 2  // the bit that is always set

// Kernel vectors that come as events.
enum ipi { IPI_RESCHEDULE, IPI_CALL, IPI_COUNT };
static const uint32_t ipi_vectors[IPI_COUNT] = {VECTOR_RESCHEDULE, VECTOR_CALL};
struct ipi_ports {
    evtchn_port_t of[IPI_COUNT];
};
static PERCPU(struct ipi_ports, ipi_ports);

static PERCPU(evtchn_port_t, lock_port);
static PERCPU(uint32_t, lock_depth); // lock_wait()s of this CPU inside each other

PV_READ_ONLY_AFTER_INIT static bool multicall_is_on = false;

COUNTER(xen, multicalls);
COUNTER(xen, flush_hypercalls);

// ---- interrupts ---------------------------------------------------------------------------------

static void ipi_event(void *context, struct trap_frame *frame)
{
    irq_deliver(frame, (uint32_t)(uintptr_t)context);
}

static int ipi_set_up(uint32_t cpu)
{
    for (int i = 0; i < IPI_COUNT; i++) {
        int error = xen_event_bind_ipi(cpu, ipi_event, (void *)(uintptr_t)ipi_vectors[i],
            "between CPUs", &percpu_of(ipi_ports, cpu)->of[i]);
        if (error != 0)
            return error;
    }
    return 0;
}

const char *xen_ipi_start(void)
{
    if (!xen_events_up())
        return "it needs events";
    return ipi_set_up(0) == 0 ? NULL : "Xen refused its events";
}

void xen_ipi_cpu(uint32_t cpu)
{
    if (ipi_set_up(cpu) != 0)
        panic("xen: CPU %u can't be interrupted by others", cpu);
}

void xen_ipi_cpu_end(uint32_t cpu)
{
    for (int i = 0; i < IPI_COUNT; i++)
        xen_event_close_own(percpu_of(ipi_ports, cpu)->of[i]);
}

const char *xen_multicall_start(void)
{
    if (xen_error(xen_multicall(NULL, 0)) != 0)
        return "Xen does not offer it";
    multicall_is_on = true;
    return NULL;
}

struct send_batch {
    multicall_entry_t calls[BATCH];
    struct evtchn_send sends[BATCH];
    uint32_t count;
};

static void batch_send(struct send_batch *batch)
{
    if (batch->count > 1 && multicall_is_on) {
        for (uint32_t i = 0; i < batch->count; i++) {
            batch->calls[i].op = __HYPERVISOR_event_channel_op;
            batch->calls[i].args[0] = EVTCHNOP_send;
            batch->calls[i].args[1] = (uintptr_t)&batch->sends[i];
        }
        counter_add(xen, multicalls, 1);
        long result = xen_multicall(batch->calls, batch->count);
        debug_assert(result == 0);
        (void)result;
    } else {
        for (uint32_t i = 0; i < batch->count; i++)
            xen_event_notify(batch->sends[i].port);
    }
    batch->count = 0;
}

void xen_send_ipi(const struct cpumask *mask, uint32_t vector)
{
    debug_assert(vector == VECTOR_RESCHEDULE || vector == VECTOR_CALL);
    enum ipi ipi = vector == VECTOR_CALL ? IPI_CALL : IPI_RESCHEDULE;
    struct send_batch batch;
    batch.count = 0;
    counter_add(pv, ipis, 1);
    cpumask_for_each(cpu, mask)
    {
        batch.sends[batch.count++].port = percpu_of(ipi_ports, cpu)->of[ipi];
        counter_add(pv, ipi_targets, 1);
        if (batch.count == BATCH)
            batch_send(&batch);
    }
    batch_send(&batch);
}

// ---- TLB ----------------------------------------------------------------------------------------

const char *xen_flush_start(void)
{
    return xen_error(xen_hvm_op(HVMOP_flush_tlbs, NULL)) == 0 ? NULL : "Xen does not offer it";
}

struct flush_range {
    uintptr_t start, end;
};

static void flush_on_target(void *argument)
{
    const struct flush_range *range = argument;
    mm_flush_local(range->start, range->end);
}

void xen_flush_tlb_others(const struct cpumask *mask, uintptr_t start, uintptr_t end)
{
    uint32_t running = 0;
    uint32_t preempted = 0;
    counter_add(pv, flush_requests, 1);
    cpumask_for_each(cpu, mask)
    {
        if (pv_vcpu_is_preempted(cpu))
            preempted++;
        else
            running++;
    }
    if (preempted != 0 || running > 1) {
        if (likely(xen_hvm_op(HVMOP_flush_tlbs, NULL) == 0)) {
            counter_add(xen, flush_hypercalls, 1);
            counter_add(pv, flush_targets_skipped, running + preempted);
            return;
        }
    }
    struct flush_range range = {start, end};
    counter_add(pv, flush_targets, running + preempted);
    smp_call_mask(mask, flush_on_target, &range, true);
}

// ---- locks --------------------------------------------------------------------------------------

static void lock_event(void *context, struct trap_frame *frame)
{
    // Only before it is masked for the first time: the waiter looks at its lock anyway.
}

static int locks_set_up(uint32_t cpu)
{
    evtchn_port_t port;
    int error = xen_event_bind_ipi(cpu, lock_event, NULL, "lock", &port);
    if (error != 0)
        return error;
    xen_event_mask(port);
    atomic_store_release(percpu_of(lock_port, cpu), port);
    return 0;
}

const char *xen_locks_start(void)
{
    if (!xen_events_up())
        return "it needs events";
    if (locks_set_up(0) != 0)
        return "Xen refused its event";
    // A poll for an event that is pending returns at once, where polling is possible.
    evtchn_port_t port = this_cpu(lock_port);
    struct sched_poll poll = {.nr_ports = 1};
    set_xen_guest_handle(poll.ports, &port);
    xen_event_set(port);
    if (xen_error(xen_sched_op(SCHEDOP_poll, &poll)) != 0)
        return "Xen does not offer polling";
    return NULL;
}

void xen_locks_cpu(uint32_t cpu)
{
    if (locks_set_up(cpu) != 0)
        panic("xen: CPU %u can't wait for locks", cpu);
}

void xen_locks_cpu_end(uint32_t cpu)
{
    evtchn_port_t port = *percpu_of(lock_port, cpu);
    atomic_store(percpu_of(lock_port, cpu), 0u);
    xen_event_close_own(port);
}

void xen_lock_wait(uint32_t *word, uint32_t value)
{
    evtchn_port_t port = this_cpu(lock_port);
    struct sched_poll poll = {.nr_ports = 1};
    set_xen_guest_handle(poll.ports, &port);
    if (unlikely(port == 0)) { // L3
        arch_pause();
        return;
    }
    counter_add(pv, lock_waits, 1);
    this_cpu(lock_depth) += 1;
    compiler_barrier();
    xen_event_clear(port); // L1
    if (atomic_load(word) == value)
        (void)xen_sched_op(SCHEDOP_poll, &poll);
    compiler_barrier();
    this_cpu(lock_depth) -= 1;
    if (unlikely(this_cpu(lock_depth) != 0))
        xen_event_set(port); // L2
}

void xen_lock_kick(uint32_t cpu)
{
    evtchn_port_t port = atomic_load_relaxed(percpu_of(lock_port, cpu));
    if (unlikely(port == 0)) // L3
        return;
    counter_add(pv, lock_kicks, 1);
    xen_event_notify(port);
}

void xen_yield_to(uint32_t cpu)
{
    counter_add(pv, yields, 1);
    (void)xen_sched_op(SCHEDOP_yield, NULL);
}

// ---- start --------------------------------------------------------------------------------------

const char *xen_cpu_start_start(void)
{
    return NULL;
}

// The vCPU begins in 64-bit mode with the kernel's page tables: two hypercalls, nothing emulated,
// no page below 1 MiB. Which CPU it is, it finds out itself by its APIC id, so it does not matter
// how Xen numbers APICs as long as the first `n` vCPUs are the first `n` CPUs of the table.
//
// One that was on before is initialised for Xen, which takes no other context for it (-EEXIST): it
// has halted with interrupts off, which is the same as VCPUOP_down, and comes back by INIT.
int xen_cpu_start(const struct pv_cpu_start *start)
{
    struct vcpu_hvm_context context = {
        .mode = VCPU_HVM_MODE_64B,
        .cpu_regs.x86_64 =
            {
                .rip = start->entry,
                .rflags = RFLAGS_START,
                .cr0 = start->cr0,
                .cr3 = start->cr3,
                .cr4 = start->cr4,
                .efer = start->efer,
            },
    };
    int error = xen_error(xen_vcpu_op(VCPUOP_initialise, start->cpu, &context));
    if (error == 0)
        error = xen_error(xen_vcpu_op(VCPUOP_up, start->cpu, NULL));
    if (error != 0 && error != -EEXIST)
        log_warning("xen: vCPU %u is not started by hypercall (error %d)", start->cpu, -error);
    return error;
}
