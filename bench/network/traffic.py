# SPDX-License-Identifier: Apache-2.0
"""Traffic of bench/network. Each engine has a host of its own, a network namespace, so that nobody's packets pass another one's rules; another namespace is a host outside.

A worker is a process in such a namespace: it starts one engine with a container that serves, whose ports are published, and four that ask, and does what it is told in
lines of JSON: one flow at a time. Whoever tells them (Traffic) gives the workers turns.
"""
import contextlib
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import engines as peers
from engines import sh

HOST, OUTSIDE = "198.51.100.1", "198.51.100.2"
DNS_RATE = 50000  # questions a second
CLIENTS = 4
# Of the container that serves, and of the host.
IPERF, ECHO = 5201, 5202
PUBLISHED = {IPERF: 15201, ECHO: 15202}
# A round trip is that of two programs on one CPU: its cost is the path's, not that of waking an idle CPU.
ONE_CPU = ["taskset", "-c", "0"]
# The last one is the userland proxy's: containers have IPv4 alone.
WAYS = ("container to container", "host to container", "host to 127.0.0.1:PORT", "host to its address:PORT", "outside to PORT", "container to its host's PORT", "host to [::1]:PORT")
NETWORK = "bench"


def inside(pid, words):
    return ["nsenter", f"--net=/proc/{pid}/ns/net", *map(str, words)]


def server_of(pid):
    """Whom a container asks for names."""
    lines = pathlib.Path(f"/proc/{pid}/root/etc/resolv.conf").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("nameserver"))


def resolve(load, pid, *words):
    """(answers, other or missing ones, seconds, median, 99th percentile in us) of load.c, run in a container's network."""
    return tuple(float(v) for v in sh(inside(pid, [load, *words])).split())


# ---- the worker ----

