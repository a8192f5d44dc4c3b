// SPDX-License-Identifier: MIT
// struct rusage, for wait4, waitid and getrusage.
#pragma once

#include "kernel/process/task.h"

// 0 or -EFAULT.
[[nodiscard]] int rusage_to_user(uintptr_t user, const struct task_usage *usage);
