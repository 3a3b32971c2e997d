# SPDX-License-Identifier: Apache-2.0
"""A registry that says whatever a test wants, on any address of this machine, with TLS or without."""
import base64
import contextlib
import gzip
import json
import os
import pathlib
import random
import re
import shutil
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import harness
from harness import add_file, image_config, make_tar, run, sha256

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
OCTETS = "application/octet-stream"


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """A client that goes away is what many of the tests are about."""


def read_body(handler):
    if handler.headers.get("Transfer-Encoding", "").lower() != "chunked":
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    body = b""
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return body


class Hostile:
    """A registry in which any answer can be replaced: answers[path] = (status, headers, body) or a function of the handler."""

    def __init__(self, address="127.0.0.1", tls=None):
        self.answers, self.otherwise, self.asked, self.bodies = {}, None, [], []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self):
                outer.asked.append((self.command, self.path, dict(self.headers)))
                self.body = read_body(self)
                outer.bodies.append(self.body)
                answer = outer.answers.get(self.path.split("?")[0]) or outer.otherwise
                if answer is None:
                    answer = (404, {"Content-Type": "application/json"}, b'{"errors":[{"code":"NAME_UNKNOWN","message":"unknown"}]}')
                if callable(answer):
                    answer = answer(self)
                    if answer is None:
                        return
                status, headers, body = answer
                self.send_response(status)
                for k, v in headers.items():
                    self.send_header(k, v)
                if "Content-Length" not in headers:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    try:
                        self.wfile.write(body)
                    except OSError:
                        pass
                if headers.get("Connection") == "close":
                    self.close_connection = True

            do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

            def log_message(self, *_):
                pass

        self.server = Server((address, 0), Handler)
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.host = f"{address}:{self.server.server_address[1]}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        self.answers["/v2/"] = (200, {}, b"{}")

    def image(self, name, tag, layers, lie=None, size_lie=0, pack=gzip.compress):
        """An image; `lie` replaces the bytes of the last layer, its digest stays."""
        text = image_config(layers, Cmd=["sh"])
        packed = [pack(d) for d in layers]
        document = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": f"sha256:{sha256(text)}", "size": len(text)},
                               "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": f"sha256:{sha256(d)}", "size": len(d) + size_lie} for d in packed]}).encode()
        for data in (text, *packed):
            self.answers[f"/v2/{name}/blobs/sha256:{sha256(data)}"] = (200, {"Content-Type": OCTETS}, data)
        if lie is not None:
            self.answers[f"/v2/{name}/blobs/sha256:{sha256(packed[-1])}"] = lie(packed[-1]) if callable(lie) else lie
        for reference in (tag, f"sha256:{sha256(document)}"):
            self.answers[f"/v2/{name}/manifests/{reference}"] = (200, {"Content-Type": MANIFEST, "Docker-Content-Digest": f"sha256:{sha256(document)}"}, document)
        return document

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


# ---- a registry far away, an attacker's host, a service of this machine
USER, PASSWORD = "mallory-user", "the-pass-word"
BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
TOKEN = "a-token-for-the-asking"
SECONDS = 40
PEAK = 64 << 20
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def layer(text):
    return make_tar(lambda t: add_file(t, "f", text.encode() + bytes(20000)))


def noise(text, n=200000):
    out = b""
    while len(out) < n:
        out += bytes.fromhex(sha256(text.encode() + out[-32:]))
    return make_tar(lambda t: add_file(t, "noise", out))


def digest(data):
    return f"sha256:{sha256(data)}"


def descriptor(data, kind, **more):
    return {"mediaType": kind, "digest": digest(data), "size": len(data), **more}


