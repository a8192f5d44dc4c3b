// SPDX-License-Identifier: MIT
// Life of the structures: allocation, references, what others may look at.
//
// A task has one reference for its place in the pid table (given back when it is reaped) and one
// for running (given back by the reaper after its last context switch); lookups add more. It holds
// one on its process. Both are freed after an RCU grace period, so that whoever found them in the
// pid table may try to take a reference (reference_get_unless_zero).
#include "kernel/arch/x86/arch.h"
#include "kernel/fs/file.h"
#include "kernel/process/process.h"
#include "mm/address_space.h"
#include "mm/slab.h"
#include "sched/sched.h"

static struct slab_cache *task_cache;
static struct slab_cache *process_cache;
static struct slab_cache *handlers_cache;

void process_caches_init(void)
{
    task_cache = slab_cache_create("task", sizeof(struct task), CACHE_LINE_SIZE);
    process_cache = slab_cache_create("process", sizeof(struct process), 0);
    handlers_cache = slab_cache_create("signal_handlers", sizeof(struct signal_handlers), 0);
    assert(task_cache != NULL);
    assert(process_cache != NULL);
    assert(handlers_cache != NULL);
}

bool reference_get_unless_zero(uint32_t *refcount)
{
    uint32_t old = atomic_load_relaxed(refcount);
    do {
        if (old == 0)
            return false;
    } while (!atomic_cmpxchg_acquire(refcount, &old, old + 1));
    return true;
}

struct task *task_allocate(void)
{
    struct task *task = slab_alloc(task_cache, PAGE_ALLOC_ZERO);
    if (task == NULL)
        return NULL;
    void *stack = vmap_stack_alloc();
    if (stack == NULL || arch_thread_fpu_alloc(&task->thread) != 0) {
        if (stack != NULL)
            vmap_stack_free(stack);
        slab_free(task_cache, task);
        return NULL;
    }
    task->thread.stack_base = (uintptr_t)stack;
    task->refcount = 1;
    spin_lock_init(&task->alloc_lock);
    signal_queue_init(&task->pending);
    task->own_signal.owned = true;
    return task;
}

void task_free_unused(struct task *task)
{
    arch_thread_fpu_free(&task->thread);
    vmap_stack_free((void *)task->thread.stack_base);
    slab_free(task_cache, task);
}

static void task_free_rcu(struct rcu_head *head)
{
    slab_free(task_cache, container_of(head, struct task, rcu));
}

void task_get(struct task *task)
{
    uint32_t old = atomic_fetch_add_relaxed(&task->refcount, 1u);
    debug_assert(old != 0);
    (void)old;
}

void task_put(struct task *task)
{
    if (atomic_fetch_sub(&task->refcount, 1u) != 1)
        return;
    credentials_put(task->cred);
    process_put(task->process);
    rcu_call(&task->rcu, task_free_rcu);
}

// Called by the scheduler after the last switch away from a dead thread.
void task_reaper(struct thread *thread)
{
    arch_thread_fpu_free(thread);
    vmap_stack_free((void *)thread->stack_base);
    task_put(task_of_thread(thread));
}

struct process *process_allocate(void)
{
    struct process *process = slab_alloc(process_cache, PAGE_ALLOC_ZERO);
    if (process == NULL)
        return NULL;
    process->refcount = 1;
    list_init(&process->threads);
    list_init(&process->children);
    list_init(&process->zombies);
    list_init(&process->posix_timers);
    wait_queue_init(&process->child_wait);
    wait_queue_init(&process->exit_wait);
    signal_queue_init(&process->pending);
    timer_init(&process->real_timer, itimer_real_fire);
    cpu_timer_init(process);
    return process;
}

static void process_free_rcu(struct rcu_head *head)
{
    struct process *process = container_of(head, struct process, rcu);
    if (process->handlers != NULL)
        signal_handlers_put(process->handlers);
    slab_free(process_cache, process);
}

void process_get(struct process *process)
{
    uint32_t old = atomic_fetch_add_relaxed(&process->refcount, 1u);
    debug_assert(old != 0);
    (void)old;
}

void process_put(struct process *process)
{
    if (atomic_fetch_sub(&process->refcount, 1u) == 1)
        rcu_call(&process->rcu, process_free_rcu);
}

struct signal_handlers *signal_handlers_allocate(void)
{
    struct signal_handlers *handlers = slab_alloc(handlers_cache, 0);
    if (handlers == NULL)
        return NULL;
    handlers->refcount = 1;
    spin_lock_init(&handlers->lock);
    wait_queue_init(&handlers->signalfd_wait);
    return handlers;
}

void signal_handlers_get(struct signal_handlers *handlers)
{
    atomic_fetch_add_relaxed(&handlers->refcount, 1u);
}

// The last owner's RCU callback or an exec that unshares: readers that hold the lock have a
// process, which keeps the handlers. An exec therefore waits for a grace period before it comes
// here (exec.c).
void signal_handlers_put(struct signal_handlers *handlers)
{
    if (atomic_fetch_sub(&handlers->refcount, 1u) == 1)
        slab_free(handlers_cache, handlers);
}

struct fd_table *task_files_get(struct task *task)
{
    spin_lock(&task->alloc_lock);
    struct fd_table *files = task->files;
    if (files != NULL)
        fd_table_get(files);
    spin_unlock(&task->alloc_lock);
    return files;
}

struct address_space *task_space_get(struct task *task)
{
    spin_lock(&task->alloc_lock);
    struct address_space *space = task->thread.space;
    if (space != NULL)
        address_space_get(space);
    spin_unlock(&task->alloc_lock);
    return space;
}
