# SPDX-License-Identifier: Apache-2.0
"""A container's life: restart policies, stop and kill, what waits, its init, its end and what is told of it."""
import contextlib
import json
import os
import pathlib
import signal
import socket
import time
import urllib.parse

import pytest

from harness import UnixConnection, free_port, wait_until


def create(engine, name, *cmd, **body):
    host = body.pop("HostConfig", {})
    reply = engine.api("POST", f"/containers/create?name={name}", {"Image": "busybox", "Cmd": list(cmd), "HostConfig": host, **body})
    assert reply.status == 201, reply.body
    return reply.json["Id"]


def start(engine, name, *cmd, **body):
    cid = create(engine, name, *cmd, **body)
    reply = engine.api("POST", f"/containers/{name}/start")
    assert reply.status == 204, reply.body
    return cid


def post(engine, path, status=204):
    reply = engine.api("POST", path)
    assert reply.status == status, (path, reply.status, reply.body)
    return reply


def state(engine, name):
    return engine.inspect(name)["State"]


def events(engine, cid):
    """What has been told of a container so far: its actions and attributes, in order."""
    filters = urllib.parse.quote(json.dumps({"container": [cid], "type": ["container"]}))
    reply = engine.api("GET", f"/events?since=1&until={time.time():.9f}&filters={filters}")
    return [(e["Action"], e["Actor"]["Attributes"]) for e in reply.lines]


def actions(engine, cid):
    return [a for a, _ in events(engine, cid)]


# ---- restart policies

def test_on_failure_counts_and_backs_off(engine, name):
    """A busy machine may make any of the times longer, but not each time."""
    assert any(backs_off(engine, f"{name}{k}") for k in range(4))


