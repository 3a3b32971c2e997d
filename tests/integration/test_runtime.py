# SPDX-License-Identifier: Apache-2.0
"""Drives ireko-runtime with a busybox bundle: life cycle, isolation, hostile root filesystems, leaks."""

import glob
import json
import os
import pty
import re
import signal
import stat
import subprocess
import time

import pytest

from runtime_bundle import CAPS, CGROUPS, MASKED, RUNTIME, cgroup_dirs, needs_controllers, read_until, receive_console

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


# --- life cycle ---


def test_exit_status_and_output(box):
    p = box.run("sh", "-c", "echo hello; echo oops >&2; exit 7")
    assert (p.returncode, p.stdout, p.stderr) == (7, "hello\n", "oops\n")


def test_death_by_signal(box):
    # The first process of a pid namespace cannot kill itself, so a signal from outside does it.
    cid = box.new_id()
    box.config["process"]["args"] = ["sleep", "100"]
    box.save(cid)
    p = subprocess.Popen([RUNTIME, "--root", box.state, "run", "-b", box.dir, cid])
    for _ in range(500):
        if box.cmd("state", cid).returncode == 0 and box.status(cid)["status"] == "running":
            break
        time.sleep(0.01)
    box.cmd("kill", cid, "KILL", check=True)
    assert p.wait(timeout=20) == 128 + signal.SIGKILL


