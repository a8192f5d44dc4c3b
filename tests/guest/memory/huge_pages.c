// SPDX-License-Identifier: MIT
//
// Claim: private anonymous memory comes in huge pages where policy, advice and alignment allow, and
// a program cannot tell: what it wrote is there after parts were unmapped, protected, discarded,
// moved, forked, copied and pinned. 90 % and more of a large program's memory is in huge pages.
// Method: memory aligned to 2 MiB; AnonHugePages of /proc/self/smaps after each step; patterns.
#include "tests/guest/check.h"
#include <sys/prctl.h>
#include <sys/uio.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#define HUGE ((size_t)2 << 20)
#define PAGE ((size_t)4096)

// Address space for `count` huge pages, aligned, with unmapped pages on both sides.
static char *area_get(size_t count)
{
    char *area = mmap(NULL, (count + 2) * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(area == MAP_FAILED ? -1 : 0);
    char *start = (char *)(((uintptr_t)area + HUGE) & ~(HUGE - 1));
    char *memory = mmap(start, count * HUGE, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    MUST(memory == MAP_FAILED ? -1 : 0);
    munmap(area, (size_t)(start - area));
    munmap(start + count * HUGE, (size_t)(area + (count + 2) * HUGE - (start + count * HUGE)));
    return memory;
}

// Sum of a field of smaps over the areas in [start, start + bytes), in MiB, or KiB with `kilo`.
static long smaps(const char *start, size_t bytes, const char *field, bool kilo)
{
    static char line[512];
    FILE *file = fopen("/proc/self/smaps", "r");
    unsigned long low, high;
    bool inside = false;
    long sum = 0, value;
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "%lx-%lx ", &low, &high) == 2 && strchr(line, '-') < strchr(line, ' '))
            inside = low < (uintptr_t)start + bytes && high > (uintptr_t)start;
        else if (inside && strncmp(line, field, strlen(field)) == 0 &&
                 sscanf(line + strlen(field), "%ld", &value) == 1)
            sum += value;
    }
    if (file != NULL)
        fclose(file);
    return kilo ? sum : sum / 1024;
}

static long huge_mib(const char *start, size_t count)
{
    return smaps(start, count * HUGE, "AnonHugePages:", false);
}

static void fill(char *start, size_t bytes, unsigned salt)
{
    for (size_t at = 0; at < bytes; at += PAGE) {
        unsigned *words = (unsigned *)(start + at);
        words[0] = (unsigned)(at / PAGE) ^ salt;
        words[1023] = ~words[0];
    }
}

static unsigned long wrong(const char *start, size_t bytes, size_t offset, unsigned salt)
{
    unsigned long bad = 0;
    for (size_t at = 0; at < bytes; at += PAGE) {
        const unsigned *words = (const unsigned *)(start + at);
        unsigned value = (unsigned)((at + offset) / PAGE) ^ salt;
        bad += words[0] != value || words[1023] != ~value;
    }
    return bad;
}

static unsigned long nonzero(const char *start, size_t bytes)
{
    unsigned long bad = 0;
    for (size_t at = 0; at < bytes; at += 64)
        bad += start[at] != 0;
    return bad;
}

