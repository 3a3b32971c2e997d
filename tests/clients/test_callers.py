# SPDX-License-Identifier: Apache-2.0
"""podman and dockerd, as Debian has them, with ireko-runtime in runc's place: what their users do every day, and the cgroups that come of it."""
import os
import pathlib
import re
import time

import pytest

from callers import Docker, Podman
from harness import wait_until
from room import limit


@pytest.fixture(scope="module", params=[Podman, Docker], ids=["podman", "docker"])
def _room(request):
    room = request.param()
    try:
        yield room.start()
    finally:
        room.finish()


@pytest.fixture
def caller(_room):
    yield _room
    _room.remove_all()
    _room.expect_clean()


def test_streams_and_exit_codes(caller):
    p = caller.make("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 42", check=False)
    assert (p.stdout, p.stderr, p.returncode) == ("out\n", "err\n", 42)
    assert caller.make("run", "--rm", "-i", "busybox", "cat", input="in\n" * 3000).stdout == "in\n" * 3000
    assert caller.make("run", "--rm", "busybox", "false", check=False).returncode == 1


def test_a_command_that_cannot_run(caller, name):
    for command, status, text in (("nosuch", 127, "not found"), ("/etc/plain-file", 126, "permission denied"), ("/etc", 126, "permission denied")):
        p = caller.make("run", "--rm", "busybox", command, check=False)
        # In a log line, where the caller does not know that the runtime writes JSON: then its quotes are escaped.
        assert p.returncode == status and re.search(f'ireko-runtime create failed: .*exec: "{command}": .*{text}', p.stderr.replace("\\", "")), p.stderr
    caller.make("run", "-d", "--name", name, "busybox", "sleep", "1000")
    for command, status, text in (("nosuch", caller.exec_not_found, "not found"), ("/etc/plain-file", 126, "permission denied")):
        p = caller.call("exec", name, command, check=False)
        assert p.returncode == status and command in p.stderr + p.stdout and text in p.stderr + p.stdout, (p.stderr, p.stdout)


def test_exec(caller, name):
    caller.make("run", "-d", "--name", name, "busybox", "sleep", "1000")
    assert caller.call("exec", name, "sh", "-c", "exit 7", check=False).returncode == 7
    assert caller.out("exec", "-u", "user", "-w", "/tmp", "-e", "A=b c", name, "sh", "-c", "id -un; pwd; echo $A") == "user\n/tmp\nb c"
    assert caller.call("exec", "-i", name, "cat", input="typed").stdout == "typed"
    caller.call("exec", "-d", name, "touch", "/tmp/detached")
    wait_until("the detached process did its work", lambda: "detached" in caller.out("exec", name, "ls", "/tmp"))
    groups = [caller.out("exec", name, "cat", f"/proc/{pid}/cgroup") for pid in ("1", "self")]
    assert groups[0] == groups[1], "an exec is in the container's cgroups"
    assert "sleep 1000" in caller.out("top", name)
    assert caller.states() == [caller.inspect(name, ".Id")]


def test_limits(caller, name):
    caller.make("run", "-d", "--name", name, "--memory", "64m", "--pids-limit", "50", "--cpus", "0.5", "busybox", "sleep", "1000")
    pid = caller.pid(name)
    assert [limit(pid, what) for what in ("memory", "pids", "cpu")] == [64 << 20, 50, 0.5]
    assert re.search("64MiB|67.11MB", caller.out("stats", "--no-stream", name))
    caller.call("update", "--memory", "96m", "--memory-swap", "96m", "--cpus", "0.25", name)
    assert [limit(pid, what) for what in ("memory", "pids", "cpu")] == [96 << 20, 50, 0.25]


def test_out_of_memory(caller, name):
    caller.make("run", "-d", "--name", name, "--memory", "8m", "--memory-swap", "8m", "busybox", "sh", "-c",
                "while [ ! -e /tmp/go ]; do sleep 0.05; done; x=0123456789abcdef; while :; do x=$x$x; done")
    time.sleep(1)  # those who watch begin after the start
    caller.call("exec", name, "touch", "/tmp/go")
    assert caller.out("wait", name) == "137"
    if caller.sees_oom:
        wait_until("it is known why", lambda: caller.inspect(name, ".State.OOMKilled") == "true")


def test_pause(caller, name):
    caller.make("run", "-d", "--name", name, "busybox", "sh", "-c", "while :; do echo x; sleep 0.02; done")
    lines = lambda: caller.out("logs", name).count("x")  # noqa: E731
    wait_until("it writes", lines)
    caller.call("pause", name)
    assert caller.inspect(name, ".State.Status") == "paused"


    def at_rest():
        before = lines()
        time.sleep(0.3)
        return lines() == before

    # What it had written is on its way.
    wait_until("no more comes", at_rest)
    before = lines()
    p = caller.call("exec", name, "true", check=False)
    assert p.returncode != 0 and re.search("pause|running", p.stderr)
    caller.call("unpause", name)
    wait_until("it goes on", lambda: lines() > before)
    caller.call("pause", name)
    caller.call("rm", "-f", name)


