// SPDX-License-Identifier: MIT
//
// The kernel's command line: words separated by white space, "name" or "name=value". Double quotes
// keep white space together: name="a b" or "name=a b"; the quotes are taken off. Words after a lone
// "--" are arguments of the init program. Nothing is copied or changed: tokens point into the line.
// The line may be hostile.
#pragma once

#include "kernel/base/types.h"

struct cmdline_token {
    const char *text; // the whole word without quotes; not terminated
    size_t len;
    const char *name; // up to the first '='
    size_t name_len;
    const char *value; // behind it; NULL if there is no '='
    size_t value_len;
    bool is_init_argument; // stands after "--": take `text`
};

struct cmdline_iterator {
    const char *at;
    const char *end;
    bool after_separator;
};

// The line ends after `len` bytes or at a 0 byte.
void cmdline_iterator_init(struct cmdline_iterator *iterator, const char *line, size_t len);

// 0; -ENOENT at the end; -EINVAL: a quote is not closed (the iterator is at the end then).
[[nodiscard]] int cmdline_next(struct cmdline_iterator *iterator, struct cmdline_token *token);

// Is this the token's name? '-' and '_' are the same, as in Linux.
bool cmdline_name_is(const struct cmdline_token *token, const char *name);

// Values. Each takes the token's value and returns 0, or -EINVAL / -ERANGE with *result unchanged.

// 1 y yes on true, 0 n no off false; no value at all (value NULL) is true.
[[nodiscard]] int cmdline_parse_bool(const char *value, size_t len, bool *result);

// Decimal, 0x or 0b number with an optional suffix k m g t (either case; powers of 1024).
[[nodiscard]] int cmdline_parse_u64(const char *value, size_t len, uint64_t *result);

// Copies to to[0 .. size), terminated. -ERANGE if it does not fit; -EINVAL without a value.
[[nodiscard]] int cmdline_parse_string(const char *value, size_t len, char *to, size_t size);

// Index of the value among `count` names.
[[nodiscard]] int cmdline_parse_enum(const char *value, size_t len, const char *const *names,
    unsigned int count, unsigned int *result);
