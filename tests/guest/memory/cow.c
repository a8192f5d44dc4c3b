// SPDX-License-Identifier: MIT
//
// Claim: copy-on-write keeps parent, children and grandchildren apart, over deep chains of forks,
// with writers in every order, over fork and partial unmapping, with read and write by system
// calls, and pages of zero stay zero; large resident memory survives many forks.
// Method: each generation writes its own mark into pages and checks that all others are unchanged.
#include "tests/guest/check.h"
#include <pthread.h>

enum { PAGE = 4096, PAGES = 64 };

static volatile unsigned char *area;

static bool all_are(unsigned char value, int except)
{
    for (int i = 0; i < PAGES; i++) {
        if (i != except && (area[i * PAGE] != value || area[i * PAGE + PAGE - 1] != value)) {
            return false;
        }
    }
    return true;
}

static void fill(unsigned char value)
{
    memset((void *)area, value, (size_t)PAGES * PAGE);
}

// Each generation changes one page, and checks that the pages before were changed by its ancestors.
static int generation(int depth)
{
    int status = 0;
    area[depth * PAGE] = (unsigned char)(100 + depth);
    if (depth + 1 < 20) {
        pid_t child = fork();
        if (child == 0) {
            _exit(generation(depth + 1));
        }
        waitpid(child, &status, 0);
    }
    for (int i = 0; i < PAGES; i++) {
        unsigned char want = i <= depth ? (unsigned char)(100 + i) : 1;
        if (area[i * PAGE] != want) {
            return 1;
        }
    }
    return WEXITSTATUS(status);
}

static void chain(void)
{
    fill(1);
    _exit(generation(0));
}

static void many_children(void)
{
    int ends[2];
    char byte;

    fill(2);
    MUST(pipe(ends));
    for (int k = 0; k < 16; k++) {
        if (fork() == 0) {
            close(ends[1]);
            read(ends[0], &byte, 1); // until the parent has written
            bool right = all_are(2, -1);
            fill((unsigned char)(10 + k));
            right &= all_are((unsigned char)(10 + k), -1);
            _exit(right ? 0 : 1);
        }
    }
    fill(3);
    close(ends[0]);
    close(ends[1]);
    int status, wrong = 0;
    while (wait(&status) > 0) {
        wrong += status != 0;
    }
    CHECK_EQ(wrong, 0);
    CHECK(all_are(3, -1));
}

// The kernel's own writes into user memory break sharing too.
static void written_by_kernel(void)
{
    int zero = (int)MUST(open("/dev/zero", O_RDONLY));
    fill(4);
    pid_t child = fork();
    if (child == 0) {
        MUST(read(zero, (void *)area, (size_t)PAGES * PAGE));
        _exit(all_are(0, -1) ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
    CHECK(all_are(4, -1));
    struct timespec *time = (struct timespec *)(uintptr_t)(area + 5 * PAGE);
    child = fork();
    if (child == 0) {
        _exit(clock_gettime(CLOCK_MONOTONIC, time) == 0 && all_are(4, 5) ? 0 : 1);
    }
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
    CHECK(all_are(4, -1));
}

static void zero_pages(void)
{
    volatile char *fresh =
        mmap(NULL, 100 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    volatile int sum = 0;
    for (int i = 0; i < 100; i++) {
        sum += fresh[i * PAGE]; // read first: the common page of zeroes
    }
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 100; i += 2) {
            fresh[i * PAGE + 1] = 1;
        }
        for (int i = 0; i < 100; i++) {
            sum += fresh[i * PAGE + 1] != (i % 2 == 0) || fresh[i * PAGE + 2] != 0;
        }
        _exit(sum);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
    for (int i = 0; i < 100; i++) {
        sum += fresh[i * PAGE + 1];
    }
    CHECK_EQ(sum, 0);
}

static volatile bool stop;

static void *write_all_the_time(void *argument)
{
    unsigned char *counter = argument;
    unsigned char last = *counter;
    while (!stop) {
        if (*(volatile unsigned char *)counter != last) {
            return argument; // lost a write
        }
        *(volatile unsigned char *)counter = ++last;
    }
    return NULL;
}

// Threads write while another forks: no write may be lost.
static void fork_under_writers(void)
{
    pthread_t threads[3];
    int wrong = 0;
    for (int i = 0; i < 3; i++) {
        pthread_create(&threads[i], NULL, write_all_the_time, (void *)(uintptr_t)(area + i * 8));
    }
    for (int i = 0; i < 60; i++) {
        pid_t child = fork();
        if (child == 0) {
            unsigned char before = area[0];
            for (int k = 0; k < 1000; k++) {
                if (area[0] != before) {
                    _exit(1); // the other process's threads write into our copy
                }
            }
            _exit(0);
        }
        int status;
        waitpid(child, &status, 0);
        wrong += status != 0;
    }
    stop = true;
    for (int i = 0; i < 3; i++) {
        void *result;
        pthread_join(threads[i], &result);
        wrong += result != NULL;
    }
    CHECK_EQ(wrong, 0);
}

static void large(void)
{
    enum { LARGE = 24 << 20 };
    uint32_t *words = mmap(NULL, LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t i = 0; i < LARGE / 4; i += 512) {
        words[i] = (uint32_t)(i * 2654435761u);
    }
    for (int round = 0; round < 10; round++) {
        pid_t child = fork();
        if (child == 0) {
            for (size_t i = 0; i < LARGE / 4; i += 512 * 16) {
                words[i] ^= 0x5555;
            }
            for (size_t i = 0; i < LARGE / 4; i += 512) {
                uint32_t want = (uint32_t)(i * 2654435761u) ^ (i % (512 * 16) == 0 ? 0x5555 : 0);
                if (words[i] != want) {
                    _exit(1);
                }
            }
            _exit(0);
        }
        int status;
        waitpid(child, &status, 0);
        CHECK_QUIET(status == 0);
    }
    bool right = true;
    for (size_t i = 0; i < LARGE / 4; i += 512) {
        right &= words[i] == (uint32_t)(i * 2654435761u);
    }
    CHECK(right);
}

int main(void)
{
    scratch();
    area = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHILD(chain, "exit 0");
    many_children();
    written_by_kernel();
    zero_pages();
    CHILD(fork_under_writers, "exit 0");
    large();
    return check_done();
}
