// SPDX-License-Identifier: MIT
//
// Claim: splice, tee, vmsplice, sendfile and copy_file_range move and duplicate the right bytes
// with the right offsets, and refuse what they cannot do.
// Method: patterns go from files through pipes to files; every byte and offset is checked.
#include "tests/guest/check.h"
#include <sys/sendfile.h>
#include <sys/uio.h>

static int ends[2], other[2], source, sink;
static char pattern[200000], back[200000];

static void splice_file(void)
{
    loff_t from = 1000, to = 500;

    CHECK_EQ(splice(source, &from, ends[1], NULL, 5000, 0), 5000);
    CHECK_EQ(from, 6000);
    CHECK_EQ(lseek(source, 0, SEEK_CUR), 0); // with an offset given, the file's stays
    CHECK_EQ(splice(ends[0], NULL, sink, &to, 5000, 0), 5000);
    CHECK_EQ(to, 5500);
    CHECK_EQ(pread(sink, back, 5000, 500), 5000);
    CHECK(memcmp(back, pattern + 1000, 5000) == 0);

    CHECK_EQ(splice(source, NULL, ends[1], NULL, 300, SPLICE_F_MOVE), 300);
    CHECK_EQ(lseek(source, 0, SEEK_CUR), 300);
    CHECK_EQ(read(ends[0], back, sizeof(back)), 300);
    CHECK(memcmp(back, pattern, 300) == 0);
    from = (loff_t)sizeof(pattern);
    CHECK_EQ(splice(source, &from, ends[1], NULL, 100, 0), 0); // end of file
    from = 0;
    ssize_t got = splice(source, &from, ends[1], NULL, sizeof(pattern), SPLICE_F_NONBLOCK);
    CHECK_EQ(got, 65536);
    ERR(EAGAIN, splice(source, &from, ends[1], NULL, 4096, SPLICE_F_NONBLOCK));
    CHECK_EQ(splice(ends[0], NULL, other[1], NULL, 10000, 0), 10000); // pipe to pipe
    CHECK_EQ(read(other[0], back, sizeof(back)), 10000);
    CHECK(memcmp(back, pattern, 10000) == 0);
    size_t rest = 0;
    while (rest < 55536 && (got = read(ends[0], back + rest, sizeof(back) - rest)) > 0) {
        rest += (size_t)got;
    }
    CHECK_EQ(rest, 55536);
    CHECK(memcmp(back, pattern + 10000, rest) == 0);
    // What was spliced is what the file held then, even if it changes... is undefined; what the
    // pipe holds can be overwritten without touching the file.
    ERR(EAGAIN, splice(ends[0], NULL, sink, NULL, 100, SPLICE_F_NONBLOCK));
}

static void splice_errors(void)
{
    loff_t offset = 0;

    ERR(EINVAL, splice(source, NULL, sink, NULL, 10, 0)); // no pipe
    ERR(ESPIPE, splice(ends[0], &offset, sink, NULL, 10, 0));
    ERR(EBADF, splice(999, NULL, ends[1], NULL, 10, 0));
    ERR(EBADF, splice(source, NULL, 999, NULL, 10, 0));
    ERR(EBADF, splice(ends[1], NULL, sink, NULL, 10, 0));
    ERR(EINVAL, splice(ends[0], NULL, ends[1], NULL, 10, 0)); // onto itself
    ERR(EINVAL, splice(source, NULL, ends[1], NULL, 10, 0x100));
    CHECK_EQ(splice(source, NULL, ends[1], NULL, 0, 0), 0);
    int append = (int)MUST(open("sink", O_WRONLY | O_APPEND));
    MUST(write(ends[1], "x", 1));
    ERR(EINVAL, splice(ends[0], NULL, append, NULL, 1, 0));
    close(append);
    MUST(read(ends[0], back, 1));
}

static void tees(void)
{
    MUST(write(ends[1], "teetotal", 8));
    CHECK_EQ(tee(ends[0], other[1], 3, 0), 3);
    CHECK_EQ(tee(ends[0], other[1], 100, 0), 8);
    CHECK_EQ(read(other[0], back, sizeof(back)), 11);
    CHECK(memcmp(back, "teeteetotal", 11) == 0);
    CHECK_EQ(read(ends[0], back, sizeof(back)), 8);
    ERR(EAGAIN, tee(ends[0], other[1], 10, SPLICE_F_NONBLOCK));
    ERR(EINVAL, tee(ends[0], ends[1], 10, 0));
    ERR(EINVAL, tee(source, ends[1], 10, 0));
}

