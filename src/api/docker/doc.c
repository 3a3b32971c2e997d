/* SPDX-License-Identifier: Apache-2.0 */
/* Small pieces that Docker's documents are made of, and the locks of prune. */
#include "api/docker/door-internal.h"

/* Names come from images and containers; JSON takes UTF-8 only. */
static json_t *repaired(const char *s)
{
	_cleanup_free_ char *text = str_utf8_clean(s, strlen(s));

	return text ? json_string(text) : NULL;
}

json_t *doc_str(const char *s)
{
	json_t *j = json_string(s ? s : "");

	return j ? j : repaired(s);
}

json_t *doc_error(const Err *e, int r)
{
	_cleanup_free_ char *plain = http_plain_text(err_msg(e, r));

	return doc_str(plain);
}

json_t *doc_str_or_null(const char *s)
{
	return s ? doc_str(s) : json_null();
}

json_t *doc_time(int64_t ns)
{
	return json_string(clock_rfc3339(ns).s);
}

json_t *doc_strv(char *const *v)
{
	json_t *a = json_array();

	for (; a && v && *v; v++)
		json_array_append_new(a, doc_str(*v));
	return a;
}

json_t *doc_map(char *const *v)
{
	json_t *o = json_object();

	for (; o && v && *v; v++) {
		_cleanup_free_ char *key = strndup(*v, strcspn(*v, "="));
		const char *eq = strchr(*v, '=');

		if (key && str_is_utf8(key, strlen(key)))
			json_object_set_new(o, key, doc_str(eq ? eq + 1 : ""));
	}
	return o;
}

json_t *doc_set(char *const *v)
{
	json_t *o = json_object();

	for (; o && v && *v; v++)
		json_object_set_new(o, *v, json_object());
	return o;
}

int reply_doc(HttpRequest *rq, int status, json_t *doc, Err *e)
{
	if (!doc)
		return err_new(e, ERR_INTERNAL, "build the answer: out of memory");
	return http_reply_json(rq, status, doc);
}

/* A name, or an id or its beginning. */
bool name_matches(const char *text, const char *ref)
{
	return *ref && str_starts(text, ref);
}

int prune_begin(Door *d, PruneKind kind, Err *e)
{
	if (pthread_mutex_trylock(&d->pruning[kind]) != 0)
		return err_new(e, ERR_CONFLICT, "a prune operation is already running");
	return 0;
}

void prune_end(Door *d, PruneKind kind)
{
	pthread_mutex_unlock(&d->pruning[kind]);
}

void doc_add(StrBuf *b, json_t *doc)
{
	_cleanup_json_ json_t *owned = doc;
	_cleanup_free_ char *text = owned ? json_dumps(owned, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

	if (text)
		strbuf_add(b, text);
	else
		b->oom = true;
}

void doc_add_str(StrBuf *b, const char *s)
{
	size_t n = 0;

	s = s ? s : "";
	while (s[n] >= ' ' && s[n] <= '~' && s[n] != '"' && s[n] != '\\')
		n++;
	if (s[n]) {
		doc_add(b, doc_str(s));
		return;
	}
	strbuf_add_c(b, '"');
	strbuf_add_n(b, s, n);
	strbuf_add_c(b, '"');
}
