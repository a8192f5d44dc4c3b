// SPDX-License-Identifier: MIT
// Interrupt vectors and cross-CPU calls.
//
// Cross-CPU calls: each CPU has one request of its own, and for each CPU a bitmap says whose
// requests it has to run. A caller waits until its previous request is done, fills it in, sets its
// bit at the targets, and interrupts those where the bitmap was empty before. Nothing is allocated
// and no lock is taken. Whoever waits runs the requests that are meant for him meanwhile, so that
// two callers with interrupts off don't wait for each other for ever.

#include "kernel/core/irq.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/irq_setup.h"
#include "kernel/arch/x86/trap.h"
#include "kernel/base/atomic.h"
#include "kernel/base/bitmap.h"
#include "kernel/core/counter.h"
#include "kernel/core/log.h"
#include "kernel/core/preempt.h"
#include "kernel/core/rcu.h"
#include "kernel/core/spinlock.h"
#include "kernel/core/trace_points.h"
#include "pv/pv.h"

#include <linux/errno.h>

// When the local APIC is told that an interrupt has been taken.
enum irq_end {
    IRQ_END_AT_ONCE,
    IRQ_END_AFTER_HANDLER, // its source is a level: the handler has to quiet the device before
    IRQ_END_NEVER,         // it does not come through the APIC
};

struct vector {
    irq_handler *handler; // NULL: free. Written under vectors_lock, read without
    void *context;
    const char *name;
    enum irq_end end;
};
static struct vector vectors[256];
static struct spinlock vectors_lock = SPINLOCK_INIT("irq vectors");

static PERCPU(uint32_t, irq_counts[256]);

COUNTER(irq, interrupts);
COUNTER(irq, unexpected);
COUNTER(irq, calls);
COUNTER(irq, calls_taken_back); // requests that a CPU which does not run was excused from

static __always_inline void handler_run(struct trap_frame *frame, uint32_t vector)
{
    this_cpu(irq_counts[vector]) += 1;
    irq_handler *handler = atomic_load_acquire(&vectors[vector].handler);
    if (likely(handler != NULL))
        handler(vectors[vector].context, frame);
    else
        counter_add(irq, unexpected, 1);
}

void irq_deliver(struct trap_frame *frame, uint32_t vector)
{
    assert_irqs_off();
    debug_assert(vector < ARRAY_SIZE(vectors));
    handler_run(frame, vector);
}

void irq_dispatch(struct trap_frame *frame, uint32_t vector)
{
    rcu_interrupt_enter(); // the handler may read what RCU protects
    this_cpu(preempt_count) += PREEMPT_IRQ_ONE;
    counter_add(irq, interrupts, 1);
    enum irq_end end = vectors[vector].end;
    // At once: a hypervisor that need not hear of the end takes that back at the next exit. The
    // same vector may become pending again meanwhile, and comes when interrupts are on.
    if (likely(end == IRQ_END_AT_ONCE && vector != VECTOR_SPURIOUS))
        pv_end_of_interrupt();
    trace(irq_handler_entry, .irq = (int32_t)vector);
    handler_run(frame, vector);
    trace(irq_handler_exit, .irq = (int32_t)vector, .ret = 1);
    if (unlikely(end == IRQ_END_AFTER_HANDLER))
        pv_end_of_interrupt();
    this_cpu(preempt_count) -= PREEMPT_IRQ_ONE;
}

void irq_vector_set_level(uint32_t vector)
{
    assert(vector >= VECTOR_DEVICE_FIRST && vector <= VECTOR_DEVICE_LAST);
    vectors[vector].end = IRQ_END_AFTER_HANDLER;
}

void irq_vector_set_without_end(uint32_t vector)
{
    assert(vector >= VECTOR_DEVICE_FIRST && vector <= VECTOR_DEVICE_LAST);
    vectors[vector].end = IRQ_END_NEVER;
}

