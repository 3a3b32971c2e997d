# SPDX-License-Identifier: Apache-2.0
"""Archives and image layouts between us and podman, dockerd, skopeo and buildah, both ways: what one writes the others read, with equal digests."""
import json
import re
import tarfile

import pytest

from callers import Docker, Podman
from harness import program, run


@pytest.fixture(scope="module", params=[Podman, Docker], ids=["podman", "docker"])
def caller(request):
    room = request.param()
    try:
        yield room.start()
    finally:
        room.finish()


@pytest.fixture
def image(engine, name):
    """An image of three layers, the upper ones made here."""
    engine.cli("run", "--name", name, "busybox", "sh", "-c", "echo one > /one; mkdir /d; touch /d/x; ln /one /hard; ln -s one /soft; chmod 4755 /one; rm /etc/plain-file")
    engine.cli("commit", "-c", "ENV A=b", name, f"{name}:mid")
    engine.cli("rm", name)
    engine.cli("run", "--name", name, f"{name}:mid", "sh", "-c", "rm -r /d; echo two > /two")
    engine.cli("commit", "-c", "LABEL k=v", "-c", 'CMD ["cat", "/one"]', name, f"{name}:x")
    yield f"{name}:x"
    engine.cli("rmi", "-f", f"{name}:x", f"{name}:mid")


def layers_of(engine, name):
    return json.loads(engine.cli("image", "inspect", name).stdout)[0]["RootFS"]["Layers"]


def image_id(engine, name):
    return engine.cli("image", "inspect", "-f", "{{.Id}}", name).stdout.strip()


def test_they_load_what_we_save(caller, engine, image):
    for form in caller.archives:
        engine.cli("save", "--format", form, "-o", caller.root / "ours.tar", image)
        out = caller.out("load", "-i", caller.root / "ours.tar")
        m = re.search(r"Loaded image(?:\(s\))?(?: ID)?: (\S+)", out)
        assert m, out
        theirs = json.loads(caller.out("image", "inspect", m.group(1)))[0]
        assert theirs["RootFS"]["Layers"] == layers_of(engine, image)
        assert theirs["Id"].removeprefix("sha256:") == image_id(engine, image).removeprefix("sha256:")
        assert caller.make("run", "--rm", m.group(1)).stdout == "one\n"
        assert caller.make("run", "--rm", m.group(1), "sh", "-c", "ls -d /d /etc/plain-file 2>/dev/null; cat /two; stat -c '%a %h' /hard").stdout == "two\n4755 2\n"
        caller.call("rmi", "-f", m.group(1))


def test_we_load_what_they_save(caller, engine, name):
    theirs_name = f"localhost/{name}:theirs"
    caller.make("run", "--name", name, "busybox", "sh", "-c", "echo theirs > /made; rm /etc/plain-file; mkdir -p /deep/er; ln /made /deep/hard")
    caller.call("commit", name, theirs_name)
    caller.call("rm", name)
    theirs = json.loads(caller.out("image", "inspect", theirs_name))[0]
    for options in caller.archives.values():
        (caller.root / "theirs.tar").unlink(missing_ok=True)
        caller.call("save", *options, "-o", caller.root / "theirs.tar", theirs_name)
        out = engine.cli("load", "-i", caller.root / "theirs.tar").stdout
        m = re.search(r"Loaded image(?: ID)?: (\S+)", out)
        assert m, out
        assert layers_of(engine, m.group(1)) == theirs["RootFS"]["Layers"]
        assert image_id(engine, m.group(1)).removeprefix("sha256:") == theirs["Id"].removeprefix("sha256:")
        assert engine.cli("run", "--rm", m.group(1), "sh", "-c", "cat /deep/hard; ls /etc/plain-file 2>/dev/null; true").stdout == "theirs\n"
        engine.cli("rmi", "-f", m.group(1))
    caller.call("rmi", "-f", theirs_name)


def test_export_and_import_across(caller, engine, name, folder):
    caller.make("run", "--name", name, "busybox", "sh", "-c", "echo x > /exported; chown 1000:1000 /exported")
    caller.call("export", "-o", caller.root / "fs.tar", name)
    caller.call("rm", name)
    engine.cli("import", "-c", "CMD [\"cat\", \"/exported\"]", caller.root / "fs.tar", f"{name}:fs")
    assert engine.cli("run", "--rm", f"{name}:fs").stdout == "x\n"
    engine.cli("run", "--name", name, f"{name}:fs", "true")
    engine.cli("export", "-o", caller.root / "back.tar", name)
    caller.call("import", caller.root / "back.tar", f"localhost/{name}:back")
    assert caller.make("run", "--rm", f"localhost/{name}:back", "stat", "-c", "%u:%g", "/exported").stdout == "1000:1000\n"
    caller.call("rmi", "-f", f"localhost/{name}:back")
    engine.cli("rm", name)
    engine.cli("rmi", f"{name}:fs")


