// SPDX-License-Identifier: MIT
//
// Running benchmarks in guests: sessions, batches, and the boot itself.
//
// A session's QEMU is watched by a thread of its own (qemu_run). It appends what the console prints
// to the transcript and signals; the caller waits for the line that ends a benchmark, or for the
// machine's end. Only the caller reads it.
#include "tools/lodger/bench_guest.h"
#include "tools/lodger/description.h"
#include "tools/lodger/lab.h"
#include "tools/lodger/lab_xen.h"
#include "tools/lodger/qemu.h"
#include "tools/lodger/qmp.h"
#include "tools/lodger/report.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// QEMU counts each repetition of REP MOVSB and REP STOSB: without ERMS no kernel chooses them for
// its bulk copies.
#define COUNTED_CPU_MODEL "max,-erms,-fsrm"
// Until a guest says that it is ready; a loaded host takes its time.
#define BOOT_TIMEOUT_NS 300000000000u
// A benchmark's own limit is kept by the guest; a guest that does not even do that is dead.
#define PATIENCE_NS    30000000000u
#define QMP_PATIENCE_S 30 // a loaded host takes its time
// All of a batch, and a counted boot.
#define BATCH_TIMEOUT_NS 1800000000000u
// How long the host's time stamp counter is compared with its clock.
#define TSC_MEASURED_NS 50000000u
// Readings of a guest's clock of which the quickest is used.
#define CLOCK_ATTEMPTS 5
#define CLOCK_MARK     "=bench clock "
#define READY_MARK     "=bench ready\n"
#define DONE_MARK      "=bench done\n"

static atomic_bool interrupted;

void bench_interrupt(void)
{
    atomic_store(&interrupted, true);
    qemu_stop_all();
}

bool bench_interrupted(void)
{
    return atomic_load(&interrupted);
}

// ---- machines ----

// The host's time stamp counter in kHz, which is the guest's under TCG; measured once.
static unsigned tsc_khz(void)
{
    static unsigned khz;
    if (khz == 0) {
        uint64_t start_ns = time_now_ns(), start = __builtin_ia32_rdtsc();
        uint64_t ns, ticks;
        do {
            ticks = __builtin_ia32_rdtsc() - start;
            ns = time_now_ns() - start_ns;
        } while (ns < TSC_MEASURED_NS);
        khz = (unsigned)(ticks * 1000000 / ns);
    }
    return khz;
}

static void prepare_machine(struct machine *machine, const struct bench_kernel *kernel,
    const struct bench_machine *wanted, const char *initrd)
{
    machine_init(machine);
    machine->accel = wanted->counted ? ACCEL_TCG : ACCEL_AUTO;
    machine->icount = wanted->counted;
    machine->time_passes = wanted->waits;
    machine->repeatable = wanted->counted;
    machine->cpus = wanted->cpus;
    machine->memory_bytes = wanted->memory_bytes;
    machine->cpu_model = wanted->counted ? COUNTED_CPU_MODEL : NULL;
    machine->kernel = kernel->image;
    machine->initrd = initrd;
    if (kernel->foreign) {
        strings_add(
            &machine->append, wanted->lab == BENCH_LAB_XEN ? "console=hvc0" : "console=ttyS0");
        strings_add_words(&machine->append, "quiet loglevel=0 panic=-1");
        if (!kernel->mitigations) {
            strings_add(&machine->append, "mitigations=off");
        }
    } else {
        strings_add(&machine->append, "quiet");
        // Who looks for the end of a request while nothing else is to be done runs instructions
        // that count, as many as the host's disk is slow.
        if (wanted->waits) {
            strings_add(&machine->append, "block.poll=0");
        }
    }
    for (size_t i = 0; i < kernel->append.count; i++) {
        strings_add(&machine->append, kernel->append.items[i]);
    }
    if (wanted->lab == BENCH_LAB_KVM) {
        machine->lab = lab_kvm_host();
        machine->accel = ACCEL_LAB;
        machine->type = MACHINE_Q35;
    } else if (wanted->lab == BENCH_LAB_XEN) {
        machine->type = MACHINE_XEN;
        xen_count_exits(machine);
    }
    free(machine_settle(machine));
    if (kernel->foreign && machine->accel == ACCEL_TCG && !wanted->counted &&
        wanted->lab == BENCH_LAB_NONE) {
        // On a loaded host Linux fails to measure the TSC against an emulated PIT, and then hangs
        // or counts timer interrupts for a clock.
        strings_addf(&machine->append, "tsc_early_khz=%u", tsc_khz());
        strings_add_words(&machine->append, "tsc=reliable no_timer_check");
    }
}

