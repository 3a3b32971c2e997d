# SPDX-License-Identifier: Apache-2.0
"""What runtime-spec's resources become in the files of each kind of cgroup, with directories that the runtime makes itself."""
import ctypes
import json
import os
import struct

import pytest

from runtime_bundle import RUNTIME

from layout import ROOT, V2, hierarchies, only_v1, only_v2, pids, read, run, wait, where

DISK = "254:0"
MB = 1 << 20


def limits(box, **resources):
    box.config["linux"]["resources"].update(resources)


def group(box, controller, cid):
    return where(controller, f"{box.group}/{cid}")


def value(box, cid, controller, v1, v2):
    return read(group(box, controller, cid), v2 if V2 else v1)


def error(box, **resources):
    limits(box, **resources)
    p = box.run("true")
    assert p.returncode == 1, p.stdout
    return p.stderr


def test_a_process_is_in_every_hierarchy(box):
    cid = box.start("sleep", "100")
    pid = box.status(cid)["pid"]
    for name in hierarchies():
        assert pid in pids(where(name, f"{box.group}/{cid}")) or name == "freezer", name


def test_memory(box):
    limits(box, memory={"limit": 64 * MB, "reservation": 32 * MB})
    cid = box.start("sleep", "100")
    assert value(box, cid, "memory", "memory.limit_in_bytes", "memory.max") == str(64 * MB)
    assert value(box, cid, "memory", "memory.soft_limit_in_bytes", "memory.low") == str(32 * MB)
    box.cmd("update", "--memory", "32m", "--memory-reservation", "16m", cid, check=True)
    assert value(box, cid, "memory", "memory.limit_in_bytes", "memory.max") == str(32 * MB)
    box.cmd("update", "--memory", "-1", cid, check=True)
    assert value(box, cid, "memory", "memory.limit_in_bytes", "memory.max") in ("max", "9223372036854771712")


@only_v2
def test_swap_is_the_sum_less_memory(box):
    limits(box, memory={"limit": 64 * MB, "swap": 96 * MB})
    cid = box.start("sleep", "100")
    assert read(group(box, "", cid), "memory.swap.max") == str(32 * MB)
    box.cmd("update", "--memory-swap", str(80 * MB), cid, check=True)
    assert read(group(box, "", cid), "memory.swap.max") == str(16 * MB)
    box.cmd("update", "--memory", "-1", cid, check=True)
    assert read(group(box, "", cid), "memory.swap.max") == "max"
    assert "memory.swap" in error(box, memory={"limit": 64 * MB, "swap": 32 * MB})
    assert "memory.swap" in error(box, memory={"swap": 32 * MB})


def test_a_limit_below_what_is_in_use_is_refused(box):
    cid = box.start("sh", "-c", "x=$(head -c 20000000 /dev/zero | tr '\\0' a); echo $x | wc -c; sleep 100")
    directory = group(box, "memory", cid)
    wait("memory in use", lambda: int(read(directory, "memory.current" if V2 else "memory.usage_in_bytes")) > 20 * MB)
    document = os.path.join(box.dir, "resources.json")
    with open(document, "w") as f:
        json.dump({"memory": {"limit": MB, "checkBeforeUpdate": True}}, f)
    p = box.cmd("update", "-r", document, cid)
    assert p.returncode == 1 and "rejecting memory limit" in p.stderr
    assert box.status(cid)["status"] == "running"


@pytest.mark.parametrize("shares, weight", [(2, 1), (512, 59), (1024, 100), (2048, 174), (262144, 10000)])
def test_cpu_shares(box, shares, weight):
    limits(box, cpu={"shares": shares})
    cid = box.start("sleep", "100")
    assert value(box, cid, "cpu", "cpu.shares", "cpu.weight") == str(weight if V2 else shares)


