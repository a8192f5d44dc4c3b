// SPDX-License-Identifier: MIT
// eventfd objects.
#pragma once

#include "kernel/base/types.h"

struct file;

// A new counter as a file with one reference; open_flags: O_NONBLOCK. NULL: no memory. May sleep.
struct file *eventfd_create(uint32_t count, bool semaphore, uint32_t open_flags);
