/* SPDX-License-Identifier: Apache-2.0 */
/* How a record is written for a log server: one datagram, or one line of a stream. */
#pragma once

#include "base/json.h"
#include "base/str.h"

struct LogPiece;

typedef struct RemoteFormat {
	void (*put)(const struct RemoteFormat *f, const struct LogPiece *p, StrBuf *out);
	int facility;
	char *tag, *hostname;
	StrBuf fields; /* of journald, encoded */
} RemoteFormat;

/* doc as in remote.h. */
int remote_format_init(RemoteFormat *f, const json_t *doc, Err *e);
void remote_format_done(RemoteFormat *f);
