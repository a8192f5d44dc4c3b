// SPDX-License-Identifier: MIT
// The hypervisor interface: what a guest kernel asks of the machine below it.
//
// A backend (native, kvm, xen) is a const struct pv_backend: how it recognises its hypervisor, what
// it does in any case, and a list of features, each with the operations that it does better. At
// start-up the operations of native, then those of the backend that recognised its hypervisor, then
// those of each of its features that is offered and wanted are copied, operation by operation, into
// pv_ops. Then pv_ops is read-only and every call site becomes a direct call (kernel/arch/x86/
// call_site.h). Who is below (identity) and what it offers (features) are separate questions: a
// missing feature never makes a hypervisor unknown, it leaves the operation as it was.
//
// Who adds a backend: a folder pv/NAME with PV_BACKEND(NAME) = {...} and an entry in
// //kernel:folders. Nobody else has to know of it. Order of events on the boot CPU:
//   pv_start()            native operations, before anything else
//   pv_init()             identity, backend, its start(), features' start(); patching. Interrupts
//                         off, one CPU, no memory allocator, image writable, boot page tables;
//                         option values are known, MSRs that do not exist can be tried
//                         (msr_write_safe)
//   pv_init_late()        after memory management, scheduler and interrupt vectors, interrupts
//                         still off: backend's init_late(), then cpu_online(0)
//   cpu_online(n)         by each other CPU itself
#pragma once

#include "kernel/arch/x86/call_site.h"
#include "kernel/base/types.h"
#include "kernel/core/counter.h"
#include "kernel/core/cpumask.h"
#include "kernel/core/option.h"
#include "kernel/core/trace_points.h"
#include "pv/identity.h"

struct trap_frame;

enum pv_shutdown { PV_POWER_OFF, PV_REBOOT, PV_CRASH, PV_EXIT_CODE };

// How programs read the monotonic clock without the kernel (the vDSO).
enum pv_user_clock_kind : uint32_t {
    PV_USER_CLOCK_NONE,    // by system call
    PV_USER_CLOCK_TSC,     // base_ns + ((TSC - base_tsc) * mult >> 32)
    PV_USER_CLOCK_PVCLOCK, // what `page` says, minus base_ns; only while the page says TSC_STABLE
};
struct pv_user_clock {
    enum pv_user_clock_kind kind;
    uint64_t base_tsc, base_ns, mult;
};

// How a CPU that is started by cpu_start() begins: in 64-bit mode, with these registers, interrupts
// off, at `entry`, which finds by CPUID who it is. What the INIT and start-up interrupts of the
// native way lead to.
struct pv_cpu_start {
    uint32_t cpu, apic_id;
    uint64_t entry; // virtual address under cr3
    uint64_t cr0, cr3, cr4, efer;
};

// Every operation is filled in by native, but for those that say what NULL means. The first twelve
// are on hot paths and called through the macros below; the others directly, pv_ops.x(...).
struct pv_ops {
    // ---- time ----
    // Monotonic raw clock in ns; any context, NMI included; never goes back.
    uint64_t (*clock_ns)(void);
    // Arms this CPU's one-shot timer for the absolute time of clock_ns(); UINT64_MAX stops it. When
    // the time is over already it fires as soon as interrupts are on. May fire early. Interrupts
    // off.
    void (*timer_arm)(uint64_t deadline_ns);
    // Nanoseconds in which the running CPU had something to do and did not get a processor, since
    // some moment; only grows. Preemption off.
    uint64_t (*steal_ns)(void);

    // ---- other CPUs ----
    // Raises `vector` on all CPUs of the mask (not the own). Preemption off. What was written
    // before is visible to the handler.
    void (*send_ipi)(const struct cpumask *mask, uint32_t vector);
    // Makes mm_flush_local(start, end) happen on each CPU of the mask, or more than that, before it
    // can use an entry again (end == UINT64_MAX: everything of the loaded space). Returns when no
    // CPU of the mask can use an old entry any more. Interrupts on, preemption off.
    void (*flush_tlb_others)(const struct cpumask *mask, uintptr_t start, uintptr_t end);
    // The interrupt that is being handled is done. Interrupts off.
    void (*end_of_interrupt)(void);
    // Is the vCPU not running at the moment, though it has something to do (a hint)? Any context.
    bool (*vcpu_is_preempted)(uint32_t cpu);
    // Gives the processor to another vCPU on which the caller waits (a hint). Any context but NMI.
    void (*yield_to)(uint32_t cpu);

