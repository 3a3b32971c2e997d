# SPDX-License-Identifier: Apache-2.0
"""What pods and containers use, as a kubelet is told: compared with the kernel's files. And metrics, whose names and labels are cadvisor's."""
import os
import pathlib
import time

from harness import remove_cgroups, wait_until
from kubelet import SEEDED, refused

MB = 1 << 20
TOP = pathlib.Path("/sys/fs/cgroup")
V2 = (TOP / "cgroup.procs").exists()


def cgroup_of(container_id):
    """Of a container, by controller of v1."""
    def find(top):
        return next((pathlib.Path(d) for d, _, _ in os.walk(top) if d.endswith(f"/{container_id}")), None)

    if V2:
        d = find(TOP)
        return {c: d for c in ("cpu", "memory", "pids")}
    return {c: find(TOP / c) for c in ("cpuacct", "memory", "pids")}


def kernel_says(container_id):
    """(CPU ns, memory, working set, anonymous memory, tasks)"""
    g = cgroup_of(container_id)
    stat = dict(l.split() for l in (g["memory"] / "memory.stat").read_text().splitlines())
    if V2:
        cpu = int(dict(l.split() for l in (g["cpu"] / "cpu.stat").read_text().splitlines())["usage_usec"]) * 1000
        memory, inactive, anon = int((g["memory"] / "memory.current").read_text()), int(stat["inactive_file"]), int(stat["anon"])
    else:
        cpu = int((g["cpuacct"] / "cpuacct.usage").read_text())
        memory, inactive, anon = int((g["memory"] / "memory.usage_in_bytes").read_text()), int(stat["total_inactive_file"]), int(stat["total_rss"])
    return cpu, memory, max(0, memory - inactive), anon, int((g["pids"] / "pids.current").read_text())


def within(c, *command):
    """A command in the container, by the other door."""
    return c.kubelet.engine.cli("exec", c.id, *command, check=False)


def stats_of(kubelet, c):
    return kubelet.ContainerStats(container_id=c.id).stats


def near(a, b, by=MB):
    return abs(a - b) <= by


def test_a_container_uses_what_the_kernel_says(pod, kubelet):
    c = pod.container("sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; head -c 20000000 /dev/urandom > /dev/shm/held; touch /dev/shm/done; sleep 1000",
                      linux_part={"resources": {"memory_limit_in_bytes": 256 * MB}})
    wait_until("it has done its work", lambda: within(c, "test", "-e", "/dev/shm/done").returncode == 0)

    def told_alike():
        before, told, after = kernel_says(c.id), stats_of(kubelet, c), kernel_says(c.id)
        assert before[0] <= told.cpu.usage_core_nano_seconds.value <= after[0]
        assert told.cpu.usage_core_nano_seconds.value > 10_000_000
        m = told.memory
        return (near(m.usage_bytes.value, before[1]) and near(m.working_set_bytes.value, before[2]) and near(m.rss_bytes.value, before[3])
                and near(m.available_bytes.value, 256 * MB - m.working_set_bytes.value, 0) and m.usage_bytes.value > 20_000_000 and told)

    told = wait_until("the same is told", told_alike)
    assert told.attributes.id == c.id and told.attributes.metadata.name == c.config["metadata"]["name"] and told.attributes.labels == {"made-by": "tests"}
    assert told.memory.page_faults.value > 0 and told.memory.major_page_faults is not None
    assert near(told.cpu.timestamp, time.time_ns(), 60 * 10**9)
    assert told.swap.swap_usage_bytes.value == 0
    if pathlib.Path("/proc/pressure").exists():
        for psi in told.cpu.psi, told.memory.psi, told.io.psi:
            assert psi is None or psi.Some.Avg10 >= 0
        assert told.cpu.psi and told.cpu.psi.Some.Total >= 0


