// SPDX-License-Identifier: MIT
// All tracepoints and their fields. trace_points.c has the descriptions, in the same order.
#pragma once

#include "kernel/core/trace.h"

#define TRACE_POINT_DECLARE(name, ...)                                                             \
    extern struct trace_point trace_point_##name;                                                  \
    struct trace_record_##name {                                                                   \
        struct trace_common common;                                                                \
        __VA_ARGS__                                                                                \
    }

// ---- scheduler ----
TRACE_POINT_DECLARE(sched_switch, struct trace_name prev_comm; int32_t prev_pid; int32_t prev_prio;
                    int64_t prev_state; struct trace_name next_comm; int32_t next_pid;
                    int32_t next_prio;);
TRACE_POINT_DECLARE(sched_wakeup, struct trace_name comm; int32_t pid; int32_t prio;
                    int32_t target_cpu;);
TRACE_POINT_DECLARE(sched_wakeup_new, struct trace_name comm; int32_t pid; int32_t prio;
                    int32_t target_cpu;);
TRACE_POINT_DECLARE(sched_migrate_task, struct trace_name comm; int32_t pid; int32_t prio;
                    int32_t orig_cpu; int32_t dest_cpu;);
TRACE_POINT_DECLARE(sched_process_fork, struct trace_name parent_comm; int32_t parent_pid;
                    struct trace_name child_comm; int32_t child_pid;);
TRACE_POINT_DECLARE(sched_process_exit, struct trace_name comm; int32_t pid; int32_t prio;);

// ---- system calls ----
TRACE_POINT_DECLARE(sys_enter, int64_t id; uint64_t args[6];);
TRACE_POINT_DECLARE(sys_exit, int64_t id; int64_t ret;);

// ---- memory ----
TRACE_POINT_DECLARE(page_fault_user, uint64_t address; uint64_t ip; uint64_t error_code;);
TRACE_POINT_DECLARE(page_fault_kernel, uint64_t address; uint64_t ip; uint64_t error_code;);
TRACE_POINT_DECLARE(tlb_flush, int32_t reason; uint64_t pages;);

// ---- interrupts, timers, idling ----
TRACE_POINT_DECLARE(irq_handler_entry, int32_t irq;);
TRACE_POINT_DECLARE(irq_handler_exit, int32_t irq; int32_t ret;);
TRACE_POINT_DECLARE(hrtimer_start, uint64_t hrtimer; uint64_t function; int64_t expires;
                    int64_t softexpires; int32_t mode;);
TRACE_POINT_DECLARE(hrtimer_expire_entry, uint64_t hrtimer; int64_t now; uint64_t function;);
TRACE_POINT_DECLARE(cpu_idle, uint32_t state; uint32_t cpu_id;);

// ---- devices: `request` is the same number in all events of one request ----
TRACE_POINT_DECLARE(block_rq_issue, uint32_t dev; uint64_t sector; uint32_t nr_sector;
                    uint32_t bytes; char rwbs[8]; struct trace_name comm; uint64_t request;);
TRACE_POINT_DECLARE(block_rq_complete, uint32_t dev; uint64_t sector; uint32_t nr_sector;
                    int32_t error; char rwbs[8]; uint64_t request;);
TRACE_POINT_DECLARE(net_dev_xmit, uint64_t skbaddr; uint32_t len; int32_t rc;
                    struct trace_name name;);
TRACE_POINT_DECLARE(netif_receive_skb, uint64_t skbaddr; uint32_t len; struct trace_name name;);

// ---- hypervisor operations ----
TRACE_POINT_DECLARE(pv_timer_arm, uint64_t deadline_ns;);
TRACE_POINT_DECLARE(pv_send_ipi, uint32_t vector; uint32_t first_cpu;);
TRACE_POINT_DECLARE(pv_flush_tlb_others, uint64_t start; uint64_t end;);
TRACE_POINT_DECLARE(pv_lock_wait, uint64_t word; uint32_t value;);
TRACE_POINT_DECLARE(pv_lock_kick, uint32_t cpu;);

#define TRACE_STATE_RUNNING 0          // prev_state: still runnable
#define TRACE_IDLE_END      UINT32_MAX // cpu_idle: the end of idling
