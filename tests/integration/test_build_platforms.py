# SPDX-License-Identifier: Apache-2.0
"""What an image is more than its files: platforms, and the index over them; what is attested of it; annotations."""
import base64
import json
import os
import pathlib
import platform
import shutil
import tarfile

import pytest

from harness import program, run

OWN = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
OTHER = "arm64" if OWN == "amd64" else "amd64"
BOTH = f"linux/{OWN},linux/{OTHER}"
BINFMT = pathlib.Path("/proc/sys/fs/binfmt_misc")
INDEX, MANIFEST = "application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"
CROSS = """FROM --platform=$BUILDPLATFORM busybox AS tools
RUN cat /proc/sys/kernel/random/uuid > /once
ARG TARGETARCH
RUN echo $TARGETARCH > /arch
FROM scratch
COPY --from=tools /once /arch /
COPY f /
"""


@pytest.fixture
def box(ireko, folder, name):
    def build(dockerfile, *options, tag=name, check=True, **kw):
        (folder / "Dockerfile").write_text(dockerfile)
        (folder / "f").write_text("from the context")
        return ireko("build", *(["-t", tag] if tag else []), *options, folder, check=check, **kw)

    yield build
    ireko("rmi", "-f", name, check=False)


def images(ireko):
    return {line for line in ireko.out("images", "-aq", "--no-trunc").split()}


def document(registry, path, tag):
    status, _, body = registry.ask("GET", f"/v2/{path}/manifests/{tag}", headers={"Accept": f"{INDEX}, {MANIFEST}"})
    assert status == 200, body
    return json.loads(body)


def blob(registry, path, digest):
    return json.loads(registry.ask("GET", f"/v2/{path}/blobs/{digest}")[2])


def pushed(ireko, registry, name):
    """The index under the name, after a push."""
    ireko("tag", name, f"{registry.host}/{name}:1")
    ireko("push", f"{registry.host}/{name}:1")
    ireko("rmi", f"{registry.host}/{name}:1")
    return document(registry, name, "1")


def statements(registry, name, index):
    """predicate type -> statement, of the attestations of this machine's image."""
    image = next(m for m in index["manifests"] if m["platform"] == {"architecture": OWN, "os": "linux"})
    attested = next(m for m in index["manifests"] if m.get("annotations", {}).get("vnd.docker.reference.digest") == image["digest"])
    assert attested["platform"] == {"architecture": "unknown", "os": "unknown"} and attested["annotations"]["vnd.docker.reference.type"] == "attestation-manifest"
    found = {}
    for layer in document(registry, name, attested["digest"])["layers"]:
        assert layer["mediaType"] == "application/vnd.in-toto+json"
        text = blob(registry, name, layer["digest"])
        assert text["predicateType"] == layer["annotations"]["in-toto.io/predicate-type"]
        assert {f"sha256:{s['digest']['sha256']}" for s in text["subject"]} == {image["digest"]}
        found[text["predicateType"]] = text
    return found


# ---- several platforms


