// SPDX-License-Identifier: MIT
//
// Small helpers of the lodger command.
#include "tools/lodger/util.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <dirent.h>

static void message(const char *format, va_list args)
{
    fflush(stdout);
    fputs("lodger: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    message(format, args);
    va_end(args);
    exit(EXIT_OWN_ERROR);
}

void warn(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    message(format, args);
    va_end(args);
}

void *xmalloc(size_t len_bytes)
{
    return xrealloc(NULL, len_bytes);
}

void *xrealloc(void *old, size_t len_bytes)
{
    void *memory = realloc(old, len_bytes > 0 ? len_bytes : 1);
    if (memory == NULL) {
        die("out of memory");
    }
    return memory;
}

char *xstrdup(const char *text)
{
    return xstrndup(text, strlen(text));
}

char *xstrndup(const char *text, size_t len_bytes)
{
    char *copy = xmalloc(len_bytes + 1);
    memcpy(copy, text, len_bytes);
    copy[len_bytes] = '\0';
    return copy;
}

static char *format_text(const char *format, va_list args)
{
    char *text;
    if (vasprintf(&text, format, args) < 0) {
        die("out of memory");
    }
    return text;
}

char *xasprintf(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = format_text(format, args);
    va_end(args);
    return text;
}

// Appends `text` itself, which the list owns from then on.
static void strings_adopt(struct strings *list, char *text)
{
    if (list->count + 2 > list->capacity) {
        list->capacity = list->capacity * 2 + 8;
        list->items = xrealloc(list->items, list->capacity * sizeof(list->items[0]));
    }
    list->items[list->count++] = text;
    list->items[list->count] = NULL;
}

void strings_add(struct strings *list, const char *text)
{
    strings_adopt(list, xstrdup(text));
}

void strings_addf(struct strings *list, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    strings_adopt(list, format_text(format, args));
    va_end(args);
}

void strings_add_words(struct strings *list, const char *text)
{
    while (*text != '\0') {
        text += strspn(text, " \t\n");
        size_t len_bytes = strcspn(text, " \t\n");
        if (len_bytes > 0) {
            strings_adopt(list, xstrndup(text, len_bytes));
        }
        text += len_bytes;
    }
}

bool strings_contain(const struct strings *list, const char *text)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i], text) == 0) {
            return true;
        }
    }
    return false;
}

void strings_free(struct strings *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i]);
    }
    free(list->items);
    *list = (struct strings){};
}

void buffer_add(struct buffer *buffer, const void *data, size_t len_bytes)
{
    if (len_bytes > buffer->capacity_bytes - buffer->len_bytes) {
        buffer->capacity_bytes = (buffer->len_bytes + len_bytes) * 2;
        buffer->data = xrealloc(buffer->data, buffer->capacity_bytes);
    }
    if (len_bytes > 0) {
        memcpy(buffer->data + buffer->len_bytes, data, len_bytes);
    }
    buffer->len_bytes += len_bytes;
}

void buffer_align(struct buffer *buffer, size_t alignment)
{
    static const uint8_t zeroes[64];
    while ((buffer->len_bytes & (alignment - 1)) != 0) {
        size_t missing_bytes = alignment - (buffer->len_bytes & (alignment - 1));
        buffer_add(buffer, zeroes, missing_bytes < sizeof(zeroes) ? missing_bytes : sizeof(zeroes));
    }
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){};
}

int file_read(const char *path, struct buffer *buffer)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    uint8_t chunk[65536];
    ssize_t got;
    while ((got = read(fd, chunk, sizeof(chunk))) > 0) {
        buffer_add(buffer, chunk, (size_t)got);
    }
    int error = got < 0 ? -errno : 0;
    close(fd);
    return error;
}

char *file_read_text(const char *path)
{
    struct buffer buffer = {};
    int error = file_read(path, &buffer);
    if (error != 0) {
        buffer_free(&buffer);
        errno = -error;
        return NULL;
    }
    buffer_add(&buffer, "", 1);
    return (char *)buffer.data;
}

void file_write(const char *path, const void *data, size_t len_bytes)
{
    char *temporary = xasprintf("%s.%d.tmp", path, (int)getpid());
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        die("cannot create %s: %s", temporary, strerror(errno));
    }
    const uint8_t *from = data;
    while (len_bytes > 0) {
        ssize_t written = write(fd, from, len_bytes);
        if (written < 0) {
            die("cannot write %s: %s", temporary, strerror(errno));
        }
        from += written;
        len_bytes -= (size_t)written;
    }
    if (close(fd) != 0 || rename(temporary, path) != 0) {
        die("cannot write %s: %s", path, strerror(errno));
    }
    free(temporary);
}

