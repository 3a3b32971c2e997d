# SPDX-License-Identifier: Apache-2.0
"""Pods by the kubelet's door where systemd is init: what a kubelet asks of cgroups is what systemd and the kernel have, by systemd's slices and scopes and by directories."""
import json
import pathlib
import uuid

import pytest

from cri import Client

from layout import V2, only_v2, read, run, wait, where

CONFIG = pathlib.Path("/etc/ireko/daemon.json")
SOCKET = "/run/ireko/cri.sock"
IMAGE = "busybox"
PARENTS = {"systemd": "kubepods-burstable-pod1.slice", "cgroupfs": "/kubepods/burstable/pod1"}
DIRECTORIES = {"systemd": "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice", "cgroupfs": "kubepods/burstable/pod1"}


class Node:
    """A kubelet's view of the engine that is installed."""

    def __init__(self, driver):
        self.driver, self.client = driver, Client(SOCKET)
        self.pod = None

    def run_pod(self):
        name = uuid.uuid4().hex
        self.config = {"metadata": {"name": name, "uid": name, "namespace": "tests"}, "log_directory": f"/run/pods-{name}",
                       "linux_part": {"cgroup_parent": PARENTS[self.driver], "security_context": {"namespace_options": {"network": "NODE", "pid": "CONTAINER"}}}}
        self.pod = self.client.RunPodSandbox(config=self.config).pod_sandbox_id
        return self.pod

    def container(self, *command, **resources):
        """Started; its id."""
        config = {"metadata": {"name": uuid.uuid4().hex}, "image": {"image": IMAGE}, "command": list(command), "log_path": "c.log", "linux_part": {"resources": resources}}
        id = self.client.CreateContainer(pod_sandbox_id=self.pod, config=config, sandbox_config=self.config).container_id
        self.client.StartContainer(container_id=id)
        return id

    def directory(self, id, controller="memory"):
        last = f"ireko-{id}.scope" if self.driver == "systemd" else id
        return where(controller, f"{DIRECTORIES[self.driver]}/{last}")

    def state(self, id):
        return self.client.ContainerStatus(container_id=id).status.state

    def close(self):
        for pod in self.client.ListPodSandbox().items:
            self.client.StopPodSandbox(pod_sandbox_id=pod.id)
            self.client.RemovePodSandbox(pod_sandbox_id=pod.id)
        self.client.close()


def restart():
    run("systemctl", "reset-failed", "ireko.service")  # of how often it was started lately
    run("systemctl", "restart", "ireko.service")


@pytest.fixture(scope="module", params=sorted(PARENTS))
def driver(busybox, request):
    CONFIG.parent.mkdir(exist_ok=True)
    CONFIG.write_text(json.dumps({"cri": [f"unix://{SOCKET}"], "cgroup-driver": request.param}))
    restart()
    wait("the kubelet's door is there", lambda: pathlib.Path(SOCKET).exists())
    yield request.param
    CONFIG.unlink()
    restart()


@pytest.fixture
def node(driver):
    n = Node(driver)
    yield n
    n.close()


def test_the_driver_is_told(node):
    assert node.client.RuntimeConfig().linux_part.cgroup_driver == node.driver.upper()


def test_limits_of_a_container(node):
    node.run_pod()
    c = node.container("sleep", "1000", memory_limit_in_bytes=64 << 20, cpu_quota=50000, cpu_period=100000)
    d, cpu = node.directory(c), node.directory(c, "cpu")
    assert read(d, "memory.max" if V2 else "memory.limit_in_bytes") == str(64 << 20)
    assert (read(cpu, "cpu.max") if V2 else f"{read(cpu, 'cpu.cfs_quota_us')} {read(cpu, 'cpu.cfs_period_us')}") == "50000 100000"
    if node.driver == "systemd":
        assert run("systemctl", "is-active", d.name).stdout == "active\n"
        assert f"MemoryMax={64 << 20}" in run("systemctl", "show", d.name, "-pMemoryMax", "-pMemoryLimit").stdout.replace("MemoryLimit", "MemoryMax")
    node.client.UpdateContainerResources(container_id=c, linux_part={"memory_limit_in_bytes": 96 << 20})
    assert read(d, "memory.max" if V2 else "memory.limit_in_bytes") == str(96 << 20)
    # systemd sets what it knows when it is told to read its units again.
    run("systemctl", "daemon-reload")
    assert read(d, "memory.max" if V2 else "memory.limit_in_bytes") == str(96 << 20)


def test_what_is_used_is_told(node):
    node.run_pod()
    c = node.container("sh", "-c", "x=$(head -c 8000000 /dev/zero | tr '\\0' x); while :; do :; done")
    wait("it uses memory", lambda: int(read(node.directory(c), "memory.current" if V2 else "memory.usage_in_bytes")) > 8_000_000)
    s = node.client.ContainerStats(container_id=c).stats
    used = int(read(node.directory(c), "memory.current" if V2 else "memory.usage_in_bytes"))
    assert 4_000_000 < s.memory.usage_bytes.value < 2 * used and s.cpu.usage_core_nano_seconds.value > 0
    pod = node.client.PodSandboxStats(pod_sandbox_id=node.pod).stats
    assert pod.linux_part.memory.usage_bytes.value >= s.memory.working_set_bytes.value and pod.linux_part.cpu.usage_core_nano_seconds.value >= s.cpu.usage_core_nano_seconds.value


def test_nothing_is_left(node):
    node.run_pod()
    c = node.container("sleep", "1000")
    d = node.directory(c)
    assert d.is_dir()
    restart()
    node.client.close()
    node.client = Client(SOCKET)
    assert node.state(c) == "CONTAINER_RUNNING"
    assert node.client.ExecSync(container_id=c, cmd=["echo", "here"]).stdout == b"here\n"
    node.client.StopContainer(container_id=c, timeout=0)
    assert not d.exists()
    node.client.RemoveContainer(container_id=c)
    node.client.StopPodSandbox(pod_sandbox_id=node.pod)
    node.client.RemovePodSandbox(pod_sandbox_id=node.pod)
    if node.driver == "systemd":
        wait("systemd has forgotten its scopes", lambda: "ireko-" not in run("systemctl", "list-units", "--all", "--type=scope", "--no-legend").stdout)


@only_v2
def test_keys_of_the_unified_hierarchy(node):
    node.run_pod()
    c = node.container("sleep", "1000", unified={"memory.high": str(48 << 20), "pids.max": "77"})
    d = node.directory(c)
    assert (read(d, "memory.high"), read(d, "pids.max")) == (str(48 << 20), "77")
    node.client.UpdateContainerResources(container_id=c, linux_part={"unified": {"memory.high": str(40 << 20)}})
    assert read(d, "memory.high") == str(40 << 20)


@only_v2
def test_lack_of_memory(node):
    node.run_pod()
    c = node.container("sh", "-c", "x=$(head -c 100000000 /dev/zero | tr '\\0' x)", memory_limit_in_bytes=16 << 20, memory_swap_limit_in_bytes=16 << 20)
    wait("it is killed", lambda: node.state(c) == "CONTAINER_EXITED")
    status = node.client.ContainerStatus(container_id=c).status
    assert (status.exit_code, status.reason) == (137, "OOMKilled")
