// SPDX-License-Identifier: MIT
// Hypercalls to Xen.
//
// General preconditions: the Xen backend has started (xen_is_running()). Any context. Each returns
// what Xen says: 0 or a count, or a negative number of <xen/errno.h>, whose values are those of
// Linux up to 133. `argument` is a structure of <xen/...> in kernel memory that stays where it is
// during the call; Xen reads it, and writes results into it, by its virtual address.
//
// In host tests the same functions are the test's own (pv/xen/host/fake_xen.h).
#pragma once

#include "kernel/base/types.h"
#include "kernel/core/counter.h"

#include <xen/xen.h>

COUNTER_DECLARE(pv, hypercalls);

// Entries of the hypercall page (hypercall.S).
long xen_page_memory_op(unsigned command, void *argument);
long xen_page_multicall(multicall_entry_t *calls, unsigned count);
long xen_page_xen_version(unsigned command, void *argument);
long xen_page_console_io(unsigned command, unsigned count, void *buffer);
long xen_page_grant_table_op(unsigned command, void *argument, unsigned count);
long xen_page_vm_assist(unsigned command, unsigned type);
long xen_page_vcpu_op(unsigned command, unsigned vcpu, void *argument);
long xen_page_sched_op(unsigned command, void *argument);
long xen_page_event_channel_op(unsigned command, void *argument);
long xen_page_hvm_op(unsigned command, void *argument);
long xen_page_xenpmu_op(unsigned command, void *argument);

// <xen/memory.h>: XENMEM_*
[[nodiscard]] static inline long xen_memory_op(unsigned command, void *argument)
{
    counter_add(pv, hypercalls, 1);
    return xen_page_memory_op(command, argument);
}

// Several hypercalls in one exit; 0 when all were tried, each one's result is in its entry.
[[nodiscard]] static inline long xen_multicall(multicall_entry_t *calls, unsigned count)
{
    counter_add(pv, hypercalls, 1);
    return xen_page_multicall(calls, count);
}

// <xen/version.h>: XENVER_*
[[nodiscard]] static inline long xen_version(unsigned command, void *argument)
{
    counter_add(pv, hypercalls, 1);
    return xen_page_xen_version(command, argument);
}

// CONSOLEIO_write: what the host's console shows (with guest_loglvl=all)
static inline long xen_console_io(unsigned command, unsigned count, void *buffer)
{
    counter_add(pv, hypercalls, 1);
    return xen_page_console_io(command, count, buffer);
}

// <xen/grant_table.h>: GNTTABOP_*; `argument` is an array of `count` structures, each with its own
// status
[[nodiscard]] static inline long xen_grant_table_op(
    unsigned command, void *argument, unsigned count)
{
    counter_add(pv, hypercalls, 1);
    return xen_page_grant_table_op(command, argument, count);
}

[[nodiscard]] static inline long xen_vm_assist(unsigned command, unsigned type)
{
    counter_add(pv, hypercalls, 1);
    return xen_page_vm_assist(command, type);
}

// <xen/vcpu.h>: VCPUOP_*; `vcpu` is Xen's number (xen_vcpu_of())
[[nodiscard]] static inline long xen_vcpu_op(unsigned command, unsigned vcpu, void *argument)
{
    counter_add(pv, hypercalls, 1);
    return xen_page_vcpu_op(command, vcpu, argument);
}

// <xen/sched.h>: SCHEDOP_*
static inline long xen_sched_op(unsigned command, void *argument)
{
    counter_add(pv, hypercalls, 1);
    return xen_page_sched_op(command, argument);
}

// <xen/event_channel.h>: EVTCHNOP_*; users of channels call events.h
[[nodiscard]] static inline long xen_event_channel_op(unsigned command, void *argument)
{
    counter_add(pv, hypercalls, 1);
    return xen_page_event_channel_op(command, argument);
}

// <xen/hvm/hvm_op.h>: HVMOP_*
[[nodiscard]] static inline long xen_hvm_op(unsigned command, void *argument)
{
    counter_add(pv, hypercalls, 1);
    return xen_page_hvm_op(command, argument);
}

// <xen/hvm/params.h>: HVM_PARAM_* of this domain. 0 or a negative errno.
[[nodiscard]] int xen_hvm_param_read(uint32_t index, uint64_t *value);
[[nodiscard]] int xen_hvm_param_write(uint32_t index, uint64_t value);
