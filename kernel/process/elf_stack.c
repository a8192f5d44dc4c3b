// SPDX-License-Identifier: MIT
// What a new program finds on its stack (System V ABI, 3.4.1), from high to low addresses:
//
//   8 zero bytes
//   path of the program, environment strings, argument strings
//   16 random bytes, the platform's name
//   (aligned to 16) auxiliary vector, NULL, environment pointers, NULL, argument pointers, argument
//   count <- rsp
#include "kernel/arch/x86/arch.h"
#include "kernel/base/string.h"
#include "kernel/core/random.h"
#include "kernel/process/exec.h"
#include "mm/address_space.h"
#include <asm/auxvec.h>
#include <linux/auxvec.h>
#include <linux/elf.h>

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

#define CLOCK_TICKS 100
#define PLATFORM    "x86_64"

struct auxv {
    uint64_t *words;
    uint32_t count;
};

static void add(struct auxv *auxv, uint64_t type, uint64_t value)
{
    auxv->words[auxv->count++] = type;
    auxv->words[auxv->count++] = value;
}

static uint32_t fill_auxv(const struct exec_program *program, bool secure, uintptr_t random,
    uintptr_t platform, uintptr_t path)
{
    struct auxv auxv = {.words = program->space->auxv};
    const struct elf_image *image = program->image;
    const struct credentials *cred = credentials_current();
    memset(program->space->auxv, 0, sizeof(program->space->auxv));
    if (program->space->vdso_base != 0)
        add(&auxv, AT_SYSINFO_EHDR, program->space->vdso_base);
    add(&auxv, AT_MINSIGSTKSZ, signal_frame_bytes_max());
    add(&auxv, AT_HWCAP, arch_hwcap());
    add(&auxv, AT_PAGESZ, PAGE_SIZE);
    add(&auxv, AT_CLKTCK, CLOCK_TICKS);
    add(&auxv, AT_PHDR, image->headers_vaddr != 0 ? program->bias + image->headers_vaddr : 0);
    add(&auxv, AT_PHENT, sizeof(struct elf64_phdr));
    add(&auxv, AT_PHNUM, image->header_count);
    add(&auxv, AT_BASE, program->interpreter_image != NULL ? program->interpreter_bias : 0);
    add(&auxv, AT_FLAGS, 0);
    add(&auxv, AT_ENTRY, program->bias + image->entry);
    add(&auxv, AT_UID, cred->uid);
    add(&auxv, AT_EUID, cred->euid);
    add(&auxv, AT_GID, cred->gid);
    add(&auxv, AT_EGID, cred->egid);
    add(&auxv, AT_SECURE, secure);
    add(&auxv, AT_RANDOM, random);
    add(&auxv, AT_HWCAP2, arch_hwcap2());
    add(&auxv, AT_EXECFN, path);
    add(&auxv, AT_PLATFORM, platform);
    add(&auxv, AT_NULL, 0);
    assert(auxv.count <= ARRAY_SIZE(program->space->auxv));
    return auxv.count;
}

// Pointers to `count` strings that lie at *string in user memory and *kernel here; both go on
// behind them. The NULL too.
static int put_pointers(uintptr_t *to, const char **kernel, uintptr_t *string, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (user_put_u64(*to, *string) != 0)
            return -EFAULT;
        size_t len = strlen(*kernel) + 1;
        *kernel += len;
        *string += len;
        *to += sizeof(uintptr_t);
    }
    if (user_put_u64(*to, 0) != 0)
        return -EFAULT;
    *to += sizeof(uintptr_t);
    return 0;
}

int elf_fill_stack(const struct exec_program *program, const struct exec_arguments *arguments,
    bool secure, uintptr_t *rsp)
{
    struct {
        uint8_t random[16];
        char platform[8];
    } extra = {.platform = PLATFORM};
    random_fill(extra.random, sizeof(extra.random));

    uintptr_t strings = program->stack_top - sizeof(uintptr_t) - arguments->len_bytes;
    uintptr_t extra_at = ALIGN_DOWN(strings - sizeof(extra), 16);
    // The path is the last of the strings.
    const char *last = arguments->strings + arguments->len_bytes - 1;
    while (last > arguments->strings && last[-1] != '\0')
        last--;
    uintptr_t path = strings + (uintptr_t)(last - arguments->strings);
    uint32_t auxv_words =
        fill_auxv(program, secure, extra_at, extra_at + offsetof(typeof(extra), platform), path);
    size_t words =
        1 + (size_t)arguments->argument_count + 1 + arguments->environment_count + 1 + auxv_words;
    uintptr_t start = ALIGN_DOWN(extra_at - words * sizeof(uint64_t), 16);

    if (copy_to_user(strings, arguments->strings, arguments->len_bytes) != 0 ||
        copy_to_user(extra_at, &extra, sizeof(extra)) != 0 ||
        user_put_u64(start, arguments->argument_count) != 0)
        return -EFAULT;
    uintptr_t to = start + sizeof(uint64_t);
    const char *kernel = arguments->strings;
    struct address_space *space = program->space;
    space->arg_start = strings;
    if (put_pointers(&to, &kernel, &strings, arguments->argument_count) != 0)
        return -EFAULT;
    space->arg_end = strings;
    space->env_start = strings;
    if (put_pointers(&to, &kernel, &strings, arguments->environment_count) != 0)
        return -EFAULT;
    space->env_end = strings;
    if (copy_to_user(to, space->auxv, auxv_words * sizeof(uint64_t)) != 0)
        return -EFAULT;
    *rsp = start;
    return 0;
}
