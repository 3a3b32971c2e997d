# SPDX-License-Identifier: Apache-2.0
"""IPv6: networks of both families and of IPv6 alone, their addresses, ports, names and files; sctp; gateway modes; settings of an interface."""
import contextlib
import ipaddress
import json
import random
import socket

from harness import BUILD, free_port, free_subnet, run, tcp_ask, wait_until
from test_network import SERVE, ask_from
from test_network_connect import default_route, network, networks_of

REQUEST = b"GET / HTTP/1.0\r\n\r\n"


def subnet6():
    return f"fd7{random.randrange(16):x}:{random.randrange(1 << 16):x}:{random.randrange(1 << 16):x}::/64"


def in_container(engine, name, *words):
    """ip(8) of the host in the network namespace of a container: busybox has little of it."""
    return run("nsenter", "-t", str(engine.inspect(name)["State"]["Pid"]), "-n", *words).stdout


def ask6(address, port):
    return tcp_ask(address, port, REQUEST)


def test_both_families(cli, engine, name):
    subnet = subnet6()
    net = ipaddress.ip_network(subnet)
    cli("network", "create", "--ipv6", "--subnet", subnet, name)
    try:
        shown = engine.api("GET", f"/networks/{name}").json
        assert shown["EnableIPv6"] and shown["EnableIPv4"] and len(shown["IPAM"]["Config"]) == 2
        assert {"Subnet": subnet, "Gateway": str(net[1])} in shown["IPAM"]["Config"]
        cli("run", "-d", "--name", name, "--network", name, "--ip6", str(net[0x50]), "busybox", "sleep", "1000")
        cli("run", "-d", "--name", f"{name}-b", "--network", name, "--hostname", "box", "busybox", "sh", "-c", SERVE)
        ep = networks_of(engine, name)[name]
        assert ep["GlobalIPv6Address"] == str(net[0x50]) and ep["GlobalIPv6PrefixLen"] == 64 and ep["IPv6Gateway"] == str(net[1])
        assert ep["IPAddress"] and engine.api("GET", f"/networks/{name}").json["Containers"][engine.inspect(name)["Id"]]["IPv6Address"] == f"{net[0x50]}/64"
        other = networks_of(engine, f"{name}-b")[name]["GlobalIPv6Address"]
        assert ipaddress.ip_address(other) in net
        assert f"default via {net[1]}" in in_container(engine, name, "ip", "-6", "route")
        # By address and by name, in both families; the name of the address; and the file.
        wait_until("the server", lambda: "served-by-box" in cli("exec", name, "wget", "-qO-", f"http://[{other}]:8080/", check=False).stdout)
        said = in_container(engine, name, "nsenter", "-t", str(engine.inspect(name)["State"]["Pid"]), "-m", "nslookup", f"{name}-b")
        assert other in said and networks_of(engine, f"{name}-b")[name]["IPAddress"] in said
        hosts = cli("exec", name, "cat", "/etc/hosts").stdout
        assert str(net[0x50]) in hosts and ep["IPAddress"] in hosts
    finally:
        engine.remove_containers()
        cli("network", "rm", name)


def test_only_ipv6_with_a_subnet_of_our_choice(engine, ireko, name):
    with network(engine, name, EnableIPv4=False, EnableIPv6=True, IPAM={}):
        shown = engine.api("GET", f"/networks/{name}").json
        (config,) = shown["IPAM"]["Config"] or [None]
        assert not shown["EnableIPv4"] and ipaddress.ip_network(config["Subnet"]).subnet_of(ipaddress.ip_network("fd00::/8"))
        port = free_port()
        ireko("run", "-d", "--name", name, "--network", name, "--hostname", "box", "-p", f"[::]:{port}:8080", "busybox", "sh", "-c", SERVE)
        ep = networks_of(engine, name)[name]
        assert ep["IPAddress"] == "" and ep["Gateway"] == "" and ep["GlobalIPv6Address"]
        assert engine.inspect(name)["NetworkSettings"]["Ports"] == {"8080/tcp": [{"HostIp": "::", "HostPort": str(port)}]}
        assert b"served-by-box" in ask6(ep["GlobalIPv6Address"], 8080)
        # By the host's address on the network: what comes to the host is translated.
        assert b"served-by-box" in ask6(config["Gateway"], port)
        p = ireko("run", "--rm", "--network", name, "-p", "127.0.0.1:1:80/sctp", "busybox", "true", check=False)
        assert p.returncode == 125 and "the container has no IPv4" in p.stderr
        ireko("restart", "-t", "0", name)
        assert b"served-by-box" in ask6(networks_of(engine, name)[name]["GlobalIPv6Address"], 8080)


