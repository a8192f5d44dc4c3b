// SPDX-License-Identifier: MIT
//
// Claim: files of the writer are read by the ordinary `perf` (script, report) with every field as
// it was written - while they grow, when they are finished, as a stream, after a full disk.
// Method: made-up records, and perf's own output on them. The program whose functions the samples
// name is this test itself.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tools/lodger/perf/data_writer.h"
#include "tools/lodger/perf/record_build.h"
#include "tools/lodger/process.h"

#define MACHINE_PID 4242
#define VCPU_TID    4250
#define EVENT_ID    77
#define MAP_START   0x10000000ull

static char program[512]; // this test

// What `perf ARGUMENTS` prints. perf must succeed.
static char *perf(const char *format, ...) __attribute__((format(printf, 1, 2)));
static char *perf(const char *format, ...)
{
    char arguments[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(arguments, sizeof(arguments), format, list);
    va_end(list);
    char *line = xasprintf("perf %s 2>&1", arguments);
    char *command[] = {"sh", "-c", line, NULL};
    struct process_result result;
    process_run(command, NULL, 60000000000ull, &result);
    buffer_add(&result.output, "", 1);
    char *text = (char *)result.output.data;
    if (!process_succeeded(&result)) {
        fail_msg("%s\n%s", line, text);
    }
    free(line);
    return text;
}

static void expect_text(const char *text, const char *expected)
{
    if (strstr(text, expected) == NULL) {
        fail_msg("expected \"%s\" in:\n%s", expected, text);
    }
}

static const uint64_t event_id = EVENT_ID;
static const struct perf_data_id index_id = {EVENT_ID, 0, UINT64_MAX, VCPU_TID};
static const struct perf_data_guest_id guest_id = {MACHINE_PID, 1};

static void make_head(struct data_event *event, struct data_head *head)
{
    *event = (struct data_event){
        .attr = {.type = PERF_TYPE_SOFTWARE,
            .size = sizeof(struct perf_event_attr),
            .config = PERF_COUNT_SW_CPU_CLOCK,
            .sample_type = RECORD_SAMPLE_TYPE,
            .sample_id_all = 1,
            .mmap = 1,
            .mmap2 = 1,
            .comm = 1,
            .task = 1,
            .freq = 1,
            .sample_freq = 1000},
        .name = "guest-clock",
        .ids = &event_id,
        .id_count = 1,
    };
    *head = (struct data_head){
        .events = event, .event_count = 1, .ids = &index_id, .guest_ids = &guest_id, .id_count = 1};
}

static struct record_id at(uint64_t time_ns)
{
    return (struct record_id){.id = EVENT_ID, .pid = 33, .tid = 34, .cpu = 1, .time_ns = time_ns};
}

// A function whose name perf must find.
__attribute__((noinline)) static void function_that_samples_name(void)
{
    __asm__ volatile("");
}

// The address at which the guest has that function, when its file is mapped at MAP_START.
static uint64_t guest_address(void)
{
    extern const char __ehdr_start;
    return MAP_START +
           (uint64_t)((uintptr_t)&function_that_samples_name - (uintptr_t)&__ehdr_start);
}

static void add_task(struct buffer *records)
{
    struct record_id id = at(1000000000);
    record_add_comm(records, &id, "a-longer-name-than-fits", true);
    struct record_mmap mmap = {.id = id,
        .start = MAP_START,
        .len_bytes = 16u << 20,
        .protection = PROT_READ | PROT_EXEC,
        .flags = MAP_PRIVATE,
        .path = program};
    record_add_mmap(records, &mmap);
}

static void add_sample(struct buffer *records, uint64_t time_ns)
{
    uint64_t callers[2] = {guest_address() + 1, 0x1234};
    struct record_sample sample = {.id = at(time_ns),
        .user = true,
        .ip = guest_address(),
        .period = 1000000,
        .user_frames = callers,
        .user_count = 2};
    record_add_sample(records, &sample);
}

static char *new_path(void)
{
    static unsigned count;
    return xasprintf("%s/%u.data", folder_temporary(), count++);
}

static void grows_and_finishes(void **state)
{
    struct data_event event;
    struct data_head head;
    make_head(&event, &head);
    char *path = new_path();
    struct data_writer *writer;
    assert_int_equal(data_writer_open(path, &head, &writer), 0);
    struct buffer records = {};
    add_task(&records);
    for (unsigned round = 0; round < 3; round++) {
        add_sample(&records, 2000000000 + round * 1000000);
        record_add_plain(&records, PERF_DATA_RECORD_FINISHED_ROUND);
        data_writer_add(writer, &records);
        records.len_bytes = 0;
        assert_int_equal(data_writer_publish(writer), 0);
        // Half a record that is not published does no harm.
        FILE *file = fopen(path, "a");
        fwrite("\x09\0\0\0", 1, 4, file);
        fclose(file);
        char *text = perf("script -i %s -F +machine_pid,+vcpu,+period", path);
        unsigned count = 0;
        for (char *found = text; (found = strstr(found, "guest-clock:")) != NULL; found++) {
            count++;
        }
        assert_int_equal(count, round + 1);
        expect_text(text, "VM: 4242 VCPU:001 a-longer-name-t    34 [001]");
        expect_text(text, "2.000000:    1000000 guest-clock:");
        expect_text(text, "function_that_samples_name");
        free(text);
    }
    char *command[] = {"lodger", "perf", "record", NULL};
    struct data_tail tail = {.command = command, .first_ns = 2000000000, .last_ns = 2002000000};
    assert_int_equal(data_writer_finish(writer, &tail), 0);
    char *text = perf("report -i %s --header --stdio -F overhead,comm,dso,sym", path);
    expect_text(text, "# cmdline : lodger perf record");
    expect_text(text, "time of first sample : 2.000000");
    expect_text(text, "Samples: 3  of event 'guest-clock'");
    expect_text(text, "Event count (approx.): 3000000");
    expect_text(text, "[u] function_that_samples_name");
    expect_text(text, "a-longer-name-t");
    free(text);
    buffer_free(&records);
    free(path);
}

static void other_records(void **state)
{
    struct data_event event;
    struct data_head head;
    make_head(&event, &head);
    char *path = new_path();
    struct data_writer *writer;
    assert_int_equal(data_writer_open(path, &head, &writer), 0);
    struct buffer records = {};
    struct record_id id = at(3000000000);
    record_add_fork(&records, &id, 7, 8);
    record_add_switch(&records, &id, true, true, 55, 56);
    record_add_switch(&records, &id, false, false, 57, 58);
    record_add_lost(&records, &id, 99);
    record_add_exit(&records, &id);
    static const uint8_t build_id[20] = {0xab, 0xcd, 1, 2, 3};
    struct record_mmap mmap = {.id = id,
        .kernel = true,
        .start = 0xffffffff81000000ull,
        .len_bytes = 0x200000,
        .protection = PROT_READ | PROT_EXEC,
        .flags = MAP_PRIVATE,
        .build_id = build_id,
        .build_id_bytes = 20,
        .path = "/some/kernel.elf"};
    record_add_mmap(&records, &mmap);
    data_writer_add(writer, &records);
    buffer_free(&records);
    char *command[] = {"lodger", NULL};
    assert_int_equal(data_writer_finish(writer, &(struct data_tail){.command = command}), 0);
    char *text = perf("script -i %s --show-task-events --show-mmap-events --show-switch-events "
                      "--show-lost-events -D",
        path);
    expect_text(text, "PERF_RECORD_FORK(33:34):(7:8)");
    expect_text(text, "PERF_RECORD_SWITCH_CPU_WIDE OUT preempt  next pid/tid:    55/56");
    expect_text(text, "PERF_RECORD_SWITCH_CPU_WIDE IN           prev pid/tid:    57/58");
    expect_text(text, "PERF_RECORD_LOST lost 99");
    expect_text(text, "PERF_RECORD_EXIT(33:34):(33:34)");
    expect_text(text,
        "[0xffffffff81000000(0x200000) @ 0 <abcd010203000000000000000000000000000000>]: "
        "r-xp /some/kernel.elf");
    expect_text(text, "machine_pid: 4242");
    free(text);
    free(path);
}

static void as_a_stream(void **state)
{
    struct data_event event;
    struct data_head head;
    make_head(&event, &head);
    char *path = new_path();
    // Standard output is the writer's target.
    fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0 && dup2(fd, STDOUT_FILENO) >= 0);
    close(fd);
    struct data_writer *writer;
    assert_int_equal(data_writer_open("-", &head, &writer), 0);
    struct buffer records = {};
    add_task(&records);
    add_sample(&records, 2000000000);
    data_writer_add(writer, &records);
    buffer_free(&records);
    char *command[] = {"lodger", NULL};
    int error = data_writer_finish(writer, &(struct data_tail){.command = command});
    dup2(saved, STDOUT_FILENO);
    close(saved);
    assert_int_equal(error, 0);
    char *text = perf("script -i - -F +machine_pid,+vcpu < %s", path);
    expect_text(text, "VM: 4242 VCPU:001 a-longer-name-t    34 [001]     2.000000:");
    expect_text(text, "function_that_samples_name");
    free(text);
    free(path);
}