def test_stop_start_kill(caller, name):
    caller.make("run", "-d", "--name", name, "busybox", "sh", "-c", "trap 'echo bye; exit 5' TERM; trap 'echo usr1' USR1; echo ready; while :; do sleep 0.05; done")
    wait_until("it is ready", lambda: "ready" in caller.out("logs", name))
    caller.call("kill", "-s", "USR1", name)
    wait_until("the signal arrived", lambda: "usr1" in caller.out("logs", name))
    caller.call("stop", "-t", "10", name)
    assert [caller.inspect(name, f) for f in (".State.Status", ".State.ExitCode")] == ["exited", "5"]
    assert "bye" in caller.out("logs", name)
    caller.call("start", name)
    assert caller.inspect(name, ".State.Status") == "running"
    caller.call("kill", name)
    assert caller.out("wait", name) == "137"
    caller.call("restart", "-t", "0", name)
    p = caller.call("rm", name, check=False)
    assert p.returncode != 0 and "running" in p.stderr
    caller.call("rm", "-f", name)
    assert name not in caller.out("ps", "-a")


def test_terminal(caller, name):
    with caller.terminal("run", *caller.options, "-it", "--name", name, "busybox", "sh", rows=30, columns=90) as t:
        t.expect("/ # ")
        t.send("stty size; tty\n")
        t.expect(r"\r\n30 90\r\n/dev/pts/0\r\n")
        with caller.terminal("exec", "-it", name, "sh", rows=20, columns=70) as x:
            x.expect("/ # ")
            x.send("tty; stty size; exit 3\n")
            x.expect(r"\r\n/dev/pts/1\r\n20 70\r\n")
            assert x.wait() == 3
        t.resize(40, 100)
        t.send("while [ \"$(stty size)\" != '40 100' ]; do sleep 0.05; done; echo resi''zed; exit 4\n")
        t.expect("resized")
        assert t.wait() == 4


def test_what_users_ask_for(caller, folder):
    (folder / "file").write_text("from the host\n")
    run = lambda *args: caller.make("run", "--rm", *args).stdout  # noqa: E731
    out = run("--read-only", "--tmpfs", "/tmp", "-v", f"{folder}:/mnt:ro", "busybox", "sh", "-c", "cat /mnt/file; touch /x /mnt/x 2>/dev/null; touch /tmp/x && ls /tmp")
    assert out == "from the host\nx\n"
    assert run("--cap-drop", "all", "--cap-add", "chown", "busybox", "grep", "CapEff", "/proc/self/status").split() == ["CapEff:", "0000000000000001"]
    assert run("--privileged", "busybox", "sh", "-c", "mount -t tmpfs tmpfs /home; grep -c /home /proc/mounts") == "1\n"
    assert run("--sysctl", "net.ipv4.ip_forward=1", "--hostname", "here", "busybox", "sh", "-c", "hostname; cat /proc/sys/net/ipv4/ip_forward") == "here\n1\n"
    assert run("-u", "1000", "--group-add", "7", "busybox", "id", "-G").split() == ["1000", "7", "2000"]
    assert run("--ulimit", "nofile=100:200", "--ulimit", "nproc=500:500", "--ipc", "host", "--pid", "host", "busybox", "sh", "-c", "ulimit -n; test -d /proc/$PPID && echo yes") == "100\nyes\n"
    assert run("--device", "/dev/fuse:/dev/there:r", "--security-opt", "no-new-privileges", "busybox", "sh", "-c", "ls /dev/there; grep NoNewPrivs /proc/self/status | cut -f2") == \
        "/dev/there\n1\n"


def test_joining_another_container(caller, name):
    caller.make("run", "-d", "--name", name, "busybox", "sleep", "1000")
    ours = pathlib.Path(f"/proc/{caller.pid(name)}/ns")
    caller.options, before = caller.options[2:], caller.options  # but the network
    try:
        out = caller.make("run", "--rm", "--pid", f"container:{name}", "--network", f"container:{name}", "busybox", "sh", "-c",
                          "for n in pid net; do readlink /proc/self/ns/$n; done; ps | grep -c 'sleep [1]000'").stdout
    finally:
        caller.options = before
    assert out.split() == [os.readlink(ours / "pid"), os.readlink(ours / "net"), "1"]


def test_network(caller):
    assert caller.make("run", "--rm", "busybox", "ls", "/sys/class/net").stdout.split() == caller.links
