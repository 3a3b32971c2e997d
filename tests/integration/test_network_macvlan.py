# SPDX-License-Identifier: Apache-2.0
"""macvlan and ipvlan: containers as hosts of their own on the network behind one of the host's interfaces."""
import contextlib
import ipaddress
import uuid

from harness import free_subnet, run, wait_until
from test_network import SERVE, ask_from
from test_network_connect import default_route, network, networks_of, refused


@contextlib.contextmanager
def cable():
    """An interface of the host's, and another machine at the end of its cable: (interface, namespace, network)."""
    tag = uuid.uuid4().hex[:6]
    name, host_if = f"irk-{tag}", f"irkt{tag}"
    net = ipaddress.ip_network(free_subnet())
    run("ip", "netns", "add", name)
    try:
        run("ip", "link", "add", host_if, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", host_if, "up")
        for words in (("addr", "add", f"{net[1]}/24", "dev", "eth0"), ("link", "set", "lo", "up"), ("link", "set", "eth0", "up")):
            run("ip", "-n", name, *words)
        yield host_if, name, net
    finally:
        run("ip", "netns", "del", name, check=False)
        run("ip", "link", "del", host_if, check=False)


def ipam(net):
    return {"Config": [{"Subnet": str(net), "Gateway": str(net[1])}]}


def test_macvlan(cli, engine, name):
    with cable() as (parent, machine, net):
        cli("network", "create", "-d", "macvlan", "--subnet", str(net), "--gateway", str(net[1]), "-o", f"parent={parent}", name)
        try:
            cli("run", "-d", "--name", name, "--network", name, "--hostname", "box", "--ip", str(net[40]), "-p", "8080:8080", "busybox", "sh", "-c", SERVE)
            ep = networks_of(engine, name)[name]
            assert ep["IPAddress"] == str(net[40]) and ep["Gateway"] == str(net[1]) and default_route(engine, name) == [str(net[1])]
            wait_until("the server", lambda: "served-by-box" in ask_from(machine, str(net[40]), 8080).stdout)
            # What the other machine sees is the container's own address; there is nothing to publish.
            assert cli("exec", name, "ping", "-c1", "-W2", str(net[1])).returncode == 0
            assert engine.inspect(name)["NetworkSettings"]["Ports"] == {"8080/tcp": None}
            # Names are answered there too.
            assert "served-by-box" in cli("run", "--rm", "--network", name, "busybox", "wget", "-qO-", f"http://{name}:8080/").stdout
            cli("network", "disconnect", name, name)
            assert "eth0" not in run("nsenter", "-t", str(engine.inspect(name)["State"]["Pid"]), "-n", "ip", "-br", "link").stdout
            cli("network", "connect", name, name)
            assert "served-by-box" in ask_from(machine, networks_of(engine, name)[name]["IPAddress"], 8080).stdout
            assert engine.api("GET", f"/networks/{name}").json["Driver"] == "macvlan"
        finally:
            engine.remove_containers()
            cli("network", "rm", name)


def test_beside_a_bridge(engine, ireko, name):
    """One network of each kind: the way out and the published port are the bridge's, by priority or by name."""
    with cable() as (parent, _, net), network(engine, f"{name}-m", Driver="macvlan", Options={"parent": parent}, IPAM=ipam(net)), network(engine, f"{name}-b"):
        ireko("run", "-d", "--name", name, "--network", f"{name}-m", "--network", f"name={name}-b,gw-priority=5", "busybox", "sleep", "1000")
        bridge = networks_of(engine, name)[f"{name}-b"]
        assert default_route(engine, name) == [bridge["Gateway"]]
        ireko("network", "disconnect", f"{name}-b", name)
        assert default_route(engine, name) == [str(net[1])]


def test_without_a_parent_it_is_a_network_of_its_own(engine, ireko, name):
    with network(engine, name, Driver="macvlan", Internal=True):
        ireko("run", "-d", "--name", name, "--network", name, "--hostname", "box", "busybox", "sh", "-c", SERVE)
        wait_until("the server", lambda: ireko("run", "--rm", "--network", name, "busybox", "wget", "-qO-", f"http://{name}:8080/", check=False).stdout.strip() == "served-by-box")
        assert default_route(engine, name) == []


def test_refusals(engine, name):
    with cable() as (parent, _, net), network(engine, name, Driver="macvlan", Options={"parent": parent}, IPAM=ipam(net)):
        refused(engine, 403, f"network {name} is already using parent interface {parent}", Name=f"{name}2", Driver="ipvlan", Options={"parent": parent})
        refused(engine, 404, "parent interface irkt-none does not exist", Name=f"{name}2", Driver="macvlan", Options={"parent": "irkt-none"})
        refused(engine, 404, f"ip link add link {parent} name {parent}.7 type vlan id 7", Name=f"{name}2", Driver="macvlan", Options={"parent": f"{parent}.7"})
        refused(engine, 400, "expected one of bridge, private, vepa, passthru", Name=f"{name}2", Driver="macvlan", Options={"macvlan_mode": "l2"})
        refused(engine, 400, "expected one of l2, l3, l3s", Name=f"{name}2", Driver="ipvlan", Options={"ipvlan_mode": "bridge"})
        refused(engine, 501, "is not offered with driver macvlan", Name=f"{name}2", Driver="macvlan", Options={"com.docker.network.bridge.name": "x"})


def test_after_a_crash(new_engine):
    engine = new_engine()
    with cable() as (parent, machine, net), network(engine, "lan", Driver="macvlan", Options={"parent": parent}, IPAM=ipam(net)):
        engine.cli("run", "-d", "--name", "web", "--hostname", "box", "--network", "lan", "busybox", "sh", "-c", SERVE)
        own = networks_of(engine, "web")["lan"]["IPAddress"]
        engine.kill()
        engine.start()
        wait_until("the server", lambda: "served-by-box" in ask_from(machine, own, 8080).stdout)
        other = engine.cli("run", "-d", "--network", "lan", "busybox", "sleep", "1000").stdout.strip()
        assert networks_of(engine, other)["lan"]["IPAddress"] not in ("", own)
        engine.remove_containers()
