# SPDX-License-Identifier: Apache-2.0
"""Containers on another OCI runtime than ours: irekod --runtime NAME=PATH with Debian's runc and crun, through everything the shim asks of a runtime."""
import json
import os
import pathlib
import re
import signal
import time

import pytest

from harness import BUILD, Engine, cgroups_named, free_port, program, run, tcp_ask, wait_until
from room import limit

# crun refuses the hybrid layout: irekod, and all that it starts, is shown a plain cgroup v2 tree.
PLAIN_CGROUP2 = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$@\"", "sh"]


# crun raises RLIMIT_MEMLOCK to load device rules, for which this machine may lack CAP_SYS_RESOURCE: then it gets none.
WITHOUT_DEVICE_RULES = """#!/usr/bin/python3
import json, os, sys
if "create" in sys.argv:
    path = sys.argv[sys.argv.index("--bundle") + 1] + "/config.json"
    with open(path) as f:
        config = json.load(f)
    del config["linux"]["resources"]["devices"]
    with open(path, "w") as f:
        json.dump(config, f)
os.execv("{crun}", ["crun", *sys.argv[1:]])
"""


def program_of(runtime, folder):
    found = program(runtime)
    if runtime == "crun" and run("prlimit", "--memlock=unlimited:unlimited", "true", check=False).returncode:
        wrapper = folder / "crun"
        wrapper.write_text(WITHOUT_DEVICE_RULES.replace("{crun}", found))
        wrapper.chmod(0o755)
        return wrapper
    return found


def is_hybrid():
    return not pathlib.Path("/sys/fs/cgroup/cgroup.procs").exists()


@pytest.fixture(scope="module", params=["runc", "crun"])
def _engine(request, tmp_path_factory):
    path = program_of(request.param, tmp_path_factory.mktemp("runtime"))
    e = Engine("--runtime", f"{request.param}={path}", prefix=PLAIN_CGROUP2 if request.param == "crun" and is_hybrid() else ())
    e.runtime, e.runtime_path = request.param, str(path)
    e.start()
    try:
        e.load_busybox()
        yield e
    finally:
        e.destroy()


@pytest.fixture
def engine(_engine):
    yield _engine
    if _engine.p is None:
        _engine.start()
    _engine.remove_containers()
    wait_until("the shims end", lambda: not _engine.shims())
    assert not left_by_runtime(_engine)


@pytest.fixture
def on(engine):
    """The engine's command line; on("run", ...) runs on the other runtime."""

    def cli(verb, *args, **kw):
        return engine.cli(verb, *(["--runtime", engine.runtime] if verb in ("run", "create") else []), *args, **kw)

    return cli


def cgroups(engine):
    """Of containers."""
    return [str(d) for d in cgroups_named(f"ireko_{engine.mark}") if d.name != f"ireko_{engine.mark}"]


def left_by_runtime(engine):
    """States, folders, mounts and cgroups of containers."""
    states = [str(d) for d in engine.exec_root.glob("runtime*/*")]
    mounts = [line for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if str(engine.root) in line]
    return [*states, *map(str, (engine.exec_root / "containers").glob("*")), *mounts, *cgroups(engine)]


def zombies_of(pid):
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [c for c in children if pathlib.Path(f"/proc/{c}/stat").read_text().rpartition(")")[2].split()[0] == "Z"]


def test_streams_and_exit_codes(on, engine):
    p = on("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 42", check=False)
    assert (p.stdout, p.stderr, p.returncode) == ("out\n", "err\n", 42)
    assert on("run", "--rm", "-i", "busybox", "cat", input="in\n" * 3000).stdout == "in\n" * 3000
    on("run", "-d", "--name", "t1", "-u", "user", "busybox", "sh", "-c", "id -u; echo x >/dev/stdout; exec sleep 1000")
    wait_until("it wrote", lambda: on("logs", "t1").stdout == "1000\nx\n")
    assert engine.inspect("t1")["HostConfig"]["Runtime"] == engine.runtime
    assert os.listdir(engine.exec_root / f"runtime-{engine.runtime}") == [engine.inspect("t1")["Id"]]
    assert str(engine.root) not in pathlib.Path("/proc/self/mountinfo").read_text()


