/* SPDX-License-Identifier: Apache-2.0 */
/* images, pull, push, tag, rmi, history, bootstrap. What moves archives is in image-files.c. */
#include "base/clock.h"
#include "base/secret.h"
#include "client.h"
#include "config.h"
#include "credential.h"
#include "format.h"
#include "image-list.h"
#include "image-tree.h"
#include "oci/reference.h"
#include "options.h"
#include "progress.h"
#include "pull.h"
#include "rows.h"
#include "text.h"
#include "verbs.h"

/* ---- pull, push */

int pull_auth_header(Cli *cli, const char *image, char **ret, Err *e)
{
	Reference ref = {0};
	int r = reference_parse(image, &ref, e);

	if (r == 0)
		r = credential_auth_header(cli, ref.domain, ret, e);
	reference_done(&ref);
	return r;
}

static char *pull_target(const Reference *ref, const char *platform, bool all_tags)
{
	_cleanup_strbuf_ StrBuf b = {0};
	_cleanup_free_ char *name = strf("%s/%s", ref->domain, ref->path);

	if (!name)
		return NULL;
	strbuf_add(&b, "/images/create");
	text_query(&b, "fromImage", name);
	if (!all_tags)
		text_query(&b, "tag", ref->digest ? ref->digest : ref->tag);
	if (platform)
		text_query(&b, "platform", platform);
	return strbuf_steal(&b);
}

static void keep_id(void *user, const json_t *aux)
{
	const char *id = json_get_str(aux, "ID");

	if (id)
		snprintf(user, DIGEST_LEN + 1, "%s", id);
}

/* ret_id (DIGEST_LEN + 1 bytes): the id that the engine tells, or NULL. */
static int stream_progress(Cli *cli, const char *target, const char *header, FILE *out, char *ret_id, Err *e)
{
	_cleanup_httpc_ Httpc *c = NULL;
	char *headers[] = {(char *)header, NULL};
	Progress p = {.out = out,
		      .tty = out && isatty(fileno(out)) == 1,
		      .aux = ret_id ? keep_id : NULL,
		      .user = ret_id};
	int r = api_stream(cli, &(ApiRequest){.method = "POST", .target = target, .headers = headers}, &c,
			   NULL, e);

	return r < 0 ? r : progress_show(&p, c, e);
}

static int pull_reference(Cli *cli, const char *image, const char *platform, bool all_tags, FILE *out, Err *e)
{
	_cleanup_secret_ char *header = NULL;
	_cleanup_free_ char *target = NULL;
	Reference ref = {0};
	int r = reference_parse(image, &ref, e);

	if (r < 0)
		return r;
	target = pull_target(&ref, platform, all_tags);
	reference_done(&ref);
	if (!target)
		return err_oom(e);
	r = pull_auth_header(cli, image, &header, e);
	return r < 0 ? r : stream_progress(cli, target, header, out, NULL, e);
}

int pull_image(Cli *cli, const char *image, const char *platform, bool quiet, FILE *out, Err *e)
{
	return pull_reference(cli, image, platform, false, quiet ? NULL : out, e);
}

typedef struct PullOptions {
	bool all_tags, quiet, disable_content_trust;
	const char *platform;
} PullOptions;

#define O(field) offsetof(PullOptions, field)
static const Flag pull_flags[] = {
    {"all-tags", 'a', FLAG_BOOL, O(all_tags), "All tags of the repository", NULL},
    {"disable-content-trust", 0, FLAG_BOOL, O(disable_content_trust), NULL, NULL},
    {"platform", 0, FLAG_STRING, O(platform), "Platform of the image: OS/ARCH[/VARIANT]", NULL},
    {"quiet", 'q', FLAG_BOOL, O(quiet), "Print the name of the image only", NULL},
    {0},
};
#undef O

/* True if the text ends in ":tag" or "@digest" rather than in a name. */
static bool has_tag(const char *image)
{
	const char *slash = strrchr(image, '/');

	return strpbrk(slash ? slash : image, ":@") != NULL;
}