def test_signals_are_forwarded(box):
    cid = box.new_id()
    box.config["process"]["args"] = ["sh", "-c", "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done"]
    box.save(cid)
    p = subprocess.Popen([RUNTIME, "--root", box.state, "run", "-b", box.dir, cid], stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline() == "ready\n"
    p.send_signal(signal.SIGTERM)
    assert p.wait(timeout=20) == 42
    p.stdout.close()


def test_states(box):
    cid = box.new_id()
    box.config["process"]["args"] = ["sleep", "100"]
    box.config["annotations"] = {"a.b": "c"}
    box.save(cid)
    null = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    pid_file = os.path.join(box.dir, "pid")
    assert box.cmd("create", "-b", box.dir, "--pid-file", pid_file, cid, **null).returncode == 0
    s = box.status(cid)
    assert s["status"] == "created" and s["annotations"] == {"a.b": "c"} and s["bundle"] == box.dir
    assert s["rootfs"] == box.root and s["owner"] == "root" and s["ociVersion"].startswith("1.")
    assert int(open(pid_file).read()) == s["pid"]
    assert "container with id exists" in box.cmd("create", "-b", box.dir, cid).stderr
    box.cmd("start", cid, check=True)
    assert box.status(cid)["status"] == "running"
    assert "already running" in box.cmd("start", cid).stderr
    assert box.cmd("delete", cid).returncode == 1
    box.cmd("pause", cid, check=True)
    assert box.status(cid)["status"] == "paused"
    assert "paused" in box.cmd("exec", cid, "true").stderr
    box.cmd("resume", cid, check=True)
    assert [c["id"] for c in json.loads(box.cmd("list", "-f", "json", check=True).stdout)] == [cid]
    assert str(box.status(cid)["pid"]) in box.cmd("ps", cid, check=True).stdout
    box.cmd("kill", cid, "SIGKILL", check=True)
    box.wait_stopped(cid)
    assert box.status(cid)["pid"] == 0
    assert "not running" in box.cmd("kill", cid).stderr
    box.cmd("delete", cid, check=True)
    p = box.cmd("state", cid)
    assert p.returncode == 1 and "does not exist" in p.stderr
    box.cmd("delete", "--force", cid, check=True)


def test_delete_of_created(box):
    cid = box.new_id()
    box.save(cid)
    assert box.cmd("create", "-b", box.dir, cid, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    pid = box.status(cid)["pid"]
    box.cmd("delete", cid, check=True)
    assert not os.path.exists(f"/proc/{pid}") or "Z" in open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1][:3]


def test_bad_ids(box):
    box.save("x")
    for cid in ("", ".", "..", "a/b", "a b", "@seccomp", "x" * 2000):
        p = box.cmd("run", "-b", box.dir, cid)
        assert p.returncode == 1 and "container id" in p.stderr


def test_command_errors(box):
    cases = [
        (["nope"], 'exec: "nope": executable file not found in $PATH'),
        (["/nope"], 'exec: "/nope": stat /nope: no such file or directory'),
        (["/etc/passwd"], "permission denied"),
        (["/etc"], "permission denied"),
    ]
    for args, text in cases:
        p = box.run(*args)
        assert p.returncode == 1 and text in p.stderr.replace('\\"', '"'), p.stderr
    with open(os.path.join(box.root, "bin/junk"), "w") as f:
        f.write("#!/no/such/interpreter\n")
    os.chmod(f.name, 0o755)
    p = box.run("junk")
    assert p.returncode == 1 and "no such file or directory" in p.stderr
    with open(f.name, "wb") as f:
        f.write(b"\x7fELFjunk")
    p = box.run("junk")
    assert p.returncode == 1 and "exec format error" in p.stderr


def test_log_file(box, tmp_path):
    box.config["process"]["args"] = ["nope"]
    box.save("x")
    log = str(tmp_path / "log.json")
    assert box.cmd("--log", log, "--log-format", "json", "run", "-b", box.dir, "x").returncode == 1
    entry = json.loads(open(log).read())
    assert entry["level"] == "error" and "not found in $PATH" in entry["msg"]


def test_start_twice_at_once(box):
    cid = box.new_id()
    box.config["process"]["args"] = ["sleep", "100"]
    box.save(cid)
    assert box.cmd("create", "-b", box.dir, cid, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    started = [subprocess.Popen([RUNTIME, "--root", box.state, "start", cid], stderr=subprocess.DEVNULL) for _ in range(8)]
    assert sorted(p.wait(timeout=20) for p in started) == [0] + [1] * 7


# --- exec ---


def test_exec(box):
    cid = box.start("sleep", "100")
    p = box.cmd("exec", "--env", "A=b c", "--cwd", "/tmp", cid, "sh", "-c", "echo $A; pwd; hostname; exit 3")
    assert (p.returncode, p.stdout) == (3, "b c\n/tmp\nbox\n")
    assert box.cmd("exec", "--user", "1000:7", cid, "id").stdout.startswith("uid=1000(user) gid=7")
    p = box.cmd("exec", cid, "nope")
    assert p.returncode == 255 and "executable file not found" in p.stderr
    p = box.cmd("exec", "--cwd", "/nope", cid, "true")
    assert p.returncode == 255 and "no such file or directory" in p.stderr
    process = {"args": ["sh", "-c", "echo $X"], "env": ["PATH=/bin", "X=y"], "cwd": "/", "user": {"uid": 0, "gid": 0}}
    path = os.path.join(box.dir, "process.json")
    with open(path, "w") as f:
        json.dump(process, f)
    assert box.cmd("exec", "-p", path, cid).stdout == "y\n"


def test_exec_is_confined_like_the_container(box):
    box.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    }
    cid = box.start("sleep", "100")
    p = box.cmd("exec", cid, "sh", "-c",
                "grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)|NoNew|Seccomp:' /proc/self/status; mkdir /tmp/x; ls -l /proc/self/fd")
    want = sum(1 << {"CAP_CHOWN": 0, "CAP_KILL": 5, "CAP_SETGID": 6, "CAP_SETUID": 7, "CAP_NET_BIND_SERVICE": 10}[c]
               for c in CAPS)
    seen = dict(re.findall(r"(\w+):\s+(\w+)", p.stdout))
    assert int(seen["CapInh"], 16) == 0 and int(seen["CapAmb"], 16) == 0
    for k in ("CapPrm", "CapEff", "CapBnd"):
        assert int(seen[k], 16) == want
    assert seen["NoNewPrivs"] == "1" and seen["Seccomp"] == "2"
    assert "not supported" in p.stderr
    fds = re.findall(r" (\d+) -> ", p.stdout)
    assert fds == ["0", "1", "2"]
    pid = box.status(cid)["pid"]
    assert open(f"/proc/{pid}/cgroup").read() != open("/proc/self/cgroup").read()


def test_exec_lives_in_the_cgroup(box):
    cid = box.start("sleep", "100")
    p = subprocess.Popen([RUNTIME, "--root", box.state, "exec", cid, "sh", "-c", "echo; sleep 100"], stdout=subprocess.PIPE)
    p.stdout.readline()
    pids = open(box.cgroup("pids", cid) + "/cgroup.procs").read().split()
    assert len(pids) >= 2
    box.cmd("kill", "--all", cid, "KILL", check=True)
    assert p.wait(timeout=20) == 137
    p.stdout.close()


def test_exec_after_death(box):
    cid = box.start("true")
    box.wait_stopped(cid)
    p = box.cmd("exec", cid, "true")
    assert p.returncode == 255 and "stopped" in p.stderr


# --- confinement ---


def test_capabilities_seccomp_and_fds(box):
    box.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
    }
    box.config["linux"]["seccomp"]["defaultAction"] = "SCMP_ACT_ALLOW"
    seen = dict(re.findall(r"(\w+):\s+(\w+)", box.sh("grep -E 'Cap|NoNew|Seccomp' /proc/self/status")))
    assert int(seen["CapBnd"], 16) == int(seen["CapEff"], 16) == 0b10011100001
    assert seen["Seccomp"] == "2" and seen["NoNewPrivs"] == "1"
    # A second time it comes from the cache.
    assert len(glob.glob(box.state + "/@seccomp/*.bpf")) == 1
    assert "Seccomp:\t2" in box.sh("cat /proc/self/status")
    assert re.findall(r" (\d+) -> ", box.sh("ls -l /proc/self/fd")) == ["0", "1", "2"]


def test_seccomp_without_no_new_privs(box):
    box.config["process"]["noNewPrivileges"] = False
    box.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    box.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    }
    p = box.run("sh", "-c", "grep -E 'NoNew|Seccomp:|CapEff' /proc/self/status; mkdir /tmp/x")
    seen = dict(re.findall(r"(\w+):\s+(\w+)", p.stdout))
    assert seen["NoNewPrivs"] == "0" and seen["Seccomp"] == "2" and "not supported" in p.stderr


def test_user_groups_umask_home(box):
    box.config["process"]["user"] = {"uid": 1000, "gid": 50, "additionalGids": [60, 70], "umask": 0o27}
    out = box.sh("id; umask; echo $HOME; touch /tmp/f; stat -c '%u %g %a' /tmp/f; grep CapEff /proc/self/status")
    lines = out.splitlines()
    assert lines[0] == "uid=1000(user) gid=50 groups=60,70"
    assert lines[1] == "0027" and lines[2] == "/home/user" and lines[3] == "1000 50 640"
    assert int(lines[4].split()[1], 16) == 0


