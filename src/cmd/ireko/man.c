/* SPDX-License-Identifier: Apache-2.0 */
/*
 * __man DIRECTORY: the pages of section 1 from the tables of verbs and flags, made when ireko is built. A command that is
 * typed in several ways has one page; the others refer to it.
 */
#include "base/fd.h"
#include "base/str.h"
#include "options.h"
#include "verbs.h"

#include <fcntl.h>

/* Text as roff wants it. */
static void add_text(StrBuf *b, const char *s)
{
	if (*s == '.' || *s == '\'')
		strbuf_add(b, "\\&");
	for (; *s; s++) {
		if (*s == '\\')
			strbuf_add(b, "\\e");
		else if (*s == '-')
			strbuf_add(b, "\\-");
		else
			strbuf_add_c(b, *s);
	}
}

static void add_head(StrBuf *b, const char *title, const char *summary)
{
	strbuf_add(b, ".\\\" Made from the tables of src/cmd/ireko.\n.TH \"");
	for (const char *p = title; *p; p++)
		strbuf_add_c(b, (char)(*p >= 'a' && *p <= 'z' ? *p - 32 : *p));
	strbuf_add(b, "\" 1 \"\" \"ireko " IREKO_VERSION "\" \"User Commands\"\n.SH NAME\n");
	add_text(b, title);
	strbuf_add(b, " \\- ");
	add_text(b, summary);
	strbuf_add(b, "\n");
}

static void add_flags(StrBuf *b, const Flag *flags, const char *heading)
{
	strbuf_addf(b, ".SH %s\n", heading);
	for (const Flag *f = flags; f && f->name; f++) {
		if (!f->help)
			continue;
		strbuf_add(b, ".TP\n");
		if (f->letter)
			strbuf_addf(b, "\\fB\\-%c\\fR, ", f->letter);
		strbuf_add(b, "\\fB\\-\\-");
		add_text(b, f->name);
		strbuf_add(b, "\\fR");
		if (*options_value_name(f)) {
			strbuf_add(b, " \\fI");
			add_text(b, options_value_name(f));
			strbuf_add(b, "\\fR");
		}
		strbuf_add_c(b, '\n');
		add_text(b, f->help);
		strbuf_add_c(b, '\n');
	}
}

static int write_page(int dir, const char *name, StrBuf *b, Err *e)
{
	_cleanup_free_ char *file = strf("%s.1", name), *text = strbuf_steal(b);

	if (!file || !text)
		return err_oom(e);
	int r = file_replace_at(dir, file, text, strlen(text), 0644, false);
	return r < 0 ? err_sys(e, r, "write %s", file) : 0;
}

/* The group and the name under which the page of a command is. */
static const Verb *find_page(const Command *c, const char **ret_group)
{
	*ret_group = "";
	for (const Verb *v = verbs; v->name; v++)
		if (v->command == c)
			return v;
	for (const VerbGroup *g = verb_groups; g->name; g++)
		for (const Verb *v = g->verbs; v->name; v++)
			if (v->command == c) {
				*ret_group = g->name;
				return v;
			}
	return NULL;
}

static void add_see_also(StrBuf *b, const char *group)
{
	strbuf_add(b, ".SH SEE ALSO\n.BR ireko (1)");
	if (*group)
		strbuf_addf(b, ",\n.BR ireko\\-%s (1)", group);
	strbuf_add(b, "\n");
}

static int write_verb(int dir, const char *group, const Verb *v, Err *e)
{
	const Command *c = v->command;
	const char *page_group;
	const Verb *page = find_page(c, &page_group);
	_cleanup_free_ char *title = strf("ireko-%s%s%s", group, *group ? "-" : "", v->name);
	_cleanup_strbuf_ StrBuf b = {0};

	if (!title || !page)
		return err_oom(e);
	if (!streq(page->name, v->name) || !streq(page_group, group)) {
		strbuf_addf(&b, ".so man1/ireko-%s%s%s.1\n", page_group, *page_group ? "-" : "", page->name);
		return write_page(dir, title, &b, e);
	}
	add_head(&b, title, c->summary);
	strbuf_addf(&b, ".SH SYNOPSIS\n.B ireko%s%s %s\n", *group ? " " : "", group, v->name);
	add_text(&b, c->usage);
	strbuf_add_c(&b, '\n');
	if (c->flags)
		add_flags(&b, c->flags, "OPTIONS");
	add_see_also(&b, group);
	return write_page(dir, title, &b, e);
}

