/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/change.h"
#include "engine/engine-internal.h"
#include "base/test.h"

static void apply(ImageRunConfig *c, const char *text)
{
	Err e = {0};
	int r = engine_apply_change(c, text, &e);

	if (r < 0)
		fail_msg("%s: %s", text, e.msg);
}

static void refused(const char *text, const char *why)
{
	ImageRunConfig c = {.stop_timeout = -1};
	Err e = {0};

	assert_true(engine_apply_change(&c, text, &e) < 0);
	assert_int_equal(e.kind, ERR_INVALID);
	if (!strstr(e.msg, why))
		fail_msg("\"%s\" gives \"%s\", not \"%s\"", text, e.msg, why);
	image_run_config_done(&c);
}

static void assert_strv(char **v, const char *joined)
{
	_cleanup_free_ char *s = strv_join(v, "|");

	assert_string_equal(s, joined);
}

static void commands(void **state)
{
	ImageRunConfig c = {.stop_timeout = -1};

	apply(&c, "CMD [\"nginx\", \"-g\", \"daemon off;\"]");
	assert_strv(c.cmd, "nginx|-g|daemon off;");
	apply(&c, "cmd echo  $HOME \"a b\"");
	assert_strv(c.cmd, "/bin/sh|-c|echo  $HOME \"a b\"");
	apply(&c, "ENTRYPOINT [\"x\", 1]"); /* no array of strings: shell form */
	assert_strv(c.entrypoint, "/bin/sh|-c|[\"x\", 1]");
	apply(&c, "ENTRYPOINT []");
	assert_int_equal(strv_len(c.entrypoint), 0);
	assert_int_equal(strv_add(&c.shell, "/bin/bash"), 0);
	apply(&c, "CMD x");
	assert_strv(c.cmd, "/bin/bash|x");
	image_run_config_done(&c);
}

static void environment(void **state)
{
	ImageRunConfig c = {.stop_timeout = -1};

	apply(&c, "ENV A=1 B=\"two words\" C='$A' D=a\\ b");
	assert_strv(c.env, "A=1|B=two words|C=$A|D=a b");
	apply(&c, "ENV A=$A:x E=${A}y F=${NONE:-dflt} G=${A:+set} H=\\$A I=\"$B\"");
	assert_strv(c.env, "A=1:x|B=two words|C=$A|D=a b|E=1y|F=dflt|G=set|H=$A|I=two words");
	apply(&c, "ENV OLD  form with  blanks");
	assert_string_equal(strv_env_get(c.env, "OLD"), "form with  blanks");
	apply(&c, "ENV N=${X:-${A:-z}}$");
	assert_string_equal(strv_env_get(c.env, "N"), "1:x$");
	apply(&c, "ENV EMPTY=");
	assert_string_equal(strv_env_get(c.env, "EMPTY"), "");
	apply(&c, "ENV \"Q K\"=v");
	assert_string_equal(strv_env_get(c.env, "Q K"), "v");
	image_run_config_done(&c);
	refused("ENV", "requires at least one argument");
	refused("ENV A", "must have two arguments");
	refused("ENV A=1 B", "can't find = in \"B\"");
	refused("ENV =x", "names can not be blank");
	refused("ENV A=\"x", "double-quote");
	refused("ENV A=${x", "not closed");
	refused("ENV A=${x:?need}", "need");
	refused("ENV A=${x%y}", "unsupported modifier");
	refused("ENV "
		"A=${a:-${b:-${c:-${d:-${e:-${f:-${g:-${h:-${i:-${j:-${k:-${l:-${m:-${n:-${o:-${p:-${q:-${r:-"
		"x}}}}}}}}}}}}}}}}}}",
		"nested");
}

static void doubling_is_bounded(void **state)
{
	ImageRunConfig c = {.stop_timeout = -1};
	Err e = {0};
	int r = 0, rounds = 0;

	apply(&c, "ENV A=0123456789abcdef");
	for (; r >= 0 && rounds < 64; rounds++)
		r = engine_apply_change(&c, "ENV A=$A$A", &e);
	assert_true(r < 0 && rounds < 20);
	assert_non_null(strstr(e.msg, "larger than 1 MiB"));
	image_run_config_done(&c);
}

