// SPDX-License-Identifier: MIT
//
// Claim: permission bits decide by owner, group and others for files and directories; sticky and
// set-group-ID directories; chmod and chown with their side effects; access and faccessat2 with
// real and effective ids; umask; root's exceptions.
// Method: children under other ids try everything on files of known owners and modes; results are
// printed as tables.
#include "tests/guest/check.h"
#include <grp.h>

static uid_t user;
static gid_t group;

static void try_files(void)
{
    MUST(setresgid(group, group, group));
    MUST(setresuid(user, user, user));
    for (int bits = 0; bits < 8; bits++) {
        for (int who = 0; who < 3; who++) {
            char name[32];
            snprintf(name, sizeof(name), "f%o%d", bits, who);
            int r = open(name, O_RDONLY), w = open(name, O_WRONLY);
            char *none[] = {name, NULL};
            pid_t child = fork();
            if (child == 0) {
                execv(name, none);
                _exit(errno);
            }
            int status;
            waitpid(child, &status, 0);
            note("uid %d gid %d: %s: read %s, write %s, run %s; access %d%d%d", user, group, name,
                r >= 0 ? "yes" : "no", w >= 0 ? "yes" : "no",
                WEXITSTATUS(status) == EACCES ? "no" : "yes", access(name, R_OK) == 0,
                access(name, W_OK) == 0, access(name, X_OK) == 0);
            close(r);
            close(w);
        }
    }
}

static void files(void)
{
    // Bits 0 to 7 for the owner, the group and others, the rest open.
    for (int bits = 0; bits < 8; bits++) {
        for (int who = 0; who < 3; who++) {
            char name[32];
            snprintf(name, sizeof(name), "f%o%d", bits, who);
            put_file(name, "", 0644);
            MUST(chown(name, 1000, 100));
            int shift = 6 - 3 * who;
            MUST(chmod(name, (mode_t)(0777 & ~(7 << shift)) | (mode_t)(bits << shift)));
        }
    }
    static const struct {
        uid_t user;
        gid_t group;
    } people[] = {{1000, 5}, {2000, 100}, {2000, 5}, {0, 0}};
    for (size_t i = 0; i < ARRAY_SIZE(people); i++) {
        user = people[i].user;
        group = people[i].group;
        CHILD(try_files, "exit 0");
    }
}

static void try_directories(void)
{
    MUST(setresgid(100, 100, 100));
    MUST(setresuid(1000, 1000, 1000));
    for (int bits = 0; bits < 8; bits++) {
        char name[32], inside[64], fresh[64];
        struct stat about;
        snprintf(name, sizeof(name), "d%o", bits);
        snprintf(inside, sizeof(inside), "%s/inside", name);
        snprintf(fresh, sizeof(fresh), "%s/fresh", name);
        int list = open(name, O_RDONLY | O_DIRECTORY);
        int listed = list >= 0 ? errno_name(0)[0] : errno_name(errno)[0];
        int found = stat(inside, &about), found_error = errno;
        int made = open(fresh, O_CREAT | O_RDWR, 0644), made_error = errno;
        int removed = unlink(inside), removed_error = errno;
        int entered = chdir(name), entered_error = errno;
        if (entered == 0) {
            MUST(chdir(".."));
        }
        note("directory %s: list %s, find %s, make %s, remove %s, enter %s", name,
            listed == '0' ? "yes" : "no", found == 0 ? "yes" : errno_name(found_error),
            made >= 0 ? "yes" : errno_name(made_error),
            removed == 0 ? "yes" : errno_name(removed_error),
            entered == 0 ? "yes" : errno_name(entered_error));
    }
}

static void directories(void)
{
    for (int bits = 0; bits < 8; bits++) {
        char name[32], inside[64];
        snprintf(name, sizeof(name), "d%o", bits);
        snprintf(inside, sizeof(inside), "%s/inside", name);
        MUST(mkdir(name, 0755));
        put_file(inside, "x", 0644);
        MUST(chown(name, 1000, 100));
        MUST(chmod(name, (mode_t)(bits << 6)));
    }
    CHILD(try_directories, "exit 0");
}

static void sticky_user(void)
{
    MUST(setresuid(1000, 1000, 1000));
    OK(unlink("sticky/mine"));
    ERR(EPERM, unlink("sticky/other"));
    ERR(EPERM, rename("sticky/other", "sticky/x"));
    put_file("sticky/new", "", 0644);
    ERR(EPERM, rename("sticky/new", "sticky/other"));
    ERR(EPERM, rmdir("sticky/other-dir"));
    OK(unlink("own-sticky/other")); // the directory is ours
    OK(unlink("open/other"));
}

static void sticky(void)
{
    MUST(mkdir("sticky", 0777));
    MUST(mkdir("own-sticky", 0777));
    MUST(mkdir("open", 0777));
    MUST(chmod("sticky", 01777));
    MUST(chmod("own-sticky", 01777));
    MUST(chown("own-sticky", 1000, 1000));
    MUST(chmod("open", 0777));
    put_file("sticky/mine", "", 0644);
    MUST(chown("sticky/mine", 1000, 1000));
    put_file("sticky/other", "", 0666);
    put_file("own-sticky/other", "", 0644);
    put_file("open/other", "", 0644);
    MUST(mkdir("sticky/other-dir", 0777));
    CHILD(sticky_user, "exit 0");
}

