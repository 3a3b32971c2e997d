# SPDX-License-Identifier: Apache-2.0
"""Images exchanged with skopeo, podman and a real dockerd through Debian's docker-registry, with and without a password and TLS: what each pushes the others pull, by equal digests.

dockerd and podman live in a room, which has a network of its own: there a second docker-registry serves the same storage at the same address.
"""
import base64
import io
import json
import re
import tarfile

import pytest

from harness import PasswordRegistry, Registry, busybox_archive, program, wait_until
from room import Room

USER = ("a-user", "pass word:é")


class House(Room):
    """Other people's clients beside one registry."""

    def __init__(self, user, tls):
        self.registry, self.user = None, user
        super().__init__("exchange")
        try:
            self.registry = PasswordRegistry(*user, tls) if user else Registry(tls=tls)
            self._start(user, tls)
        except BaseException:
            self.finish()
            raise

    def _start(self, user, tls):
        self.daemon(program("docker-registry"), "serve", self.registry.config)
        self.socket, containerd = self.root / "docker.sock", self.root / "containerd.sock"
        self.start_containerd(containerd)
        self.daemon(program("dockerd"), "--containerd", containerd, "--data-root", self.root / "data", "--exec-root", self.root / "run", "--pidfile", self.root / "pid",
                    "-H", f"unix://{self.socket}", "--iptables=false", "--ip-masq=false", "--ip-forward=false", "--exec-opt", "native.cgroupdriver=cgroupfs")
        config = self.root / "client/config.json"
        config.parent.mkdir()
        auths = {self.registry.host: {"auth": base64.b64encode(":".join(user).encode()).decode()}} if user else {}
        config.write_text(json.dumps({"auths": auths}))
        self.authfile = config
        self.certs = ["--cert-dir", self.registry.ca.parent] if tls else ["--tls-verify=false"]
        wait_until("dockerd answers", lambda: self.docker("ps", check=False).returncode == 0, seconds=30, step=0.1)

    def docker(self, *args, **kw):
        return self.run(program("docker"), "-H", f"unix://{self.socket}", "--config", self.authfile.parent, *args, **kw)

    def podman(self, *args, **kw):
        return self.run(program("podman"), "--root", self.root / "podman", "--runroot", self.root / "podman-run", "--tmpdir", self.root / "podman-tmp", "--cgroup-manager", "cgroupfs",
                        "--events-backend", "file", "--storage-driver", "vfs", *args, **kw)

    def skopeo(self, *args, **kw):
        return self.run(program("skopeo"), "--insecure-policy", *args, **kw)

    # ---- each client's way to push busybox, and to say which digest it has pulled
    def push_by_docker(self, target):
        self.docker("load", "-i", busybox_archive())
        self.docker("tag", "busybox", target)
        self.docker("push", target)
        self.docker("rmi", target, "busybox")

    def push_by_podman(self, target):
        self.podman("load", "-i", busybox_archive())
        self.podman("push", "--authfile", self.authfile, *self.certs, "localhost/busybox:latest", target)
        self.podman("rmi", "-f", "localhost/busybox:latest")

    def push_by_skopeo(self, target):
        certs = [c.replace("--", "--dest-", 1) if str(c).startswith("--") else c for c in map(str, self.certs)]
        self.skopeo("copy", "--authfile", self.authfile, *certs, f"docker-archive:{busybox_archive()}", f"docker://{target}")

    def pull_by_docker(self, target):
        self.docker("pull", target)
        digests = json.loads(self.docker("image", "inspect", target).stdout)[0]["RepoDigests"]
        with tarfile.open(fileobj=io.BytesIO(self.docker("save", target, text=False).stdout)) as t:
            assert "manifest.json" in t.getnames()
        self.docker("rmi", target)
        return {d.split("@")[1] for d in digests}

    def pull_by_podman(self, target):
        self.podman("pull", "--authfile", self.authfile, *self.certs, target)
        digests = json.loads(self.podman("image", "inspect", target).stdout)[0]["RepoDigests"]
        self.podman("rmi", "-f", target)
        return {d.split("@")[1] for d in digests}

    def pull_by_skopeo(self, target):
        certs = [c.replace("--", "--src-", 1) if str(c).startswith("--") else c for c in map(str, self.certs)]
        folder = self.root / "copied"
        self.skopeo("copy", "--authfile", self.authfile, *certs, f"docker://{target}", f"dir:{folder}")
        return {self.skopeo("manifest-digest", folder / "manifest.json").stdout.strip()}

    def finish(self):
        try:
            self.close()
        finally:
            if self.registry:
                self.registry.close()


