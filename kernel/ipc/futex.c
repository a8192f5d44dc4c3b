// SPDX-License-Identifier: MIT
// Futexes: threads sleep until somebody says that a word of user memory may have changed.
//
// A word is identified by what it is, not by its address (vm_word_key): two mappings of one file
// page are the same word. Waiters stand in hashed buckets, in order of arrival.
//
// No wake-up is lost. A waiter counts itself in the bucket (a locked instruction, hence a full
// fence), takes the bucket's lock, looks at the word, and is on the list before it gives up the
// lock. A waker has changed the word before, fences, and looks at the count. So either the waker
// sees the count and comes for the lock, and then finds the waiter on the list or the waiter will
// see the new value; or it does not, and then the waiter's look at the word, which comes after its
// count, sees the new value and does not sleep.
//
// A waker takes the waiter off the list, sets `woken` as its last access to the waiter (which lies
// on the sleeper's stack), and wakes the thread under the bucket's lock. The lock keeps preemption
// off and thereby tasks from being freed (RCU), so the thread may even have ended meanwhile; a
// wake-up that comes too late is one without cause, which every sleeper must stand.
#include "kernel/ipc/futex.h"
#include "kernel/base/hash.h"
#include "kernel/core/user.h"
#include "kernel/ipc/futex_key.h"
#include "kernel/process/task.h"
#include "mm/slab.h"
#include <linux/errno.h>
#include <linux/futex.h>

#define BUCKET_BITS 8

struct futex_bucket {
    struct spinlock lock;
    uint32_t waiters; // on the list or about to be; atomic
    struct list_node list;
} __cache_aligned;

struct futex_waiter {
    struct list_node node;       // under the lock of `bucket`
    struct futex_bucket *bucket; // changed by a requeue, under the locks of both buckets; atomic
    struct vm_word_key key;      // under the bucket's lock
    uint32_t bitset;
    bool woken; // atomic; set once, by the waker
    struct thread *thread;
};

static struct futex_bucket buckets[1 << BUCKET_BITS] = {
    [0 ...(1 << BUCKET_BITS) - 1] = {.lock = SPINLOCK_INIT("futex_bucket")}};

static struct futex_bucket *bucket_of(const struct vm_word_key *key)
{
    uint64_t mixed = (key->object >> 4) + key->index * UINT64_C(0x9e3779b97f4a7c15) + key->offset;
    return &buckets[(mixed * UINT64_C(0x61c8864680b583eb)) >> (64 - BUCKET_BITS)];
}

// A list that was never used is all zero.
static void bucket_lock(struct futex_bucket *bucket)
{
    spin_lock(&bucket->lock);
    if (unlikely(bucket->list.next == NULL))
        list_init(&bucket->list);
}

int futex_key_get(uintptr_t address, bool shared, struct vm_word_key *key)
{
    if (!IS_ALIGNED(address, sizeof(uint32_t)))
        return -EINVAL;
    if (!user_range_ok(address, sizeof(uint32_t)))
        return -EFAULT;
    return vm_word_key(thread_current()->space, address, shared, key);
}

// The word, without resolving faults (a lock is held).
static int word_read_locked(uint32_t *value, uintptr_t address)
{
    user_fault_disable();
    int error = user_get_u32(value, address);
    user_fault_enable();
    return error;
}

// ---- waiting -----------------------------------------------------------------------------------

static void waiter_init(struct futex_waiter *waiter, struct futex_bucket *bucket, uint32_t bitset)
{
    waiter->bucket = bucket;
    waiter->bitset = bitset;
    waiter->woken = false;
    waiter->thread = thread_current();
}

// Puts the waiter on the list if the word still has the value. 0, -EAGAIN, -EFAULT, -EINVAL.
static int waiter_enqueue(struct futex_waiter *waiter, const struct futex_wait_request *request)
{
    for (;;) {
        int error = futex_key_get(request->address, request->shared, &waiter->key);
        if (error != 0)
            return error;
        struct futex_bucket *bucket = bucket_of(&waiter->key);
        waiter_init(waiter, bucket, request->bitset);
        atomic_fetch_add(&bucket->waiters, 1u);
        bucket_lock(bucket);
        uint32_t value;
        error = word_read_locked(&value, request->address);
        if (error == 0 && value == request->value) {
            list_add_tail(&bucket->list, &waiter->node);
            thread_prepare_sleep(THREAD_INTERRUPTIBLE);
            spin_unlock(&bucket->lock);
            return 0;
        }
        atomic_fetch_sub(&bucket->waiters, 1u);
        spin_unlock(&bucket->lock);
        if (error == 0)
            return -EAGAIN;
        if (user_get_u32(&value, request->address) != 0)
            return -EFAULT;
    }
}

