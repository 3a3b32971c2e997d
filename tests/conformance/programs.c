/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the images of critest are made of besides busybox: one static program, which is what it is called as.
 *
 *    nginx PORT, httpd PORT   a web server: answers every request with 200 and the same page, says its name on stdout, and leaves its pid in
 *                             /var/run/NAME.pid. With a port that cannot be had it fails
 *    nonewprivs               says its effective user
 *    pause                    waits; ends on SIGTERM and SIGINT, and reaps as a first process must
 */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int fails(const char *what)
{
	perror(what);
	return 1;
}

static void answer(int fd)
{
	static const char page[] = "<h1>It works</h1>\n";
	char request[4096], head[128];
	int n;

	/* What the client asks is one segment; whatever it is, the page is the answer. */
	if (read(fd, request, sizeof(request)) <= 0)
		return;
	n = snprintf(head, sizeof(head),
		     "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", sizeof(page) - 1);
	if (write(fd, head, (size_t)n) != n || write(fd, page, sizeof(page) - 1) < 0)
		fprintf(stderr, "a client has gone\n");
}

static int leave_pid(const char *name)
{
	char path[64];
	FILE *f;

	(void)snprintf(path, sizeof(path), "/var/run/%s.pid", name);
	f = fopen(path, "we");
	if (!f)
		return fails(path);
	fprintf(f, "%d\n", getpid());
	return fclose(f) == 0 ? 0 : fails(path);
}

static int web_server(const char *name, const char *port)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)atoi(port))};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	/* SIGQUIT is how these servers are asked to end; as first processes they end of none that they do not handle. */
	signal(SIGQUIT, _exit);
	signal(SIGTERM, _exit);
	signal(SIGPIPE, SIG_IGN);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0 || listen(fd, 16) < 0)
		return fails(port);
	if (leave_pid(name) != 0)
		return 1;
	printf("%s listens on port %s\n", name, port);
	fflush(stdout);
	for (;;) {
		int client = accept(fd, NULL, NULL);

		if (client >= 0) {
			answer(client);
			(void)close(client);
		}
	}
}

static int pause_until_told(void)
{
	sigset_t all;

	sigfillset(&all);
	if (sigprocmask(SIG_BLOCK, &all, NULL) < 0)
		return fails("sigprocmask");
	for (;;) {
		int sig = sigwaitinfo(&all, NULL);

		if (sig == SIGTERM || sig == SIGINT)
			return 0;
		if (sig == SIGCHLD)
			while (waitpid(-1, NULL, WNOHANG) > 0)
				;
	}
}

int main(int argc, char **argv)
{
	const char *slash = strrchr(argv[0], '/'), *name = slash ? slash + 1 : argv[0];

	if ((strcmp(name, "nginx") == 0 || strcmp(name, "httpd") == 0) && argc >= 2)
		return web_server(name, argv[1]);
	if (strcmp(name, "nonewprivs") == 0)
		return printf("Effective uid: %u\n", geteuid()) < 0;
	if (strcmp(name, "pause") == 0)
		return pause_until_told();
	fprintf(stderr, "usage: nginx PORT | httpd PORT | nonewprivs | pause\n");
	return 2;
}
