/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our own way to an engine of ours on this machine: POST /ireko/build, the request as one line with our directories as descriptors, and lines back
 * (src/api/docker/build-wire.h has the protocol).
 *
 * One loop waits for the engine, for the files of the result, and for the time of the next frame. What the engine asks for is
 * answered at once; it is trusted with our credentials as it is by `pull`, one registry at a time.
 */
#include "base/clock.h"
#include "base/fd.h"
#include "base/secret.h"
#include "build-view.h"
#include "build.h"
#include "client.h"
#include "credential.h"
#include "env-file.h"
#include "extract.h"
#include "spec.h"
#include "tar.h"
#include "terminal.h"
#include "text.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/statvfs.h>

#define EVENT_MAX (16u << 20)
#define FRAME_NS  100000000LL

typedef enum ProgressMode { SHOW_TTY, SHOW_PLAIN, SHOW_RAW, SHOW_NOTHING } ProgressMode;

typedef struct Local {
	Call *call;
	const BuildPlan *plan;
	BuildFiles files;
	Httpc *client;
	int sock, pipe_fd; /* pipe_fd: the files of the result, -1: none awaited */
	int upload_fd;     /* where the archive on standard input goes, -1: nowhere (any more) */
	StrBuf upload;     /* what of it is read and not sent */
	bool begun;        /* the engine has taken the request on */
	StrBuf in;
	size_t in_at;
	ProgressMode mode;
	BuildView *view;
	int64_t frame_ns; /* when the last frame was drawn */
	bool changed, over;
	BuildOutcome *outcome;
	char *refused, *excerpt;
} Local;

static void local_done(Local *l)
{
	build_files_done(&l->files);
	httpc_free(l->client);
	close_fd(&l->pipe_fd);
	close_fd(&l->upload_fd);
	strbuf_done(&l->upload);
	strbuf_wipe(&l->in);
	build_view_free(l->view);
	free(l->refused);
	free(l->excerpt);
}

/* ---- the request */

static int progress_mode(const Call *call, const BuildOptions *o, ProgressMode *ret, Err *e)
{
	const char *name = o->progress ? o->progress : getenv("BUILDKIT_PROGRESS");

	if (o->quiet || streq0(name, "quiet"))
		*ret = SHOW_NOTHING;
	else if (str_empty(name) || streq(name, "auto"))
		*ret = call->cli->err_tty ? SHOW_TTY : SHOW_PLAIN;
	else if (streq(name, "tty") && !call->cli->err_tty)
		return err_new(e, ERR_INVALID, "--progress=tty: standard error is no terminal");
	else if (streq(name, "tty"))
		*ret = SHOW_TTY;
	else if (streq(name, "plain"))
		*ret = SHOW_PLAIN;
	else if (streq(name, "rawjson"))
		*ret = SHOW_RAW;
	else
		return err_new(e, ERR_INVALID,
			       "invalid progress mode %s: expected auto, tty, plain, rawjson or quiet", name);
	return 0;
}

static int set(json_t *doc, const char *key, json_t *value, Err *e)
{
	return json_object_set_new(doc, key, value) < 0
		   ? err_new(e, ERR_INVALID, "%s: out of memory, or a value is no UTF-8", key)
		   : 0;
}

static int set_texts(json_t *doc, const BuildPlan *p, Err *e)
{
	const BuildOptions *o = p->o;
	const struct {
		const char *key, *value;
	} texts[] = {
	    {"dockerfile", p->context.text ? build_files_dockerfile(p) : p->context.dockerfile},
	    {"context", p->context.archive_head ? "http://buildkit-session/stdin" : p->context.remote},
	    {"target", o->target},
	    {"network", o->network},
	    {"platform", p->platform},
	    {"provenance", p->provenance},
	    {"cpusetCpus", o->resources.cpuset_cpus},
	    {"cpusetMems", o->resources.cpuset_mems},
	    {"cgroupParent", o->cgroup_parent},
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ELEMENTSOF(texts); i++)
		if (texts[i].value)
			r = set(doc, texts[i].key, json_string(texts[i].value), e);
	return r;
}

static int set_numbers(json_t *doc, const BuildOptions *o, Err *e)
{
	const struct {
		const char *key;
		Num n;
	} numbers[] = {
	    {"memory", o->resources.memory},        {"memorySwap", o->resources.memory_swap},
	    {"cpuShares", o->resources.cpu_shares}, {"cpuPeriod", o->resources.cpu_period},
	    {"cpuQuota", o->resources.cpu_quota},   {"shmSize", o->shm_size},
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ELEMENTSOF(numbers); i++)
		if (numbers[i].n.set)
			r = set(doc, numbers[i].key, json_integer(numbers[i].n.v), e);
	return r;
}

