/* SPDX-License-Identifier: Apache-2.0 */
/* Entries of a tar become the tree of an image; the rules are those of layer-rules.h and of ireko-unpack's place.c. */
#include "store/erofs-internal.h"

#include "base/str.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

struct ErofsLayer {
	ErofsTree tree;
	LayerBudget budget;
	uint32_t last_file; /* the last entry, if its contents are used where they lie; or EROFS_NONE */
	uint32_t *opaque;   /* texts: paths that hide what is below, whatever becomes of them in this layer */
	size_t n_opaque;
};

int erofs_layer_new(int64_t max_bytes, int64_t max_files, ErofsLayer **ret, Err *e)
{
	_cleanup_(erofs_layer_freep) ErofsLayer *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return err_oom(e);
	l->last_file = EROFS_NONE;
	l->budget = (LayerBudget){.max_files = max_files, .max_bytes = max_bytes};
	r = erofs_tree_init(&l->tree, e);
	if (r >= 0)
		*ret = take_ptr(l);
	return r;
}

void erofs_layer_free(ErofsLayer *l)
{
	if (!l)
		return;
	erofs_tree_done(&l->tree);
	free(l->opaque);
	free(l);
}

const LayerBudget *erofs_layer_budget(const ErofsLayer *l)
{
	return &l->budget;
}

bool erofs_layer_root_is_opaque(const ErofsLayer *l)
{
	return l->tree.inodes[0].opaque;
}

/* ---- inodes ---- */

static bool is_whiteout(const ErofsInode *n)
{
	return S_ISCHR(n->mode) && n->where == 0;
}

static uint32_t mode_of(const TarEntry *n)
{
	static const uint32_t kinds[] = {
	    [TAR_FILE] = S_IFREG,     [TAR_HARDLINK] = 0,  [TAR_SYMLINK] = S_IFLNK, [TAR_CHAR] = S_IFCHR,
	    [TAR_BLOCKDEV] = S_IFBLK, [TAR_DIR] = S_IFDIR, [TAR_FIFO] = S_IFIFO};

	return kinds[n->type] | (n->type == TAR_SYMLINK ? 0777 : n->mode);
}

/* As the kernel packs a device's number: 12 bits of major between 8 and 12 of minor. */
static uint32_t device_of(const TarEntry *n)
{
	return (n->dev_minor & 0xFF) | n->dev_major << 8 | (n->dev_minor & ~0xFFu) << 12;
}

/* What an entry says of owner, time and attributes. */
static int describe(ErofsLayer *l, const TarEntry *n, ErofsInode *ret, Err *e)
{
	_cleanup_free_ uint8_t *xattrs = NULL;
	size_t len;
	int r;

	ret->mode = mode_of(n);
	ret->uid = n->uid;
	ret->gid = n->gid;
	ret->mtime_s = n->mtime_s;
	ret->mtime_ns = n->mtime_ns;
	ret->implied = false;
	r = erofs_xattrs(n, &ret->mode, &xattrs, &len, e);
	if (r < 0)
		return r;
	ret->xattr_len = (uint32_t)len;
	return erofs_tree_text(&l->tree, xattrs, len, &ret->xattrs, e);
}

static int read_pieces(ErofsLayer *l, TarReader *t, ErofsInode *n, Err *e)
{
	ErofsPiece p = {.len = 0};
	const void *data;
	int64_t offset;
	size_t len;
	int r;

	n->sparse = true;
	n->first = l->tree.n_pieces;
	while ((r = tar_data(t, &data, &len, &offset, e)) > 0) {
		int64_t tar_at = tar_position(t) - (int64_t)len;

		if (p.len > 0 && p.offset + p.len == offset && p.tar_at + p.len == tar_at) {
			p.len += (int64_t)len;
			continue;
		}
		if (p.len > 0)
			r = erofs_tree_piece(&l->tree, &p, e);
		if (r < 0)
			return r;
		p = (ErofsPiece){.offset = offset, .len = (int64_t)len, .tar_at = tar_at};
	}
	if (r >= 0 && p.len > 0)
		r = erofs_tree_piece(&l->tree, &p, e);
	n->n = l->tree.n_pieces - n->first;
	return r;
}

