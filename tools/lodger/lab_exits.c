// SPDX-License-Identifier: MIT
//
// lodger lab kvm|xen --exits: exits per operation, by the counters of the guest's host: KVM's, or
// what Xen's trace says (guests/exits/count.c).
//
// The guest's program (guests/exits) stops before and after each kind of operation until the host's
// counters have been taken. Both kernels run the same program on the same machine, one after the
// other; then once more with four vCPUs on one CPU of the host.
#include "tools/lodger/lab_exits.h"
#include "tools/lodger/build.h"
#include "tools/lodger/cpio.h"
#include "tools/lodger/description.h"
#include "tools/lodger/lab.h"
#include "tools/lodger/lab_xen.h"
#include "tools/lodger/process.h"
#include "tools/lodger/qemu.h"
#include "tools/lodger/test.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SILENCE_NS     400000000000u // Linux boots in the Xen lab of a loaded machine
#define REASONS_MAX    0x10000
#define OPERATIONS_MAX 16
#define VCPUS          4

// AMD64 Architecture Programmer's Manual, volume 2, appendix C.
enum reason {
    REASON_INTERRUPT = 0x60,
    REASON_WINDOW = 0x64, // the guest can take an interrupt now that is to be injected
    REASON_PAUSE = 0x77,
    REASON_HALT = 0x78,
    REASON_PORT = 0x7b,
    REASON_MSR = 0x7c,
    REASON_HYPERCALL = 0x81,
    REASON_PAGE = 0x400,
};

// The kinds that the table shows by themselves.
static const struct {
    const char *name;
    enum reason reason;
} shown[] = {
    {"halt", REASON_HALT},
    {"msr", REASON_MSR},
    {"call", REASON_HYPERCALL},
    {"pause", REASON_PAUSE},
    {"intr", REASON_INTERRUPT},
    {"window", REASON_WINDOW},
    {"page", REASON_PAGE},
};
#define SHOWN_COUNT (sizeof(shown) / sizeof(shown[0]))

// x2APIC MSRs (Intel SDM volume 3, 11.12.1) and the TSC deadline.
#define MSR_EOI 0x80b

// What the host's counters were at one moment, or their difference.
struct sample {
    double exits;
    double sender; // those of vCPU 0, which does the operations; the rest are what others had of it
    double shown[SHOWN_COUNT];
    double eoi; // writes of the APIC's EOI register that the host had to carry out
};

struct row {
    char *name;
    double count;
    double ns;
    struct sample cost; // of all operations together
};

struct measurement {
    struct qemu_run run;
    struct row rows[OPERATIONS_MAX];
    size_t count;
    size_t seen_bytes;    // of the console
    size_t sampled_bytes; // of what the host said
    char *pending;        // the line of the guest that a sample is being taken for
    struct sample start;
    char *failure;
    bool done;
};

// The number behind `mark` in a line, or 0.
static double number_after(const char *line, const char *mark)
{
    const char *at = strstr(line, mark);
    return at != NULL ? strtod(at + strlen(mark), NULL) : 0;
}

static void sample_read(const char *text, struct sample *sample)
{
    *sample = (struct sample){};
    char *copy = xstrdup(text);
    char *rest = copy;
    char *line;
    while ((line = strsep(&rest, "\n")) != NULL) {
        double hits = number_after(line, "hitcount:");
        if (strstr(line, "exit_reason:") != NULL) {
            unsigned reason = (unsigned)number_after(line, "exit_reason:");
            sample->exits += hits;
            const char *vcpu = strstr(line, "vcpu_id:");
            sample->sender += vcpu != NULL && number_after(line, "vcpu_id:") == 0 ? hits : 0;
            for (size_t i = 0; i < SHOWN_COUNT; i++) {
                sample->shown[i] += shown[i].reason == reason ? hits : 0;
            }
        } else if ((unsigned)number_after(line, "ecx:") == MSR_EOI) {
            sample->eoi += hits;
        }
    }
    free(copy);
}

