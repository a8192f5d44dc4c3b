// SPDX-License-Identifier: MIT
// BUILD: static-pie
//
// Claim: a static position-independent program is loaded at an address of the kernel's choice, is
// relocated by its own start code, and has its segments mapped with their own permissions.
// Method: this program is one; it looks at its own relocated data, /proc/self/maps and auxv.
#include "tests/guest/check.h"
#include <elf.h>
#include <sys/auxv.h>

extern const Elf64_Ehdr __ehdr_start __attribute__((visibility("hidden")));

static int one = 1;
static int *pointer_to_one = &one; // needs a relocation
static int (*function)(void) = check_done;
static const char *const words[] = {"alpha", "beta", "gamma"};
static char large[3 << 20]; // spans many pages of bss

// The permissions of the mapping that holds this address.
static const char *permissions_of(const void *address)
{
    static char permissions[5];
    unsigned long from, to;
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];

    strcpy(permissions, "none");
    while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
        char found[5];
        if (sscanf(line, "%lx-%lx %4s", &from, &to, found) == 3 && (uintptr_t)address >= from &&
            (uintptr_t)address < to) {
            strcpy(permissions, found);
        }
    }
    if (maps != NULL) {
        fclose(maps);
    }
    return permissions;
}

int main(void)
{
    CHECK_EQ(__ehdr_start.e_type, ET_DYN);
    CHECK(pointer_to_one == &one);
    CHECK(function == check_done);
    CHECK_STR(words[1], "beta");
    for (size_t i = 0; i < sizeof(large); i += 4096) {
        CHECK_QUIET(large[i] == 0);
        large[i] = 1;
    }
    CHECK_EQ(getauxval(AT_BASE), 0);
    CHECK(getauxval(AT_PHDR) == (uintptr_t)&__ehdr_start + __ehdr_start.e_phoff);
    CHECK(getauxval(AT_ENTRY) == (uintptr_t)&__ehdr_start + __ehdr_start.e_entry);
    CHECK((uintptr_t)&__ehdr_start >= 0x10000 && (uintptr_t)&__ehdr_start % 4096 == 0);
    CHECK_STR(permissions_of(words[0]), "r--p");
    CHECK_STR(permissions_of((void *)(uintptr_t)main), "r-xp");
    CHECK_STR(permissions_of(&one), "rw-p");
    CHECK_STR(permissions_of(large + sizeof(large) / 2), "rw-p");
    int local = 0;
    CHECK_STR(permissions_of(&local), "rw-p");
    return check_done();
}
