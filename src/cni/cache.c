/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attachments on record: files results/NETWORK-CONTAINER-INTERFACE below the cache directory, in the form that libcni gives them there ("cniCacheV1").
 *
 * A record holds all that is needed to take an attachment down: the list of that time, arguments, capabilities, and the result if there is one. It is replaced whole, and
 * not synced: after a power cut, what it describes is gone too. A member of ours, "owner", says whose it is: the directory is shared by all
 * callers of CNI on a machine, and nobody is to clear away what is another's.
 *
 * Other callers write here too, so a record is checked like anything else, and its names have to be those that its file has.
 */
#include "cni/cni-internal.h"

#include "base/base64.h"
#include "base/fd.h"

#include <fcntl.h>

#define KIND            "cniCacheV1"
#define BEING_WRITTEN_S 60 /* a record is written in an instant; machines that were suspended have it too */

void cni_record_done(CniRecord *r)
{
	free(r->container_id);
	free(r->ifname);
	free(r->network);
	free(r->netns);
	free(r->owner);
	free(r->config);
	json_decref(r->args);
	json_decref(r->capabilities);
	json_decref(r->result);
	*r = (CniRecord){0};
}

/* ---- reading ---- */

/* [[K, V]...]; NULL if it is anything else. */
static json_t *pairs_of(json_t *args)
{
	json_t *pair;
	size_t i;

	if (!json_is_array(args))
		return NULL;
	json_array_foreach (args, i, pair)
		if (json_array_size(pair) != 2 || !json_is_string(json_array_get(pair, 0)) ||
		    !json_is_string(json_array_get(pair, 1)))
			return NULL;
	return json_incref(args);
}

static json_t *object_of(json_t *j)
{
	return json_is_object(j) ? json_incref(j) : NULL;
}

static int copy_names(const json_t *j, CniRecord *r, Err *e)
{
	const char *config = json_get_str(j, "config");
	size_t len = 0;

	r->container_id = strdup(json_get_str(j, "containerId"));
	r->ifname = strdup(json_get_str(j, "ifName"));
	r->network = strdup(json_get_str(j, "networkName"));
	r->netns = strdup(json_get_str(j, "netns") ?: "");
	r->owner = strdup(json_get_str(j, "owner") ?: "");
	if (!r->container_id || !r->ifname || !r->network || !r->netns || !r->owner)
		return err_oom(e);
	if (config && base64_decode(config, &r->config, &len) == -ENOMEM)
		return err_oom(e);
	if (r->config && strlen(r->config) != len)
		free(take_ptr(r->config));
	return 0;
}

int cni_record_parse(const char *text, size_t len, CniRecord *ret, Err *e)
{
	_cleanup_json_ json_t *j = NULL;
	_cleanup_record_ CniRecord r = {0};
	int n = cni_document_parse_deep(text, len, CNI_RECORD_MAX, CNI_RECORD_DEPTH_MAX,
					"record of an attachment", &j, e);

	if (n < 0)
		return n;
	if (!streq0(json_get_str(j, "kind"), KIND))
		return err_new(e, ERR_INVALID, "record of an attachment: its kind is not " KIND);
	if (!cni_name_is_plain(json_get_str(j, "containerId")) ||
	    !cni_name_is_plain(json_get_str(j, "networkName")) ||
	    !cni_ifname_is_good(json_get_str(j, "ifName")))
		return err_new(
		    e, ERR_INVALID,
		    "record of an attachment: a container, network or interface without a good name");
	n = copy_names(j, &r, e);
	if (n < 0)
		return n;
	r.args = pairs_of(json_object_get(j, "cniArgs"));
	r.capabilities = object_of(json_object_get(j, "capabilityArgs"));
	r.result = object_of(json_object_get(j, "result"));
	*ret = r;
	r = (CniRecord){0};
	return 0;
}

static char *file_name(const char *network, const char *container_id, const char *ifname)
{
	return strf("%s-%s-%s", network, container_id, ifname);
}

/* -ENOENT if there is no directory. */
static int open_results(const char *cache_dir, bool make)
{
	_cleanup_free_ char *path = strf("%s/results", cache_dir);
	int fd, r;

	if (!path)
		return -ENOMEM;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0 || errno != ENOENT || !make)
		return fd < 0 ? -errno : fd;
	r = mkdir_parents_at(AT_FDCWD, path, 0700);
	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* One whose names are those of its file. */
static int read_record(int dir, const char *name, CniRecord *ret, Err *e)
{
	_cleanup_free_ char *text = NULL, *expected = NULL;
	_cleanup_record_ CniRecord r = {0};
	size_t len = 0;
	int n = cni_file_read(dir, name, CNI_RECORD_MAX, false, &text, &len, e);

	if (n >= 0)
		n = cni_record_parse(text, len, &r, e);
	if (n < 0)
		return n;
	expected = file_name(r.network, r.container_id, r.ifname);
	if (!expected)
		return err_oom(e);
	if (!streq(expected, name))
		return err_new(e, ERR_INVALID, "%s: the record of another attachment", name);
	*ret = r;
	r = (CniRecord){0};
	return 0;
}