def test_one_build_for_two_platforms(box, ireko, name, registry, new_engine):
    before = images(ireko)
    p = box(CROSS, "--platform", BOTH, "--progress", "plain")
    assert f"[linux/{OTHER} tools 2/3] RUN cat" in p.stderr and f"[linux/{OWN} stage-1 3/3] COPY f /" in p.stderr
    shown = [i for i in json.loads(ireko.out("image", "inspect", name))]
    assert shown[0]["Architecture"] == OWN
    dangling = set(ireko.out("images", "-q", "--no-trunc", "--filter", "dangling=true").split())
    assert not dangling - before and len(ireko.out("images", "-q", name).split()) == 1
    other = json.loads(ireko("image", "inspect", "--platform", f"linux/{OTHER}", name).stdout)[0]
    assert other["Architecture"] == OTHER and other["Id"] != shown[0]["Id"]
    # Nothing of it goes as long as the name is there.
    ireko("image", "prune", "-f")
    index = pushed(ireko, registry, name)
    assert index["mediaType"] == INDEX and [m["platform"]["architecture"] for m in index["manifests"]] == [OWN, OTHER]
    there = new_engine()
    made = {}
    for arch in (OWN, OTHER):
        there.cli("pull", "-q", "--platform", f"linux/{arch}", f"{registry.host}/{name}:1")
        made[arch] = there.cli("create", "--platform", f"linux/{arch}", f"{registry.host}/{name}:1", "true").stdout.strip()
    read = {arch: [there.cli("cp", f"{c}:/{path}", "-", text=False).stdout for path in ("arch", "once", "f")] for arch, c in made.items()}
    assert OWN.encode() in read[OWN][0] and OTHER.encode() in read[OTHER][0]
    assert read[OWN][1][512:549] == read[OTHER][1][512:549], "a step that is the same for both platforms was run twice"
    ireko("rmi", name)
    assert images(ireko) <= before, "a part of the image has stayed"


def test_a_container_is_of_the_platform_that_is_asked_for(box, ireko, name):
    box(CROSS, "--platform", BOTH)
    ids = []
    try:
        for options in ([], ["--platform", f"linux/{OTHER}"]):
            ids.append(ireko.out("create", *options, name, "x"))
        read = [ireko("cp", f"{c}:/arch", "-", text=False).stdout for c in ids]
        assert OWN.encode() in read[0] and OTHER.encode() in read[1]
        # What a container is made of stays when the image goes.
        ireko("rmi", "-f", name)
        assert OTHER.encode() in ireko("cp", f"{ids[1]}:/arch", "-", text=False).stdout
    finally:
        ireko("rm", *ids)
    ireko("image", "prune", "-f")


def test_the_next_build_begins_with_the_part_of_its_platform(box, ireko, name):
    box(CROSS, "--platform", BOTH)
    child = f"{name}-child"
    try:
        box(f"FROM {name}\nLABEL a=b\n", "--platform", f"linux/{OTHER}", tag=child)
        assert json.loads(ireko.out("image", "inspect", child))[0]["Architecture"] == OTHER
    finally:
        ireko("rmi", "-f", child, check=False)


def test_a_plain_build_of_the_same_image_stands_alone_again(box, ireko, name, registry):
    text = "FROM scratch\nCOPY f /\n"
    box(text, "--platform", BOTH)
    box(text)
    assert document_kind(pushed(ireko, registry, name)) == "manifest"


def document_kind(doc):
    return "index" if "manifests" in doc else "manifest"


def test_a_platform_that_fails_is_named_and_nothing_is_tagged(box, ireko, name):
    before = images(ireko)
    p = box("FROM --platform=$BUILDPLATFORM busybox\nARG TARGETARCH\nRUN test $TARGETARCH = " + OWN + "\n", "--platform", BOTH, check=False)
    assert p.returncode != 0 and f"linux/{OTHER}: " in p.stderr and "exit code: 1" in p.stderr
    assert images(ireko) == before
    p = box("FROM scratch\nCOPY f /\n", "--platform", f"linux/{OWN},nosuch/x/y/z/w", check=False)
    assert p.returncode != 0 and "nosuch/x" in p.stderr


def test_the_files_of_each_platform_have_a_directory(box, folder):
    out = folder.parent / "the files"
    box(CROSS, "--platform", BOTH, "-o", out, tag=None)
    assert {p.name for p in out.iterdir()} == {f"linux_{OWN}", f"linux_{OTHER}"}
    assert [(out / f"linux_{a}/arch").read_text().strip() for a in (OWN, OTHER)] == [OWN, OTHER]
    archive = folder.parent / "files.tar"
    box(CROSS, "--platform", BOTH, "-o", f"type=tar,dest={archive}", tag=None)
    with tarfile.open(archive) as t:
        assert {n.removeprefix("./").rstrip("/") for n in t.getnames()} >= {f"linux_{OTHER}/arch", f"linux_{OWN}/f"}


