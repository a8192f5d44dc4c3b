// SPDX-License-Identifier: MIT
// Numbers of the counters' registers and their bits: Intel SDM volume 3B, chapter 20 (performance
// monitoring) and volume 4; AMD APM volume 2, chapter 13.2 and volume 3, appendix E. No package of
// headers for programs has them.
#pragma once

// ---- select registers, both vendors ----
#define PMU_SELECT_EVENT   UINT64_C(0xff)
#define PMU_SELECT_UMASK   UINT64_C(0xff00)
#define PMU_SELECT_USER    BIT(16)
#define PMU_SELECT_KERNEL  BIT(17)
#define PMU_SELECT_EDGE    BIT(18)
#define PMU_SELECT_INT     BIT(20)
#define PMU_SELECT_ENABLE  BIT(22)
#define PMU_SELECT_INVERT  BIT(23)
#define PMU_SELECT_CMASK   UINT64_C(0xff000000)
#define AMD_SELECT_EVENT_2 UINT64_C(0xf00000000) // AMD: bits 8 to 11 of the event

// ---- Intel ----
#define MSR_PMC0                0x0c1
#define MSR_PERFEVTSEL0         0x186
#define MSR_DEBUGCTL            0x1d9
#define MSR_FIXED_CTR0          0x309
#define MSR_PERF_CAPABILITIES   0x345
#define MSR_FIXED_CTR_CTRL      0x38d
#define MSR_GLOBAL_STATUS       0x38e
#define MSR_GLOBAL_CTRL         0x38f
#define MSR_GLOBAL_STATUS_RESET 0x390 // GLOBAL_OVF_CTRL before version 4
#define MSR_GLOBAL_STATUS_SET   0x391 // version 4
#define MSR_PMC0_FULL_WIDTH     0x4c1
#define INTEL_GENERAL_MAX       8 // 0x186 + 8 and 0xc1 + 8 are other things
#define INTEL_FIXED_MAX         16
#define INTEL_FIXED_KERNEL      UINT64_C(1) // of four bits a counter in FIXED_CTR_CTRL
#define INTEL_FIXED_USER        UINT64_C(2)
#define INTEL_FIXED_INT         UINT64_C(8)
#define INTEL_FIXED_MASK        UINT64_C(15)
#define INTEL_STATUS_FROZEN     BIT(59) // version 4: CTR_FRZ
#define INTEL_DEBUGCTL_FREEZE   BIT(12) // FREEZE_PERFMON_ON_PMI
#define INTEL_CAP_FULL_WIDTH    BIT(13)
#define INTEL_CPUID_PDCM        BIT(15) // leaf 1, ECX: there is PERF_CAPABILITIES
#define INTEL_CPUID_LEAF        0xa

// ---- AMD ----
#define MSR_K7_EVNTSEL0           0xc0010000
#define MSR_K7_PERFCTR0           0xc0010004
#define MSR_F15H_PERF_CTL0        0xc0010200
#define MSR_F15H_PERF_CTR0        0xc0010201
#define MSR_AMD_GLOBAL_STATUS     0xc0000300
#define MSR_AMD_GLOBAL_CTL        0xc0000301
#define MSR_AMD_GLOBAL_STATUS_CLR 0xc0000302
#define AMD_K7_COUNTERS           4
#define AMD_CORE_COUNTERS         6
#define AMD_WIDTH_BITS            48
#define AMD_CPUID_PERFCTR_CORE    BIT(23) // leaf 80000001, ECX
#define AMD_CPUID_LEAF_V2         0x80000022
