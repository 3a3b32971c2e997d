/* SPDX-License-Identifier: Apache-2.0 */
/* Dockerfiles: form, places in errors, variables and words. */
#include "base/str.h"
#include "base/test.h"
#include "dockerfile/dockerfile.h"

static Dockerfile parse_ok(const char *text)
{
	Dockerfile d;
	Err e = {0};

	if (dockerfile_parse(text, strlen(text), "Dockerfile", &d, &e) < 0)
		fail_msg("%s", e.msg);
	return d;
}

static void assert_refused(const char *text, const char *message)
{
	Dockerfile d;
	Err e = {0};

	assert_true(dockerfile_parse(text, strlen(text), "Dockerfile", &d, &e) < 0);
	assert_non_null(strstr(e.msg, message));
	assert_int_equal(e.kind, ERR_INVALID);
}

static void test_continuations_and_comments(void **state _unused_)
{
	Dockerfile d = parse_ok("# syntax=docker/dockerfile:1\n\nfrom debian:bookworm AS base\n"
				"RUN apt-get update && \\\n  # not part of it\n\n  apt-get install git\n"
				"COPY --from=base --chown=1:2 a b/\n");

	assert_int_equal(d.n_steps, 3);
	assert_int_equal(d.steps[0].verb, DF_FROM);
	assert_int_equal(d.steps[0].line, 3);
	assert_string_equal(d.steps[0].text, "debian:bookworm AS base");
	assert_int_equal(d.steps[1].line, 4);
	assert_string_equal(d.steps[1].text, "apt-get update &&   apt-get install git");
	assert_string_equal(dockerfile_flag(&d.steps[2], "from"), "base");
	assert_string_equal(dockerfile_flag(&d.steps[2], "chown"), "1:2");
	assert_null(dockerfile_flag(&d.steps[2], "chmod"));
	assert_string_equal(d.steps[2].text, "a b/");
	dockerfile_done(&d);
}

static void test_escape_directive(void **state _unused_)
{
	Dockerfile d = parse_ok("# escape=`\nFROM x\nRUN a `\n b\\\n");

	assert_int_equal(d.n_steps, 2);
	assert_string_equal(d.steps[1].text, "a  b\\");
	dockerfile_done(&d);
}

static void test_heredoc(void **state _unused_)
{
	Dockerfile d = parse_ok("FROM x\nRUN <<EOF\necho one\necho two\nEOF\nUSER me\n");

	assert_int_equal(d.n_steps, 3);
	assert_string_equal(d.steps[1].heredocs[0].text, "echo one\necho two\n");
	assert_int_equal(d.steps[2].verb, DF_USER);
	dockerfile_done(&d);
}

static void test_errors_have_file_and_line(void **state _unused_)
{
	assert_refused("FROM x\n\nFRO y\n", "Dockerfile:3: unknown instruction: FRO (did you mean FROM?)");
	assert_refused("RUN x\n", "Dockerfile:1: no build stage");
	assert_refused("", "file with no instructions");
	assert_refused("FROM x\nENV\n", "Dockerfile:2: ENV requires");
	assert_refused("FROM x\nRUN <<EOF\nnever ends\n", "Dockerfile:2: unterminated heredoc");
	assert_refused("FROM x\n\nRUN a \\\n b\nCPOY a b\n",
		       "Dockerfile:5: unknown instruction: CPOY (did you mean COPY?)");
	assert_refused("ARG a\n", "there is no FROM");
	assert_refused("FROM x\nRUN \xff\n", "UTF-8");
}

static void test_exec_form(void **state _unused_)
{
	_cleanup_strv_ char **v = NULL, **none = NULL;

	assert_true(dockerfile_exec_form(" [\"a\", \"b c\"]", &v));
	assert_int_equal(strv_len(v), 2);
	assert_false(dockerfile_exec_form("[a]", &none));
	assert_false(dockerfile_exec_form("echo [\"a\"]", &none));
}

