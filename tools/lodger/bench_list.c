// SPDX-License-Identifier: MIT
//
// Reading the descriptions of the benchmarks.
#include "tools/lodger/bench.h"

#include "tools/lodger/process.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY_DEFAULT_BYTES (UINT64_C(512) << 20)
#define TIMEOUT_DEFAULT_S    60
#define DESCRIBE_TIMEOUT_NS  20000000000u

// What the command measures from outside.
static const char host_benches[] =
    "benchmark boot\n"
    "kind host\n"
    "group boot\n"
    "what Reset to the first instruction of the first program: microvm, PVH, 128 MiB, one vCPU.\n"
    "omits The firmware (PVH needs hardly any). If a kernel halts while it boots, the time it "
    "waits counts as instructions.\n"
    "\n"
    "benchmark boot-accesses\n"
    "kind host\n"
    "group boot\n"
    "what Trapped device accesses (ports and registers) in the same boot, to its end.\n"
    "omits Accesses that QEMU's accelerator handles itself, such as the local APIC's in KVM.\n"
    "unit accesses\n"
    "\n"
    "benchmark image\n"
    "kind host\n"
    "group boot\n"
    "what Size of the kernel file that is booted, without debugging information.\n"
    "omits Whether it is compressed (Debian's is), modules, initial files.\n"
    "unit bytes\n";

struct parser {
    struct bench_list *list;
    struct bench *bench; // the current one, or NULL
};

static void begin_bench(struct parser *parser, const char *name)
{
    struct bench_list *list = parser->list;
    list->items = xrealloc(list->items, (list->count + 1) * sizeof(struct bench));
    parser->bench = &list->items[list->count++];
    *parser->bench = (struct bench){
        .name = xstrdup(name),
        .group = xstrdup(""),
        .what = xstrdup(""),
        .omits = xstrdup(""),
        .cpus = 1,
        .memory_bytes = MEMORY_DEFAULT_BYTES,
        .counts = true,
        .timeout_s = TIMEOUT_DEFAULT_S,
    };
}

static bool is_name(const char *text)
{
    size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-");
    return len > 0 && text[len] == '\0';
}

// A key that comes again continues its text.
static bool set_text(char **text, const char *value)
{
    char *old = *text;
    bool first = old == NULL || old[0] == '\0';
    *text = first ? xstrdup(value) : xasprintf("%s %s", old, value);
    free(old);
    return true;
}

static bool set_number(unsigned *number, const char *value)
{
    uint64_t parsed;
    bool right = parse_number(value, 1, 1000000000, &parsed);
    *number = right ? (unsigned)parsed : *number;
    return right;
}

static bool set_flag(bool *flag, const char *value)
{
    *flag = strcmp(value, "yes") == 0;
    return *flag || strcmp(value, "no") == 0;
}

static bool set_kind(enum bench_kind *kind, const char *value)
{
    static const char *const names[] = {
        [BENCH_HOST] = "host", [BENCH_MICRO] = "micro", [BENCH_MACRO] = "macro"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i], value) == 0) {
            *kind = (enum bench_kind)i;
            return true;
        }
    }
    return false;
}

static bool set_better(bool *more, const char *value)
{
    *more = strcmp(value, "more") == 0;
    return *more || strcmp(value, "less") == 0;
}

static bool set_words(struct strings *words, const char *value)
{
    strings_add_words(words, value);
    return true;
}

static bool is(const char *key, const char *name)
{
    return strcmp(key, name) == 0;
}

// Sets one key. Returns false if there is no such key or the value is none for it.
static bool set_key(struct bench *bench, const char *key, const char *value)
{
    return is(key, "kind")       ? set_kind(&bench->kind, value)
           : is(key, "group")    ? set_text(&bench->group, value)
           : is(key, "what")     ? set_text(&bench->what, value)
           : is(key, "omits")    ? set_text(&bench->omits, value)
           : is(key, "unit")     ? set_text(&bench->unit, value)
           : is(key, "better")   ? set_better(&bench->more_is_better, value)
           : is(key, "count")    ? set_number(&bench->count, value)
           : is(key, "cpus")     ? set_number(&bench->cpus, value)
           : is(key, "memory")   ? parse_size(value, &bench->memory_bytes)
           : is(key, "disk")     ? parse_size(value, &bench->disk_bytes)
           : is(key, "packages") ? set_words(&bench->packages, value)
           : is(key, "programs") ? set_words(&bench->programs, value)
           : is(key, "files")    ? set_words(&bench->files, value)
           : is(key, "counts")   ? set_flag(&bench->counts, value)
           : is(key, "latency")  ? set_flag(&bench->latency, value)
           : is(key, "scales")   ? set_flag(&bench->scales, value)
           : is(key, "timeout")  ? set_number(&bench->timeout_s, value)
                                 : false;
}

