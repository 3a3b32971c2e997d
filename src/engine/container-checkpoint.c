/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A checkpoint of a running container, as an archive for forensic analysis: what a kubelet asks for.
 *
 * The archive is a tar as checkpointctl reads it:
 *    checkpoint/       criu's images
 *    dump.log          what criu said
 *    config.dump       which container of which image it was, and when
 *    spec.dump         its runtime-spec configuration
 *    container.log     its log, as a kubelet reads it, if it has one
 *
 * It is written beside its place and renamed into it, so that whoever finds the file has it whole. Nothing is followed that a container has a say in: criu's images are
 * listed and opened beneath our own directory, and the last component of every other path is no link.
 */
#include "engine/pod-internal.h"
#include "store/tar-write.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <time.h>

#define TIMEOUT_S     300 /* when none is asked for */
#define TIMEOUT_S_MAX 86400
#define FILES_MAX     100000

typedef struct Checkpoint {
	Engine *en;
	Container *c;
	char *run_dir,
	    *work; /* work: criu's images, below the data root: they are as large as the container's memory */
	int work_fd;
	TarWriter *tar;
} Checkpoint;

static void checkpoint_done(Checkpoint *k)
{
	tar_writer_free(k->tar);
	close_fd(&k->work_fd);
	if (k->work)
		(void)remove_tree_at(AT_FDCWD, k->work);
	free(k->work);
	free(k->run_dir);
}

