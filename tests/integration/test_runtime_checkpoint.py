# SPDX-License-Identifier: Apache-2.0
"""checkpoint and restore of ireko-runtime: what criu is asked for, what it is given, and what is left when it fails. criu is tests/fake_criu.py here, which
runs on every kernel; the real one, which Debian has for its own kernels, is met in tests/vm."""
import json
import os
import pathlib
import pty
import shutil
import stat
import subprocess

import pytest

import harness
from runtime_bundle import CGROUPS, RUNTIME, Bundle, mounts, read_until, receive_console

NEWNET = 0x40000000
DUMP, RESTORE, PRE_DUMP, FEATURE_CHECK, VERSION = 1, 2, 4, 9, 10
MODES = {"ignore": 0, "soft": 3, "full": 4, "strict": 5}


class Frozen(Bundle):
    """A bundle with the stand-in for criu in $PATH."""

    def __init__(self, tmp):
        super().__init__(tmp)
        self.tmp = tmp
        self.images, self.work = str(tmp / "イメージ"), str(tmp / "work")
        self.criu = tmp / "criu"
        (self.criu / "bin").mkdir(parents=True)
        wrapper = self.criu / "bin/criu"
        wrapper.write_text(f"#!/bin/sh\nexec /usr/bin/python3 {harness.ROOT}/tests/fake_criu.py \"$@\"\n")
        wrapper.chmod(0o755)
        self.plan()

    def plan(self, **what):
        (self.criu / "plan.json").write_text(json.dumps(what))
        (self.criu / "calls.jsonl").unlink(missing_ok=True)

    def env(self):
        return {**os.environ, "PATH": f"{self.criu}/bin:{os.environ['PATH']}", "FAKE_CRIU": str(self.criu)}

    def calls(self):
        path = self.criu / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def call(self, *kinds):
        """The one call of these kinds."""
        found = [c for c in self.calls() if c["type"] in kinds]
        assert len(found) == 1, self.calls()
        return found[0]

    def checkpoint(self, cid, *args, **kw):
        return self.cmd("checkpoint", "--image-path", self.images, "--work-path", self.work, *args, cid, env=self.env(), **kw)

    def restore(self, cid, *args, **kw):
        return self.cmd("restore", "--image-path", self.images, "--work-path", self.work, "-b", self.dir, *args, cid, env=self.env(), **kw)

    def frozen(self, *args):
        """A container that was checkpointed; its id, which is free again."""
        cid = self.start("sleep", "100")
        p = self.checkpoint(cid, *args)
        assert p.returncode == 0, p.stderr
        self.plan()
        return cid


@pytest.fixture
def ice(tmp_path):
    before = mounts()
    b = Frozen(tmp_path)
    yield b
    b.clean()
    assert [c for c in (os.listdir(b.state) if os.path.isdir(b.state) else []) if not c.startswith("@")] == []
    assert [m for m in mounts() if m not in before and str(tmp_path) in m] == []


def left_of(box, cid):
    return (os.path.exists(f"{box.state}/{cid}"), [*pathlib.Path(CGROUPS).glob(f"*/{box.group}/{cid}"), *pathlib.Path(CGROUPS).glob(f"{box.group}/{cid}")])


GONE = (False, [])


# --- without criu, or with one that will not do ---


@pytest.mark.parametrize("verb", ["checkpoint", "restore"])
def test_criu_is_not_installed(ice, verb):
    cid = ice.start("sleep", "100")
    name = cid if verb == "checkpoint" else "new"
    p = ice.cmd(verb, "--image-path", ice.images, *(["-b", ice.dir] if verb == "restore" else []), name, env={"PATH": "/nowhere"})
    assert p.returncode == 1 and "criu is not installed: " in p.stderr and "package criu" in p.stderr
    assert ice.status(cid)["status"] == "running" and left_of(ice, "new") == GONE


@pytest.mark.parametrize("verb", ["checkpoint", "restore"])
def test_old_criu(ice, verb):
    ice.plan(version=[2, 12, 0])
    cid = ice.start("sleep", "100")
    p = ice.checkpoint(cid) if verb == "checkpoint" else ice.restore("new")
    assert p.returncode == 1 and "criu 2.12 is too old" in p.stderr
    assert ice.status(cid)["status"] == "running"


