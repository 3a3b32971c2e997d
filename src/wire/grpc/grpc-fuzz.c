/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes are what a peer sends: behind the client's preface to our server, or to our client with two calls under way. The first byte chooses. */
#include "wire/grpc/grpc.h"
#include "base/fd.h"

#include <poll.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int echo(GrpcCall *call, void *user, Err *e)
{
	uint8_t *m;
	size_t len;
	int r;

	for (size_t i = 0; grpc_metadata(call, "x-a-bin", i); i++) {
		if (grpc_metadata_bin(call, "x-a-bin", i, &m, &len, e) > 0)
			free(m);
	}
	while ((r = grpc_receive(call, &m, &len, e)) > 0) {
		if (len > 4096)
			abort();
		r = grpc_send(call, m, len, e);
		free(m);
		if (r < 0)
			break;
	}
	return r;
}

static const GrpcMethod methods[] = {{"/a", echo}, {NULL, NULL}};
static const GrpcLimits limits = {.message_max = 4096,
				  .metadata_max = 8192,
				  .memory_max = 65536,
				  .calls_max = 8};

static void attack_server(const uint8_t *data, size_t size)
{
	int sv[2];
	Err e = {0};

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		abort();
	if (fd_write_all(sv[1], "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24) < 0 ||
	    fd_write_all(sv[1], data, size) < 0 || shutdown(sv[1], SHUT_WR) < 0)
		abort();
	if (grpc_serve(sv[0], NULL, 0, methods, NULL, &limits, &e) < 0 && !e.msg[0])
		abort();
	(void)close(sv[0]);
	(void)close(sv[1]);
}

static void attack_client(const uint8_t *data, size_t size)
{
	GrpcConnection *c;
	GrpcCall *a, *b;
	uint8_t *m;
	size_t len;
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0 ||
	    grpc_connect(sv[0], "a", &limits, &c, NULL) < 0)
		abort();
	if (grpc_call_begin(c, "/a", NULL, 0, &a, NULL) < 0 ||
	    grpc_call_begin(c, "/b", NULL, 0, &b, NULL) < 0)
		abort();
	(void)grpc_send(b, "abc", 3, NULL);
	if (fd_write_all(sv[1], data, size) < 0 && errno != EPIPE)
		abort();
	(void)shutdown(sv[1], SHUT_WR);
	while (grpc_receive(a, &m, &len, NULL) > 0) {
		if (len > 4096)
			abort();
		free(m);
	}
	(void)grpc_call_finish(a, NULL);
	grpc_call_drop(b);
	grpc_connection_close(c);
	(void)close(sv[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1 || size > 60000)
		return 0;
	if (data[0] & 1)
		attack_client(data + 1, size - 1);
	else
		attack_server(data + 1, size - 1);
	return 0;
}
