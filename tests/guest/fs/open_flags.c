// SPDX-License-Identifier: MIT
//
// Claim: open and openat honour every O_ flag and fail with the right error for each kind of file.
// Method: a table of all pairs of file kind and flags, printed; then the effects one by one.
#include "tests/guest/check.h"
#include <sys/ioctl.h>

static void table(void)
{
    static const char *const paths[] = {"file", "file/", "directory", "directory/", "missing",
        "missing/", "link", "link/", "dangling", "to-directory", "to-directory/", "loop", "fifo",
        "null", ".", "..", "", "file/x", "missing/x"};
    static const struct {
        int flags;
        const char *name;
    } ways[] = {
        {O_RDONLY, "RDONLY"},
        {O_WRONLY, "WRONLY"},
        {O_RDWR, "RDWR"},
        {3, "3"},
        {O_RDONLY | O_DIRECTORY, "DIRECTORY"},
        {O_RDONLY | O_NOFOLLOW, "NOFOLLOW"},
        {O_PATH, "PATH"},
        {O_PATH | O_NOFOLLOW, "PATH|NOFOLLOW"},
        {O_PATH | O_DIRECTORY, "PATH|DIRECTORY"},
        {O_WRONLY | O_CREAT | O_EXCL, "CREAT|EXCL"},
        {O_RDONLY | O_CREAT, "RDONLY|CREAT"},
        {O_RDWR | O_CREAT | O_NOFOLLOW, "CREAT|NOFOLLOW"},
        {O_RDWR | O_TRUNC, "RDWR|TRUNC"},
    };
    MUST(mkdir("table", 0755));
    MUST(chdir("table"));
    for (size_t w = 0; w < ARRAY_SIZE(ways); w++) {
        char line[900];
        int at = snprintf(line, sizeof(line), "%s:", ways[w].name);
        for (size_t p = 0; p < ARRAY_SIZE(paths); p++) {
            // Anew for each, since opening may create and truncate.
            int status = system("/bin/busybox rm -rf * 2>/dev/null");
            CHECK_QUIET(status == 0);
            put_file("file", "text", 0644);
            mkdir("directory", 0755);
            CHECK_QUIET(symlink("file", "link") == 0 && symlink("nowhere", "dangling") == 0);
            CHECK_QUIET(symlink("directory", "to-directory") == 0 && symlink("loop", "loop") == 0);
            mkfifo("fifo", 0644);
            mknod("null", S_IFCHR | 0666, 0x103);
            int file = open(paths[p], ways[w].flags | O_NONBLOCK, 0644);
            at += snprintf(line + at, sizeof(line) - (size_t)at, " %s=%s", paths[p],
                file >= 0 ? "ok" : errno_name(errno));
            if (file >= 0) {
                close(file);
            }
        }
        note("%s", line);
    }
    MUST(chdir(".."));
}

