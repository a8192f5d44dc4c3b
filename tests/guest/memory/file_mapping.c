// SPDX-License-Identifier: MIT
//
// Claim: shared file mappings and read, write, truncate see one another at once; what is cut off
// gives SIGBUS and comes back as zeroes; holes read as zeroes and fill on writing; memfd with
// seals. Method: one file, mapped twice, changed by each means in turn.
#include "tests/guest/check.h"
#include <setjmp.h>
#include <sys/uio.h>

enum { PAGE = 4096 };

static sigjmp_buf out;
static volatile int caught_code;

static void on_bus(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    caught_code = info->si_code;
    siglongjmp(out, 1);
}

static bool readable(volatile char *address)
{
    caught_code = 0;
    if (sigsetjmp(out, 1) == 0) {
        (void)*address;
        return true;
    }
    return false;
}

static void truncation(void)
{
    int file = (int)MUST(open("file", O_RDWR | O_CREAT, 0600));
    MUST(ftruncate(file, 4 * PAGE));
    char *map = mmap(NULL, 6 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    char *private = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    memset(map, 'm', 4 * PAGE);
    private[2 * PAGE] = 'p'; // a copy of its own
    CHECK(readable(map + 3 * PAGE));
    CHECK(!readable(map + 4 * PAGE));
    CHECK_EQ(caught_code, BUS_ADRERR);
    MUST(ftruncate(file, PAGE + 10));
    CHECK(readable(map + PAGE));
    CHECK(!readable(map + 2 * PAGE));
    CHECK(!readable(private + 2 * PAGE)); // copies go too
    CHECK_EQ(map[PAGE + 9], 'm');
    CHECK_EQ(map[PAGE + 10], 0); // the rest of the page was cleared
    MUST(ftruncate(file, 4 * PAGE));
    CHECK(readable(map + 2 * PAGE) && map[2 * PAGE] == 0 && map[3 * PAGE] == 0);
    CHECK_EQ(map[PAGE + 10], 0);
    // Growing by writing, seen through the old mapping.
    MUST(pwrite(file, "beyond", 6, 5 * PAGE));
    CHECK(readable(map + 5 * PAGE) && memcmp(map + 5 * PAGE, "beyond", 6) == 0);
    CHECK(readable(map + 4 * PAGE) && map[4 * PAGE] == 0);
    // System calls give EFAULT where the program would get SIGBUS.
    MUST(ftruncate(file, PAGE));
    int sink = (int)MUST(open("sink", O_WRONLY | O_CREAT, 0600));
    ERR(EFAULT, write(sink, map + 2 * PAGE, 10));
    CHECK_EQ(write(sink, map + PAGE - 10, 20), 10);
    close(file);
}

static void coherence(void)
{
    int file = (int)MUST(open("coherent", O_RDWR | O_CREAT, 0600));
    char buffer[PAGE];
    MUST(ftruncate(file, 8 * PAGE));
    char *map = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    unsigned state = 1;
    int wrong = 0;
    for (int i = 0; i < 2000; i++) {
        state = state * 1103515245 + 12345;
        off_t at = (state >> 8) % (8 * PAGE - 16);
        int length = (int)((state >> 4) % 16);
        char text[16];
        memset(text, 'a' + (int)(state >> 28), sizeof(text));
        if (state & 0x10000) {
            memcpy(map + at, text, (size_t)length);
            wrong += pread(file, buffer, (size_t)length, at) != length ||
                     memcmp(buffer, text, (size_t)length) != 0;
        } else {
            wrong += pwrite(file, text, (size_t)length, at) != length ||
                     memcmp(map + at, text, (size_t)length) != 0;
        }
    }
    CHECK_EQ(wrong, 0);
    // Between processes.
    int ends[2];
    char byte = 0;
    MUST(pipe(ends));
    pid_t child = fork();
    if (child == 0) {
        MUST(read(ends[0], &byte, 1));
        _exit(map[3 * PAGE] == 'C' ? 0 : 1);
    }
    map[3 * PAGE] = 'C';
    MUST(write(ends[1], "x", 1));
    int status;
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
    // Reading a file into its own mapping, and writing from it.
    CHECK_EQ(pread(file, map, 2 * PAGE, 2 * PAGE), 2 * PAGE);
    CHECK_EQ(map[PAGE], 'C');
    CHECK_EQ(pwrite(file, map, PAGE, PAGE), PAGE);
    CHECK(memcmp(map, map + PAGE, PAGE) == 0);
}

static void memory_files(void)
{
    int file = (int)OK(memfd_create("a name", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    char target[64] = "", path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    MUST(readlink(path, target, sizeof(target) - 1));
    CHECK_STR(target, "/memfd:a name (deleted)");
    CHECK_EQ(fcntl(file, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(file, F_GET_SEALS), 0);
    MUST(ftruncate(file, 2 * PAGE));
    char *map = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    map[0] = 's';
    OK(fcntl(file, F_ADD_SEALS, F_SEAL_GROW));
    ERR(EPERM, ftruncate(file, 3 * PAGE));
    ERR(EPERM, pwrite(file, "x", 1, 2 * PAGE));
    OK(fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK));
    ERR(EPERM, ftruncate(file, PAGE));
    ERR(EBUSY, fcntl(file, F_ADD_SEALS, F_SEAL_WRITE)); // a writable mapping is there
    munmap(map, 2 * PAGE);
    OK(fcntl(file, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL));
    ERR(EPERM, write(file, "x", 1));
    ERR(EPERM, (intptr_t)mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
    map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    CHECK(map != MAP_FAILED && map[0] == 's');
    ERR(EPERM, fcntl(file, F_ADD_SEALS, F_SEAL_GROW));
    CHECK_EQ(fcntl(file, F_GET_SEALS), 15);
    int plain = (int)OK(memfd_create("", 0));
    CHECK_EQ(fcntl(plain, F_GET_SEALS), F_SEAL_SEAL);
    ERR(EPERM, fcntl(plain, F_ADD_SEALS, F_SEAL_WRITE));
    ERR(EINVAL, fcntl(0, F_GET_SEALS));
    ERR(EINVAL, memfd_create("x", 0x100));
    ERR(EFAULT, syscall(SYS_memfd_create, 8, 0));
    char name[300];
    memset(name, 'n', sizeof(name));
    name[250] = 0;
    ERR(EINVAL, memfd_create(name, 0));
    name[249] = 0;
    OK(memfd_create(name, 0));
}

int main(void)
{
    struct sigaction action = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};
    scratch();
    sigaction(SIGBUS, &action, NULL);
    truncation();
    coherence();
    memory_files();
    return check_done();
}
