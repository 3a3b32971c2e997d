/* SPDX-License-Identifier: Apache-2.0 */
/* context create, update, ls, inspect, use, show, rm. export and import are in docker-context-archive.c. */
#include "base/str.h"
#include "config.h"
#include "context-store.h"
#include "endpoint.h"
#include "format.h"
#include "options.h"
#include "rows.h"
#include "text.h"
#include "verbs.h"

#define DEFAULT_DESCRIPTION "Current DOCKER_HOST based configuration"

/* ---- create, update */

typedef struct ContextOptions {
	const char *description, *from;
	List docker;
} ContextOptions;

#define O(field) offsetof(ContextOptions, field)
static const Flag create_flags[] = {
    {"description", 0, FLAG_STRING, O(description), "Description of the context", NULL},
    {"docker", 0, FLAG_CSV, O(docker),
     "Docker endpoint: host=URL,ca=FILE,cert=FILE,key=FILE,skip-tls-verify=BOOL, or from=CONTEXT",
     "stringToString"},
    {"from", 0, FLAG_STRING, O(from), "Copy this context", NULL},
    {0},
};
static const Flag update_flags[] = {
    {"description", 0, FLAG_STRING, O(description), "Description of the context", NULL},
    {"docker", 0, FLAG_CSV, O(docker),
     "Docker endpoint: host=URL,ca=FILE,cert=FILE,key=FILE,skip-tls-verify=BOOL, or from=CONTEXT",
     "stringToString"},
    {0},
};
#undef O

typedef struct EndpointSpec {
	char *host;
	bool skip_verify;
	TlsFiles tls;
} EndpointSpec;

static void endpoint_spec_done(EndpointSpec *s)
{
	free(s->host);
	tls_files_done(&s->tls);
}

/* What another context has; "default" has what the environment says. */
static int copy_endpoint(Cli *cli, const char *from, EndpointSpec *s, Err *e)
{
	_cleanup_json_ json_t *meta = NULL;
	int r = 0;

	if (!streq(from, CONTEXT_DEFAULT))
		r = context_load(cli, from, &meta, e);
	if (r == 0 && meta)
		r = context_tls(cli, from, &s->tls, e);
	if (r < 0)
		return r;
	const json_t *endpoint = context_endpoint(meta);
	const char *host = meta ? json_get_str(endpoint, "Host") : endpoint_default_host(cli);
	s->skip_verify = json_get_bool(endpoint, "SkipTLSVerify", false);
	s->host = strdup(host ? host : "");
	return s->host ? 0 : err_oom(e);
}

static int set_text(char **to, const char *value, Err *e)
{
	free(*to);
	*to = strdup(value);
	return *to ? 0 : err_oom(e);
}

static int set_key(EndpointSpec *s, const char *key, const char *value, Err *e)
{
	static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True", NULL},
				 *const no[] = {"0", "f", "F", "false", "FALSE", "False", "", NULL};

	if (streq(key, "host"))
		return set_text(&s->host, value, e);
	if (streq(key, "ca"))
		return set_text(&s->tls.ca, value, e);
	if (streq(key, "cert"))
		return set_text(&s->tls.cert, value, e);
	if (streq(key, "key"))
		return set_text(&s->tls.key, value, e);
	if (!streq(key, "skip-tls-verify"))
		return err_new(e, ERR_INVALID, "unrecognized config key: %s", key);
	s->skip_verify = strv_has((char *const *)yes, value);
	if (!s->skip_verify && !strv_has((char *const *)no, value))
		return err_new(e, ERR_INVALID, "skip-tls-verify: parsing \"%s\": invalid syntax", value);
	return 0;
}

