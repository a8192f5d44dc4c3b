// SPDX-License-Identifier: MIT
//
// Claim: io_uring does what it is asked to for files and disks: plain, vectored and fixed
// transfers, registered files and buffers, chains, overflow of the event ring, polled rings and a
// submitting thread.
//
// Method: the bare system calls and the rings mapped as linux/io_uring.h says.
#include "tests/guest/block/device.h"
#include <linux/io_uring.h>
#include <sys/uio.h>

struct ring {
    int fd;
    struct io_uring_params parameters;
    char *rings;
    struct io_uring_sqe *entries;
};

static unsigned *word(const struct ring *ring, unsigned offset)
{
    return (unsigned *)(ring->rings + offset);
}

static bool ring_open(struct ring *ring, unsigned entries, unsigned flags)
{
    memset(ring, 0, sizeof(*ring));
    ring->parameters.flags = flags;
    ring->parameters.sq_thread_idle = 50;
    ring->fd = (int)syscall(SYS_io_uring_setup, entries, &ring->parameters);
    if (ring->fd < 0)
        return false;
    const struct io_uring_params *p = &ring->parameters;
    size_t len = p->sq_off.array + p->sq_entries * sizeof(unsigned);
    size_t other = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
    len = len > other ? len : other;
    ring->rings = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, IORING_OFF_SQ_RING);
    ring->entries = mmap(NULL, p->sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE,
        MAP_SHARED, ring->fd, IORING_OFF_SQES);
    return ring->rings != MAP_FAILED && ring->entries != MAP_FAILED;
}

static void ring_put(struct ring *ring, const struct io_uring_sqe *entry)
{
    unsigned *tail = word(ring, ring->parameters.sq_off.tail);
    unsigned mask = *word(ring, ring->parameters.sq_off.ring_mask);
    unsigned index = *tail & mask;
    ring->entries[index] = *entry;
    word(ring, ring->parameters.sq_off.array)[index] = index;
    __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
}

static long ring_enter(struct ring *ring, unsigned submit, unsigned minimum, unsigned flags)
{
    return syscall(SYS_io_uring_enter, ring->fd, submit, minimum, flags, NULL, 0);
}

// The next event; false: there is none.
static bool ring_get(struct ring *ring, struct io_uring_cqe *event)
{
    unsigned *head = word(ring, ring->parameters.cq_off.head);
    unsigned *tail = word(ring, ring->parameters.cq_off.tail);
    unsigned mask = *word(ring, ring->parameters.cq_off.ring_mask);
    if (*head == __atomic_load_n(tail, __ATOMIC_ACQUIRE))
        return false;
    *event = ((struct io_uring_cqe *)(ring->rings + ring->parameters.cq_off.cqes))[*head & mask];
    __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
    return true;
}

static struct io_uring_sqe transfer(
    unsigned opcode, int fd, void *buffer, unsigned len, uint64_t offset, uint64_t data)
{
    return (struct io_uring_sqe){.opcode = (uint8_t)opcode,
        .fd = fd,
        .addr = (uintptr_t)buffer,
        .len = len,
        .off = offset,
        .user_data = data};
}

static int one(struct ring *ring, struct io_uring_sqe entry)
{
    struct io_uring_cqe event = {};
    ring_put(ring, &entry);
    if (ring_enter(ring, 1, 1, IORING_ENTER_GETEVENTS) != 1 || !ring_get(ring, &event))
        return -9999;
    return event.user_data == entry.user_data ? event.res : -9998;
}

