// SPDX-License-Identifier: MIT
//
// The rules of tools/tidy.
#include "tools/tidy/rules.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX        100
#define FUNCTION_LINES_MAX 70
#define FILE_LINES_MAX     800

static const struct {
    const char *name;
    const char *text;
} rules[] = {
    [RULE_LICENCE] = {"licence", "the first line must be the SPDX licence line"},
    [RULE_PRAGMA_ONCE] = {"pragma-once", "a header needs #pragma once"},
    [RULE_EXTERN_IN_C] = {"extern-in-c",
        "what another file defines is declared in its header, not here"},
    [RULE_NOGNCHECK] = {"nogncheck", "nogncheck needs its reason on the same line"},
    [RULE_ASSEMBLY] = {"assembly", "inline assembly belongs into kernel/arch"},
    [RULE_UNFINISHED] = {"unfinished", "finish it, or say in docs/limits.md what is missing"},
    [RULE_HEADER_IN_TARGET] = {"header-in-target", "the header is in no BUILD.gn"},
    [RULE_LONG_LINE] = {"long-line", "longer than 100 columns"},
    [RULE_LONG_FUNCTION] = {"long-function", "the function is longer than 70 lines"},
    [RULE_LONG_FILE] = {"long-file", "the file is longer than 800 lines"},
};

const char *tidy_rule_name(enum tidy_rule rule)
{
    return rules[rule].name;
}

const char *tidy_rule_text(enum tidy_rule rule)
{
    return rules[rule].text;
}

static bool ends_with(const char *text, const char *end)
{
    size_t text_len = strlen(text);
    size_t end_len = strlen(end);
    return text_len >= end_len && strcmp(text + text_len - end_len, end) == 0;
}

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

bool tidy_is_source(const char *path)
{
    return ends_with(path, ".c") || ends_with(path, ".h") || ends_with(path, ".S");
}

// Code of the kernel proper, as opposed to host programs, guest programs and the processor's
// folder.
static bool is_portable_kernel_code(const char *path)
{
    static const char *const folders[] = {"kernel/", "mm/", "sched/", "pv/", "virtio/", "perf/"};
    // The vDSO is code of programs.
    if (starts_with(path, "kernel/arch/") || starts_with(path, "kernel/vdso/")) {
        return false;
    }
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        if (starts_with(path, folders[i])) {
            return true;
        }
    }
    return false;
}

// One line with its surroundings.
struct line {
    const char *path;
    char *text;
    unsigned number;
    tidy_report *report;
    void *context;
};

static void complain(const struct line *line, enum tidy_rule rule)
{
    line->report(line->context, line->path, line->number, rule);
}

// Whether `word` stands in the text with no letter, digit or underscore around it.
static bool has_word(const char *text, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = strstr(text, word); at != NULL; at = strstr(at + 1, word)) {
        bool starts = at == text || (!isalnum((unsigned char)at[-1]) && at[-1] != '_');
        bool ends = !isalnum((unsigned char)at[len]) && at[len] != '_';
        if (starts && ends) {
            return true;
        }
    }
    return false;
}

// Columns of a line of UTF-8.
static unsigned columns(const char *text)
{
    unsigned count = 0;
    for (; *text != '\0'; text++) {
        count += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return count;
}

static void check_nogncheck(const struct line *line)
{
    const char *mark = strstr(line->text, "// nogncheck");
    if (mark != NULL && starts_with(line->text, "#include")) {
        const char *reason = mark + strlen("// nogncheck");
        reason += strspn(reason, ": ");
        if (strlen(reason) < 10) {
            complain(line, RULE_NOGNCHECK);
        }
    }
}

static void check_line(const struct line *line)
{
    // The words are put together here so that this file does not break its own rule.
    static const char *const unfinished[] = {"TO"
                                             "DO",
        "FIX"
        "ME",
        "XX"
        "X",
        "HA"
        "CK"};
    for (size_t i = 0; i < sizeof(unfinished) / sizeof(unfinished[0]); i++) {
        if (has_word(line->text, unfinished[i])) {
            complain(line, RULE_UNFINISHED);
        }
    }
    // Symbols of the linker script and of assembly are arrays; POSIX leaves the declaration of
    // environ to programs.
    if (ends_with(line->path, ".c") && starts_with(line->text, "extern ") &&
        strstr(line->text, "[]") == NULL && !has_word(line->text, "environ")) {
        complain(line, RULE_EXTERN_IN_C);
    }
    if (is_portable_kernel_code(line->path) && !ends_with(line->path, ".S") &&
        (has_word(line->text, "asm") || has_word(line->text, "__asm__")) &&
        strstr(line->text, "<asm/") == NULL && strstr(line->text, "//") == NULL) {
        complain(line, RULE_ASSEMBLY);
    }
    if (columns(line->text) > COLUMNS_MAX) {
        complain(line, RULE_LONG_LINE);
    }
    check_nogncheck(line);
}

void tidy_check_file(const char *path, const char *text, tidy_report *report, void *context)
{
    struct line line = {.path = path, .report = report, .context = context};
    bool pragma_once = false;
    unsigned function_start = 0;
    const char *rest = text;
    while (*rest != '\0') {
        size_t len = strcspn(rest, "\n");
        line.text = strndup(rest, len);
        line.number++;
        if (line.text == NULL) {
            abort();
        }
        if (line.number == 1 && strstr(line.text, "SPDX-License-Identifier: MIT") == NULL) {
            complain(&line, RULE_LICENCE);
        }
        pragma_once = pragma_once || strcmp(line.text, "#pragma once") == 0;
        if (strcmp(line.text, "{") == 0) {
            function_start = line.number;
        } else if (line.text[0] == '}' && function_start != 0) {
            if (line.number - function_start > FUNCTION_LINES_MAX) {
                complain(&line, RULE_LONG_FUNCTION);
            }
            function_start = 0;
        }
        check_line(&line);
        free(line.text);
        rest += len + (rest[len] == '\n');
    }
    if (ends_with(path, ".h") && !pragma_once) {
        complain(&line, RULE_PRAGMA_ONCE);
    }
    if (line.number > FILE_LINES_MAX) {
        complain(&line, RULE_LONG_FILE);
    }
}

bool tidy_header_is_listed(const char *path, const char *folder, const char *build_text)
{
    const char *relative = path;
    if (folder[0] != '\0') {
        relative += strlen(folder) + 1;
    }
    char quoted[512];
    snprintf(quoted, sizeof(quoted), "\"%s\"", relative);
    if (strstr(build_text, quoted) != NULL) {
        return true;
    }
    snprintf(quoted, sizeof(quoted), "\"//%s\"", path);
    return strstr(build_text, quoted) != NULL;
}
