/* SPDX-License-Identifier: Apache-2.0 */
/*
 * COPY and ADD: a step's key is what it says and what it takes; what it takes is looked for again, and copied, only if there is no layer with
 * that key yet.
 *
 * A client's directory may change between the two. The files that were copied are compared with those that were hashed, and the step begins again if they
 * were others, so that a layer is never found under the key of other contents.
 */
#include "build/copy.h"
#include "build/delta.h"
#include "build/memo.h"

#define TRIES_MAX 5

typedef struct Copy {
	CopyStep step;
	Origin origin;
	TreeFilter filter;
	char content[DIGEST_LEN + 1]; /* of what is taken */
	uint64_t state;               /* of the files that were hashed */
	Manifest *manifest; /* of a step that takes one thing of the context; NULL: it takes others */
	const char *told;
	bool known;   /* from the memo: nothing was looked for */
	bool changed; /* meanwhile */
} Copy;

static bool has_local(const CopyStep *c)
{
	for (size_t i = 0; i < c->n; i++)
		if (c->items[i].kind == COPY_LOCAL)
			return true;
	return false;
}

/* ---- what is taken ---- */

static int find_sources(Build *b, Copy *c, Err *e)
{
	size_t found = 0;
	int r = origin_root(b, &c->origin, e);

	if (c->origin.value)
		c->filter.ignore = c->origin.ignore;
	for (size_t i = 0; r >= 0 && i < c->step.n; i++) {
		CopyItem *it = &c->step.items[i];

		if (it->kind != COPY_LOCAL) {
			found++;
			continue;
		}
		sources_done(&it->sources);
		r = c->step.parents
			? sources_match_parents(c->origin.root, it->word, &c->filter, &it->sources, e)
			: sources_match(c->origin.root, it->word, &c->filter, &it->sources, e);
		found += it->sources.n;
	}
	/* Patterns may match nothing beside others that do. */
	if (r >= 0 && found == 0 && !c->step.exclude.patterns)
		return err_new(e, ERR_NOT_FOUND,
			       "%s failed: no source files were specified: \"%s\": not found", c->step.verb,
			       c->step.items[0].word);
	if (r >= 0 && found > 1 && !c->step.into_dir)
		return err_new(
		    e, ERR_INVALID,
		    "When using %s with more than one source file, the destination must be a directory "
		    "and end with a /",
		    c->step.verb);
	return r;
}

/* What all of it would be called in a layer: the layers, and everything that says which part of them. */
static int name_of_taken(const Copy *c, uint8_t ret[MEMO_DIGEST], Err *e)
{
	_cleanup_strbuf_ StrBuf t = {0};
	char digest[DIGEST_LEN + 1];

	strbuf_addf(&t, "%s parents %d\n", c->origin.chain, c->step.parents);
	for (char **p = c->step.exclude.patterns; p && *p; p++)
		strbuf_addf(&t, "exclude %zu %s\n", strlen(*p), *p);
	for (size_t i = 0; i < c->step.n; i++)
		if (c->step.items[i].kind == COPY_LOCAL)
			strbuf_addf(&t, "%zu %s\n", strlen(c->step.items[i].word), c->step.items[i].word);
	if (t.oom)
		return err_oom(e);
	digest_of(t.s, t.len, digest);
	return digest_to_bytes(digest, ret) ? 0 : err_sys(e, EIO, "read a digest");
}

/* One source's digest after the other. */
static int hash_sources(Build *b, Copy *c, char ret[DIGEST_LEN + 1], Err *e)
{
	_cleanup_strbuf_ StrBuf all = {0};
	WalkLimits limits = build_limits(b);
	const SourceDigest how = {
	    .filter = &c->filter,
	    .limits = &limits,
	    .owners = c->origin.chain != NULL,
	    .memo_root = c->origin.chain ? -1 : store_root_fd(b->store),
	    .state = &c->state,
	    .manifest = c->manifest,
	};
	int r = find_sources(b, c, e);

	c->state = 0;
	if (c->manifest)
		manifest_clear(c->manifest);
	for (size_t i = 0; r >= 0 && i < c->step.n; i++) {
		char one[DIGEST_LEN + 1];

		if (c->step.items[i].kind != COPY_LOCAL)
			continue;
		r = sources_digest(c->origin.root, &c->step.items[i].sources, &how, one, e);
		if (r >= 0)
			strbuf_addf(&all, "%s\n", one);
	}
	if (r >= 0 && all.oom)
		r = err_oom(e);
	if (r >= 0)
		digest_of(all.s, all.len, ret);
	return r;
}

