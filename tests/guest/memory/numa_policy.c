// SPDX-License-Identifier: MIT
//
// Claim: memory policies say from which node pages come, pages move when they are told to and keep
// their content meanwhile, and the calls check their arguments, as on Linux.
// Method: from a CPU of node 0, pages are touched under each policy and move_pages tells where they
// lie; then they are moved, also while another thread writes to them.
#include "tests/guest/check.h"

#include <asm/unistd_64.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <sched.h>

enum { PAGE = 4096, PAGES = 16, HUGE = 2 << 20 };

static const unsigned long node0 = 1, node1 = 2, both = 3;

static long set_policy(int mode, unsigned long nodes)
{
    return syscall(SYS_set_mempolicy, mode, &nodes, 64);
}

static long bind_range(void *start, size_t len, int mode, unsigned long nodes, unsigned flags)
{
    return syscall(SYS_mbind, start, len, mode, nodes != 0 ? &nodes : NULL, 64, flags);
}

static void *mapping(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(memory == MAP_FAILED ? -1 : 0);
    return memory;
}

static void write_pages(unsigned char *memory, int pages)
{
    for (int i = 0; i < pages; i++)
        memset(memory + (size_t)i * PAGE, i + 1, PAGE);
}

static int wrong_pages(const unsigned char *memory, int pages)
{
    int wrong = 0;
    for (int i = 0; i < pages; i++) {
        const unsigned char *page = memory + (size_t)i * PAGE;
        wrong += page[0] != (unsigned char)(i + 1) || memcmp(page, page + 1, PAGE - 1) != 0;
    }
    return wrong;
}

// The node of the page, or -errno.
static int node_of(const void *address)
{
    int status = 1000;
    MUST(syscall(SYS_move_pages, 0, 1, &address, NULL, &status, 0));
    return status;
}

static int pages_on(const unsigned char *memory, int pages, int node)
{
    int count = 0;
    for (int i = 0; i < pages; i++)
        count += node_of(memory + (size_t)i * PAGE) == node;
    return count;
}

// Touches fresh memory under the policies as they are; how many pages come to lie on node 1.
static int fresh_on_node1(void)
{
    unsigned char *memory = mapping(PAGES * PAGE);
    write_pages(memory, PAGES);
    int count = pages_on(memory, PAGES, 1);
    MUST(munmap(memory, PAGES * PAGE));
    return count;
}

static void thread_policies(void)
{
    CHECK_EQ(fresh_on_node1(), 0);
    OK(set_policy(MPOL_BIND, node1));
    CHECK_EQ(fresh_on_node1(), PAGES);
    OK(set_policy(MPOL_PREFERRED, node1));
    CHECK_EQ(fresh_on_node1(), PAGES);
    OK(set_policy(MPOL_PREFERRED_MANY, node1));
    CHECK_EQ(fresh_on_node1(), PAGES);
    OK(set_policy(MPOL_INTERLEAVE, both));
    CHECK_EQ(fresh_on_node1(), PAGES / 2);
    OK(set_policy(MPOL_LOCAL, 0));
    CHECK_EQ(fresh_on_node1(), 0);
    OK(set_policy(MPOL_BIND, both)); // the nearest of them
    CHECK_EQ(fresh_on_node1(), 0);
    OK(set_policy(MPOL_BIND | MPOL_F_RELATIVE_NODES, 1ul << 3)); // 3 modulo 2 nodes
    CHECK_EQ(fresh_on_node1(), PAGES);
    OK(set_policy(MPOL_DEFAULT, 0));
    CHECK_EQ(fresh_on_node1(), 0);
}

