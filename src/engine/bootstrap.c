/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Base images made on the spot: mmdebstrap installs a minimal system from the distribution's archive, its
 * tar goes through a pipe into the store's sandbox, and the layer counts only if mmdebstrap has ended well.
 *
 * mmdebstrap runs in a mount and a pid namespace of its own and in its own session, below setpriv's
 * parent-death signal: killing that one child ends every process of it and takes every mount along, be it because the client left or
 * because irekod died. Its temporary directory is under the data root and removed by us.
 *
 * Of several callers for one reference the first works and the others wait for its result.
 */
#include "engine/bootstrap.h"
#include "engine/image-internal.h"

#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>

#define LINE_LEN   512
#define LAST_LINES 12
#define DAY_S      86400

typedef struct Bootstrap {
	Engine *en;
	BaseSource source;
	const char *reference;
	EngineProgress progress;
	void *user;
	int alive_fd;
	int64_t epoch; /* SOURCE_DATE_EPOCH, seconds */
	char *tmp_dir;

	pid_t pid; /* 0 once reaped */
	int out_fd, err_fd;
	pthread_t listener;
	bool listening, cancelled;
	char last[LAST_LINES][LINE_LEN]; /* of its messages, a ring */
	size_t n_lines;
} Bootstrap;

/* ---- one at a time per reference ---- */

typedef struct Flight {
	const Engine *en;
	const char *full;
	struct Flight *next;
} Flight;

static pthread_mutex_t flights_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t flights_changed = PTHREAD_COND_INITIALIZER;
static Flight *flights;

static bool in_flight(const Engine *en, const char *full)
{
	for (const Flight *f = flights; f; f = f->next)
		if (f->en == en && streq(f->full, full))
			return true;
	return false;
}

static bool client_gone(int alive_fd)
{
	struct pollfd p = {.fd = alive_fd};

	return alive_fd >= 0 && poll(&p, 1, 0) > 0 && (p.revents & (POLLERR | POLLHUP | POLLNVAL));
}

/* *ret_waited: somebody else has just made it, or failed to. */
static int flight_begin(Flight *f, int alive_fd, bool *ret_waited, bool *ret_first, Err *e)
{
	int r = 0;

	*ret_waited = false;
	pthread_mutex_lock(&flights_lock);
	while (r >= 0 && in_flight(f->en, f->full)) {
		struct timespec until;

		*ret_waited = true;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec++;
		pthread_cond_timedwait(&flights_changed, &flights_lock, &until);
		if (client_gone(alive_fd))
			r = err_new(e, ERR_CANCELLED, "the client has gone away");
	}
	if (r >= 0) {
		*ret_first = !flights;
		f->next = flights;
		flights = f;
	}
	pthread_mutex_unlock(&flights_lock);
	return r;
}

static void flight_end(Flight *f)
{
	pthread_mutex_lock(&flights_lock);
	for (Flight **p = &flights; *p; p = &(*p)->next)
		if (*p == f) {
			*p = f->next;
			break;
		}
	pthread_cond_broadcast(&flights_changed);
	pthread_mutex_unlock(&flights_lock);
}

/* ---- what mmdebstrap says ---- */

static void take_line(Bootstrap *b, char *line)
{
	for (char *p = line; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = ' ';
	if (line[strspn(line, " ")] == '\0')
		return;
	snprintf(b->last[b->n_lines++ % LAST_LINES], LINE_LEN, "%s", line);
	if (b->progress)
		b->progress(b->user, NULL, line, 0, 0);
}

/* Splits at newlines; a carriage return starts a progress bar anew. */
static void take_bytes(Bootstrap *b, char *line, size_t *len, const char *data, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (data[i] == '\n' || data[i] == '\r' || *len == LINE_LEN - 1) {
			line[*len] = '\0';
			take_line(b, line);
			*len = 0;
		}
		if (data[i] != '\n' && data[i] != '\r')
			line[(*len)++] = data[i];
	}
}