static int parse_endpoint(Cli *cli, const List *spec, EndpointSpec *s, Err *e)
{
	const char *from = NULL;
	int r = 0;

	for (size_t i = 0; r == 0 && spec->v[i]; i++) {
		char *eq = strchr(spec->v[i], '=');
		_cleanup_free_ char *key = strndup(spec->v[i], eq ? (size_t)(eq - spec->v[i]) : 0);

		if (!eq)
			return err_new(e, ERR_INVALID, "%s must be formatted as key=value", spec->v[i]);
		if (!key)
			return err_oom(e);
		if (streq(key, "from"))
			from = eq + 1;
		else
			r = set_key(s, key, eq + 1, e);
	}
	if (r == 0 && from && strv_len(spec->v) > 1)
		r = err_new(e, ERR_INVALID,
			    "from cannot be used together with other options of the endpoint");
	if (r == 0 && from)
		r = copy_endpoint(cli, from, s, e);
	if (r == 0 && str_empty(s->host))
		r = err_new(e, ERR_INVALID, "docker endpoint configuration is required: give it a host");
	return r < 0 ? err_ctx(e, r, "unable to create docker endpoint config") : r;
}

static int save(Cli *cli, const char *name, const char *description, const EndpointSpec *s, Err *e)
{
	_cleanup_json_ json_t *meta = context_make(name, description, s->host, s->skip_verify);
	int r = meta ? context_save_tls(cli, name, &s->tls, e)
		     : err_new(e, ERR_INVALID, "the context's host or description is no UTF-8");

	if (r < 0)
		return err_ctx(e, r, "unable to create docker endpoint config");
	return context_save(cli, meta, e);
}

/* The description of another context, for a copy. */
static int description_of(Cli *cli, const char *name, char **ret, Err *e)
{
	_cleanup_json_ json_t *meta = NULL;
	int r = streq(name, CONTEXT_DEFAULT) ? 0 : context_load(cli, name, &meta, e);
	const char *text =
	    meta ? json_get_str(json_object_get(meta, "Metadata"), "Description") : DEFAULT_DESCRIPTION;

	if (r < 0)
		return r;
	*ret = strdup(text ? text : "");
	return *ret ? 0 : err_oom(e);
}

/* Without an endpoint of its own, a new context is a copy of the one in use. */
static int new_endpoint(Call *call, EndpointSpec *s, char **description, Err *e)
{
	const ContextOptions *o = call->opts;
	_cleanup_free_ char *current = NULL;
	int r = 0;

	if (o->from && o->docker.v)
		return err_new(e, ERR_INVALID, "cannot use --docker flag when --from is set");
	if (o->docker.v)
		return parse_endpoint(call->cli, &o->docker, s, e);
	if (!o->from)
		r = endpoint_context(call->cli, &current, e);
	const char *from = o->from ? o->from : current;
	if (r == 0)
		r = copy_endpoint(call->cli, from, s, e);
	return r < 0 ? r : description_of(call->cli, from, description, e);
}

static int run_create(Call *call, Err *e)
{
	const ContextOptions *o = call->opts;
	const char *name = call->args[0];
	_cleanup_(endpoint_spec_done) EndpointSpec s = {0};
	_cleanup_json_ json_t *there = NULL;
	_cleanup_free_ char *description = NULL;
	Err missing = {0};
	int r = context_check_name(name, e);

	if (r == 0 && context_load(call->cli, name, &there, &missing) == 0)
		return err_new(e, ERR_CONFLICT, "context \"%s\" already exists", name);
	if (r == 0)
		r = new_endpoint(call, &s, &description, e);
	if (r == 0)
		r = save(call->cli, name,
			 o->description ? o->description
			 : description  ? description
					: "",
			 &s, e);
	if (r < 0)
		return r;
	(void)printf("%s\n", name);
	cli_complain(call->cli, "Successfully created context \"%s\"", name);
	return 0;
}

