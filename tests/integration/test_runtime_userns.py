# SPDX-License-Identifier: Apache-2.0
"""User namespaces of ireko-runtime: joined by path, made by root with ranges of ids, and those of somebody else that it runs in itself."""
import contextlib
import fcntl
import json
import os
import pathlib
import re
import shutil
import subprocess
import time

import pytest

import harness
from rootless_house import RUNTIME, SUB, SUB_N, UID, add_busybox, chown_tree, fixture_house, fixture_root_house, mapped, ns_of

house, root_house = fixture_house, fixture_root_house


# --- joining ---


@contextlib.contextmanager
def bound(house, pid, kind):
    """A namespace by a file of its own, as it outlives its processes."""
    path = house.dir / f"{kind}-{time.monotonic_ns()}"
    path.touch()
    subprocess.run(["mount", "--bind", f"/proc/{pid}/ns/{kind}", str(path)], check=True)
    try:
        yield str(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def owner_of(pid, kind):
    """The inode number of the user namespace that a namespace belongs to (ioctl_nsfs(2))."""
    with open(f"/proc/{pid}/ns/{kind}", encoding="utf-8") as f:
        fd = fcntl.ioctl(f, 0xB701)
        try:
            return os.fstat(fd).st_ino
        finally:
            os.close(fd)


def join(house, pid, kinds):
    for kind in kinds:
        name = {"net": "network", "mnt": "mount"}.get(kind, kind)
        house.drop_namespace(name)
        house.config["linux"]["namespaces"].append({"type": name, "path": f"/proc/{pid}/ns/{kind}"})
    if "user" in kinds:
        house.config["linux"].pop("uidMappings", None)
        house.config["linux"].pop("gidMappings", None)


@pytest.mark.parametrize("kinds", [["user"], ["user", "net"], ["user", "net", "ipc", "uts"], ["net", "user", "pid"]])
def test_root_joins_a_user_namespace(root_house, kinds):
    h = root_house
    first = h.pid(h.start("sleep", "100"))
    join(h, first, kinds)
    if "uts" in kinds:
        del h.config["hostname"]
    cid = h.start("sleep", "100")
    second = h.pid(cid)
    for kind in ("user", "net", "ipc", "uts", "pid", "mnt"):
        assert (ns_of(first, kind) == ns_of(second, kind)) == (kind in kinds), kind
    assert mapped(second) == [(0, SUB, SUB_N)] and os.stat(f"/proc/{second}").st_uid == SUB
    # What it has of its own belongs to the user namespace that it is in: this takes power over it.
    p = h.cmd("exec", cid, "sh", "-c", "id -u; mount | grep -c proc; readlink /proc/self/ns/user", check=True)
    assert p.stdout.split()[0] == "0" and p.stdout.split()[-1] == ns_of(first, "user")
    assert owner_of(second, "mnt") == os.stat(f"/proc/{first}/ns/user").st_ino


def test_user_joins_its_own(house):
    first = house.pid(house.start("sleep", "100"))
    join(house, first, ["user", "ipc"])
    house.config["process"]["oomScoreAdj"] = 300
    cid = house.start("sleep", "100")
    second = house.pid(cid)
    assert ns_of(first, "user") == ns_of(second, "user") and ns_of(first, "ipc") == ns_of(second, "ipc") and ns_of(first, "pid") != ns_of(second, "pid")
    assert mapped(second) == [(0, UID, 1)] and pathlib.Path(f"/proc/{second}/oom_score_adj").read_text() == "300\n"
    assert house.cmd("exec", cid, "id", "-u", check=True).stdout == "0\n"


def test_joined_by_a_bound_file(root_house):
    h = root_house
    cid = h.start("sleep", "100")
    pid = h.pid(cid)
    with bound(h, pid, "user") as user, bound(h, pid, "net") as net:
        names = ns_of(pid, "user"), ns_of(pid, "net")
        join(h, pid, ["user", "net"])
        h.namespace("user")["path"] = user
        h.namespace("network")["path"] = net
        h.cmd("delete", "-f", cid, check=True)
        # Binding in our mount namespace is not seen in the one that the house holds.
        p = subprocess.run([RUNTIME, *h.args, "run", "-b", str(h.bundle), h.save("sh", "-c", "readlink /proc/self/ns/user; readlink /proc/self/ns/net")],
                           capture_output=True, text=True, check=False)
        assert p.returncode == 0, p.stderr
        assert p.stdout.split()[:2] == list(names)


def test_network_namespace_of_another_owner(root_house):
    """The network namespace belongs to the machine's user namespace, not to the one that is joined with it, or made."""
    h = root_house
    holder = subprocess.Popen(["unshare", "-n", "sleep", "100"])
    harness.wait_until("it has its namespace", lambda: ns_of(holder.pid, "net") != os.readlink("/proc/self/ns/net"))
    try:
        join(h, holder.pid, ["net"])
        out = h.sh("readlink /proc/self/ns/net; cat /proc/self/uid_map")
        assert out.split() == [ns_of(holder.pid, "net"), "0", str(SUB), str(SUB_N)]
        first = h.pid(h.start("sleep", "100"))
        join(h, first, ["user"])
        out = h.sh("readlink /proc/self/ns/net; readlink /proc/self/ns/user")
        assert out.split() == [ns_of(holder.pid, "net"), ns_of(first, "user")]
    finally:
        holder.kill()
        holder.wait()


def test_user_cannot_join_what_is_not_its_own(house):
    house.config["linux"]["namespaces"].append({"type": "network", "path": "/proc/1/ns/net"})
    p = house.run("true")
    assert p.returncode == 1 and "net" in p.stderr and "ermi" in p.stderr
    house.drop_namespace("network")
    holder = subprocess.Popen(["unshare", "-n", "sleep", "100"])
    try:
        harness.wait_until("it has its namespace", lambda: ns_of(holder.pid, "net") != os.readlink("/proc/self/ns/net"))
        house.hold()
        path = house.dir / "net"
        path.touch()
        inside = ["nsenter", "-t", str(house.holder.pid), "-m", "mount", "--bind", f"/proc/{holder.pid}/ns/net", str(path)]
        subprocess.run(inside, check=True)
        house.config["linux"]["namespaces"].append({"type": "network", "path": str(path)})
        p = house.run("true")
        assert p.returncode == 1 and "join the net namespace" in p.stderr and "no power over" in p.stderr
    finally:
        holder.kill()
        holder.wait()


def test_joined_and_mapped(root_house):
    """containerd gives both; it is right if they agree."""
    h = root_house
    pid = h.pid(h.start("sleep", "100"))
    maps = {k: h.config["linux"][k] for k in ("uidMappings", "gidMappings")}
    join(h, pid, ["user"])
    h.config["linux"].update(maps)
    assert h.sh("cat /proc/self/uid_map").split() == ["0", str(SUB), str(SUB_N)]
    h.config["linux"]["gidMappings"] = [{"containerID": 0, "hostID": SUB, "size": SUB_N - 1}]
    p = h.run("true")
    assert p.returncode == 1 and "linux.uidMappings and linux.gidMappings are not those of the user namespace" in p.stderr


def test_path_that_is_no_user_namespace(root_house):
    h = root_house
    join(h, "self", ["user"])
    h.namespace("user")["path"] = "/proc/self/ns/net"
    p = h.run("true")
    assert p.returncode == 1 and "join the user namespace" in p.stderr
    h.namespace("user")["path"] = "/no/such"
    assert "/no/such" in h.run("true").stderr


def test_idmapped_mount_in_a_joined_namespace(root_house):
    h = root_house
    data = h.dir / "data"
    data.mkdir()
    (data / "f").touch()
    os.chown(data / "f", 3, 4)
    pid = h.pid(h.start("sleep", "100"))
    join(h, pid, ["user"])
    h.config["mounts"].append({"destination": "/data", "type": "bind", "source": str(data), "options": ["bind", "idmap"]})
    assert h.sh("stat -c '%u %g' /data/f") == "3 4\n"


# --- user namespaces of root's ---


def test_root_with_a_range(root_house):
    h = root_house
    h.config["process"]["user"] = {"uid": 33, "gid": 44, "additionalGids": [55]}
    h.config["process"]["rlimits"] = [{"type": "RLIMIT_CORE", "hard": 4096, "soft": 4096}]
    cid = h.start("sleep", "100")
    pid = h.pid(cid)
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    assert re.search(rf"^Uid:\t{SUB + 33}\t", status, re.M) and re.search(rf"^Gid:\t{SUB + 44}\t", status, re.M)
    assert re.search(rf"^Groups:\t{SUB + 55} *$", status, re.M)
    assert h.cmd("exec", "--user", "0:0", cid, "sh", "-c", "id -u; cat /proc/self/setgroups").stdout == "0\nallow\n"


def test_two_ranges_and_a_gap(root_house):
    h = root_house
    for key in ("uidMappings", "gidMappings"):
        h.config["linux"][key] = [{"containerID": 0, "hostID": SUB, "size": 10}, {"containerID": 1000, "hostID": SUB + 1000, "size": 10}]
    h.config["root"]["readonly"] = False
    h.give("CAP_CHOWN")
    out = h.sh("touch /tmp/a; chown 9:1009 /tmp/a && echo yes; chown 10:0 /tmp/a 2>&1 || true")
    assert out.startswith("yes\n") and "Invalid argument" in out
    st = (h.rootfs / "tmp/a").stat()
    assert (st.st_uid, st.st_gid) == (SUB + 9, SUB + 1009)


def test_ids_without_zero(root_house):
    h = root_house
    h.config["linux"]["uidMappings"] = [{"containerID": 1, "hostID": SUB, "size": 10}]
    p = h.run("true")
    assert p.returncode == 1 and "is id 0 mapped?" in p.stderr


def test_root_file_system_of_ids_that_are_not_mapped(root_house):
    h = root_house
    chown_tree(h.rootfs, 0, 0)
    p = h.run("true")
    assert p.returncode == 1 and "error mounting" in p.stderr and "/proc" in p.stderr and "root filesystem has to belong to ids that are mapped" in p.stderr
    for d in ("proc", "dev", "sys"):
        (h.rootfs / d).mkdir()
    assert h.sh("stat -c %u /etc/passwd") == "65534\n"


def test_sources_that_only_root_can_reach(root_house):
    """They are opened before there is a user namespace."""
    h = root_house
    secret = h.dir / "secret"
    secret.mkdir(mode=0o700)
    (secret / "f").write_text("hello\n")
    (secret / "f").chmod(0o644)
    h.config["mounts"].append({"destination": "/f", "type": "bind", "source": str(secret / "f"), "options": ["bind"]})
    assert h.sh("cat /f") == "hello\n"


# --- in somebody else's user namespace ---


def nested(house, unshare, *args, options=()):
    """Runs the runtime behind unshare(1), as the user, which is root in there."""
    line = house.as_user("unshare", *unshare, RUNTIME, *house.args, *options, *args)
    return subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, timeout=60, check=False)


