// SPDX-License-Identifier: MIT
// /proc/lodger/fail_alloc: which allocations fail on purpose (mm/fail_alloc.c),
// in debug and kasan builds. Takes words: one-in=N (0: none fails), times=N,
// task=NAME. What is not said is as if nothing had been set before.
#include "kernel/base/assert.h"
#include "kernel/base/cmdline.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/proc.h"
#include "mm/fail_alloc_settings.h"

static int show(struct proc_buffer *buffer, void *context)
{
    struct fail_alloc_settings settings;
    uint64_t failed;
    int error = fail_alloc_get(&settings, &failed);
    if (error != 0)
        return error;
    proc_printf(buffer, "one-in=%u times=%u task=%s\nfailed %lu\n", settings.one_in, settings.times,
        settings.task, failed);
    return 0;
}

static int set_number(const struct cmdline_token *token, uint32_t *number)
{
    uint64_t value;
    int error = cmdline_parse_u64(token->value, token->value_len, &value);
    if (error != 0 || value > UINT32_MAX)
        return -EINVAL;
    *number = (uint32_t)value;
    return 0;
}

static int set_word(const struct cmdline_token *token, struct fail_alloc_settings *settings)
{
    if (cmdline_name_is(token, "one-in"))
        return set_number(token, &settings->one_in);
    if (cmdline_name_is(token, "times"))
        return set_number(token, &settings->times);
    if (cmdline_name_is(token, "task"))
        return cmdline_parse_string(
            token->value, token->value_len, settings->task, sizeof(settings->task));
    return -EINVAL;
}

static int store(const char *text, size_t len_bytes, void *context)
{
    struct fail_alloc_settings settings = {.times = UINT32_MAX};
    struct cmdline_iterator words;
    struct cmdline_token word;
    int error;
    cmdline_iterator_init(&words, text, len_bytes);
    while ((error = cmdline_next(&words, &word)) == 0) {
        error = set_word(&word, &settings);
        if (error != 0)
            return error;
    }
    return error == -ENOENT ? fail_alloc_set(&settings) : error;
}

void proc_fail_alloc_register(void)
{
    static const struct proc_file file = {
        .path = "lodger/fail_alloc", .mode = 0600, .show = show, .store = store};
    int error = proc_register(&file);
    assert(error == 0); // at boot
}
