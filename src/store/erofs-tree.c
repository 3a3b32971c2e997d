/* SPDX-License-Identifier: Apache-2.0 */
/* Names, inodes and paths in memory; see erofs-internal.h. */
#include "store/erofs-internal.h"

#include "base/str.h"

#include <sys/auxv.h>
#include <sys/stat.h>

#define LINKS_MAX  40 /* as the kernel follows */
#define PIECES_MAX (1u << 20)

/* Room for one more of `size` bytes each; at most 2^32 - 2 of them, so that a number is never EROFS_NONE. */
static int grow(void *array, uint32_t n, uint32_t *cap, size_t size, Err *e)
{
	void **at = array;
	void *grown;
	uint32_t more;

	if (n < *cap)
		return 0;
	if (n >= UINT32_MAX / 2)
		return err_new(e, ERR_INVALID, "the layer has too many files");
	/* By half: doubling would make the peak. */
	more = *cap ? *cap + *cap / 2 : 64;
	grown = reallocarray(*at, more, size);
	if (!grown)
		return err_oom(e);
	*at = grown;
	*cap = more;
	return 0;
}

int erofs_tree_init(ErofsTree *t, Err *e)
{
	/* Until an entry describes it. */
	const ErofsInode root = {.mode = S_IFDIR | 0755, .where = EROFS_NONE, .implied = true};
	uint32_t i;

	*t = (ErofsTree){.n_slots = 256};
	memcpy(t->key, (const void *)getauxval(AT_RANDOM), sizeof(t->key));
	t->key[1] |= 1;
	t->slots = malloc(t->n_slots * sizeof(*t->slots));
	if (!t->slots)
		return err_oom(e);
	memset(t->slots, 0xFF, t->n_slots * sizeof(*t->slots));
	return erofs_tree_inode(t, &root, &i, e);
}

void erofs_tree_done(ErofsTree *t)
{
	free(t->names);
	free(t->inodes);
	free(t->pieces);
	free(t->text);
	free(t->slots);
	*t = (ErofsTree){0};
}

int erofs_tree_text(ErofsTree *t, const void *data, size_t len, uint32_t *ret, Err *e)
{
	size_t need = t->text_len + len;

	if (need > UINT32_MAX)
		return err_new(e, ERR_INVALID, "the names in the layer are too long altogether");
	if (need > t->cap_text) {
		size_t cap = MAX2(need, t->cap_text + t->cap_text / 2 + 4096);
		char *grown = realloc(t->text, cap);

		if (!grown)
			return err_oom(e);
		t->text = grown;
		t->cap_text = cap;
	}
	if (len > 0)
		memcpy(t->text + t->text_len, data, len);
	*ret = (uint32_t)t->text_len;
	t->text_len = need;
	return 0;
}

int erofs_tree_inode(ErofsTree *t, const ErofsInode *n, uint32_t *ret, Err *e)
{
	int r = grow(&t->inodes, t->n_inodes, &t->cap_inodes, sizeof(*t->inodes), e);

	if (r < 0)
		return r;
	t->inodes[t->n_inodes] = *n;
	*ret = t->n_inodes++;
	return 0;
}

int erofs_tree_piece(ErofsTree *t, const ErofsPiece *p, Err *e)
{
	int r;

	if (t->n_pieces >= PIECES_MAX)
		return err_new(e, ERR_INVALID, "the sparse files of the layer have more than %u pieces",
			       PIECES_MAX);
	r = grow(&t->pieces, t->n_pieces, &t->cap_pieces, sizeof(*t->pieces), e);
	if (r >= 0)
		t->pieces[t->n_pieces++] = *p;
	return r;
}

/* ---- names ---- */

/* Keyed with what the kernel gave this process at random, so that nobody can make an archive whose names all meet. */
static uint32_t hash_of(const ErofsTree *t, uint32_t dir, const char *name, size_t len)
{
	uint64_t h = t->key[0] ^ dir * 0x9E3779B97F4A7C15u;

	for (; len > 0; name += 8, len -= MIN2(len, (size_t)8)) {
		uint64_t word = 0;

		memcpy(&word, name, MIN2(len, (size_t)8));
		h = (h ^ word) * t->key[1];
		h ^= h >> 32;
		if (len <= 8)
			break;
	}
	return (uint32_t)(h ^ h >> 29);
}

static bool is_named(const ErofsTree *t, const ErofsName *n, uint32_t dir, const char *name, size_t len)
{
	const char *text = t->text + n->text;

	return n->dir == dir && memcmp(text, name, len) == 0 && text[len] == 0;
}

/* The slot of the name, which may be a removed one, or the empty slot where it would be. */
static uint32_t find_slot(const ErofsTree *t, uint32_t dir, const char *name, size_t len, uint32_t hash)
{
	uint32_t at = hash & (t->n_slots - 1);

	while (t->slots[at] != EROFS_NONE) {
		const ErofsName *n = &t->names[t->slots[at]];

		if (n->hash == hash && strnlen(t->text + n->text, len + 1) == len &&
		    is_named(t, n, dir, name, len))
			break;
		at = (at + 1) & (t->n_slots - 1);
	}
	return at;
}

static int grow_slots(ErofsTree *t, Err *e)
{
	uint32_t n = t->n_slots * 2, *slots;

	if (t->n_names < t->n_slots / 4 * 3)
		return 0;
	slots = malloc(n * sizeof(*slots));
	if (!slots)
		return err_oom(e);
	memset(slots, 0xFF, n * sizeof(*slots));
	for (uint32_t i = 0; i < t->n_names; i++) {
		uint32_t at = t->names[i].hash & (n - 1);

		while (slots[at] != EROFS_NONE)
			at = (at + 1) & (n - 1);
		slots[at] = i;
	}
	free(t->slots);
	t->slots = slots;
	t->n_slots = n;
	return 0;
}