char *bench_machine_command(const struct bench_kernel *kernel, const struct bench_machine *wanted)
{
    struct machine machine;
    struct strings command = {};
    prepare_machine(&machine, kernel, wanted, "INITRD");
    machine_command(
        &machine, &(struct machine_streams){.by_hand = true, .out = -1, .err = -1}, &command);
    char *line = shell_quote_all(command.items);
    strings_free(&command);
    return line;
}

const char *bench_machine_accelerator(const struct bench_machine *wanted)
{
    struct machine machine;
    prepare_machine(&machine, &(struct bench_kernel){.image = ""}, wanted, NULL);
    return machine.accel == ACCEL_KVM ? "KVM" : "TCG";
}

// An empty disk, which takes no room on the host until it is written.
static void add_disk(struct machine *machine, uint64_t size_bytes, const char *name)
{
    char *path = xasprintf("%s/%s.disk", folder_temporary(), name);
    unlink(path);
    FILE *file = fopen(path, "w");
    if (file == NULL || ftruncate(fileno(file), (off_t)size_bytes) != 0) {
        die("cannot create %s: %s", path, strerror(errno));
    }
    fclose(file);
    strings_add(&machine->disks, path);
    free(path);
}

// A copy without carriage returns and NUL bytes.
static char *clean_text(const uint8_t *data, size_t len_bytes)
{
    char *text = xmalloc(len_bytes + 1);
    size_t used = 0;
    for (size_t i = 0; i < len_bytes; i++) {
        if (data[i] != '\r' && data[i] != '\0') {
            text[used++] = (char)data[i];
        }
    }
    text[used] = '\0';
    return text;
}

// What a console printed, without carriage returns and NUL bytes, and how much of it was read.
struct transcript {
    struct buffer text;
    size_t copied_bytes; // of the console
    size_t seen_bytes;   // of the text
};

static void transcript_copy(struct transcript *transcript, const struct buffer *console)
{
    for (; transcript->copied_bytes < console->len_bytes; transcript->copied_bytes++) {
        uint8_t byte = console->data[transcript->copied_bytes];
        if (byte != '\r' && byte != '\0') {
            buffer_add(&transcript->text, &byte, 1);
        }
    }
}

static bool has_text(const struct transcript *transcript, const char *text)
{
    return transcript->text.len_bytes > 0 &&
           memmem(transcript->text.data, transcript->text.len_bytes, text, strlen(text)) != NULL;
}

// Says how a guest ended that should have gone on.
static char *describe_end(const struct bench_kernel *kernel, const struct qemu_run *run)
{
    char *panic = kernel->foreign ? NULL : report_panic_text(&run->log, kernel->image);
    char *console = clean_text(run->out.data, run->out.len_bytes);
    char *messages = clean_text(run->messages.data, run->messages.len_bytes);
    size_t len = strlen(console);
    const char *shown = len > 600 ? console + len - 600 : console;
    // TCG says at every start which features it lacks; a complaint is in the last line.
    const char *complaint = strrchr(messages, ':');
    bool refused = run->outcome == OUTCOME_QEMU_FAILED;
    char *text = xasprintf("the guest ended (%s)%s%s; its console ends with:\n%s",
        outcome_name(run->outcome), refused && complaint != NULL ? "; QEMU says" : "",
        refused && complaint != NULL ? complaint : "", panic != NULL ? panic : shown);
    free(panic);
    free(console);
    free(messages);
    return text;
}

// ---- sessions ----

