// SPDX-License-Identifier: MIT
// The parts of exec: arguments, scripts, ELF programs. Private to this folder.
#pragma once

#include "kernel/base/elf_image.h"
#include "kernel/process/process.h"
#include "kernel/process/script.h"

struct address_space;

// The strings of a new program, copied out of the old one's memory: arguments, environment, and the
// path that it was started by, one behind the other as they will lie on its stack.
struct exec_arguments {
    char *strings;
    size_t len_bytes;
    size_t capacity;
    size_t limit_bytes; // of strings and of the pointers to them
    uint32_t argument_count;
    uint32_t environment_count;
};

#define EXEC_STRING_MAX 131072 // longest single string with its NUL (MAX_ARG_STRLEN of Linux)

// All -E2BIG, -EFAULT or -ENOMEM. exec_arguments_release() afterwards in any case.
void exec_arguments_init(struct exec_arguments *arguments, uint64_t stack_limit_bytes);
[[nodiscard]] int exec_arguments_add_user(
    struct exec_arguments *arguments, uintptr_t vector, uint32_t *count);
[[nodiscard]] int exec_arguments_add_kernel(
    struct exec_arguments *arguments, const char *strings, size_t len_bytes, uint32_t *count);
// Puts strings (`removed` of the present ones go) before the others: scripts.
[[nodiscard]] int exec_arguments_prepend(struct exec_arguments *arguments, const char *strings,
    size_t len_bytes, uint32_t count, uint32_t removed);
void exec_arguments_release(struct exec_arguments *arguments);

#define EXEC_HEAD_BYTES 4096 // of the file, for looking at what it is

// A program on its way into a new address space.
struct exec_program {
    struct file *file;
    char *head; // its first bytes
    size_t head_len_bytes;
    struct elf_image *image; // of the program and, if it has one, of its interpreter; kmalloc'ed
    struct elf_image *interpreter_image;
    struct file *interpreter;
    struct address_space *space;
    uintptr_t bias, interpreter_bias; // distance between the addresses in the file and in memory
    uintptr_t stack_start, stack_top;
    bool executable_stack;
    bool
        path_vanishes; // it is named by a descriptor that exec closes: no interpreter could open it
};

// Reads the headers of the program and finds its interpreter. -ENOEXEC: not a program for this
// machine.
[[nodiscard]] int elf_prepare(struct exec_program *program);
// Maps everything into program->space, which is empty.
[[nodiscard]] int elf_map(
    struct exec_program *program, uint64_t stack_limit_bytes, size_t stack_bytes);
// In the new address space: zeroes what the files do not fill of their last pages. -EFAULT.
[[nodiscard]] int elf_clear_tails(const struct exec_program *program);
// Writes strings, pointers and the auxiliary vector on the stack; *rsp is what the program starts
// with. -EFAULT.
[[nodiscard]] int elf_fill_stack(const struct exec_program *program,
    const struct exec_arguments *arguments, bool secure, uintptr_t *rsp);
uintptr_t elf_entry(const struct exec_program *program);
void exec_program_release(struct exec_program *program); // what is left of it (not the space)

// The credentials that the program gets: *fresh NULL if they are the old ones; *secure: AT_SECURE.
[[nodiscard]] int exec_credentials(
    struct file *file, struct credentials **fresh, bool *secure, bool *gained);
