/* SPDX-License-Identifier: Apache-2.0 */
#include "template.h"
#include "base/test.h"

static const char document[] =
    "{\"Id\": \"abc\", \"Name\": \"/web\", \"Config\": {\"Env\": [\"A=1\", \"B=2\"], \"Labels\": {\"x.y\": "
    "\"z\", \"a\": \"<b>\"},"
    " \"Tty\": false, \"Cmd\": null}, \"State\": {\"Pid\": 42, \"Running\": true, \"Health\": null, "
    "\"Load\": 1.5, \"Zero\": 0},"
    " \"Mounts\": [{\"Source\": \"/s\", \"Destination\": \"/d\"}, {\"Source\": \"/t\", \"Destination\": "
    "\"/e\"}],"
    " \"Ports\": {\"80/tcp\": [{\"HostPort\": \"8080\"}], \"443/tcp\": null}, \"Empty\": [], \"DNS\": \"x\","
    " \"Esc\": \"a\\u001b[31mb\\nc\", \"\\u0001labels\": {\"k\": \"v\"}}";

/* The output, or the error message. */
static char *run(const char *text, TemplateFlags flags)
{
	_cleanup_template_ Template *t = NULL;
	_cleanup_json_ json_t *doc = json_loads(document, 0, NULL);
	_cleanup_strbuf_ StrBuf out = {0};
	Err e = {0};

	assert_non_null(doc);
	if (template_parse(text, &t, &e) < 0 || template_execute(t, doc, flags, &out, &e) < 0)
		return strdup(e.msg);
	return strbuf_steal(&out);
}

static void expect(const char *text, const char *want)
{
	_cleanup_free_ char *got = run(text, TEMPLATE_STRICT);

	assert_string_equal(got, want);
}

static void text_and_fields(void **state)
{
	expect("plain", "plain");
	expect("", "");
	expect("{{.Id}} is {{ .Name }}!", "abc is /web!");
	expect("{{.State.Pid}}{{.State.Running}}{{.State.Load}}", "42true1.5");
	expect("{{.Config.Env}}", "[A=1 B=2]");
	expect("{{.Config.Labels}}", "map[a:<b> x.y:z]");
	expect("{{$.Id}}{{(.State).Pid}}", "abc42");
	expect("a {{- .Id -}} b", "aabcb");
	expect("a {{/* note */}}b{{- /* note */ -}} c", "a bc");
	expect("{{\"a\\t\\\"\\x41\\u00e9\"}}{{`raw\\n`}}{{1}}{{-2}}{{0x10}}{{1.25}}{{true}}",
	       "a\t\"A\xc3\xa9raw\\n1-2161.25true");
	expect("{{.Id}}\n", "abc\n");
}

static void verbs_of_printf(void **state)
{
	expect("{{printf \"%d %x %X %05d %+d %o %b %c %U %t %v %5.2f %e %g %T\" 42 255 255 42 42 8 5 65 65 "
	       "true \"v\" 1.5 1.5 1.5 "
	       "\"s\"}}",
	       "42 ff FF 00042 +42 10 101 A U+0041 true v  1.50 1.500000e+00 1.5 string");
	expect("{{printf \"%x|%-5s|%5s|%q\" \"az\" \"b\" \"c\" \"d\"}}", "617a|b    |    c|\"d\"");
	expect("{{html \"<a b='c'>&\"}} {{js \"a'b<\"}} {{urlquery \"a b&c/\"}}",
	       "&lt;a b=&#39;c&#39;&gt;&amp; a\\'b\\u003C a+b%26c%2F");
	expect("{{split \"abc\" \"\"}}{{pad \"\" 2 2}}|{{pad \"x\" 1 2}}|", "[a b c]| x  |");
}

/* As docker's client, which knows the members of the documents. */
static void inspected(const char *text, const char *want)
{
	_cleanup_free_ char *got = run(text, TEMPLATE_STRICT | TEMPLATE_INSPECT);

	assert_string_equal(got, want);
}

static void inspected_documents(void **state)
{
	inspected("{{.Nope}}", "template parsing error: map has no entry for key \"Nope\"");
	inspected("{{.State.Nope}}", "template parsing error: map has no entry for key \"Nope\"");
	inspected(
	    "{{.Config.Cmd}}{{.Config.Entrypoint}}{{.Config.ExposedPorts}}{{.State.Health}}|{{.SizeRw}}",
	    "[][]map[]<nil>|<nil>");
	inspected("{{json .Config.Cmd}}{{json .SizeRw}}", "nullnull");
	inspected("{{.Config.Labels.Nope}}{{.Config.Labels.nope}}", "<no value><no value>");
	inspected("{{if .State.Health}}h{{else}}none{{end}}", "none");
}

