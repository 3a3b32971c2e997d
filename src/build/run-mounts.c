/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RUN --mount: every mount of a step is made here, detached, and given to its container by descriptor.
 *
 * A bind is a writable layer of its own over what it shows, so what the step writes there goes with the step and nothing of the source can change; files of the
 * context are copied into such a layer, as far as .dockerignore lets them be seen. A secret and an agent's socket lie on file systems in memory; a
 * secret in the environment is in no row. Paths are the Dockerfile's and trees are strangers': sources are opened beneath their root.
 */
#include "build/run-mounts.h"
#include "build/agent.h"
#include "build/cache-mount.h"
#include "build/copy.h"
#include "build/run-stubs.h"
#include "kernel/mount.h"

#include <sys/stat.h>

#define SECRET_MAX (500u << 10) /* bytes, as BuildKit has it */
#define SCRIPT_DIR "/dev/pipes"

/* One mount, from its flag to its end. */
typedef struct One {
	DockerfileMount m;
	char *target;      /* absolute and clean; NULL for a secret that is a variable alone */
	char *chain;       /* of a bind or seed from a stage or image; NULL: a context, or nothing */
	char *context;     /* of a bind or seed from a named one: what context_get takes */
	bool from_context; /* that one or, if it is NULL, the main one */
	char *snapshot;    /* key of the layer that a bind writes into */
	CacheMount *cache;
	Agent *agent;
	int fd; /* the mount, or -1 */
} One;

struct StepMounts {
	One *v;
	size_t n;
	EngineStepMount *given;
	char **secret_env;
	Stubs *stubs;
	char *script; /* its path in the step */
	int script_fd;
};

void step_mounts_free(Build *b, StepMounts *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->n; i++) {
		One *x = &m->v[i];

		close_fd(&x->fd);
		agent_free(x->agent);
		cache_mount_release(x->cache);
		/* What cannot be removed now is at the next start (engine/leftovers.c). */
		if (x->snapshot)
			(void)store_snapshot_remove(b->store, x->snapshot, NULL);
		dockerfile_mount_done(&x->m);
		free(x->target);
		free(x->chain);
		free(x->context);
		free(x->snapshot);
	}
	for (char **v = m->secret_env; v && *v; v++)
		explicit_bzero(*v, strlen(*v));
	strv_free(m->secret_env);
	stubs_free(m->stubs);
	close_fd(&m->script_fd);
	free(m->script);
	free(m->given);
	free(m->v);
	free(m);
}

/* ---- from flags ---- */

static int target_of(const Stage *s, const One *x, size_t agents, char **ret, Err *e)
{
	const char *wd = str_empty(s->config.run.working_dir) ? "/" : s->config.run.working_dir;
	_cleanup_free_ char *made = NULL;
	const char *target = x->m.target;

	if (!target && x->m.type == DF_MOUNT_SECRET && x->m.env)
		return 0;
	if (!target && x->m.type == DF_MOUNT_SECRET)
		target = made = strf("/run/secrets/%s", path_base(x->m.id ?: x->m.source ?: ""));
	if (!target && x->m.type == DF_MOUNT_SSH)
		target = made = strf("/run/buildkit/ssh_agent.%zu", agents);
	*ret = target ? path_join_clean(wd, target) : NULL;
	if (!*ret)
		return target || made ? err_oom(e) : err_new(e, ERR_INVALID, "--mount: target is required");
	if (streq(*ret, "/"))
		return err_new(e, ERR_INVALID, "--mount: invalid mount target \"%s\"", target);
	return 0;
}

static int parse_one(Build *b, Stage *s, const char *spec, char *const *env, StepMounts *m, Err *e)
{
	One *x = &m->v[m->n];
	size_t agents = 0;
	int r = dockerfile_mount_expand(spec, b->df.escape, env, &x->m, e);

	if (r < 0)
		return r;
	x->fd = -1;
	for (size_t i = 0; i < m->n; i++)
		agents += m->v[i].m.type == DF_MOUNT_SSH;
	m->n++;
	if (!x->m.id && x->m.type == DF_MOUNT_SECRET)
		x->m.id = strdup(x->m.source ?: path_base(x->m.target ?: ""));
	if (!x->m.id && x->m.type == DF_MOUNT_SSH)
		x->m.id = strdup("default");
	r = target_of(s, x, agents, &x->target, e);
	if (r >= 0 && !x->m.id && x->m.type == DF_MOUNT_CACHE)
		x->m.id = strdup(x->target);
	return r;
}