/* One step in one line: verb, [flags], {here-documents} and |arguments|. */
static void dump(StrBuf *b, const DockerfileStep *s)
{
	strbuf_add(b, dockerfile_verb_name(s->verb));
	for (size_t i = 0; s->flags && s->flags[i]; i++)
		strbuf_addf(b, " [%s]", s->flags[i]);
	if (s->json)
		strbuf_add(b, " json");
	for (size_t i = 0; i < s->n_args; i++)
		strbuf_addf(b, " |%s|", s->args[i]);
	for (size_t i = 0; i < s->n_heredocs; i++)
		strbuf_addf(b, " {%s%s %s}", s->heredocs[i].name, s->heredocs[i].expand ? "" : "!",
			    s->heredocs[i].text);
	assert_int_equal(strv_len(s->args), s->n_args);
}

static void assert_step(const char *text, const char *want)
{
	_cleanup_free_ char *file = strf("FROM x\n%s", text);
	_cleanup_strbuf_ StrBuf b = {0};
	Dockerfile d = parse_ok(file);

	assert_int_equal(d.n_steps, 2);
	dump(&b, &d.steps[1]);
	if (!streq(b.s, want))
		fail_msg("%s: is \"%s\", not \"%s\"", text, b.s, want);
	dockerfile_done(&d);
}

static void test_arguments(void **state _unused_)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
	    {"RUN  echo  a   b ", "RUN |echo  a   b|"},
	    {"run [\"a\", \"b c\"]", "RUN json |a| |b c|"},
	    {"RUN [ \"a\" , 'b' ]", "RUN |[ \"a\" , 'b' ]|"},
	    {"RUN [\"a\"] b", "RUN |[\"a\"] b|"},
	    {"CMD []", "CMD json"},
	    {"CMD '[\"a\"]'", "CMD |'[\"a\"]'|"},
	    {"ENTRYPOINT [\"\"]", "ENTRYPOINT json ||"},
	    {"COPY a \"b c\" d/", "COPY |a| |\"b| |c\"| |d/|"},
	    {"COPY [\"a b\", \"c\"]", "COPY json |a b| |c|"},
	    {"ADD\ta\v\tb", "ADD |a| |b|"},
	    {"VOLUME [\"/a b\", \"/c\"]", "VOLUME json |/a b| |/c|"},
	    {"VOLUME /a /b", "VOLUME |/a| |/b|"},
	    {"ENV a=1 b=\"2 3\" c='4 5' d=6\\ 7 e=",
	     "ENV |a| |1| |=| |b| |\"2 3\"| |=| |c| |'4 5'| |=| |d| |6\\ 7| |=| |e| || |=|"},
	    {"ENV a b=c  d", "ENV |a| |b=c  d| ||"},
	    {"ENV a \"b c\"", "ENV |a| |\"b c\"| ||"},
	    {"ENV a=b=c \\", "ENV |a| |b=c| |=|"},
	    {"LABEL \"a.b\"=c d='e\\'f", "LABEL |\"a.b\"| |c| |=| |d| |'e\\'f| |=|"},
	    {"ARG a b=1 c=\"2 3\"", "ARG |a| |b=1| |c=\"2 3\"|"},
	    {"EXPOSE 80 443/tcp $PORT", "EXPOSE |80| |443/tcp| |$PORT|"},
	    {"USER a b", "USER |a b|"},
	    {"WORKDIR /a b", "WORKDIR |/a b|"},
	    {"STOPSIGNAL SIGTERM", "STOPSIGNAL |SIGTERM|"},
	    {"MAINTAINER A B <a@b>", "MAINTAINER |A B <a@b>|"},
	    {"SHELL [\"/bin/sh\", \"-c\"]", "SHELL json |/bin/sh| |-c|"},
	    {"HEALTHCHECK NONE", "HEALTHCHECK |NONE|"},
	    {"HEALTHCHECK CMD  curl -f x", "HEALTHCHECK |CMD| |curl -f x|"},
	    {"HEALTHCHECK --retries=3 CMD [\"a\", \"b\"]", "HEALTHCHECK [retries=3] json |CMD| |a| |b|"},
	    {"ONBUILD COPY . /app", "ONBUILD |COPY . /app|"},
	    {"FROM a AS b", "FROM |a| |AS| |b|"},
	};

	for (size_t i = 0; i < ELEMENTSOF(rows); i++)
		assert_step(rows[i].text, rows[i].want);
}

