// SPDX-License-Identifier: MIT
// The contract between this kernel and a collector on the host: what lies where in guest memory.
//
// The collector maps (or reads) the guest's memory. Nothing here needs an exit, an interrupt or a
// device. Everything is little-endian and naturally aligned; "u64 physical" is an address in the
// guest's physical memory. Who writes a field is said at each: a field has one writer.
//
// TRUST. Neither side believes the other. The guest reads what the host wrote once, checks it, and
// at worst drops records. The host copies what it checks, never follows an offset or size that it
// has not compared with the ring's size, and bounds every loop by the ring's size.
//
// FINDING IT. The kernel's ELF has the object `perf_export_descriptor` (struct
// perf_export_descriptor, page-aligned). Physical address: symbol value -
// PERF_EXPORT_IMAGE_BASE + slide, where slide is 0 or, where a boot loader moved the image, a
// multiple of 2 MiB; magic and build_id tell whether it is right. Virtual addresses are never
// moved. Without the ELF: any 4 KiB page that starts with the magic and whose `self_physical` is
// its own address.
//
// ADDRESSES. Two ranges of kernel virtual addresses can be turned into physical ones:
// [PERF_EXPORT_IMAGE_BASE, ...) - PERF_EXPORT_IMAGE_BASE + image_physical, and the direct map,
// [PERF_EXPORT_DIRECT_MAP, ...) - PERF_EXPORT_DIRECT_MAP: perf_export_to_physical().
//
// STARTING. The host fills in `request` (events, rate, depths, ring sizes, lease), then adds 1 to
// request.generation (release; last). A CPU of the guest notices at its next timer interrupt or
// sample, or at an NMI (QMP `inject-nmi`, `xl trigger DOMAIN nmi`), which is the way to wake an
// idle guest: it copies the request, checks it, allocates rings (a task does: some ms), writes
// `status`, and stores status.generation = request.generation (release; last). status.error is 0
// or a Linux errno; status.state says what goes on. mode 0 stops; rings stay where they are until
// the machine ends, so that a collector may read the rest.
// Who reads a request that another collector wrote must not write: one collector at a time holds
// the request words (`owner` is for collectors among themselves, the guest does not look at it).
//
// LEASE. A collector that dies must not leave the guest sampling. While request.mode is COLLECT the
// host changes request.heartbeat at least once in lease_ms; when it has not changed for that long,
// the guest stops sampling (state LEASE_OVER) and starts again at the next generation.
//
// FLIGHT RECORDER. With the boot option perf_flight=HZ, or with mode FLIGHT, rings are overwritten
// and nobody has to read: the last events before a moment. RING says how to read that.
//
// RUNDOWN. request.rundown != status.rundown asks for records (COMM, MMAP) of all tasks that live,
// flagged PERF_EXPORT_FLAG_RUNDOWN. They are written to side-band rings of whichever CPUs do it,
// between ordinary records; then status.rundown = request.rundown (release). Where the ring was
// full for a second the rundown is given up: status.rundown_lost counts tasks left out. Ask when
// attaching, after the ring reader runs.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define PERF_EXPORT_MAGIC          UINT64_C(0x31465245504c444c) // "LDLPERF1" as bytes
#define PERF_EXPORT_VERSION        1
#define PERF_EXPORT_IMAGE_BASE     UINT64_C(0xffffffff80000000)
#define PERF_EXPORT_DIRECT_MAP     UINT64_C(0xffff800000000000)
#define PERF_EXPORT_DIRECT_MAP_END UINT64_C(0xffffc00000000000)

#define PERF_EXPORT_EVENTS       16 // entries of the event table
#define PERF_EXPORT_CPUS         256
#define PERF_EXPORT_FRAMES_MAX   127   // frames of one stack in one record
#define PERF_EXPORT_RATE_HZ_MAX  10000 // samples a second and CPU; more is made this
#define PERF_EXPORT_RING_MIN     4096  // bytes of data
#define PERF_EXPORT_RING_MAX     (16u << 20)
#define PERF_EXPORT_LEASE_MS_MAX 60000
// No record is longer, and no record is split at the ring's end: PAD fills what is left there.
#define PERF_EXPORT_RECORD_MAX 2048

