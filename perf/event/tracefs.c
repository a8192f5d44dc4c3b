// SPDX-License-Identifier: MIT
// What tools read beside perf_event_open(2): the file system "tracefs" with each tracepoint's
// number and format, and /proc/sys/kernel/perf_event_*. Tracepoints are switched on by
// perf_event_open alone.
#include "kernel/base/assert.h"
#include "kernel/base/fmt.h"
#include "kernel/core/errno.h"
#include "kernel/core/mutex.h"
#include "kernel/core/trace.h"
#include "kernel/fs/inode.h"
#include "kernel/fs/register.h"
#include "mm/slab.h"
#include "perf/event/event.h"
#include "perf/event/open.h"
#include "perf/format.h"
#include "perf/trace.h"

#include <linux/magic.h>

#define FORMAT_BYTES 4096
#define PATH_BYTES   96

static struct superblock *tracefs; // made at the first mount; under the lock
static struct mutex tracefs_lock = MUTEX_INIT(tracefs_lock, "tracefs");

static int show_id(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "%u\n", trace_entry_id(context));
    return 0;
}

static int show_format(struct proc_buffer *buffer, void *context)
{
    const struct trace_entry *entry = context;
    struct perf_format format = {.name = entry->name,
        .print = entry->print,
        .id = trace_entry_id(entry),
        .field_count = entry->field_count,
        .fields = (const struct perf_format_field *)entry->fields};
    char *text = kmalloc(FORMAT_BYTES, 0);
    if (text == NULL)
        return -ENOMEM;
    size_t len = perf_format_text(&format, text, FORMAT_BYTES);
    assert(len < FORMAT_BYTES);
    proc_printf(buffer, "%s", text);
    kfree(text);
    return 0;
}

static int file_add(const struct trace_entry *entry, const char *name,
    int (*show)(struct proc_buffer *buffer, void *context))
{
    // Kept: the tree points to it.
    struct proc_file *file = kzalloc(sizeof(*file) + PATH_BYTES);
    if (file == NULL)
        return -ENOMEM;
    char *path = (char *)(file + 1);
    fmt_snprintf(path, PATH_BYTES, "events/%s/%s/%s", entry->system, entry->name, name);
    file->path = path;
    file->mode = 0444;
    file->show = show;
    file->context = (void *)entry;
    return proc_tree_register(tracefs, file);
}

static int tree_make(const struct filesystem_type *type)
{
    int error = 0;
    if (tracefs != NULL)
        return 0;
    tracefs = proc_tree_create(type, TRACEFS_MAGIC);
    if (tracefs == NULL)
        return -ENOMEM;
    for (const struct trace_entry *entry = tracepoints_start; entry < tracepoints_end; entry++) {
        if (error == 0)
            error = file_add(entry, "id", show_id);
        if (error == 0)
            error = file_add(entry, "format", show_format);
    }
    return error;
}

static int tracefs_mount(const struct filesystem_type *type, const struct mount_request *request,
    struct superblock **result)
{
    (void)request;
    mutex_lock(&tracefs_lock);
    int error = tree_make(type);
    if (error == 0) {
        superblock_get(tracefs);
        *result = tracefs;
    }
    mutex_unlock(&tracefs_lock);
    return error;
}

static int show_paranoid(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "%d\n", atomic_load_relaxed(&perf_event_paranoid));
    return 0;
}

// A decimal number and nothing else but a line's end.
static int number_of(const char *text, size_t len, int32_t most, int32_t *value)
{
    bool negative = len != 0 && text[0] == '-';
    int32_t number = 0;
    size_t at = negative ? 1 : 0;
    while (at < len && text[at] >= '0' && text[at] <= '9' && number <= most)
        number = number * 10 + (text[at++] - '0');
    if (at == (negative ? 1u : 0u) || (at < len && text[at] != '\n'))
        return -EINVAL;
    *value = negative ? -number : number;
    return 0;
}

static int store_paranoid(const char *text, size_t len, void *context)
{
    int32_t value;
    int error = number_of(text, len, 4, &value);
    if (error != 0 || value < -1 || value > 4)
        return -EINVAL;
    atomic_store_relaxed(&perf_event_paranoid, value);
    return 0;
}

static int show_rate(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "%u\n", atomic_load_relaxed(&perf_event_rate_max));
    return 0;
}

// Clocks' periods follow at their next start, counters' limit at once.
static int store_rate(const char *text, size_t len, void *context)
{
    int32_t value;
    int error = number_of(text, len, PERF_EVENT_RATE_MAX, &value);
    if (error != 0 || value < 1 || value > (int32_t)PERF_EVENT_RATE_MAX)
        return -EINVAL;
    atomic_store_relaxed(&perf_event_rate_max, (uint32_t)value);
    return 0;
}

static int show_constant(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "%lu\n", (unsigned long)(uintptr_t)context);
    return 0;
}

void perf_event_register(void)
{
    static struct filesystem_type type = {
        .name = "tracefs", .user_mountable = true, .mount = tracefs_mount};
    static const struct proc_file files[] = {
        {.path = "sys/kernel/perf_event_paranoid",
            .mode = 0644,
            .show = show_paranoid,
            .store = store_paranoid},
        {.path = "sys/kernel/perf_event_max_sample_rate",
            .mode = 0644,
            .show = show_rate,
            .store = store_rate},
        {.path = "sys/kernel/perf_event_mlock_kb",
            .mode = 0444,
            .show = show_constant,
            .context = (void *)516},
    };
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        int error = proc_register(&files[i]);
        assert(error == 0); // at boot
    }
    filesystem_register(&type);
}
