# SPDX-License-Identifier: Apache-2.0
"""Clients of the API that mean ill or are broken: too many, too slow, too big, or ambiguous. The engine refuses what is wrong in the right words, answers
others at once, and stays small. That a ping is answered at once is told by the fastest of several: a busy machine delays some, a stuck engine all."""
import contextlib
import json
import os
import pathlib
import re
import resource
import socket
import time
import urllib.parse

import pytest

from harness import add_file, free_port, make_tar, wait_until

HOST = b"Host: docker\r\n"
MB = 1 << 20


@pytest.fixture(scope="module")
def target():
    """An engine for the whole module: no test may leave it worse than it was."""
    from harness import Engine

    engine = Engine("-H", f"tcp://127.0.0.1:{free_port()}").start()
    try:
        engine.load_busybox()
        yield engine
        assert engine.p.poll() is None, "irekod has ended"
    finally:
        engine.destroy()


@pytest.fixture(autouse=True)
def well_afterwards(target):
    yield
    wait_until("connections and their threads end", lambda: threads(target) < 30)
    assert best_ping(target) < 0.05


def pss(engine):
    return int(re.search(r"^Pss:\s+(\d+)", open(f"/proc/{engine.p.pid}/smaps_rollup").read(), re.M).group(1)) * 1024


def threads(engine):
    return len(os.listdir(f"/proc/{engine.p.pid}/task"))


def best_ping(engine):
    """On a busy machine it may take a while to see one that is quick."""
    best, tries, end = 99, 0, time.monotonic() + 5
    while best >= 0.05 and (tries < 8 or time.monotonic() < end):
        tries += 1
        begun = time.monotonic()
        assert engine.api("GET", "/_ping").status == 200
        best = min(best, time.monotonic() - begun)
    return best


def dial(engine, timeout=10):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # With a time-out it would not wait for room in the queue (connect(2), EAGAIN).
    s.connect(str(engine.socket))
    s.settimeout(timeout)
    return s


def hear(s, limit=4 * MB):
    """All until the end of the stream."""
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while len(got) < limit:
            piece = s.recv(65536)
            if not piece:
                break
            got += piece
    return got


def ask(engine, raw, answers=1):
    """What comes back for these bytes, until the server closes or, after so many answers, is silent for a moment."""
    with dial(engine, timeout=20) as s:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            s.sendall(raw)
        got = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while piece := s.recv(65536):
                got += piece
                if len(statuses(got)) >= answers:
                    s.settimeout(0.4)
        return got


def statuses(got):
    return [int(n) for n in re.findall(rb"HTTP/1\.1 (\d+) ", got)]


@contextlib.contextmanager
def many(engine, count, greeting=b""):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    made = []
    try:
        for _ in range(count):
            s = dial(engine)
            made.append(s)
            if greeting:
                s.send(greeting)
        yield made
    finally:
        for s in made:
            s.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# ---- many and slow
def unpackers(engine):
    """Children of the engine: they are of one thread or another, and both come and go."""
    return [p for p in pathlib.Path("/proc").glob("[0-9]*") if is_unpacker(p, engine.p.pid)]


def is_unpacker(process, parent):
    with contextlib.suppress(OSError):
        comm, rest = (process / "stat").read_text().rsplit(")", 1)
        return comm.endswith("(ireko-unpack") and int(rest.split()[1]) == parent
    return False


def test_silent_archives_start_no_end_of_programs(new_engine):
    """A load that sends nothing has a program of its own that waits for it: 128 of them at most, and the next one has a turn when one goes."""
    engine = new_engine()
    with many(engine, 200, b"POST /images/load HTTP/1.1\r\n" + HOST + b"Content-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n") as clients:
        wait_until("all places are taken", lambda: len(unpackers(engine)) == 128)
        assert best_ping(engine) < 0.05
        time.sleep(0.5)
        assert len(unpackers(engine)) == 128
        for c in clients[:150]:
            c.close()
        tar = make_tar(lambda t: add_file(t, "a-file", b"x"))
        assert engine.api("POST", "/images/create?fromSrc=-&repo=silent", tar, headers={"Content-Type": "application/x-tar"}).status == 200
    wait_until("they end with their clients", lambda: not unpackers(engine))


