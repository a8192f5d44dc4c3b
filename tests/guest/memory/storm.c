// SPDX-License-Identifier: MIT
//
// Claim: memory keeps what was written to it, and shows zeroes where nothing was, whatever mmap,
// munmap, mprotect, mremap, madvise, fork and truncation do to it, and however it is moved between
// memory nodes (where there are two), on several CPUs at once. Method:
// each worker keeps a model of its pages (what each must hold) and does random operations; threads
// of one process do so side by side in one address space, children check what they inherited.
// SECONDS (argument 1, default 4) long.
#include "tests/guest/check.h"
#include <linux/mempolicy.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>

enum { PAGE = 4096, PAGES = 64, REGIONS = 6, THREADS = 4, PROCESSES = 4 };

struct worker {
    uint64_t seed;
    struct region {
        char *start;
        int pages;
        bool writable;
        uint64_t holds[PAGES]; // first word of each page; 0: never written
    } regions[REGIONS];
    uint64_t operations;
};

static time_t deadline;
static unsigned long nodes; // mask of those that have memory

static uint64_t next_random(struct worker *worker)
{
    worker->seed ^= worker->seed << 13;
    worker->seed ^= worker->seed >> 7;
    worker->seed ^= worker->seed << 17;
    return worker->seed;
}

static void fail(const char *what)
{
    printf("FAILED: %s (errno %s)\n", what, errno_name(errno));
    fflush(stdout);
    _exit(1);
}

static void check_page(const struct region *region, int page)
{
    const volatile uint64_t *words = (const uint64_t *)(region->start + (size_t)page * PAGE);
    if (words[0] != region->holds[page] || words[511] != region->holds[page]) {
        printf("page %d of %d holds %lx and %lx instead of %lx\n", page, region->pages,
            (unsigned long)words[0], (unsigned long)words[511], (unsigned long)region->holds[page]);
        fail("content");
    }
}

static void write_page(struct worker *worker, struct region *region, int page)
{
    volatile uint64_t *words = (uint64_t *)(region->start + (size_t)page * PAGE);
    check_page(region, page);
    uint64_t value = next_random(worker);
    words[0] = value;
    words[511] = value;
    region->holds[page] = value;
}