// What both clocks said at the same time, but for an error.
struct clocks {
    uint64_t host_ns;
    uint64_t guest_ns;
    uint64_t error_ns;
};

struct bench_session {
    const struct bench_kernel *kernel;
    struct machine machine;
    enum bench_lab lab;
    struct qemu_run run;
    pthread_t thread;
    int input_fd; // our end
    char *qmp;    // of a counted machine: the socket of its QMP
    char *failure;
    bool joined;
    struct clocks first; // at the beginning; host_ns is 0: not known

    pthread_mutex_t mutex; // protects what follows
    pthread_cond_t changed;
    struct transcript transcript;
    bool ended;
    // In the lab, whose host says its counters when the guest has said its time.
    size_t clocks_bytes;  // of the transcript, up to where it was looked for that
    size_t sampled_bytes; // of what the host said
    unsigned samples;
    double exits;
};

// Whether another complete `=bench clock` line has come.
static bool has_new_clock(struct bench_session *session)
{
    const char *from = (const char *)session->transcript.text.data + session->clocks_bytes;
    size_t len_bytes = session->transcript.text.len_bytes - session->clocks_bytes;
    const char *mark =
        len_bytes > 0 ? memmem(from, len_bytes, CLOCK_MARK, strlen(CLOCK_MARK)) : NULL;
    const char *end = mark != NULL ? memchr(mark, '\n', len_bytes - (size_t)(mark - from)) : NULL;
    session->clocks_bytes += end != NULL ? (size_t)(end + 1 - from) : 0;
    return end != NULL;
}

// All exits in the host's counters, which tell them by reason.
static double sum_of_exits(char *text)
{
    double exits = 0;
    char *line;
    while ((line = strsep(&text, "\n")) != NULL) {
        const char *hits = strstr(line, "hitcount:");
        if (strstr(line, "exit_reason:") != NULL && hits != NULL) {
            exits += strtod(hits + strlen("hitcount:"), NULL);
        }
    }
    return exits;
}

static void session_sampled(void *context, const struct buffer *control)
{
    static const char end[] = "=end\n";
    struct bench_session *session = context;
    const uint8_t *from = control->data + session->sampled_bytes;
    size_t len_bytes = control->len_bytes - session->sampled_bytes;
    const uint8_t *mark = memmem(from, len_bytes, end, strlen(end));
    if (mark == NULL) {
        return;
    }
    char *text = xstrndup((const char *)from, (size_t)(mark - from));
    pthread_mutex_lock(&session->mutex);
    session->sampled_bytes = (size_t)(mark - control->data) + strlen(end);
    session->exits = sum_of_exits(text);
    session->samples++;
    pthread_cond_signal(&session->changed);
    pthread_mutex_unlock(&session->mutex);
    free(text);
}

static bool session_printed(void *context, const struct buffer *console)
{
    struct bench_session *session = context;
    pthread_mutex_lock(&session->mutex);
    transcript_copy(&session->transcript, console);
    if (session->lab != BENCH_LAB_NONE && has_new_clock(session)) {
        buffer_add(&session->run.to_control, "sample\n", 7);
    }
    pthread_cond_signal(&session->changed);
    pthread_mutex_unlock(&session->mutex);
    return false;
}

static void *session_thread(void *context)
{
    struct bench_session *session = context;
    qemu_run(&session->run);
    pthread_mutex_lock(&session->mutex);
    session->ended = true;
    pthread_cond_signal(&session->changed);
    pthread_mutex_unlock(&session->mutex);
    return NULL;
}

static void session_join(struct bench_session *session)
{
    if (!session->joined) {
        session->joined = true;
        close(session->input_fd);
        pthread_join(session->thread, NULL);
        close(session->run.input_fd);
    }
}