int step_mounts_parse(Build *b, Stage *s, const DockerfileStep *step, StepMounts **ret, Err *e)
{
	_cleanup_strv_ char **env = NULL;
	StepMounts *m = calloc(1, sizeof(*m));
	int r = m ? stage_environment(s, &env, e) : err_oom(e);

	if (r >= 0) {
		m->script_fd = -1;
		m->v = calloc(strv_len(step->flags) + 1, sizeof(*m->v));
		r = m->v ? 0 : err_oom(e);
	}
	for (size_t i = 0; r >= 0 && step->flags && step->flags[i]; i++) {
		const char *spec = str_after(step->flags[i], "mount=");

		r = spec ? parse_one(b, s, spec, env, m, e) : 0;
	}
	if (r < 0)
		step_mounts_free(b, m);
	else
		*ret = m;
	return r;
}

/* ---- where binds and seeds come from ---- */

static int find_origin(Build *b, One *x, Err *e)
{
	const char *from = x->m.from;
	int r;

	if (x->m.type != DF_MOUNT_BIND && x->m.type != DF_MOUNT_CACHE)
		return 0;
	if (!from) {
		x->from_context = x->m.type == DF_MOUNT_BIND;
		return 0;
	}
	if (strcasecmp(from, "scratch") == 0)
		return 0;
	r = origin_of_name(b, from, &x->chain, &x->context, e);
	x->from_context = x->context != NULL;
	return r < 0 ? err_ctx(e, r, "--mount=from=%s", from) : 0;
}

/* "" for the whole of it. */
static int source_of(const One *x, char **ret, Err *e)
{
	_cleanup_free_ char *clean = path_join_clean("/", x->m.source ?: "/");

	*ret = clean ? strdup(clean + 1) : NULL;
	return *ret ? 0 : err_oom(e);
}

static int context_digest(Build *b, const One *x, char ret[DIGEST_LEN + 1], Err *e)
{
	_cleanup_free_ char *source = NULL;
	int r = source_of(x, &source, e);

	if (r >= 0)
		r = build_context_digest(b, x->context, source, ret, e);
	return r < 0 ? err_ctx(e, r, "--mount=source=%s", x->m.source ?: "/") : 0;
}

int step_mounts_key(Build *b, const StepMounts *m, StrBuf *text, Err *e)
{
	char digest[DIGEST_LEN + 1];
	int r = 0;

	for (size_t i = 0; r >= 0 && i < m->n; i++) {
		One *x = &m->v[i];

		r = find_origin(b, x, e);
		*digest = '\0';
		if (r >= 0 && x->from_context && x->m.type == DF_MOUNT_BIND)
			r = context_digest(b, x, digest, e);
		strbuf_addf(text, "\nmount %s %s", dockerfile_mount_type_name(x->m.type), x->target ?: "");
		if (x->m.type == DF_MOUNT_BIND)
			strbuf_addf(text, " %s %s %s%s", x->m.source ?: "", x->m.read_only ? "ro" : "rw",
				    x->chain ?: "", digest);
		else if (x->m.type != DF_MOUNT_TMPFS)
			strbuf_addf(text, " %s %s", x->m.id, x->m.env ?: "");
	}
	return r < 0 ? r : text->oom ? err_oom(e) : 0;
}

/* ---- making them ---- */

static int part(Build *b, const One *x, int root, Err *e)
{
	_cleanup_free_ char *source = NULL;
	int r = source_of(x, &source, e), fd;

	if (r < 0 || !*source)
		return r < 0 ? r : fcntl(root, F_DUPFD_CLOEXEC, 3);
	fd = mount_clone_part(root, store_root(b->store), source);
	if (fd == -ENOENT || fd == -ENOTDIR)
		return err_new(e, ERR_NOT_FOUND,
			       "--mount: source=%s: there is no such file or directory in %s", x->m.source,
			       x->m.from ?: "it");
	if (fd == -EXDEV || fd == -ELOOP)
		return err_new(e, ERR_INVALID, "--mount: source=%s leads out of where it is", x->m.source);
	return fd < 0 ? err_sys(e, fd, "mount %s", x->m.source) : fd;
}

/* What the step may see of the context, as files of its own. */
static int context_fill(Build *b, const One *x, int root, Err *e)
{
	_cleanup_free_ char *source = NULL;
	int r = source_of(x, &source, e);

	if (r >= 0)
		r = build_context_copy(b, x->context, source, root, e);
	return r < 0 ? err_ctx(e, r, "--mount=source=%s", x->m.source ?: "/") : 0;
}

/* A view of what it is from, which the step may write to. */
static int open_view(Build *b, One *x, int *ret_root, Err *e)
{
	char id[17];
	int r;

	id_random_hex(id, 16);
	x->snapshot = strf("build-%s.m", id);
	if (!x->snapshot)
		return err_oom(e);
	r = store_snapshot_prepare(b->store, x->snapshot, x->chain, e);
	if (r >= 0)
		r = store_snapshot_mount_once(b->store, x->snapshot, NULL, ret_root, e);
	if (r >= 0 && x->from_context)
		r = context_fill(b, x, *ret_root, e);
	return r;
}

