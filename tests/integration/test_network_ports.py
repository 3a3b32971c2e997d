# SPDX-License-Identifier: Apache-2.0
"""Published ports that come and go while a container runs, clashes that are told when it is made, and what a kill -9 in the middle of a change leaves."""
import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time
from urllib.parse import quote

import pytest
from harness import free_port, program, run, tcp_ask, wait_until
from test_network_connect import network
from test_network_proxy import GET, Proxy, refused

SERVE = "mkdir -p /www; echo served-by-$(hostname) > /www/index.html; httpd -p 8080 -h /www; httpd -f -p 8081 -h /www"
LOOPBACKS = ("127.0.0.1", "::1")


def serve(ireko, name, *words):
    ireko("run", "-d", "--name", name, "--hostname", "box", *words, "busybox", "sh", "-c", SERVE)


def served(port, addresses=LOOPBACKS):
    for address in addresses:
        assert b"served-by-box" in tcp_ask(address, port, GET)


def published(engine, name):
    """{(port of the container, protocol, family, port of the host)}, as inspect shows it."""
    ports = engine.inspect(name)["NetworkSettings"]["Ports"] or {}
    return {(*spec.split("/"), ":" in p["HostIp"], int(p["HostPort"])) for spec, all_of in ports.items() for p in all_of or []}


def numbers(engine, name, spec):
    return sorted({host for port, proto, _, host in published(engine, name) if f"{port}/{proto}" == spec})


def bindings(engine, name):
    return {spec: [b["HostPort"] for b in v] for spec, v in engine.inspect(name)["HostConfig"]["PortBindings"].items()}


def is_free(port, kind=socket.SOCK_STREAM):
    """On every address of both families."""
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        with socket.socket(family, kind) as s:
            if family == socket.AF_INET6:
                s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if kind == socket.SOCK_STREAM:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind((address, port))
                if kind == socket.SOCK_STREAM:
                    s.listen()
            except OSError:
                return False
    return True


def free_range(n):
    """n ports one behind the other."""
    while True:
        first = free_port()
        if first + n < 65536 and all(is_free(first + i) for i in range(n)):
            return first


# ---- what the kernel has

def rules(engine, name):
    """{(protocol, port of the host, port of the container)} that lead to the container."""
    address = engine.inspect(name)["NetworkSettings"]["IPAddress"]
    text = run(program("nft"), "-n", "list", "table", "inet", f"ireko_{engine.mark}").stdout
    found = re.findall(rf"(\d+|tcp|udp|sctp) \. (?:[\d.]+ \. )?(\d+) : {re.escape(address)} \. (\d+)", text)
    return {({"6": "tcp", "17": "udp", "132": "sctp"}.get(proto, proto), int(host), int(port)) for proto, host, port in found}


def rules_of_all(engine):
    text = run(program("nft"), "-n", "list", "table", "inet", f"ireko_{engine.mark}", check=False).stdout
    return set(re.findall(r"\d+ \. \d+ : [\d.]+ \. \d+", text))


def held(engine):
    """{(protocol, family, port)} of the sockets that the engine's only shim keeps."""
    # Those of the tests before this one may be about to end.
    (shim,) = wait_until("it is the only one", lambda: len(s := engine.shims()) == 1 and s)
    inodes = {os.readlink(f"/proc/{shim}/fd/{fd}") for fd in os.listdir(f"/proc/{shim}/fd") if os.path.lexists(f"/proc/{shim}/fd/{fd}")}
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in pathlib.Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            word = line.split()
            if f"socket:[{word[9]}]" in inodes:
                found.add((table[:3], table.endswith("6"), int(word[1].split(":")[1], 16)))
    return found


def carried(engine):
    """Ports of the host that the proxy has."""
    proxy = Proxy.of(engine)
    return {int(key.rsplit(":", 1)[1]) for key in proxy.keys} if proxy else set()


def as_recorded(engine, name):
    """Rules, sockets and the proxy's ports are those that inspect shows."""
    want = published(engine, name)
    assert rules(engine, name) == {(proto, host, int(port)) for port, proto, six, host in want if not six}
    assert held(engine) == {(proto, six, host) for _, proto, six, host in want}
    assert carried(engine) == {host for _, _, six, host in want if six}
    return want


