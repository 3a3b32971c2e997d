/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole archives into a tree: whiteouts, links, type changes, attributes, names.
 *
 * The first byte says what kind of job it is, the rest is the archive. It is placed below a directory of a tmpfs that belongs
 * to this process alone, without the chroot that ireko-unpack has, beside a canary: whatever the archive says, what lies outside stays as it was;
 * nothing in the tree speaks to overlayfs but what its rules make; what is reported are clean paths; and the budgets hold.
 */
#include "base/fd.h"
#include "base/str.h"
#include "kernel/mount.h"
#include "place.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define MAX_BYTES (1 << 20)
#define MAX_FILES 300
#define CANARY    "untouched"

enum { AS_LAYER = 1, NO_DEVICES = 2, GIVEN_OWNER = 4, NO_OVERWRITE = 8, TWICE = 16, TINY_PIECES = 32 };

typedef struct Source {
	const uint8_t *data;
	size_t len, chunk;
} Source;

static int top = -1;

static void must(bool holds)
{
	if (!holds)
		abort();
}

static ssize_t next_piece(void *user, const uint8_t **ret, Err *e)
{
	Source *s = user;
	size_t n = MIN2(s->len, s->chunk);

	*ret = s->data;
	s->data += n;
	s->len -= n;
	return (ssize_t)n;
}

/* ---- the place ---- */

