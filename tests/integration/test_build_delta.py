# SPDX-License-Identifier: Apache-2.0
"""A COPY of which little has changed gives the layer of the last time and one more: the files are those of a whole copy, whatever was changed."""
import hashlib
import io
import json
import os
import random
import tarfile

import pytest


def tree_of(engine, image, below):
    """Everything about the files of an image but its times of directories that hold others' files: {name: (...)}."""
    container = engine.api("POST", "/containers/create", {"Image": image}).json["Id"]
    try:
        reply = engine.api("GET", f"/containers/{container}/archive?path={below}")
        assert reply.status == 200, reply.body
        data = reply.body if isinstance(reply.body, bytes) else reply.body.encode("latin1")
    finally:
        engine.api("DELETE", f"/containers/{container}?force=1")
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for m in tar.getmembers():
            content = hashlib.sha256(tar.extractfile(m).read()).hexdigest() if m.isreg() else ""
            # The directory itself is as old as the step that made it.
            time = None if m.name.count("/") == 0 or m.name.endswith("/app") and m.isdir() and m.name.count("/") <= 1 else int(m.mtime)
            found[m.name] = (m.type, m.mode, m.uid, m.gid, m.linkname, content, time)
    return found


def layers(engine, image):
    return engine.api("GET", f"/images/{image}/json").json["RootFS"]["Layers"]


@pytest.fixture
def build(engine, folder, name):
    def run(tag, *options, text="FROM busybox\nWORKDIR /app\nCOPY . .\n"):
        (folder / "Dockerfile").write_text(text)
        (folder / ".dockerignore").write_text("Dockerfile\n.dockerignore\n*.skip\n")
        engine.cli("build", "-t", f"{name}:{tag}", *options, folder)
        return f"{name}:{tag}"

    yield run
    engine.cli("rmi", "-f", *(t for i in engine.api("GET", "/images/json").json for t in i["RepoTags"] if t.startswith(f"{name}:")), check=False)


def fill(folder):
    for i in range(6):
        for k in range(8):
            path = folder / f"d{i}" / ("sub" if k % 3 == 0 else ".") / f"f-{k}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{i} {k}\n" * 50)
    (folder / "d0-beside").write_text("sorts between d0 and what is in it\n")
    os.symlink("f-1", folder / "d1" / "link")