static int run_pull(Call *call, Err *e)
{
	const PullOptions *o = call->opts;
	const char *image = call->args[0];
	Reference ref = {0};
	int r = reference_parse(image, &ref, e);

	if (r < 0)
		return r;
	_cleanup_free_ char *full = reference_full(&ref);
	reference_done(&ref);
	if (!full)
		return err_oom(e);
	if (o->all_tags && has_tag(image))
		return err_new(e, ERR_INVALID, "tag can't be used with --all-tags/-a");
	if (!o->all_tags && !o->quiet && !has_tag(image))
		(void)printf("Using default tag: latest\n");
	r = pull_reference(call->cli, image, o->platform, o->all_tags, o->quiet ? NULL : stdout, e);
	if (r == 0)
		(void)printf("%s\n", full);
	return r;
}

typedef struct PushOptions {
	bool all_tags, quiet, disable_content_trust;
	const char *platform, *compression;
} PushOptions;

#define O(field) offsetof(PushOptions, field)
static const Flag push_flags[] = {
    {"all-tags", 'a', FLAG_BOOL, O(all_tags), "All tags of the repository", NULL},
    {"compression", 0, FLAG_STRING, O(compression),
     "Layers in this form: gzip or zstd (default: as they are, gzip for those made here)", NULL},
    {"disable-content-trust", 0, FLAG_BOOL, O(disable_content_trust), NULL, NULL},
    {"platform", 0, FLAG_STRING, O(platform), "The image for OS/ARCH[/VARIANT] alone, not its index", NULL},
    {"quiet", 'q', FLAG_BOOL, O(quiet), "Print the name of the image only", NULL},
    {0},
};
#undef O

static char *push_target(const PushOptions *o, const Reference *ref, Err *e)
{
	_cleanup_free_ char *name = reference_familiar_name(ref);
	_cleanup_free_ char *path = name ? api_path("images", name, "/push", e) : NULL;
	_cleanup_strbuf_ StrBuf b = {0};

	if (!path)
		return NULL;
	strbuf_add(&b, path);
	if (!o->all_tags)
		text_query(&b, "tag", ref->tag);
	if (o->platform)
		text_query(&b, "platform", o->platform);
	if (o->compression)
		text_query(&b, "compression", o->compression);
	return strbuf_steal(&b);
}

static int push_parsed(Call *call, const Reference *ref, Err *e)
{
	const PushOptions *o = call->opts;
	_cleanup_secret_ char *header = NULL;
	_cleanup_free_ char *target = NULL, *full = reference_full(ref);
	int r;

	if (ref->digest)
		return err_new(e, ERR_INVALID, "cannot push a digest reference");
	if (o->all_tags && has_tag(call->args[0]))
		return err_new(e, ERR_INVALID, "tag can't be used with --all-tags/-a");
	target = push_target(o, ref, e);
	if (!target || !full)
		return err_oom(e);
	if (!o->all_tags && !o->quiet && !has_tag(call->args[0]))
		(void)printf("Using default tag: latest\n");
	r = pull_auth_header(call->cli, call->args[0], &header, e);
	if (r == 0 && !header)
		/* Docker's engine insists on the header; "{}" is "no credentials". */
		header = strdup("X-Registry-Auth: e30=");
	if (r == 0 && !header)
		return err_oom(e);
	if (r == 0)
		r = stream_progress(call->cli, target, header, o->quiet ? NULL : stdout, NULL, e);
	if (r == 0 && o->quiet)
		(void)printf("%s\n", full);
	return r;
}

static int run_push(Call *call, Err *e)
{
	Reference ref = {0};
	int r = reference_parse(call->args[0], &ref, e);

	if (r == 0)
		r = push_parsed(call, &ref, e);
	reference_done(&ref);
	return r;
}

/* ---- ls */

typedef struct ImagesOptions {
	bool all, digests, no_trunc, quiet, tree;
	List filters;
	const char *format;
} ImagesOptions;

