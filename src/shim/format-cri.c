/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log that a kubelet reads: TIME STREAM TAG TEXT, a line each, with one blank between them. TAG is F where the text ends a line, and P where more of
 * the line follows, or its stream has ended. Nothing is escaped: what a container writes can look like a record only behind a head of ours.
 *
 * A terminal ends its lines with "\r\n". As in containerd's files, that "\r" is not part of the text, whoever wrote it.
 */
#include "shim/logger.h"

#include "base/clock.h"

/* "2026-11-26T21:50:33.123456789Z stdout F " for each stream and tag. The records of one read have one time: writing it out once is enough. */
#define HEAD_MAX 64

typedef struct Heads {
	int64_t time_ns;
	size_t len;
	char text[2][2][HEAD_MAX];
} Heads;

static const Heads *heads_at(int64_t time_ns)
{
	static Heads h = {.time_ns = -1};

	if (time_ns == h.time_ns)
		return &h;
	for (int stream = 0; stream < 2; stream++)
		for (int full = 0; full < 2; full++)
			h.len = (size_t)snprintf(h.text[stream][full], HEAD_MAX, "%s %s %c ",
						 clock_rfc3339_fixed(time_ns).s, stream ? "stderr" : "stdout",
						 full ? 'F' : 'P');
	h.time_ns = time_ns;
	return &h;
}

static void put(RecordFile *f, const LogPiece *p, const char *attrs _unused_)
{
	const Heads *h = heads_at(p->time_ns);
	size_t n = p->n;

	if (p->newline && n > 0 && p->text[n - 1] == '\r')
		n--;
	record_put(f, h->text[p->stream][p->newline], h->len);
	record_put(f, p->text, n);
	record_end(f, "\n", 1);
}

const LogFormat log_format_cri = {"cri", put, record_lines_end};