static int run_update(Call *call, Err *e)
{
	const ContextOptions *o = call->opts;
	const char *name = call->args[0];
	_cleanup_(endpoint_spec_done) EndpointSpec s = {0};
	_cleanup_free_ char *description = NULL;
	int r = context_check_name(name, e);

	if (r == 0)
		r = description_of(call->cli, name, &description, e);
	if (r == 0)
		r = o->docker.v ? parse_endpoint(call->cli, &o->docker, &s, e)
				: copy_endpoint(call->cli, name, &s, e);
	if (r == 0)
		r = save(call->cli, name, o->description ? o->description : description, &s, e);
	if (r < 0)
		return r;
	(void)printf("%s\n", name);
	cli_complain(call->cli, "Successfully updated context \"%s\"", name);
	return 0;
}

/* ---- ls */

typedef struct LsOptions {
	const char *format;
	bool quiet;
} LsOptions;

#define O(field) offsetof(LsOptions, field)
static const Flag ls_flags[] = {
    {"format", 0, FLAG_STRING, O(format), "table, table TEMPLATE, json, or a Go template", NULL},
    {"quiet", 'q', FLAG_BOOL, O(quiet), "Show names only", NULL},
    {0},
};
#undef O

static const Column columns[] = {
    {"Name", "NAME"},
    {"Description", "DESCRIPTION"},
    {"DockerEndpoint", "DOCKER ENDPOINT"},
    {"Error", "ERROR"},
    {"Current", ""},
    {NULL, NULL},
};

static int add_row(json_t *rows, const char *name, const char *description, const char *host,
		   const char *error, const char *current)
{
	json_t *row = json_pack("{s:s, s:s, s:s, s:s, s:b}", "Name", name, "Description",
				description ? description : "", "DockerEndpoint", host ? host : "", "Error",
				error, "Current", streq(name, current));

	return json_array_append_new(rows, row);
}

/* All contexts with "default" among them, in the order of their names; and the one in use, if it is not there. */
static int make_rows(Cli *cli, const char *current, json_t **ret, Err *e)
{
	_cleanup_json_ json_t *list = NULL, *rows = json_array();
	bool found = streq(current, CONTEXT_DEFAULT);
	int r = context_list(cli, &list, e);

	if (r < 0)
		return r;
	if (add_row(rows, CONTEXT_DEFAULT, DEFAULT_DESCRIPTION, endpoint_default_host(cli), "", current) < 0)
		return err_oom(e);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *meta = json_array_get(list, i);
		const char *name = json_get_str(meta, "Name");

		found = found || streq(name, current);
		if (add_row(rows, name, json_get_str(json_object_get(meta, "Metadata"), "Description"),
			    json_get_str(context_endpoint(meta), "Host"), "", current) < 0)
			return err_oom(e);
	}
	if (!found && add_row(rows, current, "", "", "context not found", current) < 0)
		return err_oom(e);
	*ret = rows_sorted(rows, "Name");
	return *ret ? 0 : err_oom(e);
}

/* In the table the context in use has a star; its heading is empty, which is false. */
#define NAME_CELL "{{.Name}}{{if .Current}} *{{end}}"

static int run_ls(Call *call, Err *e)
{
	const LsOptions *o = call->opts;
	_cleanup_free_ char *current = NULL;
	_cleanup_json_ json_t *rows = NULL;
	int r = endpoint_context(call->cli, &current, e);

	if (r == 0)
		r = make_rows(call->cli, current, &rows, e);
	if (r < 0)
		return r;
	ListFormat lf = {columns, NAME_CELL "\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}"};
	bool names = o->quiet && (!o->format || str_starts(o->format, "table"));
	r = format_list(call->cli, &lf, names ? "{{.Name}}" : o->format, rows, e);
	if (r == 0 && !names && (!o->format || str_starts(o->format, "table")) && !call->cli->context &&
	    !str_empty(getenv("DOCKER_HOST")))
		cli_complain(
		    call->cli,
		    "Warning: DOCKER_HOST environment variable overrides the active context. To use a "
		    "context, either set the global --context flag, or unset DOCKER_HOST environment "
		    "variable.");
	return r;
}

/* ---- inspect */

typedef struct InspectOptions {
	const char *format;
} InspectOptions;

static const Flag inspect_flags[] = {
    {"format", 'f', FLAG_STRING, offsetof(InspectOptions, format), "json, or a Go template", NULL},
    {0},
};

