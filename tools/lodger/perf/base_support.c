// SPDX-License-Identifier: MIT
//
// What kernel/base asks of its surroundings, for the lodger command, which uses the kernel's
// record decoder (perf/decode.h). Tests use //kernel/base:host_base instead.
#include "kernel/base/alloc.h"
#include "kernel/base/assert.h"
#include "tools/lodger/util.h"

#include <stdlib.h>

[[noreturn]] void assert_failed(const char *expression, const char *file, int line)
{
    warn("%s:%d: assertion failed: %s", file, line, expression);
    abort();
}

void *base_alloc(size_t size)
{
    return calloc(1, size);
}

void base_free(void *memory)
{
    free(memory);
}

// The command has one thread where it uses kernel/base: there are no readers to wait for.
void base_call_rcu(struct rcu_head *head, void (*function)(struct rcu_head *head))
{
    function(head);
}
