/* SPDX-License-Identifier: Apache-2.0 */
/* The report to the store: frames of unpack-protocol.h, gathered and written in big pieces. One thread only. */
#pragma once

#include "store/unpack-protocol.h"

typedef struct Report {
	int fd;
	size_t len;
	char buf[32768];
} Report;

int report_add(Report *r, UnpackFrameType type, const void *data, size_t len, Err *e);
int report_flush(Report *r, Err *e);