def test_how_much_cpu_is_used_lately(pod, kubelet):
    busy = pod.container("sh", "-c", "while :; do :; done")
    first = stats_of(kubelet, busy)
    assert first.cpu.usage_nano_cores is None
    again = stats_of(kubelet, busy)
    assert again.cpu.usage_nano_cores is None or again.cpu.timestamp - first.cpu.timestamp > 900_000_000, "two readings at once make no rate"
    second = wait_until("there is a rate", lambda: (s := stats_of(kubelet, busy)).cpu.usage_nano_cores and s)
    passed = second.cpu.timestamp - first.cpu.timestamp
    used = second.cpu.usage_core_nano_seconds.value - first.cpu.usage_core_nano_seconds.value
    assert passed > 900_000_000
    assert near(second.cpu.usage_nano_cores.value, used * 10**9 / passed, 0.02 * used * 10**9 / passed + 10**6)
    third = stats_of(kubelet, busy)
    assert third.cpu.usage_nano_cores.value == second.cpu.usage_nano_cores.value or third.cpu.timestamp - second.cpu.timestamp > 900_000_000


def test_what_was_written(pod, kubelet):
    c = pod.container("sh", "-c", "head -c 3000000 /dev/zero > /file; truncate -s 1G /sparse; mkdir /folder; ln /file /folder/again; touch /dev/shm/done; sleep 1000")
    wait_until("it has done its work", lambda: within(c, "test", "-e", "/dev/shm/done").returncode == 0)
    layer = stats_of(kubelet, c).writable_layer
    assert 3_000_000 <= layer.used_bytes.value < 3_300_000 and layer.inodes_used.value >= 3
    assert layer.fs_id.mountpoint == str(kubelet.engine.root / "data") or pathlib.Path(layer.fs_id.mountpoint).is_relative_to(kubelet.root)
    listed = kubelet.ListContainerStats(filter={"id": c.id}).stats[0].writable_layer
    assert (listed.used_bytes.value, listed.inodes_used.value) == (layer.used_bytes.value, layer.inodes_used.value)
    fresh = pod.container()
    # A list walks through no tree: what is not known yet is measured beside it.
    told = wait_until("it is known", lambda: kubelet.ListContainerStats(filter={"id": fresh.id}).stats[0].writable_layer)
    assert told.inodes_used.value < 20


def test_lists(pod, kubelet):
    other = kubelet.host_pod(labels={"of": "other"})
    a, b, ended = pod.container(labels={"which": "a"}), other.container(labels={"which": "b"}), pod.container("true")
    waiting = other.container(start=False)
    ended.wait()

    def listed(**f):
        plain = kubelet.ListContainerStats(filter=f).stats
        assert sorted(s.attributes.id for s in plain) == sorted(s.attributes.id for piece in kubelet.StreamContainerStats(filter=f) for s in piece.container_stats)
        return {s.attributes.id: s for s in plain}

    everything = listed()
    assert set(everything) == {a.id, b.id, ended.id, waiting.id}
    assert {k for k, s in everything.items() if s.cpu and s.memory} == {a.id, b.id}
    assert everything[ended.id].attributes.metadata.name == ended.config["metadata"]["name"]
    assert set(listed(pod_sandbox_id=pod.id)) == {a.id, ended.id}
    assert set(listed(label_selector={"which": "b"})) == set(listed(id=b.id[:12])) == {b.id}
    assert listed(id="f" * 64) == {}
    for unknown in "f" * 64, pod.id:
        with refused("NOT_FOUND"):
            kubelet.ContainerStats(container_id=unknown)
    with refused("NOT_FOUND"):
        kubelet.PodSandboxStats(pod_sandbox_id=a.id)

    def pods(**f):
        plain = [s.attributes.id for s in kubelet.ListPodSandboxStats(filter=f).stats]
        assert plain == [s.attributes.id for piece in kubelet.StreamPodSandboxStats(filter=f) for s in piece.pod_sandbox_stats]
        return set(plain)

    assert pods() == {pod.id, other.id}
    assert pods(label_selector={"of": "other"}) == pods(id=other.id) == {other.id}
    other.stop()
    assert pods() == {pod.id}
    assert kubelet.PodSandboxStats(pod_sandbox_id=other.id).stats.linux_part.cpu is None


