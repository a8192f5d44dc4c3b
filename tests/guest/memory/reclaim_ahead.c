// SPDX-License-Identifier: MIT
//
// Claim: while a file larger than memory is read, page cache that nobody uses is dropped ahead of
// need, by the kernel's own thread; programs that want memory find some.
// Method: a disk twice as large as memory is read through the page cache; /proc/vmstat says who
// dropped how much.
#include "tests/guest/check.h"

#define MIB (1 << 20)

static long vmstat(const char *name)
{
    char key[64];
    snprintf(key, sizeof(key), "\n%s ", name);
    static char text[32768];
    int file = (int)MUST(open("/proc/vmstat", O_RDONLY | O_CLOEXEC));
    size_t len = 0;
    ssize_t got;
    while ((got = read(file, text + len, sizeof(text) - 1 - len)) > 0)
        len += (size_t)got;
    close(file);
    text[len] = 0;
    const char *line = strstr(text, key);
    return line != NULL ? strtol(line + strlen(key), NULL, 10) : -1;
}

int main(void)
{
    static char piece[MIB];
    CHECK(vmstat("pgsteal_kswapd") >= 0);
    CHECK(vmstat("pgsteal_direct") >= 0);
    const long ahead = vmstat("pgsteal_kswapd"), direct = vmstat("pgsteal_direct");
    int disk = (int)MUST(open("/dev/vda", O_RDONLY | O_CLOEXEC));
    long long bytes = 0;
    ssize_t got;
    while ((got = read(disk, piece, sizeof(piece))) > 0)
        bytes += got;
    CHECK_EQ(got, 0);
    CHECK_EQ(bytes / MIB, 512);
    const long dropped_ahead = vmstat("pgsteal_kswapd") - ahead;
    const long dropped_direct = vmstat("pgsteal_direct") - direct;
    // More than 256 MiB cannot have stayed.
    CHECK(dropped_ahead + dropped_direct >= 256 * MIB / 4096);
    CHECK(dropped_ahead >= dropped_direct);
    // There is memory at once.
    const size_t wanted = 8 * MIB;
    char *memory = mmap(
        NULL, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    CHECK(memory != MAP_FAILED);
    memset(memory, 1, wanted);
    close(disk);
    return check_done();
}
