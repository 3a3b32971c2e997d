# SPDX-License-Identifier: Apache-2.0
"""Pods by the kubelet's door: their life, what is told of them, lists and filters, and the namespaces that their containers share."""
import concurrent.futures
import os
import pathlib
import signal
import time

import pytest

import machine_end
from harness import wait_until
from kubelet import context, refused

NO_ID = "0" * 64


def namespaces(pid):
    return {n: os.readlink(f"/proc/{pid}/ns/{n}") for n in ("net", "pid", "ipc", "uts", "mnt", "user", "cgroup")}


def test_a_life(kubelet):
    began = time.time_ns()
    pod = kubelet.run_pod(labels={"app": "x", "made-by": None}, annotations={"a/b": "c d"}, metadata={"attempt": 3})
    s = pod.status()
    assert s.id == pod.id and len(s.id) == 64 and s.state == "SANDBOX_READY" and s.labels == {"app": "x"} and s.annotations == {"a/b": "c d"}
    assert (s.metadata.name, s.metadata.uid, s.metadata.namespace, s.metadata.attempt) == (pod.name, pod.config["metadata"]["uid"], "tests", 3)
    assert began <= s.created_at <= time.time_ns() and s.runtime_handler == ""
    options = s.linux_part.namespaces.options
    assert (options.network, options.pid, options.ipc) == ("POD", "CONTAINER", "POD")
    assert s.network.ip
    pod.stop()
    assert pod.status().state == "SANDBOX_NOTREADY"
    pod.stop()
    pod.remove()
    with refused("NOT_FOUND", text=pod.id[:12]):
        pod.status()
    pod.stop()
    pod.remove()


def test_verbose(kubelet, pod):
    info = pod.info()
    assert os.path.exists(f"/proc/{info['pid']}") and info["config"]["metadata"]["name"] == pod.name and info["runtimeSpec"]["ociVersion"]
    assert not kubelet.PodSandboxStatus(pod_sandbox_id=pod.id).info


@pytest.mark.parametrize("pod_id", [NO_ID, "x", "../x", "", "é" * 10])
def test_a_pod_that_is_not_there(kubelet, pod_id):
    if pod_id:
        kubelet.StopPodSandbox(pod_sandbox_id=pod_id)
        kubelet.RemovePodSandbox(pod_sandbox_id=pod_id)
    for call in (kubelet.PodSandboxStatus, kubelet.PortForward):
        with refused("NOT_FOUND", "INVALID_ARGUMENT"):
            call(pod_sandbox_id=pod_id)
    with refused("NOT_FOUND", "INVALID_ARGUMENT"):
        kubelet.CreateContainer(pod_sandbox_id=pod_id, config={"metadata": {"name": "x"}, "image": {"image": "127.0.0.1:5000/busybox:1"}}, sandbox_config={"metadata": {"name": "x"}})


@pytest.mark.parametrize("fields", [
    {"metadata": None}, {"hostname": "h" * 65}, {"log_directory": "relative"}, {"log_directory": "/tmp/../etc"}, {"linux_part": {"sysctls": {"kernel.core_pattern": "|/x"}}},
    {"linux_part": {"sysctls": {"net/../kernel/panic": "1"}}}, {"port_mappings": [{"container_port": 70000, "host_port": 1}]}, {"port_mappings": [{"container_port": 80, "host_port": 8, "host_ip": "no"}]},
    {"dns_config": {"servers": ["1.1.1.1\nnameserver 6.6.6.6"]}}, {"linux_part": {"cgroup_parent": "/../../x"}},
], ids=str)
def test_configurations_that_are_refused(kubelet, fields):
    if "log_directory" in fields:
        given = {"metadata": {"name": "x", "uid": "y", "namespace": "z"}, **fields}
        with refused("INVALID_ARGUMENT"):
            kubelet.RunPodSandbox(config=given)
    else:
        with refused("INVALID_ARGUMENT"):
            kubelet.run_pod(**fields) if fields.get("metadata", 1) else kubelet.RunPodSandbox(config={})
    assert not kubelet.pods() and not kubelet.cni_calls("ADD")


def test_a_name_is_taken_once(kubelet, pod):
    with refused("ALREADY_EXISTS", "UNKNOWN", "ABORTED", "FAILED_PRECONDITION", text=pod.name):
        kubelet.RunPodSandbox(config=pod.config)
    assert kubelet.pods() == {pod.id} and len(kubelet.cni_calls("ADD")) == 1
    again = kubelet.run_pod(**{**pod.config, "metadata": {**pod.config["metadata"], "attempt": 1}})
    assert kubelet.pods() == {pod.id, again.id}


