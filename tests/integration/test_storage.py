# SPDX-License-Identifier: Apache-2.0
"""system df, prune with its filters, and garbage collection by policy."""
import json
import os
import time

import pytest

from harness import BUILD, Bound, add_file, docker_archive, make_tar, run, wait_until


def file_layer(name, size, seed=0):
    return make_tar(lambda t: add_file(t, name, bytes([seed]) * size))


def load(engine, tag, layers, **config):
    reply = engine.api("POST", "/images/load?quiet=1", docker_archive(tag, layers, **config), {"Content-Type": "application/x-tar"})
    assert reply.status == 200 and b"error" not in reply.body, reply.body


def df(engine, what=""):
    reply = engine.api("GET", f"/system/df{what}")
    assert reply.status == 200, reply.body
    return reply.json


def image(engine, tag):
    found = [i for i in df(engine)["Images"] if tag in (i["RepoTags"] or [])]
    assert len(found) == 1
    return found[0]


def disk(engine):
    """Bytes of files below the folders that images are made of."""
    total = 0
    for top in ("content/blobs", "layers"):
        for folder, _, names in os.walk(engine.data_root / top):
            total += sum(os.lstat(os.path.join(folder, n)).st_size for n in names if not os.path.islink(os.path.join(folder, n)))
    return total


@pytest.fixture
def own(new_engine):
    # Layers in directories: there a layer takes what its files take.
    return new_engine("--snapshotter", "overlayfs", busybox=False)


# ---- system df
def test_df_counts_shared_layers_once(own):
    base = file_layer("base", 100000)
    load(own, "a:1", [base, file_layer("a", 20000, 1)])
    load(own, "b:1", [base, file_layer("b", 30000, 2)])
    a, b, all_of_it = image(own, "a:1"), image(own, "b:1"), df(own)
    assert a["SharedSize"] == b["SharedSize"] > 100000
    assert all_of_it["LayersSize"] == a["Size"] + b["Size"] - a["SharedSize"] == disk(own)
    assert all_of_it["ImageUsage"] == {"ActiveCount": 0, "TotalCount": 2, "TotalSize": disk(own), "Reclaimable": disk(own)}
    own.cli("create", "--name", "user", "a:1", "x")
    # The base is in use, so what b alone has is all that can go.
    assert df(own)["ImageUsage"]["Reclaimable"] == b["Size"] - b["SharedSize"]
    assert image(own, "a:1")["Containers"] == 1
    freed = own.api("POST", '/images/prune?filters={"dangling":["false"]}').json["SpaceReclaimed"]
    assert freed == b["Size"] - b["SharedSize"]
    wait_until("the files are gone", lambda: disk(own) == df(own)["LayersSize"])


def test_df_of_containers_and_volumes(new_engine):
    engine = new_engine()
    engine.cli("run", "--name", "writer", "-v", "vol:/v", "busybox", "sh", "-c", "dd if=/dev/zero of=/one bs=1000 count=50 2>/dev/null; ln /one /two; dd if=/dev/zero of=/v/x bs=1000 count=70 2>/dev/null; ln /v/x /v/y")
    d = df(engine)
    assert [c["SizeRw"] for c in d["Containers"]] == [50000], "a hard link is no second file"
    assert [(v["Name"], v["UsageData"]) for v in d["Volumes"]] == [("vol", {"Size": 70000, "RefCount": 1})]
    assert d["ContainerUsage"]["Reclaimable"] == 50000 and d["VolumeUsage"]["Reclaimable"] == 0
    ireko = Bound(engine, "ireko")
    assert "50kB" in ireko.out("system", "df", "-v") and "70kB" in ireko.out("system", "df", "-v")
    # What is written later is counted after a moment.
    engine.cli("run", "--rm", "-v", "vol:/v", "busybox", "sh", "-c", "dd if=/dev/zero of=/v/z bs=1000 count=5 2>/dev/null")
    wait_until("the new file counts", lambda: df(engine)["Volumes"][0]["UsageData"]["Size"] == 75000)
    assert engine.cli("container", "prune", "-f").stdout.splitlines()[-1] == "Total reclaimed space: 50kB"
    assert engine.cli("volume", "prune", "-af").stdout.splitlines()[-1] == "Total reclaimed space: 75kB"


