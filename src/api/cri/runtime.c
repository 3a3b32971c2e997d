/* SPDX-License-Identifier: Apache-2.0 */
/* What a kubelet asks about the runtime itself. */
#include "api/cri/door-internal.h"

int cri_rpc_version(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	Cri__VersionResponse answer = CRI__VERSION_RESPONSE__INIT;
	int r = grpc_receive_only(call, &cri__version_request__descriptor, &rq, e);

	(void)user;
	answer.version =
	    (char *)"0.1.0"; /* of the kubelet's own side of the protocol; every runtime says this */
	answer.runtime_name = (char *)"ireko";
	answer.runtime_version = (char *)IREKO_VERSION;
	answer.runtime_api_version = (char *)"v1";
	return r < 0 ? r : grpc_send_message_more(call, &answer.base, e);
}

int cri_rpc_runtime_config(GrpcCall *call, void *user, Err *e)
{
	const CriDoor *d = user;
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	Cri__RuntimeConfigResponse answer = CRI__RUNTIME_CONFIG_RESPONSE__INIT;
	Cri__LinuxRuntimeConfiguration own = CRI__LINUX_RUNTIME_CONFIGURATION__INIT;
	int r = grpc_receive_only(call, &cri__runtime_config_request__descriptor, &rq, e);

	own.cgroup_driver =
	    streq(d->cgroup_driver, "systemd") ? CRI__CGROUP_DRIVER__SYSTEMD : CRI__CGROUP_DRIVER__CGROUPFS;
	answer.linux_part = &own;
	return r < 0 ? r : grpc_send_message_more(call, &answer.base, e);
}

/* What a kubelet has to say is the range of its pods' addresses, for runtimes that write a configuration of CNI with it. Ours takes the one that is there, whose
 * plugins know their ranges. */
int cri_rpc_update_runtime_config(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ ProtobufCMessage *m = NULL;
	const Cri__UpdateRuntimeConfigRequest *rq;
	int r = grpc_receive_only(call, &cri__update_runtime_config_request__descriptor, &m, e);

	(void)user;
	if (r < 0)
		return r;
	rq = (const Cri__UpdateRuntimeConfigRequest *)m;
	if (rq->runtime_config && rq->runtime_config->network_config)
		log_debug("kubelet: the range of pods is %s", rq->runtime_config->network_config->pod_cidr);
	return cri_send_empty(call, e);
}