// Waits until the console has printed a line that begins with `mark`. Returns what came since the
// last call up to the end of that line, to be freed, and where in it the line begins. NULL: the
// machine has ended or the time has run out, and the session has failed.
static char *session_await(
    struct bench_session *session, const char *mark, uint64_t timeout_ns, size_t *line_offset)
{
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += (time_t)(timeout_ns / 1000000000u);
    char *found = NULL;
    bool late = false;
    pthread_mutex_lock(&session->mutex);
    for (;;) {
        struct transcript *transcript = &session->transcript;
        const char *from = (const char *)transcript->text.data + transcript->seen_bytes;
        size_t len_bytes = transcript->text.len_bytes - transcript->seen_bytes;
        const char *line = len_bytes > 0 ? memmem(from, len_bytes, mark, strlen(mark)) : NULL;
        const char *end =
            line != NULL ? memchr(line, '\n', len_bytes - (size_t)(line - from)) : NULL;
        if (end != NULL) {
            found = xstrndup(from, (size_t)(end - from));
            *line_offset = (size_t)(line - from);
            transcript->seen_bytes += (size_t)(end - from) + 1;
            break;
        }
        if (session->ended || late) {
            break;
        }
        late = pthread_cond_timedwait(&session->changed, &session->mutex, &deadline) == ETIMEDOUT;
    }
    pthread_mutex_unlock(&session->mutex);
    if (found == NULL) {
        session_join(session);
        if (late) {
            session->run.outcome = OUTCOME_TIMEOUT;
        }
        session->failure = describe_end(session->kernel, &session->run);
    }
    return found;
}

static void session_say(struct bench_session *session, const char *line)
{
    if (session->failure == NULL &&
        send(session->input_fd, line, strlen(line), MSG_NOSIGNAL) != (ssize_t)strlen(line)) {
        session_join(session);
        session->failure = describe_end(session->kernel, &session->run);
    }
}

// Reads the guest's clock and the host's, as near to each other as several attempts allow.
static bool read_clocks(struct bench_session *session, struct clocks *best)
{
    *best = (struct clocks){.error_ns = UINT64_MAX};
    for (int attempt = 0; attempt < CLOCK_ATTEMPTS; attempt++) {
        size_t offset = 0;
        unsigned long long guest_ns = 0;
        uint64_t before_ns = time_now_ns();
        session_say(session, "clock\n");
        char *line = session->failure == NULL
                         ? session_await(session, CLOCK_MARK, PATIENCE_NS, &offset)
                         : NULL;
        bool read = line != NULL && sscanf(line + offset, "=bench clock %llu", &guest_ns) == 1;
        uint64_t error_ns = (time_now_ns() - before_ns) / 2;
        free(line);
        if (!read) {
            return false;
        }
        if (error_ns < best->error_ns) {
            *best = (struct clocks){before_ns + error_ns, guest_ns, error_ns};
        }
    }
    return true;
}

struct bench_session *bench_session_start(
    const struct bench_kernel *kernel, const struct bench_machine *machine, const char *initrd)
{
    struct bench_session *session = xmalloc(sizeof(*session));
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        die("cannot create a socket pair: %s", strerror(errno));
    }
    *session = (struct bench_session){.kernel = kernel, .lab = machine->lab, .input_fd = ends[0]};
    pthread_mutex_init(&session->mutex, NULL);
    pthread_cond_init(&session->changed, NULL);
    prepare_machine(&session->machine, kernel, machine, initrd);
    if (machine->disk_bytes != 0) {
        add_disk(&session->machine, machine->disk_bytes, kernel->title);
    }
    if (machine->counted) {
        session->qmp = xasprintf("%s/%s.qmp", folder_temporary(), kernel->title);
        session->machine.qmp = session->qmp;
    }
    if (machine->lab == BENCH_LAB_XEN) {
        xen_prepare_machine(&session->machine, folder_temporary(), kernel->title);
    }
    session->run = (struct qemu_run){.machine = &session->machine,
        .mode = STREAMS_CAPTURED,
        .foreign_kernel = kernel->foreign,
        .log_fd = -1,
        .input_fd = ends[1],
        .ends_with_input = true,
        .on_output = session_printed,
        .on_control = session_sampled,
        .context = session};
    if (pthread_create(&session->thread, NULL, session_thread, session) != 0) {
        die("cannot create a thread");
    }
    size_t offset;
    free(session_await(session, READY_MARK, BOOT_TIMEOUT_NS, &offset));
    if (machine->disk_bytes != 0) {
        bench_session_set(session, "BENCH_DISK", "/dev/vda");
    }
    if (machine->quick) {
        bench_session_set(session, "BENCH_QUICK", "1");
    }
    if (kernel->planted_percent != 0) {
        char *percent = xasprintf("%u", kernel->planted_percent);
        bench_session_set(session, "BENCH_PLANT", percent);
        free(percent);
    }
    bool times = machine->lab == BENCH_LAB_NONE && !machine->counted;
    if (!times || !read_clocks(session, &session->first)) {
        session->first.host_ns = 0;
    }
    return session;
}