class Rig:
    """What a row arranges: the registry, the attacker's host, a service of this machine."""

    def __init__(self, far, other, tls):
        self.registry, self.attacker, self.near = Hostile(far), Hostile(other), Hostile()
        self.secure = Hostile(far, tls)
        self.name, self.tag = "", "x"
        for h in (self.attacker, self.near):
            h.answers.clear()

    @property
    def servers(self):
        return self.registry, self.attacker, self.near, self.secure

    def begin(self, name):
        self.name = name
        for h in self.servers:
            h.answers.clear()
            h.asked.clear()
            h.bodies.clear()
        self.registry.answers["/v2/"] = self.secure.answers["/v2/"] = (200, {}, b"{}")
        self.stop = False

    def image(self, layers=None, server=None, **kw):
        """An honest image; the registry's document and the packed layers."""
        server = server or self.registry
        self.layers = [layer(self.name)] if layers is None else layers
        self.document = server.image(self.name, self.tag, self.layers, **kw)
        return json.loads(self.document)

    def path(self, kind, what):
        return f"/v2/{self.name}/{kind}/{what}"

    def blob(self, data):
        return self.path("blobs", digest(data))

    def last_blob(self):
        """The path of the last layer, which most lies are about."""
        return self.path("blobs", json.loads(self.document)["layers"][-1]["digest"])

    def put_manifest(self, document, kind=MANIFEST, tag=None, **headers):
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.registry.answers[self.path("manifests", tag or self.tag)] = self.registry.answers[self.path("manifests", digest(data))] = (200, {"Content-Type": kind, **headers}, data)
        return data

    def bearer(self, realm, server=None, also=None):
        """The registry wants a token from there."""
        for path, answer in list((server or self.registry).answers.items()):
            def guarded(handler, answer=answer):
                if handler.headers.get("Authorization") == f"Bearer {TOKEN}":
                    return answer(handler) if callable(answer) else answer
                return 401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="svc",scope="repository:{self.name}:pull,push,delete repository:other/secret:*"', **(also or {})}, b"{}"
            (server or self.registry).answers[path] = guarded


def basic(r):
    """The registry wants the password."""
    server = r.registry

    def guard(answer):
        def guarded(handler):
            if handler.headers.get("Authorization") == BASIC:
                return answer(handler) if callable(answer) else answer
            return 401, {"WWW-Authenticate": 'Basic realm="x"'}, b"{}"
        return guarded

    for path, answer in list(server.answers.items()):
        server.answers[path] = guard(answer)
    if server.otherwise:
        server.otherwise = guard(server.otherwise)


def raw(text):
    """Bytes as they are, and the end of the connection."""
    def answer(handler):
        with contextlib.suppress(OSError):
            handler.wfile.write(text)
            handler.wfile.flush()
            handler.connection.shutdown(socket.SHUT_WR)
        handler.close_connection = True
    return answer


def endless(head, piece, most=256 << 20):
    """Pieces without end, or until more was taken than anybody should."""
    def answer(handler):
        sent = 0
        with contextlib.suppress(OSError):
            handler.wfile.write(head)
            while sent < most:
                handler.wfile.write(piece)
                sent += len(piece)
        handler.close_connection = True
        handler.server.most = max(getattr(handler.server, "most", 0), sent)
    return answer


OK = b"HTTP/1.1 200 OK\r\n"


def authority(folder):
    """A CA, and certificates: {name: SSL context}."""
    def openssl(*args):
        run("openssl", *args, cwd=folder)

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=CA of the tests", "-days", "1", "-keyout", "ca.key", "-out", "ca.crt")
    return openssl


def server_context(folder, openssl, name, address, *how):
    (folder / f"{name}.ext").write_text(f"subjectAltName={address}\n")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=registry of the tests", "-keyout", f"{name}.key", "-out", f"{name}.csr")
    openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", f"{name}.ext", "-out", f"{name}.crt", *(how or ("-days", "1")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
    return context


@pytest.fixture(scope="module")
def addresses():
    """Two of the range that is kept for benchmarks (RFC 2544), on lo while the module runs."""
    middle = f"198.18.{os.getpid() % 250}"
    own = [f"{middle}.{n}" for n in random.sample(range(1, 250), 2)]
    for a in own:
        run("ip", "addr", "add", f"{a}/32", "dev", "lo")
    yield own
    for a in own:
        run("ip", "addr", "del", f"{a}/32", "dev", "lo")


