// SPDX-License-Identifier: MIT
// What the files of this folder share with each other and with the system calls that are made of
// them (kernel/syscall/).
#pragma once

#include "kernel/core/errno.h"
#include "kernel/core/user.h"
#include "kernel/process/task.h"

struct file;
struct trap_frame;

// ---- pid numbers and the table of tasks (pid.c) ------------------------------------------------
#define PID_MAX 32768 // as Linux without configuration; numbers are below it

// All under task_list_lock.
[[nodiscard]] int pid_number_alloc(int32_t *number); // -EAGAIN: all are taken
// Gives the number back if neither a task nor a group or session bears it any more.
void pid_number_release(int32_t number);
void pid_table_add(struct task *task);
void pid_table_remove(struct task *task);
void process_list_add(struct process *process);
void process_list_remove(struct process *process);
// The task or the process with this number; under task_list_lock or in an RCU section. NULL: none.
struct task *task_lookup(int32_t tid);
struct process *process_lookup(int32_t pid);
extern struct list_node
    process_list; // process_node of all processes until they are reaped; task_list_lock

// ---- process groups and sessions (group.c) -----------------------------------------------------
// A group lives as long as it has members, or, if it is the group that names a session, as long as
// the session has groups: its number must not be used again before. Everything under
// task_list_lock.
struct process_group {
    int32_t id;
    uint32_t member_count;
    uint32_t session_groups;       // groups with members whose session is this one
    struct process_group *session; // the group that names the session
    struct hlist_node node;        // hash table
    struct hlist_head members;     // process.group_node
};
struct process_group *process_group_allocate(
    void); // may sleep; NULL: no memory. Freed with kfree() if unused.
struct process_group *process_group_find(int32_t id);
// Enters `group`, or founds a new one named after the process (in its session; or naming a new
// session).
void process_group_join(struct process *process, struct process_group *group);
void process_group_found(struct process *process, struct process_group *fresh, bool new_session);
void process_group_leave(struct process *process);
bool process_group_is_orphaned_without(int32_t group, const struct process *leaving);
bool process_group_has_stopped(int32_t group);
[[nodiscard]] int process_set_group(int32_t pid, int32_t group); // setpgid(2)
[[nodiscard]] int process_set_session(void);                     // setsid(2): the session's id

// ---- allocation (task.c) -----------------------------------------------------------------------
void process_caches_init(void);
struct task *task_allocate(void);         // zeroed, one reference, with stack and FPU area; NULL
void task_free_unused(struct task *task); // one that was never linked nor started
struct process *process_allocate(void);   // zeroed, one reference; NULL
struct signal_handlers *signal_handlers_allocate(void);
void task_reaper(struct thread *thread);
bool reference_get_unless_zero(uint32_t *refcount);

// ---- fork (fork.c) -----------------------------------------------------------------------------
struct clone_request {
    uint64_t flags;      // CLONE_* without the signal
    int32_t exit_signal; // 0 or a signal
    uintptr_t stack;     // new stack pointer or 0
    uintptr_t tls;
    uintptr_t parent_tid; // user addresses
    uintptr_t child_tid;
    uintptr_t pidfd;
    const int32_t *set_tid; // clone3: the pid that is wanted; NULL
};
[[nodiscard]] int64_t process_clone(const struct clone_request *request); // the child's tid
// Own copies of tables that the running task shares with others: 0 or -ENOMEM.
[[nodiscard]] int process_unshare(bool files, bool fs);

// ---- pidfds (pidfd.c) --------------------------------------------------------------------------
struct file *pidfd_create(struct process *process, uint32_t open_flags); // NULL: no memory
struct process *pidfd_process(struct file *file); // NULL: it is no pidfd; valid as long as the file

// ---- the first process, out of memory ----------------------------------------------------------
void process_group_add(struct process_group *group); // into the table; under task_list_lock
struct page_shortage;
bool process_out_of_memory(
    const struct page_shortage *shortage); // chooses and kills a victim; true: memory will come

// ---- exec (exec.c) -----------------------------------------------------------------------------
// Replaces the running program. `path` is a kernel string; argv and envp user arrays. 0: the frame
// was set up for the new program. Errors after the point of no return kill the process.
[[nodiscard]] int process_exec(
    int dirfd, const char *path, uintptr_t argv, uintptr_t envp, int flags);