def test_filters(kubelet):
    one = kubelet.run_pod(labels={"app": "web", "tier": "front"})
    two = kubelet.run_pod(labels={"app": "web", "tier": "back"})
    off = kubelet.run_pod(labels={"app": "db"}).stop()

    def ids(**fields):
        return {p.id for p in kubelet.ListPodSandbox(filter=fields).items}

    assert ids() == {one.id, two.id, off.id}
    assert ids(id=one.id) == {one.id} and ids(id=NO_ID) == set()
    assert ids(state={"state": "SANDBOX_READY"}) == {one.id, two.id} and ids(state={"state": "SANDBOX_NOTREADY"}) == {off.id}
    assert ids(label_selector={"app": "web"}) == {one.id, two.id} and ids(label_selector={"app": "web", "tier": "back"}) == {two.id}
    assert ids(label_selector={"app": "web"}, state={"state": "SANDBOX_NOTREADY"}) == set() and ids(id=one.id, label_selector={"tier": "back"}) == set()
    assert ids(label_selector={"app": "we"}) == set() and ids(label_selector={"app": ""}) == set()
    assert [{p.id for m in kubelet.StreamPodSandboxes(filter={"label_selector": {"app": "web"}}) for p in m.pod_sandboxes}] == [{one.id, two.id}]
    item = next(p for p in kubelet.ListPodSandbox().items if p.id == one.id)
    s = one.status()
    assert (item.state, item.created_at, item.labels, item.annotations, str(item.metadata)) == (s.state, s.created_at, s.labels, s.annotations, str(s.metadata))


def test_a_stopped_pod_takes_no_containers_and_ends_those_that_it_has(kubelet, pod):
    c, never = pod.container(), pod.container(start=False)
    pod.stop()
    assert (c.status().state, c.status().exit_code) == ("CONTAINER_EXITED", 137)
    with refused("FAILED_PRECONDITION", "UNKNOWN", "NOT_FOUND", "ABORTED"):
        pod.container()
    with refused("FAILED_PRECONDITION", "UNKNOWN", "NOT_FOUND", "ABORTED"):
        never.start()
    pod.remove()
    assert not kubelet.containers()


def test_removal_of_one_that_runs(kubelet, pod):
    """A kubelet stops it first; who does not is served all the same."""
    pod.container()
    pod.remove()
    assert not kubelet.pods() and not kubelet.containers()
    assert len(kubelet.cni_calls("DEL", pod=pod.id)) == 1


def test_the_sandbox_dies(kubelet, pod):
    """Its containers end with it, the kubelet sees a pod that is not ready, and its network is released once when it is stopped."""
    c = pod.container()
    os.kill(pod.info()["pid"], 9)
    assert c.wait().exit_code == 137
    wait_until("the pod is not ready", lambda: pod.status().state == "SANDBOX_NOTREADY")
    pod.stop()
    assert len(kubelet.cni_calls("DEL", pod=pod.id)) == 1


def test_hostname(kubelet, pod):
    assert pod.run("hostname") == [pod.name] == pod.run("cat", "/etc/hostname")
    unnamed = kubelet.run_pod(hostname="")
    assert len(unnamed.run("hostname")[0]) > 0
    node = kubelet.host_pod()
    assert node.run("hostname") == [os.uname().nodename]


def test_hostname_of_the_environment(kubelet, pod):
    """Of a container's own process and of those that are run in it; what a container says itself comes before it."""
    node = kubelet.host_pod(hostname="of-kubelet")
    for p, name in ((pod, pod.name), (node, os.uname().nodename)):
        c = p.container("sh", "-c", "env; sleep 1000").wait_line("HOSTNAME=")
        assert f"HOSTNAME={name}" in c.lines()
        assert f"HOSTNAME={name}" in c.output("env").splitlines()
        own = p.container(envs=[{"key": "HOSTNAME", "value": b"own"}])
        assert "HOSTNAME=own" in own.output("env").splitlines()
    kubelet.restart()
    assert f"HOSTNAME={os.uname().nodename}" in c.output("env").splitlines()


def test_dns(kubelet):
    pod = kubelet.run_pod(dns_config={"servers": ["192.0.2.1", "2001:db8::1"], "searches": ["a.example", "b.example"], "options": ["ndots:5", "timeout:1"]})
    assert sorted(pod.run("cat", "/etc/resolv.conf")) == ["nameserver 192.0.2.1", "nameserver 2001:db8::1", "options ndots:5 timeout:1", "search a.example b.example"]
    # Without one, the node's; an empty one is empty.
    node = [line for line in kubelet.inside("cat", "/etc/resolv.conf").stdout.splitlines() if line.startswith("nameserver")]
    assert [line for line in kubelet.run_pod().run("cat", "/etc/resolv.conf") if line.startswith("nameserver")] == node


def test_sysctls(kubelet):
    pod = kubelet.run_pod(linux_part={"sysctls": {"net.ipv4.ip_unprivileged_port_start": "0", "kernel.shm_rmid_forced": "1", "net.core.somaxconn": "77"}})
    assert pod.run("cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/kernel/shm_rmid_forced", "/proc/sys/net/core/somaxconn") == ["0", "1", "77"]
    with refused("INVALID_ARGUMENT", text="net."):
        kubelet.host_pod(linux_part={"sysctls": {"net.core.somaxconn": "77"}})


