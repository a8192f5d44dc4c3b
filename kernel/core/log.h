// SPDX-License-Identifier: MIT
// The kernel log: a ring of records with time stamps and levels, written to the consoles.
//
// log_*() may be called from any context, NMI included (then the record may be dropped, which is
// counted). A line is `[seconds.micros] module: text`. Console output of a level above the boot
// option `loglevel` is left out; the ring keeps it (syslog(2), /dev/kmsg).
#pragma once

#include "kernel/base/types.h"

enum log_level {
    LOG_EMERGENCY = 0,
    LOG_ERROR = 3,
    LOG_WARNING = 4,
    LOG_NOTICE = 5,
    LOG_INFO = 6,
    LOG_DEBUG = 7
};

void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define log_error(...)   log_write(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_WARNING, __VA_ARGS__)
#define log_info(...)    log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...)   log_write(LOG_DEBUG, __VA_ARGS__)

// A console: a byte sink that works from the first instruction on. Registered consoles get all
// output from then on. write() is called with interrupts off, one CPU at a time; must not sleep or
// take locks.
struct log_console {
    const char *name;
    void (*write)(const char *text, size_t len_bytes);
    int level; // gets records up to this level at least; 0: up to log_console_level
    struct log_console *next;
};
void log_console_register(struct log_console *console);
void log_console_unregister(struct log_console *console);
extern int
    log_console_level; // what reaches the consoles; boot option loglevel, default LOG_WARNING

// Copies up to size bytes of the newest (from_end) or oldest records as text; returns the length.
// Task context.
size_t log_read(char *buffer, size_t size, bool clear);
size_t log_size(void);
// For panic: straight to the consoles, waiting for nobody. The last `lines` lines of the ring; one
// more line.
void log_flush_to_consoles(unsigned lines);
void log_emergency(const char *format, ...) __attribute__((format(printf, 1, 2)));