static struct sample sample_minus(const struct sample *a, const struct sample *b)
{
    struct sample result = {
        .exits = a->exits - b->exits, .sender = a->sender - b->sender, .eoi = a->eoi - b->eoi};
    for (size_t i = 0; i < SHOWN_COUNT; i++) {
        result.shown[i] = a->shown[i] - b->shown[i];
    }
    return result;
}

// Uses a sample for the guest's line that it was taken for.
static void sample_use(struct measurement *measurement, const struct sample *sample)
{
    char name[64];
    double count, ns;
    if (sscanf(measurement->pending, "=exits end %63s %lf %lf", name, &count, &ns) == 3) {
        if (measurement->count < OPERATIONS_MAX) {
            measurement->rows[measurement->count++] = (struct row){.name = xstrdup(name),
                .count = count,
                .ns = ns,
                .cost = sample_minus(sample, &measurement->start)};
        }
    } else {
        measurement->start = *sample;
    }
    free(measurement->pending);
    measurement->pending = NULL;
}

// The host has said something: when it is a whole sample, the guest goes on.
static void on_control(void *context, const struct buffer *control)
{
    static const char end[] = "=end\n";
    static const char lost[] = "=lost\n";
    struct measurement *measurement = context;
    const uint8_t *from = control->data + measurement->sampled_bytes;
    size_t len_bytes = control->len_bytes - measurement->sampled_bytes;
    const uint8_t *mark = memmem(from, len_bytes, end, sizeof(end) - 1);
    if (measurement->failure == NULL && memmem(from, len_bytes, lost, sizeof(lost) - 1) != NULL) {
        measurement->failure = xstrdup("the host has no trace, or lost a part of it");
    }
    if (mark == NULL || measurement->pending == NULL) {
        return;
    }
    char *text = xstrndup((const char *)from, (size_t)(mark - from));
    struct sample sample;
    sample_read(text, &sample);
    free(text);
    measurement->sampled_bytes = (size_t)(mark - control->data) + sizeof(end) - 1;
    sample_use(measurement, &sample);
    buffer_add(&measurement->run.to_console, "\n", 1);
}

// The guest has printed something: returns true when it is done.
static bool on_output(void *context, const struct buffer *console)
{
    struct measurement *measurement = context;
    const char *data = (const char *)console->data;
    const char *end;
    while ((end = memchr(data + measurement->seen_bytes, '\n',
                console->len_bytes - measurement->seen_bytes)) != NULL) {
        const char *start = data + measurement->seen_bytes;
        char *line = xstrndup(start, (size_t)(end - start));
        measurement->seen_bytes = (size_t)(end - data) + 1;
        const char *said = strstr(line, "=exits ");
        if (said != NULL && strncmp(said, "=exits failed", 13) == 0) {
            measurement->failure = xstrdup(said + 7);
        } else if (said != NULL && strncmp(said, "=exits done", 11) == 0) {
            measurement->done = true;
        } else if (said != NULL) {
            measurement->pending = xstrdup(said);
            buffer_add(&measurement->run.to_control, "sample\n", 7);
        }
        free(line);
    }
    return measurement->done || measurement->failure != NULL;
}

static char *pack_guest(bool overcommitted, const struct strings *names)
{
    char *programs = tree_path("out/host/guest");
    char *program = xasprintf("%s/exits", programs);
    struct cpio cpio = {};
    struct strings arguments = {}, env = {};
    int error = cpio_add_host_file(&cpio, "/bin/exits", 0755, program);
    if (error != 0) {
        die("cannot read %s: %s", program, strerror(-error));
    }
    strings_add(&arguments, "/bin/exits");
    if (overcommitted) {
        strings_add(&arguments, "--overcommit");
    }
    for (size_t i = 0; i < names->count; i++) {
        strings_add(&arguments, names->items[i]);
    }
    description_add_basics(&cpio, programs, &arguments, &env, "/");
    cpio_finish(&cpio);
    char *path = xasprintf("%s/exits%d.cpio", folder_temporary(), overcommitted);
    file_write(path, cpio.archive.data, cpio.archive.len_bytes);
    cpio_free(&cpio);
    free(program);
    free(programs);
    return path;
}

