# SPDX-License-Identifier: Apache-2.0
"""`system check [--repair]`: every kind of damage is found, named with its place and remedy, and repaired from what there is."""
import json
import os
import sqlite3
import time

import pytest

import harness
from harness import docker_archive
from storage import CountingRegistry, blobs, check, image_layers, settled


@pytest.fixture(scope="module")
def registry():
    r = CountingRegistry()
    r.push("check/a", "x", image_layers(3), Cmd=["sh"], Labels={"a": "b"})
    yield r
    r.close()


def filled(new_engine, registry, snapshotter):
    engine = new_engine("--insecure-registry", "127.0.0.0/8", "--snapshotter", snapshotter, busybox=False)
    engine.name = f"{registry.host}/check/a:x"
    engine.cli("pull", engine.name)
    settled(engine)
    return engine


@pytest.fixture
def store(new_engine, registry):
    """An engine with one pulled image, in directories; `store.name` is what it is called."""
    return filled(new_engine, registry, "overlayfs")


@pytest.fixture
def image_store(new_engine, registry):
    """The same with layers that are EROFS images."""
    return filled(new_engine, registry, "erofs")


def rows(engine, sql, *args):
    with sqlite3.connect(f"file:{engine.data_root}/ireko.db?mode=ro", uri=True) as db:
        return db.execute(sql, args).fetchall()


def change_rows(engine, sql, *args):
    engine.stop()
    with sqlite3.connect(engine.data_root / "ireko.db") as db:
        db.execute(sql, args)
    engine.start()


def blob_file(engine, digest):
    return engine.data_root / "content/blobs/sha256" / digest.removeprefix("sha256:")


def layer_blob(engine, registry):
    """The digest and file of the top layer's blob."""
    document = json.loads(registry.manifests[("check/a", "x")])
    digest = document["layers"][-1]["digest"]
    return digest, blob_file(engine, digest)


def layer_file(engine, name):
    found = [p for p in (engine.data_root / "layers").glob(f"*/diff/{name}")]
    assert len(found) == 1, found
    return found[0]


def damage_text(path):
    damage_at(path, path.stat().st_size // 2)


def damage_at(path, where):
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    keep = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(keep.st_atime_ns, keep.st_mtime_ns))


def test_whole_store(store):
    said = check(store)
    assert "The store is consistent" in said and "3 layers, 1 images" in said
    assert check(store, "--repair").count("repaired") == 0


