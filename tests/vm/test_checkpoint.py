# SPDX-License-Identifier: Apache-2.0
"""Containers frozen and thawed by the real criu: Debian's, on Debian's kernel, which it works with."""
import json
import os
import pathlib
import subprocess

import pytest

from runtime_bundle import RUNTIME, receive_console

from layout import run, wait

COUNTER = "i=0; while :; do i=$((i+1)); echo $i > /dev/shm/n.new; mv /dev/shm/n.new /dev/shm/n; sleep 0.2; done"


@pytest.fixture(autouse=True)
def cgroup_mount(box):
    box.config["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]})


def freeze(box, cid, *args):
    p = box.cmd("checkpoint", "--image-path", box.dir + "/images", "--work-path", box.dir + "/work", *args, cid)
    assert p.returncode == 0, p.stderr


def thaw(box, cid, *args, **kw):
    err = box.dir + "/stderr"
    with open(err, "w", encoding="utf-8") as f:
        p = box.cmd("restore", "-d", "-b", box.dir, "--image-path", box.dir + "/images", "--work-path", box.dir + "/work", *args, cid,
                    **{"stdout": subprocess.DEVNULL, "stderr": f, **kw})
    assert p.returncode == 0, pathlib.Path(err).read_text()


def counter(box, cid):
    text = box.cmd("exec", cid, "cat", "/dev/shm/n", check=True).stdout
    return int(text or 0)


def seen_inside(box, cid):
    """What must be the same before and after."""
    out = box.cmd("exec", cid, "sh", "-c", "cut -d' ' -f2-4 /proc/mounts | sort; hostname; cat /proc/self/cgroup; ls /dev; cat /proc/keys /proc/timer_list",
                  check=True).stdout
    return out


def own_mounts():
    return sorted(line.split(" ", 3)[3] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines())


def test_goes_on_where_it_was(box):
    box.config["linux"]["resources"]["pids"] = {"limit": 50}
    cid = box.start("sh", "-c", COUNTER)
    wait("the counter goes on", lambda: counter(box, cid) > 3)
    before, ours = seen_inside(box, cid), own_mounts()
    for _ in range(2):
        last = counter(box, cid)
        freeze(box, cid)
        assert "does not exist" in box.cmd("state", cid).stderr
        thaw(box, cid)
        now = counter(box, cid)
        assert last <= now < last + 100
        wait("the counter goes on", lambda now=now: counter(box, cid) > now)
        assert seen_inside(box, cid) == before
    # Nor has the machine's own cgroup mount changed, whose options every mount of it shares.
    assert own_mounts() == ours
    pid = box.status(cid)["pid"]
    assert f"/{box.group}/{cid}" in pathlib.Path(f"/proc/{pid}/cgroup").read_text()
    assert pathlib.Path(box.cgroup("pids", cid), "pids.max").read_text() == "50\n"
    box.cmd("kill", cid, "KILL", check=True)
    box.wait_stopped(cid)


def test_left_running(box):
    cid = box.start("sh", "-c", COUNTER)
    freeze(box, cid, "--leave-running")
    now = counter(box, cid)
    wait("the counter goes on", lambda: counter(box, cid) > now)


def test_binds_and_pipes(box):
    inner = pathlib.Path(box.dir, "inner")
    inner.mkdir()
    box.bind(inner, "/outer")
    box.bind(inner, "/outer/for/nested")
    cid = box.new_id()
    box.config["process"]["args"] = ["sh", "-c", "while read -r x; do echo $x > /outer/last; echo pong $x; done"]
    box.save(cid)
    in_r, in_w = os.pipe()
    out_r, out_w = os.pipe()
    assert box.cmd("run", "-d", "-b", box.dir, cid, stdin=in_r, stdout=out_w, stderr=subprocess.DEVNULL).returncode == 0
    os.write(in_w, b"one\n")
    assert os.read(out_r, 100) == b"pong one\n"
    freeze(box, cid)
    for fd in (in_r, in_w, out_r, out_w):
        os.close(fd)
    in_r, in_w = os.pipe()
    out_r, out_w = os.pipe()
    thaw(box, cid, stdin=in_r, stdout=out_w)
    os.write(in_w, b"two\n")
    assert os.read(out_r, 100) == b"pong two\n" and (inner / "last").read_text() == "two\n"
    for fd in (in_r, in_w, out_r, out_w):
        os.close(fd)


def test_terminal(box):
    box.config["process"]["terminal"] = True
    cid = box.new_id()
    box.config["process"]["args"] = ["sh", "-c", "while read -r x; do echo =$x=; done"]
    box.save(cid)
    path = box.dir + "/console"
    fd = receive_console(path, lambda: subprocess.Popen([RUNTIME, "--root", box.state, "create", "-b", box.dir, "--console-socket", path, cid]))
    box.cmd("start", cid, check=True)
    freeze(box, cid)
    os.close(fd)
    os.unlink(path)
    fd = receive_console(path, lambda: subprocess.Popen([RUNTIME, "--root", box.state, "restore", "-d", "-b", box.dir, "--image-path", box.dir + "/images",
                                                         "--console-socket", path, cid]))
    os.write(fd, b"hello\n")
    said = b""
    while b"=hello=" not in said:
        said += os.read(fd, 1000)
    os.close(fd)


def test_network_namespace_by_path(box):
    run("ip", "netns", "add", "irk-frozen")
    try:
        next(n for n in box.config["linux"]["namespaces"] if n["type"] == "network")["path"] = "/run/netns/irk-frozen"
        cid = box.start("sh", "-c", COUNTER)
        freeze(box, cid)
        thaw(box, cid)
        assert os.stat(f"/proc/{box.status(cid)['pid']}/ns/net").st_ino == os.stat("/run/netns/irk-frozen").st_ino
        box.cmd("delete", "-f", cid, check=True)
    finally:
        run("ip", "netns", "del", "irk-frozen")


def test_in_two_steps(box):
    cid = box.start("sh", "-c", COUNTER)
    wait("the counter goes on", lambda: counter(box, cid) > 1)
    p = box.cmd("checkpoint", "--pre-dump", "--image-path", box.dir + "/parent", cid)
    assert p.returncode == 0, p.stderr
    freeze(box, cid, "--parent-path", "../parent")
    assert os.path.exists(box.dir + "/images/parent")
    thaw(box, cid)
    now = counter(box, cid)
    wait("the counter goes on", lambda: counter(box, cid) > now)


def test_process_of_exec_is_thawed_too(box):
    cid = box.start("sh", "-c", COUNTER)
    box.cmd("exec", cid, "sh", "-c", "sleep 1000 < /dev/null > /dev/null 2>&1 & echo $! > /dev/shm/pid", check=True)
    pid = box.cmd("exec", cid, "cat", "/dev/shm/pid", check=True).stdout.strip()
    freeze(box, cid)
    thaw(box, cid)
    assert box.cmd("exec", cid, "cat", f"/proc/{pid}/comm", check=True).stdout == "sleep\n"


def test_another_cgroup(box):
    cid = box.start("sh", "-c", COUNTER)
    freeze(box, cid, "--manage-cgroups-mode", "ignore")
    path = pathlib.Path(box.dir, "config.json")
    config = json.loads(path.read_text())
    config["linux"]["cgroupsPath"] = f"/{box.group}/elsewhere"
    path.write_text(json.dumps(config))
    thaw(box, cid, "--manage-cgroups-mode", "ignore")
    assert f"/{box.group}/elsewhere" in pathlib.Path(f"/proc/{box.status(cid)['pid']}/cgroup").read_text()
