// SPDX-License-Identifier: MIT
// Performance counters of the processor: which there are, which event has which, what was counted.
//
// Plain C without hardware: registers are reached through struct pmu_access, which is the processor
// in the kernel and a model in tests. What a vendor does in its own way is a const table of
// functions (backend.h). Time is given by the caller.
//
// A counter has one number in all of this folder: its bit in Intel's IA32_PERF_GLOBAL_CTRL. General
// counters begin at 0, fixed ones at PMU_FIXED_FIRST.
//
// An event belongs to a group, whose events have counters all together or not at all. A CPU's
// groups are on its list; where there are fewer counters than events want, groups take turns
// (pmu_cpu_rotate), and each event knows for how long it had a counter.
//
//   C1  What a CPU's events count and which counters they have is changed by that CPU alone, with
//       interrupts off, and only while it is paused: `paused` is not 0, then all counters are off.
//       Or by pmu_cpu_interrupt() while `paused` is 0. So there are never two writers: an NMI that
//       finds the CPU paused leaves a note (`missed`), and pmu_cpu_resume() sends another.
//   C2  Who reads without a pause reads again when `handled` has changed meanwhile.
//   C3  Periods never get lost: `left` goes on from where it is when an event loses its counter,
//       also when it is negative. At any time, with s periods told to on_overflow():
//           s * period <= count, and if the event has just been handled, count < (s + 1) * period
//       while the period does not change.
//   C4  A counter in use has its overflow interrupt on, and was last loaded with a negative number.
#pragma once

#include "kernel/base/list.h"
#include "kernel/base/types.h"

#define PMU_FIXED_FIRST  32
#define PMU_COUNTERS_MAX 48

struct pmu;
struct pmu_cpu;
struct pmu_event;

// How the running CPU's registers are reached.
struct pmu_access {
    void (*cpuid)(uint32_t leaf, uint32_t subleaf, uint32_t result[4]); // EAX, EBX, ECX, EDX
    uint64_t (*read)(uint32_t msr);
    void (*write)(uint32_t msr, uint64_t value);
    // The same for registers that may not exist. False: they do not.
    bool (*try_read)(uint32_t msr, uint64_t *value);
    bool (*try_write)(uint32_t msr, uint64_t value);
    // The local APIC delivers the counters' interrupt as NMI from now on. It masks itself with each
    // delivery (Intel SDM 3A, 11.5.1).
    void (*unmask)(void);
    // Sends the running CPU an NMI that does not come from a counter.
    void (*raise)(void);
};

// What to count: a backend's way to say it.
struct pmu_selector {
    uint64_t bits;     // of the select register: event, unit mask and what refines them
    uint64_t counters; // those that can count it, by number
};

// What the processor has. Fixed after pmu_detect().
struct pmu {
    const struct pmu_backend *backend;
    const struct pmu_access *access;
    uint32_t version;  // Intel: of architectural performance monitoring; AMD: 1, or 2: PerfMonV2
    uint64_t counters; // by number
    uint32_t width_bits, fixed_width_bits;
    uint64_t period_max; // a counter can be loaded with minus that
    // Intel: architectural events that the processor does not have (CPUID 0AH EBX).
    uint32_t absent_events;
    bool full_width; // Intel: general counters are loaded in full width by other registers
    bool freezes;    // Intel: counters stop by themselves when one has overflowed
    // AMD: distance of the registers of neighbouring counters, and the first.
    uint32_t select_base, counter_base, register_stride;
    uint32_t family; // AMD
};

struct pmu_group {
    struct list_node node;    // pmu_cpu.groups; C1
    struct list_node members; // pmu_event.member; C1
    bool pinned;              // comes before those that are not
};

// What the giving out of counters knows of an event.
struct pmu_want {
    uint64_t counters; // any of these; fixed
    int8_t has;        // one of them, or -1; C1
    int8_t planned;    // C1
};

struct pmu_event {
    struct pmu_want want;
    uint64_t select;         // fixed: pmu_selector.bits
    bool in_user, in_kernel; // fixed: where it counts
    uint64_t period;         // events to an overflow that is told; 0: none. C1

    struct list_node member; // C1
    uint64_t count;          // until `previous`; C1, read by C2
    uint64_t previous;       // what the counter then showed, in 64 bits; C1, read by C2
    int64_t left;            // from `previous` to the next overflow that is told; C1
    bool held;               // pmu_event_hold(); C1
    uint64_t running_ns;     // with a counter, until running_since_ns; C1
    uint64_t running_since_ns;
};

