// SPDX-License-Identifier: MIT
// Asynchronous page faults: the host has to bring in a page of the guest from its own disk, and the
// thread that touched it waits while the vCPU runs another one.
//
// The host raises a page fault with `flags` of the CPU's record set and a token in CR2 ("not
// present"), and later an interrupt with the token in the record ("ready"), on the same vCPU. It
// does so only in user mode, so the thread can sleep. A thread that waits stands in a list with its
// token. The fault is taken with interrupts off, so the thread stands there before the interrupt
// can come; the token ~0 ("all") wakes everybody, who then fault again if they have to.
//
// The host is not trusted: a message in kernel mode (where nobody can sleep) is no message, and an
// unknown token is counted and answered.

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/cpu.h"
#include "kernel/base/assert.h"
#include "kernel/base/list.h"
#include "kernel/core/irq.h"
#include "kernel/core/log.h"
#include "kernel/core/spinlock.h"
#include "kernel/core/thread.h"
#include "kernel/core/upcall.h"
#include "pv/kvm/kvm.h"

#define TOKEN_ALL UINT32_MAX

struct waiter {
    struct list_node node; // under waiters_lock
    struct thread *thread;
    uint32_t token;
    bool is_ready; // atomic
};

static struct spinlock waiters_lock = SPINLOCK_INIT("kvm: async faults");
static struct list_node waiters = LIST_INIT(waiters); // under waiters_lock
static uint32_t ready_vector;                         // 0: none; fixed by kvm_async_fault_init()

COUNTER(kvm, async_ready);
COUNTER(kvm, async_unknown);

const char *kvm_async_fault_start(void)
{
    if (!kvm_offers(KVM_FEATURE_ASYNC_PF))
        return "not offered";
    if (!kvm_offers(KVM_FEATURE_ASYNC_PF_INT))
        return "without delivery by interrupt";
    pv_faults_asked = true;
    return NULL;
}

static void wake_ready(uint32_t token)
{
    struct waiter *waiter, *following;
    bool found = token == TOKEN_ALL;
    uint64_t flags = spin_lock_irqsave(&waiters_lock);
    list_for_each_entry_safe (waiter, following, &waiters, node) {
        if (token != TOKEN_ALL && waiter->token != token)
            continue;
        found = true;
        struct thread *thread = waiter->thread;
        list_remove(&waiter->node);
        // The waiter does not go before it has had the lock: it and its thread are there till then.
        atomic_store_release(&waiter->is_ready, true);
        sched_wake(thread, THREAD_UNINTERRUPTIBLE);
        if (token != TOKEN_ALL)
            break;
    }
    spin_unlock_irqrestore(&waiters_lock, flags);
    if (!found)
        counter_add(kvm, async_unknown, 1);
}

static void ready_interrupt(void *context, struct trap_frame *frame)
{
    struct kvm_vcpu_pv_apf_data *record = &this_cpu_ptr(kvm_shared)->async_fault;
    if (!atomic_load_relaxed(&record->enabled))
        return;
    uint32_t token = atomic_load_relaxed(&record->token);
    counter_add(kvm, async_ready, 1);
    wake_ready(token);
    atomic_store(&record->token, 0u);
    kvm_msr_write(MSR_KVM_ASYNC_PF_ACK, 1); // the next one may come
}

void kvm_async_fault_init(void)
{
    int vector = irq_vector_alloc(ready_interrupt, NULL, "asynchronous page faults");
    if (vector < 0)
        log_warning("kvm: no vector for asynchronous page faults");
    else
        ready_vector = (uint32_t)vector;
}

void kvm_async_fault_online(void)
{
    if (ready_vector == 0)
        return;
    struct kvm_vcpu_pv_apf_data *record = &this_cpu_ptr(kvm_shared)->async_fault;
    *record = (struct kvm_vcpu_pv_apf_data){.enabled = 1};
    kvm_msr_write(MSR_KVM_ASYNC_PF_INT, ready_vector);
    kvm_msr_write(MSR_KVM_ASYNC_PF_EN,
        kvm_phys(record) | KVM_ASYNC_PF_ENABLED | KVM_ASYNC_PF_DELIVERY_AS_INT);
}

void kvm_async_fault_offline(void)
{
    kvm_msr_write(MSR_KVM_ASYNC_PF_EN, 0);
    atomic_store(&this_cpu_ptr(kvm_shared)->async_fault.enabled, 0u);
    // What was announced to this CPU and is not ready will not be: everybody looks again.
    wake_ready(TOKEN_ALL);
}

bool kvm_page_fault(struct trap_frame *frame, uintptr_t address)
{
    struct kvm_vcpu_pv_apf_data *record = &this_cpu_ptr(kvm_shared)->async_fault;
    assert_irqs_off();
    if (likely(atomic_load_relaxed(&record->flags) != KVM_PV_REASON_PAGE_NOT_PRESENT))
        return false;
    atomic_store_relaxed(&record->flags, 0u);
    counter_add(pv, async_faults, 1);
    if (!trap_frame_is_user(frame)) {
        counter_add(kvm, async_unknown, 1);
        return true; // the access is repeated; the host waits for the page then
    }
    struct waiter waiter = {.thread = thread_current(), .token = (uint32_t)address};
    spin_lock(&waiters_lock);
    list_add_tail(&waiters, &waiter.node);
    spin_unlock(&waiters_lock);
    arch_irq_enable();
    for (;;) {
        thread_prepare_sleep(THREAD_UNINTERRUPTIBLE);
        if (atomic_load_acquire(&waiter.is_ready))
            break;
        (void)sched_block(UINT64_MAX);
    }
    thread_cancel_sleep();
    // wake_ready() may still be about to wake us, under the lock: not before it has.
    uint64_t flags = spin_lock_irqsave(&waiters_lock);
    spin_unlock_irqrestore(&waiters_lock, flags);
    return true;
}
