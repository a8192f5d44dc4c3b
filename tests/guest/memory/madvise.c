// SPDX-License-Identifier: MIT
//
// Claim: madvise, msync, mlock, mlockall and mincore do what they say and check their ranges.
// Method: contents after MADV_DONTNEED and MADV_FREE, residency by mincore, VmLck in /proc.
#include "tests/guest/check.h"

enum { PAGE = 4096 };

static char *area;

static long locked_kb(void)
{
    const char *line = strstr(get_file("/proc/self/status"), "VmLck:");
    return line != NULL ? strtol(line + 6, NULL, 10) : -1;
}

static int resident(char *from, int pages)
{
    unsigned char vector[64];
    int count = 0;
    MUST(mincore(from, (size_t)pages * PAGE, vector));
    for (int i = 0; i < pages; i++) {
        count += vector[i] & 1;
    }
    return count;
}

static void advice(void)
{
    memset(area, 7, 16 * PAGE);
    OK(madvise(area + 2 * PAGE, 3 * PAGE, MADV_DONTNEED));
    CHECK(area[PAGE] == 7 && area[2 * PAGE] == 0 && area[4 * PAGE] == 0 && area[5 * PAGE] == 7);
    OK(madvise(area, PAGE, MADV_NORMAL));
    OK(madvise(area, PAGE, MADV_RANDOM));
    OK(madvise(area, PAGE, MADV_SEQUENTIAL));
    OK(madvise(area, PAGE, MADV_WILLNEED));
    OK(madvise(area + 8 * PAGE, PAGE, MADV_FREE));
    CHECK(area[8 * PAGE] == 7 || area[8 * PAGE] == 0);
    area[8 * PAGE] = 9; // written after: kept
    CHECK_EQ(area[8 * PAGE], 9);
    OK(madvise(area, 0, MADV_NORMAL));
    ERR(EINVAL, madvise(area + 1, PAGE, MADV_NORMAL));
    ERR(EINVAL, madvise(area, PAGE, 1234));
    char *hole = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(hole, 5, 4 * PAGE);
    munmap(hole + PAGE, PAGE);
    ERR(ENOMEM, madvise(hole, 4 * PAGE, MADV_DONTNEED));
    CHECK(hole[0] == 0 && hole[3 * PAGE] == 0); // applied around the hole
    // Of a private file mapping the file's contents come back, of a shared one nothing is lost.
    int file = (int)MUST(open("file", O_RDWR | O_CREAT, 0600));
    MUST(write(file, "contents", 8));
    char *private = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    char *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    private[0] = 'X';
    shared[1] = 'Y';
    OK(madvise(private, PAGE, MADV_DONTNEED));
    OK(madvise(shared, PAGE, MADV_DONTNEED));
    CHECK(private[0] == 'c' && private[1] == 'Y' && shared[1] == 'Y');
    // MADV_DONTFORK and MADV_WIPEONFORK.
    memset(area, 7, 16 * PAGE);
    OK(madvise(area + 10 * PAGE, PAGE, MADV_WIPEONFORK));
    OK(madvise(area + 12 * PAGE, PAGE, MADV_DONTFORK));
    pid_t child = fork();
    if (child == 0) {
        unsigned char vector[1];
        _exit(area[10 * PAGE] == 0 && area[11 * PAGE] == 7 &&
                      mincore(area + 12 * PAGE, PAGE, vector) < 0 && errno == ENOMEM
                  ? 0
                  : 1);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
    CHECK_EQ(area[10 * PAGE], 7);
    OK(madvise(area + 12 * PAGE, PAGE, MADV_DOFORK));
    // MADV_REMOVE punches a hole into a shared file.
    MUST(ftruncate(file, 2 * PAGE));
    shared = mremap(shared, PAGE, 2 * PAGE, MREMAP_MAYMOVE);
    shared[PAGE] = 'z';
    OK(madvise(shared, PAGE, MADV_REMOVE));
    CHECK(shared[0] == 0 && shared[PAGE] == 'z');
}

static void residency(void)
{
    unsigned char vector[4];
    char *fresh = mmap(NULL, 32 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise(fresh, 32 * PAGE, MADV_NOHUGEPAGE);
    CHECK_EQ(resident(fresh, 32), 0);
    fresh[0] = fresh[5 * PAGE] = fresh[31 * PAGE] = 1;
    CHECK_EQ(resident(fresh, 32), 3);
    OK(madvise(fresh, 16 * PAGE, MADV_DONTNEED));
    CHECK_EQ(resident(fresh, 32), 1);
    OK(madvise(fresh, 32 * PAGE, 23 /* MADV_POPULATE_WRITE */));
    CHECK_EQ(resident(fresh, 32), 32);
    ERR(EINVAL, mincore(fresh + 1, PAGE, vector));
    ERR(ENOMEM, mincore((void *)0x10000, PAGE, vector));
    ERR(EFAULT, mincore(fresh, PAGE, (void *)8));
}

static void locking(void)
{
    char *fresh = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    OK(mlock(fresh, 8 * PAGE));
    CHECK_EQ(resident(fresh, 16), 8); // faulted in
    CHECK_EQ(locked_kb(), 32);
    OK(mlock(fresh + 4 * PAGE, 8 * PAGE));
    CHECK_EQ(locked_kb(), 48);
    ERR(EINVAL, madvise(fresh, PAGE, MADV_DONTNEED));
    OK(munlock(fresh + 2 * PAGE, 2 * PAGE));
    CHECK_EQ(locked_kb(), 40);
    pid_t child = fork(); // locks are not inherited
    if (child == 0) {
        _exit(locked_kb() == 0 ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
    OK(munmap(fresh, 16 * PAGE));
    CHECK_EQ(locked_kb(), 0);
    ERR(ENOMEM, mlock((void *)0x10000, PAGE));
    OK(mlock(NULL, 0));
    OK(mlockall(MCL_FUTURE));
    fresh = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK_EQ(resident(fresh, 4), 4);
    CHECK_EQ(locked_kb(), 16);
    OK(munlockall());
    CHECK_EQ(locked_kb(), 0);
    ERR(EINVAL, mlockall(0));
    ERR(EINVAL, mlockall(0x100));
    OK(syscall(SYS_mlock2, fresh, PAGE, 1 /* MLOCK_ONFAULT */));
    ERR(EINVAL, syscall(SYS_mlock2, fresh, PAGE, 8));
}

static void synchronising(void)
{
    int file = (int)MUST(open("synced", O_RDWR | O_CREAT, 0600));
    MUST(ftruncate(file, 2 * PAGE));
    char *shared = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    shared[0] = 's';
    OK(msync(shared, 2 * PAGE, MS_SYNC));
    OK(msync(shared, 2 * PAGE, MS_ASYNC));
    OK(msync(shared, 2 * PAGE, MS_SYNC | MS_INVALIDATE));
    OK(msync(area, PAGE, MS_SYNC)); // not shared: nothing to do
    OK(msync(shared, 0, MS_SYNC));
    ERR(EINVAL, msync(shared + 1, PAGE, MS_SYNC));
    ERR(EINVAL, msync(shared, PAGE, MS_SYNC | MS_ASYNC));
    ERR(EINVAL, msync(shared, PAGE, 0x100));
    ERR(ENOMEM, msync((void *)0x10000, PAGE, MS_SYNC));
    OK(mlock(shared, PAGE));
    ERR(EBUSY, msync(shared, PAGE, MS_INVALIDATE));
    OK(fsync(file));
    OK(fdatasync(file));
    char byte = 0;
    MUST(pread(file, &byte, 1, 0));
    CHECK_EQ(byte, 's');
}

int main(void)
{
    scratch();
    area = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    advice();
    residency();
    locking();
    synchronising();
    return check_done();
}
