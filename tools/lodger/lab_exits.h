// SPDX-License-Identifier: MIT
#pragma once

// lodger lab kvm|xen --exits [--json] [OPERATION...]: counts what operations cost the host, on this
// kernel and on Debian's. `word` names the lab. Returns the command's exit code.
int lab_exits(int argc, char **argv, const char *word);