def test_ambient_capabilities(box):
    box.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    for k in ("inheritable", "ambient"):
        box.config["process"]["capabilities"][k] = ["CAP_NET_BIND_SERVICE"]
    out = box.sh("grep -E 'CapAmb|CapEff' /proc/self/status")
    assert re.findall(r"\t(\w+)", out) == ["0000000000000400"] * 2


def test_namespaces_are_own(box):
    ids = box.sh("for n in pid net ipc uts mnt cgroup; do readlink /proc/self/ns/$n; done").split()
    ours = [os.readlink(f"/proc/self/ns/{n}") for n in ("pid", "net", "ipc", "uts", "mnt", "cgroup")]
    assert not set(ids) & set(ours) and len(ids) == 6
    assert "UP" in box.sh("ip addr show lo") and "127.0.0.1" in box.sh("ip addr show lo")
    assert box.sh("echo $$").strip() == "1"


def test_join_namespace_by_path(box):
    cid = box.start("sleep", "100")
    pid = box.status(cid)["pid"]
    for n in box.config["linux"]["namespaces"]:
        if n["type"] in ("network", "ipc", "pid"):
            n["path"] = f"/proc/{pid}/ns/" + {"network": "net"}.get(n["type"], n["type"])
    box.config["linux"]["sysctl"] = {}
    out = box.sh("readlink /proc/self/ns/net; readlink /proc/self/ns/ipc; ps").splitlines()
    assert out[0] == os.readlink(f"/proc/{pid}/ns/net") and out[1] == os.readlink(f"/proc/{pid}/ns/ipc")
    assert any("sleep 100" in line for line in out)


def test_masked_and_readonly_paths(box):
    for path in MASKED:
        if not os.path.exists(path):
            continue
        if os.path.isdir(path):
            assert box.sh(f"ls -A {path}") == ""
        else:
            assert box.sh(f"stat -c '%t:%T' {path}; cat {path}") == "1:3\n"
    p = box.run("sh", "-c", "echo 1 > /proc/sys/kernel/panic")
    assert p.returncode != 0 and "Read-only" in p.stderr
    p = box.run("sh", "-c", "mount -o remount,rw /proc/sys")
    assert p.returncode != 0


def test_readonly_root(box):
    box.config["root"]["readonly"] = True
    p = box.run("touch", "/x")
    assert p.returncode == 1 and "Read-only" in p.stderr
    assert not os.path.exists(box.root + "/x")
    box.sh("touch /dev/shm/x")


def test_dev(box):
    out = box.sh("cd /dev; stat -c '%n %t:%T %a' null zero full random urandom tty; for l in fd stdin ptmx; do readlink $l; done; head -c 3 zero | wc -c")
    assert "null 1:3 666" in out and "urandom 1:9 666" in out and "pts/ptmx" in out
    # Device rules: what is not allowed cannot be opened even when the node is there.
    box.config["process"]["capabilities"]["bounding"].append("CAP_MKNOD")
    box.config["process"]["capabilities"]["effective"].append("CAP_MKNOD")
    box.config["process"]["capabilities"]["permitted"].append("CAP_MKNOD")
    p = box.run("sh", "-c", "mknod /tmp/kmsg c 1 11 && cat /tmp/kmsg")
    assert "not permitted" in p.stderr, p.stderr


