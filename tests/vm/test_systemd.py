# SPDX-License-Identifier: Apache-2.0
"""--systemd-cgroup: a container's cgroup is a transient unit, with all that a unit has; the directories and files are as without it."""
import json
import os
import pathlib
import shutil
import subprocess

import pytest

from runtime_bundle import RUNTIME, Bundle

from layout import ROOT, V2, hierarchies, only_v1, only_v2, pids, read, run, wait, where

MB = 1 << 20


class Units(Bundle):
    """A bundle whose containers are scopes in a slice of its own."""

    def __init__(self, tmp):
        super().__init__(tmp)
        self.slice = f"tests-{os.getpid()}.slice"
        self.slice_path = f"/tests.slice/{self.slice}"

    def save(self, cid):
        self.config["linux"]["cgroupsPath"] = f"{self.slice}:box:{self.group}-{cid}"
        self.write()

    def write(self):
        with open(os.path.join(self.dir, "config.json"), "w") as f:
            json.dump(self.config, f)

    def cmd(self, *args, **kw):
        return super().cmd("--systemd-cgroup", *args, **kw)

    def unit(self, cid):
        return f"box-{self.group}-{cid}.scope"

    def path(self, cid):
        return f"{self.slice_path}/{self.unit(cid)}"

    def group_of(self, controller, cid):
        return where(controller, self.path(cid))


def show(unit, *names):
    lines = run("systemctl", "show", unit, *(f"-p{n}" for n in names)).stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)


def is_gone(unit):
    return show(unit, "LoadState", "ActiveState") == {"LoadState": "not-found", "ActiveState": "inactive"}


def directories(name):
    return [d for d in ROOT.rglob(f"*{name}*") if d.is_dir()]


@pytest.fixture
def units(tmp_path):
    b = Units(tmp_path)
    yield b
    b.clean()
    assert directories(b.group) == []
    assert run("systemctl", "list-units", "--all", "--no-legend", f"box-{b.group}*").stdout == ""
    assert run("pgrep", "ireko-scope", check=False).stdout == ""
    run("systemctl", "stop", "tests.slice")


def limits(box, **resources):
    box.config["linux"]["resources"].update(resources)


def test_a_container_is_a_scope(units):
    cid = units.start("sleep", "100")
    unit, pid = units.unit(cid), units.status(cid)["pid"]
    assert show(unit, "ActiveState", "Slice", "Delegate", "ControlGroup", "DefaultDependencies", "Description") == {
        "ActiveState": "active", "Slice": units.slice, "Delegate": "yes", "ControlGroup": units.path(cid), "DefaultDependencies": "no",
        "Description": f"ireko container {cid}"}
    for name in hierarchies():
        assert pids(units.group_of(name, cid)) == [pid] or name == "freezer", name
    if V2:
        assert read(units.group_of("", cid), "cgroup.controllers") == read(ROOT, "cgroup.controllers")
    assert units.cmd("exec", cid, "true").returncode == 0
    units.cmd("kill", cid, "KILL", check=True)
    units.wait_stopped(cid)
    units.cmd("delete", cid, check=True)
    assert is_gone(unit) and directories(unit) == []


def test_run_to_the_end(units):
    assert units.sh("echo hello; cat /proc/self/cgroup | cut -d: -f3 | sort -u") == "hello\n/\n"
    assert is_gone(units.unit("c1"))


def test_states_and_pause(units):
    cid = units.start("sleep", "100")
    units.cmd("pause", cid, check=True)
    assert units.status(cid)["status"] == "paused"
    units.cmd("resume", cid, check=True)
    assert str(units.status(cid)["pid"]) in units.cmd("ps", cid, check=True).stdout
    units.cmd("delete", "--force", cid, check=True)
    assert is_gone(units.unit(cid))


