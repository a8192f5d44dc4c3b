// SPDX-License-Identifier: MIT
//
// Claim: creating, writing, linking, renaming, truncating, listing and removing files from many
// processes in the same directories keeps the tree consistent: contents are those of one writer,
// link counts and listings add up, nothing is left behind or lost.
// Method: every file begins with a header that says how long it is and how its bytes go on; whoever
// opens one checks it. At the end everything is removed, and the directories must be empty.
#include "tests/guest/stress/stress.h"
#include <dirent.h>
#include <sys/file.h>

enum { WORKERS = 6, NAMES = 40, DIRECTORIES = 4 };

struct header {
    uint32_t magic, seed, length;
};

static char text[20000];

static void random_name(uint64_t *state, char *name)
{
    sprintf(name, "d%u/f%u", stress_random(state, DIRECTORIES), stress_random(state, NAMES));
}

static void fill(uint32_t seed, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        text[i] = (char)(seed + i * 7);
    }
}

// Reads a whole file and checks it; files are complete before they get a name.
static bool check_file(const char *name)
{
    struct header header;
    int file = open(name, O_RDONLY);
    if (file < 0) {
        return errno == ENOENT || errno == ENOTDIR;
    }
    bool right = read(file, &header, sizeof(header)) == sizeof(header) && header.magic == 0x51e5 &&
                 header.length <= sizeof(text);
    static char got[sizeof(text) + 100];
    if (right) {
        ssize_t length = read(file, got, sizeof(got));
        fill(header.seed, header.length);
        right = length == (ssize_t)header.length && memcmp(got, text, header.length) == 0;
    }
    struct stat about;
    right &= fstat(file, &about) == 0 && about.st_size == (off_t)(sizeof(header) + header.length);
    close(file);
    return right;
}

static bool make_file(uint64_t *state, const char *name, int worker)
{
    char temporary[64];
    struct header header = {0x51e5, stress_random(state, 1000000),
        stress_random(state, stress_random(state, 4) == 0 ? sizeof(text) : 500)};

    snprintf(temporary, sizeof(temporary), "temporary%d", worker);
    int file = open(temporary, O_WRONLY | O_CREAT | O_EXCL, 0644);
    if (file < 0) {
        return false;
    }
    fill(header.seed, header.length);
    bool right = write(file, &header, sizeof(header)) == sizeof(header);
    size_t done = 0;
    while (right && done < header.length) {
        size_t piece = 1 + stress_random(state, 5000);
        piece = done + piece > header.length ? header.length - done : piece;
        right = write(file, text + done, piece) == (ssize_t)piece;
        done += piece;
    }
    close(file);
    if (stress_random(state, 3) == 0) {
        right &= link(temporary, name) == 0 || errno == EEXIST;
        right &= unlink(temporary) == 0;
    } else {
        right &= rename(temporary, name) == 0;
    }
    return right;
}

static bool list(uint64_t *state)
{
    char name[32], path[300];
    sprintf(name, "d%u", stress_random(state, DIRECTORIES));
    DIR *directory = opendir(name);
    if (directory == NULL) {
        return false;
    }
    bool right = true, seen[NAMES] = {false};
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        unsigned number;
        if (sscanf(entry->d_name, "f%u", &number) == 1) {
            right &= number < NAMES && !seen[number % NAMES]; // no name twice
            seen[number % NAMES] = true;
            snprintf(path, sizeof(path), "%s/%s", name, entry->d_name);
            struct stat about;
            right &= lstat(path, &about) == 0 || errno == ENOENT;
        }
    }
    closedir(directory);
    return right;
}

// A counter in a file, increased under a lock by everybody.
static bool count_up(_Atomic uint64_t *increments)
{
    uint64_t value = 0;
    int file = open("counter", O_RDWR);
    bool right = file >= 0 && flock(file, LOCK_EX) == 0;
    right &= pread(file, &value, 8, 0) == 8;
    value++;
    right &= pwrite(file, &value, 8, 0) == 8;
    (*increments)++;
    close(file);
    return right;
}

static bool append(void)
{
    int file = open("log", O_WRONLY | O_APPEND);
    bool right = file >= 0 && write(file, "0123456789abcde\n", 16) == 16;
    close(file);
    return right;
}

static bool one_round(
    uint64_t *state, int worker, _Atomic uint64_t *increments, _Atomic uint64_t *lines)
{
    char a[32], b[32];

    random_name(state, a);
    random_name(state, b);
    switch (stress_random(state, 10)) {
    case 0:
    case 1:
        return make_file(state, a, worker);
    case 2:
        return rename(a, b) == 0 || errno == ENOENT;
    case 3:
        return unlink(a) == 0 || errno == ENOENT;
    case 4:
        return link(a, b) == 0 || errno == ENOENT || errno == EEXIST;
    case 5:
        return list(state);
    case 6:
        return count_up(increments);
    case 7:
        (*lines)++;
        return append();
    case 8: {
        // A directory of one's own comes, is filled, moves and goes.
        char own[32], moved[48], inside[64];
        sprintf(own, "own%d", worker);
        sprintf(moved, "d%u/own%d", stress_random(state, DIRECTORIES), worker);
        sprintf(inside, "%s/inside", moved);
        bool right = mkdir(own, 0755) == 0 && rename(own, moved) == 0;
        put_file(inside, "x", 0644);
        right &= rmdir(moved) < 0 && errno == ENOTEMPTY;
        right &= unlink(inside) == 0 && rmdir(moved) == 0;
        return right;
    }
    default:
        return check_file(a);
    }
}

int main(int argc, char **argv)
{
    char name[32];

    stress_start(argc, argv);
    stress_start_watchdog();
    for (int i = 0; i < DIRECTORIES; i++) {
        sprintf(name, "d%d", i);
        MUST(mkdir(name, 0755));
    }
    _Atomic uint64_t *counts = stress_shared(4096);
    put_file("counter", "\0\0\0\0\0\0\0", 0644);
    MUST(truncate("counter", 8));
    put_file("log", "", 0644);
    for (int i = 0; i < WORKERS; i++) {
        struct stress_progress *progress = stress_watch("file storm worker");
        if (fork() == 0) {
            uint64_t state = stress_seed * 101u + (unsigned)i;
            while (stress_goes_on()) {
                if (!one_round(&state, i, &counts[0], &counts[1])) {
                    note("FAIL: a round of worker %d: %s", i, errno_name(errno));
                    _exit(1);
                }
                progress->count++;
            }
            stress_done(progress);
            _exit(0);
        }
    }
    CHECK_EQ(stress_reap(), 0);
    uint64_t value = 0;
    int file = (int)MUST(open("counter", O_RDONLY));
    CHECK_EQ(read(file, &value, 8), 8);
    CHECK(value == counts[0]);
    struct stat about;
    MUST(stat("log", &about));
    CHECK(about.st_size == (off_t)counts[1] * 16);
    for (int d = 0; d < DIRECTORIES; d++) {
        for (int i = 0; i < NAMES; i++) {
            sprintf(name, "d%d/f%d", d, i);
            CHECK_QUIET(check_file(name));
            unlink(name);
        }
        sprintf(name, "d%d", d);
        MUST(stat(name, &about));
        CHECK_QUIET(about.st_nlink == 2);
        CHECK_QUIET(rmdir(name) == 0);
    }
    OK(unlink("counter"));
    OK(unlink("log"));
    return check_done();
}
