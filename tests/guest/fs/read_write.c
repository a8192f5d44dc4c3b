// SPDX-License-Identifier: MIT
//
// Claim: read, write and their positioned and vectored forms, seeking with holes, truncation and
// fallocate give the right bytes, counts, offsets and errors.
// Method: a model in memory beside random operations on a file; then the special cases one by one.
#include "tests/guest/check.h"
#include <sys/uio.h>

enum { SIZE = 200000 };

static unsigned char model[SIZE], buffer[SIZE];
static size_t model_size;
static unsigned state = 4711;

static unsigned next(unsigned limit)
{
    state = state * 1664525 + 1013904223;
    return (unsigned)(((uint64_t)state * limit) >> 32);
}

static void against_model(void)
{
    int file = (int)MUST(open("random", O_RDWR | O_CREAT, 0600)), wrong = 0;
    for (int i = 0; i < 3000; i++) {
        size_t at = next(SIZE), length = next(i % 10 == 0 ? 30000 : 300);
        length = at + length > SIZE ? SIZE - at : length;
        switch (next(4)) {
        case 0:
        case 1:
            memset(buffer, (int)next(256), length);
            wrong += pwrite(file, buffer, length, (off_t)at) != (ssize_t)length;
            memcpy(model + at, buffer, length);
            model_size = length > 0 && at + length > model_size ? at + length : model_size;
            break;
        case 2: {
            ssize_t got = pread(file, buffer, length, (off_t)at);
            size_t want = at >= model_size           ? 0
                          : at + length > model_size ? model_size - at
                                                     : length;
            wrong += got != (ssize_t)want || memcmp(buffer, model + at, want) != 0;
            break;
        }
        default:
            if (i % 5 == 0) {
                wrong += ftruncate(file, (off_t)at) != 0;
                if (at < model_size) {
                    memset(model + at, 0, model_size - at);
                }
                model_size = at;
            }
        }
    }
    struct stat about;
    fstat(file, &about);
    CHECK_EQ(wrong, 0);
    CHECK(about.st_size == (off_t)model_size);
    CHECK(pread(file, buffer, SIZE, 0) == (ssize_t)model_size &&
          memcmp(buffer, model, model_size) == 0);
    close(file);
}

static void seeking(void)
{
    int file = (int)MUST(open("seek", O_RDWR | O_CREAT, 0600));
    char text[16] = "";

    MUST(write(file, "0123456789", 10));
    CHECK_EQ(lseek(file, 3, SEEK_SET), 3);
    CHECK_EQ(lseek(file, 2, SEEK_CUR), 5);
    CHECK_EQ(lseek(file, -1, SEEK_END), 9);
    CHECK_EQ(lseek(file, 100, SEEK_END), 110);
    CHECK_EQ(read(file, text, 1), 0);
    ERR(EINVAL, lseek(file, -1, SEEK_SET));
    ERR(EINVAL, lseek(file, -1000, SEEK_CUR));
    CHECK_EQ(lseek(file, 0, SEEK_CUR), 110); // untouched by the failures
    ERR(EINVAL, lseek(file, 0, 99));
    ERR(EINVAL, pread(file, text, 1, -1));
    ERR(EINVAL, pwrite(file, text, 1, -1));
    ERR(EINVAL, lseek(file, INT64_MAX, SEEK_END));
    CHECK_EQ(lseek(file, INT64_MAX, SEEK_SET), INT64_MAX);
    ERR(EINVAL, write(file, text, 1));
    ERR(EBADF, lseek(999, 0, SEEK_SET));
    // Data and holes.
    MUST(ftruncate(file, 0));
    MUST(pwrite(file, "data", 4, 8192));
    MUST(ftruncate(file, 20000));
    CHECK_EQ(lseek(file, 0, SEEK_DATA), 8192);
    CHECK_EQ(lseek(file, 8193, SEEK_DATA), 8193);
    CHECK_EQ(lseek(file, 8192, SEEK_HOLE), 12288);
    CHECK_EQ(lseek(file, 0, SEEK_HOLE), 0);
    ERR(ENXIO, lseek(file, 12288, SEEK_DATA));
    ERR(ENXIO, lseek(file, 20000, SEEK_HOLE));
    ERR(ENXIO, lseek(file, 20000, SEEK_DATA));
    CHECK_EQ(lseek(file, 19999, SEEK_HOLE), 19999);
    struct stat about;
    fstat(file, &about);
    CHECK(about.st_size == 20000 && about.st_blocks == 8 && about.st_blksize == 4096);
    close(file);
}