def test_one_number_for_both_families(engine, ireko, name):
    with network(engine, name, EnableIPv6=True):
        ireko("run", "-d", "--name", name, "--network", name, "--hostname", "box", "-p", "8080", "busybox", "sh", "-c", SERVE)
        ports = engine.inspect(name)["NetworkSettings"]["Ports"]["8080/tcp"]
        assert [p["HostIp"] for p in ports] == ["0.0.0.0", "::"] and ports[0]["HostPort"] == ports[1]["HostPort"]
        port = int(ports[0]["HostPort"])
        gateway = networks_of(engine, name)[name]
        assert b"served-by-box" in tcp_ask("127.0.0.1", port, REQUEST)
        assert b"served-by-box" in ask6(gateway["IPv6Gateway"], port)
        # Whoever has the number in one family has it in the way of both.
        with socket.socket(socket.AF_INET6) as s:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            s.bind(("::", 0))
            s.listen()
            p = ireko("run", "--rm", "--network", name, "-p", f"{s.getsockname()[1]}:80", "busybox", "true", check=False)
            assert p.returncode == 125 and f"Bind for [::]:{s.getsockname()[1]} failed: port is already allocated" in p.stderr


def test_connect_and_disconnect_move_the_way_out(engine, ireko, name):
    with network(engine, f"{name}-a", EnableIPv6=True), network(engine, f"{name}-b"):
        ireko("run", "-d", "--name", name, "--network", f"{name}-b", "busybox", "sleep", "1000")
        assert "default" not in in_container(engine, name, "ip", "-6", "route")
        ireko("network", "connect", f"{name}-a", name)
        six = networks_of(engine, name)[f"{name}-a"]
        assert f"default via {six['IPv6Gateway']}" in in_container(engine, name, "ip", "-6", "route")
        assert six["GlobalIPv6Address"] in ireko.out("exec", name, "cat", "/etc/hosts")
        ireko("network", "disconnect", f"{name}-a", name)
        assert "default" not in in_container(engine, name, "ip", "-6", "route")
        assert six["GlobalIPv6Address"] not in ireko.out("exec", name, "cat", "/etc/hosts")
        assert default_route(engine, name) == [networks_of(engine, name)[f"{name}-b"]["Gateway"]]


def test_after_a_crash(new_engine):
    """The next engine knows which IPv6 addresses are taken, and makes rules again that somebody removed."""
    engine = new_engine()
    port = free_port()
    with network(engine, "six", EnableIPv6=True):
        engine.cli("run", "-d", "--name", "web", "--hostname", "box", "--network", "six", "-p", f"{port}:8080", "busybox", "sh", "-c", SERVE)
        ep = networks_of(engine, "web")["six"]
        assert b"served-by-box" in ask6(ep["IPv6Gateway"], port)
        engine.kill()
        assert b"served-by-box" in ask6(ep["IPv6Gateway"], port)
        run("nft", "delete", "table", "inet", f"ireko_{engine.mark}")
        engine.start()
        assert b"served-by-box" in ask6(ep["IPv6Gateway"], port)
        other = engine.cli("run", "-d", "--network", "six", "busybox", "sleep", "1000").stdout.strip()
        assert networks_of(engine, other)["six"]["GlobalIPv6Address"] != ep["GlobalIPv6Address"]
        engine.remove_containers()


