# SPDX-License-Identifier: Apache-2.0
"""A room for other people's engines (podman, dockerd, containerd) that run their containers on ireko-runtime.

A room is a mount namespace and a network namespace, with a /run and /dev/shm of its own and a "/" that is shared as under systemd. Whatever an engine
mounts, locks, listens on or keeps under a fixed path (runtime states, network namespaces, shm locks, folders beside the cgroup v1 mounts) is in there,
so the user's own engine is not disturbed; its cgroups are below one that bears the room's name. close() says what an engine left, then takes it all away.
"""
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess

from harness import BORROWED, BUILD, Pty, cgroups_named, program, remove_cgroups, run, temp_folder, wait_until

RUNTIME = BUILD / "ireko-runtime"
SETUP = """set -e
if [ ! -e /sys/fs/cgroup/cgroup.procs ]; then
	mount -t tmpfs -o mode=755 tmpfs "$1"
	for d in /sys/fs/cgroup/*; do
		if [ -L "$d" ]; then cp -a "$d" "$1"; elif mountpoint -q "$d"; then mkdir "$1/${d##*/}"; mount --move "$d" "$1/${d##*/}"; fi
	done
	umount /sys/fs/cgroup
	mount --move "$1" /sys/fs/cgroup
fi
mount --make-rshared /
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
ip link set lo up
echo ready
exec sleep infinity"""


def own_mount_namespace(pid):
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return None


def limit(pid, what):
    """A limit of the cgroup that a process is in, in bytes, processes or CPUs; None if there is none."""
    files = {"memory": ("memory.limit_in_bytes", "memory.max"), "pids": ("pids.max", "pids.max"), "cpu": ("cpu.cfs_quota_us", "cpu.max")}[what]
    top = pathlib.Path("/sys/fs/cgroup")
    for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for folder, file in ((top / controllers, files[0]), (top, files[1])):
            if what in controllers.split(",") or (not controllers and (top / "cgroup.procs").exists()):
                with contextlib.suppress(FileNotFoundError):
                    value = (folder / path.lstrip("/") / file).read_text().split()
                    period = int(value[1]) if len(value) > 1 else 100000
                    number = None if value[0] in ("max", "-1") else int(value[0])
                    return number / period if number and what == "cpu" else number
    raise AssertionError(f"process {pid} is in no {what} cgroup")


class Room:
    own_mounts, own_cgroups = (), ()
    state_root = "/run/ireko-runtime"

    def __init__(self, what):
        assert RUNTIME.exists(), f"{RUNTIME} is missing: run make"
        self.root = temp_folder(what)
        self.cgroup = f"ireko-{self.root.name.replace('_', 'x')}"  # also a namespace of containerd's, in which signs stand alone and not at the end
        self.daemons, self.logs = [], []
        (self.root / "cgroup").mkdir()
        self.holder = subprocess.Popen([program("unshare"), "--mount", "--net", "--propagation", "private", "sh", "-c", SETUP, "sh", self.root / "cgroup"], stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, text=True, start_new_session=True, env=self.env())
        self.first_mounts = ()
        if self.holder.stdout.readline() != "ready\n":
            self._tear_down()
            raise AssertionError("the room could not be set up: is this root with CAP_SYS_ADMIN?")
        self.first_mounts = self.mounts()  # of the host, covered

    # ---- being in it
    @property
    def prefix(self):
        return [program("nsenter"), "--mount", "--net", "-t", str(self.holder.pid)]

    def env(self, **more):
        """Programs that were borrowed find one another; no configuration of the user's."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(("DOCKER_", "CONTAINER", "XDG_", "IREKO_"))}
        return dict(env, PATH=os.pathsep.join([env.get("PATH", ""), "/usr/sbin:/sbin", str(BORROWED)]), HOME=str(self.root), LC_ALL="C.UTF-8", **more)

    def run(self, *args, **kw):
        kw.setdefault("env", self.env())
        return run(*self.prefix, *args, **kw)

    def pty(self, *args, **kw):
        return Pty([*self.prefix, *args], env=self.env(TERM="xterm"), **kw)

    def daemon(self, *args):
        """Starts a program that stays until the room is closed."""
        log = self.root / f"{pathlib.Path(str(args[0])).name}.log"
        with log.open("ab") as out:
            p = subprocess.Popen([str(a) for a in (*self.prefix, *args)], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.env(), start_new_session=True)
        self.daemons.append(p)
        self.logs.append(log)
        return p

    def start_containerd(self, socket):
        config = self.root / "containerd.toml"
        config.write_text(f'version = 2\nroot = "{self.root}/containerd"\nstate = "{self.root}/containerd-run"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
                          f'[grpc]\naddress = "{socket}"\n')
        self.daemon(program("containerd"), "-c", config)
        wait_until("containerd listens", socket.exists)

    def log_text(self):
        return "\n".join(f"== {log.name}\n{log.read_text(errors='replace')[-4000:]}" for log in self.logs)

    def path(self, path):
        """The file that a path means inside."""
        return pathlib.Path(f"/proc/{self.holder.pid}/root{path}")

    # ---- what is in it
    def processes(self):
        """Pids in the room, but its holder and the daemons."""
        own = {self.holder.pid, *(p.pid for p in self.daemons)}
        room = own_mount_namespace(self.holder.pid)
        return [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and int(pid) not in own and room and own_mount_namespace(pid) == room]

    def cgroups(self):
        """Folders of the cgroups that bear the room's name, and below."""
        return cgroups_named(self.cgroup)

    def states(self):
        """The containers that ireko-runtime knows of."""
        root = self.path(self.state_root)
        return [n for n in os.listdir(root) if not n.startswith("@")] if root.is_dir() else []

    def mounts(self):
        lines = pathlib.Path(f"/proc/{self.holder.pid}/mountinfo").read_text().splitlines()
        points = [line.split()[4] for line in lines]
        return [p for p in points if p.startswith((str(self.root), "/run/")) and p not in self.first_mounts]

    def leftovers(self):
        """What containers have left; the engine's own mounts (paths) and cgroups (names) are none of them."""
        commands = {}
        for pid in self.processes():
            with contextlib.suppress(OSError):
                commands[pid] = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        cgroups = [str(d) for d in self.cgroups() if d.name not in {self.cgroup, *self.own_cgroups}]
        return [*commands.items(), *(m for m in self.mounts() if m not in self.own_mounts), *cgroups, *self.states()]

    def expect_clean(self, seconds=15):
        """Waits for what ends in the background, then fails with what is there all the same."""
        with contextlib.suppress(AssertionError):
            wait_until("nothing is left", lambda: not self.leftovers(), seconds=seconds)
        left = self.leftovers()
        assert not left, f"left behind: {left}\n{self.log_text()}"

    # ---- the end
    def close(self):
        """Ends the engine and complains about what it, or its containers, leave behind; nothing of it stays in any case."""
        try:
            self.stop_daemons()
            self.expect_clean()
        finally:
            self._tear_down()

    def stop_daemons(self):
        """The last one first: it is a client of those before it."""
        while self.daemons:
            p = self.daemons[-1]
            p.terminate()
            status = p.wait(timeout=20)
            self.daemons.pop()
            assert status in (0, -signal.SIGTERM), f"{p.args} ended with status {status}\n{self.log_text()}"

    def _tear_down(self):
        try:
            for p in self.daemons:
                p.kill()
                p.wait()
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        finally:
            self.holder.kill()
            self.holder.wait()
            self.holder.stdout.close()
        remove_cgroups(self.cgroup)
        shutil.rmtree(self.root)