static void *listener_thread(void *arg)
{
	Bootstrap *b = arg;
	char buf[2048], line[LINE_LEN];
	size_t len = 0;

	for (;;) {
		struct pollfd p[2] = {{.fd = b->err_fd, .events = POLLIN},
				      {.fd = b->cancelled ? -1 : b->alive_fd}};

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (p[1].revents & (POLLERR | POLLHUP | POLLNVAL)) {
			/* It is reaped only after this thread has ended, so the pid is still its own. */
			b->cancelled = true;
			(void)kill(-b->pid, SIGKILL);
		}
		if (!p[0].revents)
			continue;
		ssize_t n = read(b->err_fd, buf, sizeof(buf));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		take_bytes(b, line, &len, buf, (size_t)n);
	}
	line[len] = '\0';
	take_line(b, line);
	return NULL;
}

/* ---- the command ---- */

static bool in_path(const char *program)
{
	_cleanup_strv_ char **dirs =
	    strv_split("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", ':');

	for (size_t i = 0; dirs && dirs[i]; i++) {
		_cleanup_free_ char *p = strf("%s/%s", dirs[i], program);

		if (p && access(p, X_OK) == 0)
			return true;
	}
	return false;
}

static int check_tools(const BaseSource *s, Err *e)
{
	const char *const util_linux[] = {"setpriv", "unshare"};

	if (!in_path("mmdebstrap"))
		return err_new(e, ERR_UNAVAILABLE, "mmdebstrap is not installed: apt-get install mmdebstrap");
	for (size_t i = 0; i < ELEMENTSOF(util_linux); i++)
		if (!in_path(util_linux[i]))
			return err_new(e, ERR_UNAVAILABLE, "%s is not installed: apt-get install util-linux",
				       util_linux[i]);
	if (access(s->keyring, R_OK) < 0)
		return err_new(
		    e, ERR_UNAVAILABLE,
		    "the keyring %s, which signatures are checked with, is missing: apt-get install %s",
		    s->keyring,
		    streq(s->distribution, "debian") ? "debian-archive-keyring" : "ubuntu-keyring");
	return 0;
}

/* The output of a short command of ours. */
static char *output_of(const char *const *argv)
{
	posix_spawn_file_actions_t fa;
	char *text = NULL;
	int p[2], status;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0)
		return NULL;
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&fa, p[1], 1);
	posix_spawn_file_actions_addopen(&fa, 2, "/dev/null", O_WRONLY, 0);
	int r = posix_spawnp(&pid, argv[0], &fa, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	close_fd(&p[1]);
	if (r == 0) {
		if (fd_read_all(p[0], 1 << 20, &text, NULL) < 0)
			text = NULL;
		close_fd(&p[0]);
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	}
	close_fd(&p[0]);
	return text;
}

/* The value of `key "value";` in what apt-config dump prints. */
static char *apt_value(const char *dump, const char *key)
{
	size_t n = strlen(key);

	for (const char *line = dump; line && *line;
	     line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
		if (strncasecmp(line, key, n) == 0 && line[n] == ' ' && line[n + 1] == '"')
			return strndup(line + n + 2, strcspn(line + n + 2, "\"\n"));
	return NULL;
}

/* Whether expired Release files are taken is the host's decision; signatures are checked in any case. */
static int add_apt_options(char ***argv, const char *dump)
{
	static const char *const passed[] = {"Acquire::Check-Valid-Until", "Acquire::Check-Date"};
	int r = 0;

	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(passed); i++) {
		_cleanup_free_ char *v = apt_value(dump, passed[i]);

		if (v && (streq(v, "false") || streq(v, "true") || streq(v, "0") || streq(v, "1")))
			r = strv_take(argv, strf("--aptopt=%s \"%s\"", passed[i], v));
	}
	return r;
}

/* Services must not be started by packages, and downloaded packages not be kept. Lists and caches are removed here and
 * not by mmdebstrap, which has apt write a cache anew that differs each time. */
