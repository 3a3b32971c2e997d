/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is this an image as erofs-write.c makes it? Asked of what the sandbox hands over, before the kernel sees it.
 *
 * The inodes are read once from the first to the last, as they lie, and the kind of each is noted at its number; then each
 * directory is read, and whatever it names must be such an inode, of that kind. So every number that the kernel will
 * follow has been looked at: contents lie within the file, a directory has one name, names are sorted and contain no slash, and
 * no attribute is there with which a layer could speak to overlayfs or to a security module.
 */
#include "store/erofs-internal.h"

#include "base/fd.h"
#include "base/str.h"

#include <endian.h>
#include <sys/stat.h>

#define WINDOW     (64u << 10)
#define SEEN       0x80 /* a directory that a name led to */
#define CHUNKS_MAX 65536
#define NID_FIRST  2

/* A piece of the file in memory. */
typedef struct Window {
	int fd;
	uint64_t at;
	size_t len;
	uint8_t buf[WINDOW];
} Window;

typedef struct Check {
	Window *inodes, *names; /* the two are read side by side */
	uint64_t meta_at, end, tar_bytes, n_inodes;
	uint8_t *kind; /* of each slot: EROFS_TYPE_*, or 0 where no inode begins */
	uint64_t n_slots;
} Check;

static int bad(Err *e, uint64_t at, const char *what)
{
	return err_new(e, ERR_INVALID, "damaged layer image: %s at %llu", what, (unsigned long long)at);
}

/* len bytes at `at`, at most half a window, or NULL if the metadata end before. */
static const void *look(const Check *c, Window *w, uint64_t at, size_t len)
{
	if (at < c->meta_at || at > c->end || len > c->end - at || len > WINDOW / 2)
		return NULL;
	if (at < w->at || at + len > w->at + w->len) {
		ssize_t n = fd_pread_full(w->fd, w->buf, WINDOW, (off_t)at);

		w->at = at;
		w->len = n > 0 ? (size_t)n : 0;
	}
	return at + len <= w->at + w->len ? w->buf + (at - w->at) : NULL;
}

/* ---- one inode ---- */

static bool is_known_name(uint8_t index, const char *name, size_t len)
{
	static const char *const prefixes[] = {[EROFS_NAME_USER] = "user.",
					       [EROFS_NAME_ACL_ACCESS] = "system.posix_acl_access",
					       [EROFS_NAME_ACL_DEFAULT] = "system.posix_acl_default",
					       [EROFS_NAME_SECURITY] = "security."};
	char full[300];

	if (index >= ELEMENTSOF(prefixes) || !prefixes[index] || memchr(name, 0, len))
		return false;
	snprintf(full, sizeof(full), "%s%.*s", prefixes[index], (int)len, name);
	return tar_xattr_is_wanted(full);
}

static bool is_mark(const ErofsXattr *x, const char *name)
{
	return x->name_index == EROFS_NAME_TRUSTED && x->name_len == 14 && le16toh(x->value_len) == 1 &&
	       memcmp(name, "overlay.opaquey", 15) == 0;
}

static int check_xattrs(const Check *c, uint64_t at, uint64_t end, Err *e)
{
	const uint8_t *header = look(c, c->inodes, at, EROFS_XATTR_HEADER);

	if (!header || memcmp(header, (const uint8_t[EROFS_XATTR_HEADER]){0}, EROFS_XATTR_HEADER) != 0)
		return bad(e, at, "attributes of another kind");
	for (at += EROFS_XATTR_HEADER; at < end;) {
		const void *head = look(c, c->inodes, at, sizeof(ErofsXattr));
		const char *name;
		ErofsXattr x;

		if (!head)
			return bad(e, at, "an attribute that does not end");
		memcpy(&x, head, sizeof(x));
		name = look(c, c->inodes, at + sizeof(x), x.name_len + (le16toh(x.value_len) == 1));
		if (!name || !(is_mark(&x, name) || is_known_name(x.name_index, name, x.name_len)))
			return bad(e, at, "an attribute that layers do not have");
		at += (sizeof(x) + x.name_len + le16toh(x.value_len) + 3u) & ~3u;
	}
	return at == end ? 0 : bad(e, at, "attributes that do not fit");
}

