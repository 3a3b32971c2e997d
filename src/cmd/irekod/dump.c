/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A dump of what the process is doing (SIGUSR1), as dockerd's goroutine stacks are: to a file, whose path is logged.
 *
 * It is for the moment when something is stuck: it waits for no lock but the server's, and reads the rest from /proc.
 */
#include "daemon.h"

#include "base/clock.h"

#include <dirent.h>
#include <fcntl.h>
#include <time.h>

#define READ_MAX 65536

static void add_file(StrBuf *b, const char *path, const char *const *wanted)
{
	_cleanup_free_ char *text = NULL;
	char *line, *save;

	if (file_read_at(AT_FDCWD, path, READ_MAX, &text, NULL) < 0)
		return;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		for (const char *const *w = wanted; *w; w++)
			if (str_starts(line, *w))
				strbuf_addf(b, "%s\n", line);
}

static char *first_line(const char *dir, const char *name)
{
	_cleanup_free_ char *path = strf("%s/%s", dir, name);
	char *text = NULL;

	if (!path || file_read_at(AT_FDCWD, path, READ_MAX, &text, NULL) < 0)
		return strdup("?");
	text[strcspn(text, "\n")] = '\0';
	return text;
}

static void add_thread(StrBuf *b, const char *tid)
{
	_cleanup_free_ char *dir = strf("/proc/self/task/%s", tid), *name = NULL, *where = NULL, *call = NULL,
			    *stat = NULL;
	const char *state;

	if (!dir)
		return;
	name = first_line(dir, "comm");
	where = first_line(dir, "wchan");
	call = first_line(dir, "syscall");
	stat = first_line(dir, "stat");
	state = stat ? strrchr(stat, ')') : NULL;
	strbuf_addf(b, "thread %s %s state %c in %s, system call %.80s\n", tid, name ? name : "?",
		    state && state[1] ? state[2] : '?', where ? where : "?", call ? call : "?");
}

static void each_entry(StrBuf *b, const char *dir, void (*add)(StrBuf *b, const char *name))
{
	DIR *d = opendir(dir);
	const struct dirent *n;

	while (d && (n = readdir(d)))
		if (*n->d_name != '.')
			add(b, n->d_name);
	if (d)
		closedir(d);
}

static void add_descriptor(StrBuf *b, const char *fd)
{
	_cleanup_free_ char *path = strf("/proc/self/fd/%s", fd);
	char to[512];
	ssize_t n = path ? readlink(path, to, sizeof(to) - 1) : -1;

	if (n > 0)
		strbuf_addf(b, "fd %s %.*s\n", fd, (int)n, to);
}

static void fill(Daemon *d, StrBuf *b)
{
	static const char *const memory[] = {"Rss:", "Pss:", "Private_", "Swap", NULL};
	static const char *const status[] = {"VmPeak:", "VmSize:", "Threads:", "FDSize:", "voluntary", NULL};

	strbuf_addf(b, "irekod %s, pid %d, up %.1f s, %s\n", IREKO_VERSION, (int)getpid(),
		    (double)(clock_mono_ns() - d->started_ns) / 1e9, clock_rfc3339(clock_now_ns()).s);
	strbuf_add(b, "\n== memory\n");
	add_file(b, "/proc/self/smaps_rollup", memory);
	add_file(b, "/proc/self/status", status);
	strbuf_add(b, "\n== requests\n");
	http_server_describe(d->server, b);
	strbuf_add(b, "\n== engine\n");
	engine_describe(d->engine, b);
	strbuf_add(b, "\n== threads\n");
	each_entry(b, "/proc/self/task", add_thread);
	strbuf_add(b, "\n== descriptors\n");
	each_entry(b, "/proc/self/fd", add_descriptor);
}

void daemon_dump(Daemon *d)
{
	_cleanup_strbuf_ StrBuf b = {0};
	_cleanup_free_ char *path = NULL;
	char when[32];
	time_t now = time(NULL);
	struct tm tm;
	int r;

	gmtime_r(&now, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H%M%SZ", &tm);
	path = strf("%s/irekod-dump-%s.log", config_text(&d->config, "exec-root"), when);
	fill(d, &b);
	r = !path || b.oom ? -ENOMEM : file_replace_at(AT_FDCWD, path, b.s, b.len, 0600, false);
	if (r < 0)
		log_error("write a dump to %s: %s", path ? path : "?", strerror(-r));
	else
		log_info("a dump of threads, requests and locks was written to %s", path);
}
