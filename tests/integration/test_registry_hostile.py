# SPDX-License-Identifier: Apache-2.0
"""Registries that lie, one row a lie: what is served, and what is said of it.

The registry and the attacker's host have addresses of their own on the loopback device, which are no loopback addresses: to the engine they are far away. `near` is a
service of this machine, which no registry may make the engine talk to. Every pull carries credentials for the registry. After every row: the secrets were seen by nobody
else, images and layers are what they were, no file is left half-written, time and memory were bounded, and the engine answers.
"""
import contextlib
import gzip
import json
import re
import socket
import struct
import time

import pytest

import harness
from harness import busybox_layer, image_config
from hostile_registry import (CONFIG, INDEX, MANIFEST, OK, TOKEN, Hostile, addresses, basic, descriptor, digest, endless, expect, house, layer, measured, noise, pull, raw, state, tls,  # noqa: F401 (fixtures)
                              trusted)

LIES = {}


def lie(words=None, good=False, asks=None, secure=False):
    """words: what is said; good: the pull succeeds all the same (None: HTTP leaves it to the client); asks: whom the engine may ask beside the registry."""
    def add(f):
        LIES[f.__name__] = (f, words, good, asks or (), secure)
        return f
    return add


# ---- digests ----
@lie("digest mismatch")
def manifest_by_digest_has_other_bytes(r):
    r.image()
    r.tag = digest(b"what was asked for")
    r.registry.answers[r.path("manifests", r.tag)] = (200, {"Content-Type": MANIFEST}, r.document)


@lie("digest mismatch: the registry says")
def manifest_by_tag_has_another_digest_than_its_header(r):
    r.image()
    r.put_manifest(r.document, **{"Docker-Content-Digest": digest(b"x")})


@lie("digest mismatch|says")
def index_names_other_bytes(r):
    r.image()
    entry = descriptor(r.document, MANIFEST, platform={"os": "linux", "architecture": "amd64"})
    r.put_manifest({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}, INDEX)
    r.registry.answers[r.path("manifests", entry["digest"])] = (200, {"Content-Type": MANIFEST}, r.document.replace(b'"schemaVersion"', b'"schemaVersioN"'))


@lie("bytes, the index says")
def index_names_another_size(r):
    r.image()
    entry = dict(descriptor(r.document, MANIFEST), size=len(r.document) + 1, platform={"os": "linux", "architecture": "amd64"})
    r.put_manifest({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}, INDEX)


@lie("config digest mismatch")
def config_has_other_bytes(r):
    d = r.image()
    path = r.path("blobs", d["config"]["digest"])
    status, headers, data = r.registry.answers[path]
    r.registry.answers[path] = (status, headers, data.replace(b'"sh"', b'"hs"'))


@lie("config .* bytes, the manifest says")
def config_has_another_size(r):
    d = r.image()
    d["config"]["size"] += 1
    r.put_manifest(d)


@lie("digest mismatch|damaged|checksum")
def layer_has_other_bytes(r):
    r.image(lie=lambda d: (200, {}, d[:-9] + bytes([d[-9] ^ 1]) + d[-8:]))


@lie("digest mismatch")
def layer_in_another_packing(r):
    """The plain contents are right, the blob is not: one byte of the time in gzip's header."""
    r.image(pack=lambda d: gzip.compress(d, mtime=0), lie=lambda d: (200, {}, d[:4] + bytes([d[4] ^ 1]) + d[5:]))


@lie("mismatch")
def layer_is_another_layer(r):
    r.image([noise(r.name)])
    other = gzip.compress(noise("other" + r.name))
    r.registry.answers[r.last_blob()] = (200, {}, (other + bytes(1 << 20))[:len(r.registry.answers[r.last_blob()][2])])


@lie("diff id mismatch|mismatch")
def layer_unpacks_to_another(r):
    r.image(pack=lambda d: gzip.compress(layer("other contents")))


@lie("names 1 layers, the manifest has 2|names 2 layers, the manifest has 1")
def config_names_fewer_layers(r):
    d = r.image()
    d["layers"].append(d["layers"][0])
    r.put_manifest(d)