@pytest.fixture(scope="module")
def tls(addresses, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    openssl = authority(folder)
    return {"folder": folder, "good": server_context(folder, openssl, "good", f"IP:{addresses[0]}"),
            "wrong name": server_context(folder, openssl, "name", "DNS:elsewhere.example,IP:192.0.2.1"),
            "expired": server_context(folder, openssl, "expired", f"IP:{addresses[0]}", "-days", "-1")}


@pytest.fixture(scope="module")
def house(addresses, tls):
    rig = Rig(*addresses, tls["good"])
    engine = harness.Engine("--insecure-registry", f"{addresses[0]}/32").start()
    try:
        yield engine, rig
    finally:
        for h in rig.servers:
            h.close()
        engine.destroy()


def peak(pid):
    return int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{pid}/status").read()).group(1)) << 10


def state(engine):
    """Images, and every file and directory of the store that an image or a layer could be made of."""
    root = engine.data_root
    return engine.images(), sorted(os.listdir(root / "content/ingest")), sorted(n for n in os.listdir(root / "layers"))


@contextlib.contextmanager
def measured(engine):
    """Bounds the time and the memory of what is done meanwhile."""
    with open(f"/proc/{engine.p.pid}/clear_refs", "w") as f:
        f.write("5")
    start = time.monotonic()
    yield
    took = time.monotonic() - start
    assert took < SECONDS, f"{took:.0f} s"
    assert peak(engine.p.pid) < PEAK, f"{peak(engine.p.pid) >> 20} MiB"


def expect(engine, rig, said, words, asks, right="pull"):
    """What must hold after every lie."""
    assert not words or re.search(words, said), said
    assert len(said) < 3000 and not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", said), said
    assert PASSWORD not in said and TOKEN not in said
    assert rig.registry.asked or rig.secure.asked
    for who in ("attacker", "near"):
        server = getattr(rig, who)
        assert who in asks or not server.asked, f"{who} was asked: {server.asked}"
        assert not secrets_in(server), secrets_in(server)
    assert not any("X-Injected" in headers for _, _, headers in rig.registry.asked)
    scopes = [path for _, path, _ in rig.registry.asked + rig.attacker.asked if path.startswith("/token")]
    beyond = "other%2Fsecret|delete" + ("|push" if right == "pull" else "")
    assert not any(re.search(beyond, s) for s in scopes), scopes
    assert len(rig.registry.asked) < 60
    assert engine.api("GET", "/_ping").status == 200


def with_credentials(engine, path, host):
    """The errors of a request that carries the credentials for a registry."""
    auth = base64.urlsafe_b64encode(json.dumps({"username": USER, "password": PASSWORD, "serveraddress": host}).encode()).decode()
    reply = engine.api("POST", path, headers={"X-Registry-Auth": auth}, timeout=SECONDS + 20)
    if reply.status != 200:
        return reply.message
    return "\n".join(line["error"] for line in reply.lines if "error" in line)


def pull(engine, reference):
    name, tag = reference.rsplit("@", 1) if "@" in reference else reference.rsplit(":", 1)
    return with_credentials(engine, f"/images/create?fromImage={name}&tag={tag}", name.split("/")[0])


def push(engine, reference):
    name, tag = reference.rsplit(":", 1)
    return with_credentials(engine, f"/images/{name}/push?tag={tag}", name.split("/")[0])


def secrets_in(server):
    """Requests that told a secret."""
    words = (USER, PASSWORD, BASIC.split()[1], TOKEN)
    asked = [f"{method} {path} {headers}" for method, path, headers in server.asked] + [repr(b) for b in server.bodies]
    return [a for a in asked if any(w in a for w in words)]


@pytest.fixture
def trusted(tls):
    """Trusts the CA of the tests for a registry, as users do."""
    made = []

    def trust(host):
        folder = pathlib.Path("/etc/ireko/certs.d") / host
        made.extend(p for p in (folder, *folder.parents) if not p.exists())
        folder.mkdir(parents=True)
        shutil.copy(tls["folder"] / "ca.crt", folder / "ca.crt")

    yield trust
    if made:
        (made[0] / "ca.crt").unlink()
    for p in made:
        p.rmdir()
