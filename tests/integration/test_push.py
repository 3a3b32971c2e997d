# SPDX-License-Identifier: Apache-2.0
"""Pushing to Debian's docker-registry, and what skopeo and podman find there."""
import base64
import crypt
import gzip
import json
import re
import tempfile

import pytest

import harness
from harness import add_file, busybox_layer, docker_archive, fill_busybox, image_config, make_tar, program, run, sha256

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def own_layer(name, size=0):
    return make_tar(lambda t: add_file(t, f"of-{name}", name.encode() + bytes(size)))


def base_layer(name):
    """busybox and something of its own: a layer that no other test has brought into the engine."""
    return make_tar(lambda t: (fill_busybox(t), add_file(t, f"base-{name}", name.encode())))


def load(engine, reference, name, size=0):
    """An image of two layers, one of them this test's own; loaded, so that no registry has seen it."""
    engine.cli("load", input=docker_archive(reference, [busybox_layer(), own_layer(name, size)], Cmd=["cat", f"/of-{name}"]), text=False)


def digest_of(out):
    m = re.search(r"digest: (sha256:[0-9a-f]{64}) size: (\d+)", out)
    assert m, out
    return m[1]


def manifest(registry, name, reference):
    kinds = f"{MANIFEST}, application/vnd.docker.distribution.manifest.v2+json"
    status, headers, body = registry.ask("GET", f"/v2/{name}/manifests/{reference}", headers={"Accept": kinds})
    assert status == 200, body
    assert headers["Docker-Content-Digest"] == f"sha256:{sha256(body)}"
    return json.loads(body)


def layers(said, status):
    return len(re.findall(rf"^[0-9a-f]{{12}}: {status}", said, re.M))


@pytest.fixture
def closed():
    """A registry that wants a password."""
    folder = harness.temp_folder("htpasswd")
    (folder / "users").write_text("user:" + crypt.crypt("sécret", crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16)) + "\n")
    r = harness.Registry(f"auth:\n  htpasswd: {{realm: test, path: {folder}/users}}\n")
    yield r
    r.close()
    harness.shutil.rmtree(folder)


