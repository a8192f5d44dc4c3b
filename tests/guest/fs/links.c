// SPDX-License-Identifier: MIT
//
// Claim: mkdir, rmdir, link, symlink, readlink, unlink, mknod and their *at forms create and remove
// what they should, keep link counts and times, and fail with the right errors.
// Method: each call with good and bad operands; counts through stat.
#include "tests/guest/check.h"
#include <sys/sysmacros.h>

static long links_of(const char *path)
{
    struct stat about;
    return lstat(path, &about) == 0 ? (long)about.st_nlink : -1;
}

static void directories(void)
{
    OK(mkdir("d", 0777));
    struct stat about;
    MUST(stat("d", &about));
    CHECK_EQ(about.st_mode, S_IFDIR | 0755);
    CHECK_EQ(links_of("d"), 2);
    OK(mkdir("d/e", 0700));
    OK(mkdir("d/f/", 0700)); // a trailing slash is fine for a directory
    CHECK_EQ(links_of("d"), 4);
    ERR(EEXIST, mkdir("d", 0755));
    ERR(EEXIST, mkdir("d/e/.", 0755));
    ERR(EEXIST, mkdir("/", 0755));
    ERR(EEXIST, mkdir("..", 0755));
    ERR(ENOENT, mkdir("missing/x", 0755));
    ERR(ENOENT, mkdir("", 0755));
    put_file("file", "x", 0644);
    ERR(ENOTDIR, mkdir("file/x", 0755));
    ERR(EEXIST, mkdir("file", 0755));
    ERR(ENOTEMPTY, rmdir("d"));
    OK(rmdir("d/e"));
    OK(rmdir("d/f/"));
    CHECK_EQ(links_of("d"), 2);
    ERR(EINVAL, rmdir("d/."));
    ERR(ENOTEMPTY, rmdir("d/.."));
    ERR(ENOTDIR, rmdir("file"));
    ERR(ENOENT, rmdir("missing"));
    ERR(EBUSY, rmdir("/"));
    ERR(EISDIR, unlink("d"));
    ERR(ENOTDIR, unlink("file/"));
    ERR(ENOENT, unlink(""));
    ERR(ENOENT, unlink("missing"));
    ERR(EISDIR, unlink("."));
    ERR(EISDIR, unlink("/"));
    OK(unlinkat(AT_FDCWD, "d", AT_REMOVEDIR));
    ERR(ENOTDIR, unlinkat(AT_FDCWD, "file", AT_REMOVEDIR));
    ERR(EINVAL, unlinkat(AT_FDCWD, "file", 1));
    ERR(EBADF, mkdirat(99, "x", 0755));
    // A removed working directory.
    MUST(mkdir("gone", 0755));
    if (fork() == 0) {
        char where[64];
        MUST(chdir("gone"));
        MUST(rmdir("../gone"));
        ERR(ENOENT, mkdir("x", 0755));
        ERR(ENOENT, open("x", O_CREAT | O_RDWR, 0644));
        ERR(ENOENT, syscall(SYS_getcwd, where, sizeof(where)));
        OK(chdir(".."));
        OK(access("file", F_OK));
        _exit(check_failures);
    }
    int status;
    wait(&status);
    CHECK_STR(status_text(status), "exit 0");
}

