#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A registry that is pushed to and has bad manners, for push-test.c.

Listens on an ephemeral port of 127.0.0.1 and, as a host of its own, of 127.0.0.2; prints "port -", and ends when its standard
input does. It keeps what it is given and checks digests like a good one; the repository's name says what goes wrong. GET
/seen lists the requests since the last time, one a line: method, path, Host, Authorization, Content-Range, bytes of body.
"""
import base64
import hashlib
import json
import re
import socket
import sys
import threading
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class State:
    lock = threading.Lock()
    seen, counts = [], {}
    blobs = {}      # (repository, digest): bytes
    manifests = {}  # (repository, tag or digest): (type, bytes)
    uploads = {}    # id: [repository, bytearray]

    @classmethod
    def count(cls, key):
        with cls.lock:
            cls.counts[key] = cls.counts.get(key, 0) + 1
            return cls.counts[key]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    # ---- plumbing

    def reply(self, status, body=b"", headers=None):
        self.send_response(status)
        for k, v in (headers or {}).items():
            self.send_header(k, v)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def error(self, status, code, message, headers=None):
        self.reply(status, json.dumps({"errors": [{"code": code, "message": message}]}).encode(),
                   {"Content-Type": "application/json", **(headers or {})})

    def cut(self):
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def chunks(self):
        """The body as it comes, whatever its framing."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                if size:
                    yield self.rfile.read(size)
                self.rfile.readline()
                if not size:
                    return
        left = int(self.headers.get("Content-Length", "0"))
        while left > 0:
            piece = self.rfile.read(min(left, 65536))
            if not piece:
                return
            left -= len(piece)
            yield piece

    def note(self, size=0):
        with State.lock:
            State.seen.append(" ".join([self.command, self.path, self.headers.get("Host", "-"),
                                        (self.headers.get("Authorization") or "-").replace(" ", "_"),
                                        self.headers.get("Content-Range", "-"), str(size)]))

    def where(self, repo, number, host=None):
        path = f"/upload/{repo}/{number}?state=a%2Fb"
        if repo == "relative":
            return path
        if repo == "tofile":
            return "file:///etc/passwd"
        if repo == "elsewhere":
            host = f"127.0.0.2:{self.server.server_port}"
        return f"http://{host or self.headers['Host']}{path}"

    # ---- signing in

    def admitted(self, repo):
        auth = self.headers.get("Authorization", "")
        if repo in ("basic", "elsewhere"):
            if auth == "Basic " + base64.b64encode(b"user:secret").decode():
                return True
            self.error(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": 'Basic realm="x"'})
            return False
        if repo == "denied" and self.command != "HEAD":
            self.error(403, "DENIED", "requested access to the resource is denied")
            return False
        if repo == "silent":
            self.reply(403)
            return False
        if repo.startswith("token"):
            scopes = base64.b64decode(auth[7:] or "").decode() if auth.startswith("Bearer ") else ""
            needs = "pull,push" if self.command in ("POST", "PATCH", "PUT") else "pull"
            if repo == "tokenfew" and State.count(auth) > 8:
                scopes = ""
            if f"repository:{repo}:pull,push" in scopes or (needs == "pull" and f"repository:{repo}:pull" in scopes):
                return True
            self.error(401, "UNAUTHORIZED", "authentication required", {
                "WWW-Authenticate": f'Bearer realm="http://{self.headers["Host"]}/token",service="svc",scope="repository:{repo}:{needs}"'})
            return False
        return True

    # ---- reading

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        if self.path == "/seen":
            with State.lock:
                text = "\n".join(State.seen) + "\n"
                State.seen.clear()
            return self.reply(200, text.encode())
        self.note()
        path, _, query = self.path.partition("?")
        if path == "/token":
            scopes = [*urllib.parse.parse_qs(query)["scope"], str(State.count("token"))]
            return self.reply(200, json.dumps({"token": base64.b64encode(" ".join(scopes).encode()).decode(), "expires_in": 300}).encode())
        m = re.fullmatch(r"/v2/([^/]+)/(blobs|manifests)/([^/]+)", path)
        if path.startswith("/upload/"):
            return self.status_of_upload(*path.split("/")[2:4])
        if not m:
            return self.error(404, "NAME_UNKNOWN", "repository name not known to registry")
        if not self.admitted(m[1]):
            return None
        if m[2] == "manifests":
            kind, data = State.manifests.get((m[1], m[3]), (None, None))
        else:
            kind, data = "application/octet-stream", State.blobs.get((m[1], m[3]))
        if data is None:
            return self.error(404, "MANIFEST_UNKNOWN" if m[2] == "manifests" else "BLOB_UNKNOWN", "unknown")
        return self.reply(200, data, {"Content-Type": kind, "Docker-Content-Digest": digest(data)})

    def status_of_upload(self, repo, number):
        if not self.admitted(repo):
            return None
        if repo == "forgets" or number not in State.uploads:
            return self.error(404, "BLOB_UPLOAD_UNKNOWN", "upload unknown")
        have = len(State.uploads[number][1])
        return self.reply(204, b"", {"Location": self.where(repo, number), "Range": f"0-{max(have - 1, 0)}"})

    # ---- writing

    def do_POST(self):
        self.note(sum(map(len, self.chunks())))
        path, _, query = self.path.partition("?")
        m = re.fullmatch(r"/v2/([^/]+)/blobs/uploads/", path)
        if not m:
            return self.error(404, "NAME_UNKNOWN", "repository name not known to registry")
        repo, asked = m[1], urllib.parse.parse_qs(query)
        if not self.admitted(repo):
            return None
        if repo == "limited" and State.count("limited") <= 2:
            return self.error(429, "TOOMANYREQUESTS", "slow down", {"Retry-After": "1"})
        if repo == "alwayslimited":
            return self.error(429, "TOOMANYREQUESTS", "slow\x1b[31m down", {"Retry-After": "0"})
        if repo == "broken":
            return self.error(500, "UNKNOWN", "the disk is full")
        if "mount" in asked and self.mount(repo, asked["mount"][0], asked["from"][0]):
            return self.reply(201, b"", {"Location": f"/v2/{repo}/blobs/{asked['mount'][0]}"})
        number = uuid.uuid4().hex
        State.uploads[number] = [repo, bytearray()]
        headers = {"Location": self.where(repo, number), "Range": "0-0"}
        if repo == "nolocation":
            del headers["Location"]
        if repo == "minlength":
            headers["OCI-Chunk-Min-Length"] = str(2 << 20)
        return self.reply(202, b"", headers)

    @staticmethod
    def mount(repo, what, source):
        if repo == "mountlies":
            return True
        if repo == "mountrefused" or (source, what) not in State.blobs:
            return False
        State.blobs[repo, what] = State.blobs[source, what]
        return True

    def do_PATCH(self):
        path = self.path.partition("?")[0]
        repo, number = path.split("/")[2:4]
        if not self.admitted(repo):
            return self.note(sum(map(len, self.chunks())))
        upload = State.uploads.get(number)
        data = upload[1] if upload else bytearray()
        before, most = len(data), None
        if repo in ("cuts", "forgets") and State.count(repo + "cut") <= 3:
            most = before + 700000
        for piece in self.chunks():
            data += piece
            if most and len(data) >= most:
                self.note(len(data) - before)
                return self.cut()
        self.note(len(data) - before)
        size = len(data) - before
        if upload is None:
            return self.error(404, "BLOB_UPLOAD_UNKNOWN", "upload unknown")
        said = self.headers.get("Content-Range")
        if said and said != f"{before}-{len(data) - 1}":
            del data[before:]
            return self.reply(416, b"", {"Range": f"0-{max(before - 1, 0)}"})
        if repo in ("maxbody", "minlength") and size > (5 << 20) // 2:
            del data[before:]
            return self.error(413, "SIZE_INVALID", "request entity too large")
        if repo == "hiccup" and State.count("hiccup") <= 2:
            return self.error(503, "UNAVAILABLE", "in a moment")
        if repo == "takesless" and before == 0:
            del data[len(data) // 2:]
        end = len(data) - 1
        if repo == "claims":
            end += 1000
        return self.reply(202, b"", {"Location": self.where(repo, number), "Range": f"0-{end}"})

    def do_PUT(self):
        body = b"".join(self.chunks())
        self.note(len(body))
        path, _, query = self.path.partition("?")
        m = re.fullmatch(r"/v2/([^/]+)/manifests/([^/]+)", path)
        repo = m[1] if m else path.split("/")[2]
        if not self.admitted(repo):
            return None
        if m:
            return self.put_manifest(repo, m[2], body)
        upload = State.uploads.get(path.split("/")[3])
        if upload is None:
            return self.error(404, "BLOB_UPLOAD_UNKNOWN", "upload unknown")
        data, wanted = bytes(upload[1]) + body, urllib.parse.parse_qs(query)["digest"][0]
        if repo == "lastcut" and State.count("lastcut") == 1:
            State.blobs[repo, wanted] = data
            del State.uploads[path.split("/")[3]]
            return self.cut()
        if digest(data) != wanted or repo == "picky":
            return self.error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        State.blobs[repo, wanted] = data
        del State.uploads[path.split("/")[3]]
        kept = digest(b"something else") if repo == "keepsother" else wanted
        return self.reply(201, b"", {"Docker-Content-Digest": kept, "Location": f"/v2/{repo}/blobs/{wanted}"})

    def put_manifest(self, repo, tag, body):
        kind = self.headers.get("Content-Type", "")
        doc = json.loads(body)
        if repo == "manifest5xx" and State.count("manifest5xx") <= 2:
            return self.error(503, "UNAVAILABLE", "in a moment")
        if repo == "races" and State.count("races") <= 2:
            return self.error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        if repo == "oldtypes" and "oci" in kind:
            return self.error(415, "MANIFEST_INVALID", "unknown media type")
        if doc.get("mediaType") != kind:
            return self.error(400, "MANIFEST_INVALID", "the types differ")
        for d in [doc["config"], *doc["layers"]]:
            if len(State.blobs.get((repo, d["digest"]), b"")) != d["size"]:
                return self.error(400, "MANIFEST_BLOB_UNKNOWN", f"blob unknown to registry: {d['digest']}")
        State.manifests[repo, tag] = State.manifests[repo, digest(body)] = (kind, body)
        kept = digest(b"something else") if repo == "renames" else digest(body)
        return self.reply(201, b"", {"Docker-Content-Digest": kept, "Location": f"http://10.0.0.1/v2/{repo}/manifests/{digest(body)}"})

    def do_DELETE(self):
        self.note()
        State.uploads.pop(self.path.partition("?")[0].split("/")[3], None)
        return self.reply(204)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # a client that goes away is what some of the tests are about


first = Server(("127.0.0.1", 0), Handler)
# A host of its own at the same port: where secrets must not go.
second = Server(("127.0.0.2", first.server_port), Handler)
for server in first, second:
    threading.Thread(target=server.serve_forever, daemon=True).start()
print(first.server_port, "-", flush=True)
sys.stdin.read()
