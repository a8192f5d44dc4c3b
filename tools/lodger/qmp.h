// SPDX-License-Identifier: MIT
//
// Talking to a QEMU over its QMP socket.
#pragma once

#include <jansson.h>
#include <stdbool.h>

struct qmp;

// Takes up a conversation over `fd`, a connected stream socket that belongs to it from here on, in
// any case. `patience_s`: how long QEMU may say nothing when something is expected from it. NULL:
// there is no QEMU that answers.
[[nodiscard]] struct qmp *qmp_open(int fd, unsigned patience_s);
void qmp_close(struct qmp *qmp);

// Has a command executed, whose arguments (NULL: none) it consumes. Returns what is answered
// (json_decref()), or NULL: nobody answered in time, or QEMU refused.
[[nodiscard]] json_t *qmp_execute(struct qmp *qmp, const char *command, json_t *arguments);

// Waits for an event whose data has that `status`. False: it did not come.
[[nodiscard]] bool qmp_await(struct qmp *qmp, const char *event, const char *status);

// One question without arguments to the QEMU behind the socket file `path`; answers as
// qmp_execute() does.
[[nodiscard]] json_t *qmp_ask(const char *path, const char *command, unsigned patience_s);
