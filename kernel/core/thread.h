// SPDX-License-Identifier: MIT
// The schedulable half of a task: what the processor code, the locks and the scheduler know of it.
//
// kernel/process embeds a struct thread in its struct task; kernel threads have no task around
// them. Sleeping follows one protocol everywhere: the sleeper publishes its state, fences, looks at
// its condition again, and only then gives the CPU away; a waker changes the condition, fences, and
// calls sched_wake(). It is safe against a CPU that stops anywhere for any time.
#pragma once

#include "kernel/arch/x86/thread.h"
#include "kernel/base/list.h"
#include "kernel/base/rbtree.h"
#include "kernel/base/types.h"
#include "kernel/core/cpumask.h"
#include "kernel/core/percpu.h"

struct address_space;
struct memory_policy;
struct perf_context;

// States are bits, so that a waker can name several.
enum thread_state : uint32_t {
    THREAD_RUNNING = 0,         // runs or is on a run queue
    THREAD_INTERRUPTIBLE = 1,   // sleeps; a signal wakes it
    THREAD_UNINTERRUPTIBLE = 2, // sleeps; only its event wakes it
    THREAD_KILLABLE = 4,        // sleeps; its event or a fatal signal wakes it
    THREAD_STOPPED = 8,         // job-control stop
    THREAD_DEAD = 16,           // never runs again
};
#define THREAD_ANY_SLEEP (THREAD_INTERRUPTIBLE | THREAD_UNINTERRUPTIBLE | THREAD_KILLABLE)

// Bits of thread.work: the one word that is tested before each return to user mode.
#define THREAD_WORK_RESCHEDULE BIT(0) // another thread should run
// An unblocked signal may be pending: process_user_return() looks.
#define THREAD_WORK_SIGNAL BIT(1)
// A fatal signal is pending: killable sleeps end (set with SIGNAL).
#define THREAD_WORK_KILL   BIT(2)
#define THREAD_WORK_RESUME BIT(3) // process_user_return() has other things to do (rseq, ...)
#define THREAD_WORK_TRACE  BIT(4) // system calls are traced: the slow entry path

#define THREAD_NAME_BYTES 16

// How a thread is scheduled: those of a later class run first.
enum sched_class : uint8_t { SCHED_CLASS_FAIR, SCHED_CLASS_RT, SCHED_CLASS_DEADLINE };

// A constant-bandwidth server (sched/deadline.h); rq lock.
struct deadline_entity {
    struct rbtree_node node;                     // place among the ready or the throttled
    uint64_t runtime_ns, deadline_ns, period_ns; // what was reserved; runtime 0: nothing
    int64_t budget_ns;                           // left until `until_ns`; negative: to be paid back
    uint64_t until_ns;                           // absolute deadline; 0: no period has begun
    uint64_t boosted_until_ns; // earliest deadline of those that wait for the thread; 0: none
    uint64_t effective_ns;     // the deadline that it is queued with
    bool throttled;            // queued, and waits for its next period
};

// Scheduling class data; only sched/ reads or writes it. "rq lock": the lock of the run queue that
// thread->cpu names; its holder may also change thread->cpu.
struct sched_entity {
    struct rbtree_node node; // place in the fair tree; rq lock
    struct list_node list;   // place in a FIFO/RR list; rq lock
    uint64_t vruntime;       // weighted run time, ns; rq lock
    uint64_t deadline;       // virtual deadline, in the time of vruntime; rq lock
    uint64_t min_vruntime;   // least vruntime of the subtree below node; rq lock
    int64_t lag;             // vruntime that it was owed when it went to sleep; rq lock
    uint64_t slice_ns;       // run time that one virtual deadline is about; rq lock
    uint64_t exec_start_ns;  // until when it was accounted; rq lock
    uint64_t sum_exec_ns;    // CPU time in total; written under rq lock, read without
    uint64_t sample_exec_ns; // sum_exec_ns at the last user/system sample; own CPU
    uint64_t run_start_ns;   // sum_exec_ns when it woke up last; rq lock
    uint32_t weight;         // by nice; rq lock
    uint8_t policy;          // SCHED_* of linux/sched.h; rq lock
    uint8_t rt_priority;     // 1..99 for FIFO and RR; rq lock
    enum sched_class class;  // by the policy; rq lock
    // What the three above are made of (policy.c): the thread's own, and the priority that it has
    // because somebody waits for it; 0: none. rq lock
    uint8_t own_policy, own_rt_priority, inherited_rt_priority;
    int8_t nice;         // -20..19; rq lock
    uint8_t queue_state; // SCHED_QUEUE_*; rq lock
    uint8_t short_runs;  // times in a row that it slept again soon; rq lock
    // Times in a row that it slept again at once; written under rq lock, read by the thread itself.
    uint8_t brief_runs;
    bool on_cpu;           // from being picked until its context is saved; a hint without rq lock
    bool reset_on_fork;    // children start with default policy and nice
    bool deadline_overrun; // SIGXCPU is due for it; atomic
    bool deadline_signal;  // and wanted (SCHED_FLAG_DL_OVERRUN); rq lock
    struct deadline_entity dl;
    uint32_t wake_pending;    // 1: is on some CPU's wake list; atomic
    struct thread *wake_next; // link of that list
    uint64_t switches_voluntary;
    uint64_t switches_involuntary;
};