/* Where the contents of a file are, which tar_next will skip. */
static int locate(ErofsLayer *l, TarReader *t, const TarEntry *n, const char *clean, ErofsInode *ret, Err *e)
{
	int64_t block = (tar_position(t) + EROFS_TAR_AT) / EROFS_BLOCK;
	int r = layer_count_contents(&l->budget, n, clean, e);

	if (r < 0)
		return r;
	ret->size = n->size;
	if (n->sparse)
		return read_pieces(l, t, ret, e);
	if (n->size > 0 && block >= EROFS_NO_BLOCK)
		return err_new(e, ERR_INVALID, "the layer is longer than an image can be: 2 TiB");
	ret->where = n->size > 0 ? (uint32_t)block : EROFS_NO_BLOCK;
	return 0;
}

static int set_target(ErofsLayer *l, const TarEntry *n, ErofsInode *ret, Err *e)
{
	size_t len = strlen(n->link);

	if (len >= PATH_MAX)
		return err_sys(e, ENAMETOOLONG, "make %s", n->name);
	ret->size = (int64_t)len;
	return erofs_tree_text(&l->tree, n->link, len + 1, &ret->where, e);
}

static int make_inode(ErofsLayer *l, TarReader *t, const TarEntry *n, const char *clean, ErofsInode *ret,
		      Err *e)
{
	int r = 0;

	switch (n->type) {
	case TAR_FILE:
		r = locate(l, t, n, clean, ret, e);
		break;
	case TAR_SYMLINK:
		r = set_target(l, n, ret, e);
		break;
	case TAR_DIR:
		ret->where = EROFS_NONE;
		break;
	default:
		ret->where = device_of(n);
		break;
	}
	return r < 0 ? r : describe(l, n, ret, e);
}

/* ---- opaque directories ---- */

/* The first `len` bytes of path, then `rest`. */
static int note_opaque(ErofsLayer *l, const char *path, size_t len, const char *rest, Err *e)
{
	size_t n = l->n_opaque;
	uint32_t end;
	int r;

	if ((n & (n - 1)) == 0) {
		uint32_t *grown = reallocarray(l->opaque, n ? n * 2 : 1, sizeof(*grown));

		if (!grown)
			return err_oom(e);
		l->opaque = grown;
	}
	r = erofs_tree_text(&l->tree, path, len, &l->opaque[n], e);
	if (r >= 0)
		r = erofs_tree_text(&l->tree, rest, strlen(rest) + 1, &end, e);
	l->n_opaque += r >= 0;
	return r;
}

static void mark_opaque(ErofsLayer *l, const char *path)
{
	const char *base = layer_base(path);
	uint32_t dir, name;

	if (!*path)
		l->tree.inodes[0].opaque = true;
	/* A later entry may have put something else there. */
	if (!*path || erofs_tree_parent(&l->tree, path, false, &dir, NULL) < 0)
		return;
	name = erofs_tree_find(&l->tree, dir, base, strlen(base));
	if (name != EROFS_NONE && erofs_is_dir(&l->tree.inodes[l->tree.names[name].inode]))
		l->tree.inodes[l->tree.names[name].inode].opaque = true;
}

/* ---- names ---- */

/* Gives the name to an inode; whatever had it goes, with all below it. */
static int put(ErofsLayer *l, uint32_t dir, const char *base, uint32_t inode, Err *e)
{
	uint32_t old = erofs_tree_find(&l->tree, dir, base, strlen(base));

	if (old != EROFS_NONE)
		erofs_tree_remove(&l->tree, old);
	return erofs_tree_add(&l->tree, dir, base, strlen(base), inode, e);
}

static int add_new(ErofsLayer *l, uint32_t dir, const char *base, const ErofsInode *n, Err *e)
{
	uint32_t inode;
	int r = erofs_tree_inode(&l->tree, n, &inode, e);

	return r < 0 ? r : put(l, dir, base, inode, e);
}

