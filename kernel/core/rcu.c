// SPDX-License-Identifier: MIT
// Read-copy-update.
//
// Readers run with preemption off, so a CPU that is seen with preemption on, switching threads,
// idle or in user mode holds no reference that it got before. A grace period is the time in which
// every CPU was seen so once.
//
// Grace periods are numbered. `started` is the number of the last one that began, `completed` of
// the last one that ended; at most one runs. Who begins one asks each online CPU, but for those
// that idle, by setting its `owes`; a CPU answers at its next quiescent state by taking `owes`
// back, and the last answer ends the grace period. CPUs are looked at one by one only there, at
// most once every RCU_TICK_NS (and for rcu_synchronize()); on the paths of context switch and idle
// a CPU reads one word of its own.
//
// Callbacks lie in lists of the CPU where they were queued: `next` (no number yet), `waiting` (for
// `waiting_for` to complete), `ready`. While a CPU has any, a timer of its own moves them on; no
// CPU is woken for another one's callbacks, but those that run without a pause are interrupted when
// a grace period gets old.
//
// A CPU takes part from rcu_cpu_begin() to rcu_cpu_end(); out of that time its `idle` is even, so
// it does not matter who still sees it in `cpus`.
//
// Invariants and memory order:
//   I1  A callback that was queued when `started` was N runs after N + 1 has completed. The queuer
//       has a full fence between its unlinking and its reading of `started`; grace period N + 1
//       increments `started` (sequentially consistent) before it asks: so the reader that answers N
//       + 1 and reads again sees the unlinking.
//   I2  (Dekker) `idle` is odd while a CPU may read. Asking is: set owes; fence; read idle; if it
//       is even, take owes back. Going idle is: make idle even (full fence); look at owes; if set,
//       take it back. One of the two sees the other; taking back is a compare-and-exchange, so
//       exactly one of them answers.
//   I3  Leaving idle makes `idle` odd with a full fence before anything is read. If the asker read
//       an even value before that, its unlinking is visible to all those reads.
//   I4  An answer is: take owes (locked), then decrement `unanswered` (acquire and release).
//       Whoever gets it to 0 has all reads of all CPUs before it, and stores `completed` with
//       release; callbacks are run after an acquiring load.
//   I5  `unanswered` holds one more for the asker while it asks, so that the end can't come before
//       all are asked.
//
// kernel/core/model/rcu.pml checks them as a Spin model.
#include "kernel/core/rcu.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/core/counter.h"
#include "kernel/core/irq.h"
#include "kernel/core/mutex.h"
#include "kernel/core/spinlock.h"
#include "kernel/core/time.h"
#include "kernel/core/timer.h"
#include "kernel/core/wait.h"
#include "pv/pv.h"

#define RCU_TICK_NS     (4 * NS_PER_MS)
#define RCU_PATIENCE_NS (10 * NS_PER_MS) // before CPUs that do not answer are interrupted
#define RCU_BATCH       128              // callbacks run in one go

struct rcu_list {
    struct rcu_head *first;
    struct rcu_head **end; // where to link the next one; NULL: the list is empty
};

struct rcu_cpu {
    // Own CPU only, interrupts off.
    struct rcu_list next, waiting, ready;
    uint64_t waiting_for;
    bool timer_armed;
    bool running_callbacks;
    struct timer timer;
};

static struct {
    __cache_aligned uint64_t started; // atomic; written under lock
    uint64_t completed;               // atomic; written by whoever ends the grace period
    uint64_t requested;               // grace periods up to this number are wanted; under lock
    uint64_t expedited;               // and up to this one at once; under lock
    uint64_t started_at_ns;           // under lock
    struct spinlock lock;
    struct cpumask cpus;                 // that take part; atomic
    __cache_aligned uint32_t unanswered; // I5; atomic
} rcu = {.lock = SPINLOCK_INIT("rcu")};

static struct wait_queue rcu_waiters =
    WAIT_QUEUE_INIT(rcu_waiters, "rcu: waiters"); // of rcu_synchronize()

static PERCPU(struct rcu_cpu, rcu_cpu);
PERCPU(uint32_t, rcu_owes);
PERCPU(uint32_t, rcu_idle) PERCPU_INITIAL(1); // I2; atomic, written by the CPU itself

COUNTER(rcu, grace_periods);
COUNTER(rcu, callbacks);
COUNTER(rcu, interrupted_cpus);