def test_ten_thousand_idle_connections(target):
    before = pss(target)
    with many(target, 10000):
        assert best_ping(target) < 0.05
        assert threads(target) < 30
        grown = pss(target) - before
        assert grown < 12 * MB, f"{grown} bytes"


def test_slow_heads(target):
    before = pss(target)
    with many(target, 3000, b"GET /_ping HTTP/1.1\r\nHos"):
        assert best_ping(target) < 0.05
        assert threads(target) < 30
        assert pss(target) - before < 12 * MB


def test_slow_heads_of_the_greatest_size(target):
    """Unfinished requests have a budget together; the oldest of them is told that it took too long."""
    before = pss(target)
    with many(target, 300, b"GET /_ping HTTP/1.1\r\nX: " + b"x" * 60000) as clients:
        assert best_ping(target) < 0.05
        assert pss(target) - before < 24 * MB
        assert b"408" in clients[0].recv(100)


def test_slow_short_bodies(target):
    with many(target, 1000, b"POST /containers/create HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: 2000\r\n\r\n{"):
        assert best_ping(target) < 0.05
        assert threads(target) < 30


def test_slow_chunked_bodies(target):
    with many(target, 200, b"POST /containers/create HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"):
        assert best_ping(target) < 0.05
    wait_until("their threads end with them", lambda: threads(target) < 30)


@pytest.mark.parametrize("raw", [b"GET /events HTTP/1.1\r\n" + HOST + b"\r\n", b"GET  /_ping HTTP/1.1\r\n\r\n",
                                 b"POST /containers/create HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"],
                         ids=["followers", "malformed", "slow bodies"])
def test_more_clients_that_hang_on_than_threads(target, raw):
    """Whoever takes as long as he likes, however many he is, has not the last thread: others are answered, and who is one too many is told."""
    with many(target, 2200, raw) as clients:
        if b"events" in raw:
            # All those before have what they get by then.
            assert statuses(clients[-1].recv(1000)) == [503]
        assert best_ping(target) < 0.05
        assert target.api("GET", "/containers/json").status == 200


def test_followers_that_never_read(target):
    before = pss(target)
    with many(target, 50, b"GET /events HTTP/1.1\r\n" + HOST + b"\r\n"):
        for i in range(200):
            assert target.api("POST", "/volumes/create", {"Name": f"v{i % 7}", "Labels": {"long": "x" * 20000}}, timeout=10).status == 201
            assert target.api("DELETE", f"/volumes/v{i % 7}", timeout=10).status == 204
        assert best_ping(target) < 0.05
        assert pss(target) - before < 24 * MB


def test_log_reader_that_never_reads(target, name):
    target.cli("run", "-d", "--name", name, "busybox", "sh", "-c", "yes 0123456789012345678901234567890123456789 | head -n 400000; sleep 1000")
    before = pss(target)
    with many(target, 20, f"GET /containers/{name}/logs?follow=1&stdout=1 HTTP/1.1\r\n".encode() + HOST + b"\r\n"):
        assert best_ping(target) < 0.05
        assert pss(target) - before < 24 * MB
        target.cli("rm", "-f", name)
    wait_until("readers of what is gone end", lambda: threads(target) < 30)


def test_half_closed(target):
    """Who has said all is answered, and who has gone is not waited for."""
    with dial(target) as s:
        s.sendall(b"GET /_ping HTTP/1.1\r\n" + HOST + b"\r\n")
        s.shutdown(socket.SHUT_WR)
        assert statuses(hear(s)) == [200]
    with dial(target) as s:
        s.sendall(b"POST /containers/create HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{")
        s.shutdown(socket.SHUT_WR)
        assert statuses(hear(s)) in ([], [400])


def test_gone_before_the_answer(target):
    for _ in range(200):
        with dial(target) as s:
            s.sendall(b"GET /info HTTP/1.1\r\n" + HOST + b"\r\n")


