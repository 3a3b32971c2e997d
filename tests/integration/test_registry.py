# SPDX-License-Identifier: Apache-2.0
"""Pulling from Debian's docker-registry, and from registries that lie, stall, cut off or ask for a token."""
import base64
import gzip
import io
import json
import re
import subprocess
import tarfile
import threading
import time

import pytest

from harness import add_file, busybox_layer, image_config, make_tar, program, run, sha256, wait_until
from hostile_registry import INDEX, MANIFEST, Hostile


def small(name):
    return make_tar(lambda t: add_file(t, f"from-{name}", name.encode()))


def test_pull_by_tag_and_digest(cli, engine, registry, name):
    digest, _ = registry.push_image(name, "v1", [busybox_layer(), small(name)], Cmd=["cat", f"/from-{name}"])
    out = cli.out("pull", f"{registry.host}/{name}:v1")
    assert f"Digest: {digest}" in out and "Downloaded newer image" in out
    assert cli.out("run", "--rm", f"{registry.host}/{name}:v1") == name
    assert "Image is up to date" in cli.out("pull", f"{registry.host}/{name}:v1")
    cli("rmi", f"{registry.host}/{name}:v1")
    cli("pull", f"{registry.host}/{name}@{digest}")
    assert cli.out("run", "--rm", f"{registry.host}/{name}@{digest}") == name
    assert digest in cli.out("images", "--digests")
    cli("rmi", f"{registry.host}/{name}@{digest}")


def test_run_pulls_what_is_missing(cli, registry, name):
    registry.push_image(name, "latest", [busybox_layer(), small(name)], Cmd=["cat", f"/from-{name}"])
    p = cli("run", "--rm", f"{registry.host}/{name}")
    assert p.stdout == name and "Unable to find image" in p.stderr
    cli("rmi", f"{registry.host}/{name}")


