#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""build [-n N] [--files N] [--megabytes N] [--seconds S] [--json FILE] [WHAT...]: ireko's builds beside BuildKit's, docker's classic builder's and podman's; see README.md.

Whole commands, in turns, medians, in a network namespace of its own that plays the host: as bench/engine measures. Our engine is spoken to by our command line and by docker's: with buildx, with what docker 20.10 has of BuildKit itself, and as a classic builder.
"""
import argparse
import contextlib
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import engines as peers  # noqa: E402
from engines import ROOT, DockerLike, harness, in_turns, need, sh, timed  # noqa: E402

HERE = pathlib.Path(__file__).parent
SID = ROOT / ".cache/clients/sid"
OLD_CLIENT = ROOT / ".cache/clients/distribution/docker"
WORK = ROOT / "build/bench/debian-apt.tar"
PACKAGES = "git python3 python3-numpy"  # of examples/python-dev
INSTALL = f"DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends --no-download {PACKAGES}"
STEPS = 10
COLUMNS = ("ireko", "ireko, buildx", "ireko, docker", "ireko, classic", "docker 28", "docker 28, classic", "docker 20.10", "podman")


def client(folder, program, socket, buildkit=True):
    config = folder / "client"
    if not config.exists():
        config.mkdir()
        (config / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(SID / "usr/libexec/docker/cli-plugins")]}))
    return ["env", f"DOCKER_CONFIG={config}", f"DOCKER_BUILDKIT={int(buildkit)}", program, "-H", f"unix://{socket}"]


class Speaker(DockerLike):
    """One more way to an engine that somebody else started."""

    def __init__(self, name, cli):
        self.name, self.cli = name, cli

    def close(self):
        pass


class Docker28(peers.Docker):
    name = "docker 28"

    def __init__(self, folder):
        if not (SID / "usr/sbin/dockerd").exists():
            raise RuntimeError("dockerd of Debian unstable is missing: run tools/deps test")
        need("runc")
        own = folder / "docker-28"
        own.mkdir()
        # The machine's runc: the one of unstable wants a newer C library.
        runc = own / "bin"
        runc.mkdir()
        (runc / "runc").symlink_to(sh(["sh", "-c", "command -v runc"]).strip())
        self.bridge, self.socket = f"irkc{os.getpid()}", own / "s"
        sh(["ip", "link", "add", self.bridge, "type", "bridge"])
        sh(["ip", "addr", "add", harness.free_subnet().replace(".0/24", ".1/24"), "dev", self.bridge])
        self.cli = client(own, SID / "usr/bin/docker", self.socket)
        self.p = peers.daemon(["env", f"PATH={runc}:{SID}/usr/bin:{os.environ['PATH']}", SID / "usr/sbin/dockerd", "--data-root", own / "data", "--exec-root", peers.run_folder(folder) / "docker-28", "-H", f"unix://{self.socket}",
                               "--pidfile", own / "pid", "--bridge", self.bridge], own / "log", lambda: not sh([*self.cli, "ps"], check=False).lower().startswith(("cannot", "error", "failed")), self.stop)


class Docker20(peers.Docker):
    name = "docker 20.10"

    def __init__(self, folder):
        super().__init__(folder)
        self.cli = client(folder, OLD_CLIENT if OLD_CLIENT.exists() else "docker", self.socket)


def make_work():
    """A Debian that has its packages' lists, and the packages that `work` installs; made once, while there is a way to the mirror."""
    if not WORK.exists():
        WORK.parent.mkdir(parents=True, exist_ok=True)
        part = WORK.with_suffix(".part.tar")
        fetch = f'chroot "$1" apt-get install -y -q --no-install-recommends --download-only {PACKAGES}'
        sh(["mmdebstrap", "--variant=minbase", "--quiet", "--skip=cleanup/apt", "--aptopt=Acquire::Check-Valid-Until \"false\"", f"--customize-hook={fetch}", "bookworm", part], timeout=900)
        part.rename(WORK)


@contextlib.contextmanager
def chroot(root):
    """The tree of `work`, anew, with what programs expect of the kernel."""
    root.mkdir()
    try:
        sh(["tar", "-xpf", WORK, "-C", root])
        sh(["mount", "-t", "proc", "proc", root / "proc"])
        sh(["mount", "--bind", "/dev", root / "dev"])
        yield
    finally:
        for place in ("proc", "dev"):
            sh(["umount", "--lazy", root / place], check=False)
        sh(["rm", "-rf", "--one-file-system", root])


