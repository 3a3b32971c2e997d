# SPDX-License-Identifier: Apache-2.0
"""What an attached command line owes its user: the terminal as it was, whatever ended it; signals where they belong; and run's files."""
import os
import signal
import subprocess
import termios

import pytest

from harness import BUILD, Pty, wait_until

IREKO = BUILD / "ireko"


def mode(t):
    return termios.tcgetattr(t.master)


def is_raw(t):
    return not mode(t)[3] & (termios.ICANON | termios.ECHO)


def session(engine, name, *more, shell="trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"):
    t = Pty([IREKO, "run", "-it", "--name", name, *more, "busybox", "sh", "-c", shell], env=engine.env(TERM="xterm"))
    before = t.mode_before
    t.expect("ready")
    wait_until("the terminal is raw", lambda: is_raw(t))
    return t, before


@pytest.mark.parametrize("end", ["exit", "kill container", "detach", "TERM", "HUP", "KILL engine"])
def test_terminal_is_as_it_was(new_engine, engine, name, end):
    if end == "KILL engine":
        engine = new_engine()
    t, before = session(engine, name)
    with t:
        if end == "exit":
            engine.cli("exec", name, "kill", "-TERM", "1")
        elif end == "kill container":
            engine.cli("kill", name)
        elif end == "detach":
            t.send("\x10\x11")
        elif end == "TERM":
            t.p.send_signal(signal.SIGTERM)
        elif end == "HUP":
            t.p.send_signal(signal.SIGHUP)
            engine.cli("kill", name)
        else:
            engine.kill()
            engine.start()
            engine.cli("kill", name)
        status = t.wait(30)
        assert mode(t) == before
        # HUP is passed on as well; without a handler it means nothing to a container's first process.
        assert status == {"exit": 9, "kill container": 137, "detach": 0, "TERM": 9, "HUP": 137, "KILL engine": 137}[end]
    assert engine.inspect(name)["State"]["Running"] == (end == "detach")


def test_terminal_of_a_client_that_keeps_signals(engine, name):
    """--sig-proxy=false: the client ends by the signal, as it would without a container, and the container goes on."""
    t, before = session(engine, name, "--sig-proxy=false")
    with t:
        t.p.send_signal(signal.SIGTERM)
        assert t.wait() == -signal.SIGTERM
        assert mode(t) == before
    assert engine.inspect(name)["State"]["Running"]


def test_terminal_of_one_that_does_not_start(engine, name):
    t = Pty([IREKO, "run", "-it", "--name", name, "busybox", "nope"], env=engine.env(TERM="xterm"))
    before = t.mode_before
    with t:
        assert t.wait() == 127 and mode(t) == before


@pytest.mark.parametrize("client", ["ireko", "docker"])
def test_signals_without_a_terminal(engine, name, client):
    p = engine.popen("run", "--name", name, "busybox", "sh", "-c", "trap 'echo told; exit 4' USR1; trap 'echo ended; exit 5' TERM; echo ready; while :; do sleep 0.05; done", client=client)
    assert p.stdout.readline() == "ready\n"
    p.send_signal(signal.SIGUSR1)
    assert p.communicate(timeout=20)[0] == "told\n" and p.returncode == 4
    if client == "docker":
        # Its start -a has a moment in which a signal is lost.
        return
    q = engine.popen("start", "-a", name)
    # What the run before has logged is not shown again.
    assert q.stdout.readline() == "ready\n"
    q.send_signal(signal.SIGTERM)
    assert q.communicate(timeout=20)[0] == "ended\n" and q.returncode == 5


def test_attach_without_proxy_leaves_it(engine, ireko, name):
    ireko("run", "-d", "--name", name, "busybox", "sh", "-c", "trap 'exit 5' TERM; while :; do echo x; sleep 0.05; done")
    p = engine.popen("attach", "--sig-proxy=false", name)
    assert p.stdout.readline() == "x\n"
    p.send_signal(signal.SIGTERM)
    p.communicate(timeout=20)
    assert p.returncode == -signal.SIGTERM and engine.inspect(name)["State"]["Running"]


def test_files_of_run(cli, folder, name, engine):
    cid = folder / "c id"
    (folder / "labels 一").write_text("# a comment\na=1\n\nb\nc=x y=z\n")
    cli("run", "-d", "--name", name, "--cidfile", cid, "--label-file", folder / "labels 一", "--label", "a=2", "busybox", "sleep", "1000")
    assert cid.read_text() == engine.inspect(name)["Id"]
    assert engine.inspect(name)["Config"]["Labels"] == {"a": "2", "c": "x y=z"}
    said = cli.fails("run", "--cidfile", cid, "busybox", "true", status=125)
    assert "container ID file found" in said and cid.read_text() == engine.inspect(name)["Id"]
    assert cli.fails("run", "--cidfile", folder / "none" / "x", "busybox", "true")
    # One that could not be made leaves no file.
    cli.fails("run", "--cidfile", folder / "other", "--name", name, "busybox", "true", status=125)
    assert not (folder / "other").exists()
    assert cli.fails("run", "--label-file", folder / "missing", "busybox", "true", status=125)
    assert len([n for n in os.listdir(folder) if n not in ("c id", "labels 一")]) == 0


def test_attach_of_some_streams(engine, name):
    def run(*args):
        return subprocess.run([IREKO, "run", "--rm", *args, "busybox", "sh", "-c", "echo out; echo err >&2; cat"], env=engine.env(), input="in\n", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=True)

    assert (run("-a", "stdout").stdout, run("-a", "stdout").stderr) == ("out\n", "")
    p = run("-a", "stderr")
    assert (p.stdout, p.stderr) == ("", "err\n")
    p = run("-i", "-a", "stdin", "-a", "STDOUT")
    assert (p.stdout, p.stderr) == ("out\nin\n", "")