    // ---- waiting ----
    // Idle: waits for an interrupt; entered with interrupts off, returns with them on.
    void (*idle)(void);
    // Waits until kicked while *word == value, which it looks at again after a kick can reach it
    // (kernel/core/spinlock.c I3); may return early at any time. Preemption off, interrupts on or
    // off.
    void (*lock_wait)(uint32_t *word, uint32_t value);
    // Ends a lock_wait() of that CPU, also one that is about to begin.
    void (*lock_kick)(uint32_t cpu);
    // A page fault was raised: is it the hypervisor's message that a page of the guest is being
    // brought in? True: dealt with, the access can be repeated. Interrupts off. Asked only while
    // pv_faults_asked (set by whoever fills this in, in its start()).
    bool (*page_fault)(struct trap_frame *frame, uintptr_t address);

    // ---- rare ----
    // How programs read the clock. Under the lock of core/time.c.
    void (*user_clock)(struct pv_user_clock *clock);
    // Physical address of the page with struct vcpu_time_info at its start that programs may see,
    // or 0: for PV_USER_CLOCK_PVCLOCK. Fixed after pv_init_late(). NULL: none.
    uint64_t (*user_clock_page)(void);
    // Measures the clock's rate again, the clock stays continuous. False: exact, no need to come
    // again. One caller at a time.
    bool (*clock_refine)(void);
    // Nanoseconds since 1970 at the moment that *at_ns of clock_ns() was; negative: not known, ask
    // the machine's real-time clock. NULL: likewise.
    int64_t (*wall_clock_ns)(uint64_t *at_ns);
    // Starts another CPU. 0, or an error: then INIT and start-up interrupts are tried. NULL: those.
    int (*cpu_start)(const struct pv_cpu_start *start);
    // Per-CPU registration of shared pages; called on the CPU itself with interrupts off, before
    // it takes part in anything, also after hot-plug; and the undoing, after which the hypervisor
    // writes to nothing of this CPU: before it goes off-line, the machine is reset or powered off.
    void (*cpu_online)(uint32_t cpu);
    void (*cpu_offline)(uint32_t cpu);
    // The same for a CPU that is stopped in a panic: any context, NMI included, takes no lock and
    // tells nobody. NULL: nothing to do.
    void (*cpu_forget)(void);
    void (*shutdown)(enum pv_shutdown reason, uint32_t code) __attribute__((noreturn));
};

// ---- backends -----------------------------------------------------------------------------------

// Something that a hypervisor may offer or not, with its boot option. In the order of the table,
// which is the order of start and of copying.
struct pv_feature {
    const char *name;   // in /proc/lodger/pv
    const bool *wanted; // the boot option's variable
    // If it is offered, sets it up on the boot CPU as far as pv_init() can (see above) and returns
    // NULL. Else says why not: a few words for people. Not called unless wanted.
    const char *(*start)(void);
    // What it fills in when it is on.
    struct pv_ops ops;
};

struct pv_backend {
    const char *name;
    // Recognises its hypervisor. Reads CPUID through `identity` only. NULL: native, which is under
    // all.
    bool (*detect)(const struct pv_identity *identity);
    // When several recognise theirs (one emulates another): the highest.
    uint32_t rank;
    // First thing after detection. NULL, or why the backend can't be used: then native drives the
    // machine. NULL pointer: nothing to do.
    const char *(*start)(const struct pv_identity *identity);
    // What it does in any case.
    struct pv_ops ops;
    const struct pv_feature *features;
    uint32_t feature_count; // at most PV_FEATURES_MAX
    // From pv_init_late(). NULL: nothing to do.
    void (*init_late)(void);
};
#define PV_FEATURES_MAX 24

