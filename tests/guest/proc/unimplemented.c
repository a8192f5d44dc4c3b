// SPDX-License-Identifier: MIT
//
// Claim: a system call that does not exist answers ENOSYS and is counted, by number, in
// /proc/lodger/unimplemented, and a call that exists is not.
// Method: the counts before and after calls with numbers that no Linux has, and one that exists.
// Lodger only.
#include "tests/guest/check.h"

// The count of this number; lines are "NUMBER NAME COUNT". 0 if there is no line for it.
static long count_of(int wanted)
{
    FILE *file = fopen("/proc/lodger/unimplemented", "r");
    char name[64];
    int number;
    long count, found = 0;

    while (file != NULL && fscanf(file, "%d %63s %ld", &number, name, &count) == 3) {
        found = number == wanted ? count : found;
    }
    if (file != NULL) {
        fclose(file);
    }
    return found;
}

int main(void)
{
    scratch();
    OK(access("/proc/lodger/unimplemented", R_OK));
    long before = count_of(500);
    for (int i = 0; i < 3; i++) {
        ERR(ENOSYS, syscall(500, 1, 2, 3));
    }
    CHECK_EQ(count_of(500) - before, 3);
    syscall(SYS_getppid);
    CHECK_EQ(count_of(SYS_getppid), 0);
    return check_done();
}
