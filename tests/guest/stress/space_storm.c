// SPDX-License-Identifier: MIT
//
// Claim: threads that map and unmap at once never see memory that was given up, nor each other's,
// whether their ranges are apart or overlap. (That addresses are not given out before all TLBs have
// forgotten them is a matter of a few instructions: mm/model/unmap.pml shows it.)
// Method: each page that is written to holds its own address, so a page that shows up at another
// one, or that was freed, is recognised by who reads it. "apart": mappings wherever the kernel puts
// them, parts of which go one after the other, while all threads read in those of all others; now
// and then one forks. "overlapping": all threads map over, unmap, protect and discard parts of one
// arena without asking each other. Before that: faults in a page table that exists do not take the
// space's lock, as the kernel's counter says.
#include "tests/guest/counters.h"
#include "tests/guest/stress/stress.h"
#include <setjmp.h>

// Few and small mappings, so that addresses come back soon.
enum { THREADS = 4, SLOTS = 4, PAGES = 8, ARENA_PAGES = 64, PAGE = 4096 };

static _Thread_local sigjmp_buf out;
static _Thread_local volatile bool expecting;
static _Atomic int failures;
static _Atomic unsigned long unmapped; // calls of munmap that found something
static unsigned char *arena;
// What others may read in, by thread and slot: address and, below PAGE, number of pages; or 0.
static _Atomic uintptr_t published[THREADS][SLOTS];
static pthread_barrier_t start; // everything else that threads need is mapped by then

static void on_fault(int number)
{
    (void)number;
    if (!expecting) {
        note("FAIL: a fault where memory must be");
        _exit(1);
    }
    siglongjmp(out, 1);
}

static void fail(const char *what)
{
    note("FAIL: %s", what);
    failures++;
}

static uint64_t stamp(const unsigned char *page, unsigned serial)
{
    return (uint64_t)(uintptr_t)page | (serial & 4095u);
}

static volatile uint64_t *word(unsigned char *page)
{
    return (volatile uint64_t *)(page + 512);
}

// Reads, or writes a stamp to, a page that others may take away meanwhile.
static void visit(unsigned char *page, bool write, unsigned serial)
{
    expecting = true;
    if (sigsetjmp(out, 1) == 0) {
        uint64_t value = *word(page);
        if (value != 0 && (value & ~(uint64_t)4095) != (uint64_t)(uintptr_t)page) {
            fail("a page of somewhere else");
        }
        if (write) {
            *word(page) = stamp(page, serial);
        }
    }
    expecting = false;
}

// ---- apart ----

struct slot {
    unsigned char *base; // NULL: none
    unsigned pages;
    uint64_t holds[PAGES];
};

struct owner {
    struct slot slots[SLOTS];
    unsigned index;
    uint64_t state;
};

static void check_slot(struct slot *slot)
{
    for (unsigned i = 0; i < slot->pages; i++) {
        if (*word(slot->base + (size_t)i * PAGE) != slot->holds[i]) {
            fail("a page of ours holds something else");
            return;
        }
    }
}

static void slot_publish(struct owner *owner, struct slot *slot)
{
    published[owner->index][slot - owner->slots] = (uintptr_t)slot->base | slot->pages;
}