static const char customize_hook[] =
    "--customize-hook="
    "printf '#!/bin/sh\\nexit 101\\n' >\"$1/usr/sbin/policy-rc.d\" && chmod 755 \"$1/usr/sbin/policy-rc.d\" "
    "&& "
    "printf 'Binary::apt::APT::Keep-Downloaded-Packages \"false\";\\nDir::Cache::pkgcache \"\";\\n"
    "Dir::Cache::srcpkgcache \"\";\\n' >\"$1/etc/apt/apt.conf.d/90container\" && "
    "rm -rf \"$1\"/var/lib/apt/lists/* \"$1\"/var/cache/apt/*.bin \"$1\"/var/cache/apt/archives/*.deb && "
    "rm -f \"$1/etc/hostname\" \"$1/etc/resolv.conf\" \"$1\"/var/log/*.log \"$1\"/var/log/apt/* "
    "\"$1\"/var/cache/ldconfig/aux-cache";

static int add_slim(char ***argv)
{
	static const char *const excluded[] = {
	    "path-exclude=/usr/share/doc/*",    "path-include=/usr/share/doc/*/copyright",
	    "path-exclude=/usr/share/man/*",    "path-exclude=/usr/share/info/*",
	    "path-exclude=/usr/share/groff/*",  "path-exclude=/usr/share/lintian/*",
	    "path-exclude=/usr/share/locale/*", "path-include=/usr/share/locale/locale.alias",
	};
	int r = 0;

	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(excluded); i++)
		r = strv_take(argv, strf("--dpkgopt=%s", excluded[i]));
	return r;
}

static char **command_of(const Bootstrap *b, const char *apt_dump)
{
	static const char *const head[] = {
	    "setpriv",      "--pdeathsig",       "KILL",
	    "unshare",      "--mount",           "--pid",
	    "--fork",       "--kill-child",      "--mount-proc",
	    "mmdebstrap",   "--mode=root",       "--variant=minbase",
	    "--format=tar", "--skip=output/dev", "--skip=cleanup/apt",
	};
	_cleanup_strv_ char **argv = NULL, **lines = base_source_lines(&b->source);
	int r = lines ? 0 : -ENOMEM;

	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(head); i++)
		r = strv_add(&argv, head[i]);
	if (r >= 0)
		r = add_apt_options(&argv, apt_dump);
	if (r >= 0 && b->source.slim)
		r = add_slim(&argv);
	if (r >= 0)
		r = strv_add(&argv, customize_hook);
	if (r >= 0)
		r = strv_add(&argv, b->source.suite);
	if (r >= 0)
		r = strv_add(&argv, "-");
	for (size_t i = 0; r >= 0 && lines[i]; i++)
		r = strv_add(&argv, lines[i]);
	return r < 0 ? NULL : take_ptr(argv);
}

static char **environment_of(const Bootstrap *b, const char *apt_dump)
{
	static const char *const kept[] = {"http_proxy", "https_proxy", "no_proxy",
					   "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"};
	_cleanup_strv_ char **env = NULL;
	_cleanup_free_ char *proxy = apt_value(apt_dump, "Acquire::http::Proxy"),
			    *sproxy = apt_value(apt_dump, "Acquire::https::Proxy");
	int r = strv_add(&env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");

	if (r >= 0)
		r = strv_add(&env, "LC_ALL=C.UTF-8");
	if (r >= 0)
		r = strv_add(&env, "DEBIAN_FRONTEND=noninteractive");
	if (r >= 0)
		r = strv_take(&env, strf("TMPDIR=%s", b->tmp_dir));
	if (r >= 0)
		r = strv_take(&env, strf("SOURCE_DATE_EPOCH=%lld", (long long)b->epoch));
	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(kept); i++)
		if (getenv(kept[i]))
			r = strv_take(&env, strf("%s=%s", kept[i], getenv(kept[i])));
	if (r >= 0 && !str_empty(proxy) && !strv_env_get(env, "http_proxy"))
		r = strv_take(&env, strf("http_proxy=%s", proxy));
	if (r >= 0 && !str_empty(sproxy) && !strv_env_get(env, "https_proxy"))
		r = strv_take(&env, strf("https_proxy=%s", sproxy));
	return r < 0 ? NULL : take_ptr(env);
}

