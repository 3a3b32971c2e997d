# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the engine at random moments while everything is going on at once. Nothing that a client was told is taken back: what was created is there, once; what was removed stays away;
containers run on with the processes that they had; exit codes and log lines are all there. IREKO_KILLS says how many kills (make check-fault: 500).

Clients ask again when their connection breaks, as they do not know whether they were heard: a name that is taken, or a thing that is gone, then means that they were.
"""
import http.client
import json
import os
import random
import re
import socket
import struct
import threading
import time
from urllib.parse import quote

import pytest

import harness
from harness import docker_archive, make_tar, wait_until

KILLS = int(os.environ.get("IREKO_KILLS", "15"))
WRITERS = 4
WRITE = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.02; done"


def payload(data):
    """Standard output and error of a multiplexed stream; a last frame that is cut off is left out."""
    out, at = b"", 0
    while at + 8 <= len(data):
        size = struct.unpack(">I", data[at + 4:at + 8])[0]
        if at + 8 + size > len(data):
            break
        out, at = out + data[at + 8:at + 8 + size], at + 8 + size
    return out.decode()


def numbers(text):
    return [int(n) for n in re.findall(r"^line (\d+)$", text, re.M)]


class Load:
    """Threads that work with the engine until told to stop, and what they know for certain."""

    def __init__(self, engine):
        self.engine, self.stop, self.bad, self.done = engine, threading.Event(), [], {}
        self.lock, self.there, self.gone = threading.Lock(), set(), set()
        kinds = [self.finite, self.finite, self.obedient, self.automatic, self.executing, self.following, self.volumes, self.images]
        self.threads = [threading.Thread(target=self.work, args=(kind, i)) for i, kind in enumerate(kinds)]

    def work(self, kind, seed):
        chance = random.Random(seed)
        turn = 0
        while not self.stop.is_set() and not self.bad:
            turn += 1
            try:
                kind(chance, f"{kind.__name__}-{seed}-{turn}")
                with self.lock:
                    self.done[kind.__name__] = self.done.get(kind.__name__, 0) + 1
            except Exception as e:  # noqa: BLE001 - reported by the test
                self.bad.append(f"{kind.__name__} {turn}: {type(e).__name__}: {e}")

    def once(self, method, path, body=None, timeout=30):
        """None if the engine died meanwhile."""
        try:
            return self.engine.api(method, path, body, timeout=timeout)
        except (ConnectionError, FileNotFoundError, http.client.HTTPException, json.JSONDecodeError):
            return None

    def ask(self, method, path, body=None, good=(200, 201, 204), heard=()):
        """Asks until there is an answer. `heard`: statuses that say, on asking again, that the first time was heard."""
        end, lost = time.monotonic() + 60, False
        while True:
            reply = self.once(method, path, body)
            if reply is not None:
                assert reply.status in good or (lost and reply.status in heard), f"{method} {path}: {reply.status} {reply.body[:300]} (asked again: {lost})"
                return reply
            assert time.monotonic() < end, f"{method} {path}: no answer for a minute"
            lost = True
            time.sleep(0.02)

    def create(self, name, command, **host):
        with self.lock:
            self.gone.discard(name)
        body = {"Image": "busybox", "Cmd": ["sh", "-c", command], "HostConfig": {"NetworkMode": "none", **host}, "Labels": {"of": name}}
        self.ask("POST", f"/containers/create?name={name}", body, heard=(409,))
        with self.lock:
            self.there.add(name)

    def start(self, name):
        """A start that may have been heard is not repeated before the container says that it was not."""
        while True:
            reply = self.once("POST", f"/containers/{name}/start")
            if reply is not None:
                assert reply.status in (204, 304), f"start {name}: {reply.status} {reply.body[:300]}"
                return
            found = self.ask("GET", f"/containers/{name}/json", good=(200, 404))
            if found.status == 404 or found.json["State"]["Status"] != "created":
                return

    def remove(self, name):
        with self.lock:
            self.there.discard(name)
        self.ask("DELETE", f"/containers/{name}?force=1&v=1", heard=(404, 409))
        wait_until(f"{name} is gone", lambda: self.ask("GET", f"/containers/{name}/json", good=(200, 404)).status == 404)
        with self.lock:
            self.gone.add(name)

    def ended(self, name, code):
        status = self.ask("POST", f"/containers/{name}/wait").json["StatusCode"]
        assert status == code, f"{name} ended with {status}, not {code}: {self.ask('GET', f'/containers/{name}/json').json['State']}"

    def logs(self, name):
        return payload(self.ask("GET", f"/containers/{name}/logs?stdout=1&stderr=1").body)

    # ---- kinds of work
    def finite(self, chance, name):
        lines, code = chance.randrange(1, 400), chance.randrange(0, 100)
        self.create(name, f"i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo line $i; done; exit {code}")
        self.start(name)
        self.ended(name, code)
        assert numbers(self.logs(name)) == list(range(1, lines + 1)), f"{name}: lines are not those that it wrote"
        self.remove(name)

    def obedient(self, chance, name):
        self.create(name, "trap 'echo told; exit 7' TERM; echo ready; while :; do sleep 0.02; done")
        self.start(name)
        wait_until("it is ready", lambda: "ready" in self.logs(name))
        self.ask("POST", f"/containers/{name}/stop?t=20", good=(204, 304))
        self.ended(name, 7)
        assert self.logs(name) == "ready\ntold\n", self.logs(name)
        self.remove(name)

    def automatic(self, chance, name):
        self.create(name, f"sleep {chance.uniform(0, 0.1):.3f}", AutoRemove=True)
        with self.lock:
            self.there.discard(name)  # it goes by itself
        self.start(name)
        wait_until(f"{name} is removed", lambda: self.ask("GET", f"/containers/{name}/json", good=(200, 404)).status == 404)
        with self.lock:
            self.gone.add(name)

    def executing(self, chance, name):
        made = self.ask("POST", f"/containers/writer-0/exec", {"Cmd": ["sh", "-c", f"echo {name}; exit 3"], "AttachStdout": True}).json["Id"]
        reply = self.once("POST", f"/exec/{made}/start", {})
        if reply is not None and reply.status == 200:
            assert payload(reply.body) == f"{name}\n" or reply.body == b"", reply.body

    def following(self, chance, name):
        """As far as it is told, without a gap."""
        try:
            connection = harness.UnixConnection(self.engine.socket, 10)
            connection.request("GET", f"/containers/writer-{chance.randrange(WRITERS)}/logs?follow=1&stdout=1&tail=20")
            response = connection.getresponse()
            data, end = b"", time.monotonic() + chance.uniform(0.1, 0.5)
            while time.monotonic() < end:
                piece = response.read1(65536)
                if not piece:
                    break
                data += piece
        except (OSError, http.client.HTTPException, socket.timeout):
            return
        finally:
            connection.close()
        seen = numbers(payload(data))
        assert seen == list(range(seen[0], seen[0] + len(seen))) if seen else True, f"{name}: {seen}"

    def volumes(self, chance, name):
        self.ask("POST", "/volumes/create", {"Name": name})
        self.create(name, "cat /v/file 2>/dev/null; echo kept >/v/file", Binds=[f"{name}:/v"])
        self.start(name)
        self.ended(name, 0)
        self.remove(name)
        self.create(name, "cat /v/file", Binds=[f"{name}:/v"])
        self.start(name)
        self.ended(name, 0)
        assert self.logs(name) == "kept\n"
        self.remove(name)
        self.ask("DELETE", f"/volumes/{name}", heard=(404,))
        assert self.ask("GET", f"/volumes/{name}", good=(404,))

    def images(self, chance, name):
        layer = make_tar(lambda tar: harness.add_file(tar, name, chance.randbytes(20000)))
        self.ask("POST", "/images/load?quiet=1", docker_archive(f"{name}:x", [harness.busybox_layer(), layer], Cmd=["true"]))
        self.ask("POST", f"/images/{name}:x/tag?repo={name}&tag=y")
        self.ask("DELETE", f"/images/{name}:x?force=1", heard=(404,))
        body = {"Image": f"{name}:y", "Cmd": ["wc", "-c", f"/{name}"], "HostConfig": {"NetworkMode": "none"}}
        self.ask("POST", f"/containers/create?name={name}", body, heard=(409,))
        self.start(name)
        self.ended(name, 0)
        assert self.logs(name).startswith("20000 ")
        self.remove(name)
        self.ask("DELETE", f"/images/{name}:y?force=1", heard=(404,))

    # ---- what must be true
    def look(self):
        """At the engine that has just come back: what was created is there once, what was removed is not."""
        with self.lock:
            before, gone = set(self.there), set(self.gone)
        names = [n.lstrip("/") for c in self.engine.api("GET", "/containers/json?all=1").json for n in c["Names"]]
        with self.lock:
            missing = (before & self.there) - set(names)
        assert not missing, f"lost: {missing}"
        assert not gone & set(names), f"came back: {gone & set(names)}"
        assert len(names) == len(set(names)), "doubled"


@pytest.mark.seconds(60 + 4 * KILLS)
def test_kills_under_load(new_engine):
    engine = new_engine()
    load = Load(engine)
    for i in range(WRITERS):
        load.create(f"writer-{i}", WRITE)
        load.start(f"writer-{i}")
    pids = {i: engine.inspect(f"writer-{i}")["State"]["Pid"] for i in range(WRITERS)}
    descriptors = engine.descriptors()
    chance = random.Random(9)
    for t in load.threads:
        t.start()
    try:
        for _ in range(KILLS):
            time.sleep(chance.choice((0, chance.uniform(0, 0.05), chance.uniform(0, 0.6))))
            engine.kill()
            engine.start()
            load.look()
            if load.bad:
                break
        time.sleep(1)
    finally:
        load.stop.set()
        for t in load.threads:
            t.join(timeout=90)
    assert not load.bad, load.bad
    assert {k.__name__ for k in (load.finite, load.obedient, load.automatic, load.volumes, load.images, load.executing, load.following)} == set(load.done), load.done
    for i in range(WRITERS):
        assert engine.inspect(f"writer-{i}")["State"]["Pid"] == pids[i] and os.path.exists(f"/proc/{pids[i]}")
        seen = numbers(load.logs(f"writer-{i}"))
        assert len(seen) > 10 and seen == list(range(1, len(seen) + 1)), f"writer-{i}: a line is lost or doubled"
    # Nothing but the writers is left.
    filters = quote(json.dumps({"name": [f"writer-{i}" for i in range(WRITERS)]}))
    assert len(engine.api("GET", f"/containers/json?filters={filters}").json) == WRITERS
    assert engine.containers() == {f"writer-{i}" for i in range(WRITERS)}, "containers stayed"
    wait_until("only the shims of the writers are left", lambda: len(engine.shims()) == WRITERS)
    assert engine.images() == {"busybox:latest"} and not engine.api("GET", "/volumes").json["Volumes"]
    wait_until("descriptors are those that it began with", lambda: engine.descriptors() <= descriptors + 2)
    engine.remove_containers()
    wait_until("nothing of a container is left", lambda: not engine.leftovers_of_containers(), seconds=20)
    p = engine.cli("system", "check", check=False)
    assert p.returncode == 0, p.stdout