def plain_spec(house):
    """The example for root: no user namespace, a network of its own, a sysfs."""
    (house.bundle / "config.json").unlink()
    assert subprocess.run(house.as_user(RUNTIME, "spec"), check=False).returncode == 0
    house.config = json.loads((house.bundle / "config.json").read_text())
    house.config["process"].update(terminal=False, env=["PATH=/bin"])
    for m in house.config["mounts"]:
        m["options"] = [o for o in m.get("options", []) if not o.startswith("gid=")]


@pytest.mark.parametrize("unshare", [["-Urm"], ["-Ur"], ["-Urmn"], ["-Urmpf", "--mount-proc"]])
def test_nested(house, unshare):
    plain_spec(house)
    p = nested(house, unshare, "run", house.save("sh", "-c", "id -u; cat /proc/self/uid_map; echo $$; stat -c '%t %T' /dev/null; touch /sys/x 2>&1 || true"))
    assert p.returncode == 0, p.stderr
    assert p.stdout.split()[:7] == ["0", "0", str(UID), "1", "1", "1", "3"] and "Read-only" in p.stdout


def test_nested_with_one_more_user_namespace(house):
    plain_spec(house)
    house.config["linux"]["namespaces"].append({"type": "user"})
    house.config["linux"]["uidMappings"] = house.config["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 0, "size": 1}]
    p = nested(house, ["-Urm"], "run", house.save("cat", "/proc/self/uid_map"))
    assert p.returncode == 0 and p.stdout.split() == ["0", "0", "1"], p.stderr
    house.config["linux"]["uidMappings"] = [{"containerID": 0, "hostID": 5, "size": 1}]
    p = nested(house, ["-Urm"], "run", house.save("true"))
    assert p.returncode == 1 and "linux.uidMappings" in p.stderr and "around this program" in p.stderr


def test_nested_life(house):
    plain_spec(house)
    house.save("sleep", "100")
    script = f"""set -e
r="{RUNTIME} --root {house.dir}/state"
$r run -d a </dev/null >/dev/null
$r exec a sh -c 'id -u; readlink /proc/self/ns/pid'
$r list
$r kill a KILL
while $r state a | grep -q running; do sleep 0.01; done
$r delete a
"""
    p = subprocess.run(house.as_user("unshare", "-Urm", "sh", "-c", script), capture_output=True, text=True, timeout=60, check=False)
    assert p.returncode == 0, p.stderr
    assert p.stdout.startswith("0\npid:[")


def test_nested_state_directory(house):
    house.args = []
    plain_spec(house)
    line = house.as_user("unshare", "-Urm", RUNTIME, "run", house.save("true"))
    assert subprocess.run(line, capture_output=True, check=False).returncode == 0
    assert (house.xdg / "ireko-runtime").is_dir()


def test_nested_limit(house):
    plain_spec(house)
    house.config["linux"]["resources"] = {"memory": {"limit": 64 << 20}}
    p = nested(house, ["-Urm"], "run", house.save("true"))
    assert p.returncode == 1 and "cannot set memory limit" in p.stderr


def test_container_in_a_container(root_house):
    """The runtime by root of a container with a user namespace and unmasked procfs, as engines in containers do it."""
    h = root_house
    h.config["linux"].update(maskedPaths=[], readonlyPaths=[])
    h.config["root"]["readonly"] = False
    caps = ["CAP_" + c for c in ("SYS_ADMIN", "SETUID", "SETGID", "CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_ADMIN", "SETPCAP", "MKNOD", "SYS_CHROOT")]
    h.config["process"]["capabilities"] = {k: caps for k in ("bounding", "effective", "permitted")}
    h.config["process"]["noNewPrivileges"] = False
    inner = h.rootfs / "inner"
    add_busybox(inner / "rootfs")
    shutil.copy(RUNTIME, h.rootfs / "bin/runtime")
    config = json.loads(json.dumps(h.config))
    config["linux"].update(uidMappings=[], gidMappings=[])
    config["linux"]["namespaces"] = [n for n in config["linux"]["namespaces"] if n["type"] != "user"]
    config["process"].update(args=["sh", "-c", "echo inside; id -u; readlink /proc/self/ns/mnt"], capabilities={})
    (inner / "config.json").write_text(json.dumps(config))
    chown_tree(h.rootfs, SUB, SUB)
    out = h.sh("cd /inner && runtime --root /tmp/state run a")
    assert out.startswith("inside\n0\nmnt:[")