@lie("not sha256|digest")
def digests_that_are_paths(r):
    d = r.image()
    d["layers"][0]["digest"] = "sha256:../../../../../../../../etc/passwd"
    r.put_manifest(d)


# ---- bodies ----
@lie("sends more than|more than the")
def body_is_longer_than_the_manifest_says(r):
    r.image(lie=lambda d: (200, {}, d + bytes(1 << 20)))


@lie("sent \\d+ of \\d+ bytes|given up")
def body_is_shorter_than_the_manifest_says(r):
    r.image(lie=lambda d: (200, {}, d[:-7]))


@lie("given up|transfer|closed")
def content_length_is_too_large(r):
    r.image(lie=lambda d: raw(OK + b"Content-Length: %d\r\n\r\n" % len(d) + d[:100]))


@lie("digest|mismatch|given up|damaged|manifest|line 1")
def content_length_is_too_small(r):
    r.image()
    r.registry.answers[r.path("manifests", r.tag)] = raw(OK + b"Content-Type: " + MANIFEST.encode() + b"\r\nContent-Length: 20\r\n\r\n" + r.document)


@lie(good=None)
def content_length_is_there_twice(r):
    r.image()
    r.registry.answers[r.path("manifests", r.tag)] = raw(OK + b"Content-Length: 5\r\nContent-Length: %d\r\n\r\n" % len(r.document) + r.document)


@lie()
def content_length_is_no_number(r):
    r.image()
    r.registry.answers[r.path("manifests", r.tag)] = raw(OK + b"Content-Length: -1\r\n\r\n" + r.document)


@lie(good=None)
def content_length_is_enormous(r):
    r.image()
    r.registry.answers[r.path("manifests", r.tag)] = raw(OK + b"Content-Length: 99999999999999999999\r\n\r\n" + r.document)


@lie("larger than the limit")
def manifest_in_chunks_without_end(r):
    r.registry.answers[r.path("manifests", r.tag)] = endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 65536 + b"\r\n")