static uint8_t kind_of(uint16_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return EROFS_TYPE_FILE;
	case S_IFDIR:
		return EROFS_TYPE_DIR;
	case S_IFCHR:
		return EROFS_TYPE_CHAR;
	case S_IFBLK:
		return EROFS_TYPE_BLOCK;
	case S_IFIFO:
		return EROFS_TYPE_FIFO;
	case S_IFLNK:
		return EROFS_TYPE_LINK;
	default:
		return 0;
	}
}

/* True if `bytes` from a block on are within the file, the tar's or ours. */
static bool is_inside(const Check *c, uint32_t block, uint64_t bytes)
{
	uint64_t at = (uint64_t)block * EROFS_BLOCK;

	return at >= EROFS_TAR_AT && at <= c->end && bytes <= c->end - at;
}

static int check_chunks(const Check *c, uint64_t at, const ErofsDiskInode *d, uint64_t *ret_end, Err *e)
{
	unsigned bits = EROFS_BLOCK_BITS + le32toh(d->where);
	uint64_t size = le64toh(d->size), n;

	if (le32toh(d->where) > 31 || size > INT64_MAX)
		return bad(e, at, "chunks of an impossible size");
	n = (size + ((1ull << bits) - 1)) >> bits;
	if (n > CHUNKS_MAX)
		return bad(e, at, "too many chunks");
	for (uint64_t i = 0; i < n; i++) {
		const void *entry = look(c, c->inodes, at + i * sizeof(uint32_t), sizeof(uint32_t));
		uint32_t block;

		if (!entry)
			return bad(e, at, "chunks that do not end");
		memcpy(&block, entry, sizeof(block));
		if (le32toh(block) != EROFS_NO_BLOCK && !is_inside(c, le32toh(block), 1ull << bits))
			return bad(e, at, "a chunk that is not in the image");
	}
	*ret_end = at + n * sizeof(uint32_t);
	return 0;
}

/* What follows the attributes: 0 and its end. */
static int check_contents(const Check *c, uint64_t at, const ErofsDiskInode *d, uint8_t kind,
			  uint64_t *ret_end, Err *e)
{
	unsigned layout = le16toh(d->format) >> EROFS_LAYOUT_SHIFT;
	uint64_t size = le64toh(d->size);

	*ret_end = at;
	if (layout == EROFS_CHUNKS && kind == EROFS_TYPE_FILE)
		return check_chunks(c, at, d, ret_end, e);
	if (kind == EROFS_TYPE_LINK && (size == 0 || size >= PATH_MAX))
		return bad(e, at, "a link without a sensible target");
	if (layout == EROFS_INLINE && (kind == EROFS_TYPE_LINK || kind == EROFS_TYPE_DIR)) {
		*ret_end = at + size;
		return size <= EROFS_BLOCK && at % EROFS_BLOCK + size <= EROFS_BLOCK
			   ? 0
			   : bad(e, at, "contents that do not fit into their block");
	}
	if (layout != EROFS_PLAIN)
		return bad(e, at, "contents of another kind");
	if (kind != EROFS_TYPE_FILE && kind != EROFS_TYPE_LINK && kind != EROFS_TYPE_DIR)
		return size == 0 ? 0 : bad(e, at, "a device with contents");
	if (size > INT64_MAX - EROFS_BLOCK ||
	    (size > 0 &&
	     !is_inside(c, le32toh(d->where), (size + EROFS_BLOCK - 1) / EROFS_BLOCK * EROFS_BLOCK)))
		return bad(e, at, "contents that are not in the image");
	return 0;
}

