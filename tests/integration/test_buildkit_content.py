# SPDX-License-Identifier: Apache-2.0
"""Caches of type=local whose client serves what it likes: blobs that are not what they are called, that do not end, that have names of files. The build goes on without."""
import hashlib
import json
import uuid
from concurrent import futures

import grpc
import pytest

from buildkit_peer import END, Peer, directories, field, fields
from harness import image_config, wait_until

READ = "/containerd.services.content.v1.Content/Read"
MANIFEST, CONFIG, LAYER = (f"application/vnd.oci.image.{k}" for k in ("manifest.v1+json", "config.v1+json", "layer.v1.tar"))


@pytest.fixture
def peer(engine, tmp_path):
    p = Peer(engine, tmp_path)
    yield p
    p.close()


def named(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def described(data, kind, **more):
    return {"mediaType": kind, "digest": named(data), "size": len(data), **more}


def layout(layer=b"\0" * 1024, **more):
    """Blobs of an index with one image; more: of the layer's descriptor."""
    config = image_config([layer])
    manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": described(config, CONFIG), "layers": [described(layer, LAYER, **more)]}).encode()
    index = json.dumps({"schemaVersion": 2, "manifests": [described(manifest, MANIFEST, annotations={"org.opencontainers.image.ref.name": "cache.invalid/build:1"})]}).encode()
    return index, {named(b): b for b in (index, manifest, config, layer)}


def endless(_):
    while True:
        yield b"x" * 65536


HOSTILE = {
    "an index that is none": lambda i, b: (b"{}", {named(b"{}"): b"{}"}),
    "an index that is another": lambda i, b: (i, {**b, named(i): i + b" "}),
    "an index without an end": lambda i, b: (i, {**b, named(i): endless}),
    "a manifest that is another": lambda i, b: (i, {d: (c.replace(b"schemaVersion\": 2", b"schemaVersion\": 3") if b"layers" in c else c) for d, c in b.items()}),
    "a manifest without an end": lambda i, b: (i, {d: (endless if b"layers" in c else c) for d, c in b.items()}),
    "a layer without an end": lambda i, b: (i, {d: (endless if len(c) == 1024 and not c.strip(b"\0") else c) for d, c in b.items()}),
    "a layer that is too short": lambda i, b: (i, {d: (c[:-1] if len(c) == 1024 and not c.strip(b"\0") else c) for d, c in b.items()}),
    "a layer that is another": lambda i, b: (i, {d: (b"x" * 1024 if len(c) == 1024 and not c.strip(b"\0") else c) for d, c in b.items()}),
    "a layer named as a file": lambda *_: layout(digest="sha256:../../../../etc/passwd"),
    "a layer of no size": lambda *_: layout(size=-1),
    "a layer of all sizes": lambda *_: layout(size=1 << 62),
    "blobs that are not there": lambda i, b: (i, {named(i): i}),
}


def build(peer, index, blobs, name):
    asked = []

    def read(request, c):
        digest = dict(fields(request))[1].decode()
        asked.append((digest, dict(c.invocation_metadata())["buildkit-attachable-store-id"]))
        if digest not in blobs:
            c.abort(grpc.StatusCode.NOT_FOUND, f"{digest}: not found")
        content = blobs[digest]
        for piece in content(None) if callable(content) else [content]:
            yield field(2, piece)

    services = {**directories(lambda requests: iter([END]), f"FROM busybox\nRUN echo {name}\n".encode()), READ: grpc.unary_stream_rpc_method_handler(read)}
    session, _ = peer.session(services)
    ref = uuid.uuid4().hex
    imports = json.dumps([{"Type": "local", "Attrs": {"src": "a place", "digest": named(index)}}])
    with futures.ThreadPoolExecutor(1) as pool:
        status = pool.submit(lambda: list(peer.channel.unary_stream("/moby.buildkit.v1.Control/Status")(field(1, ref), timeout=60)))
        peer.solve(session, ref, **{"cache-imports": imports})
        warnings = [dict(fields(v))[3].decode() for response in status.result(30) for number, v in fields(response) if number == 4]
    return asked, warnings


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_store(peer, name, what):
    asked, warnings = build(peer, *HOSTILE[what](*layout()), name)
    assert asked and {store for _, store in asked} == {"local:a place"} and all(".." not in digest for digest, _ in asked), asked
    assert any("cache" in w for w in warnings), "it was taken"
    wait_until("nothing of it stays", lambda: not [t for i in peer.engine.api("GET", "/images/json?all=1").json for t in i["RepoTags"] or [] if "cache.invalid" in t])
    assert peer.engine.api("GET", "/_ping").status == 200


def test_a_store_that_is_in_order(peer, name):
    """The images of a cache are like any other's; this one has no steps to tell of."""
    asked, warnings = build(peer, *layout(), name)
    assert len(asked) == 4 and not any("cache" in w for w in warnings), warnings
