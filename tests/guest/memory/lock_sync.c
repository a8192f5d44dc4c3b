// SPDX-License-Identifier: MIT
//
// Claim: mlock, mlock2, mlockall, munlock(all), mincore, msync and MAP_LOCKED check their ranges
// and limits, and what they lock is in memory.
// Method: error codes, /proc/self/status, mincore vectors.
#include "tests/guest/check.h"
#include <sys/resource.h>

enum { PAGE = 4096 };

static long locked_kilobytes(void)
{
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    long kilobytes = -1;
    while (status != NULL && fgets(line, sizeof(line), status) != NULL) {
        (void)sscanf(line, "VmLck: %ld", &kilobytes);
    }
    fclose(status);
    return kilobytes;
}

static char *anonymous(size_t pages)
{
    char *all = mmap(NULL, (pages + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return mmap(all + PAGE, pages * PAGE, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static void show_core(const char *what, char *area, size_t pages)
{
    unsigned char vector[64];
    char text[65] = "";
    if (mincore(area, pages * PAGE, vector) != 0) {
        note("  %s: %s", what, errno_name(errno));
        return;
    }
    for (size_t i = 0; i < pages; i++) {
        text[i] = vector[i] & 1 ? 'x' : '.';
    }
    note("  %s: %s", what, text);
}

static void in_core(void)
{
    char *area = anonymous(8);
    show_core("untouched", area, 8);
    area[PAGE] = area[5 * PAGE] = 1;
    show_core("two touched", area, 8);
    unsigned char vector[8];
    ERR(EINVAL, mincore(area + 1, PAGE, vector));
    ERR(ENOMEM, mincore((void *)0x10000, PAGE, vector));
    ERR(EFAULT, mincore(area, PAGE, (unsigned char *)16));
    OK(mincore(area, 0, vector));
    munmap(area + 3 * PAGE, PAGE);
    show_core("with a hole", area, 8);
    int file = (int)OK(open("core", O_RDWR | O_CREAT, 0600));
    CHECK(pwrite(file, "x", 1, 2 * PAGE) == 1);
    char *map = mmap(NULL, 3 * PAGE, PROT_READ, MAP_SHARED, file, 0);
    show_core("file with holes", map, 3);
}

static void locking(void)
{
    char *area = anonymous(16);
    CHECK_EQ(locked_kilobytes(), 0);
    OK(mlock(area + 2 * PAGE, 3 * PAGE));
    show_core("locked", area, 16);
    CHECK_EQ(locked_kilobytes(), 12);
    OK(mlock(area + 2 * PAGE + 5, PAGE)); // not aligned: both pages that it touches
    CHECK_EQ(locked_kilobytes(), 12);
    ERR(EINVAL, madvise(area + 3 * PAGE, PAGE, MADV_DONTNEED));
    ERR(EBUSY, msync(area + 2 * PAGE, PAGE, MS_SYNC | MS_INVALIDATE));
    OK(munlock(area + 3 * PAGE, PAGE));
    CHECK_EQ(locked_kilobytes(), 8);
    OK(syscall(SYS_mlock2, area + 8 * PAGE, 2 * PAGE, 1 /* MLOCK_ONFAULT */));
    show_core("locked on fault", area, 16);
    CHECK_EQ(locked_kilobytes(), 16);
    ERR(EINVAL, syscall(SYS_mlock2, area, PAGE, 2));
    ERR(ENOMEM, mlock((void *)0x10000, PAGE));
    ERR(EINVAL, mlock(area, (size_t)-PAGE));
    OK(mlock(area, 0));
    char *locked = mmap(
        NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
    show_core("MAP_LOCKED", locked, 4);
    CHECK_EQ(locked_kilobytes(), 32);
    munmap(locked, 4 * PAGE);
    CHECK_EQ(locked_kilobytes(), 16);
    ERR(EINVAL, mlockall(0));
    ERR(EINVAL, mlockall(8));
    ERR(EINVAL, mlockall(4));
    OK(mlockall(MCL_FUTURE));
    char *future = anonymous(3);
    show_core("after MCL_FUTURE", future, 3);
    OK(munlockall());
    CHECK_EQ(locked_kilobytes(), 0);
    char *later = anonymous(3);
    show_core("after munlockall", later, 3);
}

static void limits(void)
{
    char *area = anonymous(16);
    struct rlimit limit = {4 * PAGE, 4 * PAGE};
    MUST(setrlimit(RLIMIT_MEMLOCK, &limit));
    OK(mlock(area, 16 * PAGE)); // root may
    OK(munlockall());
    MUST(setuid(1000));
    ERR(ENOMEM, mlock(area, 16 * PAGE));
    OK(mlock(area, 4 * PAGE));
    ERR(ENOMEM, mlock(area + 8 * PAGE, PAGE));
    ERR(EAGAIN,
        (intptr_t)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0));
    ERR(ENOMEM, mlockall(MCL_CURRENT));
    OK(munlockall());
    limit.rlim_cur = limit.rlim_max = 0;
    MUST(setrlimit(RLIMIT_MEMLOCK, &limit));
    ERR(EPERM, mlock(area, PAGE));
    ERR(EPERM, mlockall(MCL_CURRENT));
    _exit(check_failures);
}

static void syncing(void)
{
    int file = (int)OK(open("file", O_RDWR | O_CREAT, 0600));
    OK(ftruncate(file, 2 * PAGE));
    char *map = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    map[5] = 'm';
    OK(msync(map, 2 * PAGE, MS_SYNC));
    OK(msync(map, 2 * PAGE, MS_ASYNC));
    OK(msync(map, PAGE, MS_INVALIDATE));
    OK(msync(map, 0, MS_SYNC));
    char byte = 0;
    CHECK(pread(file, &byte, 1, 5) == 1 && byte == 'm');
    ERR(EINVAL, msync(map, PAGE, MS_SYNC | MS_ASYNC));
    ERR(EINVAL, msync(map, PAGE, 8));
    ERR(EINVAL, msync(map + 1, PAGE, MS_SYNC));
    munmap(map + PAGE, PAGE);
    ERR(ENOMEM, msync((void *)0x10000, PAGE, MS_SYNC));
}

int main(void)
{
    scratch();
    in_core();
    CHILD(locking, "exit 0");
    CHILD(limits, "exit 0");
    syncing();
    return check_done();
}
