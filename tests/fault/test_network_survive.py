# SPDX-License-Identifier: Apache-2.0
"""kill -9 of irekod right before any of its steps while networks are made, joined, left and removed and ports are published: after the next start, rules,
leases and interfaces are what containers have, no more and no less.

kill_self.c counts the steps of each request in the life of a container on several networks; then the engine is killed at points spread evenly over each.
IREKO_CRASH_POINTS says how many (make check-crash: 200; half of them are here).
"""
import contextlib
import ipaddress
import json
import os
import random

import pytest

import harness
from harness import free_port, free_subnet, run, wait_until
from test_crash import ENGINE, Control, wait_dead

POINTS = int(os.environ.get("IREKO_CRASH_POINTS", "40")) // 2
PROTOCOLS = {"tcp", "udp"}


def subnet6():
    return f"fd{random.randrange(256):02x}:{random.randrange(65536):x}:{random.randrange(65536):x}::/64"


class Life:
    """What is done to the engine, one request after the other, until it is killed."""

    def __init__(self, engine, parent, lan):
        self.engine, self.port, self.other_port = engine, free_port(), free_port()
        self.subnets = {name: (free_subnet(29), subnet6()) for name in ("a-net", "b-net")}
        self.parent, self.lan = parent, lan

    def make_network(self, name):
        four, six = self.subnets[name]
        return ("POST", "/networks/create", {"Name": name, "EnableIPv6": True, "IPAM": {"Config": [{"Subnet": four}, {"Subnet": six}]}})

    def steps(self):
        ports = {f"80/{p}": [{"HostPort": str(self.port)}] for p in PROTOCOLS}
        lan = {"Name": "lan", "Driver": "macvlan", "Options": {"parent": self.parent}, "IPAM": {"Config": [{"Subnet": self.lan}]}}
        yield self.make_network("b-net")
        yield ("POST", "/containers/create?name=web", {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "b-net", "PortBindings": ports}})
        yield ("POST", "/containers/web/start", None)
        yield ("POST", "/ireko/containers/web/ports", {"Publish": {"81/tcp": [{"HostPort": str(self.other_port)}]}, "Unpublish": ["80/tcp"]})
        yield self.make_network("a-net")
        # Its name is the first: the way out and the ports move here.
        yield ("POST", "/networks/a-net/connect", {"Container": "web"})
        yield ("POST", "/networks/create", lan)
        yield ("POST", "/networks/lan/connect", {"Container": "web"})
        yield ("POST", "/networks/lan/disconnect", {"Container": "web"})
        yield ("POST", "/networks/a-net/disconnect", {"Container": "web"})
        yield ("POST", "/networks/bridge/connect", {"Container": "web"})
        yield ("POST", "/networks/b-net/disconnect", {"Container": "web"})
        yield ("POST", "/containers/web/restart?t=0", None)
        yield ("DELETE", "/containers/web?force=1", None)
        for name in ("a-net", "b-net", "lan"):
            yield ("DELETE", f"/networks/{name}", None)

    def live(self, victim=None, kill_at=0):
        """Until the engine is gone: killed at that step of that request. Returns how many steps each request took."""
        counts, control = [], self.engine.control
        for i, (method, path, body) in enumerate(self.steps()):
            control.arm(ENGINE, kill_at if i == victim else 0)
            try:
                reply = self.engine.api(method, path, body)
            except (OSError, harness.http.client.HTTPException):
                assert control.killed
                return counts
            assert reply.status < 300, (path, reply.body)
            counts.append(control.counts()[ENGINE])
            control.disarm()
            if i == victim:
                return counts
        return counts

    def forget(self):
        self.engine.remove_containers()
        for n in self.engine.api("GET", "/networks").json:
            if n["Name"] in ("a-net", "b-net", "lan"):
                assert self.engine.api("DELETE", f"/networks/{n['Id']}").status == 204


def elements(engine):
    """{set or map: its elements}, a map's as {key: value}, all as text."""
    p = run(harness.program("nft"), "-j", "list", "table", "inet", f"ireko_{engine.mark}", check=False)
    found = {}
    for item in json.loads(p.stdout)["nftables"] if p.returncode == 0 else []:
        kind = "map" if "map" in item else "set"
        if kind in item:
            found[item[kind]["name"]] = sorted(item[kind].get("elem", []), key=json.dumps)
    return found


def inside(pid, *words):
    return json.loads(run("nsenter", "-t", pid, "-n", "ip", "-j", *words).stdout or "[]")


def own_links(engine):
    """{bridge: names of its veths} of this engine."""
    links = json.loads(run("ip", "-j", "-d", "link").stdout)
    ours = {link["ifname"] for link in links if link.get("ifalias") == f"ireko:ireko_{engine.mark}"}
    return {b: {link["ifname"] for link in links if link.get("master") == b} for b in ours}