@lie("more than the")
def layer_in_chunks_without_end(r):
    r.image(lie=lambda d: endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n"))


@lie("larger than the limit")
def config_without_end(r):
    d = r.image()
    r.registry.answers[r.path("blobs", d["config"]["digest"])] = endless(OK + b"\r\n", b" " * 65536)


@lie("does not end|larger")
def error_without_end(r):
    r.registry.answers[r.path("manifests", r.tag)] = endless(b"HTTP/1.1 404 Not Found\r\n\r\n", b"x" * 65536)


@lie()
def chunks_that_are_none(r):
    r.registry.answers[r.path("manifests", r.tag)] = raw(OK + b"Transfer-Encoding: chunked\r\n\r\nzzzz\r\n{}\r\n0\r\n\r\n")


@lie()
def chunks_that_end_in_the_middle(r):
    r.image()
    r.registry.answers[r.path("manifests", r.tag)] = raw(OK + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % (len(r.document) + 10) + r.document)


@lie("mismatch|line 1|JSON|encoding")
def manifest_that_is_a_bomb(r):
    """Nobody asked for a content encoding: what comes is what is hashed."""
    r.image()
    bomb = gzip.compress(b"[" * (64 << 20))
    r.registry.answers[r.path("manifests", r.tag)] = (200, {"Content-Type": MANIFEST, "Content-Encoding": "gzip"}, bomb)


@lie("mismatch|damaged|bytes|encoding")
def layer_that_is_a_bomb_in_transfer(r):
    r.image(lie=lambda d: (200, {"Content-Encoding": "gzip"}, gzip.compress(d)))


# ---- status lines and headers ----
@lie("more than \\d+ bytes of headers")
def headers_without_end(r):
    r.registry.answers[r.path("manifests", r.tag)] = endless(OK, b"X-Much: " + b"y" * 1000 + b"\r\n")


@lie("bytes of headers|header|too large|line")
def one_header_without_end(r):
    r.registry.answers[r.path("manifests", r.tag)] = endless(OK + b"X-Much: ", b"y" * 65536)


@lie()
def informational_replies_without_end(r):
    r.registry.answers[r.path("manifests", r.tag)] = endless(b"", b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n", 16 << 20)


@lie()
def no_http_at_all(r):
    r.registry.answers[r.path("manifests", r.tag)] = raw(b"SSH-2.0-OpenSSH_9.2p1\r\n" + bytes(5000))


@lie()
def http_of_another_age(r):
    r.image()
    r.registry.answers[r.path("manifests", r.tag)] = raw(b"HTTP/9.9 200 OK\r\nContent-Length: %d\r\n\r\n" % len(r.document) + r.document)


@lie()
def status_that_is_none(r):
    r.registry.answers[r.path("manifests", r.tag)] = raw(b"HTTP/1.1 999 What\r\nContent-Length: 2\r\n\r\n{}")


@lie("unexpected status|status 2")
def success_without_contents(r):
    r.image()
    r.registry.answers[r.path("manifests", r.tag)] = (204, {}, b"")


@lie("redirects to|no URL|header|refused|Location|URL|attacker", asks=("attacker",))
def location_with_a_line_break(r):
    r.registry.answers[r.path("manifests", r.tag)] = raw(b"HTTP/1.1 307 Go\r\nLocation: " + r.attacker.url.encode() + b"/x%0d%0aAuthorization:%20Basic%20x\rX-Y: z\r\nContent-Length: 0\r\n\r\n")


@lie("\\?\\[31m|not found|denied", good=False)
def errors_that_speak_to_terminals(r):
    r.registry.answers[r.path("manifests", r.tag)] = (404, {"Content-Type": "application/json"}, json.dumps({"errors": [{"code": "MANIFEST_UNKNOWN\x1b[2J", "message": "\x1b[31m" + "red" * 5000}]}).encode())


# ---- ranges ----
def parts(r, second, first=None):
    """The first request gets a part, then `second` answers."""
    r.image([noise(r.name)])
    path = r.last_blob()
    data = r.registry.answers[path][2]
    asked = []

    def answer(handler):
        asked.append(handler.headers.get("Range"))
        if len(asked) == 1:
            return raw(OK + b"Content-Length: %d\r\n\r\n" % len(data) + (first or data)[:len(data) // 2])(handler)
        start = int((handler.headers.get("Range") or "bytes=0-").split("=")[1].rstrip("-"))
        return second(handler, data, start)
    r.registry.answers[path] = answer


@lie(good=True)
def range_that_is_ignored(r):
    parts(r, lambda h, data, start: (200, {}, data))


@lie(good=True)
def range_that_is_honoured(r):
    parts(r, lambda h, data, start: (206, {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}, data[start:]))


@lie("server sent those from|asked for the bytes")
def range_that_starts_elsewhere(r):
    parts(r, lambda h, data, start: (206, {"Content-Range": f"bytes {start - 100}-{len(data) - 1}/{len(data)}"}, data[start - 100:]))


@lie("server sent those from|asked for the bytes")
def range_without_a_word(r):
    parts(r, lambda h, data, start: (206, {}, data[start:]))


@lie("mismatch|damaged")
def range_that_overlaps(r):
    parts(r, lambda h, data, start: (206, {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}, data[start - 10:-10]))


@lie("more than the")
def range_that_goes_on(r):
    parts(r, lambda h, data, start: (206, {"Content-Range": f"bytes {start}-{len(data) + 999}/{len(data) + 1000}"}, data[start:] + bytes(1000)))


@lie("mismatch|damaged")
def another_file_after_the_break(r):
    other = gzip.compress(noise("another" + r.name))
    parts(r, lambda h, data, start: (206, {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}, (other + bytes(len(data)))[start:len(data)]))


@lie("416|range|given up|status")
def range_that_cannot_be(r):
    parts(r, lambda h, data, start: (416, {"Content-Range": "bytes */1"}, b""))


@lie("asked for the bytes|server sent|206")
def part_that_nobody_asked_for(r):
    r.image(lie=lambda d: (206, {"Content-Range": f"bytes 10-{len(d) - 1}/{len(d)}"}, d[10:]))


# ---- redirects ----
@lie(good=True, asks=("attacker",))
def layer_on_another_host(r):
    """As real registries do: without the credentials."""
    r.image()
    r.attacker.answers[r.last_blob()] = r.registry.answers[r.last_blob()]
    r.registry.answers[r.last_blob()] = (307, {"Location": r.attacker.url + r.last_blob()}, b"")
    basic(r)


@lie(good=True, asks=("attacker",))
def manifest_on_another_host(r):
    r.image()
    path = r.path("manifests", r.tag)
    r.attacker.answers[path] = r.registry.answers[path]
    r.registry.answers[path] = (301, {"Location": r.attacker.url + path}, b"")
    basic(r)


def redirect_row(where, words):
    def f(r):
        r.image()
        r.registry.answers[r.last_blob()] = (307, {"Location": where(r)}, b"")
    return f, words


def near_port(r):
    return r.near.host.split(":")[1]


for label, where in {
    "loopback": lambda r: r.near.url + "/x", "loopback_by_name": lambda r: f"http://localhost:{near_port(r)}/x", "loopback_in_short": lambda r: f"http://127.1:{near_port(r)}/x",
    "loopback_as_a_number": lambda r: f"http://2130706433:{near_port(r)}/x", "loopback_in_hexadecimal": lambda r: f"http://0x7f.0.0.1:{near_port(r)}/x", "loopback_in_octal": lambda r: f"http://0177.0.0.1:{near_port(r)}/x",
    "loopback_v6": lambda r: f"http://[::1]:{near_port(r)}/x", "loopback_v4_in_v6": lambda r: f"http://[::ffff:127.0.0.1]:{near_port(r)}/x", "any_address": lambda r: f"http://0.0.0.0:{near_port(r)}/x",
    "another_loopback": lambda r: f"http://127.99.0.1:{near_port(r)}/x", "loopback_with_a_dot": lambda r: f"http://localhost.:{near_port(r)}/x", "metadata_service": lambda r: "http://169.254.169.254/latest/meta-data/",
    "link_local_v6": lambda r: f"http://[fe80::1]:{near_port(r)}/x",
}.items():
    fn, expected = redirect_row(where, "refused|may not send|resolve|no URL|not known")
    fn.__name__ = f"redirect_to_{label}"
    lie(expected)(fn)

for scheme in ("unix:/run/docker.sock", "file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1:70/x", "dict://127.0.0.1/x", "javascript:x", "http://user:pass@127.0.0.1/x", "http://"):
    fn, expected = redirect_row(lambda r, scheme=scheme: scheme, "refused|no URL")
    fn.__name__ = "redirect_to_" + re.sub(r"\W+", "_", scheme).strip("_")
    lie(expected)(fn)


@lie("redirects")
def redirect_in_circles(r):
    for n in (0, 1):
        r.registry.answers[f"/loop{n}"] = (307, {"Location": f"/loop{1 - n}"}, b"")
    r.registry.answers[r.path("manifests", r.tag)] = (307, {"Location": "/loop0"}, b"")


@lie("redirects", asks=("attacker",))
def redirect_to_and_fro(r):
    path = r.path("manifests", r.tag)
    r.registry.answers[path] = (307, {"Location": r.attacker.url + path}, b"")
    r.attacker.answers[path] = (307, {"Location": r.registry.url + path}, b"")


@lie("from https to plain http", secure=True)
def redirect_from_https_to_http(r):
    r.image(server=r.secure)
    r.secure.answers[r.last_blob()] = (307, {"Location": r.attacker.url + "/x"}, b"")


# ---- signing in ----
@lie("not sent to the token server|no anonymous token", asks=("attacker",))
def realm_on_another_host(r):
    """The token server is the attacker's, and wants the password."""
    r.image()
    r.bearer(r.attacker.url + "/token")
    r.attacker.answers["/token"] = (401, {"WWW-Authenticate": 'Basic realm="x"'}, b"{}")


@lie(good=True, asks=("attacker",))
def realm_on_another_host_gives_tokens_to_anybody(r):
    r.image()
    r.bearer(r.attacker.url + "/token")
    r.attacker.answers["/token"] = (200, {}, json.dumps({"token": TOKEN}).encode())


@lie("refused|may not send")
def realm_on_this_machine(r):
    r.image()
    r.bearer(r.near.url + "/token")


@lie("no http or https URL|wants credentials in a way")
def realm_that_is_a_file(r):
    r.image()
    r.bearer("file:///etc/passwd")


@lie("unauthorized", asks=("attacker",))
def token_server_that_sends_elsewhere(r):
    """The password stays where it was sent."""
    r.image()
    r.bearer(r.registry.url + "/token")
    r.registry.answers["/token"] = (307, {"Location": r.attacker.url + "/token"}, b"")
    r.attacker.answers["/token"] = (401, {"WWW-Authenticate": 'Basic realm="x"'}, b"{}")


@lie(good=True)
def scopes_beyond_the_pull(r):
    r.image()
    r.bearer(r.registry.url + "/token")
    r.registry.answers["/token"] = (200, {}, json.dumps({"access_token": TOKEN, "expires_in": -5, "scope": "repository:other/secret:*"}).encode())


@lie("larger than the limit")
def token_of_100_megabytes(r):
    r.image()
    r.bearer(r.registry.url + "/token")
    r.registry.answers["/token"] = endless(OK + b"\r\n", b'{"token":"' + b"x" * 65536)


@lie("control characters|no usable token")
def token_with_a_line_break(r):
    r.image()
    r.bearer(r.registry.url + "/token")
    r.registry.answers["/token"] = (200, {}, json.dumps({"token": "x\r\nX-Injected: 1"}).encode())


@lie("no usable token|line 1|token")
def token_that_is_none(r):
    r.image()
    r.bearer(r.registry.url + "/token")
    r.registry.answers["/token"] = (200, {}, b'{"token":["x"]}')


@lie("unauthorized|denied|authentication|limit|login")
def token_that_is_never_right(r):
    """A new one is asked for once, not for ever."""
    r.image()
    for path in list(r.registry.answers):
        r.registry.answers[path] = (401, {"WWW-Authenticate": f'Bearer realm="{r.registry.url}/token",service="svc"'}, b"{}")
    r.registry.answers["/token"] = (200, {}, json.dumps({"token": TOKEN}).encode())


@lie("wants credentials in a way|unauthorized|denied|login")
def challenges_of_all_kinds(r):
    r.image()
    for path in list(r.registry.answers):
        r.registry.answers[path] = (401, {"WWW-Authenticate": 'Negotiate, NTLM TlRMTVNTUAAB, Digest realm="x", nonce="y", Bearer , Bearer realm=, Bearer realm="' + "x" * 20000}, b"{}")


# ---- documents ----
@lie("ambiguous")
def manifest_and_index_in_one(r):
    """Whatever its media types say, or do not say."""
    d = r.image()
    d["manifests"] = [descriptor(b"x", MANIFEST)]
    del d["mediaType"]
    r.put_manifest(d, "application/json")


@lie("ambiguous")
def manifest_that_is_called_an_index(r):
    r.image()
    r.put_manifest(r.document, INDEX)


@lie("ambiguous")
def members_that_differ_in_case(r):
    d = r.image()
    r.put_manifest(json.dumps(d)[:-1].encode() + b',"Layers":[]}')


@lie("duplicate|twice")
def members_that_are_there_twice(r):
    d = r.image()
    r.put_manifest(json.dumps(d)[:-1].encode() + b',"layers":[]}')


@lie("nested more than")
def indexes_in_circles(r):
    """A true circle needs a digest that is its own; a deep chain is what there can be."""
    d = json.dumps(r.image()).encode()
    for _ in range(5):
        kind = INDEX if b"manifests" in d else MANIFEST
        d = r.put_manifest({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(d, kind, platform={"os": "linux", "architecture": "amd64"})]}, INDEX)


@lie("entries, more than the limit|larger than the limit")
def descriptors_by_the_hundred_thousand(r):
    entry = {"mediaType": MANIFEST, "digest": digest(b"x"), "size": 1}
    text = json.dumps(entry).encode()
    r.put_manifest(b'{"schemaVersion":2,"manifests":[' + b",".join([text] * 60000) + b"]}", INDEX)


@lie("entries, more than the limit")
def layers_by_the_thousand(r):
    d = r.image()
    d["layers"] = d["layers"] * 2000
    r.put_manifest(d)


@lie("larger than the limit")
def manifest_of_9_megabytes(r):
    r.image()
    r.put_manifest(r.document + b" " * (9 << 20))


@lie("more values, arrays and objects")
def manifest_of_brackets(r):
    r.put_manifest(b'{"a":' + b"[" * 100000)


@lie("negative|size|mismatch|real|integer|range")
def sizes_that_are_none(r):
    d = r.image()
    d["layers"][0]["size"] = -1
    r.put_manifest(d)


@lie("sent|given up|space|limit")
def layer_of_four_exabytes(r):
    d = r.image()
    d["layers"][0]["size"] = 1 << 62
    r.put_manifest(d)


@lie("more than the 0 bytes|mismatch|digest")
def layer_of_no_bytes(r):
    d = r.image()
    d["layers"][0]["size"] = 0
    r.put_manifest(d)


@lie(good=True)
def something_else_than_an_image(r):
    d = r.image()
    d["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
    r.put_manifest(d)


@lie("not a media type")
def something_that_has_no_name(r):
    d = r.image()
    d["config"]["mediaType"] = "application/x\x1b[2J"
    r.put_manifest(d)


@lie("unsupported media type")
def media_type_of_nobody(r):
    d = r.image()
    d["mediaType"] = "application/vnd.evil\x1b[2J"
    r.put_manifest(d)


@lie("schema 1")
def manifest_of_the_first_schema(r):
    r.put_manifest(b'{"schemaVersion":1,"fsLayers":[{"blobSum":"sha256:x"}],"history":[]}', "application/vnd.docker.distribution.manifest.v1+prettyjws")


@lie("operating system|no matching|platform|cannot be used")
def image_for_another_system(r):
    r.image()
    d = json.loads(r.document)
    text = image_config(r.layers).replace(b'"linux"', b'"plan9"')
    r.registry.answers[r.blob(text)] = (200, {}, text)
    d["config"] = descriptor(text, CONFIG)
    r.put_manifest(d)


@lie(good=True)
def foreign_layers(r):
    """CVE-2020-15157: the layer is asked for at the registry, and nowhere else."""
    d = r.image()
    d["layers"][0].update(urls=[r.attacker.url + "/foreign", r.near.url + "/foreign"], mediaType="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
    r.put_manifest(d)
    basic(r)


@lie("not found|blob")
def foreign_layers_that_are_not_here(r):
    d = r.image()
    d["layers"][0].update(urls=[r.attacker.url + "/foreign"], mediaType="application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")
    r.put_manifest(d)
    del r.registry.answers[r.last_blob()]


# ---- storms ----
@lie("limits requests|toomanyrequests|try again", good=False)
def too_many_requests_for_ever(r):
    r.registry.answers[r.path("manifests", r.tag)] = (429, {}, b"{}")


@lie("try again|given up|status 5")
def unavailable_for_ever(r):
    r.image(lie=(503, {}, b"{}"))


@lie(good=True)
def unavailable_for_a_moment(r):
    r.image()
    answer, n = r.registry.answers[r.last_blob()], []

    def sometimes(handler):
        n.append(1)
        return answer if len(n) > 2 else (503, {"Retry-After": "0"}, b"{}")
    r.registry.answers[r.last_blob()] = sometimes


@lie("given up|try again|closed|transfer|empty|reset")
def connections_that_end_at_once(r):
    def answer(handler):
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()
        handler.close_connection = True
    r.image(lie=lambda d: answer)


# ---- the test ----
@pytest.mark.parametrize("name", LIES)
def test_lies(house, name):
    engine, rig = house
    arrange, words, good, asks, secure = LIES[name]
    rig.begin(name.lower())
    rig.tag = "x"
    arrange(rig)
    before = state(engine)
    host = (rig.secure if secure else rig.registry).host
    reference = f"{host}/{rig.name}" + ("@" if rig.tag.startswith("sha256:") else ":") + rig.tag
    with measured(engine):
        said = pull(engine, reference)
    assert good is None or bool(said) is not good, said or "it was pulled"
    expect(engine, rig, said, words, asks)
    if not said:
        assert engine.api("DELETE", f"/images/{reference}?force=1").status == 200
    harness.wait_until("the store is as it was", lambda: state(engine) == before, seconds=10)


# ---- certificates ----
@pytest.mark.parametrize("kind", ["wrong name", "expired", "good", "not trusted"])
def test_certificates_that_do_not_hold(new_engine, addresses, tls, trusted, name, kind):
    """Whoever is not named as insecure must have a certificate that holds; without one nothing is asked of it, and no secret told."""
    engine = new_engine(busybox=False)
    server = Hostile(addresses[0], tls["good" if kind == "not trusted" else kind])
    try:
        if kind != "not trusted":
            trusted(server.host)
        server.image(name, "x", [busybox_layer()])
        said = pull(engine, f"{server.host}/{name}:x")
        if kind == "good":
            assert not said and server.asked
        else:
            assert re.search(r"certificate|SSL|TLS", said) and "certs.d" in said, said
            assert not server.asked
    finally:
        server.close()


def test_a_token_server_in_the_clear(new_engine, addresses, tls, trusted, name):
    """A registry with TLS names a token server without: a token would travel for everybody to see."""
    engine = new_engine(busybox=False)
    server, plain = Hostile(addresses[0], tls["good"]), Hostile(addresses[0])
    try:
        trusted(server.host)
        server.image(name, "x", [busybox_layer()])
        for path in list(server.answers):
            server.answers[path] = (401, {"WWW-Authenticate": f'Bearer realm="{plain.url}/token",service="svc"'}, b"{}")
        said = pull(engine, f"{server.host}/{name}:x")
        assert "must not travel over plain http" in said and not plain.asked, said
    finally:
        server.close()
        plain.close()


def test_plain_http_where_https_is_due(new_engine, addresses, name):
    """A registry, or whoever is in between, that offers http only: nothing is asked of it in the clear."""
    engine = new_engine(busybox=False)
    server = Hostile(addresses[0])
    try:
        server.image(name, "x", [busybox_layer()])
        said = pull(engine, f"{server.host}/{name}:x")
        assert said and not server.asked
    finally:
        server.close()


# ---- drips ----
@pytest.mark.parametrize("where", ["manifest", "config", "layer", "header"])
def test_a_slow_drip_can_be_interrupted(house, where):
    """A byte now and then: the pull goes on as long as its client wants it, and not longer."""
    engine, rig = house
    rig.begin(f"drip-{where}")
    rig.tag = "x"
    d = rig.image()
    path = {"manifest": rig.path("manifests", "x"), "header": rig.path("manifests", "x"), "config": rig.path("blobs", d["config"]["digest"]), "layer": rig.last_blob()}[where]

    def drip(handler):
        with contextlib.suppress(OSError):
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: " if where == "header" else b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            for _ in range(600):
                handler.wfile.write(b"x")
                handler.wfile.flush()
                time.sleep(0.1)
                if rig.stop:
                    break
        handler.close_connection = True

    rig.registry.answers[path] = drip
    before = state(engine)
    try:
        p = engine.popen("pull", f"{rig.registry.host}/{rig.name}:x")
        harness.wait_until("it is asked for", lambda: any(a[1] == path for a in rig.registry.asked))
        time.sleep(0.5)
        p.send_signal(2)
        assert p.wait(timeout=20) != 0
        p.stdout.close()
        harness.wait_until("the store is as it was", lambda: state(engine) == before, seconds=10)
    finally:
        rig.stop = True