def test_extra_device(box):
    box.config["linux"]["devices"] = [
        {"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200, "fileMode": 0o620, "uid": 5, "gid": 6}]
    assert box.sh("stat -c '%t:%T %a %u %g' /dev/net/tun") == "a:c8 620 5 6\n"


@needs_controllers
def test_limits_are_in_the_cgroup(box):
    box.config["linux"]["resources"].update({
        "memory": {"limit": 64 << 20, "reservation": 32 << 20},
        "cpu": {"shares": 512, "quota": 50000, "period": 100000},
        "pids": {"limit": 20},
    })
    cid = box.start("sleep", "100")

    def read(controller, *names):
        for n in names:
            path = os.path.join(box.cgroup(controller, cid), n)
            if os.path.exists(path):
                return open(path).read().strip()
        raise AssertionError(names)

    assert read("memory", "memory.limit_in_bytes", "memory.max") == str(64 << 20)
    assert read("memory", "memory.soft_limit_in_bytes", "memory.low") == str(32 << 20)
    assert read("pids", "pids.max") == "20"
    assert read("cpu", "cpu.cfs_quota_us", "cpu.max") in ("50000", "50000 100000")
    pid = str(box.status(cid)["pid"])
    for controller in ("memory", "pids", "cpu", "devices"):
        if os.path.isdir(f"{CGROUPS}/{controller}/{box.group}"):
            assert pid in read(controller, "cgroup.procs").split()
    box.cmd("update", "--memory", "32m", "--pids-limit", "9", cid, check=True)
    assert read("memory", "memory.limit_in_bytes", "memory.max") == str(32 << 20)
    assert read("pids", "pids.max") == "9"


@needs_controllers
def test_pids_limit_holds(box):
    box.config["linux"]["resources"]["pids"] = {"limit": 5}
    p = box.run("sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; echo not reached")
    assert "fork" in p.stderr and "not reached" not in p.stdout


@needs_controllers
def test_memory_limit_kills(box):
    box.config["linux"]["resources"]["memory"] = {"limit": 16 << 20}
    # A process of the container, not its first one, so that what is left can tell.
    p = box.run("sh", "-c", "sh -c 'x=$(head -c 100000000 /dev/zero | tr \"\\\\0\" a); echo survived'; echo $?")
    assert p.stdout == "137\n", (p.stdout, p.stderr)


def test_rlimits(box):
    box.config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
    assert box.sh("ulimit -Sn; ulimit -Hn").split() == ["100", "200"]
    box.config["process"]["rlimits"] = [{"type": "RLIMIT_NOPE", "soft": 1, "hard": 1}]
    said = box.run("true").stderr
    assert "process.rlimits[0].type: unknown limit" in said and "RLIMIT_NOPE" in said
    box.config["process"]["rlimits"] = [{"type": "RLIMIT_CORE", "soft": 2**64 - 1, "hard": 2**64 - 1}]
    p = box.run("sh", "-c", "ulimit -c")
    assert p.stdout == "unlimited\n" or "CAP_SYS_RESOURCE" in p.stderr


def test_oom_score(box):
    box.config["process"]["oomScoreAdj"] = 321
    assert box.sh("cat /proc/self/oom_score_adj") == "321\n"
    cid = box.start("sleep", "100")
    process = dict(box.config["process"], args=["cat", "/proc/self/oom_score_adj"], oomScoreAdj=400)
    path = os.path.join(box.dir, "process.json")
    json.dump(process, open(path, "w"))
    assert box.cmd("exec", "-p", path, cid).stdout == "400\n"


def test_oom_score_that_may_not_be_lowered(box):
    box.config["process"]["oomScoreAdj"] = -900
    p = box.run("cat", "/proc/self/oom_score_adj")
    assert p.stdout == "-900\n" or (p.returncode == 1 and "CAP_SYS_RESOURCE" in p.stderr)


def test_sysctl(box):
    box.config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "4096"}
    assert box.sh("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax").split() == ["1", "4096"]
    for name in ("kernel.panic", "net/../kernel/panic", "vm.swappiness"):
        box.config["linux"]["sysctl"] = {name: "1"}
        assert "sysctl" in box.run("true").stderr
    box.config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
    box.config["linux"]["namespaces"] = [n for n in box.config["linux"]["namespaces"] if n["type"] != "network"]
    assert "namespace" in box.run("true").stderr


def test_user_namespace(box):
    box.config["linux"]["namespaces"].append({"type": "user"})
    box.config["linux"]["uidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    box.config["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    out = box.sh("id -u; cat /proc/self/uid_map; echo x > /dev/null; head -c1 /dev/zero | wc -c; stat -c %u /proc/self/status")
    assert out.split() == ["0", "0", "100000", "65536", "1", "0"]
    cid = box.start("sleep", "100")
    pid = box.status(cid)["pid"]
    assert os.stat(f"/proc/{pid}").st_uid == 100000
    assert box.cmd("exec", cid, "sh", "-c", "id -u; readlink /proc/self/ns/user").stdout.split() == [
        "0", os.readlink(f"/proc/{pid}/ns/user")]
    p = box.run("touch", "/etc/x")
    assert p.returncode != 0  # root's file system is not that of the mapped root


def test_cwd_is_made(box):
    box.config["process"]["cwd"] = "/srv/new dir"
    assert box.out("pwd") == "/srv/new dir\n"


# --- mounts ---


def bind(box, source, destination, *options):
    box.config["mounts"].append({"destination": destination, "type": "bind", "source": str(source),
                                 "options": ["rbind", *options]})


def test_bind_mounts(box, tmp_path):
    data = tmp_path / "data ü"
    data.mkdir()
    (data / "f").write_text("x")
    bind(box, data, "/mnt/rw", "rw")
    bind(box, data, "/mnt/ro", "ro", "nosuid", "nodev", "noexec")
    bind(box, data / "f", "/mnt/file", "ro")
    out = box.sh("cat /mnt/file; echo y > /mnt/rw/g; cat /mnt/ro/g; grep ' /mnt/ro ' /proc/self/mountinfo")
    assert out.startswith("xy\n") and "ro,nosuid,nodev,noexec" in out
    p = box.run("sh", "-c", "echo > /mnt/ro/h")
    assert "Read-only" in p.stderr and (data / "g").read_text() == "y\n"
    bind(box, tmp_path / "missing", "/mnt/x")
    p = box.run("true")
    assert p.returncode == 1 and "missing" in p.stderr and "No such file" in p.stderr


def test_recursive_read_only(box, tmp_path):
    outer = tmp_path / "outer"
    (outer / "inner").mkdir(parents=True)
    subprocess.check_call(["mount", "-t", "tmpfs", "tmpfs", str(outer / "inner")])
    try:
        bind(box, outer, "/mnt", "ro")
        box.sh("touch /mnt/inner/x")
        box.config["mounts"][-1]["options"] = ["rbind", "rro"]
        assert "Read-only" in box.run("touch", "/mnt/inner/y").stderr
    finally:
        subprocess.check_call(["umount", str(outer / "inner")])


def test_idmapped_bind(box, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "f").write_text("x")
    box.config["mounts"].append({
        "destination": "/mnt", "type": "bind", "source": str(data), "options": ["bind", "idmap"],
        "uidMappings": [{"containerID": 0, "hostID": 5000, "size": 10}],
        "gidMappings": [{"containerID": 0, "hostID": 6000, "size": 10}]})
    assert box.sh("stat -c '%u %g' /mnt/f") == "5000 6000\n"
    assert os.stat(data / "f").st_uid == 0


def test_bound_dev_is_left_alone(box, tmp_path):
    dev = tmp_path / "dev"
    dev.mkdir()
    os.mknod(dev / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    box.config["mounts"] = [m for m in box.config["mounts"] if not m["destination"].startswith("/dev")]
    bind(box, dev, "/dev")
    box.sh("true")
    assert os.listdir(dev) == ["null"]


def test_mounts_stay_inside(box, tmp_path):
    """Even from a shared source nothing comes out, unless it is asked for."""
    shared = tmp_path / "shared"
    shared.mkdir()
    subprocess.check_call(["mount", "-t", "tmpfs", "tmpfs", str(shared)])
    subprocess.check_call(["mount", "--make-shared", str(shared)])
    try:
        (shared / "sub").mkdir()
        for c in ("bounding", "effective", "permitted"):
            box.config["process"]["capabilities"][c].append("CAP_SYS_ADMIN")
        bind(box, shared, "/mnt")
        box.sh("mount -t tmpfs none /mnt/sub && touch /mnt/sub/inside")
        assert not (shared / "sub" / "inside").exists()
        box.config["mounts"][-1]["options"].append("rshared")
        box.sh("mount -t tmpfs none /mnt/sub && touch /mnt/sub/inside")
        assert (shared / "sub" / "inside").exists()
        subprocess.check_call(["umount", str(shared / "sub")])
    finally:
        subprocess.check_call(["umount", str(shared)])


def test_tmpcopyup(box):
    os.makedirs(box.root + "/data/d")
    open(box.root + "/data/d/f", "w").write("kept")
    os.symlink("/etc/passwd", box.root + "/data/l")
    box.config["mounts"].append({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]})
    out = box.sh("cat /data/d/f; echo new > /data/d/f; readlink /data/l; cat /data/d/f")
    assert out == "kept/etc/passwd\nnew\n"
    assert open(box.root + "/data/d/f").read() == "kept"


def test_cgroup_mount(box):
    box.config["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                                 "options": ["nosuid", "noexec", "nodev", "ro"]})
    assert box.sh("cat /proc/self/cgroup | cut -d: -f3 | sort -u") == "/\n"
    assert "1" in box.sh("cat /sys/fs/cgroup/pids/cgroup.procs /sys/fs/cgroup/cgroup.procs 2>/dev/null; true").split()
    p = box.run("sh", "-c", "mkdir /sys/fs/cgroup/pids/x || mkdir /sys/fs/cgroup/x")
    assert "Read-only" in p.stderr
    box.config["linux"]["namespaces"] = [n for n in box.config["linux"]["namespaces"] if n["type"] != "cgroup"]
    assert "1" in box.sh("cat /sys/fs/cgroup/pids/cgroup.procs /sys/fs/cgroup/cgroup.procs 2>/dev/null; true").split()


# --- hostile root filesystems ---


def test_symlinked_proc_is_refused(box):
    os.rmdir(box.root + "/proc")
    os.symlink("/tmp", box.root + "/proc")
    p = box.run("true")
    assert p.returncode == 1 and "symbolic link" in p.stderr


def test_symlinked_sys_is_refused(box):
    os.rmdir(box.root + "/sys")
    os.symlink("tmp", box.root + "/sys")
    assert "symbolic link" in box.run("true").stderr


def test_symlinked_dev_stays_inside(box, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    os.rmdir(box.root + "/dev")
    os.symlink(str(outside), box.root + "/dev")
    box.run("true")
    assert os.listdir(outside) == []


def test_mount_destination_through_symlink_stays_inside(box, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("s")
    data = tmp_path / "data"
    data.mkdir()
    os.symlink(str(outside), box.root + "/abs")
    os.symlink("../../../../../../../.." + str(outside), box.root + "/rel")
    bind(box, data, "/abs/sub")
    bind(box, data, "/rel/sub2")
    box.sh("touch /abs/sub/here /rel/sub2/there")
    assert sorted(os.listdir(outside)) == ["secret"]
    assert sorted(os.listdir(data)) == ["here", "there"]
    # It was made below the root instead.
    assert os.path.isdir(box.root + str(outside) + "/sub")


def test_dev_nodes_are_replaced(box, tmp_path):
    """Without a mount on /dev the image's own files are in the place of the devices."""
    box.config["mounts"] = [m for m in box.config["mounts"] if not m["destination"].startswith("/dev")]
    victim = tmp_path / "victim"
    victim.write_text("keep")
    os.symlink(str(victim), box.root + "/dev/null")
    open(box.root + "/dev/zero", "w").write("not a device")
    os.symlink("/etc/passwd", box.root + "/dev/console")
    assert box.sh("stat -c '%F %t:%T' /dev/null /dev/zero; echo x > /dev/null").count("character special file") == 2
    assert victim.read_text() == "keep"


def test_masked_path_over_symlink(box):
    os.makedirs(box.root + "/x")
    os.symlink("/etc/passwd", box.root + "/x/mask")
    box.config["linux"]["maskedPaths"] = ["/x/mask", "/proc/keys"]
    assert box.sh("cat /etc/passwd") == ""  # what it leads to inside is covered, nothing else
    assert open("/etc/passwd").read() != ""


def test_mount_inside_proc_is_refused(box, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    bind(box, data, "/proc/sys")
    assert "procfs" in box.run("true").stderr
    box.config["mounts"].pop()
    os.symlink("/proc/self", box.root + "/link")
    bind(box, data, "/link/task")
    assert box.run("true").returncode == 1
    box.config["mounts"].pop()
    f = tmp_path / "uptime"
    f.write_text("1 1\n")
    bind(box, f, "/proc/uptime")
    assert box.sh("cat /proc/uptime") == "1 1\n"


def test_cwd_through_magic_links_is_refused(box):
    for n in range(3, 12):
        box.config["process"]["cwd"] = f"/proc/self/fd/{n}"
        p = box.run("sh", "-c", "pwd; cat ../../../../etc/hostname")
        assert p.returncode == 1 and "cwd" in p.stderr
    box.config["process"]["cwd"] = "/"
    cid = box.start("sleep", "100")
    for n in range(3, 12):
        assert box.cmd("exec", "--cwd", f"/proc/self/fd/{n}", cid, "pwd").returncode == 255


def test_own_executable_is_not_writable(box):
    """CVE-2019-5736: the command is /proc/self/exe, and something else in there opens what is running."""
    before = open(RUNTIME, "rb").read()
    os.symlink("/proc/self/exe", box.root + "/evil")
    for c in ("bounding", "effective", "permitted"):
        box.config["process"]["capabilities"][c] += ["CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE"]
    # A copy of the runtime runs in the container; the shell keeps opening its executable for writing.
    p = box.run("sh", "-c", "cd /; for i in 1 2 3 4 5; do ./evil list & done; "
                "for i in $(seq 200); do for p in /proc/[0-9]*; do (echo evil > $p/exe) 2>/dev/null && echo WROTE; done; done; true")
    assert "WROTE" not in p.stdout
    cid = box.start("sh", "-c", "while :; do for p in /proc/[0-9]*; do (echo evil > $p/exe) 2>/dev/null; done; done")
    for _ in range(20):
        box.cmd("exec", cid, "/evil", "list")
        box.cmd("exec", cid, "true")
    assert open(RUNTIME, "rb").read() == before


def test_no_process_of_ours_has_a_writable_path_to_our_executable(box):
    """Neither as what is executed nor as what is mapped: the runtime while it waits, and the first process of what is only created."""
    own = os.stat(RUNTIME)
    cid, created = box.new_id(), box.new_id()
    box.config["process"]["args"] = ["sleep", "100"]
    box.save(cid)
    with subprocess.Popen([RUNTIME, "--root", box.state, "run", "-b", box.dir, cid]) as p:
        for _ in range(500):
            if box.cmd("state", cid).returncode == 0 and json.loads(box.cmd("state", cid, check=True).stdout)["status"] == "running":
                break
            time.sleep(0.01)
        box.save(created)
        box.cmd("create", "-b", box.dir, created, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        first = json.loads(box.cmd("state", created, check=True).stdout)["pid"]
        for pid in (p.pid, first):
            links = [f"/proc/{pid}/exe", *glob.glob(f"/proc/{pid}/map_files/*"), *glob.glob(f"/proc/{pid}/fd/*")]
            ours = [link for link in links if os.path.samestat(os.stat(link), own)]
            assert len(ours) >= 4 and all(os.statvfs(link).f_flag & os.ST_RDONLY for link in ours), ours
        box.cmd("kill", cid, "KILL", check=True)
        assert p.wait(timeout=20) == 137
    box.cmd("delete", created, check=True)


def test_passwd_may_be_anything(box):
    os.unlink(box.root + "/etc/passwd")
    os.mkfifo(box.root + "/etc/passwd")
    assert box.sh("echo $HOME") == "/\n"
    os.unlink(box.root + "/etc/passwd")
    os.symlink("/dev/zero", box.root + "/etc/passwd")
    assert box.sh("echo $HOME") == "/\n"
    os.unlink(box.root + "/etc/passwd")
    open(box.root + "/etc/passwd", "w").write("a:x:0x0:0::/bad:\nb:x:+0:0::/bad:\nc:x: 0:0::/bad:\nd:x\n::::::\ne:x:0:0::/good:\n")
    assert box.sh("echo $HOME") == "/good\n"


# --- terminals ---


def test_console_socket(box, tmp_path):
    box.config["process"]["terminal"] = True
    box.config["process"]["consoleSize"] = {"height": 33, "width": 77}
    box.config["process"]["args"] = ["sh", "-c", "tty; stty size; test -c /dev/console && echo con > /dev/console; read x; echo got=$x; read y"]
    cid = box.new_id()
    box.save(cid)
    sock = str(tmp_path / "s")
    fd = receive_console(sock, lambda: subprocess.Popen(
        [RUNTIME, "--root", box.state, "create", "-b", box.dir, "--console-socket", sock, cid]))
    try:
        box.cmd("start", cid, check=True)
        seen = read_until(fd, b"con\r\n")
        assert b"/dev/pts/0" in seen and b"33 77" in seen
        os.write(fd, b"abc\n")
        read_until(fd, b"got=abc")
        os.unlink(sock)
        x = receive_console(sock, lambda: subprocess.Popen(
            [RUNTIME, "--root", box.state, "exec", "-d", "-t", "--console-socket", sock, cid, "sh", "-c", "tty; sleep 1"]))
        read_until(x, b"/dev/pts/1")
        os.close(x)
    finally:
        os.close(fd)


def test_terminal_in_the_foreground(box):
    box.config["process"]["terminal"] = True
    box.config["process"]["args"] = ["sh", "-c", "tty; read x; echo got=$x; exit 5"]
    cid = box.new_id()
    box.save(cid)
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(RUNTIME, [RUNTIME, "--root", box.state, "run", "-b", box.dir, cid])
    read_until(fd, b"/dev/pts/0")
    os.write(fd, b"hey\r")
    read_until(fd, b"got=hey")
    _, status = os.waitpid(pid, 0)
    os.close(fd)
    assert os.waitstatus_to_exitcode(status) == 5


# --- hooks ---


def test_hooks_in_order(box, tmp_path):
    log = tmp_path / "log"
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\nread s\necho \"$1 $X $s\" >> {log}\n")
    hook.chmod(0o755)
    box.config["hooks"] = {
        kind: [{"path": str(hook), "args": ["hook", kind], "env": ["X=1"]}]
        for kind in ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    }
    open(box.root + "/bin/inside", "w").write("#!/bin/sh\n/bin/cat > /tmp/started\n")
    os.chmod(box.root + "/bin/inside", 0o755)
    box.config["hooks"]["startContainer"] = [{"path": "/bin/inside", "args": ["inside"]}]
    assert "creat" in box.sh("cat /tmp/started")
    seen = [line.split(" ", 2) for line in log.read_text().splitlines()]
    assert [s[0] for s in seen] == ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]
    assert all(s[1] == "1" for s in seen)
    states = [json.loads(s[2]) for s in seen]
    assert states[0]["status"] == "creating" and states[0]["pid"] > 0 and states[3]["status"] == "running"
    assert states[4]["status"] == "stopped" and states[0]["bundle"] == box.dir


def test_failing_hook_undoes_everything(box):
    box.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "echo sorry >&2; exit 3"]}]}
    p = box.run("true")
    assert p.returncode == 1 and "status 3" in p.stderr and "sorry" in p.stderr
    box.config["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1}]}
    p = box.run("true")
    assert "within 1 seconds" in p.stderr
    box.config["hooks"] = {"poststop": [{"path": "/bin/false"}]}
    p = box.run("true")
    assert p.returncode == 0 and "warning" in p.stderr


@pytest.mark.parametrize("how", ["run", "create"])
def test_nobody_starts_or_enters_what_is_being_created(box, tmp_path, how):
    cid, log = box.new_id(), tmp_path / "log"
    ask = "; ".join(f"'{RUNTIME}' --root '{box.state}' {words} 2>&1; echo =$?" for words in (f"state {cid}", f"start {cid}", f"exec {cid} true", f"delete {cid}"))
    box.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"({ask}) > '{log}'"]}]}
    box.save(cid)
    box.cmd(how, "-b", box.dir, cid, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    state, start, execute, delete, _ = re.split(r"=\d+\n", log.read_text())
    assert json.loads(state)["status"] == "creating"
    assert all("creating" in said for said in (start, execute, delete)), log.read_text()
    assert re.findall(r"=(\d+)\n", log.read_text()) == ["0", "1", "255", "1"]
    box.cmd("delete", "--force", cid, check=True)


@pytest.mark.parametrize("detach", [[], ["--detach"]])
def test_run_of_what_cannot_be_executed(box, tmp_path, detach):
    gone = tmp_path / "gone"
    with open(box.root + "/bin/noise", "wb") as f:
        f.write(b"\x7fELF and then nothing")
    os.chmod(box.root + "/bin/noise", 0o755)
    box.config["hooks"] = {"poststop": [{"path": "/bin/touch", "args": ["touch", str(gone)]}]}
    box.config["process"]["args"] = ["noise"]
    cid = box.new_id()
    box.save(cid)
    p = box.cmd("run", *detach, "-b", box.dir, cid)
    assert p.returncode == 1 and "exec format error" in p.stderr
    assert gone.exists() and box.cmd("state", cid).returncode == 1
    assert cgroup_dirs(box.group) == []


# --- failures leave nothing ---


@pytest.mark.parametrize("break_it", [
    lambda c: c["mounts"].append({"destination": "/x", "type": "nosuchfs"}),
    lambda c: c["mounts"].append({"destination": "", "type": "tmpfs"}),
    lambda c: c["process"].update(cwd="relative"),
    lambda c: c["process"].update(args=[]),
    lambda c: c["linux"]["namespaces"].append({"type": "nope"}),
    lambda c: c["linux"]["namespaces"].append({"type": "pid"}),
    lambda c: c["linux"].update(seccomp={"defaultAction": "SCMP_ACT_NOPE"}),
    lambda c: c["linux"]["resources"].update(memory={"limit": 1}),
    lambda c: c["linux"]["resources"].update(cpu={"quota": 3}),
    lambda c: c.update(ociVersion="2.0.0"),
    lambda c: c["root"].update(path="nothing here"),
    lambda c: c["process"].update(user={"uid": 0, "gid": 0, "additionalGids": [-1]}),
])
def test_failures_leave_nothing(box, break_it):
    box.config["process"]["args"] = ["true"]
    break_it(box.config)
    box.save("x")
    p = box.cmd("run", "-b", box.dir, "x")
    assert p.returncode == 1 and len(p.stderr.strip()) > 20, p.stderr
    assert cgroup_dirs(box.group) == []
    assert not os.path.exists(box.state) or [c for c in os.listdir(box.state) if not c.startswith("@")] == []


def test_cgroup_path_cannot_leave(box):
    for path in ("/", "..", "/../..", "a/../../b", "."):
        box.config["linux"]["cgroupsPath"] = path
        with open(os.path.join(box.dir, "config.json"), "w") as f:
            json.dump(box.config, f)
        p = box.cmd("run", "-b", box.dir, "x")
        assert p.returncode == 1 and "cgroup" in p.stderr


def test_run_does_not_delete_what_has_got_its_name(box):
    """Somebody deletes the container that it waits for, and makes another one of that name before it looks."""
    cid = box.new_id()
    box.config["process"]["args"] = ["sleep", "100"]
    box.save(cid)
    run = ("run", "-b", box.dir, cid)
    with subprocess.Popen([RUNTIME, "--root", box.state, *run]) as p:
        for _ in range(500):
            if box.cmd("state", cid).returncode == 0 and json.loads(box.cmd("state", cid, check=True).stdout)["status"] == "running":
                break
            time.sleep(0.01)
        os.kill(p.pid, signal.SIGSTOP)
        box.cmd("delete", "--force", cid, check=True)
        box.cmd("run", "-d", "-b", box.dir, cid, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.kill(p.pid, signal.SIGCONT)
        assert p.wait(timeout=20) == 137
    assert json.loads(box.cmd("state", cid, check=True).stdout)["status"] == "running"
    box.cmd("delete", "--force", cid, check=True)


def test_killed_creator_leaves_a_container_that_can_be_removed(box):
    box.config["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "30"]}]}
    cid = box.new_id()
    box.save(cid)
    p = subprocess.Popen([RUNTIME, "--root", box.state, "create", "-b", box.dir, cid])
    for _ in range(300):
        if os.path.exists(f"{box.state}/{cid}/state.json"):
            break
        time.sleep(0.01)
    p.kill()
    p.wait()
    box.cmd("delete", "--force", cid, check=True)
    assert box.cmd("state", cid).returncode == 1


@pytest.mark.parametrize("text", ["", '{"id":"c1","bundle":"/'])
def test_state_whose_writer_was_killed(box, text):
    cid = box.new_id()
    folder = os.path.join(box.state, cid)
    os.makedirs(folder)
    os.chmod(folder, 0o1700)
    open(folder + "/state.json", "w").write(text)
    assert box.cmd("list", "-q", check=True).stdout == ""
    p = box.cmd("state", cid)
    assert p.returncode == 1 and "incomplete" in p.stderr
    box.cmd("delete", "--force", cid, check=True)
    assert not os.path.exists(folder)


@pytest.mark.parametrize("delay_us", [300, 600, 900, 1200, 1600, 2000, 2600, 3500])
def test_killed_at_any_moment(box, delay_us):
    """kill -9 of the creator: whatever it had made is found and removed by a forced delete."""
    box.config["process"]["args"] = ["sleep", "1000"]
    for _ in range(5):
        cid = box.new_id()
        box.save(cid)
        p = subprocess.Popen([RUNTIME, "--root", box.state, "create", "-b", box.dir, cid],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        time.sleep(delay_us / 1e6)
        p.kill()
        p.wait()
        box.cmd("delete", "--force", cid, check=True)
        assert cgroup_dirs(box.group) == []


@pytest.mark.parametrize("closed", [[0], [0, 1, 2]])
def test_closed_stdio_is_the_null_device(box, closed):
    """What the runtime opens may not get the number of one of them, and be given to the container."""
    def close():
        for fd in closed:
            os.close(fd)
    script = "out=$(for i in 0 1 2; do readlink /proc/$$/fd/$i; done; ls /proc/$$/fd | wc -w); echo $out > /out"
    cid = box.start("sleep", "100")
    for how in (lambda: box.run("sh", "-c", script, preexec_fn=close), lambda: box.cmd("exec", cid, "sh", "-c", script, preexec_fn=close)):
        assert how().returncode == 0
        seen = open(box.root + "/out").read().split()
        assert [seen[fd] for fd in closed] == ["/dev/null"] * len(closed)
        assert int(seen[3]) <= 4  # with the pipe of $(...)


def test_preserve_fds(box):
    cid = box.new_id()
    box.config["process"]["args"] = ["sh", "-c", "cat <&3"]
    box.save(cid)
    r, w = os.pipe()
    os.write(w, b"through")
    os.close(w)
    p = subprocess.run([RUNTIME, "--root", box.state, "run", "--preserve-fds", "1", "-b", box.dir, cid],
                       stdout=subprocess.PIPE, pass_fds=[r] if r == 3 else [], preexec_fn=lambda: os.dup2(r, 3), close_fds=r == 3)
    os.close(r)
    assert p.stdout == b"through"
    p = box.cmd("run", "--preserve-fds", "5", "-b", box.dir, box.new_id())
    assert p.returncode == 1 and "not open" in p.stderr


def test_features_and_spec(box, tmp_path):
    assert "pid" in json.loads(box.cmd("features", check=True).stdout)["linux"]["namespaces"]
    box.cmd("spec", "-b", str(tmp_path), check=True)
    assert json.load(open(tmp_path / "config.json"))["process"]["args"] == ["sh"]
    assert box.cmd("spec", "-b", str(tmp_path)).returncode == 1
    assert stat.S_ISREG(os.stat(tmp_path / "config.json").st_mode)
