# SPDX-License-Identifier: Apache-2.0
"""What a malicious container, its image or a neighbour does against ireko-runtime, class by class.

Every test was seen failing with its defence taken out: tests/mutations does that, docs/security-tests.md lists it.
"""
import contextlib
import fcntl
import json
import os
import pty
import signal
import socket
import stat
import struct
import subprocess
import threading
import time

import pytest

from harness import wait_until
from runtime_bundle import CGROUPS, RUNTIME, attacker, cgroup_dirs, mounts, needs_controllers, read_until, snapshot, swapping

NULL = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


@pytest.fixture
def outside(tmp_path):
    """A directory of the host beside the bundle, which no container has any business in."""
    path = tmp_path / "outside"
    (path / "deep/er").mkdir(parents=True)
    for name in ("secret", "deep/x", "console", "ptmx", "null", "core"):
        (path / name).write_text("of the host")
    before = snapshot(path)
    yield path
    assert snapshot(path) == before


def said(box, what="", name="said"):
    path = f"{box.root}/tmp/{name}"
    text = open(path).read() if os.path.exists(path) else ""
    return text if what in text else ""


def start_attacker(box, *args, cid=None):
    """A container whose first process is the attacker, with what it says in /tmp/said; it is at work when this returns."""
    box.attacker()
    box.config["process"]["args"] = ["sh", "-c", f"exec attack {' '.join(args)} > /tmp/said"]
    cid = cid or box.new_id()
    box.save(cid)
    assert box.cmd("run", "-d", "-b", box.dir, cid, **NULL).returncode == 0
    wait_until("the attacker to look", lambda: said(box, "looking"))
    return cid


def join_pids_of(box, cid):
    next(n for n in box.config["linux"]["namespaces"] if n["type"] == "pid")["path"] = f"/proc/{box.status(cid)['pid']}/ns/pid"


class Listener:
    """Whom the seccomp filter asks: lets every system call go on, after `hold` seconds."""

    RECEIVE, SEND = 3 << 30 | 80 << 16 | 0x21 << 8, 3 << 30 | 24 << 16 | 0x21 << 8 | 1

    def __init__(self, path):
        self.hold, self.asked, self.fds = 0, 0, []
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(path)
        self.sock.listen(8)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                c, _ = self.sock.accept()
            except OSError:
                return
            with c:
                _, fds, _, _ = socket.recv_fds(c, 65536, 1)
            self.fds += fds
            threading.Thread(target=self.answer, args=(fds[0],), daemon=True).start()

    def answer(self, fd):
        while True:
            buf = bytearray(80)
            try:
                fcntl.ioctl(fd, self.RECEIVE, buf)
                self.asked += 1
                time.sleep(self.hold)
                fcntl.ioctl(fd, self.SEND, struct.pack("<QqiI", struct.unpack_from("<Q", buf)[0], 0, 0, 1))
            except OSError as e:
                if e.errno == 2:  # the caller is gone
                    return

    def close(self):
        self.sock.close()


@pytest.fixture
def listener(box, tmp_path):
    """The box's containers ask before every execve."""
    path = str(tmp_path / "listener")
    one = Listener(path)
    box.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path,
                                      "syscalls": [{"names": ["execve"], "action": "SCMP_ACT_NOTIFY"}]}
    yield one
    one.close()


# --- the runtime's own executable, memory and descriptors ---


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (0, 1, 2)])
def test_closed_stdio_gives_no_descriptor_of_the_runtime(box, closed):
    """The caller has closed stdin: the first file that the runtime opens must not become the container's."""
    box.config["process"]["args"] = ["sleep", "100"]
    box.save("c")
    words = " ".join(f"{n}{'<' if n == 0 else '>'}&-" for n in closed)
    p = subprocess.run(["/bin/sh", "-c", f'exec "$@" {words}', "sh", RUNTIME, "--root", box.state, "run", "-d", "-b", box.dir, "c"],
                       stdin=subprocess.DEVNULL, **NULL, timeout=60)
    assert p.returncode == 0
    pid = box.status("c")["pid"]
    assert {n: os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")} == dict.fromkeys("012", "/dev/null")


def test_a_created_process_holds_nothing_of_the_host(box):
    """Before the command, too: a socket to be started through, and nothing else."""
    box.save("c")
    assert box.cmd("create", "-b", box.dir, "c", stdin=subprocess.DEVNULL, **NULL).returncode == 0
    pid = box.status("c")["pid"]
    links = [os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")]
    assert sorted(n for n in links if not n.startswith("socket:")) == ["/dev/null"] * 3 and len(links) <= 4
    for where in ("cwd", "root"):
        assert os.stat(f"/proc/{pid}/{where}").st_ino == os.stat(box.root).st_ino


@pytest.mark.parametrize("user,suid_dumpable", [(0, None), (1000, 1)])
def test_a_created_process_cannot_be_looked_into(box, user, suid_dumpable):
    """Another container in the same pid namespace, with the same rights, sees it wait. Not even fs.suid_dumpable makes it a target."""
    box.config["process"]["user"] = {"uid": user, "gid": user}
    if user:
        box.config["process"]["capabilities"] = {}
    cid = start_attacker(box, "spy", "60")
    join_pids_of(box, cid)
    setting = "/proc/sys/fs/suid_dumpable"
    before = open(setting).read()
    try:
        if suid_dumpable is not None:
            open(setting, "w").write(str(suid_dumpable))
        box.save("other")
        assert box.cmd("create", "-b", box.dir, "other", **NULL).returncode == 0
    finally:
        open(setting, "w").write(before)
    wait_until("the attacker to try", lambda: said(box, "trace: EPERM"))
    time.sleep(0.2)
    assert not any(word in said(box) for word in ("EXE", "FD", "MEMORY", "TRACED"))


def test_a_created_process_is_nobodys_to_trace(box):
    """It holds CAP_SYS_ADMIN until it has installed its filter. What is put into the container before it is started, even with CAP_SYS_PTRACE, does not get
    at that."""
    box.attacker()
    box.allow("CAP_SYS_PTRACE")
    box.config["process"]["noNewPrivileges"] = False
    box.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]}
    box.save("c")
    assert box.cmd("create", "-b", box.dir, "c", **NULL).returncode == 0
    p = box.cmd("exec", "c", "attack", "spy", "0.5", check=True)
    assert "trace: EPERM" in p.stdout and not any(word in p.stdout for word in ("EXE", "FD", "MEMORY", "TRACED")), p.stdout