// ---- event table --------------------------------------------------------------------------------

// `type` and `config` are those of struct perf_event_attr, and with them what an event means:
//   PERF_TYPE_SOFTWARE   CPU_CLOCK, TASK_CLOCK (the sampling timer); PAGE_FAULTS,
//                        CONTEXT_SWITCHES, CPU_MIGRATIONS (counted, see struct perf_export_cpu)
//   PERF_TYPE_HARDWARE, PERF_TYPE_RAW   where there is a PMU, else status -ENOENT
//   PERF_TYPE_TRACEPOINT config: number of the tracepoint (see TRACEPOINTS)
// and of this project's own:
//   PERF_EXPORT_TYPE_PROBE  config: virtual address of a kernel function; extra bit 0: at its
//                        return
#define PERF_EXPORT_TYPE_PROBE 0x4c44

#define PERF_EXPORT_EVENT_FREQ       (1u << 0) // `period` is samples a second
#define PERF_EXPORT_EVENT_CALLCHAIN  (1u << 1) // frames with each record
#define PERF_EXPORT_EVENT_NO_USER    (1u << 2) // not in user mode
#define PERF_EXPORT_EVENT_NO_KERNEL  (1u << 3) // not in kernel mode
#define PERF_EXPORT_EVENT_COUNT_ONLY (1u << 4) // no samples
#define PERF_EXPORT_EVENT_NO_IDLE    (1u << 5) // no samples of idle CPUs: they are not woken

struct perf_export_event { // host writes
    uint32_t type;         // 0xffffffff: this entry is not used
    uint32_t flags;        // PERF_EXPORT_EVENT_*
    uint64_t config;
    uint64_t period; // per sample; a frequency with FREQ; 0 with COUNT_ONLY
    uint64_t extra;
};
#define PERF_EXPORT_EVENT_UNUSED 0xffffffffu

// What became of an event, guest writes.
enum perf_export_source : uint32_t {
    PERF_EXPORT_SOURCE_NONE,
    PERF_EXPORT_SOURCE_TIMER, // timer interrupt: code with interrupts off is not seen, its end is
    PERF_EXPORT_SOURCE_NMI,   // timer that raises NMIs (tests)
    PERF_EXPORT_SOURCE_PMU,   // counter overflow, NMI
    PERF_EXPORT_SOURCE_SOFT,  // counted or recorded by the kernel itself
};
struct perf_export_event_status {
    int32_t error; // 0, or a negative Linux errno: this event is off, the others are not
    uint32_t source;
    uint64_t period;    // what one sample stands for: ns for clocks, events else; may be adapted
    uint64_t frequency; // samples a second that it amounts to, 0: not by time
};

// ---- descriptor ---------------------------------------------------------------------------------

enum perf_export_mode : uint32_t {
    PERF_EXPORT_MODE_OFF = 0,
    PERF_EXPORT_MODE_COLLECT = 1, // rings stop when full; the reader moves `tail`
    PERF_EXPORT_MODE_FLIGHT = 2,  // rings are overwritten
};
enum perf_export_state : uint32_t {
    PERF_EXPORT_STATE_OFF = 0,
    PERF_EXPORT_STATE_COLLECT = 1,
    PERF_EXPORT_STATE_FLIGHT = 2,
    PERF_EXPORT_STATE_LEASE_OVER = 3, // stopped: the collector's heartbeat stopped
    PERF_EXPORT_STATE_FAILED = 4,     // stopped: status.error says why
};

// What side-band records are wanted beside COMM, MMAP, FORK, EXIT, which always come.
#define PERF_EXPORT_SIDE_SWITCH (1u << 0)

// Written by the host alone; the guest copies it when generation has changed.
struct perf_export_request {
    uint32_t generation; // added to last, with release
    uint32_t mode;       // enum perf_export_mode
    uint32_t heartbeat;  // see LEASE
    uint32_t lease_ms;   // 0: none
    uint32_t rundown;    // see RUNDOWN; looked at on its own, without a generation
    uint32_t side;       // PERF_EXPORT_SIDE_*
    uint32_t frames_kernel_max, frames_user_max; // at most PERF_EXPORT_FRAMES_MAX
    uint32_t sample_ring_bytes, side_ring_bytes; // power of two, 0: guest chooses; it may take less
    uint32_t clock;                              // see CLOCK; looked at on its own
    uint32_t reserved;
    uint64_t owner; // collectors among themselves
    struct perf_export_event events[PERF_EXPORT_EVENTS];
};

