# SPDX-License-Identifier: Apache-2.0
"""The BuildKit door against clients that are no buildx: sessions whose directories are hostile, streams out of order, sessions that are missing or go away."""
import contextlib
import os
import queue
import socket
import threading
import time
import uuid
from concurrent import futures

import grpc
import pytest

from buildkit_peer import DEVICE, DIR, END, ERR, FIN, REQ, SYMLINK, Peer, answer, data, directories, entry, field, fields, logs, upgraded
from harness import wait_until


@pytest.fixture
def peer(engine, tmp_path):
    p = Peer(engine, tmp_path)
    yield p
    p.close()


def test_a_directory_as_it_should_be(peer):
    def context(requests):
        yield entry("a", DIR | 0o755)
        yield entry("a/exec", 0o755, size=70000)
        yield entry("f", size=3)
        yield entry("hard", size=3, link="f")
        yield entry("link", SYMLINK | 0o777, link="../../etc/passwd")
        yield END
        yield from answer(requests, {1: b"x" * 70000, 2: b"abc"})

    session, _ = peer.session(directories(context))
    ref = uuid.uuid4().hex
    reader = futures.ThreadPoolExecutor(1).submit(logs, peer, ref)
    peer.solve(session, ref)
    assert reader.result(30) == "/ctx\n/ctx/a\n/ctx/a/exec\n/ctx/f\n/ctx/hard\n/ctx/link\nabc"


HOSTILE = {
    "above": [entry("../escaped", size=1)],
    "above in the middle": [entry("a", DIR | 0o755), entry("a/../../escaped", size=1)],
    "absolute": [entry("/escaped", size=1)],
    "nothing": [entry("", size=1)],
    "itself": [entry(".", DIR | 0o755)],
    "its parent": [entry("..", DIR | 0o755), entry("../escaped", size=1)],
    "two slashes": [entry("a", DIR | 0o755), entry("a//b", size=1)],
    "a slash at the end": [entry("a/", DIR | 0o755)],
    "a name that is too long": [entry("n" * 256, size=1)],
    "a path that is too long": [entry("/".join(["d"] * 3000), size=1)],
    "without its directory": [entry("a/b", size=1)],
    "out of order": [entry("b", size=1), entry("a", size=1)],
    "twice": [entry("a", DIR | 0o755), entry("a", DIR | 0o755)],
    "a file, then a directory": [entry("a", size=1), entry("a", DIR | 0o755), entry("a/b", size=1)],
    "below a link": [entry("l", SYMLINK | 0o777, link="/"), entry("l/escaped", size=1)],
    "below a file": [entry("a", size=1), entry("a/b", size=1)],
    "back into a directory": [entry("a", DIR | 0o755), entry("b", DIR | 0o755), entry("a/c", size=1)],
    "a hard link out": [entry("h", link="../../../../../../../../etc/passwd")],
    "a hard link to the root's": [entry("h", link="/etc/passwd")],
    "a hard link through a link": [entry("a", SYMLINK | 0o777, link="/etc"), entry("h", link="a/passwd")],
    "a hard link to a link": [entry("a", SYMLINK | 0o777, link="/etc/passwd"), entry("h", link="a")],
    "a hard link to a directory": [entry("a", DIR | 0o755), entry("h", link="a")],
    "a device": [entry("d", DEVICE | 0o666)],
    "of no kind": [entry("d", 1 << 19 | 0o666)],
    "a size below zero": [entry("f", size=-1)],
    "data that nobody asked for": [data(0, b"x")],
    "data of another file": [entry("f", size=1), data(7, b"x")],
    "the end, then more": [END, entry("f", size=1)],
    "an end of the conversation": [field(1, FIN)],
    "a request": [field(1, REQ) + field(3, 1)],
    "a packet of no type": [field(1, 9)],
    "no packet": [b"\xff\xff\xff\xff"],
    "its own error": [field(1, ERR) + field(4, "the disk is gone")],
    "silence": [],
    "too deep": [entry("/".join(["d"] * n), DIR | 0o755) for n in range(1, 1100)],
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_directory_is_refused(peer, what):
    def context(requests):
        yield from HOSTILE[what]
        # What is refused is not waited for.
        if HOSTILE[what]:
            for _ in requests:
                pass

    session, _ = peer.session(directories(context))
    with pytest.raises(grpc.RpcError) as failed:
        peer.solve(session)
    assert failed.value.code() in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL), failed.value
    assert "context" in failed.value.details() or "protobuf" in failed.value.details() or "message" in failed.value.details(), failed.value.details()
    assert not [p for p in peer.engine.root.rglob("escaped")]
    assert peer.engine.api("GET", "/_ping").status == 200


