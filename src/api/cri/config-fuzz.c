/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A CreateContainerRequest as a stranger may send it: what is translated has no path that leads up, no log outside its directory, no id beyond 2^31 - 1, and
 * no more devices than one configuration may name.
 */
#include "api/cri/config-internal.h"
#include "runtime.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_pod(const Cri__PodSandboxConfig *c)
{
	CriPod pod = {0};

	if (cri_pod_config(c, "", &pod, NULL) == 0) {
		if (strlen(pod.container_name) > 255 || strlen(pod.config.hostname) > 64)
			abort();
		if (pod.config.host.cgroup_parent && cri_path_leads_up(pod.config.host.cgroup_parent))
			abort();
	}
	cri_pod_done(&pod);
}

static void check_container(const Cri__PodSandboxConfig *pod, const Cri__ContainerConfig *c)
{
	ContainerInfo sandbox = {.id = "0123"};
	ContainerConfig k = {0};
	long long id;

	if (cri_container_config(pod, c, &sandbox, &k, NULL) == 0) {
		const char *log = k.pod.log_path;

		if (log && (log[0] != '/' || cri_path_leads_up(log)))
			abort();
		if (k.user && sscanf(k.user, "%lld", &id) == 1 && (id < 0 || id > CRI_ID_MAX) &&
		    !*c->linux_part->security_context->run_as_username)
			abort();
		if (k.host.n_device_requests > 0 &&
		    strv_len(k.host.device_requests->device_ids) > CRI_LIST_MAX)
			abort();
	}
	container_config_done(&k);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Cri__CreateContainerRequest *rq = cri__create_container_request__unpack(NULL, size, data);

	if (!rq)
		return 0;
	if (rq->sandbox_config)
		check_pod(rq->sandbox_config);
	if (rq->sandbox_config && rq->config) {
		_cleanup_free_ char *name = cri_container_name(rq->sandbox_config, rq->config);

		check_container(rq->sandbox_config, rq->config);
		if (name && strlen(name) > 255)
			abort();
	}
	cri__create_container_request__free_unpacked(rq, NULL);
	return 0;
}
