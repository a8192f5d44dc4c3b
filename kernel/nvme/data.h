// SPDX-License-Identifier: MIT
// Where a command's data lie: PRP and SGL lists (base specification 2.0, 4.1). Pure.
//
//   struct nvme_data data = nvme_data_begin(&command, list, list_phys, list_bytes, uses_sgl);
//   for each segment: error = nvme_data_add(&data, phys, len_bytes);
//   nvme_data_end(&data);
#pragma once

#include "kernel/base/types.h"
#include "kernel/nvme/protocol.h"

// A list lies in one page, so that no list is ever continued in another one.
struct nvme_data {
    struct nvme_command *command;
    void *list; // memory for descriptors or addresses beyond what the command has room for
    uint64_t list_phys;
    uint32_t capacity; // entries of the list
    uint32_t count;    // entries in it
    bool uses_sgl;
    uint64_t end; // PRP: where the last segment ended; 0: there was none
};

// list_bytes: of memory that crosses no page boundary, and is aligned to 16 bytes.
struct nvme_data nvme_data_begin(struct nvme_command *command, void *list, uint64_t list_phys,
    uint32_t list_bytes, bool uses_sgl);
// Adds physically contiguous memory. 0; -E2BIG: the list has no room; -EINVAL: no PRP list can say
// this: all but the first segment begin at a page, all but the last end at one, and addresses are
// multiples of 4. After an error the command is not to be sent.
[[nodiscard]] int nvme_data_add(struct nvme_data *data, uint64_t phys, uint32_t len_bytes);
// Fills in the command's data pointer.
void nvme_data_end(struct nvme_data *data);
// Bytes of a list that is long enough for so many segments with so many bytes together.
uint32_t nvme_data_list_bytes(uint32_t segments, uint64_t len_bytes, bool uses_sgl);
