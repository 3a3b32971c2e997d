# SPDX-License-Identifier: Apache-2.0
"""A token server of our own, and the docker-registry that sends its clients there."""
import base64
import http.server
import json
import re
import shutil
import threading
import time
import urllib.parse

from harness import Registry, program, run, temp_folder

USER, PASSWORD = "anna", "geheim:wört 42"


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TokenServer:
    """Signs tokens for a docker-registry (RS256 with the certificate in the token), and notes who asked for what."""

    def __init__(self, address="127.0.0.1", refresh=None):
        self.root = temp_folder("tokens")
        self.asked, self.refresh = [], refresh
        run(program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=tokens", "-days", "2", "-keyout", self.root / "key", "-out", self.root / "crt")
        self.der = base64.b64encode(run(program("openssl"), "x509", "-in", self.root / "crt", "-outform", "DER", text=False).stdout).decode()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, query, account):
                outer.asked.append((self.command, self.path, self.headers.get("Authorization"), query))
                status, document = outer.grant(query, account)
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                query = urllib.parse.parse_qs(self.path.partition("?")[2])
                header = self.headers.get("Authorization", "")
                self.answer(query, base64.b64decode(header[6:]).decode() if header.startswith("Basic ") else None)

            def do_POST(self):
                query = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                good = outer.refresh and query.get("refresh_token") == [outer.refresh]
                self.answer(query, f"{USER}:{PASSWORD}" if good else "nobody:")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer((address, 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://{address}:{self.server.server_address[1]}/token"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def sign(self, access):
        now = int(time.time())
        head = b64url(json.dumps({"typ": "JWT", "alg": "RS256", "x5c": [self.der]}).encode())
        claims = {"iss": "issuer", "sub": USER, "aud": "service", "exp": now + 300, "nbf": now - 10, "iat": now, "jti": str(time.monotonic_ns()), "access": access}
        text = f"{head}.{b64url(json.dumps(claims).encode())}"
        signature = run(program("openssl"), "dgst", "-sha256", "-sign", self.root / "key", input=text.encode(), text=False).stdout
        return f"{text}.{b64url(signature)}"

    def grant(self, query, account):
        if account is not None and account != f"{USER}:{PASSWORD}":
            return 401, {"details": "incorrect username or password"}
        access = []
        for scope in " ".join(query.get("scope", [])).split():
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",") if account else []})
        reply = {"token": self.sign(access), "expires_in": 300}
        if self.refresh and query.get("offline_token") == ["true"]:
            reply["refresh_token"] = self.refresh
        return 200, reply

    def registry(self):
        def header(path):
            name = re.match(r"/v2/(.+?)/(blobs|manifests)/", path)
            return "Bearer " + self.sign([{"type": "repository", "name": name.group(1), "actions": ["pull", "push"]}] if name else [])

        return Registry(f"auth:\n  token:\n    realm: {self.url}\n    service: service\n    issuer: issuer\n    rootcertbundle: {self.root}/crt\n", header)

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
        shutil.rmtree(self.root)
