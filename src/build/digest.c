/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a COPY takes, as one digest: names, kinds, modes, contents and attributes, and owners where they are kept; never times.
 *
 * The walk looks at metadata alone. Digests of files that were not changed since the last time come from the memo; the others are read by a few
 * threads at once. Entries are gathered in batches, so that memory is bounded however large the tree is.
 */
#include "build/build-internal.h"
#include "build/manifest.h"
#include "build/memo.h"
#include "build/source.h"
#include "build/walk.h"
#include "store/dir.h"
#include "store/digest.h"
#include "store/tar-read.h"

#include <openssl/evp.h>
#include <sched.h>
#include <sys/xattr.h>

#define BATCH_FILES  65536
#define THREADS_MAX  8
#define THREAD_BYTES (8 << 20) /* a thread more for each */
#define PIECE        (256u << 10)

typedef struct Item {
	size_t path_at, below_at; /* in Digest.texts */
	size_t link_at;           /* of a link: its target */
	MemoKey key;              /* of a file */
	mode_t mode;
	uid_t uid;
	gid_t gid;
	bool linked;   /* a file with other names */
	bool leave;    /* the end of a directory */
	bool known;    /* of a file: `digest` was remembered */
	bool remember; /* it was read, and will stay as it is */
	uint8_t digest[MEMO_DIGEST];
} Item;

typedef struct Digest {
	int root;
	const SourceDigest *how;
	Memo *memo; /* NULL: nothing is remembered */
	Hasher *hasher;
	Item *items;
	size_t n, cap, unknown;
	int64_t unknown_bytes;
	StrBuf texts;
	/* Of the threads that read. */
	pthread_mutex_t lock;
	size_t next;
	int r;
	Err err;
} Digest;

/* ---- one file ---- */

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

typedef struct Attributes {
	char **lines; /* "name\0" and the value, as hex: they are few */
} Attributes;

static int add_attribute(void *user, const char *name, const void *value, size_t len, Err *e)
{
	_cleanup_(strbuf_done) StrBuf line = {0};
	Attributes *a = user;

	if (!tar_xattr_is_wanted(name))
		return 0;
	strbuf_addf(&line, "%s=", name);
	for (size_t i = 0; i < len; i++)
		strbuf_addf(&line, "%02x", ((const uint8_t *)value)[i]);
	return strv_take(&a->lines, strbuf_steal(&line)) < 0 ? err_oom(e) : 0;
}

static int hash_attributes(int fd, EVP_MD_CTX *md, Err *e)
{
	Attributes a = {0};
	int r = dir_xattrs(fd, add_attribute, &a, e);
	size_t n = strv_len(a.lines);

	if (n > 1)
		qsort(a.lines, n, sizeof(char *), compare_names);
	for (size_t i = 0; r >= 0 && i < n; i++)
		EVP_DigestUpdate(md, a.lines[i], strlen(a.lines[i]) + 1);
	strv_free(a.lines);
	return r;
}

static int hash_contents(Digest *d, int fd, EVP_MD_CTX *md, char *buf, Err *e)
{
	const WalkLimits *l = d->how->limits;
	ssize_t n;

	for (size_t pieces = 0; (n = read(fd, buf, PIECE)) != 0; pieces++) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		EVP_DigestUpdate(md, buf, (size_t)n);
		if (pieces % 64 == 63 && l->is_over && l->is_over(l->user))
			return err_new(e, ERR_CANCELLED, "the build was cancelled by its client");
	}
	return 0;
}

