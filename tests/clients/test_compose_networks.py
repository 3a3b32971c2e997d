# SPDX-License-Identifier: Apache-2.0
"""docker compose with networks as people have them: both families, static addresses, priorities, internal ones, routed ones, macvlan, one that was there before, and a change while the project runs."""
import ipaddress
import random

import pytest

from compose import ALL
from harness import free_port, free_subnet, tcp_ask
from test_compose import project

REQUEST = b"GET / HTTP/1.0\r\n\r\n"


@pytest.fixture(params=["v2", "v2 by ireko"] if ALL else ["v2"])
def compose(request, engine, folder, name):
    with project(engine, request.param, folder, name) as made:
        yield made


def network_of(engine, container, network):
    return engine.inspect(container)["NetworkSettings"]["Networks"][network]


def test_networks_of_every_kind(compose, engine):
    front, lan, six = free_subnet(), ipaddress.ip_network(free_subnet()), f"fd7c:{random.randrange(1 << 16):x}:{random.randrange(1 << 16):x}::/64"
    net, net6, port = ipaddress.ip_network(front), ipaddress.ip_network(six), free_port()
    engine.cli("network", "create", f"{compose.name}-before")
    compose.write({"compose.yml": f"""
services:
  web:
    image: busybox
    hostname: box
    command: sh -c 'mkdir -p /www; echo served-by-$$(hostname) > /www/index.html; httpd -f -p 8080 -h /www'
    ports: ["{port}:8080"]
    stop_grace_period: 0s
    networks:
      front: {{ipv4_address: {net[70]}, ipv6_address: "{net6[0x70]}", priority: 10, gw_priority: 10, aliases: [shop]}}
      back: {{interface_name: inside0}}
      before: {{}}
  job:
    image: busybox
    command: sleep 1000
    stop_grace_period: 0s
    networks: [back, lan]
    sysctls: {{net.ipv4.ip_unprivileged_port_start: "0"}}
networks:
  front:
    enable_ipv6: true
    ipam: {{config: [{{subnet: {front}}}, {{subnet: "{six}"}}]}}
    driver_opts: {{com.docker.network.bridge.name: irc{compose.name[-8:]}}}
  back: {{internal: true}}
  lan:
    driver: macvlan
    internal: true
    ipam: {{config: [{{subnet: {lan}, gateway: {lan[1]}}}]}}
  before: {{external: true, name: {compose.name}-before}}
"""})
    try:
        compose("up", "-d")
        web, job = compose.container("web"), compose.container("job")
        at = network_of(engine, web, f"{compose.name}_front")
        assert at["IPAddress"] == str(net[70]) and at["GlobalIPv6Address"] == str(net6[0x70])
        for address, number in (("127.0.0.1", port), (str(net6[1]), port), (str(net[70]), 8080)):
            assert b"served-by-box" in tcp_ask(address, number, REQUEST)
        # Names of the network that both are on, and of none else; what is internal has no way out.
        assert compose.out("exec", "-T", "job", "wget", "-qO-", "http://web:8080/") == "served-by-box"
        assert compose("exec", "-T", "job", "nslookup", "shop", check=False).returncode != 0
        assert "default" not in compose.out("exec", "-T", "job", "ip", "route")
        assert "inside0" in compose.out("exec", "-T", "web", "ip", "-o", "link")
        assert network_of(engine, job, f"{compose.name}_lan")["IPAddress"] != ""
        assert set(engine.inspect(web)["NetworkSettings"]["Networks"]) == {f"{compose.name}_front", f"{compose.name}_back", f"{compose.name}-before"}
        # A service that is made anew has its addresses again, and the network that changes is made anew with its containers.
        compose("up", "-d", "--force-recreate", "web")
        assert network_of(engine, compose.container("web"), f"{compose.name}_front")["IPAddress"] == str(net[70])
        text = (compose.folder / "compose.yml").read_text()
        compose.write({"compose.yml": text.replace("back: {internal: true}", "back: {internal: true, labels: {changed: \"yes\"}}")})
        compose("up", "-d")
        assert engine.api("GET", f"/networks/{compose.name}_back").json["Labels"]["changed"] == "yes"
        # compose connects it anew without the service's name, which is lost with dockerd too.
        assert compose.out("exec", "-T", "job", "wget", "-qO-", f"http://{compose.container('web')}:8080/") == "served-by-box"
        compose("down")
        assert [n["Name"] for n in engine.api("GET", "/networks").json if n["Name"].startswith(f"{compose.name}_")] == []
    finally:
        compose("down", check=False)
        engine.cli("network", "rm", f"{compose.name}-before")