def test_a_file_that_grows_is_cut_and_one_that_shrinks_is_taken(peer):
    def context(requests):
        yield entry("f", size=4)
        yield entry("g", size=4)
        yield END
        yield from answer(requests, {0: b"abcdefgh", 1: b"x"})

    session, _ = peer.session(directories(context, b"FROM busybox\nCOPY . /ctx\nRUN wc -c /ctx/f /ctx/g\n"))
    ref = uuid.uuid4().hex
    reader = futures.ThreadPoolExecutor(1).submit(logs, peer, ref)
    peer.solve(session, ref)
    assert [line.split()[0] for line in reader.result(30).splitlines()] == ["4", "1", "5"]


def test_files_are_asked_for_a_few_at_a_time(peer):
    """A client may wait with reading what it is asked until it has sent what it was asked before."""
    n, waiting = 200, []

    def context(requests):
        asked = queue.Queue()
        threading.Thread(target=lambda: [asked.put(dict(fields(r))) for r in requests], daemon=True).start()
        for i in range(n):
            yield entry(f"{i:04}", size=2)
        yield END
        batch = [asked.get(timeout=10)]
        with contextlib.suppress(queue.Empty):
            while True:
                batch.append(asked.get(timeout=0.5))
        waiting.append(len(batch))
        for found in batch:
            yield data(found.get(3, 0), b"ab")
            yield data(found.get(3, 0))
        while (found := asked.get(timeout=10)).get(1, 0) == REQ:
            yield data(found.get(3, 0), b"ab")
            yield data(found.get(3, 0))
        yield field(1, FIN)

    session, _ = peer.session(directories(context, b"FROM busybox\nCOPY . /ctx\nRUN test $(cat /ctx/* | wc -c) = 400\n"))
    peer.solve(session)
    assert waiting == [64]


def test_a_kept_directory_is_compared(peer):
    sent = []

    def context_of(listing, contents):
        def context(requests):
            yield from listing
            yield END
            for packet in answer(requests, contents):
                if dict(fields(packet)).get(4):
                    sent.append(dict(fields(packet)).get(3, 0))
                yield packet
        return context

    key = uuid.uuid4().hex
    first = [entry("d", DIR | 0o755), entry("d/f", size=1), entry("f", size=1), entry("g", size=1)]
    session, _ = peer.session(directories(context_of(first, {1: b"1", 2: b"2", 3: b"3"})), key)
    peer.solve(session)
    assert sorted(sent) == [1, 2, 3]
    sent.clear()
    # d is a file now, f is the same, g has another time.
    second = [entry("d", size=1), entry("f", size=1), entry("g", size=1, mtime=1_800_000_000_000_000_000)]
    session, _ = peer.session(directories(context_of(second, {0: b"4", 1: b"5", 2: b"6"})), key)
    ref = uuid.uuid4().hex
    reader = futures.ThreadPoolExecutor(1).submit(logs, peer, ref)
    peer.solve(session, ref)
    assert sorted(sent) == [0, 2] and reader.result(30).endswith("/ctx/g\n2"), sent


def test_a_session_that_is_not_there(peer):
    began = time.monotonic()
    with pytest.raises(grpc.RpcError) as failed:
        peer.solve("nowhere")
    assert "no active session for nowhere" in failed.value.details() and 4 < time.monotonic() - began < 15


