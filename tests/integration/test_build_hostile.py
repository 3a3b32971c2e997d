# SPDX-License-Identifier: Apache-2.0
"""Builds by strangers: what a Dockerfile, a context or a step tries to reach, to read, to fill or to leave behind.

Links of mounts (BuildKit's CVE-2024-23651 and 23652) and rights that were not given (23653) are in test_build_mounts.py too, one attack at a time; here they race.
"""
import os
import pathlib
import subprocess
import tarfile
import threading
import time
import uuid

import pytest

from harness import add_file, make_tar, run, wait_until

CACHED = ("CACHED", "Using cache")


def build(engine, folder, dockerfile, *options, tag="hostile", check=True, **kw):
    (folder / "Dockerfile").write_text(dockerfile)
    p = engine.cli("build", "-t", tag, *options, folder, check=check, **kw)
    return p.stdout + p.stderr


@pytest.fixture(autouse=True)
def clean(engine):
    yield
    engine.cli("rmi", "-f", "hostile", check=False)
    engine.cli("builder", "prune", "-af")


def post(engine, fill, query="t=hostile"):
    return engine.api("POST", f"/build?{query}", make_tar(fill), {"Content-Type": "application/x-tar"})


def memory_kib(engine):
    return int(next(line for line in pathlib.Path(f"/proc/{engine.p.pid}/status").read_text().splitlines() if line.startswith("VmHWM:")).split()[1])


# ---- secrets
def test_a_secret_is_left_nowhere(new_engine, folder, name):
    """Not in layers, history, cache, logs or files of the engine: of steps that end well, that fail, and that are killed with it."""
    engine = new_engine()
    marks = [uuid.uuid4().hex + uuid.uuid4().hex for _ in range(3)]
    for i, mark in enumerate(marks):
        (folder / f"s{i}").write_text(mark)
    options = [w for i in range(3) for w in ("--secret", f"id=s{i},src={folder}/s{i}")]
    (folder / ".dockerignore").write_text("s?\n")
    (folder / "Slow").write_text("FROM busybox\nRUN --mount=type=secret,id=s0 --mount=type=secret,id=s1,env=TOKEN sleep 300\n")
    build(engine, folder, "FROM busybox\nRUN --mount=type=secret,id=s0 --mount=type=cache,target=/cache sha256sum /run/secrets/s0 >/sum && mkdir -p /cache/d\n"
                          "RUN --mount=type=secret,id=s1,env=TOKEN echo ${#TOKEN} >/length\nRUN test -z \"$TOKEN\" && test ! -e /run/secrets/s0\n", *options)
    build(engine, folder, "FROM busybox\nRUN --mount=type=secret,id=s2,target=/etc/deep/er/secret,mode=0444 test $(wc -c < /etc/deep/er/secret) = 64 && exit 3\n", *options, check=False)
    killed = engine.popen("build", "-t", "hostile", *options, "-f", folder / "Slow", folder)
    wait_until("the step runs", lambda: engine.api("GET", "/containers/json").json)
    engine.kill()
    killed.communicate()
    engine.start()
    engine.stop()
    for mark in marks:
        found = run("grep", "-rlaF", mark, engine.root, check=False).stdout
        assert not found, found
    engine.start()


# ---- contexts
@pytest.mark.parametrize("kind", ["Dockerfile", ".dockerignore"])
def test_a_dockerfile_that_is_a_link_out(engine, folder, kind):
    secret = folder / "secret"
    secret.write_text("FROM busybox\nRUN the-hosts-own-words\n")

    def fill(t):
        if kind != "Dockerfile":
            add_file(t, "Dockerfile", b"FROM busybox\nCOPY . /c\n")
        add_file(t, kind, type=tarfile.SYMTYPE, linkname=str(secret))

    reply = post(engine, fill)
    assert b"the-hosts-own-words" not in reply.body
    assert kind == ".dockerignore" or reply.status != 200 or b"error" in reply.body


