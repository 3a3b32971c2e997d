# SPDX-License-Identifier: Apache-2.0
"""buildx and registries that ask who is there: images of theirs to build upon, and pushing what was built. What a client's accounts are goes nowhere else."""
import base64
import json
import re
import subprocess

import pytest

from harness import PasswordRegistry, busybox_layer
from test_buildx import Buildx
from token_server import PASSWORD, USER, TokenServer


@pytest.fixture
def buildx(engine, folder, name):
    b = Buildx(engine, folder, name)
    yield b
    for tag in [t for i in engine.api("GET", "/images/json").json for t in i["RepoTags"] if name in t or "secret" in t]:
        engine.api("DELETE", f"/images/{tag}?force=1")


def account(buildx, host, user=USER, password=PASSWORD):
    """As docker login leaves it."""
    path = buildx.folder.parent / "client/config.json"
    config = json.loads(path.read_text())
    config["auths"] = {host: {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}} if user else {}
    path.write_text(json.dumps(config))


@pytest.fixture(params=["password", "token"])
def private(request):
    """A registry with an image that only USER may have."""
    if request.param == "password":
        server, registry = None, PasswordRegistry(USER, PASSWORD)
    else:
        server = TokenServer()
        registry = server.registry()
    registry.push_image("secret", "v1", [busybox_layer()], Labels={"private": "yes"})
    registry.tokens = server
    if server:
        server.asked.clear()
    yield registry
    registry.close()
    if server:
        server.close()


def test_an_image_of_a_private_registry_and_back(buildx, private):
    buildx.files(Dockerfile=f"FROM {private.host}/secret:v1\nRUN echo made on it > /made\n")
    refused, pushed = r"denied|unauthorized|no basic auth", f"made/{buildx.name}"
    name = f"{private.host}/{pushed}"

    def build(*options, check=True):
        return buildx.docker("build", "--progress", "plain", *options, ".", check=check).stderr

    assert re.search(refused, build("--pull", check=False))
    account(buildx, private.host, password="falsch")
    said = build("--pull", check=False)
    assert re.search(refused, said) and "falsch" not in said, said
    account(buildx, private.host)
    build("--push", "-t", f"{name}:1", "-t", f"{name}:2")
    assert private.digest(pushed, "1") == private.digest(pushed, "2")
    build("-o", f"type=registry,name={name}:3", "--no-cache")
    build("-o", f'type=image,push=true,"name={name}:4,{name}:5"')
    assert private.digest(pushed, "3") == private.digest(pushed, "4") == private.digest(pushed, "5") != private.digest(pushed, "1")
    account(buildx, private.host, password="falsch")
    said = build("--push", "-t", f"{name}:6", check=False)
    assert re.search(refused, said) and "falsch" not in said, said
    account(buildx, private.host, user=None)
    assert re.search(refused, build("--push", "-t", f"{name}:6", check=False))
    for kept in (buildx.engine.log_text(), buildx.docker("history", "--no-trunc", f"{name}:1").stdout, json.dumps(buildx.image(f"{name}:1"))):
        assert PASSWORD not in kept and base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode() not in kept
    found = subprocess.run(["grep", "-rlaF", "-e", PASSWORD, "-e", base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode(), buildx.engine.root], stdout=subprocess.PIPE, text=True, check=False).stdout
    assert found == "", found


def test_all_platforms_are_pushed(buildx, private):
    account(buildx, private.host)
    buildx.files(Dockerfile="FROM scratch\nARG TARGETARCH\nENV ARCH=$TARGETARCH\nCOPY Dockerfile /\n")
    meta = buildx.folder.parent / "meta"
    p = buildx.docker("build", "--progress", "plain", "--platform", "linux/amd64,linux/arm64", "--provenance=true", "--push", "-t", f"{private.host}/{buildx.name}:x", "--metadata-file", meta, ".")
    digest = private.digest(buildx.name, "x")
    status, _, text = private.ask("GET", f"/v2/{buildx.name}/manifests/x", headers={"Accept": "application/vnd.oci.image.index.v1+json"})
    platforms = [m["platform"]["architecture"] for m in json.loads(text)["manifests"]]
    assert status == 200 and sorted(platforms) == ["amd64", "arm64", "unknown", "unknown"], text
    assert json.loads(meta.read_text())["containerimage.digest"] == digest, p.stderr
