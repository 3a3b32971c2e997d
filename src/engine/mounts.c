/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which directories of the host a new container gets, and where: binds, volumes, images, tmpfs.
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
#include "engine/idmap.h"
#include "engine/volume.h"

#include "kernel/mount.h"

#include <fcntl.h>

#define MOUNTS_MAX 1024

typedef struct Points {
	Engine *en;
	Container *c;
	ContainerMountPoint *v;
	bool *inherited; /* from another container: gives way */
	size_t n, n_images;
	char **made; /* volumes that were not there, removed again on failure */
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

static char *dup0(const char *s)
{
	return s ? strdup(s) : NULL;
}

typedef struct VolumeMount {
	const char *name; /* NULL: anonymous */
	const char *destination, *mode, *driver;
	const char *subpath; /* or NULL */
	bool read_only, no_copy;
	char *const *labels, *const *options;
} VolumeMount;

static int add_volume(Points *p, const VolumeMount *vm, Err *e)
{
	VolumeInfo info = {0};
	bool made = false;
	int r = volume_ensure(p->en,
			      &(VolumeWanted){.name = vm->name,
					      .driver = vm->driver,
					      .labels = vm->labels,
					      .options = vm->options},
			      &info, &made, e);

	if (r < 0)
		return r;
	if (made && strv_add(&p->made, info.name) < 0) {
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
	    .subpath = dup0(vm->subpath),
	    .rw = !vm->read_only,
	    .no_copy = vm->no_copy || vm->subpath,
	    .own_fs = volume_has_fs(info.options),
	};
	volume_info_done(&info);
	return points_add(p, m, false, e);
}

/* ---- binds ---- */

typedef struct Bind {
	const char *source, *destination, *mode, *propagation, *idmap;
	bool read_only, non_recursive, ro_non_recursive, ro_force_recursive;
} Bind;

/* That its file system cannot map ids is told now, and not by the start. */
static int idmap_try(const char *source, const char *idmap, Err *e)
{
	_cleanup_close_ int fd = mount_clone(AT_FDCWD, source, true);
	struct stat st;
	IdMaps maps;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, fd < 0 ? fd : errno, "bind source path %s", source);
	r = idmap_resolve(idmap, st.st_uid, st.st_gid, &maps, e);
	if (r >= 0)
		r = idmap_apply(fd, &maps, e);
	return r < 0 ? err_ctx(e, r, "invalid mount config for type \"bind\": %s", source) : 0;
}

static int add_bind(Points *p, const Bind *b, Err *e)
{
	int r = b->idmap ? idmap_try(b->source, b->idmap, e) : 0;

	if (r < 0)
		return err_kind(e, r, ERR_INVALID);
	ContainerMountPoint m = {
	    .type = strdup("bind"),
	    .source = strdup(b->source),
	    .destination = strdup(b->destination),
	    .mode = strdup(b->mode),
	    .propagation = strdup(str_empty(b->propagation) ? "rprivate" : b->propagation),
	    .idmap = dup0(b->idmap),
	    .rw = !b->read_only,
	    .non_recursive = b->non_recursive,
	    .ro_non_recursive = b->ro_non_recursive,
	    .ro_force_recursive = b->ro_force_recursive,
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
		    .no_copy = b.no_copy,
		};
		return add_volume(p, &vm, e);
	}
	r = bind_source_make(b.source, e);
	if (r < 0)
		return r;
	const Bind bind = {
	    .source = b.source,
	    .destination = b.destination,
	    .mode = b.mode,
	    .propagation = b.propagation,
	    .idmap = b.idmap,
	    .read_only = b.read_only,
	};
	return add_bind(p, &bind, e);
}

/* ---- --mount ---- */

static int bind_source_check(const ContainerMount *m, const char *source, Err *e)
{
	struct stat st;

	if (m->create_mountpoint)
		return bind_source_make(source, e);
	if (stat(source, &st) == 0)
		return 0;
	if (errno == ENOENT || errno == ENOTDIR)
		return err_new(e, ERR_INVALID,
			       "invalid mount config for type \"bind\": bind source path does not exist: %s",
			       source);
	return err_kind(e, err_sys(e, errno, "invalid mount config for type \"bind\": %s", source),
			ERR_INVALID);
}

