/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attachments: made, looked at, taken down (SPEC.md, section 3).
 *
 * Order of things, so that whatever ends the engine half way leaves a record of it: the record is written without a result, plugins add, the record gets its
 * result; plugins delete, the record goes. An attachment that fails is taken down as far as its plugins let it be, and only if all of them did does
 * its record go: what is left is cni_gc()'s. A record without a result, of an engine that is no more, may have a plugin that still adds: it is ended before.
 */
#include "cni/cni-internal.h"

#include "base/log.h"

#include <linux/magic.h>
#include <sys/vfs.h>

static int check_names(const CniAttachment *a, Err *e)
{
	if (!cni_name_is_plain(a->container_id))
		return err_new(
		    e, ERR_INVALID,
		    "container id \"%.80s\" cannot be told to CNI plugins: letters, digits and \"_.-\"",
		    a->container_id ?: "");
	if (!cni_ifname_is_good(a->ifname))
		return err_new(e, ERR_INVALID, "\"%.40s\" cannot be the name of an interface",
			       a->ifname ?: "");
	return 0;
}

static char *subject_of(const CniAttachment *a)
{
	return a->pod_name ? strf("pod %s/%s", a->pod_namespace ?: "", a->pod_name)
			   : strf("container %s", a->container_id);
}

/* ---- ADD ---- */

static int parse_answer(const CniChain *h, size_t i, const StrBuf *said, json_t **ret, Err *e)
{
	_cleanup_free_ char *what =
	    strf("CNI plugin %s of network %s: ADD for %s",
		 json_get_str(json_array_get(h->list->plugins, i), "type"), h->list->name, h->subject);

	if (!what)
		return err_oom(e);
	if (said->len == 0)
		return err_new(e, ERR_INTERNAL, "%s: it succeeded without a result", what);
	return cni_result_parse(said->s, said->len, h->list->version, h->list->version, what, ret, e);
}

/* *result is what the last that succeeded has said, whatever comes after. */
static int add_all(const CniChain *h, json_t **result, Err *e)
{
	for (size_t i = 0; i < json_array_size(h->list->plugins); i++) {
		_cleanup_strbuf_ StrBuf said = {0};
		json_t *next = NULL;
		int r = cni_chain_run(h, i, "ADD", *result, NULL, &said, e);

		if (r >= 0)
			r = parse_answer(h, i, &said, &next, e);
		if (r < 0)
			return r;
		json_decref(*result);
		*result = next;
	}
	return 0;
}

static int addresses(const CniChain *h, const json_t *result, char ***ret, Err *e)
{
	int r = cni_result_ips(result, h->ifname, ret, e);

	if (r >= 0 && strv_len(*ret) == 0)
		return err_new(e, ERR_INTERNAL, "network %s: its plugins gave %s of %s no address",
			       h->list->name, h->ifname, h->subject);
	return r;
}

static int keep_record(const CniChain *h, json_t *result, Err *e)
{
	const CniRecord r = {
	    .container_id = (char *)(uintptr_t)h->container_id,
	    .ifname = (char *)(uintptr_t)h->ifname,
	    .network = h->list->name,
	    .netns = (char *)(uintptr_t)h->netns,
	    .owner = h->c->owner,
	    .config = h->list->text,
	    .args = (json_t *)(uintptr_t)h->args,
	    .capabilities = (json_t *)(uintptr_t)h->capabilities,
	    .result = result,
	};

	int n = cni_record_write(h->c->cache_dir, &r, e);

	return n < 0 ? err_ctx(e, n, "record of %s on network %s", h->subject, h->list->name) : 0;
}

static const json_t *prev_for(const CniList *l, const json_t *result)
{
	return l->version >= CNI_0_4_0 ? result : NULL;
}

/* All that can be taken down is, although nobody waits any more: what one plugin keeps must not keep what the others made. */
static void undo(const CniChain *tried, const json_t *result)
{
	CniChain h = *tried;
	bool all = true;

	h.alive_fd = -1;
	for (size_t i = json_array_size(h.list->plugins); i-- > 0;) {
		Err e = {0};

		if (cni_chain_run(&h, i, "DEL", prev_for(h.list, result), NULL, NULL, &e) < 0) {
			log_warn("%s; its record stays for the next clean-up", e.msg);
			all = false;
		}
	}
	if (all && cni_record_remove(h.c->cache_dir, h.list->name, h.container_id, h.ifname, NULL) < 0)
		log_warn("CNI: the record of %s cannot be removed", h.subject);
}

