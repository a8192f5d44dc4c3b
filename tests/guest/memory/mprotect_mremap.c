// SPDX-License-Identifier: MIT
//
// Claim: mprotect changes, splits and merges mappings and is enforced; mremap grows, shrinks,
// moves, moves to a fixed place and keeps contents; both check their ranges.
// Method: contents are checked after each step; forbidden accesses are made in children.
#include "tests/guest/check.h"

enum { PAGE = 4096 };

static volatile char *target;

static void read_target(void)
{
    (void)*target;
}

static void write_target(void)
{
    *target = 1;
}

static void run_target(void)
{
    ((void (*)(void))(uintptr_t)target)();
}

static char *anonymous(size_t pages)
{
    char *area =
        mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t i = 0; i < pages; i++) {
        area[i * PAGE] = (char)('a' + i);
    }
    return area;
}

static int mappings_in(char *from, size_t pages)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    unsigned long start, end;
    int count = 0;
    while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
        count += sscanf(line, "%lx-%lx", &start, &end) == 2 &&
                 start < (unsigned long)from + pages * PAGE && end > (unsigned long)from;
    }
    fclose(maps);
    return count;
}

static void protection(void)
{
    // A guard on each side, so that neighbours do not merge with it.
    char *all = mmap(NULL, 10 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *area = all + PAGE;
    OK(mprotect(area, 8 * PAGE, PROT_READ | PROT_WRITE));
    for (int i = 0; i < 8; i++) {
        area[i * PAGE] = (char)('a' + i);
    }
    CHECK_EQ(mappings_in(area, 8), 1);
    OK(mprotect(area + 2 * PAGE, 2 * PAGE, PROT_READ));
    CHECK_EQ(mappings_in(area, 8), 3);
    target = area + 2 * PAGE;
    CHILD(read_target, "exit 0");
    CHILD(write_target, "killed by SIGSEGV");
    OK(mprotect(area + 3 * PAGE, PAGE, PROT_NONE));
    target = area + 3 * PAGE;
    CHILD(read_target, "killed by SIGSEGV");
    CHECK_EQ(mappings_in(area, 8), 4);
    OK(mprotect(area + PAGE, 4 * PAGE, PROT_READ | PROT_WRITE));
    CHECK_EQ(mappings_in(area, 8), 1);                     // merged again
    CHECK(area[2 * PAGE] == 'c' && area[3 * PAGE] == 'd'); // contents kept through PROT_NONE
    area[3 * PAGE] = (char)0xc3;                           // ret
    target = area + 3 * PAGE;
    CHILD(run_target, "killed by SIGSEGV");
    OK(mprotect(area + 3 * PAGE, PAGE, PROT_READ | PROT_EXEC));
    CHILD(run_target, "exit 0");
    CHILD(write_target, "killed by SIGSEGV");
    OK(mprotect(area, 0, PROT_READ));
    ERR(EINVAL, syscall(SYS_mprotect, area + 1, PAGE, PROT_READ));
    ERR(EINVAL, mprotect(area, PAGE, 0x100));
    munmap(area + 5 * PAGE, PAGE);
    ERR(ENOMEM, mprotect(area + 4 * PAGE, 3 * PAGE, PROT_READ));
    target = area + 4 * PAGE; // what lies before the hole has been changed
    CHILD(write_target, "killed by SIGSEGV");
    ERR(ENOMEM, mprotect((void *)0x10000, PAGE, PROT_READ));
    // Copy-on-write pages stay private through changes of protection.
    area[0] = 'A';
    pid_t child = fork();
    if (child == 0) {
        mprotect(area, PAGE, PROT_READ);
        mprotect(area, PAGE, PROT_READ | PROT_WRITE);
        area[0] = 'B';
        _exit(0);
    }
    waitpid(child, NULL, 0);
    CHECK_EQ(area[0], 'A');
}

static void remapping(void)
{
    char *area = anonymous(4), *moved;

    // Shrink in place.
    CHECK(mremap(area, 4 * PAGE, 2 * PAGE, 0) == area);
    target = area + 2 * PAGE;
    CHILD(read_target, "killed by SIGSEGV");
    CHECK(area[PAGE] == 'b');
    // Grow into what is free, and not into what is not.
    moved = mremap(area, 2 * PAGE, 3 * PAGE, 0);
    CHECK(moved == area && area[2 * PAGE] == 0);
    CHECK(mmap(area + 3 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
          area + 3 * PAGE);
    ERR(ENOMEM, (intptr_t)mremap(area, 3 * PAGE, 5 * PAGE, 0));
    moved = mremap(area, 3 * PAGE, 500 * PAGE, MREMAP_MAYMOVE);
    CHECK(moved != MAP_FAILED && moved != area);
    CHECK(moved[0] == 'a' && moved[PAGE] == 'b' && moved[400 * PAGE] == 0);
    target = area;
    CHILD(read_target, "killed by SIGSEGV");
    moved[499 * PAGE] = 'z';

    // To a fixed place, over something else.
    char *place = anonymous(10);
    char *result = mremap(moved, 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place + PAGE);
    CHECK(result == place + PAGE);
    CHECK(place[0] == 'a' && place[PAGE] == 'a' && place[2 * PAGE] == 'b' && place[3 * PAGE] == 0);
    CHECK(place[5 * PAGE] == 'f');
    CHECK(moved[499 * PAGE] == 'z'); // the rest stayed
    ERR(EINVAL, (intptr_t)mremap(place, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
                    place + 2 * PAGE)); // overlap
    ERR(EINVAL, (intptr_t)mremap(place, PAGE, PAGE, MREMAP_FIXED, place + 20 * PAGE));
    ERR(EINVAL, (intptr_t)mremap(place + 1, PAGE, PAGE, 0));
    ERR(EINVAL, (intptr_t)mremap(place, PAGE, 0, 0));
    ERR(EINVAL, (intptr_t)mremap(place, PAGE, PAGE, 0x100));
    ERR(EINVAL, (intptr_t)mremap(place, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place + 101));
    ERR(EFAULT, (intptr_t)mremap((void *)0x10000, PAGE, 2 * PAGE, MREMAP_MAYMOVE));
    munmap(place + 5 * PAGE, PAGE);
    ERR(EFAULT, (intptr_t)mremap(place + 4 * PAGE, 3 * PAGE, 5 * PAGE, MREMAP_MAYMOVE));

    // Old length 0 doubles a shared mapping.
    char *shared = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char *twin = mremap(shared, 0, 2 * PAGE, MREMAP_MAYMOVE);
    CHECK(twin != MAP_FAILED && twin != shared);
    shared[PAGE + 3] = 42;
    CHECK_EQ(twin[PAGE + 3], 42);
    char *private = anonymous(1);
    ERR(EINVAL, (intptr_t)mremap(private, 0, PAGE, MREMAP_MAYMOVE));

    // File mappings keep their place in the file.
    int file = (int)MUST(open("file", O_RDWR | O_CREAT, 0600));
    MUST(ftruncate(file, 10 * PAGE));
    MUST(pwrite(file, "seventh", 7, 7 * PAGE));
    char *mapped = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 5 * PAGE);
    mapped = mremap(mapped, 2 * PAGE, 5 * PAGE, MREMAP_MAYMOVE);
    CHECK(mapped != MAP_FAILED && memcmp(mapped + 2 * PAGE, "seventh", 7) == 0);

    // DONTUNMAP leaves an empty mapping behind.
    char *source = anonymous(2);
    char *taken = mremap(source, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | 4 /* DONTUNMAP */);
    CHECK(taken != MAP_FAILED && taken[0] == 'a' && taken[PAGE] == 'b');
    CHECK(source[0] == 0 && source[PAGE] == 0);

    // A large one moved, with many pages touched.
    char *large =
        mmap(NULL, 2000 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 2000; i++) {
        *(int *)(large + i * PAGE) = i;
    }
    mmap(large + 2000 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    large = mremap(large, 2000 * PAGE, 3000 * PAGE, MREMAP_MAYMOVE);
    bool right = true;
    for (int i = 0; i < 2000; i++) {
        right &= *(int *)(large + i * PAGE) == i;
    }
    CHECK(right);
}

int main(void)
{
    scratch();
    protection();
    remapping();
    return check_done();
}