def test_cpu_quota_and_period_each_alone(box):
    limits(box, cpu={"quota": 50000, "period": 100000, "burst": 1000})
    cid = box.start("sleep", "100")

    def quota():
        d = group(box, "cpu", cid)
        return read(d, "cpu.max") if V2 else f"{read(d, 'cpu.cfs_quota_us')} {read(d, 'cpu.cfs_period_us')}"

    assert quota() == "50000 100000"
    assert value(box, cid, "cpu", "cpu.cfs_burst_us", "cpu.max.burst") == "1000"
    box.cmd("update", "--cpu-quota", "60000", cid, check=True)
    assert quota() == "60000 100000"
    box.cmd("update", "--cpu-period", "200000", cid, check=True)
    assert quota() == "60000 200000"
    box.cmd("update", "--cpu-quota", "5000", "--cpu-period", "10000", "--cpu-burst", "2000", cid, check=True)
    assert quota() == "5000 10000"
    # More than the old quota allows, and less than the old burst.
    box.cmd("update", "--cpu-quota", "100000", "--cpu-period", "100000", "--cpu-burst", "50000", cid, check=True)
    assert value(box, cid, "cpu", "cpu.cfs_burst_us", "cpu.max.burst") == "50000"
    box.cmd("update", "--cpu-quota", "-1", cid, check=True)
    assert quota() == ("max 100000" if V2 else "-1 100000")


def test_cpu_idle(box):
    limits(box, cpu={"idle": 1})
    cid = box.start("sleep", "100")
    assert read(group(box, "cpu", cid), "cpu.idle") == "1"
    box.cmd("update", "--cpu-idle", "0", cid, check=True)
    assert read(group(box, "cpu", cid), "cpu.idle") == "0"


def test_cpuset(box):
    limits(box, cpu={"cpus": "1", "mems": "0"})
    cid = box.start("sleep", "100")
    assert read(group(box, "cpuset", cid), "cpuset.cpus") == "1"
    assert box.cmd("exec", cid, "grep", "Cpus_allowed_list", "/proc/self/status").stdout.split()[1] == "1"
    box.cmd("update", "--cpuset-cpus", "0-1", cid, check=True)
    assert read(group(box, "cpuset", cid), "cpuset.cpus") == "0-1"
    assert "cpuset" in error(box, cpu={"cpus": "77"})


def test_pids(box):
    limits(box, pids={"limit": 1})
    assert box.run("true").returncode == 0
    limits(box, pids={"limit": 20})
    cid = box.start("sleep", "100")
    assert read(group(box, "pids", cid), "pids.max") == "20"
    box.cmd("update", "--pids-limit", "-1", cid, check=True)
    assert read(group(box, "pids", cid), "pids.max") == "max"


def test_throttles(box):
    device = {"major": 254, "minor": 0}
    limits(box, blockIO={"throttleReadBpsDevice": [dict(device, rate=1048576)], "throttleWriteBpsDevice": [dict(device, rate=2097152)],
                         "throttleReadIOPSDevice": [dict(device, rate=100)], "throttleWriteIOPSDevice": [dict(device, rate=200)]})
    cid = box.start("sleep", "100")
    d = group(box, "blkio", cid)
    if V2:
        assert read(d, "io.max") == f"{DISK} rbps=1048576 wbps=2097152 riops=100 wiops=200"
    else:
        assert [read(d, f"blkio.throttle.{n}_device") for n in ("read_bps", "write_bps", "read_iops", "write_iops")] == [
            f"{DISK} {rate}" for rate in (1048576, 2097152, 100, 200)]
    assert "999" in error(box, blockIO={"throttleReadBpsDevice": [{"major": 999, "minor": 0, "rate": 1}]})


def with_bfq():
    """The first disk's scheduler, which has weights of its own."""
    run("modprobe", "bfq")
    (ROOT.parent.parent / "block/vda/queue/scheduler").write_text("bfq")


