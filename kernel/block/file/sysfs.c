// SPDX-License-Identifier: MIT
// What programs read about disks: /sys/block, /sys/class/block, /sys/dev/block, /proc/diskstats,
// /proc/partitions.
#include "kernel/base/assert.h"
#include "kernel/base/fmt.h"
#include "kernel/base/string.h"
#include "kernel/block/file/internal.h"
#include "kernel/block/scheduler.h"
#include "kernel/core/errno.h"
#include "kernel/core/time.h"
#include "kernel/fs/register.h"
#include "mm/slab.h"

#define PATH_BYTES     128
#define EXTENDED_RANGE 256

// ---- statistics ----

static uint64_t ms(uint64_t ns)
{
    return ns / NS_PER_MS;
}

// The seventeen numbers of /proc/diskstats.
static void print_statistics(struct proc_buffer *buffer, struct block_volume *volume)
{
    struct block_statistics sum;
    uint64_t busy_ns;
    block_volume_statistics(volume, &sum, &busy_ns);
    // Write zeroes count as writes.
    const uint64_t writes = sum.requests[BLOCK_WRITE] + sum.requests[BLOCK_WRITE_ZEROES];
    const uint64_t written = sum.sectors[BLOCK_WRITE] + sum.sectors[BLOCK_WRITE_ZEROES];
    const uint64_t write_ns = sum.time_ns[BLOCK_WRITE] + sum.time_ns[BLOCK_WRITE_ZEROES];
    uint64_t total_ns = 0;
    for (unsigned i = 0; i < BLOCK_OPERATIONS; i++)
        total_ns += sum.time_ns[i];
    proc_printf(buffer,
        "%8lu %8lu %8lu %8lu %8lu %8lu %8lu %8lu %8lu %8lu %8lu %8lu %8lu %8lu %8lu %8lu %8lu\n",
        sum.requests[BLOCK_READ], sum.merges[BLOCK_READ], sum.sectors[BLOCK_READ],
        ms(sum.time_ns[BLOCK_READ]), writes, sum.merges[BLOCK_WRITE], written, ms(write_ns),
        (uint64_t)MAX(sum.in_flight, (int64_t)0), ms(busy_ns), ms(total_ns),
        sum.requests[BLOCK_DISCARD], sum.merges[BLOCK_DISCARD], sum.sectors[BLOCK_DISCARD],
        ms(sum.time_ns[BLOCK_DISCARD]), sum.requests[BLOCK_FLUSH], ms(sum.time_ns[BLOCK_FLUSH]));
}

static void for_each_volume(struct proc_buffer *buffer,
    void (*print)(struct proc_buffer *buffer, struct block_volume *volume))
{
    struct block_device *device = NULL;
    while ((device = block_device_next_get(device)) != NULL) {
        mutex_lock(&device->lock);
        for (uint32_t i = 0; i <= BLOCK_PARTITIONS_MAX; i++)
            if (device->volume[i] != NULL)
                print(buffer, device->volume[i]);
        mutex_unlock(&device->lock);
    }
}

static void print_diskstats(struct proc_buffer *buffer, struct block_volume *volume)
{
    proc_printf(buffer, "%4u %7u %s ", volume->major, volume->minor, volume->name);
    print_statistics(buffer, volume);
}

static int show_diskstats(struct proc_buffer *buffer, void *context)
{
    for_each_volume(buffer, print_diskstats);
    return 0;
}

static void print_partition(struct proc_buffer *buffer, struct block_volume *volume)
{
    proc_printf(buffer, "%4u  %7u %10lu %s\n", volume->major, volume->minor,
        block_volume_sectors(volume) / 2, volume->name);
}

static int show_partitions(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "major minor  #blocks  name\n\n");
    for_each_volume(buffer, print_partition);
    return 0;
}

void block_proc_register(void)
{
    static const struct proc_file files[] = {
        {.path = "diskstats", .mode = 0444, .show = show_diskstats},
        {.path = "partitions", .mode = 0444, .show = show_partitions},
    };
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        int error = proc_register(&files[i]);
        assert(error == 0); // at boot
    }
}

// ---- files of a volume; the context is its struct block_file ----

static struct block_volume *volume_of(void *context)
{
    return ((struct block_file *)context)->volume;
}

static const struct block_limits *limits_of(void *context)
{
    return &volume_of(context)->device->limits;
}

static int show_dev(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "%u:%u\n", volume_of(context)->major, volume_of(context)->minor);
    return 0;
}

static int show_size(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "%lu\n", block_volume_sectors(volume_of(context)));
    return 0;
}

static int show_start(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "%lu\n", volume_of(context)->start_sector);
    return 0;
}