#define O(field) offsetof(ImagesOptions, field)
static const Flag images_flags[] = {
    {"all", 'a', FLAG_BOOL, O(all), "Show intermediate images too", NULL},
    {"digests", 0, FLAG_BOOL, O(digests), "Show digests", NULL},
    {"filter", 'f', FLAG_LIST, O(filters), "Show only what matches KEY=VALUE", "filter"},
    {"format", 0, FLAG_STRING, O(format), "table, table TEMPLATE, json, or a Go template", NULL},
    {"no-trunc", 0, FLAG_BOOL, O(no_trunc), "Show everything in full length", NULL},
    {"quiet", 'q', FLAG_BOOL, O(quiet), "Show ids only", NULL},
    {"tree", 0, FLAG_BOOL, O(tree), "Show the names and platforms of each image below one another", NULL},
    {0},
};
#undef O

static const Column image_columns[] = {
    {"ID", "IMAGE ID"},
    {"Repository", "REPOSITORY"},
    {"Tag", "TAG"},
    {"Digest", "DIGEST"},
    {"CreatedSince", "CREATED"},
    {"CreatedAt", "CREATED AT"},
    {"Size", "SIZE"},
    {"Containers", "CONTAINERS"},
    {"VirtualSize", "SIZE"},
    {"SharedSize", "SHARED SIZE"},
    {"UniqueSize", "UNIQUE SIZE"},
    {NULL, NULL},
};

#define IMAGE_TABLE   "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
#define IMAGE_DIGESTS "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"

#define IMAGE_RAW_HEAD "repository: {{.Repository}}\ntag: {{.Tag}}\n"
#define IMAGE_RAW_TAIL "image_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n"

static char *size_or_na(int64_t size)
{
	return size < 0 ? strdup("N/A") : strdup(text_size((double)size, 3).s);
}

static int add_image_row(json_t *rows, const json_t *im, const char *repository, const char *tag,
			 const char *digest, bool full)
{
	const char *id = json_get_str(im, "Id");
	int64_t created = json_get_int(im, "Created", 0), size = json_get_int(im, "Size", 0),
		shared = json_get_int(im, "SharedSize", -1), containers = json_get_int(im, "Containers", -1);
	json_t *row = json_object();
	int r = json_array_append_new(rows, row) < 0 ? -ENOMEM : 0;

	if (r == 0)
		r = row_take(row, "ID", full ? strdup(id ? id : "") : text_short_id(id ? id : ""));
	if (r == 0)
		r = row_add(row, "Repository", repository);
	if (r == 0)
		r = row_add(row, "Tag", tag);
	if (r == 0)
		r = row_add(row, "Digest", digest);
	if (r == 0)
		r = row_take(row, "CreatedSince", text_ago(created * 1000000000, clock_now_ns()));
	if (r == 0)
		r = row_take(row, "CreatedAt", text_local_time(created));
	if (r == 0)
		r = row_take(row, "Size", size_or_na(size));
	if (r == 0)
		r = row_take(row, "VirtualSize",
			     size < 0 ? strdup("N/A") : strdup(text_size((double)size, 4).s));
	if (r == 0)
		r = row_take(row, "SharedSize", size_or_na(shared));
	if (r == 0)
		r = row_take(row, "UniqueSize", size_or_na(shared < 0 ? -1 : size - shared));
	if (r == 0)
		r = row_take(row, "Containers",
			     containers < 0 ? strdup("N/A") : strf("%lld", (long long)containers));
	return r;
}

/* The digest that the list has for a repository, or "<none>". */
static const char *digest_for(const json_t *im, const char *repository)
{
	const json_t *digests = json_object_get(im, "RepoDigests");

	for (size_t i = 0; i < json_array_size(digests); i++) {
		const char *s = json_string_value(json_array_get(digests, i));
		size_t n = s ? strcspn(s, "@") : 0;

		if (s && s[n] && strlen(repository) == n && strncmp(s, repository, n) == 0)
			return s + n + 1;
	}
	return "<none>";
}

