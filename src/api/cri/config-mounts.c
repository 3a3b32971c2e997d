/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounts of a container. A missing directory of the host is made; read-only is the mount's own, with what lies mounted in it as it was, unless recursive is said; an image is
 * read-only always.
 *
 * Ids that a mount maps are the file system's (container_id) to the host's (host_id). The engine wants to know what they are in the container, which is something else in a user
 * namespace of the pod (idmap.h).
 */
#include "api/cri/config-internal.h"

#define RANGES_MAX 32 /* of one mount's map */

typedef struct MountAt {
	const Cri__Mount *m;
	const ContainerConfig *sandbox;
} MountAt;

static int bad(const Cri__Mount *m, Err *e, const char *why)
{
	return err_new(e, ERR_INVALID, "mount %.200s: %s", m->container_path, why);
}

static const char *propagation_of(Cri__MountPropagation p)
{
	switch (p) {
	case CRI__MOUNT_PROPAGATION__PROPAGATION_PRIVATE:
		return "rprivate";
	case CRI__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER:
		return "rslave";
	case CRI__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL:
		return "rshared";
	default:
		return NULL;
	}
}

/* ---- ids ---- */

/* The range of the pod's map; the whole of ids without one. */
static void namespace_range(const ContainerConfig *sandbox, char kind, uint32_t *ret_from, uint64_t *ret_end)
{
	*ret_from = 0;
	*ret_end = UINT32_MAX;
	for (size_t i = 0; sandbox->pod.user_maps && sandbox->pod.user_maps[i]; i++) {
		unsigned inside, outside, length;

		if (sandbox->pod.user_maps[i][0] == kind &&
		    sscanf(sandbox->pod.user_maps[i] + 1, ":%u:%u:%u", &inside, &outside, &length) == 3) {
			*ret_from = outside - inside;
			*ret_end = (uint64_t)outside + length;
		}
	}
}

static int add_ranges(const MountAt *a, const char *kind, Cri__IDMapping *const *v, size_t n, StrBuf *b,
		      Err *e)
{
	uint32_t from;
	uint64_t end;

	namespace_range(a->sandbox, kind[0], &from, &end);
	strbuf_addf(b, "%sids=", kind);
	for (size_t i = 0; i < n; i++) {
		if (v[i]->host_id < from || (uint64_t)v[i]->host_id + v[i]->length > end)
			return bad(a->m, e, "an id of its mappings is not one of the pod's user namespace");
		strbuf_addf(b, "%s%u-%u-%u", i ? "#" : "", v[i]->container_id, v[i]->host_id - from,
			    v[i]->length);
	}
	return 0;
}

static int idmap_text(const MountAt *a, char **ret, Err *e)
{
	const Cri__Mount *m = a->m;
	_cleanup_strbuf_ StrBuf b = {0};
	int r;

	if (m->n_uidmappings == 0 && m->n_gidmappings == 0)
		return 0;
	if (m->n_uidmappings == 0 || m->n_gidmappings == 0)
		return bad(m, e, "mappings of users and of groups go together");
	if (m->n_uidmappings > RANGES_MAX || m->n_gidmappings > RANGES_MAX)
		return bad(m, e, "more than 32 mappings of a kind");
	r = add_ranges(a, "u", m->uidmappings, m->n_uidmappings, &b, e);
	strbuf_add(&b, ";");
	if (r >= 0)
		r = add_ranges(a, "g", m->gidmappings, m->n_gidmappings, &b, e);
	if (r < 0)
		return r;
	*ret = strbuf_steal(&b);
	return *ret ? 0 : err_oom(e);
}

/* ---- kinds ---- */

static int check_read_only(const Cri__Mount *m, Err *e)
{
	if (!m->recursive_read_only)
		return 0;
	if (!m->readonly)
		return bad(m, e, "recursive_read_only needs readonly");
	return m->propagation == CRI__MOUNT_PROPAGATION__PROPAGATION_PRIVATE
		   ? 0
		   : bad(m, e, "recursive_read_only needs the propagation PROPAGATION_PRIVATE");
}

static int bind_of(const MountAt *a, ContainerMount *ret, Err *e)
{
	const Cri__Mount *m = a->m;
	const char *propagation = propagation_of(m->propagation);
	int r;

	if (*m->image_sub_path)
		return bad(m, e, "image_sub_path is for images");
	if (!*m->host_path)
		return bad(m, e, "it has neither host_path nor image");
	if (!propagation)
		return bad(m, e, "its propagation is none that is defined");
	r = check_read_only(m, e);
	if (r >= 0)
		r = cri_path(m->host_path, "mount: host_path", &ret->source, e);
	if (r >= 0)
		r = idmap_text(a, &ret->idmap, e);
	if (r < 0)
		return r;
	ret->type = strdup("bind");
	ret->propagation = strdup(propagation);
	ret->has_bind = ret->create_mountpoint = true;
	ret->read_only = m->readonly;
	ret->ro_force_recursive = m->recursive_read_only;
	ret->ro_non_recursive = m->readonly && !m->recursive_read_only;
	return ret->type && ret->propagation ? 0 : err_oom(e);
}

static int image_of(const MountAt *a, ContainerMount *ret, Err *e)
{
	const Cri__Mount *m = a->m;
	int r;

	if (*m->host_path)
		return bad(m, e, "it has both host_path and image");
	if (m->propagation != CRI__MOUNT_PROPAGATION__PROPAGATION_PRIVATE)
		return bad(m, e, "an image has the propagation PROPAGATION_PRIVATE");
	r = cri_text(m->image->image, "mount: image", &ret->source, e);
	if (r >= 0)
		r = cri_text(m->image_sub_path, "mount: image_sub_path", &ret->image_subpath, e);
	ret->type = strdup("image");
	ret->has_image = ret->read_only = true;
	return r < 0 || ret->type ? r : err_oom(e);
}

static int mount_of(const MountAt *a, ContainerMount *ret, Err *e)
{
	int r;

	if (!*a->m->container_path)
		return err_new(e, ERR_INVALID, "mount of %.200s: its container_path is empty",
			       a->m->host_path);
	r = cri_path(a->m->container_path, "mount: container_path", &ret->target, e);
	if (r < 0)
		return r;
	return a->m->image && *a->m->image->image ? image_of(a, ret, e) : bind_of(a, ret, e);
}

int cri_mounts(const Cri__ContainerConfig *c, const ContainerConfig *sandbox, ContainerHost *ret, Err *e)
{
	int r = cri_list_check(c->n_mounts, "mounts", e);

	if (r < 0 || c->n_mounts == 0)
		return r;
	ret->mounts = calloc(c->n_mounts, sizeof(*ret->mounts));
	if (!ret->mounts)
		return err_oom(e);
	for (size_t i = 0; r >= 0 && i < c->n_mounts; i++) {
		const MountAt at = {c->mounts[i], sandbox};

		ret->n_mounts = i + 1;
		r = mount_of(&at, &ret->mounts[i], e);
	}
	return r;
}
