// SPDX-License-Identifier: MIT
//
// Reading the description of a guest and packing its initial file system.
#include "tools/lodger/description.h"
#include "tools/lodger/program.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

// Where in which description we are, and what is being made.
struct reader {
    const char *path;
    unsigned line;
    const char *programs;
    struct cpio *cpio;
    struct description *description;
};

[[noreturn]] static void complain(
    const struct reader *reader, const char *message, const char *detail)
{
    die("%s:%u: %s%s", reader->path, reader->line, message, detail);
}

static mode_t parse_permissions(const struct reader *reader, const char *text)
{
    char *end;
    unsigned long mode = strtoul(text, &end, 8);
    if (*text == '\0' || *end != '\0' || mode > 07777) {
        complain(reader, "not an octal mode: ", text);
    }
    return (mode_t)mode;
}

// The host file that a description means: program:NAME is a program of this tree, a relative path
// starts at the description's folder.
static char *source_path(const struct reader *reader, const char *source)
{
    if (strncmp(source, "program:", 8) == 0) {
        return xasprintf("%s/%s", reader->programs, source + 8);
    }
    if (source[0] == '/') {
        return xstrdup(source);
    }
    const char *slash = strrchr(reader->path, '/');
    int folder_len = slash != NULL ? (int)(slash - reader->path) : 1;
    return xasprintf("%.*s/%s", folder_len, slash != NULL ? reader->path : ".", source);
}

static void line_dir(struct reader *reader, const struct strings *words)
{
    mode_t mode = words->count > 2 ? parse_permissions(reader, words->items[2]) : 0755;
    if (reader->cpio != NULL) {
        cpio_add_folder(reader->cpio, words->items[1], mode);
    }
}

static void line_file(struct reader *reader, const struct strings *words)
{
    mode_t mode = words->count > 3 ? parse_permissions(reader, words->items[3]) : 0;
    char *source = source_path(reader, words->items[2]);
    struct stat status;
    if (reader->cpio != NULL) {
        if (stat(source, &status) != 0) {
            complain(reader, strerror(errno), xasprintf(": %s", source));
        }
        if (mode == 0) {
            mode = status.st_mode & 0777;
        }
        int error = cpio_add_host_file(reader->cpio, words->items[1], mode, source);
        if (error != 0) {
            complain(reader, strerror(-error), xasprintf(": %s", source));
        }
    }
    strings_add(&reader->description->inputs, source);
    free(source);
}

static void line_program(struct reader *reader, const struct strings *words)
{
    char *source = source_path(reader, words->items[2]);
    if (reader->cpio != NULL) {
        char *reason = program_pack(reader->cpio, words->items[1], source);
        if (reason != NULL) {
            complain(reader, reason, "");
        }
    }
    strings_add(&reader->description->inputs, source);
    free(source);
}

static void line_link(struct reader *reader, const struct strings *words)
{
    if (reader->cpio != NULL) {
        cpio_add_symlink(reader->cpio, words->items[1], words->items[2]);
    }
}

// links TARGET FOLDER NAME...: a symbolic link FOLDER/NAME for each name.
static void line_links(struct reader *reader, const struct strings *words)
{
    for (size_t i = 3; i < words->count && reader->cpio != NULL; i++) {
        char *path = xasprintf("%s/%s", words->items[2], words->items[i]);
        cpio_add_symlink(reader->cpio, path, words->items[1]);
        free(path);
    }
}

// text PATH REST OF THE LINE: consecutive lines for one path make one file.
struct text_file {
    char *path;
    struct buffer content;
};

static void flush_text(struct reader *reader, struct text_file *text)
{
    if (text->path != NULL && reader->cpio != NULL) {
        cpio_add_file(reader->cpio, text->path, 0644, text->content.data, text->content.len_bytes);
    }
    free(text->path);
    buffer_free(&text->content);
    text->path = NULL;
}

static void line_text(
    struct reader *reader, const char *line, const char *path, struct text_file *text)
{
    if (text->path == NULL || strcmp(text->path, path) != 0) {
        flush_text(reader, text);
        text->path = xstrdup(path);
    }
    const char *rest = strstr(line, path) + strlen(path);
    rest += *rest == ' ';
    buffer_add(&text->content, rest, strlen(rest));
    buffer_add(&text->content, "\n", 1);
}

static void add_rest(struct strings *list, const struct strings *words)
{
    for (size_t i = 1; i < words->count; i++) {
        strings_add(list, words->items[i]);
    }
}

