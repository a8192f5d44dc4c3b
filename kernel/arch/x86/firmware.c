// SPDX-License-Identifier: MIT
// Reads the firmware's tables into struct firmware. kernel/base/acpi_tables.c checks lengths and
// checksums; here it is decided what to believe, and what to do without.

#include "kernel/arch/x86/firmware.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/cpu.h"
#include "kernel/arch/x86/io.h"
#include "kernel/arch/x86/phys.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/init.h"
#include "kernel/core/log.h"
#include <linux/errno.h>

#define LAPIC_ADDRESS_DEFAULT UINT64_C(0xfee00000)
#define BIOS_AREA_START       0xe0000
#define BIOS_AREA_END         0x100000
#define EBDA_SEGMENT_POINTER  0x40e
#define EBDA_SEARCH_BYTES     1024

// QEMU's firmware configuration device (docs/specs/fw_cfg.rst).
#define FW_CFG_SELECTOR  0x510
#define FW_CFG_DATA      0x511
#define FW_CFG_SIGNATURE 0x00
#define FW_CFG_NB_CPUS   0x05

struct numa numa;
uint8_t cpu_nodes[CPU_MAX];
struct firmware firmware = {.lapic_address = LAPIC_ADDRESS_DEFAULT, .cpu_count = 1};

static const void *map(struct acpi_mapper *mapper, uint64_t address, size_t len)
{
    return phys_map_boot(address, len);
}

static uint64_t rsdp_search(void)
{
    size_t offset;
    uint16_t segment;
    memcpy(&segment, phys_map_boot(EBDA_SEGMENT_POINTER, 2), 2);
    uint64_t ebda = (uint64_t)segment << 4;
    if (ebda >= 0x80000 && ebda < 0xa0000 &&
        acpi_rsdp_search(phys_map_boot(ebda, EBDA_SEARCH_BYTES), EBDA_SEARCH_BYTES, &offset) == 0)
        return ebda + offset;
    size_t len = BIOS_AREA_END - BIOS_AREA_START;
    if (acpi_rsdp_search(phys_map_boot(BIOS_AREA_START, len), len, &offset) == 0)
        return BIOS_AREA_START + offset;
    return 0;
}

static void add_cpu(uint32_t apic_id)
{
    if (apic_id == firmware.cpu_apic_ids[0])
        return;
    if (firmware.cpu_count == CPU_MAX)
        return;
    firmware.cpu_apic_ids[firmware.cpu_count++] = apic_id;
}

static void read_madt_entry(const struct acpi_madt_entry *entry)
{
    switch (entry->kind) {
    case ACPI_MADT_CPU:
        if (entry->cpu.is_enabled)
            add_cpu(entry->cpu.apic_id);
        break;
    case ACPI_MADT_IOAPIC:
        if (firmware.ioapic_count < FIRMWARE_IOAPICS_MAX) {
            firmware.ioapics[firmware.ioapic_count].address = entry->ioapic.address;
            firmware.ioapics[firmware.ioapic_count++].gsi_base = entry->ioapic.gsi_base;
        }
        break;
    case ACPI_MADT_OVERRIDE:
        if (entry->override.bus_irq < ARRAY_SIZE(firmware.isa))
            firmware.isa[entry->override.bus_irq] = (struct firmware_interrupt){
                entry->override.gsi, entry->override.is_active_low, entry->override.is_level};
        break;
    case ACPI_MADT_LAPIC_ADDRESS:
        firmware.lapic_address = entry->lapic_address;
        break;
    default:
        break;
    }
}

static bool read_madt(const struct acpi_tables *tables)
{
    struct acpi_table table;
    struct acpi_madt madt;
    struct acpi_madt_entry entry;
    if (acpi_tables_find(tables, "APIC", 0, &table) != 0 || acpi_madt_open(&madt, &table) != 0)
        return false;
    firmware.lapic_address = madt.lapic_address;
    firmware.has_8259 = madt.has_8259;
    while (acpi_madt_next(&madt, &entry) == 0)
        read_madt_entry(&entry);
    return true;
}

static void read_virtio(const struct acpi_table *table)
{
    size_t offset = 0;
    while (firmware.virtio_mmio_count < FIRMWARE_VIRTIO_MAX &&
           acpi_virtio_mmio_next(
               table, &offset, &firmware.virtio_mmio[firmware.virtio_mmio_count]) == 0)
        firmware.virtio_mmio_count++;
}

static void read_fadt(const struct acpi_tables *tables)
{
    struct acpi_table table;
    if (acpi_tables_find(tables, "FACP", 0, &table) != 0 ||
        acpi_fadt_parse(&table, &firmware.fadt) != 0)
        return;
    firmware.has_fadt = true;
    if (acpi_table_at(tables, firmware.fadt.dsdt_address, "DSDT", &table) == 0) {
        firmware.has_s5 = acpi_s5_find(&table, &firmware.s5) == 0;
        read_virtio(&table);
    }
    for (unsigned i = 0; acpi_tables_find(tables, "SSDT", i, &table) == 0; i++) {
        if (!firmware.has_s5)
            firmware.has_s5 = acpi_s5_find(&table, &firmware.s5) == 0;
        read_virtio(&table);
    }
}