static void rcu_timer_fired(struct timer *timer);

// ---- lists: own CPU, interrupts off ------------------------------------------------------------

static bool rcu_list_is_empty(const struct rcu_list *list)
{
    return list->first == NULL;
}

static void rcu_list_add(struct rcu_list *list, struct rcu_head *head)
{
    head->next = NULL;
    if (list->first == NULL)
        list->first = head;
    else
        *list->end = head;
    list->end = &head->next;
}

static void rcu_list_move(struct rcu_list *to, struct rcu_list *from)
{
    if (from->first == NULL)
        return;
    if (to->first == NULL)
        to->first = from->first;
    else
        *to->end = from->first;
    to->end = from->end;
    from->first = NULL;
}

// ---- grace periods -----------------------------------------------------------------------------

static bool rcu_cpu_is_idle(uint32_t cpu)
{
    return (atomic_load(percpu_of(rcu_idle, cpu)) & 1) == 0;
}

// True for exactly one of those that try to answer for the CPU.
static bool rcu_take_debt(uint32_t cpu)
{
    uint32_t owes = 1;
    return atomic_cmpxchg(percpu_of(rcu_owes, cpu), &owes, 0u);
}

// Interrupts the CPUs that have not answered. The interrupt itself is a quiescent state, unless it
// finds preemption off; then need_resched brings the CPU through the scheduler when it goes on
// again.
static void rcu_interrupt_debtors(void)
{
    struct cpumask debtors = {0};
    uint32_t self = cpu_current();
    cpumask_for_each(cpu, &rcu.cpus)
    {
        if (atomic_load_relaxed(percpu_of(rcu_owes, cpu)) == 0)
            continue;
        atomic_store(percpu_of(need_resched, cpu), 1u);
        if (cpu == self)
            continue;
        cpumask_set(&debtors, cpu);
        counter_add(rcu, interrupted_cpus, 1);
    }
    if (cpumask_is_empty(&debtors))
        return;
    pv_send_ipi(&debtors, VECTOR_RESCHEDULE);
    // One that the host does not run can't answer, and may be in the middle of reading: it gets our
    // processor.
    cpumask_for_each(cpu, &debtors)
    {
        if (pv_vcpu_is_preempted(cpu)) {
            pv_yield_to(cpu);
            return;
        }
    }
}

static void rcu_answer(uint32_t answers);

// Begins a grace period if one is wanted and none runs. Under rcu.lock, which it drops.
static void rcu_start_and_unlock(uint64_t flags)
{
    uint64_t started = atomic_load_relaxed(&rcu.started);
    if (started != atomic_load_relaxed(&rcu.completed) || rcu.requested <= started) {
        spin_unlock_irqrestore(&rcu.lock, flags);
        return;
    }
    bool at_once = rcu.expedited > started;
    uint32_t excused = 1; // I5
    atomic_store(&rcu.unanswered, 1u);
    atomic_store(&rcu.started, started + 1); // I1
    rcu.started_at_ns = time_monotonic_ns();
    counter_add(rcu, grace_periods, 1);
    cpumask_for_each(cpu, &rcu.cpus)
    {
        atomic_fetch_add(&rcu.unanswered, 1u);
        atomic_store(percpu_of(rcu_owes, cpu), 1u);
        if (rcu_cpu_is_idle(cpu) && rcu_take_debt(cpu)) // I2
            excused++;
    }
    if (at_once)
        rcu_interrupt_debtors();
    spin_unlock_irqrestore(&rcu.lock, flags);
    rcu_answer(excused);
}

// `answers` quiescent states were seen. Not under rcu.lock nor a run queue's lock.
static void rcu_answer(uint32_t answers)
{
    if (atomic_fetch_sub(&rcu.unanswered, answers) != answers) // I4
        return;
    atomic_store(&rcu.completed, atomic_load_relaxed(&rcu.started));
    wait_wake_all(&rcu_waiters);
    uint64_t flags = spin_lock_irqsave(&rcu.lock);
    if (rcu.expedited > atomic_load_relaxed(&rcu.started))
        rcu_start_and_unlock(flags);
    else
        spin_unlock_irqrestore(&rcu.lock, flags);
}

void rcu_report(void)
{
    if (rcu_take_debt(cpu_current()))
        rcu_answer(1);
}

void rcu_note_interrupt(bool interrupted_preemptible)
{
    if (unlikely(this_cpu_read(rcu_owes) != 0) && interrupted_preemptible)
        rcu_report();
}

