/* SPDX-License-Identifier: Apache-2.0 */
/* build: the context goes up as it is read, the classic builder's output comes back. */
#include "base/fd.h"
#include "base/secret.h"
#include "client.h"
#include "config.h"
#include "context.h"
#include "credential.h"
#include "env-file.h"
#include "options.h"
#include "progress.h"
#include "resources.h"
#include "spec.h"
#include "tar-http.h"
#include "text.h"
#include "verbs.h"

#include <fcntl.h>
#include <strings.h>

#define DOCKERFILE_MAX (1u << 20)

typedef struct BuildOptions {
	List tags, args, labels, hosts, cache_from, ulimits, security_opts;
	const char *file, *target, *network, *iidfile, *platform, *cgroup_parent, *isolation, *progress;
	bool no_cache, pull, quiet, force_rm, squash, load, compress, disable_content_trust;
	Tri rm;
	ResourceOptions resources;
	Num shm_size;
} BuildOptions;

#define O(field) offsetof(BuildOptions, field)
static const Flag flags[] = {
    {"add-host", 0, FLAG_LIST, O(hosts), "Entry of /etc/hosts: HOST:IP", NULL},
    {"build-arg", 0, FLAG_LIST, O(args), "Set an ARG: NAME=VALUE, or NAME to take our variable", NULL},
    {"cache-from", 0, FLAG_CSV, O(cache_from), "Image to take cached steps from", NULL},
    {"cgroup-parent", 0, FLAG_STRING, O(cgroup_parent), "Parent cgroup of RUN", NULL},
    {"compress", 0, FLAG_BOOL, O(compress), NULL, NULL},
    {"cpu-period", 0, FLAG_INT, O(resources.cpu_period), "Period of the CPU quota in microseconds", NULL},
    {"cpu-quota", 0, FLAG_INT, O(resources.cpu_quota), "CPU time in each period in microseconds", NULL},
    {"cpu-shares", 'c', FLAG_INT, O(resources.cpu_shares), "Relative weight of CPU time", NULL},
    {"cpuset-cpus", 0, FLAG_STRING, O(resources.cpuset_cpus), "CPUs to run on (0-3, 0,1)", NULL},
    {"cpuset-mems", 0, FLAG_STRING, O(resources.cpuset_mems), "Memory nodes to use (0-3, 0,1)", NULL},
    {"disable-content-trust", 0, FLAG_BOOL, O(disable_content_trust), NULL, NULL},
    {"file", 'f', FLAG_STRING, O(file), "Dockerfile (default PATH/Dockerfile), - for standard input", NULL},
    {"force-rm", 0, FLAG_BOOL, O(force_rm), "Remove intermediate containers even after a failure", NULL},
    {"iidfile", 0, FLAG_STRING, O(iidfile), "Write the image's id to this file", NULL},
    {"isolation", 0, FLAG_STRING, O(isolation), NULL, NULL},
    {"label", 0, FLAG_LIST, O(labels), "Set a label of the image", NULL},
    {"load", 0, FLAG_BOOL, O(load), NULL, NULL},
    {"memory", 'm', FLAG_BYTES, O(resources.memory), "Limit of memory", NULL},
    {"memory-swap", 0, FLAG_BYTES, O(resources.memory_swap),
     "Limit of memory and swap together; -1: no limit", NULL},
    {"network", 0, FLAG_STRING, O(network), "Network of RUN", NULL},
    {"no-cache", 0, FLAG_BOOL, O(no_cache), "Run every step anew", NULL},
    {"platform", 0, FLAG_STRING, O(platform), "Platform of the image: OS/ARCH[/VARIANT]", NULL},
    {"progress", 0, FLAG_STRING, O(progress), NULL, NULL},
    {"pull", 0, FLAG_BOOL, O(pull), "Look for newer base images", NULL},
    {"quiet", 'q', FLAG_BOOL, O(quiet), "Print only the image's id", NULL},
    {"rm", 0, FLAG_TRI, O(rm), "Remove intermediate containers (default true)", NULL},
    {"security-opt", 0, FLAG_CSV, O(security_opts), "Security option of RUN", NULL},
    {"shm-size", 0, FLAG_BYTES, O(shm_size), "Size of /dev/shm in RUN", NULL},
    {"squash", 0, FLAG_BOOL, O(squash), "Make one layer of the new ones", NULL},
    {"tag", 't', FLAG_LIST, O(tags), "Name of the image: NAME[:TAG]", NULL},
    {"target", 0, FLAG_STRING, O(target), "Stage to build", NULL},
    {"ulimit", 0, FLAG_LIST, O(ulimits), "Resource limit of RUN: NAME=SOFT[:HARD]", "ulimit"},
    {0},
};
#undef O

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

static int make_target(const BuildOptions *o, const Context *c, StrBuf *b, Err *e)
{
	int r;

	strbuf_add(b, "/build");
	text_query(b, "dockerfile", c->dockerfile);
	add_str(b, "remote", c->remote);
	for (size_t i = 0; o->tags.v && o->tags.v[i]; i++)
		text_query(b, "t", o->tags.v[i]);
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
	add_str(b, "platform", o->platform);
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

static int run_request(Call *call, const Context *c, char **ret_id, Err *e)
{
	const BuildOptions *o = call->opts;
	_cleanup_strbuf_ StrBuf target = {0};
	_cleanup_secret_ char *auth_header = NULL;
	_cleanup_httpc_ Httpc *client = NULL;
	char *headers[3] = {(char[]){"Content-Type: application/x-tar"}, NULL, NULL};
	Progress p = {.out = o->quiet ? NULL : stdout,
		      .tty = call->cli->out_tty,
		      .aux = keep_id,
		      .user = ret_id};
	int r = make_target(o, c, &target, e);
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

static int write_iidfile(const char *path, const char *id, Err *e)
{
	int r = file_replace_at(AT_FDCWD, path, id, strlen(id), 0644, false);

	return r < 0 ? err_sys(e, r, "write the image ID file %s", path) : 0;
}

static int run_build(Call *call, Err *e)
{
	BuildOptions *o = call->opts;
	_cleanup_(context_done) Context c = {.fd = -1};
	_cleanup_free_ char *id = NULL;
	int r = config_add_proxies(call->cli, &o->args.v, e);

	if (r < 0)
		return r;
	if (o->iidfile && unlink(o->iidfile) < 0 && errno != ENOENT)
		return err_sys(e, errno, "remove the old image ID file %s", o->iidfile);
	r = context_open(call->args[0], o->file, &c, e);
	if (r == 0)
		r = run_request(call, &c, &id, e);
	if (r < 0)
		return r;
	if (!id && (o->quiet || o->iidfile))
		return err_new(e, ERR_INTERNAL, "the engine did not tell the image's id");
	if (o->quiet)
		(void)printf("%s\n", id);
	return o->iidfile ? write_iidfile(o->iidfile, id, e) : 0;
}

const Command cmd_build = {.usage = "[OPTIONS] PATH | URL | -",
			   .summary = "Build an image from a Dockerfile",
			   .flags = flags,
			   .opts_size = sizeof(BuildOptions),
			   .min = 1,
			   .max = 1,
			   .run = run_build};