// A backend's definition: PV_BACKEND(kvm) = {.name = "kvm", ...};
#ifdef LODGER_HOST
// A test names the one that it looks at.
#define PV_BACKEND(ident)                                                                          \
    extern const struct pv_backend pv_backend_##ident;                                             \
    const struct pv_backend pv_backend_##ident
#else
#define PV_BACKEND(ident)                                                                          \
    static const struct pv_backend pv_backend_##ident;                                             \
    [[gnu::used,                                                                                   \
        gnu::section(                                                                              \
            ".pv_backends")]] static const struct pv_backend *const pv_backend_entry_##ident =     \
        &pv_backend_##ident;                                                                       \
    static const struct pv_backend pv_backend_##ident
#endif

// What a backend's hypervisor offers beyond the processor (consoles, disks): drivers that lie above
// the backend and depend on more of the kernel than it may. `start` is called once, in task
// context, if that backend drives the machine.
struct pv_front_end {
    const char *backend;
    void (*start)(void);
};
//   PV_FRONT_END(xen) = {.backend = "xen", .start = start};
#define PV_FRONT_END(ident)                                                                        \
    static const struct pv_front_end pv_front_end_##ident;                                         \
    [[gnu::used, gnu::section(".pv_front_ends")]] static const struct pv_front_end                 \
        *const pv_front_end_entry_##ident = &pv_front_end_##ident;                                 \
    static const struct pv_front_end pv_front_end_##ident

// A feature's boot option: on unless said otherwise.
//   PV_FEATURE_OPTION(kvm_eoi, "kvm_eoi", "Do without..."); ... {.wanted = &kvm_eoi, ...}
#define PV_FEATURE_OPTION(variable, option_name, documentation)                                    \
    static bool variable = true;                                                                   \
    BOOT_OPTION_BOOL(variable, option_name, documentation)

// Is the feature (an element of the winner's or native's table) on? After pv_init().
bool pv_feature_is_on(const struct pv_feature *feature);
// Switches off a feature without operations of its own that fails later than in start(); `why` for
// people. Boot CPU, before pv_init_late() ends.
void pv_feature_fail(const struct pv_feature *feature, const char *why);

// ---- use ----------------------------------------------------------------------------------------

extern struct pv_ops pv_ops; // read-only after pv_init()
extern bool pv_faults_asked; // page_fault() is to be asked; read-only after pv_init()
extern bool pv_has_steal;    // steal_ns() says something; read-only after pv_init()
// How long an idle CPU had better poll at most before it halts; read-only after pv_init()
extern uint64_t pv_idle_poll_ns;
// Written to before pv_init() is over, then read-only.
#define PV_READ_ONLY_AFTER_INIT [[gnu::section(".read_only_after_init")]]

// What native does to end the machine: for backends that do something before.
[[noreturn]] void pv_native_shutdown(enum pv_shutdown reason, uint32_t code);
// First thing at boot: the native operations, so that a panic can end the machine.
void pv_start(void);
void pv_init(void);      // after option_parse()
void pv_init_late(void); // after arch_init()
void pv_start_front_ends(
    void); // once devices can be registered, before the terminals; task context
// What is in use and why, as lines of text (/proc/lodger/pv). Task context.
void pv_describe(void (*line)(void *context, const char *text), void *context);

// What happened; the operation's implementation counts, native too.
COUNTER_DECLARE(pv, ipis);                  // requests to interrupt other CPUs
COUNTER_DECLARE(pv, ipi_targets);           // CPUs interrupted by them
COUNTER_DECLARE(pv, flush_requests);        // TLB flushes of other CPUs
COUNTER_DECLARE(pv, flush_targets);         // CPUs interrupted for them
COUNTER_DECLARE(pv, flush_targets_skipped); // CPUs that were not: flushed when they run again
COUNTER_DECLARE(pv, hypercalls);
COUNTER_DECLARE(pv, timer_arms);
COUNTER_DECLARE(pv, timer_arms_suppressed); // an earlier deadline was armed already
COUNTER_DECLARE(pv, eois);
COUNTER_DECLARE(pv, eois_without_exit);
COUNTER_DECLARE(pv, lock_waits);
COUNTER_DECLARE(pv, lock_kicks);
COUNTER_DECLARE(pv, yields);
COUNTER_DECLARE(pv, async_faults); // page faults that were the hypervisor's messages