static void add_list(StrBuf *b, const char *name, const char *summary)
{
	strbuf_add(b, ".TP\n\\fB");
	add_text(b, name);
	strbuf_add(b, "\\fR\n");
	add_text(b, summary);
	strbuf_add_c(b, '\n');
}

static int write_group(int dir, const VerbGroup *g, Err *e)
{
	_cleanup_free_ char *title = strf("ireko-%s", g->name);
	_cleanup_strbuf_ StrBuf b = {0};
	int r = 0;

	if (!title)
		return err_oom(e);
	add_head(&b, title, g->summary);
	strbuf_addf(&b, ".SH SYNOPSIS\n.B ireko %s\nCOMMAND\n.SH COMMANDS\n", g->name);
	for (const Verb *v = g->verbs; v->name; v++)
		if (!v->alias)
			add_list(&b, v->name, v->command->summary);
	add_see_also(&b, "");
	r = write_page(dir, title, &b, e);
	for (const Verb *v = g->verbs; r == 0 && v->name; v++)
		r = write_verb(dir, g->name, v, e);
	return r;
}

static int write_top(int dir, Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0};

	add_head(&b, "ireko", "containers, images, networks and volumes of an engine");
	strbuf_add(
	    &b,
	    ".SH SYNOPSIS\n.B ireko\n[OPTIONS] COMMAND\n.SH DESCRIPTION\n"
	    "The command line of the container engine irekod, and of any other that speaks the Docker Engine "
	    "API. Verbs, flags, columns and exit statuses are docker\\(aqs. Called by the name docker, it "
	    "answers "
	    "as docker does. Each command has a page of its own: ireko\\-run(1), ireko\\-container\\-ls(1).\n"
	    ".SH MANAGEMENT COMMANDS\n");
	for (const VerbGroup *g = verb_groups; g->name; g++)
		add_list(&b, g->name, g->summary);
	strbuf_add(&b, ".SH COMMANDS\n");
	for (const Verb *v = verbs; v->name; v++)
		if (!v->alias)
			add_list(&b, v->name, v->command->summary);
	add_flags(&b, global_flags, "GLOBAL OPTIONS");
	strbuf_add(
	    &b,
	    ".SH ENVIRONMENT\n"
	    ".TP\n\\fBDOCKER_HOST\\fR\nThe engine to talk to, as with \\fB\\-\\-host\\fR\n"
	    ".TP\n\\fBDOCKER_CONTEXT\\fR\nThe context to use, as with \\fB\\-\\-context\\fR\n"
	    ".TP\n\\fBDOCKER_CONFIG\\fR\nThe folder of the client\\(aqs configuration, as with "
	    "\\fB\\-\\-config\\fR\n"
	    ".TP\n\\fBDOCKER_TLS_VERIFY\\fR, \\fBDOCKER_CERT_PATH\\fR\nTLS, and the folder of ca.pem, "
	    "cert.pem and key.pem\n"
	    ".TP\n\\fBDOCKER_API_VERSION\\fR\nThe version of the API to speak, instead of the engine\\(aqs\n"
	    ".SH EXIT STATUS\n0 on success, 1 when a command fails, 125 for wrong options. \\fBrun\\fR and "
	    "\\fBexec\\fR "
	    "give the command\\(aqs own status, 125 when the engine failed, 126 when the command cannot be "
	    "run and 127 "
	    "when it cannot be found.\n"
	    ".SH FILES\n.TP\n\\fB~/.docker/config.json\\fR\nDocker\\(aqs client configuration: formats of "
	    "lists, detach "
	    "keys, proxies, headers, credential helpers, the context in use\n");
	return write_page(dir, "ireko", &b, e);
}

static int run_man(Call *call, Err *e)
{
	_cleanup_close_ int dir = -1;
	int r = mkdir_parents_at(AT_FDCWD, call->args[0], 0755);

	if (r < 0)
		return err_sys(e, r, "make the folder %s", call->args[0]);
	dir = open(call->args[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_sys(e, errno, "open the folder %s", call->args[0]);
	r = write_top(dir, e);
	for (const VerbGroup *g = verb_groups; r == 0 && g->name; g++)
		r = write_group(dir, g, e);
	for (const Verb *v = verbs; r == 0 && v->name; v++)
		if (!v->alias)
			r = write_verb(dir, "", v, e);
	return r;
}

const Command cmd_man = {.usage = "DIRECTORY",
			 .summary = "Write the manual pages of section 1",
			 .min = 1,
			 .max = 1,
			 .run = run_man};