# ---- when it is made

def test_a_port_that_a_container_has_is_a_warning(cli, engine, name):
    a, b = free_port(), free_port()
    cli("run", "-d", "--name", name, "-p", f"{a}:80", "busybox", "sleep", "1000")
    short = engine.inspect(name)["Id"][:12]
    p = cli("create", "--name", f"{name}b", "-p", f"{a}:80", "-p", f"{b}:81", "-p", "82", "busybox", "true")
    warnings = [line for line in p.stderr.splitlines() if line.startswith("WARNING: ")]
    assert len(warnings) == 1 and f"Bind for 0.0.0.0:{a} failed: port is already allocated" in warnings[0], p.stderr
    assert f'is published by container "{name}" ({short})' in warnings[0]
    assert f'container "{name}" ({short})' in cli.fails("start", f"{name}b")
    # As compose does: the replacement is made, then the old one goes, then it starts.
    cli("rm", "-f", name)
    cli("start", f"{name}b")
    assert cli("create", "--name", f"{name}c", "-p", f"{free_port()}:80", "busybox", "true").stderr == ""


def test_a_port_that_a_process_has_is_a_warning(cli, engine, name):
    with socket.create_server(("127.0.0.1", 0)) as s, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as u:
        u.bind(("0.0.0.0", 0))
        port, udp = s.getsockname()[1], u.getsockname()[1]
        said = cli("create", "--name", name, "-p", f"{port}:80", "-p", f"127.0.0.1:{udp}:53/udp", "-p", f"{port}:80/udp", "busybox", "true").stderr
        assert f"port {port}/tcp is already in use by" in said and f"port {udp}/udp is already in use by" in said, said
        assert said.count("WARNING: A start would fail now: Bind for ") == 2 and f"(pid {os.getpid()})" in said
        # One of a range is free, and what asks for no number has no clash.
        assert cli("create", "--name", f"{name}b", "-p", f"{port}-{port + 20}:80", "-p", "80", "busybox", "true").stderr == ""
    assert cli("start", name).stderr == ""


# ---- while it runs

def test_come_and_go(ireko, engine, name):
    a, b, begin = free_port(), free_port(), int(time.time())
    serve(ireko, name, "-p", f"{a}:8080")
    served(a)
    ireko("update", "-p", f"{b}:8081/tcp", name)
    served(a)
    served(b)
    assert bindings(engine, name) == {"8080/tcp": [str(a)], "8081/tcp": [str(b)]}
    assert f"0.0.0.0:{b}->8081/tcp" in ireko.out("ps") and f"8081/tcp -> [::]:{b}" in ireko.out("port", name)
    as_recorded(engine, name)
    with socket.create_connection(("127.0.0.1", a)) as s:
        ireko("update", "--unpublish", "8080", name)
        # What is established goes on; nobody else gets through, and the port is anybody's.
        s.sendall(GET)
        assert b"served-by-box" in b"".join(iter(lambda: s.recv(65536), b""))
    assert all(refused(address, a) for address in LOOPBACKS) and is_free(a)
    served(b)
    assert bindings(engine, name) == {"8081/tcp": [str(b)]} and f":{a}" not in ireko.out("port", name)
    as_recorded(engine, name)
    events = engine.api("GET", f"/events?since={begin}&until={int(time.time()) + 1}&filters=" + quote(json.dumps({"container": [name]}))).lines
    assert [e["Action"] for e in events].count("update") == 2


def test_one_goes_as_another_comes(ireko, engine, name):
    """The host port stays, and leads elsewhere."""
    port = free_port()
    serve(ireko, name, "-p", f"{port}:9")
    ireko("update", "--unpublish", "9", "-p", f"{port}:8080", name)
    served(port)
    assert numbers(engine, name, "8080/tcp") == [port] and numbers(engine, name, "9/tcp") == []
    as_recorded(engine, name)
    # Not to one address where all were meant: that socket cannot be had beside the other.
    said = ireko.fails("update", "--unpublish", "8080", "-p", f"127.0.0.1:{port}:8080", name)
    assert f"127.0.0.1:{port} cannot take the place of 0.0.0.0:{port} in one step: unpublish that first" in said
    served(port)
    ireko("update", "--unpublish", "8080", name)
    ireko("update", "-p", f"127.0.0.1:{port}:8080", name)
    served(port, ["127.0.0.1"])
    as_recorded(engine, name)


