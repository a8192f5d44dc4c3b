// SPDX-License-Identifier: MIT
// Who may look into another process's memory; shared by the calls that do.
#pragma once

#include "kernel/base/types.h"

struct task;

// May the running task look into the other's memory (ptrace's rule)? Any task context.
[[nodiscard]] bool process_vm_allowed(struct task *task);
