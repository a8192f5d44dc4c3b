// SPDX-License-Identifier: MIT
//
// What the pictures of `lodger perf` share.
#pragma once

#include <stdio.h>

// Writes text with the characters of XML escaped; what is no printable ASCII becomes '?'.
void svg_text(FILE *file, const char *text);

// A colour for a name: the same name has the same colour. `hue` is the middle of its hues in
// degrees, `spread` how far they go from it.
void svg_colour(char colour[static 8], const char *name, unsigned hue, unsigned spread);