def test_an_oci_archive_has_all_of_it(box, folder, name, new_engine):
    archive = folder.parent / "all.tar"
    box(CROSS, "--platform", BOTH, "--provenance=true", "-o", f"type=oci,dest={archive}")
    listed = json.loads(run("skopeo", "inspect", "--raw", f"oci-archive:{archive}").stdout)
    assert len(listed["manifests"]) == 4
    copy = folder.parent / "copy"
    run("skopeo", "copy", "-q", "--all", f"oci-archive:{archive}", f"dir:{copy}")
    assert json.loads((copy / "manifest.json").read_text()) == listed
    there = new_engine()
    there.cli("load", "-q", "-i", archive)
    assert json.loads(there.cli("image", "inspect", name).stdout)[0]["Architecture"] == OWN


def test_each_platform_has_its_cache(new_engine, registry, name, folder):
    here, there = new_engine(), new_engine()
    (folder / "Dockerfile").write_text(CROSS)
    (folder / "f").write_text("x")
    ref = f"{registry.host}/{name}:cache"
    here.cli("build", "--platform", BOTH, "--cache-to", f"type=registry,ref={ref},mode=max", folder)
    p = there.cli("build", "--platform", BOTH, "--progress", "plain", "--cache-from", f"type=registry,ref={ref}", folder)
    assert p.stderr.count("CACHED") == 8, p.stderr


def test_a_context_from_standard_input_serves_all_platforms(ireko, folder, name):
    archive = folder / "c.tar"
    with tarfile.open(archive, "w") as t:
        for path, text in (("Dockerfile", "FROM scratch\nCOPY f /\n"), ("f", "from an archive")):
            (folder / path).write_text(text)
            t.add(folder / path, path)
    with archive.open("rb") as f:
        ireko("build", "--platform", BOTH, "-o", folder / "out", "-", stdin=f)
    assert [(folder / f"out/linux_{a}/f").read_text() for a in (OWN, OTHER)] == ["from an archive"] * 2


# ---- attestations


def test_provenance_says_what_the_image_was_made_from(box, ireko, name, registry, folder):
    (folder / "secret.txt").write_text("hunter2-hunter2")
    base = f"{registry.host}/{name}-base"
    ireko("tag", "busybox", f"{base}:1")
    ireko("push", f"{base}:1")
    ireko("rmi", f"{base}:1")
    pulled = registry.ask("HEAD", f"/v2/{name}-base/manifests/1", headers={"Accept": f"{INDEX}, {MANIFEST}"})[1]["Docker-Content-Digest"]
    box("FROM scratch\nCOPY f /\n", tag=f"{name}:local")
    local = json.loads(ireko.out("image", "inspect", f"{name}:local"))[0]["Id"]
    text = (f"FROM {name}:local AS l\nFROM {base}:1 AS b\nARG WORD\nRUN --mount=type=secret,id=s cat /run/secrets/s > /dev/null; echo $WORD > /w\n"
            "FROM scratch\nCOPY --from=b /w /\nCOPY --from=l /f /\n")
    box(text, "--provenance=mode=max", "--build-arg", "WORD=told", "--secret", f"id=s,src={folder}/secret.txt", "--metadata-file", folder / "meta")
    index = pushed(ireko, registry, name)
    meta = json.loads((folder / "meta").read_text())
    found = statements(registry, name, index)["https://slsa.dev/provenance/v1"]
    build, details = found["predicate"]["buildDefinition"], found["predicate"]["runDetails"]
    ireko("rmi", f"{base}:1", f"{name}:local")
    assert {d["uri"]: f"sha256:{d['digest']['sha256']}" for d in build["resolvedDependencies"]} == {f"pkg:docker/{base}@1": pulled, f"pkg:docker/{name}@local": local}
    assert build["externalParameters"]["request"]["args"] == {"build-arg:WORD": "told"}
    assert base64.b64decode(details["metadata"]["ireko_source"]["data"]).decode() == text
    assert details["metadata"]["startedOn"] <= details["metadata"]["finishedOn"]
    assert "hunter2" not in json.dumps(found)
    assert meta["containerimage.digest"].startswith("sha256:") and meta["containerimage.digest"] != meta["containerimage.config.digest"]
    assert found["subject"][0]["name"] == f"pkg:docker/{name}@latest?platform=linux%2F{OWN}"


