/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /ireko/build: a build for a client on this machine, whose directories come as descriptors (build-wire.h).
 *
 * Nothing is sent or copied that no step names. The engine reads as root, so a directory of anybody else is read through a view that has his rights
 * (engine_directory_as). The connection is the build: when it ends, the build does. Questions to the client are put by the stages' threads, one at a time, between the lines of other threads.
 */
#include "api/docker/build-wire.h"
#include "api/docker/door-internal.h"
#include "base/log.h"
#include "base/secret.h"
#include "base/sha256.h"
#include "oci/reference.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#define PATIENCE_MS   30000
#define LIST_ACCOUNTS 64

typedef struct LocalBuild {
	Door *door;
	int sock;
	EngineUser user;
	LocalRequest rq;
	int fds[BUILD_FILES_MAX];
	size_t n_fds;
	dev_t views[BUILD_FILES_MAX]; /* devices of views that the builder knows */
	size_t n_views;
	char *text;               /* of the Dockerfile, or NULL */
	pthread_mutex_t write;    /* a line is whole */
	pthread_mutex_t question; /* one at a time, with its answer */
	char *domains[LIST_ACCOUNTS];
	json_t *accounts[LIST_ACCOUNTS];
	size_t n_accounts;
} LocalBuild;

static void local_done(LocalBuild *b)
{
	for (size_t i = 0; i < b->n_views; i++)
		build_device_forget(b->views[i]);
	for (size_t i = 0; i < b->n_fds; i++)
		close_fd(&b->fds[i]);
	for (size_t i = 0; i < b->n_accounts; i++) {
		free(b->domains[i]);
		json_decref(b->accounts[i]);
	}
	build_wire_request_done(&b->rq);
	free(b->user.groups);
	free(b->text);
	pthread_mutex_destroy(&b->write);
	pthread_mutex_destroy(&b->question);
}

/* ---- lines ---- */