static int find_among_all(int dir, const char *container_id, const char *ifname, CniRecord *ret, Err *e)
{
	_cleanup_free_ char *tail = strf("-%s-%s", container_id, ifname);
	_cleanup_dir_ DIR *d = NULL;
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *de;

	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d || !tail) {
		if (!d)
			closep(&fd);
		return err_sys(e, tail ? errno : ENOMEM, "read the records of attachments");
	}
	while ((de = readdir(d))) {
		_cleanup_record_ CniRecord r = {0};

		if (!str_ends(de->d_name, tail) || read_record(dir, de->d_name, &r, NULL) < 0 ||
		    !streq(r.container_id, container_id) || !streq(r.ifname, ifname))
			continue;
		*ret = r;
		r = (CniRecord){0};
		return 1;
	}
	return 0;
}

bool cni_record_exists(const char *cache_dir, const char *container_id, const char *ifname)
{
	int fd = open_results(cache_dir, false);
	_cleanup_dir_ DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	_cleanup_free_ char *tail = strf("-%s-%s", container_id, ifname);
	struct dirent *de;

	if (!d || !tail) {
		if (!d)
			closep(&fd);
		return fd != -ENOENT;
	}
	do {
		errno = 0;
		de = readdir(d);
	} while (de && !str_ends(de->d_name, tail));
	return de || errno != 0;
}

int cni_record_find(const char *cache_dir, const char *network, const char *container_id, const char *ifname,
		    CniRecord *ret, Err *e)
{
	_cleanup_close_ int dir = open_results(cache_dir, false);
	_cleanup_free_ char *name = network ? file_name(network, container_id, ifname) : NULL;

	if (dir == -ENOENT)
		return 0;
	if (dir < 0)
		return err_sys(e, dir, "open %s/results", cache_dir);
	if (network && !name)
		return err_oom(e);
	if (name && read_record(dir, name, ret, NULL) >= 0)
		return 1;
	return find_among_all(dir, container_id, ifname, ret, e);
}

void cni_record_sweep(const char *cache_dir)
{
	_cleanup_close_ int dir = open_results(cache_dir, false);

	if (dir >= 0)
		file_replace_sweep(dir, time(NULL) - BEING_WRITTEN_S);
}

int cni_record_each(const char *cache_dir, int (*f)(CniRecord *r, void *user, Err *e), void *user, Err *e)
{
	int fd = open_results(cache_dir, false), r = 0;
	_cleanup_dir_ DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *de;

	if (fd == -ENOENT)
		return 0;
	if (!d) {
		closep(&fd);
		return err_sys(e, fd < 0 ? fd : ENOMEM, "open %s/results", cache_dir);
	}
	while (r >= 0 && (de = readdir(d))) {
		_cleanup_record_ CniRecord one = {0};

		if (de->d_name[0] != '.' && read_record(fd, de->d_name, &one, NULL) >= 0)
			r = f(&one, user, e);
	}
	return r < 0 ? r : 0;
}

/* ---- writing ---- */

static int set_text(json_t *j, const char *key, const char *value)
{
	return json_object_set_new(j, key, json_string(value));
}

static int set_part(json_t *j, const char *key, json_t *value)
{
	return value ? json_object_set(j, key, value) : 0;
}

static json_t *encode(const CniRecord *r)
{
	_cleanup_json_ json_t *j = json_object();
	_cleanup_free_ char *config = base64_encode(r->config, strlen(r->config), false);

	if (!j || !config || set_text(j, "kind", KIND) < 0 ||
	    set_text(j, "containerId", r->container_id) < 0 || set_text(j, "config", config) < 0 ||
	    set_text(j, "ifName", r->ifname) < 0 || set_text(j, "networkName", r->network) < 0 ||
	    set_text(j, "netns", r->netns) < 0 || set_text(j, "owner", r->owner) < 0 ||
	    set_part(j, "cniArgs", r->args) < 0 || set_part(j, "capabilityArgs", r->capabilities) < 0 ||
	    set_part(j, "result", r->result) < 0)
		return NULL;
	return take_ptr(j);
}

int cni_record_write(const char *cache_dir, const CniRecord *r, Err *e)
{
	_cleanup_close_ int dir = open_results(cache_dir, true);
	_cleanup_free_ char *name = file_name(r->network, r->container_id, r->ifname);
	_cleanup_json_ json_t *j = NULL;

	if (dir < 0)
		return err_sys(e, dir, "open %s/results", cache_dir);
	j = encode(r);
	if (!j || !name)
		return err_oom(e);
	return json_save_at(dir, name, j, 0600, false, e);
}

int cni_record_remove(const char *cache_dir, const char *network, const char *container_id,
		      const char *ifname, Err *e)
{
	_cleanup_close_ int dir = open_results(cache_dir, false);
	_cleanup_free_ char *name = file_name(network, container_id, ifname);

	if (dir == -ENOENT)
		return 0;
	if (dir < 0)
		return err_sys(e, dir, "open %s/results", cache_dir);
	if (!name)
		return err_oom(e);
	return unlinkat(dir, name, 0) < 0 && errno != ENOENT
		   ? err_sys(e, errno, "remove %s/results/%s", cache_dir, name)
		   : 0;
}