// Written by the guest alone.
struct perf_export_status {
    uint32_t generation; // of the request that this answers; release, last
    uint32_t state;      // enum perf_export_state
    int32_t error;       // 0 or negative Linux errno of the whole request
    uint32_t rundown;    // see RUNDOWN
    uint32_t rundown_lost;
    uint32_t clock; // see CLOCK
    uint32_t sample_ring_bytes, side_ring_bytes;
    uint64_t directory_physical; // struct perf_export_cpu[cpu_count]; 0: never started
    uint32_t cpu_count;          // entries; CPUs that are off-line have ring addresses of 0
    uint32_t directory_stride;   // bytes from one entry to the next
    uint64_t clock_physical;     // struct perf_export_clock; 0: not yet
    struct perf_export_event_status events[PERF_EXPORT_EVENTS];
};

#define PERF_EXPORT_TSC_INVARIANT (1u << 0) // flag of the descriptor: TSC runs at a constant rate
#define PERF_EXPORT_HAS_PMU       (1u << 1)
// After a request was written, NMIs make the guest look at it. Without this, or without a request
// ever, they bring it down: somebody wants to see where it is.
#define PERF_EXPORT_WAKES_BY_NMI (1u << 2)

struct perf_export_descriptor {
    // Guest, before the first program; constant. magic is written last.
    uint64_t magic;
    uint32_t version;
    uint32_t size;                 // of this structure
    uint64_t self_physical;        // of this structure
    uint64_t image_physical;       // what PERF_EXPORT_IMAGE_BASE stands for (the slide)
    uint64_t text_start, text_end; // virtual, of the kernel's code
    uint64_t boot_id;              // random: another value is another boot
    uint64_t tsc_hz;               // guest's measure, good to some 100 ppm; 0: unknown
    uint32_t flags;                // PERF_EXPORT_TSC_INVARIANT, ...
    uint32_t build_id_len;
    uint8_t build_id[20]; // of the kernel's ELF
    uint32_t cpu_count;   // possible CPUs
    // Virtual addresses, in the image. Counters need no request at all: see COUNTERS.
    uint64_t counters, counters_end;       // struct perf_export_counter[]
    uint64_t percpu_offsets;               // u64[cpu_count]
    uint64_t tracepoints, tracepoints_end; // struct perf_export_tracepoint[]
    uint8_t reserved1[88];

    __attribute__((aligned(256))) struct perf_export_request request;
    __attribute__((aligned(256))) struct perf_export_status status;
};

// ---- CPUs ---------------------------------------------------------------------------------------

// Where a ring lies. Constant once status.directory_physical is set, until the next generation;
// a generation with other sizes may move rings: read the directory again.
struct perf_export_ring_place {
    uint64_t control_physical; // struct perf_export_ring
    uint64_t data_physical;    // `bytes` of contiguous memory
    uint32_t bytes;            // a power of two; 0: no ring
    uint32_t reserved;
};

// A count as perf_event_open(2) would return it: value * enabled / running is the estimate.
struct perf_export_count {
    uint64_t value;
    uint64_t enabled_ns, running_ns;
};

// Entry of the directory: one CPU. Guest writes.
struct perf_export_cpu {
    uint32_t cpu; // number: that of perf's CPU column
    uint32_t apic_id;
    struct perf_export_ring_place sample; // samples of timer, NMI or PMU
    struct perf_export_ring_place side;   // everything else
    // Counts of the event table, brought up to date at each timer interrupt and context switch (at
    // most once in 1 ms): seqcount, odd while they change.
    uint32_t count_sequence;
    uint32_t reserved;
    uint64_t steal_ns; // time that this vCPU wanted to run and did not; under count_sequence
    uint64_t idle_ns;
    struct perf_export_count counts[PERF_EXPORT_EVENTS];
};

