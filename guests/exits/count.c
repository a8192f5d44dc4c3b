// SPDX-License-Identifier: MIT
//
// Counts the exits in a growing file of xentrace: runs in the dom0 of the Xen lab.
//
//   exits_count TRACE PORT TRACER ARGUMENTS
//
// At the first line "sample" on PORT it starts TRACER, which writes TRACE. For each such line it
// says there how often each exit reason and each write of an MSR has come so far, in the form in
// which KVM's trace histograms say it (tools/lodger/lab_exits.c):
//
//   exit_reason: N hitcount: TIMES
//   ecx: N hitcount: TIMES
//   =end
//
// Where Xen had no room for a record, or there is no trace, it says "=lost" instead and ends. The
// format of the records is that of <xen/trace.h>: a header word, the TSC if the header says so, and
// up to seven words.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xen/trace.h>

#define EXTRA_MAX   7
#define FLUSH_NS    400000000 // xentrace writes every 50 ms
#define START_TRIES 50
#define REASONS     0x10000
#define MSRS        0x10000 // those of the local APIC are among the first

static uint64_t reasons[REASONS];
static uint64_t msrs[MSRS];
static bool lost;

static uint32_t header_event(uint32_t header)
{
    return header & 0x0fffffff;
}

static uint32_t header_extra(uint32_t header)
{
    return header >> 28 & 7;
}

static int header_has_time(uint32_t header)
{
    return (int)(header >> 31);
}

static void record_use(uint32_t event, const uint32_t *extra, uint32_t count)
{
    lost = lost || event == TRC_LOST_RECORDS;
    if (count == 0) {
        return;
    }
    if ((event == TRC_HVM_VMEXIT || event == TRC_HVM_VMEXIT64) && extra[0] < REASONS) {
        reasons[extra[0]]++;
    } else if (event == TRC_HVM_MSR_WRITE && extra[0] < MSRS) {
        msrs[extra[0]]++;
    }
}

// Uses the whole records that have come since the last call.
static void trace_read(FILE *trace)
{
    for (;;) {
        long start = ftell(trace);
        uint32_t header;
        uint32_t words[2 + EXTRA_MAX];
        size_t time_words;
        if (fread(&header, sizeof(header), 1, trace) == 1) {
            time_words = header_has_time(header) ? 2 : 0;
            size_t count = time_words + header_extra(header);
            if (fread(words, sizeof(words[0]), count, trace) == count) {
                record_use(header_event(header), words + time_words, header_extra(header));
                continue;
            }
        }
        clearerr(trace);
        fseek(trace, start, SEEK_SET);
        return;
    }
}

static void answer(FILE *port)
{
    for (uint32_t i = 0; i < REASONS; i++) {
        if (reasons[i] != 0) {
            fprintf(port, "exit_reason: %u hitcount: %llu\n", i, (unsigned long long)reasons[i]);
        }
    }
    for (uint32_t i = 0; i < MSRS; i++) {
        if (msrs[i] != 0) {
            fprintf(port, "ecx: %u hitcount: %llu\n", i, (unsigned long long)msrs[i]);
        }
    }
    fputs("=end\n", port);
    fflush(port);
}

// Starts the tracer, and waits until its file is there.
static FILE *trace_start(const char *path, char **tracer)
{
    struct timespec flush = {0, FLUSH_NS};
    if (vfork() == 0) {
        execvp(tracer[0], tracer);
        _exit(127);
    }
    for (int i = 0; i < START_TRIES; i++) {
        FILE *trace = fopen(path, "rb");
        nanosleep(&flush, NULL);
        if (trace != NULL) {
            return trace;
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    char line[64];
    struct timespec flush = {0, FLUSH_NS};
    int port_fd = argc >= 4 ? open(argv[2], O_RDWR) : -1; // it can be opened once
    FILE *from = port_fd >= 0 ? fdopen(port_fd, "r") : NULL;
    FILE *to = port_fd >= 0 ? fdopen(dup(port_fd), "w") : NULL;
    if (from == NULL || to == NULL) {
        fputs("exits_count: usage: exits_count TRACE PORT TRACER ARGUMENTS\n", stderr);
        return 2;
    }
    FILE *trace = NULL;
    for (;;) {
        if (fgets(line, sizeof(line), from) == NULL) {
            clearerr(from);
            nanosleep(&flush, NULL);
            continue;
        }
        if (strncmp(line, "sample", 6) != 0) {
            continue;
        }
        trace = trace != NULL ? trace : trace_start(argv[1], argv + 3);
        nanosleep(&flush, NULL);
        if (trace != NULL) {
            trace_read(trace);
        }
        if (trace == NULL || lost) {
            fputs("=lost\n", to);
            fclose(to);
            return 1;
        }
        answer(to);
    }
}
