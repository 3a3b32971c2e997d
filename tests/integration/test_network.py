# SPDX-License-Identifier: Apache-2.0
"""Networks: the bridge, published ports from everywhere, names, modes, and the way out."""
import contextlib
import ipaddress
import json
import os
import re
import subprocess
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness import free_port, run, tcp_ask, wait_until

SERVE = "mkdir -p /www; echo served-by-$(hostname) > /www/index.html; httpd -f -p 8080 -h /www"


@contextlib.contextmanager
def other_namespace(subnet):
    """A network namespace like another machine: a cable of its own to the host, its default route through it."""
    tag = uuid.uuid4().hex[:6]
    name, host_if = f"irk-{tag}", f"irkt{tag}"
    net = ipaddress.ip_network(subnet)
    here, there = str(net[1]), str(net[2])
    run("ip", "netns", "add", name)
    try:
        run("ip", "link", "add", host_if, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "addr", "add", f"{here}/{net.prefixlen}", "dev", host_if)
        run("ip", "link", "set", host_if, "up")
        run("ip", "-n", name, "addr", "add", f"{there}/{net.prefixlen}", "dev", "eth0")
        run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", name, "link", "set", "eth0", "up")
        run("ip", "-n", name, "route", "add", "default", "via", here)
        yield name, here, there
    finally:
        run("ip", "netns", "del", name, check=False)
        run("ip", "link", "del", host_if, check=False)


def ask_from(namespace, address, port):
    code = (f"import socket; s=socket.create_connection(('{address}',{port}),5); s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n');"
            "print(b''.join(iter(lambda: s.recv(65536), b'')).decode())")
    return run("ip", "netns", "exec", namespace, "/usr/bin/python3", "-c", code, check=False)


def host_address():
    said = run("ip", "-4", "route", "get", "192.0.2.1", check=False).stdout
    m = re.search(r"src (\S+)", said)
    return m.group(1) if m else None


@contextlib.contextmanager
def host_server(text, address="0.0.0.0"):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            data = f"{text} {self.client_address[0]}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer((address, 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_port_from_localhost_host_address_and_another_namespace(ireko, engine, name):
    port = free_port()
    ireko("run", "-d", "--name", name, "--hostname", "box", "-p", f"{port}:8080", "busybox", "sh", "-c", SERVE)
    request = b"GET / HTTP/1.0\r\n\r\n"
    assert b"served-by-box" in tcp_ask("127.0.0.1", port, request)
    gateway = engine.inspect(name)["NetworkSettings"]["Networks"]["bridge"]["Gateway"]
    assert b"served-by-box" in tcp_ask(gateway, port, request)
    if host_address():
        assert b"served-by-box" in tcp_ask(host_address(), port, request)
    from harness import free_subnet

    with other_namespace(free_subnet()) as (namespace, here, _):
        p = ask_from(namespace, here, port)
        assert "served-by-box" in p.stdout, p.stderr


def test_port_from_another_container_through_the_host(ireko, engine, name):
    port = free_port()
    ireko("run", "-d", "--name", name, "--hostname", "box", "-p", f"{port}:8080", "busybox", "sh", "-c", SERVE)
    tcp_ask("127.0.0.1", port, b"GET / HTTP/1.0\r\n\r\n")
    gateway = engine.inspect(name)["NetworkSettings"]["Networks"]["bridge"]["Gateway"]
    assert ireko.out("run", "--rm", "busybox", "wget", "-qO-", f"http://{gateway}:{port}/") == "served-by-box"
    # Hairpin: the container reaches itself by its published port.
    assert ireko.out("exec", name, "wget", "-qO-", f"http://{gateway}:{port}/") == "served-by-box"


def test_port_bound_to_loopback_is_not_reached_from_outside(ireko, name):
    port = free_port()
    ireko("run", "-d", "--name", name, "-p", f"127.0.0.1:{port}:8080", "busybox", "sh", "-c", SERVE)
    assert b"served-by" in tcp_ask("127.0.0.1", port, b"GET / HTTP/1.0\r\n\r\n")
    from harness import free_subnet

    with other_namespace(free_subnet()) as (namespace, here, _):
        assert ask_from(namespace, here, port).returncode != 0


def test_chosen_port_and_udp(ireko, engine, name):
    ireko("run", "-d", "--name", name, "-p", "8080", "-p", "9999/udp", "busybox", "sh", "-c", SERVE)
    ports = engine.inspect(name)["NetworkSettings"]["Ports"]
    tcp, udp = int(ports["8080/tcp"][0]["HostPort"]), int(ports["9999/udp"][0]["HostPort"])
    assert tcp and udp and f"0.0.0.0:{tcp}->8080/tcp" in ireko.out("ps")
    assert b"served-by" in tcp_ask("127.0.0.1", tcp, b"GET / HTTP/1.0\r\n\r\n")