static int open_bind(Build *b, One *x, Err *e)
{
	_cleanup_close_ int root = -1;
	int r = open_view(b, x, &root, e);

	return r < 0 ? r : part(b, x, root, e);
}

static int note_cache(Build *b, const CacheMount *m, Err *e)
{
	const char *name = cache_mount_name(m);
	int r = 0;

	pthread_mutex_lock(&b->events_lock);
	if (!strv_has(b->cache_mounts, name))
		r = strv_add(&b->cache_mounts, name);
	pthread_mutex_unlock(&b->events_lock);
	return r < 0 ? err_oom(e) : 0;
}

static int open_cache(Build *b, One *x, Err *e)
{
	_cleanup_close_ int seed = -1, dir = -1, at = -1;
	const char *space = plan_given_arg(b, "BUILDKIT_CACHE_MOUNT_NS");
	CacheMountWanted w = {.space = space ?: "",
			      .id = x->m.id,
			      .sharing = x->m.sharing,
			      .mode = x->m.has_mode ? x->m.mode : 0755,
			      .uid = x->m.uid,
			      .gid = x->m.gid,
			      .seed_root = -1};
	_cleanup_free_ char *source = NULL;
	int r = source_of(x, &source, e), fd;

	if (r >= 0 && (x->chain || x->context)) {
		r = x->chain ? store_layers_mount(b->store, x->chain, &seed, e) : open_view(b, x, &seed, e);
		w.seed_root = seed;
		w.seed_path = source;
	}
	if (r >= 0)
		r = cache_mount_take(b->store, &w, b->alive_fd, &x->cache, e);
	if (r >= 0)
		r = note_cache(b, x->cache, e);
	if (r >= 0)
		r = dir = cache_mount_open(b->store, x->cache, e);
	if (r < 0)
		return r;
	/* Without a seed, source is a part of the cache, which an earlier step may have made a link: it is opened beneath and what was opened is mounted. */
	if (!x->chain && !x->context && *source) {
		at = path_open_beneath(dir, source, O_PATH | O_DIRECTORY);
		if (at < 0)
			return err_new(e, ERR_INVALID, "--mount=type=cache: source=%s: %s", x->m.source,
				       strerror(-at));
	}
	fd = mount_clone(at >= 0 ? at : dir, "", false);
	return fd < 0 ? err_sys(e, fd, "mount cache %s", x->m.id) : fd;
}

static int open_tmpfs(const One *x, Err *e)
{
	_cleanup_free_ char *size = x->m.size > 0 ? strf("size=%lld", (long long)x->m.size) : NULL;
	char *params[] = {(char *)"mode=1777", size, NULL};
	int fd, r = mount_new_fs("tmpfs", "tmpfs", params, MOUNT_ATTR_NOSUID, &fd, e);

	return r < 0 ? r : fd;
}

