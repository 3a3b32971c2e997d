/* SPDX-License-Identifier: Apache-2.0 */
/* LLBBridge: what a client's frontend asks for while its build runs. */
#include "api/buildkit/sync-internal.h"

#include "base/path.h"

#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>

#define READ_MAX    (8 << 20)
#define ENTRIES_MAX 100000
#define STARS_MAX   4 /* of a pattern: each multiplies the time that matching may take */

/* ---- what we can do ---- */

static const char *const frontend_caps[] = {"solve.base",
					    "solve.inlinereturn",
					    "readfile",
					    "return",
					    "returnmap",
					    "readdir",
					    "statfile",
					    "importcaches",
					    "proto.refarray",
					    "reference.output",
					    "frontend.inputs",
					    "gateway.solve.metadata",
					    "frontend.caps",
					    "gateway.evaluate",
					    "gateway.solve.evaluate",
					    "gateway.warnings",
					    NULL};
static const char *const llb_caps[] = {"source.image",
				       "source.image.resolvemode",
				       "source.local",
				       "source.local.unique",
				       "source.local.sessionid",
				       "source.local.includepatterns",
				       "source.local.followpaths",
				       "source.local.excludepatterns",
				       "source.local.sharedkeyhint",
				       "source.local.differ",
				       "source.git",
				       "source.git.keepgitdir",
				       "source.git.fullurl",
				       "source.git.checksum",
				       "source.http",
				       "source.http.checksum",
				       "source.http.perm",
				       "source.http.uidgid",
				       "source.buildop.llbfilename",
				       "exec.meta.base",
				       "exec.meta.cgroup.parent",
				       "exec.meta.network",
				       "exec.meta.proxyenv",
				       "exec.meta.security",
				       "exec.meta.setsdefaultpath",
				       "exec.meta.ulimit",
				       "exec.mount.bind",
				       "exec.mount.bind.readwrite-nooutput",
				       "exec.mount.cache",
				       "exec.mount.cache.sharing",
				       "exec.mount.selector",
				       "exec.mount.tmpfs",
				       "exec.mount.tmpfs.size",
				       "exec.mount.secret",
				       "exec.mount.ssh",
				       "exec.secretenv",
				       "file.base",
				       "file.rm.wildcard",
				       "file.copy.includeexcludepatterns",
				       "constraints",
				       "platform",
				       "meta.ignorecache",
				       "meta.description",
				       "meta.exportcache",
				       "exporter.multiple",
				       "exporter.image.attestations",
				       "exporter.image.annotations",
				       "gc.freespacefilter",
				       NULL};

typedef struct CapList {
	Gateway__Cap caps[64], *list[64];
	size_t n;
} CapList;

static void caps_fill(CapList *l, const char *const *names)
{
	for (; *names && l->n < ELEMENTSOF(l->caps); names++, l->n++) {
		gateway__cap__init(&l->caps[l->n]);
		l->caps[l->n].id = (char *)*names;
		l->caps[l->n].enabled = true;
		l->list[l->n] = &l->caps[l->n];
	}
}

int rpc_ping(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	_cleanup_job_ Job *j = NULL;
	Gateway__PongResponse answer = GATEWAY__PONG_RESPONSE__INIT;
	Control__WorkerRecord *records[1];
	CapList front = {0}, llb = {0};
	Worker w;
	int r = grpc_receive_only(call, &gateway__empty__descriptor, &rq, e);

	if (r >= 0)
		r = job_of_call(user, call, &j, e);
	if (r < 0)
		return r;
	worker_fill(user, &w);
	records[0] = &w.record;
	caps_fill(&front, frontend_caps);
	caps_fill(&llb, llb_caps);
	answer.frontend_caps = front.list;
	answer.n_frontend_caps = front.n;
	answer.llb_caps = llb.list;
	answer.n_llb_caps = llb.n;
	answer.workers = records;
	answer.n_workers = 1;
	return grpc_send_message_more(call, &answer.base, e);
}

/* ---- builds ---- */

static void metadata_fill(Llb__Bytes *m, const char *key, const char *value)
{
	llb__bytes__init(m);
	m->key = (char *)key;
	m->value = (ProtobufCBinaryData){strlen(value), (uint8_t *)value};
}

