# SPDX-License-Identifier: Apache-2.0
"""Hostile containers: what one sends, with any frame that it likes, stays on its own network; and traffic goes on while there is no engine.

The attacks come from a process in the attacker's network namespace that has every right there, which is more than a container has (CAP_NET_RAW is a default one,
CAP_NET_ADMIN is given by --cap-add). Where the same attack succeeds upon the attacker's own network, that is seen too: the test would notice an attack that is none.
"""
import contextlib
import ipaddress
import json
import socket
import struct
import subprocess
import threading
import time

import pytest

from harness import free_port, free_subnet, run, wait_until
from test_network_connect import network, networks_of
from test_network_ipv6 import subnet6

# In the namespace: says "y" when a frame with the mark comes in within two seconds, else "n".
WATCH = """
import socket, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.settimeout(0.1)
print("ready", flush=True)
end = time.monotonic() + float(sys.argv[1])
found = False
while not found and time.monotonic() < end:
    try:
        data, at = s.recvfrom(65536)
        found = at[2] != socket.PACKET_OUTGOING and sys.argv[2].encode() in data
    except TimeoutError:
        pass
print("y" if found else "n", flush=True)
"""
# In the namespace: each argument is a frame, in hexadecimal.
SEND = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("eth0", 0))
for frame in sys.argv[1:]:
    s.send(bytes.fromhex(frame))
"""
BROADCAST = b"\xff" * 6


def python_in(pid, *args):
    return ["nsenter", "-t", str(pid), "-n", "/usr/bin/python3", "-c", *map(str, args)]


@contextlib.contextmanager
def watching(pid, mark, seconds):
    """Gives a function that says whether it came."""
    p = subprocess.Popen(python_in(pid, WATCH, seconds, mark), stdout=subprocess.PIPE, text=True)
    try:
        assert p.stdout.readline() == "ready\n"
        yield lambda: p.stdout.readline() == "y\n"
    finally:
        p.kill()
        p.wait()
        p.stdout.close()


def send(pid, *frames):
    run(*python_in(pid, SEND, *(f.hex() for f in frames)))


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def udp(mark):
    return struct.pack("!HHHH", 4000, 7777, 8 + len(mark), 0) + mark


def ip4(source, target, payload, protocol=17, options=b"", fragment=0):
    length = 20 + len(options)
    head = struct.pack("!BBHHHBBH4s4s", 0x40 | length // 4, 0, length + len(payload), 77, fragment, 64, protocol, 0,
                       socket.inet_aton(str(source)), socket.inet_aton(str(target))) + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ip6(source, target, payload, following=17):
    return struct.pack("!IHBB16s16s", 6 << 28, len(payload), following, 255, ipaddress.ip_address(source).packed, ipaddress.ip_address(target).packed) + payload


def ethernet(target, source, kind, payload):
    return target + source + struct.pack("!H", kind) + payload


def arp(operation, source_mac, source, target_mac, target):
    return struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, operation, source_mac, socket.inet_aton(str(source)), target_mac, socket.inet_aton(str(target)))


class Place:
    """A container on a network of both families: its process, its addresses and those of its gateway."""

    def __init__(self, engine, name, net):
        n = networks_of(engine, name)[net]
        self.name, self.pid, self.mac = name, engine.inspect(name)["State"]["Pid"], mac(n["MacAddress"])
        self.four, self.six, self.gateway, self.gateway6 = n["IPAddress"], n["GlobalIPv6Address"], n["Gateway"], n["IPv6Gateway"]
        self.bridge = f"br-{n['NetworkID'][:12]}"
        self.bridge_mac = mac(json.loads(run("ip", "-j", "link", "show", self.bridge).stdout)[0]["address"])


class World:
    def __init__(self, engine, name):
        run_one = lambda who, net: engine.cli("run", "-d", "--name", f"{name}{who}", "--network", f"{name}-{net}", "busybox", "sleep", "1000")
        for who, net in (("evil", "a"), ("near", "a"), ("far", "b")):
            run_one(who, net)
        self.evil, self.near, self.far = (Place(engine, f"{name}{who}", f"{name}-{net}") for who, net in (("evil", "a"), ("near", "a"), ("far", "b")))


@pytest.fixture
def world(engine, name):
    with contextlib.ExitStack() as stack:
        for net in "ab":
            stack.enter_context(network(engine, f"{name}-{net}", EnableIPv6=True, IPAM={"Config": [{"Subnet": free_subnet()}, {"Subnet": subnet6()}]}))
        yield World(engine, name)


def routed(w, frame_of):
    """To the host, for the other network's container."""
    return ethernet(w.evil.bridge_mac, w.evil.mac, *frame_of)


