# SPDX-License-Identifier: Apache-2.0
"""What the tests that drive ireko-runtime share: a bundle with busybox to change at will, the command line over it, consoles."""
import array
import contextlib
import glob
import json
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import time

import pytest

from harness import BUILD, ROOT, run

RUNTIME = str(BUILD / "ireko-runtime")
BUSYBOX = "/bin/busybox"
CGROUPS = "/sys/fs/cgroup"
CAPS = ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETUID", "CAP_SETGID"]
MASKED = ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware"]
READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def mounts():
    with open("/proc/self/mountinfo") as f:
        return sorted(line.split(" ", 2)[2] for line in f)


def cgroup_dirs(name):
    return [d for d in glob.glob(f"{CGROUPS}/*/{name}/*/") + glob.glob(f"{CGROUPS}/{name}/*/")]


class Bundle:
    """A root filesystem with busybox, a config.json to change, and the command line over it."""

    def __init__(self, tmp):
        self.dir = str(tmp / "私の bundle")
        self.root = os.path.join(self.dir, "rootfs")
        self.state = str(tmp / "state")
        self.group = "ireko-test-" + os.path.basename(str(tmp))[-12:] + f"-{os.getpid()}"
        self.count = 0
        self.prefix = []
        for d in ("bin", "etc", "proc", "sys", "dev", "tmp"):
            os.makedirs(os.path.join(self.root, d))
        os.chmod(os.path.join(self.root, "tmp"), 0o1777)
        shutil.copy(BUSYBOX, os.path.join(self.root, "bin/busybox"))
        for name in subprocess.check_output([BUSYBOX, "--list"], text=True).split():
            if name != "busybox":
                os.symlink("busybox", os.path.join(self.root, "bin", name))
        with open(os.path.join(self.root, "etc/passwd"), "w") as f:
            f.write("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
        self.config = {
            "ociVersion": "1.1.0",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": ["true"],
                "env": ["PATH=/bin"],
                "cwd": "/",
                "noNewPrivileges": True,
                "capabilities": {k: list(CAPS) for k in ("bounding", "effective", "permitted")},
            },
            "root": {"path": "rootfs", "readonly": False},
            "hostname": "box",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                 "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                 "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
                {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                 "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=1m"]},
                {"destination": "/sys", "type": "sysfs", "source": "sysfs",
                 "options": ["nosuid", "noexec", "nodev", "ro"]},
            ],
            "linux": {
                "cgroupsPath": "",
                "resources": {"devices": [{"allow": False, "access": "rwm"}]},
                "namespaces": [{"type": t} for t in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
                "maskedPaths": list(MASKED),
                "readonlyPaths": list(READONLY),
            },
        }

    def unified(self):
        """From now on the runtime finds a plain cgroup v2 tree, as on most machines."""
        tree = CGROUPS if os.path.exists(f"{CGROUPS}/cgroup.controllers") else f"{CGROUPS}/unified"
        self.prefix = ["unshare", "-m", "sh", "-c", f'mount --bind {tree} {CGROUPS} && exec "$@"', "sh"]

    def attacker(self):
        """Puts tests/attacker.c into the root filesystem as "attack"."""
        shutil.copy(attacker(), os.path.join(self.root, "bin/attack"))

    def allow(self, *caps):
        for k in ("bounding", "effective", "permitted"):
            self.config["process"]["capabilities"][k] += [c for c in caps if c not in self.config["process"]["capabilities"][k]]

    def mount(self, destination):
        """The config's mount on a destination."""
        return next(m for m in self.config["mounts"] if m["destination"] == destination)

    def unmount(self, *destinations):
        self.config["mounts"] = [m for m in self.config["mounts"] if m["destination"] not in destinations]

    def bind(self, source, destination, *options, kind="bind"):
        self.config["mounts"].append({"destination": destination, "type": kind, "source": str(source),
                                      "options": ["rbind", *options] if kind == "bind" else list(options)})

    def user_namespace(self, host=100000, size=65536):
        ids = [{"containerID": 0, "hostID": host, "size": size}]
        self.config["linux"].update(uidMappings=ids, gidMappings=ids)
        self.config["linux"]["namespaces"].append({"type": "user"})

    def without_namespace(self, *kinds):
        self.config["linux"]["namespaces"] = [n for n in self.config["linux"]["namespaces"] if n["type"] not in kinds]

    def new_id(self):
        self.count += 1
        return f"c{self.count}"

    def save(self, cid):
        self.config["linux"]["cgroupsPath"] = f"/{self.group}/{cid}"
        with open(os.path.join(self.dir, "config.json"), "w") as f:
            json.dump(self.config, f)

    def cmd(self, *args, check=False, **kw):
        kw.setdefault("stdout", subprocess.PIPE)
        kw.setdefault("stderr", subprocess.PIPE)
        kw.setdefault("stdin", subprocess.DEVNULL)
        p = subprocess.run([*self.prefix, RUNTIME, "--root", self.state, *args], text=True, **{"timeout": 60, **kw})
        if check:
            assert p.returncode == 0, p.stderr
        return p

    def run(self, *args, **kw):
        """Runs a command in a container of its own, to its end."""
        cid = self.new_id()
        self.config["process"]["args"] = list(args)
        self.save(cid)
        return self.cmd("run", "-b", self.dir, cid, **kw)

    def out(self, *args):
        p = self.run(*args)
        assert p.returncode == 0, p.stderr
        return p.stdout

    def sh(self, script):
        return self.out("sh", "-c", script)

    def start(self, *args):
        """A container that runs in the background; its id."""
        cid = self.new_id()
        self.config["process"]["args"] = list(args)
        self.save(cid)
        # A pipe for stdio would stay open as long as the container lives.
        null = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        p = self.cmd("run", "-d", "-b", self.dir, cid, **null)
        assert p.returncode == 0
        return cid

    def status(self, cid):
        return json.loads(self.cmd("state", cid, check=True).stdout)

    def wait_stopped(self, cid):
        for _ in range(500):
            if self.status(cid)["status"] == "stopped":
                return
            time.sleep(0.01)
        raise AssertionError(f"{cid} did not stop")

    def cgroup(self, controller, cid):
        for path in (f"{CGROUPS}/{controller}/{self.group}/{cid}", f"{CGROUPS}/{self.group}/{cid}"):
            if os.path.isdir(path):
                return path
        raise AssertionError(f"no {controller} cgroup of {cid}")

    def clean(self):
        for cid in os.listdir(self.state) if os.path.isdir(self.state) else []:
            if not cid.startswith("@"):
                self.cmd("delete", "--force", cid, check=True)
        # A hierarchy has more names than one: cpu is a link to cpu,cpuacct.
        for d in {os.path.realpath(d) for d in glob.glob(f"{CGROUPS}/*/{self.group}") + glob.glob(f"{CGROUPS}/{self.group}")}:
            os.rmdir(d)


