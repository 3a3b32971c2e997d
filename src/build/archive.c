/* SPDX-License-Identifier: Apache-2.0 */
/* A result as an archive of an image, for who wants nothing else: the engine has the image only while it is written. */
#include "build/annotation.h"
#include "build/result.h"

#include "base/log.h"

typedef struct Writing {
	int fd;
} Writing;

static int archive_begin(void *user, Err *e _unused_)
{
	const Writing *w = user;

	return w->fd;
}

/* One of them at least, from before: what is here stays. With --squash the images are others, which are nobody's before. */
static bool is_here(const BuildResult *r)
{
	bool here = false;

	for (; r && !here; r = r->next) {
		StoreImage image = {0};
		char id[DIGEST_LEN + 1];

		digest_of(r->text, strlen(r->text), id);
		here = !r->squash && store_image_get(r->store, id, &image, NULL) >= 0;
		store_image_done(&image);
	}
	return here;
}

/* It stays if somebody has given it a name meanwhile, or uses it. */
static void forget(const BuildResult *r, const char *id)
{
	StoreImage image = {0};
	json_t *said = NULL;
	Err err = {0};
	int no = store_image_get(r->store, id, &image, NULL);

	if (no >= 0 && strv_len(image.tags) == 0) {
		no = engine_image_remove(r->en, id, false, true, &said, &err);
		if (no < 0 && err.kind != ERR_CONFLICT && err.kind != ERR_NOT_FOUND)
			log_warn("image %s, made for an archive, stays: %s", id, err_msg(&err, no));
	}
	store_image_done(&image);
	json_decref(said);
}

static int check(const BuildResult *r, const BuildImageOptions *o, const char *format, Err *e)
{
	bool documents = false;
	int no = index_wanted(r, o, &documents, e); /* o asks for no manifest by itself */

	if (no >= 0 && streq(format, "docker") && documents)
		return err_new(
		    e, ERR_INVALID,
		    "an archive in docker's form has one image and no annotations or attestations: "
		    "use type=oci");
	return no < 0 ? no : build_tags_check(o->tags, e);
}

int build_result_archive(BuildResult *r, const BuildImageOptions *o, const char *format, int out_fd,
			 BuildImageMade *ret, Err *e)
{
	BuildImageOptions nameless = {.annotations = o->annotations, .manifest = streq(format, "oci")};
	Writing w = {out_fd};
	char *names[] = {ret->id, NULL};
	const EngineSave save = {
	    .names = names, .as = o->tags, .format = format, .begin = archive_begin, .user = &w};
	int no = check(r, o, format, e);

	if (no < 0)
		return no;
	bool was_here = is_here(r);
	no = build_result_image(r, &nameless, ret, e);
	if (no >= 0)
		no = engine_image_save(r->en, &save, e);
	if (!was_here && *ret->id)
		forget(r, ret->id);
	return no < 0 ? err_ctx(e, no, "write the archive") : 0;
}
