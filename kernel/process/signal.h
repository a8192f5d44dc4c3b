// SPDX-License-Identifier: MIT
// Signals: queues, handlers, sending.
#pragma once

#include "kernel/base/list.h"
#include "kernel/base/types.h"
#include "kernel/core/spinlock.h"
#include "kernel/core/wait.h"
#include <linux/signal.h>

struct task;
struct process;

#define SIGNAL_COUNT       64
#define SIGNAL_BIT(signal) (UINT64_C(1) << ((signal) - 1))

// One queued signal. Standard signals queue at most once; real-time ones as often as
// RLIMIT_SIGPENDING lets them.
// Of `info` only the first SIGNAL_INFO_BYTES are kept: no kind of siginfo has members behind them.
#define SIGNAL_INFO_BYTES 48
struct signal_info {
    struct list_node node;
    siginfo_t info;
};

// An entry with its owner: `owned` ones are part of a POSIX timer or of a task and not freed when
// they are taken.
struct user_account;
struct posix_timer;
struct queued_signal {
    struct signal_info base;
    struct user_account *user; // is counted there; NULL: not counted
    struct posix_timer *timer; // NULL: not a timer's
    bool owned;
};

struct signal_queue {
    uint64_t pending;       // bit n-1: signal n
    struct list_node queue; // signal_info in order of arrival
};

struct signal_action { // as rt_sigaction has it
    uintptr_t handler; // SIG_DFL, SIG_IGN or address
    uint64_t flags;
    uintptr_t restorer;
    uint64_t mask;
};

// Shared by CLONE_SIGHAND. `lock` also protects the pending queues of all tasks and processes that
// use it. Interrupts off.
struct signal_handlers {
    uint32_t refcount;
    struct spinlock lock;
    struct signal_action actions[SIGNAL_COUNT];
    struct wait_queue signalfd_wait; // signalfd and its pollers: woken with each queued signal
};

void signal_handlers_get(struct signal_handlers *handlers);
void signal_handlers_put(struct signal_handlers *handlers); // frees with the last reference

// Sends; `info` NULL: from the kernel (SI_KERNEL). Permission has been checked. 0, -EAGAIN
// (real-time queue full), -ESRCH (dead). Any context but NMI.
int signal_send_task(struct task *task, int signal, const siginfo_t *info);
int signal_send_process(struct process *process, int signal, const siginfo_t *info);
// To all processes of a group; 0 when at least one got it, else -ESRCH. Task context or timers.
int signal_send_group(int32_t group, int signal, const siginfo_t *info);
int signal_send_session_leader(int32_t session, int signal);
// Synchronous fault of the running task: can't be blocked or ignored.
void signal_force(int signal, int code, uintptr_t address);
// May the running task send `signal` to this process? 0 or -EPERM.
[[nodiscard]] int signal_may_send(struct process *process, int signal);
// Recomputes THREAD_WORK_SIGNAL of the running task; under handlers->lock.
void signal_recalculate(void);
// Sets the running task's mask (SIGKILL and SIGSTOP are taken out). For sigprocmask, ppoll,
// epoll_pwait, ...
void signal_set_mask(uint64_t mask);
// For p-calls: installs `mask`; on the way out restores the old one either at once or after a
// handler ran.
void signal_mask_push(uint64_t mask);
void signal_mask_pop(bool interrupted);
// Reads a user sigset (size must be 8): 0, -EINVAL, -EFAULT.
[[nodiscard]] int signal_mask_from_user(uint64_t *mask, uintptr_t user, size_t size);
// Takes the first pending signal that is in `set` off the running task's queues. Signal number or
// 0. Takes the lock.
int signal_dequeue(uint64_t set, siginfo_t *info); // fills SIGNAL_INFO_BYTES of *info
uint64_t signal_pending_set(void);                 // pending of the running task and its process
// Terminal job control: is the running process's group orphaned; is the signal ignored or blocked
// by the running task?
bool signal_is_ignored_or_blocked(int signal);
bool process_group_is_orphaned(int32_t group);
