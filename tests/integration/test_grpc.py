# SPDX-License-Identifier: Apache-2.0
"""Our gRPC (src/wire/grpc) with somebody else's at the other end, gRPC's own C core behind python3-grpcio: our server, then our client."""
import concurrent.futures
import subprocess
import sys
import threading
import time

import grpc
import pytest

import harness

sys.path.insert(0, str(harness.ROOT / "tools"))
import floors as house  # noqa: E402

OPTIONS = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20), ("grpc.enable_http_proxy", 0), ("grpc.max_metadata_size", 1 << 20)]


def pattern(n):
    return (bytes((n + i * 7) % 251 for i in range(251)) * (n // 251 + 1))[:n]


@pytest.fixture(scope="module")
def peer(tmp_path_factory):
    """tests/grpc_peer.c, linked with the floor."""
    path = tmp_path_factory.mktemp("grpc") / "grpc_peer"
    floor = house.load()["grpc"]
    archives = [harness.BUILD / f"libireko-{f.name}.a" for f in house.closure(house.load(), floor)]
    libraries = {lib for f in house.closure(house.load(), floor) for lib in f.libraries}
    subprocess.run(["gcc", "-std=gnu17", "-O1", "-Wall", "-Werror", "-D_GNU_SOURCE", "-I", harness.BUILD / "view/grpc", harness.ROOT / "tests/grpc_peer.c", "-o", path,
                    "-Wl,--start-group", *archives, "-Wl,--end-group", *house.link_flags(libraries)], check=True)
    return path


# ---- our server ----

@pytest.fixture(scope="module")
def served(peer, tmp_path_factory):
    socket = tmp_path_factory.mktemp("grpc-server") / "s"
    server = subprocess.Popen([peer, "serve", socket], stdout=subprocess.PIPE, text=True)
    assert server.stdout.readline() == "ready\n"
    yield socket
    server.kill()
    server.wait()


@pytest.fixture
def channel(served):
    with grpc.insecure_channel(f"unix:{served}", options=OPTIONS) as channel:
        yield channel


def test_server_unary_and_unknown(channel):
    echo = channel.unary_unary("/t.T/Echo")
    assert [echo(m) for m in (b"", b"one", b"x" * 10000)] == [b"", b"one", b"x" * 10000]
    with pytest.raises(grpc.RpcError) as e:
        channel.unary_unary("/t.T/Nothing")(b"")
    assert e.value.code() == grpc.StatusCode.UNIMPLEMENTED and e.value.details() == "unknown method /t.T/Nothing"
    assert channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=10) == b"\x08\x01"


def test_server_streams(channel):
    sizes = [0, 1, 100, 8192, 8193, 70000, 3 << 20]
    assert [len(m) for m in channel.stream_stream("/t.T/Echo")(pattern(n) for n in sizes)] == sizes
    large = pattern(16 << 20)
    assert channel.unary_unary("/t.T/Echo")(large, timeout=60) == large


def test_server_message_too_large(channel):
    with pytest.raises(grpc.RpcError) as e:
        channel.unary_unary("/t.T/Echo")(bytes((16 << 20) + 1), timeout=60)
    assert e.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and "16777217 bytes" in e.value.details()
    assert channel.unary_unary("/t.T/Echo")(b"after", timeout=10) == b"after"


def test_server_compressed(channel):
    with pytest.raises(grpc.RpcError) as e:
        channel.unary_unary("/t.T/Echo")(b"x" * 10000, compression=grpc.Compression.Gzip, timeout=10)
    assert e.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_server_metadata(channel):
    sent = [("x-one", "1"), ("x-data-bin", bytes(range(256))), ("x-one", "2"), ("x-trailer", "last"), ("x-trailer-bin", b"\0\xff")]
    answer, call = channel.unary_unary("/t.T/Fields").with_call(b"m", metadata=sent)
    head, trailers = list(call.initial_metadata()), list(call.trailing_metadata())
    assert answer == b"m"
    assert [m for m in sent if "trailer" not in m[0]] == [tuple(m) for m in head if m[0].startswith("x-")]
    assert [("x-trailer", "last"), ("x-trailer-bin", b"\0\xff")] == [tuple(m) for m in trailers if m[0].startswith("x-")]
    # What a filter of a large context is: hundreds of kilobytes of one name.
    many = [("x-many", f"{i:05d} " + "p" * 200) for i in range(2000)]
    _, call = channel.unary_unary("/t.T/Sink").with_call(b"", metadata=many)
    assert call.code() == grpc.StatusCode.OK


@pytest.mark.parametrize("code", range(1, 17))
def test_server_status(channel, code):
    with pytest.raises(grpc.RpcError) as e:
        channel.unary_unary("/t.T/Fail")(b"", metadata=[("x-code", str(code))])
    assert e.value.code().value[0] == code and e.value.details() == "déjà vu: 100%\nagain"
    assert ("grpc-status-details-bin", b"\x08\x01") in [tuple(m) for m in e.value.trailing_metadata()]


def ended(channel):
    return int(channel.unary_unary("/t.T/Ended")(b""))


def until_ended(channel, n):
    limit = time.monotonic() + 20
    while ended(channel) < n:
        assert time.monotonic() < limit, "the method was not told that its call has ended"
        time.sleep(0.01)


def begun(channel, **options):
    """A call whose method runs until the call ends."""
    call = channel.unary_stream("/t.T/Wait")(b"", **options)
    assert next(call) == b"begun"
    return call


def test_server_cancel_and_deadline(channel, served):
    before = ended(channel)
    begun(channel).cancel()
    until_ended(channel, before + 1)
    call = begun(channel, timeout=2)
    with pytest.raises(grpc.RpcError) as e:
        next(call)
    assert e.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    until_ended(channel, before + 2)
    other = grpc.insecure_channel(f"unix:{served}", options=[*OPTIONS, ("grpc.use_local_subchannel_pool", 1)])
    call = begun(other)
    other.close()
    until_ended(channel, before + 3)


def test_server_many_calls_at_once(channel):
    source, sink = channel.unary_stream("/t.T/Source"), channel.stream_unary("/t.T/Sink")

    def one(i):
        if i % 2:
            return sum(len(m) for m in source(b"", metadata=[("x-count", "200"), ("x-size", "32768")]))
        return int(sink(iter([pattern(32768)] * 200)))

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert list(pool.map(one, range(32))) == [200 * 32768] * 32


def test_server_slow_reader_stops_nobody(channel):
    slow = channel.unary_stream("/t.T/Source")(b"", metadata=[("x-count", "2000"), ("x-size", "32768")])
    next(slow)
    for _ in range(50):
        assert channel.unary_unary("/t.T/Echo")(b"x" * 50000, timeout=20) == b"x" * 50000
    assert 1 + sum(1 for _ in slow) == 2000


# ---- our client ----

class Theirs(grpc.GenericRpcHandler):
    def __init__(self):
        self.cancelled = threading.Event()

    def service(self, details):
        name = details.method.rpartition("/")[2]
        method = getattr(self, name.lower(), None)
        return method and grpc.stream_stream_rpc_method_handler(method)

    def echo(self, messages, context):
        yield from messages

    def fields(self, messages, context):
        context.send_initial_metadata([tuple(m) for m in context.invocation_metadata() if m[0].startswith("x-")])
        context.set_trailing_metadata([("x-trailer", "last"), ("x-trailer-bin", b"\0\1\2")])
        yield from messages

    def fail(self, messages, context):
        yield pattern(5)
        context.abort(grpc.StatusCode.NOT_FOUND, "pas trouvé: 100%\n")

    def wait(self, messages, context):
        # Before anything is sent: a generator whose call has ended is not gone on with.
        if not context.add_callback(self.cancelled.set):
            self.cancelled.set()
        yield b""
        self.cancelled.wait(30)

    def pour(self, messages, context):
        for _ in range(300):
            yield pattern(32768)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    handler = Theirs()
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8), handlers=[handler], options=OPTIONS)
    socket = tmp_path_factory.mktemp("grpc-client") / "s"
    assert server.add_insecure_port(f"unix:{socket}")
    server.start()
    yield socket, handler
    server.stop(0).wait()