static void line_value(struct reader *reader, const struct strings *words, const char *line)
{
    struct description *description = reader->description;
    const char *key = words->items[0];
    if (strcmp(key, "title") == 0) {
        const char *rest = strstr(line, "title") + 5;
        description->title = xstrdup(rest + strspn(rest, " \t"));
    } else if (strcmp(key, "command") == 0) {
        add_rest(&description->argv, words);
    } else if (strcmp(key, "env") == 0) {
        add_rest(&description->env, words);
    } else if (strcmp(key, "append") == 0) {
        add_rest(&description->append, words);
    } else if (strcmp(key, "memory") == 0) {
        description->memory = xstrdup(words->items[1]);
    } else if (strcmp(key, "cpus") == 0) {
        description->cpus = xstrdup(words->items[1]);
    } else {
        complain(reader, "unknown keyword: ", key);
    }
}

static void read_line(struct reader *reader, const char *line, struct text_file *text)
{
    static const struct {
        const char *keyword;
        size_t min_words;
        size_t max_words;
        void (*handle)(struct reader *reader, const struct strings *words);
    } keywords[] = {
        {"dir", 2, 3, line_dir},
        {"file", 3, 4, line_file},
        {"program", 3, 3, line_program},
        {"link", 3, 3, line_link},
        {"links", 4, SIZE_MAX, line_links},
    };
    struct strings words = {};
    strings_add_words(&words, line);
    if (words.count == 0 || words.items[0][0] == '#') {
        strings_free(&words);
        return;
    }
    if (words.count < 2) {
        complain(reader, "something is missing after ", words.items[0]);
    }
    bool handled = false;
    for (size_t i = 0; i < sizeof(keywords) / sizeof(keywords[0]) && !handled; i++) {
        if (strcmp(words.items[0], keywords[i].keyword) == 0) {
            if (words.count < keywords[i].min_words || words.count > keywords[i].max_words) {
                complain(reader, "wrong number of words after ", words.items[0]);
            }
            keywords[i].handle(reader, &words);
            handled = true;
        }
    }
    if (!handled && strcmp(words.items[0], "text") == 0) {
        line_text(reader, line, words.items[1], text);
    } else if (!handled) {
        line_value(reader, &words, line);
    }
    strings_free(&words);
}

void description_read(
    const char *path, const char *programs, struct cpio *cpio, struct description *description)
{
    *description = (struct description){};
    char *content = file_read_text(path);
    if (content == NULL) {
        die("cannot read %s: %s", path, strerror(errno));
    }
    struct reader reader = {
        .path = path, .programs = programs, .cpio = cpio, .description = description};
    struct text_file text = {};
    char *rest = content;
    char *line;
    while ((line = strsep(&rest, "\n")) != NULL) {
        reader.line++;
        read_line(&reader, line, &text);
    }
    flush_text(&reader, &text);
    free(content);
}

// A file of NUL-terminated strings, which needs no quoting.
static void add_strings_file(struct cpio *cpio, const char *path, const struct strings *list)
{
    struct buffer content = {};
    for (size_t i = 0; i < list->count; i++) {
        buffer_add(&content, list->items[i], strlen(list->items[i]) + 1);
    }
    cpio_add_file(cpio, path, 0644, content.data, content.len_bytes);
    buffer_free(&content);
}

void description_add_basics(struct cpio *cpio, const char *programs, const struct strings *argv,
    const struct strings *env, const char *working_folder)
{
    static const char *const folders[] = {"/dev", "/proc", "/sys", "/tmp", "/root", "/etc", "/bin"};
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        cpio_add_folder(cpio, folders[i], strcmp(folders[i], "/tmp") == 0 ? 01777 : 0755);
    }
    // Linux opens this for the first program before anything could be mounted on /dev.
    cpio_add_device(cpio, "/dev/console", S_IFCHR | 0600, 5, 1);
    if (argv->count == 0 || cpio_contains(cpio, "/init")) {
        return;
    }
    char *init = xasprintf("%s/lodger-init", programs);
    int error = cpio_add_host_file(cpio, "/init", 0755, init);
    if (error != 0) {
        die("cannot read %s: %s", init, strerror(-error));
    }
    free(init);
    add_strings_file(cpio, "/.lodger/argv", argv);
    add_strings_file(cpio, "/.lodger/env", env);
    if (working_folder != NULL) {
        cpio_add_file(cpio, "/.lodger/cwd", 0644, working_folder, strlen(working_folder) + 1);
    }
}
