/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cage of ireko-proxy, which strangers can reach: closed before the first connection.
 *
 *   sandbox_enter   in the background, in a session of its own, in /; nothing open but standard streams, control socket and report; as many
 *                   descriptors as may be had; no capability, no new privileges
 *   sandbox_seal    only the system calls of the loop remain, and sockets of IPv4 and IPv6 only: no file can be opened, no program be
 *                   executed, no unix socket reached. Any other call kills the process
 */
#pragma once

#include "base/err.h"

/* Returns in a child; the caller's process ends. */
int sandbox_enter(Err *e);
int sandbox_seal(Err *e);
