/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the tree to the metadata of an image.
 *
 * First the plan: which inodes are reached (a walk from the root, directory by directory, which is also their order on
 * disk), in which order the names of each directory stand, where each thing will be. Then it is written in that order, through one
 * buffer; the head comes last, so that a half-written image is none. The same tree gives the same bytes.
 *
 * An inode is 64 bytes at a multiple of 32, followed by its attributes and by what it has of its own: the table of chunks of
 * a sparse file, or the contents of a small directory or link, which must lie in one block with it. Larger ones get blocks
 * behind the inodes.
 */
#include "store/erofs-internal.h"

#include "base/fd.h"

#include <endian.h>
#include <sys/stat.h>

#define META_ALIGN     4096u /* so that a page of the metadata is a page of the file */
#define BUFFER         (256u << 10)
#define CHUNK_BITS_MIN 12
#define CHUNKS_MAX     65536
#define DOT            (EROFS_NONE - 1) /* in `order`: "." and ".." */
#define DOTDOT         (EROFS_NONE - 2)
#define NID_FIRST      2 /* number 0 would be no inode to readdir(3) */

typedef struct Plan {
	ErofsTree *t;
	uint32_t *reached; /* inodes in their order on disk */
	uint32_t *order;   /* names of all directories, one after the other */
	uint32_t n_reached, n_order;
	uint64_t copies_at, meta_at, blocks_at, end;
	bool chunks;
} Plan;

static void plan_done(Plan *p)
{
	free(p->reached);
	free(p->order);
}

/* ---- which and in what order ---- */

static const char *text_of(const ErofsTree *t, uint32_t name)
{
	return name == DOT ? "." : name == DOTDOT ? ".." : t->text + t->names[name].text;
}

/* The greatest of a heap's part goes down to its place. */
static void sink(const ErofsTree *t, uint32_t *v, uint32_t at, uint32_t n)
{
	for (uint32_t child; (child = 2 * at + 1) < n; at = child) {
		uint32_t was = v[at];

		child += child + 1 < n && strcmp(text_of(t, v[child]), text_of(t, v[child + 1])) < 0;
		if (strcmp(text_of(t, was), text_of(t, v[child])) >= 0)
			break;
		v[at] = v[child];
		v[child] = was;
	}
}

/* Heap sort: in place, and unlike qsort(3) without a look at how much memory the machine has, which the sandbox forbids. */
static void sort(const ErofsTree *t, uint32_t *v, uint32_t n)
{
	for (uint32_t i = n / 2; i-- > 0;)
		sink(t, v, i, n);
	for (uint32_t i = n; i-- > 1;) {
		uint32_t last = v[i];

		v[i] = v[0];
		v[0] = last;
		sink(t, v, 0, i);
	}
}

static void reach(Plan *p, uint32_t dir, uint32_t inode)
{
	ErofsInode *n = &p->t->inodes[inode];

	if (n->nlink++ > 0)
		return;
	if (erofs_is_dir(n)) {
		n->nlink = 2;
		p->t->inodes[dir].nlink++;
	}
	p->reached[p->n_reached++] = inode;
}

static void open_dir(Plan *p, uint32_t dir)
{
	ErofsInode *n = &p->t->inodes[dir];

	n->first = p->n_order;
	p->order[p->n_order++] = DOT;
	p->order[p->n_order++] = DOTDOT;
	for (uint32_t i = n->where; i != EROFS_NONE; i = p->t->names[i].next) {
		if (p->t->names[i].inode == EROFS_NONE)
			continue;
		p->order[p->n_order++] = i;
	}
	n->n = p->n_order - n->first;
	sort(p->t, p->order + n->first, n->n);
	for (uint32_t i = n->first; i < p->n_order; i++)
		if (p->order[i] < DOTDOT)
			reach(p, dir, p->t->names[p->order[i]].inode);
}

static int walk(Plan *p, Err *e)
{
	ErofsTree *t = p->t;

	p->reached = malloc(((size_t)t->n_inodes + 1) * sizeof(*p->reached));
	p->order = malloc(((size_t)t->n_names + 2 * (size_t)t->n_inodes) * sizeof(*p->order));
	if (!p->reached || !p->order)
		return err_oom(e);
	for (uint32_t i = 0; i < t->n_inodes; i++) {
		t->inodes[i].nlink = 0;
		t->inodes[i].nid = EROFS_NONE;
	}
	t->inodes[0].nlink = 2;
	p->reached[p->n_reached++] = 0;
	for (uint32_t i = 0; i < p->n_reached; i++)
		if (erofs_is_dir(&t->inodes[p->reached[i]]))
			open_dir(p, p->reached[i]);
	return 0;
}