static void area_policies(void)
{
    unsigned char *memory = mapping(4 * PAGES * PAGE);
    unsigned char *second = memory + PAGES * PAGE, *third = second + PAGES * PAGE;
    OK(set_policy(MPOL_BIND, node1));
    OK(bind_range(memory, PAGES * PAGE, MPOL_INTERLEAVE, both, 0));
    OK(bind_range(second, PAGES * PAGE, MPOL_LOCAL, 0, 0));
    write_pages(memory, 3 * PAGES);
    CHECK_EQ(pages_on(memory, PAGES, 1), PAGES / 2);
    CHECK(node_of(memory) != node_of(memory + PAGE));
    CHECK_EQ(pages_on(second, PAGES, 1), 0);
    CHECK_EQ(pages_on(third, PAGES, 1), PAGES); // the thread's
    OK(set_policy(MPOL_DEFAULT, 0));
    // It stays with its addresses when the area is cut, and goes with it when it moves.
    unsigned char *fourth = third + PAGES * PAGE;
    OK(bind_range(fourth, PAGES * PAGE, MPOL_BIND, node1, 0));
    OK(mprotect(fourth + 4 * PAGE, PAGE, PROT_READ));
    unsigned char *moved = mremap(fourth + 8 * PAGE, 8 * PAGE, 16 * PAGE, MREMAP_MAYMOVE);
    CHECK(moved != MAP_FAILED);
    write_pages(fourth, 4);
    write_pages(moved, 16);
    CHECK_EQ(pages_on(fourth, 4, 1), 4);
    CHECK_EQ(pages_on(moved, 16, 1), 16);
    MUST(munmap(moved, 16 * PAGE));
    MUST(munmap(memory, 4 * PAGES * PAGE));
}

static long get_policy(int *mode, unsigned long *nodes, void *address, unsigned long flags)
{
    *mode = -1;
    *nodes = 0;
    return syscall(SYS_get_mempolicy, mode, nodes, 64, address, flags);
}

static void told(void)
{
    int mode;
    unsigned long nodes;
    unsigned char *memory = mapping(2 * PAGE);
    OK(get_policy(&mode, &nodes, NULL, 0));
    CHECK(mode == MPOL_DEFAULT && nodes == 0);
    OK(set_policy(MPOL_PREFERRED, both));
    OK(get_policy(&mode, &nodes, NULL, 0));
    CHECK(mode == MPOL_PREFERRED && nodes == node0);
    OK(set_policy(MPOL_PREFERRED, 0));
    OK(get_policy(&mode, &nodes, NULL, 0));
    CHECK(mode == MPOL_LOCAL && nodes == 0);
    OK(set_policy(MPOL_BIND | MPOL_F_STATIC_NODES, 0xf));
    OK(get_policy(&mode, &nodes, NULL, 0));
    CHECK(mode == (MPOL_BIND | MPOL_F_STATIC_NODES) && nodes == 0xf);
    OK(get_policy(&mode, &nodes, memory, MPOL_F_ADDR));
    CHECK(mode == MPOL_DEFAULT); // the area has none
    OK(set_policy(MPOL_INTERLEAVE, both));
    OK(get_policy(&mode, &nodes, NULL, MPOL_F_NODE));
    CHECK(mode == 0);
    OK(set_policy(MPOL_DEFAULT, 0));
    OK(bind_range(memory, PAGE, MPOL_BIND, node1, 0));
    OK(get_policy(&mode, &nodes, memory, MPOL_F_ADDR));
    CHECK(mode == MPOL_BIND && nodes == node1);
    memory[0] = 1;
    OK(get_policy(&mode, &nodes, memory, MPOL_F_ADDR | MPOL_F_NODE));
    CHECK(mode == 1);
    OK(get_policy(&mode, &nodes, memory + PAGE, MPOL_F_ADDR));
    CHECK(mode == MPOL_DEFAULT);
    OK(get_policy(&mode, &nodes, NULL, MPOL_F_MEMS_ALLOWED));
    CHECK(nodes == both);
    ERR(EINVAL, get_policy(&mode, &nodes, NULL, MPOL_F_NODE));
    ERR(EINVAL, get_policy(&mode, &nodes, memory, 0));
    ERR(EINVAL, get_policy(&mode, &nodes, NULL, 8));
    ERR(EINVAL, get_policy(&mode, &nodes, NULL, MPOL_F_MEMS_ALLOWED | MPOL_F_NODE));
    ERR(EINVAL, syscall(SYS_get_mempolicy, &mode, &nodes, 1, NULL, 0));
    ERR(EFAULT, get_policy(&mode, &nodes, (void *)(PAGE * 16), MPOL_F_ADDR));
    ERR(EFAULT, syscall(SYS_get_mempolicy, 8, NULL, 0, NULL, 0));
    MUST(munmap(memory, 2 * PAGE));
}

