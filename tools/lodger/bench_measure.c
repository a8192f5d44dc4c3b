// SPDX-License-Identifier: MIT
//
// Measuring two kernels side by side.
//
// Exits: each kernel runs in a lab, whose host counts (tools/lodger/lab.h, lab_xen.h).
// Counts: each kernel works off a list under -icount, once, since that is deterministic. What waits
// for a disk is not, and its clock tells of the waiting: there QEMU is asked how many instructions
// it has run, as the labs' hosts are for exits. Time: both
// kernels are booted at once and take turns, round by round, the one that waits being halted; which
// of them begins alternates. So whatever disturbs the machine for longer than a round disturbs
// both, and round i of one is compared with round i of the other (statistics_paired_ratio). All
// benchmarks get their first pair before any gets its second one: who interrupts has figures of
// all.
#include "tools/lodger/bench_measure.h"
#include "tools/lodger/bench_progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BOOT_MEMORY_BYTES  (UINT64_C(128) << 20)
#define MICRO_MEMORY_BYTES (UINT64_C(512) << 20)
// A guest that dies that often is not booted again for the same group of benchmarks.
#define RESTARTS_MAX 3
// Differences of two rounds of which a figure that is read from outside is the median.
#define METER_ROUNDS 3
// Pairs of a point of a scaling curve.
#define SCALING_PAIRS 3

// Expected efforts in seconds, for the estimate of the rest only.
#define EFFORT_COUNTED_BOOT  3.0
#define EFFORT_COUNTED_BENCH 0.6
#define EFFORT_BOOT          2.0
#define EFFORT_MICRO         0.15
#define EFFORT_METERED       2.0
#define EFFORT_MACRO         6.0

struct work {
    const struct bench_plan *plan;
    struct bench_report *report;
    char **failures;
    struct bench_progress progress;
    // What is shown while a batch runs.
    const struct bench *const *batch;
    const struct bench_kernel *batch_kernel;
};

// A kernel that does not boot is told once, and not tried again.
static bool stands(const struct work *work, int side)
{
    return side < work->plan->kernel_count && work->failures[side] == NULL;
}

static void say(
    struct work *work, const struct bench *bench, int side, unsigned pair, unsigned pairs)
{
    const char *title = work->plan->kernels[side].title;
    char *text = pairs > 1
                     ? xasprintf("%s on %s, round %u of %u", bench->name, title, pair + 1, pairs)
                     : xasprintf("%s on %s", bench->name, title);
    bench_progress_show(&work->progress, text);
    free(text);
}

// ---- the kernel file and the boot ----

static void measure_image(struct work *work, const struct bench *bench)
{
    struct bench_result *result = bench_report_add(work->report, bench, MEASURE_COUNTS, 1, 0);
    for (int side = 0; side < work->plan->kernel_count; side++) {
        struct stat about;
        struct bench_outcome *outcome = &result->sides[side];
        if (stat(work->plan->kernels[side].file, &about) != 0) {
            bench_outcome_fail(outcome, BENCH_FAILED,
                xasprintf("there is no file %s", work->plan->kernels[side].file));
            continue;
        }
        samples_add(&outcome->figures, (double)about.st_size);
        outcome->state = BENCH_MEASURED;
    }
}

static void boot_once(struct work *work, int side, bool counted, struct bench_outcome *boot,
    struct bench_outcome *accesses)
{
    struct bench_machine machine = {
        .cpus = 1, .memory_bytes = BOOT_MEMORY_BYTES, .counted = counted};
    double figure = 0, access_count = 0;
    char *failure = bench_boot(
        &work->plan->kernels[side], &machine, &figure, accesses != NULL ? &access_count : NULL);
    if (bench_interrupted()) {
        free(failure);
        return;
    }
    if (failure != NULL) {
        work->failures[side] =
            work->failures[side] == NULL ? xstrdup(failure) : work->failures[side];
        bench_outcome_fail(boot, BENCH_FAILED, failure);
        return;
    }
    samples_add(&boot->figures, figure);
    boot->state = BENCH_MEASURED;
    if (accesses != NULL) {
        samples_add(&accesses->figures, access_count);
        accesses->state = BENCH_MEASURED;
    }
}

