# SPDX-License-Identifier: Apache-2.0
"""Routes that come where a network is already: told, with the interface; and another subnet for the network, while its containers run."""
import contextlib
import ipaddress
import uuid

import pytest

from harness import free_port, free_subnet, run, tcp_ask, wait_until
from test_network import SERVE
from test_network_connect import default_route, network, networks_of

REQUEST = b"GET / HTTP/1.0\r\n\r\n"


@contextlib.contextmanager
def vpn(subnet):
    """An interface that brings a route, as a VPN does."""
    name = f"irkv{uuid.uuid4().hex[:6]}"
    run("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p")
    try:
        run("ip", "link", "set", name, "up")
        run("ip", "link", "set", f"{name}p", "up")
        run("ip", "route", "add", subnet, "dev", name, "table", "7361")
        yield name
    finally:
        run("ip", "link", "del", name, check=False)


def warnings(engine):
    return engine.api("GET", "/info").json["Warnings"] or []


def subnet_of(engine, name):
    return ipaddress.ip_network(engine.api("GET", f"/networks/{name}").json["IPAM"]["Config"][0]["Subnet"])


def test_a_vpn_that_comes_later_is_named(engine, cli, name):
    subnet = free_subnet()
    with network(engine, name, IPAM={"Config": [{"Subnet": subnet}]}):
        cli("run", "-d", "--name", name, "--network", name, "busybox", "sleep", "1000")
        assert not any(name in w for w in warnings(engine))
        with vpn(subnet) as interface:
            (said,) = wait_until("the warning", lambda: [w for w in warnings(engine) if name in w])
            assert f"overlaps with the route {subnet} of interface {interface}" in said and f"ireko network renumber {name}" in said
            assert said in cli("info").stdout + cli("info").stderr
            assert said in engine.log_text()
        wait_until("the warning to go", lambda: not any(name in w for w in warnings(engine)))


def test_renumber_while_containers_run(engine, ireko, name):
    subnet, port = free_subnet(), free_port()
    with network(engine, name, IPAM={"Config": [{"Subnet": subnet}]}), network(engine, f"{name}-o"), vpn(subnet):
        old = ipaddress.ip_network(subnet)
        ireko("run", "-d", "--name", name, "--network", name, "--hostname", "box", "--ip", str(old[77]), "--network-alias", "web", "-p", f"{port}:8080", "busybox", "sh", "-c", SERVE)
        ireko("run", "-d", "--name", f"{name}-b", "--network", name, "busybox", "sleep", "1000")
        ireko("network", "connect", f"{name}-o", f"{name}-b")
        ireko("create", "--name", f"{name}-c", "--network", name, "--ip", str(old[78]), "busybox", "true")
        said = ipaddress.ip_network(ireko.out("network", "renumber", name))
        new = subnet_of(engine, name)
        assert said == new and not new.overlaps(old) and not any(f"network {name}:" in w for w in warnings(engine))
        ep = networks_of(engine, name)[name]
        assert ep["IPAddress"] == str(new[77]) and ep["Gateway"] == str(new[1]) and default_route(engine, name) == [str(new[1])]
        assert str(new[77]) in ireko.out("exec", name, "cat", "/etc/hosts") and str(old[77]) not in ireko.out("exec", name, "cat", "/etc/hosts")
        # Names, the published port, the way out of the other one, and what has not run yet.
        assert ireko.out("exec", f"{name}-b", "wget", "-qO-", "http://web:8080/") == "served-by-box"
        assert b"served-by-box" in tcp_ask("127.0.0.1", port, REQUEST)
        assert default_route(engine, f"{name}-b") == [networks_of(engine, f"{name}-b")[name]["Gateway"]]
        assert engine.inspect(f"{name}-c")["NetworkSettings"]["Networks"][name]["IPAMConfig"] == {"IPv4Address": str(new[78])}
        ireko("start", "-a", f"{name}-c")
        ireko("restart", "-t", "0", name)
        assert networks_of(engine, name)[name]["IPAddress"] == str(new[77])
        wished = free_subnet()
        assert ireko.out("network", "renumber", "--subnet", wished, name) == wished


@pytest.mark.parametrize("body, network_name, text", [
    ({"Subnet": "10.0.0.0/33"}, None, "invalid subnet"),
    ({"Subnet": "fd00::/64"}, None, "has no IPv6 subnet"),
    ({}, "host", "has no subnet of this host's to exchange"),
    ({}, "nope", "network nope not found"),
])
def test_refusals(engine, name, body, network_name, text):
    with network(engine, name):
        before = subnet_of(engine, name)
        reply = engine.api("POST", f"/ireko/networks/{network_name or name}/renumber", body)
        assert reply.status in (400, 404) and text in reply.message, reply.body
        assert subnet_of(engine, name) == before


def test_one_that_cannot_be_had_changes_nothing(engine, ireko, name):
    taken = free_subnet()
    with network(engine, name), network(engine, f"{name}-t", IPAM={"Config": [{"Subnet": taken}]}):
        ireko("run", "-d", "--name", name, "--network", name, "--hostname", "box", "busybox", "sh", "-c", SERVE)
        before = networks_of(engine, name)[name]
        p = ireko("network", "renumber", "--subnet", taken, name, check=False)
        assert p.returncode != 0 and "Pool overlaps with other one" in p.stderr
        after = networks_of(engine, name)[name]
        assert after["Gateway"] == before["Gateway"] and after["IPAddress"]
        assert b"served-by-box" in tcp_ask(after["IPAddress"], 8080, REQUEST)


def test_after_a_crash_of_the_engine(new_engine):
    engine = new_engine()
    with network(engine, "net"):
        engine.cli("run", "-d", "--name", "web", "--hostname", "box", "--network", "net", "busybox", "sh", "-c", SERVE)
        engine.cli("network", "renumber", "net")
        before = networks_of(engine, "web")
        engine.kill()
        engine.start()
        assert networks_of(engine, "web") == before and ipaddress.ip_address(before["net"]["IPAddress"]) in subnet_of(engine, "net")
        assert b"served-by-box" in tcp_ask(before["net"]["IPAddress"], 8080, REQUEST)
        engine.remove_containers()
