// SPDX-License-Identifier: MIT
//
// Claim: process_vm_readv and process_vm_writev copy between processes, stop at the first bad page
// of either side, and check who may; membarrier offers and enforces registration.
// Method: a child with known memory is read and written.
#include "tests/guest/check.h"
#include <linux/membarrier.h>
#include <sys/uio.h>

enum { PAGE = 4096 };

static pid_t child_with(volatile char *area, int *to_child, int *from_child)
{
    int down[2], up[2];
    MUST(pipe(down));
    MUST(pipe(up));
    pid_t child = fork();
    if (child == 0) {
        strcpy((char *)area, "the child's");
        char byte = 0;
        (void)!write(up[1], &byte, 1);
        (void)!read(down[0], &byte, 1);
        _exit(strcmp((char *)area + 100, "from outside") == 0 ? 0 : 1);
    }
    *to_child = down[1];
    *from_child = up[0];
    return child;
}

static void copies(void)
{
    char *area = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(area + 2 * PAGE, PAGE);
    strcpy(area, "the parent's");
    int to_child, from_child;
    pid_t child = child_with(area, &to_child, &from_child);
    char byte = 0, buffer[3 * PAGE] = "";
    CHECK(read(from_child, &byte, 1) == 1);

    struct iovec local = {buffer, 12}, remote = {area, 12};
    CHECK_EQ(process_vm_readv(child, &local, 1, &remote, 1, 0), 12);
    CHECK_STR(buffer, "the child's");
    CHECK_STR(area, "the parent's");
    struct iovec locals[3] = {{buffer, 3}, {buffer + 100, 5}, {buffer + 200, 100}};
    struct iovec remotes[2] = {{area + 4, 5}, {area, 3}};
    CHECK_EQ(process_vm_readv(child, locals, 3, remotes, 2, 0), 8);
    CHECK(memcmp(buffer, "chi", 3) == 0 && memcmp(buffer + 100, "ldthe", 5) == 0);
    strcpy(buffer, "from outside");
    local = (struct iovec){buffer, 13};
    remote = (struct iovec){area + 100, 13};
    CHECK_EQ(process_vm_writev(child, &local, 1, &remote, 1, 0), 13);
    CHECK(area[100] == 0);
    // Up to the hole.
    local = (struct iovec){buffer, 3 * PAGE};
    remote = (struct iovec){area, 3 * PAGE};
    CHECK_EQ(process_vm_readv(child, &local, 1, &remote, 1, 0), 2 * PAGE);
    remote = (struct iovec){area + 2 * PAGE, 10};
    ERR(EFAULT, process_vm_readv(child, &local, 1, &remote, 1, 0));
    remote = (struct iovec){area, 10};
    ERR(EINVAL, process_vm_readv(child, &local, 1, &remote, 1, 1));
    ERR(EINVAL, process_vm_readv(child, &local, 2000, &remote, 1, 0));
    ERR(ESRCH, process_vm_readv(0x7ffffff, &local, 1, &remote, 1, 0));
    ERR(EFAULT, process_vm_readv(child, (struct iovec *)16, 1, &remote, 1, 0));
    CHECK_EQ(process_vm_readv(child, NULL, 0, NULL, 0, 0), 0);
    pid_t stranger = fork();
    if (stranger == 0) {
        MUST(setuid(1000));
        ERR(EPERM, process_vm_readv(child, &local, 1, &remote, 1, 0));
        _exit(check_failures);
    }
    int status;
    waitpid(stranger, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
    CHECK(write(to_child, &byte, 1) == 1);
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
}

static void barriers(void)
{
    long offered = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
    const int wanted = MEMBARRIER_CMD_GLOBAL | MEMBARRIER_CMD_PRIVATE_EXPEDITED |
                       MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED;
    CHECK((offered & wanted) == wanted);
    ERR(EPERM, syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
    OK(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
    OK(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
    OK(syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0));
    ERR(EINVAL, syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 1, 0));
    ERR(EINVAL, syscall(SYS_membarrier, 1 << 20, 0, 0));
}

int main(void)
{
    scratch();
    copies();
    barriers();
    return check_done();
}
