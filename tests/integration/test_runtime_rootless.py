# SPDX-License-Identifier: Apache-2.0
"""ireko-runtime run by a user without privilege: life of a container, maps of ids, cgroups as far as they are his, and what only root may do."""
import array
import json
import os
import pathlib
import pty
import re
import signal
import socket
import subprocess

import pytest

import harness
from rootless_house import CGROUPS, GID, NAME, NULL, RUNTIME, SUB, SUB_N, UID, UNIFIED, fixture_house, fixture_root_house, mapped, ns_of

house, root_house = fixture_house, fixture_root_house


# --- the example, the state directory, whose it is ---


def test_spec_rootless(house):
    assert subprocess.run(house.as_user(RUNTIME, "spec", "-b", house.dir, "--rootless"), check=False).returncode == 0
    spec = json.loads((house.dir / "config.json").read_text())
    kinds = [n["type"] for n in spec["linux"]["namespaces"]]
    assert "network" not in kinds and kinds[-1] == "user" and {"pid", "ipc", "uts", "mount"} <= set(kinds)
    assert spec["linux"]["uidMappings"] == [{"containerID": 0, "hostID": UID, "size": 1}]
    assert spec["linux"]["gidMappings"] == [{"containerID": 0, "hostID": GID, "size": 1}]
    assert "resources" not in spec["linux"]
    mounts = {m["destination"]: m for m in spec["mounts"]}
    assert mounts["/sys"] == {"destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]}
    assert "newinstance" in mounts["/dev/pts"]["options"]
    assert not [o for m in spec["mounts"] for o in m.get("options", []) if o.startswith(("gid=", "uid="))]


def test_runs_the_example(house):
    out = house.sh("id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map; cat /proc/self/setgroups; hostname; echo $$; touch /dev/shm/x; echo x > /dev/null")
    words = out.split()
    assert words[:2] == ["0", "0"] and words[2:8] == ["0", str(UID), "1", "0", str(GID), "1"] and words[8] == "deny" and words[10] == "1"
    # It is the user's, not root's, power that is behind it.
    house.config["root"]["readonly"] = False
    assert house.run("touch", "/etc/new").returncode == 0
    st = (house.rootfs / "etc/new").stat()
    assert (st.st_uid, st.st_gid) == (UID, GID)


def test_default_state_directory(house):
    house.args = []
    cid = house.start("sleep", "100")
    root = house.xdg / "ireko-runtime"
    assert root.stat().st_mode & 0o7777 == 0o1700 and root.stat().st_uid == UID
    assert (root / cid / "state.json").exists()
    assert house.status(cid)["status"] == "running"


def test_state_directory_without_xdg(house):
    house.args = []
    cid = house.save("sleep", "100")
    assert house.cmd("run", "-d", cid, env={"XDG_RUNTIME_DIR": None}, **NULL).returncode == 0
    inside = f"/proc/{house.holder.pid}/root/run/user/{UID}/ireko-runtime"
    assert os.path.exists(f"{inside}/{cid}/state.json")
    house.cmd("delete", "-f", cid, env={"XDG_RUNTIME_DIR": None}, check=True)


def test_state_directory_that_cannot_be_made(house):
    house.args = []
    p = house.cmd("list", env={"XDG_RUNTIME_DIR": "/proc/none"})
    assert p.returncode == 1 and "/proc/none/ireko-runtime" in p.stderr and "XDG_RUNTIME_DIR" in p.stderr


def test_root_of_the_machine_ignores_xdg(root_house):
    root_house.args = []
    p = root_house.cmd("list")
    assert p.returncode == 0 and not (root_house.xdg / "ireko-runtime").exists()


def test_bad_rootless_word(house):
    p = house.cmd("--rootless", "perhaps", "list")
    assert p.returncode == 1 and '"perhaps"' in p.stderr and "true, false or auto" in p.stderr


# --- life ---


def test_life_cycle(house):
    cid = house.save("sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.05; done")
    assert house.cmd("create", cid, **NULL).returncode == 0
    s = house.status(cid)
    assert s["status"] == "created" and s["owner"] == NAME
    # While it is made up of our memory nobody may look into it; afterwards it is a process of the user's.
    assert os.stat(f"/proc/{s['pid']}/mem").st_uid == 0
    p = house.cmd("exec", cid, "true")
    assert p.returncode == 255 and "started" in p.stderr
    house.cmd("start", cid, check=True)
    assert house.status(cid)["status"] == "running" and os.stat(f"/proc/{s['pid']}/mem").st_uid == UID
    table = house.cmd("list", check=True).stdout
    assert re.search(rf"^{cid}\s+{s['pid']}\s+running\s.*\s{NAME}\s*$", table, re.M)
    assert json.loads(house.cmd("list", "-f", "json", check=True).stdout)[0]["owner"] == NAME
    p = house.cmd("exec", "-e", "A=b", "--cwd", "/tmp", cid, "sh", "-c", "echo $A; pwd; id -u; cat /proc/1/cmdline | tr '\\0' ' '; exit 3")
    assert p.returncode == 3 and p.stdout.startswith("b\n/tmp\n0\nsh -c trap")
    house.cmd("kill", cid, "TERM", check=True)
    harness.wait_until("it stops", lambda: house.status(cid)["status"] == "stopped")
    house.cmd("delete", cid, check=True)
    assert "does not exist" in house.cmd("state", cid).stderr


def test_exit_status_and_signals(house):
    assert house.run("sh", "-c", "exit 7").returncode == 7
    cid = house.save("sh", "-c", "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done")
    p = subprocess.Popen(house.as_user(RUNTIME, *house.args, "run", cid), stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline() == "ready\n"
    p.send_signal(signal.SIGTERM)
    assert p.wait(timeout=20) == 42
    p.stdout.close()


def test_exec_is_in_every_namespace(house):
    cid = house.start("sleep", "100")
    pid = house.pid(cid)
    kinds = ["user", "mnt", "pid", "ipc", "uts", "net"]
    seen = house.cmd("exec", cid, "sh", "-c", "for n in " + " ".join(kinds) + "; do readlink /proc/self/ns/$n; done", check=True).stdout.split()
    assert seen == [ns_of(pid, k) for k in kinds]
    assert seen[0] != os.readlink("/proc/self/ns/user") and seen[-1] == os.readlink("/proc/self/ns/net")
    caps = house.cmd("exec", cid, "grep", "CapEff", "/proc/self/status", check=True).stdout.split()[1]
    assert int(caps, 16) == 1 << 29 | 1 << 5 | 1 << 10


def test_another_user_cannot(house):
    cid = house.start("sleep", "100")
    stranger = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups", RUNTIME, *house.args]
    for args in (["exec", cid, "true"], ["kill", cid, "KILL"], ["state", cid], ["delete", "-f", cid]):
        p = subprocess.run([*stranger, *args], capture_output=True, text=True, check=False)
        assert p.returncode != 0 and "ermission denied" in p.stderr, (args, p.stderr)
    assert house.status(cid)["status"] == "running"


def test_terminal(house):
    house.config["process"]["terminal"] = True
    cid = house.save("sh", "-c", "tty; stat -c %u $(tty); stty size; echo done; sleep 100")
    path = str(house.dir / "console.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    os.chown(path, UID, GID)
    listener.listen()
    assert house.cmd("create", "--console-socket", path, cid, **NULL).returncode == 0
    conn, _ = listener.accept()
    _, anc, _, _ = conn.recvmsg(64, socket.CMSG_LEN(4))
    master = array.array("i", anc[0][2])[0]
    house.cmd("start", cid, check=True)
    said = b""
    while b"done" not in said:
        said += os.read(master, 1000)
    assert said.split()[:2] == [b"/dev/pts/0", b"0"]
    conn.close()
    listener.close()
    os.close(master)


def test_exec_with_a_terminal(house):
    cid = house.start("sleep", "100")
    master, slave = pty.openpty()
    p = subprocess.Popen(house.as_user(RUNTIME, *house.args, "exec", "-t", cid, "tty"), stdin=slave, stdout=slave, stderr=slave)
    assert p.wait(timeout=20) == 0
    assert b"/dev/pts/0" in os.read(master, 1000)
    os.close(master)
    os.close(slave)


def test_hooks(house):
    out = house.dir / "hooks"
    out.mkdir()
    os.chown(out, UID, GID)
    for kind in ("prestart", "createRuntime", "poststart", "poststop"):
        script = f"cat > {out}/{kind}; id -u >> {out}/{kind}"
        house.config.setdefault("hooks", {})[kind] = [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}]
    cid = house.start("sleep", "100")
    house.cmd("delete", "-f", cid, check=True)
    for kind in ("prestart", "createRuntime", "poststart", "poststop"):
        text = (out / kind).read_text()
        assert f'"id":"{cid}"' in text.replace('": "', '":"') and text.rstrip().endswith(str(UID)), kind


# --- the user namespace ---


def test_needs_a_user_namespace(house):
    house.drop_namespace("user")
    house.config["linux"]["uidMappings"] = house.config["linux"]["gidMappings"] = []
    p = house.run("true")
    assert p.returncode == 1 and "rootless container requires user namespaces" in p.stderr


@pytest.mark.parametrize("field", ["uidMappings", "gidMappings"])
def test_needs_mappings(house, field):
    del house.config["linux"][field]
    p = house.run("true")
    assert p.returncode == 1 and f"linux.{field}" in p.stderr and "at least one mapping" in p.stderr


def test_mappings_need_a_user_namespace(root_house):
    root_house.drop_namespace("user")
    p = root_house.run("true")
    assert p.returncode == 1 and "linux.uidMappings" in p.stderr and "user namespace isn't enabled" in p.stderr


def test_one_id_leaves_no_groups(house):
    house.config["process"]["user"] = {"uid": 0, "gid": 0, "additionalGids": [5]}
    p = house.run("true")
    assert p.returncode == 1 and "additional groups" in p.stderr and "linux.gidMappings" in p.stderr


def test_user_that_is_not_mapped(house):
    house.config["process"]["user"] = {"uid": 1000, "gid": 0}
    p = house.run("true")
    assert p.returncode == 1 and "uid 1000" in p.stderr and "not mapped" in p.stderr


def test_range_by_newuidmap(house):
    house.ranges()
    house.config["process"]["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [7, 8]}
    house.config["process"]["capabilities"] = {}
    cid = house.start("sh", "-c", "id; touch /tmp/x; sleep 100")
    pid = house.pid(cid)
    assert mapped(pid) == [(0, UID, 1), (1, SUB, SUB_N)] and mapped(pid, "gid") == [(0, GID, 1), (1, SUB, SUB_N)]
    assert os.stat(f"/proc/{pid}").st_uid == SUB + 999
    groups = re.search(r"^Groups:\t(.*)$", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M).group(1).split()
    assert groups == [str(SUB + 6), str(SUB + 7)]
    p = house.cmd("exec", "--user", "2000:3", cid, "id", check=True)
    assert p.stdout.startswith("uid=2000 gid=3")
    # Of another uid than the caller's, and yet the caller's to end.
    house.cmd("kill", cid, "KILL", check=True)
    harness.wait_until("it stops", lambda: house.status(cid)["status"] == "stopped")


def test_files_of_the_range(house):
    house.ranges()
    house.config["root"]["readonly"] = False
    house.give("CAP_CHOWN")
    house.sh("touch /tmp/f; chown 5:6 /tmp/f")
    st = (house.rootfs / "tmp/f").stat()
    assert (st.st_uid, st.st_gid) == (SUB + 4, SUB + 5)


def test_range_that_is_missing(house):
    house.ranges()
    house.hold()
    house.write_tables(subuid=f"{NAME}:{SUB}:100\nother:{SUB}:{SUB_N}\n")
    p = house.run("true")
    assert p.returncode == 1
    for text in ("linux.uidMappings", f"{SUB + 100} to {SUB + SUB_N - 1}", "/etc/subuid", NAME, "newuidmap", "usermod --add-subuids"):
        assert text in p.stderr, p.stderr
    house.write_tables(subgid="")
    p = house.run("true")
    for text in ("linux.gidMappings", f"{SUB} to {SUB + SUB_N - 1}", "/etc/subgid", "newgidmap", "usermod --add-subgids"):
        assert text in p.stderr, p.stderr
    # Two lines that touch are one range.
    house.write_tables(subuid=f"{NAME}:{SUB}:100\n{UID}:{SUB + 100}:{SUB_N - 200}\n")
    assert f"{SUB + SUB_N - 100} to {SUB + SUB_N - 1}" in house.run("true").stderr


def test_newuidmap_that_is_missing(house):
    house.ranges()
    p = house.run("true", env={"PATH": "/nowhere"})
    assert p.returncode == 1 and "newuidmap" in p.stderr and "not installed" in p.stderr and "uidmap" in p.stderr


def test_newuidmap_that_fails_for_another_reason(house):
    house.ranges()
    fake = house.dir / "fake"
    fake.mkdir()
    (fake / "newuidmap").write_text("#!/bin/sh\necho of no use today >&2\nexit 9\n")
    (fake / "newuidmap").chmod(0o755)
    p = house.run("true", env={"PATH": f"{fake}:/usr/bin:/bin"})
    assert p.returncode == 1 and "newuidmap ended with status 9: of no use today" in p.stderr


def test_failures_leave_nothing(house):
    house.ranges()
    before = set(os.listdir("/proc"))
    for damage in ({"process": {"args": ["nope"]}}, {"linux": {"gidMappings": [{"containerID": 0, "hostID": 1, "size": 9}]}}, {"hostname": "x" * 100}):
        house.spec()
        for key, value in damage.items():
            house.config[key] = {**house.config[key], **value} if isinstance(value, dict) else value
        assert house.run(*(["nope"] if "process" in damage else ["true"])).returncode == 1
    assert [c for c in os.listdir(house.dir / "state") if not c.startswith("@")] == []
    assert set(subprocess.run(["pgrep", "-u", str(UID)], capture_output=True, text=True, check=False).stdout.split()) <= before


# --- cgroups ---


def test_no_cgroup_is_made_without_the_right(house):
    cid = house.start("sleep", "100")
    pid = house.pid(cid)
    assert pathlib.Path(f"/proc/{pid}/cgroup").read_text() == pathlib.Path("/proc/self/cgroup").read_text()
    assert house.warning == ""
    for args, text in ((["pause", cid], "cgroup"), (["ps", cid], "no cgroup")):
        p = house.cmd(*args)
        assert p.returncode == 1 and text in p.stderr
    assert house.status(cid)["status"] == "running"
    # Its own /sys/fs/cgroup is the host's, and not to be written to.
    p = house.cmd("exec", cid, "sh", "-c", "ls /sys/fs/cgroup; mkdir /sys/fs/cgroup/x")
    assert p.returncode == 1 and "Read-only" in p.stderr and p.stdout.split() == sorted(os.listdir(CGROUPS))
    house.cmd("kill", "--all", cid, "KILL", check=True)
    harness.wait_until("it stops", lambda: house.status(cid)["status"] == "stopped")
    assert house.cmd("kill", "--all", cid, "KILL").returncode == 0  # nothing is left to kill, as with runc


LIMITS = [
    ("memory", {"memory": {"limit": 64 << 20}}),
    ("pids", {"pids": {"limit": 20}}),
    ("cpu", {"cpu": {"quota": 50000}}),
    ("cpuset", {"cpu": {"cpus": "0"}}),
    ("blkio", {"blockIO": {"weight": 100}}),
]


@pytest.mark.parametrize("controller, resources", LIMITS)
def test_limit_without_the_right(house, controller, resources):
    house.config["linux"]["resources"] = resources
    p = house.run("true")
    assert p.returncode == 1, "a limit was ignored"
    for text in (f"linux.resources.{next(iter(resources))}", f"cannot set {controller} limit", "no permission is granted for cgroups"):
        assert text in p.stderr, p.stderr


def test_cgroups_path_without_the_right(house):
    house.config["linux"]["cgroupsPath"] = "/not-mine/c"
    p = house.run("true")
    assert p.returncode == 1
    for text in ("unable to apply cgroup configuration", "linux.cgroupsPath /not-mine/c", "permission denied"):
        assert text in p.stderr, p.stderr


def test_rootless_false_forgives_nothing(house):
    p = house.run("true", options=["--rootless", "false"])
    assert p.returncode == 1 and "cgroup" in p.stderr and "ermission denied" in p.stderr
    assert house.run("true", options=["--rootless=true"]).returncode == 0


def test_delegated_cgroup(house):
    inside = house.delegate()
    house.config["linux"]["cgroupsPath"] = f"/{house.group}/box"
    cid = house.start("sleep", "100", before=inside)
    pid = house.pid(cid)
    assert f"0::/{house.group}/box\n" in pathlib.Path(f"/proc/{pid}/cgroup").read_text()
    house.cmd("pause", cid, check=True)
    assert house.status(cid)["status"] == "paused"
    house.cmd("resume", cid, check=True)
    p = house.cmd("exec", cid, "cat", "/proc/self/cgroup", before=inside, check=True)
    assert "0::/\n" in p.stdout or f"0::/{house.group}/box\n" in p.stdout
    pids = json.loads(house.cmd("ps", "-f", "json", cid, check=True).stdout)
    assert pids == [pid]
    # From outside the delegated tree it may not be entered: then as runc, outside of it, but not silently.
    p = house.cmd("exec", cid, "true")
    assert p.returncode == 0 and "not in the container's cgroup" in p.stderr
    house.cmd("kill", cid, "KILL", check=True)
    harness.wait_until("it stops", lambda: house.status(cid)["status"] == "stopped")
    house.cmd("delete", cid, check=True)
    assert not (UNIFIED / house.group / "box").exists()


def test_delegated_cgroup_is_found_without_a_path(house):
    inside = house.delegate()
    cid = house.start("sleep", "100", before=inside)
    line = next(s for s in pathlib.Path(f"/proc/{house.pid(cid)}/cgroup").read_text().splitlines() if s.startswith("0::"))
    assert line.startswith(f"0::/{house.group}/") and line.endswith(cid) and "/self/self" not in line
    house.cmd("delete", "-f", cid, check=True)


def test_cgroup_that_cannot_be_entered_counts_as_none(house):
    house.delegate()
    house.config["linux"]["cgroupsPath"] = f"/{house.group}/box"
    p = house.run("true")
    assert p.returncode == 1 and "linux.cgroupsPath" in p.stderr, p.stderr
    assert not (UNIFIED / house.group / "box").exists()


def test_delegated_limit(house):
    inside = house.delegate(["pids"])
    house.config["linux"]["cgroupsPath"] = f"/{house.group}/box"
    house.config["linux"]["resources"] = {"pids": {"limit": 7}}
    cid = house.start("sleep", "100", before=inside)
    top = CGROUPS / house.group if UNIFIED == CGROUPS else CGROUPS / "pids" / house.group
    assert (top / "box/pids.max").read_text() == "7\n"
    p = house.cmd("exec", cid, "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done", before=inside)
    assert "can't fork" in p.stderr
    house.cmd("update", "--pids-limit", "9", cid, check=True)
    assert (top / "box/pids.max").read_text() == "9\n"
    house.cmd("delete", "-f", cid, check=True)


def test_shared_pid_namespace_without_a_cgroup_is_warned_of(house):
    house.drop_namespace("pid")
    house.bind_proc()
    cid = house.start("sleep", "100")
    assert "Such configuration is strongly discouraged" in house.warning
    assert house.cmd("exec", cid, "cat", f"/proc/{house.pid(cid)}/comm", check=True).stdout == "sleep\n"


# --- what the kernel does not allow ---


def test_devices_are_the_hosts(house):
    out = house.sh("for d in null zero full random urandom tty; do stat -c '%n %t %T %u' /dev/$d; done; head -c1 /dev/zero | wc -c; mknod /tmp/n c 1 3 || true")
    assert "/dev/null 1 3 65534" in out and "/dev/tty 5 0 65534" in out
    house.config["linux"]["devices"] = [{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]
    assert house.sh("stat -c '%t %T' /dev/kmsg") == "1 b\n"
    house.config["linux"]["devices"] = [{"path": "/dev/nothing", "type": "c", "major": 1, "minor": 3}]
    p = house.run("true")
    assert p.returncode == 1 and "/dev/nothing" in p.stderr and "user namespace" in p.stderr


def test_oom_score_and_limits(house):
    house.config["process"]["oomScoreAdj"] = 500
    assert house.sh("cat /proc/self/oom_score_adj") == "500\n"
    house.config["process"]["oomScoreAdj"] = -500
    p = house.run("true")
    assert p.returncode == 1 and "process.oomScoreAdj" in p.stderr and "-500" in p.stderr and "CAP_SYS_RESOURCE" in p.stderr
    del house.config["process"]["oomScoreAdj"]
    house.config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": 64, "soft": 32}]
    assert house.sh("ulimit -n; ulimit -Hn") == "32\n64\n"
    house.config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": 1 << 29, "soft": 32}]
    p = house.run("true")
    assert p.returncode == 1 and "RLIMIT_NOFILE" in p.stderr and "cannot be raised" in p.stderr


def test_sysfs_and_proc_need_namespaces(house):
    sys_mount = next(m for m in house.config["mounts"] if m["destination"] == "/sys")
    sys_mount.update(type="sysfs", source="sysfs", options=["ro"])
    p = house.run("true")
    assert p.returncode == 1 and "error mounting" in p.stderr and "/sys" in p.stderr and "network namespace" in p.stderr and "rbind" in p.stderr
    house.config["linux"]["namespaces"].append({"type": "network"})
    assert house.sh("ls /sys/class/net") == "lo\n"
    house.drop_namespace("pid")
    p = house.run("true")
    assert p.returncode == 1 and "error mounting" in p.stderr and "/proc" in p.stderr and "pid namespace" in p.stderr


def test_proc_must_be_fully_visible(house):
    house.hold()
    subprocess.run(["nsenter", "-t", str(house.holder.pid), "-m", "mount", "-t", "tmpfs", "tmpfs", "/proc/fs"], check=True)
    p = house.run("true")
    assert p.returncode == 1 and "error mounting" in p.stderr and "/proc" in p.stderr and "fully visible" in p.stderr and "/proc" in p.stderr
    house.bind_proc()
    assert house.sh("echo fine") == "fine\n"


def test_options_of_the_host_cannot_be_taken_away(house):
    house.hold()
    d = house.dir / "data"
    d.mkdir()
    subprocess.run(["nsenter", "-t", str(house.holder.pid), "-m", "mount", "-t", "tmpfs", "-o", "ro,nosuid,nodev,noexec", "tmpfs", str(d)], check=True)
    house.config["mounts"].append({"destination": "/data", "type": "bind", "source": str(d), "options": ["bind", "rw"]})
    p = house.run("true")
    assert p.returncode == 1 and "error mounting" in p.stderr and "/data" in p.stderr and "no option of the mount that is bound can be taken away" in p.stderr
    house.config["mounts"][-1]["options"] = ["bind", "nosuid"]
    assert "ro,nosuid,nodev,noexec" in house.sh("grep /data /proc/self/mounts")


def test_binds_of_the_user(house):
    (house.dir / "secret").mkdir(mode=0o700)
    os.chown(house.dir / "secret", UID, GID)
    (house.dir / "secret/f").write_text("hello\n")
    house.config["mounts"] += [
        {"destination": "/data", "type": "bind", "source": str(house.dir / "secret"), "options": ["rbind", "ro"]},
        {"destination": "/one", "type": "bind", "source": str(house.dir / "secret/f"), "options": ["bind"]},
    ]
    out = house.sh("cat /data/f /one; touch /data/x 2>&1 || true")
    assert out.startswith("hello\nhello\n") and "Read-only" in out
    house.config["mounts"][-1] = {"destination": "/root-only", "type": "bind", "source": "/root", "options": ["bind"]}
    assert "ermission denied" in house.run("ls", "/root-only").stderr


def test_masks_and_read_only_paths(house):
    out = house.sh("cat /proc/keys /proc/timer_list; ls /sys/firmware; ls /proc/acpi; echo 1 > /proc/sys/kernel/domainname || echo refused")
    assert out == "refused\n"


def test_idmapped_mounts_are_refused(house):
    house.config["mounts"].append({"destination": "/data", "type": "bind", "source": str(house.dir), "options": ["bind", "idmap"]})
    p = house.run("true")
    assert p.returncode == 1 and "error mounting" in p.stderr and "/data" in p.stderr and "privilege over its filesystem" in p.stderr
