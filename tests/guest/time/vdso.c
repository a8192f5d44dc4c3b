// SPDX-License-Identifier: MIT
//
// Claim: the vDSO is a shared object with versioned symbols for clock_gettime, gettimeofday, time,
// clock_getres and getcpu, which may be called directly and do not trap for the usual clocks.
// Method: its dynamic symbol table is walked from AT_SYSINFO_EHDR; functions are called through it;
// "no system call" is shown by a burst of calls that must be fast compared with real ones.
#include "tests/guest/check.h"
#include <cpuid.h>
#include <elf.h>
#include <sys/auxv.h>
#include <sys/time.h>

static uintptr_t base;
static const Elf64_Sym *symbols;
static const char *strings;
static const uint32_t *hash;

// Under Xen on a machine whose TSC it does not trust (leaf 3 of Xen's block, EAX bit 1), virtual
// CPUs have clocks of their own, which a program can't tell apart: only the kernel can read them.
static bool clock_is_not_shared(void)
{
    uint32_t eax, ebx, ecx, edx;
    __cpuid(1, eax, ebx, ecx, edx);
    if ((ecx & 1u << 31) == 0) {
        return false;
    }
    __cpuid(0x40000000, eax, ebx, ecx, edx);
    if (ebx != 0x566e6558 || ecx != 0x65584d4d || edx != 0x4d4d566e) { // XenVMMXenVMM
        return false;
    }
    __cpuid_count(0x40000003, 0, eax, ebx, ecx, edx);
    return (eax & 2) == 0;
}

static bool parse(void)
{
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)base;
    const Elf64_Phdr *program = (const Elf64_Phdr *)(base + header->e_phoff);
    const Elf64_Dyn *dynamic = NULL;
    uintptr_t bias = base;

    CHECK(memcmp(header->e_ident, ELFMAG, SELFMAG) == 0);
    CHECK_EQ(header->e_type, ET_DYN);
    CHECK_EQ(header->e_machine, EM_X86_64);
    for (int i = 0; i < header->e_phnum; i++) {
        if (program[i].p_type == PT_LOAD) {
            bias = base + program[i].p_offset - program[i].p_vaddr;
            CHECK_EQ(program[i].p_flags & PF_W, 0);
        } else if (program[i].p_type == PT_DYNAMIC) {
            dynamic = (const Elf64_Dyn *)(base + program[i].p_offset);
        }
    }
    for (; dynamic != NULL && dynamic->d_tag != DT_NULL; dynamic++) {
        void *at = (void *)(bias + dynamic->d_un.d_ptr);
        if (dynamic->d_tag == DT_SYMTAB) {
            symbols = at;
        } else if (dynamic->d_tag == DT_STRTAB) {
            strings = at;
        } else if (dynamic->d_tag == DT_HASH) {
            hash = at;
        }
    }
    return symbols != NULL && strings != NULL && hash != NULL;
}

static void *find(const char *name)
{
    for (uint32_t i = 0; i < hash[1]; i++) {
        if (strcmp(strings + symbols[i].st_name, name) == 0 && symbols[i].st_shndx != SHN_UNDEF) {
            return (void *)(base + symbols[i].st_value);
        }
    }
    return NULL;
}

int main(void)
{
    struct timespec time = {0, 0}, call;
    struct timeval day = {0, 0};

    scratch();
    base = getauxval(AT_SYSINFO_EHDR);
    CHECK(base != 0 && base % 4096 == 0);
    if (!CHECK(parse())) {
        return check_done();
    }
    static const char *const names[] = {"__vdso_clock_gettime", "__vdso_gettimeofday",
        "__vdso_time", "__vdso_clock_getres", "__vdso_getcpu"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        bool there = find(names[i]) != NULL;
        note("%s: %s", names[i], there ? "there" : "missing");
        CHECK_QUIET(there);
    }
    int (*get)(clockid_t, struct timespec *) =
        (int (*)(clockid_t, struct timespec *))find(names[0]);
    int (*get_day)(struct timeval *, void *) = (int (*)(struct timeval *, void *))find(names[1]);
    time_t (*get_time)(time_t *) = (time_t (*)(time_t *))find(names[2]);
    int (*get_cpu)(unsigned *, unsigned *, void *) =
        (int (*)(unsigned *, unsigned *, void *))find(names[4]);
    if (get == NULL || get_day == NULL || get_time == NULL || get_cpu == NULL) {
        return check_done();
    }
    CHECK_EQ(get(CLOCK_MONOTONIC, &time), 0);
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &call);
    CHECK(call.tv_sec - time.tv_sec <= 1 && call.tv_sec >= time.tv_sec);
    CHECK_EQ(get(12345, &time), -EINVAL); // falls back to the kernel
    CHECK_EQ(get(CLOCK_PROCESS_CPUTIME_ID, &time), 0);
    CHECK_EQ(get_day(&day, NULL), 0);
    CHECK(llabs((long long)get_time(NULL) - day.tv_sec) <= 1);
    unsigned cpu = 9999, node = 9999;
    CHECK_EQ(get_cpu(&cpu, &node, NULL), 0);
    CHECK(cpu < 256 && node < 64);

    // Readable and executable, not writable.
    char line[512], start[32];
    bool found = false;
    snprintf(start, sizeof(start), "%lx-", (unsigned long)base);
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
        if (strncmp(line, start, strlen(start)) == 0) {
            found = strstr(line, " r-xp ") != NULL && strstr(line, "[vdso]") != NULL;
        }
    }
    CHECK(found);

    // A thousand readings against a thousand real system calls: the fastest of 20 rounds each, as
    // the host may be busy.
    uint64_t through_vdso = UINT64_MAX, through_call = UINT64_MAX;
    for (int round = 0; round < 20; round++) {
        uint64_t before = now_ns();
        for (int i = 0; i < 1000; i++) {
            get(CLOCK_MONOTONIC, &time);
        }
        uint64_t between = now_ns();
        for (int i = 0; i < 1000; i++) {
            syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &call);
        }
        uint64_t after = now_ns();
        through_vdso = between - before < through_vdso ? between - before : through_vdso;
        through_call = after - between < through_call ? after - between : through_call;
    }
    CHECK(through_vdso < through_call || clock_is_not_shared());
    return check_done();
}
