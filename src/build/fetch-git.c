/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commits of git repositories. A commit is known by its name, so what was built from it is found again after a look at the server's refs, or, if the commit is
 * named whole, without any.
 */
#include "build/agent.h"
#include "build/fetch.h"

#define NOBODY 65534

static bool is_whole_commit(const char *s)
{
	size_t n = s ? strlen(s) : 0;

	return (n == 40 || n == 64) && strspn(s, "0123456789abcdef") == n;
}

/* The remote without what logs in, for keys: who asked does not change what it is. */
static char *public_remote(const char *remote)
{
	const char *host = strstr(remote, "://"), *at;

	if (!host)
		return strdup(remote);
	at = memchr(host + 3, '@', strcspn(host + 3, "/"));
	return at ? strf("%.*s%s", (int)(host + 3 - remote), remote, at + 1) : strdup(remote);
}

/* ---- which commit ---- */

/* Lines are "<commit>\t<name>"; a tag that is an object of its own has a second line, "^{}", with its commit. */
static char *find_line(const char *text, const char *name, bool peeled)
{
	_cleanup_free_ char *want = strf("\t%s%s", name, peeled ? "^{}" : "");
	size_t n = want ? strlen(want) : 0;

	for (const char *p = text, *end; want && *p; p = end + (*end == '\n')) {
		const char *tab;

		end = strchrnul(p, '\n');
		tab = memchr(p, '\t', (size_t)(end - p));
		if (tab && (size_t)(end - tab) == n && memcmp(tab, want, n) == 0)
			return strndup(p, (size_t)(tab - p));
	}
	return NULL;
}

static char *find_ref(const char *text, const char *ref)
{
	static const char *const places[] = {"", "refs/tags/", "refs/heads/", "refs/"};

	if (!ref)
		return find_line(text, "HEAD", false);
	for (size_t i = 0; i < ELEMENTSOF(places); i++) {
		_cleanup_free_ char *name = strf("%s%s", places[i], ref);
		char *found = name ? find_line(text, name, true) : NULL;

		if (!found && name)
			found = find_line(text, name, false);
		if (found)
			return found;
	}
	return NULL;
}

static int room_for_git(Fetch *f, char **ret_path, int *ret_dir, Err *e)
{
	int r = fetch_room(f->b, ret_path, ret_dir, e);

	if (r >= 0 && fchown(*ret_dir, NOBODY, NOBODY) < 0)
		r = err_sys(e, errno, "give a directory to git");
	return r;
}

static int ls_remote(Fetch *f, Err *e)
{
	const char *const args[] = {"ls-remote", "--", f->git.remote, NULL};
	_cleanup_free_ char *path = NULL, *refs = NULL;
	int dir = -1, r = room_for_git(f, &path, &dir, e);
	const GitRun g = {.b = f->b, .dir = path, .ssh = f->git.ssh};

	if (r >= 0)
		r = git_run(&g, args, &refs, e);
	fetch_room_done(f->b, &path, &dir);
	if (r < 0)
		return r;
	f->commit = find_ref(refs, f->git.ref);
	if (f->commit && !is_whole_commit(f->commit)) {
		free(take_ptr(f->commit));
		return err_new(e, ERR_INVALID, "the server answers with what is no list of refs");
	}
	return 0;
}

int fetch_git_identify(Fetch *f, Err *e)
{
	_cleanup_free_ char *remote = public_remote(f->git.remote), *text = NULL;
	const char *checksum = f->checksum ?: f->git.checksum;
	int r = 0;

	if (checksum && !git_is_commit(checksum))
		return err_new(e, ERR_INVALID,
			       "invalid checksum %.100s: expected the hexadecimal digits of a commit",
			       checksum);
	if (is_whole_commit(f->git.ref))
		f->commit = strdup(f->git.ref);
	else
		r = ls_remote(f, e);
	if (r < 0)
		return err_ctx(e, r, "%.300s", remote ?: "");
	/* A short commit is found only by fetching. */
	if (!f->commit && f->git.ref && git_is_commit(f->git.ref))
		r = fetch_git_get(f, e);
	if (r < 0)
		return r;
	if (!f->commit)
		return err_new(e, ERR_NOT_FOUND, "%.300s: repository does not contain ref %.200s",
			       remote ?: "", f->git.ref ?: "HEAD");
	if (checksum && !str_starts(f->commit, checksum))
		return err_new(e, ERR_INVALID, "expected checksum to match %s, got %s", checksum, f->commit);
	text = strf("git %s %s subdir %s dir %d submodules %d", remote ?: "", f->commit, f->git.subdir ?: "",
		    f->keep_git_dir, !f->git.no_submodules);
	if (!remote || !text)
		return err_oom(e);
	digest_of(text, strlen(text), f->content);
	return 0;
}

