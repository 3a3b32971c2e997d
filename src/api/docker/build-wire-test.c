/* SPDX-License-Identifier: Apache-2.0 */
#include "api/docker/build-wire.h"
#include "base/base64.h"
#include "base/test.h"

static void refused(const char *text, size_t n_fds, const char *why)
{
	LocalRequest rq = {0};
	Err e = {0};

	assert_true(build_wire_request(text, strlen(text), n_fds, &rq, &e) < 0);
	assert_int_equal(e.kind, ERR_INVALID);
	if (!strstr(e.msg, why))
		fail_msg("%s: %s", text, e.msg);
}

static void requests(void **state)
{
	const char *text =
	    "{\"dockerfile\":\"a b/Dockerfile\",\"tags\":[\"x\",\"y:1\"],\"args\":[\"A=1\",\"B\"],"
	    "\"noCache\":true,\"memory\":1048576,\"files\":[{\"kind\":\"directory\",\"name\":\"context\"},"
	    "{\"kind\":\"secret\",\"name\":\"s\"}]}\n";
	LocalRequest rq = {0};

	assert_int_equal(build_wire_request(text, strlen(text), 2, &rq, NULL), 0);
	assert_string_equal(rq.dockerfile, "a b/Dockerfile");
	assert_string_equal(rq.tags[1], "y:1");
	assert_string_equal(rq.args[1], "B");
	assert_true(rq.no_cache && !rq.pull && rq.memory == 1048576);
	assert_int_equal(rq.n_files, 2);
	assert_string_equal(rq.files[1].kind, "secret");
	build_wire_request_done(&rq);
}

static void wrong_requests(void **state)
{
	refused("", 0, "");
	refused("[]", 0, "expected a JSON object");
	refused("{\"dockerfile\":1}", 0, "expected a string");
	refused("{\"privileged\":true}", 0, "unknown member privileged");
	refused("{}", 1, "1 descriptors for 0 files");
	refused("{\"files\":[{\"kind\":\"directory\",\"name\":\"context\"}]}", 0,
		"0 descriptors for 1 files");
	refused("{\"files\":[{\"kind\":\"device\"}]}", 1, "unknown kind of file device");
	refused("{\"files\":[{}]}", 1, "unknown kind of file");
	refused("{\"files\":[{\"kind\":\"secret\",\"name\":\"a\"},{\"kind\":\"secret\",\"name\":\"a\"}]}", 2,
		"two files are the secret a");
}

static void shows(const BuildEvent *ev, const char *want)
{
	_cleanup_strbuf_ StrBuf b = {0};

	build_wire_event(&b, ev, "Dockerfile");
	assert_string_equal(b.s ? b.s : "", want);
}

/* What a step says and is called gets into no structure. */
static void events(void **state)
{
	BuildVertex v = {.digest = "sha256:1",
			 .name = (char *)"[1/2] RUN \"x\"\n\xff",
			 .started_ns = 1000000000};
	char *inputs[] = {(char *)"sha256:0", NULL};

	shows(&(BuildEvent){.kind = BUILD_VERTEX, .vertex = &v},
	      "{\"vertexes\":[{\"digest\":\"sha256:1\",\"name\":\"[1/2] RUN \\\"x\\\"\\n\xef\xbf\xbd\","
	      "\"started\":\"1970-01-01T00:00:01Z\"}]}\n");
	v.name = (char *)"n";
	v.inputs = inputs;
	v.cached = true;
	v.ended_ns = 1500000000;
	v.why = (char *)"its key was found";
	shows(&(BuildEvent){.kind = BUILD_VERTEX, .vertex = &v},
	      "{\"vertexes\":[{\"digest\":\"sha256:1\",\"inputs\":[\"sha256:0\"],\"name\":\"n\","
	      "\"started\":\"1970-01-01T00:00:01Z\",\"completed\":\"1970-01-01T00:00:01.5Z\",\"cached\":true,"
	      "\"why\":\"its key was found\"}]}\n");
	shows(&(BuildEvent){.kind = BUILD_LOG,
			    .vertex = &v,
			    .stream = 2,
			    .text = "a\0\"",
			    .len = 3,
			    .time_ns = 1000000000},
	      "{\"logs\":[{\"vertex\":\"sha256:1\",\"stream\":2,\"data\":\"YQAi\",\"timestamp\":\"1970-01-"
	      "01T00:00:01Z\"}]}\n");
	shows(&(BuildEvent){.kind = BUILD_PROGRESS,
			    .vertex = &v,
			    .id = "abc",
			    .current = 5,
			    .total = 10,
			    .ended_ns = 1000000000},
	      "{\"statuses\":[{\"id\":\"abc\",\"vertex\":\"sha256:1\",\"current\":5,\"total\":10,"
	      "\"completed\":\"1970-01-01T00:00:01Z\"}]}\n");
	shows(&(BuildEvent){.kind = BUILD_WARNING, .text = "w", .len = 1, .line = 3, .url = "https://x"},
	      "{\"warnings\":[{\"vertex\":\"\",\"level\":1,\"short\":\"dw==\",\"url\":\"https://"
	      "x\",\"sourceInfo\":{\"filename\":\"Dockerfile\"},"
	      "\"range\":[{\"start\":{\"line\":3},\"end\":{\"line\":3}}]}]}\n");
	/* As BuildKit's, with the lines in place of the whole file. */
	shows(&(BuildEvent){.kind = BUILD_WARNING,
			    .text = "w (line 1)",
			    .len = 10,
			    .rule = "R",
			    .detail = "d",
			    .line = 1,
			    .source = "FROM x",
			    .source_len = 6},
	      "{\"warnings\":[{\"vertex\":\"\",\"level\":1,\"short\":\"UjogdyAobGluZSAxKQ==\",\"detail\":["
	      "\"ZA==\"],"
	      "\"sourceInfo\":{\"filename\":\"Dockerfile\"},\"range\":[{\"start\":{\"line\":1},\"end\":{"
	      "\"line\":1}}"
	      "],\"excerpt\":\"Dockerfile:1\\n--------------------\\n   1 | >>> FROM x\\n--------------------"
	      "\\n\"}]}\n");
	shows(&(BuildEvent){.kind = BUILD_STEP, .text = "Step 1/1", .len = 8}, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(requests),
	    cmocka_unit_test(wrong_requests),
	    cmocka_unit_test(events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