static void vectors(void)
{
    int file = (int)MUST(open("vector", O_RDWR | O_CREAT, 0600));
    char a[4] = "", b[4] = "", c[8] = "";
    struct iovec out[3] = {{"one", 3}, {NULL, 0}, {"three", 5}};
    struct iovec in[3] = {{a, 2}, {b, 3}, {c, 8}};

    CHECK_EQ(writev(file, out, 3), 8);
    CHECK_EQ(lseek(file, 0, SEEK_SET), 0);
    CHECK_EQ(readv(file, in, 3), 8);
    CHECK(memcmp(a, "on", 2) == 0 && memcmp(b, "eth", 3) == 0 && memcmp(c, "ree", 3) == 0);
    CHECK_EQ(pwritev(file, out, 1, 5), 3);
    CHECK_EQ(preadv(file, in, 1, 6), 2);
    CHECK(memcmp(a, "ne", 2) == 0);
    CHECK_EQ(lseek(file, 0, SEEK_CUR), 8);
    CHECK_EQ(readv(file, in, 0), 0);
    ERR(EINVAL, readv(file, in, -1));
    ERR(EINVAL, readv(file, in, 1025));
    struct iovec wrong = {a, (size_t)-1};
    ERR(EINVAL, readv(file, &wrong, 1));
    ERR(EINVAL, preadv(file, in, 1, -5));
    // preadv2: offset -1 is the file's own; unknown flags are refused.
    lseek(file, 2, SEEK_SET);
    CHECK_EQ(syscall(SYS_preadv2, file, in, 1, -1l, 0l, 0), 2);
    CHECK_EQ(lseek(file, 0, SEEK_CUR), 4);
    CHECK_EQ(syscall(SYS_pwritev2, file, out, 1, 0l, 0l, 0x10 /* RWF_APPEND */), 3);
    CHECK_EQ(lseek(file, 0, SEEK_END), 11);
    ERR(EOPNOTSUPP, syscall(SYS_preadv2, file, in, 1, 0l, 0l, 0x1000));
    // Many small pieces.
    static struct iovec many[1024];
    static char bytes[1024];
    for (int i = 0; i < 1024; i++) {
        bytes[i] = (char)i;
        many[i] = (struct iovec){bytes + i, 1};
    }
    MUST(ftruncate(file, 0));
    CHECK_EQ(pwritev(file, many, 1024, 0), 1024);
    CHECK_EQ(pread(file, buffer, SIZE, 0), 1024);
    CHECK(memcmp(buffer, bytes, 1024) == 0);
    close(file);
}

