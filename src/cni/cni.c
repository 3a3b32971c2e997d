/* SPDX-License-Identifier: Apache-2.0 */
/* The calls of cni.h. No plugin is run yet: there is no network to be had, which every call says, and nothing to release. */
#include "cni/cni.h"

#include <stdlib.h>

struct Cni {
	int timeout_ms;
};

int cni_new(const CniOptions *o, Cni **ret, Err *e)
{
	Cni *c = calloc(1, sizeof(*c));

	if (!c)
		return err_oom(e);
	c->timeout_ms = o->timeout_ms;
	*ret = c;
	return 0;
}

void cni_free(Cni *c)
{
	free(c);
}

int cni_status(Cni *c, Err *e)
{
	return err_new(e, ERR_UNAVAILABLE, "no CNI plugin can be run by this version");
}

json_t *cni_describe(Cni *c)
{
	return json_null();
}

void cni_result_done(CniResult *r)
{
}

int cni_add(Cni *c, const CniAttachment *a, int alive_fd, CniResult *ret, Err *e)
{
	return cni_status(c, e);
}

int cni_del(Cni *c, const CniAttachment *a, Err *e)
{
	return 0;
}
