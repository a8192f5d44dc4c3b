// SPDX-License-Identifier: MIT
//
// Claim: allocations that fail anywhere in the kernel give an error to the program that asked, and
// nothing else: no panic, nothing lost.
// Method: children whose allocations fail at random (/proc/lodger/fail_alloc chooses them by name)
// do all sorts of things, and take every error for an answer; many die by it. What the kernel had
// in use before and has afterwards, by slab cache and in pages, must be the same but for what it
// keeps in caches of its own, which the first, unharmed, round has filled.
#include "tests/guest/stress/stress.h"

#include <dirent.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

enum { PAGE = 4096, NAMES = 6, OPERATIONS = 40, CACHES = 128, SLACK = 24, VMAP_SLACK = 230 };

// ---- what a child does ----

static void own_memory(uint64_t *random)
{
    size_t bytes = (size_t)(1 + stress_random(random, 200)) * PAGE;
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return;
    for (size_t at = 0; at < bytes; at += PAGE)
        memory[at] = 1;
    (void)!mprotect(memory + bytes / 2 / PAGE * PAGE, PAGE, PROT_READ);
    char *moved = mremap(memory, PAGE, 4 * PAGE, MREMAP_MAYMOVE);
    if (moved != MAP_FAILED)
        munmap(moved, 4 * PAGE);
    munmap(memory, bytes);
}

static void file_memory(uint64_t *random)
{
    int file = memfd_create("memory", MFD_CLOEXEC);
    if (file < 0)
        return;
    size_t bytes = (size_t)(1 + stress_random(random, 64)) * PAGE;
    if (ftruncate(file, (off_t)bytes) == 0) {
        char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (memory != MAP_FAILED) {
            (void)!pwrite(file, "x", 1, (off_t)(bytes - 1));
            munmap(memory, bytes);
        }
    }
    close(file);
}

static void names(uint64_t *random)
{
    char name[8], other[8];
    snprintf(name, sizeof(name), "n%u", stress_random(random, NAMES));
    snprintf(other, sizeof(other), "n%u", stress_random(random, NAMES));
    int file = open(name, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (file >= 0) {
        (void)!write(file, "some bytes", 10);
        close(file);
    }
    (void)!rename(name, other);
    (void)!link(other, name);
    (void)!symlink("target", "s0");
    (void)!unlink("s0");
    (void)!mkdir("d0", 0700);
    DIR *directory = opendir(".");
    if (directory != NULL) {
        while (readdir(directory) != NULL) {
        }
        closedir(directory);
    }
    (void)!rmdir("d0");
    (void)!unlink(other);
    (void)!unlink(name);
}

static void pipes(uint64_t *random)
{
    static char bytes[3 * PAGE];
    int ends[2];
    if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0)
        return;
    (void)!write(ends[1], bytes, 1 + stress_random(random, sizeof(bytes)));
    (void)!read(ends[0], bytes, sizeof(bytes));
    (void)!fcntl(ends[0], F_SETPIPE_SZ, 32 * PAGE);
    close(ends[0]);
    close(ends[1]);
}

static void sockets(uint64_t *random)
{
    int ends[2];
    if (socketpair(AF_UNIX, stress_random(random, 2) != 0 ? SOCK_STREAM : SOCK_DGRAM, 0, ends) != 0)
        return;
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec piece = {.iov_base = (char *)"x", .iov_len = 1};
    struct msghdr message = {.msg_iov = &piece,
        .msg_iovlen = 1,
        .msg_control = control,
        .msg_controllen = sizeof(control)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &ends[0], sizeof(int));
    // A pipe's end instead of a socket is one that may be passed.
    int through[2];
    if (pipe(through) == 0) {
        memcpy(CMSG_DATA(header), &through[0], sizeof(int));
        (void)!sendmsg(ends[0], &message, MSG_DONTWAIT);
        close(through[0]);
        close(through[1]);
    }
    char received[2];
    (void)!recv(ends[1], received, sizeof(received), MSG_DONTWAIT);
    close(ends[0]);
    close(ends[1]);
}

