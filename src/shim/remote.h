/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way of a log to a server: syslog (RFC 3164, RFC 5424; datagrams or a stream) and journald (its native protocol).
 *
 * Nothing here blocks. What the server does not take at once waits in a queue of at most `buffer` bytes. In blocking mode
 * the reader of the container's output asks remote_is_full() and waits for room; in non-blocking mode records that find no room
 * are dropped. While the server is away, records are dropped too, and it is called again once a second: a log server that is down
 * stops no container. Losses are counted and told in the engine's log.
 */
#pragma once

#include "base/json.h"
#include "shim/loop.h"

struct LogPiece;

typedef struct Remote Remote;

/*
 * {"driver": "syslog" or "journald",
 *  "network": "unixgram" or "unix", "path"; or "udp" or "tcp", "ip", "port"; or "tcp+tls" and what remote-tls.h says,
 *  "non_blocking": bool, "buffer": bytes,
 *  "format": "" "rfc3164" "rfc5424" "rfc5424micro", "facility": 0..23, "tag", "hostname"      (syslog)
 *  "fields": ["K=V", ...]                                                                     (journald)}
 * Fails if the server cannot be reached now.
 */
int remote_open(const json_t *doc, Loop *loop, Remote **ret, Err *e);
void remote_close(Remote *r);
DEFINE_CLEANUP(Remote *, remote_close)

void remote_put(Remote *r, const struct LogPiece *p);
/* Sends what can be sent now. */
void remote_flush(Remote *r);
bool remote_is_full(Remote *r);
/* Something waits to be sent. */
bool remote_busy(const Remote *r);
/* Called when it was full and there is room again. */
void remote_on_room(Remote *r, void (*room)(void *user), void *user);
