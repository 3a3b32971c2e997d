# SPDX-License-Identifier: Apache-2.0
"""Engines that a kubelet can speak to, for critest, crictl and bench/cri: ours, containerd of Debian 12 and containerd of Debian unstable, one configuration for all.

Each has roots of its own, a CNI configuration of its own (bridge with masquerading, and portmap: Debian's plugins) with a bridge and a subnet of its own, and a registry on
loopback as mirror of every other one. They are started in the network and mount namespace of whoever uses this, who makes both for himself (`alone`): bridges, rules and mounts that
an engine leaves go with them. Cgroups are looked for by name.

containerd of unstable runs with unstable's /usr in a mount namespace below ours, as its runc needs a newer C library than Debian 12 has. What shares mounts with it (critest) has
to be started by its `inside`.
"""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import harness  # noqa: E402

CACHE = harness.ROOT / ".cache/cri"
CNI_PLUGINS = pathlib.Path("/usr/lib/cni")
USED_PLUGINS = ("bridge", "host-local", "portmap", "loopback")
# A /run and a /var/lib of one's own: sockets, network namespaces, locks and results of CNI, which have fixed places there, are none of the host's. Mounts are shared, as under systemd.
SETUP = """set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /var/lib
mkdir /run/netns /run/lock
mount --make-rshared /
ip link set lo up
exec "$@"
"""
UNSTABLE = """set -e
mount --make-rslave /
mount --make-rshared /
mount --bind "$0" /usr
exec "$@"
"""


def alone(script):
    """Starts the script again, in a network and a mount namespace of its own; returns in there."""
    if sys.argv[1:2] == ["--inside"]:
        del sys.argv[1]
        return
    os.execvp("unshare", ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", SETUP, "sh", sys.executable, str(script), "--inside", *sys.argv[1:]])


def cni_list(folder, bridge, subnet):
    """The configuration that all engines get."""
    return {"cniVersion": "1.0.0", "name": f"net-{bridge}",
            "plugins": [{"type": "bridge", "bridge": bridge, "isGateway": True, "ipMasq": True, "hairpinMode": True,
                         "ipam": {"type": "host-local", "dataDir": str(folder / "ipam"), "ranges": [[{"subnet": subnet}]], "routes": [{"dst": "0.0.0.0/0"}]}},
                        {"type": "portmap", "capabilities": {"portMappings": True}}]}


def cni_folder(folder, document):
    conf = folder / "cni"
    conf.mkdir()
    (conf / "10-test.conflist").write_text(json.dumps(document))
    return conf


class Peer:
    """One engine. `socket` is where it speaks CRI; `folder` is its own."""
    name, usr = "", None

    def __init__(self, registry, number=0):
        assert (CNI_PLUGINS / "bridge").exists(), f"{CNI_PLUGINS}/bridge is missing: run tools/deps cri"
        self.folder = harness.temp_folder(f"cri-{self.name}")
        self.registry, self.bridge, self.subnet = registry, f"irkcri{number}", f"10.{160 + number}.0.0/16"  # of a network namespace of its own
        self.cni = cni_folder(self.folder, cni_list(self.folder, self.bridge, self.subnet))
        # Debian 12's for all: another /usr has others.
        self.plugins = self.folder / "plugins"
        self.plugins.mkdir()
        for name in USED_PLUGINS:
            shutil.copy(CNI_PLUGINS / name, self.plugins / name)
        self.socket = self.folder / "cri.sock"
        self.p = None
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self):
        raise NotImplementedError

    def log_text(self):
        return self.log.read_text(errors="replace")[-6000:]

    @property
    def inside(self):
        """Words before a command that is to share the engine's mounts."""
        return []

    def close(self):
        if self.folder.exists():
            shutil.rmtree(self.folder)


def end(p, seconds=20):
    p.send_signal(signal.SIGTERM)
    try:
        return p.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        p.kill()
        return p.wait()


