// SPDX-License-Identifier: MIT
//
// Claim: Linux AIO transfers what it is asked to, in any order, tells it in events (also through an
// eventfd and through the ring in the program's memory), and refuses what is wrong.
//
// Method: the bare system calls; depth 32, patterns that tell their place.
#include "tests/guest/block/device.h"
#include <linux/aio_abi.h>
#include <sys/eventfd.h>

#define DEPTH 32

static long setup(unsigned events, aio_context_t *context)
{
    return syscall(SYS_io_setup, events, context);
}
static long submit(aio_context_t context, long count, struct iocb **list)
{
    return syscall(SYS_io_submit, context, count, list);
}
static long get(aio_context_t context, long minimum, long count, struct io_event *events)
{
    return syscall(SYS_io_getevents, context, minimum, count, events, NULL);
}

static void check_transfers(const char *name, int flags)
{
    aio_context_t context = 0;
    struct iocb blocks[DEPTH], *list[DEPTH];
    struct io_event events[DEPTH];
    char *memory = aligned(DEPTH * 16384);
    int fd = open(name, O_RDWR | O_CLOEXEC | flags);
    CHECK(setup(DEPTH, &context) == 0);
    for (int round = 0; round < 8; round++) {
        const bool write = round % 2 == 0;
        for (unsigned i = 0; i < DEPTH; i++) {
            const uint64_t offset = (uint64_t)(i * 7 % DEPTH) * 16384;
            if (write)
                pattern(memory + i * 16384, 16384, offset, (uint64_t)round);
            else
                memset(memory + i * 16384, 0, 16384);
            blocks[i] = (struct iocb){.aio_data = i,
                .aio_lio_opcode = write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
                .aio_fildes = (uint32_t)fd,
                .aio_buf = (uintptr_t)memory + i * 16384,
                .aio_nbytes = 16384,
                .aio_offset = (int64_t)offset};
            list[i] = &blocks[i];
        }
        CHECK(submit(context, DEPTH, list) == DEPTH);
        CHECK(get(context, DEPTH, DEPTH, events) == DEPTH);
        unsigned good = 0;
        for (unsigned i = 0; i < DEPTH; i++)
            good += events[i].res == 16384 && events[i].obj == (uintptr_t)&blocks[events[i].data] &&
                    events[i].res2 == 0;
        CHECK(good == DEPTH);
        good = 0;
        for (unsigned i = 0; i < DEPTH && !write; i++)
            good += pattern_is(
                memory + i * 16384, 16384, (uint64_t)(i * 7 % DEPTH) * 16384, (uint64_t)round - 1);
        CHECK(write || good == DEPTH);
    }
    CHECK(syscall(SYS_io_destroy, context) == 0);
    CHECK_ERRNO(syscall(SYS_io_destroy, context), EINVAL);
    close(fd);
    free(memory);
}

static void check_eventfd(const char *name)
{
    aio_context_t context = 0;
    char *memory = aligned(4096);
    int fd = open(name, O_RDWR | O_CLOEXEC | O_DIRECT), event = eventfd(0, EFD_CLOEXEC);
    CHECK(setup(4, &context) == 0);
    struct iocb block = {.aio_lio_opcode = IOCB_CMD_PREAD,
        .aio_fildes = (uint32_t)fd,
        .aio_buf = (uintptr_t)memory,
        .aio_nbytes = 4096,
        .aio_flags = IOCB_FLAG_RESFD,
        .aio_resfd = (uint32_t)event};
    struct iocb *list[] = {&block};
    uint64_t count = 0;
    CHECK(submit(context, 1, list) == 1);
    CHECK(read(event, &count, 8) == 8);
    CHECK(count == 1);
    struct {
        unsigned id, nr, head, tail, magic;
    } *ring = (void *)context;
    CHECK(ring->magic == 0xa10a10a1);
    CHECK(ring->head != ring->tail);
    struct io_event done;
    CHECK(get(context, 1, 1, &done) == 1);
    CHECK(ring->head == ring->tail);
    struct timespec soon = {.tv_nsec = 1000000};
    CHECK(syscall(SYS_io_getevents, context, 1L, 1L, &done, &soon) == 0);
    block.aio_fildes = 999;
    CHECK_ERRNO(submit(context, 1, list), EBADF);
    block.aio_fildes = (uint32_t)fd;
    block.aio_lio_opcode = 77;
    CHECK_ERRNO(submit(context, 1, list), EINVAL);
    block.aio_lio_opcode = IOCB_CMD_PREAD;
    block.aio_buf = (uintptr_t)memory + 1;
    block.aio_flags = 0;
    CHECK_ERRNO(submit(0, 1, list), EINVAL);
    struct iocb *bad[] = {NULL};
    CHECK_ERRNO(submit(context, 1, bad), EFAULT);
    CHECK(submit(context, 0, list) == 0);
    CHECK(syscall(SYS_io_destroy, context) == 0);
    close(fd);
    close(event);
    free(memory);
}

// A program that ends with requests under way leaves nothing behind.
static void check_exit(const char *name)
{
    for (int i = 0; i < 8; i++) {
        pid_t child = fork();
        if (child == 0) {
            aio_context_t context = 0;
            char *memory = aligned(1 << 20);
            int fd = open(name, O_RDONLY | O_DIRECT);
            setup(8, &context);
            struct iocb block = {.aio_lio_opcode = IOCB_CMD_PREAD,
                .aio_fildes = (uint32_t)fd,
                .aio_buf = (uintptr_t)memory,
                .aio_nbytes = 1 << 20};
            struct iocb *list[] = {&block};
            submit(context, 1, list);
            _exit(0);
        }
        int status = 1;
        waitpid(child, &status, 0);
        CHECK(status == 0);
    }
}

int main(void)
{
    const char *name = disk_name();
    aio_context_t context = 0;
    if (name == NULL)
        return 77;
    CHECK_ERRNO(setup(0, &context), EINVAL);
    context = 1;
    CHECK_ERRNO(setup(1, &context), EINVAL);
    check_transfers(name, O_DIRECT);
    check_transfers(name, 0);
    check_eventfd(name);
    check_exit(name);
    return check_done();
}
