/* SPDX-License-Identifier: Apache-2.0 */
/* container, image, network, volume, builder and system prune: a warning, a question, a request, what went
 * away. */
#include "client.h"
#include "config.h"
#include "options.h"
#include "text.h"
#include "verbs.h"

typedef struct PruneOptions {
	bool all, force, volumes;
	List filters;
	Num keep_storage, reserved, max_used, min_free;
} PruneOptions;

#define O(field) offsetof(PruneOptions, field)
#define FILTER_FLAG                                                                                          \
	{                                                                                                    \
		"filter", 0, FLAG_LIST, O(filters), "Remove only what matches KEY=VALUE", "filter"           \
	}
#define FORCE_FLAG                                                                                           \
	{                                                                                                    \
		"force", 'f', FLAG_BOOL, O(force), "Do not ask", NULL                                        \
	}
static const Flag plain_flags[] = {FILTER_FLAG, FORCE_FLAG, {0}};
static const Flag image_flags[] = {{"all", 'a', FLAG_BOOL, O(all),
				    "Remove every image that no container uses, not only untagged ones",
				    NULL},
				   FILTER_FLAG,
				   FORCE_FLAG,
				   {0}};
static const Flag volume_flags[] = {{"all", 'a', FLAG_BOOL, O(all), "Remove named volumes too", NULL},
				    FILTER_FLAG,
				    FORCE_FLAG,
				    {0}};
static const Flag builder_flags[] = {
    {"all", 'a', FLAG_BOOL, O(all), "Remove all of the cache", NULL},
    FILTER_FLAG,
    FORCE_FLAG,
    {"keep-storage", 0, FLAG_BYTES, O(keep_storage), NULL, NULL},
    {"reserved-space", 0, FLAG_BYTES, O(reserved), "Leave so much of the cache", NULL},
    {"max-used-space", 0, FLAG_BYTES, O(max_used), "Bring the cache down to so much", NULL},
    {"min-free-space", 0, FLAG_BYTES, O(min_free), "Remove until so much of the disk is free", NULL},
    {0}};
static const Flag system_flags[] = {{"all", 'a', FLAG_BOOL, O(all),
				     "Remove every image that no container uses, not only untagged ones",
				     NULL},
				    FILTER_FLAG,
				    FORCE_FLAG,
				    {"volumes", 0, FLAG_BOOL, O(volumes), "Remove anonymous volumes too",
				     NULL},
				    {0}};
#undef O

typedef struct Target {
	const char *path, *list, *title;
	bool is_images;
} Target;

static const Target containers = {"/containers/prune", "ContainersDeleted", "Deleted Containers:", false};
static const Target networks = {"/networks/prune", "NetworksDeleted", "Deleted Networks:", false};
static const Target volumes = {"/volumes/prune", "VolumesDeleted", "Deleted Volumes:", false};
static const Target images = {"/images/prune", "ImagesDeleted", "Deleted Images:", true};
static const Target cache = {"/build/prune", "CachesDeleted", "Deleted build cache objects:", false};

static void print_item(const Cli *cli, const json_t *item, bool is_image)
{
	const char *untagged = json_get_str(item, "Untagged"), *deleted = json_get_str(item, "Deleted");
	const char *name = json_string_value(item);

	if (is_image) {
		name = !str_empty(untagged) ? untagged : deleted;
		(void)fputs(!str_empty(untagged) ? "untagged: " : "deleted: ", stdout);
	}
	text_put(stdout, name ? name : "", cli->out_tty);
	(void)fputc('\n', stdout);
}

static void add_limit(StrBuf *b, const char *name, Num limit)
{
	char n[24];

	if (!limit.set)
		return;
	snprintf(n, sizeof(n), "%lld", (long long)limit.v);
	text_query(b, name, n);
}

/* Asks the engine to remove, prints what went; *reclaimed grows. */
static int prune(Call *call, const Target *t, char *const *more_filters, int64_t *reclaimed, Err *e)
{
	const PruneOptions *o = call->opts;
	_cleanup_strv_ char **filters = strv_dup(o->filters.v);
	_cleanup_strbuf_ StrBuf b = {0};
	_cleanup_json_ json_t *answer = NULL;
	int r = filters ? 0 : err_oom(e);

	for (size_t i = 0; r == 0 && more_filters && more_filters[i]; i++)
		if (strv_add(&filters, more_filters[i]) < 0)
			r = err_oom(e);
	if (r == 0)
		r = config_add_prune_filters(call->cli, &filters, e);
	strbuf_add(&b, t->path);
	if (t == &cache && o->all)
		text_query(&b, "all", "1");
	if (t == &cache) {
		add_limit(&b, "reserved-space", o->keep_storage);
		add_limit(&b, "keep-storage", o->keep_storage);
		add_limit(&b, "reserved-space", o->reserved);
		add_limit(&b, "max-used-space", o->max_used);
		add_limit(&b, "min-free-space", o->min_free);
	}
	if (r == 0)
		r = api_add_filters(&b, filters && filters[0] ? filters : NULL, e);
	if (r == 0)
		r = b.oom ? err_oom(e) : api_call(call->cli, "POST", b.s, NULL, &answer, e);
	if (r < 0)
		return r;
	const json_t *list = json_object_get(answer, t->list);
	if (json_array_size(list) > 0) {
		(void)printf("%s\n", t->title);
		for (size_t i = 0; i < json_array_size(list); i++)
			print_item(call->cli, json_array_get(list, i), t->is_images);
		(void)fputc('\n', stdout);
	}
	*reclaimed += json_get_int(answer, "SpaceReclaimed", 0);
	return 0;
}

