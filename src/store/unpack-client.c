/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting ireko-unpack and believing it just enough.
 *
 * The helper gets exactly the descriptors of unpack-protocol.h and an empty environment. Its report is read to the end in the
 * calling thread (it dies with that thread: PR_SET_PDEATHSIG). It parsed a stranger's archive, so a report may be a
 * lie: frames and their number are bounded, and the paths in it are opened beneath the target once more.
 *
 * No more than UNPACKERS_MAX run at once, since a client that sends nothing keeps one for as long as it likes. Others wait for a place, but not for ever.
 */
#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "store/dir.h"
#include "store/erofs.h"
#include "store/store-internal.h"
#include "store/unpack-protocol.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include <uthash.h>

#define FIRST_SAFE_FD    16 /* above every number that the helper's descriptors get */
#define REPORT_BYTES_MAX (64u << 20)
#define NUMBER_MAX       (INT64_C(1) << 50)
#define SILENCE_MS       500
#define UNPACKERS_MAX    128
#define PLACE_S          30

struct PathSet {
	UT_hash_handle hh;
	char path[];
};

static int add_implied(UnpackRun *u, const char *path)
{
	PathSet *p;

	HASH_FIND_STR(u->implied, path, p);
	if (p)
		return 0;
	p = malloc(sizeof(*p) + strlen(path) + 1);
	if (!p)
		return -ENOMEM;
	strcpy(p->path, path);
	HASH_ADD_STR(u->implied, path, p);
	return 0;
}

static void remove_implied(UnpackRun *u, const char *path)
{
	PathSet *p;

	HASH_FIND_STR(u->implied, path, p);
	if (p) {
		HASH_DEL(u->implied, p);
		free(p);
	}
}

void unpack_run_done(UnpackRun *u)
{
	PathSet *p, *next;

	HASH_ITER (hh, u->implied, p, next) {
		HASH_DEL(u->implied, p);
		free(p);
	}
	strv_free(u->opaque);
	u->opaque = NULL;
	for (size_t i = 0; i < u->n_implied_at; i++)
		free(u->implied_at[i].path);
	free(u->implied_at);
	u->implied_at = NULL;
	u->n_implied_at = 0;
}

