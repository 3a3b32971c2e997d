# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks of whole engines share: ireko, podman, docker and containerd, each with a root of its own below a folder, and the taking of turns.

An engine has a command line (`cli`) and words for what is asked of it; an engine that cannot do a thing has no words for it. What fails to start is left out, with a word why.
"""
import contextlib
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import harness  # noqa: E402

TOOLS = ROOT / ".cache/tools/bin"
LAYER = ROOT / "build/bench/debian-layer.tar.gz"
os.environ["PATH"] = f"{os.environ['PATH']}:{TOOLS}:/usr/sbin:/sbin"


def sh(args, timeout=300, check=True, **kw):
    p = subprocess.run([str(a) for a in args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, **kw)
    if check and p.returncode:
        raise RuntimeError(f"{' '.join(map(str, args))}: exit status {p.returncode}: {p.stdout[-400:]}")
    return p.stdout


def pss_kib(pids):
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total


def descendants(pid):
    found = [pid]
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                found += descendants(int(child))
    return found


class DockerLike:
    """docker's verbs, which all but containerd have."""
    pull_options, push_options, run_options = (), (), ()

    def pull(self, name):
        return ["pull", *self.pull_options, name]

    def push(self, name):
        return ["push", *self.push_options, name]

    def forget(self, name):
        return ["rmi", "-f", name]

    def tag(self, name, other):
        return ["tag", name, other]

    def save(self, name, file):
        return ["save", "-o", file, name]

    def load(self, file):
        return ["load", "-i", file]

    def images(self):
        return ["images"]

    def commit(self, container, name):
        return ["commit", container, name]

    def ask(self, words, check=True, **kw):
        return sh([*self.cli, *words], check=check, **kw)


def run_folder(folder):
    """Where the engines keep what a boot ends: a tmpfs, as /run is. It goes with the mount namespace of the benchmark."""
    run = folder / "run"
    if not run.is_mount():
        run.mkdir(exist_ok=True)
        sh(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", run])
    return run


def remove_folder(folder):
    """With what is mounted in it: our tmpfs, and podman's own storage upon itself."""
    places = [line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()]
    for place in reversed([p for p in places if p.startswith(f"{folder}/")]):
        sh(["umount", "--lazy", place], check=False)
    shutil.rmtree(folder)


class Ireko(DockerLike):
    name = "ireko"

    def __init__(self, folder, *options, name="ireko"):
        self.name = name
        self.engine = harness.Engine(*options, exec_root=run_folder(folder) / name).start()
        self.socket = self.engine.socket
        self.cli = [harness.BUILD / "ireko", "-H", f"unix://{self.engine.socket}"]

    def pids(self):
        return descendants(self.engine.p.pid)

    def idle(self):
        return pss_kib([self.engine.p.pid])

    def keeper(self, container):
        return pss_kib(self.engine.shims())

    def close(self):
        self.engine.destroy()


class Podman(DockerLike):
    name = "podman"
    pull_options = push_options = ("--tls-verify=false",)

    def __init__(self, folder):
        # Its own network stack since 4.0, where it is; CNI, which answers no names here, where not.
        if shutil.which("netavark"):
            config = folder / "containers.conf"
            config.write_text(f'[network]\nnetwork_backend = "netavark"\nnetwork_config_dir = "{folder}/podman-networks"\n[engine]\nhelper_binaries_dir = ["{TOOLS}", "/usr/lib/podman"]\n')
            os.environ["CONTAINERS_CONF"] = str(config)
        self.cli = ["podman", "--root", folder / "podman", "--runroot", run_folder(folder) / "podman", "--cgroup-manager", "cgroupfs", "--events-backend", "none",
                    "--runtime", shutil.which("runc") or "runc"]  # Debian's crun refuses hybrid cgroups
        # Its own limits are above the machine's where this runs without CAP_SYS_RESOURCE.
        self.run_options = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"]
        sh([*self.cli, "info"])

    def load(self, file):
        return ["load", "-q", "-i", file]

    def commit(self, container, name):
        return ["commit", "-q", container, name]

    def idle(self):
        return None  # no process of it stays

    def keeper(self, container):
        pid = sh([*self.cli, "inspect", "--format", "{{.State.ConmonPid}}", container]).strip()
        return pss_kib([pid])

    def close(self):
        sh([*self.cli, "rm", "-fa"], check=False)  # images go with the folder


def daemon(words, log, ready, stop, seconds=30):
    """Starts it and waits until it is ready; RuntimeError with the end of its log if it is not."""
    with log.open("w") as out:
        p = subprocess.Popen([str(w) for w in words], stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    deadline = time.monotonic() + seconds
    while not ready():
        if p.poll() is not None or time.monotonic() > deadline:
            stop(p)
            raise RuntimeError(f"{words[0]} does not start: {log.read_text()[-300:]}")
        time.sleep(0.2)
    return p


def end(p):
    p.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        p.wait(timeout=20)


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            raise RuntimeError(f"{program} is missing: run tools/deps bench")


class Docker(DockerLike):
    name = "docker"

    def __init__(self, folder):
        need("dockerd", "containerd", "runc", "docker")
        self.bridge = f"irkb{os.getpid()}"
        self.socket = socket = folder / "docker.sock"
        sh(["ip", "link", "add", self.bridge, "type", "bridge"])
        sh(["ip", "addr", "add", harness.free_subnet().replace(".0/24", ".1/24"), "dev", self.bridge])
        self.cli = ["docker", "-H", f"unix://{socket}"]
        self.p = daemon(["dockerd", "--data-root", folder / "docker", "--exec-root", run_folder(folder) / "docker", "-H", f"unix://{socket}", "--pidfile", folder / "docker.pid", "--bridge", self.bridge],
                        folder / "dockerd.log", lambda: not sh([*self.cli, "ps"], check=False).startswith(("Cannot", "error")), self.stop)

    def idle(self):
        return pss_kib(descendants(self.p.pid))

    def keeper(self, container):
        pid = int(sh([*self.cli, "inspect", "--format", "{{.State.Pid}}", container]))
        return pss_kib([int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])])

    def stop(self, p):
        end(p)
        sh(["ip", "link", "del", self.bridge], check=False)

    def close(self):
        names = sh([*self.cli, "ps", "-aq"], check=False).split()
        if names:
            sh([*self.cli, "rm", "-f", *names], check=False)
        self.stop(self.p)


