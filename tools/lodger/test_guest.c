// SPDX-License-Identifier: MIT
//
// Running guest tests: many in one boot, on this kernel and on Linux.
//
// A boot's /init is guests/testrunner, which runs the tests that /tests/list names and prints, for
// each,
//
//   @@@ begin NAME
//   what the test printed
//   @@@ end NAME exit 0 | signal 11 | timeout
//
// A test without an end took the machine down with it or hung: it has failed, and those after it
// get another boot.
//
// What Linux says is remembered in out/cache/linux-results under a hash of everything that it
// depends on, since neither the test program nor Debian's kernel changes often.
#include "tools/lodger/description.h"
#include "tools/lodger/device.h"
#include "tools/lodger/efi_image.h"
#include "tools/lodger/lab_xen.h"
#include "tools/lodger/qemu.h"
#include "tools/lodger/report.h"
#include "tools/lodger/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// A boot in which nothing is printed for this long, beyond the time a test may take, hangs.
#define SILENCE_S 60
// Guests with less memory get the test programs alone, without busybox.
#define MEMORY_FOR_BUSYBOX_BYTES (48u << 20)
// The least that Debian's kernel is given.
#define MEMORY_FOR_LINUX_BYTES (256u << 20)
// How often a test that fails on Linux is tried there.
#define LINUX_TRIES_MAX 3

// What one kernel made of one test.
struct verdict {
    char *end;    // "exit 0", "signal 11", "timeout", "panic"...; NULL: not run yet
    char *output; // what the test printed
    uint64_t duration_ns;
};

static _Atomic unsigned disk_number; // of make_disks(), by several threads

// One boot of a kernel with some tests.
struct boot {
    struct machine machine;
    struct strings append; // boot options
    struct test **tests;
    struct verdict **verdicts;
    size_t count;
    char *initrd;
    char *command; // by hand
    uint64_t timeout_s;

    // While it runs.
    size_t seen_bytes;  // of the console, as far as they were looked at
    size_t ended_count; // tests
    uint64_t last_end_ns;
};

static const char *program_name(const struct test *test)
{
    return strrchr(test->program, '/') + 1;
}

// ---- the initial file system ----

static void pack_host_file(struct cpio *cpio, const char *path, mode_t mode, const char *source)
{
    int error = cpio_add_host_file(cpio, path, mode, source);
    if (error != 0) {
        die("cannot read %s: %s", source, strerror(-error));
    }
}

static void pack_tests(const struct boot *boot)
{
    struct cpio cpio = {};
    struct buffer list = {};
    char *programs = tree_path("out/host/guest");
    char *runner = xasprintf("%s/testrunner", programs);
    pack_host_file(&cpio, "/init", 0755, runner);
    for (size_t i = 0; i < boot->count; i++) {
        const struct test *test = boot->tests[i];
        char *path = xasprintf("/tests/%s", program_name(test));
        pack_host_file(&cpio, path, 0755, test->program);
        free(path);
        buffer_add(&list, program_name(test), strlen(program_name(test)));
        for (size_t arg = 0; arg < test->args.count; arg++) {
            buffer_add(&list, " ", 1);
            buffer_add(&list, test->args.items[arg], strlen(test->args.items[arg]));
        }
        buffer_add(&list, "\n", 1);
        for (size_t file = 0; file < test->files.count; file++) {
            const char *source = test->files.items[file];
            char *data = xasprintf("/data/%s", strrchr(source, '/') + 1);
            pack_host_file(&cpio, data, 0755, source);
            free(data);
        }
    }
    cpio_add_file(&cpio, "/tests/list", 0644, list.data, list.len_bytes);
    if (boot->machine.memory_bytes >= MEMORY_FOR_BUSYBOX_BYTES) {
        struct description description;
        char *path = tree_path("guests/busybox/guest.txt");
        description_read(path, programs, &cpio, &description);
        free(path);
    }
    description_add_basics(&cpio, programs, &(struct strings){}, &(struct strings){}, NULL);
    cpio_finish(&cpio);
    file_write(boot->initrd, cpio.archive.data, cpio.archive.len_bytes);
    cpio_free(&cpio);
    buffer_free(&list);
    free(programs);
    free(runner);
}

// ---- reading what the test runner printed ----