static int set_flags(json_t *doc, const BuildPlan *p, Err *e)
{
	const BuildOptions *o = p->o;
	const struct {
		const char *key;
		bool on;
	} flags[] = {
	    {"noCache", o->no_cache || o->no_cache_filter.v},
	    {"pull", o->pull},
	    {"sbom", p->sbom},
	    {"squash", o->squash},
	    {"shellOnFail", o->shell_on_fail},
	    {"keepFailed", o->rm == TRI_FALSE && !o->force_rm},
	    {"image", p->output.kind == OUT_IMAGE || p->output.kind == OUT_ARCHIVE},
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ELEMENTSOF(flags); i++)
		if (flags[i].on)
			r = set(doc, flags[i].key, json_true(), e);
	return r;
}

static int set_list(json_t *doc, const char *key, char *const *v, Err *e)
{
	return v && v[0] ? set(doc, key, json_from_strv(v), e) : 0;
}

int build_args(const BuildOptions *o, char ***ret, Err *e)
{
	for (size_t i = 0; o->args.v && o->args.v[i]; i++) {
		const char *s = o->args.v[i], *value = strchr(s, '=') ? NULL : getenv(s);

		if (!*s || *s == '=')
			return err_new(e, ERR_INVALID, "invalid --build-arg \"%s\": expected NAME=VALUE", s);
		if (strv_take(ret, value ? strf("%s=%s", s, value) : strdup(s)) < 0)
			return err_oom(e);
	}
	return 0;
}

static int agent_ids(char *const *agents, char ***ret, Err *e)
{
	for (size_t i = 0; agents && agents[i]; i++)
		if (strv_take(ret, strndup(agents[i], strcspn(agents[i], "="))) < 0)
			return err_oom(e);
	return 0;
}

static int check_ulimits(const BuildOptions *o, Err *e)
{
	_cleanup_json_ json_t *ignored = json_array();
	int r = ignored ? 0 : err_oom(e);

	for (size_t i = 0; r == 0 && o->ulimits.v && o->ulimits.v[i]; i++)
		r = spec_add_ulimit(o->ulimits.v[i], ignored, e);
	return r;
}

static int set_lists(json_t *doc, const Local *l, Err *e)
{
	const BuildOptions *o = l->plan->o;
	_cleanup_strv_ char **args = NULL, **labels = NULL, **ids = NULL;
	int r = build_args(o, &args, e);

	if (r == 0)
		r = labels_collect(NULL, o->labels.v, &labels, e);
	if (r == 0)
		r = agent_ids(l->files.agents, &ids, e);
	if (r == 0)
		r = check_ulimits(o, e);
	const struct {
		const char *key;
		char *const *v;
	} lists[] = {
	    {"tags", l->plan->tags},
	    {"args", args},
	    {"labels", labels},
	    {"agents", ids},
	    {"hosts", o->hosts.v},
	    {"ulimits", o->ulimits.v},
	    {"contexts", l->files.contexts},
	    {"allow", o->allow.v},
	    {"cacheFrom", o->cache_from.v},
	    {"cacheTo", o->cache_to.v},
	    {"annotations", o->annotations.v},
	    {"noCacheStages", o->no_cache ? NULL : o->no_cache_filter.v},
	};
	for (size_t i = 0; r == 0 && i < ELEMENTSOF(lists); i++)
		r = set_list(doc, lists[i].key, lists[i].v, e);
	return r;
}

/* Where the files of the result go: a file of ours, or a pipe that we unpack. */
static int open_archive(Local *l, Err *e)
{
	const BuildOutput *out = &l->plan->output;
	int pair[2], fd;

	if (out->kind == OUT_LOCAL) {
		if (pipe2(pair, O_CLOEXEC) < 0)
			return err_sys(e, errno, "make a pipe");
		l->pipe_fd = pair[0];
		return build_files_add(&l->files, "archive", NULL, pair[1], e);
	}
	if (out->kind != OUT_TAR)
		return 0;
	fd = streq(out->dest, "-") ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)
				   : open(out->dest, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	return fd < 0 ? err_sys(e, errno, "open %s", out->dest)
		      : build_files_add(&l->files, "archive", NULL, fd, e);
}