def test_sctp(engine, ireko, name):
    port = free_port()
    ireko("run", "-d", "--name", name, "-p", f"{port}:9999/sctp", "busybox", "sleep", "1000")
    assert engine.inspect(name)["NetworkSettings"]["Ports"] == {"9999/sctp": [{"HostIp": "0.0.0.0", "HostPort": str(port)}]}
    rules = json.loads(run("nft", "-j", "list", "map", "inet", f"ireko_{engine.mark}", "ports_any4").stdout)
    elements = next(o["map"] for o in rules["nftables"] if "map" in o)["elem"]
    assert [{"concat": ["sctp", port]}, {"concat": [engine.inspect(name)["NetworkSettings"]["IPAddress"], 9999]}] in elements
    p = ireko("run", "--rm", "-p", f"{port}:1/sctp", "busybox", "true", check=False)
    assert p.returncode == 125 and "port is already allocated" in p.stderr


def test_sysctls_of_an_interface(engine, ireko, name):
    with network(engine, name):
        option = "driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.conf.IFNAME.forwarding=0"
        ireko("run", "-d", "--name", name, "--network", f'name={name},"{option}"', "busybox", "sleep", "1000")
        assert ireko.out("exec", name, "cat", "/proc/sys/net/ipv4/conf/eth0/log_martians", "/proc/sys/net/ipv4/conf/eth0/forwarding") == "1\n0"
        assert ireko.out("exec", name, "cat", "/proc/sys/net/ipv4/conf/default/log_martians") == "0"


@contextlib.contextmanager
def outside(subnet):
    from test_network import other_namespace

    with other_namespace(subnet) as it:
        yield it


def test_routed_network(engine, ireko, name):
    """What is published is open at the container's own address, nothing else is, and no port of the host is taken."""

    subnet, port = free_subnet(), free_port()
    options = {"com.docker.network.bridge.gateway_mode_ipv4": "routed"}
    with network(engine, name, Options=options, IPAM={"Config": [{"Subnet": subnet}]}), outside(free_subnet()) as (elsewhere, _, _):
        ireko("run", "-d", "--name", name, "--network", name, "--hostname", "box", "-p", f"{port}:8080", "busybox", "sh", "-c", SERVE)
        own = networks_of(engine, name)[name]["IPAddress"]
        wait_until("the server", lambda: "served-by-box" in ask_from(elsewhere, own, 8080).stdout)
        assert ask_from(elsewhere, own, 8081).returncode != 0
        assert engine.inspect(name)["NetworkSettings"]["Ports"]["8080/tcp"] == [{"HostIp": "0.0.0.0", "HostPort": ""}]
        with socket.socket() as s:
            s.bind(("0.0.0.0", port))
        ireko("rm", "-f", name)
        ireko("run", "-d", "--name", name, "--network", name, "--hostname", "box", "busybox", "sh", "-c", SERVE)
        own = networks_of(engine, name)[name]["IPAddress"]
        assert tcp_ask(own, 8080, REQUEST)
        assert ask_from(elsewhere, own, 8080).returncode != 0


def test_default_network_as_dockerd_has_it(new_engine):
    """bip is the gateway's address; ipv6 gives the default network a subnet of our choice, or the one that is said."""
    net = ipaddress.ip_network(free_subnet())
    six = ipaddress.ip_network(subnet6())
    engine = new_engine("--ipv6", "--bip6", f"{six[7]}/64", subnet=f"{net[9]}/24")
    engine.cli("run", "-d", "--name", "web", "busybox", "sleep", "1000")
    ep = networks_of(engine, "web")["bridge"]
    assert ep["Gateway"] == str(net[9]) and ep["IPv6Gateway"] == str(six[7]) and ipaddress.ip_address(ep["GlobalIPv6Address"]) in six
    assert engine.inspect("web")["NetworkSettings"]["GlobalIPv6Address"] == ep["GlobalIPv6Address"]
    assert engine.api("GET", "/networks/bridge").json["EnableIPv6"]
    chosen = new_engine("--ipv6")
    chosen.cli("run", "-d", "--name", "web", "busybox", "sleep", "1000")
    assert ipaddress.ip_address(networks_of(chosen, "web")["bridge"]["GlobalIPv6Address"]) in ipaddress.ip_network("fd00::/8")
    p = run(BUILD / "irekod", "--data-root", engine.root / "x", "--exec-root", engine.root / "y", "--bip6", "10.0.0.1/24", check=False)
    assert p.returncode != 0 and "--bip6 10.0.0.1/24: expected a subnet of IPv6" in p.stderr