class Place:
    """An engine, its containers, and a host outside."""

    def __init__(self, kind, load, folder, image):
        self.load, self.processes, self.e = load, [], None
        try:
            self.outside = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL)
            self.processes.append(self.outside)
            self.connect_outside(self.outside.pid)
            self.e = kind(folder)
            image(self.e)
            self.fill()
        except BaseException:
            self.close()
            raise

    def connect_outside(self, pid):
        own, end = pathlib.Path("/proc/self/ns/net").readlink(), time.monotonic() + 5
        while pathlib.Path(f"/proc/{pid}/ns/net").readlink() == own:
            if time.monotonic() > end:
                raise RuntimeError("unshare makes no network namespace")
            time.sleep(0.01)
        sh(["ip", "link", "add", "outside", "type", "veth", "peer", "name", "eth0", "netns", pid])
        sh(["ip", "addr", "add", f"{HOST}/24", "dev", "outside"])
        sh(["ip", "link", "set", "outside", "up"])
        for words in (["addr", "add", f"{OUTSIDE}/24", "dev", "eth0"], ["link", "set", "eth0", "up"], ["link", "set", "lo", "up"]):
            sh(inside(pid, ["ip", *words]))

    def fill(self):
        publish = [w for inner, outer in PUBLISHED.items() for w in ("-p", f"{outer}:{inner}", "-p", f"{outer}:{inner}/udp")]
        names = ["server", *(f"client{i}" for i in range(CLIENTS))]
        for name in names:
            self.e.ask(["run", *self.e.run_options, "-d", "--name", name, "--network", NETWORK, *(publish if name == "server" else ()), "busybox:latest", "sleep", "100000"])
        self.pids = [self.e.ask(["inspect", "--format", "{{.State.Pid}}", name]).strip() for name in names]
        self.address = self.e.ask(["inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "server"]).strip()
        for words in (["iperf3", "-s", "-p", IPERF], [*ONE_CPU, self.load, "serve", ECHO]):
            self.processes.append(subprocess.Popen(inside(self.pids[0], words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        time.sleep(0.3)

    def way(self, name, port):
        """(command prefix, address, port)"""
        client, outside = inside(self.pids[1], []), inside(self.outside.pid, [])
        return dict(zip(WAYS, ((client, self.address, port), ([], self.address, port), ([], "127.0.0.1", PUBLISHED[port]), ([], HOST, PUBLISHED[port]),
                               (outside, HOST, PUBLISHED[port]), (client, HOST, PUBLISHED[port]), ([], "::1", PUBLISHED[port]))))[name]

    def throughput(self, way, seconds):
        prefix, address, port = self.way(way, IPERF)
        said = sh([*prefix, "iperf3", "-J", "-c", address, "-p", port, "-t", max(1, round(seconds)), "--connect-timeout", 3000], check=False, timeout=seconds + 30)
        with contextlib.suppress(ValueError, KeyError):
            return {"Gbit/s": json.loads(said)["end"]["sum_received"]["bits_per_second"] / 1e9}
        return None

    def round_trips(self, way, protocol, seconds):
        prefix, address, port = self.way(way, ECHO)
        said = sh([*prefix, *ONE_CPU, self.load, "ask", protocol, address, port, seconds], check=False, timeout=seconds + 30).split()
        if len(said) != 5 or int(said[0]) == 0:
            return None
        return {"a second": int(said[0]) / float(said[2]), "median": float(said[3]), "99th percentile": float(said[4])}

    def names(self, clients, window, seconds, rate=None):
        running = [subprocess.Popen(inside(pid, [self.load, "dns", server_of(pid), "server", window, seconds, *([rate / clients] if rate else [])]), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
                   for pid in self.pids[1:1 + clients]]
        said = [[float(v) for v in p.communicate(timeout=seconds + 30)[0].split()] for p in running]
        if not all(len(v) == 5 and v[0] > 0 for v in said):
            return None
        bad = sum(v[1] for v in said)
        if bad:
            print(f"{self.e.name}: {bad:.0f} questions for \"server\" without a good answer", file=sys.stderr)
        return {"a second": sum(v[0] / v[2] for v in said), "median": max(v[3] for v in said), "99th percentile": max(v[4] for v in said)}

    def close(self):
        for p in self.processes:
            p.kill()
            p.wait()
        if self.e:
            peers.close_all([self.e])


def work(kind, load, image):
    """The worker's life: what is asked for on its standard input, until that ends."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="irk-bench-"))
    place, out = None, sys.stdout
    try:
        place = Place(next(k for k in (peers.Ireko, peers.Podman, peers.Docker) if k.name == kind), load, folder, lambda e: image(e, folder))
        print(json.dumps("ready"), file=out, flush=True)
        for line in sys.stdin:
            order = json.loads(line)
            print(json.dumps(getattr(place, order.pop("do"))(**order)), file=out, flush=True)
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as e:
        print(f"{kind} is left out: {e}", file=sys.stderr)
    finally:
        if place:
            place.close()
        peers.remove_folder(folder)


# ---- who tells them ----

class Worker:
    def __init__(self, script, name, load):
        self.name = name
        self.p = subprocess.Popen(["unshare", "--net", "--mount", "--propagation", "private", sys.executable, str(script), "--inside", "--worker", name, "--load", str(load)],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def answer(self):
        line = self.p.stdout.readline()
        return json.loads(line) if line else None

    def ask(self, **order):
        print(json.dumps(order), file=self.p.stdin, flush=True)
        return self.answer()

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self.p.stdin.close()
        try:
            self.p.wait(timeout=120)
        except subprocess.TimeoutExpired:
            self.p.kill()
            self.p.wait()


class Traffic:
    def __init__(self, script, bench):
        self.o, self.table, self.workers = bench.o, bench.table, []
        self.script, self.load, self.names = script, bench.load, [e.name for e in bench.engines]

    def __enter__(self):
        for name in self.names:
            self.workers.append(Worker(self.script, name, self.load))
            if self.workers[-1].answer() != "ready":
                self.workers.pop().close()
        if not self.workers or self.workers[0].name != "ireko":
            self.__exit__()
            raise RuntimeError("there is no place for ireko's traffic")
        return self

    def __exit__(self, *_):
        for w in self.workers:
            w.close()

    def turns(self, what, **order):
        """{value: {engine: median}} of one kind of flow, each engine with its turns."""
        found = {}
        for turn in range(self.o.rounds):
            for w in self.workers if turn % 2 == 0 else reversed(self.workers):
                values = w.ask(**order)
                if values is None and turn == 0:
                    print(f"{w.name}, {what}: nothing comes back", file=sys.stderr)
                for of, value in (values or {}).items():
                    found.setdefault(of, {}).setdefault(w.name, []).append(value)
        return {of: {name: statistics.median(v) for name, v in values.items()} for of, values in found.items()}

    def throughput(self):
        for way in WAYS:
            found = self.turns(way, do="throughput", way=way, seconds=self.o.seconds)
            self.table.row(f"throughput, {way}", found.get("Gbit/s", {}), "Gbit/s", {"docker": 1}, better="more")

    def round_trips(self):
        for protocol in ("tcp", "udp"):
            for way in WAYS:
                what = f"{protocol} round trips, {way}"
                found = self.turns(what, do="round_trips", way=way, protocol=protocol, seconds=self.o.seconds / 2)
                self.table.row(what, found.get("a second", {}), "a second", {"docker": 1}, better="more", digits=0)
                self.table.row(f"{what}, median", found.get("median", {}), "us")
                self.table.row(f"{what}, 99th percentile", found.get("99th percentile", {}), "us", {"docker": 1})

    def dns(self):
        """Answers to questions for another container's name: one at a time; as many as there can be from one and from four containers; and with 50,000 asked in each second,
        how long each waits. Where clients and the resolver fill all CPUs, a wait is the scheduler's, and has no budget."""
        for what, clients, window, rate in (("DNS, one by one", 1, 1, None), ("DNS, 1 client, 16 at once", 1, 16, None), (f"DNS, {CLIENTS} clients, 8 at once", CLIENTS, 8, None),
                                            (f"DNS, 1 client, {DNS_RATE} a second", 1, 128, DNS_RATE)):
            found = self.turns(what, do="names", clients=clients, window=window, seconds=self.o.seconds, rate=rate)
            least = {"at least": DNS_RATE * 0.99 if rate else DNS_RATE} if window > 1 else {}
            self.table.row(what, found.get("a second", {}), "answers/s", least, better="more", digits=0)
            self.table.row(f"{what}, median", found.get("median", {}), "us")
            self.table.row(f"{what}, 99th percentile", found.get("99th percentile", {}), "us", {"at most": 1000} if rate or clients == 1 else {})
