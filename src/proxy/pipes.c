/* SPDX-License-Identifier: Apache-2.0 */
/* Making and sizing a pipe costs four system calls; one that is empty serves the next flow as well. */
#include "proxy/proxy-internal.h"

#include <fcntl.h>

#define PIPE_SIZE (1024 << 10)

int pipe_take(PipePool *p, Pipe *ret)
{
	int fds[2];

	if (p->n > 0) {
		*ret = p->idle[--p->n];
		return 0;
	}
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	/* A user may have so many pages in pipes (pipe(7)); past that they stay small, which costs switches and nothing else. */
	(void)fcntl(fds[1], F_SETPIPE_SZ, PIPE_SIZE);
	*ret = (Pipe){.in = fds[1], .out = fds[0]};
	return 0;
}

void pipe_close(Pipe *pipe)
{
	close_fd(&pipe->in);
	close_fd(&pipe->out);
}

void pipe_give(PipePool *p, Pipe *pipe)
{
	if (pipe->in < 0)
		return;
	if (p->n < PIPES_IDLE_MAX) {
		p->idle[p->n++] = *pipe;
		*pipe = PIPE_NONE;
	} else {
		pipe_close(pipe);
	}
}

void pipe_pool_done(PipePool *p)
{
	while (p->n > 0)
		pipe_close(&p->idle[--p->n]);
}