/* ---- where ---- */

/* Entries that fit into a block, from the i-th on, and the bytes that they take. */
static uint32_t fill_block(const Plan *p, const ErofsInode *n, uint32_t i, uint32_t *ret_bytes)
{
	uint32_t bytes = 0, count = 0;

	for (; i + count < n->n; count++) {
		size_t len = strlen(text_of(p->t, p->order[n->first + i + count]));

		if (bytes + sizeof(ErofsDirent) + len > EROFS_BLOCK)
			break;
		bytes += (uint32_t)(sizeof(ErofsDirent) + len);
	}
	*ret_bytes = bytes;
	return count;
}

static int64_t dir_size(const Plan *p, const ErofsInode *n)
{
	int64_t size = 0;
	uint32_t bytes = 0;

	for (uint32_t i = 0; i < n->n;) {
		size += EROFS_BLOCK;
		i += fill_block(p, n, i, &bytes);
	}
	return size - EROFS_BLOCK + bytes;
}

static unsigned chunk_bits(const ErofsInode *n)
{
	unsigned bits = CHUNK_BITS_MIN;

	while (n->size > (int64_t)CHUNKS_MAX << bits)
		bits++;
	return bits;
}

static uint64_t chunk_count(const ErofsInode *n)
{
	unsigned bits = chunk_bits(n);

	return ((uint64_t)n->size + ((1ull << bits) - 1)) >> bits;
}

/* Chunks that have data. */
static uint64_t used_chunks(const Plan *p, const ErofsInode *n)
{
	unsigned bits = chunk_bits(n);
	int64_t last = -1;
	uint64_t used = 0;

	for (uint32_t i = 0; i < n->n; i++) {
		const ErofsPiece *piece = &p->t->pieces[n->first + i];
		int64_t from = piece->offset >> bits, to = (piece->offset + piece->len - 1) >> bits;

		used += (uint64_t)(to - MAX2(from, last + 1) + 1);
		last = to;
	}
	return used;
}

static uint64_t align(uint64_t at, uint64_t to)
{
	return (at + to - 1) / to * to;
}

static bool has_text(const ErofsInode *n)
{
	return erofs_is_dir(n) || S_ISLNK(n->mode);
}

static bool is_inline(const ErofsInode *n)
{
	return has_text(n) &&
	       sizeof(ErofsDiskInode) + erofs_xattr_bytes(n) + (uint64_t)n->size <= EROFS_BLOCK;
}

/* Where the inode goes, if nothing before `at` is free; *ret_end: what comes next. */
static uint64_t place_inode(const ErofsInode *n, uint64_t at, uint64_t *ret_end)
{
	uint64_t own = sizeof(ErofsDiskInode) + erofs_xattr_bytes(n);

	at = align(at, EROFS_SLOT);
	if (is_inline(n)) {
		if (at % EROFS_BLOCK + own + (uint64_t)n->size > EROFS_BLOCK)
			at = align(at, EROFS_BLOCK);
		own += (uint64_t)n->size;
	} else if (n->sparse) {
		own += chunk_count(n) * sizeof(uint32_t);
	}
	*ret_end = at + own;
	return at;
}

static int check_end(uint64_t end, Err *e)
{
	return end / EROFS_BLOCK >= EROFS_NO_BLOCK
		   ? err_new(e, ERR_INVALID, "the layer is longer than an image can be: 2 TiB")
		   : 0;
}

static int place_copies(Plan *p, uint64_t at, Err *e)
{
	p->copies_at = at;
	for (uint32_t i = 0; i < p->n_reached; i++) {
		ErofsInode *n = &p->t->inodes[p->reached[i]];
		int r;

		if (!n->sparse)
			continue;
		p->chunks = true;
		n->block = (uint32_t)(at / EROFS_BLOCK);
		at += used_chunks(p, n) << chunk_bits(n);
		r = check_end(at, e);
		if (r < 0)
			return r;
	}
	p->meta_at = align(at, META_ALIGN);
	return 0;
}