// ---- RING ---------------------------------------------------------------------------------------
//
// Positions are counts of bytes since the ring began and never wrap; the byte of position p is at
// data[p & (bytes - 1)]. All positions are multiples of 8. One CPU of the guest writes, and of the
// two rings of a CPU one only from the sampling source (NMI, or timer interrupt: never both in one
// generation), the other only with interrupts off.
//
// Guest, COLLECT: reads tail (acquire); full when head + need - tail > bytes, or when tail > head
// or head - tail > bytes (the host wrote nonsense): then lost + 1 and nothing else. Otherwise the
// record's bytes, then head (release).
// Host, COLLECT: reads head (acquire); head - tail must be <= bytes, else the guest is broken;
// walks records from its own copy of tail, then stores tail (release).
//
// Guest, FLIGHT: first moves `oldest` over the records that the new one destroys (store, then a
// store fence: x86 keeps the order), then the record, then head. tail is not looked at.
// Host, FLIGHT: reads head, copies all bytes [oldest, head), then reads oldest again: what lies
// below the second value may be destroyed and is left out; records begin at it.
//
// A ring that turns from FLIGHT to COLLECT begins anew: head, oldest, tail: the guest stores
// head = oldest = its present head and the host starts with tail = oldest.
struct perf_export_ring {
    // Guest writes.
    __attribute__((aligned(64))) uint64_t head;
    uint64_t oldest; // FLIGHT: first intact record; COLLECT: where it began
    uint64_t lost;   // records that did not fit, since the ring began
    // Host writes.
    __attribute__((aligned(64))) uint64_t tail;
};

// ---- RECORDS ------------------------------------------------------------------------------------

enum perf_export_record_type : uint8_t {
    PERF_EXPORT_PAD = 0, // only size and type are there: skip
    PERF_EXPORT_SAMPLE = 1,
    PERF_EXPORT_COMM = 2,
    PERF_EXPORT_MMAP = 3,
    PERF_EXPORT_FORK = 4,
    PERF_EXPORT_EXIT = 5,
    PERF_EXPORT_SWITCH = 6,
    PERF_EXPORT_LOST = 7,
    PERF_EXPORT_RUNDOWN_END = 8,
};

// `mode`: where the CPU was, and flags. A record that no sample interrupted has KERNEL.
#define PERF_EXPORT_IN_MASK   0x03
#define PERF_EXPORT_IN_KERNEL 1
#define PERF_EXPORT_IN_USER   2
#define PERF_EXPORT_IN_IDLE   3 // kernel, and the CPU had nothing to do
// What follows ip in a SAMPLE, in this order:
#define PERF_EXPORT_HAS_PERIOD       0x04 // u64: what it stands for; else the event's status.period
#define PERF_EXPORT_HAS_KERNEL_WORDS 0x08 // u64[2]: at the kernel's stack pointer
#define PERF_EXPORT_HAS_USER_WORDS   0x10 // u64[2]: at the program's stack pointer
// then u32[kernel_frames] padded to 8, u64[user_frames], then with
#define PERF_EXPORT_HAS_RAW      0x20 // u32 length, u32 0, the bytes padded to 8
#define PERF_EXPORT_FLAG_RUNDOWN 0x40 // COMM, MMAP: not now, but found so
#define PERF_EXPORT_FLAG_EXEC                                                                      \
    0x80 // COMM: by exec. SAMPLE: the user's stack could not be read                              \
         // further than it is here

// Every record begins so; size counts all of it and is a multiple of 8.
struct perf_export_header {
    uint16_t size;
    uint8_t type;
    uint8_t mode;
    uint8_t kernel_frames, user_frames;
    uint16_t event;    // SAMPLE: entry of the event table
    uint64_t tsc;      // of this CPU; order within a ring, not exact between the two rings
    uint32_t pid, tid; // 0, 0: idle or kernel thread
};

