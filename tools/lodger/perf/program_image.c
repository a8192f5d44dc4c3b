// SPDX-License-Identifier: MIT
//
// Symbols sorted by address, and the caller of a function that has no frame.
//
// Compilers leave the frame pointer alone in leaf functions, and in every function there are a few
// instructions before it is set and after it is restored. A chain of frame pointers then begins
// with the caller's caller. The call frame information says for each instruction where the
// canonical frame address (CFA) lies: the return address is the word below it. If that is RSP + 8
// or RSP + 16, it is one of the two words which the guest kept with the sample.
#include "tools/lodger/perf/program_image.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// DWARF's number of RSP on x86-64.
#define DWARF_RSP 7
// Answers that are remembered: a sampled program is hot in few places.
#define CACHE_ENTRIES 4096u

struct symbol {
    uint64_t start, end;
    const char *name; // in the ELF file's memory
};

struct leaf_entry {
    uint64_t address;
    uint8_t word; // 0, 1; 2: not a leaf there; 3: entry not used
};

struct program_image {
    int fd;
    Elf *elf;
    Dwarf *dwarf;
    Dwarf_CFI *eh_frame, *debug_frame;
    bool frames_opened;
    struct symbol *symbols;
    size_t symbol_count;
    struct leaf_entry leaves[CACHE_ENTRIES];
};

static int compare_symbols(const void *left, const void *right)
{
    const struct symbol *a = left, *b = right;
    return a->start < b->start ? -1 : a->start > b->start ? 1 : 0;
}

static void read_symbols(struct program_image *image, Elf_Scn *section, const GElf_Shdr *header)
{
    Elf_Data *data = elf_getdata(section, NULL);
    size_t count =
        data != NULL && header->sh_entsize > 0 ? header->sh_size / header->sh_entsize : 0;
    image->symbols = xmalloc((count + 1) * sizeof(image->symbols[0]));
    image->symbol_count = 0;
    for (size_t i = 0; i < count; i++) {
        GElf_Sym symbol;
        if (gelf_getsym(data, (int)i, &symbol) == NULL || symbol.st_shndx == SHN_UNDEF ||
            (GELF_ST_TYPE(symbol.st_info) != STT_FUNC &&
                GELF_ST_TYPE(symbol.st_info) != STT_NOTYPE)) {
            continue;
        }
        const char *name = elf_strptr(image->elf, header->sh_link, symbol.st_name);
        if (name != NULL && name[0] != '\0' && symbol.st_value != 0) {
            image->symbols[image->symbol_count++] =
                (struct symbol){symbol.st_value, symbol.st_value + symbol.st_size, name};
        }
    }
    qsort(image->symbols, image->symbol_count, sizeof(image->symbols[0]), compare_symbols);
}

// .symtab, else .dynsym.
static void open_symbols(struct program_image *image)
{
    static const uint32_t types[] = {SHT_SYMTAB, SHT_DYNSYM};
    for (size_t i = 0; i < 2 && image->symbol_count == 0; i++) {
        Elf_Scn *section = NULL;
        while ((section = elf_nextscn(image->elf, section)) != NULL) {
            GElf_Shdr header;
            if (gelf_getshdr(section, &header) != NULL && header.sh_type == types[i]) {
                free(image->symbols);
                read_symbols(image, section, &header);
                break;
            }
        }
    }
}

struct program_image *program_image_open(const char *path)
{
    elf_version(EV_CURRENT);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return NULL;
    }
    Elf *elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
    GElf_Ehdr header;
    if (elf == NULL || elf_kind(elf) != ELF_K_ELF || gelf_getehdr(elf, &header) == NULL ||
        header.e_machine != EM_X86_64) {
        elf_end(elf);
        close(fd);
        return NULL;
    }
    struct program_image *image = xmalloc(sizeof(*image));
    *image = (struct program_image){.fd = fd, .elf = elf};
    for (size_t i = 0; i < CACHE_ENTRIES; i++) {
        image->leaves[i].word = 3;
    }
    open_symbols(image);
    return image;
}

void program_image_close(struct program_image *image)
{
    if (image == NULL) {
        return;
    }
    if (image->eh_frame != NULL) {
        dwarf_cfi_end(image->eh_frame);
    }
    dwarf_end(image->dwarf); // with its own CFI
    elf_end(image->elf);
    close(image->fd);
    free(image->symbols);
    free(image);
}

const char *program_image_symbol(
    const struct program_image *image, uint64_t address, uint64_t *offset)
{
    size_t low = 0, high = image->symbol_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (image->symbols[middle].start <= address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    // Of several at one address, and of those before it, the nearest that holds it.
    for (size_t i = low; i > 0 && low - i < 8; i--) {
        const struct symbol *symbol = &image->symbols[i - 1];
        if (address < symbol->end || (symbol->end == symbol->start && i == low)) {
            *offset = address - symbol->start;
            return symbol->name;
        }
    }
    return NULL;
}

bool program_image_find(const struct program_image *image, const char *name, uint64_t *address)
{
    for (size_t i = 0; i < image->symbol_count; i++) {
        if (strcmp(image->symbols[i].name, name) == 0) {
            *address = image->symbols[i].start;
            return true;
        }
    }
    return false;
}

bool program_image_address(
    const struct program_image *image, uint64_t file_offset, uint64_t *address)
{
    size_t count = 0;
    if (elf_getphdrnum(image->elf, &count) != 0) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        GElf_Phdr header;
        if (gelf_getphdr(image->elf, (int)i, &header) != NULL && header.p_type == PT_LOAD &&
            file_offset >= header.p_offset && file_offset - header.p_offset < header.p_filesz) {
            *address = file_offset - header.p_offset + header.p_vaddr;
            return true;
        }
    }
    return false;
}

static void open_frames(struct program_image *image)
{
    image->frames_opened = true;
    image->eh_frame = dwarf_getcfi_elf(image->elf);
    image->dwarf = dwarf_begin_elf(image->elf, DWARF_C_READ, NULL);
    image->debug_frame = image->dwarf != NULL ? dwarf_getcfi(image->dwarf) : NULL;
}

// Which of the two words at RSP is the return address; 2: neither.
static uint8_t find_word(Dwarf_CFI *cfi, uint64_t address)
{
    Dwarf_Frame *frame = NULL;
    if (cfi == NULL || dwarf_cfi_addrframe(cfi, address, &frame) != 0) {
        return 2;
    }
    Dwarf_Op *ops = NULL;
    size_t count = 0;
    uint8_t word = 2;
    if (dwarf_frame_cfa(frame, &ops, &count) == 0 && count == 1 &&
        ((ops[0].atom == DW_OP_bregx && ops[0].number == DWARF_RSP) ||
            ops[0].atom == DW_OP_breg0 + DWARF_RSP)) {
        uint64_t offset = ops[0].atom == DW_OP_bregx ? ops[0].number2 : ops[0].number;
        word = offset == 8 ? 0 : offset == 16 ? 1 : 2;
    }
    free(frame);
    return word;
}

bool program_image_leaf_caller(
    struct program_image *image, uint64_t address, const uint64_t words[2], uint64_t *caller)
{
    struct leaf_entry *entry = &image->leaves[(address * 0x9e3779b97f4a7c15ull) >> 52];
    if (entry->word == 3 || entry->address != address) {
        if (!image->frames_opened) {
            open_frames(image);
        }
        uint8_t word = find_word(image->eh_frame, address);
        word = word == 2 ? find_word(image->debug_frame, address) : word;
        *entry = (struct leaf_entry){address, word};
    }
    if (entry->word >= 2) {
        return false;
    }
    *caller = words[entry->word];
    return true;
}