/* Layers never change: what was found in them once need not be looked for again. */
static int hash_layers(Build *b, Copy *c, char ret[DIGEST_LEN + 1], Err *e)
{
	_cleanup_(memo_freep) Memo *memo = NULL;
	uint8_t name[MEMO_DIGEST], content[MEMO_DIGEST];
	int r = name_of_taken(c, name, e), saved;
	MemoKey key = memo_key_of_digest(name);

	if (r >= 0)
		r = memo_open(store_root_fd(b->store), &memo, e);
	if (r < 0)
		return r;
	c->known = memo_get(memo, &key, content);
	if (c->known) {
		digest_of_bytes(content, ret);
		return 0;
	}
	r = hash_sources(b, c, ret, e);
	if (r < 0)
		return r;
	if (!digest_to_bytes(ret, content) || memo_put(memo, &key, content) < 0)
		return err_oom(e);
	saved = memo_save(memo, NULL);
	(void)saved; /* what could not be written down is hashed again */
	return 0;
}

static int identify(Build *b, const CopyStep *step, CopyItem *it, Err *e)
{
	Fetch *f = &it->fetch;
	int r = 0;

	if (!f->b)
		r = fetch_init(f, b, it->word, false, e);
	if (r < 0)
		return r;
	if (step->says_keep_git && f->git.says_keep_git_dir && step->keeps_git != f->git.keep_git_dir)
		return err_new(e, ERR_INVALID, "inconsistent keep-git-dir configuration");
	if (step->checksum && f->git.checksum && !streq(step->checksum, f->git.checksum))
		return err_new(e, ERR_INVALID, "checksum mismatch \"%s\" != \"%s\"", step->checksum,
			       f->git.checksum);
	f->keep_git_dir = f->keep_git_dir || step->keeps_git;
	if (step->checksum && !f->checksum && !(f->checksum = strdup(step->checksum)))
		return err_oom(e);
	return err_ctx(e, fetch_identify(f, e), "ADD");
}

static int describe_item(Build *b, const CopyStep *step, CopyItem *it, StrBuf *t, Err *e)
{
	char text[DIGEST_LEN + 1] = "";
	int r = 0;

	if (it->kind == COPY_TEXT)
		digest_of(it->text, strlen(it->text), text);
	if (it->kind == COPY_HTTP || it->kind == COPY_GIT)
		r = identify(b, step, it, e);
	strbuf_addf(t, "%d %zu %s %s%s\n", (int)it->kind, strlen(it->word), it->word, text,
		    it->fetch.content);
	return r;
}

/* "user[:group]", looked up in the stage. A number alone is the group's too. */
static int owner(Build *b, const Stage *s, const Copy *c, const Work *w, TreeCopy *how, Err *e)
{
	_cleanup_close_ int below = -1;
	const char *chown = c->step.chown;
	int root = w->root, r = 0;

	how->set_owner = !c->origin.chain;
	if (str_empty(chown))
		return 0;
	if (c->step.link && s->chain) {
		r = store_layers_mount(b->store, s->chain, &below, e);
		root = below;
	}
	if (r < 0)
		return r;
	r = engine_user_lookup(root, chown, &how->uid, &how->gid, e);
	how->set_owner = true;
	if (strspn(chown, "0123456789") == strlen(chown))
		how->gid = how->uid;
	return r;
}

/* A layer of --link fits on others than those it was made on. All that it has from these is who a name is, and what the directories look like that it shares with
 * them: they stay as they are. root: of the layer, or -1. */