/* A file on a file system in memory, as a mount of that file. */
static int file_in_memory(Build *b, const void *data, size_t len, const One *x, mode_t mode, Err *e)
{
	_cleanup_close_ int fs = -1, file = -1;
	int r = mount_new_fs("tmpfs", "secret", (char *[]){(char *)"mode=0755", NULL},
			     MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, &fs, e),
	    fd;

	if (r < 0)
		return r;
	file = openat(fs, "file", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	r = file < 0 ? -errno : fd_write_all(file, data, len);
	if (r >= 0 && (fchown(file, x ? x->m.uid : 0, x ? x->m.gid : 0) < 0 || fchmod(file, mode) < 0))
		r = -errno;
	if (r < 0)
		return err_sys(e, r, "write a file in memory");
	close_fd(&file);
	fd = mount_clone_part(fs, store_root(b->store), "file");
	return fd < 0 ? err_sys(e, fd, "mount a file in memory") : fd;
}

static int add_secret_env(StepMounts *m, const One *x, const uint8_t *data, size_t len, Err *e)
{
	_cleanup_free_ char *text = NULL;

	if (memchr(data, 0, len))
		return err_new(e, ERR_INVALID, "secret %s: a variable cannot hold a byte 0", x->m.id);
	text = strf("%s=%.*s", x->m.env, (int)len, data);
	int r = text ? strv_add(&m->secret_env, text) : -ENOMEM;
	if (text)
		explicit_bzero(text, strlen(text));
	return r < 0 ? err_oom(e) : 0;
}

static int open_secret(Build *b, StepMounts *m, const One *x, Err *e)
{
	const BuildClient *client = b->rq->client;
	uint8_t *data = NULL;
	size_t len = 0;
	Err why = {0};
	int fd = -1, r;

	r = client->secret ? client->secret(client->user, x->m.id, &data, &len, &why)
			   : err_new(&why, ERR_NOT_FOUND, "this client brings no secrets");
	if (r < 0 && why.kind == ERR_NOT_FOUND && !x->m.required)
		return -1;
	if (r < 0 && why.kind == ERR_NOT_FOUND)
		return err_new(e, ERR_NOT_FOUND,
			       "failed to get secret %s: not found: give it with --secret id=%s,...", x->m.id,
			       x->m.id);
	if (r < 0)
		return err_new_no(e, why.kind, r, "secret %s: %s", x->m.id, err_msg(&why, r));
	if (len > SECRET_MAX)
		r = err_new(e, ERR_INVALID, "secret %s: larger than %u bytes", x->m.id, SECRET_MAX);
	if (r >= 0 && x->m.env)
		r = add_secret_env(m, x, data, len, e);
	if (r >= 0 && x->target)
		r = fd = file_in_memory(b, data, len, x, x->m.has_mode ? x->m.mode : 0400, e);
	if (data)
		explicit_bzero(data, len);
	free(data);
	return r < 0 ? r : fd;
}

static int open_agent(Build *b, One *x, Err *e)
{
	const AgentWanted w = {.id = x->m.id,
			       .uid = x->m.uid,
			       .gid = x->m.gid,
			       .mode = x->m.has_mode ? x->m.mode : 0600};
	int fd = -1, r;

	if (!b->rq->client->ssh)
		return x->m.required
			   ? err_new(e, ERR_NOT_FOUND,
				     "unset ssh forward key %s: this client brings no agent", x->m.id)
			   : -1;
	r = agent_new(b, &w, &x->agent, &fd, e);
	return r < 0 ? r : fd;
}

/* -1 and no error: there is nothing to mount. */
static int open_one(Build *b, StepMounts *m, One *x, Err *e)
{
	switch (x->m.type) {
	case DF_MOUNT_BIND:
		return open_bind(b, x, e);
	case DF_MOUNT_CACHE:
		return open_cache(b, x, e);
	case DF_MOUNT_TMPFS:
		return open_tmpfs(x, e);
	case DF_MOUNT_SECRET:
		return open_secret(b, m, x, e);
	case DF_MOUNT_SSH:
		return open_agent(b, x, e);
	}
	return -1;
}

int step_mounts_script(Build *b, StepMounts *m, const DockerfileHeredoc *h, const char **ret_path, Err *e)
{
	m->script = strf(SCRIPT_DIR "/%s", h->name);
	if (!m->script)
		return err_oom(e);
	m->script_fd = file_in_memory(b, h->text, strlen(h->text), NULL, 0755, e);
	if (m->script_fd < 0)
		return m->script_fd;
	*ret_path = m->script;
	return 0;
}

static int stubs_note(Build *b, const Stage *s, StepMounts *m, Err *e)
{
	_cleanup_strv_ char **targets = NULL;

	for (size_t i = 0; i < m->n; i++)
		if (m->v[i].fd >= 0 && strv_add(&targets, m->v[i].target) < 0)
			return err_oom(e);
	return targets ? stubs_find(b->store, s->chain, targets, &m->stubs, e) : 0;
}

int step_mounts_open(Build *b, Stage *s, StepMounts *m, EngineStep *step, char ***env, Err *e)
{
	int r = 0;

	m->given = calloc(m->n + 1, sizeof(*m->given));
	if (!m->given)
		return err_oom(e);
	for (size_t i = 0; r >= 0 && i < m->n; i++) {
		One *x = &m->v[i];
		Err why = {0};

		x->fd = open_one(b, m, x, &why);
		if (x->fd < 0 && why.no) {
			if (e)
				*e = why;
			return x->fd;
		}
		if (x->fd < 0)
			continue;
		m->given[step->n_mounts++] =
		    (EngineStepMount){x->target, x->fd,
				      x->m.read_only && x->m.type != DF_MOUNT_SECRET &&
					  x->m.type != DF_MOUNT_SSH};
		if (x->m.type == DF_MOUNT_SSH && !strv_env_get(*env, "SSH_AUTH_SOCK") &&
		    strv_take(env, strf("SSH_AUTH_SOCK=%s", x->target)) < 0)
			return err_oom(e);
	}
	if (m->script)
		m->given[step->n_mounts++] = (EngineStepMount){m->script, m->script_fd, true};
	step->mounts = m->given;
	step->secret_env = m->secret_env;
	return stubs_note(b, s, m, e);
}

int step_mounts_clean(Build *b, const StepMounts *m, const char *upper, Err *e)
{
	return m->stubs ? stubs_remove(m->stubs, upper, e) : 0;
}
