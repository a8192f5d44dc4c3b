// SPDX-License-Identifier: MIT
//
// Command line. The grammar, which is that of Linux (Documentation/admin-guide/kernel-parameters):
//
//     line   = { space } { word { space } }
//     word   = characters up to the next white space outside double quotes
//     option = name | name "=" value | '"' name '"' | '"' name "=" value '"' | name '="' value '"'
//
// A quote at the beginning of the word or of the value is taken off together with the one that ends
// the word; other quotes stay as they are. There is no escape character. After the word "--" all
// words are arguments of init; their quotes are taken off in the same way.
//
// Tokens are pointers into the line, which is neither copied nor changed: /proc/cmdline shows it as
// the boot loader gave it.
#include "kernel/base/cmdline.h"

#include "kernel/base/assert.h"
#include "kernel/base/string.h"

#include <linux/errno.h>

// The white space of the "C" locale.
static bool is_space(char character)
{
    return character == ' ' || (character >= '\t' && character <= '\r');
}

// A boot loader may give a length that is greater than the text: a 0 byte ends it too.
void cmdline_iterator_init(struct cmdline_iterator *iterator, const char *line, size_t len)
{
    *iterator = (struct cmdline_iterator){.at = line, .end = line + strnlen(line, len)};
}

// Takes a quote off the beginning of [*text, *text + *len) and, if there is one, off its end.
static void strip_quotes(const char **text, size_t *len)
{
    if (*len == 0 || (*text)[0] != '"') {
        return;
    }
    (*text)++;
    (*len)--;
    if (*len > 0 && (*text)[*len - 1] == '"') {
        (*len)--;
    }
}

// Splits a word into name and value.
static void split_word(const char *word, size_t len, struct cmdline_token *token)
{
    strip_quotes(&word, &len);
    const char *equals = len > 0 ? memchr(word, '=', len) : nullptr;

    token->text = word;
    token->len = len;
    token->name = word;
    token->name_len = equals != nullptr ? (size_t)(equals - word) : len;
    token->value = nullptr;
    token->value_len = 0;
    if (equals != nullptr) {
        token->value = equals + 1;
        token->value_len = len - token->name_len - 1;
        strip_quotes(&token->value, &token->value_len);
    }
}

// The lone "--" is recognised before quotes are taken off, so that a quoted one can be an
// argument.
int cmdline_next(struct cmdline_iterator *iterator, struct cmdline_token *token)
{
    for (;;) {
        while (iterator->at < iterator->end && is_space(*iterator->at)) {
            iterator->at++;
        }
        if (iterator->at == iterator->end) {
            return -ENOENT;
        }
        const char *word = iterator->at;
        bool in_quotes = false;
        while (iterator->at < iterator->end && (in_quotes || !is_space(*iterator->at))) {
            in_quotes ^= *iterator->at == '"';
            iterator->at++;
        }
        if (in_quotes) {
            debug_assert(iterator->at == iterator->end);
            return -EINVAL;
        }
        size_t len = (size_t)(iterator->at - word);
        if (!iterator->after_separator && string_equals_bytes("--", word, len)) {
            iterator->after_separator = true;
            continue;
        }
        split_word(word, len, token);
        token->is_init_argument = iterator->after_separator;
        return 0;
    }
}

// log-level and log_level are the same option.
static char fold_dash(char character)
{
    return character == '-' ? '_' : character;
}

// The name is not terminated and the one it is compared with is: both ends have to be reached
// together.
bool cmdline_name_is(const struct cmdline_token *token, const char *name)
{
    size_t i = 0;
    for (; i < token->name_len && name[i] != '\0'; i++) {
        if (fold_dash(token->name[i]) != fold_dash(name[i])) {
            return false;
        }
    }
    return i == token->name_len && name[i] == '\0';
}

// Words for false have even, words for true odd places in the list.
int cmdline_parse_bool(const char *value, size_t len, bool *result)
{
    static const char *const words[] = {
        "0", "1", "n", "y", "no", "yes", "off", "on", "false", "true"};
    unsigned int index;

    if (value == nullptr) {
        *result = true;
        return 0;
    }
    int error = cmdline_parse_enum(value, len, words, ARRAY_SIZE(words), &index);
    if (error == 0) {
        *result = index % 2 == 1;
    }
    return error;
}

// Shift of a size suffix, or 0 for a character that is none.
static unsigned int suffix_shift(char character)
{
    switch (character) {
    case 'k':
    case 'K':
        return 10;
    case 'm':
    case 'M':
        return 20;
    case 'g':
    case 'G':
        return 30;
    case 't':
    case 'T':
        return 40;
    default:
        return 0;
    }
}

// The suffix is cut off first; what is left has to be a number to its last byte.
int cmdline_parse_u64(const char *value, size_t len, uint64_t *result)
{
    uint64_t number;

    if (value == nullptr || len == 0) {
        return -EINVAL;
    }
    unsigned int shift = suffix_shift(value[len - 1]);
    // A leading 0 does not mean octal here: "mem=0512M" is a mistake that is better read as it
    // looks.
    bool has_prefix = len > 2 && value[0] == '0' && (value[1] < '0' || value[1] > '9');
    int error = parse_u64(value, len - (shift != 0 ? 1 : 0), has_prefix ? 0 : 10, &number);
    if (error != 0) {
        return error;
    }
    if (number > (UINT64_MAX >> shift)) {
        return -ERANGE;
    }
    *result = number << shift;
    return 0;
}

// A value that does not fit is an error: half a path is worse than none.
int cmdline_parse_string(const char *value, size_t len, char *to, size_t size)
{
    assert(size >= 1);
    if (value == nullptr) {
        return -EINVAL;
    }
    if (len >= size) {
        return -ERANGE;
    }
    string_copy_bytes(to, size, value, len);
    return 0;
}

// Exact comparison; a prefix is not enough, or a new name could change what an old one means.
int cmdline_parse_enum(const char *value, size_t len, const char *const *names, unsigned int count,
    unsigned int *result)
{
    if (value == nullptr) {
        return -EINVAL;
    }
    for (unsigned int i = 0; i < count; i++) {
        if (string_equals_bytes(names[i], value, len)) {
            *result = i;
            return 0;
        }
    }
    return -EINVAL;
}