def test_df_asks_for_some_types_only(own):
    assert set(df(own, "?type=volume")) == {"Volumes", "VolumeUsage"}
    assert own.api("GET", "/system/df?type=x").status == 400


def test_df_walks_no_tree_twice(new_engine, name):
    """A large volume is not walked again and again: the second answer comes without looking at it."""
    engine = new_engine()
    engine.cli("volume", "create", name)
    where = engine.data_root / "volumes" / name / "_data"
    for d in range(60):
        (where / str(d)).mkdir()
        for i in range(100):
            (where / str(d) / str(i)).touch()
    df(engine)
    before = where.stat().st_atime_ns
    os.utime(where / "0", ns=(1, 1))
    df(engine)
    assert (where / "0").stat().st_atime_ns == 1, "it was read once more"
    assert where.stat().st_atime_ns == before


def test_docker_reads_it(new_engine):
    engine = new_engine()
    docker = Bound(engine, "docker")
    docker("volume", "create", "vol")
    for args in ((), ("-v",), ("--format", "json")):
        assert docker.out("system", "df", *args)


# ---- prune
def test_image_prune_filters(own, cli_name="ireko"):
    old, new = {"Labels": {"keep": "yes"}}, {"Labels": {"keep": "no", "x": "1"}}
    load(own, "k:1", [file_layer("k", 1000)], **old)
    load(own, "n:1", [file_layer("n", 2000)], **new)
    ireko = Bound(own, cli_name)
    assert "Total reclaimed space: 0B" in ireko.out("image", "prune", "-af", "--filter", "label=nothing")
    assert "Total reclaimed space: 0B" in ireko.out("image", "prune", "-f")
    ireko("image", "prune", "-af", "--filter", "label!=keep=yes")
    assert own.images() == {"k:1"}
    # It was made at no known time, so it is older than any.
    ireko("image", "prune", "-af", "--filter", "until=1h")
    assert own.images() == set()
    assert "invalid filter" in ireko.fails("image", "prune", "-f", "--filter", "color=red")


def test_other_prune_filters(new_engine, name):
    engine = new_engine()
    for n in ("aa", "bb"):
        engine.cli("create", "--name", n, "--label", f"which={n}", "busybox", "true")
        engine.cli("volume", "create", "--label", f"which={n}", n)
        engine.cli("network", "create", "--label", f"which={n}", n)
    engine.cli("container", "prune", "-f", "--filter", "until=10m")
    assert engine.containers() == {"aa", "bb"}
    engine.cli("container", "prune", "-f", "--filter", "label=which=aa")
    engine.cli("volume", "prune", "-af", "--filter", "label!=which=bb")
    engine.cli("network", "prune", "-f", "--filter", "label=which=aa")
    assert engine.containers() == {"bb"}
    assert engine.cli("volume", "ls", "-q").stdout.split() == ["bb"]
    assert "aa" not in engine.cli("network", "ls", "--format", "{{.Name}}").stdout.split()
    p = engine.cli("system", "prune", "-f", "--volumes", "--filter", "until=1h", check=False)
    assert p.returncode != 0 and "--volumes" in p.stderr
    engine.cli("system", "prune", "-af", "--filter", "label=which=bb")
    assert engine.containers() == set() and engine.images() == {"busybox:latest"}
    out = engine.cli("system", "prune", "-af", "--volumes").stdout
    assert engine.images() == set() and "Total reclaimed space" in out


def build_cache(engine, folder):
    """Two stages, so that the first one's layer is in the cache alone."""
    (folder / "Dockerfile").write_text("FROM busybox AS one\nRUN dd if=/dev/zero of=/big bs=1000 count=100 2>/dev/null\nFROM busybox\nCOPY --from=one /big /small\n")
    engine.cli("build", "-t", "built", folder)
    return {c["Shared"]: c for c in df(engine)["BuildCache"]}