static int take_from_below(Build *b, const Stage *s, const Copy *c, int root, StrBuf *told, Err *e)
{
	_cleanup_close_ int below = -1;
	TreeCopy how = {0};
	int64_t epoch = 0;
	int r = build_epoch(b, &epoch, e);

	if (r >= 0 && s->chain)
		r = store_layers_mount(b->store, s->chain, &below, e);
	if (r >= 0)
		r = owner(b, s, c, &(Work){.root = below}, &how, e);
	if (r >= 0 && s->chain)
		r = place_as_below(below, root, c->step.dest, told, e);
	strbuf_addf(told, "owner %u:%u epoch %lld\n", how.uid, how.gid, (long long)epoch);
	return r;
}

/* The key of the step. */
static int key_of(Build *b, const Stage *s, Copy *c, char key[DIGEST_LEN + 1], Err *e)
{
	_cleanup_strbuf_ StrBuf t = {0};
	int r = 0;

	if (has_local(&c->step))
		r = c->origin.chain ? hash_layers(b, c, c->content, e) : hash_sources(b, c, c->content, e);
	if (r < 0)
		return r;
	strbuf_addf(&t, "%s link %d parents %d unpack %d %d chown %s chmod %s to %s %d\n%s\n", c->step.verb,
		    c->step.link, c->step.parents, c->step.unpacks, c->step.unpacks_remote,
		    c->step.chown ?: "", c->step.chmod ?: "", c->step.dest, c->step.into_dir, c->content);
	for (size_t i = 0; r >= 0 && i < c->step.n; i++)
		r = describe_item(b, &c->step, &c->step.items[i], &t, e);
	if (r >= 0 && c->step.link)
		r = take_from_below(b, s, c, -1, &t, e);
	if (r >= 0 && t.oom)
		r = err_oom(e);
	if (r < 0)
		return r;
	cache_key(key, c->step.link ? "" : s->key, t.s, NULL);
	return 0;
}

/* ---- writing ---- */

static int write_text(const CopyItem *it, const Place *p, const TreeCopy *how, Err *e)
{
	_cleanup_close_ int fd = tree_create_file(p->dir, p->name, e);
	mode_t mode = how->chmod ? mode_change_apply(how->chmod, S_IFREG | 0644) : 0644;
	int r;

	if (fd < 0)
		return fd;
	r = fd_write_all(fd, it->text, strlen(it->text));
	if (r < 0)
		return err_sys(e, r, "write %s", it->word);
	if (fchown(fd, how->uid, how->gid) < 0 || fchmod(fd, mode) < 0)
		return err_sys(e, errno, "set the owner and the mode of %s", it->word);
	return 0;
}

static int place_text(const Copy *c, const CopyItem *it, const Work *w, const TreeCopy *how, Err *e)
{
	Place p;
	int r = place_open(w->root, c->step.dest, c->step.into_dir, it->word, how, &p, e);

	if (r >= 0)
		r = write_text(it, &p, how, e);
	place_done(&p);
	return r;
}

/* What is in a directory: where that comes to has its time, as BuildKit leaves it. */
static int place_contents(const Copy *c, int root, const Source *src, const Work *w, TreeCopy *how, Err *e)
{
	_cleanup_close_ int to = place_directory(w->root, c->step.dest, how, e), from = -1;
	int r = to < 0 ? to : tree_copy(how, root, src, to, "", e);
	struct stat st;

	/* The root of a context is nobody's directory. */
	if (r < 0 || !*src->path)
		return r;
	from = path_open_in_root(root, src->path, O_PATH | O_DIRECTORY, 0);
	if (from < 0 || fstat(from, &st) < 0)
		return err_sys(e, from < 0 ? from : errno, "look at %.500s", src->path);
	const struct timespec times[2] = {st.st_mtim, st.st_mtim};
	return utimensat(to, ".", times, 0) < 0 ? err_sys(e, errno, "set the time of %.500s", c->step.dest)
						: 0;
}

/* Of the directory `from`. */
static int place_source(Build *b, const Copy *c, int from, const Source *src, bool unpacks, const Work *w,
			TreeCopy *how, Err *e)
{
	Place p = {.dir = -1};
	int r = 0;

	if (!src->is_dir && unpacks) {
		r = unpack_into(b, from, src->path, w->root, c->step.dest, how, str_empty(c->step.chown), e);
		if (r != 0)
			return MIN2(r, 0);
	}
	if (src->is_dir)
		return place_contents(c, from, src, w, how, e);
	r = place_open(w->root, c->step.dest, c->step.into_dir, src->name, how, &p, e);
	if (r >= 0)
		r = tree_copy(how, from, src, p.dir, p.name, e);
	place_done(&p);
	return r;
}

