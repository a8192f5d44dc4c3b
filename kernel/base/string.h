// SPDX-License-Identifier: MIT
//
// Bytes and strings. The functions of the C library have the C library's contract; in the kernel
// they come from string_generic.c (memcpy, memmove, memset and memcmp are weak there: the
// architecture may bring faster ones), on the host from libc, so that the sanitizers see them.
// Context: any, including NMI.
#pragma once

#include "kernel/base/types.h"

void *memcpy(void *restrict to, const void *restrict from, size_t len);
void *memmove(void *to, const void *from, size_t len);
void *memset(void *to, int byte, size_t len);
int memcmp(const void *a, const void *b, size_t len);
void *memchr(const void *bytes, int byte, size_t len);

// The kernel is compiled freestanding, where the compiler does not know these by name: say that
// they are what it thinks they are, so that copies of a few bytes become moves.
#ifdef LODGER_KERNEL
#define memcpy(to, from, len)  __builtin_memcpy((to), (from), (len))
#define memmove(to, from, len) __builtin_memmove((to), (from), (len))
#define memset(to, byte, len)  __builtin_memset((to), (byte), (len))
#define memcmp(a, b, len)      __builtin_memcmp((a), (b), (len))
#define strlen(string)         __builtin_strlen(string)
#endif

size_t(strlen)(const char *string);
size_t strnlen(const char *string, size_t max_len);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t max_len);
char *strchr(const char *string, int character);
char *strrchr(const char *string, int character);

// Copies as much of `from` as fits into size - 1 bytes and always terminates (size >= 1). Returns
// strlen(from): the copy was cut short if that is >= size.
size_t strlcpy(char *restrict to, const char *restrict from, size_t size);

// Like strlcpy for a source that is not terminated. Returns the number of bytes copied.
size_t string_copy_bytes(
    char *restrict to, size_t size, const char *restrict from, size_t from_len);

// Does `string` begin with `prefix`?
bool string_starts_with(const char *string, const char *prefix);

// Does the unterminated [bytes, bytes + len) equal the terminated `string`?
bool string_equals_bytes(const char *string, const char *bytes, size_t len);

// Parses exactly the `len` bytes as an unsigned number. base 2..36, or 0: "0x" means 16, "0b" 2, a
// leading "0" 8, else 10 (with base 16 a "0x" is accepted too). No sign, no spaces. Returns 0;
// -EINVAL: no digits or a byte that is no digit; -ERANGE: does not fit. *value is written only on
// success.
[[nodiscard]] int parse_u64(const char *bytes, size_t len, unsigned int base, uint64_t *value);

// The same with an optional leading '-' or '+'.
[[nodiscard]] int parse_s64(const char *bytes, size_t len, unsigned int base, int64_t *value);

// Words at any address.
static inline uint64_t load_unaligned_u64(const void *address)
{
    uint64_t word;
    memcpy(&word, address, sizeof(word));
    return word;
}

static inline uint32_t load_unaligned_u32(const void *address)
{
    uint32_t word;
    memcpy(&word, address, sizeof(word));
    return word;
}
