// SPDX-License-Identifier: MIT
// Arguments and environment of a new program, gathered in kernel memory.
//
// They are copied twice: out of the old program's memory, which goes away, and into the new one's,
// which is not there yet when an error can still be reported. The buffer grows by doubling,
// starting with one page.
#include "kernel/base/string.h"
#include "kernel/process/exec.h"
#include "mm/slab.h"

#define CAPACITY_FIRST 4096
#define TOTAL_MAX      (UINT64_C(6) << 20) // three quarters of the usual stack (Linux)
#define TOTAL_MIN      131072              // ARG_MAX is always possible

void exec_arguments_init(struct exec_arguments *arguments, uint64_t stack_limit_bytes)
{
    *arguments = (struct exec_arguments){
        .limit_bytes = MAX(MIN(stack_limit_bytes / 4, (uint64_t)TOTAL_MAX), (uint64_t)TOTAL_MIN)};
}

void exec_arguments_release(struct exec_arguments *arguments)
{
    kfree(arguments->strings);
    arguments->strings = NULL;
}

// Strings and pointers together, the final NULLs of both vectors included.
static bool fits(const struct exec_arguments *arguments, size_t more_bytes)
{
    size_t pointers = (size_t)arguments->argument_count + arguments->environment_count + 2;
    return arguments->len_bytes + more_bytes + pointers * sizeof(uintptr_t) <=
           arguments->limit_bytes;
}

static int reserve(struct exec_arguments *arguments, size_t more_bytes)
{
    size_t needed = arguments->len_bytes + more_bytes;
    if (needed <= arguments->capacity)
        return 0;
    size_t capacity = MAX(round_up_power_of_two(needed), (size_t)CAPACITY_FIRST);
    char *grown = kmalloc(capacity, 0);
    if (grown == NULL)
        return -ENOMEM;
    if (arguments->len_bytes != 0)
        memcpy(grown, arguments->strings, arguments->len_bytes);
    kfree(arguments->strings);
    arguments->strings = grown;
    arguments->capacity = capacity;
    return 0;
}

static int add_user_string(struct exec_arguments *arguments, uintptr_t string)
{
    int error = reserve(arguments, 256);
    while (error == 0) {
        size_t room = MIN(arguments->capacity - arguments->len_bytes, (size_t)EXEC_STRING_MAX);
        int64_t len = user_copy_string(arguments->strings + arguments->len_bytes, string, room);
        if (len >= 0) {
            if (!fits(arguments, (size_t)len + 1))
                return -E2BIG;
            arguments->len_bytes += (size_t)len + 1;
            return 0;
        }
        if (len != -ENAMETOOLONG)
            return (int)len;
        if (room == EXEC_STRING_MAX || !fits(arguments, room))
            return -E2BIG;
        error = reserve(arguments, room + 1);
    }
    return error;
}

int exec_arguments_add_user(struct exec_arguments *arguments, uintptr_t vector, uint32_t *count)
{
    if (vector == 0)
        return 0;
    for (;;) {
        uint64_t string;
        if (user_get_u64(&string, vector + *count * sizeof(uintptr_t)) != 0)
            return -EFAULT;
        if (string == 0)
            return 0;
        (*count)++;
        int error = add_user_string(arguments, string);
        if (error != 0)
            return error;
    }
}

int exec_arguments_add_kernel(
    struct exec_arguments *arguments, const char *strings, size_t len_bytes, uint32_t *count)
{
    if (!fits(arguments, len_bytes))
        return -E2BIG;
    int error = reserve(arguments, len_bytes);
    if (error != 0)
        return error;
    memcpy(arguments->strings + arguments->len_bytes, strings, len_bytes);
    arguments->len_bytes += len_bytes;
    for (size_t i = 0; i < len_bytes; i++)
        *count += strings[i] == '\0';
    return 0;
}

int exec_arguments_prepend(struct exec_arguments *arguments, const char *strings, size_t len_bytes,
    uint32_t count, uint32_t removed)
{
    size_t cut = 0;
    assert(removed <= arguments->argument_count);
    for (uint32_t i = 0; i < removed; i++)
        cut += strlen(arguments->strings + cut) + 1;
    if (!fits(arguments, len_bytes))
        return -E2BIG;
    int error = reserve(arguments, len_bytes);
    if (error != 0)
        return error;
    memmove(arguments->strings + len_bytes, arguments->strings + cut, arguments->len_bytes - cut);
    memcpy(arguments->strings, strings, len_bytes);
    arguments->len_bytes += len_bytes - cut;
    arguments->argument_count += count - removed;
    return 0;
}
