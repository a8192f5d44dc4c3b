// SPDX-License-Identifier: MIT
//
// lodger perf analyze: says in words what slows a guest down, with the figures that show it.
//
// Each rule is a function that looks at a recording and adds findings. Thresholds are those below
// which a look at the cause has not paid in this kernel's own case studies (docs/profiling.md);
// they are constants here, not options. Against a baseline recording only differences count.
#include "tools/lodger/perf/perf_commands.h"

#include "tools/lodger/perf/analyze_data.h"

#include <getopt.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: ./lodger perf analyze [--baseline FILE] [--json] [FILE]\n"
    "\n"
    "Names what stands out in a recording (default perf.data, with the counters beside it): "
    "stolen\n"
    "time, contended locks, TLB shootdowns, notifications to the host, disks, run queues, hot\n"
    "functions, sudden rises. Each comes with its evidence and what to look at next. With a "
    "baseline,\n"
    "what has changed since that recording.\n"
    "\n"
    "  --baseline FILE  a recording of when it was well\n"
    "  --json           an array of findings\n"
    "\n"
    "Exit code: 0, also with findings.\n";

#define STEAL_SHARE      0.05
#define LOCK_SHARE       0.05
#define HOT_SHARE        0.25
#define SHOOTDOWN_RATE   2000
#define CONTENDED_RATE   1000
#define NOTIFY_RATE      5000
#define FAULT_RATE       20000
#define TIMER_RATE       20000
#define RESCHEDULE_RATE  20000
#define RUN_QUEUE_P99_NS 10000000u
#define DISK_P99_NS      20000000u
#define CHANGE_RATIO     2.0
#define CHANGE_RATE      100
#define CHANGE_SHARE     0.05

struct finding {
    const char *name; // for scripts
    double weight;    // findings are sorted by it
    char *text, *evidence, *next;
};

struct findings {
    struct finding *items;
    size_t count;
};

static char *format_text(const char *format, va_list arguments)
{
    char *text = NULL;
    if (vasprintf(&text, format, arguments) < 0) {
        die("out of memory");
    }
    return text;
}

static struct finding *add(struct findings *findings, const char *name, double weight,
    const char *format, ...) __attribute__((format(printf, 4, 5)));
static struct finding *add(
    struct findings *findings, const char *name, double weight, const char *format, ...)
{
    findings->items = xrealloc(findings->items, (findings->count + 1) * sizeof(findings->items[0]));
    struct finding *finding = &findings->items[findings->count++];
    va_list arguments;
    va_start(arguments, format);
    *finding =
        (struct finding){.name = name, .weight = weight, .text = format_text(format, arguments)};
    va_end(arguments);
    return finding;
}

static void judge_steal(struct findings *findings, const struct analyze_data *data)
{
    for (unsigned i = 0; i < data->steal_cpus && data->counter_seconds > 0; i++) {
        double share = (double)data->steal_ns[i] / 1e9 / data->counter_seconds;
        if (share > STEAL_SHARE) {
            struct finding *finding = add(findings, "steal", share,
                "The host took %.0f %% of vCPU %u's time away while it had work.", share * 100, i);
            finding->evidence = xasprintf("%.2f s stolen in %.2f s (steal time of the hypervisor)",
                (double)data->steal_ns[i] / 1e9, data->counter_seconds);
            finding->next = xstrdup("fewer vCPUs or guests on this host; perf merge shows who ran "
                                    "instead");
        }
    }
}

static void judge_locks(struct findings *findings, const struct analyze_data *data)
{
    double share = data->samples > 0 ? (double)data->lock_samples / (double)data->samples : 0;
    double spins = analyze_rate(data, "lock.spin_contended");
    double sleeps =
        analyze_rate(data, "lock.mutex_sleeps") + analyze_rate(data, "lock.rwlock_sleeps");
    if (share > LOCK_SHARE || spins > CONTENDED_RATE || sleeps > CONTENDED_RATE) {
        struct finding *finding = add(findings, "lock", share + spins / 1e6,
            "Locks of the kernel are contended: %.0f %% of the samples are in waiting for one or "
            "in passing it on.",
            share * 100);
        finding->evidence = xasprintf("%.0f contended spin locks and %.0f sleeps for a lock a "
                                      "second%s%s",
            spins, sleeps, data->lock_user != NULL ? "; mostly for " : "",
            data->lock_user != NULL ? data->lock_user : "");
        finding->next = xstrdup("perf report --no-children -g caller shows who takes it");
    }
}

