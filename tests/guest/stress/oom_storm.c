// SPDX-License-Identifier: MIT
//
// Claim: memory running out again and again, by several processes at once and by each way of using
// it (pages, files on tmpfs, pipes, processes, mappings, page tables), kills only who uses it; this
// process and what it holds survive.
// Method: children eat in different ways until they are killed or refused; between rounds memory
// must come back, and a page of this process must hold what it held.
#include "tests/guest/stress/stress.h"
#include <sys/sysinfo.h>

enum { PAGE = 4096 };

static void eat_pages(void)
{
    for (;;) {
        char *area =
            mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (area == MAP_FAILED) {
            return;
        }
        for (size_t i = 0; i < 1 << 20; i += PAGE) {
            area[i] = 1;
        }
    }
}

static void eat_shared(void)
{
    for (;;) {
        char *area = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (area == MAP_FAILED) {
            return;
        }
        for (size_t i = 0; i < 1 << 20; i += PAGE) {
            area[i] = 1;
        }
    }
}

// One byte every two megabytes, so that page tables take as much as pages.
static void eat_page_tables(void)
{
    for (;;) {
        char *area = mmap(NULL, 1ul << 30, PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (area == MAP_FAILED) {
            return;
        }
        madvise(area, 1ul << 30, MADV_NOHUGEPAGE);
        for (size_t i = 0; i < 1ul << 30; i += 2 << 20) {
            area[i] = 1;
        }
    }
}

static void eat_mappings(void)
{
    for (int i = 0; i < 60000; i++) {
        char *area = mmap(NULL, PAGE, i % 2 == 0 ? PROT_READ : PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (area == MAP_FAILED) {
            return;
        }
    }
    eat_pages();
}

static void eat_pipes(void)
{
    static char block[65536];
    for (;;) {
        int ends[2];
        if (pipe2(ends, O_NONBLOCK) < 0) {
            break;
        }
        if (write(ends[1], block, sizeof(block)) <= 0) {
            break;
        }
    }
    eat_pages();
}

static void *eat_in_thread(void *argument)
{
    eat_pages();
    return argument;
}

static void eat_with_threads(void)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        pthread_create(&threads[i], NULL, eat_in_thread, NULL);
    }
    eat_pages();
    pause();
}

static void (*const ways[])(void) = {
    eat_pages, eat_shared, eat_page_tables, eat_mappings, eat_pipes, eat_with_threads};

int main(int argc, char **argv)
{
    enum { KEPT = 64 };
    uint64_t state;
    int killed = 0, other = 0, rounds = 0; // the rest are refused memory and say 3

    stress_start(argc, argv);
    put_file("/proc/self/oom_score_adj", "-1000", 0);
    put_file("kept", "still here", 0600);
    unsigned char *kept =
        mmap(NULL, KEPT * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < KEPT; i++) {
        kept[i * PAGE] = (unsigned char)(i + 1);
    }
    state = stress_seed;
    do {
        unsigned together = 1 + stress_random(&state, 3);
        for (unsigned i = 0; i < together; i++) {
            pid_t child = fork();
            if (child == 0) {
                put_file("/proc/self/oom_score_adj", "1000", 0);
                ways[(unsigned)(rounds + (int)i) % ARRAY_SIZE(ways)]();
                _exit(3);
            }
        }
        int status;
        while (wait(&status) > 0) {
            killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
            other += !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) &&
                     !(WIFEXITED(status) && WEXITSTATUS(status) == 3);
        }
        bool right = strcmp(get_file("kept"), "still here") == 0;
        for (int i = 0; i < KEPT; i++) {
            right &= kept[i * PAGE] == (unsigned char)(i + 1);
        }
        CHECK_QUIET(right);
        // A third of the machine can be had again.
        struct sysinfo info;
        sysinfo(&info);
        size_t third = info.totalram * info.mem_unit / 3;
        char *area = mmap(NULL, third, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK_QUIET(area != MAP_FAILED);
        for (size_t i = 0; i < third; i += PAGE) {
            area[i] = 1;
        }
        munmap(area, third);
        rounds++;
    } while (stress_goes_on());
    CHECK(killed > 0);
    CHECK_EQ(other, 0);
    return check_done();
}