def backs_off(engine, name):
    """Whether the last of its three times was the longer one."""
    cid = start(engine, name, "sh", "-c", "exit 7", HostConfig={"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}})
    wait_until("it is given up", lambda: state(engine, name)["Status"] == "exited")
    i = engine.inspect(name)
    assert i["RestartCount"] == 3 and i["State"]["ExitCode"] == 7 and not i["State"]["Running"]
    told = [a for a in actions(engine, cid) if a in ("start", "die", "restart", "stop")]
    assert told == ["start", "die"] * 4
    # 100, 200 and 400 ms
    filters = urllib.parse.quote(json.dumps({"container": [cid], "type": ["container"], "event": ["start", "die"]}))
    lines = engine.api("GET", f"/events?since=1&until={time.time():.9f}&filters={filters}").lines
    gaps = [(lines[k + 1]["timeNano"] - lines[k]["timeNano"]) / 1e9 for k in (1, 3, 5)]
    assert [g >= least for g, least in zip(gaps, (0.09, 0.19, 0.39))] == [True] * 3, gaps
    return gaps[0] < gaps[2]


def test_on_failure_leaves_success_alone(engine, name):
    start(engine, name, "true", HostConfig={"RestartPolicy": {"Name": "on-failure"}})
    wait_until("it has ended", lambda: state(engine, name)["Status"] == "exited")
    assert engine.inspect(name)["RestartCount"] == 0


def restarting(engine, name, times=4):
    """A container that always fails, caught in a back-off that is long enough to look at."""
    cid = start(engine, name, "false", HostConfig={"RestartPolicy": {"Name": "always"}})
    wait_until("it is in a long back-off", lambda: engine.inspect(name)["RestartCount"] >= times and state(engine, name)["Status"] == "restarting")
    return cid


def test_restarting_is_shown_and_stopped(engine, name):
    cid = restarting(engine, name)
    s = state(engine, name)
    assert s["Running"] and s["Restarting"] and s["Pid"] == 0 and s["ExitCode"] == 1
    shown = engine.api("GET", f"/containers/json?filters={urllib.parse.quote(json.dumps({'name': [name]}))}").json[0]
    assert shown["State"] == "restarting" and shown["Status"].startswith("Restarting (1) ")
    for path in ("exec", "pause", "attach?stream=1"):
        reply = engine.api("POST", f"/containers/{name}/{path}", {"Cmd": ["true"]} if path == "exec" else None)
        assert reply.status == 409 and "is restarting, wait until the container is running" in reply.message, (path, reply.body)
    post(engine, f"/containers/{name}/start", 304)
    before = len(actions(engine, cid))
    post(engine, f"/containers/{name}/stop")
    assert state(engine, name)["Status"] == "exited" and not state(engine, name)["Running"]
    assert actions(engine, cid)[before:] == ["stop"]
    count = engine.inspect(name)["RestartCount"]
    time.sleep(1.7)
    assert state(engine, name)["Status"] == "exited" and engine.inspect(name)["RestartCount"] == count
    # A start by hand counts anew, and its policy holds again.
    post(engine, f"/containers/{name}/start")
    wait_until("it is restarted", lambda: 1 <= engine.inspect(name)["RestartCount"] < count)


def test_restarting_is_removed_by_force_only(engine, name):
    cid = restarting(engine, name)
    reply = engine.api("DELETE", f"/containers/{name}")
    assert reply.status == 409 and "container is restarting: stop the container before removing or force remove" in reply.message
    before = len(actions(engine, cid))
    assert engine.api("DELETE", f"/containers/{name}?force=1").status == 204
    assert actions(engine, cid)[before:] == ["destroy"]


def test_kill_and_update_end_a_back_off(engine, name):
    restarting(engine, name)
    reply = engine.api("POST", f"/containers/{name}/kill?signal=HUP")
    assert reply.status == 409 and "is restarting" in reply.message
    post(engine, f"/containers/{name}/kill")
    assert state(engine, name)["Status"] == "exited"
    post(engine, f"/containers/{name}/start")
    reply = engine.api("POST", f"/containers/{name}/update", {"RestartPolicy": {"Name": "no"}})
    assert reply.status == 200
    wait_until("it stays ended", lambda: state(engine, name)["Status"] == "exited")


def sleeps(engine, name):
    """Its command runs: its pid is known a moment earlier."""
    pid = state(engine, name)["Pid"]
    with contextlib.suppress(OSError):
        return pid and pathlib.Path(f"/proc/{pid}/comm").read_text() == "sleep\n"
    return False


def test_a_restart_that_fails_is_tried_again(engine, name):
    """Its port is taken while it is in its back-off, and free again later."""
    port = free_port()
    start(engine, name, "sleep", "1000", ExposedPorts={"80/tcp": {}},
          HostConfig={"RestartPolicy": {"Name": "always"}, "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]}})
    os.kill(state(engine, name)["Pid"], signal.SIGKILL)
    wait_until("it is seen", lambda: state(engine, name)["Status"] == "restarting")
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", port))
        s.listen()
        wait_until("it fails twice", lambda: engine.inspect(name)["RestartCount"] >= 3)
        assert state(engine, name)["Status"] == "restarting" and str(port) in state(engine, name)["Error"]
    wait_until("it runs", lambda: state(engine, name)["Status"] == "running")
    assert state(engine, name)["Error"] == ""
    # What cannot become better is not tried again.
    engine.cli("exec", name, "rm", "/bin/sleep")
    os.kill(state(engine, name)["Pid"], signal.SIGKILL)
    wait_until("it is given up", lambda: state(engine, name)["Status"] == "exited")
    assert state(engine, name)["ExitCode"] == 127 and "sleep" in state(engine, name)["Error"]


def test_a_container_waits_for_the_one_it_joins(engine, name):
    """Both are killed; the first is longer in its back-off than the one that needs it."""
    always = {"RestartPolicy": {"Name": "always"}}
    start(engine, name, "sleep", "1000", HostConfig=always)
    start(engine, name + "b", "sleep", "1000", HostConfig={**always, "NetworkMode": f"container:{name}"})
    for k in (1, 2):
        os.kill(state(engine, name)["Pid"], signal.SIGKILL)
        wait_until("it runs again", lambda n=k: engine.inspect(name)["RestartCount"] == n and sleeps(engine, name))
    pids = [state(engine, n)["Pid"] for n in (name, name + "b")]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until("both run", lambda: all(state(engine, n)["Status"] == "running" and state(engine, n)["Pid"] not in pids for n in (name, name + "b")))
    assert engine.inspect(name)["RestartCount"] == 3
    assert os.readlink(f"/proc/{state(engine, name)['Pid']}/ns/net") == os.readlink(f"/proc/{state(engine, name + 'b')['Pid']}/ns/net")


def test_killed_by_hand_is_not_restarted(engine, name):
    start(engine, name, "sleep", "1000", HostConfig={"RestartPolicy": {"Name": "always"}})
    post(engine, f"/containers/{name}/kill")
    assert state(engine, name)["Status"] == "exited" and state(engine, name)["ExitCode"] == 137
    # Killed from outside, it is.
    post(engine, f"/containers/{name}/start")
    os.kill(state(engine, name)["Pid"], signal.SIGKILL)
    wait_until("it runs again", lambda: engine.inspect(name)["RestartCount"] == 1 and state(engine, name)["Status"] == "running")


@pytest.mark.parametrize("policy, says", [
    ({"Name": "sometimes"}, "invalid restart policy: unknown policy 'sometimes'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"),
    ({"Name": "always", "MaximumRetryCount": 2}, "invalid restart policy: maximum retry count can only be used with 'on-failure'"),
    ({"Name": "on-failure", "MaximumRetryCount": -1}, "invalid restart policy: maximum retry count cannot be negative"),
])
def test_policies_that_are_refused(engine, name, policy, says):
    for auto_remove in (False, True):
        reply = engine.api("POST", f"/containers/create?name={name}", {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"RestartPolicy": policy, "AutoRemove": auto_remove}})
        assert reply.status == 400 and says in reply.message, reply.body
    create(engine, name, "true")
    reply = engine.api("POST", f"/containers/{name}/update", {"RestartPolicy": policy})
    assert reply.status == 400 and says in reply.message, reply.body


def test_auto_remove_excludes_a_policy(engine, name):
    reply = engine.api("POST", f"/containers/create?name={name}", {"Image": "busybox", "HostConfig": {"RestartPolicy": {"Name": "always"}, "AutoRemove": True}})
    assert reply.status == 400 and "can't create 'AutoRemove' container with restart policy" in reply.message


# ---- stop, kill, wait

def test_stop_takes_no_longer_than_the_container(engine, name):
    """The best of some: what stop adds to the container's own end is a few milliseconds."""
    best, k = 1, 0
    start(engine, name, "sh", "-c", "trap 'exit 3' TERM; echo up; while :; do sleep 0.001; done")
    while best >= 0.1 and k < 20:
        k += 1
        wait_until("it heeds signals", lambda n=k: engine.api("GET", f"/containers/{name}/logs?stdout=1").body.count(b"up") == n)
        before = time.monotonic()
        post(engine, f"/containers/{name}/stop")
        best = min(best, time.monotonic() - before)
        assert state(engine, name)["ExitCode"] == 3
        post(engine, f"/containers/{name}/start")
    assert best < 0.1
    post(engine, f"/containers/{name}/stop?t=0")
    post(engine, f"/containers/{name}/stop", 304)


@pytest.mark.parametrize("config, query, code, signals", [
    ({}, "?t=0", 137, ["15", "9"]),
    ({"StopTimeout": 0}, "", 137, ["15", "9"]),
    ({"StopSignal": "SIGUSR1"}, "", 10, ["10"]),
    ({"StopSignal": "SIGUSR1"}, "?signal=USR2", 12, ["12"]),
    ({"StopSignal": "RTMIN+2"}, "", 36, ["36"]),
    ({"StopTimeout": -1, "StopSignal": "USR1"}, "", 10, ["10"]),
])
def test_stop_signals_and_times(engine, name, config, query, code, signals):
    script = "trap '' TERM; trap 'exit 10' USR1; trap 'exit 12' USR2; trap 'exit 36' 36; echo up; while :; do sleep 0.01; done"
    cid = start(engine, name, "sh", "-c", script, **config)
    wait_until("it is up", lambda: b"up" in engine.api("GET", f"/containers/{name}/logs?stdout=1").body)
    post(engine, f"/containers/{name}/stop{query}")
    assert state(engine, name)["ExitCode"] == code
    told = events(engine, cid)
    assert [x["signal"] for a, x in told if a == "kill"] == signals
    assert [a for a, _ in told][-2:] == ["die", "stop"]
    die = next(x for a, x in told if a == "die")
    assert die["exitCode"] == str(code) and die["execDuration"].isdigit()
    assert engine.inspect(name)["Config"].get("StopTimeout") == config.get("StopTimeout")


def test_a_container_that_ends_meanwhile(engine, name):
    """Stop, kill and rm -f at the moment of its own end: it has ended, and that is what was wanted."""
    for k in range(30):
        path = ("stop", "kill", "rm")[k % 3]
        start(engine, name, "sleep", "1000")
        os.kill(state(engine, name)["Pid"], signal.SIGKILL)
        if path != "rm":
            reply = engine.api("POST", f"/containers/{name}/{path}")
            assert reply.status in (204, 304) or (path == "kill" and reply.status == 409 and "is not running" in reply.message), (k, reply.body)
        assert engine.api("DELETE", f"/containers/{name}?force=1").status == 204


def test_stop_and_kill_of_a_paused_container(engine, name):
    """A frozen process does not work off a signal: it is thawed for one that is to end it."""
    for path, code in (("stop?t=30", 3), ("kill", 137), ("kill?signal=TERM", 3)):
        cid = start(engine, name, "sh", "-c", "trap 'exit 3' TERM; echo up; while :; do sleep 0.01; done")
        wait_until("it is up", lambda: b"up" in engine.api("GET", f"/containers/{name}/logs?stdout=1").body)
        post(engine, f"/containers/{name}/pause")
        before = time.monotonic()
        post(engine, f"/containers/{name}/{path}")
        wait_until("it has ended", lambda: state(engine, name)["Status"] == "exited")
        assert time.monotonic() - before < 15 and state(engine, name)["ExitCode"] == code
        assert ("unpause" in actions(engine, cid)) == (code != 137)
        assert engine.api("DELETE", f"/containers/{name}").status == 204


def test_kill_in_every_form(engine, name):
    script = "for s in 1 10 12 34 37 64; do trap \"echo got $s\" $s; done; echo up; while :; do sleep 0.01; done"
    start(engine, name, "sh", "-c", script)

    def log():
        return engine.api("GET", f"/containers/{name}/logs?stdout=1").body

    wait_until("it is up", lambda: b"up" in log())
    for form, number in (("HUP", 1), ("SIGHUP", 1), ("sighup", 1), ("1", 1), ("USR1", 10), ("SIGRTMIN", 34), ("RTMIN+3", 37), ("RTMAX", 64), ("37", 37)):
        seen = log().count(b"got %d\n" % number)
        post(engine, f"/containers/{name}/kill?signal={urllib.parse.quote(form)}")
        wait_until(f"signal {form}", lambda n=number, s=seen: log().count(b"got %d\n" % n) > s)
    for form in ("NOPE", "0", "65", "SIG", "RTMIN+40"):
        reply = engine.api("POST", f"/containers/{name}/kill?signal={urllib.parse.quote(form)}")
        assert reply.status == 400 and reply.message == f"Invalid signal: {form}", reply.body
    post(engine, f"/containers/{name}/kill")
    cid = engine.inspect(name)["Id"]
    reply = engine.api("POST", f"/containers/{name}/kill")
    assert reply.status == 409 and reply.message == f"cannot kill container: {name}: container {cid} is not running"


@contextlib.contextmanager
def wait_for(engine, name, condition):
    """A wait that has begun: its head has come."""
    connection = UnixConnection(engine.socket)
    try:
        connection.request("POST", f"/containers/{name}/wait?condition={condition}")
        answer = connection.getresponse()
        assert answer.status == 200
        yield answer
    finally:
        connection.close()


def test_wait_of_many(engine, name):
    """The head comes at once; the answer when there is one, to everybody."""
    create(engine, name, "sh", "-c", "sleep 0.3; exit 5", HostConfig={"AutoRemove": True})
    # One that was never started does not run.
    assert engine.api("POST", f"/containers/{name}/wait").json == {"StatusCode": 0}
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(wait_for(engine, name, c)) for c in ("next-exit", "removed") * 10]
        post(engine, f"/containers/{name}/start")
        assert [json.load(w) for w in waiting] == [{"StatusCode": 5}] * 20
    reply = engine.api("POST", f"/containers/{name}/wait?condition=never")
    assert reply.status == 400
    assert engine.api("POST", f"/containers/{name}/wait").status == 404


def test_wait_tells_why_it_never_started(engine, name):
    create(engine, name, "/no such")
    engine.api("POST", f"/containers/{name}/start")
    end = engine.api("POST", f"/containers/{name}/wait").json
    assert end["StatusCode"] == 127 and "no such file or directory" in end["Error"]["Message"]


@pytest.mark.parametrize("condition", ["removed", "next-exit"])
def test_wait_for_one_that_goes_because_it_did_not_start(engine, name, condition):
    """--rm: why it did not start is the start's answer; the wait of a client that has both is about the removal."""
    create(engine, name, "/no such", HostConfig={"AutoRemove": True})
    with wait_for(engine, name, condition) as waiting:
        reply = engine.api("POST", f"/containers/{name}/start")
        assert reply.status == 400 and "no such file or directory" in reply.message
        answers = [json.load(waiting)]
    assert answers == [{"StatusCode": 127}]


@pytest.mark.parametrize("cmd, code, says", [
    (["nothing-of-that-name"], 127, 'exec: "nothing-of-that-name": executable file not found in $PATH'),
    (["/nothing"], 127, 'exec: "/nothing": stat /nothing: no such file or directory'),
    (["/etc/passwd"], 126, 'exec: "/etc/passwd": permission denied'),
    (["/etc"], 126, 'exec: "/etc": is a directory'),
])
def test_a_command_that_cannot_be_run(engine, name, cmd, code, says):
    cid = create(engine, name, *cmd)
    reply = engine.api("POST", f"/containers/{name}/start")
    assert reply.status == 400 and reply.message.startswith("failed to create task for container") and says in reply.message
    s = state(engine, name)
    assert s["ExitCode"] == code and says in s["Error"] and not s["Running"] and s["Status"] == "created"
    assert s["StartedAt"] == s["FinishedAt"] == "0001-01-01T00:00:00Z"
    assert "start" not in actions(engine, cid) and "die" not in actions(engine, cid)


def test_what_inspect_says_of_an_end(engine, name):
    start(engine, name, "sh", "-c", "sh -c 'kill -11 $$'; exit $?")
    wait_until("it has ended", lambda: not state(engine, name)["Running"])
    s = state(engine, name)
    assert s["ExitCode"] == 139 and s["Error"] == "" and not s["OOMKilled"]
    assert s["StartedAt"] < s["FinishedAt"] and s["StartedAt"].endswith("Z")


def test_restart_by_hand(engine, name):
    cid = start(engine, name, "sleep", "1000")
    post(engine, f"/containers/{name}/restart?t=0")
    assert state(engine, name)["Running"] and engine.inspect(name)["RestartCount"] == 0
    told = actions(engine, cid)
    assert told[told.index("kill"):] == ["kill", "kill", "die", "stop", "start", "restart"]
    post(engine, f"/containers/{name}/kill")
    before = len(actions(engine, cid))
    post(engine, f"/containers/{name}/restart")
    assert actions(engine, cid)[before:] == ["start", "restart"]
    reply = engine.api("POST", f"/containers/{name}/restart?signal=NOPE")
    assert reply.status == 400


def test_restart_by_hand_keeps_what_rm_would_remove(engine, name):
    cid = start(engine, name, "sleep", "1000", HostConfig={"AutoRemove": True})
    for _ in range(3):
        post(engine, f"/containers/{name}/restart?t=0")
        assert engine.inspect(name)["Id"] == cid and state(engine, name)["Running"]
    post(engine, f"/containers/{name}/stop?t=0")
    wait_until("now it is gone", lambda: engine.api("GET", f"/containers/{cid}/json").status == 404)
    wait_until("that is told", lambda: actions(engine, cid).count("destroy") == 1)


def test_a_stop_holds_though_the_engine_dies(new_engine, name):
    """Killed between the signal and the end: the container was stopped by hand all the same."""
    engine = new_engine()
    start(engine, name, "sh", "-c", "trap 'sleep 0.7; exit 4' TERM; echo up; while :; do sleep 0.01; done", HostConfig={"RestartPolicy": {"Name": "unless-stopped"}})
    wait_until("it is up", lambda: b"up" in engine.api("GET", f"/containers/{name}/logs?stdout=1").body)
    stopper = engine.popen("stop", name)
    cid = engine.inspect(name)["Id"]
    wait_until("it was signalled", lambda: "kill" in actions(engine, cid))
    engine.kill()
    stopper.communicate()
    time.sleep(1)
    engine.start()
    wait_until("its end is seen", lambda: state(engine, name)["Status"] == "exited")
    time.sleep(0.3)
    assert state(engine, name)["ExitCode"] == 4 and state(engine, name)["Status"] == "exited" and engine.inspect(name)["RestartCount"] == 0


def test_top_takes_what_ps_does(engine, name):
    start(engine, name, "sh", "-c", "sleep 1001 & sleep 1002; true")
    wait_until("both are there", lambda: len(engine.api("GET", f"/containers/{name}/top").json["Processes"]) == 3)
    for args, titles in (("", ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]), ("-o pid,args", ["PID", "COMMAND"]), ("-eo pid,user,comm", ["PID", "USER", "COMMAND"]),
                         ("aux", ["USER", "PID", "%CPU", "%MEM", "VSZ", "RSS", "TTY", "STAT", "START", "TIME", "COMMAND"]), ("-o pid -o comm", ["PID", "COMMAND"])):
        reply = engine.api("GET", f"/containers/{name}/top?ps_args={urllib.parse.quote(args)}")
        assert reply.status == 200 and reply.json["Titles"] == titles and len(reply.json["Processes"]) == 3, (args, reply.body)
    assert any(p[1] == "sleep 1001" for p in engine.api("GET", f"/containers/{name}/top?ps_args=-o%20pid,args").json["Processes"])
    reply = engine.api("GET", f"/containers/{name}/top?ps_args=-o%20comm")
    assert reply.status == 400 and "Couldn't find PID field in ps output" in reply.message
    for args in ("$(id)", "-o pid;id", "-o pid|id", "'"):
        assert engine.api("GET", f"/containers/{name}/top?ps_args={urllib.parse.quote(args)}").status == 400
    post(engine, f"/containers/{name}/stop?t=0")
    reply = engine.api("GET", f"/containers/{name}/top")
    assert reply.status == 409 and reply.message.endswith("is not running")


def test_prune_is_told(engine, name):
    create(engine, name, "true")
    before = time.time()
    reply = engine.api("POST", "/containers/prune")
    assert reply.status == 200 and reply.json["ContainersDeleted"]
    lines = engine.api("GET", f"/events?since={before:.9f}&until={time.time():.9f}&filters=" + urllib.parse.quote(json.dumps({"type": ["container"], "event": ["prune"]}))).lines
    assert len(lines) == 1 and lines[0]["Actor"]["Attributes"]["reclaimed"].isdigit()


def test_pause_and_rename_refuse_in_dockers_words(engine, name):
    cid = create(engine, name, "sleep", "1000")
    other = create(engine, name + "x", "true")
    for path, status, says in ((f"{name}/pause", 409, f"container {cid} is not running"), (f"{name}/unpause", 409, f"Container {name} is not paused"),
                               (f"{name}/rename?name={name}", 400, "Renaming a container with the same name as its current name"),
                               (f"{name}/rename?name={name}x", 409, f'Error when allocating new name: Conflict. The container name "/{name}x" is already in use by container "{other}"'),
                               (f"{name}/rename?name=", 400, "Neither old nor new names may be empty"),
                               (f"{name}/rename?name=%2F..%2Fx", 400, "Error when allocating new name: Invalid container name (../x)")):
        reply = engine.api("POST", f"/containers/{path}")
        assert reply.status == status and says in reply.message, (path, reply.body)
    post(engine, f"/containers/{name}/start")
    post(engine, f"/containers/{name}/pause")
    reply = engine.api("POST", f"/containers/{name}/pause")
    assert reply.status == 409 and reply.message == f"container {name} is already paused"
    post(engine, f"/containers/{name}/rename?name={name}-2")
    told = events(engine, cid)[-1]
    assert told[0] == "rename" and told[1]["oldName"] == f"/{name}" and told[1]["name"] == f"{name}-2"


# ---- who comes and goes

def hijack(engine, path, body=b""):
    """A connection that has become a stream."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(str(engine.socket))
    s.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\n"
              f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    head = b""
    while b"\r\n\r\n" not in head:
        head += s.recv(1)
    assert b" 101 " in head, head
    return s


def test_attach_resize_and_detach_are_told(engine, name):
    """In Docker's order: a client that attaches before the start is told of before it."""
    cid = create(engine, name, "sh", "-c", "echo up; read x; read x", Tty=True, OpenStdin=True)
    with hijack(engine, f"/containers/{name}/attach?stream=1&stdin=1&stdout=1") as s:
        post(engine, f"/containers/{name}/start")
        post(engine, f"/containers/{name}/resize?h=33&w=77", 200)
        s.sendall(b"\x10\x11")
        while s.recv(100):
            pass
    wait_until("it is told", lambda: actions(engine, cid)[-1] == "detach")
    assert actions(engine, cid) == ["create", "attach", "start", "resize", "detach"]
    size = next(x for a, x in events(engine, cid) if a == "resize")
    assert size["height"] == "33" and size["width"] == "77"
    xid = engine.api("POST", f"/containers/{name}/exec", {"Cmd": ["sleep", "1000"], "Tty": True, "AttachStdin": True, "AttachStdout": True}).json["Id"]
    with hijack(engine, f"/exec/{xid}/start", b'{"Tty": true}') as s:
        s.sendall(b"\x10\x11")
        while s.recv(100):
            pass
    wait_until("that is told too", lambda: actions(engine, cid)[-1] == "exec_detach")
    assert events(engine, cid)[-1][1]["execID"] == xid


# ---- an init of its own

def test_init_is_the_first_process(cli, name):
    """It reaps, hands signals on, and exits as the command does."""
    script = "ps -o pid,comm,args; (sleep 0.01 &); sleep 0.2; ps -o stat | grep -c Z"
    lines = cli("run", "--rm", "--init", "busybox", "sh", "-c", script, check=False).stdout.splitlines()
    first = lines[1].split()
    assert first[0] == "1" and first[1] == "docker-init" and first[2:4] == ["/sbin/docker-init", "--"], lines
    assert lines[-1] == "0"
    # Without it the shell is the first process.
    assert cli("run", "--rm", "busybox", "cat", "/proc/1/comm").stdout == "cat\n"
    assert cli("run", "--rm", "--init", "busybox", "sh", "-c", "exit 42", check=False).returncode == 42
    assert cli("run", "--rm", "--init", "busybox", "sh", "-c", "kill -9 $$", check=False).returncode == 137
    assert cli("run", "--rm", "--init", "busybox", "no-such-command", check=False).returncode == 127
    cli("run", "-d", "--init", "--read-only", "--name", name, "busybox", "sleep", "1000")
    wait_until("it sleeps", lambda: "sleep" in cli("exec", name, "ps").stdout.replace("docker-init -- sleep", ""))
    before = time.monotonic()
    cli("stop", name)
    assert time.monotonic() - before < 8
    i = json.loads(cli("inspect", name).stdout)[0]
    assert i["State"]["ExitCode"] == 143 and i["HostConfig"]["Init"] is True and i["Path"] == "sleep"
    cli("rm", name)


def test_init_and_a_terminal(engine, name):
    """The command is in the foreground: the terminal's interrupt reaches it."""
    with engine.pty("run", "--rm", "-it", "--init", "busybox", "sh", "-c", "trap 'echo caught; exit 9' INT; echo up; while :; do sleep 0.01; done") as t:
        t.expect("up")
        t.send("\x03")
        t.expect("caught")
        assert t.wait() == 9


# ---- what an engine that was away finds

def test_what_was_told_is_not_told_again(new_engine, name):
    """A new engine hears of what nobody has heard of yet, not of every exec that there was."""
    engine = new_engine()
    cid = start(engine, name, "sleep", "1000", HostConfig={"Memory": 64 << 20})
    for _ in range(3):
        engine.cli("exec", name, "true")
    engine.kill()
    engine.start()
    time.sleep(0.3)
    assert actions(engine, cid) == []
    engine.cli("exec", name, "true")
    wait_until("the new one is told", lambda: [a for a in actions(engine, cid) if a == "exec_die"] == ["exec_die"])


def test_restarts_survive_the_engine(new_engine, name):
    """Killed in a back-off: the restart is carried out by the next engine, once, and its end is told once."""
    engine = new_engine()
    restarting(engine, name, times=2)
    count = engine.inspect(name)["RestartCount"]
    engine.kill()
    engine.start()
    i = engine.inspect(name)
    assert i["State"]["ExitCode"] == 1 and count <= i["RestartCount"] <= count + 1
    wait_until("it goes on", lambda: engine.inspect(name)["RestartCount"] >= count + 1)
    post(engine, f"/containers/{name}/stop")


def test_what_ends_while_the_engine_is_away(new_engine, name):
    engine = new_engine()
    policies = {"always": "always", "fails": "on-failure", "unless": "unless-stopped"}
    for key, policy in policies.items():
        start(engine, key, "sleep", "1000", HostConfig={"RestartPolicy": {"Name": policy}})
        start(engine, key + "-stopped", "sleep", "1000", HostConfig={"RestartPolicy": {"Name": policy}})
        post(engine, f"/containers/{key}-stopped/stop?t=0")
    start(engine, "plain", "sh", "-c", "sleep 0.4; exit 6")
    start(engine, "gone", "sh", "-c", "sleep 0.4; exit 6", HostConfig={"AutoRemove": True})
    create(engine, "never", "true", HostConfig={"RestartPolicy": {"Name": "always"}})
    create(engine, "later", "true", HostConfig={"AutoRemove": True})
    start(engine, "paused", "sleep", "1000")
    post(engine, "/containers/paused/pause")
    pids = {key: state(engine, key)["Pid"] for key in policies}
    engine.kill()
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.5)
    engine.start()

    def status(key):
        reply = engine.api("GET", f"/containers/{key}/json")
        return reply.json["State"]["Status"] if reply.status == 200 else None

    for key in policies:
        wait_until(f"{key} runs again", lambda k=key: status(k) == "running")
    wait_until("Docker's rule: always is started whatever happened", lambda: status("always-stopped") == "running")
    wait_until("--rm holds", lambda: status("gone") is None)
    wait_until("its end is seen", lambda: status("plain") == "exited")
    assert [status(k) for k in ("fails-stopped", "unless-stopped", "never", "later", "paused")] == ["exited", "exited", "created", "created", "paused"]
    assert state(engine, "plain")["ExitCode"] == 6
    assert engine.inspect("always")["RestartCount"] == 1


