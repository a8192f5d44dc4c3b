// SPDX-License-Identifier: MIT
//
// Claim: brk grows, shrinks and zeroes the heap, refuses to run into mappings or below its start;
// user pointers that are wild give EFAULT from every kind of call and never kill.
// Method: raw brk; wild pointers into reads, writes, paths, vectors.
#include "tests/guest/check.h"
#include <sys/uio.h>

enum { PAGE = 4096 };

static char *brk_to(char *address)
{
    return (char *)syscall(SYS_brk, address);
}

static void heap(void)
{
    char *start = brk_to(NULL);
    CHECK(start != NULL);
    CHECK(brk_to(start + 3 * PAGE) == start + 3 * PAGE);
    char *aligned = (char *)(((uintptr_t)start + PAGE - 1) & ~(uintptr_t)(PAGE - 1));
    memset(aligned, 5, 2 * PAGE);
    CHECK(brk_to(aligned) == aligned);
    CHECK(brk_to(aligned + 2 * PAGE) == aligned + 2 * PAGE);
    bool zero = true;
    for (int i = 0; i < 2 * PAGE; i++) {
        zero &= aligned[i] == 0;
    }
    CHECK(zero);                                   // given back and fetched anew
    CHECK(brk_to(aligned + 100) == aligned + 100); // any byte
    CHECK(brk_to((char *)1) == aligned + 100);     // below the start: refused
    char *obstacle = mmap(aligned + 100 * PAGE, PAGE, PROT_NONE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    CHECK(obstacle == aligned + 100 * PAGE);
    CHECK(brk_to(aligned + 200 * PAGE) == aligned + 100);
    munmap(obstacle, PAGE);
    CHECK(brk_to(aligned + 200 * PAGE) == aligned + 200 * PAGE);
    CHECK(strstr(get_file("/proc/self/maps"), "[heap]") != NULL);
    CHECK(strstr(get_file("/proc/self/maps"), "[stack]") != NULL);
    brk_to(start);
}

static void wild_pointers(void)
{
    char *read_only = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *two = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *kernel = (void *)0xffff888000000000, *odd = (void *)0x4141414141414141;
    munmap(two + PAGE, PAGE);
    int file = (int)MUST(open("file", O_RDWR | O_CREAT, 0600));
    int zero = (int)MUST(open("/dev/zero", O_RDONLY)), ends[2];
    MUST(pipe(ends));
    MUST(write(file, "0123456789", 10));

    ERR(EFAULT, pread(file, NULL, 5, 0));
    ERR(EFAULT, pread(file, read_only, 5, 0));
    ERR(EFAULT, pread(file, kernel, 5, 0));
    ERR(EFAULT, pread(file, odd, 5, 0));
    ERR(EFAULT, pwrite(file, kernel, 5, 0));
    ERR(EFAULT, pwrite(file, odd, 5, 0));
    CHECK_EQ(pwrite(file, read_only, 5, 0), 5);     // reading from read-only memory is fine
    CHECK_EQ(pread(file, two + PAGE - 3, 5, 0), 3); // as far as it goes
    CHECK_EQ(pwrite(file, two + PAGE - 3, 5, 20), 3);
    ERR(EFAULT, read(zero, two + PAGE, 5));
    CHECK_EQ(read(zero, two + PAGE - 100, 200), 100);
    ERR(EFAULT, open(kernel, O_RDONLY));
    ERR(EFAULT, open(NULL, O_RDONLY));
    ERR(EFAULT, open(odd, O_RDONLY));
    memset(two + PAGE - 8, 'n', 8); // a path without an end
    ERR(EFAULT, open(two + PAGE - 8, O_RDONLY));
    memcpy(two + PAGE - 5, "file", 5); // one that ends with the page
    OK(close((int)OK(open(two + PAGE - 5, O_RDONLY))));
    ERR(EFAULT, syscall(SYS_stat, "file", (void *)kernel));
    ERR(EFAULT, syscall(SYS_stat, "file", (void *)(two + PAGE - 8)));
    ERR(EFAULT, syscall(SYS_pipe, kernel));
    ERR(EFAULT, syscall(SYS_getcwd, kernel, 100));
    ERR(EFAULT, readlink("/proc/self/exe", kernel, 10));
    struct iovec vector[2] = {{two, 3}, {kernel, 5}};
    lseek(file, 0, SEEK_SET);
    ERR(EFAULT, readv(file, vector, 2)); // outside of user space: refused beforehand
    vector[1].iov_base = two + PAGE;
    CHECK_EQ(readv(file, vector, 2), 3); // merely unmapped: found out on the way
    ERR(EFAULT, readv(file, kernel, 2));
    ERR(EFAULT, readv(file, vector + 1, 1));
    ERR(EFAULT, syscall(SYS_rt_sigaction, SIGUSR1, NULL, kernel, 8));
    ERR(EFAULT, syscall(SYS_uname, read_only));
    ERR(EFAULT, syscall(SYS_clock_gettime, CLOCK_REALTIME, odd));
    ERR(EFAULT, syscall(SYS_nanosleep, kernel, NULL));
    ERR(EFAULT, syscall(SYS_poll, kernel, 3, 0));
    ERR(EFAULT, syscall(SYS_sysinfo, odd));
    ERR(EFAULT, syscall(SYS_execve, kernel, NULL, NULL));
    // Lengths that wrap round.
    ERR(EFAULT, pread(file, (void *)0x7ffffffff000, -1ul >> 1, 0));
    ERR(EFAULT, pread(file, (void *)-PAGE, 8 * PAGE, 0));
    OK(munmap(two, PAGE));
}

int main(void)
{
    scratch();
    heap();
    wild_pointers();
    return check_done();
}