static void events(uint64_t *random)
{
    (void)random;
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    struct epoll_event event = {.events = EPOLLIN};
    int files[] = {epoll_create1(EPOLL_CLOEXEC), eventfd(1, EFD_CLOEXEC),
        timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), signalfd(-1, &signals, SFD_CLOEXEC),
        inotify_init1(IN_CLOEXEC)};
    for (size_t i = 1; files[0] >= 0 && i < ARRAY_SIZE(files); i++)
        (void)!epoll_ctl(files[0], EPOLL_CTL_ADD, files[i], &event);
    (void)!inotify_add_watch(files[4], ".", IN_ALL_EVENTS);
    (void)!epoll_wait(files[0], &event, 1, 0);
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        if (files[i] >= 0)
            close(files[i]);
    }
    timer_t timer;
    if (timer_create(CLOCK_MONOTONIC, NULL, &timer) == 0)
        timer_delete(timer);
}

static char own_path[256];

static void *thread_body(void *argument)
{
    return argument;
}

static void threads_and_children(uint64_t *random)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, thread_body, NULL) == 0)
        pthread_join(thread, NULL);
    pid_t child = fork();
    if (child == 0) {
        if (stress_random(random, 3) == 0) {
            char *arguments[] = {(char *)"alloc_failure", (char *)"leave", NULL};
            execv(own_path, arguments); // not /proc/self/exe: see system_files()
        }
        _exit(0);
    }
    if (child > 0)
        waitpid(child, NULL, 0);
}

// None of /proc/PID: the names of those stay cached, with the tasks that they stand for, until
// memory is short.
static void system_files(uint64_t *random)
{
    static const char *const paths[] = {"/proc/meminfo", "/proc/stat", "/proc/slabinfo",
        "/proc/vmstat", "/proc/lodger/counters", "/proc/cpuinfo"};
    char text[512];
    int file = open(paths[stress_random(random, ARRAY_SIZE(paths))], O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    while (read(file, text, sizeof(text)) > 0) {
    }
    close(file);
}

static void shared_segments(uint64_t *random)
{
    (void)random;
    int id = shmget(IPC_PRIVATE, 8 * PAGE, IPC_CREAT | 0600);
    if (id < 0)
        return;
    char *memory = shmat(id, NULL, 0);
    shmctl(id, IPC_RMID, NULL);
    if (memory != (char *)-1)
        shmdt(memory);
}

static void child_body(unsigned seed)
{
    static void (*const operations[])(uint64_t * random) = {own_memory, file_memory, names, pipes,
        sockets, events, threads_and_children, system_files, shared_segments};
    uint64_t random = seed;
    for (unsigned i = 0; i < OPERATIONS; i++)
        operations[stress_random(&random, ARRAY_SIZE(operations))](&random);
    _exit(0);
}

// ---- what is in use ----

struct usage {
    unsigned count;
    struct {
        char name[40];
        long in_use;
    } of[CACHES];
};

static void usage_add(struct usage *usage, const char *name, long in_use)
{
    MUST(usage->count < CACHES ? 0 : -1);
    snprintf(usage->of[usage->count].name, sizeof(usage->of[0].name), "%s", name);
    usage->of[usage->count++].in_use = in_use;
}

static void usage_read(struct usage *usage)
{
    static const char *const pages[] = {"AnonPages", "KernelStack", "PageTables", "Shmem"};
    static char text[32768];
    char name[40];
    long in_use;
    usage->count = 0;
    FILE *file = fopen("/proc/slabinfo", "r");
    MUST(file != NULL ? 0 : -1);
    while (fgets(text, sizeof(text), file) != NULL) {
        if (text[0] != '#' && sscanf(text, "%39s %ld", name, &in_use) == 2)
            usage_add(usage, name, in_use);
    }
    fclose(file);
    file = fopen("/proc/meminfo", "r");
    MUST(file != NULL ? 0 : -1);
    while (fgets(text, sizeof(text), file) != NULL) {
        for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
            size_t len = strlen(pages[i]);
            if (strncmp(text, pages[i], len) == 0 && text[len] == ':')
                usage_add(usage, pages[i], strtol(text + len + 1, NULL, 10) / 4);
        }
    }
    fclose(file);
}

