// SPDX-License-Identifier: MIT
//
// Claim: mmap and munmap with every flag: anonymous, fixed, NOREPLACE, hints, private and shared
// files, populate, partial unmapping, merging and splitting; lengths and offsets are checked.
// Method: contents and /proc/self/maps are compared with what must be there.
#include "tests/guest/check.h"
#include <sys/resource.h>

enum { PAGE = 4096 };

static char *map(size_t length, int protection, int flags, int file, off_t offset)
{
    return mmap(NULL, length, protection, flags, file, offset);
}

// The mappings between two addresses, as offsets in pages from the first.
static void show(const char *what, char *from, size_t pages)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512], permissions[8];
    unsigned long start, end;

    note("  %s:", what);
    while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
        if (sscanf(line, "%lx-%lx %7s", &start, &end, permissions) == 3 &&
            start < (unsigned long)from + pages * PAGE && end > (unsigned long)from) {
            // Neighbours of the area may be merged with it: cut them off.
            start = start < (unsigned long)from ? (unsigned long)from : start;
            end =
                end > (unsigned long)from + pages * PAGE ? (unsigned long)from + pages * PAGE : end;
            note("    %lu..%lu %s", (start - (unsigned long)from) / PAGE,
                (end - (unsigned long)from) / PAGE, permissions);
        }
    }
    if (maps != NULL) {
        fclose(maps);
    }
}

