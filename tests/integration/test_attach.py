# SPDX-License-Identifier: Apache-2.0
"""Attaching and exec as the API has them: hijacked streams with and without upgrade, WebSocket, many clients, sizes, conflicts."""
import base64
import contextlib
import hashlib
import os
import pathlib
import re
import socket
import struct
import threading
import time

import pytest

from harness import wait_until
from test_logs import create, demultiplex, finish, logs, memory_kb, text
from test_logs_servers import shim_of


class Hijacked:
    """A connection that becomes a stream: request, status line and headers, then bytes."""

    def __init__(self, engine, method, path, headers=(), body=b""):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(20)
        self.s.connect(str(engine.socket))
        lines = [f"{method} {path} HTTP/1.1", "Host: docker", f"Content-Length: {len(body)}", "Content-Type: application/json", *headers, "", ""]
        self.s.sendall("\r\n".join(lines).encode() + body)
        head = b""
        while b"\r\n\r\n" not in head:
            piece = self.s.recv(1)
            assert piece, head
            head += piece
        status, *rest = head.decode().split("\r\n")
        self.status = int(status.split()[1])
        self.headers = dict(line.lower().split(": ", 1) for line in rest if line)

    def read(self, n):
        data = b""
        while len(data) < n and (piece := self.s.recv(n - len(data))):
            data += piece
        return data

    def rest(self):
        return b"".join(iter(lambda: self.s.recv(65536), b""))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.s.close()


UPGRADE = ("Connection: Upgrade", "Upgrade: tcp")


def attach(engine, name, query="stream=1&stdin=1&stdout=1&stderr=1", version="", headers=UPGRADE):
    return Hijacked(engine, "POST", f"{version}/containers/{name}/attach?{query}", headers)


@pytest.mark.parametrize("upgrade", [True, False])
@pytest.mark.parametrize("version, kind", [("/v1.41", "raw-stream"), ("/v1.42", "multiplexed-stream"), ("", "multiplexed-stream")])
def test_attach_before_the_start(engine, name, upgrade, version, kind):
    create(engine, name, "read line; echo got $line; echo err >&2", OpenStdin=True, StdinOnce=True, start=False)
    with attach(engine, name, version=version, headers=UPGRADE if upgrade else ()) as a:
        assert a.status == (101 if upgrade else 200) and a.headers["content-type"] == f"application/vnd.docker.{kind}"
        assert ("upgrade" in a.headers) == upgrade
        assert engine.api("POST", f"/containers/{name}/start").status == 204
        a.s.sendall("名前\n".encode())
        got = demultiplex(a.rest())
    assert sorted(got) == [(1, "got 名前\n".encode()), (2, b"err\n")]


def test_half_close_is_the_end_of_input(engine, name):
    create(engine, name, "cat; echo end", OpenStdin=True, StdinOnce=True)
    with attach(engine, name) as a:
        a.s.sendall(b"x\n")
        a.s.shutdown(socket.SHUT_WR)
        assert text(demultiplex(a.rest())) == "x\nend\n"


def test_without_stdin_once_input_stays_open(engine, name):
    create(engine, name, "cat; echo end", OpenStdin=True)
    for word in (b"one\n", b"two\n"):
        with attach(engine, name) as a:
            a.s.sendall(word)
            assert demultiplex(a.read(8 + len(word))) == [(1, word)]
            a.s.shutdown(socket.SHUT_WR)
    assert engine.inspect(name)["State"]["Running"]


def test_logs_then_stream(engine, name):
    create(engine, name, "echo before; read x; echo after", OpenStdin=True)
    wait_until("it has printed", lambda: logs(engine, name) == [(1, b"before\n")])
    with attach(engine, name, "logs=1&stream=0&stdout=1") as a:
        assert demultiplex(a.rest()) == [(1, b"before\n")]
    with attach(engine, name, "logs=1&stream=1&stdout=1&stdin=1") as a:
        assert demultiplex(a.read(15)) == [(1, b"before\n")]
        a.s.sendall(b"\n")
        assert demultiplex(a.rest()) == [(1, b"after\n")]


def test_streams_are_chosen(engine, name):
    create(engine, name, "echo out; echo err >&2", start=False)
    with attach(engine, name, "stream=1&stderr=1") as a:
        engine.api("POST", f"/containers/{name}/start")
        assert demultiplex(a.rest()) == [(2, b"err\n")]