@pytest.mark.parametrize("option, feature", [("--pre-dump", "mem_track"), ("--lazy-pages", "lazy_pages")])
def test_features_that_are_missing(ice, option, feature):
    ice.plan(features={feature: False})
    cid = ice.start("sleep", "100")
    p = ice.checkpoint(cid, option)
    assert p.returncode == 1 and "criu is missing features" in p.stderr
    assert ice.call(FEATURE_CHECK)["features"][feature] is True and ice.status(cid)["status"] == "running"


# --- checkpoint ---


def test_checkpoint(ice):
    cid = ice.start("sleep", "100")
    pid = ice.status(cid)["pid"]
    p = ice.checkpoint(cid)
    assert p.returncode == 0, p.stderr
    call = ice.call(DUMP)
    options = call["opts"]
    flags = ("leave_running", "tcp_established", "tcp_skip_in_flight", "link_remap", "ext_unix_sk", "shell_job", "file_locks", "auto_dedup", "lazy_pages")
    assert {f: options[f] for f in flags} == dict.fromkeys(flags, False)
    assert options["pid"] == pid and options["root"] == ice.root and options["empty_ns"] == NEWNET
    assert options["log_file"] == "dump.log" and options["log_level"] == 4 and options["config_file"] == "/etc/criu/runc.conf"
    assert options["manage_cgroups"] and options["notify_scripts"] and options["orphan_pts_master"] and options["manage_cgroups_mode"] == 6
    assert not {"ps", "parent_img", "track_mem", "external", "join_ns", "lsm_profile", "status_fd"} & set(options)
    assert call["seen"]["images"] == ice.images and call["seen"]["work"] == ice.work
    assert call["seen"]["answers"] == [[s, True] for s in ("pre-dump", "network-lock", "post-dump", "network-unlock")]
    assert stat.S_IMODE(os.stat(ice.images).st_mode) == 0o700
    assert sorted(os.listdir(ice.images)) == ["descriptors.json", "inventory.img"]
    # It is gone as a deleted container is.
    assert "does not exist" in ice.cmd("state", cid).stderr and left_of(ice, cid) == GONE


def test_default_directories(ice):
    cid = ice.start("sleep", "100")
    p = ice.cmd("checkpoint", cid, env=ice.env(), cwd=ice.tmp)
    assert p.returncode == 0, p.stderr
    seen = ice.call(DUMP)["seen"]
    assert seen["images"] == seen["work"] == str(ice.tmp / "checkpoint") and "work_dir_fd" not in ice.call(DUMP)["opts"]
    assert (ice.tmp / "checkpoint/dump.log").exists()


def test_criu_gets_no_descriptor_but_its_own(ice):
    cid = ice.start("sleep", "100")
    assert ice.checkpoint(cid).returncode == 0
    fds = ice.call(DUMP)["seen"]["descriptors"]
    assert {n for n in fds if int(n) < 10} <= {"0", "1", "2", "3", "4", "5", "6"}  # 6: python's own, while it looks
    assert [fds[n] for n in "012"] == ["/dev/null"] * 3 and fds["4"] == ice.images and fds["5"] == ice.work


FLAGS = ["leave-running", "tcp-established", "tcp-skip-in-flight", "link-remap", "ext-unix-sk", "shell-job", "file-locks", "auto-dedup", "lazy-pages"]


@pytest.mark.parametrize("flag", FLAGS)
def test_flags_of_checkpoint(ice, flag):
    cid = ice.start("sleep", "100")
    assert ice.checkpoint(cid, "--" + flag).returncode == 0
    options = ice.call(DUMP)["opts"]
    assert {f for f in FLAGS if options[f.replace("-", "_")]} == {flag}
    exists = ice.cmd("state", cid).returncode == 0
    assert exists == (flag == "leave-running")


