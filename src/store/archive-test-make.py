#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Image archives for archive-test.c: `archive-test-make.py DIR` writes them all, good-* and bad-*, into DIR.

`archive-test-make.py --check FILE` reads a saved archive with Python's tarfile and checks, by its own reading of the
formats, that it is a docker archive and an OCI layout whose digests are right.
"""
import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import sys
import tarfile

OCI = "application/vnd.oci.image."


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def blob(data):
    return "blobs/sha256/" + digest(data)[7:]


def entry(name, data=b"", kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(data)
    return info, data


def tar(entries):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as t:
        for info, data in entries:
            t.addfile(info, io.BytesIO(data))
    return out.getvalue()


def doc(value):
    return json.dumps(value).encode()


BASE = tar([entry("etc/name", b"base\n"), entry("bin/x", b"x" * 70000)])
TOP = tar([entry("etc/top", b"top\n"), entry("etc/.wh.name")])


def config(layers, arch="amd64", **more):
    return doc({"architecture": arch, "os": "linux", "config": {"Cmd": ["/bin/x"], "Labels": {"a": "b"}},
                "rootfs": {"type": "layers", "diff_ids": [digest(x) for x in layers]}, **more})


def docker(conf, layers, tags, config_name=None, layer_names=None, extra=()):
    names = layer_names or [blob(x) for x in layers]
    files = {blob(x): x for x in layers}
    config_name = config_name or blob(conf)
    entries = [entry(n, d) for n, d in files.items()] if layer_names is None else []
    manifest = [{"Config": config_name, "RepoTags": tags, "Layers": names}]
    return tar(entries + [entry(config_name, conf)] + list(extra) + [entry("manifest.json", doc(manifest))])


def old_docker(tags):
    conf = config([BASE, TOP, TOP])
    return docker(conf, [], tags, digest(conf)[7:] + ".json", ["one/layer.tar", "two/layer.tar", "three/layer.tar"],
                  [entry("one/layer.tar", BASE), entry("two/layer.tar", TOP),
                   entry("three/layer.tar", b"", tarfile.SYMTYPE, "../two/layer.tar")])


def oci_image(arch, pack=gzip.compress, bend=lambda files: None):
    conf = config([BASE, TOP], arch)
    layers = [pack(BASE), pack(TOP)]
    manifest = doc({"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
                    "config": {"mediaType": OCI + "config.v1+json", "digest": digest(conf), "size": len(conf)},
                    "layers": [{"mediaType": OCI + "layer.v1.tar+gzip", "digest": digest(x), "size": len(x)}
                               for x in layers]})
    files = {blob(x): x for x in layers + [conf, manifest]}
    bend(files)
    return manifest, files


def described(manifest, **more):
    return {"mediaType": OCI + "manifest.v1+json", "digest": digest(manifest), "size": len(manifest), **more}


def layout(entries, files):
    index = doc({"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": entries})
    return tar([entry("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), entry("index.json", index)] +
               [entry(n, d) for n, d in files.items()])


def multi_platform():
    files, entries = {}, []
    for arch in "arm64", "amd64", "s390x":
        manifest, more = oci_image(arch)
        files.update(more)
        entries.append(described(manifest, platform={"os": "linux", "architecture": arch}))
    entries.append({"mediaType": OCI + "manifest.v1+json", "digest": digest(b"absent"), "size": 6,
                    "platform": {"os": "unknown", "architecture": "unknown"}})
    inner = doc({"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": entries})
    files[blob(inner)] = inner
    return layout([{"mediaType": OCI + "index.v1+json", "digest": digest(inner), "size": len(inner),
                    "annotations": {"io.containerd.image.name": "docker.io/t/multi:1"}}], files)


def single(name, **more):
    manifest, files = oci_image("amd64", **more)
    return layout([described(manifest, annotations={"org.opencontainers.image.ref.name": name})], files)


def flipped(which):
    def bend(files):
        name = list(files)[which]
        data = files[name]
        files[name] = data[:-1] + bytes([data[-1] ^ 1])
    return bend


def zstd(data):
    """A frame of uncompressed blocks, as RFC 8878 has them."""
    blocks = [data[i:i + 65536] for i in range(0, len(data), 65536)] or [b""]
    headers = [((len(b) << 3) | (b is blocks[-1])).to_bytes(3, "little") for b in blocks]
    return b"\x28\xb5\x2f\xfd\x00\x50" + b"".join(h + b for h, b in zip(headers, blocks))


def skippable(data):
    return b"\x50\x2a\x4d\x18" + len(data).to_bytes(4, "little") + data


def chunked(data):
    """zstd:chunked: a frame a piece, then a table of contents and a footer that only its own readers look at."""
    return b"".join(zstd(data[i:i + 10240]) for i in range(0, len(data), 10240)) + skippable(zstd(b'{"version":1}')) + skippable(b"GNUlInUx" * 5)


def deep():
    manifest, files = oci_image("amd64")
    entry_of, data = described(manifest), None
    for _ in range(4):
        data = doc({"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": [entry_of]})
        files[blob(data)] = data
        entry_of = {"mediaType": OCI + "index.v1+json", "digest": digest(data), "size": len(data)}
    return layout([entry_of], files)


def oci_bad_layer(what):
    """The first layer: a link out of the archive, missing, or of another size than its manifest says."""
    manifest, files = oci_image("amd64")
    name = list(files)[0]
    data = files.pop(name)
    if what == "size":
        document = json.loads(manifest)
        document["layers"][0]["size"] += 1
        files[name] = data
        manifest = doc(document)
        files[blob(manifest)] = manifest
    index = doc({"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": [described(manifest)]})
    link = [entry(name, b"", tarfile.SYMTYPE, "/etc/passwd")] if what == "link" else []
    return tar([entry("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), entry("index.json", index)] + link +
               [entry(n, d) for n, d in files.items()])


def archives():
    conf = config([BASE, TOP])
    good = docker(conf, [BASE, TOP], ["t/app:1", "localhost:5000/t/app:2"])
    yield "good-docker.tar", good
    yield "good-docker.tar.gz", gzip.compress(good, mtime=0)
    yield "good-docker.tar.xz", lzma.compress(good)
    yield "good-docker.tar.bz2", bz2.compress(good)
    yield "good-old.tar", old_docker(["t/old:1"])
    yield "good-multi.tar", multi_platform()
    yield "good-named.tar", single("t/named:3")
    yield "good-unnamed.tar", single("latest")
    yield "good-plain.tar", single("t/plain:1", pack=lambda x: x)
    yield "good-fs.tar", BASE
    yield "good-chunked.tar", single("t/chunked:1", pack=chunked)
    yield "good-packed.tar", docker(conf, [], ["t/packed:1"], None, ["one", "two"],
                                    [entry("one", gzip.compress(BASE, mtime=0)), entry("two", skippable(b"x") + zstd(TOP))])
    yield "good-zstd.tar.zst", zstd(good)

    yield "bad-empty.tar", tar([])
    yield "bad-noise.tar", b"no tar at all " * 100
    yield "bad-cut.tar", good[:60000]
    yield "bad-config-digest.tar", docker(conf, [BASE, TOP], None, "0" * 64 + ".json")
    yield "bad-diff-id.tar", docker(conf, [], None, None, ["a", "b"], [entry("a", TOP), entry("b", TOP)])
    yield "bad-layer-digest.tar", docker(conf, [], None, None, ["blobs/sha256/" + "1" * 64, blob(TOP)],
                                         [entry("blobs/sha256/" + "1" * 64, gzip.compress(BASE)), entry(blob(TOP), TOP)])
    yield "bad-outside.tar", docker(conf, [], None, None, ["../../../../../../../../etc/passwd", "/etc/passwd"])
    yield "bad-link.tar", docker(conf, [], None, None, ["a", "b"],
                                 [entry(n, b"", tarfile.SYMTYPE, "/etc/passwd") for n in "ab"])
    yield "bad-fifo.tar", docker(conf, [], None, None, ["a", "b"], [entry(n, b"", tarfile.FIFOTYPE) for n in "ab"])
    yield "bad-count.tar", docker(conf, [BASE], None)
    yield "bad-tag.tar", docker(conf, [BASE, TOP], ["UPPER:1"])
    yield "bad-json.tar", tar([entry("manifest.json", b"[{]")])
    yield "bad-object.tar", tar([entry("manifest.json", b"{}")])
    yield "bad-huge.tar", tar([entry("manifest.json", b"[" + b" " * (9 << 20) + b"]")])
    yield "bad-missing.tar", tar([entry("manifest.json", doc([{"Config": "nope", "Layers": []}]))])
    yield "bad-oci-layer.tar", single("t/x:1", bend=flipped(0))
    yield "bad-oci-config.tar", single("t/x:1", bend=flipped(2))
    yield "bad-oci-manifest.tar", single("t/x:1", bend=flipped(3))
    arm, files = oci_image("s390x")
    yield "bad-platform.tar", layout([described(arm, platform={"os": "linux", "architecture": "s390x"})], files)
    yield "bad-version.tar", tar([entry("oci-layout", b'{"imageLayoutVersion":"2.0.0"}'), entry("index.json", b"{}")])
    both = doc({"schemaVersion": 2, "manifests": [], "layers": [], "config": {}})
    yield "bad-ambiguous.tar", layout([described(both)], {blob(both): both})


    yield "bad-old-docker.tar", tar([entry("repositories", b'{"t/x":{"1":"abc"}}'), entry("abc/json", b"{}"), entry("abc/layer.tar", BASE)])
    yield "bad-deep.tar", deep()
    for what in "link", "missing", "size":
        yield f"bad-oci-{what}.tar", oci_bad_layer(what)
    # The second file of a name is the one that counts.
    yield "bad-duplicate.tar", docker(conf, [BASE, TOP], None, None, None, [entry(blob(BASE), TOP)])
    yield "bad-other-layer.tar", docker(conf, [BASE, TOP], None, None, None, [entry("x", b"")]).replace(
        doc([blob(BASE), blob(TOP)]), doc([blob(TOP), blob(TOP)]))
    yield "bad-climb.tar", tar([entry("../manifest.json", doc([]))])
    yield "bad-huge-index.tar", tar([entry("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), entry("index.json", b"[" + b" " * (9 << 20) + b"]")])
    yield "bad-many.tar", tar([entry("manifest.json", doc([{}] * 1001))])


def check(path):
    with tarfile.open(path, "r:") as t:
        files = {m.name: t.extractfile(m).read() for m in t if m.isfile()}
        assert all(m.mtime == 0 and m.uid == 0 for m in t), "not deterministic"
    for name, data in files.items():
        if name.startswith("blobs/"):
            assert blob(data) == name, name
    images = json.loads(files["manifest.json"])
    index = json.loads(files["index.json"])
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    for image in images:
        conf = json.loads(files[image["Config"]])
        assert ["blobs/sha256/" + d[7:] for d in conf["rootfs"]["diff_ids"]] == image["Layers"]
        for tag in image["RepoTags"] or []:
            repository, name = tag.rsplit(":", 1)
            assert name in json.loads(files["repositories"])[repository], tag
    for e in index["manifests"]:
        manifest = files["blobs/sha256/" + e["digest"][7:]]
        assert len(manifest) == e["size"]
        for d in [json.loads(manifest)["config"]] + json.loads(manifest)["layers"]:
            assert len(files["blobs/sha256/" + d["digest"][7:]]) == d["size"]
    print(len(images), len(index["manifests"]), len([n for n in files if n.startswith("blobs/")]))


if sys.argv[1] == "--check":
    check(sys.argv[2])
else:
    for file_name, content in archives():
        with open(os.path.join(sys.argv[1], file_name), "wb") as out:
            out.write(content)
