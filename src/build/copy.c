/* SPDX-License-Identifier: Apache-2.0 */
/*
 * COPY, ADD and WORKDIR: steps that change files without running anything.
 *
 * The layer is written through a detached overlay mount of the stage so far, so links of the image are
 * followed inside of it and nowhere else; what was written is the upper directory, which becomes the layer.
 */
#include "build/build-internal.h"

#include <sys/mount.h>

/* A writable view of a stage. */
typedef struct Work {
	char key[32];
	int root; /* of the mount */
} Work;

static int work_open(Build *b, const Stage *s, Work *w, Err *e)
{
	int r;

	w->root = -1;
	memcpy(w->key, "build-", 7);
	id_random_hex(w->key + 6, 16);
	r = store_snapshot_prepare(b->store, w->key, s->chain, e);
	if (r >= 0)
		r = store_snapshot_mount(b->store, w->key, false, &w->root, e);
	return r;
}

static int work_close(Build *b, Work *w, Err *e)
{
	close_fd(&w->root);
	return store_snapshot_remove(b->store, w->key, e);
}

static int work_commit(Build *b, Stage *s, Work *w, CacheHit *ret, Err *e)
{
	_cleanup_free_ char *upper = NULL;
	int r;

	close_fd(&w->root);
	r = store_snapshot_changes(b->store, w->key, &upper, e);
	return r < 0 ? r : step_commit(b, s, upper, ret, e);
}

/* ---- where things come from ---- */

static int origin_open(Build *b, const DockerfileStep *step, int *ret_root, bool *ret_owned, Err *e)
{
	const char *from = dockerfile_flag(step, "from");
	StoreImage image = {0};
	Stage *s;
	int r;

	*ret_owned = false;
	if (!from)
		return build_context(b, ret_root, e);
	*ret_owned = true;
	s = build_stage(b, from);
	if (s) {
		r = build_await(b, s, e);
		if (r < 0)
			return r;
		if (!s->chain)
			return err_new(e, ERR_INVALID, "COPY --from=%s: that stage is empty", from);
		return store_layers_mount(b->store, s->chain, ret_root, e);
	}
	r = build_image_get(b, from, b->rq->platform, &image, e);
	if (r >= 0 && !image.chain_id)
		r = err_new(e, ERR_INVALID, "COPY --from=%s: that image is empty", from);
	if (r >= 0)
		r = store_layers_mount(b->store, image.chain_id, ret_root, e);
	store_image_done(&image);
	return r;
}

/* ---- ADD's archives ---- */

/* By magic numbers, as Docker decides: gzip, bzip2, xz, zstd, or ustar at offset 257. */
static bool is_archive(int root, const char *path)
{
	_cleanup_close_ int fd = path_open_in_root(root, path, O_RDONLY | O_NONBLOCK, 0);
	unsigned char head[264] = {0};
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || fd_read_full(fd, head, sizeof(head)) < 10)
		return false;
	return memcmp(head, "\x1f\x8b", 2) == 0 || memcmp(head, "BZh", 3) == 0 ||
	       memcmp(head, "\xfd\x37zXZ", 6) == 0 || memcmp(head, "\x28\xb5\x2f\xfd", 4) == 0 ||
	       memcmp(head + 257, "ustar", 5) == 0;
}

static int extract(Build *b, int root, const char *path, int to_dir, const TreeCopy *how, Err *e)
{
	_cleanup_close_ int fd = path_open_in_root(root, path, O_RDONLY, 0);
	ArchiveExtract x = {
	    .fd = fd, .dir_fd = to_dir, .keep_owner = !how->set_owner, .uid = how->uid, .gid = how->gid};

	if (fd < 0)
		return err_sys(e, fd, "open %s", path);
	return err_ctx(e, store_archive_extract(b->store, &x, e), "unpack %s", path);
}

/* ---- the copy ---- */

