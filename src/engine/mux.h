/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Docker's frames (SHIM_MUX) taken apart: eight bytes, of which the first is the stream and the last four the length, and then so many bytes of it. They come from our own
 * shim, so what is wrong with one is the end of it; payload goes on as it arrives, whatever its length.
 */
#pragma once

#include "base/err.h"

typedef struct MuxReader {
	uint8_t head[8];
	unsigned have;
	uint32_t left; /* of the frame at hand */
} MuxReader;

/* stream: 1 stdout, 2 stderr. A negative return ends mux_read with it. */
typedef int (*MuxSink)(void *user, int stream, const void *data, size_t len);

/* 0, what sink returned, or -EPROTO. */
int mux_read(MuxReader *m, const void *data, size_t len, MuxSink sink, void *user);
