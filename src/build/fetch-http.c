/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files over http and https, by the registry's client and its rules: few redirects, never to another scheme than those two, and to addresses of this machine or
 * link only if the URL itself names one.
 *
 * A server that gives an ETag or a date is asked for these alone (HEAD) the next time; the memo knows what contents they stood for.
 */
#include "build/fetch.h"
#include "build/memo.h"
#include "registry/http.h"
#include "registry/proxy.h"
#include "store/digest.h"

#include <time.h>

typedef struct Download {
	Fetch *f;
	int fd;
	int64_t size, max;
	Hasher *hasher;
	HttpReply reply;
} Download;

static bool cancelled(void *user)
{
	return build_is_over(((Download *)user)->f->b);
}

static const char *proxy_arg(const Build *b, const char *upper, const char *lower)
{
	return strv_env_get(b->proxy_args, upper) ?: strv_env_get(b->proxy_args, lower);
}

static int proxies_of(const Build *b, ProxyRules *ret, Err *e)
{
	return proxy_rules_parse(proxy_arg(b, "HTTP_PROXY", "http_proxy"),
				 proxy_arg(b, "HTTPS_PROXY", "https_proxy"),
				 proxy_arg(b, "NO_PROXY", "no_proxy"), ret, e);
}

static int take(void *user, int64_t offset, const void *data, size_t len, Err *e)
{
	Download *d = user;
	int r;

	if ((int64_t)len > d->max - d->size)
		return err_new(e, ERR_INVALID, "it is larger than the limit of %lld bytes for a layer",
			       (long long)d->max);
	r = fd_write_all(d->fd, data, len);
	if (r < 0)
		return err_sys(e, r, "write what is fetched");
	hasher_add(d->hasher, data, len);
	d->size += (int64_t)len;
	return 0;
}

static int exchange(Download *d, const char *method, Err *e)
{
	_cleanup_(http_client_freep) HttpClient *c = NULL;
	ProxyRules proxies = {0};
	const HttpRequest q = {.method = method,
			       .url = d->f->url,
			       .peer = "server",
			       .sink = streq(method, "GET") ? take : NULL,
			       .sink_user = d,
			       .cancelled = cancelled,
			       .cancel_user = d};
	const HttpWay way = {.proxies = &proxies};
	int r = http_client_new(NULL, &c, e);

	if (r >= 0)
		r = proxies_of(d->f->b, &proxies, e);
	if (r >= 0) {
		http_client_set_way(c, &way);
		r = http_do(c, &q, &d->reply, e);
	}
	proxy_rules_done(&proxies);
	return r;
}

/* ---- what it is ---- */

/* False if the server does not say enough to know it again. */
static bool name_of_reply(const char *url, const HttpReply *reply, MemoKey *ret)
{
	_cleanup_free_ char *text = NULL;
	uint8_t bytes[MEMO_DIGEST];
	char digest[DIGEST_LEN + 1];

	if (str_empty(reply->etag) && str_empty(reply->last_modified))
		return false;
	text = strf("url %s\n%s\n%s", url, reply->etag ?: "", reply->last_modified ?: "");
	if (!text)
		return false;
	digest_of(text, strlen(text), digest);
	if (!digest_to_bytes(digest, bytes))
		return false;
	*ret = memo_key_of_digest(bytes);
	return true;
}

static int remember(Fetch *f, const HttpReply *reply, Err *e)
{
	_cleanup_(memo_freep) Memo *m = NULL;
	uint8_t bytes[MEMO_DIGEST];
	MemoKey key;
	int r;

	if (!name_of_reply(f->url, reply, &key) || !digest_to_bytes(f->content, bytes))
		return 0;
	r = memo_open(store_root_fd(f->b->store), &m, e);
	if (r >= 0 && memo_put(m, &key, bytes) < 0)
		r = err_oom(e);
	if (r >= 0)
		(void)!memo_save(m, NULL); /* what is not written down is fetched again */
	return r;
}

/* True if the server says that it still has what it had. */
static bool is_known(Fetch *f)
{
	_cleanup_(memo_freep) Memo *m = NULL;
	Download d = {.f = f};
	uint8_t bytes[MEMO_DIGEST];
	MemoKey key;
	bool known = exchange(&d, "HEAD", NULL) >= 0 && d.reply.status == 200 &&
		     name_of_reply(f->url, &d.reply, &key) &&
		     memo_open(store_root_fd(f->b->store), &m, NULL) >= 0 && memo_get(m, &key, bytes);

	if (known)
		digest_of_bytes(bytes, f->content);
	http_reply_done(&d.reply);
	return known;
}

