// SPDX-License-Identifier: MIT
// Kernel threads.
#include "kernel/arch/x86/arch.h"
#include "kernel/base/string.h"
#include "kernel/core/rcu.h"
#include "kernel/core/work.h"
#include "mm/slab.h"
#include "sched/run_queue.h"
#include "sched/sched.h"
#include <linux/errno.h>

struct kthread {
    struct thread thread;
    void (*function)(void *argument);
    void *argument;
    struct rcu_head rcu;
};

static void kthread_main(void *argument)
{
    struct kthread *kthread = argument;
    kthread->function(kthread->argument);
    sched_exit();
}

int kthread_create(
    struct thread **thread, const char *name, void (*function)(void *argument), void *argument)
{
    struct kthread *kthread = kzalloc(sizeof(*kthread));
    if (kthread == NULL)
        return -ENOMEM;
    void *stack = vmap_stack_alloc();
    if (stack == NULL) {
        kfree(kthread);
        return -ENOMEM;
    }
    kthread->function = function;
    kthread->argument = argument;
    kthread->thread.flags = THREAD_FLAG_KERNEL;
    kthread->thread.stack_base = (uintptr_t)stack;
    strlcpy(kthread->thread.name, name, sizeof(kthread->thread.name));
    sched_thread_init(&kthread->thread, NULL);
    arch_thread_init_kernel(&kthread->thread, kthread_main, kthread);
    if (thread != NULL)
        *thread = &kthread->thread;
    sched_start(&kthread->thread);
    return 0;
}

void kthread_reap(struct thread *thread)
{
    struct kthread *kthread = container_of(thread, struct kthread, thread);
    vmap_stack_free((void *)thread->stack_base);
    kfree_rcu(kthread, &kthread->rcu); // wakers may still look at it
}
