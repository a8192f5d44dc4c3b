// SPDX-License-Identifier: MIT
//
// Claim: getdents64 lists every entry exactly once with its kind, with small and large buffers,
// after seeking back, and while entries come and go; offsets of telldir can be used again.
// Method: directories of known contents; raw calls with odd buffer sizes and libc's readdir.
#include "tests/guest/check.h"
#include <dirent.h>

struct entry {
    uint64_t inode;
    int64_t offset;
    uint16_t length;
    uint8_t type;
    char name[];
};

static char buffer[65536];

static void kinds(void)
{
    static const char *const names[] = {"?", "fifo", "character", "?", "directory", "?", "block",
        "?", "file", "?", "link", "?", "socket"};
    MUST(mkdir("kinds", 0755));
    MUST(chdir("kinds"));
    put_file("file", "", 0644);
    MUST(mkdir("directory", 0755));
    MUST(symlink("x", "link"));
    MUST(mkfifo("fifo", 0644));
    MUST(mknod("character", S_IFCHR | 0644, 0x103));
    MUST(mknod("block", S_IFBLK | 0644, 0x103));
    MUST(mknod("socket", S_IFSOCK | 0644, 0));
    DIR *directory = opendir(".");
    int right = 0, dots = 0, inodes = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        struct stat about;
        if (entry->d_name[0] == '.') {
            dots += entry->d_type == DT_DIR;
            continue;
        }
        right +=
            entry->d_type < ARRAY_SIZE(names) && strcmp(names[entry->d_type], entry->d_name) == 0;
        inodes += lstat(entry->d_name, &about) == 0 && about.st_ino == entry->d_ino;
    }
    closedir(directory);
    CHECK_EQ(right, 7);
    CHECK_EQ(inodes, 7);
    CHECK_EQ(dots, 2);
    MUST(chdir(".."));
}

enum { MANY = 1500 };

static char seen[MANY];

// Counts the entries "eNNNN" of one listing by raw calls with this buffer size.
static int list(int directory, size_t size, bool *twice)
{
    int count = 0;
    long got;
    memset(seen, 0, sizeof(seen));
    while ((got = syscall(SYS_getdents64, directory, buffer, size)) > 0) {
        for (long at = 0; at < got;) {
            struct entry *entry = (struct entry *)(buffer + at);
            int number = -1;
            CHECK_QUIET(entry->length % 8 == 0 && at + entry->length <= got);
            if (sscanf(entry->name, "e%d", &number) == 1 && number >= 0 && number < MANY) {
                *twice |= seen[number] != 0;
                seen[number] = 1;
                count++;
            }
            at += entry->length;
        }
    }
    CHECK_QUIET(got == 0);
    return count;
}

static void make(int number)
{
    char name[32];
    snprintf(name, sizeof(name), "many/e%d", number);
    put_file(name, "", 0644);
}

static void drop(int number)
{
    char name[32];
    snprintf(name, sizeof(name), "many/e%d", number);
    CHECK_QUIET(unlink(name) == 0);
}

static void many(void)
{
    static const size_t sizes[] = {32, 100, 1000, 4096, 65536};
    bool twice = false;

    MUST(mkdir("many", 0755));
    for (int i = 0; i < MANY; i++) {
        make(i);
    }
    int directory = (int)MUST(open("many", O_RDONLY | O_DIRECTORY));
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        OK(lseek(directory, 0, SEEK_SET));
        CHECK_EQ(list(directory, sizes[i], &twice), MANY);
    }
    CHECK_EQ(list(directory, 4096, &twice), 0); // at the end it stays
    CHECK(!twice);
    OK(lseek(directory, 0, SEEK_SET));
    ERR(EINVAL, syscall(SYS_getdents64, directory, buffer, 20)); // not even one fits
    ERR(EFAULT, syscall(SYS_getdents64, directory, 8, 4096));
    int file = (int)MUST(open("many/e1", O_RDONLY));
    ERR(ENOTDIR, syscall(SYS_getdents64, file, buffer, 4096));
    ERR(EBADF, syscall(SYS_getdents64, 99, buffer, 4096));
    close(file);
    close(directory);
}

// What is there all the time must be listed, whatever happens to the rest meanwhile.
static void changing(void)
{
    bool twice = false;
    int directory = (int)MUST(open("many", O_RDONLY | O_DIRECTORY));
    memset(seen, 0, sizeof(seen));
    long got;
    int next = 0, lost = 0;
    char counted[MANY] = {0};
    while ((got = syscall(SYS_getdents64, directory, buffer, 512)) > 0) {
        for (long at = 0; at < got;) {
            struct entry *entry = (struct entry *)(buffer + at);
            int number = -1;
            if (sscanf(entry->name, "e%d", &number) == 1 && number < MANY) {
                twice |= counted[number] != 0;
                counted[number]++;
            }
            at += entry->length;
        }
        for (int i = 0; i < 10 && next < MANY; i++, next += 3) {
            drop(next); // every third goes
        }
    }
    for (int i = 0; i < MANY; i++) {
        lost += i % 3 != 0 && counted[i] == 0;
    }
    CHECK(!twice);
    CHECK_EQ(lost, 0);
    for (; next < MANY; next += 3) {
        drop(next);
    }
    CHECK_EQ(lseek(directory, 0, SEEK_SET), 0);
    CHECK_EQ(list(directory, 4096, &twice), MANY * 2 / 3);
    close(directory);

    // Emptying a directory while reading it, as rm -r does.
    DIR *stream = opendir("many");
    int removed = 0;
    for (struct dirent *entry; (entry = readdir(stream)) != NULL;) {
        if (entry->d_name[0] != '.') {
            removed += unlinkat(dirfd(stream), entry->d_name, 0) == 0;
        }
    }
    closedir(stream);
    CHECK_EQ(removed, MANY * 2 / 3);
    OK(rmdir("many"));
}

static void positions(void)
{
    long places[50];
    char names[50][32];
    int count = 0;

    MUST(mkdir("places", 0755));
    for (int i = 0; i < 40; i++) {
        char name[32];
        snprintf(name, sizeof(name), "places/p%d", i);
        put_file(name, "", 0644);
    }
    DIR *stream = opendir("places");
    for (;;) {
        places[count] = telldir(stream);
        struct dirent *entry = readdir(stream);
        if (entry == NULL) {
            break;
        }
        snprintf(names[count++], 32, "%s", entry->d_name);
    }
    CHECK_EQ(count, 42);
    int wrong = 0;
    for (int i = count - 1; i >= 0; i -= 3) {
        seekdir(stream, places[i]);
        struct dirent *entry = readdir(stream);
        wrong += entry == NULL || strcmp(entry->d_name, names[i]) != 0;
    }
    CHECK_EQ(wrong, 0);
    rewinddir(stream);
    struct dirent *entry = readdir(stream);
    CHECK(entry != NULL && strcmp(entry->d_name, names[0]) == 0);
    closedir(stream);
    // A removed directory lists nothing.
    MUST(mkdir("removed", 0755));
    int directory = (int)MUST(open("removed", O_RDONLY | O_DIRECTORY));
    MUST(rmdir("removed"));
    ERR(ENOENT, syscall(SYS_getdents64, directory, buffer, 4096));
}

int main(void)
{
    scratch();
    kinds();
    many();
    changing();
    positions();
    return check_done();
}
