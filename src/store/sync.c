/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The janitor: one background thread that brings committed bytes to disk and empties the trash.
 *
 * Layers and blobs are committed as "unsynced, boot X" (store.h, crash rule). A moment after the last commit, so that a pull
 * of ten layers costs one sync, the janitor takes the list of unsynced rows, calls syncfs(2), and marks exactly those
 * rows synced: their files were complete before the row was. Then it checkpoints the database, as it also does when its log has become
 * large. Nobody waits for it.
 *
 * A process cannot end while one of its threads is in syncfs, and on a busy disk that takes tens of seconds: a child makes the call, and
 * an engine that is told to stop meanwhile leaves the child to itself. The rows stay unsynced then, and the next start syncs them.
 */
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "store/store-internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>

#define QUIET_NS      2000000000ll
#define QUIET_MOST    10 /* times that long */
#define STOP_CHECK_MS 100
#define LOG_LEFT      (1 << 20) /* bytes */

static int list(Store *s, const char *sql, char ***ret, Err *e)
{
	_cleanup_query_ DbQuery q = {0};
	int r = db_query(&s->db, &q, e, sql, "");

	while (r >= 0 && (r = db_step(&q, e)) > 0)
		if (strv_add(ret, db_text(&q, 0)) < 0)
			return err_oom(e);
	return r;
}

static int mark(Store *s, char *const *layers, char *const *blobs, Err *e)
{
	_cleanup_tx_ DbTx tx = {0};
	int r = db_begin(&s->db, &tx, e);

	for (char *const *l = layers; r >= 0 && l && *l; l++)
		r = db_run(&s->db, e, "UPDATE layer SET synced = 1 WHERE chain_id = ?1", "t", *l);
	for (char *const *b = blobs; r >= 0 && b && *b; b++)
		r = db_run(&s->db, e, "UPDATE blob SET synced = 1 WHERE digest = ?1", "t", *b);
	return r < 0 ? r : db_commit(&tx, e);
}

/* The child has nothing of the engine's but the root: no lock outlives us with it. */
static void child_syncs(int root_fd)
{
	if (root_fd > 0)
		(void)close_range(0, (unsigned)root_fd - 1, 0);
	(void)close_range((unsigned)root_fd + 1, ~0u, 0);
	_exit(syncfs(root_fd) < 0 ? MIN2(errno, 255) : 0);
}

static bool stopping(Store *s)
{
	bool stop;

	pthread_mutex_lock(&s->lock);
	stop = s->stop;
	pthread_mutex_unlock(&s->lock);
	return stop;
}

/* 0, -errno, or -ECANCELED when the store is to be closed before the disk is done. */
static int sync_in_child(Store *s)
{
	pid_t pid = fork();
	_cleanup_close_ int fd = -1;
	struct pollfd p;
	int status = 0;

	if (pid == 0)
		child_syncs(s->root_fd);
	if (pid < 0)
		return -errno;
	fd = pidfd_open(pid, 0);
	p = (struct pollfd){.fd = fd, .events = POLLIN};
	while (fd >= 0 && poll(&p, 1, STOP_CHECK_MS) <= 0)
		if (stopping(s))
			return -ECANCELED;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
}

static int sync_now(Store *s, Err *e)
{
	_cleanup_strv_ char **layers = NULL, **blobs = NULL;
	int r = list(s, "SELECT chain_id FROM layer WHERE synced = 0 AND lost = 0", &layers, e);

	if (r >= 0)
		r = list(s, "SELECT digest FROM blob WHERE synced = 0", &blobs, e);
	if (r < 0)
		return r;
	if (layers || blobs) {
		r = sync_in_child(s);
		if (r == -ECANCELED)
			return 0;
		if (r < 0)
			return err_sys(e, r, "sync %s", s->root);
		r = mark(s, layers, blobs, e);
		if (r < 0)
			return r;
	}
	return db_checkpoint(s->db_path, e);
}

