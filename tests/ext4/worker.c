// SPDX-License-Identifier: MIT
// Works on a file system in a guest. For tests/ext4/stress_test.sh and kill_rounds.sh.
//
//   worker stress PROCESSES STEPS SEED   files of a shared and of own folders are made, written
//                                        (also by mappings), read, compared, renamed and removed
//   worker promise PROCESSES SEED        the same for ever, but after each fsync it says what the
//                                        disk has now: "W path bytes seed", "G path" (gone)
//   worker verify                        compares the disk with what was said (standard input)
//
// "mount" before the others: /dev/vda is mounted first, and unmounted at the end. It works in the
// working directory. Bytes of a file come from its seed and their offset.
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILES     24
#define BYTES_MAX 400000

struct file {
    uint32_t seed; // 0: there is none
    uint32_t bytes;
};

static uint64_t state;
static char buffer[BYTES_MAX], expected[BYTES_MAX];

static uint32_t below(uint32_t limit)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % limit;
}

static void fail(const char *what, const char *path)
{
    fprintf(stderr, "worker: %s: %s: %s\n", what, path, strerror(errno));
    exit(1);
}

static void pattern(char *to, uint32_t offset, uint32_t bytes, uint32_t seed)
{
    for (uint32_t i = 0; i < bytes; i++)
        to[i] = (char)(((offset + i) * 2654435761u ^ seed * 40503u) >> 11);
}

static void write_at(int fd, uint32_t offset, uint32_t bytes, uint32_t seed, const char *path)
{
    pattern(buffer, offset, bytes, seed);
    if (pwrite(fd, buffer, bytes, offset) != (ssize_t)bytes)
        fail("write", path);
}

static void map_write(int fd, uint32_t offset, uint32_t bytes, uint32_t seed, const char *path)
{
    const uint32_t start = offset & ~4095u;
    char *map = mmap(NULL, offset + bytes - start, PROT_READ | PROT_WRITE, MAP_SHARED, fd, start);
    if (map == MAP_FAILED)
        fail("mmap", path);
    pattern(map + (offset - start), offset, bytes, seed);
    munmap(map, offset + bytes - start);
}

// 0: the first `bytes` bytes are right.
static int compare(const char *path, uint32_t bytes, uint32_t seed, int exactly)
{
    struct stat status;
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &status) != 0)
        return -1;
    int wrong = exactly ? status.st_size != bytes : status.st_size < bytes;
    if (!wrong && read(fd, buffer, bytes) != (ssize_t)bytes)
        wrong = 1;
    close(fd);
    pattern(expected, 0, bytes, seed);
    if (!wrong && memcmp(buffer, expected, bytes) != 0)
        wrong = 1;
    return wrong;
}

static void sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY);
    if (fd < 0 || fsync(fd) != 0)
        fail("fsync", path);
    close(fd);
}

// Lines of several processes must not be mixed up, and a line is out before its writer goes on.
static void say(const char *text)
{
    static int lock = -1;
    const size_t len = strlen(text);
    if (lock < 0)
        lock = open("/lock", O_RDWR | O_CREAT, 0600);
    if (lock < 0 || flock(lock, LOCK_EX) != 0)
        fail("flock", "/lock");
    if (write(1, text, len) != (ssize_t)len)
        exit(1);
    flock(lock, LOCK_UN);
}

// A new file, or one that grows.
static void grow(struct file *file, const char *path, int promise)
{
    char text[128];
    if (file->seed == 0)
        *file = (struct file){.seed = 1 + below(1000000)};
    const uint32_t start = file->bytes;
    uint32_t more = 1 + below(below(4) == 0 ? 90000 : 3000);
    if (start + more > BYTES_MAX)
        return;
    snprintf(text, sizeof(text), "I %s\n", path); // what was said to be gone may be there again
    if (promise && start == 0)
        say(text);
    int fd = open(path, O_RDWR | O_CREAT | (start == 0 ? O_TRUNC : 0), 0644);
    if (fd < 0)
        fail("open", path);
    if (below(3) == 0) {
        if (ftruncate(fd, start + more) != 0)
            fail("ftruncate", path);
        map_write(fd, start, more, file->seed, path);
    } else {
        write_at(fd, start, more, file->seed, path);
    }
    file->bytes = start + more;
    if (promise || below(16) == 0) {
        if ((below(2) != 0 ? fsync(fd) : fdatasync(fd)) != 0)
            fail("fsync", path);
        snprintf(text, sizeof(text), "W %s %u %u\n", path, file->bytes, file->seed);
        if (promise)
            say(text);
    }
    close(fd);
}

static void removal(struct file *file, const char *path, const char *folder, int promise)
{
    char text[128];
    snprintf(text, sizeof(text), "I %s\n", path); // from here on it may be gone
    if (promise)
        say(text);
    if (unlink(path) != 0)
        fail("unlink", path);
    file->seed = 0;
    file->bytes = 0;
    if (!promise)
        return;
    sync_folder(folder);
    snprintf(text, sizeof(text), "G %s\n", path);
    say(text);
}

static void shorten(struct file *file, const char *path)
{
    const uint32_t bytes = below(file->bytes + 1);
    if (truncate(path, bytes) != 0)
        fail("truncate", path);
    file->bytes = bytes;
}

