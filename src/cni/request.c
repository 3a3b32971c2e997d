/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a plugin is given: CNI_ARGS, and the document on its standard input (SPEC.md, section 3, and CONVENTIONS.md for runtimeConfig).
 *
 * The document is the plugin's own configuration with the list's name and version, the result so far, and those arguments for which it has declared the
 * capability. What else is in the configuration goes through unaltered, "capabilities" too: plugins that call others read it there.
 */
#include "cni/cni-internal.h"

/* Of a rate without a burst of its own: as much as there can be. */
#define BURST_MAX INT64_C(4294967295)

/* ---- CNI_ARGS ---- */

/* In CNI_ARGS, ";" ends a value. */
static int add_pair(json_t *args, const char *key, const char *value, Err *e)
{
	if (!value)
		return 0;
	if (strchr(value, ';') || strchr(value, '='))
		return err_new(
		    e, ERR_INVALID,
		    "%s \"%.100s\" cannot be told to CNI plugins: no \";\" and no \"=\" may be in it", key,
		    value);
	return json_array_append_new(args, json_pack("[s, s]", key, value)) < 0 ? err_oom(e) : 0;
}

int cni_request_args(const CniAttachment *a, json_t **ret, Err *e)
{
	_cleanup_json_ json_t *args = json_array();
	int r;

	if (!args)
		return err_oom(e);
	r = add_pair(args, "IgnoreUnknown", "1", e);
	if (r >= 0 && a->pod_name) {
		r = add_pair(args, "K8S_POD_NAMESPACE", a->pod_namespace, e);
		if (r >= 0)
			r = add_pair(args, "K8S_POD_NAME", a->pod_name, e);
		if (r >= 0)
			r = add_pair(args, "K8S_POD_INFRA_CONTAINER_ID", a->container_id, e);
		if (r >= 0)
			r = add_pair(args, "K8S_POD_UID", a->pod_uid, e);
	}
	if (r < 0)
		return r;
	*ret = take_ptr(args);
	return 0;
}

char *cni_request_args_text(const json_t *args)
{
	_cleanup_strbuf_ StrBuf b = {0};
	const json_t *pair;
	size_t i;

	json_array_foreach (args, i, pair) {
		strbuf_add(&b, i > 0 ? ";" : "");
		strbuf_add(&b, json_string_value(json_array_get(pair, 0)));
		strbuf_add_c(&b, '=');
		strbuf_add(&b, json_string_value(json_array_get(pair, 1)));
	}
	return strbuf_steal(&b);
}

/* ---- capabilities: NULL without memory, or for text that is no UTF-8 ---- */

static json_t *ports_of(const CniAttachment *a)
{
	_cleanup_json_ json_t *ports = json_array();

	for (size_t i = 0; ports && i < a->n_ports; i++) {
		const CniPort *p = &a->ports[i];
		json_t *one =
		    json_pack("{s:i, s:i, s:s, s:s}", "hostPort", p->host_port, "containerPort",
			      p->container_port, "protocol", p->protocol, "hostIP", p->host_ip ?: "");

		if (!one || json_array_append_new(ports, one) < 0)
			return NULL;
	}
	return take_ptr(ports);
}

static int add_rate(json_t *to, const char *rate_key, const char *burst_key, int64_t rate)
{
	if (rate <= 0)
		return 0;
	return json_object_set_new(to, rate_key, json_integer(rate)) < 0 ||
		       json_object_set_new(to, burst_key, json_integer(BURST_MAX)) < 0
		   ? -1
		   : 0;
}

static json_t *bandwidth_of(const CniAttachment *a)
{
	_cleanup_json_ json_t *b = json_object();

	if (!b || add_rate(b, "ingressRate", "ingressBurst", a->ingress_rate) < 0 ||
	    add_rate(b, "egressRate", "egressBurst", a->egress_rate) < 0)
		return NULL;
	return take_ptr(b);
}

static json_t *dns_of(const CniAttachment *a)
{
	json_t *servers = json_from_strv(a->dns_servers), *searches = json_from_strv(a->dns_searches),
	       *options = json_from_strv(a->dns_options);

	return json_pack("{s:o, s:o, s:o}", "servers", servers, "searches", searches, "options", options);
}

static json_t *ranges_of(const CniAttachment *a)
{
	_cleanup_json_ json_t *ranges = json_array();

	for (char *const *r = a->ip_ranges; ranges && *r; r++)
		if (json_array_append_new(ranges, json_pack("[{s:s}]", "subnet", *r)) < 0)
			return NULL;
	return take_ptr(ranges);
}

static int put(json_t *to, const char *key, bool there, json_t *value)
{
	if (!there) {
		json_decref(value);
		return 0;
	}
	return json_object_set_new(to, key, value); /* fails for NULL */
}

int cni_request_capabilities(const CniAttachment *a, json_t **ret, Err *e)
{
	_cleanup_json_ json_t *all = json_object();
	bool dns = strv_len(a->dns_servers) + strv_len(a->dns_searches) + strv_len(a->dns_options) > 0;
	bool rates = a->ingress_rate > 0 || a->egress_rate > 0;

	if (!all || put(all, "portMappings", a->n_ports > 0, a->n_ports > 0 ? ports_of(a) : NULL) < 0 ||
	    put(all, "bandwidth", rates, rates ? bandwidth_of(a) : NULL) < 0 ||
	    put(all, "dns", dns, dns ? dns_of(a) : NULL) < 0 ||
	    put(all, "ipRanges", a->ip_ranges, a->ip_ranges ? ranges_of(a) : NULL) < 0 ||
	    put(all, "cgroupPath", !str_empty(a->cgroup_path),
		str_empty(a->cgroup_path) ? NULL : json_string(a->cgroup_path)) < 0 ||
	    put(all, "io.kubernetes.cri.pod-annotations", a->annotations,
		a->annotations ? json_map_from_strv(a->annotations) : NULL) < 0)
		return err_new(e, ERR_INVALID,
			       "what CNI plugins are to be told of container %s cannot be written down: out "
			       "of memory, or text that is no UTF-8",
			       a->container_id);
	*ret = take_ptr(all);
	return 0;
}

/* ---- the document ---- */

static json_t *runtime_config(const json_t *plugin, const json_t *capabilities)
{
	json_t *declared = json_object_get(plugin, "capabilities"), *on, *value;
	_cleanup_json_ json_t *to = json_object();
	const char *key;

	json_object_foreach (declared, key, on) {
		value = json_is_true(on) ? json_object_get(capabilities, key) : NULL;
		if (value && json_object_set(to, key, value) < 0)
			return NULL;
	}
	return take_ptr(to);
}

int cni_request_document(const CniList *l, const json_t *plugin, const json_t *capabilities,
			 const json_t *prev, const json_t *extra, char **ret, Err *e)
{
	_cleanup_json_ json_t *j = json_copy((json_t *)(uintptr_t)plugin),
			      *config = runtime_config(plugin, capabilities);

	if (!j || !config || json_object_set_new(j, "name", json_string(l->name)) < 0 ||
	    json_object_set_new(j, "cniVersion", json_string(cni_version_text(l->version))) < 0 ||
	    (prev && json_object_set(j, "prevResult", (json_t *)(uintptr_t)prev) < 0) ||
	    (json_object_size(config) > 0 && json_object_set(j, "runtimeConfig", config) < 0) ||
	    (extra && json_object_update(j, (json_t *)(uintptr_t)extra) < 0))
		return err_oom(e);
	*ret = json_text(j);
	return *ret ? 0 : err_oom(e);
}
