/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What checkpoint and restore tell criu in the same way: its directories, its options, and the mounts whose other side is outside of the container.
 *
 * Names of the container's mount points are those inside it, with no symlink in them, as criu meets them in mountinfo.
 */
#include "runtime/criu-internal.h"

#include "base/fd.h"
#include "base/str.h"
#include "kernel/namespace.h"

#include <fcntl.h>
#include <limits.h>

#define LOG_MAX    (4u << 20)
#define QUOTED_MAX 1200

void criu_files_done(CriuFiles *f)
{
	while (f->n > 0)
		close_fd(&f->fds[--f->n]);
}

int criu_files_add(CriuFiles *f, int fd, Err *e)
{
	if (f->n == CRIU_FILES) {
		closep(&fd);
		return err_new(e, ERR_INTERNAL, "more than %d descriptors for criu", CRIU_FILES);
	}
	f->fds[f->n] = fd;
	return CRIU_FIRST_FD + (int)f->n++;
}

static const char *work_path(const CriuFiles *f)
{
	return str_empty(f->options->work_path) ? NULL : f->options->work_path;
}

static int open_dir(const char *path, Err *e)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? err_sys(e, errno, "open %s", path) : fd;
}

static int add_dirs(CriuFiles *f, Err *e)
{
	int r = open_dir(f->options->image_path, e);

	if (r >= 0)
		r = criu_files_add(f, r, e);
	if (r >= 0 && work_path(f)) {
		r = open_dir(work_path(f), e);
		if (r >= 0)
			r = criu_files_add(f, r, e);
	}
	return r < 0 ? r : 0;
}

int criu_files_reopen(CriuFiles *f, Err *e)
{
	CriuFiles fresh = {.options = f->options};
	int r = add_dirs(&fresh, e);

	for (size_t i = 0; i < fresh.n && r == 0; i++) {
		close_fd(&f->fds[i]);
		f->fds[i] = take_fd(&fresh.fds[i]);
	}
	criu_files_done(&fresh);
	return r;
}

int criu_files_open(const RuntimeCriu *o, bool make_images, const char *log_name, CriuFiles *ret, Err *e)
{
	CriuFiles f = {.options = o, .log_name = log_name};
	int r = 0;

	if (str_empty(o->image_path))
		return err_new(e, ERR_INVALID, "--image-path must not be empty");
	if (make_images) {
		r = mkdir_parents_at(AT_FDCWD, o->image_path, 0700);
		if (r < 0)
			r = err_sys(e, r, "make %s", o->image_path);
	}
	if (r == 0 && work_path(&f) && mkdir(work_path(&f), 0700) < 0 && errno != EEXIST)
		r = err_sys(e, errno, "make %s", work_path(&f));
	if (r == 0)
		r = add_dirs(&f, e);
	if (r < 0)
		criu_files_done(&f);
	else
		*ret = f;
	return r;
}

static int copy(char **to, const char *from, Err *e)
{
	if (str_empty(from))
		return 0;
	*to = strdup(from);
	return *to ? 0 : err_oom(e);
}

static int cgroup_mode(const char *word, CriuCgroupMode *ret, Err *e)
{
	static const struct {
		const char *word;
		CriuCgroupMode mode;
	} modes[] = {{"", CRIU_CGROUP_MODE__DEFAULT},
		     {"soft", CRIU_CGROUP_MODE__SOFT},
		     {"full", CRIU_CGROUP_MODE__FULL},
		     {"strict", CRIU_CGROUP_MODE__STRICT},
		     {"ignore", CRIU_CGROUP_MODE__IGNORE}};

	for (size_t i = 0; i < ELEMENTSOF(modes); i++) {
		if (streq(modes[i].word, word ? word : "")) {
			*ret = modes[i].mode;
			return 0;
		}
	}
	return err_new(e, ERR_INVALID, "--manage-cgroups-mode \"%s\": expected soft, full, strict or ignore",
		       word);
}