/* Not to a client that has gone: the build ends by that, and not by this. */
static void send_line(LocalBuild *b, const StrBuf *line)
{
	if (line->oom || line->len == 0)
		return;
	pthread_mutex_lock(&b->write);
	for (size_t at = 0; at < line->len;) {
		ssize_t n = send(b->sock, line->s + at, line->len - at, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			break;
		at += n > 0 ? (size_t)n : 0;
	}
	pthread_mutex_unlock(&b->write);
}

static void send_doc(LocalBuild *b, json_t *doc)
{
	_cleanup_strbuf_ StrBuf line = {0};

	doc_add(&line, doc);
	strbuf_add_c(&line, '\n');
	send_line(b, &line);
}

static void close_all(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close_fd(&fds[i]);
}

/* One line with all descriptors that came with it. ret_fds has room for BUILD_FILES_MAX. */
static int receive_line(int sock, size_t max, StrBuf *line, int *ret_fds, size_t *ret_n, Err *e)
{
	int64_t deadline = clock_mono_ns() + PATIENCE_MS * 1000000ll;
	int got[FDS_MAX];
	char piece[16384];

	*ret_n = 0;
	while (line->len == 0 || line->s[line->len - 1] != '\n') {
		struct pollfd p = {.fd = sock, .events = POLLIN};
		int64_t left_ms = (deadline - clock_mono_ns()) / 1000000;
		size_t n_got = FDS_MAX;

		if (left_ms <= 0 || poll(&p, 1, (int)left_ms) == 0)
			return err_new(e, ERR_UNAVAILABLE, "the client sent no whole line within %d s",
				       PATIENCE_MS / 1000);
		ssize_t n = fd_recv_msg(sock, piece, sizeof(piece), got, &n_got);
		if (n == -EINTR)
			continue;
		if (n <= 0)
			return n == 0 ? err_new(e, ERR_CANCELLED, "the client went away")
				      : err_sys(e, (int)n, "receive from the client");
		if (n_got > BUILD_FILES_MAX - *ret_n) {
			close_all(got, n_got);
			return err_new(e, ERR_INVALID, "more than %d descriptors", BUILD_FILES_MAX);
		}
		memcpy(ret_fds + *ret_n, got, n_got * sizeof(int));
		*ret_n += n_got;
		const char *end = memchr(piece, '\n', (size_t)n);
		strbuf_add_n(line, piece, (size_t)n);
		if (line->oom)
			return err_oom(e);
		if (line->len > max || (end && end != piece + n - 1))
			return err_new(e, ERR_INVALID, "more than one line, or one of more than %zu bytes",
				       max);
	}
	return 0;
}

/* Puts a question, which it takes; *ret_fd: what came with the answer, or -1 if none is wanted. */
static int ask(LocalBuild *b, json_t *question, json_t **ret, int *ret_fd, Err *e)
{
	_cleanup_(strbuf_wipe) StrBuf line = {0};
	int fds[BUILD_FILES_MAX];
	size_t n = 0, wanted = ret_fd ? 1 : 0;
	json_t *doc = NULL;

	pthread_mutex_lock(&b->question);
	send_doc(b, question);
	int r = receive_line(b->sock, BUILD_ANSWER_MAX, &line, fds, &n, e);
	pthread_mutex_unlock(&b->question);
	if (r >= 0)
		r = json_parse_bounded(line.s, line.len, "the client's answer", &doc, e);
	if (r >= 0 && json_get_str(doc, "error"))
		r = err_new(e, ERR_NOT_FOUND, "%.500s", json_get_str(doc, "error"));
	if (r >= 0 && n != wanted)
		r = err_new(e, ERR_INVALID, "the client's answer has %zu descriptors instead of %zu", n,
			    wanted);
	if (r >= 0 && ret_fd) {
		*ret_fd = fds[0];
		n = 0;
	}
	close_all(fds, n);
	if (r >= 0 && ret)
		*ret = doc;
	else
		json_decref(doc);
	return r;
}

/* ---- what the build asks for ---- */

static int file_of(const LocalBuild *b, const char *kind, const char *name)
{
	for (size_t i = 0; i < b->rq.n_files; i++)
		if (streq(b->rq.files[i].kind, kind) && (!name || streq0(b->rq.files[i].name, name)))
			return b->fds[i];
	return -1;
}

/* Opened anew, so that whoever lists the directory has a place of his own in it. */
static int local_directory(void *user, const char *name, const BuildFiles *files _unused_,
			   const BuildVertex *vertex _unused_, int *ret_fd, Err *e)
{
	const LocalBuild *b = user;
	int fd = file_of(b, "directory", name);

	if (fd < 0 && streq(name, "dockerfile"))
		fd = file_of(b, "directory", "context");
	if (fd < 0)
		return err_new(
		    e, ERR_NOT_FOUND,
		    streq(name, "context")
			? "this build has no context%.0s: there is nothing to copy from"
			: "this build has no directory called %.100s: name one with --build-context",
		    name);
	fd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, errno, "open the directory %.100s", name);
	*ret_fd = fd;
	return 0;
}

static int local_secret(void *user, const char *id, uint8_t **ret, size_t *ret_len, Err *e)
{
	const LocalBuild *b = user;
	int fd = file_of(b, "secret", id);
	uint8_t *data;

	if (fd < 0)
		return err_new(e, ERR_NOT_FOUND, "secret %.100s: not found: give it with --secret id=%.100s",
			       id, id);
	data = malloc(BUILD_SECRET_MAX + 1);
	if (!data)
		return err_oom(e);
	ssize_t n = fd_pread_full(fd, data, BUILD_SECRET_MAX + 1, 0);
	if (n < 0 || n > (ssize_t)BUILD_SECRET_MAX) {
		free(data);
		return n < 0 ? err_sys(e, (int)n, "secret %.100s", id)
			     : err_new(e, ERR_INVALID, "secret %.100s is larger than 500 KiB", id);
	}
	*ret = data;
	*ret_len = (size_t)n;
	return 0;
}

