// SPDX-License-Identifier: MIT
// PRP and SGL lists. See data.h.

#include "kernel/nvme/data.h"

#include "kernel/base/assert.h"

#include <linux/errno.h>

struct nvme_data nvme_data_begin(struct nvme_command *command, void *list, uint64_t list_phys,
    uint32_t list_bytes, bool uses_sgl)
{
    assert(IS_ALIGNED(list_phys, sizeof(struct nvme_sgl)));
    assert(list_phys % PAGE_SIZE + list_bytes <= PAGE_SIZE);
    command->prp1 = command->prp2 = 0;
    return (struct nvme_data){
        .command = command,
        .list = list,
        .list_phys = list_phys,
        .capacity = list_bytes / (uses_sgl ? sizeof(struct nvme_sgl) : sizeof(uint64_t)),
        .uses_sgl = uses_sgl,
    };
}

static int add_sgl(struct nvme_data *data, uint64_t phys, uint32_t len_bytes)
{
    if (data->count == data->capacity)
        return -E2BIG;
    struct nvme_sgl *descriptors = data->list;
    descriptors[data->count++] =
        (struct nvme_sgl){.address = phys, .len_bytes = len_bytes, .type = NVME_SGL_DATA};
    return 0;
}

// 4.1.1: the first entry may begin within a page, the others are whole pages but for the end.
static int add_prp(struct nvme_data *data, uint64_t phys, uint32_t len_bytes)
{
    uint64_t *addresses = data->list;
    bool is_first = data->end == 0;
    if (phys % 4 != 0 || (!is_first && (data->end % PAGE_SIZE != 0 || phys % PAGE_SIZE != 0)))
        return -EINVAL;
    data->end = phys + len_bytes;
    if (is_first) {
        data->command->prp1 = phys;
        phys = ALIGN_DOWN(phys, PAGE_SIZE) + PAGE_SIZE;
    }
    for (; phys < data->end; phys += PAGE_SIZE) {
        if (data->count == data->capacity)
            return -E2BIG;
        addresses[data->count++] = phys;
    }
    return 0;
}

int nvme_data_add(struct nvme_data *data, uint64_t phys, uint32_t len_bytes)
{
    assert(len_bytes != 0);
    return data->uses_sgl ? add_sgl(data, phys, len_bytes) : add_prp(data, phys, len_bytes);
}

void nvme_data_end(struct nvme_data *data)
{
    struct nvme_command *command = data->command;
    if (!data->uses_sgl) {
        if (data->count == 1)
            command->prp2 = *(uint64_t *)data->list;
        else if (data->count > 1)
            command->prp2 = data->list_phys;
        return;
    }
    assert(data->count != 0);
    command->flags |= NVME_FLAG_SGL;
    if (data->count == 1)
        command->sgl = *(struct nvme_sgl *)data->list;
    else
        command->sgl = (struct nvme_sgl){.address = data->list_phys,
            .len_bytes = data->count * (uint32_t)sizeof(struct nvme_sgl),
            .type = NVME_SGL_LAST_SEGMENT};
}

uint32_t nvme_data_list_bytes(uint32_t segments, uint64_t len_bytes, bool uses_sgl)
{
    if (uses_sgl)
        return segments * (uint32_t)sizeof(struct nvme_sgl);
    // One page more than the length has, if it begins within one.
    return (uint32_t)(len_bytes / PAGE_SIZE + 1) * (uint32_t)sizeof(uint64_t);
}
