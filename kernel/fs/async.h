// SPDX-License-Identifier: MIT
// Signal-driven I/O (O_ASYNC): a signal to the file's owner whenever the file may have become
// ready.
#pragma once

#include "kernel/base/types.h"

struct file;

// Switches it on or off for an open file. 0 or -ENOMEM. May sleep.
[[nodiscard]] int file_async_set(struct file *file, bool on);
void file_async_release(struct file *file); // the file goes away
// F_SETOWN: a process (pid > 0), a group (pid < 0) or nobody. 0 or -ESRCH.
[[nodiscard]] int file_owner_set(struct file *file, int32_t pid);
