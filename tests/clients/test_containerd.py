# SPDX-License-Identifier: Apache-2.0
"""containerd's runc shim with ireko-runtime as its runc (BinaryName), driven by ctr: what dockerd and Kubernetes do through the same shim."""
import itertools
import pathlib
import re
import time

import pytest

from harness import busybox_archive, program, wait_until
from room import RUNTIME, Room, limit

IMAGE = "docker.io/library/busybox:latest"


class Containerd(Room):
    def __init__(self):
        super().__init__("containerd")
        self.socket = self.root / "containerd.sock"
        # A namespace's name is the parent of its containers' cgroups.
        self.command = [program("ctr"), "-a", self.socket, "-n", self.cgroup]
        self.numbers = itertools.count()
        self.state_root = f"/run/containerd/runc/{self.cgroup}"

    def start(self):
        self.start_containerd(self.socket)
        self.call("image", "import", busybox_archive())
        return self

    def call(self, *args, **kw):
        return self.run(*self.command, *args, **kw)

    def ctr_run(self, *args, **kw):
        return self.call("run", "--runc-binary", RUNTIME, *args, **kw)

    def background(self, name, *command, options=()):
        """A container that runs detached, with its output in a file, whose path it returns."""
        log = self.root / f"{name}.log"
        self.ctr_run("-d", "--log-uri", f"file://{log}", *options, IMAGE, name, *command)
        return log

    def execute(self, name, *command, options=(), **kw):
        return self.call("task", "exec", "--exec-id", f"x{next(self.numbers)}", *options, name, *command, **kw)

    def task(self, name):
        """Its (pid, status); None if there is none."""
        rows = [line.split() for line in self.call("task", "ls").stdout.splitlines()]
        return next(((int(pid), status) for task, pid, status in rows[1:] if task == name), None)

    def remove_all(self):
        for name in self.call("task", "ls", "-q").stdout.split():
            self.call("task", "rm", "-f", name)
        for name in self.call("container", "ls", "-q").stdout.split():
            self.call("container", "rm", name)


@pytest.fixture(scope="module")
def _room():
    room = Containerd()
    try:
        yield room.start()
        room.remove_all()
    finally:
        room.close()


@pytest.fixture
def containerd(_room):
    yield _room
    _room.remove_all()
    _room.expect_clean()


def test_streams_and_exit_codes(containerd, name):
    p = containerd.ctr_run("--rm", IMAGE, name, "sh", "-c", "echo out; echo err >&2; sleep 0.2; exit 42", check=False)
    assert (p.stdout, p.stderr.splitlines()[0], p.returncode) == ("out\n", "err", 42)
    assert containerd.ctr_run("--rm", "--env", "A=b c", "--cwd", "/tmp", IMAGE, name, "sh", "-c", "read a; echo $a; pwd; echo $A", input="in\n").stdout == "in\n/tmp\nb c\n"


def test_a_command_that_cannot_run(containerd, name):
    for command, text in (("nosuch", r"executable file not found in \$PATH"), ("/etc/plain-file", "permission denied")):
        p = containerd.ctr_run("--rm", IMAGE, name, command, check=False)
        assert p.returncode == 1 and re.search(f'ireko-runtime create failed: .*exec: "{command}": .*{text}', p.stderr), p.stderr
    containerd.background(name, "sleep", "1000")
    assert containerd.states() == [name]
    p = containerd.execute(name, "nosuch", check=False)
    assert p.returncode == 1 and "executable file not found in $PATH" in p.stderr


def test_exec(containerd, name):
    containerd.background(name, "sleep", "1000")
    p = containerd.execute(name, "sh", "-c", "pwd; cat; exit 7", options=["--cwd", "/tmp"], input="typed\n", check=False)
    assert (p.stdout, p.returncode) == ("/tmp\ntyped\n", 7)
    containerd.call("task", "exec", "--exec-id", "detached", "-d", "--log-uri", f"file://{containerd.root}/exec.log", name, "touch", "/tmp/detached")
    wait_until("the detached process did its work", lambda: containerd.execute(name, "test", "-e", "/tmp/detached", check=False).returncode == 0)
    assert str(containerd.task(name)[0]) in containerd.call("task", "ps", name).stdout


def test_limits(containerd, name):
    containerd.background(name, "sleep", "1000", options=["--memory-limit", str(64 << 20), "--cpus", "0.5"])
    pid, _ = containerd.task(name)
    assert [limit(pid, what) for what in ("memory", "cpu")] == [64 << 20, 0.5]
    assert f"/{containerd.cgroup}/{name}\n" in pathlib.Path(f"/proc/{pid}/cgroup").read_text()
    assert re.search(rf"memory\.\S*limit\S*\s+{64 << 20}\b", containerd.call("task", "metrics", name).stdout)


def test_pause_kill_and_output(containerd, name):
    log = containerd.background(name, "sh", "-c", "trap 'echo bye; exit 5' TERM; while :; do echo x; sleep 0.02; done")
    wait_until("it writes", lambda: log.exists() and "x" in log.read_text())
    containerd.call("task", "pause", name)
    assert containerd.task(name)[1] == "PAUSED"

    def at_rest():
        before = log.read_text()
        time.sleep(0.3)
        return log.read_text() == before

    # What it had written is on its way.
    wait_until("no more comes", at_rest)
    before = log.read_text()
    containerd.call("task", "resume", name)
    wait_until("it goes on", lambda: log.read_text() != before)
    containerd.call("task", "kill", "-s", "SIGTERM", name)
    wait_until("it ended", lambda: containerd.task(name)[1] == "STOPPED")
    wait_until("its last word comes", lambda: log.read_text().endswith("bye\n"))
    assert "exit code 5" in containerd.call("task", "rm", name).stderr
    containerd.call("container", "rm", name)
    log = containerd.background(name, "sleep", "1000")
    containerd.call("task", "kill", "-s", "SIGKILL", "-a", name)
    wait_until("it ended", lambda: containerd.task(name)[1] == "STOPPED")
    assert "exit code 137" in containerd.call("task", "rm", name).stderr


def test_terminal(containerd, name):
    with containerd.pty(*containerd.command, "run", "--runc-binary", RUNTIME, "--rm", "-t", IMAGE, name, "sh", rows=30, columns=90) as t:
        t.expect("# ")
        t.send("tty; while [ \"$(stty size)\" != '30 90' ]; do sleep 0.05; done; echo siz''ed\n")
        t.expect(r"\n/dev/pts/0\r+\n(.|\n)*sized")
        with containerd.pty(*containerd.command, "task", "exec", "-t", "--exec-id", "tty", name, "sh") as x:
            x.expect("# ")
            x.send("tty; exit 3\n")
            x.expect(r"\n/dev/pts/1\r+\n")
            assert x.wait() == 3
        t.send("exit 4\n")
        assert t.wait() == 4


def test_options_of_the_shim(containerd, name):
    """A state directory of its own, seccomp, a root that is read-only."""
    root = containerd.root / "states"
    containerd.background(name, "sleep", "1000", options=["--runc-root", root, "--seccomp", "--read-only"])
    assert (root / containerd.cgroup / name / "state.json").exists()
    assert containerd.execute(name, "grep", "Seccomp:", "/proc/self/status").stdout.split() == ["Seccomp:", "2"]
    # On a busy machine ctr may end before it has read what its command said last.
    wait_until("it is said to be read-only", lambda: "Read-only" in containerd.execute(name, "touch", "/x", check=False).stderr)
    assert containerd.execute(name, "test", "-e", "/x", check=False).returncode == 1