static int local_ssh(void *user, const char *id, int *ret_fd, Err *e)
{
	LocalBuild *b = user;
	struct stat st;
	int fd, r;

	if (!strv_has(b->rq.agents, id))
		return err_new(e, ERR_NOT_FOUND, "no ssh agent %.100s: forward one with --ssh %.100s", id,
			       id);
	r = ask(b, json_pack("{s:s, s:o}", "ask", "ssh", "name", doc_str(id)), NULL, &fd, e);
	if (r < 0)
		return err_ctx(e, r, "ssh agent %.100s", id);
	if (fstat(fd, &st) < 0 || !S_ISSOCK(st.st_mode)) {
		close_fd(&fd);
		return err_new(e, ERR_INVALID, "ssh agent %.100s: what the client sent is no socket", id);
	}
	*ret_fd = fd;
	return 0;
}

/* Whatever its URL: there is one at most. */
static int local_upload(void *user, const char *url, int *ret_fd, Err *e)
{
	const LocalBuild *b = user;
	int fd = file_of(b, "upload", NULL);

	if (fd < 0)
		return err_new(e, ERR_NOT_FOUND, "%.200s: the client uploads nothing", url);
	*ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return *ret_fd < 0 ? err_sys(e, errno, "copy a descriptor") : 0;
}

static int local_file(void *user, const char *dir, const char *name, bool write, int *ret_fd, Err *e)
{
	LocalBuild *b = user;
	struct stat st;
	int fd, r = ask(b,
			json_pack("{s:s, s:o, s:o, s:b}", "ask", "file", "name", doc_str(name), "directory",
				  doc_str(dir), "write", write),
			NULL, &fd, e);

	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close_fd(&fd);
		return err_new(e, ERR_INVALID, "%.200s/%.200s: what the client sent is no regular file", dir,
			       name);
	}
	*ret_fd = fd;
	return 0;
}

/* Of each registry once. What is known of it stays until the build is over, because the engine keeps no copies. */
static void local_auth(void *user, const char *domain, EngineAuth *ret)
{
	LocalBuild *b = user;
	json_t *doc = NULL;
	size_t i = 0;

	pthread_mutex_lock(&b->write);
	while (i < b->n_accounts && !streq(b->domains[i], domain))
		i++;
	bool known = i < b->n_accounts;
	pthread_mutex_unlock(&b->write);
	if (!known && i < LIST_ACCOUNTS &&
	    ask(b, json_pack("{s:s, s:o}", "ask", "auth", "name", doc_str(domain)), &doc, NULL, NULL) >= 0) {
		json_t *account = json_incref(json_object_get(doc, "account"));
		char *copy = strdup(domain);

		json_decref(doc);
		if (!copy || !json_is_object(account) || auth_account_normalize(account, NULL) < 0) {
			json_decref(account);
			free(copy);
			return;
		}
		pthread_mutex_lock(&b->write);
		i = b->n_accounts;
		known = i < LIST_ACCOUNTS;
		if (known) {
			b->domains[i] = copy;
			b->accounts[i] = account;
			b->n_accounts++;
		}
		pthread_mutex_unlock(&b->write);
		if (!known) {
			json_decref(account);
			free(copy);
		}
	}
	if (known)
		auth_account(b->accounts[i], ret);
}

static void local_event(void *user, const BuildEvent *ev)
{
	LocalBuild *b = user;
	_cleanup_strbuf_ StrBuf line = {0};

	build_wire_event(&line, ev, b->rq.dockerfile ?: "Dockerfile");
	send_line(b, &line);
}

/* ---- the request ---- */

