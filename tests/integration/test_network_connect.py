# SPDX-License-Identifier: Apache-2.0
"""Several networks a container: at create, joined and left while it runs or not; what inspect says of them; making and removing networks."""
import contextlib
import ipaddress
import json
import threading

import pytest

from harness import free_port, free_subnet, run, tcp_ask, wait_until

SERVE = "mkdir -p /www; echo served-by-$(hostname) > /www/index.html; httpd -f -p 8080 -h /www"


@contextlib.contextmanager
def network(engine, name, **body):
    """A network that is there for a while, with a subnet of its own unless the body says something else."""
    body.setdefault("IPAM", {"Config": [{"Subnet": free_subnet()}]})
    reply = engine.api("POST", "/networks/create", {"Name": name, **body})
    assert reply.status == 201, reply.body
    try:
        yield reply.json["Id"]
    finally:
        engine.remove_containers()
        assert engine.api("DELETE", f"/networks/{name}").status in (204, 404)


def refused(engine, status, text, **body):
    reply = engine.api("POST", "/networks/create", body)
    assert reply.status == status and text in reply.message, reply.body


def interfaces(engine, name):
    """{interface: address} in the container."""
    said = json.loads(run("nsenter", "-t", engine.inspect(name)["State"]["Pid"], "-n", "ip", "-j", "-4", "addr").stdout)
    return {i["ifname"]: i["addr_info"][0]["local"] for i in said if i["ifname"] != "lo" and i["addr_info"]}


def default_route(engine, name):
    said = json.loads(run("nsenter", "-t", engine.inspect(name)["State"]["Pid"], "-n", "ip", "-j", "route", "show", "default").stdout)
    return [r["gateway"] for r in said]


def networks_of(engine, name):
    return engine.inspect(name)["NetworkSettings"]["Networks"]


def test_two_networks_at_create(ireko, engine, name):
    a, b = f"{name}a", f"{name}b"
    with network(engine, a), network(engine, b):
        body = {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": b},
                "NetworkingConfig": {"EndpointsConfig": {a: {"Aliases": ["alpha"]}, b: None}}}
        assert engine.api("POST", f"/containers/create?name={name}", body).status == 201
        before = networks_of(engine, name)
        assert set(before) == {a, b} and all(n["IPAddress"] == "" and n["EndpointID"] == "" for n in before.values())
        ireko("start", name)
        nets = networks_of(engine, name)
        # The network of the mode has the first interface; the way out is that of the first name.
        assert interfaces(engine, name) == {"eth0": nets[b]["IPAddress"], "eth1": nets[a]["IPAddress"]}
        assert default_route(engine, name) == [nets[a]["Gateway"]]
        assert nets[a]["Aliases"] == ["alpha"] and nets[a]["DNSNames"][:2] == [name, "alpha"]
        assert nets[a]["DNSNames"][2] == engine.inspect(name)["Id"][:12]
        hosts = ireko.out("exec", name, "cat", "/etc/hosts")
        assert all(n["IPAddress"] in hosts for n in nets.values())
        ireko("restart", "-t", "0", name)
        again = networks_of(engine, name)
        assert set(again) == {a, b} and all(n["IPAddress"] for n in again.values())
        ireko("stop", "-t", "0", name)
        stopped = networks_of(engine, name)
        assert set(stopped) == {a, b} and all(n["IPAddress"] == n["MacAddress"] == "" for n in stopped.values())


def test_priority_decides_the_way_out(ireko, engine, name):
    a, b = f"{name}a", f"{name}b"
    with network(engine, a), network(engine, b):
        body = {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": a},
                "NetworkingConfig": {"EndpointsConfig": {a: {}, b: {"GwPriority": 7}}}}
        assert engine.api("POST", f"/containers/create?name={name}", body).status == 201
        ireko("start", name)
        nets = networks_of(engine, name)
        assert nets[b]["GwPriority"] == 7 and default_route(engine, name) == [nets[b]["Gateway"]]
    old = engine.api("POST", "/v1.43/containers/create", body)
    assert old.status == 400 and "multiple network endpoints" in old.message


