// SPDX-License-Identifier: MIT
// Moving data between pipes and files without a program's buffer: the kernel half of splice(2),
// tee(2) and vmsplice(2).
#pragma once

#include "kernel/base/types.h"

struct file;
struct io_iter;
struct pipe;

// All return the bytes moved, 0 at the end of the data, or -errno. May sleep.

// Reads the file at *offset (advanced; NULL: its own position) into the pipe.
[[nodiscard]] int64_t splice_from_file(
    struct file *file, uint64_t *offset, struct pipe *pipe, size_t len_bytes, bool nonblocking);
// Writes what is in the pipe to the file.
[[nodiscard]] int64_t splice_to_file(
    struct pipe *pipe, struct file *file, uint64_t *offset, size_t len_bytes, bool nonblocking);
// Moves (consume) or duplicates pages from one pipe to another one.
[[nodiscard]] int64_t splice_pipe_to_pipe(
    struct pipe *from, struct pipe *to, size_t len_bytes, bool consume, bool nonblocking);
// Copies between a program's memory and a pipe.
[[nodiscard]] int64_t splice_from_memory(struct io_iter *from, struct pipe *pipe, bool nonblocking);
