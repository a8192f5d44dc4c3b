// SPDX-License-Identifier: MIT
//
// tidy: checks the source tree against the house rules that `gn check` and the compiler cannot see
// (rules.h).
//
//   out/host/tidy            checks; ends with 1 and lists what is wrong
//   out/host/tidy --update   also writes the ratchet file with the numbers found, if they went down
//
// The ratchet file says how often each of the softer rules may be broken. The numbers may only go
// down.
#include "tools/tidy/rules.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RATCHET_PATH "tools/tidy/ratchet.txt"
// Breaches that are listed when a ratchet is exceeded.
#define LISTED_MAX 50

struct breach {
    char *path;
    unsigned line;
    enum tidy_rule rule;
};

struct state {
    struct breach *breaches;
    size_t breach_count;
    unsigned counts[RULE_COUNT];
    unsigned allowed[RULE_COUNT];
};

static void report(void *context, const char *path, unsigned line, enum tidy_rule rule)
{
    struct state *state = context;
    state->breaches =
        realloc(state->breaches, (state->breach_count + 1) * sizeof(state->breaches[0]));
    if (state->breaches == NULL) {
        abort();
    }
    state->breaches[state->breach_count++] =
        (struct breach){.path = strdup(path), .line = line, .rule = rule};
    state->counts[rule]++;
}

static char *read_text(const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return NULL;
    }
    char *text = NULL;
    size_t capacity = 0;
    if (getdelim(&text, &capacity, '\0', file) < 0) {
        free(text);
        text = strdup("");
    }
    fclose(file);
    return text;
}

// A header must be listed by the BUILD.gn of its folder or of one above it.
static bool header_is_listed(const char *path)
{
    char folder[1024];
    snprintf(folder, sizeof(folder), "%s", path);
    for (char *slash = strrchr(folder, '/'); slash != NULL; slash = strrchr(folder, '/')) {
        *slash = '\0';
        char build[1100];
        snprintf(build, sizeof(build), "%s/BUILD.gn", folder);
        char *text = read_text(build);
        bool listed = text != NULL && tidy_header_is_listed(path, folder, text);
        free(text);
        if (listed) {
            return true;
        }
    }
    return false;
}

static void check_path(struct state *state, const char *path)
{
    char *text = read_text(path);
    if (text == NULL) {
        fprintf(stderr, "tidy: cannot read %s: %s\n", path, strerror(errno));
        exit(1);
    }
    tidy_check_file(path, text, report, state);
    size_t len = strlen(path);
    if (len > 2 && strcmp(path + len - 2, ".h") == 0 && !header_is_listed(path)) {
        report(state, path, 1, RULE_HEADER_IN_TARGET);
    }
    free(text);
}

// Everything below the folder, except what the build makes and links that lead out of the tree.
static void check_folder(struct state *state, const char *folder)
{
    struct dirent **entries;
    int count = scandir(folder[0] != '\0' ? folder : ".", &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        char path[1024];
        snprintf(path, sizeof(path), "%s%s%s", folder, folder[0] != '\0' ? "/" : "", name);
        struct stat status;
        bool known = lstat(path, &status) == 0 && name[0] != '.';
        if (known && S_ISDIR(status.st_mode) && strcmp(path, "out") != 0) {
            check_folder(state, path);
        } else if (known && S_ISREG(status.st_mode) && tidy_is_source(path)) {
            check_path(state, path);
        }
        free(entries[i]);
    }
    if (count >= 0) {
        free(entries);
    }
}

static void read_ratchet(struct state *state)
{
    FILE *file = fopen(RATCHET_PATH, "r");
    char line[256];
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        char name[64];
        unsigned allowed;
        if (line[0] == '#' || sscanf(line, "%63s %u", name, &allowed) != 2) {
            continue;
        }
        for (int rule = 0; rule < RULE_COUNT; rule++) {
            if (strcmp(name, tidy_rule_name((enum tidy_rule)rule)) == 0) {
                state->allowed[rule] = allowed;
            }
        }
    }
    if (file != NULL) {
        fclose(file);
    }
}

static void write_ratchet(const struct state *state)
{
    FILE *file = fopen(RATCHET_PATH, "w");
    if (file == NULL) {
        fprintf(stderr, "tidy: cannot write " RATCHET_PATH ": %s\n", strerror(errno));
        exit(1);
    }
    fputs("# How often a rule of tools/tidy may be broken at most. The numbers only go down: tidy "
          "--update.\n",
        file);
    for (int rule = 0; rule < RULE_COUNT; rule++) {
        unsigned count = state->counts[rule];
        if (count > state->allowed[rule]) {
            count = state->allowed[rule];
        }
        if (count > 0) {
            fprintf(file, "%s %u\n", tidy_rule_name((enum tidy_rule)rule), count);
        }
    }
    fclose(file);
}

// Lists the breaches of every rule that is broken too often. Returns how many rules those are.
static unsigned list_breaches(const struct state *state)
{
    unsigned broken = 0;
    for (int rule = 0; rule < RULE_COUNT; rule++) {
        if (state->counts[rule] <= state->allowed[rule]) {
            continue;
        }
        broken++;
        unsigned listed = 0;
        for (size_t i = 0; i < state->breach_count && listed < LISTED_MAX; i++) {
            if (state->breaches[i].rule == (enum tidy_rule)rule) {
                printf("%s:%u: %s (%s)\n", state->breaches[i].path, state->breaches[i].line,
                    tidy_rule_text((enum tidy_rule)rule), tidy_rule_name((enum tidy_rule)rule));
                listed++;
            }
        }
        if (state->allowed[rule] > 0) {
            printf("%s: %u places, %u are allowed (" RATCHET_PATH ")\n",
                tidy_rule_name((enum tidy_rule)rule), state->counts[rule], state->allowed[rule]);
        }
    }
    return broken;
}

int main(int argc, char **argv)
{
    struct state state = {};
    bool update = argc > 1 && strcmp(argv[1], "--update") == 0;
    int root = update ? 2 : 1;
    if (argc > root + 1 || (argc > root && argv[root][0] == '-')) {
        fputs("usage: tidy [--update] [ROOT]; without ROOT in the root of the tree\n", stderr);
        return 2;
    }
    if (argc > root && chdir(argv[root]) != 0) {
        perror(argv[root]);
        return 2;
    }
    if (access(".gn", R_OK) != 0) {
        fputs("tidy: run this in the root of the tree\n", stderr);
        return 2;
    }
    read_ratchet(&state);
    check_folder(&state, "");
    if (update) {
        write_ratchet(&state);
    }
    return list_breaches(&state) > 0 ? 1 : 0;
}