static void slot_map(struct owner *owner, struct slot *slot)
{
    slot->pages = 1 + stress_random(&owner->state, PAGES);
    slot->base = mmap(NULL, (size_t)slot->pages * PAGE, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (slot->base == MAP_FAILED) {
        slot->base = NULL;
        fail("mmap");
        return;
    }
    memset(slot->holds, 0, sizeof(slot->holds));
    check_slot(slot); // zeroes
    slot_publish(owner, slot);
}

static void slot_write(struct owner *owner, struct slot *slot)
{
    for (unsigned i = 0; i < slot->pages; i++) {
        unsigned char *page = slot->base + (size_t)i * PAGE;
        if (stress_random(&owner->state, 3) != 0) {
            *word(page) = slot->holds[i] = stamp(page, stress_random(&owner->state, 4096));
        }
    }
}

// From the start, from the end, or all.
static void slot_unmap(struct owner *owner, struct slot *slot)
{
    unsigned pages = 1 + stress_random(&owner->state, slot->pages);
    unsigned char *from = slot->base;
    switch (stress_random(&owner->state, 4)) {
    case 0:
        slot->base += (size_t)pages * PAGE;
        memmove(slot->holds, slot->holds + pages, (slot->pages - pages) * sizeof(slot->holds[0]));
        break;
    case 1:
        from += (size_t)(slot->pages - pages) * PAGE;
        break;
    case 2: // in several areas
        pages = slot->pages;
        if (mprotect(from + (size_t)(pages / 2) * PAGE, PAGE, PROT_READ) != 0) {
            fail("mprotect");
        }
        break;
    default:
        pages = slot->pages;
    }
    slot->pages -= pages;
    if (slot->pages == 0) {
        slot->base = NULL;
    }
    slot_publish(owner, slot);
    if (munmap(from, (size_t)pages * PAGE) != 0) {
        fail("munmap");
    }
    unmapped++;
}

static void apart_step(struct owner *owner)
{
    struct slot *slot = &owner->slots[stress_random(&owner->state, SLOTS)];
    switch (stress_random(&owner->state, 8)) {
    case 0:
    case 1:
        if (slot->base == NULL) {
            slot_map(owner, slot);
        } else {
            slot_unmap(owner, slot);
        }
        break;
    case 2:
        if (slot->base != NULL) {
            slot_write(owner, slot);
        }
        break;
    case 3:
        if (slot->base != NULL) {
            check_slot(slot);
        }
        break;
    case 4:
        if (slot->base != NULL && stress_random(&owner->state, 4) == 0) {
            memset(slot->holds, 0, sizeof(slot->holds));
            if (madvise(slot->base, (size_t)slot->pages * PAGE, MADV_DONTNEED) != 0) {
                fail("madvise");
            }
        }
        break;
    default:
        for (unsigned i = 0; i < 16; i++) {
            uintptr_t found = published[stress_random(&owner->state, THREADS)]
                                       [stress_random(&owner->state, SLOTS)];
            if (found != 0) {
                unsigned page = stress_random(&owner->state, (unsigned)(found % PAGE));
                visit((unsigned char *)(found - found % PAGE) + (size_t)page * PAGE, false, 0);
            }
        }
    }
}

static void apart_fork(struct owner *owner)
{
    pid_t child = fork();
    if (child == 0) {
        for (unsigned i = 0; i < SLOTS; i++) {
            if (owner->slots[i].base != NULL) {
                check_slot(&owner->slots[i]);
                slot_write(owner, &owner->slots[i]);
                check_slot(&owner->slots[i]);
            }
        }
        _exit(failures != 0);
    }
    int status;
    if (child > 0 && (waitpid(child, &status, 0) != child || status != 0)) {
        fail("a child's copy");
    }
}

static void *apart(void *argument)
{
    struct stress_progress *progress = stress_watch("apart");
    struct owner *owner = calloc(1, sizeof(*owner));
    owner->index = (unsigned)(uintptr_t)argument;
    owner->state = stress_seed * 77u + owner->index;
    pthread_barrier_wait(&start);
    while (stress_goes_on() && failures == 0) {
        for (int i = 0; i < 200; i++) {
            apart_step(owner);
        }
        if (stress_random(&owner->state, 8) == 0) {
            apart_fork(owner);
        }
        progress->count++;
    }
    stress_done(progress);
    return NULL;
}

// ---- overlapping ----

static void overlapping_step(uint64_t *state)
{
    unsigned first = stress_random(state, ARENA_PAGES);
    unsigned count = 1 + stress_random(state, 16);
    count = first + count > ARENA_PAGES ? ARENA_PAGES - first : count;
    unsigned char *at = arena + (size_t)first * PAGE;
    size_t length = (size_t)count * PAGE;
    switch (stress_random(state, 8)) {
    case 0:
        if (munmap(at, length) != 0) {
            fail("munmap of a part of the arena");
        }
        break;
    case 1:
        if (mmap(at, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                0) != at) {
            fail("mmap over a part of the arena");
        }
        break;
    case 2: // the others may have unmapped it: -ENOMEM is fine
        (void)mprotect(
            at, length, stress_random(state, 2) != 0 ? PROT_READ | PROT_WRITE : PROT_READ);
        break;
    case 3:
        (void)madvise(at, length, MADV_DONTNEED);
        break;
    default:
        for (unsigned i = 0; i < count; i++) {
            visit(at + (size_t)i * PAGE, stress_random(state, 2) != 0, i);
        }
    }
}

static void *overlapping(void *argument)
{
    struct stress_progress *progress = stress_watch("overlapping");
    uint64_t state = stress_seed * 99u + (uintptr_t)argument;
    pthread_barrier_wait(&start);
    while (stress_goes_on() && failures == 0) {
        for (int i = 0; i < 200; i++) {
            overlapping_step(&state);
        }
        progress->count++;
    }
    stress_done(progress);
    return NULL;
}

// ---- faults that take the space's lock ----

enum { TOUCHED_PAGES = 500, LOCKED_AT_MOST = 16 }; // the program has a few others of its own

// Writes to each page of one page table. How many faults took the lock.
static unsigned long touch_all(unsigned char *base, unsigned serial)
{
    unsigned long before = lodger_counter("fault.with_lock");
    for (size_t i = 0; i < TOUCHED_PAGES; i++) {
        *word(base + i * PAGE) = stamp(base + i * PAGE, serial);
    }
    return lodger_counter("fault.with_lock") - before;
}

static void *wait_for_end(void *argument)
{
    pthread_barrier_wait(argument);
    return NULL;
}

static void check_faults(void)
{
    const size_t table = 512 * PAGE;
    pthread_barrier_t end;
    pthread_t other; // for who is alone the lock costs nothing
    unsigned char *base =
        mmap(NULL, table, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(base == MAP_FAILED ? -1 : 0);
    MUST(madvise(base, table, MADV_NOHUGEPAGE));
    CHECK((uintptr_t)base % table == 0); // so it has one page table for itself
    MUST(pthread_barrier_init(&end, NULL, 2) == 0 ? 0 : -1);
    MUST(pthread_create(&other, NULL, wait_for_end, &end) == 0 ? 0 : -1);
    CHECK(touch_all(base, 1) <= LOCKED_AT_MOST);
    int ends[2];
    MUST(pipe(ends));
    pid_t child = fork();
    if (child == 0) { // has what was there, whatever becomes of it here
        char byte;
        bool right = read(ends[0], &byte, 1) == 1;
        for (size_t i = 0; i < TOUCHED_PAGES; i++) {
            right &= *word(base + i * PAGE) == stamp(base + i * PAGE, 1);
        }
        _exit(!right);
    }
    CHECK(touch_all(base, 2) <= LOCKED_AT_MOST); // copies
    CHECK_EQ(write(ends[1], "", 1), 1);
    int status;
    MUST(waitpid(child, &status, 0));
    CHECK_EQ(status, 0);
    for (size_t i = 0; i < TOUCHED_PAGES; i++) {
        CHECK_QUIET(*word(base + i * PAGE) == stamp(base + i * PAGE, 2));
    }
    pthread_barrier_wait(&end);
    pthread_join(other, NULL);
    close(ends[0]);
    close(ends[1]);
    MUST(munmap(base, table));
}

// ---- both ----

// In a process of its own: in the one with the arena, nothing else may be mapped meanwhile.
static int run(void *(*work)(void *))
{
    pid_t child = fork();
    if (child == 0) {
        pthread_t threads[THREADS];
        stress_start_watchdog();
        MUST(pthread_barrier_init(&start, NULL, THREADS) == 0 ? 0 : -1);
        unsigned long before = lodger_counter("unmap.without_lock");
        for (size_t i = 0; i < THREADS; i++) {
            MUST(pthread_create(&threads[i], NULL, work, (void *)i) == 0 ? 0 : -1);
        }
        for (int i = 0; i < THREADS; i++) {
            pthread_join(threads[i], NULL);
        }
        // The watchdog is a second thread all the time.
        CHECK(lodger_counter("unmap.without_lock") - before >= unmapped);
        _exit(failures != 0 || check_failures != 0);
    }
    return child;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_NODEFER};

    stress_start(argc, argv);
    sigaction(SIGSEGV, &action, NULL);
    arena =
        mmap(NULL, ARENA_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(arena == MAP_FAILED ? -1 : 0);
    check_faults();
    MUST(run(apart));
    MUST(run(overlapping));
    CHECK_EQ(stress_reap(), 0);
    return check_done();
}
