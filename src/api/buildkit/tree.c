/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories that clients have sent, kept for their next build: only what has changed since is sent again. One is used by one build at a time; another one
 * that comes meanwhile gets a directory of its own. Nothing here is needed: what an engine leaves behind, of this door and of the other, is removed beside the
 * first requests of the next one.
 */
#include "api/buildkit/door-internal.h"
#include "base/id.h"
#include "base/log.h"

#include <dirent.h>
#include <fcntl.h>

#define TREES_KEPT  8
#define KEPT_FOR_NS (3600 * 1000000000LL)

static void tree_free(Tree *t)
{
	int r = t->path ? remove_tree_at(AT_FDCWD, t->path) : 0;

	if (r < 0)
		log_warn("a build context was not removed: %s: %s", t->path, strerror(-r));
	free(t->key);
	free(t->path);
	free(t);
}

/* Off the list: the one not used for longest, if it is old or there are too many, or in any case. */
static Tree *take_old(BuildkitDoor *d, int64_t now, bool any)
{
	Tree **oldest = NULL, *t;
	size_t n = 0;

	for (Tree **at = &d->trees; *at; at = &(*at)->next)
		if (!(*at)->busy) {
			n++;
			if (!oldest || (*at)->used_ns < (*oldest)->used_ns)
				oldest = at;
		}
	if (!oldest || (!any && n <= TREES_KEPT && (*oldest)->used_ns + KEPT_FOR_NS > now))
		return NULL;
	t = *oldest;
	*oldest = t->next;
	return t;
}

static void remove_old(BuildkitDoor *d, bool any)
{
	Tree *t;

	do {
		pthread_mutex_lock(&d->lock);
		t = take_old(d, clock_mono_ns(), any);
		pthread_mutex_unlock(&d->lock);
		if (t)
			tree_free(t);
	} while (t);
}

void trees_forget(BuildkitDoor *d)
{
	remove_old(d, true);
}

static Tree *take_kept(BuildkitDoor *d, const char *key)
{
	Tree *t = NULL;

	pthread_mutex_lock(&d->lock);
	for (t = key ? d->trees : NULL; t && (t->busy || !streq0(t->key, key)); t = t->next)
		;
	if (t)
		t->busy = true;
	pthread_mutex_unlock(&d->lock);
	return t;
}

static int tree_new(BuildkitDoor *d, const char *key, Tree **ret, Err *e)
{
	char id[17];
	_cleanup_free_ char *tmp = strf("%s/tmp", d->data_root);
	Tree *t = calloc(1, sizeof(*t));

	id_random_hex(id, 16);
	if (t && tmp)
		t->path = strf("%s/build-context-%s", tmp, id);
	if (t && key)
		t->key = strdup(key);
	if (!t || !t->path || (key && !t->key)) {
		if (t) {
			free(t->path);
			free(t->key);
		}
		free(t);
		return err_oom(e);
	}
	if ((mkdir(tmp, 0700) < 0 && errno != EEXIST) || mkdir(t->path, 0700) < 0) {
		int r = err_sys(e, errno, "make %s", t->path);

		free(take_ptr(t->path));
		tree_free(t);
		return r;
	}
	t->busy = true;
	*ret = t;
	return 0;
}

int tree_begin(BuildkitDoor *d, const char *key, Tree **ret, bool *ret_fresh, Err *e)
{
	Tree *t = take_kept(d, key);
	int r;

	*ret_fresh = !t;
	if (t) {
		*ret = t;
		return 0;
	}
	r = tree_new(d, key, &t, e);
	if (r < 0)
		return r;
	pthread_mutex_lock(&d->lock);
	t->next = d->trees;
	d->trees = t;
	pthread_mutex_unlock(&d->lock);
	*ret = t;
	return 0;
}

/* Of those with one key, one stays. */
void tree_end(BuildkitDoor *d, Tree *t, bool good)
{
	bool keep = good && !t->failed && t->key;

	pthread_mutex_lock(&d->lock);
	for (const Tree *o = d->trees; keep && o; o = o->next)
		keep = o == t || o->busy || !streq0(o->key, t->key);
	t->busy = false;
	t->used_ns = clock_mono_ns();
	for (Tree **at = &d->trees; !keep && *at; at = &(*at)->next)
		if (*at == t) {
			*at = t->next;
			break;
		}
	pthread_mutex_unlock(&d->lock);
	if (!keep)
		tree_free(t);
	remove_old(d, false);
}

/* ---- what was left behind ---- */

static void *remove_left(void *arg)
{
	BuildkitDoor *d = arg;

	for (char *const *p = d->left; p && *p && !d->stopping; p++) {
		int r = remove_tree_at(AT_FDCWD, *p);

		if (r < 0)
			log_warn("what a build left behind was not removed: %s: %s", *p, strerror(-r));
	}
	return NULL;
}

/* The names are taken before the first request can make new ones. */
void trees_clean(BuildkitDoor *d)
{
	_cleanup_free_ char *tmp = strf("%s/tmp", d->data_root);
	_cleanup_(closedirp) DIR *dir = tmp ? opendir(tmp) : NULL;
	const struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (str_starts(entry->d_name, "build-") &&
		    strv_take(&d->left, strf("%s/%s", tmp, entry->d_name)) < 0)
			break; /* the next start removes it */
	d->cleaning = d->left && pthread_create(&d->cleaner, NULL, remove_left, d) == 0;
}

void trees_free(BuildkitDoor *d)
{
	Tree *t, *next;

	d->stopping = true;
	if (d->cleaning)
		pthread_join(d->cleaner, NULL);
	strv_free(d->left);

	/* Their files are for the next start to remove: there may be many, and an engine that ends is waited for. */
	for (t = d->trees; t; t = next) {
		next = t->next;
		free(t->key);
		free(t->path);
		free(t);
	}
	d->trees = NULL;
}
