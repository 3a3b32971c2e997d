# SPDX-License-Identifier: Apache-2.0
"""Named contexts that are images of an OCI image layout: --build-context NAME=oci-layout://DIR[:TAG][@DIGEST]."""
import hashlib
import json
import os
import tarfile

import pytest

from harness import add_file, busybox_archive, make_tar

TAG = "org.opencontainers.image.ref.name"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


class Layout:
    """A layout with an image that the engine has not: busybox, and a file f with a word in it."""

    def __init__(self, root, word):
        self.root = root
        (root / "blobs/sha256").mkdir(parents=True)
        (root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        with tarfile.open(busybox_archive()) as t:
            saved = json.load(t.extractfile("manifest.json"))[0]
            config = json.load(t.extractfile(saved["Config"]))
            layers = [t.extractfile(name).read() for name in saved["Layers"]]
        layers.append(make_tar(lambda t: add_file(t, "f", f"{word}\n".encode())))
        config["rootfs"]["diff_ids"] = ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers]
        config["config"]["Env"] = [*config["config"].get("Env", []), "from=layout"]
        config.pop("history", None)
        self.manifest = self.add({"schemaVersion": 2, "mediaType": MANIFEST, "config": self.add(config, "application/vnd.oci.image.config.v1+json"),
                                  "layers": [self.put(layer, "application/vnd.oci.image.layer.v1.tar") for layer in layers]}, MANIFEST)
        self.retag(self.manifest, "latest")

    def retag(self, *pairs):
        """index.json with these: descriptor, tag, descriptor, tag ..."""
        entries = [dict({k: d[k] for k in ("mediaType", "digest", "size")}, annotations={TAG: tag}) for d, tag in zip(pairs[::2], pairs[1::2])]
        (self.root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))

    def path(self, digest):
        return self.root / "blobs/sha256" / digest.removeprefix("sha256:")

    def put(self, data, media_type):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.path(digest).write_bytes(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def add(self, doc, media_type):
        return self.put(json.dumps(doc).encode(), media_type)

    def document(self, descriptor):
        return json.loads(self.path(descriptor["digest"]).read_text())

    @property
    def layer(self):
        return self.document(self.manifest)["layers"][-1]


@pytest.fixture
def layout(folder, name):
    return Layout(folder / "a layout", name)


@pytest.fixture
def build(ireko, folder, name):
    (folder / "main").mkdir()

    def run(text, context, **kw):
        (folder / "main/Dockerfile").write_text(text)
        return ireko("build", "--progress=plain", "-t", name, "--build-context", f"it=oci-layout://{context}", folder / "main", **kw)

    yield run
    ireko("rmi", "-f", name, check=False)


def refused(p, words):
    assert p.returncode != 0 and words in p.stdout + p.stderr, p.stdout + p.stderr


def test_wherever_an_image_may_be_named(ireko, layout, build, name):
    build('FROM it\nCOPY --from=it /f /copied\nRUN --mount=from=it,target=/m test "$from" = layout && cp /m/f /mounted\n', layout.root)
    assert ireko.out("run", "--rm", name, "cat", "/f", "/copied", "/mounted").split() == [name] * 3
    again = build('FROM it\nCOPY --from=it /f /copied\nRUN --mount=from=it,target=/m test "$from" = layout && cp /m/f /mounted\n', layout.root)
    assert again.stderr.count("CACHED") == 2


def test_tags_and_digests(layout, build, ireko, name):
    other = layout.document(layout.manifest)
    other["annotations"] = {"a": "b"}
    layout.retag(layout.manifest, "one", layout.add(other, MANIFEST), "two")
    for context in (f"{layout.root}:one", f"{layout.root}:two", f"{layout.root}@{layout.manifest['digest']}", f"{layout.root}:any@{layout.manifest['digest']}"):
        build("FROM it\n", context)
        assert ireko.out("run", "--rm", name, "cat", "/f") == name
    refused(build("FROM it\n", layout.root, check=False), "no image tagged latest")
    refused(build("FROM it\n", f"{layout.root}:three", check=False), "no image tagged three")
    refused(build("FROM it\n", f"{layout.root}@sha256:{'0' * 64}", check=False), f"the image layout has no blobs/sha256/{'0' * 64}")
    refused(build("FROM it\n", f"{layout.root}@sha256:12", check=False), "expected oci-layout://DIRECTORY[:TAG][@sha256:DIGEST]")
    refused(build("FROM it\n", f"{layout.root} is not there", check=False), "No such file or directory")
    layout.retag(layout.manifest, "only")
    build("FROM it\n", layout.root)


def test_the_platform_is_chosen(layout, build, ireko, name):
    """Of an index, and no further than it may be nested."""
    platform = layout.document(layout.document(layout.manifest)["config"])
    ours = {k: platform[k] for k in ("os", "architecture")}
    foreign = dict(layout.add({"schemaVersion": 2, "mediaType": MANIFEST, "config": layout.document(layout.manifest)["config"], "layers": []}, MANIFEST),
                   platform={"os": "linux", "architecture": "s390x"})
    index = layout.add({"schemaVersion": 2, "mediaType": INDEX, "manifests": [foreign, dict(layout.manifest, platform=ours)]}, INDEX)
    layout.retag(index, "latest")
    build("FROM it\n", layout.root)
    assert ireko.out("run", "--rm", name, "cat", "/f") == name
    refused(build("FROM --platform=linux/riscv64 it\n", layout.root, check=False), "has no image for linux/riscv64")
    for _ in range(3):
        index = layout.add({"schemaVersion": 2, "mediaType": INDEX, "manifests": [dict(index, platform=ours)]}, INDEX)
    layout.retag(index, "latest")
    refused(build("FROM it\n", layout.root, check=False), "indexes nested more than 2 deep")


@pytest.mark.parametrize("what", ["manifest", "config", "layer"])
def test_what_has_another_digest_does_not_count(layout, build, what, ireko):
    manifest = layout.document(layout.manifest)
    path = layout.path({"manifest": layout.manifest, "config": manifest["config"], "layer": layout.layer}[what]["digest"])
    before = ireko.out("images", "-aq")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    refused(build("FROM it\n", layout.root, check=False), "digest mismatch")
    assert ireko.out("images", "-aq") == before


@pytest.mark.parametrize("what", ["a link out", "a fifo", "a directory", "nothing"])
@pytest.mark.parametrize("blob", ["index.json", "manifest", "layer"])
def test_files_that_are_no_files_of_the_layout(layout, build, what, blob, folder):
    """A link is followed inside of the layout only, as in a container; nothing else is waited for or read."""
    path = {"index.json": layout.root / "index.json", "manifest": layout.path(layout.manifest["digest"]), "layer": layout.path(layout.layer["digest"])}[blob]
    (folder / "outside").write_bytes(path.read_bytes())
    path.unlink()
    {"a link out": lambda: path.symlink_to(folder / "outside"), "a fifo": lambda: os.mkfifo(path), "a directory": path.mkdir, "nothing": lambda: None}[what]()
    words = "the image layout has no" if what in ("a link out", "nothing") else "is no regular file"
    refused(build("FROM it\n", layout.root, check=False), words)


def test_documents_are_bounded(layout, build):
    with (layout.root / "index.json").open("a") as f:
        f.write(" " * (1 << 20))
    refused(build("FROM it\n", layout.root, check=False), "index.json of the image layout has more than 1048576 bytes")
    big = layout.root / "blobs/sha256" / ("1" * 64)
    with big.open("wb") as f:
        f.truncate(1 << 30)
    refused(build("FROM it\n", f"{layout.root}@sha256:{'1' * 64}", check=False), "has more than 8388608 bytes")


def test_what_is_no_image(layout, build):
    artifact = layout.add({"schemaVersion": 2, "mediaType": MANIFEST, "config": dict(layout.document(layout.manifest)["config"], mediaType="application/x-chart"),
                           "layers": layout.document(layout.manifest)["layers"]}, MANIFEST)
    refused(build("FROM it\n", f"{layout.root}@{artifact['digest']}", check=False), "is no image")
    nothing = layout.add({"schemaVersion": 2}, INDEX)
    assert build("FROM it\n", f"{layout.root}@{nothing['digest']}", check=False).returncode != 0
