// SPDX-License-Identifier: MIT
// What a controller says about itself. See identify.h.

#include "kernel/nvme/identify.h"

#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/nvme/protocol.h"

#include <linux/errno.h>
#include <nvme/types.h>

#define SECTOR_SHIFT     9
#define TIMEOUT_UNIT_NS  UINT64_C(500000000)
#define SECTORS_MAX      (UINT64_C(1) << 54)
#define MDTS_MAX         16 // 2^16 pages: more is no limit for us
#define BLOCK_SHIFT_MAX  12
#define NSATTR_PROTECTED BIT(0)

static_assert(sizeof(struct nvme_id_ctrl) == NVME_IDENTIFY_DATA_SIZE);
static_assert(sizeof(struct nvme_id_ns) == NVME_IDENTIFY_DATA_SIZE);
static_assert(offsetof(struct nvme_id_ctrl, sgls) == 536);
static_assert(offsetof(struct nvme_id_ns, lbaf) == 128);

int nvme_capabilities_parse(uint64_t value, struct nvme_capabilities *capabilities)
{
    if (!(NVME_CAP_CSS(value) & NVME_CAP_CSS_NVM) || NVME_CAP_MPSMIN(value) != 0)
        return -EOPNOTSUPP;
    capabilities->entries_max = (uint32_t)NVME_CAP_MQES(value) + 1;
    if (capabilities->entries_max < 2)
        return -EINVAL;
    capabilities->doorbell_stride_bytes = 4u << NVME_CAP_DSTRD(value);
    // Some say 0; nobody is ready in no time.
    capabilities->ready_timeout_ns = MAX(NVME_CAP_TO(value), 1ul) * TIMEOUT_UNIT_NS;
    return 0;
}

// Text of the specification has no end, and is padded with spaces.
static void copy_text(char *to, const char *from, size_t len)
{
    while (len != 0 && (from[len - 1] == ' ' || from[len - 1] == '\0'))
        len--;
    for (size_t i = 0; i < len; i++)
        to[i] = from[i] >= ' ' && from[i] <= '~' ? from[i] : '?';
    to[len] = '\0';
}

int nvme_controller_parse(const void *page, struct nvme_controller_facts *facts)
{
    const struct nvme_id_ctrl *from = page;
    // The lower half is what is required, the upper one what is possible.
    if ((from->sqes & 0xf) > NVME_COMMAND_SHIFT || from->sqes >> 4 < NVME_COMMAND_SHIFT ||
        (from->cqes & 0xf) > NVME_COMPLETION_SHIFT || from->cqes >> 4 < NVME_COMPLETION_SHIFT)
        return -EINVAL;
    *facts = (struct nvme_controller_facts){
        .write_cache = from->vwc & NVME_CTRL_VWC_PRESENT,
        .deallocate = from->oncs & NVME_CTRL_ONCS_DSM,
        .write_zeroes = from->oncs & NVME_CTRL_ONCS_WRITE_ZEROES,
        // 1: any alignment, 2: multiples of 4, which ours are.
        .sgl = (from->sgls & NVME_CTRL_SGLS_SUPPORTED) == 1 ||
               (from->sgls & NVME_CTRL_SGLS_SUPPORTED) == 2,
        .doorbell_buffer = from->oacs & NVME_CTRL_OACS_DBBUF_CFG,
    };
    // In units of the smallest page, which is 4 KiB.
    if (from->mdts != 0 && from->mdts <= MDTS_MAX)
        facts->max_sectors = (PAGE_SIZE >> SECTOR_SHIFT) << from->mdts;
    copy_text(facts->serial, from->sn, sizeof(from->sn));
    copy_text(facts->model, from->mn, sizeof(from->mn));
    copy_text(facts->firmware, from->fr, sizeof(from->fr));
    return 0;
}

