#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""cri [-n N] [--pods N] [--burst N] [--json FILE] [WHAT...]: what a kubelet waits for: ireko beside containerd of Debian 12 and of Debian unstable; see README.md.

One call each, from its first byte to its answer, on a connection that stays; in turns, medians, in a network namespace of its own. All engines have the same CNI configuration and
plugins, the same registry and images.
"""
import argparse
import concurrent.futures
import contextlib
import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent / "tools"), str(HERE.parent.parent / "tests/conformance")]
import cri_engines  # noqa: E402
import cri_images  # noqa: E402
import engines as peers  # noqa: E402
import floors as house  # noqa: E402
from engines import harness, in_turns, pss_kib, sh  # noqa: E402
from calls import IMAGES, RUNTIME, CallFailed, Kubelet, first, message  # noqa: E402

NAMES = ("ireko", "containerd", "containerd2")
COLUMNS = (*NAMES, "plugins alone")
# Ends when told to, as programs made for containers do; has a shell and `true` beside it.
SERVER = f"registry.k8s.io/{cri_images.E2E}/nginx:1.14-2"
FAST = ("Version", "Status", "ListPodSandbox", "ListContainers")
FEW = 50  # calls of each kind that lasts less than a millisecond


def build_caller(folder):
    floor = house.load()["grpc"]
    below = house.closure(house.load(), floor)
    archives = [harness.BUILD / f"libireko-{f.name}.a" for f in below]
    out = folder / "caller"
    sh(["gcc", "-std=gnu17", "-O2", "-Wall", "-D_GNU_SOURCE", "-I", harness.BUILD / "view/grpc", HERE / "caller.c", "-o", out, "-Wl,--start-group", *archives, "-Wl,--end-group",
        *house.link_flags({lib for f in below for lib in f.libraries})])
    return out


class Plugins:
    """CNI's plugins without any engine: what a pod's network costs whoever calls them as the specification has it, one after another."""

    def __init__(self, folder):
        self.folder = folder / "plugins-alone"
        self.folder.mkdir()
        self.document = cri_engines.cni_list(self.folder, "irkcrialone", "10.170.0.0/16")

    def run(self, command, name, plugin, previous):
        config = {**plugin, "cniVersion": self.document["cniVersion"], "name": self.document["name"], **({"prevResult": json.loads(previous)} if previous else {})}
        env = {"PATH": os.environ["PATH"], "CNI_COMMAND": command, "CNI_CONTAINERID": name, "CNI_NETNS": f"/run/netns/{name}", "CNI_IFNAME": "eth0", "CNI_PATH": str(cri_engines.CNI_PLUGINS)}
        return subprocess.run([cri_engines.CNI_PLUGINS / plugin["type"]], input=json.dumps(config), stdout=subprocess.PIPE, check=True, text=True, env=env).stdout

    def add(self, name):
        """What the last one said."""
        result = None
        for plugin in self.document["plugins"]:
            result = self.run("ADD", name, plugin, result)
        return result

    def delete(self, name, result):
        for plugin in reversed(self.document["plugins"]):
            self.run("DEL", name, plugin, result)

    @contextlib.contextmanager
    def namespaces(self, names):
        with contextlib.ExitStack() as undo:
            for name in names:
                sh(["ip", "netns", "add", name])
                undo.callback(sh, ["ip", "netns", "del", name])
            yield

    def once(self, number):
        """Milliseconds of ADD and of DEL."""
        name = f"alone{number}"
        with self.namespaces([name]):
            start = time.monotonic()
            result = self.add(name)
            added = time.monotonic()
            self.delete(name, result)
            return (added - start) * 1000, (time.monotonic() - added) * 1000

    def burst(self, n):
        """Milliseconds of n ADDs at once, into network namespaces that are there already."""
        names = [f"alone{i}" for i in range(n)]
        with self.namespaces(names), concurrent.futures.ThreadPoolExecutor(n) as pool:
            start = time.monotonic()
            results = list(pool.map(self.add, names))
            took = (time.monotonic() - start) * 1000
            list(pool.map(self.delete, names, results))
            return took

    def medians(self, n):
        add, delete = zip(*(self.once(i) for i in range(n + 1)))
        return statistics.median(add[1:]), statistics.median(delete[1:])


class Member:
    """An engine and its kubelet."""

    def __init__(self, engine, caller, folder, cgroup):
        self.engine, self.name = engine, engine.name
        logs = folder / f"logs-{engine.name}"
        logs.mkdir()
        self.kubelet = Kubelet(caller, engine.socket, logs, cgroup, engine.name)

    def close(self):
        try:
            self.kubelet.remove_all()
        except CallFailed as e:
            print(f"{self.name}: {e}", file=sys.stderr)
        self.kubelet.close()
        self.engine.close()


class Bench:
    def __init__(self, o, folder, table):
        self.o, self.folder, self.table, self.members = o, folder, table, []
        self.cgroup = f"irkbench{os.getpid()}"
        self.registry = harness.Registry()
        try:
            cri_images.push(self.registry)
            caller = build_caller(folder)
            for number, name in enumerate(o.peers):
                self.start(number, name, caller)
        except BaseException:
            self.close()
            raise

    def start(self, number, name, caller):
        try:
            engine = cri_engines.PEERS[name](self.registry, number)
        except (AssertionError, OSError) as e:
            if name == "ireko" and self.o.peers == list(NAMES):
                raise
            print(f"{name} is left out: {e}", file=sys.stderr)
            return
        member = Member(engine, caller, self.folder, f"/{self.cgroup}")
        self.members.append(member)
        member.kubelet.call(IMAGES + "PullImage", (1, message((1, SERVER))))

    def close(self):
        for m in self.members:
            try:
                m.close()
            except (AssertionError, RuntimeError, OSError, subprocess.TimeoutExpired) as e:
                print(f"{m.name} does not end well: {e}", file=sys.stderr)
        harness.remove_cgroups(self.cgroup)
        self.registry.close()

    def turns(self, once, n=None, blocks=4):
        def safely(m):
            try:
                return once(m.kubelet)
            except CallFailed as e:
                print(f"{m.name} is left out: {e}", file=sys.stderr)
                return None

        return in_turns(self.members, n or self.o.n, safely, blocks)

    @functools.cached_property
    def plugins(self):
        return Plugins(self.folder)

    # ---- one pod
    def life(self):
        """A pod and its container, from one end to the other; then a pod in the host's network."""
        found = self.turns(one_life)
        add, delete = self.plugins.medians(self.o.n)
        found["RunPodSandbox, CNI"]["plugins alone"] = add
        found["StopPodSandbox"]["plugins alone"] = delete
        for what, budget in (("RunPodSandbox, CNI", {"containerd": 0.3, "containerd2": 0.3}), ("RunPodSandbox, host network", {"at most": 10}), ("CreateContainer + StartContainer", {"at most": 8}),
                             ("ExecSync", {"at most": 5}), ("StopContainer", {"containerd": 0.3, "containerd2": 0.3}), ("RemoveContainer", {}), ("StopPodSandbox", {"containerd": 0.3, "containerd2": 0.3}),
                             ("RemovePodSandbox", {}), ("all of one pod", {})):
            self.table.row(what, found.get(what, {}), "ms", budget)

    def calls(self):
        """What a kubelet asks all the time, with one pod and its container."""
        def once(k):
            config = k.pod()
            pod, _ = k.run(config)
            container, _ = k.create(pod, k.container(SERVER), config)
            k.call(RUNTIME + "StartContainer", (1, container))
            asked = {**{name: (RUNTIME + name, ()) for name in FAST}, "PodSandboxStatus": (RUNTIME + "PodSandboxStatus", ((1, pod),)), "ContainerStatus": (RUNTIME + "ContainerStatus", ((1, container),)),
                     "ContainerStats": (RUNTIME + "ContainerStats", ((1, container),)), "ImageStatus": (IMAGES + "ImageStatus", ((1, message((1, SERVER))),)), "ListImages": (IMAGES + "ListImages", ())}
            took = {name: sorted(k.call(path, *pairs)[1] for _ in range(FEW))[FEW // 2] for name, (path, pairs) in asked.items()}
            k.remove_all()
            return took

        for what, values in self.turns(once, n=max(2, self.o.n // 4), blocks=2).items():
            self.table.row(what, values, "ms", {} if what in ("ContainerStats",) else {"at most": 0.3}, digits=3)

    def pull(self):
        def once(k):
            spec = message((1, f"gcr.io/{cri_images.TOOLS}/test-image-latest:latest"))
            took = k.call(IMAGES + "PullImage", (1, spec))[1]
            return {"PullImage": took, "RemoveImage": k.call(IMAGES + "RemoveImage", (1, spec))[1]}

        for what, values in self.turns(once).items():
            self.table.row(what, values, "ms")

    # ---- many pods
    def burst(self):
        """Pods at once, each with a container that runs, and what engine and keepers need then."""
        times, memory = {}, {}
        for _ in range(self.o.rounds):
            for m in self.members:
                took, kib = self.one_burst(m, self.o.burst)
                times.setdefault(m.name, []).append(took)
                memory.setdefault(m.name, []).append(kib)
        best = {name: min(v) for name, v in times.items()}
        best["plugins alone"] = min(self.plugins.burst(self.o.burst) for _ in range(self.o.rounds))
        self.table.row(f"{self.o.burst} pods at once", best, "ms", {"containerd": 0.2, "containerd2": 0.2}, digits=0)
        self.table.row(f"memory of {self.o.burst} pods", {name: min(v) / 1024 for name, v in memory.items()}, "MiB", {"containerd": 0.1, "containerd2": 0.1})

    def one_burst(self, m, n):
        """(milliseconds, KiB)"""
        took = start_many(m.kubelet, n)
        time.sleep(2)  # for what ends and what gives memory back
        kib = pss_kib(m.engine.pids())
        m.kubelet.remove_all()
        return took, kib

    def many(self):
        """Lists of many pods with a container each. They come a burst at a time."""
        found = {}
        for m in self.members:
            for at in range(0, self.o.pods, self.o.burst):
                start_many(m.kubelet, min(self.o.burst, self.o.pods - at))
            for method in ("ListContainers", "ListPodSandbox", "ListContainerStats"):
                assert m.kubelet.count(method) == self.o.pods, f"{m.name}: {method} does not tell all"
                found.setdefault(method, {})[m.name] = sorted(m.kubelet.call(RUNTIME + method)[1] for _ in range(FEW))[FEW // 2]
            m.kubelet.remove_all()
        for method, values in found.items():
            self.table.row(f"{method}, {self.o.pods} pods", values, "ms", {} if method == "ListContainerStats" else {"at most": 5}, digits=2)


def one_life(k):
    took = {}
    config = k.pod()
    pod, took["RunPodSandbox, CNI"] = k.run(config)
    container, create = k.create(pod, k.container(SERVER), config)
    took["CreateContainer + StartContainer"] = create + k.call(RUNTIME + "StartContainer", (1, container))[1]
    took["ExecSync"] = k.call(RUNTIME + "ExecSync", (1, container), (2, ["true"]), (3, 10))[1]
    took["StopContainer"] = k.call(RUNTIME + "StopContainer", (1, container), (2, 10))[1]
    took["RemoveContainer"] = k.call(RUNTIME + "RemoveContainer", (1, container))[1]
    took["StopPodSandbox"] = k.call(RUNTIME + "StopPodSandbox", (1, pod))[1]
    took["RemovePodSandbox"] = k.call(RUNTIME + "RemovePodSandbox", (1, pod))[1]
    took["all of one pod"] = sum(took.values())
    pod, took["RunPodSandbox, host network"] = k.run(k.pod(host_network=True))
    k.call(RUNTIME + "StopPodSandbox", (1, pod))
    k.call(RUNTIME + "RemovePodSandbox", (1, pod))
    return took


def start_many(k, n):
    """Milliseconds of n pods at once, then their containers at once, then the starts."""
    configs = [k.pod() for _ in range(n)]
    run, answers = k.batch([(RUNTIME + "RunPodSandbox", message((1, c))) for c in configs])
    pods = [first(data, 1) for data, _ in answers]
    create, answers = k.batch([(RUNTIME + "CreateContainer", message((1, pod), (2, k.container(SERVER)), (3, c))) for pod, c in zip(pods, configs)])
    start, _ = k.batch([(RUNTIME + "StartContainer", message((1, first(data, 1)))) for data, _ in answers])
    return run + create + start


MEASURES = ("life", "calls", "pull", "burst", "many")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=12)
    parser.add_argument("--pods", type=int, default=500)
    parser.add_argument("--burst", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=2, help="of burst")
    parser.add_argument("--peers", type=lambda s: s.split(","), default=list(NAMES))
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("what", nargs="*", help=f"{' '.join(MEASURES)}; default: all")
    o = parser.parse_args()
    if set(o.what) - set(MEASURES):
        parser.error(f"unknown: {' '.join(sorted(set(o.what) - set(MEASURES)))}")
    peers.end_when_told()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="irk-bench-"))
    table = peers.Table(COLUMNS)
    bench, failed = None, []
    try:
        bench = Bench(o, folder, table)
        table.head(f"{o.n} rounds, medians; in brackets: theirs over ours")
        for what in [m for m in MEASURES if not o.what or m in o.what]:
            try:
                getattr(bench, what)()
            except (RuntimeError, AssertionError) as e:
                failed.append(what)
                print(f"{what}: {e}", file=sys.stderr)
    finally:
        if bench:
            bench.close()
        peers.remove_folder(folder)
    if o.json:
        o.json.write_text(json.dumps(table.rows, indent=1))
    return 1 if failed else 0


if __name__ == "__main__":
    cri_engines.alone(HERE)
    sys.exit(main())