static void judge_tlb(struct findings *findings, const struct analyze_data *data)
{
    double rate = analyze_rate(data, "tlb.shootdowns");
    if (rate > SHOOTDOWN_RATE) {
        double targets = analyze_rate(data, "pv.flush_targets");
        struct finding *finding = add(findings, "shootdowns", rate / 1e5,
            "TLB shootdown storm: mappings are taken back %.0f times a second.", rate);
        finding->evidence = xasprintf("%.0f target vCPUs a second (%.1f each), %.0f full flushes, "
                                      "%.0f lazy vCPUs left out",
            targets, rate > 0 ? targets / rate : 0, analyze_rate(data, "tlb.full_flushes"),
            analyze_rate(data, "tlb.lazy_skipped"));
        finding->next =
            xstrdup("who unmaps: the callers of munmap, mprotect and madvise; larger or "
                    "fewer unmappings, malloc with a higher trim threshold");
    }
}

static void judge_notifications(struct findings *findings, const struct analyze_data *data)
{
    double rate = analyze_rate(data, "virtio.notifications");
    double batches = analyze_rate(data, "virtio.buffers");
    if (rate > NOTIFY_RATE) {
        struct finding *finding = add(findings, "notifications", rate / 1e5,
            "The host is notified %.0f times a second; each is an exit.", rate);
        finding->evidence = xasprintf("%.2f notifications a buffer (%.0f buffers a second, %.0f "
                                      "notifications suppressed)",
            batches > 0 ? rate / batches : 0, batches,
            analyze_rate(data, "virtio.notifications_suppressed"));
        finding->next =
            xstrdup("more requests at a time (io_uring, AIO, larger writes), or a device "
                    "that polls");
    }
}

static void judge_disk(struct findings *findings, const struct analyze_data *data)
{
    double completed = analyze_rate(data, "block.completed");
    double slept = analyze_rate(data, "block.slept_waits");
    double polled = analyze_rate(data, "block.polled_waits");
    double submitted = analyze_rate(data, "block.submitted");
    double batches = analyze_rate(data, "block.batches");
    if (completed > 10 && batches > 0.9 * submitted && slept + polled > 0.5 * completed) {
        struct finding *finding = add(findings, "queue-depth", 0.2,
            "Programs wait for the disk one request at a time: its queue holds about one.");
        finding->evidence =
            xasprintf("%.0f requests completed a second, %.0f of them with a program asleep or "
                      "polling for it; %.2f requests a batch",
                completed, slept + polled, submitted / batches);
        finding->next = xstrdup("several requests under way (read-ahead, io_uring, threads)");
    }
    uint64_t p99_ns = analyze_quantile(&data->disk, 0.99);
    if (data->disk.count > 20 && p99_ns > DISK_P99_NS) {
        struct finding *finding = add(findings, "disk-latency", (double)p99_ns / 1e9,
            "The disk is slow: one request in 100 takes more than %.1f ms.", (double)p99_ns / 1e6);
        finding->evidence = xasprintf("%llu requests, half below %.2f ms, longest %.1f ms "
                                      "(block_rq_issue to block_rq_complete)",
            (unsigned long long)data->disk.count, (double)analyze_quantile(&data->disk, 0.5) / 1e6,
            (double)data->disk.max_ns / 1e6);
        finding->next = xstrdup("the host's storage: perf merge, iostat");
    }
}

static void judge_run_queue(struct findings *findings, const struct analyze_data *data)
{
    uint64_t p99_ns = analyze_quantile(&data->run_queue, 0.99);
    if (data->run_queue.count > 50 && p99_ns > RUN_QUEUE_P99_NS) {
        struct finding *finding = add(findings, "run-queue", (double)p99_ns / 1e9,
            "Tasks wait for a vCPU: one in 100 longer than %.1f ms.", (double)p99_ns / 1e6);
        finding->evidence = xasprintf("%llu waits, half below %.3f ms, longest %.1f ms "
                                      "(sched_wakeup to sched_switch)",
            (unsigned long long)data->run_queue.count,
            (double)analyze_quantile(&data->run_queue, 0.5) / 1e6,
            (double)data->run_queue.max_ns / 1e6);
        finding->next = xstrdup("perf sched timehist names the tasks; more vCPUs, or nice for what "
                                "can wait");
    }
}