def test_provenance_in_short_tells_no_arguments(box, ireko, name, registry):
    box("FROM scratch\nARG WORD\nCOPY f /\n", "--provenance=true", "--build-arg", "WORD=untold")
    found = statements(registry, name, pushed(ireko, registry, name))["https://slsa.dev/provenance/v1"]
    assert "untold" not in json.dumps(found) and "ireko_source" not in found["predicate"]["runDetails"]["metadata"]


STATUS = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n"


def test_packages_are_listed(box, ireko, name, registry, folder):
    (folder / "status").write_text(STATUS)
    (folder / "apk").write_text("P:musl\nV:1.2.5-r1\nA:x86_64\nL:MIT\n\n")
    box("FROM scratch\nCOPY status /var/lib/dpkg/status\nCOPY apk /lib/apk/db/installed\nCOPY <<EOF /usr/lib/os-release\nID=debian\nVERSION_ID=\"12\"\nEOF\n", "--sbom=true")
    found = statements(registry, name, pushed(ireko, registry, name))["https://spdx.dev/Document"]["predicate"]
    assert found["spdxVersion"] == "SPDX-2.3" and [p["name"] for p in found["packages"]] == ["libc6", "musl"]
    assert found["packages"][0]["externalRefs"][0]["referenceLocator"] == "pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12"
    assert found["packages"][1]["licenseDeclared"] == "MIT" and len(found["relationships"]) == 2


def test_a_database_that_leads_out_of_the_image_is_not_followed(box, ireko, name, registry, folder):
    outside = folder.parent / "outside"
    outside.write_text("Package: of-the-host\nVersion: 1\n")
    deep = "../" * 30
    (folder / "status").symlink_to(f"{deep}{os.fspath(outside).lstrip('/')}")
    box("FROM busybox\nCOPY status /var/lib/dpkg/status\nRUN mkdir -p /lib/apk/db && mkfifo /lib/apk/db/installed && mkdir -p /var/lib/dpkg/status.d && "
        f"ln -s {outside} /var/lib/dpkg/status.d/a\n", "--sbom=true", timeout=30)
    found = statements(registry, name, pushed(ireko, registry, name))["https://spdx.dev/Document"]["predicate"]
    assert found["packages"] == []


# ---- annotations


def test_annotations_go_where_they_belong(box, ireko, name, registry):
    box("FROM scratch\nCOPY f /\n", "--platform", BOTH, "--annotation", "a=1", "--annotation", "index:b=2", "--annotation", f"manifest[linux/{OTHER}]:c=3",
        "--annotation", "manifest-descriptor:d=4")
    index = pushed(ireko, registry, name)
    assert index["annotations"] == {"b": "2"} and [m["annotations"] for m in index["manifests"]] == [{"d": "4"}] * 2
    own, other = (document(registry, name, m["digest"]) for m in index["manifests"])
    assert own["annotations"] == {"a": "1"} and other["annotations"] == {"a": "1", "c": "3"}


def test_an_annotation_alone_is_the_manifests(box, ireko, name, registry):
    box("FROM scratch\nCOPY f /\n", "--annotation", "org.opencontainers.image.title=名")
    assert pushed(ireko, registry, name)["annotations"] == {"org.opencontainers.image.title": "名"}