/* What git has put there for itself is not part of the tree. */
static int excludes_of(const Copy *c, const CopyItem *it, Ignore *ret, Err *e)
{
	int r = 0;

	for (char **p = c->step.exclude.patterns; r >= 0 && p && *p; p++)
		r = ignore_add(ret, *p);
	if (r >= 0 && it->kind == COPY_GIT && !it->fetch.keep_git_dir)
		r = ignore_add(ret, "**/.git");
	return r < 0 ? err_oom(e) : 0;
}

static int place_remote(Build *b, const Copy *c, CopyItem *it, const Work *w, const TreeCopy *like, Err *e)
{
	Ignore exclude = {0};
	const TreeFilter filter = {.exclude = &exclude};
	TreeCopy how = *like;
	int r = fetch_get(&it->fetch, e);
	const Source src = {.path = it->fetch.file ?: (char *)(uintptr_t) "",
			    .name = it->fetch.file ?: (char *)(uintptr_t) "",
			    .is_dir = it->kind == COPY_GIT};

	if (r < 0)
		return err_ctx(e, r, "ADD");
	how.filter = &filter;
	how.contents = (FileCopy){0};
	r = excludes_of(c, it, &exclude, e);
	if (r >= 0)
		r = place_source(b, c, it->fetch.dir, &src, c->step.unpacks_remote, w, &how, e);
	file_copy_done(&how.contents);
	ignore_done(&exclude);
	return r;
}

static int place_item(Build *b, Copy *c, CopyItem *it, const Work *w, TreeCopy *how, Err *e)
{
	int r = 0;

	if (it->kind == COPY_TEXT)
		return place_text(c, it, w, how, e);
	if (it->kind != COPY_LOCAL)
		return place_remote(b, c, it, w, how, e);
	for (size_t i = 0; r >= 0 && i < it->sources.n; i++)
		r = place_source(b, c, c->origin.root, &it->sources.items[i], c->step.unpacks, w, how, e);
	return r;
}

static int write_all(Build *b, Stage *s, Copy *c, Work *w, Err *e)
{
	WalkLimits limits = build_limits(b);
	TreeCopy how = {.chmod = c->step.changes_mode ? &c->step.mode : NULL,
			.devices = c->origin.chain != NULL,
			.filter = &c->filter,
			.limits = &limits};
	int r = owner(b, s, c, w, &how, e);

	for (size_t i = 0; r >= 0 && i < c->step.n; i++)
		r = place_item(b, c, &c->step.items[i], w, &how, e);
	file_copy_done(&how.contents);
	c->changed = r >= 0 && !c->origin.chain && how.state != c->state;
	return r;
}

/* The one directory that such a step takes, or NULL. */
static const Source *directory_of(const Copy *c)
{
	const Sources *found = c->manifest ? &c->step.items[0].sources : NULL;

	return found && found->n == 1 && found->items[0].is_dir && !found->items[0].include ? &found->items[0]
											    : NULL;
}

/* 1: what is different from the last time was enough. */
static int make_delta(Build *b, Stage *s, Copy *c, CacheHit *hit, Err *e)
{
	const Source *source = directory_of(c);
	WalkLimits limits = build_limits(b);
	TreeCopy how = {.chmod = c->step.changes_mode ? &c->step.mode : NULL,
			.filter = &c->filter,
			.limits = &limits};
	const Delta d = {.told = c->told,
			 .source = source,
			 .root = c->origin.root,
			 .dest = c->step.dest,
			 .now = c->manifest,
			 .how = &how};
	_cleanup_close_ int root = -1;
	uint64_t expected = 0;
	int r;

	if (!source || !manifest_count(c->manifest))
		return 0;
	/* Names of owners are looked up in the stage. */
	r = s->chain && !str_empty(c->step.chown) ? store_layers_mount(b->store, s->chain, &root, e) : 0;
	if (r >= 0)
		r = owner(b, s, c, &(Work){.root = root}, &how, e);
	if (r >= 0)
		r = delta_make(b, s, &d, hit, &expected, e);
	file_copy_done(&how.contents);
	c->changed = r > 0 && how.state != expected;
	return r;
}

