/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes are what a server sends: the first byte chooses the request. The reader must stay within its
 * bounds and a head that parses must give back the same on what it says it consumed. */
#include "wire/http-client.h"
#include "base/fd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void head_is_stable(const char *text, size_t len)
{
	HttpcResponse a = {0}, b = {0};
	ssize_t n = httpc_response_parse(text, len, &a);

	if (n > 0) {
		if ((size_t)n > len || n > HTTP_HEAD_MAX || httpc_response_parse(text, (size_t)n, &b) != n ||
		    a.status != b.status || a.length != b.length)
			abort();
		if (httpc_response_parse(text, (size_t)n - 1, &b) > 0)
			abort();
		free(httpc_response_header(&a, "Content-Type"));
	}
	httpc_response_done(&a);
	httpc_response_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const methods[] = {"GET", "HEAD", "POST"};
	const HttpcResponse *rs;
	char piece[997];
	int sv[2];

	if (size < 2 || size > 60000)
		return 0;
	head_is_stable((const char *)data + 1, size - 1);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		abort();

	_cleanup_httpc_ Httpc *c = httpc_new(sv[0]);
	HttpcRequest rq = {.method = methods[data[0] % 3], .target = "/", .chunked = data[0] & 128};
	if (!c || httpc_send(c, &rq, NULL) < 0 || fd_write_all(sv[1], data + 1, size - 1) < 0 ||
	    shutdown(sv[1], SHUT_WR) < 0)
		abort();
	if (rq.chunked && httpc_write(c, "x", 1, NULL) == 0)
		(void)httpc_finish(c, NULL);
	if (httpc_receive(c, &rs, NULL) == 0)
		for (ssize_t n, total = 0; (n = httpc_read(c, piece, sizeof(piece), NULL)) > 0;) {
			total += n;
			if ((size_t)n > sizeof(piece) || (size_t)total > size)
				abort();
		}
	(void)close(sv[1]);
	return 0;
}