#ifdef LODGER_DEBUG
#define THREAD_LOCKS_MAX 24
// One lock that is held, for the order checker (kernel/core/lockdep.c).
struct lock_held {
    const void *lock;
    uintptr_t acquired_at; // return address of the acquisition
    uint16_t node;         // lock class and nesting level
    uint8_t irq_level;     // spin locks: nesting of interrupts when it was taken
    bool shared;           // taken for reading
};
#endif

struct thread {
    struct arch_thread arch; // saved context; only the thread itself and the context switch
    uint32_t work;           // THREAD_WORK_*; atomic
    uint32_t state;          // enum thread_state; protocol above
    uint32_t cpu;            // where it runs or ran last; written under the run queue's lock
    uint32_t flags;          // THREAD_FLAG_*, fixed after creation
    uintptr_t stack_base;    // lowest byte of the kernel stack
    // User memory, NULL for kernel threads; only changed by the thread itself.
    struct address_space *space;
    // Whose page tables are loaded (lazy TLB); context switch only.
    struct address_space *active_space;
    struct sched_entity sched;
    struct cpumask affinity; // where it may run; under the run queue's lock
    // Page faults resolved without and with I/O; only the thread itself (mm/).
    uint64_t minor_faults;
    uint64_t major_faults;
    uint64_t user_ns; // time in user mode (tick accounted), own CPU only
    uint64_t system_ns;
    uint64_t timer_slack_ns; // how much later its sleeps may end, fair class only; own
    // The last exception that became a signal, as signal frames show it: vector, error code,
    // address. Own.
    uint64_t trap_vector, trap_error_code, trap_address;
#ifdef LODGER_DEBUG
    // Sleeping locks held, for the order checker; only the thread itself.
    struct lock_held held[THREAD_LOCKS_MAX];
    uint32_t held_count;
#endif
    // Numbers of its process and task, 0 for kernel threads: for those who know no tasks (perf/).
    // Written by process/ under task_list_lock, read at any time.
    uint32_t pid, tid;
    // Where its memory comes from (mm/policy.h), NULL: from near; and the node that interleaving
    // came to last. Only the thread itself, but for a parent before the thread runs.
    struct memory_policy *memory_policy;
    uint32_t interleaved_node;
    // Events of perf_event_open(2) that count for it; NULL: none. perf/event/context.c
    struct perf_context *perf_context;
    char name[THREAD_NAME_BYTES];
};

#define THREAD_FLAG_KERNEL BIT(0) // a kernel thread
#define THREAD_FLAG_IDLE   BIT(1) // a CPU's idle thread

PERCPU_DECLARE(struct thread *, current_thread);

// The running thread; never NULL. Any context (in an interrupt: the interrupted thread).
static inline struct thread *thread_current(void)
{
    return this_cpu(current_thread);
}

// Is a signal waiting for the running thread, so that an interruptible sleep must end?
static inline bool thread_signal_pending(const struct thread *thread)
{
    return __atomic_load_n(&thread->work, __ATOMIC_RELAXED) & THREAD_WORK_SIGNAL;
}

static inline bool thread_kill_pending(const struct thread *thread)
{
    return __atomic_load_n(&thread->work, __ATOMIC_RELAXED) & THREAD_WORK_KILL;
}

// Sets bits of thread->work. Does not interrupt the CPU it runs on: see sched_kick().
static inline void thread_work_set(struct thread *thread, uint32_t bits)
{
    __atomic_fetch_or(&thread->work, bits, __ATOMIC_SEQ_CST);
}

static inline void thread_work_clear(struct thread *thread, uint32_t bits)
{
    __atomic_fetch_and(&thread->work, ~bits, __ATOMIC_SEQ_CST);
}

// First half of going to sleep: publishes the state with a full fence. Look at the condition after
// it.
static inline void thread_prepare_sleep(enum thread_state state)
{
    __atomic_store_n(&thread_current()->state, state, __ATOMIC_SEQ_CST);
}

// Takes a prepared sleep back because the condition was true already.
static inline void thread_cancel_sleep(void)
{
    __atomic_store_n(&thread_current()->state, THREAD_RUNNING, __ATOMIC_RELAXED);
}