static int add_tagged(json_t *rows, const json_t *im, bool full)
{
	const json_t *tags = json_object_get(im, "RepoTags");
	int n = 0;

	for (size_t i = 0; i < json_array_size(tags); i++) {
		const char *s = json_string_value(json_array_get(tags, i)),
			   *colon = s ? strrchr(s, ':') : NULL;

		if (!colon || streq(s, "<none>:<none>"))
			continue;
		_cleanup_free_ char *repository = strndup(s, (size_t)(colon - s));
		if (!repository ||
		    add_image_row(rows, im, repository, colon + 1, digest_for(im, repository), full) < 0)
			return -ENOMEM;
		n++;
	}
	return n;
}

/* Images without a tag: known by digest, or by nothing. */
static int add_untagged(json_t *rows, const json_t *im, bool full)
{
	const json_t *digests = json_object_get(im, "RepoDigests");
	int n = 0;

	for (size_t i = 0; i < json_array_size(digests); i++) {
		const char *s = json_string_value(json_array_get(digests, i)),
			   *at = s ? strchr(s, '@') : NULL;

		if (!at || str_starts(s, "<none>@"))
			continue;
		_cleanup_free_ char *repository = strndup(s, (size_t)(at - s));
		if (!repository || add_image_row(rows, im, repository, "<none>", at + 1, full) < 0)
			return -ENOMEM;
		n++;
	}
	return n > 0 ? n : add_image_row(rows, im, "<none>", "<none>", "<none>", full);
}

static int images_target(const Call *call, StrBuf *b, Err *e)
{
	const ImagesOptions *o = call->opts;
	_cleanup_strv_ char **filters = strv_dup(o->filters.v);
	int r = filters ? 0 : err_oom(e);

	strbuf_add(b, "/images/json");
	if (o->all)
		text_query(b, "all", "1");
	if (r == 0 && call->n_args == 1 && strv_take(&filters, strf("reference=%s", call->args[0])) < 0)
		r = err_oom(e);
	if (r == 0)
		r = api_add_filters(b, filters && filters[0] ? filters : NULL, e);
	return r < 0 ? r : b->oom ? err_oom(e) : 0;
}

static int make_image_rows(const json_t *list, bool full, json_t *rows)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *im = json_array_get(list, i);
		int n = add_tagged(rows, im, full);

		if (n == 0)
			n = add_untagged(rows, im, full);
		if (n < 0)
			return n;
	}
	return 0;
}

static int print_image_list(const Call *call, const char *format, const char *text, size_t len, Err *e)
{
	const ImagesOptions *o = call->opts;
	_cleanup_json_ json_t *list = NULL, *rows = json_array();
	bool ids_only = o->quiet && (!format || str_starts(format, "table"));
	int r = api_parse(text, len, &list, e);

	if (r >= 0 && make_image_rows(list, o->no_trunc, rows) < 0)
		r = err_oom(e);
	if (r < 0)
		return r;
	ListFormat lf = {image_columns, o->digests ? IMAGE_DIGESTS : IMAGE_TABLE,
			 o->digests ? IMAGE_RAW_HEAD "digest: {{.Digest}}\n" IMAGE_RAW_TAIL
				    : IMAGE_RAW_HEAD IMAGE_RAW_TAIL};
	return format_list(call->cli, &lf, ids_only ? "{{.ID}}" : format, rows, e);
}

static int print_tree(Call *call, StrBuf *target, Err *e)
{
	const ImagesOptions *o = call->opts;
	const char *with = o->quiet      ? "--quiet"
			   : o->format   ? "--format"
			   : o->digests  ? "--digests"
			   : o->no_trunc ? "--no-trunc"
					 : NULL;
	_cleanup_json_ json_t *list = NULL;

	if (with)
		return err_new(e, ERR_INVALID, "%s is not yet supported with --tree", with);
	text_query(target, "manifests", "1");
	text_query(target, "shared-size", "1");
	int r = target->oom ? err_oom(e) : api_get(call->cli, target->s, &list, e);
	return r < 0 ? r : image_tree_print(call->cli, list, e);
}