def test_a_killed_shim_is_told(new_engine, name):
    engine = new_engine()
    cid = start(engine, name, "sh", "-c", "sleep 1000 & sleep 1000")
    start(engine, name + "b", "sleep", "1000", HostConfig={"RestartPolicy": {"Name": "always"}})
    start(engine, name + "c", "sleep", "1000")
    pids = [int(p[1]) for p in engine.api("GET", f"/containers/{name}/top").json["Processes"]]
    victims = [int(pathlib.Path(f"/proc/{state(engine, n)['Pid']}/stat").read_text().split()[3]) for n in (name, name + "b")]
    for shim in victims:
        assert shim in engine.shims()
        os.kill(shim, signal.SIGKILL)
    wait_until("it is seen", lambda: not state(engine, name)["Running"])
    s = state(engine, name)
    assert s["ExitCode"] == 137 and s["Status"] == "exited" and "ireko-shim" in s["Error"] and "was killed" in s["Error"]
    wait_until("its processes are gone", lambda: not any(os.path.exists(f"/proc/{p}") for p in pids))
    assert [x["exitCode"] for a, x in events(engine, cid) if a == "die"] == ["137"]
    wait_until("the policy applies", lambda: engine.inspect(name + "b")["RestartCount"] == 1 and state(engine, name + "b")["Running"])
    assert state(engine, name + "b")["Error"] == "" and state(engine, name + "c")["Running"]