def test_sctp(ireko, engine, name):
    """Whether the kernel speaks it or not."""
    serve(ireko, name)
    (shim,) = wait_until("it is the only one", lambda: len(s := engine.shims()) == 1 and s)
    before = len(os.listdir(f"/proc/{shim}/fd"))
    for _ in range(3):
        port = free_port()
        ireko("update", "-p", f"{port}:5000/sctp", name)
        assert numbers(engine, name, "5000/sctp") == [port] and rules(engine, name) == {("sctp", port, 5000)}
        ireko("update", "--unpublish", "5000/sctp", name)
    assert rules(engine, name) == set() and len(os.listdir(f"/proc/{shim}/fd")) == before


def test_one_address_and_both_families(ireko, engine, name):
    ports = [free_port() for _ in range(3)]
    serve(ireko, name)
    ireko("update", "-p", f"127.0.0.1:{ports[0]}:8080", "-p", f"[::1]:{ports[1]}:8080", "-p", f"[::]:{ports[2]}:8081", name)
    served(ports[0], ["127.0.0.1"])
    served(ports[1], ["::1"])
    served(ports[2], ["::1"])
    assert refused("::1", ports[0]) and refused("127.0.0.1", ports[1]) and refused("127.0.0.1", ports[2])
    ireko("update", "--unpublish", "8080-8081/tcp", name)
    assert published(engine, name) == set() and all(is_free(p) for p in ports)


def test_ranges_and_numbers_that_are_chosen(ireko, engine, name):
    first = free_range(3)
    serve(ireko, name)
    ireko("update", "-p", f"{first}-{first + 2}:8080-8082", "-p", "8080", "-p", "53/udp", name)
    served(first)
    served(first + 1)
    chosen = [n for n in numbers(engine, name, "8080/tcp") if n != first]
    assert len(chosen) == 1 and len(numbers(engine, name, "53/udp")) == 1
    served(chosen[0])
    # One of a range: the first that is free.
    ireko("update", "-p", f"{first}-{first + 40}:8081", name)
    assert len(numbers(engine, name, "8081/tcp")) == 2 and min(numbers(engine, name, "8081/tcp")) == first + 1
    as_recorded(engine, name)


ECHO = """import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 9999))
while True:
    d, a = s.recvfrom(100); s.sendto(b'echo ' + d, a)"""


def test_udp_is_forgotten(ireko, engine, name):
    """A client that goes on sending is one connection to the kernel."""
    port = free_port()
    ireko("run", "-d", "--name", name, "busybox", "sleep", "1000")
    with subprocess.Popen(["nsenter", "-t", str(engine.inspect(name)["State"]["Pid"]), "-n", "/usr/bin/python3", "-c", ECHO]) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(0.2)
        s.connect(("127.0.0.1", port))

        def echoed():
            with contextlib.suppress(OSError):
                s.send(b"datagram")
                return s.recv(100) == b"echo datagram"
            return False

        try:
            assert not echoed()
            ireko("update", "-p", f"{port}:9999/udp", name)
            wait_until("datagrams arrive", echoed)
            as_recorded(engine, name)
            ireko("update", "--unpublish", "9999/udp", name)
            assert not echoed() and not echoed() and is_free(port, socket.SOCK_DGRAM)
        finally:
            server.kill()


