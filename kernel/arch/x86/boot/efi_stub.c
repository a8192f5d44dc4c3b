// SPDX-License-Identifier: MIT
// The UEFI program at the head of the image: gathers what the Linux boot protocol's boot_params
// holds, moves the kernel to a multiple of 2 MiB below 4 GiB, leaves the firmware, and enters the
// kernel by linux64_entry.
//
// It runs where the firmware loaded the PE image, not where it was linked: compiled
// position-independent, without stack protector, sanitizers or LTO (BUILD.gn); it calls nothing of
// the kernel. Initial file system and command line come from the PE sections `.initrd` and
// `.cmdline` if the image builder added them, else from the LoadFile2 protocol with Linux's initrd
// media GUID (what QEMU -initrd gives) and from the load options.

#define GNU_EFI_USE_MS_ABI 1
#define HAVE_USE_MS_ABI    1
#include <efi/efi.h>

#include <asm/bootparam.h>
#include <stdbool.h>

#define LOW_4G             0xffffffffULL
#define IMAGE_ALIGNMENT    0x200000ULL
#define PAGE_BYTES         4096ULL
#define COMMAND_LINE_BYTES 4096
#define MAP_SLACK_BYTES    (16 * PAGE_BYTES) // the map grows by our own allocations
#define LINUX64_ENTRY      0x200             // boot/start.S
#define LOADER_UNDEFINED   0xff
#define PE_OFFSET_AT       0x3c
#define PE_SECTIONS_AT     6
#define PE_OPTIONAL_AT     20
#define PE_HEADER_BYTES    24
#define PE_SECTION_BYTES   40

extern char kernel_image_start[] __attribute__((visibility("hidden")));
extern char kernel_loaded_end[] __attribute__((visibility("hidden")));
extern char kernel_image_end[] __attribute__((visibility("hidden")));

EFI_STATUS EFIAPI efi_entry(EFI_HANDLE image, EFI_SYSTEM_TABLE *system);

static void copy(void *to, const void *from, UINT64 len)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(len) : : "memory");
}

static void clear(void *to, UINT64 len)
{
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(len) : "a"(0) : "memory");
}

static bool same_bytes(const void *a, const void *b, UINTN len)
{
    const UINT8 *x = a;
    const UINT8 *y = b;
    for (UINTN i = 0; i < len; i++) {
        if (x[i] != y[i])
            return false;
    }
    return true;
}

static EFI_STATUS fail(EFI_SYSTEM_TABLE *system, CHAR16 *message, EFI_STATUS status)
{
    CHAR16 prefix[] = L"lodger: ";
    CHAR16 end[] = L"\r\n";
    system->ConOut->OutputString(system->ConOut, prefix);
    system->ConOut->OutputString(system->ConOut, message);
    system->ConOut->OutputString(system->ConOut, end);
    return status;
}

// Memory below 4 GiB that stays ours after the firmware is left; NULL: none.
static void *allocate(EFI_BOOT_SERVICES *boot, UINT64 len)
{
    EFI_PHYSICAL_ADDRESS address = LOW_4G;
    UINTN pages = (len + PAGE_BYTES - 1) / PAGE_BYTES;
    if (boot->AllocatePages(AllocateMaxAddress, EfiLoaderData, pages, &address) != EFI_SUCCESS)
        return NULL;
    return (void *)address;
}

// ---- sections of our own PE image ---------------------------------------------------------------

static UINT32 read32(const UINT8 *at)
{
    return at[0] | (UINT32)at[1] << 8 | (UINT32)at[2] << 16 | (UINT32)at[3] << 24;
}

// The section with this name (8 bytes) as it was loaded. NULL: there is none.
static const UINT8 *section_find(const EFI_LOADED_IMAGE *loaded, const char *name, UINT64 *len)
{
    const UINT8 *base = loaded->ImageBase;
    const UINT8 *pe = base + read32(base + PE_OFFSET_AT);
    UINT32 count = read32(pe + PE_SECTIONS_AT) & 0xffff;
    const UINT8 *section = pe + PE_HEADER_BYTES + (read32(pe + PE_OPTIONAL_AT) & 0xffff);
    for (UINT32 i = 0; i < count; i++, section += PE_SECTION_BYTES) {
        UINT32 size = read32(section + 8);
        UINT32 address = read32(section + 12);
        if (same_bytes(section, name, 8) && address < loaded->ImageSize &&
            size <= loaded->ImageSize - address) {
            *len = size;
            return base + address;
        }
    }
    return NULL;
}

