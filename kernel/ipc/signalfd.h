// SPDX-License-Identifier: MIT
// signalfd objects.
#pragma once

#include "kernel/base/types.h"

struct file;

// Signals of `mask` as a readable file; open_flags: O_NONBLOCK. NULL: no memory.
struct file *signalfd_create(uint64_t mask, uint32_t open_flags);
bool file_is_signalfd(const struct file *file);
void signalfd_set_mask(struct file *file, uint64_t mask);
