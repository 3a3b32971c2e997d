# SPDX-License-Identifier: Apache-2.0
"""podman and dockerd, as Debian has them, each in a room of its own (room.py), with ireko-runtime in runc's place."""
import pathlib

from harness import busybox_archive, program, wait_until
from room import RUNTIME, Room


class Caller(Room):
    """An engine in a room of its own; `call` is its command line."""

    def start(self):
        self.call("load", "-i", busybox_archive())
        return self

    def call(self, *args, **kw):
        return self.run(*self.command, *args, **kw)

    def out(self, *args, **kw):
        return self.call(*args, **kw).stdout.strip()

    def make(self, verb, *args, **kw):
        """run or create, on ireko-runtime."""
        return self.call(verb, *self.options, *args, **kw)

    def terminal(self, *args, **kw):
        return self.pty(*self.command, *args, **kw)

    def inspect(self, name, field):
        return self.out("inspect", "-f", f"{{{{{field}}}}}", name)

    def pid(self, name):
        return int(self.inspect(name, ".State.Pid"))

    def remove_all(self):
        names = self.out("ps", "-aq").split()
        if names:
            self.call("rm", "-f", *names)

    def finish(self):
        try:
            self.remove_all()
        finally:
            self.close()


class Podman(Caller):
    archives = {"docker": [], "oci": ["--format", "oci-archive"]}  # that it reads and writes, and what `save` is told
    own_cgroups = ("conmon",)
    exec_not_found = 127
    sees_oom = pathlib.Path("/sys/fs/cgroup/cgroup.procs").exists()  # conmon 2.1 does not on cgroup v1
    links = ["lo"]

    def __init__(self):
        super().__init__("podman")
        self.own_mounts = (f"{self.root}/data/overlay", "/run/netns")
        config = self.root / "containers.conf"
        # Its default limits of open files are above what a machine without CAP_SYS_RESOURCE grants; and "rm -f" is not to wait.
        config.write_text("[containers]\ndefault_ulimits = []\n[engine]\nstop_timeout = 0\n")
        self.command = ["env", f"CONTAINERS_CONF={config}", program("podman"), "--root", self.root / "data", "--runroot", self.root / "run", "--tmpdir", self.root / "tmp",
                        "--cgroup-manager", "cgroupfs", "--events-backend", "file", "--storage-driver", "overlay", "--runtime", RUNTIME]
        self.options = ["--network", "none", "--cgroup-parent", f"/{self.cgroup}"]


class Docker(Caller):
    archives = {"docker": []}
    exec_not_found = 126  # with runc too: dockerd 20.10 says so of whatever cannot be executed
    sees_oom = True
    links = ["eth0", "lo"]  # by a prestart hook, which is given the namespace's path

    def __init__(self):
        super().__init__("docker")
        self.socket, self.containerd = self.root / "docker.sock", self.root / "containerd.sock"
        self.command = [program("docker"), "-H", f"unix://{self.socket}"]
        self.state_root = f"{self.root}/run/runtime-runc/moby"
        self.options = ["--runtime", "ireko", "--cgroup-parent", f"/{self.cgroup}"]

    def start(self):
        self.start_containerd(self.containerd)
        # In the room's network namespace its bridge is nobody else's.
        self.daemon(program("dockerd"), "--containerd", self.containerd, "--data-root", self.root / "data", "--exec-root", self.root / "run", "--pidfile", self.root / "pid",
                    "-H", f"unix://{self.socket}", "--iptables=false", "--ip-masq=false", "--ip-forward=false", "--exec-opt", "native.cgroupdriver=cgroupfs",
                    "--add-runtime", f"ireko={RUNTIME}")
        wait_until("dockerd answers", lambda: self.call("ps", check=False).returncode == 0, seconds=30, step=0.1)
        return super().start()
