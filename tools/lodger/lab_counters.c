// SPDX-License-Identifier: MIT
//
// What a guest has cost its host: the histograms that tools/lab/host/kvm-init prints at its end.
#include "tools/lodger/lab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Codes of exits: AMD64 Architecture Programmer's Manual, volume 2, appendix C.
static const struct {
    unsigned code;
    const char *name;
} reasons[] = {
    {0x00, "read of CR0"},
    {0x04, "read of CR4"},
    {0x10, "write to CR0"},
    {0x14, "write to CR4"},
    {0x4e, "page fault"},
    {0x60, "interrupt of the host"},
    {0x61, "NMI"},
    {0x64, "interrupt window"},
    {0x65, "write to CR0, not only its TS and MP"},
    {0x72, "CPUID"},
    {0x77, "PAUSE"},
    {0x78, "HLT"},
    {0x7b, "port"},
    {0x7c, "MSR"},
    {0x81, "hypercall"},
    {0x8d, "XSETBV"},
    {0x400, "memory that the host maps or emulates"},
};

static const struct {
    unsigned index;
    const char *name;
} registers[] = {
    {0x6e0, "TSC deadline"},
    {0x80b, "end of interrupt"},
    {0x830, "interrupt command"},
    {0x838, "timer's initial count"},
    {0x83f, "interrupt to itself"},
};

static const char *reason_name(unsigned code)
{
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (reasons[i].code == code) {
            return reasons[i].name;
        }
    }
    return "";
}

static const char *register_name(unsigned index)
{
    for (size_t i = 0; i < sizeof(registers) / sizeof(registers[0]); i++) {
        if (registers[i].index == index) {
            return registers[i].name;
        }
    }
    return "";
}

// Exits of all vCPUs, by reason.
#define REASONS_MAX 0x1000
static unsigned long long exits[REASONS_MAX];

// One line of a histogram: "{ exit_reason: 120, vcpu_id: 1 } hitcount: 17", or with ecx instead.
static void read_line(const char *line)
{
    static const char reason_mark[] = "exit_reason:";
    static const char register_mark[] = "ecx:";
    const char *hits = strstr(line, "hitcount:");
    const char *reason = strstr(line, reason_mark);
    const char *index = strstr(line, register_mark);
    unsigned long long count = hits != NULL ? strtoull(strchr(hits, ':') + 1, NULL, 10) : 0;
    if (count != 0 && reason != NULL) {
        unsigned long code = strtoul(reason + sizeof(reason_mark) - 1, NULL, 10);
        exits[code < REASONS_MAX ? code : REASONS_MAX - 1] += count;
    } else if (count != 0 && index != NULL) {
        unsigned msr = (unsigned)strtoul(index + sizeof(register_mark) - 1, NULL, 10);
        fprintf(stderr, "%10llu  writes %#10x  %s\n", count, msr, register_name(msr));
    }
}

void lab_counters_print(const struct buffer *control)
{
    char *text = xstrndup((const char *)control->data, control->len_bytes);
    char *rest = strstr(text, "=total\n");
    char *line;
    if (rest == NULL) {
        warn("--counters: there are none: the guest did not run in a lab, or its host was stopped");
    }
    while (rest != NULL && (line = strsep(&rest, "\n")) != NULL) {
        read_line(line);
    }
    for (unsigned code = 0; code < REASONS_MAX; code++) {
        if (exits[code] != 0) {
            fprintf(stderr, "%10llu  exits  %#6x  %s\n", exits[code], code, reason_name(code));
        }
    }
    free(text);
}
