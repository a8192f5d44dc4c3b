// SPDX-License-Identifier: MIT
//
// Claim: after fork each process sees its own memory and nothing of what the others do afterwards,
// also where whole page tables are full of private pages (which a kernel may share between
// processes): over writes by the program, by system calls and by other threads, unmapping,
// mprotect, mremap and MADV_DONTNEED of parts and of whole tables, in trees of processes that live
// at the same time. Method: every process keeps a model of what each page must hold, does random
// operations, forks, and compares.
#include "tests/guest/check.h"
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { PAGE = 4096, TABLE = 512, PAGES = 4 * TABLE + 100, LEAD = 60, DEPTH = 4 };

static unsigned char *base;         // not aligned to a table
static unsigned short model[PAGES]; // 0: all zero
static unsigned long seed;

static unsigned below(unsigned limit)
{
    seed = seed * 6364136223846793005ul + 1442695040888963407ul;
    return (unsigned)(seed >> 33) % limit;
}

static void page_write(unsigned page, unsigned short value)
{
    unsigned short *words = (unsigned short *)(base + (size_t)page * PAGE);
    words[0] = value;
    words[PAGE / 2 - 1] = value;
    model[page] = value;
}

// Number of pages that are not what they must be.
static int wrong_pages(unsigned from, unsigned count)
{
    int wrong = 0;
    for (unsigned i = from; i < from + count; i++) {
        const unsigned short *words = (const unsigned short *)(base + (size_t)i * PAGE);
        wrong += words[0] != model[i] || words[PAGE / 2 - 1] != model[i];
    }
    return wrong;
}

static void range(unsigned *from, unsigned *count)
{
    *from = below(PAGES);
    *count = 1 + below(below(4) == 0 ? 2 * TABLE : 40);
    if (*from + *count > PAGES)
        *count = PAGES - *from;
}

static int forget(unsigned from, unsigned count, int how)
{
    unsigned char *start = base + (size_t)from * PAGE;
    size_t bytes = (size_t)count * PAGE;
    memset(model + from, 0, count * sizeof(model[0]));
    if (how == 0)
        return madvise(start, bytes, MADV_DONTNEED);
    return mmap(start, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
               0) == MAP_FAILED;
}

static int protect(unsigned from, unsigned count)
{
    unsigned char *start = base + (size_t)from * PAGE;
    int wrong = mprotect(start, (size_t)count * PAGE, PROT_NONE);
    wrong += mprotect(start, (size_t)count * PAGE, PROT_READ);
    wrong += wrong_pages(from, count);
    return wrong + mprotect(start, (size_t)count * PAGE, PROT_READ | PROT_WRITE);
}

// Away and back again.
static int move(unsigned from, unsigned count)
{
    unsigned char *start = base + (size_t)from * PAGE;
    size_t bytes = (size_t)count * PAGE;
    unsigned char *away = mremap(start, bytes, bytes, MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
    if (away == MAP_FAILED) { // more than one mapping by now
        return errno != EFAULT && errno != EINVAL;
    }
    int wrong = start[0] != 0;
    wrong += ((unsigned short *)away)[0] != model[from];
    return wrong + (mremap(away, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, start) != start);
}

static int write_by_system_call(unsigned page)
{
    int zero = open("/dev/zero", O_RDONLY);
    long got = read(zero, base + (size_t)page * PAGE, PAGE);
    close(zero);
    model[page] = 0;
    return got != PAGE;
}

static void *toucher(void *argument)
{
    unsigned page = (unsigned)(unsigned long)argument;
    for (unsigned i = 0; i < 64; i++)
        page_write((page + i * 7) % PAGES, (unsigned short)(1000 + i));
    return NULL;
}

static int write_by_thread(void)
{
    pthread_t threads[2];
    // Pages that do not meet: 7 times the step is less than the distance.
    for (unsigned long i = 0; i < 2; i++)
        MUST(pthread_create(&threads[i], NULL, toucher, (void *)(i * 3 * TABLE / 2)) == 0 ? 0 : -1);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    return 0;
}

static int step(void)
{
    unsigned from, count;
    range(&from, &count);
    switch (below(8)) {
    case 0:
        return forget(from, count, 0);
    case 1:
        return forget(from, count, 1);
    case 2:
        return protect(from, count);
    case 3:
        return move(from, count);
    case 4:
        return write_by_system_call(from);
    case 5:
        return below(4) == 0 ? write_by_thread() : 0;
    default:
        for (unsigned i = 0; i < count; i++)
            page_write(from + i, (unsigned short)(1 + below(60000)));
        return 0;
    }
}

// Everything wrong that this process and those below it have seen, at most 100.
static int live(int depth)
{
    int wrong = wrong_pages(0, PAGES), status;
    for (int round = 0; round < (depth == 0 ? 8 : 2); round++) {
        for (int i = 0; i < 6; i++)
            wrong += step() != 0;
        unsigned long mine = seed;
        pid_t child = depth < DEPTH ? fork() : -1;
        if (child == 0) {
            seed = mine * 31 + (unsigned long)depth;
            int below_wrong = live(depth + 1);
            _exit(below_wrong > 100 ? 100 : below_wrong);
        }
        // At the same time as the child.
        for (int i = 0; i < 4; i++)
            wrong += step() != 0;
        if (child > 0 && below(2) == 0) {
            waitpid(child, &status, 0);
            wrong += WIFEXITED(status) ? WEXITSTATUS(status) : 100;
        }
        wrong += wrong_pages(0, PAGES);
    }
    while (wait(&status) > 0)
        wrong += WIFEXITED(status) ? WEXITSTATUS(status) : 100;
    return wrong;
}

int main(int argc, char **argv)
{
    seed = argc > 1 ? strtoul(argv[1], NULL, 0) : 1;
    unsigned char *room = mmap(NULL, (size_t)(LEAD + PAGES + TABLE) * PAGE, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(room != MAP_FAILED);
    base = (unsigned char *)(((unsigned long)room + (unsigned long)TABLE * PAGE - 1) &
                             ~((unsigned long)TABLE * PAGE - 1)) +
           (size_t)LEAD * PAGE;
    // The tables are full.
    for (unsigned i = 0; i < PAGES; i++)
        page_write(i, (unsigned short)(i + 1));
    CHECK_EQ(live(0), 0);
    return check_done();
}
