// SPDX-License-Identifier: MIT
//
// Claim: a block special file reads back what was written, buffered, mapped and with O_DIRECT, at
// every mixture of them; its ioctls, its end, its partitions and /sys/block are as on Linux.
//
// Method: patterns that tell their place, random offsets and sizes with a fixed seed against a copy
// in memory, a partition table written by hand.
#include "tests/guest/block/device.h"
#include <linux/falloc.h>
#include <sys/uio.h>

#define AREA (4u << 20)

static void check_ioctls(int fd)
{
    uint64_t bytes = 0;
    unsigned long sectors = 0;
    int logical = 0, physical = 0, read_only = -1;
    CHECK(ioctl(fd, BLKGETSIZE64, &bytes) == 0);
    CHECK(ioctl(fd, BLKGETSIZE, &sectors) == 0);
    CHECK(bytes == sectors * 512ull);
    CHECK((uint64_t)lseek(fd, 0, SEEK_END) == bytes);
    CHECK(ioctl(fd, BLKSSZGET, &logical) == 0);
    CHECK(logical == 512);
    CHECK(ioctl(fd, BLKPBSZGET, &physical) == 0);
    CHECK(physical >= logical);
    CHECK(ioctl(fd, BLKROGET, &read_only) == 0);
    CHECK(read_only == 0);
    CHECK(ioctl(fd, BLKFLSBUF, 0) == 0);
    CHECK_ERRNO(ioctl(fd, 0x12ff, 0), ENOTTY);
    struct stat st;
    CHECK(fstat(fd, &st) == 0);
    CHECK(S_ISBLK(st.st_mode));
    CHECK(st.st_size == 0);
    char byte = 0;
    CHECK(pread(fd, &byte, 1, (off_t)bytes) == 0);
    CHECK_ERRNO(pwrite(fd, &byte, 1, (off_t)bytes), ENOSPC);
    CHECK(pwrite(fd, &byte, 1, (off_t)bytes - 1) == 1);
    CHECK_ERRNO(lseek(fd, (off_t)bytes + 1, SEEK_SET), EINVAL);
}

