#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""network [-n N] [--seconds S] [--json FILE] [WHAT...]: ireko's networks beside docker's and podman's, where those start; see README.md.

Whole processes and single requests of the API, in turns, medians, in a network namespace of its own that plays the host: as bench/engine measures. Traffic is made by
iperf3 and load.c, which run on the host but in the network namespaces of containers, so that all engines have the same programs.
"""
import argparse
import http.client
import itertools
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import engines as peers  # noqa: E402
from engines import DockerLike, harness, in_turns, need, sh, throughput, timed  # noqa: E402
from traffic import NETWORK, Traffic, resolve, server_of, work  # noqa: E402

IMAGE = "busybox:latest"
SLEEP = [IMAGE, "sleep", "100000"]
HERE = pathlib.Path(__file__).parent


class ThroughDocker(DockerLike):
    """Our engine, spoken to by docker's command line."""
    name = "ireko, docker CLI"

    def __init__(self, ireko):
        need("docker")
        self.cli = ["docker", "-H", f"unix://{ireko.socket}"]


class Bench:
    def __init__(self, o, folder, table):
        self.o, self.folder, self.table = o, folder, table
        self.load = folder / "load"
        sh(["cc", "-O2", "-o", self.load, HERE / "load.c"])
        self.engines = peers.started(folder)
        self.ours = next(e for e in self.engines if e.name == "ireko")
        self.speakers = [self.ours, ThroughDocker(self.ours), *(e for e in self.engines if e is not self.ours)]
        self.numbers = itertools.count()

    def close(self):
        peers.close_all(self.engines)

    def start(self, e, name, *options, network=NETWORK):
        e.ask(["run", *e.run_options, "-d", "--name", name, "--network", network, *options, *SLEEP])

    # ---- run
    def run(self):
        """What each kind of network adds to `run`."""
        kinds = ("none", "host", "bridge", NETWORK)

        def once(e):
            found = {}
            for kind in kinds:
                found[kind] = timed(e, ["run", *e.run_options, "--rm", "--network", "podman" if e.name == "podman" and kind == "bridge" else kind, IMAGE, "true"])
                if found[kind] is None:
                    return None
            found["bridge adds"] = found["bridge"] - found["none"]
            return found

        t = in_turns(self.speakers, self.o.n, once)
        for kind in kinds:
            self.table.row(f"run --rm, {'user-defined' if kind == NETWORK else kind}", t.get(kind, {}), "ms", {"at most": 12, "docker": 0.2} if kind == "bridge" else {})
        self.table.row("the bridge adds to run", t.get("bridge adds", {}), "ms", {"at most": 4})

    def parallel(self):
        """run on the bridge, 1 and 64 at once."""
        alone = {}
        for at_once in (1, 64):
            rates, busy = {}, {}
            for e in self.engines:
                total = max(at_once, self.o.n * (8 if e is self.ours else 1))
                rate, share = throughput(e, ["run", *e.run_options, "--rm", IMAGE, "true"], at_once, total)
                if rate:
                    rates[e.name], busy[e.name] = rate, share
            alone = alone or rates
            self.table.row(f"run, {at_once} at once", rates, "runs/s", {"at least": round(alone["ireko"], 1)} if at_once > 1 else {}, better="more")
            self.table.row(f"CPUs busy meanwhile, {at_once} at once", busy, "x", {"at least": 0.9} if at_once > 1 else {}, better="more")

    # ---- networks
    def networks(self):
        """The life of a network that two running containers join and leave, by command line and by API."""
        for e in self.engines:
            for name in ("first", "second"):
                self.start(e, name)
        told = {"create": 5, "connect, the first": None, "connect": 5, "disconnect": 5, "disconnect, the last": None, "remove": 5, "remove, unused": None}
        for way, engines, once in (("", self.speakers, self.by_command), (", API", [e for e in self.engines if hasattr(e, "socket")], self.by_request)):
            t = in_turns(engines, self.o.n, once)
            for what, budget in told.items():
                self.table.row(f"network {what}{way}", t.get(what, {}), "ms", {"at most": budget} if budget else {})
        for e in self.engines:
            e.ask(["rm", "-f", "first", "second"])

    def steps(self, tell):
        """tell(verb, network, container or None): milliseconds, or None, which ends it."""
        name, found = f"bench{next(self.numbers)}", {}
        for what, verb, container in (("create", "create", None), ("connect, the first", "connect", "first"), ("connect", "connect", "second"), ("disconnect", "disconnect", "second"),
                                      ("disconnect, the last", "disconnect", "first"), ("remove", "rm", None), (None, "create", None), ("remove, unused", "rm", None)):
            took = tell(verb, name, container)
            if took is None:
                return None
            if what:
                found[what] = took
        return found

    def by_command(self, e):
        return self.steps(lambda verb, name, container: timed(e, ["network", verb, name, *([container] if container else [])]))

    def by_request(self, e):
        """On one connection, as a client of the API that stays does it."""
        connection = harness.UnixConnection(e.socket)

        def tell(verb, name, container):
            method, path, body = {
                "create": ("POST", "/networks/create", {"Name": name}),
                "rm": ("DELETE", f"/networks/{name}", None),
            }.get(verb, ("POST", f"/networks/{name}/{verb}", {"Container": container}))
            return request(connection, e, method, path, body)

        try:
            return self.steps(tell)
        finally:
            connection.close()

    # ---- traffic and names
    def throughput(self):
        self.traffic(Traffic.throughput)

    def latency(self):
        self.traffic(Traffic.round_trips)

    def dns(self):
        self.traffic(Traffic.dns)

    def traffic(self, measure):
        with Traffic(HERE, self) as t:
            measure(t)

    # ---- published ports beside others
    def firewall(self):
        """A start and a stop with a published port less those without, beside more and more containers that have ports; the change of the rules alone."""
        self.rules()
        ports, there = itertools.count(20000), {e.name: 0 for e in self.engines}
        for others in self.o.ports:
            few = [e for e in self.engines if e is self.ours or others <= self.o.peers_ports]
            for e in few:
                # All engines have one host here.
                base = 30000 + 10000 * self.engines.index(e)
                self.fill(e, "port-", there[e.name], others, lambda i, base=base: ["-p", f"{base + i}:80"])
                there[e.name] = max(there[e.name], others)
            t = in_turns(few, self.o.n, lambda e: self.publish_once(e, next(ports)), blocks=2)
            for what in ("start", "stop"):
                self.table.row(f"{what} with a port, beside {others}", t.get(f"{what} with", {}), "ms")
                self.table.row(f"{what}, the port's part, beside {others}", {name: t[f"{what} with"][name] - v for name, v in t.get(f"{what} without", {}).items()}, "ms")
        for e in self.engines:
            self.empty(e, "port-", there[e.name])

    def rules(self):
        """publish.c, which makes the calls that the engine makes."""
        program, libraries = self.folder / "publish", [harness.BUILD / f"libireko-{floor}.a" for floor in ("network", "kernel", "base")]
        source = HERE / "publish.c"
        sh(["cc", "-O2", "-std=gnu17", "-D_GNU_SOURCE", "-I", harness.BUILD / "view/network", "-o", program, source, *libraries, "-lmnl", "-lnftables", "-ljansson", "-lpthread"])
        first = None
        for line in sh([program, f"irkb_{self.folder.name[-8:]}", 50 * self.o.n, *self.o.ports]).splitlines():
            others, *took = line.split()
            first = first or [float(v) for v in took]
            for what, was, value in zip(("publish", "take back"), first, took):
                self.table.row(f"rules alone, {what} a port beside {others}", {"ireko": float(value)}, "us", {"at most": round(1.2 * was, 1)})

    def publish_once(self, e, port):
        found, ways = {}, [("with", ["-p", f"{port}:80"]), ("without", [])]
        for way, options in ways if port % 2 else reversed(ways):
            e.ask(["create", *e.run_options, "--name", "published", "--network", NETWORK, *options, *SLEEP])
            found[f"start {way}"] = timed(e, ["start", "published"])
            found[f"stop {way}"] = timed(e, ["stop", "-t", "0", "published"])
            e.ask(["rm", "-f", "published"])
        return None if None in found.values() else found

    def fill(self, e, prefix, first, end, options=lambda i: [], network=NETWORK, at_once=4):
        """Containers PREFIX0... that sleep, some at once; seconds."""
        start, running = time.monotonic(), []
        for i in range(first, end):
            if len(running) == at_once:
                self.ended(e, running.pop(0))
            running.append(subprocess.Popen([str(a) for a in [*e.cli, "run", *e.run_options, "-d", "--name", f"{prefix}{i}", "--network", network, *options(i), *SLEEP]],
                                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
        for p in running:
            self.ended(e, p)
        return time.monotonic() - start

    def ended(self, e, p):
        said = p.communicate(timeout=300)[1]
        if p.returncode:
            raise RuntimeError(f"{e.name} run: exit status {p.returncode}: {said.decode()[-200:]}")

    def empty(self, e, prefix, n):
        start = time.monotonic()
        for i in range(0, n, 200):
            e.ask(["rm", "-f", *(f"{prefix}{k}" for k in range(i, min(n, i + 200)))], timeout=600)
        return time.monotonic() - start

    # ---- many, ours alone
    def scale(self):
        """Containers on one network, each known by name to one of them."""
        e, n = self.ours, self.o.scale
        e.ask(["network", "create", "--subnet", f"10.63.0.0/{24 if n < 250 else 16}", "scale"])
        before = e.idle()
        took = self.fill(e, "s-", 0, n, network="scale")
        self.table.row(f"{n} containers on one network", {"ireko": n / took}, "starts/s")
        pid = e.ask(["inspect", "--format", "{{.State.Pid}}", "s-0"]).strip()
        found, bad, seconds, _, p99 = resolve(self.load, pid, "names", server_of(pid), "s-@", n)
        self.table.row(f"names of {n} that one of them resolves", {"ireko": found}, "names", {"at least": n}, digits=0)
        self.table.row("names resolved", {"ireko": found / seconds}, "names/s", digits=0)
        self.table.row("names resolved, 99th percentile", {"ireko": p99 / 1000}, "ms", {"at most": 1}, digits=2)
        sample = sorted({i * n // 50 for i in range(50)} - {0})
        pinged = sum(" 0% packet loss" in e.ask(["exec", "s-0", "ping", "-c", "1", "-W", "2", f"s-{i}"], check=False) for i in sample)
        self.table.row(f"of {len(sample)} of them answer a ping", {"ireko": pinged}, "containers", {"at least": len(sample)}, digits=0)
        time.sleep(5)  # after some seconds without a request the engine gives back what it does not need
        self.table.row(f"memory of the engine with {n}, for each", {"ireko": (e.idle() - before) / n}, "KiB")
        self.table.row(f"rm -f of {n}", {"ireko": n / self.empty(e, "s-", n)}, "containers/s")
        self.table.row("network remove after them", {"ireko": timed(e, ["network", "rm", "scale"])}, "ms", {"at most": 5})

    def many(self):
        """Networks on one host, each of which one of ten containers joins, so that they have their bridges."""
        e, n = self.ours, self.o.networks
        members = [f"member{i}" for i in range(10)]
        for name in members:
            self.start(e, name)
        connection, before = harness.UnixConnection(e.socket), e.idle()

        def each(method, path, body=None):
            return [request(connection, e, method, path(i), body(i) if body else None) or 0 for i in range(n)]

        def tell(what, times, budget):
            edge = max(1, min(50, n // 4))
            self.table.row(f"{what}, the first of {n}", {"ireko": statistics.median(times[:edge])}, "ms", {"at most": budget})
            self.table.row(f"{what}, the last of {n}", {"ireko": statistics.median(times[-edge:])}, "ms", {"at most": budget})

        try:
            tell("network create", each("POST", lambda i: "/networks/create", lambda i: {"Name": f"many-{i}"}), 5)
            self.table.row(f"memory of the engine for each of {n}", {"ireko": (e.idle() - before) / n}, "KiB")
            tell("connect, the first", each("POST", lambda i: f"/networks/many-{i}/connect", lambda i: {"Container": members[i % len(members)]}), 5)
            took = timed(e, ["rm", "-f", *members])
            self.table.row(f"rm -f of {len(members)} containers on {n} networks", {"ireko": took}, "ms")
            tell("network remove", each("DELETE", lambda i: f"/networks/many-{i}"), 5)
        finally:
            connection.close()


def prepare(e, folder):
    rootfs = folder / "busybox.tar"
    rootfs.write_bytes(harness.make_tar(harness.fill_busybox))
    e.ask(["import", rootfs, IMAGE])
    e.ask(["network", "create", NETWORK])


def request(connection, e, method, path, body):
    """Milliseconds of one request; None, with a word why, if it is refused."""
    start = time.monotonic()
    try:
        connection.request(method, path, body=json.dumps(body) if body else None, headers={"Content-Type": "application/json"} if body else {})
        response = connection.getresponse()
        said = response.read()
    except (OSError, http.client.HTTPException) as error:
        print(f"{e.name} {method} {path}: {error}", file=sys.stderr)
        return None
    if response.status >= 300:
        print(f"{e.name} {method} {path}: {response.status} {said.decode()[-200:]}", file=sys.stderr)
        return None
    return (time.monotonic() - start) * 1000


WHAT = ("run", "parallel", "networks", "throughput", "latency", "dns", "firewall", "scale", "many")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=20, help="rounds of each command")
    parser.add_argument("--seconds", type=float, default=2, help="of each flow of `throughput`, `latency` and `dns`")
    parser.add_argument("--rounds", type=int, default=3, help="of each flow of `throughput`, `latency` and `dns`")
    parser.add_argument("--ports", type=lambda s: [int(n) for n in s.split(",")], default=[0, 100, 500, 1000], help="containers with a port, of `firewall`: 0,100,500,1000")
    parser.add_argument("--peers-ports", type=int, default=100, help="most of them that docker and podman are given")
    parser.add_argument("--scale", type=int, default=200, help="containers of `scale`")
    parser.add_argument("--networks", type=int, default=500, help="networks of `many`")
    parser.add_argument("--json", type=pathlib.Path, help="file that the rows are written to")
    parser.add_argument("what", nargs="*", help=f"{' '.join(WHAT)}; default: all")
    for hidden in ("--worker", "--load"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    o = parser.parse_args()
    if set(o.what) - set(WHAT):
        parser.error(f"unknown: {' '.join(sorted(set(o.what) - set(WHAT)))}")
    need("iperf3", "cc")
    if not o.inside:
        peers.enter_own_namespaces(HERE)
    peers.end_when_told()
    sh(["ip", "link", "set", "lo", "up"])
    if o.worker:
        return work(o.worker, o.load, prepare)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="irk-bench-"))
    table, bench, failed = peers.Table(("ireko", "ireko, docker CLI", "podman", "docker")), None, []
    try:
        bench = Bench(o, folder, table)
        for e in bench.engines:
            prepare(e, folder)
        table.head(f"{o.n} rounds, medians; in brackets: theirs over ours")
        for what in [w for w in WHAT if not o.what or w in o.what]:
            try:
                getattr(bench, what)()
            except (RuntimeError, subprocess.TimeoutExpired) as e:
                failed.append(what)
                print(f"{what}: {e}", file=sys.stderr)
        print(f"budgets missed: {', '.join(table.missed)}" if table.missed else "every budget is met")
        if o.json:
            o.json.write_text(json.dumps(table.rows, indent=1) + "\n")
    finally:
        if bench:
            bench.close()
        peers.remove_folder(folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