def test_a_pod(pod, kubelet):
    a, b = pod.container(), pod.container("sh", "-c", "sleep 1000 & sleep 1000 & wait")
    wait_until("all run", lambda: kernel_says(b.id)[4] == 3)
    kubelet.inside("ping", "-c", "3", "-i", "0.2", "-s", "1000", pod.ip, check=False)
    told = wait_until("what it got is counted", lambda: (s := kubelet.PodSandboxStats(pod_sandbox_id=pod.id).stats).linux_part.network.default_interface.rx_bytes.value and s)
    assert told.attributes.metadata.name == pod.name and told.attributes.labels == {"made-by": "tests"}
    net = told.linux_part.network
    assert net.default_interface.name == "eth0" and "lo" not in [i.name for i in net.interfaces]
    now = {f: int(within(a, "cat", f"/sys/class/net/eth0/statistics/{f}").stdout) for f in ("rx_bytes", "tx_bytes", "rx_errors", "tx_errors")}
    assert 0 < net.default_interface.rx_bytes.value <= now["rx_bytes"] and 0 < net.default_interface.tx_bytes.value <= now["tx_bytes"]
    assert (net.default_interface.rx_errors.value, net.default_interface.tx_errors.value) == (now["rx_errors"], now["tx_errors"])
    assert {c.attributes.id for c in told.linux_part.containers} == {a.id, b.id}
    # The sandbox's process, one, and three.
    assert told.linux_part.process.process_count.value == 5
    parts = [stats_of(kubelet, c) for c in (a, b)]
    assert told.linux_part.cpu.usage_core_nano_seconds.value >= sum(p.cpu.usage_core_nano_seconds.value for p in told.linux_part.containers)
    assert told.linux_part.memory.usage_bytes.value >= sum(p.memory.rss_bytes.value for p in parts)
    host = kubelet.host_pod()
    assert kubelet.PodSandboxStats(pod_sandbox_id=host.id).stats.linux_part.network is None


def test_a_pod_with_a_cgroup_of_its_own(kubelet):
    parent = f"ireko_{kubelet.engine.mark}/podx"
    pod = kubelet.host_pod(linux_part={"cgroup_parent": f"/{parent}"})
    c = pod.container("sh", "-c", "head -c 20000000 /dev/urandom > /dev/shm/held; touch /dev/shm/done; sleep 1000")
    wait_until("it has done its work", lambda: within(c, "test", "-e", "/dev/shm/done").returncode == 0)
    told = kubelet.PodSandboxStats(pod_sandbox_id=pod.id).stats.linux_part
    d = cgroup_of(c.id)["memory"].parent
    assert d.name == "podx"
    whole = int((d / ("memory.current" if V2 else "memory.usage_in_bytes")).read_text())
    assert near(told.memory.usage_bytes.value, whole) and whole > 20_000_000
    assert told.process.process_count.value == 2
    pod.remove()
    remove_cgroups(parent)  # the kubelet's own, who removes it