def test_many_clients_and_one_that_goes(engine, name):
    create(engine, name, "for i in 1 2 3; do echo $i; read x; done", OpenStdin=True, start=False)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(attach(engine, name, "stream=1&stdout=1&stdin=1")) for _ in range(30)]
        engine.api("POST", f"/containers/{name}/start")
        for c in clients:
            assert demultiplex(c.read(10)) == [(1, b"1\n")]
        for c in clients[10:]:
            c.s.close()
        clients[0].s.sendall(b"\n\n\n")
        for c in clients[:10]:
            assert text(demultiplex(c.rest())) == "2\n3\n"


@pytest.mark.parametrize("keys, sent", [("", b"\x10\x11"), ("ctrl-a,b", b"\x01b")])
def test_detach_keys_end_the_stream_and_not_the_container(engine, name, keys, sent):
    create(engine, name, "cat", OpenStdin=True, Tty=True)
    with attach(engine, name, "stream=1&stdin=1&stdout=1" + (f"&detachKeys={keys}" if keys else "")) as a:
        assert a.headers["content-type"] == "application/vnd.docker.raw-stream"
        a.s.sendall(b"x\r")
        assert a.read(6) == b"x\r\nx\r\n"
        a.s.sendall(sent)
        assert a.rest() == b""
    assert engine.inspect(name)["State"]["Running"]


def test_attach_conflicts(engine, name):
    create(engine, name, "sleep 1000")
    engine.api("POST", f"/containers/{name}/pause")
    for method, path, body in (("POST", f"/containers/{name}/attach?stream=1", None), ("GET", f"/containers/{name}/attach/ws?stream=1", None)):
        reply = engine.api(method, path, body)
        assert reply.status == 409 and reply.message == f"container {name} is paused, unpause the container before attach"
    assert engine.api("POST", "/containers/nobody/attach?stream=1").status == 404
    engine.api("POST", f"/containers/{name}/unpause")