static void check_basics(const char *name)
{
    struct ring ring;
    char *memory = aligned(65536), *back = aligned(65536);
    CHECK(ring_open(&ring, 8, 0));
    CHECK(ring.parameters.sq_entries == 8);
    CHECK(ring.parameters.cq_entries == 16);
    CHECK(ring.parameters.features & IORING_FEAT_SINGLE_MMAP);
    int fd = open(name, O_RDWR | O_DIRECT | O_CLOEXEC);
    pattern(memory, 65536, 0, 11);
    CHECK(one(&ring, (struct io_uring_sqe){.opcode = IORING_OP_NOP, .user_data = 5}) == 0);
    CHECK(one(&ring, transfer(IORING_OP_WRITE, fd, memory, 65536, 0, 1)) == 65536);
    CHECK(one(&ring, transfer(IORING_OP_READ, fd, back, 65536, 0, 2)) == 65536);
    CHECK(pattern_is(back, 65536, 0, 11));
    struct iovec vector[2] = {{back, 4096}, {back + 8192, 8192}};
    CHECK(one(&ring, transfer(IORING_OP_READV, fd, vector, 2, 4096, 3)) == 12288);
    CHECK(pattern_is(back, 4096, 4096, 11));
    CHECK(pattern_is(back + 8192, 8192, 8192, 11));
    CHECK(one(&ring, transfer(IORING_OP_FSYNC, fd, NULL, 0, 0, 4)) == 0);
    CHECK(one(&ring, transfer(IORING_OP_READ, 999, back, 512, 0, 5)) == -EBADF);
    CHECK(one(&ring, transfer(IORING_OP_READ, fd, back + 1, 512, 0, 6)) == -EINVAL);
    CHECK(one(&ring, transfer(200, fd, back, 512, 0, 7)) == -EINVAL);
    CHECK(one(&ring, transfer(IORING_OP_READ_FIXED, fd, back, 512, 0, 8)) == -EFAULT);
    // Registered.
    struct iovec fixed[2] = {{memory, 65536}, {back, 65536}};
    CHECK(syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_BUFFERS, fixed, 2) == 0);
    CHECK_ERRNO(syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_BUFFERS, fixed, 2), EBUSY);
    CHECK(syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_FILES, &fd, 1) == 0);
    pattern(memory, 65536, 0, 12);
    struct io_uring_sqe entry =
        transfer(IORING_OP_WRITE_FIXED, 0, memory + 512, 60000 / 512 * 512, 512, 9);
    entry.flags = IOSQE_FIXED_FILE;
    CHECK(one(&ring, entry) == 60000 / 512 * 512);
    memset(back, 0, 65536);
    entry = transfer(IORING_OP_READ_FIXED, 0, back + 4096, 32768, 4096, 10);
    entry.flags = IOSQE_FIXED_FILE;
    entry.buf_index = 1;
    CHECK(one(&ring, entry) == 32768);
    CHECK(pattern_is(back + 4096, 32768, 4096, 12));
    entry.addr += 65536;
    CHECK(one(&ring, entry) == -EFAULT);
    entry = transfer(IORING_OP_READ, 1, back, 512, 0, 10);
    entry.flags = IOSQE_FIXED_FILE;
    CHECK(one(&ring, entry) == -EBADF);
    CHECK(syscall(SYS_io_uring_register, ring.fd, IORING_UNREGISTER_BUFFERS, NULL, 0) == 0);
    CHECK(syscall(SYS_io_uring_register, ring.fd, IORING_UNREGISTER_FILES, NULL, 0) == 0);
    CHECK_ERRNO(syscall(SYS_io_uring_register, ring.fd, IORING_UNREGISTER_FILES, NULL, 0), ENXIO);
    close(fd);
    close(ring.fd);
    free(memory);
    free(back);
}

static void check_files(void)
{
    struct ring ring;
    char text[32] = "";
    CHECK(ring_open(&ring, 4, 0));
    struct io_uring_sqe entry = transfer(IORING_OP_OPENAT, AT_FDCWD, "file", 0600, 0, 1);
    entry.open_flags = O_CREAT | O_RDWR;
    int fd = one(&ring, entry);
    CHECK(fd >= 0);
    CHECK(one(&ring, transfer(IORING_OP_WRITE, fd, "hello, world", 12, UINT64_MAX, 2)) == 12);
    CHECK(lseek(fd, 0, SEEK_CUR) == 12);
    CHECK(one(&ring, transfer(IORING_OP_READ, fd, text, 32, 7, 3)) == 5);
    CHECK(strcmp(text, "world") == 0);
    entry = (struct io_uring_sqe){.opcode = IORING_OP_FALLOCATE, .fd = fd, .off = 0, .addr = 8192};
    CHECK(one(&ring, entry) == 0);
    CHECK(lseek(fd, 0, SEEK_END) == 8192);
    CHECK(one(&ring, (struct io_uring_sqe){.opcode = IORING_OP_CLOSE, .fd = fd}) == 0);
    CHECK_ERRNO(fcntl(fd, F_GETFD), EBADF);
    close(ring.fd);
}

