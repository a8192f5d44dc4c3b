// SPDX-License-Identifier: MIT
// What a controller says about itself and its namespaces, checked once; and what its status codes
// mean. Pure.
#pragma once

#include "kernel/base/types.h"

// From the capabilities register (base specification 2.0, 3.1.3.1).
struct nvme_capabilities {
    uint32_t entries_max;           // of a queue
    uint32_t doorbell_stride_bytes; // 4 or more
    uint64_t ready_timeout_ns;
};
// 0; -EOPNOTSUPP: no NVM command set, or no pages of 4 KiB; -EINVAL: contradicts itself.
[[nodiscard]] int nvme_capabilities_parse(uint64_t value, struct nvme_capabilities *capabilities);

// From identify, controller (5.17.2.1).
struct nvme_controller_facts {
    uint32_t max_sectors; // of 512 bytes, of a transfer; 0: no limit
    bool write_cache;     // volatile
    bool deallocate, write_zeroes;
    bool sgl;             // commands' data may be described so
    bool doorbell_buffer; // shadow doorbells
    char serial[21], model[41], firmware[9];
};
// `page`: 4096 bytes, as the controller wrote them; not changed by it any more.
// -EINVAL: entries of queues are not those that everybody has.
[[nodiscard]] int nvme_controller_parse(const void *page, struct nvme_controller_facts *facts);

// From identify, namespace (NVM command set specification 1.0, 4.1.5.1).
struct nvme_namespace_facts {
    uint64_t sector_count; // of 512 bytes
    uint32_t block_shift;  // of its logical blocks: 9 to 12
    uint32_t discard_granularity_bytes, io_opt_bytes;
    bool read_only;
};
// -ENODEV: there is no such namespace; -EOPNOTSUPP: its blocks are larger than a page, have
// metadata or protection; -EINVAL: contradicts itself; -EFBIG.
[[nodiscard]] int nvme_namespace_parse(const void *page, struct nvme_namespace_facts *facts);

// Copies the ids of active namespaces from their list (5.17.2.2): strictly ascending, as many as
// `max`. How many, or -EINVAL.
[[nodiscard]] int nvme_namespace_list_parse(const void *page, uint32_t *ids, uint32_t max);

// A completion's status as an errno, which Linux gives for it: 0 or negative.
int nvme_status_errno(uint16_t status);
// Is it worth another try, because of what happened to the controller and not to the data?
bool nvme_status_is_transient(uint16_t status);