static void vmsplices(void)
{
    struct iovec parts[3] = {{"one ", 4}, {"two ", 4}, {"three", 5}};

    CHECK_EQ(vmsplice(ends[1], parts, 3, 0), 13);
    CHECK_EQ(read(ends[0], back, sizeof(back)), 13);
    CHECK(memcmp(back, "one two three", 13) == 0);
    MUST(write(ends[1], "into memory", 11));
    struct iovec into[2] = {{back, 5}, {back + 100, 50}};
    CHECK_EQ(vmsplice(ends[0], into, 2, 0), 11);
    CHECK(memcmp(back, "into ", 5) == 0 && memcmp(back + 100, "memory", 6) == 0);
    struct iovec wild = {(void *)8, 10};
    ERR(EFAULT, vmsplice(ends[1], &wild, 1, 0));
    ERR(EBADF, vmsplice(source, parts, 1, 0));
    ERR(EINVAL, vmsplice(ends[1], parts, 2000, 0));
}

static void sendfiles(void)
{
    off_t offset = 100;

    lseek(source, 0, SEEK_SET);
    lseek(sink, 0, SEEK_SET);
    CHECK_EQ(sendfile(sink, source, &offset, 1000), 1000);
    CHECK_EQ(offset, 1100);
    CHECK_EQ(lseek(source, 0, SEEK_CUR), 0);
    CHECK_EQ(lseek(sink, 0, SEEK_CUR), 1000);
    CHECK_EQ(sendfile(sink, source, NULL, 150000), 150000);
    CHECK_EQ(lseek(source, 0, SEEK_CUR), 150000);
    CHECK_EQ(pread(sink, back, 151000, 0), 151000);
    CHECK(memcmp(back, pattern + 100, 1000) == 0);
    CHECK(memcmp(back + 1000, pattern, 150000) == 0);
    CHECK_EQ(sendfile(ends[1], source, NULL, 4000), 4000); // to a pipe
    CHECK_EQ(read(ends[0], back, sizeof(back)), 4000);
    CHECK(memcmp(back, pattern + 150000, 4000) == 0);
    CHECK_EQ(sendfile(sink, source, NULL, 100000), 46000); // up to the end
    CHECK_EQ(sendfile(sink, source, NULL, 100000), 0);
    CHECK_EQ(sendfile(sink, source, NULL, 0), 0);
    ERR(EBADF, sendfile(999, source, NULL, 1));
    ERR(EBADF, sendfile(sink, 999, NULL, 1));
    ERR(EINVAL, sendfile(sink, ends[0], NULL, 1));
    int reader = (int)MUST(open("sink", O_RDONLY)), append;
    ERR(EBADF, sendfile(reader, source, NULL, 1));
    append = (int)MUST(open("sink", O_WRONLY | O_APPEND));
    ERR(EINVAL, sendfile(append, source, NULL, 1));
    offset = -1;
    ERR(EINVAL, sendfile(sink, source, &offset, 1));
    ERR(EFAULT, syscall(SYS_sendfile, sink, source, 8, 1));
    close(append);
    close(reader);
}

static void copy_ranges(void)
{
    loff_t from = 5000, to = 0;

    MUST(ftruncate(sink, 0));
    CHECK_EQ(syscall(SYS_copy_file_range, source, &from, sink, &to, 10000, 0), 10000);
    CHECK(from == 15000 && to == 10000);
    CHECK_EQ(pread(sink, back, sizeof(back), 0), 10000);
    CHECK(memcmp(back, pattern + 5000, 10000) == 0);
    from = (loff_t)sizeof(pattern);
    CHECK_EQ(syscall(SYS_copy_file_range, source, &from, sink, &to, 10, 0), 0);
    from = to = 0;
    CHECK_EQ(syscall(SYS_copy_file_range, source, &from, source, &to, 0, 0), 0);
    to = 5;
    ERR(EINVAL, syscall(SYS_copy_file_range, source, &from, source, &to, 10, 0)); // overlap
    from = 0;
    to = 150000;
    CHECK_EQ(syscall(SYS_copy_file_range, source, &from, source, &to, 10, 0), 10);
    ERR(EINVAL, syscall(SYS_copy_file_range, source, &from, sink, &to, 10, 1));
    ERR(EINVAL, syscall(SYS_copy_file_range, source, NULL, ends[1], NULL, 10, 0));
    ERR(EBADF, syscall(SYS_copy_file_range, source, NULL, 999, NULL, 10, 0));
    int directory = (int)MUST(open(".", O_RDONLY));
    ERR(EISDIR, syscall(SYS_copy_file_range, directory, NULL, sink, NULL, 10, 0));
}

int main(void)
{
    scratch();
    for (size_t i = 0; i < sizeof(pattern); i++) {
        pattern[i] = (char)(i * 7 + i / 251);
    }
    MUST(pipe(ends));
    MUST(pipe(other));
    source = (int)MUST(open("source", O_RDWR | O_CREAT, 0600));
    sink = (int)MUST(open("sink", O_RDWR | O_CREAT, 0600));
    MUST(write(source, pattern, sizeof(pattern)) == sizeof(pattern) ? 0 : -1);
    lseek(source, 0, SEEK_SET);
    splice_file();
    splice_errors();
    tees();
    vmsplices();
    sendfiles();
    copy_ranges();
    return check_done();
}
