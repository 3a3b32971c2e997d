# SPDX-License-Identifier: Apache-2.0
"""Copies of files by the API: what it tells of paths, its refusals, containers in every state, and the attacks that docker cp has known."""
import base64
import bz2
import contextlib
import gzip
import http.client
import io
import json
import lzma
import os
import pathlib
import re
import socket
import subprocess
import tarfile
import threading
import time

import pytest

from harness import add_file, busybox_layer, docker_archive, make_tar, program, wait_until
from mounts import bind, create

TAR = {"Content-Type": "application/x-tar"}


def put(engine, name, path, tar, **query):
    more = "".join(f"&{k}={v}" for k, v in query.items())
    return engine.api("PUT", f"/containers/{name}/archive?path={path}{more}", tar, TAR)


def get(engine, name, path):
    reply = engine.api("GET", f"/containers/{name}/archive?path={path}")
    assert reply.status == 200, reply.body
    return {m.name: (m, tar.extractfile(m).read() if m.isfile() else None) for tar in [tarfile.open(fileobj=io.BytesIO(reply.body))] for m in tar}


def stat(engine, name, path):
    reply = engine.api("HEAD", f"/containers/{name}/archive?path={path}")
    return json.loads(base64.b64decode(reply.headers["X-Docker-Container-Path-Stat"])) if reply.status == 200 else reply.status


def raced(engine, method, path, **kw):
    """The answer while somebody changes what is asked for; None if it breaks off, because the file has gone after its header was sent."""
    with contextlib.suppress(http.client.IncompleteRead):
        return engine.api(method, path, **kw)


def one_file(name="new", data=b"new", **fields):
    return make_tar(lambda t: add_file(t, name, data, **fields))


# ---- in every state
@pytest.fixture(params=["created", "running", "paused", "exited"])
def box(request, engine, name, folder):
    """A container in that state, with a bind, a read-only bind, a volume and a folder of its own."""
    (folder / "rw").mkdir()
    (folder / "ro").mkdir()
    (folder / "ro/f").write_text("of the host")
    reply = create(engine, name, "sleep 1000", Binds=[f"{folder}/rw:/rw", f"{folder}/ro:/ro:ro", f"{name}:/vol"])
    assert reply.status == 201, reply.body
    if request.param != "created":
        assert engine.api("POST", f"/containers/{name}/start").status == 204
    if request.param == "paused":
        assert engine.api("POST", f"/containers/{name}/pause").status == 204
    if request.param == "exited":
        engine.api("POST", f"/containers/{name}/kill")
        engine.api("POST", f"/containers/{name}/wait")
    yield name
    engine.api("DELETE", f"/containers/{name}?force=1&v=1")
    engine.api("DELETE", f"/volumes/{name}")


def test_everywhere_in_every_state(engine, box, folder):
    for place in ("/tmp", "/rw", "/vol"):
        assert put(engine, box, place, one_file("私の 名前", b"x", mode=0o640, uid=7, gid=8)).status == 200
        (member, data), = get(engine, box, f"{place}/%E7%A7%81%E3%81%AE%20%E5%90%8D%E5%89%8D").values()
        assert data == b"x" and (member.mode & 0o7777, member.uid, member.gid) == (0o640, 7, 8)
    assert (folder / "rw/私の 名前").exists()
    assert get(engine, box, "/ro/f")["f"][1] == b"of the host"
    assert set(get(engine, box, "/ro/.")) >= {"./f"} and set(get(engine, box, "/ro")) >= {"ro/f"}
    reply = put(engine, box, "/ro", one_file())
    assert reply.status == 400 and "mounted volume is marked read-only" in reply.message, reply.body
    reply = put(engine, box, "/etc/passwd", one_file())
    assert reply.status == 400 and "extraction point is not a directory" in reply.message, reply.body
    for method in ("GET", "PUT"):
        reply = engine.api(method, f"/containers/{box}/archive?path=/no/such", one_file() if method == "PUT" else None, TAR)
        assert reply.status == 404 and "Could not find the file /no/such in container" in reply.message, reply.body
    assert stat(engine, box, "/no/such") == 404
    for method in ("HEAD", "GET", "PUT"):
        assert engine.api(method, f"/containers/{box}/archive", b"" if method == "PUT" else None).status == 400


