/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at one container, and naming it: rename, port, diff, top, commit. */
#include "client.h"
#include "format.h"
#include "oci/reference.h"
#include "options.h"
#include "text.h"
#include "verbs.h"

static int run_rename(Call *call, Err *e)
{
	_cleanup_free_ char *path = api_path("containers", call->args[0], "/rename", e);
	_cleanup_strbuf_ StrBuf b = {0};

	if (!path)
		return -EINVAL;
	strbuf_add(&b, path);
	text_query(&b, "name", call->args[1]);
	int r = b.oom ? err_oom(e) : api_call(call->cli, "POST", b.s, NULL, NULL, e);
	return r < 0 ? r : 0;
}

/* ---- port */

static void print_bindings(const Cli *cli, const char *port, const json_t *bindings, bool with_port)
{
	for (size_t i = 0; i < json_array_size(bindings); i++) {
		const char *ip = json_get_str(json_array_get(bindings, i), "HostIp"),
			   *host = json_get_str(json_array_get(bindings, i), "HostPort");
		bool v6 = ip && strchr(ip, ':');
		_cleanup_free_ char *line =
		    strf("%s%s%s%s%s:%s\n", with_port ? port : "", with_port ? " -> " : "", v6 ? "[" : "",
			 ip ? ip : "", v6 ? "]" : "", host ? host : "");

		text_put(stdout, line ? line : "", cli->out_tty);
	}
}

static int by_number(const void *a, const void *b)
{
	const char *x = *(const char *const *)a, *y = *(const char *const *)b;
	long c = strtol(x, NULL, 10) - strtol(y, NULL, 10);

	return c ? (c > 0) - (c < 0) : strcmp(x, y);
}

static int print_all_ports(const Cli *cli, const json_t *ports, Err *e)
{
	_cleanup_free_ const char **keys = calloc(json_object_size(ports) + 1, sizeof(char *));
	size_t n = 0;
	const char *key;
	json_t *v;

	if (!keys)
		return err_oom(e);
	json_object_foreach ((json_t *)ports, key, v) {
		keys[n++] = key;
	}
	qsort(keys, n, sizeof(*keys), by_number);
	for (size_t i = 0; i < n; i++)
		print_bindings(cli, keys[i], json_object_get(ports, keys[i]), true);
	return 0;
}

static int run_port(Call *call, Err *e)
{
	_cleanup_free_ char *path = api_path("containers", call->args[0], "/json", e), *wanted = NULL;
	_cleanup_json_ json_t *c = NULL;
	int r = path ? api_get(call->cli, path, &c, e) : -EINVAL;

	if (r < 0)
		return r;
	const json_t *ports = json_object_get(json_object_get(c, "NetworkSettings"), "Ports"), *bindings;
	if (call->n_args == 1)
		return print_all_ports(call->cli, ports, e);
	wanted = strchr(call->args[1], '/') ? strdup(call->args[1]) : strf("%s/tcp", call->args[1]);
	if (!wanted)
		return err_oom(e);
	bindings = json_object_get(ports, wanted);
	if (json_array_size(bindings) == 0)
		return err_new(e, ERR_NOT_FOUND, "Error: No public port '%s' published for %s", call->args[1],
			       call->args[0]);
	print_bindings(call->cli, wanted, bindings, false);
	return 0;
}

/* ---- diff */

static int run_diff(Call *call, Err *e)
{
	static const char kinds[] = "CAD";
	_cleanup_free_ char *path = api_path("containers", call->args[0], "/changes", e);
	_cleanup_json_ json_t *list = NULL;
	int r = path ? api_get(call->cli, path, &list, e) : -EINVAL;

	for (size_t i = 0; r >= 0 && i < json_array_size(list); i++) {
		int64_t kind = json_get_int(json_array_get(list, i), "Kind", -1);
		const char *p = json_get_str(json_array_get(list, i), "Path");

		(void)printf("%c ", kind >= 0 && kind < 3 ? kinds[kind] : '?');
		text_put(stdout, p ? p : "", call->cli->out_tty);
		(void)fputc('\n', stdout);
	}
	return r < 0 ? r : 0;
}

/* ---- top */

static void add_line(StrBuf *b, const json_t *cells)
{
	for (size_t i = 0; i < json_array_size(cells); i++) {
		const char *s = json_string_value(json_array_get(cells, i));

		if (i)
			strbuf_add_c(b, '\t');
		text_escape(b, s ? s : "", false);
	}
	strbuf_add_c(b, '\n');
}