def test_a_command_that_cannot_run(on, engine):
    for command, status, text in (("nosuch", 127, "not found"), ("/etc/plain-file", 126, "permission denied")):
        p = on("run", "--rm", "busybox", command, check=False)
        assert p.returncode == status and text in p.stderr.lower(), p.stderr
        assert not left_by_runtime(engine) and not engine.shims()
    on("run", "-d", "--name", "t1", "busybox", "sleep", "1000")
    for command, status, text in (("nosuch", 127, "not found"), ("/etc/plain-file", 126, "permission denied")):
        p = on("exec", "t1", command, check=False)
        assert p.returncode == status and text in (p.stderr + p.stdout).lower(), (p.stdout, p.stderr)
    on("exec", "t1", "true")


def test_exec(on, engine):
    on("run", "-d", "--name", "t1", "busybox", "sleep", "1000")
    assert on("exec", "t1", "sh", "-c", "exit 7", check=False).returncode == 7
    assert on("exec", "-u", "user", "-w", "/tmp", "-e", "A=b c", "t1", "sh", "-c", "id -un; pwd; echo $A").stdout == "user\n/tmp\nb c\n"
    assert on("exec", "-i", "t1", "cat", input="typed").stdout == "typed"
    on("exec", "-d", "t1", "sh", "-c", "(sleep 0.1; echo done >/tmp/detached) &")
    wait_until("the detached process did its work", lambda: on("exec", "t1", "cat", "/tmp/detached", check=False).stdout == "done\n")
    assert {"sleep 1000"} <= {row[-1] for row in engine.api("GET", "/containers/t1/top").json["Processes"]}
    shim = int(re.search(r"PPid:\t(\d+)", pathlib.Path(f"/proc/{engine.inspect('t1')['State']['Pid']}/status").read_text()).group(1))
    assert shim in engine.shims()
    wait_until("every process of the runtime is reaped", lambda: not zombies_of(shim))
    assert on("exec", "t1", "cat", "/proc/1/comm").stdout == "sleep\n"


def test_the_shims_protection_is_not_inherited(on, engine):
    """The kernel is told to spare the shim when memory runs out, not what it runs."""
    for runtime in ("ireko", engine.runtime):
        engine.cli("run", "-d", "--name", runtime, "--runtime", runtime, "busybox", "sleep", "1000")
        for pid in ("1", "self"):
            assert int(on("exec", runtime, "cat", f"/proc/{pid}/oom_score_adj").stdout) >= 0
    assert on("run", "--rm", "--oom-score-adj", "300", "busybox", "cat", "/proc/self/oom_score_adj").stdout == "300\n"


def test_copying_and_files_of_the_engine(on, engine, folder):
    (folder / "f").write_text("from the host\n")
    on("run", "-d", "--name", "t1", "--hostname", "here", "-v", f"{folder}:/data", "--tmpfs", "/scratch", "busybox", "sleep", "1000")
    assert on("exec", "t1", "sh", "-c", "cat /data/f; hostname; touch /scratch/x; grep -c here /etc/hosts").stdout == "from the host\nhere\n1\n"
    on("exec", "t1", "sh", "-c", "echo inside >/scratch/y")
    on("cp", "t1:/scratch/y", folder / "copied")
    assert (folder / "copied").read_text() == "inside\n"
    on("cp", folder / "f", "t1:/tmp/f")
    assert on("exec", "t1", "cat", "/tmp/f").stdout == "from the host\n"


def test_stop_start_kill_pause(on, engine):
    on("run", "-d", "--name", "t1", "busybox", "sh", "-c", "trap 'echo bye; exit 5' TERM; trap 'echo usr1' USR1; echo ready; while :; do sleep 0.05; done")
    wait_until("it is ready", lambda: "ready" in on("logs", "t1").stdout)
    on("kill", "-s", "USR1", "t1")
    wait_until("the signal arrived", lambda: "usr1" in on("logs", "t1").stdout)
    on("pause", "t1")
    assert engine.inspect("t1")["State"]["Status"] == "paused"
    on("unpause", "t1")
    on("stop", "-t", "10", "t1")
    assert engine.inspect("t1")["State"]["ExitCode"] == 5 and "bye" in on("logs", "t1").stdout
    on("start", "t1")
    on("kill", "t1")
    assert on("wait", "t1").stdout == "137\n"
    on("start", "t1")
    on("pause", "t1")
    on("rm", "-f", "t1")


