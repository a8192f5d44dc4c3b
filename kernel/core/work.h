// SPDX-License-Identifier: MIT
// Deferred work: functions that run later in a kernel thread, where they may sleep.
#pragma once

#include "kernel/base/list.h"
#include "kernel/base/types.h"

struct work;
typedef void work_function(struct work *work);
struct work {
    struct list_node node;
    work_function *function;
    uint32_t queued; // atomic: 0 or 1
};
void work_init(struct work *work, work_function *function);
bool work_queue(struct work *work); // any context but NMI; false if it was queued already
// Makes the worker, once there are threads; task context. Done at start-up, else by the first
// work_queue() that can.
void work_start(void);
void work_flush(void); // waits until everything queued before has run

// Starts a kernel thread that runs function(argument) and ends when it returns. Result through
// *thread (may be NULL). In sched/.
struct thread;
[[nodiscard]] int kthread_create(
    struct thread **thread, const char *name, void (*function)(void *argument), void *argument);
