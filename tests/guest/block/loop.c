// SPDX-License-Identifier: MIT
//
// Claim: a file can be bound to a loop device, is what the device shows, at an offset too, and gets
// what is written to it; the device is empty again afterwards.
//
// Method: the ioctls of linux/loop.h; patterns that tell their place.
#include "tests/guest/block/device.h"
#include <linux/loop.h>

#define SIZE (1u << 20)

static void check_content(int loop, int file, uint64_t offset)
{
    char *memory = aligned(SIZE), *back = aligned(SIZE);
    uint64_t bytes = 0;
    OK(ioctl(loop, BLKGETSIZE64, &bytes));
    CHECK(bytes == SIZE - offset);
    CHECK(pread(loop, back, bytes, 0) == (ssize_t)bytes);
    CHECK(pattern_is(back, bytes, offset, 1));
    pattern(memory, 65536, 0, 2);
    CHECK(pwrite(loop, memory, 65536, 65536) == 65536);
    OK(fsync(loop));
    CHECK(pread(file, back, 65536, (off_t)(65536 + offset)) == 65536);
    CHECK(pattern_is(back, 65536, 0, 2));
    uint64_t range[2] = {65536, 65536};
    OK(ioctl(loop, BLKDISCARD, range));
    CHECK(pread(file, back, 65536, (off_t)(65536 + offset)) == 65536);
    bool zero = true;
    for (size_t i = 0; i < 65536; i++)
        zero = zero && back[i] == 0;
    CHECK(zero);
    free(memory);
    free(back);
}

int main(void)
{
    scratch();
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0)
        return 77;
    int number = (int)OK(ioctl(control, LOOP_CTL_GET_FREE));
    char name[32];
    snprintf(name, sizeof(name), "/dev/loop%d", number);
    int loop = (int)OK(open(name, O_RDWR | O_CLOEXEC));
    int file = (int)OK(open("image", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    char *memory = aligned(SIZE);
    struct loop_info64 info = {};
    ERR(ENXIO, ioctl(loop, LOOP_GET_STATUS64, &info));
    ERR(ENXIO, ioctl(loop, LOOP_CLR_FD, 0));
    ERR(EBADF, ioctl(loop, LOOP_SET_FD, 999));
    for (uint64_t offset = 0; offset <= 8192; offset += 8192) {
        pattern(memory, SIZE, 0, 1);
        CHECK(pwrite(file, memory, SIZE, 0) == SIZE);
        OK(ioctl(loop, LOOP_SET_FD, file));
        ERR(EBUSY, ioctl(loop, LOOP_SET_FD, file));
        info = (struct loop_info64){.lo_offset = offset};
        OK(ioctl(loop, LOOP_SET_STATUS64, &info));
        OK(ioctl(loop, LOOP_GET_STATUS64, &info));
        CHECK(info.lo_offset == offset);
        CHECK(info.lo_number == (unsigned)number);
        check_content(loop, file, offset);
        OK(ioctl(loop, LOOP_CLR_FD, 0));
    }
    uint64_t bytes = 1;
    OK(ioctl(loop, BLKGETSIZE64, &bytes));
    CHECK(bytes == 0);
    close(loop);
    OK(ioctl(control, LOOP_CTL_REMOVE, number));
    ERR(ENOENT, open(name, O_RDONLY));
    close(control);
    close(file);
    free(memory);
    return check_done();
}