// Both figures of a counted boot come from one boot.
static void count_boot(struct work *work, const struct bench *boot, const struct bench *accesses)
{
    struct bench_outcome outcomes[BENCH_SIDES][2] = {};
    for (int side = 0; side < work->plan->kernel_count && !bench_interrupted(); side++) {
        if (stands(work, side)) {
            say(work, boot != NULL ? boot : accesses, side, 0, 1);
            boot_once(work, side, true, &outcomes[side][0], &outcomes[side][1]);
        }
        bench_progress_add(&work->progress, EFFORT_COUNTED_BOOT);
    }
    const struct bench *benches[] = {boot, accesses};
    for (int which = 0; which < 2; which++) {
        if (benches[which] != NULL) {
            struct bench_result *result =
                bench_report_add(work->report, benches[which], MEASURE_COUNTS, 1, 0);
            for (int side = 0; side < BENCH_SIDES; side++) {
                result->sides[side] = outcomes[side][which];
            }
        }
    }
}

static void time_boot(struct work *work, const struct bench *bench)
{
    unsigned pairs = work->plan->macro_pairs;
    struct bench_result *result = bench_report_add(work->report, bench, MEASURE_TIME, 1, 0);
    for (unsigned pair = 0; pair < pairs && !bench_interrupted(); pair++) {
        for (int turn = 0; turn < work->plan->kernel_count; turn++) {
            int side = work->plan->kernel_count == 2 ? (turn + (int)pair) % 2 : 0;
            if (stands(work, side) && !bench_interrupted()) {
                say(work, bench, side, pair, pairs);
                boot_once(work, side, false, &result->sides[side], NULL);
            }
            bench_progress_add(&work->progress, EFFORT_BOOT);
        }
    }
}

static const struct bench *find_wanted(const struct bench_plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->bench_count; i++) {
        if (strcmp(plan->benches[i]->name, name) == 0) {
            return plan->benches[i];
        }
    }
    return NULL;
}

static void measure_host_benches(struct work *work)
{
    const struct bench *boot = find_wanted(work->plan, "boot");
    const struct bench *accesses = find_wanted(work->plan, "boot-accesses");
    const struct bench *image = find_wanted(work->plan, "image");
    if (work->plan->measures[MEASURE_COUNTS] && image != NULL) {
        measure_image(work, image);
    }
    if (work->plan->measures[MEASURE_COUNTS] && (boot != NULL || accesses != NULL)) {
        count_boot(work, boot, accesses);
    }
    if (work->plan->measures[MEASURE_TIME] && boot != NULL) {
        time_boot(work, boot);
    }
}

// ---- groups of benchmarks that share a guest ----

struct group {
    const struct bench **benches;
    size_t count;
};

static bool same_machine(const struct bench *a, const struct bench *b)
{
    return a->kind == b->kind && a->cpus == b->cpus && a->memory_bytes == b->memory_bytes &&
           a->disk_bytes == b->disk_bytes;
}

// The wanted benchmarks from `from` on that `fits` accepts and that share a machine with the first
// of them; those are marked in `taken`. An empty group: there are no more.
static struct group next_group(
    const struct work *work, bool (*fits)(const struct bench *bench), bool *taken)
{
    struct group group = {.benches = xmalloc(work->plan->bench_count * sizeof(void *))};
    for (size_t i = 0; i < work->plan->bench_count; i++) {
        const struct bench *bench = work->plan->benches[i];
        if (!taken[i] && fits(bench) &&
            (group.count == 0 || same_machine(group.benches[0], bench))) {
            taken[i] = true;
            group.benches[group.count++] = bench;
        }
    }
    return group;
}

static struct bench_machine machine_of(const struct work *work, const struct group *group)
{
    unsigned needed = group->benches[0]->cpus;
    return (struct bench_machine){.cpus = needed > work->plan->cpus ? needed : work->plan->cpus,
        .memory_bytes = group->benches[0]->memory_bytes,
        .disk_bytes = group->benches[0]->disk_bytes,
        .quick = work->plan->quick};
}

