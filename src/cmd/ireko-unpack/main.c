/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ireko-unpack: the only program of ireko that parses archives from strangers.
 *
 * It is started by the store for one archive (unpack-protocol.h), locks itself up (sandbox.h), reads the stream
 * (stream.h, tar-read.h), writes the files (place.h) or an image of them (image.h) and reports. Its exit status is 0 when the report says all: the store
 * believes the report, and takes a missing one for a crash.
 */
#include "base/fd.h"
#include "base/json.h"
#include "image.h"
#include "place.h"
#include "sandbox.h"
#include "stream.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>

#define PROGRESS_STEP (1 << 20)

typedef struct Unpack {
	UnpackJob job;
	Report report;
	Stream *stream;
	int64_t told;
} Unpack;

static int read_ids(const json_t *list, UnpackIds *ret, Err *e)
{
	if (json_array_size(list) > UNPACK_IDS_MAX)
		return err_new(e, ERR_INVALID, "the job of ireko-unpack has too many ranges of ids");
	for (ret->n = 0; ret->n < json_array_size(list); ret->n++) {
		const json_t *one = json_array_get(list, ret->n);

		ret->v[ret->n] = (NamespaceIdMap){(uint32_t)json_integer_value(json_array_get(one, 0)),
						  (uint32_t)json_integer_value(json_array_get(one, 1)),
						  (uint32_t)json_integer_value(json_array_get(one, 2))};
	}
	return 0;
}

static int read_job(const char *text, UnpackJob *ret, Err *e)
{
	_cleanup_json_ json_t *j = NULL;
	int r = json_parse(text, strlen(text), "the job of ireko-unpack", &j, e);

	if (r < 0)
		return r;
	*ret = (UnpackJob){
	    .cat = json_get_bool(j, "cat", false),
	    .image = json_get_bool(j, "image", false),
	    .layer = json_get_bool(j, "layer", false),
	    .whiteouts = json_get_bool(j, "whiteouts", false),
	    .devices = json_get_bool(j, "devices", false),
	    .keep_owner = json_get_bool(j, "keep_owner", false),
	    .no_overwrite_dir_non_dir = json_get_bool(j, "no_overwrite_dir_non_dir", false),
	    .uid = (uint32_t)json_get_int(j, "uid", 0),
	    .gid = (uint32_t)json_get_int(j, "gid", 0),
	    .max_bytes = json_get_int(j, "max_bytes", 0),
	    .max_files = json_get_int(j, "max_files", 0),
	};
	if (ret->max_bytes <= 0 || ret->max_files <= 0)
		return err_new(e, ERR_INVALID, "the job of ireko-unpack names no limits");
	r = read_ids(json_object_get(j, "uids"), &ret->uids, e);
	return r < 0 ? r : read_ids(json_object_get(j, "gids"), &ret->gids, e);
}

static int tell_progress(Unpack *u, int64_t step, Err *e)
{
	int64_t n = stream_bytes_read(u->stream);
	int r;

	if (n - u->told < step)
		return 0;
	u->told = n;
	r = report_add(&u->report, UNPACK_PROGRESS, &n, sizeof(n), e);
	return r < 0 ? r : report_flush(&u->report, e);
}

static ssize_t next_chunk(void *user, const uint8_t **ret, Err *e)
{
	Unpack *u = user;
	int r = tell_progress(u, PROGRESS_STEP, e);

	return r < 0 ? r : stream_next(u->stream, ret, e);
}

static int cat(Unpack *u, Err *e)
{
	const uint8_t *chunk;
	ssize_t n;

	while ((n = next_chunk(u, &chunk, e)) > 0) {
		int r = fd_write_all(STDOUT_FILENO, chunk, (size_t)n);

		if (r < 0)
			return err_sys(e, r, "write the plain layer");
	}
	return (int)n;
}

