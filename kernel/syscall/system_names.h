// SPDX-License-Identifier: MIT
// The names of the system: what uname(2) and /proc/sys/kernel show.
#pragma once

#include "kernel/base/types.h"
#include <linux/utsname.h>

#define KERNEL_RELEASE "6.1.0-lodger"
#define KERNEL_VERSION "#1 SMP PREEMPT Lodger"

enum system_name { SYSTEM_NAME_HOST, SYSTEM_NAME_DOMAIN };

void system_name_get(enum system_name which, char to[__NEW_UTS_LEN + 1]);
void system_name_set(enum system_name which, const char *name, size_t len); // len <= __NEW_UTS_LEN

// Registers the files of /proc that belong to this folder. Once, after vfs_init().
[[nodiscard]] int syscall_proc_register(void);