def test_connect_and_disconnect_while_it_runs(cli, engine, name):
    port = free_port()
    cli("run", "-d", "--name", name, "--hostname", "box", "-p", f"{port}:8080", "busybox", "sh", "-c", SERVE)
    first = networks_of(engine, name)["bridge"]
    with network(engine, f"{name}-a") as network_id:
        cli("network", "connect", "--alias", "other", f"{name}-a", name)
        nets = networks_of(engine, name)
        joined = nets[f"{name}-a"]
        assert joined["NetworkID"] == network_id and joined["EndpointID"] and joined["MacAddress"] and joined["Aliases"] == ["other"]
        assert interfaces(engine, name) == {"eth0": first["IPAddress"], "eth1": joined["IPAddress"]}
        hosts = cli.out("exec", name, "cat", "/etc/hosts")
        assert f"{joined['IPAddress']}\tbox" in hosts and f"{first['IPAddress']}\tbox" in hosts
        assert "127.0.0.11" in cli.out("exec", name, "cat", "/etc/resolv.conf")
        on_it = engine.api("GET", f"/networks/{network_id}").json["Containers"][engine.inspect(name)["Id"]]
        assert on_it["Name"] == name and on_it["IPv4Address"].split("/")[0] == joined["IPAddress"]
        assert b"served-by-box" in tcp_ask("127.0.0.1", port, b"GET / HTTP/1.0\r\n\r\n")

        # The first network goes: the way out and the published port move to the other one.
        cli("network", "disconnect", "bridge", name)
        assert set(networks_of(engine, name)) == {f"{name}-a"}
        assert interfaces(engine, name) == {"eth1": joined["IPAddress"]} and default_route(engine, name) == [joined["Gateway"]]
        assert b"served-by-box" in tcp_ask("127.0.0.1", port, b"GET / HTTP/1.0\r\n\r\n")
        assert first["IPAddress"] not in cli.out("exec", name, "cat", "/etc/hosts")

        # And back: the interface takes the free name.
        cli("network", "connect", "bridge", name)
        back = networks_of(engine, name)["bridge"]
        assert interfaces(engine, name) == {"eth0": back["IPAddress"], "eth1": joined["IPAddress"]}
        assert default_route(engine, name) == [back["Gateway"]]
        assert b"served-by-box" in tcp_ask("127.0.0.1", port, b"GET / HTTP/1.0\r\n\r\n")
        p = cli("network", "connect", f"{name}-a", name, check=False)
        assert p.returncode != 0 and f"endpoint with name {name} already exists in network {name}-a" in p.stderr
        p = cli("network", "rm", f"{name}-a", check=False)
        assert p.returncode != 0 and "has active endpoints" in p.stderr and f'name:"{name}"' in p.stderr


def test_without_any_network(ireko, engine, name):
    ireko("run", "-d", "--name", name, "busybox", "sleep", "1000")
    ireko("network", "disconnect", "bridge", name)
    assert networks_of(engine, name) == {} and interfaces(engine, name) == {} and default_route(engine, name) == []
    p = ireko("network", "disconnect", "bridge", name, check=False)
    assert p.returncode != 0 and "is not connected to network bridge" in p.stderr
    ireko("restart", "-t", "0", name)
    assert list(networks_of(engine, name)) == ["bridge"] and "eth0" in interfaces(engine, name)


def test_connect_before_the_start(ireko, engine, name):
    with network(engine, f"{name}-a"):
        ireko("create", "--name", name, "busybox", "sleep", "1000")
        ireko("network", "connect", f"{name}-a", name)
        assert set(networks_of(engine, name)) == {"bridge", f"{name}-a"}
        ireko("start", name)
        assert len(interfaces(engine, name)) == 2
        ireko("stop", "-t", "0", name)
        ireko("network", "disconnect", f"{name}-a", name)
        ireko("start", name)
        assert len(interfaces(engine, name)) == 1