static void map_region(struct worker *worker, struct region *region)
{
    memset(region, 0, sizeof(*region));
    region->pages = 1 + (int)(next_random(worker) % PAGES);
    region->start = mmap(NULL, (size_t)region->pages * PAGE, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (region->start == MAP_FAILED) {
        fail("mmap");
    }
    region->writable = true;
}

static void unmap_region(struct region *region)
{
    if (region->start != NULL && munmap(region->start, (size_t)region->pages * PAGE) != 0) {
        fail("munmap");
    }
    region->start = NULL;
}

static void protect(struct worker *worker, struct region *region)
{
    region->writable = next_random(worker) % 3 != 0;
    if (mprotect(region->start, (size_t)region->pages * PAGE,
            PROT_READ | (region->writable ? PROT_WRITE : 0)) != 0) {
        fail("mprotect");
    }
}

static void move(struct worker *worker, struct region *region)
{
    int pages = 1 + (int)(next_random(worker) % PAGES);
    char *moved =
        mremap(region->start, (size_t)region->pages * PAGE, (size_t)pages * PAGE, MREMAP_MAYMOVE);
    if (moved == MAP_FAILED) {
        fail("mremap");
    }
    for (int i = region->pages; i < pages; i++) {
        region->holds[i] = 0;
    }
    region->start = moved;
    region->pages = pages;
}

static void discard(struct worker *worker, struct region *region)
{
    int first = (int)(next_random(worker) % (uint64_t)region->pages);
    int count = 1 + (int)(next_random(worker) % (uint64_t)(region->pages - first));
    if (madvise(region->start + (size_t)first * PAGE, (size_t)count * PAGE, MADV_DONTNEED) != 0) {
        fail("madvise");
    }
    memset(&region->holds[first], 0, (size_t)count * sizeof(region->holds[0]));
}

// Its pages shall lie on one node from now on, and those that are there move.
static void relocate(struct worker *worker, struct region *region)
{
    unsigned long node = next_random(worker) % 2 != 0 ? nodes & -nodes : nodes & (nodes - 1);
    if (node != 0 && syscall(SYS_mbind, region->start, (size_t)region->pages * PAGE, MPOL_PREFERRED,
                         &node, 64, MPOL_MF_MOVE) != 0) {
        fail("mbind");
    }
}

static void check_all(struct worker *worker)
{
    for (int r = 0; r < REGIONS; r++) {
        for (int p = 0; worker->regions[r].start != NULL && p < worker->regions[r].pages; p++) {
            check_page(&worker->regions[r], p);
        }
    }
}

// A child sees what the parent had, changes it, and the parent sees nothing of that. (Threads: of a
// fork only this worker's regions are known to hold still.)
static void fork_and_check(struct worker *worker)
{
    pid_t child = fork();
    if (child < 0) {
        fail("fork");
    }
    if (child == 0) {
        check_all(worker);
        for (int r = 0; r < REGIONS; r++) {
            struct region *region = &worker->regions[r];
            for (int p = 0; region->start != NULL && region->writable && p < region->pages;
                p += 3) {
                write_page(worker, region, p);
            }
        }
        check_all(worker);
        _exit(0);
    }
    // The parent goes on meanwhile.
    for (int r = 0; r < REGIONS; r++) {
        struct region *region = &worker->regions[r];
        for (int p = 1; region->start != NULL && region->writable && p < region->pages; p += 5) {
            write_page(worker, region, p);
        }
    }
    int status;
    if (waitpid(child, &status, 0) != child || status != 0) {
        fail("child");
    }
    check_all(worker);
}

static void work(struct worker *worker)
{
    while (time(NULL) < deadline) {
        struct region *region = &worker->regions[next_random(worker) % REGIONS];
        uint64_t choice = next_random(worker) % 64;
        worker->operations++;
        if (region->start == NULL) {
            map_region(worker, region);
            continue;
        }
        int page = (int)(next_random(worker) % (uint64_t)region->pages);
        if (choice < 30) {
            if (region->writable) {
                write_page(worker, region, page);
            }
        } else if (choice < 44) {
            check_page(region, page);
        } else if (choice < 48) {
            protect(worker, region);
        } else if (choice < 52) {
            move(worker, region);
        } else if (choice < 56) {
            discard(worker, region);
        } else if (choice == 56) {
            relocate(worker, region);
        } else if (choice < 60) {
            for (int p = 0; region->writable && p < region->pages; p++) {
                write_page(worker, region, p);
            }
        } else if (choice < 63) {
            unmap_region(region);
        } else {
            fork_and_check(worker);
        }
    }
    check_all(worker);
    for (int r = 0; r < REGIONS; r++) {
        unmap_region(&worker->regions[r]);
    }
}

static void *thread_main(void *argument)
{
    work(argument);
    return NULL;
}

static void storm(int process)
{
    static struct worker workers[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        workers[i].seed = UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(process * THREADS + i + 1);
        if (pthread_create(&threads[i], NULL, thread_main, &workers[i]) != 0) {
            fail("pthread_create");
        }
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        if (workers[i].operations == 0) {
            fail("a thread never ran");
        }
    }
}

// ---- a shared file that is truncated while others read and write it through mappings ----

static _Thread_local sigjmp_buf bus_return;

static void on_bus(int number)
{
    (void)number;
    siglongjmp(bus_return, 1);
}

static void file_storm(int file, int index)
{
    struct worker worker = {.seed = UINT64_C(0xd1b54a32d192ed03) * (uint64_t)(index + 1)};
    signal(SIGBUS, on_bus);
    while (time(NULL) < deadline) {
        if (index == 0) {
            if (ftruncate(file, (off_t)(next_random(&worker) % (PAGES * PAGE))) != 0) {
                fail("ftruncate");
            }
            continue;
        }
        volatile uint64_t *words = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
            index % 2 ? MAP_SHARED : MAP_PRIVATE, file, 0);
        if (words == MAP_FAILED) {
            fail("mmap of the file");
        }
        for (int i = 0; i < 50; i++) {
            if (sigsetjmp(bus_return, 1) == 0) {
                uint64_t word = next_random(&worker) % (PAGES * PAGE / 8);
                uint64_t found = words[word];
                // Either nothing or what somebody wrote there.
                if (found != 0 && found != word * 3 + 1) {
                    fail("content of the file");
                }
                words[word] = word * 3 + 1;
            }
        }
        munmap((void *)(uintptr_t)words, PAGES * PAGE);
    }
}

int main(int argc, char **argv)
{
    deadline = time(NULL) + (argc > 1 ? atoi(argv[1]) : 4);
    scratch();
    // Kernels without memory policies have one node.
    if (syscall(SYS_get_mempolicy, NULL, &nodes, 64, NULL, MPOL_F_MEMS_ALLOWED) != 0) {
        nodes = 1;
    }
    int file = (int)OK(open("file", O_RDWR | O_CREAT, 0600));
    fflush(stdout);
    pid_t children[PROCESSES + 4];
    for (int i = 0; i < PROCESSES + 4; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            if (i < PROCESSES) {
                storm(i);
            } else {
                file_storm(file, i - PROCESSES);
            }
            _exit(0);
        }
    }
    for (int i = 0; i < PROCESSES + 4; i++) {
        int status = -1;
        waitpid(children[i], &status, 0);
        CHECK_STR(status_text(status), "exit 0");
    }
    return check_done();
}
