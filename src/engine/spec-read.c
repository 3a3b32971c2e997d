/* SPDX-License-Identifier: Apache-2.0 */
/* What a container that runs was made of in the end: its document of the OCI runtime specification, as the runtime was given it. */
#include "engine/engine-internal.h"

#include <fcntl.h>

#define SPEC_MAX (8u << 20)

int engine_container_spec(Engine *en, const char *ref, json_t **ret, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	_cleanup_free_ char *path = NULL;
	int r = container_find(en, ref, &c, e);

	if (r < 0)
		return r;
	path = strf("%s/%s/config.json", en->containers_run, c->id);
	r = path ? json_load_at(AT_FDCWD, path, SPEC_MAX, ret, e) : err_oom(e);
	if (r == -ENOENT)
		return err_new(e, ERR_NOT_FOUND, "container %.12s does not run: its specification is gone",
			       c->id);
	return err_ctx(e, r, "container %.12s", c->id);
}
