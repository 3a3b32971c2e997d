/* SPDX-License-Identifier: Apache-2.0 */
/* See rows.h. */
#include "rows.h"

#include <ctype.h>

int row_take(json_t *row, const char *name, char *s)
{
	int r = s ? json_object_set_new(row, name, json_string(s)) : -1;

	free(s);
	return r < 0 ? -ENOMEM : 0;
}

int row_add(json_t *row, const char *name, const char *s)
{
	return json_object_set_new(row, name, json_string(s ? s : "")) < 0 ? -ENOMEM : 0;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static char *join_sorted(char **v, const char *sep)
{
	qsort(v, strv_len(v), sizeof(char *), by_text);
	return strv_join(v, sep);
}

char *row_join_map(const json_t *map, const char *sep)
{
	_cleanup_strv_ char **v = NULL;
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)map, key, value) {
		if (strv_take(&v, strf("%s=%s", key, json_is_string(value) ? json_string_value(value) : "")) <
		    0)
			return NULL;
	}
	return v ? join_sorted(v, sep) : strdup("");
}

char *row_join_keys(const json_t *map, const char *sep)
{
	_cleanup_strv_ char **v = NULL;
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)map, key, value) {
		if (strv_add(&v, key) < 0)
			return NULL;
	}
	return v ? join_sorted(v, sep) : strdup("");
}

int row_add_labels(json_t *row, const json_t *labels)
{
	_cleanup_json_ json_t *none = json_object();

	if (json_object_set(row, TEMPLATE_LABELS, json_is_object(labels) ? (json_t *)labels : none) < 0)
		return -ENOMEM;
	return row_take(row, "Labels", row_join_map(labels, ","));
}

typedef struct Port {
	const char *ip, *type;
	int64_t inner, outer;
} Port;

/* Ports of one address and protocol that follow one another and are published as themselves. */
typedef struct PortRange {
	const char *ip, *type;
	int64_t first, last;
} PortRange;

static int by_port(const void *pa, const void *pb)
{
	const Port *a = pa, *b = pb;
	int c = (a->inner > b->inner) - (a->inner < b->inner);

	if (c == 0)
		c = strcmp(a->ip, b->ip);
	if (c == 0)
		c = (a->outer > b->outer) - (a->outer < b->outer);
	return c ? c : strcmp(a->type, b->type);
}

static void add_part(StrBuf *b, const char *ip, int64_t outer_first, int64_t outer_last, int64_t first,
		     int64_t last, const char *type)
{
	bool v6 = strchr(ip, ':');

	if (b->len)
		strbuf_add(b, ", ");
	if (*ip) {
		strbuf_addf(b, "%s%s%s:%lld", v6 ? "[" : "", ip, v6 ? "]" : "", (long long)outer_first);
		if (outer_last != outer_first)
			strbuf_addf(b, "-%lld", (long long)outer_last);
		strbuf_add(b, "->");
	}
	strbuf_addf(b, "%lld", (long long)first);
	if (last != first)
		strbuf_addf(b, "-%lld", (long long)last);
	strbuf_addf(b, "/%s", type);
}

static void add_range(StrBuf *b, const PortRange *r)
{
	add_part(b, r->ip, r->first, r->last, r->first, r->last, r->type);
}

static PortRange *find_range(PortRange *ranges, size_t n, const Port *p)
{
	for (size_t i = 0; i < n; i++)
		if (streq(ranges[i].ip, p->ip) && streq(ranges[i].type, p->type))
			return &ranges[i];
	return NULL;
}

/* Ranges that were interrupted come first, then each address's last range, then the ports published as
 * others. */
static void collapse(Port *ports, size_t n, PortRange *ranges, StrBuf *b)
{
	_cleanup_strbuf_ StrBuf mapped = {0};
	size_t n_ranges = 0;

	for (size_t i = 0; i < n; i++) {
		const Port *p = &ports[i];
		PortRange *r = find_range(ranges, n_ranges, p);

		if (*p->ip && p->outer != p->inner) {
			add_part(&mapped, p->ip, p->outer, p->outer, p->inner, p->inner, p->type);
			continue;
		}
		if (r && (p->inner == r->last || p->inner == r->last + 1)) {
			r->last = p->inner;
			continue;
		}
		if (r)
			add_range(b, r);
		else
			r = &ranges[n_ranges++];
		*r = (PortRange){p->ip, p->type, p->inner, p->inner};
	}
	for (size_t i = 0; i < n_ranges; i++)
		add_range(b, &ranges[i]);
	if (mapped.len) {
		if (b->len)
			strbuf_add(b, ", ");
		strbuf_add(b, mapped.s);
	}
	b->oom = b->oom || mapped.oom;
}

char *row_ports(const json_t *list)
{
	size_t n = json_array_size(list);
	_cleanup_free_ Port *ports = calloc(n + 1, sizeof(*ports));
	_cleanup_free_ PortRange *ranges = calloc(n + 1, sizeof(*ranges));
	_cleanup_strbuf_ StrBuf b = {0};

	if (!ports || !ranges)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		const json_t *j = json_array_get(list, i);
		const char *ip = json_get_str(j, "IP"), *type = json_get_str(j, "Type");

		ports[i] = (Port){ip ? ip : "", type ? type : "tcp", json_get_int(j, "PrivatePort", 0),
				  json_get_int(j, "PublicPort", 0)};
	}
	qsort(ports, n, sizeof(*ports), by_port);
	collapse(ports, n, ranges, &b);
	return strbuf_steal(&b);
}

char *row_quote(const char *s)
{
	static const char from[] = "\a\b\f\n\r\t\v\"\\", to[] = "abfnrtv\"\\";
	_cleanup_strbuf_ StrBuf b = {0};

	strbuf_add_c(&b, '"');
	for (; *s; s++) {
		const char *at = strchr(from, *s);

		if (at) {
			strbuf_add_c(&b, '\\');
			strbuf_add_c(&b, to[at - from]);
		} else if (iscntrl((unsigned char)*s)) {
			strbuf_addf(&b, "\\x%02x", (unsigned char)*s);
		} else {
			strbuf_add_c(&b, *s);
		}
	}
	strbuf_add_c(&b, '"');
	return strbuf_steal(&b);
}

typedef struct Sortable {
	const char *key;
	json_t *item;
} Sortable;

static int by_key(const void *a, const void *b)
{
	return strcmp(((const Sortable *)a)->key, ((const Sortable *)b)->key);
}

json_t *rows_sorted(const json_t *list, const char *by)
{
	size_t n = json_array_size(list);
	_cleanup_free_ Sortable *items = calloc(n + 1, sizeof(*items));
	_cleanup_json_ json_t *sorted = json_array();

	if (!items || !sorted)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		const char *key = json_get_str(json_array_get(list, i), by);

		items[i] = (Sortable){key ? key : "", json_array_get(list, i)};
	}
	qsort(items, n, sizeof(*items), by_key);
	for (size_t i = 0; i < n; i++)
		if (json_array_append(sorted, items[i].item) < 0)
			return NULL;
	return take_ptr(sorted);
}

char *row_image(const json_t *c, bool full)
{
	const char *image = json_get_str(c, "Image"), *id = json_get_str(c, "ImageID");

	if (str_empty(image))
		return strdup("<no image>");
	if (full)
		return strdup(image);
	if (str_starts(image, "sha256:"))
		return strndup(image + 7, 12);
	/* An image known by nothing but its id. */
	const char *hex = id ? str_after(id, "sha256:") : NULL;
	if (strlen(image) >= 12 && hex && str_starts(hex, image))
		return strndup(image, 12);
	return strndup(image, strcspn(image, "@"));
}
