// SPDX-License-Identifier: MIT
//
// The layout of perf.data: what `perf record` writes and `perf report` reads, beyond the records
// that the kernel itself defines in <linux/perf_event.h>.
//
// No Debian package ships these constants in a header, so this is the one place where they stand
// (docs/decisions/0061-perf-data.md). Source: tools/perf/Documentation/perf.data-file-format.txt
// of Linux 6.1; section names in the comments are those of that text.
#pragma once

#include <linux/perf_event.h>
#include <stdint.h>

// "PERFILE2", little-endian. In pipe mode it is followed by the size 16 and by records only.
#define PERF_DATA_MAGIC 0x32454c4946524550ull

struct perf_data_section {
    uint64_t offset;
    uint64_t size_bytes;
};

// "Header" of the file: 104 bytes.
struct perf_data_header {
    uint64_t magic;
    uint64_t size_bytes;      // of this structure
    uint64_t attr_size_bytes; // of one entry of `attrs`
    struct perf_data_section attrs;
    struct perf_data_section data;
    struct perf_data_section event_types; // unused today
    uint64_t features[4];                 // bits: enum perf_data_feature
};
static_assert(sizeof(struct perf_data_header) == 104);

struct perf_data_pipe_header {
    uint64_t magic;
    uint64_t size_bytes;
};

// An entry of the attr section: the attribute, then the section of its ids.
struct perf_data_attr {
    struct perf_event_attr attr;
    struct perf_data_section ids;
};

// "Feature bits": for each bit that is set, in order, one perf_data_section stands at the end of
// the data section.
enum perf_data_feature {
    PERF_DATA_TRACING_DATA = 1,
    PERF_DATA_BUILD_ID = 2,
    PERF_DATA_HOSTNAME = 3,
    PERF_DATA_OSRELEASE = 4,
    PERF_DATA_VERSION = 5,
    PERF_DATA_ARCH = 6,
    PERF_DATA_NRCPUS = 7,
    PERF_DATA_CMDLINE = 11,
    PERF_DATA_SAMPLE_TIME = 21,
    PERF_DATA_CLOCKID = 23,
    PERF_DATA_CLOCK_DATA = 29,
};

// Records of user space ("PERF_RECORD_USER_TYPE_START").
enum perf_data_record {
    PERF_DATA_RECORD_ATTR = 64,
    PERF_DATA_RECORD_TRACING_DATA = 66,
    PERF_DATA_RECORD_BUILD_ID = 67,
    PERF_DATA_RECORD_FINISHED_ROUND = 68,
    PERF_DATA_RECORD_ID_INDEX = 69,
    PERF_DATA_RECORD_EVENT_UPDATE = 78,
    PERF_DATA_RECORD_FEATURE = 80,
    PERF_DATA_RECORD_FINISHED_INIT = 82,
};

// PERF_RECORD_EVENT_UPDATE: what is updated.
#define PERF_DATA_UPDATE_NAME 2

// Entries of PERF_RECORD_ID_INDEX; the guest parts follow all the others.
struct perf_data_id {
    uint64_t id;
    uint64_t index;
    uint64_t cpu;
    uint64_t tid;
};
struct perf_data_guest_id {
    uint64_t machine_pid; // 0: the host
    uint64_t vcpu;
};

// A record's size is 16 bits wide, and all are multiples of 8.
#define PERF_DATA_RECORD_MAX_BYTES 65528

// Strings of feature sections and paths of records are padded to this.
#define PERF_DATA_NAME_ALIGN 64