// Takes a waiter off whatever list it is on. False: it was woken.
static bool waiter_dequeue(struct futex_waiter *waiter)
{
    for (;;) {
        if (atomic_load_acquire(&waiter->woken))
            return false;
        struct futex_bucket *bucket = atomic_load_acquire(&waiter->bucket);
        spin_lock(&bucket->lock);
        bool same = bucket == waiter->bucket; // not moved to another list meanwhile
        bool woken = waiter->woken;
        if (same && !woken) {
            list_remove(&waiter->node);
            atomic_fetch_sub(&bucket->waiters, 1u);
        }
        spin_unlock(&bucket->lock);
        if (same)
            return !woken;
    }
}

int futex_wait(const struct futex_wait_request *request)
{
    __attribute__((uninitialized)) struct futex_waiter waiter; // waiter_enqueue() fills it in
    if (request->bitset == 0)
        return -EINVAL;
    int error = waiter_enqueue(&waiter, request);
    if (error != 0)
        return error;
    for (;;) {
        if (atomic_load_acquire(&waiter.woken)) {
            thread_cancel_sleep();
            return 0;
        }
        error = sched_block(request->deadline_ns);
        if (atomic_load_acquire(&waiter.woken))
            return 0;
        if (error != 0)
            return waiter_dequeue(&waiter) ? error : 0;
        thread_prepare_sleep(THREAD_INTERRUPTIBLE);
    }
}

// Undoes the first `count` waits; the index of one that was woken, or -1.
static int dequeue_many(struct futex_waiter *waiters, uint32_t count)
{
    int woken = -1;
    for (uint32_t i = 0; i < count; i++) {
        if (!waiter_dequeue(&waiters[i]))
            woken = (int)i;
    }
    return woken;
}

static bool any_woken(const struct futex_waiter *waiters, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (atomic_load_acquire(&waiters[i].woken))
            return true;
    }
    return false;
}

int futex_wait_many(const struct futex_wait_request *requests, uint32_t count, uint64_t deadline_ns)
{
    assert(count >= 1 && count <= FUTEX_WAIT_MANY_MAX);
    struct futex_waiter *waiters = kmalloc(count * sizeof(*waiters), 0);
    if (waiters == NULL)
        return -ENOMEM;
    int error = 0;
    uint32_t queued = 0;
    while (queued < count && error == 0) {
        error = waiter_enqueue(&waiters[queued], &requests[queued]);
        queued += error == 0;
    }
    while (error == 0) {
        // Enqueueing published the sleep, but faults in between may have slept themselves: again,
        // then look.
        thread_prepare_sleep(THREAD_INTERRUPTIBLE);
        if (any_woken(waiters, count))
            break;
        error = sched_block(deadline_ns);
    }
    thread_cancel_sleep();
    int woken = dequeue_many(waiters, queued);
    kfree(waiters);
    return woken >= 0 ? woken : error;
}

// ---- waking ------------------------------------------------------------------------------------

// Takes a waiter off the list and wakes it; afterwards it no longer exists. The bucket is locked.
static void wake_waiter(struct futex_bucket *bucket, struct futex_waiter *waiter)
{
    struct thread *thread = waiter->thread;
    list_remove(&waiter->node);
    atomic_fetch_sub(&bucket->waiters, 1u);
    atomic_store_release(&waiter->woken, true);
    sched_wake(thread, THREAD_INTERRUPTIBLE);
}

static uint32_t wake_locked(
    struct futex_bucket *bucket, const struct vm_word_key *key, uint32_t count, uint32_t bitset)
{
    uint32_t woken = 0;
    struct futex_waiter *waiter, *next;
    list_for_each_entry_safe (waiter, next, &bucket->list, node) {
        if (woken == count)
            break;
        if (!futex_key_equals(&waiter->key, key) || (waiter->bitset & bitset) == 0)
            continue;
        wake_waiter(bucket, waiter);
        woken++;
    }
    return woken;
}

int futex_wake(uintptr_t address, bool shared, uint32_t count, uint32_t bitset)
{
    struct vm_word_key key;
    if (bitset == 0)
        return -EINVAL;
    int error = futex_key_get(address, shared, &key);
    if (error != 0)
        return error;
    struct futex_bucket *bucket = bucket_of(&key);
    atomic_fence(); // the caller's change of the word comes before the look
    if (atomic_load_relaxed(&bucket->waiters) == 0)
        return 0;
    sched_wake_begin();
    bucket_lock(bucket);
    uint32_t woken = wake_locked(bucket, &key, MAX(count, UINT32_C(1)), bitset);
    spin_unlock(&bucket->lock);
    sched_wake_end();
    return (int)woken;
}