class Containerd:
    """containerd by itself, with its own client."""
    name = "containerd"

    def __init__(self, folder):
        need("containerd", "ctr")
        socket = folder / "containerd.sock"
        config = folder / "containerd.toml"
        config.write_text(f'version = 2\nroot = "{folder}/containerd"\nstate = "{run_folder(folder)}/containerd"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{socket}"\n')
        self.cli = ["ctr", "-a", socket]
        self.p = daemon(["containerd", "-c", config], folder / "containerd.log", socket.exists, end)

    def ask(self, words, check=True, **kw):
        return sh([*self.cli, *words], check=check, **kw)

    def pull(self, name):
        return ["images", "pull", "--plain-http", name]

    def push(self, name):
        return ["images", "push", "--plain-http", name]

    def forget(self, name):
        return ["images", "rm", "--sync", name]

    def tag(self, name, other):
        return ["images", "tag", "--force", name, other]

    def save(self, name, file):
        return ["images", "export", file, name]

    def load(self, file):
        return ["images", "import", file]

    def images(self):
        return ["images", "ls"]

    def commit(self, container, name):
        return None

    def close(self):
        for name in sh([*self.cli, "images", "ls", "-q"], check=False).split():
            sh([*self.cli, "images", "rm", "--sync", name], check=False)
        end(self.p)


def started(folder, kinds=(Ireko, Podman, Docker)):
    engines = []
    for kind in kinds:
        try:
            engines.append(kind(folder))
        except (RuntimeError, OSError, subprocess.TimeoutExpired) as e:
            if kind is Ireko:
                raise
            print(f"{kind.name} is left out: {e}", file=sys.stderr)
        except SystemExit:
            close_all(engines)
            raise
    return engines


