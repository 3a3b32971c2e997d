/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any sequence of packets, each behind two bytes of its length: whatever a client sends of a directory, nothing but that directory is changed. Beside it lies
 * a file that must stay as it is.
 */
#include "api/buildkit/filesync.h"

#include "base/fd.h"

#include <fcntl.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

typedef struct Script {
	const uint8_t *at;
	size_t left;
} Script;

static int drop(void *user, const void *message, size_t len, Err *e)
{
	return 0;
}

static int next(void *user, uint8_t **ret, size_t *ret_len, Err *e)
{
	Script *s = user;
	size_t n;

	if (s->left < 2)
		return 0;
	n = (size_t)s->at[0] << 8 | s->at[1];
	s->at += 2;
	s->left -= 2;
	n = n < s->left ? n : s->left;
	*ret = malloc(n + 1);
	if (!*ret)
		return err_oom(e);
	memcpy(*ret, s->at, n);
	*ret_len = n;
	s->at += n;
	s->left -= n;
	return 1;
}

static void run(int root, bool fresh, const uint8_t *data, size_t len)
{
	Script script = {data, len};
	const SyncWire wire = {&script, drop, next};
	const SyncRequest rq = {.name = "context", .root = root, .fresh = fresh};
	Err e;

	(void)!filesync_run(&wire, &rq, &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char path[] = "/dev/shm/ireko-fuzz-XXXXXX";
	char *text = NULL;
	int top, root;

	if (!mkdtemp(path))
		abort();
	top = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (top < 0 || file_replace_at(top, "canary", "here", 4, 0600, false) < 0 ||
	    mkdirat(top, "root", 0700) < 0)
		abort();
	root = openat(top, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	run(root, true, data, len);
	run(root, false, data, len);
	if (file_read_at(top, "canary", 100, &text, NULL) < 0 || !streq(text, "here"))
		abort();
	free(text);
	close_fd(&root);
	close_fd(&top);
	if (remove_tree_at(AT_FDCWD, path) < 0)
		abort();
	return 0;
}