static void errors(void)
{
    unsigned long nodes = node0;
    unsigned char *memory = mapping(3 * PAGE);
    MUST(munmap(memory + PAGE, PAGE));
    ERR(EINVAL, set_policy(MPOL_MAX, node0));
    ERR(EINVAL, set_policy(MPOL_DEFAULT, node0));
    ERR(EINVAL, set_policy(MPOL_LOCAL, node0));
    ERR(EINVAL, set_policy(MPOL_BIND, 0));
    ERR(EINVAL, set_policy(MPOL_BIND, 1ul << 7)); // no such node
    ERR(EINVAL, set_policy(MPOL_BIND | MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES, node0));
    ERR(EINVAL, set_policy(MPOL_PREFERRED | MPOL_F_STATIC_NODES, 0));
    ERR(EINVAL, set_policy(MPOL_PREFERRED | MPOL_F_NUMA_BALANCING, node0));
    ERR(EINVAL, syscall(SYS_set_mempolicy, MPOL_BIND, &nodes, 0));
    ERR(EINVAL, syscall(SYS_set_mempolicy, MPOL_BIND, &nodes, 100000));
    ERR(EFAULT, syscall(SYS_set_mempolicy, MPOL_BIND, 8, 64));
    ERR(EINVAL, bind_range(memory + 1, PAGE, MPOL_BIND, node0, 0));
    ERR(EINVAL, bind_range(memory, PAGE, MPOL_BIND, node0, 1u << 7));
    ERR(EINVAL, bind_range(memory, -2 * (size_t)PAGE, MPOL_BIND, node0, 0));
    ERR(EFAULT, bind_range(memory, 3 * PAGE, MPOL_BIND, node0, 0));
    ERR(EFAULT, bind_range(memory + PAGE, PAGE, MPOL_DEFAULT, 0, 0));
    OK(bind_range(memory, 3 * PAGE, MPOL_DEFAULT, 0, 0)); // a hole does not matter
    OK(bind_range(memory, 0, MPOL_BIND, node0, 0));
    ERR(ENOENT, syscall(__NR_set_mempolicy_home_node, memory, PAGE, 1, 0));
    OK(bind_range(memory, PAGE, MPOL_PREFERRED, node0, 0));
    ERR(EOPNOTSUPP, syscall(__NR_set_mempolicy_home_node, memory, PAGE, 1, 0));
    ERR(EINVAL, syscall(__NR_set_mempolicy_home_node, memory, PAGE, 1, 1));
    ERR(EINVAL, syscall(__NR_set_mempolicy_home_node, memory, PAGE, 7, 0));
    ERR(EINVAL, syscall(SYS_move_pages, 0, 0, NULL, NULL, NULL, 1));
    ERR(ESRCH, syscall(SYS_move_pages, 999999, 0, NULL, NULL, NULL, 0));
    ERR(ESRCH, syscall(SYS_migrate_pages, 999999, 64, &nodes, &nodes));
    nodes = 1ul << 7;
    ERR(EINVAL, syscall(SYS_migrate_pages, 0, 64, &node0, &nodes));
    MUST(munmap(memory, 3 * PAGE));
}