def test_static_address_mac_and_interface_name(ireko, engine, name):
    subnet = ipaddress.ip_network(free_subnet())
    want = str(subnet[77])
    with network(engine, f"{name}-a", IPAM={"Config": [{"Subnet": str(subnet)}]}):
        body = {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": f"{name}-a"},
                "NetworkingConfig": {"EndpointsConfig": {f"{name}-a": {
                    "IPAMConfig": {"IPv4Address": want}, "MacAddress": "02:42:00:00:77:77",
                    "DriverOpts": {"com.docker.network.endpoint.ifname": "lan0"}}}}}
        assert engine.api("POST", f"/containers/create?name={name}", body).status == 201
        ireko("start", name)
        ep = networks_of(engine, name)[f"{name}-a"]
        assert ep["IPAddress"] == want and ep["MacAddress"] == "02:42:00:00:77:77" and ep["IPAMConfig"] == {"IPv4Address": want}
        assert interfaces(engine, name) == {"lan0": want}
        p = ireko("run", "--rm", "--network", f"{name}-a", "--ip", want, "busybox", "true", check=False)
        assert p.returncode == 125 and "Address already in use" in p.stderr
        p = ireko("run", "--rm", "--network", f"{name}-a", "--ip", "203.0.113.9", "busybox", "true", check=False)
        assert p.returncode == 125 and "no configured subnet" in p.stderr
        ireko("restart", "-t", "0", name)
        assert networks_of(engine, name)[f"{name}-a"]["IPAddress"] == want


@pytest.mark.parametrize("endpoint, network, text", [
    ({"IPAMConfig": {"IPv4Address": "10.1.2.3"}}, "bridge", "user specified IP address is supported on user defined networks only"),
    ({"Aliases": ["x"]}, "bridge", "network-scoped alias is supported only for containers in user defined networks"),
    ({"IPAMConfig": {"LinkLocalIPs": ["169.254.1.1"]}}, "bridge", "LinkLocalIPs"),
    ({"IPAMConfig": {"IPv6Address": "2001:db8::5"}}, "bridge", "user specified IP address is supported on user defined networks only"),
    ({"MacAddress": "01:02:03:04:05:06"}, "bridge", "invalid MAC address"),
    ({"DriverOpts": {"com.docker.network.endpoint.sysctls": "x=1"}}, "bridge", "invalid interface sysctl"),
    ({"DriverOpts": {"com.docker.network.endpoint.sysctls": "net.ipv4.conf.eth9.log_martians=1"}}, "bridge", "invalid interface sysctl"),
    ({"DriverOpts": {"com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.../x=1"}}, "bridge", "invalid interface sysctl"),
    ({"DriverOpts": {"com.docker.network.endpoint.other": "1"}}, "bridge", "is not offered"),
    ({"DriverOpts": {"com.docker.network.endpoint.ifname": "a/b"}}, "bridge", "invalid interface name"),
    ({}, "host", "cannot be connected to network host beside another one"),
])
def test_what_an_endpoint_cannot_have(engine, endpoint, network, text):
    body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {}, "NetworkingConfig": {"EndpointsConfig": {network: endpoint}}}
    reply = engine.api("POST", "/containers/create", body)
    assert reply.status in (400, 501) and text in reply.message, reply.body


@pytest.mark.parametrize("mode, text", [("host", "cannot be disconnected from host network or connected to host network"),
                                        ("none", "private (none) mode")])
def test_modes_without_networks(ireko, engine, name, mode, text):
    ireko("run", "-d", "--name", name, "--network", mode, "busybox", "sleep", "1000")
    assert list(networks_of(engine, name)) == [mode] and networks_of(engine, name)[mode]["NetworkID"]
    p = ireko("network", "connect", "bridge", name, check=False)
    assert p.returncode != 0 and text in p.stderr


def test_missing_network(ireko, engine, name):
    p = ireko("run", "--name", name, "--network", f"{name}-none", "busybox", "true", check=False)
    assert p.returncode == 125 and f"network {name}-none not found" in p.stderr
    ireko("create", "--name", f"{name}c", "busybox", "true")
    p = ireko("network", "connect", f"{name}-none", f"{name}c", check=False)
    assert f"network {name}-none not found" in p.stderr
    assert engine.api("POST", "/networks/bridge/connect", {"Container": f"{name}-none"}).status == 404


