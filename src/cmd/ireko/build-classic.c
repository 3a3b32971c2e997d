/* SPDX-License-Identifier: Apache-2.0 */
/* The way of docker's API that every engine has: the context goes up as a tar as it is read, the classic builder's output comes back. */
#include "base/fd.h"
#include "base/secret.h"
#include "build.h"
#include "client.h"
#include "credential.h"
#include "env-file.h"
#include "progress.h"
#include "spec.h"
#include "tar-http.h"
#include "text.h"

#include <strings.h>

#define DOCKERFILE_MAX (1u << 20)

static int add_json(StrBuf *b, const char *key, json_t *value, Err *e)
{
	_cleanup_json_ json_t *owned = value;
	_cleanup_free_ char *text = owned ? json_text(owned) : NULL;

	if (!text)
		return err_new(e, ERR_INVALID, "%s: out of memory, or a value is no UTF-8", key);
	text_query(b, key, text);
	return 0;
}

static void add_num(StrBuf *b, const char *key, Num n)
{
	char text[24];

	if (!n.set)
		return;
	snprintf(text, sizeof(text), "%lld", (long long)n.v);
	text_query(b, key, text);
}

static void add_str(StrBuf *b, const char *key, const char *value)
{
	if (value)
		text_query(b, key, value);
}

/* A bare NAME that we have no value for is null: declared, not set. */
static int add_args(StrBuf *b, const BuildOptions *o, Err *e)
{
	_cleanup_json_ json_t *map = json_object();

	for (size_t i = 0; map && o->args.v && o->args.v[i]; i++) {
		const char *s = o->args.v[i], *eq = strchr(s, '=');
		_cleanup_free_ char *name = strndup(s, eq ? (size_t)(eq - s) : strlen(s));
		const char *value = eq ? eq + 1 : name ? getenv(name) : NULL;

		if (!name || !*name)
			return err_new(e, ERR_INVALID, "invalid --build-arg \"%s\": expected NAME=VALUE", s);
		if (json_object_set_new(map, name, value ? json_string(value) : json_null()) < 0)
			return err_new(e, ERR_INVALID, "--build-arg %s: the value is no UTF-8", name);
	}
	return o->args.v ? add_json(b, "buildargs", json_incref(map), e) : 0;
}

static int add_maps(StrBuf *b, const BuildOptions *o, Err *e)
{
	_cleanup_strv_ char **labels = NULL;
	_cleanup_json_ json_t *ulimits = json_array();
	int r = add_args(b, o, e);

	if (r == 0)
		r = labels_collect(NULL, o->labels.v, &labels, e);
	if (r == 0 && labels)
		r = add_json(b, "labels", json_map_from_strv(labels), e);
	if (r == 0 && o->cache_from.v)
		r = add_json(b, "cachefrom", json_from_strv(o->cache_from.v), e);
	for (size_t i = 0; r == 0 && o->ulimits.v && o->ulimits.v[i]; i++)
		r = spec_add_ulimit(o->ulimits.v[i], ulimits, e);
	if (r == 0 && json_array_size(ulimits))
		r = add_json(b, "ulimits", json_incref(ulimits), e);
	return r;
}

static int make_target(const BuildPlan *p, StrBuf *b, Err *e)
{
	const BuildOptions *o = p->o;
	const Context *c = &p->context;
	int r;

	strbuf_add(b, "/build");
	text_query(b, "dockerfile", c->dockerfile);
	add_str(b, "remote", c->remote);
	for (size_t i = 0; p->tags && p->tags[i]; i++)
		text_query(b, "t", p->tags[i]);
	for (size_t i = 0; o->hosts.v && o->hosts.v[i]; i++)
		text_query(b, "extrahosts", o->hosts.v[i]);
	for (size_t i = 0; o->security_opts.v && o->security_opts.v[i]; i++)
		text_query(b, "securityopt", o->security_opts.v[i]);
	if (o->quiet)
		text_query(b, "q", "1");
	if (o->no_cache)
		text_query(b, "nocache", "1");
	if (o->pull)
		text_query(b, "pull", "1");
	if (o->squash)
		text_query(b, "squash", "1");
	if (o->force_rm)
		text_query(b, "forcerm", "1");
	text_query(b, "rm", tri(o->rm, true) ? "1" : "0");
	add_str(b, "networkmode", o->network);
	add_str(b, "target", o->target);
	add_str(b, "platform", p->platform);
	add_str(b, "cgroupparent", o->cgroup_parent);
	add_str(b, "cpusetcpus", o->resources.cpuset_cpus);
	add_str(b, "cpusetmems", o->resources.cpuset_mems);
	add_num(b, "memory", o->resources.memory);
	add_num(b, "memswap", o->resources.memory_swap);
	add_num(b, "cpushares", o->resources.cpu_shares);
	add_num(b, "cpuperiod", o->resources.cpu_period);
	add_num(b, "cpuquota", o->resources.cpu_quota);
	add_num(b, "shmsize", o->shm_size);
	text_query(b, "version", "1");
	r = add_maps(b, o, e);
	return r < 0 ? r : b->oom ? err_oom(e) : 0;
}

