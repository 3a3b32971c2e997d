/* SPDX-License-Identifier: Apache-2.0 */
/* The directories that COPY and ADD read: the client's, opened when the first step asks for them. */
#include "build/build-internal.h"

int build_context(Build *b, int *ret_fd, Err *e)
{
	const BuildFiles files = {.exclude = b->ignore.patterns};
	BuildVertex *v;
	int r = 0;

	pthread_mutex_lock(&b->context_lock);
	if (b->context_fd < 0 && b->rq->context) {
		r = err_new(
		    e, ERR_UNSUPPORTED,
		    "build from a remote context (%.200s) is not offered: fetch it and name the directory",
		    b->rq->context);
	} else if (b->context_fd < 0) {
		v = vertex_new(b, 0, "[internal] load build context");
		if (v)
			vertex_begin(b, v);
		r = v ? b->rq->client->directory(b->rq->client->user, "context", &files, v, &b->context_fd, e)
		      : err_oom(e);
		if (v)
			r = vertex_end(b, v, r, e);
	}
	*ret_fd = b->context_fd;
	pthread_mutex_unlock(&b->context_lock);
	return r;
}