def test_what_a_path_is(engine, box):
    assert put(engine, box, "/tmp", make_tar(lambda t: (add_file(t, "d", mode=0o1777, type=b"5"), add_file(t, "d/f", b"1234", 0o4755, mtime=1700000000), add_file(t, "d/abs", type=b"2", linkname="/etc/passwd"),
                                                        add_file(t, "d/rel", type=b"2", linkname="../d/f"), add_file(t, "d/up", type=b"2", linkname="../../../../../../etc"), add_file(t, "d/none", type=b"2", linkname="nothing"),
                                                        add_file(t, "d/fifo", type=b"6")))).status == 200
    f = stat(engine, box, "/tmp/d/f")
    assert f == {"name": "f", "size": 4, "mode": 1 << 23 | 0o755, "mtime": "2023-11-14T22:13:20Z", "linkTarget": ""}
    assert stat(engine, box, "/tmp/d")["mode"] == 1 << 31 | 1 << 20 | 0o777
    links = {n: stat(engine, box, f"/tmp/d/{n}") for n in ("abs", "rel", "up", "none")}
    assert {n: s["linkTarget"] for n, s in links.items()} == {"abs": "/etc/passwd", "rel": "/tmp/d/f", "up": "/etc", "none": "/tmp/d/nothing"}
    assert all(s["mode"] == 1 << 27 | 0o777 for s in links.values())
    assert stat(engine, box, "/tmp/d/up/")["mode"] >> 31 == 1 and stat(engine, box, "/tmp/d/up/")["linkTarget"] == "", "a slash at the end follows"
    assert stat(engine, box, "/tmp/d/up/passwd")["name"] == "passwd"
    assert stat(engine, box, "/tmp/d/f/") == 404
    assert stat(engine, box, "/")["name"] == "/" and stat(engine, box, "/tmp/d/fifo")["mode"] & 1 << 25
    assert get(engine, box, "/tmp/d/abs")["abs"][0].linkname == "/etc/passwd", "the link itself"
    assert get(engine, box, "/tmp/d/fifo")["fifo"][0].isfifo()


def test_directories_and_files_are_not_exchanged_unasked(engine, box):
    both = make_tar(lambda t: (add_file(t, "d", type=b"5", mode=0o755), add_file(t, "f", b"f")))
    other = {"d": one_file("d", b"now a file"), "f": make_tar(lambda t: add_file(t, "f", type=b"5", mode=0o755))}
    assert put(engine, box, "/tmp", both).status == 200
    for n, tar in other.items():
        assert put(engine, box, "/tmp", tar, noOverwriteDirNonDir="true").status >= 400
        assert put(engine, box, "/tmp", tar).status == 200
        assert (stat(engine, box, f"/tmp/{n}")["mode"] >> 31 == 1) == (n == "f")


def test_owner_of_the_user(engine, name):
    create(engine, name, config={"User": "user"})
    tar = one_file(uid=5, gid=6)
    assert put(engine, name, "/tmp", tar, copyUIDGID=1).status == 200
    member = get(engine, name, "/tmp/new")["new"][0]
    assert (member.uid, member.gid) == (1000, 1000)


def test_into_what_is_read_only(engine, name, folder):
    create(engine, name, "sleep 1000", ReadonlyRootfs=True, Binds=[f"{folder}:/rw"], Tmpfs={"/t": ""})
    for started in (False, True):
        if started:
            engine.api("POST", f"/containers/{name}/start")
        reply = put(engine, name, "/etc", one_file())
        assert reply.status == 400 and "container rootfs is marked read-only" in reply.message, reply.body
        assert put(engine, name, "/rw", one_file()).status == 200
    assert put(engine, name, "/t", one_file()).status == 200 and (folder / "new").exists()