# ---- WebSocket
class WebSocket:
    def __init__(self, engine, name, query="stream=1&stdin=1&stdout=1&stderr=1", version=""):
        key = base64.b64encode(os.urandom(16)).decode()
        self.h = Hijacked(engine, "GET", f"{version}/containers/{name}/attach/ws?{query}",
                          ("Connection: keep-alive, Upgrade", "Upgrade: websocket", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "Origin: http://docker"))
        assert self.h.status == 101, self.h.headers
        want = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        assert self.h.headers["sec-websocket-accept"] == want.lower()

    def send(self, data, opcode=2, fin=True):
        mask = os.urandom(4)
        size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack(">H", len(data)) if len(data) < 65536 else b"\xff" + struct.pack(">Q", len(data))
        masked = bytes(b ^ mask[i % 4] for i, b in enumerate(data))
        self.h.s.sendall(bytes([(0x80 if fin else 0) | opcode]) + size + mask + masked)

    def receive(self):
        """(opcode, payload), or None at the end."""
        head = self.h.read(2)
        if not head:
            return None
        size = head[1]
        if size == 126:
            size = struct.unpack(">H", self.h.read(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", self.h.read(8))[0]
        return head[0] & 15, self.h.read(size)

    def until_close(self):
        data = b""
        while frame := self.receive():
            if frame[0] == 8:
                return data, frame[1]
            data += frame[1]
        return data, None


def test_websocket_carries_raw_bytes(engine, name):
    create(engine, name, "echo begin; cat; echo err >&2", OpenStdin=True, StdinOnce=True, start=False)
    w = WebSocket(engine, name)
    engine.api("POST", f"/containers/{name}/start")
    assert w.receive() == (2, b"begin\n")
    w.send("名前".encode(), fin=False)
    w.send(b"probe", opcode=9)
    w.send(b"\n", opcode=0)
    got = []
    while (10, b"probe") not in got or b"".join(t for o, t in got if o == 2) != "名前\n".encode():
        got.append(w.receive())
    w.send(b"\x03\xe8", opcode=8)
    data, code = w.until_close()
    assert code == b"\x03\xe8"
    w.h.s.close()
    assert finish(engine, name) == 0
    assert text(logs(engine, name)) == "begin\n名前\nerr\n"


def test_websocket_ends_with_the_container(engine, name):
    create(engine, name, "echo out; echo err >&2", start=False)
    w = WebSocket(engine, name, "stream=1&stdout=1&stderr=1", version="/v1.27")
    engine.api("POST", f"/containers/{name}/start")
    data, code = w.until_close()
    assert sorted(data.split()) == [b"err", b"out"] and code == b"\x03\xe8"
    w.send(b"\x03\xe8", opcode=8)
    assert w.receive() is None
    w.h.s.close()
    w = WebSocket(engine, name, "logs=1&stdout=1", version="/v1.27")
    assert w.receive() == (1, b"out\n")
    w.h.s.close()


def test_websocket_floods_and_nonsense(engine, name):
    create(engine, name, "yes | head -c 3000000; cat | wc -c", OpenStdin=True, StdinOnce=True, start=False)
    w = WebSocket(engine, name)
    engine.api("POST", f"/containers/{name}/start")
    sender = threading.Thread(target=lambda: (w.send(b"x" * 300000), w.send(b"", opcode=1), w.h.s.shutdown(socket.SHUT_WR)))
    sender.start()
    data = b""
    with contextlib.suppress(OSError):
        while frame := w.receive():
            data += frame[1] if frame[0] == 2 else b""
    sender.join()
    w.h.s.close()
    assert len(data) > 0 and finish(engine, name) == 0
    assert text(logs(engine, name, "stdout=1&tail=1")) == "300000\n"
    create(engine, name + "n", "sleep 1000")
    w = WebSocket(engine, name + "n")
    w.h.s.sendall(b"\x82\x01x")  # not masked
    assert w.until_close()[1] == b"\x03\xea"
    w.h.s.close()
    reply = engine.api("GET", f"/containers/{name}n/attach/ws?stream=1")
    assert reply.status == 400 and "not a WebSocket handshake" in reply.message


# ---- who does not keep up
def test_a_client_that_never_reads_holds_the_container_back(engine, name):
    """As with Docker; what waits for it in the shim is bounded."""
    create(engine, name, "yes | head -c 60000000; sleep 1000", "json-file", {"max-size": "1m", "max-file": "2"}, start=False)
    with attach(engine, name, "stream=1&stdout=1"):
        engine.api("POST", f"/containers/{name}/start")
        shim = shim_of(engine, name)
        size = written(engine, name)
        while (now := written(engine, name)) != size or not now:
            time.sleep(0.3)
            size = now
            assert memory_kb(shim) < 6000
        assert size < 3_000_000 and memory_kb(shim) < 6000
    wait_until("it goes on without the client", lambda: written(engine, name) > size)


def written(engine, name):
    """Bytes that the container's first process and its children have written."""
    pid = engine.inspect(name)["State"]["Pid"]
    total = 0
    for p in [pid, *map(int, pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]:
        with contextlib.suppress(OSError):  # it has ended
            total += int(re.search(r"wchar: (\d+)", pathlib.Path(f"/proc/{p}/io").read_text()).group(1))
    return total


def test_a_container_that_never_reads_holds_the_client_back(engine, name):
    create(engine, name, "sleep 1000", OpenStdin=True, start=False)
    with attach(engine, name, "stream=1&stdin=1") as h:
        engine.api("POST", f"/containers/{name}/start")
        shim, sent = shim_of(engine, name), 0
        h.s.settimeout(1)
        with contextlib.suppress(TimeoutError):
            while sent < 64_000_000:
                sent += h.s.send(b"x" * 65536)
        assert sent < 3_000_000 and memory_kb(shim) < 6000, (sent, memory_kb(shim))


# ---- exec
def exec_create(engine, name, **fields):
    reply = engine.api("POST", f"/containers/{name}/exec", {"AttachStdout": True, "AttachStderr": True, **fields})
    assert reply.status == 201, reply.body
    return reply.json["Id"]


def exec_start(engine, exec_id, body=b"{}", version=""):
    return Hijacked(engine, "POST", f"{version}/exec/{exec_id}/start", UPGRADE, body)


def exec_inspect(engine, exec_id):
    return engine.api("GET", f"/exec/{exec_id}/json").json


def test_exec_fields(engine, name):
    create(engine, name, "sleep 1000", Env=["A=1", "B=1"])
    x = exec_create(engine, name, Cmd=["sh", "-c", "echo $A $B; pwd; id -u; cat; echo e >&2; exit 3"], Env=["B=2"], WorkingDir="/tmp", User="7:8", AttachStdin=True)
    with exec_start(engine, x) as s:
        assert s.status == 101 and s.headers["content-type"] == "application/vnd.docker.multiplexed-stream"
        wait_until("it runs", lambda: exec_inspect(engine, x)["Running"])
        assert engine.inspect(name)["ExecIDs"] == [x]
        s.s.sendall(b"in\n")
        s.s.shutdown(socket.SHUT_WR)
        got = demultiplex(s.rest())
    assert b"".join(t for n, t in got if n == 1) == b"1 2\n/tmp\n7\nin\n" and b"".join(t for n, t in got if n == 2) == b"e\n"
    i = exec_inspect(engine, x)
    assert (i["ExitCode"], i["Running"], i["ProcessConfig"]["user"], i["OpenStdin"], i["CanRemove"]) == (3, False, "7:8", True, True)
    wait_until("it is off the list", lambda: engine.inspect(name)["ExecIDs"] is None)
    reply = engine.api("POST", f"/exec/{x}/start", {})
    assert reply.status == 409 and reply.message == f"Error: Exec command {x} has already run"


def test_detached_exec(engine, name):
    create(engine, name, "sleep 1000")
    x = exec_create(engine, name, Cmd=["sh", "-c", "echo lost; exit 5"])
    reply = engine.api("POST", f"/exec/{x}/start", {"Detach": True})
    assert reply.status == 200 and reply.body == b""
    wait_until("it has ended", lambda: not exec_inspect(engine, x)["Running"])
    assert exec_inspect(engine, x)["ExitCode"] == 5


def test_exec_conflicts(engine, name):
    create(engine, name, "sleep 1000")
    x, full_id = exec_create(engine, name, Cmd=["true"]), engine.inspect(name)["Id"]
    engine.api("POST", f"/containers/{name}/pause")
    reply = engine.api("POST", f"/containers/{name}/exec", {"Cmd": ["true"]})
    assert reply.status == 409 and reply.message == f"Container {name} is paused, unpause the container before exec"
    reply = engine.api("POST", f"/exec/{x}/start", {})
    assert reply.status == 409 and "is paused, unpause the container before exec" in reply.message
    engine.api("POST", f"/containers/{name}/unpause")
    engine.api("POST", f"/containers/{name}/kill")
    finish(engine, name)
    for method, path in (("POST", f"/containers/{name}/exec"), ("POST", f"/exec/{x}/start")):
        reply = engine.api(method, path, {"Cmd": ["true"]})
        assert reply.status == 409 and reply.message == f"container {full_id} is not running"
    reply = engine.api("POST", f"/containers/{name}/exec", {"Cmd": []})
    assert reply.status in (400, 409)
    assert engine.api("POST", "/exec/nothing/start", {}).message == "No such exec instance: nothing"
    reply = engine.api("POST", f"/containers/{name}/exec", {"Cmd": ["true"], "ConsoleSize": [70000, 1]})
    assert reply.status == 400 and "ConsoleSize" in reply.message


# ---- sizes
def test_sizes_of_terminals(engine, name):
    create(engine, name, "while true; do stty size; read x; done", Tty=True, OpenStdin=True, start=False)
    reply = engine.api("POST", f"/containers/{name}/resize?h=30&w=90")
    assert reply.status == 409 and reply.message.endswith("is not running")
    engine.api("POST", f"/containers/{name}/start")
    assert engine.api("POST", f"/containers/{name}/resize?h=30&w=90").status == 200
    with attach(engine, name) as a:
        a.s.sendall(b"\r")
        wait_until("it has the size", lambda: b"30 90" in a.s.recv(1000))
    assert engine.api("POST", f"/containers/{name}/resize?h=x&w=90").status == 400
    since = time.time()
    assert engine.api("POST", f"/containers/{name}/resize?h=31&w=91").status == 200
    events = engine.api("GET", f"/events?since={since - 1:.3f}&until={time.time() + 0.1:.3f}").lines
    assert any(e["Action"] == "resize" and e["Actor"]["Attributes"]["height"] == "31" for e in events)


def test_size_of_an_exec_asked_for_before_its_start(engine, name):
    create(engine, name, "sleep 1000")
    x = exec_create(engine, name, Cmd=["sh", "-c", "for i in $(seq 200); do [ \"$(stty size)\" = '33 77' ] && break; sleep 0.05; done; stty size"], Tty=True, ConsoleSize=[20, 70])
    statuses = []
    early = threading.Thread(target=lambda: statuses.append(engine.api("POST", f"/exec/{x}/resize?h=33&w=77").status))
    early.start()
    time.sleep(0.2)
    assert not statuses
    with exec_start(engine, x) as s:
        assert s.headers["content-type"] == "application/vnd.docker.raw-stream" and b"33 77" in s.rest()
    early.join()
    assert statuses == [200]
    reply = engine.api("POST", f"/exec/{x}/resize?h=33&w=77")
    assert reply.status == 409
    y = exec_create(engine, name, Cmd=["stty", "size"], Tty=True, ConsoleSize=[20, 70])
    with exec_start(engine, y, b'{"Tty":true,"ConsoleSize":[21,71]}') as s:
        assert s.rest() == b"21 71\r\n"
