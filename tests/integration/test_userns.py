# SPDX-License-Identifier: Apache-2.0
"""--userns-remap: root in a container is nobody on the host, and what is on disk is the same with the option and without."""
import io
import os
import pathlib
import tarfile
import uuid

import pytest

from harness import BUILD, Engine, add_file, make_tar, run, wait_until

USER = "irk-subid-" + uuid.uuid4().hex[:8]
FIRST, COUNT = 700000, 70000


@pytest.fixture(scope="module", autouse=True)
def ranges():
    """Lines of our own in the tables of the machine, and only these are taken out again."""
    line = f"{USER}:{FIRST}:{COUNT}\n"
    tables = [pathlib.Path("/etc/subuid"), pathlib.Path("/etc/subgid")]
    for t in tables:
        with t.open("a") as f:
            f.write(line)
    yield
    for t in tables:
        t.write_text(t.read_text().replace(line, ""))


@pytest.fixture(scope="module")
def mapped():
    engine = Engine("--userns-remap", USER).start()
    try:
        engine.load_busybox()
        yield engine
    finally:
        engine.destroy()


@pytest.fixture(autouse=True)
def no_containers(mapped):
    yield
    mapped.remove_containers()


def out(engine, *args, **kw):
    return engine.cli("run", "--rm", *args, **kw).stdout.strip()


def test_root_is_a_user_of_the_host(mapped, name):
    mapped.cli("run", "-d", "--name", name, "busybox", "sleep", "1000")
    pid = mapped.inspect(name)["State"]["Pid"]
    assert os.stat(f"/proc/{pid}").st_uid == FIRST
    maps = [pathlib.Path(f"/proc/{pid}/{f}").read_text().split() for f in ("uid_map", "gid_map")]
    assert maps == [["0", str(FIRST), str(COUNT)]] * 2
    assert mapped.cli("exec", name, "id", "-u").stdout.strip() == "0"
    # Its network namespace belongs to it, not to the host's root.
    assert mapped.cli("exec", name, "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start").stdout.strip() == "0"


def test_namespaces_are_not_shared_between_containers(mapped, name):
    for n in ("a", "b"):
        mapped.cli("run", "-d", "--name", name + n, "busybox", "sleep", "1000")
    users = {os.readlink(f"/proc/{mapped.inspect(name + n)['State']['Pid']}/ns/user") for n in ("a", "b")}
    assert len(users | {os.readlink("/proc/self/ns/user")}) == 3


def test_files_have_the_ids_of_the_image(mapped, name):
    script = "stat -c %u:%g / /bin/busybox /etc/hosts /etc/resolv.conf; echo x >/etc/hosts && touch /new && stat -c %u /new; chown 1000:1000 /new && stat -c %u:%g /new"
    said = mapped.cli("run", "--name", name, "busybox", "sh", "-c", script).stdout.split()
    assert said == ["0:0"] * 4 + ["0", "1000:1000"]
    upper = pathlib.Path(mapped.inspect(name)["GraphDriver"]["Data"]["UpperDir"])
    assert (upper / "new").stat().st_uid == 1000 and (upper / "new").stat().st_gid == 1000
    assert mapped.cli("diff", name).stdout.split() == ["A", "/new"]


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_copies_have_the_ids_of_the_container(mapped, name, folder, state):
    mapped.cli("run", "-d", "--name", name, "-v", f"{name}:/vol", "busybox", "sh", "-c", "echo in >/in; chown 7:8 /in; sleep 1000")
    wait_until("the file is there", lambda: mapped.cli("exec", name, "test", "-e", "/in", check=False).returncode == 0)
    wait_until("it has its owner", lambda: mapped.cli("exec", name, "stat", "-c", "%u", "/in").stdout == "7\n")
    if state == "stopped":
        mapped.cli("stop", "-t", "0", name)

    def fill(t):
        add_file(t, "d", type=tarfile.DIRTYPE, mode=0o755, uid=5, gid=6)
        add_file(t, "d/f", b"x", uid=1000, gid=0)
        add_file(t, "d/link", type=tarfile.SYMTYPE, linkname="f", uid=0, gid=1)
        add_file(t, "not/described/f", b"y")
    for where in ("/", "/vol"):
        reply = mapped.api("PUT", f"/containers/{name}/archive?path={where}", make_tar(fill), {"Content-Type": "application/x-tar"})
        assert reply.status == 200, reply.body
        got = tarfile.open(fileobj=io.BytesIO(mapped.api("GET", f"/containers/{name}/archive?path={where}/d").body))
        assert {m.name: (m.uid, m.gid) for m in got} == {"d": (5, 6), "d/f": (1000, 0), "d/link": (0, 1)}
    got = tarfile.open(fileobj=io.BytesIO(mapped.api("GET", f"/containers/{name}/archive?path=/in").body))
    assert [(m.uid, m.gid) for m in got] == [(7, 8)]
    # Not a user that the container could have.
    reply = mapped.api("PUT", f"/containers/{name}/archive?path=/", make_tar(lambda t: add_file(t, "far", b"", uid=FIRST + 3 * COUNT)), {"Content-Type": "application/x-tar"})
    if state == "running":
        assert reply.status == 400 and "cannot be mapped to a host ID" in reply.message
    (folder / "back").mkdir()
    mapped.cli("cp", f"{name}:/d/f", folder / "back")
    mapped.cli("cp", folder / "back/f", f"{name}:/vol/again")
    if state == "stopped":
        mapped.cli("start", name)
    said = mapped.cli("exec", name, "stat", "-c", "%u:%g", "/d", "/d/f", "/d/link", "/not/described", "/vol/d/f", "/vol/again").stdout.split()
    assert said == ["5:6", "1000:0", "0:1", "0:0", "1000:0", "0:0"]
    upper = pathlib.Path(mapped.inspect(name)["GraphDriver"]["Data"]["UpperDir"])
    assert ((upper / "d/f").stat().st_uid, (upper / "d").stat().st_uid) == (1000, 5)
    mapped.cli("rm", "-f", "-v", name)
    mapped.cli("volume", "rm", name)