def test_an_injected_process_cannot_be_looked_into(box, listener):
    """The process of exec is seen by the container as soon as it exists; while it executes it is nobody's to trace."""
    cid = start_attacker(box, "spy", "60")
    listener.hold = 0.5
    box.cmd("exec", cid, "true", check=True)
    assert "trace: EPERM" in said(box)
    assert not any(word in said(box) for word in ("EXE", "FD", "MEMORY", "TRACED"))


def test_an_injected_process_cannot_be_spoken_for(box, listener):
    """A container with CAP_SYS_PTRACE takes over the channel of a process that exec puts into it, and says that it is a process
    of the host: which the runtime would kill when the exec fails."""
    box.allow("CAP_SYS_PTRACE")
    victim = subprocess.Popen(["sleep", "100"])
    try:
        cid = start_attacker(box, "speak", str(victim.pid), "60")
        listener.hold = 1
        p = box.cmd("exec", cid, "sleep", "0.1", timeout=30)
        wait_until("the attacker to speak", lambda: said(box, "spoke"))
        assert p.returncode == 255, p.stderr
        time.sleep(0.2)
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


def test_the_listener_is_there_before_the_first_question(box, listener):
    """A filter that asks about execve, which exec itself calls: whoever is to answer must have the descriptor by then."""
    cid = box.start("sleep", "100")
    assert box.cmd("exec", cid, "echo", "x", timeout=20).stdout == "x\n"
    assert listener.asked >= 2


def test_a_process_that_its_container_stops_stops_nobody_else(ireko, name, tmp_path):
    """The container stops whatever exec puts into it. The exec fails after a while, and the container can still be killed."""
    ireko("run", "-d", "--name", name, "-v", f"{os.path.dirname(attacker())}:/a:ro", "busybox", "/a/attack", "stop", "100")
    for _ in range(40):
        p = ireko("exec", name, "true", check=False, timeout=60)
        if p.returncode != 0:
            break
    assert p.returncode != 0 and "did not execute its command" in p.stderr
    start = time.monotonic()
    ireko("kill", name)
    assert time.monotonic() - start < 10


def start_holder(ireko, name, *args):
    """A container with a process that traces what exec puts into it, and does not let it go."""
    words = " ".join(args)
    ireko("run", "-d", "--name", name, "--cap-add", "SYS_PTRACE", "-v", f"{os.path.dirname(attacker())}:/a:ro", "busybox", "sh", "-c",
          f"/a/attack hold {words} & wait; exec sleep 100")
    wait_until("the attacker to look", lambda: "looking" in ireko("logs", name).stdout)


def test_a_process_that_is_held_at_its_death_holds_up_nobody(ireko, name):
    """A new process that a tracer stops is killed after a while; it has ended then, but its tracer comes before its parent, who does not wait."""
    start_holder(ireko, name, "new", "100")
    for _ in range(400):
        p = ireko("exec", name, "true", check=False, timeout=60)
        if p.returncode != 0:
            break
    assert p.returncode != 0 and "did not execute its command" in p.stderr
    start = time.monotonic()
    assert name in ireko("ps", "-q", "--filter", f"name={name}", "--format", "{{.Names}}").stdout
    ireko("kill", name, timeout=20)
    ireko("wait", name, timeout=20)
    assert time.monotonic() - start < 15


def stat_fields(pid):
    """From the state on, which is field 3 of proc(5)."""
    with open(f"/proc/{pid}/stat") as f:
        return f.read().rsplit(")", 1)[1].split()


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return [int(n) for n in f.read().split()]


def cpu_seconds(pid):
    return sum(map(int, stat_fields(pid)[11:13])) / os.sysconf("SC_CLK_TCK")


def test_a_command_that_is_held_at_its_end_is_waited_for_at_rest(engine, ireko, name):
    """It has ended for its tracer, and not for the shim yet: which does not ask over and over, and gets its exit code in the end."""
    start_holder(ireko, name, "run", "100")
    with engine.popen("exec", name, "sleep", "100") as p:
        wait_until("the tracer to have it", lambda: "holds" in ireko("logs", name).stdout)
        init = engine.inspect(name)["State"]["Pid"]
        shim = int(stat_fields(init)[1])
        command = next(pid for pid in children(shim) if pid != init)
        os.kill(command, signal.SIGKILL)
        wait_until("the command to end", lambda: stat_fields(command)[0] == "Z")
        before = cpu_seconds(shim)
        time.sleep(1)
        assert stat_fields(command)[0] == "Z" and p.poll() is None and cpu_seconds(shim) - before < 0.1
        os.kill(children(init)[0], signal.SIGKILL)
        assert p.wait(timeout=20) == 137


# --- names that change while they are used ---


def on_dev(box):
    box.unmount("/dev", "/dev/pts", "/dev/shm")