static long usage_before(const struct usage *before, const char *name)
{
    for (unsigned i = 0; i < before->count; i++) {
        if (strcmp(before->of[i].name, name) == 0)
            return before->of[i].in_use;
    }
    return 0;
}

// Prints what grew, with `complain`. How many kinds did.
static int usage_grown(const struct usage *before, const struct usage *now, bool complain)
{
    int grown = 0;
    for (unsigned i = 0; i < now->count; i++) {
        long more = now->of[i].in_use - usage_before(before, now->of[i].name);
        // Freed addresses of kernel stacks are kept until all are used up (mm/vmap.c): two hundred.
        if (more <= (strcmp(now->of[i].name, "vmap_region") == 0 ? VMAP_SLACK : SLACK))
            continue;
        grown++;
        if (complain)
            note("FAIL %s: %ld more in use than before", now->of[i].name, more);
    }
    return grown;
}

// ---- rounds ----

#define FAILED_MIN 100u
#define ROUNDS_MAX 1000u

static void fail_one_in(unsigned one_in)
{
    char text[64];
    int file = (int)MUST(open("/proc/lodger/fail_alloc", O_WRONLY | O_CLOEXEC));
    int len = snprintf(text, sizeof(text), "one-in=%u task=failing\n", one_in);
    MUST(write(file, text, (size_t)len) == len ? 0 : -1);
    close(file);
}

static unsigned long failures(void)
{
    const char *line = strstr(get_file("/proc/lodger/fail_alloc"), "failed ");
    return line != NULL ? strtoul(line + 7, NULL, 10) : 0;
}

static void clean_up(void)
{
    char name[8];
    for (unsigned i = 0; i < NAMES; i++) {
        snprintf(name, sizeof(name), "n%u", i);
        (void)!unlink(name);
    }
    (void)!unlink("s0");
    (void)!rmdir("d0");
}

// A child and what becomes of it; true if it came to its end.
static bool round_once(unsigned seed, bool failing)
{
    int status;
    pid_t child = (pid_t)MUST(fork());
    if (child == 0) {
        prctl(PR_SET_NAME, failing ? "failing" : "working");
        alarm(20);
        child_body(seed);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    // Segments, and children of the child, end with it or belong to init; names stay.
    clean_up();
    CHECK_QUIET(!WIFSIGNALED(status) || WTERMSIG(status) != SIGALRM); // it stood still
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(int argc, char **argv)
{
    static const unsigned chances[] = {400, 100, 30, 10, 4};
    static struct usage before, after;
    unsigned long failed = 0, ended = 0, rounds = 0;
    if (argc > 1 && strcmp(argv[1], "leave") == 0)
        return 0;
    MUST(readlink("/proc/self/exe", own_path, sizeof(own_path) - 1));
    stress_start(argc, argv);
    for (unsigned i = 0; i < 60; i++)
        CHECK_QUIET(round_once(i, false));
    usage_read(&before);
    // On a slow host warming up takes the time that was given: some rounds have to be in any case.
    while (stress_goes_on() || ((failed <= FAILED_MIN || ended == 0) && rounds < ROUNDS_MAX)) {
        fail_one_in(chances[rounds % ARRAY_SIZE(chances)]);
        ended += round_once(stress_seed + (unsigned)rounds++, true);
        failed += failures();
    }
    fail_one_in(0);
    CHECK(failed > FAILED_MIN);
    CHECK(ended > 0);
    // Frees may wait for grace periods and other threads.
    int grown = 1;
    for (unsigned i = 0; i < 50 && grown != 0; i++) {
        usleep(100000);
        usage_read(&after);
        grown = usage_grown(&before, &after, false);
    }
    CHECK_EQ(usage_grown(&before, &after, true), 0);
    CHECK_QUIET(round_once(1, false)); // and everything works still
    return check_done();
}
