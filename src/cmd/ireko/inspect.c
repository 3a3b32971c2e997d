/* SPDX-License-Identifier: Apache-2.0 */
/* inspect, and container|image|network|volume inspect. What is found is printed even if something else is
 * missing. */
#include "client.h"
#include "format.h"
#include "options.h"
#include "verbs.h"

typedef struct InspectOptions {
	const char *format, *type, *platform;
	bool size, verbose;
} InspectOptions;

#define O(field) offsetof(InspectOptions, field)
#define FORMAT_FLAG                                                                                          \
	{                                                                                                    \
		"format", 'f', FLAG_STRING, O(format), "json, or a Go template", NULL                        \
	}
#define SIZE_FLAG                                                                                            \
	{                                                                                                    \
		"size", 's', FLAG_BOOL, O(size), "Show sizes on disk (containers)", NULL                     \
	}
static const Flag inspect_flags[] = {FORMAT_FLAG,
				     SIZE_FLAG,
				     {"type", 0, FLAG_STRING, O(type),
				      "Only this kind: container, image, network or volume", NULL},
				     {0}};
static const Flag container_flags[] = {FORMAT_FLAG, SIZE_FLAG, {0}};
static const Flag plain_flags[] = {FORMAT_FLAG, {0}};
static const Flag image_flags[] = {FORMAT_FLAG,
				   {"platform", 0, FLAG_STRING, O(platform),
				    "The image of this platform: OS/ARCH[/VARIANT]", NULL},
				   {0}};
static const Flag network_flags[] = {FORMAT_FLAG,
				     {"verbose", 'v', FLAG_BOOL, O(verbose), "Show more", NULL},
				     {0}};
#undef O

typedef struct Kind {
	const char *name, *collection, *rest;
} Kind;

static const Kind kinds[] = {
    {"container", "containers", "/json"},
    {"image", "images", "/json"},
    {"network", "networks", ""},
    {"volume", "volumes", ""},
};

static int get_one(Call *call, const Kind *k, const char *name, json_t **ret, Err *e)
{
	const InspectOptions *o = call->opts;
	_cleanup_free_ char *path = api_path(k->collection, name, k->rest, e);
	_cleanup_free_ char *target = NULL;

	if (!path)
		return -EINVAL;
	target = strf("%s%s", path, o->size && k == &kinds[0] ? "?size=1" : o->verbose ? "?verbose=1" : "");
	_cleanup_strbuf_ StrBuf b = {0};
	strbuf_add(&b, target ? target : "");
	int r = target ? api_add_platform(&b, "platform", o->platform, e) : err_oom(e);
	if (r == 0 && b.oom)
		r = err_oom(e);
	return r < 0 ? r : api_get(call->cli, b.s, ret, e);
}

static int get_any(Call *call, const char *name, json_t **ret, Err *e)
{
	for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
		/* A name with a slash or colon can only be an image's: ask for no other. */
		bool only_image = strpbrk(name, "/:@") && *name != '/';

		if (only_image && i != 1)
			continue;
		int r = get_one(call, &kinds[i], name, ret, e);
		if (r >= 0 || (e->kind != ERR_NOT_FOUND && e->kind != ERR_INVALID))
			return r;
	}
	return err_new(e, ERR_NOT_FOUND, "Error: No such object: %s", name);
}

static int find_kind(const char *name, const Kind **ret, Err *e)
{
	*ret = NULL;
	if (!name)
		return 0;
	for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
		if (streq(kinds[i].name, name)) {
			*ret = &kinds[i];
			return 0;
		}
	return err_new(e, ERR_INVALID,
		       "\"%s\" is not a valid value for --type: it is container, image, network or volume",
		       name);
}

static int inspect_all(Call *call, const char *type, Err *e)
{
	const InspectOptions *o = call->opts;
	_cleanup_json_ json_t *docs = json_array();
	Err errors[16] = {0};
	size_t n_errors = 0;
	const Kind *k;
	int r = docs ? find_kind(type, &k, e) : err_oom(e);

	for (int i = 0; r == 0 && i < call->n_args; i++) {
		json_t *doc = NULL;
		Err one = {0};
		int bad = k ? get_one(call, k, call->args[i], &doc, &one)
			    : get_any(call, call->args[i], &doc, &one);

		if (bad < 0 && one.kind == ERR_UNAVAILABLE) {
			*e = one;
			return bad;
		}
		if (bad >= 0 && json_array_append_new(docs, doc) < 0)
			return err_oom(e);
		if (bad < 0 && n_errors < ELEMENTSOF(errors))
			errors[n_errors++] = one;
	}
	if (r == 0)
		r = format_documents(call->cli, o->format, docs, e);
	/* As docker, a template that has nothing to show, or fails, leaves an empty line. */
	if (o->format && !streq(o->format, "json") && (r < 0 || json_array_size(docs) == 0))
		(void)fputc('\n', stdout);
	for (size_t i = 0; i < n_errors; i++)
		cli_complain(call->cli, "%s", errors[i].msg);
	return r < 0 ? r : n_errors > 0;
}

static int run_inspect(Call *call, Err *e)
{
	return inspect_all(call, ((const InspectOptions *)call->opts)->type, e);
}

static int run_container_inspect(Call *call, Err *e)
{
	return inspect_all(call, "container", e);
}

static int run_image_inspect(Call *call, Err *e)
{
	return inspect_all(call, "image", e);
}

static int run_network_inspect(Call *call, Err *e)
{
	return inspect_all(call, "network", e);
}

static int run_volume_inspect(Call *call, Err *e)
{
	return inspect_all(call, "volume", e);
}

const Command cmd_inspect = {.usage = "[OPTIONS] NAME|ID [NAME|ID...]",
			     .summary = "Show everything about containers, images, networks or volumes",
			     .flags = inspect_flags,
			     .opts_size = sizeof(InspectOptions),
			     .min = 1,
			     .max = -1,
			     .run = run_inspect};
const Command cmd_container_inspect = {.usage = "[OPTIONS] CONTAINER [CONTAINER...]",
				       .summary = "Show everything about containers",
				       .flags = container_flags,
				       .opts_size = sizeof(InspectOptions),
				       .min = 1,
				       .max = -1,
				       .run = run_container_inspect};
const Command cmd_image_inspect = {.usage = "[OPTIONS] IMAGE [IMAGE...]",
				   .summary = "Show everything about images",
				   .flags = image_flags,
				   .opts_size = sizeof(InspectOptions),
				   .min = 1,
				   .max = -1,
				   .run = run_image_inspect};
const Command cmd_network_inspect = {.usage = "[OPTIONS] NETWORK [NETWORK...]",
				     .summary = "Show everything about networks",
				     .flags = network_flags,
				     .opts_size = sizeof(InspectOptions),
				     .min = 1,
				     .max = -1,
				     .run = run_network_inspect};
const Command cmd_volume_inspect = {.usage = "[OPTIONS] VOLUME [VOLUME...]",
				    .summary = "Show everything about volumes",
				    .flags = plain_flags,
				    .opts_size = sizeof(InspectOptions),
				    .min = 1,
				    .max = -1,
				    .run = run_volume_inspect};
