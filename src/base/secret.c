/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract is in secret.h. The usable size of a block may be larger than what was asked for; all of it is
 * ours to wipe, and since the block came through a pointer of unknown size, no bound that the compiler knows is crossed.
 */
#include "base/secret.h"

#include <jansson.h>
#include <malloc.h>
#include <sys/prctl.h>

void secret_free(void *p)
{
	int saved = errno;

	if (p)
		explicit_bzero(p, malloc_usable_size(p));
	free(p);
	errno = saved;
}

void *secret_realloc(void *p, size_t size)
{
	size_t old = p ? malloc_usable_size(p) : 0;
	void *fresh;

	/* An empty block is a block: its pointer must not look like a failure. */
	fresh = malloc(size ? size : 1);
	if (!fresh)
		return NULL;
	if (p)
		memcpy(fresh, p, MIN2(old, size));
	secret_free(p);
	return fresh;
}

void secret_wipe_json(void)
{
	json_set_alloc_funcs(malloc, secret_free);
}

void secret_process(void)
{
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}