static int show_partition(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "%u\n", volume_of(context)->partition);
    return 0;
}

static int show_ro(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "%d\n", block_volume_is_read_only(volume_of(context)));
    return 0;
}

static int show_zero(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "0\n");
    return 0;
}

static int show_stat(struct proc_buffer *buffer, void *context)
{
    print_statistics(buffer, volume_of(context));
    return 0;
}

static int show_inflight(struct proc_buffer *buffer, void *context)
{
    struct block_statistics sum;
    uint64_t busy_ns;
    block_volume_statistics(volume_of(context), &sum, &busy_ns);
    proc_printf(buffer, "%8ld %8d\n", MAX(sum.in_flight, (int64_t)0), 0);
    return 0;
}

static int show_uevent(struct proc_buffer *buffer, void *context)
{
    const struct block_volume *volume = volume_of(context);
    proc_printf(buffer, "MAJOR=%u\nMINOR=%u\nDEVNAME=%s\nDEVTYPE=%s\n", volume->major,
        volume->minor, volume->name, volume->partition == 0 ? "disk" : "partition");
    if (volume->partition != 0) {
        proc_printf(buffer, "PARTN=%u\n", volume->partition);
        if (volume->label[0] != 0)
            proc_printf(buffer, "PARTNAME=%s\n", volume->label);
        if (volume->uuid[0] != 0)
            proc_printf(buffer, "PARTUUID=%s\n", volume->uuid);
    }
    return 0;
}

static int show_range(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "%u\n", MAX(volume_of(context)->device->minors, 1u));
    return 0;
}

static int show_ext_range(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "%u\n", EXTENDED_RANGE);
    return 0;
}

static int show_serial(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "%s\n", volume_of(context)->device->serial);
    return 0;
}

// ---- queue/ ----

#define SHOW_LIMIT(name, expression)                                                               \
    static int show_##name(struct proc_buffer *buffer, void *context)                              \
    {                                                                                              \
        const struct block_limits *limits = limits_of(context);                                    \
        proc_printf(buffer, "%lu\n", (uint64_t)(expression));                                      \
        return 0;                                                                                  \
    }
SHOW_LIMIT(logical, limits->logical_block_bytes)
SHOW_LIMIT(physical, limits->physical_block_bytes)
SHOW_LIMIT(io_min, limits->io_min_bytes)
SHOW_LIMIT(io_opt, limits->io_opt_bytes)
SHOW_LIMIT(max_kb, limits->max_sectors / 2)
SHOW_LIMIT(max_segments, limits->max_segments)
SHOW_LIMIT(segment_bytes, limits->segment_max_bytes)
SHOW_LIMIT(rotational, limits->rotational)
SHOW_LIMIT(fua, limits->fua)
SHOW_LIMIT(dma_alignment, limits->dma_alignment - 1)
SHOW_LIMIT(discard_granularity, limits->discard_granularity_bytes)
SHOW_LIMIT(discard_max, (uint64_t)limits->max_discard_sectors *BLOCK_SECTOR_BYTES)
SHOW_LIMIT(zeroes_max, (uint64_t)limits->max_write_zeroes_sectors *BLOCK_SECTOR_BYTES)

static int show_write_cache(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, limits_of(context)->write_cache ? "write back\n" : "write through\n");
    return 0;
}

static int show_requests(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "%u\n", volume_of(context)->device->queue_depth);
    return 0;
}

static int show_read_ahead(struct proc_buffer *buffer, void *context)
{
    const struct block_file *file = context;
    proc_printf(buffer, "%lu\n", file->read_ahead_pages * (PAGE_SIZE / 1024));
    return 0;
}

// A decimal number, perhaps with a line end. 0 or -EINVAL.
static int parse_number(const char *text, uint64_t *value)
{
    *value = 0;
    if (*text < '0' || *text > '9')
        return -EINVAL;
    for (; *text >= '0' && *text <= '9'; text++) {
        if (__builtin_mul_overflow(*value, (uint64_t)10, value) ||
            __builtin_add_overflow(*value, (uint64_t)(*text - '0'), value))
            return -EINVAL;
    }
    return *text == 0 || (*text == '\n' && text[1] == 0) ? 0 : -EINVAL;
}

static int store_read_ahead(const char *text, size_t len_bytes, void *context)
{
    struct block_file *file = context;
    uint64_t value;
    int error = parse_number(text, &value);
    if (error == 0)
        file->read_ahead_pages = (uint32_t)MIN(value * 1024 / PAGE_SIZE, UINT64_C(1) << 16);
    return error;
}

static int show_scheduler(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, volume_of(context)->device->scheduling ? "none [fair]\n" : "[none] fair\n");
    return 0;
}