static void test_continuation_rules(void **state _unused_)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
	    {"RUN something \\", "RUN |something|"},
	    {"RUN a\\\n  b\\\n c  \\\n d\\ \t\ne", "RUN |a  b c   de|"},
	    {"RUN a \\\n \\\n b \\\n\\\n c", "RUN |a   b  c|"},
	    {"RUN a \\\\\nUSER x", NULL},
	    {"RUN a \\\r\n b\r\n", "RUN |a  b|"},
	    {"RUN a \\\n# no\n\n  # no\n  b # yes", "RUN |a   b # yes|"},
	    {"\\\nRUN a", "RUN |a|"},
	    {"  RUN a", "RUN |a|"},
	    {"EN\\\nV a=b", "ENV |a| |b| |=|"},
	};

	for (size_t i = 0; i < ELEMENTSOF(rows); i++)
		if (rows[i].want)
			assert_step(rows[i].text, rows[i].want);
	Dockerfile d = parse_ok("FROM x\nRUN a \\\\\nUSER x\nRUN a \\\n\n b\nRUN c \\\n # x\n d\n");

	assert_string_equal(d.steps[1].text, "a \\\\");
	assert_true(d.steps[3].empty_continuation);
	assert_int_equal(d.steps[3].joined_line, 6);
	assert_false(d.steps[4].empty_continuation);
	dockerfile_done(&d);
}

static void test_flags(void **state _unused_)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
	    {"COPY --from=a --link a b", "COPY [from=a] [link=true] |a| |b|"},
	    {"COPY --link=FALSE --parents=True a b", "COPY [link=false] [parents=true] |a| |b|"},
	    {"COPY --exclude=a --exclude=b a b", "COPY [exclude=a] [exclude=b] |a| |b|"},
	    {"COPY --chown=\"a b\":c --chmod='0 7'\\ 5 -- --x b",
	     "COPY [chown=a b:c] [chmod=0 7 5] |--x| |b|"},
	    {"COPY -- a b", "COPY |a| |b|"},
	    {"COPY -x b", "COPY |-x| |b|"},
	    {"COPY --from=\xe7\xa7\x81 a b", "COPY [from=\xe7\xa7\x81] |a| |b|"},
	    {"ADD --keep-git-dir --checksum=sha256:0 --unpack=false a b",
	     "ADD [keep-git-dir=true] [checksum=sha256:0] [unpack=false] |a| |b|"},
	    {"RUN --mount=type=cache,target=/x --mount=type=tmpfs,target=/y --network=none "
	     "--security=sandbox --device=a b",
	     "RUN [mount=type=cache,target=/x] [mount=type=tmpfs,target=/y] [network=none] "
	     "[security=sandbox] [device=a] |b|"},
	    {"RUN a --b", "RUN |a --b|"},
	    {"FROM --platform=$BUILDPLATFORM a", "FROM [platform=$BUILDPLATFORM] |a|"},
	    {"CMD -- --x", "CMD |--x|"},
	};

	for (size_t i = 0; i < ELEMENTSOF(rows); i++)
		assert_step(rows[i].text, rows[i].want);
	Dockerfile d = parse_ok("FROM x\nRUN --mount=target=/a --mount=target=/b x\nCOPY --link=false a b\n");
	size_t at = 0;

	assert_string_equal(dockerfile_flag_next(&d.steps[1], "mount", &at), "target=/a");
	assert_string_equal(dockerfile_flag_next(&d.steps[1], "mount", &at), "target=/b");
	assert_null(dockerfile_flag_next(&d.steps[1], "mount", &at));
	assert_false(dockerfile_flag_true(&d.steps[2], "link"));
	dockerfile_done(&d);
}