int fetch_http_identify(Fetch *f, Err *e)
{
	if (f->checksum) {
		if (!digest_is_valid(f->checksum))
			return err_new(e, ERR_INVALID,
				       "invalid checksum digest format: %.100s: expected sha256: and 64 "
				       "hexadecimal digits",
				       f->checksum);
		memcpy(f->content, f->checksum, sizeof(f->content));
		return 0;
	}
	if (is_known(f))
		return 0;
	return build_is_over(f->b) ? build_cancelled(e) : fetch_http_get(f, e);
}

/* ---- getting it ---- */

static bool is_name(const char *s, size_t n)
{
	return n > 0 && n < 256 && !(n == 1 && *s == '.') && !(n == 2 && s[0] == '.' && s[1] == '.') &&
	       !memchr(s, '/', n);
}

/* filename="x" or filename=x, the part behind its last slash. */
static char *disposition_name(const char *s)
{
	const char *p = strcasestr(s, "filename="), *slash;
	size_t n;

	if (!p)
		return NULL;
	p += strlen("filename=");
	n = *p == '"' ? strcspn(++p, "\"") : strcspn(p, "; \t");
	slash = memrchr(p, '/', n);
	if (slash) {
		n -= (size_t)(slash + 1 - p);
		p = slash + 1;
	}
	return is_name(p, n) ? strndup(p, n) : NULL;
}

char *fetch_http_name(const char *url, const char *disposition)
{
	const char *host = strstr(url, "://"), *path = host ? host + 3 : url, *slash = NULL;
	size_t n = strcspn(path, "?#");
	char *name = NULL;

	for (size_t i = 0; i < n; i++)
		if (path[i] == '/' && i + 1 < n && path[i + 1] != '/')
			slash = path + i + 1;
	if (slash) {
		size_t len = strcspn(slash, "/?#");

		name = is_name(slash, len) ? strndup(slash, len) : NULL;
	}
	if (!name && disposition)
		name = disposition_name(disposition);
	return name ? name : strdup("__unnamed__");
}

/* As BuildKit has it: the server's date, or the beginning of time. */
static int set_time(int fd, const char *last_modified)
{
	struct timespec times[2] = {{0}};
	struct tm tm = {0};

	if (last_modified && strptime(last_modified, "%a, %d %b %Y %H:%M:%S GMT", &tm))
		times[0].tv_sec = timegm(&tm);
	times[1] = times[0];
	return futimens(fd, times) < 0 ? -errno : 0;
}

static int check(Fetch *f, Download *d, Err *e)
{
	char digest[DIGEST_LEN + 1];

	if (d->reply.status != 200)
		return err_new(e, d->reply.status == 404 ? ERR_NOT_FOUND : ERR_UNAVAILABLE,
			       "%.300s: invalid response status %d", f->url, d->reply.status);
	if (hasher_digest(d->hasher, digest) < 0)
		return err_sys(e, EIO, "hash what was fetched");
	if (f->checksum && !streq(f->checksum, digest))
		return err_new(e, ERR_INVALID, "digest mismatch %s: %s", digest, f->checksum);
	memcpy(f->content, digest, sizeof(digest));
	return 0;
}

static int download(Fetch *f, Download *d, Err *e)
{
	int r = exchange(d, "GET", e);

	if (r >= 0)
		r = check(f, d, e);
	if (r >= 0 && (r = set_time(d->fd, d->reply.last_modified)) < 0)
		r = err_sys(e, r, "set the time of what was fetched");
	if (r >= 0) {
		f->file = fetch_http_name(f->url, d->reply.disposition);
		r = f->file ? remember(f, &d->reply, e) : err_oom(e);
	}
	if (r >= 0 && renameat(f->dir, "new", f->dir, f->file) < 0)
		r = err_sys(e, errno, "name what was fetched %s", f->file);
	return r;
}

int fetch_http_get(Fetch *f, Err *e)
{
	Download d = {.f = f, .fd = -1, .max = store_layer_limits(f->b->store).bytes, .hasher = hasher_new()};
	int r = d.hasher ? fetch_room(f->b, &f->path, &f->dir, e) : err_oom(e);

	if (r >= 0) {
		d.fd = openat(f->dir, "new", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		r = d.fd < 0 ? err_sys(e, errno, "make a file for what is fetched") : download(f, &d, e);
	}
	http_reply_done(&d.reply);
	hasher_free(d.hasher);
	close_fd(&d.fd);
	if (r < 0)
		fetch_room_done(f->b, &f->path, &f->dir);
	return r;
}