class Containerd(Peer):
    """containerd of Debian 12 with Debian's runc."""
    name = "containerd"

    def program(self):
        return harness.program("containerd", "tools/deps cri")

    def wrap(self, words):
        return words

    def start(self):
        hosts = self.folder / "certs/_default"
        hosts.mkdir(parents=True)
        (hosts / "hosts.toml").write_text(f'server = "http://{self.registry.host}"\n[host."http://{self.registry.host}"]\ncapabilities = ["pull", "resolve"]\n')
        # Pods with users of their own reach their roots by these paths.
        self.folder.chmod(0o711)
        run = self.folder / "run"
        run.mkdir()
        harness.run("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", run)
        cri = 'plugins."io.containerd.grpc.v1.cri"'
        # restrict_oom_score_adj: without CAP_SYS_RESOURCE the sandbox cannot have the -998 that it is given otherwise.
        config = self.folder / "config.toml"
        config.write_text(f'version = 2\nroot = "{self.folder}/root"\nstate = "{run}"\n[grpc]\naddress = "{self.socket}"\n'
                          f'[plugins."io.containerd.internal.v1.opt"]\npath = "{self.folder}/opt"\n'
                          f'[{cri}]\nsandbox_image = "registry.k8s.io/sandbox:1"\nstream_server_address = "127.0.0.1"\nrestrict_oom_score_adj = true\n'
                          f'[{cri}.cni]\nbin_dir = "{self.plugins}"\nconf_dir = "{self.cni}"\n'
                          f'[{cri}.containerd.runtimes.runc]\nruntime_type = "io.containerd.runc.v2"\n[{cri}.containerd.runtimes.runc.options]\nSystemdCgroup = false\n'
                          f'[{cri}.registry]\nconfig_path = "{self.folder}/certs"\n')
        self.log = self.folder / "log"
        env = dict(os.environ, PATH=f"{os.environ['PATH']}:{harness.BORROWED}:/usr/sbin:/sbin", HOME=str(self.folder))
        with self.log.open("w") as out:
            self.p = subprocess.Popen([str(w) for w in self.wrap([self.program(), "-c", config])], stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, env=env)
        harness.wait_until(lambda: f"containerd listens:\n{self.log_text()}", lambda: self.socket.exists() or self.p.poll() is not None, seconds=60)
        assert self.p.poll() is None, f"containerd does not start:\n{self.log_text()}"

    def shims(self):
        return [pid for pid, words in processes() if words[0].endswith("containerd-shim-runc-v2") and str(self.socket) in " ".join(words)]

    def pids(self):
        """The daemon and what keeps its pods; their own processes are not among them."""
        return [self.p.pid, *self.shims()]

    def names(self):
        """Of all pods and containers that it may have cgroups of: they lie at the top, under their ids."""
        found = set()
        for folder in ("root/io.containerd.grpc.v1.cri", "run/io.containerd.grpc.v1.cri", "run/io.containerd.runtime.v2.task"):
            found |= {p.name for p in (self.folder / folder).glob("*/*") if len(p.name) == 64}
        return found

    def close(self):
        names = self.names()
        if self.p:
            end(self.p)
        for pid in self.shims():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for name in names:
            harness.remove_cgroups(name)
        harness.run("ip", "link", "del", self.bridge, check=False)
        unmount_below(self.folder)
        super().close()


class Unstable(Containerd):
    """containerd 2 with the runc of Debian unstable."""
    name = "containerd2"
    usr = CACHE / "sid/usr"

    def program(self):
        assert (self.usr / "bin/containerd").exists(), f"{self.usr}/bin/containerd is missing: run tools/deps cri"
        return "/usr/bin/containerd"

    def wrap(self, words):
        return ["unshare", "--mount", "--propagation", "unchanged", "sh", "-c", UNSTABLE, self.usr, *words]

    @property
    def inside(self):
        return ["nsenter", "--mount", "-t", str(self.p.pid)]


class Ireko(Peer):
    """Ours; with a bridge network of the Engine API beside, as it always has."""
    name = "ireko"

    def start(self):
        self.engine = harness.Engine("--cri", f"unix://{self.socket}", "--cni-conf-dir", self.cni, "--cni-bin-dir", self.plugins, "--cni-cache-dir", self.folder / "cni-cache", "--registry-mirror", f"*=http://{self.registry.host}",
                                     "--insecure-registry", "127.0.0.0/8", root=self.folder)
        run = self.folder / "run"
        run.mkdir()
        harness.run("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", run)
        self.engine.own_mounts = (str(run),)
        self.engine.start()
        self.p = self.engine.p
        self.log = self.engine.log

    def shims(self):
        return self.engine.shims()

    def pids(self):
        return [self.engine.p.pid, *self.shims()]

    def close(self):
        try:
            if getattr(self, "engine", None) and self.engine.p:
                # What a test that failed has left.
                endpoint = f"unix://{self.socket}"
                harness.run(CACHE / "bin/crictl", "-r", endpoint, "-i", endpoint, "-t", "60s", "rmp", "-f", "-a", check=False)
                self.engine.destroy(keep_files=True)
        finally:
            harness.run("ip", "link", "del", self.bridge, check=False)
            unmount_below(self.folder)
            super().close()


def processes():
    """(pid, words) of all."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            if words[0]:
                yield int(pid), words


def unmount_below(folder):
    points = [line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in reversed([p for p in points if p.startswith(f"{folder}/")]):
        harness.run("umount", "--lazy", point, check=False)


PEERS = {"ireko": Ireko, "containerd": Containerd, "containerd2": Unstable}