def test_builder_prune(new_engine, folder):
    engine = new_engine()
    entries = build_cache(engine, folder)
    assert entries[False]["Size"] == 100000 and df(engine)["BuildCacheUsage"]["TotalSize"] == 100000
    prune = lambda *args: engine.cli("builder", "prune", "-f", *args).stdout
    assert "reclaimed space: 0B" in prune("--filter", "until=1h")
    assert "reclaimed space: 0B" in prune("--reserved-space", "1m")
    assert "reclaimed space: 0B" in prune("--filter", "shared=true")
    assert "reclaimed space: 0B" in prune("--max-used-space", "100000")
    assert "reclaimed space: 100kB" in prune("--max-used-space", "90000")
    assert [c["Shared"] for c in df(engine)["BuildCache"]] == [True], "what the image has stays"
    assert "reclaimed space: 0B" in prune("-a") and not df(engine)["BuildCache"]
    assert engine.cli("run", "--rm", "built", "ls", "/small").returncode == 0


# ---- garbage collection by itself
def test_gc_by_size_takes_the_longest_unused(new_engine):
    engine = new_engine("--gc-max-size", "250k", "--gc-images", "unused", "--gc-keep", "kept:*", "--gc-interval", "300ms", "--snapshotter", "overlayfs", busybox=False)
    load(engine, "kept:1", [file_layer("k", 30000)])
    load(engine, "used:1", [file_layer("u", 30000, 1)])
    engine.cli("create", "--name", "user", "used:1", "x")
    # Each takes its size twice: unpacked, and as the archive had it.
    for n in range(5):
        load(engine, f"n:{n}", [file_layer("f", 40000, 10 + n)])
        time.sleep(0.02)
    wait_until("enough went", lambda: disk(engine) <= 250 * 1024)
    assert {"kept:1", "used:1", "n:4"} <= engine.images()
    assert "n:0" not in engine.images()
    time.sleep(0.7)
    assert {"kept:1", "used:1", "n:4"} <= engine.images(), "it took more than it had to"


def test_gc_leaves_tagged_images_alone(new_engine):
    engine = new_engine("--gc-max-size", "1k", "--gc-interval", "200ms", busybox=False)
    load(engine, "one:1", [file_layer("a", 30000)])
    load(engine, "two:1", [file_layer("b", 30000, 1)])
    load(engine, "one:1", [file_layer("c", 30000, 2)])
    wait_until("the untagged one went", lambda: len(engine.api("GET", "/images/json?all=1").json) == 2)
    time.sleep(0.6)
    assert engine.images() == {"one:1", "two:1"}


def test_gc_by_age(new_engine):
    engine = new_engine("--gc-max-age", "1500ms", "--gc-images", "unused", "--gc-interval", "200ms", busybox=False)
    load(engine, "used:1", [file_layer("u", 3000)])
    engine.cli("create", "--name", "user", "used:1", "x")
    load(engine, "old:1", [file_layer("a", 3000, 1)])
    wait_until("it grew old", lambda: engine.images() == {"used:1"})


def test_gc_of_the_build_cache(new_engine, folder):
    (folder / "config.json").write_text(json.dumps({"gc-interval": "200ms", "builder": {"gc": {"enabled": True, "defaultMaxUsedSpace": "50k"}}}))
    engine = new_engine("--config", folder / "config.json")
    (folder / "context").mkdir()
    build_cache(engine, folder / "context")
    wait_until("the large one went", lambda: [c["Shared"] for c in df(engine)["BuildCache"]] == [True])
    assert "built:latest" in engine.images()


@pytest.mark.parametrize("settings, words", [({"gc-max-size": "much"}, "expected a size"), ({"gc-max-age": "x"}, "expected a time"), ({"gc-images": "all"}, "dangling or unused"),
                                             ({"builder": {"gc": {"policy": []}}}, "not offered"), ({"builder": {"x": 1}}, "unknown setting"), ({"gc-keep": [""]}, "pattern")])
def test_bad_settings(new_engine, folder, settings, words):
    (folder / "config.json").write_text(json.dumps(settings))
    p = run(BUILD / "irekod", "--config", folder / "config.json", "--data-root", folder / "d", "--exec-root", folder / "e", check=False)
    assert p.returncode == 1 and words in p.stderr
