// SPDX-License-Identifier: MIT
// timerfd objects.
#pragma once

#include "kernel/base/types.h"

struct file;

struct timerfd_setting {
    uint64_t value_ns; // first expiration: relative, or absolute on the timer's clock; 0: disarmed
    uint64_t interval_ns; // 0: once
};

// A disarmed timer on the clock (CLOCK_REALTIME, _MONOTONIC, _BOOTTIME, and the _ALARM ones, which
// are the same in a machine that does not sleep). NULL: no memory.
struct file *timerfd_create(int clock, uint32_t open_flags);
bool file_is_timerfd(const struct file *file);
// What is left until the next expiration, and the interval.
void timerfd_get(struct file *file, struct timerfd_setting *setting);
// flags: TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET. The old setting through *old.
void timerfd_set(struct file *file, int flags, const struct timerfd_setting *setting,
    struct timerfd_setting *old);
