// SPDX-License-Identifier: MIT
//
// Any bytes as the beginning of a program: what is accepted satisfies what the loader relies on.
// The first two bytes say how much longer than the buffer the file claims to be.
#include "kernel/base/assert.h"
#include "kernel/base/elf_image.h"
#include "kernel/base/string.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check_image(const struct elf_image *image, uint64_t file_size)
{
    uint64_t end = 0;
    assert(image->segment_count >= 1);
    assert(image->segment_count <= ELF_IMAGE_SEGMENTS_MAX);
    for (uint32_t i = 0; i < image->segment_count; i++) {
        const struct elf_segment *segment = &image->segments[i];
        assert(segment->vaddr >= end);
        assert(segment->mem_size > 0);
        assert(segment->file_size <= segment->mem_size);
        assert(!range_exceeds(segment->file_offset, segment->file_size, file_size));
        assert(segment->file_size == 0 ||
               IS_ALIGNED(segment->vaddr - segment->file_offset, PAGE_SIZE));
        end = segment->vaddr + segment->mem_size;
        assert(end > segment->vaddr);
        assert(segment->vaddr >= image->span_start);
        assert(end <= image->span_end);
    }
    assert(image->span_end <= ELF_IMAGE_ADDRESS_LIMIT);
    assert(IS_ALIGNED(image->span_start, PAGE_SIZE));
    assert(IS_ALIGNED(image->span_end, PAGE_SIZE));
    assert(IS_POWER_OF_TWO(image->alignment));
    assert(image->alignment >= PAGE_SIZE);
    assert(image->entry >= image->span_start);
    assert(image->entry < image->span_end);
    if (image->has_interp) {
        assert(image->interp_size >= 2);
        assert(image->interp_size <= ELF_IMAGE_INTERP_MAX);
        assert(!range_exceeds(image->interp_offset, image->interp_size, file_size));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct elf_image image;
    const char *reason = nullptr;
    size_t headers_size;
    uint16_t more;

    if (size < sizeof(more)) {
        return 0;
    }
    memcpy(&more, bytes, sizeof(more));
    bytes += sizeof(more);
    size -= sizeof(more);
    if (elf_image_headers_size(bytes, size, &headers_size, &reason) == 0) {
        assert(headers_size <= ELF_IMAGE_HEADERS_MAX);
    } else {
        assert(reason != nullptr);
    }
    if (elf_image_parse(bytes, size, size + more, &image, &reason) == 0) {
        check_image(&image, size + more);
    } else {
        assert(reason != nullptr);
    }
    return 0;
}
