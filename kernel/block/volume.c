// SPDX-License-Identifier: MIT
// Volumes: a device as a whole and its partitions; reading the partition table.
#include "kernel/base/assert.h"
#include "kernel/base/fmt.h"
#include "kernel/base/string.h"
#include "kernel/base/xarray.h"
#include "kernel/block/internal.h"
#include "kernel/block/partition_table.h"
#include "kernel/core/errno.h"
#include "kernel/core/log.h"
#include "mm/slab.h"

#define EXTENDED_MAJOR 259 // of partitions beyond device->minors

int (*block_volume_added)(struct block_volume *volume);
void (*block_volume_removed)(struct block_volume *volume);
void (*block_volume_resized)(struct block_volume *volume);

static struct mutex numbers_lock = MUTEX_INIT(numbers_lock, "block: numbers");
static struct xarray numbers;  // major << 20 | minor → volume, without reference; numbers_lock
static uint32_t next_extended; // under numbers_lock

static uint64_t number_of(uint32_t major, uint32_t minor)
{
    return (uint64_t)major << 20 | minor;
}

static int take_number(struct block_volume *volume)
{
    const struct block_device *device = volume->device;
    mutex_lock(&numbers_lock);
    volume->major = device->major;
    volume->minor = device->minor + volume->partition;
    if (volume->partition >= device->minors) {
        volume->major = EXTENDED_MAJOR;
        volume->minor = next_extended++;
    }
    int error = xarray_insert(&numbers, number_of(volume->major, volume->minor), volume);
    mutex_unlock(&numbers_lock);
    return error;
}

// Partition 1 of vda is vda1, of nvme0n1 it is nvme0n1p1.
static void set_name(struct block_volume *volume)
{
    const char *name = volume->device->name;
    const char last = name[strlen(name) - 1];
    if (volume->partition == 0)
        (void)fmt_snprintf(volume->name, sizeof(volume->name), "%s", name);
    else
        (void)fmt_snprintf(volume->name, sizeof(volume->name), "%s%s%u", name,
            last >= '0' && last <= '9' ? "p" : "", volume->partition);
}

static void volume_free(struct block_volume *volume)
{
    struct block_device *device = volume->device;
    kfree(volume->statistics);
    kfree(volume);
    block_device_put(device);
}

int block_volume_create(
    struct block_device *device, uint32_t partition, uint64_t start_sector, uint64_t sector_count)
{
    assert(mutex_is_held(&device->lock));
    assert(partition <= BLOCK_PARTITIONS_MAX);
    assert(device->volume[partition] == NULL);
    struct block_volume *volume = kzalloc(sizeof(*volume));
    if (volume == NULL)
        return -ENOMEM;
    volume->device = device;
    volume->partition = partition;
    volume->start_sector = start_sector;
    volume->sector_count = sector_count;
    volume->refcount = 1;
    list_init(&volume->holders);
    block_device_get(device);
    set_name(volume);
    volume->statistics = kzalloc(device->queue_count * sizeof(*volume->statistics));
    int error = volume->statistics != NULL ? take_number(volume) : -ENOMEM;
    if (error != 0) {
        volume_free(volume);
        return error;
    }
    device->volume[partition] = volume;
    return 0;
}

// Tells those who make nodes. The volume stays, whatever they say.
static void announce(struct block_volume *volume)
{
    int error = block_volume_added != NULL ? block_volume_added(volume) : 0;
    if (error != 0)
        log_error("block: %s: no node (error %d)", volume->name, -error);
}

void block_volume_get(struct block_volume *volume)
{
    __atomic_fetch_add(&volume->refcount, 1, __ATOMIC_RELAXED);
}

void block_volume_put(struct block_volume *volume)
{
    if (__atomic_sub_fetch(&volume->refcount, 1, __ATOMIC_ACQ_REL) == 0)
        volume_free(volume);
}

struct block_volume *block_volume_get_by_number(uint32_t major, uint32_t minor)
{
    mutex_lock(&numbers_lock);
    struct block_volume *volume = xarray_load(&numbers, number_of(major, minor));
    if (volume != NULL)
        block_volume_get(volume);
    mutex_unlock(&numbers_lock);
    return volume;
}

