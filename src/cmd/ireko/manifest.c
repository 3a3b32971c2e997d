/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manifest create, annotate, inspect, push, rm: lists of manifests (indexes) that are put together here and pushed.
 *
 * A list that is being made is a folder beside config.json, manifests/<list>/<manifest>, as docker's: each file has the name of a manifest, its
 * descriptor and what a registry has of it. File names are full references with '_' for '/' and '-' for ':'. No byte of an image is here; the engine
 * brings in the registry together what a list names.
 */
#include "base/fd.h"
#include "base/path.h"
#include "client.h"
#include "config.h"
#include "oci/image.h"
#include "oci/reference.h"
#include "options.h"
#include "pull.h"
#include "text.h"
#include "verbs.h"

#include <dirent.h>
#include <fcntl.h>

#define ENTRY_MAX (16u << 20)

/* ---- where lists are */

/* "docker.io/library/x:latest" and its name as a file. */
typedef struct Name {
	char *full, *file;
} Name;

static void name_done(Name *n)
{
	free(n->full);
	free(n->file);
}

static int name_parse(const char *text, Name *ret, Err *e)
{
	Reference ref = {0};
	int r = reference_parse(text, &ref, e);

	if (r < 0)
		return r;
	*ret = (Name){.full = reference_full(&ref)};
	reference_done(&ref);
	ret->file = ret->full ? strdup(ret->full) : NULL;
	for (char *p = ret->file; p && *p; p++)
		*p = *p == ':' ? '-' : *p == '/' ? '_' : *p;
	return ret->file ? 0 : err_oom(e);
}

/* The folder of all lists, or of one. malloc'ed; NULL on out of memory. */
static char *lists_path(const Call *call, const char *list)
{
	_cleanup_free_ char *dir = config_dir(call->cli);

	return dir ? strf("%s/manifests%s%s", dir, list ? "/" : "", list ? list : "") : NULL;
}

/* -ENOENT without an Err if there is none and none is to be made. */
static int list_open(const Call *call, const Name *list, bool make, Err *e)
{
	_cleanup_free_ char *path = lists_path(call, list->file);
	int fd, r = path ? 0 : err_oom(e);

	if (r == 0 && make) {
		r = mkdir_parents_at(AT_FDCWD, path, 0755);
		if (r < 0)
			return err_sys(e, r, "make %s", path);
	}
	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ENOENT : err_sys(e, errno, "open %s", path);
	return fd;
}

