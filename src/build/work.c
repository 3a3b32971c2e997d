/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing a layer without running anything, and WORKDIR, which is no more than that.
 *
 * It is written through a detached overlay mount of the stage so far, so links of the image are followed inside of it and nowhere else; what
 * was written is the upper directory, which becomes the layer.
 */
#include "build/copy.h"

#include <sys/mount.h>

int work_open(Build *b, const char *chain, Work *w, Err *e)
{
	int r;

	w->root = -1;
	memcpy(w->key, "build-", 7);
	id_random_hex(w->key + 6, 16);
	r = store_snapshot_prepare(b->store, w->key, chain, e);
	if (r >= 0)
		r = store_snapshot_mount_once(b->store, w->key, NULL, &w->root, e);
	return r;
}

int work_close(Build *b, Work *w, Err *e)
{
	close_fd(&w->root);
	return store_snapshot_remove(b->store, w->key, e);
}

int work_commit(Build *b, const Stage *s, Work *w, CacheHit *ret, Err *e)
{
	_cleanup_free_ char *upper = NULL;
	int r;

	close_fd(&w->root);
	r = store_snapshot_changes(b->store, w->key, &upper, e);
	return r < 0 ? r : step_commit(b, s, upper, ret, e);
}

/* ---- WORKDIR ---- */

/* The directory is the current user's, as is what he makes there; of one who is not in the image (yet) it is root's. */
static int make_directory(Build *b, Stage *s, const DockerfileStep *step, void *arg, CacheHit *hit, Err *e)
{
	_cleanup_close_ int made = -1;
	TreeCopy how = {0};
	Work w;
	int r = work_open(b, s->chain, &w, e), closed;

	if (r >= 0 && !str_empty(s->config.run.user)) {
		Err unknown = {0};

		how.set_owner = true;
		r = engine_user_lookup(w.root, s->config.run.user, &how.uid, &how.gid, &unknown);
		if (r < 0 && unknown.kind != ERR_INVALID && e)
			*e = unknown;
		if (r < 0 && unknown.kind == ERR_INVALID)
			r = 0;
		/* A number that is no account's is the group's too, as in --chown. */
		if (!strchr(s->config.run.user, ':') && how.gid == 0)
			how.gid = how.uid;
	}
	if (r >= 0) {
		made = path_open_in_root(w.root, arg, O_PATH | O_DIRECTORY, 0);
		if (made == -ENOTDIR)
			r = err_new(e, ERR_INVALID, "mkdir %.500s: not a directory", (const char *)arg);
		close_fd(&made);
	}
	if (r >= 0) {
		made = place_directory(w.root, arg, &how, e);
		r = MIN2(made, 0);
	}
	close_fd(&made);
	if (r >= 0)
		r = work_commit(b, s, &w, hit, e);
	closed = work_close(b, &w, r < 0 ? NULL : e);
	return r < 0 ? r : closed;
}

int step_workdir(Build *b, Stage *s, const DockerfileStep *step, Err *e)
{
	_cleanup_free_ char *word = NULL, *dir = NULL, *line = NULL, *instruction = NULL;
	_cleanup_strv_ char **env = NULL;
	char key[DIGEST_LEN + 1];
	int r = stage_environment(s, &env, e);

	if (r >= 0)
		r = dockerfile_lex_word(&(DockerfileLex){.escape = b->df.escape, .env = env}, step->text,
					&word, e);
	if (r < 0)
		return r;
	dir = path_join_clean(str_empty(s->config.run.working_dir) ? "/" : s->config.run.working_dir, word);
	line = strf("WORKDIR %s", dir);
	/* Whose it becomes is part of what the step does. */
	instruction = strf("%s for %s", line ?: "", s->config.run.user ?: "");
	if (!dir || !line || !instruction)
		return err_oom(e);
	free(s->config.run.working_dir);
	s->config.run.working_dir = strdup(dir);
	cache_key(key, s->key, instruction, NULL);
	return cache_step(b, s, &(CacheStep){step, key, line, NULL, make_directory, dir}, e);
}