def test_several_containers_at_once(ireko, engine, name):
    names = [f"{name}{i}" for i in range(3)]
    for n in names:
        serve(ireko, n)
    p = ireko("update", "--restart", "always", "-p", "8080", *names)
    assert p.stdout.split() == names
    for n in names:
        served(numbers(engine, n, "8080/tcp")[0])
        assert engine.inspect(n)["HostConfig"]["RestartPolicy"]["Name"] == "always"
    # Of two that want one port at the same time, one has it, and nothing of the other has changed.
    port = free_port()
    p = ireko("update", "-p", f"{port}:8081", names[0], names[1], check=False)
    assert p.returncode == 1 and p.stderr.count("port is already allocated") == 1, p.stderr
    assert sorted(numbers(engine, n, "8081/tcp") for n in names[:2]) == [[], [port]] and p.stdout.split() in ([names[0]], [names[1]])


# ---- all or nothing

def test_a_clash_changes_nothing(ireko, engine, name):
    a, b = free_port(), free_port()
    serve(ireko, name, "-p", f"{a}:8080")
    before = as_recorded(engine, name), bindings(engine, name)
    with socket.create_server(("127.0.0.1", 0)) as s:
        said = ireko.fails("update", "--unpublish", "8080", "-p", f"{b}:8081", "-p", f"127.0.0.1:{s.getsockname()[1]}:8081", name)
        assert "port is already allocated" in said and f"(pid {os.getpid()})" in said
    assert (as_recorded(engine, name), bindings(engine, name)) == before and is_free(b)
    assert f"host port {a} for 8081/tcp is published by this container already" in ireko.fails("update", "-p", f"{a}:8081", name)
    assert "port 7/tcp is not published" in ireko.fails("update", "-p", f"{b}:8081", "--unpublish", "7", name)
    assert (as_recorded(engine, name), bindings(engine, name)) == before and is_free(b)
    ireko("run", "-d", "--name", f"{name}b", "-p", f"{b}:80", "busybox", "sleep", "1000")
    assert f'is published by container "{name}b"' in ireko.fails("update", "-p", f"{free_port()}:8081", "-p", f"{b}:8081", name)
    served(a)
    assert bindings(engine, name) == before[1]


def test_a_failure_of_the_kernel_is_undone(new_engine, name):
    """The sockets are held by then, and one family has its rules."""
    engine = new_engine()
    a, b = free_port(), free_port()
    engine.cli("run", "-d", "--name", name, "-p", f"{a}:8080", "busybox", "sh", "-c", SERVE)
    before = as_recorded(engine, name), bindings(engine, name)
    # Somebody has an element of that port in our map.
    address = engine.inspect(name)["NetworkSettings"]["Gateway"]
    element = f"{{ tcp . {b} : {address} . 1 }}"
    run(program("nft"), "add", "element", "inet", f"ireko_{engine.mark}", "ports_any4", element)
    p = engine.cli("update", "-p", f"{b}:8081", "--unpublish", "8080", name, check=False)
    assert p.returncode == 1 and "port is already allocated" in p.stderr, p.stderr
    # The engine, which puts its rules right again, may have been first.
    run(program("nft"), "delete", "element", "inet", f"ireko_{engine.mark}", "ports_any4", f"{{ tcp . {b} }}", check=False)
    wait_until("the rules are right again", lambda: rules(engine, name) == {("tcp", a, 8080)})
    assert (as_recorded(engine, name), bindings(engine, name)) == before and is_free(b)


def test_in_a_routed_network(ireko, engine, name):
    """Nothing of the host is needed there: a port is open at the container's own address, once, however often it is asked for."""
    def opened():
        text = run(program("nft"), "-n", "list", "set", "inet", f"ireko_{engine.mark}", "open4").stdout
        return sorted(int(port) for port in re.findall(rf"{re.escape(address)} \. 6 \. (\d+)", text))

    with network(engine, f"{name}n", Options={"com.docker.network.bridge.gateway_mode_ipv4": "routed"}) as routed:
        ireko("run", "-d", "--name", name, "--network", routed, "-p", "8080", "busybox", "sleep", "1000")
        address = engine.inspect(name)["NetworkSettings"]["Networks"][f"{name}n"]["IPAddress"]
        ireko("update", "-p", f"{free_port()}:8080", "-p", "8081", name)
        assert opened() == [8080, 8081]
        ireko("update", "--unpublish", "8081", name)
        assert opened() == [8080]
        ireko("update", "--unpublish", "8080", name)
        assert opened() == [] and held(engine) == set()