static int list_names(int dir, char ***ret, Err *e)
{
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(closedirp) DIR *d = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *n;

	if (!d) {
		int no = errno;

		closep(&copy);
		return err_sys(e, no, "read a list of manifests");
	}
	while ((n = readdir(d)))
		if (*n->d_name != '.' && strv_add(ret, n->d_name) < 0)
			return err_oom(e);
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The entries of a list, by name, in *ret. */
static int list_read(int dir, json_t **ret, Err *e)
{
	_cleanup_strv_ char **names = NULL;
	_cleanup_json_ json_t *all = json_array();
	int r = list_names(dir, &names, e);

	if (r < 0 || !all)
		return all ? r : err_oom(e);
	qsort(names, strv_len(names), sizeof(*names), by_name);
	for (char **n = names; n && *n; n++) {
		json_t *one = NULL;

		r = json_load_at(dir, *n, ENTRY_MAX, &one, e);
		if (r < 0)
			return r;
		if (json_array_append_new(all, one) < 0)
			return err_oom(e);
	}
	*ret = take_ptr(all);
	return 0;
}

static int remove_list(const Call *call, const Name *list, Err *e)
{
	_cleanup_free_ char *path = lists_path(call, list->file);
	int r = path ? remove_tree_at(AT_FDCWD, path) : err_oom(e);

	return r < 0 && path ? err_sys(e, r, "remove %s", path) : r;
}

/* ---- the engine, which asks registries for us */

static int ask(const Call *call, const char *method, char *header, const StrBuf *target, const json_t *body,
	       json_t **ret, Err *e)
{
	char *headers[] = {header, NULL};
	const ApiRequest rq = {.method = method, .target = target->s, .body = body, .headers = headers};

	return target->oom ? err_oom(e) : api_ask(call->cli, &rq, ret, e);
}

/* ---- create */

typedef struct CreateOptions {
	bool amend, insecure;
} CreateOptions;

static const Flag create_flags[] = {
    {"amend", 'a', FLAG_BOOL, offsetof(CreateOptions, amend), "Add to a list that is there", NULL},
    {"insecure", 0, FLAG_BOOL, offsetof(CreateOptions, insecure), NULL, NULL},
    {0},
};

/* What a registry says of one manifest: {"Ref", "Descriptor" with its platform, "OCIManifest" or "SchemaV2Manifest"}. */
static int ask_manifest(const Call *call, const char *name, json_t **ret, Err *e)
{
	_cleanup_free_ char *header = NULL;
	_cleanup_strbuf_ StrBuf target = {0};
	int r = pull_auth_header(call->cli, name, &header, e);

	strbuf_add(&target, "/ireko/manifest?verbose=1");
	text_query(&target, "reference", name);
	if (r >= 0)
		r = ask(call, "GET", header, &target, NULL, ret, e);
	if (r >= 0 && json_is_array(*ret)) {
		json_decref(*ret);
		*ret = NULL;
		return err_new(e, ERR_INVALID, "%s is a manifest list", name);
	}
	return r;
}

static int add_manifest(const Call *call, int list, const char *text, Err *e)
{
	_cleanup_(name_done) Name name = {0};
	_cleanup_json_ json_t *doc = NULL;
	int r = name_parse(text, &name, e);

	if (r >= 0)
		r = ask_manifest(call, name.full, &doc, e);
	if (r < 0)
		return r;
	r = json_save_at(list, name.file, doc, 0644, false, e);
	return r < 0 ? err_ctx(e, r, "keep %s", name.full) : 0;
}

/* What cannot be made whole is not begun. */
static int create_list(const Call *call, const Name *list, Err *e)
{
	_cleanup_close_ int dir = list_open(call, list, true, e);
	int r = MIN2(dir, 0);

	for (int i = 1; r >= 0 && i < call->n_args; i++)
		r = add_manifest(call, dir, call->args[i], e);
	return r;
}

static int run_create(Call *call, Err *e)
{
	const CreateOptions *o = call->opts;
	_cleanup_(name_done) Name list = {0};
	_cleanup_close_ int there = -1;
	int r = name_parse(call->args[0], &list, e);

	if (r < 0)
		return r;
	there = list_open(call, &list, false, e);
	if (there >= 0 && !o->amend)
		return err_new(e, ERR_CONFLICT,
			       "refusing to amend an existing manifest list with no --amend flag");
	if (there < 0 && there != -ENOENT)
		return there;
	r = create_list(call, &list, e);
	if (r < 0) {
		if (there < 0)
			(void)remove_list(call, &list, NULL);
		return r;
	}
	printf("Created manifest list %s\n", list.full);
	return 0;
}

/* ---- annotate */

typedef struct AnnotateOptions {
	const char *os, *arch, *variant, *os_version;
	List os_features;
} AnnotateOptions;

#define O(field) offsetof(AnnotateOptions, field)
static const Flag annotate_flags[] = {
    {"arch", 0, FLAG_STRING, O(arch), "Set the architecture", NULL},
    {"os", 0, FLAG_STRING, O(os), "Set the operating system", NULL},
    {"os-features", 0, FLAG_CSV, O(os_features), "Set features of the operating system", NULL},
    {"os-version", 0, FLAG_STRING, O(os_version), "Set the version of the operating system", NULL},
    {"variant", 0, FLAG_STRING, O(variant), "Set the variant of the architecture", NULL},
    {0},
};
#undef O

static int set_text(json_t *platform, const char *member, const char *value)
{
	return value ? json_object_set_new(platform, member, json_string(value)) : 0;
}

static int annotate(json_t *entry, const AnnotateOptions *o, Err *e)
{
	json_t *d = json_object_get(entry, "Descriptor"), *platform = json_object_get(d, "platform");
	int r = 0;

	if (!json_is_object(platform)) {
		platform = json_object();
		r = json_object_set_new(d, "platform", platform);
	}
	if (r == 0)
		r = set_text(platform, "os", o->os);
	if (r == 0)
		r = set_text(platform, "architecture", o->arch);
	if (r == 0)
		r = set_text(platform, "variant", o->variant);
	if (r == 0)
		r = set_text(platform, "os.version", o->os_version);
	if (r == 0 && o->os_features.v)
		r = json_object_set_new(platform, "os.features", json_from_strv(o->os_features.v));
	return r < 0 ? err_oom(e) : 0;
}

static int run_annotate(Call *call, Err *e)
{
	_cleanup_(name_done) Name list = {0}, name = {0};
	_cleanup_json_ json_t *entry = NULL;
	_cleanup_close_ int dir = -1;
	int r = name_parse(call->args[0], &list, e);

	if (r >= 0)
		r = name_parse(call->args[1], &name, e);
	if (r < 0)
		return r;
	dir = list_open(call, &list, false, e);
	if (dir < 0 && dir != -ENOENT)
		return dir;
	if (dir < 0 || faccessat(dir, name.file, F_OK, 0) < 0)
		return err_new(e, ERR_NOT_FOUND, "manifest for image %s does not exist in %s", call->args[1],
			       call->args[0]);
	r = json_load_at(dir, name.file, ENTRY_MAX, &entry, e);
	if (r >= 0)
		r = annotate(entry, call->opts, e);
	return r < 0 ? r : json_save_at(dir, name.file, entry, 0644, false, e);
}

/* ---- inspect */

typedef struct InspectOptions {
	bool verbose, insecure;
} InspectOptions;

static const Flag inspect_flags[] = {
    {"insecure", 0, FLAG_BOOL, offsetof(InspectOptions, insecure), NULL, NULL},
    {"verbose", 'v', FLAG_BOOL, offsetof(InspectOptions, verbose),
     "Show the manifests of an index too, and what they are called", NULL},
    {0},
};

static int print_json(const Call *call, const json_t *doc, Err *e)
{
	_cleanup_free_ char *text = json_dumps(doc, JSON_INDENT(3));

	if (!text)
		return err_oom(e);
	text_put(stdout, text, call->cli->out_tty);
	(void)fputc('\n', stdout);
	return 0;
}

/* What would be pushed. */
static int print_list(const Call *call, const json_t *entries, Err *e)
{
	_cleanup_json_ json_t *manifests = json_array(), *doc = NULL;
	const json_t *first = json_object_get(json_array_get(entries, 0), "Descriptor"), *one;
	bool oci = streq0(json_get_str(first, "mediaType"), MEDIA_OCI_MANIFEST);
	size_t i;

	json_array_foreach (entries, i, one)
		if (json_array_append(manifests, json_object_get(one, "Descriptor")) < 0)
			return err_oom(e);
	doc = json_pack("{s:i, s:s, s:O}", "schemaVersion", 2, "mediaType",
			oci ? MEDIA_OCI_INDEX : MEDIA_DOCKER_LIST, "manifests", manifests);
	return doc ? print_json(call, doc, e) : err_oom(e);
}

static json_t *plain_manifest(json_t *entry)
{
	json_t *oci = json_object_get(entry, "OCIManifest");

	return oci ? oci : json_object_get(entry, "SchemaV2Manifest");
}

/* 1 if the list, or the manifest in it, is one that is being made here. */
static int inspect_local(const Call *call, const InspectOptions *o, Err *e)
{
	_cleanup_(name_done) Name list = {0}, name = {0};
	_cleanup_json_ json_t *doc = NULL;
	_cleanup_close_ int dir = -1;
	int r = name_parse(call->args[0], &list, e);

	if (r >= 0 && call->n_args > 1)
		r = name_parse(call->args[1], &name, e);
	if (r < 0)
		return r;
	dir = list_open(call, &list, false, e);
	if (dir == -ENOENT)
		return 0;
	if (dir < 0)
		return dir;
	if (call->n_args > 1 && faccessat(dir, name.file, F_OK, 0) < 0)
		return err_new(e, ERR_NOT_FOUND, "No such manifest: %s in %s", call->args[1], call->args[0]);
	r = call->n_args > 1 ? json_load_at(dir, name.file, ENTRY_MAX, &doc, e) : list_read(dir, &doc, e);
	if (r < 0)
		return r;
	if (call->n_args == 1 && !o->verbose)
		r = print_list(call, doc, e);
	else
		r = print_json(call, o->verbose ? doc : plain_manifest(doc), e);
	return r < 0 ? r : 1;
}

static int run_inspect(Call *call, Err *e)
{
	const InspectOptions *o = call->opts;
	const char *image = call->args[call->n_args - 1];
	_cleanup_free_ char *header = NULL;
	_cleanup_strbuf_ StrBuf target = {0};
	_cleanup_json_ json_t *doc = NULL;
	int r = inspect_local(call, o, e);

	if (r == 0 && call->n_args > 1)
		return err_new(e, ERR_NOT_FOUND, "No such manifest: %s", call->args[0]);
	if (r == 0)
		r = pull_auth_header(call->cli, image, &header, e);
	else
		return MIN2(r, 0);
	strbuf_add(&target, "/ireko/manifest");
	text_query(&target, "reference", image);
	if (o->verbose)
		text_query(&target, "verbose", "1");
	if (r >= 0)
		r = ask(call, "GET", header, &target, NULL, &doc, e);
	return r < 0 ? r : print_json(call, doc, e);
}

/* ---- push, rm */

typedef struct PushOptions {
	bool purge, insecure;
} PushOptions;

static const Flag push_flags[] = {
    {"insecure", 0, FLAG_BOOL, offsetof(PushOptions, insecure), NULL, NULL},
    {"purge", 'p', FLAG_BOOL, offsetof(PushOptions, purge), "Remove the list here once it is pushed", NULL},
    {0},
};

static int post_list(const Call *call, const Name *list, const json_t *entries, json_t **ret, Err *e)
{
	_cleanup_free_ char *header = NULL;
	_cleanup_strbuf_ StrBuf target = {0};
	_cleanup_json_ json_t *body = json_object(), *brief = json_array();
	const json_t *one;
	size_t i;
	int r = pull_auth_header(call->cli, list->full, &header, e);

	json_array_foreach (entries, i, one)
		if (json_array_append_new(brief,
					  json_pack("{s:O, s:O}", "Ref", json_object_get(one, "Ref"),
						    "Descriptor", json_object_get(one, "Descriptor"))) < 0)
			return err_new(e, ERR_INVALID, "%s: one of its manifests has no Ref or no Descriptor",
				       list->full);
	strbuf_add(&target, "/ireko/manifest");
	text_query(&target, "reference", list->full);
	if (r >= 0 && json_object_set(body, "manifests", brief) < 0)
		r = err_oom(e);
	return r < 0 ? r : ask(call, "POST", header, &target, body, ret, e);
}

static int run_push(Call *call, Err *e)
{
	const PushOptions *o = call->opts;
	_cleanup_(name_done) Name list = {0};
	_cleanup_json_ json_t *entries = NULL, *answer = NULL;
	_cleanup_close_ int dir = -1;
	int r = name_parse(call->args[0], &list, e);

	if (r < 0)
		return r;
	dir = list_open(call, &list, false, e);
	if (dir == -ENOENT)
		return err_new(e, ERR_NOT_FOUND, "%s not found: make it with manifest create", call->args[0]);
	r = dir < 0 ? dir : list_read(dir, &entries, e);
	if (r >= 0)
		r = post_list(call, &list, entries, &answer, e);
	if (r < 0)
		return r;
	printf("%s\n", json_get_str(answer, "digest") ?: "");
	return o->purge ? remove_list(call, &list, e) : 0;
}

static int run_rm(Call *call, Err *e)
{
	int failed = 0;

	for (int i = 0; i < call->n_args; i++) {
		_cleanup_(name_done) Name list = {0};
		Err one = {0};
		int r = name_parse(call->args[i], &list, &one),
		    dir = r < 0 ? r : list_open(call, &list, false, &one);

		if (dir == -ENOENT)
			r = err_new(&one, ERR_NOT_FOUND, "No such manifest: %s", call->args[i]);
		else
			r = dir < 0 ? dir : remove_list(call, &list, &one);
		closep(&dir);
		if (r < 0 && !failed) {
			failed = r;
			*e = one;
		}
	}
	return failed;
}

const Command cmd_manifest_create = {.usage = "[OPTIONS] MANIFEST_LIST MANIFEST [MANIFEST...]",
				     .summary = "Begin a list of manifests that a registry has",
				     .flags = create_flags,
				     .opts_size = sizeof(CreateOptions),
				     .min = 2,
				     .max = -1,
				     .run = run_create};
const Command cmd_manifest_annotate = {.usage = "[OPTIONS] MANIFEST_LIST MANIFEST",
				       .summary = "Say for which platform a manifest of a list is",
				       .flags = annotate_flags,
				       .opts_size = sizeof(AnnotateOptions),
				       .min = 2,
				       .max = 2,
				       .run = run_annotate};
const Command cmd_manifest_inspect = {.usage = "[OPTIONS] [MANIFEST_LIST] MANIFEST",
				      .summary = "Show a manifest, an index or a list that is being made",
				      .flags = inspect_flags,
				      .opts_size = sizeof(InspectOptions),
				      .min = 1,
				      .max = 2,
				      .run = run_inspect};
const Command cmd_manifest_push = {.usage = "[OPTIONS] MANIFEST_LIST",
				   .summary = "Push a list to its registry",
				   .flags = push_flags,
				   .opts_size = sizeof(PushOptions),
				   .min = 1,
				   .max = 1,
				   .run = run_push};
const Command cmd_manifest_rm = {.usage = "MANIFEST_LIST [MANIFEST_LIST...]",
				 .summary = "Forget lists that are being made",
				 .min = 1,
				 .max = -1,
				 .run = run_rm};
