// SPDX-License-Identifier: MIT
//
// Claim: path resolution: dots, doubled and trailing slashes, lengths of names and paths, chains
// and loops of symbolic links, working directory, root directory, and getcwd.
// Method: each rule with paths at and beyond its limit.
#include "tests/guest/check.h"

static struct stat about;

static ino_t inode(const char *path)
{
    return stat(path, &about) == 0 ? about.st_ino : 0;
}

static void dots(void)
{
    MUST(mkdir("a", 0755));
    MUST(mkdir("a/b", 0755));
    put_file("a/file", "x", 0644);
    CHECK(
        inode("a") == inode("./a") && inode("a") == inode("a/.") && inode("a") == inode("a/b/.."));
    CHECK(inode("a") == inode("a//b/..") && inode("a") == inode(".//a///"));
    CHECK(inode("/") == inode("/..") && inode("/") == inode("/../..") && inode("/") == inode("//"));
    CHECK(inode("a/file") == inode("a/b/../file"));
    CHECK_EQ(inode("a/file/"), 0);
    CHECK_EQ(errno, ENOTDIR);
    CHECK_EQ(inode("a/file/.."), 0);
    CHECK_EQ(errno, ENOTDIR);
    CHECK_EQ(inode("a/file/."), 0);
    CHECK_EQ(errno, ENOTDIR);
    CHECK_EQ(inode("a/missing/.."), 0);
    CHECK_EQ(errno, ENOENT);
    ERR(ENOENT, stat("", &about));
    // Names may hold anything but slash and NUL.
    static const char *const odd[] = {" ", "\n", "\xff\xfe", "...", "..a", "-", "a\\b", "*"};
    for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
        put_file(odd[i], "odd", 0644);
        CHECK_QUIET(strcmp(get_file(odd[i]), "odd") == 0);
        CHECK_QUIET(unlink(odd[i]) == 0);
    }
    note("odd names");
}

static void lengths(void)
{
    char name[300], path[5000];

    memset(name, 'n', sizeof(name));
    name[255] = 0;
    put_file(name, "255", 0644);
    CHECK_STR(get_file(name), "255");
    OK(unlink(name));
    name[255] = 'n';
    name[256] = 0;
    ERR(ENAMETOOLONG, open(name, O_CREAT | O_RDWR, 0644));
    ERR(ENAMETOOLONG, stat(name, &about));
    // A path of 4095 bytes and its NUL fits, one more does not.
    for (size_t i = 0; i < sizeof(path); i++) {
        path[i] = i % 2 == 0 ? '.' : '/';
    }
    memcpy(path + 4094, "a", 2);
    CHECK_EQ(strlen(path), 4095);
    OK(stat(path, &about));
    memcpy(path + 4094, "/a", 3);
    ERR(ENAMETOOLONG, stat(path, &about));
    // Deep directories, deeper than any path is long.
    int depth = 0;
    memset(name, 'd', 200);
    name[200] = 0;
    while (depth < 30 && mkdir(name, 0755) == 0 && chdir(name) == 0) {
        depth++;
    }
    CHECK_EQ(depth, 30);
    char where[8192];
    ERR(ENAMETOOLONG, syscall(SYS_getcwd, where, sizeof(where)));
    put_file("deep", "down", 0644);
    CHECK_STR(get_file("deep"), "down");
    OK(unlink("deep"));
    for (int i = 0; i < 30; i++) {
        MUST(chdir(".."));
        MUST(rmdir(name));
    }
}

