// SPDX-License-Identifier: MIT
//
// Claim: the nodes of /dev: null, zero, full, random, urandom, tty, console, ptmx, and the links to
// descriptors, with Linux's numbers, modes and behaviour.
// Method: reads, writes, seeks and maps of each.
#include "tests/guest/check.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

static void nodes(void)
{
    static const struct {
        const char *path;
        unsigned major, minor, mode;
    } wanted[] = {{"/dev/null", 1, 3, 0666}, {"/dev/zero", 1, 5, 0666}, {"/dev/full", 1, 7, 0666},
        {"/dev/random", 1, 8, 0666}, {"/dev/urandom", 1, 9, 0666}, {"/dev/kmsg", 1, 11, 0644},
        {"/dev/tty", 5, 0, 0666}, {"/dev/console", 5, 1, 0600}, {"/dev/ptmx", 5, 2, 0666}};
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
        struct stat about;
        bool right = stat(wanted[i].path, &about) == 0 && S_ISCHR(about.st_mode) &&
                     about.st_rdev == makedev(wanted[i].major, wanted[i].minor) &&
                     (about.st_mode & 0777) == wanted[i].mode;
        note("%s: %s", wanted[i].path, right ? "right" : "wrong");
        CHECK_QUIET(right);
    }
}

static void null_and_zero(void)
{
    char bytes[64];
    int null = (int)OK(open("/dev/null", O_RDWR)), zero = (int)OK(open("/dev/zero", O_RDWR));
    int full = (int)OK(open("/dev/full", O_RDWR));

    CHECK_EQ(read(null, bytes, sizeof(bytes)), 0);
    CHECK_EQ(write(null, bytes, sizeof(bytes)), 64);
    CHECK_EQ(write(null, NULL, 1 << 20), 1 << 20); // never looks at the bytes
    CHECK_EQ(lseek(null, 100, SEEK_SET), 0);
    memset(bytes, 1, sizeof(bytes));
    CHECK_EQ(read(zero, bytes, sizeof(bytes)), 64);
    CHECK(bytes[0] == 0 && bytes[63] == 0);
    CHECK_EQ(write(zero, bytes, 10), 10);
    static char large[1 << 20];
    memset(large, 1, sizeof(large));
    CHECK_EQ(read(zero, large, sizeof(large)), 1 << 20);
    CHECK(large[0] == 0 && large[(1 << 20) - 1] == 0);
    ERR(ENOSPC, write(full, bytes, 1));
    CHECK_EQ(read(full, bytes, 5), 5);
    char *map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero, 0);
    CHECK(map != MAP_FAILED && map[0] == 0 && map[8191] == 0);
    map[5000] = 1;
    char *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, zero, 0);
    if (fork() == 0) {
        shared[0] = 'S';
        _exit(0);
    }
    wait(NULL);
    CHECK_EQ(shared[0], 'S');
    ERR(ENODEV, (intptr_t)mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, null, 0));
    struct pollfd sources[2] = {
        {.fd = null, .events = POLLIN | POLLOUT}, {.fd = zero, .events = POLLIN | POLLOUT}};
    CHECK_EQ(poll(sources, 2, 0), 2);
    CHECK(sources[0].revents == (POLLIN | POLLOUT) && sources[1].revents == (POLLIN | POLLOUT));
    ERR(ENOTTY, ioctl(null, TIOCGWINSZ, bytes));
}

static void randoms(void)
{
    static const char *const paths[] = {"/dev/random", "/dev/urandom"};
    for (int i = 0; i < 2; i++) {
        unsigned char a[512], b[512];
        int file = (int)OK(open(paths[i], O_RDWR));
        CHECK_EQ(read(file, a, sizeof(a)), 512);
        CHECK_EQ(read(file, b, sizeof(b)), 512);
        CHECK(memcmp(a, b, sizeof(a)) != 0);
        int ones = 0;
        for (size_t k = 0; k < sizeof(a); k++) {
            ones += __builtin_popcount(a[k]);
        }
        CHECK(ones > 1700 && ones < 2400);
        CHECK_EQ(write(file, a, 10), 10); // adds to the pool
        ERR(EFAULT, read(file, (void *)8, 10));
        close(file);
    }
}

static void descriptors(void)
{
    char text[16] = "", target[64] = "";
    MUST(readlink("/proc/self/fd/0", target, sizeof(target) - 1));
    CHECK_STR(target, "/dev/null");
    put_file("file", "contents", 0644);
    int file = (int)MUST(open("file", O_RDONLY));
    MUST(dup2(file, 50));
    int again = (int)OK(open("/proc/self/fd/50", O_RDONLY));
    CHECK_EQ(read(again, text, 3), 3);
    CHECK_EQ(lseek(file, 0, SEEK_CUR), 0); // a fresh opening, not a duplicate
    ERR(ENXIO, open("/dev/tty", O_RDWR));  // no controlling terminal
    ERR(ENOTTY, ioctl(50, TIOCNOTTY));
}

int main(void)
{
    scratch();
    nodes();
    null_and_zero();
    randoms();
    descriptors();
    return check_done();
}
