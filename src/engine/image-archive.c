/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images as archives, from the user's side: load, save, import. The formats are the store's (archive-*.c); here are names,
 * platforms, events, and file systems that are fetched from the web.
 */
#include "engine/change.h"
#include "engine/image-internal.h"
#include "registry/http.h"

#include <poll.h>

#define FETCH_MAX (64ll << 30) /* as the store's limit of one layer */

static int platform_parse(const char *text, ImagePlatform *buf, const ImagePlatform **ret, Err *e)
{
	*ret = str_empty(text) ? NULL : buf;
	return str_empty(text) ? 0 : image_platform_parse(text, buf, e);
}

/* ---- load ---- */

typedef struct Loading {
	Engine *en;
	const EngineLoad *l;
} Loading;

static void load_progress(void *user, const char *layer, int64_t current, int64_t total)
{
	const Loading *k = user;

	if (k->l->progress)
		k->l->progress(k->l->user, layer, "Loading layer", current, total);
}

static void load_done(void *user, const char *reference, const char *image_id)
{
	const Loading *k = user;
	_cleanup_free_ char *name = reference ? image_familiar(reference) : NULL;

	image_event(k->en, "load", image_id, name);
	if (k->l->loaded)
		k->l->loaded(k->l->user, reference, image_id);
}

int engine_image_load(Engine *en, const EngineLoad *l, Err *e)
{
	Loading k = {en, l};
	ArchiveLoad a = {
	    .fd = l->tar_fd, .progress = load_progress, .loaded = load_done, .user = &k, .only = l->only};
	ImagePlatform platform = {0};
	EngineSpace space;
	int r = platform_parse(l->platform, &platform, &a.platform, e), ended;

	if (r >= 0) {
		engine_space_begin(en, &space);
		store_lease_begin(en->store);
		r = store_archive_load(en->store, &a, e);
		ended = store_lease_end(en->store, r < 0 ? NULL : e);
		r = engine_space_end(en, &space, r < 0 ? r : ended, e);
	}
	image_platform_done(&platform);
	return r;
}

/* ---- save ---- */

static int format_parse(const char *text, ArchiveFormat *ret, Err *e)
{
	if (str_empty(text) || streq(text, "docker"))
		*ret = ARCHIVE_DOCKER;
	else if (streq(text, "oci"))
		*ret = ARCHIVE_OCI;
	else
		return err_new(e, ERR_INVALID,
			       "unknown format of archive \"%.40s\": docker and oci are known", text);
	return 0;
}

static int save_chosen(Engine *en, const EngineSave *s, ArchiveChoice *choice, Err *e)
{
	int fd = s->begin(s->user, e), r;
	const char *id;

	if (fd < 0)
		return fd;
	r = store_archive_write(choice, fd, e);
	for (size_t i = 0; r >= 0 && (id = archive_choice_image(choice, i)); i++)
		image_event(en, "save", id, NULL);
	return r;
}

int engine_image_save(Engine *en, const EngineSave *s, Err *e)
{
	_cleanup_(archive_choice_freep) ArchiveChoice *choice = NULL;
	ArchiveSave a = {.names = s->names, .as = s->as};
	ImagePlatform platform = {0};
	int r = format_parse(s->format, &a.format, e);

	if (r >= 0)
		r = platform_parse(s->platform, &platform, &a.platform, e);
	if (r >= 0)
		r = store_archive_choose(en->store, &a, &choice, e);
	image_platform_done(&platform);
	return r < 0 ? r : save_chosen(en, s, choice, e);
}

/* ---- import ---- */

typedef struct Fetch {
	const EngineImport *i;
	int fd;
} Fetch;

static int fetch_sink(void *user, int64_t offset, const void *data, size_t len, Err *e)
{
	const Fetch *f = user;
	int r;

	if (offset + (int64_t)len > FETCH_MAX)
		return err_new(e, ERR_INVALID, "the file has more than %lld bytes", (long long)FETCH_MAX);
	if (f->i->progress)
		f->i->progress(f->i->user, "", "Downloading", offset + (int64_t)len, 0);
	r = fd_write_all(f->fd, data, len);
	return r < 0 ? err_sys(e, r, "write what is downloaded") : 0;
}

