/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Containers as the list shows them (api map 1.6), written as text: of a thousand containers the documents alone would take longer than
 * everything else together. What most containers do not have is a document all the same.
 */
#include "api/docker/door-internal.h"

/* ---- text ---- */

/* `name` with its punctuation: "{\"Id\":" */
static inline void add_member(StrBuf *b, const char *name, const char *value)
{
	strbuf_add(b, name);
	doc_add_str(b, value);
}

static void add_number(StrBuf *b, const char *name, int64_t value)
{
	char text[24], *p = text + sizeof(text);
	uint64_t left = value < 0 ? -(uint64_t)value : (uint64_t)value;

	do
		*--p = (char)('0' + left % 10);
	while (left /= 10);
	if (value < 0)
		*--p = '-';
	strbuf_add(b, name);
	strbuf_add_n(b, p, (size_t)(text + sizeof(text) - p));
}

static const char *separator(size_t before)
{
	return before ? "," : "";
}

/* ---- members ---- */

static void add_labels(StrBuf *b, char *const *labels)
{
	if (strv_len(labels) == 0)
		strbuf_add(b, ",\"Labels\":{}");
	else {
		strbuf_add(b, ",\"Labels\":");
		doc_add(b, doc_map(labels));
	}
}

static void add_port(StrBuf *b, size_t before, const char *port, const ContainerPublished *p)
{
	const char *protocol = strchr(port, '/');

	strbuf_add(b, separator(before));
	add_number(b, "{\"PrivatePort\":", atoi(port));
	add_member(b, ",\"Type\":", protocol ? protocol + 1 : "tcp");
	if (p) {
		add_member(b, ",\"IP\":", p->host_ip);
		add_number(b, ",\"PublicPort\":", p->host_port ? atoi(p->host_port) : 0);
	}
	strbuf_add_c(b, '}');
}

/* One entry an address; an exposed port without publication has no PublicPort. */
static void add_ports(StrBuf *b, const ContainerInfo *i)
{
	bool up = i->status == CONTAINER_RUNNING || i->status == CONTAINER_PAUSED;
	size_t n = 0;

	strbuf_add(b, ",\"Ports\":[");
	for (size_t k = 0; up && k < i->n_published; k++)
		add_port(b, n++, i->published[k].port ? i->published[k].port : "", &i->published[k]);
	for (char **p = i->config.exposed_ports; up && p && *p; p++) {
		bool published = false;

		for (size_t k = 0; k < i->n_published; k++)
			published |= streq0(i->published[k].port, *p);
		if (!published)
			add_port(b, n++, *p, NULL);
	}
	strbuf_add_c(b, ']');
}

static bool is_builtin(const char *network)
{
	return streq0(network, "bridge") || streq0(network, "host") || streq0(network, "none");
}

/* An endpoint of a network that is there by itself, of which nothing was asked for. */
static bool is_plain(const ContainerInfo *i, const ContainerEndpoint *ep)
{
	if (!is_builtin(ep->network))
		return false;
	for (size_t k = 0; k < i->config.n_endpoints; k++) {
		const ContainerEndpointConfig *want = &i->config.endpoints[k];

		if (streq0(want->network, ep->network) &&
		    (want->ipv4_address || want->ipv6_address || want->mac_address || want->aliases ||
		     want->links || want->driver_opts || want->gw_priority))
			return false;
	}
	return true;
}

static void add_plain_endpoint(StrBuf *b, const ContainerEndpoint *ep)
{
	strbuf_add(
	    b, "{\"IPAMConfig\":null,\"Links\":null,\"Aliases\":null,\"DriverOpts\":null,\"GwPriority\":0");
	add_member(b, ",\"NetworkID\":", ep->network_id);
	add_member(b, ",\"EndpointID\":", ep->endpoint_id);
	add_member(b, ",\"Gateway\":", ep->gateway);
	add_member(b, ",\"IPAddress\":", ep->address);
	add_member(b, ",\"MacAddress\":", ep->mac);
	add_number(b, ",\"IPPrefixLen\":", str_empty(ep->address) ? 0 : ep->prefix);
	add_member(b, ",\"IPv6Gateway\":", ep->gateway6);
	add_member(b, ",\"GlobalIPv6Address\":", ep->address6);
	add_number(b, ",\"GlobalIPv6PrefixLen\":", str_empty(ep->address6) ? 0 : ep->prefix6);
	strbuf_add(b, ",\"DNSNames\":null}");
}

