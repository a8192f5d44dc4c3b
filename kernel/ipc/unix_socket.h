// SPDX-License-Identifier: MIT
// AF_UNIX: what start-up calls. The rest goes through kernel/net/socket/socket.h.
#pragma once

void unix_start(void);
