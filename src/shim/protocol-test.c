/* SPDX-License-Identifier: Apache-2.0 */
/* Messages survive the trip, short and long, with descriptors; damaged ones are refused without a leak. */
#include "base/test.h"
#include "shim/protocol.h"

#include <dirent.h>
#include <fcntl.h>

static int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void pair(int sock[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock), 0);
}

static void round_trip(size_t text_len, size_t blob_len)
{
	_cleanup_free_ char *text = calloc(1, text_len + 1), *blob = calloc(1, blob_len + 1);
	_cleanup_json_ json_t *doc = NULL;
	_cleanup_shim_msg_ ShimMsg got = {0};
	char buf[SHIM_INLINE_MAX];
	int sock[2], fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	Err e = {0};

	memset(text, 'x', text_len);
	memset(blob, 0xfe, blob_len);
	doc = json_pack("{s:s}", "text", text);
	pair(sock);
	const ShimMsg m = {.type = SHIM_MSG_EXEC,
			   .seq = 7,
			   .doc = doc,
			   .blob = blob,
			   .blob_len = blob_len,
			   .fds = {fd},
			   .n_fds = 1};

	assert_int_equal(shim_msg_send(sock[0], &m, &e), 0);
	assert_int_equal(shim_msg_recv(sock[1], buf, &got, &e), 1);
	assert_int_equal(got.type, SHIM_MSG_EXEC);
	assert_int_equal(got.seq, 7);
	assert_string_equal(json_get_str(got.doc, "text"), text);
	assert_int_equal(got.blob_len, blob_len);
	assert_true(blob_len == 0 || memcmp(got.blob, blob, blob_len) == 0);
	assert_int_equal(got.n_fds, 1);
	assert_int_equal(fcntl(got.fds[0], F_GETFD), FD_CLOEXEC);
	close(sock[0]);
	assert_int_equal(shim_msg_recv(sock[1], buf, &got, &e), 0);
	close(sock[1]);
	close(fd);
}

static void test_round_trip(void **state _unused_)
{
	int before = count_fds();

	round_trip(0, 0);
	round_trip(100, 5);
	round_trip(SHIM_INLINE_MAX, 0);
	round_trip(10, SHIM_INLINE_MAX - 60);
	round_trip(300000, 400000);
	assert_int_equal(count_fds(), before);
}

static void test_too_long_is_refused_by_the_sender(void **state _unused_)
{
	ShimMsg m = {.type = SHIM_MSG_ATTACH, .blob_len = SHIM_PAYLOAD_MAX + 1};
	Err e = {0};
	int sock[2];

	m.blob = calloc(1, m.blob_len);
	pair(sock);
	assert_int_equal(shim_msg_send(sock[0], &m, &e), -EINVAL);
	free(m.blob);
	close(sock[0]);
	close(sock[1]);
}

static void refuse(const void *data, size_t len, int fd)
{
	_cleanup_shim_msg_ ShimMsg got = {0};
	char buf[SHIM_INLINE_MAX];
	int sock[2], before = count_fds();
	Err e = {0};

	pair(sock);
	assert_int_equal(fd_send_msg(sock[0], data, len, &fd, fd >= 0), len);
	assert_true(shim_msg_recv(sock[1], buf, &got, &e) < 0);
	assert_true(e.msg[0] != 0);
	close(sock[0]);
	close(sock[1]);
	assert_int_equal(count_fds(), before);
}

static void test_damaged_messages_are_refused(void **state _unused_)
{
	struct {
		uint32_t magic;
		uint16_t type, flags;
		uint32_t seq, doc_len, blob_len;
		char doc[8];
	} m = {0x31485349, SHIM_MSG_INFO, 0, 1, 2, 0, "{}"}, bad;
	_cleanup_shim_msg_ ShimMsg got = {0};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	Err e = {0};

	/* The undamaged one is taken, so that each refusal below has one reason. */
	assert_int_equal(shim_msg_decode(&m, 22, NULL, 0, &got, &e), 0);
	refuse(&m, 10, -1);
	refuse(&m, 23, -1);
	refuse(&m, 21, null);
#define REFUSE_WITH(member, value)                                                                           \
	do {                                                                                                 \
		bad = m;                                                                                     \
		bad.member = (value);                                                                        \
		refuse(&bad, 22, null);                                                                      \
	} while (0)
	REFUSE_WITH(magic, 0);
	REFUSE_WITH(type, 0);
	REFUSE_WITH(type, SHIM_MSG_TYPE_LIMIT);
	REFUSE_WITH(flags, 2);
	REFUSE_WITH(flags, 1);
	REFUSE_WITH(doc_len, UINT32_MAX);
	REFUSE_WITH(blob_len, UINT32_MAX - 1);
	REFUSE_WITH(doc[0], '[');
	bad = m;
	memcpy(bad.doc, "[]", 2);
	refuse(&bad, 22, -1);
	/* A payload descriptor that would block the reader. */
	bad.flags = 1;
	refuse(&bad, 20, null);
	refuse(&bad, 20, -1);
	close(null);
}

static void test_errors_travel(void **state _unused_)
{
	Err a = {0}, b = {0};
	char buf[sizeof(Err)];
	int r = err_new(&a, ERR_NO_COMMAND, "exec: \"nope\": not found \xff");
	ShimMsg m = {.type = SHIM_MSG_ERROR,
		     .blob = buf,
		     .blob_len = shim_error_encode(&a, r, buf, sizeof(buf))};

	assert_int_equal(shim_error_decode(&m, &b), r);
	assert_string_equal(b.msg, a.msg);
	assert_int_equal(b.kind, ERR_NO_COMMAND);
	m.blob_len = 7;
	assert_int_equal(shim_error_decode(&m, &b), -EPROTO);
	m.blob_len = 8;
	memset(buf, 0xff, 8);
	assert_int_equal(shim_error_decode(&m, &b), -EPROTO);
}

static void test_events_travel(void **state _unused_)
{
	const ShimEvent a = {
	    .type = SHIM_EVENT_EXEC_EXIT,
	    .exec_id = "abc",
	    .exit = {.status = 137, .signal = 9, .oom_killed = true, .at_ns = 1764032552123456789}};
	_cleanup_json_ json_t *j = shim_event_encode(&a);
	_cleanup_json_ json_t *bad = json_pack("{s:s, s:{s:i}}", "type", "exit", "exit", "status", 256);
	ShimEvent b = {0};
	Err e = {0};

	assert_int_equal(shim_event_decode(j, &b, &e), 0);
	assert_memory_equal(&a, &b, sizeof(a));
	assert_true(shim_event_decode(bad, &b, &e) < 0);
	assert_true(shim_event_decode(NULL, &b, &e) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_round_trip),
	    cmocka_unit_test(test_too_long_is_refused_by_the_sender),
	    cmocka_unit_test(test_damaged_messages_are_refused),
	    cmocka_unit_test(test_errors_travel),
	    cmocka_unit_test(test_events_travel),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
