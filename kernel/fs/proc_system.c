// SPDX-License-Identifier: MIT
// The files of /proc that show the machine: meminfo, stat, uptime, loadavg, version, filesystems,
// ...
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/counter.h"
#include "kernel/core/cpumask.h"
#include "kernel/core/errno.h"
#include "kernel/core/option.h"
#include "kernel/core/irq.h"
#include "kernel/core/time.h"
#include "kernel/fs/device.h"
#include "kernel/fs/proc.h"
#include "kernel/process/task.h"
#include "mm/huge_pool.h"
#include "mm/page.h"
#include "mm/slab.h"
#include "sched/sched.h"

#define CLOCK_TICKS_NS (NS_PER_SECOND / 100)

static int show_meminfo(struct proc_buffer *buffer, void *context)
{
    struct page_statistics pages;
    page_statistics_read(&pages);
    const uint64_t kilo = PAGE_SIZE / 1024;
    uint64_t cached = pages.cache_pages;
    uint64_t available =
        pages.free_pages > pages.reserve_pages ? pages.free_pages - pages.reserve_pages : 0;
    const struct {
        const char *name;
        uint64_t pages;
    } lines[] = {
        {"MemTotal", pages.total_pages},
        {"MemFree", pages.free_pages},
        {"MemAvailable", available},
        {"Buffers", 0},
        {"Cached", cached},
        {"SwapCached", 0},
        {"Active", pages.anonymous_pages},
        {"Inactive", cached},
        {"Active(anon)", pages.anonymous_pages},
        {"Inactive(anon)", pages.shared_pages},
        {"Active(file)", 0},
        {"Inactive(file)", cached > pages.shared_pages ? cached - pages.shared_pages : 0},
        {"Unevictable", 0},
        {"Mlocked", 0},
        {"SwapTotal", 0},
        {"SwapFree", 0},
        {"Dirty", pages.dirty_pages},
        {"Writeback", 0},
        {"AnonPages", pages.anonymous_pages},
        {"Mapped", pages.mapped_pages},
        {"Shmem", pages.shared_pages},
        {"KReclaimable", 0},
        {"Slab", pages.slab_pages},
        {"SReclaimable", 0},
        {"SUnreclaim", pages.slab_pages},
        {"KernelStack", pages.kernel_stack_pages},
        {"PageTables", pages.page_table_pages},
        {"CommitLimit", pages.total_pages / 2},
        {"Committed_AS", pages.anonymous_pages + pages.shared_pages},
        {"AnonHugePages", pages.huge_pages},
    };
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        size_t before = buffer->len;
        proc_printf(buffer, "%s:", lines[i].name);
        int width = 24 - (int)(buffer->len - before);
        proc_printf(buffer, "%*lu kB\n", MAX(width, 1), (unsigned long)(lines[i].pages * kilo));
    }
    struct huge_pool_statistics pool;
    huge_pool_statistics_read(&pool);
    proc_printf(
        buffer, "HugePages_Total:   %5lu\nHugePages_Free:    %5lu\n", pool.total, pool.free);
    proc_printf(buffer, "HugePages_Rsvd:    %5lu\nHugePages_Surp:    %5lu\n", pool.reserved,
        pool.surplus);
    proc_printf(
        buffer, "Hugepagesize:       2048 kB\nHugetlb:        %8lu kB\n", pool.total * 2048);
    proc_printf(buffer, "VmallocTotal:   34359738367 kB\nVmallocUsed:           0 kB\n");
    return 0;
}

static int show_uptime(struct proc_buffer *buffer, void *context)
{
    struct sched_statistics statistics;
    sched_statistics_read(UINT32_MAX, &statistics);
    uint64_t up = time_monotonic_ns() / (NS_PER_SECOND / 100);
    uint64_t idle = statistics.idle_ns / (NS_PER_SECOND / 100);
    proc_printf(buffer, "%lu.%02lu %lu.%02lu\n", up / 100, up % 100, idle / 100, idle % 100);
    return 0;
}

static int show_loadavg(struct proc_buffer *buffer, void *context)
{
    struct sched_statistics statistics;
    sched_statistics_read(UINT32_MAX, &statistics);
    uint32_t total = 0;
    int32_t last = 0;
    struct process *process;
    while ((process = process_next_get(last)) != NULL) {
        total += MAX(process->thread_count, UINT32_C(1));
        last = process->pid;
        process_put(process);
    }
    for (int i = 0; i < 3; i++) {
        uint64_t load = statistics.load_average[i] + 327; // half of a hundredth
        proc_printf(buffer, "%lu.%02lu ", load >> 16, (load & 0xffff) * 100 >> 16);
    }
    proc_printf(buffer, "%lu/%u %d\n", (unsigned long)MAX(statistics.running, UINT64_C(1)), total,
        last); // who reads this runs
    return 0;
}

