// SPDX-License-Identifier: MIT
// Calls from lower layers to higher ones: the whole list.
//
// core and arch stand below the scheduler, memory management and processes, but have to reach them:
// a lock sleeps, the processor faults, a program makes a system call. These few functions are
// declared here and defined above; they are bound at link time, so the compiler can inline them
// under LTO and the list can't grow unseen (docs/decisions/upcalls.md).
#pragma once

#include "kernel/base/types.h"

struct thread;
struct trap_frame;
struct address_space;

// ---- defined in sched/ -------------------------------------------------------------------------
// Gives the CPU away until the running thread, whose state the caller has published with
// thread_prepare_sleep(), is woken. deadline_ns: absolute monotonic time or UINT64_MAX. Returns 0
// when woken (or the state had been set back already), -EINTR without sleeping on when the state is
// interruptible and a signal is pending (killable: a fatal one), -ETIMEDOUT at the deadline. The
// state is THREAD_RUNNING afterwards. Task context, interrupts on, no spin lock held.
int sched_block(uint64_t deadline_ns);
// Makes the thread runnable if its state is one of `states`. Returns whether it did. Any context
// but NMI. Full fence before the state is read.
bool sched_wake(struct thread *thread, uint32_t states);
bool sched_wake_sync(struct thread *thread, uint32_t states); // the caller is about to sleep
// Around wake-ups under a lock: the interrupts that they need are sent at the end, several CPUs by
// one request, when the caller has let the lock go. A woken vCPU that has to share its processor
// with the waker's would run at once, and then want the lock. Preemption is off in between; any
// context but NMI; nests.
void sched_wake_begin(void);
void sched_wake_end(void);
// Lets another thread run, state unchanged (sched_yield).
#ifndef LODGER_HOST // where the C library has another function of that name
void sched_yield(void);
#endif
// Makes the CPU that runs `thread` notice new bits in thread->work soon (an IPI if it is in user
// mode elsewhere).
void sched_kick(struct thread *thread);
// Is the thread on a CPU right now (hint for adaptive spinning)?
bool sched_is_running(const struct thread *thread);
// The timer tick of this CPU and the reschedule IPI; interrupt context.
void sched_tick(bool was_user);
void sched_interrupt_exit(
    bool to_user, bool interrupts_were_on); // last thing of each interrupt: preempts kernel code
// Called on the new thread's stack just after a context switch, before anything else runs there.
void sched_switch_finish(struct thread *previous);
// The idle loop of a CPU; entered once per CPU at the end of its start-up.
[[noreturn]] void sched_idle_loop(void);

// ---- defined in mm/ ----------------------------------------------------------------------------
// Resolves a page fault at `address`. `error_code` as the processor gives it. Interrupts on when
// they were on in the faulting context. Returns 0 when the access can be repeated, else -EFAULT (no
// mapping, SEGV_MAPERR), -EACCES (SEGV_ACCERR), -EIO or -ENXIO (SIGBUS, BUS_ADRERR), -ENOMEM
// (killed for want of memory), -EINTR (fatal signal).
int mm_page_fault(uintptr_t address, uint64_t error_code, struct trap_frame *frame);

// Memory of the processor code: zeroed, aligned to 64 bytes, or NULL. Task context, may sleep.
// Defined in kernel/memory_upcall.c.
void *arch_memory_alloc(size_t len_bytes);
void arch_memory_free(void *memory); // NULL is fine
// The idle thread of another CPU, with its stack, known to the scheduler; NULL: no memory. Its
// per-CPU area exists. Defined there too.
struct thread *boot_idle_thread(uint32_t cpu);

// ---- defined in kernel/process/ ----------------------------------------------------------------
// A processor exception in user mode that is not a resolved page fault: becomes a signal.
// `signal`, `code`: SI codes of asm/siginfo; `address`: si_addr.
void process_user_trap(struct trap_frame *frame, int signal, int code, uintptr_t address);
// On the way back to user mode with bits set in thread->work other than RESCHEDULE: delivers
// signals, stops, exits. Interrupts on. `frame` is the user's register frame; for a system call
// frame->syscall_number says which (else UINT64_MAX).
void process_user_return(struct trap_frame *frame);
// First thing that a new task does on its own stack; returns to user mode through frame.
void process_thread_start(struct trap_frame *frame);

// ---- defined in kernel/syscall/ ----------------------------------------------------------------
// The table that syscall_entry.S calls through, NR_SYSCALLS entries; absent numbers point to
// syscall_unimplemented.
typedef int64_t syscall_function(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);
#define SYSCALL_TABLE_SIZE 512
extern syscall_function *const syscall_table[SYSCALL_TABLE_SIZE];
int64_t syscall_unimplemented(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);
