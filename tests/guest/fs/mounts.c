// SPDX-License-Identifier: MIT
//
// Claim: tmpfs and bind mounts cover and uncover directories, are busy while used, can be
// read-only, moved, detached lazily, limited in size, and appear in /proc/self/mounts and
// mountinfo. Method: a tree of mounts inside the test's own directory; each is taken down again.
#include "tests/guest/check.h"
#include <sys/mount.h>
#include <sys/statfs.h>

static char here[PATH_MAX];

// The line of a mount point in /proc/self/mounts, without its options.
static const char *entry_of(const char *name)
{
    static char found[256];
    char path[PATH_MAX], line[1024], type[64], options[256], device[64], point[PATH_MAX];
    FILE *mounts = fopen("/proc/self/mounts", "r");

    snprintf(path, sizeof(path), "%s/%s", here, name);
    strcpy(found, "none");
    while (mounts != NULL && fgets(line, sizeof(line), mounts) != NULL) {
        if (sscanf(line, "%63s %4095s %63s %255s", device, point, type, options) == 4 &&
            strcmp(point, path) == 0) {
            snprintf(found, sizeof(found), "%s of type %s, %.2s", device, type, options);
        }
    }
    if (mounts != NULL) {
        fclose(mounts);
    }
    return found;
}

static void basics(void)
{
    struct stat above, below;

    MUST(mkdir("m", 0755));
    put_file("m/covered", "x", 0644);
    OK(mount("a name", "m", "tmpfs", 0, "mode=0700,size=1m"));
    ERR(ENOENT, access("m/covered", F_OK));
    MUST(stat("m", &above));
    MUST(stat(".", &below));
    CHECK(above.st_dev != below.st_dev && (above.st_mode & 0777) == 0700);
    CHECK_STR(entry_of("m"), "a\\040name of type tmpfs, rw");
    put_file("m/inside", "i", 0644);
    MUST(stat("m/..", &above));
    CHECK(above.st_ino == below.st_ino && above.st_dev == below.st_dev);
    ERR(EXDEV, link("m/inside", "outside"));
    ERR(EXDEV, rename("m/inside", "outside"));
    ERR(EBUSY, rmdir("m"));
    ERR(EBUSY, rename("m", "n"));
    // Busy while somebody is inside.
    int file = (int)MUST(open("m/inside", O_RDONLY));
    ERR(EBUSY, umount("m"));
    close(file);
    MUST(chdir("m"));
    ERR(EBUSY, umount("../m"));
    MUST(chdir(".."));
    OK(umount("m"));
    OK(access("m/covered", F_OK));
    ERR(EINVAL, umount("m"));
    CHECK_STR(entry_of("m"), "none");
    ERR(ENODEV, mount("x", "m", "nosuchfs", 0, NULL));
    ERR(ENOENT, mount("x", "missing", "tmpfs", 0, NULL));
    ERR(ENOTDIR, mount("x", "m/covered", "tmpfs", 0, NULL));
    ERR(EINVAL, mount("x", "m", "tmpfs", 0, "nosuchoption=1"));
    ERR(ENOENT, umount("missing"));
    ERR(EINVAL, umount2("m", 0x100));
    ERR(EFAULT, syscall(SYS_mount, "x", 8, "tmpfs", 0, NULL));
    if (fork() == 0) {
        MUST(setuid(1000));
        ERR(EPERM, mount("x", "m", "tmpfs", 0, NULL));
        ERR(EPERM, umount("m"));
        _exit(check_failures);
    }
    int status;
    wait(&status);
    CHECK_STR(status_text(status), "exit 0");
}

static void size_limits(void)
{
    static char block[65536];
    struct statfs fs;

    OK(mount("small", "m", "tmpfs", 0, "size=256k,nr_inodes=10"));
    OK(statfs("m", &fs));
    CHECK(fs.f_blocks == 64 && fs.f_files == 10);
    int file = (int)MUST(open("m/big", O_RDWR | O_CREAT, 0644));
    size_t total = 0;
    ssize_t got;
    while ((got = write(file, block, sizeof(block))) > 0) {
        total += (size_t)got;
    }
    CHECK_EQ(errno, ENOSPC);
    CHECK_EQ(total, 262144);
    OK(statfs("m", &fs));
    CHECK_EQ(fs.f_bfree, 0);
    OK(ftruncate(file, 4096));
    OK(statfs("m", &fs));
    CHECK_EQ(fs.f_bfree, 63);
    CHECK_EQ(pwrite(file, block, 100, 8192), 100);
    int made = 0;
    for (int i = 0; i < 20; i++) {
        char name[32];
        snprintf(name, sizeof(name), "m/f%d", i);
        int fresh = open(name, O_CREAT | O_RDWR, 0644);
        if (fresh < 0) {
            break;
        }
        close(fresh);
        made++;
    }
    CHECK_EQ(errno, ENOSPC);
    CHECK_EQ(made, 8);
    close(file);
    OK(mount("small", "m", NULL, MS_REMOUNT, "size=512k"));
    OK(statfs("m", &fs));
    CHECK_EQ(fs.f_blocks, 128);
    OK(umount("m"));
}