def check_container(engine, c, expected_ports):
    """Its interfaces, its way out and its files against its record. Adds to {map: elements} what its ports are."""
    pid, nets = c["State"]["Pid"], c["NetworkSettings"]["Networks"]
    addresses = {a["local"] for i in inside(pid, "addr") if i["ifname"] != "lo" for a in i.get("addr_info", []) if a["scope"] == "global"}
    assert addresses == {n[f] for n in nets.values() for f in ("IPAddress", "GlobalIPv6Address") if n[f]}
    assert len([i for i in inside(pid, "addr") if i["ifname"] != "lo"]) == len(nets)
    hosts = engine.cli("exec", c["Id"], "cat", "/etc/hosts").stdout
    own = {line.split()[0] for line in hosts.splitlines() if line.strip() and line.split()[-1] == c["Config"]["Hostname"]}
    assert own == addresses, hosts
    # The first name is the way out, in each family.
    for family, kind, field in ((4, "IPAddress", "Gateway"), (6, "GlobalIPv6Address", "IPv6Gateway")):
        ways = sorted(name for name, n in nets.items() if n[field])
        routes = [r["gateway"] for r in inside(pid, f"-{family}", "route", "show", "default")]
        assert routes == [nets[ways[0]][field]] if ways else not routes, (family, nets, routes)
        for port, at in (c["NetworkSettings"]["Ports"] or {}).items():
            number, protocol = port.split("/")
            for host in at or ():
                if ways and ways[0] != "lan" and ipaddress.ip_address(host["HostIp"]).version == family:
                    entry = [{"concat": [protocol, int(host["HostPort"])]}, {"concat": [nets[ways[0]][kind], int(number)]}]
                    expected_ports.setdefault(f"ports_any{family}", []).append(entry)


def check_all(engine):
    """Both ways: what is recorded is there, and what is there is recorded."""
    networks = {n["Name"]: engine.api("GET", f"/networks/{n['Id']}").json for n in engine.api("GET", "/networks").json}
    containers = [engine.inspect(c["Id"]) for c in engine.api("GET", "/containers/json").json]
    links, rules, expected = own_links(engine), elements(engine), {}
    # Rules that were made anew are for bridges with containers; the next container has them made for its own.
    assert {b for b, veths in links.items() if veths} <= set(rules.get("bridges", [])) <= set(links)
    names = {f"br-{n['Id'][:12]}" for n in networks.values() if n["Driver"] == "bridge"} | {engine.bridge}
    assert set(links) <= names
    for c in containers:
        check_container(engine, c, expected)
    joined = {f"veth{n['EndpointID'][:8]}" for c in containers for name, n in c["NetworkSettings"]["Networks"].items() if name != "lan"}
    # Those of a container that has ended go with its namespace, when the kernel comes to it.
    wait_until(f"the veths are {joined}", lambda: {v for veths in own_links(engine).values() for v in veths} == joined)
    ports = {name: sorted(expected.get(name, []), key=json.dumps) for name in ("ports_any4", "ports_any6", "ports_at4", "ports_at6", "open4", "open6")}
    # A change of ports that was cut short is settled beside the first requests.
    wait_until(f"the ports are {ports}", lambda: {name: elements(engine).get(name, []) for name in ports} == ports)


def fill(engine, network, n):
    """A small subnet gives each of its addresses once, and then no more."""
    def start(i):
        assert engine.api("POST", f"/containers/create?name=fill{i}", {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": network}}).status == 201
        return engine.api("POST", f"/containers/fill{i}/start").status

    assert [start(i) for i in range(n)] == [204] * n
    addresses = [engine.inspect(f"fill{i}")["NetworkSettings"]["Networks"][network]["IPAddress"] for i in range(n)]
    assert len(set(addresses)) == n
    assert start(n) >= 400


@contextlib.contextmanager
def dummy():
    """An interface of the host's, for macvlan."""
    name = f"irkd{random.randrange(16**6):06x}"
    run("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p")
    try:
        yield name
    finally:
        run("ip", "link", "del", name)


@pytest.fixture(scope="module")
def kill_self():
    folder = harness.temp_folder("kill-self")
    run("gcc", "-std=gnu17", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", harness.ROOT / "tests/fault/kill_self.c", "-o", folder / "kill_self.so")
    yield folder / "kill_self.so"
    harness.shutil.rmtree(folder)


@pytest.fixture
def victim(kill_self):
    root = harness.temp_folder("crash 網が 倒れる")
    control = Control(root / "control")
    engine = harness.Engine(root=root, prefix=("/usr/bin/env", f"LD_PRELOAD={kill_self}", f"KILL_SELF={root}/control"))
    engine.control = control
    engine.start()
    engine.load_busybox()
    yield engine
    control.disarm()
    try:
        engine.destroy()
    finally:
        control.close()


def share(requests, points):
    """Of the points for each request: what changes a container that runs has most."""
    weights = [3 if "connect" in path or "/ports" in path else 1 for _, path, _ in requests]
    return [max(1, points * w // sum(weights)) for w in weights]


@pytest.mark.seconds(90 + 5 * POINTS)
def test_kill_9_anywhere(victim):
    with dummy() as parent:
        life = Life(victim, parent, free_subnet())
        requests = list(life.steps())
        # The first time has steps that do not come again; and some wait for the kernel.
        counts = [min(c) for c in zip(*(life.live() for _ in range(3)))]
        met = tried = 0
        for i, points in enumerate(share(requests, POINTS)):
            for k in range(points):
                # Not the same ones each time; but for one in the middle of a change, when the ports are withdrawn and nothing is recorded yet.
                at = 1 + (k * counts[i] + random.randrange(counts[i])) // points if k else counts[i] * 8 // 10
                life.live(i, at)
                tried += 1
                if victim.control.killed:
                    met += wait_dead(victim)
                    victim.control.disarm()
                    victim.start()
                victim.control.disarm()
                try:
                    check_all(victim)
                except AssertionError as e:
                    raise AssertionError(f"killed at step {at} of {counts[i]} of {requests[i][:2]}") from e
                life.forget()
                check_all(victim)
        assert met >= tried // 2, f"only {met} of {tried} points were met"
        assert victim.api(*life.make_network("b-net")).status == 201
        fill(victim, "b-net", 5)
        check_all(victim)
