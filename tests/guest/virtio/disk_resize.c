// SPDX-License-Identifier: MIT
//
// Claim: a disk that the host makes larger or smaller while the machine runs has its new size at
// once, for open files, too: what is new can be written, what is gone is refused, and what stays
// keeps its content. Method: the machine's monitor resizes the disk.
#include "tests/guest/monitor.h"

#include <linux/fs.h>
#include <stdint.h>
#include <sys/ioctl.h>

#define MIB        (1024ul * 1024)
#define BLOCK      4096
#define WAIT_TRIES 400

_Alignas(BLOCK) static char buffer[BLOCK];

static void resize(int fd, uint64_t size_bytes)
{
    char command[160];
    uint64_t now = 0;
    snprintf(command, sizeof(command),
        "{\"execute\":\"block_resize\",\"arguments\":{\"device\":\"disk0\",\"size\":%lu}}",
        size_bytes);
    CHECK(monitor_execute(command));
    for (int i = 0; i < WAIT_TRIES && now != size_bytes; i++) {
        usleep(10000);
        if (ioctl(fd, BLKGETSIZE64, &now) != 0) {
            break;
        }
    }
    CHECK_EQ(now, size_bytes);
}

int main(void)
{
    monitor_open();
    int fd = (int)MUST(open("/dev/vda", O_RDWR | O_DIRECT));
    memset(buffer, 'a', sizeof(buffer));
    CHECK(pwrite(fd, buffer, BLOCK, 4 * MIB) == BLOCK);
    ERR(ENOSPC, pwrite(fd, buffer, BLOCK, 16 * MIB));
    resize(fd, 32 * MIB);
    memset(buffer, 'b', sizeof(buffer));
    CHECK(pwrite(fd, buffer, BLOCK, 32 * MIB - BLOCK) == BLOCK);
    memset(buffer, 0, sizeof(buffer));
    CHECK(pread(fd, buffer, BLOCK, 32 * MIB - BLOCK) == BLOCK && buffer[0] == 'b');
    resize(fd, 8 * MIB);
    CHECK(pread(fd, buffer, BLOCK, 8 * MIB) == 0);
    ERR(ENOSPC, pwrite(fd, buffer, BLOCK, 8 * MIB));
    CHECK(pread(fd, buffer, BLOCK, 4 * MIB) == BLOCK && buffer[BLOCK - 1] == 'a');
    close(fd);
    return check_done();
}