# ---- hostile archives
def test_archives_that_lead_out(engine, box, folder):
    """Everything lands in the container, or is refused; nothing is written, linked or read outside."""
    (folder / "host").write_text("of the host")
    up = "../" * 20 + str(folder).lstrip("/")

    def link_then(to, kind=tarfile.SYMTYPE):
        return make_tar(lambda t: (add_file(t, "l", type=kind, linkname=to), add_file(t, "l/out", b"escaped")))

    for tar in (link_then(str(folder)), link_then(up), link_then("/proc/self/root" + str(folder)), link_then("/proc/1/cwd" + str(folder)), link_then(str(folder / "host"), tarfile.LNKTYPE), link_then(up + "/host", tarfile.LNKTYPE),
                make_tar(lambda t: add_file(t, up + "/out", b"escaped")), make_tar(lambda t: add_file(t, str(folder) + "/out", b"escaped")), make_tar(lambda t: add_file(t, "a/../../" + up + "/out", b"escaped"))):
        put(engine, box, "/tmp", tar)
        for p in ("l", "l/out", "l/host"):
            reply = engine.api("GET", f"/containers/{box}/archive?path=/tmp/{p}")
            assert reply.status != 200 or b"of the host" not in reply.body
    assert {p.name for p in folder.iterdir()} == {"rw", "ro", "host"} and (folder / "host").stat().st_nlink == 1
    assert (folder / "host").read_text() == "of the host"


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, lambda d: subprocess.run([program("zstd"), "-c"], input=d, stdout=subprocess.PIPE, check=True).stdout], ids=["gzip", "bzip2", "xz", "zstd"])
def test_compressed_archives_run_nothing_of_the_container(engine, name, pack):
    """GO-2026-5746: a daemon that looked for xz or unpigz with the container as its root ran the container's."""
    trap = b"#!/bin/sh\necho ran > /trapped\n"
    names = ("xz", "unpigz", "gzip", "bzip2", "zstd", "unxz", "pigz")
    traps = make_tar(lambda t: [add_file(t, f"{d}/{n}", trap, 0o755) for d in ("bin", "usr/bin", "usr/local/bin", "sbin", "usr/sbin") for n in names])
    engine.api("POST", "/images/load?quiet=1", docker_archive(f"{name}:1", [busybox_layer(), traps]), TAR)
    create(engine, name, "unpigz", image=f"{name}:1")
    assert put(engine, name, "/", pack(one_file())).status == 200
    assert stat(engine, name, "/new")["size"] == 3 and stat(engine, name, "/trapped") == 404
    engine.api("POST", f"/containers/{name}/start")
    engine.api("POST", f"/containers/{name}/wait")
    assert stat(engine, name, "/trapped")["size"] == 4, "it would have sprung"
    engine.api("DELETE", f"/containers/{name}")
    engine.api("DELETE", f"/images/{name}:1")


def test_the_helper_loads_nothing_of_the_container():
    """CVE-2019-14271: a helper that is in the container's root when it looks for a library finds the container's. What makes the C library look for one is not even
    linked: names of users and hosts, conversions, plugins."""
    said = subprocess.run([program("nm"), "-D", "--undefined-only", os.environ.get("IREKO_BUILD", "build") + "/ireko-unpack"], capture_output=True, text=True, check=True).stdout
    assert "chroot@" in said
    assert not re.findall(r"\b(getpw\w+|getgr\w+|initgroups|getaddrinfo|gethostby\w+|getserv\w+|iconv_open|setlocale|dl\w*open|pthread_cancel|pthread_exit|backtrace\w*)@", said)


def test_garbage_is_told(engine, box):
    for garbage in (b"x" * 1024, b"\x1f\x8b\x08garbage", one_file()[:700], gzip.compress(one_file())[:-9]):
        assert put(engine, box, "/tmp", garbage).status in (400, 500)