def test_internal_network_has_no_way_out(ireko, engine, name):
    with network(engine, f"{name}-a", Internal=True):
        ireko("run", "-d", "--name", name, "--network", f"{name}-a", "busybox", "sleep", "1000")
        assert default_route(engine, name) == [] and networks_of(engine, name)[f"{name}-a"]["Gateway"] == ""
        ireko("network", "connect", "bridge", name)
        assert default_route(engine, name) == [networks_of(engine, name)["bridge"]["Gateway"]]
        ireko("network", "disconnect", "bridge", name)
        assert default_route(engine, name) == []


def test_events(engine, ireko, name):
    import time

    since = int(time.time()) - 1
    with network(engine, f"{name}-a") as network_id:
        ireko("run", "-d", "--name", name, "busybox", "sleep", "1000")
        ireko("network", "connect", f"{name}-a", name)
        ireko("network", "disconnect", f"{name}-a", name)
        container = engine.inspect(name)["Id"]
    until = int(time.time()) + 1
    lines = [e for e in engine.api("GET", f"/events?since={since}&until={until}").lines if e["Type"] == "network"]
    own = [(e["Action"], e["Actor"]["Attributes"]) for e in lines if e["Actor"]["ID"] == network_id]
    attributes = {"name": f"{name}-a", "type": "bridge"}
    assert own == [("create", attributes), ("connect", {**attributes, "container": container}),
                   ("disconnect", {**attributes, "container": container}), ("destroy", attributes)]
    on_bridge = [e["Action"] for e in lines if e["Actor"]["Attributes"].get("container") == container and e["Actor"]["Attributes"]["name"] == "bridge"]
    assert on_bridge == ["connect", "disconnect"]


def test_create_options_and_inspect(engine, ireko, name):
    subnet = ipaddress.ip_network(free_subnet())
    config = {"Subnet": str(subnet), "IPRange": f"{subnet[64]}/28", "Gateway": str(subnet[254]), "AuxiliaryAddresses": {"printer": str(subnet[65])}}
    options = {"com.docker.network.bridge.name": f"b{name}", "com.docker.network.bridge.enable_icc": "false", "com.docker.network.driver.mtu": "1400",
               "com.docker.network.container_iface_prefix": "net", "com.example.note": "mine"}
    with network(engine, f"{name}-a", IPAM={"Driver": "default", "Config": [config], "Options": {"k": "v"}}, Options=options, Labels={"a": "b"}, Attachable=True):
        doc = engine.api("GET", f"/networks/{name}-a").json
        assert doc["IPAM"] == {"Driver": "default", "Options": {"k": "v"}, "Config": [config]}
        assert doc["Options"] == options and doc["Labels"] == {"a": "b"} and doc["Attachable"] and not doc["Internal"]
        assert {"Name", "Id", "Created", "Scope", "Driver", "EnableIPv4", "EnableIPv6", "IPAM", "Internal", "Attachable", "Ingress",
                "ConfigFrom", "ConfigOnly", "Containers", "Options", "Labels"} <= set(doc)
        out = ireko.out("run", "--rm", "--network", f"{name}-a", "busybox", "ip", "addr", "show", "net0")
        # .64 is free, .65 the printer's: the range begins with its own first address.
        assert "mtu 1400" in out and f"{subnet[64]}/24" in out
        ids = [ireko.out("run", "-d", "--network", f"{name}-a", "busybox", "sleep", "1000") for _ in range(2)]
        assert [networks_of(engine, i)[f"{name}-a"]["IPAddress"] for i in ids] == [str(subnet[66]), str(subnet[67])]
        assert json.loads(run("ip", "-j", "addr", "show", f"b{name}").stdout)[0]["addr_info"][0]["local"] == str(subnet[254])
        p = ireko("exec", ids[0], "ping", "-c1", "-w1", str(subnet[67]), check=False)
        assert p.returncode != 0  # no icc
    assert run("ip", "link", "show", f"b{name}", check=False).returncode != 0