const char *bench_session_failure(struct bench_session *session)
{
    return session->failure;
}

void bench_session_set(struct bench_session *session, const char *key, const char *value)
{
    char *line = xasprintf("set %s=%s\n", key, value);
    session_say(session, line);
    free(line);
}

double bench_session_clock_rate(struct bench_session *session)
{
    const struct clocks *first = &session->first;
    struct clocks last;
    if (session->failure != NULL || first->host_ns == 0 || !read_clocks(session, &last)) {
        return 1;
    }
    double host_ns = (double)(last.host_ns - first->host_ns);
    double rate = (double)(last.guest_ns - first->guest_ns) / host_ns;
    double error = (double)(first->error_ns + last.error_ns) / host_ns;
    double difference = rate > 1 ? rate - 1 : 1 - rate;
    return difference > 2 * error ? rate : 1;
}

// Has the guest say its time, after which it does nothing but wait. False: it does not.
static bool session_rest(struct bench_session *session)
{
    size_t offset;
    session_say(session, "clock\n");
    char *line =
        session->failure == NULL ? session_await(session, CLOCK_MARK, PATIENCE_NS, &offset) : NULL;
    free(line);
    return line != NULL;
}

double bench_session_instructions(struct bench_session *session)
{
    if (!session_rest(session)) {
        return -1;
    }
    // QEMU's own count, which it tells for recordings but keeps in any case.
    json_t *answer = qmp_ask(session->qmp, "query-replay", QMP_PATIENCE_S);
    json_t *count = json_object_get(answer, "icount");
    double instructions = json_is_integer(count) ? (double)json_integer_value(count) : -1;
    json_decref(answer);
    return instructions;
}

double bench_session_exits(struct bench_session *session)
{
    unsigned before = session->samples;
    if (!session_rest(session)) {
        return -1;
    }
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += (time_t)(PATIENCE_NS / 1000000000u);
    pthread_mutex_lock(&session->mutex);
    while (session->samples == before && !session->ended &&
           pthread_cond_timedwait(&session->changed, &session->mutex, &deadline) == 0) {
    }
    double exits = session->samples != before ? session->exits : -1;
    pthread_mutex_unlock(&session->mutex);
    return exits;
}

void bench_session_run(struct bench_session *session, const struct bench *bench,
    const char *arguments, struct bench_outcome *outcome)
{
    char *line = xasprintf("timeout %u\nrun %s%s%s\n", bench->timeout_s, bench->name,
        *arguments != '\0' ? " " : "", arguments);
    char *mark = xasprintf("=bench end %s ", bench->name);
    session_say(session, line);
    size_t offset = 0;
    char *output = NULL;
    if (session->failure == NULL) {
        output = session_await(
            session, mark, bench->timeout_s * UINT64_C(1000000000) + PATIENCE_NS, &offset);
    }
    if (output == NULL) {
        bench_outcome_fail(outcome, BENCH_FAILED, xstrdup(session->failure));
    } else {
        const char *how = output + offset + strlen(mark);
        char *printed = xstrndup(output, offset);
        bench_outcome_read(bench, printed, how, outcome);
        free(printed);
    }
    free(output);
    free(mark);
    free(line);
}

void bench_session_end(struct bench_session *session)
{
    session_join(session);
    qemu_run_free(&session->run);
    buffer_free(&session->transcript.text);
    free(session->failure);
    free(session->qmp);
    free(session);
}

