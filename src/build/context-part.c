/* SPDX-License-Identifier: Apache-2.0 */
/* A part of the context for a RUN that mounts it: the same files that a COPY would see. */
#include "build/context.h"
#include "build/copy.h"

static bool is_over(const void *user)
{
	return build_is_over(user);
}

WalkLimits build_limits(Build *b)
{
	StoreLayerLimits l = store_layer_limits(b->store);

	return (WalkLimits){.max_bytes = l.bytes, .max_files = l.files, .is_over = is_over, .user = b};
}

static int find(Build *b, const char *context, const char *source, TreeFilter *f, int *ret_root, Sources *ret,
		Err *e)
{
	Context *c;
	int r;

	if (context) {
		r = context_get(b, context, &c, e);
		if (r < 0)
			return r;
		*ret_root = context_dir(c);
		f->ignore = context_ignore(c);
	} else {
		r = build_context(b, ret_root, e);
		f->ignore = &b->ignore;
	}
	return r < 0 ? r : sources_match(*ret_root, source, f, ret, e);
}

int build_context_digest(Build *b, const char *context, const char *source, char ret[DIGEST_LEN + 1], Err *e)
{
	TreeFilter f = {0};
	WalkLimits limits = build_limits(b);
	const SourceDigest how = {.filter = &f, .limits = &limits, .memo_root = store_root_fd(b->store)};
	Sources found = {0};
	int root, r = find(b, context, source, &f, &root, &found, e);

	if (r >= 0)
		r = sources_digest(root, &found, &how, ret, e);
	sources_done(&found);
	return r;
}

static int copy_to(int from, const Source *s, TreeCopy *how, int root, const char *to, Err *e)
{
	Place p = {.dir = -1};
	int r;

	if (s->is_dir) {
		p.dir = place_directory(root, *to ? to : "/", how, e);
		r = MIN2(p.dir, 0);
	} else {
		r = place_open(root, to, false, s->name, how, &p, e);
	}
	if (r >= 0)
		r = tree_copy(how, from, s, p.dir, p.name, e);
	place_done(&p);
	return r;
}

int build_context_copy(Build *b, const char *context, const char *source, int root, Err *e)
{
	TreeFilter f = {0};
	WalkLimits limits = build_limits(b);
	TreeCopy how = {.set_owner = true, .filter = &f, .limits = &limits};
	Sources found = {0};
	int from, r = find(b, context, source, &f, &from, &found, e);

	for (size_t i = 0; r >= 0 && i < found.n; i++)
		r = copy_to(from, &found.items[i], &how, root, source, e);
	file_copy_done(&how.contents);
	sources_done(&found);
	return r;
}
