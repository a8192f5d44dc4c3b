// SPDX-License-Identifier: MIT
// Interrupts without exits: end of interrupt in memory, one hypercall to interrupt any number of
// CPUs.

#include "kernel/arch/x86/apic.h"
#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/cpu.h"
#include "kernel/arch/x86/firmware.h"
#include "kernel/base/assert.h"
#include "kernel/core/percpu.h"
#include "pv/kvm/kvm.h"

// ---- end of interrupt ---------------------------------------------------------------------------

const char *kvm_eoi_start(void)
{
    return kvm_offers(KVM_FEATURE_PV_EOI) ? NULL : "not offered";
}

void kvm_eoi_online(void)
{
    uint32_t *word = &this_cpu_ptr(kvm_shared)->eoi;
    *word = 0;
    kvm_msr_write(MSR_KVM_PV_EOI_EN, kvm_phys(word) | KVM_MSR_ENABLED);
}

void kvm_eoi_offline(void)
{
    kvm_msr_write(MSR_KVM_PV_EOI_EN, 0);
}

void kvm_end_of_interrupt(void)
{
    counter_add(pv, eois, 1);
    // The host sets the bit when it injects an interrupt whose end it need not hear of at once, and
    // takes it back when that changes. Either may happen at any exit: one instruction.
    if (arch_percpu_bit_take(kvm_shared, eoi, KVM_PV_EOI_BIT)) {
        counter_add(pv, eois_without_exit, 1);
        return;
    }
    apic_end_of_interrupt();
}

// ---- interrupts to other CPUs -------------------------------------------------------------------

#define IPI_SPAN 128 // APIC ids that one hypercall reaches, from its lowest on

PV_READ_ONLY_AFTER_INIT static bool one_by_apic = false; // one target costs one exit that way too

const char *kvm_ipi_start(void)
{
    if (!kvm_offers(KVM_FEATURE_PV_SEND_IPI))
        return "not offered";
    one_by_apic = cpu_features.x2apic;
    return NULL;
}

// Targets of one hypercall: their APIC ids lie within IPI_SPAN.
struct ipi_batch {
    uint64_t bits[2];
    uint32_t lowest; // APIC id of bit 0
    uint32_t count;
    uint32_t last_cpu;
};

static void batch_send(struct ipi_batch *batch, uint32_t vector)
{
    if (batch->count == 0)
        return;
    counter_add(pv, ipis, 1);
    counter_add(pv, ipi_targets, batch->count);
    if (batch->count == 1 && one_by_apic)
        apic_send_ipi(batch->last_cpu, vector);
    else
        (void)kvm_hypercall(KVM_HC_SEND_IPI, batch->bits[0], batch->bits[1], batch->lowest, vector);
    *batch = (struct ipi_batch){0};
}

// Makes room for an id by starting lower; false: it is too far away.
static bool batch_reach(struct ipi_batch *batch, uint32_t id)
{
    if (batch->count == 0)
        batch->lowest = id;
    if (id >= batch->lowest)
        return id - batch->lowest < IPI_SPAN;
    uint32_t shift = batch->lowest - id;
    uint32_t highest =
        batch->bits[1] != 0 ? 64 + bit_highest(batch->bits[1]) : bit_highest(batch->bits[0]);
    if (highest + shift >= IPI_SPAN)
        return false;
    unsigned __int128 bits = ((unsigned __int128)batch->bits[1] << 64 | batch->bits[0]) << shift;
    batch->bits[0] = (uint64_t)bits;
    batch->bits[1] = (uint64_t)(bits >> 64);
    batch->lowest = id;
    return true;
}

void kvm_send_ipi(const struct cpumask *mask, uint32_t vector)
{
    struct ipi_batch batch = {0};
    atomic_fence(); // what the handlers shall see
    cpumask_for_each(cpu, mask)
    {
        uint32_t id = firmware.cpu_apic_ids[cpu];
        if (!batch_reach(&batch, id)) {
            batch_send(&batch, vector);
            (void)batch_reach(&batch, id);
        }
        uint32_t bit = id - batch.lowest;
        batch.bits[bit / 64] |= UINT64_C(1) << (bit % 64);
        batch.count++;
        batch.last_cpu = cpu;
    }
    batch_send(&batch, vector);
}