// ---- batches ----

struct batch {
    const struct bench *const *benches;
    struct bench_outcome *outcomes;
    size_t count;
    size_t done; // benchmarks that have an end
    struct transcript transcript;
    void (*progress)(void *context, size_t index);
    void *context;
};

static void read_batch_end(struct batch *batch, const char *text, const char *mark, const char *end)
{
    const struct bench *bench = batch->benches[batch->done];
    char *prefix = xasprintf("=bench end %s ", bench->name);
    if (strncmp(mark, prefix, strlen(prefix)) == 0) {
        char *printed = xstrndup(text, (size_t)(mark - text));
        char *how = xstrndup(mark + strlen(prefix), (size_t)(end - mark) - strlen(prefix));
        bench_outcome_read(bench, printed, how, &batch->outcomes[batch->done]);
        free(printed);
        free(how);
        batch->done++;
        if (batch->progress != NULL && batch->done < batch->count) {
            batch->progress(batch->context, batch->done);
        }
    }
    free(prefix);
}

// Reads what is complete, up to each `end` line; true when the guest has done all.
static bool batch_printed(void *context, const struct buffer *console)
{
    struct batch *batch = context;
    transcript_copy(&batch->transcript, console);
    buffer_add(&batch->transcript.text, "", 1);
    const char *from = (const char *)batch->transcript.text.data + batch->transcript.seen_bytes;
    const char *mark;
    const char *end;
    while (batch->done < batch->count && (mark = strstr(from, "=bench end ")) != NULL &&
           (end = strchr(mark, '\n')) != NULL) {
        read_batch_end(batch, from, mark, end);
        batch->transcript.seen_bytes += (size_t)(end + 1 - from);
        from = end + 1;
    }
    batch->transcript.text.len_bytes--;
    return strstr(from, DONE_MARK) != NULL;
}

static char *batch_list(const struct batch *batch, const struct bench_kernel *kernel,
    const struct bench_machine *wanted, const char *arguments)
{
    struct buffer list = {};
    char *settings = xasprintf("%sset BENCH_PLANT=%u\n", wanted->quick ? "set BENCH_QUICK=1\n" : "",
        kernel->planted_percent);
    buffer_add(&list, settings, strlen(settings));
    free(settings);
    for (size_t i = batch->done; i < batch->count; i++) {
        char *line = xasprintf("timeout %u\nrun %s %s\n", batch->benches[i]->timeout_s * 10,
            batch->benches[i]->name, arguments);
        buffer_add(&list, line, strlen(line));
        free(line);
    }
    buffer_add(&list, "", 1);
    return (char *)list.data;
}

// Boots once for the benchmarks that are left. At least one more has an end afterwards, unless the
// kernel does not boot: then returns why not.
static char *batch_boot(struct batch *batch, const struct bench_kernel *kernel,
    const struct bench_machine *wanted, const char *arguments)
{
    struct machine machine;
    char *list = batch_list(batch, kernel, wanted, arguments);
    char **failures = xmalloc((batch->count + 1) * sizeof(char *));
    memset(failures, 0, (batch->count + 1) * sizeof(char *));
    char *name = xasprintf("%s-batch", kernel->foreign ? "other" : "here");
    char *initrd =
        bench_pack(name, batch->benches + batch->done, batch->count - batch->done, list, failures);
    for (size_t i = 0; i < batch->count - batch->done; i++) {
        if (failures[i] != NULL) {
            bench_outcome_fail(&batch->outcomes[batch->done + i], BENCH_FAILED, failures[i]);
        }
    }
    prepare_machine(&machine, kernel, wanted, initrd);
    struct qemu_run run = {.machine = &machine,
        .mode = STREAMS_CAPTURED,
        .foreign_kernel = kernel->foreign,
        .timeout_ns = BATCH_TIMEOUT_NS,
        .log_fd = -1,
        .on_output = batch_printed,
        .context = batch};
    buffer_free(&batch->transcript.text);
    batch->transcript = (struct transcript){};
    if (batch->progress != NULL) {
        batch->progress(batch->context, batch->done);
    }
    qemu_run(&run);
    char *failure = NULL;
    if (batch->done < batch->count && !bench_interrupted()) {
        if (!has_text(&batch->transcript, READY_MARK)) {
            failure = describe_end(kernel, &run);
        } else {
            bench_outcome_fail(
                &batch->outcomes[batch->done++], BENCH_FAILED, describe_end(kernel, &run));
        }
    }
    qemu_run_free(&run);
    free(initrd);
    free(name);
    free(failures);
    free(list);
    return failure;
}

