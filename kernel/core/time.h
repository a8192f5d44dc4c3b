// SPDX-License-Identifier: MIT
// Clocks. All in nanoseconds. Any context, NMI included; no lock, no exit where the hypervisor has
// a clock page.
#pragma once

#include "kernel/base/types.h"

#define NS_PER_SECOND UINT64_C(1000000000)
#define NS_PER_MS     UINT64_C(1000000)
#define NS_PER_US     UINT64_C(1000)

uint64_t time_monotonic_ns(void); // since boot; never goes back, on all CPUs the same
int64_t time_realtime_ns(void);   // since 1970
uint64_t time_raw_ns(void);       // CLOCK_MONOTONIC_RAW
// -EINVAL outside 1970..2262; calls those of time_on_change(). Task context
[[nodiscard]] int time_realtime_set(int64_t ns);
int64_t time_realtime_offset_ns(void);      // realtime - monotonic
extern uint64_t time_boot_realtime_seconds; // /proc/stat btime
// `function` is called after each time_realtime_set(), task context: CLOCK_REALTIME timers have to
// be looked at again. For ever; at most 8.
void time_on_change(void (*function)(void));
// Reads the real-time clock. Boot CPU, after arch_init().
void time_init(void);
// The last thing before the first program: measures the clock's rate over the whole boot, and
// arranges for longer measurements. Thread context.
void time_start(void);

// The page that the vDSO reads (kernel/core/vdso_data.h); mapped read-only into every program.
struct vdso_data;
extern struct vdso_data *time_vdso_data;
