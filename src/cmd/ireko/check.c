/* SPDX-License-Identifier: Apache-2.0 */
/* system check: findings and their remedies on standard output, progress on a terminal's standard error. */
#include "base/secret.h"
#include "client.h"
#include "credential.h"
#include "options.h"
#include "progress.h"
#include "text.h"
#include "verbs.h"

typedef struct CheckOptions {
	bool repair, quiet;
} CheckOptions;

#define O(field) offsetof(CheckOptions, field)
static const Flag flags[] = {
    {"repair", 0, FLAG_BOOL, O(repair),
     "Make again what is damaged, from what is here or from the registries", NULL},
    {"quiet", 'q', FLAG_BOOL, O(quiet), "Do not show progress", NULL},
    {0},
};
#undef O

typedef struct Shown {
	const Cli *cli;
	bool repair, complete;
	int64_t left; /* findings that are not repaired */
} Shown;

static void put(const Shown *s, const char *before, const char *text, const char *after)
{
	(void)fputs(before, stdout);
	text_put(stdout, text ? text : "", s->cli->out_tty);
	(void)fputs(after, stdout);
}

/* "layer sha256:...: usr/bin/x: it is empty (layers/..., of debian:12)" and "  repaired: made again from its blob" */
static void show_finding(const Shown *s, const json_t *f)
{
	const json_t *images = json_object_get(f, "Images");
	const char *path = json_get_str(f, "Path");

	put(s, "", json_get_str(f, "Kind"), " ");
	put(s, "", json_get_str(f, "ID"), ": ");
	put(s, "", json_get_str(f, "Problem"), "");
	if (!str_empty(path))
		put(s, " (", path, ")");
	for (size_t i = 0; i < json_array_size(images); i++)
		put(s, i == 0 ? ", needed by " : ", ", json_string_value(json_array_get(images, i)), "");
	put(s, json_get_bool(f, "Repaired", false) ? "\n  repaired: " : "\n  remedy: ",
	    json_get_str(f, "Remedy"), "\n");
}

static void show_summary(Shown *s, const json_t *sum)
{
	int64_t found = json_get_int(sum, "Findings", 0), repaired = json_get_int(sum, "Repaired", 0),
		unverified = json_get_int(sum, "Unverified", 0);

	s->complete = true;
	s->left = found - repaired;
	(void)printf("Checked %lld blobs, %lld layers, %lld images and %lld writable layers: %s.\n",
		     (long long)json_get_int(sum, "Blobs", 0), (long long)json_get_int(sum, "Layers", 0),
		     (long long)json_get_int(sum, "Images", 0), (long long)json_get_int(sum, "Snapshots", 0),
		     text_size((double)json_get_int(sum, "Bytes", 0), 4).s);
	if (unverified > 0)
		(void)
		    printf("%lld layers could not be verified: the blobs that they came from are missing.\n",
			   (long long)unverified);
	if (found == 0)
		(void)printf("The store is consistent.\n");
	else
		(void)printf("%lld problems, %lld repaired, %lld left.\n", (long long)found,
			     (long long)repaired, (long long)s->left);
}

static void on_aux(void *user, const json_t *aux)
{
	Shown *s = user;
	const json_t *finding = json_object_get(aux, "Finding"), *summary = json_object_get(aux, "Summary");

	if (finding)
		show_finding(s, finding);
	if (summary)
		show_summary(s, summary);
}

static int run_check(Call *call, Err *e)
{
	const CheckOptions *o = call->opts;
	Shown shown = {.cli = call->cli, .repair = o->repair};
	const Progress p = {.out = o->quiet || !call->cli->err_tty ? NULL : stderr,
			    .tty = call->cli->err_tty,
			    .aux = on_aux,
			    .user = &shown};
	_cleanup_secret_ char *auth = NULL;
	_cleanup_httpc_ Httpc *c = NULL;
	char *headers[] = {NULL, NULL};
	const ApiRequest rq = {.method = o->repair ? "POST" : "GET",
			       .target = o->repair ? "/ireko/check?repair=1" : "/ireko/check",
			       .headers = headers};
	/* What has to be pulled again may be private. */
	int r = o->repair ? credential_config_header(call->cli, NULL, &auth, e) : 0;

	headers[0] = auth;
	if (r >= 0)
		r = api_stream(call->cli, &rq, &c, NULL, e);
	if (r >= 0)
		r = progress_show(&p, c, e);
	if (r < 0)
		return r;
	if (!shown.complete)
		return err_new(e, ERR_INTERNAL, "the engine's answer ended before the check did");
	return shown.left > 0 ? 1 : 0;
}

const Command cmd_check = {
    .usage = "[OPTIONS]",
    .summary = "Verify everything that is stored and the networks of pods, and repair what is stored",
    .flags = flags,
    .opts_size = sizeof(CheckOptions),
    .run = run_check};