static int add_implied_at(UnpackRun *u, const char *payload, size_t len)
{
	size_t n = u->n_implied_at;
	ImpliedAt *grown;

	if ((n & (n - 1)) == 0) {
		grown = reallocarray(u->implied_at, n ? n * 2 : 1, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		u->implied_at = grown;
	}
	memcpy(&u->implied_at[n].inode_at, payload, sizeof(uint64_t));
	u->implied_at[n].path = strndup(payload + sizeof(uint64_t), len - sizeof(uint64_t));
	if (!u->implied_at[n].path)
		return -ENOMEM;
	u->n_implied_at++;
	return 0;
}

static json_t *ids_doc(const UnpackIds *m)
{
	json_t *a = json_array();

	for (size_t i = 0; a && i < m->n; i++)
		json_array_append_new(a, json_pack("[I, I, I]", (json_int_t)m->v[i].inside,
						   (json_int_t)m->v[i].outside, (json_int_t)m->v[i].count));
	return a;
}

static char *job_text(const UnpackJob *job)
{
	_cleanup_json_ json_t *j =
	    json_pack("{s:b s:b s:b s:b s:b s:b s:b s:I s:I s:I s:I s:o s:o}", "cat", job->cat, "image",
		      job->image, "layer", job->layer, "whiteouts", job->whiteouts, "devices", job->devices,
		      "keep_owner", job->keep_owner, "no_overwrite_dir_non_dir",
		      job->no_overwrite_dir_non_dir, "uid", (json_int_t)job->uid, "gid", (json_int_t)job->gid,
		      "max_bytes", (json_int_t)job->max_bytes, "max_files", (json_int_t)job->max_files,
		      "uids", ids_doc(&job->uids), "gids", ids_doc(&job->gids));

	return j ? json_text(j) : NULL;
}

/* The descriptors are first moved out of the way of the numbers they will get. */
static int spawn(Store *s, const UnpackRun *u, int report_fd, pid_t *ret, Err *e)
{
	_cleanup_close_ int in = fcntl(u->in_fd, F_DUPFD_CLOEXEC, FIRST_SAFE_FD);
	_cleanup_close_ int dir = fcntl(u->dir_fd, F_DUPFD_CLOEXEC, FIRST_SAFE_FD);
	_cleanup_close_ int report = fcntl(report_fd, F_DUPFD_CLOEXEC, FIRST_SAFE_FD);
	_cleanup_close_ int out = u->out_fd >= 0 ? fcntl(u->out_fd, F_DUPFD_CLOEXEC, FIRST_SAFE_FD)
						 : open("/dev/null", O_RDWR | O_CLOEXEC);
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	_cleanup_free_ char *job = job_text(u->job);
	char *argv[] = {(char[]){"ireko-unpack"}, job, NULL}, *env[] = {NULL};
	posix_spawn_file_actions_t acts;
	posix_spawnattr_t attr;
	sigset_t none;
	int r;

	if (!job)
		return err_oom(e);
	if (in < 0 || dir < 0 || report < 0 || out < 0 || null < 0)
		return err_sys(e, errno, "prepare the descriptors of ireko-unpack");
	posix_spawn_file_actions_init(&acts);
	posix_spawn_file_actions_adddup2(&acts, in, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&acts, out, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&acts, null, STDERR_FILENO);
	posix_spawn_file_actions_adddup2(&acts, dir, UNPACK_DIR_FD);
	posix_spawn_file_actions_adddup2(&acts, report, UNPACK_REPORT_FD);
	posix_spawnattr_init(&attr);
	sigemptyset(&none);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	r = posix_spawn(ret, s->unpack_program, &acts, &attr, argv, env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&acts);
	return r == 0 ? 0 : err_sys(e, r, "start %s", s->unpack_program);
}

static int bad_report(Err *e)
{
	return err_new(e, ERR_INTERNAL, "ireko-unpack sent a damaged report");
}

/* Numbers of layers are added up: a sum that runs over would be an error for all of them. */
static bool done_is_possible(const UnpackJob *job, const UnpackDone *d)
{
	const int64_t numbers[] = {d->stream_bytes, d->content_bytes, d->inodes};

	for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
		if (numbers[i] < 0 || numbers[i] > NUMBER_MAX)
			return false;
	return !unpack_job_hashes(job) || digest_is_valid(d->diff_id);
}

/* 1: more to come, 0: it is done, or the failure that it reports. */
static int take_frame(UnpackRun *u, const UnpackFrame *f, char *payload, Err *e)
{
	int64_t n;
	Err failed;
	int r = 0;

	payload[f->len] = 0;
	switch (f->type) {
	case UNPACK_PROGRESS:
		if (f->len != sizeof(n))
			return bad_report(e);
		memcpy(&n, payload, sizeof(n));
		if (u->progress)
			u->progress(u->user, n);
		return 1;
	case UNPACK_OPAQUE:
		r = strv_add(&u->opaque, payload);
		return r < 0 ? err_oom(e) : 1;
	case UNPACK_IMPLIED:
		r = add_implied(u, payload);
		return r < 0 ? err_oom(e) : 1;
	case UNPACK_IMPLIED_AT:
		if (f->len < sizeof(uint64_t))
			return bad_report(e);
		r = add_implied_at(u, payload, f->len);
		return r < 0 ? err_oom(e) : 1;
	case UNPACK_DESCRIBED:
		remove_implied(u, payload);
		return 1;
	case UNPACK_DONE:
		if (f->len != sizeof(*u->done))
			return bad_report(e);
		memcpy(u->done, payload, sizeof(*u->done));
		u->done->diff_id[DIGEST_LEN] = 0;
		return done_is_possible(u->job, u->done) ? 0 : bad_report(e);
	case UNPACK_FAILED:
		if (f->len != sizeof(failed))
			return bad_report(e);
		memcpy(&failed, payload, sizeof(failed));
		failed.msg[sizeof(failed.msg) - 1] = failed.file[sizeof(failed.file) - 1] = 0;
		if (failed.no <= 0 || failed.no > 4095 || failed.kind >= ERR_KIND_MAX)
			return bad_report(e);
		if (e)
			*e = failed;
		return -failed.no;
	default:
		return bad_report(e);
	}
}

static int await_report(const UnpackRun *u, int fd, Err *e)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int r = 0;

	while (r >= 0 && u->go_on && poll(&p, 1, SILENCE_MS) == 0)
		r = u->go_on(u->user, e);
	return r;
}

