# SPDX-License-Identifier: Apache-2.0
"""Logs that go to a server: syslog in its formats and transports, journald, servers that are slow, silent or away, and floods."""
import contextlib
import os
import pathlib
import re
import signal
import socket
import ssl
import struct
import threading
import time

import pytest

from harness import wait_until
from hostile_registry import authority, server_context
from test_logs import create, finish, logs, memory_kb, text

PATTERNS = {
    "": r"<PRI>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d TAG\[\d+\]: MSG\n",
    "rfc3164": r"<PRI>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d HOST TAG\[\d+\]: MSG\n",
    "rfc5424": r"<PRI>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d) HOST TAG \d+ TAG - MSG\n",
    "rfc5424micro": r"<PRI>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d) HOST TAG \d+ TAG - MSG\n",
}


def matches(form, line, priority, tag, message):
    pattern = PATTERNS[form].replace("PRI", str(priority)).replace("HOST", re.escape(socket.gethostname())).replace("TAG", re.escape(tag)).replace("MSG", re.escape(message))
    return re.fullmatch(pattern, line.decode())


@contextlib.contextmanager
def udp_server():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        s.settimeout(10)
        yield s, f"udp://127.0.0.1:{s.getsockname()[1]}"


@contextlib.contextmanager
def tcp_server():
    with socket.create_server(("127.0.0.1", 0)) as s:
        s.settimeout(10)
        yield s, f"tcp://localhost:{s.getsockname()[1]}"


@pytest.mark.parametrize("form", PATTERNS)
def test_formats(engine, name, form):
    with udp_server() as (server, address):
        options = {"syslog-address": address, "syslog-facility": "local3", "tag": "{{.Name}}/x"}
        create(engine, name, "echo out 私; sleep 0.1; echo err >&2", "syslog", {**options, **({"syslog-format": form} if form else {})})
        first, second = server.recv(65536), server.recv(65536)
    assert matches(form, first, 19 << 3 | 6, f"{name}/x", "out 私"), first
    assert matches(form, second, 19 << 3 | 3, f"{name}/x", "err"), second
    finish(engine, name)
    # Docker's cache: what went to the server can be read all the same.
    assert logs(engine, name) == [(1, "out 私\n".encode()), (2, b"err\n")]


def test_tcp_gets_every_line_in_order(engine, name):
    with tcp_server() as (server, address):
        create(engine, name, "seq 1 20000", "syslog", {"syslog-address": address})
        connection, _ = server.accept()
        connection.settimeout(10)
        data = b"".join(iter(lambda: connection.recv(65536), b""))
        connection.close()
    assert finish(engine, name) == 0
    assert [line.split(b": ")[1] for line in data.splitlines()] == [b"%d" % i for i in range(1, 20001)]
    assert data.startswith(b"<30>") and engine.inspect(name)["Id"][:12].encode() in data[:60]


@pytest.mark.parametrize("kind", ["unix", "unixgram"])
def test_sockets_of_this_machine(engine, name, folder, kind):
    path = folder / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM if kind == "unix" else socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        server.settimeout(10)
        if kind == "unix":
            server.listen()
        create(engine, name, "echo x", "syslog", {"syslog-address": f"{kind}://{path}", "cache-disabled": "true"})
        if kind == "unix":
            connection, _ = server.accept()
            line = connection.recv(65536)
            connection.close()
        else:
            line = server.recv(65536)
    assert matches("", line, 30, engine.inspect(name)["Id"][:12], "x"), line
    finish(engine, name)
    reply = engine.api("GET", f"/containers/{name}/logs?stdout=1")
    assert reply.status == 501 and reply.message == "configured logging driver does not support reading"


def test_a_server_that_is_not_there_fails_the_start(engine, name):
    with tcp_server() as (_, address):
        pass
    create(engine, name, "true", "syslog", {"syslog-address": address}, start=False)
    reply = engine.api("POST", f"/containers/{name}/start")
    assert reply.status == 500 and "failed to initialize logging driver: dial tcp:" in reply.message and "Connection refused" in reply.message
    create(engine, name + "n", "true", "syslog", {"syslog-address": "udp://no-such-host.invalid"}, start=False)
    reply = engine.api("POST", f"/containers/{name}n/start")
    assert reply.status >= 500 and "lookup no-such-host.invalid" in reply.message