static void test_refusals(void **state _unused_)
{
	static const struct {
		const char *text, *message;
	} rows[] = {
	    {"COPY --form=a a b", "unknown flag: --form (did you mean from?)"},
	    {"COPY --user=a a b", "unknown flag: --user"},
	    {"ADD --from=a a b", "unknown flag: --from"},
	    {"CMD --doit a", "unknown flag: --doit"},
	    {"ENV --x a=b", "unknown flag: --x"},
	    {"COPY --from a b", "missing a value on flag: --from"},
	    {"COPY --link= a b", "missing a value on flag: --link"},
	    {"COPY --link=yes a b", "expecting boolean value for flag --link, not: yes"},
	    {"COPY --from=a --from=b a b", "duplicate flag specified: --from"},
	    {"RUN --network=bridge a", "invalid network mode \"bridge\""},
	    {"RUN --security=none a", "security \"none\" is not valid"},
	    {"RUN --mount=type=bnd,target=/x a", "unsupported mount type \"bnd\" (did you mean bind?)"},
	    {"RUN --mount=from=$x,target=/x a", "'from' doesn't support variable expansion"},
	    {"EXPOSE", "EXPOSE requires at least one argument"},
	    {"RUN [1]", "when using JSON array syntax, arrays must be comprised of strings only"},
	    {"COPY [[\"a\"], \"b\"]", "arrays must be comprised of strings only"},
	    {"CMD [\"a\", \"b\\u0000c\"]", "argument 2 of CMD has a NUL character in it"},
	    {"COPY a", "COPY requires at least two arguments, but only one was provided. Destination could "
		       "not be determined"},
	    {"COPY /foo <<EOF\nEOF", "COPY cannot accept a heredoc as a destination"},
	    {"ENV a", "ENV must have two arguments"},
	    {"ENV a=1 b", "Syntax error - can't find = in \"b\". Must be of the form: name=value"},
	    {"ENV =a", "ENV names can not be blank"},
	    {"LABEL", "LABEL requires at least one argument"},
	    {"ARG =a", "ARG names can not be blank"},
	    {"ARG", "ARG requires at least one argument"},
	    {"FROM a b", "FROM requires either one or three arguments"},
	    {"FROM a AS 1b",
	     "invalid name for build stage: \"1b\", name can't start with a number or contain symbols"},
	    {"FROM a AS b/c", "invalid name for build stage"},
	    {"USER", "USER requires exactly one argument"},
	    {"WORKDIR", "WORKDIR requires exactly one argument"},
	    {"STOPSIGNAL", "STOPSIGNAL requires exactly one argument"},
	    {"VOLUME []", "VOLUME requires at least one argument"},
	    {"VOLUME [\" \"]", "VOLUME specified can not be an empty string"},
	    {"SHELL bash", "SHELL requires the arguments to be in JSON form"},
	    {"SHELL []", "SHELL requires at least one argument"},
	    {"HEALTHCHECK", "HEALTHCHECK requires at least one argument"},
	    {"HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"},
	    {"HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"},
	    {"HEALTHCHECK TCP 1", "Unknown type \"TCP\" in HEALTHCHECK (try CMD)"},
	    {"ONBUILD", "ONBUILD requires at least one argument"},
	    {"ONBUILD onbuild RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"},
	    {"ONBUILD from x", "FROM isn't allowed as an ONBUILD trigger"},
	    {"ONBUILD MAINTAINER x", "MAINTAINER isn't allowed as an ONBUILD trigger"},
	};

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		_cleanup_free_ char *file = strf("FROM x\n%s\n", rows[i].text);

		assert_refused(file, rows[i].message);
	}
}

