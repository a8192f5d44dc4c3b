// SPDX-License-Identifier: MIT
// Lists of memory, read again as a controller does (base specification 2.0, 4.1), and what a
// controller says about itself. Checked:
//   D1  a list describes exactly the memory that was added, whatever it is, and stays in its memory
//   D2  what no PRP list can say is refused, and so is what the list has no room for
//   D3  identify pages and registers of any content give facts within their limits, or an error

#include "kernel/nvme/data.h"
#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"
#include "kernel/nvme/identify.h"

#include <errno.h>
#include <nvme/types.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENTS_MAX 64
#define LIST_PHYS    0x7654321000ul

struct piece {
    uint64_t phys;
    uint64_t len_bytes;
};

// The memory that a command describes, joined where it is contiguous. How many pieces.
static size_t read_prp(
    const struct nvme_command *command, const uint64_t *list, uint64_t len, struct piece *pieces)
{
    size_t count = 0;
    uint64_t at = command->prp1, entry = 0;
    uint64_t piece = PAGE_SIZE - at % PAGE_SIZE;
    bool has_list = len > piece + PAGE_SIZE;
    for (;;) {
        piece = piece < len ? piece : len;
        if (count != 0 && pieces[count - 1].phys + pieces[count - 1].len_bytes == at)
            pieces[count - 1].len_bytes += piece;
        else
            pieces[count++] = (struct piece){at, piece};
        len -= piece;
        if (len == 0)
            return count;
        assert_true(!has_list || command->prp2 == LIST_PHYS);
        at = has_list ? list[entry++] : command->prp2;
        assert_int_equal(at % PAGE_SIZE, 0);
        piece = PAGE_SIZE;
    }
}

static size_t read_sgl(
    const struct nvme_command *command, const struct nvme_sgl *list, struct piece *pieces)
{
    assert_true(command->flags & NVME_FLAG_SGL);
    size_t count = 1;
    const struct nvme_sgl *from = &command->sgl;
    if (command->sgl.type == NVME_SGL_LAST_SEGMENT) {
        assert_int_equal(command->sgl.address, LIST_PHYS);
        count = command->sgl.len_bytes / sizeof(*list);
        from = list;
    }
    size_t joined = 0;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(from[i].type, NVME_SGL_DATA);
        if (joined != 0 &&
            pieces[joined - 1].phys + pieces[joined - 1].len_bytes == from[i].address)
            pieces[joined - 1].len_bytes += from[i].len_bytes;
        else
            pieces[joined++] = (struct piece){from[i].address, from[i].len_bytes};
    }
    return joined;
}

static void fill(struct prng *prng, void *memory, size_t len_bytes)
{
    for (size_t i = 0; i < len_bytes; i += sizeof(uint64_t)) {
        uint64_t word = prng_u64(prng);
        memcpy((char *)memory + i, &word, sizeof(word));
    }
}

static uint64_t page_at(struct prng *prng)
{
    return (1 + prng_below(prng, 1ul << 30)) * PAGE_SIZE;
}

// Segments as the block layer makes them; with `gapless` as for PRP lists.
static uint32_t make_segments(struct prng *prng, struct piece *pieces, bool gapless)
{
    uint32_t count = 1 + (uint32_t)prng_below(prng, SEGMENTS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t offset = prng_below(prng, 8) * 512;
        uint64_t len = (1 + prng_below(prng, 24)) * 512;
        if (gapless && i != 0)
            offset = 0;
        if (gapless && i != count - 1)
            len = (1 + prng_below(prng, 3)) * PAGE_SIZE - offset;
        pieces[i] = (struct piece){page_at(prng) + offset, len};
    }
    return count;
}