static int copy_how(Work *w, const DockerfileStep *step, TreeCopy *ret, Err *e)
{
	const char *chown = dockerfile_flag(step, "chown"), *chmod = dockerfile_flag(step, "chmod");
	char *end;
	int r;

	*ret = (TreeCopy){.set_owner = !dockerfile_flag(step, "from")};
	if (chown) {
		ret->set_owner = true;
		r = engine_user_lookup(w->root, chown, &ret->uid, &ret->gid, e);
		/* "--chown=1000" means group 1000 as well when no account says otherwise. */
		if (r < 0)
			return r;
		if (!strchr(chown, ':') && ret->gid == 0 && ret->uid != 0)
			ret->gid = ret->uid;
	}
	if (chmod) {
		unsigned long mode = strtoul(chmod, &end, 8);

		if (*end || mode > 07777)
			return err_new(e, ERR_INVALID, "--chmod=%s: expected an octal mode such as 0755",
				       chmod);
		ret->set_mode = true;
		ret->mode = (mode_t)mode;
	}
	return 0;
}

/* The destination as an absolute clean path; *ret_dir: it was written with a slash at the end. */
static int destination(const Stage *s, const char *text, char **ret, bool *ret_dir, Err *e)
{
	const char *wd = str_empty(s->config.run.working_dir) ? "/" : s->config.run.working_dir;
	size_t n = strlen(text);

	*ret_dir = n > 0 && (text[n - 1] == '/' || streq(text, ".") || str_ends(text, "/."));
	*ret = path_join_clean(wd, text);
	return *ret ? 0 : err_oom(e);
}

static int copy_one(Build *b, Work *w, int from, const Source *src, const char *dest, bool into_dir, bool add,
		    const TreeCopy *how, Err *e)
{
	_cleanup_close_ int dir = -1, target = -1;
	struct stat st;

	if (src->is_dir || (add && is_archive(from, src->path))) {
		dir = path_mkdir_in_root(w->root, dest, 0755);
		if (dir < 0)
			return err_sys(e, dir, "make directory %s", dest);
		return src->is_dir ? tree_copy_contents(from, src->path, dir, how, e)
				   : extract(b, from, src->path, dir, how, e);
	}
	target = path_open_in_root(w->root, dest, O_PATH | O_DIRECTORY, 0);
	if (into_dir || (target >= 0 && fstat(target, &st) == 0)) {
		dir = path_mkdir_in_root(w->root, dest, 0755);
		if (dir < 0)
			return err_sys(e, dir, "make directory %s", dest);
		return tree_copy(from, src->path, dir, path_base(src->path), how, e);
	}
	const char *name;
	dir = path_open_parent_in_root(w->root, dest, true, &name);
	if (dir < 0)
		return err_sys(e, dir, "make the directory of %s", dest);
	return tree_copy(from, src->path, dir, name, how, e);
}

typedef struct Copy {
	int from;
	Sources sources;
	const char *to;
} Copy;

static int copy_all(Build *b, Stage *s, const DockerfileStep *step, void *arg, CacheHit *hit, Err *e)
{
	const Copy *c = arg;
	_cleanup_free_ char *dest = NULL;
	bool into_dir;
	TreeCopy how;
	Work w;
	int r = destination(s, c->to, &dest, &into_dir, e), closed;

	if (r < 0)
		return r;
	if (c->sources.n > 1 && !into_dir)
		return err_new(e, ERR_INVALID,
			       "When using %s with more than one source file, the destination must be a "
			       "directory and end with a /",
			       dockerfile_verb_name(step->verb));
	r = work_open(b, s, &w, e);
	if (r >= 0)
		r = copy_how(&w, step, &how, e);
	for (size_t i = 0; r >= 0 && i < c->sources.n; i++)
		r = copy_one(b, &w, c->from, &c->sources.items[i], dest, into_dir || c->sources.n > 1,
			     step->verb == DF_ADD, &how, e);
	if (r >= 0)
		r = work_commit(b, s, &w, hit, e);
	closed = work_close(b, &w, r < 0 ? NULL : e);
	return r < 0 ? r : closed;
}

/* The words of a COPY: JSON or blank-separated; at least two. */
static int copy_words(Build *b, Stage *s, const DockerfileStep *step, char ***ret, Err *e)
{
	_cleanup_strv_ char **env = NULL;
	_cleanup_free_ char *text = NULL;
	int r = stage_environment(s, &env, e);

	if (r >= 0)
		r = dockerfile_expand(step->text, b->df.escape, env, true, &text, e);
	if (r < 0)
		return r;
	if (!dockerfile_exec_form(text, ret)) {
		r = dockerfile_words(text, b->df.escape, ret, e);
		if (r < 0)
			return r;
	}
	if (strv_len(*ret) < 2)
		return err_new(
		    e, ERR_INVALID,
		    "%s requires at least two arguments, but only one was provided. Destination could "
		    "not be determined.",
		    dockerfile_verb_name(step->verb));
	return 0;
}

