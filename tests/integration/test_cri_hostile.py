# SPDX-License-Identifier: Apache-2.0
"""Clients of the kubelet's door that mean ill, or are broken: what is no HTTP/2, bombs of headers, floods of streams, resets, settings and pings, messages that are malformed,
too large or too many, and configurations without end. Whatever comes, the engine lives, does not grow beyond a bound, and answers the next client."""
import contextlib
import os
import socket
import time

import grpc
import pytest

import cri
import http2_peer as h2
from cri import Client
from harness import wait_until
from kubelet import SEEDED, refused

GROWTH = 160 << 10  # kB: what all connections may keep, twice over
VERSION = "/runtime.v1.RuntimeService/Version"
METHODS = sorted(name.removesuffix("Request") for name in cri.SCHEMA.messages if name.endswith("Request") and name != "GetEventsRequest") + ["GetContainerEvents"]


def resident(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


@pytest.fixture
def unharmed(kubelet):
    """After the test the engine is the same process, answers at once, has no more descriptors and threads than before, and has not grown."""
    pid = kubelet.engine.p.pid
    kubelet.Version()
    count = lambda what: len(os.listdir(f"/proc/{pid}/{what}"))
    before, memory = {"fd": count("fd"), "task": count("task")}, resident(pid)
    yield kubelet
    assert kubelet.engine.p.poll() is None and kubelet.engine.p.pid == pid, kubelet.log_text()
    with Client(kubelet.socket) as other:
        assert other.Version(rpc_timeout=10).runtime_name == "ireko"
    wait_until(lambda: f"it is as before: {before}, now fd {count('fd')} task {count('task')}", lambda: count("fd") <= before["fd"] + 4 and count("task") <= before["task"] + 4, seconds=20)
    assert resident(pid) - memory < GROWTH, f"{memory} kB, then {resident(pid)} kB"


# ---- connections

@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100, b"\x16\x03\x01\x02\x00\x01", h2.PREFACE[:10], h2.PREFACE + b"\xff" * 64, h2.PREFACE + h2.frame(99, 255, 1, b"x"), os.urandom(1 << 16),
                                  h2.PREFACE + h2.frame(h2.SETTINGS, 0, 0, b"x" * 5), h2.PREFACE + h2.frame(h2.SETTINGS) + h2.frame(h2.DATA, 0, 1, b"x"), h2.PREFACE + h2.frame(h2.SETTINGS) + b"\xff\xff\xff\0\0\0\0\0\1" + b"x" * 70000,
                                  h2.PREFACE + h2.frame(h2.SETTINGS) + h2.frame(h2.WINDOW_UPDATE, 0, 0, bytes(4)), h2.PREFACE + h2.frame(h2.SETTINGS) + h2.frame(h2.PUSH_PROMISE, 4, 1, bytes(8))], ids=range(12))
def test_what_is_no_http2(unharmed, data):
    with h2.Connection(unharmed.socket, greet=False) as c:
        c.send(data)
        c.drain()


def test_connections_that_say_nothing(unharmed):
    """More than there may be; those that are turned away do not keep the others out."""
    with contextlib.ExitStack() as stack:
        mute = [stack.enter_context(h2.Connection(unharmed.socket, greet=False)) for _ in range(400)]
        gone = lambda: sum(c.drain(0.001)[1] for c in mute)
        wait_until("those that are too many are turned away", lambda: gone() >= 400 - 256)
        # Those who were there before go on.
        assert unharmed.Version(rpc_timeout=10).runtime_name == "ireko"
    wait_until("there is room again", lambda: h2_answers(unharmed))


def h2_answers(kubelet):
    with h2.Connection(kubelet.socket) as c:
        c.send(h2.frame(h2.HEADERS, h2.END_HEADERS, 1, h2.request(VERSION)) + h2.frame(h2.DATA, h2.END_STREAM, 1, h2.message(b"")))
        said, _ = c.drain(1)
        return b"ireko" in said


# ---- header blocks

def test_a_bomb_of_headers(unharmed):
    """One field in the table, and thousands of bytes that name it (CVE-2016-6581)."""
    with h2.Connection(unharmed.socket) as c:
        for stream in range(1, 400, 2):
            block = h2.request(VERSION) + h2.literal("x-bomb", "b" * 3900, keep=True) + h2.number(62, 7, 0x80) * 12000
            if not c.send(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream, block)):
                break
        c.drain()


