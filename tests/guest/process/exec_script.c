// SPDX-License-Identifier: MIT
//
// Claim: a file that starts with #! runs its interpreter with one optional argument, the script's
// path and the remaining arguments; interpreters may be scripts, four levels deep; errors are those
// of Linux.
// Method: scripts whose interpreter is this program (through a short link) printing its arguments.
#include "tests/guest/check.h"

static int print_arguments(int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        note("  argument %d: %s", i, argv[i]);
    }
    return 0;
}

static void run(const char *path)
{
    char *arguments[] = {"zeroth", "first", "second one", NULL}, *none[] = {NULL};
    int status;

    note("%s:", path);
    pid_t child = fork();
    if (child == 0) {
        execve(path, arguments, none);
        note("  fails with %s", errno_name(errno));
        _exit(1);
    }
    waitpid(child, &status, 0);
    note("  %s", status_text(status));
}

static void script(const char *name, const char *text)
{
    put_file(name, text, 0755);
    run(name);
}

int main(int argc, char **argv)
{
    if (argc > 0 && strncmp(argv[0], "/tmp/show", 9) == 0) {
        return print_arguments(argc, argv);
    }
    char self[PATH_MAX] = "";
    scratch();
    MUST(readlink("/proc/self/exe", self, sizeof(self) - 1));
    unlink("/tmp/show");
    MUST(symlink(self, "/tmp/show"));

    script("plain", "#!/tmp/show\nrest\n");
    script("argument", "#!/tmp/show -x\n");
    script("spaces", "#!  \t/tmp/show \t  one argument with spaces  \t\n");
    script("no-newline", "#!/tmp/show");
    script("only-argument-no-newline", "#!/tmp/show -e");
    script("relative", "#!show\n");
    script("empty", "#!\n");
    script("blank", "#!   \n");
    script("missing", "#!/no/such/interpreter\n");
    script("directory", "#!/tmp\n");
    script("two", "#!./plain with two\n");
    script("three", "#!./two\n");
    script("four", "#!./three\n");
    script("five", "#!./four\n");
    script("six", "#!./five\n");
    script("itself", "#!./itself\n");
    char text[400] = "#!/tmp/show ";
    memset(text + 12, 'a', 350);
    script("long-argument", text);
    memset(text + 2, 'b', 350);
    script("long-name", text);
    put_file("no-x", "#!/tmp/show\n", 0644);
    run("no-x");
    put_file("interpreter-no-x", "#!./no-x\n", 0755);
    run("interpreter-no-x");

    put_file(
        "shell", "#!/bin/sh\necho \"shell script got $# arguments, $1 and $2\"\nexit 33\n", 0755);
    run("./shell");
    MUST(mkdir("bin", 0755));
    put_file("bin/in-dir", "#!/tmp/show\n", 0755);
    run("bin/../bin/in-dir");

    // A script through execveat on a descriptor is known to its interpreter as /dev/fd/N.
    int file = (int)MUST(open("plain", O_RDONLY));
    pid_t child = fork();
    if (child == 0) {
        char *arguments[] = {"z", NULL};
        MUST(dup2(file, 50));
        syscall(SYS_execveat, 50, "", arguments, arguments + 1, AT_EMPTY_PATH);
        _exit(1);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
    child = fork();
    if (child == 0) {
        char *arguments[] = {"z", NULL};
        MUST(dup3(file, 50, O_CLOEXEC));
        syscall(SYS_execveat, 50, "", arguments, arguments + 1, AT_EMPTY_PATH);
        note("close-on-exec script: %s", errno_name(errno));
        _exit(1);
    }
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 1");
    unlink("/tmp/show");
    return check_done();
}