static int place_all(Plan *p, uint64_t tar_end, Err *e)
{
	uint64_t at;
	int r = place_copies(p, align(tar_end, EROFS_BLOCK), e);

	if (r < 0)
		return r;
	at = p->meta_at + NID_FIRST * EROFS_SLOT;
	for (uint32_t i = 0; i < p->n_reached; i++) {
		ErofsInode *n = &p->t->inodes[p->reached[i]];

		if (erofs_is_dir(n))
			n->size = dir_size(p, n);
		at = place_inode(n, at, &p->end);
		n->nid = (uint32_t)((at - p->meta_at) / EROFS_SLOT);
		at = p->end;
	}
	p->blocks_at = at = align(at, EROFS_BLOCK);
	for (uint32_t i = 0; i < p->n_reached; i++) {
		ErofsInode *n = &p->t->inodes[p->reached[i]];

		if (!has_text(n) || is_inline(n))
			continue;
		n->block = (uint32_t)(at / EROFS_BLOCK);
		at += align((uint64_t)n->size, EROFS_BLOCK);
	}
	p->end = at;
	return check_end(at, e);
}

/* ---- writing ---- */

typedef struct Out {
	int fd;
	uint64_t at; /* of the end of what is in the buffer */
	uint8_t *buf;
	size_t len;
} Out;

static int out_flush(Out *o, Err *e)
{
	int r = fd_pwrite_all(o->fd, o->buf, o->len, (off_t)(o->at - o->len));

	o->len = 0;
	return r < 0 ? err_sys(e, r, "write the image") : 0;
}

