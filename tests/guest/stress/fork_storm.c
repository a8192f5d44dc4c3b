// SPDX-License-Identifier: MIT
//
// Claim: fork, vfork, exec, exit, wait, kill and thread creation from many processes at once lose
// nobody. Method: workers make children in every way, two generations deep, check each status, and
// count; orphans are adopted by this process (a subreaper), which must see every one of them.
#include "tests/guest/stress/stress.h"
#include <sys/prctl.h>

extern char **environ;

static _Atomic int *orphans_made;

static void *short_thread(void *argument)
{
    return argument;
}

static int status_of(pid_t child)
{
    int status = -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

// One random thing; false if it went wrong.
static bool one_round(uint64_t *state)
{
    int code = (int)stress_random(state, 100);
    pid_t child;

    switch (stress_random(state, 7)) {
    case 0:
        child = fork();
        if (child == 0) {
            _exit(code);
        }
        return child > 0 && WEXITSTATUS(status_of(child)) == code;
    case 1:
        child = vfork();
        if (child == 0) {
            _exit(code);
        }
        return child > 0 && WEXITSTATUS(status_of(child)) == code;
    case 2: {
        char *argv[] = {code < 50 ? "true" : "false", NULL};
        child = code % 2 == 0 ? fork() : vfork();
        if (child == 0) {
            execve("/bin/busybox", argv, environ);
            _exit(99);
        }
        return child > 0 && WEXITSTATUS(status_of(child)) == (code >= 50);
    }
    case 3:
        child = fork();
        if (child == 0) {
            for (;;) {
                pause();
            }
        }
        kill(child, SIGTERM);
        return child > 0 && WTERMSIG(status_of(child)) == SIGTERM;
    case 4: {
        // Grandchildren, all waited for by the child.
        child = fork();
        if (child == 0) {
            int sum = 0;
            for (int i = 1; i <= 4; i++) {
                if (fork() == 0) {
                    _exit(i);
                }
            }
            int status;
            while (wait(&status) > 0) {
                sum += WEXITSTATUS(status);
            }
            _exit(sum);
        }
        return child > 0 && WEXITSTATUS(status_of(child)) == 10;
    }
    case 5:
        // An orphan: its parent ends before it.
        child = fork();
        if (child == 0) {
            if (fork() == 0) {
                usleep((unsigned)code * 20);
                _exit(0);
            }
            (*orphans_made)++;
            _exit(0);
        }
        return child > 0 && status_of(child) == 0;
    default: {
        child = fork();
        if (child == 0) {
            pthread_t threads[3];
            for (int i = 0; i < 3; i++) {
                if (pthread_create(&threads[i], NULL, short_thread, NULL) != 0) {
                    _exit(1);
                }
            }
            for (int i = 0; i < 2; i++) {
                pthread_join(threads[i], NULL);
            }
            _exit(code); // perhaps before the third has ended
        }
        return child > 0 && WEXITSTATUS(status_of(child)) == code;
    }
    }
}

int main(int argc, char **argv)
{
    enum { WORKERS = 6 };
    pid_t workers[WORKERS];

    stress_start(argc, argv);
    stress_start_watchdog();
    orphans_made = stress_shared(4096);
    MUST(prctl(PR_SET_CHILD_SUBREAPER, 1));
    for (int i = 0; i < WORKERS; i++) {
        struct stress_progress *progress = stress_watch("fork storm worker");
        workers[i] = fork();
        if (workers[i] == 0) {
            uint64_t state = stress_seed * 1000u + (unsigned)i;
            while (stress_goes_on()) {
                if (!one_round(&state)) {
                    note("FAIL: a round of worker %d", i);
                    _exit(1);
                }
                progress->count++;
            }
            stress_done(progress);
            _exit(0);
        }
    }
    int status, ended = 0, orphans = 0, wrong = 0;
    for (;;) {
        pid_t child = waitpid(-1, &status, 0);
        if (child < 0) {
            if (errno == EINTR) {
                continue;
            }
            break;
        }
        bool worker = false;
        for (int i = 0; i < WORKERS; i++) {
            worker |= workers[i] == child;
        }
        ended += worker;
        orphans += !worker;
        wrong += status != 0;
    }
    CHECK_EQ(ended, WORKERS);
    CHECK_EQ(wrong, 0);
    CHECK(orphans == *orphans_made);
    return check_done();
}