// Measures one kernel; dies if it does not get to the end.
static void measure(struct measurement *measurement, char *linux_kernel, bool overcommitted,
    bool xen, const struct strings *names)
{
    struct machine machine;
    machine_init(&machine);
    machine.cpus = VCPUS;
    machine.overcommitted = overcommitted;
    machine.type = xen ? MACHINE_XEN : MACHINE_Q35;
    machine.lab = xen ? NULL : lab_kvm_host();
    machine.accel = xen ? ACCEL_TCG : ACCEL_LAB;
    machine.initrd = pack_guest(overcommitted, names);
    machine.kernel = linux_kernel != NULL ? linux_kernel : tree_path("out/release/lodger.elf");
    strings_add_words(&machine.append, "loglevel=0 quiet");
    if (linux_kernel != NULL) {
        strings_add_words(&machine.append, xen ? "console=hvc0" : "console=ttyS0");
        strings_add_words(&machine.append, "panic=-1");
    }
    if (xen) {
        xen_count_exits(&machine);
        xen_prepare_machine(&machine, folder_temporary(), "exits");
    }
    *measurement = (struct measurement){};
    measurement->run = (struct qemu_run){.machine = &machine,
        .mode = STREAMS_CAPTURED,
        .foreign_kernel = linux_kernel != NULL,
        .silence_ns = SILENCE_NS,
        .log_fd = -1,
        .on_output = on_output,
        .on_control = on_control,
        .context = measurement};
    qemu_run(&measurement->run);
    if (!measurement->done) {
        struct qemu_run *run = &measurement->run;
        die("%s did not get to the end (%s): %s\n%.*s\n%.*s\n%.*s",
            linux_kernel != NULL ? "Linux" : "Lodger", outcome_name(run->outcome),
            measurement->failure != NULL ? measurement->failure : "", (int)run->out.len_bytes,
            (char *)run->out.data, (int)run->messages.len_bytes, (char *)run->messages.data,
            (int)run->log.len_bytes, (char *)run->log.data);
    }
    qemu_run_free(&measurement->run);
}

// Exits of one operation, without what the exchange with the host costs.
static double each(const struct measurement *measurement, size_t row, double cost, double nothing)
{
    double count = measurement->rows[row].count;
    return row > 0 && cost > nothing && count > 0 ? (cost - nothing) / count : row > 0 ? 0 : cost;
}

static double exits_of(const struct measurement *measurement, size_t row)
{
    return each(
        measurement, row, measurement->rows[row].cost.exits, measurement->rows[0].cost.exits);
}

static void print_reasons(const struct measurement *measurement, size_t row)
{
    double rest = exits_of(measurement, row);
    printf(" %7.2f", each(measurement, row, measurement->rows[row].cost.sender,
                         measurement->rows[0].cost.sender));
    for (size_t i = 0; i < SHOWN_COUNT; i++) {
        double value = each(measurement, row, measurement->rows[row].cost.shown[i],
            measurement->rows[0].cost.shown[i]);
        rest -= value;
        printf(" %7.2f", value);
    }
    printf(" %7.2f", rest > 0 ? rest : 0);
    printf(" %7.2f",
        each(measurement, row, measurement->rows[row].cost.eoi, measurement->rows[0].cost.eoi));
    printf("  %10.1f us\n", measurement->rows[row].ns / measurement->rows[row].count / 1000);
}

static void print_table(const struct measurement *here, const struct measurement *on_linux)
{
    for (size_t row = 0; row < here->count; row++) {
        double a = exits_of(here, row);
        double b = exits_of(on_linux, row);
        printf("%-22s lodger %9.2f", here->rows[row].name, a);
        print_reasons(here, row);
        printf("%-22s linux  %9.2f", "", b);
        print_reasons(on_linux, row);
        if (b > 0) {
            printf("%-22s ratio  %9.2f, time %.2f\n", "", a / b,
                here->rows[row].ns / here->rows[row].count /
                    (on_linux->rows[row].ns / on_linux->rows[row].count));
        }
    }
}