struct pmu_cpu {
    const struct pmu *pmu;
    struct list_node groups; // pmu_group.node; C1
    // Who has which counter, and the counters in use; C1
    struct pmu_event *assigned[PMU_COUNTERS_MAX];
    uint64_t in_use;
    uint32_t paused;  // depth; own CPU, read by its NMIs
    bool missed;      // an NMI came while paused; own CPU
    bool raised;      // an NMI was sent that has not been seen; own CPU
    bool crowded;     // some group has no counters; C1
    uint32_t handled; // added to whenever the above has changed; own CPU
    // NMIs that may still come although what raised them was dealt with already, until when; C1
    uint32_t late;
    uint64_t late_until_ns;
    // An event has overflowed `periods` times, usually once. In NMI; `context` is the caller's.
    void (*on_overflow)(
        struct pmu_cpu *cpu, struct pmu_event *event, uint64_t periods, void *context);
    uint64_t interrupts, late_interrupts; // how many there were; C1
};

// Fills in *pmu. False: there is none that this code knows, or what CPUID says makes no sense. Boot
// CPU, once.
[[nodiscard]] bool pmu_detect(struct pmu *pmu, const struct pmu_access *access);

const char *pmu_name(const struct pmu *pmu); // the vendor's

// What attr->type, config mean here (linux/perf_event.h: HARDWARE, HW_CACHE, RAW). 0, -ENOENT: this
// processor has no such event, -EINVAL: bits that it must not have.
[[nodiscard]] int pmu_find(
    const struct pmu *pmu, uint32_t type, uint64_t config, struct pmu_selector *selector);

// ---- one CPU: on it, interrupts off -------------------------------------------------------------

// All counters off and empty. False: a register that CPUID promises does not exist; this CPU has no
// counters then and nothing below may be called for it.
[[nodiscard]] bool pmu_cpu_init(struct pmu_cpu *cpu, const struct pmu *pmu);
// The CPU goes off, and comes back with empty registers: paused in between. False: as above.
void pmu_cpu_leave(struct pmu_cpu *cpu, uint64_t now_ns);
[[nodiscard]] bool pmu_cpu_return(struct pmu_cpu *cpu, uint64_t now_ns);
// Stops all counters and lets them go on. May be nested.
void pmu_cpu_pause(struct pmu_cpu *cpu);
void pmu_cpu_resume(struct pmu_cpu *cpu);

void pmu_group_init(struct pmu_group *group, bool pinned);
void pmu_event_init(struct pmu_event *event, const struct pmu_selector *selector, uint64_t period);
// A copy of another one begins anew.
void pmu_event_inherit(struct pmu_event *event);
// Could events that want these counters have them all at once? Any context.
[[nodiscard]] bool pmu_group_fits(const uint64_t *counters, size_t count);

// Puts an event into its group, and the group onto the CPU's list; takes it away and keeps what it
// counted. Paused. Counters change hands at the next pmu_cpu_schedule().
void pmu_event_add(struct pmu_cpu *cpu, struct pmu_group *group, struct pmu_event *event);
void pmu_event_remove(
    struct pmu_cpu *cpu, struct pmu_group *group, struct pmu_event *event, uint64_t now_ns);
// Gives counters to groups in the order of the list. Paused.
void pmu_cpu_schedule(struct pmu_cpu *cpu, uint64_t now_ns);
// The first group that is not pinned goes to the end, and pmu_cpu_schedule(). Paused.
void pmu_cpu_rotate(struct pmu_cpu *cpu, uint64_t now_ns);
// Another period from the next overflow on; at once if that is farther away. Paused, in
// on_overflow(), or while no CPU has the event.
void pmu_event_set_period(struct pmu_cpu *cpu, struct pmu_event *event, uint64_t period);

// It counts on, but no overflow is told until it is released: then a period begins. In
// on_overflow(); paused.
void pmu_event_hold(struct pmu_event *event);
void pmu_event_release(struct pmu_cpu *cpu, struct pmu_event *event);

// What the event has counted up to now, and how long it had a counter. Interrupts off, the event is
// this CPU's, or no CPU's at all.
uint64_t pmu_event_count(const struct pmu_cpu *cpu, const struct pmu_event *event);
uint64_t pmu_event_running_ns(const struct pmu_event *event, uint64_t now_ns);
// RDPMC's operand for a counter.
uint32_t pmu_rdpmc_index(const struct pmu *pmu, int counter);
uint32_t pmu_counter_width(const struct pmu *pmu, int counter);

// An NMI. False: it has nothing to do with counters.
[[nodiscard]] bool pmu_cpu_interrupt(struct pmu_cpu *cpu, uint64_t now_ns, void *context);
// Has a counter overflowed without an interrupt having come? Then one is sent. From a timer: what
// has gone wrong once is not wrong for ever.
void pmu_cpu_watch(struct pmu_cpu *cpu);