/* An archive on standard input is passed on by us: when we go, it ends. */
static int open_upload(Local *l, Err *e)
{
	const Context *c = &l->plan->context;
	int pair[2];

	if (!c->archive_head)
		return 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, errno, "make a pair of sockets");
	l->upload_fd = pair[0];
	strbuf_add_n(&l->upload, c->archive_head, c->archive_head_len);
	return build_files_add(&l->files, "upload", NULL, pair[1], e);
}

static int send_request(Local *l, Err *e)
{
	_cleanup_json_ json_t *doc = json_object();
	_cleanup_free_ char *text = NULL, *line = NULL;
	int r = doc ? set_texts(doc, l->plan, e) : err_oom(e);

	if (r == 0)
		r = set_numbers(doc, l->plan->o, e);
	if (r == 0)
		r = set_flags(doc, l->plan, e);
	if (r == 0)
		r = set_lists(doc, l, e);
	if (r == 0)
		r = set(doc, "files", l->files.docs ? json_incref(l->files.docs) : json_array(), e);
	if (r < 0)
		return r;
	text = json_text(doc);
	line = text ? strf("%s\n", text) : NULL;
	if (!line)
		return err_oom(e);
	size_t len = strlen(line);
	ssize_t n = fd_send_msg(l->sock, line, len, l->files.fds, l->files.n);
	if (n >= 0 && (size_t)n < len)
		n = fd_write_all(l->sock, line + n, len - (size_t)n);
	if (n < 0)
		return err_sys(e, (int)n, "send the request to the engine");
	/* The end of the pipe that the engine has is the only one from now on. */
	for (size_t i = 0; i < l->files.n; i++)
		(void)close(l->files.fds[i]);
	l->files.n = 0;
	return 0;
}

/* ---- what is shown */

static void put(const StrBuf *b)
{
	if (b->len)
		(void)fd_write_all(STDERR_FILENO, b->s,
				   b->len); /* a view that cannot be shown is no failure */
}

static void show(Local *l, bool last)
{
	_cleanup_strbuf_ StrBuf b = {0};
	int64_t now = clock_now_ns();
	int height = 24, width = 80;

	if (l->mode == SHOW_PLAIN)
		build_view_plain(l->view, now, last, &b);
	if (l->mode == SHOW_TTY && (last || now - l->frame_ns >= FRAME_NS)) {
		(void)terminal_size(STDERR_FILENO, &height, &width);
		build_view_frame(l->view, height, width, now, last, &b);
		l->frame_ns = now;
		l->changed = false;
	}
	put(&b);
}

/* ms until something is to be shown though the engine says nothing; -1: never. */
static int patience(const Local *l)
{
	int64_t now = clock_now_ns(), due = -1;

	if (l->mode == SHOW_PLAIN)
		due = build_view_plain_due(l->view, now);
	else if (l->mode == SHOW_TTY && (l->changed || build_view_is_running(l->view)))
		due = MAX2(l->frame_ns + FRAME_NS - now, 0);
	return due < 0 ? -1 : (int)((due + 999999) / 1000000);
}

static void show_end(const Local *l, bool failed)
{
	_cleanup_strbuf_ StrBuf b = {0};

	if (l->mode == SHOW_RAW || l->mode == SHOW_NOTHING)
		return;
	if (failed)
		build_view_failure(l->view, &b);
	/* As it is between rules already, in lines of its own. */
	if (failed && l->excerpt) {
		text_escape(&b, l->excerpt, true);
		strbuf_add(&b, str_ends(l->excerpt, "\n") ? "" : "\n");
	}
	if (!failed)
		build_view_warnings(l->view, &b);
	if (l->plan->o->explain)
		build_view_explain(l->view, &b);
	put(&b);
}

/* ---- what the engine says */

static int answer(const Local *l, json_t *doc, int fd, Err *e)
{
	_cleanup_json_ json_t *owned = doc;
	_cleanup_secret_ char *text = owned ? json_text(owned) : NULL;
	_cleanup_secret_ char *line = text ? strf("%s\n", text) : NULL;

	if (!line)
		return err_oom(e);
	ssize_t n = fd_send_msg(l->sock, line, strlen(line), &fd, fd >= 0);
	if (n >= 0 && (size_t)n < strlen(line))
		n = fd_write_all(l->sock, line + n, strlen(line) - (size_t)n);
	return n < 0 ? err_sys(e, (int)n, "answer the engine") : 0;
}

