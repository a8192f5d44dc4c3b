// SPDX-License-Identifier: MIT
// ioctl(2) and fallocate(2) of block special files.
#include "kernel/block/file/internal.h"
#include "kernel/core/errno.h"
#include "kernel/core/user.h"
#include "kernel/process/credentials.h"
#include <linux/blkpg.h>
#include <linux/capability.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/hdreg.h>

#define GEOMETRY_HEADS   255 // what a program gets that still asks for cylinders
#define GEOMETRY_SECTORS 63

static int64_t put_int(uintptr_t argument, int32_t value)
{
    return copy_to_user(argument, &value, sizeof(value));
}

static int64_t put_long(uintptr_t argument, uint64_t value)
{
    return copy_to_user(argument, &value, sizeof(value));
}

static int64_t get_geometry(const struct block_volume *volume, uintptr_t argument)
{
    const uint64_t cylinders = block_volume_sectors(volume) / GEOMETRY_HEADS / GEOMETRY_SECTORS;
    const struct hd_geometry geometry = {
        .heads = GEOMETRY_HEADS,
        .sectors = GEOMETRY_SECTORS,
        .cylinders = (uint16_t)MIN(cylinders, (uint64_t)UINT16_MAX),
        .start = volume->start_sector,
    };
    return copy_to_user(argument, &geometry, sizeof(geometry));
}

// Zeroes by the device, or written by us where it can't.
static int write_zeroes(struct block_file *file, uint64_t sector, uint64_t sectors, uint16_t flags)
{
    int error = -EOPNOTSUPP;
    if (file->volume->device->limits.max_write_zeroes_sectors != 0)
        error = block_transfer(file->volume, BLOCK_WRITE_ZEROES, sector, NULL, sectors, flags);
    if (error != -EOPNOTSUPP)
        return error;
    const unsigned order = 4;
    const uint64_t most = (PAGE_SIZE << order) >> BLOCK_SECTOR_SHIFT;
    void *zeroes = page_alloc_kernel(order, PAGE_ALLOC_ZERO);
    if (zeroes == NULL)
        return -ENOMEM;
    for (error = 0; error == 0 && sectors != 0;) {
        const uint64_t piece = MIN(sectors, most);
        error = block_transfer(file->volume, BLOCK_WRITE, sector, zeroes, piece, 0);
        sector += piece;
        sectors -= piece;
    }
    page_free_kernel(zeroes, order);
    return error;
}

// Forgets or zeroes a range that has been checked; what the cache had of it goes.
static int clear_range(struct block_file *file, enum block_operation operation, uint64_t start,
    uint64_t len, uint16_t flags)
{
    const uint64_t sector = start >> BLOCK_SECTOR_SHIFT, sectors = len >> BLOCK_SECTOR_SHIFT;
    if (operation == BLOCK_DISCARD && file->volume->device->limits.max_discard_sectors == 0)
        return -EOPNOTSUPP;
    page_cache_write_wait(&file->cache, start / PAGE_SIZE, (start + len - 1) / PAGE_SIZE);
    (void)page_cache_invalidate(&file->cache, start / PAGE_SIZE, (start + len - 1) / PAGE_SIZE);
    return operation == BLOCK_DISCARD
               ? block_transfer(file->volume, operation, sector, NULL, sectors, 0)
               : write_zeroes(file, sector, sectors, flags);
}

static int range_check(const struct block_file *file, uint64_t start, uint64_t len, uint32_t unit)
{
    const uint64_t size = block_volume_bytes(file->volume);
    if ((start | len) & (unit - 1) || len == 0)
        return -EINVAL;
    return start >= size || len > size - start ? -EINVAL : 0;
}

static int64_t ioctl_range(
    struct file *open_file, uintptr_t argument, enum block_operation operation)
{
    struct block_file *file = block_file_of(open_file);
    uint64_t range[2];
    if (!(open_file->mode & FILE_WRITE))
        return -EBADF;
    if (copy_from_user(range, argument, sizeof(range)) != 0)
        return -EFAULT;
    const uint32_t unit = operation == BLOCK_DISCARD
                              ? BLOCK_SECTOR_BYTES
                              : file->volume->device->limits.logical_block_bytes;
    if (operation == BLOCK_DISCARD && file->volume->device->limits.max_discard_sectors == 0)
        return -EOPNOTSUPP;
    int error = range_check(file, range[0], range[1], unit);
    return error != 0 ? error : clear_range(file, operation, range[0], range[1], 0);
}

int64_t block_file_fallocate(struct file *open_file, int mode, uint64_t offset, uint64_t len)
{
    struct block_file *file = block_file_of(open_file);
    const uint64_t size = block_volume_bytes(file->volume);
    if (offset >= size)
        return -EINVAL;
    if (len > size - offset) {
        if (!(mode & FALLOC_FL_KEEP_SIZE))
            return -EINVAL;
        len = size - offset;
    }
    int error = range_check(file, offset, len, file->volume->device->limits.logical_block_bytes);
    if (error != 0)
        return error;
    switch (mode) {
    case FALLOC_FL_ZERO_RANGE:
    case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
        return clear_range(file, BLOCK_WRITE_ZEROES, offset, len, BLOCK_NO_UNMAP);
    case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
        return clear_range(file, BLOCK_WRITE_ZEROES, offset, len, 0);
    default:
        return -EOPNOTSUPP;
    }
}