def test_udp_port_carries_datagrams(ireko, engine, name):
    import socket

    port = free_port()
    ireko("run", "-d", "--name", name, "-p", f"{port}:9999/udp", "busybox", "sleep", "1000")
    # Busybox has no UDP server: ours runs on the host, in the container's network.
    code = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 9999))\nwhile True:\n d, a = s.recvfrom(100); s.sendto(b'echo ' + d, a)"
    server = subprocess.Popen(["nsenter", "-t", str(engine.inspect(name)["State"]["Pid"]), "-n", "/usr/bin/python3", "-c", code])
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(0.2)
            s.connect(("127.0.0.1", port))

            def echoed():
                try:
                    s.send(b"datagram")
                    return s.recv(100)
                except OSError:
                    return None

            assert wait_until("a datagram comes back", echoed) == b"echo datagram"
    finally:
        server.kill()
        server.wait()


def test_port_is_free_again_after_the_end(ireko, name):
    port = free_port()
    for _ in range(2):
        ireko("run", "-d", "--name", name, "-p", f"{port}:8080", "busybox", "sh", "-c", SERVE)
        assert b"served-by" in tcp_ask("127.0.0.1", port, b"GET / HTTP/1.0\r\n\r\n")
        ireko("rm", "-f", name)


def test_the_way_out_is_translated(ireko, engine):
    """A container reaches a server of the host network, which sees the host's address."""
    from harness import free_subnet

    with other_namespace(free_subnet()) as (namespace, here, there):
        code = ("import http.server as h, socketserver as ss\nclass H(h.BaseHTTPRequestHandler):\n def do_GET(s):\n  d=s.client_address[0].encode(); s.send_response(200); "
                "s.send_header('Content-Length',str(len(d))); s.end_headers(); s.wfile.write(d)\n def log_message(*a): pass\n"
                # Whose name the address has would be asked of a server that is out of reach, for 10 s.
                f"h.HTTPServer.server_bind=ss.TCPServer.server_bind\nh.HTTPServer(('{there}',8000),H).serve_forever()")
        server = subprocess.Popen(["ip", "netns", "exec", namespace, "/usr/bin/python3", "-c", code])
        try:
            def seen():
                return ireko("run", "--rm", "busybox", "sh", "-c", f"timeout 3 wget -qO- http://{there}:8000/", check=False).stdout.strip()
            assert wait_until("the server answers", seen) == here
        finally:
            server.kill()
            server.wait()