static int store_scheduler(const char *text, size_t len_bytes, void *context)
{
    if (len_bytes != 0 && text[len_bytes - 1] == '\n')
        len_bytes--;
    const bool fair = len_bytes == 4 && memcmp(text, "fair", 4) == 0;
    if (!fair && !(len_bytes == 4 && memcmp(text, "none", 4) == 0))
        return -EINVAL;
    return block_device_schedule(volume_of(context)->device, fair);
}

static struct block_scheduler *scheduler_of(void *context)
{
    return __atomic_load_n(&volume_of(context)->device->scheduler, __ATOMIC_ACQUIRE);
}

static int show_depth(struct proc_buffer *buffer, void *context)
{
    const struct block_scheduler *scheduler = scheduler_of(context);
    if (scheduler == NULL)
        return -ENODEV;
    proc_printf(buffer, "%u\n", scheduler->depth);
    return 0;
}

static int store_depth(const char *text, size_t len_bytes, void *context)
{
    struct block_scheduler *scheduler = scheduler_of(context);
    uint64_t value;
    if (scheduler == NULL)
        return -ENODEV;
    int error = parse_number(text, &value);
    if (error != 0 || value == 0 || value > UINT32_MAX)
        return -EINVAL;
    __atomic_store_n(&scheduler->depth, (uint32_t)value, __ATOMIC_RELAXED);
    return 0;
}

static int show_class_limit(struct proc_buffer *buffer, void *context, unsigned class)
{
    const struct block_scheduler *scheduler = scheduler_of(context);
    if (scheduler == NULL)
        return -ENODEV;
    proc_printf(buffer, "%lu\n", scheduler->classes[class].limit_bytes);
    return 0;
}

static int store_class_limit(const char *text, void *context, unsigned class)
{
    struct block_scheduler *scheduler = scheduler_of(context);
    uint64_t value;
    if (scheduler == NULL)
        return -ENODEV;
    int error = parse_number(text, &value);
    if (error == 0)
        __atomic_store_n(&scheduler->classes[class].limit_bytes, value, __ATOMIC_RELAXED);
    return error;
}

#define CLASS_LIMIT(name, class)                                                                   \
    static int show_limit_##name(struct proc_buffer *buffer, void *context)                        \
    {                                                                                              \
        return show_class_limit(buffer, context, class);                                           \
    }                                                                                              \
    static int store_limit_##name(const char *text, size_t len_bytes, void *context)               \
    {                                                                                              \
        return store_class_limit(text, context, class);                                            \
    }
CLASS_LIMIT(rt, BLOCK_CLASS_REAL_TIME)
CLASS_LIMIT(be, BLOCK_CLASS_BEST_EFFORT)
CLASS_LIMIT(idle, BLOCK_CLASS_IDLE)

// ---- the tree ----

// Names without a path are of the volume itself.
static const struct proc_file common_files[] = {
    {.path = "dev", .mode = 0444, .show = show_dev},
    {.path = "size", .mode = 0444, .show = show_size},
    {.path = "ro", .mode = 0444, .show = show_ro},
    {.path = "stat", .mode = 0444, .show = show_stat},
    {.path = "inflight", .mode = 0444, .show = show_inflight},
    {.path = "alignment_offset", .mode = 0444, .show = show_zero},
    {.path = "discard_alignment", .mode = 0444, .show = show_zero},
    {.path = "uevent", .mode = 0444, .show = show_uevent},
};
static const struct proc_file partition_files[] = {
    {.path = "partition", .mode = 0444, .show = show_partition},
    {.path = "start", .mode = 0444, .show = show_start},
};
static const struct proc_file device_files[] = {
    {.path = "removable", .mode = 0444, .show = show_zero},
    {.path = "hidden", .mode = 0444, .show = show_zero},
    {.path = "range", .mode = 0444, .show = show_range},
    {.path = "ext_range", .mode = 0444, .show = show_ext_range},
    {.path = "serial", .mode = 0444, .show = show_serial},
    {.path = "queue/logical_block_size", .mode = 0444, .show = show_logical},
    {.path = "queue/hw_sector_size", .mode = 0444, .show = show_logical},
    {.path = "queue/physical_block_size", .mode = 0444, .show = show_physical},
    {.path = "queue/minimum_io_size", .mode = 0444, .show = show_io_min},
    {.path = "queue/optimal_io_size", .mode = 0444, .show = show_io_opt},
    {.path = "queue/max_sectors_kb", .mode = 0444, .show = show_max_kb},
    {.path = "queue/max_hw_sectors_kb", .mode = 0444, .show = show_max_kb},
    {.path = "queue/max_segments", .mode = 0444, .show = show_max_segments},
    {.path = "queue/max_segment_size", .mode = 0444, .show = show_segment_bytes},
    {.path = "queue/dma_alignment", .mode = 0444, .show = show_dma_alignment},
    {.path = "queue/rotational", .mode = 0444, .show = show_rotational},
    {.path = "queue/fua", .mode = 0444, .show = show_fua},
    {.path = "queue/write_cache", .mode = 0444, .show = show_write_cache},
    {.path = "queue/discard_granularity", .mode = 0444, .show = show_discard_granularity},
    {.path = "queue/discard_max_bytes", .mode = 0444, .show = show_discard_max},
    {.path = "queue/discard_max_hw_bytes", .mode = 0444, .show = show_discard_max},
    {.path = "queue/write_zeroes_max_bytes", .mode = 0444, .show = show_zeroes_max},
    {.path = "queue/nr_requests", .mode = 0444, .show = show_requests},
    {.path = "queue/read_ahead_kb",
        .mode = 0644,
        .show = show_read_ahead,
        .store = store_read_ahead},
    {.path = "queue/scheduler", .mode = 0644, .show = show_scheduler, .store = store_scheduler},
    {.path = "queue/iosched/depth", .mode = 0644, .show = show_depth, .store = store_depth},
    {.path = "queue/iosched/limit_rt",
        .mode = 0644,
        .show = show_limit_rt,
        .store = store_limit_rt},
    {.path = "queue/iosched/limit_be",
        .mode = 0644,
        .show = show_limit_be,
        .store = store_limit_be},
    {.path = "queue/iosched/limit_idle",
        .mode = 0644,
        .show = show_limit_idle,
        .store = store_limit_idle},
};

