// SPDX-License-Identifier: MIT
//
// Debian packages whose programs run in a guest. They are fetched with apt and unpacked into
// out/cache; nothing is installed on the host.
#pragma once

#include "tools/lodger/util.h"

// The folder that holds the files of the packages and of all that they depend on, as a root file
// system. Fetches and unpacks them if it is not there; symbolic links that begin at the root are
// changed so that they stay inside. NULL, with a reason to be freed, if that is not possible.
char *packages_root(const struct strings *names, char **reason);