static void move(struct file *from, const char *path, struct file *to, const char *new_path)
{
    if (rename(path, new_path) != 0)
        fail("rename", path);
    *to = *from;
    *from = (struct file){};
}

static void work(int number, long steps, int promise)
{
    static struct file files[FILES];
    char folder[32], path[96], other[96];
    snprintf(folder, sizeof(folder), "w%d", number);
    if (mkdir(folder, 0755) != 0 && errno != EEXIST)
        fail("mkdir", folder);
    const uint32_t run = below(1000000); // names of this run
    for (long step = 0; steps < 0 || step < steps; step++) {
        const uint32_t index = below(FILES), second = below(FILES);
        struct file *file = &files[index];
        const char *place = index % 4 == 0 ? "shared" : folder;
        snprintf(path, sizeof(path), "%s/%d-%u-file with a name-%u", place, number, run, index);
        snprintf(other, sizeof(other), "%s/%d-%u-file with a name-%u",
            second % 4 == 0 ? "shared" : folder, number, run, second);
        const uint32_t dice = below(10);
        if (file->seed == 0 || dice < 5)
            grow(file, path, promise);
        else if (dice < 6)
            removal(file, path, place, promise);
        else if (dice < 7 && !promise)
            shorten(file, path);
        else if (dice < 8 && !promise && second != index)
            move(file, path, &files[second], other);
        else if (compare(path, file->bytes, file->seed, 1) != 0)
            fail("content differs", path);
    }
    for (uint32_t index = 0; index < FILES; index++) {
        snprintf(path, sizeof(path), "%s/%d-%u-file with a name-%u",
            index % 4 == 0 ? "shared" : folder, number, run, index);
        if (files[index].seed != 0 && compare(path, files[index].bytes, files[index].seed, 1) != 0)
            fail("content differs at the end", path);
    }
}

// The last word about a path counts.
static int verify(void)
{
    static struct {
        char path[96];
        char kind;
        unsigned bytes, seed;
    } said[4096];
    char line[256];
    unsigned count = 0, wrong = 0, checked = 0;
    while (fgets(line, sizeof(line), stdin) != NULL) {
        char path[96] = "", kind = line[0];
        unsigned bytes = 0, seed = 0, at = 0;
        size_t len = strlen(line);
        if (len == 0 || line[len - 1] != '\n')
            break; // cut off
        line[len - 1] = 0;
        if (kind == 'W') {
            char *last = strrchr(line, ' ');
            seed = (unsigned)strtoul(last, NULL, 10);
            *last = 0;
            last = strrchr(line, ' ');
            bytes = (unsigned)strtoul(last, NULL, 10);
            *last = 0;
        } else if (kind != 'I' && kind != 'G') {
            continue;
        }
        snprintf(path, sizeof(path), "%s", line + 2);
        while (at < count && strcmp(said[at].path, path) != 0)
            at++;
        if (at == sizeof(said) / sizeof(said[0]))
            break;
        count += at == count;
        strcpy(said[at].path, path);
        said[at].kind = kind;
        said[at].bytes = bytes;
        said[at].seed = seed;
    }
    for (unsigned i = 0; i < count; i++) {
        int bad = 0;
        if (said[i].kind == 'W')
            bad = compare(said[i].path, said[i].bytes, said[i].seed, 0) != 0;
        else if (said[i].kind == 'G')
            bad = access(said[i].path, F_OK) == 0;
        checked += said[i].kind != 'I';
        if (bad)
            printf("broken promise: %c %s %u\n", said[i].kind, said[i].path, said[i].bytes);
        wrong += (unsigned)bad;
    }
    printf("%u promises, %u broken\n", checked, wrong);
    return wrong != 0;
}

static int run(int count, char **arguments)
{
    if (count == 2 && strcmp(arguments[1], "verify") == 0)
        return verify();
    const int promise = count == 4 && strcmp(arguments[1], "promise") == 0;
    if (!promise && (count != 5 || strcmp(arguments[1], "stress") != 0))
        return 2;
    const int processes = atoi(arguments[2]);
    const long steps = promise ? -1 : atol(arguments[3]);
    int result = 0;
    if (mkdir("shared", 0755) != 0 && errno != EEXIST)
        fail("mkdir", "shared");
    for (int i = 0; i < processes; i++) {
        if (fork() == 0) {
            state = strtoull(arguments[count - 1], NULL, 10) * 1000 + (unsigned)i;
            (void)below(2);
            work(i, steps, promise);
            exit(0);
        }
    }
    for (int i = 0; i < processes; i++) {
        int status;
        wait(&status);
        result |= status;
    }
    return result != 0;
}

int main(int count, char **arguments)
{
    if (count < 2 || strcmp(arguments[1], "mount") != 0)
        return run(count, arguments);
    if (mkdir("/mnt", 0755) != 0 && errno != EEXIST)
        fail("mkdir", "/mnt");
    if (mount("/dev/vda", "/mnt", "ext4", 0, "") != 0 || chdir("/mnt") != 0)
        fail("mount", "/dev/vda");
    int result = run(count - 1, arguments + 1);
    if (chdir("/") != 0 || umount("/mnt") != 0)
        fail("umount", "/mnt");
    return result;
}
