/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a full disk means to whoever brought something in: how much was needed, how much is free, and nothing left behind.
 *
 * How large an image is unpacked is known only when it is unpacked. But what was free when the call began was not enough, and
 * the packed layers or the bytes received so far are a lower bound too: the larger of the two is what is told.
 */
#include "engine/image-internal.h"

void space_begin(Engine *en, SpaceWatch *w)
{
	StoreSpace space = {0};

	*w = (SpaceWatch){.free_before = store_space(en->store, &space, NULL) >= 0 ? space.free : -1};
}

static void bytes_text(int64_t n, char text[32])
{
	static const char *const units[] = {"bytes", "KB", "MB", "GB", "TB"};
	double v = (double)n;
	size_t u = 0;

	for (; v >= 1000 && u + 1 < ELEMENTSOF(units); u++)
		v /= 1000;
	snprintf(text, 32, u == 0 ? "%.0f %s" : "%.1f %s", v, units[u]);
}

int space_end(Engine *en, const SpaceWatch *w, int r, Err *e)
{
	char needed[32], now[32];
	StoreSpace space;
	Err own;

	if (r != -ENOSPC && r != -EDQUOT)
		return r;
	/* Layers that came before the one that did not fit would wait for another try: not on a full disk. */
	if (gc_run(en, 0, &own) < 0)
		log_warn("%s", own.msg);
	gc_disk_full(en);
	if (!e || w->free_before < 0 || store_space(en->store, &space, NULL) < 0)
		return r;
	bytes_text(MAX2(w->free_before, w->least), needed);
	bytes_text(space.free, now);
	own = *e;
	return err_new_no(e, ERR_EXHAUSTED, -r, "%s (needed: more than %s; free in %s: %s)", own.msg, needed,
			  store_root(en->store), now);
}
