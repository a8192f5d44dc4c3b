// SPDX-License-Identifier: MIT
//
// Runs tidy over the tree: `./lodger test` starts tests in the root.
#include <stdlib.h>

int main(void)
{
    return system("out/host/tidy") == 0 ? 0 : 1;
}