static void add_networks(StrBuf *b, const ContainerInfo *i)
{
	strbuf_add(b, ",\"NetworkSettings\":{\"Networks\":{");
	for (size_t k = 0; k < i->n_endpoints; k++) {
		const ContainerEndpoint *ep = &i->endpoints[k];

		add_member(b, separator(k), ep->network);
		strbuf_add_c(b, ':');
		if (is_plain(i, ep))
			add_plain_endpoint(b, ep);
		else
			doc_add(b, endpoint_doc(i, ep, API_VERSION));
	}
	strbuf_add(b, "}}");
}

/* As Docker shows it: words with blanks are quoted. */
static void add_command(StrBuf *b, const ContainerInfo *i)
{
	_cleanup_strbuf_ StrBuf line = {0};

	strbuf_add(&line, i->path ? i->path : "");
	for (char **a = i->args; a && *a; a++) {
		const char *quote = strchr(*a, ' ') ? "'" : "";

		strbuf_add_c(&line, ' ');
		strbuf_add(&line, quote);
		strbuf_add(&line, *a);
		strbuf_add(&line, quote);
	}
	b->oom |= line.oom;
	add_member(b, ",\"Command\":", line.s);
}

static void add_mounts(StrBuf *b, const ContainerInfo *i)
{
	strbuf_add(b, ",\"Mounts\":");
	if (i->n_mounts == 0)
		strbuf_add(b, "[]");
	else
		doc_add(b, mounts_doc(i));
}

void container_list_add(StrBuf *b, const ContainerInfo *i, const char *image, const int64_t *size_rw,
			const int64_t *size_root)
{
	_cleanup_free_ char *status = container_status_text(i, clock_now_ns()),
			    *name = strf("/%s", i->name ? i->name : "");
	const char *mode = i->config.host.network_mode;

	b->oom |= !status || !name;
	add_member(b, "{\"Id\":", i->id);
	add_member(b, ",\"Names\":[", name);
	add_member(b, "],\"Image\":", image);
	add_member(b, ",\"ImageID\":", i->image_id);
	add_command(b, i);
	add_number(b, ",\"Created\":", i->created_ns / 1000000000);
	add_ports(b, i);
	add_labels(b, i->config.labels);
	add_member(b, ",\"State\":", container_status_name(i->status));
	add_member(b, ",\"Status\":", status);
	add_member(b, ",\"HostConfig\":{\"NetworkMode\":", str_empty(mode) ? "default" : mode);
	strbuf_add_c(b, '}');
	add_networks(b, i);
	add_mounts(b, i);
	if (size_rw)
		add_number(b, ",\"SizeRw\":", *size_rw);
	if (size_root)
		add_number(b, ",\"SizeRootFs\":", *size_root);
	strbuf_add_c(b, '}');
}

json_t *container_list_doc(const ContainerInfo *i, const char *image, const int64_t *size_rw,
			   const int64_t *size_root)
{
	_cleanup_strbuf_ StrBuf b = {0};

	container_list_add(&b, i, image, size_rw, size_root);
	return b.oom ? NULL : json_loads(b.s, 0, NULL);
}

/* ---- the image's name ---- */

void image_shown_done(ImageShown *s)
{
	free(s->image);
	free(s->id);
	*s = (ImageShown){0};
}

const char *image_shown_again(const ContainerInfo *i, const ImageShown *s)
{
	if (str_empty(i->config.image) || !i->image_id)
		return i->image_id ? i->image_id : "";
	if (!streq0(s->image, i->config.image) || !streq0(s->id, i->image_id))
		return NULL;
	return s->same ? i->config.image : i->image_id;
}

/* Most containers have the image of the one before: it is looked up once. */
const char *image_shown(Door *d, const ContainerInfo *i, ImageShown *s)
{
	StoreImage now = {0};

	if (!image_shown_again(i, s)) {
		image_shown_done(s);
		s->image = strdup(i->config.image);
		s->id = strdup(i->image_id);
		s->same = store_image_find(engine_store(d->engine), i->config.image, &now, NULL) >= 0 &&
			  streq0(now.id, i->image_id);
		store_image_done(&now);
	}
	return image_shown_again(i, s) ?: i->image_id;
}