ATTACKS = {
    "by way of the host": lambda w, m: [routed(w, (0x0800, ip4(w.evil.four, w.far.four, udp(m))))],
    "under a neighbour's address": lambda w, m: [routed(w, (0x0800, ip4(w.near.four, w.far.four, udp(m))))],
    "under an address of the other network": lambda w, m: [routed(w, (0x0800, ip4(w.far.gateway, w.far.four, udp(m))))],
    "under an address of nobody's": lambda w, m: [routed(w, (0x0800, ip4("203.0.113.9", w.far.four, udp(m))))],
    "under another hardware address": lambda w, m: [ethernet(w.evil.bridge_mac, w.far.mac, 0x0800, ip4(w.evil.four, w.far.four, udp(m)))],
    "in fragments": lambda w, m: [routed(w, (0x0800, ip4(w.evil.four, w.far.four, udp(m)[:8], fragment=0x2000))),
                                  routed(w, (0x0800, ip4(w.evil.four, w.far.four, m, fragment=1)))],
    "the second fragment alone": lambda w, m: [routed(w, (0x0800, ip4(w.evil.four, w.far.four, m, fragment=1)))],
    "source-routed over the host": lambda w, m: [routed(w, (0x0800, ip4(w.evil.four, w.evil.gateway, udp(m), options=bytes([131, 7, 4]) + socket.inet_aton(w.far.four) + b"\0")))],
    "straight to its hardware address": lambda w, m: [ethernet(w.far.mac, w.evil.mac, 0x0800, ip4(w.evil.four, w.far.four, udp(m)))],
    "in a VLAN": lambda w, m: [ethernet(w.far.mac, w.evil.mac, 0x8100, struct.pack("!HH", 1, 0x0800) + ip4(w.evil.four, w.far.four, udp(m)))],
    "to everybody": lambda w, m: [ethernet(BROADCAST, w.evil.mac, 0x0800, ip4(w.evil.four, "255.255.255.255", udp(m)))],
    "to everybody on the other network": lambda w, m: [ethernet(to, w.evil.mac, 0x0800, ip4(w.evil.four, w.far.four.rsplit(".", 1)[0] + ".255", udp(m)))
                                                       for to in (BROADCAST, w.evil.bridge_mac)],
    "to a group": lambda w, m: [ethernet(bytes.fromhex("01005e000001"), w.evil.mac, 0x0800, ip4(w.evil.four, "224.0.0.1", udp(m)))],
    "by way of the host, IPv6": lambda w, m: [routed(w, (0x86DD, ip6(w.evil.six, w.far.six, udp(m))))],
    "under an IPv6 address of the other network": lambda w, m: [routed(w, (0x86DD, ip6(w.far.gateway6, w.far.six, udp(m))))],
    "to an IPv6 group": lambda w, m: [ethernet(bytes.fromhex("333300000001"), w.evil.mac, 0x86DD, ip6(w.evil.six, "ff02::1", udp(m)))],
    "in another protocol": lambda w, m: [ethernet(BROADCAST, w.evil.mac, 0x88B5, m), routed(w, (0x0800, ip4(w.evil.four, w.far.four, m, protocol=253)))],
}


def test_no_frame_leaves_the_network(world):
    """All of them at once, each with a mark of its own; one more that is for a neighbour does arrive."""
    marks = {what: f"attack-number-{i}-of-many" for i, what in enumerate(ATTACKS)}
    with contextlib.ExitStack() as stack:
        came = {what: stack.enter_context(watching(world.far.pid, m, 3)) for what, m in marks.items()}
        seen = stack.enter_context(watching(world.near.pid, "for-the-neighbour", 20))
        for what, m in marks.items():
            send(world.evil.pid, *ATTACKS[what](world, m.encode()))
        send(world.evil.pid, ethernet(world.near.mac, world.evil.mac, 0x0800, ip4(world.evil.four, world.near.four, udp(b"for-the-neighbour"))))
        assert seen()
        assert [what for what in came if came[what]()] == []


def neighbours(pid=None):
    """{address: hardware address} that the host, or a container, has learnt."""
    said = run(*(["nsenter", "-t", pid, "-n"] if pid else []), "ip", "neigh").stdout
    return {line.split()[0]: mac(line.split()[line.split().index("lladdr") + 1]) for line in said.splitlines() if "lladdr" in line}


def answers(pid, address):
    return run("nsenter", "-t", pid, "-n", "busybox", "ping", "-c1", "-W2", address, check=False).returncode == 0