static void set_group_directories(void)
{
    struct stat about;

    MUST(mkdir("sg", 0777));
    MUST(chown("sg", 0, 555));
    MUST(chmod("sg", 02777));
    put_file("sg/file", "", 0644);
    MUST(stat("sg/file", &about));
    CHECK_EQ(about.st_gid, 555);
    MUST(mkdir("sg/dir", 0755));
    MUST(stat("sg/dir", &about));
    CHECK(about.st_gid == 555 && (about.st_mode & 02000) != 0);
    MUST(symlink("x", "sg/link"));
    MUST(lstat("sg/link", &about));
    CHECK_EQ(about.st_gid, 555);
}

static mode_t mode_of(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 ? about.st_mode & 07777 : 0xffff;
}

static void change_as_user(void)
{
    gid_t groups[] = {1000, 1001};
    MUST(setgroups(2, groups));
    MUST(setresgid(1000, 1000, 1000));
    MUST(setresuid(1000, 1000, 1000));
    OK(chmod("owned", 0604));
    ERR(EPERM, chmod("foreign", 0644));
    ERR(EPERM, chown("owned", 1001, -1));
    ERR(EPERM, chown("owned", -1, 77)); // not a group of ours
    OK(chown("owned", -1, 1001));
    OK(chown("owned", 1000, 1000));
    ERR(EPERM, chown("foreign", 1000, 1000));
    OK(chmod("owned", 06755));
    CHECK_EQ(mode_of("owned"), 06755);
    OK(chown("owned", -1, 1001)); // clears the set-id bits
    CHECK_EQ(mode_of("owned"), 0755);
    OK(chmod("foreign-group", 02755)); // set-group-ID of a group that is not ours is dropped
    CHECK_EQ(mode_of("foreign-group"), 0755);
    OK(chmod("owned", 06777));
    int file = (int)MUST(open("owned", O_WRONLY));
    MUST(write(file, "x", 1)); // so does writing
    CHECK_EQ(mode_of("owned"), 0777);
    OK(chmod("owned", 06777));
    OK(ftruncate(file, 0));
    CHECK_EQ(mode_of("owned"), 0777);
    OK(fchmod(file, 0600));
    OK(fchown(file, -1, -1));
}

static void changes(void)
{
    put_file("owned", "", 0644);
    MUST(chown("owned", 1000, 1000));
    put_file("foreign", "", 0644);
    put_file("foreign-group", "", 0644);
    MUST(chown("foreign-group", 1000, 77));
    CHILD(change_as_user, "exit 0");
    // Root clears them by chown too, but not by writing.
    MUST(chmod("foreign", 06755));
    OK(chown("foreign", 5, 5));
    CHECK_EQ(mode_of("foreign"), 0755);
    MUST(chmod("foreign", 02644)); // without group execution it means locking: kept
    OK(chown("foreign", 6, 6));
    CHECK_EQ(mode_of("foreign"), 02644);
    MUST(chmod("foreign", 06755));
    put_file("foreign", "by root", 0);
    CHECK_EQ(mode_of("foreign"), 06755);
    MUST(symlink("foreign", "to-foreign"));
    struct stat about;
    OK(lchown("to-foreign", 9, 9));
    MUST(lstat("to-foreign", &about));
    CHECK_EQ(about.st_uid, 9);
    OK(fchownat(AT_FDCWD, "to-foreign", 8, 8, 0));
    MUST(stat("foreign", &about));
    CHECK_EQ(about.st_uid, 8);
    ERR(EINVAL, fchownat(AT_FDCWD, "x", 8, 8, 0x4000));
    ERR(ENOENT, chmod("missing", 0644));
    ERR(EBADF, fchmod(99, 0644));
    OK(syscall(SYS_fchmodat, AT_FDCWD, "foreign", 017777)); // only twelve bits count
    CHECK_EQ(mode_of("foreign"), 07777);
}

static void access_by_real_id(void)
{
    MUST(setresuid(1000, 0, 0));
    ERR(EACCES, access("secret", R_OK));
    OK(faccessat(AT_FDCWD, "secret", R_OK, AT_EACCESS));
    OK(syscall(SYS_faccessat2, AT_FDCWD, "secret", R_OK | W_OK, AT_EACCESS));
    ERR(EACCES, syscall(SYS_faccessat2, AT_FDCWD, "secret", R_OK, 0));
    ERR(EACCES, syscall(SYS_faccessat2, AT_FDCWD, "secret", X_OK, AT_EACCESS)); // root needs one x
    OK(close((int)OK(open("secret", O_RDONLY))));
    ERR(EINVAL, syscall(SYS_faccessat2, AT_FDCWD, "secret", 8, 0));
    ERR(EINVAL, syscall(SYS_faccessat2, AT_FDCWD, "secret", R_OK, 1));
    ERR(ENOENT, access("missing", F_OK));
    MUST(symlink("missing", "dangling"));
    OK(syscall(SYS_faccessat2, AT_FDCWD, "dangling", F_OK, AT_SYMLINK_NOFOLLOW));
    ERR(ENOENT, access("dangling", F_OK));
}

int main(void)
{
    scratch();
    MUST(chmod(".", 0777));
    files();
    directories();
    sticky();
    set_group_directories();
    changes();
    put_file("secret", "x", 0600);
    CHILD(access_by_real_id, "exit 0");
    CHECK_EQ(umask(01777), 022);
    CHECK_EQ(umask(022), 0777);
    return check_done();
}