static int add(const CniChain *h, CniResult *ret, Err *e)
{
	_cleanup_cni_result_ CniResult result = {0};
	int r = keep_record(h, NULL, e);

	if (r < 0)
		return r;
	r = add_all(h, &result.document, e);
	if (r >= 0)
		r = addresses(h, result.document, &result.ips, e);
	if (r >= 0)
		r = keep_record(h, result.document, e);
	if (r < 0) {
		undo(h, result.document);
		return r;
	}
	*ret = result;
	result = (CniResult){0};
	return 0;
}

int cni_add(Cni *c, const CniAttachment *a, int alive_fd, CniResult *ret, Err *e)
{
	_cleanup_json_ json_t *args = NULL, *capabilities = NULL;
	_cleanup_free_ char *subject = subject_of(a);
	_cleanup_list_ CniList *l = NULL;
	int r = subject ? check_names(a, e) : err_oom(e);

	if (r >= 0)
		r = cni_config_get(c, &l, e);
	if (r >= 0)
		r = cni_request_args(a, &args, e);
	if (r >= 0)
		r = cni_request_capabilities(a, &capabilities, e);
	if (r < 0)
		return r;
	_cleanup_chain_ CniChain h = {.c = c,
				      .list = l,
				      .args = args,
				      .capabilities = capabilities,
				      .container_id = a->container_id,
				      .netns = a->netns,
				      .ifname = a->ifname,
				      .subject = subject,
				      .alive_fd = alive_fd};
	r = cni_chain_init(&h, e);
	return r < 0 ? r : add(&h, ret, e);
}

/* ---- DEL ---- */

/* Plugins of before this was settled fail when what they are to take down is gone: that is as good. */
static bool means_gone(const char *msg, const char *netns)
{
	return strstr(msg, "not found") || (str_empty(netns) && strstr(msg, "no such file or directory"));
}

/* In reverse order, to the first that fails: what comes before it made what it needs. */
static int del_all(const CniChain *h, const json_t *prev, Err *e)
{
	for (size_t i = json_array_size(h->list->plugins); i-- > 0;) {
		Err own = {0};
		int r = cni_chain_run(h, i, "DEL", prev, NULL, NULL, &own);

		if (r < 0 && !means_gone(own.msg, h->netns)) {
			if (e)
				*e = own;
			return r;
		}
	}
	return 0;
}

/* What cannot be converted is not told: plugins have to do without. */
static json_t *result_for(const CniList *l, const json_t *result)
{
	json_t *prev = NULL;

	if (!result || l->version < CNI_0_4_0 ||
	    cni_result_convert(result, l->version, l->version, "record", &prev, NULL) < 0)
		return NULL;
	return prev;
}

/* A name whose mount is gone is a plain file, at which plugins would fail for ever. */
bool cni_netns_is_there(const char *path)
{
	struct statfs f;

	return !str_empty(path) && statfs(path, &f) == 0 && f.f_type == NSFS_MAGIC;
}

static int del_with(const CniChain *like, const json_t *result, Err *e)
{
	_cleanup_json_ json_t *prev = result_for(like->list, result);
	_cleanup_chain_ CniChain h = *like;
	int r;

	h.alive_fd = -1;
	if (!cni_netns_is_there(h.netns))
		h.netns = "";
	r = cni_chain_init(&h, e);
	return r < 0 ? r : del_all(&h, prev, e);
}

/* The list of that time; today's if the record has none that can be read. 1, or 0 if there is neither. */
static int list_of(Cni *c, const CniRecord *rec, CniList **ret)
{
	_cleanup_list_ CniList *l = NULL;

	if (rec->config &&
	    cni_list_parse(rec->config, strlen(rec->config), "record", strstr(rec->config, "\"plugins\""), &l,
			   NULL) >= 0 &&
	    cni_list_finish(l, NULL) >= 0 && streq(l->name, rec->network)) {
		*ret = take_ptr(l);
		return 1;
	}
	return cni_config_get(c, ret, NULL) >= 0;
}

/* ADD has not come to its end, and whoever has begun it is no more: its plugin may still be at work, and would make again what is taken down here. */
static void end_add(const CniRecord *rec)
{
	_cleanup_free_ char *id = strf("CNI_CONTAINERID=%s", rec->container_id),
			    *ifname = strf("CNI_IFNAME=%s", rec->ifname);

	if (!id || !ifname || !cni_hunt((const char *[]){CNI_MARK, id, ifname, NULL}, UINT64_MAX))
		log_warn("CNI: whether a plugin of network %s still works for container %s cannot be told",
			 rec->network, rec->container_id);
}