def test_an_image_committed_there_is_like_any_other(mapped, name):
    mapped.cli("run", "--name", name, "busybox", "sh", "-c", "touch /mine; chown 5:6 /mine")
    mapped.cli("commit", name, f"{name}:made")
    assert out(mapped, f"{name}:made", "stat", "-c", "%u:%g", "/mine") == "5:6"
    assert out(mapped, "--userns", "host", f"{name}:made", "stat", "-c", "%u:%g", "/mine") == "5:6"
    mapped.cli("rm", name)
    mapped.cli("rmi", f"{name}:made")


def test_volumes_keep_their_ids_and_binds_show_the_hosts(mapped, name, folder):
    assert out(mapped, "-v", f"{name}:/v", "busybox", "sh", "-c", "touch /v/x; chown 7:8 /v/x; stat -c %u:%g /v /v/x").split() == ["0:0", "7:8"]
    assert out(mapped, "--userns", "host", "-v", f"{name}:/v", "busybox", "stat", "-c", "%u:%g", "/v/x") == "7:8"
    mapped.cli("volume", "rm", name)
    (folder / "roots").write_text("secret")
    (folder / "roots").chmod(0o600)
    os.chown(folder, FIRST, FIRST)
    assert out(mapped, "-v", f"{folder}:/b", "busybox", "sh", "-c", "stat -c %u /b/roots; cat /b/roots 2>/dev/null || echo denied; touch /b/own").split() == ["65534", "denied"]
    assert (folder / "own").stat().st_uid == FIRST


def test_userns_host_opts_out(mapped, name):
    mapped.cli("run", "-d", "--name", name, "--userns", "host", "--privileged", "busybox", "sleep", "1000")
    assert os.stat(f"/proc/{mapped.inspect(name)['State']['Pid']}").st_uid == 0
    assert mapped.inspect(name)["HostConfig"]["UsernsMode"] == "host"


@pytest.mark.parametrize("host, text", [
    ({"Privileged": True}, "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode"),
    ({"NetworkMode": "host"}, "cannot share the host's network namespace when user namespaces are enabled"),
    ({"PidMode": "host"}, "cannot share the host PID namespace when user namespaces are enabled")])
def test_what_cannot_be_had_in_one(mapped, name, host, text):
    reply = mapped.api("POST", f"/containers/create?name={name}", {"Image": "busybox", "Cmd": ["true"], "HostConfig": host})
    assert (reply.status, reply.message) == (400, text)