static void test_lists(void **state)
{
    struct prng prng = host_seed("nvme_data");
    static struct piece segments[SEGMENTS_MAX], pieces[SEGMENTS_MAX];
    for (uint32_t round = 0; round < 20000; round++) {
        bool uses_sgl = round % 2 == 0;
        uint32_t count = make_segments(&prng, segments, !uses_sgl);
        uint64_t len = 0;
        for (uint32_t i = 0; i < count; i++)
            len += segments[i].len_bytes;
        uint32_t list_bytes = nvme_data_list_bytes(count, len, uses_sgl);
        assert_true(list_bytes <= PAGE_SIZE);
        void *list = aligned_alloc(16, (list_bytes + 15) & ~15u); // ASan: D1
        struct nvme_command command = {};
        struct nvme_data data = nvme_data_begin(&command, list, LIST_PHYS, list_bytes, uses_sgl);
        for (uint32_t i = 0; i < count; i++)
            assert_int_equal(
                nvme_data_add(&data, segments[i].phys, (uint32_t)segments[i].len_bytes), 0);
        nvme_data_end(&data);
        size_t found =
            uses_sgl ? read_sgl(&command, list, pieces) : read_prp(&command, list, len, pieces);
        assert_int_equal(found, count); // random addresses never touch
        assert_memory_equal(pieces, segments, count * sizeof(*pieces)); // D1
        free(list);
    }
}

static void test_refused(void **state)
{
    uint64_t list[16];
    struct nvme_command command = {};
    struct nvme_data data = nvme_data_begin(&command, list, LIST_PHYS, sizeof(list), false);
    assert_int_equal(nvme_data_add(&data, 0x10002, 512), -EINVAL); // D2: no multiple of 4
    assert_int_equal(nvme_data_add(&data, 0x10200, 512), 0);
    assert_int_equal(nvme_data_add(&data, 0x20000, 512), -EINVAL); // the one before ends in a page
    data = nvme_data_begin(&command, list, LIST_PHYS, sizeof(list), false);
    assert_int_equal(nvme_data_add(&data, 0x10200, 0xe00), 0);
    assert_int_equal(nvme_data_add(&data, 0x20200, 512), -EINVAL); // this one begins in one
    assert_int_equal(nvme_data_add(&data, 0x20000, 17 * PAGE_SIZE), -E2BIG);
    data = nvme_data_begin(&command, list, LIST_PHYS, sizeof(list), true);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(nvme_data_add(&data, 0x10200 + i * 0x10000, 512), 0);
    assert_int_equal(nvme_data_add(&data, 0x200, 512), -E2BIG);
}

static void test_capabilities(void **state)
{
    struct prng prng = host_seed("nvme_capabilities");
    struct nvme_capabilities capabilities;
    // QEMU's: 2048 entries, 7.5 seconds, NVM command set and others, pages up to 64 KiB.
    uint64_t value = 0x7ff | 1ul << 16 | 15ul << 24 | 1ul << 37 | 4ul << 52;
    assert_int_equal(nvme_capabilities_parse(value, &capabilities), 0);
    assert_int_equal(capabilities.entries_max, 2048);
    assert_int_equal(capabilities.doorbell_stride_bytes, 4);
    assert_int_equal(capabilities.ready_timeout_ns, 7500000000);
    assert_int_equal(nvme_capabilities_parse(value | 1ul << 48, &capabilities), -EOPNOTSUPP);
    assert_int_equal(nvme_capabilities_parse(value & ~(1ul << 37), &capabilities), -EOPNOTSUPP);
    assert_int_equal(nvme_capabilities_parse(UINT64_MAX, &capabilities), -EOPNOTSUPP);
    for (uint32_t i = 0; i < 100000; i++) {
        if (nvme_capabilities_parse(prng_u64(&prng), &capabilities) != 0)
            continue;
        assert_true(capabilities.entries_max >= 2 && capabilities.entries_max <= 65536); // D3
        assert_true(capabilities.doorbell_stride_bytes <= 4 << 15);
        assert_true(capabilities.ready_timeout_ns >= 500000000);
    }
}