static void for_each_group(struct work *work, bool (*fits)(const struct bench *bench),
    void (*measure)(struct work *work, const struct group *group))
{
    bool *taken = xmalloc(work->plan->bench_count + 1);
    memset(taken, 0, work->plan->bench_count + 1);
    for (;;) {
        struct group group = next_group(work, fits, taken);
        if (group.count > 0 && !bench_interrupted()) {
            measure(work, &group);
        }
        free(group.benches);
        if (group.count == 0) {
            break;
        }
    }
    free(taken);
}

// ---- counts ----

static void batch_progress(void *context, size_t index)
{
    struct work *work = context;
    int side = work->batch_kernel == &work->plan->kernels[SIDE_HERE] ? SIDE_HERE : SIDE_OTHER;
    say(work, work->batch[index], side, 0, 1);
    bench_progress_add(&work->progress, EFFORT_COUNTED_BENCH);
}

static bool fits_counts(const struct bench *bench)
{
    return bench->kind == BENCH_MICRO && bench->counts && bench->disk_bytes == 0;
}

static void count_group(struct work *work, const struct group *group)
{
    struct bench_machine machine = machine_of(work, group);
    machine.counted = true;
    struct bench_outcome *outcomes[BENCH_SIDES];
    for (int side = 0; side < BENCH_SIDES; side++) {
        outcomes[side] = xmalloc(group->count * sizeof(struct bench_outcome));
        memset(outcomes[side], 0, group->count * sizeof(struct bench_outcome));
        if (!stands(work, side)) {
            continue;
        }
        work->batch = group->benches;
        work->batch_kernel = &work->plan->kernels[side];
        work->failures[side] = bench_batch_run(&work->plan->kernels[side], &machine, group->benches,
            group->count, "", outcomes[side], batch_progress, work);
        bench_progress_add(&work->progress, EFFORT_COUNTED_BOOT);
    }
    for (size_t i = 0; i < group->count; i++) {
        struct bench_result *result = bench_report_add(
            work->report, group->benches[i], MEASURE_COUNTS, group->benches[i]->cpus, 0);
        for (int side = 0; side < BENCH_SIDES; side++) {
            result->sides[side] = outcomes[side][i];
        }
    }
    free(outcomes[0]);
    free(outcomes[1]);
}

// ---- what is read from outside ----

// Who counts, when neither the guest nor its clock can.
struct meter {
    enum bench_measure measure;
    double (*read)(struct bench_session *session); // -1: it does not say
    const char *silence;                           // why there is no figure then
    unsigned share; // of a benchmark's count that a round does: one in so many
};

static const struct meter exits_meter = {
    MEASURE_EXITS, bench_session_exits, "the lab's host did not say its counters", 10};
// Of benchmarks that wait for a disk: their clock tells more than instructions.
static const struct meter instructions_meter = {
    MEASURE_COUNTS, bench_session_instructions, "QEMU did not say how many instructions it ran", 1};

static bool fits_exits(const struct bench *bench)
{
    return bench->kind == BENCH_MICRO;
}

static bool fits_disk_counts(const struct bench *bench)
{
    return bench->kind == BENCH_MICRO && bench->counts && bench->disk_bytes != 0;
}

// One figure: what a round with twice the count costs more than one with the count. So starting,
// printing, and what the exchange with the host costs fall out. Returns false when there is none.
static bool read_once(const struct meter *meter, struct bench_session *session,
    const struct bench *bench, struct bench_outcome *outcome, double *figure)
{
    unsigned count = bench->count / meter->share + 10;
    double readings[3];
    for (unsigned i = 0; i < 3; i++) {
        readings[i] = meter->read(session);
        if (readings[i] < 0) {
            const char *dead = bench_session_failure(session);
            bench_outcome_fail(
                outcome, BENCH_FAILED, xstrdup(dead != NULL ? dead : meter->silence));
            return false;
        }
        if (i < 2) {
            char *arguments = xasprintf("--count %u", count * (i + 1));
            struct bench_outcome round = {};
            bench_session_run(session, bench, arguments, &round);
            samples_free(&round.figures); // times say nothing here
            bench_outcome_merge(outcome, &round);
            free(arguments);
        }
    }
    // The warming up adds a tenth, in both rounds (guests/bench/main.c). Timer ticks fall where
    // they want, so that the difference can be less than nothing.
    double more = (readings[2] - readings[1]) - (readings[1] - readings[0]);
    *figure = more > 0 ? more / (1.1 * count) : 0;
    return outcome->state == BENCH_MEASURED;
}

