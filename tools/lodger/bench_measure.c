// SPDX-License-Identifier: MIT
//
// Measuring one kernel: boots under `-icount shift=0,sleep=off`, where one nanosecond of the
// guest's time is one instruction.
//
// Two boots: one whose first program is guests/bench/first.c, with QEMU's trace of device accesses
// on; one that runs guests/bench/bench.c through the test runner. Both kernels get the same
// machine, CPU model and programs.
#include "tools/lodger/bench.h"

#include "tools/lodger/description.h"
#include "tools/lodger/qemu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// QEMU counts each repetition of REP MOVSB and REP STOSB: without ERMS no kernel chooses them for
// its bulk copies.
#define CPU_MODEL          "max,-erms,-fsrm"
#define BENCH_TIMEOUT_NS   600000000000u
#define BENCH_PROGRAM      "bench"
#define BOOT_MEMORY_BYTES  (UINT64_C(128) << 20)
#define MICRO_MEMORY_BYTES (UINT64_C(512) << 20)

static void set_failure(struct bench_figures *figures, char *failure)
{
    if (figures->failure == NULL) {
        figures->failure = failure;
    } else {
        free(failure);
    }
}

static void set_value(struct bench_figures *figures, const char *name, double value)
{
    const struct bench_entry *entry = bench_find(name);
    if (entry != NULL) {
        figures->values[entry - bench_entries] = value;
    }
}

static void prepare_machine(
    struct machine *machine, const struct bench_kernel *kernel, uint64_t memory_bytes)
{
    machine_init(machine);
    machine->accel = ACCEL_TCG;
    machine->icount = true;
    machine->cpus = 1;
    machine->memory_bytes = memory_bytes;
    machine->cpu_model = CPU_MODEL;
    machine->kernel = kernel->image;
    strings_add_words(&machine->append,
        kernel->foreign ? "mitigations=off console=ttyS0 quiet loglevel=0 panic=-1" : "quiet");
    free(machine_settle(machine));
}

static char *write_initrd(const char *kernel_title, const char *what, struct cpio *cpio)
{
    char *path = tree_path("out/bench/%s-%s.cpio", kernel_title, what);
    char *folder = tree_path("out/bench");
    folder_create(folder);
    free(folder);
    description_add_basics(
        cpio, tree_path("out/host/guest"), &(struct strings){}, &(struct strings){}, NULL);
    cpio_finish(cpio);
    file_write(path, cpio->archive.data, cpio->archive.len_bytes);
    cpio_free(cpio);
    return path;
}

static bool pack_program(
    struct cpio *cpio, const char *path, const char *program, struct bench_figures *figures)
{
    char *source = tree_path("out/host/guest/%s", program);
    int error = cpio_add_host_file(cpio, path, 0755, source);
    if (error != 0) {
        set_failure(figures, xasprintf("cannot read %s: %s", source, strerror(-error)));
    }
    free(source);
    return error == 0;
}

// Says why a boot did not give what it should.
static char *describe_end(const struct bench_kernel *kernel, const struct qemu_run *run)
{
    size_t len_bytes = run->out.len_bytes < 800 ? run->out.len_bytes : 800;
    size_t log_bytes = run->log.len_bytes < 800 ? run->log.len_bytes : 800;
    return xasprintf("%s: the guest ended with \"%s\"; its console ends with:\n%.*s\n%.*s",
        kernel->title, outcome_name(run->outcome), (int)len_bytes,
        (const char *)run->out.data + run->out.len_bytes - len_bytes, (int)log_bytes,
        (const char *)run->log.data + run->log.len_bytes - log_bytes);
}

static size_t count_lines(const char *path)
{
    size_t count = 0;
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return 0;
    }
    for (int c = getc(file); c != EOF; c = getc(file)) {
        count += c == '\n';
    }
    fclose(file);
    return count;
}

static bool has_marker(void *context, const struct buffer *console)
{
    return memmem(console->data, console->len_bytes, context, strlen(context)) != NULL &&
           console->data[console->len_bytes - 1] == '\n';
}