/* The inode's kind, and where what belongs to it ends. */
static int check_inode(const Check *c, uint64_t at, uint64_t *ret_end, Err *e)
{
	const void *raw = look(c, c->inodes, at, sizeof(ErofsDiskInode));
	uint64_t end = at + sizeof(ErofsDiskInode);
	ErofsDiskInode d;
	uint8_t kind;
	int r = 0;

	if (!raw)
		return bad(e, at, "an inode that does not end");
	memcpy(&d, raw, sizeof(d));
	kind = kind_of(le16toh(d.mode));
	if (!kind || (le16toh(d.format) & ~(7u << EROFS_LAYOUT_SHIFT)) != EROFS_EXTENDED || d.reserved ||
	    le32toh(d.mtime_ns) >= 1000000000 || le32toh(d.nlink) == 0)
		return bad(e, at, "an inode of another kind");
	if (d.xattr_count) {
		end += EROFS_XATTR_HEADER + (le16toh(d.xattr_count) - 1u) * 4u;
		r = check_xattrs(c, at + sizeof(d), end, e);
	}
	if (r >= 0)
		r = check_contents(c, end, &d, kind, ret_end, e);
	return r < 0 ? r : kind;
}

/* ---- all inodes ---- */

/* 1 if an inode begins at `at`; 0 where the rest of a block was left free. */
static int begins(const Check *c, uint64_t at)
{
	const uint8_t *raw = look(c, c->inodes, at, 2);

	return raw && (raw[0] || raw[1]);
}

static int scan_inodes(Check *c, Err *e)
{
	uint64_t at = c->meta_at + NID_FIRST * EROFS_SLOT;

	for (uint64_t i = 0; i < c->n_inodes; i++) {
		int kind;

		at = (at + EROFS_SLOT - 1) / EROFS_SLOT * EROFS_SLOT;
		if (!begins(c, at))
			at = (at + EROFS_BLOCK - 1) / EROFS_BLOCK * EROFS_BLOCK;
		if (at >= c->end)
			return bad(e, at, "fewer inodes than announced");
		uint64_t slot = (at - c->meta_at) / EROFS_SLOT;
		kind = check_inode(c, at, &at, e);
		if (kind < 0)
			return kind;
		c->kind[slot] = (uint8_t)kind;
	}
	return c->kind[NID_FIRST] == EROFS_TYPE_DIR ? 0 : bad(e, c->meta_at, "a root that is no directory");
}

/* ---- directories ---- */

typedef struct DirWalk {
	uint64_t nid, at; /* where its contents begin */
	uint64_t size;
	unsigned dots;
	char last[NAME_MAX + 1];
} DirWalk;

static int check_name(DirWalk *w, const char *name, size_t len, uint64_t at, Err *e)
{
	char text[NAME_MAX + 1];

	if (len == 0 || len > NAME_MAX || memchr(name, 0, len) || memchr(name, '/', len))
		return bad(e, at, "an impossible name");
	memcpy(text, name, len);
	text[len] = 0;
	if (strcmp(text, w->last) <= 0)
		return bad(e, at, "names that are not in order");
	memcpy(w->last, text, len + 1);
	return 0;
}

static int check_target(Check *c, DirWalk *w, const ErofsDirent *d, uint64_t at, Err *e)
{
	uint64_t nid = le64toh(d->nid);
	uint8_t kind = nid < c->n_slots ? c->kind[nid] : 0;

	if (!kind || (kind & ~SEEN) != d->type)
		return bad(e, at, "a name that leads nowhere");
	if (streq(w->last, ".") || streq(w->last, "..")) {
		w->dots++;
		return d->type == EROFS_TYPE_DIR && (w->last[1] || nid == w->nid)
			   ? 0
			   : bad(e, at, "a directory that does not know itself");
	}
	if (d->type != EROFS_TYPE_DIR)
		return 0;
	if ((kind & SEEN) || nid == NID_FIRST)
		return bad(e, at, "a directory with two names");
	c->kind[nid] |= SEEN;
	return 0;
}

