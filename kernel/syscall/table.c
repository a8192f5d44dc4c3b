// SPDX-License-Identifier: MIT
// The system call table, and what happens to calls that do not exist.
//
// Each name is declared weak: where a SYSCALLn() defines it, the table holds that function, where
// none does it holds syscall_unimplemented, which answers ENOSYS and counts the number. The counts
// are shown in /proc/lodger/unimplemented.
#include "kernel/syscall/syscall.h"
#include "kernel/syscall/names.h"
#include "kernel/syscall/unimplemented.h"
#include "kernel/arch/x86/arch.h"
#include "kernel/core/thread.h"
#include <asm/unistd_64.h>

#define DECLARE_WEAK(name) [[gnu::weak, gnu::alias("syscall_unimplemented")]] SYSCALL_ENTRY(name);

static uint64_t unimplemented_counts
    [SYSCALL_TABLE_SIZE]; // atomic; the last slot takes numbers beyond the table

int64_t syscall_unimplemented(
    uint64_t x1, uint64_t x2, uint64_t x3, uint64_t x4, uint64_t x5, uint64_t x6)
{
    SYSCALL_UNUSED6;
    uint64_t number = arch_thread_user_frame(thread_current())->syscall_number;
    if (number >= SYSCALL_TABLE_SIZE)
        number = SYSCALL_TABLE_SIZE - 1;
    __atomic_fetch_add(&unimplemented_counts[number], 1, __ATOMIC_RELAXED);
    return -ENOSYS;
}

SYSCALL_NAMES(DECLARE_WEAK)

#define TABLE_ENTRY(name) [__NR_##name] = sys_##name,

#pragma clang diagnostic ignored "-Winitializer-overrides" // the default, then the names
syscall_function *const syscall_table[SYSCALL_TABLE_SIZE] = {
    [0 ... SYSCALL_TABLE_SIZE - 1] = syscall_unimplemented, SYSCALL_NAMES(TABLE_ENTRY)};

#define NAME_ENTRY(name) [__NR_##name] = #name,

static const char *const syscall_names[SYSCALL_TABLE_SIZE] = {SYSCALL_NAMES(NAME_ENTRY)};

void syscall_unimplemented_for_each(
    void (*visit)(uint32_t number, const char *name, uint64_t count, void *context), void *context)
{
    for (uint32_t number = 0; number < SYSCALL_TABLE_SIZE; number++) {
        uint64_t count = __atomic_load_n(&unimplemented_counts[number], __ATOMIC_RELAXED);
        if (count != 0)
            visit(
                number, syscall_names[number] ? syscall_names[number] : "unknown", count, context);
    }
}