def test_while_it_is_paused(ireko, engine, name):
    port = free_port()
    serve(ireko, name)
    ireko("pause", name)
    ireko("update", "-p", f"{port}:8080", name)
    ireko("unpause", name)
    served(port)
    as_recorded(engine, name)


@pytest.mark.parametrize("mode", ["host", "none", "container", "internal", "macvlan"])
def test_where_no_ports_are_published(ireko, engine, name, mode):
    with network(engine, f"{name}n", Internal=True) as internal, network(engine, f"{name}m", Driver="macvlan") as macvlan:
        ireko("run", "-d", "--name", f"{name}a", "busybox", "sleep", "1000")
        ireko("run", "-d", "--name", name, "--network", {"container": f"container:{name}a", "internal": internal, "macvlan": macvlan}.get(mode, mode), "busybox", "sleep", "1000")
        said = ireko.fails("update", "-p", f"{free_port()}:80", name)
        assert "its ports are not published" in said and {"host": "the host's network", "none": "no network", "container": "publish them there", "internal": "internal", "macvlan": "its own address"}[mode] in said
        assert bindings(engine, name) == {}
        engine.remove_containers()


def test_requests_that_make_no_sense(ireko, engine, name):
    serve(ireko, name)
    where = f"/ireko/containers/{name}/ports"
    for body, words in (({}, "nothing is to be published"), ({"Publish": {"80/tcp": [{"HostPort": "70000"}]}}, "invalid port specification"), ({"Publish": {"0/tcp": []}}, "invalid container port"),
                        ({"Unpublish": ["80/tcp", "x"]}, "invalid container port"), ({"Unpublish": "80"}, "array of strings"), ({"Ports": {}}, "unknown member Ports"), ({"Publish": [1]}, "expected an object")):
        reply = engine.api("POST", where, body)
        assert reply.status == 400 and words in reply.message, (body, reply.body)
    assert engine.api("POST", "/ireko/containers/no-such-one/ports", {"Unpublish": ["80"]}).status == 404
    assert "invalid proto" in ireko.fails("update", "-p", "80/x", name, status=1) and "invalid" in ireko.fails("update", "--unpublish", "80:80", name, status=1)


# ---- what lasts

def test_one_that_does_not_run(ireko, engine, name):
    port = free_port()
    ireko("create", "--name", name, "--hostname", "box", "-p", f"{free_port()}:9", "busybox", "sh", "-c", SERVE)
    ireko("update", "--unpublish", "9", "-p", f"{port}:8080", name)
    assert bindings(engine, name) == {"8080/tcp": [str(port)]} and published(engine, name) == set()
    with socket.create_server(("0.0.0.0", 0)) as s:
        p = ireko("update", "-p", f"{s.getsockname()[1]}:8081", name)
        assert p.stdout.strip() == name and "WARNING: A start would fail now" in p.stderr
    ireko("start", name)
    served(port)
    as_recorded(engine, name)


def test_all_that_are_exposed(ireko, engine, name):
    """One that is taken away is not there again after a restart because --publish-all would have it."""
    serve(ireko, name, "-P", "--expose", "8080", "--expose", "8081")
    ireko("update", "--unpublish", "8080", name)
    assert numbers(engine, name, "8080/tcp") == [] and len(numbers(engine, name, "8081/tcp")) == 1
    ireko("restart", "-t", "0", name)
    assert numbers(engine, name, "8080/tcp") == []
    served(numbers(engine, name, "8081/tcp")[0])


def test_a_restart_of_either(new_engine, name):
    engine = new_engine()
    a, b = free_port(), free_port()
    engine.cli("run", "-d", "--name", name, "--hostname", "box", "-p", f"{a}:9", "busybox", "sh", "-c", SERVE)
    engine.cli("update", "-p", f"{b}:8080", "--unpublish", "9", name)
    before = as_recorded(engine, name)
    engine.stop()
    served(b)
    engine.start()
    assert as_recorded(engine, name) == before
    served(b)
    engine.cli("restart", "-t", "0", name)
    assert as_recorded(engine, name) == before and is_free(a)
    served(b)
    engine.cli("update", "--unpublish", "8080", name)
    assert as_recorded(engine, name) == set() and is_free(b)


