# SPDX-License-Identifier: Apache-2.0
"""The kubelet's door: what a pod, a CNI plugin, a client of the socket or the holder of a URL may not reach."""
from mutation import Mutation

STREAM, NET, PODS = "test_cri_stream.py::", "test_cri_network.py::", "test_cri_pods.py::"
HOSTILE, RUNTIME, SECURITY = "test_cri_hostile.py::", "test_cri_runtime.py::", "test_cri_security.py::"
DOOR = ("irekod",)

ALL = [
    Mutation(
        "cri-log-paths", "a pod whose log path has `..` in it",
        [HOSTILE + "test_log_paths_that_lead_out"],
        "src/api/cri/config-text.c:cri_path_leads_up", "paths are not looked at",
        [("src/api/cri/config-text.c", "		if (len == 2 && s[0] == '.' && s[1] == '.')\n			return true;\n", "")], programs=DOOR),
    Mutation(
        "cri-log-links", "a log file that is a link to a file of the host",
        [HOSTILE + "test_a_log_that_is_a_link"],
        "src/shim/record-file.c:open_file", "links are followed",
        [("src/shim/record-file.c", "open(f->path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,", "open(f->path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,"),
         ("src/shim/record-file.c", "open(f->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)", "open(f->path, O_RDONLY | O_CLOEXEC)")],
        programs=("ireko-shim",)),
    Mutation(
        "cri-user-ids", "CVE-2024-40635 (containerd): a user id that is 0 when its upper bits are lost",
        [SECURITY + "test_users_that_are_refused[{'run_as_user': {'value': 2147483648}}]",
         SECURITY + "test_users_that_are_refused[{'run_as_user': {'value': 4294967296}}]"],
        "src/api/cri/security.c:check_id", "any number is an id",
        [("src/api/cri/security.c", "	return id >= 0 && id <= CRI_ID_MAX ? 0\n", "	return id >= 0 ? 0\n"),
         ("src/api/cri/security.c", 'snprintf(number, sizeof(number), "%lld", (long long)uid->value);', 'snprintf(number, sizeof(number), "%d", (int)(uid->value & INT32_MAX));')], programs=DOOR),
    Mutation(
        "cri-target", "a container that asks for the pid namespace of another pod's",
        [PODS + "test_a_target"],
        "src/engine/pod.c:target_check", "any container's is given",
        [("src/engine/pod.c", "	return target_check(en, c, e);\n", "	return 0 && target_check(en, c, e);\n")], programs=DOOR),
    Mutation(
        "cri-guard", "rm and its like on what a kubelet keeps",
        [RUNTIME + "test_pods_are_seen_by_the_other_door_and_protected"],
        "src/engine/pod.c:pod_guard", "containers of pods are as any other",
        [("src/engine/pod.c", "	if (!container_in_pod(c))\n		return 0;\n	return err_new(\n", "	if (c)\n		return 0;\n	return err_new(\n")],
        programs=DOOR),
    Mutation(
        "cri-token-once", "a URL of the streaming server that is used a second time",
        [STREAM + "test_a_token_is_good_for_once"],
        "src/api/cri/stream-token.c:cri_token_take", "a token stays good",
        [("src/api/cri/stream-token.c", "	x = unlink_token(t, token);\n	pthread_mutex_unlock(&t->lock);\n", "	for (x = t->first; x && !same_token(x->token, token); x = x->next)\n		;\n	pthread_mutex_unlock(&t->lock);\n"),
         ("src/api/cri/stream-token.c", "		*ret = x->request;\n		x->request = (CriStreamRequest){0};\n	}\n	if (x)\n		token_free(x);\n	return good;\n",
          "		*ret = x->request;\n		ret->id = strdup(x->request.id);\n		ret->cmd = strv_dup(x->request.cmd);\n		ret->ports = NULL;\n	}\n	(void)unlink_token;\n	return good;\n")], programs=DOOR),
    Mutation(
        "cni-left-behind", "a CNI plugin that ends and leaves a process in its group",
        [NET + "test_a_process_that_is_left_behind"],
        "src/cni/run.c:end", "nobody is killed",
        [("src/cni/run.c", "	(void)kill(-run->pid, SIGKILL);\n", "")], programs=DOOR),
    Mutation(
        "cni-patience", "a CNI plugin that hangs while its caller has gone",
        [NET + "test_an_add_that_hangs_is_given_up"],
        "src/cni/run.c:watch", "it is waited for",
        [("src/cni/run.c", "		if (p[3].revents & (POLLERR | POLLHUP | POLLNVAL))\n", "		if (false)\n")], programs=DOOR),
    Mutation(
        "cni-floods", "a CNI plugin that answers without end",
        [NET + "test_an_add_that_goes_wrong[flood-recorder]"],
        "src/cni/run.c:watch", "all of it is taken",
        [("src/cni/run.c", "		if (flood)\n			return too_much(e);\n", ""), ("src/cni/run.c", "	return flood ? too_much(e) : 0;\n", "	return 0;\n")], programs=DOOR),
    Mutation(
        "cni-released-once", "a pod that is stopped several times, by many",
        [NET + "test_released_once"],
        "src/engine/pod-network.c:pod_network_release", "every stop releases its network",
        [("src/engine/pod-network.c", "	if (r < 0 || !c->pod_attached)\n		return r;\n	r = detach", "	if (r < 0)\n		return r;\n	r = detach")], programs=DOOR),
]