static void anonymous(void)
{
    char *a = map(10 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(a != MAP_FAILED && (uintptr_t)a % PAGE == 0);
    bool zero = true;
    for (int i = 0; i < 10 * PAGE; i++) {
        zero &= a[i] == 0;
    }
    CHECK(zero);
    memset(a, 1, 10 * PAGE);
    show("whole", a, 10);
    OK(munmap(a + 3 * PAGE, 2 * PAGE));
    show("hole", a, 10);
    OK(munmap(a + 3 * PAGE, 2 * PAGE)); // nothing there: fine
    CHECK(mmap(a + 3 * PAGE, 2 * PAGE, PROT_READ | PROT_WRITE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == a + 3 * PAGE);
    CHECK_EQ(a[3 * PAGE], 0);
    CHECK_EQ(a[2 * PAGE], 1);
    CHECK_EQ(a[5 * PAGE], 1);
    show("filled again", a, 10);
    CHECK(mmap(a + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
          a + PAGE);
    CHECK_EQ(a[PAGE], 0);
    show("read-only page", a, 10);
    ERR(EEXIST, (intptr_t)mmap(
                    a, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
    OK(munmap(a, 10 * PAGE));
    show("gone", a, 10);
    CHECK(mmap(a, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == a);
    OK(munmap(a, 1)); // lengths are rounded up
    CHECK(
        mmap(a, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == a); // a free hint is taken
    char *other = mmap(a, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(other != a && other != MAP_FAILED); // an occupied one is not
    OK(munmap(a, PAGE));
    char *large = map(1l << 40, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(large != MAP_FAILED);
    OK(munmap(large, 1l << 40));
    char *shared = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child = fork();
    if (child == 0) {
        shared[5] = 66;
        _exit(0);
    }
    waitpid(child, NULL, 0);
    CHECK_EQ(shared[5], 66);
    char *populated =
        map(64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    for (int i = 0; i < 64; i++) {
        populated[i * PAGE] = 1;
    }
    getrusage(RUSAGE_SELF, &after);
    CHECK(after.ru_minflt - before.ru_minflt < 8);
}

static void files(void)
{
    int file = (int)MUST(open("file", O_RDWR | O_CREAT, 0600));
    char text[3 * PAGE];
    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = (char)(i / PAGE + 'a');
    }
    MUST(write(file, text, 2 * PAGE + 100));
    char *shared = map(3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    char *private = map(3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    char *second = map(PAGE, PROT_READ, MAP_SHARED, file, PAGE);
    CHECK(shared[0] == 'a' && shared[PAGE] == 'b' && shared[2 * PAGE + 99] == 'c');
    CHECK_EQ(shared[2 * PAGE + 100], 0); // the rest of the last page
    CHECK_EQ(second[0], 'b');
    shared[PAGE + 1] = 'S';
    CHECK(second[1] == 'S' && private[PAGE + 1] == 'S'); // not copied yet
    private[PAGE + 2] = 'P';
    CHECK(shared[PAGE + 2] == 'b' && private[PAGE + 2] == 'P');
    shared[PAGE + 3] = 'T';
    CHECK_EQ(private[PAGE + 3], 'b'); // copied by now
    MUST(pwrite(file, "W", 1, 0));
    CHECK(shared[0] == 'W' && private[0] == 'W');
    char byte;
    MUST(pread(file, &byte, 1, PAGE + 1));
    CHECK_EQ(byte, 'S');
    shared[2 * PAGE + 500] = 'x'; // beyond the end: never part of the file
    struct stat about;
    fstat(file, &about);
    CHECK_EQ(about.st_size, 2 * PAGE + 100);
    // The mapping outlives descriptor and name.
    close(file);
    unlink("file");
    shared[5] = 'q';
    CHECK_EQ(private[5], 'q');
    OK(munmap(shared, 3 * PAGE));
    OK(munmap(private, 3 * PAGE));
    OK(munmap(second, PAGE));
}

static void permissions(void)
{
    put_file("file", "text", 0600);
    int reader = (int)MUST(open("file", O_RDONLY)), writer = (int)MUST(open("file", O_WRONLY));
    int directory = (int)MUST(open(".", O_RDONLY)), path = (int)MUST(open("file", O_PATH)), ends[2];

    MUST(pipe(ends));
    ERR(EACCES, (intptr_t)map(PAGE, PROT_WRITE, MAP_SHARED, reader, 0));
    CHECK(map(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, reader, 0) != MAP_FAILED);
    ERR(EACCES, (intptr_t)map(PAGE, PROT_READ, MAP_SHARED, writer, 0));
    ERR(EACCES, (intptr_t)map(PAGE, PROT_WRITE, MAP_SHARED, writer, 0));
    char *later = map(PAGE, PROT_READ, MAP_SHARED, reader, 0);
    ERR(EACCES, mprotect(later, PAGE, PROT_READ | PROT_WRITE));
    ERR(ENODEV, (intptr_t)map(PAGE, PROT_READ, MAP_SHARED, directory, 0));
    ERR(ENODEV, (intptr_t)map(PAGE, PROT_READ, MAP_SHARED, ends[0], 0));
    ERR(EBADF, (intptr_t)map(PAGE, PROT_READ, MAP_SHARED, path, 0));
    ERR(EBADF, (intptr_t)map(PAGE, PROT_READ, MAP_SHARED, 999, 0));
    ERR(EINVAL, (intptr_t)map(0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ERR(EINVAL, (intptr_t)map(PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0));
    ERR(EINVAL, syscall(SYS_mmap, NULL, PAGE, PROT_READ, MAP_PRIVATE, reader, 100));
    ERR(ENOMEM,
        (intptr_t)syscall(SYS_mmap, NULL, -1ul, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ERR(EINVAL,
        syscall(SYS_mmap, 100, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    ERR(ENOMEM, syscall(SYS_mmap, 0x7ffffffff000 + (1l << 60), PAGE, PROT_READ,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    ERR(EOVERFLOW,
        syscall(SYS_mmap, NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE, reader, 0x7ffffffffffff000));
    ERR(EINVAL, munmap((char *)100, PAGE));
    ERR(EINVAL, syscall(SYS_munmap, 0, 0));
    ERR(EINVAL, munmap((char *)0xffff800000000000, PAGE));
    ERR(EOPNOTSUPP,
        syscall(SYS_mmap, NULL, PAGE, PROT_READ, 3 /* SHARED_VALIDATE */ | MAP_SYNC, reader, 0));
    // Fixed at address zero needs no more than to be root.
    if (fork() == 0) {
        MUST(setuid(1000));
        ERR(EPERM,
            (intptr_t)mmap(0, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
        _exit(check_failures);
    }
    int status;
    wait(&status);
    CHECK_STR(status_text(status), "exit 0");
}

static void grows_down(void)
{
    char *area = map(64 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(area, 64 * PAGE);
    volatile char *top = mmap(area + 62 * PAGE, PAGE, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
    CHECK((char *)top == area + 62 * PAGE);
    top[0] = 1;
    top[-1] = 2;
    top[-PAGE - 5] = 3;
    CHECK(top[-1] == 2 && top[-PAGE - 5] == 3);
}

static volatile char *below;

static void touch_below(void)
{
    *below = 1;
}

// A guard gap stays free below a growing mapping.
static void gap(void)
{
    char *area = map(1024 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(area, 1024 * PAGE);
    char *obstacle =
        mmap(area, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    char *top = mmap(area + 270 * PAGE, PAGE, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
    CHECK(obstacle == area && top == area + 270 * PAGE);
    below = top - 5 * PAGE;
    CHILD(touch_below, "exit 0");
    below = top - 200 * PAGE; // within 256 pages of the obstacle
    CHILD(touch_below, "killed by SIGSEGV");
}

int main(void)
{
    scratch();
    anonymous();
    files();
    permissions();
    grows_down();
    gap();
    return check_done();
}
