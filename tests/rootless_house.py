# SPDX-License-Identifier: Apache-2.0
"""What the tests of user namespaces share: a user, and a bundle of his or of root's.

The user exists only in a mount namespace of the test's own, whose /etc/passwd, /etc/subuid and so on are copies with a line more: nothing of the machine changes,
and newuidmap(1) believes it all the same.
"""
import contextlib
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import tempfile

import pytest

import harness

# Files of tests that run at once have users of their own.
UID, GID, NAME = 12345 + 10 * harness.WORKER, 12346 + 10 * harness.WORKER, "irkuser"
SUB, SUB_N = 700000, 5000
RUNTIME = str(harness.BUILD / "ireko-runtime")
CGROUPS = pathlib.Path("/sys/fs/cgroup")
UNIFIED = CGROUPS if (CGROUPS / "cgroup.controllers").exists() else CGROUPS / "unified"
NULL = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def add_busybox(rootfs):
    for d in ("bin", "etc", "tmp", "home"):
        (rootfs / d).mkdir(parents=True)
    (rootfs / "tmp").chmod(0o1777)
    shutil.copy(harness.program("busybox", "tools/deps test"), rootfs / "bin/busybox")
    for name in subprocess.check_output([rootfs / "bin/busybox", "--list"], text=True).split():
        if name != "busybox":
            (rootfs / "bin" / name).symlink_to("busybox")
    (rootfs / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n")


def chown_tree(top, uid, gid):
    for path, dirs, files in os.walk(top):
        for name in [".", *dirs, *files]:
            os.chown(os.path.join(path, name), uid, gid, follow_symlinks=False)


class House:
    """A folder of the user's in /tmp with a bundle, and a mount namespace in which the user exists."""

    def __init__(self, uid=UID, gid=GID):
        self.uid, self.gid = uid, gid
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="irk-rootless-"))
        self.dir.chmod(0o755)
        self.bundle = self.dir / "私の bundle"
        self.rootfs = self.bundle / "rootfs"
        self.xdg = self.dir / "xdg"
        self.etc = self.dir / "etc"
        self.group = "ireko-rl-" + self.dir.name[-8:]
        self.own, self.cgroups, self.count = uid, [], 0
        add_busybox(self.rootfs)
        for d in (self.xdg, self.etc):
            d.mkdir()
        self.xdg.chmod(0o700)
        chown_tree(self.dir, uid, gid)
        self.holder = None
        self.args = ["--root", str(self.dir / "state")]
        self.spec()

    def write_tables(self, subuid=f"{NAME}:{SUB}:{SUB_N}\n", subgid=f"{NAME}:{SUB}:{SUB_N}\n"):
        passwd = pathlib.Path("/etc/passwd").read_text() + f"{NAME}:x:{UID}:{GID}::{self.dir}:/bin/sh\n"
        group = pathlib.Path("/etc/group").read_text() + f"{NAME}:x:{GID}:\n"
        for name, text in {"passwd": passwd, "group": group, "subuid": subuid, "subgid": subgid}.items():
            (self.etc / name).write_text(text)

    def hold(self):
        """A process that keeps the mount namespace; commands enter it."""
        if self.holder:
            return
        self.write_tables()
        binds = "; ".join(f"[ -e /etc/{n} ] || exit 3; mount --bind {self.etc}/{n} /etc/{n}" for n in ("passwd", "group", "subuid", "subgid"))
        script = f"set -e; {binds}; mkdir -p /run/user; mount -t tmpfs tmpfs /run/user; mkdir -p /run/user/{UID}; chown {UID}:{GID} /run/user/{UID}; echo; exec sleep 1000"
        self.holder = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sh", "-c", script], stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout.readline() == "\n", "the mount namespace of the test could not be made (is the package uidmap there?)"

    def as_user(self, *args, env=None, before=""):
        """The command line of a program run by the user; `before` is a line of shell that root runs first."""
        self.hold()
        full = {"HOME": str(self.dir), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "XDG_RUNTIME_DIR": str(self.xdg), **(env or {})}
        pairs = [f"{k}={v}" for k, v in full.items() if v is not None]
        drop = ["setpriv", "--reuid", str(self.uid), "--regid", str(self.gid), "--clear-groups", "--", "env", "-i", *pairs]
        line = f"cd {shlex.quote(str(self.bundle))}; {before or ':'}; exec {shlex.join([*drop, *map(str, args)])}"
        return ["nsenter", "-t", str(self.holder.pid), "-m", "--", "sh", "-c", line]

    def cmd(self, *args, check=False, options=(), env=None, before="", **kw):
        kw.setdefault("stdout", subprocess.PIPE)
        kw.setdefault("stderr", subprocess.PIPE)
        kw.setdefault("stdin", subprocess.DEVNULL)
        p = subprocess.run(self.as_user(RUNTIME, *self.args, *options, *args, env=env, before=before), text=True, timeout=60, check=False, **kw)
        if check:
            assert p.returncode == 0, p.stderr
        return p

    def spec(self):
        """What `spec --rootless` writes, without a terminal."""
        (self.bundle / "config.json").unlink(missing_ok=True)
        p = subprocess.run(self.as_user(RUNTIME, "spec", "--rootless"), capture_output=True, text=True, check=False)
        assert p.returncode == 0, p.stderr
        self.config = json.loads((self.bundle / "config.json").read_text())
        self.config["process"]["terminal"] = False
        self.config["process"]["env"] = ["PATH=/bin"]

    def ranges(self):
        """Maps a range of /etc/subuid behind the own id."""
        self.config["linux"]["uidMappings"] = [{"containerID": 0, "hostID": UID, "size": 1}, {"containerID": 1, "hostID": SUB, "size": SUB_N}]
        self.config["linux"]["gidMappings"] = [{"containerID": 0, "hostID": GID, "size": 1}, {"containerID": 1, "hostID": SUB, "size": SUB_N}]

    def give(self, capability):
        for names in self.config["process"]["capabilities"].values():
            names.append(capability)

    def namespace(self, kind):
        return next((n for n in self.config["linux"]["namespaces"] if n["type"] == kind), None)

    def drop_namespace(self, kind):
        self.config["linux"]["namespaces"] = [n for n in self.config["linux"]["namespaces"] if n["type"] != kind]

    def bind_proc(self):
        for m in self.config["mounts"]:
            if m["destination"] == "/proc":
                m.update(type="none", source="/proc", options=["rbind", "nosuid", "nodev", "noexec"])

    def save(self, *args):
        self.count += 1
        if args:
            self.config["process"]["args"] = list(args)
        (self.bundle / "config.json").write_text(json.dumps(self.config))
        return f"c{os.getpid()}-{self.count}"

    def run(self, *args, **kw):
        return self.cmd("run", self.save(*args), **kw)

    def sh(self, script, **kw):
        p = self.run("sh", "-c", script, **kw)
        assert p.returncode == 0, p.stderr
        return p.stdout

    def start(self, *args, **kw):
        cid = self.save(*args)
        err = self.dir / "stderr"
        with open(err, "w", encoding="utf-8") as f:
            p = self.cmd("run", "-d", cid, stdout=subprocess.DEVNULL, stderr=f, **kw)
        self.warning = err.read_text()
        assert p.returncode == 0, self.warning
        return cid

    def status(self, cid, **kw):
        return json.loads(self.cmd("state", cid, check=True, **kw).stdout)

    def pid(self, cid):
        return self.status(cid)["pid"]

    def delegate(self, controllers=()):
        """Makes the user a cgroup of its own in the unified tree and in these controllers; what root has to run to be inside it."""
        lines = []
        tops = [UNIFIED / self.group] + [CGROUPS / c / self.group for c in controllers if UNIFIED != CGROUPS]
        for top in tops:
            if top.parent == CGROUPS:
                for c in controllers:
                    (CGROUPS / "cgroup.subtree_control").write_text(f"+{c}")
            for d in (top, top / "self"):
                d.mkdir()
                self.cgroups.insert(0, d)
                for f in (".", "cgroup.procs", "tasks", "cgroup.subtree_control"):
                    with contextlib.suppress(FileNotFoundError):
                        os.chown(d / f, self.uid, self.gid)
            for c in controllers if top.parent == CGROUPS else ():
                (top / "cgroup.subtree_control").write_text(f"+{c}")
            lines.append(f"echo 0 > {top}/self/cgroup.procs")
        return "; ".join(lines)

    def end(self):
        state = pathlib.Path(self.args[1]) if self.args else self.xdg / "ireko-runtime"
        for cid in sorted(os.listdir(state)) if state.is_dir() else []:
            if not cid.startswith("@"):
                self.cmd("delete", "--force", cid, check=True)
        left = [c for c in os.listdir(state) if not c.startswith("@")] if state.is_dir() else []
        if self.holder:
            self.holder.kill()
            self.holder.wait()
            self.holder.stdout.close()
        groups = [p for d in {d for d in self.cgroups if d.name != "self"} for p in d.iterdir() if p.is_dir() and p.name != "self"]
        for d in self.cgroups:
            harness.wait_until(f"{d} is empty", lambda d=d: not (d / "cgroup.procs").read_text())
            d.rmdir()
        shutil.rmtree(self.dir)
        assert left == [] and groups == []

@pytest.fixture(name="house")
def fixture_house():
    h = House()
    yield h
    h.end()


@pytest.fixture(name="root_house")
def fixture_root_house():
    """The same, but root's, with a user namespace of a range of ids that owns the root file system."""
    h = House(0, 0)
    for key in ("uidMappings", "gidMappings"):
        h.config["linux"][key] = [{"containerID": 0, "hostID": SUB, "size": SUB_N}]
    h.config["linux"]["namespaces"].append({"type": "network"})
    chown_tree(h.rootfs, SUB, SUB)
    yield h
    h.end()

def mapped(pid, kind="uid"):
    return [tuple(map(int, line.split())) for line in pathlib.Path(f"/proc/{pid}/{kind}_map").read_text().splitlines()]


def ns_of(pid, kind):
    return os.readlink(f"/proc/{pid}/ns/{kind}")