static void at_fault(void)
{
    char *memory = area_get(4);
    OK(madvise(memory, 4 * HUGE, MADV_HUGEPAGE));
    CHECK_EQ(huge_mib(memory, 4), 0);
    memory[HUGE + 5 * PAGE] = 1;
    CHECK_EQ(huge_mib(memory, 4), 2);
    CHECK_EQ(nonzero(memory + HUGE, 5 * PAGE), 0);
    fill(memory, 4 * HUGE, 1);
    CHECK_EQ(huge_mib(memory, 4), 8);
    CHECK_EQ(wrong(memory, 4 * HUGE, 0, 1), 0);
    unsigned char present[512];
    OK(mincore(memory, HUGE, present));
    CHECK(present[0] & 1 && present[511] & 1);
    OK(munmap(memory, 4 * HUGE));

    memory = area_get(2);
    OK(madvise(memory, 2 * HUGE, MADV_NOHUGEPAGE));
    fill(memory, 2 * HUGE, 2);
    CHECK_EQ(huge_mib(memory, 2), 0);
    OK(munmap(memory, 2 * HUGE));

    // Not aligned: only what lies whole in the mapping.
    memory = area_get(3);
    OK(munmap(memory, 100 * PAGE));
    OK(munmap(memory + 3 * HUGE - 100 * PAGE, 100 * PAGE));
    fill(memory + 100 * PAGE, 3 * HUGE - 200 * PAGE, 3);
    CHECK_EQ(huge_mib(memory, 3), 2);
    CHECK_EQ(wrong(memory + 100 * PAGE, 3 * HUGE - 200 * PAGE, 0, 3), 0);
    OK(munmap(memory, 3 * HUGE));

    // The program's wish holds for children too.
    OK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
    CHECK_EQ(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 1);
    memory = area_get(1);
    fill(memory, HUGE, 4);
    CHECK_EQ(huge_mib(memory, 1), 0);
    OK(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0));
    ERR(EINVAL, prctl(PR_SET_THP_DISABLE, 0, 1, 0, 0));
    ERR(EINVAL, prctl(PR_GET_THP_DISABLE, 1, 0, 0, 0));
    OK(munmap(memory, HUGE));
}

static void parts(void)
{
    char *memory = area_get(4);
    madvise(memory, 4 * HUGE, MADV_HUGEPAGE);
    fill(memory, 4 * HUGE, 5);
    CHECK_EQ(huge_mib(memory, 4), 8);
    // Unmap a part, protect another, discard a third.
    OK(munmap(memory + 100 * PAGE, 10 * PAGE));
    CHECK_EQ(huge_mib(memory, 4), 6);
    OK(mprotect(memory + HUGE + 7 * PAGE, PAGE, PROT_READ));
    CHECK_EQ(huge_mib(memory, 4), 4);
    OK(madvise(memory + 2 * HUGE + PAGE, 2 * PAGE, MADV_DONTNEED));
    CHECK_EQ(huge_mib(memory, 4), 2);
    CHECK_EQ(wrong(memory, 100 * PAGE, 0, 5), 0);
    CHECK_EQ(wrong(memory + 110 * PAGE, HUGE - 110 * PAGE, 110 * PAGE, 5), 0);
    CHECK_EQ(wrong(memory + HUGE, HUGE + PAGE, HUGE, 5), 0);
    CHECK_EQ(nonzero(memory + 2 * HUGE + PAGE, 2 * PAGE), 0);
    CHECK_EQ(wrong(memory + 2 * HUGE + 3 * PAGE, 2 * HUGE - 3 * PAGE, 2 * HUGE + 3 * PAGE, 5), 0);
    // Whole ones, without splitting.
    OK(mprotect(memory + 3 * HUGE, HUGE, PROT_NONE));
    OK(mprotect(memory + 3 * HUGE, HUGE, PROT_READ));
    CHECK_EQ(huge_mib(memory, 4), 2);
    CHECK_EQ(wrong(memory + 3 * HUGE, HUGE, 3 * HUGE, 5), 0);
    OK(mprotect(memory + 3 * HUGE, HUGE, PROT_READ | PROT_WRITE));
    memory[3 * HUGE + 8] = 1;
    CHECK_EQ(huge_mib(memory, 4), 2);
    OK(madvise(memory + 3 * HUGE, HUGE, MADV_DONTNEED));
    CHECK_EQ(huge_mib(memory, 4), 0);
    CHECK_EQ(nonzero(memory + 3 * HUGE, HUGE), 0);
    OK(munmap(memory, 4 * HUGE));
}

static char *shared_memory;

