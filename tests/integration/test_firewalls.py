# SPDX-License-Identifier: Apache-2.0
"""Beside the host's own firewall: ufw, firewalld, nftables by hand, iptables and iptables-legacy. Containers have their way out, the host's policy decides
about published ports, what is flushed or reloaded is put back, and others' rules are the same before us and after us."""
import contextlib
import pathlib
import re
import time

import pytest

from firewalls import HERE, OUTSIDE, House
from harness import Engine, wait_until

POLICY_DROP = "table inet house {\n chain forward {\n  type filter hook forward priority filter; policy drop;\n }\n}\n"
WARNING = "published ports are reached from other machines only as far as this host's firewall lets"


@pytest.fixture(scope="module")
def house():
    h = House()
    try:
        h.serve(h.outside.pid, 99)
        yield h
    finally:
        h.close()


class Home:
    """An engine in the house: networks a, b, internal and open, and containers on them."""

    def __init__(self, house, *options):
        self.house = house
        self.engine = Engine(*options, subnet="10.77.1.0/24", prefix=house.prefix).start()
        self.engine.load_busybox()
        self.bridges, self.pids, self.addresses = {}, {}, {}
        for i, name in enumerate(("a", "b", "internal", "open")):
            more = {"internal": ["--internal"], "open": ["-o", "ireko.published-ports=open"]}.get(name, [])
            net = self.engine.cli("network", "create", "--subnet", f"10.77.{i + 2}.0/24", *more, f"net-{name}").stdout.strip()
            self.bridges[name] = f"br-{net[:12]}"
        for name, network, *ports in (("a1", "a", "8080:80", "5353:53/udp"), ("a2", "a"), ("b1", "b"), ("i1", "internal"), ("i2", "internal"), ("o1", "open", "8090:80")):
            self.engine.cli("run", "-d", "--name", name, "--network", f"net-{network}", *(w for p in ports for w in ("-p", p)), "busybox", "sleep", "1000")
            shown = self.engine.inspect(name)
            self.pids[name] = shown["State"]["Pid"]
            self.addresses[name] = shown["NetworkSettings"]["Networks"][f"net-{network}"]["IPAddress"]
        for name in ("a1", "b1", "i1", "o1"):
            house.serve(self.pids[name], 80)
        house.serve(self.pids["a1"], 53, "udp")

    def check(self, out=True, published=False, published_udp=None, opened=True, out_b=None):
        h, pid, outside = self.house, self.pids, self.house.outside.pid
        published_udp = published if published_udp is None else published_udp
        a1 = self.addresses["a1"]
        ways = {
            "way out": (pid["a1"], OUTSIDE, 99, "tcp", out),
            "way out of another": (pid["b1"], OUTSIDE, 99, "tcp", out if out_b is None else out_b),
            "published tcp": (outside, HERE, 8080, "tcp", published),
            "published udp": (outside, HERE, 5353, "udp", published_udp),
            "published, open": (outside, HERE, 8090, "tcp", opened),
            "from the host": (h.holder.pid, HERE, 8080, "tcp", True),
            "from localhost": (h.holder.pid, "127.0.0.1", 8080, "tcp", True),
            "neighbour": (pid["a2"], a1, 80, "tcp", True),
            "internal neighbour": (pid["i2"], self.addresses["i1"], 80, "tcp", True),
            "another network": (pid["b1"], a1, 80, "tcp", False),
            "way out of an internal network": (pid["i1"], OUTSIDE, 99, "tcp", False),
            "inner address from outside": (outside, a1, 80, "tcp", False),
        }
        got = {what: h.reaches(*way[:4], want=way[4]) for what, way in ways.items()}
        assert got == {what: way[4] for what, way in ways.items()}

    def way_out(self):
        return self.house.reaches(self.pids["a1"], OUTSIDE, 99)

    def ours(self):
        return re.findall(r"ireko:\S+ (\S+ \w+)", self.house.sh("iptables-save; nft list ruleset"))

    def close(self):
        keep = [k.fileobj for k in self.house.selector.get_map().values() if k.fileobj.getsockname()[1] == 99]
        self.house.forget_servers(keep)
        self.engine.destroy()


@contextlib.contextmanager
def home(house, *options):
    """Others' rules are the same afterwards."""
    before = house.rules()
    h = Home(house, *options)
    try:
        yield h
    finally:
        h.close()
    assert house.rules() == before


def test_no_firewall(house):
    house.clear()
    with home(house) as h:
        h.check(published=True)
        assert h.ours() == []
        assert h.engine.api("GET", "/info").json["Warnings"] is None

        # All rules are gone, ours too.
        house.sh("nft flush ruleset")
        h.check(published=True)
        wait_until("it is told", lambda: "nft removed rules of networks from the packet filter: they were put back" in h.engine.log_text())

        # Others have a rule in our table, or one of ours less; a firewall comes later.
        table = f"inet ireko_{h.engine.mark}"
        house.sh(f"nft insert rule {table} forward drop")
        h.check(published=True)
        house.sh(f"nft flush map {table} ports_any4; nft flush set {table} bridges")
        h.check(published=True)
        house.nft(POLICY_DROP)
        wait_until("our rules are in it", lambda: len(h.ours()) >= 7)
        h.check()
        house.sh("nft delete table inet house")
        h.check(published=True)


