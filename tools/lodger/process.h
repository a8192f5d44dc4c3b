// SPDX-License-Identifier: MIT
//
// Running a command of the host with its output collected and its time limited.
#pragma once

#include "tools/lodger/util.h"

struct process_result {
    int status;           // as waitpid() gives it
    bool timed_out;       // and was killed, with everything it had started
    struct buffer output; // standard output and error, mixed
    uint64_t duration_ns;
};

// Runs the command in `folder` (NULL: the current one) with standard input from /dev/null.
// `timeout_ns` 0 is none. The command gets a process group of its own. May be called from several
// threads at once.
void process_run(
    char *const *command, const char *folder, uint64_t timeout_ns, struct process_result *result);

// Whether the command ended with exit code 0.
bool process_succeeded(const struct process_result *result);
