// SPDX-License-Identifier: MIT
// Clocks.
//
// The monotonic clock is the hypervisor interface's (pv_clock_ns(): a counter read, no exit).
// Where its rate had to be measured, it is measured again in ever longer windows, first before the
// first program, then 10 ms, 100 ms, 1 s and 10 s after the start; each time the clock goes on
// from where it is with the better rate, so it never jumps. Real time is the monotonic one plus an
// offset, which the hypervisor gives once, or else the real-time clock of the machine, to the
// second.

#include "kernel/core/time.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/core/errno.h"
#include "kernel/core/log.h"
#include "kernel/core/spinlock.h"
#include "kernel/core/timer.h"
#include "kernel/core/vdso_data.h"
#include "pv/pv.h"

#define REFINE_FIRST_NS UINT64_C(10000000)
#define REFINE_FACTOR   10
#define REFINE_LAST_NS  UINT64_C(10000000000)
#define REALTIME_MAX_NS INT64_C(9214646400000000000) // 2262-01-01

uint64_t time_boot_realtime_seconds;

static int64_t realtime_offset;                           // atomic; changed under time_lock
static struct spinlock time_lock = SPINLOCK_INIT("time"); // writers of the vDSO page and the offset
static struct timer refine_timer;
static uint64_t refine_interval_ns = REFINE_FIRST_NS;

#define CHANGE_FUNCTIONS_MAX 8
static void (*change_functions[CHANGE_FUNCTIONS_MAX])(void);
static uint32_t change_count; // atomic; slots below it are filled

void time_on_change(void (*function)(void))
{
    uint64_t flags = spin_lock_irqsave(&time_lock);
    assert(change_count < CHANGE_FUNCTIONS_MAX);
    change_functions[change_count] = function;
    atomic_store_release(&change_count, change_count + 1);
    spin_unlock_irqrestore(&time_lock, flags);
}

// A whole page of its own: programs see all of it.
static union {
    struct vdso_data data;
    uint8_t page[PAGE_SIZE];
} vdso_page __aligned(PAGE_SIZE);
struct vdso_data *time_vdso_data = &vdso_page.data;

uint64_t time_monotonic_ns(void)
{
    return pv_clock_ns();
}

uint64_t time_raw_ns(void)
{
    return pv_clock_ns();
}

int64_t time_realtime_offset_ns(void)
{
    return atomic_load_relaxed(&realtime_offset);
}

int64_t time_realtime_ns(void)
{
    return (int64_t)time_monotonic_ns() + time_realtime_offset_ns();
}

// Copies the clock's parameters to programs. Under time_lock.
static void vdso_update(void)
{
    struct vdso_data *data = time_vdso_data;
    struct pv_user_clock clock;
    pv_ops.user_clock(&clock);
    bool valid = clock.kind != PV_USER_CLOCK_NONE;
    uint64_t offset_ns = -clock.base_ns;
    if (clock.kind == PV_USER_CLOCK_TSC)
        offset_ns =
            clock.base_ns - (uint64_t)(((unsigned __int128)clock.base_tsc * clock.mult) >> 32);
    uint32_t writes = data->writes_begun + 1;
    atomic_store_relaxed(&data->writes_begun, writes);
    atomic_fence_release();
    atomic_store_relaxed(&data->is_valid, valid);
    atomic_store_relaxed(&data->mult, clock.mult);
    atomic_store_relaxed(&data->offset_ns, offset_ns);
    atomic_store_relaxed(&data->has_pvclock, clock.kind == PV_USER_CLOCK_PVCLOCK);
    atomic_store_relaxed(&data->realtime_offset_ns, (uint64_t)realtime_offset);
    if (valid)
        atomic_store_release(&data->writes_done, writes);
}

static void offset_set(int64_t offset_ns)
{
    uint64_t flags = spin_lock_irqsave(&time_lock);
    atomic_store_relaxed(&realtime_offset, offset_ns);
    vdso_update();
    spin_unlock_irqrestore(&time_lock, flags);
}

int time_realtime_set(int64_t ns)
{
    if (ns < 0 || ns >= REALTIME_MAX_NS)
        return -EINVAL;
    offset_set(ns - (int64_t)time_monotonic_ns());
    time_boot_realtime_seconds = (uint64_t)time_realtime_offset_ns() / NS_PER_SECOND;
    for (uint32_t i = 0; i < atomic_load_acquire(&change_count); i++)
        change_functions[i]();
    return 0;
}

// Measures the clock's rate again. False: it is exact.
static bool clock_refine(void)
{
    uint64_t flags = spin_lock_irqsave(&time_lock);
    bool again = pv_ops.clock_refine();
    vdso_update();
    spin_unlock_irqrestore(&time_lock, flags);
    return again;
}

static void refine(struct timer *timer)
{
    bool again = clock_refine();
    refine_interval_ns *= REFINE_FACTOR;
    if (again && refine_interval_ns <= REFINE_LAST_NS)
        timer_arm(timer, time_monotonic_ns() + refine_interval_ns);
}

void time_init(void)
{
    uint64_t at_ns = 0;
    int64_t ns = pv_ops.wall_clock_ns != NULL ? pv_ops.wall_clock_ns(&at_ns) : -1;
    if (ns < 0 || ns >= REALTIME_MAX_NS) {
        int64_t seconds = arch_rtc_read();
        if (seconds < 0) {
            log_warning("time: no real-time clock: the year is 1970");
            seconds = 0;
        }
        ns = seconds * (int64_t)NS_PER_SECOND;
        at_ns = time_monotonic_ns();
    }
    time_boot_realtime_seconds = (uint64_t)ns / NS_PER_SECOND;
    offset_set(ns - (int64_t)at_ns);
}

void time_start(void)
{
    timer_init(&refine_timer, refine);
    if (clock_refine())
        timer_arm(&refine_timer, time_monotonic_ns() + refine_interval_ns);
}