def with_cwd(box):
    box.config["process"]["cwd"] = "/work/deep/er/new"


def with_device(box):
    box.config["linux"]["devices"] = [{"path": "/nodes/sub/null", "type": "c", "major": 1, "minor": 3, "uid": 7, "gid": 8}]


def with_covers(box):
    box.config["linux"].update(maskedPaths=["/secret/deep"], readonlyPaths=["/secret/deep/er"])


def on_sys(box):
    box.unmount("/sys")
    box.bind("cgroup", "/sys/fs/cgroup", "ro", kind="cgroup")


# What is mounted or made, and the name on the way there that is exchanged for a link to the host.
TARGETS = {
    "dev": ("dev", lambda box, data: None),
    "devices": ("dev", lambda box, data: on_dev(box)),
    "devpts": ("dev", lambda box, data: box.unmount("/dev", "/dev/shm")),
    "proc": ("proc", lambda box, data: None),
    "sysfs": ("sys", lambda box, data: None),
    "cgroup": ("sys", lambda box, data: on_sys(box)),
    "file": ("etc2", lambda box, data: box.bind(data / "file", "/etc2/deep/new")),
    "directory": ("vol", lambda box, data: box.bind(data, "/vol/deep/new")),
    "tmpfs": ("t", lambda box, data: box.bind("tmpfs", "/t/deep/new", kind="tmpfs")),
    "copyup": ("t", lambda box, data: box.bind("tmpfs", "/t/deep/new", "tmpcopyup", kind="tmpfs")),
    "cwd": ("work", lambda box, data: with_cwd(box)),
    "device": ("nodes", lambda box, data: with_device(box)),
    "covers": ("secret", lambda box, data: with_covers(box)),
}


@pytest.mark.parametrize("target", TARGETS)
def test_every_mount_target_exchanged_while_creating(box, tmp_path, outside, target):
    """A neighbour shares the root filesystem and exchanges a directory for a link to the host, over and over."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "file").touch()
    before = snapshot(data)
    swapped, prepare = TARGETS[target]
    os.makedirs(f"{box.root}/{swapped}/deep/er", exist_ok=True)
    os.symlink(str(outside), box.root + "/x")
    prepare(box, data)
    ran = 0
    with swapping(f"{box.root}/{swapped}", box.root + "/x"):
        for _ in range(20):
            p = box.run("true")
            ran += p.returncode == 0
            assert p.returncode == 0 or len(p.stderr) > 30, p.stderr
    assert snapshot(data) == before


def test_device_exchanged_between_making_and_owning(box, outside):
    """A device of the spec gets its owner; what a link leads to does not."""
    on_dev(box)
    box.config["linux"]["devices"] = [{"path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "uid": 7, "gid": 8}]
    mine, other = box.root + "/dev/mine", box.root + "/dev/other"
    open(mine, "w").close()
    open(other, "w").close()
    with swapping(mine, other):
        for _ in range(100):
            for path in (mine, other):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
            os.symlink(str(outside / "secret"), other)
            box.run("true")


def test_exec_while_names_are_exchanged(box, tmp_path):
    """The same for exec: its working directory, the passwd, and what else it looks up in the container."""
    box.attacker()
    os.makedirs(box.root + "/work/d")
    os.symlink("/proc/1/root/..", box.root + "/x")
    os.mkfifo(box.root + "/etc/fifo")
    cid = box.start("sleep", "100")
    with swapping(box.root + "/work", box.root + "/x"), swapping(box.root + "/etc/passwd", box.root + "/etc/fifo"):
        for _ in range(40):
            p = box.cmd("exec", "--cwd", "/work/d", cid, "attack", "descriptors", RUNTIME, timeout=20)
            assert p.stdout == "0\n1\n2\n" or "cwd" in p.stderr, (p.stdout, p.stderr)


def test_exec_in_a_container_without_a_mount_namespace(box):
    """It has a root of its own all the same; the host's is not for exec to run in."""
    box.without_namespace("mount")
    box.config["linux"].update(maskedPaths=[], readonlyPaths=[])
    cid = box.start("sleep", "100")
    p = box.cmd("exec", cid, "sh", "-c", f"ls /; test -e {RUNTIME} && echo HOST", timeout=20)
    assert "bin" in p.stdout.split() and "HOST" not in p.stdout and "usr" not in p.stdout.split()


def test_pid_file_through_a_symlink(box, outside):
    """The pid file is replaced as a name, whatever it was."""
    link = os.path.join(box.dir, "pid")
    os.symlink(str(outside / "secret"), link)
    box.config["process"]["args"] = ["sleep", "100"]
    box.save("c")
    assert box.cmd("run", "-d", "--pid-file", link, "-b", box.dir, "c", **NULL).returncode == 0
    assert not os.path.islink(link) and int(open(link).read()) == box.status("c")["pid"]


# --- mounts and namespaces ---


@pytest.fixture
def shared_root(box):
    """The root filesystem is a shared mount, as most of a host's are."""
    subprocess.check_call(["mount", "--bind", box.root, box.root])
    subprocess.check_call(["mount", "--make-shared", box.root])
    yield
    while subprocess.call(["umount", "-R", "-l", box.root], stderr=subprocess.DEVNULL) == 0:
        pass  # more than one, if the container's came back