static int out_put(Out *o, const void *data, size_t len, Err *e)
{
	while (len > 0) {
		size_t n = MIN2(len, BUFFER - o->len);

		if (data)
			memcpy(o->buf + o->len, data, n);
		else
			memset(o->buf + o->len, 0, n);
		data = data ? (const uint8_t *)data + n : NULL;
		len -= n;
		o->len += n;
		o->at += n;
		if (o->len == BUFFER) {
			int r = out_flush(o, e);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int out_until(Out *o, uint64_t at, Err *e)
{
	return out_put(o, NULL, (size_t)(at - o->at), e);
}

static uint8_t type_of(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return EROFS_TYPE_DIR;
	case S_IFLNK:
		return EROFS_TYPE_LINK;
	case S_IFCHR:
		return EROFS_TYPE_CHAR;
	case S_IFBLK:
		return EROFS_TYPE_BLOCK;
	case S_IFIFO:
		return EROFS_TYPE_FIFO;
	default:
		return EROFS_TYPE_FILE;
	}
}

static uint32_t inode_of(const Plan *p, uint32_t dir, uint32_t name)
{
	return name == DOT ? dir : name == DOTDOT ? p->t->inodes[dir].parent : p->t->names[name].inode;
}

/* One block of a directory, without what would fill it up. */
static void make_block(const Plan *p, uint32_t dir, uint32_t from, uint32_t count, uint8_t *block)
{
	const uint32_t *order = p->order + p->t->inodes[dir].first + from;
	size_t at = count * sizeof(ErofsDirent);

	for (uint32_t i = 0; i < count; i++) {
		const ErofsInode *n = &p->t->inodes[inode_of(p, dir, order[i])];
		const char *text = text_of(p->t, order[i]);
		ErofsDirent d = {.nid = htole64(n->nid),
				 .name_at = htole16((uint16_t)at),
				 .type = type_of(n->mode)};

		memcpy(block + i * sizeof(d), &d, sizeof(d));
		memcpy(block + at, text, strlen(text));
		at += strlen(text);
	}
}

static int put_text(const Plan *p, Out *o, uint32_t inode, Err *e)
{
	const ErofsInode *n = &p->t->inodes[inode];
	int r = 0;

	if (!erofs_is_dir(n))
		return out_put(o, p->t->text + n->where, (size_t)n->size, e);
	for (uint32_t i = 0; r >= 0 && i < n->n;) {
		uint8_t block[EROFS_BLOCK] = {0};
		uint32_t bytes, count = fill_block(p, n, i, &bytes);

		make_block(p, inode, i, count, block);
		i += count;
		r = out_put(o, block, i < n->n ? EROFS_BLOCK : bytes, e);
	}
	return r;
}

static int put_xattrs(const Plan *p, Out *o, const ErofsInode *n, Err *e)
{
	static const char mark[16] = "overlay.opaquey"; /* name and value, and a byte to fill the word */
	const ErofsXattr head = {.name_len = 14, .name_index = EROFS_NAME_TRUSTED, .value_len = htole16(1)};
	int r = 0;

	if (erofs_xattr_bytes(n) > 0)
		r = out_put(o, NULL, EROFS_XATTR_HEADER, e);
	if (r >= 0 && n->xattr_len > 0)
		r = out_put(o, p->t->text + n->xattrs, n->xattr_len, e);
	if (r >= 0 && n->opaque)
		r = out_put(o, &head, sizeof(head), e);
	return r >= 0 && n->opaque ? out_put(o, mark, sizeof(mark), e) : r;
}

static int put_chunks(const Plan *p, Out *o, const ErofsInode *n, Err *e)
{
	const ErofsPiece *piece = p->t->pieces + n->first, *end = piece + n->n;
	unsigned bits = chunk_bits(n);
	uint32_t block = n->block;
	int r = 0;

	for (uint64_t i = 0; r >= 0 && i < chunk_count(n); i++) {
		uint64_t from = i << bits, to = from + (1ull << bits);
		uint32_t entry = htole32(EROFS_NO_BLOCK);

		while (piece < end && (uint64_t)(piece->offset + piece->len) <= from)
			piece++;
		if (piece < end && (uint64_t)piece->offset < to) {
			entry = htole32(block);
			block += 1u << (bits - EROFS_BLOCK_BITS);
		}
		r = out_put(o, &entry, sizeof(entry), e);
	}
	return r;
}

static int put_inode(const Plan *p, Out *o, uint32_t number, Err *e)
{
	const uint32_t inode = p->reached[number];
	const ErofsInode *n = &p->t->inodes[inode];
	const uint32_t xattrs = erofs_xattr_bytes(n);
	unsigned layout = n->sparse ? EROFS_CHUNKS : is_inline(n) ? EROFS_INLINE : EROFS_PLAIN;
	uint32_t where = n->sparse ? chunk_bits(n) - EROFS_BLOCK_BITS : has_text(n) ? n->block : n->where;
	const ErofsDiskInode d = {
	    .format = htole16((uint16_t)(EROFS_EXTENDED | layout << EROFS_LAYOUT_SHIFT)),
	    .xattr_count = htole16(xattrs ? (uint16_t)((xattrs - EROFS_XATTR_HEADER) / 4 + 1) : 0),
	    .mode = htole16((uint16_t)n->mode),
	    .size = htole64((uint64_t)n->size),
	    .where = htole32(layout == EROFS_INLINE ? 0 : where),
	    .number = htole32(number + 1),
	    .uid = htole32(n->uid),
	    .gid = htole32(n->gid),
	    .mtime_s = (int64_t)htole64((uint64_t)n->mtime_s),
	    .mtime_ns = htole32(n->mtime_ns),
	    .nlink = htole32(n->nlink),
	};
	int r = out_until(o, p->meta_at + (uint64_t)n->nid * EROFS_SLOT, e);

	if (r >= 0)
		r = out_put(o, &d, sizeof(d), e);
	if (r >= 0)
		r = put_xattrs(p, o, n, e);
	if (r >= 0 && layout == EROFS_INLINE)
		r = put_text(p, o, inode, e);
	return r >= 0 && layout == EROFS_CHUNKS ? put_chunks(p, o, n, e) : r;
}

static int put_all(const Plan *p, Out *o, Err *e)
{
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < p->n_reached; i++)
		r = put_inode(p, o, i, e);
	for (uint32_t i = 0; r >= 0 && i < p->n_reached; i++) {
		const ErofsInode *n = &p->t->inodes[p->reached[i]];

		if (!has_text(n) || is_inline(n))
			continue;
		r = out_until(o, (uint64_t)n->block * EROFS_BLOCK, e);
		if (r >= 0)
			r = put_text(p, o, p->reached[i], e);
	}
	if (r >= 0)
		r = out_until(o, p->end, e);
	return r < 0 ? r : out_flush(o, e);
}

/* ---- copies of sparse files ---- */

static int copy(int fd, uint8_t *buf, int64_t from, uint64_t to, int64_t len, Err *e)
{
	while (len > 0) {
		ssize_t n = pread(fd, buf, (size_t)MIN2(len, (int64_t)BUFFER), from);
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_sys(e, n < 0 ? errno : EIO, "read the image");
		r = fd_pwrite_all(fd, buf, (size_t)n, (off_t)to);
		if (r < 0)
			return err_sys(e, r, "write the image");
		from += n;
		to += (uint64_t)n;
		len -= n;
	}
	return 0;
}

/* The chunks that have data lie side by side; a piece may reach over several. */
static int copy_pieces(const Plan *p, Out *o, const ErofsInode *n, Err *e)
{
	const unsigned bits = chunk_bits(n);
	int64_t last = -1, used = -1;

	for (uint32_t i = 0; i < n->n; i++) {
		const ErofsPiece *piece = &p->t->pieces[n->first + i];

		for (int64_t done = 0, part; done < piece->len; done += part) {
			int64_t at = piece->offset + done, chunk = at >> bits;
			int64_t inside = at & ((1ll << bits) - 1);
			int r;

			used += chunk != last;
			last = chunk;
			part = MIN2(piece->len - done, (1ll << bits) - inside);
			r = copy(o->fd, o->buf, piece->tar_at + EROFS_TAR_AT + done,
				 (uint64_t)n->block * EROFS_BLOCK + ((uint64_t)used << bits) +
				     (uint64_t)inside,
				 part, e);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int put_copies(const Plan *p, Out *o, Err *e)
{
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < p->n_reached; i++) {
		const ErofsInode *n = &p->t->inodes[p->reached[i]];

		if (n->sparse)
			r = copy_pieces(p, o, n, e);
	}
	return r;
}

/* ---- the head ---- */

uint32_t erofs_crc32c(const void *data, size_t len)
{
	const uint8_t *at = data;
	uint32_t crc = UINT32_MAX;

	while (len-- > 0) {
		crc ^= *at++;
		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
	}
	return crc;
}

static int put_head(const Plan *p, int fd, int64_t tar_bytes, const uint8_t uuid[16], Err *e)
{
	const ErofsNote note = {.magic = EROFS_NOTE_MAGIC, .tar_bytes = htole64((uint64_t)tar_bytes)};
	uint8_t head[EROFS_TAR_AT] = {0};
	ErofsSuper s = {
	    .magic = htole32(EROFS_MAGIC),
	    .compat = htole32(EROFS_COMPAT_CHECKSUM | EROFS_COMPAT_MTIME),
	    .block_bits = EROFS_BLOCK_BITS,
	    .root = htole16(NID_FIRST),
	    .inodes = htole64(p->n_reached),
	    .blocks = htole32((uint32_t)(p->end / EROFS_BLOCK)),
	    .meta_block = htole32((uint32_t)(p->meta_at / EROFS_BLOCK)),
	    .incompat = htole32(p->chunks ? EROFS_INCOMPAT_CHUNKS : 0),
	};
	int r;

	memcpy(s.uuid, uuid, sizeof(s.uuid));
	memcpy(head, &note, sizeof(note));
	memcpy(head + EROFS_SUPER_AT, &s, sizeof(s));
	/* The sum is of the superblock's whole block, with zeros in its own place. */
	s.checksum = htole32(erofs_crc32c(head + EROFS_SUPER_AT, EROFS_BLOCK));
	memcpy(head + EROFS_SUPER_AT, &s, sizeof(s));
	r = fd_pwrite_all(fd, head, sizeof(head), 0);
	return r < 0 ? err_sys(e, r, "write the image") : 0;
}

int erofs_write(ErofsTree *t, int fd, int64_t tar_bytes, const uint8_t uuid[16], Err *e)
{
	_cleanup_free_ uint8_t *buf = malloc(BUFFER);
	_cleanup_(plan_done) Plan p = {.t = t};
	Out o = {.fd = fd, .buf = buf};
	int r = buf ? walk(&p, e) : err_oom(e);

	if (r >= 0)
		r = place_all(&p, (uint64_t)tar_bytes + EROFS_TAR_AT, e);
	if (r < 0)
		return r;
	t->meta_at = (int64_t)p.meta_at;
	r = put_copies(&p, &o, e);
	o.at = p.meta_at;
	if (r >= 0)
		r = put_all(&p, &o, e);
	return r < 0 ? r : put_head(&p, fd, tar_bytes, uuid, e);
}