static bool fetch_cancelled(void *user)
{
	const Fetch *f = user;
	struct pollfd p = {.fd = f->i->alive_fd};

	return f->i->alive_fd >= 0 && poll(&p, 1, 0) > 0 && (p.revents & (POLLERR | POLLHUP | POLLNVAL));
}

/* The whole file before anything is made of it, so that half of one is never taken for an archive. */
static int fetch(Engine *en, const EngineImport *i, Err *e)
{
	_cleanup_(http_client_freep) HttpClient *client = NULL;
	_cleanup_close_ int fd =
	    openat(store_root_fd(en->store), "content/ingest", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	Fetch f = {i, fd};
	HttpReply reply = {0};
	int r;

	if (fd < 0)
		return err_sys(e, errno, "make a file in %s/content/ingest", store_root(en->store));
	r = http_client_new("ireko/" IREKO_VERSION, &client, e);
	if (r < 0)
		return r;
	if (i->progress)
		i->progress(i->user, NULL, "Downloading from the address given", 0, 0);
	const HttpRequest q = {
	    .method = "GET",
	    .url = i->url,
	    .sink = fetch_sink,
	    .sink_user = &f,
	    .cancelled = fetch_cancelled,
	    .cancel_user = &f,
	};
	r = http_do(client, &q, &reply, e);
	if (r >= 0 && reply.status != 200)
		r = err_new(e, reply.status == 404 ? ERR_NOT_FOUND : ERR_UNAVAILABLE,
			    "the server answers with status %d", reply.status);
	http_reply_done(&reply);
	if (r >= 0 && lseek(fd, 0, SEEK_SET) < 0)
		r = err_sys(e, errno, "read what was downloaded");
	return r < 0 ? err_ctx(e, r, "download %.300s", i->url) : take_fd(&fd);
}

static int import_from(Engine *en, const EngineImport *i, ArchiveImport *a, char ret_image_id[DIGEST_LEN + 1],
		       Err *e)
{
	_cleanup_close_ int fetched = i->url ? fetch(en, i, e) : -1;
	EngineSpace space;
	int r, ended;

	if (i->url && fetched < 0)
		return fetched;
	a->fd = i->url ? fetched : i->tar_fd;
	engine_space_begin(en, &space);
	store_lease_begin(en->store);
	r = store_archive_import(en->store, a, ret_image_id, e);
	ended = store_lease_end(en->store, r < 0 ? NULL : e);
	return engine_space_end(en, &space, r < 0 ? r : ended, e);
}

static int import_checked(Engine *en, const EngineImport *i, const ImagePlatform *platform,
			  char ret_image_id[DIGEST_LEN + 1], Err *e)
{
	ImageRunConfig run = {.stop_timeout = -1};
	ArchiveImport a = {.run = &run,
			   .message = i->message,
			   .platform = platform,
			   .created_ns = i->created_ns};
	int r = change_apply_all(&run, i->changes, e);

	if (r >= 0)
		r = import_from(en, i, &a, ret_image_id, e);
	image_run_config_done(&run);
	return r;
}

int engine_image_import(Engine *en, const EngineImport *i, char ret_image_id[DIGEST_LEN + 1], Err *e)
{
	ImagePlatform platform = {0};
	Reference ref = {0};
	/* A name that is wrong is told before the archive is read. */
	int r = str_empty(i->reference) ? 0 : reference_parse(i->reference, &ref, e);

	if (r >= 0)
		r = image_platform_parse(i->platform, &platform, e);
	if (r >= 0)
		r = import_checked(en, i, &platform, ret_image_id, e);
	if (r >= 0)
		image_event(en, "import", ret_image_id, i->reference);
	if (r >= 0 && !str_empty(i->reference))
		r = image_tag_parsed(en, &ref, ret_image_id, e);
	reference_done(&ref);
	image_platform_done(&platform);
	return r;
}
