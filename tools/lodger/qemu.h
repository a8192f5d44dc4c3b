// SPDX-License-Identifier: MIT
//
// Running a machine: QEMU as a child that is never left behind, its byte streams, and how it ended.
#pragma once

#include "tools/lodger/machine.h"

enum outcome {
    OUTCOME_EXIT,        // the first program ended; see exit_code
    OUTCOME_POWER_OFF,   // the guest powered the machine off
    OUTCOME_REBOOT,      // the guest asked for a reboot
    OUTCOME_PANIC,       // the kernel panicked
    OUTCOME_TIMEOUT,     // `timeout_ns` ran out
    OUTCOME_LEFT,        // the user left with Ctrl-A X
    OUTCOME_SIGNAL,      // the command got a signal; see signal_number
    OUTCOME_STOPPED,     // `on_output` asked for the end
    OUTCOME_DIED,        // the machine ended without saying why
    OUTCOME_QEMU_FAILED, // QEMU could not be started or complained
};

// How the streams are used.
enum stream_mode {
    STREAMS_CONSOLE,  // the console is on standard input and output; Ctrl-A is the escape key on a
                      // terminal
    STREAMS_PROGRAM,  // the streams of kernel/core/host_stream.h are standard input, output and
                      // error
    STREAMS_CAPTURED, // the console is collected; its input is `input_fd`, if that is set
};

struct qemu_run {
    // Set by the caller.
    const struct machine *machine;
    enum stream_mode mode;
    bool capture;         // collect `out` and `err` instead of passing them on
    bool foreign_kernel;  // not ours: it knows nothing of kernel/core/debug_exit.h and ends by ACPI
    uint64_t timeout_ns;  // 0: none
    uint64_t silence_ns;  // the console says nothing for so long: a time-out too; 0: never
    int log_fd;           // where the kernel's log goes as well, or -1
    int input_fd;         // STREAMS_CAPTURED: what is typed on the console; 0: nothing
    bool ends_with_input; // the end of that input is the end of the machine
    // Called for what the console prints (STREAMS_CAPTURED); returns true to end the machine. May
    // be NULL.
    bool (*on_output)(void *context, const struct buffer *console);
    // Called for what a lab's host says (`control` is all of it).
    void (*on_control)(void *context, const struct buffer *control);
    void *context;
    // What the two write here is typed on the guest's console, and told to the lab's host.
    struct buffer to_console;
    struct buffer to_control;

    // Results.
    enum outcome outcome;
    int exit_code;          // of the first program (OUTCOME_EXIT)
    int signal_number;      // OUTCOME_SIGNAL
    struct buffer out;      // console or standard output, when captured
    struct buffer err;      // standard error, when captured
    struct buffer log;      // the kernel's log; the last part of it if it is very long
    struct buffer messages; // what QEMU itself printed
    struct buffer control;  // in a lab: what the host said, with its counters
    uint64_t duration_ns;
};

// Runs the machine to its end. The caller frees the buffers with qemu_run_free(). May be called
// from several threads at once in mode STREAMS_CAPTURED only, and then signals are the caller's
// affair: qemu_stop_all().
void qemu_run(struct qemu_run *run);
void qemu_run_free(struct qemu_run *run);

// Kills every QEMU that is running. Safe in a signal handler.
void qemu_stop_all(void);

// The command's exit code for an outcome.
int qemu_exit_code(const struct qemu_run *run);

// Name of an outcome for reports: "exit", "panic", "timeout"...
const char *outcome_name(enum outcome outcome);