/* 0 when the report is complete; 1 when it ended without saying so. */
static int read_report(UnpackRun *u, int fd, Err *e)
{
	char payload[UNPACK_FRAME_MAX + 1];
	size_t total = 0;
	UnpackFrame f;
	int r = 1;

	while (r == 1) {
		ssize_t n;

		r = await_report(u, fd, e);
		if (r < 0)
			return r;
		n = fd_read_full(fd, &f, sizeof(f));
		if (n == 0)
			return 1;
		if (n < 0)
			return err_sys(e, (int)n, "read the report of ireko-unpack");
		if (n != sizeof(f) || f.len > UNPACK_FRAME_MAX ||
		    fd_read_full(fd, payload, f.len) != (ssize_t)f.len)
			return bad_report(e);
		total += f.type == UNPACK_PROGRESS ? 0 : f.len + sizeof(PathSet);
		if (total > REPORT_BYTES_MAX)
			return err_new(e, ERR_INVALID,
				       "the layer has too many opaque or undescribed directories");
		r = take_frame(u, &f, payload, e);
	}
	return r;
}

static int died(int status, Err *e)
{
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		return err_new(
		    e, ERR_DENIED,
		    "ireko-unpack was stopped by its sandbox: the archive made it attempt something "
		    "that unpacking never needs");
	if (WIFSIGNALED(status))
		return err_new(e, ERR_INTERNAL, "ireko-unpack was killed by signal %d (%s)", WTERMSIG(status),
			       strsignal(WTERMSIG(status)));
	return err_new(e, ERR_INTERNAL, "ireko-unpack exited with status %d and without a report",
		       WEXITSTATUS(status));
}

static bool try_place(Store *s, const struct timespec *until)
{
	bool got;

	pthread_mutex_lock(&s->lock);
	while (s->unpackers >= UNPACKERS_MAX &&
	       pthread_cond_timedwait(&s->changed, &s->lock, until) != ETIMEDOUT)
		;
	got = s->unpackers < UNPACKERS_MAX;
	s->unpackers += got;
	pthread_mutex_unlock(&s->lock);
	return got;
}

/* Whoever waits may leave meanwhile. */
static int take_place(Store *s, const UnpackRun *u, Err *e)
{
	int64_t end = clock_mono_ns() + PLACE_S * INT64_C(1000000000);
	int r = 0;

	while (r >= 0 && clock_mono_ns() < end) {
		struct timespec until;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec++;
		if (try_place(s, &until))
			return 0;
		r = u->go_on ? u->go_on(u->user, e) : 0;
	}
	return r < 0
		   ? r
		   : err_new(e, ERR_UNAVAILABLE,
			     "%d archives are being unpacked, and none of them has ended for %d s: try again "
			     "later, or end clients that send nothing",
			     UNPACKERS_MAX, PLACE_S);
}

