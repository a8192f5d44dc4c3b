// SPDX-License-Identifier: MIT
// Files of /proc that belong to the Linux ABI itself: the system's names and the calls that are
// missing.
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/register.h"
#include "kernel/syscall/system_names.h"
#include "kernel/syscall/unimplemented.h"
#include "kernel/tty/tty.h"
#include "pv/pv.h"

static int show_text(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "%s\n", (const char *)context);
    return 0;
}

static int show_name(struct proc_buffer *buffer, void *context)
{
    char name[__NEW_UTS_LEN + 1];
    system_name_get((enum system_name)(uintptr_t)context, name);
    proc_printf(buffer, "%s\n", name);
    return 0;
}

static int store_name(const char *text, size_t len, void *context)
{
    size_t end = 0;
    while (end < len && text[end] != '\n')
        end++;
    system_name_set((enum system_name)(uintptr_t)context, text, MIN(end, (size_t)__NEW_UTS_LEN));
    return 0;
}

static int show_version(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "Linux version %s (lodger) (clang) %s\n", KERNEL_RELEASE, KERNEL_VERSION);
    return 0;
}

static void show_unimplemented_call(
    uint32_t number, const char *name, uint64_t count, void *context)
{
    proc_printf(context, "%u %s %lu\n", number, name, (unsigned long)count);
}

static int show_unimplemented(struct proc_buffer *buffer, void *context)
{
    syscall_unimplemented_for_each(show_unimplemented_call, buffer);
    return 0;
}

static int show_console(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "%s\n", tty_console_name());
    return 0;
}

static void show_pv_line(void *context, const char *text)
{
    proc_printf(context, "%s\n", text);
}

static int show_pv(struct proc_buffer *buffer, void *context)
{
    pv_describe(show_pv_line, buffer);
    return 0;
}

int syscall_proc_register(void)
{
    static const struct proc_file console = {
        .path = "class/tty/console/active", .mode = 0444, .show = show_console};
    static const struct proc_file files[] = {
        {.path = "version", .mode = 0444, .show = show_version},
        {.path = "lodger/pv", .mode = 0444, .show = show_pv},
        {.path = "lodger/unimplemented", .mode = 0444, .show = show_unimplemented},
        {.path = "lodger/version", .mode = 0444, .show = show_text, .context = KERNEL_RELEASE},
        {.path = "sys/kernel/ostype", .mode = 0444, .show = show_text, .context = "Linux"},
        {.path = "sys/kernel/osrelease",
            .mode = 0444,
            .show = show_text,
            .context = KERNEL_RELEASE},
        {.path = "sys/kernel/version", .mode = 0444, .show = show_text, .context = KERNEL_VERSION},
        {.path = "sys/kernel/hostname",
            .mode = 0644,
            .show = show_name,
            .store = store_name,
            .context = (void *)SYSTEM_NAME_HOST},
        {.path = "sys/kernel/domainname",
            .mode = 0644,
            .show = show_name,
            .store = store_name,
            .context = (void *)SYSTEM_NAME_DOMAIN},
    };
    int error = sysfs_register(&console);
    for (size_t i = 0; i < ARRAY_SIZE(files) && error == 0; i++)
        error = proc_register(&files[i]);
    return error;
}