static int find_user(LocalBuild *b, Err *e)
{
	struct ucred peer;
	socklen_t len = sizeof(peer), groups = 0;
	gid_t none;
	int domain = 0;
	socklen_t domain_len = sizeof(domain);

	/* What comes over TLS comes through a pair of sockets of our own. */
	if (getsockopt(b->sock, SOL_SOCKET, SO_DOMAIN, &domain, &domain_len) < 0 || domain != AF_UNIX ||
	    getsockopt(b->sock, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || peer.pid == getpid())
		return err_new(e, ERR_UNSUPPORTED,
			       "descriptors can be handed over on the engine's unix socket only");
	b->user.uid = peer.uid;
	b->user.gid = peer.gid;
	if (getsockopt(b->sock, SOL_SOCKET, SO_PEERGROUPS, &none, &groups) < 0 && errno == ERANGE) {
		b->user.groups = malloc(groups);
		if (!b->user.groups)
			return err_oom(e);
		if (getsockopt(b->sock, SOL_SOCKET, SO_PEERGROUPS, b->user.groups, &groups) < 0)
			return err_sys(e, errno, "find out the client's groups");
		b->user.n_groups = groups / sizeof(gid_t);
	}
	return 0;
}

static int check_type(const LocalFile *f, int fd, Err *e)
{
	struct stat st;
	bool good;

	if (fstat(fd, &st) < 0)
		return err_sys(e, errno, "look at the %s %.100s", f->kind, f->name ?: "");
	if (streq(f->kind, "directory"))
		good = S_ISDIR(st.st_mode);
	else if (streq(f->kind, "archive") || streq(f->kind, "upload"))
		good = S_ISREG(st.st_mode) || S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) ||
		       S_ISCHR(st.st_mode);
	else
		good = S_ISREG(st.st_mode);
	return good ? 0
		    : err_new(e, ERR_INVALID, "the %s %.100s is a file of another type", f->kind,
			      f->name ?: "");
}

#define PROBES_MAX 1000 /* names */

/* A view has a device of its own. Any regular file in both shows which, and whether it keeps the inode numbers; without one, digests of its files are made anew. */
static void learn_device(LocalBuild *b, int dir_fd, int view_fd)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(closedirp) DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	struct stat real, seen;

	if (!d && fd >= 0)
		close_fd(&fd);
	for (int i = 0; d && i < PROBES_MAX && (entry = readdir(d)); i++) {
		if (entry->d_type != DT_REG || fstatat(fd, entry->d_name, &real, AT_SYMLINK_NOFOLLOW) < 0 ||
		    fstatat(view_fd, entry->d_name, &seen, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(seen.st_mode))
			continue;
		if (seen.st_ino == real.st_ino && seen.st_ctim.tv_sec == real.st_ctim.tv_sec &&
		    seen.st_ctim.tv_nsec == real.st_ctim.tv_nsec && seen.st_dev != real.st_dev) {
			build_device_is(seen.st_dev, real.st_dev);
			b->views[b->n_views++] = seen.st_dev;
		}
		return;
	}
}

static int take_files(LocalBuild *b, Err *e)
{
	for (size_t i = 0; i < b->rq.n_files; i++) {
		const LocalFile *f = &b->rq.files[i];
		int view, r = check_type(f, b->fds[i], e);

		if (r < 0)
			return r;
		if (b->user.uid == 0 || !streq(f->kind, "directory"))
			continue;
		r = engine_directory_as(b->fds[i], &b->user, &view, e);
		if (r < 0)
			return r;
		learn_device(b, b->fds[i], view);
		close_fd(&b->fds[i]);
		b->fds[i] = view;
	}
	int text = file_of(b, "dockerfile", NULL);
	int r = 0;
	if (text >= 0 && lseek(text, 0, SEEK_SET) == 0)
		r = fd_read_all(text, BUILD_REQUEST_MAX, &b->text, NULL);
	return r < 0 ? err_sys(e, r, "read the Dockerfile") : 0;
}

static int receive_request(LocalBuild *b, Err *e)
{
	_cleanup_strbuf_ StrBuf line = {0};
	int r = receive_line(b->sock, BUILD_REQUEST_MAX, &line, b->fds, &b->n_fds, e);

	if (r >= 0)
		r = build_wire_request(line.s, line.len, b->n_fds, &b->rq, e);
	if (r >= 0)
		r = take_files(b, e);
	return r < 0 ? r : build_tags_check(b->rq.tags, e);
}

/* ---- the build ---- */