static void rows_in_json(void **state)
{
	_cleanup_free_ char *row = run("{{json .Config.Labels}}", TEMPLATE_SORT_KEYS),
			    *plain = run("{{json .Config.Labels}}", 0);

	assert_string_equal(row, "{\"a\":\"\\u003cb\\u003e\",\"x.y\":\"z\"}");
	assert_string_equal(plain, "{\"x.y\":\"z\",\"a\":\"<b>\"}");
}

static void case_of_go_names(void **state)
{
	expect("{{.ID}}{{.Dns}}{{.State.PID}}", "abcx42");
	expect("{{.Config.Labels.A}}", "<b>");
	expect("{{.Config.Labels.nothing}}", "<no value>");
}

static void missing_values(void **state)
{
	expect("{{.Config.Cmd}} {{.State.Nothing}} {{.Config.Labels.none}} {{index .Ports \"1\"}}",
	       "<nil> <nil> <no value> <no value>");
	expect("{{if .State.Health}}y{{else}}n{{end}}", "n");
	expect("{{.Nothing}}", "template error: there is no field \"Nothing\"");
	expect("{{.State.Health.Status}}", "template error: there is no value to look up \"Status\"");
	expect("{{.Id.Foo}}", "template error: the value is no object and has no field \"Foo\"");
	_cleanup_free_ char *lenient = run("{{.nothing}}", 0);
	assert_string_equal(lenient, "<no value>");
}

static void functions(void **state)
{
	expect("{{json .Config.Env}}", "[\"A=1\",\"B=2\"]");
	expect("{{.Config.Labels | json}}", "{\"x.y\":\"z\",\"a\":\"<b>\"}");
	expect("{{json .State.Nothing}}", "null");
	expect("{{join .Config.Env \", \"}}", "A=1, B=2");
	expect("{{upper .Id}}{{lower \"ABC\"}}{{title \"ab cd\"}}", "ABCabcAb Cd");
	expect("{{len .Mounts}}{{len .Id}}{{len .Empty}}", "230");
	expect("{{index .Config.Labels \"x.y\"}}{{index .Config.Env 1}}{{index .Config.Labels \"no\"}}",
	       "zB=2");
	expect("{{(index (index .Ports \"80/tcp\") 0).HostPort}}", "8080");
	expect("{{index .Ports \"80/tcp\" 0}}", "map[HostPort:8080]");
	expect("{{index (split .Name \"/\") 1}}", "web");
	expect("{{truncate .Id 2}}{{pad .Id 1 2}}|", "ab abc  |");
	expect("{{println .Id .State.Pid}}{{print 1 2 .Id}}", "abc 42\n1 2abc");
	expect("{{printf \"%5s|%-5d|%q|%x|%%|%.2f\" .Id .State.Pid .Id 255 .State.Load}}",
	       "  abc|42   |\"abc\"|ff|%|1.50");
	expect("{{slice .Id 1}}{{slice .Id 0 1}}{{slice .Config.Env 1}}", "bca[B=2]");
	expect("{{.Label \"k\"}}{{.Label \"no\"}}|", "v|");
}

static void logic(void **state)
{
	expect(
	    "{{if eq .Id \"abc\"}}1{{end}}{{if ne .Id \"abc\"}}2{{end}}{{if eq .Id \"x\" \"abc\"}}3{{end}}",
	    "13");
	expect("{{if and .State.Running (gt .State.Pid 41)}}yes{{end}}", "yes");
	expect("{{or .State.Nothing \"default\"}}{{and .Id .Name}}{{not .Empty}}", "default/webtrue");
	expect("{{lt 1 2}}{{le 2 2}}{{ge 1 2}}{{lt \"a\" \"b\"}}", "truetruefalsetrue");
	expect("{{if .Config.Tty}}a{{else if .State.Zero}}b{{else}}c{{end}}", "c");
	expect("{{with .State}}{{.Pid}}{{end}}{{with .Config.Cmd}}x{{else}}none{{end}}", "42none");
	expect("{{eq .State.Pid 42.0}}", "true");
	/* The second argument would fail if it were evaluated. */
	expect("{{and false .State.Health.Status}}{{or true .State.Health.Status}}", "falsetrue");
}

