// SPDX-License-Identifier: MIT
// See machine.h. The interface is Documentation/virt/kvm/api.rst of Linux; PVH is
// docs/misc/pvh.pandoc of Xen.
#include "tests/pmu_vmm/machine.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xen/arch-x86/hvm/start_info.h>
#include <xen/elfnote.h>

#define PAGE_BYTES      UINT64_C(4096)
#define LOW_MEMORY_END  0x9f000
#define HIGH_MEMORY     0x100000
#define START_INFO      0x1000
#define MODULE_LIST     0x1100
#define MEMORY_MAP      0x1200
#define COMMAND_LINE    0x2000
#define COMMAND_MAX     4096
#define TSS_ADDRESS     0xfffbd000 // above memory, as KVM on Intel needs it
#define CPUID_MAX       256
#define MSR_RANGES_MAX  KVM_MSR_FILTER_MAX_RANGES
#define MSR_BITMAP_MAX  16
#define ENTRY_PRESENT   UINT64_C(1) // of page tables
#define ENTRY_BIG       UINT64_C(0x80)
#define ENTRY_ADDRESS   UINT64_C(0xffffffffff000)
#define APIC_LVT_OFFSET 0x340 // counters: Intel SDM 3A, table 11-1

void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static int must(int result, const char *what)
{
    if (result < 0)
        die("pmu_vmm: %s: %s", what, strerror(errno));
    return result;
}

// ---- making -------------------------------------------------------------------------------------

static void cpuid_set(struct machine *machine, int kvm,
    void (*change)(void *context, struct kvm_cpuid2 *cpuid), void *context)
{
    struct {
        struct kvm_cpuid2 head;
        struct kvm_cpuid_entry2 leaves[CPUID_MAX];
    } *cpuid = calloc(1, sizeof(*cpuid));
    cpuid->head.nent = CPUID_MAX - 1; // there is room for another
    must(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid), "KVM_GET_SUPPORTED_CPUID");
    change(context, &cpuid->head);
    must(ioctl(machine->vcpu, KVM_SET_CPUID2, cpuid), "KVM_SET_CPUID2");
    free(cpuid);
}

// Denied accesses are exits.
static void msrs_filter(struct machine *machine, const struct machine_msrs *msrs, size_t ranges)
{
    struct kvm_enable_cap exits = {
        .cap = KVM_CAP_X86_USER_SPACE_MSR, .args = {KVM_MSR_EXIT_REASON_FILTER}};
    struct kvm_msr_filter filter = {.flags = KVM_MSR_FILTER_DEFAULT_ALLOW};
    static uint8_t none[MSR_BITMAP_MAX];
    if (ranges > MSR_RANGES_MAX)
        die("pmu_vmm: too many ranges of MSRs");
    for (size_t i = 0; i < ranges; i++) {
        if (msrs[i].count > sizeof(none) * 8)
            die("pmu_vmm: too many MSRs in a range");
        filter.ranges[i] =
            (struct kvm_msr_filter_range){.flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
                .base = msrs[i].first,
                .nmsrs = msrs[i].count,
                .bitmap = none};
    }
    must(ioctl(machine->vm, KVM_ENABLE_CAP, &exits), "KVM_CAP_X86_USER_SPACE_MSR");
    must(ioctl(machine->vm, KVM_X86_SET_MSR_FILTER, &filter), "KVM_X86_SET_MSR_FILTER");
}