static int answer_result(GrpcCall *call, const Answer *a, Err *e)
{
	Gateway__SolveResponse answer = GATEWAY__SOLVE_RESPONSE__INIT;
	Gateway__Result result = GATEWAY__RESULT__INIT;
	Gateway__Ref ref = GATEWAY__REF__INIT;
	Llb__Bytes items[ELEMENTSOF(a->keys) + 1], *metadata[ELEMENTSOF(items)];
	const Kept *k = a->kept;
	Llb__Definition *definition = k ? kept_definition(k) : NULL;
	size_t n = 0;
	int r;

	if (k && !definition)
		return err_oom(e);
	if (k) {
		ref.id = (char *)k->id;
		ref.def = definition;
	}
	if (k && k->config)
		metadata_fill(&items[n++], "containerimage.config", k->config);
	for (size_t i = 0; i < a->n; i++)
		metadata_fill(&items[n++], a->keys[i], a->values[i]);
	for (size_t i = 0; i < n; i++)
		metadata[i] = &items[i];
	result.metadata = metadata;
	result.n_metadata = n;
	result.result_case = GATEWAY__RESULT__RESULT_REF;
	result.ref = &ref;
	answer.result = &result;
	r = grpc_send_message(call, &answer.base, e);
	definition_free(definition);
	return r;
}

/* A definition that stands for a result of ours, or for nothing. */
static int solve_definition(BuildkitDoor *d, const Gateway__SolveRequest *rq, Kept **ret, Err *e)
{
	if (!rq->definition || rq->definition->n_def == 0)
		return 0;
	*ret = kept_of_definition(d, rq->definition);
	return *ret ? 0
		    : err_new(e, ERR_UNSUPPORTED,
			      "LLB definitions are not offered: this engine builds Dockerfiles itself "
			      "(frontend dockerfile.v0)");
}

/* While it is under way, the job does not end. */
static int begin_work(Job *j, Err *e)
{
	bool over;

	pthread_mutex_lock(&j->lock);
	over = j->over;
	j->working += !over;
	pthread_mutex_unlock(&j->lock);
	return over ? err_new(e, ERR_CANCELLED, "the build is over") : 0;
}

static void end_work(Job *j)
{
	pthread_mutex_lock(&j->lock);
	j->working--;
	pthread_cond_broadcast(&j->changed);
	pthread_mutex_unlock(&j->lock);
}

int rpc_bridge_solve(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ Gateway__SolveRequest *rq = NULL;
	_cleanup_job_ Job *j = NULL;
	_cleanup_answer_ Answer a = {0};
	int r = grpc_receive_only(call, &gateway__solve_request__descriptor, (ProtobufCMessage **)&rq, e);

	if (r >= 0)
		r = job_of_call(user, call, &j, e);
	if (r >= 0)
		r = begin_work(j, e);
	if (r < 0)
		return r;
	r = *rq->frontend ? build_run(j, call, rq, &a, e) : solve_definition(user, rq, &a.kept, e);
	if (r >= 0)
		r = answer_result(call, &a, e);
	end_work(j);
	return r;
}

int rpc_return(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ Gateway__ReturnRequest *rq = NULL;
	_cleanup_job_ Job *j = NULL;
	Gateway__Empty answer = GATEWAY__EMPTY__INIT;
	int r = grpc_receive_only(call, &gateway__return_request__descriptor, (ProtobufCMessage **)&rq, e);

	if (r >= 0)
		r = job_of_call(user, call, &j, e);
	if (r < 0)
		return r;
	pthread_mutex_lock(&j->lock);
	if (j->answer)
		r = err_new(e, ERR_CONFLICT, "the build has returned already");
	else
		j->answer = take_ptr(rq);
	(void)!write(j->returned_fd, &(uint64_t){1},
		     sizeof(uint64_t)); /* an eventfd takes it; the build may be over */
	pthread_mutex_unlock(&j->lock);
	if (r < 0)
		return r;
	return grpc_send_message_more(call, &answer.base, e);
}

int rpc_inputs(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	Gateway__Empty none = GATEWAY__EMPTY__INIT;
	int r = grpc_receive_only(call, &gateway__empty__descriptor, &rq, e);

	(void)user;
	return r < 0 ? r : grpc_send_message_more(call, &none.base, e);
}