static void labels_ports_volumes(void **state)
{
	ImageRunConfig c = {.stop_timeout = -1};

	apply(&c, "LABEL a=1 \"b c\"=\"d e\"");
	assert_strv(c.labels, "a=1|b c=d e");
	apply(&c, "LABEL a=2");
	assert_strv(c.labels, "a=2|b c=d e");
	apply(&c, "EXPOSE 80 443/TCP 8000-8002/udp 80/tcp");
	assert_strv(c.exposed_ports, "80/tcp|443/tcp|8000/udp|8001/udp|8002/udp");
	apply(&c, "ENV P='81 82'");
	apply(&c, "EXPOSE $P");
	assert_true(strv_has(c.exposed_ports, "81/tcp") && strv_has(c.exposed_ports, "82/tcp"));
	apply(&c, "VOLUME [\"/data\", \"/a b\"]");
	apply(&c, "VOLUME /x /data");
	assert_strv(c.volumes, "/data|/a b|/x");
	image_run_config_done(&c);
	/* A range of all, again and again, in linear time. */
	for (int i = 0; i < 5; i++)
		apply(&c, "EXPOSE 1-65535");
	assert_int_equal(strv_len(c.exposed_ports), 65535);
	image_run_config_done(&c);
	refused("EXPOSE 0", "invalid containerPort");
	refused("EXPOSE 70000", "invalid containerPort");
	refused("EXPOSE 90-80", "invalid containerPort");
	refused("EXPOSE 80/icmp", "invalid port: \"80/icmp\": invalid proto: icmp");
	apply(&c, "EXPOSE 127.0.0.1:80:90 [::1]:80:91/udp 5000:6000 82/ ::83");
	assert_strv(c.exposed_ports, "90/tcp|91/udp|6000/tcp|82/tcp|83/tcp");
	image_run_config_done(&c);
	refused("EXPOSE x:80", "invalid hostPort: x");
	refused("EXPOSE 1.2.3:70:80", "invalid IP address: 1.2.3");
	refused("EXPOSE 70:", "invalid containerPort: ");
	refused("VOLUME [\"\"]", "empty string");
}

static void the_rest(void **state)
{
	ImageRunConfig c = {.stop_timeout = -1};

	apply(&c, "WORKDIR /a/b");
	apply(&c, "WORKDIR ../c d");
	assert_string_equal(c.working_dir, "/a/c d");
	apply(&c, "ENV U=app");
	apply(&c, "USER ${U}:www");
	assert_string_equal(c.user, "app:www");
	apply(&c, "STOPSIGNAL SIGQUIT");
	assert_string_equal(c.stop_signal, "SIGQUIT");
	apply(&c, "ONBUILD RUN make  all");
	assert_strv(c.on_build, "RUN make  all");
	apply(&c, "SHELL [\"/bin/bash\", \"-c\"]");
	assert_strv(c.shell, "/bin/bash|-c");
	apply(&c, "CMD echo hello");
	assert_strv(c.cmd, "/bin/bash|-c|echo hello");
	image_run_config_done(&c);
	refused("SHELL /bin/bash -c", "JSON form");
	refused("SHELL []", "at least one argument");
	refused("STOPSIGNAL SIGNOPE", "SIGNOPE");
	refused("USER a b", "exactly one argument");
	refused("ONBUILD ONBUILD RUN x", "Chaining");
	refused("ONBUILD from x", "isn't allowed");
	refused("RUN make", "not a valid change command");
	refused("  ", "empty change");
	refused("ENV A=\xff", "UTF-8");
}

static void health(void **state)
{
	ImageRunConfig c = {.stop_timeout = -1};

	apply(&c,
	      "HEALTHCHECK --interval=1m30s --timeout=500ms  --retries=4 CMD wget -q localhost || exit 1");
	assert_true(c.has_health);
	assert_strv(c.health.test, "CMD-SHELL|wget -q localhost || exit 1");
	assert_int_equal(c.health.interval_ns, 90000000000);
	assert_int_equal(c.health.timeout_ns, 500000000);
	assert_int_equal(c.health.retries, 4);
	apply(&c, "healthcheck --start-period=5s cmd [\"/probe\", \"$A\"]");
	assert_strv(c.health.test, "CMD|/probe|$A");
	assert_int_equal(c.health.interval_ns, 0);
	assert_int_equal(c.health.start_period_ns, 5000000000);
	apply(&c, "HEALTHCHECK NONE");
	assert_strv(c.health.test, "NONE");
	image_run_config_done(&c);
	refused("HEALTHCHECK wget", "try CMD or NONE");
	refused("HEALTHCHECK CMD", "Missing command");
	refused("HEALTHCHECK CMD []", "Missing command");
	refused("HEALTHCHECK --interval=soon CMD x", "expected a duration");
	refused("HEALTHCHECK --interval CMD x", "without a value");
	refused("HEALTHCHECK --retries=-1 CMD x", "expected a number");
	refused("HEALTHCHECK --often=1 CMD x", "unknown flag");
}

static void entrypoint_drops_inherited_cmd(void **state)
{
	ImageRunConfig c = {.stop_timeout = -1};
	char *alone[] = {(char *)"ENTRYPOINT [\"e\"]", NULL};
	char *both[] = {(char *)"CMD [\"c\"]", (char *)"ENTRYPOINT [\"e\"]", NULL};

	apply(&c, "CMD [\"old\"]");
	assert_int_equal(change_apply_all(&c, alone, NULL), 0);
	assert_null(c.cmd);
	assert_int_equal(change_apply_all(&c, both, NULL), 0);
	assert_strv(c.cmd, "c");
	image_run_config_done(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(commands),
	    cmocka_unit_test(environment),
	    cmocka_unit_test(doubling_is_bounded),
	    cmocka_unit_test(labels_ports_volumes),
	    cmocka_unit_test(the_rest),
	    cmocka_unit_test(health),
	    cmocka_unit_test(entrypoint_drops_inherited_cmd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