def test_metrics(pod, kubelet):
    c = pod.container("sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; head -c 20000000 /dev/urandom > /dev/shm/held; touch /dev/shm/done; sleep 1000", image=SEEDED)
    kubelet.inside("ping", "-c", "2", "-i", "0.2", pod.ip, check=False)
    wait_until("it has done its work", lambda: within(c, "test", "-e", "/dev/shm/done").returncode == 0)
    descriptors = kubelet.ListMetricDescriptors().descriptors
    keys = {d.name: d.label_keys for d in descriptors}
    assert len(keys) == len(descriptors) and all(d.help for d in descriptors)
    told = kubelet.ListPodSandboxMetrics().pod_metrics
    assert [p.pod_sandbox_id for p in told] == [pod.id] == [p.pod_sandbox_id for piece in kubelet.StreamPodSandboxMetrics() for p in piece.pod_sandbox_metrics]
    own, of_container = told[0].metrics, told[0].container_metrics
    assert [m.container_id for m in of_container] == [c.id]
    seen = set()
    for m in [*own, *of_container[0].metrics]:
        assert len(m.label_values) == len(keys[m.name]), m
        series = (m.name, *m.label_values)
        assert series not in seen, f"{series} twice"
        seen.add(series)

    def value(name, metrics=of_container[0].metrics, **labels):
        found = [m.value.value for m in metrics if m.name == name and labels.items() <= dict(zip(keys[name], m.label_values)).items()]
        assert len(found) == 1, (name, labels, found)
        return found[0]

    labels = dict(zip(keys["container_processes"], next(m for m in of_container[0].metrics if m.name == "container_processes").label_values))
    assert labels.pop("id").endswith(f"/{c.id}")
    # Every family has a value, but for what only some machines count, and what this container was not given.
    missing = set(keys) - {m.name for m in [*own, *of_container[0].metrics]}
    assert {n for n in missing if not n.startswith(("container_pressure_", "container_hugetlb_", "container_blkio_", "container_fs_reads", "container_fs_writes"))} <= {"container_spec_cpu_quota"}
    assert labels == {"container": c.config["metadata"]["name"], "image": SEEDED, "name": c.id, "namespace": "tests", "pod": pod.name}
    cpu, memory, working_set, anon, tasks = kernel_says(c.id)
    assert value("container_cpu_usage_seconds_total", cpu="total") == cpu // 10**9
    assert near(value("container_memory_usage_bytes"), memory) and near(value("container_memory_working_set_bytes"), working_set) and near(value("container_memory_rss"), anon)
    assert value("container_memory_max_usage_bytes") >= 20_000_000 and value("container_memory_cache") >= 20_000_000
    assert value("container_memory_failures_total", failure_type="pgfault", scope="container") > 0
    assert (value("container_processes"), value("container_threads"), value("container_oom_events_total")) == (1, 1, 0)
    # cadvisor's way to say that there is none.
    assert (value("container_spec_memory_limit_bytes"), value("container_spec_memory_swap_limit_bytes"), value("container_threads_max")) == (0, 0, 0)
    assert value("container_fs_usage_bytes") < MB and value("container_fs_limit_bytes") > MB and value("container_fs_inodes_total") > 0
    assert near(value("container_last_seen"), time.time(), 60) and near(value("container_start_time_seconds"), time.time(), 120)
    assert value("container_network_receive_bytes_total", own, interface="eth0") > 0
    assert value("container_network_transmit_packets_total", own, interface="eth0", container="", pod=pod.name) > 0


def metrics_of(kubelet, c):
    """[(name, labels beside the common ones, value)] of a container."""
    keys = {d.name: d.label_keys for d in kubelet.ListMetricDescriptors().descriptors}
    (told,) = [m for p in kubelet.ListPodSandboxMetrics().pod_metrics for m in p.container_metrics if m.container_id == c.id]
    common = {"container", "id", "image", "name", "namespace", "pod"}
    return [(m.name, {k: v for k, v in zip(keys[m.name], m.label_values) if k not in common}, m.value.value) for m in told.metrics]


def test_open_files_are_among_metrics(pod, kubelet):
    """Of all processes of a container, and how many of them are sockets; with the limit of its first one."""
    c = pod.container("sh", "-c", "ulimit -n 777; exec 7</dev/null 8</dev/null; nc -l -p 1234 & wait")
    wait_until("it listens", lambda: within(c, "grep", "-q", ":04D2 ", "/proc/net/tcp", "/proc/net/tcp6").returncode == 0)

    def told_alike():
        pids = cgroup_of(c.id)["pids"].joinpath("cgroup.procs").read_text().split()
        links = [os.readlink(f"/proc/{pid}/fd/{fd}") for pid in pids for fd in os.listdir(f"/proc/{pid}/fd")]
        told = {name: value for name, _, value in metrics_of(kubelet, c)}
        return len(pids) == 2 and len(links) >= 8 and (told["container_file_descriptors"], told["container_sockets"]) == (len(links), 1) == (len(links), sum(l.startswith("socket:") for l in links))

    wait_until("the same is told", told_alike)
    limits = [(labels, value) for name, labels, value in metrics_of(kubelet, c) if name == "container_ulimits_soft"]
    assert limits == [({"ulimit": "max_open_files"}, 777)]
    own = {m.name for p in kubelet.ListPodSandboxMetrics().pod_metrics for m in p.metrics}
    assert not own & {"container_file_descriptors", "container_sockets", "container_ulimits_soft"}, "those are of containers"