static int answer_auth(const Local *l, const char *domain, Err *e)
{
	_cleanup_(credentials_done) Credentials c = {0};
	_cleanup_free_ char *key = credentials_key(domain);
	json_t *account = NULL;
	Err why = {0};

	if (!key)
		return err_oom(e);
	if (credential_get(l->call->cli, domain, &c, &why) < 0)
		cli_complain(l->call->cli, "WARNING: %s", why.msg);
	if (!credentials_empty(&c))
		account = credentials_to_api(&c, key);
	return answer(l, json_pack("{s:o}", "account", account ? account : json_object()), -1, e);
}

static int answer_ssh(const Local *l, const char *id, Err *e)
{
	for (char **a = l->files.agents; a && *a; a++) {
		const char *path = str_after(*a, id);

		if (!path || *path != '=')
			continue;
		_cleanup_close_ int fd = unix_connect(path + 1, SOCK_STREAM);
		if (fd >= 0)
			return answer(l, json_pack("{s:b}", "connected", 1), fd, e);
		_cleanup_free_ char *text = strf("connect to %s: %s", path + 1, strerror(-fd));
		return answer(l, json_pack("{s:s}", "error", text ? text : "out of memory"), -1, e);
	}
	return answer(l, json_pack("{s:s}", "error", "no such agent was offered"), -1, e);
}

/* Only what the command line names, and no path of the engine's. */
static bool is_cache_directory(const BuildOptions *o, const char *dir, bool write)
{
	const List *list = write ? &o->cache_to : &o->cache_from;
	_cleanup_free_ char *wanted = strf("%s=%s", write ? "dest" : "src", dir);
	bool found = false;

	for (size_t i = 0; wanted && !found && list->v && list->v[i]; i++) {
		_cleanup_strv_ char **fields = NULL;

		found = strv_split_csv(list->v[i], &fields) == 0 && strv_has(fields, wanted);
	}
	return found;
}

static int open_cache_file(const BuildOptions *o, const char *dir, const char *name, bool write)
{
	if (!is_cache_directory(o, dir, write) || strchr(name, '/') || !*name)
		return -EPERM;
	if (write && mkdir_parents_at(AT_FDCWD, dir, 0755) < 0)
		return -errno;
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int file =
	    openat(fd, name, (write ? O_RDWR | O_CREAT | O_TRUNC : O_RDONLY) | O_NOFOLLOW | O_CLOEXEC, 0644);
	return file < 0 ? -errno : file;
}

static int answer_file(const Local *l, const json_t *question, const char *name, Err *e)
{
	const char *dir = json_get_str(question, "directory");
	bool write = json_get_bool(question, "write", false);
	_cleanup_close_ int fd = dir ? open_cache_file(l->plan->o, dir, name, write) : -EPERM;

	if (fd >= 0)
		return answer(l, json_pack("{s:b}", "opened", 1), fd, e);
	_cleanup_free_ char *text = strf("%s/%s: %s", dir ? dir : "", name, strerror(-fd));
	return answer(l, json_pack("{s:s}", "error", text ? text : "out of memory"), -1, e);
}

static int take_error(Local *l, const json_t *error, Err *e)
{
	const char *container = json_get_str(error, "container");

	l->over = true;
	if (container)
		l->outcome->failed_container = strdup(container);
	/* The engine keeps the image as long as the connection. */
	if (json_get_str(error, "image")) {
		l->outcome->failed_image = strdup(json_get_str(error, "image"));
		l->outcome->held_fd = fcntl(l->sock, F_DUPFD_CLOEXEC, 3);
	}
	if (json_get_str(error, "excerpt"))
		l->excerpt = strdup(json_get_str(error, "excerpt"));
	return err_new(e, ERR_INTERNAL, "ERROR: failed to build: failed to solve: %s",
		       json_get_str(error, "message") ?: "the engine does not say why");
}

static int take_result(Local *l, const json_t *result, Err *e)
{
	const char *id = json_get_str(result, "ID"), *digest = json_get_str(result, "digest");

	l->over = true;
	if (str_empty(id))
		return 0;
	l->outcome->id = strdup(id);
	if (!str_empty(digest) && !(l->outcome->digest = strdup(digest)))
		return err_oom(e);
	return l->outcome->id ? 0 : err_oom(e);
}