int rpc_warn(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ Gateway__WarnRequest *rq = NULL;
	_cleanup_job_ Job *j = NULL;
	Gateway__Empty answer = GATEWAY__EMPTY__INIT;
	int r = grpc_receive_only(call, &gateway__warn_request__descriptor, (ProtobufCMessage **)&rq, e);

	if (r >= 0)
		r = job_of_call(user, call, &j, e);
	if (r < 0)
		return r;
	BuildVertex vertex = {0};
	_cleanup_free_ char *detail =
	    rq->n_detail ? strndup((char *)rq->detail[0].data, rq->detail[0].len) : NULL;
	_cleanup_free_ char *text =
	    rq->info ? strndup((char *)rq->info->data.data, rq->info->data.len) : NULL;
	const Llb__Range *range = rq->n_ranges ? rq->ranges[0] : NULL;
	BuildEvent ev = {.kind = BUILD_WARNING,
			 .time_ns = clock_now_ns(),
			 .vertex = &vertex,
			 .text = (const char *)rq->short_.data,
			 .len = rq->short_.len,
			 .detail = detail,
			 .url = rq->url,
			 .line = range && range->start ? range->start->line : 0,
			 .last_line = range && range->end ? range->end->line : 0};

	snprintf(vertex.digest, sizeof(vertex.digest), "%s", rq->digest);
	if (ev.text)
		status_event(j, &ev, rq->info ? rq->info->filename : "", text);
	return grpc_send_message_more(call, &answer.base, e);
}

/* ---- looking into results ---- */

/* Its files, or -1 in *ret_fd if it has none. */
static int open_ref(BuildkitDoor *d, const char *ref, int *ret_fd, Err *e)
{
	_cleanup_kept_ Kept *k = kept_get(d, ref);
	Err err = {0};
	int r;

	*ret_fd = -1;
	if (!k)
		return err_new(e, ERR_NOT_FOUND, "no such ref: %.60s", ref);
	r = build_result_mount(k->result, ret_fd, &err);
	if (r < 0 && err.kind == ERR_NOT_FOUND)
		return 0;
	if (r < 0 && e)
		*e = err;
	return r;
}

static int open_in_ref(BuildkitDoor *d, const char *ref, const char *path, int flags, int *ret_fd, Err *e)
{
	_cleanup_close_ int root = -1;
	int r = open_ref(d, ref, &root, e), fd;

	if (r < 0)
		return r;
	fd = root < 0 ? -ENOENT : path_open_in_root(root, path, flags, 0);
	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
		return err_new(e, ERR_NOT_FOUND, "lstat %.300s: no such file or directory", path);
	if (fd < 0)
		return err_sys(e, fd, "open %.300s", path);
	*ret_fd = fd;
	return 0;
}

int rpc_evaluate(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ Gateway__EvaluateRequest *rq = NULL;
	Gateway__Empty answer = GATEWAY__EMPTY__INIT;
	int r = grpc_receive_only(call, &gateway__evaluate_request__descriptor, (ProtobufCMessage **)&rq, e);

	if (r < 0)
		return r;
	_cleanup_kept_ Kept *k = *rq->ref ? kept_get(user, rq->ref) : NULL;
	if (*rq->ref && !k)
		return err_new(e, ERR_NOT_FOUND, "no such ref: %.60s", rq->ref);
	return grpc_send_message_more(call, &answer.base, e); /* a result is evaluated when it is there */
}

static void stat_fill(Llb__Stat *s, const char *path, const struct stat *st)
{
	llb__stat__init(s);
	s->path = (char *)path;
	s->mode = sync_go_mode(st->st_mode);
	s->uid = st->st_uid;
	s->gid = st->st_gid;
	s->size = st->st_size;
	s->mod_time = st->st_mtim.tv_sec * 1000000000LL + st->st_mtim.tv_nsec;
}

int rpc_stat_file(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ Gateway__StatFileRequest *rq = NULL;
	Gateway__StatFileResponse answer = GATEWAY__STAT_FILE_RESPONSE__INIT;
	_cleanup_close_ int fd = -1;
	Llb__Stat entry;
	struct stat st;
	int r = grpc_receive_only(call, &gateway__stat_file_request__descriptor, (ProtobufCMessage **)&rq, e);

	if (r >= 0)
		r = open_in_ref(user, rq->ref, rq->path, O_PATH | O_NOFOLLOW, &fd, e);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return err_sys(e, errno, "look at %.300s", rq->path);
	stat_fill(&entry, path_base(rq->path), &st);
	answer.stat = &entry;
	return grpc_send_message_more(call, &answer.base, e);
}

