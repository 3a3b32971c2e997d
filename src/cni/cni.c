/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The object, and whether the network is ready.
 *
 * A kubelet asks for that every few seconds, so the answer costs a look for changes and one for the programs; what plugins of 1.1.0 say to STATUS is asked
 * at most every STATUS_KEEP_NS, or when the configuration has changed.
 */
#include "cni/cni-internal.h"

#include "base/clock.h"
#include "base/fd.h"

#define STATUS_KEEP_NS    (5 * INT64_C(1000000000))
#define STATUS_TIMEOUT_MS 10000

static int copy_options(Cni *c, const CniOptions *o, Err *e)
{
	c->conf_dir = strdup(o->conf_dir);
	c->cache_dir = strdup(o->cache_dir);
	c->owner = strdup(o->owner ?: "ireko");
	c->plugin_dirs = strv_dup(o->plugin_dirs);
	c->path = strv_join(o->plugin_dirs, ":");
	c->timeout_ms = o->timeout_ms > 0 ? o->timeout_ms : CNI_TIMEOUT_MS;
	if (!c->conf_dir || !c->cache_dir || !c->owner || (o->plugin_dirs && !c->plugin_dirs) || !c->path)
		return err_oom(e);
	if (c->conf_dir[0] != '/' || c->cache_dir[0] != '/')
		return err_new(e, ERR_INVALID, "CNI directories %s and %s: both have to be absolute",
			       c->conf_dir, c->cache_dir);
	return 0;
}

int cni_new(const CniOptions *o, Cni **ret, Err *e)
{
	_cleanup_(cni_freep) Cni *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return err_oom(e);
	c->watch = -1;
	(void)pthread_mutex_init(&c->lock, NULL); /* cannot fail with default attributes on Linux */
	(void)pthread_mutex_init(&c->status_lock, NULL);
	r = copy_options(c, o, e);
	if (r < 0)
		return r;
	*ret = take_ptr(c);
	return 0;
}

void cni_free(Cni *c)
{
	if (!c)
		return;
	cni_config_done(c);
	cni_list_unref(c->status_list);
	free(c->conf_dir);
	free(c->cache_dir);
	free(c->owner);
	free(c->path);
	strv_free(c->plugin_dirs);
	(void)pthread_mutex_destroy(&c->lock);
	(void)pthread_mutex_destroy(&c->status_lock);
	free(c);
}

static int ask(Cni *c, const CniList *l, Err *e)
{
	int limit = MIN2(c->timeout_ms, STATUS_TIMEOUT_MS);
	_cleanup_chain_ CniChain h = {.c = c, .list = l, .timeout_ms = limit, .alive_fd = -1};
	int r = cni_chain_init(&h, e);

	if (r >= 0 && l->version >= CNI_1_1_0)
		r = cni_chain_run_all(&h, "STATUS", NULL, NULL, e);
	return r < 0 ? err_kind(e, r, ERR_UNAVAILABLE) : 0;
}

static int ask_sometimes(Cni *c, CniList *l, Err *e)
{
	int r;

	(void)pthread_mutex_lock(&c->status_lock);
	if (c->status_list != l || clock_mono_ns() - c->status_at >= STATUS_KEEP_NS) {
		c->status_error = (Err){0};
		c->status_result = ask(c, l, &c->status_error);
		c->status_at = clock_mono_ns();
		cni_list_unref(c->status_list);
		c->status_list = cni_list_ref(l);
	}
	r = c->status_result;
	if (r < 0 && e)
		*e = c->status_error;
	(void)pthread_mutex_unlock(&c->status_lock);
	return r;
}

int cni_status(Cni *c, Err *e)
{
	_cleanup_list_ CniList *l = NULL;
	int r = cni_config_get(c, &l, e);

	if (r < 0)
		return r;
	return l->version >= CNI_1_1_0 ? ask_sometimes(c, l, e) : ask(c, l, e);
}

json_t *cni_describe(Cni *c)
{
	_cleanup_list_ CniList *l = NULL;
	json_t *j;

	if (cni_config_get(c, &l, NULL) < 0)
		return json_null();
	j = json_pack("{s:s, s:s, s:s, s:O}", "name", l->name, "cniVersion", cni_version_text(l->version),
		      "file", l->file, "plugins", l->plugins);
	return j ?: json_null();
}
