/* SPDX-License-Identifier: Apache-2.0 */
/* What connects an archive with an HTTP exchange: the source of a TarReader and the sink of a TarWriter, whose `user` is the Httpc. */
#pragma once

#include "tar.h"
#include "wire/http-client.h"

static inline ssize_t tar_http_source(void *user, void *buf, size_t cap, Err *e)
{
	return httpc_read(user, buf, cap, e);
}

static inline int tar_http_sink(void *user, const void *data, size_t n, Err *e)
{
	return httpc_write(user, data, n, e);
}