def test_neighbour_tables_of_other_networks_are_not_poisoned(world):
    far, evil = world.far, world.evil
    for address in (far.gateway, far.gateway6):
        wait_until(f"{address} answers", lambda a=address: answers(far.pid, a))
    lie6 = lambda address: struct.pack("!BBHI16s", 136, 0, 0, 0xE0000000, ipaddress.ip_address(address).packed) + b"\2\1" + evil.mac

    def advertisement(address):
        body = lie6(address)
        pseudo = ipaddress.ip_address(address).packed + ipaddress.ip_address("ff02::1").packed + struct.pack("!II", len(body), 58)
        body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
        return ethernet(bytes.fromhex("333300000001"), evil.mac, 0x86DD, ip6(address, "ff02::1", body, following=58))

    lies = [ethernet(to, evil.mac, 0x0806, arp(op, evil.mac, address, b"\0" * 6, address))
            for address in (far.four, far.gateway) for to in (BROADCAST, evil.bridge_mac, far.mac) for op in (1, 2)]
    send(evil.pid, *lies, *(advertisement(a) for a in (far.six, far.gateway6)))
    # On its own network such a lie is believed, as on any Ethernet.
    assert answers(world.near.pid, evil.four)
    lie = ethernet(world.near.mac, evil.mac, 0x0806, arp(2, b"\x02\0\0\0\0\x66", evil.four, world.near.mac, world.near.four))

    def believed():
        # What it has just learnt it does not change for a second.
        send(evil.pid, lie)
        return neighbours(world.near.pid).get(evil.four) == b"\x02\0\0\0\0\x66"

    wait_until("the lie is believed", believed, step=0.2)
    theirs, host = neighbours(far.pid), neighbours()
    assert theirs[far.gateway] == theirs[far.gateway6] == far.bridge_mac
    assert {host[a] for a in (far.four, far.six) if a in host} == {far.mac}
    assert answers(far.pid, far.gateway) and answers(far.pid, far.gateway6)


def test_a_stolen_gateway_is_stolen_from_nobody_else(engine, world):
    """With CAP_NET_ADMIN: it takes its gateway's address, the other network's, and that of a container there."""
    for address in (world.evil.gateway, world.far.gateway, world.far.four):
        run("nsenter", "-t", world.evil.pid, "-n", "ip", "addr", "add", f"{address}/24", "dev", "eth0")
    for address, own in ((world.evil.gateway, world.evil.mac), (world.far.gateway, world.evil.mac), (world.far.four, world.evil.mac)):
        send(world.evil.pid, ethernet(BROADCAST, own, 0x0806, arp(2, own, address, BROADCAST, address)))
    assert answers(world.far.pid, world.far.gateway)
    assert run("busybox", "ping", "-c1", "-W2", world.far.four, check=False).returncode == 0
    assert neighbours()[world.far.four] == world.far.mac
    assert neighbours(world.far.pid)[world.far.gateway] == world.far.bridge_mac


def tcp(pid, address, port):
    """What a connection from there ends as: open, refused, or timeout."""
    code = ("import socket,sys\ntry:\n socket.create_connection((sys.argv[1],int(sys.argv[2])),1).close(); print('open')\n"
            "except ConnectionRefusedError: print('refused')\nexcept OSError: print('timeout')")
    return run(*python_in(pid, code, address, port)).stdout.strip()


def test_what_the_host_serves(world):
    """As with Docker: what listens on every address of the host, or on a bridge's, is the host's own and reached by all of its containers; what listens on
    localhost is not, whatever is sent."""
    with socket.socket() as at_bridge, socket.socket() as at_home, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        at_bridge.bind((world.far.gateway, 0))
        at_home.bind(("127.0.0.1", 0))
        at_bridge.listen()
        at_home.listen()
        assert tcp(world.evil.pid, world.far.gateway, at_bridge.getsockname()[1]) == "open"
        port = at_home.getsockname()[1]
        assert tcp(world.evil.pid, world.evil.gateway, port) == "refused"
        datagrams.bind(("127.0.0.1", 0))
        datagrams.settimeout(0.5)
        for source in (world.evil.four, "127.0.0.1", "0.0.0.0"):
            payload = struct.pack("!HHHH", 4000, datagrams.getsockname()[1], 12, 0) + b"evil"
            send(world.evil.pid, ethernet(world.evil.bridge_mac, world.evil.mac, 0x0800, ip4(source, "127.0.0.1", payload)))
        with pytest.raises(TimeoutError):
            datagrams.recv(100)


