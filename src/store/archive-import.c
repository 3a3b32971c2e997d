/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `docker import`: the tar of a root filesystem becomes an image of one layer.
 *
 * The stream is kept as it came, as a blob, and unpacked from there in the same sandbox as any other layer; what
 * comes out is described by a config made here. Importing the same tar twice makes two images, because the config says
 * when, unless the caller says it.
 */
#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "store/store-internal.h"

#define PIECE (1u << 20)

int store_archive_keep(Store *s, int fd, const char *want, char ret_digest[DIGEST_LEN + 1], Err *e)
{
	_cleanup_(blob_writer_freep) BlobWriter *w = NULL;
	_cleanup_free_ char *buf = malloc(PIECE);
	int r = buf ? blob_writer_new(s, &w, e) : err_oom(e);

	while (r >= 0) {
		ssize_t n = fd_read_full(fd, buf, PIECE);

		if (n < 0)
			return err_sys(e, (int)n, "read the stream");
		if (blob_writer_size(w) + n > s->layer_max_bytes)
			return err_new(e, ERR_INVALID,
				       "the stream is longer than the limit of %lld bytes for a layer",
				       (long long)s->layer_max_bytes);
		if (n == 0)
			return blob_writer_commit(w, want, -1, ret_digest, e);
		r = blob_writer_write(w, buf, (size_t)n, e);
	}
	return r;
}

static int fill_config(ImageConfig *c, const char *diff_id, const ArchiveImport *a, Err *e)
{
	_cleanup_free_ char *text = a->platform ? image_platform_text(a->platform) : NULL;
	TimeText at = clock_rfc3339(a->created_ns > 0 ? a->created_ns : clock_now_ns());
	int r;

	if (a->platform && !text)
		return err_oom(e);
	r = image_platform_parse(text, &c->platform, e);
	if (r < 0)
		return r;
	if (a->run && image_run_config_copy(a->run, &c->run) < 0)
		return err_new(e, ERR_INVALID, "the config for the imported image cannot be encoded");
	c->created = strdup(at.s);
	c->comment = a->message ? strdup(a->message) : NULL;
	c->history = calloc(1, sizeof(*c->history));
	c->n_history = c->history ? 1 : 0;
	if (!c->created || (a->message && !c->comment) || !c->history || strv_add(&c->diff_ids, diff_id) < 0)
		return err_oom(e);
	c->history[0].created = strdup(at.s);
	c->history[0].comment = a->message ? strdup(a->message) : NULL;
	return c->history[0].created && (!a->message || c->history[0].comment) ? 0 : err_oom(e);
}

static int put_config(Store *s, const ImageConfig *c, char ret_id[DIGEST_LEN + 1], Err *e)
{
	_cleanup_json_ json_t *doc = image_config_encode(c);
	_cleanup_free_ char *text = doc ? json_text(doc) : NULL;

	if (!text)
		return err_oom(e);
	int r = store_blob_put(s, text, strlen(text), ret_id, e);
	return r < 0 ? r : store_image_put(s, ret_id, NULL, NULL, e);
}

int store_archive_import(Store *s, const ArchiveImport *a, char ret_id[DIGEST_LEN + 1], Err *e)
{
	_cleanup_(image_config_done) ImageConfig config = {.run = {.stop_timeout = -1}};
	char chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1], id[DIGEST_LEN + 1], blob[DIGEST_LEN + 1];
	int r = store_archive_keep(s, a->fd, NULL, blob, e);
	_cleanup_close_ int from = r < 0 ? -1 : store_blob_open(s, blob, NULL, e);

	if (from >= 0) {
		const LayerApply apply = {.fd = from, .blob = blob};

		r = store_layer_apply(s, &apply, chain, diff, e);
	} else if (r >= 0) {
		r = from;
	}
	if (r < 0)
		return err_ctx(e, r, "import the root filesystem");
	r = fill_config(&config, diff, a, e);
	if (r == 0)
		r = put_config(s, &config, id, e);
	if (r < 0)
		return r;
	memcpy(ret_id, id, sizeof(id));
	return 0;
}