static void test_directives(void **state _unused_)
{
	Dockerfile d =
	    parse_ok("\xef\xbb\xbf# Escape = `\n#syntax=a/b:1 -x\n  # check=skip=all;error=true  \nFROM x\n");

	assert_int_equal(d.escape, '`');
	assert_string_equal(d.syntax, "a/b:1 -x");
	assert_int_equal(d.syntax_line, 2);
	assert_null(d.check);
	dockerfile_done(&d);
	d = parse_ok("# check=skip=A;error=true  \nFROM x\n");
	assert_string_equal(d.check, "skip=A;error=true");
	dockerfile_done(&d);

	static const char *const none[] = {"\n# escape=`\nFROM x\n", "# comment\n# escape=`\nFROM x\n",
					   "# unknown=x\n# escape=`\nFROM x\n", "FROM x\n# escape=`\n",
					   "# escape =\n# escape=`\nFROM x\n"};
	for (size_t i = 0; i < ELEMENTSOF(none); i++) {
		d = parse_ok(none[i]);
		assert_int_equal(d.escape, '\\');
		dockerfile_done(&d);
	}
	assert_refused("# escape=`\n# ESCAPE=\\\nFROM x\n",
		       "Dockerfile:2: only one escape parser directive can be used");
	assert_refused("# escape=a\nFROM x\n",
		       "Dockerfile:1: invalid escape token 'a' does not match ` or \\");
}

static void assert_syntax(const char *text, const char *want, int line)
{
	_cleanup_free_ char *got = NULL;
	int at = 0, r = dockerfile_syntax(text, strlen(text), &got, &at, NULL);

	assert_int_equal(r, want != NULL);
	if (want) {
		assert_string_equal(got, want);
		assert_int_equal(at, line);
	}
}

static void test_syntax(void **state _unused_)
{
	assert_syntax("# syntax=a/b:1\nFROM x\n", "a/b:1", 1);
	assert_syntax("#!/bin/x\n# escape=`\n# syntax = a/b:1 --opt\n", "a/b:1", 3);
	assert_syntax("// syntax=a/b\nwhatever", "a/b", 1);
	assert_syntax("\xef\xbb\xbf{\"syntax\": \"a/b\", \"x\": 1}", "a/b", 1);
	assert_syntax("{\"syntax\": 1}", NULL, 0);
	assert_syntax("FROM x\n# syntax=a/b\n", NULL, 0);
	assert_syntax("", NULL, 0);
}

static void test_heredocs(void **state _unused_)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
	    {"RUN <<EOF\nEOF", "RUN |<<EOF| {EOF }"},
	    {"RUN 3<<E\nx\nE\n", "RUN |3<<E| {E x\n}"},
	    {"RUN \"<<EOF\"", "RUN |\"<<EOF\"|"},
	    {"RUN echo '<<EOF'", "RUN |echo '<<EOF'|"},
	    {"RUN <<EOF\n\ta\n\tEOF\nEOF", "RUN |<<EOF| {EOF \ta\n\tEOF\n}"},
	    {"RUN <<-EOF\n\t\ta\n\tEOF", "RUN |<<-EOF| {EOF a\n}"},
	    {"RUN <<-'EOF'\n\t$a\nEOF", "RUN |<<-'EOF'| {EOF! $a\n}"},
	    {"RUN <<EOF\n# c\n\na \\\nEOF", "RUN |<<EOF| {EOF # c\n\na \\\n}"},
	    {"RUN --mount=type=cache,target=/x <<M\na\nM", "RUN [mount=type=cache,target=/x] |<<M| {M a\n}"},
	    {"COPY <<A <<B /d/\nB\nA\nA\nB\n", "COPY |<<A| |<<B| |/d/| {A B\n} {B A\n}"},
	    {"COPY <<f.txt a /d/\nx\nf.txt", "COPY |<<f.txt| |a| |/d/| {f.txt x\n}"},
	    {"ADD <<\"a\" /d\nx\na", "ADD |<<\"a\"| |/d| {a! x\n}"},
	    {"RUN <<E python3\nx\nE", "RUN |<<E python3| {E x\n}"},
	    {"RUN cat <<E >x\ny\nE", "RUN |cat <<E >x| {E y\n}"},
	    {"RUN <<e'f'\nx\nef", "RUN |<<e'f'| {ef! x\n}"},
	    {"RUN <<e\\'f\nx\ne'f", "RUN |<<e\\'f| {e'f x\n}"},
	    {"RUN <<'a b'\nx\na b", "RUN |<<'a b'| {a b! x\n}"},
	    {"RUN <<$E\n$E", "RUN |<<$E| {$E }"},
	    {"RUN <<  E\nE", "RUN |<<  E| {E }"},
	    {"RUN a <<<b", "RUN |a <<<b|"},
	    {"RUN a << b", NULL},
	    {"RUN [\"a\", \"<<b\"]", "RUN json |a| |<<b|"},
	    {"USER <<E", "USER |<<E|"},
	    {"RUN it's <<E", "RUN |it's <<E|"},
	    {"RUN <<E\r\na\r\nE\r\n", "RUN |<<E| {E a\r\n}"},
	    {"RUN a \\\n <<E\nx\nE", "RUN |a  <<E| {E x\n}"},
	};

	for (size_t i = 0; i < ELEMENTSOF(rows); i++)
		if (rows[i].want)
			assert_step(rows[i].text, rows[i].want);
	assert_refused("FROM x\nRUN a << b\n", "unterminated heredoc: no line \"b\" ends it");
}

