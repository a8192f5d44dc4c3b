// SPDX-License-Identifier: MIT
//
// Small helpers of the lodger command: errors, growing strings and lists, files.
//
// The command is a short-lived program: running out of memory ends it, and what it allocates for
// its whole life is not freed.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Exit codes of the command's own. A program in the guest may of course return the same numbers;
// --json tells them apart.
#define EXIT_TIMEOUT      124 // --timeout ran out
#define EXIT_PANIC        125 // the kernel panicked
#define EXIT_OWN_ERROR    126 // bad option, missing file, no QEMU, build failed...
#define EXIT_MACHINE_DIED 127 // the machine ended without saying why (triple fault, QEMU killed)

// Prints "lodger: MESSAGE" to standard error and ends the command with EXIT_OWN_ERROR. What was
// registered with atexit() is run, so the terminal is restored and QEMU is stopped.
[[noreturn]] void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
// Prints "lodger: MESSAGE" to standard error.
void warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Like malloc(), realloc(), strdup(), asprintf(), but never return NULL.
void *xmalloc(size_t len_bytes);
void *xrealloc(void *old, size_t len_bytes);
char *xstrdup(const char *text);
char *xstrndup(const char *text, size_t len_bytes);
char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

// A list of strings that can be passed to execvp(): items[count] is always NULL once something was
// added.
struct strings {
    char **items;
    size_t count;
    size_t capacity;
};

// Appends a copy of `text`.
void strings_add(struct strings *list, const char *text);
// Appends a formatted string.
void strings_addf(struct strings *list, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
// Appends the words of `text`, which blanks separate.
void strings_add_words(struct strings *list, const char *text);
bool strings_contain(const struct strings *list, const char *text);
void strings_free(struct strings *list);

// Bytes that grow at the end. `data` is not NUL-terminated.
struct buffer {
    uint8_t *data;
    size_t len_bytes;
    size_t capacity_bytes;
};

void buffer_add(struct buffer *buffer, const void *data, size_t len_bytes);
// Appends zero bytes until the length is a multiple of `alignment`, which must be a power of two.
void buffer_align(struct buffer *buffer, size_t alignment);
void buffer_free(struct buffer *buffer);

// Reads the file whole. Returns 0 or a negative errno; what was read is appended to `buffer`.
[[nodiscard]] int file_read(const char *path, struct buffer *buffer);
// Reads a text file and NUL-terminates it. Returns NULL, with errno set, when that fails.
char *file_read_text(const char *path);
// Writes the file whole, through a temporary file beside it; dies when that fails.
void file_write(const char *path, const void *data, size_t len_bytes);
// Creates the folder and those above it; dies when that fails.
void folder_create(const char *path);
// A new private folder under /tmp that is removed, with the files in it, when the command ends.
const char *folder_temporary(void);

// `text` as a word of a shell command, quoted where it must be.
char *shell_quote(const char *text);
// The list as one line that can be pasted into a shell.
char *shell_quote_all(char *const *items);

// The root of the source tree, without a slash at the end: two folders above out/host/lodger.
const char *tree_root(void);
// A path in the tree: tree_path("out/%s", variant).
char *tree_path(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Parses a size such as 12M, 8G or 4096; the unit is a byte. Returns false if it is not one or is
// too big.
[[nodiscard]] bool parse_size(const char *text, uint64_t *size_bytes);
// Parses a decimal number within [min, max]; the whole text must be the number.
[[nodiscard]] bool parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *number);

// Monotonic time in nanoseconds.
uint64_t time_now_ns(void);