static void home_node(void)
{
    unsigned char *memory = mapping(PAGES * PAGE);
    OK(bind_range(memory, PAGES * PAGE, MPOL_BIND, both, 0));
    OK(syscall(__NR_set_mempolicy_home_node, memory, PAGES * PAGE, 1, 0));
    write_pages(memory, PAGES);
    CHECK_EQ(pages_on(memory, PAGES, 1), PAGES);
    MUST(munmap(memory, PAGES * PAGE));
}

static void moved_by_policy(void)
{
    unsigned char *memory = mapping(PAGES * PAGE);
    write_pages(memory, PAGES);
    CHECK_EQ(pages_on(memory, PAGES, 0), PAGES);
    ERR(EIO, bind_range(memory, PAGES * PAGE, MPOL_BIND, node1, MPOL_MF_STRICT));
    CHECK_EQ(pages_on(memory, PAGES, 0), PAGES);
    OK(bind_range(memory, PAGES * PAGE, MPOL_BIND, node1, MPOL_MF_MOVE | MPOL_MF_STRICT));
    CHECK_EQ(pages_on(memory, PAGES, 1), PAGES);
    CHECK_EQ(wrong_pages(memory, PAGES), 0);
    OK(bind_range(memory, PAGES * PAGE, MPOL_BIND, node1, MPOL_MF_STRICT));
    MUST(munmap(memory, PAGES * PAGE));
}

static void moved_by_address(void)
{
    unsigned char *memory = mapping(PAGES * PAGE);
    write_pages(memory, 8);
    CHECK(memory[9 * PAGE] == 0); // the zero page
    void *pages[] = {memory, memory + 3 * PAGE + 77, memory + 8 * PAGE, memory + 9 * PAGE, NULL};
    int nodes[] = {1, 1, 1, 1, 1}, status[5];
    OK(syscall(SYS_move_pages, 0, 5, pages, nodes, status, MPOL_MF_MOVE));
    CHECK_EQ(status[0], 1);
    CHECK_EQ(status[1], 1);
    CHECK_EQ(status[2], -EFAULT);
    CHECK_EQ(status[3], -EFAULT);
    CHECK_EQ(status[4], -EFAULT);
    CHECK_EQ(pages_on(memory, 8, 1), 2);
    CHECK_EQ(wrong_pages(memory, 8), 0);
    nodes[1] = 5;
    ERR(ENODEV, syscall(SYS_move_pages, 0, 5, pages, nodes, status, MPOL_MF_MOVE));
    nodes[1] = -1;
    ERR(ENODEV, syscall(SYS_move_pages, 0, 5, pages, nodes, status, MPOL_MF_MOVE));
    MUST(munmap(memory, PAGES * PAGE));
}

static void moved_all(void)
{
    unsigned char *memory = mapping(PAGES * PAGE);
    OK(bind_range(memory, PAGES * PAGE, MPOL_PREFERRED, node1, 0));
    write_pages(memory, PAGES);
    CHECK_EQ(pages_on(memory, PAGES, 1), PAGES);
    CHECK(syscall(SYS_migrate_pages, 0, 64, &node1, &node0) >= 0);
    CHECK_EQ(pages_on(memory, PAGES, 0), PAGES);
    CHECK_EQ(wrong_pages(memory, PAGES), 0);
    MUST(munmap(memory, PAGES * PAGE));
}

// What a child has, too, does not move; and the child has the policies.
static void shared_with_a_child(void)
{
    int go[2];
    char byte;
    unsigned char *memory = mapping(PAGES * PAGE);
    write_pages(memory, PAGES);
    OK(set_policy(MPOL_BIND, node1));
    MUST(pipe(go));
    pid_t child = (pid_t)MUST(fork());
    if (child == 0) {
        close(go[1]);
        int here = fresh_on_node1();
        (void)!read(go[0], &byte, 1);
        _exit(here == PAGES && wrong_pages(memory, PAGES) == 0 ? 0 : 1);
    }
    OK(set_policy(MPOL_DEFAULT, 0));
    void *page = memory;
    int node = 1, status = 1000, how;
    OK(syscall(SYS_move_pages, 0, 1, &page, &node, &status, MPOL_MF_MOVE));
    CHECK_EQ(status, -EACCES);
    close(go[1]);
    MUST(waitpid(child, &how, 0));
    CHECK_STR(status_text(how), "exit 0");
    close(go[0]);
    MUST(munmap(memory, PAGES * PAGE));
}

