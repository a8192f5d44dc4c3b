// SPDX-License-Identifier: MIT
//
// Claim: a machine with two memory nodes is described in /sys as its firmware describes it, and a
// program's memory comes from the node of the CPU it runs on while that has some, then from the
// other.
// Method: files of /sys/devices/system/node and getcpu on each CPU; free memory of the nodes before
// and after touching pages on one node, then more pages than that node has.
#include "tests/guest/check.h"

#include <sched.h>

#define MIB ((size_t)1 << 20)

static const char *node_file(int node, const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/%s", node, name);
    return get_file(path);
}

static long node_free_mib(int node)
{
    const char *line = strstr(node_file(node, "meminfo"), "MemFree:");
    return line != NULL ? strtol(line + 8, NULL, 10) / 1024 : -1;
}

static long node_count(int node, const char *name)
{
    const char *line = strstr(node_file(node, "numastat"), name);
    return line != NULL ? strtol(line + strlen(name), NULL, 10) : -1;
}

static void run_on(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    MUST(sched_setaffinity(0, sizeof(set), &set));
}

static void description(void)
{
    CHECK_STR(get_file("/sys/devices/system/node/online"), "0-1\n");
    CHECK_STR(get_file("/sys/devices/system/node/has_memory"), "0-1\n");
    CHECK_STR(get_file("/sys/devices/system/node/has_normal_memory"), "0-1\n");
    CHECK_STR(get_file("/sys/devices/system/node/has_cpu"), "0-1\n");
    CHECK_STR(node_file(0, "distance"), "10 21\n");
    CHECK_STR(node_file(1, "distance"), "21 10\n");
    CHECK_STR(node_file(0, "cpulist"), "0,2\n");
    CHECK_STR(node_file(1, "cpulist"), "1,3\n");
    CHECK_STR(node_file(1, "cpumap"), "a\n");
    for (int cpu = 0; cpu < 4; cpu++) {
        unsigned here, node;
        run_on(cpu);
        OK(syscall(SYS_getcpu, &here, &node, NULL));
        CHECK_EQ(here, (unsigned)cpu);
        CHECK_EQ(node, (unsigned)cpu % 2);
    }
}

static char *touched(size_t bytes)
{
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(memory == MAP_FAILED ? -1 : 0);
    for (size_t at = 0; at < bytes; at += 4096)
        memory[at] = (char)(at >> 12);
    return memory;
}

static void near_memory(int cpu)
{
    const int near = cpu % 2, far = 1 - near;
    run_on(cpu);
    const long near_before = node_free_mib(near), far_before = node_free_mib(far);
    const long hits = node_count(near, "numa_hit"), local = node_count(near, "local_node");
    char *memory = touched(48 * MIB);
    CHECK(near_before - node_free_mib(near) >= 44);
    CHECK(far_before - node_free_mib(far) <= 8);
    CHECK(node_count(near, "numa_hit") - hits >= 44 * 256);
    CHECK(node_count(near, "local_node") - local >= 44 * 256);
    MUST(munmap(memory, 48 * MIB));
    CHECK(near_before - node_free_mib(near) <= 8);
}

// Pages of node 1 are freed by a CPU of node 0: they must not stay there as if they were near.
static void freed_far_away(void)
{
    run_on(1);
    char *memory = touched(48 * MIB);
    run_on(0);
    MUST(munmap(memory, 48 * MIB));
    near_memory(0);
    near_memory(1);
}

static void more_than_a_node_has(void)
{
    const size_t bytes = 300 * MIB;
    run_on(1);
    const long far_before = node_free_mib(0);
    const long missed = node_count(0, "numa_miss"), foreign = node_count(1, "numa_foreign");
    char *memory = touched(bytes);
    CHECK(far_before - node_free_mib(0) >= 44);
    CHECK(node_count(0, "numa_miss") - missed >= 44 * 256);
    CHECK(node_count(1, "numa_foreign") - foreign >= 44 * 256);
    size_t wrong = 0;
    for (size_t at = 0; at < bytes; at += 4096)
        wrong += memory[at] != (char)(at >> 12);
    CHECK_EQ(wrong, 0u);
    MUST(munmap(memory, bytes));
}

int main(void)
{
    description();
    near_memory(2);
    near_memory(3);
    freed_far_away();
    more_than_a_node_has();
    return check_done();
}