static void tell_part(LocalBuild *b, const BuildVertex *v, const char *what, const char *name)
{
	_cleanup_free_ char *id = strf("%s %s", what, name);

	if (id)
		local_event(b, &(BuildEvent){.kind = BUILD_PROGRESS,
					     .vertex = v,
					     .id = id,
					     .time_ns = clock_now_ns(),
					     .started_ns = v->started_ns,
					     .ended_ns = clock_now_ns()});
}

/* A node of its own, though it is none of the graph. */
static void tell_export(LocalBuild *b, BuildVertex *v, const char *name)
{
	*v = (BuildVertex){.name = (char *)name, .started_ns = clock_now_ns()};
	snprintf(v->digest, sizeof(v->digest), "sha256:%s", sha256_hex(name, strlen(name)).s);
	local_event(b, &(BuildEvent){.kind = BUILD_VERTEX, .vertex = v});
}

static int tell_exported(LocalBuild *b, BuildVertex *v, int r, const Err *e)
{
	v->ended_ns = clock_now_ns();
	v->error = r < 0 ? (char *)err_msg(e, r) : NULL;
	local_event(b, &(BuildEvent){.kind = BUILD_VERTEX, .vertex = v});
	return r;
}

static int export_archive(LocalBuild *b, BuildResult *result, Err *e)
{
	_cleanup_close_ int root = -1;
	int out = file_of(b, "archive", NULL), r;

	if (out < 0)
		return 0;
	BuildVertex v;
	tell_export(b, &v, "exporting to client");
	r = build_result_mount_all(result, &root, e);
	if (r >= 0)
		r = engine_directory_archive(root, out, e);
	/* What runs full is the client's, who knows its name. */
	if (r == -ENOSPC || r == -EDQUOT)
		r = err_new(e, ERR_EXHAUSTED,
			    "no space left on device: make room there or name another place");
	return tell_exported(b, &v, r < 0 ? err_ctx(e, r, "write the files of the result") : 0, e);
}

static int export_image(LocalBuild *b, BuildResult *result, BuildImageMade *made, Err *e)
{
	const BuildImageOptions o = {.tags = b->rq.tags, .annotations = b->rq.annotations};
	BuildVertex v;
	int r;

	tell_export(b, &v, "exporting to image");
	r = build_result_image(result, &o, made, e);
	if (r >= 0)
		tell_part(b, &v, "writing image", made->id);
	if (r >= 0 && *made->digest)
		tell_part(b, &v, "exporting manifest list", made->digest);
	for (char **t = b->rq.tags; r >= 0 && t && *t; t++) {
		Reference ref = {0};
		_cleanup_free_ char *full =
		    reference_parse(*t, &ref, NULL) >= 0 ? reference_full(&ref) : NULL;

		reference_done(&ref);
		if (full)
			tell_part(b, &v, "naming to", full);
	}
	return tell_exported(b, &v, r, e);
}

static int finish(LocalBuild *b, BuildResult *result, Err *e)
{
	BuildImageMade made = {0};
	int r = export_archive(b, result, e);

	if (r >= 0 && b->rq.image)
		r = export_image(b, result, &made, e);
	if (r >= 0)
		send_doc(b, json_pack("{s:{s:s, s:s, s:s, s:s*, s:I}}", "result", "ID", made.id, "config",
				      build_result_config(result), "digest", made.digest, "mediaType",
				      made.media_type, "size", (json_int_t)made.size));
	return r;
}

static void tell_failure(LocalBuild *b, const BuildFailure *f, const char *image, int r, const Err *e)
{
	json_t *doc = json_pack("{s:o, s:i, s:i, s:i}", "message", doc_error(e, r), "status", f->status,
				"line", f->line, "lastLine", f->last_line);

	if (doc && f->container_id && json_object_set_new(doc, "container", doc_str(f->container_id)) < 0)
		json_decref(take_ptr(doc));
	if (doc && f->excerpt && json_object_set_new(doc, "excerpt", doc_str(f->excerpt)) < 0)
		json_decref(take_ptr(doc));
	if (doc && image && json_object_set_new(doc, "image", doc_str(image)) < 0)
		json_decref(take_ptr(doc));
	send_doc(b, json_pack("{s:o}", "error", doc));
}