@only_v2
def test_io_weight(box):
    limits(box, blockIO={"weight": 10})
    cid = box.start("sleep", "100")
    assert read(group(box, "", cid), "io.weight").splitlines() == ["default 1"]
    assert "bfq" in error(box, blockIO={"weight": 10, "weightDevice": [dict(major=254, minor=0, weight=1000)]})
    with_bfq()
    cid = box.start("sleep", "100")
    assert read(group(box, "", cid), "io.bfq.weight").splitlines() == ["default 10", f"{DISK} 1000"]


@only_v1
def test_blkio_weight_where_no_scheduler_has_one(box):
    assert "blkio.leaf_weight" in error(box, blockIO={"leafWeight": 10})


@only_v1
def test_blkio_weight(box):
    with_bfq()
    limits(box, blockIO={"weight": 100, "weightDevice": [dict(major=254, minor=0, weight=200)]})
    cid = box.start("sleep", "100")
    assert read(group(box, "blkio", cid), "blkio.bfq.weight") == "100"
    assert f"{DISK} 200" in read(group(box, "blkio", cid), "blkio.bfq.weight_device")


def test_hugepages(box):
    limits(box, hugepageLimits=[{"pageSize": "2MB", "limit": 4 * MB}])
    cid = box.start("sleep", "100")
    assert value(box, cid, "hugetlb", "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max") == str(4 * MB)
    assert value(box, cid, "hugetlb", "hugetlb.2MB.rsvd.limit_in_bytes", "hugetlb.2MB.rsvd.max") == str(4 * MB)
    assert "3MB" in error(box, hugepageLimits=[{"pageSize": "3MB", "limit": 1}])
    assert "../x" in error(box, hugepageLimits=[{"pageSize": "../x", "limit": 1}])


def test_rdma_names_the_device(box):
    assert "mlx5_9" in error(box, rdma={"mlx5_9": {"hcaHandles": 3, "hcaObjects": 10000}})
    assert "rdma.x.hcaHandles" in error(box, rdma={"x": {"hcaHandles": -3}})


@only_v1
def test_network_classes_and_priorities(box):
    limits(box, network={"classID": 1048577, "priorities": [{"name": "lo", "priority": 5}]})
    cid = box.start("sleep", "100")
    assert read(group(box, "net_cls", cid), "net_cls.classid") == "1048577"
    assert "lo 5" in read(group(box, "net_prio", cid), "net_prio.ifpriomap")
    assert "eth77" in error(box, network={"priorities": [{"name": "eth77", "priority": 5}]})


@only_v2
def test_network_is_for_v1(box):
    assert "net_cls" in error(box, network={"classID": 1})


@only_v1
def test_unified_is_for_v2(box):
    assert "memory.high" in error(box, unified={"memory.high": "1000000"})


@only_v1
def test_swappiness_and_oom_killer(box):
    limits(box, memory={"limit": 64 * MB, "swappiness": 7, "disableOOMKiller": True, "kernel": MB})
    cid = box.start("sleep", "100")
    assert read(group(box, "memory", cid), "memory.swappiness") == "7"
    assert "oom_kill_disable 1" in read(group(box, "memory", cid), "memory.oom_control")
    assert "swappiness" in error(box, memory={"swappiness": 101})


@only_v1
def test_shares_out_of_range_are_told(box):
    assert "minimum allowed cpu-shares is 2" in error(box, cpu={"shares": 1})
    assert "maximum allowed cpu-shares is 262144" in error(box, cpu={"shares": 1 << 20})


@only_v1
def test_cpuset_is_inherited_through_empty_parents(box):
    outer = ROOT / "cpuset" / box.group
    outer.mkdir()
    assert read(outer, "cpuset.cpus") == ""
    cid = box.start("sleep", "100")
    assert read(outer, "cpuset.cpus") == read(outer / cid, "cpuset.cpus") == read(ROOT / "cpuset", "cpuset.cpus")