// A copy without carriage returns and NUL bytes, which a terminal adds or a broken test prints.
static char *clean_text(const struct buffer *buffer)
{
    char *text = xmalloc(buffer->len_bytes + 1);
    size_t len_bytes = 0;
    for (size_t i = 0; i < buffer->len_bytes; i++) {
        if (buffer->data[i] != '\r' && buffer->data[i] != '\0') {
            text[len_bytes++] = (char)buffer->data[i];
        }
    }
    text[len_bytes] = '\0';
    return text;
}

// The beginning of the line that starts with `mark`, at or after `from`, or NULL.
static char *find_line(char *from, const char *mark)
{
    size_t len_bytes = strlen(mark);
    for (char *line = from; line != NULL; line = strchr(line, '\n')) {
        line += line != from;
        if (strncmp(line, mark, len_bytes) == 0) {
            return line;
        }
    }
    return NULL;
}

static char *line_after(char *line)
{
    char *end = strchrnul(line, '\n');
    return *end == '\n' ? end + 1 : end;
}

// Fills the verdicts of the tests that ran, in the order of the list. Returns how many have an end;
// `*rest` is what follows the last of them.
static size_t read_verdicts(const struct boot *boot, char *text, char **rest)
{
    size_t done = 0;
    *rest = text;
    for (; done < boot->count; done++) {
        const char *name = program_name(boot->tests[done]);
        // Firmware may have left the cursor in the middle of a line, so this mark can stand
        // anywhere.
        char *begin_mark = xasprintf("@@@ begin %s\n", name);
        char *end_mark = xasprintf("@@@ end %s ", name);
        char *begin = strstr(*rest, begin_mark);
        char *end = begin != NULL ? find_line(begin, end_mark) : NULL;
        if (end != NULL) {
            char *output = line_after(begin);
            char *word = end + strlen(end_mark);
            boot->verdicts[done]->output = xstrndup(output, (size_t)(end - output));
            boot->verdicts[done]->end = xstrndup(word, strcspn(word, "\n"));
            *rest = line_after(end);
        }
        free(begin_mark);
        free(end_mark);
        if (end == NULL) {
            break;
        }
    }
    return done;
}

// ---- a boot ----

// Follows what the test runner prints: takes the time of each test's end, and ends the boot once
// the runner is done, whatever power-off does then.
static bool runner_printed(void *context, const struct buffer *console)
{
    static const char end_mark[] = "\n@@@ end ";
    static const char done_mark[] = "\n@@@ done ";
    struct boot *boot = context;
    const uint8_t *from = console->data + boot->seen_bytes;
    const uint8_t *end = console->data + console->len_bytes;
    const uint8_t *mark;
    while ((mark = memmem(from, (size_t)(end - from), end_mark, sizeof(end_mark) - 1)) != NULL) {
        uint64_t now_ns = time_now_ns();
        if (boot->ended_count < boot->count) {
            boot->verdicts[boot->ended_count++]->duration_ns = now_ns - boot->last_end_ns;
        }
        boot->last_end_ns = now_ns;
        from = mark + sizeof(end_mark) - 1;
    }
    bool done = memmem(from, (size_t)(end - from), done_mark, sizeof(done_mark) - 1) != NULL;
    // The beginning of a mark may have arrived without its rest.
    size_t kept_bytes = sizeof(done_mark) - 2;
    size_t left_bytes = (size_t)(end - from);
    boot->seen_bytes = console->len_bytes - (left_bytes < kept_bytes ? left_bytes : kept_bytes);
    return done;
}

// Says what happened to the first test that has no end.
static void judge_broken_end(
    const struct boot *boot, size_t done, const struct qemu_run *run, const char *rest)
{
    struct verdict *verdict = boot->verdicts[done];
    char *elf = tree_path("out/%s/lodger.elf", boot->machine.variant);
    char *panic = report_panic_text(&run->log, elf);
    char *log = clean_text(&run->log);
    char *messages = clean_text(&run->messages);
    size_t log_len = strlen(log);
    const char *log_end = log_len > 4000 ? log + log_len - 4000 : log;
    verdict->end = xstrdup(run->outcome == OUTCOME_TIMEOUT || run->outcome == OUTCOME_STOPPED
                               ? "hang"
                               : outcome_name(run->outcome));
    verdict->output = xasprintf("%s\n--- the kernel's log ends with ---\n%s\n%s%s", rest,
        panic != NULL ? "" : log_end, panic != NULL ? panic : "", messages);
    free(panic);
    free(log);
    free(messages);
    free(elf);
}

