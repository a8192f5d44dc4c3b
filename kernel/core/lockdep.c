// SPDX-License-Identifier: MIT
// The lock-order checker (debug builds).
//
// What is held: spin locks in a stack of the CPU (they are released where they were taken; the run
// queue's lock is even passed from one thread to the next), sleeping locks in a stack of the
// thread. A spin lock is never held when a sleeping lock is taken, so "held" is the thread's stack
// followed by the CPU's. An interrupt begins a new context: what the interrupted code holds is no
// order for the handler, so entries of lower interrupt levels are left out.
//
// Each acquisition that may wait adds the edges held -> new. The usual case, all edges known, reads
// a few words; a new edge or usage takes the checker's own lock (a bare word: it must not check
// itself), searches the graph and panics with the chain it found. Also checked, for spin locks:
//   taken in an interrupt handler somewhere and taken with interrupts on elsewhere: a handler may
//   wait for the code it interrupted. The same holds along edges: a lock of handlers must not lead
//   to one that is taken with interrupts on.
// After the first report the checker is off, so that the panic can print.
#include "kernel/core/lockdep.h"

#ifdef LODGER_DEBUG

#include "kernel/arch/x86/cpu_inline.h"
#include "kernel/core/lockdep_graph.h"
#include "kernel/core/log.h"
#include "kernel/core/panic.h"
#include "kernel/core/percpu.h"
#include "kernel/core/preempt.h"
#include "kernel/core/spinlock.h"
#include "kernel/core/thread.h"

#define SPIN_HELD_MAX 16

#define USED_IN_INTERRUPT       1u // spin lock taken by an interrupt handler
#define USED_WITH_INTERRUPTS_ON 2u // spin lock taken while an interrupt could come

struct spin_held {
    struct lock_held entries[SPIN_HELD_MAX];
    uint32_t count;
};

static PERCPU(struct spin_held, spin_held); // own CPU

static struct lock_graph graph;
static struct lock_class *node_class[LOCK_NODES_MAX]; // written under checker_word
static uint8_t node_usage[LOCK_NODES_MAX];            // USED_*; atomic
static uint32_t checker_word;                         // the checker's own lock
static bool checker_off;                              // atomic

static void checker_lock(void)
{
    while (atomic_exchange_acquire(&checker_word, 1u) != 0)
        spin_hint();
}

static void checker_unlock(void)
{
    atomic_store_release(&checker_word, 0u);
}

static bool checker_works(void)
{
    return !atomic_load_relaxed(&checker_off) && this_cpu(preempt_count) < PREEMPT_NMI;
}

static uint8_t irq_level(void)
{
    return (uint8_t)(this_cpu(preempt_count) / PREEMPT_IRQ_ONE % 16);
}

static const char *node_name(uint16_t node)
{
    return node_class[node] != NULL ? node_class[node]->name : "?";
}

// ---- reports -----------------------------------------------------------------------------------

static void print_held(void)
{
    const struct thread *thread = thread_current();
    const struct spin_held *spins = this_cpu_ptr(spin_held);
    for (uint32_t i = 0; thread != NULL && i < thread->held_count; i++)
        log_error("lockdep:   holds %s, taken at 0x%lx", node_name(thread->held[i].node),
            thread->held[i].acquired_at);
    for (uint32_t i = 0; i < spins->count; i++)
        log_error("lockdep:   holds %s (spin), taken at 0x%lx", node_name(spins->entries[i].node),
            spins->entries[i].acquired_at);
}

static void print_path(const char *title, const struct lock_path *path)
{
    log_error("lockdep: %s", title);
    for (uint32_t i = 0; i < path->length; i++)
        log_error("lockdep:   %s%s", i == 0 ? "" : "-> ", node_name(path->nodes[i]));
}

[[noreturn]] static void report_cycle(uint16_t from, uint16_t to, const struct lock_path *cycle)
{
    atomic_store_relaxed(&checker_off, true);
    print_path("the order known so far:", cycle);
    print_held();
    panic("lockdep: taking %s while holding %s closes a cycle", node_name(to), node_name(from));
}

[[noreturn]] static void report_interrupt(uint16_t node, const struct lock_path *path)
{
    atomic_store_relaxed(&checker_off, true);
    print_path("a lock of interrupt handlers leads to one that is taken with interrupts on:", path);
    print_held();
    panic("lockdep: %s could be waited for by a handler that interrupted its holder",
        node_name(node));
}

// ---- nodes and usage ---------------------------------------------------------------------------

static uint16_t node_of(struct lock_class *class, uint32_t subclass)
{
    assert(subclass < LOCK_SUBCLASSES);
    uint16_t node = atomic_load_acquire(&class->node[subclass]);
    if (likely(node != 0))
        return node;
    uint64_t flags = arch_irq_save();
    checker_lock();
    node = class->node[subclass];
    if (node == 0) {
        node = lock_graph_add_node(&graph);
        node_class[node] = class;
        atomic_store_release(&class->node[subclass], node);
    }
    checker_unlock();
    arch_irq_restore(flags);
    return node; // 0 when the graph is full: not checked
}

static bool is_used_with_interrupts_on(uint16_t node, const void *context)
{
    (void)context;
    return atomic_load_relaxed(&node_usage[node]) & USED_WITH_INTERRUPTS_ON;
}

// Under the checker's lock: does a lock of handlers lead to one taken with interrupts on? Every
// handler's lock is looked at, which is rare: only when an edge or a usage is new.
static void check_interrupt_order(void)
{
    for (uint16_t node = 1; node <= graph.count; node++) {
        struct lock_path path;
        if ((node_usage[node] & USED_IN_INTERRUPT) == 0)
            continue;
        lock_graph_find(&graph, node, is_used_with_interrupts_on, NULL, &path);
        if (path.length != 0) {
            checker_unlock();
            report_interrupt(node, &path);
        }
    }
}

