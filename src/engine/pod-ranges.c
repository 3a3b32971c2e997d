/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ranges of the pods' addresses on this node, as a kubelet is told them by its cluster and hands them on: plugins of CNI with the capability ipRanges are told them when a pod is
 * attached. They are recorded, as a kubelet says them once, and engines start anew. Ranges that change count for pods that are made later.
 */
#include "engine/pod-internal.h"

#define RANGES_MAX 8

/* Written as their first address has it. */
static int ranges_parse(const char *cidrs, char ***ret, Err *e)
{
	_cleanup_strv_ char **parts = strv_split(cidrs, ','), **ranges = NULL;

	if (!parts)
		return err_oom(e);
	if (strv_len(parts) > RANGES_MAX)
		return err_new(e, ERR_INVALID, "more than %d ranges of addresses for pods", RANGES_MAX);
	for (char **p = parts; *p; p++) {
		NetworkSubnet s;
		int r = network_gateway_parse(*p, &s, e);

		if (r < 0)
			return err_ctx(e, r, "range of addresses for pods");
		if (strv_add(&ranges, network_subnet_text(&s).s) < 0)
			return err_oom(e);
	}
	*ret = take_ptr(ranges);
	return 0;
}

static int ranges_record(Engine *en, char *const *ranges, Err *e)
{
	json_t *list = json_from_strv(ranges);
	_cleanup_json_ json_t *doc = list ? json_pack("{s:o}", "ranges", list) : NULL;

	return doc ? store_doc_put(en->store, "engine", "pod-ranges", doc, e) : err_oom(e);
}

static bool same(char *const *a, char *const *b)
{
	size_t n = strv_len(a);

	if (n != strv_len(b))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!streq(a[i], b[i]))
			return false;
	return true;
}

int engine_pod_ranges_set(Engine *en, const char *cidrs, Err *e)
{
	char **ranges = NULL;
	int r = ranges_parse(cidrs, &ranges, e);

	if (r < 0)
		return r;
	pthread_mutex_lock(&en->pods.lock);
	if (!same(ranges, en->pods.ranges))
		r = ranges_record(en, ranges, e);
	if (r >= 0) {
		char **before = en->pods.ranges;

		en->pods.ranges = ranges;
		ranges = before;
	}
	pthread_mutex_unlock(&en->pods.lock);
	strv_free(ranges);
	return r;
}

int pod_ranges_load(Engine *en, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	Err own = {0};
	int r = store_doc_get(en->store, "engine", "pod-ranges", &doc, &own);

	if (r < 0)
		return own.kind == ERR_NOT_FOUND ? 0 : err_new_no(e, own.kind, -r, "%s", err_msg(&own, r));
	r = json_to_strv(json_object_get(doc, "ranges"), &en->pods.ranges);
	return r < 0 ? err_sys(e, r, "read the ranges of addresses for pods") : 0;
}

int pod_ranges(Engine *en, char ***ret, Err *e)
{
	char **copy = NULL;
	bool any;

	pthread_mutex_lock(&en->pods.lock);
	any = strv_len(en->pods.ranges) > 0;
	if (any)
		copy = strv_dup(en->pods.ranges);
	pthread_mutex_unlock(&en->pods.lock);
	if (any && !copy)
		return err_oom(e);
	*ret = copy;
	return 0;
}
