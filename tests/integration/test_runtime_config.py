# SPDX-License-Identifier: Apache-2.0
"""What config.json may not say: the error names the member by its JSON path, and its value, and nothing is made. And what it may say of runtime-spec 1.3."""
import copy
import json
import os
import subprocess
import time

import pytest

from harness import run
from runtime_bundle import RUNTIME, cgroup_dirs

BIG = 1 << 40


def put(config, path, value):
    *way, last = path.split(".")
    for key in way:
        config = config[int(key)] if isinstance(config, list) else config.setdefault(key, {})
    if isinstance(config, list):
        config[int(last)] = value
    else:
        config[last] = value


# path, value, what the error must say. A path of "" replaces the document.
WRONG = [
    ("ociVersion", "2.0.0", ["ociVersion", "2.0.0"]),
    ("ociVersion", 1, ["ociVersion", "expected a string", "not 1"]),
    ("process", [], ["process: expected an object", "[]"]),
    ("process.args", [], ["process.args"]),
    ("process.args", ["a", 7], ["process.args: expected an array of strings", '["a",7]']),
    ("process.cwd", "here", ["process.cwd", "here"]),
    ("process.env", ["X"], ["process.env[0]", "X"]),
    ("process.terminal", "yes", ["process.terminal: expected true or false", "yes"]),
    ("process.user", {"uid": -1}, ["process.user.uid", "-1"]),
    ("process.user", {"uid": BIG}, ["process.user.uid", str(BIG)]),
    ("process.user", {"additionalGids": [1, "x"]}, ["process", "user.additionalGids[1]"]),
    ("process.oomScoreAdj", 2000, ["process", "oomScoreAdj"]),
    ("process.rlimits", [{"type": "RLIMIT_X", "soft": 1, "hard": 1}], ["process.rlimits[0].type", "RLIMIT_X"]),
    ("process.rlimits", [{"type": "RLIMIT_CORE"}, {"type": "RLIMIT_CORE"}], ["process.rlimits[1].type", "RLIMIT_CORE", "twice"]),
    ("process.rlimits", [{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}], ["process.rlimits", "RLIMIT_CORE"]),
    ("process.scheduler", {"policy": "SCHED_FAST"}, ["process: scheduler.policy", "SCHED_FAST", "SCHED_BATCH"]),
    ("process.scheduler", {"policy": "SCHED_OTHER", "nice": 40}, ["process: scheduler.nice", "40"]),
    ("process.scheduler", {"policy": "SCHED_OTHER", "flags": ["X"]}, ["process: scheduler.flags", "X"]),
    ("process.ioPriority", {"class": "BEST", "priority": 1}, ["process: ioPriority.class", "BEST"]),
    ("process.ioPriority", {"class": "IOPRIO_CLASS_BE", "priority": 9}, ["process: ioPriority.priority", "9"]),
    ("process.execCPUAffinity", {"initial": "0-x"}, ["execCPUAffinity.initial", "0-x"]),
    ("process.execCPUAffinity", {"final": "9-1"}, ["execCPUAffinity.final", "9-1"]),
    ("root", {"path": ""}, ["root.path"]),
    ("root.path", "nothing here", ["nothing here"]),
    ("hostname", 5, ["hostname", "5"]),
    ("mounts", {}, ["mounts: expected an array", "{}"]),
    ("mounts.0.destination", "", ["mounts[0].destination"]),
    ("mounts.1.type", "nosuchfs", ["error mounting", "/dev", "nosuchfs"]),
    ("mounts.0.options", "x,y", ["error mounting", "/proc"]),
    ("mounts.1.uidMappings", [{"containerID": 0, "hostID": 0, "size": 1}], ["mounts[1]", "gidMappings"]),
    ("hooks", {"prestart": [{"path": "relative"}]}, ["hooks.prestart[0].path", "relative"]),
    ("hooks", {"poststop": [{"path": "/x", "timeout": -1}]}, ["hooks.poststop[0].timeout", "-1"]),
    ("annotations", {"a": 1}, ["annotations", '{"a":1}']),
    ("linux.namespaces", [{"type": "space"}], ["linux.namespaces[0].type", "space"]),
    ("linux.namespaces", [{"type": "mount"}, {"type": "mount"}], ["linux.namespaces[1].type", "mount", "twice"]),
    ("linux.namespaces", [{"type": "mount"}, {"type": "pid", "path": "proc"}], ["linux.namespaces[1].path", "proc"]),
    ("linux.namespaces", [{"type": "pid"}], ["linux.maskedPaths", "mnt namespace"]),
    ("linux.uidMappings", [{"containerID": 0, "hostID": 0, "size": 1}], ["linux.uidMappings"]),
    ("linux.timeOffsets", {"monotonic": {"secs": 1}}, ["linux.timeOffsets.monotonic", "time namespace"]),
    ("linux.timeOffsets", {"boottime": {"nanosecs": 2 * 10**9}}, ["linux.timeOffsets.boottime"]),
    ("linux.devices", [{"path": "dev/x", "type": "c", "major": 1, "minor": 3}], ["linux.devices[0].path", "dev/x"]),
    ("linux.devices", [{"path": "/dev/x", "type": "q", "major": 1, "minor": 3}], ["linux.devices[0].type", "q"]),
    ("linux.devices", [{"path": "/dev/x", "type": "c", "major": BIG, "minor": 3}], ["linux.devices[0]", f"{BIG}:3"]),
    ("linux.cgroupsPath", "/../x", ["cgroupsPath", "/../x"]),
    ("linux.resources", {"memory": {"limit": "1m"}}, ["linux.resources.memory.limit: expected an integer", "1m"]),
    ("linux.resources", {"memory": {"disableOOMKiller": 1}}, ["linux", "resources", "disableOOMKiller"]),
    ("linux.resources", {"devices": [{"allow": True, "type": "q", "access": "rwm"}]}, ["device", "q"]),
    ("linux.resources", {"devices": [{"allow": True, "type": "c", "major": 1, "minor": 3, "access": "x"}]}, ["device", "x"]),
    ("linux.rootfsPropagation", "everywhere", ["linux.rootfsPropagation", "everywhere"]),
    ("linux.maskedPaths", ["proc/kcore"], ["linux.maskedPaths[0]", "proc/kcore"]),
    ("linux.readonlyPaths", ["x"], ["linux.readonlyPaths[0]", "x"]),
    ("linux.sysctl", {"kernel.panic": "1"}, ["kernel.panic"]),
    ("linux.sysctl", {"net.ipv4.ip_forward": 1}, ["linux.sysctl", "net.ipv4.ip_forward"]),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_X"}, ["seccomp", "SCMP_ACT_X"]),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_NOTIFY"}, ["linux.seccomp.defaultAction", "SCMP_ACT_NOTIFY"]),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PDP"]}, ["seccomp.architectures", "SCMP_ARCH_PDP"]),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "flags": ["F"]}, ["seccomp.flags", "F"]),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["write"], "action": "SCMP_ACT_NOTIFY"}]}, ["linux.seccomp.syscalls[0]", "write"]),
    ("linux.personality", {"domain": "BSD"}, ["linux: personality.domain", "BSD", "LINUX32"]),
    ("linux.personality", {"domain": "LINUX", "flags": ["F"]}, ["personality.flags", "F"]),
    ("linux.memoryPolicy", {"mode": "MPOL_X"}, ["linux: memoryPolicy.mode", "MPOL_X"]),
    ("linux.memoryPolicy", {"mode": "MPOL_BIND", "nodes": "a"}, ["memoryPolicy.nodes", "a"]),
    ("linux.netDevices", {"no/name": {}}, ["linux.netDevices.no/name"]),
    ("linux.netDevices", {"nosuch0": {"name": "eth0"}}, ["linux.netDevices.nosuch0", "no network interface"]),
    ("linux.intelRdt", {"closID": "a/b"}, ["linux.intelRdt", "a/b"]),
]


