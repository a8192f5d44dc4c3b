// SPDX-License-Identifier: MIT
// The paravirtual clock's arithmetic: the parts that are not read on every look at the clock.

#include "pv/pvclock.h"

#include "kernel/base/string.h"
#include "kernel/base/types.h"

#define SHIFT_MAX 31 // beyond it a TSC of less than one tick in two seconds, or of 2^61 Hz
#define HZ_MIN    UINT64_C(1000000)
#define HZ_MAX    UINT64_C(100000000000)

bool pvclock_snapshot(
    const volatile struct vcpu_time_info *page, uint32_t tries, struct vcpu_time_info *copy)
{
    for (uint32_t i = 0; i < tries; i++) {
        uint32_t version = __atomic_load_n(&page->version, __ATOMIC_ACQUIRE);
        copy->version = version;
        copy->tsc_timestamp = page->tsc_timestamp;
        copy->system_time = page->system_time;
        copy->tsc_to_system_mul = page->tsc_to_system_mul;
        copy->tsc_shift = page->tsc_shift;
        copy->flags = page->flags;
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if ((version & 1) == 0 && page->version == version)
            return true;
        __builtin_ia32_pause();
    }
    return false;
}

uint64_t pvclock_ns_at(const struct vcpu_time_info *parameters, uint64_t tsc)
{
    uint64_t ticks = tsc - parameters->tsc_timestamp;
    if ((int64_t)ticks < 0)
        ticks = 0;
    return parameters->system_time +
           pvclock_scale(ticks, parameters->tsc_to_system_mul, parameters->tsc_shift);
}

// (delta << 32) / mul rounded up, or UINT64_MAX. By hand: 128-bit division is a library call.
static uint64_t divide_up(uint64_t delta_ns, uint32_t mul)
{
    uint64_t high = delta_ns / mul;
    uint64_t rest = delta_ns % mul;
    if (high > UINT32_MAX)
        return UINT64_MAX;
    uint64_t low = rest << 32;
    return (high << 32) + low / mul + (low % mul != 0);
}

uint64_t pvclock_tsc_of(const struct vcpu_time_info *parameters, uint64_t ns)
{
    if (ns <= parameters->system_time)
        return 0;
    uint32_t mul = parameters->tsc_to_system_mul;
    int shift = parameters->tsc_shift;
    uint64_t ticks = mul != 0 ? divide_up(ns - parameters->system_time, mul) : UINT64_MAX;
    if (shift >= 0) {
        uint64_t down = shift < 64 ? ticks >> shift : 0;
        bool lost = shift < 64 && ticks != UINT64_MAX && down << shift != ticks;
        ticks = ticks == UINT64_MAX ? UINT64_MAX : down + lost;
    } else if (shift <= -64 || ticks > UINT64_MAX >> -shift) {
        ticks = UINT64_MAX;
    } else {
        ticks <<= -shift;
    }
    // Half of the TSC's range is as good as never.
    if (ticks > INT64_MAX)
        return UINT64_MAX;
    return parameters->tsc_timestamp + ticks;
}

uint64_t pvclock_tsc_hz(const struct vcpu_time_info *parameters)
{
    uint32_t mul = parameters->tsc_to_system_mul;
    int shift = parameters->tsc_shift;
    if (mul == 0 || shift > SHIFT_MAX || shift < -SHIFT_MAX)
        return 0;
    uint64_t hz = ((uint64_t)PVCLOCK_ONE_SECOND << 32) / mul;
    hz = shift >= 0 ? hz >> shift : hz << -shift;
    return hz >= HZ_MIN && hz <= HZ_MAX ? hz : 0;
}

int64_t pvclock_wall_ns(const volatile struct pvclock_wall *wall, uint32_t tries)
{
    for (uint32_t i = 0; i < tries; i++) {
        uint32_t version = __atomic_load_n(&wall->version, __ATOMIC_ACQUIRE);
        uint32_t seconds = wall->seconds;
        uint32_t ns = wall->ns;
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if ((version & 1) == 0 && wall->version == version)
            return seconds != 0 && ns < PVCLOCK_ONE_SECOND
                       ? (int64_t)seconds * PVCLOCK_ONE_SECOND + ns
                       : -1;
        __builtin_ia32_pause();
    }
    return -1;
}