def test_mounts_do_not_propagate_to_the_host(box, tmp_path, shared_root):
    """Neither from the root nor from a volume."""
    volume = tmp_path / "volume"
    (volume / "d").mkdir(parents=True)
    subprocess.check_call(["mount", "-t", "tmpfs", "tmpfs", str(volume)])
    subprocess.check_call(["mount", "--make-shared", str(volume)])
    try:
        (volume / "d").mkdir()
        box.bind(volume, "/vol")
        box.allow("CAP_SYS_ADMIN")
        os.makedirs(box.root + "/mnt")
        before = mounts()
        box.sh("mount -t tmpfs none /mnt && mount -t tmpfs none /vol/d && touch /mnt/x /vol/d/x")
        assert mounts() == before and os.listdir(box.root + "/mnt") == [] and os.listdir(volume / "d") == []
    finally:
        subprocess.check_call(["umount", "-R", "-l", str(volume)])


@pytest.mark.parametrize("pivot", [True, False])
def test_no_procfs_without_masks_in_a_user_namespace(box, pivot):
    """A user namespace that the container makes may mount procfs only if one is visible as a whole: the container's own is masked, and none
    of the host's may be left."""
    os.makedirs(box.root + "/mnt")
    inside = "mount -t proc proc /mnt; ls /mnt; mount -t sysfs sysfs /mnt; ls /mnt"
    box.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    box.config["linux"]["maskedPaths"].append("/sys/kernel")
    box.config["process"]["args"] = ["sh", "-c", f"unshare -U -r -n -m -p -f sh -c '{inside}'; stat -c '%t:%T' /proc/keys"]
    box.save("c")
    p = box.cmd("run", *([] if pivot else ["--no-pivot"]), "-b", box.dir, "c")
    assert p.stdout == "1:3\n" and p.stderr.count("ermission denied") + p.stderr.count("not permitted") == 2, (p.stdout, p.stderr)


@pytest.mark.parametrize("kind,other", [("ipc", "net"), ("network", "uts"), ("pid", "net"), ("uts", "ipc")])
def test_a_namespace_of_another_kind_is_not_joined(box, kind, other):
    """The path leads to a namespace, but not of the kind that the config says."""
    cid = box.start("sleep", "100")
    next(n for n in box.config["linux"]["namespaces"] if n["type"] == kind)["path"] = f"/proc/{box.status(cid)['pid']}/ns/{other}"
    p = box.run("true")
    assert p.returncode == 1 and "namespace" in p.stderr, p.stderr


def test_names_and_sysctls_of_the_host_by_path(box):
    """A namespace that is joined by its path and is the host's own: not for a container to change."""
    name = socket.gethostname()
    uts = next(n for n in box.config["linux"]["namespaces"] if n["type"] == "uts")
    uts["path"] = "/proc/self/ns/uts"
    p = box.run("true")
    assert p.returncode == 1 and "uts namespace" in p.stderr and socket.gethostname() == name
    del uts["path"]
    next(n for n in box.config["linux"]["namespaces"] if n["type"] == "network")["path"] = "/proc/self/ns/net"
    before = open("/proc/sys/net/ipv4/ip_default_ttl").read()
    box.config["linux"]["sysctl"] = {"net.ipv4.ip_default_ttl": before.strip()}
    p = box.run("true")
    assert p.returncode == 1 and "net namespace" in p.stderr


@pytest.mark.parametrize("name", ["kernel.panic", "vm.swappiness", "net/../kernel/panic", "net.ipv4/../../kernel/panic", "kernel/shm_rmid_forced/../panic",
                                  "fs.mqueue/../suid_dumpable", "../sys/kernel/panic"])
def test_sysctls_of_the_host(box, name):
    box.config["linux"]["sysctl"] = {name: "0"}
    p = box.run("true")
    assert p.returncode == 1 and "sysctl" in p.stderr


def test_root_of_a_user_namespace_is_nobody_outside(box, tmp_path):
    """Files of the host's root stay closed to it, and what it makes is not root's."""
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o777)
    (data / "secret").write_text("s")
    (data / "secret").chmod(0o600)
    box.user_namespace()
    os.makedirs(box.root + "/data")
    box.bind(data, "/data")
    p = box.run("sh", "-c", "cat /data/secret; touch /data/made; chown 0:0 /data/secret")
    assert p.stdout == "" and p.stderr.count("ermi") == 2
    assert (data / "made").stat().st_uid == 100000


@pytest.mark.parametrize("ids,text", [
    ([{"containerID": 1, "hostID": 100000, "size": 10}], "id 0 mapped"),
    ([{"containerID": 0, "hostID": 4294967295, "size": 1}], "uid_map"),
    ([{"containerID": 0, "hostID": 100000, "size": 0}], ""),
    ([{"containerID": 0, "hostID": 4294967290, "size": 100}], "uid_map"),
    ([], "mapping"),
])
def test_id_maps_that_are_none(box, ids, text):
    box.user_namespace()
    box.config["linux"].update(uidMappings=ids, gidMappings=ids)
    p = box.run("true")
    assert p.returncode == 1 and text in p.stderr, p.stderr


# --- cgroups ---


@pytest.mark.parametrize("how", ["run", "exec"])
def test_a_cgroup_namespace_cannot_be_left(box, how):
    """A mount of the hierarchies made inside shows the container's own cgroup as their root, without the files that only the real
    one has: no release_agent (CVE-2022-0492), no processes of others."""
    box.allow("CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE")
    os.makedirs(box.root + "/mnt")
    script = ("cut -d: -f3 /proc/self/cgroup | sort -u; for h in cgroup:memory cgroup:pids cgroup:cpu cgroup2:; do "
              "mount -t ${h%:*} ${h#*:} -o ,${h#*:} /mnt 2>/dev/null || continue; echo mounted; "
              "ls /mnt | grep -E 'release_agent|" + box.group + "'; wc -l < /mnt/cgroup.procs; umount /mnt; done; exit 0")
    out = box.sh(script) if how == "run" else box.cmd("exec", box.start("sleep", "100"), "sh", "-c", script, check=True).stdout
    lines = out.split()
    assert lines[0] == "/" and "mounted" in lines and "release_agent" not in out and box.group not in out
    assert all(int(n) < 6 for n in lines if n.isdigit()), out


