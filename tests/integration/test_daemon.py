# SPDX-License-Identifier: Apache-2.0
"""The daemon's own life: it may stop, be killed and come back; containers, logs and exit codes do not notice."""
import fcntl
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

from harness import BUILD, Engine, free_port, lines_of, run, tcp_ask, wait_until

COUNT = "i=0; while :; do i=$((i+1)); echo line $i; sleep {}; done"


def numbers(text):
    return [int(n) for n in re.findall(r"^line (\d+)$", text, re.M)]


@pytest.mark.seconds(60)
def test_kill_9_loses_no_line(new_engine, name):
    """The promise of the issue: a line a second, kill -9 in between, no line lost, and ps, logs, stop work afterwards."""
    engine = new_engine()
    engine.cli("run", "-d", "--name", name, "busybox", "sh", "-c", COUNT.format(1))
    seen = lambda: numbers(engine.cli("logs", name).stdout)
    wait_until("it has begun", lambda: len(seen()) >= 2)
    engine.kill()
    time.sleep(2.5)
    engine.start()
    assert name in engine.cli("ps", "--format", "{{.Names}}").stdout
    before = len(seen())
    wait_until("it goes on", lambda: len(seen()) > max(before, 4))
    assert seen() == list(range(1, len(seen()) + 1)), seen()
    engine.cli("stop", "-t", "1", name)
    state = engine.inspect(name)["State"]
    assert state["Status"] == "exited" and state["ExitCode"] in (137, 143)


def test_kill_9_under_a_flood(new_engine, name):
    engine = new_engine()
    engine.cli("run", "-d", "--name", name, "busybox", "sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo line $i; done")
    time.sleep(0.05)
    for _ in range(3):
        engine.kill()
        engine.start()
    assert engine.cli("wait", name).stdout.strip() == "0"
    assert numbers(engine.cli("logs", name).stdout) == list(range(1, 20001))


