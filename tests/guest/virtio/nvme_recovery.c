// SPDX-License-Identifier: MIT
//
// Claim: an NVMe controller that does not answer in time is reset, what it had is given to it
// again, and after several times fails with EIO; programs that use it and other disks go on.
// Method: the first disk takes three times as long for each request as it is given
// (nvme.timeout_ms); the second one is written and read meanwhile, and its content checked.
#include "tests/guest/counters.h"

#include <fcntl.h>
#include <sys/wait.h>

#define BLOCK_BYTES 4096
#define ROUNDS      200

_Alignas(BLOCK_BYTES) static char buffer[BLOCK_BYTES];

static void other_disk(void)
{
    int fd = open("/dev/nvme1n1", O_RDWR | O_DIRECT);
    for (int round = 0; round < ROUNDS; round++) {
        off_t at = (off_t)(round % 64) * BLOCK_BYTES;
        memset(buffer, round, sizeof(buffer));
        if (pwrite(fd, buffer, sizeof(buffer), at) != sizeof(buffer)) {
            _exit(1);
        }
        memset(buffer, 0xff, sizeof(buffer));
        if (pread(fd, buffer, sizeof(buffer), at) != sizeof(buffer) || buffer[0] != (char)round ||
            buffer[BLOCK_BYTES - 1] != (char)round) {
            _exit(2);
        }
    }
    _exit(fsync(fd) == 0 ? 0 : 3);
}

int main(void)
{
    // The partition table was to be read at start-up already.
    unsigned long resets = lodger_counter("nvme.resets");
    CHECK(resets >= 3);
    int slow = (int)MUST(open("/dev/nvme0n1", O_RDWR | O_DIRECT));
    pid_t child = fork();
    if (child == 0) {
        other_disk();
    }
    ERR(EIO, pread(slow, buffer, sizeof(buffer), 0));
    CHECK(lodger_counter("nvme.resets") >= resets + 3);
    int status = -1;
    MUST(waitpid(child, &status, 0));
    CHECK_EQ(status, 0);
    close(slow);
    return check_done();
}