static int64_t set_read_only(struct block_file *file, uintptr_t argument)
{
    int32_t value;
    if (!capable(CAP_SYS_ADMIN))
        return -EACCES;
    if (copy_from_user(&value, argument, sizeof(value)) != 0)
        return -EFAULT;
    if (value == 0 && file->volume->device->limits.read_only)
        return -EPERM;
    file->volume->read_only = value != 0;
    return 0;
}

static int64_t flush_buffers(struct block_file *file)
{
    if (!capable(CAP_SYS_ADMIN))
        return -EACCES;
    int error = page_cache_sync(&file->cache);
    (void)page_cache_invalidate(&file->cache, 0, UINT64_MAX);
    return error;
}

static int64_t set_block_size(struct block_file *file, uintptr_t argument)
{
    int32_t value;
    if (!capable(CAP_SYS_ADMIN))
        return -EACCES;
    if (copy_from_user(&value, argument, sizeof(value)) != 0)
        return -EFAULT;
    const uint32_t bytes = (uint32_t)value;
    if (bytes < file->volume->device->limits.logical_block_bytes || bytes > PAGE_SIZE ||
        (bytes & (bytes - 1)) != 0)
        return -EINVAL;
    file->block_bytes = bytes;
    return 0;
}

static int64_t change(struct file *open_file, uint32_t command, uintptr_t argument)
{
    struct block_file *file = block_file_of(open_file);
    struct block_volume *volume = file->volume;
    switch (command) {
    case BLKROSET:
        return set_read_only(file, argument);
    case BLKBSZSET:
        return set_block_size(file, argument);
    case BLKRASET:
    case BLKFRASET:
        if (!capable(CAP_SYS_ADMIN))
            return -EACCES;
        file->read_ahead_pages = (uint32_t)(argument * BLOCK_SECTOR_BYTES / PAGE_SIZE);
        return 0;
    case BLKFLSBUF:
        return flush_buffers(file);
    case BLKRRPART:
        if (volume->partition != 0)
            return -EINVAL;
        if (!capable(CAP_SYS_ADMIN))
            return -EACCES;
        (void)page_cache_sync(&file->cache); // a table that was just written
        return block_device_scan(volume->device);
    case BLKDISCARD:
        return ioctl_range(open_file, argument, BLOCK_DISCARD);
    case BLKZEROOUT:
        return ioctl_range(open_file, argument, BLOCK_WRITE_ZEROES);
    case BLKSECDISCARD:
        return -EOPNOTSUPP;
    default:
        if (volume->device->ops->ioctl == NULL)
            return -ENOTTY;
        return volume->device->ops->ioctl(volume->device, command, argument);
    }
}

int64_t block_file_ioctl(struct file *open_file, uint32_t command, uintptr_t argument)
{
    struct block_file *file = block_file_of(open_file);
    const struct block_volume *volume = file->volume;
    const struct block_limits *limits = &volume->device->limits;
    switch (command) {
    case BLKGETSIZE64:
        return put_long(argument, block_volume_bytes(volume));
    case BLKGETSIZE:
        return put_long(argument, block_volume_sectors(volume));
    case BLKSSZGET:
        return put_int(argument, (int32_t)limits->logical_block_bytes);
    case BLKPBSZGET:
        return put_int(argument, (int32_t)limits->physical_block_bytes);
    case BLKIOMIN:
        return put_int(argument, (int32_t)limits->io_min_bytes);
    case BLKIOOPT:
        return put_int(argument, (int32_t)limits->io_opt_bytes);
    case BLKALIGNOFF:
        return put_int(argument, 0);
    case BLKBSZGET:
        return put_int(argument, (int32_t)file->block_bytes);
    case BLKROGET:
        return put_int(argument, block_volume_is_read_only(volume));
    case BLKRAGET:
    case BLKFRAGET:
        return put_long(argument, file->read_ahead_pages * PAGE_SIZE / BLOCK_SECTOR_BYTES);
    case BLKDISCARDZEROES:
        return put_int(argument, 0);
    case BLKROTATIONAL: {
        const uint16_t rotational = limits->rotational;
        return copy_to_user(argument, &rotational, sizeof(rotational));
    }
    case BLKSECTGET: {
        const uint16_t sectors = (uint16_t)MIN(limits->max_sectors, (uint32_t)UINT16_MAX);
        return copy_to_user(argument, &sectors, sizeof(sectors));
    }
    case HDIO_GETGEO:
        return get_geometry(volume, argument);
    default:
        return change(open_file, command, argument);
    }
}
