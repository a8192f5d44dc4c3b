// SPDX-License-Identifier: MIT
//
// Claim: what is written to a disk is what is read from it, at every offset and length, from
// several writers at once, past the page cache and through it. Method: each of four writers has a
// fourth of the disk and remembers in which round each of its sectors was written last; it writes
// and checks at random places, with O_DIRECT from memory that begins anywhere a sector can, and
// buffered; at the end everybody's sectors are checked by somebody else. A sector's content says
// where it belongs, who wrote it, and in which round.
#include "tests/guest/check.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define WRITERS      4
#define SECTOR_BYTES 512
#define LEN_MAX      (256 * 1024)
#define PARTS_MAX    8

static const char *device = "/dev/vda";
static uint32_t *rounds; // by sector: of its last write, 0: never; shared
static uint64_t sectors;
static uint32_t block_bytes;

static uint64_t next(uint64_t *state)
{
    uint64_t value = *state += 0x9e3779b97f4a7c15ul;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ul;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebul;
    return value ^ (value >> 31);
}

static uint64_t word_of(uint64_t sector, uint32_t round, uint32_t i)
{
    uint64_t state = sector << 20 ^ (uint64_t)round << 48 ^ i;
    return round == 0 ? 0 : next(&state);
}

static void fill(char *buffer, uint64_t sector, uint32_t round)
{
    uint64_t *words = (uint64_t *)buffer;
    for (uint32_t i = 0; i < SECTOR_BYTES / 8; i++) {
        words[i] = word_of(sector, round, i);
    }
}

static void verify(const char *buffer, uint64_t sector)
{
    const uint64_t *words = (const uint64_t *)buffer;
    for (uint32_t i = 0; i < SECTOR_BYTES / 8; i++) {
        if (words[i] != word_of(sector, rounds[sector], i)) {
            printf("sector %lu, word %u: round %u is not there\n", sector, i, rounds[sector]);
            fflush(stdout);
            _exit(1);
        }
    }
}

// One read or write of [sector, sector + count): at once, or in pieces from several places.
static void transfer(
    int fd, char *memory, uint64_t sector, uint64_t count, bool write, uint64_t *state)
{
    struct iovec parts[PARTS_MAX];
    int part_count = 0;
    uint64_t unit = block_bytes / SECTOR_BYTES;
    for (uint64_t at = 0; at < count;) {
        uint64_t len = count - at;
        if (part_count < PARTS_MAX - 1 && next(state) % 2 == 0 && len > unit) {
            len = (1 + next(state) % (len / unit)) * unit;
        }
        // Parts lie apart, so that the device gets several segments.
        char *place = memory + at * SECTOR_BYTES + (size_t)part_count * 4 * block_bytes;
        for (uint64_t i = 0; write && i < len; i++) {
            fill(place + i * SECTOR_BYTES, sector + at + i, rounds[sector + at + i]);
        }
        parts[part_count++] =
            (struct iovec){.iov_base = place, .iov_len = (size_t)len * SECTOR_BYTES};
        at += len;
    }
    off_t offset = (off_t)(sector * SECTOR_BYTES);
    ssize_t done =
        write ? pwritev(fd, parts, part_count, offset) : preadv(fd, parts, part_count, offset);
    if (done != (ssize_t)(count * SECTOR_BYTES)) {
        printf("%s of %lu sectors at %lu: %zd, %s\n", write ? "write" : "read", count, sector, done,
            strerror(errno));
        fflush(stdout);
        _exit(1);
    }
    uint64_t at = sector;
    for (int part = 0; !write && part < part_count; part++) {
        for (size_t i = 0; i < parts[part].iov_len; i += SECTOR_BYTES) {
            verify((char *)parts[part].iov_base + i, at++);
        }
    }
}