// Chooses what is booted. With UEFI our kernel, files and boot options become one image.
static void prepare_images(struct boot *boot, bool on_linux)
{
    struct machine *machine = &boot->machine;
    machine->initrd = boot->initrd;
    machine->append = (struct strings){};
    for (size_t i = 0; i < boot->append.count; i++) {
        strings_add(&machine->append, boot->append.items[i]);
    }
    if (machine->firmware == FIRMWARE_UEFI && !on_linux) {
        char *image = tree_path("out/%s/lodger.img", machine->variant);
        char *folder = tree_path("out/test");
        efi_prepare_machine(machine, image, folder, strrchr(boot->initrd, '/') + 1);
        free(image);
        free(folder);
    } else if (machine->type == MACHINE_XEN) {
        char *folder = tree_path("out/test");
        xen_prepare_machine(machine, folder, strrchr(boot->initrd, '/') + 1);
        free(folder);
    }
}

// Boots once. Returns how many of the tests have a verdict now, which is at least one.
static size_t boot_once(struct boot *boot, bool on_linux)
{
    pack_tests(boot);
    prepare_images(boot, on_linux);
    struct strings command = {};
    machine_command(
        &boot->machine, &(struct machine_streams){.by_hand = true, .out = -1, .err = -1}, &command);
    free(boot->command);
    boot->command = shell_quote_all(command.items);
    strings_free(&command);

    boot->seen_bytes = 0;
    boot->ended_count = 0;
    boot->last_end_ns = time_now_ns();
    struct qemu_run run = {.machine = &boot->machine,
        .mode = STREAMS_CAPTURED,
        .foreign_kernel = on_linux,
        .silence_ns = (boot->timeout_s + SILENCE_S) * 1000000000u,
        .log_fd = -1,
        .on_output = runner_printed,
        .context = boot};
    qemu_run(&run);
    char *text = clean_text(&run.out);
    char *rest;
    size_t done = read_verdicts(boot, text, &rest);
    if (done < boot->count) {
        judge_broken_end(boot, done, &run, rest);
        done++;
    }
    free(text);
    qemu_run_free(&run);
    return done;
}

static void boot_until_all_have_run(struct boot *boot, bool on_linux)
{
    while (boot->count > 0) {
        size_t done = boot_once(boot, on_linux);
        boot->tests += done;
        boot->verdicts += done;
        boot->count -= done;
    }
}

// The disks that a configuration asks for (disk=SIZE[,OPTION...]): empty files, new for each group
// of tests. NULL, or why not.
static char *make_disks(struct machine *machine)
{
    for (size_t i = 0; i < machine->new_disks.count; i++) {
        const char *text = machine->new_disks.items[i];
        size_t len = strcspn(text, ",");
        char *size = xasprintf("%.*s", (int)len, text);
        uint64_t size_bytes;
        bool valid = parse_size(size, &size_bytes);
        free(size);
        if (!valid) {
            return xasprintf("disk=%s: expected disk=SIZE[,OPTION...]", text);
        }
        char *path = xasprintf("%s/disk%u.img", folder_temporary(), disk_number++);
        int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0 || ftruncate(fd, (off_t)size_bytes) != 0) {
            die("cannot make %s: %s", path, strerror(errno));
        }
        close(fd);
        char *disk = xasprintf("%s%s", path, text + len);
        char *reason = machine_add_disk(machine, disk);
        free(disk);
        free(path);
        if (reason != NULL) {
            return reason;
        }
    }
    return NULL;
}

static void prepare_machine(struct boot *boot, const struct test *test, const char *configuration)
{
    struct strings words = {};
    machine_init(&boot->machine);
    strings_add_words(&words, configuration);
    for (size_t i = 0; i < words.count; i++) {
        if (!machine_set_word(&boot->machine, words.items[i])) {
            die("%s: unknown word in a machine configuration: %s", test->name, words.items[i]);
        }
    }
    if (boot->machine.firmware == FIRMWARE_UEFI && boot->machine.type == MACHINE_MICROVM) {
        boot->machine.type = MACHINE_Q35;
    }
    char *reason = make_disks(&boot->machine);
    if (reason == NULL) {
        reason = machine_settle(&boot->machine);
    }
    if (reason != NULL) {
        die("%s: %s", test->name, reason);
    }
    strings_free(&words);
}