static void judge_rates(struct findings *findings, const struct analyze_data *data)
{
    static const struct {
        const char *counter, *name;
        double rate;
        const char *text, *next;
    } rules[] = {
        {"trap.page_faults", "faults", FAULT_RATE, "Programs fault in %.0f pages a second.",
            "fault.* tell the kind; MAP_POPULATE, or memory that is used again instead of given "
            "back"},
        {"timer.hardware_arms", "timers", TIMER_RATE, "The timer is armed %.0f times a second.",
            "who sleeps so shortly: perf record -e 'timer:*'"},
        {"sched.reschedule_interrupts", "wake-ups", RESCHEDULE_RATE,
            "vCPUs interrupt each other %.0f times a second to wake tasks.",
            "tasks that talk to each other on the same vCPU (taskset)"},
        {"page.slow_allocations", "memory", 100, "%.0f allocations a second find no free page.",
            "more memory for the guest; page.reclaimed and cache.pages_dropped say what is given "
            "up"},
    };
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        double rate = analyze_rate(data, rules[i].counter);
        if (rate > rules[i].rate) {
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wformat-nonliteral"
            struct finding *finding =
                add(findings, rules[i].name, rate / rules[i].rate / 10, rules[i].text, rate);
#pragma clang diagnostic pop
            finding->evidence = xasprintf("%s: %.0f in %.1f s", rules[i].counter,
                rate * data->counter_seconds, data->counter_seconds);
            finding->next = xstrdup(rules[i].next);
        }
    }
}

static void judge_hot(struct findings *findings, const struct analyze_data *data)
{
    for (size_t i = 0; i < data->function_count; i++) {
        const struct analyze_function *function = &data->functions[i];
        double share = data->samples > 100 ? (double)function->self / (double)data->samples : 0;
        bool known = strcmp(function->name, "[unknown]") != 0;
        if (share > HOT_SHARE && known && !analyze_is_lock(function->name)) {
            struct finding *finding =
                add(findings, "hot", share / 2, "%.0f %% of the samples are in %s%s.", share * 100,
                    function->name, function->kernel ? " (kernel)" : "");
            finding->evidence = xasprintf("%llu of %llu samples%s%s",
                (unsigned long long)function->self, (unsigned long long)data->samples,
                function->caller != NULL ? "; called mostly by " : "",
                function->caller != NULL ? function->caller : "");
            finding->next = xasprintf("perf annotate %s", function->name);
        }
    }
}

// A counter that in one second was far above its mean: something happened then.
static void judge_peaks(struct findings *findings, const struct analyze_data *data)
{
    for (size_t i = 0; i < data->counter_count && data->counter_seconds >= 5; i++) {
        const struct analyze_counter *counter = &data->counters[i];
        double rate = analyze_rate(data, counter->name);
        if (counter->peak > 1000 && counter->peak > 4 * rate) {
            struct finding *finding =
                add(findings, "peak", 0.05, "%s rose to %.0f a second at %.0f s.", counter->name,
                    counter->peak, counter->peak_s);
            finding->evidence = xasprintf("its mean over the recording is %.0f a second", rate);
            finding->next = xasprintf("perf script --time of that second; perf heatmap");
        }
    }
}

// ---- against a baseline ---------------------------------------------------------------

static void compare_counters(
    struct findings *findings, const struct analyze_data *data, const struct analyze_data *baseline)
{
    for (size_t i = 0; i < data->counter_count; i++) {
        const char *name = data->counters[i].name;
        double now = analyze_rate(data, name), then = analyze_rate(baseline, name);
        bool risen = now > CHANGE_RATE && now > CHANGE_RATIO * then;
        // Both counts are sums of single events: their difference must be beyond chance.
        double sigma =
            sqrt(now / fmax(data->counter_seconds, 1) + then / fmax(baseline->counter_seconds, 1));
        if (risen && now - then > 4 * sigma) {
            struct finding *finding = add(findings, "changed-rate", log2(now / fmax(then, 1)) / 10,
                "%s: %.0f a second, was %.0f.", name, now, then);
            finding->evidence = xasprintf("%.0f events in %.1f s, baseline %.0f in %.1f s",
                now * data->counter_seconds, data->counter_seconds,
                then * baseline->counter_seconds, baseline->counter_seconds);
        }
    }
}

static void compare_functions(
    struct findings *findings, const struct analyze_data *data, const struct analyze_data *baseline)
{
    for (size_t i = 0; i < data->function_count && baseline->samples > 0; i++) {
        const struct analyze_function *function = &data->functions[i];
        double now = (double)function->self / (double)data->samples;
        double then = analyze_share(baseline, function->name);
        double sigma = sqrt(now * (1 - now) / (double)data->samples +
                            then * (1 - then) / (double)baseline->samples);
        if (now - then > CHANGE_SHARE && now - then > 4 * sigma) {
            struct finding *finding = add(findings, "changed-share", now - then,
                "%s takes %.1f %% of the samples, was %.1f %%.", function->name, now * 100,
                then * 100);
            finding->evidence = xasprintf(
                "difference %.1f points, standard error %.1f", (now - then) * 100, sigma * 100);
        }
    }
}

