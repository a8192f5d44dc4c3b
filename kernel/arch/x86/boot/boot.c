// SPDX-License-Identifier: MIT
// What the boot loader handed over becomes struct boot_info: the first C code of the kernel.
//
// Loaders' structures are read where they lie, through the boot page tables (first 4 GiB), and
// copied; nothing of them is needed afterwards. Every address and count is checked; a bad one ends
// the boot with a message.

#include "kernel/arch/x86/boot/protocol.h"
#include "kernel/arch/x86/early_console.h"
#include "kernel/arch/x86/paging.h"
#include "kernel/arch/x86/percpu_setup.h"
#include "kernel/arch/x86/phys.h"
#include "kernel/arch/x86/segments.h"
#include "kernel/arch/x86/smp.h"
#include "kernel/arch/x86/tsc.h"
#include "kernel/base/memmap.h"
#include "kernel/base/string.h"
#include "kernel/core/init.h"
#include "kernel/core/panic.h"

#include "pv/pv.h"

#include <asm/bootparam.h>
#include <efi/efi.h>
#include <xen/arch-x86/hvm/start_info.h>

#define MEMORY_RANGES_MAX   512
#define LOADER_SIGNATURE_64 0x34364c45 // "EL64", boot_params.efi_info

struct boot_info boot_info;
static struct memmap_range memory_ranges[MEMORY_RANGES_MAX];

// The loader's memory at [phys, phys + len), which must lie below 4 GiB.
static const void *loader_data(uint64_t phys, uint64_t len_bytes, const char *what)
{
    const void *data = phys_map_boot(phys, len_bytes);
    if (data == NULL)
        panic("boot: %s at %#lx (%lu bytes) is out of reach", what, phys, len_bytes);
    return data;
}

static void memory_add(uint64_t start, uint64_t len_bytes, enum memmap_type type)
{
    if (memmap_add(&boot_info.memory, start, len_bytes, type) != 0)
        panic("boot: memory map with more than %d ranges", MEMORY_RANGES_MAX);
}

static void command_line_set(uint64_t phys)
{
    if (phys == 0)
        return;
    // The string may end right before 4 GiB: no more than what is in reach is looked at.
    size_t len = sizeof(boot_info.command_line);
    if (phys + len > PHYS_BOOT_END)
        len = phys < PHYS_BOOT_END ? PHYS_BOOT_END - phys : 1;
    const char *text = loader_data(phys, len, "command line");
    (void)string_copy_bytes(
        boot_info.command_line, sizeof(boot_info.command_line), text, strnlen(text, len));
}

static void initrd_set(uint64_t phys, uint64_t len_bytes)
{
    if (len_bytes == 0)
        return;
    if (range_overflows(phys, len_bytes))
        panic("boot: bad place of the initial file system: %#lx, %lu bytes", phys, len_bytes);
    boot_info.initrd_phys = phys;
    boot_info.initrd_len_bytes = len_bytes;
}

static void read_pvh(uint64_t info_phys)
{
    const struct hvm_start_info *info = loader_data(info_phys, sizeof(*info), "start info");
    if (info->magic != XEN_HVM_START_MAGIC_VALUE)
        panic("boot: start info at %#lx has magic %#x", info_phys, info->magic);
    boot_info.protocol = "pvh";
    command_line_set(info->cmdline_paddr);
    boot_info.rsdp_phys = info->rsdp_paddr;
    if (info->version < 1 || info->memmap_entries == 0)
        panic("boot: start info without memory map (version %u)", info->version);

    const struct hvm_memmap_table_entry *map =
        loader_data(info->memmap_paddr, info->memmap_entries * sizeof(*map), "memory map");
    for (uint32_t i = 0; i < info->memmap_entries; i++)
        memory_add(map[i].addr, map[i].size, memmap_type_of_e820(map[i].type));

    if (info->nr_modules != 0) {
        const struct hvm_modlist_entry *module =
            loader_data(info->modlist_paddr, sizeof(*module), "module list");
        initrd_set(module->paddr, module->size);
    }
}

static void read_efi_map(struct efi_info info)
{
    uint64_t phys = info.efi_memmap | (uint64_t)info.efi_memmap_hi << 32;
    const char *map = loader_data(phys, info.efi_memmap_size, "EFI memory map");
    if (info.efi_memdesc_size < sizeof(EFI_MEMORY_DESCRIPTOR))
        panic("boot: EFI memory descriptors of %u bytes", info.efi_memdesc_size);
    for (uint64_t at = 0; info.efi_memmap_size - at >= info.efi_memdesc_size;
         at += info.efi_memdesc_size) {
        const EFI_MEMORY_DESCRIPTOR *range = (const void *)(map + at);
        if (range->NumberOfPages > MEMMAP_ADDRESS_LIMIT >> PAGE_SHIFT)
            panic("boot: EFI memory range of %lu pages", range->NumberOfPages);
        memory_add(range->PhysicalStart, range->NumberOfPages << PAGE_SHIFT,
            memmap_type_of_efi(range->Type, range->Attribute));
    }
}

