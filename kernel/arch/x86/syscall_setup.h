// SPDX-License-Identifier: MIT
// SYSCALL on the running CPU.
#pragma once

void syscall_init_cpu(void);