static void compare_latency(struct findings *findings, const char *name, const char *what,
    const struct analyze_latency *data, const struct analyze_latency *baseline)
{
    uint64_t now_ns = analyze_quantile(data, 0.99), then_ns = analyze_quantile(baseline, 0.99);
    // Quantiles are ends of buckets that double: only two of them apart is a difference.
    if (data->count > 100 && baseline->count > 100 && now_ns >= 4 * then_ns) {
        struct finding *finding = add(findings, name, log2((double)now_ns / (double)then_ns) / 10,
            "%s: 99 %% are below %.2f ms, were below %.2f ms.", what, (double)now_ns / 1e6,
            (double)then_ns / 1e6);
        finding->evidence = xasprintf("%llu waits, baseline %llu", (unsigned long long)data->count,
            (unsigned long long)baseline->count);
    }
}

// ---- output ---------------------------------------------------------------------------

static int compare_findings(const void *left, const void *right)
{
    const struct finding *a = left, *b = right;
    return a->weight > b->weight ? -1 : a->weight < b->weight ? 1 : 0;
}

static void print_json(const struct findings *findings)
{
    json_t *array = json_array();
    for (size_t i = 0; i < findings->count; i++) {
        const struct finding *finding = &findings->items[i];
        json_array_append_new(
            array, json_pack("{s:s,s:f,s:s,s:s,s:s}", "name", finding->name, "weight",
                       finding->weight, "text", finding->text, "evidence",
                       finding->evidence != NULL ? finding->evidence : "", "next",
                       finding->next != NULL ? finding->next : ""));
    }
    json_dumpf(array, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(array);
}

static void print_text(const struct findings *findings, const struct analyze_data *data)
{
    printf("%s: %llu samples in %.1f s on %u vCPUs\n", data->path,
        (unsigned long long)data->samples, (double)(data->last_ns - data->first_ns) / 1e9,
        data->cpu_count);
    if (data->counter_count == 0) {
        printf(
            "There are no counters beside it (%s.counters): rates are not judged.\n", data->path);
    }
    if (findings->count == 0) {
        puts("Nothing stands out.");
    }
    for (size_t i = 0; i < findings->count; i++) {
        const struct finding *finding = &findings->items[i];
        printf("\n%zu. %s\n", i + 1, finding->text);
        if (finding->evidence != NULL) {
            printf("   Evidence: %s.\n", finding->evidence);
        }
        if (finding->next != NULL) {
            printf("   Next: %s.\n", finding->next);
        }
    }
}

int perf_analyze(int argc, char **argv)
{
    static const struct option options[] = {
        {"baseline", required_argument, NULL, 'b'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {},
    };
    const char *baseline_path = NULL;
    bool json = false;
    int code;
    while ((code = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (code == 'b') {
            baseline_path = optarg;
        } else if (code == 'j') {
            json = true;
        } else if (code == 'h') {
            fputs(help, stdout);
            return 0;
        } else {
            die("see ./lodger perf analyze --help");
        }
    }
    struct analyze_data data;
    struct findings findings = {};
    analyze_read(&data, optind < argc ? argv[optind] : "perf.data");
    if (baseline_path != NULL) {
        struct analyze_data baseline;
        analyze_read(&baseline, baseline_path);
        compare_counters(&findings, &data, &baseline);
        compare_functions(&findings, &data, &baseline);
        compare_latency(&findings, "changed-run-queue", "Waits for a vCPU", &data.run_queue,
            &baseline.run_queue);
        compare_latency(&findings, "changed-disk", "Disk requests", &data.disk, &baseline.disk);
    } else {
        judge_steal(&findings, &data);
        judge_locks(&findings, &data);
        judge_tlb(&findings, &data);
        judge_notifications(&findings, &data);
        judge_disk(&findings, &data);
        judge_run_queue(&findings, &data);
        judge_rates(&findings, &data);
        judge_hot(&findings, &data);
        judge_peaks(&findings, &data);
    }
    qsort(findings.items, findings.count, sizeof(findings.items[0]), compare_findings);
    if (json) {
        print_json(&findings);
    } else {
        print_text(&findings, &data);
    }
    return 0;
}
