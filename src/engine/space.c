/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a full disk means to whoever brought something in: how much was needed, how much is free, and nothing left behind.
 *
 * How large an image is unpacked is known only when it is unpacked. But what was free when the call began was not enough, and
 * the packed layers or the bytes received so far are a lower bound too: the larger of the two is what is told.
 */
#include "engine/image-internal.h"

#define FEW_FILES  65536 /* so many inodes are worth a word */
#define LEAST_FREE 65536 /* with less a disk is as good as full */

void engine_space_begin(Engine *en, EngineSpace *w)
{
	StoreSpace space = {0};

	if (store_space(en->store, &space, NULL) < 0)
		space = (StoreSpace){.free = -1, .files_free = -1};
	*w = (EngineSpace){.bytes = space.free, .files = space.files_free};
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

/* "6.3 MB", and inodes where they are few. */
static char *amount_text(int64_t bytes, int64_t files, const char *between)
{
	char text[32];

	bytes_text(bytes, text);
	return files < 0 || files >= FEW_FILES ? strdup(text)
					       : strf("%s%s%lld files", text, between, (long long)files);
}

int engine_space_end(Engine *en, const EngineSpace *w, int r, Err *e)
{
	_cleanup_free_ char *needed = NULL, *now = NULL;
	StoreSpace space;
	Err own;

	if (r != -ENOSPC && r != -EDQUOT)
		return r;
	/* Layers that came before the one that did not fit would wait for another try: not on a full disk. */
	if (gc_run(en, 0, &own) < 0)
		log_warn("%s", own.msg);
	gc_disk_full(en);
	if (!e || w->bytes < 0 || store_space(en->store, &space, NULL) < 0)
		return r;
	needed = amount_text(MAX2(w->bytes, w->least), w->files, " or ");
	now = amount_text(space.free, space.files_free, ", ");
	if (!needed || !now)
		return r;
	own = *e;
	return err_new_no(
	    e, ERR_EXHAUSTED, -r,
	    "%s (needed: more than %s; free in %s: %s; system prune and builder prune make room)", own.msg,
	    needed, store_root(en->store), now);
}

char *engine_space_none(Engine *en)
{
	StoreSpace space;

	if (store_space(en->store, &space, NULL) < 0)
		return NULL;
	if (space.free < LEAST_FREE)
		return strf("the disk of %s is full: system prune and builder prune make room",
			    store_root(en->store));
	if (space.files_free >= 0 && space.files_free < 16)
		return strf("the file system of %s has no inodes left for more files: system prune and "
			    "builder prune make room",
			    store_root(en->store));
	return NULL;
}
