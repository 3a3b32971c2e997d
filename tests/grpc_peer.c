/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both ends of our gRPC, for tests/integration/test_grpc.py, whose other end is somebody else's.
 *
 *    grpc_peer serve SOCKET                     serves connections until it is killed
 *    grpc_peer call SOCKET PATH [NAME=VALUE...] makes one call: a line on stdin is sent ("N": a message of N bytes, "end", "cancel", "receive", "wait" for the end),
 *                                               and what comes is told on stdout
 *
 * The byte at i of a message of n bytes is (n + i * 7) mod 251.
 */
#include "wire/grpc/grpc.h"

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

static uint8_t *pattern(size_t n)
{
	uint8_t *p = malloc(n + 1);

	for (size_t i = 0; p && i < n; i++)
		p[i] = (uint8_t)((n + i * 7) % 251);
	return p;
}

/* ---- methods ---- */

static int echo(GrpcCall *call, void *user, Err *e)
{
	uint8_t *m;
	size_t len;
	int r;

	while ((r = grpc_receive(call, &m, &len, e)) > 0) {
		r = grpc_send(call, m, len, e);
		free(m);
		if (r < 0)
			return r;
	}
	return r;
}

/* Sends back the fields whose names begin with "x-", as header or, of names that end in "trailer", as trailer. */
static int fields(GrpcCall *call, void *user, Err *e)
{
	GrpcField f;

	for (size_t i = 0; grpc_metadata_each(call, i, &f); i++) {
		bool last = strstr(f.name, "trailer");
		int r = strncmp(f.name, "x-", 2) != 0 ? 0
			: last			      ? grpc_set_trailer(call, f.name, f.value, e)
						      : grpc_set_header(call, f.name, f.value, e);

		if (r < 0)
			return r;
	}
	return echo(call, user, e);
}

static int failing(GrpcCall *call, void *user, Err *e)
{
	const char *code = grpc_metadata(call, "x-code", 0);

	if (grpc_set_details(call, "\x08\x01", 2) < 0)
		return err_oom(e);
	return grpc_status_error((uint32_t)atoi(code ? code : "2"), "d\xC3\xA9j\xC3\xA0 vu: 100%\nagain", e);
}

static int ended;

static int waits(GrpcCall *call, void *user, Err *e)
{
	struct pollfd p = {.fd = grpc_call_alive_fd(call)};

	if (grpc_send(call, "begun", 5, e) < 0)
		return -EIO;
	(void)poll(&p, 1, 30000);
	__atomic_add_fetch(&ended, 1, __ATOMIC_SEQ_CST);
	return err_new(e, ERR_CANCELLED, "the call has ended");
}

static int has_ended(GrpcCall *call, void *user, Err *e)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", __atomic_load_n(&ended, __ATOMIC_SEQ_CST));

	return grpc_send(call, text, (size_t)n, e);
}

static int source(GrpcCall *call, void *user, Err *e)
{
	const char *count = grpc_metadata(call, "x-count", 0), *size = grpc_metadata(call, "x-size", 0);
	size_t len = size ? (size_t)atol(size) : 32768;
	_cleanup_free_ uint8_t *m = pattern(len);

	for (long i = count ? atol(count) : 1; i > 0; i--)
		if (grpc_send(call, m, len, e) < 0)
			return -EIO;
	return 0;
}

static int sink(GrpcCall *call, void *user, Err *e)
{
	unsigned long total = 0;
	char text[32];
	uint8_t *m;
	size_t len;
	int r;

	while ((r = grpc_receive(call, &m, &len, e)) > 0) {
		total += len;
		free(m);
	}
	if (r < 0)
		return r;
	r = snprintf(text, sizeof(text), "%lu", total);
	return grpc_send(call, text, (size_t)r, e);
}

static const GrpcMethod methods[] = {
	{"/t.T/Echo", echo},	   {"/t.T/Fields", fields},    {"/t.T/Fail", failing}, {"/t.T/Wait", waits},
	{"/t.T/Ended", has_ended}, {"/t.T/Source", source}, {"/t.T/Sink", sink},    {NULL, NULL},
};

