// SPDX-License-Identifier: MIT
//
// Claim: a process that eats all memory is killed by SIGKILL; the others live on, and what it held
// can be used again; many processes at once end the same way; large mappings without use are no
// harm. Method: children touch pages until the end. Only the outcome is compared, not when it
// comes.
#include "tests/guest/check.h"
#include <sys/sysinfo.h>

enum { PAGE = 4096 };

static void eat(void)
{
    // The one that eats is the one to kill, also where kernels weigh by other things.
    put_file("/proc/self/oom_score_adj", "1000", 0);
    for (;;) {
        char *area =
            mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (area == MAP_FAILED) {
            _exit(3);
        }
        for (size_t i = 0; i < 1 << 20; i += PAGE) {
            area[i] = 1;
        }
    }
}

static size_t total_bytes(void)
{
    struct sysinfo info;
    sysinfo(&info);
    return info.totalram * info.mem_unit;
}

int main(void)
{
    scratch();
    put_file("/proc/self/oom_score_adj", "-1000", 0);
    put_file("kept", "still here", 0600);
    size_t half = total_bytes() / 2;

    for (int round = 0; round < 3; round++) {
        CHILD(eat, "killed by SIGKILL");
        CHECK_STR(get_file("kept"), "still here");
        // Half of all memory can be had afterwards.
        char *area = mmap(NULL, half, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(area != MAP_FAILED);
        for (size_t i = 0; i < half; i += PAGE) {
            area[i] = (char)(i >> 12);
        }
        bool right = true;
        for (size_t i = 0; i < half; i += PAGE) {
            right &= area[i] == (char)(i >> 12);
        }
        CHECK(right);
        munmap(area, half);
    }
    // Three at once.
    pid_t children[3];
    for (int i = 0; i < 3; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            eat();
        }
    }
    for (int i = 0; i < 3; i++) {
        int status;
        waitpid(children[i], &status, 0);
        CHECK_STR(status_text(status), "killed by SIGKILL");
    }
    CHILD(eat, "killed by SIGKILL");
    return check_done();
}
