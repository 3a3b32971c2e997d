# SPDX-License-Identifier: Apache-2.0
"""--cache-to and --cache-from of type=local by buildx: the cache is a folder of the client's, an OCI image layout."""
import json
import re
import shutil
import tarfile

import pytest

from test_buildx import Buildx


@pytest.fixture
def buildx(new_engine, folder, name):
    return Buildx(new_engine(), folder, name)


def forget(buildx):
    buildx.docker("rmi", "-f", buildx.name)
    buildx.docker("buildx", "prune", "-af")
    assert buildx.engine.api("GET", "/system/df").json["BuildCache"] in ([], None)


def test_there_and_back(buildx, tmp_path):
    place = tmp_path / "cache 名"
    buildx.files(x="of the context\n")
    text = "FROM busybox AS tool\nRUN echo of a tool > /tool\nFROM busybox\nCOPY x /\nRUN head -c 3000000 /dev/urandom > /big; cat /x\nCOPY --from=tool /tool /\n"
    out = buildx.build("--cache-to", f"type=local,dest={place},mode=max", dockerfile=text)
    assert "of the context" in out and f"exporting cache to {place}" in out, out
    index = json.loads((place / "index.json").read_text())
    assert index["manifests"] and all((place / "blobs/sha256" / m["digest"][7:]).exists() for m in index["manifests"])
    image = buildx.image()
    layers = image["RootFS"]["Layers"]
    forget(buildx)
    out = buildx.build("--cache-from", f"type=local,src={place}")
    assert len(re.findall(r"^#\d+ CACHED$", out, re.M)) >= 3 and "of the context" not in out, out
    assert buildx.image()["RootFS"]["Layers"] == layers
    assert len(buildx.engine.api("GET", "/images/json?all=1").json) == 2, "what a cache came as stayed under a name"
    # Again to the same place: what is there is not sent again, and the folder is as good.
    buildx.build("--cache-from", f"type=local,src={place}", "--cache-to", f"type=local,dest={place},mode=max")
    # A cache that is damaged or not there is no reason not to build.
    forget(buildx)
    for blob in (place / "blobs/sha256").iterdir():
        if blob.stat().st_size > 1_000_000:
            blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    out = buildx.build("--cache-from", f"type=local,src={place}")
    assert "of the context" in out and re.search(r"cache .*: .*", out), out
    forget(buildx)
    shutil.rmtree(place)
    assert "of the context" in buildx.build("--cache-from", f"type=local,src={place}")


def test_a_folder_that_takes_nothing(buildx, tmp_path):
    place = tmp_path / "cache"
    place.mkdir()
    (place / "blobs").write_text("in the way")
    p = buildx.docker("build", "--progress", "plain", "--cache-to", f"type=local,dest={place}", "-", input="FROM busybox\nRUN echo it\n", check=False)
    assert p.returncode != 0 and "export the cache" in p.stderr, p.stderr
    p = buildx.docker("build", "--progress", "plain", "-t", buildx.name, "--cache-to", f"type=local,dest={place},ignore-error=true", "-", input="FROM busybox\nRUN echo it\n", check=False)
    assert p.returncode == 0, p.stderr


def test_an_image_layout_as_a_context(buildx, tmp_path):
    place = tmp_path / "layout 名"
    buildx.docker("build", "-o", f"type=oci,dest={tmp_path}/l.tar", "--provenance=true", "-", input="FROM busybox\nENV OF=layout\nRUN echo in the layout > /f\n")
    with tarfile.open(tmp_path / "l.tar") as t:
        t.extractall(place)
    forget(buildx)
    digest = json.loads((place / "index.json").read_text())["manifests"][0]["digest"]
    text = "FROM base\nRUN echo $OF; cat /f\nFROM busybox\nCOPY --from=base /f /g\nRUN echo copied; cat /g\n"
    for named in (f"{place}@{digest}", str(place)):
        out = buildx.build("--no-cache", "--build-context", f"base=oci-layout://{named}", dockerfile=text + "COPY --from=0 /f /h\n")
        assert re.search(r"\d layout$", out, re.M) and len(re.findall(r"\d in the layout$", out, re.M)) == 2, out
    # Bytes that are others.
    manifest = next(b for b in (place / "blobs/sha256").iterdir() if re.match(rb'{.*"config": ?{"mediaType".*"layers": ?\[', b.read_bytes()[:5000], re.S))
    text = manifest.read_bytes()
    manifest.write_bytes(text.replace(b'sion":2', b'sion":3').replace(b'sion": 2', b'sion": 3'))
    assert "digest mismatch" in buildx.fails("--no-cache", "--build-context", f"base=oci-layout://{place}@{digest}")
    manifest.write_bytes(text)
    out = buildx.fails("--build-context", f"base=oci-layout://{place}@sha256:{'0' * 64}")
    assert "not found" in out, out
