# SPDX-License-Identifier: Apache-2.0
"""Published ports that ireko-proxy carries: IPv6 for containers that have only IPv4, and the other way round; what survives, and what is left."""
import contextlib
import os
import signal
import socket
import struct
import subprocess
import time

from harness import free_port, run, tcp_ask, wait_until
from proxy_control import ADD, LIST, PORT, REPLY, REQUEST, TCP, VERSION, mapped
from test_network import SERVE, ask_from, other_namespace
from test_network_connect import network
from test_network_ipv6 import subnet6

GET = b"GET / HTTP/1.0\r\n\r\n"


class Proxy:
    """The one of an engine, as its control socket shows it; None if there is none."""

    @staticmethod
    def of(engine):
        folder = os.open(engine.exec_root, os.O_PATH)
        try:
            s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            s.settimeout(10)
            s.connect(f"/proc/self/fd/{folder}/proxy.sock")
            return Proxy(s)
        except (ConnectionRefusedError, ConnectionResetError, BrokenPipeError, FileNotFoundError):
            return None
        finally:
            os.close(folder)

    def __init__(self, s):
        with s:
            self.pid = struct.unpack("3i", s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
            s.send(REQUEST.pack(VERSION, LIST, 0, b"", mapped("::"), 0, 0))
            reply = s.recv(65536)
        if not reply:
            raise ConnectionResetError
        ports = [PORT.unpack_from(reply, at) for at in range(REPLY.size, len(reply), PORT.size)]
        self.keys = [p[0].split(b"\0")[0].decode() for p in ports]
        self.targets = {socket.inet_ntop(socket.AF_INET6, p[1]) for p in ports}


def gone(engine):
    wait_until("the proxy ends", lambda: Proxy.of(engine) is None)


def targets(engine):
    return Proxy.of(engine).targets


def container_id(engine, name):
    return engine.inspect(name)["Id"]


def published(engine, name, port="8080/tcp"):
    return [(p["HostIp"], p["HostPort"]) for p in engine.inspect(name)["NetworkSettings"]["Ports"][port]]


def serve(ireko, name, *words, hostname="box"):
    ireko("run", "-d", "--name", name, "--hostname", hostname, *words, "busybox", "sh", "-c", SERVE)


def refused(address, port):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as s:
        s.settimeout(5)
        return s.connect_ex((address, port)) != 0


ECHO = """import socket, sys, threading
s = socket.create_server(('', 9000), family=socket.AF_INET6, dualstack_ipv6=True)
print(flush=True)
def serve(c):
    while data := c.recv(100):
        c.sendall(data)
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""


@contextlib.contextmanager
def talk(engine, name, port):
    """A connection over IPv6 to a server in the container's network that says everything back."""
    pid = str(engine.inspect(name)["State"]["Pid"])
    with subprocess.Popen(["nsenter", "-t", pid, "-n", "/usr/bin/python3", "-c", ECHO], stdout=subprocess.PIPE) as server:
        try:
            server.stdout.readline()
            with socket.create_connection(("::1", port), timeout=20) as s:
                yield s
        finally:
            server.kill()


def says_back(s, words):
    s.sendall(words)
    return s.recv(100) == words


def test_a_port_of_an_ipv4_network_is_reached_over_ipv6(cli, engine, name):
    port = free_port()
    cli("run", "-d", "--name", name, "--hostname", "box", "-p", f"{port}:8080", "busybox", "sh", "-c", SERVE)
    assert published(engine, name) == [("0.0.0.0", str(port)), ("::", str(port))]
    assert cli("port", name).stdout.splitlines() == [f"8080/tcp -> 0.0.0.0:{port}", f"8080/tcp -> [::]:{port}"]
    assert f"[::]:{port}->8080/tcp" in cli("ps").stdout or f":::{port}->8080/tcp" in cli("ps").stdout
    for address in ("127.0.0.1", "::1"):
        assert b"served-by-box" in tcp_ask(address, port, GET)
    assert Proxy.of(engine).keys == [f"{container_id(engine, name)}/tcp/[::]:{port}"]
    subnet = subnet6()
    with other_namespace(subnet) as (namespace, here, _):
        wait_until("the other host's address is settled", lambda: "tentative" not in run("ip", "-n", namespace, "addr").stdout + run("ip", "addr", "show", "to", here).stdout)
        p = ask_from(namespace, here, port)
        assert "served-by-box" in p.stdout, p.stderr
    cli("rm", "-f", name)
    assert refused("::1", port) and refused("127.0.0.1", port)
    assert Proxy.of(engine) is None or Proxy.of(engine).keys == []


def test_udp_over_ipv6(ireko, engine, name):
    port = free_port()
    ireko("run", "-d", "--name", name, "-p", f"{port}:9999/udp", "busybox", "sleep", "1000")
    code = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 9999)); s.setsockopt(1, 8, 1 << 20)\nwhile True:\n d, a = s.recvfrom(10000); s.sendto(b'echo ' + d, a)"
    server = subprocess.Popen(["nsenter", "-t", str(engine.inspect(name)["State"]["Pid"]), "-n", "/usr/bin/python3", "-c", code])
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
            s.settimeout(0.3)
            s.connect(("::1", port))

            def answered():
                with contextlib.suppress(OSError):
                    s.send(b"hello")
                    return s.recv(100) == b"echo hello"

            wait_until("an answer", answered)
            s.settimeout(5)
            # Bursts, which are handed on as one for the kernel to cut, and others for which it cannot be done: too large for a packet, or mixed.
            for sizes in ([500] * 30, [1400] * 20, [3000] * 5, [100, 100, 50, 100, 200, 0, 100, 100], [1, 1, 1]):
                with contextlib.suppress(OSError):
                    while s.recv(10000, socket.MSG_DONTWAIT):
                        pass  # an answer that was late
                for i, size in enumerate(sizes):
                    s.send(bytes([i]) * size)
                assert [s.recv(10000) for _ in sizes] == [b"echo " + bytes([i]) * size for i, size in enumerate(sizes)]
    finally:
        server.kill()
        server.wait()