@pytest.mark.parametrize("path, value, words", WRONG, ids=[f"{i:02}-{w[0]}" for i, w in enumerate(WRONG)])
def test_wrong_member_is_named(box, path, value, words):
    cid = box.new_id()
    box.config["process"]["args"] = ["true"]
    box.save(cid)
    put(box.config, path, value)
    with open(os.path.join(box.dir, "config.json"), "w") as f:
        json.dump(box.config, f)
    p = box.cmd("run", "-b", box.dir, cid)
    said = p.stderr.replace('\\"', '"')
    assert p.returncode == 1, said
    for word in words:
        assert word in said, said
    assert [d for d in os.listdir(box.state) if not d.startswith("@")] == [] if os.path.isdir(box.state) else True
    assert cgroup_dirs(box.group) == []


def test_no_json_at_all(box):
    box.save("x")
    for text, words in (("{", "line 1"), ('{"a":1,"a":2}', "duplicate"), ("", "config.json"), ("[]", "expected an object")):
        with open(os.path.join(box.dir, "config.json"), "w") as f:
            f.write(text)
        p = box.cmd("run", "-b", box.dir, "x")
        assert p.returncode == 1 and words in p.stderr, p.stderr


def test_root_that_is_a_link(box):
    """Somebody else could turn it; the error says which path to give."""
    cid = box.new_id()
    real = os.path.join(box.dir, box.config["root"]["path"])
    link = os.path.join(box.dir, "a link")
    os.symlink(real, link)
    box.config["process"]["args"] = ["true"]
    box.config["root"]["path"] = link
    box.save(cid)
    p = box.cmd("run", "-b", box.dir, cid)
    assert p.returncode == 1 and "symlink" in p.stderr and link in p.stderr and os.path.realpath(real) in p.stderr, p.stderr
    assert cgroup_dirs(box.group) == []