static int run_top(Call *call, Err *e)
{
	_cleanup_free_ char *path = api_path("containers", call->args[0], "/top", e);
	_cleanup_free_ char *args = strv_join(call->args + 1, " ");
	_cleanup_strbuf_ StrBuf target = {0}, lines = {0}, out = {0};
	_cleanup_json_ json_t *top = NULL;
	int r = path && args ? 0 : -EINVAL;

	if (r < 0)
		return r;
	strbuf_add(&target, path);
	if (*args)
		text_query(&target, "ps_args", args);
	r = api_get(call->cli, target.s, &top, e);
	if (r < 0)
		return r;
	add_line(&lines, json_object_get(top, "Titles"));
	const json_t *processes = json_object_get(top, "Processes");
	for (size_t i = 0; i < json_array_size(processes); i++)
		add_line(&lines, json_array_get(processes, i));
	if (lines.oom || format_align(lines.s, 20, &out) < 0)
		return err_oom(e);
	(void)fputs(out.s, stdout);
	return 0;
}

/* ---- commit */

typedef struct CommitOptions {
	const char *author, *message;
	List changes;
	Tri pause;
} CommitOptions;

#define O(field) offsetof(CommitOptions, field)
static const Flag commit_flags[] = {
    {"author", 'a', FLAG_STRING, O(author), "Author of the image", NULL},
    {"change", 'c', FLAG_LIST, O(changes), "Apply a Dockerfile instruction to the image", NULL},
    {"message", 'm', FLAG_STRING, O(message), "Message of the image's history", NULL},
    {"pause", 'p', FLAG_TRI, O(pause), "Freeze the container meanwhile (default true)", NULL},
    {0},
};
#undef O

static int add_reference(StrBuf *b, const char *s, Err *e)
{
	Reference ref = {0};
	int r = reference_parse(s, &ref, e);

	if (r < 0)
		return r;
	_cleanup_free_ char *name = reference_familiar_name(&ref);
	if (ref.digest)
		r = err_new(e, ERR_INVALID, "%s: a digest cannot be chosen, give a tag", s);
	else if (!name)
		r = err_oom(e);
	if (r == 0) {
		text_query(b, "repo", name);
		text_query(b, "tag", ref.tag);
	}
	reference_done(&ref);
	return r;
}

static int run_commit(Call *call, Err *e)
{
	const CommitOptions *o = call->opts;
	_cleanup_strbuf_ StrBuf b = {0};
	_cleanup_json_ json_t *answer = NULL;
	int r = 0;

	strbuf_add(&b, "/commit");
	text_query(&b, "container", call->args[0]);
	if (call->n_args > 1)
		r = add_reference(&b, call->args[1], e);
	if (o->author)
		text_query(&b, "author", o->author);
	if (o->message)
		text_query(&b, "comment", o->message);
	text_query(&b, "pause", tri(o->pause, true) ? "1" : "0");
	for (size_t i = 0; o->changes.v && o->changes.v[i]; i++)
		text_query(&b, "changes", o->changes.v[i]);
	if (r == 0)
		r = api_add_created(&b, e);
	if (r == 0)
		r = b.oom ? err_oom(e) : api_call(call->cli, "POST", b.s, NULL, &answer, e);
	if (r < 0)
		return r;
	const char *id = json_get_str(answer, "Id");
	(void)printf("%s\n", id ? id : "");
	return 0;
}

const Command cmd_rename = {
    .usage = "CONTAINER NEW_NAME", .summary = "Rename a container", .min = 2, .max = 2, .run = run_rename};
const Command cmd_port = {.usage = "CONTAINER [PRIVATE_PORT[/PROTO]]",
			  .summary = "Show where the ports of a container are published",
			  .min = 1,
			  .max = 2,
			  .run = run_port};
const Command cmd_diff = {.usage = "CONTAINER",
			  .summary = "Show which files a container has changed",
			  .min = 1,
			  .max = 1,
			  .run = run_diff};
const Command cmd_top = {.usage = "CONTAINER [ps OPTIONS]",
			 .summary = "Show the processes of a container",
			 .min = 1,
			 .max = -1,
			 .stop_at_first = true,
			 .run = run_top};
const Command cmd_commit = {.usage = "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
			    .summary = "Make an image from what a container has changed",
			    .flags = commit_flags,
			    .opts_size = sizeof(CommitOptions),
			    .min = 1,
			    .max = 2,
			    .run = run_commit};
