// SPDX-License-Identifier: MIT
// Tasks (what Linux user space calls threads) and processes (thread groups).
//
// A task is the schedulable thing with its own registers, signal mask and pid; a process is what
// its tasks share for good: identity, children, resource limits, pending process-wide signals.
// Tables that clone(2) may share between arbitrary tasks (memory, files, fs context, signal
// handlers) are reference-counted objects of their own.
//
// Lock order: task_list_lock → handlers->lock → (run queue locks). task_list_lock protects
// parentage, groups, sessions, the pid table's links and the thread lists; readers of the pid table
// may use RCU instead.
#pragma once

#include "kernel/base/hlist.h"
#include "kernel/base/list.h"
#include "kernel/base/refcount.h"
#include "kernel/core/rcu.h"
#include "kernel/core/spinlock.h"
#include "kernel/core/thread.h"
#include "kernel/core/timer.h"
#include "kernel/core/wait.h"
#include "kernel/process/credentials.h"
#include "kernel/process/signal.h"
#include <linux/resource.h>

struct fd_table;
struct fs_context;
struct tty;
struct process_group;

struct task_usage { // of dead and waited-for children, and of dead threads
    uint64_t user_ns, system_ns;
    uint64_t minor_faults, major_faults;
    uint64_t switches_voluntary, switches_involuntary;
    uint64_t resident_peak_pages;
};

// Data for restart_syscall(2): how to go on with an interrupted sleep.
struct task_restart {
    int64_t (*function)(struct task_restart *restart);
    union {
        struct {
            uint64_t deadline_ns;
            uintptr_t remaining_user;
            int32_t clock;
        } sleep;
        struct {
            uintptr_t address;
            uint32_t value, flags, bitset;
            uint64_t deadline_ns;
        } futex;
        struct {
            uintptr_t fds;
            uint32_t count;
            uint64_t deadline_ns;
        } poll;
    };
};

struct futex_pi_waiter;

// A task's part in futexes with priority inheritance; all under the lock of futex_pi.c. All zero
// at first.
struct futex_pi_task {
    struct list_node owned;             // futex_pi_state.owned_node of futexes that others wait for
    struct futex_pi_waiter *blocked_on; // NULL: waits for none
    bool exited;                        // takes no ownership any more
};

struct task {
    struct thread thread; // first: task_of_thread() is a cast
    int32_t tid;
    struct process *process;
    struct list_node thread_node; // in process->threads, under task_list_lock
    struct hlist_node pid_node;   // pid table

    // Shared tables; the task holds a reference; changed only by the task itself (under alloc_lock
    // for readers from /proc).
    struct spinlock
        alloc_lock; // lets others look at files, fs, thread.space, cred of a living task
    struct fd_table *files;
    struct fs_context *fs;
    struct signal_handlers *handlers;
    const struct credentials *cred; // RCU-published, replaced as a whole

    // Signals; under handlers->lock unless said.
    struct signal_queue pending; // for this task alone
    struct queued_signal
        own_signal;          // for a signal that it sends to itself: raise(3) allocates nothing
    uint64_t signal_mask;    // blocked; only the task itself writes it (under the lock)
    uint64_t saved_mask;     // to restore after sigsuspend, ppoll, ...; own
    bool restore_saved_mask; // own
    uintptr_t altstack_base; // sigaltstack; own
    size_t altstack_size;
    uint32_t altstack_flags;
    uint64_t sigwait_mask; // signals that sigtimedwait waits for

    bool stop_counted;         // the process's stop_pending waits for this task; handlers->lock
    uintptr_t clear_child_tid; // CLONE_CHILD_CLEARTID, set_tid_address; own
    uintptr_t
        set_child_tid; // CLONE_CHILD_SETTID: written by the child before it enters user mode; own
    uintptr_t robust_list; // own
    struct futex_pi_task futex_pi;
    struct completion *vfork_done; // parent waits for exec or exit; alloc_lock
    struct task_restart restart;   // own
    uint32_t exit_code;            // wait status when dead
    uint8_t exit_signal;           // to the parent when the whole process ends
    uint8_t pdeath_signal;         // PR_SET_PDEATHSIG
    bool exiting;                  // takes no signals any more; handlers->lock
    bool accounted;                // its times are in process->dead_threads; handlers->lock
    bool parked; // a leader that is dead but stays for its process; task_list_lock
    bool no_new_privileges;
    uint32_t personality;
    uint16_t io_priority; // ioprio_set(2); there is no I/O to order yet, but programs ask
    uint64_t start_ns;    // monotonic
    uint32_t refcount;    // task struct; freed by RCU; atomic
    struct rcu_head rcu;
};

enum process_state { PROCESS_ALIVE, PROCESS_ZOMBIE, PROCESS_REAPED };