int cni_del_record(Cni *c, const CniRecord *rec, const char *netns, const char *subject, Err *e)
{
	_cleanup_list_ CniList *l = NULL;
	int r = 0;

	if (!rec->result)
		end_add(rec);
	if (list_of(c, rec, &l) > 0) {
		const CniChain h = {.c = c,
				    .list = l,
				    .args = rec->args,
				    .capabilities = rec->capabilities,
				    .container_id = rec->container_id,
				    .netns = netns,
				    .ifname = rec->ifname,
				    .subject = subject};
		r = del_with(&h, rec->result, e);
	}
	return r < 0 ? r : cni_record_remove(c->cache_dir, rec->network, rec->container_id, rec->ifname, e);
}

static int del_unrecorded(Cni *c, const CniAttachment *a, const char *subject, Err *e)
{
	_cleanup_json_ json_t *args = NULL, *capabilities = NULL;
	_cleanup_list_ CniList *l = NULL;
	int r;

	if (cni_config_get(c, &l, NULL) < 0)
		return 0;
	r = cni_request_args(a, &args, e);
	if (r >= 0)
		r = cni_request_capabilities(a, &capabilities, e);
	if (r < 0)
		return r;
	const CniChain h = {.c = c,
			    .list = l,
			    .args = args,
			    .capabilities = capabilities,
			    .container_id = a->container_id,
			    .netns = a->netns,
			    .ifname = a->ifname,
			    .subject = subject};
	r = del_with(&h, NULL, e);
	/* One that cannot be read may be there. */
	return r < 0 ? r : cni_record_remove(c->cache_dir, l->name, a->container_id, a->ifname, e);
}

/* Name of today's network, where a record most likely is; NULL if there is none. malloc'ed. */
static char *network_of(Cni *c)
{
	_cleanup_list_ CniList *l = NULL;

	return cni_config_get(c, &l, NULL) < 0 ? NULL : strdup(l->name);
}

bool cni_is_recorded(Cni *c, const CniAttachment *a)
{
	return cni_record_exists(c->cache_dir, a->container_id, a->ifname);
}

int cni_del(Cni *c, const CniAttachment *a, Err *e)
{
	_cleanup_free_ char *subject = subject_of(a), *network = network_of(c);
	_cleanup_record_ CniRecord rec = {0};
	int r = subject ? check_names(a, e) : err_oom(e);

	if (r >= 0)
		r = cni_record_find(c->cache_dir, network, a->container_id, a->ifname, &rec, e);
	if (r < 0)
		return r;
	return r > 0 ? cni_del_record(c, &rec, a->netns, subject, e) : del_unrecorded(c, a, subject, e);
}

/* ---- CHECK ---- */

static int check_with(const CniChain *like, const CniRecord *rec, Err *e)
{
	_cleanup_json_ json_t *prev = NULL;
	_cleanup_chain_ CniChain h = *like;
	int r;

	if (h.list->version < CNI_0_4_0)
		return err_new(e, ERR_UNSUPPORTED,
			       "network %s is of version %s: CHECK is there from 0.4.0 on", h.list->name,
			       cni_version_text(h.list->version));
	if (h.list->disable_check)
		return 0;
	r = cni_result_convert(rec->result, h.list->version, h.list->version, "record", &prev, e);
	if (r >= 0)
		r = cni_chain_init(&h, e);
	return r < 0 ? r : cni_chain_run_all(&h, "CHECK", prev, NULL, e);
}

int cni_check(Cni *c, const CniAttachment *a, int alive_fd, Err *e)
{
	_cleanup_free_ char *subject = subject_of(a), *network = network_of(c);
	_cleanup_record_ CniRecord rec = {0};
	_cleanup_list_ CniList *l = NULL;
	int r = subject ? check_names(a, e) : err_oom(e);

	if (r >= 0)
		r = cni_record_find(c->cache_dir, network, a->container_id, a->ifname, &rec, e);
	if (r < 0)
		return r;
	if (r == 0 || list_of(c, &rec, &l) <= 0)
		return err_new(e, ERR_NOT_FOUND, "no record of %s of %s", a->ifname, subject);
	if (!rec.result)
		return err_new(e, ERR_CONFLICT, "network %s: %s of %s was never made whole", rec.network,
			       a->ifname, subject);
	const CniChain h = {.c = c,
			    .list = l,
			    .args = rec.args,
			    .capabilities = rec.capabilities,
			    .container_id = rec.container_id,
			    .netns = a->netns,
			    .ifname = rec.ifname,
			    .subject = subject,
			    .alive_fd = alive_fd};
	return check_with(&h, &rec, e);
}