// The same with arguments in kernel memory: NUL-terminated strings one after another, as in
// /.lodger/argv.
[[nodiscard]] int process_exec_kernel(
    const char *path, const char *argv, size_t argv_len, const char *envp, size_t envp_len);

// ---- exit and wait (exit.c, wait.c) ------------------------------------------------------------
// Removes a dead process from all tables: its parent waited or does not care. Under task_list_lock;
// the returned leader is then given to process_release_finish() without the lock.
struct task *process_release_locked(struct process *process);
void process_release_finish(struct task *leader);
void task_unlink_dead_thread(
    struct task *task); // a thread that is not the leader; under task_list_lock
void task_release_space(
    struct task *task); // exec and exit: wakes clear_child_tid and the vfork parent
void exit_notify_parent(struct process *process, bool *autoreap); // under task_list_lock
void signal_fill_child_info(struct process *child, int code, uint32_t status, siginfo_t *info);

struct wait_request {
    enum { WAIT_ANY, WAIT_PID, WAIT_GROUP } which;
    int32_t id;
    int options; // WNOHANG, WEXITED, WSTOPPED, WCONTINUED, WNOWAIT, __WALL, __WCLONE, __WNOTHREAD
};
struct wait_result {
    int32_t pid;     // 0: WNOHANG and nothing there
    uint32_t status; // as wait4 shows it
    uint32_t uid;
    int32_t code;        // CLD_*
    int32_t info_status; // si_status
    struct task_usage usage;
};
[[nodiscard]] int process_wait(const struct wait_request *request, struct wait_result *result);

// ---- signals (signal.c, signal_deliver.c, signal_frame.c) --------------------------------------
#define SIGNAL_SET_STOP                                                                            \
    (SIGNAL_BIT(SIGSTOP) | SIGNAL_BIT(SIGTSTP) | SIGNAL_BIT(SIGTTIN) | SIGNAL_BIT(SIGTTOU))
#define SIGNAL_SET_IGNORED                                                                         \
    (SIGNAL_BIT(SIGCONT) | SIGNAL_BIT(SIGCHLD) | SIGNAL_BIT(SIGWINCH) | SIGNAL_BIT(SIGURG))
#define SIGNAL_SET_UNBLOCKABLE (SIGNAL_BIT(SIGKILL) | SIGNAL_BIT(SIGSTOP))
#define SIGNAL_WORK_BITS       (THREAD_WORK_SIGNAL | THREAD_WORK_KILL)

void signal_caches_init(void);
void signal_queue_init(struct signal_queue *queue);
void signal_queue_flush(
    struct signal_queue *queue, uint64_t set); // under handlers->lock, or of a dead task
// signal_send_*() with the lock of the target's handlers held. `task` NULL: to the process.
int signal_send_locked(
    struct process *process, struct task *task, int signal, const siginfo_t *info);
// Locks the handlers that the process uses (exec may replace them at any time); undone by
// spin_unlock_irqrestore().
struct signal_handlers *process_signals_lock(struct process *process, uint64_t *flags);
// raise(3): a signal of the running task to itself that a handler waits for. False: it is another
// case, nothing was done.
bool signal_raise_handled(int signal, const siginfo_t *info);
// Is this pid 1, which dies of no signal that it does not handle?
bool process_is_protected(const struct process *process);
void process_continue_locked(struct process *process); // ends a stop; handlers->lock held
// Ends all tasks of the process with `status`; handlers->lock held.
void process_kill_locked(struct process *process, uint32_t status);
// Ends the other tasks for exec; handlers->lock held.
void task_kill_locked(struct task *task);
void signal_wake(
    struct task *task, bool fatal); // sets the work bits and ends its sleep; handlers->lock held
int signal_dequeue_locked(struct task *task, uint64_t set, siginfo_t *info);
void signal_recalculate_locked(struct task *task);
bool signal_mask_is_fresh(const struct task *task);
// Builds the frame of a handler on the user stack and points `frame` at it. -EFAULT when the stack
// is not usable.
[[nodiscard]] int signal_frame_build(struct trap_frame *frame, int signal, const siginfo_t *info,
    const struct signal_action *action, uint64_t mask);
int64_t signal_frame_return(struct trap_frame *frame); // rt_sigreturn(2)
bool process_stop_thread_left(struct task *task); // it does not take part in a stop (any more);
                                                  // true: that completed the stop; handlers->lock
