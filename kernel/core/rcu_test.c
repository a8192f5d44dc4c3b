// SPDX-License-Identifier: MIT
//
// rcu.h on several "CPUs" under the race detector: readers follow a pointer while writers replace
// what it points to; a callback marks the old object, which no reader may see marked. Then the same
// with rcu_synchronize(). CPUs idle, take interrupts and switch at random in between.
#include "kernel/core/rcu.h"

#include "kernel/arch/x86/cpu_inline.h"
#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"
#include "kernel/base/random.h"
#include "kernel/core/host/host_core.h"

#include <pthread.h>
#include <stdlib.h>

#define CPUS   4
#define ROUNDS 20000

struct object {
    struct rcu_head rcu;
    uint64_t alive; // plain: a race is an error
};

static struct object *current_object;
static uint64_t freed;   // atomic
static uint64_t written; // atomic
static uint32_t playing; // CPUs that have not finished; atomic
static struct prng seed;

static struct object *object_new(void)
{
    struct object *object = malloc(sizeof(*object));
    object->alive = 0x600d;
    return object;
}

static void object_free(struct rcu_head *head)
{
    struct object *object = container_of(head, struct object, rcu);
    object->alive = 0;
    free(object);
    atomic_fetch_add(&freed, (uint64_t)1);
}

static void read_once(void)
{
    rcu_read_lock();
    const struct object *object = rcu_load(current_object);
    if (object->alive != 0x600d)
        abort();
    rcu_read_unlock();
}

static void replace_with_call(void)
{
    struct object *old = __atomic_exchange_n(&current_object, object_new(), __ATOMIC_ACQ_REL);
    rcu_call(&old->rcu, object_free);
    atomic_fetch_add(&written, (uint64_t)1);
}

static void replace_and_wait(void)
{
    struct object *old = __atomic_exchange_n(&current_object, object_new(), __ATOMIC_ACQ_REL);
    rcu_synchronize();
    object_free(&old->rcu);
    atomic_fetch_add(&written, (uint64_t)1);
}

static void *play(void *argument)
{
    uint32_t cpu = (uint32_t)(uintptr_t)argument;
    struct prng prng = {.state = seed.state + cpu};
    host_cpu_begin(cpu);
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t dice = prng_below(&prng, 1000);
        if (dice < 900) {
            read_once();
        } else if (dice < 930) {
            replace_with_call();
        } else if (dice < 932) {
            replace_and_wait();
        } else if (dice < 960) {
            preempt_disable();
            rcu_note_context_switch();
            preempt_enable();
        } else if (dice < 970) {
            uint64_t flags = arch_irq_save();
            rcu_idle_enter();
            rcu_idle_exit();
            arch_irq_restore(flags);
        } else {
            atomic_fetch_add(&host_now_ns, (uint64_t)1000000);
        }
        host_interrupts();
    }
    atomic_fetch_sub(&playing, 1u);
    // Stay until all are through: a CPU that is online answers.
    while (atomic_load(&playing) != 0 || atomic_load(&freed) != atomic_load(&written)) {
        atomic_fetch_add(&host_now_ns, (uint64_t)1000000);
        host_interrupts();
    }
    host_cpu_end();
    return NULL;
}

static void no_reader_sees_a_freed_object(void **state)
{
    pthread_t threads[CPUS];
    (void)state;
    seed = host_seed("rcu");
    current_object = object_new();
    playing = CPUS;
    for (uintptr_t cpu = 0; cpu < CPUS; cpu++)
        pthread_create(&threads[cpu], NULL, play, (void *)cpu);
    for (int cpu = 0; cpu < CPUS; cpu++)
        pthread_join(threads[cpu], NULL);
    assert_int_equal(freed, written);
    free(current_object);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_reader_sees_a_freed_object),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