// The test runner's argument, and what the machine is like for tests that check it.
static void add_arguments(struct boot *boot)
{
    struct strings *append = &boot->append;
    strings_addf(append, "lodger.cpus=%u", boot->machine.cpus);
    strings_addf(append, "lodger.memory=%llu", (unsigned long long)boot->machine.memory_bytes);
    strings_add_words(append, "-- --timeout");
    strings_addf(append, "%llu", (unsigned long long)boot->timeout_s);
}

static uint64_t longest_timeout_s(struct test *const *tests, size_t count)
{
    uint64_t longest_s = 0;
    for (size_t i = 0; i < count; i++) {
        longest_s = tests[i]->timeout_s > longest_s ? tests[i]->timeout_s : longest_s;
    }
    return longest_s;
}

static char *initrd_path(const struct test *test, const char *kernel)
{
    static _Atomic unsigned last;
    char *folder = tree_path("out/test");
    folder_create(folder);
    char *path = xasprintf("%s/%s-%u.cpio", folder, kernel, atomic_fetch_add(&last, 1));
    free(folder);
    return path;
}

static void run_here(const struct test_batch *batch, const struct test_settings *settings,
    struct verdict **verdicts, char **command)
{
    struct boot boot = {.tests = batch->tests, .verdicts = verdicts, .count = batch->count};
    boot.timeout_s = longest_timeout_s(batch->tests, batch->count);
    prepare_machine(&boot, batch->tests[0], batch->tests[0]->machine);
    boot.append = boot.machine.append; // what the configuration says
    const char *image = boot.machine.linux_protocol ? "img" : "elf";
    boot.machine.kernel = tree_path("out/%s/lodger.%s", boot.machine.variant, image);
    if (settings->kernel != NULL) {
        boot.machine.kernel = settings->kernel;
        bool xen = boot.machine.type == MACHINE_XEN;
        strings_addf(&boot.append, "console=%s", xen ? "hvc0" : "ttyS0");
        strings_add_words(&boot.append, "quiet panic=-1");
    }
    strings_add(&boot.append, "loglevel=0");
    add_arguments(&boot);
    boot.initrd = initrd_path(batch->tests[0], "lodger");
    boot_until_all_have_run(&boot, settings->kernel != NULL);
    *command = boot.command;
}

// ---- what Linux says ----

static uint64_t hash_add(uint64_t hash, const void *data, size_t len_bytes)
{
    const uint8_t *bytes = data; // FNV-1a
    for (size_t i = 0; i < len_bytes; i++) {
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    }
    return hash;
}

static uint64_t hash_add_text(uint64_t hash, const char *text)
{
    return hash_add(hash, text, strlen(text) + 1);
}

static uint64_t hash_add_file(uint64_t hash, const char *path)
{
    struct buffer content = {};
    int error = file_read(path, &content);
    hash = error == 0 ? hash_add(hash, content.data, content.len_bytes) : hash_add_text(hash, "?");
    buffer_free(&content);
    return hash;
}

// Where the result of a test on Linux is remembered.
static char *remembered_path(const struct test *test, const struct machine *machine)
{
    uint64_t hash = hash_add_text(0xcbf29ce484222325u, machine->kernel);
    hash = hash_add(hash, &machine->type, sizeof(machine->type));
    hash = hash_add(hash, &machine->cpus, sizeof(machine->cpus));
    hash = hash_add(hash, &machine->memory_bytes, sizeof(machine->memory_bytes));
    if (machine->numa_nodes > 1) {
        hash = hash_add(hash, &machine->numa_nodes, sizeof(machine->numa_nodes));
    }
    hash = hash_add_file(hash, test->program);
    char *runner = tree_path("out/host/guest/testrunner");
    hash = hash_add_file(hash, runner);
    free(runner);
    for (size_t i = 0; i < test->args.count; i++) {
        hash = hash_add_text(hash, test->args.items[i]);
    }
    for (size_t i = 0; i < test->files.count; i++) {
        hash = hash_add_file(hash, test->files.items[i]);
    }
    return tree_path(
        "out/cache/linux-results/%s-%016llx", program_name(test), (unsigned long long)hash);
}

