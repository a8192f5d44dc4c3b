// SPDX-License-Identifier: MIT
//
// lockdep_graph.h against a simple model (transitive closure), and lockdep.h: that wrong orders, a
// handler's lock taken with interrupts on and a sleep under a spin lock are found, and right ones
// are not.
#include "kernel/core/lockdep_graph.h"

#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"
#include "kernel/core/host/host_core.h"
#include "kernel/core/mutex.h"

#include <string.h>

#define NODES 24

static struct lock_graph graph;

static void cycles_are_found(void **state)
{
    (void)state;
    struct prng prng = host_seed("lockdep");
    for (int round = 0; round < 50; round++) {
        bool reach[NODES + 1][NODES + 1] = {0};
        memset(&graph, 0, sizeof(graph));
        for (int i = 1; i <= NODES; i++) {
            assert_int_equal(lock_graph_add_node(&graph), i);
            reach[i][i] = true;
        }
        for (int step = 0; step < 200; step++) {
            uint16_t from = (uint16_t)(1 + prng_below(&prng, NODES));
            uint16_t to = (uint16_t)(1 + prng_below(&prng, NODES));
            struct lock_path cycle;
            bool fine = lock_graph_add_edge(&graph, from, to, &cycle);
            assert_int_equal(fine, !reach[to][from]);
            if (!fine) {
                assert_int_equal(cycle.nodes[0], to);
                assert_int_equal(cycle.nodes[cycle.length - 1], from);
                for (uint32_t i = 0; i + 1 < cycle.length; i++)
                    assert_true(lock_graph_has_edge(&graph, cycle.nodes[i], cycle.nodes[i + 1]));
                continue;
            }
            for (int a = 1; a <= NODES; a++) {
                for (int b = 1; b <= NODES; b++)
                    reach[a][b] |= reach[a][from] && reach[to][b];
            }
        }
    }
}

static void the_graph_has_a_limit(void **state)
{
    (void)state;
    memset(&graph, 0, sizeof(graph));
    for (int i = 1; i < LOCK_NODES_MAX - 1; i++)
        assert_int_equal(lock_graph_add_node(&graph), i);
    assert_int_equal(lock_graph_add_node(&graph), LOCK_NODES_MAX - 1);
    assert_int_equal(lock_graph_add_node(&graph), 0);
}

// ---- the checker -------------------------------------------------------------------------------
// The checker reports once and is off then, so each wrong use runs in a process of its own.

#include <sys/wait.h>
#include <unistd.h>

static const char *expected;

static void on_panic(const char *message)
{
    _exit(strstr(message, expected) != NULL ? 0 : 2);
}

// Does use() make the checker panic with a message that contains `text`?
static bool is_reported(void (*use)(void), const char *text)
{
    pid_t child = fork();
    if (child == 0) {
        expected = text;
        host_panic = on_panic;
        host_cpu_begin(0);
        use();
        _exit(1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool is_silent(void (*use)(void))
{
    pid_t child = fork();
    if (child == 0) {
        host_cpu_begin(0);
        use();
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static struct spinlock a = SPINLOCK_INIT("a"), b = SPINLOCK_INIT("b"), c = SPINLOCK_INIT("c");
static struct mutex m = MUTEX_INIT(m, "m"), n = MUTEX_INIT(n, "n");
static struct rwlock r = RWLOCK_INIT(r, "r");

static void lock_both(struct spinlock *first, struct spinlock *second)
{
    spin_lock(first);
    spin_lock(second);
    spin_unlock(second);
    spin_unlock(first);
}

static void use_right(void)
{
    lock_both(&a, &b);
    lock_both(&b, &c);
    lock_both(&a, &c);
    mutex_lock(&m);
    mutex_lock(&n);
    lock_both(&a, &b);
    mutex_unlock(&m); // in another order: fine
    mutex_unlock(&n);
    rwlock_read_lock(&r);
    rwlock_read_unlock(&r);
}

static void use_cycle_of_three(void)
{
    lock_both(&a, &b);
    lock_both(&b, &c);
    lock_both(&c, &a);
}

static void use_mutex_cycle(void)
{
    mutex_lock(&m);
    rwlock_read_lock(&r);
    rwlock_read_unlock(&r);
    mutex_unlock(&m);
    rwlock_write_lock(&r);
    mutex_lock(&m);
}

static void use_twice(void)
{
    spin_lock(&a);
    spin_lock(&a);
}

static void use_same_class(void)
{
    mutex_lock(&m);
    mutex_lock(&m);
}

static void use_nested(void)
{
    spin_lock(&a);
    spin_lock_nested(&b, 1);
    spin_unlock(&b);
    spin_unlock(&a);
}

static void use_in_interrupt(void)
{
    spin_lock(&a); // with interrupts on
    spin_unlock(&a);
    this_cpu(preempt_count) += PREEMPT_IRQ_ONE;
    spin_lock(&a);
}

static void use_below_interrupt(void)
{
    this_cpu(preempt_count) += PREEMPT_IRQ_ONE;
    uint64_t flags = spin_lock_irqsave(&a);
    spin_unlock_irqrestore(&a, flags);
    this_cpu(preempt_count) -= PREEMPT_IRQ_ONE;
    spin_lock(&b); // with interrupts on
    spin_unlock(&b);
    flags = spin_lock_irqsave(&a);
    spin_lock(&b);
}

static void use_interrupt_right(void)
{
    uint64_t flags = spin_lock_irqsave(&a);
    spin_unlock_irqrestore(&a, flags);
    spin_lock(&b);
    this_cpu(preempt_count) += PREEMPT_IRQ_ONE; // a handler: what it interrupted is no order
    flags = spin_lock_irqsave(&a);
    spin_unlock_irqrestore(&a, flags);
    this_cpu(preempt_count) -= PREEMPT_IRQ_ONE;
    spin_unlock(&b);
    lock_both(&b, &c);
}

static void use_sleep_in_spin(void)
{
    spin_lock(&a);
    mutex_lock(&m);
}

static void use_release_of_others(void)
{
    spin_unlock(&a);
}

static void wrong_uses_are_reported(void **state)
{
    (void)state;
    assert_true(is_silent(use_right));
    assert_true(is_silent(use_nested));
    assert_true(is_silent(use_interrupt_right));
    assert_true(is_reported(use_cycle_of_three, "taking a while holding c closes a cycle"));
    assert_true(is_reported(use_mutex_cycle, "taking m while holding r closes a cycle"));
    assert_true(is_reported(use_twice, "taken twice"));
    assert_true(is_reported(use_same_class, "taking m while holding m closes a cycle"));
    assert_true(is_reported(use_in_interrupt, "could be waited for by a handler"));
    assert_true(is_reported(use_below_interrupt, "could be waited for by a handler"));
    assert_true(is_reported(use_sleep_in_spin, "may sleep"));
    assert_true(is_reported(use_release_of_others, "does not hold it"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cycles_are_found),
        cmocka_unit_test(the_graph_has_a_limit),
        cmocka_unit_test(wrong_uses_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
