// SPDX-License-Identifier: MIT
//
// Claim: while one thread unmaps much memory, the others of its process go on mapping, touching and
// unmapping; and a thread that is alone does not pay for that.
// Method: a second thread counts its rounds of mmap, write and munmap. During an munmap of many
// small pages it gets on by a number of them; if it had to wait it could end one or two. The
// kernel's counter says which munmap gave the lock up.
#include "tests/guest/counters.h"
#include <pthread.h>
#include <sched.h>

enum { PAGE = 4096, ROUNDS = 10, MANY_BYTES = 32 << 20, SEVERAL = 6 };

static _Atomic unsigned long turns;
static _Atomic bool over;

static void *others(void *argument)
{
    while (!over) {
        volatile char *memory =
            mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED || memory[PAGE] != 0) {
            return "memory that is not new";
        }
        memory[PAGE] = 1;
        if (munmap((void *)memory, 4 * PAGE) != 0) {
            return "munmap";
        }
        turns++;
    }
    (void)argument;
    return NULL;
}

static char *many_pages(size_t length)
{
    char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(memory == MAP_FAILED ? -1 : 0);
    MUST(madvise(memory, length, MADV_NOHUGEPAGE));
    for (size_t at = 0; at < length; at += PAGE) {
        memory[at] = 1;
    }
    return memory;
}

static void alone(void)
{
    unsigned long before = lodger_counter("unmap.without_lock");
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_EQ(munmap(many_pages(64 * PAGE), 64 * PAGE), 0);
    }
    // Tests that share a boot run one after the other.
    CHECK_EQ(lodger_counter("unmap.without_lock") - before, 0);
}

static void beside(void)
{
    pthread_t thread;
    void *what = "not joined";
    int went_on = 0;
    unsigned long before = lodger_counter("unmap.without_lock");
    MUST(pthread_create(&thread, NULL, others, NULL) == 0 ? 0 : -1);
    for (int i = 0; i < ROUNDS; i++) {
        char *memory = many_pages(MANY_BYTES);
        unsigned long then = turns;
        int result = munmap(memory, MANY_BYTES);
        went_on += turns - then >= SEVERAL;
        CHECK_EQ(result, 0);
    }
    over = true;
    pthread_join(thread, &what);
    CHECK(what == NULL);
    // A host that is busy can stop the other thread's processor for a whole round.
    CHECK(went_on >= ROUNDS / 2);
    CHECK(lodger_counter("unmap.without_lock") - before >= turns + ROUNDS);
}

static void *idle(void *argument)
{
    while (!over) {
        sched_yield();
    }
    return argument;
}

// Areas of different kinds in one call, with holes between them, and the neighbours stay. The other
// thread maps nothing: it could be given the holes.
static void several_areas(void)
{
    char *memory = many_pages(64 * PAGE);
    pthread_t thread;
    unsigned long before = lodger_counter("unmap.without_lock");
    over = false;
    MUST(pthread_create(&thread, NULL, idle, NULL) == 0 ? 0 : -1);
    CHECK_EQ(mprotect(memory + 8 * PAGE, 8 * PAGE, PROT_READ), 0);
    CHECK_EQ(munmap(memory + 20 * PAGE, 4 * PAGE), 0);
    CHECK_EQ(munmap(memory + 4 * PAGE, 40 * PAGE), 0);
    unsigned char resident[24];
    CHECK(mincore(memory + 4 * PAGE, 4 * PAGE, resident) == -1 && errno == ENOMEM);
    CHECK(mincore(memory + 40 * PAGE, 4 * PAGE, resident) == -1 && errno == ENOMEM);
    CHECK_EQ(memory[3 * PAGE], 1);
    CHECK_EQ(memory[44 * PAGE], 1);
    CHECK_EQ(munmap(memory + 4 * PAGE, 4 * PAGE), 0); // nothing there: no error
    CHECK_EQ(munmap(memory, 64 * PAGE), 0);
    CHECK(lodger_counter("unmap.without_lock") - before >= 3);
    over = true;
    pthread_join(thread, NULL);
}

int main(void)
{
    alone();
    beside();
    several_areas();
    return check_done();
}