static bool recall(const char *path, struct verdict *verdict)
{
    char *text = file_read_text(path);
    char *line_end = text != NULL ? strchr(text, '\n') : NULL;
    if (line_end != NULL) {
        verdict->end = xstrndup(text, (size_t)(line_end - text));
        verdict->output = xstrdup(line_end + 1);
    }
    free(text);
    return line_end != NULL;
}

// Whether the test ran and found nothing wrong, or said that it can't run there.
static bool succeeded(const struct verdict *verdict)
{
    return verdict->end != NULL &&
           (strcmp(verdict->end, "exit 0") == 0 || strcmp(verdict->end, "exit 77") == 0);
}

static void remember(const char *path, const struct verdict *verdict)
{
    // Anything else may be bad luck on a loaded host.
    if (succeeded(verdict)) {
        char *text = xasprintf("%s\n%s", verdict->end, verdict->output);
        file_write(path, text, strlen(text));
        free(text);
    }
}

static void run_on_linux(
    const struct test_batch *batch, const struct test_settings *settings, struct verdict *verdicts)
{
    struct boot boot = {};
    prepare_machine(&boot, batch->tests[0], batch->tests[0]->own_machine);
    // Only what the tests can see matters here, so that configurations share their results.
    // (On microvm Linux hangs now and then in its timer calibration when the host is loaded.)
    boot.machine.firmware = FIRMWARE_PVH;
    boot.machine.type = MACHINE_Q35;
    boot.machine.accel = ACCEL_AUTO;
    char *reason = machine_settle(&boot.machine);
    if (reason != NULL) {
        die("%s", reason);
    }
    if (boot.machine.memory_bytes < MEMORY_FOR_LINUX_BYTES) {
        boot.machine.memory_bytes = MEMORY_FOR_LINUX_BYTES;
    }
    boot.machine.kernel = settings->linux_kernel;
    boot.tests = xmalloc(batch->count * sizeof(boot.tests[0]));
    boot.verdicts = xmalloc(batch->count * sizeof(boot.verdicts[0]));
    char **paths = xmalloc(batch->count * sizeof(paths[0]));
    char *folder = tree_path("out/cache/linux-results");
    folder_create(folder);
    free(folder);
    for (size_t i = 0; i < batch->count; i++) {
        paths[i] = remembered_path(batch->tests[i], &boot.machine);
        if (batch->tests[i]->compared) {
            (void)recall(paths[i], &verdicts[i]);
        }
    }
    boot.timeout_s = longest_timeout_s(batch->tests, batch->count);
    strings_add_words(&boot.append, "console=ttyS0 quiet loglevel=0 panic=-1 tsc=reliable");
    add_arguments(&boot);
    boot.initrd = initrd_path(batch->tests[0], "linux");
    // Linux is the measure, so it gets another try where a test failed: out of memory it may kill
    // the test runner, and on a loaded host a sleep may take too long.
    for (unsigned try = 0; try < LINUX_TRIES_MAX; try++) {
        struct boot attempt = boot;
        attempt.count = 0;
        for (size_t i = 0; i < batch->count; i++) {
            if (batch->tests[i]->compared && !succeeded(&verdicts[i])) {
                free(verdicts[i].end);
                free(verdicts[i].output);
                verdicts[i] = (struct verdict){};
                attempt.tests[attempt.count] = batch->tests[i];
                attempt.verdicts[attempt.count++] = &verdicts[i];
            }
        }
        boot_until_all_have_run(&attempt, true);
    }
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->tests[i]->compared) {
            remember(paths[i], &verdicts[i]);
        }
        free(paths[i]);
    }
    free(paths);
}

// ---- judging ----