/* What is asked for most, without a tree of JSON in between. 0: the answer is not as usual, nothing was printed. */
static int print_usual_list(const ImagesOptions *o, const char *text, Err *e)
{
	const ImageList list = {.full_ids = o->no_trunc, .ids_only = o->quiet, .now_ns = clock_now_ns()};
	_cleanup_strbuf_ StrBuf b = {0};

	if (!o->quiet)
		strbuf_add(&b, "REPOSITORY\tTAG\tIMAGE ID\tCREATED\tSIZE\n");
	if (!image_list_rows(text, &list, &b))
		return 0;
	if (b.oom)
		return err_oom(e);
	if (!o->quiet) {
		int r = format_print_lines(b.s, e);

		return r < 0 ? r : 1;
	}
	(void)fputs(b.s ? b.s : "", stdout);
	return 1;
}

static int run_images(Call *call, Err *e)
{
	const ImagesOptions *o = call->opts;
	_cleanup_strbuf_ StrBuf target = {0};
	_cleanup_free_ char *text = NULL;
	const char *format = o->quiet ? o->format : config_format(call->cli, "imagesFormat", o->format);
	bool usual = !o->digests && (!format || streq(format, "table"));
	size_t len = 0;
	int r = images_target(call, &target, e);

	if (r == 0 && o->tree)
		return print_tree(call, &target, e);
	if (r == 0)
		r = api_get_text(call->cli, target.s, NULL, &text, &len, e);
	if (r >= 0)
		r = usual ? print_usual_list(o, text, e) : 0;
	return r == 0 ? print_image_list(call, format, text, len, e) : MIN2(r, 0);
}

/* ---- tag, rmi */

static int run_tag(Call *call, Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0};
	_cleanup_free_ char *path = api_path("images", call->args[0], "/tag", e), *name = NULL;
	Reference ref = {0};
	int r = path ? reference_parse(call->args[1], &ref, e) : -EINVAL;

	if (r == 0 && ref.digest) {
		reference_done(&ref);
		return err_new(e, ERR_INVALID, "refusing to create a tag with a digest reference");
	}
	if (r == 0) {
		name = reference_familiar_name(&ref);
		strbuf_add(&b, path);
		text_query(&b, "repo", name ? name : "");
		text_query(&b, "tag", ref.tag);
	}
	reference_done(&ref);
	if (r < 0)
		return r;
	r = name && !b.oom ? api_call(call->cli, "POST", b.s, NULL, NULL, e) : err_oom(e);
	return r < 0 ? r : 0;
}

typedef struct RmiOptions {
	bool force, no_prune;
	List platforms;
} RmiOptions;

static const Flag rmi_flags[] = {
    {"force", 'f', FLAG_BOOL, offsetof(RmiOptions, force), "Remove the image even if it is in use", NULL},
    {"no-prune", 0, FLAG_BOOL, offsetof(RmiOptions, no_prune), "Keep untagged parents", NULL},
    {"platform", 0, FLAG_CSV, offsetof(RmiOptions, platforms),
     "Remove only this platform of the image: OS/ARCH[/VARIANT]", NULL},
    {0},
};

static void print_removed(const Cli *cli, const json_t *list)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *untagged = json_get_str(json_array_get(list, i), "Untagged"),
			   *deleted = json_get_str(json_array_get(list, i), "Deleted");

		(void)fputs(deleted ? "Deleted: " : "Untagged: ", stdout);
		text_put(stdout, deleted ? deleted : untagged ? untagged : "", cli->out_tty);
		(void)fputc('\n', stdout);
	}
}