static void show_stat_cpu(struct proc_buffer *buffer, const char *name, uint32_t cpu)
{
    struct sched_statistics statistics;
    sched_statistics_read(cpu, &statistics);
    proc_printf(buffer, "%s %lu 0 %lu %lu 0 %lu 0 %lu 0 0\n", name,
        statistics.user_ns / CLOCK_TICKS_NS, statistics.system_ns / CLOCK_TICKS_NS,
        statistics.idle_ns / CLOCK_TICKS_NS, statistics.interrupt_ns / CLOCK_TICKS_NS,
        statistics.steal_ns / CLOCK_TICKS_NS);
}

static uint64_t interrupts_of(uint32_t vector)
{
    uint64_t count = 0;
    cpumask_for_each(cpu, &cpu_online) count += irq_count(vector, cpu);
    return count;
}

static void add_interrupts(uint32_t vector, const char *name, void *context)
{
    *(uint64_t *)context += interrupts_of(vector);
}

static int show_stat(struct proc_buffer *buffer, void *context)
{
    struct sched_statistics statistics;
    uint64_t interrupts = 0;
    show_stat_cpu(buffer, "cpu ", UINT32_MAX);
    cpumask_for_each(cpu, &cpu_online)
    {
        char name[16];
        fmt_snprintf(name, sizeof(name), "cpu%u", cpu);
        show_stat_cpu(buffer, name, cpu);
    }
    irq_for_each(add_interrupts, &interrupts);
    sched_statistics_read(UINT32_MAX, &statistics);
    proc_printf(buffer,
        "intr %lu\nctxt %lu\nbtime %lu\nprocesses %lu\nprocs_running %lu\nprocs_blocked 0\n",
        interrupts, statistics.context_switches, time_boot_realtime_seconds, statistics.forks,
        statistics.running);
    proc_printf(buffer, "softirq 0 0 0 0 0 0 0 0 0 0 0\n");
    return 0;
}

static void show_interrupt(uint32_t vector, const char *name, void *context)
{
    struct proc_buffer *buffer = context;
    proc_printf(buffer, "%3u: ", vector);
    cpumask_for_each(cpu, &cpu_online)
        proc_printf(buffer, "%10lu ", (unsigned long)irq_count(vector, cpu));
    proc_printf(buffer, "  %s\n", name);
}

static int show_interrupts(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "     ");
    cpumask_for_each(cpu, &cpu_online) proc_printf(buffer, "      CPU%-2u ", cpu);
    proc_printf(buffer, "\n");
    irq_for_each(show_interrupt, buffer);
    return 0;
}

static int show_filesystems(struct proc_buffer *buffer, void *context)
{
    for (const struct filesystem_type *type = filesystem_next(NULL); type != NULL;
        type = filesystem_next(type))
        if (type->user_mountable)
            proc_printf(buffer, "%s\t%s\n", type->needs_device ? "" : "nodev", type->name);
    return 0;
}

// Each major number once, with the name that Linux gives it.
static void show_device(const struct character_device *device, void *context)
{
    static const struct {
        uint32_t number;
        const char *name;
        bool block;
    } majors[] = {
        {1, "mem", false},
        {4, "ttyS", false},
        {5, "/dev/tty", false},
        {10, "misc", false},
        {136, "pts", false},
        {1, "ramdisk", true},
        {7, "loop", true},
        {202, "xvd", true},
        {254, "virtblk", true},
        {259, "blkext", true},
    };
    struct {
        struct proc_buffer *buffer;
        uint32_t last;
        bool block;
    } *walk = context;
    if (device->block != walk->block || device->major == walk->last)
        return;
    walk->last = device->major;
    const char *name = device->name != NULL ? device->name : "unknown";
    for (size_t i = 0; i < ARRAY_SIZE(majors); i++)
        if (majors[i].number == device->major && majors[i].block == device->block)
            name = majors[i].name;
    proc_printf(walk->buffer, "%3u %s\n", device->major, name);
}

static int show_devices(struct proc_buffer *buffer, void *context)
{
    struct {
        struct proc_buffer *buffer;
        uint32_t last;
        bool block;
    } walk = {buffer, UINT32_MAX, false};
    proc_printf(buffer, "Character devices:\n");
    device_for_each(show_device, &walk);
    proc_printf(buffer, "\nBlock devices:\n");
    walk.block = true;
    walk.last = UINT32_MAX;
    device_for_each(show_device, &walk);
    return 0;
}

static int show_cmdline(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "%s\n", option_command_line);
    return 0;
}