static int unpack(Unpack *u, int root_fd, UnpackDone *done, Err *e)
{
	_cleanup_(tar_reader_freep) TarReader *t = NULL;
	static Place place;
	const TarEntry *n;
	int r;

	r = place_init(&place, &u->job, root_fd, &u->report, e);
	if (r >= 0)
		r = tar_reader_new(next_chunk, u, &t, e);
	if (r < 0)
		return r;
	while ((r = tar_next(t, &n, e)) > 0) {
		r = place_entry(&place, t, n, e);
		if (r < 0)
			return r;
	}
	if (r >= 0)
		r = place_finish(&place, e);
	done->inodes = 1 + place.made + place.tree.made;
	done->content_bytes = place.budget.content_bytes;
	return r;
}

static int image(Unpack *u, UnpackDone *done, Err *e)
{
	const Image i = {.fd = STDOUT_FILENO,
			 .stream = u->stream,
			 .next = next_chunk,
			 .user = u,
			 .report = &u->report,
			 .max_bytes = u->job.max_bytes,
			 .max_files = u->job.max_files};
	int r = image_write(&i, done, e);

	return r < 0 ? r : tell_progress(u, 1, e);
}

static int run(Unpack *u, int root_fd, UnpackDone *done, Err *e)
{
	/* Headers and padding come on top of the contents that are limited one by one. */
	int64_t stream_max =
	    u->job.max_bytes > INT64_MAX / 2 ? INT64_MAX : u->job.max_bytes * 2 + (1ll << 30);
	SandboxLimits limits = {.max_bytes = u->job.image ? IMAGE_BYTES_MAX(stream_max) : u->job.max_bytes,
				.devices = u->job.devices,
				.no_files = u->job.cat || u->job.image,
				.image = u->job.image};
	int r;

	if (!unpack_id_outside(&u->job.uids, 0, &limits.uid) ||
	    !unpack_id_outside(&u->job.gids, 0, &limits.gid))
		return err_new(e, ERR_INVALID, "the user namespace has no root");
	r = sandbox_enter(root_fd, &limits, e);
	if (r >= 0)
		r = stream_new(STDIN_FILENO, stream_max, unpack_job_hashes(&u->job), &u->stream, e);
	if (r >= 0)
		r = sandbox_seal(&limits, e);
	if (r < 0)
		return r;
	if (u->job.image)
		stream_hash_when_taken(u->stream);
	stream_go(u->stream);
	if (u->job.image)
		return image(u, done, e);
	r = u->job.cat ? cat(u, e) : unpack(u, root_fd, done, e);
	if (r >= 0)
		r = tell_progress(u, 1, e);
	return r < 0 ? r : stream_digest(u->stream, done->diff_id, &done->stream_bytes, e);
}

int main(int argc, char **argv)
{
	static Unpack u;
	UnpackDone done = {.diff_id = ""};
	Err e = {0};
	int r;

	if (argc != 2 || fcntl(UNPACK_REPORT_FD, F_GETFD) < 0 || fcntl(UNPACK_DIR_FD, F_GETFD) < 0) {
		fputs("ireko-unpack is started by irekod to unpack image layers; it is of no use by hand\n",
		      stderr);
		return 2;
	}
	/* No daemon, no layer: what is half written is removed by the next one. */
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	u.report.fd = UNPACK_REPORT_FD;
	r = read_job(argv[1], &u.job, &e);
	if (r >= 0 && close_range(UNPACK_REPORT_FD + 1, ~0u, 0) < 0)
		r = err_sys(&e, errno, "close inherited descriptors");
	if (r >= 0)
		r = run(&u, UNPACK_DIR_FD, &done, &e);
	r = r < 0 ? report_add(&u.report, UNPACK_FAILED, &e, sizeof(e), NULL)
		  : report_add(&u.report, UNPACK_DONE, &done, sizeof(done), NULL);
	if (r >= 0)
		r = report_flush(&u.report, NULL);
	/* The reading thread may wait for input that never comes: exit_group does not. */
	_exit(r < 0 ? 1 : 0);
}