// The volume's directory below /sys.
static void directory_of(char *path, const struct block_volume *volume)
{
    if (volume->partition == 0)
        (void)fmt_snprintf(path, PATH_BYTES, "devices/virtual/block/%s", volume->name);
    else
        (void)fmt_snprintf(
            path, PATH_BYTES, "devices/virtual/block/%s/%s", volume->device->name, volume->name);
}

static int add_files(
    struct block_file *file, const char *directory, const struct proc_file *files, size_t count)
{
    int error = 0;
    for (size_t i = 0; i < count && error == 0; i++) {
        char path[PATH_BYTES];
        struct proc_file copy = files[i];
        (void)fmt_snprintf(path, sizeof(path), "%s/%s", directory, files[i].path);
        copy.path = path;
        copy.context = file;
        error = sysfs_register(&copy);
    }
    return error;
}

// The links that lead to it: where they are and what they say.
static unsigned links_of(
    const struct block_volume *volume, char names[3][PATH_BYTES], char targets[3][PATH_BYTES])
{
    char directory[PATH_BYTES];
    directory_of(directory, volume);
    (void)fmt_snprintf(names[0], PATH_BYTES, "dev/block/%u:%u", volume->major, volume->minor);
    (void)fmt_snprintf(names[1], PATH_BYTES, "class/block/%s", volume->name);
    (void)fmt_snprintf(names[2], PATH_BYTES, "block/%s", volume->name);
    for (unsigned i = 0; i < 3; i++)
        (void)fmt_snprintf(targets[i], PATH_BYTES, i == 2 ? "../%s" : "../../%s", directory);
    return volume->partition == 0 ? 3 : 2;
}

int block_sysfs_add(struct block_file *file)
{
    const struct block_volume *volume = file->volume;
    char directory[PATH_BYTES];
    directory_of(directory, volume);
    int error = add_files(file, directory, common_files, ARRAY_SIZE(common_files));
    if (error == 0 && volume->partition == 0)
        error = add_files(file, directory, device_files, ARRAY_SIZE(device_files));
    else if (error == 0)
        error = add_files(file, directory, partition_files, ARRAY_SIZE(partition_files));
    char names[3][PATH_BYTES], targets[3][PATH_BYTES];
    const unsigned count = links_of(volume, names, targets);
    for (unsigned i = 0; i < count && error == 0; i++)
        error = sysfs_link(names[i], targets[i]);
    char link[PATH_BYTES];
    (void)fmt_snprintf(link, sizeof(link), "%s/subsystem", directory);
    if (error == 0)
        error = sysfs_link(link,
            volume->partition == 0 ? "../../../../class/block" : "../../../../../class/block");
    if (error != 0)
        block_sysfs_remove(file);
    return error;
}

void block_sysfs_remove(struct block_file *file)
{
    char directory[PATH_BYTES], names[3][PATH_BYTES], targets[3][PATH_BYTES];
    const unsigned count = links_of(file->volume, names, targets);
    for (unsigned i = 0; i < count; i++)
        sysfs_remove(names[i]);
    directory_of(directory, file->volume);
    sysfs_remove(directory);
}
