# SPDX-License-Identifier: Apache-2.0
"""Traffic of bench/network: each engine has a container that serves, whose ports are published, and four that ask; another network namespace is a host outside."""
import json
import pathlib
import statistics
import subprocess
import sys
import time

from engines import sh

HOST, OUTSIDE = "198.51.100.1", "198.51.100.2"
CLIENTS = 4
# Of the container that serves.
IPERF, ECHO = 5201, 5202
# A round trip is that of two programs on one CPU: its cost is the path's, not that of waking an idle CPU.
ONE_CPU = ["taskset", "-c", "0"]


def inside(pid, words):
    return ["nsenter", f"--net=/proc/{pid}/ns/net", *map(str, words)]


def server_of(pid):
    """Whom a container asks for names."""
    lines = pathlib.Path(f"/proc/{pid}/root/etc/resolv.conf").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("nameserver"))


def resolve(load, pid, *words):
    """(answers, other or missing ones, seconds, median, 99th percentile in us) of load.c, run in a container's network."""
    return tuple(float(v) for v in sh(inside(pid, [load, *words])).split())


class Place:
    """An engine's containers."""

    def __init__(self, bench, e, number):
        self.e, self.names = e, ["server", *(f"client{i}" for i in range(CLIENTS))]
        self.ports = {IPERF: 15201 + 10 * number, ECHO: 15202 + 10 * number}
        publish = [w for inner, outer in self.ports.items() for w in ("-p", f"{outer}:{inner}", "-p", f"{outer}:{inner}/udp")]
        self.processes = []
        for name in self.names:
            bench.start(e, name, *(publish if name == "server" else ()))
        self.pids = [e.ask(["inspect", "--format", "{{.State.Pid}}", name]).strip() for name in self.names]
        self.address = e.ask(["inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "server"]).strip()
        for words in (["iperf3", "-s", "-p", IPERF], [*ONE_CPU, bench.load, "serve", ECHO]):
            self.processes.append(subprocess.Popen(inside(self.pids[0], words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def close(self):
        for p in self.processes:
            p.kill()
            p.wait()
        self.e.ask(["rm", "-f", *self.names], check=False)


class Traffic:
    def __init__(self, bench):
        self.bench, self.o, self.table, self.places, self.outside = bench, bench.o, bench.table, [], None

    def __enter__(self):
        try:
            self.outside = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL)
            self.connect_outside()
            for number, e in enumerate(self.bench.engines):
                self.places.append(Place(self.bench, e, number))
        except BaseException:
            self.close()
            raise
        time.sleep(0.5)
        return self

    def connect_outside(self):
        pid, end = self.outside.pid, time.monotonic() + 5
        own = pathlib.Path("/proc/self/ns/net").readlink()
        while pathlib.Path(f"/proc/{pid}/ns/net").readlink() == own:
            if time.monotonic() > end:
                raise RuntimeError("unshare makes no network namespace")
            time.sleep(0.01)
        sh(["ip", "link", "add", "irkb-outside", "type", "veth", "peer", "name", "eth0", "netns", pid])
        sh(["ip", "addr", "add", f"{HOST}/24", "dev", "irkb-outside"])
        sh(["ip", "link", "set", "irkb-outside", "up"])
        for words in (["addr", "add", f"{OUTSIDE}/24", "dev", "eth0"], ["link", "set", "eth0", "up"], ["link", "set", "lo", "up"]):
            sh(inside(pid, ["ip", *words]))

    def __exit__(self, *_):
        self.close()

    def close(self):
        for place in self.places:
            place.close()
        if self.outside:
            self.outside.kill()
            self.outside.wait()
            # The kernel removes the pair some time after the namespace has lost its last process.
            sh(["ip", "link", "del", "irkb-outside"], check=False)

    def ways(self, place, port):
        """(what, in whose network the client is: None for the host's, address, port)."""
        yield "container to container", place.pids[1], place.address, port
        yield "host to container", None, place.address, port
        yield "host to 127.0.0.1:PORT", None, "127.0.0.1", place.ports[port]
        yield "host to its address:PORT", None, HOST, place.ports[port]
        yield "outside to PORT", self.outside.pid, HOST, place.ports[port]
        yield "container to its host's PORT", place.pids[1], HOST, place.ports[port]

    def each_way(self, port, once):
        """{way: {what: {engine: median}}} of once(command prefix, address, port), which answers {what: value} or None."""
        found = {}
        for turn in range(self.o.rounds):
            for place in self.places if turn % 2 == 0 else reversed(self.places):
                for way, pid, address, at in self.ways(place, port):
                    values = once(inside(pid, []) if pid else [], address, at)
                    if values is None:
                        print(f"{place.e.name}, {way}: nothing comes back", file=sys.stderr)
                    for what, value in (values or {}).items():
                        found.setdefault(way, {}).setdefault(what, {}).setdefault(place.e.name, []).append(value)
        return {way: {what: {name: statistics.median(v) for name, v in of.items()} for what, of in whats.items()} for way, whats in found.items()}

    def throughput(self):
        def once(prefix, address, port):
            said = sh([*prefix, "iperf3", "-J", "-c", address, "-p", port, "-t", max(1, round(self.o.seconds)), "--connect-timeout", 3000], check=False)
            try:
                return {"": json.loads(said)["end"]["sum_received"]["bits_per_second"] / 1e9}
            except (ValueError, KeyError):
                return None

        for way, found in self.each_way(IPERF, once).items():
            self.table.row(f"throughput, {way}", found[""], "Gbit/s", {"docker": 1}, better="more")

    def round_trips(self):
        for protocol in ("tcp", "udp"):
            def once(prefix, address, port, protocol=protocol):
                said = sh([*prefix, *ONE_CPU, self.bench.load, "ask", protocol, address, port, self.o.seconds / 2], check=False).split()
                if len(said) != 5 or int(said[0]) == 0:
                    return None
                return {"a second": int(said[0]) / float(said[2]), "median": float(said[3]), "99th percentile": float(said[4])}

            for way, found in self.each_way(ECHO, once).items():
                self.table.row(f"{protocol} round trips, {way}", found["a second"], "a second", better="more", digits=0)
                self.table.row(f"{protocol} round trip, {way}, median", found["median"], "us", {"docker": 1})
                self.table.row(f"{protocol} round trip, {way}, 99th percentile", found["99th percentile"], "us")

    def dns(self):
        """Answers to questions for another container's name: one at a time, and as many as there can be from one and from four containers."""
        for clients, window in ((1, 1), (1, 16), (CLIENTS, 8)):
            rates, medians, worst = {}, {}, {}
            for turn in range(self.o.rounds):
                for place in self.places if turn % 2 == 0 else reversed(self.places):
                    found = self.ask_names(place, clients, window)
                    if not found:
                        continue
                    for values, value in zip((rates, medians, worst), found):
                        values.setdefault(place.e.name, []).append(value)
            rates, medians, worst = ({name: statistics.median(v) for name, v in values.items()} for values in (rates, medians, worst))
            what = f"DNS, {clients} client{'s' if clients > 1 else ''}, {window} at once" if window > 1 else "DNS, one by one"
            self.table.row(what, rates, "answers/s", {"at least": 50000} if window > 1 else {}, better="more", digits=0)
            self.table.row(f"{what}, median", medians, "us")
            self.table.row(f"{what}, 99th percentile", worst, "us", {"at most": 1000})

    def ask_names(self, place, clients, window):
        running = [subprocess.Popen(inside(pid, [self.bench.load, "dns", server_of(pid), "server", window, self.o.seconds]), stdin=subprocess.DEVNULL,
                                    stdout=subprocess.PIPE, text=True) for pid in place.pids[1:1 + clients]]
        said = [[float(v) for v in p.communicate(timeout=60)[0].split()] for p in running]
        if not all(len(v) == 5 and v[0] > 0 for v in said):
            print(f"{place.e.name}: no answers to questions for \"server\"", file=sys.stderr)
            return None
        bad = sum(v[1] for v in said)
        if bad:
            print(f"{place.e.name}: {bad:.0f} questions for \"server\" without a good answer", file=sys.stderr)
        return sum(v[0] / v[2] for v in said), max(v[3] for v in said), max(v[4] for v in said)