def change(folder, chance):
    """One thing, of all kinds."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink() and p.name not in ("Dockerfile", ".dockerignore"))
    victim = chance.choice(files)
    kind = chance.choice(["edit", "edit", "new", "gone", "mode", "link", "to link", "to directory", "directory", "hard link", "time", "ignored", "same size"])
    if kind == "edit":
        victim.write_text(f"{chance.random()}\n")
    elif kind == "new":
        (victim.parent / f"new-{chance.randrange(1000)}").write_text("new\n")
    elif kind == "gone":
        victim.unlink()
    elif kind == "mode":
        victim.chmod(chance.choice([0o600, 0o755, 0o4755]))
    elif kind == "link":
        os.symlink(chance.choice(["f-1", "/etc/passwd", "nowhere"]), victim.parent / f"link-{chance.randrange(1000)}")
    elif kind == "to link":
        victim.unlink()
        os.symlink("elsewhere", victim)
    elif kind == "to directory":
        victim.unlink()
        victim.mkdir()
        (victim / "in").write_text("in\n")
    elif kind == "directory":
        (victim.parent / f"dir-{chance.randrange(1000)}" / "deep").mkdir(parents=True)
    elif kind == "hard link":
        os.link(victim, victim.parent / f"hard-{chance.randrange(1000)}")
    elif kind == "time":
        os.utime(victim, (1, 1))
    elif kind == "ignored":
        (victim.parent / "x.skip").write_text(f"{chance.random()}")
    else:
        data = victim.read_bytes()
        if data:
            victim.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    return kind


@pytest.mark.parametrize("seed", range(3))
def test_the_files_are_those_of_a_whole_copy(build, engine, folder, seed):
    chance, done, extra = random.Random(seed), [], 0
    fill(folder)
    build("now")
    for _ in range(10):
        done += [change(folder, chance) for _ in range(chance.choice([1, 1, 3]))]
        ours, whole = build("now"), build("whole", "--no-cache")
        a, b = tree_of(engine, ours, "/app"), tree_of(engine, whole, "/app")
        # Times of files whose contents are the same stay those of the last time, as with any cache.
        timeless = lambda tree: {k: v[:-1] for k, v in tree.items()}
        assert timeless(a) == timeless(b), done
        extra += len(layers(engine, ours)) > len(layers(engine, whole))
        history = engine.api("GET", f"/images/{ours}/history").json
        assert len([h for h in history if h["Size"] or "COPY" in h["CreatedBy"]]) >= len(layers(engine, ours)) - 1
    assert extra >= 2, "nothing of this was tested"


def test_one_line_makes_a_small_layer_and_never_more_than_one(build, engine, folder, name):
    (folder / "big").write_bytes(os.urandom(3 << 20))
    fill(folder)
    base = layers(engine, build("now"))
    for i in range(3):
        (folder / "d1" / "f-1").write_text(f"line {i}\n")
        now = layers(engine, build("now"))
        assert now[:-1] == base and len(now) == len(base) + 1
        assert engine.cli("run", "--rm", f"{name}:now", "cat", "/app/d1/f-1", "/app/d1/link").stdout == f"line {i}\n" * 2
    # From the cache again, and what follows is cached as well; on another machine the two layers are found in the cache image.
    assert layers(engine, build("again")) == now
    # Back to what it was.
    for k, path in enumerate(sorted((folder / "d1").glob("f-1"))):
        path.write_text("1 1\n" * 50)
    assert layers(engine, build("now")) == base
    # Much that is different is a whole copy.
    (folder / "big").write_bytes(os.urandom(3 << 20))
    assert len(layers(engine, build("now"))) == len(base)


def test_what_is_gone_does_not_show_the_stage_below(build, engine, folder, name):
    text = "FROM busybox\nRUN mkdir -p /app/d && echo below > /app/d/f && echo kept > /app/d/own\nCOPY . /app\n"
    (folder / "d").mkdir()
    (folder / "d" / "f").write_text("above\n")
    (folder / "d" / "g").write_text("more\n")
    build("now", text=text)
    (folder / "d" / "f").unlink()
    build("now", text=text)
    assert engine.cli("run", "--rm", f"{name}:now", "sh", "-c", "cd /app/d; cat f own g").stdout == "below\nkept\nmore\n"
    (folder / "d" / "g").unlink()
    build("now", text=text)
    assert engine.cli("run", "--rm", f"{name}:now", "sh", "-c", "ls /app/d").stdout == "f\nown\n"


@pytest.mark.parametrize("harm", ("cut", "bits", "gone", "garbage"))
def test_a_damaged_manifest_is_none(build, engine, folder, name, harm):
    fill(folder)
    build("now", "--no-cache", text=f"FROM busybox\nWORKDIR /{name}\nCOPY . .\n")
    for path in (engine.data_root / "build/manifests").iterdir():
        data = path.read_bytes()
        if harm == "gone":
            path.unlink()
        else:
            path.write_bytes({"cut": data[:-40], "bits": data[:60] + bytes([data[60] ^ 4]) + data[61:], "garbage": b"ireko-manifest-1" + os.urandom(500)}[harm])
    (folder / "d1" / "f-1").write_text("other\n")
    build("now", text=f"FROM busybox\nWORKDIR /{name}\nCOPY . .\n")
    assert engine.cli("run", "--rm", f"{name}:now", "cat", f"/{name}/d1/f-1").stdout == "other\n"
    assert len(layers(engine, f"{name}:now")) == 3


def test_under_source_date_epoch_there_is_one_layer(build, engine, folder):
    fill(folder)
    first = layers(engine, build("now", "--build-arg", "SOURCE_DATE_EPOCH=1700000000"))
    (folder / "d1" / "f-1").write_text("other\n")
    assert len(layers(engine, build("now", "--build-arg", "SOURCE_DATE_EPOCH=1700000000"))) == len(first)
