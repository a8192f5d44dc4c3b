// SPDX-License-Identifier: MIT
//
// Claim: stat, fstatat, statx and statfs agree; times change with the operations that POSIX names;
// utimensat sets them with UTIME_NOW and UTIME_OMIT and checks permissions.
// Method: times are compared before and after each operation; nothing absolute is printed.
#include "tests/guest/check.h"
#include <linux/magic.h>
#include <sys/statfs.h>
#include <sys/time.h>

static struct stat before;

static int64_t ns(struct timespec time)
{
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void remember(const char *path)
{
    MUST(lstat(path, &before));
    // Until the clock that the file system reads has moved on, however seldom that gets a turn.
    struct timespec first, now;
    MUST(clock_gettime(CLOCK_REALTIME_COARSE, &first));
    do {
        sleep_ms(10);
        MUST(clock_gettime(CLOCK_REALTIME_COARSE, &now));
    } while (ns(now) - ns(first) < 10000000);
}

static void changed(const char *what, const char *path)
{
    struct stat after;
    MUST(lstat(path, &after));
    note("  %s: access %s, modification %s, change %s", what,
        ns(after.st_atim) != ns(before.st_atim) ? "new" : "kept",
        ns(after.st_mtim) != ns(before.st_mtim) ? "new" : "kept",
        ns(after.st_ctim) != ns(before.st_ctim) ? "new" : "kept");
}

#define DO(path, ...)                                                                              \
    do {                                                                                           \
        remember(path);                                                                            \
        CHECK_QUIET((__VA_ARGS__) != -1);                                                          \
        changed(#__VA_ARGS__, path);                                                               \
    } while (0)

static void operations(void)
{
    int file = (int)MUST(open("file", O_RDWR | O_CREAT, 0644));
    MUST(mkdir("dir", 0755));
    DO("file", write(file, "abc", 3));
    DO("file", write(file, "", 0));
    DO("file", ftruncate(file, 1));
    DO("file", ftruncate(file, 1));
    DO("file", truncate("file", 5));
    DO("file", chmod("file", 0640));
    DO("file", chown("file", 1, 1));
    DO("file", link("file", "second"));
    DO("file", unlink("second"));
    remember("file");
    MUST(rename("file", "dir/file"));
    changed("rename", "dir/file");
    MUST(rename("dir/file", "file"));
    DO("file", lseek(file, 0, SEEK_SET));
    DO("file", close((int)MUST(open("file", O_RDONLY))));
    DO("file", close((int)MUST(open("file", O_WRONLY | O_TRUNC))));
    DO("dir", mkdir("dir/sub", 0755));
    DO("dir", rmdir("dir/sub"));
    DO("dir", mknod("dir/node", S_IFREG | 0644, 0));
    DO("dir", rename("dir/node", "dir/node2"));
    DO("dir", chmod("dir/node2", 0600));
    DO("dir", unlink("dir/node2"));
    char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    MUST(ftruncate(file, 100));
    remember("file");
    map[0] = 1;
    MUST(msync(map, 4096, MS_SYNC));
    munmap(map, 4096);
    struct stat after;
    MUST(stat("file", &after));
    CHECK(ns(after.st_mtim) >= ns(before.st_mtim));
    // New files have all times alike, now.
    struct timespec now;
    close((int)MUST(open("fresh", O_CREAT | O_RDWR, 0644)));
    MUST(stat("fresh", &after));
    clock_gettime(CLOCK_REALTIME, &now);
    CHECK(ns(after.st_atim) == ns(after.st_mtim) && ns(after.st_mtim) == ns(after.st_ctim));
    CHECK(llabs(ns(now) - ns(after.st_mtim)) < 1000000000);
    close(file);
}

static bool times_are(const char *path, int64_t access_ns, int64_t modification_ns)
{
    struct stat about;
    MUST(lstat(path, &about));
    return ns(about.st_atim) == access_ns && ns(about.st_mtim) == modification_ns;
}

static void setting(void)
{
    struct timespec both[2] = {{1000, 500}, {2000, 999999999}};
    struct stat about;

    put_file("t", "x", 0644);
    OK(utimensat(AT_FDCWD, "t", both, 0));
    CHECK(times_are("t", 1000000000500, 2000999999999));
    both[0].tv_nsec = UTIME_OMIT;
    both[1] = (struct timespec){3000, 0};
    OK(utimensat(AT_FDCWD, "t", both, 0));
    CHECK(times_are("t", 1000000000500, 3000000000000));
    both[0] = (struct timespec){0, UTIME_NOW};
    both[1] = (struct timespec){0, UTIME_OMIT};
    OK(utimensat(AT_FDCWD, "t", both, 0));
    MUST(stat("t", &about));
    CHECK(about.st_atim.tv_sec > 1600000000 && about.st_mtim.tv_sec == 3000);
    OK(utimensat(AT_FDCWD, "t", NULL, 0));
    MUST(stat("t", &about));
    CHECK(about.st_mtim.tv_sec > 1600000000);
    both[0] = (struct timespec){-5, 7};
    both[1] = (struct timespec){1ll << 33, 0};
    OK(utimensat(AT_FDCWD, "t", both, 0));
    CHECK(times_are("t", -4999999993, (1ll << 33) * 1000000000));
    MUST(symlink("t", "s"));
    both[0] = both[1] = (struct timespec){77, 0};
    OK(utimensat(AT_FDCWD, "s", both, AT_SYMLINK_NOFOLLOW));
    CHECK(times_are("s", 77000000000, 77000000000));
    int file = (int)MUST(open("t", O_RDONLY));
    OK(futimens(file, both));
    CHECK(times_are("t", 77000000000, 77000000000));
    struct timeval micro[2] = {{5, 6}, {7, 8}};
    OK(utimes("t", micro));
    CHECK(times_are("t", 5000006000, 7000008000));
    both[0].tv_nsec = 1000000000;
    ERR(EINVAL, utimensat(AT_FDCWD, "t", both, 0));
    both[0].tv_nsec = 0;
    ERR(ENOENT, utimensat(AT_FDCWD, "missing", both, 0));
    ERR(EINVAL, utimensat(AT_FDCWD, "t", both, 1));
    ERR(EFAULT, syscall(SYS_utimensat, AT_FDCWD, "t", 8, 0));
    ERR(EBADF, futimens(99, both));
    MUST(chmod("t", 0666));
    if (fork() == 0) {
        MUST(setuid(1000));
        OK(utimensat(AT_FDCWD, "t", NULL, 0)); // who may write may set the present time
        ERR(EPERM, utimensat(AT_FDCWD, "t", both, 0));
        both[0].tv_nsec = both[1].tv_nsec = UTIME_NOW;
        OK(utimensat(AT_FDCWD, "t", both, 0));
        both[1].tv_nsec = UTIME_OMIT;
        ERR(EPERM, utimensat(AT_FDCWD, "t", both, 0));
        both[0].tv_nsec = UTIME_OMIT;
        OK(utimensat(AT_FDCWD, "t", both, 0));
        _exit(check_failures);
    }
    int status;
    wait(&status);
    CHECK_STR(status_text(status), "exit 0");
}

// The kernel's structure; libc has its own only in newer versions.
struct statx_timestamp_raw {
    int64_t seconds;
    uint32_t nanoseconds;
    int32_t reserved;
};
struct statx_raw {
    uint32_t mask, block_size;
    uint64_t attributes;
    uint32_t links, uid, gid;
    uint16_t mode, spare;
    uint64_t inode, size, blocks, attributes_mask;
    struct statx_timestamp_raw access, birth, change, modification;
    uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
    uint64_t mount_id;
    uint64_t rest[13];
};

static void extended(void)
{
    struct statx_raw x;
    struct stat about;

    put_file("x", "12345", 0640);
    MUST(stat("x", &about));
    OK(syscall(SYS_statx, AT_FDCWD, "x", 0, 0x7ff, &x));
    CHECK((x.mask & 0x7ff) == 0x7ff);
    CHECK(x.size == 5 && x.mode == (S_IFREG | 0640) && x.links == 1 && x.uid == 0);
    CHECK(x.inode == about.st_ino && x.block_size == 4096 && x.blocks == (uint64_t)about.st_blocks);
    CHECK(x.modification.seconds == about.st_mtim.tv_sec);
    CHECK(x.modification.nanoseconds == (uint32_t)about.st_mtim.tv_nsec);
    int file = (int)MUST(open("x", O_RDONLY));
    OK(syscall(SYS_statx, file, "", AT_EMPTY_PATH, 0x7ff, &x));
    CHECK_EQ(x.size, 5);
    MUST(symlink("x", "sx"));
    OK(syscall(SYS_statx, AT_FDCWD, "sx", AT_SYMLINK_NOFOLLOW, 0x7ff, &x));
    CHECK(S_ISLNK(x.mode));
    OK(syscall(SYS_statx, AT_FDCWD, "/dev/null", 0, 0x7ff, &x));
    CHECK(x.rdev_major == 1 && x.rdev_minor == 3);
    ERR(EINVAL, syscall(SYS_statx, AT_FDCWD, "x", 0, 0x80000000u, &x));
    ERR(EINVAL, syscall(SYS_statx, AT_FDCWD, "x", 0x6000, 0x7ff, &x));
    ERR(ENOENT, syscall(SYS_statx, AT_FDCWD, "", 0, 0x7ff, &x));
    ERR(EFAULT, syscall(SYS_statx, AT_FDCWD, "x", 0, 0x7ff, 8));
    ERR(EBADF, syscall(SYS_statx, 99, "x", 0, 0x7ff, &x));
    OK(fstatat(file, "", &about, AT_EMPTY_PATH));
    OK(fstatat(AT_FDCWD, "sx", &about, AT_SYMLINK_NOFOLLOW));
    CHECK(S_ISLNK(about.st_mode));
    ERR(EINVAL, fstatat(AT_FDCWD, "x", &about, 1));
    ERR(EBADF, fstat(99, &about));
}

static void file_systems(void)
{
    struct statfs fs;

    OK(statfs(".", &fs));
    CHECK_EQ(fs.f_type, TMPFS_MAGIC);
    CHECK(
        fs.f_bsize == 4096 && fs.f_namelen == 255 && fs.f_blocks > 0 && fs.f_bfree <= fs.f_blocks);
    OK(statfs("/proc", &fs));
    CHECK_EQ(fs.f_type, PROC_SUPER_MAGIC);
    OK(statfs("/dev/pts", &fs));
    CHECK_EQ(fs.f_type, DEVPTS_SUPER_MAGIC);
    int ends[2];
    MUST(pipe(ends));
    OK(fstatfs(ends[0], &fs));
    CHECK_EQ(fs.f_type, PIPEFS_MAGIC);
    ERR(ENOENT, statfs("missing", &fs));
    ERR(EBADF, fstatfs(99, &fs));
    ERR(EFAULT, syscall(SYS_statfs, ".", 8));
}

int main(void)
{
    scratch();
    operations();
    setting();
    extended();
    file_systems();
    return check_done();
}