static void loops(void)
{
    char from[32], to[32];

    put_file("end", "reached", 0644);
    MUST(symlink("end", "l1"));
    for (int i = 2; i <= 42; i++) {
        snprintf(from, sizeof(from), "l%d", i);
        snprintf(to, sizeof(to), "l%d", i - 1);
        MUST(symlink(to, from));
    }
    CHECK_STR(get_file("l1"), "reached");
    CHECK_STR(get_file("l40"), "reached"); // forty links are the limit
    ERR(ELOOP, stat("l41", &about));
    OK(lstat("l41", &about));
    MUST(symlink("round", "round"));
    ERR(ELOOP, stat("round", &about));
    ERR(ELOOP, open("round", O_CREAT | O_RDWR, 0644));
    ERR(ELOOP, open("round/x", O_RDONLY));
    ERR(ELOOP, chdir("round"));
    OK(unlink("round"));
    MUST(symlink("two", "one"));
    MUST(symlink("one", "two"));
    ERR(ELOOP, stat("one", &about));
    // Links in the middle count as well.
    MUST(symlink(".", "here"));
    char path[512] = "";
    for (int i = 0; i < 39; i++) {
        strcat(path, "here/");
    }
    strcat(path, "l1");
    OK(stat(path, &about));
    strcpy(path + strlen(path) - 2, "l2");
    ERR(ELOOP, stat(path, &about));
    ERR(ENOENT, stat("here/missing", &about));
    MUST(symlink("/tmp/../", "absolute"));
    CHECK(inode("absolute") == inode("/"));
    MUST(symlink("end/", "to-file-with-slash"));
    ERR(ENOTDIR, stat("to-file-with-slash", &about));
}

static void working_directory(void)
{
    char where[PATH_MAX], before[PATH_MAX];

    MUST(syscall(SYS_getcwd, before, sizeof(before)));
    OK(chdir("a/b"));
    long length = OK(syscall(SYS_getcwd, where, sizeof(where)));
    CHECK(length == (long)strlen(before) + 5 && strcmp(where + strlen(before), "/a/b") == 0);
    ERR(ERANGE, syscall(SYS_getcwd, where, 3));
    ERR(ERANGE, syscall(SYS_getcwd, where, length - 1));
    OK(syscall(SYS_getcwd, where, length));
    ERR(ENOTDIR, chdir("../file"));
    ERR(ENOENT, chdir("missing"));
    int directory = (int)MUST(open("../..", O_RDONLY)), file = (int)MUST(open("../file", O_RDONLY));
    ERR(ENOTDIR, fchdir(file));
    ERR(EBADF, fchdir(99));
    OK(fchdir(directory));
    MUST(syscall(SYS_getcwd, where, sizeof(where)));
    CHECK(strcmp(where, before) == 0);
    // It follows renames.
    OK(chdir("a/b"));
    OK(rename("../../a", "../../renamed"));
    MUST(syscall(SYS_getcwd, where, sizeof(where)));
    CHECK(strcmp(where + strlen(before), "/renamed/b") == 0);
    OK(access("../file", F_OK));
    OK(rename("../../renamed", "../../a"));
    OK(fchdir(directory));
    int path = (int)MUST(open("a", O_PATH));
    OK(fchdir(path));
    OK(fchdir(directory));
    MUST(chmod("a/b", 0));
    if (fork() == 0) {
        MUST(setuid(1000));
        ERR(EACCES, chdir("a/b"));
        ERR(EPERM, chroot("a"));
        _exit(check_failures);
    }
    int status;
    wait(&status);
    CHECK_STR(status_text(status), "exit 0");
}

static void in_new_root(void)
{
    char where[PATH_MAX];
    int outside = (int)MUST(open(".", O_RDONLY));

    OK(chroot("a"));
    OK(access("/file", F_OK));
    CHECK(inode("/..") == inode("/"));
    MUST(syscall(SYS_getcwd, where, sizeof(where)));
    CHECK(strncmp(where, "(unreachable)/", 14) == 0);
    OK(access("end", F_OK)); // the working directory is still outside
    OK(chdir("/"));
    MUST(syscall(SYS_getcwd, where, sizeof(where)));
    CHECK_STR(where, "/");
    ERR(ENOENT, access("/../end", F_OK));
    MUST(symlink("/file", "absolute-inside"));
    CHECK_STR(get_file("absolute-inside"), "x");
    MUST(symlink("../../../file", "b/up"));
    CHECK_STR(get_file("/b/up"), "x");
    OK(fchdir(outside));
    OK(access("../..", F_OK));
}

int main(void)
{
    scratch();
    dots();
    lengths();
    loops();
    working_directory();
    MUST(chmod("a/b", 0755));
    CHILD(in_new_root, "exit 0");
    ERR(ENOENT, chroot("missing"));
    ERR(ENOTDIR, chroot("end"));
    return check_done();
}