def test_push_and_pull_again(cli, engine, registry, name):
    target = f"{registry.host}/{name}:v1"
    load(engine, target, name)
    out = cli.out("push", target)
    assert f"The push refers to repository [{registry.host}/{name}]" in out
    assert layers(out, "Pushed") + layers(out, "Mounted from") == 2 and "v1: digest: " in out
    digest = digest_of(out)
    m = manifest(registry, name, "v1")
    assert all(d["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip" for d in m["layers"])
    assert f"{registry.host}/{name}@{digest}" in engine.api("GET", f"/images/{target}/json").json["RepoDigests"]
    cli("rmi", target)
    assert f"Digest: {digest}" in cli.out("pull", target)
    assert cli.out("run", "--rm", target) == name
    cli("rmi", target)


def test_second_push_sends_nothing(cli, engine, registry, name):
    target = f"{registry.host}/{name}:v1"
    load(engine, target, name)
    digest = digest_of(cli.out("push", target))
    out = cli.out("push", target)
    assert digest_of(out) == digest and layers(out, "Layer already exists") == 2
    cli("rmi", target)


def test_others_find_what_we_pushed(ireko, engine, registry, folder, name):
    target = f"{registry.host}/{name}:x"
    load(engine, target, name, 3 << 20)
    digest = digest_of(ireko.out("push", target))
    skopeo, podman = program("skopeo"), program("podman")
    told = json.loads(run(skopeo, "inspect", "--tls-verify=false", f"docker://{target}").stdout)
    assert told["Digest"] == digest
    # Verified on the way: skopeo hashes every blob, podman every layer's contents too.
    run(skopeo, "--insecure-policy", "copy", "--src-tls-verify=false", "--preserve-digests", f"docker://{target}", f"dir:{folder}/copy")
    assert sha256((folder / "copy/manifest.json").read_bytes()) == digest[7:]
    short = tempfile.TemporaryDirectory(prefix="irk-")  # podman takes no runroot of more than 50 bytes
    pod = [podman, "--root", folder / "root", "--runroot", f"{short.name}/run", "--tmpdir", folder / "tmp", "--storage-driver", "vfs"]
    run(*pod, "pull", "--tls-verify=false", target)
    try:
        got = json.loads(run(*pod, "image", "inspect", target).stdout)[0]
        ours = engine.api("GET", f"/images/{target}/json").json
        assert got["Digest"] == digest and f"sha256:{got['Id']}" == ours["Id"] and got["RootFS"]["Layers"] == ours["RootFS"]["Layers"]
    finally:
        run(*pod, "rmi", "-f", target)
        short.cleanup()
    ireko("rmi", target)


def test_what_was_pulled_goes_out_as_it_came(cli, engine, registry, name):
    """Compressed by somebody else, its digests are kept; within one registry nothing is sent."""
    digest, _ = registry.push_image(name, "v1", [base_layer(name), own_layer(name)])
    cli("pull", f"{registry.host}/{name}:v1")
    cli("tag", f"{registry.host}/{name}:v1", f"{registry.host}/{name}-copy:v2")
    out = cli.out("push", f"{registry.host}/{name}-copy:v2")
    assert digest_of(out) == digest and layers(out, f"Mounted from {name}") == 2
    other = harness.Registry()
    try:
        cli("tag", f"{registry.host}/{name}:v1", f"{other.host}/elsewhere/{name}:v3")
        out = cli.out("push", f"{other.host}/elsewhere/{name}:v3")
        assert digest_of(out) == digest and layers(out, "Pushed") == 2
        assert manifest(other, f"elsewhere/{name}", digest)
    finally:
        other.close()
    cli("rmi", f"{registry.host}/{name}:v1", f"{registry.host}/{name}-copy:v2", f"{other.host}/elsewhere/{name}:v3")


def test_built_on_what_was_pulled(cli, registry, name):
    """The base's layers keep the blobs that they came as; only the new one is compressed."""
    registry.push_image(name, "base", [base_layer(name)], Cmd=["sh"])
    cli("build", "-t", f"{registry.host}/{name}-app:v1", "-", input=f"FROM {registry.host}/{name}:base\nRUN echo {name} > /new\n")
    out = cli.out("push", f"{registry.host}/{name}-app:v1")
    assert layers(out, f"Mounted from {name}") == 1 and layers(out, "Pushed") == 1
    assert manifest(registry, f"{name}-app", "v1")["layers"][0]["digest"] == manifest(registry, name, "base")["layers"][0]["digest"]
    cli("rmi", f"{registry.host}/{name}-app:v1", f"{registry.host}/{name}:base")


def test_an_index_with_all_that_is_in_it(cli, registry, name):
    """Pulled for every platform that it names, an index goes out as it came; with less of it, or for one platform, an image does."""
    entries, architectures = [], ("amd64", "arm64")
    for arch in architectures:
        layer = make_tar(lambda t, a=arch: add_file(t, f"{name}-{a}", a.encode()))
        config = json.dumps({**json.loads(image_config([layer])), "architecture": arch}).encode()
        packed = gzip.compress(layer, 1, mtime=0)
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": registry.push_blob(name, config), "size": len(config)},
                    "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": registry.push_blob(name, packed), "size": len(packed)}]}
        digest, size = registry.push_manifest(name, arch, document, MANIFEST)
        entries.append({"mediaType": MANIFEST, "digest": digest, "size": size, "platform": {"architecture": arch, "os": "linux"}})
    index, _ = registry.push_manifest(name, "multi", {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, INDEX)
    source, target = f"{registry.host}/{name}:multi", f"{registry.host}/{name}-copy:multi"

    cli("pull", "--platform", "linux/arm64", source)
    cli("tag", source, target)
    out = cli.out("push", target)
    assert digest_of(out) == entries[1]["digest"] and f"Not all of the index {index} is here" in out
    cli("pull", "--platform", "linux/amd64", source)
    cli("tag", source, target)
    for _ in range(2):
        out = cli.out("push", target)
        assert digest_of(out) == index and "Not all" not in out
    status, headers, body = registry.ask("GET", f"/v2/{name}-copy/manifests/multi", headers={"Accept": INDEX})
    assert status == 200 and f"sha256:{sha256(body)}" == index and headers["Content-Type"] == INDEX
    for arch in architectures:
        assert manifest(registry, f"{name}-copy", entries[architectures.index(arch)]["digest"])
    cli("rmi", source, target)


def test_all_tags(cli, engine, registry, name):
    for tag in ("one", "two"):
        load(engine, f"{registry.host}/{name}:{tag}", name + tag)
    assert "tag can't be used with --all-tags/-a" in cli.fails("push", "-a", f"{registry.host}/{name}:one")
    out = cli.out("push", "-a", f"{registry.host}/{name}")
    assert "one: digest: sha256:" in out and "two: digest: sha256:" in out and out.count("The push refers to") == 1
    status, _, body = registry.ask("GET", f"/v2/{name}/tags/list")
    assert status == 200 and sorted(json.loads(body)["tags"]) == ["one", "two"]
    cli("rmi", f"{registry.host}/{name}:one", f"{registry.host}/{name}:two")


def test_quiet(cli, engine, registry, name):
    load(engine, f"{registry.host}/{name}:q", name)
    assert cli.out("push", "-q", f"{registry.host}/{name}:q") == f"{registry.host}/{name}:q"
    cli("rmi", f"{registry.host}/{name}:q")


def test_default_tag(cli, engine, registry, name):
    load(engine, f"{registry.host}/{name}:latest", name)
    assert "Using default tag: latest" in cli.out("push", f"{registry.host}/{name}")
    assert manifest(registry, name, "latest")
    cli("rmi", f"{registry.host}/{name}")


def test_what_is_not_here(cli, engine, registry, name):
    assert f"An image does not exist locally with the tag: {registry.host}/{name}" in cli.fails("push", f"{registry.host}/{name}:v1", status=1)
    load(engine, f"{registry.host}/{name}:v1", name)
    assert f"tag does not exist: {registry.host}/{name}:v2" in cli.fails("push", f"{registry.host}/{name}:v2", status=1)
    assert engine.api("POST", f"/images/{registry.host}/{name}/push?tag=v2").status == 404
    cli("rmi", f"{registry.host}/{name}:v1")


def test_nobody_listens(cli, engine, name):
    host = f"127.0.0.1:{harness.free_port()}"
    load(engine, f"{host}/{name}:v1", name)
    assert re.search(r"refused|connect", cli.fails("push", f"{host}/{name}:v1", status=1))
    cli("rmi", f"{host}/{name}:v1")


def test_messages(engine, registry, name):
    target = f"{registry.host}/{name}"
    load(engine, f"{target}:v1", name, 3 << 20)
    reply = engine.api("POST", f"/images/{target}/push?tag=v1", headers={"X-Registry-Auth": "e30="})
    assert reply.status == 200 and reply.headers["Transfer-Encoding"] == "chunked"
    lines = reply.lines
    assert lines[0] == {"status": f"The push refers to repository [{target}]"}
    assert lines[1]["status"] == "Preparing" and lines[1]["progressDetail"] == {} and re.fullmatch(r"[0-9a-f]{12}", lines[1]["id"])
    ids = {line["id"] for line in lines if "id" in line}
    assert ids == {layer[7:19] for layer in engine.api("GET", f"/images/{target}:v1/json").json["RootFS"]["Layers"]}
    aux = lines[-1]["aux"]
    assert lines[-2]["status"] == f"v1: digest: {aux['Digest']} size: {aux['Size']}" and aux["Tag"] == "v1"
    assert len(json.dumps(manifest(registry, name, "v1"), separators=(",", ":"))) == aux["Size"]
    engine.cli("rmi", f"{target}:v1")


def test_platform(ireko, engine, registry, name):
    target = f"{registry.host}/{name}:v1"
    load(engine, target, name)
    assert "does not provide the specified platform" in ireko.fails("push", "--platform", "linux/s390x", target)
    have = engine.api("GET", f"/images/{target}/json").json
    assert "digest" in ireko.out("push", "--platform", f"linux/{have['Architecture']}", target)
    wanted = json.dumps({"os": "linux", "architecture": "s390x"}).replace('"', "%22").replace(" ", "%20")
    assert engine.api("POST", f"/images/{registry.host}/{name}/push?tag=v1&platform={wanted}").status == 404
    ireko("rmi", target)


def test_zstd(ireko, engine, registry, folder, name):
    target = f"{registry.host}/{name}:z"
    load(engine, target, name)
    digest = digest_of(ireko.out("push", "--compression", "zstd", target))
    assert all(d["mediaType"].endswith("+zstd") for d in manifest(registry, name, digest)["layers"])
    run(program("skopeo"), "--insecure-policy", "copy", "--src-tls-verify=false", f"docker://{target}", f"dir:{folder}/z")
    again = ireko.out("push", "--compression", "zstd", target)
    assert digest_of(again) == digest and layers(again, "Layer already exists") == 2
    assert "expected gzip or zstd" in ireko.fails("push", "--compression", "lzma", target)
    ireko("rmi", target)


def test_credentials(engine, closed, name):
    target = f"{closed.host}/{name}"
    load(engine, f"{target}:v1", name)

    def push(account):
        header = base64.urlsafe_b64encode(json.dumps(account).encode()).decode()
        return engine.api("POST", f"/images/{target}/push?tag=v1", headers={"X-Registry-Auth": header}).lines[-1]

    assert push({})["error"].startswith("unauthorized: authentication required")
    assert "unauthorized: incorrect username or password" in push({"username": "user", "password": "wrong"})["error"]
    assert push({"username": "user", "password": "sécret"})["aux"]["Tag"] == "v1"
    engine.cli("rmi", f"{target}:v1")


def test_pushes_at_once(engine, registry, name):
    load(engine, f"{registry.host}/{name}:v1", name, 3 << 20)
    ps = [engine.popen("push", f"{registry.host}/{name}:v1") for _ in range(4)]
    said = [p.communicate(timeout=60)[0] for p in ps]
    assert [p.returncode for p in ps] == [0] * 4, "\n".join(said)
    assert len({digest_of(s) for s in said}) == 1
    engine.cli("rmi", f"{registry.host}/{name}:v1")


def test_a_client_that_leaves(engine, name):
    """The push ends, and nothing half-written stays."""
    import socket
    import time

    with socket.create_server(("127.0.0.1", 0)) as deaf:
        target = f"127.0.0.1:{deaf.getsockname()[1]}/{name}:v1"
        load(engine, target, name)
        p = engine.popen("push", target)
        deaf.accept()
        p.kill()
        p.communicate()
        start = time.monotonic()
        engine.cli("rmi", target)
        assert time.monotonic() - start < 10
        harness.wait_until("nothing is half-written", lambda: not list((engine.data_root / "content/ingest").iterdir()))


@pytest.mark.parametrize("most", [1, 4])
def test_no_more_at_once_than_told(new_engine, registry, name, most):
    engine = new_engine("--max-concurrent-uploads", most)
    target = f"{registry.host}/{name}:x"
    engine.cli("load", input=docker_archive(target, [own_layer(f"{name}{i}", 200000) for i in range(6)]), text=False)
    reply = engine.api("POST", f"/images/{registry.host}/{name}/push?tag=x", headers={"X-Registry-Auth": "e30="})
    said = [(m["id"], m["status"]) for m in reply.lines if "id" in m]
    assert len({i for i, s in said if s == "Waiting"}) == 6 - most
    going, at_once = set(), 0
    for i, status in said:
        going = going | {i} if status == "Pushing" else going - {i} if status == "Pushed" else going
        at_once = max(at_once, len(going))
    assert at_once <= most and (most > 1 or at_once == 1)