class Bench:
    def __init__(self, o, folder, table):
        self.o, self.folder, self.table = o, folder, table
        self.engines = peers.started(folder, (peers.Ireko, Docker28, Docker20, peers.Podman))
        self.ours = next(e for e in self.engines if e.name == "ireko")
        self.speakers = [self.ours]
        if (SID / "usr/bin/docker").exists():
            self.speakers.append(Speaker("ireko, buildx", client(folder / "run", SID / "usr/bin/docker", self.ours.socket)))
            self.speakers.append(Speaker("ireko, classic", client(folder / "run", SID / "usr/bin/docker", self.ours.socket, buildkit=False)))
        if OLD_CLIENT.exists():
            self.speakers.append(Speaker("ireko, docker", client(folder / "run", OLD_CLIENT, self.ours.socket)))
        for e in self.engines[1:]:
            self.speakers.append(e)
            if e.name == "docker 28":
                self.speakers.append(Speaker("docker 28, classic", client(folder / "run", SID / "usr/bin/docker", e.socket, buildkit=False)))
        self.numbers = itertools.count()
        for e in self.engines:
            e.ask(e.load(harness.busybox_archive()))

    def close(self):
        peers.close_all(self.engines)

    def context(self, name, dockerfile):
        path = self.folder / name
        path.mkdir(exist_ok=True)
        (path / "Dockerfile").write_text(dockerfile)
        return path

    def build(self, e, context, *options):
        # podman keeps nothing for the next build unless told so.
        return timed(e, ["build", *(["--layers"] if e.name == "podman" else []), "-q", "-t", "bench", *options, context])

    def steps(self):
        """Ten small steps: nothing cached, everything cached."""
        context = self.context("steps", "FROM busybox\n" + "".join(f"RUN echo {i} > /step{i}\n" for i in range(STEPS)))

        def once(e):
            cold = self.build(e, context, "--no-cache")
            warm = None if cold is None else self.build(e, context)
            return None if warm is None else {"cold": cold, "warm": warm}

        t = in_turns(self.speakers, self.o.n, once, blocks=2)
        self.table.row("10 steps, no cache", t.get("cold", {}), "ms", {"at most": 120})
        warm = t.get("warm", {})
        self.table.row("10 steps, all cached", warm, "ms", {"at most": 10})
        for ours, how in (("ireko, buildx", "buildx"), ("ireko, docker", "docker 20.10's client"), ("ireko, classic", "DOCKER_BUILDKIT=0")):
            if warm.get(ours) and warm.get("docker 28"):
                self.table.row(f"all cached, {how}", {"ireko": warm[ours], "docker 28": warm["docker 28"]}, "ms", {"docker 28": 0.2})

    def copy(self):
        """One line changed in the last COPY of a context of many files."""
        context = self.context("copy", "FROM busybox\nRUN true > /early\nCOPY tree /tree\n")
        each = self.o.megabytes * 1_000_000 // self.o.files
        noise = os.urandom(each + self.o.files)
        for i in range(self.o.files):
            path = context / f"tree/{i // 1000}/{i % 1000}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(noise[i:i + each])
        for e in self.speakers:
            self.build(e, context)
        time.sleep(3)  # what was written a moment ago is read again

        def once(e):
            (context / "tree/0/0").write_text(f"line {next(self.numbers)}\n")
            took = self.build(e, context)
            return None if took is None else {"": took}

        self.table.row(f"one line of {self.o.files} files ({self.o.megabytes} MB)", in_turns(self.speakers, max(self.o.n // 4, 2), once, blocks=1).get("", {}), "ms", {"at most": 500})

    def stages(self):
        """Two stages that do not need one another."""
        s = self.o.seconds
        context = self.context("stages", f"FROM busybox AS a\nRUN sleep {s}; touch /a\nFROM busybox AS b\nRUN sleep {s}; touch /b\nFROM busybox\nCOPY --from=a /a /\nCOPY --from=b /b /\n")
        t = in_turns(self.speakers, 1, lambda e: {"": took} if (took := self.build(e, context, "--no-cache")) else None, blocks=1)
        self.table.row(f"two stages of {s} s", {name: v / 1000 for name, v in t.get("", {}).items()}, "s", {"at most": s * 1.05 + 0.3}, digits=2)

    def work(self):
        """The apt-get step of the demo, packages and lists being there already, beside the same command in a chroot of the host. Whoever builds also has to make a layer of it."""
        archive, tree = self.folder / "debian.tar", WORK.read_bytes()
        archive.write_bytes(harness.docker_archive("bench-debian:latest", [tree]))
        context = self.context("work", f"FROM bench-debian\nRUN {INSTALL}\n")
        root = self.folder / "chroot"
        host = Speaker("host", ["chroot", root, "sh", "-c"])
        for e in self.engines:
            e.ask(e.load(archive))

        def once(e):
            if e is not host:
                took = self.build(e, context, "--no-cache")
            else:
                with chroot(root):
                    sh(["sync"])  # the tree itself
                    took = timed(host, [INSTALL])
            return None if took is None else {"": took}

        t = in_turns([host, *self.speakers], max(1, min(self.o.n // 4, 2)), once, blocks=1).get("", {})
        there = t.pop("host")
        self.table.row(f"apt-get install: {there / 1000:.1f} s on the host, times that", {name: v / there for name, v in t.items()}, "x", {"at most": 1.03}, digits=3)

    def memory(self):
        """Proportional set size of all that is ours while a step runs: the engine, its shim, the command line."""
        context = self.context("memory", "FROM busybox\nRUN sleep 1000\n")
        client_of = subprocess.Popen([str(a) for a in (*self.ours.cli, "build", "--no-cache", context)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        harness.wait_until("the step runs", shims)
        time.sleep(1)
        total = peers.pss_kib([self.ours.engine.p.pid, client_of.pid, *shims()])
        client_of.kill()
        client_of.wait()
        self.table.row("memory while a step runs", {"ireko": total / 1024}, "MB", {"at most": 60})


def shims():
    """Those of the benchmark's network namespace: nobody else's."""
    def here(pid):
        return pathlib.Path(f"/proc/{pid}/comm").read_text() == "ireko-shim\n" and os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net")

    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            found += [int(pid)] if here(pid) else []
    return found


WHAT = ("steps", "copy", "stages", "work", "memory")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=10, help="rounds of `steps`; a quarter of them of `copy` and, two at most, `work`")
    parser.add_argument("--files", type=int, default=50000, help="of the context of `copy`")
    parser.add_argument("--megabytes", type=int, default=500, help="of all of them")
    parser.add_argument("--seconds", type=int, default=10, help="that each stage of `stages` takes")
    parser.add_argument("--json", type=pathlib.Path, help="file that the rows are written to")
    parser.add_argument("what", nargs="*", help=f"{' '.join(WHAT)}; default: all")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    o = parser.parse_args()
    if set(o.what) - set(WHAT):
        parser.error(f"unknown: {' '.join(sorted(set(o.what) - set(WHAT)))}")
    if not o.inside:
        if not o.what or "work" in o.what:
            make_work()
        peers.enter_own_namespaces(HERE)
    peers.end_when_told()
    sh(["ip", "link", "set", "lo", "up"])
    folder = pathlib.Path(tempfile.mkdtemp(prefix="irk-bench-"))
    table, bench, failed = peers.Table(COLUMNS), None, []
    try:
        bench = Bench(o, folder, table)
        table.head(f"{o.n} rounds, medians; in brackets: theirs over ours")
        for what in [w for w in WHAT if not o.what or w in o.what]:
            try:
                getattr(bench, what)()
            except (RuntimeError, subprocess.TimeoutExpired, AssertionError) as e:
                failed.append(what)
                print(f"{what}: {e}", file=sys.stderr)
        said = ([f"not measured: {', '.join(failed)}"] if failed else []) + ([f"budgets missed: {', '.join(table.missed)}"] if table.missed else [])
        print("; ".join(said) or "every budget is met")
        if o.json:
            o.json.write_text(json.dumps(table.rows, indent=1) + "\n")
    finally:
        if bench:
            bench.close()
        peers.remove_folder(folder)
        harness.forget_busybox()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
