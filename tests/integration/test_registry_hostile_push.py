# SPDX-License-Identifier: Apache-2.0
"""Registries that lie to who pushes, one row a lie; the house is that of test_registry_hostile.py.

A good registry is arranged, which keeps what it is given, and a row replaces one of its answers.
"""
import json
import re

import pytest

from harness import busybox_layer, docker_archive, sha256
from hostile_registry import OK, TOKEN, addresses, basic, endless, expect, house, measured, push, raw, state, tls  # noqa: F401 (fixtures)

LIES = {}


def lie(words=None, good=False, asks=()):
    def add(f):
        LIES[f.__name__] = (f, words, good, asks)
        return f
    return add


class Good:
    """The answers of a registry that takes whatever it is given. A row replaces them by (method, path), or by the path without its last part."""

    def __init__(self, rig):
        self.rig, self.blobs, self.manifests, self.uploads = rig, {}, {}, {}
        self.base, self.numbers = f"/v2/{rig.name}", iter(range(1000))
        rig.registry.otherwise = self

    def __call__(self, handler):
        path, _, query = handler.path.partition("?")
        answer = self.rig.registry.answers.get((handler.command, path)) or self.rig.registry.answers.get((handler.command, re.sub(r"(sha256:.*|[^/]*)$", "", path)))
        if answer:
            return answer(handler) if callable(answer) else answer
        return self.honest(handler, path, query)

    def honest(self, handler, path, query):
        what = path.rsplit("/", 1)[-1]
        if "/manifests/" in path and handler.command == "PUT":
            digest = f"sha256:{sha256(handler.body)}"
            self.manifests[what] = self.manifests[digest] = handler.body
            return 201, {"Docker-Content-Digest": digest}, b""
        if path.endswith("/blobs/uploads/") and handler.command == "POST":
            return 202, {"Location": f"{self.base}/blobs/uploads/{next(self.numbers)}"}, b""
        if "/blobs/uploads/" in path and handler.command == "PATCH":
            self.uploads[path] = handler.body
            return 202, {"Location": path, "Range": f"0-{len(handler.body) - 1}"}, b""
        if "/blobs/uploads/" in path and handler.command == "PUT":
            data = self.uploads.pop(path, b"") + handler.body
            digest = f"sha256:{sha256(data)}"
            self.blobs[digest] = data
            return 201, {"Docker-Content-Digest": digest, "Location": f"{self.base}/blobs/{digest}"}, b""
        if "/blobs/sha256:" in path and what in self.blobs:
            return 200, {"Content-Length": str(len(self.blobs[what]))}, b""
        return 404, {"Content-Type": "application/json"}, b'{"errors":[{"code":"BLOB_UNKNOWN","message":"unknown"}]}'


def start(r, location):
    """Uploads begin somewhere else."""
    r.registry.answers["POST", f"/v2/{r.name}/blobs/uploads/"] = (202, {"Location": location}, b"")


@lie(good=True)
def nothing(r):
    basic(r)


@lie(asks=("attacker",))
def location_on_another_host(r):
    """Real registries send uploads to storage elsewhere: without the credentials."""
    basic(r)
    start(r, r.attacker.url + "/upload")


@lie("refused|may not send")
def location_on_this_machine(r):
    start(r, r.near.url + "/upload")


@lie("refused|may not send")
def location_by_another_name_of_this_machine(r):
    start(r, f"http://2130706433:{r.near.host.split(':')[1]}/upload")


@lie("refused|no URL|only http")
def location_that_is_a_file(r):
    start(r, "file:///etc/passwd")


@lie("Location|where")
def location_that_is_missing(r):
    r.registry.answers["POST", f"/v2/{r.name}/blobs/uploads/"] = (202, {}, b"")


@lie("redirect|refused|Location", asks=("attacker",))
def upload_that_is_sent_elsewhere(r):
    """A redirect of what carries a body and a secret."""
    basic(r)
    for method in ("POST", "PATCH", "PUT"):
        r.registry.answers[method, f"/v2/{r.name}/blobs/uploads/"] = (307, {"Location": r.attacker.url + "/x"}, b"")


@lie("digest|says|differ")
def manifest_that_has_another_digest_there(r):
    r.registry.answers["PUT", f"/v2/{r.name}/manifests/"] = (201, {"Docker-Content-Digest": "sha256:" + "0" * 64}, b"")


