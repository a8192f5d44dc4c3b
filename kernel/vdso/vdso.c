// SPDX-License-Identifier: MIT
// The vDSO: clock functions that programs call without entering the kernel. Built as a shared
// object of its own and embedded (image.S); behind its one page the page with struct vdso_data is
// mapped, which the kernel writes.
//
// The counter is read between two looks at the counts of writes. LFENCE keeps RDTSC from being
// executed before the first look: without it a program that reads the clock on two CPUs, the
// second read after a message from the first, could see time go backwards. It costs one
// instruction; RDTSCP would also wait, but is not on every processor and slower on some.
//
// The fields between the looks are ordinary loads, held in their place by the compiler barriers
// (x86 keeps loads in order): so the compiler can fold them into the arithmetic. What they read
// while the kernel writes is thrown away.

#include "kernel/core/vdso_data.h"
#include "pv/pvclock.h"

#include <asm/unistd_64.h>
#include <linux/time.h>
#include <linux/time_types.h>
#include <stdbool.h>
#include <stddef.h>

#define VDSO_PAGE_BYTES 4096
#define NS_PER_SECOND   1000000000u
#define NS_PER_US       1000u
#define TRIES_MAX       1000 // of a reader while somebody writes: far more than a write takes
#define EXPORT          __attribute__((visibility("default")))

// What is mapped behind the code (vdso.lds).
struct vdso_pages {
    union {
        struct vdso_data data;
        uint8_t page[VDSO_PAGE_BYTES];
    };
    struct vcpu_time_info pvclock; // only mapped if data.has_pvclock
};
extern struct vdso_pages vdso_pages __attribute__((visibility("hidden")));

EXPORT int __vdso_clock_gettime(int clock, struct __kernel_timespec *time);
EXPORT int __vdso_clock_getres(int clock, struct __kernel_timespec *resolution);
EXPORT int __vdso_gettimeofday(struct __kernel_old_timeval *time, struct timezone *zone);
EXPORT long __vdso_time(long *seconds);
EXPORT long __vdso_getcpu(unsigned *cpu, unsigned *node, void *unused);

static inline long system_call2(long number, long a, long b)
{
    long result;
    __asm__ volatile("syscall"
        : "=a"(result)
        : "a"(number), "D"(a), "S"(b)
        : "rcx", "r11", "memory");
    return result;
}

static inline __attribute__((always_inline)) uint64_t tsc_ordered(void)
{
    __asm__ volatile("lfence" : : : "memory");
    return __builtin_ia32_rdtsc();
}

static inline __attribute__((always_inline)) bool finish_read(
    uint64_t sum, uint32_t writes, uint64_t *ns, bool realtime)
{
    sum += vdso_pages.data.offset_ns;
    if (realtime)
        sum += vdso_pages.data.realtime_offset_ns;
    __asm__ volatile("" : "+r"(sum) : : "memory"); // all of it is done before the second look
    *ns = sum;
    return __builtin_expect(vdso_pages.data.writes_begun == writes, 1);
}

// From the hypervisor's clock.
static inline __attribute__((always_inline)) bool try_read_pvclock_ns(uint64_t *ns, bool realtime)
{
    uint32_t writes = __atomic_load_n(&vdso_pages.data.writes_done, __ATOMIC_ACQUIRE);
    uint64_t sum;
    uint8_t flags;
    return pvclock_try_read(&vdso_pages.pvclock, tsc_ordered, &sum, &flags) &&
           (flags & XEN_PVCLOCK_TSC_STABLE_BIT) != 0 && finish_read(sum, writes, ns, realtime);
}

// From the TSC alone.
static inline __attribute__((always_inline)) bool try_read_tsc_ns(uint64_t *ns, bool realtime)
{
    uint32_t writes = __atomic_load_n(&vdso_pages.data.writes_done, __ATOMIC_ACQUIRE);
    uint64_t sum = (uint64_t)(((unsigned __int128)tsc_ordered() * vdso_pages.data.mult) >> 32);
    return finish_read(sum, writes, ns, realtime);
}

