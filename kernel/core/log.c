// SPDX-License-Identifier: MIT
// The kernel log: the ring, and its way to the consoles.
//
// Whoever writes a record then tries to become the one that brings records to the consoles. Who
// fails leaves, because the one that has it looks once more after it gave it up. So no CPU waits
// for another one's console, an NMI in the middle of a write just leaves its record behind, and
// output is never mixed. A record that is still being written (by a CPU that was interrupted there)
// stops the output until its writer comes along.
#include "kernel/core/log.h"

#include "kernel/arch/x86/cpu_inline.h"
#include "kernel/base/atomic.h"
#include "kernel/base/fmt.h"
#include "kernel/base/string.h"
#include "kernel/core/log_ring.h"
#include "kernel/core/option.h"
#include "kernel/core/time.h"

#define LOG_LINE_BYTES (LOG_TEXT_BYTES + 40)

int log_console_level = LOG_WARNING;

static int log_option_level(const char *value)
{
    uint64_t level;
    if (parse_u64(value, strlen(value), 10, &level) != 0 || level > LOG_DEBUG)
        return -22 /* EINVAL */;
    log_console_level = (int)level;
    return 0;
}
BOOT_OPTION_FUNCTION(log_option_level, "loglevel",
    "Messages of this level and more important ones are shown on the consoles: 0 (emergencies "
    "only) to 7 (everything). Default 4.");

static int log_option_quiet(const char *value)
{
    (void)value;
    log_console_level = LOG_ERROR;
    return 0;
}
BOOT_OPTION_FUNCTION(log_option_quiet, "quiet", "Only errors are shown on the consoles.");

static struct log_ring log_ring;
static struct log_console *log_consoles; // changed at start-up, and by whoever has log_busy
static uint32_t log_busy;                // 1: somebody brings records to the consoles; atomic
// Record that the consoles get next; atomic, written by who has log_busy.
static uint64_t log_console_next;
static uint64_t log_cleared; // records before this one were read and cleared; atomic

static size_t log_format(char *line, size_t size, const struct log_record *record, bool with_level)
{
    struct fmt_buffer buffer;
    fmt_buffer_init(&buffer, line, size);
    if (with_level)
        fmt_append(&buffer, "<%u>", record->level);
    fmt_append(&buffer, "[%5lu.%06lu] ", record->time_ns / NS_PER_SECOND,
        record->time_ns % NS_PER_SECOND / NS_PER_US);
    fmt_append_bytes(&buffer, record->text, record->len_bytes);
    fmt_append_char(&buffer, '\n');
    return buffer.len;
}

static void log_to_consoles(const struct log_record *record, int level_limit)
{
    char line[LOG_LINE_BYTES];
    size_t len_bytes = log_format(line, sizeof(line), record, false);
    for (struct log_console *console = log_consoles; console != NULL; console = console->next) {
        int limit = console->level != 0 ? MAX(console->level, level_limit) : level_limit;
        if (record->level <= limit)
            console->write(line, len_bytes);
    }
}

// Brings what is there to the consoles. With log_busy.
static void log_drain(void)
{
    uint64_t number = atomic_load_relaxed(&log_console_next);
    struct log_record record;
    if (number < log_ring_first(&log_ring))
        number = log_ring_first(&log_ring);
    for (; number < log_ring_next(&log_ring); number++) {
        enum log_ring_result result = log_ring_read(&log_ring, number, &record);
        if (result == LOG_RING_NOT_YET)
            break;
        if (result == LOG_RING_OK)
            log_to_consoles(&record, log_console_level);
    }
    atomic_store_relaxed(&log_console_next, number);
}

static bool log_has_output(void)
{
    uint64_t number = atomic_load_relaxed(&log_console_next);
    struct log_record record;
    return number < log_ring_next(&log_ring) &&
           log_ring_read(&log_ring, number, &record) != LOG_RING_NOT_YET;
}

static void log_output(void)
{
    // The look after giving log_busy up (full fence) sees every record whose writer failed to get
    // it.
    while (log_consoles != NULL && log_has_output() && atomic_exchange(&log_busy, 1u) == 0) {
        uint64_t flags = arch_irq_save();
        log_drain();
        arch_irq_restore(flags);
        atomic_store(&log_busy, 0u);
    }
}