static void read_linux(uint64_t info_phys)
{
    const struct boot_params *params = loader_data(info_phys, sizeof(*params), "boot_params");
    boot_info.protocol = "linux";
    command_line_set(params->hdr.cmd_line_ptr | (uint64_t)params->ext_cmd_line_ptr << 32);
    boot_info.rsdp_phys = params->acpi_rsdp_addr;
    initrd_set(params->hdr.ramdisk_image | (uint64_t)params->ext_ramdisk_image << 32,
        params->hdr.ramdisk_size | (uint64_t)params->ext_ramdisk_size << 32);

    if (params->efi_info.efi_loader_signature == LOADER_SIGNATURE_64 &&
        params->efi_info.efi_memmap_size != 0) {
        boot_info.protocol = "uefi";
        read_efi_map(params->efi_info);
        return;
    }
    if (params->e820_entries == 0)
        panic("boot: boot_params without memory map");
    uint32_t count = MIN((uint32_t)params->e820_entries, (uint32_t)E820_MAX_ENTRIES_ZEROPAGE);
    for (uint32_t i = 0; i < count; i++) {
        const struct boot_e820_entry *range = &params->e820_table[i];
        memory_add(range->addr, range->size, memmap_type_of_e820(range->type));
    }
    for (uint64_t phys = params->hdr.setup_data, n = 0; phys != 0 && n < 64; n++) {
        const struct setup_data *data = loader_data(phys, sizeof(*data), "setup data");
        if (data->type == SETUP_E820_EXT) {
            const struct boot_e820_entry *range =
                loader_data(phys + sizeof(*data), data->len, "more memory map");
            for (uint32_t i = 0; i < data->len / sizeof(*range); i++)
                memory_add(range[i].addr, range[i].size, memmap_type_of_e820(range[i].type));
        }
        phys = data->next;
    }
}

// Takes what is in use out of the usable memory, and checks that it was memory.
static void memory_claim(uint64_t start, uint64_t end, const char *what)
{
    const struct memmap_range *range = memmap_find(&boot_info.memory, start);
    if (range == NULL || range->end < end)
        panic("boot: %s at %#lx..%#lx is not in memory", what, start, end);
    memory_add(start, end - start, MEMMAP_IN_USE);
}

// A loader may put the initial file system where the firmware had something before (SeaBIOS's
// queues of NVMe disks): what is reserved stays so, which is all the same as nobody else gets the
// rest either.
static void initial_files_claim(uint64_t start, uint64_t end)
{
    for (uint64_t at = start; at < end;) {
        const struct memmap_range *range = memmap_find(&boot_info.memory, at);
        if (range == NULL || range->type == MEMMAP_UNUSABLE)
            panic("boot: the initial file system at %#lx..%#lx is not in memory", start, end);
        at = range->end;
    }
    memory_add(start, end - start, MEMMAP_IN_USE);
}

void boot_main(uint32_t protocol, uint64_t info_phys)
{
    percpu_init_boot();
    // From here on a fault ends in a panic with registers instead of a silent reset.
    segments_init_idt();
    segments_load(NULL);
    pv_start();
    tsc_first_reading();
    early_console_init();

    memmap_init(&boot_info.memory, memory_ranges, MEMORY_RANGES_MAX);
    if (protocol == BOOT_PROTOCOL_PVH)
        read_pvh(info_phys);
    else
        read_linux(info_phys);

    boot_info.kernel_phys_start = kernel_image_to_phys(kernel_image_start);
    boot_info.kernel_phys_end = kernel_image_to_phys(kernel_image_end);
    memory_claim(boot_info.kernel_phys_start, boot_info.kernel_phys_end, "the kernel");
    if (boot_info.initrd_len_bytes != 0) {
        uint64_t end = boot_info.initrd_phys + boot_info.initrd_len_bytes;
        if (boot_info.initrd_phys < boot_info.kernel_phys_end && end > boot_info.kernel_phys_start)
            panic(
                "boot: the initial file system at %#lx overlaps the kernel", boot_info.initrd_phys);
        initial_files_claim(ALIGN_DOWN(boot_info.initrd_phys, PAGE_SIZE), ALIGN_UP(end, PAGE_SIZE));
    }
    // Address 0 is never given out; other CPUs start in a page below 1 MiB.
    memory_add(0, PAGE_SIZE, MEMMAP_RESERVED);
    smp_reserve_trampoline(&boot_info.memory);
    kernel_main();
}
