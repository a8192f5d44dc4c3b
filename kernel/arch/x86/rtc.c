// SPDX-License-Identifier: MIT
// The real-time clock in the CMOS memory (MC146818), read once at start-up: sixteen accesses.

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/firmware.h"
#include "kernel/arch/x86/io.h"

#define CMOS_INDEX 0x70
#define CMOS_DATA  0x71

#define CMOS_SECONDS  0
#define CMOS_MINUTES  2
#define CMOS_HOURS    4
#define CMOS_DAY      7
#define CMOS_MONTH    8
#define CMOS_YEAR     9
#define CMOS_STATUS_A 10
#define CMOS_STATUS_B 11

#define STATUS_A_UPDATING BIT(7)
#define STATUS_B_24_HOURS BIT(1)
#define STATUS_B_BINARY   BIT(2)
#define HOURS_PM          BIT(7)
#define ABSENT            0xff
#define READ_TRIES        100

static uint32_t cmos_read(uint8_t index)
{
    arch_out8(CMOS_INDEX, index);
    return arch_in8(CMOS_DATA);
}

static uint32_t from_bcd(uint32_t value)
{
    return (value >> 4) * 10 + (value & 15);
}

// Days from 1970-01-01 to a date of the Gregorian calendar; year >= 1970.
static int64_t days_since_1970(int64_t year, uint32_t month, uint32_t day)
{
    // Years begin in March here, so that the leap day is the last one.
    int64_t shifted = month <= 2 ? year - 1 : year;
    int64_t month_index = month <= 2 ? month + 9 : month - 3;
    int64_t day_of_year = (153 * month_index + 2) / 5 + (int64_t)day - 1;
    return shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + day_of_year - 719468;
}

int64_t arch_rtc_read(void)
{
    static const uint8_t registers[6] = {
        CMOS_SECONDS, CMOS_MINUTES, CMOS_HOURS, CMOS_DAY, CMOS_MONTH, CMOS_YEAR};
    uint32_t value[6];
    uint32_t status_b = cmos_read(CMOS_STATUS_B);
    if (status_b == ABSENT)
        return -1;
    bool stable = false;
    for (int tries = 0; tries < READ_TRIES && !stable; tries++) {
        if (cmos_read(CMOS_STATUS_A) & STATUS_A_UPDATING)
            continue;
        for (unsigned i = 0; i < ARRAY_SIZE(registers); i++)
            value[i] = cmos_read(registers[i]);
        stable = cmos_read(CMOS_SECONDS) == value[0];
    }
    if (!stable)
        return -1;

    bool pm = !(status_b & STATUS_B_24_HOURS) && (value[2] & HOURS_PM);
    if (!(status_b & STATUS_B_24_HOURS))
        value[2] &= ~(uint32_t)HOURS_PM;
    if (!(status_b & STATUS_B_BINARY)) {
        for (unsigned i = 0; i < ARRAY_SIZE(value); i++)
            value[i] = from_bcd(value[i]);
    }
    if (!(status_b & STATUS_B_24_HOURS))
        value[2] = value[2] % 12 + (pm ? 12 : 0);
    if (value[0] > 59 || value[1] > 59 || value[2] > 23 || value[3] < 1 || value[3] > 31 ||
        value[4] < 1 || value[4] > 12 || value[5] > 99)
        return -1;
    int64_t year = value[5] + (value[5] >= 70 ? 1900 : 2000);
    return ((days_since_1970(year, value[4], value[3]) * 24 + value[2]) * 60 + value[1]) * 60 +
           value[0];
}
