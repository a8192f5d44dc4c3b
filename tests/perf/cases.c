// SPDX-License-Identifier: MIT
//
// Programs that are slow for a known reason: what docs/profiling.md looks for with `lodger perf`.
//
//   cases lock SECONDS       processes append to one file: its lock is contended
//   cases shootdown SECONDS  threads map, touch and unmap memory that all of them share
//   cases disk SECONDS       one block after another is read from /dev/vda, past the page cache
//   cases well SECONDS       processes that only compute
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORKERS 4
#define PAGE    4096u

static time_t end;

static void append(int worker)
{
    int fd = open("/tmp/log", O_WRONLY | O_CREAT | O_APPEND, 0600);
    char line[64] = "";
    snprintf(line, sizeof(line), "line of worker %d\n", worker);
    for (unsigned i = 0; time(NULL) < end; i++) {
        if (write(fd, line, sizeof(line)) < 0) {
            return;
        }
        if (i % 4096 == 0 && ftruncate(fd, 0) != 0) {
            return;
        }
    }
}

static void compute(int worker)
{
    volatile unsigned sum = (unsigned)worker;
    while (time(NULL) < end) {
        for (unsigned i = 0; i < 1000000; i++) {
            sum += i;
        }
    }
}

static void read_blocks(int worker)
{
    void *block = NULL;
    int fd = open("/dev/vda", O_RDONLY | O_DIRECT);
    if (worker != 0 || fd < 0 || posix_memalign(&block, PAGE, PAGE) != 0) {
        return;
    }
    for (unsigned i = 0; time(NULL) < end; i++) {
        if (pread(fd, block, PAGE, (off_t)(i * 37 % 1024) * PAGE) != PAGE) {
            return;
        }
    }
}

static void *map_and_unmap(void *unused)
{
    while (time(NULL) < end) {
        for (unsigned i = 0; i < 100; i++) {
            char *memory =
                mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (memory == MAP_FAILED) {
                return NULL;
            }
            memory[0] = 1;
            munmap(memory, 4 * PAGE);
        }
    }
    return unused;
}

static void in_processes(void (*work)(int worker))
{
    for (int i = 0; i < WORKERS; i++) {
        if (fork() == 0) {
            work(i);
            _exit(0);
        }
    }
    while (wait(NULL) > 0) {
    }
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    end = time(NULL) + (argc > 2 ? atoi(argv[2]) : 10);
    if (strcmp(what, "lock") == 0) {
        in_processes(append);
    } else if (strcmp(what, "disk") == 0) {
        in_processes(read_blocks);
    } else if (strcmp(what, "well") == 0) {
        in_processes(compute);
    } else if (strcmp(what, "shootdown") == 0) {
        pthread_t threads[WORKERS];
        for (int i = 0; i < WORKERS; i++) {
            if (pthread_create(&threads[i], NULL, map_and_unmap, NULL) != 0) {
                return 1;
            }
        }
        for (int i = 0; i < WORKERS; i++) {
            pthread_join(threads[i], NULL);
        }
    } else {
        fprintf(stderr, "usage: cases lock|shootdown|disk|well SECONDS\n");
        return 2;
    }
    return 0;
}