# ---- kill -9

def traced(pid):
    """Every thread of it is."""
    states = []
    for t in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended
            states.append((t / "status").read_text())
    return all(re.search(r"TracerPid:\t[1-9]", s) for s in states)


def killed_at(engine, call, n, words):
    """Runs the command; True if the engine was killed as one of its threads made its n-th such call meanwhile."""
    strace = subprocess.Popen([program("strace"), "-f", "-q", "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={n}", "-o", "/dev/null", "-p", str(engine.p.pid)])
    try:
        wait_until("strace has the engine", lambda: traced(engine.p.pid))
        engine.cli(*words, check=False)
        with contextlib.suppress(subprocess.TimeoutExpired):
            engine.p.wait(0.05)
    finally:
        strace.terminate()
        try:
            strace.wait(10)
        except subprocess.TimeoutExpired:
            # It waits for a thread that was killed as it was to let go of it, and that waits for it.
            strace.kill()
            strace.wait()
    with contextlib.suppress(OSError, http.client.HTTPException):
        if engine.api("GET", "/_ping").status == 200:
            return False
    engine.p.wait(20)
    engine.log_file.close()
    engine.p = None
    return True


@pytest.mark.seconds(300)
def test_killed_between_any_two_steps(new_engine, name):
    """After each kill the next engine has rules, sockets and proxied ports that equal the record, which is that of before or of after."""
    engine = new_engine()
    a, b = free_port(), free_port()
    engine.cli("run", "-d", "--name", name, "-p", f"{a}:8080", "busybox", "sh", "-c", SERVE)
    change = {a: ("update", "-p", f"{b}:8081", "--unpublish", "8080", name), b: ("update", "-p", f"{a}:8080", "--unpublish", "8081", name)}
    kills = {}
    for call, step in (("sendmsg", 1), ("sendto", 1), ("pwrite64", 4)):
        n = 1
        while True:
            (now,) = {host for _, _, _, host in published(engine, name)}
            if not killed_at(engine, call, n, change[now]):
                break
            kills[call] = kills.get(call, 0) + 1
            engine.start()
            wait_until("the proxy has what it should", lambda: carried(engine) == {host for _, _, six, host in published(engine, name) if six})
            want = as_recorded(engine, name)
            assert want in ({("8080", "tcp", six, a) for six in (False, True)}, {("8081", "tcp", six, b) for six in (False, True)}), (call, n)
            assert is_free(a if b in {host for *_, host in want} else b), (call, n)
            n += step
            assert n < 60, "it is killed for ever"
    # The shim, the rules and the record were each in the middle of it.
    assert kills["sendmsg"] >= 5 and kills["sendto"] >= 3 and kills["pwrite64"] >= 3, kills
    engine.cli(*change[{host for *_, host in published(engine, name)}.pop()])
    as_recorded(engine, name)


def test_killed_and_the_container_ends_meanwhile(new_engine, name):
    """What was under way goes with it."""
    engine = new_engine()
    a, b = free_port(), free_port()
    engine.cli("run", "-d", "--name", name, "--hostname", "box", "-p", f"{a}:8080", "busybox", "sh", "-c", SERVE)
    pid = engine.inspect(name)["State"]["Pid"]
    # The shim holds the new sockets by then; the record is being written.
    assert killed_at(engine, "pwrite64", 16, ("update", "-p", f"{b}:8081", "--unpublish", "8080", name))
    assert not is_free(b)
    os.kill(pid, signal.SIGKILL)
    wait_until("the shim ends", lambda: not engine.shims())
    engine.start()
    assert not engine.inspect(name)["State"]["Running"] and rules_of_all(engine) == set() and is_free(a) and is_free(b)
    engine.cli("start", name)
    ((spec, (port,)),) = bindings(engine, name).items()
    assert (spec, int(port)) in (("8080/tcp", a), ("8081/tcp", b))
    served(int(port))
    assert as_recorded(engine, name) == {(spec[:4], "tcp", six, int(port)) for six in (False, True)}