static void read_bench(const struct meter *meter, struct bench_session *session,
    const struct bench *bench, struct bench_outcome *outcome)
{
    double figure;
    for (unsigned i = 0; i < METER_ROUNDS && !bench_interrupted() &&
                         read_once(meter, session, bench, outcome, &figure);
         i++) {
        samples_add(&outcome->figures, figure);
    }
    if (outcome->state == BENCH_MEASURED && outcome->figures.count == 0) {
        outcome->state = BENCH_NOT_RUN;
    }
}

static const char *place_of(enum bench_lab lab)
{
    return lab == BENCH_LAB_XEN   ? "in the Xen lab: "
           : lab == BENCH_LAB_KVM ? "in the KVM lab: "
                                  : "";
}

static void read_group(struct work *work, const struct meter *meter,
    const struct bench_machine *machine, const struct group *group)
{
    size_t first = work->report->count;
    char **failures = xmalloc(group->count * sizeof(char *));
    char *initrd = bench_pack("metered", group->benches, group->count, NULL, failures);
    for (size_t i = 0; i < group->count; i++) {
        bench_report_add(work->report, group->benches[i], meter->measure, machine->cpus, 0);
    }
    for (int side = 0; side < work->plan->kernel_count; side++) {
        struct bench_session *session = NULL;
        for (size_t i = 0; i < group->count && stands(work, side) && !bench_interrupted(); i++) {
            if (session != NULL && bench_session_failure(session) != NULL) {
                bench_session_end(session);
                session = NULL;
            }
            say(work, group->benches[i], side, 0, 1);
            if (session == NULL) {
                session = bench_session_start(&work->plan->kernels[side], machine, initrd);
            }
            const char *failure = bench_session_failure(session);
            if (failure != NULL && i == 0) {
                work->failures[side] = xasprintf("%s%s", place_of(machine->lab), failure);
            } else {
                read_bench(meter, session, group->benches[i],
                    &work->report->results[first + i].sides[side]);
            }
            bench_progress_add(&work->progress, EFFORT_METERED);
        }
        if (session != NULL) {
            bench_session_end(session);
        }
    }
    free(failures);
    free(initrd);
}

static void exits_group(struct work *work, const struct group *group)
{
    struct bench_machine machine = machine_of(work, group);
    machine.lab = work->plan->lab;
    read_group(work, &exits_meter, &machine, group);
}

static void disk_count_group(struct work *work, const struct group *group)
{
    struct bench_machine machine = machine_of(work, group);
    machine.counted = true;
    machine.waits = true;
    read_group(work, &instructions_meter, &machine, group);
}

// ---- time ----

// The guests that take turns.
struct turns {
    struct work *work;
    const struct group *group;
    struct bench_machine machine;
    char *workers; // BENCH_WORKERS, or NULL
    char *initrd;
    struct bench_session *sessions[BENCH_SIDES];
    unsigned starts[BENCH_SIDES];
    size_t first_result; // of the report, one for each benchmark of the group
    // How many figures each benchmark had when the guest was booted, by side: those after them are
    // in the time of its clock.
    size_t *figures_before[BENCH_SIDES];
};

static struct bench_outcome *outcome_of(struct turns *turns, size_t index, int side)
{
    return &turns->work->report->results[turns->first_result + index].sides[side];
}

// Puts what this guest measured into the host's time, and ends it.
static void end_session(struct turns *turns, int side)
{
    struct bench_session *session = turns->sessions[side];
    if (session == NULL) {
        return;
    }
    double rate = bench_interrupted() ? 1 : bench_session_clock_rate(session);
    for (size_t i = 0; i < turns->group->count; i++) {
        struct samples *figures = &outcome_of(turns, i, side)->figures;
        const char *unit = turns->work->report->results[turns->first_result + i].unit;
        bool per_second = strlen(unit) > 2 && strcmp(unit + strlen(unit) - 2, "/s") == 0;
        for (size_t j = turns->figures_before[side][i]; j < figures->count; j++) {
            figures->values[j] *= strcmp(unit, "ns") == 0 ? 1 / rate : per_second ? rate : 1;
        }
        turns->figures_before[side][i] = figures->count;
    }
    bench_session_end(session);
    turns->sessions[side] = NULL;
}

