// SPDX-License-Identifier: MIT
// Error numbers: Linux's, and the kernel's own results that never reach a program.
#pragma once

#include <linux/errno.h>

// A system call that a signal interrupted returns one of these; kernel/process/signal.c turns it
// into a restart of the call or into EINTR on the way back to user mode. The values are those that
// ptrace users of Linux know.
#define ERESTARTSYS    512 // restart if the handler has SA_RESTART or there is no handler
#define ERESTARTNOINTR 513 // restart always
#define ERESTARTNOHAND 514 // restart only if there is no handler
#define ERESTART_RESTARTBLOCK                                                                      \
    516 // no handler: go on through restart_syscall(2) with task->restart; else EINTR
