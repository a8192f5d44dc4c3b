// SPDX-License-Identifier: MIT
// /proc/cpuinfo, and the CPUs in /sys/devices/system/cpu.
#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/core/cpumask.h"
#include "kernel/core/errno.h"
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

static int show_node_list(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "0\n");
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
        {.path = "devices/system/cpu/kernel_max", .mode = 0444, .show = show_kernel_max},
        {.path = "devices/system/node/online", .mode = 0444, .show = show_node_list},
        {.path = "devices/system/node/possible", .mode = 0444, .show = show_node_list},
    };
    sysfs = proc_tree_create(&type, SYSFS_MAGIC);
    assert(sysfs != NULL); // at boot
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        int error = proc_tree_register(sysfs, &files[i]);
        assert(error == 0);
    }
    sysfs_memory_init();
    filesystem_register(&type);
}