def receive_console(path, start):
    """Runs start() while listening for a console; the master's descriptor."""
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path)
        s.listen(1)
        s.settimeout(20)
        p = start()
        c, _ = s.accept()
        with c:
            fds = array.array("i")
            _, anc, _, _ = c.recvmsg(1024, socket.CMSG_SPACE(4))
            fds.frombytes(anc[0][2][:4])
        p.wait(timeout=20)
        assert p.returncode == 0
    return fds[0]


def read_until(fd, text, limit=10):
    seen = b""
    end = time.time() + limit
    while text not in seen and time.time() < end:
        try:
            data = os.read(fd, 4096)
        except OSError:
            break
        if not data:
            break
        seen += data
    assert text in seen, seen
    return seen


def has_controllers():
    path = f"{CGROUPS}/cgroup.controllers"
    return not os.path.exists(path) or "memory" in open(path).read()


needs_controllers = pytest.mark.skipif(not has_controllers(), reason="the cgroup v2 tree has no controllers here")


_attacker = {}


def attacker():
    """tests/attacker.c, compiled once: a static program that does what hostile containers and neighbours do."""
    if "path" not in _attacker:
        folder = tempfile.TemporaryDirectory(prefix="irk-attacker-")
        path = os.path.join(folder.name, "attack")
        run("gcc", "-std=gnu17", "-O1", "-Wall", "-Werror", "-static", str(ROOT / "tests/attacker.c"), "-o", path)
        _attacker.update(folder=folder, path=path)
    return _attacker["path"]


@contextlib.contextmanager
def swapping(a, b):
    """A hostile neighbour that exchanges two names of the host as fast as it can."""
    p = subprocess.Popen([attacker(), "swap", str(a), str(b)])
    try:
        yield
    finally:
        assert p.poll() is None, "the swapper ended by itself: nothing was raced"
        p.kill()
        p.wait()


def snapshot(folder):
    """Everything in a directory of the host that a container might have changed."""
    seen = {}
    for where, dirs, files in os.walk(folder):
        for name in dirs + files:
            path = os.path.join(where, name)
            st = os.lstat(path)
            what = os.readlink(path) if stat.S_ISLNK(st.st_mode) else open(path, "rb").read() if stat.S_ISREG(st.st_mode) else b""
            seen[os.path.relpath(path, folder)] = (st.st_mode, st.st_uid, st.st_gid, what)
    return seen
