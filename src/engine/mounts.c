/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which directories of the host a new container gets, and where: binds, volumes, tmpfs.
 *
 * Precedence is Docker's: what --volumes-from brings gives way to the container's own -v, --mount
 * and --tmpfs; two of those at one place are an error; volumes declared by the image or the request
 * fill the places that are left. An image's VOLUME is a string by a stranger: cleaned as text here, and only ever
 * opened inside the image's root (CVE-2022-23648).
 *
 * Volumes are found or made, and entered in Container.mounts, under one hold of Engine.volumes_lock, so
 * that no volume is removed between the two.
 */
#include "engine/mounts.h"
#include "engine/volume.h"

#include <dirent.h>
#include <sys/file.h>
#include <sys/xattr.h>

#define MOUNTS_MAX 1024

typedef struct Points {
	Engine *en;
	Container *c;
	ContainerMountPoint *v;
	bool *inherited; /* from another container: gives way */
	size_t n;
	char **made; /* anonymous volumes, removed again on failure */
} Points;

static ContainerMountPoint *point_at(Points *p, const char *destination, size_t *ret_index)
{
	for (size_t i = 0; i < p->n; i++)
		if (streq(p->v[i].destination, destination)) {
			*ret_index = i;
			return &p->v[i];
		}
	return NULL;
}

static void point_done(ContainerMountPoint *m)
{
	ContainerMountPoint *one = malloc(sizeof(*one));

	if (!one)
		return;
	*one = *m;
	mount_points_free(one, 1);
	*m = (ContainerMountPoint){0};
}

static int points_grow(Points *p, Err *e)
{
	ContainerMountPoint *v;
	bool *inherited;

	if (p->n >= MOUNTS_MAX)
		return err_new(e, ERR_INVALID, "more than %d mounts in one container", MOUNTS_MAX);
	v = realloc(p->v, (p->n + 1) * sizeof(*v));
	if (v)
		p->v = v;
	inherited = realloc(p->inherited, p->n + 1);
	if (inherited)
		p->inherited = inherited;
	return v && inherited ? 0 : err_oom(e);
}

/* Takes m over, also on failure. */
static int points_add(Points *p, ContainerMountPoint m, bool inherited, Err *e)
{
	size_t at;
	int r = 0;

	if (!m.type || !m.source || !m.destination || !m.mode || !m.propagation)
		r = err_oom(e);
	else if (!point_at(p, m.destination, &at)) {
		r = points_grow(p, e);
		if (r >= 0) {
			p->inherited[p->n] = inherited;
			p->v[p->n++] = m;
			return 0;
		}
	} else if (p->inherited[at]) {
		point_done(&p->v[at]);
		p->inherited[at] = inherited;
		p->v[at] = m;
		return 0;
	} else {
		r = err_new(e, ERR_INVALID, "Duplicate mount point: %s", m.destination);
	}
	point_done(&m);
	return r;
}

/* ---- volumes ---- */

typedef struct VolumeMount {
	const char *name; /* NULL: anonymous */
	const char *destination, *mode, *driver;
	bool read_only;
	char *const *labels;
} VolumeMount;

static int add_volume(Points *p, const VolumeMount *vm, Err *e)
{
	VolumeInfo info = {0};
	int r = volume_ensure(p->en, vm->name, vm->driver, vm->labels, NULL, &info, e);

	if (r < 0)
		return r;
	if (!vm->name && strv_add(&p->made, info.name) < 0) {
		(void)volume_remove_locked(p->en, info.name, NULL);
		volume_info_done(&info);
		return err_oom(e);
	}
	ContainerMountPoint m = {
	    .type = strdup("volume"),
	    .name = take_ptr(info.name),
	    .source = take_ptr(info.mountpoint),
	    .destination = strdup(vm->destination),
	    .driver = strdup("local"),
	    .mode = strdup(vm->mode),
	    .propagation = strdup(""),
	    .rw = !vm->read_only,
	};
	volume_info_done(&info);
	return points_add(p, m, false, e);
}

/* ---- binds ---- */