static void test_controller(void **state)
{
    struct prng prng = host_seed("nvme_controller");
    static struct nvme_id_ctrl page = {.sqes = 0x66, .cqes = 0x44, .mdts = 7, .vwc = 1, .sgls = 1};
    struct nvme_controller_facts facts;
    memcpy(page.sn, "disk0               ", sizeof(page.sn));
    memset(page.mn, 'M', sizeof(page.mn)); // no end anywhere
    memset(page.fr, '\1', sizeof(page.fr));
    assert_int_equal(nvme_controller_parse(&page, &facts), 0);
    assert_string_equal(facts.serial, "disk0");
    assert_int_equal(strlen(facts.model), 40);
    assert_string_equal(facts.firmware, "????????");
    assert_int_equal(facts.max_sectors, 1024);
    assert_true(facts.write_cache && facts.sgl && !facts.deallocate && !facts.write_zeroes);
    page.sqes = 0x77;
    assert_int_equal(nvme_controller_parse(&page, &facts), -EINVAL);
    for (uint32_t i = 0; i < 2000; i++) {
        fill(&prng, &page, sizeof(page));
        if (i % 2 == 0)
            page.sqes = 0x66, page.cqes = 0x44;
        if (nvme_controller_parse(&page, &facts) != 0)
            continue;
        assert_true(facts.max_sectors == 0 || facts.max_sectors >= 16); // D3
        assert_true(strlen(facts.serial) <= 20 && strlen(facts.firmware) <= 8);
    }
}

static void test_namespace(void **state)
{
    struct prng prng = host_seed("nvme_namespace");
    static struct nvme_id_ns page = {.nsze = 1000, .ncap = 1000, .nlbaf = 3, .flbas = 2};
    struct nvme_namespace_facts facts;
    page.lbaf[2].ds = 12;
    assert_int_equal(nvme_namespace_parse(&page, &facts), 0);
    assert_int_equal(facts.sector_count, 8000);
    assert_int_equal(facts.block_shift, 12);
    page.lbaf[2].ms = 8;
    assert_int_equal(nvme_namespace_parse(&page, &facts), -EOPNOTSUPP);
    page.lbaf[2].ms = 0;
    page.nsze = page.ncap = UINT64_MAX;
    assert_int_equal(nvme_namespace_parse(&page, &facts), -EFBIG);
    page.flbas = 4;
    assert_int_equal(nvme_namespace_parse(&page, &facts), -EINVAL);
    page.nsze = 0;
    assert_int_equal(nvme_namespace_parse(&page, &facts), -ENODEV);
    for (uint32_t i = 0; i < 20000; i++) {
        fill(&prng, &page, sizeof(page));
        page.nsze >>= prng_below(&prng, 64);
        page.ncap = page.nsze;
        page.dps = 0;
        for (uint32_t format = 0; format < 64; format++)
            page.lbaf[format].ms = 0;
        if (nvme_namespace_parse(&page, &facts) != 0)
            continue;
        assert_true(facts.block_shift >= 9 && facts.block_shift <= 12); // D3
        assert_true(facts.sector_count >> (facts.block_shift - 9) == page.nsze);
        assert_true(facts.sector_count <= 1ul << 54);
    }
    static struct nvme_ns_list list = {.ns = {1, 5, 9}};
    uint32_t ids[2];
    assert_int_equal(nvme_namespace_list_parse(&list, ids, 2), 2);
    assert_int_equal(ids[1], 5);
    list.ns[1] = 1;
    assert_int_equal(nvme_namespace_list_parse(&list, ids, 2), -EINVAL);
}

static void test_status(void **state)
{
    assert_int_equal(nvme_status_errno(0), 0);
    assert_int_equal(nvme_status_errno(0x281), -ENODATA);
    assert_int_equal(nvme_status_errno(0x80 | NVME_SC_DNR), -EREMOTEIO);
    assert_int_equal(nvme_status_errno(NVME_SC_INVALID_FIELD | NVME_SC_DNR), -EOPNOTSUPP);
    assert_int_equal(nvme_status_errno(0x7ff), -EIO);
    assert_true(nvme_status_is_transient(NVME_SC_ABORT_REQ));
    assert_false(nvme_status_is_transient(NVME_SC_ABORT_REQ | NVME_SC_DNR));
    for (uint32_t status = 1; status < 0x8000; status++) {
        int error = nvme_status_errno((uint16_t)status);
        assert_true(error < 0 || (status & 0x7ff) == 0);
        assert_true(error > -200);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_capabilities),
        cmocka_unit_test(test_controller),
        cmocka_unit_test(test_namespace),
        cmocka_unit_test(test_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
