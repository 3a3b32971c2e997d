/* SPDX-License-Identifier: Apache-2.0 */
#include "run-options.h"
#include "base/str.h"
#include "base/test-dir.h"

/* The body for the words of a command line, as compact text, or the error. */
static char *body(char *const *words)
{
	RunOptions o = {0};
	_cleanup_free_ char **args = NULL;
	_cleanup_json_ json_t *j = NULL;
	Err e = {0};
	int r = options_parse(run_flags, true, (int)strv_len(words), (char **)words, &o, &args, &e);

	if (r == 0)
		r = run_make_body(&o, args[0], args + 1, &j, &e);
	options_done(run_flags, &o);
	return r < 0 ? strdup(e.msg) : json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS);
}

static void has(const char *line, const char *part)
{
	_cleanup_strv_ char **words = strv_split(line, ' ');
	_cleanup_free_ char *got = body(words);

	if (!strstr(got, part))
		fail_msg("%s: no %s in %s", line, part, got);
}

static void lacks(const char *line, const char *part)
{
	_cleanup_strv_ char **words = strv_split(line, ' ');
	_cleanup_free_ char *got = body(words);

	if (strstr(got, part))
		fail_msg("%s: there is %s in %s", line, part, got);
}

static void nothing_is_sent_that_was_not_given(void **state)
{
	_cleanup_strv_ char **words = strv_split("busybox ls -l", ' ');
	_cleanup_free_ char *got = body(words);

	assert_string_equal(got,
			    "{\"AttachStderr\":true,\"AttachStdin\":false,\"AttachStdout\":true,\"Cmd\":["
			    "\"ls\",\"-l\"],\"HostConfig\":{},"
			    "\"Image\":\"busybox\",\"OpenStdin\":false,\"StdinOnce\":false,\"Tty\":false}");
}

static void streams(void **state)
{
	has("-i x", "\"AttachStdin\":true");
	has("-i x", "\"StdinOnce\":true");
	has("-id x", "\"OpenStdin\":true");
	has("-id x", "\"StdinOnce\":false");
	has("-d x", "\"AttachStdout\":false");
	has("-a stdout x", "\"AttachStderr\":false");
	has("-a STDOUT -a Stderr x", "\"AttachStderr\":true");
	has("-a nowhere x", "valid streams are STDIN, STDOUT and STDERR");
	has("-d -a stdout x", "cannot specify both --attach and --detach");
}

static void process(void **state)
{
	has("-e A=1 -e B= x", "\"Env\":[\"A=1\",\"B=\"]");
	has("-e =x x", "invalid environment variable");
	has("--entrypoint /bin/x y", "\"Entrypoint\":[\"/bin/x\"]");
	has("--entrypoint= y", "\"Entrypoint\":[\"\"]");
	has("-u 1000:1000 -w /w -h web x", "\"User\":\"1000:1000\"");
	has("-l a=b -l c x", "\"Labels\":{\"a\":\"b\",\"c\":\"\"}");
	has("--stop-signal INT --stop-timeout 0 x", "\"StopTimeout\":0");
	has("--init x", "\"Init\":true");
	has("--init=false x", "\"Init\":false");
	lacks("x", "Init");
	has("--rm x", "\"AutoRemove\":true");
	has("--rm --restart always x", "cannot specify both --restart and --rm");
	has("--rm --restart no x", "\"RestartPolicy\":{\"MaximumRetryCount\":0,\"Name\":\"no\"}");
	has("--restart on-failure:3 x", "{\"MaximumRetryCount\":3,\"Name\":\"on-failure\"}");
	has("--restart on-failure:x x", "maximum retry count must be an integer");
}

static void limits(void **state)
{
	has("-m 512m --cpus 1.5 --pids-limit 100 x", "\"Memory\":536870912");
	has("-m 512m --cpus 1.5 --pids-limit 100 x", "\"NanoCpus\":1500000000");
	has("--memory-swap -1 x", "\"MemorySwap\":-1");
	has("-m -1 x", "--memory must not be negative");
	has("--blkio-weight 5 x", "from 10 to 1000");
	has("--blkio-weight-device /dev/sda:100 x",
	    "\"BlkioWeightDevice\":[{\"Path\":\"/dev/sda\",\"Weight\":100}]");
	has("--ulimit nofile=1:2 --ulimit core=0 x", "\"Ulimits\":[{\"Hard\":2,");
	has("--shm-size 64m --oom-score-adj -500 --oom-kill-disable x", "\"OomScoreAdj\":-500");
}

