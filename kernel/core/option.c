// SPDX-License-Identifier: MIT
// Boot options: walks the command line once and stores each value where its declaration says.
//
// Runs before any allocation. Strings are terminated in place: the line is ours. A bad value is
// logged and leaves the default.
#include "kernel/core/option.h"

#include "kernel/base/cmdline.h"
#include "kernel/base/string.h"
#include "kernel/core/log.h"
#include "kernel/core/option_table.h"

const char *option_command_line = "";

static const struct boot_option *option_find(
    const struct boot_option *options, size_t count, const struct cmdline_token *token)
{
    for (size_t i = 0; i < count; i++) {
        if (cmdline_name_is(token, options[i].name))
            return &options[i];
    }
    return NULL;
}

// The token's value as a terminated string in the caller's line. The byte behind a token is white
// space, a quote or the end: nothing that is still needed when the token is the current one.
static const char *option_terminate(const struct cmdline_token *token)
{
    if (token->value == NULL)
        return "";
    ((char *)(uintptr_t)token->value)[token->value_len] = 0;
    return token->value;
}

static int option_store(const struct boot_option *option, const struct cmdline_token *token)
{
    switch (option->type) {
    case OPTION_BOOL:
        return cmdline_parse_bool(token->value, token->value_len, option->value);
    case OPTION_U64:
        return cmdline_parse_u64(token->value, token->value_len, option->value);
    case OPTION_STRING:
        *(const char **)option->value = option_terminate(token);
        return 0;
    case OPTION_FUNCTION:
        return option->parse(option_terminate(token));
    }
    return -22 /* EINVAL */;
}

void option_parse_table(
    const struct boot_option *options, size_t count, char *command_line, size_t len)
{
    struct cmdline_iterator iterator;
    struct cmdline_token token;
    int error;
    cmdline_iterator_init(&iterator, command_line, len);
    while ((error = cmdline_next(&iterator, &token)) == 0 && !token.is_init_argument) {
        const struct boot_option *option = option_find(options, count, &token);
        if (option == NULL)
            log_info("options: unknown option %.*s", (int)token.len, token.text);
        else if (option_store(option, &token) != 0)
            log_warning("options: bad value: %.*s", (int)token.len, token.text);
        if (iterator.at < iterator.end && *iterator.at == 0)
            iterator.at++; // the white space that option_terminate() replaced
    }
    if (error == -22 /* EINVAL */)
        log_warning("options: a quote is not closed");
}

#ifndef LODGER_HOST
extern const struct boot_option options_start[], options_end[]; // kernel.lds

static char option_line[4096]; // what the strings point into

void option_parse(char *command_line)
{
    option_command_line = command_line;
    size_t len = strlcpy(option_line, command_line, sizeof(option_line));
    if (len >= sizeof(option_line)) {
        log_warning("options: the command line is longer than %zu bytes; the rest is ignored",
            sizeof(option_line) - 1);
        len = sizeof(option_line) - 1;
    }
    option_parse_table(options_start, (size_t)(options_end - options_start), option_line, len);
}
#endif
