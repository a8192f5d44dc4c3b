// SPDX-License-Identifier: MIT
//
// Guests that are measured: what is packed into them, and running benchmarks in them.
//
// Two ways. A session is a booted guest whose guests/bench/server.c is told on the console what to
// run next, so that two kernels can take turns. A batch is a list that the guest works off alone:
// for
// -icount, where nothing from outside must come in between.
#pragma once

#include "tools/lodger/bench.h"
#include "tools/lodger/machine.h"
#include "tools/lodger/statistics.h"

// One of the kernels that are compared.
struct bench_kernel {
    const char *title;        // "here", "Linux"
    const char *image;        // what is booted; ours is the ELF file, with its symbols
    const char *file;         // what is installed: the same without them
    bool foreign;             // not ours
    bool mitigations;         // foreign: leaves its protection against speculation on
    struct strings append;    // further boot options
    unsigned planted_percent; // tests: its benchmarks are made that much slower
};

struct bench_histogram_bucket {
    uint64_t low_ns;
    uint64_t count;
};

struct bench_histogram {
    struct bench_histogram_bucket *buckets; // by low_ns, which differ
    size_t count;
};

// Adds `count` operations to the bucket that begins at low_ns.
void bench_histogram_add(struct bench_histogram *histogram, uint64_t low_ns, uint64_t count);

enum bench_state {
    BENCH_NOT_RUN,
    BENCH_MEASURED,
    BENCH_FAILED,      // the operation did not do what it should, or the guest died
    BENCH_UNSUPPORTED, // the kernel says that it cannot do this
};

// What one or several rounds of a benchmark gave.
struct bench_outcome {
    enum bench_state state;
    char *reason;           // BENCH_FAILED, BENCH_UNSUPPORTED: for people
    struct samples figures; // one a round: nanoseconds (instructions) per operation, or the value
    struct bench_histogram histogram;
};

void bench_outcome_fail(struct bench_outcome *outcome, enum bench_state state, char *reason);
// Adds what `from` holds, which is empty afterwards. A failure stays.
void bench_outcome_merge(struct bench_outcome *outcome, struct bench_outcome *from);

// Reads what a benchmark printed, from its `begin` to its `end` line. `how` is what follows the
// name in the `end` line.
void bench_outcome_read(
    const struct bench *bench, const char *output, const char *how, struct bench_outcome *outcome);

// Where a guest's exits are counted: on a real hypervisor, whose host does that (lab.h, lab_xen.h).
enum bench_lab { BENCH_LAB_NONE, BENCH_LAB_KVM, BENCH_LAB_XEN };

// The machine that a guest gets.
struct bench_machine {
    unsigned cpus;
    uint64_t memory_bytes;
    uint64_t disk_bytes;
    bool counted; // -icount, and everything repeatable
    bool waits;   // counted: for a device of the host, so that not everything is
    bool quick;   // BENCH_QUICK=1
    enum bench_lab lab;
};

// What the report says about a machine: its QEMU command without the files of this run.
char *bench_machine_command(const struct bench_kernel *kernel, const struct bench_machine *machine);
const char *bench_machine_accelerator(const struct bench_machine *machine);

// An initial file system with these benchmarks, NAME.cpio in a temporary folder. Benchmarks whose
// packages cannot be had are left out, and failures[i] says why. `list` is for a batch, or NULL.
char *bench_pack(const char *name, const struct bench *const *benches, size_t count,
    const char *list, char **failures);

struct bench_session;

// Boots a guest. Always returns a session; bench_session_failure() says whether it stands.
struct bench_session *bench_session_start(
    const struct bench_kernel *kernel, const struct bench_machine *machine, const char *initrd);
// Why the guest did not boot or does not live any more, or NULL.
const char *bench_session_failure(struct bench_session *session);
// Runs one round. A guest that dies meanwhile makes the outcome a failure.
void bench_session_run(struct bench_session *session, const struct bench *bench,
    const char *arguments, struct bench_outcome *outcome);
// Sets a variable of the benchmarks' environment.
void bench_session_set(struct bench_session *session, const char *key, const char *value);
// How fast the guest's clock has run so far, compared with the host's: 1.01 is one per cent too
// fast. A guest without a hypervisor that tells measures its clock, on a loaded host not well. 1 if
// it cannot be told.
double bench_session_clock_rate(struct bench_session *session);
// In the lab: how often the guest has exited to its hypervisor so far, or -1.
double bench_session_exits(struct bench_session *session);
// Of a counted guest: instructions so far, without what it waited, or -1.
double bench_session_instructions(struct bench_session *session);
void bench_session_end(struct bench_session *session);

// Runs each benchmark once. A guest that dies is booted again for those that are left. Returns
// NULL, or why the kernel does not boot at all. `arguments` are added to each, "" for none.
// `progress` is called before each with its index, and may be NULL.
[[nodiscard]] char *bench_batch_run(const struct bench_kernel *kernel,
    const struct bench_machine *machine, const struct bench *const *benches, size_t count,
    const char *arguments, struct bench_outcome *outcomes,
    void (*progress)(void *context, size_t index), void *context);

// Boots guests/bench/first.c: instructions (or nanoseconds of this host until it has printed) to
// the first program, and device accesses if `accesses` is not NULL. Returns NULL or what went
// wrong.
[[nodiscard]] char *bench_boot(const struct bench_kernel *kernel,
    const struct bench_machine *machine, double *figure, double *accesses);

// Ends all guests and makes every call above return soon. Safe in a signal handler.
void bench_interrupt(void);
bool bench_interrupted(void);