def test_time_namespace(box):
    box.config["linux"]["namespaces"].append({"type": "time"})
    box.config["linux"]["timeOffsets"] = {"monotonic": {"secs": 7000, "nanosecs": 5}, "boottime": {"secs": 100000}}
    out = box.sh("cat /proc/self/timens_offsets; cut -d. -f1 /proc/uptime").split()
    assert out[:6] == ["monotonic", "7000", "5", "boottime", "100000", "0"] and int(out[6]) > 100000
    cid = box.start("sleep", "100")
    assert "100000" in box.cmd("exec", cid, "cat", "/proc/self/timens_offsets", check=True).stdout


def test_time_namespace_of_a_user_namespace(box):
    ids = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    box.config["linux"].update(uidMappings=ids, gidMappings=ids, timeOffsets={"boottime": {"secs": 5000}})
    box.config["linux"]["namespaces"] += [{"type": "time"}, {"type": "user"}]
    os.chmod(box.dir, 0o755)
    run("chown", "-R", "100000:100000", box.root)
    assert "5000" in box.sh("cat /proc/self/timens_offsets")


def test_scheduling(box):
    box.config["process"]["scheduler"] = {"policy": "SCHED_BATCH", "nice": 3}
    box.config["process"]["ioPriority"] = {"class": "IOPRIO_CLASS_IDLE", "priority": 0}
    assert box.sh("ionice; cut -d' ' -f19,41 /proc/self/stat").split() == ["idle", "3", "3"]
    box.config["process"]["execCPUAffinity"] = {"initial": "0", "final": "0"}
    cid = box.start("sleep", "100")
    assert box.cmd("exec", cid, "sh", "-c", "grep Cpus_allowed_list /proc/self/status", check=True).stdout.split()[1] == "0"
    assert box.cmd("exec", cid, "sh", "-c", "cut -d' ' -f41 /proc/self/stat", check=True).stdout == "3\n"


def test_affinity_of_the_caller_is_not_inherited(box):
    cid = box.new_id()
    box.config["process"]["args"] = ["grep", "Cpus_allowed_list", "/proc/self/status"]
    box.save(cid)
    everywhere = run("grep", "Cpus_allowed_list", "/proc/self/status").stdout
    assert box.cmd("run", "-b", box.dir, cid, preexec_fn=lambda: os.sched_setaffinity(0, {0})).stdout == everywhere