@only_v2
def test_unified(box):
    raw = {"memory.high": str(50 * MB), "memory.min": str(MB), "cpu.weight": "42", "cpuset.cpus": "0", "pids.max": "33",
           "memory.oom.group": "1", "hugetlb.2MB.max": str(2 * MB), "io.max": f"{DISK} rbps=1000000"}
    limits(box, unified=raw)
    cid = box.start("sleep", "100")
    d = group(box, "", cid)
    for name, text in raw.items():
        assert read(d, name).startswith(text), name
    assert "no cgroup file" in error(box, unified={"../x": "1"})
    assert "nothing.here" in error(box, unified={"nothing.here": "1"})


@only_v2
def test_every_controller_is_on(box):
    cid = box.start("sleep", "100")
    assert read(group(box, "", cid), "cgroup.controllers") == read(ROOT, "cgroup.controllers")


# --- devices ---


def programs(directory):
    """The number of device programs on a v2 cgroup: bpf(BPF_PROG_QUERY)."""
    fd = os.open(directory, os.O_RDONLY)
    ids = (ctypes.c_uint32 * 16)()
    attr = ctypes.create_string_buffer(struct.pack("IIIIQII", fd, 6, 0, 0, ctypes.addressof(ids), 16, 0).ljust(128, b"\0"))
    try:
        assert ctypes.CDLL(None, use_errno=True).syscall(321, 16, attr, 128) == 0
        return struct.unpack_from("I", attr.raw, 24)[0]
    finally:
        os.close(fd)


DENY = {"allow": False, "access": "rwm"}
KMSG = {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}
DISK_RULE = {"allow": True, "type": "b", "major": 254, "minor": 16, "access": "r"}


def opens(box, cid, path):
    return box.cmd("exec", cid, "dd", f"if={path}", "of=/dev/null", "bs=512", "count=1").returncode == 0


def opened(box, cid):
    return [name for name in ("kmsg", "disk", "zero") if opens(box, cid, f"/tmp/{name}")]


def with_nodes(box):
    for kind in ("bounding", "effective", "permitted"):
        box.config["process"]["capabilities"][kind] += ["CAP_MKNOD", "CAP_SYSLOG"]
    cid = box.start("sh", "-c", "mknod /tmp/kmsg c 1 11; mknod /tmp/disk b 254 16; mknod /tmp/zero c 1 5; sleep 100")
    wait("the nodes", lambda: os.path.exists(box.root + "/tmp/zero"))
    return cid


def test_device_rules(box):
    limits(box, devices=[DENY, KMSG])
    assert opened(box, with_nodes(box)) == ["kmsg", "zero"]


def test_all_devices(box):
    limits(box, devices=[{"allow": True, "access": "rwm"}])
    assert opened(box, with_nodes(box)) == ["kmsg", "disk", "zero"]


def test_device_rules_are_kept_by_update_and_replaced_by_new_ones(box):
    limits(box, devices=[DENY, KMSG])
    cid = with_nodes(box)
    box.cmd("update", "--pids-limit", "50", cid, check=True)
    assert opened(box, cid) == ["kmsg", "zero"]
    document = os.path.join(box.dir, "resources.json")
    for rule, name in ((DISK_RULE, "disk"), (KMSG, "kmsg"), (DISK_RULE, "disk")):
        with open(document, "w") as f:
            json.dump({"devices": [DENY, rule]}, f)
        box.cmd("update", "-r", document, cid, check=True)
        assert opened(box, cid) == [name, "zero"]
    if V2:
        assert programs(group(box, "", cid)) == 1


# --- cgroups within, and around ---


def test_pause_holds_everything(box):
    cid = box.start("sh", "-c", "while :; do echo x >> /tmp/out; sleep 0.1; done")
    out = os.path.join(box.root, "tmp/out")
    wait("output", lambda: os.path.exists(out) and os.path.getsize(out) > 4)
    box.cmd("pause", cid, check=True)
    size = os.path.getsize(out)
    run("sleep", "1")
    assert os.path.getsize(out) == size and box.status(cid)["status"] == "paused"
    box.cmd("resume", cid, check=True)
    wait("more output", lambda: os.path.getsize(out) > size)


