/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking a registry: its mirrors first, then itself; and what documents it has, without pulling them.
 *
 * A mirror that cannot help, whatever the reason, is passed over, and said so. What is told in the end is the registry's own
 * answer, and why each mirror was passed over.
 */
#include "registry/registry-internal.h"

int registry_try_endpoint(Registry *r, const RegistryPull *p, const Endpoint *ep, EndpointFn fn, void *user,
			  Err *e)
{
	HttpClient *c = NULL;
	Session s;
	int rc = registry_client_get(r, &c, e);

	if (rc < 0)
		return rc;
	session_init(&s, r, ep, p);
	rc = fn(&s, c, user, e);
	session_done(&s);
	if (rc < 0)
		http_client_free(c); /* in whatever state its connections are */
	else
		registry_client_put(r, c);
	return rc;
}

/* False for what no other place could cure. */
static bool another_may_help(const Err *e)
{
	return e->kind != ERR_CANCELLED && e->kind != ERR_EXHAUSTED;
}

static void pass_over(const RegistryPull *p, const Endpoint *ep, const Err *e, StrBuf *told)
{
	_cleanup_free_ char *text = strf("Mirror %s%s: %.400s", ep->host, ep->prefix, e->msg);

	if (text && p->progress)
		p->progress(p->user, NULL, text, 0, 0);
	strbuf_addf(told, "%s%s%s: %.400s", told->len ? "; " : "", ep->host, ep->prefix, e->msg);
}

static void add_told(const StrBuf *told, Err *e)
{
	char own[1000];

	snprintf(own, sizeof(own), "%.990s", e->msg);
	snprintf(e->msg, sizeof(e->msg), "%s (mirrors asked before: %.900s)", own, told->s);
}

int registry_try_endpoints(Registry *r, const RegistryPull *p, EndpointFn fn, void *user, Err *e)
{
	_cleanup_strbuf_ StrBuf told = {0};
	Endpoint *v = NULL;
	size_t n = 0;
	Err own = {0};
	int rc = registry_endpoints(r, p->reference->domain, &v, &n, &own);

	for (size_t i = 0; i < n; i++) {
		own = (Err){0};
		rc = registry_try_endpoint(r, p, &v[i], fn, user, &own);
		if (rc >= 0 || i + 1 == n || !another_may_help(&own))
			break;
		pass_over(p, &v[i], &own, &told);
	}
	registry_endpoints_free(v, n);
	if (rc < 0 && told.len > 0)
		add_told(&told, &own);
	if (rc < 0 && e)
		*e = own;
	return rc;
}

/* ---- documents ---- */

void registry_document_done(RegistryDocument *d)
{
	free(d->media_type);
	free(d->text);
	json_decref(d->json);
	*d = (RegistryDocument){0};
}

static int ask_document(Session *s, HttpClient *c, void *user, Err *e)
{
	RegistryDocument *ret = user;
	const Reference *ref = s->pull->reference;
	_cleanup_(document_done) Document d = {0};
	int r = document_fetch(s, c, ref->digest ? ref->digest : ref->tag, ref->digest, -1, &d, e);

	if (r < 0)
		return r;
	memcpy(ret->digest, d.digest, sizeof(ret->digest));
	ret->media_type = strdup(document_media_type(&d));
	ret->is_index = d.kind == IMAGE_DOC_INDEX;
	ret->text = take_ptr(d.text);
	ret->len = d.len;
	ret->json = take_ptr(d.json);
	return ret->media_type ? 0 : err_oom(e);
}

int registry_document(Registry *r, const RegistryPull *p, RegistryDocument *ret, Err *e)
{
	RegistryDocument d = {0};
	int rc = registry_try_endpoints(r, p, ask_document, &d, e);

	if (rc < 0) {
		registry_document_done(&d);
		return rc;
	}
	*ret = d;
	return 0;
}

/* ---- platforms ---- */

static int add_platform(json_t *list, const ImagePlatform *p)
{
	json_t *one = json_pack("{s:s, s:s}", "architecture", p->architecture ? p->architecture : "", "os",
				p->os ? p->os : "");

	if (one && !str_empty(p->variant))
		json_object_set_new(one, "variant", json_string(p->variant));
	if (one && !str_empty(p->os_version))
		json_object_set_new(one, "os.version", json_string(p->os_version));
	return one && json_array_append_new(list, one) == 0 ? 0 : -ENOMEM;
}

static int index_platforms(const RegistryDocument *d, json_t *list, Err *e)
{
	ImageIndex index = {0};
	int r = image_index_decode(d->json, &index, e);

	for (size_t i = 0; r == 0 && i < index.n_manifests; i++)
		if (index.manifests[i].has_platform && add_platform(list, &index.manifests[i].platform) < 0)
			r = err_oom(e);
	image_index_done(&index);
	return r;
}

typedef struct ConfigAsk {
	const ImageDescriptor *config;
	ImageConfig ret;
} ConfigAsk;

static int ask_config(Session *s, HttpClient *c, void *user, Err *e)
{
	ConfigAsk *a = user;
	_cleanup_free_ char *text = NULL;
	_cleanup_json_ json_t *doc = NULL;
	size_t len = 0;
	int r = config_fetch(s, c, a->config, &text, &len, e);

	if (r == 0)
		r = json_parse_bounded(text, len, "image config", &doc, e);
	return r < 0 ? r : image_config_decode(doc, &a->ret, e);
}

static int manifest_platforms(Registry *r, const RegistryPull *p, const RegistryDocument *d, json_t *list,
			      Err *e)
{
	ImageManifest m = {0};
	int rc = image_manifest_decode(d->json, &m, e);
	ConfigAsk a = {.config = &m.config};
	bool is_image =
	    rc == 0 && (str_empty(m.config.media_type) || streq(m.config.media_type, MEDIA_OCI_CONFIG) ||
			streq(m.config.media_type, MEDIA_DOCKER_CONFIG));

	/* The config of what is no image has no platform in it. */
	if (is_image) {
		rc = registry_try_endpoints(r, p, ask_config, &a, e);
		if (rc == 0 && add_platform(list, &a.ret.platform) < 0)
			rc = err_oom(e);
		image_config_done(&a.ret);
	}
	image_manifest_done(&m);
	return rc;
}

int registry_platforms(Registry *r, const RegistryPull *p, const RegistryDocument *d, json_t **ret, Err *e)
{
	_cleanup_json_ json_t *list = json_array();
	int rc = !list         ? err_oom(e)
		 : d->is_index ? index_platforms(d, list, e)
			       : manifest_platforms(r, p, d, list, e);

	if (rc == 0)
		*ret = take_ptr(list);
	return rc;
}