static int spawn(Bootstrap *b, char **argv, char **env, int out, int err)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	sigset_t none, dflt;
	int r;

	sigemptyset(&none);
	sigemptyset(&dflt);
	sigaddset(&dflt, SIGPIPE); /* ignored in the daemon; programs expect it */
	sigaddset(&dflt, SIGINT);
	sigaddset(&dflt, SIGTERM);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &dflt);
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&fa, out, 1);
	posix_spawn_file_actions_adddup2(&fa, err, 2);
	posix_spawn_file_actions_addchdir_np(&fa, "/");
	r = posix_spawnp(&b->pid, argv[0], &fa, &attr, argv, env);
	posix_spawn_file_actions_destroy(&fa);
	posix_spawnattr_destroy(&attr);
	if (r != 0)
		b->pid = 0;
	return -r;
}

static int start_child(Bootstrap *b, Err *e)
{
	const char *const dump_argv[] = {"apt-config", "dump", NULL};
	_cleanup_free_ char *dump = output_of(dump_argv);
	_cleanup_strv_ char **argv = command_of(b, dump ?: ""), **env = environment_of(b, dump ?: "");
	int out[2], err[2], r;

	if (!argv || !env)
		return err_oom(e);
	if (pipe2(out, O_CLOEXEC) < 0)
		return err_sys(e, errno, "make a pipe");
	if (pipe2(err, O_CLOEXEC) < 0) {
		r = err_sys(e, errno, "make a pipe");
		close_fd(&out[0]);
		close_fd(&out[1]);
		return r;
	}
	b->out_fd = out[0];
	b->err_fd = err[0];
	r = spawn(b, argv, env, out[1], err[1]);
	close_fd(&out[1]);
	close_fd(&err[1]);
	if (r < 0)
		return err_sys(e, r, "start mmdebstrap");
	r = pthread_create(&b->listener, NULL, listener_thread, b);
	if (r != 0)
		return err_sys(e, r, "start a thread");
	b->listening = true;
	return 0;
}

/* Waits for the child; with `end` it is killed first. Its exit status. */
static int child_end(Bootstrap *b, bool end)
{
	int status = 0;

	if (b->pid <= 0)
		return 0;
	if (end)
		(void)kill(-b->pid, SIGKILL);
	if (b->listening)
		pthread_join(b->listener, NULL);
	b->listening = false;
	while (waitpid(b->pid, &status, 0) < 0 && errno == EINTR)
		;
	b->pid = 0;
	return status;
}

static int child_failed(Bootstrap *b, int status, Err *e)
{
	_cleanup_strbuf_ StrBuf said = {0};
	size_t n = MIN2(b->n_lines, (size_t)LAST_LINES);

	for (size_t i = b->n_lines - n; i < b->n_lines; i++)
		strbuf_addf(&said, "%s%s", said.len ? "\n" : "", b->last[i % LAST_LINES]);
	return err_new(e, ERR_UNAVAILABLE, "mmdebstrap ended with %s %d:\n%.1500s",
		       WIFSIGNALED(status) ? "signal" : "status",
		       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
		       said.s ? said.s : "(it said nothing)");
}

/* The end of the tar is reached: is it whole? */
static int gate(void *user, Err *e)
{
	Bootstrap *b = user;
	int status = child_end(b, false), r = 0;

	if (b->cancelled)
		r = err_new(e, ERR_CANCELLED, "the client has gone away");
	else if (status != 0)
		r = child_failed(b, status, e);
	return r;
}