def writable_cgroup(box):
    box.config["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev"]})


NEST = ("mkdir /sys/fs/cgroup/init && echo 1 > /sys/fs/cgroup/init/cgroup.procs && echo +pids > /sys/fs/cgroup/cgroup.subtree_control "
        "&& echo done > /tmp/nested; sleep 1000")


@only_v2
def test_exec_where_the_container_has_cgroups_of_its_own(box):
    writable_cgroup(box)
    cid = box.start("sh", "-c", NEST)
    wait("the container's cgroups", lambda: os.path.exists(box.root + "/tmp/nested"))
    assert box.cmd("exec", cid, "cat", "/proc/self/cgroup", check=True).stdout == "0::/init\n"
    assert box.cmd("exec", "--cgroup", "init", cid, "cat", "/proc/self/cgroup", check=True).stdout == "0::/init\n"
    box.cmd("update", "--pids-limit", "70", cid, check=True)
    box.cmd("pause", cid, check=True)
    box.cmd("resume", cid, check=True)
    assert json.loads(box.cmd("ps", "-f", "json", cid, check=True).stdout) == [box.status(cid)["pid"]]
    box.cmd("delete", "--force", cid, check=True)
    assert not group(box, "", cid).exists()


@only_v2
def test_a_cgroup_is_given_to_the_user_who_is_to_manage_it(box):
    writable_cgroup(box)
    box.config["linux"]["namespaces"].append({"type": "user"})
    for kind in ("uidMappings", "gidMappings"):
        box.config["linux"][kind] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    run("chown", "-R", "100000:100000", box.root)
    cid = box.start("sh", "-c", NEST)
    wait("the container's cgroups", lambda: os.path.exists(box.root + "/tmp/nested"))
    d = group(box, "", cid)
    given = set((ROOT.parent.parent / "kernel/cgroup/delegate").read_text().split()) | {"."}
    for name in os.listdir(d) + ["."]:
        if not (d / name).is_dir() or name == ".":
            assert (d / name).stat().st_uid == (100000 if name in given else 0), name
    box.config["mounts"][-1]["options"].append("ro")
    cid = box.start("sleep", "100")
    assert group(box, "", cid).stat().st_uid == 0


@only_v2
def test_a_threaded_parent_is_refused(box):
    outer = ROOT / box.group
    (outer / "threads").mkdir(parents=True)
    (outer / "threads/cgroup.type").write_text("threaded")
    try:
        p = box.run("true")
        assert p.returncode == 1 and "domain invalid" in p.stderr and box.group in p.stderr
    finally:
        (outer / "threads").rmdir()


@only_v2
def test_a_relative_path_is_beside_the_caller(box):
    """A service to which systemd gives a tree, and which moves itself into one leaf of it, has its containers in others."""
    cid = box.new_id()
    box.config["process"]["args"] = ["sleep", "100"]
    limits(box, memory={"limit": 64 * MB})
    box.config["linux"]["cgroupsPath"] = "inner"
    with open(os.path.join(box.dir, "config.json"), "w") as f:
        json.dump(box.config, f)
    script = os.path.join(box.dir, "script")
    with open(script, "w") as f:
        f.write("d=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup); mkdir $d/manager; echo $$ > $d/manager/cgroup.procs; exec \"$@\"")
    unit = f"outer-{os.getpid()}.service"
    run("systemd-run", "--quiet", "--unit", unit, "-p", "Delegate=yes", "-p", "Type=oneshot", "-p", "RemainAfterExit=yes", "sh", script,
        RUNTIME, "--root", box.state, "run", "-d", "-b", box.dir, cid)
    try:
        d = ROOT / "system.slice" / unit
        assert read(d / "inner", "memory.max") == str(64 * MB)
        assert pids(d / "inner") == [box.status(cid)["pid"]]
        box.cmd("delete", "--force", cid, check=True)
        assert not (d / "inner").exists()
    finally:
        run("systemctl", "stop", unit)
