/* SPDX-License-Identifier: Apache-2.0 */
/* What a build is for: --output with its shorthands, and what is done when the image is there. */
#include "base/fd.h"
#include "base/str.h"
#include "build.h"
#include "oci/reference.h"
#include "text.h"

#include <fcntl.h>

void build_output_done(BuildOutput *out)
{
	free(out->dest);
}

static int set_type(BuildOutput *out, const char *type, Err *e)
{
	static const struct {
		const char *name;
		BuildOutputKind kind;
		const char *format;
		bool push;
	} types[] = {
	    {"local", OUT_LOCAL, NULL, false},      {"tar", OUT_TAR, NULL, false},
	    {"docker", OUT_IMAGE, "docker", false}, {"oci", OUT_ARCHIVE, "oci", false},
	    {"image", OUT_IMAGE, NULL, false},      {"registry", OUT_IMAGE, NULL, true},
	    {"cacheonly", OUT_CACHE, NULL, false},
	};

	for (size_t i = 0; i < ELEMENTSOF(types); i++)
		if (streq(types[i].name, type)) {
			out->kind = types[i].kind;
			out->format = types[i].format;
			out->push = types[i].push;
			return 0;
		}
	return err_new(
	    e, ERR_INVALID,
	    "invalid argument \"type=%s\" for \"-o, --output\" flag: expected type=local, tar, docker, "
	    "oci, image, registry or cacheonly",
	    type);
}

static int set_field(BuildOutput *out, const char *field, char ***tags, Err *e)
{
	const char *value;
	bool yes;

	if (str_after(field, "type="))
		return 0;
	if ((value = str_after(field, "dest="))) {
		free(out->dest);
		out->dest = strdup(value);
		return out->dest ? 0 : err_oom(e);
	}
	if ((value = str_after(field, "name="))) {
		_cleanup_strv_ char **names = strv_split(value, ',');

		for (char **n = names; n && *n; n++)
			if (**n && !strv_has(*tags, *n) && strv_add(tags, *n) < 0)
				return err_oom(e);
		return names ? 0 : err_oom(e);
	}
	value = strchr(field, '=');
	yes = !value || streq(value, "=true") || streq(value, "=1");
	if (streq(field, "push") || str_starts(field, "push=")) {
		out->push = yes;
		return 0;
	}
	/* What we do anyway, and what we never do. */
	if (((str_starts(field, "unpack") || str_starts(field, "store")) && yes) ||
	    ((str_starts(field, "push-by-digest") || str_starts(field, "dangling-name-prefix") ||
	      str_starts(field, "rewrite-timestamp") || str_starts(field, "oci-mediatypes")) &&
	     value && !yes))
		return 0;
	return err_new(e, ERR_INVALID,
		       "invalid argument \"%s\" for \"-o, --output\" flag: this key is not offered", field);
}

/* "DIR", "-" or "type=...,key=value". */
static int parse_one(const char *text, BuildOutput *out, char ***tags, Err *e)
{
	_cleanup_strv_ char **fields = NULL;
	const char *type = NULL;
	int r;

	if (!strchr(text, '=')) {
		out->kind = streq(text, "-") ? OUT_TAR : OUT_LOCAL;
		out->dest = strdup(text);
		return out->dest ? 0 : err_oom(e);
	}
	if (strv_split_csv(text, &fields) < 0)
		return err_new(e, ERR_INVALID,
			       "invalid argument \"%s\" for \"-o, --output\" flag: a quote is not closed",
			       text);
	for (char **f = fields; *f; f++)
		if (str_starts(*f, "type="))
			type = str_after(*f, "type=");
	if (!type)
		return err_new(e, ERR_INVALID,
			       "invalid argument \"%s\" for \"-o, --output\" flag: type is required", text);
	r = set_type(out, type, e);
	for (char **f = fields; r >= 0 && *f; f++)
		r = set_field(out, *f, tags, e);
	return r;
}

static int check(BuildOutput *out, char *const *tags, Err *e)
{
	bool files = out->kind == OUT_LOCAL || out->kind == OUT_TAR;

	if (out->kind == OUT_IMAGE && out->dest && streq0(out->format, "docker"))
		out->kind = OUT_ARCHIVE;
	else if (out->kind == OUT_IMAGE && out->dest)
		return err_new(e, ERR_INVALID,
			       "--output type=image has no dest: use type=docker or type=oci");
	if ((out->kind == OUT_TAR || out->kind == OUT_ARCHIVE) && !out->dest)
		out->dest = strdup("-");
	if (out->kind == OUT_LOCAL && !out->dest)
		return err_new(e, ERR_INVALID,
			       "--output type=local requires dest: the directory to write to");
	if (out->push && out->kind != OUT_IMAGE)
		return err_new(e, ERR_INVALID,
			       "--push needs an image: leave --output away, or use type=image");
	if (out->push && !tags)
		return err_new(e, ERR_INVALID, "a name is needed to push: give one with -t");
	if ((out->kind == OUT_TAR || out->kind == OUT_ARCHIVE) && streq0(out->dest, "-") &&
	    isatty(STDOUT_FILENO) == 1)
		return err_new(
		    e, ERR_INVALID,
		    "refusing to write an archive to a terminal: name a file with dest=, or redirect "
		    "the output");
	return files && tags
		   ? err_new(e, ERR_INVALID, "a tag names an image, and --output writes files: leave -t away")
		   : 0;
}