#ifdef LODGER_HOST
#define pv_clock_ns()                pv_ops.clock_ns()
#define pv_timer_arm(deadline)       pv_ops.timer_arm(deadline)
#define pv_steal_ns()                pv_ops.steal_ns()
#define pv_send_ipi(mask, vector)    pv_ops.send_ipi((mask), (vector))
#define pv_flush_tlb_others(m, s, e) pv_ops.flush_tlb_others((m), (s), (e))
#define pv_end_of_interrupt()        pv_ops.end_of_interrupt()
#define pv_vcpu_is_preempted(cpu)    pv_ops.vcpu_is_preempted(cpu)
#define pv_yield_to(cpu)             pv_ops.yield_to(cpu)
#define pv_idle()                    pv_ops.idle()
#define pv_lock_wait(word, value)    pv_ops.lock_wait((word), (value))
#define pv_lock_kick(cpu)            pv_ops.lock_kick(cpu)
#define pv_page_fault(frame, at)     pv_ops.page_fault((frame), (at))
#else
static inline uint64_t pv_clock_ns(void)
{
    return arch_call_table_plain(&pv_ops.clock_ns);
}

static inline void pv_timer_arm(uint64_t deadline_ns)
{
    trace(pv_timer_arm, .deadline_ns = deadline_ns);
    (void)arch_call_table(&pv_ops.timer_arm, deadline_ns, 0, 0);
}

static inline uint64_t pv_steal_ns(void)
{
    return arch_call_table_plain(&pv_ops.steal_ns);
}

static inline void pv_send_ipi(const struct cpumask *mask, uint32_t vector)
{
    trace(pv_send_ipi, .vector = vector, .first_cpu = cpumask_next(mask, 0));
    (void)arch_call_table(&pv_ops.send_ipi, (uintptr_t)mask, vector, 0);
}

static inline void pv_flush_tlb_others(const struct cpumask *mask, uintptr_t start, uintptr_t end)
{
    trace(pv_flush_tlb_others, .start = start, .end = end);
    (void)arch_call_table(&pv_ops.flush_tlb_others, (uintptr_t)mask, start, end);
}

static inline void pv_end_of_interrupt(void)
{
    (void)arch_call_table_plain(&pv_ops.end_of_interrupt);
}

// A function's bool fills only AL.
static inline bool pv_vcpu_is_preempted(uint32_t cpu)
{
    return (uint8_t)arch_call_table(&pv_ops.vcpu_is_preempted, cpu, 0, 0) != 0;
}

static inline void pv_yield_to(uint32_t cpu)
{
    (void)arch_call_table(&pv_ops.yield_to, cpu, 0, 0);
}

static inline void pv_idle(void)
{
    (void)arch_call_table_plain(&pv_ops.idle);
}

static inline void pv_lock_wait(uint32_t *word, uint32_t value)
{
    trace(pv_lock_wait, .word = (uintptr_t)word, .value = value);
    (void)arch_call_table(&pv_ops.lock_wait, (uintptr_t)word, value, 0);
}

static inline void pv_lock_kick(uint32_t cpu)
{
    trace(pv_lock_kick, .cpu = cpu);
    (void)arch_call_table(&pv_ops.lock_kick, cpu, 0, 0);
}

static inline bool pv_page_fault(struct trap_frame *frame, uintptr_t address)
{
    return (uint8_t)arch_call_table(&pv_ops.page_fault, (uintptr_t)frame, address, 0) != 0;
}
#endif

[[noreturn]] static inline void pv_shutdown(enum pv_shutdown reason, uint32_t code)
{
    pv_ops.shutdown(reason, code);
}
