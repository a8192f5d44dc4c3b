// SPDX-License-Identifier: MIT
//
// Claim: execve takes single strings up to 128 KiB and a total up to a quarter of the stack limit,
// beyond which it fails with E2BIG, and what fits arrives intact, megabytes of it.
// Method: this program runs itself with long and many arguments and reports their count and a sum.
#include "tests/guest/check.h"
#include <sys/resource.h>

enum { STRING_MAX = 131072 };

static unsigned long sum_of(char **strings, unsigned *count)
{
    unsigned long sum = 0;

    for (*count = 0; strings[*count] != NULL; ++*count) {
        for (const char *c = strings[*count]; *c != 0; c++) {
            sum = sum * 31 + (unsigned char)*c;
        }
    }
    return sum;
}

static char **make_strings(unsigned count, unsigned length, char first)
{
    char **strings = calloc(count + 2, sizeof(char *));

    strings[0] = "exec_limits";
    for (unsigned i = 1; i <= count; i++) {
        strings[i] = malloc(length + 1);
        for (unsigned k = 0; k < length; k++) {
            strings[i][k] = (char)(first + (char)((i + k) % 26));
        }
        strings[i][length] = 0;
    }
    return strings;
}

// Runs this program with these; it prints what arrived, or the error is returned.
static void attempt(const char *what, char **arguments, char **environment, int error)
{
    unsigned argument_count, environment_count;
    unsigned long sum = sum_of(arguments, &argument_count);
    sum += sum_of(environment, &environment_count);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        execve("/proc/self/exe", arguments, environment);
        note("%s: %s", what, errno_name(errno));
        _exit(errno == error ? 77 : 78);
    }
    int status;
    waitpid(child, &status, 0);
    note("%s: %u arguments, %u variables: %s", what, argument_count, environment_count,
        status_text(status));
    unsigned code = error != 0 ? 77 : (unsigned)((sum ^ (sum >> 32)) % 61) + 1;
    CHECK_QUIET(WIFEXITED(status) && WEXITSTATUS(status) == (int)code);
}

static void with_small_stack_limit(void)
{
    struct rlimit limit = {256 * 1024, RLIM_INFINITY};
    char *none[] = {NULL};

    OK(setrlimit(RLIMIT_STACK, &limit));
    // A quarter of the limit is less than 128 KiB here; Linux still allows 128 KiB in total.
    attempt("100 KiB under a stack limit of 256 KiB", make_strings(1, 100000, 'a'), none, 0);
    attempt("200 KiB under a stack limit of 256 KiB", make_strings(2, 100000, 'a'), none, E2BIG);
}

int main(int argc, char **argv, char **environ_here)
{
    if (argc > 0 && strcmp(argv[0], "exec_limits") == 0 && getenv("LC_ALL") == NULL) {
        unsigned count;
        unsigned long sum = sum_of(argv, &count) + sum_of(environ_here, &count);
        return (int)((sum ^ (sum >> 32)) % 61) + 1;
    }
    char *none[] = {NULL};
    scratch();
    attempt("no arguments", make_strings(0, 0, 'a'), none, 0);
    attempt("many short", make_strings(5000, 3, 'a'), make_strings(3000, 20, 'A'), 0);
    attempt("longest string", make_strings(1, STRING_MAX - 1, 'a'), none, 0);
    attempt("too long a string", make_strings(1, STRING_MAX, 'a'), none, E2BIG);
    attempt("longest variable", make_strings(0, 0, 'a'), make_strings(1, STRING_MAX - 1, 'A'), 0);
    attempt(
        "too long a variable", make_strings(0, 0, 'a'), make_strings(1, STRING_MAX, 'A'), E2BIG);
    attempt("1.5 MB", make_strings(15, 100000, 'a'), none, 0);
    attempt("3 MB", make_strings(30, 100000, 'a'), none, E2BIG);
    attempt("pointers count too", make_strings(220000, 1, 'a'), none, E2BIG);
    CHILD(with_small_stack_limit, "exit 0");
    return check_done();
}
