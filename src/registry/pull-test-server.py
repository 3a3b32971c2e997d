#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A registry with bad manners, for pull-test.c.

Listens on an ephemeral port of 127.0.0.1 and 127.0.0.2, and on another one with TLS and a certificate of
its own making; prints "port tls-port", and ends when its standard input does. The
repository's name says what goes wrong with it. GET /seen lists the requests so far, one a line: method,
path, Host, Authorization, Range. What a request carries is thus judged by the test, not here.
"""
import base64
import gzip
import hashlib
import io
import json
import os
import socket
import ssl
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OCI = "application/vnd.oci.image."
MANIFEST, INDEX = OCI + "manifest.v1+json", OCI + "index.v1+json"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tar_layer(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as t:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    return out.getvalue()


def noise(n, seed):
    out = b""
    while len(out) < n:
        seed = hashlib.sha256(seed).digest()
        out += seed
    return out[:n]


class Image:
    """seed makes its layers its own, so that one test does not find what another one left."""

    def __init__(self, seed, arch="amd64", n_layers=1, size=300000):
        tars = [tar_layer({f"f{i}": noise(size, f"{seed}{arch}{i}".encode())}) for i in range(n_layers)]
        self.layers = [gzip.compress(t, 1, mtime=0) for t in tars]
        self.config = json.dumps({"architecture": arch, "os": "linux", "config": {"Env": ["SEED=" + seed]},
                                  "rootfs": {"type": "layers", "diff_ids": [digest(t) for t in tars]}}).encode()
        self.manifest = json.dumps({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": OCI + "config.v1+json", "digest": digest(self.config), "size": len(self.config)},
            "layers": [{"mediaType": OCI + "layer.v1.tar+gzip", "digest": digest(b), "size": len(b),
                        "urls": ["http://127.0.0.1:1/foreign"]} for b in self.layers]}).encode()

    def blobs(self):
        return {digest(b): b for b in self.layers + [self.config]}


def index_of(images, depth=0):
    entries = [{"mediaType": MANIFEST, "digest": digest(i.manifest), "size": len(i.manifest),
                "platform": {"os": "linux", "architecture": a}} for a, i in images]
    docs = [json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()]
    for _ in range(depth):
        docs.append(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
            {"mediaType": INDEX, "digest": digest(docs[-1]), "size": len(docs[-1])}]}).encode())
    return docs


class State:
    lock = threading.Lock()
    seen = []
    counts = {}

    @classmethod
    def count(cls, key):
        with cls.lock:
            cls.counts[key] = cls.counts.get(key, 0) + 1
            return cls.counts[key]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def reply(self, status, body=b"", headers=None, length=None):
        self.send_response(status)
        for k, v in (headers or {}).items():
            self.send_header(k, v)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def cut(self):
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def error(self, status, code, message, headers=None):
        self.reply(status, json.dumps({"errors": [{"code": code, "message": message}]}).encode(),
                   {"Content-Type": "application/json", **(headers or {})})

    def do_HEAD(self):
        self.do_GET()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        with State.lock:
            State.seen.append(f"POST {self.path} {self.headers.get('Host')} {body}")
        self.reply(200, b'{"access_token":"oauth-token"}')

    def do_GET(self):
        if self.path == "/seen":
            with State.lock:
                text = "\n".join(State.seen)
                State.seen.clear()
            return self.reply(200, text.encode())
        with State.lock:
            State.seen.append(" ".join([self.command, self.path, self.headers.get("Host", "-"),
                                        (self.headers.get("Authorization") or "-").replace(" ", "_"),
                                        self.headers.get("Range", "-")]))
        path = self.path.split("?")[0]
        if path == "/downgrade":
            return self.reply(307, b"", {"Location": f"http://127.0.0.1:{first.server_port}/seen"})
        if path.startswith("/token"):
            return self.token(path)
        if path.startswith("/cdn/"):
            return self.blob(path.split("/")[2], path.split("/")[3], "cdn")
        if path.startswith("/loop"):
            return self.reply(307, b"", {"Location": "/loop" + str(State.count("loop"))})
        parts = path.strip("/").split("/")
        if len(parts) < 4 or parts[0] != "v2" or parts[2] not in ("manifests", "blobs"):
            return self.error(404, "NAME_UNKNOWN", "repository name not known to registry")
        repo, kind, what = parts[1], parts[2], parts[3]
        if not self.admitted(repo):
            return None
        if kind == "manifests":
            return self.manifest(repo, what)
        return self.blob(repo, what, "own")

    # ---- signing in ----

    def admitted(self, repo):
        auth = self.headers.get("Authorization", "")
        here = f"http://{self.headers['Host']}"
        other = f"http://127.0.0.2:{self.server.server_port}"
        realms = {"token": here, "oauth": here, "elsewhere": other, "hugetoken": here, "eviltoken": here,
                  "redirect": here, "badrealm": "file:///etc"}
        if repo == "basic":
            if auth == "Basic " + base64.b64encode(b"user:secret").decode():
                return True
            self.error(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": 'Basic realm="x"'})
            return False
        if repo == "denied":
            self.error(403, "DENIED", "requested access to the resource is denied")
            return False
        if repo not in realms or auth == "Bearer oauth-token" or (auth == "Bearer good-token" and repo != "oauth"):
            return True
        self.error(401, "UNAUTHORIZED", "authentication required", {
            "WWW-Authenticate": f'Bearer realm="{realms[repo]}/token-{repo}",service="svc",scope="repository:{repo}:pull,push,delete"'})
        return False

    def token(self, path):
        if path.endswith("hugetoken"):
            return self.reply(200, b'{"token":"' + b"x" * (4 << 20) + b'"}')
        if path.endswith("eviltoken"):
            return self.reply(200, json.dumps({"token": "x\r\nX-Injected: 1"}).encode())
        return self.reply(200, b'{"token":"good-token","expires_in":300}')

    # ---- manifests ----

    def manifest(self, repo, what):
        image = Image(repo)
        docs = {"latest": image.manifest, digest(image.manifest): image.manifest}
        kind, headers = MANIFEST, {}
        if repo == "index":
            arm = Image(repo, "arm64")
            docs = {"latest": index_of([("s390x", arm), ("arm64", arm), ("amd64", image)])[0],
                    digest(image.manifest): image.manifest, digest(arm.manifest): arm.manifest}
        elif repo == "nomatch":
            docs = {"latest": index_of([("s390x", image)])[0]}
        elif repo in ("nested", "toodeep"):
            chain = index_of([("amd64", image)], 1 if repo == "nested" else 3)
            docs = {digest(d): d for d in chain + [image.manifest]}
            docs["latest"] = chain[-1]
        elif repo == "indexlies":
            docs = {"latest": index_of([("amd64", image)])[0], digest(image.manifest): image.manifest + b" "}
        elif repo == "bydigest":
            docs[what] = image.manifest + b" "
        elif repo == "headerlies":
            headers["Docker-Content-Digest"] = digest(b"something else")
        elif repo == "ambiguous":
            doc = json.loads(image.manifest)
            doc["manifests"] = []
            docs = {"latest": json.dumps(doc).encode()}
        elif repo == "huge":
            docs = {"latest": image.manifest + b" " * (9 << 20)}
        elif repo == "schema1":
            docs = {"latest": b'{"schemaVersion":1,"fsLayers":[],"history":[]}'}
            kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
        elif repo == "limited" and State.count("limited") <= 2:
            return self.error(429, "TOOMANYREQUESTS", "slow down", {"Retry-After": "1"})
        elif repo == "alwayslimited":
            return self.error(429, "TOOMANYREQUESTS", "slow\x1b[31m down")
        elif repo == "loop":
            return self.reply(307, b"", {"Location": "/loop"})
        elif repo == "tofile":
            return self.reply(307, b"", {"Location": "file:///etc/passwd"})
        elif repo == "twolayers" or repo == "manylayers" or repo == "swapped":
            image = Image(repo, n_layers=2 if repo != "manylayers" else 12, size=100000)
            docs = {"latest": image.manifest, digest(image.manifest): image.manifest}
        elif repo == "morelayers":
            doc = json.loads(image.manifest)
            doc["layers"].append(doc["layers"][0])
            docs = {"latest": json.dumps(doc).encode()}
        elif repo == "helm":
            doc = json.loads(image.manifest)
            doc["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
            docs = {"latest": json.dumps(doc).encode()}
        elif repo == "headers":
            headers = {f"X-{i}": "y" * 1000 for i in range(400)}
        doc = docs.get(what)
        if doc is None:
            return self.error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        if doc.startswith(b"{") and b'"manifests"' in doc and repo != "ambiguous":
            kind = INDEX
        if self.command == "HEAD" and repo != "headerlies":
            headers["Docker-Content-Digest"] = digest(doc)
        return self.reply(200, doc, {"Content-Type": kind, **headers})

    # ---- blobs ----

    def blob(self, repo, what, where):
        n = {"twolayers": 2, "swapped": 2, "manylayers": 12}.get(repo, 1)
        image = Image(repo, n_layers=n, size=100000 if n > 1 else 300000)
        blobs = image.blobs()
        if repo == "index":
            blobs.update(Image(repo, "arm64").blobs())
        data = blobs.get(what)
        if data is None:
            return self.error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        config = what == digest(image.config)
        if config:
            if repo == "configlies":
                data = data.replace(b"SEED", b"BEEF")
            return self.reply(200, data)
        count = State.count(repo + what + where)
        if repo == "redirect" and where == "own":
            return self.reply(307, b"", {"Location": f"http://127.0.0.2:{self.server.server_port}/cdn/{repo}/{what}"})
        if repo == "layerlies":
            data = data[:-1] + bytes([data[-1] ^ 1])
        elif repo == "notgzip":
            data = b"x" * len(data)
        elif repo == "swapped":
            # The right bytes of the wrong layer, padded to its size where it is shorter.
            other = [b for b in image.layers if digest(b) != what][0]
            data = (other + b"\0" * len(data))[:len(data)]
        elif repo == "long":
            data += b"more"
        elif repo == "short":
            return self.reply(200, data[:-7])
        elif repo == "gone":
            return self.error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        start = 0
        if self.headers.get("Range"):
            start = int(self.headers["Range"].split("=")[1].rstrip("-"))
        if repo == "slow":
            time.sleep(30)
        if repo == "stalls" and count <= 2:
            # Some of it, and then nothing, while the line stays up.
            self.reply(206 if start else 200, data[start:start + 70000], {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {},
                       length=len(data) - start)
            self.wfile.flush()
            time.sleep(4)
            return self.cut()
        if repo in ("resume", "norange", "wrongrange") and count <= 3:
            # A third of it, then the line goes dead.
            part = data[start:start + len(data) // 3] if repo != "norange" else data[:len(data) // 3 * count]
            if repo == "wrongrange" and start:
                self.reply(206, data[start + 1:], {"Content-Range": f"bytes {start + 1}-{len(data) - 1}/{len(data)}"})
                return None
            status = 206 if start and repo == "resume" else 200
            h = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if status == 206 else {}
            self.reply(status, part, h, length=len(data) - (start if status == 206 else 0))
            return self.cut()
        if start and repo in ("resume", "stalls"):
            return self.reply(206, data[start:], {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"})
        return self.reply(200, data)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # a client that goes away is what some of the tests are about


first = Server(("127.0.0.1", 0), Handler)
# A host of its own at the same port: where secrets must not go.
second = Server(("127.0.0.2", first.server_port), Handler)


def tls_context():
    with tempfile.TemporaryDirectory() as d:
        pem = os.path.join(d, "pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-subj", "/CN=nobody.example", "-days", "1", "-keyout", pem, "-out", pem + ".crt"],
                       check=True, stderr=subprocess.DEVNULL)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem + ".crt", pem)
    return context


third = Server(("127.0.0.1", 0), Handler)
third.socket = tls_context().wrap_socket(third.socket, server_side=True)
for server in first, second, third:
    threading.Thread(target=server.serve_forever, daemon=True).start()
print(first.server_port, third.server_port, flush=True)
sys.stdin.read()
