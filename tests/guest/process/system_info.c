// SPDX-License-Identifier: MIT
//
// Claim: uname, sysinfo, getrandom, sethostname, personality and membarrier give believable answers
// in the right form, and fail as on Linux.
// Method: values are checked for form and consistency; what differs between kernels is not printed.
#include "tests/guest/check.h"
#include <linux/membarrier.h>
#include <sys/random.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

static void names(void)
{
    struct utsname names, again;
    int major = 0, minor = 0;

    OK(uname(&names));
    CHECK_STR(names.sysname, "Linux");
    CHECK_STR(names.machine, "x86_64");
    CHECK(sscanf(names.release, "%d.%d", &major, &minor) == 2 && major >= 5);
    CHECK(names.version[0] == '#');
    char release[80];
    snprintf(release, sizeof(release), "%s\n", names.release);
    CHECK(strcmp(get_file("/proc/sys/kernel/osrelease"), release) == 0);
    ERR(EFAULT, syscall(SYS_uname, 8));

    OK(sethostname("a-new-name", 10));
    OK(uname(&again));
    CHECK_STR(again.nodename, "a-new-name");
    CHECK_STR(get_file("/proc/sys/kernel/hostname"), "a-new-name\n");
    OK(setdomainname("domain", 6));
    OK(uname(&again));
    CHECK_STR(again.domainname, "domain");
    ERR(EINVAL, sethostname("x", 65));
    OK(sethostname(names.nodename, strlen(names.nodename)));
    OK(setdomainname(names.domainname, strlen(names.domainname)));
    if (fork() == 0) {
        setuid(1000);
        ERR(EPERM, sethostname("x", 1));
        _exit(0);
    }
    wait(NULL);
}

static void memory_and_load(void)
{
    struct sysinfo info;
    struct timespec up;

    OK(sysinfo(&info));
    OK(clock_gettime(CLOCK_BOOTTIME, &up));
    CHECK(llabs((long long)info.uptime - up.tv_sec) <= 2);
    CHECK(info.mem_unit > 0 && info.totalram > 0 && info.freeram <= info.totalram);
    CHECK_EQ(info.totalswap, 0);
    CHECK(info.procs > 0);
    unsigned long kilobytes = 0;
    CHECK(sscanf(get_file("/proc/meminfo"), "MemTotal: %lu kB", &kilobytes) == 1);
    CHECK(kilobytes == info.totalram * info.mem_unit / 1024);
    ERR(EFAULT, syscall(SYS_sysinfo, 8));
    CHECK(sysconf(_SC_NPROCESSORS_ONLN) >= 1);
    CHECK_EQ(sysconf(_SC_PAGESIZE), 4096);
}

static void random_bytes(void)
{
    unsigned char a[256] = {0}, b[256] = {0};

    CHECK_EQ(getrandom(a, sizeof(a), 0), 256);
    CHECK_EQ(getrandom(b, sizeof(b), GRND_NONBLOCK), 256);
    CHECK(memcmp(a, b, sizeof(a)) != 0);
    int ones = 0;
    for (size_t i = 0; i < sizeof(a); i++) {
        ones += __builtin_popcount(a[i]);
    }
    CHECK(ones > 700 && ones < 1350);
    CHECK_EQ(getrandom(a, 10, GRND_RANDOM), 10);
    CHECK_EQ(getrandom(a, 0, 0), 0);
    ERR(EINVAL, getrandom(a, 10, 0x100));
    ERR(EINVAL, getrandom(a, 10, GRND_RANDOM | 4 /* GRND_INSECURE */));
    ERR(EFAULT, syscall(SYS_getrandom, 8, 10, 0));
    static char large[1 << 20];
    CHECK_EQ(syscall(SYS_getrandom, large, sizeof(large), 0), 1 << 20);
    CHECK(memchr(large + sizeof(large) - 4096, 0x55, 4096) != NULL);
}

static void barriers(void)
{
    long commands = OK(syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0));
    CHECK((commands & MEMBARRIER_CMD_GLOBAL) != 0);
    CHECK((commands & MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0);
    OK(syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0));
    ERR(EPERM, syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
    OK(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
    OK(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
    ERR(EINVAL, syscall(SYS_membarrier, 1 << 30, 0, 0));
    ERR(EINVAL, syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 77, 0));
}

int main(void)
{
    scratch();
    names();
    memory_and_load();
    random_bytes();
    barriers();
    OK(syscall(SYS_personality, 0xffffffff));
    CHECK_EQ(syscall(SYS_personality, 0xffffffff), 0);
    ERR(ENOSYS, syscall(999));
    ERR(ENOSYS, syscall(-1));
    ERR(ENOSYS, syscall(SYS_create_module));
    return check_done();
}
