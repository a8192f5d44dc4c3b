// SPDX-License-Identifier: MIT
//
// Claim: who may signal whom: same real or effective user, SIGCONT within a session, nobody harms
// process 1 by default actions, kill(-1) reaches what may be reached but neither 1 nor the caller.
// Method: children under several user ids.
#include "tests/guest/check.h"

static pid_t start(uid_t real, uid_t effective, uid_t saved, bool own_session)
{
    int ends[2];
    char byte;

    MUST(pipe(ends));
    pid_t child = fork();
    if (child == 0) {
        if (own_session) {
            setsid();
        }
        if (setresuid(real, effective, saved) != 0) {
            _exit(1);
        }
        MUST(write(ends[1], "x", 1));
        for (;;) {
            pause();
        }
    }
    MUST(read(ends[0], &byte, 1));
    close(ends[0]);
    close(ends[1]);
    return child;
}

static pid_t same, mixed, other, session, saved_only;

static void as_user(void)
{
    MUST(setresuid(1000, 1000, 1000));
    OK(kill(same, 0));
    OK(kill(mixed, 0)); // its real user is ours
    ERR(EPERM, kill(other, 0));
    ERR(EPERM, kill(session, 0));
    OK(kill(saved_only, 0)); // its saved user is ours
    OK(kill(other, SIGCONT));
    ERR(EPERM, kill(session, SIGCONT));
    ERR(EPERM, kill(1, 0));
    ERR(ESRCH, kill(999999, 0));
    ERR(EPERM, syscall(SYS_tkill, other, 0));
    ERR(EPERM, kill(other, SIGTERM));
    OK(kill(same, SIGTERM));
}

static void as_effective(void)
{
    MUST(setresuid(2000, 1000, 2000));
    OK(kill(mixed, 0)); // effective against real
    OK(kill(other, 0)); // real against real
    ERR(EPERM, kill(session, 0));
}

static void everybody(void)
{
    MUST(setresuid(5000, 5000, 5000));
    pid_t children[3];
    for (int i = 0; i < 3; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            for (;;) {
                pause();
            }
        }
    }
    OK(kill(-1, SIGUSR2)); // this process survives: it is not included
    for (int i = 0; i < 3; i++) {
        int status;
        waitpid(children[i], &status, 0);
        CHECK_STR(status_text(status), "killed by SIGUSR2");
    }
    OK(kill(-1, SIGUSR2)); // nobody is left that it may reach, and Linux calls that success
}

int main(void)
{
    int status;

    scratch();
    same = start(1000, 1000, 1000, false);
    mixed = start(1000, 3000, 3000, false);
    other = start(2000, 2000, 2000, false);
    session = start(3000, 3000, 3000, true);
    saved_only = start(3000, 3000, 1000, false);
    CHILD(as_user, "exit 0");
    CHECK(waitpid(same, &status, 0) == same);
    CHECK_STR(status_text(status), "killed by SIGTERM");
    CHILD(as_effective, "exit 0");
    CHILD(everybody, "exit 0");
    pid_t rest[] = {mixed, other, session, saved_only};
    for (size_t i = 0; i < ARRAY_SIZE(rest); i++) {
        kill(rest[i], SIGKILL);
        waitpid(rest[i], &status, 0);
        CHECK_STR(status_text(status), "killed by SIGKILL");
    }
    // Root may signal everybody; process 1 has no handler for this and must live on.
    OK(kill(1, SIGUSR1));
    sleep_ms(20);
    OK(kill(1, 0));
    return check_done();
}
