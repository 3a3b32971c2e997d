/* SPDX-License-Identifier: Apache-2.0 */
/*
 * caller SOCKET: makes gRPC calls for bench/cri, on one connection, and says how long each took: from the first byte sent to the end of the answer.
 *
 *    stdin:   "N\n", then N times "PATH SIZE\n" and SIZE bytes: a batch. Its calls are made at once, each by a thread of its own
 *    stdout:  "NANOSECONDS\n" of the whole batch, then for each call, in their order, "CODE NANOSECONDS SIZE\n" and SIZE bytes: the answer, or what the error says
 *
 * A batch of one has no thread.
 */
#include "wire/grpc/grpc.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#define BATCH_MAX   1024
#define MESSAGE_MAX (64u << 20)

static GrpcConnection *connection;

typedef struct Call {
	char path[128];
	size_t len;
	uint8_t *message; /* what is sent, then what has come */
	uint32_t code;
	int64_t took;
	pthread_t thread;
} Call;

static int64_t now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* The answer replaces the message. */
static int exchange(Call *c, Err *e)
{
	GrpcCall *call;
	uint8_t *answer = NULL;
	size_t len = 0;
	int r = grpc_call_begin(connection, c->path, NULL, 0, &call, e);

	if (r < 0)
		return r;
	r = grpc_send_more(call, c->message, c->len, e);
	if (r >= 0)
		r = grpc_send_end(call, e);
	if (r >= 0)
		r = grpc_receive(call, &answer, &len, e);
	if (r < 0) {
		grpc_call_drop(call);
		return r;
	}
	free(c->message);
	c->message = answer;
	c->len = len;
	return grpc_call_finish(call, e);
}

static void *make(void *arg)
{
	Call *c = arg;
	Err e = {0};
	int64_t start = now();
	int r = exchange(c, &e);

	c->took = now() - start;
	c->code = grpc_status_of(&e, r);
	if (r < 0) {
		free(c->message);
		c->message = (uint8_t *)strdup(e.msg);
		c->len = c->message ? strlen(e.msg) : 0;
	}
	return NULL;
}

static int read_call(Call *c)
{
	unsigned size;

	if (scanf("%127s %u", c->path, &size) != 2 || getchar() != '\n' || size > MESSAGE_MAX)
		return -EINVAL;
	c->len = size;
	c->message = malloc(size + 1);
	return c->message && fread(c->message, 1, size, stdin) == size ? 0 : -EINVAL;
}

static int batch(Call *calls, unsigned n)
{
	int64_t start;

	for (unsigned i = 0; i < n; i++)
		if (read_call(&calls[i]) < 0)
			return -EINVAL;
	start = now();
	for (unsigned i = 0; n > 1 && i < n; i++)
		if (pthread_create(&calls[i].thread, NULL, make, &calls[i]) != 0)
			return -EAGAIN;
	if (n == 1)
		make(&calls[0]);
	for (unsigned i = 0; n > 1 && i < n; i++)
		(void)pthread_join(calls[i].thread, NULL);
	printf("%lld\n", (long long)(now() - start));
	for (unsigned i = 0; i < n; i++) {
		printf("%u %lld %zu\n", calls[i].code, (long long)calls[i].took, calls[i].len);
		(void)fwrite(calls[i].message, 1, calls[i].len, stdout);
		free(calls[i].message);
	}
	return fflush(stdout) == 0 ? 0 : -EIO;
}

static int connect_to(const char *path, Err *e)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	GrpcLimits limits = {.message_max = MESSAGE_MAX,
			     .memory_max = 4ul * MESSAGE_MAX,
			     .calls_max = BATCH_MAX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || snprintf(a.sun_path, sizeof(a.sun_path), "%s", path) >= (int)sizeof(a.sun_path) ||
	    connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return err_sys(e, errno, "connect to %s", path);
	return grpc_connect(fd, "localhost", &limits, &connection, e);
}

int main(int argc, char **argv)
{
	static Call calls[BATCH_MAX];
	unsigned n;
	Err e = {0};

	if (argc != 2) {
		fprintf(stderr, "usage: caller SOCKET\n");
		return 2;
	}
	if (connect_to(argv[1], &e) < 0) {
		fprintf(stderr, "caller: %s\n", e.msg);
		return 1;
	}
	while (scanf("%u", &n) == 1 && n >= 1 && n <= BATCH_MAX)
		if (batch(calls, n) < 0)
			return 1;
	grpc_connection_close(connection);
	return 0;
}
