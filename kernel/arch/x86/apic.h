// SPDX-License-Identifier: MIT
// Local APIC (xAPIC by memory, x2APIC by MSRs), I/O APICs, the legacy PIC. Intel SDM 3A, chapter
// 11.
#pragma once

#include "kernel/base/types.h"

struct cpumask;

void apic_init(void);     // boot CPU, once: maps and masks
void apic_init_cpu(void); // every CPU, interrupts off
void apic_end_of_interrupt(void);
// The timer: by TSC deadline if the processor has that and this was called before the first
// apic_init(); false: it has not.
bool apic_timer_use_deadline(void);
void apic_timer_arm(uint64_t deadline_tsc); // interrupts off; may fire a little early
void apic_timer_stop(void);                 // interrupts off
// The counters' overflow interrupt comes as an NMI from now on; it masks itself with each delivery.
// Any context.
void apic_counters_unmask(void);
void apic_send_ipi(uint32_t cpu, uint32_t vector);
void apic_send_ipi_mask(const struct cpumask *mask, uint32_t vector);
void apic_send_nmi(uint32_t cpu);
void apic_send_self(uint32_t vector); // any context, NMI as well
void apic_send_init(uint32_t apic_id);
void apic_send_startup(uint32_t apic_id, uint32_t page); // physical page number below 256