static int prepare(Checkpoint *k, Err *e)
{
	_cleanup_free_ char *data = container_data_dir(k->en, k->c);
	char id[17];
	int r;

	id_random_hex(id, 16);
	k->run_dir = container_run_dir(k->en, k->c);
	k->work = data ? strf("%s/checkpoint-%s", data, id) : NULL;
	if (!k->work || !k->run_dir)
		return err_oom(e);
	r = mkdir_parents_at(AT_FDCWD, k->work, 0700);
	if (r < 0)
		return err_sys(e, r, "make %s", k->work);
	k->work_fd = open(k->work, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return k->work_fd < 0 ? err_sys(e, errno, "open %s", k->work) : 0;
}

/* ---- the archive ---- */

static int add_header(Checkpoint *k, TarType type, const char *name, int64_t size, int64_t mtime_s, Err *e)
{
	TarEntry n = {.type = type,
		      .name = (char *)(uintptr_t)name,
		      .mode = type == TAR_DIR ? 0700 : 0600,
		      .size = size,
		      .mtime_s = mtime_s};

	return tar_write_header(k->tar, &n, e);
}

static int add_text(Checkpoint *k, const char *name, const char *text, Err *e)
{
	size_t len = strlen(text);
	int r = add_header(k, TAR_FILE, name, (int64_t)len, time(NULL), e);

	return r < 0 ? r : tar_write_data(k->tar, text, len, e);
}

/* Of what is no regular file nothing is added. */
static int add_file(Checkpoint *k, int dir, const char *path, const char *name, Err *e)
{
	_cleanup_close_ int fd = openat(dir, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	int r;

	if (fd < 0)
		return errno == ENOENT || errno == ELOOP ? 0 : err_sys(e, errno, "open %s", path);
	if (fstat(fd, &st) < 0)
		return err_sys(e, errno, "look at %s", path);
	if (!S_ISREG(st.st_mode))
		return 0;
	r = add_header(k, TAR_FILE, name, st.st_size, st.st_mtime, e);
	return r < 0 ? r : tar_write_from(k->tar, fd, st.st_size, true, e);
}

static int add_images(Checkpoint *k, Err *e)
{
	DIR *d = fdopendir(fcntl(k->work_fd, F_DUPFD_CLOEXEC, 0));
	const struct dirent *n;
	size_t count = 0;
	int r = d ? add_header(k, TAR_DIR, "checkpoint", 0, time(NULL), e)
		  : err_sys(e, errno, "list %s", k->work);

	while (r >= 0 && (n = readdir(d))) {
		_cleanup_free_ char *name = strf("checkpoint/%s", n->d_name);

		if (*n->d_name == '.' || streq(n->d_name, "dump.log"))
			continue;
		if (++count > FILES_MAX)
			r = err_new(e, ERR_INTERNAL, "criu has written more than %d files", FILES_MAX);
		else
			r = name ? add_file(k, k->work_fd, n->d_name, name, e) : err_oom(e);
	}
	if (d)
		closedir(d);
	return r;
}

static void rfc3339(int64_t ns, char out[40])
{
	time_t s = (time_t)(ns / 1000000000);
	struct tm tm;
	size_t n = strftime(out, 21, "%Y-%m-%dT%H:%M:%S", gmtime_r(&s, &tm));

	(void)snprintf(out + n, 40 - n, ".%09dZ", (int)(ns % 1000000000));
}

static int add_config(Checkpoint *k, Err *e)
{
	const ContainerConfig *c = &k->c->config;
	char created[40], now[40];
	_cleanup_json_ json_t *doc = NULL;
	_cleanup_free_ char *text = NULL;

	rfc3339(k->c->created_ns, created);
	rfc3339(clock_now_ns(), now);
	doc = json_pack("{s:s, s:s?, s:s?, s:s?, s:s?, s:s?, s:s, s:s, s:s}", "id", k->c->id, "name",
			k->c->name, "rootfsImage", c->image, "rootfsImageRef", k->c->image_id,
			"rootfsImageName", c->image, "runtime", c->host.runtime, "createdTime", created,
			"checkpointedTime", now, "restoredTime", "0001-01-01T00:00:00Z");
	text = doc ? json_text(doc) : NULL;
	return text ? add_text(k, "config.dump", text, e) : err_oom(e);
}

static int write_archive(Checkpoint *k, int fd, Err *e)
{
	_cleanup_free_ char *spec = strf("%s/config.json", k->run_dir);
	const char *log = k->c->config.pod.log_path;
	int r = spec ? tar_writer_new(fd, NULL, &k->tar, e) : err_oom(e);

	if (r >= 0)
		r = add_images(k, e);
	if (r >= 0)
		r = add_file(k, k->work_fd, "dump.log", "dump.log", e);
	if (r >= 0)
		r = add_config(k, e);
	if (r >= 0)
		r = add_file(k, AT_FDCWD, spec, "spec.dump", e);
	if (r >= 0 && !str_empty(log))
		r = add_file(k, AT_FDCWD, log, "container.log", e);
	return r < 0 ? r : tar_writer_end(k->tar, e);
}

/* ---- its place ---- */

static int place_check(const char *location, Err *e)
{
	const char *slash = strrchr(location, '/');
	struct stat st;

	if (location[0] != '/' || !slash[1] || streq(slash, "/.") || streq(slash, "/.."))
		return err_new(e, ERR_INVALID,
			       "checkpoint: the location \"%s\" is no absolute path of a file", location);
	if (lstat(location, &st) == 0 && !S_ISREG(st.st_mode))
		return err_new(e, ERR_INVALID, "checkpoint: %s is there, and is no regular file", location);
	return 0;
}

static int save(Checkpoint *k, const char *location, Err *e)
{
	_cleanup_free_ char *beside = strf("%s.%s.part", location, path_base(k->work));
	_cleanup_close_ int fd = -1;
	int r;

	if (!beside)
		return err_oom(e);
	fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 && errno == ENOENT)
		return err_new(e, ERR_INVALID, "checkpoint: the directory of %s is not there", location);
	if (fd < 0)
		return err_sys(e, errno, "create %s", beside);
	r = write_archive(k, fd, e);
	if (r >= 0 && fsync(fd) < 0)
		r = err_sys(e, errno, "write %s", beside);
	if (r >= 0 && rename(beside, location) < 0)
		r = err_sys(e, errno, "rename to %s", location);
	if (r < 0)
		(void)unlink(beside);
	return r;
}

int engine_container_checkpoint(Engine *en, const char *ref, const char *location, int64_t timeout_s,
				int alive_fd, Err *e)
{
	_cleanup_(checkpoint_done) Checkpoint k = {.en = en, .work_fd = -1};
	_cleanup_container_ Container *c = NULL;
	struct pollfd alive = {.fd = alive_fd};
	int r = place_check(location, e);

	if (r >= 0 && (timeout_s < 0 || timeout_s > TIMEOUT_S_MAX))
		r = err_new(e, ERR_INVALID, "checkpoint: a time limit has 0 to %d seconds", TIMEOUT_S_MAX);
	if (r >= 0)
		r = container_find(en, ref, &c, e);
	if (r < 0)
		return r;
	k.c = c;
	if (container_status(c) != CONTAINER_RUNNING)
		return err_new(e, ERR_CONFLICT,
			       "container %.12s is not running: there is nothing to checkpoint", c->id);
	r = prepare(&k, e);
	if (r >= 0)
		r = shim_checkpoint(k.run_dir, k.work, (int)(timeout_s ?: TIMEOUT_S) * 1000, e);
	if (r >= 0 && poll(&alive, 1, 0) > 0)
		r = err_new_no(e, ERR_CANCELLED, ECANCELED, "checkpoint: the client went away");
	return r < 0 ? r : save(&k, location, e);
}
