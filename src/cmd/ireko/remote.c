/* SPDX-License-Identifier: Apache-2.0 */
/* What registries have: search, image tags, image referrers; manifests are in manifest.c. The engine asks for us; nothing is pulled. */
#include "client.h"
#include "config.h"
#include "format.h"
#include "oci/reference.h"
#include "options.h"
#include "pull.h"
#include "rows.h"
#include "text.h"
#include "verbs.h"

/* GET with the credentials of the registry that the image names. */
static int ask(const Call *call, const char *image, const StrBuf *target, json_t **ret, Err *e)
{
	_cleanup_free_ char *header = NULL;
	int r = target->oom ? err_oom(e) : pull_auth_header(call->cli, image, &header, e);

	if (r < 0)
		return r;
	char *headers[] = {header, NULL};
	return api_ask(call->cli, &(ApiRequest){.method = "GET", .target = target->s, .headers = headers},
		       ret, e);
}

/* ---- search */

typedef struct SearchOptions {
	bool no_trunc;
	Num limit;
	List filters;
	const char *format;
} SearchOptions;

#define O(field) offsetof(SearchOptions, field)
static const Flag search_flags[] = {
    {"filter", 'f', FLAG_LIST, O(filters), "Show only what matches KEY=VALUE: is-official, stars", "filter"},
    {"format", 0, FLAG_STRING, O(format), "table, table TEMPLATE, json, or a Go template", NULL},
    {"limit", 0, FLAG_INT, O(limit), "At most so many results (default 25)", NULL},
    {"no-trunc", 0, FLAG_BOOL, O(no_trunc), "Show descriptions in full length", NULL},
    {0},
};
#undef O

static const Column search_columns[] = {
    {"Name", "NAME"},           {"Description", "DESCRIPTION"}, {"StarCount", "STARS"},
    {"IsOfficial", "OFFICIAL"}, {"IsAutomated", "AUTOMATED"},   {NULL, NULL},
};
#define SEARCH_TABLE "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}"

static char *one_line(const char *s, bool full)
{
	_cleanup_free_ char *line = strdup(s ? s : "");

	for (char *p = line; p && *p; p++)
		if (*p == '\n' || *p == '\r' || *p == '\t')
			*p = ' ';
	return !line ? NULL : full ? take_ptr(line) : text_ellipsis(line, 45);
}

static int add_search_row(json_t *rows, const json_t *one, bool full, bool table)
{
	const char *yes = table ? "[OK]" : "true", *no = table ? "" : "false";
	json_t *row = json_object();
	int r = json_array_append_new(rows, row) < 0 ? -ENOMEM : 0;

	if (r == 0)
		r = row_add(row, "Name", json_get_str(one, "name"));
	if (r == 0)
		r = row_take(row, "Description", one_line(json_get_str(one, "description"), full));
	if (r == 0)
		r = row_take(row, "StarCount", strf("%lld", (long long)json_get_int(one, "star_count", 0)));
	if (r == 0)
		r = row_add(row, "IsOfficial", json_get_bool(one, "is_official", false) ? yes : no);
	return r == 0 ? row_add(row, "IsAutomated", json_get_bool(one, "is_automated", false) ? yes : no) : r;
}

/* The registry's host in "host/term", else the Hub; a name that a reference may have, for its credentials. */
static char *image_of_term(const char *term)
{
	const char *slash = strchr(term, '/');

	return slash ? strf("%.*s/search", (int)(slash - term), term) : strdup("search");
}

static int run_search(Call *call, Err *e)
{
	const SearchOptions *o = call->opts;
	bool table = !o->format || str_starts(o->format, "table");
	_cleanup_free_ char *image = image_of_term(call->args[0]), *limit = NULL;
	_cleanup_json_ json_t *list = NULL, *rows = json_array();
	_cleanup_strbuf_ StrBuf target = {0};

	limit = strf("%lld", (long long)(o->limit.set ? o->limit.v : 25));
	if (!image || !limit)
		return err_oom(e);
	strbuf_add(&target, "/images/search");
	text_query(&target, "term", call->args[0]);
	text_query(&target, "limit", limit);
	int r = api_add_filters(&target, o->filters.v, e);
	if (r >= 0)
		r = ask(call, image, &target, &list, e);
	for (size_t i = 0; r >= 0 && i < json_array_size(list); i++)
		if (add_search_row(rows, json_array_get(list, i), o->no_trunc, table) < 0)
			r = err_oom(e);
	if (r < 0)
		return r;
	const ListFormat lf = {search_columns, SEARCH_TABLE};
	return format_list(call->cli, &lf, o->format, rows, e);
}

/* ---- image tags */

typedef struct RemoteOptions {
	const char *format, *type;
} RemoteOptions;