@pytest.mark.parametrize("flag", ["tcp-established", "ext-unix-sk", "shell-job", "file-locks", "auto-dedup", "lazy-pages"])
def test_flags_of_restore(ice, flag):
    cid = ice.frozen()
    assert ice.restore(cid, "-d", "--" + flag, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    options = ice.call(RESTORE)["opts"]
    assert {f for f in FLAGS if options.get(f.replace("-", "_"))} == {flag}


@pytest.mark.parametrize("mode", [*MODES, "other"])
def test_cgroup_mode(ice, mode):
    cid = ice.start("sleep", "100")
    p = ice.checkpoint(cid, "--manage-cgroups-mode", mode)
    if mode == "other":
        assert p.returncode == 1 and "--manage-cgroups-mode" in p.stderr and "expected soft, full, strict or ignore" in p.stderr and ice.status(cid)["status"] == "running"
    else:
        assert p.returncode == 0 and ice.call(DUMP)["opts"]["manage_cgroups_mode"] == MODES[mode]


@pytest.mark.parametrize("text, want", [
    ("10.0.0.1:1234", {"address": "10.0.0.1", "port": 1234}), ("[fd00::1]:80", {"address": "fd00::1", "port": 80}),
    ("host", None), (":1", None), ("host:", None), ("host:x", None), ("host:70000", None),
])
def test_page_server(ice, text, want):
    cid = ice.start("sleep", "100")
    p = ice.checkpoint(cid, "--page-server", text)
    if want:
        assert p.returncode == 0 and ice.call(DUMP)["opts"]["ps"] == want
    else:
        assert p.returncode == 1 and ("--page-server ADDRESS:PORT" in p.stderr or "port number" in p.stderr)
        assert ice.status(cid)["status"] == "running"


def test_pre_dump(ice):
    cid = ice.start("sleep", "100")
    parent = ice.tmp / "parent"
    p = ice.cmd("checkpoint", "--pre-dump", "--image-path", str(parent), cid, env=ice.env())
    assert p.returncode == 0, p.stderr
    options = ice.call(PRE_DUMP)["opts"]
    assert "ext_mnt" not in options and sorted(os.listdir(parent)) == ["dump.log", "inventory.img"]
    assert ice.status(cid)["status"] == "running"
    ice.plan()
    assert ice.checkpoint(cid, "--parent-path", "../parent").returncode == 0
    options = ice.call(DUMP)["opts"]
    assert options["parent_img"] == "../parent" and options["track_mem"] is True


def test_bad_parent(ice):
    cid = ice.start("sleep", "100")
    (ice.tmp / "file").touch()
    for path, text in ((str(ice.tmp), "--parent-path must be relative"), ("../none", "invalid --parent-path"), ("../file", "invalid --parent-path")):
        p = ice.checkpoint(cid, "--parent-path", path)
        assert p.returncode == 1 and text in p.stderr, p.stderr
    assert ice.status(cid)["status"] == "running" and not [c for c in ice.calls() if c["type"] == DUMP]


def test_empty_ns(ice):
    cid = ice.start("sleep", "100")
    p = ice.checkpoint(cid, "--empty-ns", "user")
    assert p.returncode == 1 and "user" in p.stderr and "is not supported" in p.stderr
    assert ice.checkpoint(cid, "--empty-ns", "network").returncode == 0


def test_states_that_cannot_be_frozen(ice):
    cid = ice.new_id()
    ice.config["process"]["args"] = ["sleep", "100"]
    ice.save(cid)
    assert ice.cmd("create", "-b", ice.dir, cid, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    assert "cannot be checkpointed in created state" in ice.checkpoint(cid).stderr
    ice.cmd("start", cid, check=True)
    ice.cmd("pause", cid, check=True)
    assert ice.checkpoint(cid, "--leave-running").returncode == 0
    ice.cmd("resume", cid, check=True)
    ice.cmd("kill", cid, "KILL", check=True)
    ice.wait_stopped(cid)
    assert "cannot be checkpointed in stopped state" in ice.checkpoint(cid).stderr
    assert "does not exist" in ice.checkpoint("none").stderr


def test_what_is_outside(ice):
    os.makedirs(ice.root + "/real/conf")
    os.symlink("/real/conf", ice.root + "/conf")
    ice.bind(ice.tmp, "/data", "ro")
    ice.config["mounts"].append({"destination": "/conf", "type": "bind", "source": "..", "options": ["bind"]})
    ice.config["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]})
    ice.config["linux"]["devices"] = [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]
    cid = ice.start("sleep", "100")
    dirs = {d.parent.parent.name for d in pathlib.Path(CGROUPS).glob(f"*/{ice.group}/{cid}") if d.parent.parent.is_dir() and not d.parent.parent.is_symlink()}
    assert ice.checkpoint(cid, "--leave-running").returncode == 0
    dumped = {m["key"]: m["val"] for m in ice.call(DUMP)["opts"]["ext_mnt"]}
    for path in ("/data", "/real/conf", "/dev/fuse", "/dev/null", "/dev/tty"):
        assert dumped[path] == path
    assert dumped["/proc/keys"] == "/dev/null" and "/sys/firmware" not in dumped
    unified = os.path.exists(f"{CGROUPS}/cgroup.controllers")
    own = {"/sys/fs/cgroup": f"/sys/fs/cgroup/{ice.group}/{cid}"} if unified else {f"/sys/fs/cgroup/{n}": f"/sys/fs/cgroup/{n}/{ice.group}/{cid}" for n in dirs}
    assert own and all(dumped[point] == point for point in own)
    ice.cmd("delete", "-f", cid, check=True)
    ice.plan()
    assert ice.restore(cid, "-d", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    restored = {m["key"]: m["val"] for m in ice.call(RESTORE)["opts"]["ext_mnt"]}
    assert restored["/data"] == str(ice.tmp) and restored["/real/conf"] == str(ice.tmp) and restored["/dev/fuse"] == "/dev/fuse"
    assert restored["/dev/null"] == "/dev/null" and "/proc/keys" not in restored
    assert all(restored[point] == source for point, source in own.items())


def test_freezer(ice):
    cid = ice.start("sleep", "100")
    assert ice.checkpoint(cid).returncode == 0
    path = ice.call(DUMP)["opts"]["freeze_cgroup"]
    assert path.endswith(f"/{ice.group}/{cid}") and path.startswith(CGROUPS)


@pytest.mark.parametrize("annotation, want", [("/tmp/mine.conf", "/tmp/mine.conf"), ("", None)])
def test_config_file_of_the_container(ice, annotation, want):
    ice.config["annotations"] = {"org.criu.config": annotation}
    cid = ice.frozen("--leave-running")
    ice.cmd("delete", "-f", cid, check=True)
    assert ice.restore(cid, "-d", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    assert ice.call(RESTORE)["opts"].get("config_file") == want


def test_network_and_pid_namespaces_by_path(ice):
    cid = ice.start("sleep", "100")
    pid = ice.status(cid)["pid"]
    for n in ice.config["linux"]["namespaces"]:
        if n["type"] in ("network", "pid", "ipc"):
            n["path"] = f"/proc/{pid}/ns/" + {"network": "net"}.get(n["type"], n["type"])
    second = ice.start("sleep", "100")
    assert ice.checkpoint(second).returncode == 0
    net, pids = (os.stat(f"/proc/{pid}/ns/{n}").st_ino for n in ("net", "pid"))
    assert ice.call(DUMP)["opts"]["external"] == [f"net[{net}]:extRootNetNS", f"pid[{pids}]:extRootPidNS"]
    ice.plan()
    assert ice.restore(second, "-d", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    call = ice.call(RESTORE)
    keys = {i["key"]: call["seen"]["descriptors"][str(i["fd"])] for i in call["opts"]["inherit_fd"]}
    assert keys == {"extRootNetNS": f"net:[{net}]", "extRootPidNS": f"pid:[{pids}]"}
    assert call["opts"]["join_ns"] == [{"ns": "ipc", "ns_file": f"/proc/{pid}/ns/ipc"}]
    ice.cmd("delete", "-f", second, check=True)


def test_status_fd(ice):
    ice.plan(notices=["status-ready"])
    cid = ice.start("sleep", "100")
    r, w = os.pipe()
    p = ice.checkpoint(cid, "--lazy-pages", "--status-fd", str(w), pass_fds=[w])
    os.close(w)
    assert p.returncode == 0, p.stderr
    assert os.read(r, 10) == b"\0" and os.read(r, 10) == b""
    os.close(r)


def test_bad_status_fd(ice):
    cid = ice.start("sleep", "100")
    r, w = os.pipe()
    for fd, text in ((r, "not writable"), (999, "invalid --status-fd argument 999")):
        p = ice.checkpoint(cid, "--lazy-pages", "--status-fd", str(fd), pass_fds=[r])
        assert p.returncode == 1 and text in p.stderr, p.stderr
    ice.plan(version=[3, 14, 0])
    p = ice.checkpoint(cid, "--lazy-pages", "--status-fd", str(w), pass_fds=[w])
    assert p.returncode == 1 and "--status-fd requires at least CRIU 3.15" in p.stderr
    os.close(r)
    os.close(w)


def test_checkpoint_that_fails(ice):
    ice.plan(error={"errno": 16, "text": "the first error\n"}, log="(00.1) fine\n(00.2) Error (criu/x.c:1): cannot\n(00.3) Error (criu/y.c:2): so neither\n")
    cid = ice.start("sleep", "100")
    p = ice.checkpoint(cid)
    assert p.returncode == 1
    for text in (f"checkpoint of container {cid}", "criu failed: type dump errno 16: the first error", "criu/x.c:1", "criu/y.c:2", f"{ice.work}/dump.log"):
        assert text in p.stderr, p.stderr
    assert "fine" not in p.stderr and ice.status(cid)["status"] == "running"
    assert ice.cmd("exec", cid, "echo", "alive", check=True).stdout == "alive\n"


def test_criu_that_dies(ice):
    ice.plan(die=True)
    cid = ice.start("sleep", "100")
    p = ice.checkpoint(cid)
    assert p.returncode == 1 and "criu ended without an answer" in p.stderr and ice.status(cid)["status"] == "running"


def test_pipes_are_remembered(ice):
    r, w = os.pipe()
    name = os.readlink(f"/proc/self/fd/{w}")
    cid = ice.new_id()
    ice.config["process"]["args"] = ["sh", "-c", "exec >/dev/null; sleep 100"]
    ice.save(cid)
    assert ice.cmd("run", "-d", "-b", ice.dir, cid, stdout=w, stderr=subprocess.DEVNULL).returncode == 0
    os.close(w)
    assert ice.checkpoint(cid).returncode == 0
    assert json.loads(pathlib.Path(ice.images, "descriptors.json").read_text()) == ["", name, ""]
    ice.plan()
    r2, w2 = os.pipe()
    assert ice.restore(cid, "-d", stdout=w2, stderr=subprocess.DEVNULL).returncode == 0
    call = ice.call(RESTORE)
    assert call["opts"]["inherit_fd"] == [{"key": name, "fd": 1}]
    assert call["seen"]["descriptors"]["1"] == os.readlink(f"/proc/self/fd/{w2}")
    for fd in (r, r2, w2):
        os.close(fd)


# --- restore ---


def test_restore(ice):
    cid = ice.frozen()
    pid_file = ice.tmp / "pid"
    p = ice.restore(cid, "-d", "--pid-file", str(pid_file), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert p.returncode == 0
    s = ice.status(cid)
    assert s["status"] == "running" and int(pid_file.read_text()) == s["pid"] and s["bundle"] == ice.dir and s["owner"] == "root"
    call = ice.call(RESTORE)
    options, seen = call["opts"], call["seen"]
    assert options["rst_sibling"] and options["evasive_devices"] and options["empty_ns"] == NEWNET and options["log_file"] == "restore.log"
    assert "pid" not in options and "external" not in options and "inherit_fd" not in options
    assert seen["images"] == ice.images and seen["work"] == ice.work
    # It is in a mount namespace of its own, where the root file system has a place.
    assert options["root"] == f"{ice.state}/{cid}/criu-root" and seen["root_is_mount"] and {"bin", "etc", "proc"} <= set(seen["root"])
    assert seen["mount_namespace"] != os.readlink("/proc/self/ns/mnt") and not os.path.exists(options["root"])
    # And in the container's cgroup, to which the dumped ones are mapped.
    lines = [line.split(":", 2) for line in seen["cgroup"].splitlines()]
    assert {(c["ctrl"], c["path"]) for c in options["cg_root"]} == {(name, path) for _, names, path in lines for name in names.split(",")}
    assert f"/{ice.group}/{cid}" in seen["cgroup"]
    ice.cmd("kill", cid, "KILL", check=True)
    ice.wait_stopped(cid)
    ice.cmd("delete", cid, check=True)


def test_restore_in_the_foreground(ice):
    cid = ice.frozen()
    ice.plan(command=["sh", "-c", "echo thawed; exit 7"])
    p = ice.restore(cid)
    assert (p.returncode, p.stdout) == (7, "thawed\n") and left_of(ice, cid) == GONE


def test_console_of_a_restored_container(ice):
    ice.config["process"]["terminal"] = True
    cid = ice.new_id()
    ice.config["process"]["args"] = ["sleep", "100"]
    ice.save(cid)
    path = str(ice.tmp / "console.sock")
    args = ["create", "-b", ice.dir, "--console-socket", path, cid]
    fd = receive_console(path, lambda: subprocess.Popen([RUNTIME, "--root", ice.state, *args]))
    ice.cmd("start", cid, check=True)
    assert ice.checkpoint(cid).returncode == 0
    os.close(fd)
    p = ice.restore(cid, "-d")
    assert p.returncode == 1 and "without setting console socket" in p.stderr
    ice.plan(terminal=True)
    os.unlink(path)
    fd = receive_console(path, lambda: subprocess.Popen(
        [RUNTIME, "--root", ice.state, "restore", "-d", "--image-path", ice.images, "-b", ice.dir, "--console-socket", path, cid], env=ice.env()))
    assert stat.S_ISCHR(os.fstat(fd).st_mode) and os.isatty(fd)
    os.close(fd)


def test_terminal_in_the_foreground(ice):
    ice.config["process"]["terminal"] = True
    cid = ice.new_id()
    ice.save(cid)
    os.makedirs(ice.images)
    pathlib.Path(ice.images, "descriptors.json").write_text('["","",""]')
    ice.plan(terminal=True, command=["true"])
    master, slave = pty.openpty()
    p = subprocess.Popen([RUNTIME, "--root", ice.state, "restore", "--image-path", ice.images, "-b", ice.dir, cid],
                         env=ice.env(), stdin=slave, stdout=slave, stderr=slave)
    assert p.wait(timeout=30) == 0, read_until(master, b"\n")
    os.close(master)
    os.close(slave)
    assert ["orphan-pts-master", True] in ice.call(RESTORE)["seen"]["answers"]


def test_mount_points_are_made_again(ice):
    inner = ice.tmp / "inner"
    inner.mkdir()
    (ice.tmp / "leaf").touch()
    ice.bind(inner, "/outer")
    ice.bind(ice.tmp / "leaf", "/outer/for/nested")
    ice.config["mounts"].append({"destination": "/dev/shm/deep", "type": "tmpfs", "source": "tmpfs"})
    cid = ice.frozen()
    shutil.rmtree(inner / "for")
    shutil.rmtree(ice.root + "/outer")
    shutil.rmtree(ice.root + "/proc")
    ice.plan(points=["/outer", "/proc", "/dev/shm/deep"])
    assert ice.restore(cid, "-d", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    assert ice.call(RESTORE)["seen"]["points"] == {"/outer": True, "/proc": True, "/dev/shm/deep": False}
    assert (inner / "for/nested").is_file() and os.listdir(ice.root + "/outer") == []


def test_hooks_of_restore(ice):
    for kind in ("prestart", "createRuntime", "poststart"):
        ice.config.setdefault("hooks", {})[kind] = [
            {"path": "/bin/sh", "args": ["sh", "-c", f"cat > {ice.tmp}/{kind}"], "env": ["PATH=/bin"]}]
    cid = ice.frozen()
    for kind in ("prestart", "createRuntime", "poststart"):
        (ice.tmp / kind).unlink()
    assert ice.restore(cid, "-d", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    state = json.loads((ice.tmp / "createRuntime").read_text())
    assert state["id"] == cid and state["pid"] == ice.status(cid)["pid"] and (ice.tmp / "prestart").exists()
    assert not (ice.tmp / "poststart").exists()


def test_hook_that_fails(ice):
    cid = ice.frozen()
    ice.config["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}
    ice.save(cid)
    p = ice.restore(cid, "-d")
    assert p.returncode == 1 and "createRuntime hook #0" in p.stderr and "/bin/false" in p.stderr
    assert ["setup-namespaces", False] in ice.call(RESTORE)["seen"]["answers"] and left_of(ice, cid) == GONE


@pytest.mark.parametrize("plan", [{"error": {"text": "no such thing"}}, {"late_error": True}])
def test_restore_that_fails(ice, plan):
    cid = ice.frozen()
    ice.plan(**plan, log="Error (criu/z.c:3): alas\n")
    p = ice.restore(cid, "-d")
    assert p.returncode == 1 and "criu failed: type restore" in p.stderr and "criu/z.c:3" in p.stderr and f"{ice.work}/restore.log" in p.stderr
    assert left_of(ice, cid) == GONE
    assert not [p for p in os.listdir("/proc") if p.isdigit() and _runs_fake(p, ice.criu)]


def _runs_fake(pid, folder):
    try:
        return f"FAKE_CRIU={folder}".encode() in pathlib.Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def test_restore_without_images(ice):
    cid = ice.new_id()
    ice.save(cid)
    p = ice.restore(cid, "-d")
    assert p.returncode == 1 and ice.images in p.stderr and left_of(ice, cid) == GONE
    os.makedirs(ice.images)
    p = ice.restore(cid, "-d")
    assert p.returncode == 1 and "descriptors.json" in p.stderr and left_of(ice, cid) == GONE


def test_restore_where_one_is(ice):
    ice.frozen()
    other = ice.start("sleep", "100")
    p = ice.restore(other, "-d")
    assert p.returncode == 1 and f"container with id exists: {other}" in p.stderr and ice.status(other)["status"] == "running"


@pytest.mark.parametrize("option", ["lsm-profile", "lsm-mount-context"])
def test_lsm(ice, option):
    cid = ice.frozen()
    ice.plan(version=[3, 15, 0])
    p = ice.restore(cid, "-d", f"--{option}", "apparmor:x")
    assert p.returncode == 1 and f"--{option} requires at least CRIU 3.16" in p.stderr and left_of(ice, cid) == GONE
    ice.plan()
    assert ice.restore(cid, "-d", f"--{option}", "apparmor:x", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    assert ice.call(RESTORE)["opts"][option.replace("-", "_")] == "apparmor:x"


def test_restore_takes_runcs_options(ice):
    cid = ice.frozen()
    p = ice.restore(cid, "--detach", "--no-subreaper", "--no-pivot", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert p.returncode == 0


def test_filter_of_a_restored_container(ice):
    ice.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}
    cid = ice.frozen()
    assert ice.restore(cid, "-d", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    assert os.path.getsize(f"{ice.state}/{cid}/seccomp.bpf") > 0


def test_limits_of_a_restored_container(ice):
    ice.config["linux"]["resources"]["pids"] = {"limit": 33}
    cid = ice.frozen()
    assert ice.restore(cid, "-d", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    assert pathlib.Path(ice.cgroup("pids", cid), "pids.max").read_text() == "33\n"


def test_null_device_is_the_containers(ice):
    """criu finds no mount for one of the host."""
    cid = ice.start("sleep", "100")
    pid = ice.status(cid)["pid"]
    for fd in (0, 1, 2):
        assert os.stat(f"/proc/{pid}/fd/{fd}").st_dev == os.stat(f"/proc/{pid}/root/dev/null").st_dev != os.stat("/dev/null").st_dev


def test_null_device_that_is_something_else(ice):
    """A name proves nothing: what the config, or the image, has there is not used."""
    for device in ({"type": "c", "major": 1, "minor": 5}, {"type": "p"}):
        ice.config["linux"]["devices"] = [{"path": "/dev/null", **device}]
        cid = ice.start("sleep", "100")
        pid = ice.status(cid)["pid"]
        assert [os.stat(f"/proc/{pid}/fd/{fd}").st_rdev for fd in (0, 1, 2)] == [os.makedev(1, 3)] * 3
        assert os.stat(f"/proc/{pid}/root/dev/null").st_rdev != os.makedev(1, 3)


def test_help_names_them(ice):
    text = ice.cmd("--help").stdout
    assert "checkpoint" in text and "restore" in text
    assert "--image-path" in ice.cmd("checkpoint", "--help").stdout and "--lsm-profile" in ice.cmd("restore", "--help").stdout


def test_features_tell_of_it(ice):
    features = json.loads(ice.cmd("features", check=True).stdout)
    assert features["annotations"]["org.opencontainers.runc.checkpoint.enabled"] == "true"
    # It names a file of the host that criu then obeys.
    assert "org.criu.config" in features["potentiallyUnsafeConfigAnnotations"]


def test_socket_of_criu_is_nobody_elses(ice):
    """What criu restores must not inherit the socket: whoever holds it could answer for criu."""
    cid = ice.frozen()
    assert ice.restore(cid, "-d", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    fds = os.listdir(f"/proc/{ice.status(cid)['pid']}/fd")
    assert sorted(fds) == ["0", "1", "2"]
