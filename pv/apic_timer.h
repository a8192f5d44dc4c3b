// SPDX-License-Identifier: MIT
// What pv_ops.timer_arm() of all backends begins with that arm the local APIC's timer.
#pragma once

#include "kernel/arch/x86/apic.h"
#include "pv/pv.h"

// Counts the arming. True: there is no deadline (UINT64_MAX), so the timer was stopped, and that is
// all. Interrupts off.
static inline bool pv_apic_timer_stops(uint64_t deadline_ns)
{
    assert_irqs_off();
    counter_add(pv, timer_arms, 1);
    if (likely(deadline_ns != UINT64_MAX))
        return false;
    apic_timer_stop();
    return true;
}
