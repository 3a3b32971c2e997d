# SPDX-License-Identifier: Apache-2.0
"""Artifacts: what registries hold besides container images. They come, stay, are listed, go out and are deleted as images do; nothing runs on them."""
import io
import json
import os
import tarfile

import pytest

from harness import Registry, sha256
from registry_double import INDEX, MANIFEST, Double

CHART = "application/vnd.cncf.helm.config.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"


@pytest.fixture
def double():
    with Double() as d:
        yield d


def document(double, *blobs, kind=CHART, **more):
    return {"schemaVersion": 2, "mediaType": MANIFEST, "config": {"mediaType": kind, **double.add_blob(b"{}")},
            "layers": [{"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip", **double.add_blob(b)} for b in blobs], **more}


def inspect(ireko, name):
    return json.loads(ireko.out("image", "inspect", name))[0]


def blobs_of(engine):
    return {p.name for p in (engine.data_root / "content/blobs/sha256").iterdir()}


def test_an_artifact_is_pulled_and_told_as_what_it_is(ireko, engine, double, name):
    made = double.add_manifest(name, "x", document(double, b"a chart", os.urandom(3 << 20)))
    reference = f"{double.host}/{name}:x"
    assert json.loads(ireko.out("manifest", "inspect", reference))["config"]["mediaType"] == CHART
    out = ireko.out("pull", reference)
    assert f"Digest: {made['digest']}" in out and "Downloaded newer image" in out
    said = inspect(ireko, reference)
    assert said["Id"] == made["digest"] and said["RepoDigests"] == [f"{double.host}/{name}@{made['digest']}"]
    assert said["Descriptor"] == {"mediaType": MANIFEST, "digest": made["digest"], "artifactType": CHART}
    assert said["Size"] == 2 + 7 + (3 << 20) and said["RootFS"]["Layers"] == []
    assert reference in ireko.out("images", "--format", "{{.Repository}}:{{.Tag}}")
    asked = len(double.of_blobs())
    assert "Image is up to date" in ireko.out("pull", reference) and len(double.of_blobs()) == asked
    why = f"it is an artifact of type {CHART}, not a container image"
    for words in (["create", reference, "true"], ["history", reference], ["save", reference, "-o", "/dev/null"]):
        assert why.removeprefix("it ") in ireko.fails(*words, status=1)
    ireko("rmi", reference)
    assert not {made["digest"][7:], sha256(b"a chart")} & blobs_of(engine)


def test_the_type_may_be_the_manifests(ireko, double, name):
    double.add_manifest(name, "x", document(double, kind=EMPTY, artifactType="application/spdx+json"))
    ireko("pull", f"{double.host}/{name}:x")
    assert inspect(ireko, f"{double.host}/{name}:x")["Descriptor"]["artifactType"] == "application/spdx+json"
    ireko("rmi", f"{double.host}/{name}:x")


def test_artifacts_with_one_config_stay_apart(ireko, engine, double, name):
    for tag in "ab":
        double.add_manifest(name, tag, document(double, tag.encode()))
        ireko("pull", f"{double.host}/{name}:{tag}")
    ireko("rmi", f"{double.host}/{name}:a")
    assert inspect(ireko, f"{double.host}/{name}:b")["Size"] == 3 and sha256(b"{}") in blobs_of(engine)
    assert "consistent" in ireko.out("system", "check")
    ireko("rmi", f"{double.host}/{name}:b")
    assert sha256(b"{}") not in blobs_of(engine)


def test_blobs_that_lie(ireko, engine, double, name):
    before = engine.images()
    manifest = document(double, b"what was signed")
    double.blobs[manifest["layers"][0]["digest"]] = b"what was sent!!"
    double.add_manifest(name, "x", manifest)
    assert "digest mismatch" in ireko.fails("pull", f"{double.host}/{name}:x", status=1)
    assert engine.images() == before


def test_a_blob_that_lies_elsewhere_is_not_fetched(ireko, double, name):
    manifest = document(double, b"here")
    away = {"mediaType": "application/x-weights", "digest": f"sha256:{'1' * 64}", "size": 5, "urls": ["http://127.0.0.1:1/x"]}
    manifest["layers"].append(away)
    double.add_manifest(name, "x", manifest)
    ireko("pull", f"{double.host}/{name}:x")
    assert inspect(ireko, f"{double.host}/{name}:x")["Size"] == 6
    assert not [q for q in double.asked if "1" * 64 in q.path]
    ireko("rmi", f"{double.host}/{name}:x")


@pytest.fixture(scope="module")
def registry():
    r = Registry()
    yield r
    r.close()


def test_an_artifact_goes_out_as_it_came(ireko, double, registry, folder, name):
    made = double.add_manifest(name, "x", document(double, b"one", b"two", annotations={"made": "for a test"}))
    here, there = f"{double.host}/{name}:x", f"{registry.host}/{name}:y"
    ireko("pull", here)
    ireko("tag", here, there)
    assert made["digest"] in ireko.out("push", there)
    assert registry.digest(name, "y") == made["digest"]
    ireko("save", "--format", "oci", "-o", folder / "chart.tar", there)
    with tarfile.open(folder / "chart.tar") as t:
        entry = json.load(t.extractfile("index.json"))["manifests"][0]
        assert entry["artifactType"] == CHART and t.extractfile(f"blobs/sha256/{sha256(b'two')}").read() == b"two"
    ireko("rmi", here, there)
    assert f"Loaded image: {there}" in ireko.out("load", "-i", folder / "chart.tar")
    assert inspect(ireko, there)["Id"] == made["digest"]
    ireko("rmi", there)
    ireko("pull", there)
    assert inspect(ireko, there)["Id"] == made["digest"]
    ireko("rmi", there)


def test_an_archive_whose_artifact_lies(ireko, engine, double, folder, name):
    before = engine.images()
    manifest = json.dumps(document(double, b"signed")).encode()
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{"mediaType": MANIFEST, "digest": f"sha256:{sha256(manifest)}", "size": len(manifest)}]})
    with tarfile.open(folder / "lies.tar", "w") as t:
        for path, data in {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": index.encode(), f"blobs/sha256/{sha256(manifest)}": manifest,
                           f"blobs/sha256/{sha256(b'{}')}": b"{}", f"blobs/sha256/{sha256(b'signed')}": b"forged"}.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    assert "digest mismatch" in ireko.fails("load", "-i", folder / "lies.tar", status=1)
    assert engine.images() == before