def test_create_refusals(engine, name):
    subnet = free_subnet()
    with network(engine, name, IPAM={"Config": [{"Subnet": subnet}]}):
        one = {"IPAM": {"Config": [{"Subnet": subnet}]}}
        refused(engine, 409, f"network with name {name} already exists", Name=name)
        refused(engine, 403, "Pool overlaps with other one on this address space", Name=f"{name}2", **one)
        refused(engine, 403, "operation is not permitted on predefined bridge network", Name="bridge")
        refused(engine, 403, 'only one instance of "host" network is allowed', Name=f"{name}2", Driver="host")
        refused(engine, 404, 'plugin "nope" not found', Name=f"{name}2", Driver="nope")
        refused(engine, 404, 'plugin "nope" not found', Name=f"{name}2", IPAM={"Driver": "nope"})
        refused(engine, 503, "This node is not a swarm manager", Name=f"{name}2", Driver="overlay")
        refused(engine, 503, "This node is not a swarm manager", Name=f"{name}2", Ingress=True)
        refused(engine, 400, "IPv4 or IPv6 must be enabled", Name=f"{name}2", EnableIPv4=False)
        refused(engine, 400, "the network has no IPv6", Name=f"{name}2", IPAM={"Config": [{"Subnet": "fd00:77::/64"}]})
        refused(engine, 400, "invalid subnet", Name=f"{name}2", EnableIPv6=True, IPAM={"Config": [{"Subnet": "ff02::/64"}]})
        refused(engine, 403, "multiple subnets", Name=f"{name}2", IPAM={"Config": [{"Subnet": free_subnet()}, {"Subnet": free_subnet()}]})
        refused(engine, 400, "not within subnet", Name=f"{name}2", IPAM={"Config": [{"Subnet": free_subnet(), "IPRange": "203.0.113.0/28"}]})
        refused(engine, 400, "need a subnet", Name=f"{name}2", IPAM={"Config": [{"Gateway": "10.1.1.1"}]})
        refused(engine, 400, "expected nat, nat-unprotected, routed or isolated", Name=f"{name}2", Options={"com.docker.network.bridge.gateway_mode_ipv4": "open"})
        refused(engine, 400, "can only be used for an internal network", Name=f"{name}2", Options={"com.docker.network.bridge.gateway_mode_ipv6": "isolated"})
        refused(engine, 400, "enable_icc", Name=f"{name}2", Options={"com.docker.network.bridge.enable_icc": "perhaps"})
        refused(engine, 400, "name is empty", Name="")
        assert engine.api("GET", f"/networks/{name}2").status == 404
    for predefined in ("bridge", "host", "none"):
        reply = engine.api("DELETE", f"/networks/{predefined}")
        assert reply.status == 403 and f"{predefined} is a pre-defined network and cannot be removed" in reply.message


def test_configuration_networks(engine, ireko, name):
    subnet = free_subnet()
    with network(engine, f"{name}-c", ConfigOnly=True, IPAM={"Config": [{"Subnet": subnet}]}, Labels={"from": "config"}):
        assert engine.api("GET", f"/networks/{name}-c").json["Driver"] == "null"
        with network(engine, f"{name}-a", ConfigFrom={"Network": f"{name}-c"}, IPAM={}):
            doc = engine.api("GET", f"/networks/{name}-a").json
            assert doc["ConfigFrom"] == {"Network": f"{name}-c"} and doc["IPAM"]["Config"][0]["Subnet"] == subnet and doc["Labels"] == {"from": "config"}
            assert subnet.rsplit(".", 1)[0] in ireko.out("run", "--rm", "--network", f"{name}-a", "busybox", "ip", "-4", "addr", "show", "eth0")
            reply = engine.api("DELETE", f"/networks/{name}-c")
            assert reply.status == 403 and "is in use" in reply.message
        refused(engine, 404, "does not exist", Name=f"{name}-b", ConfigFrom={"Network": "bridge"})
        p = ireko("run", "--rm", "--network", f"{name}-c", "busybox", "true", check=False)
        assert p.returncode == 125 and "configuration-only network" in p.stderr


