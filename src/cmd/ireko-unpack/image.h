/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stream becomes an EROFS image (store/erofs.h): its plain bytes are written as they come, while the tar in them is
 * read; what was learned of names and inodes is written behind them at the end.
 */
#pragma once

#include "report.h"
#include "store/tar-read.h"
#include "stream.h"

/* The tar, copies of what is sparse in it, names and inodes. */
#define IMAGE_BYTES_MAX(stream_max) ((stream_max) > INT64_MAX / 4 ? INT64_MAX : (stream_max)*2 + (4ll << 30))

typedef struct Image {
	int fd; /* stands at the place of the tar */
	Stream *stream;
	TarNextChunk next; /* of the stream */
	void *user;
	Report *report;
	int64_t max_bytes, max_files;
} Image;

int image_write(const Image *i, UnpackDone *done, Err *e);