def test_ports_of_an_ipv6_network_are_reached_over_ipv4(ireko, engine, name):
    with network(engine, name, EnableIPv4=False, EnableIPv6=True, IPAM={}):
        port, local = free_port(), free_port()
        serve(ireko, name, "--network", name, "-p", f"{port}:8080", "-p", f"127.0.0.1:{local}:8080")
        assert sorted(published(engine, name)) == [("0.0.0.0", str(port)), ("127.0.0.1", str(local)), ("::", str(port))]
        for at in (("127.0.0.1", port), ("::1", port), ("127.0.0.1", local)):
            assert b"served-by-box" in tcp_ask(*at, GET)
        assert len(Proxy.of(engine).keys) == 3  # [::] for the sake of ::1


def test_one_ipv6_address(ireko, engine, name):
    port = free_port()
    serve(ireko, name, "-p", f"[::1]:{port}:8080")
    assert published(engine, name) == [("::1", str(port))]
    assert b"served-by-box" in tcp_ask("::1", port, GET)
    assert refused("127.0.0.1", port)


def test_a_port_that_somebody_has_over_ipv6_is_told(ireko, name):
    with socket.socket(socket.AF_INET6) as s:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        s.bind(("::", 0))
        s.listen()
        port = s.getsockname()[1]
        p = ireko("run", "-d", "--name", name, "-p", f"{port}:8080", "busybox", "sleep", "1000", check=False)
        assert p.returncode == 125 and f"Bind for [::]:{port} failed: port is already allocated" in p.stderr and str(os.getpid()) in p.stderr


def test_without_the_userland_proxy(new_engine, name):
    engine = new_engine("--userland-proxy=false")
    port = free_port()
    engine.cli("run", "-d", "--name", name, "-p", f"{port}:8080", "busybox", "sleep", "1000")
    assert published(engine, name) == [("0.0.0.0", str(port))]
    assert refused("::1", port) and Proxy.of(engine) is None
    p = engine.cli("run", "--rm", "-p", f"[::1]:{port}:80", "busybox", "true", check=False)
    assert p.returncode == 125 and "the container has no IPv6" in p.stderr