static int take_event(Local *l, const json_t *doc, const char *line, size_t n, Err *e)
{
	l->changed = l->begun = true;
	if (l->mode == SHOW_RAW)
		(void)fd_write_all(STDERR_FILENO, line, n);
	return l->mode == SHOW_PLAIN || l->mode == SHOW_TTY
		   ? build_view_event(l->view, doc, clock_now_ns(), e)
		   : 0;
}

static int take_line(Local *l, const char *line, size_t n, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	int r = json_parse(line, n, "the engine's message", &doc, e);

	if (r < 0)
		return r;
	const char *ask = json_get_str(doc, "ask"), *name = json_get_str(doc, "name");
	const json_t *last;
	if (streq0(ask, "auth") && name)
		return answer_auth(l, name, e);
	if (streq0(ask, "ssh") && name)
		return answer_ssh(l, name, e);
	if (streq0(ask, "file") && name)
		return answer_file(l, doc, name, e);
	if (ask)
		return answer(l, json_pack("{s:s}", "error", "this question is not understood"), -1, e);
	if ((last = json_object_get(doc, "result")))
		return take_result(l, last, e);
	if ((last = json_object_get(doc, "error")))
		return take_error(l, last, e);
	if (json_get_str(doc, "refused")) {
		l->over = true;
		l->refused = strdup(json_get_str(doc, "refused"));
		return l->refused ? 0 : err_oom(e);
	}
	return take_event(l, doc, line, n, e);
}

static int take_lines(Local *l, Err *e)
{
	int r = 0;

	for (char *end; r == 0 && !l->over && l->in.len > l->in_at &&
			(end = memchr(l->in.s + l->in_at, '\n', l->in.len - l->in_at));) {
		const char *line = l->in.s + l->in_at;
		size_t n = (size_t)(end - line) + 1;

		l->in_at += n;
		r = take_line(l, line, n, e);
	}
	if (l->in_at == l->in.len)
		l->in_at = l->in.len = 0;
	else if (l->in_at > (EVENT_MAX >> 8)) {
		memmove(l->in.s, l->in.s + l->in_at, l->in.len - l->in_at);
		l->in.len -= l->in_at;
		l->in_at = 0;
	}
	return r;
}

static int receive(Local *l, Err *e)
{
	strbuf_reserve(&l->in, 65536);
	if (l->in.oom)
		return err_oom(e);
	ssize_t n = recv(l->sock, l->in.s + l->in.len, l->in.cap - l->in.len - 1, 0);
	if (n < 0 && errno == EINTR)
		return 0;
	if (n <= 0)
		return err_new(e, ERR_UNAVAILABLE, "%s: the engine went away during the build%s%s",
			       l->call->cli->address.text, n < 0 ? ": " : "", n < 0 ? strerror(errno) : "");
	l->in.len += (size_t)n;
	l->in.s[l->in.len] = '\0';
	if (l->in.len - l->in_at > EVENT_MAX)
		return err_new(e, ERR_INTERNAL, "the engine's message is larger than %u bytes", EVENT_MAX);
	return take_lines(l, e);
}

/* ---- the files of the result */

static ssize_t pipe_source(void *user, void *buf, size_t cap, Err *e)
{
	ssize_t n;

	do
		n = read(*(int *)user, buf, cap);
	while (n < 0 && errno == EINTR);
	return n < 0 ? err_sys(e, errno, "receive the files of the result") : n;
}

static int unpack(Local *l, Err *e)
{
	const char *dest = l->plan->output.dest;
	int r = mkdir_parents_at(AT_FDCWD, dest, 0755);
	_cleanup_close_ int fd = r < 0 ? r : open(dest, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, r < 0 ? r : errno, "open the directory %s", dest);
	Extract x = {.dirfd = fd, .name = "", .whole = true};
	_cleanup_(tar_reader_freep) TarReader *reader = tar_reader_new(pipe_source, &l->pipe_fd);
	r = reader ? extract_all(&x, reader, e) : err_oom(e);
	close_fd(&l->pipe_fd);
	return r < 0 ? err_ctx(e, r, "%s", dest) : 0;
}

/* ---- the archive on standard input */

