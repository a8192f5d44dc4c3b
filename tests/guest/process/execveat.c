// SPDX-License-Identifier: MIT
//
// Claim: execveat resolves its path like the other *at calls, runs a descriptor with AT_EMPTY_PATH,
// and honours AT_SYMLINK_NOFOLLOW.
// Method: busybox's "true" and "false" by name of argument 0, each way.
#include "tests/guest/check.h"

static int directory;
static int program;
static int flags;
static const char *path;
static int expected_error;

static void attempt(void)
{
    char *arguments[] = {"true", NULL}, *none[] = {NULL};

    long result = syscall(SYS_execveat, directory, path, arguments, none, flags);
    ERR(expected_error, result);
    _exit(55);
}

static void runs(int at, const char *name, int with)
{
    directory = at;
    path = name;
    flags = with;
    expected_error = 0;
    int status = in_child(attempt);
    note("execveat \"%s\" flags %x: %s", name, with, status_text(status));
    CHECK_QUIET(status == 0);
}

static void fails(int at, const char *name, int with, int error)
{
    directory = at;
    path = name;
    flags = with;
    expected_error = error;
    note("execveat \"%s\" flags %x:", name, with);
    CHILD(attempt, "exit 55");
}

int main(void)
{
    scratch();
    int bin = (int)MUST(open("/bin", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    int bin_path = (int)MUST(open("/bin", O_PATH | O_CLOEXEC));
    program = (int)MUST(open("/bin/busybox", O_RDONLY | O_CLOEXEC));
    int program_path = (int)MUST(open("/bin/busybox", O_PATH | O_CLOEXEC));
    MUST(symlink("/bin/busybox", "link"));
    put_file("plain", "x", 0755);
    int plain = (int)MUST(open("plain", O_RDONLY));

    runs(AT_FDCWD, "/bin/busybox", 0);
    runs(-1, "/bin/busybox", 0); // absolute: the descriptor is not looked at
    runs(bin, "busybox", 0);
    runs(bin_path, "busybox", 0);
    runs(bin, "./../bin/busybox", 0);
    runs(program, "", AT_EMPTY_PATH);
    runs(program_path, "", AT_EMPTY_PATH);
    runs(AT_FDCWD, "link", 0);
    runs(AT_FDCWD, "/bin/busybox", AT_SYMLINK_NOFOLLOW);

    fails(AT_FDCWD, "link", AT_SYMLINK_NOFOLLOW, ELOOP);
    fails(-1, "busybox", 0, EBADF);
    fails(program, "busybox", 0, ENOTDIR);
    fails(bin, "missing", 0, ENOENT);
    fails(bin, "", 0, ENOENT);
    fails(program, "", 0, ENOENT);
    fails(bin, "busybox", 0x4000, EINVAL);
    fails(bin, "", AT_EMPTY_PATH, EACCES);
    fails(plain, "", AT_EMPTY_PATH, ENOEXEC);
    return check_done();
}