def test_terminal(on, engine):
    with engine.pty("run", "--runtime", engine.runtime, "-it", "--name", "t1", "busybox", "sh", rows=30, columns=90) as t:
        t.expect("/ # ")
        t.send("stty size; tty\n")
        t.expect(r"\r\n30 90\r\n/dev/pts/0\r\n")
        with engine.pty("exec", "-it", "t1", "sh", rows=20, columns=70) as x:
            x.expect("/ # ")
            x.send("tty; stty size; exit 3\n")
            x.expect(r"\r\n/dev/pts/1\r\n20 70\r\n")
            assert x.wait() == 3
        t.resize(40, 100)
        t.send("while [ \"$(stty size)\" != '40 100' ]; do sleep 0.05; done; echo resi''zed; exit 4\n")
        t.expect("resized")
        assert t.wait() == 4
    # Not by glob: folders of other containers go meanwhile.
    assert not [n for _, _, names in os.walk(engine.exec_root / "containers") for n in names if n in ("console.sock", "runtime.pid")]


def test_network_and_ports(on, engine):
    port = free_port()
    on("run", "-d", "--name", "t1", "-p", f"{port}:80", "busybox", "sh", "-c", "mkdir /w; echo served >/w/index.html; exec httpd -f -p 80 -h /w")
    assert b"served" in tcp_ask("127.0.0.1", port, b"GET / HTTP/1.0\r\n\r\n")
    assert on("run", "--rm", "--network", "container:t1", "busybox", "wget", "-qO-", "http://127.0.0.1/").stdout == "served\n"
    assert on("run", "--rm", "--network", "none", "busybox", "ls", "/sys/class/net").stdout == "lo\n"


def test_limits(on, engine):
    if engine.prefix:  # a plain cgroup v2 tree without controllers: what can be seen is that the runtime says so
        p = on("run", "--rm", "--memory", "64m", "busybox", "true", check=False)
        assert p.returncode != 0 and re.search("memory|controller", p.stderr) and not left_by_runtime(engine)
        return
    on("run", "-d", "--name", "t1", "--memory", "64m", "--pids-limit", "50", "--cpus", "0.5", "busybox", "sleep", "1000")
    pid = engine.inspect("t1")["State"]["Pid"]
    assert [limit(pid, what) for what in ("memory", "pids", "cpu")] == [64 << 20, 50, 0.5]
    on("update", "--memory", "96m", "--cpus", "0.25", "t1")
    assert [limit(pid, what) for what in ("memory", "pids", "cpu")] == [96 << 20, 50, 0.25]
    on("update", "--pids-limit", "60", "t1")
    assert [limit(pid, what) for what in ("memory", "pids", "cpu")] == [96 << 20, 60, 0.25]
    p = on("run", "--name", "t2", "--memory", "8m", "busybox", "sh", "-c", "x=0123456789abcdef; while :; do x=$x$x; done", check=False)
    assert p.returncode == 137 and engine.inspect("t2")["State"]["OOMKilled"] is True


def test_the_engine_is_killed(on, engine):
    on("run", "-d", "--name", "t1", "busybox", "sh", "-c", "trap 'exit 5' TERM; i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done")
    on("run", "-d", "--name", "t2", "busybox", "sh", "-c", "sleep 0.3; exit 9")
    wait_until("it writes", lambda: on("logs", "t1").stdout)
    before = engine.inspect("t1")["State"]["Pid"]
    engine.kill()
    wait_until("the other ends without an engine", lambda: len(engine.shims()) == 1)
    engine.start()
    assert engine.inspect("t1")["State"]["Pid"] == before
    wait_until("its end is known", lambda: engine.inspect("t2")["State"]["ExitCode"] == 9)
    assert on("exec", "t1", "echo", "again").stdout == "again\n"
    assert on("top", "t1").stdout
    on("stop", "t1")
    lines = on("logs", "t1").stdout.split()
    assert lines == [str(n) for n in range(1, len(lines) + 1)] and engine.inspect("t1")["State"]["ExitCode"] == 5