def test_nobody_else_is_believed_to_send(world):
    """What comes from a container comes from its network, or is dropped: the host hears the sender's own address only."""
    with socket.socket(type=socket.SOCK_DGRAM) as host:
        host.bind((world.evil.gateway, 0))
        host.settimeout(0.3)
        for source in (world.far.four, world.far.gateway, "203.0.113.9", world.evil.four):
            send(world.evil.pid, ethernet(world.evil.bridge_mac, world.evil.mac, 0x0800,
                                          ip4(source, world.evil.gateway, struct.pack("!HHHH", 4000, host.getsockname()[1], 12, 0) + b"evil")))
        assert host.recvfrom(100)[1][0] == world.evil.four
        with pytest.raises(TimeoutError):
            host.recv(100)


def test_the_api_on_localhost_is_the_hosts(new_engine):
    port = free_port()
    engine = new_engine("-H", f"tcp://127.0.0.1:{port}")
    engine.cli("run", "-d", "--name", "box", "busybox", "sleep", "1000")
    pid, gateway = engine.inspect("box")["State"]["Pid"], networks_of(engine, "box")["bridge"]["Gateway"]
    with socket.create_connection(("127.0.0.1", port), 5):
        pass
    assert tcp(pid, gateway, port) == "refused"
    run("nsenter", "-t", pid, "-n", "ip", "addr", "del", "127.0.0.1/8", "dev", "lo")
    run("nsenter", "-t", pid, "-n", "ip", "route", "add", "127.0.0.1", "via", gateway)
    assert tcp(pid, "127.0.0.1", port) == "timeout"


# ---- without an engine ----

# Sends a byte every few milliseconds to whoever connects.
TALK = """
import socket, sys, time
s = socket.create_server(("", int(sys.argv[1])))
print("ready", flush=True)
while True:
    c, _ = s.accept()
    try:
        while True:
            c.send(b"x")
            time.sleep(0.005)
    except OSError:
        pass
"""
HEAR = """
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
while s.recv(100):
    print("x", flush=True)
"""


class Listener(threading.Thread):
    """Counts what comes, and notes the longest time without."""

    def __init__(self, args):
        super().__init__(daemon=True)
        self.p = subprocess.Popen(args, stdout=subprocess.PIPE)
        self.count, self.gap = 0, 0.0
        self.start()

    def run(self):
        last = None
        for _ in self.p.stdout:
            now = time.monotonic()
            self.gap = max(self.gap, now - last) if last else 0.0
            last = now
            self.count += 1

    def close(self):
        self.p.kill()
        self.p.wait()
        self.join()
        self.p.stdout.close()


def test_traffic_goes_on_without_the_engine(new_engine):
    """Through a published port, from container to container, and from a container to the host: killed or stopped, nothing breaks."""
    engine, port, outside = new_engine(), free_port(), free_port()
    engine.cli("network", "create", "--subnet", free_subnet(), "net")
    for name, more in (("web", ["-p", f"{port}:80"]), ("client", [])):
        engine.cli("run", "-d", "--name", name, "--network", "net", *more, "busybox", "sleep", "1000")
    web, client = (Place4(engine, name) for name in ("web", "client"))
    talkers = [subprocess.Popen(python_in(web.pid, TALK, number), stdout=subprocess.PIPE, text=True) for number in (80, 81)]
    talkers.append(subprocess.Popen(["/usr/bin/python3", "-c", TALK, str(outside)], stdout=subprocess.PIPE, text=True))
    ears = []
    try:
        assert all(t.stdout.readline() == "ready\n" for t in talkers)
        ears = [Listener(["/usr/bin/python3", "-c", HEAR, "127.0.0.1", str(port)]), Listener(python_in(client.pid, HEAR, web.four, 81)),
                Listener(python_in(client.pid, HEAR, web.gateway, outside))]

        def flows():
            before = [e.count for e in ears]
            wait_until("all of them hear more", lambda: all(e.count > b + 20 for e, b in zip(ears, before)))

        flows()
        for end in (engine.kill, engine.stop):
            end()
            flows()
            engine.start()
            flows()
        # New connections too.
        engine.kill()
        assert tcp(client.pid, web.four, 81) == "open"
        with socket.create_connection(("127.0.0.1", port), 5):
            pass
        engine.start()
        assert max(e.gap for e in ears) < 5, [e.gap for e in ears]
        assert all(e.p.poll() is None for e in ears)
    finally:
        for e in ears:
            e.close()
        for t in talkers:
            t.kill()
            t.wait()
            t.stdout.close()


class Place4:
    def __init__(self, engine, name):
        n = networks_of(engine, name)["net"]
        self.pid, self.four, self.gateway = engine.inspect(name)["State"]["Pid"], n["IPAddress"], n["Gateway"]
