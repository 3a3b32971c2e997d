# SPDX-License-Identifier: Apache-2.0
"""Registries, proxies and certificates of the tests' own, for what no real registry does on command.

A Double serves images from memory, over HTTP or TLS; `answers` replaces any answer, `cuts` ends blob transfers early, `pace` slows them
down, and `asked` lists what was requested. A Proxy leads names that no resolver knows to ports of this machine.
"""
import base64
import gzip
import json
import socket
import socketserver
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from harness import image_config, run, sha256

OCI = "application/vnd.oci.image."
MANIFEST, INDEX = OCI + "manifest.v1+json", OCI + "index.v1+json"


class Asked:
    """One request."""

    def __init__(self, handler):
        self.method, self.path, self.headers = handler.command, handler.path, dict(handler.headers)

    def __repr__(self):
        return f"{self.method} {self.path} {self.headers.get('Range', '')}"

    @property
    def auth(self):
        return self.headers.get("Authorization")


class Quiet(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass  # clients that go away are what some tests are about


class Double:
    def __init__(self, context=None):
        self.answers, self.blobs, self.manifests, self.asked, self.cuts, self.pace = {}, {}, {}, [], {}, None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # a head and a body are two writes: 40 ms for each answer

            def log_message(self, *_):
                pass

            def do_GET(self):
                outer.asked.append(Asked(self))
                path = urlsplit(self.path).path
                answer = outer.answers.get(path) or outer.answers.get("*")
                if callable(answer):
                    answer = answer(self)
                answer = answer or outer.plain(self, path)
                if answer:
                    self.reply(*answer)

            do_HEAD = do_GET

            def reply(self, status, headers, body):
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                if "Content-Length" not in headers:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

        self.server = Quiet(("127.0.0.1", 0), Handler)
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.server.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- what it has
    def add_blob(self, data):
        digest = f"sha256:{sha256(data)}"
        self.blobs[digest] = data
        return {"digest": digest, "size": len(data)}

    def add_manifest(self, name, tag, document, media_type=MANIFEST):
        data = json.dumps(document).encode()
        digest = f"sha256:{sha256(data)}"
        for reference in filter(None, (tag, digest)):
            self.manifests[f"/v2/{name}/manifests/{reference}"] = (media_type, data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def add_image(self, name, tag, layers, arch="amd64", pack=lambda d: gzip.compress(d, 1, mtime=0), **config):
        """The descriptor of its manifest."""
        text = json.loads(image_config(layers, **config))
        text["architecture"] = arch
        return self.add_manifest(name, tag, {
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": OCI + "config.v1+json", **self.add_blob(json.dumps(text).encode())},
            "layers": [{"mediaType": OCI + "layer.v1.tar+gzip", **self.add_blob(pack(d))} for d in layers]})

    # ---- what it answers
    @staticmethod
    def unknown(code="MANIFEST_UNKNOWN"):
        return 404, {"Content-Type": "application/json"}, json.dumps({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}).encode()

    def plain(self, handler, path):
        if path == "/v2/":
            return 200, {}, b"{}"
        if path in self.manifests:
            media_type, data = self.manifests[path]
            return 200, {"Content-Type": media_type, "Docker-Content-Digest": f"sha256:{sha256(data)}"}, data
        digest = path.rsplit("/", 1)[-1]
        if "/blobs/" in path and digest in self.blobs:
            return self.blob(handler, digest)
        return self.unknown()

    def blob(self, handler, digest):
        data, status, headers = self.blobs[digest], 200, {"Content-Type": "application/octet-stream"}
        start = int(handler.headers["Range"].split("=")[1].rstrip("-")) if "Range" in handler.headers else 0
        if start:
            status = 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        body = data[start:]
        cuts = self.cuts.get(digest)
        if not cuts and not self.pace:
            return status, headers, body
        headers["Content-Length"] = str(len(body))
        sent = body[:cuts.pop(0)] if cuts else body
        handler.reply(status, headers, b"")
        step, delay = self.pace or (len(sent) + 1, 0)
        for i in range(0, len(sent), step):
            handler.wfile.write(sent[i:i + step])
            handler.wfile.flush()
            time.sleep(delay)
        if len(sent) < len(body):
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
        return None

    def of_blobs(self):
        """Requests for layers and configs."""
        return [a for a in self.asked if "/blobs/" in a.path]


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def wants_basic(double, user, password):
    """An answer for everything: 401 without this password."""
    def check(handler):
        if handler.headers.get("Authorization") == basic(user, password):
            return None
        return 401, {"WWW-Authenticate": 'Basic realm="double"'}, b"{}"
    double.answers["*"] = check


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, folder, name="Test CA"):
        self.folder = folder
        self.cert, self.key = folder / "ca.crt", folder / "ca.key"
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", f"/CN={name}",
            "-addext", "basicConstraints=critical,CA:TRUE", "-keyout", self.key, "-out", self.cert)

    def issue(self, name, *alt):
        cert, key, request, ext = (self.folder / f"{name}.{e}" for e in ("cert", "key", "csr", "ext"))
        run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        ext.write_text("subjectAltName=" + ",".join([f"DNS:{name}", *alt]) + "\n")
        run("openssl", "x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key, "-CAcreateserial", "-days", "1", "-extfile", ext, "-out", cert)
        return cert, key

    def server_context(self, name, client_certificates=False):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(name))
        if client_certificates:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.cert)
        return context


class Proxy:
    """An HTTP proxy: CONNECT, and plain requests by their absolute URL. `ways` maps host:port to a port of this machine."""

    def __init__(self, ways, password=None):
        self.ways, self.asked, self.password = ways, [], password
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                first = self.rfile.readline().decode()
                head = b""
                while (line := self.rfile.readline()) not in (b"\r\n", b""):
                    head += line
                outer.asked.append((first.strip(), head.decode()))
                if outer.password and f"Proxy-Authorization: {basic(*outer.password)}" not in head.decode():
                    self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n")
                    return
                method, target, _ = first.split(" ", 2)
                if method == "CONNECT":
                    self.tunnel(target)
                else:
                    self.forward(method, urlsplit(target), head)

            def connect(self, host):
                if host not in outer.ways:
                    self.wfile.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                    return None
                return socket.create_connection(("127.0.0.1", outer.ways[host]))

            def tunnel(self, host):
                there = self.connect(host)
                if there:
                    self.wfile.write(b"HTTP/1.1 200 Connected\r\n\r\n")
                    self.shovel(there)

            def forward(self, method, url, head):
                there = self.connect(f"{url.hostname}:{url.port or 80}")
                if there:
                    kept = b"".join(line for line in head.splitlines(True) if not line.lower().startswith((b"proxy-", b"connection:")))
                    there.sendall(f"{method} {url.path}{'?' + url.query if url.query else ''} HTTP/1.1\r\n".encode() + kept + b"Connection: close\r\n\r\n")
                    self.shovel(there)

            def shovel(self, there):
                def up():
                    try:
                        while data := self.connection.recv(65536):
                            there.sendall(data)
                        there.shutdown(socket.SHUT_WR)
                    except OSError:
                        pass
                threading.Thread(target=up, daemon=True).start()
                with there:
                    try:
                        while data := there.recv(65536):
                            self.connection.sendall(data)
                    except OSError:
                        pass

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, request, client_address):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def query_of(path):
    return {k: v[0] for k, v in parse_qs(urlsplit(path).query).items()}