KINDS = {"open": (None, False), "password": (USER, False), "TLS": (None, True), "password and TLS": (USER, True)}


@pytest.fixture(scope="module", params=KINDS)
def house(request):
    h = House(*KINDS[request.param])
    try:
        yield h
    finally:
        h.finish()


class Ours:
    """Our engine as a client that has credentials would use it."""

    def __init__(self, engine, house):
        self.engine = engine
        text = json.dumps({"username": house.user[0], "password": house.user[1], "serveraddress": house.registry.host} if house.user else {})
        self.headers = {"X-Registry-Auth": base64.urlsafe_b64encode(text.encode()).decode()}

    def ask(self, path):
        reply = self.engine.api("POST", path, headers=self.headers)
        assert reply.status == 200, reply.body
        assert not [line for line in reply.lines if "error" in line], reply.body
        return reply.lines

    def pull(self, target):
        name, tag = target.rsplit(":", 1)
        said = " ".join(line.get("status", "") for line in self.ask(f"/images/create?fromImage={name}&tag={tag}"))
        return re.search(r"Digest: (sha256:[0-9a-f]{64})", said).group(1)

    def push(self, target):
        name, tag = target.rsplit(":", 1)
        said = " ".join(line.get("status", "") for line in self.ask(f"/images/{name}/push?tag={tag}"))
        return re.search(r"digest: (sha256:[0-9a-f]{64})", said).group(1)


@pytest.fixture
def ours(engine, house):
    return Ours(engine, house)


CLIENTS = ("docker", "podman", "skopeo")


@pytest.mark.parametrize("client", CLIENTS)
def test_we_pull_what_others_push(house, ours, ireko, name, client):
    target = f"{house.registry.host}/{name}:x"
    getattr(house, f"push_by_{client}")(target)
    digest = house.registry.digest(name, "x")
    assert ours.pull(target) == digest
    assert ireko.out("run", "--rm", target, "echo", "fine") == "fine"
    assert json.loads(ireko.out("image", "inspect", target))[0]["RepoDigests"] == [f"{house.registry.host}/{name}@{digest}"]
    ireko("rmi", "-f", target)


@pytest.mark.parametrize("client", CLIENTS)
def test_others_pull_what_we_push(house, ours, ireko, name, client):
    target = f"{house.registry.host}/{name}:x"
    ireko("tag", "busybox", target)
    digest = ours.push(target)
    assert house.registry.digest(name, "x") == digest
    assert digest in getattr(house, f"pull_by_{client}")(target)
    ireko("rmi", target)


@pytest.mark.parametrize("client", CLIENTS)
def test_what_was_pulled_is_pushed_as_it_was(house, ours, ireko, name, client):
    """By another, by us, by us again under another name, and back: one digest all the way."""
    first, second = f"{house.registry.host}/{name}:x", f"{house.registry.host}/{name}-again:x"
    getattr(house, f"push_by_{client}")(first)
    digest = house.registry.digest(name, "x")
    ours.pull(first)
    ireko("tag", first, second)
    assert ours.push(second) == digest == house.registry.digest(f"{name}-again", "x")
    assert digest in getattr(house, f"pull_by_{client}")(second)
    ireko("rmi", first, second)


@pytest.mark.parametrize("house", [k for k, (user, _) in KINDS.items() if user], indirect=True)
def test_without_the_password(house, engine, name):
    """Whoever does not know it gets nothing, and is told why."""
    house.push_by_skopeo(f"{house.registry.host}/{name}:x")
    for headers in ({}, {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps({"username": USER[0], "password": "wrong"}).encode()).decode()}):
        reply = engine.api("POST", f"/images/create?fromImage={house.registry.host}/{name}&tag=x", headers=headers)
        assert re.search(rb"unauthorized|authentication required|incorrect username or password", reply.body) and b"wrong" not in reply.body, reply.body
