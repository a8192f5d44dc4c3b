// SPDX-License-Identifier: MIT
//
// Symbolising with libdw.
#include "tools/lodger/symbols.h"

#include <ctype.h>
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The kernel image's part of the address space (the top 2 GiB).
#define KERNEL_IMAGE_BASE 0xffffffff80000000ull

struct symbols {
    Dwfl *dwfl;
};

struct symbols *symbols_open(const char *path)
{
    static const Dwfl_Callbacks callbacks = {
        .find_elf = dwfl_build_id_find_elf,
        .find_debuginfo = dwfl_standard_find_debuginfo,
        .section_address = dwfl_offline_section_address,
    };
    Dwfl *dwfl = dwfl_begin(&callbacks);
    if (dwfl == NULL) {
        return NULL;
    }
    dwfl_report_begin(dwfl);
    Dwfl_Module *module = dwfl_report_elf(dwfl, "kernel", path, -1, 0, false);
    if (module == NULL || dwfl_report_end(dwfl, NULL, NULL) != 0) {
        dwfl_end(dwfl);
        return NULL;
    }
    struct symbols *symbols = xmalloc(sizeof(*symbols));
    symbols->dwfl = dwfl;
    return symbols;
}

void symbols_close(struct symbols *symbols)
{
    if (symbols != NULL) {
        dwfl_end(symbols->dwfl);
        free(symbols);
    }
}

static const char *function_name(Dwarf_Die *die)
{
    Dwarf_Attribute attribute;
    const char *name = dwarf_formstring(dwarf_attr_integrate(die, DW_AT_linkage_name, &attribute));
    return name != NULL ? name : dwarf_diename(die);
}

// The compilation unit that holds the address. libdw's own look-up trusts .debug_aranges, in which
// clang lists nothing.
static Dwarf_Die *find_unit(Dwfl_Module *module, uint64_t address, Dwarf_Addr *bias)
{
    Dwarf_Die *unit = dwfl_module_addrdie(module, address, bias);
    if (unit != NULL) {
        return unit;
    }
    while ((unit = dwfl_module_nextcu(module, unit, bias)) != NULL) {
        if (dwarf_haspc(unit, address - *bias) > 0) {
            return unit;
        }
    }
    return NULL;
}

// Appends the functions that are inlined at the address, innermost first.
static void add_inlined(struct buffer *text, Dwarf_Die *unit, uint64_t address)
{
    Dwarf_Die *scopes = NULL;
    int count = unit != NULL ? dwarf_getscopes(unit, address, &scopes) : 0;
    for (int i = 0; i < count; i++) {
        if (dwarf_tag(&scopes[i]) == DW_TAG_inlined_subroutine) {
            const char *name = function_name(&scopes[i]);
            if (name != NULL) {
                buffer_add(text, name, strlen(name));
                buffer_add(text, " < ", 3);
            }
        } else if (dwarf_tag(&scopes[i]) == DW_TAG_subprogram) {
            break;
        }
    }
    free(scopes);
}

// Paths are relative to the folder of the build.
static const char *path_in_tree(const char *file)
{
    const char *up = strstr(file, "../../");
    return up != NULL ? up + strlen("../../") : file;
}

char *symbols_describe(struct symbols *symbols, uint64_t address)
{
    Dwfl_Module *module = dwfl_addrmodule(symbols->dwfl, address);
    if (module == NULL) {
        return NULL;
    }
    GElf_Off offset = 0;
    GElf_Sym symbol;
    const char *name = dwfl_module_addrinfo(module, address, &offset, &symbol, NULL, NULL, NULL);
    if (name == NULL) {
        return NULL;
    }
    struct buffer text = {};
    Dwarf_Addr bias = 0;
    Dwarf_Die *unit = find_unit(module, address, &bias);
    add_inlined(&text, unit, address - bias);
    // Link-time optimisation makes names unique with a suffix that says nothing.
    const char *suffix = strstr(name, ".llvm.");
    int name_len = suffix != NULL ? (int)(suffix - name) : (int)strlen(name);
    char *function = xasprintf("%.*s+%#llx", name_len, name, (unsigned long long)offset);
    buffer_add(&text, function, strlen(function));
    free(function);
    Dwarf_Line *line = unit != NULL ? dwarf_getsrc_die(unit, address - bias) : NULL;
    const char *file = line != NULL ? dwarf_linesrc(line, NULL, NULL) : NULL;
    int line_number = 0;
    if (file != NULL && dwarf_lineno(line, &line_number) == 0 && line_number > 0) {
        char *place = xasprintf(" (%s:%d)", path_in_tree(file), line_number);
        buffer_add(&text, place, strlen(place));
        free(place);
    }
    buffer_add(&text, "", 1);
    return (char *)text.data;
}

// Whether the address at `at` belongs to a call chain: "#N " stands before it.
static bool is_return_address(const char *line, const char *at)
{
    const char *mark = line + strspn(line, " \t");
    return *mark == '#' && isdigit((unsigned char)mark[1]) && mark < at;
}

// Appends one line with a description after each address in it.
static void annotate_line(
    struct symbols *symbols, const char *line, size_t len_bytes, struct buffer *result)
{
    const char *end = line + len_bytes;
    const char *at = line;
    while (at < end) {
        if (!isxdigit((unsigned char)*at) ||
            (at > line && isalnum((unsigned char)at[-1]) && at[-1] != 'x')) {
            buffer_add(result, at++, 1);
            continue;
        }
        size_t digits = strspn(at, "0123456789abcdefABCDEF");
        digits = digits > (size_t)(end - at) ? (size_t)(end - at) : digits;
        buffer_add(result, at, digits);
        uint64_t address = digits == 16 ? strtoull(at, NULL, 16) : 0;
        if (address >= KERNEL_IMAGE_BASE) {
            // The first entry of a chain may be the place itself; an address one lower is in the
            // same line there.
            uint64_t place = is_return_address(line, at) ? address - 1 : address;
            char *description = symbols_describe(symbols, place);
            if (description != NULL) {
                buffer_add(result, " ", 1);
                buffer_add(result, description, strlen(description));
                free(description);
            }
        }
        at += digits;
    }
}

char *symbols_annotate(struct symbols *symbols, const char *text)
{
    struct buffer result = {};
    while (*text != '\0') {
        size_t len_bytes = strcspn(text, "\n");
        annotate_line(symbols, text, len_bytes, &result);
        text += len_bytes;
        if (*text == '\n') {
            buffer_add(&result, "\n", 1);
            text++;
        }
    }
    buffer_add(&result, "", 1);
    return (char *)result.data;
}