def test_devices_are_among_metrics(pod, kubelet):
    """What was read from a disk and written to it, with the device's name and its numbers."""
    c = pod.container("sh", "-c", "dd if=/dev/zero of=/file bs=1M count=4 conv=fsync 2>/dev/null; touch /dev/shm/done; sleep 1000")
    wait_until("it has written", lambda: within(c, "test", "-e", "/dev/shm/done").returncode == 0)
    st = os.stat(kubelet.engine.data_root)
    told = metrics_of(kubelet, c)
    here = {"major": str(os.major(st.st_dev)), "minor": str(os.minor(st.st_dev))}
    device = next((labels["device"] for name, labels, _ in told if name == "container_fs_usage_bytes"), None) or next(labels["device"] for name, labels, _ in told if name == "container_fs_limit_bytes")
    of_blkio = {(name, labels["operation"]): value for name, labels, value in told if name == "container_blkio_device_usage_total" and here.items() <= labels.items() and labels["device"] == device}
    of_fs = {name: value for name, labels, value in told if name.startswith(("container_fs_reads", "container_fs_writes")) and labels == {"device": device}}
    if not of_fs:
        assert not of_blkio, "a file system that is on no disk, or disks that are not counted"
        return
    assert of_blkio == {("container_blkio_device_usage_total", "Read"): of_fs["container_fs_reads_bytes_total"], ("container_blkio_device_usage_total", "Write"): of_fs["container_fs_writes_bytes_total"]}
    # v1 counts what a process writes itself: fsync is the kernel's or its own, as the file system has it.
    assert of_fs["container_fs_writes_bytes_total"] >= (4 * MB if V2 else 0)


def test_what_was_asked_for_is_among_metrics(pod, kubelet):
    """As it is after updates; a quota only where there is one."""
    asked = {"cpu_shares": 512, "cpu_quota": 50000, "cpu_period": 200000}
    c, plain = pod.container(linux_part={"resources": asked}), pod.container()

    def spec(of):
        (told,) = kubelet.ListPodSandboxMetrics().pod_metrics
        return {m.name[15:]: m.value.value for cm in told.container_metrics if cm.container_id == of.id for m in cm.metrics if m.name.startswith(("container_spec_cpu", "container_spec_memory_res"))}

    assert spec(c) == {**asked, "memory_reservation_limit_bytes": 0}
    assert spec(plain) == {"cpu_shares": 1024, "cpu_period": 100000, "memory_reservation_limit_bytes": 0}
    kubelet.UpdateContainerResources(container_id=c.id, linux_part={"cpu_shares": 2048, "cpu_quota": -1})
    assert spec(c) == {"cpu_shares": 2048, "cpu_period": 200000, "memory_reservation_limit_bytes": 0}


def test_huge_pages_are_among_metrics(pod, kubelet):
    """Of containers that were given some, where the machine counts them."""
    size = next((f"{int(d.name[10:-2]) >> 10}MB" for d in pathlib.Path("/sys/kernel/mm/hugepages").glob("hugepages-*kB") if d.name == "hugepages-2048kB"), None)
    given = [{"page_size": size, "limit": 4 * MB}] if size else []
    c = pod.container(linux_part={"resources": {"hugepage_limits": given}})
    without = pod.container(linux_part={"resources": {"hugepage_limits": [{"page_size": size, "limit": 0}] if size else []}})
    found = {(name, labels["pagesize"]): value for name, labels, value in metrics_of(kubelet, c) if name.startswith("container_hugetlb")}
    counted = size and (V2 and "hugetlb" in (TOP / "cgroup.controllers").read_text() or (TOP / "hugetlb").exists())
    assert found == ({(f"container_hugetlb_{n}", size): 0 for n in (["usage_bytes"] if V2 else ["usage_bytes", "max_usage_bytes"])} if counted else {})
    assert not [m for m in metrics_of(kubelet, without) if m[0].startswith("container_hugetlb")]


def test_lack_of_memory_is_counted(pod, kubelet):
    c = pod.container("sh", "-c", "(echo 1000 >/proc/self/oom_score_adj; exec tail < /dev/zero); touch /dev/shm/done; sleep 1000", linux_part={"resources": {"memory_limit_in_bytes": 20 * MB}})
    wait_until("it has happened", lambda: within(c, "test", "-e", "/dev/shm/done").returncode == 0)
    metrics = {m.name: m.value.value for m in kubelet.ListPodSandboxMetrics().pod_metrics[0].container_metrics[0].metrics}
    assert metrics["container_oom_events_total"] >= 1
    assert metrics["container_spec_memory_limit_bytes"] == 20 * MB