def test_it_goes_on_without_the_engine_and_is_found_again(new_engine, name):
    engine = new_engine()
    port = free_port()
    engine.cli("run", "-d", "--name", name, "--hostname", "box", "-p", f"{port}:8080", "-p", "9000", "busybox", "sh", "-c", SERVE)
    echo = int(published(engine, name, "9000/tcp")[0][1])
    assert b"served-by-box" in tcp_ask("::1", port, GET)
    before = Proxy.of(engine)
    with talk(engine, name, echo) as s:
        for leave in (engine.kill, engine.stop):
            leave()
            assert says_back(s, b"nobody is at home")
            assert b"served-by-box" in tcp_ask("::1", port, GET)
            engine.start()
            assert says_back(s, b"somebody is again")
            now = Proxy.of(engine)
            assert now.pid == before.pid and now.keys == before.keys
    engine.cli("rm", "-f", name)
    assert refused("::1", port)


def test_killed_it_is_started_again_with_all_ports(new_engine, name):
    engine = new_engine()
    ports = [free_port() for _ in range(3)]
    for i, port in enumerate(ports):
        engine.cli("run", "-d", "--name", f"{name}-{i}", "--hostname", f"box-{i}", "-p", f"{port}:8080", "busybox", "sh", "-c", SERVE)
        assert f"served-by-box-{i}".encode() in tcp_ask("::1", port, GET)
    for round_of in range(3):
        first = Proxy.of(engine)
        assert len(first.keys) == 3
        if round_of == 2:
            engine.kill()  # nobody is there to notice: the next engine finds out
        os.kill(first.pid, signal.SIGKILL)
        if round_of == 2:
            wait_until("it is gone", lambda: Proxy.of(engine) is None)
            engine.start()
        # Shims hold the sockets: whoever comes meanwhile waits instead of being refused.
        for i, port in enumerate(ports):
            assert f"served-by-box-{i}".encode() in tcp_ask("::1", port, GET, retries=1, timeout=20)
        assert sorted(Proxy.of(engine).keys) == sorted(first.keys) and Proxy.of(engine).pid != first.pid


def test_what_ended_while_the_engine_was_away_is_taken_back(new_engine, name):
    engine = new_engine()
    ports = [free_port(), free_port()]
    for i, port in enumerate(ports):
        engine.cli("run", "-d", "--name", f"{name}-{i}", "--hostname", f"box-{i}", "-p", f"{port}:8080", "busybox", "sh", "-c", SERVE)
    pid = engine.inspect(f"{name}-0")["State"]["Pid"]
    stays = container_id(engine, f"{name}-1")
    engine.kill()
    os.kill(pid, signal.SIGKILL)
    engine.start()
    wait_until("its port is given back", lambda: Proxy.of(engine).keys == [f"{stays}/tcp/[::]:{ports[1]}"])
    assert refused("::1", ports[0]) and b"served-by-box-1" in tcp_ask("::1", ports[1], GET)
    engine.cli("start", f"{name}-0")
    assert b"served-by-box-0" in tcp_ask("::1", ports[0], GET)


def test_ports_of_what_does_not_run_are_taken_back_before_anything_starts(new_engine, name):
    """As an engine leaves them that is killed in the middle of a start."""
    engine = new_engine()
    ports = [free_port(), free_port()]
    engine.cli("run", "-d", "--name", f"{name}-0", "-p", f"{ports[0]}:8080", "busybox", "sleep", "1000")
    engine.cli("run", "-d", "--restart", "always", "--name", f"{name}-1", "-p", f"{ports[1]}:8080", "busybox", "sleep", "1000")
    engine.cli("stop", "-t", "0", f"{name}-1")  # the next engine starts it
    mine = container_id(engine, f"{name}-1")
    with contextlib.ExitStack() as stack:
        folder = os.open(engine.exec_root, os.O_PATH)
        stack.callback(os.close, folder)
        control = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        control.connect(f"/proc/self/fd/{folder}/proxy.sock")
        for key in (f"{mine}/tcp/[::]:{ports[1]}", f"{'0' * 64}/tcp/[::]:1", "nonsense"):
            with socket.socket(socket.AF_INET6) as s:
                s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                s.bind(("::", ports[1] if key.startswith(mine) else 0))
                s.listen()
                socket.send_fds(control, [REQUEST.pack(VERSION, ADD, 0, key.encode(), mapped("127.0.0.1"), 80, TCP)], [s.fileno()])
                assert REPLY.unpack_from(control.recv(65536))[2] == 0
    assert len(Proxy.of(engine).keys) == 4
    engine.kill()
    engine.start()
    wait_until("it runs", lambda: engine.inspect(f"{name}-1")["State"]["Status"] == "running")
    assert "already allocated" not in engine.log_text()
    assert sorted(Proxy.of(engine).keys) == sorted(f"{container_id(engine, f'{name}-{i}')}/tcp/[::]:{ports[i]}" for i in range(2))