static void show_slab(
    const char *name, uint64_t active, uint64_t total, size_t object_size, void *context)
{
    uint64_t per_slab = MAX(PAGE_SIZE / MAX(object_size, (size_t)1), UINT64_C(1));
    proc_printf(context,
        "%-17s %6lu %6lu %6lu %4lu %4u : tunables %4u %4u %4u : slabdata %6lu %6lu %6u\n", name,
        (unsigned long)active, (unsigned long)total, object_size, (unsigned long)per_slab, 1, 0, 0,
        0, (unsigned long)DIV_ROUND_UP(active, per_slab),
        (unsigned long)DIV_ROUND_UP(total, per_slab), 0);
}

static int show_slabinfo(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "slabinfo - version: 2.1\n# name            <active_objs> <num_objs> "
                        "<objsize> <objperslab> <pagesperslab> : "
                        "tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> "
                        "<num_slabs> <sharedavail>\n");
    slab_statistics_visit(show_slab, buffer);
    return 0;
}

static void add_fault(const char *name, uint64_t value, void *context)
{
    if (string_starts_with(name, "fault."))
        *(uint64_t *)context += value;
}

// Lines of vmstat that are counters here.
static const struct {
    const char *counter, *line;
} vmstat_counters[] = {
    {"reclaim.background_pages", "pgsteal_kswapd"},
    {"reclaim.background_runs", "pageoutrun"},
    {"page.reclaimed", "pgsteal_direct"},
    {"page.slow_allocations", "allocstall_normal"},
    {"migrate.moved", "pgmigrate_success"},
    {"migrate.left", "pgmigrate_fail"},
    {"huge.faults", "thp_fault_alloc"},
    {"huge.fallbacks", "thp_fault_fallback"},
    {"huge.promoted", "thp_collapse_alloc"},
    {"huge.splits", "thp_split_pmd"},
};

static void show_vmstat_counter(const char *name, uint64_t value, void *context)
{
    for (size_t i = 0; i < ARRAY_SIZE(vmstat_counters); i++) {
        if (strcmp(name, vmstat_counters[i].counter) == 0)
            proc_printf(context, "%s %lu\n", vmstat_counters[i].line, (unsigned long)value);
    }
}

static int show_vmstat(struct proc_buffer *buffer, void *context)
{
    struct page_statistics pages;
    page_statistics_read(&pages);
    proc_printf(buffer,
        "nr_free_pages %lu\nnr_anon_pages %lu\nnr_mapped %lu\nnr_file_pages %lu\nnr_dirty "
        "%lu\nnr_writeback 0\n",
        pages.free_pages, pages.anonymous_pages, pages.mapped_pages, pages.cache_pages,
        pages.dirty_pages);
    proc_printf(buffer, "nr_shmem %lu\nnr_page_table_pages %lu\nnr_slab_unreclaimable %lu\n",
        pages.shared_pages, pages.page_table_pages, pages.slab_pages);
    uint64_t faults = 0;
    counter_for_each(add_fault, &faults);
    proc_printf(buffer, "pgfault %lu\npgmajfault 0\n", (unsigned long)faults);
    proc_printf(buffer, "pgpgin 0\npgpgout 0\npswpin 0\npswpout 0\n");
    counter_for_each(show_vmstat_counter, buffer);
    return 0;
}

static int show_swaps(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
    return 0;
}

static int show_nothing(struct proc_buffer *buffer, void *context)
{
    return 0;
}

static void show_counter(const char *name, uint64_t value, void *context)
{
    proc_printf(context, "%s %lu\n", name, (unsigned long)value);
}

static int show_counters(struct proc_buffer *buffer, void *context)
{
    counter_for_each(show_counter, buffer);
    return 0;
}

void proc_system_register(void)
{
    static const struct proc_file files[] = {
        {.path = "cmdline", .mode = 0444, .show = show_cmdline},
        {.path = "devices", .mode = 0444, .show = show_devices},
        {.path = "filesystems", .mode = 0444, .show = show_filesystems},
        {.path = "interrupts", .mode = 0444, .show = show_interrupts},
        {.path = "loadavg", .mode = 0444, .show = show_loadavg},
        {.path = "lodger/counters", .mode = 0444, .show = show_counters},
        {.path = "meminfo", .mode = 0444, .show = show_meminfo},
        {.path = "modules", .mode = 0444, .show = show_nothing},
        {.path = "slabinfo", .mode = 0400, .show = show_slabinfo},
        {.path = "stat", .mode = 0444, .show = show_stat},
        {.path = "swaps", .mode = 0444, .show = show_swaps},
        {.path = "uptime", .mode = 0444, .show = show_uptime},
        {.path = "vmstat", .mode = 0444, .show = show_vmstat},
    };
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        int error = proc_register(&files[i]);
        assert(error == 0); // at boot
    }
}
