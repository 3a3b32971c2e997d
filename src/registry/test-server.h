/* SPDX-License-Identifier: Apache-2.0 */
/* A registry double in Python, beside the tests that talk to it. It says "port word" when it listens, and ends when its standard input does. */
#pragma once

#include "base/str.h"
#include "base/test.h"

#include <fcntl.h>
#include <sys/wait.h>

typedef struct Helper {
	pid_t pid;
	int in; /* closing it ends the helper */
	int port;
	char digest[72]; /* the second word it says: of its image, or its TLS port */
} Helper;

static inline int helper_start(Helper *h, const char *script, const char *argument)
{
	const char *source = getenv("SRCDIR");
	_cleanup_free_ char *path = strf("%s/src/registry/%s", source ? source : ".", script);
	int in[2], out[2];
	FILE *f;

	if (!path || pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
		return -1;
	h->pid = fork();
	if (h->pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		execlp("python3", "python3", path, argument, (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	h->in = in[1];
	f = fdopen(out[0], "r");
	char line[200] = "";
	bool told = f && fgets(line, sizeof(line), f);
	fclosep(&f);
	return told && sscanf(line, "%d %71s", &h->port, h->digest) == 2 ? 0 : -1;
}

static inline int helper_stop(Helper *h)
{
	int status = 0;

	close(h->in);
	return waitpid(h->pid, &status, 0) == h->pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