#define O(field) offsetof(RemoteOptions, field)
#define FORMAT_FLAG                                                                                          \
	{                                                                                                    \
		"format", 0, FLAG_STRING, O(format), "table, table TEMPLATE, json, or a Go template", NULL   \
	}
static const Flag tags_flags[] = {FORMAT_FLAG, {0}};
static const Flag referrers_flags[] = {
    {"artifact-type", 0, FLAG_STRING, O(type), "Show only what is of this type", NULL}, FORMAT_FLAG, {0}};
#undef O

static const Column tags_columns[] = {{"Tag", "TAG"}, {"Repository", "REPOSITORY"}, {NULL, NULL}};

static int run_tags(Call *call, Err *e)
{
	const RemoteOptions *o = call->opts;
	_cleanup_json_ json_t *doc = NULL, *rows = json_array();
	_cleanup_strbuf_ StrBuf target = {0};

	strbuf_add(&target, "/ireko/tags");
	text_query(&target, "reference", call->args[0]);
	int r = ask(call, call->args[0], &target, &doc, e);
	const json_t *tags = json_object_get(doc, "tags");
	for (size_t i = 0; r >= 0 && i < json_array_size(tags); i++) {
		json_t *row = json_object();

		if (json_array_append_new(rows, row) < 0 ||
		    row_add(row, "Tag", json_string_value(json_array_get(tags, i))) < 0 ||
		    row_add(row, "Repository", call->args[0]) < 0)
			r = err_oom(e);
	}
	if (r < 0)
		return r;
	/* A plain list, to be read by programs too. */
	const ListFormat lf = {tags_columns, "{{.Tag}}"};
	return format_list(call->cli, &lf, o->format ? o->format : "{{.Tag}}", rows, e);
}

/* ---- image referrers */

static const Column referrers_columns[] = {
    {"Digest", "DIGEST"},        {"ArtifactType", "ARTIFACT TYPE"}, {"Size", "SIZE"},
    {"MediaType", "MEDIA TYPE"}, {"Annotations", "ANNOTATIONS"},    {NULL, NULL}};

static int add_referrer_row(json_t *rows, const json_t *d)
{
	json_t *row = json_object();
	int r = json_array_append_new(rows, row) < 0 ? -ENOMEM : 0;

	if (r == 0)
		r = row_add(row, "Digest", json_get_str(d, "digest"));
	if (r == 0)
		r = row_add(row, "ArtifactType", json_get_str(d, "artifactType"));
	if (r == 0)
		r = row_take(row, "Size", strdup(text_size((double)json_get_int(d, "size", 0), 3).s));
	if (r == 0)
		r = row_add(row, "MediaType", json_get_str(d, "mediaType"));
	return r == 0 ? row_take(row, "Annotations", row_join_map(json_object_get(d, "annotations"), ","))
		      : r;
}

static int run_referrers(Call *call, Err *e)
{
	const RemoteOptions *o = call->opts;
	_cleanup_json_ json_t *doc = NULL, *rows = json_array();
	_cleanup_strbuf_ StrBuf target = {0};

	strbuf_add(&target, "/ireko/referrers");
	text_query(&target, "reference", call->args[0]);
	if (o->type)
		text_query(&target, "type", o->type);
	int r = ask(call, call->args[0], &target, &doc, e);
	const json_t *list = json_object_get(doc, "manifests");
	for (size_t i = 0; r >= 0 && i < json_array_size(list); i++)
		if (add_referrer_row(rows, json_array_get(list, i)) < 0)
			r = err_oom(e);
	if (r < 0)
		return r;
	const ListFormat lf = {referrers_columns, "{{.Digest}}\t{{.ArtifactType}}\t{{.Size}}"};
	return format_list(call->cli, &lf, o->format, rows, e);
}

const Command cmd_search = {.usage = "[OPTIONS] [HOST/]TERM",
			    .summary = "Search a registry for images",
			    .flags = search_flags,
			    .opts_size = sizeof(SearchOptions),
			    .min = 1,
			    .max = 1,
			    .run = run_search};
const Command cmd_image_tags = {.usage = "[OPTIONS] NAME",
				.summary = "List the tags that a registry has of an image",
				.flags = tags_flags,
				.opts_size = sizeof(RemoteOptions),
				.min = 1,
				.max = 1,
				.run = run_tags};
const Command cmd_image_referrers = {
    .usage = "[OPTIONS] NAME[:TAG|@DIGEST]",
    .summary = "List what a registry has about an image: signatures, attestations, SBOMs",
    .flags = referrers_flags,
    .opts_size = sizeof(RemoteOptions),
    .min = 1,
    .max = 1,
    .run = run_referrers};
