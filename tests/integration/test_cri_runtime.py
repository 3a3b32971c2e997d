# SPDX-License-Identifier: Apache-2.0
"""What a kubelet asks about the runtime itself, and both doors of one engine at once."""
import json
import os
import stat

import pytest

from harness import program, wait_until
from kubelet import SEEDED, refused


def conditions(kubelet):
    return {c.type: c for c in kubelet.Status().status.conditions}


def test_version(kubelet):
    v = kubelet.Version(version="v1")
    assert (v.version, v.runtime_name, v.runtime_api_version) == ("0.1.0", "ireko", "v1") and v.runtime_version


def test_the_socket_is_roots(kubelet):
    info = os.stat(kubelet.socket)
    assert stat.S_ISSOCK(info.st_mode) and info.st_mode & 0o007 == 0 and info.st_uid == 0


def test_status(kubelet):
    said = kubelet.Status()
    ready = {c.type: c.status for c in said.status.conditions}
    assert ready == {"RuntimeReady": True, "NetworkReady": True}
    assert not said.info
    (usual,) = [h for h in said.runtime_handlers if h.name == ""]
    assert usual.features.recursive_read_only_mounts and usual.features.user_namespaces
    assert said.features.supplemental_groups_policy
    verbose = kubelet.Status(verbose=True).info
    assert verbose and all(json.loads(text) is not None for text in verbose.values())


def test_networks_are_ready_when_there_is_a_configuration(kubelet):
    conf = kubelet.cni / "10-test.conflist"
    conf.rename(kubelet.root / "aside")
    missing = conditions(kubelet)["NetworkReady"]
    assert not missing.status and missing.reason == "NetworkPluginNotReady" and str(kubelet.cni) in missing.message, missing
    assert conditions(kubelet)["RuntimeReady"].status
    with refused("UNAVAILABLE", "UNKNOWN", "FAILED_PRECONDITION", text=str(kubelet.cni)):
        kubelet.run_pod()
    # The node's own network needs none.
    kubelet.host_pod().remove()
    (kubelet.root / "aside").rename(conf)
    assert conditions(kubelet)["NetworkReady"].status


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cniVersion":"1.0.0"}', '{"cniVersion":"1.0.0","name":"x","plugins":[{"type":"../recorder"}]}', '{"cniVersion":"1.0.0","name":"x","plugins":[{"type":"not-there"}]}'])
def test_a_configuration_that_is_none(kubelet, text):
    (kubelet.cni / "10-test.conflist").write_text(text)
    said = conditions(kubelet)["NetworkReady"]
    assert not said.status and said.message


def test_the_first_configuration_by_name_counts(kubelet):
    kubelet.write_cni(name="05-first.conflist", bridge="irkcri2")
    pod = kubelet.run_pod()
    assert "irkcri2" in kubelet.inside("ip", "-o", "link").stdout and pod.ip
    pod.remove()
    kubelet.inside("ip", "link", "del", "irkcri2")


def test_runtime_config(kubelet):
    assert kubelet.RuntimeConfig().linux_part.cgroup_driver == "CGROUPFS"
    kubelet.UpdateRuntimeConfig(runtime_config={"network_config": {"pod_cidr": "10.1.0.0/16"}})
    kubelet.UpdateRuntimeConfig()


@pytest.mark.parametrize("path", ["/runtime.v1.RuntimeService/NoSuchThing", "/runtime.v1.NoService/Version", "/runtime.v1alpha2.RuntimeService/Version", "/", "//"])
def test_a_method_that_is_not_there(kubelet, path):
    with refused("UNIMPLEMENTED"):
        kubelet.client.call("Version", b"", 10, path=path)


def test_a_handler_that_is_not_there(kubelet):
    with refused("INVALID_ARGUMENT", "NOT_FOUND", "UNKNOWN", text="no-such-handler"):
        kubelet.run_pod(handler="no-such-handler")
    assert not kubelet.pods() and not kubelet.cni_calls("ADD")


def test_a_handler_that_is_another_runtime(new_kubelet, folder):
    """Sandbox and containers are runc's, and end as ours do."""
    calls, wrapper = folder / "calls", folder / "runc"
    wrapper.write_text(f'#!/bin/sh\necho "$@" >> "{calls}"\nexec {program("runc")} "$@"\n')
    wrapper.chmod(0o755)
    kubelet = new_kubelet("--runtime", f"runc={wrapper}")
    handlers = {h.name: h.features for h in kubelet.Status().runtime_handlers}
    assert handlers["runc"].user_namespaces is False and "" in handlers
    pod = kubelet.run_pod(handler="runc")
    assert pod.status().runtime_handler == "runc" and pod.ip in "\n".join(pod.run("ifconfig"))
    c = pod.container("sh", "-c", "echo begun; while [ ! -e /go ]; do sleep 0.02; done; exit 7", linux_part={"resources": {"memory_limit_in_bytes": 64 << 20, "cpu_shares": 512}})
    made = [line for line in calls.read_text().splitlines() if " create " in f" {line} "]
    assert all(any(id in line for line in made) for id in (pod.id, c.id)), made
    assert {kubelet.engine.inspect(id)["HostConfig"]["Runtime"] for id in (pod.id, c.id)} == {"runc"}
    kubelet.kill()
    kubelet.start()
    assert c.output("touch", "/go") == "" and c.wait().exit_code == 7 and c.lines() == ["begun"]
    pod.container()
    pod.stop()
    pod.remove()
    assert not kubelet.leftovers() and not kubelet.containers()