int futex_wake_user(uintptr_t address, uint32_t count)
{
    return futex_wake(address, true, count, FUTEX_BITSET_MATCH_ANY);
}

// Two buckets in the order of their addresses; they may be one.
static void lock_two(struct futex_bucket *a, struct futex_bucket *b)
{
    struct futex_bucket *low = a < b ? a : b;
    struct futex_bucket *high = a < b ? b : a;
    bucket_lock(low);
    if (high != low) {
        spin_lock_nested(&high->lock, 1);
        if (high->list.next == NULL)
            list_init(&high->list);
    }
}

static void unlock_two(struct futex_bucket *a, struct futex_bucket *b)
{
    spin_unlock(&a->lock);
    if (a != b)
        spin_unlock(&b->lock);
}

static uint32_t move_locked(struct futex_bucket *from, struct futex_bucket *to,
    const struct vm_word_key *from_key, const struct vm_word_key *to_key, uint32_t count)
{
    uint32_t moved = 0;
    struct futex_waiter *waiter, *next;
    list_for_each_entry_safe (waiter, next, &from->list, node) {
        if (moved == count)
            break;
        if (!futex_key_equals(&waiter->key, from_key))
            continue;
        waiter->key = *to_key;
        if (from != to) {
            list_move_tail(&to->list, &waiter->node);
            atomic_fetch_add(&to->waiters, 1u);
            atomic_fetch_sub(&from->waiters, 1u);
            atomic_store_release(&waiter->bucket, to);
        }
        moved++;
    }
    return moved;
}

int futex_requeue(uintptr_t from, bool from_shared, uintptr_t to, bool to_shared, uint32_t wake,
    uint32_t move, const uint32_t *compare)
{
    struct vm_word_key from_key, to_key;
    for (;;) {
        int error = futex_key_get(from, from_shared, &from_key);
        if (error == 0)
            error = futex_key_get(to, to_shared, &to_key);
        if (error != 0)
            return error;
        struct futex_bucket *from_bucket = bucket_of(&from_key);
        struct futex_bucket *to_bucket = bucket_of(&to_key);
        lock_two(from_bucket, to_bucket);
        uint32_t value = 0;
        if (compare != NULL && word_read_locked(&value, from) != 0) {
            unlock_two(from_bucket, to_bucket);
            if (user_get_u32(&value, from) != 0)
                return -EFAULT;
            continue;
        }
        if (compare != NULL && value != *compare) {
            unlock_two(from_bucket, to_bucket);
            return -EAGAIN;
        }
        sched_wake_begin();
        uint32_t woken = wake_locked(from_bucket, &from_key, wake, FUTEX_BITSET_MATCH_ANY);
        uint32_t moved = move_locked(from_bucket, to_bucket, &from_key, &to_key, move);
        unlock_two(from_bucket, to_bucket);
        sched_wake_end();
        return (int)(woken + moved);
    }
}

// ---- FUTEX_WAKE_OP -----------------------------------------------------------------------------

static int operate(uint32_t operation, uint32_t old, uint32_t *result)
{
    uint32_t argument = (uint32_t)((int32_t)(operation << 8) >> 20);
    if ((operation & ((uint32_t)FUTEX_OP_OPARG_SHIFT << 28)) != 0)
        argument = UINT32_C(1) << (argument & 31);
    switch (operation >> 28 & 7) {
    case FUTEX_OP_SET:
        *result = argument;
        return 0;
    case FUTEX_OP_ADD:
        *result = old + argument;
        return 0;
    case FUTEX_OP_OR:
        *result = old | argument;
        return 0;
    case FUTEX_OP_ANDN:
        *result = old & ~argument;
        return 0;
    case FUTEX_OP_XOR:
        *result = old ^ argument;
        return 0;
    default:
        return -ENOSYS;
    }
}

static int compare(uint32_t operation, uint32_t old_word)
{
    int32_t argument = (int32_t)(operation << 20) >> 20;
    int32_t old = (int32_t)old_word;
    switch (operation >> 24 & 15) {
    case FUTEX_OP_CMP_EQ:
        return old == argument;
    case FUTEX_OP_CMP_NE:
        return old != argument;
    case FUTEX_OP_CMP_LT:
        return old < argument;
    case FUTEX_OP_CMP_GE:
        return old >= argument;
    case FUTEX_OP_CMP_LE:
        return old <= argument;
    case FUTEX_OP_CMP_GT:
        return old > argument;
    default:
        return -ENOSYS;
    }
}