def test_index_of_several_platforms(cli, registry, name):
    entries = []
    for arch in ("amd64", "arm64", "s390x"):
        layers = [busybox_layer(), make_tar(lambda t, a=arch: add_file(t, "arch", a.encode()))]
        text = json.loads(image_config(layers, Cmd=["cat", "/arch"]))
        text["architecture"] = arch
        data = json.dumps(text).encode()
        packed = [gzip.compress(d, 1) for d in layers]
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": registry.push_blob(name, data), "size": len(data)},
                    "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": registry.push_blob(name, d), "size": len(d)} for d in packed]}
        digest, size = registry.push_manifest(name, arch, document, MANIFEST)
        entries.append({"mediaType": MANIFEST, "digest": digest, "size": size, "platform": {"architecture": arch, "os": "linux"}})
    registry.push_manifest(name, "multi", {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, INDEX)
    cli("pull", f"{registry.host}/{name}:multi")
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[__import__("os").uname().machine]
    assert cli.out("run", "--rm", f"{registry.host}/{name}:multi") == machine
    cli("rmi", f"{registry.host}/{name}:multi")
    cli("pull", "--platform", "linux/s390x", f"{registry.host}/{name}:multi")
    assert json.loads(cli.out("image", "inspect", f"{registry.host}/{name}:multi"))[0]["Architecture"] == "s390x"
    cli("rmi", f"{registry.host}/{name}:multi")
    said = cli.fails("pull", "--platform", "linux/riscv64", f"{registry.host}/{name}:multi")
    assert "riscv64" in said


def test_zstd_and_plain_layers(ireko, registry, name):
    zstd = program("zstd")
    registry.push_image(name, "zstd", [busybox_layer(), small(name)], "application/vnd.oci.image.layer.v1.tar+zstd",
                        lambda d: run(zstd, "-c", input=d, text=False).stdout, Cmd=["cat", f"/from-{name}"])
    registry.push_image(name, "plain", [busybox_layer(), small(name + "p")], "application/vnd.oci.image.layer.v1.tar", lambda d: d, Cmd=["cat", f"/from-{name}p"])
    for tag, wanted in (("zstd", name), ("plain", name + "p")):
        ireko("pull", f"{registry.host}/{name}:{tag}")
        assert ireko.out("run", "--rm", f"{registry.host}/{name}:{tag}") == wanted
        ireko("rmi", f"{registry.host}/{name}:{tag}")


def test_pull_of_many_layers_in_parallel(ireko, registry, name):
    layers = [busybox_layer(), *(make_tar(lambda t, i=i: add_file(t, f"layer-{i:02}", str(i).encode() * 1000)) for i in range(40))]
    registry.push_image(name, "many", layers, Cmd=["sh", "-c", "ls /layer-* | wc -l"])
    ireko("pull", f"{registry.host}/{name}:many")
    assert ireko.out("run", "--rm", f"{registry.host}/{name}:many") == "40"
    ireko("rmi", f"{registry.host}/{name}:many")


def test_two_pulls_of_one_image_at_once(engine, registry, name):
    registry.push_image(name, "both", [busybox_layer(), make_tar(lambda t: add_file(t, "big", bytes(3 << 20)))])
    ps = [engine.popen("pull", f"{registry.host}/{name}:both") for _ in range(4)]
    assert [p.communicate(timeout=60) and p.returncode for p in ps] == [0] * 4
    engine.cli("rmi", f"{registry.host}/{name}:both")


def test_progress_on_a_terminal(ireko, registry, name):
    registry.push_image(name, "tty", [busybox_layer(), small(name)])
    with ireko.pty("pull", f"{registry.host}/{name}:tty") as t:
        t.expect(r"Pull complete")
        assert t.wait() == 0
    ireko("rmi", f"{registry.host}/{name}:tty")


def test_skopeo_pushed_image(ireko, registry, folder, name):
    ireko("save", "-o", folder / "s.tar", "busybox")
    run(program("skopeo"), "--insecure-policy", "copy", "--dest-tls-verify=false", f"docker-archive:{folder}/s.tar", f"docker://{registry.host}/{name}:sk")
    ireko("pull", f"{registry.host}/{name}:sk")
    assert ireko.out("run", "--rm", f"{registry.host}/{name}:sk", "echo", "fine") == "fine"
    ireko("rmi", f"{registry.host}/{name}:sk")


def test_unknown_tag_and_repository(cli, engine, registry, name):
    registry.push_image(name, "there", [small(name)])
    for reference in (f"{registry.host}/{name}:missing", f"{registry.host}/nobody/{name}:x"):
        said = cli.fails("pull", reference, status=1)
        assert re.search(r"not found|manifest unknown", said)
    assert engine.api("POST", f"/images/create?fromImage={registry.host}/{name}&tag=missing").status == 404


def test_nobody_listens(cli):
    from harness import free_port

    start = time.monotonic()
    said = cli.fails("pull", f"127.0.0.1:{free_port()}/x:y", status=1)
    assert re.search(r"refused|connect", said) and time.monotonic() - start < 20


# ---- registries that misbehave
@pytest.fixture
def hostile():
    h = Hostile()
    yield h
    h.close()


def refused(engine, reference, pattern, before):
    p = engine.cli("pull", reference, check=False, timeout=90)
    assert p.returncode == 1 and re.search(pattern, p.stderr + p.stdout, re.I), p
    assert engine.images() == before
    # What files within layers are called is their images' affair.
    ours = lambda f: str(f.relative_to(engine.data_root)).split("/diff/")[0]  # noqa: E731
    partial = [str(f) for f in engine.data_root.rglob("*") if re.search(r"partial|\.tmp|ingest/.+", ours(f)) and f.is_file()]
    assert not partial, partial


def test_layer_with_another_digest(engine, hostile, name):
    before = engine.images()
    other = gzip.compress(make_tar(lambda t: add_file(t, "evil", b"evil")))
    hostile.image(name, "x", [small(name)], lie=(200, {}, other))
    refused(engine, f"{hostile.host}/{name}:x", r"digest|size|match|sent \d+ of \d+ bytes", before)


def test_layer_with_flipped_bits(engine, hostile, name):
    before = engine.images()
    hostile.image(name, "x", [small(name)], lie=lambda d: (200, {}, d[:-9] + bytes([d[-9] ^ 1]) + d[-8:]))
    refused(engine, f"{hostile.host}/{name}:x", r"digest|match|damaged|corrupt|crc", before)


def test_layer_that_is_cut_off(engine, hostile, name):
    before = engine.images()
    hostile.image(name, "x", [make_tar(lambda t: add_file(t, "big", __import__("os").urandom(200000)))],
                  lie=lambda d: (200, {"Content-Length": str(len(d)), "Connection": "close"}, d[:len(d) // 2]))
    refused(engine, f"{hostile.host}/{name}:x", r"truncat|short|cut|closed|ended|partial|incomplete|transfer", before)


def test_layer_longer_than_told(engine, hostile, name):
    before = engine.images()
    hostile.image(name, "x", [small(name)], lie=lambda d: (200, {}, d + bytes(1 << 20)))
    refused(engine, f"{hostile.host}/{name}:x", r"digest|size|larger|long|more", before)


def test_layer_whose_gzip_ends_early(engine, hostile, name):
    """The digest is right: the registry's author made it so."""
    before = engine.images()
    hostile.image(name, "x", [make_tar(lambda t: add_file(t, "big", __import__("os").urandom(100000)))], pack=lambda d: gzip.compress(d)[:50000])
    refused(engine, f"{hostile.host}/{name}:x", r"truncat|unexpected end|damaged|corrupt", before)


def test_layer_whose_contents_are_not_what_the_config_says(engine, hostile, name):
    before = engine.images()
    hostile.image(name, "x", [small(name)], pack=lambda d: gzip.compress(make_tar(lambda t: add_file(t, "other", b"x"))))
    refused(engine, f"{hostile.host}/{name}:x", r"diff|digest|match", before)


def test_manifest_with_another_digest(engine, hostile, name):
    before = engine.images()
    document = hostile.image(name, "x", [small(name)])
    wrong = "sha256:" + sha256(b"something else")
    hostile.answers[f"/v2/{name}/manifests/{wrong}"] = (200, {"Content-Type": MANIFEST}, document)
    refused(engine, f"{hostile.host}/{name}@{wrong}", r"digest|match", before)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"schemaVersion":1}', b'{"schemaVersion":2,"config":{},"layers":[]}', b'{"schemaVersion":2,"layers":"x"}', b"x" * (9 << 20)],
                         ids=["empty", "cut", "array", "null", "v1", "no-config", "wrong-type", "huge"])
def test_manifests_that_are_none(engine, hostile, name, body):
    before = engine.images()
    hostile.answers[f"/v2/{name}/manifests/x"] = (200, {"Content-Type": MANIFEST}, body)
    refused(engine, f"{hostile.host}/{name}:x", r"manifest|invalid|large|schema|JSON|media", before)


def test_layers_that_lead_out(engine, hostile, name):
    """A pulled layer that climbs, follows links, or brings devices touches nothing on the host."""
    import pathlib

    escaped = pathlib.Path("/tmp/irk-escaped-pull")

    def fill(t):
        add_file(t, "../../../../../../../../../../../../tmp/irk-escaped-pull", b"out")

    def by_link(t):
        add_file(t, "a", type=tarfile.SYMTYPE, linkname="/tmp")
        add_file(t, "a/irk-escaped-pull", b"out")

    def device(t):
        add_file(t, "disk", type=tarfile.BLKTYPE, devmajor=8, devminor=0, mode=0o666)

    for i, f in enumerate((fill, by_link, device)):
        hostile.image(name, f"x{i}", [busybox_layer(), make_tar(f)])
        p = engine.cli("pull", f"{hostile.host}/{name}:x{i}", check=False)
        assert not escaped.exists()
        if p.returncode == 0:
            q = engine.cli("run", "--rm", f"{hostile.host}/{name}:x{i}", "sh", "-c", "test ! -b /disk || cat /disk", check=False)
            assert f is not device or q.returncode != 0 or q.stdout == ""
            engine.cli("rmi", f"{hostile.host}/{name}:x{i}")
        else:
            assert p.stderr.strip()


def test_decompression_bomb_is_stopped_by_the_disk_budget(engine, hostile, name):
    """A gzip of zeros that claims to be small: sparse or refused, but never more than it says it is."""
    layer = make_tar(lambda t: add_file(t, "zeros", bytes(64 << 20)))
    hostile.image(name, "x", [layer])
    p = engine.cli("pull", f"{hostile.host}/{name}:x", check=False, timeout=90)
    if p.returncode == 0:
        engine.cli("rmi", f"{hostile.host}/{name}:x")


def test_anonymous_token(engine, hostile, name):
    """The registry sends us to a token service, which gives a token for the asking."""
    hostile.image(name, "x", [busybox_layer(), small(name)])
    plain = dict(hostile.answers)

    def guarded(answer):
        def check(handler):
            if handler.headers.get("Authorization") == "Bearer the-token":
                return answer
            return 401, {"WWW-Authenticate": f'Bearer realm="http://{hostile.host}/token",service="svc",scope="repository:{name}:pull"'}, b"{}"
        return check

    for path, answer in plain.items():
        hostile.answers[path] = guarded(answer)
    hostile.answers["/token"] = (200, {"Content-Type": "application/json"}, b'{"token":"the-token","expires_in":300}')
    engine.cli("pull", f"{hostile.host}/{name}:x")
    asked = [path for _, path, _ in hostile.asked if path.startswith("/token")]
    assert asked and "service=svc" in asked[0] and f"scope=repository%3A{name}%3Apull" in asked[0]
    engine.cli("rmi", f"{hostile.host}/{name}:x")


def test_credentials_are_sent_only_where_they_belong(engine, hostile, name):
    """A redirect of a blob to another host does not carry the Authorization header along."""
    other = Hostile()
    try:
        hostile.image(name, "x", [busybox_layer(), small(name)])
        for path in [p for p in hostile.answers if "/blobs/" in p]:
            other.answers[path] = hostile.answers[path]
            hostile.answers[path] = (307, {"Location": f"http://{other.host}{path}"}, b"")
        def manifest(answer):
            def check(handler):
                if handler.headers.get("Authorization") == "Basic " + base64.b64encode(b"u:p").decode():
                    return answer
                return 401, {"WWW-Authenticate": 'Basic realm="r"'}, b"{}"
            return check
        for path in [p for p in hostile.answers if "/manifests/" in p]:
            hostile.answers[path] = manifest(hostile.answers[path])
        auth = base64.urlsafe_b64encode(json.dumps({"username": "u", "password": "p", "serveraddress": hostile.host}).encode()).decode()
        reply = engine.api("POST", f"/images/create?fromImage={hostile.host}/{name}&tag=x", headers={"X-Registry-Auth": auth})
        assert reply.status == 200 and not [line for line in reply.lines if "error" in line], reply.body
        assert other.asked and not any("Authorization" in headers for _, _, headers in other.asked)
        engine.cli("rmi", f"{hostile.host}/{name}:x")
    finally:
        other.close()


def test_a_stalling_registry_can_be_interrupted(engine, hostile, name):
    stop = threading.Event()

    def stall(handler):
        stop.wait(30)
        return 200, {}, b""

    hostile.image(name, "x", [small(name)], lie=stall)
    p = engine.popen("pull", f"{hostile.host}/{name}:x")
    wait_until("the layer is asked for", lambda: any("/blobs/" in path for _, path, _ in hostile.asked))
    time.sleep(0.3)
    import signal

    p.send_signal(signal.SIGINT)
    assert p.wait(timeout=20) != 0
    p.stdout.close()
    assert engine.cli("ps", "-q", timeout=20).returncode == 0
    stop.set()
