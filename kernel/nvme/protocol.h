// SPDX-License-Identifier: MIT
// What goes through NVMe's queues: the entries that the controller and we lay out alike. Everything
// else of the interface (registers, opcodes, identify pages, status codes) is in <nvme/types.h>,
// which has no structure for these (docs/decisions/0051-nvme.md).
//
// Sections are those of the NVM Express base specification, revision 2.0.
#pragma once

#include "kernel/base/types.h"

// 4.1.2: an SGL descriptor.
struct nvme_sgl {
    uint64_t address;
    uint32_t len_bytes;
    uint8_t reserved[3];
    uint8_t type; // NVME_SGL_*
};
static_assert(sizeof(struct nvme_sgl) == 16);

#define NVME_SGL_DATA         0x00 // data block, by address
#define NVME_SGL_LAST_SEGMENT 0x30 // the descriptors lie there, and there are no more behind them

// 3.3.3.1: a submission queue entry.
struct nvme_command {
    uint8_t opcode;
    uint8_t flags; // NVME_FLAG_*
    uint16_t id;
    uint32_t nsid;
    uint32_t cdw2, cdw3;
    uint64_t metadata;
    union {
        struct {
            uint64_t prp1, prp2;
        };
        struct nvme_sgl sgl;
    };
    uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};
static_assert(sizeof(struct nvme_command) == 64);
static_assert(offsetof(struct nvme_command, prp1) == 24);
static_assert(offsetof(struct nvme_command, cdw10) == 40);

#define NVME_FLAG_SGL 0x40 // PSDT: the data pointer is an SGL, metadata are contiguous

// 3.3.3.2: a completion queue entry.
struct nvme_completion {
    uint32_t result;
    uint32_t result_high;
    uint16_t sq_head;
    uint16_t sq_id;
    uint16_t id;
    uint16_t status; // bit 0: phase tag
};
static_assert(sizeof(struct nvme_completion) == 16);
static_assert(offsetof(struct nvme_completion, status) == 14);

#define NVME_COMMAND_SHIFT    6 // sizes as powers of two, for the controller's configuration
#define NVME_COMPLETION_SHIFT 4

#define NVME_DOORBELLS               0x1000 // 3.1.1: where they begin, in the register's region
#define NVME_REGISTERS_BYTES         0x1000
#define NVME_QUEUE_CONTIGUOUS        0x1     // 5.4, 5.5: create queue, PC
#define NVME_QUEUE_INTERRUPTS        0x2     // 5.4: IEN
#define NVME_WRITE_ZEROES_DEALLOCATE BIT(25) // NVM command set 3.2.8: DEAC, in command dword 12
#define NVME_FUA                     BIT(30) // NVM command set 3.2.4, 3.2.6: in command dword 12
