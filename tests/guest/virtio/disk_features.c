// SPDX-License-Identifier: MIT
//
// Claim: what a virtio or NVMe disk can do besides reading and writing is there: serial number,
// block sizes, zeroing, discarding; a disk that can only be read refuses writes; an error of the
// disk reaches the program, as EIO or (NVMe, which says more) ENODATA, and stays its own. Method:
// the first disk (all features), the second (read-only) and the third (whose sector 64 can't be
// read) are looked at one after the other.
#include "tests/guest/check.h"

#include <linux/fs.h>
#include <sys/ioctl.h>

#define SECTOR_BYTES 512u
#define BLOCK_BYTES  4096u
#define BAD_SECTOR   64

static bool is_nvme;

static int open_disk(int index, int flags)
{
    char path[32];
    snprintf(
        path, sizeof(path), is_nvme ? "/dev/nvme%cn1" : "/dev/vd%c", (is_nvme ? '0' : 'a') + index);
    return open(path, flags);
}

_Alignas(4096) static char buffer[64 * 1024];

static bool is_all(const char *bytes, size_t len_bytes, char value)
{
    for (size_t i = 0; i < len_bytes; i++) {
        if (bytes[i] != value) {
            return false;
        }
    }
    return true;
}

static void serial(void)
{
    char text[64] = {0};
    const char *path = is_nvme ? "/sys/block/nvme0n1/serial" : "/sys/block/vda/serial";
    int fd = (int)MUST(open(path, O_RDONLY));
    CHECK(read(fd, text, sizeof(text) - 1) > 0);
    text[strcspn(text, "\n")] = '\0';
    CHECK_STR(text, "lodger-disk");
    close(fd);
}

static void zeroes_and_discard(void)
{
    int fd = (int)MUST(open_disk(0, O_RDWR | O_DIRECT));
    uint32_t block_bytes = 0;
    OK(ioctl(fd, BLKSSZGET, &block_bytes));
    CHECK_EQ(block_bytes, BLOCK_BYTES);
    memset(buffer, 0x5a, sizeof(buffer));
    CHECK(pwrite(fd, buffer, sizeof(buffer), 0) == sizeof(buffer));
    uint64_t range[2] = {2 * BLOCK_BYTES, 4 * BLOCK_BYTES};
    OK(ioctl(fd, BLKZEROOUT, range));
    CHECK(pread(fd, buffer, sizeof(buffer), 0) == sizeof(buffer));
    CHECK(is_all(buffer, 2 * BLOCK_BYTES, 0x5a));
    CHECK(is_all(buffer + 2 * BLOCK_BYTES, 4 * BLOCK_BYTES, 0));
    CHECK(is_all(buffer + 6 * BLOCK_BYTES, sizeof(buffer) - 6 * BLOCK_BYTES, 0x5a));
    uint64_t discard[2] = {8 * BLOCK_BYTES, 4 * BLOCK_BYTES};
    OK(ioctl(fd, BLKDISCARD, discard));
    CHECK(pread(fd, buffer, sizeof(buffer), 0) == sizeof(buffer));
    CHECK(is_all(buffer + 6 * BLOCK_BYTES, 2 * BLOCK_BYTES, 0x5a));
    CHECK(is_all(buffer + 12 * BLOCK_BYTES, 4 * BLOCK_BYTES, 0x5a));
    OK(fsync(fd));
    close(fd);
}

static void read_only(void)
{
    int is_read_only = 0;
    int fd = (int)MUST(open_disk(1, O_RDONLY));
    OK(ioctl(fd, BLKROGET, &is_read_only));
    CHECK_EQ(is_read_only, !is_nvme); // QEMU's NVMe disks do not say so
    CHECK(pread(fd, buffer, BLOCK_BYTES, 0) == BLOCK_BYTES);
    close(fd);
    fd = open_disk(1, O_WRONLY | O_DIRECT);
    CHECK(fd < 0 || pwrite(fd, buffer, BLOCK_BYTES, 0) < 0);
}

static void errors(void)
{
    int fd = (int)MUST(open_disk(2, O_RDWR | O_DIRECT));
    for (int i = 0; i < 3; i++) {
        ERR(is_nvme ? ENODATA : EIO, pread(fd, buffer, SECTOR_BYTES, BAD_SECTOR * SECTOR_BYTES));
        CHECK(pread(fd, buffer, SECTOR_BYTES, (BAD_SECTOR + 1) * SECTOR_BYTES) == SECTOR_BYTES);
        CHECK(pread(fd, buffer, SECTOR_BYTES, (BAD_SECTOR - 1) * SECTOR_BYTES) == SECTOR_BYTES);
    }
    // The disk goes on.
    memset(buffer, 0x33, BLOCK_BYTES);
    CHECK(pwrite(fd, buffer, BLOCK_BYTES, 128 * SECTOR_BYTES) == BLOCK_BYTES);
    CHECK(pread(fd, buffer, BLOCK_BYTES, 128 * SECTOR_BYTES) == BLOCK_BYTES);
    CHECK(is_all(buffer, BLOCK_BYTES, 0x33));
    close(fd);
}

int main(void)
{
    is_nvme = access("/dev/nvme0n1", F_OK) == 0;
    serial();
    zeroes_and_discard();
    read_only();
    errors();
    return check_done();
}