# ---- skopeo and buildah
def skopeo_copy(*args):
    run(program("skopeo"), "--insecure-policy", "copy", "-q", *args)


def manifest_digest(layout):
    return json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]


def test_layout_directories_with_skopeo(engine, image, folder):
    """oci:DIR of ours read by skopeo and the other way; nothing on the way changes a digest."""
    ours, theirs, again = folder / "our layout", folder / "theirs", folder / "again"
    engine.cli("save", "--format", "oci", "-o", f"{ours}/", image)
    config = json.loads(run(program("skopeo"), "inspect", "--config", f"oci:{ours}").stdout)
    assert config["rootfs"]["diff_ids"] == layers_of(engine, image)
    skopeo_copy("--preserve-digests", f"oci:{ours}", f"oci:{theirs}:kept")
    assert manifest_digest(theirs) == manifest_digest(ours)
    # Compressed by skopeo, in both ways that it has.
    for compression in ("gzip", "zstd"):
        packed = folder / compression
        skopeo_copy("--dest-compress", "--dest-compress-format", compression, f"oci:{ours}", f"oci:{packed}:docker.io/library/packed:{compression}")
        before = image_id(engine, image)
        assert f"packed:{compression}" in engine.cli("load", "-i", packed).stdout
        assert image_id(engine, f"packed:{compression}") == before
        engine.cli("save", "--format", "oci", "-o", f"{again}-{compression}/", f"packed:{compression}")
        assert manifest_digest(folder / f"again-{compression}") == manifest_digest(packed)
        engine.cli("rmi", f"packed:{compression}")


def test_oci_archive_with_skopeo(engine, image, folder, name):
    engine.cli("save", "--format", "oci", "-o", folder / "ours.tar", image)
    with tarfile.open(folder / "ours.tar") as t:
        assert "manifest.json" not in t.getnames()
    skopeo_copy(f"oci-archive:{folder}/ours.tar", f"oci-archive:{folder}/theirs.tar:docker.io/library/{name}:theirs")
    assert f"{name}:theirs" in engine.cli("load", "-i", folder / "theirs.tar").stdout
    assert image_id(engine, f"{name}:theirs") == image_id(engine, image)
    engine.cli("rmi", f"{name}:theirs")


@pytest.fixture
def podman():
    room = Podman()
    try:
        yield room
    finally:
        room.finish()


def test_buildah(podman, engine, image):
    """It takes our archive as a base, and we take what it makes of it."""
    storage = ["--root", podman.root / "data", "--runroot", podman.root / "run", "--storage-driver", "overlay"]
    buildah = lambda *args: podman.run(program("buildah"), *storage, *args).stdout.strip()  # noqa: E731
    engine.cli("save", "-o", podman.root / "base.tar", image)
    container = buildah("from", f"docker-archive:{podman.root}/base.tar")
    (podman.root / "added").write_text("by buildah\n")
    buildah("copy", container, podman.root / "added", "/added")
    buildah("commit", container, f"oci-archive:{podman.root}/buildah.tar:docker.io/library/made:buildah")
    buildah("rm", container)
    assert "made:buildah" in engine.cli("load", "-i", podman.root / "buildah.tar").stdout
    assert layers_of(engine, "made:buildah")[:3] == layers_of(engine, image)
    assert engine.cli("run", "--rm", "made:buildah", "cat", "/added", "/two").stdout == "by buildah\ntwo\n"
    engine.cli("rmi", "made:buildah")


# ---- what a container changed
@pytest.fixture
def dockerd():
    room = Docker()
    try:
        yield room.start()
    finally:
        room.finish()


def test_diff_says_what_docker_says(dockerd, engine, name):
    script = ("echo x > /new; echo y >> /etc/passwd; rm /etc/group; mkdir -p /a/b; touch /a/b/c; rm -r /home; mkdir /home; chmod 700 /var; ln -s x /link; rm /bin/su; mkdir /bin/su; "
              "touch -d @5 /usr; cat < /etc/plain-file; : >> /etc/plain-file; mv /bin/who /bin/who2; ln /new /hard; rm -r /root; mknod /dev0 c 1 3; chown 1:1 /bin/wc")
    dockerd.make("run", "--name", name, "busybox", "sh", "-c", script)
    engine.cli("run", "--name", name, "busybox", "sh", "-c", script)
    ours, theirs = (set(out.splitlines()) for out in (engine.cli("diff", name).stdout, dockerd.out("diff", name)))
    dockerd.call("rm", name)
    assert ours == theirs, (ours - theirs, theirs - ours)
