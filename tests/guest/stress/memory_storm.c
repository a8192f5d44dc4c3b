// SPDX-License-Identifier: MIT
//
// Claim: mapping, unmapping, faulting, protecting, moving and discarding memory from many threads
// of one process at once keeps every byte right, and unmapped memory is never seen again.
// Method: each thread works in a window of its own in one address space, with a model of what each
// page must hold; a file is mapped by all of them; now and then the process forks.
#include "tests/guest/stress/stress.h"
#include <setjmp.h>

enum { THREADS = 6, PAGES = 96, PAGE = 4096, SHARED_PAGES = 64 };

static _Thread_local sigjmp_buf out;
static _Thread_local volatile bool expecting;
static _Atomic int failures;
static int shared_file;

static void on_fault(int number)
{
    (void)number;
    if (!expecting) {
        note("FAIL: a fault where memory must be");
        _exit(1);
    }
    siglongjmp(out, 1);
}

// What a thread knows of its pages: 0 unmapped, 1 mapped; and the mark each holds.
struct window {
    unsigned char *base;
    unsigned char mapped[PAGES], writable[PAGES];
    uint32_t mark[PAGES];
    uint64_t state;
    // Behind the PAGES lies room for moving, which only this thread uses.
};

static void fail(const char *what)
{
    note("FAIL: %s", what);
    failures++;
}

static uint32_t *word(struct window *window, unsigned page, unsigned at)
{
    return (uint32_t *)(window->base + (size_t)page * PAGE) + at % 1024;
}

static void check_page(struct window *window, unsigned page)
{
    if (!window->mapped[page]) {
        expecting = true;
        if (sigsetjmp(out, 1) == 0) {
            (void)*(volatile uint32_t *)word(window, page, 0);
            fail("an unmapped page can be read");
        }
        expecting = false;
        return;
    }
    for (unsigned at = 0; at < 1024; at += 341) {
        if (*(volatile uint32_t *)word(window, page, at) != window->mark[page]) {
            fail("a page holds something else");
            return;
        }
    }
}

static void set_page(struct window *window, unsigned page, uint32_t mark)
{
    window->mark[page] = mark;
    for (unsigned at = 0; at < 1024; at += 341) {
        *(volatile uint32_t *)word(window, page, at) = mark;
    }
}

static void one_step(struct window *window)
{
    unsigned page = stress_random(&window->state, PAGES);
    unsigned count = 1 + stress_random(&window->state, 12);
    count = page + count > PAGES ? PAGES - page : count;
    unsigned char *at = window->base + (size_t)page * PAGE;
    size_t length = (size_t)count * PAGE;

    switch (stress_random(&window->state, 7)) {
    case 0:
        // A true hole could be taken by another thread's mapping; so unmap, in one call, by mapping
        // nothing accessible over it.
        if (mmap(at, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
                0) != at) {
            fail("unmapping");
        }
        memset(window->mapped + page, 0, count);
        memset(window->writable + page, 0, count);
        break;
    case 1:
        if (mmap(at, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                0) != at) {
            fail("mmap");
            break;
        }
        memset(window->mapped + page, 1, count);
        memset(window->writable + page, 1, count);
        memset(window->mark + page, 0, count * sizeof(uint32_t));
        break;
    case 2:
        for (unsigned i = page; i < page + count; i++) {
            if (window->mapped[i] && window->writable[i]) {
                set_page(window, i, stress_random(&window->state, UINT32_MAX));
            }
        }
        break;
    case 3: {
        bool writable = stress_random(&window->state, 2) != 0;
        while (count > 0 && !window->mapped[page + count - 1]) {
            count--; // not into the inaccessible, which it would open
        }
        for (unsigned i = page; i < page + count; i++) {
            if (!window->mapped[i]) {
                count = i - page;
            }
        }
        if (mprotect(at, (size_t)count * PAGE, writable ? PROT_READ | PROT_WRITE : PROT_READ) !=
            0) {
            fail("mprotect");
        }
        memset(window->writable + page, writable, count);
        break;
    }
    case 4:
        if (madvise(at, length, MADV_DONTNEED) != 0) {
            fail("madvise");
        }
        memset(window->mark + page, 0, count * sizeof(uint32_t));
        break;
    case 5: {
        // Moved away and back.
        bool whole = true;
        for (unsigned i = page; i < page + count; i++) {
            whole &= window->mapped[i] && window->writable[i] == window->writable[page];
        }
        if (whole) {
            void *away = window->base + (size_t)(PAGES + 16) * PAGE;
            if (mremap(at, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, away) != away) {
                // Pages with different histories may be different mappings, which do not move
                // together.
                if (errno != EFAULT) {
                    fail("mremap");
                }
                break;
            }
            if (mmap(at, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != at ||
                mremap(away, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, at) != at ||
                mmap(away, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
                    away) {
                fail("mremap back");
            }
        }
        break;
    }
    default:
        for (unsigned i = page; i < page + count; i++) {
            check_page(window, i);
        }
    }
}

static void *work(void *argument)
{
    struct stress_progress *progress = stress_watch("memory storm thread");
    struct window *window = calloc(1, sizeof(*window));
    size_t index = (size_t)(uintptr_t)argument;
    uint32_t *common =
        mmap(NULL, SHARED_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, shared_file, 0);

    window->state = stress_seed * 77u + index;
    window->base = mmap(
        NULL, (PAGES + 64) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mmap(window->base, PAGES * PAGE, PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != window->base) {
        fail("mmap of a window");
        return NULL;
    }
    memset(window->mapped, 1, sizeof(window->mapped));
    memset(window->writable, 1, sizeof(window->writable));
    while (stress_goes_on() && failures == 0) {
        for (int i = 0; i < 200; i++) {
            one_step(window);
        }
        // Each thread has its own word of every page of the common file.
        for (unsigned page = 0; page < SHARED_PAGES; page++) {
            uint32_t *own = common + page * 1024 + index;
            uint32_t value = ++*own, in_file = 0;
            if (pread(shared_file, &in_file, 4, (off_t)(page * 1024 + index) * 4) != 4 ||
                in_file != value) {
                fail("a file and its mapping differ");
            }
        }
        if (stress_random(&window->state, 10) == 0) {
            pid_t child = fork();
            if (child == 0) {
                for (unsigned i = 0; i < PAGES; i++) {
                    check_page(window, i);
                    if (window->mapped[i] && window->writable[i]) {
                        set_page(window, i, 12345);
                        check_page(window, i);
                    }
                }
                _exit(failures != 0);
            }
            int status;
            if (child > 0 && (waitpid(child, &status, 0) != child || status != 0)) {
                fail("a child's copy");
            }
        }
        progress->count++;
    }
    for (unsigned i = 0; i < PAGES; i++) {
        check_page(window, i);
    }
    stress_done(progress);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_NODEFER};

    stress_start(argc, argv);
    stress_start_watchdog();
    sigaction(SIGSEGV, &action, NULL);
    shared_file = (int)MUST(open("common", O_RDWR | O_CREAT, 0600));
    MUST(ftruncate(shared_file, SHARED_PAGES * PAGE));
    for (size_t i = 0; i < THREADS; i++) {
        MUST(pthread_create(&threads[i], NULL, work, (void *)i) == 0 ? 0 : -1);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK_EQ(failures, 0);
    return check_done();
}