static json_t *rows_json(const struct measurement *measurement)
{
    json_t *list = json_object();
    for (size_t row = 0; row < measurement->count; row++) {
        json_t *entry = json_object();
        json_object_set_new(entry, "operations", json_real(measurement->rows[row].count));
        json_object_set_new(entry, "ns", json_real(measurement->rows[row].ns));
        json_object_set_new(entry, "exits", json_real(exits_of(measurement, row)));
        for (size_t i = 0; i < SHOWN_COUNT; i++) {
            json_object_set_new(entry, shown[i].name,
                json_real(each(measurement, row, measurement->rows[row].cost.shown[i],
                    measurement->rows[0].cost.shown[i])));
        }
        json_object_set_new(entry, "vcpu0",
            json_real(each(measurement, row, measurement->rows[row].cost.sender,
                measurement->rows[0].cost.sender)));
        json_object_set_new(entry, "eoi",
            json_real(each(
                measurement, row, measurement->rows[row].cost.eoi, measurement->rows[0].cost.eoi)));
        json_object_set_new(list, measurement->rows[row].name, entry);
    }
    return list;
}

// Which of the two machines (all vCPUs on one CPU of the host, or not) are needed for the named
// operations. Dies if there is no such operation.
static void choose_machines(const struct strings *names, bool needed[2])
{
    char *program = tree_path("out/host/guest/exits");
    struct process_result list;
    process_run((char *[]){program, "--list", NULL}, NULL, 0, &list);
    buffer_add(&list.output, "", 1);
    char *rest = (char *)list.output.data;
    char *line;
    size_t found = 0;
    needed[0] = needed[1] = names->count == 0;
    while ((line = strsep(&rest, "\n")) != NULL) {
        char *name = strsep(&line, " ");
        for (size_t i = 0; i < names->count; i++) {
            if (strcmp(names->items[i], name) == 0 && strcmp(name, "nothing") != 0) {
                needed[line != NULL] = true;
                found++;
            }
        }
    }
    if (found < names->count) {
        die("lab: --exits: not all of these operations exist (%s --list)", program);
    }
    buffer_free(&list.output);
    free(program);
}

static void print_titles(const char *machine)
{
    printf("exits per operation, %s\n%-29s%10s %7s", machine, "", "all", "vCPU 0");
    for (size_t i = 0; i < SHOWN_COUNT; i++) {
        printf(" %7s", shown[i].name);
    }
    printf(" %7s %7s  %13s\n", "other", "eoi", "time");
}

int lab_exits(int argc, char **argv, const char *word)
{
    bool json = argc > 1 && strcmp(argv[1], "--json") == 0;
    bool xen = strcmp(word, "xen") == 0;
    struct strings names = {};
    for (int i = 1 + json; i < argc; i++) {
        if (argv[i][0] == '-') {
            die("lab: usage: ./lodger lab kvm|xen --exits [--json] [OPERATION...]");
        }
        strings_add(&names, argv[i]);
    }
    struct strings targets = {};
    strings_add_words(&targets, "guests:guest_programs");
    build("host", &targets);
    build("release", &(struct strings){});
    strings_free(&targets);
    char *reason = NULL;
    char *linux_kernel = reference_kernel(&reason);
    if (linux_kernel == NULL) {
        die("there is no Linux to compare with: %s", reason);
    }
    static const char *const titles[] = {
        "four vCPUs on four CPUs of the host", "four vCPUs on one CPU of the host"};
    bool needed[2];
    choose_machines(&names, needed);
    json_t *result = json_object();
    for (int overcommitted = 0; overcommitted < 2; overcommitted++) {
        struct measurement here, on_linux;
        if (!needed[overcommitted]) {
            continue;
        }
        measure(&here, NULL, overcommitted == 1, xen, &names);
        measure(&on_linux, linux_kernel, overcommitted == 1, xen, &names);
        if (json) {
            json_t *both = json_object();
            json_object_set_new(both, "lodger", rows_json(&here));
            json_object_set_new(both, "linux", rows_json(&on_linux));
            json_object_set_new(result, titles[overcommitted], both);
            continue;
        }
        print_titles(titles[overcommitted]);
        print_table(&here, &on_linux);
        fflush(stdout);
    }
    if (json) {
        json_dumpf(result, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    json_decref(result);
    strings_free(&names);
    return 0;
}