/* ---- the server ---- */

static void *serve_one(void *arg)
{
	int fd = (int)(intptr_t)arg;
	Err e = {0};

	if (grpc_serve(fd, NULL, 0, methods, NULL, NULL, &e) < 0)
		fprintf(stderr, "grpc_peer: %s\n", e.msg);
	(void)close(fd);
	return NULL;
}

static int address(const char *path, struct sockaddr_un *a)
{
	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	return snprintf(a->sun_path, sizeof(a->sun_path), "%s", path) < (int)sizeof(a->sun_path) ? 0 : -ENAMETOOLONG;
}

static int serve(const char *path)
{
	struct sockaddr_un a;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || address(path, &a) < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 64) < 0)
		return 1;
	puts("ready");
	fflush(stdout);
	for (;;) {
		pthread_t t;
		int c = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (c >= 0 && pthread_create(&t, NULL, serve_one, (void *)(intptr_t)c) == 0)
			pthread_detach(t);
	}
}

/* ---- the client ---- */

static int receive_one(GrpcCall *call, Err *e)
{
	_cleanup_free_ uint8_t *m = NULL;
	size_t len;
	int r = grpc_receive(call, &m, &len, e);

	if (r > 0) {
		_cleanup_free_ uint8_t *want = pattern(len);

		printf("message %zu %s\n", len, memcmp(m, want, len) == 0 ? "good" : "other");
	} else {
		printf("%s\n", r == 0 ? "end" : "broken");
	}
	fflush(stdout);
	return r;
}

static int command(GrpcCall *call, const char *line, Err *e)
{
	if (streq(line, "end"))
		return grpc_send_end(call, e);
	if (streq(line, "receive"))
		return receive_one(call, e);
	if (streq(line, "cancel"))
		grpc_call_cancel(call);
	else if (!streq(line, "wait")) {
		size_t n = (size_t)strtoul(line, NULL, 10);
		_cleanup_free_ uint8_t *m = pattern(n);

		return grpc_send(call, m, n, e);
	} else {
		while (receive_one(call, e) > 0)
			;
	}
	return 0;
}

static int finish(GrpcConnection *c, GrpcCall *call)
{
	GrpcField f;
	Err e = {0};
	int r;

	for (size_t i = 0; grpc_metadata_each(call, i, &f); i++)
		printf("field %s=%s\n", f.name, f.value);
	r = grpc_call_finish(call, &e);
	printf("status %u %s\n", grpc_status_of(&e, r), r < 0 ? e.msg : "");
	grpc_connection_close(c);
	return 0;
}

static int call_one(const char *socket_path, const char *path, char **pairs, size_t n)
{
	GrpcField f[16];
	GrpcConnection *c;
	GrpcCall *call;
	char line[64];
	struct sockaddr_un a;
	Err e = {0};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	for (size_t i = 0; i < n && i < ELEMENTSOF(f); i++) {
		char *eq = strchr(pairs[i], '=');

		*eq = '\0';
		f[i] = (GrpcField){pairs[i], eq + 1};
	}
	if (fd < 0 || address(socket_path, &a) < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return 1;
	if (grpc_connect(fd, "localhost", NULL, &c, &e) < 0 || grpc_call_begin(c, path, f, n, &call, &e) < 0) {
		fprintf(stderr, "grpc_peer: %s\n", e.msg);
		return 1;
	}
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		if (command(call, line, &e) < 0)
			break;
	}
	return finish(c, call);
}

int main(int argc, char **argv)
{
	if (argc == 3 && streq(argv[1], "serve"))
		return serve(argv[2]);
	if (argc >= 4 && streq(argv[1], "call"))
		return call_one(argv[2], argv[3], argv + 4, (size_t)argc - 4);
	fprintf(stderr, "usage: grpc_peer serve SOCKET | call SOCKET PATH [NAME=VALUE...]\n");
	return 2;
}
