// SPDX-License-Identifier: MIT
// Advisory locks.
//
// An inode that was ever locked has a set with one list of locks: those of flock(2), which belong
// to open file descriptions and cover the whole file, and record locks, which belong to a process
// (POSIX; its descriptor table stands for it) or to an open file description (OFD). flock and
// record locks don't see each other.
//
// Setting a record lock replaces whatever the owner had in the range: neighbours of the same type
// grow together, others are cut. That may need two more locks than it started with; they are
// allocated before anything is changed.
//
// Waiting: the caller sleeps on the set's queue and tries again at each release. A waiting POSIX
// owner is noted with the owner that it waits for; before sleeping, the chain of those notes is
// followed, and if it leads back, the answer is EDEADLK.
#include "kernel/fs/lock.h"
#include "kernel/base/assert.h"
#include "kernel/core/errno.h"
#include "kernel/core/wait.h"
#include "kernel/fs/file.h"
#include "kernel/fs/inode.h"
#include "kernel/fs/register.h"
#include "kernel/process/task.h"
#include "mm/slab.h"

#define OFFSET_MAX     ((uint64_t)INT64_MAX)
#define DEADLOCK_STEPS 64 // longest chain that is followed

struct file_lock {
    struct list_node node; // in set->locks
    enum file_lock_kind kind;
    int type;            // F_RDLCK or F_WRLCK
    uint64_t start, end; // inclusive
    const void *owner;   // struct file, or struct fd_table of a POSIX lock
    int32_t pid;
};

struct file_lock_set {
    struct spinlock lock;
    struct list_node locks;    // under lock; an owner's record locks in ascending order
    struct wait_queue waiters; // woken at each release
};

// A POSIX owner that sleeps, and for whom.
struct file_lock_wait {
    struct list_node node;
    const void *owner, *waits_for;
};
static struct list_node waits = LIST_INIT(waits);
static struct spinlock waits_lock = SPINLOCK_INIT("lock: waits"); // the list; inside a set's lock

