/* SPDX-License-Identifier: Apache-2.0 */
/* See client.h. */
#include "client.h"
#include "base/secret.h"
#include "config.h"
#include "endpoint.h"
#include "oci/image.h"
#include "text.h"

#include <ctype.h>

#define ANSWER_MAX (256u << 20)
#define ERROR_MAX  (1u << 20)

static const char *remedy(const Cli *cli, int no)
{
	bool ours = streq(cli->address.text, DEFAULT_ADDRESS);

	if (no == EACCES || no == EPERM)
		return ": you may not use its socket; become a member of the group that owns it, or use sudo";
	if (ours)
		return ": is irekod running? start it with 'systemctl start irekod' or 'irekod', or name "
		       "another engine with -H";
	return ": is the engine running there? -H, --context or DOCKER_HOST name another one";
}

static int cannot_reach(const Cli *cli, const Err *cause, Err *e)
{
	if (cli->dial.kind != DIAL_SOCKET)
		return err_new_no(e, ERR_UNAVAILABLE, cause->no, "error during connect: %s: %s",
				  cli->address.text, cause->msg);
	if (streq(cli->program, "docker") && cause->no != EACCES && cause->no != EPERM)
		return err_new_no(e, ERR_UNAVAILABLE, cause->no,
				  "Cannot connect to the Docker daemon at %s. Is the docker daemon running?",
				  cli->address.text);
	return err_new_no(e, ERR_UNAVAILABLE, cause->no, "cannot reach the engine at %s: %s%s",
			  cli->address.text,
			  cause->kind == ERR_UNAVAILABLE ? cause->msg : strerror(cause->no),
			  remedy(cli, cause->no));
}

static int connect_engine(Cli *cli, Httpc **ret, Err *e)
{
	Err cause = {0};
	int r = endpoint_find(cli, e);

	if (r < 0)
		return r;
	if (!cli->api_version[0]) {
		const char *v = getenv("DOCKER_API_VERSION");

		/* A version that was asked for is kept. */
		cli->version_settled = !str_empty(v);
		snprintf(cli->api_version, sizeof(cli->api_version), "%s",
			 cli->version_settled ? v : API_VERSION);
	}
	r = endpoint_connect(cli, ret, &cause);
	return r < 0 ? cannot_reach(cli, &cause, e) : 0;
}

int api_connect(Cli *cli, Httpc **ret, Err *e)
{
	return connect_engine(cli, ret, e);
}

/* The kept connection if it is still good, else a new one. */
static int take_idle(Cli *cli, Httpc **ret, Err *e)
{
	Httpc *c = take_ptr(cli->idle);

	if (c && httpc_is_idle(c)) {
		*ret = c;
		return 0;
	}
	httpc_free(c);
	return connect_engine(cli, ret, e);
}

static void give_back(Cli *cli, Httpc *c)
{
	if (!cli->idle && httpc_is_idle(c))
		cli->idle = c;
	else
		httpc_free(c);
}

static char *versioned(const Cli *cli, const char *target)
{
	if (str_starts(target, "/_ping") || str_starts(target, "/ireko/"))
		return strdup(target);
	return strf("/v%s%s", cli->api_version, target);
}

static int send_request(Cli *cli, Httpc *c, const ApiRequest *rq, Err *e)
{
	_cleanup_free_ char *target = versioned(cli, rq->target);
	_cleanup_secret_ char *text = rq->body ? json_text(rq->body) : NULL;
	_cleanup_strv_ char **headers = strv_dup(rq->headers);

	if (!target || !headers || (rq->body && !text))
		return err_oom(e);
	if (text && strv_add(&headers, "Content-Type: application/json") < 0)
		return err_oom(e);
	int r = config_headers(cli, &headers, e);
	if (r < 0)
		return r;
	HttpcRequest hr = {.method = rq->method,
			   .target = target,
			   .headers = headers,
			   .body = text,
			   .body_len = text ? strlen(text) : 0,
			   .chunked = rq->chunked,
			   .upgrade = rq->upgrade};
	r = httpc_send(c, &hr, e);
	return r < 0 ? err_ctx(e, r, "%s", cli->address.text) : 0;
}

