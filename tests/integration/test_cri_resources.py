# SPDX-License-Identifier: Apache-2.0
"""Limits of pods' containers by the kubelet's door: as they are made, as they are changed, and as they are told."""
import pathlib

import pytest

from kubelet import refused

TOP = pathlib.Path("/sys/fs/cgroup")
V2 = (TOP / "cgroup.controllers").exists()
FILES = {"cpu_shares": ("cpu/cpu.shares", "cpu.weight"), "cpu_quota": ("cpu/cpu.cfs_quota_us", "cpu.max"), "cpu_period": ("cpu/cpu.cfs_period_us", "cpu.max"), "memory_limit_in_bytes": ("memory/memory.limit_in_bytes", "memory.max"),
         "cpuset_cpus": ("cpuset/cpuset.cpus", "cpuset.cpus")}
LIMITS = {"cpu_shares": 512, "cpu_quota": 50000, "cpu_period": 100000, "memory_limit_in_bytes": 64 << 20, "cpuset_cpus": "0", "oom_score_adj": 500}


def value(c, field):
    """What the kernel says of a container's limit."""
    v1, v2 = FILES[field]
    controller, _, file = v1.partition("/")
    for line in pathlib.Path(f"/proc/{c.info()['pid']}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if V2 and not controllers:
            return (TOP / path.lstrip("/") / v2).read_text().strip()
        if not V2 and controller in controllers.split(","):
            return (TOP / controllers / path.lstrip("/") / file).read_text().strip()
    raise AssertionError(f"no {controller} cgroup")


def expect(c, **limits):
    for field, n in limits.items():
        if V2 and field in ("cpu_quota", "cpu_period"):
            assert str(n) in value(c, field).split()
        elif V2 and field == "cpu_shares":
            assert 1 <= int(value(c, field)) <= 10000
        elif field in FILES:
            assert value(c, field) == str(n), field


def told(c):
    return c.status().resources.linux_part


def test_limits(kubelet, pod):
    c = pod.container(linux_part={"resources": LIMITS})
    expect(c, **LIMITS)
    assert pathlib.Path(f"/proc/{c.info()['pid']}/oom_score_adj").read_text().strip() == "500"
    assert {k: getattr(told(c), k) for k in LIMITS} == LIMITS


def test_limits_change(kubelet, pod):
    c = pod.container(linux_part={"resources": LIMITS})
    changes = {"cpu_shares": 1024, "cpu_quota": 70000, "cpu_period": 100000, "memory_limit_in_bytes": 96 << 20}
    kubelet.UpdateContainerResources(container_id=c.id, linux_part=changes)
    expect(c, **changes)
    # What is not said stays.
    assert {k: getattr(told(c), k) for k in LIMITS} == {**LIMITS, **changes}
    kubelet.restart()
    expect(c, **changes)
    assert {k: getattr(told(c), k) for k in LIMITS} == {**LIMITS, **changes}
    with refused("NOT_FOUND"):
        kubelet.UpdateContainerResources(container_id="0" * 64, linux_part=changes)


def test_limits_of_one_that_has_not_started(kubelet, pod):
    c = pod.container(start=False, linux_part={"resources": LIMITS})
    kubelet.UpdateContainerResources(container_id=c.id, linux_part={"memory_limit_in_bytes": 80 << 20})
    c.start()
    expect(c, **{**LIMITS, "memory_limit_in_bytes": 80 << 20})


def test_huge_pages_and_files_of_cgroups_are_told_as_they_are_now(kubelet, pod):
    """Key by key, and of one that has not started: cgroups of v1, and kernels that do not count huge pages, have none of these files."""
    resources = {"hugepage_limits": [{"page_size": "2MB", "limit": 4 << 20}], "unified": {"memory.high": "1000000", "cpu.idle": "1"}}
    c = pod.container(start=False, linux_part={"resources": resources})

    def now():
        r = told(c)
        return {p.page_size: p.limit for p in r.hugepage_limits}, dict(r.unified)

    assert now() == ({"2MB": 4 << 20}, {"memory.high": "1000000", "cpu.idle": "1"})
    kubelet.UpdateContainerResources(container_id=c.id, linux_part={"hugepage_limits": [{"page_size": "2MB", "limit": 8 << 20}], "unified": {"memory.high": "2000000"}})
    changed = ({"2MB": 8 << 20}, {"memory.high": "2000000", "cpu.idle": "1"})
    assert now() == changed
    kubelet.restart()
    assert now() == changed
    if not V2:
        with refused("INVALID_ARGUMENT", "FAILED_PRECONDITION", "UNKNOWN", "INTERNAL", text="cgroup v2"):
            c.start()


@pytest.mark.parametrize("limits", [{"memory_limit_in_bytes": -5}, {"cpu_period": 10}, {"cpuset_cpus": "0-9999"}, {"cpuset_cpus": "x"}, {"oom_score_adj": 5000}, {"hugepage_limits": [{"page_size": "3KB", "limit": 1}]},
                                    {"hugepage_limits": [{"page_size": "../x", "limit": 1}]}, {"unified": {"../memory.max": "1"}}], ids=str)
def test_limits_that_are_refused(kubelet, pod, limits):
    with refused("INVALID_ARGUMENT", "UNKNOWN", "FAILED_PRECONDITION", "UNIMPLEMENTED"):
        pod.container("true", linux_part={"resources": limits})


def test_an_update_that_is_refused_changes_nothing(kubelet, pod):
    c = pod.container(linux_part={"resources": LIMITS})
    with refused("INVALID_ARGUMENT", "UNKNOWN", "FAILED_PRECONDITION"):
        kubelet.UpdateContainerResources(container_id=c.id, linux_part={"cpu_quota": 60000, "cpuset_cpus": "0-9999"})
    expect(c, **LIMITS)
    assert {k: getattr(told(c), k) for k in LIMITS} == LIMITS


def test_resources_of_a_pod(kubelet, pod):
    kubelet.UpdatePodSandboxResources(pod_sandbox_id=pod.id, resources={"cpu_shares": 512, "memory_limit_in_bytes": 128 << 20})
    with refused("NOT_FOUND"):
        kubelet.UpdatePodSandboxResources(pod_sandbox_id="0" * 64, resources={"cpu_shares": 512})


def test_statistics(kubelet, pod):
    c = pod.container("sh", "-c", "dd if=/dev/zero of=/file bs=1M count=3 2>/dev/null; while :; do :; done")
    stats = kubelet.ContainerStats(container_id=c.id).stats
    assert stats.attributes.id == c.id and stats.attributes.labels == {"made-by": "tests"} and stats.cpu.timestamp > 0
    assert [s.attributes.id for s in kubelet.ListContainerStats(filter={"pod_sandbox_id": pod.id}).stats] == [c.id]
    of_pod = kubelet.PodSandboxStats(pod_sandbox_id=pod.id).stats
    assert of_pod.attributes.id == pod.id and [s.attributes.id for s in of_pod.linux_part.containers] == [c.id] and of_pod.linux_part.network.default_interface.name == "eth0"
    with refused("NOT_FOUND"):
        kubelet.ContainerStats(container_id="0" * 64)
    with refused("NOT_FOUND"):
        kubelet.PodSandboxStats(pod_sandbox_id="0" * 64)
    names = {d.name for d in kubelet.ListMetricDescriptors().descriptors}
    assert {"container_cpu_usage_seconds_total", "container_memory_working_set_bytes"} <= names
    (metrics,) = [m for m in kubelet.ListPodSandboxMetrics().pod_metrics if m.pod_sandbox_id == pod.id]
    assert {m.name for cm in metrics.container_metrics for m in cm.metrics} | {m.name for m in metrics.metrics} <= names