int rpc_read_file(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ Gateway__ReadFileRequest *rq = NULL;
	Gateway__ReadFileResponse answer = GATEWAY__READ_FILE_RESPONSE__INIT;
	_cleanup_free_ uint8_t *data = NULL;
	_cleanup_close_ int fd = -1;
	struct stat st;
	int64_t at = 0, len = 0;
	ssize_t n;
	int r = grpc_receive_only(call, &gateway__read_file_request__descriptor, (ProtobufCMessage **)&rq, e);

	if (r >= 0)
		r = open_in_ref(user, rq->ref, rq->path, O_RDONLY | O_NONBLOCK, &fd, e);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_new(e, ERR_INVALID, "%.300s: not a file", rq->path);
	if (rq->range) {
		at = MAX2(rq->range->offset, (int64_t)0);
		at = MIN2(at, (int64_t)st.st_size);
		len = rq->range->length;
	}
	if (len <= 0 || len > st.st_size - at)
		len = st.st_size - at;
	if (len > READ_MAX)
		return err_new(e, ERR_INVALID, "%.300s: larger than %d bytes: read it in parts", rq->path,
			       READ_MAX);
	data = malloc((size_t)len + 1);
	if (!data)
		return err_oom(e);
	n = fd_pread_full(fd, data, (size_t)len, at);
	if (n < 0)
		return err_sys(e, (int)n, "read %.300s", rq->path);
	answer.data = (ProtobufCBinaryData){(size_t)n, data};
	return grpc_send_message(call, &answer.base, e);
}

typedef struct Entries {
	Llb__Stat **list;
	char **names;
	size_t n;
} Entries;

static void entries_done(Entries *x)
{
	for (size_t i = 0; i < x->n; i++)
		free(x->list[i]);
	free(x->list);
	strv_free(x->names);
}

static int entries_add(Entries *x, int dir, const char *name, Err *e)
{
	Llb__Stat **grown = reallocarray(x->list, x->n + 1, sizeof(*grown));
	struct stat st;

	if (!grown)
		return err_oom(e);
	x->list = grown;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, errno, "look at %.300s", name);
	if (x->n >= ENTRIES_MAX)
		return err_new(e, ERR_EXHAUSTED, "too many files in one directory");
	grown[x->n] = malloc(sizeof(Llb__Stat));
	if (!grown[x->n] || strv_add(&x->names, name) < 0) {
		free(grown[x->n]);
		return err_oom(e);
	}
	stat_fill(grown[x->n], x->names[x->n], &st);
	x->n++;
	return 0;
}

static bool is_bounded(const char *pattern)
{
	unsigned stars = 0;

	for (const char *p = pattern; *p; p++)
		stars += *p == '*';
	return strlen(pattern) <= NAME_MAX && stars <= STARS_MAX;
}

int rpc_read_dir(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ Gateway__ReadDirRequest *rq = NULL;
	Gateway__ReadDirResponse answer = GATEWAY__READ_DIR_RESPONSE__INIT;
	_cleanup_(entries_done) Entries x = {0};
	_cleanup_(closedirp) DIR *dir = NULL;
	const struct dirent *entry;
	int r = grpc_receive_only(call, &gateway__read_dir_request__descriptor, (ProtobufCMessage **)&rq, e),
	    fd = -1;

	if (r >= 0 && !is_bounded(rq->include_pattern))
		r = err_new(e, ERR_INVALID, "the pattern %.300s is too long", rq->include_pattern);
	if (r >= 0)
		r = open_in_ref(user, rq->ref, rq->path, O_RDONLY | O_DIRECTORY, &fd, e);
	if (r < 0)
		return r;
	dir = fdopendir(fd);
	if (!dir) {
		r = errno;
		close_fd(&fd);
		return err_sys(e, r, "list %.300s", rq->path);
	}
	while (r >= 0 && (entry = readdir(dir)))
		if (!streq(entry->d_name, ".") && !streq(entry->d_name, "..") &&
		    (!*rq->include_pattern || fnmatch(rq->include_pattern, entry->d_name, 0) == 0))
			r = entries_add(&x, fd, entry->d_name, e);
	if (r < 0)
		return r;
	answer.entries = x.list;
	answer.n_entries = x.n;
	return grpc_send_message(call, &answer.base, e);
}