# ---- attackers in the container
@contextlib.contextmanager
def attacker(engine, name, text, **host):
    reply = create(engine, name, text, **host)
    assert reply.status == 201, reply.body
    assert engine.api("POST", f"/containers/{name}/start").status == 204
    try:
        yield name
    finally:
        engine.api("DELETE", f"/containers/{name}?force=1&v=1")


EXCHANGE = "mkdir -p {at}/real{target}; echo inside > {at}/real{target}/f; ln -s / {at}/link; touch {at}/ready; while true; do mv -T {at}/real {at}/d; mv -T {at}/d {at}/real; mv -T {at}/link {at}/d; mv -T {at}/d {at}/link; done"


def test_cve_2018_15664_links_are_exchanged_while_files_are_copied(engine, name, folder):
    """A directory of the path is exchanged for a link to / all the while: of the copy only the container's / may come of it."""
    (folder / "f").write_text("of the host")
    plain = pathlib.Path("/tmp/" + name)  # a path that a shell inside needs no quotes for
    plain.mkdir()
    (plain / "f").write_text("of the host")
    try:
        with attacker(engine, name, EXCHANGE.format(at="/a", target=plain).replace("mkdir", "mkdir /a; mkdir", 1)):
            wait_until("it is at work", lambda: stat(engine, name, "/a/ready") != 404)
            for i in range(150):
                reply = raced(engine, "GET", f"/containers/{name}/archive?path=/a/d{plain}/f")
                assert not reply or b"of the host" not in reply.body
                put(engine, name, f"/a/d{plain}", one_file(f"out{i}"))
            assert {p.name for p in plain.iterdir()} == {"f"}
    finally:
        for p in plain.iterdir():
            p.unlink()
        plain.rmdir()


def test_cve_2026_42306_and_41568_mount_points_are_exchanged(engine, name, folder):
    """Of a container that does not run, a bind is to be put up inside a volume that another one has too, which exchanges the mount point for links that lead to
    the host: nothing is mounted there, and no file or directory is made."""
    outside = pathlib.Path("/tmp/" + name)
    outside.mkdir()
    (folder / "secret").write_text("bound")
    create(engine, name, Binds=[f"{name}:/v", f"{folder}:/v/at{outside}/dir", f"{folder}/secret:/v/at{outside}/file"])
    work = f"mkdir -p /v/real{outside}; ln -s / /v/at; touch /v/ready; while true; do ln -s /v/real /v/n; mv -T /v/n /v/at; ln -s / /v/n; mv -T /v/n /v/at; done"
    try:
        with attacker(engine, name + "2", work, Binds=[f"{name}:/v"]):
            wait_until("it is at work", lambda: stat(engine, name + "2", "/v/ready") != 404)
            for _ in range(60):
                engine.api("HEAD", f"/containers/{name}/archive?path=/v/at{outside}/dir")
                put(engine, name, f"/v/at{outside}", one_file())
                assert list(outside.iterdir()) == [] and str(outside) not in pathlib.Path("/proc/self/mountinfo").read_text()
    finally:
        outside.rmdir()
        engine.api("DELETE", f"/containers/{name}?force=1")
        engine.api("DELETE", f"/volumes/{name}")


def test_special_files_keep_nobody_waiting(engine, name):
    """A fifo without a writer and endless devices are entries, not what can be read of them, whatever they were a moment ago."""
    work = "mkdir /a; echo x > /a/file; mkfifo /a/fifo 2>/dev/null || mknod /a/fifo p; touch /a/ready; while true; do mv -T /a/file /a/x; mv -T /a/x /a/file; mv -T /a/fifo /a/x; mv -T /a/x /a/fifo; done"
    with attacker(engine, name, work):
        wait_until("it is at work", lambda: stat(engine, name, "/a/ready") != 404)
        for _ in range(60):
            for n in ("x", "fifo", "."):
                reply = raced(engine, "GET", f"/containers/{name}/archive?path=/a/{n}", timeout=10)
                assert not reply or reply.status in (200, 404)
        assert get(engine, name, "/dev/zero")["zero"][0].ischr()
        assert {n for n in get(engine, name, "/proc/1/status")} == {"status"}