// From the first of the volumes on, last first.
void block_volumes_remove(struct block_device *device, uint32_t from_partition)
{
    assert(mutex_is_held(&device->lock));
    for (uint32_t i = BLOCK_PARTITIONS_MAX + 1; i-- > from_partition;) {
        struct block_volume *volume = device->volume[i];
        if (volume == NULL)
            continue;
        if (block_volume_removed != NULL)
            block_volume_removed(volume);
        mutex_lock(&numbers_lock);
        void *erased = xarray_erase(&numbers, number_of(volume->major, volume->minor));
        mutex_unlock(&numbers_lock);
        assert(erased == volume);
        device->volume[i] = NULL;
        block_volume_put(volume);
    }
}

bool block_volume_is_read_only(const struct block_volume *volume)
{
    return volume->device->limits.read_only || volume->read_only;
}

void block_volume_statistics(
    struct block_volume *volume, struct block_statistics *sum, uint64_t *busy_ns)
{
    memset(sum, 0, sizeof(*sum));
    *busy_ns = 0;
    for (uint32_t i = 0; i < volume->device->queue_count; i++) {
        const struct block_statistics *each = &volume->statistics[i];
        for (unsigned operation = 0; operation < BLOCK_OPERATIONS; operation++) {
            sum->requests[operation] += each->requests[operation];
            sum->merges[operation] += each->merges[operation];
            sum->sectors[operation] += each->sectors[operation];
            sum->time_ns[operation] += each->time_ns[operation];
        }
        sum->in_flight += each->in_flight;
        // The busiest queue: at least so long was the device busy.
        *busy_ns = MAX(*busy_ns, volume->device->queues[i].busy_ns);
    }
}

// ---- partition table ----

struct device_reader {
    struct partition_reader reader;
    struct block_volume *volume;
};

static int device_read(struct partition_reader *reader, uint64_t offset, void *to, size_t len_bytes)
{
    struct block_volume *volume = container_of(reader, struct device_reader, reader)->volume;
    return block_transfer(
        volume, BLOCK_READ, offset >> BLOCK_SECTOR_SHIFT, to, len_bytes >> BLOCK_SECTOR_SHIFT, 0);
}

static int read_table(struct block_device *device, struct partition_table *table)
{
    struct device_reader reader = {
        .reader = {.read = device_read,
            .block_bytes = device->limits.logical_block_bytes,
            .sector_count = device->sector_count,
            .buffer = page_alloc_kernel(0, 0)},
        .volume = device->volume[0],
    };
    if (reader.reader.buffer == NULL)
        return -ENOMEM;
    int error = partition_table_read(&reader.reader, table);
    page_free_kernel(reader.reader.buffer, 0);
    return error;
}

static void make_partitions(struct block_device *device, const struct partition_table *table)
{
    for (uint32_t i = 0; i < table->count; i++) {
        const struct partition_entry *entry = &table->entries[i];
        if (entry->number > BLOCK_PARTITIONS_MAX || device->volume[entry->number] != NULL)
            continue;
        int error =
            block_volume_create(device, entry->number, entry->start_sector, entry->sector_count);
        if (error != 0) {
            log_error("block: %s: partition %u: error %d", device->name, entry->number, -error);
            continue;
        }
        struct block_volume *volume = device->volume[entry->number];
        memcpy(volume->uuid, entry->uuid, sizeof(volume->uuid));
        memcpy(volume->label, entry->label, sizeof(volume->label));
        announce(volume);
    }
}

int block_device_scan(struct block_device *device)
{
    struct partition_table *table = kzalloc(sizeof(*table));
    if (table == NULL)
        return -ENOMEM;
    mutex_lock(&device->lock);
    int error = device->volume[0] != NULL ? 0 : -ENODEV;
    for (uint32_t i = 1; i <= BLOCK_PARTITIONS_MAX && error == 0; i++) {
        struct block_volume *volume = device->volume[i];
        if (volume != NULL && __atomic_load_n(&volume->refcount, __ATOMIC_ACQUIRE) != 1)
            error = -EBUSY; // an open file or a mount has it
    }
    if (error == 0 && device->volume[0]->file_data == NULL)
        announce(device->volume[0]);
    if (error == 0 && device->minors != 1)
        error = read_table(device, table);
    if (error == 0) {
        block_volumes_remove(device, 1);
        make_partitions(device, table);
    }
    mutex_unlock(&device->lock);
    kfree(table);
    return error;
}
