// SPDX-License-Identifier: MIT
//
// See host_core.h. This is the one place of the tests that knows how host threads stand for CPUs.
#include "kernel/core/host/host_core.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/base/atomic.h"
#include "kernel/core/cpumask.h"
#include "kernel/core/irq.h"
#include "kernel/core/log.h"
#include "kernel/core/panic.h"
#include "kernel/core/rcu.h"
#include "kernel/core/thread.h"
#include "kernel/core/time.h"
#include "kernel/core/timer.h"
#include "kernel/core/upcall.h"
#include "pv/pv.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

_Thread_local uint32_t host_cpu;
_Thread_local uint64_t arch_host_flags = ARCH_RFLAGS_IF;
uint64_t host_now_ns;
void (*host_panic)(const char *message);

uint32_t cpu_count_possible = HOST_CPUS;
struct cpumask cpu_online;
struct cpumask cpu_active;
PERCPU(uint32_t, preempt_count);
PERCPU(uint32_t, need_resched);
PERCPU(struct thread *, current_thread);

static struct host_thread {
    struct thread thread;
    pthread_mutex_t mutex;
    pthread_cond_t woken;
} host_threads[HOST_CPUS];

static struct host_cpu_state {
    uint32_t ipi;      // an IPI is pending; atomic
    uint64_t timer_ns; // when the timer fires plus 1, 0: not armed; own CPU
} host_cpus[HOST_CPUS];

static void host_idle_exit(void)
{
    uint64_t flags = arch_irq_save();
    rcu_idle_exit();
    arch_irq_restore(flags);
}

void host_cpu_begin(uint32_t cpu)
{
    host_cpu = cpu;
    arch_host_flags = ARCH_RFLAGS_IF;
    pthread_mutex_init(&host_threads[cpu].mutex, NULL);
    pthread_cond_init(&host_threads[cpu].woken, NULL);
    host_threads[cpu].thread = (struct thread){.cpu = cpu, .sched.on_cpu = true};
    current_thread[cpu] = &host_threads[cpu].thread;
    uint64_t flags = arch_irq_save();
    rcu_cpu_begin();
    arch_irq_restore(flags);
    cpumask_set_atomic(&cpu_online, cpu);
}

void host_cpu_end(void)
{
    cpumask_clear_atomic(&cpu_online, host_cpu);
    uint64_t flags = arch_irq_save();
    rcu_cpu_end();
    arch_irq_restore(flags);
}

void host_interrupts(void)
{
    struct host_cpu_state *state = &host_cpus[host_cpu];
    if (preempt_count[host_cpu] != 0)
        abort();
    uint64_t flags = arch_irq_save();
    if (atomic_exchange(&state->ipi, 0u) != 0)
        rcu_note_interrupt(true);
    if (state->timer_ns != 0 && state->timer_ns - 1 <= time_monotonic_ns()) {
        state->timer_ns = 0;
        timer_interrupt(NULL);
    }
    arch_irq_restore(flags);
    if (rcu_callbacks_ready())
        rcu_run_callbacks();
}

// ---- what kernel/core calls --------------------------------------------------------------------

uint64_t time_monotonic_ns(void)
{
    return atomic_load(&host_now_ns);
}

void preempt_enable_slow(void)
{
    this_cpu_write(need_resched, 0);
    rcu_note_context_switch();
}

int sched_block(uint64_t deadline_ns)
{
    struct host_thread *host = &host_threads[host_cpu];
    struct thread *thread = &host->thread;
    uint32_t state = atomic_load(&thread->state);
    if (state == THREAD_RUNNING)
        return 0;
    if ((state & THREAD_KILLABLE) && thread_kill_pending(thread)) {
        thread_cancel_sleep();
        return -EINTR;
    }
    rcu_idle_enter();
    pthread_mutex_lock(&host->mutex);
    while (atomic_load(&thread->state) != THREAD_RUNNING)
        pthread_cond_wait(&host->woken, &host->mutex);
    pthread_mutex_unlock(&host->mutex);
    host_idle_exit();
    return 0;
}

bool sched_wake(struct thread *thread, uint32_t states)
{
    struct host_thread *host = container_of(thread, struct host_thread, thread);
    atomic_fence();
    uint32_t state = atomic_load_relaxed(&thread->state);
    do {
        if ((state & states) == 0)
            return false;
    } while (!atomic_cmpxchg(&thread->state, &state, (uint32_t)THREAD_RUNNING));
    pthread_mutex_lock(&host->mutex);
    pthread_cond_signal(&host->woken);
    pthread_mutex_unlock(&host->mutex);
    return true;
}

void sched_wake_begin(void)
{
    preempt_disable();
}

void sched_wake_end(void)
{
    preempt_enable();
}

bool sched_wake_sync(struct thread *thread, uint32_t states)
{
    return sched_wake(thread, states);
}

bool sched_is_running(const struct thread *thread)
{
    return atomic_load_relaxed(&thread->state) == THREAD_RUNNING;
}

void smp_call_mask(
    const struct cpumask *mask, void (*function)(void *argument), void *argument, bool wait)
{
    // Tests have no cross-CPU calls that anybody waits for; the function runs for the own CPU only.
    (void)mask, (void)function, (void)argument, (void)wait;
}

void log_write(enum log_level level, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (level <= LOG_ERROR) {
        vfprintf(stderr, format, arguments);
        fputc('\n', stderr);
    }
    va_end(arguments);
}

void panic(const char *format, ...)
{
    char message[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    if (host_panic != NULL)
        host_panic(message);
    fprintf(stderr, "panic: %s\n", message);
    abort();
}

// ---- the hypervisor ----------------------------------------------------------------------------

static void host_timer_arm(uint64_t deadline_ns)
{
    host_cpus[host_cpu].timer_ns = deadline_ns + 1;
}

static void host_send_ipi(const struct cpumask *mask, uint32_t vector)
{
    (void)vector;
    cpumask_for_each(cpu, mask) atomic_store(&host_cpus[cpu].ipi, 1u);
}

static void host_lock_wait(uint32_t *word, uint32_t value)
{
    (void)word, (void)value;
    usleep(1);
}

static void host_lock_kick(uint32_t cpu)
{
    (void)cpu;
}

static bool host_vcpu_is_preempted(uint32_t cpu)
{
    (void)cpu;
    return false;
}

PERCPU(uint64_t, counter_pv_timer_arms_suppressed);

static void host_yield_to(uint32_t cpu)
{
    (void)cpu;
}

struct pv_ops pv_ops = {
    .yield_to = host_yield_to,
    .timer_arm = host_timer_arm,
    .send_ipi = host_send_ipi,
    .lock_wait = host_lock_wait,
    .lock_kick = host_lock_kick,
    .vcpu_is_preempted = host_vcpu_is_preempted,
};