static struct file_lock_set *file_lock_set_get(struct inode *inode)
{
    struct file_lock_set *set = __atomic_load_n(&inode->locks, __ATOMIC_ACQUIRE);
    if (set != NULL)
        return set;
    set = kzalloc(sizeof(*set));
    if (set == NULL)
        return NULL;
    spin_lock_init(&set->lock);
    list_init(&set->locks);
    wait_queue_init(&set->waiters);
    struct file_lock_set *expected = NULL;
    if (!__atomic_compare_exchange_n(
            &inode->locks, &expected, set, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        kfree(set);
        set = expected;
    }
    return set;
}

void file_locks_destroy(struct file_lock_set *set)
{
    struct file_lock *lock, *following;
    list_for_each_entry_safe (lock, following, &set->locks, node) {
        list_remove(&lock->node);
        kfree(lock);
    }
    kfree(set);
}

static bool lock_same_owner(const struct file_lock *a, const struct file_lock *b)
{
    return a->kind == b->kind && a->owner == b->owner;
}

// Does `held` stand in the way of `wanted`?
static bool lock_conflicts(const struct file_lock *held, const struct file_lock *wanted)
{
    if ((held->kind == FILE_LOCK_FLOCK) != (wanted->kind == FILE_LOCK_FLOCK))
        return false;
    if (lock_same_owner(held, wanted) || held->start > wanted->end || held->end < wanted->start)
        return false;
    return held->type == F_WRLCK || wanted->type == F_WRLCK;
}

static struct file_lock *lock_find_conflict(
    struct file_lock_set *set, const struct file_lock *wanted)
{
    struct file_lock *held;
    list_for_each_entry (held, &set->locks, node) {
        if (lock_conflicts(held, wanted))
            return held;
    }
    return NULL;
}

// Would `owner` waiting for `target` close a circle?
static bool lock_is_deadlock(const void *owner, const void *target)
{
    bool found = false;
    spin_lock(&waits_lock);
    for (int step = 0; step < DEADLOCK_STEPS && target != NULL && !found; step++) {
        const void *next = NULL;
        struct file_lock_wait *wait;
        list_for_each_entry (wait, &waits, node) {
            if (wait->owner == target) {
                next = wait->waits_for;
                break;
            }
        }
        target = next;
        found = target == owner;
    }
    spin_unlock(&waits_lock);
    return found;
}

static struct file_lock *lock_copy(const struct file_lock *from)
{
    struct file_lock *lock = kmalloc(sizeof(*lock), 0);
    if (lock != NULL) {
        *lock = *from;
        lock->node = (struct list_node){};
    }
    return lock;
}

// Puts the wanted range into the list of locks, or takes it out (F_UNLCK). `spare` are two locks
// that may be used up.
static void lock_apply(
    struct file_lock_set *set, const struct file_lock *wanted, struct file_lock *spare[2])
{
    struct file_lock *lock, *following;
    uint64_t start = wanted->start;
    uint64_t end = wanted->end;
    bool keep = wanted->type != F_UNLCK;
    struct list_node *place = &set->locks;
    list_for_each_entry_safe (lock, following, &set->locks, node) {
        if (!lock_same_owner(lock, wanted))
            continue;
        bool touches = lock->start <= (end == UINT64_MAX ? end : end + 1) && lock->end + 1 >= start;
        bool overlaps = lock->start <= end && lock->end >= start;
        if (keep && lock->type == wanted->type && touches) { // grows together
            start = MIN(start, lock->start);
            end = MAX(end, lock->end);
            list_remove(&lock->node);
            kfree(lock);
        } else if (overlaps) {
            if (lock->start < start && lock->end > end) { // a hole in the middle
                struct file_lock *tail = spare[0];
                spare[0] = NULL;
                assert(tail != NULL);
                *tail = *lock;
                tail->start = end + 1;
                lock->end = start - 1;
                tail->node = (struct list_node){};
                list_add_after(&lock->node, &tail->node);
            } else if (lock->start < start) {
                lock->end = start - 1;
            } else if (lock->end > end) {
                lock->start = end + 1;
            } else {
                list_remove(&lock->node);
                kfree(lock);
            }
        }
    }
    if (!keep)
        return;
    struct file_lock *added = spare[1];
    spare[1] = NULL;
    *added = *wanted;
    added->node = (struct list_node){};
    added->start = start;
    added->end = end;
    list_for_each_entry (lock, &set->locks, node) {
        if (lock_same_owner(lock, wanted) && lock->start > start) {
            place = &lock->node;
            break;
        }
    }
    list_add_before(place, &added->node);
}

// One attempt: 0, -EAGAIN with the owner in the way, -EDEADLK.
static int lock_try(struct file_lock_set *set, const struct file_lock *wanted, bool wait,
    struct file_lock *spare[2], const void **in_the_way)
{
    int error = 0;
    bool released = false;
    spin_lock(&set->lock);
    struct file_lock *held = wanted->type != F_UNLCK ? lock_find_conflict(set, wanted) : NULL;
    if (held != NULL) {
        *in_the_way = held->owner;
        error = -EAGAIN;
        if (wait && wanted->kind == FILE_LOCK_POSIX && lock_is_deadlock(wanted->owner, held->owner))
            error = -EDEADLK;
    } else {
        lock_apply(set, wanted, spare);
        released = true; // also a downgrade or a cut may let somebody in
    }
    spin_unlock(&set->lock);
    if (released)
        wait_wake_all(&set->waiters);
    return error;
}

// Sets the lock, sleeping until it can be had if `wait`.
static int lock_set(struct inode *inode, const struct file_lock *wanted, bool wait)
{
    struct file_lock_set *set = file_lock_set_get(inode);
    struct file_lock *spare[2] = {lock_copy(wanted), lock_copy(wanted)};
    const void *in_the_way = NULL;
    int error = -ENOMEM;
    if (set != NULL && spare[0] != NULL && spare[1] != NULL)
        error = lock_try(set, wanted, wait, spare, &in_the_way);
    if (error == -EAGAIN && wait) {
        struct file_lock_wait note = {.owner = wanted->owner, .waits_for = in_the_way};
        spin_lock(&waits_lock);
        list_add_tail(&waits, &note.node);
        spin_unlock(&waits_lock);
        struct wait_entry entry;
        wait_entry_init(&entry, false);
        for (;;) {
            wait_prepare(&set->waiters, &entry, THREAD_INTERRUPTIBLE);
            error = lock_try(set, wanted, true, spare, &in_the_way);
            if (error != -EAGAIN)
                break;
            spin_lock(&waits_lock);
            note.waits_for = in_the_way;
            spin_unlock(&waits_lock);
            if (sched_block(UINT64_MAX) != 0) {
                error = -ERESTARTSYS;
                break;
            }
        }
        wait_finish(&set->waiters, &entry);
        spin_lock(&waits_lock);
        list_remove(&note.node);
        spin_unlock(&waits_lock);
    }
    kfree(spare[0]);
    kfree(spare[1]);
    return error;
}

int file_lock_flock(struct file *file, int operation, bool wait)
{
    static const int types[] = {[LOCK_SH] = F_RDLCK, [LOCK_EX] = F_WRLCK, [LOCK_UN] = F_UNLCK};
    struct file_lock wanted = {.kind = FILE_LOCK_FLOCK,
        .type = types[operation],
        .start = 0,
        .end = OFFSET_MAX,
        .owner = file,
        .pid = process_current()->pid};
    return lock_set(file->inode, &wanted, wait);
}

static const void *lock_owner(const struct file *file, enum file_lock_kind kind)
{
    return kind == FILE_LOCK_POSIX ? (const void *)task_current()->files : file;
}

int file_lock_record(
    struct file *file, enum file_lock_kind kind, int type, uint64_t start, uint64_t end, bool wait)
{
    assert(start <= end);
    struct file_lock wanted = {.kind = kind,
        .type = type,
        .start = start,
        .end = end,
        .owner = lock_owner(file, kind),
        .pid = kind == FILE_LOCK_POSIX ? process_current()->pid : -1};
    return lock_set(file->inode, &wanted, wait);
}

void file_lock_test(struct file *file, enum file_lock_kind kind, int *type, uint64_t *start,
    uint64_t *end, int32_t *pid)
{
    struct file_lock wanted = {
        .kind = kind, .type = *type, .start = *start, .end = *end, .owner = lock_owner(file, kind)};
    struct file_lock_set *set = __atomic_load_n(&file->inode->locks, __ATOMIC_ACQUIRE);
    *type = F_UNLCK;
    if (set == NULL)
        return;
    spin_lock(&set->lock);
    const struct file_lock *held = lock_find_conflict(set, &wanted);
    if (held != NULL) {
        *type = held->type;
        *start = held->start;
        *end = held->end;
        *pid = held->pid;
    }
    spin_unlock(&set->lock);
}

// Drops all locks of an owner; posix: record locks of a descriptor table, else those of the open
// file.
static void file_locks_drop(struct inode *inode, const void *owner, bool posix)
{
    struct file_lock_set *set = inode->locks;
    struct file_lock *lock, *following;
    bool any = false;
    spin_lock(&set->lock);
    list_for_each_entry_safe (lock, following, &set->locks, node) {
        if (lock->owner == owner && (lock->kind == FILE_LOCK_POSIX) == posix) {
            list_remove(&lock->node);
            kfree(lock);
            any = true;
        }
    }
    spin_unlock(&set->lock);
    if (any)
        wait_wake_all(&set->waiters);
}

void file_locks_close(struct file *file, struct fd_table *table)
{
    file_locks_drop(file->inode, table, true);
}

void file_locks_release(struct file *file)
{
    file_locks_drop(file->inode, file, false);
}