static void network(void **state)
{
	has("-p 8080:80 --expose 90 x", "\"ExposedPorts\":{\"80/tcp\":{},\"90/tcp\":{}}");
	has("-P x", "\"PublishAllPorts\":true");
	has("--network none x", "\"NetworkMode\":\"none\"");
	lacks("--network none x", "NetworkingConfig");
	has("--net web --network-alias a --ip 10.0.0.2 x",
	    "\"NetworkingConfig\":{\"EndpointsConfig\":{\"web\":{\"Aliases\":[\"a\"],\"IPAMConfig\":{"
	    "\"IPv4Address\":\"10.0.0.2\"}}}}");
	has("--link a:b x", "\"HostConfig\":{\"Links\":[\"a:b\"]}");
	lacks("--link a:b x", "NetworkingConfig");
	has("--net web --link a:b x", "\"web\":{\"Links\":[\"a:b\"]}");
	has("--network a --network b x", "\"EndpointsConfig\":{\"a\":{},\"b\":{}}");
	has("--network a --network a x", "given more than once");
	has("--network-alias a x", "only supported for user-defined networks");
	has("--network host --ip 1.2.3.4 x", "cannot give an IP address with --network host");
	has("--network container:y -h name x", "conflicting options: hostname and the network mode");
	has("--mac-address 02:00:00:00:00:01 x", "\"default\":{\"MacAddress\":\"02:00:00:00:00:01\"}");
	has("--add-host a:1.2.3.4 --add-host b=::1 --add-host c:[::2] x",
	    "\"ExtraHosts\":[\"a:1.2.3.4\",\"b:::1\",\"c:::2\"]");
	has("--add-host a x", "bad format for add-host");
	has("--dns 1.1.1.1 --dns-opt ndots:2 --dns-search x.y x", "\"DnsOptions\":[\"ndots:2\"]");
}

static void isolation(void **state)
{
	has("--cap-add NET_ADMIN --cap-drop ALL --privileged x", "\"CapDrop\":[\"ALL\"]");
	has("--security-opt systempaths=unconfined x", "\"MaskedPaths\":[],\"ReadonlyPaths\":[]");
	has("--sysctl net.ipv4.ip_forward=1 --annotation a=b x",
	    "\"Sysctls\":{\"net.ipv4.ip_forward\":\"1\"}");
	has("--pid host --ipc shareable --uts host --userns host --cgroupns private x",
	    "\"CgroupnsMode\":\"private\"");
	has("--read-only --tmpfs /t:size=1m -v v:/v --mount type=tmpfs,dst=/u x",
	    "\"Tmpfs\":{\"/t\":\"size=1m\"}");
	has("--log-driver none --log-opt a=b x",
	    "\"LogConfig\":{\"Config\":{\"a\":\"b\"},\"Type\":\"none\"}");
}

static void health(void **state)
{
	has("--health-cmd true --health-interval 5s --health-retries 2 x",
	    "\"Healthcheck\":{\"Interval\":5000000000,\"Retries\":2,\"Test\":[\"CMD-SHELL\",\"true\"]}");
	has("--no-healthcheck x", "\"Healthcheck\":{\"Test\":[\"NONE\"]}");
	has("--no-healthcheck --health-cmd true x", "--no-healthcheck conflicts");
	has("--health-retries -1 x", "cannot be negative");
}

static void files_of_variables(void **state)
{
	TestDir *d = *state;
	static const char text[] =
	    "# comment\n\n  A=1\nB=\"quoted # not a comment\"\r\nIREKO_TEST_SET\nIREKO_TEST_UNSET\nC=a=b\n";
	_cleanup_free_ char *line =
	    strf("--env-file %s/env --label-file %s/labels -e A=2 -e IREKO_TEST_UNSET x", d->path, d->path);
	_cleanup_free_ char *bad = strf("--env-file %s/bad x", d->path),
			    *missing = strf("--env-file %s/none x", d->path);

	assert_int_equal(setenv("IREKO_TEST_SET", "yes", 1), 0);
	assert_int_equal(unsetenv("IREKO_TEST_UNSET"), 0);
	assert_int_equal(file_replace_at(d->fd, "env", text, strlen(text), 0600, false), 0);
	assert_int_equal(file_replace_at(d->fd, "labels", "x=y\nz\n", 6, 0600, false), 0);
	assert_int_equal(file_replace_at(d->fd, "bad", "ok=1\nA B=1\n", 11, 0600, false), 0);
	has(line, "\"Env\":[\"A=1\",\"B=\\\"quoted # not a "
		  "comment\\\"\",\"IREKO_TEST_SET=yes\",\"C=a=b\",\"A=2\",\"IREKO_TEST_UNSET\"]");
	/* As docker, a name alone is no label in a file. */
	has(line, "\"Labels\":{\"x\":\"y\"}");
	has(bad, "bad:2: variable 'A B' contains whitespaces");
	has(missing, "No such file");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(nothing_is_sent_that_was_not_given),
	    cmocka_unit_test(streams),
	    cmocka_unit_test(process),
	    cmocka_unit_test(limits),
	    cmocka_unit_test(network),
	    cmocka_unit_test(isolation),
	    cmocka_unit_test(health),
	    test_in_dir(files_of_variables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