def test_without_a_path_it_is_in_system_slice(units):
    cid = units.group
    units.config["process"]["args"] = ["sleep", "100"]
    units.config["linux"]["cgroupsPath"] = ""
    units.write()
    units.cmd("run", "-d", "-b", units.dir, cid, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert show(f"ireko-{cid}.scope", "ControlGroup")["ControlGroup"] == f"/system.slice/ireko-{cid}.scope"
    units.cmd("delete", "--force", cid, check=True)
    assert is_gone(f"ireko-{cid}.scope")


def test_a_slice_is_a_slice(units):
    cid, name = "s1", f"tests-a-b{os.getpid()}.slice"
    units.config["process"]["args"] = ["sleep", "100"]
    units.config["linux"]["cgroupsPath"] = f"tests.slice:none:{name}"
    limits(units, pids={"limit": 20})
    units.write()
    units.cmd("run", "-d", "-b", units.dir, cid, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    path = f"/tests.slice/tests-a.slice/{name}"
    assert show(name, "ActiveState", "ControlGroup", "TasksMax") == {"ActiveState": "active", "ControlGroup": path, "TasksMax": "20"}
    assert pids(where("pids", path)) == [units.status(cid)["pid"]]
    units.cmd("delete", "--force", cid, check=True)
    # A slice needs no file to be known.
    assert show(name, "ActiveState") == {"ActiveState": "inactive"} and directories(name) == []


def test_limits_are_properties_and_files(units):
    limits(units, memory={"limit": 64 * MB, "reservation": 32 * MB, "swap": 96 * MB} if V2 else {"limit": 64 * MB},
           cpu={"shares": 2048, "quota": 45000, "period": 100000, "cpus": "0-1", "mems": "0"}, pids={"limit": 30})
    cid = units.start("sleep", "100")
    unit = units.unit(cid)
    if V2:
        assert show(unit, "MemoryMax", "MemoryLow", "MemorySwapMax", "CPUWeight") == {
            "MemoryMax": str(64 * MB), "MemoryLow": str(32 * MB), "MemorySwapMax": str(32 * MB), "CPUWeight": "174"}
    else:
        assert show(unit, "MemoryLimit", "CPUShares") == {"MemoryLimit": str(64 * MB), "CPUShares": "2048"}
    assert show(unit, "CPUQuotaPerSecUSec", "CPUQuotaPeriodUSec", "TasksMax", "AllowedCPUs", "AllowedMemoryNodes") == {
        "CPUQuotaPerSecUSec": "450ms", "CPUQuotaPeriodUSec": "100ms", "TasksMax": "30", "AllowedCPUs": "0-1", "AllowedMemoryNodes": "0"}
    d = {c: units.group_of(c, cid) for c in ("memory", "cpu", "cpuset", "pids")}
    assert read(d["memory"], "memory.max" if V2 else "memory.limit_in_bytes") == str(64 * MB)
    assert read(d["cpu"], "cpu.weight" if V2 else "cpu.shares") == ("174" if V2 else "2048")
    assert read(d["cpu"], "cpu.max" if V2 else "cpu.cfs_quota_us") in ("45000 100000", "45000")
    assert (read(d["pids"], "pids.max"), read(d["cpuset"], "cpuset.cpus")) == ("30", "0-1")


def test_update_reaches_both(units):
    limits(units, cpu={"quota": 50000, "period": 100000})
    cid = units.start("sleep", "100")
    unit = units.unit(cid)
    units.cmd("update", "--memory", "50m", "--pids-limit", "40", "--cpu-quota", "12345", "--cpuset-cpus", "1", cid, check=True)
    # A hundredth of a CPU is the least that systemd can tell.
    assert show(unit, "TasksMax", "CPUQuotaPerSecUSec", "AllowedCPUs") == {"TasksMax": "40", "CPUQuotaPerSecUSec": "130ms", "AllowedCPUs": "1"}
    d = {c: units.group_of(c, cid) for c in ("memory", "cpu", "pids", "cpuset")}
    assert read(d["memory"], "memory.max" if V2 else "memory.limit_in_bytes") == str(50 * MB)
    assert read(d["cpu"], "cpu.max" if V2 else "cpu.cfs_quota_us") in ("13000 100000", "13000")
    assert (read(d["pids"], "pids.max"), read(d["cpuset"], "cpuset.cpus")) == ("40", "1")
    units.cmd("update", "--pids-limit", "-1", "--cpu-quota", "-1", cid, check=True)
    assert show(unit, "TasksMax", "CPUQuotaPerSecUSec") == {"TasksMax": "infinity", "CPUQuotaPerSecUSec": "infinity"}
    assert read(d["pids"], "pids.max") == "max"


@only_v2
def test_unified_is_properties_too(units):
    limits(units, unified={"memory.high": str(40 * MB), "cpu.max": "20000 100000", "pids.max": "50", "cpu.weight": "33", "memory.oom.group": "1"})
    cid = units.start("sleep", "100")
    assert show(units.unit(cid), "MemoryHigh", "CPUQuotaPerSecUSec", "TasksMax", "CPUWeight") == {
        "MemoryHigh": str(40 * MB), "CPUQuotaPerSecUSec": "200ms", "TasksMax": "50", "CPUWeight": "33"}
    d = units.group_of("", cid)
    assert [read(d, n) for n in ("memory.high", "cpu.max", "pids.max", "cpu.weight", "memory.oom.group")] == [
        str(40 * MB), "20000 100000", "50", "33", "1"]


@only_v2
def test_idle(units):
    limits(units, cpu={"idle": 1, "shares": 1024})
    cid = units.start("sleep", "100")
    assert show(units.unit(cid), "CPUWeight") == {"CPUWeight": "idle"}
    assert read(units.group_of("", cid), "cpu.idle") == "1"


def test_one_process_is_enough(units):
    """While ireko-scope is in the scope there are two, and the limit must not be felt."""
    limits(units, pids={"limit": 1})
    cid = units.start("sleep", "100")
    assert read(units.group_of("pids", cid), "pids.max") == "1"
    assert show(units.unit(cid), "TasksMax") == {"TasksMax": "1"}
    assert pids(units.group_of("pids", cid)) == [units.status(cid)["pid"]]


def test_properties_from_annotations(units):
    units.config["annotations"] = {"org.systemd.property.TimeoutStopSec": "uint64 5", "org.systemd.property.CollectMode": "'inactive-or-failed'",
                                   "org.systemd.property.After": "['dbus.service', 'dbus.socket']", "org.systemd.property.MemoryHigh": "@t 0x4000000"}
    cid = units.start("sleep", "100")
    seen = show(units.unit(cid), "TimeoutStopUSec", "CollectMode", "After", "MemoryHigh")
    after = seen.pop("After").split()
    assert seen == {"TimeoutStopUSec": "5s", "CollectMode": "inactive-or-failed", "MemoryHigh": str(0x4000000)}
    assert {"dbus.service", "dbus.socket"} <= set(after)


@pytest.mark.parametrize("name, value, said", [
    ("TimeoutStopSec", "'soon'", "number of seconds"), ("X", "1", "three letters"), ("CollectMode", "inactive", "character 1"),
    ("NoSuchProperty", "true", "NoSuchProperty"), ("TimeoutStopUSec", "'a'", "unable to start unit")])
def test_bad_properties(units, name, value, said):
    units.config["annotations"] = {f"org.systemd.property.{name}": value}
    p = units.run("true")
    assert p.returncode == 1 and said in p.stderr, p.stderr


@pytest.mark.parametrize("path, said", [("/a/b", "slice:prefix:name"), ("a:b", "slice:prefix:name"), ("a:b:c", "invalid slice name"),
                                        ("a--b.slice:b:c", "invalid slice name"), ("a/b.slice:b:c", "invalid slice name"), ("system.slice:b:c/d", "name")])
def test_bad_paths(units, path, said):
    units.config["linux"]["cgroupsPath"] = path
    units.write()
    p = units.cmd("run", "-b", units.dir, "x")
    assert p.returncode == 1 and said in p.stderr, p.stderr


def test_reloading_changes_nothing(units):
    """systemd writes its own idea of a unit again when its configuration is read anew."""
    limits(units, memory={"limit": 64 * MB}, pids={"limit": 30}, devices=[
        {"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}])
    for kind in ("bounding", "effective", "permitted"):
        units.config["process"]["capabilities"][kind] += ["CAP_MKNOD", "CAP_SYSLOG"]
    cid = units.start("sh", "-c", "mknod /tmp/kmsg c 1 11; mknod /tmp/disk b 254 16; sleep 100")
    wait("the nodes", lambda: os.path.exists(units.root + "/tmp/disk"))

    def check():
        for path, code in (("/tmp/kmsg", 0), ("/tmp/disk", 1), ("/dev/zero", 0)):
            assert units.cmd("exec", cid, "dd", f"if={path}", "of=/dev/null", "bs=512", "count=1").returncode == code, path
        assert read(units.group_of("pids", cid), "pids.max") == "30"
        assert read(units.group_of("memory", cid), "memory.max" if V2 else "memory.limit_in_bytes") == str(64 * MB)

    check()
    if not V2:
        seen = show(units.unit(cid), "DevicePolicy", "DeviceAllow")
        assert seen["DevicePolicy"] == "strict" and "1:11 r" in seen["DeviceAllow"]
    run("systemctl", "daemon-reload")
    check()
    units.cmd("update", "--pids-limit", "30", cid, check=True)
    run("systemctl", "set-property", "--runtime", units.unit(cid), "CPUWeight=50")
    run("systemctl", "daemon-reexec")
    check()


def update_devices(box, cid, *allowed):
    document = os.path.join(box.dir, "resources.json")
    rules = [{"allow": True, "type": t, "major": major, "minor": minor, "access": "r"} for t, major, minor in allowed]
    with open(document, "w") as f:
        json.dump({"devices": [{"allow": False, "access": "rwm"}, *rules]}, f)
    box.cmd("update", "-r", document, cid, check=True)


@pytest.mark.parametrize("kind", ["units", "box"])
def test_devices_by_update(kind, request):
    """With systemd and without: what stays allowed is not denied for a moment in between."""
    box = request.getfixturevalue(kind)
    kmsg, disk = ("c", 1, 11), ("b", 254, 16)
    limits(box, devices=[{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}])
    for name in ("bounding", "effective", "permitted"):
        box.config["process"]["capabilities"][name] += ["CAP_MKNOD", "CAP_SYSLOG"]
    cid = box.start("sh", "-c", "mknod /tmp/disk b 254 16; mknod /tmp/kmsg c 1 11; echo > /tmp/ready; while true < /tmp/kmsg; do :; done; "
                    "echo > /tmp/failed; sleep 100")
    wait("the nodes", lambda: os.path.exists(box.root + "/tmp/ready"))
    for turn in range(10):
        update_devices(box, cid, kmsg, *([disk] if turn % 2 == 0 else []))
        assert (box.cmd("exec", cid, "dd", "if=/tmp/disk", "of=/dev/null", "bs=512", "count=1").returncode == 0) == (turn % 2 == 0)
    assert not os.path.exists(box.root + "/tmp/failed")
    update_devices(box, cid, disk)
    wait("the container to notice", lambda: os.path.exists(box.root + "/tmp/failed"))


# --- failures ---


def test_a_failed_unit_of_the_name_is_forgotten(units):
    cid = "c1"
    unit = units.unit(cid)
    run("systemd-run", "--quiet", "--scope", "--unit", unit, "-p", "RuntimeMaxSec=1", "sleep", "30", check=False)
    wait("it is over", lambda: show(unit, "ActiveState")["ActiveState"] == "failed")
    assert units.run("true").returncode == 0
    assert is_gone(unit)


def test_a_living_unit_of_the_name_stays(units):
    unit = units.unit("c1")
    run("systemd-run", "--quiet", "-p", "CollectMode=inactive-or-failed", "--unit", unit.removesuffix(".scope"), "sh", "-c", f"systemd-run --quiet --scope --unit {unit} sleep 60")
    wait("the other unit", lambda: show(unit, "ActiveState")["ActiveState"] == "active")
    try:
        p = units.run("true")
        assert p.returncode == 1 and unit in p.stderr
        assert show(unit, "ActiveState")["ActiveState"] == "active"
    finally:
        run("systemctl", "stop", unit)


@pytest.mark.parametrize("break_it", [
    lambda c: c.update(hooks={"createRuntime": [{"path": "/bin/false"}]}),
    lambda c: c["mounts"].append({"destination": "/x", "type": "nosuchfs"}),
    lambda c: c["process"].update(args=["/no/such/program"]),
    lambda c: c["linux"]["resources"].update(cpu={"cpus": "77"}),
    lambda c: c["linux"]["resources"].update(hugepageLimits=[{"pageSize": "3MB", "limit": 1}]),
])
def test_a_failed_creation_leaves_no_unit(units, break_it):
    units.config["process"]["args"] = ["true"]
    break_it(units.config)
    units.save("x")
    p = units.cmd("run", "-b", units.dir, "x")
    assert p.returncode == 1 and len(p.stderr) > 20
    assert is_gone(units.unit("x")) and directories(units.group) == []
    assert not os.path.exists(units.state) or [c for c in os.listdir(units.state) if not c.startswith("@")] == []


@pytest.mark.parametrize("delay", [0.03, 0.1, 0.2, 0.4])
def test_killed_at_any_moment(units, delay):
    units.config["process"]["args"] = ["sleep", "1000"]
    units.config["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "0.3"]}]}
    units.save("c1")
    p = subprocess.Popen([RUNTIME, "--systemd-cgroup", "--root", units.state, "create", "-b", units.dir, "c1"],
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        p.wait(timeout=delay)
    except subprocess.TimeoutExpired:
        p.kill()
        p.wait()
    units.cmd("delete", "--force", "c1", check=True)
    wait("the unit's end", lambda: is_gone(units.unit("c1")) and directories(units.group) == [])


def test_out_of_memory(units):
    limits(units, memory={"limit": 16 * MB})
    p = units.run("sh", "-c", "x=$(head -c 100000000 /dev/zero | tr \"\\0\" a); echo survived")
    assert "survived" not in p.stdout
    assert is_gone(units.unit("c1"))


def test_a_signal_to_the_unit(units):
    cid = units.start("sleep", "1000")
    run("systemctl", "kill", "--signal", "KILL", units.unit(cid))
    units.wait_stopped(cid)
    units.cmd("delete", cid, check=True)
    # The first process of a pid namespace is deaf to SIGTERM, unless it asks for it.
    cid = units.start("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done")
    run("systemctl", "stop", units.unit(cid))
    units.wait_stopped(cid)
    units.cmd("delete", cid, check=True)


def test_without_its_helper(units):
    alone = os.path.join(units.dir, "ireko-runtime")
    shutil.copy(RUNTIME, alone)
    units.save("x")
    p = subprocess.run([alone, "--systemd-cgroup", "--root", units.state, "run", "-b", units.dir, "x"], stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    assert p.returncode == 1 and "ireko-scope" in p.stderr and "--systemd-cgroup" in p.stderr


def test_without_a_bus_systemd_is_asked_directly(units):
    env = dict(os.environ, DBUS_SYSTEM_BUS_ADDRESS="unix:path=/nonexistent")
    assert units.run("true", env=env).returncode == 0


def test_many_at_once(units):
    ids = [f"c{n}" for n in range(1, 7)]
    units.config["process"]["args"] = ["sleep", "100"]
    started = []
    for cid in ids:
        units.save(cid)
        started.append(subprocess.Popen([RUNTIME, "--systemd-cgroup", "--root", units.state, "run", "-d", "-b", units.dir, cid],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL))
        wait("the configuration is read", lambda cid=cid: os.path.exists(f"{units.state}/{cid}/state.json"))
    assert [p.wait(timeout=60) for p in started] == [0] * len(ids)
    assert [show(units.unit(c), "ActiveState")["ActiveState"] for c in ids] == ["active"] * len(ids)


# --- a user's systemd ---


@pytest.fixture
def user_manager():
    run("systemctl", "start", "user@1000.service")
    wait("the user's bus", lambda: pathlib.Path("/run/user/1000/bus").exists())
    yield lambda *args, **kw: run("setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", "env", "XDG_RUNTIME_DIR=/run/user/1000", *args, **kw)
    run("systemctl", "stop", "user@1000.service")


def rootless(units):
    os.chmod(os.path.dirname(units.dir), 0o755)
    run("chown", "-R", "1000:1000", units.dir)
    for parent in pathlib.Path(units.dir).parents:
        if parent.stat().st_mode & 0o5 != 0o5 and parent != pathlib.Path("/"):
            parent.chmod(parent.stat().st_mode | 0o5)
    linux = units.config["linux"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = [{"containerID": 0, "hostID": 1000, "size": 1}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": 1000, "size": 1}]


@only_v2
def test_a_users_container_is_a_unit_of_the_users_systemd(units, user_manager):
    rootless(units)
    units.config["process"]["args"] = ["sleep", "100"]
    limits(units, pids={"limit": 22}, memory={"limit": 64 * MB})
    units.config["linux"]["cgroupsPath"] = f"app.slice:mine:{units.group}"
    units.write()
    command = [RUNTIME, "--systemd-cgroup", "--root", "/run/user/1000/ireko-test"]
    user_manager("sh", "-c", '"$@" > /run/user/1000/out 2>&1 || { cat /run/user/1000/out >&2; exit 1; }', "sh", *command, "run", "-d", "-b", units.dir, "c1")
    path = f"user.slice/user-1000.slice/user@1000.service/app.slice/mine-{units.group}.scope"
    state = json.loads(user_manager(*command, "state", "c1").stdout)
    assert pids(ROOT / path) == [state["pid"]]
    assert (read(ROOT / path, "pids.max"), read(ROOT / path, "memory.max")) == ("22", str(64 * MB))
    shown = user_manager("systemctl", "--user", "show", f"mine-{units.group}.scope", "-pTasksMax", "-pSlice").stdout.split()
    assert sorted(shown) == ["Slice=app.slice", "TasksMax=22"]
    user_manager(*command, "update", "--pids-limit", "33", "c1")
    assert read(ROOT / path, "pids.max") == "33"
    user_manager(*command, "delete", "--force", "c1")
    assert not (ROOT / path).exists()


@only_v1
def test_users_need_v2(units, user_manager):
    rootless(units)
    units.config["process"]["args"] = ["true"]
    units.save("c1")
    p = user_manager(RUNTIME, "--systemd-cgroup", "--root", "/run/user/1000/ireko-test", "run", "-b", units.dir, "c1", check=False)
    assert p.returncode == 1 and "v2" in p.stderr


def test_features_say_so(units):
    assert json.loads(units.cmd("features", check=True).stdout)["linux"]["cgroup"]["systemd"] is True

