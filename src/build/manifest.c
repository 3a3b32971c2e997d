/* SPDX-License-Identifier: Apache-2.0 */
#include "build/manifest.h"

#include "base/fd.h"
#include "base/id.h"
#include "base/str.h"
#include "store/dir.h"
#include "store/store.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#define FOLDER    "build/manifests"
#define MAGIC     "ireko-manifest-1"
#define MAGIC_LEN 16
#define FILE_MAX  (256 << 20)

/* As on the disk; the path follows, without a zero. */
typedef struct Row {
	int64_t size;
	uint32_t mode, path_len;
	uint8_t digest[MANIFEST_DIGEST];
} Row;

typedef struct Slot {
	size_t path_at;
	ManifestEntry entry;
} Slot;

struct Manifest {
	Slot *v;
	size_t n, cap;
	int64_t bytes;
	StrBuf paths;
	bool too_many;
};

Manifest *manifest_new(void)
{
	return calloc(1, sizeof(Manifest));
}

void manifest_free(Manifest *m)
{
	if (!m)
		return;
	free(m->v);
	strbuf_done(&m->paths);
	free(m);
}

void manifest_clear(Manifest *m)
{
	m->n = 0;
	m->bytes = 0;
	m->paths.len = 0;
	m->too_many = false;
}