/* The trigger with its here-documents is parsed again when it is run. */
static void test_heredoc_of_a_trigger(void **state _unused_)
{
	Dockerfile d = parse_ok("FROM x\nONBUILD RUN <<-A cat <<'B'\n\ta\n\tA\nb\nB\nUSER y\n"), one;

	assert_int_equal(d.n_steps, 3);
	assert_string_equal(d.steps[1].text, "RUN <<-A cat <<'B'\na\nA\nb\nB");
	assert_int_equal(d.steps[1].last_line, 6);
	assert_int_equal(dockerfile_parse_step(d.steps[1].text, &one, NULL), 0);
	assert_int_equal(one.steps[0].n_heredocs, 2);
	assert_string_equal(one.steps[0].heredocs[1].text, "b\n");
	dockerfile_done(&one);
	dockerfile_done(&d);
	assert_true(dockerfile_parse_step("FROM x", &one, NULL) < 0);
	assert_true(dockerfile_parse_step("RUN a\nRUN b", &one, NULL) < 0);
}

static void test_comments_of_a_step(void **state _unused_)
{
	Dockerfile d = parse_ok("# syntax=x\n# gone\n#\n# base of it\n\n# is Debian\nFROM x\nUSER y\n");

	assert_string_equal(d.steps[0].comments, "base of it\nis Debian\n");
	assert_null(d.steps[1].comments);
	dockerfile_done(&d);
}

static void assert_place(const char *text, int first, int last, int line, int column)
{
	DockerfilePlace p = {0};
	Dockerfile d;

	assert_true(dockerfile_parse_at(text, strlen(text), "f", &d, &p, NULL) < 0);
	assert_int_equal(p.first, first);
	assert_int_equal(p.last, last);
	assert_int_equal(p.line, line);
	assert_int_equal(p.column, column);
}

static void test_places(void **state _unused_)
{
	assert_place("FROM x\n\n  FRO y\n", 3, 3, 3, 3);
	assert_place("FROM x\nRUN --mount=type=cache,target=/a \\\n  --mont=x \\\n  y\n", 2, 4, 3, 3);
	assert_place("FROM x\nFROM y AS 1z\n", 2, 2, 2, 11);
	assert_place("FROM x\nRUN <<E\n", 2, 2, 2, 1);
	assert_place("# escape=`\n# escape=`\nFROM x", 2, 2, 2, 1);
	assert_place("", 0, 0, 0, 0);
	assert_place("USER x\nFROM y\n", 1, 1, 1, 1);
}