struct process {
    int32_t pid;
    struct task *leader;      // the first task; stays (as a zombie) until the process is reaped
    struct list_node threads; // task.thread_node; task_list_lock
    uint32_t thread_count;    // living ones; handlers->lock
    struct process *parent;   // task_list_lock (RCU for getppid)
    int32_t parent_tid; // the task that forked it: __WNOTHREAD, PR_SET_PDEATHSIG; task_list_lock
    struct list_node children; // living ones: process.sibling; task_list_lock
    struct list_node
        zombies; // dead ones in the order of their deaths: process.sibling; task_list_lock
    struct list_node sibling;          // in the parent's children or zombies; task_list_lock
    struct list_node process_node;     // list of all processes; task_list_lock
    struct hlist_node group_node;      // in the process group's list
    struct process_group *group_entry; // the group `group`; task_list_lock
    int32_t group;                     // pgid; task_list_lock
    int32_t session;                   // sid
    bool session_leader;
    bool did_exec;   // setpgid by the parent is refused after exec
    struct tty *tty; // controlling terminal; task_list_lock
    enum process_state state;
    struct wait_queue child_wait; // this process's tasks in wait4
    struct wait_queue
        exit_wait; // whoever watches the process through a pidfd: woken when it is dead
    struct signal_queue pending; // process-wide; handlers->lock of any of its tasks
    struct signal_handlers *handlers;
    bool group_exit;          // exit_group or fatal signal under way
    uint32_t group_exit_code; // wait status
    struct task *exec_task;   // the task that is exec'ing and waits for the others to die
    // Job control; handlers->lock.
    bool stopped; // all tasks stopped or stopping
    uint32_t stop_signal;
    uint32_t stop_pending; // tasks that still have to stop
    bool unwaited;         // a zombie that the kernel itself is about to release; task_list_lock
    bool stop_reported, continued; // for wait4: the stop was waited for; a SIGCONT was not yet
    bool continue_notify;          // the parent has to be told of a SIGCONT; handlers->lock
    bool child_subreaper;
    struct rlimit limits[RLIM_NLIMITS];             // handlers->lock for writing
    struct task_usage dead_threads, children_usage; // handlers->lock
    struct timer real_timer;                        // ITIMER_REAL
    uint64_t real_timer_interval_ns;
    // CPU-time timers: expiry in the process's user (virtual) or whole (prof) CPU time, 0: off;
    // handlers->lock.
    uint64_t itimer_virtual_ns, itimer_virtual_interval_ns, itimer_prof_ns, itimer_prof_interval_ns;
    struct timer
        cpu_timer; // looks at CPU-time timers and RLIMIT_CPU when the earliest may be reached
    struct list_node posix_timers; // handlers->lock
    int32_t next_posix_timer;
    int16_t oom_score_adjust;
    bool dumpable;
    uint32_t refcount; // tasks and looks from /proc; atomic
    struct rcu_head rcu;
};

static inline struct task *task_of_thread(struct thread *thread)
{
    return (struct task *)thread;
}
// The running task. Only where the running thread is a user task (system calls, user faults).
static inline struct task *task_current(void)
{
    return task_of_thread(thread_current());
}
static inline struct process *process_current(void)
{
    return task_current()->process;
}

extern struct spinlock task_list_lock;
extern struct process *process_init; // pid 1

// Lookups; with a reference (task_put) or NULL. Any task context.
struct task *task_find_get(int32_t tid);
struct process *process_find_get(int32_t pid);
void task_get(struct task *task);
void task_put(struct task *task);
void process_get(struct process *process);
void process_put(struct process *process);
// The next living or zombie process with pid > `after`, with a reference; NULL at the end (for
// /proc).
struct process *process_next_get(int32_t after);
struct task *process_thread_next_get(struct process *process, int32_t after_tid);

// Starts pid 1 from `path` in the initial root with console as its standard files. Negative errno
// if it can't be run.
[[nodiscard]] int process_start_init(void);

// The table of a living task with a reference, or NULL: for /proc/PID/fd, maps ...
struct fd_table *task_files_get(struct task *task);
struct address_space *task_space_get(struct task *task);

// Terminals. process->tty is borrowed: fork copies it; the terminal is told when a session leader
// that has one dies
// (`process_tty_hangup`, set by fs/: task context, no lock held; it hangs the terminal up), and
// clears the pointers itself when it goes away or changes hands, with process_session_clear_tty().
// The function runs in any context but NMI.
extern void (*process_tty_hangup)(struct tty *tty);
void process_session_clear_tty(int32_t session, struct tty *tty);
// Does the group exist in this session (tcsetpgrp)?
bool process_group_in_session(int32_t group, int32_t session);
bool process_group_is_known(int32_t group); // in any session

// CPU time of a process with all its dead threads, and of one task; split as getrusage shows it.
// Any task context.
void process_cpu_times(struct process *process, uint64_t *user_ns, uint64_t *system_ns);
void task_cpu_times(const struct task *task, uint64_t *user_ns, uint64_t *system_ns);

// rlimit of the running process: current (soft) value.
uint64_t process_limit(unsigned resource);
// Checked exit of the running task / of the whole process; `status` is a wait status.
[[noreturn]] void task_exit(uint32_t status);
[[noreturn]] void process_exit_group(uint32_t status);