static void measure_boot(const struct bench_kernel *kernel, struct bench_figures *figures)
{
    struct machine machine;
    struct cpio cpio = {};
    if (!pack_program(&cpio, "/init", "bench-first", figures)) {
        return;
    }
    prepare_machine(&machine, kernel, BOOT_MEMORY_BYTES);
    machine.initrd = write_initrd(kernel->title, "boot", &cpio);
    machine.trace_file = tree_path("out/bench/%s-accesses.log", kernel->title);
    struct qemu_run run = {.machine = &machine,
        .mode = STREAMS_CAPTURED,
        .foreign_kernel = kernel->foreign,
        .timeout_ns = BENCH_TIMEOUT_NS,
        .log_fd = -1,
        .on_output = has_marker,
        .context = "boot "};
    qemu_run(&run);
    buffer_add(&run.out, "", 1);
    const char *line = strstr((const char *)run.out.data, "boot ");
    if (line == NULL) {
        set_failure(figures, describe_end(kernel, &run));
    } else {
        set_value(figures, "boot", strtod(line + strlen("boot "), NULL));
        set_value(figures, "boot-accesses", (double)count_lines(machine.trace_file));
    }
    qemu_run_free(&run);
}

// Reads the lines `=bench NAME round OPERATIONS NANOSECONDS` (guests/bench/README.md).
static void read_micro(char *text, struct bench_figures *figures)
{
    for (char *line = strtok(text, "\r\n"); line != NULL; line = strtok(NULL, "\r\n")) {
        char name[32];
        double iterations, total_ns;
        if (sscanf(line, "=bench %31s round %lf %lf", name, &iterations, &total_ns) == 3 && iterations > 0) {
            set_value(figures, name, total_ns / iterations);
        }
    }
}

static bool is_micro(const struct bench_entry *entry)
{
    return strcmp(entry->name, "image") != 0 && strncmp(entry->name, "boot", 4) != 0;
}

static bool wants(const bool *wanted, bool micro)
{
    for (size_t i = 0; i < bench_entry_count; i++) {
        if (wanted[i] && is_micro(&bench_entries[i]) == micro) {
            return true;
        }
    }
    return false;
}

static void measure_micro(
    const struct bench_kernel *kernel, const bool *wanted, struct bench_figures *figures)
{
    struct machine machine;
    struct cpio cpio = {};
    struct buffer list = {};
    if (!pack_program(&cpio, "/init", "testrunner", figures) ||
        !pack_program(&cpio, "/tests/" BENCH_PROGRAM, BENCH_PROGRAM, figures)) {
        return;
    }
    for (size_t i = 0; i < bench_entry_count; i++) {
        if (wanted[i] && is_micro(&bench_entries[i])) {
            char *line = xasprintf(BENCH_PROGRAM " %s\n", bench_entries[i].name);
            buffer_add(&list, line, strlen(line));
            free(line);
        }
    }
    cpio_add_file(&cpio, "/tests/list", 0644, list.data, list.len_bytes);
    buffer_free(&list);
    prepare_machine(&machine, kernel, MICRO_MEMORY_BYTES);
    machine.initrd = write_initrd(kernel->title, "micro", &cpio);
    strings_add_words(&machine.append, "-- --timeout 300");
    struct qemu_run run = {.machine = &machine,
        .mode = STREAMS_CAPTURED,
        .foreign_kernel = kernel->foreign,
        .timeout_ns = BENCH_TIMEOUT_NS,
        .log_fd = -1,
        .on_output = has_marker,
        .context = "@@@ done "};
    qemu_run(&run);
    if (run.out.len_bytes == 0 || !has_marker("@@@ done ", &run.out)) {
        set_failure(figures, describe_end(kernel, &run));
    }
    buffer_add(&run.out, "", 1);
    read_micro((char *)run.out.data, figures);
    qemu_run_free(&run);
}

void bench_measure(
    const struct bench_kernel *kernel, const bool *wanted, struct bench_figures *figures)
{
    struct stat about;
    for (size_t i = 0; i < BENCH_MAX; i++) {
        figures->values[i] = -1;
    }
    figures->failure = NULL;
    if (stat(kernel->file, &about) != 0 || access(kernel->image, R_OK) != 0) {
        set_failure(figures, xasprintf("%s: there is no file %s", kernel->title, kernel->file));
        return;
    }
    set_value(figures, "image", (double)about.st_size);
    if (wants(wanted, false)) {
        measure_boot(kernel, figures);
    }
    if (wants(wanted, true)) {
        measure_micro(kernel, wanted, figures);
    }
}