@lie("denied|403")
def denied_at_the_end(r):
    r.registry.answers["PUT", f"/v2/{r.name}/manifests/"] = (403, {"Content-Type": "application/json"}, b'{"errors":[{"code":"DENIED","message":"no\\u001b[2J"}]}')


@lie("try again|status 5|given up|unavailable")
def unavailable_at_the_end(r):
    r.registry.answers["PUT", f"/v2/{r.name}/manifests/"] = (503, {}, b"{}")


@lie("limits requests|toomanyrequests|try again|429|given up")
def too_many_requests_for_ever(r):
    r.registry.answers["POST", f"/v2/{r.name}/blobs/uploads/"] = (429, {}, b"{}")


@lie()
def range_beyond_what_was_sent(r):
    r.registry.answers["PATCH", f"/v2/{r.name}/blobs/uploads/"] = (202, {"Location": f"/v2/{r.name}/blobs/uploads/1", "Range": "0-99999999999999"}, b"")
    r.registry.answers["PUT", f"/v2/{r.name}/blobs/uploads/"] = (416, {}, b"{}")


@lie(good=None)
def pieces_of_an_exabyte(r):
    r.registry.answers["POST", f"/v2/{r.name}/blobs/uploads/"] = (202, {"Location": f"/v2/{r.name}/blobs/uploads/1", "OCI-Chunk-Min-Length": str(1 << 60)}, b"")


@lie(good=None)
def pieces_of_a_negative_length(r):
    r.registry.answers["POST", f"/v2/{r.name}/blobs/uploads/"] = (202, {"Location": f"/v2/{r.name}/blobs/uploads/1", "OCI-Chunk-Min-Length": "-1"}, b"")


@lie("does not end|larger|limit|headers")
def answer_without_end(r):
    r.registry.answers["POST", f"/v2/{r.name}/blobs/uploads/"] = endless(b"HTTP/1.1 202 Accepted\r\nLocation: /v2/x/blobs/uploads/1\r\n\r\n", b"x" * 65536)


@lie("headers|header")
def headers_without_end(r):
    r.registry.answers["POST", f"/v2/{r.name}/blobs/uploads/"] = endless(OK, b"X-Much: " + b"y" * 1000 + b"\r\n")


@lie()
def connections_that_end_in_the_middle(r):
    for method in ("PATCH", "PUT"):
        r.registry.answers[method, f"/v2/{r.name}/blobs/uploads/"] = raw(b"")


@lie("not sent to the token server|no anonymous token|unauthorized|denied", asks=("attacker",))
def realm_on_another_host(r):
    def guarded(handler):
        return 401, {"WWW-Authenticate": f'Bearer realm="{r.attacker.url}/token",service="svc",scope="repository:other/secret:*"'}, b"{}"
    r.registry.otherwise = guarded
    r.attacker.answers["/token"] = (401, {"WWW-Authenticate": 'Basic realm="x"'}, b"{}")


@lie(good=True)
def scopes_beyond_the_push(r):
    good = r.registry.otherwise

    def guarded(handler):
        if handler.headers.get("Authorization") == f"Bearer {TOKEN}":
            return good(handler)
        return 401, {"WWW-Authenticate": f'Bearer realm="{r.registry.url}/token",service="svc",scope="repository:other/secret:delete"'}, b"{}"
    r.registry.otherwise = guarded
    r.registry.answers["/token"] = (200, {}, json.dumps({"token": TOKEN}).encode())


@pytest.mark.parametrize("name", LIES)
def test_lies(house, name):
    engine, rig = house
    arrange, words, good, asks = LIES[name]
    rig.begin("push-" + name.replace("_", "-"))
    registry = Good(rig)
    reference = f"{rig.registry.host}/{rig.name}:x"
    engine.cli("load", input=docker_archive(reference, [busybox_layer()], Cmd=["sh"]), text=False)
    arrange(rig)
    before = state(engine)
    try:
        with measured(engine):
            said = push(engine, reference)
        assert good is None or bool(said) is not good, said or "it was pushed"
        expect(engine, rig, said, words, asks, right="push")
        if not said:
            assert "x" in registry.manifests and len(registry.blobs) == 2
        assert state(engine) == before
    finally:
        rig.registry.otherwise = None
        engine.api("DELETE", f"/images/{reference}?force=1")