static void assert_excerpt(const char *text, DockerfilePlace place, const char *note, const char *want)
{
	_cleanup_free_ char *got = dockerfile_excerpt(text, strlen(text), "Dockerfile", &place, note);

	assert_string_equal(got, want);
}

static void test_excerpts(void **state _unused_)
{
	static const char rule[] = "--------------------\n";
	static const char text[] = "FROM a\nRUN b\nFRO c\nRUN d\nRUN e\nRUN f\n";
	_cleanup_free_ char *one =
	    strf("Dockerfile:3\n%s   1 |     FROM a\n   2 |     RUN b\n   3 | >>> FRO c\n   4 |     RUN d\n"
		 "   5 |     RUN e\n%s",
		 rule, rule);
	_cleanup_free_ char *two =
	    strf("Dockerfile:1\n%s   1 | >>> FROM a\n   2 | >>> RUN b\n   3 |     FRO c\n%s", rule, rule);
	_cleanup_free_ char *note = strf(
	    "Dockerfile:2\n%s   1 |     A\n   2 | >>> \xe7\xa7\x81 B\n     |        ^ here\n   3 |     \n%s",
	    rule, rule);

	assert_excerpt(text, (DockerfilePlace){3, 3, 0, 0}, NULL, one);
	assert_excerpt(text, (DockerfilePlace){1, 2, 0, 0}, NULL, two);
	assert_excerpt("A\n\xe7\xa7\x81 B\n", (DockerfilePlace){2, 2, 2, 3}, "here", note);
	assert_null(dockerfile_excerpt(text, strlen(text), "f", &(DockerfilePlace){9, 9, 0, 0}, NULL));
	assert_null(dockerfile_excerpt(text, strlen(text), "f", &(DockerfilePlace){0}, NULL));
}

/* More than it may be of anything is refused, soon. */
static void test_limits(void **state _unused_)
{
	_cleanup_strbuf_ StrBuf steps = {0}, args = {0}, docs = {0}, comments = {0};
	Dockerfile d;

	strbuf_add(&steps, "FROM x\n");
	for (int i = 0; i < DOCKERFILE_STEPS_MAX; i++)
		strbuf_add(&steps, "RUN x\n");
	assert_refused(steps.s, "more than 10000 instructions");
	strbuf_add(&args, "FROM x\nCOPY");
	for (int i = 0; i < DOCKERFILE_ARGS_MAX + 1; i++)
		strbuf_add(&args, " x");
	assert_refused(args.s, "COPY has more than 10000 arguments");
	strbuf_add(&docs, "FROM x\nRUN");
	for (int i = 0; i < 1001; i++)
		strbuf_add(&docs, " <<E");
	assert_refused(docs.s, "more than 1000 here-documents");
	for (int i = 0; i < 200000; i++)
		strbuf_add(&comments, "# c\n");
	strbuf_add(&comments, "FROM x\n");
	assert_int_equal(dockerfile_parse(comments.s, comments.len, "f", &d, NULL), 0);
	dockerfile_done(&d);
	while (comments.len <= DOCKERFILE_MAX)
		strbuf_add(&comments, "# c\n");
	assert_refused(comments.s, "larger than 1048576 bytes");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_continuations_and_comments),
	    cmocka_unit_test(test_escape_directive),
	    cmocka_unit_test(test_heredoc),
	    cmocka_unit_test(test_errors_have_file_and_line),
	    cmocka_unit_test(test_exec_form),
	    cmocka_unit_test(test_arguments),
	    cmocka_unit_test(test_continuation_rules),
	    cmocka_unit_test(test_flags),
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_directives),
	    cmocka_unit_test(test_syntax),
	    cmocka_unit_test(test_heredocs),
	    cmocka_unit_test(test_heredoc_of_a_trigger),
	    cmocka_unit_test(test_comments_of_a_step),
	    cmocka_unit_test(test_places),
	    cmocka_unit_test(test_excerpts),
	    cmocka_unit_test(test_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