int nvme_namespace_parse(const void *page, struct nvme_namespace_facts *facts)
{
    const struct nvme_id_ns *from = page;
    if (from->nsze == 0)
        return -ENODEV;
    uint32_t index = from->flbas & NVME_NS_FLBAS_LOWER_MASK;
    if (from->nlbaf > 15) // only then the upper bits mean something
        index |= (from->flbas & NVME_NS_FLBAS_HIGHER_MASK) >> 1;
    if (index > from->nlbaf || index >= ARRAY_SIZE(from->lbaf) || from->ncap > from->nsze)
        return -EINVAL;
    const struct nvme_lbaf *format = &from->lbaf[index];
    if (format->ds < SECTOR_SHIFT)
        return -EINVAL;
    if (format->ms != 0 || format->ds > BLOCK_SHIFT_MAX || from->dps != 0)
        return -EOPNOTSUPP;
    uint32_t shift = format->ds - SECTOR_SHIFT;
    if (from->nsze > SECTORS_MAX >> shift)
        return -EFBIG;
    *facts = (struct nvme_namespace_facts){
        .sector_count = from->nsze << shift,
        .block_shift = format->ds,
        .read_only = from->nsattr & NSATTR_PROTECTED,
        .discard_granularity_bytes = 1u << format->ds,
    };
    if (from->nsfeat & NVME_NS_FEAT_IO_OPT) {
        // Counts that begin with 0, of blocks.
        facts->discard_granularity_bytes = (from->npdg + 1u) << format->ds;
        if (from->nows != 0)
            facts->io_opt_bytes = (from->nows + 1u) << format->ds;
    }
    return 0;
}

int nvme_namespace_list_parse(const void *page, uint32_t *ids, uint32_t max)
{
    const struct nvme_ns_list *list = page;
    uint32_t count = 0, last = 0;
    while (count < max && count < NVME_ID_NS_LIST_MAX && list->ns[count] != 0) {
        if (list->ns[count] <= last)
            return -EINVAL;
        last = ids[count] = list->ns[count];
        count++;
    }
    return (int)count;
}

static uint16_t type_and_code(uint16_t status)
{
    return status & (NVME_SCT_MASK << NVME_SCT_SHIFT | NVME_SC_MASK);
}

#define GENERIC(code)  (NVME_SCT_GENERIC << NVME_SCT_SHIFT | (code))
#define SPECIFIC(code) (NVME_SCT_CMD_SPECIFIC << NVME_SCT_SHIFT | (code))
#define MEDIA(code)    (NVME_SCT_MEDIA << NVME_SCT_SHIFT | (code))
#define PATH(code)     (NVME_SCT_PATH << NVME_SCT_SHIFT | (code))

int nvme_status_errno(uint16_t status)
{
    switch (type_and_code(status)) {
    case GENERIC(NVME_SC_SUCCESS):
        return 0;
    case GENERIC(NVME_SC_CAP_EXCEEDED):
        return -ENOSPC;
    case GENERIC(NVME_SC_LBA_RANGE):
    case GENERIC(NVME_SC_CMD_INTERRUPTED):
    case GENERIC(NVME_SC_NS_NOT_READY):
        return -EREMOTEIO;
    case GENERIC(NVME_SC_INVALID_OPCODE):
    case GENERIC(NVME_SC_INVALID_FIELD):
    case GENERIC(NVME_SC_INVALID_NS):
    case SPECIFIC(NVME_SC_BAD_ATTRIBUTES):
        return -EOPNOTSUPP;
    case MEDIA(NVME_SC_WRITE_FAULT):
    case MEDIA(NVME_SC_READ_ERROR):
    case MEDIA(NVME_SC_UNWRITTEN_BLOCK):
    case MEDIA(NVME_SC_ACCESS_DENIED):
    case MEDIA(NVME_SC_COMPARE_FAILED):
    case SPECIFIC(NVME_SC_READ_ONLY):
        return -ENODATA;
    case MEDIA(NVME_SC_GUARD_CHECK):
    case MEDIA(NVME_SC_APPTAG_CHECK):
    case MEDIA(NVME_SC_REFTAG_CHECK):
    case SPECIFIC(NVME_SC_INVALID_PI):
        return -EILSEQ;
    case GENERIC(NVME_SC_RESERVATION_CONFLICT):
        return -EBADE;
    case PATH(NVME_SC_HOST_PATH_ERROR):
        return -ENOLINK;
    default:
        return -EIO;
    }
}

bool nvme_status_is_transient(uint16_t status)
{
    if (status & NVME_SC_DNR)
        return false;
    switch (type_and_code(status)) {
    case GENERIC(NVME_SC_ABORT_REQ):
    case GENERIC(NVME_SC_ABORT_QUEUE):
    case GENERIC(NVME_SC_CMD_INTERRUPTED):
    case GENERIC(NVME_SC_NS_NOT_READY):
    case PATH(NVME_SC_CTRL_PATH_ERROR):
        return true;
    default:
        return false;
    }
}