static void log_write_line(enum log_level level, const char *text, size_t len_bytes)
{
    struct log_record record = {.time_ns = time_monotonic_ns(), .level = (uint8_t)level};
    record.len_bytes = (uint16_t)MIN(len_bytes, (size_t)LOG_TEXT_BYTES);
    memcpy(record.text, text, record.len_bytes);
    (void)log_ring_write(&log_ring, &record);
}

void log_write(enum log_level level, const char *format, ...)
{
    char text[LOG_TEXT_BYTES + 1];
    va_list arguments;
    va_start(arguments, format);
    fmt_vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    size_t len_bytes = strlen(text);
    if (len_bytes > 0 && text[len_bytes - 1] == '\n')
        len_bytes--;
    log_write_line(level, text, len_bytes);
    log_output();
}

void log_console_register(struct log_console *console)
{
    console->next = log_consoles;
    atomic_store_release(&log_consoles, console);
    log_output();
}

void log_console_unregister(struct log_console *console)
{
    uint64_t flags = arch_irq_save();
    while (atomic_exchange(&log_busy, 1u) != 0)
        arch_pause();
    for (struct log_console **link = &log_consoles; *link != NULL; link = &(*link)->next) {
        if (*link == console) {
            *link = console->next;
            break;
        }
    }
    atomic_store(&log_busy, 0u);
    arch_irq_restore(flags);
    log_output();
}

size_t log_size(void)
{
    return LOG_SLOTS * (size_t)LOG_LINE_BYTES;
}

// Number of the first record such that it and all that follow fit into `size` bytes as text.
static uint64_t log_first_that_fits(uint64_t first, uint64_t next, size_t size)
{
    size_t used = 0;
    uint64_t number = next;
    while (number > first) {
        struct log_record record;
        char line[LOG_LINE_BYTES];
        if (log_ring_read(&log_ring, number - 1, &record) == LOG_RING_OK) {
            size_t len_bytes = log_format(line, sizeof(line), &record, true);
            if (used + len_bytes > size)
                break;
            used += len_bytes;
        }
        number--;
    }
    return number;
}

size_t log_read(char *buffer, size_t size, bool clear)
{
    uint64_t next = log_ring_next(&log_ring);
    uint64_t first = MAX(log_ring_first(&log_ring), atomic_load_relaxed(&log_cleared));
    size_t used = 0;
    for (uint64_t number = log_first_that_fits(first, next, size); number < next; number++) {
        struct log_record record;
        char line[LOG_LINE_BYTES];
        if (log_ring_read(&log_ring, number, &record) != LOG_RING_OK)
            continue;
        size_t len_bytes = log_format(line, sizeof(line), &record, true);
        if (used + len_bytes > size)
            break; // what was overwritten meanwhile is longer
        memcpy(buffer + used, line, len_bytes);
        used += len_bytes;
    }
    if (clear)
        atomic_store_relaxed(&log_cleared, next);
    return used;
}

void log_flush_to_consoles(unsigned lines)
{
    // The end of the kernel: whoever had log_busy is stopped.
    uint64_t next = log_ring_next(&log_ring);
    uint64_t first = MAX(log_ring_first(&log_ring), next > lines ? next - lines : 0);
    for (uint64_t number = first; number < next; number++) {
        struct log_record record;
        if (log_ring_read(&log_ring, number, &record) == LOG_RING_OK)
            log_to_consoles(&record, LOG_DEBUG);
    }
    atomic_store_relaxed(&log_console_next, next);
}

void log_emergency(const char *format, ...)
{
    char text[LOG_TEXT_BYTES + 1];
    va_list arguments;
    va_start(arguments, format);
    fmt_vsnprintf(text, sizeof(text) - 1, format, arguments);
    va_end(arguments);
    strlcpy(text + strlen(text), "\n", 2);
    for (struct log_console *console = log_consoles; console != NULL; console = console->next)
        console->write(text, strlen(text));
}
