# SPDX-License-Identifier: Apache-2.0
"""The build cache: what survives, what travels to other engines by a registry, and what a stranger's cache may not do."""
import io
import json
import tarfile
import urllib.parse

import pytest

from harness import busybox_layer, docker_archive


def context(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            data = text if isinstance(text, bytes) else text.encode()
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def build(engine, dockerfile, files=None, check=True, **query):
    """The text of the classic stream."""
    words = urllib.parse.urlencode({k: json.dumps(v) if isinstance(v, (list, dict)) else v for k, v in query.items()})
    reply = engine.api("POST", f"/build?{words}", context({"Dockerfile": dockerfile, **(files or {})}), headers={"Content-Type": "application/x-tar"}, timeout=120)
    assert reply.status == 200, reply.body
    lines = [json.loads(line) for line in reply.body.splitlines() if line.strip()]
    said = "".join(line.get("stream", "") + line.get("error", "") for line in lines)
    assert not check or "Successfully built" in said, said
    return said


STAGES = """FROM busybox AS tools
COPY tool /tool
RUN cat /proc/sys/kernel/random/uuid > /made-tools
FROM busybox
ENV A=b
RUN --mount=type=cache,id=travels,target=/c ls /c > /seen && echo from-afar > /c/f
COPY --from=tools /made-tools /
RUN cat /proc/sys/kernel/random/uuid > /made
WORKDIR /w
CMD ["cat", "/made"]
"""


@pytest.fixture
def two(new_engine):
    return new_engine(), new_engine()


def steps_cached(said):
    return said.count("Using cache")


@pytest.mark.parametrize("mode", ("min", "max"))
def test_a_cache_travels_by_a_registry(two, registry, name, mode):
    here, there = two
    ref = f"{registry.host}/{name}:cache"
    build(here, STAGES, {"tool": "x"}, t=name, cacheto=[f"type=registry,ref={ref},mode={mode},mounts=true"])
    made = here.cli("run", "--rm", name).stdout
    # Nothing of the names that were made for the way is left.
    assert not [tag for image in here.api("GET", "/images/json").json for tag in image["RepoTags"] if registry.host in tag]
    said = build(there, STAGES, {"tool": "x"}, t=name, cachefrom=[f"type=registry,ref={ref}"])
    # Where the first stage does not come along it is made anew, and what is copied from it is another file.
    assert steps_cached(said) == (6 if mode == "max" else 1), said
    assert (there.cli("run", "--rm", name).stdout == made) == (mode == "max")
    assert not [tag for image in there.api("GET", "/images/json").json for tag in image["RepoTags"] if registry.host in tag]
    same = here.api("GET", f"/images/{name}/json").json["Id"] == there.api("GET", f"/images/{name}/json").json["Id"]
    assert same == (mode == "max")
    # The cache mount came along too.
    assert "from-afar" in build(there, "FROM busybox\nRUN --mount=type=cache,id=travels,target=/c cat /c/f\n")


def test_an_image_is_its_own_cache_inline(two, registry, name):
    here, there = two
    ref = f"{registry.host}/{name}:inline"
    text = "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /made\nRUN cat /made > /copy\n"
    build(here, text, t=ref, buildargs={"BUILDKIT_INLINE_CACHE": "1"})
    here.cli("push", ref)
    said = build(there, text, t=name, cachefrom=[ref])
    assert steps_cached(said) == 2
    assert there.cli("run", "--rm", name, "cat", "/copy").stdout == here.cli("run", "--rm", ref, "cat", "/made").stdout
    # Without being asked for there is nothing of it in an image.
    build(here, text, t=name)
    assert "buildcache" not in here.cli("image", "inspect", name).stdout


def test_a_cache_that_cannot_be_had_is_a_warning_and_one_that_cannot_be_sent_an_error(engine, registry, name):
    said = build(engine, f"FROM busybox\nRUN echo {name}\n", t=name, cachefrom=[f"type=registry,ref={registry.host}/nothing:here", "type=gha"])
    assert "[Warning]" in said and "Successfully tagged" in said and "gha is not offered" in said
    said = build(engine, f"FROM busybox\nRUN echo {name}\n", check=False, t=name, cacheto=["type=registry,ref=127.0.0.1:1/x:y"])
    assert "export the cache" in said and "Successfully" not in said
    said = build(engine, f"FROM busybox\nRUN echo {name}\n", t=name, cacheto=["type=registry,ref=127.0.0.1:1/x:y,ignore-error=true"])
    assert "[Warning]" in said
    assert not [t for i in engine.api("GET", "/images/json").json for t in i["RepoTags"] if "127.0.0.1:1" in t]
    engine.cli("rmi", "-f", name)


def hostile_config(engine, records, **more):
    """An image of one layer with these records, loaded under a name."""
    return {"version": 1, "steps": records, "more": more.get("more", [])}


@pytest.mark.parametrize("records, more", [
    ([{"key": "sha256:xyz", "parent": "sha256:" + "0" * 64, "step": "RUN x", "layers": 1}], []),
    ([{"key": "sha256:" + "0" * 64, "parent": "sha256:" + "0" * 64, "step": "RUN x", "layers": 400}], []),
    ([{"key": "sha256:" + "0" * 64, "parent": "sha256:" + "0" * 64, "step": "RUN x", "layers": -1}], []),
    ([{"key": "sha256:" + "0" * 64, "parent": "sha256:" + "0" * 64, "step": 7, "layers": 0}], []),
    ([{"key": "sha256:" + "%064x" % i, "parent": "sha256:" + "0" * 64, "step": "RUN x", "layers": 0} for i in range(5000)], []),
    ([], ["/../../etc"]),
    ([], ["-ok", "@sha256:" + "0" * 64]),
    ("steps", []),
])
def test_records_of_strangers(engine, name, records, more):
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("f"))
    import hashlib
    diff = "sha256:" + hashlib.sha256(layer.getvalue()).hexdigest()
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff]},
                         "io.ireko.buildcache": {"version": 1, "steps": records, "more": more}}).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [f"{name}:evil"], "Layers": ["layer.tar"]}])
    reply = engine.api("POST", "/images/load", context({"config.json": config, "layer.tar": layer.getvalue(), "manifest.json": manifest}), headers={"Content-Type": "application/x-tar"})
    assert reply.status == 200 and "error" not in reply.body.decode() if isinstance(reply.body, bytes) else reply.body
    before = len(engine.api("GET", "/system/df").json["BuildCache"])
    said = build(engine, "FROM busybox\nRUN true\n", t=name, cachefrom=[f"{name}:evil"])
    assert "Successfully tagged" in said
    if records != "steps":
        assert "[Warning]" in said
    assert len(engine.api("GET", "/system/df").json["BuildCache"]) <= before + 1
    engine.cli("rmi", "-f", name, f"{name}:evil")