def test_mount_namespace_by_path_is_not_touched(box):
    """The container gets a root of its own there, attached nowhere: whoever lives in the namespace sees nothing of it."""
    other = subprocess.Popen(["unshare", "-m", "sleep", "100"])
    try:
        path = f"/proc/{other.pid}/ns/mnt"
        while os.readlink(path) == os.readlink("/proc/self/ns/mnt") or b"sleep" not in open(f"/proc/{other.pid}/comm", "rb").read():
            time.sleep(0.01)
        for n in box.config["linux"]["namespaces"]:
            if n["type"] == "mount":
                n["path"] = path
        mounts = open(f"/proc/{other.pid}/mountinfo").read()
        cid = box.start("sleep", "100")
        assert open(f"/proc/{other.pid}/mountinfo").read() == mounts
        assert box.cmd("exec", cid, "readlink", "/proc/self/ns/mnt", check=True).stdout.strip() == os.readlink(path)
        assert box.cmd("exec", cid, "ls", "/bin/busybox", "/dev/null", check=True).stdout.split() == ["/bin/busybox", "/dev/null"]
        assert box.cmd("exec", cid, "ls", "/usr").returncode != 0
    finally:
        other.kill()
        other.wait()


def test_personality_holds_for_exec_too(box):
    box.config["linux"]["personality"] = {"domain": "LINUX32"}
    cid = box.start("sleep", "100")
    assert box.cmd("exec", cid, "uname", "-m", check=True).stdout == "i686\n"


def test_memory_policy(box):
    box.config["linux"]["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0"}
    assert "bind:0" in box.sh("head -n 1 /proc/self/numa_maps")


def test_interface_moves_in_with_its_addresses(box):
    a, b = f"irkt{os.getpid() % 100000}a", f"irkt{os.getpid() % 100000}b"
    run("ip", "link", "add", a, "type", "veth", "peer", "name", b)
    try:
        run("ip", "address", "add", "10.213.7.2/24", "dev", a)
        box.config["linux"]["netDevices"] = {a: {"name": "eth5"}}
        out = box.sh("ip -4 address show dev eth5; ip link show eth5")
        assert "10.213.7.2/24" in out and "UP" in out
    finally:
        subprocess.run(["ip", "link", "delete", b], check=False, stderr=subprocess.DEVNULL)


def test_environment_is_set_once_and_the_last_wins(box):
    box.config["process"]["env"] += ["A=1", "B=", "A=2", "HOME="]
    assert sorted(box.out("env").split()) == ["A=2", "B=", "HOME=/root", "PATH=/bin"]


def test_seccomp_calls_that_the_profile_cannot_know(box):
    """Above the last number that a profile names the answer is ENOSYS, so that C libraries fall back."""
    base = copy.deepcopy(box.config)
    names = [line for line in ("read write close execve exit_group brk mmap mprotect munmap rt_sigaction rt_sigprocmask getuid getgid setuid setgid arch_prctl set_tid_address "
                               "set_robust_list rseq prlimit64 readlink getrandom ioctl fstat newfstatat open openat stat lstat access faccessat faccessat2 uname prctl "
                               "getpid getppid gettid futex wait4 fork vfork clone dup2 fcntl geteuid getegid sched_yield poll lseek getcwd chdir pipe pipe2").split()]
    box.config = base
    box.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]}
    p = box.run("mkdir", "/tmp/x")
    assert p.returncode == 1 and "Operation not permitted" in p.stderr
    # statx (332) is above all of these; busybox's stat would fall back, coreutils say what the kernel said.
    assert box.run("stat", "/tmp").returncode == 0


def test_listen_fds_and_notify_socket(box):
    cid = box.new_id()
    box.config["process"]["args"] = ["sh", "-c", "echo $LISTEN_FDS $LISTEN_PID $NOTIFY_SOCKET; cat <&3"]
    box.save(cid)
    r, w = os.pipe()
    os.write(w, b"passed\n")
    os.close(w)
    script = f'exec 3<&{r}; export LISTEN_FDS=1 LISTEN_PID=$$ NOTIFY_SOCKET=/nonexistent/socket; exec "$@"'
    p = subprocess.run(["bash", "-c", script, "bash", RUNTIME, "--root", box.state, "run", "-b", box.dir, cid], pass_fds=[r], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True, timeout=30, check=False)
    os.close(r)
    assert p.stdout == "1 1 /run/notify/notify.sock\npassed\n", p.stderr
