/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The load of bench/network, in C because Python would be what is measured:
 *
 *     serve PORT                        echoes what comes by tcp and udp to any address, until killed
 *     ask tcp|udp ADDRESS PORT SECONDS  one byte there and one back, one at a time
 *     dns SERVER NAME WINDOW SECONDS    questions for the IPv4 address of NAME, WINDOW of them unanswered at any time
 *     dns SERVER NAME WINDOW SECONDS RATE  the same, but RATE questions a second, whatever is answered; times count from when a question was due
 *     names SERVER NAME COUNT           one question for each of COUNT names ("@" in NAME: the number), a dozen at once
 *
 * All but the first print: <answers> <other or missing answers> <seconds> <median, us> <99th percentile, us>. A
 * question without an answer for a second counts as missing and is asked again.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS_MAX 64
#define WINDOW_MAX 256
#define NAMES_AT_ONCE 12
#define MESSAGE 512
#define SAMPLES_MAX (8u << 20)

static uint32_t *samples; /* ns */
static size_t n_samples;

static long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

_Noreturn static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void sample(long long ns)
{
	if (n_samples < SAMPLES_MAX)
		samples[n_samples++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static int tell(size_t bad, long long took_ns)
{
	double p50 = 0, p99 = 0;

	qsort(samples, n_samples, sizeof(*samples), by_size);
	if (n_samples) {
		p50 = samples[n_samples / 2] / 1e3;
		p99 = samples[n_samples * 99 / 100] / 1e3;
	}
	printf("%zu %zu %.6f %.1f %.1f\n", n_samples, bad, took_ns / 1e9, p50, p99);
	return 0;
}

static struct addrinfo *at(const char *address, const char *port, int type)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = type}, *a;

	if (getaddrinfo(address, port, &hints, &a) != 0) {
		fprintf(stderr, "%s port %s is no address\n", address, port);
		exit(1);
	}
	return a;
}

static int connected(const char *address, const char *port, int type)
{
	struct addrinfo *a = at(address, port, type);
	struct timeval second = {.tv_sec = 1};
	int one = 1, fd = socket(a->ai_family, type | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, a->ai_addr, a->ai_addrlen) < 0)
		die("connect");
	freeaddrinfo(a);
	if (type == SOCK_STREAM)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
	return fd;
}

/* ---- serve ---- */

static int bound(const char *port, int type)
{
	struct addrinfo *a = at("0.0.0.0", port, type);
	int one = 1, fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, a->ai_addr, a->ai_addrlen) < 0)
		die("bind");
	freeaddrinfo(a);
	if (type == SOCK_STREAM && listen(fd, 16) < 0)
		die("listen");
	return fd;
}

static void echo_datagram(int fd)
{
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	char buf[2048];
	ssize_t n = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len);

	if (n >= 0 && sendto(fd, buf, (size_t)n, 0, (struct sockaddr *)&from, len) < 0)
		perror("sendto");
}

/* False when the client has gone. */
static bool echo_stream(int fd)
{
	char buf[2048];
	ssize_t n = read(fd, buf, sizeof(buf));

	return n > 0 && write(fd, buf, (size_t)n) == n;
}

_Noreturn static void serve(const char *port)
{
	struct pollfd fds[2 + CLIENTS_MAX] = {{.fd = bound(port, SOCK_STREAM), .events = POLLIN},
					      {.fd = bound(port, SOCK_DGRAM), .events = POLLIN}};
	nfds_t n = 2;

	for (;;) {
		if (poll(fds, n, -1) < 0)
			die("poll");
		for (nfds_t i = n - 1; i >= 2; i--)
			if (fds[i].revents && !echo_stream(fds[i].fd)) {
				close(fds[i].fd);
				fds[i] = fds[--n];
			}
		if (fds[1].revents)
			echo_datagram(fds[1].fd);
		if (fds[0].revents && n < 2 + CLIENTS_MAX) {
			int one = 1, fd = accept4(fds[0].fd, NULL, NULL, SOCK_CLOEXEC);

			if (fd < 0)
				die("accept");
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
			fds[n++] = (struct pollfd){.fd = fd, .events = POLLIN};
		}
	}
}

/* ---- ask ---- */

