/* SPDX-License-Identifier: Apache-2.0 */
/* Files of containers: docker cp, export. The tars themselves are made and read by the engine's sandbox, through pipes. */
#include "api/docker/archive.h"
#include "api/docker/door-internal.h"
#include "base/base64.h"

uint32_t go_file_mode(mode_t m)
{
	uint32_t go = m & 0777;

	switch (m & S_IFMT) {
	case S_IFDIR:
		go |= 1u << 31;
		break;
	case S_IFLNK:
		go |= 1u << 27;
		break;
	case S_IFBLK:
		go |= 1u << 26;
		break;
	case S_IFIFO:
		go |= 1u << 25;
		break;
	case S_IFSOCK:
		go |= 1u << 24;
		break;
	case S_IFCHR:
		go |= 1u << 26 | 1u << 21;
		break;
	default:
		break;
	}
	if (m & S_ISUID)
		go |= 1u << 23;
	if (m & S_ISGID)
		go |= 1u << 22;
	if (m & S_ISVTX)
		go |= 1u << 20;
	return go;
}

static int stat_header(HttpRequest *rq, const EnginePathStat *st, Err *e)
{
	_cleanup_free_ char *text = NULL, *encoded = NULL;
	_cleanup_json_ json_t *doc = NULL;

	doc = json_pack("{s:o, s:I, s:I, s:o, s:o}", "name", doc_str(st->name), "size", (json_int_t)st->size,
			"mode", (json_int_t)go_file_mode(st->mode), "mtime", doc_time(st->mtime_ns),
			"linkTarget", doc_str(st->link_target));
	text = doc ? json_text(doc) : NULL;
	encoded = text ? base64_encode(text, strlen(text), false) : NULL;
	if (!encoded)
		return err_oom(e);
	http_set_header(rq, "X-Docker-Container-Path-Stat", encoded);
	return 0;
}

static int path_check(const char *path, Err *e)
{
	return str_empty(path) ? err_new(e, ERR_INVALID, "bad parameter: path is required") : 0;
}

int h_archive_head(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_(engine_path_stat_done) EnginePathStat st = {0};
	const char *path = http_query(rq, "path");
	int r = path_check(path, e);

	if (r >= 0)
		r = engine_container_path_stat(d->engine, http_param(rq, "id"), path, &st, e);
	if (r >= 0)
		r = stat_header(rq, &st, e);
	return r < 0 ? r : http_reply_empty(rq, 200);
}

static int begin_get(void *user, const EnginePathStat *st, Err *e)
{
	HttpRequest *rq = user;
	int r = stat_header(rq, st, e);

	if (r < 0)
		return r;
	(void)http_stream_begin(rq, 200, "application/x-tar");
	return http_stream_fd(rq, e);
}

int h_archive_get(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	const EngineArchiveOut out = {.begin = begin_get, .user = rq};
	const char *path = http_query(rq, "path");
	int r = path_check(path, e);

	return r < 0 ? r : engine_container_archive_get(d->engine, http_param(rq, "id"), path, &out, e);
}

int h_archive_put(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	const char *path = http_query(rq, "path");
	int fd, r;

	r = path_check(path, e);
	if (r < 0)
		return r;
	fd = http_body_fd(rq, e);
	if (fd < 0)
		return fd;
	r = engine_container_archive_put(d->engine, http_param(rq, "id"), path, fd,
					 http_query_bool(rq, "noOverwriteDirNonDir", false),
					 http_query_bool(rq, "copyUIDGID", false), e);
	if (r >= 0)
		r = http_body_end(rq, e);
	return r < 0 ? r : http_reply_empty(rq, 200);
}

int h_container_export(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_(container_info_done) ContainerInfo i = {0};
	int fd, r = engine_container_inspect(d->engine, http_param(rq, "id"), &i, e);

	if (r < 0)
		return r;
	(void)http_stream_begin(rq, 200, "application/octet-stream");
	fd = http_stream_fd(rq, e);
	return fd < 0 ? fd : engine_container_export(d->engine, i.id, fd, e);
}