void irq_vector_set(uint32_t vector, irq_handler *handler, void *context, const char *name)
{
    assert(vector >= TRAP_FIRST_EXTERNAL && vector < ARRAY_SIZE(vectors));
    assert(handler != NULL && name != NULL);
    vectors[vector].context = context;
    vectors[vector].name = name;
    atomic_store_release(&vectors[vector].handler, handler);
}

int irq_vector_alloc(irq_handler *handler, void *context, const char *name)
{
    int result = -ENOSPC;
    uint64_t flags = spin_lock_irqsave(&vectors_lock);
    for (uint32_t vector = VECTOR_DEVICE_FIRST; vector <= VECTOR_DEVICE_LAST; vector++) {
        if (vectors[vector].handler == NULL) {
            irq_vector_set(vector, handler, context, name);
            result = (int)vector;
            break;
        }
    }
    spin_unlock_irqrestore(&vectors_lock, flags);
    return result;
}

static void nothing(void *argument)
{
}

void irq_vector_free(uint32_t vector)
{
    assert(vector >= VECTOR_DEVICE_FIRST && vector <= VECTOR_DEVICE_LAST);
    uint64_t flags = spin_lock_irqsave(&vectors_lock);
    vectors[vector].handler = NULL;
    vectors[vector].end = IRQ_END_AT_ONCE;
    spin_unlock_irqrestore(&vectors_lock, flags);
    // Handlers run with interrupts off: when every CPU has taken an interrupt, none is in this one.
    preempt_disable();
    smp_call_mask(&cpu_online, nothing, NULL, true);
    preempt_enable();
}

void irq_for_each(void (*visit)(uint32_t vector, const char *name, void *context), void *context)
{
    for (uint32_t vector = TRAP_FIRST_EXTERNAL; vector < ARRAY_SIZE(vectors); vector++) {
        if (atomic_load_acquire(&vectors[vector].handler) != NULL)
            visit(vector, vectors[vector].name, context);
    }
}

uint64_t irq_count(uint32_t vector, uint32_t cpu)
{
    assert(vector < ARRAY_SIZE(vectors));
    return atomic_load_relaxed(&(*percpu_of(irq_counts, cpu))[vector]);
}

// ---- cross-CPU calls ----------------------------------------------------------------------------

// Rounds of waiting after which a CPU that does not answer is looked at more closely. The answer of
// one that runs comes sooner.
#define CALL_PATIENCE 256

struct call_request {
    void (*function)(void *argument);
    void *argument;
    uint32_t pending;       // targets that have not run it yet; atomic
    struct cpumask targets; // own CPU
} __cache_aligned;

static PERCPU(struct call_request, call_request);
// Whose requests this CPU has to run; atomic
static PERCPU(uint64_t, call_senders[BITMAP_WORDS(CPU_MAX)]);
static PERCPU(uint32_t, call_is_signalled); // an interrupt is on its way; atomic

// Runs what is waiting for this CPU. Interrupts off.
static void call_run(void)
{
    // Cleared before the bitmap is read: a sender that comes later signals again.
    atomic_store(&this_cpu_ptr(call_is_signalled)[0], 0);
    uint64_t *senders = *this_cpu_ptr(call_senders);
    for (size_t word = 0; word < BITMAP_WORDS(CPU_MAX); word++) {
        if (atomic_load_relaxed(&senders[word]) == 0)
            continue;
        uint64_t bits = atomic_exchange(&senders[word], 0);
        while (bits != 0) {
            uint32_t sender = (uint32_t)word * 64 + bit_lowest(bits);
            bits &= bits - 1;
            struct call_request *request = percpu_of(call_request, sender);
            request->function(request->argument);
            atomic_fetch_sub(&request->pending, 1);
        }
    }
}

bool irq_calls_wait(void)
{
    return atomic_load(&this_cpu_ptr(call_is_signalled)[0]) != 0;
}

void irq_calls_run(void)
{
    assert_irqs_off();
    call_run();
}