def shim_of(engine, name):
    pid = engine.inspect(name)["State"]["Pid"]
    return int(re.search(r"^PPid:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M).group(1))


def position(engine, name):
    """How far the container has come, which it writes to a file."""
    pid = engine.inspect(name)["State"]["Pid"]
    with contextlib.suppress(FileNotFoundError, ValueError):
        return int(pathlib.Path(f"/proc/{pid}/root/at").read_text())
    return 0


COUNTING = "i=0; line=$(head -c 1000 /dev/zero | tr '\\0' x); while [ $i -lt LINES ]; do echo $i $line; i=$((i + 1)); echo $i >/at; done; echo done >/finished; sleep 1000"


def test_a_slow_server_holds_the_container_back_and_loses_nothing(engine, name):
    with tcp_server() as (server, address):
        create(engine, name, COUNTING.replace("LINES", "12000"), "syslog", {"syslog-address": address})
        connection, _ = server.accept()
        connection.settimeout(10)
        # The buffers of both ends fill, then nothing moves.
        at = -1
        while at != (at := position(engine, name)) or at == 0:
            time.sleep(0.4)
        assert at < 12000
        assert memory_kb(shim_of(engine, name)) < 2000
        assert engine.api("GET", f"/containers/{name}/json", timeout=5).status == 200
        data = b""
        while data.count(b"\n") < 12000:
            data += connection.recv(1 << 20)
        connection.close()
    assert [int(line.split(b": ")[1].split()[0]) for line in data.splitlines()] == list(range(12000))


def test_non_blocking_drops_what_finds_no_room(engine, name):
    with tcp_server() as (server, address):
        create(engine, name, COUNTING.replace("LINES", "12000"), "syslog", {"syslog-address": address, "mode": "non-blocking", "max-buffer-size": "64k"})
        connection, _ = server.accept()
        connection.settimeout(10)
        wait_until("it is through", lambda: position(engine, name) == 12000, seconds=60)
        assert memory_kb(shim_of(engine, name)) < 2000
        data = b""
        with contextlib.suppress(TimeoutError):
            connection.settimeout(2)
            while piece := connection.recv(1 << 20):
                data += piece
        connection.close()
    numbers = [int(line.split(b": ")[1].split()[0]) for line in data.splitlines()]
    assert numbers == sorted(set(numbers)) and len(numbers) < 12000
    assert text(logs(engine, name, "stdout=1")).count("\n") == 12000


def test_a_server_that_comes_back_is_called_again(engine, name):
    with tcp_server() as (server, address):
        port = server.getsockname()[1]
        create(engine, name, "i=0; while true; do echo $i; i=$((i + 1)); sleep 0.05; done", "syslog", {"syslog-address": address})
        connection, _ = server.accept()
        connection.settimeout(10)
        assert connection.recv(1000)
        connection.close()
    time.sleep(0.5)
    assert engine.inspect(name)["State"]["Running"]
    with socket.create_server(("127.0.0.1", port)) as server:
        server.settimeout(10)
        connection, _ = server.accept()
        connection.settimeout(10)
        data = connection.recv(1000)
        connection.close()
    assert data.startswith(b"<30>") and data.endswith(b"\n")  # from the beginning of a record on
    numbers = [int(n) for n in text(logs(engine, name, "stdout=1")).split()]
    assert numbers == list(range(len(numbers)))


# ---- syslog over TLS
@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """The folder, and what a server at localhost shows; it asks for a certificate of the client's."""
    folder = tmp_path_factory.mktemp("certificates")
    openssl = authority(folder)
    server_context(folder, openssl, "client", "DNS:client")
    context = server_context(folder, openssl, "server", "IP:127.0.0.1,DNS:localhost")
    context.load_verify_locations(folder / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    return folder, context


def tls_options(folder, port, host="localhost"):
    return {"syslog-address": f"tcp+tls://{host}:{port}", "syslog-format": "rfc5424", "syslog-tls-ca-cert": f"{folder}/ca.crt",
            "syslog-tls-cert": f"{folder}/client.crt", "syslog-tls-key": f"{folder}/client.key"}


def tls_accept(server, context):
    """The connection, and the thread that waits for it while the container starts."""
    got = []

    def take():
        with contextlib.suppress(OSError):
            connection = context.wrap_socket(server.accept()[0], server_side=True)
            connection.settimeout(10)
            got.append(connection)

    thread = threading.Thread(target=take)
    thread.start()
    return got, thread


def relays(port):
    return [p for p in pathlib.Path("/proc").glob("[0-9]*") if is_relay(p, port)]


def is_relay(process, port):
    with contextlib.suppress(OSError):
        words = (process / "cmdline").read_bytes().split(b"\0")
        return words[0].endswith(b"ireko-dial-tls") and str(port).encode() in words
    return False


def test_tls_gets_every_line_in_order(engine, name, certificates):
    folder, context = certificates
    with tcp_server() as (server, _):
        port = server.getsockname()[1]
        got, thread = tls_accept(server, context)
        create(engine, name, "seq 1 20000", "syslog", tls_options(folder, port))
        thread.join(20)
        data = b"".join(iter(lambda: got[0].recv(65536), b""))
        got[0].close()
    assert finish(engine, name) == 0
    assert [line.split(b" - ")[1] for line in data.splitlines()] == [b"%d" % i for i in range(1, 20001)]
    wait_until("the relay ends with its shim", lambda: not relays(port))


def test_a_tls_server_that_is_not_good_fails_the_start(engine, name, certificates):
    folder, context = certificates
    for i, (change, why) in enumerate((
            ({"syslog-tls-ca-cert": ""}, "is not good"),
            ({"syslog-tls-ca-cert": f"{folder}/none.crt"}, "none.crt"),
            ({"syslog-tls-ca-cert": "", "syslog-tls-skip-verify": "1"}, None))):
        with tcp_server() as (server, _):
            port = server.getsockname()[1]
            got, thread = tls_accept(server, context)
            create(engine, f"{name}{i}", "sleep 1000", "syslog", {**tls_options(folder, port), **change}, start=False)
            reply = engine.api("POST", f"/containers/{name}{i}/start")
            if why:
                assert reply.status >= 500 and "failed to initialize logging driver: dial tcp+tls:localhost" in reply.message and why in reply.message
            else:
                assert reply.status == 204
            server.shutdown(socket.SHUT_RDWR)  # ends a thread that still waits
            thread.join(20)
            assert len(relays(port)) == (0 if why else 1)
            for connection in got:
                connection.close()


def test_a_tls_server_that_comes_back_is_called_again(engine, name, certificates):
    folder, context = certificates
    with tcp_server() as (server, _):
        port = server.getsockname()[1]
        got, thread = tls_accept(server, context)
        create(engine, name, "i=0; while true; do echo $i; i=$((i + 1)); sleep 0.05; done", "syslog", tls_options(folder, port))
        thread.join(20)
        assert got[0].recv(1000)
        got[0].close()
    time.sleep(1.5)  # called meanwhile, without success
    assert engine.inspect(name)["State"]["Running"]
    with socket.create_server(("127.0.0.1", port)) as server:
        server.settimeout(10)
        got, thread = tls_accept(server, context)
        thread.join(20)
        data = got[0].recv(1000)
        shim = shim_of(engine, name)
        assert data.startswith(b"<30>1 ") and len(relays(port)) == 1
        # A shim that is killed takes its relay along.
        os.kill(shim, signal.SIGKILL)
        wait_until("the relay is gone", lambda: not relays(port))
        got[0].close()


# ---- journald
def fields(datagram):
    """journald's native protocol, read by itself."""
    found = {}
    while datagram:
        head, rest = datagram.split(b"\n", 1)
        if b"=" in head:
            name, value = head.split(b"=", 1)
            datagram = rest
        else:
            name, size = head, struct.unpack("<Q", rest[:8])[0]
            value, datagram = rest[8:8 + size], rest[8 + size + 1:]
        found[name.decode()] = value
    return found


def test_journald(new_engine, name, tmp_path):
    """The engine runs where /run/systemd/journal is a folder of the test."""
    run = tmp_path / "run"
    (run / "journal").mkdir(parents=True)
    script = 'mkdir -p /run/systemd/journal && mount --bind "$0" /run/systemd/journal && exec "$@"'
    engine = new_engine(prefix=["unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(run / "journal")])
    create(engine, name, "true", "journald", start=False)
    reply = engine.api("POST", f"/containers/{name}/start")
    assert reply.status >= 500 and "failed to initialize logging driver: journald is not enabled on this host" in reply.message
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(run / "journal" / "socket"))
        server.settimeout(10)
        create(engine, name + "j", "echo out; sleep 0.1; echo err >&2; sleep 0.1; head -c 20000 /dev/zero | tr '\\0' x", "journald", {"env": "a-b,C", "tag": "T {{.ImageName}}"},
               Env=["a-b=1\n2", "C=3"])
        got = [fields(server.recv(200000)) for _ in range(4)]
    full_id = engine.inspect(name + "j")["Id"].encode()
    assert got[0] | {"SYSLOG_TIMESTAMP": b""} == {
        "PRIORITY": b"6", "MESSAGE": b"out", "CONTAINER_ID": full_id[:12], "CONTAINER_ID_FULL": full_id, "CONTAINER_NAME": name.encode() + b"j", "CONTAINER_TAG": b"T busybox",
        "IMAGE_NAME": b"busybox", "SYSLOG_IDENTIFIER": b"T busybox", "A_B": b"1\n2", "C": b"3", "SYSLOG_TIMESTAMP": b""}
    assert got[1]["PRIORITY"] == b"3" and got[1]["MESSAGE"] == b"err"
    assert [g["MESSAGE"] for g in got[2:]] == [b"x" * 16384, b"x" * (20000 - 16384)]
    assert [g["CONTAINER_PARTIAL_ORDINAL"] for g in got[2:]] == [b"1", b"2"] and got[2]["CONTAINER_PARTIAL_ID"] == got[3]["CONTAINER_PARTIAL_ID"]
    assert got[2]["CONTAINER_PARTIAL_MESSAGE"] == b"true"
    finish(engine, name + "j")
    assert text(logs(engine, name + "j")) == "out\nerr\n" + "x" * 20000


# ---- floods
@pytest.mark.parametrize("driver", ["json-file", "local", "syslog", "none"])
def test_a_flood_leaves_the_engine_responsive_and_small(engine, name, driver):
    with contextlib.ExitStack() as stack:
        options = {}
        if driver == "syslog":
            server, options["syslog-address"] = stack.enter_context(udp_server())
            threading.Thread(target=lambda: [None for _ in iter(lambda: quiet_recv(server), b"")], daemon=True).start()
        if driver in ("json-file", "local"):
            options["max-size"], options["max-file"] = "1m", "3"
        create(engine, name, "yes", driver, options)
        shim, before = shim_of(engine, name), memory_kb(engine.p.pid)
        slowest, end = 0.0, time.monotonic() + 2
        while time.monotonic() < end:
            began = time.monotonic()
            assert engine.api("GET", "/containers/json?all=1").status == 200
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 5 and memory_kb(engine.p.pid) - before < 2000 and memory_kb(shim) < 6000, (slowest, memory_kb(shim))
        if driver in ("json-file", "local"):
            folder = engine.data_root / "containers" / engine.inspect(name)["Id"]
            assert 0 < size_of_moving(folder, "*.log*") < 6_000_000
        assert engine.api("DELETE", f"/containers/{name}?force=1").status == 204


@pytest.mark.parametrize("what", ["tr '\\0' x < /dev/zero", "cat /dev/zero", "yes '' | tr -d '\\n' & tr '\\0' '\\377' < /dev/zero"], ids=["one line", "NUL", "no text"])
def test_a_flood_without_a_newline(engine, name, what):
    """A line that does not end is cut into records: nobody keeps more of it than one."""
    create(engine, name, f"({what}) | head -c 60000000; sleep 1000", "json-file", {"max-size": "1m", "max-file": "3"})
    shim, before = shim_of(engine, name), memory_kb(engine.p.pid)
    folder = engine.data_root / "containers" / engine.inspect(name)["Id"]
    wait_until("it is written, rotated twice", lambda: len(list(folder.glob("*-json.log*"))) == 3)
    for _ in range(20):
        assert engine.api("GET", f"/containers/{name}/logs?stdout=1&tail=1", timeout=10).status == 200
        assert memory_kb(shim) < 6000 and memory_kb(engine.p.pid) - before < 12000, (memory_kb(shim), memory_kb(engine.p.pid) - before)
        assert size_of_moving(folder, "*.log*") < 6_000_000
    assert engine.api("DELETE", f"/containers/{name}?force=1").status == 204


def size_of_moving(folder, pattern):
    """Bytes in the folder's files of the pattern, some of which are renamed meanwhile: one that went under its name is left out, so it is the most of some looks."""
    def look():
        total = 0
        for path in folder.glob(pattern):
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size
        return total

    return max(look() for _ in range(20))


def quiet_recv(server):
    try:
        return server.recv(65536)
    except OSError:
        return b""
