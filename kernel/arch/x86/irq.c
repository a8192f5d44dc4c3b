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
#include "pv/pv.h"

#include <linux/errno.h>

struct vector {
    irq_handler *handler; // NULL: free. Written under vectors_lock, read without
    void *context;
    const char *name;
};
static struct vector vectors[256];
static struct spinlock vectors_lock = SPINLOCK_INIT("irq vectors");

static PERCPU(uint32_t, irq_counts[256]);

COUNTER(irq, interrupts);
COUNTER(irq, unexpected);
COUNTER(irq, calls);

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
    handler_run(frame, vector);
    if (likely(vector != VECTOR_SPURIOUS))
        pv_end_of_interrupt();
    this_cpu(preempt_count) -= PREEMPT_IRQ_ONE;
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

struct call_request {
    void (*function)(void *argument);
    void *argument;
    uint32_t pending; // targets that have not run it yet; atomic
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

static void call_vector(void *context, struct trap_frame *frame)
{
    call_run();
}

static void call_wait(const struct call_request *request)
{
    while (atomic_load_acquire(&request->pending) != 0) {
        uint64_t flags = arch_irq_save();
        call_run();
        arch_irq_restore(flags);
        arch_pause();
    }
}

void smp_call_mask(
    const struct cpumask *mask, void (*function)(void *argument), void *argument, bool wait)
{
    debug_assert(this_cpu(preempt_count) != 0 || !arch_irqs_enabled());
    struct cpumask targets = *mask;
    uint32_t self = cpu_current();
    cpumask_clear(&targets, self);
    uint32_t count = cpumask_count(&targets);
    if (count == 0)
        return;
    counter_add(irq, calls, 1);

    uint64_t flags = arch_irq_save();
    struct call_request *request = this_cpu_ptr(call_request);
    call_wait(request);
    request->function = function;
    request->argument = argument;
    atomic_store(&request->pending, count);
    struct cpumask interrupt = {0};
    cpumask_for_each(cpu, &targets)
    {
        bitmap_set_atomic(*percpu_of(call_senders, cpu), self);
        if (atomic_exchange(percpu_of(call_is_signalled, cpu), 1) == 0)
            cpumask_set(&interrupt, cpu);
    }
    if (!cpumask_is_empty(&interrupt))
        pv_send_ipi(&interrupt, VECTOR_CALL);
    arch_irq_restore(flags);
    if (wait)
        call_wait(request);
}

void irq_init(void)
{
    irq_vector_set(VECTOR_CALL, call_vector, NULL, "cross-CPU calls");
}