def test_policy_drop(house):
    house.clear()
    house.nft(POLICY_DROP)
    with home(house) as h:
        h.check()
        (said,) = h.engine.api("GET", "/info").json["Warnings"]
        assert said.startswith(WARNING) and WARNING in h.engine.log_text()

        # The policy stays, the rules go.
        house.sh("nft flush chain inet house forward")
        h.check()

        # The administrator's word counts, also the last one.
        house.sh(f"nft add rule inet house forward iifname {h.bridges['a']} ip daddr {OUTSIDE} drop")
        wait_until("ours are behind it", lambda: re.search(r"drop\n.*ireko", house.sh("nft list chain inet house forward")))
        h.check(out=False, out_b=True)
        house.sh("nft insert rule inet house forward ct status dnat accept")
        h.check(out=False, out_b=True, published=True)

        # Killed, and all is flushed meanwhile: the next start finds it so.
        h.engine.kill()
        house.sh("nft flush ruleset")
        house.nft(POLICY_DROP)
        h.engine.start()
        h.check()
        h.engine.options = ("--published-ports", "open")
        h.engine.restart()
        h.check(published=True)


def test_ports_open_for_all(house):
    house.clear()
    house.nft(POLICY_DROP)
    with home(house, "--published-ports", "open") as h:
        h.check(published=True)
        assert h.engine.api("GET", "/info").json["Warnings"] is None
        assert h.engine.cli("network", "create", "-o", "ireko.published-ports=often", "x1", check=False).stderr.count("expected firewall or open") == 1


def test_iptables(house):
    house.clear()
    house.sh("iptables -P FORWARD DROP; ip6tables -P FORWARD DROP; iptables-save > /run/saved; iptables-restore < /run/saved")
    with home(house) as h:
        h.check()
        a = h.bridges["a"]
        shown = house.sh("iptables -S FORWARD")
        assert re.search(rf'-A FORWARD -i {a} -m comment --comment "ireko:ireko_{h.engine.mark} {a} out" -j ACCEPT\n', shown), shown
        assert re.search(rf"-A FORWARD -o {a} -m conntrack --ctstate RELATED,ESTABLISHED -m comment .* -j ACCEPT\n", shown)
        assert "-i" not in house.sh("ip6tables -S FORWARD")  # nobody has IPv6
        house.sh("iptables -F FORWARD")
        h.check()
        # As administrators keep rules: ours come back as iptables writes them, and are known as ours.
        house.sh("iptables-save > /run/saved; iptables -F; iptables-restore < /run/saved")
        h.check()
        assert len(re.findall("ireko:", house.sh("iptables -S FORWARD"))) == 8
        house.sh("iptables -P FORWARD ACCEPT")
        wait_until("ours are gone", lambda: "ireko:" not in house.sh("iptables -S FORWARD"))
        h.check(published=True)
        house.sh("iptables -P FORWARD DROP")
        h.check()


def test_iptables_legacy(house):
    house.clear()
    # Else what stays on a bridge is dropped as well.
    house.sh("[ ! -e /proc/sys/net/bridge ] || echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables; iptables-legacy -P FORWARD DROP")
    try:
        with home(house) as h:
            h.check(out=False, opened=False)
            said = [w for w in h.engine.api("GET", "/info").json["Warnings"] if "iptables-legacy" in w]
            assert len(said) == 3 and all(sum(h.bridges[name] in w for w in said) == 1 for name in ("a", "b", "open")), said
            assert [h.engine.log_text().count(w) for w in said] == [1, 1, 1]
            # What it says helps.
            for sentence in said:
                house.sh("; ".join(re.findall("iptables-legacy -I .*? ACCEPT", sentence)))
            h.check(opened=False)
            assert h.engine.api("GET", "/info").json["Warnings"] is None
            house.sh("iptables-legacy -F FORWARD")
    finally:
        house.sh("[ ! -e /proc/sys/net/bridge ] || echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables; iptables-legacy -P FORWARD ACCEPT")


def test_ufw(house):
    house.clear()
    with house.ufw(), home(house) as h:
        h.check()
        house.sh("ufw reload")
        h.check()
        assert "Status: active" in house.sh("ufw status")
        # The usual way to let somebody in.
        house.sh(f"ufw route allow proto tcp to {h.addresses['a1']} port 80")
        h.check(published=True, published_udp=False)
        house.sh(f"ufw route delete allow proto tcp to {h.addresses['a1']} port 80")
        house.sh(f"ufw route deny in on {h.bridges['a']} to {OUTSIDE}")
        h.check(out=False, out_b=True)
        house.sh(f"ufw route delete deny in on {h.bridges['a']} to {OUTSIDE}")
        h.check()
        house.sh("ufw reload")  # which puts its own rules into the order that they had


def test_firewalld(house):
    house.clear()
    with house.firewalld(), home(house) as h:
        # firewalld itself lets through what is translated to another address.
        h.check(published=True)
        house.firewall_cmd("--reload")
        wait_until("our rules are in it", lambda: len(h.ours()) >= 7)
        h.check(published=True)
        assert house.firewall_cmd("--state").strip() == "running"


def cpu_ticks(pid):
    return sum(map(int, pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))


@pytest.mark.alone
def test_who_goes_on_is_answered_later(house):
    house.clear()
    house.nft(POLICY_DROP)
    with home(house) as h:
        pid = h.engine.p.pid
        before, began = cpu_ticks(pid), time.monotonic()
        stubborn = house.start(*house.prefix, "sh", "-c", "while :; do nft flush chain inet house forward; sleep 0.02; done")
        try:
            wait_until("it is told", lambda: "goes on removing rules of ours" in h.engine.log_text())
            time.sleep(3)
        finally:
            house.end(stubborn)
        log = h.engine.log_text()
        # Twenty times at once, then every other second, and without a word.
        assert time.monotonic() - began < 20 and 15 <= log.count("nft changed the host's firewall") <= 30, log
        assert h.way_out() and cpu_ticks(pid) - before < 50