/* What is waited for next: room for what was read, or more of it. The engine may still refuse before its first event, and then it goes another way. */
static struct pollfd upload_poll(const Local *l)
{
	if (l->upload_fd < 0 || !l->begun)
		return (struct pollfd){.fd = -1};
	return l->upload.len ? (struct pollfd){.fd = l->upload_fd, .events = POLLOUT}
			     : (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
}

static int pass_on(Local *l, Err *e)
{
	if (l->upload.len == 0) {
		strbuf_reserve(&l->upload, 65536);
		if (l->upload.oom)
			return err_oom(e);
		ssize_t n = read(STDIN_FILENO, l->upload.s, 65536);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return err_sys(e, errno, "read the archive from standard input");
		if (n == 0)
			close_fd(&l->upload_fd);
		l->upload.len = n > 0 ? (size_t)n : 0;
		return 0;
	}
	ssize_t n = send(l->upload_fd, l->upload.s, l->upload.len, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0) { /* the build has ended, or wants no more: the engine says which */
		close_fd(&l->upload_fd);
		return 0;
	}
	memmove(l->upload.s, l->upload.s + n, l->upload.len - (size_t)n);
	l->upload.len -= (size_t)n;
	return 0;
}

/* ---- the loop */

static int loop(Local *l, Err *e)
{
	int r = 0;

	while (r == 0 && !l->over) {
		struct pollfd p[] = {{.fd = l->sock, .events = POLLIN},
				     {.fd = l->pipe_fd, .events = POLLIN},
				     upload_poll(l)};

		if (poll(p, ELEMENTSOF(p), patience(l)) < 0 && errno != EINTR)
			return err_sys(e, errno, "wait for the engine");
		if (p[1].revents & POLLIN)
			r = unpack(l, e);
		else if (p[1].revents)
			close_fd(&l->pipe_fd); /* the build has failed: the engine will say so */
		if (r == 0 && p[2].revents)
			r = pass_on(l, e);
		if (r == 0 && p[0].revents)
			r = receive(l, e);
		show(l, false);
	}
	return r;
}

/* 1: the engine has nothing of the kind. */
static int connect_local(Local *l, Err *e)
{
	const HttpcResponse *rs;
	const char *ahead;
	size_t n_ahead;
	Err why = {0};
	int r = api_start(l->call->cli,
			  &(ApiRequest){.method = "POST", .target = "/ireko/build", .upgrade = true},
			  &l->client, e);

	if (r < 0)
		return r;
	r = api_answer(l->call->cli, l->client, &rs, &why);
	if (r < 0 && (why.kind == ERR_NOT_FOUND || why.kind == ERR_INVALID || why.kind == ERR_UNSUPPORTED))
		return 1;
	if (r < 0) {
		if (e)
			*e = why;
		return r;
	}
	if (r != 101)
		return 1;
	l->sock = httpc_hijack(l->client, &ahead, &n_ahead);
	if (n_ahead)
		strbuf_add_n(&l->in, ahead, n_ahead);
	return l->in.oom ? err_oom(e) : 0;
}

/* The engine writes to a file of ours without knowing which. */
static int name_full_disk(const BuildOutput *out, int r, Err *e)
{
	struct statvfs v;

	if (r >= 0 || out->kind != OUT_TAR || streq(out->dest, "-") || statvfs(out->dest, &v) < 0 ||
	    v.f_bavail)
		return r;
	return err_ctx(e, r, "%s: its disk is full", out->dest);
}

int build_local(Call *call, const BuildPlan *p, BuildOutcome *ret, Err *e)
{
	_cleanup_(local_done)
	    Local l = {.call = call, .plan = p, .sock = -1, .pipe_fd = -1, .upload_fd = -1, .outcome = ret};
	int r = progress_mode(call, p->o, &l.mode, e);

	if (r == 0)
		r = build_files_open(p, &l.files, e);
	if (r == 0)
		r = connect_local(&l, e);
	if (r == 0)
		r = open_archive(&l, e);
	if (r == 0)
		r = open_upload(&l, e);
	if (r != 0)
		return r;
	l.view = build_view_new(&(BuildViewOptions){.plain = l.mode == SHOW_PLAIN,
						    .clean = call->cli->err_tty,
						    .expand = call->cli->debug,
						    .color = l.mode == SHOW_TTY && !getenv("NO_COLOR")},
				clock_now_ns());
	l.frame_ns = clock_now_ns();
	if (!l.view)
		return err_oom(e);
	r = send_request(&l, e);
	if (r == 0)
		r = loop(&l, e);
	if (l.refused)
		return 1;
	show(&l, true);
	show_end(&l, r < 0);
	return name_full_disk(&p->output, r, e);
}