void rcu_idle_enter(void)
{
    uint32_t *idle = this_cpu_ptr(rcu_idle);
    debug_assert((*idle & 1) == 1);
    atomic_fetch_add(idle, 1u);
    if (unlikely(this_cpu_read(rcu_owes) != 0)) // I2
        rcu_report();
}

void rcu_idle_exit(void)
{
    uint32_t *idle = this_cpu_ptr(rcu_idle);
    assert_irqs_off(); // rcu_interrupt_enter() may not come between the look and the change
    if ((atomic_load_relaxed(idle) & 1) == 0)
        atomic_fetch_add(idle, 1u); // I3
}

void rcu_cpu_begin(void)
{
    assert_irqs_off();
    rcu_idle_exit();
    cpumask_set_atomic(&rcu.cpus, cpu_current());
}

void rcu_cpu_end(void)
{
    assert_irqs_off();
    rcu_idle_enter();
    cpumask_clear_atomic(&rcu.cpus, cpu_current());
}

// ---- callbacks ---------------------------------------------------------------------------------

static void rcu_timer_arm(struct rcu_cpu *cpu)
{
    if (cpu->timer_armed)
        return;
    if (cpu->timer.function == NULL)
        timer_init(&cpu->timer, rcu_timer_fired);
    cpu->timer_armed = true;
    timer_arm(&cpu->timer, time_monotonic_ns() + RCU_TICK_NS);
}

// Moves callbacks on and asks for the grace period that they need. Own CPU, interrupts off.
static void rcu_advance(struct rcu_cpu *cpu)
{
    if (!rcu_list_is_empty(&cpu->waiting) &&
        atomic_load_acquire(&rcu.completed) >= cpu->waiting_for)
        rcu_list_move(&cpu->ready, &cpu->waiting);
    if (!rcu_list_is_empty(&cpu->waiting) || rcu_list_is_empty(&cpu->next))
        return;
    rcu_list_move(&cpu->waiting, &cpu->next);
    atomic_fence(); // I1
    cpu->waiting_for = atomic_load(&rcu.started) + 1;
}

// Drives the grace period that this CPU's callbacks wait for. Interrupts off.
static void rcu_drive(struct rcu_cpu *cpu)
{
    if (rcu_list_is_empty(&cpu->waiting))
        return;
    uint64_t flags = spin_lock_irqsave(&rcu.lock);
    rcu.requested = MAX(rcu.requested, cpu->waiting_for);
    if (atomic_load_relaxed(&rcu.started) == atomic_load_relaxed(&rcu.completed)) {
        rcu_start_and_unlock(flags);
        return;
    }
    if (time_monotonic_ns() - rcu.started_at_ns >= RCU_PATIENCE_NS)
        rcu_interrupt_debtors();
    spin_unlock_irqrestore(&rcu.lock, flags);
}

static void rcu_timer_fired(struct timer *timer)
{
    struct rcu_cpu *cpu = container_of(timer, struct rcu_cpu, timer);
    cpu->timer_armed = false;
    rcu_advance(cpu);
    rcu_drive(cpu);
    if (!rcu_list_is_empty(&cpu->waiting) || !rcu_list_is_empty(&cpu->next) ||
        !rcu_list_is_empty(&cpu->ready))
        rcu_timer_arm(cpu);
}

void rcu_call(struct rcu_head *head, void (*function)(struct rcu_head *head))
{
    head->function = function;
    uint64_t flags = arch_irq_save();
    struct rcu_cpu *cpu = this_cpu_ptr(rcu_cpu);
    rcu_list_add(&cpu->next, head);
    if (unlikely(!cpu->timer_armed))
        rcu_timer_arm(cpu);
    arch_irq_restore(flags);
}

bool rcu_callbacks_ready(void)
{
    return this_cpu(rcu_cpu).ready.first != NULL;
}

void rcu_run_callbacks(void)
{
    uint64_t flags = arch_irq_save();
    struct rcu_cpu *cpu = this_cpu_ptr(rcu_cpu);
    if (!cpu->running_callbacks) {
        cpu->running_callbacks = true;
        this_cpu(preempt_count) += PREEMPT_SOFT_ONE;
        for (int i = 0; i < RCU_BATCH && cpu->ready.first != NULL; i++) {
            struct rcu_head *head = cpu->ready.first;
            cpu->ready.first = head->next;
            arch_irq_enable();
            counter_add(rcu, callbacks, 1);
            head->function(head);
            arch_irq_disable();
        }
        this_cpu(preempt_count) -= PREEMPT_SOFT_ONE;
        cpu->running_callbacks = false;
    }
    arch_irq_restore(flags);
}

