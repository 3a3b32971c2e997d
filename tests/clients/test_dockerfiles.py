# SPDX-License-Identifier: Apache-2.0
"""Dockerfiles as people write them, built by us and by docker 28's BuildKit: the same files, the same configuration, the same history.

Ours are built by `ireko build`, and once more by the docker CLI with buildx, which must come to the same image. What cannot be the same is left out: times that a RUN gives.
"""
import bz2
import gzip
import lzma
import os
import pathlib
import shutil
import socket
import threading

import pytest

from builders import Ours, Theirs
from compose import PLUGINS, current_docker
from harness import add_file, make_tar
from image_trees import differences
from toolchains import archives

DOCKERFILES = pathlib.Path(__file__).parent / "dockerfiles"
OLD = 1_600_000_000  # of all files of a context


def packed(folder):
    plain = make_tar(lambda t: (add_file(t, "d", mode=0o755, type=b"5", uid=7, gid=8, mtime=OLD), add_file(t, "d/f", b"f", 0o640, uid=7, gid=8, mtime=OLD), add_file(t, "d/link", type=b"2", linkname="f", mode=0o777, mtime=OLD),
                                add_file(t, "d/hard", mode=0o640, uid=7, gid=8, type=b"1", linkname="d/f", mtime=OLD), add_file(t, "suid", b"s", 0o4755, mtime=OLD)))
    other = make_tar(lambda t: add_file(t, "xz", b"x", mtime=OLD))
    third = make_tar(lambda t: add_file(t, "bz2", b"b", mtime=OLD))
    for name, data in (("plain.tar", plain), ("packed.tar.gz", gzip.compress(plain, mtime=0)), ("packed.tar.xz", lzma.compress(other)), ("packed.tar.bz2", bz2.compress(third)), ("not-an-archive.tar.gz", b"plain text")):
        (folder / name).write_bytes(data)


def links(folder):
    (folder / "links").mkdir()
    for name, target in (("to-file", "../target.txt"), ("to-dir", "../tree"), ("dangling", "nowhere"), ("absolute", "/etc/passwd")):
        (folder / "links" / name).symlink_to(target)


def modes(folder):
    (folder / "dir/deep/run.sh").chmod(0o755)
    (folder / "second.txt").chmod(0o600)
    (folder / "dir/deep").chmod(0o750)


def left_by_python(folder):
    (folder / "pkg/__pycache__").mkdir()
    (folder / "pkg/__pycache__/x.pyc").write_text("not copied")


def executable(*names):
    return lambda folder: [(folder / n).chmod(0o755) for n in names]


EXTRA = {"archives": packed, "links": links, "copy": modes, "python": left_by_python, "users": executable("tool.sh"), "configuration": executable("entrypoint.sh")}


@pytest.fixture(scope="module")
def ours(_shared_engine):
    for name, data in archives().items():
        reply = _shared_engine.api("POST", "/images/load?quiet=1", data, {"Content-Type": "application/x-tar"})
        assert reply.status == 200, (name, reply.body)
    made = Ours(_shared_engine)
    yield made
    made.forget()
    made.call("rmi", *archives())
    made.close()


@pytest.fixture(scope="module")
def theirs():
    made = Theirs()
    try:
        for name, data in archives().items():
            path = made.folder / "base.tar"
            path.write_bytes(data)
            made.call("load", "-i", path)
        yield made
    finally:
        made.close()


@pytest.fixture
def agent(folder):
    """Something that listens as an ssh agent would: nobody asks it anything."""
    server = socket.socket(socket.AF_UNIX)
    here = os.open(folder, os.O_PATH)
    server.bind(f"/proc/self/fd/{here}/agent")
    server.listen()
    threading.Thread(target=lambda: list(iter(lambda: accept(server), None)), daemon=True).start()
    yield f"/proc/{os.getpid()}/fd/{here}/agent"
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    os.close(here)


def accept(server):
    try:
        server.accept()[0].close()
        return True
    except OSError:
        return None


def prepare(name, folder):
    """The context, as both builders get it: all its files are old."""
    context = folder / name
    shutil.copytree(DOCKERFILES / name, context, symlinks=True)
    EXTRA.get(name, lambda _: None)(context)
    options = context / "options"
    words = options.read_text().splitlines() if options.exists() else []
    if words:
        options.unlink()
    for path in sorted(context.rglob("*"), reverse=True):
        os.utime(path, (OLD, OLD), follow_symlinks=False)
    return context, [str(context.parent / w.removeprefix("shared-lib=../")).join(("shared-lib=", "")) if w.startswith("shared-lib=") else w for w in words]


def compare(ours, theirs, a, b):
    mine, other = ours.image(a), theirs.image(b)
    assert mine.config == other.config
    assert [text for text, _ in mine.history] == [text for text, _ in other.history]
    # BuildKit makes a layer, without files, of a step that changed nothing.
    assert all(empty for (_, empty), (_, their) in zip(mine.history, other.history) if their)
    assert {k: mine.document.get(k) for k in ("architecture", "os", "author", "variant")} == {k: other.document.get(k) for k in ("architecture", "os", "author", "variant")}
    assert not differences(mine, other)
    times = {p: (mine.times[p], t) for p, t in other.times.items() if t <= OLD and mine.times[p] != t}
    assert not times


def buildx(engine, *args):
    """The docker CLI of today on our engine."""
    config = engine.root / "buildx-client"
    if not config.exists():
        config.mkdir()
        (config / "config.json").write_text('{"cliPluginsExtraDirs": ["%s"]}' % PLUGINS)
    return engine.cli(*args, client=str(current_docker()), env=dict(engine.env(), DOCKER_CONFIG=str(config), DOCKER_BUILDKIT="1"))


@pytest.mark.parametrize("name", sorted(d.name for d in DOCKERFILES.iterdir()))
def test_same_image(ours, theirs, folder, agent, name):
    context, options = prepare(name, folder)
    if name == "secrets":
        (folder / "token").write_bytes(b"s3cr3t" * 7)
        (folder / "netrc").write_text("machine example.invalid")
        options = ["--secret", f"id=token,src={folder}/token", "--secret", f"id=netrc,src={folder}/netrc"]
    if name == "ssh":
        options = ["--ssh", f"default={agent}", "--ssh", f"deploy={agent}"]
    if name == "onbuild":
        for b in (ours, theirs):
            b.build(None, None, "-f", context / "base.Dockerfile", tag="local/onbuild", context=context)
    (folder / "Dockerfile").write_text((context / "Dockerfile").read_text().removeprefix("# syntax=docker/dockerfile:1\n"))  # which BuildKit would fetch
    built = [ours.build(None, None, *options, tag=f"same-{name}", context=context).tag, theirs.build(None, None, "-f", folder / "Dockerfile", *options, tag=f"same-{name}", context=context).tag]
    compare(ours, theirs, *built)
    identity = ours.call("image", "inspect", "-f", "{{.Id}}", built[0]).stdout
    buildx(ours.engine, "build", "-t", f"same-{name}", *options, context)
    assert ours.call("image", "inspect", "-f", "{{.Id}}", built[0]).stdout == identity