def test_list_filters_and_prune(engine, name):
    def names(**filters):
        return {n["Name"] for n in engine.api("GET", "/networks?filters=" + json.dumps(filters, separators=(",", ":"))).json}

    with network(engine, f"{name}-a", Labels={"mine": name}) as network_id, network(engine, f"{name}-b"):
        assert names(name=[name]) == {f"{name}-a", f"{name}-b"} and names(id=[network_id[:10]]) == {f"{name}-a"}
        assert names(label=[f"mine={name}"]) == {f"{name}-a"} and names(type=["builtin"]) == {"bridge", "host", "none"}
        assert names(driver=["host"]) == {"host"} and f"{name}-a" in names(dangling=["true"]) and names(scope=["swarm"]) == set()
        assert engine.api("GET", '/networks?filters={"nope":["x"]}').status == 400
        assert engine.api("GET", f"/networks/{network_id[:12]}").json["Name"] == f"{name}-a"
        assert engine.api("GET", f"/networks/{name}-a?scope=swarm").status == 404
        pruned = engine.api("POST", f'/networks/prune?filters={{"label":["mine={name}"]}}').json
        assert pruned == {"NetworksDeleted": [f"{name}-a"]}


def test_hundreds_of_small_networks(engine, name):
    """Subnets that nobody names are small, and none is another's."""
    made = []
    try:
        for i in range(60):
            reply = engine.api("POST", "/networks/create", {"Name": f"{name}-{i}"})
            assert reply.status == 201, reply.body
            made.append(reply.json["Id"])
        subnets = [ipaddress.ip_network(engine.api("GET", f"/networks/{i}").json["IPAM"]["Config"][0]["Subnet"]) for i in made]
        assert all(s.prefixlen >= 20 for s in subnets)
        assert not any(a.overlaps(b) for k, a in enumerate(subnets) for b in subnets[k + 1:])
    finally:
        for i in made:
            engine.api("DELETE", f"/networks/{i}")