static ErrKind kind_of_status(int status)
{
	switch (status) {
	case 400:
		return ERR_INVALID;
	case 401:
		return ERR_UNAUTHORIZED;
	case 403:
		return ERR_DENIED;
	case 404:
		return ERR_NOT_FOUND;
	case 409:
		return ERR_CONFLICT;
	case 501:
		return ERR_UNSUPPORTED;
	case 503:
		return ERR_UNAVAILABLE;
	default:
		return ERR_INTERNAL;
	}
}

/* The body of an error answer as an Err. Consumes the body. */
static int engine_error(Httpc *c, int status, Err *e)
{
	_cleanup_free_ char *text = NULL, *trimmed = NULL;
	_cleanup_json_ json_t *j = NULL;
	size_t len = 0;
	const char *message = NULL;

	if (httpc_read_all(c, ERROR_MAX, &text, &len, NULL) == 0) {
		if (json_parse(text, len, "error", &j, NULL) == 0)
			message = json_get_str(j, "message");
		trimmed = str_trim_dup(text);
	}
	if (str_empty(message))
		message = trimmed;
	if (str_empty(message))
		return err_new(e, kind_of_status(status),
			       "Error response from daemon: status %d without a message", status);
	return err_new(e, kind_of_status(status), "Error response from daemon: %s", message);
}

/* "client version 1.51 is too new. Maximum supported API version is 1.41" */
static bool learn_version(Cli *cli, const Err *e)
{
	const char *at = strstr(e->msg, "supported API version is ");
	size_t n;

	if (cli->version_settled || e->kind != ERR_INVALID || !at)
		return false;
	at += strlen("supported API version is ");
	n = strspn(at, "0123456789.");
	while (n > 0 && at[n - 1] == '.')
		n--;
	if (n == 0 || n >= sizeof(cli->api_version))
		return false;
	snprintf(cli->api_version, sizeof(cli->api_version), "%.*s", (int)n, at);
	cli->version_settled = true;
	return true;
}

int api_answer(Cli *cli, Httpc *c, const HttpcResponse **ret, Err *e)
{
	const HttpcResponse *rs;
	int r = httpc_receive(c, &rs, e);

	if (r < 0)
		return err_ctx(e, r, "%s", cli->address.text);
	if (rs->status >= 400)
		return engine_error(c, rs->status, e);
	cli->version_settled = true;
	if (ret)
		*ret = rs;
	return rs->status;
}

int api_parse(const char *text, size_t len, json_t **ret, Err *e)
{
	/* Go says null where others say []: no document for the parser, and nothing for a loop. */
	_cleanup_free_ char *trimmed = len < 16 ? str_trim_dup(text) : NULL;

	if (streq0(trimmed, "null")) {
		*ret = json_null();
		return 0;
	}
	return json_parse(text, len, "the engine's answer", ret, e);
}

static int read_body(Httpc *c, const ApiMore *more, char **ret, size_t *ret_len, Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0};
	char piece[16384];
	ssize_t n;

	if (!more)
		return httpc_read_all(c, ANSWER_MAX, ret, ret_len, e);
	while ((n = httpc_read(c, piece, sizeof(piece), e)) > 0) {
		if ((size_t)n > ANSWER_MAX - b.len)
			return err_new(e, ERR_INTERNAL, "the engine's answer is larger than %u bytes",
				       ANSWER_MAX);
		strbuf_add_n(&b, piece, (size_t)n);
		if (b.oom)
			return err_oom(e);
		more->fn(more->user, b.s, b.len);
	}
	*ret_len = b.len;
	*ret = n < 0 ? NULL : strbuf_steal(&b);
	return n < 0 ? (int)n : *ret ? 0 : err_oom(e);
}

/* The status, with the body of the answer in *ret. */
static int exchange(Cli *cli, const ApiRequest *rq, const ApiMore *more, char **ret, size_t *ret_len, Err *e)
{
	for (;;) {
		Httpc *c = NULL;
		int r = take_idle(cli, &c, e);

		if (r < 0)
			return r;
		r = send_request(cli, c, rq, e);
		if (r == 0)
			r = api_answer(cli, c, NULL, e);
		int bad = r < 0 ? r : read_body(c, more, ret, ret_len, e);
		give_back(cli, c);
		if (r < 0 && learn_version(cli, e))
			continue;
		return bad < 0 ? bad : r;
	}
}