# ---- big
def test_a_body_of_a_gigabyte(target):
    before = pss(target)
    head = b"POST /containers/create HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
    assert statuses(ask(target, head + b"Content-Length: 1073741824\r\n\r\n{")) == [413]
    with dial(target) as s:
        s.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        block = b"100000\r\n" + b" " * MB + b"\r\n"
        with contextlib.suppress(OSError):
            for _ in range(1024):
                s.sendall(block)
            pytest.fail("a gigabyte was taken")
        assert statuses(hear(s)) == [413]
    assert pss(target) - before < 24 * MB


@pytest.mark.parametrize("body, words", [
    (b'{"Image":' + b"[" * 20000 + b"]" * 20000 + b"}", "depth"),
    (b'{"a":' * 20000, "depth"),
    (b"[" * 200000, "more values"),
    (b'{"Image": "a", "Image": "b"}', "duplicate"),
    (b'{"Image": "\xff\xfe"}', "decode byte"),
    (b'{"Image": "\\ud800"}', "Unicode|surrogate"),
    (b'{"Image": "a\\u0000b"}', "NUL|0000"),
    (b'{"Image": 1e400}', "real number|overflow"),
    (b'{"Image": 99999999999999999999999}', "big|integer"),
    (b'{"Image": "busybox"} trailing', "end of file"),
    (b'{"HostConfig": {"Memory": 1.5}, "Image": "busybox"}', "Memory"),
], ids=["deep arrays", "deep objects", "deep and long", "twice", "no UTF-8", "half a surrogate", "NUL", "1e400", "large integer", "trailing", "fraction"])
def test_documents(target, body, words):
    reply = target.api("POST", "/containers/create", body, {"Content-Type": "application/json"})
    assert reply.status == 400 and re.search(words, reply.message), (reply.status, reply.body[:300])


def peak_of(engine, request):
    """How much larger the engine was at most while it answered, and its answer."""
    pathlib.Path(f"/proc/{engine.p.pid}/clear_refs").write_text("5")
    status = pathlib.Path(f"/proc/{engine.p.pid}/status")
    before = int(re.search(r"VmHWM:\s+(\d+)", status.read_text()).group(1)) * 1024
    reply = request()
    return int(re.search(r"VmHWM:\s+(\d+)", status.read_text()).group(1)) * 1024 - before, reply