static void give_place(Store *s)
{
	pthread_mutex_lock(&s->lock);
	s->unpackers--;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static int run_placed(Store *s, UnpackRun *u, Err *e)
{
	_cleanup_close_ int from = -1;
	int pipe_fds[2], status = 0, r;
	pid_t pid;

	if (!s->unpack_program)
		return err_new(e, ERR_INTERNAL, "the store was opened without the helper ireko-unpack");
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return err_sys(e, errno, "make a pipe");
	from = pipe_fds[0];
	r = spawn(s, u, pipe_fds[1], &pid, e);
	(void)close(pipe_fds[1]);
	if (r < 0)
		return r;
	r = read_report(u, from, e);
	if (r < 0)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return r != 0 ? r : err_sys(e, errno, "wait for ireko-unpack");
	return r == 1 ? died(status, e) : r;
}

int unpack_run(Store *s, UnpackRun *u, Err *e)
{
	int r = take_place(s, u, e);

	if (r < 0)
		return r;
	r = run_placed(s, u, e);
	give_place(s);
	return r;
}

/* ---- afterwards: what only the store may do ---- */

/* A directory that the report named; -ENOENT when it is no directory any more, which a later entry may have caused. */
static int open_reported(int dir_fd, const char *path)
{
	int fd =
	    path_open_in_root(dir_fd, *path ? path : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);

	return fd == -ENOTDIR || fd == -ELOOP ? -ENOENT : fd;
}

static int mark_opaque(int fd, const char *path, Err *e)
{
	if (fsetxattr(fd, "trusted.overlay.opaque", "y", 1, 0) < 0)
		return store_sys(e, errno, "mark %s as opaque", *path ? path : "the root");
	return 0;
}

/* overlayfs does not heed the mark on the root itself: each name that a lower root has is hidden instead. */
static int hide_root_of(int dir_fd, const char *lower, Err *e)
{
	_cleanup_close_ int low = open(lower, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_strv_ char **names = NULL;
	struct stat st;
	int r;

	if (low < 0)
		return err_sys(e, errno, "open %s", lower);
	r = dir_names(low, &names);
	if (r < 0)
		return err_sys(e, r, "read %s", lower);
	for (char **n = names; n && *n; n++) {
		if (fstatat(low, *n, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return err_sys(e, errno, "examine %s/%s", lower, *n);
		if (S_ISCHR(st.st_mode) && st.st_rdev == 0)
			continue;
		if (mknodat(dir_fd, *n, S_IFCHR, makedev(0, 0)) == 0)
			continue;
		if (errno != EEXIST)
			return store_sys(e, errno, "hide %s", *n);
		_cleanup_close_ int own = open_reported(dir_fd, *n);
		if (own >= 0) {
			r = mark_opaque(own, *n, e);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int fix_opaque(int dir_fd, const char *path, char *const *lower, Err *e)
{
	_cleanup_close_ int fd = -1;
	int r = 0;

	if (!*path) {
		for (char *const *l = lower; r >= 0 && l && *l; l++)
			r = hide_root_of(dir_fd, *l, e);
		return r;
	}
	fd = open_reported(dir_fd, path);
	if (fd == -ENOENT)
		return 0;
	return fd < 0 ? err_sys(e, fd, "open %s", path) : mark_opaque(fd, path, e);
}

/* Access control lists and user attributes; overlayfs shows those of the topmost directory only. */
static int copy_xattrs(int from, int to, const char *path, Err *e)
{
	char names[8192], value[4096];
	ssize_t n = flistxattr(from, names, sizeof(names));

	if (n < 0)
		return errno == ENOTSUP || errno == ERANGE
			   ? 0
			   : err_sys(e, errno, "read the attributes of %s", path);
	for (const char *name = names; name < names + n; name += strlen(name) + 1) {
		ssize_t len;

		if (!str_starts(name, "user.") && !str_starts(name, "system.posix_acl"))
			continue;
		len = fgetxattr(from, name, value, sizeof(value));
		if (len >= 0 && fsetxattr(to, name, value, (size_t)len, 0) < 0)
			return store_sys(e, errno, "set %s of %s", name, path);
	}
	return 0;
}

static int dress_like(int from, int to, const char *path, Err *e)
{
	struct timespec ts[2];
	struct stat st;
	int r;

	if (fstat(from, &st) < 0)
		return err_sys(e, errno, "examine %s", path);
	r = copy_xattrs(from, to, path, e);
	if (r < 0)
		return r;
	ts[0] = ts[1] = st.st_mtim;
	if (fchown(to, st.st_uid, st.st_gid) < 0 || fchmod(to, st.st_mode & 07777) < 0 ||
	    futimens(to, ts) < 0)
		return store_sys(e, errno, "dress %s like the directory below it", path);
	return 0;
}

/* The directory of that name in the topmost layer that has one, or -ENOENT. */
static int open_below(char *const *lower, const char *path)
{
	for (char *const *l = lower; l && *l; l++) {
		_cleanup_close_ int low = open(*l, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		int below = low < 0 ? -errno : open_reported(low, path);

		if (below >= 0)
			return below;
	}
	return -ENOENT;
}

/* Makes a directory that the archive needs but does not describe look like the one it covers. */
static int fix_implied(int dir_fd, const char *path, char *const *lower, Err *e)
{
	_cleanup_close_ int fd = open_reported(dir_fd, path);
	_cleanup_close_ int below = -1;

	if (fd < 0)
		return fd == -ENOENT ? 0 : err_sys(e, fd, "open %s", path);
	below = open_below(lower, path);
	return below < 0 ? 0 : dress_like(below, fd, *path ? path : "/", e);
}

int unpack_fix(int dir_fd, UnpackRun *u, char *const *lower, Err *e)
{
	PathSet *p, *next;
	int r = 0;

	for (char **o = u->opaque; r >= 0 && o && *o; o++)
		r = fix_opaque(dir_fd, *o, lower, e);
	/* Opaque marks change no times, what is done here to children would: parents come after them only by luck, so
	 * nothing below writes into a directory. */
	HASH_ITER (hh, u->implied, p, next) {
		if (r >= 0)
			r = fix_implied(dir_fd, p->path, lower, e);
	}
	return r;
}

/* True if the directory has attributes that copy_xattrs would copy. */
static bool has_xattrs(int fd)
{
	char names[8192];
	ssize_t n = flistxattr(fd, names, sizeof(names));

	for (const char *name = names; n > 0 && name < names + n; name += strlen(name) + 1)
		if (str_starts(name, "user.") || str_starts(name, "system.posix_acl"))
			return true;
	return false;
}

static int fix_implied_at(int image_fd, const ImpliedAt *i, char *const *lower, Err *e)
{
	_cleanup_close_ int below = open_below(lower, i->path);
	struct stat st;
	ErofsOwner o;
	int r;

	if (below < 0)
		return 0;
	if (fstat(below, &st) < 0)
		return err_sys(e, errno, "examine %s", i->path);
	if (has_xattrs(below))
		return 1;
	o = (ErofsOwner){.mode = st.st_mode,
			 .uid = st.st_uid,
			 .gid = st.st_gid,
			 .mtime_s = st.st_mtim.tv_sec,
			 .mtime_ns = (uint32_t)st.st_mtim.tv_nsec};
	r = erofs_dress_dir(image_fd, i->inode_at, &o, e);
	return r < 0 ? err_ctx(e, r, "dress %s like the directory below it", i->path) : 0;
}

int unpack_fix_image(int image_fd, UnpackRun *u, char *const *lower, Err *e)
{
	int r = u->opaque && lower ? 1 : 0; /* the root; other directories have their mark */

	for (size_t i = 0; r == 0 && i < u->n_implied_at; i++)
		r = fix_implied_at(image_fd, &u->implied_at[i], lower, e);
	return r;
}