static void call_vector(void *context, struct trap_frame *frame)
{
    call_run();
}

// The word of `cpu`'s bitmap with the running CPU's bit.
static uint64_t *call_sender_word(uint32_t cpu)
{
    return &(*percpu_of(call_senders, cpu))[cpu_current() / 64];
}

// Looks at the targets that have not begun. Those that are excused get the request taken back: who
// clears the bit, target or sender, has it. The processor is offered to one that does not run, or,
// if none is known to be such and `offer_to_late`, to one that has not begun: hosts do not tell of
// every vCPU that waits for a processor (KVM not of one that lost it while the host worked for it).
static void call_look_closer(
    struct call_request *request, bool (*excused)(uint32_t cpu), bool offer_to_late)
{
    uint64_t own = UINT64_C(1) << (cpu_current() % 64);
    uint32_t late = CPU_MAX;
    cpumask_for_each(cpu, &request->targets)
    {
        uint64_t *word = call_sender_word(cpu);
        bool has_begun = (atomic_load_relaxed(word) & own) == 0;
        if (!has_begun && excused != NULL && excused(cpu)) {
            if (atomic_fetch_and(word, ~own) & own) {
                cpumask_clear(&request->targets, cpu);
                atomic_fetch_sub(&request->pending, 1);
                counter_add(irq, calls_taken_back, 1);
            }
        } else if (pv_vcpu_is_preempted(cpu)) {
            pv_yield_to(cpu);
            return;
        } else if (!has_begun) {
            late = cpu;
        }
    }
    if (late != CPU_MAX && offer_to_late)
        pv_yield_to(late);
}

static void call_wait(struct call_request *request, bool (*excused)(uint32_t cpu))
{
    for (uint32_t round = 1; atomic_load_acquire(&request->pending) != 0; round++) {
        uint64_t flags = arch_irq_save();
        call_run();
        arch_irq_restore(flags);
        arch_pause();
        // An offer is an exit, and to one that runs it is for nothing: after 1, 2, 4, 8... looks.
        if (round % CALL_PATIENCE == 0)
            call_look_closer(request, excused, IS_POWER_OF_TWO(round / CALL_PATIENCE));
    }
}

// Preemption off; the caller's function and argument for the targets.
static struct call_request *call_send(
    const struct cpumask *mask, void (*function)(void *argument), void *argument)
{
    debug_assert(this_cpu(preempt_count) != 0 || !arch_irqs_enabled());
    struct call_request *request = this_cpu_ptr(call_request);
    uint32_t self = cpu_current();
    uint64_t flags = arch_irq_save();
    call_wait(request, NULL);
    request->function = function;
    request->argument = argument;
    request->targets = *mask;
    cpumask_clear(&request->targets, self);
    uint32_t count = cpumask_count(&request->targets);
    struct cpumask interrupt = {0};
    counter_add(irq, calls, count != 0);
    atomic_store(&request->pending, count);
    cpumask_for_each(cpu, &request->targets)
    {
        bitmap_set_atomic(*percpu_of(call_senders, cpu), self);
        if (atomic_exchange(percpu_of(call_is_signalled, cpu), 1) == 0)
            cpumask_set(&interrupt, cpu);
    }
    if (!cpumask_is_empty(&interrupt))
        pv_send_ipi(&interrupt, VECTOR_CALL);
    arch_irq_restore(flags);
    return request;
}

void smp_call_mask(
    const struct cpumask *mask, void (*function)(void *argument), void *argument, bool wait)
{
    struct call_request *request = call_send(mask, function, argument);
    if (wait)
        call_wait(request, NULL);
}

void smp_call_mask_excusing(const struct cpumask *mask, void (*function)(void *argument),
    void *argument, bool (*excused)(uint32_t cpu))
{
    call_wait(call_send(mask, function, argument), excused);
}

void irq_init(void)
{
    irq_vector_set(VECTOR_CALL, call_vector, NULL, "cross-CPU calls");
}
