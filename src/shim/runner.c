/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which runtime a container has. The record lies in the bundle, so that it holds for as long as the container, whatever the
 * engine's configuration says by then.
 */
#include "shim/runner.h"

#include "base/fd.h"
#include "base/str.h"
#include "shim/shim.h"

#include <fcntl.h>

#define RECORD_MAX 65536

void runner_done(Runner *r)
{
	free(r->id);
	free(r->bundle);
	free(r->root);
	free(r->seccomp_cache);
	free(r->program);
	free(r->scope_dir);
	*r = (Runner){0};
}

int runner_init(Runner *r, const char *id, const char *bundle, const char *root, const char *program, Err *e)
{
	*r = (Runner){
	    .ops = program ? &runner_program : &runner_library,
	    .id = strdup(id),
	    .bundle = strdup(bundle),
	    .root = strdup(root),
	    .program = program ? strdup(program) : NULL,
	};
	r->options.root = r->root;
	return r->id && r->bundle && r->root && (r->program || !program) ? 0 : err_oom(e);
}

int runner_set_scope(Runner *r, const char *dir, Err *e)
{
	free(r->scope_dir);
	r->scope_dir = dir ? strdup(dir) : NULL;
	r->options.systemd_cgroup = dir != NULL;
	r->options.helper_dir = r->scope_dir;
	return r->scope_dir || !dir ? 0 : err_oom(e);
}

int runner_record(const Runner *r, Err *e)
{
	_cleanup_free_ char *path = strf("%s/" RUNNER_RECORD, r->bundle);
	_cleanup_json_ json_t *doc = NULL;

	if (!path)
		return err_oom(e);
	if (!r->program && !r->scope_dir)
		return unlink(path) < 0 && errno != ENOENT ? err_sys(e, errno, "remove %s", path) : 0;
	doc =
	    json_pack("{s:s?, s:s, s:s?}", "program", r->program, "root", r->root, "scope_dir", r->scope_dir);
	return doc ? json_save_at(AT_FDCWD, path, doc, 0600, false, e) : err_oom(e);
}

int runner_find(Runner *r, const char *id, const char *bundle, const char *root, Err *e)
{
	_cleanup_free_ char *path = strf("%s/" RUNNER_RECORD, bundle);
	_cleanup_json_ json_t *doc = NULL;
	const char *program = NULL, *own;
	int rc;

	if (!path)
		return err_oom(e);
	rc = json_load_at(AT_FDCWD, path, RECORD_MAX, &doc, e);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	program = json_get_str(doc, "program");
	own = json_get_str(doc, "root");
	rc = runner_init(r, id, bundle, program && own ? own : root, program, e);
	return rc < 0 ? rc : runner_set_scope(r, json_get_str(doc, "scope_dir"), e);
}

int shim_remove_orphan(const char *dir, const char *runtime_root, const char *id, Err *e)
{
	_cleanup_(runner_done) Runner r = {0};
	int rc = runner_find(&r, id, dir, runtime_root, e);

	return rc < 0 ? rc : r.ops->remove(&r, e);
}
