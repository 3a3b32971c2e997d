# SPDX-License-Identifier: Apache-2.0
"""The life of a container from the command line: every verb once with ours and once with the docker CLI."""
import json
import os
import re
import signal
import time

import pytest

from harness import free_port, tcp_ask, wait_until


# ---- run in the foreground
def test_run_prints_and_returns_the_exit_status(cli):
    p = cli("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (p.stdout, p.stderr, p.returncode) == ("out\n", "err\n", 7)


def test_run_uses_the_image_command(cli):
    assert cli.out("run", "--rm", "-i", "busybox", input="echo from-stdin\n") == "from-stdin"


def test_run_killed_by_signal_returns_128_plus_its_number(cli):
    assert cli("run", "--rm", "busybox", "sh", "-c", "kill -TERM $$", check=False).returncode in (143, 0)
    assert cli("run", "--rm", "busybox", "sh", "-c", "sh -c 'kill -9 $$'; exit $?", check=False).returncode == 137


def test_run_passes_binary_input_through(cli):
    data = bytes(range(256)) * 4096
    p = cli("run", "--rm", "-i", "busybox", "sha256sum", input=data, text=False)
    import hashlib

    assert p.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_run_large_output_is_complete(cli):
    assert cli.out("run", "--rm", "busybox", "seq", "1", "200000").splitlines() == [str(i) for i in range(1, 200001)]


def test_rm_removes_it_with_its_anonymous_volumes(cli, engine):
    volumes = lambda: {v["Name"] for v in engine.api("GET", "/volumes").json["Volumes"] or []}  # noqa: E731
    before = volumes()
    cli("run", "--rm", "-v", "/data", "busybox", "true")
    wait_until("it is gone", lambda: not engine.containers())
    assert volumes() <= before


def test_without_rm_it_stays(cli, engine, name):
    cli("run", "--name", name, "busybox", "true")
    assert engine.inspect(name)["State"]["Status"] == "exited"


def test_environment_working_directory_user_hostname(cli):
    out = cli.out("run", "--rm", "-e", "A=1 2", "-e", "B=名前", "-w", "/home/user", "-u", "user:2000", "--hostname", "box", "busybox",
                  "sh", "-c", 'echo "$A|$B|$HOME"; pwd; id -u; id -g; hostname; cat /etc/hostname')
    assert out.splitlines() == ["1 2|名前|/home/user", "/home/user", "1000", "2000", "box", "box"]


def test_working_directory_is_made(cli):
    assert cli.out("run", "--rm", "-w", "/new/ 名前", "busybox", "pwd") == "/new/ 名前"


def test_entrypoint_option(cli):
    assert cli.out("run", "--rm", "--entrypoint", "echo", "busybox", "a", "b") == "a b"


def test_env_file(cli, folder):
    (folder / "env 一").write_text("# comment\nONE=1\nTWO=a b\n")
    assert cli.out("run", "--rm", "--env-file", folder / "env 一", "busybox", "sh", "-c", 'echo "$ONE,$TWO"') == "1,a b"


# ---- terminals
def test_run_it_on_a_terminal(cli):
    with cli.pty("run", "--rm", "-it", "busybox", "sh", rows=33, columns=111) as t:
        t.expect(r"/ # ")
        t.send("stty size\n")
        t.expect(r"33 111\r\n")
        t.send("tty; echo done-$((40+2))\n")
        t.expect(r"/dev/pts/0\r\n")
        t.expect(r"done-42")
        t.send("exit 5\n")
        assert t.wait() == 5


def test_terminal_resizes_while_it_runs(cli):
    with cli.pty("run", "--rm", "-it", "busybox", "sh") as t:
        t.expect(r"/ # ")
        t.resize(40, 132)
        for _ in range(50):
            # Again and again: docker's own client installs its handler some time after the prompt.
            t.p.send_signal(signal.SIGWINCH)
            t.send("stty size\n")
            if t.expect(r"(\d+ \d+)\r\n").group(1) == "40 132":
                break
            time.sleep(0.1)
        else:
            pytest.fail("the size never became 40 132")
        t.send("exit\n")
        assert t.wait() == 0


def test_ctrl_c_interrupts_the_program_inside(cli, engine, name):
    with cli.pty("run", "--rm", "-it", "--name", name, "busybox", "sh") as t:
        t.expect(r"/ # ")
        t.send("sleep 1000\n")
        wait_until("the program runs", lambda: "sleep 1000" in str(engine.api("GET", f"/containers/{name}/top").json["Processes"]))
        t.send("\x03")
        t.expect(r"/ # ")
        t.send("echo $?; exit\n")
        t.expect(r"130\r\n")
        t.wait()


def test_detach_keys_leave_it_running(cli, engine, name):
    with cli.pty("run", "-it", "--name", name, "busybox", "sh") as t:
        t.expect(r"/ # ")
        t.send("\x10\x11")
        t.wait()
    assert engine.inspect(name)["State"]["Running"]
    with cli.pty("attach", name) as t:
        t.send("\n")
        t.expect(r"/ # ")
        t.send("exit 3\n")
        assert t.wait() == 3


# ---- detached
def test_detached_logs_wait(cli, name):
    identity = cli.out("run", "-d", "--name", name, "busybox", "sh", "-c", "echo one; echo two >&2; sleep 0.2; exit 9")
    assert re.fullmatch(r"[0-9a-f]{64}", identity)
    assert cli.out("wait", name) == "9"
    p = cli("logs", name)
    assert (p.stdout, p.stderr) == ("one\n", "two\n")


def test_logs_follow_until_the_end(cli, name):
    cli("run", "-d", "--name", name, "busybox", "sh", "-c", "for i in 1 2 3; do echo line $i; sleep 0.3; done")
    start = time.monotonic()
    assert cli.out("logs", "-f", name).splitlines() == ["line 1", "line 2", "line 3"]
    assert time.monotonic() - start > 0.3


def test_logs_tail_since_timestamps(cli, name):
    cli("run", "--name", name, "busybox", "seq", "1", "100")
    assert cli.out("logs", "--tail", "2", name).splitlines() == ["99", "100"]
    assert cli.out("logs", "--since", "1h", name).count("\n") == 99
    assert cli.out("logs", "--until", "2001-01-01T00:00:00", name) == ""
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z 100$", cli.out("logs", "-t", "--tail", "1", name))


def test_ps_columns(cli, name):
    cli("run", "-d", "--name", name, "busybox", "sleep", "1000")
    header, row = cli.out("ps").splitlines()
    assert re.split(r"\s{2,}", header) == ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    cells = re.split(r"\s{2,}", row)
    assert re.fullmatch(r"[0-9a-f]{12}", cells[0]) and cells[1] == "busybox" and cells[2] == '"sleep 1000"' and cells[-1] == name
    assert cells[4].startswith("Up ")
    cli("stop", "-t", "0", name)
    assert name not in cli.out("ps")
    assert re.search(r"Exited \(137\)", cli.out("ps", "-a"))


def test_ps_formats_and_filters(cli, name):
    cli("run", "-d", "--name", name, "--label", "colour=blue", "busybox", "sleep", "1000")
    assert cli.out("ps", "--format", "{{.Names}}|{{.Image}}|{{.State}}") == f"{name}|busybox|running"
    assert json.loads(cli.out("ps", "--format", "json"))["Names"] == name
    assert len(cli.out("ps", "-q", "--no-trunc")) == 64
    assert cli.out("ps", "-q", "--filter", "label=colour=red") == ""
    assert cli.out("ps", "-q", "--filter", f"name={name}") != ""
    assert cli.out("ps", "-aq", "--filter", "status=exited") == ""


# ---- exec
def test_exec(cli, name):
    cli("run", "-d", "--name", name, "-e", "A=image", "busybox", "sleep", "1000")
    p = cli("exec", "-e", "B=2", "-w", "/tmp", "-u", "user", name, "sh", "-c", 'echo "$A $B"; pwd; id -un; echo bad >&2; exit 4', check=False)
    assert (p.stdout, p.stderr, p.returncode) == ("image 2\n/tmp\nuser\n", "bad\n", 4)
    assert cli.out("exec", "-i", name, "cat", input="through\n") == "through"


def test_exec_it(cli, name):
    cli("run", "-d", "--name", name, "busybox", "sleep", "1000")
    with cli.pty("exec", "-it", name, "sh", rows=21, columns=77) as t:
        t.expect(r"/ # ")
        t.send("stty size; exit 6\n")
        t.expect(r"21 77\r\n")
        assert t.wait() == 6


def test_exec_detached(cli, name):
    cli("run", "-d", "--name", name, "busybox", "sleep", "1000")
    cli("exec", "-d", name, "sh", "-c", "echo x > /tmp/made")
    wait_until("the file is made", lambda: cli("exec", name, "test", "-e", "/tmp/made", check=False).returncode == 0)


# ---- signals and ends
def test_stop_asks_first_and_kills_then(cli, engine, name):
    cli("run", "-d", "--name", name, "busybox", "sh", "-c", "trap 'echo asked; exit 3' TERM; echo ready; while :; do sleep 0.1; done")
    wait_until("it heeds signals", lambda: cli.out("logs", name) == "ready")
    assert cli.out("stop", name) == name
    assert engine.inspect(name)["State"]["ExitCode"] == 3
    assert cli.out("logs", name) == "ready\nasked"
    cli("start", name)
    cli("kill", name)
    wait_until("it has ended", lambda: not engine.inspect(name)["State"]["Running"])
    assert engine.inspect(name)["State"]["ExitCode"] == 137


def test_stop_waits_no_longer_than_told(cli, engine, name):
    cli("run", "-d", "--name", name, "busybox", "sleep", "1000")
    start = time.monotonic()
    cli("stop", "-t", "1", name)
    assert 0.9 < time.monotonic() - start < 9  # ten without it
    assert engine.inspect(name)["State"]["ExitCode"] == 137


def test_kill_with_signal(cli, name):
    cli("run", "-d", "--name", name, "busybox", "sh", "-c", "trap 'echo usr1' USR1; echo ready; while :; do sleep 0.1; done")
    wait_until("it heeds signals", lambda: cli.out("logs", name) == "ready")
    cli("kill", "-s", "USR1", name)
    wait_until("it heard", lambda: "usr1" in cli.out("logs", name))


def test_client_forwards_signals(cli, name):
    p = cli.popen("run", "--name", name, "busybox", "sh", "-c", "trap 'exit 12' TERM; echo ready; while :; do sleep 0.1; done")
    assert p.stdout.readline() == "ready\n"
    p.terminate()
    assert p.wait(timeout=15) == 12


def test_restart_and_pause(cli, engine, name):
    cli("run", "-d", "--name", name, "busybox", "sh", "-c", "echo started; sleep 1000")
    first = engine.inspect(name)["State"]["Pid"]
    wait_until("it has printed", lambda: cli.out("logs", name).splitlines() == ["started"])
    cli("restart", "-t", "0", name)
    assert engine.inspect(name)["State"]["Pid"] != first
    wait_until("it has printed again", lambda: cli.out("logs", name).splitlines() == ["started", "started"])
    cli("pause", name)
    assert "(Paused)" in cli.out("ps")
    cli("unpause", name)
    assert engine.inspect(name)["State"]["Status"] == "running"


def test_rm(cli, engine, name):
    cli("run", "-d", "--name", name, "busybox", "sleep", "1000")
    assert "stop" in cli.fails("rm", name).lower()
    assert cli.out("rm", "-f", name) == name
    assert name not in engine.containers()
    assert "No such container" in cli.fails("inspect", "--type", "container", name)


def test_create_start_attach(cli, name):
    cli("create", "--name", name, "-i", "busybox", "cat")
    p = cli("start", "-ai", name, input="hello\n")
    assert p.stdout == "hello\n"


def test_rename_top_port_diff(cli, name):
    port = free_port()
    cli("run", "-d", "--name", name, "-p", f"{port}:80", "busybox", "sh", "-c", "touch /new-file; rm /etc/group; sleep 1000")
    wait_until("the command has run", lambda: "D /etc/group" in cli.out("diff", name))
    assert {"A /new-file", "C /etc", "D /etc/group"} <= set(cli.out("diff", name).splitlines())
    assert f"0.0.0.0:{port}" in cli.out("port", name)
    assert "sleep 1000" in cli.out("top", name)
    cli("rename", name, name + "x")
    assert cli.out("ps", "--format", "{{.Names}}") == name + "x"


def test_inspect(cli, name):
    cli("run", "-d", "--name", name, "-m", "64m", "--cpus", "0.5", "busybox", "sleep", "1000")
    j = json.loads(cli.out("inspect", name))[0]
    assert j["Name"] == "/" + name and j["State"]["Running"] and j["HostConfig"]["Memory"] == 64 << 20 and j["HostConfig"]["NanoCpus"] == 500000000
    assert cli.out("inspect", "-f", "{{.State.Status}} {{json .Config.Cmd}}", name) == 'running ["sleep","1000"]'


def test_update_changes_limits(cli, engine, name):
    cli("run", "-d", "--name", name, "busybox", "sleep", "1000")
    cli("update", "-m", "96m", "--memory-swap", "96m", name)
    assert engine.inspect(name)["HostConfig"]["Memory"] == 96 << 20


# ---- limits hold
def test_memory_limit_kills(cli, engine, name):
    p = cli("run", "--name", name, "-m", "16m", "--memory-swap", "16m", "busybox", "sh", "-c", "dd if=/dev/zero of=/dev/null bs=64M count=1", check=False)
    assert p.returncode in (137, 1), p
    assert engine.inspect(name)["State"]["OOMKilled"]


def test_pids_limit(cli):
    p = cli("run", "--rm", "--pids-limit", "8", "busybox", "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1 & done; wait", check=False)
    assert "fork" in p.stderr


# ---- mounts
def test_bind_mount_with_blanks_and_non_ascii_names(cli, folder):
    source = folder / "私の 名前"
    source.mkdir()
    (source / "in 一.txt").write_text("hello")
    assert cli.out("run", "--rm", "-v", f"{source}:/src", "-w", "/src", "busybox", "sh", "-c", "cat 'in 一.txt'; echo back > 'out 二.txt'") == "hello"
    assert (source / "out 二.txt").read_text() == "back\n"


def test_read_only_bind(cli, folder):
    p = cli("run", "--rm", "-v", f"{folder}:/src:ro", "busybox", "touch", "/src/x", check=False)
    assert p.returncode != 0 and "Read-only" in p.stderr and not (folder / "x").exists()


def test_mount_option_and_tmpfs_and_read_only_root(cli, folder):
    out = cli.out("run", "--rm", "--read-only", "--tmpfs", "/scratch:size=1m", "--mount", f"type=bind,source={folder},target=/src", "busybox", "sh", "-c",
                  "touch /x 2>/dev/null || echo read-only; touch /scratch/a /src/b && echo fine; df -k /scratch | tail -1 | awk '{print $2}'")
    assert out.splitlines() == ["read-only", "fine", "1024"]
    assert (folder / "b").exists()


def test_named_volume_keeps_data_and_copies_up(cli, name):
    cli("volume", "create", name)
    cli("run", "--rm", "-v", f"{name}:/etc", "busybox", "sh", "-c", "echo kept > /etc/mine")
    assert cli.out("run", "--rm", "-v", f"{name}:/data", "busybox", "sh", "-c", "cat /data/mine; head -c 4 /data/passwd") == "kept\nroot"
    assert name in cli.out("volume", "ls", "-q")
    cli("volume", "rm", name)
    assert name not in cli.out("volume", "ls", "-q")


# ---- what surrounds a process inside
def test_default_confinement(cli):
    out = cli.out("run", "--rm", "busybox", "sh", "-c",
                  "grep -E '^(CapEff|CapBnd|Seccomp|NoNewPrivs):' /proc/self/status; cat /proc/1/comm; ls /proc/kcore -l | cut -c1; mount -t tmpfs x /tmp 2>&1; "
                  "(echo 1 > /proc/sys/kernel/panic) 2>&1; wc -c < /proc/keys 2>/dev/null || echo masked")
    assert re.search(r"CapEff:\s+00000000a80425fb", out) and re.search(r"CapBnd:\s+00000000a80425fb", out)
    assert re.search(r"Seccomp:\s+2", out)
    assert "ermission denied" in out or "not permitted" in out
    assert "Read-only" in out


def test_privileged_has_more(cli):
    out = cli.out("run", "--rm", "--privileged", "busybox", "sh", "-c", "grep CapEff /proc/self/status; mount -t tmpfs x /tmp && echo mounted")
    assert "mounted" in out and "a80425fb" not in out


def test_cap_drop_add(cli):
    out = cli.out("run", "--rm", "--cap-drop", "ALL", "--cap-add", "CHOWN", "busybox", "grep", "CapEff", "/proc/self/status")
    assert int(out.split()[1], 16) == 1


def test_only_its_own_processes_and_mounts(cli):
    out = cli.out("run", "--rm", "busybox", "sh", "-c", "ps -o pid | wc -l; echo $(ls /dev); ls -l /proc/self/fd | wc -l")
    lines = out.splitlines()
    assert int(lines[0]) <= 5
    for device in ("null", "zero", "full", "random", "urandom", "tty", "pts", "shm", "mqueue", "ptmx", "stdin", "fd"):
        assert device in lines[1].split()
    assert int(lines[2]) <= 6  # total, 0, 1, 2 and the one of ls itself: nothing of the shim's gets in


def test_init_reaps(cli, engine, name):
    cli("run", "-d", "--name", name, "busybox", "sh", "-c", "sh -c 'sleep 0.1 & exec sleep 0.2'; sleep 1000")
    assert engine.inspect(name)["State"]["Running"]


def test_ulimit_sysctl_shm(cli):
    out = cli.out("run", "--rm", "--ulimit", "nofile=123:456", "--sysctl", "net.ipv4.ip_unprivileged_port_start=77", "--shm-size", "2m", "busybox",
                  "sh", "-c", "ulimit -n; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; df -k /dev/shm | tail -1 | awk '{print $2}'")
    assert out.splitlines() == ["123", "77", "2048"]


def test_restart_policy(cli, engine, name):
    cli("run", "-d", "--name", name, "--restart", "on-failure:2", "busybox", "sh", "-c", "echo try; exit 1")
    wait_until("it gives up", lambda: engine.inspect(name)["State"]["Status"] == "exited" and engine.inspect(name)["RestartCount"] == 2, seconds=30)
    assert cli.out("logs", name).splitlines() == ["try"] * 3


# ---- many at once
def test_sixteen_in_parallel(cli):
    ps = [cli.popen("run", "--rm", "busybox", "sh", "-c", f"echo {i}; exit {i}") for i in range(16)]
    assert [(p.communicate(timeout=60)[0], p.returncode) for p in ps] == [(f"{i}\n", i) for i in range(16)]


def test_published_port_answers(cli, name):
    port = free_port()
    cli("run", "-d", "--name", name, "-p", f"{port}:8080", "busybox", "sh", "-c", "mkdir /www; echo served > /www/index.html; httpd -f -p 8080 -h /www")
    assert b"served" in tcp_ask("127.0.0.1", port, b"GET / HTTP/1.0\r\n\r\n")


def test_id_prefix_names_it(cli):
    identity = cli.out("run", "-d", "busybox", "sleep", "1000")
    assert cli.out("inspect", "-f", "{{.Id}}", identity[:12]) == identity
    assert cli.out("stop", "-t", "0", identity[:5]) == identity[:5]


def test_a_made_up_name_is_given(cli, engine):
    cli("run", "-d", "busybox", "sleep", "1000")
    assert re.fullmatch(r"[a-z]+_[a-z0-9]+", engine.containers().pop())


def test_host_files_are_not_reached_by_links(cli, folder, engine, name):
    """A volume whose image path is a link to / must land in the container, not on the host."""
    marker = folder / "marker"
    cli("run", "--name", name, "busybox", "sh", "-c", "ln -s / /escape")
    cli("commit", name, name)
    cli("run", "--rm", "-v", f"{folder}:/escape/mnt", name, "sh", "-c", "echo inside > /mnt/marker")
    assert marker.read_text() == "inside\n"
    assert not os.path.exists("/marker")
    cli("rmi", name)


def test_an_exec_has_the_limits_of_its_container(cli, name):
    cli("run", "-d", "--name", name, "--ulimit", "nofile=123:456", "--oom-score-adj", "321", "busybox", "sleep", "1000")
    assert cli.out("exec", name, "sh", "-c", "ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj") == "123\n456\n321"