// The guest of that side, booted if it does not live. NULL: it cannot be.
static struct bench_session *session_of(struct turns *turns, int side)
{
    struct bench_session **session = &turns->sessions[side];
    if (*session != NULL && bench_session_failure(*session) != NULL) {
        end_session(turns, side);
    }
    if (*session != NULL || !stands(turns->work, side) || turns->starts[side] > RESTARTS_MAX ||
        bench_interrupted()) {
        return *session;
    }
    turns->starts[side]++;
    *session =
        bench_session_start(&turns->work->plan->kernels[side], &turns->machine, turns->initrd);
    const char *failure = bench_session_failure(*session);
    if (failure != NULL) {
        if (!bench_interrupted() && turns->starts[side] == 1) {
            turns->work->failures[side] = xstrdup(failure);
        }
        bench_session_end(*session);
        *session = NULL;
    } else if (turns->workers != NULL) {
        bench_session_set(*session, "BENCH_WORKERS", turns->workers);
    }
    return *session;
}

static void run_round(struct turns *turns, size_t index, int side)
{
    struct bench_outcome *outcome = outcome_of(turns, index, side);
    struct bench_session *session =
        outcome->state <= BENCH_MEASURED ? session_of(turns, side) : NULL;
    if (session != NULL) {
        struct bench_outcome round = {};
        bench_session_run(session, turns->group->benches[index], "", &round);
        if (!bench_interrupted()) {
            bench_outcome_merge(outcome, &round);
        }
    } else if (outcome->state == BENCH_NOT_RUN && turns->starts[side] > RESTARTS_MAX) {
        bench_outcome_fail(
            outcome, BENCH_FAILED, xstrdup("the guest died too often before its turn"));
    }
}

// A pair that is complete on one side only says nothing about a ratio of pairs.
static void drop_unpaired(struct turns *turns, size_t index)
{
    struct samples *here = &outcome_of(turns, index, SIDE_HERE)->figures;
    struct samples *other = &outcome_of(turns, index, SIDE_OTHER)->figures;
    if (here->count > 0 && other->count > 0) {
        size_t pairs = here->count < other->count ? here->count : other->count;
        here->count = pairs;
        other->count = pairs;
    }
}

static void run_pair(struct turns *turns, unsigned pair, unsigned pairs)
{
    const struct bench_plan *plan = turns->work->plan;
    for (size_t i = 0; i < turns->group->count && !bench_interrupted(); i++) {
        const struct bench *bench = turns->group->benches[i];
        for (int turn = 0; turn < plan->kernel_count && !bench_interrupted(); turn++) {
            int side = plan->kernel_count == 2 ? (turn + (int)pair) % 2 : 0;
            say(turns->work, bench, side, pair, pairs);
            run_round(turns, i, side);
            bench_progress_add(
                &turns->work->progress, bench->kind == BENCH_MACRO ? EFFORT_MACRO : EFFORT_MICRO);
        }
    }
}