def test_context_members_that_lead_out(engine, folder):
    victim = folder / "victim"
    victim.write_text("untouched")
    up = "../" * 20 + str(victim).lstrip("/")
    members = {
        "climbs": lambda t: add_file(t, up, b"escaped"),
        "absolute": lambda t: add_file(t, str(victim), b"escaped"),
        "through a link": lambda t: (add_file(t, "d", type=tarfile.SYMTYPE, linkname=str(folder)), add_file(t, "d/victim", b"escaped")),
        "hard link": lambda t: (add_file(t, "h", type=tarfile.LNKTYPE, linkname=up), add_file(t, "h", b"escaped")),
        "hard link to the host's file": lambda t: add_file(t, "h", type=tarfile.LNKTYPE, linkname=str(victim)),
        "device": lambda t: add_file(t, "dev", type=tarfile.BLKTYPE, devmajor=7, devminor=0, mode=0o666),
    }
    for what, member in members.items():
        reply = post(engine, lambda t, m=member: (add_file(t, "Dockerfile", b"FROM busybox\nCOPY . /c\nRUN find /c -type f -exec cat {} + ; true\n"), m(t)))
        assert b"untouched" not in reply.body, what
        assert victim.read_text() == "untouched" and os.stat(victim).st_nlink == 1, what
        assert sorted(p.name for p in folder.iterdir()) == ["victim"], what


# ---- Dockerfiles
def test_bombs(engine):
    """Refused, or done, in seconds and without much memory."""
    doubled = "".join(f"ENV a{i + 1}=$a{i}$a{i}\n" for i in range(40))
    nested = "${a:-" * 3000 + "x" + "}" * 3000
    bombs = {
        "size": b"FROM busybox\n" + b"# " + b"x" * (2 << 20) + b"\n",
        "steps": b"FROM busybox\n" + b"ENV a=b\n" * 20000,
        "doubling": f"FROM busybox\nENV a0=xxxxxxxxxxxxxxxx\n{doubled}".encode(),
        "nesting": f"FROM busybox\nENV b={nested}\n".encode(),
        "patterns": ("FROM busybox\nENV a=" + "a" * 20000 + "\nENV b=${a%%" + "*a" * 2000 + "b}\n").encode(),
        "here-document without end": b"FROM busybox\nRUN <<EOF\n" + b"echo\n" * 100000,
        "here-documents": b"FROM busybox\nCOPY " + b" ".join(b"<<f%d" % i for i in range(3000)) + b" /d/\n" + b"".join(b"f%d\n" % i for i in range(3000)),
        "stages": b"".join(b"FROM busybox AS s%d\n" % i for i in range(9000)),
        "chain of stages": b"FROM busybox AS s0\n" + b"".join(b"FROM s%d AS s%d\n" % (i, i + 1) for i in range(3000)),
        "continuations": b"FROM busybox\nRUN true" + b" \\\n" * 200000 + b"\n",
        "zeros": b"FROM busybox\nRUN \0\0\0\n",
        "ports": b"FROM busybox\n" + b"EXPOSE 1-65535\n" * 20,
        "circle": b"FROM c AS a\nFROM a AS b\nFROM b AS c\nCOPY --from=c / /\n",
    }
    for what, text in bombs.items():
        start = time.monotonic()
        reply = post(engine, lambda t, d=text: add_file(t, "Dockerfile", d))
        took = time.monotonic() - start
        # The machine may be busy; what goes wrong here takes minutes.
        assert took < 20, f"{what}: {took:.1f} s"
        assert reply.status in (200, 400, 500), what
        assert engine.api("GET", "/_ping").status == 200, what
    assert memory_kib(engine) < 400 << 10


# ---- steps
def test_what_a_step_sees_of_the_host(engine, folder):
    said = build(engine, folder, f"""FROM busybox
RUN --mount=type=cache,target=/cache --mount=type=bind,target=/ctx cat /proc/self/mountinfo >/mounts; ls -a /run /var/run 2>/dev/null >/run-files; ls /dev >/devices; cat /proc/1/cmdline | tr '\\0' ' ' >/first; \\
    find / -xdev -name '*.sock' >/sockets 2>/dev/null; grep Cap /proc/self/status >/caps; cat /sys/kernel/security/lsm >/lsm 2>&1; echo >/proc/sys/kernel/hostname 2>/denied && echo written >/wrote; \\
    mount -t tmpfs none /mnt 2>>/denied && echo mounted >>/wrote; mknod /sda b 8 0 2>>/denied && head -c 1 /sda 2>>/denied && echo read >>/wrote; \\
    ls "{engine.data_root}" "{engine.exec_root}" "{engine.socket}" 2>/dev/null >/reached; cat /mounts /run-files /devices /first /sockets /caps /reached; test ! -e /wrote && test ! -s /reached && test ! -s /sockets && echo nothing-reached
""", "--progress", "plain")
    assert "nothing-reached" in said
    assert "mem\n" not in said and "docker.sock" not in said
    caps = next(line for line in said.splitlines() if "CapEff" in line)
    assert int(caps.split()[-1], 16) & (1 << 21) == 0, "CAP_SYS_ADMIN"