int api_call(Cli *cli, const char *method, const char *target, const json_t *body, json_t **ret, Err *e)
{
	const ApiRequest rq = {.method = method, .target = target, .body = body};
	_cleanup_free_ char *text = NULL;
	Err own = {0};
	size_t len = 0;
	int r, parsed = 0;

	if (!e)
		e = &own;
	if (ret)
		*ret = NULL;
	r = exchange(cli, &rq, NULL, &text, &len, e);
	if (r >= 0 && ret && len > 0)
		parsed = api_parse(text, len, ret, e);
	return parsed < 0 ? parsed : r;
}

int api_get_text(Cli *cli, const char *target, const ApiMore *more, char **ret, size_t *ret_len, Err *e)
{
	return exchange(cli, &(ApiRequest){.method = "GET", .target = target}, more, ret, ret_len, e);
}

int api_get(Cli *cli, const char *target, json_t **ret, Err *e)
{
	int r = api_call(cli, "GET", target, NULL, ret, e);

	if (r >= 0 && !*ret)
		return err_new(e, ERR_INTERNAL, "the engine's answer to %s is empty", target);
	return r;
}

int api_ask(Cli *cli, const ApiRequest *rq, json_t **ret, Err *e)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r = exchange(cli, rq, NULL, &text, &len, e);

	if (r < 0)
		return r;
	return len > 0 ? api_parse(text, len, ret, e)
		       : err_new(e, ERR_INTERNAL, "the engine's answer to %s is empty", rq->target);
}

int api_start(Cli *cli, const ApiRequest *rq, Httpc **ret, Err *e)
{
	_cleanup_httpc_ Httpc *c = NULL;
	int r = connect_engine(cli, &c, e);

	if (r == 0)
		r = send_request(cli, c, rq, e);
	if (r == 0)
		*ret = take_ptr(c);
	return r;
}

/* A version like "1.41" as a number that can be compared. */
static int version_number(const char *s)
{
	int major = 0, minor = 0;

	return sscanf(s, "%d.%d", &major, &minor) == 2 ? major * 1000 + minor : 0;
}

int api_settle(Cli *cli, Err *e)
{
	Httpc *c = NULL;
	const HttpcResponse *rs;
	int r;

	if (cli->version_settled)
		return 0;
	r = take_idle(cli, &c, e);
	if (r < 0 || cli->version_settled) {
		httpc_free(c);
		return r;
	}
	r = send_request(cli, c, &(ApiRequest){.method = "GET", .target = "/_ping"}, e);
	if (r == 0)
		r = api_answer(cli, c, &rs, e);
	if (r >= 0) {
		_cleanup_free_ char *v = httpc_response_header(rs, "Api-Version"), *body = NULL;
		size_t len;

		if (v && version_number(v) && version_number(v) < version_number(cli->api_version))
			snprintf(cli->api_version, sizeof(cli->api_version), "%s", v);
		r = httpc_read_all(c, ANSWER_MAX, &body, &len, e);
	}
	give_back(cli, c);
	return r < 0 ? r : 0;
}

/* HEAD is refused without words: true if asking brought another version. */
static bool ask_version(Cli *cli, const ApiRequest *rq, const Err *refused)
{
	char before[sizeof(cli->api_version)];

	if (cli->version_settled || refused->kind != ERR_INVALID || !streq(rq->method, "HEAD"))
		return false;
	memcpy(before, cli->api_version, sizeof(before));
	return api_settle(cli, NULL) == 0 && !streq(before, cli->api_version);
}

int api_stream(Cli *cli, const ApiRequest *rq, Httpc **ret, const HttpcResponse **rs, Err *e)
{
	for (;;) {
		_cleanup_httpc_ Httpc *c = NULL;
		int r = api_start(cli, rq, &c, e);

		if (r == 0)
			r = api_answer(cli, c, rs, e);
		if (r < 0 && (learn_version(cli, e) || ask_version(cli, rq, e)))
			continue;
		if (r >= 0)
			*ret = take_ptr(c);
		return r;
	}
}