/* ---- getting it ---- */

static int git(const GitRun *g, Err *e, const char *const *args)
{
	const char *all[24] = {"-C", "/tmp/repo"};
	size_t n = 2;

	while (*args && n + 1 < ELEMENTSOF(all))
		all[n++] = *args++;
	return git_run(g, all, NULL, e);
}

/* The commit alone if the server lets itself be asked for it; else everything. */
static int fetch_commit(Fetch *f, const GitRun *g, Err *e)
{
	const char *want = f->commit ?: f->git.ref;
	int r = -1;

	if (f->commit)
		r = git(g, NULL,
			(const char *const[]){"fetch", "--quiet", "--depth=1", "--no-tags", "--",
					      f->git.remote, want, NULL});
	if (r >= 0 || r == -ECANCELED)
		return r;
	return git(g, e,
		   (const char *const[]){"fetch", "--quiet", "--tags", "--force", "--", f->git.remote,
					 "+refs/heads/*:refs/remotes/origin/*", NULL});
}

static int learn_commit(Fetch *f, const GitRun *g, Err *e)
{
	_cleanup_free_ char *spec = strf("%s^{commit}", f->git.ref), *out = NULL;
	const char *const args[] = {"-C",      "/tmp/repo",        "rev-parse", "--verify",
				    "--quiet", "--end-of-options", spec,        NULL};
	int r = spec ? git_run(g, args, &out, NULL) : err_oom(e);

	if (r < 0)
		return err_new(e, ERR_NOT_FOUND, "repository does not contain ref %s", f->git.ref);
	out[strcspn(out, "\n")] = '\0';
	if (!is_whole_commit(out))
		return err_new(e, ERR_INVALID, "git names a commit %.100s", out);
	f->commit = take_ptr(out);
	return 0;
}

static int checkout(Fetch *f, const GitRun *g, Err *e)
{
	int r =
	    git_run(g, (const char *const[]){"init", "--quiet", "--template=", "/tmp/repo", NULL}, NULL, e);

	if (r >= 0)
		r = git(g, e, (const char *const[]){"remote", "add", "--", "origin", f->git.remote, NULL});
	if (r >= 0)
		r = fetch_commit(f, g, e);
	if (r >= 0 && !f->commit)
		r = learn_commit(f, g, e);
	if (r >= 0)
		r = git(g, e,
			(const char *const[]){"checkout", "--quiet", "--force", "--detach", f->commit, NULL});
	if (r < 0 || f->git.no_submodules)
		return r;
	r = git(g, NULL,
		(const char *const[]){"submodule", "--quiet", "update", "--init", "--recursive", "--depth=1",
				      NULL});
	if (r >= 0 || r == -ECANCELED)
		return r;
	/* Not every server gives a part. */
	return git(g, e,
		   (const char *const[]){"submodule", "--quiet", "update", "--init", "--recursive", NULL});
}

/* The tree that is wanted: a directory of the repository, reached beneath it. */
static int enter(Fetch *f, Err *e)
{
	_cleanup_free_ char *path = f->git.subdir ? strf("repo/%s", f->git.subdir) : strdup("repo");
	int dir = path ? path_open_beneath(f->dir, path, O_RDONLY | O_DIRECTORY) : -ENOMEM;

	if (dir < 0)
		return f->git.subdir && dir != -ENOMEM
			   ? err_new(e, ERR_NOT_FOUND, "subdir %.200s is no directory of the repository",
				     f->git.subdir)
			   : err_sys(e, dir, "open the repository");
	close_fd(&f->dir);
	f->dir = dir;
	return 0;
}

int fetch_git_get(Fetch *f, Err *e)
{
	_cleanup_free_ char *remote = public_remote(f->git.remote);
	int r = room_for_git(f, &f->path, &f->dir, e);
	const GitRun g = {.b = f->b, .dir = f->path, .ssh = f->git.ssh};

	if (r >= 0)
		r = checkout(f, &g, e);
	if (r >= 0)
		r = enter(f, e);
	if (r < 0)
		fetch_room_done(f->b, &f->path, &f->dir);
	return r < 0 ? err_ctx(e, r, "%.300s", remote ?: "") : 0;
}
