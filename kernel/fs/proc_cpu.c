// SPDX-License-Identifier: MIT
// /proc/cpuinfo, and the CPUs in /sys/devices/system/cpu.
#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/core/cpumask.h"
#include "kernel/core/errno.h"
#include "kernel/core/hotplug.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/kernel_tree.h"
#include "kernel/fs/proc.h"
#include <linux/magic.h>

static void show_cpu_line(const char *key, const char *value, void *context)
{
    // Keys are padded with tabs to two tab stops, as programs that parse by column expect.
    size_t len = __builtin_strlen(key);
    proc_printf(context, "%s\t%s: %s\n", key, len < 8 ? "\t" : "", value);
}

static int show_cpuinfo(struct proc_buffer *buffer, void *context)
{
    cpumask_for_each(cpu, &cpu_online)
    {
        arch_cpuinfo_visit(cpu, show_cpu_line, buffer);
        proc_printf(buffer, "\n");
    }
    return 0;
}

static int show_online(struct proc_buffer *buffer, void *context)
{
    proc_show_cpu_list(buffer, &cpu_online);
    return 0;
}

static int show_offline(struct proc_buffer *buffer, void *context)
{
    struct cpumask mask = {};
    for (uint32_t cpu = 0; cpu < cpu_count_possible; cpu++) {
        if (!cpumask_test(&cpu_online, cpu))
            cpumask_set(&mask, cpu);
    }
    proc_show_cpu_list(buffer, &mask);
    return 0;
}

static int show_cpu_online(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "%d\n", cpumask_test(&cpu_online, (uint32_t)(uintptr_t)context));
    return 0;
}

// As Linux's kstrtobool(): y, 1, on; n, 0, off; what follows does not count.
static int store_cpu_online(const char *text, size_t len_bytes, void *context)
{
    uint32_t cpu = (uint32_t)(uintptr_t)context;
    char first = len_bytes > 0 ? text[0] : 0;
    if ((first == 'o' || first == 'O') && len_bytes > 1)
        first = text[1] == 'n' || text[1] == 'N' ? '1' : text[1] == 'f' || text[1] == 'F' ? '0' : 0;
    if (first == '1' || first == 'y' || first == 'Y')
        return cpu_bring_back(cpu);
    if (first == '0' || first == 'n' || first == 'N')
        return cpu_take_off(cpu);
    return -EINVAL;
}

// The boot CPU has none: it can't go.
static void register_cpus(struct superblock *superblock)
{
    for (uint32_t cpu = 1; cpu < cpu_count_possible; cpu++) {
        char path[48];
        fmt_snprintf(path, sizeof(path), "devices/system/cpu/cpu%u/online", cpu);
        const struct proc_file file = {.path = path,
            .mode = 0644,
            .show = show_cpu_online,
            .store = store_cpu_online,
            .context = (void *)(uintptr_t)cpu};
        int error = proc_tree_register(superblock, &file);
        assert(error == 0); // at boot
    }
}

static int show_possible(struct proc_buffer *buffer, void *context)
{
    struct cpumask mask = {};
    for (uint32_t cpu = 0; cpu < MAX(cpu_count_possible, UINT32_C(1)); cpu++)
        cpumask_set(&mask, cpu);
    proc_show_cpu_list(buffer, &mask);
    return 0;
}

static int show_kernel_max(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "%d\n", CPU_MAX - 1);
    return 0;
}

void proc_cpu_register(void)
{
    static const struct proc_file file = {.path = "cpuinfo", .mode = 0444, .show = show_cpuinfo};
    int error = proc_register(&file);
    assert(error == 0); // at boot
}

static struct superblock *sysfs;

int sysfs_register(const struct proc_file *file)
{
    return proc_tree_register(sysfs, file);
}

int sysfs_link(const char *path, const char *target)
{
    const char *name;
    int error;
    struct dentry *directory = kernel_tree_parent(sysfs->root, path, &name, &error);
    if (directory == NULL)
        return error;
    error = proc_tree_link(directory, name, target, NULL);
    dentry_put(directory);
    return error;
}

void sysfs_remove(const char *path)
{
    proc_tree_remove(sysfs, path);
}

static int sysfs_mount(const struct filesystem_type *type, const struct mount_request *request,
    struct superblock **result)
{
    superblock_get(sysfs);
    *result = sysfs;
    return 0;
}

void sysfs_init(void)
{
    static struct filesystem_type type = {
        .name = "sysfs", .user_mountable = true, .mount = sysfs_mount};
    static const struct proc_file files[] = {
        {.path = "devices/system/cpu/possible", .mode = 0444, .show = show_possible},
        {.path = "devices/system/cpu/present", .mode = 0444, .show = show_possible},
        {.path = "devices/system/cpu/online", .mode = 0444, .show = show_online},
        {.path = "devices/system/cpu/offline", .mode = 0444, .show = show_offline},
        {.path = "devices/system/cpu/kernel_max", .mode = 0444, .show = show_kernel_max},
    };
    sysfs = proc_tree_create(&type, SYSFS_MAGIC);
    assert(sysfs != NULL); // at boot
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        int error = proc_tree_register(sysfs, &files[i]);
        assert(error == 0);
    }
    sysfs_memory_init();
    sysfs_node_init();
    register_cpus(sysfs);
    filesystem_register(&type);
}