def test_a_covered_cgroup_tree_fools_nobody(box):
    """The container covers its /sys/fs/cgroup with files of its own; the runtime goes by the host's."""
    box.allow("CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE")
    box.bind("cgroup", "/sys/fs/cgroup", kind="cgroup")
    cid = box.start("sh", "-c", "mount -t tmpfs t /sys/fs/cgroup; for d in pids memory unified freezer devices; do mkdir /sys/fs/cgroup/$d; "
                    "for f in tasks cgroup.procs freezer.state cgroup.kill; do echo 1 > /sys/fs/cgroup/$d/$f; done; done; touch /tmp/ready; exec sleep 100")
    wait_until("the container", lambda: os.path.exists(box.root + "/tmp/ready"))
    box.cmd("exec", "-d", cid, "sh", "-c", "echo $$ > /tmp/said; exec sleep 100", check=True, **NULL)
    pids = open(box.cgroup("pids", cid) + "/cgroup.procs").read().split()
    assert len(pids) == 2
    box.cmd("pause", cid, check=True)
    assert box.status(cid)["status"] == "paused"
    box.cmd("resume", cid, check=True)
    assert len(json.loads(box.cmd("ps", "-f", "json", cid, check=True).stdout)) == 2
    box.cmd("kill", "--all", cid, "KILL", check=True)
    box.wait_stopped(cid)


@pytest.mark.parametrize("path", ["..", "../other", "a/../../other", "./..", "/../x", "a/.."])
def test_exec_into_a_cgroup_that_is_not_the_containers(box, path):
    cid = box.start("sleep", "100")
    p = box.cmd("exec", "--cgroup", path, cid, "cat", "/proc/self/cgroup")
    assert p.returncode == 255 and "sub cgroup" in p.stderr, p.stderr


@needs_controllers
def test_however_deep_cgroups_are_nested_they_are_removed(box):
    """The container makes 200 cgroups in one another and puts a process into the last one: it is still killed, all is removed."""
    box.attacker()
    box.allow("CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE")
    box.bind("cgroup", "/sys/fs/cgroup", kind="cgroup")
    cid = box.start("sh", "-c", "for d in /sys/fs/cgroup/* /sys/fs/cgroup; do [ -e $d/cgroup.procs ] && attack nest $d 200; done; "
                    "for t in $(find /sys/fs/cgroup -name cgroup.procs | awk 'length > 300'); do sh -c \"echo 0 > $t; exec sleep 100\" & done; "
                    "sleep 0.3; touch /tmp/ready; exec sleep 100")
    wait_until("the container", lambda: os.path.exists(box.root + "/tmp/ready"), seconds=60)
    assert len(json.loads(box.cmd("ps", "-f", "json", cid, check=True).stdout)) >= 2
    box.cmd("delete", "--force", cid, check=True)
    assert cgroup_dirs(box.group) == []


DEVICE_RULES = [
    ([], (False, False)),
    ([("c", 10, 229, "r")], (True, False)),
    ([("c", 10, -1, "r")], (True, False)),
    ([("b", 10, 229, "rwm")], (False, False)),
    ([("a", -10, -1, "r")], (True, False)),
    ([("a", 10, 200, "rwm")], (False, False)),
    ([("a", 10, 229, "r")], (True, False)),
    ([("c", 10, 229, "rw"), ("-c", 10, 229, "w")], (True, False)),
    ([("a", -10, -1, "rwm"), ("-a", -10, -1, "rwm")], (False, False)),
    ([("a", -10, -1, "rwm"), ("-c", 10, 229, "w")], (True, False)),
]


@pytest.mark.parametrize("tree", ["machine", "unified"])
@pytest.mark.parametrize("rules,expected", DEVICE_RULES)
def test_device_rules_give_no_more_than_they_say(box, tree, rules, expected):
    """A node that the container makes for itself, and opens."""
    if tree == "unified":
        box.unified()
    box.allow("CAP_MKNOD")
    box.config["linux"]["resources"]["devices"] = [{"allow": False, "access": "rwm"}] + [
        {"allow": t[0] != "-", "type": t[-1], "access": access, **({"major": major} if major >= 0 else {}), **({"minor": minor} if minor >= 0 else {})}
        for t, major, minor, access in rules]
    p = box.run("sh", "-c", "mknod /tmp/n c 10 229; (: < /tmp/n) 2>&1 | grep -q 'not permitted' && echo no || echo yes; "
                "(: > /tmp/n) 2>&1 | grep -q 'not permitted' && echo no || echo yes")
    assert tuple(w == "yes" for w in p.stdout.split()) == expected, (p.stdout, p.stderr)


@pytest.mark.parametrize("tree", ["machine", "unified"])
@pytest.mark.parametrize("major,minor", [(4294967297, 11), (1, 4294967307), (-2, 11), (1, -7), (-9223372036854775808, 11)])
def test_device_numbers_do_not_wrap_around(box, tree, major, minor):
    if tree == "unified":
        box.unified()
    box.config["linux"]["resources"]["devices"].append({"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"})
    p = box.run("true")
    assert p.returncode == 1 and "device" in p.stderr, p.stderr