def call(peer, theirs, path, *fields, lines=()):
    p = subprocess.run([peer, "call", theirs[0], path, *fields], input="".join(f"{x}\n" for x in lines), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    assert p.returncode == 0, p.stderr
    return p.stdout.splitlines()


def test_client_streams(peer, theirs):
    sizes = [0, 1, 8192, 8193, 1 << 20, 10 << 20]
    said = call(peer, theirs, "/t.T/Echo", lines=[x for n in sizes for x in (n, "receive")] + ["end", "wait"])
    assert said[:len(sizes) + 1] == [f"message {n} good" for n in sizes] + ["end"] and said[-1] == "status 0 "
    said = call(peer, theirs, "/t.T/Pour", lines=["end", "wait"])
    assert said.count("message 32768 good") == 300 and said[-1] == "status 0 "


def test_client_metadata(peer, theirs):
    said = call(peer, theirs, "/t.T/Fields", "x-one=1", "x-one=two, three", "x-data-bin=AAE=", lines=[3, "end", "wait"])
    assert [x for x in said if x.startswith("field x-")] == ["field x-one=1", "field x-one=two, three", "field x-data-bin=AAE", "field x-trailer=last", "field x-trailer-bin=AAEC"]
    assert "message 3 good" in said and said[-1] == "status 0 "


def test_client_errors(peer, theirs):
    said = call(peer, theirs, "/t.T/Fail", lines=["end", "wait"])
    assert said[0] == "message 5 good" and said[1] == "broken" and "status 5 pas trouvé: 100%" in said
    assert call(peer, theirs, "/t.T/Nothing", lines=["end", "wait"])[-1].startswith("status 12 ")


def test_client_cancel_and_deadline(peer, theirs):
    theirs[1].cancelled.clear()
    assert call(peer, theirs, "/t.T/Wait", lines=["receive", "cancel"])[-1] == "status 1 the call was cancelled"
    assert theirs[1].cancelled.wait(20)
    theirs[1].cancelled.clear()
    assert call(peer, theirs, "/t.T/Wait", "grpc-timeout=2S", lines=["wait"])[-1].startswith("status 4 ")
    assert theirs[1].cancelled.wait(20)


def test_client_server_goes(peer, tmp_path):
    socket = tmp_path / "s"
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2), handlers=[Theirs()], options=OPTIONS)
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    client = subprocess.Popen([peer, "call", socket, "/t.T/Echo"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    client.stdin.write("5\nreceive\n")
    client.stdin.flush()
    assert client.stdout.readline() == "message 5 good\n"
    server.stop(0).wait()
    out, _ = client.communicate("wait\n", timeout=30)
    assert out.splitlines()[-1].split()[:2] in (["status", "14"], ["status", "1"]), out
