// SPDX-License-Identifier: MIT
// Descriptions of all tracepoints: read-only data that collectors find in the image too.
//
// Names, types and order of the fields are those of Linux' events of the same name, as its tracefs
// shows them; where Linux has a string of variable length there is an array here.
#include "kernel/core/trace_points.h"

#define PLAIN(record, member, type_text, is_signed_value)                                          \
    {                                                                                              \
        .type = type_text, .name = #member,                                                        \
        .offset = offsetof(struct trace_record_##record, member),                                  \
        .size = sizeof(((struct trace_record_##record *)0)->member), .is_signed = is_signed_value  \
    }
#define ARRAY(record, member, type_text, len, is_signed_value)                                     \
    {                                                                                              \
        .type = type_text, .name = #member,                                                        \
        .offset = offsetof(struct trace_record_##record, member),                                  \
        .size = sizeof(((struct trace_record_##record *)0)->member), .array_len = len,             \
        .is_signed = is_signed_value                                                               \
    }
#define COMM(record, member)    ARRAY(record, member, "char", 16, 0)
#define PID(record, member)     PLAIN(record, member, "pid_t", 1)
#define INT(record, member)     PLAIN(record, member, "int", 1)
#define UINT(record, member)    PLAIN(record, member, "unsigned int", 0)
#define LONG(record, member)    PLAIN(record, member, "long", 1)
#define ULONG(record, member)   PLAIN(record, member, "unsigned long", 0)
#define POINTER(record, member) PLAIN(record, member, "void *", 0)

struct static_key syscall_trace_key;

#define TRACE_POINT(...) TRACE_POINT_GATED(NULL, __VA_ARGS__)
#define TRACE_POINT_GATED(gate_key, system_name, point_name, print_text, ...)                      \
    static const struct trace_field trace_fields_##point_name[] = {__VA_ARGS__};                   \
    [[gnu::used,                                                                                   \
        gnu::section(                                                                              \
            ".tracepoints")]] static const struct trace_entry trace_entry_##point_name = {         \
        .system = system_name,                                                                     \
        .name = #point_name,                                                                       \
        .fields = trace_fields_##point_name,                                                       \
        .print = print_text,                                                                       \
        .field_count = ARRAY_SIZE(trace_fields_##point_name),                                      \
        .size = sizeof(struct trace_record_##point_name),                                          \
        .point = &trace_point_##point_name};                                                       \
    struct trace_point trace_point_##point_name = {                                                \
        .gate = gate_key, .entry = &trace_entry_##point_name}

#define WAKEUP_FIELDS(name) COMM(name, comm), PID(name, pid), INT(name, prio), INT(name, target_cpu)
#define WAKEUP_PRINT                                                                               \
    "\"comm=%s pid=%d prio=%d target_cpu=%03d\", REC->comm, REC->pid, REC->prio, REC->target_cpu"

TRACE_POINT("sched", sched_switch,
    "\"prev_comm=%s prev_pid=%d prev_prio=%d prev_state=%ld ==> next_comm=%s next_pid=%d "
    "next_prio=%d\", REC->prev_comm, REC->prev_pid, REC->prev_prio, REC->prev_state, "
    "REC->next_comm, REC->next_pid, REC->next_prio",
    COMM(sched_switch, prev_comm), PID(sched_switch, prev_pid), INT(sched_switch, prev_prio),
    LONG(sched_switch, prev_state), COMM(sched_switch, next_comm), PID(sched_switch, next_pid),
    INT(sched_switch, next_prio));
TRACE_POINT("sched", sched_wakeup, WAKEUP_PRINT, WAKEUP_FIELDS(sched_wakeup));
TRACE_POINT("sched", sched_wakeup_new, WAKEUP_PRINT, WAKEUP_FIELDS(sched_wakeup_new));
TRACE_POINT("sched", sched_migrate_task,
    "\"comm=%s pid=%d prio=%d orig_cpu=%d dest_cpu=%d\", REC->comm, REC->pid, REC->prio, "
    "REC->orig_cpu, REC->dest_cpu",
    COMM(sched_migrate_task, comm), PID(sched_migrate_task, pid), INT(sched_migrate_task, prio),
    INT(sched_migrate_task, orig_cpu), INT(sched_migrate_task, dest_cpu));
TRACE_POINT("sched", sched_process_fork,
    "\"comm=%s pid=%d child_comm=%s child_pid=%d\", REC->parent_comm, REC->parent_pid, "
    "REC->child_comm, REC->child_pid",
    COMM(sched_process_fork, parent_comm), PID(sched_process_fork, parent_pid),
    COMM(sched_process_fork, child_comm), PID(sched_process_fork, child_pid));
TRACE_POINT("sched", sched_process_exit,
    "\"comm=%s pid=%d prio=%d\", REC->comm, REC->pid, REC->prio", COMM(sched_process_exit, comm),
    PID(sched_process_exit, pid), INT(sched_process_exit, prio));

TRACE_POINT_GATED(&syscall_trace_key, "raw_syscalls", sys_enter,
    "\"NR %ld (%lx, %lx, %lx, %lx, %lx, %lx)\", REC->id, REC->args[0], REC->args[1], "
    "REC->args[2], REC->args[3], REC->args[4], REC->args[5]",
    LONG(sys_enter, id), ARRAY(sys_enter, args, "unsigned long", 6, 0));
TRACE_POINT_GATED(&syscall_trace_key, "raw_syscalls", sys_exit,
    "\"NR %ld = %ld\", REC->id, REC->ret", LONG(sys_exit, id), LONG(sys_exit, ret));

#define FAULT_PRINT                                                                                \
    "\"address=0x%lx ip=0x%lx error_code=0x%lx\", REC->address, REC->ip, REC->error_code"
TRACE_POINT("exceptions", page_fault_user, FAULT_PRINT, ULONG(page_fault_user, address),
    ULONG(page_fault_user, ip), ULONG(page_fault_user, error_code));
TRACE_POINT("exceptions", page_fault_kernel, FAULT_PRINT, ULONG(page_fault_kernel, address),
    ULONG(page_fault_kernel, ip), ULONG(page_fault_kernel, error_code));
TRACE_POINT("tlb", tlb_flush, "\"pages:%ld reason:%d\", REC->pages, REC->reason",
    INT(tlb_flush, reason), ULONG(tlb_flush, pages));

TRACE_POINT("irq", irq_handler_entry, "\"irq=%d\", REC->irq", INT(irq_handler_entry, irq));
TRACE_POINT("irq", irq_handler_exit, "\"irq=%d ret=%d\", REC->irq, REC->ret",
    INT(irq_handler_exit, irq), INT(irq_handler_exit, ret));
TRACE_POINT("timer", hrtimer_start,
    "\"hrtimer=%p function=%p expires=%llu\", REC->hrtimer, REC->function, REC->expires",
    POINTER(hrtimer_start, hrtimer), POINTER(hrtimer_start, function),
    PLAIN(hrtimer_start, expires, "s64", 1), PLAIN(hrtimer_start, softexpires, "s64", 1),
    INT(hrtimer_start, mode));
TRACE_POINT("timer", hrtimer_expire_entry,
    "\"hrtimer=%p function=%p now=%llu\", REC->hrtimer, REC->function, REC->now",
    POINTER(hrtimer_expire_entry, hrtimer), PLAIN(hrtimer_expire_entry, now, "s64", 1),
    POINTER(hrtimer_expire_entry, function));
TRACE_POINT("power", cpu_idle, "\"state=%lu cpu_id=%lu\", REC->state, REC->cpu_id",
    PLAIN(cpu_idle, state, "u32", 0), PLAIN(cpu_idle, cpu_id, "u32", 0));

TRACE_POINT("block", block_rq_issue,
    "\"%d,%d %s %u %llu + %u [%s] request=0x%lx\", REC->dev >> 20, REC->dev & 0xfffff, REC->rwbs, "
    "REC->bytes, REC->sector, REC->nr_sector, REC->comm, REC->request",
    PLAIN(block_rq_issue, dev, "dev_t", 0), PLAIN(block_rq_issue, sector, "sector_t", 0),
    UINT(block_rq_issue, nr_sector), UINT(block_rq_issue, bytes),
    ARRAY(block_rq_issue, rwbs, "char", 8, 0), COMM(block_rq_issue, comm),
    ULONG(block_rq_issue, request));
TRACE_POINT("block", block_rq_complete,
    "\"%d,%d %s %llu + %u [%d] request=0x%lx\", REC->dev >> 20, REC->dev & 0xfffff, REC->rwbs, "
    "REC->sector, REC->nr_sector, REC->error, REC->request",
    PLAIN(block_rq_complete, dev, "dev_t", 0), PLAIN(block_rq_complete, sector, "sector_t", 0),
    UINT(block_rq_complete, nr_sector), INT(block_rq_complete, error),
    ARRAY(block_rq_complete, rwbs, "char", 8, 0), ULONG(block_rq_complete, request));
TRACE_POINT("net", net_dev_xmit,
    "\"dev=%s skbaddr=%p len=%u rc=%d\", REC->name, REC->skbaddr, REC->len, REC->rc",
    POINTER(net_dev_xmit, skbaddr), UINT(net_dev_xmit, len), INT(net_dev_xmit, rc),
    COMM(net_dev_xmit, name));
TRACE_POINT("net", netif_receive_skb,
    "\"dev=%s skbaddr=%p len=%u\", REC->name, REC->skbaddr, REC->len",
    POINTER(netif_receive_skb, skbaddr), UINT(netif_receive_skb, len),
    COMM(netif_receive_skb, name));

TRACE_POINT("pv", pv_timer_arm, "\"deadline_ns=%llu\", REC->deadline_ns",
    PLAIN(pv_timer_arm, deadline_ns, "u64", 0));
TRACE_POINT("pv", pv_send_ipi, "\"vector=0x%x first_cpu=%u\", REC->vector, REC->first_cpu",
    UINT(pv_send_ipi, vector), UINT(pv_send_ipi, first_cpu));
TRACE_POINT("pv", pv_flush_tlb_others, "\"start=0x%lx end=0x%lx\", REC->start, REC->end",
    ULONG(pv_flush_tlb_others, start), ULONG(pv_flush_tlb_others, end));
TRACE_POINT("pv", pv_lock_wait, "\"word=%p value=%u\", REC->word, REC->value",
    POINTER(pv_lock_wait, word), UINT(pv_lock_wait, value));
TRACE_POINT("pv", pv_lock_kick, "\"cpu=%u\", REC->cpu", UINT(pv_lock_kick, cpu));

void trace_point_on(struct trace_point *point)
{
    static_key_on(&point->key);
    if (point->gate != NULL)
        static_key_on(point->gate);
}

void trace_point_off(struct trace_point *point)
{
    if (point->gate != NULL)
        static_key_off(point->gate);
    static_key_off(&point->key);
}
