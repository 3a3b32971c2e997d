# SPDX-License-Identifier: Apache-2.0
"""Messages of BuildKit clients that mean ill: malformed or with parts missing (CVE-2024-23650: BuildKit's daemon ended by them), containers and front ends that are none of a build (CVE-2024-23653), rights that nobody gave."""
import uuid
from concurrent import futures

import grpc
import pytest

from buildkit_peer import Peer, answer, directories, entry, field, END
from harness import wait_until

CONTROL, BRIDGE = "/moby.buildkit.v1.Control/", "/moby.buildkit.v1.frontend.LLBBridge/"
CONTROL_METHODS = ("Solve", "Status", "Session", "Info", "ListWorkers", "DiskUsage", "Prune")
BRIDGE_METHODS = ("Ping", "Solve", "Return", "Evaluate", "StatFile", "ReadFile", "ReadDir", "Inputs", "Warn")


@pytest.fixture
def peer(engine, tmp_path):
    p = Peer(engine, tmp_path)
    yield p
    p.close()


def malformed(start):
    """What a parser may take for something, behind what is well formed."""
    parts = range(2, 30)
    yield b""
    yield start
    yield b"\xff" * 40
    yield start + b"\x0a"
    yield start + b"\x0a\xff\xff\xff\xff\x0f"
    yield start + b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
    yield start + bytes(3)
    yield start + field(1, b"\x00\xff\xfe" * 100)
    for n in parts:
        yield start + field(n, b"")
        yield start + field(n, 1 << 63)
        yield start + field(n, field(1, field(1, field(1, b"x"))) + field(2, b"") + field(3, 7))
        yield start + field(n, b"\x0a\x05")
    yield start + b"".join(field(n, b"") for n in parts)
    yield start + field(7, b"") * 20000


def ask(peer, method, message, metadata=(), timeout=10):
    """The status that it ends with, whatever that is."""
    try:
        list(peer.channel.unary_stream(method)(message, timeout=timeout, metadata=metadata))
    except grpc.RpcError as e:
        assert e.code() != grpc.StatusCode.UNAVAILABLE, f"{method} {message[:60]!r}: the engine has hung up: {e.details()}"
        return e.code()
    return grpc.StatusCode.OK


def expect_alive(peer, pid):
    assert peer.engine.p.poll() is None and peer.engine.p.pid == pid, peer.engine.log_text()
    assert peer.engine.api("GET", "/_ping").status == 200


@pytest.mark.parametrize("method", CONTROL_METHODS)
def test_cve_2024_23650_messages_that_are_none(peer, method):
    pid = peer.engine.p.pid
    # No session of this id ever comes: what is well formed but for that waits, and is given up by its client.
    start = field(1, uuid.uuid4().hex) + field(6, "no-such-frontend") if method == "Solve" else b""
    with futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda m: ask(peer, CONTROL + method, m, timeout=0.5), malformed(start)))
    expect_alive(peer, pid)


def test_cve_2024_23650_messages_of_a_build_that_are_none(peer):
    """The calls that belong to a build, within one."""
    pid, ref = peer.engine.p.pid, uuid.uuid4().hex

    def context(requests):
        yield entry("f", size=0)
        yield END
        yield from answer(requests, {0: b""})

    session, _ = peer.session(directories(context, b"FROM busybox\nCOPY . /ctx\n"))
    metadata = (("buildkit-controlapi-buildid", ref),)
    pool = futures.ThreadPoolExecutor(1)
    build = pool.submit(ask, peer, CONTROL + "Solve", field(1, ref) + field(5, session), (), 60)
    wait_until("the build is there", lambda: ask(peer, BRIDGE + "Ping", b"", metadata) == grpc.StatusCode.OK)
    # Return is what ends it.
    for method in [m for m in BRIDGE_METHODS if m != "Return"]:
        for message in malformed(field(2, "dockerfile.v0") if method == "Solve" else b""):
            ask(peer, BRIDGE + method, message, metadata, timeout=5)
        expect_alive(peer, pid)
    assert not build.done(), "the build ended by a call that was none of its own"
    ask(peer, BRIDGE + "Return", b"\x0a\x02\x0a\x05", metadata)
    ask(peer, BRIDGE + "Return", field(1, b"") + field(2, b""), metadata)
    assert build.result(30) is not None
    pool.shutdown()
    expect_alive(peer, pid)


@pytest.mark.parametrize("method", ["NewContainer", "ReleaseContainer", "ExecProcess", "ResolveImageConfig", "ResolveSourceMeta"])
def test_cve_2024_23653_containers_that_are_no_steps(peer, method):
    """BuildKit started them with any right that was asked for: here there are none."""
    assert ask(peer, BRIDGE + method, field(1, "x") + field(2, field(1, "/")) + field(6, 1)) == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("line, words", [("RUN --security=insecure true", "security.insecure"), ("RUN --network=host true", "network.host")])
def test_cve_2024_23653_rights_that_nobody_gave(peer, line, words):
    def context(requests):
        yield END
        yield from answer(requests, {})

    session, _ = peer.session(directories(context, f"FROM busybox\n{line}\n".encode()))
    with pytest.raises(grpc.RpcError) as failed:
        peer.solve(session)
    assert f"granting entitlement {words} is not allowed" in failed.value.details()
    assert peer.engine.api("GET", "/containers/json?all=1").json == []


@pytest.mark.parametrize("frontend, options", [("gateway.v0", {"source": "registry.invalid/evil/frontend"}), ("gateway.v0", {}), ("dockerfile.v0", {"build-arg:BUILDKIT_SYNTAX": "registry.invalid/evil/frontend"}), ("evil.v9", {})])
def test_front_ends_are_not_run(peer, frontend, options):
    def context(requests):
        yield END
        yield from answer(requests, {})

    session, _ = peer.session(directories(context, b"FROM busybox\nRUN true\n"))
    with pytest.raises(grpc.RpcError) as failed:
        peer.solve(session, frontend=frontend, **options)
    assert "offered" in failed.value.details() or "no source was named" in failed.value.details(), failed.value.details()
    assert peer.engine.api("GET", "/containers/json?all=1").json == []
