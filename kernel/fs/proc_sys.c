// SPDX-License-Identifier: MIT
// /proc/sys: values that programs read, and a few that they may set. The names of the system
// (hostname, release) are registered by kernel/syscall, which owns them.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/core/log.h"
#include "kernel/core/random.h"
#include "kernel/fs/file_private.h"
#include "kernel/fs/proc.h"
#include "mm/page.h"
#include <linux/capability.h>

static int show_text(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "%s\n", (const char *)context);
    return 0;
}

// A number in memory, settable.
struct sys_number {
    const char *path;
    uint64_t value; // single words: racy reads are fine
    uint64_t low, high;
};

static int show_number(struct proc_buffer *buffer, void *context)
{
    const struct sys_number *number = context;
    proc_printf(buffer, "%lu\n", (unsigned long)__atomic_load_n(&number->value, __ATOMIC_RELAXED));
    return 0;
}

static int store_number(const char *text, size_t len, void *context)
{
    struct sys_number *number = context;
    uint64_t value;
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' '))
        len--;
    if (parse_u64(text, len, 10, &value) != 0 || value < number->low || value > number->high)
        return -EINVAL;
    __atomic_store_n(&number->value, value, __ATOMIC_RELAXED);
    return 0;
}

static struct sys_number numbers[] = {
    {"sys/vm/overcommit_memory", 0, 0, 2},
    {"sys/vm/overcommit_ratio", 50, 0, 100},
    {"sys/vm/swappiness", 60, 0, 200},
    {"sys/vm/panic_on_oom", 0, 0, 2},
    {"sys/fs/lease-break-time", 45, 0, INT32_MAX},
    {"sys/fs/protected_hardlinks", 0, 0, 0},
    {"sys/fs/protected_symlinks", 0, 0, 0},
    {"sys/kernel/randomize_va_space", 2, 0, 2},
    {"sys/kernel/panic", 0, 0, INT32_MAX},
    {"sys/kernel/core_uses_pid", 0, 0, 1},
    {"sys/kernel/sysrq", 0, 0, 511},
    {"sys/kernel/dmesg_restrict", 0, 0, 1},
};

static const struct {
    const char *path, *text;
} texts[] = {
    {"sys/vm/max_map_count", "65530"},
    {"sys/vm/mmap_min_addr", "65536"},
    {"sys/fs/nr_open", "1048576"},
    {"sys/fs/pipe-max-size", "1048576"},
    {"sys/fs/pipe-user-pages-soft", "16384"},
    {"sys/fs/pipe-user-pages-hard", "0"},
    {"sys/fs/overflowuid", "65534"},
    {"sys/fs/overflowgid", "65534"},
    {"sys/kernel/pid_max", "32768"},
    {"sys/kernel/ngroups_max", "65536"},
    {"sys/kernel/cap_last_cap", "40"},
    {"sys/kernel/overflowuid", "65534"},
    {"sys/kernel/overflowgid", "65534"},
    {"sys/kernel/core_pattern", "core"},
    {"sys/kernel/tainted", "0"},
    {"sys/kernel/modules_disabled", "1"},
    {"sys/kernel/random/poolsize", "256"},
    {"sys/kernel/random/entropy_avail", "256"},
    {"sys/kernel/random/write_wakeup_threshold", "256"},
};
static_assert(CAP_LAST_CAP == 40);

static void uuid_make(char text[37])
{
    uint8_t bytes[16];
    random_fill(bytes, sizeof(bytes));
    bytes[6] = (bytes[6] & 0x0f) | 0x40; // RFC 4122: random
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    size_t at = 0;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            text[at++] = '-';
        fmt_snprintf(text + at, 3, "%02x", bytes[i]);
        at += 2;
    }
}

static int show_uuid(struct proc_buffer *buffer, void *context)
{
    char text[37];
    uuid_make(text);
    proc_printf(buffer, "%s\n", text);
    return 0;
}

static struct mutex boot_id_lock = MUTEX_INIT(boot_id_lock, "proc: boot id");

static int show_boot_id(struct proc_buffer *buffer, void *context)
{
    static char text[37]; // made at the first read, under the lock
    mutex_lock(&boot_id_lock);
    if (text[0] == 0)
        uuid_make(text);
    mutex_unlock(&boot_id_lock);
    proc_printf(buffer, "%s\n", text);
    return 0;
}

static int show_file_max(struct proc_buffer *buffer, void *context)
{
    struct page_statistics pages;
    page_statistics_read(&pages);
    proc_printf(buffer, "%lu\n",
        (unsigned long)MAX(pages.total_pages * (PAGE_SIZE / 1024) / 10, UINT64_C(8192)));
    return 0;
}

static int show_file_nr(struct proc_buffer *buffer, void *context)
{
    struct page_statistics pages;
    page_statistics_read(&pages);
    proc_printf(buffer, "%lu\t0\t%lu\n", (unsigned long)file_open_count(),
        (unsigned long)MAX(pages.total_pages * (PAGE_SIZE / 1024) / 10, UINT64_C(8192)));
    return 0;
}

static int show_threads_max(struct proc_buffer *buffer, void *context)
{
    struct page_statistics pages;
    page_statistics_read(&pages);
    proc_printf(buffer, "%lu\n",
        (unsigned long)CLAMP(pages.total_pages / 8, UINT64_C(20), UINT64_C(32768)));
    return 0;
}

static int show_printk(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "%d\t4\t1\t7\n", log_console_level);
    return 0;
}

static int store_printk(const char *text, size_t len, void *context)
{
    if (len == 0 || text[0] < '0' || text[0] > '8')
        return -EINVAL;
    log_console_level = text[0] - '0';
    return 0;
}

void proc_sys_register(void)
{
    static const struct proc_file files[] = {
        {.path = "sys/kernel/random/boot_id", .mode = 0444, .show = show_boot_id},
        {.path = "sys/kernel/random/uuid", .mode = 0444, .show = show_uuid},
        {.path = "sys/kernel/threads-max", .mode = 0444, .show = show_threads_max},
        {.path = "sys/kernel/printk", .mode = 0644, .show = show_printk, .store = store_printk},
        {.path = "sys/fs/file-max", .mode = 0444, .show = show_file_max},
        {.path = "sys/fs/file-nr", .mode = 0444, .show = show_file_nr},
    };
    int error = 0;
    for (size_t i = 0; i < ARRAY_SIZE(files) && error == 0; i++)
        error = proc_register(&files[i]);
    for (size_t i = 0; i < ARRAY_SIZE(texts) && error == 0; i++)
        error = proc_register(&(struct proc_file){.path = texts[i].path,
            .mode = 0444,
            .show = show_text,
            .context = (void *)(uintptr_t)texts[i].text});
    for (size_t i = 0; i < ARRAY_SIZE(numbers) && error == 0; i++)
        error = proc_register(&(struct proc_file){.path = numbers[i].path,
            .mode = 0644,
            .show = show_number,
            .store = store_number,
            .context = &numbers[i]});
    assert(error == 0); // at boot
}
