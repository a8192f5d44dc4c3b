// SPDX-License-Identifier: MIT
// Interrupt vectors: allocation, handlers, cross-CPU calls.
#pragma once

#include "kernel/base/types.h"
#include "kernel/core/cpumask.h"

struct trap_frame;
// Interrupts off, on the interrupt (or current kernel) stack; must not sleep. The end-of-interrupt
// is sent by the dispatcher.
typedef void irq_handler(void *context, struct trap_frame *frame);

// Vectors that the kernel uses itself.
#define VECTOR_TIMER        0xf0
#define VECTOR_RESCHEDULE   0xf1
#define VECTOR_CALL         0xf2 // cross-CPU function calls, TLB shootdown among them
#define VECTOR_SPURIOUS     0xff
#define VECTOR_DEVICE_FIRST 0x30
#define VECTOR_DEVICE_LAST  0xef

[[nodiscard]] int irq_vector_alloc(
    irq_handler *handler, void *context, const char *name); // vector or -ENOSPC

// Interrupts by this vector do not come through the local APIC, so that it is not told of their end:
// it would take that for the end of another one. For a vector of irq_vector_alloc() that has not
// been used yet; at boot.
void irq_vector_set_without_end(uint32_t vector);

void irq_vector_set(uint32_t vector, irq_handler *handler, void *context, const char *name);
void irq_vector_free(
    uint32_t vector); // after the device can't raise it any more; waits for running handlers
// Runs the vector's handler inside the interrupt that is being handled: for what arrives as
// something else than the processor's interrupt of that number (events of a hypervisor).
void irq_deliver(struct trap_frame *frame, uint32_t vector);
void irq_for_each(void (*visit)(uint32_t vector, const char *name, void *context),
    void *context); // /proc/interrupts
uint64_t irq_count(uint32_t vector, uint32_t cpu);

// Routes an I/O APIC input to a vector on CPU 0 (legacy devices: serial). -ENODEV without an I/O
// APIC.
[[nodiscard]] int irq_gsi_route(uint32_t isa_irq_or_gsi, uint32_t vector);
// The same for a global interrupt whose wiring the caller knows; and no more interrupts from it.
[[nodiscard]] int irq_gsi_route_wire(
    uint32_t gsi, uint32_t vector, bool is_active_low, bool is_level);
void irq_gsi_mask(uint32_t gsi);

// For a CPU that takes no interrupts but is still asked (sched/hotplug.c): is a call waiting for
// it, and running those that are. Interrupts off.
bool irq_calls_wait(void);
void irq_calls_run(void);
// Runs function(argument) on every CPU of the mask but the running one, in interrupt context, and
// waits for all (wait=true).
// Interrupts must be on or the caller must not be waited for by others in turn; preemption off.
void smp_call_mask(
    const struct cpumask *mask, void (*function)(void *argument), void *argument, bool wait);
// The same with wait, but does not wait for a CPU that has not begun and whose call excused(cpu)
// says to be needless: it is asked now and then while the CPU does not answer, and what it says
// stays true.
void smp_call_mask_excusing(const struct cpumask *mask, void (*function)(void *argument),
    void *argument, bool (*excused)(uint32_t cpu));