void folder_create(const char *path)
{
    char *copy = xstrdup(path);
    for (char *slash = copy + 1;; slash++) {
        slash = strchrnul(slash, '/');
        char saved = *slash;
        *slash = '\0';
        if (mkdir(copy, 0755) != 0 && errno != EEXIST) {
            die("cannot create the folder %s: %s", copy, strerror(errno));
        }
        *slash = saved;
        if (saved == '\0') {
            break;
        }
    }
    free(copy);
}

static char temporary_folder[] = "/tmp/lodger.XXXXXX";
static pid_t temporary_folder_owner; // 0: there is none

static void temporary_folder_remove(void)
{
    // A forked child that leaves through exit() must not take its parent's folder along.
    if (temporary_folder_owner != getpid()) {
        return;
    }
    DIR *folder = opendir(temporary_folder);
    if (folder != NULL) {
        struct dirent *entry;
        while ((entry = readdir(folder)) != NULL) {
            unlinkat(dirfd(folder), entry->d_name, 0);
        }
        closedir(folder);
    }
    rmdir(temporary_folder);
}

const char *folder_temporary(void)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    if (temporary_folder_owner == 0) {
        if (mkdtemp(temporary_folder) == NULL) {
            die("cannot create a temporary folder: %s", strerror(errno));
        }
        temporary_folder_owner = getpid();
        atexit(temporary_folder_remove);
    }
    pthread_mutex_unlock(&lock);
    return temporary_folder;
}

char *shell_quote(const char *text)
{
    bool plain = text[0] != '\0';
    for (const char *c = text; *c != '\0'; c++) {
        plain = plain && (isalnum((unsigned char)*c) || strchr("_-./=,:+@%", *c) != NULL);
    }
    if (plain) {
        return xstrdup(text);
    }
    struct buffer quoted = {};
    buffer_add(&quoted, "'", 1);
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '\'') {
            buffer_add(&quoted, "'\\''", 4);
        } else {
            buffer_add(&quoted, c, 1);
        }
    }
    buffer_add(&quoted, "'", 2);
    return (char *)quoted.data;
}

char *shell_quote_all(char *const *items)
{
    struct buffer line = {};
    for (size_t i = 0; items[i] != NULL; i++) {
        char *quoted = shell_quote(items[i]);
        if (i > 0) {
            buffer_add(&line, " ", 1);
        }
        buffer_add(&line, quoted, strlen(quoted));
        free(quoted);
    }
    buffer_add(&line, "", 1);
    return (char *)line.data;
}

const char *tree_root(void)
{
    static char root[4096];
    if (root[0] == '\0') {
        ssize_t len_bytes = readlink("/proc/self/exe", root, sizeof(root) - 1);
        if (len_bytes < 0) {
            die("cannot find out where this program lies: %s", strerror(errno));
        }
        root[len_bytes] = '\0';
        for (int i = 0; i < 3; i++) {
            char *slash = strrchr(root, '/');
            if (slash == NULL) {
                die("this program must lie in out/host of its source tree");
            }
            *slash = '\0';
        }
    }
    return root;
}

char *tree_path(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *relative = format_text(format, args);
    va_end(args);
    char *path = xasprintf("%s/%s", tree_root(), relative);
    free(relative);
    return path;
}

bool parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *number)
{
    if (!isdigit((unsigned char)text[0])) {
        return false;
    }
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || value < min || value > max) {
        return false;
    }
    *number = value;
    return true;
}

bool parse_size(const char *text, uint64_t *size_bytes)
{
    static const char units[] = "KMGT";
    char *digits = xstrdup(text);
    size_t len_bytes = strlen(digits);
    unsigned shift = 0;
    const char *unit =
        len_bytes > 0 ? strchr(units, toupper((unsigned char)digits[len_bytes - 1])) : NULL;
    if (unit != NULL && *unit != '\0') {
        shift = 10 * (unsigned)(unit - units + 1);
        digits[len_bytes - 1] = '\0';
    }
    bool valid = parse_number(digits, 1, UINT64_MAX >> shift, size_bytes);
    free(digits);
    if (valid) {
        *size_bytes <<= shift;
    }
    return valid;
}

uint64_t time_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
