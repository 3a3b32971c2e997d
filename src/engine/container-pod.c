/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a container of a pod is asked to be beyond what the Engine API can say (ContainerPod): its table, for rows and copies. Requests are never decoded with it.
 */
#include "engine/container-config.h"

#include "base/str.h"

#define STR(m, n)                                                                                            \
	{                                                                                                    \
		.name = n, .type = JSON_T_STR, .offset = offsetof(ContainerPod, m)                           \
	}
#define STRV(m, n)                                                                                           \
	{                                                                                                    \
		.name = n, .type = JSON_T_STRV, .offset = offsetof(ContainerPod, m), .keep_given = true      \
	}
#define BOOL(m, n)                                                                                           \
	{                                                                                                    \
		.name = n, .type = JSON_T_BOOL, .offset = offsetof(ContainerPod, m)                          \
	}

static const JsonField pod_table[] = {
    STR(id, "id"),
    BOOL(sandbox, "sandbox"),
    STR(note, "note"),
    STR(log_path, "log_path"),
    STRV(user_maps, "user_maps"),
    BOOL(strict_groups, "strict_groups"),
    STRV(ambient_capabilities, "ambient_capabilities"),
    STRV(hugepages, "hugepages"),
    STRV(unified, "unified"),
    {0},
};

int container_pod_decode(const json_t *doc, ContainerPod *ret, Err *e)
{
	return json_is_object(doc) ? json_decode(doc, pod_table, ret, e) : 0;
}

json_t *container_pod_encode(const ContainerPod *p)
{
	return json_encode_sparse(pod_table, p);
}

int container_pod_copy(const ContainerPod *from, ContainerPod *ret)
{
	return json_fields_copy(pod_table, from, ret);
}

void container_pod_done(ContainerPod *p)
{
	json_fields_done(pod_table, p);
	*p = (ContainerPod){0};
}
