# SPDX-License-Identifier: Apache-2.0
"""Debian's podman, called by a user without privilege, on ireko-runtime: it makes the user namespace itself and is root in there when it calls the runtime."""
import re
import subprocess

import pytest

import harness
from rootless_house import GID, NAME, RUNTIME, SUB, UID, House

RANGE = 65536


class Podman:
    def __init__(self, house):
        self.house = house
        program = harness.program("podman")
        self.base = [program, "--runtime", RUNTIME, "--cgroup-manager", "cgroupfs", "--storage-driver", "vfs", "--events-backend", "file"]

    def cmd(self, *args, check=True):
        p = subprocess.run(self.house.as_user(*self.base, *args), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, check=False)
        assert p.returncode == 0 or not check, p.stderr
        return p

    def run(self, *args, options=(), network="none", check=True):
        return self.cmd("run", "--network", network, *options, "--rootfs", str(self.house.rootfs), *args, check=check)


@pytest.fixture
def podman():
    house = House()
    house.hold()
    line = f"{NAME}:{SUB}:{RANGE}\n"
    house.write_tables(subuid=line, subgid=line)
    p = Podman(house)
    yield p
    p.cmd("rm", "--all", "--force", check=False)
    # Its pause process keeps the user namespace for the next call.
    pid = house.dir / "xdg/libpod/tmp/pause.pid"
    if pid.exists():
        subprocess.run(["kill", "-KILL", pid.read_text()], check=False)
    house.end()


def test_run(podman):
    out = podman.run("sh", "-c", "id -u; cat /proc/self/uid_map; hostname; exit 7", options=["--rm", "--hostname", "box"], check=False)
    assert out.returncode == 7, out.stderr
    assert out.stdout.split() == ["0", "0", str(UID), "1", "1", str(SUB), str(RANGE), "box"]


def test_life(podman):
    cid = podman.run("sh", "-c", "echo hello; exec sleep 100", options=["-d", "--name", "a", "--init=false"]).stdout.strip()
    assert re.search(rf"^{cid[:12]}\s.*\sUp\s", podman.cmd("ps").stdout, re.M)
    p = podman.cmd("exec", "-e", "A=b", "a", "sh", "-c", "echo $A; id -u")
    assert p.stdout == "b\n0\n"
    assert podman.cmd("exec", "a", "sh", "-c", "exit 3", check=False).returncode == 3
    assert podman.cmd("logs", "a").stdout == "hello\n"
    podman.cmd("kill", "a")
    assert podman.cmd("wait", "a").stdout == "137\n"
    podman.cmd("rm", "a")
    assert cid[:12] not in podman.cmd("ps", "-a").stdout


def test_users(podman):
    assert podman.run("id", options=["--rm", "--user", "1000:1000"]).stdout.startswith("uid=1000(user) gid=1000")
    out = podman.run("sh", "-c", "id -u; id -g", options=["--rm", "--userns", "keep-id"]).stdout
    assert out.split() == [str(UID), str(GID)]


def test_network_of_the_host(podman):
    out = podman.run("sh", "-c", "readlink /proc/self/ns/net; ls /sys/class/net", options=["--rm"], network="host").stdout.split()
    ours = subprocess.run(["readlink", "/proc/self/ns/net"], capture_output=True, text=True, check=True).stdout.strip()
    assert out[0] == ours and "lo" in out[1:]


def test_volume(podman):
    data = podman.house.dir / "data"
    data.mkdir()
    data.chmod(0o777)
    podman.run("sh", "-c", "echo x > /data/f", options=["--rm", "--volume", f"{data}:/data"])
    assert (data / "f").stat().st_uid == UID
    p = podman.run("touch", "/data/g", options=["--rm", "--volume", f"{data}:/data:ro"], check=False)
    assert p.returncode == 1 and "Read-only" in p.stderr