DAMAGES = {
    "a bit of a blob": (lambda e, r: damage_text(layer_blob(e, r)[1]), "hashes to"),
    "a blob cut off": (lambda e, r: os.truncate(layer_blob(e, r)[1], 100), "has 100 bytes"),
    "an empty blob": (lambda e, r: os.truncate(layer_blob(e, r)[1], 0), "has 0 bytes"),
    "a blob gone": (lambda e, r: layer_blob(e, r)[1].unlink(), "missing"),
    "the config gone": (lambda e, r: blob_file(e, e.inspect_image(e.name)["Id"]).unlink(), "missing"),
    "a bit of a file": (lambda e, r: damage_text(layer_file(e, "d2/big")), "d2/big: the contents differ"),
    "an empty file": (lambda e, r: os.truncate(layer_file(e, "d2/f3"), 0), "d2/f3: it is empty"),
    "a file gone": (lambda e, r: layer_file(e, "d2/f3").unlink(), "d2/f3: it is missing"),
    "a file too many": (lambda e, r: (layer_file(e, "d2/f3").parent / "new").write_text("x"), "d2/new: it does not belong there"),
    "another mode": (lambda e, r: layer_file(e, "d2/f3").chmod(0o4755), "d2/f3: the mode differs"),
    "another owner": (lambda e, r: os.chown(layer_file(e, "d2/f3"), 7, 7), "d2/f3: the owner differs"),
    "a link elsewhere": (lambda e, r: (layer_file(e, "d2/soft").unlink(), (layer_file(e, "d2/f3").parent / "soft").symlink_to("/etc/passwd")), "d2/soft: the "),
    "a layer gone": (lambda e, r: harness.shutil.rmtree(layer_file(e, "d2/f3").parents[2]), "cannot be opened"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_damage_is_found_and_repaired(store, registry, what):
    do, words = DAMAGES[what]
    store.inspect_image = lambda name: store.api("GET", f"/images/{name}/json").json
    do(store, registry)
    said = check(store, status=1)
    assert words in said and "remedy: ireko system check --repair" in said and store.name in said, said
    assert check(store, status=1) == said, "looking changed something"
    said = check(store, "--repair")
    assert words in said and "repaired:" in said and "0 left" in said, said
    assert "The store is consistent" in check(store)
    settled(store)
    assert store.cli("run", "--rm", store.name, "sh", "-c", "cat /d2/* 2>/dev/null | wc -c").stdout.strip() == "266000"
    store.remove_containers()


@pytest.mark.parametrize("what", ["a blob cut off", "an empty blob", "a blob gone", "the config gone", "a layer gone"])
def test_pulling_again_repairs(store, registry, what):
    store.inspect_image = lambda name: store.api("GET", f"/images/{name}/json").json
    DAMAGES[what][0](store, registry)
    store.cli("pull", store.name)
    assert "The store is consistent" in check(store)


def top_image(engine, registry):
    found = sorted(engine.data_root.glob("layers/*/layer.erofs"), key=lambda p: p.stat().st_size)
    assert len(found) == 3
    return found[0]


IMAGE_DAMAGES = {
    "a bit of the tar": lambda path: damage_text(path),
    "a bit of the index": lambda path: damage_at(path, path.stat().st_size - 700),
    "cut off": lambda path: os.truncate(path, 5000),
    "empty": lambda path: os.truncate(path, 0),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("what", IMAGE_DAMAGES)
@pytest.mark.parametrize("blob", ["with its blob", "and its blob"])
def test_damaged_layer_image(image_store, registry, what, blob):
    path = top_image(image_store, registry)
    IMAGE_DAMAGES[what](path)
    if blob == "and its blob":
        for digest in {d["digest"] for d in json.loads(registry.manifests[("check/a", "x")])["layers"]}:
            damage_text(blob_file(image_store, digest))
    assert path.parent.name in check(image_store, status=1)
    said = check(image_store, "--repair")
    assert "0 left" in said, said
    assert "The store is consistent" in check(image_store)
    assert image_store.cli("run", "--rm", image_store.name, "sh", "-c", "cat /d2/* 2>/dev/null | wc -c").stdout.strip() == "266000"


def test_whole_layer_images(image_store):
    assert "The store is consistent" in check(image_store)


def test_blob_and_layer_damaged(store, registry):
    """What the layer should be only the registry knows."""
    damage_text(layer_blob(store, registry)[1])
    damage_text(layer_file(store, "d2/big"))
    said = check(store, "--repair")
    assert "0 left" in said and "fetched again" in said, said
    assert "The store is consistent" in check(store)


def test_registry_is_away(new_engine):
    registry = CountingRegistry()
    registry.push("check/away", "x", image_layers(2))
    engine = new_engine("--insecure-registry", "127.0.0.0/8", busybox=False)
    engine.cli("pull", f"{registry.host}/check/away:x")
    digest = json.loads(registry.manifests[("check/away", "x")])["layers"][-1]["digest"]
    # A connection may outlive the server.
    registry.close()
    registry.blobs.clear()
    registry.manifests.clear()
    damage_text(blob_file(engine, digest))
    said = check(engine, "--repair", status=1)
    assert digest in said and "remedy: pull the images" in said and "1 left" in said, said


def test_layer_that_was_made_here(new_engine, folder):
    engine = new_engine("--snapshotter", "overlayfs")
    (folder / "Dockerfile").write_text("FROM busybox\nCOPY f /here/f\n")
    (folder / "f").write_text("text")
    engine.cli("build", "-t", "made", folder)
    assert "The store is consistent" in check(engine)
    path = layer_file(engine, "here/f")
    damage_text(path)
    said = check(engine, "--repair", status=1)
    assert "hash to" in said and "needed by made" in said and "build the images" in said, said
    assert path.exists(), "what cannot be repaired stays"


def test_running_container_keeps_its_layer(store, name):
    store.cli("run", "-d", "--name", name, store.name, "sleep", "1000")
    damage_text(layer_file(store, "d2/big"))
    said = check(store, "--repair", status=1)
    assert "stop the containers" in said, said
    store.cli("rm", "-f", name)
    assert "repaired: made again" in check(store, "--repair")


def test_files_that_nothing_knows(store):
    root = store.data_root
    strays = [root / "content/blobs/sha256" / ("ab" * 32), root / "layers" / ("cd" * 32), root / "layers/.tmp-x", root / "content/ingest/load-x"]
    strays[0].write_text("stray")
    for d in strays[1:]:
        d.mkdir()
        (d / "f").write_text("x")
    # What has just come may get its row any moment; a time in the past cannot be given to ctime, so the clock of the test waits.
    assert "The store is consistent" in check(store)
    time.sleep(11)
    said = check(store, status=1)
    assert said.count("nothing in the database knows it") == 4, said
    assert "4 repaired, 0 left" in check(store, "--repair")
    assert not any(p.exists() for p in strays)


def test_rows_that_point_nowhere(store, name):
    change_rows(store, "INSERT INTO tag VALUES ('docker.io/library/loose:1', 'sha256:none')")
    said = check(store, status=1)
    assert "tag docker.io/library/loose:1: the image that it names is missing" in said
    assert "repaired: removed" in check(store, "--repair")
    store.cli("create", "--name", name, store.name, "true")
    key = store.inspect(name)["Id"]
    harness.shutil.rmtree(store.data_root / "containers" / key / "diff")
    assert f"snapshot {key}: its files are missing" in check(store, status=1)
    assert "what the container had written is lost" in check(store, "--repair")
    store.cli("start", "-a", name)


def test_api(store):
    reply = store.api("GET", "/ireko/check")
    assert reply.status == 200
    assert reply.lines[-1]["aux"]["Summary"]["Findings"] == 0
    assert store.api("GET", "/ireko/check?repair=1").status == 400


def test_old_database(new_engine, folder):
    """A store that an ireko before the build cache's own table has written."""
    engine = new_engine()
    (folder / "Dockerfile").write_text("FROM busybox\nRUN echo a > /a\n")
    engine.cli("build", "-t", "built", folder)
    cache = rows(engine, "SELECT key, chain_id, diff_id, empty, created_ns FROM build_cache")
    assert cache
    engine.stop()
    with sqlite3.connect(engine.data_root / "ireko.db") as db:
        for key, chain, diff, empty, created in cache:
            db.execute("INSERT INTO doc VALUES ('build-cache', ?, ?)", (key, json.dumps({"chain": chain, "diff": diff, "empty": bool(empty), "created": created})))
        db.execute("DROP TABLE build_cache")
        db.execute("DROP TABLE image_part")
        for table, column in (("layer", "made_ns"), ("layer", "inodes"), ("layer", "tar_size"), ("image", "used_ns"), ("image", "labels"), ("image", "artifact_type"), ("image", "index_digest")):
            db.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        db.execute("PRAGMA user_version = 1")
    engine.start()
    assert rows(engine, "SELECT key, chain_id, diff_id, empty, created_ns FROM build_cache") == cache
    assert "CACHED" in engine.cli("build", "-t", "again", folder).stderr
    assert "The store is consistent" in check(engine)
