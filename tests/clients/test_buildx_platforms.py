# SPDX-License-Identifier: Apache-2.0
"""buildx, unmodified: images of several platforms, archives, attestations and annotations."""
import json
import platform
import re
import tarfile

import pytest

from compose import current_docker
from harness import run
from test_buildx import buildx  # noqa: F401 the fixture

OWN = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
OTHER = "arm64" if OWN == "amd64" else "amd64"
BOTH = f"linux/{OWN},linux/{OTHER}"
CROSS = "FROM --platform=$BUILDPLATFORM busybox AS b\nARG TARGETARCH\nRUN echo $TARGETARCH > /arch\nFROM scratch\nCOPY --from=b /arch /\nCOPY f /\n"


def index_of(buildx, registry):
    """What a push of the image by the docker CLI brought to the registry."""
    name = f"{registry.host}/{buildx.name}:1"
    buildx.docker("tag", buildx.name, name)
    buildx.docker("push", "-q", name)
    return json.loads(run("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}").stdout)


def test_two_platforms(buildx, registry):
    out = buildx.files(f="x").build("--platform", BOTH, "--metadata-file", buildx.folder.parent / "meta", dockerfile=CROSS)
    assert f"[linux/{OTHER} b 2/2] RUN echo" in out
    assert buildx.image()["Architecture"] == OWN
    index = index_of(buildx, registry)
    assert [m["platform"]["architecture"] for m in index["manifests"]] == [OWN, OTHER]
    meta = json.loads((buildx.folder.parent / "meta").read_text())
    assert meta["containerimage.digest"] == meta["containerimage.descriptor"]["digest"] == run("skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{registry.host}/{buildx.name}:1").stdout.strip()


def test_a_build_without_wishes_makes_no_index(buildx, registry):
    buildx.files(f="x").build(dockerfile="FROM scratch\nCOPY f /\n")
    assert "manifests" not in index_of(buildx, registry)


def test_attestations_and_annotations(buildx, registry):
    buildx.files(f="x").build("-o", "type=image", "--provenance=mode=max", "--sbom=true", "--annotation", "index:a=b", "--annotation", "c=d", dockerfile="FROM busybox\nCOPY f /\n")
    index = index_of(buildx, registry)
    image, attested = index["manifests"]
    assert index["annotations"] == {"a": "b"} and attested["annotations"]["vnd.docker.reference.digest"] == image["digest"]
    name = f"{registry.host}/{buildx.name}"
    shown = buildx.docker("buildx", "imagetools", "inspect", f"{name}:1", "--format", "{{json .Provenance}}").stdout
    assert "busybox" in shown
    assert "SPDX-2.3" in buildx.docker("buildx", "imagetools", "inspect", f"{name}:1", "--format", "{{json .SBOM}}").stdout
    manifest = json.loads(run("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}@{image['digest']}").stdout)
    assert manifest["annotations"] == {"c": "d"}


def images(engine):
    return {i["Id"] for i in engine.api("GET", "/images/json?all=1").json}


@pytest.mark.parametrize("kind", ("docker", "oci"))
def test_archives_of_images(buildx, engine, kind):
    before = images(engine)
    archive = buildx.folder.parent / f"{kind}.tar"
    buildx.files(f="x").build("-o", f"type={kind},dest={archive}", dockerfile="FROM busybox\nCOPY f /\n")
    assert images(engine) == before, "the engine has kept the image"
    assert json.loads(run("skopeo", "inspect", f"{kind}-archive:{archive}").stdout)["Layers"]
    buildx.docker("load", "-q", "-i", archive)
    assert buildx.says("cat", "/f") == "x"


def test_an_oci_archive_of_two_platforms(buildx, engine):
    archive = buildx.folder.parent / "oci.tar"
    buildx.files(f="x").build("--platform", BOTH, "-o", f"type=oci,dest={archive}", dockerfile=CROSS)
    assert len(json.loads(run("skopeo", "inspect", "--raw", f"oci-archive:{archive}").stdout)["manifests"]) == 2


def test_files_of_two_platforms(buildx):
    out = buildx.folder.parent / "out"
    buildx.files(f="x", Dockerfile=CROSS).docker("build", "--platform", BOTH, "-o", out, ".")
    assert [(out / f"linux_{a}/arch").read_text().strip() for a in (OWN, OTHER)] == [OWN, OTHER]
    buildx.docker("build", "--platform", BOTH, "-o", f"type=tar,dest={out}.tar", ".")
    with tarfile.open(f"{out}.tar") as t:
        assert f"linux_{OTHER}/arch" in {n.removeprefix("./") for n in t.getnames()}


@pytest.mark.parametrize("options, said", (
    (("--sbom=generator=docker/buildkit-syft-scanner",), "packages of dpkg and apk are listed"),
    (("-o", "type=image", "--annotation", "index:a=b"), "an image of one platform without attestations has none"),
    (("-o", "type=oci,dest=/dev/null,compression=estargz"), "compression=estargz is not offered"),
    (("-o", "type=image,dangling-name-prefix=x"), "dangling-name-prefix=x is not offered"),
    (("--platform", f"linux/{OWN},linux/nosuch/v9/x/y"), "nosuch"),
))
def test_what_is_not_offered(buildx, options, said):
    out = buildx.files(f="x").fails(*options, dockerfile="FROM scratch\nCOPY f /\n")
    assert said in out


def test_each_platform_has_its_cache(buildx, registry, new_engine):
    ref = f"{registry.host}/{buildx.name}:cache"
    buildx.files(f="x").build("--platform", BOTH, "--cache-to", f"type=registry,ref={ref},mode=max", dockerfile=CROSS)
    there = new_engine()
    p = run(current_docker(), "-H", f"unix://{there.socket}", "build", "--progress", "plain", "--platform", BOTH, "--cache-from", f"type=registry,ref={ref}", ".", cwd=buildx.folder,
            env={**buildx.env, "DOCKER_HOST": f"unix://{there.socket}"})
    assert len(re.findall(r"^#\d+ CACHED", p.stderr, re.M)) >= 6, p.stderr