static void child_reads_and_writes(void)
{
    CHECK_EQ(wrong(shared_memory, 2 * HUGE, 0, 6), 0);
    fill(shared_memory, 3 * PAGE, 99);
    CHECK_EQ(wrong(shared_memory, 3 * PAGE, 0, 99), 0);
    CHECK_EQ(wrong(shared_memory + 3 * PAGE, 2 * HUGE - 3 * PAGE, 3 * PAGE, 6), 0);
    OK(munmap(shared_memory + PAGE, PAGE));
    OK(madvise(shared_memory + HUGE, HUGE, MADV_DONTNEED));
    CHECK_EQ(nonzero(shared_memory + HUGE, HUGE), 0);
}

static void forks(void)
{
    shared_memory = area_get(2);
    madvise(shared_memory, 2 * HUGE, MADV_HUGEPAGE);
    fill(shared_memory, 2 * HUGE, 6);
    CHECK_EQ(huge_mib(shared_memory, 2), 4);
    CHILD(child_reads_and_writes, "exit 0");
    CHECK_EQ(wrong(shared_memory, 2 * HUGE, 0, 6), 0);
    // A child that goes on living with the parent's writes.
    int ends[2];
    MUST(pipe(ends));
    pid_t child = fork();
    if (child == 0) {
        char byte;
        check_failures = read(ends[0], &byte, 1) != 1;
        check_failures += wrong(shared_memory, 2 * HUGE, 0, 6) != 0;
        fill(shared_memory, 2 * HUGE, 8);
        check_failures += wrong(shared_memory, 2 * HUGE, 0, 8) != 0;
        _exit(check_failures != 0);
    }
    fill(shared_memory, HUGE, 7);
    CHECK_EQ(write(ends[1], "x", 1), 1);
    int status = -1;
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
    CHECK_EQ(wrong(shared_memory, HUGE, 0, 7), 0);
    CHECK_EQ(wrong(shared_memory + HUGE, HUGE, HUGE, 6), 0);
    fill(shared_memory, 2 * HUGE, 9);
    CHECK_EQ(wrong(shared_memory, 2 * HUGE, 0, 9), 0);
    OK(munmap(shared_memory, 2 * HUGE));
}

static void moves(void)
{
    char *memory = area_get(4), *room = area_get(6);
    madvise(memory, 4 * HUGE, MADV_HUGEPAGE);
    fill(memory, 4 * HUGE, 10);
    OK(munmap(room, 6 * HUGE));
    char *moved = mremap(memory, 4 * HUGE, 4 * HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, room);
    CHECK(moved == room);
    CHECK_EQ(wrong(moved, 4 * HUGE, 0, 10), 0);
    CHECK_EQ(huge_mib(moved, 4), 8);
    // To a place that is not aligned, and only a part.
    char *part = mremap(moved + HUGE + PAGE, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED,
        room + 5 * HUGE + 3 * PAGE - HUGE);
    CHECK(part == room + 4 * HUGE + 3 * PAGE);
    CHECK_EQ(wrong(part, HUGE, HUGE + PAGE, 10), 0);
    CHECK_EQ(wrong(moved, HUGE + PAGE, 0, 10), 0);
    CHECK_EQ(wrong(moved + 2 * HUGE + PAGE, 2 * HUGE - PAGE, 2 * HUGE + PAGE, 10), 0);
    CHECK_EQ(huge_mib(moved + 3 * HUGE, 1), 2);
    OK(munmap(moved, 6 * HUGE));
}

// Pages of a huge page in a pipe (vmsplice) and read by another process while it is split and gone.
static void pinned(void)
{
    char *memory = area_get(1), back[16];
    int ends[2];
    madvise(memory, HUGE, MADV_HUGEPAGE);
    fill(memory, HUGE, 11);
    MUST(pipe(ends));
    struct iovec vector = {memory + 77 * PAGE, PAGE};
    CHECK_EQ(vmsplice(ends[1], &vector, 1, 0), (long)PAGE);
    struct iovec local = {back, sizeof(back)}, remote = {memory + 88 * PAGE, sizeof(back)};
    CHECK_EQ(process_vm_readv(getpid(), &local, 1, &remote, 1, 0), (long)sizeof(back));
    CHECK(memcmp(back, memory + 88 * PAGE, sizeof(back)) == 0);
    OK(munmap(memory, 50 * PAGE));
    OK(munmap(memory, HUGE));
    static unsigned words[1024];
    CHECK_EQ(read(ends[0], words, sizeof(words)), (long)sizeof(words));
    CHECK_EQ(words[0], 77 ^ 11);
    CHECK_EQ(words[1023], ~(77u ^ 11u));
    close(ends[0]);
    close(ends[1]);
}