static int check_block(Check *c, DirWalk *w, uint64_t at, size_t len, Err *e)
{
	const char *block = look(c, c->names, at, len);
	size_t n, name_at = 0;
	ErofsDirent d;

	if (!block || len < sizeof(d))
		return bad(e, at, "a directory that does not end");
	memcpy(&d, block, sizeof(d));
	n = le16toh(d.name_at) / sizeof(d);
	if (n == 0 || n * sizeof(d) != le16toh(d.name_at) || n * sizeof(d) >= len)
		return bad(e, at, "a damaged directory");
	for (size_t i = 0; i < n; i++) {
		size_t next = len;
		int r;

		memcpy(&d, block + i * sizeof(d), sizeof(d));
		if (i == 0)
			name_at = le16toh(d.name_at);
		if (i + 1 < n)
			next = le16toh(((const ErofsDirent *)(const void *)block)[i + 1].name_at);
		else
			next = name_at + strnlen(block + name_at, len - name_at);
		if (le16toh(d.name_at) != name_at || next <= name_at || next > len)
			return bad(e, at, "a damaged directory");
		r = check_name(w, block + name_at, next - name_at, at, e);
		if (r >= 0)
			r = check_target(c, w, &d, at, e);
		if (r < 0)
			return r;
		name_at = next;
	}
	return 0;
}

static int check_dir(Check *c, uint64_t nid, Err *e)
{
	uint64_t at = c->meta_at + nid * EROFS_SLOT;
	const void *raw = look(c, c->inodes, at, sizeof(ErofsDiskInode));
	DirWalk w = {.nid = nid};
	ErofsDiskInode d;

	if (!raw)
		return bad(e, at, "an inode that cannot be read");
	memcpy(&d, raw, sizeof(d));
	w.size = le64toh(d.size);
	w.at = (uint64_t)le32toh(d.where) * EROFS_BLOCK;
	if (le16toh(d.format) >> EROFS_LAYOUT_SHIFT == EROFS_INLINE) {
		w.at = at + sizeof(d);
		if (d.xattr_count)
			w.at += EROFS_XATTR_HEADER + (le16toh(d.xattr_count) - 1u) * 4u;
	}
	for (uint64_t done = 0; done < w.size; done += EROFS_BLOCK) {
		int r =
		    check_block(c, &w, w.at + done, (size_t)MIN2(w.size - done, (uint64_t)EROFS_BLOCK), e);

		if (r < 0)
			return r;
	}
	return w.dots == 2 ? 0 : bad(e, at, "a directory that does not know itself");
}

/* ---- the whole ---- */

static int read_note(int fd, ErofsNote *ret, Err *e)
{
	ssize_t n = fd_pread_full(fd, ret, sizeof(*ret), 0);

	if (n < 0)
		return err_sys(e, (int)n, "read the layer image");
	if (n != sizeof(*ret) || memcmp(ret->magic, EROFS_NOTE_MAGIC, sizeof(EROFS_NOTE_MAGIC)) != 0)
		return bad(e, 0, "no note of ours");
	ret->tar_bytes = le64toh(ret->tar_bytes);
	return ret->tar_bytes <= INT64_MAX / 2 ? 0 : bad(e, 0, "an impossible length");
}

int erofs_tar_bytes(int fd, int64_t *ret, Err *e)
{
	ErofsNote note;
	int r = read_note(fd, &note, e);

	if (r >= 0)
		*ret = (int64_t)note.tar_bytes;
	return r;
}