/* A container may name a file of options for criu; an empty name means none, not even ours. */
static int config_file(char *const *annotations, char **ret, Err *e)
{
	for (char *const *v = annotations; v && *v; v++) {
		const char *value = str_after(*v, "org.criu.config=");

		if (value)
			return copy(ret, value, e);
	}
	return copy(ret, "/etc/criu/runc.conf", e);
}

/* "ADDRESS:PORT", "[ADDRESS]:PORT". */
static int page_server(const char *text, CriuOptions *ret, Err *e)
{
	const char *colon = text ? strrchr(text, ':') : NULL;
	CriuPageServer *p;
	int port;

	if (!text)
		return 0;
	if (!colon || colon == text || !colon[1])
		return err_new(e, ERR_INVALID, "Use --page-server ADDRESS:PORT to specify page server");
	if (str_to_int(colon + 1, 1, 65535, &port) < 0)
		return err_new(e, ERR_INVALID, "Invalid port number: --page-server \"%s\"", text);
	p = malloc(sizeof(*p));
	if (!p)
		return err_oom(e);
	criu_page_server__init(p);
	ret->page_server = p;
	p->has_port = true;
	p->port = port;
	p->address = text[0] == '[' && colon[-1] == ']' ? strndup(text + 1, (size_t)(colon - text - 2))
							: strndup(text, (size_t)(colon - text));
	return p->address ? 0 : err_oom(e);
}

#define SET(field, value) (ret->has_##field = true, ret->field = (value))
static void set_flags(const RuntimeCriu *o, CriuOptions *ret)
{
	SET(log_level, 4);
	SET(manage_cgroups, true);
	SET(notify_scripts, true);
	SET(orphan_pts_master, true);
	SET(shell_job, o->shell_job);
	SET(leave_running, o->leave_running);
	SET(tcp_established, o->tcp_established);
	SET(tcp_skip_in_flight, o->tcp_skip_in_flight);
	SET(link_remap, o->link_remap);
	SET(ext_unix_sk, o->ext_unix_sk);
	SET(file_locks, o->file_locks);
	SET(auto_dedup, o->auto_dedup);
	SET(lazy_pages, o->lazy_pages);
	/* Devices and addresses of the network are the engine's business. */
	SET(empty_ns, CLONE_NEWNET);
}

int criu_options_fill(const RuntimeCriu *o, const CriuFiles *f, char *const *annotations, CriuOptions *ret,
		      Err *e)
{
	CriuCgroupMode mode;
	int r = cgroup_mode(o->manage_cgroups_mode, &mode, e);

	if (r < 0)
		return r;
	set_flags(o, ret);
	SET(manage_cgroups_mode, mode);
	ret->images_dir_fd = CRIU_FIRST_FD;
	if (work_path(f))
		SET(work_dir_fd, CRIU_FIRST_FD + 1);
	r = copy(&ret->log_file, f->log_name, e);
	if (r == 0)
		r = config_file(annotations, &ret->config_file, e);
	if (r == 0)
		r = page_server(o->page_server, ret, e);
	if (r == 0)
		r = copy(&ret->lsm_profile, o->lsm_profile, e);
	if (r == 0)
		r = copy(&ret->lsm_mount_context, o->lsm_mount_context, e);
	if (r == 0 && !str_empty(o->parent_path)) {
		SET(track_mem, true);
		r = copy(&ret->parent_img, o->parent_path, e);
	}
	return r;
}

CriuOptions *criu_options_new(void)
{
	CriuOptions *o = malloc(sizeof(*o));

	if (o)
		criu_options__init(o);
	return o;
}

void criu_options_free(CriuOptions *o)
{
	if (o)
		criu_options__free_unpacked(o, NULL);
}

