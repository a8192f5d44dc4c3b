// SPDX-License-Identifier: MIT
// Futexes with priority inheritance: while a thread waits for a lock, the lock's owner runs at
// least at the waiter's FIFO/RR priority, and so on along the chain of what the owner itself waits
// for.
//
// The word holds the owner's thread id, so programs take and give a free lock without the kernel
// (futex(2), "Priority-inheritance futexes"). Only a word for which somebody waits has a state
// here. It is handed over: who unlocks writes the next owner's id into the word and makes it the
// owner, so that nobody of lower priority can come between.
//
// All of this, also which task owns and which waits for what, is under one lock. Chains lead
// through any number of words and tasks; with a lock for each, walking one means taking locks
// against their order and starting again, and a cycle (a deadlock of the program) may form behind
// the walker. Contended real-time locks are rare, and the lock is held for a walk of a chain. The
// length of chains is bounded as on Linux.
//
// Invariants, under pi_lock:
//   P1  A state has waiters, or its owner has just been granted it by one that died and is about to
//   write the word (`handing`). Otherwise it is freed.
//   P2  A state's owner has not gone through futex_pi_exit(); so it exists.
//   P3  The waiters of a state are in order of urgency, then of arrival; a task waits for one at
//   most.
//   P4  What a task inherits is the urgency of the most urgent of the first waiters of the states
//       it owns.
#include "kernel/base/assert.h"
#include "kernel/base/hash.h"
#include "kernel/core/user.h"
#include "kernel/ipc/futex.h"
#include "kernel/ipc/futex_key.h"
#include "kernel/process/task.h"
#include "mm/slab.h"
#include "sched/sched.h"
#include <linux/errno.h>
#include <linux/futex.h>

#define CHAIN_LIMIT 1024 // as Linux's kernel.max_lock_depth
#define TABLE_BITS  6

struct futex_pi_state {
    struct list_node table_node;
    struct vm_word_key key;
    struct task *owner;
    struct list_node owned_node; // in owner->futex_pi.owned
    struct list_node waiters;    // futex_pi_waiter.node
    bool handing;
};

struct futex_pi_waiter {
    struct list_node node;
    struct futex_pi_state *state;
    struct task *task;
    uint64_t urgency; // sched_urgency() of the task
    bool owner_died;  // the grant came from an owner that has not unlocked it
    bool granted;     // atomic; set under pi_lock
};

static struct spinlock pi_lock = SPINLOCK_INIT("futex_pi");
static struct list_node table[1 << TABLE_BITS]; // states; a list that was never used is all zero

static void list_prepare(struct list_node *list)
{
    if (list->next == NULL)
        list_init(list);
}

static struct list_node *list_of(const struct vm_word_key *key)
{
    uint64_t mixed = (key->object >> 4) + key->index * UINT64_C(0x9e3779b97f4a7c15) + key->offset;
    struct list_node *list = &table[(mixed * UINT64_C(0x61c8864680b583eb)) >> (64 - TABLE_BITS)];
    list_prepare(list);
    return list;
}

static struct futex_pi_state *state_find(const struct vm_word_key *key)
{
    struct futex_pi_state *state;
    list_for_each_entry (state, list_of(key), table_node) {
        if (futex_key_equals(&state->key, key))
            return state;
    }
    return NULL;
}

static uint32_t own_tid(void)
{
    return (uint32_t)task_current()->tid;
}

// ---- priorities --------------------------------------------------------------------------------

static struct futex_pi_waiter *first_waiter(struct futex_pi_state *state)
{
    return list_first_entry_or_null(&state->waiters, struct futex_pi_waiter, node);
}

static void waiter_insert(struct futex_pi_state *state, struct futex_pi_waiter *waiter)
{
    waiter->urgency = sched_urgency(&waiter->task->thread);
    struct list_node *before = &state->waiters;
    struct futex_pi_waiter *other;
    list_for_each_entry (other, &state->waiters, node) {
        if (other->urgency > waiter->urgency) {
            before = &other->node;
            break;
        }
    }
    list_add_tail(before, &waiter->node); // before `before`
}