static void read_only(void)
{
    OK(mount("ro", "m", "tmpfs", 0, NULL));
    put_file("m/file", "x", 0666);
    int writer = (int)MUST(open("m/file", O_RDWR));
    ERR(EBUSY, mount("ro", "m", NULL, MS_REMOUNT | MS_RDONLY, NULL));
    close(writer);
    OK(mount("ro", "m", NULL, MS_REMOUNT | MS_RDONLY, NULL));
    CHECK_STR(entry_of("m"), "ro of type tmpfs, ro");
    ERR(EROFS, open("m/file", O_RDWR));
    ERR(EROFS, open("m/new", O_CREAT | O_RDWR, 0644));
    ERR(EROFS, mkdir("m/dir", 0755));
    ERR(EROFS, unlink("m/file"));
    ERR(EROFS, chmod("m/file", 0600));
    ERR(EROFS, truncate("m/file", 0));
    ERR(EROFS, access("m/file", W_OK));
    ERR(EROFS, utimensat(AT_FDCWD, "m/file", NULL, 0));
    ERR(EEXIST, mkdir("m/file", 0755));
    OK(close((int)OK(open("m/file", O_RDONLY | O_CREAT, 0644))));
    OK(umount("m"));
}

static void binds(void)
{
    struct stat a, b;

    MUST(mkdir("source", 0755));
    MUST(mkdir("source/sub", 0755));
    put_file("source/file", "bound", 0644);
    MUST(mkdir("target", 0755));
    OK(mount("source", "target", NULL, MS_BIND, NULL));
    CHECK_STR(get_file("target/file"), "bound");
    MUST(stat("source/file", &a));
    MUST(stat("target/file", &b));
    CHECK(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
    put_file("target/new", "through", 0644);
    CHECK_STR(get_file("source/new"), "through");
    ERR(EXDEV, rename("source/new", "target/moved")); // one file system, two mounts
    ERR(EXDEV, link("source/new", "target/linked"));
    // A read-only view.
    OK(mount(NULL, "target", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
    ERR(EROFS, open("target/file", O_RDWR));
    OK(close((int)OK(open("source/file", O_RDWR))));
    OK(umount("target"));
    // A file over a file.
    put_file("plain", "covered", 0644);
    OK(mount("source/file", "plain", NULL, MS_BIND, NULL));
    CHECK_STR(get_file("plain"), "bound");
    ERR(EBUSY, unlink("plain"));
    OK(umount("plain"));
    CHECK_STR(get_file("plain"), "covered");
    ERR(ENOTDIR, mount("source", "plain", NULL, MS_BIND, NULL));
    ERR(ENOTDIR, mount("plain", "source", NULL, MS_BIND, NULL));
    // Mounts below are bound only recursively.
    OK(mount("inner", "source/sub", "tmpfs", 0, NULL));
    put_file("source/sub/deep", "d", 0644);
    OK(mount("source", "target", NULL, MS_BIND, NULL));
    ERR(ENOENT, access("target/sub/deep", F_OK));
    OK(umount("target"));
    OK(mount("source", "target", NULL, MS_BIND | MS_REC, NULL));
    OK(access("target/sub/deep", F_OK));
    ERR(EBUSY, umount("target"));
    OK(umount("target/sub"));
    OK(umount("target"));
    // Moving.
    ERR(EINVAL, mount("source/file", "target", NULL, MS_MOVE, NULL));
    OK(mount("source/sub", "target", NULL, MS_MOVE, NULL));
    OK(access("target/deep", F_OK));
    ERR(ENOENT, access("source/sub/deep", F_OK));
    // Lazily: gone from the tree at once, alive for those inside.
    int file = (int)MUST(open("target/deep", O_RDONLY));
    OK(umount2("target", MNT_DETACH));
    ERR(ENOENT, access("target/deep", F_OK));
    char byte = 0;
    CHECK_EQ(read(file, &byte, 1), 1);
    close(file);
}

static void flags_and_stacks(void)
{
    OK(mount("first", "m", "tmpfs", MS_NOEXEC | MS_NOSUID | MS_NODEV, NULL));
    CHECK_QUIET(system("/bin/busybox cp /bin/busybox m/true") == 0);
    ERR(EACCES, execl("m/true", "true", (char *)NULL));
    MUST(mknod("m/null", S_IFCHR | 0666, 0x103));
    ERR(EACCES, open("m/null", O_RDONLY));
    ERR(EPERM, (intptr_t)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE,
                   (int)MUST(open("m/true", O_RDONLY | O_CLOEXEC)), 0));
    OK(mount("second", "m", "tmpfs", 0, NULL)); // over the first
    ERR(ENOENT, access("m/true", F_OK));
    CHECK_STR(entry_of("m"), "second of type tmpfs, rw");
    OK(umount("m"));
    OK(access("m/true", F_OK));
    CHECK(strstr(get_file("/proc/self/mountinfo"), " - tmpfs first ") != NULL);
    OK(umount2("m", MNT_DETACH));
}

int main(void)
{
    scratch();
    MUST(getcwd(here, sizeof(here)) != NULL ? 0 : -1);
    basics();
    size_limits();
    read_only();
    binds();
    flags_and_stacks();
    return check_done();
}
