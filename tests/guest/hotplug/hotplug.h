// SPDX-License-Identifier: MIT
//
// What the tests of CPU hot-plug share: a CPU's file in /sys.
#pragma once
#include "tests/guest/check.h"
#include <sched.h>

#define CPU_FOLDER "/sys/devices/system/cpu"

// Writes to cpuN/online; what write(2) gives.
CHECK_UNUSED static ssize_t hotplug_write(unsigned cpu, const char *text)
{
    char path[64];
    snprintf(path, sizeof(path), CPU_FOLDER "/cpu%u/online", cpu);
    int file = (int)MUST(open(path, O_WRONLY));
    ssize_t written = write(file, text, strlen(text));
    int error = errno;
    close(file);
    errno = error;
    return written;
}

CHECK_UNUSED static cpu_set_t hotplug_set(unsigned mask)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (unsigned cpu = 0; cpu < 32; cpu++) {
        if (mask >> cpu & 1) {
            CPU_SET(cpu, &set);
        }
    }
    return set;
}

CHECK_UNUSED static int hotplug_pin(unsigned mask)
{
    cpu_set_t set = hotplug_set(mask);
    return sched_setaffinity(0, sizeof(set), &set);
}

// The running thread's affinity as bits.
CHECK_UNUSED static unsigned hotplug_affinity(void)
{
    cpu_set_t set;
    unsigned mask = 0;
    MUST(sched_getaffinity(0, sizeof(set), &set));
    for (unsigned cpu = 0; cpu < 32; cpu++) {
        mask |= CPU_ISSET(cpu, &set) ? 1u << cpu : 0;
    }
    return mask;
}
