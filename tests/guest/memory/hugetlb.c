// SPDX-License-Identifier: MIT
//
// Claim: MAP_HUGETLB gives pages of the pool: promised at mmap, accounted for to the last one, kept
// whole by fork and mprotect, refused where there are none.
// Method: a pool of eight pages; its figures in /proc/meminfo after each step, contents, and what
// happens to a child that wants a copy when the pool is empty.
#include "tests/guest/check.h"

#include <linux/mman.h>

enum { PAGE = 4096, POOL = 8 };
#define HUGE ((size_t)2 << 20)

static long figure(const char *name)
{
    const char *line = strstr(get_file("/proc/meminfo"), name);
    return line != NULL ? strtol(line + strlen(name), NULL, 10) : -1;
}

static bool pool_is(long total, long free, long reserved)
{
    return figure("HugePages_Total:") == total && figure("HugePages_Free:") == free &&
           figure("HugePages_Rsvd:") == reserved;
}

static unsigned char *map_pages(size_t pages, int flags)
{
    return mmap(NULL, pages * HUGE, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | flags, -1, 0);
}

static void set_pool(const char *count)
{
    int file = (int)MUST(open("/proc/sys/vm/nr_hugepages", O_WRONLY | O_CLOEXEC));
    MUST(write(file, count, strlen(count)));
    close(file);
}

static void empty_pool(void)
{
    CHECK(pool_is(0, 0, 0));
    ERR(ENOMEM, map_pages(1, 0) == MAP_FAILED ? -1 : 0);
    ERR(EINVAL, map_pages(1, 22 << MAP_HUGE_SHIFT) == MAP_FAILED ? -1 : 0);
}

static void sized(void)
{
    set_pool("8\n");
    CHECK(pool_is(POOL, POOL, 0));
    CHECK_STR(get_file("/proc/sys/vm/nr_hugepages"), "8\n");
    CHECK_STR(get_file("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"), "8\n");
    CHECK_STR(get_file("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"), "8\n");
    CHECK_EQ(figure("Hugepagesize:"), 2048);
    CHECK_EQ(figure("Hugetlb:"), POOL * 2048);
}

static void promised(void)
{
    unsigned char *memory = map_pages(3, 0);
    CHECK(memory != MAP_FAILED && (uintptr_t)memory % HUGE == 0);
    CHECK(pool_is(POOL, POOL, 3));
    ERR(ENOMEM, map_pages(POOL - 2, 0) == MAP_FAILED ? -1 : 0);
    unsigned char *other = map_pages(1, MAP_HUGE_2MB);
    CHECK(other != MAP_FAILED);
    CHECK(pool_is(POOL, POOL, 4));
    CHECK_EQ(memory[HUGE + 12345], 0);
    CHECK(pool_is(POOL, POOL - 1, 3));
    memset(memory, 7, 3 * HUGE);
    CHECK(pool_is(POOL, POOL - 3, 1));
    CHECK(memory[0] == 7 && memory[3 * HUGE - 1] == 7);
    OK(munmap(other, HUGE));
    CHECK(pool_is(POOL, POOL - 3, 0));
    OK(munmap(memory + HUGE, HUGE)); // out of the middle
    CHECK(pool_is(POOL, POOL - 2, 0));
    CHECK(memory[0] == 7 && memory[2 * HUGE] == 7);
    OK(munmap(memory, 3 * HUGE));
    CHECK(pool_is(POOL, POOL, 0));
}

static void whole_pages_only(void)
{
    unsigned char *memory = map_pages(2, 0);
    memset(memory, 3, 2 * HUGE);
    ERR(EINVAL, munmap(memory, PAGE));
    ERR(EINVAL, munmap(memory + PAGE, HUGE));
    ERR(EINVAL, mprotect(memory + PAGE, PAGE, PROT_READ));
    OK(mprotect(memory, HUGE, PROT_READ));
    OK(mprotect(memory, HUGE, PROT_READ | PROT_WRITE));
    memory[5] = 4;
    CHECK(memory[4] == 3 && memory[5] == 4 && memory[HUGE] == 3);
    void *fixed = mmap(memory + PAGE, HUGE, PROT_READ,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_FIXED, -1, 0);
    CHECK(fixed == MAP_FAILED && errno == EINVAL);
    OK(munmap(memory, 2 * HUGE));
    CHECK(pool_is(POOL, POOL, 0));
    // A part that is cut off takes its promise along.
    memory = map_pages(4, 0);
    memory[0] = 1;
    CHECK(pool_is(POOL, POOL - 1, 3));
    OK(munmap(memory + 2 * HUGE, 2 * HUGE));
    CHECK(pool_is(POOL, POOL - 1, 1));
    OK(munmap(memory, 2 * HUGE));
    CHECK(pool_is(POOL, POOL, 0));
}

static unsigned char *inherited;

static void child_copies(void)
{
    CHECK(inherited[1] == 9 && inherited[HUGE] == 9);
    inherited[1] = 10;
    CHECK(inherited[1] == 10 && inherited[2] == 9);
    CHECK(pool_is(POOL, POOL - 3, 0));
}

static void child_finds_none(void)
{
    inherited[1] = 10;
}

static void forked(void)
{
    inherited = map_pages(2, 0);
    memset(inherited, 9, 2 * HUGE);
    CHILD(child_copies, "exit 0");
    CHECK(pool_is(POOL, POOL - 2, 0));
    CHECK(inherited[1] == 9);
    unsigned char *rest = map_pages(POOL - 2, 0);
    memset(rest, 1, (POOL - 2) * HUGE);
    CHILD(child_finds_none, "killed by SIGBUS");
    CHECK(inherited[1] == 9);
    OK(munmap(rest, (POOL - 2) * HUGE));
    inherited[1] = 11; // the child is gone: no copy
    CHECK(pool_is(POOL, POOL - 2, 0));
    OK(munmap(inherited, 2 * HUGE));
}

static void beyond_the_pool(void)
{
    unsigned char *memory = map_pages(2 * POOL, MAP_NORESERVE);
    CHECK(memory != MAP_FAILED);
    memory[0] = 1;
    ((volatile unsigned char *)memory)[(POOL + 3) * HUGE] = 1;
    CHECK(pool_is(POOL, POOL - 2, 0));
    for (size_t i = 0; i < POOL; i++)
        memory[i * HUGE] = 1;
}

int main(void)
{
    empty_pool();
    sized();
    promised();
    whole_pages_only();
    forked();
    CHILD(beyond_the_pool, "killed by SIGBUS");
    CHECK(pool_is(POOL, POOL, 0));
    set_pool("3");
    CHECK(pool_is(3, 3, 0));
    set_pool("0");
    CHECK(pool_is(0, 0, 0));
    return check_done();
}