/* One more pointer in a repeated field; `item` is taken over. */
static int append(size_t *n, void *list, void *item, Err *e)
{
	void **old, **more;

	memcpy(&old, list, sizeof(old));
	more = item ? reallocarray(old, *n + 1, sizeof(void *)) : NULL;
	if (!more) {
		free(item);
		return err_oom(e);
	}
	memcpy(list, &more, sizeof(more));
	more[(*n)++] = item;
	return 0;
}

int criu_add_mount(CriuOptions *o, const char *key, const char *value, Err *e)
{
	CriuMount *m = malloc(sizeof(*m));
	int r;

	if (m)
		criu_mount__init(m);
	r = append(&o->n_mounts, &o->mounts, m, e);
	if (r < 0)
		return r;
	m->key = strdup(key);
	m->value = strdup(value);
	return m->key && m->value ? 0 : err_oom(e);
}

int criu_add_inherit(CriuOptions *o, const char *key, int fd, Err *e)
{
	CriuInherit *m = malloc(sizeof(*m));
	int r;

	if (m)
		criu_inherit__init(m);
	r = append(&o->n_inherit, &o->inherit, m, e);
	if (r < 0)
		return r;
	m->fd = fd;
	m->key = strdup(key);
	return m->key ? 0 : err_oom(e);
}

int criu_add_external(CriuOptions *o, char *text, Err *e)
{
	return append(&o->n_external, &o->external, text, e);
}

int criu_add_join(CriuOptions *o, const char *kind, const char *file, Err *e)
{
	CriuJoin *m = malloc(sizeof(*m));
	int r;

	if (m)
		criu_join__init(m);
	r = append(&o->n_joins, &o->joins, m, e);
	if (r < 0)
		return r;
	m->kind = strdup(kind);
	m->file = strdup(file);
	return m->kind && m->file ? 0 : err_oom(e);
}

int criu_add_cgroup(CriuOptions *o, const char *controller, const char *path, Err *e)
{
	CriuCgroup *m = malloc(sizeof(*m));
	int r;

	if (m)
		criu_cgroup__init(m);
	r = append(&o->n_cgroups, &o->cgroups, m, e);
	if (r < 0)
		return r;
	m->controller = strdup(controller);
	m->path = strdup(path);
	return m->controller && m->path ? 0 : err_oom(e);
}

int criu_quote_log(const CriuFiles *f, int r, Err *e)
{
	_cleanup_free_ char *text = NULL, *path = NULL;
	_cleanup_strbuf_ StrBuf said = {0};
	char *save = NULL;

	path = strf("%s/%s", work_path(f) ? work_path(f) : f->options->image_path, f->log_name);
	if (!path || !e || file_read_at(AT_FDCWD, path, LOG_MAX, &text, NULL) < 0)
		return r;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		if (strstr(line, "Error") && said.len + strlen(line) < QUOTED_MAX)
			strbuf_addf(&said, "; %s", line);
	if (said.len == 0 || said.oom)
		return r;
	snprintf(e->msg + strlen(e->msg), sizeof(e->msg) - strlen(e->msg), " (%s%s)", path, said.s);
	return r;
}

/* Where it really is in the root filesystem; the cleaned destination where nothing is there (yet). */
static char *inner_path(const char *rootfs, const char *destination)
{
	_cleanup_close_ int root = open(rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC), fd = -1;
	_cleanup_free_ char *top = realpath(rootfs, NULL);
	char real[PATH_MAX];
	const char *rest;
	ssize_t n;

	fd = root < 0 ? -1 : path_open_in_root(root, destination, O_PATH, 0);
	n = fd < 0 ? -1 : readlink(path_of_fd(fd).s, real, sizeof(real) - 1);
	if (n > 0 && top) {
		real[n] = '\0';
		rest = str_after(real, top);
		if (rest && *rest == '/')
			return strdup(rest);
	}
	return path_clean(destination);
}