// Makes what `task`, and those that it waits for, inherit right again (P4, P3).
static void propagate(struct task *task)
{
    for (unsigned depth = 0; task != NULL && depth < CHAIN_LIMIT; depth++) {
        uint64_t inherited = SCHED_NOT_URGENT;
        struct futex_pi_state *state;
        list_prepare(&task->futex_pi.owned);
        list_for_each_entry (state, &task->futex_pi.owned, owned_node) {
            struct futex_pi_waiter *first = first_waiter(state);
            if (first != NULL)
                inherited = MIN(inherited, first->urgency);
        }
        sched_inherit(&task->thread, inherited);
        struct futex_pi_waiter *waiter = task->futex_pi.blocked_on;
        if (waiter == NULL || waiter->urgency == sched_urgency(&task->thread))
            return;
        list_remove(&waiter->node);
        waiter_insert(waiter->state, waiter);
        task = waiter->state->owner;
    }
}

void futex_pi_priority_changed(struct task *task)
{
    spin_lock(&pi_lock);
    struct futex_pi_waiter *waiter = task->futex_pi.blocked_on;
    if (waiter != NULL) {
        list_remove(&waiter->node);
        waiter_insert(waiter->state, waiter);
        propagate(waiter->state->owner);
    }
    spin_unlock(&pi_lock);
}

// Would waiting for `owner` wait for the running task in the end?
static bool leads_to_self(const struct task *owner)
{
    for (unsigned depth = 0; owner != NULL; depth++) {
        if (owner == task_current() || depth == CHAIN_LIMIT)
            return true;
        const struct futex_pi_waiter *waiter = owner->futex_pi.blocked_on;
        owner = waiter != NULL ? waiter->state->owner : NULL;
    }
    return false;
}

// ---- ownership ---------------------------------------------------------------------------------

static void state_give(struct futex_pi_state *state, struct task *owner)
{
    state->owner = owner;
    list_prepare(&owner->futex_pi.owned);
    list_add_tail(&owner->futex_pi.owned, &state->owned_node);
}

// P1. Frees the state if nobody needs it.
static void state_release(struct futex_pi_state *state)
{
    if (state->handing || !list_is_empty(&state->waiters))
        return;
    list_remove(&state->owned_node);
    list_remove(&state->table_node);
    kfree(state);
}

// The first waiter becomes the owner and wakes. It may be gone when this returns, and the state.
static void state_grant(struct futex_pi_state *state, bool owner_died)
{
    struct futex_pi_waiter *waiter = first_waiter(state);
    struct task *task = waiter->task;
    list_remove(&waiter->node);
    task->futex_pi.blocked_on = NULL;
    list_remove(&state->owned_node);
    state_give(state, task);
    state->handing = owner_died;
    waiter->owner_died = owner_died;
    propagate(task);
    state_release(state);
    atomic_store_release(&waiter->granted, true);
    sched_wake(&task->thread, THREAD_INTERRUPTIBLE);
}

void futex_pi_exit(struct task *task)
{
    spin_lock(&pi_lock);
    task->futex_pi.exited = true;
    list_prepare(&task->futex_pi.owned);
    struct futex_pi_state *state, *next;
    list_for_each_entry_safe (state, next, &task->futex_pi.owned, owned_node) {
        if (first_waiter(state) != NULL)
            state_grant(state, true);
    }
    sched_inherit(&task->thread, SCHED_NOT_URGENT);
    spin_unlock(&pi_lock);
}

// ---- locking -----------------------------------------------------------------------------------

// Internal results of an attempt under pi_lock.
#define ATTEMPT_QUEUED   1 // the waiter is on the list, and the task prepared to sleep
#define ATTEMPT_AGAIN    2 // from the start
#define ATTEMPT_FAULT_IN 3 // the word has to be brought in first

struct lock_attempt {
    uintptr_t address;
    struct vm_word_key key;
    struct futex_pi_waiter *waiter; // NULL: does not wait
    struct futex_pi_state *fresh;   // used up (NULL) if a state was made of it
    struct task *looked_up;         // to be put when the lock is given up
    uint32_t seen;                  // the word as it was when its owner was not found
    bool owner_missing;
};