char *api_path(const char *kind, const char *name, const char *rest, Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0};
	bool image = streq(kind, "images");
	int r = 0;

	if (streq(kind, "containers") && *name == '/')
		name++;
	if (!*name)
		r = err_new(e, ERR_INVALID, "invalid %.*s name or ID: value is empty", (int)strlen(kind) - 1,
			    kind);
	/* A path with dot segments would name something else. */
	else if (streq(name, ".") || streq(name, "..") ||
		 (image && (strstr(name, "//") || strstr(name, "/./") || strstr(name, "../"))))
		r = err_new(e, ERR_INVALID, "invalid %.*s name: %s", (int)strlen(kind) - 1, kind, name);
	if (r < 0)
		return NULL;
	strbuf_addf(&b, "/%s/", kind);
	text_url_escape(&b, name, image);
	strbuf_add(&b, rest);
	char *s = strbuf_steal(&b);
	if (!s)
		r = err_oom(e);
	return s;
}

json_t *api_filters(char *const *assignments, Err *e)
{
	_cleanup_json_ json_t *all = json_object();
	int r = all ? 0 : err_oom(e);

	for (size_t i = 0; r == 0 && assignments && assignments[i]; i++) {
		_cleanup_free_ char *raw = str_trim_dup(assignments[i]);
		const char *eq = raw ? strchr(raw, '=') : NULL;

		if (!eq) {
			r = err_new(e, ERR_INVALID,
				    "invalid argument \"%s\" for \"-f, --filter\" flag: bad format of filter "
				    "(expected "
				    "name=value)",
				    assignments[i]);
			break;
		}
		_cleanup_free_ char *part = strndup(raw, (size_t)(eq - raw));
		_cleanup_free_ char *key = part ? str_trim_dup(part) : NULL, *value = str_trim_dup(eq + 1);
		for (char *p = key; p && *p; p++)
			*p = (char)tolower((unsigned char)*p);
		json_t *set = key ? json_object_get(all, key) : NULL;
		if (key && !set && json_object_set_new(all, key, set = json_object()) < 0)
			set = NULL;
		if (!value || !set || json_object_set_new(set, value, json_true()) < 0)
			r = err_oom(e);
	}
	return r < 0 ? NULL : take_ptr(all);
}

int api_add_filters(StrBuf *target, char *const *assignments, Err *e)
{
	int r = 0;

	if (!assignments)
		return 0;
	_cleanup_json_ json_t *f = api_filters(assignments, e);
	if (!f)
		return -EINVAL;
	_cleanup_free_ char *text = json_text(f);
	if (!text)
		return err_oom(e);
	text_query(target, "filters", text);
	return r;
}

int api_add_platform(StrBuf *target, const char *key, const char *platform, Err *e)
{
	ImagePlatform p = {0};

	if (!platform)
		return 0;
	int r = image_platform_parse(platform, &p, e);
	if (r < 0)
		return r;
	_cleanup_json_ json_t *j = json_pack("{s:s, s:s}", "os", p.os, "architecture", p.architecture);
	if (j && !str_empty(p.variant) && json_object_set_new(j, "variant", json_string(p.variant)) < 0)
		json_decref(take_ptr(j));
	image_platform_done(&p);
	_cleanup_free_ char *text = j ? json_text(j) : NULL;
	if (!text)
		return err_oom(e);
	text_query(target, key, text);
	return 0;
}

int api_add_created(StrBuf *target, Err *e)
{
	const char *epoch = getenv("SOURCE_DATE_EPOCH");

	if (str_empty(epoch))
		return 0;
	if (strlen(epoch) > 11 || strspn(epoch, "0123456789") != strlen(epoch))
		return err_new(e, ERR_INVALID, "SOURCE_DATE_EPOCH=%.40s: expected seconds since 1970", epoch);
	text_query(target, "created", epoch);
	return 0;
}