def timed(e, words):
    """Milliseconds of one command, from its start to its end; None, with a word why, if it fails."""
    start = time.monotonic()
    p = subprocess.run([str(a) for a in [*e.cli, *words]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    took = (time.monotonic() - start) * 1000
    if p.returncode:
        print(f"{e.name} {' '.join(map(str, words[:2]))}: exit status {p.returncode}: {p.stdout.decode()[-200:]}", file=sys.stderr)
        return None
    return took


def in_turns(engines, n, once, blocks=4):
    """{what: {engine: median}} of n calls of once(engine), which answers {what: value}, or None: the engine is left out from then on. Engines take turns in blocks, each
    after a pause and a warm-up: the kernel goes on taking apart what one of them has left (namespaces, cgroups, veths) for a while after it has ended, which the next one
    must not pay for."""
    values, out = {}, set()
    blocks = min(blocks, n)
    for _ in range(blocks):
        for e in engines:
            if e.name in out:
                continue
            time.sleep(1)
            for i in range(-(-n // blocks) + 1):
                found = once(e)
                if found is None:
                    out.add(e.name)
                    break
                for what, value in found.items() if i > 0 else ():
                    values.setdefault(what, {}).setdefault(e.name, []).append(value)
    return {what: {name: statistics.median(v) for name, v in of.items() if name not in out} for what, of in values.items()}


def measure(engines, n, args, before=None, blocks=4):
    """{engine: milliseconds} of one command; an engine that fails or has no words for it is left out."""
    def once(e):
        if before:
            before(e)
        took = timed(e, args(e))
        return None if took is None else {"": took}

    return in_turns([e for e in engines if args(e) is not None], n, once, blocks).get("", {})


def cpu_times():
    """(idle, all), ticks of all CPUs."""
    fields = [int(f) for f in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return fields[3] + fields[4], sum(fields)


def throughput(e, words, at_once, total):
    """(commands a second, share of the CPUs that was busy) of one command, `total` times; (None, None) if one fails. "@" in a word becomes the command's number."""
    left, running, number = total, [], 0
    cpu = cpu_times()
    start = time.monotonic()
    while left or running:
        while left and len(running) < at_once:
            command = [str(a) for a in e.cli] + [str(a).replace("@", str(number)) for a in words]
            running.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
            left, number = left - 1, number + 1
        # The oldest ends about first.
        p = running.pop(0)
        said = p.communicate(timeout=300)[1]
        if p.returncode:
            for other in running:
                other.communicate(timeout=300)
            print(f"{e.name}, {at_once} at once: exit status {p.returncode}: {said.decode()[-200:]}", file=sys.stderr)
            return None, None
    took = time.monotonic() - start
    idle, all_of_it = (b - a for a, b in zip(cpu, cpu_times()))
    return total / took, 1 - idle / max(all_of_it, 1)


def memory_available():
    """KiB that programs could still get: what is less of it was taken by processes and by the kernel for them."""
    lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])


def daemon_answers_after(ireko):
    """Milliseconds from its execve to its first answer, after it was told to end."""
    ireko.engine.stop()
    start = time.monotonic()
    ireko.engine.start(step=0.0005)
    return (time.monotonic() - start) * 1000


def layer():
    """A Debian base system as one gzipped tar, made once."""
    if not LAYER.exists():
        LAYER.parent.mkdir(parents=True, exist_ok=True)
        part = LAYER.with_suffix(".part.gz")
        sh(["sh", "-c", f"mmdebstrap --variant=minbase --include=git,ca-certificates --quiet --aptopt='Acquire::Check-Valid-Until \"false\"' bookworm - | gzip -6 > '{part}'"], timeout=600)
        part.rename(LAYER)
    return LAYER.read_bytes()


class Table:
    """What was measured, a row each, ours first; in brackets, theirs over ours. A budget says how far ours may go: in units of its own, or of another column."""

    def __init__(self, columns):
        self.columns, self.rows, self.missed = columns, [], []

    def head(self, note=""):
        print((f"{note}\n\n" if note else "") + "| what | " + " | ".join(self.columns) + " | budget |\n|" + "---|" * (len(self.columns) + 2), flush=True)

    def row(self, what, values, unit, budgets=None, better="less", digits=None):
        said = self.verdict(what, values, budgets or {}, better)
        self.rows.append({"what": what, "unit": unit, "values": values, "budget": said})
        ours, cells = values.get("ireko"), []
        for name in self.columns:
            v = values.get(name)
            told = "" if v is None else f"{v:.{(2 if unit == 'x' else 1) if digits is None else digits}f} {unit}"
            cells.append(told + (f" ({v / ours:.1f}x)" if told and ours and ours > 0 and name != "ireko" and unit != "x" else ""))
        print(f"| {what} | " + " | ".join(cells) + f" | {said} |", flush=True)

    def verdict(self, what, values, budgets, better):
        ours, said = values.get("ireko"), []
        for against, limit in budgets.items():
            own = against in ("at most", "at least")
            if ours is None or (not own and not values.get(against)):
                continue
            if own:
                met = ours <= limit if against == "at most" else ours >= limit
            else:
                met = ours <= limit * values[against] if better == "less" else ours >= limit * values[against]
            said.append(f"{against} {limit}: {'met' if met else 'MISSED'}" if own else f"{limit:g} {against}: {'met' if met else 'MISSED'}")
            if not met:
                self.missed.append(what)
        return ", ".join(said)


def close_all(engines):
    """Whatever one of them has to complain about, the others are ended too."""
    for e in engines:
        try:
            e.close()
        except (AssertionError, RuntimeError, OSError, subprocess.TimeoutExpired) as error:
            print(f"{e.name} does not end well: {error}", file=sys.stderr)


def end_when_told():
    """SIGTERM leaves by the same door as an error: what was started is ended. It may come twice (timeout(1) sends it to the group too): once is enough."""
    def told(*_):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(143)

    signal.signal(signal.SIGTERM, told)


def enter_own_namespaces(script):
    """Docker and podman leave bridges, iptables rules and mounts behind: in namespaces of its own they go with it."""
    os.execvp("unshare", ["unshare", "--net", "--mount", "--propagation", "private", sys.executable, script, "--inside", *sys.argv[1:]])