static int empty_trash(Store *s, Err *e)
{
	_cleanup_close_ int fd = openat(s->root_fd, TRASH, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *de;
	int r = 0;

	if (!d)
		return err_sys(e, errno, "open %s/" TRASH, s->root);
	take_fd(&fd);
	while ((de = readdir(d)) && !stopping(s)) {
		int one = 0;

		if (!streq(de->d_name, ".") && !streq(de->d_name, ".."))
			one = remove_tree_at(dirfd(d), de->d_name);
		/* The others go nevertheless. */
		if (one < 0 && r >= 0)
			r = err_sys(e, one, "delete %s/" TRASH "/%s", s->root, de->d_name);
	}
	closedir(d);
	return r;
}

/* What was committed is synced when nothing was for a while, but not for ever. 0: nothing waits. */
typedef struct Wait {
	int64_t due_ns, last_ns;
} Wait;

static void wait_on(Wait *w)
{
	int64_t now = clock_mono_ns();

	if (!w->due_ns)
		w->last_ns = now + QUIET_MOST * QUIET_NS;
	w->due_ns = MIN2(now + QUIET_NS, w->last_ns);
}

static void wait_for_work(Store *s, const Wait *w)
{
	const struct timespec until = {w->due_ns / 1000000000, w->due_ns % 1000000000};

	if (w->due_ns)
		pthread_cond_timedwait(&s->changed, &s->lock, &until);
	else
		pthread_cond_wait(&s->changed, &s->lock);
}

/* Lets go of the lock meanwhile. */
static void work(Store *s, bool trash)
{
	Err e = {0};

	pthread_mutex_unlock(&s->lock);
	if (trash && empty_trash(s, &e) < 0)
		log_warn("%s", err_msg(&e, -EIO));
	if (!trash && sync_now(s, &e) < 0)
		log_warn("%s: is tried again with the next layer", err_msg(&e, -EIO));
	reserve_make(s);
	pthread_mutex_lock(&s->lock);
}

static void *janitor(void *user)
{
	Store *s = user;
	Wait w = {0};

	pthread_setname_np(pthread_self(), "irekod-janitor");
	reserve_make(s);
	pthread_mutex_lock(&s->lock);
	while (!s->stop) {
		if (s->unsynced)
			wait_on(&w);
		s->unsynced = false;
		if (w.due_ns && clock_mono_ns() >= w.due_ns) {
			w = (Wait){0};
			work(s, false);
		} else if (s->trash) {
			s->trash = false;
			work(s, true);
		} else {
			wait_for_work(s, &w);
		}
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static void log_is_large(void *user)
{
	janitor_wake(user, true, false);
}

/* What an engine before us has written. */
static bool has_log(const Store *s)
{
	_cleanup_free_ char *path = strf("%s-wal", s->db_path);
	struct stat st;

	return path && stat(path, &st) == 0 && st.st_size > LOG_LEFT;
}

int janitor_start(Store *s, Err *e)
{
	int64_t waiting;
	int r = db_get_int(&s->db, &waiting, 0, e,
			   "SELECT EXISTS (SELECT 1 FROM layer WHERE synced = 0 AND lost = 0)"
			   " OR EXISTS (SELECT 1 FROM blob WHERE synced = 0)",
			   "");

	if (r < 0)
		return r;
	s->unsynced = waiting > 0 || has_log(s);
	db_watch_log(&s->db, log_is_large, s);
	s->trash = true;
	r = pthread_create(&s->janitor, NULL, janitor, s);
	if (r != 0)
		return err_sys(e, r, "start the store's background thread");
	s->janitor_runs = true;
	return 0;
}

void janitor_stop(Store *s)
{
	if (!s->janitor_runs)
		return;
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->janitor, NULL);
	s->janitor_runs = false;
}

void janitor_wake(Store *s, bool unsynced, bool trash)
{
	pthread_mutex_lock(&s->lock);
	s->unsynced |= unsynced;
	s->trash |= trash;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}