def test_a_header_block_without_end(unharmed):
    """CVE-2024-27316 and its like."""
    with h2.Connection(unharmed.socket) as c:
        c.send(h2.frame(h2.HEADERS, 0, 1, h2.request(VERSION)))
        sent = 0
        while sent < 200 << 20 and c.send(h2.frame(h2.CONTINUATION, 0, 1, h2.literal("x", "y" * 16000))):
            sent += 16000
        assert sent < 200 << 20, "it takes whatever comes"


def test_empty_continuations(unharmed):
    with h2.Connection(unharmed.socket) as c:
        c.send(h2.frame(h2.HEADERS, 0, 1, h2.request(VERSION)))
        part = h2.frame(h2.CONTINUATION, 0, 1) * 10000
        assert not all(c.send(part) for _ in range(300)), "it takes whatever comes"


@pytest.mark.parametrize("block", [b"\x80", h2.number(1 << 40, 7, 0x80), b"\xff" * 40, b"\x40\x7f\xff\xff\xff\xff\x0f", h2.number(1 << 30, 5, 0x20),
                                   h2.literal("UPPER", "x"), h2.literal(":path", ""), h2.literal("a\nb", "c\r\nd"), b""], ids=range(9))
def test_header_blocks_that_are_none(unharmed, block):
    with h2.Connection(unharmed.socket) as c:
        c.send(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, block))
        c.drain()


@pytest.mark.parametrize("more", [[("grpc-timeout", "99999999999S")], [("grpc-timeout", "-1S")], [("grpc-timeout", "xS")], [("grpc-encoding", "gzip")], [("content-length", "99999999999999999999")],
                                  [("x-bin", "!!!")], [(":path", "/twice")], [("te", "gzip")]], ids=str)
def test_fields_that_are_odd(unharmed, more):
    with h2.Connection(unharmed.socket) as c:
        c.send(h2.frame(h2.HEADERS, h2.END_HEADERS, 1, h2.request(VERSION, *more)) + h2.frame(h2.DATA, h2.END_STREAM, 1, h2.message(b"")))
        c.drain()


# ---- floods

def test_rapid_resets(unharmed):
    """CVE-2023-44487: calls that are taken back as soon as they are made. The connection ends, or they cost next to nothing."""
    with h2.Connection(unharmed.socket) as c:
        block, stream = h2.request("/runtime.v1.RuntimeService/ListContainers"), 1
        for _ in range(200):
            burst = b""
            for _ in range(100):
                burst += h2.frame(h2.HEADERS, h2.END_HEADERS, stream, block) + h2.frame(h2.DATA, h2.END_STREAM, stream, h2.message(b"")) + h2.frame(h2.RST_STREAM, 0, stream, bytes([0, 0, 0, 8]))
                stream += 2
            if not c.send(burst):
                break
            assert len(os.listdir(f"/proc/{unharmed.engine.p.pid}/task")) < 1500
        unharmed.Version(rpc_timeout=10)
        c.drain()


def test_streams_without_end(unharmed):
    """Calls that are begun and never finished: no more than the limit are kept, and others are served meanwhile."""
    with h2.Connection(unharmed.socket) as c:
        block = h2.request(VERSION)
        for stream in range(1, 20001, 2):
            if not c.send(h2.frame(h2.HEADERS, h2.END_HEADERS, stream, block)):
                break
        unharmed.Version(rpc_timeout=10)
        assert len(os.listdir(f"/proc/{unharmed.engine.p.pid}/task")) < 1500
        c.drain()


@pytest.mark.parametrize("what", ["settings", "pings", "priorities", "empty data", "window updates"])
def test_floods_of_frames(unharmed, what):
    """CVE-2019-9512, -9515, -9518: nobody reads the answers."""
    piece = {"settings": h2.frame(h2.SETTINGS, 0, 0, bytes([0, 4, 0, 0, 255, 255])), "pings": h2.frame(h2.PING, 0, 0, bytes(8)), "priorities": h2.frame(h2.PRIORITY, 0, 3, bytes([0, 0, 0, 1, 16])),
             "empty data": h2.frame(h2.DATA, 0, 1), "window updates": h2.frame(h2.WINDOW_UPDATE, 0, 0, bytes([0, 0, 0, 1]))}[what]
    with h2.Connection(unharmed.socket, timeout=1) as c:
        c.send(h2.frame(h2.HEADERS, h2.END_HEADERS, 1, h2.request(VERSION)))
        end = time.monotonic() + 3
        while time.monotonic() < end and c.send(piece * 2000):
            pass
        unharmed.Version(rpc_timeout=10)


