// SPDX-License-Identifier: MIT
//
// One question to a QEMU over its QMP socket.
#pragma once

#include <jansson.h>

// Connects to `path`, sends `command`, which has no arguments, and returns what is answered
// (json_decref()), or NULL: nobody answered in time, or QEMU refused.
[[nodiscard]] json_t *qmp_ask(const char *path, const char *command);
