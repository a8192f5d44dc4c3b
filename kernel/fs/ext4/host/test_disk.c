// SPDX-License-Identifier: MIT
// See test_disk.h.
#include "kernel/fs/ext4/host/test_disk.h"
#include "kernel/base/assert.h"
#include "kernel/core/errno.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int disk_read(void *context, uint64_t block, uint32_t block_bytes, void *data)
{
    const struct test_disk *disk = context;
    if ((block + 1) * block_bytes > disk->device.size_bytes)
        return -EIO;
    memcpy(data, disk->bytes + block * block_bytes, block_bytes);
    return 0;
}

static void remember(struct test_disk *disk, uint64_t offset, uint32_t bytes)
{
    if (disk->pending_count == disk->pending_room) {
        disk->pending_room = 2 * disk->pending_room + 64;
        disk->pending = realloc(disk->pending, disk->pending_room * sizeof(*disk->pending));
        assert(disk->pending != NULL);
    }
    struct test_pending *pending = &disk->pending[disk->pending_count++];
    *pending = (struct test_pending){.offset = offset, .bytes = bytes, .before = malloc(bytes)};
    assert(pending->before != NULL);
    memcpy(pending->before, disk->bytes + offset, bytes);
}

static int disk_write(
    void *context, const struct ext4_write *writes, size_t count, uint32_t block_bytes, bool fua)
{
    struct test_disk *disk = context;
    for (size_t i = 0; i < count; i++) {
        const uint64_t offset = writes[i].block * block_bytes;
        if (offset + block_bytes > disk->device.size_bytes || disk->writes_left == 0)
            return -EIO;
        disk->writes_left--;
        disk->writes++;
        if (!fua)
            remember(disk, offset, block_bytes);
        memcpy(disk->bytes + offset, writes[i].data, block_bytes);
    }
    return 0;
}

static void forget_pending(struct test_disk *disk)
{
    for (size_t i = 0; i < disk->pending_count; i++)
        free(disk->pending[i].before);
    disk->pending_count = 0;
}

static int disk_flush(void *context)
{
    struct test_disk *disk = context;
    if (disk->writes_left == 0)
        return -EIO;
    disk->flushes++;
    forget_pending(disk);
    return 0;
}

static void *disk_memory_alloc(void *context, uint32_t block_bytes)
{
    (void)context;
    return base_alloc(block_bytes);
}

static void disk_memory_free(void *context, void *memory, uint32_t block_bytes)
{
    (void)context;
    (void)block_bytes;
    base_free(memory);
}

static int64_t disk_now(void *context)
{
    struct test_disk *disk = context;
    disk->now_ns += 1000001;
    return disk->now_ns;
}

static const struct ext4_device_ops disk_ops = {
    .read = disk_read,
    .write = disk_write,
    .flush = disk_flush,
    .memory_alloc = disk_memory_alloc,
    .memory_free = disk_memory_free,
    .now_ns = disk_now,
};

void test_disk_create(struct test_disk *disk, uint64_t bytes)
{
    *disk = (struct test_disk){.writes_left = UINT64_MAX, .now_ns = INT64_C(1700000000000000000)};
    disk->bytes = calloc(1, bytes);
    assert(disk->bytes != NULL);
    disk->device = (struct ext4_device){
        .ops = &disk_ops, .context = disk, .size_bytes = bytes, .name = "test"};
}

void test_disk_destroy(struct test_disk *disk)
{
    forget_pending(disk);
    free(disk->pending);
    free(disk->bytes);
}

static void image_name(char *name, size_t size)
{
    snprintf(name, size, "/tmp/lodger-ext4-%d.img", (int)getpid());
}

static void save(struct test_disk *disk, const char *name)
{
    FILE *file = fopen(name, "wb");
    assert(file != NULL);
    const size_t done = fwrite(disk->bytes, 1, disk->device.size_bytes, file);
    assert(done == disk->device.size_bytes);
    fclose(file);
}

static void load(struct test_disk *disk, const char *name)
{
    FILE *file = fopen(name, "rb");
    assert(file != NULL);
    const size_t done = fread(disk->bytes, 1, disk->device.size_bytes, file);
    assert(done == disk->device.size_bytes);
    fclose(file);
}

void test_disk_format(struct test_disk *disk, const char *options)
{
    char name[64], command[512];
    image_name(name, sizeof(name));
    save(disk, name);
    snprintf(command, sizeof(command), "mke2fs -q -F %s %s 2>&1", options, name);
    const int result = system(command);
    assert(result == 0);
    load(disk, name);
    unlink(name);
}

void test_disk_lose_power(struct test_disk *disk, struct prng *random)
{
    // From the last one back, so that overlapping writes come out as one order of them.
    for (size_t i = disk->pending_count; i-- != 0;) {
        const struct test_pending *pending = &disk->pending[i];
        if (prng_u64(random) & 1)
            memcpy(disk->bytes + pending->offset, pending->before, pending->bytes);
    }
    forget_pending(disk);
}

int test_disk_check(struct test_disk *disk, bool replay)
{
    char name[64], command[768];
    image_name(name, sizeof(name));
    save(disk, name);
    snprintf(command, sizeof(command),
        "%s%s%s e2fsck -fn %s >%s.log 2>&1; code=$?; [ $code = 0 ] || cat %s.log; rm -f %s.log; "
        "exit $code",
        replay ? "e2fsck -y -E journal_only " : "", replay ? name : "",
        replay ? " >/dev/null 2>&1;" : "", name, name, name, name);
    const int result = system(command);
    unlink(name);
    return result == -1 ? -1 : result >> 8;
}