static int send_archive(const Context *c, Httpc *client, Err *e)
{
	int r = httpc_write(client, c->archive_head, c->archive_head_len, e);

	return r ? r : httpc_write_fd(client, STDIN_FILENO, e);
}

static int send_context(const Context *c, Httpc *client, bool quiet, Err *e)
{
	_cleanup_free_ TarWriter *w = NULL;
	int r;

	if (c->remote)
		return 0;
	if (c->archive_head)
		return send_archive(c, client, e);
	w = calloc(1, sizeof(*w));
	if (!w)
		return err_oom(e);
	w->sink = tar_http_sink;
	w->user = client;
	r = context_write(c, w, e);
	if (r == 0 && !quiet)
		(void)printf("Sending build context to the engine  %s\n", text_size((double)w->total, 4).s);
	return r < 0 ? err_ctx(e, r, "build context") : r;
}

/* The id that the engine tells in its aux message. */
static void keep_id(void *user, const json_t *aux)
{
	char **id = user;
	const char *s = json_get_str(aux, "ID");

	if (s) {
		free(*id);
		*id = strdup(s);
	}
}

/* The Dockerfile, if it names its images outright, so that only their registries' credentials are asked for and sent. NULL if it is not at hand, or what it
 * names is put together from variables. */
static char *names_in_dockerfile(const Context *c)
{
	_cleanup_free_ char *text = NULL;

	if (c->text)
		text = strndup(c->text, c->text_len);
	else if (c->fd < 0 || file_read_at(c->fd, c->dockerfile, DOCKERFILE_MAX, &text, NULL) < 0)
		return NULL;
	for (const char *line = text; line && *line;
	     line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		const char *word = line + strspn(line, " \t");
		size_t n = strcspn(word, "\n");

		if (memchr(word, '$', n) &&
		    (strncasecmp(word, "FROM", 4) == 0 || memmem(word, n, "from=", 5)))
			return NULL;
	}
	return take_ptr(text);
}

const char *build_classic_lacks(const BuildPlan *p)
{
	const BuildOptions *o = p->o;
	bool several = p->platform && strchr(p->platform, ',');
	bool quiet = o->progress && !streq(o->progress, "auto") && !streq(o->progress, "plain");

	return o->secrets.v                            ? "--secret"
	       : o->agents.v                           ? "--ssh"
	       : o->contexts.v                         ? "--build-context"
	       : o->allow.v                            ? "--allow"
	       : o->no_cache_filter.v                  ? "--no-cache-filter"
	       : o->shell_on_fail                      ? "--shell-on-fail"
	       : o->cache_to.v                         ? "--cache-to"
	       : o->explain                            ? "--explain"
	       : p->context.remote && p->context.text  ? "-f - with a URL"
	       : several                               ? "--platform with several platforms"
	       : o->annotations.v                      ? "--annotation"
	       : p->provenance                         ? "--provenance"
	       : p->sbom                               ? "--sbom"
	       : p->output.kind == OUT_LOCAL           ? "--output type=local"
	       : p->output.kind == OUT_TAR             ? "--output type=tar"
	       : p->output.kind == OUT_CACHE           ? "--output type=cacheonly"
	       : quiet && !streq(o->progress, "quiet") ? "--progress"
						       : NULL;
}

int build_classic(Call *call, const BuildPlan *plan, BuildOutcome *ret, Err *e)
{
	const BuildOptions *o = plan->o;
	const Context *c = &plan->context;
	_cleanup_strbuf_ StrBuf target = {0};
	_cleanup_secret_ char *auth_header = NULL;
	_cleanup_httpc_ Httpc *client = NULL;
	char *headers[3] = {(char[]){"Content-Type: application/x-tar"}, NULL, NULL};
	Progress p = {.out = o->quiet ? NULL : stdout,
		      .tty = call->cli->out_tty,
		      .aux = keep_id,
		      .user = &ret->id};
	int r = make_target(plan, &target, e);
	_cleanup_free_ char *names = r == 0 ? names_in_dockerfile(c) : NULL;

	if (r == 0)
		r = credential_config_header(call->cli, names, &auth_header, e);
	headers[1] = auth_header;
	if (r == 0)
		r = api_settle(call->cli, e);
	if (r == 0)
		r = api_start(call->cli,
			      &(ApiRequest){.method = "POST",
					    .target = target.s,
					    .headers = headers,
					    .chunked = !c->remote},
			      &client, e);
	if (r == 0)
		r = send_context(c, client, o->quiet, e);
	if (r >= 0 && !c->remote)
		r = httpc_finish(client, e);
	if (r >= 0)
		r = api_answer(call->cli, client, NULL, e);
	return r < 0 ? r : progress_show(&p, client, e);
}