/* Contents and attributes of a regular file; the key says of which moment. */
static int hash_file(Digest *d, Item *i, EVP_MD_CTX *md, char *buf, Err *e)
{
	const char *path = d->texts.s + i->path_at;
	_cleanup_close_ int fd =
	    path_open_in_root(d->root, *path ? path : "/", O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	int64_t now = clock_now_ns();
	struct stat st, after;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return walk_lost(fd < 0 ? fd : errno, "open", path, e);
	if (!S_ISREG(st.st_mode))
		return walk_lost(ESTALE, "read", path, e);
	EVP_DigestInit_ex(md, EVP_sha256(), NULL);
	r = hash_contents(d, fd, md, buf, e);
	if (r >= 0)
		r = hash_attributes(fd, md, e);
	if (r < 0)
		return r == -ECANCELED || (e && *e->msg) ? r : err_sys(e, r, "read /%.500s", path);
	EVP_DigestFinal_ex(md, i->digest, NULL);
	i->key = memo_key_of_file(&st);
	if (fstat(fd, &after) < 0)
		return err_sys(e, errno, "look at /%.500s", path);
	MemoKey then = memo_key_of_file(&after);
	/* Not remembered: what was changed just now, or while it was read. */
	i->remember = memo_is_settled(&st, now) && memo_keys_equal(&i->key, &then);
	return 0;
}

/* ---- the threads ---- */

static Item *next_unknown(Digest *d)
{
	Item *i = NULL;

	pthread_mutex_lock(&d->lock);
	while (!i && d->r >= 0 && d->next < d->n) {
		Item *it = &d->items[d->next++];

		if (!it->leave && S_ISREG(it->mode) && !it->known)
			i = it;
	}
	pthread_mutex_unlock(&d->lock);
	return i;
}

static void *hash_some(void *arg)
{
	Digest *d = arg;
	_cleanup_free_ char *buf = malloc(PIECE);
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	Err err = {0};
	int r = buf && md ? 0 : err_oom(&err);

	for (Item *i; r >= 0 && (i = next_unknown(d));)
		r = hash_file(d, i, md, buf, &err);
	EVP_MD_CTX_free(md);
	if (r >= 0)
		return NULL;
	pthread_mutex_lock(&d->lock);
	if (d->r >= 0) {
		d->r = r;
		d->err = err;
	}
	pthread_mutex_unlock(&d->lock);
	return NULL;
}

static size_t threads_wanted(const Digest *d)
{
	cpu_set_t set;
	size_t cpus = sched_getaffinity(0, sizeof(set), &set) == 0 ? (size_t)CPU_COUNT(&set) : 1;
	size_t useful = 1 + (size_t)(d->unknown_bytes / THREAD_BYTES) + d->unknown / 512;

	cpus = MIN2(cpus, (size_t)THREADS_MAX);
	return MIN2(cpus, useful);
}

static int hash_unknown(Digest *d, Err *e)
{
	pthread_t threads[THREADS_MAX];
	size_t n = 0, want = threads_wanted(d);

	d->next = 0;
	d->r = 0;
	/* This thread is one of them, and enough if there can be no other. */
	while (n + 1 < want && pthread_create(&threads[n], NULL, hash_some, d) == 0)
		n++;
	hash_some(d);
	while (n > 0)
		pthread_join(threads[--n], NULL);
	if (d->r < 0 && e)
		*e = d->err;
	return d->r;
}

/* ---- entries ---- */

static size_t keep_text(Digest *d, const char *s)
{
	size_t at = d->texts.len;

	strbuf_add_n(&d->texts, s, strlen(s) + 1);
	return at;
}

static Item *item_new(Digest *d)
{
	if (d->n == d->cap) {
		size_t cap = d->cap ? d->cap * 2 : 256;
		Item *grown = reallocarray(d->items, cap, sizeof(*grown));

		if (!grown)
			return NULL;
		d->items = grown;
		d->cap = cap;
	}
	d->items[d->n] = (Item){0};
	return &d->items[d->n++];
}

static int list(const Digest *d, const Item *i)
{
	ManifestEntry x = {.path = d->texts.s + i->below_at, .mode = i->mode, .linked = i->linked};
	char target[DIGEST_LEN + 1];

	if (S_ISREG(i->mode)) {
		x.size = i->key.size;
		x.mix = memo_key_mix(&i->key);
	}
	memcpy(x.digest, i->digest, sizeof(x.digest));
	if (S_ISLNK(i->mode)) {
		digest_of(d->texts.s + i->link_at, strlen(d->texts.s + i->link_at), target);
		if (!digest_to_bytes(target, x.digest))
			return -EIO;
	}
	return manifest_add(d->how->manifest, &x);
}

static void feed(Digest *d, const Item *i)
{
	char head[128];
	const char *below = d->texts.s + i->below_at;

	if (i->leave) {
		hasher_add(d->hasher, "", 1);
		return;
	}
	hasher_add(d->hasher, below, strlen(below) + 1);
	int n = snprintf(head, sizeof(head), "%o %lld %u %u", i->mode,
			 S_ISREG(i->mode) ? (long long)i->key.size : 0LL, d->how->owners ? i->uid : 0,
			 d->how->owners ? i->gid : 0);
	hasher_add(d->hasher, head, (size_t)n + 1);
	if (S_ISLNK(i->mode)) {
		const char *target = d->texts.s + i->link_at;

		hasher_add(d->hasher, target, strlen(target) + 1);
	} else {
		hasher_add(d->hasher, i->digest, sizeof(i->digest));
	}
	if (S_ISREG(i->mode) && d->how->state)
		*d->how->state += memo_key_mix(&i->key);
}

/* What was gathered goes into the digest, in the order of the walk. */
static int flush(Digest *d, Err *e)
{
	int r = d->texts.oom ? err_oom(e) : 0;

	if (r >= 0 && d->unknown > 0)
		r = hash_unknown(d, e);
	for (size_t i = 0; r >= 0 && i < d->n; i++) {
		const Item *it = &d->items[i];

		feed(d, it);
		if (d->how->manifest && !it->leave && list(d, it) < 0)
			r = err_oom(e);
		if (d->memo && it->remember && memo_put(d->memo, &it->key, it->digest) < 0)
			r = err_oom(e);
	}
	d->n = d->unknown = 0;
	d->unknown_bytes = 0;
	d->texts.len = 0;
	return r;
}

/* A directory's digest are its attributes, a device's its numbers. */
static int describe(Digest *d, Item *i, const WalkEntry *n, Err *e)
{
	EVP_MD_CTX *md;
	int r = 0;

	if (S_ISCHR(i->mode) || S_ISBLK(i->mode))
		memcpy(i->digest, &n->st.st_rdev, sizeof(n->st.st_rdev));
	if (!S_ISDIR(i->mode))
		return 0;
	md = EVP_MD_CTX_new();
	if (!md || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1)
		r = err_oom(e);
	if (r >= 0)
		r = hash_attributes(n->fd, md, e);
	if (r >= 0)
		EVP_DigestFinal_ex(md, i->digest, NULL);
	EVP_MD_CTX_free(md);
	return r;
}

static int enter(void *user, const WalkEntry *n, Err *e)
{
	Digest *d = user;
	char target[PATH_MAX + 1];
	Item *i;

	if (d->n >= BATCH_FILES) {
		int r = flush(d, e);

		if (r < 0)
			return r;
	}
	i = item_new(d);
	if (!i)
		return err_oom(e);
	/* How a context's own directory is, depends on the way it came, and is copied nowhere. */
	i->mode = *n->path ? n->st.st_mode : S_IFDIR;
	i->uid = n->st.st_uid;
	i->gid = n->st.st_gid;
	i->linked = S_ISREG(n->st.st_mode) && n->st.st_nlink > 1;
	i->path_at = keep_text(d, n->path);
	i->below_at = keep_text(d, n->below);
	if (S_ISREG(i->mode)) {
		i->key = memo_key_of_file(&n->st);
		i->known = d->memo && memo_get(d->memo, &i->key, i->digest);
		d->unknown += !i->known;
		d->unknown_bytes += i->known ? 0 : n->st.st_size;
	} else if (S_ISLNK(i->mode)) {
		ssize_t len = readlinkat(n->dir_fd, n->name, target, PATH_MAX);

		if (len < 0)
			return walk_lost(errno, "read the link", n->path, e);
		target[len] = '\0';
		i->link_at = keep_text(d, target);
	}
	return describe(d, i, n, e);
}

static int leave(void *user, const WalkEntry *n, Err *e)
{
	Item *i = item_new(user);

	if (!i)
		return err_oom(e);
	i->leave = true;
	return 0;
}

static int walk_sources(Digest *d, const Sources *s, Err *e)
{
	const WalkOps ops = {.enter = enter, .leave = leave, .user = d};
	int r = 0;

	for (size_t i = 0; r >= 0 && i < s->n; i++) {
		TreeFilter f = *d->how->filter;

		f.include = s->items[i].include;
		hasher_add(d->hasher, s->items[i].name, strlen(s->items[i].name) + 1);
		r = walk_tree(d->root, s->items[i].path, &f, d->how->limits, &ops, e);
		if (r >= 0)
			r = flush(d, e);
	}
	return r;
}

int sources_digest(int root, const Sources *s, const SourceDigest *how, char ret[DIGEST_LEN + 1], Err *e)
{
	Digest d = {.root = root, .how = how, .lock = PTHREAD_MUTEX_INITIALIZER, .hasher = hasher_new()};
	int r = d.hasher ? 0 : err_oom(e), saved = 0;

	if (r >= 0 && how->memo_root >= 0)
		r = memo_open(how->memo_root, &d.memo, e);
	if (r >= 0)
		r = walk_sources(&d, s, e);
	/* What cannot be written down is made again the next time. */
	if (r >= 0 && d.memo)
		saved = memo_save(d.memo, NULL);
	(void)saved;
	if (r >= 0 && hasher_digest(d.hasher, ret) < 0)
		r = err_sys(e, EIO, "hash files");
	memo_free(d.memo);
	hasher_free(d.hasher);
	free(d.items);
	strbuf_done(&d.texts);
	return r;
}