static int check_super(int fd, Check *c, Err *e)
{
	uint8_t block[EROFS_BLOCK];
	ErofsSuper s, want;
	uint32_t sum;

	if (fd_pread_full(fd, block, sizeof(block), EROFS_SUPER_AT) != sizeof(block))
		return bad(e, EROFS_SUPER_AT, "no superblock");
	memcpy(&s, block, sizeof(s));
	/* All that has one good value; the others are looked at. */
	want = (ErofsSuper){.magic = htole32(EROFS_MAGIC),
			    .checksum = s.checksum,
			    .compat = htole32(EROFS_COMPAT_CHECKSUM | EROFS_COMPAT_MTIME),
			    .block_bits = EROFS_BLOCK_BITS,
			    .root = htole16(NID_FIRST),
			    .inodes = s.inodes,
			    .blocks = s.blocks,
			    .meta_block = s.meta_block,
			    .incompat = s.incompat & htole32(EROFS_INCOMPAT_CHUNKS)};
	memcpy(want.uuid, s.uuid, sizeof(want.uuid));
	sum = s.checksum;
	memset(block + offsetof(ErofsSuper, checksum), 0, sizeof(sum));
	if (memcmp(&s, &want, sizeof(s)) != 0 || le32toh(sum) != erofs_crc32c(block, sizeof(block)))
		return bad(e, EROFS_SUPER_AT, "a superblock of another kind");
	c->meta_at = (uint64_t)le32toh(s.meta_block) * EROFS_BLOCK;
	c->end = (uint64_t)le32toh(s.blocks) * EROFS_BLOCK;
	c->n_inodes = le64toh(s.inodes);
	return 0;
}

static int check_bounds(int fd, Check *c, Err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(e, errno, "examine the layer image");
	if (c->end != (uint64_t)st.st_size || c->meta_at > c->end || c->meta_at < EROFS_TAR_AT + c->tar_bytes)
		return bad(e, c->meta_at, "metadata that are not in the file");
	c->n_slots = (c->end - c->meta_at) / EROFS_SLOT;
	if (c->n_slots <= NID_FIRST || c->n_inodes > c->n_slots)
		return bad(e, c->meta_at, "more inodes than there is room for");
	return 0;
}

static int check_all(Check *c, Err *e)
{
	int r = scan_inodes(c, e);

	for (uint64_t nid = NID_FIRST; r >= 0 && nid < c->n_slots; nid++)
		if ((c->kind[nid] & ~SEEN) == EROFS_TYPE_DIR)
			r = check_dir(c, nid, e);
	return r;
}

int erofs_check(int fd, int64_t *ret_tar_bytes, Err *e)
{
	_cleanup_free_ Window *inodes = malloc(sizeof(*inodes)), *names = malloc(sizeof(*names));
	_cleanup_free_ uint8_t *kind = NULL;
	Check c = {.inodes = inodes, .names = names};
	ErofsNote note;
	int r;

	if (!inodes || !names)
		return err_oom(e);
	inodes->fd = names->fd = fd;
	inodes->at = names->at = 0;
	inodes->len = names->len = 0;
	r = read_note(fd, &note, e);
	if (r < 0)
		return r;
	c.tar_bytes = note.tar_bytes;
	r = check_super(fd, &c, e);
	if (r >= 0)
		r = check_bounds(fd, &c, e);
	if (r < 0)
		return r;
	c.kind = kind = calloc(c.n_slots, 1);
	if (!kind)
		return err_oom(e);
	r = check_all(&c, e);
	if (r >= 0 && ret_tar_bytes)
		*ret_tar_bytes = (int64_t)c.tar_bytes;
	return r < 0 ? r : 0;
}

int erofs_dress_dir(int fd, uint64_t inode_at, const ErofsOwner *o, Err *e)
{
	ErofsDiskInode d;
	int r;

	if (inode_at % EROFS_SLOT || inode_at > INT64_MAX - sizeof(d) ||
	    fd_pread_full(fd, &d, sizeof(d), (off_t)inode_at) != sizeof(d) ||
	    kind_of(le16toh(d.mode)) != EROFS_TYPE_DIR)
		return bad(e, inode_at, "no directory");
	d.mode = htole16((uint16_t)(S_IFDIR | (o->mode & 07777)));
	d.uid = htole32(o->uid);
	d.gid = htole32(o->gid);
	d.mtime_s = (int64_t)htole64((uint64_t)o->mtime_s);
	d.mtime_ns = htole32(o->mtime_ns);
	r = fd_pwrite_all(fd, &d, sizeof(d), (off_t)inode_at);
	return r < 0 ? err_sys(e, r, "write the layer image") : 0;
}
