// SPDX-License-Identifier: MIT
// The text that mount(2) passes to a file system: "size=1m,mode=755".
#pragma once

#include "kernel/base/cmdline.h"
#include "kernel/base/string.h"
#include <linux/errno.h>

struct mount_option {
    const char *name;
    size_t name_len;
    const char *value; // "" without '='
    size_t value_len;
};

// Takes the next option off *text; false at the end.
static inline bool mount_option_next(const char **text, struct mount_option *option)
{
    const char *at = *text;
    while (*at == ',')
        at++;
    if (*at == 0)
        return false;
    const char *end = at;
    const char *equals = NULL;
    for (; *end != 0 && *end != ','; end++)
        if (*end == '=' && equals == NULL)
            equals = end;
    option->name = at;
    option->name_len = (size_t)((equals ? equals : end) - at);
    option->value = equals ? equals + 1 : end;
    option->value_len = (size_t)(end - option->value);
    *text = end;
    return true;
}

static inline bool mount_option_is(const struct mount_option *option, const char *name)
{
    return string_equals_bytes(name, option->name, option->name_len);
}

// A number with an optional k, m, g. 0 or -EINVAL.
[[nodiscard]] static inline int mount_option_size(
    const struct mount_option *option, uint64_t *value)
{
    return option->value_len != 0 && cmdline_parse_u64(option->value, option->value_len, value) == 0
               ? 0
               : -EINVAL;
}

[[nodiscard]] static inline int mount_option_u32(
    const struct mount_option *option, unsigned base, uint32_t *value)
{
    uint64_t wide;
    if (parse_u64(option->value, option->value_len, base, &wide) != 0 || wide > UINT32_MAX)
        return -EINVAL;
    *value = (uint32_t)wide;
    return 0;
}