static void sizes(void)
{
    int file = (int)MUST(open("sizes", O_RDWR | O_CREAT, 0600)), reader, ends[2];
    struct stat about;

    MUST(pipe(ends));
    reader = (int)MUST(open("sizes", O_RDONLY));
    OK(ftruncate(file, 5000));
    ERR(EINVAL, ftruncate(file, -1));
    ERR(EINVAL, ftruncate(reader, 10));
    ERR(EBADF, ftruncate(999, 10));
    OK(truncate("sizes", 100));
    ERR(EISDIR, truncate(".", 0));
    ERR(ENOENT, truncate("missing", 0));
    ERR(EINVAL, truncate("sizes", -1));
    MUST(pwrite(file, "0123456789", 10, 0));
    OK(ftruncate(file, 5));
    OK(ftruncate(file, 10));
    CHECK_EQ(pread(file, buffer, 20, 0), 10);
    CHECK(memcmp(buffer, "01234\0\0\0\0\0", 10) == 0);

    OK(fallocate(file, 0, 0, 10000));
    fstat(file, &about);
    CHECK_EQ(about.st_size, 10000);
    CHECK_EQ(about.st_blocks, 24);
    OK(fallocate(file, FALLOC_FL_KEEP_SIZE, 0, 50000));
    fstat(file, &about);
    CHECK_EQ(about.st_size, 10000);
    memset(buffer, 'x', 10000);
    MUST(pwrite(file, buffer, 10000, 0));
    OK(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1000, 5000));
    CHECK_EQ(pread(file, buffer, 10000, 0), 10000);
    CHECK(buffer[999] == 'x' && buffer[1000] == 0 && buffer[5999] == 0 && buffer[6000] == 'x');
    ERR(EINVAL, fallocate(file, 0, -1, 10));
    ERR(EINVAL, fallocate(file, 0, 0, 0));
    ERR(EOPNOTSUPP, fallocate(file, FALLOC_FL_PUNCH_HOLE, 0, 10));
    ERR(EOPNOTSUPP, fallocate(file, 0x4000, 0, 10));
    ERR(EBADF, fallocate(reader, 0, 0, 10));
    ERR(ESPIPE, fallocate(ends[1], 0, 0, 10));
    ERR(EFBIG, fallocate(file, 0, INT64_MAX - 10, 100));
    OK(fsync(file));
    OK(fdatasync(reader));
    ERR(EINVAL, fsync(ends[0]));
    ERR(EBADF, fsync(999));
    OK(syscall(SYS_sync_file_range, file, 0, 100, 7));
    ERR(EINVAL, syscall(SYS_sync_file_range, file, 0, 100, 8));
    OK(posix_fadvise(file, 0, 0, POSIX_FADV_SEQUENTIAL));
    OK(syscall(SYS_syncfs, file));
    sync();
    close(file);
    close(reader);
}

static void kinds(void)
{
    int directory = (int)MUST(open(".", O_RDONLY)), file = (int)MUST(open("sizes", O_RDONLY));
    int writer = (int)MUST(open("sizes", O_WRONLY));
    ERR(EISDIR, read(directory, buffer, 10));
    ERR(EISDIR, pread(directory, buffer, 10, 0));
    ERR(EBADF, write(directory, buffer, 10));
    ERR(EBADF, write(file, buffer, 1));
    ERR(EBADF, read(writer, buffer, 1));
    ERR(EBADF, read(-1, buffer, 1));
    ERR(EBADF, close(999));
    CHECK_EQ(write(writer, NULL, 0), 0);
    CHECK_EQ(read(file, NULL, 0), 0);
}

// Several writers with one shared offset neither lose nor overwrite anything.
static void shared_offset(void)
{
    int file = (int)MUST(open("shared", O_RDWR | O_CREAT, 0600));
    for (int k = 0; k < 4; k++) {
        if (fork() == 0) {
            char record[16];
            memset(record, 'a' + k, sizeof(record));
            for (int i = 0; i < 500; i++) {
                MUST(write(file, record, sizeof(record)) == 16 ? 0 : -1);
            }
            _exit(0);
        }
    }
    while (wait(NULL) > 0) {
    }
    CHECK_EQ(lseek(file, 0, SEEK_CUR), 4 * 500 * 16);
    CHECK_EQ(pread(file, buffer, SIZE, 0), 4 * 500 * 16);
    int counts[4] = {0}, mixed = 0;
    for (int i = 0; i < 2000; i++) {
        for (int k = 1; k < 16; k++) {
            mixed += buffer[i * 16 + k] != buffer[i * 16];
        }
        counts[(buffer[i * 16] - 'a') & 3]++;
    }
    CHECK_EQ(mixed, 0);
    CHECK(counts[0] == 500 && counts[1] == 500 && counts[2] == 500 && counts[3] == 500);
}

int main(void)
{
    scratch();
    against_model();
    seeking();
    vectors();
    sizes();
    kinds();
    shared_offset();
    return check_done();
}