static int add_bind(Points *p, const char *source, const char *destination, const char *mode,
		    const char *propagation, bool read_only, Err *e)
{
	ContainerMountPoint m = {
	    .type = strdup("bind"),
	    .source = strdup(source),
	    .destination = strdup(destination),
	    .mode = strdup(mode),
	    .propagation = strdup(str_empty(propagation) ? "rprivate" : propagation),
	    .rw = !read_only,
	};

	return points_add(p, m, false, e);
}

/* -v makes a missing source a directory; anything that exists will do. */
static int bind_source_make(const char *path, Err *e)
{
	struct stat st;
	int r;

	if (stat(path, &st) == 0)
		return 0;
	if (errno != ENOENT)
		return err_kind(e, err_sys(e, errno, "bind source path %s", path), ERR_INVALID);
	r = mkdir_parents_at(AT_FDCWD, path, 0755);
	return r < 0 ? err_sys(e, r, "error while creating mount source path '%s'", path) : 0;
}

static int resolve_bind_text(Points *p, const char *text, Err *e)
{
	_cleanup_(bind_spec_done) BindSpec b = {0};
	int r = bind_spec_parse(text, &b, e);

	if (r < 0)
		return r;
	if (!b.source || b.source[0] != '/') {
		VolumeMount vm = {
		    .name = b.source,
		    .destination = b.destination,
		    .mode = b.source && !*b.mode ? "z" : b.mode,
		    .driver = p->c->config.host.volume_driver,
		    .read_only = b.read_only,
		};
		return add_volume(p, &vm, e);
	}
	r = bind_source_make(b.source, e);
	return r < 0 ? r : add_bind(p, b.source, b.destination, b.mode, b.propagation, b.read_only, e);
}

/* ---- --mount ---- */

static int mount_invalid(const ContainerMount *m, Err *e, const char *why)
{
	return err_new(e, ERR_INVALID, "invalid mount config for type \"%s\": %s", m->type ?: "", why);
}

static int mount_target(const ContainerMount *m, char **ret, Err *e)
{
	if (str_empty(m->target))
		return mount_invalid(m, e, "field Target must not be empty");
	if (m->target[0] != '/')
		return err_new(e, ERR_INVALID,
			       "invalid mount config for type \"%s\": invalid mount path: '%s' mount path "
			       "must be absolute",
			       m->type, m->target);
	*ret = path_clean(m->target);
	if (!*ret)
		return err_oom(e);
	return streq(*ret, "/") ? mount_invalid(m, e, "invalid specification: destination can't be '/'") : 0;
}

static int propagation_check(const ContainerMount *m, Err *e)
{
	static const char *const known[] = {"",        "private", "rprivate", "shared",
					    "rshared", "slave",   "rslave"};

	for (size_t i = 0; i < ELEMENTSOF(known); i++)
		if (streq(m->propagation ?: "", known[i]))
			return 0;
	return err_new(e, ERR_INVALID, "invalid mount config for type \"bind\": invalid propagation mode: %s",
		       m->propagation);
}

static int resolve_mount_bind(Points *p, const ContainerMount *m, const char *target, Err *e)
{
	_cleanup_free_ char *source = NULL;
	struct stat st;
	int r;

	if (str_empty(m->source))
		return mount_invalid(m, e, "field Source must not be empty");
	if (m->source[0] != '/')
		return err_new(e, ERR_INVALID,
			       "invalid mount config for type \"bind\": invalid mount path: '%s' mount path "
			       "must be absolute",
			       m->source);
	if (m->non_recursive)
		return err_new(
		    e, ERR_UNSUPPORTED,
		    "invalid mount config for type \"bind\": a non-recursive bind of %s is not offered",
		    m->source);
	r = propagation_check(m, e);
	if (r < 0)
		return r;
	source = path_clean(m->source);
	if (!source)
		return err_oom(e);
	if (m->create_mountpoint) {
		r = bind_source_make(source, e);
		if (r < 0)
			return r;
	} else if (stat(source, &st) < 0) {
		if (errno == ENOENT || errno == ENOTDIR)
			return err_new(
			    e, ERR_INVALID,
			    "invalid mount config for type \"bind\": bind source path does not exist: %s",
			    source);
		return err_kind(e, err_sys(e, errno, "invalid mount config for type \"bind\": %s", source),
				ERR_INVALID);
	}
	return add_bind(p, source, target, "", m->propagation, m->read_only, e);
}