static int add_point(CriuOptions *o, const Bundle *b, const char *destination, const char *source,
		     bool restore, Err *e)
{
	_cleanup_free_ char *inner = inner_path(b->rootfs, destination),
			    *from = restore ? path_join_clean(b->dir, source) : NULL;

	if (!inner || (restore && !from))
		return err_oom(e);
	return criu_add_mount(o, inner, restore ? from : inner, e);
}

static bool is_bind(const OciMount *m, Err *e, int *ret_r)
{
	MountOptions o = {0};
	bool bind;

	*ret_r = mount_options_parse(m->options, &o, e);
	bind = *ret_r == 0 && (o.bind || streq0(m->type, "bind")) && !o.remount;
	mount_options_done(&o);
	return bind;
}

/* All that is seen of cgroups in a container is binds of its own directories: one on the destination (v2), or more in a tmpfs there (v1).
 * criu would mount cgroup2 itself, without options, and so take nsdelegate away from the whole machine. */
static int add_cgroup_binds(CriuOptions *o, const Bundle *b, const OciMount *m, const Cgroup *c, bool restore,
			    Err *e)
{
	_cleanup_free_ char *inner = inner_path(b->rootfs, m->destination);
	int r = inner ? 0 : err_oom(e);

	if (r == 0 && cgroup_is_unified(c))
		return criu_add_mount(o, inner, restore ? c->dirs[0].path : inner, e);
	for (size_t i = 0; i < c->n && r == 0; i++) {
		const char *name = c->dirs[i].name[0] ? c->dirs[i].name : "unified";
		const char *rest = str_after(name, "name=");
		_cleanup_free_ char *point = strf("%s/%s", inner, rest ? rest : name);

		r = point ? criu_add_mount(o, point, restore ? c->dirs[i].path : point, e) : err_oom(e);
	}
	return r;
}

static int add_mounts(CriuOptions *o, const Bundle *b, const Cgroup *c, bool restore, Err *e)
{
	for (size_t i = 0; i < b->spec.n_mounts; i++) {
		const OciMount *m = &b->spec.mounts[i];
		int r;

		if (is_bind(m, e, &r))
			r = add_point(o, b, m->destination, m->source ? m->source : "", restore, e);
		else if (r == 0 && (streq0(m->type, "cgroup") || streq0(m->type, "cgroup2")))
			r = add_cgroup_binds(o, b, m, c, restore, e);
		if (r < 0)
			return err_ctx(e, r, "mount %s", m->destination);
	}
	return 0;
}

/* The file that covers them is the host's null device. */
static int add_masks(CriuOptions *o, const OciSpec *s, pid_t pid, bool restore, Err *e)
{
	int r = 0;

	if (restore)
		return s->masked_paths && s->masked_paths[0] ? criu_add_mount(o, "/dev/null", "/dev/null", e)
							     : 0;
	for (char *const *v = s->masked_paths; v && *v && r == 0; v++) {
		_cleanup_free_ char *path = strf("/proc/%d/root%s", (int)pid, *v);
		struct stat st;

		if (!path)
			return err_oom(e);
		if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode))
			r = criu_add_mount(o, *v, "/dev/null", e);
	}
	return r;
}

static int add_devices(CriuOptions *o, const Bundle *b, bool restore, Err *e)
{
	int r = 0;

	for (size_t i = 0; i < b->spec.n_devices + devices_n_default && r == 0; i++) {
		const OciDevice *d =
		    i < b->spec.n_devices ? &b->spec.devices[i] : &devices_default[i - b->spec.n_devices];

		if (d->path)
			r = add_point(o, b, d->path, d->path, restore, e);
	}
	return r;
}

int criu_add_spec_mounts(CriuOptions *o, const Bundle *b, const Cgroup *c, pid_t pid, Err *e)
{
	bool restore = pid == 0;
	int r = add_mounts(o, b, c, restore, e);

	if (r == 0)
		r = add_masks(o, &b->spec, pid, restore, e);
	return r < 0 ? r : add_devices(o, b, restore, e);
}