static int ask(const char *protocol, const char *address, const char *port, double seconds)
{
	int fd = connected(address, port, strcmp(protocol, "udp") == 0 ? SOCK_DGRAM : SOCK_STREAM);
	long long start = now_ns(), end = start + (long long)(seconds * 1e9), before = start;
	size_t bad = 0;
	char byte = 'x';

	while (before < end) {
		bool answered = send(fd, &byte, 1, MSG_NOSIGNAL) == 1 && recv(fd, &byte, 1, 0) == 1;
		long long after = now_ns();

		if (answered)
			sample(after - before);
		else if (++bad > 3)
			break;
		before = after;
	}
	return tell(bad, now_ns() - start);
}

/* ---- dns ---- */

typedef struct Question {
	uint8_t message[MESSAGE];
	size_t len;
	long long sent; /* 0: answered */
} Question;

static Question window[WINDOW_MAX];

static void question_make(Question *q, uint16_t id, const char *name, int number)
{
	char text[256], *at_sign;
	uint8_t *p = q->message;
	const char *label = text;

	snprintf(text, sizeof(text), "%s", name);
	at_sign = strchr(text, '@');
	if (at_sign)
		snprintf(at_sign, sizeof(text) - (size_t)(at_sign - text), "%d%s", number, strchr(name, '@') + 1);
	memcpy(p, (uint8_t[]){(uint8_t)(id >> 8), (uint8_t)id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, 12);
	p += 12;
	while (*label) {
		size_t len = strcspn(label, ".");

		*p++ = (uint8_t)len;
		memcpy(p, label, len);
		p += len;
		label += len + (label[len] == '.');
	}
	memcpy(p, (uint8_t[]){0, 0, 1, 0, 1}, 5);
	q->len = (size_t)(p + 5 - q->message);
}

static void question_send(int fd, Question *q)
{
	q->sent = now_ns();
	if (send(fd, q->message, q->len, 0) < 0 && errno != ECONNREFUSED)
		die("send");
}

/* Reads what has come, waiting for the first of it; fn(number of the question, whether it is a good answer). */
static void answers_take(int fd, size_t n_window, void (*fn)(int fd, Question *q, bool good, void *), void *arg)
{
	static uint8_t in[32][MESSAGE];
	struct mmsghdr got[32] = {0};
	struct iovec at_each[32];
	int n;

	for (size_t i = 0; i < 32; i++) {
		at_each[i] = (struct iovec){in[i], MESSAGE};
		got[i].msg_hdr = (struct msghdr){.msg_iov = &at_each[i], .msg_iovlen = 1};
	}
	n = recvmmsg(fd, got, 32, MSG_WAITFORONE, NULL);
	for (int i = 0; i < n; i++) {
		size_t id = got[i].msg_len >= 12 ? (size_t)(in[i][0] << 8 | in[i][1]) : SIZE_MAX;

		if (id < n_window && window[id].sent)
			fn(fd, &window[id], (in[i][3] & 15) == 0 && (in[i][6] << 8 | in[i][7]) > 0, arg);
	}
}

typedef struct Flow {
	long long end;
	const char *name;
	int next, count; /* of `names` */
	size_t bad;
	size_t open;
} Flow;

static void note(Flow *f, const Question *q, bool good)
{
	if (good)
		sample(now_ns() - q->sent);
	else
		f->bad++;
}

static void again(int fd, Question *q, bool good, void *arg)
{
	note(arg, q, good);
	question_send(fd, q);
}

static void next_name(int fd, Question *q, bool good, void *arg)
{
	Flow *f = arg;

	note(f, q, good);
	q->sent = 0;
	f->open--;
	if (f->next == f->count)
		return;
	question_make(q, (uint16_t)(q - window), f->name, f->next++);
	f->open++;
	question_send(fd, q);
}

static size_t overdue(int fd, size_t n_window)
{
	long long now = now_ns();
	size_t n = 0;

	for (size_t i = 0; i < n_window; i++)
		if (window[i].sent && now - window[i].sent > 1000000000LL) {
			question_send(fd, &window[i]);
			n++;
		}
	return n;
}

static int dns(const char *server, const char *name, size_t n_window, double seconds)
{
	Flow f = {.name = name};
	int fd = connected(server, "53", SOCK_DGRAM);
	long long start = now_ns();

	f.end = start + (long long)(seconds * 1e9);
	for (size_t i = 0; i < n_window; i++) {
		question_make(&window[i], (uint16_t)i, name, 0);
		question_send(fd, &window[i]);
	}
	for (size_t turn = 0; now_ns() < f.end; turn++) {
		answers_take(fd, n_window, again, &f);
		if (turn % 1024 == 0 || errno == EAGAIN)
			f.bad += overdue(fd, n_window);
		errno = 0;
	}
	return tell(f.bad, now_ns() - start);
}

static void once(int fd, Question *q, bool good, void *arg)
{
	(void)fd;
	note(arg, q, good);
	q->sent = 0;
}

/* Sends what is due by now, as long as numbers are free; when the next is due. */
static long long send_due(int fd, size_t n_window, long long start, double rate, size_t *sent)
{
	for (size_t i = 0; i < n_window; i++) {
		long long due = start + (long long)((double)*sent / rate * 1e9);

		if (due > now_ns())
			return due;
		if (window[i].sent)
			continue;
		question_send(fd, &window[i]);
		window[i].sent = due;
		++*sent;
	}
	return now_ns() + 100000;
}

static int dns_at_rate(const char *server, const char *name, size_t n_window, double seconds, double rate)
{
	Flow f = {.name = name};
	struct pollfd p = {.fd = connected(server, "53", SOCK_DGRAM), .events = POLLIN};
	long long start = now_ns();
	size_t sent = 0;

	prctl(PR_SET_TIMERSLACK, 1UL);
	f.end = start + (long long)(seconds * 1e9);
	for (size_t i = 0; i < n_window; i++)
		question_make(&window[i], (uint16_t)i, name, 0);
	while (now_ns() < f.end) {
		long long rest = send_due(p.fd, n_window, start, rate, &sent) - now_ns();
		struct timespec wait = {0, rest > 0 ? rest : 0};

		if (ppoll(&p, 1, &wait, NULL) > 0)
			answers_take(p.fd, n_window, once, &f);
		f.bad += overdue(p.fd, n_window);
	}
	return tell(f.bad, now_ns() - start);
}

static int names(const char *server, const char *name, int count)
{
	Flow f = {.name = name, .count = count};
	int fd = connected(server, "53", SOCK_DGRAM);
	long long start = now_ns();

	f.end = start + 60000000000LL;
	for (size_t i = 0; i < NAMES_AT_ONCE && f.next < count; i++) {
		question_make(&window[i], (uint16_t)i, name, f.next++);
		f.open++;
		question_send(fd, &window[i]);
	}
	while (f.open > 0 && now_ns() < f.end) {
		answers_take(fd, NAMES_AT_ONCE, next_name, &f);
		f.bad += overdue(fd, NAMES_AT_ONCE);
	}
	return tell(f.bad + f.open, now_ns() - start);
}

int main(int argc, char **argv)
{
	samples = malloc(SAMPLES_MAX * sizeof(*samples));
	if (!samples)
		die("malloc");
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		serve(argv[2]);
	if (argc == 6 && strcmp(argv[1], "ask") == 0)
		return ask(argv[2], argv[3], argv[4], atof(argv[5]));
	if (argc == 6 && strcmp(argv[1], "dns") == 0 && atoi(argv[4]) > 0 && atoi(argv[4]) <= WINDOW_MAX)
		return dns(argv[2], argv[3], (size_t)atoi(argv[4]), atof(argv[5]));
	if (argc == 7 && strcmp(argv[1], "dns") == 0 && atoi(argv[4]) > 0 && atoi(argv[4]) <= WINDOW_MAX && atof(argv[6]) >= 1)
		return dns_at_rate(argv[2], argv[3], (size_t)atoi(argv[4]), atof(argv[5]), atof(argv[6]));
	if (argc == 5 && strcmp(argv[1], "names") == 0)
		return names(argv[2], argv[3], atoi(argv[4]));
	fprintf(stderr, "usage: load serve PORT | ask tcp|udp ADDRESS PORT SECONDS | dns SERVER NAME WINDOW SECONDS [RATE] | names SERVER NAME COUNT\n");
	return 2;
}