// SAMPLE. ip is what was interrupted (mode says whose). A kernel frame is a return address whose
// upper 32 bits are all ones. Kernel frames: the callers, innermost first. In kernel mode the first
// of the user frames is where the program entered the kernel; in user mode the user frames are the
// callers. A leaf function that keeps no frame hides its caller, which is then in the user words
// if anywhere; kernel words help where ip is in a function's first instructions. An empty user
// part (no task, or EVENT_NO_USER) has no user frames and no user words.
// A tracepoint is a SAMPLE with RAW: the bytes are what Linux' format describes, common fields
// first (common_type is the tracepoint's number).
// A probe is the same with struct perf_export_probe_raw.
struct perf_export_probe_raw {
    uint16_t common_type;
    uint8_t common_flags, common_preempt_count;
    int32_t common_pid;
    uint64_t ip;           // the function
    uint64_t return_ip;    // at return: where to; at entry 0
    uint64_t result;       // at return: RAX
    uint64_t arguments[6]; // at entry: RDI, RSI, RDX, RCX, R8, R9
};

struct perf_export_comm { // header.pid, tid: whose
    char name[16];        // padded with 0
};

struct perf_export_mmap { // header.pid: whose. Only mappings that can be executed
    uint64_t start, len, offset_bytes;
    uint64_t inode;
    uint32_t device_major, device_minor;
    uint32_t protection, map_flags; // PROT_*, MAP_*
    uint8_t build_id[20];           // of the file's ELF note
    uint8_t build_id_len;           // 0: none, or not known
    uint8_t reserved;
    uint16_t name_len; // without the 0; then name_len + 1 bytes padded to 8. Truncated in front
                       // where it would be longer than a record
};

struct perf_export_fork {            // FORK: header has the child; EXIT: header has who died
    uint32_t parent_pid, parent_tid; // EXIT: 0, 0
};

struct perf_export_switch { // header.pid, tid: who runs now
    uint32_t previous_pid, previous_tid;
    uint32_t preempted; // 1: `previous` could have gone on
    uint32_t reserved;
};

struct perf_export_lost { // in the ring where they are missing, before what came next
    uint64_t count;
};

struct perf_export_rundown_end { // in one ring; those of the others are older
    uint32_t rundown;            // that was asked for
    uint32_t tasks;
};

// ---- COUNTERS -----------------------------------------------------------------------------------
//
// All of the kernel's event counters (docs: /proc/lodger/counters) can be read at any time: entry
// i of `counters` names the address of the first CPU's u64; CPU n's is at that address +
// percpu_offsets[n] (mod 2^64), 0 for a CPU n > 0 that was never started: leave it out. A counter
// is the sum over the CPUs. Each is written by its CPU alone, with one instruction.
struct perf_export_counter {
    uint64_t name; // virtual address in the image: "subsystem.thing", 0-terminated
    uint64_t value;
};

// ---- TRACEPOINTS --------------------------------------------------------------------------------
//
// In read-only data of the image, so also in the ELF file. A tracepoint's number (common_type,
// perf_event_attr.config, and what the guest's own tracefs calls id) is its place in the table
// + PERF_EXPORT_TRACEPOINT_FIRST. perf_format_text() (perf/format.h) makes the text of Linux'
// tracefs `format` from it.
#define PERF_EXPORT_TRACEPOINT_FIRST 1000

struct perf_export_field {
    uint64_t type, name; // virtual addresses of strings: "char", "comm"; "pid_t", "pid"
    uint16_t offset, size;
    uint16_t array_len; // "char comm[16]": 16; 0: no array
    uint8_t is_signed;
    uint8_t reserved;
};

struct perf_export_tracepoint {
    uint64_t system, name; // virtual addresses of strings: "sched", "sched_switch"
    uint64_t fields;       // struct perf_export_field[field_count], without the common ones
    uint64_t print;        // string: what follows "print fmt: "
    uint32_t field_count;
    uint32_t size;     // of the record, common fields included
    uint64_t internal; // guest's own
};

// The fields with which each tracepoint's raw bytes begin.
struct perf_export_common {
    uint16_t type;
    uint8_t flags; // as Linux': 1 interrupts off, 8 in an interrupt
    uint8_t preempt_count;
    int32_t pid; // of the thread (tid), 0: idle
};