void machine_create(struct machine *machine, size_t memory_bytes,
    void (*change)(void *context, struct kvm_cpuid2 *cpuid), void *context,
    const struct machine_msrs *msrs, size_t msr_ranges)
{
    int kvm = must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
    machine->vm = must(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
    must(ioctl(machine->vm, KVM_SET_TSS_ADDR, TSS_ADDRESS), "KVM_SET_TSS_ADDR");
    must(ioctl(machine->vm, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
    struct kvm_pit_config pit = {0};
    must(ioctl(machine->vm, KVM_CREATE_PIT2, &pit), "KVM_CREATE_PIT2");
    machine->memory_bytes = memory_bytes;
    machine->memory = mmap(NULL, memory_bytes, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (machine->memory == MAP_FAILED)
        die("pmu_vmm: no memory for the machine");
    struct kvm_userspace_memory_region region = {
        .memory_size = memory_bytes, .userspace_addr = (uintptr_t)machine->memory};
    must(ioctl(machine->vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
    machine->vcpu = must(ioctl(machine->vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
    machine->run_bytes =
        (size_t)must(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
    machine->run =
        mmap(NULL, machine->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, machine->vcpu, 0);
    if (machine->run == MAP_FAILED)
        die("pmu_vmm: the vCPU's page: %s", strerror(errno));
    cpuid_set(machine, kvm, change, context);
    msrs_filter(machine, msrs, msr_ranges);
    close(kvm);
}

void machine_destroy(struct machine *machine)
{
    munmap(machine->run, machine->run_bytes);
    close(machine->vcpu);
    close(machine->vm);
    munmap(machine->memory, machine->memory_bytes);
}

// ---- loading ------------------------------------------------------------------------------------

void *machine_memory(const struct machine *machine, uint64_t address, uint64_t size)
{
    bool fits = address <= machine->memory_bytes && size <= machine->memory_bytes - address;
    return fits ? machine->memory + address : NULL;
}

// A whole file, read-only.
static const uint8_t *file_map(const char *path, size_t *size)
{
    struct stat status;
    int fd = must(open(path, O_RDONLY | O_CLOEXEC), path);
    must(fstat(fd, &status), path);
    *size = (size_t)status.st_size;
    const uint8_t *content = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (content == MAP_FAILED)
        die("pmu_vmm: %s: %s", path, strerror(errno));
    close(fd);
    return content;
}

// The entry that a note segment names, or 0.
static uint32_t pvh_entry(const uint8_t *notes, size_t size)
{
    size_t at = 0;
    while (size - at >= sizeof(Elf64_Nhdr)) {
        const Elf64_Nhdr *note = (const Elf64_Nhdr *)(notes + at);
        size_t name = at + sizeof(*note);
        size_t value = name + (note->n_namesz + 3u) / 4 * 4;
        at = value + (note->n_descsz + 3u) / 4 * 4;
        if (at > size)
            break;
        if (note->n_type == XEN_ELFNOTE_PHYS32_ENTRY && note->n_namesz == sizeof("Xen") &&
            memcmp(notes + name, "Xen", sizeof("Xen")) == 0)
            return *(const uint32_t *)(notes + value);
    }
    return 0;
}

static uint32_t kernel_load(struct machine *machine, const char *path)
{
    size_t size;
    uint32_t entry = 0;
    const uint8_t *file = file_map(path, &size);
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)file;
    if (size < sizeof(*header) || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
        header->e_phoff > size || header->e_phnum > (size - header->e_phoff) / sizeof(Elf64_Phdr))
        die("pmu_vmm: %s: no ELF file", path);
    const Elf64_Phdr *segments = (const Elf64_Phdr *)(file + header->e_phoff);
    for (int i = 0; i < header->e_phnum; i++) {
        const Elf64_Phdr *segment = &segments[i];
        if (segment->p_offset > size || segment->p_filesz > size - segment->p_offset)
            die("pmu_vmm: %s: incomplete", path);
        if (segment->p_type == PT_NOTE && entry == 0)
            entry = pvh_entry(file + segment->p_offset, segment->p_filesz);
        if (segment->p_type != PT_LOAD)
            continue;
        void *place = machine_memory(machine, segment->p_paddr, segment->p_memsz);
        if (place == NULL)
            die("pmu_vmm: %s does not fit into memory", path);
        memcpy(place, file + segment->p_offset, segment->p_filesz);
    }
    munmap((void *)file, size);
    if (entry == 0)
        die("pmu_vmm: %s has no PVH entry", path);
    return entry;
}

static void start_info_write(
    struct machine *machine, uint64_t initrd, uint64_t initrd_bytes, const char *command_line)
{
    struct hvm_start_info *info = machine_memory(machine, START_INFO, sizeof(*info));
    struct hvm_modlist_entry *module = machine_memory(machine, MODULE_LIST, sizeof(*module));
    struct hvm_memmap_table_entry *map = machine_memory(machine, MEMORY_MAP, 2 * sizeof(*map));
    *info = (struct hvm_start_info){.magic = XEN_HVM_START_MAGIC_VALUE,
        .version = 1,
        .nr_modules = 1,
        .modlist_paddr = MODULE_LIST,
        .cmdline_paddr = COMMAND_LINE,
        .memmap_paddr = MEMORY_MAP,
        .memmap_entries = 2};
    *module = (struct hvm_modlist_entry){.paddr = initrd, .size = initrd_bytes};
    map[0] =
        (struct hvm_memmap_table_entry){.size = LOW_MEMORY_END, .type = XEN_HVM_MEMMAP_TYPE_RAM};
    map[1] = (struct hvm_memmap_table_entry){.addr = HIGH_MEMORY,
        .size = machine->memory_bytes - HIGH_MEMORY,
        .type = XEN_HVM_MEMMAP_TYPE_RAM};
    if (strlen(command_line) >= COMMAND_MAX)
        die("pmu_vmm: the boot options are too long");
    memcpy(
        machine_memory(machine, COMMAND_LINE, COMMAND_MAX), command_line, strlen(command_line) + 1);
}

void machine_load(
    struct machine *machine, const char *kernel, const char *initrd, const char *command_line)
{
    size_t size;
    uint32_t entry = kernel_load(machine, kernel);
    const uint8_t *file = file_map(initrd, &size);
    uint64_t place = (machine->memory_bytes - size) & ~(PAGE_BYTES - 1);
    if (size > machine->memory_bytes / 2)
        die("pmu_vmm: %s does not fit into memory", initrd);
    memcpy(machine_memory(machine, place, size), file, size);
    munmap((void *)file, size);
    start_info_write(machine, place, size, command_line);

    struct kvm_sregs special;
    must(ioctl(machine->vcpu, KVM_GET_SREGS, &special), "KVM_GET_SREGS");
    struct kvm_segment data = {
        .limit = UINT32_MAX, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1, .selector = 16};
    struct kvm_segment code = data;
    code.type = 11;
    code.selector = 8;
    special.cs = code;
    special.ds = special.es = special.ss = special.fs = special.gs = data;
    special.tr = (struct kvm_segment){.limit = 0x67, .type = 11, .present = 1};
    special.cr0 = 0x11; // PE, ET
    must(ioctl(machine->vcpu, KVM_SET_SREGS, &special), "KVM_SET_SREGS");
    struct kvm_regs general = {.rip = entry, .rbx = START_INFO, .rflags = 2};
    must(ioctl(machine->vcpu, KVM_SET_REGS, &general), "KVM_SET_REGS");
}

// ---- running ------------------------------------------------------------------------------------

bool machine_run(struct machine *machine)
{
    if (ioctl(machine->vcpu, KVM_RUN, 0) == 0)
        return true;
    if (errno != EINTR && errno != EAGAIN)
        die("pmu_vmm: KVM_RUN: %s", strerror(errno));
    return false;
}

// KVM_TRANSLATE sees with the kernel's eyes: SMAP hides what belongs to programs. So this walks the
// page tables itself (Intel SDM 3A, 4.5).
void *machine_translate(struct machine *machine, uint64_t address, size_t size)
{
    struct kvm_sregs special;
    must(ioctl(machine->vcpu, KVM_GET_SREGS, &special), "KVM_GET_SREGS");
    uint64_t place = special.cr3 & ENTRY_ADDRESS;
    if (address % PAGE_BYTES + size > PAGE_BYTES)
        return NULL;
    for (int shift = 39; shift >= 12; shift -= 9) {
        const uint64_t *table = machine_memory(machine, place, PAGE_BYTES);
        const uint64_t entry = table != NULL ? table[address >> shift & 511] : 0;
        if (!(entry & ENTRY_PRESENT))
            return NULL;
        place = entry & ENTRY_ADDRESS;
        if ((entry & ENTRY_BIG) && (shift == 21 || shift == 30)) {
            const uint64_t offset = (UINT64_C(1) << shift) - 1;
            place = (place & ~offset) | (address & offset & ~(PAGE_BYTES - 1));
            break;
        }
    }
    return machine_memory(machine, place | address % PAGE_BYTES, size);
}

unsigned machine_privilege(struct machine *machine)
{
    struct kvm_sregs special;
    must(ioctl(machine->vcpu, KVM_GET_SREGS, &special), "KVM_GET_SREGS");
    return special.cs.selector & 3;
}

uint32_t machine_counters_entry(struct machine *machine)
{
    struct kvm_lapic_state apic;
    uint32_t entry;
    must(ioctl(machine->vcpu, KVM_GET_LAPIC, &apic), "KVM_GET_LAPIC");
    memcpy(&entry, apic.regs + APIC_LVT_OFFSET, sizeof(entry));
    return entry;
}

void machine_mask_counters(struct machine *machine)
{
    struct kvm_lapic_state apic;
    uint32_t entry;
    must(ioctl(machine->vcpu, KVM_GET_LAPIC, &apic), "KVM_GET_LAPIC");
    memcpy(&entry, apic.regs + APIC_LVT_OFFSET, sizeof(entry));
    entry |= MACHINE_LVT_MASKED;
    memcpy(apic.regs + APIC_LVT_OFFSET, &entry, sizeof(entry));
    must(ioctl(machine->vcpu, KVM_SET_LAPIC, &apic), "KVM_SET_LAPIC");
}

void machine_nmi(struct machine *machine)
{
    must(ioctl(machine->vcpu, KVM_NMI), "KVM_NMI");
}