static bool may_go_on(const PruneOptions *o, const char *warning)
{
	_cleanup_free_ char *question = NULL;

	if (o->force)
		return true;
	question = strf("WARNING! %s\nAre you sure you want to continue?", warning);
	return question && cli_confirm(question);
}

static int prune_one(Call *call, const Target *t, const char *warning, char *const *filters, Err *e)
{
	int64_t reclaimed = 0;

	if (!may_go_on(call->opts, warning))
		return 0;
	int r = prune(call, t, filters, &reclaimed, e);
	if (r == 0 && t != &networks)
		(void)printf("Total reclaimed space: %s\n", text_size((double)reclaimed, 4).s);
	return r;
}

static int run_container_prune(Call *call, Err *e)
{
	return prune_one(call, &containers, "This will remove all stopped containers.", NULL, e);
}

static char *const all_images[] = {(char[]){"dangling=false"}, NULL},
		   *const dangling_images[] = {(char[]){"dangling=true"}, NULL},
		   *const all_volumes[] = {(char[]){"all=true"}, NULL};

static int run_image_prune(Call *call, Err *e)
{
	const PruneOptions *o = call->opts;

	return prune_one(
	    call, &images,
	    o->all ? "This will remove all images without at least one container associated to them."
		   : "This will remove all dangling images.",
	    o->all ? all_images : dangling_images, e);
}

static int run_network_prune(Call *call, Err *e)
{
	return prune_one(call, &networks,
			 "This will remove all custom networks not used by at least one container.", NULL, e);
}

static int run_volume_prune(Call *call, Err *e)
{
	const PruneOptions *o = call->opts;

	return prune_one(call, &volumes,
			 o->all
			     ? "This will remove all local volumes not used by at least one container."
			     : "This will remove anonymous local volumes not used by at least one container.",
			 o->all ? all_volumes : NULL, e);
}

static int run_builder_prune(Call *call, Err *e)
{
	const PruneOptions *o = call->opts;

	return prune_one(call, &cache,
			 o->all ? "This will remove all build cache."
				: "This will remove all dangling build cache.",
			 NULL, e);
}

static bool filters_by(const PruneOptions *o, const char *key)
{
	size_t n = strlen(key);

	for (char **f = o->filters.v; f && *f; f++)
		if (strncmp(*f, key, n) == 0 && ((*f)[n] == '=' || (*f)[n] == '!'))
			return true;
	return false;
}

static int run_system_prune(Call *call, Err *e)
{
	const PruneOptions *o = call->opts;
	int64_t reclaimed = 0;

	if (o->volumes && filters_by(o, "until"))
		return err_new(
		    e, ERR_INVALID,
		    "the \"until\" filter is not supported with \"--volumes\": volumes have no age");
	_cleanup_free_ char *warning =
	    strf("This will remove:\n"
		 "  - all stopped containers\n"
		 "  - all networks not used by at least one container\n%s"
		 "  - %s\n"
		 "  - %s\n",
		 o->volumes ? "  - all anonymous volumes not used by at least one container\n" : "",
		 o->all ? "all images without at least one container associated to them"
			: "all dangling images",
		 o->all ? "all build cache" : "unused build cache");
	int r = warning ? 0 : err_oom(e);

	if (r < 0 || !may_go_on(o, warning))
		return r;
	r = prune(call, &containers, NULL, &reclaimed, e);
	if (r == 0)
		r = prune(call, &networks, NULL, &reclaimed, e);
	if (r == 0 && o->volumes)
		r = prune(call, &volumes, NULL, &reclaimed, e);
	if (r == 0)
		r = prune(call, &images, o->all ? all_images : dangling_images, &reclaimed, e);
	/* Nothing in the build cache has labels to choose by. */
	if (r == 0 && !filters_by(o, "label"))
		r = prune(call, &cache, NULL, &reclaimed, e);
	if (r == 0)
		(void)printf("Total reclaimed space: %s\n", text_size((double)reclaimed, 4).s);
	return r;
}

const Command cmd_container_prune = {.usage = "[OPTIONS]",
				     .summary = "Remove all stopped containers",
				     .flags = plain_flags,
				     .opts_size = sizeof(PruneOptions),
				     .run = run_container_prune};
const Command cmd_image_prune = {.usage = "[OPTIONS]",
				 .summary = "Remove unused images",
				 .flags = image_flags,
				 .opts_size = sizeof(PruneOptions),
				 .run = run_image_prune};
const Command cmd_network_prune = {.usage = "[OPTIONS]",
				   .summary = "Remove unused networks",
				   .flags = plain_flags,
				   .opts_size = sizeof(PruneOptions),
				   .run = run_network_prune};
const Command cmd_volume_prune = {.usage = "[OPTIONS]",
				  .summary = "Remove unused volumes",
				  .flags = volume_flags,
				  .opts_size = sizeof(PruneOptions),
				  .run = run_volume_prune};
const Command cmd_builder_prune = {.usage = "[OPTIONS]",
				   .summary = "Remove the build cache",
				   .flags = builder_flags,
				   .opts_size = sizeof(PruneOptions),
				   .run = run_builder_prune};
const Command cmd_system_prune = {.usage = "[OPTIONS]",
				  .summary = "Remove everything that is unused",
				  .flags = system_flags,
				  .opts_size = sizeof(PruneOptions),
				  .run = run_system_prune};