/* One after the other: removing one may free the next. */
static int remove_image(Call *call, const char *arg, Err *e)
{
	const RmiOptions *o = call->opts;
	_cleanup_free_ char *path = api_path("images", arg, "", e);
	_cleanup_json_ json_t *list = NULL;
	_cleanup_strbuf_ StrBuf b = {0};

	if (!path)
		return -EINVAL;
	strbuf_add(&b, path);
	if (o->force)
		text_query(&b, "force", "1");
	if (o->no_prune)
		text_query(&b, "noprune", "1");
	int r = 0;
	for (size_t i = 0; r == 0 && o->platforms.v && o->platforms.v[i]; i++)
		r = api_add_platform(&b, "platforms", o->platforms.v[i], e);
	if (r == 0)
		r = b.oom ? err_oom(e) : api_call(call->cli, "DELETE", b.s, NULL, &list, e);
	if (r < 0 && o->force && e->kind == ERR_NOT_FOUND) {
		cli_complain(call->cli, "%s", e->msg);
		return 0;
	}
	if (r >= 0)
		print_removed(call->cli, list);
	return r;
}

static int run_rmi(Call *call, Err *e)
{
	return cli_for_each(call, remove_image);
}

/* ---- history */

typedef struct HistoryOptions {
	Tri human;
	bool no_trunc, quiet;
	const char *format, *platform;
} HistoryOptions;

#define O(field) offsetof(HistoryOptions, field)
static const Flag history_flags[] = {
    {"format", 0, FLAG_STRING, O(format), "table, table TEMPLATE, json, or a Go template", NULL},
    {"human", 'H', FLAG_TRI, O(human), "Show sizes and times as people say them (default true)", NULL},
    {"no-trunc", 0, FLAG_BOOL, O(no_trunc), "Show everything in full length", NULL},
    {"platform", 0, FLAG_STRING, O(platform), "History of the image of this platform: OS/ARCH[/VARIANT]",
     NULL},
    {"quiet", 'q', FLAG_BOOL, O(quiet), "Show ids only", NULL},
    {0},
};
#undef O

static const Column history_columns[] = {
    {"ID", "IMAGE"},
    {"CreatedSince", "CREATED"},
    {"CreatedAt", "CREATED AT"},
    {"CreatedBy", "CREATED BY"},
    {"Size", "SIZE"},
    {"Comment", "COMMENT"},
    {NULL, NULL},
};

static int add_history_row(json_t *rows, const json_t *h, const HistoryOptions *o)
{
	const char *id = json_get_str(h, "Id"), *by = json_get_str(h, "CreatedBy");
	int64_t created = json_get_int(h, "Created", 0), size = json_get_int(h, "Size", 0);
	json_t *row = json_object();
	int r = json_array_append_new(rows, row) < 0 ? -ENOMEM : 0;
	_cleanup_free_ char *line = strdup(by ? by : "");

	/* A step of several lines is one cell. */
	for (char *p = line; p && *p; p++)
		if (*p == '\t' || *p == '\n')
			*p = ' ';
	_cleanup_free_ char *at = text_local_rfc3339(created);
	if (r == 0)
		r = row_take(row, "ID", o->no_trunc ? strdup(id ? id : "") : text_short_id(id ? id : ""));
	if (r == 0)
		r = row_take(row, "CreatedSince",
			     !tri(o->human, true) ? strdup(at ? at : "")
			     : created <= 0       ? strdup("N/A")
						  : text_ago(created * 1000000000, clock_now_ns()));
	if (r == 0)
		r = row_add(row, "CreatedAt", at);
	if (r == 0)
		r = row_take(row, "CreatedBy",
			     !line         ? NULL
			     : o->no_trunc ? strdup(line)
					   : text_ellipsis(line, 45));
	if (r == 0)
		r = row_take(row, "Size",
			     tri(o->human, true) ? strdup(text_size((double)size, 3).s)
						 : strf("%lld", (long long)size));
	return r == 0 ? row_add(row, "Comment", json_get_str(h, "Comment")) : r;
}