@pytest.mark.parametrize("engine_lives", [True, False])
def test_the_shim_is_killed(on, engine, engine_lives):
    """Nobody would read its output or reap it: the container goes, with what the runtime knows of it."""
    on("run", "-d", "--name", "t1", "busybox", "sleep", "1000")
    pid = engine.inspect("t1")["State"]["Pid"]
    assert left_by_runtime(engine)
    if not engine_lives:
        engine.kill()
    for shim in engine.shims():
        os.kill(shim, signal.SIGKILL)
    if not engine_lives:
        engine.p = None
        engine.start()
    wait_until("the container is told as ended", lambda: engine.inspect("t1")["State"]["ExitCode"] == 137)
    wait_until("its process ended", lambda: not os.path.exists(f"/proc/{pid}"))
    wait_until("nothing is left", lambda: not left_by_runtime(engine))
    on("start", "t1")


def test_a_create_that_fails_leaves_nothing(on, engine):
    p = on("run", "--name", "t1", "--sysctl", "net.nosuch=1", "busybox", "true", check=False)
    assert p.returncode != 0 and "nosuch" in p.stderr
    assert engine.inspect("t1")["State"]["Status"] == "created"
    assert not left_by_runtime(engine) and not engine.shims()


# ---- programs that do not do what they should
@pytest.fixture
def fake(new_engine, tmp_path):
    """An engine with the runtime "fake", a shell script; returns (engine, what a run on it says)."""

    def make(script, clean=True):
        path = tmp_path / "fake"
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(0o755)
        engine = new_engine("--runtime", f"fake={path}")
        p = engine.cli("run", "--name", "t1", "--runtime", "fake", "busybox", "true", check=False)
        assert p.returncode != 0 and not engine.shims() and not (clean and left_by_runtime(engine))
        return engine, p.stderr

    return make


def test_a_runtime_that_says_why(fake):
    _, said = fake("echo '{\"level\":\"error\",\"msg\":\"the moon is full\"}' >>\"$4\"; exit 1\n")
    assert "the moon is full" in said


def test_a_runtime_that_dies(fake):
    _, said = fake("kill -9 $$\n")
    assert "killed by signal 9" in said


def test_a_runtime_that_makes_no_process(fake):
    _, said = fake("exit 0\n")
    assert "pid file" in said


def test_a_runtime_that_names_a_stranger(fake):
    _, said = fake("while [ $# -gt 1 ]; do [ \"$1\" = --pid-file ] && echo 1 >\"$2\"; shift; done; exit 0\n")
    assert "process 1, which the runtime made, is not a child of the shim" in said


def test_a_runtime_that_dies_half_way(fake):
    """It has made a process and knows of nothing: what is in the container's cgroup goes all the same."""
    engine, said = fake(f"""case "$*" in
*create*) {program("runc")} "$@" &
    while [ ! -e "${{11}}" ]; do sleep 0.01; done; cat "${{11}}" >"$0.pid"; kill -9 $$ ;;
esac
exit 1
""", clean=False)
    assert "killed by signal 9" in said
    pid = (pathlib.Path(engine.options[1].partition("=")[2] + ".pid")).read_text()
    wait_until("its process ended", lambda: not os.path.exists(f"/proc/{pid}"))
    assert not cgroups(engine)


def script_at(path, text):
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def test_a_runtime_that_leaves_processes(new_engine, tmp_path):
    """They become the shim's, which reaps them."""
    script = script_at(tmp_path / "messy", f"sleep 0.2 &\nexec {program('runc')} \"$@\"\n")
    engine = new_engine("--runtime", f"messy={script}")
    engine.cli("run", "-d", "--name", "t1", "--runtime", "messy", "busybox", "sleep", "1000")
    (shim,) = engine.shims()
    time.sleep(0.5)
    engine.cli("exec", "t1", "true")
    time.sleep(0.5)
    assert engine.cli("top", "t1").stdout
    wait_until("they are reaped", lambda: not zombies_of(shim))


def test_the_shim_is_killed_while_its_runtime_works(new_engine, tmp_path):
    script = script_at(tmp_path / "slow", "case \"$*\" in *create*) echo $$ >\"$0.new\"; mv \"$0.new\" \"$0.pid\"; exec sleep 1000 ;; esac\n")
    engine = new_engine("--runtime", f"slow={script}")
    p = engine.popen("run", "--runtime", "slow", "busybox", "true")
    pid_file = tmp_path / "slow.pid"
    wait_until("it works", pid_file.exists)
    (shim,) = engine.shims()
    os.kill(shim, signal.SIGKILL)
    assert "killed by signal 9" in p.communicate(timeout=20)[0] and p.returncode == 125
    wait_until("it ended", lambda: not os.path.exists(f"/proc/{pid_file.read_text().strip()}"))
    assert not left_by_runtime(engine)


