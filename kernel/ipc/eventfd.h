// SPDX-License-Identifier: MIT
// eventfd objects.
#pragma once

#include "kernel/base/types.h"
#include <linux/fcntl.h>

// Flags of eventfd2(2). Debian 12's linux-libc-dev has no header with them (sys/eventfd.h is the C
// library's).
#define EFD_SEMAPHORE 1
#define EFD_CLOEXEC   O_CLOEXEC
#define EFD_NONBLOCK  O_NONBLOCK

struct file;

// Adds to the counter of an eventfd; what does not fit is lost. Any context but NMI.
void eventfd_signal(struct file *file, uint64_t value);
[[nodiscard]] int eventfd_check(const struct file *file); // -EINVAL: it is no eventfd
// A new counter as a file with one reference; open_flags: O_NONBLOCK. NULL: no memory. May sleep.
struct file *eventfd_create(uint32_t count, bool semaphore, uint32_t open_flags);
