// SPDX-License-Identifier: MIT
//
// Claim: rename and renameat2 replace atomically, move directories, exchange, refuse loops and
// kinds that do not fit, and keep open files and link counts right.
// Method: a matrix of source and target kinds, printed; then flags, loops, and a race.
#include "tests/guest/check.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE  2
#define RENAME_WHITEOUT  4
#endif

static const char *const kinds[] = {"file", "other-file", "empty-dir", "full-dir", "other-dir",
    "link-to-file", "link-to-dir", "dangling", "missing", "same-inode", ".", "..",
    "full-dir/inside", "file/", "empty-dir/", "missing/"};

static void build(void)
{
    CHECK_QUIET(system("/bin/busybox rm -rf *") == 0);
    put_file("file", "1", 0644);
    put_file("other-file", "2", 0644);
    CHECK_QUIET(mkdir("empty-dir", 0755) == 0 && mkdir("full-dir", 0755) == 0);
    CHECK_QUIET(mkdir("other-dir", 0755) == 0);
    put_file("full-dir/inside", "3", 0644);
    CHECK_QUIET(symlink("file", "link-to-file") == 0 && symlink("empty-dir", "link-to-dir") == 0);
    CHECK_QUIET(symlink("nowhere", "dangling") == 0 && link("file", "same-inode") == 0);
}

static void matrix(unsigned flags)
{
    MUST(mkdir("matrix", 0755));
    MUST(chdir("matrix"));
    for (size_t s = 0; s < ARRAY_SIZE(kinds); s++) {
        char line[900];
        int at = snprintf(line, sizeof(line), "flags %u, %s to:", flags, kinds[s]);
        for (size_t t = 0; t < ARRAY_SIZE(kinds); t++) {
            build();
            long result = syscall(SYS_renameat2, AT_FDCWD, kinds[s], AT_FDCWD, kinds[t], flags);
            int error = result < 0 ? errno : 0;
            at += snprintf(line + at, sizeof(line) - (size_t)at, " %s", errno_name(error));
        }
        note("%s", line);
    }
    MUST(chdir(".."));
    CHECK_QUIET(system("/bin/busybox rm -rf matrix") == 0);
}

static void effects(void)
{
    struct stat before, after;

    put_file("a", "aaa", 0644);
    put_file("b", "bbb", 0644);
    int open_b = (int)MUST(open("b", O_RDONLY));
    MUST(stat("a", &before));
    OK(rename("a", "b"));
    MUST(stat("b", &after));
    CHECK(before.st_ino == after.st_ino);
    ERR(ENOENT, access("a", F_OK));
    char text[4] = "";
    CHECK_EQ(read(open_b, text, 3), 3); // the replaced file lives on for who has it open
    CHECK_STR(text, "bbb");
    MUST(fstat(open_b, &after));
    CHECK_EQ(after.st_nlink, 0);
    close(open_b);

    // Two links of one file: nothing happens, both stay.
    MUST(link("b", "c"));
    OK(rename("b", "c"));
    OK(access("b", F_OK));
    OK(access("c", F_OK));

    // Directories: ".." and link counts move along.
    MUST(mkdir("p", 0755));
    MUST(mkdir("q", 0755));
    MUST(mkdir("p/child", 0755));
    put_file("p/child/f", "deep", 0644);
    OK(rename("p/child", "q/child"));
    MUST(stat("p", &before));
    MUST(stat("q", &after));
    CHECK(before.st_nlink == 2 && after.st_nlink == 3);
    MUST(stat("q/child/..", &before));
    CHECK(before.st_ino == after.st_ino);
    CHECK_STR(get_file("q/child/f"), "deep");
    ERR(EINVAL, rename("q", "q/child/into-itself"));
    ERR(EINVAL, rename("q", "q/x"));
    ERR(ENOTEMPTY, rename("q/child", "q"));
    ERR(EXDEV, rename("b", "/proc/x"));
    ERR(EXDEV, rename("/", "x"));

    // Exchange.
    put_file("x", "was x", 0644);
    OK(syscall(SYS_renameat2, AT_FDCWD, "x", AT_FDCWD, "q/child", RENAME_EXCHANGE));
    CHECK_STR(get_file("x/f"), "deep");
    CHECK_STR(get_file("q/child"), "was x");
    MUST(stat("q", &after));
    CHECK_EQ(after.st_nlink, 2);
    ERR(EINVAL,
        syscall(SYS_renameat2, AT_FDCWD, "x", AT_FDCWD, "y", RENAME_EXCHANGE | RENAME_NOREPLACE));
    ERR(EINVAL, syscall(SYS_renameat2, AT_FDCWD, "x", AT_FDCWD, "y", 8));
    ERR(EEXIST, syscall(SYS_renameat2, AT_FDCWD, "b", AT_FDCWD, "c", RENAME_NOREPLACE));
    OK(syscall(SYS_renameat2, AT_FDCWD, "b", AT_FDCWD, "fresh", RENAME_NOREPLACE));
    ERR(EBADF, renameat(99, "x", AT_FDCWD, "y"));
    char name[300];
    memset(name, 'n', 299);
    name[299] = 0;
    ERR(ENAMETOOLONG, rename("x", name));
    ERR(ENOENT, rename("", "y"));
    ERR(ENOENT, rename("x", ""));
}

// While one process renames over a name all the time, another always finds it.
static void atomic(void)
{
    put_file("name", "same", 0644);
    pid_t child = fork();
    if (child == 0) {
        for (;;) {
            put_file("temporary", "same", 0644);
            MUST(rename("temporary", "name"));
        }
    }
    int wrong = 0;
    uint64_t until = now_ns() + 500000000;
    while (now_ns() < until) {
        wrong += strcmp(get_file("name"), "same") != 0;
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    CHECK_EQ(wrong, 0);
}

// Many processes move directories into one another: no loop may ever arise.
static void no_loops(void)
{
    char name[32];
    for (int i = 0; i < 6; i++) {
        snprintf(name, sizeof(name), "loop%d", i);
        MUST(mkdir(name, 0755));
    }
    for (int k = 0; k < 4; k++) {
        if (fork() == 0) {
            unsigned state = (unsigned)k * 7919 + 1;
            uint64_t until = now_ns() + 400000000;
            while (now_ns() < until) {
                char from[64], to[128];
                state = state * 1664525 + 1013904223;
                snprintf(from, sizeof(from), "loop%u", (state >> 8) % 6);
                snprintf(to, sizeof(to), "loop%u/loop%u", (state >> 16) % 6, (state >> 8) % 6);
                if ((state >> 30) & 1) {
                    rename(to, from);
                } else {
                    rename(from, to);
                }
            }
            _exit(0);
        }
    }
    while (wait(NULL) > 0) {
    }
    // All six can still be reached from here.
    FILE *list = popen("/bin/busybox find . -name 'loop?' -type d | /bin/busybox wc -l", "r");
    int found = 0;
    CHECK(fscanf(list, "%d", &found) == 1);
    pclose(list);
    CHECK_EQ(found, 6);
}

int main(void)
{
    scratch();
    matrix(0);
    matrix(RENAME_NOREPLACE);
    matrix(RENAME_EXCHANGE);
    effects();
    atomic();
    no_loops();
    return check_done();
}
