/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HostConfig.DeviceRequests (docker run --gpus, --device vendor/class=name), down to names of CDI devices.
 *
 * Driver "cdi" names them. A request without driver asks by capability; of these only "gpu" is known, and the devices of class gpu that the files
 * of CDI describe are what can be had of it.
 */
#include "engine/cdi.h"
#include "engine/engine-internal.h"

/* Of several vendors' devices these go first, in this order. */
static const char *const gpu_kinds[] = {"nvidia.com/gpu", "amd.com/gpu", NULL};

static int cannot_select(const ContainerDeviceRequest *q, Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0};
	const json_t *set, *one;
	size_t i, k;

	json_array_foreach (q->capabilities, i, set) {
		strbuf_add(&b, i ? " [" : "[");
		json_array_foreach ((json_t *)set, k, one)
			strbuf_addf(&b, "%s%s", k ? " " : "", json_string_value(one) ?: "?");
		strbuf_add(&b, "]");
	}
	return err_new(e, ERR_INVALID, "could not select device driver \"%s\" with capabilities: [%.200s]",
		       q->driver ?: "", b.s ?: "");
}

/* One of the AND lists is of what a GPU's driver gives. */
static bool asks_for_gpu(const ContainerDeviceRequest *q)
{
	static const char *const given[] = {"gpu",      "nvidia",  "amd", "compute",  "utility", "video",
					    "graphics", "display", "ngx", "compat32", NULL};
	const json_t *set, *one;
	size_t i, k;

	json_array_foreach (q->capabilities, i, set) {
		bool all = true, gpu = false;

		json_array_foreach ((json_t *)set, k, one) {
			const char *s = json_string_value(one);

			all = all && s && strv_has((char *const *)given, s);
			gpu = gpu || streq0(s, "gpu");
		}
		if (all && gpu)
			return true;
	}
	return false;
}

static bool is_of_kind(const char *name, const char *kind, size_t len)
{
	return strncmp(name, kind, len) == 0 && name[len] == '=';
}

/* The kind of the first vendor that has one; its length, 0: there is none. */
static size_t gpu_kind(char *const *names, const char **ret)
{
	for (size_t k = 0; gpu_kinds[k]; k++)
		for (size_t i = 0; names && names[i]; i++)
			if (is_of_kind(names[i], gpu_kinds[k], strlen(gpu_kinds[k]))) {
				*ret = gpu_kinds[k];
				return strlen(*ret);
			}
	for (size_t i = 0; names && names[i]; i++) {
		size_t len = strcspn(names[i], "=");

		if (len > 4 && strncmp(names[i] + len - 4, "/gpu", 4) == 0) {
			*ret = names[i];
			return len;
		}
	}
	return 0;
}

static int add_name(char ***v, char *name, Err *e)
{
	if (name && strv_has(*v, name)) {
		free(name);
		return 0;
	}
	return strv_take(v, name) < 0 ? err_oom(e) : 0;
}

/* `count` of a kind's devices: by index, for that is what vendors name them by; -1: all. */
static int add_count(char *const *names, const char *kind, size_t len, int64_t count, char ***ret, Err *e)
{
	_cleanup_free_ char *whole = strf("%.*s=all", (int)len, kind);
	int r = 0;

	if (!whole)
		return err_oom(e);
	if (count < 0 && strv_has(names, whole))
		return add_name(ret, take_ptr(whole), e);
	for (size_t i = 0; r >= 0 && count < 0 && names[i]; i++)
		if (is_of_kind(names[i], kind, len))
			r = add_name(ret, strdup(names[i]), e);
	for (int64_t i = 0; r >= 0 && i < count; i++) {
		_cleanup_free_ char *name = strf("%.*s=%lld", (int)len, kind, (long long)i);

		if (name && !strv_has(names, name))
			return err_new(e, ERR_INVALID, "%lld devices of %.*s were asked for, there are %lld",
				       (long long)count, (int)len, kind, (long long)i);
		r = add_name(ret, take_ptr(name), e);
	}
	return r;
}

static int resolve_gpu(char *const *dirs, const ContainerDeviceRequest *q, char ***ret, Err *e)
{
	_cleanup_strv_ char **names = NULL;
	const char *kind;
	size_t len;
	int r = asks_for_gpu(q) ? cdi_list(dirs, &names, e) : cannot_select(q, e);

	if (r < 0)
		return r;
	len = gpu_kind(names, &kind);
	if (len == 0 || (!str_empty(q->driver) && strncmp(kind, q->driver, strlen(q->driver)) != 0))
		return cannot_select(q, e);
	if (strv_len(q->device_ids) == 0)
		return add_count(names, kind, len, q->count, ret, e);
	if (q->count != 0)
		return err_new(e, ERR_INVALID, "cannot set both Count and DeviceIDs on device request");
	for (size_t i = 0; r >= 0 && q->device_ids[i]; i++)
		r = add_name(ret,
			     cdi_name_is_qualified(q->device_ids[i])
				 ? strdup(q->device_ids[i])
				 : strf("%.*s=%s", (int)len, kind, q->device_ids[i]),
			     e);
	return r;
}

static int resolve_cdi(const ContainerDeviceRequest *q, char ***ret, Err *e)
{
	int r = 0;

	if (q->count != 0)
		return err_new(e, ERR_INVALID, "unexpected count in CDI device request");
	if (json_array_size(q->capabilities) > 0)
		return err_new(e, ERR_INVALID, "unexpected capabilities in CDI device request");
	for (size_t i = 0; r >= 0 && q->device_ids && q->device_ids[i]; i++)
		r = cdi_name_is_qualified(q->device_ids[i])
			? add_name(ret, strdup(q->device_ids[i]), e)
			: err_new(e, ERR_INVALID,
				  "CDI device injection failed: \"%.100s\" is not vendor.com/class=name",
				  q->device_ids[i]);
	return r;
}

int device_requests_apply(char *const *dirs, const ContainerHost *h, json_t *config, Err *e)
{
	_cleanup_strv_ char **names = NULL;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < h->n_device_requests; i++)
		r = streq0(h->device_requests[i].driver, "cdi")
			? resolve_cdi(&h->device_requests[i], &names, e)
			: resolve_gpu(dirs, &h->device_requests[i], &names, e);
	return r >= 0 && names ? cdi_apply(dirs, names, config, e) : r;
}

char *const *engine_cdi_dirs(Engine *en)
{
	static char *const standard[] = {(char *)"/etc/cdi", (char *)"/var/run/cdi", NULL};

	return en->options.cdi_dirs ? en->options.cdi_dirs : standard;
}

int engine_cdi_devices(Engine *en, char ***ret, Err *e)
{
	return cdi_list(engine_cdi_dirs(en), ret, e);
}