static int add_dir(ErofsLayer *l, TarReader *t, const TarEntry *n, uint32_t dir, const char *clean, Err *e)
{
	const char *base = layer_base(clean);
	uint32_t old = erofs_tree_find(&l->tree, dir, base, strlen(base));
	ErofsInode *was = old == EROFS_NONE ? NULL : &l->tree.inodes[l->tree.names[old].inode];
	ErofsInode made = {.parent = dir};
	int r = 0;

	if (was && erofs_is_dir(was))
		return describe(l, n, was, e);
	/* The whiteout hid a lower directory: so must the new one. */
	if (was && is_whiteout(was))
		r = note_opaque(l, clean, strlen(clean), "", e);
	if (r >= 0)
		r = make_inode(l, t, n, clean, &made, e);
	return r < 0 ? r : add_new(l, dir, base, &made, e);
}

static int add_root(ErofsLayer *l, const TarEntry *n, Err *e)
{
	if (n->type != TAR_DIR)
		return err_new(e, ERR_INVALID,
			       "the tar entry \"%s\" would replace the root by something else", n->name);
	return describe(l, n, &l->tree.inodes[0], e);
}

static int find_target(ErofsLayer *l, const TarEntry *n, const char *target, uint32_t *ret, Err *e)
{
	uint32_t dir, name = EROFS_NONE;
	const ErofsInode *inode;

	*ret = 0;
	if (*target) {
		if (erofs_tree_parent(&l->tree, target, false, &dir, NULL) >= 0)
			name = erofs_tree_find(&l->tree, dir, layer_base(target), strlen(layer_base(target)));
		if (name == EROFS_NONE)
			return err_new(e, ERR_INVALID,
				       "the hard link %s points to %s, which is not in this archive", n->name,
				       target);
		*ret = l->tree.names[name].inode;
	}
	inode = &l->tree.inodes[*ret];
	if (erofs_is_dir(inode) || is_whiteout(inode))
		return err_new(e, ERR_INVALID, "the hard link %s points to %s, which is not a file", n->name,
			       target);
	return 0;
}

static int add_hardlink(ErofsLayer *l, const TarEntry *n, uint32_t dir, const char *clean, Err *e)
{
	const char *base = layer_base(clean);
	uint32_t inode, own = erofs_tree_find(&l->tree, dir, base, strlen(base)), again;
	char target[PATH_MAX];
	int r = layer_clean_link(n, target, e);

	if (r < 0 || streq(target, clean))
		return r;
	r = find_target(l, n, target, &inode, e);
	if (r < 0 || (own != EROFS_NONE && l->tree.names[own].inode == inode))
		return r;
	if (own != EROFS_NONE)
		erofs_tree_remove(&l->tree, own);
	/* Making way may have taken the target along, when it lay below the name. */
	r = find_target(l, n, target, &again, e);
	return r < 0 ? r : put(l, dir, base, inode, e);
}

static int add_whiteout(ErofsLayer *l, uint32_t dir, const char *clean, const char *victim, Err *e)
{
	const ErofsInode whiteout = {.mode = S_IFCHR};
	uint32_t old = erofs_tree_find(&l->tree, dir, victim, strlen(victim));
	const ErofsInode *was = old == EROFS_NONE ? NULL : &l->tree.inodes[l->tree.names[old].inode];

	if (!was)
		return add_new(l, dir, victim, &whiteout, e);
	/* This layer has one of its own, which stays; if a directory, then without what lies below it. */
	return erofs_is_dir(was) ? note_opaque(l, clean, (size_t)(layer_base(clean) - clean), victim, e) : 0;
}

