// SPDX-License-Identifier: MIT
//
// lodger options: the kernel's boot options, read out of the kernel's ELF file, where each is
// declared once (kernel/core/option.h). docs/options.md is this command's output; a test compares
// the two.
#include "tools/lodger/build.h"
#include "tools/lodger/commands.h"

#include <fcntl.h>
#include <getopt.h>
#include <libelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "usage: ./lodger options [--variant release|debug|kasan] [--kernel FILE] [--markdown]\n"
    "\n"
    "Prints the boot options of the kernel (for --append) with their documentation.\n";

// struct boot_option of kernel/core/option.h as the kernel's compiler lays it out.
struct option_in_kernel {
    uint64_t name;
    uint64_t documentation;
    uint32_t type;
    uint32_t padding;
    uint64_t value;
    uint64_t parse;
};
static_assert(sizeof(struct option_in_kernel) == 40);

static const char *const type_names[] = {"on or off", "number", "text", "see below"};

struct documented {
    const char *name;
    const char *documentation;
    uint32_t type;
};

struct kernel_image {
    struct buffer file;
    Elf64_Ehdr header;
};

static void read_at(
    const struct kernel_image *image, uint64_t offset, void *to, size_t len_bytes, const char *path)
{
    if (offset > image->file.len_bytes || image->file.len_bytes - offset < len_bytes) {
        die("%s is cut short", path);
    }
    memcpy(to, image->file.data + offset, len_bytes);
}

// The file's text at a virtual address, or "?".
static const char *text_at(const struct kernel_image *image, uint64_t address, const char *path)
{
    for (unsigned i = 0; i < image->header.e_phnum; i++) {
        Elf64_Phdr segment;
        read_at(
            image, image->header.e_phoff + i * sizeof(segment), &segment, sizeof(segment), path);
        if (segment.p_type != PT_LOAD || address < segment.p_vaddr ||
            address - segment.p_vaddr >= segment.p_filesz) {
            continue;
        }
        uint64_t offset = segment.p_offset + (address - segment.p_vaddr);
        if (offset < image->file.len_bytes &&
            memchr(image->file.data + offset, 0, image->file.len_bytes - offset) != NULL) {
            return (const char *)image->file.data + offset;
        }
    }
    return "?";
}

// The address that a symbol has, or 0.
static uint64_t symbol_address(
    const struct kernel_image *image, const char *wanted, const char *path)
{
    for (unsigned i = 0; i < image->header.e_shnum; i++) {
        Elf64_Shdr section, strings;
        read_at(
            image, image->header.e_shoff + i * sizeof(section), &section, sizeof(section), path);
        if (section.sh_type != SHT_SYMTAB) {
            continue;
        }
        read_at(image, image->header.e_shoff + section.sh_link * sizeof(strings), &strings,
            sizeof(strings), path);
        for (uint64_t at = 0; at + sizeof(Elf64_Sym) <= section.sh_size; at += sizeof(Elf64_Sym)) {
            Elf64_Sym symbol;
            char name[32] = "";
            read_at(image, section.sh_offset + at, &symbol, sizeof(symbol), path);
            if (symbol.st_name + sizeof(name) <= strings.sh_size) {
                read_at(image, strings.sh_offset + symbol.st_name, name, sizeof(name), path);
            }
            if (strncmp(name, wanted, strlen(wanted) + 1) == 0) {
                return symbol.st_value;
            }
        }
    }
    return 0;
}

static uint64_t file_offset(const struct kernel_image *image, uint64_t address, const char *path)
{
    for (unsigned i = 0; i < image->header.e_phnum; i++) {
        Elf64_Phdr segment;
        read_at(
            image, image->header.e_phoff + i * sizeof(segment), &segment, sizeof(segment), path);
        if (segment.p_type == PT_LOAD && address >= segment.p_vaddr &&
            address - segment.p_vaddr < segment.p_filesz) {
            return segment.p_offset + (address - segment.p_vaddr);
        }
    }
    die("%s has no address 0x%llx", path, (unsigned long long)address);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct documented *)a)->name, ((const struct documented *)b)->name);
}

static void print_plain(const struct documented *options, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        printf("%s (%s)\n    %s\n", options[i].name, type_names[options[i].type & 3],
            options[i].documentation);
    }
}

static void print_markdown(const struct documented *options, size_t count)
{
    puts("# Boot options\n\n"
         "Given to `./lodger run` with `--append`. This page is the output of `./lodger options "
         "--markdown`; each option is\n"
         "declared once, in the source, with the text that stands here.\n\n"
         "| option | value | what it does |\n| --- | --- | --- |");
    for (size_t i = 0; i < count; i++) {
        printf("| `%s` | %s | %s |\n", options[i].name, type_names[options[i].type & 3],
            options[i].documentation);
    }
}

static void print_options(const char *path, bool markdown)
{
    struct kernel_image image = {};
    int error = file_read(path, &image.file);
    if (error != 0) {
        die("cannot read %s: %s", path, strerror(-error));
    }
    read_at(&image, 0, &image.header, sizeof(image.header), path);
    uint64_t start = symbol_address(&image, "options_start", path);
    uint64_t end = symbol_address(&image, "options_end", path);
    if (memcmp(image.header.e_ident, ELFMAG, SELFMAG) != 0 || start == 0 || end < start) {
        die("%s is not a Lodger kernel", path);
    }
    size_t count = (end - start) / sizeof(struct option_in_kernel);
    struct documented *options = xmalloc((count + 1) * sizeof(*options));
    uint64_t offset = count != 0 ? file_offset(&image, start, path) : 0;
    for (size_t i = 0; i < count; i++) {
        struct option_in_kernel raw;
        read_at(&image, offset + i * sizeof(raw), &raw, sizeof(raw), path);
        options[i] = (struct documented){.name = text_at(&image, raw.name, path),
            .documentation = text_at(&image, raw.documentation, path),
            .type = raw.type};
    }
    qsort(options, count, sizeof(*options), compare_names);
    if (markdown) {
        print_markdown(options, count);
    } else {
        print_plain(options, count);
    }
}

int cmd_options(int argc, char **argv)
{
    static const struct option known[] = {{"variant", required_argument, NULL, 'v'},
        {"kernel", required_argument, NULL, 'k'}, {"markdown", no_argument, NULL, 'm'},
        {"help", no_argument, NULL, 'h'}, {}};
    const char *variant = "release";
    const char *kernel = NULL;
    bool markdown = false;
    int option;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case 'v':
            variant = optarg;
            break;
        case 'k':
            kernel = optarg;
            break;
        case 'm':
            markdown = true;
            break;
        case 'h':
            fputs(help, stdout);
            return 0;
        default:
            fputs(help, stderr);
            return EXIT_OWN_ERROR;
        }
    }
    if (strcmp(variant, "release") != 0 && strcmp(variant, "debug") != 0 &&
        strcmp(variant, "kasan") != 0) {
        die("unknown variant: %s (release, debug or kasan)", variant);
    }
    if (kernel == NULL) {
        build(variant, &(struct strings){});
        kernel = tree_path("out/%s/lodger.elf", variant);
    }
    print_options(kernel, markdown);
    return 0;
}
