// SPDX-License-Identifier: MIT
// Allocations that fail on purpose, so that what is done without memory is done
// in tests, too.
//
// page_alloc() and slab_alloc() ask before they look for anything. Only threads
// of programs are chosen, by name: a child has its parent's name, so a test
// gives itself one with prctl(2) and all that it forks fails as it does.
// Interrupts and the kernel's own threads never fail, because nobody could say
// which program is to blame.
//
// The random numbers need not be good, and threads that race for them only make
// them worse.

#include "mm/fail_alloc.h"
#include "mm/fail_alloc_settings.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/base/string.h"
#include "kernel/core/mutex.h"
#include "kernel/core/thread.h"
#include <linux/errno.h>

#ifdef LODGER_DEBUG

struct static_key fail_alloc_key;

static struct mutex settings_mutex = MUTEX_INIT(settings_mutex, "mm/fail_alloc.c: settings");
static bool is_on;                                 // the key was switched on; settings_mutex
static uint32_t one_in;                            // not 0 while the key is on; written under
                                                   // settings_mutex, read anywhere
static uint64_t left;                              // how many may fail still; atomic
static uint64_t failed;                            // how many did; atomic
static uint64_t random_state = 0x9e3779b97f4a7c15; // racy
static char task_name[FAIL_ALLOC_TASK_BYTES];      // changes only while the key is off

static bool is_chosen(const struct thread *thread)
{
    if (thread->space == NULL || (thread->flags & THREAD_FLAG_KERNEL) || in_interrupt())
        return false;
    return task_name[0] == 0 || strncmp(thread->name, task_name, sizeof(task_name)) == 0;
}

static uint64_t random_next(void)
{
    uint64_t value = random_state;
    value ^= value << 13;
    value ^= value >> 7;
    value ^= value << 17;
    random_state = value;
    return value;
}

bool fail_alloc_due_slow(void)
{
    if (!is_chosen(thread_current()) || random_next() % one_in != 0)
        return false;
    uint64_t now = __atomic_load_n(&left, __ATOMIC_RELAXED);
    do {
        if (now == 0)
            return false;
    } while (!__atomic_compare_exchange_n(
        &left, &now, now - 1, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    __atomic_fetch_add(&failed, 1, __ATOMIC_RELAXED);
    return true;
}

int fail_alloc_set(const struct fail_alloc_settings *settings)
{
    mutex_lock(&settings_mutex);
    if (is_on)
        static_key_off(&fail_alloc_key);
    __atomic_store_n(&failed, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&left, settings->times, __ATOMIC_RELAXED);
    memcpy(task_name, settings->task, sizeof(task_name));
    is_on = settings->one_in != 0;
    if (is_on) {
        one_in = settings->one_in;
        static_key_on(&fail_alloc_key);
    }
    mutex_unlock(&settings_mutex);
    return 0;
}

int fail_alloc_get(struct fail_alloc_settings *settings, uint64_t *count)
{
    mutex_lock(&settings_mutex);
    settings->one_in = is_on ? one_in : 0;
    settings->times = (uint32_t)__atomic_load_n(&left, __ATOMIC_RELAXED);
    memcpy(settings->task, task_name, sizeof(task_name));
    *count = __atomic_load_n(&failed, __ATOMIC_RELAXED);
    mutex_unlock(&settings_mutex);
    return 0;
}

#else

int fail_alloc_set(const struct fail_alloc_settings *settings)
{
    (void)settings;
    return -EOPNOTSUPP;
}

int fail_alloc_get(struct fail_alloc_settings *settings, uint64_t *count)
{
    (void)settings;
    (void)count;
    return -EOPNOTSUPP;
}

#endif