int manifest_add(Manifest *m, const ManifestEntry *e)
{
	if (m->n >= MANIFEST_ENTRIES_MAX || m->too_many) {
		m->too_many = true;
		return 0;
	}
	if (m->n == m->cap) {
		size_t cap = m->cap ? m->cap * 2 : 1024;
		Slot *grown = reallocarray(m->v, cap, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		m->v = grown;
		m->cap = cap;
	}
	m->v[m->n++] = (Slot){m->paths.len, *e};
	m->bytes += e->size;
	strbuf_add_n(&m->paths, e->path, strlen(e->path) + 1);
	return m->paths.oom ? -ENOMEM : 0;
}

size_t manifest_count(const Manifest *m)
{
	return m->too_many ? 0 : m->n;
}

int64_t manifest_bytes(const Manifest *m)
{
	return m->bytes;
}

static const ManifestEntry *entry_at(const Manifest *m, size_t i, ManifestEntry *room)
{
	if (i >= m->n)
		return NULL;
	*room = m->v[i].entry;
	room->path = m->paths.s + m->v[i].path_at;
	return room;
}

/* ---- the file ---- */

static char *file_of(const char *content)
{
	return strf(FOLDER "/%.64s", digest_hex(content));
}

/* The oldest go. What cannot be removed is in nobody's way. */
static void forget_old(int root_fd)
{
	_cleanup_close_ int fd = openat(root_fd, FOLDER, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_strv_ char **names = NULL;

	if (fd < 0 || dir_names(fd, &names) < 0)
		return;
	for (size_t n = strv_len(names); n > MANIFESTS_KEPT; n--) {
		struct timespec oldest = {INT64_MAX, 0};
		size_t at = SIZE_MAX;
		struct stat st;

		for (size_t i = 0; names[i]; i++)
			if (*names[i] && fstatat(fd, names[i], &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			    st.st_mtim.tv_sec < oldest.tv_sec) {
				oldest = st.st_mtim;
				at = i;
			}
		if (at == SIZE_MAX)
			return;
		(void)unlinkat(fd, names[at], 0);
		*names[at] = '\0';
	}
}

int manifest_save(int root_fd, const char *content, const Manifest *m, Err *e)
{
	_cleanup_strbuf_ StrBuf out = {0};
	_cleanup_free_ char *path = file_of(content);
	char sum[DIGEST_LEN + 1];
	int r;

	if (m->too_many)
		return 0;
	strbuf_add_n(&out, MAGIC, MAGIC_LEN);
	for (size_t i = 0; i < m->n; i++) {
		const ManifestEntry *x = &m->v[i].entry;
		const char *name = m->paths.s + m->v[i].path_at;
		Row row = {.size = x->size, .mode = x->mode, .path_len = (uint32_t)strlen(name)};

		memcpy(row.digest, x->digest, sizeof(row.digest));
		strbuf_add_n(&out, &row, sizeof(row));
		strbuf_add_n(&out, name, row.path_len);
	}
	if (out.oom || !path)
		return err_oom(e);
	digest_of(out.s, out.len, sum);
	strbuf_add_n(&out, sum, DIGEST_LEN);
	if (out.oom)
		return err_oom(e);
	r = mkdir_parents_at(root_fd, FOLDER, 0700);
	if (r >= 0)
		r = file_replace_at(root_fd, path, out.s, out.len, 0600, false);
	if (r < 0)
		return err_sys(e, r, "write %s", path);
	forget_old(root_fd);
	return 0;
}

/* 1 if all of it is well-formed. */
static int decode(const char *s, size_t len, Manifest *m)
{
	const char *p = s + MAGIC_LEN, *end;
	char sum[DIGEST_LEN + 1];

	if (len < MAGIC_LEN + DIGEST_LEN || memcmp(s, MAGIC, MAGIC_LEN) != 0)
		return 0;
	end = s + len - DIGEST_LEN;
	digest_of(s, (size_t)(end - s), sum);
	if (memcmp(sum, end, DIGEST_LEN) != 0)
		return 0;
	while (p < end) {
		ManifestEntry x = {0};
		char name[PATH_MAX + 1];
		Row row;

		if ((size_t)(end - p) < sizeof(row))
			return 0;
		memcpy(&row, p, sizeof(row));
		p += sizeof(row);
		if (row.path_len > PATH_MAX || (size_t)(end - p) < row.path_len || row.size < 0 ||
		    memchr(p, 0, row.path_len))
			return 0;
		memcpy(name, p, row.path_len);
		name[row.path_len] = '\0';
		p += row.path_len;
		x.path = name;
		x.mode = row.mode;
		x.size = row.size;
		memcpy(x.digest, row.digest, sizeof(x.digest));
		if (manifest_add(m, &x) < 0)
			return -ENOMEM;
	}
	return !m->too_many;
}

int manifest_load(int root_fd, const char *content, Manifest **ret, Err *e)
{
	_cleanup_free_ char *path = file_of(content), *text = NULL;
	_cleanup_(manifest_freep) Manifest *m = manifest_new();
	size_t len;
	int r;

	if (!path || !m)
		return err_oom(e);
	if (file_read_at(root_fd, path, FILE_MAX, &text, &len) < 0)
		return 0;
	r = decode(text, len, m);
	if (r < 0)
		return err_oom(e);
	if (r == 0)
		return 0;
	/* The last one that was of use is the last to go. */
	(void)utimensat(root_fd, path, NULL, AT_SYMLINK_NOFOLLOW);
	*ret = take_ptr(m);
	return 1;
}

/* ---- the difference ---- */

/* The order of the walk: what is in a directory comes right behind it, before names that merely begin like it. */
static int compare_paths(const char *a, const char *b)
{
	for (; *a && *a == *b; a++)
		b++;
	int x = *a == '/' ? 1
		: *a      ? (unsigned char)*a + 1
			  : 0,
	    y = *b == '/' ? 1
		: *b      ? (unsigned char)*b + 1
			  : 0;

	return x - y;
}

static bool same(const ManifestEntry *a, const ManifestEntry *b)
{
	return a->mode == b->mode && a->size == b->size && memcmp(a->digest, b->digest, MANIFEST_DIGEST) == 0;
}

int manifest_diff(const Manifest *old, const Manifest *now, ManifestDiffFn fn, void *user)
{
	ManifestEntry a_room, b_room;
	size_t i = 0, k = 0;
	int r = 0;

	while (r >= 0) {
		const ManifestEntry *a = entry_at(old, i, &a_room), *b = entry_at(now, k, &b_room);
		int c = !a ? 1 : !b ? -1 : compare_paths(a->path, b->path);

		if (!a && !b)
			return 0;
		i += c <= 0;
		k += c >= 0;
		if (c != 0)
			r = fn(user, c < 0 ? a : NULL, c < 0 ? NULL : b);
		else if (!same(a, b))
			r = fn(user, a, b);
	}
	return r;
}