int build_output_parse(const BuildOptions *o, BuildOutput *ret, char ***tags, Err *e)
{
	BuildOutput out = {0};
	int r = 0;

	if (strv_len(o->outputs.v) > 1)
		return err_new(e, ERR_INVALID,
			       "more than one --output is not offered: build again, all is cached");
	if (o->tags.v) {
		*tags = strv_dup(o->tags.v);
		r = *tags ? 0 : err_oom(e);
	}
	if (r == 0 && o->outputs.v && o->outputs.v[0])
		r = parse_one(o->outputs.v[0], &out, tags, e);
	out.push = out.push || o->push;
	if (r == 0 && o->load && out.kind != OUT_IMAGE)
		r = err_new(e, ERR_INVALID, "--load and --output cannot be used together");
	if (r == 0)
		r = check(&out, *tags, e);
	if (r < 0)
		build_output_done(&out);
	else
		*ret = out;
	return r;
}

/* ---- afterwards */

static int run_verb(Cli *cli, char *const *words, Err *e)
{
	int status = cli_dispatch(cli, (int)strv_len(words), (char **)words);

	return status == 0
		   ? 0
		   : err_new(e, ERR_INTERNAL, "%s %s failed: the image is built", cli->program, words[0]);
}

static int save(Cli *cli, const BuildPlan *p, const char *id, Err *e)
{
	char *words[16] = {(char *)"save", (char *)"--format", (char *)p->output.format};
	size_t n = 3;

	if (!streq(p->output.dest, "-")) {
		words[n++] = (char *)"-o";
		words[n++] = p->output.dest;
	}
	if (!p->tags)
		words[n++] = (char *)id;
	for (size_t i = 0; p->tags && p->tags[i] && n < ELEMENTSOF(words) - 1; i++)
		words[n++] = p->tags[i];
	return run_verb(cli, words, e);
}

static int full_names(char *const *tags, char **ret, Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0};

	for (size_t i = 0; tags && tags[i]; i++) {
		Reference ref = {0};
		int r = reference_parse(tags[i], &ref, e);
		_cleanup_free_ char *full = r >= 0 ? reference_full(&ref) : NULL;

		reference_done(&ref);
		if (r < 0)
			return r;
		if (!full)
			return err_oom(e);
		strbuf_addf(&b, "%s%s", b.len ? "," : "", full);
	}
	*ret = strbuf_steal(&b);
	return *ret ? 0 : err_oom(e);
}

static int write_metadata(const BuildPlan *p, const BuildOutcome *out, Err *e)
{
	const char *id = out->id;
	_cleanup_free_ char *names = NULL;
	_cleanup_json_ json_t *doc = json_object();
	int r = full_names(p->tags, &names, e);

	if (r < 0)
		return r;
	if (id && (json_object_set_new(doc, "containerimage.config.digest", json_string(id)) < 0 ||
		   json_object_set_new(doc, "containerimage.digest", json_string(out->digest ?: id)) < 0))
		return err_oom(e);
	if (*names && json_object_set_new(doc, "image.name", json_string(names)) < 0)
		return err_oom(e);
	_cleanup_free_ char *text = json_dumps(doc, JSON_INDENT(2));
	if (!text)
		return err_oom(e);
	r = file_replace_at(AT_FDCWD, p->o->metadata_file, text, strlen(text), 0644, false);
	return r < 0 ? err_sys(e, r, "write the metadata file %s", p->o->metadata_file) : 0;
}

int build_output_finish(Cli *cli, const BuildPlan *p, const BuildOutcome *out, Err *e)
{
	const char *id = out->id;
	int r = 0;

	if (p->o->iidfile && id) {
		r = file_replace_at(AT_FDCWD, p->o->iidfile, id, strlen(id), 0644, false);
		if (r < 0)
			r = err_sys(e, r, "write the image ID file %s", p->o->iidfile);
	}
	if (r == 0 && p->o->metadata_file)
		r = write_metadata(p, out, e);
	if (r == 0 && p->output.kind == OUT_ARCHIVE)
		r = save(cli, p, id, e);
	for (size_t i = 0; r == 0 && p->output.push && p->tags[i]; i++)
		r = run_verb(cli, (char *const[]){(char *)"push", p->tags[i], NULL}, e);
	return r;
}