def test_two_at_once_under_one_name(engine, name):
    replies = []
    threads = [threading.Thread(target=lambda: replies.append(engine.api("POST", "/networks/create", {"Name": name}).status)) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(replies) == [201] + [409] * 7
    assert engine.api("DELETE", f"/networks/{name}").status == 204


def test_a_port_clash_names_the_container(ireko, engine, name):
    port = free_port()
    ireko("run", "-d", "--name", name, "-p", f"{port}:80", "busybox", "sleep", "1000")
    p = ireko("run", "--name", f"{name}b", "-p", f"{port}:80", "busybox", "true", check=False)
    assert p.returncode == 125 and "driver failed programming external connectivity on endpoint" in p.stderr
    assert f"Bind for 0.0.0.0:{port} failed: port is already allocated" in p.stderr and f'container "{name}"' in p.stderr


def test_port_range_takes_a_free_one(engine, ireko, name):
    ports = {"80/tcp": [{"HostPort": "47100-47163"}]}
    for i in range(2):
        body = {"Image": "busybox", "Cmd": ["sleep", "1000"], "ExposedPorts": {"80/tcp": {}, "90/tcp": {}}, "HostConfig": {"PortBindings": ports}}
        assert engine.api("POST", f"/containers/create?name={name}{i}", body).status == 201
        ireko("start", f"{name}{i}")
    chosen = [engine.inspect(f"{name}{i}")["NetworkSettings"]["Ports"] for i in range(2)]
    numbers = [int(c["80/tcp"][0]["HostPort"]) for c in chosen]
    assert len(set(numbers)) == 2 and all(47100 <= n <= 47163 for n in numbers) and chosen[0]["90/tcp"] is None


def test_links_on_the_default_network(cli, engine, name):
    cli("run", "-d", "--name", f"{name}db", "--hostname", "db-host", "--expose", "5432", "--expose", "53/udp", "-e", "WHO=me", "busybox", "sleep", "1000")
    here = networks_of(engine, f"{name}db")["bridge"]["IPAddress"]
    cli("run", "-d", "--name", name, "--link", f"{name}db:my-db", "busybox", "sleep", "1000")
    hosts = cli.out("exec", name, "cat", "/etc/hosts")
    assert all(f"{here}\t{n}\n" in hosts + "\n" for n in ("my-db", "db-host", f"{name}db"))
    env = cli.out("exec", name, "env").splitlines()
    for line in (f"MY_DB_NAME=/{name}/my-db", f"MY_DB_PORT=udp://{here}:53", f"MY_DB_PORT_5432_TCP=tcp://{here}:5432", f"MY_DB_PORT_5432_TCP_ADDR={here}",
                 "MY_DB_PORT_5432_TCP_PORT=5432", "MY_DB_PORT_5432_TCP_PROTO=tcp", "MY_DB_ENV_WHO=me"):
        assert line in env, line
    assert not any(line.startswith("MY_DB_ENV_PATH") for line in env)
    assert engine.inspect(name)["HostConfig"]["Links"] == [f"/{name}db:/{name}/my-db"]
    cli("run", "-d", "--name", f"{name}c", "--link", f"{name}db:my-db", "busybox", "sleep", "1000")
    assert cli("rm", "--link", f"/{name}c/my-db").stdout == f"/{name}c/my-db\n"
    assert engine.inspect(f"{name}c")["HostConfig"]["Links"] in (None, []) and here not in cli.out("exec", f"{name}c", "cat", "/etc/hosts")
    assert f"No such container: {name}c/my-db" in cli.fails("rm", "--link", f"{name}c/my-db")
    assert "cannot remove the default link name" in cli.fails("rm", "--link", f"{name}c")
    assert "No such container" in cli.fails("rm", f"{name}/my-db") and "No such container" in cli.fails("rm", "--link", f"{name}nobody/x")
    assert engine.inspect(name)["HostConfig"]["Links"]
    cli("stop", "-t", "0", f"{name}db")
    p = cli("restart", "-t", "0", name, check=False)
    assert p.returncode != 0 and f"Cannot link to a non running container: /{name}db AS /{name}/my-db" in p.stderr
    p = cli("run", "--link", f"{name}nobody:x", "busybox", "true", check=False)
    assert p.returncode == 125 and f"could not get container for {name}nobody" in p.stderr


def test_hosts_of_the_host_network(ireko):
    with open("/etc/hosts", encoding="utf-8") as f:
        assert ireko("run", "--rm", "--network", "host", "busybox", "cat", "/etc/hosts").stdout == f.read()
    out = ireko.out("run", "--rm", "--network", "host", "--add-host", "db:192.0.2.7", "busybox", "cat", "/etc/hosts")
    assert "192.0.2.7\tdb" in out and "localhost" in out


def test_networks_after_a_crash(new_engine):
    """What runs keeps its networks, its ports and its names when the engine is killed; nothing of it stays when it is removed."""
    engine = new_engine()
    port = free_port()
    with network(engine, "crash-a"), network(engine, "crash-b", Internal=True):
        engine.cli("run", "-d", "--name", "web", "--hostname", "box", "--network", "crash-a", "-p", f"{port}:8080", "busybox", "sh", "-c", SERVE)
        engine.cli("network", "connect", "crash-b", "web")
        before = networks_of(engine, "web")
        engine.kill()
        assert b"served-by-box" in tcp_ask("127.0.0.1", port, b"GET / HTTP/1.0\r\n\r\n")
        run("nft", "delete", "table", "inet", f"ireko_{engine.mark}")
        engine.start()
        # The rules that somebody took away are there again.
        assert networks_of(engine, "web") == before
        assert b"served-by-box" in tcp_ask("127.0.0.1", port, b"GET / HTTP/1.0\r\n\r\n")
        reply = engine.api("DELETE", "/networks/crash-b")
        assert reply.status == 403 and "has active endpoints" in reply.message
        # The address is known to be taken.
        other = engine.cli("run", "-d", "--network", "crash-a", "busybox", "sleep", "1000").stdout.strip()
        assert networks_of(engine, other)["crash-a"]["IPAddress"] != before["crash-a"]["IPAddress"]
        engine.cli("network", "disconnect", "crash-b", "web")
        assert set(networks_of(engine, "web")) == {"crash-a"}
        wait_until("the address is free", lambda: engine.api("DELETE", "/networks/crash-b").status == 204)