def test_end_while_the_daemon_was_away(new_engine, name):
    engine = new_engine()
    engine.cli("run", "-d", "--name", name, "busybox", "sh", "-c", "sleep 1; echo last words; exit 17")
    engine.kill()
    wait_until("its shim has ended", lambda: not engine.shims())
    engine.start()
    state = engine.inspect(name)["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 17)
    assert engine.cli("logs", name).stdout == "last words\n"
    finished = engine.cli("inspect", "-f", "{{.State.FinishedAt}} {{.State.StartedAt}}", name).stdout.split()
    assert finished[0] > finished[1]


def test_adopted_container_is_whole(new_engine, name):
    engine = new_engine()
    port = free_port()
    engine.cli("run", "-d", "--name", name, "-p", f"{port}:8080", "busybox", "sh", "-c", "mkdir /w; echo still-here > /w/index.html; httpd -f -p 8080 -h /w")
    assert b"still-here" in tcp_ask("127.0.0.1", port, b"GET / HTTP/1.0\r\n\r\n")
    pid = engine.inspect(name)["State"]["Pid"]
    engine.kill()
    assert b"still-here" in tcp_ask("127.0.0.1", port, b"GET / HTTP/1.0\r\n\r\n")
    engine.start()
    assert engine.inspect(name)["State"]["Pid"] == pid
    assert engine.cli("exec", name, "cat", "/w/index.html").stdout == "still-here\n"
    assert b"still-here" in tcp_ask("127.0.0.1", port, b"GET / HTTP/1.0\r\n\r\n")
    p = engine.cli("run", "-d", "-p", f"{port}:80", "busybox", "sleep", "1000", check=False)
    assert p.returncode == 125 and str(port) in p.stderr
    engine.cli("restart", "-t", "0", name)
    assert b"still-here" in tcp_ask("127.0.0.1", port, b"GET / HTTP/1.0\r\n\r\n")


def test_it_answers_while_shims_do_not(new_engine, name):
    """Who lives is known from locks, without waking a shim; one that died after that is told of all the same."""
    engine = new_engine()
    for n in ("silent", "gone"):
        engine.cli("run", "-d", "--name", f"{name}-{n}", "busybox", "sleep", "1000")
    silent, gone = (s for n in ("silent", "gone") for s in engine.shims() if engine.inspect(f"{name}-{n}")["Id"] in pathlib.Path(f"/proc/{s}/cmdline").read_text())
    gone_id = engine.inspect(f"{name}-gone")["Id"]
    engine.kill()
    os.kill(silent, signal.SIGSTOP)
    os.kill(gone, signal.SIGKILL)
    try:
        (reserved,) = pathlib.Path(engine.exec_root).rglob(f"{gone_id}/.exit.json")
        with open(reserved) as f:
            fcntl.flock(f, fcntl.LOCK_EX)  # as if it had died a moment later
            engine.start()
            wait_until("its end is told", lambda: engine.inspect(f"{name}-gone")["State"]["Status"] == "exited")
        state = engine.inspect(f"{name}-gone")["State"]
        assert state["ExitCode"] == 137 and "was killed" in state["Error"]
        assert engine.cli("ps", "--format", "{{.Names}}").stdout == f"{name}-silent\n"
    finally:
        os.kill(silent, signal.SIGCONT)
    assert engine.cli("exec", f"{name}-silent", "echo", "here").stdout == "here\n"


def test_a_shim_that_cannot_be_reached_yet_is_tried_again(new_engine, name):
    """As when descriptors or memory are short for a moment, here by a link that leads nowhere: no reason to end a container that lives."""
    engine = new_engine()
    engine.cli("run", "-d", "--name", name, "busybox", "sleep", "1000")
    pid = engine.inspect(name)["State"]["Pid"]
    cid = engine.inspect(name)["Id"]
    engine.kill()
    (sock,) = pathlib.Path(engine.exec_root).rglob(f"{cid}/shim.sock")
    aside = sock.rename(sock.with_name("aside"))
    sock.symlink_to(sock.name)
    engine.start()
    time.sleep(1.2)
    assert engine.inspect(name)["State"]["Running"] and os.path.exists(f"/proc/{pid}")
    sock.unlink()
    aside.rename(sock)
    os.kill(pid, signal.SIGKILL)
    wait_until("its end is told", lambda: engine.inspect(name)["State"]["Status"] == "exited")
    assert engine.inspect(name)["State"]["ExitCode"] == 137


def test_sigterm_leaves_containers_running(new_engine, name):
    engine = new_engine()
    engine.cli("run", "-d", "--name", name, "busybox", "sleep", "1000")
    pid = engine.inspect(name)["State"]["Pid"]
    assert engine.stop() == 0
    os.kill(pid, 0)
    engine.start()
    assert engine.inspect(name)["State"]["Pid"] == pid


def test_attached_terminal_survives_a_restart(new_engine, name):
    """The shim serves the client's socket itself, so that a person at a terminal does not notice."""
    engine = new_engine()
    with engine.pty("run", "-it", "--name", name, "busybox", "sh") as t:
        t.expect(r"/ # ")
        engine.kill()
        t.send("echo alive-$((1+1))\n")
        t.expect(r"alive-2")
        engine.start()
        t.send("exit 4\n")
        t.wait()
    wait_until("it has ended", lambda: engine.inspect(name)["State"]["Status"] == "exited")
    assert engine.inspect(name)["State"]["ExitCode"] == 4


def test_images_volumes_networks_outlive_the_daemon(new_engine, name):
    engine = new_engine()
    engine.cli("volume", "create", name)
    engine.cli("run", "--rm", "-v", f"{name}:/v", "busybox", "sh", "-c", "echo kept > /v/f")
    engine.cli("network", "create", name)
    engine.cli("tag", "busybox", f"{name}:t")
    engine.kill()
    engine.start()
    assert engine.cli("run", "--rm", "--network", name, "-v", f"{name}:/v", f"{name}:t", "cat", "/v/f").stdout == "kept\n"
    engine.cli("network", "rm", name)


def test_two_daemons_do_not_share_a_root(new_engine):
    engine = new_engine(busybox=False)
    p = run(BUILD / "irekod", "--data-root", engine.data_root, "--exec-root", engine.exec_root, "-H", f"unix://{engine.root}/other", check=False)
    assert p.returncode == 1 and re.search(r"another irekod \(pid \d+\) uses", p.stderr)
    assert engine.cli("version").returncode == 0


def test_several_daemons_side_by_side(new_engine, name):
    a, b = new_engine(), new_engine()
    for e in (a, b):
        e.cli("run", "-d", "--name", name, "busybox", "sleep", "1000")
    a.cli("rm", "-f", name)
    assert name in b.cli("ps").stdout and name not in a.cli("ps", "-a").stdout


def test_options(new_engine, folder):
    p = run(BUILD / "irekod", "--version")
    assert p.stdout.startswith("irekod version ")
    assert "--data-root" in run(BUILD / "irekod", "--help").stdout
    for bad, pattern in ((["--nonsense"], "unknown option"), (["--data-root", "relative"], "absolute"), (["-H", "ftp://x"], "unix://"), (["--bridge-subnet", "not-a-subnet"], "not-a-subnet"),
                         (["--log-level", "loud"], "loud")):
        args = [] if "--data-root" in bad else ["--data-root", folder / "d"]
        p = run(BUILD / "irekod", *args, "--exec-root", folder / "r", *bad, check=False)
        assert p.returncode == 1 and pattern in p.stderr, p


def test_config_file_and_pidfile(new_engine, folder):
    (folder / "c.json").write_text(json.dumps({"insecure-registries": ["registry.test:5000"], "log-level": "debug"}))
    engine = new_engine("--config", folder / "c.json", "--pidfile", folder / "pid", busybox=False)
    assert int((folder / "pid").read_text()) == engine.p.pid
    assert "registry.test:5000" in engine.cli("info").stdout
    engine.stop()
    assert not (folder / "pid").exists()
    (folder / "c.json").write_text('{"no-such-setting": 1}')
    p = run(BUILD / "irekod", "--config", folder / "c.json", "--data-root", folder / "d", "--exec-root", folder / "r", check=False)
    assert p.returncode == 1 and "no-such-setting" in p.stderr and str(folder / "c.json") in p.stderr


def test_without_root_it_says_so(folder):
    p = run("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", BUILD / "irekod", "--data-root", folder / "d", "--exec-root", folder / "r", check=False)
    assert p.returncode == 1 and "root" in p.stderr and "sudo" in p.stderr


def test_unprivileged_client_is_told_why(new_engine):
    engine = new_engine(busybox=False)
    engine.root.chmod(0o755)
    p = run("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", BUILD / "ireko", "-H", f"unix://{engine.socket}", "ps", check=False)
    assert p.returncode == 1 and "ermission denied" in p.stderr and str(engine.socket) in p.stderr


def test_kernel_feature_missing(folder):
    """Without mounting rights (a container without CAP_SYS_ADMIN, say) starting a container fails with the cause, and leaves nothing."""
    # CAP_SYS_ADMIN, and nothing else, is taken away.
    engine = Engine(prefix=["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"])
    try:
        try:
            engine.start()
        except AssertionError as e:
            assert "CAP_SYS_ADMIN" in str(e) or "not permitted" in str(e), e
            engine.p = None
            return
        p = engine.cli("load", "-i", __import__("harness").busybox_archive(), check=False)
        if p.returncode == 0:
            p = engine.cli("run", "--rm", "busybox", "true", check=False)
            assert p.returncode == 125
        assert "not permitted" in p.stderr or "CAP_SYS_ADMIN" in p.stderr, p
        assert not engine.containers()
    finally:
        engine.destroy()


def test_idle_costs_nothing(new_engine):
    engine = new_engine()
    def ticks():
        f = pathlib.Path(f"/proc/{engine.p.pid}/stat").read_text().rpartition(")")[2].split()
        return int(f[11]) + int(f[12])

    def in_two_seconds():
        before = ticks()
        time.sleep(2)
        return ticks() - before

    # What a start leaves to be done later is done first.
    wait_until("it is at rest", lambda: in_two_seconds() <= 1)


def test_descriptors_do_not_pile_up(new_engine):
    engine = new_engine()
    engine.cli("run", "--rm", "busybox", "true")
    before = engine.descriptors()
    for _ in range(10):
        engine.cli("run", "--rm", "busybox", "true")
        engine.cli("run", "--rm", "no-such-image.invalid/x", check=False)
    wait_until("no more descriptors than before", lambda: engine.descriptors() <= before + 2)


def test_events(cli, engine, name):
    since = time.time()
    with engine.followed():
        p = cli.popen("events", "--format", "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}")
    lines, reader = lines_of(p)
    cli("run", "--name", name, "busybox", "true")
    cli("rm", name)
    wait_until("all is told", lambda: f"container destroy {name}\n" in lines)
    p.send_signal(signal.SIGINT)
    p.wait(timeout=10)
    reader.join()
    seen = [line.strip() for line in lines if name in line]
    wanted = [f"container {a} {name}" for a in ("create", "start", "die", "destroy")]
    assert [s for s in seen if s in wanted] == wanted
    again = cli.out("events", "--since", f"{since:.3f}", "--until", f"{time.time() + 0.1:.3f}", "--filter", f"container={name}", "--format", "{{.Action}}").split()
    assert [a for a in again if a in ("create", "start", "die", "destroy")] == ["create", "start", "die", "destroy"]


def test_info_and_version(cli, engine):
    out = cli.out("info")
    assert re.search(r"Containers: \d+", out) and re.search(r"Cgroup Driver: cgroupfs", out) and str(engine.data_root) in out
    assert json.loads(cli.out("version", "--format", "json"))["Server"]["ApiVersion"]
    assert json.loads(cli.out("info", "--format", "json"))["Driver"] in ("erofs", "overlayfs", "vfs")


def test_a_slow_log_reader_holds_up_nobody(new_engine, name):
    engine = new_engine()
    engine.cli("run", "-d", "--name", name, "busybox", "sh", "-c", "yes | head -n 200000; echo end; sleep 1000")
    slow = engine.popen("logs", "-f", name)
    try:
        wait_until("all is written", lambda: engine.cli("logs", "--tail", "1", name).stdout == "end\n", seconds=30)
        assert engine.cli("ps", "-q").stdout
    finally:
        slow.kill()
        slow.communicate()


def test_api_garbage(engine):
    for path, body, status in (("/containers/create", "{", 400), ("/containers/create", "[]", 400), ("/containers/create", "", 400), ("/containers/create", {"Image": 5}, 400),
                               ("/containers/create", {"Image": "busybox", "Cmd": {"a": 1}}, 400), ("/no/such/endpoint", {}, 404), ("/containers/nobody/start", {}, 404)):
        reply = engine.api("POST", path, body, {"Content-Type": "application/json"})
        assert reply.status == status and reply.message, (path, body, reply.status, reply.body)
    assert engine.api("GET", "/containers/json?filters=%7B").status == 400
    assert engine.api("GET", "/v1.99/version").status == 400
    assert engine.api("GET", "/v1.24/version").status == 200


def test_many_clients(new_engine):
    engine = new_engine(busybox=False)
    ps = [subprocess.Popen([BUILD / "ireko", "ps", "-q"], env=engine.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(100)]
    assert {p.wait(timeout=30) for p in ps} == {0}
    for p in ps:
        p.stdout.close()
        p.stderr.close()
