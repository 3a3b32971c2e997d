/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes with options of the local driver (type, device, o): file systems of their own, as mount(8) would mount them.
 *
 * Such a volume is mounted on the host at its mountpoint when its first user comes, a container that starts or a copy of files,
 * and unmounted after the last. The mount table tells what is mounted, so that a restarted irekod need not be told: running
 * containers are counted again (volume_adopt), and what is mounted without a user goes (volumes_reconcile).
 *
 * A mount may take as long as a server on the network likes. So each volume has a lock of its own (`busy`) for that; Engine.mounted_lock
 * protects the table and the counts of its entries alone.
 */
#include "engine/volume.h"

#include "kernel/mount.h"
#include "runtime/mount-options.h"

#include <arpa/inet.h>
#include <netdb.h>

struct VolumeFs {
	UT_hash_handle hh;
	pthread_mutex_t busy; /* held while it is mounted or unmounted */
	unsigned users;       /* under busy */
	unsigned refs;        /* under Engine.mounted_lock: whoever is at work with this entry */
	char name[];
};

/* ---- options ---- */

static const char *const known[] = {"type", "device", "o", "size"};

bool volume_has_fs(char *const *options)
{
	return strv_env_get(options, "type") || strv_env_get(options, "device");
}

static int check_known(char *const *options, Err *e)
{
	for (size_t i = 0; options && options[i]; i++) {
		int n = (int)strcspn(options[i], "=");
		size_t k = 0;

		while (k < ELEMENTSOF(known) &&
		       (strncmp(options[i], known[k], (size_t)n) != 0 || known[k][n]))
			k++;
		if (k == ELEMENTSOF(known))
			return err_new(e, ERR_INVALID, "invalid option: \"%.*s\"", n, options[i]);
	}
	return 0;
}

int volume_options_check(char *const *options, Err *e)
{
	static const char *const together[][2] = {{"device", "type"},
						  {"type", "device"},
						  {"o", "device"},
						  {"o", "type"}};
	const char *size = strv_env_get(options, "size");
	int64_t bytes;
	int r = check_known(options, e);

	if (r < 0)
		return r;
	if (size && str_to_bytes(size, &bytes) < 0)
		return err_new(e, ERR_INVALID, "invalid size: '%s'", size);
	if (size)
		return err_new(e, ERR_INVALID,
			       "quota size requested but no quota support: leave out the option size, or "
			       "make the volume "
			       "a tmpfs (type=tmpfs, device=tmpfs, o=size=%s)",
			       size);
	for (size_t i = 0; i < ELEMENTSOF(together); i++)
		if (strv_env_get(options, together[i][0]) && !strv_env_get(options, together[i][1]))
			return err_new(e, ERR_INVALID, "missing required option: \"%s\"", together[i][1]);
	return 0;
}

/* The kernel does not look names up. */
static int resolve_address(char **param, Err *e)
{
	const char *host = *param + strlen("addr=");
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
	char text[INET6_ADDRSTRLEN];
	int r = getaddrinfo(host, NULL, &hints, &found);

	if (r != 0)
		return err_new(e, ERR_INVALID, "error resolving passed in network volume address %s: %s",
			       host, gai_strerror(r));
	r = getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST);
	freeaddrinfo(found);
	if (r != 0)
		return err_new(e, ERR_INVALID, "error resolving passed in network volume address %s: %s",
			       host, gai_strerror(r));
	free(*param);
	*param = strf("addr=%s", text);
	return *param ? 0 : err_oom(e);
}

static bool is_network(const char *type)
{
	return streq(type, "nfs") || streq(type, "nfs4") || streq(type, "cifs") || streq(type, "smb3");
}

/* What is told of a failure goes to logs and other people's screens. */
static void hide_password(Err *e, char *const *params)
{
	for (size_t i = 0; e && params && params[i]; i++) {
		const char *secret = str_after(params[i], "password=") ?: str_after(params[i], "pass=");
		size_t n = secret ? strlen(secret) : 0;

		for (char *at = n ? strstr(e->msg, secret) : NULL; at; at = strstr(at + n, secret))
			memset(at, '*', n);
	}
}

/* ---- mounting ---- */

static int bind_device(const char *device, const MountOptions *o, int *ret_fd, Err *e)
{
	_cleanup_close_ int fd = mount_clone(AT_FDCWD, device, o->recursive_bind);
	int r =
	    fd < 0 ? fd : mount_change(fd, "", &(MountChange){.propagation = MS_PRIVATE, .recursive = true});

	if (r >= 0 && (o->set | o->clear))
		r = mount_change(fd, "",
				 &(MountChange){.set = o->set, .clear = o->clear & MOUNT_ATTR__ATIME});
	if (r < 0)
		return err_sys(e, r, "bind %s", device);
	*ret_fd = take_fd(&fd);
	return 0;
}