def test_a_session_that_comes_late_is_waited_for(peer):
    with futures.ThreadPoolExecutor(1) as pool:
        done = {}

        def context(requests):
            yield entry("f", size=0)
            yield END
            yield from answer(requests, {0: b""})

        # The id is the test's only once the session is there, so the wait is for the build.
        session = uuid.uuid4().hex
        build = pool.submit(peer.solve, session)
        time.sleep(0.5)
        before = uuid.uuid4
        try:
            uuid.uuid4 = lambda: uuid.UUID(session)
            done["session"] = peer.session(directories(context))
        finally:
            uuid.uuid4 = before
        build.result(30)


def test_a_session_that_goes_ends_its_build(peer):
    asked = threading.Event()

    def context(requests):
        asked.set()
        for _ in requests:
            pass
        yield END

    session, far = peer.session(directories(context))
    with futures.ThreadPoolExecutor(1) as pool:
        build = pool.submit(peer.solve, session)
        assert asked.wait(10)
        far.shutdown(socket.SHUT_RDWR)
        with pytest.raises(grpc.RpcError):
            build.result(10)


def test_a_session_that_goes_ends_the_step(peer, name):
    def context(requests):
        yield END
        yield from answer(requests, {})

    session, far = peer.session(directories(context, f"FROM busybox\nRUN : {name}; sleep 83\n".encode()))
    with futures.ThreadPoolExecutor(1) as pool:
        build = pool.submit(peer.solve, session)
        wait_until("the step runs", lambda: peer.engine.api("GET", "/containers/json").json)
        far.shutdown(socket.SHUT_RDWR)
        with pytest.raises(grpc.RpcError) as failed:
            build.result(15)
    assert failed.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED), failed.value
    wait_until("its container is gone", lambda: peer.engine.api("GET", "/containers/json?all=1").json == [])


def test_calls_without_their_build(peer):
    wrong = {"/moby.buildkit.v1.frontend.LLBBridge/Ping": b"", "/moby.buildkit.v1.frontend.LLBBridge/Solve": field(2, "dockerfile.v0"),
             "/moby.buildkit.v1.frontend.LLBBridge/Return": b"", "/moby.buildkit.v1.frontend.LLBBridge/Evaluate": field(1, "x"),
             "/moby.buildkit.v1.frontend.LLBBridge/ReadFile": field(1, "x") + field(2, "/etc/passwd")}
    for method, request in wrong.items():
        with pytest.raises(grpc.RpcError) as failed:
            peer.call(method, request)
        assert failed.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND), failed.value
    with pytest.raises(grpc.RpcError) as failed:
        peer.call("/moby.buildkit.v1.frontend.LLBBridge/Ping", b"", metadata=(("buildkit-controlapi-buildid", "nobody"),))
    assert "no such job" in failed.value.details()
    with pytest.raises(grpc.RpcError) as failed:
        peer.call("/moby.buildkit.v1.Control/Nothing", b"")
    assert failed.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_what_is_no_upgrade(engine):
    for path in ("/grpc", "/session"):
        r = engine.api("POST", path)
        assert r.status == 400 and "upgrade" in r.json["message"], r.json
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(engine.socket))
        s.sendall(b"POST /session HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        assert b"Session-Uuid" in s.recv(4096)
    far, _ = upgraded(engine, "/grpc")
    with far:
        far.sendall(os.urandom(1000))
        wait_until("garbage ends the connection", lambda: far.recv(65536) == b"")
    assert engine.api("GET", "/_ping").status == 200


def test_usage_by_age(peer):
    """What was used within the limit is not listed; buildx before 0.30 filters by nothing of the kind."""
    session, _ = peer.session(directories(lambda requests: iter([END]), b"FROM busybox\nRUN echo a step of this test\n"))
    peer.solve(session)

    def described(request):
        return [dict(fields(record)).get(9, b"").decode() for _, record in fields(peer.call("/moby.buildkit.v1.Control/DiskUsage", request))]

    assert any("a step of this test" in d for d in described(b""))
    assert described(field(2, 24 * 3600 * 10**9)) == []