void process_notify_stop(
    struct process *process, int code); // CLD_STOPPED, CLD_CONTINUED to the parent; no lock held
bool signal_action_ignores(const struct signal_action *action, int signal);

// sigaltstack(2) for the running task, whose user stack pointer is `rsp`.
[[nodiscard]] int signal_altstack_set(uintptr_t base, int flags, size_t size, uintptr_t rsp);
int signal_altstack_flags(const struct task *task, uintptr_t rsp); // SS_ONSTACK, SS_DISABLE or 0
size_t signal_frame_bytes_max(void);                               // AT_MINSIGSTKSZ

// Queues a timer's signal (if it is not queued yet) under handlers->lock. False: it is ignored.
bool signal_queue_timer(struct process *process, struct task *task, struct queued_signal *queued);
void signal_unqueue_timer(struct signal_queue *queue, struct queued_signal *queued);
static inline bool signal_timer_is_queued(const struct queued_signal *queued)
{
    return list_is_linked(&queued->base.node);
}
void posix_timer_dequeued(struct posix_timer *timer, siginfo_t *info); // handlers->lock held

// May the running task look into the process and change its limits (as ptrace and prlimit ask it)?
// With CAP_SYS_PTRACE always.
bool process_may_inspect(struct process *process);

// ---- accounts, limits, CPU time (account.c, limit.c, cpu_time.c) --------------------------------
struct user_account {
    struct hlist_node node; // under accounts_lock
    uint32_t uid;
    uint32_t refcount;      // under accounts_lock
    uint32_t process_count; // tasks; atomic: RLIMIT_NPROC
    uint32_t signal_count;  // queued signals; atomic: RLIMIT_SIGPENDING
};
struct user_account *user_account_get(uint32_t uid); // NULL: no memory
struct user_account *user_account_reference(struct user_account *account);
void user_account_put(struct user_account *account);
extern struct user_account user_account_root;

void task_usage_add_task(
    struct task_usage *usage, const struct task *task); // handlers->lock of its process for `usage`
void process_usage_sum(struct process *process, struct task_usage *usage); // threads, dead ones too
uint64_t process_cpu_ns(struct process *process);
uint64_t process_cpu_ns_locked(struct process *process); // handlers->lock held
void cpu_timer_start(
    struct process *process); // after a change of CPU timers or RLIMIT_CPU; handlers->lock held
void cpu_timer_init(struct process *process);

// ---- timers (itimer.c, posix_timer.c) ----------------------------------------------------------
timer_function itimer_real_fire;
struct itimer_value {
    uint64_t value_ns, interval_ns; // value 0: off
};
// ITIMER_*; -EINVAL. `fresh` NULL: only read.
[[nodiscard]] int itimer_exchange(
    int which, const struct itimer_value *fresh, struct itimer_value *old);
struct posix_timer_request {
    int32_t clock;
    int notify; // SIGEV_NONE, SIGEV_SIGNAL, SIGEV_THREAD_ID, SIGEV_THREAD
    int signal;
    int32_t tid;      // SIGEV_THREAD_ID
    uint64_t value;   // sigev_value
    bool value_is_id; // no sigevent was given: the value is the timer's id
};
[[nodiscard]] int posix_timer_create(const struct posix_timer_request *request); // id
// All -EINVAL for an unknown timer.
[[nodiscard]] int posix_timer_set(
    int32_t id, bool absolute, const struct itimer_value *fresh, struct itimer_value *old);
[[nodiscard]] int posix_timer_get(int32_t id, struct itimer_value *value);
[[nodiscard]] int posix_timer_overrun(int32_t id);
[[nodiscard]] int posix_timer_delete(int32_t id);
void posix_timers_release(struct process *process); // exec and the end of the process

void posix_timers_realtime_changed(void);

// ---- clocks (clock.c) --------------------------------------------------------------------------
[[nodiscard]] int clock_read(int32_t clock, uint64_t *ns); // -EINVAL: no such clock
bool clock_is_cpu_time(int32_t clock);
void clocks_init(void);
// Sleeps until (TIMER_ABSTIME) or for `ns` of the clock. -EINVAL, -EOPNOTSUPP, or an internal
// restart; `remaining`: user timespec or 0.
[[nodiscard]] int clock_sleep(int32_t clock, bool absolute, uint64_t ns, uintptr_t remaining);