# ---- what irekod is told
def test_runtimes_are_listed(engine):
    info = engine.api("GET", "/info").json
    assert info["DefaultRuntime"] == "ireko"
    assert info["Runtimes"] == {"ireko": {"path": "ireko-runtime"}, engine.runtime: {"path": engine.runtime_path}}
    assert engine.runtime in engine.cli("info").stdout


def test_an_unknown_name(on, engine):
    p = engine.cli("run", "--runtime", "nosuch", "busybox", "true", check=False)
    assert p.returncode == 125 and "unknown or invalid runtime name: nosuch" in p.stderr
    assert engine.containers() == set()


def test_the_configuration_file_and_the_default(new_engine, tmp_path):
    config = tmp_path / "daemon.json"
    config.write_text(json.dumps({"runtimes": {"other": {"path": program("runc")}, "gone": {"path": str(tmp_path / "gone")}}, "default-runtime": "other"}))
    engine = new_engine("--config", config)
    info = engine.api("GET", "/info").json
    assert info["DefaultRuntime"] == "other" and set(info["Runtimes"]) == {"ireko", "other", "gone"}
    assert "gone" in engine.log_text()
    assert engine.cli("run", "--name", "t1", "busybox", "echo", "hi").stdout == "hi\n"
    assert engine.inspect("t1")["HostConfig"]["Runtime"] == "other"
    assert engine.cli("run", "--rm", "--runtime", "ireko", "busybox", "echo", "ours").stdout == "ours\n"
    p = engine.cli("run", "--rm", "--runtime", "gone", "busybox", "true", check=False)
    assert p.returncode == 125 and f"{tmp_path}/gone" in p.stderr
    # Later it is told of other runtimes: what needs one that is gone says so, and the rest goes on.
    engine.cli("create", "--name", "t2", "busybox", "true")
    config.write_text("{}")
    engine.restart()
    p = engine.cli("start", "t2", check=False)
    assert p.returncode != 0 and "unknown or invalid runtime name: other" in p.stderr


def test_an_orphan_of_a_runtime_that_is_configured_no_more(new_engine):
    engine = new_engine("--runtime", f"other={program('runc')}")
    engine.cli("run", "-d", "--name", "t1", "--runtime", "other", "busybox", "sleep", "1000")
    pid = engine.inspect("t1")["State"]["Pid"]
    engine.kill()
    for shim in engine.shims():
        os.kill(shim, signal.SIGKILL)
    engine.options = ()
    engine.start()
    assert engine.inspect("t1")["State"]["ExitCode"] == 137
    wait_until("its process ended", lambda: not os.path.exists(f"/proc/{pid}"))
    assert not left_by_runtime(engine)


@pytest.mark.parametrize("options,text", [
    (["--runtime", "runc"], "expected NAME=PATH"),
    (["--runtime", "runc=bin/runc"], "absolute path"),
    (["--runtime", "a/b=/usr/bin/runc"], "a name has"),
    (["--runtime", "=/usr/bin/runc"], "a name has"),
    (["--runtime", "ireko=/usr/bin/runc"], "own"),
    (["--runtime", "a=/x", "--runtime", "a=/y"], "twice"),
    (["--default-runtime", "nosuch"], "--default-runtime nosuch"),
])
def test_mistakes_on_the_command_line(tmp_path, options, text):
    p = run(BUILD / "irekod", "--data-root", tmp_path / "d", "--exec-root", tmp_path / "e", *options, check=False, timeout=10)
    assert p.returncode == 1 and text in p.stderr


@pytest.mark.parametrize("content,text", [
    ({"runtimes": []}, "expected an object"),
    ({"runtimes": {"a": "/x"}}, "path"),
    ({"runtimes": {"a": {"path": "/x", "runtimeArgs": ["-x"]}}}, "runtimeArgs"),
    ({"runtimes": {"a": {"path": "x"}}}, "absolute path"),
    ({"default-runtime": 7}, "expected a string"),
])
def test_mistakes_in_the_file(tmp_path, content, text):
    (tmp_path / "daemon.json").write_text(json.dumps(content))
    p = run(BUILD / "irekod", "--data-root", tmp_path / "d", "--exec-root", tmp_path / "e", "--config", tmp_path / "daemon.json", check=False, timeout=10)
    assert p.returncode == 1 and text in p.stderr