// From the value in *value, which becomes the new one. 0, ATTEMPT_FAULT_IN, ATTEMPT_AGAIN.
static int word_change(uintptr_t address, uint32_t *value, uint32_t wanted)
{
    uint32_t old;
    if (user_cmpxchg_u32(address, *value, wanted, &old) != 0)
        return ATTEMPT_FAULT_IN;
    if (old != *value)
        return ATTEMPT_AGAIN;
    *value = wanted;
    return 0;
}

// The state for a word that names a living owner. NULL: *error says why not.
static struct futex_pi_state *state_make(struct lock_attempt *attempt, uint32_t value, int *error)
{
    struct task *owner = task_find_get((int32_t)(value & FUTEX_TID_MASK));
    attempt->looked_up = owner;
    if (owner == NULL || owner->futex_pi.exited) {
        // An owner that dies changes the word first, so look once more before saying so.
        *error = attempt->owner_missing && attempt->seen == value ? -ESRCH : ATTEMPT_AGAIN;
        attempt->owner_missing = true;
        attempt->seen = value;
        return NULL;
    }
    if (leads_to_self(owner)) {
        *error = -EDEADLK;
        return NULL;
    }
    struct futex_pi_state *state = attempt->fresh;
    attempt->fresh = NULL;
    state->key = attempt->key;
    state->handing = false;
    list_init(&state->waiters);
    list_add_tail(list_of(&state->key), &state->table_node);
    state_give(state, owner);
    return state;
}

static int queue_up(struct lock_attempt *attempt, struct futex_pi_state *state, uint32_t value)
{
    int error = 0;
    if (state == NULL)
        state = state_make(attempt, value, &error);
    else if (!state->handing && (value & FUTEX_TID_MASK) != (uint32_t)state->owner->tid)
        return -EINVAL; // the program wrote something else
    else if (leads_to_self(state->owner))
        return -EDEADLK;
    if (state == NULL)
        return error;
    attempt->waiter->state = state;
    waiter_insert(state, attempt->waiter);
    task_current()->futex_pi.blocked_on = attempt->waiter;
    propagate(state->owner);
    thread_prepare_sleep(THREAD_INTERRUPTIBLE);
    return ATTEMPT_QUEUED;
}

// Under pi_lock and user_fault_disable(). 0: owned; ATTEMPT_*; or an error.
static int attempt_locked(struct lock_attempt *attempt)
{
    uint32_t value;
    if (user_get_u32(&value, attempt->address) != 0)
        return ATTEMPT_FAULT_IN;
    if ((value & FUTEX_TID_MASK) == own_tid())
        return -EDEADLK;
    struct futex_pi_state *state = state_find(&attempt->key);
    if (state == NULL && (value & FUTEX_TID_MASK) == 0)
        return word_change(
            attempt->address, &value, own_tid() | (value & (FUTEX_OWNER_DIED | FUTEX_WAITERS)));
    if (attempt->waiter == NULL)
        return -EAGAIN;
    // From here on the owner comes to the kernel to unlock.
    int error =
        value & FUTEX_WAITERS ? 0 : word_change(attempt->address, &value, value | FUTEX_WAITERS);
    return error != 0 ? error : queue_up(attempt, state, value);
}

static int attempt_lock(struct lock_attempt *attempt, bool shared)
{
    for (;;) {
        int result = futex_key_get(attempt->address, shared, &attempt->key);
        if (result != 0)
            return result;
        spin_lock(&pi_lock);
        user_fault_disable();
        result = attempt_locked(attempt);
        user_fault_enable();
        spin_unlock(&pi_lock);
        if (attempt->looked_up != NULL)
            task_put(attempt->looked_up);
        attempt->looked_up = NULL;
        if (result != ATTEMPT_AGAIN && result != ATTEMPT_FAULT_IN)
            return result;
        if (result == ATTEMPT_FAULT_IN && futex_word_fault_in(attempt->address) != 0)
            return -EFAULT;
        if (thread_kill_pending(thread_current()))
            return -EINTR;
    }
}

int futex_trylock_pi(uintptr_t address, bool shared)
{
    struct lock_attempt attempt = {.address = address};
    return attempt_lock(&attempt, shared);
}

