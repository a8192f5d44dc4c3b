// SPDX-License-Identifier: MIT
// `#!` lines: interpreter and at most one argument, which is the rest of the line.
#include "kernel/process/script.h"
#include "kernel/base/string.h"
#include <linux/errno.h>

static bool is_blank(char character)
{
    return character == ' ' || character == '\t';
}

int script_parse(const char *head, size_t len_bytes, char interpreter[SCRIPT_LINE_MAX],
    char argument[SCRIPT_LINE_MAX])
{
    if (len_bytes < 3 || head[0] != '#' || head[1] != '!')
        return -ENOEXEC;
    size_t limit = MIN(len_bytes, (size_t)SCRIPT_LINE_MAX - 1);
    size_t end = 2;
    while (end < limit && head[end] != '\n' && head[end] != '\0')
        end++;
    bool cut = end == limit && limit == SCRIPT_LINE_MAX - 1;
    while (end > 2 && is_blank(head[end - 1]))
        end--;
    size_t start = 2;
    while (start < end && is_blank(head[start]))
        start++;
    size_t stop = start;
    while (stop < end && !is_blank(head[stop]))
        stop++;
    if (stop == start || (cut && stop == end))
        return -ENOEXEC; // no interpreter, or only the beginning of its path is known
    memcpy(interpreter, head + start, stop - start);
    interpreter[stop - start] = '\0';
    while (stop < end && is_blank(head[stop]))
        stop++;
    memcpy(argument, head + stop, end - stop);
    argument[end - stop] = '\0';
    return 0;
}