static int run_history(Call *call, Err *e)
{
	const HistoryOptions *o = call->opts;
	_cleanup_free_ char *path = api_path("images", call->args[0], "/history", e);
	_cleanup_json_ json_t *list = NULL, *rows = json_array();
	_cleanup_strbuf_ StrBuf target = {0};
	int r = path ? 0 : -EINVAL;

	strbuf_add(&target, path ? path : "");
	if (r == 0)
		r = api_add_platform(&target, "platform", o->platform, e);
	if (r == 0)
		r = target.oom ? err_oom(e) : api_get(call->cli, target.s, &list, e);

	for (size_t i = 0; r >= 0 && i < json_array_size(list); i++)
		if (add_history_row(rows, json_array_get(list, i), o) < 0)
			r = err_oom(e);
	if (r < 0)
		return r;
	const char *created = tri(o->human, true) ? "{{.CreatedSince}}" : "{{.CreatedAt}}";
	_cleanup_free_ char *table = strf("{{.ID}}\t%s\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}", created);
	ListFormat lf = {history_columns, table};
	if (!table)
		return err_oom(e);
	return format_list(call->cli, &lf, o->quiet && !o->format ? "{{.ID}}" : o->format, rows, e);
}

/* ---- bootstrap: an image from the distribution's own packages, without a registry */

typedef struct BootstrapOptions {
	bool again, quiet;
} BootstrapOptions;

static const Flag bootstrap_flags[] = {
    {"again", 0, FLAG_BOOL, offsetof(BootstrapOptions, again), "Make it anew even if it exists", NULL},
    {"quiet", 'q', FLAG_BOOL, offsetof(BootstrapOptions, quiet), "Do not show progress", NULL},
    {0},
};

static int run_bootstrap(Call *call, Err *e)
{
	const BootstrapOptions *o = call->opts;
	_cleanup_strbuf_ StrBuf b = {0};
	char id[DIGEST_LEN + 1] = "";

	strbuf_add(&b, "/ireko/bootstrap");
	text_query(&b, "reference", call->args[0]);
	if (o->again)
		text_query(&b, "again", "1");
	if (b.oom)
		return err_oom(e);
	int r = stream_progress(call->cli, b.s, NULL, o->quiet ? NULL : stdout, id, e);
	if (r == 0 && *id)
		(void)printf("%s\n", id);
	return r;
}

const Command cmd_pull = {.usage = "[OPTIONS] NAME[:TAG|@DIGEST]",
			  .summary = "Download an image from a registry",
			  .flags = pull_flags,
			  .opts_size = sizeof(PullOptions),
			  .min = 1,
			  .max = 1,
			  .run = run_pull};
const Command cmd_push = {.usage = "[OPTIONS] NAME[:TAG]",
			  .summary = "Upload an image to a registry",
			  .flags = push_flags,
			  .opts_size = sizeof(PushOptions),
			  .min = 1,
			  .max = 1,
			  .run = run_push};
const Command cmd_images = {.usage = "[OPTIONS] [REPOSITORY[:TAG]]",
			    .summary = "List images",
			    .flags = images_flags,
			    .opts_size = sizeof(ImagesOptions),
			    .max = 1,
			    .run = run_images};
const Command cmd_tag = {.usage = "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
			 .summary = "Give an image another name",
			 .min = 2,
			 .max = 2,
			 .run = run_tag};
const Command cmd_rmi = {.usage = "[OPTIONS] IMAGE [IMAGE...]",
			 .summary = "Remove images",
			 .flags = rmi_flags,
			 .opts_size = sizeof(RmiOptions),
			 .min = 1,
			 .max = -1,
			 .run = run_rmi};
const Command cmd_history = {.usage = "[OPTIONS] IMAGE",
			     .summary = "Show how an image was made",
			     .flags = history_flags,
			     .opts_size = sizeof(HistoryOptions),
			     .min = 1,
			     .max = 1,
			     .run = run_history};
const Command cmd_image_bootstrap = {.usage = "[OPTIONS] IMAGE",
				     .summary = "Make a base image from the distribution's packages",
				     .flags = bootstrap_flags,
				     .opts_size = sizeof(BootstrapOptions),
				     .min = 1,
				     .max = 1,
				     .run = run_bootstrap};