// The last owner died: the word still says so, or names it. Only then is the state given up.
static int take_from_dead(struct futex_pi_waiter *waiter, uintptr_t address)
{
    uint32_t value, wanted = own_tid() | FUTEX_WAITERS | FUTEX_OWNER_DIED;
    int error = user_get_u32(&value, address) != 0 ? ATTEMPT_FAULT_IN : ATTEMPT_AGAIN;
    while (error == ATTEMPT_AGAIN) {
        error = user_get_u32(&value, address) != 0 ? ATTEMPT_FAULT_IN
                                                   : word_change(address, &value, wanted);
    }
    spin_lock(&pi_lock);
    waiter->state->handing = false;
    if (error != 0 && first_waiter(waiter->state) != NULL)
        state_grant(waiter->state, true); // the word is out of our reach, perhaps not of theirs
    else
        state_release(waiter->state);
    propagate(task_current());
    spin_unlock(&pi_lock);
    return error != 0 ? -EFAULT : 0;
}

// Sleeps until the lock was granted. False: `error` came first, and the task waits no more.
static bool wait_for_grant(struct futex_pi_waiter *waiter, uint64_t deadline_ns, int *error)
{
    for (;;) {
        if (atomic_load_acquire(&waiter->granted)) {
            thread_cancel_sleep();
            return true;
        }
        *error = sched_block(deadline_ns);
        if (*error != 0)
            break;
        thread_prepare_sleep(THREAD_INTERRUPTIBLE);
    }
    spin_lock(&pi_lock);
    bool granted = waiter->granted;
    if (!granted) {
        struct futex_pi_state *state = waiter->state;
        struct task *owner = state->owner;
        list_remove(&waiter->node);
        task_current()->futex_pi.blocked_on = NULL;
        propagate(owner);
        state_release(state);
    }
    spin_unlock(&pi_lock);
    return granted;
}

int futex_lock_pi(uintptr_t address, bool shared, uint64_t deadline_ns)
{
    struct futex_pi_waiter waiter = {.task = task_current()};
    struct lock_attempt attempt = {
        .address = address, .waiter = &waiter, .fresh = kmalloc(sizeof(*attempt.fresh), 0)};
    if (attempt.fresh == NULL)
        return -ENOMEM;
    int result = attempt_lock(&attempt, shared);
    kfree(attempt.fresh);
    if (result != ATTEMPT_QUEUED)
        return result;
    int error;
    if (!wait_for_grant(&waiter, deadline_ns, &error))
        return error;
    return waiter.owner_died ? take_from_dead(&waiter, address) : 0;
}

// ---- unlocking ---------------------------------------------------------------------------------

// Under pi_lock and user_fault_disable().
static int unlock_locked(uintptr_t address, const struct vm_word_key *key)
{
    uint32_t value;
    if (user_get_u32(&value, address) != 0)
        return ATTEMPT_FAULT_IN;
    if ((value & FUTEX_TID_MASK) != own_tid())
        return -EPERM;
    struct futex_pi_state *state = state_find(key);
    if (state != NULL && state->owner != task_current())
        return -EINVAL;
    struct futex_pi_waiter *next = state != NULL ? first_waiter(state) : NULL;
    uint32_t wanted = next != NULL ? (uint32_t)next->task->tid | FUTEX_WAITERS : 0;
    int error = word_change(address, &value, wanted);
    if (error != 0 || next == NULL)
        return error;
    state_grant(state, false);
    propagate(task_current());
    return 0;
}

int futex_unlock_pi(uintptr_t address, bool shared)
{
    for (;;) {
        struct vm_word_key key;
        int result = futex_key_get(address, shared, &key);
        if (result != 0)
            return result;
        spin_lock(&pi_lock);
        user_fault_disable();
        result = unlock_locked(address, &key);
        user_fault_enable();
        spin_unlock(&pi_lock);
        if (result == ATTEMPT_FAULT_IN && futex_word_fault_in(address) != 0)
            return -EFAULT;
        if (result != ATTEMPT_AGAIN && result != ATTEMPT_FAULT_IN)
            return result;
    }
}