static int resolve_mount_bind(Points *p, const ContainerMount *m, const char *target, Err *e)
{
	_cleanup_free_ char *source = path_clean(m->source), *propagation = NULL, *idmap = NULL;
	int r = source ? propagation_parse(m->propagation ?: "", &propagation, &idmap, e) : err_oom(e);

	if (r >= 0)
		r = bind_source_check(m, source, e);
	if (r < 0)
		return r;
	const Bind b = {
	    .source = source,
	    .destination = target,
	    .mode = "",
	    .propagation = propagation,
	    .idmap = m->idmap ?: idmap,
	    .read_only = m->read_only,
	    .non_recursive = m->non_recursive,
	    .ro_non_recursive = m->ro_non_recursive,
	    .ro_force_recursive = m->ro_force_recursive,
	};
	return add_bind(p, &b, e);
}

static int resolve_mount_volume(Points *p, const ContainerMount *m, const char *target, Err *e)
{
	VolumeMount vm = {
	    .name = str_empty(m->source) ? NULL : m->source,
	    .destination = target,
	    .mode = "z",
	    .driver = m->volume_driver,
	    .subpath = str_empty(m->volume_subpath) ? NULL : m->volume_subpath,
	    .read_only = m->read_only,
	    .no_copy = m->no_copy,
	    .labels = m->volume_labels,
	    .options = m->driver_options,
	};
	int r = vm.name ? volume_name_check(vm.name, e) : 0;

	r = err_ctx(e, r, "invalid mount config for type \"volume\"");
	return r < 0 ? r : add_volume(p, &vm, e);
}

static int add_tmpfs(Points *p, const char *target, char *options, bool read_only, bool by_flag, Err *e)
{
	ContainerMountPoint m = {
	    .type = strdup("tmpfs"),
	    .source = strdup(""),
	    .destination = strdup(target),
	    .mode = strdup(""),
	    .options = options,
	    .propagation = strdup(""),
	    .rw = !read_only,
	    .by_flag = by_flag,
	};

	return options ? points_add(p, m, false, e) : (point_done(&m), err_oom(e));
}

static int resolve_mount_tmpfs(Points *p, const ContainerMount *m, const char *target, Err *e)
{
	StrBuf options = {0};

	strbuf_add(&options, m->read_only ? "ro" : "rw");
	if (m->tmpfs_size > 0)
		strbuf_addf(&options, ",size=%lld", (long long)m->tmpfs_size);
	if (m->tmpfs_mode > 0)
		strbuf_addf(&options, ",mode=%o", (unsigned)m->tmpfs_mode);
	for (size_t i = 0; m->tmpfs_options && m->tmpfs_options[i]; i++)
		strbuf_addf(&options, ",%s", m->tmpfs_options[i]);
	return add_tmpfs(p, target, strbuf_steal(&options), m->read_only, false, e);
}

/* The lease keeps the image until the snapshot's row refers to its layers. */
static int image_snapshot(Points *p, const ContainerMount *m, const char *key, StoreImage *image, Err *e)
{
	Store *s = p->en->store;
	Err ignored;
	int r;

	store_lease_begin(s);
	r = store_image_find(s, m->source, image, e);
	if (r >= 0)
		r = store_snapshot_prepare(s, key, image->chain_id, e);
	(void)store_lease_end(s, &ignored);
	return r;
}

static int resolve_mount_image(Points *p, const ContainerMount *m, const char *target, Err *e)
{
	_cleanup_free_ char *key = strf("%s.m%zu", p->c->id, p->n_images++);
	StoreImage image = {0};
	int r = key ? image_snapshot(p, m, key, &image, e) : err_oom(e);

	if (r < 0) {
		store_image_done(&image);
		return r;
	}
	ContainerMountPoint point = {
	    .type = strdup("image"),
	    .source = strdup(m->source),
	    .destination = strdup(target),
	    .mode = strdup(""),
	    .propagation = strdup(""),
	    .subpath = str_empty(m->image_subpath) ? NULL : strdup(m->image_subpath),
	    .snapshot = strdup(key),
	    .image_id = strdup(image.id),
	    .rw = !m->read_only,
	};
	store_image_done(&image);
	r = point.snapshot && point.image_id ? points_add(p, point, false, e)
					     : (point_done(&point), err_oom(e));
	if (r < 0)
		(void)store_snapshot_remove(p->en->store, key, NULL);
	return r;
}