def test_network_ports_and_joining(mapped, name):
    mapped.cli("run", "-d", "--name", name, "--ipc", "shareable", "busybox", "sh", "-c", "echo hello >/dev/shm/x; while :; do echo from inside | nc -l -p 80; done")
    address = mapped.inspect(name)["NetworkSettings"]["IPAddress"]
    assert out(mapped, "busybox", "sh", "-c", f"for i in $(seq 100); do nc -w 2 {address} 80 && break; sleep 0.2; done") == "from inside"
    joined = out(mapped, "--network", f"container:{name}", "--ipc", f"container:{name}", "--pid", f"container:{name}", "busybox", "sh", "-c", "ip addr; cat /dev/shm/x; ps")
    assert address in joined and "hello" in joined and "nc -l -p 80" in joined


def test_survives_a_restart_of_the_engine(mapped, name):
    mapped.cli("run", "-d", "--name", name, "busybox", "sleep", "1000")
    mapped.restart()
    assert mapped.cli("exec", name, "id", "-u").stdout.strip() == "0"
    mapped.cli("restart", "-t", "0", name)
    assert os.stat(f"/proc/{mapped.inspect(name)['State']['Pid']}").st_uid == FIRST


def test_info_says_so(mapped):
    assert "name=userns" in mapped.api("GET", "/info").json["SecurityOptions"]


def test_a_user_without_ranges(tmp_path):
    engine = Engine("--userns-remap", "nobody-like-this")
    p = run(*[str(a) for a in (BUILD / "irekod", "--data-root", engine.data_root, "--exec-root", engine.exec_root, "-H", f"unix://{engine.socket}",
                               "--userns-remap", "nobody-like-this")], check=False)
    engine.destroy()
    assert p.returncode == 1 and '/etc/subuid has no ids for "nobody-like-this": add a line like "nobody-like-this:100000:65536"' in p.stderr


def test_mounts_of_all_kinds(mapped, name, folder):
    """Parts of volumes and images have the ids that they have on disk; an idmapped bind those that it is told, in the container's terms."""
    owned, roots = folder / "owned", folder / "roots"
    for where, uid, gid in ((owned, 4321, 8765), (roots, 0, 0)):
        where.mkdir(mode=0o755)
        os.chown(where, uid, gid)
    mapped.cli("run", "--rm", "-v", f"{name}:/v", "busybox", "sh", "-c", "mkdir /v/sub && touch /v/sub/f && chown 5:6 /v/sub/f")
    script = "stat -c %u:%g /part/f /image/passwd /ro/passwd /owned /roots; touch /part/new /image/new /owned/new /roots/new; touch /ro/new 2>&1; chown 7:8 /roots/new; stat -c %u:%g /owned/new /part/new /image/new"
    said = out(mapped, "--mount", f"type=volume,source={name},target=/part,volume-subpath=sub", "--mount", "type=image,source=busybox,target=/image,image-subpath=etc",
               "--mount", "type=image,source=busybox,target=/ro,readonly,image-subpath=etc", "-v", f"{owned}:/owned:idmap", "-v", f"{roots}:/roots:idmap", "busybox", "sh", "-c", script).splitlines()
    assert said == ["5:6", "0:0", "0:0", "0:0", "0:0", "touch: /ro/new: Read-only file system", "0:0", "0:0", "0:0"]
    assert (owned / "new").stat().st_uid == 4321 and (owned / "new").stat().st_gid == 8765
    assert (roots / "new").stat().st_uid == 7 and (roots / "new").stat().st_gid == 8
    assert (mapped.data_root / "volumes" / name / "_data/sub/new").stat().st_uid == 0
    mapped.cli("volume", "rm", name)


def test_a_build_of_several_steps(mapped, folder, name):
    """What is begun for the next step has no namespace before its user namespace is there."""
    (folder / "Dockerfile").write_text("FROM busybox\nRUN cat /proc/self/uid_map && grep ' / ' /proc/mounts\nRUN test -e /sys/class/net/eth0 && touch /made\nRUN --network=none test ! -e /sys/class/net/eth0 -a -O /made\n")
    p = mapped.cli("build", "-t", name, "--no-cache", "--progress=plain", folder)
    assert "volatile" in p.stderr and any(line.split()[-3:] == ["0", str(FIRST), str(COUNT)] for line in p.stderr.splitlines()), p
    mapped.cli("rmi", name)
    wait_until("nothing is left", lambda: not mapped.shims())
