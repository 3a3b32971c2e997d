/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a Mount of the API may say, before anything is looked at: Docker's rules, in its order and in its words.
 */
#include "engine/mounts.h"

#include "base/path.h"
#include "base/str.h"

static int invalid(const ContainerMount *m, Err *e, const char *why)
{
	return err_new(e, ERR_INVALID, "invalid mount config for type \"%s\": %s", m->type ?: "", why);
}

static int extra(const ContainerMount *m, Err *e, const char *field)
{
	return err_new(e, ERR_INVALID, "invalid mount config for type \"%s\": field %s must not be specified",
		       m->type, field);
}

static int check_absolute(const ContainerMount *m, const char *path, Err *e)
{
	if (path[0] == '/')
		return 0;
	return err_new(
	    e, ERR_INVALID,
	    "invalid mount config for type \"%s\": invalid mount path: '%s' mount path must be absolute",
	    m->type, path);
}

static int check_target(const ContainerMount *m, char **ret, Err *e)
{
	_cleanup_free_ char *target = NULL;
	int r;

	if (str_empty(m->target))
		return invalid(m, e, "field Target must not be empty");
	r = check_absolute(m, m->target, e);
	if (r < 0)
		return r;
	target = path_clean(m->target);
	if (!target)
		return err_oom(e);
	if (streq(target, "/"))
		return invalid(m, e, "invalid specification: destination can't be '/'");
	*ret = take_ptr(target);
	return 0;
}

/* Only the options of its own kind. */
static int check_options(const ContainerMount *m, Err *e)
{
	const struct {
		const char *type, *field;
		bool given;
	} options[] = {
	    {"bind", "BindOptions", m->has_bind},          {"volume", "VolumeOptions", m->has_volume},
	    {"image", "ImageOptions", m->has_image},       {"tmpfs", "TmpfsOptions", m->has_tmpfs},
	    {"cluster", "ClusterOptions", m->has_cluster},
	};

	for (size_t i = 0; i < ELEMENTSOF(options); i++)
		if (options[i].given && !streq(m->type, options[i].type))
			return extra(m, e, options[i].field);
	return 0;
}

static int check_consistency(const ContainerMount *m, Err *e)
{
	static const char *const known[] = {"", "default", "consistent", "cached", "delegated"};

	for (size_t i = 0; i < ELEMENTSOF(known); i++)
		if (streq(m->consistency ?: "", known[i]))
			return 0;
	return err_new(
	    e, ERR_INVALID,
	    "invalid mount config for type \"%s\": invalid consistency: %s: use default, consistent, "
	    "cached or delegated",
	    m->type, m->consistency);
}

static int check_bind(const ContainerMount *m, Err *e)
{
	_cleanup_free_ char *propagation = NULL, *idmap = NULL;
	int r;

	if (str_empty(m->source))
		return invalid(m, e, "field Source must not be empty");
	r = propagation_parse(m->propagation ?: "", &propagation, &idmap, e);
	if (r < 0)
		return err_ctx(e, r, "invalid mount config for type \"bind\"");
	if (idmap && m->idmap)
		return invalid(m, e, "idmap is given twice");
	r = check_absolute(m, m->source, e);
	if (r < 0)
		return r;
	if (m->ro_non_recursive && !m->read_only)
		return invalid(m, e, "mount options conflict: !ReadOnly && BindOptions.ReadOnlyNonRecursive");
	if (m->ro_force_recursive && !m->read_only)
		return invalid(m, e,
			       "mount options conflict: !ReadOnly && BindOptions.ReadOnlyForceRecursive");
	if (m->ro_force_recursive && m->ro_non_recursive)
		return invalid(m, e,
			       "mount options conflict: BindOptions.ReadOnlyNonRecursive && "
			       "BindOptions.ReadOnlyForceRecursive");
	if (m->ro_force_recursive && m->non_recursive)
		return invalid(
		    m, e,
		    "mount options conflict: BindOptions.NonRecursive && BindOptions.ReadOnlyForceRecursive");
	if (m->ro_force_recursive && *propagation && !streq(propagation, "rprivate"))
		return invalid(
		    m, e,
		    "mount options conflict: BindOptions.ReadOnlyForceRecursive needs the propagation "
		    "rprivate");
	return 0;
}

static int check_volume(const ContainerMount *m, Err *e)
{
	bool anonymous = str_empty(m->source);

	if (!str_empty(m->volume_subpath) && anonymous)
		return invalid(m, e, "must not set Subpath when using anonymous volumes");
	if (!str_empty(m->volume_subpath) && !subpath_is_local(m->volume_subpath))
		return invalid(m, e, "subpath must be a relative path within the volume");
	if (m->read_only && anonymous)
		return invalid(m, e, "must not set ReadOnly mode when using anonymous volumes");
	return 0;
}

static int check_image(const ContainerMount *m, Err *e)
{
	if (str_empty(m->source))
		return invalid(m, e, "field Source must not be empty");
	if (!str_empty(m->image_subpath) && !subpath_is_local(m->image_subpath))
		return invalid(m, e, "subpath must be a relative path within the image");
	return 0;
}

static int check_tmpfs(const ContainerMount *m, Err *e)
{
	int r = 0;

	if (!str_empty(m->source))
		return extra(m, e, "Source");
	if (m->tmpfs_size < 0 || m->tmpfs_mode < 0 || m->tmpfs_mode > 07777)
		return invalid(m, e, "size and mode must not be negative, mode at most 07777");
	for (size_t i = 0; r >= 0 && m->tmpfs_options && m->tmpfs_options[i]; i++)
		r = strchr(m->tmpfs_options[i], ',')
			? err_new(e, ERR_INVALID, "a comma in TmpfsOptions.Options")
			: tmpfs_options_check(m->tmpfs_options[i], e);
	return err_ctx(e, r, "invalid mount config for type \"tmpfs\"");
}

int mount_check(const ContainerMount *m, char **ret_target, Err *e)
{
	static const struct {
		const char *type;
		int (*check)(const ContainerMount *m, Err *e);
	} types[] = {{"bind", check_bind},
		     {"volume", check_volume},
		     {"image", check_image},
		     {"tmpfs", check_tmpfs}};
	_cleanup_free_ char *target = NULL;
	size_t i = 0;
	int r;

	while (i < ELEMENTSOF(types) && !streq0(m->type, types[i].type))
		i++;
	r = check_target(m, &target, e);
	if (r >= 0 && i == ELEMENTSOF(types))
		r = invalid(m, e,
			    streq0(m->type, "cluster")
				? "cluster volumes are those of a swarm, and this node is in none"
			    : streq0(m->type, "npipe")
				? "named pipes are mounted by Windows only"
				: "mount type unknown: use bind, volume, image or tmpfs");
	if (r >= 0)
		r = check_options(m, e);
	if (r >= 0)
		r = check_consistency(m, e);
	if (r >= 0)
		r = types[i].check(m, e);
	if (r >= 0)
		*ret_target = take_ptr(target);
	return r;
}