static int resolve_mount(Points *p, const ContainerMount *m, Err *e)
{
	_cleanup_free_ char *target = NULL;
	int r = mount_check(m, &target, e);

	if (r < 0)
		return r;
	if (streq(m->type, "bind"))
		return resolve_mount_bind(p, m, target, e);
	if (streq(m->type, "volume"))
		return resolve_mount_volume(p, m, target, e);
	if (streq(m->type, "image"))
		return resolve_mount_image(p, m, target, e);
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
	return add_tmpfs(p, path, strdup(options), strv_has(v, "ro"), true, e);
}

/* ---- --volumes-from ---- */

static int inherit_points(Points *p, Container *from, bool read_only, Err *e)
{
	int r = 0;

	pthread_mutex_lock(&from->state);
	for (size_t i = 0; r >= 0 && i < from->n_mounts; i++) {
		const ContainerMountPoint *o = &from->mounts[i];
		size_t at;

		if (streq(o->type, "tmpfs") || streq(o->type, "image"))
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
		    .subpath = dup0(o->subpath),
		    .idmap = dup0(o->idmap),
		    .rw = o->rw && !read_only,
		    .own_fs = o->own_fs,
		    .no_copy = true, /* theirs to fill */
		    .non_recursive = o->non_recursive,
		    .ro_non_recursive = o->ro_non_recursive,
		    .ro_force_recursive = o->ro_force_recursive,
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

/* What a build step is given: a copy of each descriptor, as the container's. */
static int resolve_given(Points *p, const EngineStep *step, Err *e)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && step && i < step->n_mounts; i++) {
		int fd = fcntl(step->mounts[i].fd, F_DUPFD_CLOEXEC, 3);

		if (fd < 0)
			return err_sys(e, errno, "copy the descriptor of mount %s",
				       step->mounts[i].destination);
		ContainerMountPoint m = {
		    .type = strdup("bind"),
		    .source = strdup(""),
		    .destination = strdup(step->mounts[i].destination),
		    .mode = strdup(""),
		    .propagation = strdup("rprivate"),
		    .rw = !step->mounts[i].read_only,
		    .given = true,
		    .given_fd = fd,
		};
		r = points_add(p, m, false, e);
	}
	return r;
}

/* Volumes and snapshots that were made for a container that does not come to be. Engine.volumes_lock is held. */
static void undo(Points *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->v[i].snapshot)
			(void)store_snapshot_remove(p->en->store, p->v[i].snapshot, NULL);
	mount_points_free(p->v, p->n);
	for (size_t i = 0; p->made && p->made[i]; i++)
		(void)volume_remove_locked(p->en, p->made[i], NULL);
}

int mounts_resolve(Engine *en, Container *c, const ImageConfig *image, const EngineStep *step,
		   char ***ret_made, Err *e)
{
	Points p = {.en = en, .c = c};
	int r = merge_declared(c, image, e);

	if (r < 0)
		return r;
	pthread_mutex_lock(&en->volumes_lock);
	r = resolve_all(&p, e);
	if (r >= 0)
		r = resolve_given(&p, step, e);
	if (r >= 0) {
		pthread_mutex_lock(&c->state);
		c->mounts = p.v;
		c->n_mounts = p.n;
		pthread_mutex_unlock(&c->state);
		*ret_made = take_ptr(p.made);
	} else {
		undo(&p);
	}
	pthread_mutex_unlock(&en->volumes_lock);
	strv_free(p.made);
	free(p.inherited);
	return r;
}

bool container_uses_image(Container *c, const char *image_id)
{
	bool found = streq0(c->image_id, image_id);

	pthread_mutex_lock(&c->state);
	for (size_t i = 0; !found && i < c->n_mounts; i++)
		found = streq0(c->mounts[i].image_id, image_id);
	pthread_mutex_unlock(&c->state);
	return found;
}

void mounts_remove_snapshots(Engine *en, Container *c)
{
	Err err;

	for (size_t i = 0; i < c->n_mounts; i++)
		if (c->mounts[i].snapshot &&
		    store_snapshot_remove(en->store, c->mounts[i].snapshot, &err) < 0)
			log_error("container %.12s: the layer over image %s goes at the next start: %s",
				  c->id, c->mounts[i].source, err.msg);
}