static void make_canary(void)
{
	_cleanup_close_ int fd = -1;

	must(mkdirat(top, "outside", 0755) == 0);
	fd = openat(top, "outside/secret", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	must(fd >= 0 && write(fd, CANARY, sizeof(CANARY) - 1) == sizeof(CANARY) - 1);
}

static size_t count_names(int at, const char *name)
{
	DIR *d = fdopendir(openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	size_t n = 0;

	must(d);
	for (const struct dirent *e; (e = readdir(d));)
		n += !streq(e->d_name, ".") && !streq(e->d_name, "..");
	closedir(d);
	return n;
}

static void check_canary(void)
{
	_cleanup_close_ int fd = openat(top, "outside/secret", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	char text[64];
	struct stat st;

	must(count_names(top, ".") == 2 && count_names(top, "outside") == 1);
	must(fd >= 0 && fstat(fd, &st) == 0 && st.st_nlink == 1 && st.st_mode == (S_IFREG | 0640));
	must(st.st_uid == geteuid() && read(fd, text, sizeof(text)) == sizeof(CANARY) - 1);
	must(memcmp(text, CANARY, sizeof(CANARY) - 1) == 0);
}

int LLVMFuzzerInitialize(int *argc _unused_, char ***argv _unused_)
{
	Err e = {0};
	int r = mount_new_fs("tmpfs", "fuzz", NULL, 0, &top, &e);

	/* Who is not root is so in a namespace of its own; devices cannot be made there. */
	if (r == -EPERM && unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0)
		r = mount_new_fs("tmpfs", "fuzz", NULL, 0, &top, &e);
	if (r < 0) {
		fprintf(stderr, "place-fuzz: %s\n", e.msg);
		exit(1);
	}
	umask(0);
	make_canary();
	return 0;
}

/* ---- what must hold ---- */

static void check_xattrs(int at, const char *name)
{
	_cleanup_free_ char *path = strf("/proc/self/fd/%d/%s", at, name);
	char names[4096];
	ssize_t n = path ? llistxattr(path, names, sizeof(names)) : 0;

	for (const char *a = names; n > 0 && a < names + n; a += strlen(a) + 1)
		must(tar_xattr_is_wanted(a) || streq(a, "security.selinux") || streq(a, "security.SMACK64"));
}

static void check_tree(int at, const char *name, bool layer, int depth, size_t *seen)
{
	DIR *d = fdopendir(openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));

	must(d && depth < 2100);
	for (const struct dirent *e; (e = readdir(d));) {
		struct stat st;

		if (streq(e->d_name, ".") || streq(e->d_name, ".."))
			continue;
		++*seen;
		must(fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0);
		must(!layer || !str_starts(e->d_name, ".wh."));
		must(!S_ISREG(st.st_mode) || st.st_size <= MAX_BYTES);
		check_xattrs(dirfd(d), e->d_name);
		if (S_ISDIR(st.st_mode))
			check_tree(dirfd(d), e->d_name, layer, depth + 1, seen);
	}
	closedir(d);
}

/* "a/b", or "" for the root: never a way out. */
static void check_path(const char *p, size_t len)
{
	char clean[PATH_MAX], text[PATH_MAX];
	const TarEntry entry = {.name = text};

	must(len < sizeof(text) && !memchr(p, 0, len));
	memcpy(text, p, len);
	text[len] = 0;
	must(len == 0 || (layer_clean_name(&entry, clean, NULL) == 0 && streq(clean, text)));
}

static void check_report(const Report *r)
{
	for (size_t at = 0; at < r->len;) {
		UnpackFrame f;

		memcpy(&f, r->buf + at, sizeof(f));
		must(f.type == UNPACK_OPAQUE || f.type == UNPACK_IMPLIED || f.type == UNPACK_DESCRIBED);
		check_path(r->buf + at + sizeof(f), f.len);
		at += sizeof(f) + f.len;
	}
}

/* ---- one archive ---- */

static void release(Place *p)
{
	for (size_t i = 0; i < p->n_dirs; i++)
		free(p->dirs[i].path);
	free(p->dirs);
	if (p->tree.parent.path[0])
		close_fd(&p->tree.parent.fd);
	if (p->tree.target.path[0])
		close_fd(&p->tree.target.fd);
}

static void unpack(const UnpackJob *job, int root, const uint8_t *data, size_t size, size_t piece)
{
	static Report report;
	static Place place;
	_cleanup_(tar_reader_freep) TarReader *t = NULL;
	Source s = {data, size, piece};
	const TarEntry *n;
	int r;

	report = (Report){.fd = open("/dev/null", O_WRONLY | O_CLOEXEC)};
	must(report.fd >= 0 && place_init(&place, job, root, &report, NULL) == 0);
	must(tar_reader_new(next_piece, &s, &t, NULL) == 0);
	while ((r = tar_next(t, &n, NULL)) > 0)
		if (place_entry(&place, t, n, NULL) < 0)
			break;
	if (r == 0)
		(void)place_finish(&place, NULL);
	must(place.budget.content_bytes <= job->max_bytes && place.budget.files <= job->max_files + 1);
	check_report(&report);
	release(&place);
	(void)close(report.fd);
}

static void run(uint8_t flags, const uint8_t *data, size_t size)
{
	UnpackJob job = {.layer = flags & AS_LAYER,
			 .whiteouts = flags & AS_LAYER,
			 .devices = !(flags & NO_DEVICES),
			 .keep_owner = !(flags & GIVEN_OWNER),
			 .no_overwrite_dir_non_dir = flags & NO_OVERWRITE,
			 .uid = flags & GIVEN_OWNER ? 1000 : 0,
			 .gid = flags & GIVEN_OWNER ? 1001 : 0,
			 .max_bytes = MAX_BYTES,
			 .max_files = MAX_FILES};
	_cleanup_close_ int root = openat(top, "layer", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	size_t piece = flags & TINY_PIECES ? 77 : size, seen = 0;

	must(root >= 0);
	unpack(&job, root, data, size, piece);
	check_tree(top, "layer", job.layer, 0, &seen);
	if (flags & TWICE) {
		job.layer = job.whiteouts = false;
		unpack(&job, root, data, size, piece);
		check_tree(top, "layer", false, 0, &seen);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	must(mkdirat(top, "layer", 0755) == 0);
	run(data[0], data + 1, size - 1);
	check_canary();
	must(remove_tree_at(top, "layer") == 0);
	return 0;
}
