# SPDX-License-Identifier: Apache-2.0
"""A registry that says whatever a test wants, on any address of this machine, with TLS or without."""
import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from harness import image_config, sha256

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
OCTETS = "application/octet-stream"


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """A client that goes away is what many of the tests are about."""


class Hostile:
    """A registry in which any answer can be replaced: answers[path] = (status, headers, body) or a function of the handler."""

    def __init__(self, address="127.0.0.1", tls=None):
        self.answers, self.asked, self.bodies = {}, [], []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.asked.append((self.command, self.path, dict(self.headers)))
                self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.bodies.append(self.body)
                answer = outer.answers.get(self.path.split("?")[0])
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
