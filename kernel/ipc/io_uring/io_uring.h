// SPDX-License-Identifier: MIT
// io_uring: the operations for files, with registered buffers and files, polled rings and a thread
// that submits. linux/io_uring.h has the interface.
#pragma once

#include "kernel/base/types.h"
#include <linux/io_uring.h>

struct file;

// The ring as a file with one reference, and what the program is told in *parameters. -EINVAL,
// -ENOMEM.
[[nodiscard]] int io_uring_create(
    uint32_t entries, struct io_uring_params *parameters, struct file **result);
// As io_uring_enter(2); deadline_ns: absolute, UINT64_MAX: none. The number of entries submitted,
// or
// -errno.
int64_t io_uring_do_enter(
    struct file *file, uint32_t to_submit, uint32_t minimum, uint32_t flags, uint64_t deadline_ns);
int64_t io_uring_do_register(
    struct file *file, uint32_t operation, uintptr_t argument, uint32_t count);
[[nodiscard]] int io_uring_check(const struct file *file); // -EOPNOTSUPP: it is none