// Interrupts off; `interrupts_on`: they were on when the lock was asked for.
static void note_spin_usage(uint16_t node, bool interrupts_on)
{
    uint8_t usage = 0;
    if (irq_level() != 0)
        usage = USED_IN_INTERRUPT;
    else if (interrupts_on)
        usage = USED_WITH_INTERRUPTS_ON;
    if (likely((atomic_load_relaxed(&node_usage[node]) & usage) == usage))
        return;
    checker_lock();
    atomic_store_relaxed(&node_usage[node], (uint8_t)(node_usage[node] | usage));
    check_interrupt_order();
    checker_unlock();
}

static void note_order(uint16_t from, uint16_t to)
{
    if (from == 0 || likely(lock_graph_has_edge(&graph, from, to)))
        return;
    struct lock_path cycle;
    uint64_t flags = arch_irq_save();
    checker_lock();
    bool fine = lock_graph_add_edge(&graph, from, to, &cycle);
    if (fine)
        check_interrupt_order();
    checker_unlock();
    arch_irq_restore(flags);
    if (!fine)
        report_cycle(from, to, &cycle);
}

// Edges from everything that this context holds. Readers may nest in the same class: no edge to
// itself.
static void note_orders(uint16_t to, bool shared)
{
    const struct thread *thread = thread_current();
    const struct spin_held *spins = this_cpu_ptr(spin_held);
    uint8_t level = irq_level();
    for (uint32_t i = 0; level == 0 && thread != NULL && i < thread->held_count; i++) {
        if (thread->held[i].node != to || !(shared && thread->held[i].shared))
            note_order(thread->held[i].node, to);
    }
    for (uint32_t i = 0; i < spins->count; i++) {
        if (spins->entries[i].irq_level == level)
            note_order(spins->entries[i].node, to);
    }
}

// ---- the hooks of the locks --------------------------------------------------------------------

static void held_push(
    struct lock_held *stack, uint32_t *count, uint32_t limit, struct lock_held held)
{
    if (*count >= limit) {
        atomic_store_relaxed(&checker_off, true);
        print_held();
        panic("lockdep: more than %u locks held", limit);
    }
    stack[(*count)++] = held;
}

static void held_pop(struct lock_held *stack, uint32_t *count, const void *lock)
{
    for (uint32_t i = *count; i-- > 0;) {
        if (stack[i].lock != lock)
            continue;
        for (; i + 1 < *count; i++)
            stack[i] = stack[i + 1];
        (*count)--;
        return;
    }
}

void lockdep_acquire_spin(const void *lock, struct lock_class *class, uint32_t subclass, bool try)
{
    if (class == NULL || !checker_works())
        return;
    uint64_t flags = arch_irq_save();
    uint16_t node = node_of(class, subclass);
    if (node != 0) {
        note_spin_usage(node, arch_irq_flags_on(flags));
        if (!try)
            note_orders(node, false);
    }
    struct spin_held *spins = this_cpu_ptr(spin_held);
    held_push(spins->entries, &spins->count, SPIN_HELD_MAX,
        (struct lock_held){.lock = lock,
            .acquired_at = (uintptr_t)__builtin_return_address(0),
            .node = node,
            .irq_level = irq_level()});
    arch_irq_restore(flags);
}

void lockdep_release_spin(const void *lock)
{
    uint64_t flags = arch_irq_save();
    struct spin_held *spins = this_cpu_ptr(spin_held);
    held_pop(spins->entries, &spins->count, lock);
    arch_irq_restore(flags);
}

void lockdep_acquire_sleeping(
    const void *lock, struct lock_class *class, uint32_t subclass, bool shared, bool try)
{
    struct thread *thread = thread_current();
    if (class == NULL || thread == NULL || !checker_works())
        return;
    assert(!in_interrupt());
    uint16_t node = node_of(class, subclass);
    uint64_t flags =
        arch_irq_save(); // the thread must not move on while it looks at this CPU's spin locks
    if (node != 0 && !try)
        note_orders(node, shared);
    arch_irq_restore(flags);
    held_push(thread->held, &thread->held_count, THREAD_LOCKS_MAX,
        (struct lock_held){.lock = lock,
            .acquired_at = (uintptr_t)__builtin_return_address(0),
            .node = node,
            .shared = shared});
}

void lockdep_release_sleeping(const void *lock)
{
    struct thread *thread = thread_current();
    if (thread != NULL)
        held_pop(thread->held, &thread->held_count, lock);
}

bool lockdep_is_held(const void *lock)
{
    const struct thread *thread = thread_current();
    for (uint32_t i = 0; i < thread->held_count; i++) {
        if (thread->held[i].lock == lock)
            return true;
    }
    return atomic_load_relaxed(&checker_off);
}

void lockdep_assert_none_held(void)
{
    if (checker_works() && (thread_current()->held_count != 0 || this_cpu(spin_held).count != 0)) {
        atomic_store_relaxed(&checker_off, true);
        print_held();
        panic("lockdep: locks are held where none may be");
    }
}

void lockdep_might_sleep(const char *file, int line)
{
    if (!checker_works() || (this_cpu(preempt_count) == 0 && arch_irqs_enabled()))
        return;
    const struct thread *thread = thread_current();
    if (thread == NULL || (thread->flags & THREAD_FLAG_IDLE))
        return; // start-up: the boot context sleeps on nothing, but takes free locks
    atomic_store_relaxed(&checker_off, true);
    print_held();
    panic("%s:%d: may sleep, with preempt_count %#x and interrupts %s", file, line,
        this_cpu(preempt_count), arch_irqs_enabled() ? "on" : "off");
}

#endif
