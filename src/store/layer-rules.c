/* SPDX-License-Identifier: Apache-2.0 */
/* Names, whiteouts, limits; see layer-rules.h. */
#include "store/layer-rules.h"

#include "base/str.h"

#define WHITEOUT      ".wh."
#define WHITEOUT_META ".wh..wh."

/* -EXDEV for what climbs out of the root. */
static int clean(const char *name, char ret[PATH_MAX], Err *e)
{
	size_t len = 0;

	if (!*name)
		return err_new(e, ERR_INVALID, "a tar entry without a name");
	while (*name) {
		size_t n;

		while (*name == '/')
			name++;
		n = strcspn(name, "/");
		if (n == 2 && name[0] == '.' && name[1] == '.') {
			if (len == 0)
				return -EXDEV;
			while (len > 0 && ret[len - 1] != '/')
				len--;
			len -= len > 0;
		} else if (n > 0 && !(n == 1 && name[0] == '.')) {
			if (n > NAME_MAX)
				return err_new(e, ERR_INVALID, "a name of more than %d bytes: %.64s...",
					       NAME_MAX, name);
			if (len + n + 2 > PATH_MAX)
				return err_new(e, ERR_INVALID, "a path of more than %d bytes: %.64s...",
					       PATH_MAX - 1, name);
			if (len > 0)
				ret[len++] = '/';
			memcpy(ret + len, name, n);
			len += n;
		}
		name += n;
	}
	ret[len] = 0;
	return 0;
}

int layer_clean_name(const TarEntry *n, char ret[PATH_MAX], Err *e)
{
	int r = clean(n->name, ret, e);

	if (r == -EXDEV)
		return err_new(e, ERR_INVALID, "layer tries to write outside its root: %s", n->name);
	return r;
}

int layer_clean_link(const TarEntry *n, char ret[PATH_MAX], Err *e)
{
	if (clean(n->link, ret, NULL) < 0)
		return err_new(e, ERR_INVALID,
			       "the hard link %s points outside of the root or nowhere: \"%.200s\"", n->name,
			       n->link);
	return 0;
}

const char *layer_base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* 1 for names within a directory that only aufs used. */
static int check_parents(const TarEntry *n, const char *path, Err *e)
{
	bool bad = false;

	for (const char *c = path, *slash; (slash = strchr(c, '/')); c = slash + 1) {
		if (str_starts(c, WHITEOUT_META))
			return 1;
		bad |= str_starts(c, WHITEOUT);
	}
	return bad ? err_new(e, ERR_INVALID, "%s: a whiteout is no directory", n->name) : 0;
}

int layer_name_kind(const TarEntry *n, const char *path, const char **ret_victim, Err *e)
{
	const char *victim = str_after(layer_base(path), WHITEOUT);
	int r = check_parents(n, path, e);

	if (r != 0)
		return r < 0 ? r : LAYER_IGNORED;
	if (!victim)
		return LAYER_PLAIN;
	if (streq(victim, WHITEOUT ".opq"))
		return LAYER_OPAQUE;
	if (str_starts(victim, WHITEOUT))
		return LAYER_IGNORED;
	if (!*victim || streq(victim, ".") || streq(victim, ".."))
		return err_new(e, ERR_INVALID, "the whiteout %s names nothing that could be deleted",
			       n->name);
	*ret_victim = victim;
	return LAYER_WHITEOUT;
}

int layer_check_node(const TarEntry *n, bool devices, bool whiteouts, Err *e)
{
	if ((n->type == TAR_CHAR || n->type == TAR_BLOCKDEV) && !devices)
		return err_new(e, ERR_DENIED, "the device node %s is not allowed here", n->name);
	if (whiteouts && n->type == TAR_CHAR && n->dev_major == 0 && n->dev_minor == 0)
		return err_new(e, ERR_INVALID,
			       "the character device %s 0/0 is how overlayfs marks deleted files: refused",
			       n->name);
	if (n->type == TAR_SYMLINK && !*n->link)
		return err_new(e, ERR_INVALID, "the symbolic link %s has no target", n->name);
	return 0;
}

int layer_count_entry(LayerBudget *b, const TarReader *t, Err *e)
{
	if (++b->files > b->max_files || tar_headers(t) > 4 * b->max_files)
		return err_new(e, ERR_INVALID, "the layer has more than %lld files", (long long)b->max_files);
	return 0;
}

int layer_count_contents(LayerBudget *b, const TarEntry *n, const char *path, Err *e)
{
	if (n->size > b->max_bytes - b->content_bytes)
		return err_new(e, ERR_INVALID,
			       "the layer is larger than the limit of %lld bytes when unpacked (at %s)",
			       (long long)b->max_bytes, path);
	b->content_bytes += n->size;
	return 0;
}