// ---- CLOCK --------------------------------------------------------------------------------------
//
// Records carry the guest's raw TSC. Where the hypervisor tells offset and scale, that is exact.
// Otherwise: the host sets the clock page's host_ns running (a thread that stores its clock into
// it as fast as it can) and adds 1 to request.clock. A CPU of the guest (one that takes a sample or
// a timer interrupt) then does PERF_EXPORT_CLOCK_ROUNDS times
//     guest_tsc = RDTSC (release);  h = host_ns (acquire);  t = RDTSC, not before h was read
// and keeps the rounds in which h was new in pairs[]; then pair_count, then status.clock =
// request.clock (release). The host, in its loop, reads its clock before the store and after having
// read guest_tsc. Bounds: the host's time at TSC t of a pair is at least h; the host's time at a
// guest_tsc that it saw is at most what its clock showed after. From both sides, over many rounds
// and repeated each second, offset and rate are fitted.
#define PERF_EXPORT_CLOCK_ROUNDS 64
#define PERF_EXPORT_CLOCK_PAIRS  32

struct perf_export_clock_pair {
    uint64_t host_ns, tsc;
};
struct perf_export_clock {
    __attribute__((aligned(64))) uint64_t host_ns;   // host writes
    __attribute__((aligned(64))) uint64_t guest_tsc; // guest writes
    __attribute__((aligned(64))) uint32_t pair_count;
    uint32_t cpu; // that did it
    struct perf_export_clock_pair pairs[PERF_EXPORT_CLOCK_PAIRS];
};

// ---- layout -------------------------------------------------------------------------------------

static_assert(sizeof(struct perf_export_event) == 32);
static_assert(sizeof(struct perf_export_event_status) == 24);
static_assert(sizeof(struct perf_export_request) == 56 + 32 * PERF_EXPORT_EVENTS);
static_assert(offsetof(struct perf_export_request, rundown) == 16);
static_assert(offsetof(struct perf_export_request, clock) == 40);
static_assert(offsetof(struct perf_export_request, events) == 56);
static_assert(sizeof(struct perf_export_status) == 56 + 24 * PERF_EXPORT_EVENTS);
static_assert(offsetof(struct perf_export_status, directory_physical) == 32);
static_assert(offsetof(struct perf_export_status, events) == 56);
static_assert(offsetof(struct perf_export_descriptor, build_id) == 72);
static_assert(offsetof(struct perf_export_descriptor, counters) == 96);
static_assert(offsetof(struct perf_export_descriptor, request) == 256);
static_assert(offsetof(struct perf_export_descriptor, status) == 1024);
static_assert(sizeof(struct perf_export_descriptor) == 1536);
static_assert(sizeof(struct perf_export_ring_place) == 24);
static_assert(offsetof(struct perf_export_cpu, counts) == 80);
static_assert(sizeof(struct perf_export_cpu) == 80 + 24 * PERF_EXPORT_EVENTS);
static_assert(sizeof(struct perf_export_ring) == 128);
static_assert(offsetof(struct perf_export_ring, tail) == 64);
static_assert(sizeof(struct perf_export_header) == 24);
static_assert(offsetof(struct perf_export_header, tsc) == 8);
static_assert(sizeof(struct perf_export_probe_raw) == 80);
static_assert(sizeof(struct perf_export_mmap) == 72);
static_assert(sizeof(struct perf_export_field) == 24);
static_assert(sizeof(struct perf_export_tracepoint) == 48);
static_assert(sizeof(struct perf_export_common) == 8);
static_assert(sizeof(struct perf_export_clock) == 640 + 64);
static_assert(offsetof(struct perf_export_clock, pairs) == 136);

// Physical address of a kernel virtual address (see ADDRESSES), or UINT64_MAX.
static inline uint64_t perf_export_to_physical(uint64_t address, uint64_t image_physical)
{
    if (address >= PERF_EXPORT_IMAGE_BASE)
        return address - PERF_EXPORT_IMAGE_BASE + image_physical;
    if (address >= PERF_EXPORT_DIRECT_MAP && address < PERF_EXPORT_DIRECT_MAP_END)
        return address - PERF_EXPORT_DIRECT_MAP;
    return UINT64_MAX;
}