// One attempt to read the nanoseconds of CLOCK_MONOTONIC or CLOCK_REALTIME. False: the kernel or
// the hypervisor was writing, or the kernel has to be asked.
static inline __attribute__((always_inline)) bool try_read_ns(uint64_t *ns, bool realtime)
{
    return vdso_pages.data.has_pvclock ? try_read_pvclock_ns(ns, realtime)
                                       : try_read_tsc_ns(ns, realtime);
}

// Until it succeeds. False: the kernel has to be asked.
static bool read_ns(uint64_t *ns, bool realtime)
{
    for (int tries = 0; tries < TRIES_MAX; tries++) {
        if (try_read_ns(ns, realtime))
            return true;
        if (!__atomic_load_n(&vdso_pages.data.is_valid, __ATOMIC_RELAXED) ||
            (vdso_pages.data.has_pvclock &&
                !(vdso_pages.pvclock.flags & XEN_PVCLOCK_TSC_STABLE_BIT)))
            return false;
        __builtin_ia32_pause();
    }
    return false;
}

// ns / NS_PER_SECOND for ns < 2^63 (the year 2262) by one multiplication: the factor is 2^93 /
// 10^9, rounded up by less than 1, so the error of the quotient is less than ns / 2^93 < 10^-9,
// and the exact quotient lies at least that far below the next integer.
#define SECOND_SHIFT  93
#define SECOND_FACTOR ((uint64_t)(((unsigned __int128)1 << SECOND_SHIFT) / NS_PER_SECOND + 1))

static inline __attribute__((always_inline)) uint64_t seconds_of(uint64_t ns)
{
    return (uint64_t)(((unsigned __int128)ns * SECOND_FACTOR) >> SECOND_SHIFT);
}

static inline __attribute__((always_inline)) int store(struct __kernel_timespec *time, uint64_t ns)
{
    uint64_t seconds = seconds_of(ns);
    time->tv_sec = (long long)seconds;
    time->tv_nsec = (long long)(ns - seconds * NS_PER_SECOND);
    return 0;
}

__attribute__((noinline)) static int other_clock(int clock, struct __kernel_timespec *time)
{
    uint64_t ns;
    // The coarse clocks are as exact as the others here; boot time is monotonic time, as nothing
    // suspends.
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) {
        if (read_ns(&ns, true))
            return store(time, ns);
    } else if (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE ||
               clock == CLOCK_MONOTONIC_RAW ||
               clock == CLOCK_BOOTTIME) { // the first only when an attempt failed
        if (read_ns(&ns, false))
            return store(time, ns);
    }
    return (int)system_call2(__NR_clock_gettime, clock, (long)time);
}

int __vdso_clock_gettime(int clock, struct __kernel_timespec *time)
{
    uint64_t ns;
    // The TSC's reader pays no more than one test for the hypervisor's clock.
    if (__builtin_expect(
            clock != CLOCK_MONOTONIC || vdso_pages.data.has_pvclock || !try_read_tsc_ns(&ns, false),
            0))
        return other_clock(clock, time);
    return store(time, ns);
}

int __vdso_clock_getres(int clock, struct __kernel_timespec *resolution)
{
    return (int)system_call2(__NR_clock_getres, clock, (long)resolution);
}

int __vdso_gettimeofday(struct __kernel_old_timeval *time, struct timezone *zone)
{
    uint64_t ns;
    if (zone != NULL || !read_ns(&ns, true))
        return (int)system_call2(__NR_gettimeofday, (long)time, (long)zone);
    if (time != NULL) {
        uint64_t seconds = ns / NS_PER_SECOND;
        time->tv_sec = (long)seconds;
        time->tv_usec = (long)((ns - seconds * NS_PER_SECOND) / NS_PER_US);
    }
    return 0;
}

long __vdso_time(long *seconds)
{
    uint64_t ns;
    if (!read_ns(&ns, true))
        return system_call2(__NR_time, (long)seconds, 0);
    long result = (long)(ns / NS_PER_SECOND);
    if (seconds != NULL)
        *seconds = result;
    return result;
}

long __vdso_getcpu(unsigned *cpu, unsigned *node, void *unused)
{
    (void)unused;
    return system_call2(__NR_getcpu, (long)cpu, (long)node);
}