static int gather(int from, char **words, size_t n, Sources *all, Err *e)
{
	for (size_t i = 0; i < n; i++) {
		Sources some = {0};
		Source *grown;
		int r;

		if (strstr(words[i], "://") || str_starts(words[i], "git@"))
			return err_new(
			    e, ERR_UNSUPPORTED,
			    "ADD %s: fetching from the network is not offered: use RUN with curl or git",
			    words[i]);
		r = sources_match(from, words[i], &some, e);
		if (r < 0)
			return r;
		grown = realloc(all->items, (all->n + some.n) * sizeof(*grown));
		if (!grown) {
			sources_done(&some);
			return err_oom(e);
		}
		all->items = grown;
		memcpy(all->items + all->n, some.items, some.n * sizeof(*grown));
		all->n += some.n;
		free(some.items);
	}
	return 0;
}

int step_copy(Build *b, Stage *s, const DockerfileStep *step, Err *e)
{
	char content[DIGEST_LEN + 1], key[DIGEST_LEN + 1];
	_cleanup_strv_ char **words = NULL;
	_cleanup_free_ char *flags = NULL, *line = NULL, *joined = NULL, *told = NULL;
	Copy c = {.from = -1};
	bool owned = false;
	int r;

	if (step->n_heredocs)
		return err_new(e, ERR_UNSUPPORTED,
			       "%s with a here-document is not offered: put the file into the context",
			       dockerfile_verb_name(step->verb));
	r = copy_words(b, s, step, &words, e);
	if (r >= 0)
		r = origin_open(b, step, &c.from, &owned, e);
	size_t n = strv_len(words);
	if (r >= 0)
		r = gather(c.from, words, n - 1, &c.sources, e);
	if (r >= 0)
		r = sources_digest(c.from, &c.sources, owned, content, e);
	if (r >= 0) {
		c.to = words[n - 1];
		flags = step->flags ? strv_join(step->flags, " ") : strdup("");
		joined = strv_join(words, " ");
		line = strf("%s %s %s in %s", dockerfile_verb_name(step->verb), flags ?: "", joined ?: "",
			    s->config.run.working_dir ?: "/");
		told = history_text(b, s, step, NULL);
		cache_key(key, s->key, line ?: "", content);
		r = told ? cache_step(b, s, &(CacheStep){step, key, told, content, copy_all, &c}, e)
			 : err_oom(e);
	}
	sources_done(&c.sources);
	if (owned)
		close_fd(&c.from);
	return r;
}

static int make_directory(Build *b, Stage *s, const DockerfileStep *step, void *arg, CacheHit *hit, Err *e)
{
	_cleanup_close_ int made = -1;
	const char *dir = arg;
	Work w;
	int r = work_open(b, s, &w, e), closed;

	if (r >= 0) {
		made = path_mkdir_in_root(w.root, dir, 0755);
		if (made < 0)
			r = err_sys(e, made, "make directory %s", dir);
	}
	close_fd(&made);
	if (r >= 0)
		r = work_commit(b, s, &w, hit, e);
	closed = work_close(b, &w, r < 0 ? NULL : e);
	return r < 0 ? r : closed;
}

int step_workdir(Build *b, Stage *s, const DockerfileStep *step, Err *e)
{
	_cleanup_free_ char *text = NULL, *word = NULL, *dir = NULL, *line = NULL;
	_cleanup_strv_ char **env = NULL;
	char key[DIGEST_LEN + 1];
	int r = stage_environment(s, &env, e);

	if (r >= 0)
		r = dockerfile_expand(step->text, b->df.escape, env, true, &text, e);
	if (r >= 0)
		r = dockerfile_word(text, b->df.escape, &word, e);
	if (r < 0)
		return r;
	if (!*word)
		return err_new(e, ERR_INVALID, "WORKDIR requires exactly one argument");
	dir = path_join_clean(str_empty(s->config.run.working_dir) ? "/" : s->config.run.working_dir, word);
	line = strf("WORKDIR %s", dir);
	if (!dir || !line)
		return err_oom(e);
	free(s->config.run.working_dir);
	s->config.run.working_dir = strdup(dir);
	cache_key(key, s->key, line, NULL);
	return cache_step(b, s, &(CacheStep){step, key, line, NULL, make_directory, dir}, e);
}