@pytest.mark.parametrize("unit", [b"{}", b"[]", b"1", b'""', b'{"a":1}'])
def test_documents_that_are_small_as_text_only(target, unit):
    """Four megabytes of {} are 320 as objects."""
    body = b'{"Image":[' + b",".join([unit] * ((4 * MB - 20) // (len(unit) + 1))) + b"]}"
    grown, reply = peak_of(target, lambda: target.api("POST", "/containers/create", body, {"Content-Type": "application/json"}))
    assert reply.status == 400 and "more values, arrays and objects than are taken" in reply.message
    assert grown < 12 * MB, f"{grown} bytes"


def test_members_in_every_spelling(target):
    """Of each spelling to know whether it is the first one costs nothing that grows with their number."""
    word = "networkdisabled"
    spellings = ["".join(c.upper() if n >> i & 1 else c for i, c in enumerate(word)) for n in range(1 << 14)]
    spellings.remove("NetworkDisabled")  # which alone would count
    body = json.dumps({f"j{i}": None for i in range(60000)} | dict.fromkeys(spellings, False) | {"Image": "no-such-image"}).encode()
    before = cpu_seconds(target)
    assert target.api("POST", "/containers/create", body, {"Content-Type": "application/json"}).status == 404
    assert cpu_seconds(target) - before < 2


def cpu_seconds(engine):
    ticks = pathlib.Path(f"/proc/{engine.p.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def test_heads_that_are_too_big(target):
    assert statuses(ask(target, b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n" + HOST + b"\r\n")) == [431]
    assert statuses(ask(target, b"GET /_ping HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 200 + b"\r\n")) == [431]
    assert statuses(ask(target, b"GET /_ping?" + b"a=b&" * 300 + b" HTTP/1.1\r\n" + HOST + b"\r\n")) == [400]
    assert statuses(ask(target, b"GET /" + b"containers/" * 3000 + b"json HTTP/1.1\r\n" + HOST + b"\r\n")) == [404]


def test_filters_of_absurd_size(target):
    deep = json.dumps({"label": {f"k{i}": True for i in range(1500)}})
    reply = target.api("GET", "/containers/json?filters=" + deep.replace('"', "%22").replace(" ", "").replace("{", "%7B").replace("}", "%7D"))
    assert reply.status == 400 and "more than 1000 values" in reply.message


@pytest.mark.parametrize("pattern", ["(" * 16 + "a" + ")+" * 16, "a" + "+" * 16, "(a{1,255}){1,255}", "[\\](a{1,255}){1,255}", "(a*)*\\1b"],
                         ids=["nested", "in a row", "braces", "braces behind a set", "back reference"])
@pytest.mark.parametrize("what", ["containers", "networks", "volumes"])
def test_patterns_that_explode(target, name, what, pattern):
    """Each + around a + doubles what the C library makes of it; 16 of them are 60 MB, 40 are no engine any more."""
    target.cli("create", "--name", name, "-v", f"{name}:/v", "busybox", "true")
    path = {"containers": "/containers/json?all=1&", "networks": "/networks?", "volumes": "/volumes?"}[what]
    grown, reply = peak_of(target, lambda: target.api("GET", f"{path}filters={urllib.parse.quote(json.dumps({'name': [pattern]}))}"))
    target.cli("rm", "-v", name)
    target.api("DELETE", f"/volumes/{name}")
    assert reply.status == 400 and "pattern" in reply.message, reply.body
    assert grown < 8 * MB


# ---- ambiguous
def test_pipelining(target):
    got = b""
    with dial(target) as s:
        s.sendall((b"GET /_ping HTTP/1.1\r\n" + HOST + b"\r\n") * 1000)
        s.shutdown(socket.SHUT_WR)
        got = hear(s)
    assert statuses(got) == [200] * 1000


INNER = b"GET /version HTTP/1.1\r\n" + HOST + b"\r\n"


AMBIGUOUS = {
    "length and chunked": b"GET /_ping HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
    "two lengths": b"GET /_ping HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\nContent-Length: 40\r\n\r\n" + INNER,
    "list of lengths": b"GET /_ping HTTP/1.1\r\n" + HOST + b"Content-Length: 0, 40\r\n\r\n" + INNER,
    "signed length": b"GET /_ping HTTP/1.1\r\n" + HOST + b"Content-Length: +0\r\n\r\n" + INNER,
    "hexadecimal length": b"GET /_ping HTTP/1.1\r\n" + HOST + b"Content-Length: 0x0\r\n\r\n" + INNER,
    "blank behind a name": b"GET /_ping HTTP/1.1\r\n" + HOST + b"Content-Length : 0\r\n\r\n" + INNER,
    "blank before a name": b"GET /_ping HTTP/1.1\r\n" + HOST + b" Content-Length: 0\r\n\r\n" + INNER,
    "another coding": b"GET /_ping HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + INNER,
    "two codings": b"GET /_ping HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + INNER,
    "coding twice": b"GET /_ping HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
    "chunked in 1.0": b"GET /_ping HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
    "vertical tab": b"GET /_ping HTTP/1.1\r\n" + HOST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + INNER,
    "folded line": b"GET /_ping HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n" + INNER,
    "bare LF behind the request line": b"GET /_ping HTTP/1.1\n" + HOST + b"\r\n" + INNER,
    "bare LF": b"GET /_ping HTTP/1.1\r\n" + HOST + b"X: a\nContent-Length: 40\r\n\r\n" + INNER,
    "bare CR": b"GET /_ping HTTP/1.1\r\n" + HOST + b"X: a\rContent-Length: 40\r\n\r\n" + INNER,
    "NUL": b"GET /_ping HTTP/1.1\r\n" + HOST + b"X: \x00\r\n\r\n" + INNER,
    "two hosts": b"GET /_ping HTTP/1.1\r\n" + HOST + b"Host: other\r\n\r\n" + INNER,
    "no host": b"GET /_ping HTTP/1.1\r\n\r\n" + INNER,
    "two blanks": b"GET  /_ping HTTP/1.1\r\n" + HOST + b"\r\n" + INNER,
    "blank at the end": b"GET /_ping HTTP/1.1 \r\n" + HOST + b"\r\n" + INNER,
    "another version": b"GET /_ping HTTP/2.0\r\n" + HOST + b"\r\n" + INNER,
    "absolute target": b"GET http://x/_ping HTTP/1.1\r\n" + HOST + b"\r\n" + INNER,
    "tab": b"GET /_ping\tHTTP/1.1\r\n" + HOST + b"\r\n" + INNER,
    "NUL in the method": b"G\x00T /_ping HTTP/1.1\r\n" + HOST + b"\r\n" + INNER,
}


@pytest.mark.parametrize("raw", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_two_parsers_could_disagree(target, raw):
    """One answer that refuses, and the connection ends: what follows is not taken for a request."""
    got = ask(target, raw)
    assert len(statuses(got)) == 1 and 400 <= statuses(got)[0] < 600, got[:400]


@pytest.mark.parametrize("body", [
    b"5\r\nabcdeX\r\n0\r\n\r\n", b"5\nabcde\r\n0\r\n\r\n", b"05 \r\nabcde\r\n0\r\n\r\n", b"-5\r\nabcde\r\n0\r\n\r\n", b"0x5\r\nabcde\r\n0\r\n\r\n",
    b"FFFFFFFFFFFFFFFFF\r\nabcde\r\n0\r\n\r\n", b"5;" + b"x" * 300 + b"\r\nabcde\r\n0\r\n\r\n", b"5\r\nabcde\r\n0\r\n" + b"T: x\r\n" * 50 + b"\r\n", b"\r\nabcde\r\n0\r\n\r\n",
    b"5\r\nabcde0\r\n\r\n\r\n"],
    ids=["no end", "bare LF", "blank", "negative", "hexadecimal", "larger than any number", "long extension", "long trailer", "no size", "no end but a size"])
def test_malformed_chunks(target, body):
    got = ask(target, b"POST /containers/create HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + body + INNER)
    assert statuses(got)[0] == 400 and len(statuses(got)) == 1, got[:400]


@pytest.mark.parametrize("body", [b"Content-Length: %d\r\n\r\n" % len(INNER) + INNER, b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(INNER) + INNER + b"\r\n0\r\n\r\n"], ids=["length", "chunks"])
def test_what_nobody_read_is_no_request(target, body):
    """The body of a request that is refused before it is read is not taken for the next one."""
    ping = b"GET /_ping HTTP/1.1\r\n" + HOST + b"\r\n"
    assert statuses(ask(target, b"POST /no/such/page HTTP/1.1\r\n" + HOST + body + ping, answers=2)) == [404, 200]
    assert statuses(ask(target, b"POST /no/such/page HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\n" + body + ping)) == [404]


def test_upgrades_that_nobody_offers(target):
    for protocol in (b"tcp", b"websocket", b"h2c", b"x" * 1000):
        got = ask(target, b"GET /_ping HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: " + protocol + b"\r\n\r\n" + INNER, answers=2)
        assert statuses(got) == [200, 200], got[:400]
    got = ask(target, b"POST /containers/nobody/attach?stream=1 HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n" + INNER, answers=2)
    assert statuses(got) == [404, 200]
    # Of those that are offered: without the headers that name a session, and in a dialect that is none.
    assert statuses(ask(target, b"POST /session HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n")) == [400]
    assert statuses(ask(target, b"GET /session HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n")) == [404]


def test_expectations(target):
    head = b"POST /containers/create HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: 2\r\n"
    assert statuses(ask(target, head + b"Expect: 200-ok\r\n\r\n{}")) == [417]
    assert statuses(ask(target, head + b"Expect: 100-continue\r\n\r\n{}", answers=2)) == [100, 400]


# ---- browsers
def on_tcp(engine, headers, method=b"GET", path=b"/_ping", body=b"", stay=False):
    port = int(next(str(o).rpartition(":")[2] for o in engine.options if str(o).startswith("tcp://")))
    with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
        s.sendall(method + b" " + path + b" HTTP/1.1\r\n" + headers + (b"" if stay else b"Connection: close\r\n") + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        return statuses(s.recv(1000) if stay else hear(s))[0]


@pytest.mark.parametrize("headers, status", [
    (b"Host: localhost:2375\r\n", 200), (b"Host: 127.0.0.1\r\n", 200), (b"Host: [::1]:80\r\n", 200), (b"Host: evil.example\r\n", 403), (b"Host: 127.0.0.1.evil.example\r\n", 403),
    (b"Host: localhost.evil.example\r\n", 403), (b"Host: evil.example:2375\r\n", 403), (b"Host: \r\n", 403), (b"Host: localhost:80@evil\r\n", 403),
    (b"Host: localhost\r\nOrigin: http://localhost\r\n", 403), (b"Host: localhost\r\nOrigin: null\r\n", 403), (b"Host: localhost\r\nSec-Fetch-Site: cross-site\r\n", 403),
    (b"Host: localhost\r\nSec-Fetch-Site: same-origin\r\n", 403), (b"Host: localhost\r\nSec-Fetch-Site: none\r\n", 200)])
def test_web_pages_and_rebinding(target, headers, status):
    assert on_tcp(target, headers) == status


@pytest.mark.parametrize("origin, status", [(b"http://evil.example", 403), (b"http://localhost:1", 403), (b"null", 403), (b"http://localhost", 101)])
def test_web_sockets_of_other_sites(target, name, origin, status):
    """A page may open a WebSocket to wherever it likes, and say no more than where it comes from itself."""
    target.cli("run", "-d", "--name", name, "busybox", "sleep", "1000")
    handshake = b"Upgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    assert on_tcp(target, b"Host: localhost\r\nOrigin: " + origin + b"\r\nConnection: Upgrade\r\n" + handshake, path=b"/containers/" + name.encode() + b"/attach/ws?stream=1&stdout=1", stay=True) == status
    target.cli("rm", "-f", name)


def test_no_site_is_given_leave(target):
    """No answer, not even to a preflight, says that pages of another origin may read it."""
    for raw in (b"OPTIONS /containers/json HTTP/1.1\r\n" + HOST + b"Origin: http://evil.example\r\nAccess-Control-Request-Method: POST\r\n\r\n",
                b"OPTIONS /containers/json HTTP/1.1\r\n" + HOST + b"\r\n", b"GET /_ping HTTP/1.1\r\n" + HOST + b"\r\n"):
        got = ask(target, raw)
        assert got.startswith(b"HTTP/1.1 403" if b"Origin" in raw else b"HTTP/1.1 200") and b"access-control" not in got.lower(), got


@pytest.mark.parametrize("kind", [b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x", b"application/jsonx", b""])
def test_forms_are_no_requests(target, kind):
    body = b'{"Image": "busybox"}'
    headers = b"Host: localhost\r\n" + (b"Content-Type: " + kind + b"\r\n" if kind else b"")
    assert on_tcp(target, headers, b"POST", b"/containers/create", body) == 400
    assert on_tcp(target, b"Host: localhost\r\nContent-Type: application/json; charset=utf-8\r\n", b"POST", b"/containers/create", b'{"Image": "no-such-image"}') == 404


def test_asking_changes_nothing(target, name):
    """No GET has an effect: an image tag in a page could send one."""
    target.cli("create", "--name", name, "busybox", "true")
    for path in (f"/containers/{name}/start", f"/containers/{name}/kill", f"/containers/{name}", "/containers/prune", "/images/prune", "/containers/create", "/build"):
        assert target.api("GET", path).status == 404
    assert target.inspect(name)["State"]["Status"] == "created"


# ---- names
@pytest.mark.parametrize("path", ["/containers/%00/json", "/containers/a%00b/json", "/containers/%/json", "/containers/%zz/json", "/containers/%0/json", "/containers/json?a=%00", "/containers/json?%z=1"])
def test_escapes_that_are_none(target, path):
    assert statuses(ask(target, b"GET " + path.encode() + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")) == [400]


@pytest.mark.parametrize("path", ["/containers/../info", "/containers/%2e%2e/json", "/containers/..%2f..%2finfo/json", "/containers/a%0ab/json", "/containers/%ff%fe/json", "/volumes/../../etc", "/volumes/..%2f..%2fetc", "/networks/%2e%2e%2fx", "/images/../../x/json", "/exec/../json",
                                  "//containers/json", "/containers//json", "/v1.51/../version", "/v1.51//version", "/./version"])
def test_paths_with_dots(target, path):
    got = ask(target, b"GET " + path.encode() + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    assert statuses(got)[0] in (400, 404), got[:300]


def test_names_with_dots(target):
    for name in ("..", "../x", "a/../../b", ".hidden", "a\nb", "a\x1b[31mb", "é", "a" * 300, " ", "a b"):
        q = "".join(f"%{b:02x}" for b in name.encode())
        reply = target.api("POST", f"/containers/create?name={q}", {"Image": "busybox"})
        assert reply.status == 400, (name, reply.status, reply.body)
        assert target.api("POST", "/volumes/create", {"Name": name}).status == 400, name
        assert b"\x1b" not in reply.body
    assert sorted(os.listdir(target.data_root / "volumes")) == []


# ---- containers
def test_containers_do_not_reach_the_api(target, name):
    # Others may answer there, as clouds do at the last of these addresses: ours says its version.
    port = next(str(o).rpartition(":")[2] for o in target.options if str(o).startswith("tcp://"))
    script = f"""g=$(ip route | sed -n 's/^default via \\([0-9.]*\\).*/\\1/p'); test -n "$g" || exit 9
for a in $g 127.0.0.1 169.254.169.254; do printf 'GET /_ping HTTP/1.0\\r\\n\\r\\n' | nc -w 1 $a {port} | grep -qi ^api-version && exit 8; done
ls -d /run/ireko /run/docker.sock /var/run/docker.sock {target.socket} 2>/dev/null && exit 7; exit 0"""
    assert b"\napi-version" in ask(target, b"GET /_ping HTTP/1.0\r\n\r\n").lower()
    p = target.cli("run", "--rm", "busybox", "sh", "-c", script, check=False)
    assert p.returncode == 0, (p.returncode, p.stdout, p.stderr)
    assert "ireko" not in "".join(line for line in open("/proc/net/unix") if "@" in line), "an abstract socket is reached from any network namespace of the host"
    p = target.cli("run", "--rm", "-v", f"{target.socket}:/api", "busybox", "ls", "-l", "/api")
    assert p.stdout.startswith("s"), "who mounts it has it"


def test_containers_do_not_reach_the_hosts_loopback(new_engine):
    """CVE-2020-8558: a container that may change its routes sends what is for 127.0.0.1 by its bridge, where the host takes it for its own. In a network namespace
    of the test's: rules of other engines on the machine would hold it too."""
    port = free_port()
    engine = new_engine("-H", f"tcp://127.0.0.1:{port}", prefix=("unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"))
    script = f"""g=$(ip route | sed -n 's/^default via \\([0-9.]*\\).*/\\1/p'); test -n "$g" || exit 9
ip addr del 127.0.0.1/8 dev lo && ip route add 127.0.0.0/8 via $g || exit 8
echo GET /_ping | nc -w 1 127.0.0.1 {port} && exit 7; exit 0"""
    p = engine.cli("run", "--rm", "--cap-add", "NET_ADMIN", "--sysctl", "net.ipv4.conf.all.route_localnet=1", "busybox", "sh", "-c", script, check=False)
    assert p.returncode == 0, (p.returncode, p.stdout, p.stderr)


def test_nobody_else_may_open_the_socket(target):
    mode = target.socket.stat().st_mode
    assert mode & 0o777 == 0o660 and target.socket.stat().st_uid == 0
    assert (target.exec_root.stat().st_mode | target.data_root.stat().st_mode) & 0o026 == 0