static int resolve_mount_volume(Points *p, const ContainerMount *m, const char *target, Err *e)
{
	VolumeMount vm = {
	    .name = str_empty(m->source) ? NULL : m->source,
	    .destination = target,
	    .mode = m->no_copy ? "z,nocopy" : "z",
	    .driver = m->volume_driver,
	    .read_only = m->read_only,
	    .labels = m->volume_labels,
	};
	int r = vm.name ? volume_name_check(vm.name, e) : 0;

	r = err_ctx(e, r, "invalid mount config for type \"volume\"");
	return r < 0 ? r : add_volume(p, &vm, e);
}

static int add_tmpfs(Points *p, const char *target, char *options, bool read_only, Err *e)
{
	ContainerMountPoint m = {
	    .type = strdup("tmpfs"),
	    .source = strdup(""),
	    .destination = strdup(target),
	    .mode = options,
	    .propagation = strdup(""),
	    .rw = !read_only,
	};

	return points_add(p, m, false, e);
}

static int resolve_mount_tmpfs(Points *p, const ContainerMount *m, const char *target, Err *e)
{
	StrBuf options = {0};

	if (!str_empty(m->source))
		return mount_invalid(m, e, "field Source must not be specified");
	if (m->tmpfs_size < 0 || m->tmpfs_mode < 0 || m->tmpfs_mode > 07777)
		return mount_invalid(m, e, "size and mode must not be negative, mode at most 07777");
	strbuf_add(&options, m->read_only ? "ro" : "rw");
	if (m->tmpfs_size > 0)
		strbuf_addf(&options, ",size=%lld", (long long)m->tmpfs_size);
	if (m->tmpfs_mode > 0)
		strbuf_addf(&options, ",mode=%o", (unsigned)m->tmpfs_mode);
	return add_tmpfs(p, target, strbuf_steal(&options), m->read_only, e);
}

static int resolve_mount(Points *p, const ContainerMount *m, Err *e)
{
	_cleanup_free_ char *target = NULL;
	int r;

	if (!streq0(m->type, "bind") && !streq0(m->type, "volume") && !streq0(m->type, "tmpfs"))
		return mount_invalid(m, e, "mount type unknown: use bind, volume or tmpfs");
	r = mount_target(m, &target, e);
	if (r < 0)
		return r;
	if (streq(m->type, "bind"))
		return resolve_mount_bind(p, m, target, e);
	if (streq(m->type, "volume"))
		return resolve_mount_volume(p, m, target, e);
	return resolve_mount_tmpfs(p, m, target, e);
}

/* ---- --tmpfs path=options ---- */

static int resolve_tmpfs_text(Points *p, const char *text, Err *e)
{
	const char *options = strchrnul(text, '=');
	_cleanup_free_ char *raw = strndup(text, (size_t)(options - text));
	_cleanup_free_ char *path = raw ? path_clean(raw) : NULL;
	int r;

	if (*options)
		options++;
	if (!path)
		return err_oom(e);
	if (path[0] != '/' || streq(path, "/"))
		return err_new(e, ERR_INVALID,
			       "invalid tmpfs mount '%s': the mount path must be absolute and not '/'", raw);
	r = tmpfs_options_check(options, e);
	if (r < 0)
		return err_ctx(e, r, "tmpfs mount %s", path);
	_cleanup_strv_ char **v = strv_split(options, ',');
	return add_tmpfs(p, path, strdup(options), strv_has(v, "ro"), e);
}

/* ---- --volumes-from ---- */

static char *dup0(const char *s)
{
	return s ? strdup(s) : NULL;
}

static int inherit_points(Points *p, Container *from, bool read_only, Err *e)
{
	int r = 0;

	pthread_mutex_lock(&from->state);
	for (size_t i = 0; r >= 0 && i < from->n_mounts; i++) {
		const ContainerMountPoint *o = &from->mounts[i];
		size_t at;

		if (streq(o->type, "tmpfs"))
			continue;
		/* Of several containers the last one given wins. */
		if (point_at(p, o->destination, &at))
			p->inherited[at] = true;
		ContainerMountPoint m = {
		    .type = strdup(o->type),
		    .name = dup0(o->name),
		    .source = strdup(o->source),
		    .destination = strdup(o->destination),
		    .driver = dup0(o->driver),
		    .mode = strdup(o->mode ?: ""),
		    .propagation = strdup(o->propagation ?: ""),
		    .rw = o->rw && !read_only,
		};
		r = points_add(p, m, true, e);
	}
	pthread_mutex_unlock(&from->state);
	return r;
}

