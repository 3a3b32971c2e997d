# SPDX-License-Identifier: Apache-2.0
"""What the tests of crashes, full disks and races share: a registry that keeps count, images, and looking at a store from outside."""
import gzip
import json
import random
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from harness import add_file, busybox_layer, image_config, make_tar, sha256, wait_until

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def layer(seed, files=20, size=3000, big=200000):
    """A layer with directories, links, a whiteout and one larger file that does not compress."""
    chance = random.Random(seed)

    def fill(tar):
        add_file(tar, f"d{seed}", mode=0o755, type=b"5")
        for i in range(files):
            add_file(tar, f"d{seed}/f{i}", chance.randbytes(size), mtime=1000 + i)
        add_file(tar, f"d{seed}/big", chance.randbytes(big))
        add_file(tar, f"d{seed}/hard", type=b"1", linkname=f"d{seed}/f0")
        add_file(tar, f"d{seed}/soft", type=b"2", linkname="f1", mode=0o777)
        add_file(tar, f"etc/.wh.gone{seed}")

    return make_tar(fill)


class CountingRegistry:
    """Serves images from memory; `sent` has the digest and the number of bytes of every blob that was asked for."""

    def __init__(self, pause=None):
        self.blobs, self.manifests, self.sent, self.lock, self.pause = {}, {}, [], threading.Lock(), pause
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                kind, body = outer.find(self.path.split("?")[0])
                if body is None:
                    self.send_response(404)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                first = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
                start = int(first.group(1)) if first else 0
                self.send_response(206 if first else 200)
                self.send_header("Content-Type", MANIFEST if kind == "manifest" else "application/octet-stream")
                self.send_header("Content-Length", str(len(body) - start))
                self.send_header("Docker-Content-Digest", f"sha256:{sha256(body)}")
                if first:
                    self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
                self.end_headers()
                if self.command != "HEAD":
                    self.write(kind, body, start)

            do_HEAD = do_GET

            def write(self, kind, body, start):
                sent = 0
                try:
                    for at in range(start, len(body), 65536):
                        if kind == "blob" and outer.pause:
                            outer.pause(at)
                        sent += self.wfile.write(body[at:at + 65536])
                except OSError:
                    self.close_connection = True
                if kind == "blob":
                    with outer.lock:
                        outer.sent.append((f"sha256:{sha256(body)}", sent))

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def find(self, path):
        if path == "/v2/":
            return "ping", b"{}"
        m = re.match(r"/v2/(.+)/(blobs|manifests)/(.+)$", path)
        if not m:
            return "", None
        if m.group(2) == "blobs":
            return "blob", self.blobs.get(m.group(3))
        return "manifest", self.manifests.get((m.group(1), m.group(3)))

    def push(self, name, tag, layers, **config):
        """The digests of the packed layers."""
        text = image_config(layers, **config)
        packed = [gzip.compress(d, 1, mtime=0) for d in layers]
        document = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": f"sha256:{sha256(text)}", "size": len(text)},
                               "layers": [{"mediaType": LAYER, "digest": f"sha256:{sha256(d)}", "size": len(d)} for d in packed]}).encode()
        for data in (text, *packed):
            self.blobs[f"sha256:{sha256(data)}"] = data
        for reference in (tag, f"sha256:{sha256(document)}"):
            self.manifests[(name, reference)] = document
        return [f"sha256:{sha256(d)}" for d in packed]

    def forget_sent(self):
        with self.lock:
            self.sent.clear()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def image_layers(n=3, **kw):
    return [busybox_layer(), *(layer(i, **kw) for i in range(1, n))]


def check(engine, *options, status=0):
    """What `system check` says; it must find the store as `status` has it."""
    p = engine.cli("system", "check", *options, check=False)
    assert p.returncode == status, f"system check {options}: {p.returncode}\n{p.stdout}{p.stderr}\n{engine.log_text()}"
    return p.stdout


def blobs(engine):
    """Digests of the blobs that lie there."""
    return {f"sha256:{p.name}" for p in (engine.data_root / "content/blobs/sha256").iterdir()}


def layers(engine):
    return {p.name for p in (engine.data_root / "layers").iterdir()}


def unfinished(engine):
    """What is half made or waits to be deleted."""
    root = engine.data_root
    return [str(p) for d in ("content/ingest", "trash") for p in (root / d).iterdir()] + [n for n in layers(engine) if n.startswith(".")]


def settled(engine):
    wait_until("nothing half made is left", lambda: not unfinished(engine))
