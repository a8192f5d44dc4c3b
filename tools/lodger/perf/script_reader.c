// SPDX-License-Identifier: MIT
//
// Parsing what `perf script` prints. A sample is a line that does not begin with a blank (or
// begins with "VM:"), its frames are lines that begin with a tab, an empty line ends it.
#include "tools/lodger/perf/script_reader.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct script_state {
    struct script_sample sample;
    bool open;            // a sample's first line was read
    struct strings texts; // what the sample's strings point to
    uint64_t count;
    void (*sink)(void *context, const struct script_sample *sample);
    void *context;
};

static const char *keep(struct script_state *state, const char *text)
{
    strings_add(&state->texts, text);
    return state->texts.items[state->texts.count - 1];
}

static void finish_sample(struct script_state *state)
{
    if (state->open) {
        state->sink(state->context, &state->sample);
        state->count++;
    }
    state->open = false;
    for (size_t i = 0; i < state->texts.count; i++) {
        free(state->texts.items[i]);
    }
    state->texts.count = 0;
}

// The place of " PID/TID [CPU] SECONDS.NANOSECONDS:" in the line; a command's name may hold almost
// anything, so the whole pattern is looked for.
static const char *find_task(const char *line, struct script_sample *sample, int *len)
{
    for (const char *at = line; *at != '\0'; at++) {
        int pid, tid;
        unsigned cpu;
        unsigned long long seconds;
        char fraction[16];
        *len = 0;
        if (isblank((unsigned char)*at) && !isblank((unsigned char)at[1]) &&
            sscanf(at + 1, "%d/%d [%u] %llu.%15[0-9]:%n", &pid, &tid, &cpu, &seconds, fraction,
                len) == 5 &&
            *len > 0) {
            uint64_t ns = strtoull(fraction, NULL, 10);
            for (size_t digits = strlen(fraction); digits < 9; digits++) {
                ns *= 10;
            }
            sample->pid = (uint32_t)pid;
            sample->tid = (uint32_t)tid;
            sample->cpu = cpu;
            sample->time_ns = seconds * 1000000000 + ns;
            *len += 1;
            return at;
        }
    }
    return NULL;
}

static void read_first_line(struct script_state *state, char *line)
{
    struct script_sample *sample = &state->sample;
    *sample = (struct script_sample){.text = ""};
    unsigned machine, vcpu;
    int prefix = 0, len;
    if (sscanf(line, " VM: %u VCPU:%u %n", &machine, &vcpu, &prefix) == 2 && prefix > 0) {
        sample->is_guest = true;
        sample->machine_pid = machine;
        sample->vcpu = vcpu;
    }
    const char *task = find_task(line + prefix, sample, &len);
    if (task == NULL) {
        return;
    }
    const char *comm = line + prefix;
    comm += strspn(comm, " ");
    const char *comm_end = task;
    while (comm_end > comm && comm_end[-1] == ' ') {
        comm_end--;
    }
    char *name = xstrndup(comm, (size_t)(comm_end > comm ? comm_end - comm : 0));
    sample->comm = keep(state, name);
    free(name);
    char *rest = (char *)(uintptr_t)(task + len);
    sample->period = strtoull(rest, &rest, 10);
    rest += strspn(rest, " ");
    size_t event_len = strcspn(rest, " \n");
    char *event = xstrndup(rest, event_len);
    if (event_len > 0 && event[event_len - 1] == ':') {
        event[event_len - 1] = '\0';
    }
    sample->event = keep(state, event);
    free(event);
    rest += event_len;
    rest += strspn(rest, " ");
    sample->text = keep(state, rest);
    state->open = true;
}

// "\t  ADDRESS SYMBOL (DSO)"; the symbol may hold blanks and brackets.
static void read_frame(struct script_state *state, char *line)
{
    struct script_sample *sample = &state->sample;
    char *at = line + strspn(line, " \t");
    at += strspn(at, "0123456789abcdef");
    at += strspn(at, " ");
    char *end = at + strlen(at);
    char *dso = strrchr(at, '(');
    if (sample->frame_count == SCRIPT_FRAMES_MAX || dso == NULL || end == at || end[-1] != ')') {
        return;
    }
    end[-1] = '\0';
    char *symbol_end = dso;
    while (symbol_end > at && symbol_end[-1] == ' ') {
        symbol_end--;
    }
    *symbol_end = '\0';
    // Link-time optimisation makes names unique with a suffix that says nothing.
    char *suffix = strstr(at, ".llvm.");
    if (suffix != NULL) {
        *suffix = '\0';
    }
    dso++;
    char *slash = strrchr(dso, '/');
    struct script_frame *frame = &sample->frames[sample->frame_count++];
    frame->symbol = keep(state, at[0] != '\0' ? at : "[unknown]");
    frame->dso = keep(state, slash != NULL && slash[1] != '\0' ? slash + 1 : dso);
}

uint64_t script_read(const char *path, bool chains,
    void (*sink)(void *context, const struct script_sample *sample), void *context)
{
    if (access(path, R_OK) != 0) {
        die("%s: %s", path, strerror(errno));
    }
    char *file = shell_quote(path);
    char *command =
        xasprintf("exec perf script -i %s --ns --no-inline %s -F "
                  "comm,pid,tid,cpu,time,period,event,ip,sym,dso,machine_pid,vcpu,trace "
                  "2>/dev/null",
            file, chains ? "" : "-G");
    FILE *output = popen(command, "r");
    if (output == NULL) {
        die("perf script cannot be run: %s", strerror(errno));
    }
    struct script_state state = {.sink = sink, .context = context};
    char *line = NULL;
    size_t capacity = 0;
    ssize_t len_bytes;
    while ((len_bytes = getline(&line, &capacity, output)) > 0) {
        if (line[len_bytes - 1] == '\n') {
            line[--len_bytes] = '\0';
        }
        if (len_bytes == 0) {
            finish_sample(&state);
        } else if (line[0] == '\t') {
            read_frame(&state, line);
        } else {
            finish_sample(&state);
            read_first_line(&state, line);
        }
    }
    finish_sample(&state);
    free(line);
    int status = pclose(output);
    if (!WIFEXITED(status) || WEXITSTATUS(status) == 127) {
        die("there is no perf on this host (package linux-perf)");
    }
    if (WEXITSTATUS(status) != 0) {
        die("perf cannot read %s (perf script -i %s says why)", path, path);
    }
    strings_free(&state.texts);
    free(command);
    free(file);
    return state.count;
}