def test_answers_that_nobody_reads(unharmed):
    """CVE-2019-9511, -9517: no window, and large answers asked for by the hundred."""
    pod = unharmed.run_pod(annotations={f"a{i}": "x" * 4000 for i in range(50)})
    try:
        with h2.Connection(unharmed.socket) as c:
            c.send(h2.frame(h2.SETTINGS, 0, 0, bytes([0, 4, 0, 0, 0, 0])))
            block = h2.request("/runtime.v1.RuntimeService/ListPodSandbox")
            for stream in range(1, 1200, 2):
                c.send(h2.frame(h2.HEADERS, h2.END_HEADERS, stream, block) + h2.frame(h2.DATA, h2.END_STREAM, stream, h2.message(b"")))
            assert resident(unharmed.engine.p.pid) < 400 << 10
            unharmed.Version(rpc_timeout=10)
    finally:
        pod.remove()


# ---- messages

def ask(kubelet, method, data, timeout=10):
    """What it ends with."""
    try:
        answer = kubelet.client.call(method, data, timeout)
        if not isinstance(answer, bytes):
            for _ in answer:
                break
            answer.cancel()
    except grpc.RpcError as e:
        assert e.code() != grpc.StatusCode.UNAVAILABLE, f"{method}: it has hung up: {e.details()}"
        assert len(e.details()) < 10000
        return e.code().name
    return "OK"


def malformed():
    yield b"\xff" * 40
    yield b"\x0a"
    yield b"\x0a\xff\xff\xff\xff\x0f"
    yield b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
    yield bytes(3)
    yield cri._delimited(1, b"\x00\xff\xfe" * 100)
    for n in (*range(1, 20), 1000, (1 << 29) - 1):
        yield cri._delimited(n, b"")
        yield cri._delimited(n, b"\x0a\x05")
        yield cri._varint(n << 3) + cri._varint(1 << 63)
        yield cri._delimited(n, cri._delimited(1, cri._delimited(1, cri._delimited(1, b"x"))) + cri._delimited(2, b"") + cri._delimited(3, b"\x07"))
    yield b"".join(cri._delimited(n, b"") for n in range(1, 20)) * 500
    yield cri._delimited(1, b"a\0b")


@pytest.mark.parametrize("method", METHODS)
def test_messages_that_are_none(unharmed, method):
    for data in malformed():
        ask(unharmed, method, data, 0.05 if method == "GetContainerEvents" else 10)
    for pod in unharmed.pods():
        unharmed.RemovePodSandbox(pod_sandbox_id=pod)


def test_depth(unharmed):
    """A message in a message in a message."""
    data = b""
    for _ in range(20000):
        data = cri._delimited(1, data)
        if len(data) > 8 << 20:
            break
    for method in ("RunPodSandbox", "CreateContainer", "ListPodSandbox", "PullImage"):
        ask(unharmed, method, data)


def test_messages_that_are_too_large(unharmed):
    huge = cri.pack("PodSandboxStatusRequest", {"pod_sandbox_id": "x" * (17 << 20)})
    assert ask(unharmed, "PodSandboxStatus", huge, 60) == "RESOURCE_EXHAUSTED"
    assert ask(unharmed, "PodSandboxStatus", cri.pack("PodSandboxStatusRequest", {"pod_sandbox_id": "x" * (15 << 20)}), 60) in ("NOT_FOUND", "INVALID_ARGUMENT")
    with h2.Connection(unharmed.socket) as c:
        c.send(h2.frame(h2.HEADERS, h2.END_HEADERS, 1, h2.request(VERSION)) + h2.frame(h2.DATA, 0, 1, b"\0\xff\xff\xff\xff" + b"x" * 1000))
        c.drain()


def test_two_messages_and_half_a_message(unharmed):
    for data in (h2.message(b"") * 2, h2.message(b"x" * 100)[:50], b"\0", h2.message(b"x", compressed=1), h2.message(b"x", compressed=77), b""):
        with h2.Connection(unharmed.socket) as c:
            c.send(h2.frame(h2.HEADERS, h2.END_HEADERS, 1, h2.request(VERSION)) + h2.frame(h2.DATA, h2.END_STREAM, 1, data))
            c.drain(0.1)


# ---- configurations