static int resolve_volumes_from(Points *p, const char *text, Err *e)
{
	_cleanup_container_ Container *from = NULL;
	_cleanup_free_ char *name = NULL;
	bool read_only;
	int r = volumes_from_parse(text, &name, &read_only, e);

	if (r >= 0)
		r = container_find(p->en, name, &from, e);
	if (r < 0)
		return r;
	return from == p->c ? 0 : inherit_points(p, from, read_only, e);
}

/* ---- VOLUME ---- */

static int resolve_declared(Points *p, const char *declared, Err *e)
{
	_cleanup_free_ char *path = path_join_clean("/", declared);
	size_t at;

	if (!path)
		return err_oom(e);
	if (streq(path, "/"))
		return err_new(e, ERR_INVALID, "invalid volume specification: '%s': destination can't be '/'",
			       declared);
	if (point_at(p, path, &at))
		return 0;
	VolumeMount vm = {.destination = path, .mode = "", .driver = p->c->config.host.volume_driver};
	return add_volume(p, &vm, e);
}

/* The request's own and the image's, so that inspect and commit show them all. */
static int merge_declared(Container *c, const ImageConfig *image, Err *e)
{
	int r = 0;

	pthread_mutex_lock(&c->state);
	for (size_t i = 0; r >= 0 && image->run.volumes && image->run.volumes[i]; i++)
		if (!strv_has(c->config.volumes, image->run.volumes[i]))
			r = strv_add(&c->config.volumes, image->run.volumes[i]);
	pthread_mutex_unlock(&c->state);
	return r < 0 ? err_oom(e) : 0;
}

static int resolve_all(Points *p, Err *e)
{
	const ContainerConfig *k = &p->c->config;
	int r = 0;

	for (size_t i = 0; r >= 0 && k->host.volumes_from && k->host.volumes_from[i]; i++)
		r = resolve_volumes_from(p, k->host.volumes_from[i], e);
	for (size_t i = 0; r >= 0 && k->host.binds && k->host.binds[i]; i++)
		r = resolve_bind_text(p, k->host.binds[i], e);
	for (size_t i = 0; r >= 0 && i < k->host.n_mounts; i++)
		r = resolve_mount(p, &k->host.mounts[i], e);
	for (size_t i = 0; r >= 0 && k->host.tmpfs && k->host.tmpfs[i]; i++)
		r = resolve_tmpfs_text(p, k->host.tmpfs[i], e);
	for (size_t i = 0; r >= 0 && k->volumes && k->volumes[i]; i++)
		r = resolve_declared(p, k->volumes[i], e);
	return r;
}

int mounts_resolve(Engine *en, Container *c, const ImageConfig *image, char ***warnings, Err *e)
{
	Points p = {.en = en, .c = c};
	int r = merge_declared(c, image, e);

	if (r < 0)
		return r;
	pthread_mutex_lock(&en->volumes_lock);
	r = resolve_all(&p, e);
	if (r >= 0) {
		pthread_mutex_lock(&c->state);
		c->mounts = p.v;
		c->n_mounts = p.n;
		pthread_mutex_unlock(&c->state);
	} else {
		mount_points_free(p.v, p.n);
		for (size_t i = 0; p.made && p.made[i]; i++)
			(void)volume_remove_locked(en, p.made[i], NULL);
	}
	pthread_mutex_unlock(&en->volumes_lock);
	strv_free(p.made);
	free(p.inherited);
	return r;
}

/* ---- copy-up ---- */

static int is_empty_dir(int fd)
{
	_cleanup_close_ int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = again < 0 ? NULL : fdopendir(again);
	const struct dirent *de;
	int empty = 1;

	if (!d)
		return -errno;
	(void)take_fd(&again);
	errno = 0;
	while (empty > 0 && (de = readdir(d)))
		empty = streq(de->d_name, ".") || streq(de->d_name, "..");
	if (empty && errno)
		empty = -errno;
	closedir(d);
	return empty;
}

