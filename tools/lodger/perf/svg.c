// SPDX-License-Identifier: MIT
//
// Text and colours of SVG.
#include "tools/lodger/perf/svg.h"

#include <math.h>
#include <stdint.h>

void svg_text(FILE *file, const char *text)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '<':
            fputs("&lt;", file);
            break;
        case '>':
            fputs("&gt;", file);
            break;
        case '&':
            fputs("&amp;", file);
            break;
        case '"':
            fputs("&quot;", file);
            break;
        default:
            fputc(*text >= ' ' && *text <= '~' ? *text : '?', file);
        }
    }
}

void svg_colour(char colour[static 8], const char *name, unsigned hue, unsigned spread)
{
    uint32_t hash = 2166136261u;
    for (; *name != '\0'; name++) {
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    }
    double degrees = hue + (double)(hash % (2 * spread + 1)) - spread;
    double value = 0.80 + (double)(hash >> 8 & 0xff) / 255 * 0.18;
    double saturation = 0.45 + (double)(hash >> 16 & 0xff) / 255 * 0.25;
    unsigned channels[3];
    for (int i = 0; i < 3; i++) {
        // HSV to RGB: f(n) = V - V S max(0, min(k, 4 - k, 1)), k = (n + H / 60) mod 6, n = 5, 3,
        // 1.
        double k = fmod((double)(5 - 2 * i) + degrees / 60 + 6, 6);
        double part = fmax(0, fmin(fmin(k, 4 - k), 1));
        channels[i] = (unsigned)((value - value * saturation * part) * 255);
    }
    snprintf(
        colour, 8, "#%02x%02x%02x", channels[0] & 0xff, channels[1] & 0xff, channels[2] & 0xff);
}
