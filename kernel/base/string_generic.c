// SPDX-License-Identifier: MIT
//
// The C library's memory and string functions for the kernel. Not compiled for host programs, which
// have libc (the unit test includes this file under other names and compares). The four functions
// that the compiler itself calls are weak, so that the architecture can bring better ones.
//
// Loops like these are what the compiler recognises and replaces by a call of the very function:
// no_builtin forbids it.
#include "kernel/base/string.h"

#ifdef LODGER_KERNEL
#undef memcpy
#undef memmove
#undef memset
#undef memcmp
#undef strlen
#endif

#define NO_BUILTIN __attribute__((no_builtin))

// A word at any address that may alias anything.
struct unaligned_word {
    uint64_t value;
} __attribute__((packed, may_alias));

// Eight bytes at a time, then the rest. Unaligned access costs nothing that matters on this
// processor.
NO_BUILTIN __weak void *memcpy(void *restrict to, const void *restrict from, size_t len)
{
    char *at = to;
    const char *source = from;
    for (; len >= sizeof(uint64_t); len -= sizeof(uint64_t)) {
        ((struct unaligned_word *)at)->value = ((const struct unaligned_word *)source)->value;
        at += sizeof(uint64_t);
        source += sizeof(uint64_t);
    }
    while (len-- > 0) {
        *at++ = *source++;
    }
    return to;
}

// A word is read before it is written, and the direction is chosen so that no byte is
// overwritten before it was read.
NO_BUILTIN __weak void *memmove(void *to, const void *from, size_t len)
{
    // Forwards is right if the target does not begin inside the source (this also covers target <
    // source).
    if ((uintptr_t)to - (uintptr_t)from >= len) {
        char *at = to;
        const char *source = from;
        for (; len >= sizeof(uint64_t); len -= sizeof(uint64_t)) {
            uint64_t value = ((const struct unaligned_word *)source)->value;
            ((struct unaligned_word *)at)->value = value;
            at += sizeof(uint64_t);
            source += sizeof(uint64_t);
        }
        while (len-- > 0) {
            *at++ = *source++;
        }
        return to;
    }
    char *end = (char *)to + len;
    const char *source_end = (const char *)from + len;
    for (; len >= sizeof(uint64_t); len -= sizeof(uint64_t)) {
        end -= sizeof(uint64_t);
        source_end -= sizeof(uint64_t);
        uint64_t value = ((const struct unaligned_word *)source_end)->value;
        ((struct unaligned_word *)end)->value = value;
    }
    while (len-- > 0) {
        *--end = *--source_end;
    }
    return to;
}

// The byte, eight times in a word.
NO_BUILTIN __weak void *memset(void *to, int byte, size_t len)
{
    char *at = to;
    uint64_t pattern = (unsigned char)byte * 0x0101010101010101ul;
    for (; len >= sizeof(uint64_t); len -= sizeof(uint64_t)) {
        ((struct unaligned_word *)at)->value = pattern;
        at += sizeof(uint64_t);
    }
    while (len-- > 0) {
        *at++ = (char)byte;
    }
    return to;
}

// Equal words are skipped; the first different one decides.
NO_BUILTIN __weak int memcmp(const void *a, const void *b, size_t len)
{
    const unsigned char *left = a;
    const unsigned char *right = b;
    for (; len >= sizeof(uint64_t); len -= sizeof(uint64_t)) {
        uint64_t left_word = ((const struct unaligned_word *)left)->value;
        uint64_t right_word = ((const struct unaligned_word *)right)->value;
        if (left_word != right_word) {
            // As big-endian numbers, words compare like their bytes.
            return __builtin_bswap64(left_word) < __builtin_bswap64(right_word) ? -1 : 1;
        }
        left += sizeof(uint64_t);
        right += sizeof(uint64_t);
    }
    for (; len > 0; len--, left++, right++) {
        if (*left != *right) {
            return *left < *right ? -1 : 1;
        }
    }
    return 0;
}

// The compiler turns comparisons with 0 of memcmp into this.
int bcmp(const void *a, const void *b, size_t len);
NO_BUILTIN int bcmp(const void *a, const void *b, size_t len)
{
    return memcmp(a, b, len);
}

NO_BUILTIN void *memchr(const void *bytes, int byte, size_t len)
{
    const unsigned char *at = bytes;
    for (; len > 0; len--, at++) {
        if (*at == (unsigned char)byte) {
            return (void *)at;
        }
    }
    return nullptr;
}

NO_BUILTIN size_t strlen(const char *string)
{
    const char *end = string;
    while (*end != '\0') {
        end++;
    }
    return (size_t)(end - string);
}

NO_BUILTIN size_t strnlen(const char *string, size_t max_len)
{
    size_t len = 0;
    while (len < max_len && string[len] != '\0') {
        len++;
    }
    return len;
}

NO_BUILTIN int strcmp(const char *a, const char *b)
{
    while (*a == *b && *a != '\0') {
        a++;
        b++;
    }
    return (unsigned char)*a - (unsigned char)*b;
}

NO_BUILTIN int strncmp(const char *a, const char *b, size_t max_len)
{
    for (; max_len > 0; max_len--, a++, b++) {
        if (*a != *b || *a == '\0') {
            return (unsigned char)*a - (unsigned char)*b;
        }
    }
    return 0;
}

// The terminating 0 is part of the string: strchr(s, 0) finds it.
NO_BUILTIN char *strchr(const char *string, int character)
{
    for (; *string != (char)character; string++) {
        if (*string == '\0') {
            return nullptr;
        }
    }
    return (char *)string;
}

// The same here.
NO_BUILTIN char *strrchr(const char *string, int character)
{
    const char *found = nullptr;
    for (;; string++) {
        if (*string == (char)character) {
            found = string;
        }
        if (*string == '\0') {
            return (char *)found;
        }
    }
}