/* With a shell in what is left, if that was asked for. */
static void end_failed(LocalBuild *b, const BuildFailure *f, int r, const Err *e)
{
	Engine *en = b->door->engine;
	char image[DIGEST_LEN + 1];
	Err err = {0};

	if (!b->rq.shell_on_fail || !f->container_id) {
		tell_failure(b, f, NULL, r, e);
		return;
	}
	int no = build_held_image(en, f->container_id, image, &err);
	tell_failure(b, f, no < 0 ? NULL : image, r, e);
	if (no >= 0)
		build_hold(en, b->sock, f->container_id, image);
	else
		log_warn("a shell in a failed step cannot be offered: %s", err_msg(&err, no));
}

static void run(LocalBuild *b)
{
	const LocalRequest *q = &b->rq;
	const BuildClient client = {.user = b,
				    .directory = local_directory,
				    .secret = local_secret,
				    .ssh = local_ssh,
				    .upload = local_upload,
				    .file = local_file,
				    .auth = local_auth,
				    .event = local_event,
				    .alive_fd = b->sock};
	const BuildRequest rq = {
	    .client = &client,
	    .context = q->context,
	    .dockerfile = q->dockerfile,
	    .dockerfile_text = b->text,
	    .named_contexts = q->contexts,
	    .args = q->args,
	    .labels = q->labels,
	    .extra_hosts = q->hosts,
	    .ulimits = q->ulimits,
	    .entitlements = q->allow,
	    .no_cache_stages = q->no_cache_stages,
	    .cache_from = q->cache_from,
	    .cache_to = q->cache_to,
	    .target = q->target,
	    .network_mode = q->network,
	    .platform = q->platform,
	    .provenance = q->provenance,
	    .sbom = q->sbom,
	    .no_cache = q->no_cache,
	    .pull = q->pull,
	    .keep_failed = q->keep_failed || q->shell_on_fail,
	    .squash = q->squash,
	    .memory = q->memory,
	    .memory_swap = q->memory_swap,
	    .cpu_shares = q->cpu_shares,
	    .cpu_period = q->cpu_period,
	    .cpu_quota = q->cpu_quota,
	    .shm_size = q->shm_size,
	    .cpuset_cpus = q->cpuset_cpus,
	    .cpuset_mems = q->cpuset_mems,
	    .cgroup_parent = q->cgroup_parent,
	};
	BuildFailure failure = {0};
	BuildResult *result = NULL;
	Err err = {0};
	int r = build_solve(b->door->builder, &rq, &result, &failure, &err);

	if (r >= 0)
		r = finish(b, result, &err);
	build_result_free(result);
	if (r < 0)
		end_failed(b, &failure, r, &err);
	build_failure_done(&failure);
}

int h_build_local(HttpRequest *rq, void *user, Err *e)
{
	_cleanup_(local_done) LocalBuild b = {.door = user,
					      .write = PTHREAD_MUTEX_INITIALIZER,
					      .question = PTHREAD_MUTEX_INITIALIZER};
	HttpHijack h;
	Err err = {0};
	int r = http_wants_upgrade(rq)
		    ? http_hijack_and_stay(rq, "application/vnd.ireko.build", &h, e)
		    : err_new(e, ERR_INVALID, "a build of this kind is asked for with Upgrade: ireko-build");

	if (r < 0)
		return r;
	if (h.prefix_len > 0)
		return 0; /* descriptors that came with it are lost: the client was to wait for the answer */
	b.sock = h.fd;
	r = find_user(&b, &err);
	if (r >= 0)
		r = receive_request(&b, &err);
	if (r >= 0)
		run(&b);
	else if (err.kind == ERR_UNSUPPORTED)
		send_doc(&b, json_pack("{s:o}", "refused", doc_error(&err, r)));
	else
		tell_failure(&b, &(BuildFailure){0}, NULL, r, &err);
	return 0;
}
