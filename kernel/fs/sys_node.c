// SPDX-License-Identifier: MIT
// /sys/devices/system/node: memory nodes, their CPUs, memory and distances, as libnuma reads them.
// Of meminfo only what is kept per node is there.
#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/core/cpumask.h"
#include "kernel/fs/proc.h"
#include "kernel/fs/register.h"
#include "mm/page.h"

static uint32_t node_of_context(void *context)
{
    return (uint32_t)(uintptr_t)context;
}

// ---- lists of nodes ----

static void show_nodes(struct proc_buffer *buffer, uint64_t nodes)
{
    const struct cpumask mask = {.words = {nodes}};
    proc_show_cpu_list(buffer, &mask);
}

static int show_all(struct proc_buffer *buffer, void *context)
{
    show_nodes(buffer, UINT64_MAX >> (64 - numa.node_count));
    return 0;
}

static int show_with_memory(struct proc_buffer *buffer, void *context)
{
    show_nodes(buffer, page_nodes_with_memory());
    return 0;
}

static int show_with_cpu(struct proc_buffer *buffer, void *context)
{
    uint64_t nodes = 0;
    cpumask_for_each(cpu, &cpu_online) nodes |= UINT64_C(1) << cpu_nodes[cpu];
    show_nodes(buffer, nodes);
    return 0;
}

// ---- one node ----

static struct cpumask node_cpus(uint32_t node)
{
    struct cpumask mask = {};
    cpumask_for_each(cpu, &cpu_online)
    {
        if (cpu_nodes[cpu] == node)
            cpumask_set(&mask, cpu);
    }
    return mask;
}

static int show_cpulist(struct proc_buffer *buffer, void *context)
{
    const struct cpumask mask = node_cpus(node_of_context(context));
    proc_show_cpu_list(buffer, &mask);
    return 0;
}

static int show_cpumap(struct proc_buffer *buffer, void *context)
{
    const struct cpumask mask = node_cpus(node_of_context(context));
    proc_show_cpu_words(buffer, &mask);
    return 0;
}

static int show_meminfo(struct proc_buffer *buffer, void *context)
{
    const uint32_t node = node_of_context(context);
    const uint64_t kilo = PAGE_SIZE / 1024;
    struct page_node_statistics statistics;
    page_node_statistics_read(node, &statistics);
    const uint64_t used =
        statistics.total_pages - MIN(statistics.free_pages, statistics.total_pages);
    proc_printf(buffer, "Node %u MemTotal:       %8lu kB\n", node, statistics.total_pages * kilo);
    proc_printf(buffer, "Node %u MemFree:        %8lu kB\n", node, statistics.free_pages * kilo);
    proc_printf(buffer, "Node %u MemUsed:        %8lu kB\n", node, used * kilo);
    return 0;
}

static int show_numastat(struct proc_buffer *buffer, void *context)
{
    struct page_node_statistics statistics;
    page_node_statistics_read(node_of_context(context), &statistics);
    proc_printf(buffer, "numa_hit %lu\nnuma_miss %lu\nnuma_foreign %lu\n", statistics.hit,
        statistics.miss, statistics.foreign);
    proc_printf(buffer, "interleave_hit %lu\nlocal_node %lu\nother_node %lu\n",
        statistics.interleaved, statistics.local, statistics.other);
    return 0;
}

static int show_distance(struct proc_buffer *buffer, void *context)
{
    const uint32_t from = node_of_context(context);
    for (uint32_t to = 0; to < numa.node_count; to++)
        proc_printf(buffer, "%s%u", to == 0 ? "" : " ", numa.distance[from][to]);
    proc_printf(buffer, "\n");
    return 0;
}

static void register_file(
    const char *path, int (*show)(struct proc_buffer *, void *), uint32_t node)
{
    const struct proc_file file = {
        .path = path, .mode = 0444, .show = show, .context = (void *)(uintptr_t)node};
    int error = sysfs_register(&file);
    assert(error == 0); // at boot
}

static void register_node(uint32_t node)
{
    static const struct {
        const char *name;
        int (*show)(struct proc_buffer *buffer, void *context);
    } files[] = {
        {"cpulist", show_cpulist},
        {"cpumap", show_cpumap},
        {"meminfo", show_meminfo},
        {"numastat", show_numastat},
        {"distance", show_distance},
    };
    char path[64];
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        fmt_snprintf(path, sizeof(path), "devices/system/node/node%u/%s", node, files[i].name);
        register_file(path, files[i].show, node);
    }
}

void sysfs_node_init(void)
{
    register_file("devices/system/node/online", show_all, 0);
    register_file("devices/system/node/possible", show_all, 0);
    register_file("devices/system/node/has_memory", show_with_memory, 0);
    register_file("devices/system/node/has_normal_memory", show_with_memory, 0);
    register_file("devices/system/node/has_cpu", show_with_cpu, 0);
    for (uint32_t node = 0; node < numa.node_count; node++)
        register_node(node);
}