def test_pods_are_seen_by_the_other_door_and_protected(kubelet, pod):
    c = pod.container()
    engine = kubelet.engine
    rows = {r["Id"]: r for r in engine.api("GET", "/containers/json").json}
    meta = pod.config["metadata"]
    assert rows[pod.id]["Names"] == [f"/k8s_POD_{pod.name}_tests_{meta['uid']}_0"]
    assert rows[c.id]["Names"] == [f"/k8s_{c.config['metadata']['name']}_{pod.name}_tests_{meta['uid']}_0"]
    labels = rows[c.id]["Labels"]
    assert labels["io.kubernetes.pod.name"] == pod.name and labels["io.kubernetes.pod.namespace"] == "tests" and labels["io.kubernetes.pod.uid"] == meta["uid"]
    assert c.config["metadata"]["name"] in engine.cli("ps").stdout
    assert engine.cli("exec", c.id, "echo", "by the other door").stdout == "by the other door\n"
    for victim in (pod.id, c.id):
        reply = engine.api("DELETE", f"/containers/{victim}?force=1")
        assert reply.status == 409 and "pod" in reply.message, reply.body
        for action in ("restart", "rename?name=other", "update"):
            assert engine.api("POST", f"/containers/{victim}/{action}", {}).status == 409
    c.stop()
    assert engine.api("POST", "/containers/prune").json["ContainersDeleted"] in (None, [])
    assert c.state == "CONTAINER_EXITED" and pod.status().state == "SANDBOX_READY"


def test_containers_of_the_other_door_are_none_of_the_kubelets(kubelet, name):
    engine = kubelet.engine
    engine.cli("run", "-d", "--name", name, SEEDED, "sleep", "1000")
    try:
        own = engine.inspect(name)["Id"]
        assert own not in kubelet.containers() | kubelet.pods()
        for call in (kubelet.ContainerStatus, kubelet.StartContainer):
            with refused("NOT_FOUND"):
                call(container_id=own)
        with refused("NOT_FOUND"):
            kubelet.PodSandboxStatus(pod_sandbox_id=own)
        pod = kubelet.run_pod()
        inside = pod.container()
        names = [engine.inspect(one)["Name"].removeprefix("/") for one in (inside.id, pod.id)]
        for one in (own, name, names[0], pod.id):
            for call, more in ((kubelet.ExecSync, {"cmd": ["true"]}), (kubelet.Exec, {"cmd": ["true"], "stdout": True}), (kubelet.Attach, {"stdout": True})):
                with refused("NOT_FOUND"):
                    call(container_id=one, **more)
        for one in (own, name, names[1], inside.id):
            with refused("NOT_FOUND"):
                kubelet.PortForward(pod_sandbox_id=one, port=[80])
        assert kubelet.ExecSync(container_id=inside.id[:20], cmd=["true"]).exit_code == 0
        # To stop what is not a pod's is what it always is: done, and nothing happens.
        kubelet.StopContainer(container_id=own)
        kubelet.RemoveContainer(container_id=own)
        kubelet.StopPodSandbox(pod_sandbox_id=own)
        kubelet.RemovePodSandbox(pod_sandbox_id=own)
        assert engine.inspect(name)["State"]["Running"]
    finally:
        engine.cli("rm", "-f", name)


def test_everything_is_there_after_a_restart(kubelet):
    made = {}
    for i in range(2):
        pod = kubelet.run_pod(annotations={"n": str(i)})
        made[pod.id] = (pod, pod.container(), pod.container("sh", "-c", "exit 3"))
        made[pod.id][2].wait()
    gone = kubelet.run_pod().stop()
    before = {p: str(kubelet.PodSandboxStatus(pod_sandbox_id=p).status) for p in made}
    containers = {c.id: str(c.status()) for _, *cs in made.values() for c in cs}
    lists = sorted(map(str, kubelet.ListContainers().containers)), sorted(map(str, kubelet.ListPodSandbox().items))
    kubelet.restart()
    assert {p: str(kubelet.PodSandboxStatus(pod_sandbox_id=p).status) for p in made} == before
    assert {c: str(kubelet.ContainerStatus(container_id=c).status) for c in containers} == containers
    assert (sorted(map(str, kubelet.ListContainers().containers)), sorted(map(str, kubelet.ListPodSandbox().items))) == lists
    assert gone.status().state == "SANDBOX_NOTREADY"
    for pod, c, _ in made.values():
        assert c.output("echo", "still") == "still\n" and pod.run("echo", "new") == ["new"]
    assert len(kubelet.cni_calls("ADD")) == 3 and len(kubelet.cni_calls("DEL")) == 1


def test_what_changed_while_the_engine_was_away_is_seen(kubelet, pod):
    c, other = pod.container("sh", "-c", "while [ ! -e /go ]; do sleep 0.02; done; exit 9"), pod.container()
    pid = c.info()["pid"]
    kubelet.engine.stop()
    open(f"/proc/{pid}/root/go", "w").close()
    wait_until("it has ended", lambda: not os.path.exists(f"/proc/{pid}"))
    kubelet.start()
    status = c.wait()
    assert status.exit_code == 9 and status.reason == "Error" and other.state == "CONTAINER_RUNNING"