/* ---- the image ---- */

/* When the archive was last published, if apt knows its Release file; else today's midnight. So images of one state
 * of the archive are the same. */
static int64_t choose_epoch(const BaseSource *s)
{
	_cleanup_free_ char *uri = strdup(strstr(s->uri, "://") ? strstr(s->uri, "://") + 3 : s->uri),
			    *text = NULL, *path = NULL;
	struct tm tm = {0};
	const char *date;

	for (char *p = uri; p && *p; p++)
		*p = *p == '/' ? '_' : *p;
	path = uri ? strf("/var/lib/apt/lists/%s_dists_%s_InRelease", uri, s->suite) : NULL;
	if (path && file_read_at(AT_FDCWD, path, 16 << 20, &text, NULL) >= 0 &&
	    (date = strstr(text, "\nDate: ")) && strptime(date + 7, "%a, %d %b %Y %H:%M:%S", &tm))
		return timegm(&tm);
	int64_t now = clock_now_ns() / 1000000000;
	return now - now % DAY_S;
}

static int config_make(const Bootstrap *b, const char *diff_id, ImageConfig *ic, Err *e)
{
	int r = image_platform_parse(NULL, &ic->platform, e);

	if (r < 0)
		return r;
	ic->created = strdup(clock_rfc3339(b->epoch * 1000000000).s);
	ic->history = calloc(1, sizeof(*ic->history));
	if (!ic->created || !ic->history || strv_add(&ic->diff_ids, diff_id) < 0 ||
	    strv_add(&ic->run.cmd, "bash") < 0 ||
	    strv_add(&ic->run.env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin") < 0)
		return err_oom(e);
	ic->n_history = 1;
	ic->history[0].created = strdup(ic->created);
	ic->history[0].created_by = strf("ireko bootstrap %s:%s%s", b->source.distribution, b->source.suite,
					 b->source.slim ? "-slim" : "");
	return ic->history[0].created && ic->history[0].created_by ? 0 : err_oom(e);
}

static int image_make(Bootstrap *b, const char *diff_id, char ret_id[DIGEST_LEN + 1], Err *e)
{
	ImageConfig ic = {.run.stop_timeout = -1};
	_cleanup_json_ json_t *doc = NULL;
	_cleanup_free_ char *text = NULL;
	int r = config_make(b, diff_id, &ic, e);

	if (r >= 0) {
		doc = image_config_encode(&ic);
		text = doc ? json_text(doc) : NULL;
		r = text ? store_blob_put(b->en->store, text, strlen(text), ret_id, e) : err_oom(e);
	}
	if (r >= 0)
		r = store_image_put(b->en->store, ret_id, NULL, NULL, e);
	image_config_done(&ic);
	return r < 0 ? r : image_tag_as(b->en, b->reference, ret_id, e);
}

/* A child that is about to end by itself gets a moment for it, so that its own status is seen. */
static void child_settle(const Bootstrap *b)
{
	for (int i = 0; i < 20; i++) {
		siginfo_t si = {0};

		if (waitid(P_PID, (id_t)b->pid, &si, WEXITED | WNOHANG | WNOWAIT) < 0 || si.si_pid != 0)
			return;
		(void)poll(NULL, 0, 10);
	}
}

static int layer_make(Bootstrap *b, char ret_diff[DIGEST_LEN + 1], Err *e)
{
	LayerApply a = {.fd = b->out_fd, .gate = gate, .user = b};
	char chain[DIGEST_LEN + 1];
	int r = store_layer_apply(b->en->store, &a, chain, ret_diff, e), status;

	if (r >= 0)
		return 0;
	if (b->pid <= 0)
		return r;
	/* The tar broke off or could not be written. If mmdebstrap had failed by itself, its words are the better ones. */
	close_fd(&b->out_fd);
	child_settle(b);
	status = child_end(b, true);
	if (b->cancelled)
		return err_new(e, ERR_CANCELLED, "the client has gone away");
	return WIFEXITED(status) && WEXITSTATUS(status) != 0 ? child_failed(b, status, e) : r;
}

static int tmp_make(Bootstrap *b, bool first, Err *e)
{
	const char *root = store_root(b->en->store);
	char name[17];
	int r;

	/* Whatever an irekod before us left behind. */
	if (first)
		(void)remove_tree_at(store_root_fd(b->en->store), "bootstrap");
	id_random_hex(name, 16);
	b->tmp_dir = strf("%s/bootstrap/%s", root, name);
	if (!b->tmp_dir)
		return err_oom(e);
	r = mkdir_parents_at(AT_FDCWD, b->tmp_dir, 0755);
	return r < 0 ? err_sys(e, r, "make %s", b->tmp_dir) : 0;
}

static int tmp_remove(Bootstrap *b, Err *e)
{
	int r = b->tmp_dir ? remove_tree_at(AT_FDCWD, b->tmp_dir) : 0;

	if (r >= 0) /* the last one out; others keep it from being empty */
		(void)unlinkat(store_root_fd(b->en->store), "bootstrap", AT_REMOVEDIR);
	return r < 0 ? err_sys(e, r, "remove %s", b->tmp_dir) : 0;
}

static int make(Bootstrap *b, bool first, char ret_id[DIGEST_LEN + 1], Err *e)
{
	char diff[DIGEST_LEN + 1];
	Err err = {0};
	int r = check_tools(&b->source, e);

	if (r >= 0)
		r = tmp_make(b, first, e);
	if (r >= 0)
		r = start_child(b, e);
	if (r >= 0)
		r = layer_make(b, diff, e);
	(void)child_end(b, true); /* of a failure between the two */
	if (r >= 0)
		r = image_make(b, diff, ret_id, e);
	close_fd(&b->out_fd);
	close_fd(&b->err_fd);
	int w = tmp_remove(b, &err);
	if (w < 0 && r >= 0)
		log_warn("bootstrap %s: %s", b->reference, err_msg(&err, w));
	free(b->tmp_dir);
	return r;
}

static bool is_there(Engine *en, const char *reference, char ret_id[DIGEST_LEN + 1])
{
	StoreImage i = {0};

	if (store_image_find(en->store, reference, &i, NULL) < 0)
		return false;
	snprintf(ret_id, DIGEST_LEN + 1, "%s", i.id);
	store_image_done(&i);
	return true;
}

static char *full_name(const char *reference)
{
	Reference ref = {0};
	char *s = NULL;

	if (reference_parse(reference, &ref, NULL) >= 0)
		s = reference_full(&ref);
	reference_done(&ref);
	return s;
}

int engine_image_bootstrap(Engine *en, const char *reference, bool again, EngineProgress progress, void *user,
			   int alive_fd, char ret_image_id[DIGEST_LEN + 1], Err *e)
{
	Bootstrap b = {
	    .en = en,
	    .reference = reference,
	    .progress = progress,
	    .user = user,
	    .alive_fd = alive_fd,
	    .out_fd = -1,
	    .err_fd = -1,
	};
	_cleanup_free_ char *full = NULL;
	bool waited = false, first = false;
	int r = base_source_parse(reference, &b.source, e);

	if (r < 0)
		return r;
	full = full_name(reference);
	Flight f = {.en = en, .full = full};
	r = full ? flight_begin(&f, alive_fd, &waited, &first, e) : err_oom(e);
	if (r >= 0) {
		/* Who waited takes what the other made, even if asked to make it again. */
		if ((again && !waited) || !is_there(en, full, ret_image_id)) {
			r = base_source_scan_host(&b.source, e);
			b.epoch = choose_epoch(&b.source);
			if (r >= 0)
				r = make(&b, first, ret_image_id, e);
		}
		flight_end(&f);
	}
	base_source_done(&b.source);
	return err_ctx(e, r, "bootstrap %s", reference);
}