static void writer(uint32_t number, uint32_t count, uint64_t seed)
{
    uint64_t state = seed + number * 1000;
    int fd = open(device, O_RDWR | O_DIRECT);
    size_t memory_bytes = LEN_MAX + PARTS_MAX * 4 * 4096 + 8192;
    char *memory =
        mmap(NULL, memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t unit = block_bytes / SECTOR_BYTES;
    uint64_t share = sectors / WRITERS / unit * unit;
    uint64_t first = number * share;
    if (fd < 0 || memory == MAP_FAILED) {
        _exit(2);
    }
    for (uint32_t round = 1; round <= count; round++) {
        uint64_t len = (1 + next(&state) % (next(&state) % 4 == 0 ? LEN_MAX / block_bytes : 8));
        uint64_t sector = first + next(&state) % (share / unit - len) * unit;
        char *place = memory + next(&state) % (4096 / block_bytes) * block_bytes;
        bool write = next(&state) % 2 == 0;
        for (uint64_t i = 0; write && i < len * unit; i++) {
            rounds[sector + i] = round;
        }
        transfer(fd, place, sector, len * unit, write, &state);
        if (next(&state) % 64 == 0 && fdatasync(fd) != 0) {
            _exit(3);
        }
    }
    _exit(close(fd) == 0 ? 0 : 4);
}

static int run_writers(uint32_t count, uint64_t seed)
{
    int failed = 0;
    fflush(stdout);
    for (uint32_t i = 0; i < WRITERS; i++) {
        if (fork() == 0) {
            writer(i, count, seed);
        }
    }
    for (uint32_t i = 0; i < WRITERS; i++) {
        int status = -1;
        wait(&status);
        failed += status != 0;
    }
    return failed;
}

static void verify_all(int flags)
{
    uint64_t state = 1;
    int fd = open(device, O_RDONLY | flags);
    char *memory = mmap(NULL, LEN_MAX + PARTS_MAX * 4 * 4096, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(fd);
    CHECK(memory != MAP_FAILED);
    for (uint64_t sector = 0; sector < sectors; sector += LEN_MAX / SECTOR_BYTES) {
        uint64_t count = sectors - sector;
        count = count < LEN_MAX / SECTOR_BYTES ? count : LEN_MAX / SECTOR_BYTES;
        transfer(fd, memory, sector, count, false, &state);
    }
    munmap(memory, LEN_MAX + PARTS_MAX * 4 * 4096);
    close(fd);
}

// What is no request of the device's: refused, and nothing happens.
static void edges(int fd, uint64_t size_bytes)
{
    _Alignas(4096) static char buffer[8192];
    CHECK(pread(fd, buffer, block_bytes, (off_t)size_bytes) == 0);
    CHECK(pread(fd, buffer, 2 * block_bytes, (off_t)(size_bytes - block_bytes)) == block_bytes);
    ERR(ENOSPC, pwrite(fd, buffer, block_bytes, (off_t)size_bytes));
    ERR(EINVAL, pread(fd, buffer, block_bytes / 2, 0));
    ERR(EINVAL, pread(fd, buffer, block_bytes, 1));
}

int main(int argc, char **argv)
{
    uint32_t count = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 500;
    uint64_t size_bytes = 0, seed = (uint64_t)time(NULL);
    if (access(device, F_OK) != 0) {
        device = "/dev/nvme0n1";
    }
    int fd = (int)MUST(open(device, O_RDWR | O_DIRECT));
    MUST(ioctl(fd, BLKGETSIZE64, &size_bytes));
    MUST(ioctl(fd, BLKSSZGET, &block_bytes));
    sectors = size_bytes / SECTOR_BYTES;
    rounds = mmap(
        NULL, sectors * sizeof(*rounds), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(rounds != MAP_FAILED);
    edges(fd, size_bytes);
    int failed = run_writers(count, seed);
    if (failed != 0) {
        printf("seed %lu\n", seed);
    }
    CHECK_EQ(failed, 0);
    OK(fsync(fd));
    verify_all(O_DIRECT);
    verify_all(0);
    close(fd);
    return check_done();
}