// ---- command line -------------------------------------------------------------------------------

static void command_line_read(const EFI_LOADED_IMAGE *loaded, char *line)
{
    UINT64 len = 0;
    const UINT8 *section = section_find(loaded, ".cmdline", &len);
    UINT64 out = 0;
    if (section != NULL) {
        for (UINT64 i = 0; i < len && section[i] != 0 && out < COMMAND_LINE_BYTES - 1; i++)
            line[out++] = (char)section[i];
    } else if (loaded->LoadOptions != NULL) {
        const CHAR16 *options = loaded->LoadOptions;
        for (UINT64 i = 0;
            i < loaded->LoadOptionsSize / 2 && options[i] != 0 && out < COMMAND_LINE_BYTES - 1; i++)
            line[out++] = options[i] < 0x80 ? (char)options[i] : '?';
    }
    line[out] = 0;
}

// ---- initial file system ------------------------------------------------------------------------

struct initrd_path {
    VENDOR_DEVICE_PATH vendor;
    EFI_DEVICE_PATH end;
} __attribute__((packed));

// Copies or loads the initial file system. Success without one is possible: *len is 0.
static EFI_STATUS initrd_read(
    EFI_BOOT_SERVICES *boot, const EFI_LOADED_IMAGE *loaded, void **data, UINT64 *len)
{
    *len = 0;
    const UINT8 *section = section_find(loaded, ".initrd\0", len);
    if (section != NULL) {
        *data = allocate(boot, *len);
        if (*data == NULL)
            return EFI_OUT_OF_RESOURCES;
        copy(*data, section, *len);
        return EFI_SUCCESS;
    }

    // LINUX_EFI_INITRD_MEDIA_GUID of Linux's Documentation/admin-guide/efi-stub.rst
    struct initrd_path path = {
        .vendor = {{MEDIA_DEVICE_PATH, MEDIA_VENDOR_DP, {sizeof(VENDOR_DEVICE_PATH), 0}},
            {0x5568e427, 0x68fc, 0x4f3d, {0xac, 0x74, 0xca, 0x55, 0x52, 0x31, 0xcc, 0x68}}},
        .end = {END_DEVICE_PATH_TYPE, END_ENTIRE_DEVICE_PATH_SUBTYPE, {sizeof(EFI_DEVICE_PATH), 0}},
    };
    EFI_GUID load_file2 = {
        0x4006c0c1, 0xfcb3, 0x403e, {0x99, 0x6d, 0x4a, 0x6c, 0x87, 0x24, 0xe0, 0x6d}};
    EFI_DEVICE_PATH *at = (EFI_DEVICE_PATH *)&path;
    EFI_HANDLE handle;
    EFI_LOAD_FILE_INTERFACE *file;
    if (boot->LocateDevicePath(&load_file2, &at, &handle) != EFI_SUCCESS ||
        boot->HandleProtocol(handle, &load_file2, (void **)&file) != EFI_SUCCESS)
        return EFI_SUCCESS;
    UINTN size = 0;
    EFI_STATUS status = file->LoadFile(file, at, FALSE, &size, NULL);
    if (status != EFI_BUFFER_TOO_SMALL)
        return size == 0 ? EFI_SUCCESS : status;
    *data = allocate(boot, size);
    if (*data == NULL)
        return EFI_OUT_OF_RESOURCES;
    status = file->LoadFile(file, at, FALSE, &size, *data);
    *len = size;
    return status;
}

// ---- the rest -----------------------------------------------------------------------------------