static void loops(void **state)
{
	expect("{{range .Mounts}}{{.Source}}:{{.Destination}} {{end}}", "/s:/d /t:/e ");
	expect("{{range $i, $m := .Mounts}}{{$i}}={{$m.Source}};{{end}}", "0=/s;1=/t;");
	expect("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}", "a=<b>;x.y=z;");
	expect("{{range .Empty}}x{{else}}empty{{end}}{{range .Config.Cmd}}x{{end}}", "empty");
	expect("{{range $p, $b := .Ports}}{{$p}} {{range $b}}{{.HostPort}}{{end}};{{end}}",
	       "443/tcp ;80/tcp 8080;");
	expect("{{range .Config.Env}}{{if eq . \"B=2\"}}{{continue}}{{end}}{{.}}{{end}}", "A=1");
	expect("{{range .Config.Env}}{{.}}{{break}}{{end}}", "A=1");
	expect("{{$n := 1}}{{range .Mounts}}{{$n = len $.Id}}{{end}}{{$n}}", "3");
	expect("{{range .}}x{{end}}", "xxxxxxxxx");
}

static void mistakes(void **state)
{
	static const char *const bad[] = {
	    "{{",
	    "{{.Id",
	    "{{.Id}",
	    "{{if}}x{{end}}",
	    "{{if .Id}}",
	    "{{end}}",
	    "{{else}}",
	    "{{range .Mounts}}{{else}}{{else}}{{end}}",
	    "{{nosuch .Id}}",
	    "{{.Id | }}",
	    "{{(.Id}}",
	    "{{\"open}}",
	    "{{1x}}",
	    "{{.Id .Name}}",
	    "{{$x}}",
	    "{{join .Id}}",
	    "{{index .Mounts 7}}",
	    "{{/* open",
	    "{{\"\\q\"}}",
	    "{{.Id}}{{break",
	    "{{lt 1 \"a\"}}",
	    "{{\"a\"\"b\"}}",
	    "{{range 5}}{{end}}",
	    "{{printf \"%d\"}}",
	    "{{$x = 1}}",
	};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		_cleanup_free_ char *got = run(bad[i], TEMPLATE_STRICT);

		if (!str_starts(got, "template "))
			fail_msg("%s gives %s", bad[i], got);
	}
}

static void nesting_is_bounded(void **state)
{
	_cleanup_strbuf_ StrBuf parens = {0}, blocks = {0};

	for (int i = 0; i < 5000; i++) {
		strbuf_add(&parens, i ? "(" : "{{(");
		strbuf_add(&blocks, "{{if .Id}}");
	}
	_cleanup_free_ char *a = run(parens.s, 0), *b = run(blocks.s, 0);
	assert_non_null(strstr(a, "nested too deeply"));
	assert_non_null(strstr(b, "nested too deeply"));
}

static void control_bytes(void **state)
{
	_cleanup_free_ char *raw = run("\x1b[1m{{.Esc}}", 0), *safe = run("\x1b[1m{{.Esc}}", TEMPLATE_ESCAPE);

	assert_string_equal(raw, "\x1b[1ma\x1b[31mb\nc");
	/* What the user wrote is the user's; what came with the document is not trusted. */
	assert_string_equal(safe, "\x1b[1ma\\x1b[31mb\nc");
}

static void labels_stay_hidden(void **state)
{
	_cleanup_free_ char *got = run("{{json .}}{{.}}", TEMPLATE_SORT_KEYS);

	assert_null(strstr(got, "labels"));
	assert_true(str_starts(got, "{\"Config\":"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(text_and_fields),
	    cmocka_unit_test(case_of_go_names),
	    cmocka_unit_test(verbs_of_printf),
	    cmocka_unit_test(inspected_documents),
	    cmocka_unit_test(rows_in_json),
	    cmocka_unit_test(missing_values),
	    cmocka_unit_test(functions),
	    cmocka_unit_test(logic),
	    cmocka_unit_test(loops),
	    cmocka_unit_test(mistakes),
	    cmocka_unit_test(nesting_is_bounded),
	    cmocka_unit_test(control_bytes),
	    cmocka_unit_test(labels_stay_hidden),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