@pytest.mark.parametrize("options, said", (
    (["--annotation", "no-value"], "invalid annotation"),
    (["--annotation", "layer:a=b"], "expected manifest"),
    (["--annotation", "index:a=b"], "an image of one platform without attestations has none"),
    (["--provenance=true", "-o", "type=docker,dest=/dev/null"], "use type=oci"),
    (["--platform", BOTH, "-o", "type=docker,dest=/dev/null"], "use type=oci"),
    (["--sbom=generator=x"], "expected true or false"),
    (["--attest", "type=sbom,generator=x"], "lists the packages of dpkg and apk itself"),
    (["--attest", "type=other"], "expected type=provenance or type=sbom"),
))
def test_what_has_no_place_is_refused(box, ireko, options, said):
    before = images(ireko)
    p = box("FROM scratch\nCOPY f /\n", *options, check=False)
    assert p.returncode != 0 and said in p.stderr
    assert images(ireko) == before


# ---- bases of other platforms


def test_a_base_keeps_its_name_for_this_machine(box, ireko, name, registry, new_engine):
    base, before = f"{registry.host}/{name}:base", images(ireko)
    maker = new_engine()
    maker.cli("pull", "-q", "busybox", check=False)
    (made := maker.root / "a base").mkdir()
    (made / "Dockerfile").write_text("FROM scratch\nARG TARGETARCH\nCOPY <<EOF /arch\n$TARGETARCH\nEOF\n")
    maker.cli("build", "--platform", BOTH, "-t", base, made)
    maker.cli("push", "-q", base)
    text = f"FROM {base}\nLABEL a=b\n"
    try:
        # Whichever comes first.
        box(text, "--platform", f"linux/{OTHER}")
        assert json.loads(ireko.out("image", "inspect", name))[0]["Architecture"] == OTHER
        box(text, "--platform", BOTH)
        assert json.loads(ireko.out("image", "inspect", base))[0]["Architecture"] == OWN
        assert json.loads(ireko.out("image", "inspect", "--platform", f"linux/{OTHER}", base))[0]["Architecture"] == OTHER
        # Nobody is asked again: both are here.
        registry.p.send_signal(19)
        try:
            box(text + "LABEL c=d\n", "--platform", BOTH, timeout=20)
        finally:
            registry.p.send_signal(18)
    finally:
        ireko("rmi", "-f", name, base, check=False)
    ireko("image", "prune", "-f")  # the image that had the name first
    assert images(ireko) <= before


# ---- programs of other machines


@pytest.fixture
def emulator(folder, name):
    """A kind of program that the kernel gives to a program of ours: magic(text) is such a file. Only this test's files begin so."""
    magic = f"\x7f{name}"
    helper = folder.parent / "echo"
    shutil.copy(program("busybox", "tools/deps test"), helper)
    mounted = (BINFMT / "register").exists()
    if not mounted:
        run("mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT)
    try:
        (BINFMT / "register").write_text(f":{name}:M::{magic}::{helper}:F")
        yield magic
        (BINFMT / name).write_text("-1")
    finally:
        if not mounted:
            run("umount", BINFMT)


def test_programs_of_another_machine_run_where_an_emulator_is_installed(box, folder, emulator):
    (folder / "x").write_text(emulator)
    (folder / "x").chmod(0o755)
    p = box(f"FROM --platform=linux/{OTHER} scratch\nCOPY x /bin/x\nRUN [\"/bin/x\", \"is\", \"emulated\"]\n", "--platform", f"linux/{OTHER}", "--progress", "plain")
    assert "/bin/x is emulated" in p.stderr


def test_without_one_the_error_names_it(box, folder):
    (folder / "x").write_bytes(b"\x7fELF\x02\x02\x01" + bytes(9) + b"\x00\x02\xff\xf0" + bytes(100))
    (folder / "x").chmod(0o755)
    p = box("FROM scratch\nCOPY x /x\nRUN [\"/x\"]\n", "--platform", f"linux/{OTHER}", check=False)
    assert f"exec format error: the stage is for linux/{OTHER} and this machine runs linux/{OWN}: install an emulator" in p.stderr