@needs_controllers
def test_a_fork_bomb_stays_within_its_limit(box):
    """It can be looked at, and ended, at once."""
    box.attacker()
    box.config["linux"]["resources"]["pids"] = {"limit": 20}
    cid = box.start("sh", "-c", "exec attack fork-bomb 500 > /tmp/said")
    wait_until("the bomb", lambda: said(box, "\n"))
    assert int(said(box)) == 19
    p = box.cmd("exec", cid, "true", timeout=20)
    assert p.returncode == 255 and p.stderr
    start = time.monotonic()
    box.cmd("delete", "--force", cid, check=True)
    assert time.monotonic() - start < 5


@needs_controllers
def test_a_memory_bomb_does_not_take_the_runtime_along(box):
    """The runtime that waits in the foreground is not in the container's cgroup."""
    box.attacker()
    box.config["linux"]["resources"]["memory"] = {"limit": 32 << 20}
    box.config["process"]["args"] = ["sh", "-c", "touch /tmp/ready; sleep 0.3; attack memory-bomb 300; echo $?"]
    box.save("c")
    p = subprocess.Popen([RUNTIME, "--root", box.state, "run", "-b", box.dir, "c"], stdout=subprocess.PIPE, text=True)
    wait_until("the container", lambda: os.path.exists(box.root + "/tmp/ready"))
    assert box.group not in open(f"/proc/{p.pid}/cgroup").read()
    assert p.communicate(timeout=60)[0] == "137\n" and p.returncode == 0


# --- processes ---


def test_another_process_with_the_same_pid(box):
    """The container's first process is dead and its pid somebody else's: neither killed, nor entered, nor taken for the container."""
    cid = box.start("sleep", "100")
    pid = box.status(cid)["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until("the process to be gone", lambda: not os.path.exists(f"/proc/{pid}"))
    victim = subprocess.Popen([attacker(), "as-pid", str(pid)], stdout=subprocess.PIPE, text=True)
    try:
        assert victim.stdout.readline() == "clone: done\n"
        assert box.status(cid)["status"] == "stopped"
        assert box.cmd("kill", cid, "KILL").returncode == 1
        assert box.cmd("exec", cid, "true").returncode == 255
        box.cmd("delete", "--force", cid, check=True)
        time.sleep(0.1)
        assert victim.poll() is None and os.path.exists(f"/proc/{pid}")
    finally:
        victim.kill()
        victim.communicate()


def test_signals_to_all_spare_whoever_cannot_be_seen(box):
    """From inside another pid namespace the container's processes have the pid 0, which to kill(2) is the caller's own group."""
    box.unified()
    cid = box.start("sleep", "100")
    words = [*box.prefix, RUNTIME, "--root", box.state, "kill", "--all", cid, "TERM"]
    p = subprocess.run(["unshare", "-p", "-f", "--mount-proc", "sh", "-c", '"$@"; echo $?', "sh", *words], stdout=subprocess.PIPE,
                       stderr=subprocess.DEVNULL, text=True, timeout=60, start_new_session=True)
    # The shell is the first process of that namespace and deaf to the signal; the runtime would not be.
    assert p.stdout == "0\n"


@pytest.mark.parametrize("pids", ["own", "of the host"])
def test_exec_into_a_dying_container(box, pids):
    """Whatever an exec puts in while the container is being killed goes with it."""
    if pids != "own":
        box.without_namespace("pid")
    for _ in range(10):
        cid = box.start("sleep", "300")
        execs = [subprocess.Popen([RUNTIME, "--root", box.state, "exec", cid, "sleep", "300"], stdin=subprocess.DEVNULL, **NULL) for _ in range(6)]
        time.sleep(0.01)
        box.cmd("kill", cid, "KILL")
        box.cmd("delete", "--force", cid, check=True)
        for p in execs:
            assert p.wait(timeout=20) != 0
        assert cgroup_dirs(box.group) == []


# --- privileges ---


@pytest.mark.parametrize("how", ["run", "exec"])
def test_no_new_privileges(box, how):
    """A set-user-ID program of the image makes nobody root."""
    box.attacker()
    os.chmod(box.root + "/bin/attack", 0o4755)
    box.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    out = box.out("attack", "ids") if how == "run" else box.cmd("exec", box.start("sleep", "100"), "attack", "ids", check=True).stdout
    assert out == "1000 1000\n"
    box.config["process"]["noNewPrivileges"] = False
    assert box.out("attack", "ids") == "0 1000\n"


@pytest.mark.parametrize("how", ["run", "exec"])
def test_groups_of_the_caller_are_not_the_containers(box, how):
    groups = {"extra_groups": [4242, 4243]}
    out = (box.run("id", "-G", **groups) if how == "run" else box.cmd("exec", box.start("sleep", "100"), "id", "-G", **groups)).stdout
    assert out == "0\n"


@pytest.mark.parametrize("how", ["run", "exec"])
def test_keys_of_the_caller_are_not_the_containers(box, how, tmp_path):
    """Nor is the session's keyring."""
    box.attacker()
    key = f"ireko-test-{os.getpid()}"
    words = ["exec", box.start("sleep", "100"), "attack", "keys", key]
    if how == "run":
        box.config["process"]["args"] = ["attack", "keys", key]
        box.save("c")
        words = ["run", "-b", box.dir, "c"]
    p = subprocess.run([attacker(), "with-key", key, RUNTIME, "--root", box.state, *words], stdout=subprocess.PIPE, text=True, timeout=60)
    assert "search: ENOKEY" in p.stdout, p.stdout


@pytest.mark.parametrize("architectures", [["SCMP_ARCH_X86_64"], [], ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]])
def test_system_calls_by_the_back_door(box, architectures):
    """What is refused is refused by its i386 and x32 numbers, too."""
    box.attacker()
    box.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": architectures,
                                      "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}
    out = box.run("attack", "calls", "/tmp/made").stdout
    assert "native: EOPNOTSUPP" in out and "done" not in out and not os.path.exists(box.root + "/tmp/made")
    for abi, word in (("x32", "SCMP_ARCH_X32"), ("i386", "SCMP_ARCH_X86")):
        assert (f"{abi}: EOPNOTSUPP" in out) == (word in architectures), out