static void take_turns(
    struct work *work, const struct group *group, unsigned workers, unsigned pairs)
{
    struct turns turns = {.work = work,
        .group = group,
        .machine = machine_of(work, group),
        .workers = workers != 0 ? xasprintf("%u", workers) : NULL,
        .first_result = work->report->count};
    if (workers != 0) {
        turns.machine.cpus = workers;
    }
    for (int side = 0; side < BENCH_SIDES; side++) {
        turns.figures_before[side] = xmalloc(group->count * sizeof(size_t));
        memset(turns.figures_before[side], 0, group->count * sizeof(size_t));
    }
    char **failures = xmalloc(group->count * sizeof(char *));
    memset(failures, 0, group->count * sizeof(char *));
    turns.initrd = bench_pack("turns", group->benches, group->count, NULL, failures);
    for (size_t i = 0; i < group->count; i++) {
        struct bench_result *result = bench_report_add(
            work->report, group->benches[i], MEASURE_TIME, turns.machine.cpus, workers);
        for (int side = 0; side < work->plan->kernel_count && failures[i] != NULL; side++) {
            bench_outcome_fail(&result->sides[side], BENCH_FAILED, xstrdup(failures[i]));
        }
        free(failures[i]);
    }
    free(failures);
    for (unsigned pair = 0; pair < pairs && !bench_interrupted(); pair++) {
        run_pair(&turns, pair, pairs);
    }
    for (int side = 0; side < BENCH_SIDES; side++) {
        end_session(&turns, side);
        free(turns.figures_before[side]);
    }
    for (size_t i = 0; i < group->count; i++) {
        drop_unpaired(&turns, i);
    }
    bench_progress_add(&work->progress, EFFORT_BOOT);
    free(turns.initrd);
    free(turns.workers);
}

static bool fits_time(const struct bench *bench)
{
    return bench->kind != BENCH_HOST && (bench->unit == NULL || strcmp(bench->unit, "bytes") != 0);
}

static void time_group(struct work *work, const struct group *group)
{
    bool macro = group->benches[0]->kind == BENCH_MACRO;
    take_turns(work, group, 0, macro ? work->plan->macro_pairs : work->plan->pairs);
}

static bool fits_scaling(const struct bench *bench)
{
    return bench->kind != BENCH_HOST && bench->scales;
}

static void scale_group(struct work *work, const struct group *group)
{
    for (size_t i = 0; i < work->plan->scaling_count && !bench_interrupted(); i++) {
        take_turns(work, group, work->plan->scaling[i], SCALING_PAIRS);
    }
}

static double expected_effort(const struct bench_plan *plan)
{
    double effort = 0;
    for (size_t i = 0; i < plan->bench_count; i++) {
        const struct bench *bench = plan->benches[i];
        bool macro = bench->kind == BENCH_MACRO;
        double round = macro ? EFFORT_MACRO : EFFORT_MICRO;
        if (plan->measures[MEASURE_COUNTS] && fits_counts(bench)) {
            effort += EFFORT_COUNTED_BENCH;
        }
        if (plan->measures[MEASURE_COUNTS] && fits_disk_counts(bench)) {
            effort += EFFORT_METERED;
        }
        if (plan->measures[MEASURE_TIME] && fits_time(bench)) {
            effort += round * (macro ? plan->macro_pairs : plan->pairs);
        }
        if (plan->measures[MEASURE_EXITS] && fits_exits(bench)) {
            effort += EFFORT_METERED;
        }
        if (fits_scaling(bench)) {
            effort += round * SCALING_PAIRS * (double)plan->scaling_count;
        }
        if (strcmp(bench->name, "boot") == 0) {
            effort += plan->measures[MEASURE_TIME] ? EFFORT_BOOT * plan->macro_pairs : 0;
            effort += plan->measures[MEASURE_COUNTS] ? EFFORT_COUNTED_BOOT : 0;
        }
    }
    return effort * plan->kernel_count + EFFORT_COUNTED_BOOT;
}

void bench_measure(
    const struct bench_plan *plan, struct bench_report *report, char *failures[BENCH_SIDES])
{
    struct work work = {.plan = plan, .report = report, .failures = failures};
    bench_progress_begin(&work.progress, expected_effort(plan));
    measure_host_benches(&work);
    if (plan->measures[MEASURE_COUNTS]) {
        for_each_group(&work, fits_counts, count_group);
        for_each_group(&work, fits_disk_counts, disk_count_group);
    }
    if (plan->measures[MEASURE_TIME]) {
        for_each_group(&work, fits_time, time_group);
    }
    if (plan->measures[MEASURE_EXITS]) {
        for_each_group(&work, fits_exits, exits_group);
    }
    if (plan->scaling_count > 0) {
        for_each_group(&work, fits_scaling, scale_group);
    }
    bench_progress_end(&work.progress);
    report->interrupted = bench_interrupted();
}