def test_what_containers_of_a_pod_share(kubelet):
    shared = kubelet.run_pod(linux_part=context(namespace_options={"pid": "POD"}))
    one, two = (shared.container(linux_part=context(namespace_options={"pid": "POD"})) for _ in range(2))
    own = shared.container(linux_part=context(namespace_options={"pid": "CONTAINER"}))
    sandbox, a, b, c = (namespaces(x.info()["pid"]) for x in (shared, one, two, own))
    for n in ("net", "ipc", "uts"):
        assert sandbox[n] == a[n] == b[n] == c[n] != os.readlink(f"/proc/self/ns/{n}")
    assert sandbox["pid"] == a["pid"] == b["pid"] != c["pid"]
    assert len({x["mnt"] for x in (sandbox, a, b, c)}) == 4
    assert "pause" in one.output("ps") and one.output("ps").count("sleep 1000") == 2 and own.output("ps").count("sleep 1000") == 1
    # An orphan's parent is the sandbox, which waits for it.
    shared.shell("(sleep 0.05 &)", linux_part=context(namespace_options={"pid": "POD"}))
    assert " Z " not in one.output("ps")


def test_shared_memory_is_the_pods(kubelet, pod):
    pod.shell("echo here > /dev/shm/x")
    assert pod.shell("cat /dev/shm/x; stat -f -c %T /dev/shm") == ["here", "tmpfs"]
    assert not os.path.exists("/dev/shm/x")


def test_namespaces_of_the_node(kubelet):
    node = {"network": "NODE", "pid": "NODE", "ipc": "NODE"}
    pod = kubelet.host_pod(linux_part=context(namespace_options=node))
    c = pod.container(linux_part=context(namespace_options=node))
    got, here = namespaces(c.info()["pid"]), namespaces(kubelet.engine.p.pid)
    assert {n: got[n] == here[n] for n in got} == {"net": True, "pid": True, "ipc": True, "uts": True, "mnt": False, "user": True, "cgroup": got["cgroup"] == here["cgroup"]}
    assert not kubelet.cni_calls("ADD") and pod.ip == ""
    options = pod.status().linux_part.namespaces.options
    assert (options.network, options.pid, options.ipc) == ("NODE", "NODE", "NODE")


def test_a_target(kubelet, pod):
    """An ephemeral container sees the processes of the one that it is for."""
    c, other = pod.container("sh", "-c", "sleep 4321"), pod.container()
    said = pod.run("ps", linux_part=context(namespace_options={"pid": "TARGET", "target_id": c.id}))
    assert any("sleep 4321" in line for line in said) and not any("sleep 1000" in line for line in said)
    stranger = kubelet.run_pod().container()
    for target in (NO_ID, stranger.id, "", "../" + c.id):
        with refused("INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNKNOWN"):
            pod.container("true", linux_part=context(namespace_options={"pid": "TARGET", "target_id": target}))
    assert other.state == "CONTAINER_RUNNING"


def test_many_at_once(kubelet):
    def whole_life(_):
        p = kubelet.run_pod()
        assert p.run("echo", "x") == ["x"]
        ip = p.ip
        return p, ip

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        made = list(pool.map(whole_life, range(24)))
        assert len({ip for _, ip in made}) == 24 and kubelet.pods() == {p.id for p, _ in made}
        list(pool.map(lambda m: m[0].remove(), made))
    assert not kubelet.pods() and len(kubelet.cni_calls("DEL")) == 24


def test_stop_and_remove_from_many_sides(kubelet, pod):
    pod.container()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: pod.stop() if i % 2 else pod.remove(), range(8)))
    pod.remove()
    assert not kubelet.pods() and len(kubelet.cni_calls("DEL", pod=pod.id)) == 1


def test_cgroup_parent(kubelet):
    """It is made if it is not there, and the pod's processes are below it."""
    top = f"/{kubelet.room.cgroup}/kubepods/burstable/pod1"
    pod = kubelet.run_pod(linux_part={"cgroup_parent": top})
    c = pod.container()
    for pid in (pod.info()["pid"], c.info()["pid"]):
        paths = [line.split(":", 2)[2] for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
        assert all(top in p for p in paths if p != "/"), paths
    pod.remove()
    left = [d for d in kubelet.room.cgroups() if d.name not in (kubelet.room.cgroup, "kubepods", "burstable", "pod1")]
    for d in kubelet.room.cgroups():
        d.rmdir()
    assert not left, left


@pytest.mark.parametrize("pid", ["POD", "CONTAINER"])
def test_the_machine_ends(new_kubelet, pid):
    """All processes are sent SIGTERM at once; what takes its time to end has it, although the sandbox is gone."""
    k = new_kubelet(under=machine_end.PREFIX)
    pod = k.run_pod(linux_part=context(namespace_options={"pid": pid}))
    c = pod.container("sh", "-c", "trap 'sleep 1; echo ended well; exit 3' TERM; echo up; while :; do sleep 0.05; done", linux_part=context(namespace_options={"pid": pid}))
    c.wait_line("up")
    (shim,) = k.engine.shims()
    machine_end.begin(k.engine)
    for p in (*machine_end.children(shim), shim):
        os.kill(p, signal.SIGTERM)
    assert c.wait().exit_code == 3 and c.lines() == ["up", "ended well"]
    wait_until("the sandbox ends too", lambda: pod.status().state == "SANDBOX_NOTREADY")
    wait_until("and the shim", lambda: not k.engine.shims())