static json_t *tls_material(const TlsFiles *t)
{
	_cleanup_json_ json_t *names = json_array(), *all = json_object();
	const char *const paths[] = {t->ca, t->cert, t->key};

	for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
		const char *slash = paths[i] ? strrchr(paths[i], '/') : NULL;

		if (slash && json_array_append_new(names, json_string(slash + 1)) < 0)
			return NULL;
	}
	if (json_array_size(names) > 0 && json_object_set(all, "docker", names) < 0)
		return NULL;
	return take_ptr(all);
}

static int describe_default(Cli *cli, json_t **ret, Err *e)
{
	*ret = json_pack("{s:s, s:{}, s:{s:{s:s, s:b}}, s:{}, s:{s:s, s:s}}", "Name", CONTEXT_DEFAULT,
			 "Metadata", "Endpoints", "docker", "Host", endpoint_default_host(cli),
			 "SkipTLSVerify", false, "TLSMaterial", "Storage", "MetadataPath", "<IN MEMORY>",
			 "TLSPath", "<IN MEMORY>");
	return *ret ? 0 : err_oom(e);
}

static int describe(Cli *cli, const char *name, json_t **ret, Err *e)
{
	_cleanup_free_ char *meta_dir = context_folder(cli, "meta", name),
			    *tls_dir = context_folder(cli, "tls", name);
	_cleanup_json_ json_t *meta = NULL;
	_cleanup_tls_files_ TlsFiles tls = {0};

	if (streq(name, CONTEXT_DEFAULT))
		return describe_default(cli, ret, e);
	int r = context_load(cli, name, &meta, e);
	if (r == 0)
		r = context_tls(cli, name, &tls, e);
	if (r < 0)
		return r;
	json_t *storage = json_pack("{s:s, s:s}", "MetadataPath", meta_dir ? meta_dir : "", "TLSPath",
				    tls_dir ? tls_dir : "");
	if (json_object_set_new(meta, "TLSMaterial", tls_material(&tls)) < 0 ||
	    json_object_set_new(meta, "Storage", storage) < 0)
		return err_oom(e);
	*ret = take_ptr(meta);
	return 0;
}

static int inspect_names(Call *call, char *const *names, Err *e)
{
	const InspectOptions *o = call->opts;
	_cleanup_json_ json_t *docs = json_array();
	int status = 0;

	for (size_t i = 0; names[i]; i++) {
		json_t *doc = NULL;
		Err bad = {0};
		int r = describe(call->cli, names[i], &doc, &bad);

		if (r == 0 && json_array_append_new(docs, doc) < 0)
			return err_oom(e);
		if (r < 0 && status == 0)
			*e = bad;
		status = r < 0 ? r : status;
	}
	int r = format_documents(call->cli, o->format, docs, status < 0 ? NULL : e);
	return status < 0 ? status : r;
}

static int run_inspect(Call *call, Err *e)
{
	_cleanup_free_ char *current = NULL;

	if (call->n_args > 0)
		return inspect_names(call, call->args, e);
	int r = endpoint_context(call->cli, &current, e);
	return r < 0 ? r : inspect_names(call, (char *[]){current, NULL}, e);
}

/* ---- use, show, rm */

static int set_current(json_t *config, void *user, Err *e)
{
	const char *name = user;

	if (streq(name, CONTEXT_DEFAULT))
		return json_object_del(config, "currentContext") == 0;
	return json_object_set_new(config, "currentContext", json_string(name)) < 0 ? err_oom(e) : 1;
}