static void check_chains(void)
{
    struct ring ring;
    struct io_uring_cqe event;
    CHECK(ring_open(&ring, 8, 0));
    for (unsigned i = 0; i < 4; i++) {
        struct io_uring_sqe entry = {.opcode = i == 1 ? IORING_OP_READ : IORING_OP_NOP,
            .fd = -1,
            .flags = i < 3 ? IOSQE_IO_LINK : 0,
            .user_data = i};
        ring_put(&ring, &entry);
    }
    CHECK(ring_enter(&ring, 4, 4, IORING_ENTER_GETEVENTS) == 4);
    int results[4] = {1, 1, 1, 1};
    for (unsigned i = 0; i < 4; i++)
        if (ring_get(&ring, &event))
            results[event.user_data] = event.res;
    CHECK(results[0] == 0);
    CHECK(results[1] == -EBADF);
    CHECK(results[2] == -ECANCELED);
    CHECK(results[3] == -ECANCELED);
    close(ring.fd);
}

static void check_overflow(void)
{
    struct ring ring;
    struct io_uring_cqe event;
    CHECK(ring_open(&ring, 4, 0)); // 8 events
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = 0; i < 4; i++) {
            struct io_uring_sqe entry = {.opcode = IORING_OP_NOP, .user_data = round * 4 + i};
            ring_put(&ring, &entry);
        }
        CHECK(ring_enter(&ring, 4, 0, 0) == 4);
    }
    unsigned count = 0, ordered = 0;
    for (unsigned round = 0; round < 5; round++) {
        while (ring_get(&ring, &event))
            ordered += event.user_data == count++;
        ring_enter(&ring, 0, 0, IORING_ENTER_GETEVENTS);
    }
    CHECK(count == 20);
    CHECK(ordered == 20);
    close(ring.fd);
}

// Depth 16, in every way of submitting.
static void check_depth(const char *name, unsigned flags)
{
    struct ring ring;
    char *memory = aligned(16 * 4096);
    CHECK(ring_open(&ring, 16, flags));
    int fd = open(name, O_RDWR | O_DIRECT | O_CLOEXEC);
    CHECK(syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_FILES, &fd, 1) == 0);
    unsigned wrong = 0;
    for (unsigned round = 0; round < 40; round++) {
        const bool write = round % 2 == 0;
        for (unsigned i = 0; i < 16; i++) {
            if (write)
                pattern(memory + i * 4096, 4096, i * 4096, round);
            struct io_uring_sqe entry = transfer(
                write ? IORING_OP_WRITE : IORING_OP_READ, 0, memory + i * 4096, 4096, i * 4096, i);
            entry.flags = IOSQE_FIXED_FILE;
            ring_put(&ring, &entry);
        }
        unsigned enter = IORING_ENTER_GETEVENTS;
        if (flags & IORING_SETUP_SQPOLL &&
            *word(&ring, ring.parameters.sq_off.flags) & IORING_SQ_NEED_WAKEUP)
            enter |= IORING_ENTER_SQ_WAKEUP;
        wrong += ring_enter(&ring, 16, 16, enter) != 16;
        struct io_uring_cqe event;
        unsigned count = 0;
        for (unsigned tries = 0; count < 16 && tries < 100000; tries++) {
            if (!ring_get(&ring, &event)) {
                ring_enter(&ring, 0, 1, enter);
                continue;
            }
            count++;
            wrong += event.res != 4096;
        }
        wrong += count != 16;
        for (unsigned i = 0; i < 16 && !write; i++)
            wrong += !pattern_is(memory + i * 4096, 4096, i * 4096, round - 1);
    }
    CHECK(wrong == 0);
    close(fd);
    close(ring.fd);
    free(memory);
}

int main(void)
{
    const char *name = disk_name();
    struct io_uring_params none = {};
    if (name == NULL)
        return 77;
    scratch();
    CHECK_ERRNO(syscall(SYS_io_uring_setup, 0, &none), EINVAL);
    none.flags = 1u << 30;
    CHECK_ERRNO(syscall(SYS_io_uring_setup, 4, &none), EINVAL);
    CHECK_ERRNO(syscall(SYS_io_uring_enter, 0, 1, 0, 0, NULL, 0), EOPNOTSUPP);
    check_basics(name);
    check_files();
    check_chains();
    check_overflow();
    check_depth(name, 0);
    check_depth(name, IORING_SETUP_SQPOLL);
    return check_done();
}