static int new_fs(const char *type, const char *device, MountOptions *o, int *ret_fd, Err *e)
{
	int r = 0;

	for (char **p = o->params; r >= 0 && p && *p; p++)
		if (is_network(type) && str_starts(*p, "addr="))
			r = resolve_address(p, e);
	/* As mount(2): read-only is the file system, not only this view of it. */
	if (r >= 0 && (o->set & MOUNT_ATTR_RDONLY) && strv_add(&o->params, "ro") < 0)
		r = err_oom(e);
	if (r >= 0)
		r = mount_new_fs(type, device, o->params, o->set, ret_fd, e);
	hide_password(e, o->params);
	return r;
}

static int open_fs(char *const *options, int *ret_fd, Err *e)
{
	const char *type = strv_env_get(options, "type"), *device = strv_env_get(options, "device");
	_cleanup_strv_ char **words = strv_split(strv_env_get(options, "o") ?: "", ',');
	MountOptions o = {0};
	int r = words ? mount_options_parse(words, &o, e) : err_oom(e);

	if (r >= 0)
		r = o.bind ? bind_device(device, &o, ret_fd, e) : new_fs(type, device, &o, ret_fd, e);
	mount_options_done(&o);
	return r;
}

/* Of a mount root the kernel knows that it is one. */
static bool is_mounted(const char *path)
{
	struct statx sx;

	return statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, STATX_TYPE,
		     &sx) == 0 &&
	       (sx.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

static int mount_volume(Engine *en, const char *name, Err *e)
{
	_cleanup_(volume_info_done) VolumeInfo i = {0};
	_cleanup_close_ int fd = -1;
	int r = engine_volume_inspect(en, name, &i, e);

	if (r < 0 || !volume_has_fs(i.options) || is_mounted(i.mountpoint))
		return r;
	r = open_fs(i.options, &fd, e);
	if (r >= 0) {
		r = mount_attach_path(fd, i.mountpoint);
		if (r < 0)
			r = err_sys(e, r, "attach it");
	}
	return err_ctx(e, r, "error while mounting volume '%s': failed to mount local volume: mount %s:%s",
		       i.mountpoint, strv_env_get(i.options, "device"), i.mountpoint);
}

static void unmount_volume(Engine *en, const char *name)
{
	_cleanup_free_ char *path = strf("%s/volumes/%s/_data", store_root(en->store), name);
	int r;

	if (!path || !is_mounted(path))
		return;
	/* Somebody of the host who stands in there keeps it for as long, and the next user gets a mount of his own. */
	r = mount_detach(path);
	if (r < 0)
		log_error("volume %s: unmount %s: %s", name, path, strerror(-r));
}

/* ---- users ---- */

static VolumeFs *fs_get(Engine *en, const char *name)
{
	VolumeFs *v;

	pthread_mutex_lock(&en->mounted_lock);
	HASH_FIND_STR(en->mounted, name, v);
	if (!v) {
		v = calloc(1, sizeof(*v) + strlen(name) + 1);
		if (v) {
			strcpy(v->name, name);
			pthread_mutex_init(&v->busy, NULL);
			HASH_ADD_STR(en->mounted, name, v);
		}
	}
	if (v)
		v->refs++;
	pthread_mutex_unlock(&en->mounted_lock);
	if (v)
		pthread_mutex_lock(&v->busy);
	return v;
}

static void fs_put(Engine *en, VolumeFs *v)
{
	pthread_mutex_unlock(&v->busy);
	pthread_mutex_lock(&en->mounted_lock);
	/* Nobody has it any more, so nobody changes `users`. */
	if (--v->refs == 0 && v->users == 0) {
		HASH_DEL(en->mounted, v);
		pthread_mutex_destroy(&v->busy);
		free(v);
	}
	pthread_mutex_unlock(&en->mounted_lock);
}

int volume_use(Engine *en, const char *name, Err *e)
{
	VolumeFs *v = fs_get(en, name);
	int r = v ? 0 : err_oom(e);

	if (!v)
		return r;
	if (v->users == 0)
		r = mount_volume(en, name, e);
	if (r >= 0)
		v->users++;
	fs_put(en, v);
	return r;
}

void volume_release(Engine *en, const char *name)
{
	VolumeFs *v = fs_get(en, name);

	if (!v)
		return; /* stays mounted until the next start */
	if (v->users > 0 && --v->users == 0)
		unmount_volume(en, name);
	fs_put(en, v);
}

void volume_adopt(Engine *en, const char *name)
{
	VolumeFs *v = fs_get(en, name);

	if (!v)
		return;
	v->users++;
	fs_put(en, v);
}

bool volume_is_idle(Engine *en, const char *name)
{
	VolumeFs *v = fs_get(en, name);
	bool idle = v && v->users == 0;

	if (idle)
		unmount_volume(en, name);
	if (v)
		fs_put(en, v);
	return idle;
}

void volumes_reconcile(Engine *en)
{
	VolumeInfo *v = NULL;
	size_t n = 0;
	Err err;

	if (engine_volume_list(en, &v, &n, &err) < 0) {
		log_error("unmount what an earlier irekod left of volumes: %s", err.msg);
		return;
	}
	for (size_t i = 0; i < n; i++)
		if (volume_has_fs(v[i].options))
			(void)volume_is_idle(en, v[i].name);
	volume_infos_free(v, n);
}
