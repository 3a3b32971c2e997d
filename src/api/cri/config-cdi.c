/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices of CDI that a container is to have: those of the field for them, then those of annotations whose key begins with "cdi.k8s.io/", as plugins of older kubelets name
 * them. Each device is taken once, where it is named first.
 *
 * Annotations are a map, which has no order on the wire. They are taken by their keys' order, so that a container that is made anew from the same configuration is the same: what two
 * devices both set is the later one's.
 *
 * Only the container's own annotations count, which a kubelet's plugins write. Those that a pod's author writes are the pod's, and order nothing.
 */
#include "api/cri/config-internal.h"
#include "engine/cdi.h"

#include <ctype.h>

#define PREFIX          "cdi.k8s.io/"
#define KEY_MAX         63  /* after the prefix: Kubernetes' */
#define DEVICE_NAME_MAX 512 /* bytes; CDI itself has no limit */

typedef Cri__ContainerConfig__AnnotationsEntry Annotation;

static bool is_key(const char *s)
{
	size_t len = strlen(s);

	if (len == 0 || len > KEY_MAX || !isalnum((unsigned char)s[0]) || !isalnum((unsigned char)s[len - 1]))
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr("_.-", *s))
			return false;
	return true;
}

/* What the field has is checked by the engine, which names it. */
static int add_device(ContainerDeviceRequest *q, const char *name, Err *e)
{
	size_t n = strv_len(q->device_ids);

	if (strv_has(q->device_ids, name))
		return 0;
	if (n >= CRI_LIST_MAX)
		return err_new(e, ERR_INVALID, "more than %d devices of CDI", CRI_LIST_MAX);
	return cri_texts((char *const[]){(char *)name}, 1, "CDI_devices", &q->device_ids, e);
}

/* "vendor.com/class=name,vendor.com/class=other" */
static int add_list(ContainerDeviceRequest *q, const char *list, Err *e)
{
	for (const char *s = list;; s++) {
		size_t len = strcspn(s, ",");
		_cleanup_free_ char *name = strndup(s, MIN2(len, (size_t)DEVICE_NAME_MAX + 1));
		int r;

		if (!name)
			return err_oom(e);
		if (len > DEVICE_NAME_MAX)
			return err_new(e, ERR_INVALID,
				       "the name \"%.100s...\" of a device is longer than %d bytes", name,
				       DEVICE_NAME_MAX);
		if (!cdi_name_is_qualified(name))
			return err_new(e, ERR_INVALID, "\"%s\" is not vendor.com/class=name", name);
		r = add_device(q, name, e);
		s += len;
		if (r < 0 || !*s)
			return r;
	}
}

static int add_annotation(ContainerDeviceRequest *q, const Annotation *a, Err *e)
{
	int r = cri_text_check(a->key, "annotations", e);

	if (r < 0)
		return r;
	if (!is_key(a->key + strlen(PREFIX)))
		return err_new(e, ERR_INVALID,
			       "annotations: \"%.200s\": after " PREFIX
			       " there are to be 1 to %d letters, digits, '-', '_' and '.', with a letter or "
			       "digit at both ends",
			       a->key, KEY_MAX);
	r = cri_text_check(a->value, "its value", e);
	if (r >= 0)
		r = add_list(q, a->value, e);
	return err_ctx(e, r, "annotations: %s", a->key);
}

static int by_key(const void *a, const void *b)
{
	return strcmp((*(Annotation *const *)a)->key, (*(Annotation *const *)b)->key);
}

/* Those of CDI, in order; the messages are the request's. NULL: there is none. */
static int of_cdi(const Cri__ContainerConfig *c, Annotation ***ret, size_t *ret_n, Err *e)
{
	int r = cri_list_check(c->n_annotations, "annotations", e);
	Annotation **v;
	size_t n = 0;

	if (r < 0)
		return r;
	v = calloc(c->n_annotations + 1, sizeof(Annotation *));
	if (!v)
		return err_oom(e);
	for (size_t i = 0; i < c->n_annotations; i++)
		if (str_starts(c->annotations[i]->key, PREFIX))
			v[n++] = c->annotations[i];
	qsort(v, n, sizeof(Annotation *), by_key);
	*ret = v;
	*ret_n = n;
	return 0;
}

int cri_cdi_devices(const Cri__ContainerConfig *c, ContainerHost *h, Err *e)
{
	_cleanup_free_ Annotation **annotations = NULL;
	ContainerDeviceRequest *q;
	size_t n = 0;
	int r = cri_list_check(c->n_cdi_devices, "CDI_devices", e);

	if (r >= 0)
		r = of_cdi(c, &annotations, &n, e);
	if (r < 0 || c->n_cdi_devices + n == 0)
		return r;
	q = h->device_requests = calloc(1, sizeof(*q));
	if (!q)
		return err_oom(e);
	h->n_device_requests = 1;
	q->driver = strdup("cdi");
	if (!q->driver)
		return err_oom(e);
	for (size_t i = 0; r >= 0 && i < c->n_cdi_devices; i++)
		r = add_device(q, c->cdi_devices[i]->name, e);
	for (size_t i = 0; r >= 0 && i < n; i++)
		r = add_annotation(q, annotations[i], e);
	return r;
}