// Changes the word atomically; *old what it was. 0, -ENOSYS, or -EFAULT (under
// user_fault_disable(): perhaps only not there).
static int word_operate(uintptr_t address, uint32_t operation, uint32_t *old)
{
    uint32_t current, wanted;
    if (user_get_u32(&current, address) != 0)
        return -EFAULT;
    for (;;) {
        int error = operate(operation, current, &wanted);
        if (error != 0)
            return error;
        if (user_cmpxchg_u32(address, current, wanted, old) != 0)
            return -EFAULT;
        if (*old == current)
            return 0;
        current = *old;
    }
}

int futex_word_fault_in(uintptr_t address)
{
    uint32_t value, old;
    if (user_get_u32(&value, address) != 0 || user_cmpxchg_u32(address, value, value, &old) != 0)
        return -EFAULT;
    return 0;
}

int futex_wake_op(uintptr_t first, uintptr_t second, bool shared, uint32_t wake_first,
    uint32_t wake_second, uint32_t operation)
{
    struct vm_word_key first_key, second_key;
    for (;;) {
        int error = futex_key_get(first, shared, &first_key);
        if (error == 0)
            error = futex_key_get(second, shared, &second_key);
        if (error != 0)
            return error;
        struct futex_bucket *first_bucket = bucket_of(&first_key);
        struct futex_bucket *second_bucket = bucket_of(&second_key);
        lock_two(first_bucket, second_bucket);
        uint32_t old = 0;
        user_fault_disable();
        error = word_operate(second, operation, &old);
        user_fault_enable();
        if (error == 0) {
            uint32_t woken = wake_locked(
                first_bucket, &first_key, MAX(wake_first, UINT32_C(1)), FUTEX_BITSET_MATCH_ANY);
            int matches = compare(operation, old);
            if (matches > 0)
                woken += wake_locked(second_bucket, &second_key, MAX(wake_second, UINT32_C(1)),
                    FUTEX_BITSET_MATCH_ANY);
            unlock_two(first_bucket, second_bucket);
            return matches < 0 ? matches : (int)woken;
        }
        unlock_two(first_bucket, second_bucket);
        if (error != -EFAULT)
            return error;
        if (futex_word_fault_in(second) != 0)
            return -EFAULT;
    }
}

// ---- robust futexes ----------------------------------------------------------------------------

// The running task dies as the owner of the futex: says so in the word and wakes one waiter.
// `pending`: it may have been about to take or give it.
static int owner_died(uintptr_t address, int32_t tid, bool priority_inheritance, bool pending)
{
    uint32_t value, old;
    if (!IS_ALIGNED(address, sizeof(uint32_t)))
        return -EINVAL;
    if (user_get_u32(&value, address) != 0)
        return -EFAULT;
    for (;;) {
        if (pending && !priority_inheritance && value == 0) {
            (void)futex_wake_user(address, 1);
            return 0;
        }
        if ((value & FUTEX_TID_MASK) != (uint32_t)tid)
            return 0;
        uint32_t wanted = (value & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
        if (user_cmpxchg_u32(address, value, wanted, &old) != 0)
            return -EFAULT;
        if (old == value)
            break;
        value = old;
    }
    if (!priority_inheritance && (value & FUTEX_WAITERS) != 0)
        (void)futex_wake_user(address, 1);
    return 0;
}

void futex_robust_exit(struct task *task)
{
    struct robust_list_head head;
    uintptr_t list = task->robust_list;
    if (list == 0)
        return;
    task->robust_list = 0;
    if (copy_from_user(&head, list, sizeof(head)) != 0)
        return;
    uintptr_t entry = (uintptr_t)head.list.next;
    uintptr_t pending = (uintptr_t)head.list_op_pending;
    int32_t tid = task->tid;
    for (uint32_t i = 0; i < ROBUST_LIST_LIMIT && (entry & ~UINT64_C(1)) != list; i++) {
        uint64_t next;
        uintptr_t node = entry & ~UINT64_C(1);
        bool end = user_get_u64(&next, node) !=
                   0; // before the owner's death is seen, and the entry perhaps reused
        if (node != (pending & ~UINT64_C(1)) &&
            owner_died(node + (uintptr_t)head.futex_offset, tid, (entry & 1) != 0, false) != 0)
            return;
        if (end)
            break;
        entry = next;
    }
    if (pending != 0)
        (void)owner_died(
            (pending & ~UINT64_C(1)) + (uintptr_t)head.futex_offset, tid, (pending & 1) != 0, true);
}
