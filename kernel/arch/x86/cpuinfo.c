// SPDX-License-Identifier: MIT
// /proc/cpuinfo in the form that programs parse.

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/cpu.h"
#include "kernel/arch/x86/firmware.h"
#include "kernel/arch/x86/tsc.h"
#include "kernel/base/fmt.h"
#include "kernel/base/string.h"
#include "kernel/core/cpumask.h"

#define FLAGS_BYTES 1024
#define VALUE_BYTES 64

// Names that Linux gives to CPUID bits; an empty string is a bit without a name there.
struct flag_word {
    const uint32_t *word;
    const char *names[32];
};
static const struct flag_word flag_words[] = {
    {&cpu_features.leaf1_edx,
        {"fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce", "cx8", "apic", "", "sep", "mtrr",
            "pge", "mca", "cmov", "pat", "pse36", "pn", "clflush", "", "dts", "acpi", "mmx", "fxsr",
            "sse", "sse2", "ss", "ht", "tm", "ia64", "pbe"}},
    {&cpu_features.extended_edx, {[11] = "syscall",
                                     [19] = "mp",
                                     [20] = "nx",
                                     [22] = "mmxext",
                                     [25] = "fxsr_opt",
                                     [26] = "pdpe1gb",
                                     [27] = "rdtscp",
                                     [29] = "lm",
                                     [30] = "3dnowext",
                                     [31] = "3dnow"}},
    {&cpu_features.leaf1_ecx,
        {"pni", "pclmulqdq", "dtes64", "monitor", "ds_cpl", "vmx", "smx", "est", "tm2", "ssse3",
            "cid", "sdbg", "fma", "cx16", "xtpr", "pdcm", "", "pcid", "dca", "sse4_1", "sse4_2",
            "x2apic", "movbe", "popcnt", "tsc_deadline_timer", "aes", "xsave", "", "avx", "f16c",
            "rdrand", "hypervisor"}},
    {&cpu_features.extended_ecx,
        {"lahf_lm", "cmp_legacy", "svm", "extapic", "cr8_legacy", "abm", "sse4a", "misalignsse",
            "3dnowprefetch", "osvw", "ibs", "xop", "skinit", "wdt", [16] = "fma4", [21] = "tbm"}},
    {&cpu_features.leaf7_ebx,
        {"fsgsbase", "tsc_adjust", "sgx", "bmi1", "hle", "avx2", "", "smep", "bmi2", "erms",
            "invpcid", "rtm", "cqm", "", "mpx", "rdt_a", "avx512f", "avx512dq", "rdseed", "adx",
            "smap", "avx512ifma", "", "clflushopt", "clwb", "intel_pt", "avx512pf", "avx512er",
            "avx512cd", "sha_ni", "avx512bw", "avx512vl"}},
    {&cpu_features.leaf7_ecx, {[1] = "avx512vbmi",
                                  [2] = "umip",
                                  [6] = "avx512_vbmi2",
                                  [8] = "gfni",
                                  [9] = "vaes",
                                  [10] = "vpclmulqdq",
                                  [11] = "avx512_vnni",
                                  [12] = "avx512_bitalg",
                                  [14] = "avx512_vpopcntdq",
                                  [22] = "rdpid"}},
    {&cpu_features.leaf7_edx, {[4] = "fsrm", [14] = "serialize"}},
    {&cpu_features.xsave_eax, {"xsaveopt", "xsavec", "xgetbv1", "xsaves"}},
};

static void flags_text(char *text, size_t size)
{
    size_t len = 0;
    text[0] = 0;
    for (size_t i = 0; i < ARRAY_SIZE(flag_words); i++) {
        for (unsigned bit = 0; bit < 32; bit++) {
            const char *name = flag_words[i].names[bit];
            if (!(*flag_words[i].word >> bit & 1) || name == NULL || name[0] == 0)
                continue;
            if (len != 0 && len + 1 < size)
                text[len++] = ' ';
            len += strlcpy(text + len, name, size - len);
            if (len >= size)
                return;
        }
    }
}

// Family, model and stepping from CPUID 1 EAX (Intel SDM 2A, CPUID).
static void signature_split(uint32_t eax, uint32_t *family, uint32_t *model, uint32_t *stepping)
{
    *stepping = eax & 15;
    *model = (eax >> 4) & 15;
    *family = (eax >> 8) & 15;
    if (*family == 6 || *family == 15)
        *model |= ((eax >> 16) & 15) << 4;
    if (*family == 15)
        *family += (eax >> 20) & 0xff;
}

void arch_cpuinfo_visit(
    uint32_t cpu, void (*line)(const char *key, const char *value, void *context), void *context)
{
    // The same for all CPUs: whoever comes later writes the same bytes
    static char flags[FLAGS_BYTES];
    char value[VALUE_BYTES];
    uint32_t family;
    uint32_t model;
    uint32_t stepping;
    const struct cpu_features *features = &cpu_features;
    assert(cpu < cpu_count_possible);
    signature_split(features->signature, &family, &model, &stepping);
    if (flags[0] == 0)
        flags_text(flags, sizeof(flags));

#define NUMBER(key, ...)                                                                           \
    do {                                                                                           \
        fmt_snprintf(value, sizeof(value), __VA_ARGS__);                                           \
        line(key, value, context);                                                                 \
    } while (0)
    NUMBER("processor", "%u", cpu);
    line("vendor_id", features->vendor, context);
    NUMBER("cpu family", "%u", family);
    NUMBER("model", "%u", model);
    line("model name", features->brand[0] != 0 ? features->brand : "unknown", context);
    NUMBER("stepping", "%u", stepping);
    uint64_t khz = tsc_frequency_hz() / 1000;
    NUMBER("cpu MHz", "%lu.%03lu", khz / 1000, khz % 1000);
    NUMBER("physical id", "%u", 0u);
    NUMBER("siblings", "%u", cpumask_count(&cpu_online));
    NUMBER("core id", "%u", cpu);
    NUMBER("cpu cores", "%u", cpumask_count(&cpu_online));
    NUMBER("apicid", "%u", firmware.cpu_apic_ids[cpu]);
    NUMBER("initial apicid", "%u", firmware.cpu_apic_ids[cpu]);
    line("fpu", "yes", context);
    line("fpu_exception", "yes", context);
    NUMBER("cpuid level", "%u", features->max_leaf);
    line("wp", "yes", context);
    line("flags", flags, context);
    line("bugs", "", context);
    NUMBER("bogomips", "%lu.%02lu", 2 * khz / 1000, 2 * khz % 1000 / 10);
    NUMBER("clflush size", "%u", 64u);
    NUMBER("cache_alignment", "%u", 64u);
    NUMBER("address sizes", "%u bits physical, %u bits virtual", features->physical_address_bits,
        features->virtual_address_bits);
    line("power management", "", context);
#undef NUMBER
}

uint32_t arch_hwcap(void)
{
    return cpu_features.leaf1_edx;
}

uint32_t arch_hwcap2(void)
{
    return cpu_features.fsgsbase ? BIT(1) : 0;
}

bool arch_random_word(uint64_t *word)
{
    bool done = false;
    if (cpu_features.leaf7_ebx & BIT(18))
        asm volatile("rdseed %0" : "=r"(*word), "=@ccc"(done));
    if (!done && (cpu_features.leaf1_ecx & BIT(30)))
        asm volatile("rdrand %0" : "=r"(*word), "=@ccc"(done));
    return done;
}