@pytest.mark.parametrize("fields", [{"labels": {f"k{i}": "v" for i in range(100000)}}, {"annotations": {"k": "v" * (8 << 20)}}, {"labels": {"k" * (1 << 20): "v"}}, {"dns_config": {"servers": ["1.1.1.1"] * 50000}},
                                    {"port_mappings": [{"container_port": 1, "host_port": i % 60000 + 1} for i in range(60000)]}, {"linux_part": {"sysctls": {f"net.core.x{i}": "1" for i in range(50000)}}}], ids=lambda f: next(iter(f)))
def test_pods_without_end(unharmed, fields):
    """Refused, or kept and told again in full."""
    try:
        pod = unharmed.run_pod(deadline=60, **fields)
    except grpc.RpcError as e:
        assert e.code().name in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "UNKNOWN") and len(e.details()) < 10000
    else:
        status = pod.status()
        assert all(getattr(status, k) == v for k, v in pod.config.items() if k in ("labels", "annotations"))
        pod.remove()
    assert not unharmed.pods()


@pytest.mark.parametrize("fields", [{"labels": {f"k{i}": "v" for i in range(100000)}}, {"annotations": {"k": "v" * (8 << 20)}}, {"envs": [{"key": f"K{i}", "value": b"v"} for i in range(100000)]}, {"args": ["x" * (1 << 20)] * 8},
                                    {"args": ["x"] * 200000}, {"mounts": [{"host_path": "/etc", "container_path": f"/m{i}"} for i in range(20000)]},
                                    {"devices": [{"host_path": "/dev/null", "container_path": f"/dev/n{i}", "permissions": "r"} for i in range(20000)]},
                                    {"linux_part": {"security_context": {"supplemental_groups": list(range(200000))}}}, {"linux_part": {"security_context": {"masked_paths": [f"/p{i}" for i in range(50000)]}}}], ids=lambda f: next(iter(f)))
def test_containers_without_end(unharmed, fields):
    pod = unharmed.run_pod()
    with contextlib.suppress(grpc.RpcError):
        c = pod.container("true", start=False, **fields)
        with contextlib.suppress(grpc.RpcError):
            unharmed.StartContainer(container_id=c.id, rpc_timeout=60)
        c.status()
        c.remove()
    assert pod.run("echo", "well") == ["well"]
    pod.remove()


@pytest.mark.parametrize("path", ["../x", "a/../../x", "..", "a//../..//x"])
def test_log_paths_that_lead_out(unharmed, path):
    pod = unharmed.run_pod()
    with refused("INVALID_ARGUMENT"):
        pod.container("true", log_path=path)
    assert not unharmed.containers()
    pod.remove()


@pytest.mark.parametrize("path", [".", "x" * 5000, "x/" * 2500])
def test_log_paths_that_are_no_files(unharmed, path):
    pod = unharmed.run_pod()
    with refused("INVALID_ARGUMENT", "UNKNOWN"):
        pod.container("true", log_path=path)
    pod.remove()


def test_a_log_that_is_a_link(unharmed, folder):
    """The log directory is the kubelet's; all the same, no file of the host is written by way of it."""
    pod = unharmed.run_pod()
    victim = folder / "victim"
    victim.write_text("as it was\n")
    os.symlink(victim, os.path.join(pod.config["log_directory"], "link.log"))
    with contextlib.suppress(grpc.RpcError):
        pod.container("echo", "written by a container", log_path="link.log").wait()
    assert victim.read_text() == "as it was\n"
    pod.remove()


def test_a_container_that_floods_its_log(unharmed):
    """One line of 200 MB and then many; the shim and the engine do not grow, and others are served."""
    pod = unharmed.run_pod()
    c = pod.container("sh", "-c", "head -c 200000000 /dev/zero | tr '\\0' x; echo; yes | head -n 100000; echo end")
    assert pod.run("echo", "meanwhile") == ["meanwhile"]
    c.wait(100)
    (shim,) = unharmed.engine.shims()
    assert resident(shim) < 32 << 10
    with open(c.log_file, "rb") as f:
        f.seek(-200, os.SEEK_END)
        assert f.read().endswith(b" stdout F end\n")
    pod.remove()


def test_names_of_methods_without_end(unharmed):
    for path in ("/" + "x" * 100000, "/runtime.v1.RuntimeService/" + "V" * 60000):
        with pytest.raises(grpc.RpcError):
            unharmed.client.call("Version", b"", 10, path=path)


def test_who_is_nobody_gets_no_connection(kubelet):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(str(kubelet.socket))
        except PermissionError:
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_seeded_images_are_still_there(unharmed):
    assert unharmed.ImageStatus(image={"image": SEEDED}).image