static void effects(void)
{
    char text[32] = "";
    struct stat about;

    umask(027);
    int file = (int)OK(open("new", O_CREAT | O_RDWR, 06777));
    MUST(fstat(file, &about));
    CHECK_EQ(about.st_mode, S_IFREG | 06750);
    CHECK_EQ(write(file, "hello", 5), 5);
    ERR(EEXIST, open("new", O_CREAT | O_EXCL | O_RDWR, 0600));
    int again = (int)OK(open("new", O_RDWR | O_TRUNC));
    MUST(fstat(file, &about));
    CHECK_EQ(about.st_size, 0);
    CHECK_EQ(write(file, "x", 1), 1); // the old description keeps its offset
    MUST(fstat(file, &about));
    CHECK_EQ(about.st_size, 6);
    close(again);
    close(file);
    // A new file's mode does not bind its creator's descriptor.
    file = (int)OK(open("no-rights", O_CREAT | O_RDWR, 0));
    CHECK_EQ(write(file, "abc", 3), 3);
    close(file);
    umask(022);

    file = (int)OK(open("append", O_CREAT | O_RDWR | O_APPEND, 0644));
    again = (int)OK(open("append", O_RDWR | O_APPEND));
    for (int i = 0; i < 3; i++) {
        MUST(write(file, "f", 1));
        MUST(write(again, "a", 1));
    }
    CHECK_EQ(lseek(file, 0, SEEK_CUR), 5);
    MUST(lseek(file, 0, SEEK_SET));
    CHECK_EQ(read(file, text, sizeof(text)), 6);
    CHECK_STR(text, "fafafa");
    CHECK_EQ(pwrite(file, "p", 1, 0), 1); // on Linux it appends all the same
    MUST(fstat(file, &about));
    CHECK_EQ(about.st_size, 7);
    OK(fcntl(file, F_SETFL, 0));
    CHECK_EQ(pwrite(file, "p", 1, 0), 1);
    CHECK_STR(get_file("append"), "pafafap");
    close(file);
    close(again);

    // Descriptors without a use: O_PATH.
    file = (int)OK(open("append", O_PATH));
    ERR(EBADF, read(file, text, 1));
    ERR(EBADF, write(file, text, 1));
    ERR(EBADF, lseek(file, 0, SEEK_SET));
    ERR(EBADF, syscall(SYS_fchmod, file, 0600));
    ERR(EBADF, ftruncate(file, 0));
    ERR(EBADF, ioctl(file, FIONREAD, text));
    OK(fstat(file, &about));
    CHECK_EQ(about.st_size, 7);
    CHECK_EQ(fcntl(file, F_GETFL) & O_PATH, O_PATH);
    OK(fcntl(file, F_GETFD));
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    again = (int)OK(open(path, O_RDONLY));
    CHECK_EQ(read(again, text, 3), 3);
    close(again);
    close(file);
    MUST(symlink("append", "symbolic"));
    file = (int)OK(open("symbolic", O_PATH | O_NOFOLLOW));
    MUST(fstat(file, &about));
    CHECK(S_ISLNK(about.st_mode));
    CHECK_EQ(readlinkat(file, "", text, sizeof(text)), 6);
    close(file);

    CHECK_EQ(
        fcntl((int)open("append", O_RDWR | O_NONBLOCK | O_SYNC | O_CLOEXEC | O_NOATIME), F_GETFL) &
            (O_ACCMODE | O_NONBLOCK | O_SYNC | O_APPEND | O_CREAT | O_TRUNC),
        O_RDWR | O_NONBLOCK | O_SYNC);
    if (fork() == 0) {
        MUST(setuid(1000));
        ERR(EPERM, open("append", O_RDONLY | O_NOATIME)); // not the owner
        _exit(check_failures);
    }
    int status;
    wait(&status);
    CHECK_STR(status_text(status), "exit 0");
    CHECK_EQ(creat("append", 0600) >= 0, 1);
    MUST(stat("append", &about));
    CHECK(about.st_size == 0 && (about.st_mode & 0777) == 0644);
    ERR(ETXTBSY, open("/proc/self/exe", O_RDWR));
}

static void temporary(void)
{
    struct stat about;
    char path[64];

    int file = (int)OK(open(".", O_TMPFILE | O_RDWR, 0600));
    MUST(fstat(file, &about));
    CHECK_EQ(about.st_nlink, 0);
    CHECK(S_ISREG(about.st_mode));
    MUST(write(file, "linked later", 12));
    snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    OK(linkat(AT_FDCWD, path, AT_FDCWD, "linked", AT_SYMLINK_FOLLOW));
    CHECK_STR(get_file("linked"), "linked later");
    MUST(fstat(file, &about));
    CHECK_EQ(about.st_nlink, 1);
    close(file);
    file = (int)OK(open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600));
    snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    ERR(ENOENT, linkat(AT_FDCWD, path, AT_FDCWD, "linked2", AT_SYMLINK_FOLLOW));
    ERR(EINVAL, open(".", O_TMPFILE | O_RDONLY, 0600));
    ERR(ENOTDIR, open("linked", O_TMPFILE | O_RDWR, 0600));
    ERR(ENOENT, open("missing", O_TMPFILE | O_RDWR, 0600));
}

static void relative(void)
{
    mkdir("sub", 0755);
    int directory = (int)MUST(open("sub", O_RDONLY | O_DIRECTORY));
    int path = (int)MUST(open("sub", O_PATH));
    int file = (int)OK(openat(directory, "inside", O_CREAT | O_RDWR, 0644));
    OK(access("sub/inside", F_OK));
    OK(close((int)OK(openat(path, "inside", O_RDONLY))));
    OK(close((int)OK(openat(999, "/dev/null", O_RDONLY))));
    ERR(EBADF, openat(999, "inside", O_RDONLY));
    ERR(ENOTDIR, openat(file, "inside", O_RDONLY));
    ERR(ENOENT, openat(directory, "", O_RDONLY));
    // The descriptor follows its directory.
    OK(rename("sub", "renamed"));
    OK(close((int)OK(openat(directory, "inside", O_RDONLY))));
    OK(unlinkat(directory, "inside", 0));
    OK(rmdir("renamed"));
    ERR(ENOENT, openat(directory, "inside", O_CREAT | O_RDWR, 0644));
    OK(close((int)OK(openat(directory, ".", O_RDONLY))));
}

int main(void)
{
    scratch();
    table();
    effects();
    temporary();
    relative();
    return check_done();
}