static int add_named(ErofsLayer *l, TarReader *t, const TarEntry *n, const char *clean, Err *e)
{
	ErofsInode made = {0};
	const char *victim = NULL;
	int r, kind = layer_name_kind(n, clean, &victim, e);
	size_t up = (size_t)(layer_base(clean) - clean);
	uint32_t dir;

	if (kind < 0 || kind == LAYER_IGNORED)
		return kind < 0 ? kind : 0;
	r = erofs_tree_parent(&l->tree, clean, true, &dir, e);
	if (r < 0)
		return r;
	if (kind == LAYER_OPAQUE)
		return note_opaque(l, clean, up ? up - 1 : 0, "", e);
	if (kind == LAYER_WHITEOUT)
		return add_whiteout(l, dir, clean, victim, e);
	if (n->type == TAR_DIR)
		return add_dir(l, t, n, dir, clean, e);
	if (n->type == TAR_HARDLINK)
		return add_hardlink(l, n, dir, clean, e);
	if (n->type != TAR_FILE)
		r = layer_check_node(n, true, true, e);
	if (r >= 0)
		r = make_inode(l, t, n, clean, &made, e);
	if (r >= 0)
		r = add_new(l, dir, layer_base(clean), &made, e);
	if (r >= 0 && n->type == TAR_FILE && n->size > 0 && !n->sparse)
		l->last_file = l->tree.n_inodes - 1;
	return r;
}

/* Whoever maps a file sees zeros behind its end; if the tar has something else there, the contents cannot stay where they are. */
static int settle_last(ErofsLayer *l, const TarReader *t, Err *e)
{
	ErofsInode *n = l->last_file == EROFS_NONE ? NULL : &l->tree.inodes[l->last_file];

	l->last_file = EROFS_NONE;
	if (!n || !tar_padding_is_dirty(t))
		return 0;
	const ErofsPiece all = {.len = n->size, .tar_at = (int64_t)n->where * EROFS_BLOCK - EROFS_TAR_AT};

	n->sparse = true;
	n->first = l->tree.n_pieces;
	n->n = 1;
	return erofs_tree_piece(&l->tree, &all, e);
}

int erofs_layer_end(ErofsLayer *l, const TarReader *t, Err *e)
{
	return settle_last(l, t, e);
}

int erofs_layer_add(ErofsLayer *l, TarReader *t, const TarEntry *n, Err *e)
{
	char clean[PATH_MAX];
	int r = settle_last(l, t, e);

	if (r >= 0)
		r = layer_count_entry(&l->budget, t, e);
	if (r >= 0)
		r = layer_clean_name(n, clean, e);
	if (r < 0)
		return r;
	return *clean ? add_named(l, t, n, clean, e) : add_root(l, n, e);
}

/* ---- the end ---- */

static int hex_digit(char c)
{
	return c <= '9' ? c - '0' : c - 'a' + 10;
}

int erofs_layer_write(ErofsLayer *l, int fd, int64_t tar_bytes, const char *diff_id, Err *e)
{
	const char *hex = digest_hex(diff_id);
	uint8_t uuid[16];

	for (size_t i = 0; i < l->n_opaque; i++)
		mark_opaque(l, l->tree.text + l->opaque[i]);

	/* overlayfs knows the layers of a mount apart by it. */
	for (size_t i = 0; i < sizeof(uuid); i++)
		uuid[i] = (uint8_t)(hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
	return erofs_write(&l->tree, fd, tar_bytes, uuid, e);
}

int erofs_layer_each_implied(const ErofsLayer *l,
			     int (*fn)(void *user, const char *path, uint64_t inode_at, Err *e), void *user,
			     Err *e)
{
	const ErofsTree *t = &l->tree;
	char path[PATH_MAX];

	for (uint32_t i = 0; i < t->n_inodes; i++) {
		const ErofsInode *n = &t->inodes[i];
		int r;

		if (!n->implied || n->nid == EROFS_NONE)
			continue;
		r = erofs_tree_path(t, i, path);
		if (r < 0)
			return err_sys(e, r, "name a directory");
		r = fn(user, path, (uint64_t)t->meta_at + (uint64_t)n->nid * EROFS_SLOT, e);
		if (r < 0)
			return r;
	}
	return 0;
}