uint32_t erofs_tree_find(const ErofsTree *t, uint32_t dir, const char *name, size_t len)
{
	uint32_t n = t->slots[find_slot(t, dir, name, len, hash_of(t, dir, name, len))];

	return n != EROFS_NONE && t->names[n].inode != EROFS_NONE ? n : EROFS_NONE;
}

int erofs_tree_add(ErofsTree *t, uint32_t dir, const char *name, size_t len, uint32_t inode, Err *e)
{
	ErofsName n = {.dir = dir, .inode = inode, .hash = hash_of(t, dir, name, len)};
	uint32_t slot;
	int r = grow_slots(t, e);

	if (r < 0)
		return r;
	slot = find_slot(t, dir, name, len, n.hash);
	if (t->slots[slot] != EROFS_NONE) {
		t->names[t->slots[slot]].inode = inode;
		t->inodes[inode].name = t->names[t->slots[slot]].text;
		return 0;
	}
	r = grow(&t->names, t->n_names, &t->cap_names, sizeof(*t->names), e);
	if (r >= 0)
		r = erofs_tree_text(t, name, len, &n.text, e);
	if (r >= 0) {
		uint32_t end;

		r = erofs_tree_text(t, "", 1, &end, e);
	}
	if (r < 0)
		return r;
	t->inodes[inode].name = n.text;
	n.next = t->inodes[dir].where;
	t->inodes[dir].where = t->slots[slot] = t->n_names;
	t->names[t->n_names++] = n;
	return 0;
}

void erofs_tree_remove(ErofsTree *t, uint32_t name)
{
	t->names[name].inode = EROFS_NONE;
}

/* ---- paths ---- */

static int follow(ErofsTree *t, uint32_t dir, const char *path, int *links, uint32_t *ret);

/* One step from a directory: 0, -ENOENT, -ENOTDIR or -ELOOP. */
static int step(ErofsTree *t, uint32_t dir, const char *name, size_t len, int *links, uint32_t *ret)
{
	const ErofsInode *n;
	uint32_t found;

	if (len == 1 && name[0] == '.') {
		*ret = dir;
		return 0;
	}
	if (len == 2 && name[0] == '.' && name[1] == '.') {
		*ret = t->inodes[dir].parent;
		return 0;
	}
	found = erofs_tree_find(t, dir, name, len);
	if (found == EROFS_NONE)
		return -ENOENT;
	n = &t->inodes[t->names[found].inode];
	if (S_ISLNK(n->mode))
		return ++*links > LINKS_MAX ? -ELOOP : follow(t, dir, t->text + n->where, links, ret);
	*ret = t->names[found].inode;
	return erofs_is_dir(n) ? 0 : -ENOTDIR;
}

/* A link's target; recursion is as deep as links are many. */
static int follow(ErofsTree *t, uint32_t dir, const char *path, int *links, uint32_t *ret)
{
	int r = 0;

	if (*path == '/')
		dir = 0;
	while (r == 0 && *path) {
		size_t len = strcspn(path, "/");

		if (len > 0)
			r = step(t, dir, path, len, links, &dir);
		path += len + (path[len] == '/');
	}
	*ret = dir;
	return r;
}

static int make_implied(ErofsTree *t, uint32_t dir, const char *name, size_t len, uint32_t *ret, Err *e)
{
	const ErofsInode n = {.mode = S_IFDIR | 0755, .where = EROFS_NONE, .parent = dir, .implied = true};
	int r = erofs_tree_inode(t, &n, ret, e);

	return r < 0 ? r : erofs_tree_add(t, dir, name, len, *ret, e);
}

int erofs_tree_parent(ErofsTree *t, const char *clean, bool make, uint32_t *ret, Err *e)
{
	uint32_t dir = 0;
	int links = 0;

	for (const char *p = clean, *slash; (slash = strchr(p, '/')); p = slash + 1) {
		size_t len = (size_t)(slash - p);
		uint32_t next = dir;
		int r = step(t, dir, p, len, &links, &next);

		/* Of a link that leads nowhere the target is not made. */
		if (r == -ENOENT && make && erofs_tree_find(t, dir, p, len) == EROFS_NONE)
			r = make_implied(t, dir, p, len, &next, e);
		else if (r == -ENOTDIR)
			r = err_new(e, ERR_INVALID, "%s: a part of the path %.*s is not a directory", clean,
				    (int)(layer_base(clean) - clean - 1), clean);
		else if (r < 0)
			r = err_sys(e, r, "open %.*s", (int)(slash - clean), clean);
		if (r < 0)
			return r;
		dir = next;
	}
	*ret = dir;
	return 0;
}

int erofs_tree_path(const ErofsTree *t, uint32_t dir, char ret[PATH_MAX])
{
	size_t at = PATH_MAX - 1;

	ret[at] = 0;
	for (; dir != 0; dir = t->inodes[dir].parent) {
		const char *name = t->text + t->inodes[dir].name;
		size_t len = strlen(name);

		if (len + 1 > at)
			return -ENAMETOOLONG;
		at -= len;
		memcpy(ret + at, name, len);
		if (t->inodes[dir].parent != 0)
			ret[--at] = '/';
	}
	memmove(ret, ret + at, PATH_MAX - at);
	return 0;
}