typedef struct Packing {
	int dir_fd, out_fd, result;
	Err err;
} Packing;

static void *pack_thread(void *arg)
{
	Packing *k = arg;

	k->result = store_archive_pack(k->dir_fd, ".", ".", k->out_fd, &k->err);
	close_fd(&k->out_fd);
	return NULL;
}

static int copy_tree(Engine *en, int from, int to, Err *e)
{
	Packing k = {.dir_fd = from};
	ArchiveExtract x = {.dir_fd = to, .keep_owner = true, .allow_devices = true};
	pthread_t thread;
	int p[2], r;

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_sys(e, errno, "make a pipe");
	x.fd = p[0];
	k.out_fd = p[1];
	r = pthread_create(&thread, NULL, pack_thread, &k);
	if (r != 0) {
		close_fd(&p[0]);
		close_fd(&p[1]);
		return err_sys(e, r, "start a thread");
	}
	r = store_archive_extract(en->store, &x, e);
	/* A reader that gave up lets the writer end with EPIPE. */
	close_fd(&p[0]);
	pthread_join(thread, NULL);
	if (r >= 0 && k.result < 0) {
		r = k.result;
		if (e)
			*e = k.err;
	}
	return r;
}

/* The top directory itself looks as in the image. */
static int copy_top(int from, const char *volume_dir, Err *e)
{
	struct stat st;

	if (fstat(from, &st) < 0 || chown(volume_dir, st.st_uid, st.st_gid) < 0 ||
	    chmod(volume_dir, st.st_mode & 07777) < 0)
		return err_sys(e, errno, "set owner and mode of %s", volume_dir);
	return 0;
}

static int populate_one(Engine *en, int image_fd, const ContainerMountPoint *m, Err *e)
{
	_cleanup_close_ int from = path_open_in_root(image_fd, m->destination, O_RDONLY | O_DIRECTORY, 0);
	_cleanup_close_ int to = -1;
	int r;

	if (from == -ENOENT || from == -ENOTDIR)
		return 0; /* nothing there that could be copied */
	if (from < 0)
		return err_sys(e, from, "open %s of the image", m->destination);
	to = open(m->source, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (to < 0)
		return err_sys(e, errno, "open %s", m->source);
	/* Two containers that are created at once with one new volume: the second finds it filled. */
	if (flock(to, LOCK_EX) < 0)
		return err_sys(e, errno, "lock %s", m->source);
	r = is_empty_dir(to);
	if (r <= 0)
		return r < 0 ? err_sys(e, r, "read %s", m->source) : 0;
	r = is_empty_dir(from);
	if (r == 0)
		r = copy_tree(en, from, to, e);
	if (r >= 0)
		r = copy_top(from, m->source, e);
	return err_ctx(e, r, "fill volume %s with the image's %s", m->name, m->destination);
}

static bool has_option(const char *mode, const char *name)
{
	_cleanup_strv_ char **v = strv_split(mode ?: "", ',');

	return strv_has(v, name);
}

/* Not what other containers brought along: it is theirs to fill. */
static bool wants_copy(Engine *en, const Container *c, const ContainerMountPoint *m)
{
	_cleanup_strv_ char **users = NULL;
	bool anonymous_shared = false;

	if (!streq(m->type, "volume") || has_option(m->mode, "nocopy"))
		return false;
	if (c->config.host.volumes_from && !*m->mode && volume_in_use(en, m->name, &users))
		anonymous_shared = strv_len(users) > 1;
	return !anonymous_shared;
}

int mounts_populate(Engine *en, Container *c, Err *e)
{
	_cleanup_close_ int image_fd = -1;
	int r = 0;

	for (size_t i = 0; r >= 0 && c->chain_id && i < c->n_mounts; i++) {
		if (!wants_copy(en, c, &c->mounts[i]))
			continue;
		if (image_fd < 0)
			r = store_layers_mount(en->store, c->chain_id, &image_fd, e);
		if (r >= 0)
			r = populate_one(en, image_fd, &c->mounts[i], e);
	}
	return r;
}