char *bench_batch_run(const struct bench_kernel *kernel, const struct bench_machine *machine,
    const struct bench *const *benches, size_t count, const char *arguments,
    struct bench_outcome *outcomes, void (*progress)(void *context, size_t index), void *context)
{
    struct batch batch = {.benches = benches,
        .outcomes = outcomes,
        .count = count,
        .progress = progress,
        .context = context};
    char *failure = NULL;
    while (failure == NULL && batch.done < count && !bench_interrupted()) {
        failure = batch_boot(&batch, kernel, machine, arguments);
    }
    buffer_free(&batch.transcript.text);
    return failure;
}

// ---- the boot itself ----

struct boot_watch {
    uint64_t printed_ns; // when the line was complete
    bool to_its_end;     // the machine is not ended then, but ends itself
};

static bool boot_printed(void *context, const struct buffer *console)
{
    struct boot_watch *watch = context;
    const uint8_t *line = memmem(console->data, console->len_bytes, "boot ", 5);
    if (line == NULL ||
        memchr(line, '\n', console->len_bytes - (size_t)(line - console->data)) == NULL) {
        return false;
    }
    watch->printed_ns = time_now_ns();
    return !watch->to_its_end;
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

static char *pack_first(void)
{
    struct cpio cpio = {};
    char *source = tree_path("out/host/guest/bench-first");
    char *programs = tree_path("out/host/guest");
    char *path = xasprintf("%s/boot.cpio", folder_temporary());
    if (cpio_add_host_file(&cpio, "/init", 0755, source) != 0) {
        die("cannot read %s", source);
    }
    description_add_basics(&cpio, programs, &(struct strings){}, &(struct strings){}, NULL);
    cpio_finish(&cpio);
    file_write(path, cpio.archive.data, cpio.archive.len_bytes);
    cpio_free(&cpio);
    free(programs);
    free(source);
    return path;
}

char *bench_boot(const struct bench_kernel *kernel, const struct bench_machine *wanted,
    double *figure, double *accesses)
{
    struct machine machine;
    // Accesses are exact only if the machine is not ended somewhere on the way.
    struct boot_watch watch = {.to_its_end = accesses != NULL && !kernel->foreign};
    char *initrd = pack_first();
    prepare_machine(&machine, kernel, wanted, initrd);
    char *trace = xasprintf("%s/accesses.log", folder_temporary());
    machine.trace_file = accesses != NULL ? trace : NULL;
    struct qemu_run run = {.machine = &machine,
        .mode = STREAMS_CAPTURED,
        .foreign_kernel = kernel->foreign,
        .timeout_ns = wanted->counted ? BATCH_TIMEOUT_NS / 3 : BOOT_TIMEOUT_NS,
        .log_fd = -1,
        .on_output = boot_printed,
        .context = &watch};
    uint64_t start_ns = time_now_ns();
    qemu_run(&run);
    char *text = clean_text(run.out.data, run.out.len_bytes);
    const char *line = strstr(text, "boot ");
    char *failure = NULL;
    if (watch.printed_ns == 0 || line == NULL) {
        failure = describe_end(kernel, &run);
    } else {
        *figure = wanted->counted ? strtod(line + 5, NULL) : (double)(watch.printed_ns - start_ns);
    }
    if (accesses != NULL) {
        *accesses = (double)count_lines(trace);
        unlink(trace);
    }
    free(text);
    free(trace);
    free(initrd);
    qemu_run_free(&run);
    return failure;
}