static void check_patterns(const char *name)
{
    char *memory = aligned(AREA), *back = aligned(AREA);
    pattern(memory, AREA, 0, 1);
    int fd = open(name, O_RDWR | O_CLOEXEC);
    int direct = open(name, O_RDWR | O_DIRECT | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK(direct >= 0);
    CHECK(pwrite(fd, memory, AREA, 0) == AREA);
    CHECK(pread(direct, back, AREA, 0) == AREA); // what is dirty is written first
    CHECK(pattern_is(back, AREA, 0, 1));
    pattern(memory, AREA, 0, 2);
    CHECK(pwrite(direct, memory, AREA, 0) == AREA);
    CHECK(pread(fd, back, AREA, 0) == AREA); // the cache does not have the old
    CHECK(pattern_is(back, AREA, 0, 2));
    char *map = mmap(NULL, AREA, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(map != MAP_FAILED);
    CHECK(pattern_is(map, AREA, 0, 2));
    pattern(map + 8192, 4096, 8192, 3);
    CHECK(msync(map, AREA, MS_SYNC) == 0);
    CHECK(munmap(map, AREA) == 0);
    CHECK(fsync(fd) == 0);
    CHECK(pread(direct, back, 4096, 8192) == 4096);
    CHECK(pattern_is(back, 4096, 8192, 3));
    // Alignment of O_DIRECT.
    CHECK_ERRNO(pread(direct, back, 100, 0), EINVAL);
    CHECK_ERRNO(pread(direct, back, 4096, 100), EINVAL);
    CHECK_ERRNO(pread(direct, back + 1, 4096, 0), EINVAL);
    struct iovec vector[3] = {{back, 512}, {back + 4096, 1024}, {back + 8192, 4096 * 3}};
    CHECK(preadv(direct, vector, 3, 512) == 512 + 1024 + 4096 * 3);
    CHECK(pattern_is(back, 512, 512, 2));
    CHECK(pattern_is(back + 4096, 1024, 1024, 2));
    CHECK(pattern_is(back + 8192, 4096, 2048, 2));
    CHECK(syscall(SYS_preadv2, direct, vector, 3L, 512L, 0L, RWF_HIPRI) == 512 + 1024 + 4096 * 3);
    CHECK_ERRNO(syscall(SYS_preadv2, direct, vector, 3L, 512L, 0L, 0x8000), EOPNOTSUPP);
    CHECK_ERRNO(pread(direct, (void *)8192, 4096, 0), EFAULT);
    close(fd);
    close(direct);
    free(memory);
    free(back);
}

static uint64_t state = 88172645463325252ull;
static uint64_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static void check_random(const char *name)
{
    char *model = aligned(AREA), *buffer = aligned(AREA);
    int fds[2] = {open(name, O_RDWR | O_CLOEXEC), open(name, O_RDWR | O_DIRECT | O_CLOEXEC)};
    CHECK(pread(fds[0], model, AREA, 0) == AREA);
    unsigned wrong = 0, failed = 0;
    for (unsigned i = 0; i < 600; i++) {
        const bool direct = next_random() % 2, write = next_random() % 2;
        const size_t unit = direct ? 512 : 1;
        size_t offset = next_random() % AREA, len = 1 + next_random() % 70000;
        offset -= offset % unit;
        len = (len + unit - 1) / unit * unit;
        if (len > AREA - offset)
            len = AREA - offset;
        char *at = buffer + (direct ? next_random() % 8 * 512 : next_random() % 4096);
        if (len + 4096 > AREA || len == 0)
            continue;
        if (write) {
            for (size_t j = 0; j < len; j++)
                at[j] = (char)next_random();
            failed += pwrite(fds[direct], at, len, (off_t)offset) != (ssize_t)len;
            memcpy(model + offset, at, len);
        } else {
            failed += pread(fds[direct], at, len, (off_t)offset) != (ssize_t)len;
            wrong += memcmp(model + offset, at, len) != 0;
        }
    }
    CHECK(failed == 0);
    CHECK(wrong == 0);
    close(fds[0]);
    close(fds[1]);
    int again = open(name, O_RDONLY | O_CLOEXEC);
    CHECK(pread(again, buffer, AREA, 0) == AREA);
    CHECK(memcmp(buffer, model, AREA) == 0);
    close(again);
    free(model);
    free(buffer);
}

static void check_clearing(const char *name)
{
    char *buffer = aligned(65536);
    int fd = open(name, O_RDWR | O_CLOEXEC);
    uint64_t range[2] = {65536, 65536};
    pattern(buffer, 65536, 0, 9);
    CHECK(pwrite(fd, buffer, 65536, 65536) == 65536);
    CHECK(ioctl(fd, BLKZEROOUT, range) == 0);
    CHECK(pread(fd, buffer, 65536, 65536) == 65536);
    bool zero = true;
    for (size_t i = 0; i < 65536; i++)
        zero = zero && buffer[i] == 0;
    CHECK(zero);
    range[0] = 100;
    CHECK_ERRNO(ioctl(fd, BLKZEROOUT, range), EINVAL);
    CHECK(fallocate(fd, FALLOC_FL_ZERO_RANGE, 65536, 4096) == 0);
    CHECK_ERRNO(fallocate(fd, 0, 0, 4096), EOPNOTSUPP);
    close(fd);
    int only_reading = open(name, O_RDONLY | O_CLOEXEC);
    range[0] = 65536;
    CHECK_ERRNO(ioctl(only_reading, BLKZEROOUT, range), EBADF);
    CHECK_ERRNO(pwrite(only_reading, buffer, 512, 0), EBADF);
    close(only_reading);
    free(buffer);
}

static void put_partition(unsigned char *entry, unsigned type, uint32_t start, uint32_t count)
{
    memset(entry, 0, 16);
    entry[4] = (unsigned char)type;
    memcpy(entry + 8, &start, 4);
    memcpy(entry + 12, &count, 4);
}

static long read_number(const char *directory, const char *file)
{
    char path[256], text[64] = "";
    snprintf(path, sizeof(path), "%s/%s", directory, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
        snprintf(text, sizeof(text), "-1");
    if (fd >= 0)
        close(fd);
    return atol(text);
}

static void check_partitions(const char *name)
{
    unsigned char *sector = aligned(4096);
    int fd = open(name, O_RDWR | O_CLOEXEC);
    memset(sector, 0, 4096);
    put_partition(sector + 446, 0x83, 2048, 4096);
    put_partition(sector + 462, 0x82, 8192, 1000);
    sector[510] = 0x55;
    sector[511] = 0xaa;
    CHECK(pwrite(fd, sector, 512, 0) == 512);
    CHECK(fsync(fd) == 0);
    CHECK(ioctl(fd, BLKRRPART, 0) == 0);
    char first[64], second[64], sys[128];
    snprintf(first, sizeof(first), "%s1", name);
    snprintf(second, sizeof(second), "%s2", name);
    if (strstr(name, "ram") != NULL) {
        snprintf(first, sizeof(first), "%sp1", name);
        snprintf(second, sizeof(second), "%sp2", name);
    }
    int part = open(second, O_RDWR | O_CLOEXEC);
    CHECK(part >= 0);
    uint64_t bytes = 0;
    CHECK(ioctl(part, BLKGETSIZE64, &bytes) == 0);
    CHECK(bytes == 1000 * 512);
    CHECK_ERRNO(ioctl(fd, BLKRRPART, 0), EBUSY); // a partition is open
    char *buffer = aligned(4096);
    pattern(buffer, 4096, 0, 5);
    CHECK(pwrite(part, buffer, 4096, 0) == 4096);
    CHECK(fsync(part) == 0);
    close(part);
    CHECK(ioctl(fd, BLKFLSBUF, 0) == 0);
    memset(buffer, 0, 4096);
    CHECK(pread(fd, buffer, 4096, 8192 * 512) == 4096);
    CHECK(pattern_is(buffer, 4096, 0, 5));
    snprintf(sys, sizeof(sys), "/sys/class/block/%s", first + 5);
    CHECK(read_number(sys, "start") == 2048);
    CHECK(read_number(sys, "size") == 4096);
    CHECK(read_number(sys, "partition") == 1);
    snprintf(sys, sizeof(sys), "/sys/block/%s", name + 5);
    CHECK(read_number(sys, "ro") == 0);
    CHECK(read_number(sys, "queue/logical_block_size") == 512);
    memset(sector, 0, 512);
    CHECK(pwrite(fd, sector, 512, 0) == 512);
    CHECK(ioctl(fd, BLKRRPART, 0) == 0);
    CHECK_ERRNO(open(first, O_RDONLY), ENOENT);
    close(fd);
    free(sector);
    free(buffer);
}

int main(void)
{
    const char *name = disk_name();
    if (name == NULL)
        return 77;
    int fd = open(name, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    check_ioctls(fd);
    close(fd);
    check_patterns(name);
    check_random(name);
    check_clearing(name);
    check_partitions(name);
    return check_done();
}