static void collapse(void)
{
    char *memory = area_get(2);
    OK(madvise(memory, 2 * HUGE, MADV_NOHUGEPAGE));
    fill(memory, 2 * HUGE, 12);
    ERR(EINVAL, madvise(memory, 2 * HUGE, MADV_COLLAPSE));
    OK(madvise(memory, 2 * HUGE, MADV_HUGEPAGE));
    OK(madvise(memory + 9 * PAGE, PAGE, MADV_DONTNEED));
    CHECK_EQ(huge_mib(memory, 2), 0);
    OK(madvise(memory, 2 * HUGE, MADV_COLLAPSE));
    CHECK_EQ(huge_mib(memory, 2), 4);
    CHECK_EQ(wrong(memory, 9 * PAGE, 0, 12), 0);
    CHECK_EQ(nonzero(memory + 9 * PAGE, PAGE), 0);
    CHECK_EQ(wrong(memory + 10 * PAGE, 2 * HUGE - 10 * PAGE, 10 * PAGE, 12), 0);
    OK(madvise(memory, 2 * HUGE, MADV_COLLAPSE));
    OK(munmap(memory, 2 * HUGE));
}

// What a large program without any advice gets: 200 MiB that it fills in pieces, half of it through
// the C library's allocator.
static void large_program(void)
{
    enum { PIECES = 100 };
    size_t bytes = (size_t)100 << 20;
    char *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *heap = malloc(bytes);
    CHECK(map != MAP_FAILED && heap != NULL);
    for (size_t i = 0; i < PIECES; i++) {
        memset(map + i * (bytes / PIECES), 1, bytes / PIECES);
        memset(heap + i * (bytes / PIECES), 1, bytes / PIECES);
    }
    unsigned long sum = 0;
    for (size_t i = 0; i < bytes; i += PAGE)
        sum += (unsigned long)map[i] + (unsigned long)heap[i];
    CHECK_EQ(sum, 2 * bytes / PAGE);
    long anonymous = smaps(NULL, SIZE_MAX, "Anonymous:", true);
    long huge = smaps(NULL, SIZE_MAX, "AnonHugePages:", true);
    CHECK(anonymous >= 2 * (long)(bytes / 1024));
    CHECK(huge * 10 >= anonymous * 9);
    if (huge * 10 < anonymous * 9)
        note("%ld of %ld KiB", huge, anonymous);
    free(heap);
    munmap(map, bytes);
}

static void policy(void)
{
    const char *path = "/sys/kernel/mm/transparent_hugepage/enabled";
    CHECK_STR(get_file(path), "[always] madvise never\n");
    put_file(path, "never", 0644);
    CHECK_STR(get_file(path), "always madvise [never]\n");
    char *memory = area_get(1);
    OK(madvise(memory, HUGE, MADV_HUGEPAGE));
    fill(memory, HUGE, 13);
    CHECK_EQ(huge_mib(memory, 1), 0);
    put_file(path, "madvise", 0644);
    OK(munmap(memory, HUGE));
    memory = area_get(2);
    OK(madvise(memory, HUGE, MADV_HUGEPAGE));
    fill(memory, 2 * HUGE, 14);
    CHECK_EQ(huge_mib(memory, 1), 2);
    CHECK_EQ(huge_mib(memory + HUGE, 1), 0);
    put_file(path, "always", 0644);
    int file = open(path, O_WRONLY);
    ERR(EINVAL, write(file, "sometimes", 9));
    close(file);
    OK(munmap(memory, 2 * HUGE));
}

int main(void)
{
    at_fault();
    parts();
    forks();
    moves();
    pinned();
    collapse();
    large_program();
    policy();
    return check_done();
}