def test_a_seccomp_errno_does_not_wrap_around(box):
    """65536 would be success, of a call that was not made."""
    box.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW",
                                      "syscalls": [{"names": ["setgroups"], "action": "SCMP_ACT_ERRNO", "errnoRet": 65536}]}
    p = box.run("true")
    assert p.returncode == 1 and "65536" in p.stderr


# --- terminals and streams ---


@pytest.mark.parametrize("how", ["run", "exec"])
def test_nothing_is_typed_into_the_callers_terminal(box, how):
    """Stdin is the terminal of whoever calls the runtime; the container is in a session of its own (TIOCSTI)."""
    box.attacker()
    words = ["exec", box.start("sleep", "100"), "attack", "type", "evil"]
    if how == "run":
        box.config["process"]["args"] = ["attack", "type", "evil"]
        box.save("c")
        words = ["run", "-b", box.dir, "c"]
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(RUNTIME, [RUNTIME, "--root", box.state, *words])
    seen = read_until(fd, b"/dev/tty: ")
    with contextlib.suppress(OSError):
        seen += os.read(fd, 100)
    os.waitpid(pid, 0)
    os.close(fd)
    assert b"TIOCSTI: E" in seen and b"/dev/tty: ENXIO" in seen, seen


@pytest.mark.parametrize("size", [(65536, 80), (24, 4294967295), (65536 * 3, 65536)])
def test_giant_terminals(box, size):
    box.config["process"].update(terminal=True, consoleSize={"height": size[0], "width": size[1]}, args=["true"])
    box.save("c")
    p = box.cmd("run", "-b", box.dir, "c")
    assert p.returncode == 1 and "consoleSize" in p.stderr


@pytest.mark.parametrize("stream", ["stdout", "stdin"])
def test_a_stream_that_nobody_reads_holds_up_nothing_else(box, stream):
    """With a terminal the runtime copies: who does not read gets no more, but signals go through, and so does the end."""
    noise = "(yes | head -c 3000000) & " if stream == "stdout" else ""
    box.config["process"].update(terminal=True, args=["sh", "-c", f"stty raw -echo; trap 'touch /tmp/got; exit 3' TERM; {noise}touch /tmp/ready; while :; do sleep 0.05 < /dev/null; done"])
    box.save("c")
    r, w = os.pipe()
    os.set_blocking(w, False)
    p = subprocess.Popen([RUNTIME, "--root", box.state, "run", "-b", box.dir, "c"], stdin=r if stream == "stdin" else subprocess.DEVNULL,
                         stdout=subprocess.PIPE)
    wait_until("the container", lambda: os.path.exists(box.root + "/tmp/ready"))
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        with contextlib.suppress(BlockingIOError):
            os.write(w, b"x" * 4096)
        time.sleep(0.01)
    p.send_signal(signal.SIGTERM)
    wait_until("the signal to arrive", lambda: os.path.exists(box.root + "/tmp/got"), seconds=10)
    assert p.wait(timeout=20) == 3
    p.stdout.close()
    os.close(r)
    os.close(w)


@pytest.mark.parametrize("how", ["terminal", "pipe"])
def test_errors_do_not_speak_to_the_terminal(box, how):
    """An image's command is part of the message; what it would tell the terminal is not."""
    box.config["process"]["args"] = ["\x1b]0;evil\x07\x1b[2J/no\rpe\x9b5m"]
    box.save("c")
    words = [RUNTIME, "--root", box.state, "run", "-b", box.dir, "c"]
    if how == "pipe":
        seen = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60).stdout
    else:
        pid, fd = pty.fork()
        if pid == 0:
            os.execv(RUNTIME, words)
        seen = read_until(fd, b"5m")
        os.waitpid(pid, 0)
        os.close(fd)
    assert b"evil" in seen and not any(c in seen for c in (b"\x1b", b"\x07", b"/no\rpe", b"\xc2\x9b"))


# --- what the config says ---


def set_in(path, value):
    def change(config):
        *way, last = path.split(".")
        for key in way:
            config = config.setdefault(key, {}) if isinstance(config, dict) else config[int(key)]
        config[last] = value
    return change


BIG = [
    ("process.user.uid", 4294967295), ("process.user.uid", 4294967296), ("process.user.uid", -1), ("process.user.gid", 4294967295),
    ("process.user.additionalGids", [4294967295]), ("process.user.additionalGids", [4294967296]), ("process.user.umask", -1 << 40),
    ("process.oomScoreAdj", 4294967296), ("process.oomScoreAdj", -1001),
    ("process.rlimits", [{"type": "RLIMIT_NOFILE", "soft": -1, "hard": 100}]),
    ("process.rlimits", [{"type": "RLIMIT_NOFILE", "soft": 18446744073709551616, "hard": 18446744073709551616}]),
    ("linux.resources.memory", {"limit": 18446744073709551616}), ("linux.resources.pids", {"limit": 1e400}),
    ("linux.resources.cpu", {"shares": -5}), ("linux.resources.blockIO", {"weight": 65537}),
    ("linux.devices", [{"path": "/dev/x", "type": "c", "major": 4294967297, "minor": 3}]),
    ("linux.devices", [{"path": "/dev/x", "type": "c", "major": 1, "minor": -1}]),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 4294967296, "value": 1, "op": "SCMP_CMP_EQ"}]}]}),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": -5}),
    ("hooks", {"prestart": [{"path": "/bin/true", "timeout": -1}]}),
    ("linux.timeOffsets", {"monotonic": {"secs": 0, "nanosecs": 4294967296}}),
]