def test_containers_reach_each_other_by_address(ireko, engine, name):
    ireko("run", "-d", "--name", name, "--hostname", "peer", "busybox", "sh", "-c", SERVE)
    address = engine.inspect(name)["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    wait_until("it serves", lambda: b"peer" in tcp_ask(address, 8080, b"GET / HTTP/1.0\r\n\r\n"))
    assert ireko.out("run", "--rm", "busybox", "wget", "-qO-", f"http://{address}:8080/") == "served-by-peer"


def test_addresses_are_in_the_subnet_and_differ(ireko, engine):
    net = ipaddress.ip_network(engine.subnet)
    out = [ireko.out("run", "-d", "busybox", "sleep", "1000") for _ in range(3)]
    addresses = {engine.inspect(i)["NetworkSettings"]["Networks"]["bridge"]["IPAddress"] for i in out}
    assert len(addresses) == 3 and all(ipaddress.ip_address(a) in net for a in addresses)


def test_network_none(ireko):
    out = ireko.out("run", "--rm", "--network", "none", "busybox", "sh", "-c", "ls /sys/class/net; ip route; ping -c1 -w2 127.0.0.1 >/dev/null && echo lo-up")
    assert out.split() == ["lo", "lo-up"]


def test_network_host(ireko):
    with host_server("host", "127.0.0.1") as port:
        assert ireko.out("run", "--rm", "--network", "host", "busybox", "wget", "-qO-", f"http://127.0.0.1:{port}/") == "host 127.0.0.1"


def test_network_of_another_container(ireko, name):
    ireko("run", "-d", "--name", name, "--hostname", "shared", "busybox", "sh", "-c", SERVE)
    def ask():
        return ireko("run", "--rm", "--network", f"container:{name}", "busybox", "wget", "-qO-", "http://127.0.0.1:8080/", check=False).stdout.strip()
    assert wait_until("it answers on its own loopback", ask) == "served-by-shared"


def test_resolv_conf_hosts_hostname(ireko, engine, name):
    out = ireko.out("run", "--rm", "--name", name, "--hostname", "box", "--domainname", "example.org", "--dns", "192.0.2.53", "--dns-search", "example.net",
                    "--add-host", "db:192.0.2.7", "--add-host", "gw:host-gateway", "busybox", "cat", "/etc/resolv.conf", "/etc/hosts", "/etc/hostname")
    assert "nameserver 192.0.2.53" in out and "search example.net" in out
    assert re.search(r"192\.0\.2\.7\s+db", out) and re.search(r"127\.0\.0\.1\s+localhost", out)
    gateway = str(ipaddress.ip_network(engine.subnet)[1])
    assert re.search(rf"{re.escape(gateway)}\s+gw", out)
    assert re.search(r"10\.\d+\.\d+\.\d+\s+box\.example\.org box", out)


def test_hosts_resolver_is_used(ireko):
    out = ireko.out("run", "--rm", "busybox", "cat", "/etc/resolv.conf")
    assert "nameserver" in out and "127.0.0.53" not in out


def test_mac_address_and_interface(ireko, engine, name):
    ireko("run", "-d", "--name", name, "busybox", "sleep", "1000")
    ep = engine.inspect(name)["NetworkSettings"]["Networks"]["bridge"]
    assert ireko.out("exec", name, "cat", "/sys/class/net/eth0/address") == ep["MacAddress"]
    assert ireko.out("exec", name, "ip", "route", "show", "default").split()[2] == ep["Gateway"]


def test_user_network(cli, engine, name):
    from harness import free_subnet

    subnet = free_subnet()
    cli("network", "create", "--subnet", subnet, name)
    try:
        assert name in cli.out("network", "ls")
        assert json.loads(cli.out("network", "inspect", name))[0]["IPAM"]["Config"][0]["Subnet"] == subnet
        out = cli.out("run", "--rm", "--network", name, "busybox", "ip", "-4", "addr", "show", "eth0")
        assert subnet.rsplit(".", 1)[0] in out
    finally:
        cli("network", "rm", name)
    assert name not in cli.out("network", "ls")


def test_networks_are_kept_apart(ireko, engine, name):
    from harness import free_subnet

    ireko("network", "create", "--subnet", free_subnet(), name)
    ireko("run", "-d", "--name", name, "--network", name, "busybox", "sh", "-c", SERVE)
    address = engine.inspect(name)["NetworkSettings"]["Networks"][name]["IPAddress"]
    wait_until("it serves", lambda: b"served" in tcp_ask(address, 8080, b"GET / HTTP/1.0\r\n\r\n"))
    p = ireko("run", "--rm", "busybox", "sh", "-c", f"timeout 3 wget -qO- http://{address}:8080/; echo status $?")
    assert "served" not in p.stdout and "status 0" not in p.stdout and "status" in p.stdout
    ireko("rm", "-f", name)
    ireko("network", "rm", name)


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_nothing_of_the_network_stays(ireko, engine, name, verb):
    on_bridge = lambda: {link["ifname"] for link in json.loads(run("ip", "-j", "link", "show", "master", engine.bridge, check=False).stdout or "[]")}  # noqa: E731
    before = on_bridge()
    ireko("run", "-d", "--name", name, "-p", f"{free_port()}:80", "busybox", "sleep", "1000")
    (veth,) = on_bridge() - before
    ireko(verb, *(["-t", "0"] if verb == "stop" else []), name)
    wait_until("the veth is gone", lambda: veth not in run("ip", "link").stdout)


def test_a_full_network_leaves_nothing_of_the_container(new_engine):
    """The address is asked for while the shim makes the container, which has to go again."""
    from harness import free_subnet

    engine = new_engine(subnet=free_subnet(30))
    engine.cli("run", "-d", "--name", "first", "busybox", "sleep", "1000")
    p = engine.cli("run", "--name", "second", "busybox", "true", check=False)
    assert p.returncode == 125 and "address" in p.stderr, p
    first, second = engine.inspect("first")["Id"], engine.inspect("second")["Id"]
    wait_until("the shim of the second one has gone", lambda: len(engine.shims()) == 1)
    assert os.listdir(engine.exec_root / "containers") == [first]
    assert not run("find", "/sys/fs/cgroup", "-name", second, "-type", "d").stdout
    engine.cli("rm", "-f", "first")
    assert engine.cli("start", "-a", "second").returncode == 0
