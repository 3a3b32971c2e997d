/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.intelRdt: a group of the resctrl filesystem (Documentation/filesystems/resctrl.rst) for a container's share of cache and
 * memory bandwidth.
 *
 * The group is named by closID, or by the container's id. One that is there already is joined, and only given new schemata if the
 * config has any; one that we made is removed with the container, and so is a monitoring group in it. The state remembers both
 * directories.
 */
#include "runtime/runtime-internal.h"

#include "base/fd.h"
#include "base/str.h"

#include <linux/magic.h>
#include <sys/vfs.h>

#ifndef RDTGROUP_SUPER_MAGIC
#define RDTGROUP_SUPER_MAGIC 0x7655821
#endif
#define ROOT "/sys/fs/resctrl"

static bool has_schema(const OciIntelRdt *r)
{
	return !str_empty(r->l3_cache_schema) || !str_empty(r->mem_bw_schema) ||
	       (r->schemata && r->schemata[0]);
}

static int check(const OciIntelRdt *r, Err *e)
{
	struct statfs fs;

	if (r->clos_id &&
	    (!*r->clos_id || strchr(r->clos_id, '/') || streq(r->clos_id, ".") || streq(r->clos_id, "..")))
		return err_new(e, ERR_INVALID, "closID: \"%s\" is no name of a directory", r->clos_id);
	if (statfs(ROOT, &fs) < 0 || fs.f_type != RDTGROUP_SUPER_MAGIC)
		return err_new(e, ERR_UNSUPPORTED,
			       "no resctrl filesystem is mounted on " ROOT
			       ": the processor must have it, and \"mount -t resctrl "
			       "resctrl " ROOT "\" make it visible");
	return 0;
}

/* The lines of all three members as one text: resctrl takes them line by line. */
static char *schemata_text(const OciIntelRdt *r)
{
	_cleanup_strbuf_ StrBuf b = {0};

	if (!str_empty(r->l3_cache_schema))
		strbuf_addf(&b, "%s\n", r->l3_cache_schema);
	if (!str_empty(r->mem_bw_schema))
		strbuf_addf(&b, "%s\n", r->mem_bw_schema);
	for (size_t i = 0; r->schemata && r->schemata[i]; i++)
		strbuf_addf(&b, "%s\n", r->schemata[i]);
	return strbuf_steal(&b);
}

static int write_file(const char *dir, const char *file, const char *text, Err *e)
{
	_cleanup_free_ char *path = strf("%s/%s", dir, file), *status = NULL;
	int r = path ? file_write_at(AT_FDCWD, path, text) : -ENOMEM;

	if (r == 0)
		return 0;
	/* resctrl says there what it did not like. */
	if (file_read_at(AT_FDCWD, ROOT "/info/last_cmd_status", 4096, &status, NULL) == 0 &&
	    !str_starts(status, "ok"))
		return err_sys(e, r, "write \"%s\" to %s (%.*s)", text, path, (int)strcspn(status, "\n"),
			       status);
	return err_sys(e, r, "write \"%s\" to %s", text, path ? path : file);
}

static int apply_schemata(const char *dir, const OciIntelRdt *r, Err *e)
{
	_cleanup_free_ char *text = schemata_text(r);

	return text ? write_file(dir, "schemata", text, e) : err_oom(e);
}

/* True if it was made, false if it was there. */
static int make_dir(const char *dir, Err *e)
{
	if (mkdir(dir, 0755) == 0)
		return 1;
	if (errno == EEXIST)
		return 0;
	return err_sys(e, errno, "make %s%s", dir, errno == ENOSPC ? " (no class of service is left)" : "");
}

static int make_group(const OciIntelRdt *r, const char *id, State *s, Err *e)
{
	_cleanup_free_ char *dir = strf(ROOT "/%s", r->clos_id ? r->clos_id : id);
	int rc = dir ? make_dir(dir, e) : err_oom(e);

	if (rc < 0)
		return rc;
	s->resctrl = take_ptr(dir);
	s->resctrl_made = rc > 0;
	/* With a name alone the group must be somebody's, or it would limit nothing. */
	if (s->resctrl_made && r->clos_id && !has_schema(r))
		return err_new(e, ERR_INVALID,
			       "closID: there is no group %s, and no schemata to make one with", s->resctrl);
	return has_schema(r) ? apply_schemata(s->resctrl, r, e) : 0;
}

static int make_monitor(const char *id, State *s, Err *e)
{
	_cleanup_free_ char *dir = strf("%s/mon_groups/%s", s->resctrl, id);
	int r = dir ? make_dir(dir, e) : err_oom(e);

	if (r > 0)
		s->resctrl_monitor = take_ptr(dir);
	return r < 0 ? r : 0;
}

int resctrl_enter(const OciSpec *spec, const char *id, pid_t pid, State *s, Err *e)
{
	const OciIntelRdt *rdt = &spec->intel_rdt;
	char text[16];
	int r;

	if (!spec->has_intel_rdt)
		return 0;
	r = check(rdt, e);
	if (r == 0)
		r = make_group(rdt, id, s, e);
	snprintf(text, sizeof(text), "%d", (int)pid);
	if (r == 0)
		r = write_file(s->resctrl, "tasks", text, e);
	if (r == 0 && rdt->enable_monitoring) {
		r = make_monitor(id, s, e);
		if (r == 0 && s->resctrl_monitor)
			r = write_file(s->resctrl_monitor, "tasks", text, e);
	}
	return r < 0 ? err_ctx(e, r, "linux.intelRdt") : 0;
}

int resctrl_update(const State *s, const OciIntelRdt *rdt, Err *e)
{
	int r;

	if (!has_schema(rdt))
		return 0;
	if (!s->resctrl)
		return err_new(e, ERR_CONFLICT,
			       "the container was made without intelRdt: it has no group to change");
	r = apply_schemata(s->resctrl, rdt, e);
	return r < 0 ? err_ctx(e, r, "intelRdt") : 0;
}

void resctrl_remove(const State *s)
{
	/* Both are directories of the kernel's: removed with all that is in them. One that others share stays. */
	if (s->resctrl_monitor)
		(void)rmdir(s->resctrl_monitor);
	if (s->resctrl_made)
		(void)rmdir(s->resctrl);
}