static void read_srat_cpu(uint32_t apic_id, uint32_t domain)
{
    uint32_t node;
    if (numa_node_of_domain(&numa, domain, &node) != 0)
        return; // numa_settle() says so
    for (uint32_t cpu = 0; cpu < firmware.cpu_count; cpu++) {
        if (firmware.cpu_apic_ids[cpu] == apic_id)
            cpu_nodes[cpu] = (uint8_t)node;
    }
}

// The nodes of memory and CPUs. Tables that contradict themselves are as good as none.
static void read_nodes(const struct acpi_tables *tables)
{
    struct acpi_table table;
    struct acpi_srat srat;
    struct acpi_srat_entry entry;
    struct acpi_slit slit;
    if (acpi_tables_find(tables, "SRAT", 0, &table) == 0 && acpi_srat_open(&srat, &table) == 0) {
        while (acpi_srat_next(&srat, &entry) == 0) {
            if (entry.kind == ACPI_SRAT_CPU)
                read_srat_cpu(entry.apic_id, entry.proximity_domain);
            else if (!entry.memory.is_persistent)
                (void)numa_add_memory( // numa_settle() says what did not fit
                    &numa, entry.proximity_domain, entry.memory.start, entry.memory.len);
        }
    }
    bool has_slit =
        acpi_tables_find(tables, "SLIT", 0, &table) == 0 && acpi_slit_parse(&table, &slit) == 0;
    int error = numa_settle(&numa, has_slit ? &slit : NULL);
    if (error != 0) {
        log_warning("acpi: SRAT %s: memory is taken for one node",
            error == -ENOSPC ? "has too many entries" : "gives memory to two nodes");
        memset(cpu_nodes, 0, sizeof(cpu_nodes));
    }
}

static void read_mcfg(const struct acpi_tables *tables)
{
    struct acpi_table table;
    struct acpi_mcfg mcfg;
    if (acpi_tables_find(tables, "MCFG", 0, &table) != 0 || acpi_mcfg_open(&mcfg, &table) != 0)
        return;
    while (firmware.mcfg_count < FIRMWARE_MCFG_MAX &&
           acpi_mcfg_next(&mcfg, &firmware.mcfg[firmware.mcfg_count]) == 0)
        firmware.mcfg_count++;
}

// Number of CPUs from QEMU's configuration device, for machines without tables; 1 if there is none.
// APIC ids are 0, 1, 2...
static uint32_t fw_cfg_cpus(void)
{
    uint8_t bytes[4];
    arch_out16(FW_CFG_SELECTOR, FW_CFG_SIGNATURE);
    for (int i = 0; i < 4; i++)
        bytes[i] = arch_in8(FW_CFG_DATA);
    if (memcmp(bytes, "QEMU", 4) != 0)
        return 1;
    arch_out16(FW_CFG_SELECTOR, FW_CFG_NB_CPUS);
    uint32_t count = arch_in8(FW_CFG_DATA);
    count |= (uint32_t)arch_in8(FW_CFG_DATA) << 8;
    return CLAMP(count, 1u, (uint32_t)CPU_MAX);
}

void firmware_read(void)
{
    static struct acpi_mapper mapper = {.map = map};
    static struct acpi_tables tables;
    firmware.cpu_apic_ids[0] = cpu_apic_id_now();
    for (uint32_t i = 0; i < ARRAY_SIZE(firmware.isa); i++)
        firmware.isa[i].gsi = i;

    if (boot_info.rsdp_phys == 0)
        boot_info.rsdp_phys = rsdp_search();
    bool has_madt = false;
    if (boot_info.rsdp_phys != 0) {
        int error = acpi_tables_open(&tables, &mapper, boot_info.rsdp_phys);
        if (error != 0) {
            log_warning("acpi: bad RSDP at %#lx", boot_info.rsdp_phys);
        } else {
            has_madt = read_madt(&tables);
            read_fadt(&tables);
            read_nodes(&tables);
            read_mcfg(&tables);
        }
    }
    if (numa.node_count == 0) { // no tables
        int error = numa_settle(&numa, NULL);
        assert(error == 0);
    }
    if (!has_madt) {
        uint32_t count = fw_cfg_cpus();
        for (uint32_t id = 0; id < count; id++)
            add_cpu(id);
        // The standard place of the I/O APIC of PC machines.
        firmware.ioapics[0].address = UINT64_C(0xfec00000);
        firmware.ioapic_count = 1;
        firmware.has_8259 = true;
    }
    cpu_count_possible = firmware.cpu_count;
}