def test_a_cache_directory_takes_no_names(engine, name, folder):
    """A cache that strangers have written brings an image by the name of one that is here."""
    before = engine.api("GET", "/images/busybox/json").json["Id"]
    (folder / "cache").mkdir()
    (folder / "cache/ireko-cache.tar").write_bytes(docker_archive("busybox:latest", [busybox_layer()], Cmd=["evil"]))
    (folder / "Dockerfile").write_text("FROM busybox\nRUN true\n")
    p = engine.cli("build", "-t", name, "--cache-from", f"type=local,src={folder}/cache", folder)
    assert "would name an image busybox:latest" in p.stdout + p.stderr
    assert engine.api("GET", "/images/busybox/json").json["Id"] == before
    assert engine.api("GET", f"/images/{name}/json").json["Config"]["Cmd"] == ["sh"]
    engine.cli("rmi", "-f", name)


def test_rmi_leaves_the_cache_and_prune_takes_it(new_engine):
    engine = new_engine()
    text = "FROM busybox\nRUN echo kept > /kept\n"
    build(engine, text, t="x")
    engine.cli("rmi", "x")
    assert steps_cached(build(engine, text, t="x")) == 1
    [row] = engine.api("GET", "/system/df").json["BuildCache"]
    assert row["Description"] == "RUN /bin/sh -c echo kept > /kept # buildkit"
    engine.cli("rmi", "x")
    assert engine.api("POST", "/build/prune?all=1").json["SpaceReclaimed"] > 0
    assert steps_cached(build(engine, text, t="x")) == 0


def test_source_date_epoch_gives_the_same_bytes_anywhere(two, name):
    """Steps at other times, on other engines, files of other times: the same image id, which is the digest of all layers."""
    text = "FROM busybox\nCOPY a dir/\nWORKDIR /w/x\nRUN mkdir -p /made/deep && echo hello > /made/deep/f && ln -s f /made/deep/l && touch -t 203801010000 /made/late\n"
    ids = []
    for engine in two:
        build(engine, text, {"a": "x"}, t=name, buildargs={"SOURCE_DATE_EPOCH": "1600000000"})
        ids.append(engine.api("GET", f"/images/{name}/json").json)
        assert engine.cli("run", "--rm", name, "stat", "-c", "%Y", "/made/deep/f", "/made/late", "/made/deep", "/w/x", "/made/deep/l").stdout.split() == ["1600000000"] * 5
    assert ids[0]["Id"] == ids[1]["Id"] and ids[0]["Created"] == "2020-09-13T12:26:40Z"
    build(two[0], text, {"a": "x"}, t=name)
    assert two[0].api("GET", f"/images/{name}/json").json["Id"] != ids[0]["Id"]
    assert "expected seconds since 1970" in build(two[0], text, {"a": "x"}, check=False, t=name, buildargs={"SOURCE_DATE_EPOCH": "yesterday"})


def test_cache_mounts_are_told_and_pruned(new_engine):
    engine = new_engine()
    text = "FROM busybox\nRUN --mount=type=cache,target=/c,id=kept dd if=/dev/zero of=/c/f bs=1k count=300; ls /c > /seen\n"
    build(engine, text)
    rows = {row["Type"]: row for row in engine.api("GET", "/system/df").json["BuildCache"]}
    mount = rows["exec.cachemount"]
    assert mount["Description"] == "cached mount kept" and 300_000 < mount["Size"] < 400_000 and not mount["InUse"]
    # Limits of the cache's size are about layers.
    assert engine.api("POST", "/build/prune?all=1&reserved-space=1000000000").json["CachesDeleted"] in (None, [])
    only = urllib.parse.quote(json.dumps({"type": {"exec.cachemount": True}}))
    said = engine.api("POST", f"/build/prune?filters={only}").json
    assert said["CachesDeleted"] == [mount["ID"]] and said["SpaceReclaimed"] >= 300_000
    assert [row["Type"] for row in engine.api("GET", "/system/df").json["BuildCache"]] == ["regular"]
    assert not list((engine.data_root / "build/caches").iterdir())
    assert "\nf\n" not in build(engine, "FROM busybox\nRUN --mount=type=cache,target=/c,id=kept ls /c\n")