// A limit on file sizes stands for the full disk.
static void full_disk(void **state)
{
    struct data_event event;
    struct data_head head;
    make_head(&event, &head);
    char *path = new_path();
    struct data_writer *writer;
    assert_int_equal(data_writer_open(path, &head, &writer), 0);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit old;
    getrlimit(RLIMIT_FSIZE, &old);
    struct rlimit limit = {20000, old.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
    struct buffer records = {};
    add_task(&records);
    int error = 0;
    unsigned published = 0;
    for (unsigned round = 0; round < 1000 && error == 0; round++) {
        add_sample(&records, 2000000000 + round);
        data_writer_add(writer, &records);
        records.len_bytes = 0;
        error = data_writer_publish(writer);
        published += error == 0 ? 1 : 0;
    }
    assert_int_equal(error, -EFBIG);
    assert_in_range(published, 50, 999);
    char *command[] = {"lodger", NULL};
    assert_int_equal(data_writer_finish(writer, &(struct data_tail){.command = command}), -EFBIG);
    setrlimit(RLIMIT_FSIZE, &old);
    buffer_free(&records);
    char *text = perf("script -i %s -F event | grep -c guest-clock", path);
    assert_int_equal(atoi(text), published);
    free(text);
    free(path);
    // Not even the header.
    assert_int_equal(data_writer_open("/nonexistent/perf.data", &head, &writer), -ENOENT);
    assert_int_equal(data_writer_open("/dev/full", &head, &writer), -ENOSPC);
}

// Extreme values make records that perf still reads.
static void extremes(void **state)
{
    struct data_event event;
    struct data_head head;
    make_head(&event, &head);
    char *path = new_path();
    struct data_writer *writer;
    assert_int_equal(data_writer_open(path, &head, &writer), 0);
    char *text = xmalloc(10001);
    memset(text, 'x', 10000);
    text[10000] = '\0';
    uint64_t frames[600];
    for (unsigned i = 0; i < 600; i++) {
        frames[i] = UINT64_MAX - i;
    }
    struct buffer records = {};
    struct record_id id = at(UINT64_MAX / 2);
    record_add_comm(&records, &id, text, false);
    record_add_comm(&records, &id, "", false);
    struct record_mmap mmap = {
        .id = id, .start = UINT64_MAX, .len_bytes = UINT64_MAX, .path = text};
    record_add_mmap(&records, &mmap);
    struct record_sample sample = {.id = id,
        .kernel_frames = frames,
        .user_frames = frames,
        .kernel_count = 600,
        .user_count = 600};
    record_add_sample(&records, &sample);
    data_writer_add(writer, &records);
    char *command[] = {"lodger", NULL};
    assert_int_equal(data_writer_finish(writer, &(struct data_tail){.command = command}), 0);
    char *output = perf("script -i %s", path);
    expect_text(output, "guest-clock:");
    free(output);
    buffer_free(&records);
    free(text);
    free(path);
}

int main(void)
{
    ssize_t len_bytes = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (len_bytes <= 0) {
        return 1;
    }
    setenv("HOME", folder_temporary(), 1); // no build-id cache but an empty one
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_finishes),
        cmocka_unit_test(other_records),
        cmocka_unit_test(as_a_stream),
        cmocka_unit_test(full_disk),
        cmocka_unit_test(extremes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
