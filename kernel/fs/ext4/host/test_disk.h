// SPDX-License-Identifier: MIT
// A disk in memory for tests of the core, which can lose power: writes since the last flush are
// then there or not, each for itself. Images come from mke2fs and are judged by e2fsck.
#pragma once

#include "kernel/base/random.h"
#include "kernel/fs/ext4/core.h"

struct test_pending { // a write that no flush has made durable
    uint64_t offset;
    uint32_t bytes;
    uint8_t *before; // what was there
};

struct test_disk {
    struct ext4_device device;
    uint8_t *bytes;
    struct test_pending *pending;
    size_t pending_count, pending_room;
    uint64_t writes_left; // then every write fails with -EIO
    uint64_t flushes, writes;
    int64_t now_ns;
};

// An empty disk.
void test_disk_create(struct test_disk *disk, uint64_t bytes);
void test_disk_destroy(struct test_disk *disk);
// mke2fs with these options makes a file system on it.
void test_disk_format(struct test_disk *disk, const char *options);
// Each write since the last flush stays or is undone, as `random` says.
void test_disk_lose_power(struct test_disk *disk, struct prng *random);
// What e2fsck -fn says: its exit code; prints its output unless it is 0. replay: a journal with
// content is replayed before, by e2fsck.
int test_disk_check(struct test_disk *disk, bool replay);