static UINT64 rsdp_find(const EFI_SYSTEM_TABLE *system)
{
    EFI_GUID acpi2 = ACPI_20_TABLE_GUID;
    EFI_GUID acpi1 = ACPI_TABLE_GUID;
    UINT64 found = 0;
    for (UINTN i = 0; i < system->NumberOfTableEntries; i++) {
        const EFI_CONFIGURATION_TABLE *table = &system->ConfigurationTable[i];
        if (same_bytes(&table->VendorGuid, &acpi2, sizeof(acpi2)))
            return (UINT64)table->VendorTable;
        if (same_bytes(&table->VendorGuid, &acpi1, sizeof(acpi1)))
            found = (UINT64)table->VendorTable;
    }
    return found;
}

// Gets the memory map and leaves the firmware. The map changes with every allocation, so the buffer
// comes first, and a map that got stale in between is fetched again.
static EFI_STATUS leave_firmware(EFI_BOOT_SERVICES *boot, EFI_HANDLE image, struct efi_info *info)
{
    UINTN size = 0;
    UINTN key = 0;
    UINTN descriptor_size = 0;
    UINT32 version = 0;
    boot->GetMemoryMap(&size, NULL, &key, &descriptor_size, &version);
    UINTN room = size + MAP_SLACK_BYTES;
    EFI_MEMORY_DESCRIPTOR *map = allocate(boot, room);
    if (map == NULL)
        return EFI_OUT_OF_RESOURCES;
    EFI_STATUS status = EFI_INVALID_PARAMETER;
    for (int tries = 0; tries < 4 && status != EFI_SUCCESS; tries++) {
        size = room;
        status = boot->GetMemoryMap(&size, map, &key, &descriptor_size, &version);
        if (status != EFI_SUCCESS)
            return status;
        status = boot->ExitBootServices(image, key);
    }
    *info = (struct efi_info){
        .efi_loader_signature = 0x34364c45, // "EL64"
        .efi_memdesc_size = (UINT32)descriptor_size,
        .efi_memdesc_version = version,
        .efi_memmap = (UINT32)(UINT64)map,
        .efi_memmap_size = (UINT32)size,
    };
    return status;
}

EFI_STATUS EFIAPI efi_entry(EFI_HANDLE image, EFI_SYSTEM_TABLE *system)
{
    EFI_BOOT_SERVICES *boot = system->BootServices;
    EFI_GUID loaded_image = LOADED_IMAGE_PROTOCOL;
    EFI_LOADED_IMAGE *loaded;
    EFI_STATUS status = boot->HandleProtocol(image, &loaded_image, (void **)&loaded);
    if (status != EFI_SUCCESS)
        return fail(system, L"no loaded-image protocol", status);

    UINT64 image_bytes = (UINT64)(kernel_image_end - kernel_image_start);
    char *memory = allocate(boot, image_bytes + IMAGE_ALIGNMENT);
    struct boot_params *params = allocate(boot, sizeof(*params));
    char *command_line = allocate(boot, COMMAND_LINE_BYTES);
    if (memory == NULL || params == NULL || command_line == NULL)
        return fail(system, L"not enough memory below 4 GiB", EFI_OUT_OF_RESOURCES);
    char *kernel = (char *)(((UINT64)memory + IMAGE_ALIGNMENT - 1) & ~(IMAGE_ALIGNMENT - 1));
    copy(kernel, kernel_image_start, (UINT64)(kernel_loaded_end - kernel_image_start));

    clear(params, sizeof(*params));
    command_line_read(loaded, command_line);
    void *initrd = NULL;
    UINT64 initrd_len = 0;
    status = initrd_read(boot, loaded, &initrd, &initrd_len);
    if (status != EFI_SUCCESS)
        return fail(system, L"the initial file system can't be loaded", status);
    params->hdr.type_of_loader = LOADER_UNDEFINED;
    params->hdr.cmd_line_ptr = (UINT32)(UINT64)command_line;
    params->hdr.ramdisk_image = (UINT32)(UINT64)initrd;
    params->hdr.ramdisk_size = (UINT32)initrd_len;
    params->acpi_rsdp_addr = rsdp_find(system);

    struct efi_info info;
    status = leave_firmware(boot, image, &info);
    if (status != EFI_SUCCESS)
        return fail(system, L"the firmware does not let us go", status);
    params->efi_info = info;
    __asm__ volatile("cli; jmp *%0" : : "r"(kernel + LINUX64_ENTRY), "S"(params) : "memory");
    __builtin_unreachable();
}
