// SPDX-License-Identifier: MIT
//
// A program with a known call tree and known shares of time, for the tests of `lodger perf`:
//
//   main - run - heavy - spin_heavy   6 of 10 steps
//              - light - spin_light   3 of 10
//                      - spin_bare    1 of 10: a leaf that keeps no frame pointer
//
// tree PROCESSES [SECONDS]: so many do that at a time, until killed. One process more sleeps and
// wakes, makes system calls and switches, so that there is something to trace.
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STEP 20000u // turns of the loop that all leaves have

void spin_bare(unsigned turns);
__asm__(".text\n"
        ".globl spin_bare\n"
        ".type spin_bare, @function\n"
        "spin_bare:\n"
        ".cfi_startproc\n"
        "1: dec %edi\n"
        "jnz 1b\n"
        "ret\n"
        ".cfi_endproc\n"
        ".size spin_bare, . - spin_bare\n");

__attribute__((noinline)) static void spin_heavy(unsigned turns)
{
    __asm__ volatile("1: dec %0\njnz 1b" : "+r"(turns));
}

__attribute__((noinline)) static void spin_light(unsigned turns)
{
    __asm__ volatile("1: dec %0\njnz 1b" : "+r"(turns));
}

__attribute__((noinline)) static void heavy(void)
{
    spin_heavy(6 * STEP);
    __asm__ volatile(""); // no tail call
}

__attribute__((noinline)) static void light(void)
{
    spin_light(3 * STEP);
    spin_bare(STEP);
    __asm__ volatile("");
}

__attribute__((noinline)) static void run(time_t end)
{
    while (end == 0 || time(NULL) < end) {
        for (unsigned i = 0; i < 20; i++) {
            heavy();
            light();
        }
    }
}

static void tick(time_t end)
{
    prctl(PR_SET_NAME, "ticker");
    while (end == 0 || time(NULL) < end) {
        struct timespec pause = {0, 5000000};
        nanosleep(&pause, NULL);
        (void)!getppid();
    }
}

int main(int argc, char **argv)
{
    int processes = argc > 1 ? atoi(argv[1]) : 1;
    time_t end = argc > 2 ? time(NULL) + atoi(argv[2]) : 0;
    for (int i = 0; i <= processes; i++) {
        pid_t child = fork();
        if (child < 0) {
            perror("fork");
            return 1;
        }
        if (child == 0) {
            (i == 0 ? tick : run)(end);
            return 0;
        }
    }
    while (wait(NULL) > 0) {
    }
    return 0;
}