static int run_use(Call *call, Err *e)
{
	const char *name = call->args[0];
	_cleanup_json_ json_t *meta = NULL, *config = NULL;
	int r = 0;

	if (!streq(name, CONTEXT_DEFAULT)) {
		r = context_check_name(name, e);
		if (r == 0)
			r = context_load(call->cli, name, &meta, e);
	} else if (config_load(call->cli, &config, e) == 0) {
		config = json_incref(config);
	}
	/* Nothing to forget: no file is made for it. */
	if (r == 0 && (meta || json_object_get(config, "currentContext")))
		r = config_edit(call->cli, set_current, (void *)name, e);
	if (r < 0)
		return r;
	(void)printf("%s\n", name);
	cli_complain(call->cli, "Current context is now \"%s\"", call->args[0]);
	if (!streq(name, CONTEXT_DEFAULT) && !str_empty(getenv("DOCKER_HOST")))
		cli_complain(
		    call->cli,
		    "Warning: DOCKER_HOST environment variable overrides the active context. To use \"%s\", "
		    "either set the global --context flag, or unset DOCKER_HOST environment variable.",
		    name);
	return 0;
}

static int run_show(Call *call, Err *e)
{
	_cleanup_free_ char *current = NULL;
	int r = endpoint_context(call->cli, &current, e);

	if (r == 0)
		(void)printf("%s\n", current);
	return r;
}

typedef struct RmOptions {
	bool force;
} RmOptions;

static const Flag rm_flags[] = {
    {"force", 'f', FLAG_BOOL, offsetof(RmOptions, force), "Remove a context even if it is in use", NULL},
    {0},
};

static int remove_one(Call *call, const char *name, Err *e)
{
	const RmOptions *o = call->opts;
	_cleanup_free_ char *current = NULL;
	_cleanup_json_ json_t *meta = NULL;
	Err missing = {0};

	if (streq(name, CONTEXT_DEFAULT))
		return err_new(e, ERR_INVALID, "context \"default\" cannot be removed");
	if (!o->force && context_load(call->cli, name, &meta, &missing) < 0)
		return err_new(e, ERR_NOT_FOUND, "context \"%s\" does not exist", name);
	int r = endpoint_context(call->cli, &current, e);
	if (r < 0)
		return r;
	if (streq(current, name) && !o->force)
		return err_new(e, ERR_CONFLICT, "context \"%s\" is in use, set -f flag to force remove",
			       name);
	r = context_remove(call->cli, name, e);
	if (r > 0 && streq(current, name))
		r = config_edit(call->cli, set_current, (void *)CONTEXT_DEFAULT, e);
	if (r >= 0)
		(void)printf("%s\n", name);
	return r;
}

static int run_rm(Call *call, Err *e)
{
	return cli_for_each(call, remove_one);
}

const Command cmd_context_create = {.usage = "[OPTIONS] CONTEXT",
				    .summary = "Make a context",
				    .flags = create_flags,
				    .opts_size = sizeof(ContextOptions),
				    .min = 1,
				    .max = 1,
				    .run = run_create};
const Command cmd_context_update = {.usage = "[OPTIONS] CONTEXT",
				    .summary = "Change a context",
				    .flags = update_flags,
				    .opts_size = sizeof(ContextOptions),
				    .min = 1,
				    .max = 1,
				    .run = run_update};
const Command cmd_context_ls = {.usage = "[OPTIONS]",
				.summary = "List contexts",
				.flags = ls_flags,
				.opts_size = sizeof(LsOptions),
				.run = run_ls};
const Command cmd_context_inspect = {.usage = "[OPTIONS] [CONTEXT] [CONTEXT...]",
				     .summary = "Show everything about contexts",
				     .flags = inspect_flags,
				     .opts_size = sizeof(InspectOptions),
				     .max = -1,
				     .run = run_inspect};
const Command cmd_context_use = {
    .usage = "CONTEXT", .summary = "Choose the context to work with", .min = 1, .max = 1, .run = run_use};
const Command cmd_context_show = {.usage = "",
				  .summary = "Print the name of the context in use",
				  .run = run_show};
const Command cmd_context_rm = {.usage = "CONTEXT [CONTEXT...]",
				.summary = "Remove contexts",
				.flags = rm_flags,
				.opts_size = sizeof(RmOptions),
				.min = 1,
				.max = -1,
				.run = run_rm};