def test_it_ends_with_the_engine_when_it_has_nothing_to_do(new_engine, name):
    engine = new_engine()
    engine.cli("run", "--rm", "-p", "8080", "busybox", "true")
    assert Proxy.of(engine).keys == []  # for the next one
    engine.stop()
    gone(engine)
    engine.start()


def test_a_restart_and_a_pause(ireko, engine, name):
    port = free_port()
    serve(ireko, name, "-p", f"{port}:8080")
    assert b"served-by-box" in tcp_ask("::1", port, GET)
    ireko("restart", "-t", "0", name)
    assert b"served-by-box" in tcp_ask("::1", port, GET)
    ireko("pause", name)
    with socket.create_connection(("::1", port), timeout=20) as s:
        s.sendall(GET)
        time.sleep(0.1)
        ireko("unpause", name)
        assert b"200 OK" in s.recv(1000)


def test_a_network_that_comes_and_goes_while_it_runs(ireko, engine, name):
    """The kernel takes over as soon as the container has IPv6, and what is connected through a network that stays is not disturbed."""
    port = free_port()
    with network(engine, f"{name}-4"), network(engine, f"{name}-other"), network(engine, f"{name}-6", EnableIPv4=False, EnableIPv6=True, IPAM={}):
        serve(ireko, name, "--network", f"{name}-4", "-p", f"{port}:8080", "-p", "9000")
        echo = int(published(engine, name, "9000/tcp")[0][1])
        keys = Proxy.of(engine).keys
        assert len(keys) == 2
        with talk(engine, name, echo) as s:
            ireko("network", "connect", f"{name}-other", name)
            assert says_back(s, b"not disturbed")
            assert Proxy.of(engine).keys == keys
        before = targets(engine)
        ireko("network", "connect", f"{name}-6", name)
        (address,) = {n["GlobalIPv6Address"] for n in engine.inspect(name)["NetworkSettings"]["Networks"].values()} - {""}
        assert targets(engine) == {address}  # for the sake of ::1; the rest is the kernel's now
        assert b"served-by-box" in tcp_ask("::1", port, GET)
        gateway = engine.api("GET", f"/networks/{name}-6").json["IPAM"]["Config"][0]["Gateway"]
        assert b"served-by-box" in tcp_ask(gateway, port, GET)
        ireko("network", "disconnect", f"{name}-6", name)
        assert targets(engine) == before
        assert b"served-by-box" in tcp_ask("::1", port, GET)
        # Another way out of the family: another address to carry it to.
        ireko("network", "disconnect", f"{name}-4", name)
        assert b"served-by-box" in tcp_ask("::1", port, GET)


def test_a_program_that_is_missing_fails_the_start(new_engine, name, tmp_path):
    engine = new_engine()
    engine.exec_root.joinpath("proxy.sock").mkdir()
    p = engine.cli("run", "-d", "--name", name, "-p", "8080", "busybox", "sleep", "1000", check=False)
    assert p.returncode == 125 and "publish port" in p.stderr and "proxy.sock" in p.stderr
    engine.exec_root.joinpath("proxy.sock").rmdir()
    engine.cli("start", name)
    assert len(Proxy.of(engine).keys) == 1
