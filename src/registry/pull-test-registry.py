#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Debian's docker-registry on an ephemeral port, with one image in it, for pull-test.c.

Prints "port digest" (of the manifest) and ends, cleaning up, when its standard input does. The image
is busybox:1, made of the layer given as first argument (a tar, gzipped or not) or of busybox-static. Exit status 77
if docker-registry is not installed.
"""
import gzip
import hashlib
import http.client
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading

REGISTRY = shutil.which("docker-registry") or sys.exit(77)


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def busybox_layer():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as t:
        t.add("/bin/busybox", "bin/busybox")
        for name in "sh", "ls", "cat":
            link = tarfile.TarInfo("bin/" + name)
            link.type, link.linkname = tarfile.LNKTYPE, "bin/busybox"
            t.addfile(link)
    return out.getvalue()


def call(port, method, path, body=None, headers=None, want=(200, 201, 202)):
    c = http.client.HTTPConnection("127.0.0.1", port)
    c.request(method, path, body, headers or {})
    r = c.getresponse()
    r.read()
    if r.status not in want:
        raise SystemExit(f"{method} {path}: {r.status}")
    return r


def push_blob(port, data):
    where = call(port, "POST", "/v2/busybox/blobs/uploads/").getheader("Location")
    where = re.sub(r"^https?://[^/]+", "", where)
    call(port, "PUT", where + ("&" if "?" in where else "?") + "digest=" + digest(data), data,
         {"Content-Type": "application/octet-stream"})
    return {"digest": digest(data), "size": len(data)}


def push_image(port, layer):
    packed = layer if layer[:2] == b"\x1f\x8b" else gzip.compress(layer, 6, mtime=0)
    plain = gzip.decompress(packed)
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]},
                         "rootfs": {"type": "layers", "diff_ids": [digest(plain)]}}).encode()
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": kind,
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", **push_blob(port, config)},
        "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", **push_blob(port, packed)}],
    }).encode()
    call(port, "PUT", "/v2/busybox/manifests/1", manifest, {"Content-Type": kind})
    return digest(manifest)


def main():
    root = tempfile.mkdtemp(prefix="ireko-registry-")
    config = os.path.join(root, "config.yml")
    with open(config, "w") as f:
        f.write("version: 0.1\nlog: {level: info}\nstorage: {filesystem: {rootdirectory: %s}}\n"
                "http: {addr: '127.0.0.1:0'}\n" % os.path.join(root, "data"))
    p = subprocess.Popen([REGISTRY, "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        port = None
        for line in p.stderr:
            found = re.search(r"listening on 127\.0\.0\.1:(\d+)", line)
            if found:
                port = int(found[1])
                break
        if port is None:
            raise SystemExit("docker-registry does not start")
        threading.Thread(target=lambda: all(True for _ in p.stderr), daemon=True).start()
        layer = open(sys.argv[1], "rb").read() if len(sys.argv) > 1 else busybox_layer()
        print(port, push_image(port, layer), flush=True)
        sys.stdin.read()
    finally:
        p.kill()
        p.wait()
        shutil.rmtree(root)


main()
