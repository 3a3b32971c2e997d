# SPDX-License-Identifier: Apache-2.0
"""--cache-to and --cache-from of type=local by buildx: the cache is a folder of the client's, an OCI image layout."""
import json
import re
import shutil

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