// The first lines in which the two differ, for people.
static char *describe_difference(const struct verdict *here, const struct verdict *on_linux)
{
    const char *a = here->output;
    const char *b = on_linux->output;
    unsigned line = 1;
    while (*a != '\0' && *b != '\0') {
        size_t a_len = strcspn(a, "\n");
        size_t b_len = strcspn(b, "\n");
        if (a_len != b_len || memcmp(a, b, a_len) != 0) {
            break;
        }
        a += a_len + (a[a_len] == '\n');
        b += b_len + (b[b_len] == '\n');
        line++;
    }
    return xasprintf("differs from Linux in line %u:\n  here:  %.*s\n  Linux: %.*s\n"
                     "end here: %s, on Linux: %s\n--- the whole output here ---\n%s",
        line, (int)strcspn(a, "\n"), a, (int)strcspn(b, "\n"), b, here->end, on_linux->end,
        here->output);
}

static void judge(struct test *test, const struct verdict *here, const struct verdict *on_linux,
    const char *command)
{
    double duration_s = (double)here->duration_ns / 1e9;
    bool passed = strcmp(here->end, "exit 0") == 0;
    bool skipped = strcmp(here->end, "exit 77") == 0;
    char *text = NULL;
    if (on_linux->end != NULL && strcmp(on_linux->end, "exit 0") != 0 &&
        strcmp(on_linux->end, "exit 77") != 0) {
        text = xasprintf(
            "the test itself is wrong: on Linux it ends with %s\n%s\n--- here: %s ---\n%s",
            on_linux->end, on_linux->output, here->end, here->output);
        passed = false;
        skipped = false;
    } else if (!passed && !skipped) {
        text = xasprintf("%s--- end: %s ---\n", here->output, here->end);
    } else if (on_linux->end != NULL && (strcmp(here->end, on_linux->end) != 0 ||
                                            strcmp(here->output, on_linux->output) != 0)) {
        text = describe_difference(here, on_linux);
        passed = false;
        skipped = false;
    }
    enum test_result result = passed ? RESULT_PASSED : skipped ? RESULT_SKIPPED : RESULT_FAILED;
    test_finish(test, result, duration_s, text != NULL ? text : here->output, command);
    free(text);
}

// Whether there is nothing to complain about.
static bool agrees(const struct verdict *here, const struct verdict *on_linux)
{
    if (!succeeded(here)) {
        return false;
    }
    return on_linux->end == NULL ||
           (strcmp(here->end, on_linux->end) == 0 && strcmp(here->output, on_linux->output) == 0);
}

// Runs a test that failed once more, alone: on a loaded host time-outs are no fault of the kernel.
// If it passes now, that is said where people see it, and counts. A panic is never excused.
static void try_again(struct test *test, const struct test_settings *settings, struct verdict *here,
    const struct verdict *on_linux)
{
    struct verdict again = {};
    struct verdict *pointer = &again;
    struct test_batch single = {.tests = &test, .count = 1};
    char *command = NULL;
    if (agrees(here, on_linux) || strcmp(here->end, "panic") == 0) {
        return;
    }
    run_here(&single, settings, &pointer, &command);
    free(command);
    if (agrees(&again, on_linux)) {
        printf("unsteady: %s failed (%s), and passed when it was run again. It had printed:\n",
            test->title, here->end);
        puts(here->output);
        struct verdict failed = *here;
        *here = again;
        again = failed;
    }
    free(again.end);
    free(again.output);
}

void test_run_batch(struct test_batch *batch, const struct test_settings *settings)
{
    size_t count = batch->count;
    struct verdict *here = calloc(count, sizeof(*here));
    struct verdict *on_linux = calloc(count, sizeof(*on_linux));
    struct verdict **pointers = calloc(count, sizeof(struct verdict *));
    if (here == NULL || on_linux == NULL || pointers == NULL) {
        die("out of memory");
    }
    for (size_t i = 0; i < count; i++) {
        pointers[i] = &here[i];
    }
    char *command = NULL;
    run_here(batch, settings, pointers, &command);
    if (settings->linux_kernel != NULL) {
        run_on_linux(batch, settings, on_linux);
    }
    for (size_t i = 0; i < count; i++) {
        try_again(batch->tests[i], settings, &here[i], &on_linux[i]);
        judge(batch->tests[i], &here[i], &on_linux[i], command);
        free(here[i].end);
        free(here[i].output);
        free(on_linux[i].end);
        free(on_linux[i].output);
    }
    free(here);
    free(on_linux);
    free(pointers);
    free(command);
}