bool rcu_needs_cpu(void)
{
    return this_cpu_read(rcu_owes) != 0;
}

void rcu_tick(bool was_user)
{
    if (was_user)
        rcu_note_context_switch();
}

// ---- waiting -----------------------------------------------------------------------------------

void rcu_synchronize(void)
{
    might_sleep();
    // The caller runs with preemption on, and no reader can be preempted: alone it is the quiescent
    // state.
    if (cpumask_count(&rcu.cpus) <= 1)
        return;
    atomic_fence(); // I1
    uint64_t flags = spin_lock_irqsave(&rcu.lock);
    uint64_t wanted = atomic_load(&rcu.started) + 1;
    rcu.requested = MAX(rcu.requested, wanted);
    rcu.expedited = MAX(rcu.expedited, wanted);
    if (wanted - 1 != atomic_load_relaxed(&rcu.completed)) {
        rcu_interrupt_debtors(); // the one that runs has to end first
        spin_unlock_irqrestore(&rcu.lock, flags);
    } else {
        rcu_start_and_unlock(flags);
    }
    preempt_disable();
    rcu_note_context_switch();
    preempt_enable();
    wait_event(&rcu_waiters, atomic_load_acquire(&rcu.completed) >= wanted);
}

struct rcu_barrier {
    struct completion done;
    uint32_t callbacks; // that have not run, and one for the caller; atomic
};

struct rcu_barrier_head {
    struct rcu_head head;
    struct rcu_barrier *barrier;
};
static PERCPU(struct rcu_barrier_head, rcu_barrier_head); // under rcu_barrier_lock

static struct mutex rcu_barrier_lock = MUTEX_INIT(rcu_barrier_lock, "rcu: barrier");

static void rcu_barrier_put(struct rcu_barrier *barrier)
{
    if (atomic_fetch_sub(&barrier->callbacks, 1u) == 1)
        completion_complete(&barrier->done);
}

static void rcu_barrier_callback(struct rcu_head *head)
{
    rcu_barrier_put(container_of(head, struct rcu_barrier_head, head)->barrier);
}

// On each CPU: a callback behind all that are queued.
static void rcu_barrier_queue(void *argument)
{
    struct rcu_barrier *barrier = argument;
    uint64_t flags = arch_irq_save();
    struct rcu_barrier_head *own = this_cpu_ptr(rcu_barrier_head);
    own->barrier = barrier;
    atomic_fetch_add(&barrier->callbacks, 1u);
    rcu_call(&own->head, rcu_barrier_callback);
    arch_irq_restore(flags);
}

void rcu_barrier(void)
{
    struct rcu_barrier barrier = {.callbacks = 1};
    completion_init(&barrier.done);
    mutex_lock(&rcu_barrier_lock);
    preempt_disable();
    rcu_barrier_queue(&barrier);
    smp_call_mask(&cpu_online, rcu_barrier_queue, &barrier, true);
    preempt_enable();
    rcu_barrier_put(&barrier);
    completion_wait(&barrier.done);
    mutex_unlock(&rcu_barrier_lock);
}

// ---- CPUs that end ------------------------------------------------------------------------------

void rcu_cpu_end_before(void)
{
    mutex_lock(&rcu_barrier_lock);
}

void rcu_cpu_end_after(uint32_t cpu)
{
    debug_assert(!cpumask_test(&rcu.cpus, cpu));
    struct rcu_cpu *dead = percpu_of(rcu_cpu, cpu);
    if (dead->timer.function != NULL)
        (void)timer_cancel_sync(&dead->timer);
    dead->timer_armed = false;
    uint64_t flags = arch_irq_save();
    struct rcu_cpu *own = this_cpu_ptr(rcu_cpu);
    // As if they had been queued here just now: another grace period does no harm.
    rcu_list_move(&own->next, &dead->ready);
    rcu_list_move(&own->next, &dead->waiting);
    rcu_list_move(&own->next, &dead->next);
    if (!rcu_list_is_empty(&own->next))
        rcu_timer_arm(own);
    arch_irq_restore(flags);
    mutex_unlock(&rcu_barrier_lock);
}