def test_a_part_of_a_cache_that_becomes_a_link_meanwhile(engine, folder):
    """CVE-2024-23651: one build changes what another one mounts."""
    victim = folder / "victim"
    victim.mkdir()
    (victim / "marker").write_text("of the host")
    context = folder / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM busybox\nRUN --mount=type=cache,id=race,target=/c mkdir -p /c/dirs/real; end=$(($(date +%s) + 6)); while [ $(date +%s) -lt $end ]; do "
                                        f"rm -rf /c/part; mkdir /c/part; rm -rf /c/part; ln -s {victim.parent} /c/part; rm -f /c/part; ln -s /etc /c/part; done; true\n")
    flipper = threading.Thread(target=lambda: engine.cli("build", "--no-cache", context, check=False))
    flipper.start()
    other = folder / "other"
    other.mkdir()
    rounds = 0
    while flipper.is_alive() and rounds < 40:
        (other / "Dockerfile").write_text(f"FROM busybox\nRUN --mount=type=cache,id=race,source=part,target=/m ls -aR /m; test ! -e /m/victim && test ! -e /m/shadow && touch /m/left-{rounds} 2>/dev/null; true\n")
        p = engine.cli("build", "--no-cache", "--progress", "plain", other, check=False)
        assert "of the host" not in p.stdout + p.stderr and "\nvictim\n" not in p.stdout + p.stderr and "shadow" not in (p.stdout + p.stderr).replace("/m/shadow", "")
        rounds += 1
    flipper.join()
    assert rounds > 2
    assert [p.name for p in victim.iterdir()] == ["marker"] and not list(folder.glob("left-*")) and not list(pathlib.Path("/etc").glob("left-*"))


def test_processes_of_a_step_end_with_its_client(engine, folder):
    mark = f"6{os.getpid()}"
    (folder / "Dockerfile").write_text(f"FROM busybox\nRUN for i in $(seq 100); do (setsid sleep {mark} &) ; done; touch /begun; sleep {mark}\n")
    client = engine.popen("build", "--no-cache", folder)
    sleeping = lambda: [p for p in filter(str.isdigit, os.listdir("/proc")) if asked(p, mark)]  # noqa: E731
    wait_until("they run", lambda: len(sleeping()) > 100, seconds=30)
    client.kill()
    client.communicate()
    wait_until("all have ended", lambda: not sleeping(), seconds=20)


def asked(pid, mark):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\0" + mark.encode() + b"\0"
    except OSError:
        return False


def test_a_full_disk_is_named(new_engine, folder):
    """What a step fills is its own engine's disk; the next build finds room again, and the finished steps."""
    data = folder / "data"
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", data], check=True)
    try:
        engine = new_engine(data_root=data / "root")
        engine.own_mounts = (str(data),)
        context = folder / "context"
        context.mkdir()
        said = build(engine, context, "FROM busybox\nRUN echo early >/early\nRUN dd if=/dev/zero of=/big bs=1M count=200\n", check=False)
        assert "No space left on device" in said and "hostile:latest" not in engine.images()
        wait_until("there is room again", lambda: os.statvfs(data).f_bavail * os.statvfs(data).f_frsize > 20 << 20)
        said = build(engine, context, "FROM busybox\nRUN echo early >/early\nRUN echo small >/small\n", "--progress", "plain")
        assert any(c in said for c in CACHED) and "hostile:latest" in engine.images()
        engine.stop()
    finally:
        subprocess.run(["umount", "--lazy", data], check=True)
