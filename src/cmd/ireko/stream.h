/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of attach, exec and logs: multiplexed frames to two descriptors, and the two-way loop of an
 * attached terminal or pipe.
 */
#pragma once

#include "base/err.h"

/* Frames of 8 bytes header (stream, 3 zero bytes, length) and payload, however they were cut; raw for a
 * TTY. */
typedef struct Demux {
	bool raw;
	int out_fd, err_fd;
	unsigned char header[8];
	size_t have;   /* of the header */
	uint32_t left; /* of the payload */
} Demux;

/* -EBADMSG on a broken frame; -EPIPE etc. when an output is gone. */
int demux_feed(Demux *d, const char *data, size_t n, Err *e);

#define STREAM_KEYS_MAX 32

typedef struct Stream {
	int sock;          /* hijacked */
	const char *ahead; /* what was read ahead of it */
	size_t n_ahead;
	Demux output;
	int in_fd;                           /* -1: no input */
	unsigned char keys[STREAM_KEYS_MAX]; /* detach sequence, looked for if n_keys > 0 */
	size_t n_keys;
	int signal_fd; /* signalfd, or -1 */
	void (*on_signal)(void *user, int signo);
	void *user;
} Stream;

typedef enum StreamEnd { STREAM_ENDED, STREAM_DETACHED } StreamEnd;

/* Runs until the other side ends the stream or the user detaches: a StreamEnd, or -errno. */
int stream_run(Stream *s, Err *e);