// Reads one line. Returns NULL or a complaint.
static char *parse_line(struct parser *parser, char *line)
{
    size_t key_len = strcspn(line, " ");
    char *value = line[key_len] != '\0' ? line + key_len + 1 : line + key_len;
    line[key_len] = '\0';
    if (is(line, "benchmark")) {
        if (!is_name(value)) {
            return xasprintf("'%s' is no name for a benchmark", value);
        }
        if (bench_find(parser->list, value) != NULL) {
            return xasprintf("there is a benchmark %s already", value);
        }
        begin_bench(parser, value);
        return NULL;
    }
    if (parser->bench == NULL) {
        return xasprintf("'%s' comes before any 'benchmark'", line);
    }
    if (!set_key(parser->bench, line, value)) {
        return xasprintf("'%s %s' is not understood (guests/bench/README.md)", line, value);
    }
    return NULL;
}

static char *check_complete(const struct bench_list *list, size_t from, const char *source)
{
    for (size_t i = from; i < list->count; i++) {
        const struct bench *bench = &list->items[i];
        if (bench->group[0] == '\0' || bench->what[0] == '\0') {
            return xasprintf("%s: %s lacks 'group' or 'what'", source, bench->name);
        }
    }
    return NULL;
}

char *bench_list_parse(struct bench_list *list, const char *source, const char *text)
{
    struct parser parser = {.list = list};
    size_t from = list->count;
    unsigned number = 0;
    for (const char *rest = text; *rest != '\0';) {
        char *line = xstrndup(rest, strcspn(rest, "\n"));
        rest += strcspn(rest, "\n");
        rest += *rest == '\n';
        number++;
        char *complaint = NULL;
        if (is(line, "script") && parser.bench != NULL) {
            parser.bench->script = xstrdup(rest);
            rest += strlen(rest);
        } else if (line[0] != '\0' && line[0] != '#') {
            complaint = parse_line(&parser, line);
        }
        free(line);
        if (complaint != NULL) {
            char *whole = xasprintf("%s:%u: %s", source, number, complaint);
            free(complaint);
            return whole;
        }
    }
    return check_complete(list, from, source);
}

static void parse_or_die(struct bench_list *list, const char *source, const char *text)
{
    char *complaint = bench_list_parse(list, source, text);
    if (complaint != NULL) {
        die("%s", complaint);
    }
}

// The program of the micro benchmarks runs on this host as well, and knows what it holds.
static void read_micro(struct bench_list *list)
{
    char *program = tree_path("out/host/guest/bench");
    char *command[] = {program, "--describe", NULL};
    struct process_result result;
    process_run(command, NULL, DESCRIBE_TIMEOUT_NS, &result);
    if (!process_succeeded(&result)) {
        die("%s --describe failed", program);
    }
    buffer_add(&result.output, "", 1);
    parse_or_die(list, program, (const char *)result.output.data);
    buffer_free(&result.output);
    free(program);
}

static void read_macro(struct bench_list *list)
{
    char *pattern = tree_path("guests/bench/macro/*.bench");
    glob_t found;
    if (glob(pattern, 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++) {
            char *text = file_read_text(found.gl_pathv[i]);
            if (text == NULL) {
                die("cannot read %s", found.gl_pathv[i]);
            }
            size_t from = list->count;
            parse_or_die(list, found.gl_pathv[i], text);
            if (list->count != from + 1 || list->items[from].script == NULL) {
                die("%s: has to hold one benchmark and its script", found.gl_pathv[i]);
            }
            free(text);
        }
        globfree(&found);
    }
    free(pattern);
}

void bench_list_read(struct bench_list *list)
{
    *list = (struct bench_list){};
    parse_or_die(list, "the command's own", host_benches);
    read_micro(list);
    read_macro(list);
}

const struct bench *bench_find(const struct bench_list *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i].name, name) == 0) {
            return &list->items[i];
        }
    }
    return NULL;
}
