// SPDX-License-Identifier: MIT
//
// Telling the user how a machine ended.
#include "tools/lodger/report.h"
#include "tools/lodger/symbols.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Lines of the log before a panic that are shown.
#define LOG_LINES_SHOWN 30

static char *log_text(const struct buffer *log)
{
    // A NUL byte would hide what follows it.
    char *text = xstrndup("", 0);
    text = xrealloc(text, log->len_bytes + 1);
    size_t len_bytes = 0;
    for (size_t i = 0; i < log->len_bytes; i++) {
        if (log->data[i] != '\0' && log->data[i] != '\r') {
            text[len_bytes++] = (char)log->data[i];
        }
    }
    text[len_bytes] = '\0';
    return text;
}

static char *annotate(const char *text, const char *elf)
{
    struct symbols *symbols = symbols_open(elf);
    if (symbols == NULL) {
        return xstrdup(text);
    }
    char *annotated = symbols_annotate(symbols, text);
    symbols_close(symbols);
    return annotated;
}

// Where the line with "panic: " begins, or NULL.
static char *find_panic(char *text)
{
    char *panic = strstr(text, "panic: ");
    while (panic != NULL && panic > text && panic[-1] != '\n') {
        panic--;
    }
    return panic;
}

char *report_panic_text(const struct buffer *log, const char *elf)
{
    char *text = log_text(log);
    char *panic = find_panic(text);
    char *annotated = panic != NULL ? annotate(panic, elf) : NULL;
    free(text);
    return annotated;
}

// Prints the last lines of `text` that begin before `end`.
static void print_last_lines(const char *text, const char *end)
{
    const char *from = end;
    for (unsigned lines = 0; from > text && lines <= LOG_LINES_SHOWN; from--) {
        lines += from[-1] == '\n';
        if (lines > LOG_LINES_SHOWN) {
            break;
        }
    }
    fwrite(from, 1, (size_t)(end - from), stderr);
}

static void report_panic(const struct qemu_run *run, const char *elf, bool show_log)
{
    char *text = log_text(&run->log);
    char *panic = find_panic(text);
    if (show_log) {
        print_last_lines(text, panic != NULL ? panic : text + strlen(text));
    }
    fputs("\nlodger: the kernel panicked\n", stderr);
    if (panic != NULL) {
        char *annotated = annotate(panic, elf);
        fputs(annotated, stderr);
        free(annotated);
    }
    free(text);
}

static void report_messages(const struct qemu_run *run)
{
    char *text = log_text(&run->messages);
    char *rest = text;
    char *line;
    while ((line = strsep(&rest, "\n")) != NULL) {
        // TCG says at every start which processor features it lacks.
        if (line[0] != '\0' && strstr(line, "TCG doesn't support requested feature") == NULL &&
            strstr(line, "terminating on signal") == NULL) {
            fprintf(stderr, "qemu: %s\n", line);
        }
    }
    free(text);
}

void report_outcome(const struct qemu_run *run, const char *elf, bool show_log)
{
    report_messages(run);
    switch (run->outcome) {
    case OUTCOME_PANIC:
        report_panic(run, elf, show_log);
        break;
    case OUTCOME_TIMEOUT:
        warn("the guest did not end within %.0f s", (double)run->timeout_ns / 1e9);
        break;
    case OUTCOME_LEFT:
        warn("left the guest");
        break;
    case OUTCOME_DIED: {
        char *text = log_text(&run->log);
        print_last_lines(text, text + strlen(text));
        free(text);
        warn("the machine ended without saying why (a triple fault, or QEMU was killed)");
        break;
    }
    case OUTCOME_QEMU_FAILED: {
        char *text = log_text(&run->log);
        print_last_lines(text, text + strlen(text));
        free(text);
        warn("QEMU could not run the machine");
        break;
    }
    default:
        break;
    }
}

// Text as JSON: what is no UTF-8 becomes U+FFFD.
static json_t *json_text(const struct buffer *buffer)
{
    struct buffer clean = {};
    size_t i = 0;
    while (i < buffer->len_bytes) {
        size_t len_bytes = 1;
        uint8_t first = buffer->data[i];
        if (first >= 0xc2 && first <= 0xf4) {
            len_bytes = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
        }
        json_t *piece = i + len_bytes <= buffer->len_bytes
                            ? json_stringn((const char *)buffer->data + i, len_bytes)
                            : NULL;
        if (piece != NULL) {
            buffer_add(&clean, buffer->data + i, len_bytes);
            json_decref(piece);
        } else {
            buffer_add(&clean, "\xef\xbf\xbd", 3);
            len_bytes = 1;
        }
        i += len_bytes;
    }
    json_t *text =
        json_stringn(clean.data != NULL ? (const char *)clean.data : "", clean.len_bytes);
    buffer_free(&clean);
    return text;
}

void report_json(const struct qemu_run *run, const char *elf)
{
    json_t *object = json_object();
    json_object_set_new(object, "outcome", json_string(outcome_name(run->outcome)));
    json_object_set_new(object, "exit_code", json_integer(qemu_exit_code(run)));
    json_object_set_new(object, "duration_s", json_real((double)run->duration_ns / 1e9));
    json_object_set_new(object, "stdout", json_text(&run->out));
    json_object_set_new(object, "stderr", json_text(&run->err));
    json_object_set_new(object, "log", json_text(&run->log));
    json_object_set_new(object, "qemu_messages", json_text(&run->messages));
    char *panic = run->outcome == OUTCOME_PANIC ? report_panic_text(&run->log, elf) : NULL;
    json_object_set_new(object, "panic", panic != NULL ? json_string(panic) : json_null());
    free(panic);
    json_dumpf(object, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(object);
}