@pytest.mark.parametrize("path,value", BIG)
def test_numbers_that_would_wrap_around(box, path, value):
    """Each is refused, with the name of the member, and leaves nothing."""
    box.config["process"]["args"] = ["id"]
    set_in(path, value)(box.config)
    box.save("c")
    text = open(os.path.join(box.dir, "config.json")).read().replace("Infinity", "1e400")
    open(os.path.join(box.dir, "config.json"), "w").write(text)
    p = box.cmd("run", "-b", box.dir, "c")
    assert p.returncode == 1 and p.stdout == "" and len(p.stderr) > 30, (p.stdout, p.stderr)
    assert cgroup_dirs(box.group) == [] and [c for c in os.listdir(box.state) if not c.startswith("@")] == [] if os.path.isdir(box.state) else True


@pytest.mark.parametrize("what", ["long", "deep", "many", "wide"])
def test_huge_configs(box, what):
    """More than 16 MiB, or deeper than any document is, is refused; what is merely much is taken, in bounded memory."""
    box.config["process"]["args"] = ["true"]
    if what == "wide":
        box.config["annotations"] = {f"k{i}": "v" for i in range(100000)}
        box.config["linux"]["maskedPaths"] += [f"/nowhere/{i}" for i in range(20000)]
    box.save("c")
    path = os.path.join(box.dir, "config.json")
    text = open(path).read()
    extra = {"long": '"annotations": {"x": "' + "y" * (17 << 20) + '"}', "deep": '"annotations": ' + "[" * 100000 + "]" * 100000,
             "many": '"hostname": "a"' + ', "hostname": "b"' * 100, "wide": ""}[what]
    if extra:
        open(path, "w").write("{" + extra + "," + text[1:])
    p = box.cmd("run", "-b", box.dir, "c")
    assert p.returncode == (0 if what == "wide" else 1) and (what == "wide" or "config.json" in p.stderr), p.stderr[:300]


def test_hooks_get_only_what_they_are_given(box, tmp_path):
    """No variable of the caller's or of the container's, no descriptor, and the caller's directory (createContainer: the root
    filesystem, as runc has it)."""
    hook = tmp_path / "hook"
    hook.write_text("#!/usr/bin/python3 -I\nimport fcntl, json, os, sys\nfds = []\nfor n in range(64):\n    try:\n        fcntl.fcntl(n, fcntl.F_GETFD)\n"
                    "        fds.append(n)\n    except OSError:\n        pass\n"
                    f"json.dump([dict(os.environ), os.getcwd(), fds], open('{tmp_path}/' + sys.argv[1], 'w'))\n")
    hook.chmod(0o755)
    kinds = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    box.config["hooks"] = {k: [{"path": str(hook), "args": ["hook", k], "env": ["GIVEN=1"]}] for k in kinds}
    box.config["process"]["env"] += ["LD_PRELOAD=/evil.so", "BASH_ENV=/evil", "IFS=x"]
    box.config["process"]["cwd"] = "/tmp"
    p = box.run("true", env={**os.environ, "CALLERS": "1"}, cwd="/")
    assert p.returncode == 0, p.stderr
    for k in kinds:
        env, cwd, fds = json.loads((tmp_path / k).read_text())
        assert env.pop("GIVEN") == "1" and cwd == (box.root if k == "createContainer" else "/") and fds == [0, 1, 2] and set(env) <= {"LC_CTYPE"}, (k, env, cwd, fds)


# --- the state directory ---


def test_state_of_others_is_not_obeyed(box, tmp_path):
    """Who can write there could have hooks run and processes killed."""
    cid = box.start("sleep", "100")
    for path in (box.state, f"{box.state}/{cid}"):
        os.chown(path, 12345, -1)
        for words in (["state", cid], ["kill", cid, "KILL"], ["delete", "--force", cid], ["exec", cid, "true"]):
            p = box.cmd(*words)
            assert p.returncode != 0 and "12345" in p.stderr, (words, p.stderr)
        os.chown(path, 0, -1)
    os.chmod(box.state, 0o777)
    assert "written by everybody" in box.cmd("state", cid).stderr
    os.chmod(box.state, 0o1777)
    assert box.cmd("state", cid).returncode == 0
    os.chmod(box.state, 0o700)


def test_state_is_closed_to_others(box):
    box.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]}
    before = os.umask(0)
    try:
        cid = box.start("sleep", "100")
    finally:
        os.umask(before)
    for where, dirs, files in os.walk(box.state):
        for name in [".", *dirs, *files]:
            mode = os.lstat(os.path.join(where, name)).st_mode
            assert mode & 0o022 == 0 and (where == box.state or mode & 0o077 == 0 or name == "notify"), (where, name, oct(mode))
    assert os.stat(box.state).st_mode & 0o077 == 0 and os.path.isdir(f"{box.state}/{cid}")


def test_the_notify_directory_is_not_the_containers(box, tmp_path):
    """It is on the host's /run: the container neither fills it nor leaves a link there."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(tmp_path / "notify"))
    sock.settimeout(20)
    p = box.run("sh", "-c", "touch /run/notify/x; rm /run/notify/notify.sock; ls /run/notify", env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")})
    sock.close()
    assert p.stdout == "notify.sock\n" and p.stderr.count("Read-only") == 2, (p.stdout, p.stderr)