static int make_whole(Build *b, Stage *s, Copy *c, CacheHit *hit, Err *e)
{
	_cleanup_strbuf_ StrBuf told = {0};
	Work w = {.root = -1};
	int r = work_open(b, c->step.link ? NULL : s->chain, &w, e), closed;

	if (r >= 0)
		r = write_all(b, s, c, &w, e);
	if (r >= 0 && c->step.link)
		r = take_from_below(b, s, c, w.root, &told, e);
	if (r >= 0 && !c->changed)
		r = work_commit(b, s, &w, hit, e);
	/* For the next time; without it that one is a whole copy as well. */
	if (r >= 0 && !c->changed && directory_of(c))
		(void)manifest_save(store_root_fd(b->store), c->content, c->manifest, NULL);
	closed = work_close(b, &w, r < 0 ? NULL : e);
	return r < 0 ? r : closed;
}

static int make(Build *b, Stage *s, const DockerfileStep *step, void *arg, CacheHit *hit, Err *e)
{
	Copy *c = arg;
	int r = c->known ? find_sources(b, c, e) : 0;

	if (r >= 0)
		r = make_delta(b, s, c, hit, e);
	if (r == 0)
		r = make_whole(b, s, c, hit, e);
	if (r >= 0 && c->changed) {
		cache_hit_done(hit);
		r = err_new(e, ERR_CONFLICT, "the files in the build context are being changed: build again");
	}
	return MIN2(r, 0);
}

/* c->told is what history says of it. */
static int run(Build *b, Stage *s, const DockerfileStep *step, Copy *c, Err *e)
{
	char key[DIGEST_LEN + 1];
	int r = 0;

	/* Of others it is not worth it, or not known what they give. */
	if (!c->origin.chain && c->step.n == 1 && has_local(&c->step) && !c->step.link && !c->step.parents &&
	    !(c->manifest = manifest_new()))
		r = err_oom(e);
	for (int i = 0; r >= 0 && i < TRIES_MAX; i++) {
		c->changed = false;
		r = key_of(b, s, c, key, e);
		if (r >= 0)
			r = cache_step(b, s,
				       &(CacheStep){step, key, c->told, *c->content ? c->content : NULL, make,
						    c, c->step.link},
				       e);
		if (r >= 0 || (!c->changed && r != -ESTALE) || i == TRIES_MAX - 1)
			return r;
		r = 0;
	}
	return r;
}

static void copy_done(Copy *c)
{
	origin_done(&c->origin);
	manifest_free(c->manifest);
	copy_step_done(&c->step);
}

int step_copy(Build *b, Stage *s, const DockerfileStep *step, Err *e)
{
	Copy c = {.origin = {.root = -1}};
	_cleanup_free_ char *told = NULL;
	int r = copy_step_parse(b, s, step, &c.step, e);

	if (r >= 0 && has_local(&c.step))
		r = origin_find(b, c.step.from, &c.origin, e);
	if (r >= 0 && !(told = copy_step_told(&c.step)))
		r = err_oom(e);
	c.told = told;
	if (r >= 0) {
		c.filter =
		    (TreeFilter){.ignore = c.step.from ? NULL : &b->ignore, .exclude = &c.step.exclude};
		r = run(b, s, step, &c, e);
	}
	copy_done(&c);
	return r;
}

int copy_whole(Build *b, Stage *s, const DockerfileStep *step, const char *from, const char *told, Err *e)
{
	Copy c = {.step = {.verb = "FROM", .into_dir = true}, .origin = {.root = -1}, .told = told};
	CopyStep *all = &c.step;
	int r = 0;

	all->from = strdup(from);
	all->dest = strdup("/");
	all->items = calloc(1, sizeof(*all->items));
	if (!all->from || !all->dest || !all->items || !(all->items[0].word = strdup("/")))
		r = err_oom(e);
	all->n = r >= 0;
	if (r >= 0)
		r = origin_find(b, from, &c.origin, e);
	if (r >= 0)
		r = run(b, s, step, &c, e);
	copy_done(&c);
	return r;
}