def test_processes_end_while_files_are_copied(engine, name):
    """The root of a process that is gone is nobody else's: its number may be another process's by then."""
    create(engine, name, "true")
    stop = threading.Event()
    bad = []

    def copy():
        while not stop.is_set():
            reply = raced(engine, "GET", f"/containers/{name}/archive?path=/etc/passwd")
            if reply and (reply.status != 200 or b"A User" not in reply.body):
                bad.append(reply.body)
            reply = engine.api("HEAD", f"/containers/{name}/archive?path={os.environ.get('IREKO_BUILD', '/no')}/irekod")
            if reply.status == 200:
                bad.append("the host's root")

    thread = threading.Thread(target=copy)
    thread.start()
    for _ in range(30):
        engine.api("POST", f"/containers/{name}/start")
        engine.api("POST", f"/containers/{name}/wait")
    stop.set()
    thread.join()
    assert not bad


def test_a_large_sparse_file_and_many_small_ones(engine, name, folder):
    create(engine, name, Binds=[f"{folder}:/m"])
    with (folder / "sparse").open("wb") as f:
        f.truncate(1 << 26)
    for i in range(500):
        (folder / f"n{i}").touch()
    assert stat(engine, name, "/m/sparse")["size"] == 1 << 26
    members = get(engine, name, "/m")
    assert len(members) == 502 and members["m/sparse"][0].size == 1 << 26


def silent(engine, head, *more):
    """A client that asks, sends that much, and says and reads nothing more."""
    s = socket.socket(socket.AF_UNIX)
    s.connect(str(engine.socket))
    s.sendall(head.encode() + b"".join(more))
    return s


def unpackers(engine):
    """Processes of ours that are writing what a client sends."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            parent = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == engine.p.pid and pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ireko-unpack\0"):
                found.append(int(pid))
    return found


def test_a_client_that_falls_silent(engine, name, folder):
    """Reading keeps the container from nothing; writing is broken off once somebody else waits for the container."""
    (folder / "big").write_bytes(os.urandom(8 << 20))
    create(engine, name, "sleep 1000", Binds=[f"{folder}:/new/point"])
    with silent(engine, f"GET /containers/{name}/archive?path=/new/point/big HTTP/1.1\r\nHost: x\r\n\r\n") as reader:
        reader.recv(1000)
        assert engine.api("POST", f"/containers/{name}/start", timeout=5).status == 204
        assert engine.api("POST", f"/containers/{name}/stop?t=0").status == 204
    with silent(engine, f"PUT /containers/{name}/archive?path=/tmp HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", one_file()[:600]) as writer:
        writer.settimeout(30)
        wait_until("the copy is under way", lambda: unpackers(engine))
        # Nobody is waiting yet, so it may take its time; what needs no lock is not kept.
        assert engine.inspect(name)["State"]["Status"] == "exited"
        begun = time.monotonic()
        assert engine.api("DELETE", f"/containers/{name}", timeout=30).status == 204
        assert 5 < time.monotonic() - begun < 20
        said = writer.recv(10000).decode()
    assert "409 Conflict" in said and "another operation on container" in said, said


def test_a_client_that_goes_away(engine, name, folder):
    """Half an archive is no reason to keep the container from anything."""
    (folder / "big").write_bytes(os.urandom(8 << 20))
    create(engine, name, Binds=[f"{folder}:/m"])
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(engine.socket))
            s.sendall(f"GET /containers/{name}/archive?path=/m/big HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            s.recv(1000)
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(engine.socket))
            s.sendall(f"PUT /containers/{name}/archive?path=/m HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n".encode() + one_file()[:600])
    assert engine.api("POST", f"/containers/{name}/start").status == 204
    assert not (folder / "new").exists() or (folder / "new").stat().st_size <= 3
