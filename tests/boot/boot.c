// SPDX-License-Identifier: MIT
//
// Claim: on every machine configuration the kernel finds all processors and all memory, and can use
// them. Method: the command says in the boot options what the machine has (lodger.cpus=,
// lodger.memory=, in bytes). A thread is sent to every processor, most of the free memory is
// written and read back, and time and sleep are compared.
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

// What the kernel may keep of the memory for itself: a fifth (with KASAN an eighth is shadow), and
// this.
#define KERNEL_SHARE_BYTES (6u << 20)
// How much memory is filled at most, so that big machines do not take long.
#define FILLED_MAX_BYTES (64u << 20)

static unsigned failures;

static void check(bool holds, const char *what, unsigned long long got, unsigned long long want)
{
    if (!holds) {
        printf("FAIL %s: got %llu, want %llu\n", what, got, want);
        failures++;
    } else {
        printf("ok %s\n", what);
    }
}

// The number behind `key` on the kernel's command line, 0 if it is not there.
static unsigned long long boot_option(const char *key)
{
    char line[4096] = "";
    int fd = open("/proc/cmdline", O_RDONLY);
    ssize_t len = fd >= 0 ? read(fd, line, sizeof(line) - 1) : 0;
    close(fd);
    line[len > 0 ? len : 0] = '\0';
    const char *at = strstr(line, key);
    return at != NULL ? strtoull(at + strlen(key), NULL, 10) : 0;
}

static void check_cpus(unsigned count)
{
    unsigned reached = 0;
    for (unsigned cpu = 0; cpu < count; cpu++) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        if (sched_setaffinity(0, sizeof(one), &one) == 0 && sched_getcpu() == (int)cpu) {
            reached++;
        }
    }
    check(reached == count, "a thread can run on every processor", reached, count);
    cpu_set_t all;
    memset(&all, 0xff, sizeof(all));
    check(sched_setaffinity(0, sizeof(all), &all) == 0, "and may run anywhere again", 0, 0);
    check((unsigned)sysconf(_SC_NPROCESSORS_ONLN) == count, "no processor is missing or invented",
        (unsigned long long)sysconf(_SC_NPROCESSORS_ONLN), count);
}

static void check_memory(unsigned long long machine_bytes)
{
    struct sysinfo info;
    sysinfo(&info);
    unsigned long long total = (unsigned long long)info.totalram * info.mem_unit;
    unsigned long long expected = machine_bytes - machine_bytes / 5 - KERNEL_SHARE_BYTES;
    check(total >= expected, "the machine's memory is there", total, expected);
    check(total <= machine_bytes, "and no more than that", total, machine_bytes);

    size_t fill = (size_t)info.freeram * info.mem_unit / 2;
    fill = (fill < FILLED_MAX_BYTES ? fill : FILLED_MAX_BYTES) & ~(size_t)4095;
    uint64_t *memory = mmap(NULL, fill, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        check(false, "half of the free memory can be mapped", 0, fill);
        return;
    }
    size_t wrong = 0;
    for (size_t i = 0; i < fill / sizeof(*memory); i += 512) {
        wrong += memory[i] != 0;
        memory[i] = i * 0x9e3779b97f4a7c15u;
    }
    for (size_t i = 0; i < fill / sizeof(*memory); i += 512) {
        wrong += memory[i] != i * 0x9e3779b97f4a7c15u;
    }
    check(wrong == 0, "half of the free memory can be used", wrong, 0);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void check_time(void)
{
    uint64_t start_ns = now_ns();
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    uint64_t slept_ns = now_ns() - start_ns;
    check(slept_ns >= 20000000, "a sleep of 20 ms takes 20 ms", slept_ns, 20000000);
    // On a loaded host a virtual CPU may stand still for seconds.
    check(slept_ns < 20000000000u, "and not for ever", slept_ns, 20000000000u);
}

int main(void)
{
    unsigned long long cpus = boot_option("lodger.cpus=");
    unsigned long long memory_bytes = boot_option("lodger.memory=");
    check(cpus > 0, "the boot options arrive", cpus, 1);
    check_cpus((unsigned)cpus);
    check_memory(memory_bytes);
    check_time();
    return failures > 0;
}