static void hard_links(void)
{
    struct stat a, b;

    OK(link("file", "second"));
    CHECK_EQ(links_of("file"), 2);
    MUST(stat("file", &a));
    MUST(stat("second", &b));
    CHECK(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
    ERR(EEXIST, link("file", "second"));
    ERR(EEXIST, link("file", "file"));
    ERR(ENOENT, link("missing", "third"));
    ERR(EPERM, link(".", "third"));
    ERR(ENOENT, link("file", "missing/third"));
    ERR(ENOENT, link("file", "third/"));
    ERR(ENOTDIR, link("file", "file/third"));
    ERR(EXDEV, link("file", "/dev/third"));
    OK(unlink("file"));
    CHECK_EQ(links_of("second"), 1);
    CHECK_STR(get_file("second"), "x");
    OK(rename("second", "file"));
    // A link to a symbolic link itself, or to what it points to.
    MUST(symlink("file", "symbolic"));
    OK(link("symbolic", "hard-to-symbolic"));
    MUST(lstat("hard-to-symbolic", &a));
    CHECK(S_ISLNK(a.st_mode) && a.st_nlink == 2);
    OK(linkat(AT_FDCWD, "symbolic", AT_FDCWD, "hard-to-file", AT_SYMLINK_FOLLOW));
    MUST(lstat("hard-to-file", &a));
    CHECK(S_ISREG(a.st_mode) && a.st_nlink == 2);
    ERR(EINVAL, linkat(AT_FDCWD, "file", AT_FDCWD, "x", 1));
    // An open file without a name.
    int file = (int)MUST(open("doomed", O_RDWR | O_CREAT, 0600));
    OK(unlink("doomed"));
    MUST(write(file, "alive", 5));
    MUST(fstat(file, &a));
    CHECK(a.st_nlink == 0 && a.st_size == 5);
    char path[64], target[200] = "";
    snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    MUST(readlink(path, target, sizeof(target) - 1));
    CHECK(strlen(target) > 10 && strcmp(target + strlen(target) - 10, " (deleted)") == 0);
    ERR(ENOENT, linkat(file, "", AT_FDCWD, "revived", AT_EMPTY_PATH));
    close(file);
}

static void symbolic_links(void)
{
    char text[64] = "";
    struct stat about;

    OK(symlink("target that is missing", "s"));
    CHECK_EQ(readlink("s", text, sizeof(text)), 22);
    CHECK_STR(text, "target that is missing");
    memset(text, '.', sizeof(text));
    CHECK_EQ(readlink("s", text, 6), 6);
    CHECK(memcmp(text, "target.", 7) == 0); // cut and not ended
    MUST(lstat("s", &about));
    CHECK(S_ISLNK(about.st_mode) && about.st_size == 22 && (about.st_mode & 0777) == 0777);
    ERR(ENOENT, stat("s", &about));
    ERR(EINVAL, readlink("file", text, sizeof(text)));
    ERR(EINVAL, syscall(SYS_readlink, "s", text, 0));
    ERR(ENOENT, readlink("missing", text, sizeof(text)));
    ERR(ENOTDIR, readlink("file/x", text, sizeof(text)));
    ERR(EFAULT, syscall(SYS_readlink, "s", 8, 10));
    ERR(EEXIST, symlink("x", "s"));
    ERR(ENOENT, symlink("", "empty"));
    ERR(ENOENT, symlink("x", ""));
    ERR(ENOENT, symlink("x", "missing/s"));
    char long_target[4200];
    memset(long_target, 'l', sizeof(long_target));
    long_target[4199] = 0;
    ERR(ENAMETOOLONG, symlink(long_target, "long"));
    long_target[4095] = 0;
    OK(symlink(long_target, "long"));
    ERR(ENAMETOOLONG, stat("long", &about));
    MUST(lstat("long", &about));
    CHECK_EQ(about.st_size, 4095);
    OK(unlink("long"));
    OK(unlink("s"));
    // Creating through a dangling link makes its target.
    MUST(symlink("made", "maker"));
    OK(close((int)OK(open("maker", O_CREAT | O_RDWR, 0644))));
    OK(access("made", F_OK));
    ERR(EEXIST, open("maker", O_CREAT | O_EXCL | O_RDWR, 0644));
    ERR(EEXIST, mkdir("maker", 0755));
    MUST(symlink("no/such/path", "far"));
    ERR(ENOENT, open("far", O_CREAT | O_RDWR, 0644));
    // Relative to the link's own directory.
    MUST(mkdir("dir", 0755));
    MUST(symlink("../file", "dir/up"));
    CHECK_STR(get_file("dir/up"), "x");
    MUST(symlink("dir", "todir"));
    CHECK_STR(get_file("todir/up"), "x");
    MUST(lstat("todir/", &about));
    CHECK(S_ISDIR(about.st_mode));
    ERR(ENOTDIR, rmdir("todir"));
    ERR(ENOTDIR, rmdir("todir/"));
    OK(unlink("todir"));
}

static void nodes(void)
{
    struct stat about;

    OK(mknod("regular", S_IFREG | 0644, 0));
    OK(mknod("plain", 0600, 0));
    MUST(stat("plain", &about));
    CHECK(S_ISREG(about.st_mode));
    OK(mknod("null", S_IFCHR | 0666, makedev(1, 3)));
    MUST(stat("null", &about));
    CHECK(S_ISCHR(about.st_mode) && about.st_rdev == makedev(1, 3));
    OK(close((int)OK(open("null", O_WRONLY))));
    OK(mknod("nobody", S_IFCHR | 0666, makedev(250, 77)));
    ERR(ENXIO, open("nobody", O_RDONLY));
    OK(mknod("block", S_IFBLK | 0666, makedev(250, 77)));
    ERR(ENXIO, open("block", O_RDONLY));
    OK(mknod("socket", S_IFSOCK | 0666, 0));
    ERR(ENXIO, open("socket", O_RDWR));
    ERR(EEXIST, mknod("null", S_IFREG | 0644, 0));
    ERR(EPERM, mknod("directory", S_IFDIR | 0755, 0));
    ERR(EINVAL, mknod("link", S_IFLNK | 0755, 0));
    ERR(EINVAL, mknod("odd", 0150000 | 0644, 0));
    ERR(ENOENT, mknod("missing/x", S_IFREG | 0644, 0));
    if (fork() == 0) {
        MUST(mkdir("user", 0777));
        MUST(chown("user", 1000, 1000));
        MUST(setuid(1000));
        ERR(EPERM, mknod("user/null", S_IFCHR | 0666, makedev(1, 3)));
        OK(mknod("user/fifo", S_IFIFO | 0666, 0));
        OK(mknod("user/file", S_IFREG | 0666, 0));
        _exit(check_failures);
    }
    int status;
    wait(&status);
    CHECK_STR(status_text(status), "exit 0");
}

int main(void)
{
    scratch();
    directories();
    hard_links();
    symbolic_links();
    nodes();
    return check_done();
}