static void huge_pages(void)
{
    unsigned char *memory = mapping(3 * HUGE);
    unsigned char *start = (unsigned char *)(((uintptr_t)memory + HUGE - 1) & -(uintptr_t)HUGE);
    OK(madvise(start, 2 * HUGE, MADV_HUGEPAGE));
    write_pages(start, 2 * HUGE / PAGE);
    CHECK_EQ(pages_on(start, 2 * HUGE / PAGE, 0), 2 * HUGE / PAGE);
    OK(bind_range(start, 2 * HUGE, MPOL_BIND, node1, MPOL_MF_MOVE | MPOL_MF_STRICT));
    CHECK_EQ(pages_on(start, 2 * HUGE / PAGE, 1), 2 * HUGE / PAGE);
    CHECK_EQ(wrong_pages(start, 2 * HUGE / PAGE), 0);
    MUST(munmap(memory, 3 * HUGE));
}

static void shown_in_numa_maps(void)
{
    char start[32];
    unsigned char *memory = mapping(PAGES * PAGE);
    OK(bind_range(memory, PAGES * PAGE, MPOL_BIND, node1, 0));
    write_pages(memory, 5);
    snprintf(start, sizeof(start), "%lx bind:1 ", (unsigned long)memory);
    const char *line = strstr(get_file("/proc/self/numa_maps"), start);
    CHECK(line != NULL && strstr(line, "anon=5 dirty=5 ") != NULL);
    CHECK(line != NULL && strstr(line, " N1=5 kernelpagesize_kB=4\n") != NULL);
    MUST(munmap(memory, PAGES * PAGE));
}

static _Atomic bool stop;
static volatile unsigned long *counters;

static void *count(void *argument)
{
    unsigned long *rounds = argument;
    while (!stop) {
        for (int i = 0; i < PAGES; i++)
            counters[i * PAGE / (int)sizeof(counters[0])]++;
        ++*rounds;
    }
    return NULL;
}

static void moved_while_written(void)
{
    unsigned long rounds = 0;
    pthread_t thread;
    counters = mapping(PAGES * PAGE);
    MUST(pthread_create(&thread, NULL, count, &rounds) == 0 ? 0 : -1);
    int bad = 0;
    for (int i = 0; i < 200; i++)
        bad += bind_range((void *)counters, PAGES * PAGE, MPOL_BIND, i % 2 != 0 ? node1 : node0,
                   MPOL_MF_MOVE | MPOL_MF_STRICT) != 0;
    stop = true;
    MUST(pthread_join(thread, NULL) == 0 ? 0 : -1);
    CHECK_EQ(bad, 0);
    int lost = 0;
    for (int i = 0; i < PAGES; i++)
        lost += counters[i * PAGE / (int)sizeof(counters[0])] != rounds;
    CHECK_EQ(lost, 0);
    CHECK(rounds > 0);
    MUST(munmap((void *)counters, PAGES * PAGE));
}

int main(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(0, &set);
    CPU_SET(2, &set); // both of node 0
    MUST(sched_setaffinity(0, sizeof(set), &set));
    thread_policies();
    area_policies();
    told();
    errors();
    home_node();
    moved_by_policy();
    moved_by_address();
    moved_all();
    shared_with_a_child();
    huge_pages();
    shown_in_numa_maps();
    moved_while_written();
    return check_done();
}
